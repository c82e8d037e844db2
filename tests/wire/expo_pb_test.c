/* The protobuf exposition and classic histograms as native ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "model/histogram_math.h"
#include "wire/expo_pb.h"

/* ---- a writer of io.prometheus.client.MetricFamily ---- */

struct body {
    struct buf b;
    struct buf family, metric, value;
};
static void body_init(struct body *w)
{
    buf_init(&w->b, 0);
    buf_init(&w->family, 0);
    buf_init(&w->metric, 0);
    buf_init(&w->value, 0);
}
static void body_deinit(struct body *w)
{
    buf_deinit(&w->b);
    buf_deinit(&w->family);
    buf_deinit(&w->metric);
    buf_deinit(&w->value);
}
static void label(struct buf *b, uint32_t field, const char *name, const char *value)
{
    size_t at = pb_open(b, field);
    pb_put_bytes(b, 1, str_c(name));
    pb_put_bytes(b, 2, str_c(value));
    pb_close(b, at);
}
static void timestamp(struct buf *b, uint32_t field, int64_t ms)
{
    size_t at = pb_open(b, field);
    pb_put_varint(b, 1, (uint64_t)(ms / 1000));
    pb_put_varint(b, 2, (uint64_t)(ms % 1000 * 1000000));
    pb_close(b, at);
}
static void exemplar(struct buf *b, uint32_t field, const char *trace, double v, int64_t ts_ms)
{
    size_t at = pb_open(b, field);
    label(b, 1, "trace_id", trace);
    pb_put_double(b, 2, v);
    if (ts_ms)
        timestamp(b, 3, ts_ms);
    pb_close(b, at);
}
static void span(struct buf *b, uint32_t field, int32_t offset, uint32_t length)
{
    size_t at = pb_open(b, field);
    pb_put_varint(b, 1, zigzag(offset) & UINT32_MAX);
    pb_put_varint(b, 2, length);
    pb_close(b, at);
}
static void classic(struct buf *b, double bound, uint64_t count, const char *trace, int64_t ts_ms)
{
    size_t at = pb_open(b, 3);
    pb_put_varint(b, 1, count);
    pb_put_double(b, 2, bound);
    if (trace)
        exemplar(b, 3, trace, bound / 2, ts_ms);
    pb_close(b, at);
}
static void head(struct body *w, const char *name, const char *help, unsigned type, const char *unit)
{
    buf_clear(&w->family);
    pb_put_bytes(&w->family, 1, str_c(name));
    pb_put_bytes(&w->family, 2, str_c(help));
    pb_put_varint(&w->family, 3, type);
    if (*unit)
        pb_put_bytes(&w->family, 5, str_c(unit));
}
/* value: the bytes of the gauge, counter ... message in `field`. */
static void metric(struct body *w, uint32_t field, const char *name, const char *value)
{
    size_t at = pb_open(&w->family, 4);
    if (name)
        label(&w->family, 1, name, value);
    pb_put_bytes(&w->family, field, buf_str(&w->value));
    pb_close(&w->family, at);
    buf_clear(&w->value);
}
static void end_family(struct body *w)
{
    buf_lstr(&w->b, buf_str(&w->family));
}

/* ---- printing what is read ---- */

static void put_entry(struct buf *out, struct expo_pb *x, struct arena *a)
{
    struct labels ls;
    struct exemplar *ex;
    if (x->e.entry == EXPO_HELP)
        buf_printf(out, "help " STR_FMT " " STR_FMT "\n", STR_ARG(x->e.name), STR_ARG(x->e.text));
    if (x->e.entry == EXPO_TYPE)
        buf_printf(out, "type " STR_FMT " %s\n", STR_ARG(x->e.name), metric_type_name(x->e.type));
    if (x->e.entry == EXPO_UNIT)
        buf_printf(out, "unit " STR_FMT " " STR_FMT "\n", STR_ARG(x->e.name), STR_ARG(x->e.text));
    if (x->e.entry != EXPO_SAMPLE && x->e.entry != EXPO_HISTOGRAM)
        return;
    assert_int_equal(expo_pb_labels(x, a, &ls, NULL), OK);
    labels_print(out, ls);
    buf_u8(out, ' ');
    if (x->e.entry == EXPO_SAMPLE)
        buf_printf(out, "%g", x->e.value);
    else
        histogram_print_test(out, x->hist);
    if (x->e.has_ts)
        buf_printf(out, " @%lld", (long long)x->e.ts_ms);
    if (x->start_ms)
        buf_printf(out, " from %lld", (long long)x->start_ms);
    size_t n = expo_pb_exemplars(x, a, 77, &ex);
    for (size_t i = 0; i < n; i++) {
        buf_lit(out, " # ");
        labels_print(out, ex[i].labels);
        buf_printf(out, " %g @%lld", ex[i].v, (long long)ex[i].ts_ms);
    }
    buf_u8(out, '\n');
}

