/* wire/compress.h: round trips, damage, bombs. */
#include "wire_test.h"

#include <zlib.h>
#include <zstd.h>

#include "wire/compress.h"

static const char text[] =
    "http_requests_total{method=\"GET\",route=\"/cart\"} 17 http_requests_total{method=\"POST\"} 18\n";

static str plain(struct arena *a, size_t n)
{
    char *p = arena_alloc(a, n);
    for (size_t i = 0; i < n; i++)
        p[i] = text[i % (sizeof(text) - 1)];
    return (str){ p, n };
}

static void zlib_pack(str in, int window_bits, struct buf *out)
{
    z_stream z = { .next_in = (Bytef *)(uintptr_t)in.p, .avail_in = (uInt)in.n };
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_true(buf_reserve(out, in.n + 1000));
    z.next_out = (Bytef *)(out->p + out->n);
    z.avail_out = (uInt)(in.n + 1000);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out->n += z.total_out;
    deflateEnd(&z);
}

enum { PACK_GZIP, PACK_GZIP_TWO, PACK_ZLIB, PACK_RAW, PACK_ZSTD, PACK_ZSTD_TWO, PACK_SNAPPY, PACK_NONE, PACK_N };
static enum coding pack(int how, str in, struct buf *out)
{
    switch (how) {
    case PACK_GZIP:
        assert_ok(gzip_compress(in, 1, out));
        return CODING_GZIP;
    case PACK_GZIP_TWO:
        assert_ok(gzip_compress(str_take(in, in.n / 2), 1, out));
        zlib_pack(str_skip(in, in.n / 2), 15 + 16, out);
        return CODING_GZIP;
    case PACK_ZLIB:
        zlib_pack(in, 15, out);
        return CODING_DEFLATE;
    case PACK_RAW:
        zlib_pack(in, -15, out);
        return CODING_DEFLATE;
    case PACK_ZSTD:
    case PACK_ZSTD_TWO:
        for (int i = 0; i <= how - PACK_ZSTD; i++) {
            str part = how == PACK_ZSTD ? in : i ? str_skip(in, in.n / 2) : str_take(in, in.n / 2);
            assert_true(buf_reserve(out, ZSTD_compressBound(part.n)));
            out->n += ZSTD_compress(out->p + out->n, ZSTD_compressBound(part.n), part.p, part.n, 1);
        }
        return CODING_ZSTD;
    case PACK_SNAPPY:
        snappy_pack(in, out);
        return CODING_SNAPPY;
    default:
        buf_str_add(out, in);
        return CODING_IDENTITY;
    }
}

static void round_trips_and_limits(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, 100, 70000, 1 << 20 };
    for (int how = 0; how < PACK_N; how++)
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            AUTO_ARENA struct arena a;
            arena_init(&a, 0);
            AUTO_BUF struct buf packed;
            buf_init(&packed, 0);
            AUTO_BUF struct buf out;
            buf_init(&out, 0);
            str in = plain(&a, sizes[i]);
            enum coding c = pack(how, in, &packed);
            buf_lit(&out, "kept");
            struct err_text why = { 0 };
            enum err e = decompress(c, buf_str(&packed), sizes[i], &out, &why);
            if (e != OK)
                fail_msg("%d, %zu bytes: %s", how, sizes[i], why.msg);
            assert_true(str_eq(str_skip(buf_str(&out), 4), in));
            out.n = 4;
            if (sizes[i]) {
                assert_err(decompress(c, buf_str(&packed), sizes[i] - 1, &out, &why), ERR_LIMIT);
                assert_int_equal(out.n, 4);
            }
        }
}

static void damage_is_refused(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str in = plain(&a, 5000);
    for (int how = 0; how < PACK_NONE; how++) {
        AUTO_BUF struct buf packed;
        buf_init(&packed, 0);
        AUTO_BUF struct buf out;
        buf_init(&out, 0);
        enum coding c = pack(how, in, &packed);
        for (size_t n = 0; n < packed.n; n += 1 + n / 8)
            if (how != PACK_GZIP_TWO && how != PACK_ZSTD_TWO)
                assert_err(decompress(c, str_take(buf_str(&packed), n), 1 << 20, &out, NULL), ERR_CORRUPT);
        assert_int_equal(out.n, 0);
        if (how == PACK_GZIP || how == PACK_ZLIB) {
            packed.p[packed.n - (how == PACK_GZIP ? 6 : 2)] ^= 1; /* checksum */
            assert_err(decompress(c, buf_str(&packed), 1 << 20, &out, NULL), ERR_CORRUPT);
        }
    }
}

static void bombs_cost_nothing(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    char *zeros = arena_zalloc(&a, 32 << 20);
    static const int hows[] = { PACK_GZIP, PACK_RAW, PACK_ZSTD, PACK_SNAPPY };
    for (size_t i = 0; i < ARRAY_LEN(hows); i++) {
        AUTO_BUF struct buf packed;
        buf_init(&packed, 0);
        enum coding c = pack(hows[i], (str){ zeros, 32 << 20 }, &packed);
        assert_err(decompress(c, buf_str(&packed), 1 << 20, &out, NULL), ERR_LIMIT);
        assert_true(out.cap < 4 << 20);
    }
    /* a snappy block of a few bytes that claims 1 GiB */
    assert_err(decompress(CODING_SNAPPY, STR("\x80\x80\x80\x80\x04\x00x"), SIZE_MAX, &out, NULL), ERR_CORRUPT);
}

static void headers(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        bool ok;
        enum coding want;
    } rows[] = {
        { "", true, CODING_IDENTITY }, { "gzip", true, CODING_GZIP }, { " X-GZIP ", true, CODING_GZIP },
        { "zstd", true, CODING_ZSTD }, { "br", false, CODING_GZIP },  { "snappy", true, CODING_SNAPPY },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum coding c = CODING_GZIP;
        assert_int_equal(coding_parse(str_c(rows[i].in), &c), rows[i].ok);
        assert_int_equal(c, rows[i].want);
    }
    assert_true(accepts_gzip(STR("gzip, deflate, br")));
    assert_true(accepts_gzip(STR("deflate;q=0.5, gzip;q=0.1")));
    assert_true(accepts_gzip(STR("*")));
    assert_false(accepts_gzip(STR("gzip;q=0, *")));
    assert_false(accepts_gzip(STR("gzip;q=0.000")));
    assert_false(accepts_gzip(STR("identity")));
    assert_false(accepts_gzip(STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips_and_limits),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(bombs_cost_nothing),
        cmocka_unit_test(headers),
    };
    return cmocka_run_group_tests_name("wire/compress", tests, NULL, NULL);
}
