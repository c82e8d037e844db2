/* Whole bodies: libdeflate for gzip, zlib and raw deflate; libzstd; libsnappy. See compress.h.
 *
 * The output size is never taken from the sender: a gzip trailer or zstd header is a hint for the first buffer, which
 * grows up to the limit; snappy states its size, which is checked before anything is allocated. */
#include "wire/compress.h"

#include <libdeflate.h>
#include <snappy-c.h>
#include <zstd.h>

#include "base/check.h"

static const struct {
    str name;
    enum coding coding;
} codings[] = {
    { STR_INIT(""), CODING_IDENTITY },     { STR_INIT("identity"), CODING_IDENTITY }, { STR_INIT("gzip"), CODING_GZIP },
    { STR_INIT("x-gzip"), CODING_GZIP },   { STR_INIT("deflate"), CODING_DEFLATE },   { STR_INIT("zstd"), CODING_ZSTD },
    { STR_INIT("snappy"), CODING_SNAPPY },
};

bool coding_parse(str s, enum coding *ret)
{
    s = str_trim(s);
    for (size_t i = 0; i < ARRAY_LEN(codings); i++)
        if (str_ieq(s, codings[i].name)) {
            *ret = codings[i].coding;
            return true;
        }
    return false;
}

const char *coding_name(enum coding c)
{
    static const char *const names[] = { "identity", "gzip", "deflate", "zstd", "snappy" };
    return names[c];
}

static enum err too_big(size_t max, struct err_text *reterr)
{
    return err_fail(reterr, ERR_LIMIT, "the decompressed body is larger than %zu bytes", max);
}

/* Room for n more bytes; false beyond the buffer's own limit. */
static bool room(struct buf *out, size_t n)
{
    return buf_reserve(out, n);
}

static inline uint32_t le32(const char *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

/* ---- deflate family ---- */

enum deflate_kind { KIND_GZIP, KIND_ZLIB, KIND_RAW };

static enum libdeflate_result inflate_into(struct libdeflate_decompressor *d, enum deflate_kind k, str in, void *out,
                                           size_t cap, size_t *used, size_t *made)
{
    switch (k) {
    case KIND_GZIP:
        return libdeflate_gzip_decompress_ex(d, in.p, in.n, out, cap, used, made);
    case KIND_ZLIB:
        return libdeflate_zlib_decompress_ex(d, in.p, in.n, out, cap, used, made);
    default:
        return libdeflate_deflate_decompress_ex(d, in.p, in.n, out, cap, used, made);
    }
}

/* One member; *in moves past it. left: how much more output is allowed. */
static enum err inflate_member(struct libdeflate_decompressor *d, enum deflate_kind k, str *in, size_t left,
                               struct buf *out, struct err_text *reterr)
{
    size_t guess = in->n < SIZE_MAX / 8 ? in->n * 4 + 512 : in->n;
    if (k == KIND_GZIP && in->n >= 18 && le32(in->p + in->n - 4) > guess)
        guess = MIN((size_t)le32(in->p + in->n - 4), in->n * 1032 + 512);
    for (size_t cap = MIN(guess, left);; cap = MIN(cap * 4, left)) {
        size_t used = 0, made = 0;
        if (!room(out, cap + 1))
            return err_fail(reterr, ERR_LIMIT, "the buffer for the decompressed body is full");
        enum libdeflate_result r = inflate_into(d, k, *in, out->p + out->n, cap, &used, &made);
        if (r == LIBDEFLATE_SUCCESS) {
            out->n += made;
            *in = str_skip(*in, used);
            return OK;
        }
        if (r != LIBDEFLATE_INSUFFICIENT_SPACE)
            return err_fail(reterr, ERR_CORRUPT, "the body is not valid %s", k == KIND_GZIP ? "gzip" : "deflate");
        if (cap >= left)
            return ERR_LIMIT;
    }
}

static enum err inflate_all(enum deflate_kind k, str in, size_t max, struct buf *out, struct err_text *reterr)
{
    struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
    ASSERT(d != NULL);
    size_t from = out->n;
    enum err e = OK;
    do
        e = inflate_member(d, k, &in, max - (out->n - from), out, reterr);
    while (e == OK && k == KIND_GZIP && in.n);
    libdeflate_free_decompressor(d);
    if (e == OK && in.n)
        e = err_fail(reterr, ERR_CORRUPT, "%zu bytes follow the compressed body", in.n);
    return e == ERR_LIMIT ? too_big(max, reterr) : e;
}

/* "deflate" means zlib-wrapped, but raw streams are sent as well. */
static bool looks_like_zlib(str in)
{
    return in.n >= 2 && (in.p[0] & 0x0f) == 8 && ((unsigned)(uint8_t)in.p[0] << 8 | (uint8_t)in.p[1]) % 31 == 0;
}

static enum err inflate_deflate(str in, size_t max, struct buf *out, struct err_text *reterr)
{
    size_t from = out->n;
    if (looks_like_zlib(in)) {
        enum err e = inflate_all(KIND_ZLIB, in, max, out, reterr);
        if (e != ERR_CORRUPT)
            return e;
        out->n = from;
    }
    return inflate_all(KIND_RAW, in, max, out, reterr);
}

/* ---- zstd ---- */

static enum err unzstd(str in, size_t max, struct buf *out, struct err_text *reterr)
{
    ZSTD_DCtx *d = ZSTD_createDCtx();
    ASSERT(d != NULL);
    ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, 27);
    ZSTD_inBuffer src = { in.p, in.n, 0 };
    size_t from = out->n, r = 1;
    enum err e = in.n ? OK : err_fail(reterr, ERR_CORRUPT, "the body is empty, not zstd");
    while (e == OK && (src.pos < src.size || r != 0)) {
        size_t left = max - (out->n - from), step = MIN(left + 1, MAX(in.n * 4, (size_t)ZSTD_DStreamOutSize()));
        if (!room(out, step)) {
            e = err_fail(reterr, ERR_LIMIT, "the buffer for the decompressed body is full");
            break;
        }
        ZSTD_outBuffer dst = { out->p + out->n, step, 0 };
        size_t before = src.pos;
        r = ZSTD_decompressStream(d, &dst, &src);
        if (ZSTD_isError(r)) {
            e = err_fail(reterr, ERR_CORRUPT, "the body is not valid zstd: %s", ZSTD_getErrorName(r));
        } else if (dst.pos > left) {
            e = too_big(max, reterr);
        } else {
            out->n += dst.pos;
            if (src.pos == before && dst.pos == 0 && r != 0)
                e = err_fail(reterr, ERR_CORRUPT, "the zstd body is cut off");
        }
    }
    ZSTD_freeDCtx(d);
    return e;
}

