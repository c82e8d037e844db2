/* Growable bytes and readers' slow paths; see buf.h, rd.h. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "base/rd.h"

void buf_init(struct buf *b, size_t bytes_max)
{
    *b = (struct buf){ .max = bytes_max };
}

void buf_deinit(struct buf *b)
{
    mem_free(b->p);
    *b = (struct buf){ .max = b->max };
}

bool buf_grow(struct buf *b, size_t extra)
{
    if (b->failed)
        return false;
    if (extra > SIZE_MAX / 2 - b->n || (b->max && b->n + extra > b->max)) {
        b->failed = true;
        return false;
    }
    size_t want = b->n + extra;
    if (want <= b->cap)
        return true;
    size_t cap = MAX(want, b->cap + b->cap / 2 + 256);
    if (b->max)
        cap = MIN(cap, b->max);
    b->p = mem_realloc(b->p, cap);
    b->cap = cap;
    return true;
}

str buf_detach(struct buf *b)
{
    str s = { b->p ? b->p : mem_alloc(1), b->n };
    *b = (struct buf){ .max = b->max };
    return s;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    if (buf_reserve(b, (size_t)n + 1)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void buf_u64_dec(struct buf *b, uint64_t v)
{
    char text[20];
    size_t at = sizeof(text);
    do {
        text[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    buf_add(b, text + at, sizeof(text) - at);
}

void buf_i64_dec(struct buf *b, int64_t v)
{
    if (v < 0)
        buf_u8(b, '-');
    buf_u64_dec(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void buf_zeros(struct buf *b, size_t n)
{
    if (n && buf_reserve(b, n)) {
        memset(b->p + b->n, 0, n);
        b->n += n;
    }
}

void buf_uvarint(struct buf *b, uint64_t v)
{
    if (!buf_reserve(b, 10))
        return;
    char *p = b->p + b->n;
    while (v >= 0x80) {
        *p++ = (char)(v | 0x80);
        v >>= 7;
    }
    *p++ = (char)v;
    b->n = (size_t)(p - b->p);
}

uint64_t rd_uvarint_slow(struct rd *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->p == r->end)
            break;
        uint8_t c = (uint8_t)*r->p++;
        if (shift == 63 && c > 1)
            break;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80))
            return v;
    }
    rd_fail(r);
    return 0;
}
