/* struct rd: reads bytes with a sticky error. Past the end every read yields 0 and marks r->bad;
 * check once with rd_end() (all consumed, no error) or rd_ok(). Never reads outside the slice. */
#ifndef VANE_BASE_RD_H
#define VANE_BASE_RD_H

#include "base/buf.h"

struct rd {
    const char *p, *end;
    bool bad;
};

static inline struct rd rd_init(str s)
{
    return (struct rd){ s.p, str_end(s), false };
}
static inline size_t rd_left(const struct rd *r)
{
    return (size_t)(r->end - r->p);
}
static inline bool rd_ok(const struct rd *r)
{
    return !r->bad;
}
static inline bool rd_end(const struct rd *r)
{
    return !r->bad && r->p == r->end;
}
static inline void rd_fail(struct rd *r)
{
    r->bad = true;
    r->p = r->end;
}
static inline str rd_bytes(struct rd *r, size_t n)
{
    if (n > rd_left(r)) {
        rd_fail(r);
        return STR_NONE;
    }
    str s = { r->p, n };
    r->p += n;
    return s;
}
static inline uint8_t rd_u8(struct rd *r)
{
    if (r->p == r->end) {
        r->bad = true;
        return 0;
    }
    return (uint8_t)*r->p++;
}
#define RD_FIXED(name, T)               \
    static inline T name(struct rd *r)  \
    {                                   \
        T v = 0;                        \
        str s = rd_bytes(r, sizeof(T)); \
        if (s.n)                        \
            memcpy(&v, s.p, sizeof(T)); \
        return v;                       \
    }
RD_FIXED(rd_u16, uint16_t)
RD_FIXED(rd_u32, uint32_t)
RD_FIXED(rd_u64, uint64_t)
RD_FIXED(rd_f64, double)
#undef RD_FIXED
uint64_t rd_uvarint_slow(struct rd *r);
static inline uint64_t rd_uvarint(struct rd *r)
{
    if (__builtin_expect(r->p < r->end && !(*r->p & 0x80), 1))
        return (uint8_t)*r->p++;
    return rd_uvarint_slow(r);
}
static inline int64_t rd_svarint(struct rd *r)
{
    return unzigzag(rd_uvarint(r));
}
static inline str rd_lstr(struct rd *r)
{
    uint64_t n = rd_uvarint(r);
    return rd_bytes(r, n > SIZE_MAX ? SIZE_MAX : (size_t)n);
}

#endif