/* ---- snappy, block format ---- */

/* The block's own statement of its size, checked. */
static enum err snappy_size(str in, size_t max, size_t *ret_n, struct err_text *reterr)
{
    size_t n = 0;
    if (snappy_uncompressed_length(in.p, in.n, &n) != SNAPPY_OK)
        return err_fail(reterr, ERR_CORRUPT, "the body is not a snappy block");
    if (n > max)
        return too_big(max, reterr);
    if (n / 64 > in.n) /* no element of a block makes more than 64 bytes out of two */
        return err_fail(reterr, ERR_CORRUPT, "the snappy block claims %zu bytes, which %zu bytes cannot hold", n, in.n);
    *ret_n = n;
    return OK;
}
static enum err snappy_into(str in, char *p, size_t *n, struct err_text *reterr)
{
    if (snappy_uncompress(in.p, in.n, p, n) != SNAPPY_OK)
        return err_fail(reterr, ERR_CORRUPT, "the body is not a valid snappy block");
    return OK;
}

static enum err unsnappy(str in, size_t max, struct buf *out, struct err_text *reterr)
{
    size_t n = 0;
    TRY(snappy_size(in, max, &n, reterr));
    if (!room(out, n + 1))
        return err_fail(reterr, ERR_LIMIT, "the buffer for the decompressed body is full");
    TRY(snappy_into(in, out->p + out->n, &n, reterr));
    out->n += n;
    return OK;
}

enum err snappy_unpack(struct arena *a, str in, size_t bytes_max, str *ret, struct err_text *reterr)
{
    size_t n = 0;
    TRY(snappy_size(in, bytes_max, &n, reterr));
    char *p = arena_alloc_align(a, n + 1, 1);
    TRY(snappy_into(in, p, &n, reterr));
    *ret = (str){ p, n };
    return OK;
}

enum err decompress(enum coding c, str in, size_t bytes_max, struct buf *out, struct err_text *reterr)
{
    size_t from = out->n;
    enum err e = OK;
    switch (c) {
    case CODING_IDENTITY:
        if (in.n > bytes_max)
            return too_big(bytes_max, reterr);
        buf_str_add(out, in);
        e = out->failed ? too_big(bytes_max, reterr) : OK;
        break;
    case CODING_GZIP:
        e = inflate_all(KIND_GZIP, in, bytes_max, out, reterr);
        break;
    case CODING_DEFLATE:
        e = inflate_deflate(in, bytes_max, out, reterr);
        break;
    case CODING_ZSTD:
        e = unzstd(in, bytes_max, out, reterr);
        break;
    case CODING_SNAPPY:
        e = unsnappy(in, bytes_max, out, reterr);
        break;
    }
    if (e != OK)
        out->n = from;
    return e;
}

enum err gzip_compress(str in, int level, struct buf *out)
{
    struct libdeflate_compressor *c = libdeflate_alloc_compressor(level);
    ASSERT(c != NULL);
    size_t cap = libdeflate_gzip_compress_bound(c, in.n), n = 0;
    enum err e = room(out, cap) ? OK : ERR_LIMIT;
    if (e == OK) {
        n = libdeflate_gzip_compress(c, in.p, in.n, out->p + out->n, cap);
        ASSERT(n > 0);
        out->n += n;
    }
    libdeflate_free_compressor(c);
    return e;
}

void snappy_pack(str in, struct buf *out)
{
    size_t n = snappy_max_compressed_length(in.n);
    if (!room(out, n))
        return;
    ASSERT(snappy_compress(in.p, in.n, out->p + out->n, &n) == SNAPPY_OK);
    out->n += n;
}

/* "gzip;q=0" and "*;q=0" refuse; "*" accepts. */
bool accepts_gzip(str accept)
{
    bool any = false, any_ok = false;
    str item;
    while (str_cut(&accept, ',', &item)) {
        str name, param;
        bool ok = true;
        if (!str_cut(&item, ';', &name))
            continue;
        while (str_cut(&item, ';', &param)) {
            param = str_trim(param);
            if (param.n > 2 && (param.p[0] | 0x20) == 'q' && param.p[1] == '=') {
                ok = false;
                for (size_t i = 2; i < param.n; i++)
                    ok |= param.p[i] >= '1' && param.p[i] <= '9';
            }
        }
        name = str_trim(name);
        if (str_ieq(name, STR("gzip")) || str_ieq(name, STR("x-gzip")))
            return ok;
        if (str_eq(name, STR("*"))) {
            any = true;
            any_ok = ok;
        }
    }
    return any && any_ok;
}
