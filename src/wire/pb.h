/* Protobuf wire format: a bounded zero-copy reader over one message, and a writer.
 *
 *   struct pb m = pb_init(bytes);
 *   while (pb_next(&m))
 *       switch (m.field) {
 *       case 1: name = pb_bytes(&m); break;      // wrong wire type: sticky error
 *       case 2: v = pb_double(&m); break;
 *       default: pb_skip(&m);
 *       }
 *   if (m.bad) ...                               // pb_pos() says where
 *
 * Every field must be consumed by exactly one pb_* call. Groups (wire types 3, 4) are refused.
 * Repeated scalars: pb_next + one value, or pb_packed() which accepts both forms. */
#ifndef VANE_WIRE_PB_H
#define VANE_WIRE_PB_H

#include "base/buf.h"
#include "base/rd.h"

enum pb_wire { PB_VARINT = 0, PB_FIXED64 = 1, PB_LEN = 2, PB_FIXED32 = 5 };

struct pb {
    const char *start, *p, *end;
    uint32_t field;
    uint8_t wire;
    bool bad;
    const char *bad_at;
};

static inline struct pb pb_init(str s)
{
    return (struct pb){ .start = s.p, .p = s.p, .end = s.n ? s.p + s.n : s.p };
}
static inline void pb_fail(struct pb *m)
{
    if (!m->bad)
        m->bad_at = m->p;
    m->bad = true;
    m->p = m->end;
}
uint64_t pb_varint_slow(struct pb *m);
static inline uint64_t pb_varint_raw(struct pb *m)
{
    if (__builtin_expect(m->p < m->end && !(*m->p & 0x80), 1))
        return (uint8_t)*m->p++;
    return pb_varint_slow(m);
}
/* The next field's key; false at the end or after an error (see m->bad). */
static inline bool pb_next(struct pb *m)
{
    if (m->p >= m->end)
        return false;
    uint64_t key = pb_varint_raw(m);
    m->field = (uint32_t)(key >> 3);
    m->wire = (uint8_t)(key & 7);
    if (__builtin_expect(m->bad || m->field == 0 || key > UINT32_MAX, 0)) {
        pb_fail(m);
        return false;
    }
    return true;
}
static inline uint64_t pb_varint(struct pb *m)
{
    if (__builtin_expect(m->wire != PB_VARINT, 0)) {
        pb_fail(m);
        return 0;
    }
    return pb_varint_raw(m);
}
static inline uint64_t pb_fixed64_raw(struct pb *m)
{
    uint64_t v = 0;
    if (__builtin_expect(m->end - m->p < 8, 0)) {
        pb_fail(m);
        return 0;
    }
    memcpy(&v, m->p, 8);
    m->p += 8;
    return v;
}
static inline uint64_t pb_fixed64(struct pb *m)
{
    if (__builtin_expect(m->wire != PB_FIXED64, 0)) {
        pb_fail(m);
        return 0;
    }
    return pb_fixed64_raw(m);
}
static inline uint32_t pb_fixed32(struct pb *m)
{
    uint32_t v = 0;
    if (__builtin_expect(m->wire != PB_FIXED32 || m->end - m->p < 4, 0)) {
        pb_fail(m);
        return 0;
    }
    memcpy(&v, m->p, 4);
    m->p += 4;
    return v;
}
static inline double pb_double(struct pb *m)
{
    uint64_t u = pb_fixed64(m);
    double v;
    memcpy(&v, &u, 8);
    return v;
}
static inline str pb_bytes(struct pb *m)
{
    if (__builtin_expect(m->wire != PB_LEN, 0)) {
        pb_fail(m);
        return STR_NONE;
    }
    const char *at = m->p;
    uint64_t n = pb_varint_raw(m);
    if (__builtin_expect(m->bad || n > (uint64_t)(m->end - m->p), 0)) {
        m->p = m->bad ? m->p : at;
        pb_fail(m);
        return STR_NONE;
    }
    str s = { m->p, (size_t)n };
    m->p += n;
    return s;
}
static inline struct pb pb_sub(struct pb *m)
{
    return pb_init(pb_bytes(m));
}
void pb_skip(struct pb *m);
/* Iterate a repeated scalar field (current field) in either form: packed gives all of it as one message of raw
 * values (read with pb_varint_raw / pb_fixed64_raw until .p == .end), unpacked the one value. elem: its wire type. */
struct pb pb_packed(struct pb *m, enum pb_wire elem);
/* A sub-message that failed marks its parent, keeping the place. */
static inline void pb_join(struct pb *m, const struct pb *sub)
{
    if (__builtin_expect(sub->bad && !m->bad, 0)) {
        m->bad = true;
        m->bad_at = sub->bad_at;
        m->p = m->end;
    }
}

/* ---- writer ---- */
static inline void pb_put_key(struct buf *b, uint32_t field, enum pb_wire w)
{
    buf_uvarint(b, (uint64_t)field << 3 | (uint64_t)w);
}
static inline void pb_put_varint(struct buf *b, uint32_t field, uint64_t v)
{
    pb_put_key(b, field, PB_VARINT);
    buf_uvarint(b, v);
}
static inline void pb_put_double(struct buf *b, uint32_t field, double v)
{
    pb_put_key(b, field, PB_FIXED64);
    buf_f64(b, v);
}
static inline void pb_put_fixed64(struct buf *b, uint32_t field, uint64_t v)
{
    pb_put_key(b, field, PB_FIXED64);
    buf_u64(b, v);
}
static inline void pb_put_bytes(struct buf *b, uint32_t field, str s)
{
    pb_put_key(b, field, PB_LEN);
    buf_lstr(b, s);
}
/* Nested message: at = pb_open(b, field); ...; pb_close(b, at). The length is moved in afterwards. */
size_t pb_open(struct buf *b, uint32_t field);
void pb_close(struct buf *b, size_t at);

#endif
