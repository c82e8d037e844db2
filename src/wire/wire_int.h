/* Private to wire: helpers that several decoders share. */
#ifndef VANE_WIRE_WIRE_INT_H
#define VANE_WIRE_WIRE_INT_H

#include "wire/wire.h"

/* Valid UTF-8; fast for ASCII. */
static inline bool wire_utf8_ok(str s)
{
    uint64_t any = 0, w;
    size_t i = 0;
    for (; i + 8 <= s.n; i += 8) {
        memcpy(&w, s.p + i, 8);
        any |= w;
    }
    for (; i < s.n; i++)
        any |= (uint64_t)(uint8_t)s.p[i];
    return __builtin_expect(!(any & 0x8080808080808080ull), 1) || str_utf8_ok(s);
}

/* Runs of T for one series after the other, cut from blocks of the arena: RUN_PUSH adds to the open run, RUN_CLOSE gives
 * its start and begins the next one. A run that does not fit its block moves to a new one. */
#define RUN(T)                    \
    struct {                      \
        T *p;                     \
        size_t n, cap, from;      \
    }
void *wire_run_grow(struct arena *a, void *p, size_t *n, size_t *cap, size_t *from, size_t size);
#define RUN_PUSH(a, r, x)                                                                                     \
    ((r)->n < (r)->cap                                                                                        \
         ? (void)0                                                                                            \
         : (void)((r)->p = wire_run_grow((a), (r)->p, &(r)->n, &(r)->cap, &(r)->from, sizeof(*(r)->p))),      \
     (void)((r)->p[(r)->n++] = (x)))
#define RUN_START(r) ((r)->p + (r)->from)
#define RUN_LEN(r) ((r)->n - (r)->from)
#define RUN_CLOSE(r) ((void)((r)->from = (r)->n))
#define RUN_DROP(r) ((void)((r)->n = (r)->from))

/* Sort labels in place unless they are sorted, drop empty values, check them against the limits. */
enum err wire_labels_finish(struct label *p, size_t *n, const struct wire_limits *lim, struct err_text *reterr);
/* Note a refusal: keeps the first text ("series {...}: why"). */
void wire_reject(struct wire_rejects *r, struct labels ls, const struct err_text *why);

#endif