static void check_text(struct body *w, struct expo_pb_options opt, const char *want)
{
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf out;
    struct expo_pb x;
    arena_init(&a, 0);
    buf_init(&out, 0);
    expo_pb_init(&x, buf_str(&w->b), opt, &a);
    while (expo_pb_next(&x) > EXPO_ERROR)
        put_entry(&out, &x, &a);
    if (x.e.entry == EXPO_ERROR)
        buf_printf(&out, "error %s\n", x.e.error.msg);
    expo_pb_deinit(&x);
    buf_u8(&out, 0);
    assert_string_equal(out.p, want);
}
#define OPT(...) ((struct expo_pb_options){ __VA_ARGS__ })

/* ---- tests ---- */

static void plain_types(void **state)
{
    struct body w;
    (void)state;
    body_init(&w);
    head(&w, "hits_total", "Hits.\\n \"so\"", 0, "");
    pb_put_double(&w.value, 1, 5);
    exemplar(&w.value, 2, "abc", 1, 0);
    timestamp(&w.value, 3, 1500);
    metric(&w, 3, "path", "/a");
    end_family(&w);
    head(&w, "temp_celsius", "", 1, "celsius");
    pb_put_double(&w.value, 1, -2.5);
    metric(&w, 2, NULL, NULL);
    end_family(&w);
    head(&w, "odd", "", 3, "");
    pb_put_double(&w.value, 1, (double)NAN);
    metric(&w, 5, "empty", "");
    end_family(&w);
    head(&w, "rpc_seconds", "", 2, "seconds");
    pb_put_varint(&w.value, 1, 10);
    pb_put_double(&w.value, 2, 3.5);
    size_t at = pb_open(&w.value, 3);
    pb_put_double(&w.value, 1, 1);
    pb_put_double(&w.value, 2, 0.9);
    pb_close(&w.value, at);
    metric(&w, 4, NULL, NULL);
    end_family(&w);
    check_text(&w, OPT(0),
               "help hits_total Hits.\\n \"so\"\ntype hits_total counter\n"
               "hits_total{path=\"/a\"} 5 from 1500 # {trace_id=\"abc\"} 1 @77\n"
               "help temp_celsius \ntype temp_celsius gauge\nunit temp_celsius celsius\ntemp_celsius -2.5\n"
               "help odd \ntype odd unknown\nodd nan\n"
               "help rpc_seconds \ntype rpc_seconds summary\nunit rpc_seconds seconds\nrpc_seconds_count "
               "10\nrpc_seconds_sum 3.5\n"
               "rpc_seconds{quantile=\"1.0\"} 0.9\n");
    body_deinit(&w);
}

static void put_histogram(struct body *w, bool is_native, bool has_classic)
{
    pb_put_varint(&w->value, 1, 6);
    pb_put_double(&w->value, 2, 9.5);
    if (has_classic) {
        classic(&w->value, 1, 2, "b1", 2000);
        classic(&w->value, 2.5, 5, "b2", 0);
    }
    if (is_native) {
        pb_put_varint(&w->value, 5, zigzag(1));
        pb_put_double(&w->value, 6, 0.001);
        pb_put_varint(&w->value, 7, 1);
        span(&w->value, 12, -1, 2);
        span(&w->value, 12, 3, 1);
        pb_put_varint(&w->value, 13, zigzag(1)); /* 1 3 1 */
        pb_put_varint(&w->value, 13, zigzag(2));
        pb_put_varint(&w->value, 13, zigzag(-2));
        exemplar(&w->value, 16, "late", 4, 4000);
        exemplar(&w->value, 16, "early", 3, 3000);
        exemplar(&w->value, 16, "timeless", 3, 0);
    }
    timestamp(&w->value, 15, 1000);
}

