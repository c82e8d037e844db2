/* Codecs: round trips over random, adversarial and typical columns; sizes that are promised; damaged input. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/os.h"
#include "store/codec.h"

enum { N_MAX = 1100 };

static struct rng rng = { 20261121 };

static double of_bits(uint64_t b)
{
    double v;
    memcpy(&v, &b, 8);
    return v;
}

/* Every length class: none, one, around the block of 128, several blocks. */
static size_t some_length(void)
{
    static const size_t edges[] = { 0,   1,   2,   3,   7,   8,   9,   119, 120,  127,  128,
                                    129, 130, 131, 240, 255, 256, 257, 258, 1000, N_MAX };
    return rng_below(&rng, 3) ? edges[rng_below(&rng, ARRAY_LEN(edges))] : (size_t)rng_below(&rng, N_MAX);
}

static str exact_copy(const struct buf *b) /* on the heap without slack, so that ASan sees a read too far */
{
    return mem_dup(buf_str(b));
}

/* ---- int64 ---- */
static void fill_i64(int64_t *v, size_t n, unsigned kind)
{
    uint64_t x = rng_next(&rng), step = rng_next(&rng) >> rng_below(&rng, 64);
    unsigned bits = (unsigned)rng_below(&rng, 65);
    uint64_t mask = bits == 64 ? ~0ull : (1ull << bits) - 1;
    for (size_t i = 0; i < n; i++) {
        switch (kind % 11) {
        case 0:
            x = rng_next(&rng);
            break;
        case 1:
            x = rng_next(&rng) & mask;
            break;
        case 2:
            x += step;
            break;
        case 3:
            x += rng_next(&rng) & mask;
            break;
        case 4:
            x += rng_below(&rng, 20) ? 0 : rng_next(&rng) & mask;
            break;
        case 5:
            x += 60000 + rng_below(&rng, 5) - 2;
            break;
        case 6:
            x = (uint64_t)INT64_MIN + (rng_next(&rng) & 1) * UINT64_MAX;
            break;
        case 7:
            x = (rng_next(&rng) & mask) << 12;
            break;
        case 8:
            x = rng_below(&rng, 30) ? 5 : rng_next(&rng);
            break;
        case 9:
            x = x + step + (i == n / 2 ? rng_next(&rng) : 0);
            break;
        default:
            x = i % 2 ? (uint64_t)INT64_MAX : (uint64_t)INT64_MIN;
            break;
        }
        v[i] = (int64_t)x;
    }
}

static void check_i64(const int64_t *v, size_t n)
{
    static int64_t back[N_MAX];
    struct buf b;
    size_t used = 99, skipped = 98;
    buf_init(&b, 0);
    codec_i64_encode(&b, v, n);
    assert_true(b.n <= n * 8 + 40 + n / 16);
    str s = exact_copy(&b);
    assert_int_equal(codec_i64_decode(s, n, back, &used), OK);
    assert_int_equal(used, s.n);
    assert_int_equal(codec_i64_skip(s, n, &skipped), OK);
    assert_int_equal(skipped, used);
    assert_true(n == 0 || memcmp(v, back, n * 8) == 0);
    for (size_t cut = 0; cut < s.n && n; cut += 1 + s.n / 7) { /* never reads past the end, never succeeds */
        str head = mem_dup(str_take(s, cut));
        assert_int_equal(codec_i64_decode(head, n, back, NULL), ERR_CORRUPT);
        assert_int_equal(codec_i64_skip(head, n, &skipped), ERR_CORRUPT);
        mem_free((void *)(uintptr_t)head.p);
    }
    mem_free((void *)(uintptr_t)s.p);
    buf_deinit(&b);
}

static void test_i64_round_trip(void **state)
{
    (void)state;
    static int64_t v[N_MAX];
    for (unsigned i = 0; i < 8000; i++) {
        size_t n = some_length();
        fill_i64(v, n, i);
        check_i64(v, n);
    }
}

static void test_i64_sizes(void **state)
{
    (void)state;
    int64_t v[240], c;
    struct buf b;
    buf_init(&b, 0);
    for (int i = 0; i < 240; i++)
        v[i] = 1000000;
    codec_i64_encode(&b, v, 240);
    assert_true(b.n <= 4);
    assert_true(codec_i64_const(buf_str(&b), 240, &c) && c == 1000000);
    v[0] = INT64_MIN;
    buf_clear(&b);
    codec_i64_encode(&b, v, 1);
    assert_true(b.n <= 11);
    for (int i = 0; i < 240; i++) /* a regular timeline */
        v[i] = 1700000000000 + i * 15000;
    buf_clear(&b);
    codec_ts_encode(&b, v, 240);
    assert_true(b.n <= 12);
    assert_false(codec_i64_const(buf_str(&b), 240, &c));
    for (int i = 0; i < 240; i++) /* multiples of a page */
        v[i] = ((int64_t)i * 7919 % 100) * 4096 + 123;
    buf_clear(&b);
    codec_i64_encode(&b, v, 240);
    assert_true(b.n <= 240);
    buf_deinit(&b);
}

