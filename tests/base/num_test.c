/* base/num.h: Go's texts for numbers, Prometheus' for durations. */
#include "test.h"

#include <math.h>

#include "base/num.h"
#include "base/os.h"

static void numbers_print_as_go(void **state)
{
    (void)state;
    static const struct {
        double v;
        const char *f, *g, *v_;
    } rows[] = {
        { 0, "0", "0", "0" },
        { -0.0, "-0", "-0", "-0" },
        { 1.5, "1.5", "1.5", "1.5" },
        { 100000, "100000", "100000", "100000" },
        { 1000000, "1000000", "1e+06", "1e+06" },
        { 1234567, "1234567", "1.234567e+06", "1.234567e+06" },
        { 1e20, "100000000000000000000", "1e+20", "1e+20" },
        { 1e21, "1000000000000000000000", "1e+21", "1e+21" },
        { 1e23, "100000000000000000000000", "1e+23", "1e+23" },
        { 0.0001, "0.0001", "0.0001", "0.0001" },
        { 0.00001, "0.00001", "1e-05", "1e-05" },
        { 0.1, "0.1", "0.1", "0.1" },
        { 123.456, "123.456", "123.456", "123.456" },
        { 5e-324, NULL, "5e-324", "5e-324" },
        { 1.7976931348623157e308, NULL, "1.7976931348623157e+308", "1.7976931348623157e+308" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char out[NUM_TEXT_MAX];
        if (rows[i].f)
            assert_str(str_n(out, num_format_f(out, rows[i].v)), rows[i].f);
        assert_str(str_n(out, num_format_g(out, rows[i].v)), rows[i].g);
    }
    char out[NUM_TEXT_MAX];
    assert_str(str_n(out, num_format_json(out, 1e20)), "100000000000000000000");
    assert_str(str_n(out, num_format_json(out, 1e21)), "1e+21");
    assert_str(str_n(out, num_format_json(out, 1234567)), "1234567");
    assert_str(str_n(out, num_format_json(out, 0.00001)), "0.00001");
    assert_str(str_n(out, num_format_json(out, -1.5e-7)), "-1.5e-7");
    assert_str(str_n(out, num_format_json(out, 1e-10)), "1e-10");
    assert_str(str_n(out, num_format_f(out, (double)NAN)), "NaN");
    assert_str(str_n(out, num_format_f(out, -HUGE_VAL)), "-Inf");
    assert_str(str_n(out, num_format_g(out, HUGE_VAL)), "+Inf");
}

static void numbers_read_back(void **state)
{
    (void)state;
    struct rng r = { 7 };
    for (int i = 0; i < 200000; i++) {
        uint64_t bits = rng_next(&r);
        if (i % 3 == 0)
            bits = (uint64_t)(int64_t)(rng_unit(&r) * 1e6);
        double v, back = 0;
        memcpy(&v, &bits, 8);
        if (i % 3 == 0)
            v = (double)bits / 100;
        if (!isfinite(v))
            continue;
        char out[NUM_TEXT_MAX];
        size_t n = i % 2 ? num_format_f(out, v) : num_format_g(out, v);
        assert_true(num_parse_f64(str_n(out, n), &back));
        assert_memory_equal(&v, &back, 8);
    }
}

static void numbers_parse_as_go(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        bool ok;
        double want;
    } rows[] = {
        { "1", true, 1 },           { "+1.5e3", true, 1500 },  { "-.5", true, -0.5 },
        { "5.", true, 5 },          { "0x1p4", true, 16 },     { "0X1.8P0", true, 1.5 },
        { "-0x1p-2", true, -0.25 }, { "inf", true, HUGE_VAL }, { "-Infinity", true, -HUGE_VAL },
        { "+Inf", true, HUGE_VAL }, { "1e-400", true, 0 },     { "1e400", false, 0 },
        { "", false, 0 },           { "1_000", false, 0 },     { "0x10", false, 0 },
        { "1 ", false, 0 },         { "--1", false, 0 },       { "+-1", false, 0 },
        { "1e", false, 0 },         { "e1", false, 0 },        { ".", false, 0 },
        { "+nan", false, 0 },       { "infi", false, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        double got = 0;
        bool ok = num_parse_f64(str_c(rows[i].in), &got);
        if (ok != rows[i].ok || (ok && got != rows[i].want))
            fail_msg("%s: ok %d, got %g", rows[i].in, ok, got);
    }
    double v;
    assert_true(num_parse_f64(STR("NaN"), &v) && isnan(v));
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        int64_t want_ms; /* -1: refused */
        const char *printed;
    } rows[] = {
        { "5m", 300000, "5m" },
        { "1h30m", 5400000, "1h30m" },
        { "1w", 604800000, "1w" },
        { "0", 0, "0s" },
        { "0s", 0, "0s" },
        { "1d", 86400000, "1d" },
        { "90m", 5400000, "1h30m" },
        { "10ms", 10, "10ms" },
        { "1m10ms", 60010, "1m10ms" },
        { "1y", 31536000000, "1y" },
        { "25h", 90000000, "1d1h" },
        { "8d", 691200000, "8d" },
        { "5x", -1, NULL },
        { "", -1, NULL },
        { "m", -1, NULL },
        { "1m1h", -1, NULL },
        { "1m1m", -1, NULL },
        { "1.5h", -1, NULL },
        { "-1h", -1, NULL },
        { "99999999999y", -1, NULL },
        { "1", -1, NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t ms = -1;
        bool ok = num_parse_duration(str_c(rows[i].in), &ms);
        if (ok != (rows[i].want_ms >= 0) || (ok && ms != rows[i].want_ms))
            fail_msg("%s: ok %d, %lld ms", rows[i].in, ok, (long long)ms);
        if (ok) {
            AUTO_BUF struct buf b = { 0 };
            buf_duration(&b, ms);
            assert_str(buf_str(&b), rows[i].printed);
        }
    }
}

static void times_and_sizes(void **state)
{
    (void)state;
    int64_t ms;
    assert_true(num_parse_time(STR("2015-07-01T20:10:51.781Z"), &ms));
    assert_int_equal(ms, 1435781451781);
    assert_true(num_parse_time(STR("2015-07-01T22:10:51+02:00"), &ms));
    assert_int_equal(ms, 1435781451000);
    assert_true(num_parse_time(STR("1435781451.781"), &ms));
    assert_int_equal(ms, 1435781451781);
    assert_true(num_parse_time(STR("1969-12-31T23:59:59Z"), &ms));
    assert_int_equal(ms, -1000);
    assert_false(num_parse_time(STR("2015-13-01T20:10:51Z"), &ms));
    assert_false(num_parse_time(STR("2015-02-30T20:10:51Z"), &ms));
    assert_false(num_parse_time(STR("yesterday"), &ms));
    assert_false(num_parse_time(STR("NaN"), &ms));
    AUTO_BUF struct buf b = { 0 };
    buf_rfc3339_ms(&b, 1435781451781);
    assert_str(buf_str(&b), "2015-07-01T20:10:51.781Z");
    uint64_t n;
    assert_true(num_parse_bytes(STR("512MB"), &n) && n == 512ull << 20);
    assert_true(num_parse_bytes(STR("1GiB"), &n) && n == 1ull << 30);
    assert_true(num_parse_bytes(STR("1.5KB"), &n) && n == 1536);
    assert_true(num_parse_bytes(STR("7"), &n) && n == 7);
    assert_false(num_parse_bytes(STR("7XB"), &n));
    assert_false(num_parse_bytes(STR("GB"), &n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_print_as_go), cmocka_unit_test(numbers_read_back),
        cmocka_unit_test(numbers_parse_as_go), cmocka_unit_test(durations),
        cmocka_unit_test(times_and_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