#define NATIVE                                                                                                \
    "h {{schema:1 count:6 sum:9.5 z_bucket:1 z_bucket_w:0.001 offset:-1 buckets:[1 3 0 0 0 1]}} from 1000 # " \
    "{trace_id=\"early\"} 3 @3000"                                                                            \
    " # {trace_id=\"late\"} 4 @4000\n"
#define CLASSIC                                                                                                  \
    "h_count 6 from 1000\nh_sum 9.5 from 1000\nh_bucket{le=\"1.0\"} 2 from 1000 # {trace_id=\"b1\"} 0.5 @2000\n" \
    "h_bucket{le=\"2.5\"} 5 from 1000 # {trace_id=\"b2\"} 1.25 @77\nh_bucket{le=\"+Inf\"} 6 from 1000\n"
#define CUSTOM \
    "h {{schema:-53 count:6 sum:9.5 custom_values:[1 2.5] buckets:[2 3 1]}} from 1000 # {trace_id=\"b1\"} 0.5 @2000\n"
#define HEAD "help h \ntype h histogram\n"

static void histograms(void **state)
{
    static const struct {
        bool is_native, has_classic;
        struct expo_pb_options opt;
        const char *want;
    } rows[] = {
        { true, true, { .native = true }, HEAD NATIVE },
        { true, true, { .native = true, .classic_too = true }, HEAD NATIVE CLASSIC },
        { true, true, { .native = true, .nhcb = true }, HEAD NATIVE },
        { true, true, { 0 }, HEAD CLASSIC },
        { true, false, { .native = true, .classic_too = true }, HEAD NATIVE },
        { false, true, { .native = true }, HEAD CLASSIC },
        { false, true, { .native = true, .nhcb = true }, HEAD CUSTOM },
        { false, true, { .nhcb = true, .classic_too = true }, HEAD CUSTOM CLASSIC },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct body w;
        body_init(&w);
        head(&w, "h", "", 4, "");
        put_histogram(&w, rows[i].is_native, rows[i].has_classic);
        metric(&w, 7, NULL, NULL);
        end_family(&w);
        check_text(&w, rows[i].opt, rows[i].want);
        body_deinit(&w);
    }
}

static void float_gauge_histograms(void **state)
{
    struct body w;
    (void)state;
    body_init(&w);
    head(&w, "g", "", 5, "");
    pb_put_double(&w.value, 4, 2.5);
    pb_put_double(&w.value, 2, -1);
    pb_put_double(&w.value, 8, 0.5);
    span(&w.value, 9, 0, 1);
    double counts[] = { 2.0 };
    pb_put_bytes(&w.value, 11, (str){ (const char *)counts, sizeof(counts) });
    metric(&w, 7, "a", "b");
    pb_put_varint(&w.value, 1, 0); /* nothing observed yet: an empty span says that it is native */
    span(&w.value, 12, 0, 0);
    metric(&w, 7, "a", "c");
    end_family(&w);
    check_text(&w, OPT(.native = true),
               "help g \ntype g gaugehistogram\ng{a=\"b\"} {{count:2.5 sum:-1 z_bucket:0.5 counter_reset_hint:gauge "
               "n_buckets:[2]}}\n"
               "g{a=\"c\"} {{counter_reset_hint:gauge}}\n");
    body_deinit(&w);
}

