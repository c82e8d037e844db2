/* struct buf: bytes being written. Sticky failure: past `max` bytes nothing more is appended and
 * `failed` is set; check once at the end. Also the little-endian and varint writers of every format. */
#ifndef VANE_BASE_BUF_H
#define VANE_BASE_BUF_H

#include "base/mem.h"

struct buf {
    char *p;
    size_t n, cap;
    size_t max; /* 0 = no limit */
    bool failed;
};

void buf_init(struct buf *b, size_t bytes_max);
void buf_deinit(struct buf *b);
#define AUTO_BUF __attribute__((cleanup(buf_deinit)))
bool buf_grow(struct buf *b, size_t extra); /* room for `extra` more bytes at p + n */
static inline bool buf_reserve(struct buf *b, size_t extra)
{
    return __builtin_expect(b->cap - b->n >= extra, 1) ? !b->failed : buf_grow(b, extra);
}
static inline void buf_clear(struct buf *b)
{
    b->n = 0;
    b->failed = false;
}
static inline str buf_str(const struct buf *b)
{
    return (str){ b->p, b->n };
}
str buf_detach(struct buf *b); /* owned bytes: mem_free((void *)s.p) */

/* memcpy of few bytes, inline: overlapping words instead of a call. */
static inline void copy_small(void *to, const void *from, size_t n)
{
    uint8_t *d = to;
    const uint8_t *s = from;
    if (n > 16) {
        memcpy(d, s, n);
    } else if (n >= 8) {
        uint64_t a, b;
        memcpy(&a, s, 8);
        memcpy(&b, s + n - 8, 8);
        memcpy(d, &a, 8);
        memcpy(d + n - 8, &b, 8);
    } else if (n >= 4) {
        uint32_t a, b;
        memcpy(&a, s, 4);
        memcpy(&b, s + n - 4, 4);
        memcpy(d, &a, 4);
        memcpy(d + n - 4, &b, 4);
    } else if (n) {
        uint8_t a = s[0], b = s[n / 2], c = s[n - 1];
        d[0] = a;
        d[n / 2] = b;
        d[n - 1] = c;
    }
}

static inline void buf_add(struct buf *b, const void *p, size_t n)
{
    if (n && buf_reserve(b, n)) {
        memcpy(b->p + b->n, p, n);
        b->n += n;
    }
}
static inline void buf_str_add(struct buf *b, str s)
{
    buf_add(b, s.p, s.n);
}
#define buf_lit(b, lit) buf_add((b), "" lit, sizeof(lit) - 1)
static inline void buf_u8(struct buf *b, uint8_t v)
{
    if (buf_reserve(b, 1))
        b->p[b->n++] = (char)v;
}
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_u64_dec(struct buf *b, uint64_t v);
void buf_i64_dec(struct buf *b, int64_t v);
void buf_zeros(struct buf *b, size_t n);
/* Go's strconv.Quote (with the quotes) and %q of a rune: what Prometheus' texts show. */
void buf_go_quote(struct buf *b, str s);
void buf_go_quote_rune(struct buf *b, uint32_t cp);
/* The inverse, of a text with its quotes: "..." and '...' with Go's escapes, `...` raw (carriage returns go).
 * false: not well-formed; what was added to b until then stays. Bytes from \x and octal escapes are added as they are. */
bool buf_go_unquote(struct buf *b, str quoted);
bool str_go_unquote_rune(str quoted, int64_t *ret); /* 'x': one character */
bool str_rune_is_printable(uint32_t cp); /* Go's strconv.IsPrint, unassigned code points apart */

static inline void buf_u16(struct buf *b, uint16_t v)
{
    buf_add(b, &v, 2);
}
static inline void buf_u32(struct buf *b, uint32_t v)
{
    buf_add(b, &v, 4);
}
static inline void buf_u64(struct buf *b, uint64_t v)
{
    buf_add(b, &v, 8);
}
static inline void buf_f64(struct buf *b, double v)
{
    buf_add(b, &v, 8);
}
static inline uint64_t zigzag(int64_t v)
{
    return ((uint64_t)v << 1) ^ (uint64_t)(v >> 63);
}
static inline int64_t unzigzag(uint64_t v)
{
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}
void buf_uvarint(struct buf *b, uint64_t v); /* LEB128, as protobuf */
static inline void buf_svarint(struct buf *b, int64_t v)
{
    buf_uvarint(b, zigzag(v));
}
static inline void buf_lstr(struct buf *b, str s) /* uvarint length, bytes */
{
    buf_uvarint(b, s.n);
    buf_str_add(b, s);
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "formats are little endian in memory");

#endif