static void test_bits(void **state)
{
    (void)state;
    for (unsigned w = 0; w <= 64; w++)
        for (size_t n = 0; n <= 128; n++) {
            uint64_t v[128], back[128];
            for (size_t i = 0; i < n; i++)
                v[i] = w ? rng_next(&rng) >> (64 - w) : 0;
            struct buf b;
            buf_init(&b, 0);
            codec_bits_pack(&b, v, n, w);
            assert_int_equal(b.n, codec_bits_bytes(n, w));
            str s = exact_copy(&b);
            codec_bits_unpack(s.p, n, w, back);
            assert_true(n == 0 || memcmp(v, back, n * 8) == 0);
            mem_free((void *)(uintptr_t)s.p);
            buf_deinit(&b);
        }
}

static void test_pfor(void **state)
{
    (void)state;
    static uint64_t v[N_MAX], back[N_MAX];
    for (unsigned round = 0; round < 2000; round++) {
        size_t n = some_length(), used;
        unsigned low = (unsigned)rng_below(&rng, 64), every = 1 + (unsigned)rng_below(&rng, 200);
        for (size_t i = 0; i < n; i++)
            v[i] = rng_below(&rng, every) ? rng_next(&rng) >> (63 - low) : rng_next(&rng);
        struct buf b;
        buf_init(&b, 0);
        codec_pfor_encode(&b, v, n);
        assert_true(b.n <= n * 8 + n / 128 + 1);
        str s = exact_copy(&b);
        assert_int_equal(codec_pfor_decode(s, n, back, &used), OK);
        assert_int_equal(used, s.n);
        assert_true(n == 0 || memcmp(v, back, n * 8) == 0);
        mem_free((void *)(uintptr_t)s.p);
        buf_deinit(&b);
    }
}

static void test_u32(void **state)
{
    (void)state;
    static uint32_t v[N_MAX], back[N_MAX];
    for (unsigned round = 0; round < 500; round++) {
        size_t n = some_length(), used;
        uint32_t x = 0;
        for (size_t i = 0; i < n; i++)
            v[i] = round % 2 ? (uint32_t)rng_next(&rng) : (x += (uint32_t)rng_below(&rng, 9));
        struct buf b;
        buf_init(&b, 0);
        codec_u32_encode(&b, v, n);
        assert_int_equal(codec_u32_decode(buf_str(&b), n, back, &used), OK);
        assert_true(used == b.n && (n == 0 || memcmp(v, back, n * 4) == 0));
        buf_deinit(&b);
    }
    int64_t wide = 1ll << 32;
    struct buf b;
    buf_init(&b, 0);
    codec_i64_encode(&b, &wide, 1);
    assert_int_equal(codec_u32_decode(buf_str(&b), 1, back, NULL), ERR_CORRUPT);
    buf_deinit(&b);
}

/* ---- doubles ---- */
static double odd_double(void)
{
    static const uint64_t odd[] = { 0x7ff0000000000002ull,
                                    0x7ff8000000000001ull,
                                    0x7ff8000000000000ull,
                                    0xfff8dead0000beefull,
                                    0x7ff0000000000000ull,
                                    0xfff0000000000000ull,
                                    0x8000000000000000ull,
                                    0,
                                    1,
                                    0x000fffffffffffffull,
                                    0x7fefffffffffffffull,
                                    0x43e0000000000000ull,
                                    0xc3e0000000000000ull,
                                    0x4340000000000000ull,
                                    0x4340000000000001ull,
                                    0x433fffffffffffffull };
    return of_bits(odd[rng_below(&rng, ARRAY_LEN(odd))]);
}

