/* Bit packing and patched frame of reference.
 *
 * Bits are one little-endian stream: value i of width w occupies bits i*w .. i*w+w-1. Eight values take w bytes, so
 * unpacking goes in groups of eight with all shifts known when compiling: one function per width, made by
 * macros. A load may look up to 8 bytes past its group; near the end of the input it works on a copy.
 *
 * A pfor block (docs/format/codec.md): u8 width | 0x80 if there are exceptions, [u8 exceptions, u8 their width],
 * packed low bits, [u8 position each, packed high bits]. After M. Zukowski et al., "Super-Scalar RAM-CPU Cache
 * Compression" (2006), with positions listed instead of linked. */
#include "base/check.h"
#include "base/rd.h"
#include "store/codec_int.h"

static inline uint64_t load64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

#define MASK(w) ((w) == 64 ? ~0ull : (1ull << ((w)&63)) - 1)
#define ONE(w, j)                                                                                               \
    out[j] = ((load64(p + (j) * (w) / 8) >> ((j) * (w) % 8)) |                                                  \
              ((j) * (w) % 8 + (w) > 64 ? (uint64_t)p[(j) * (w) / 8 + 8] << ((64 - (j) * (w) % 8) & 63) : 0)) & \
             MASK(w)
#define UNPACK(w)                                                                \
    static void unpack_##w(const unsigned char *p, size_t groups, uint64_t *out) \
    {                                                                            \
        for (; groups; groups--, p += (w), out += 8) {                           \
            ONE(w, 0);                                                           \
            ONE(w, 1);                                                           \
            ONE(w, 2);                                                           \
            ONE(w, 3);                                                           \
            ONE(w, 4);                                                           \
            ONE(w, 5);                                                           \
            ONE(w, 6);                                                           \
            ONE(w, 7);                                                           \
        }                                                                        \
    }
/* clang-format off */
#define WIDTHS(X)                                                                                    \
    X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16)           \
    X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31) X(32)  \
    X(33) X(34) X(35) X(36) X(37) X(38) X(39) X(40) X(41) X(42) X(43) X(44) X(45) X(46) X(47) X(48)  \
    X(49) X(50) X(51) X(52) X(53) X(54) X(55) X(56) X(57) X(58) X(59) X(60) X(61) X(62) X(63) X(64)
/* clang-format on */
WIDTHS(UNPACK)

static void unpack_0(const unsigned char *p, size_t groups, uint64_t *out)
{
    (void)p;
    memset(out, 0, groups * 8 * sizeof(*out));
}

#define ENTRY(w) unpack_##w,
static void (*const unpackers[65])(const unsigned char *, size_t, uint64_t *) = { unpack_0, WIDTHS(ENTRY) };

/* Unpack n <= 128 values into out[128]; values past n are left with anything. left: readable bytes at in. */
static void unpack_block(const char *in, size_t left, size_t n, unsigned width, uint64_t out[CODEC_BLOCK])
{
    size_t groups = (n + 7) / 8;
    if (left >= groups * width + 8) {
        unpackers[width]((const unsigned char *)in, groups, out);
        return;
    }
    unsigned char tmp[CODEC_BLOCK * 8 + 16] = { 0 };
    memcpy(tmp, in, codec_bits_bytes(n, width));
    unpackers[width](tmp, groups, out);
}

void codec_bits_unpack(const char *in, size_t n, unsigned width, uint64_t *ret_v)
{
    uint64_t out[CODEC_BLOCK];
    ASSERT(n <= CODEC_BLOCK);
    ASSERT(width <= 64);
    if (n == 0)
        return;
    unpack_block(in, codec_bits_bytes(n, width), n, width, out);
    memcpy(ret_v, out, n * sizeof(*out));
}

void codec_bits_pack(struct buf *out, const uint64_t *v, size_t n, unsigned width)
{
    size_t bytes = codec_bits_bytes(n, width);
    ASSERT(n <= CODEC_BLOCK);
    ASSERT(width <= 64);
    if (bytes == 0 || !buf_reserve(out, bytes + 16))
        return;
    unsigned char *p = (unsigned char *)out->p + out->n;
    uint64_t acc = 0;
    unsigned have = 0; /* bits in acc, < 64 */
    for (size_t i = 0; i < n; i++) {
        DEBUG_ASSERT(width == 64 || v[i] >> width == 0);
        acc |= v[i] << have;
        if (have + width >= 64) {
            memcpy(p, &acc, 8);
            p += 8;
            acc = have ? v[i] >> (64 - have) : 0;
            have = have + width - 64;
        } else
            have += width;
    }
    memcpy(p, &acc, 8);
    out->n += bytes;
}

/* ---- pfor ---- */
static unsigned bit_length(uint64_t v)
{
    return v ? 64u - (unsigned)__builtin_clzll(v) : 0;
}

