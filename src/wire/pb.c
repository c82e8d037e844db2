/* Protobuf wire format: the paths that are not inline (see pb.h). */
#include "wire/pb.h"

uint64_t pb_varint_slow(struct pb *m)
{
    uint64_t v = 0;
    const char *p = m->p;
    for (unsigned shift = 0; shift < 70 && p < m->end; shift += 7) {
        uint8_t c = (uint8_t)*p++;
        if (shift == 63 && c > 1)
            break; /* more than 64 bits */
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) {
            m->p = p;
            return v;
        }
    }
    pb_fail(m);
    return 0;
}

void pb_skip(struct pb *m)
{
    switch (m->wire) {
    case PB_VARINT:
        pb_varint_raw(m);
        break;
    case PB_FIXED64:
        pb_fixed64(m);
        break;
    case PB_LEN:
        pb_bytes(m);
        break;
    case PB_FIXED32:
        pb_fixed32(m);
        break;
    default:
        pb_fail(m);
    }
}

struct pb pb_packed(struct pb *m, enum pb_wire elem)
{
    if (m->wire == PB_LEN)
        return pb_sub(m);
    const char *from = m->p;
    if (m->wire != elem)
        pb_fail(m);
    else
        pb_skip(m);
    struct pb one = pb_init((str){ from, m->bad ? 0 : (size_t)(m->p - from) });
    one.bad = m->bad;
    one.bad_at = m->bad_at;
    return one;
}

size_t pb_open(struct buf *b, uint32_t field)
{
    pb_put_key(b, field, PB_LEN);
    buf_u8(b, 0);
    return b->n;
}

void pb_close(struct buf *b, size_t at)
{
    if (b->failed)
        return;
    size_t n = b->n - at, extra = 0;
    for (size_t v = n; v >= 0x80; v >>= 7)
        extra++;
    if (extra) {
        buf_zeros(b, extra);
        if (b->failed)
            return;
        memmove(b->p + at + extra, b->p + at, n);
    }
    char *len = b->p + at - 1;
    for (size_t v = n; v >= 0x80; v >>= 7)
        *len++ = (char)(v | 0x80);
    *len = (char)(n >> (7 * extra));
}