static void malformed(void **state)
{
    static const struct {
        str body;
        const char *error;
    } rows[] = {
        { STR_INIT("\x05\x0a\x01"), "longer than the body" },
        { STR_INIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "malformed length" },
        { STR_INIT("\x03\x0a\x05"
                   "a"),
          "malformed metric family" },
        { STR_INIT("\x00"), "invalid name" },
        { STR_INIT("\x03\x0a\x01\xff"), "invalid name" },
        { STR_INIT("\x05\x0a\x01"
                   "a\x18\x09"),
          "unknown type" },
        { STR_INIT("\x06\x0a\x01"
                   "a\x2a\x01"
                   "s"),
          "unit is not a suffix" },
        { STR_INIT("\x09\x0a\x01"
                   "a\x18\x01\x22\x02\x0a\x09"),
          "malformed" },
        /* a span of one bucket and no bucket */
        { STR_INIT("\x0d\x0a\x01"
                   "a\x18\x04\x22\x06\x3a\x04\x62\x02\x10\x01"),
          "histogram a" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        struct expo_pb x;
        arena_init(&a, 0);
        expo_pb_init(&x, rows[i].body, OPT(.native = true), &a);
        while (expo_pb_next(&x) > EXPO_ERROR)
            ;
        if (x.e.entry != EXPO_ERROR || !strstr(x.e.error.msg, rows[i].error))
            fail_msg("row %zu: %s", i, x.e.error.msg);
        assert_int_equal(expo_pb_next(&x), EXPO_ERROR);
        expo_pb_deinit(&x);
    }
}

static void keys_name_series(void **state)
{
    struct body w;
    struct expo_pb x;
    AUTO_ARENA struct arena a;
    VEC(str) keys = { 0 };
    (void)state;
    arena_init(&a, 0);
    body_init(&w);
    for (int round = 0; round < 2; round++) {
        head(&w, "h", round ? "other help" : "help", 4, "");
        put_histogram(&w, true, true);
        metric(&w, 7, "a", "1");
        put_histogram(&w, true, true);
        metric(&w, 7, "a", "2");
        end_family(&w);
    }
    expo_pb_init(&x, buf_str(&w.b), OPT(.native = true, .classic_too = true), &a);
    for (enum expo_entry e; (e = expo_pb_next(&x)) > EXPO_ERROR;)
        if (e == EXPO_SAMPLE || e == EXPO_HISTOGRAM) {
            str k = arena_str(&a, x.e.series);
            avec_push(&a, &keys, k);
        }
    expo_pb_deinit(&x);
    assert_int_equal(keys.n, 24);
    for (size_t i = 0; i < keys.n; i++)
        for (size_t k = 0; k < keys.n; k++)
            assert_int_equal(str_eq(keys.p[i], keys.p[k]), i % 12 == k % 12);
    body_deinit(&w);
}

static void conversion(void **state)
{
    static const struct {
        double v[8]; /* bound, count ...; a bound of -1 ends */
        double count;
        const char *want; /* NULL: refused */
    } rows[] = {
        { { 1, 2, 5, 4, HUGE_VAL, 4, -1 }, 4, "{{schema:-53 count:4 sum:7 custom_values:[1 5] buckets:[2 2]}}" },
        { { 5, 4, 1, 2, -1 }, 6, "{{schema:-53 count:6 sum:7 custom_values:[1 5] buckets:[2 2 2]}}" },
        { { 1, 2, 1, 3, -1 }, -1, "{{schema:-53 count:3 sum:7 custom_values:[1] buckets:[3]}}" },
        { { -1 }, 3, "{{schema:-53 count:3 sum:7 custom_values:[] buckets:[3]}}" },
        { { 1, 5, 2, 4, -1 }, 6, NULL },
        { { 1, 5, HUGE_VAL, 6, -1 }, 7, NULL },
        { { (double)NAN, 5, -1 }, 7, NULL },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        AUTO_BUF struct buf out;
        const struct histogram *h;
        arena_init(&a, 0);
        buf_init(&out, 0);
        struct nhcb n = { .a = &a };
        for (size_t k = 0; rows[i].v[k] != -1; k += 2)
            nhcb_add_bucket(&n, rows[i].v[k], rows[i].v[k + 1]);
        nhcb_add_sum(&n, 7);
        if (rows[i].count >= 0)
            nhcb_add_count(&n, rows[i].count);
        enum err e = nhcb_make(&n, &a, &h, NULL);
        assert_int_equal(e == OK, rows[i].want != NULL);
        if (e)
            continue;
        histogram_print_test(&out, h);
        buf_u8(&out, 0);
        assert_string_equal(out.p, rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_types), cmocka_unit_test(histograms),       cmocka_unit_test(float_gauge_histograms),
        cmocka_unit_test(malformed),   cmocka_unit_test(keys_name_series), cmocka_unit_test(conversion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