static void fill_f64(double *v, size_t n, unsigned kind)
{
    static const double scales[] = { 1, 10, 100, 1000, 1e4, 1e6, 1e9, 1e12 };
    double scale = scales[rng_below(&rng, ARRAY_LEN(scales))], x = (double)rng_below(&rng, 1000000);
    uint64_t any = rng_next(&rng);
    for (size_t i = 0; i < n; i++) {
        switch (kind % 12) {
        case 0:
            v[i] = of_bits(rng_next(&rng));
            break;
        case 1:
            v[i] = odd_double();
            break;
        case 2:
            v[i] = (x += (double)rng_below(&rng, 100)) / scale;
            break;
        case 3:
            v[i] = (x += (double)rng_below(&rng, 100)) * (1 / scale);
            break;
        case 4:
            v[i] = rng_unit(&rng);
            break;
        case 5:
            v[i] = of_bits(any);
            break;
        case 6:
            v[i] = rng_below(&rng, 20) ? x : odd_double();
            break;
        case 7:
            v[i] = (double)(int64_t)rng_next(&rng);
            break;
        case 8:
            v[i] = (x += rng_unit(&rng) * 1e-7);
            break;
        case 9:
            v[i] = i == n - 1 ? of_bits(0x7ff0000000000002ull) : (x += (double)rng_below(&rng, 3));
            break;
        case 10:
            v[i] = (double)rng_below(&rng, 1000) * 1e15;
            break;
        default:
            v[i] = i % 2 ? -(double)rng_below(&rng, 100000) / 100 : (double)rng_below(&rng, 100000) / 1000;
            break;
        }
    }
}

static void check_f64(const double *v, size_t n)
{
    static double back[N_MAX];
    struct buf b;
    size_t used = 99, skipped = 98;
    double c = 0;
    buf_init(&b, 0);
    codec_f64_encode(&b, v, n);
    assert_true(b.n <= n * 8 + 64 + n / 16);
    str s = exact_copy(&b);
    assert_int_equal(codec_f64_decode(s, n, back, &used), OK);
    assert_int_equal(used, s.n);
    assert_int_equal(codec_f64_skip(s, n, &skipped), OK);
    assert_int_equal(skipped, used);
    assert_true(n == 0 || memcmp(v, back, n * 8) == 0);
    bool same = n > 0;
    for (size_t i = 1; i < n; i++)
        same &= memcmp(&v[i], &v[0], 8) == 0;
    assert_int_equal(codec_f64_const(s, n, &c), same);
    assert_true(!same || memcmp(&c, v, 8) == 0);
    for (size_t cut = 0; cut < s.n && n; cut += 1 + s.n / 5) {
        str head = mem_dup(str_take(s, cut));
        assert_int_equal(codec_f64_decode(head, n, back, NULL), ERR_CORRUPT);
        assert_int_equal(codec_f64_skip(head, n, &skipped), ERR_CORRUPT);
        mem_free((void *)(uintptr_t)head.p);
    }
    mem_free((void *)(uintptr_t)s.p);
    buf_deinit(&b);
}

static void test_f64_round_trip(void **state)
{
    (void)state;
    static double v[N_MAX];
    for (unsigned i = 0; i < 8000; i++) {
        size_t n = some_length();
        fill_f64(v, n, i);
        check_f64(v, n);
    }
}

/* Every decimal with up to five digits and any exponent of the codec, alone and with a neighbour. */
static void test_f64_decimals(void **state)
{
    (void)state;
    char text[32];
    double v[2];
    for (int e = 0; e <= 12; e++)
        for (int m = 1; m < 100000; m += 1 + m / 40) {
            snprintf(text, sizeof(text), "%de-%d", m, e);
            v[0] = strtod(text, NULL);
            v[1] = -v[0] * 0.001;
            check_f64(v, 2);
            struct buf b;
            buf_init(&b, 0);
            codec_f64_encode(&b, v, 1);
            assert_true(b.n <= 4);
            buf_deinit(&b);
        }
}

static size_t f64_bytes(const double *v, size_t n)
{
    struct buf b;
    buf_init(&b, 0);
    codec_f64_encode(&b, v, n);
    size_t bytes = b.n;
    buf_deinit(&b);
    return bytes;
}

static void test_f64_sizes(void **state)
{
    (void)state;
    double v[240];
    for (int i = 0; i < 240; i++)
        v[i] = of_bits(0x7ff0000000000002ull);
    assert_int_equal(f64_bytes(v, 240), 1);
    for (int i = 0; i < 240; i++)
        v[i] = 42.125;
    assert_true(f64_bytes(v, 240) <= 4);
    for (int i = 0; i < 240; i++) /* a counter of hundredths: 0 to 31 a step */
        v[i] = (1000000 + i * 15 + (i * 7) % 16) / 100.0;
    assert_true(f64_bytes(v, 240) <= 180);
    v[239] = of_bits(0x7ff0000000000002ull); /* a stale marker costs few bytes */
    assert_true(f64_bytes(v, 240) <= 190);
    for (int i = 0; i < 240; i++)
        v[i] = i * 0.001; /* products, not quotients */
    assert_true(f64_bytes(v, 240) <= 12);
}