struct block_plan {
    unsigned width, n_exc, exc_width;
    size_t bytes;
};

static struct block_plan block_plan(const uint64_t *v, size_t n)
{
    uint8_t hist[65] = { 0 };
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++) {
        hist[bit_length(v[i])]++;
        all |= v[i];
    }
    unsigned top = bit_length(all), exc = 0;
    struct block_plan best = { .width = top, .bytes = 1 + codec_bits_bytes(n, top) };
    for (unsigned w = top; w-- > 0;) {
        exc += hist[w + 1];
        size_t bytes = 3 + codec_bits_bytes(n, w) + exc + codec_bits_bytes(exc, top - w);
        if (bytes < best.bytes)
            best = (struct block_plan){ w, exc, top - w, bytes };
    }
    return best;
}

size_t codec_pfor_block_bytes(const uint64_t *v, size_t n)
{
    return block_plan(v, n).bytes;
}

void codec_pfor_block(struct buf *out, const uint64_t *v, size_t n)
{
    struct block_plan b = block_plan(v, n);
    uint64_t low[CODEC_BLOCK], high[CODEC_BLOCK];
    uint8_t pos[CODEC_BLOCK];
    unsigned k = 0;
    buf_u8(out, (uint8_t)(b.width | (b.n_exc ? 0x80 : 0)));
    if (!b.n_exc) {
        codec_bits_pack(out, v, n, b.width);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        low[i] = v[i] & MASK(b.width);
        high[k] = v[i] >> b.width; /* width < 64: there is something above it */
        pos[k] = (uint8_t)i;
        k += high[k] != 0;
    }
    ASSERT(k == b.n_exc);
    buf_u8(out, (uint8_t)b.n_exc);
    buf_u8(out, (uint8_t)b.exc_width);
    codec_bits_pack(out, low, n, b.width);
    buf_add(out, pos, b.n_exc);
    codec_bits_pack(out, high, b.n_exc, b.exc_width);
}

static bool block_header(struct rd *r, size_t n, struct block_plan *ret)
{
    uint8_t head = rd_u8(r);
    *ret = (struct block_plan){ .width = head & 0x7f };
    if (head & 0x80) {
        ret->n_exc = rd_u8(r);
        ret->exc_width = rd_u8(r);
        if (ret->n_exc == 0 || ret->n_exc > n || ret->exc_width == 0 || ret->width + ret->exc_width > 64)
            return false;
    }
    ret->bytes = codec_bits_bytes(n, ret->width);
    return rd_ok(r) && ret->width <= 64;
}

bool codec_pfor_block_skip(struct rd *r, size_t n)
{
    struct block_plan b;
    if (!block_header(r, n, &b))
        return false;
    rd_bytes(r, b.bytes + b.n_exc + codec_bits_bytes(b.n_exc, b.exc_width));
    return rd_ok(r);
}

bool codec_pfor_block_read(struct rd *r, size_t n, uint64_t out[CODEC_BLOCK])
{
    struct block_plan b;
    if (!block_header(r, n, &b) || b.bytes > rd_left(r))
        return false;
    unpack_block(r->p, rd_left(r), n, b.width, out);
    r->p += b.bytes;
    if (!b.n_exc)
        return true;
    uint64_t high[CODEC_BLOCK];
    str pos = rd_bytes(r, b.n_exc);
    size_t high_bytes = codec_bits_bytes(b.n_exc, b.exc_width);
    if (!rd_ok(r) || high_bytes > rd_left(r))
        return false;
    unpack_block(r->p, rd_left(r), b.n_exc, b.exc_width, high);
    r->p += high_bytes;
    for (unsigned i = 0; i < b.n_exc; i++) {
        uint8_t at = (uint8_t)pos.p[i];
        if (at >= n)
            return false;
        out[at] |= high[i] << b.width;
    }
    return true;
}

void codec_pfor_encode(struct buf *out, const uint64_t *v, size_t n)
{
    for (size_t i = 0; i < n; i += CODEC_BLOCK)
        codec_pfor_block(out, v + i, MIN((size_t)CODEC_BLOCK, n - i));
}

enum err codec_pfor_decode(str in, size_t n, uint64_t *ret_v, size_t *ret_used)
{
    struct rd r = rd_init(in);
    uint64_t tmp[CODEC_BLOCK];
    if (n > CODEC_VALUES_MAX)
        return ERR_CORRUPT;
    for (size_t i = 0; i < n; i += CODEC_BLOCK) {
        size_t k = MIN((size_t)CODEC_BLOCK, n - i);
        if (!codec_pfor_block_read(&r, k, k == CODEC_BLOCK ? ret_v + i : tmp))
            return ERR_CORRUPT;
        if (k < CODEC_BLOCK)
            memcpy(ret_v + i, tmp, k * sizeof(*tmp));
    }
    if (ret_used)
        *ret_used = in.n - rd_left(&r);
    return OK;
}
