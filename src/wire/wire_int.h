/* Private to wire: helpers that several decoders share. */
#ifndef VANE_WIRE_WIRE_INT_H
#define VANE_WIRE_WIRE_INT_H

#include "wire/pb.h"
#include "wire/wire.h"

/* Has any byte its high bit set? Overlapping loads instead of a tail loop. */
static inline bool wire_any_high(const char *p, size_t n)
{
    uint64_t any = 0, w;
    uint32_t h, k;
    if (n >= 8) {
        for (size_t i = 0; i + 8 < n; i += 8) {
            memcpy(&w, p + i, 8);
            any |= w;
        }
        memcpy(&w, p + n - 8, 8);
        any |= w;
    } else if (n >= 4) {
        memcpy(&h, p, 4);
        memcpy(&k, p + n - 4, 4);
        any = h | k;
    } else {
        for (size_t i = 0; i < n; i++)
            any |= (uint8_t)p[i];
    }
    return (any & 0x8080808080808080ull) != 0;
}
/* Valid UTF-8; fast for ASCII. */
static inline bool wire_utf8_ok(str s)
{
    return __builtin_expect(!wire_any_high(s.p, s.n), 1) || str_utf8_ok(s);
}
/* a < b in the order of label names; the first byte decides most of the time. */
static inline bool wire_name_less(str a, str b)
{
    if (a.n && b.n && a.p[0] != b.p[0])
        return (uint8_t)a.p[0] < (uint8_t)b.p[0];
    return str_cmp(a, b) < 0;
}

/* A message {1: name, 2: value}: LabelPair of exposition and remote write. */
static inline struct label wire_label_read(struct pb m, struct pb *up)
{
    struct label l = { { "", 0 }, { "", 0 } };
    /* what every sender writes: name, then value, both short */
    size_t size = (size_t)(m.end - m.p);
    if (size >= 4 && m.p[0] == 0x0a && (uint8_t)m.p[1] <= size - 4) {
        const char *v = m.p + 2 + (uint8_t)m.p[1];
        if (!(m.p[1] & 0x80) && v[0] == 0x12 && !(v[1] & 0x80) && v + 2 + v[1] == m.end)
            return (struct label){ { m.p + 2, (size_t)m.p[1] }, { v + 2, (size_t)v[1] } };
    }
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            l.name = pb_bytes(&m);
            break;
        case 2:
            l.value = pb_bytes(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    return l;
}

/* Runs of T for one series after the other, cut from blocks of the arena: RUN_PUSH adds to the open run, RUN_CLOSE gives
 * its start and begins the next one. A run that does not fit its block moves to a new one. */
#define RUN(T)               \
    struct {                 \
        T *p;                \
        size_t n, cap, from; \
    }
void *wire_run_grow(struct arena *a, void *p, size_t *n, size_t *cap, size_t *from, size_t size);
#define RUN_PUSH(a, r, x)                                                                                              \
    ((r)->n < (r)->cap ? (void)0                                                                                       \
                       : (void)((r)->p = wire_run_grow((a), (r)->p, &(r)->n, &(r)->cap, &(r)->from, sizeof(*(r)->p))), \
     (void)((r)->p[(r)->n++] = (x)))
#define RUN_START(r) ((r)->p ? (r)->p + (r)->from : (r)->p)
#define RUN_LEN(r)   ((r)->n - (r)->from)
#define RUN_CLOSE(r) ((void)((r)->from = (r)->n))
#define RUN_DROP(r)  ((void)((r)->n = (r)->from))

/* Sort labels in place unless they are sorted, drop empty values, check them against the limits. */
enum err wire_labels_finish(struct label *p, size_t *n, const struct wire_limits *lim, struct err_text *reterr);
/* A name as legacy rules have it: every byte that may not stand there becomes '_'. metric: ':' is allowed, too. In a, or s itself. */
str wire_legacy_name(struct arena *a, str s, bool metric);
/* Note a refusal: keeps the first text ("series {...}: why"). */
void wire_reject(struct wire_rejects *r, struct labels ls, const struct err_text *why);

#endif