/* ---- strings ---- */
static int by_str(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

static void test_dict(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    for (unsigned round = 0; round < 300; round++) {
        size_t n = some_length(), used;
        str *v = arena_zarray(&a, str, n + 1);
        for (size_t i = 0; i < n; i++)
            v[i] = arena_printf(&a, "%s%llu", round % 3 ? "node_cpu_seconds_" : "",
                                (unsigned long long)rng_below(&rng, 1u << (round % 31)));
        if (n > 3)
            v[0] = STR_NONE;
        qsort(v, n, sizeof(*v), by_str);
        struct buf b, scratch;
        buf_init(&b, 0);
        buf_init(&scratch, 0);
        codec_dict_encode(&b, v, n);
        str s = exact_copy(&b);
        struct codec_dict d;
        assert_int_equal(codec_dict_open(s, &d, &used), OK);
        assert_int_equal(used, s.n);
        assert_int_equal(d.n, n);
        str *all, one;
        assert_int_equal(codec_dict_all(&d, &a, &all), OK);
        for (size_t i = 0; i < n; i++) {
            assert_true(str_eq(all[i], v[i]));
            buf_clear(&scratch);
            assert_int_equal(codec_dict_get(&d, (uint32_t)i, &scratch, &one), OK);
            assert_true(str_eq(one, v[i]));
        }
        assert_int_equal(codec_dict_get(&d, (uint32_t)n, &scratch, &one), ERR_NOT_FOUND);
        for (int k = 0; k < 60; k++) {
            str key = k % 2 && n ? v[rng_below(&rng, n)]
                                 : arena_printf(&a, "node_cpu_seconds_%llu", (unsigned long long)rng_below(&rng, 1000));
            uint32_t at;
            bool equal;
            assert_int_equal(codec_dict_find(&d, key, &scratch, &at, &equal), OK);
            size_t want = 0;
            while (want < n && str_cmp(v[want], key) < 0)
                want++;
            assert_int_equal(at, want);
            assert_int_equal(equal, want < n && str_eq(v[want], key));
        }
        mem_free((void *)(uintptr_t)s.p);
        buf_deinit(&b);
        buf_deinit(&scratch);
        arena_reset(&a);
    }
    arena_deinit(&a);
}

static void test_strs(void **state)
{
    (void)state;
    static str v[N_MAX], back[N_MAX];
    static char text[5000];
    memset(text, 'x', sizeof(text));
    for (unsigned round = 0; round < 300; round++) {
        size_t n = some_length(), used;
        for (size_t i = 0; i < n; i++)
            v[i] = str_n(text + rng_below(&rng, 100), (size_t)rng_below(&rng, 60));
        struct buf b;
        buf_init(&b, 0);
        codec_strs_encode(&b, v, n);
        str s = exact_copy(&b);
        assert_int_equal(codec_strs_decode(s, n, back, &used), OK);
        assert_int_equal(used, s.n);
        for (size_t i = 0; i < n; i++)
            assert_true(str_eq(v[i], back[i]));
        if (s.n > 2) {
            str cut = mem_dup(str_take(s, s.n - 1));
            assert_int_equal(codec_strs_decode(cut, n, back, &used), ERR_CORRUPT);
            mem_free((void *)(uintptr_t)cut.p);
        }
        mem_free((void *)(uintptr_t)s.p);
        buf_deinit(&b);
    }
}

/* Arbitrary bytes: any answer, but no read or write outside. */
static void test_noise(void **state)
{
    (void)state;
    static int64_t out[N_MAX];
    static double outd[N_MAX];
    static str outs[N_MAX];
    for (unsigned round = 0; round < 20000; round++) {
        size_t n = (size_t)rng_below(&rng, 300), count = some_length(), used;
        char *p = mem_alloc(n + 1);
        p = mem_realloc(p, n ? n : 1);
        for (size_t i = 0; i < n; i++)
            p[i] = (char)(rng_below(&rng, 3) ? rng_below(&rng, 24) : rng_next(&rng));
        str s = { p, n };
        enum err e = codec_i64_decode(s, count, out, &used);
        size_t skipped;
        assert_true(codec_i64_skip(s, count, &skipped) == OK || e != OK);
        IGNORE_ERR(codec_f64_decode(s, count, outd, &used));
        IGNORE_ERR(codec_f64_skip(s, count, &used));
        IGNORE_ERR(codec_strs_decode(s, count, outs, &used));
        mem_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),         cmocka_unit_test(test_pfor),      cmocka_unit_test(test_i64_round_trip),
        cmocka_unit_test(test_i64_sizes),    cmocka_unit_test(test_u32),       cmocka_unit_test(test_f64_round_trip),
        cmocka_unit_test(test_f64_decimals), cmocka_unit_test(test_f64_sizes), cmocka_unit_test(test_dict),
        cmocka_unit_test(test_strs),         cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
