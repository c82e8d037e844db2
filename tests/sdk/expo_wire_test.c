/* What libvane writes, read by vane's own checkers: OpenMetrics by the full rules of its specification, protobuf by the
 * scrape's decoder, for random instruments, labels and values. */
#include "../../src/sdk/sdk_metric.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/mem.h"
#include "model/histogram.h"
#include "wire/expo.h"
#include "wire/expo_pb.h"

static uint64_t seed = 42;

static uint32_t rnd(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

static const char *text_of(char *buf, size_t cap)
{
    static const char *const parts[] = { "a", "Z", "\"", "\\", "\n", "\xC3\xA9", "\xF0\x9F\x92\xA9",
                                         " ", "{", "}",  ",",  "=",  "\x01",     "\xFF" };
    buf[0] = 0;
    for (uint32_t i = rnd(8); i > 0; i--)
        strncat(buf, parts[rnd(SDK_COUNT_OF(parts))], cap - strlen(buf) - 5);
    return buf;
}

static double value(void)
{
    double v = ldexp(1 + rnd(1000) / 1000.0, (int)rnd(80) - 40);
    return rnd(20) == 0 ? 0 : v;
}

static uint64_t observed; /* in all native histograms */
static uint32_t n_native;

static void fill(bool negative)
{
    char name[32], label[2][64];
    static const double bounds[] = { 0.1, 1, 10 };
    for (int i = 0; i < 40; i++) {
        vane_metric_opts o = VANE_METRIC_OPTS_INIT;
        char help[64];
        snprintf(name, sizeof name, "m%d%s", i, rnd(3) ? "" : "_seconds");
        o.name = name;
        o.help = text_of(help, sizeof help);
        o.unit = rnd(2) ? "seconds" : NULL;
        o.kind = (vane_kind)(1 + rnd(7));
        if (o.kind == VANE_INFO) {
            vane_info_set(name, "x", "version=1");
            continue;
        }
        o.labels = "l1,l2";
        o.states = "on,off,\"broken\"";
        o.flags = VANE_F_EXEMPLARS;
        bool native = rnd(2);
        if (o.kind == VANE_HISTOGRAM && !native)
            o.bounds = bounds, o.n_bounds = 3;
        vane_metric m = vane_metric_new(&o, NULL);
        assert_true(m.id != 0);
        for (uint32_t s = 0, n = 1 + rnd(4); s < n; s++) {
            char index[16];
            snprintf(index, sizeof index, "%u%s", s, text_of(label[1], 40));
            vane_labels l = { (const char *const[]){ index, text_of(label[0], 64) }, NULL, 2 };
            switch (o.kind) {
            case VANE_COUNTER:
                vane_counter_add_to(m, rnd(1000), l);
                break;
            case VANE_FCOUNTER:
                vane_fcounter_add_to(m, value(), l);
                break;
            case VANE_UPDOWN:
                vane_updown_add_to(m, -(int64_t)rnd(1000), l);
                break;
            case VANE_GAUGE:
                vane_gauge_set_to(m, rnd(5) ? -value() : rnd(2) ? (double)NAN : (double)INFINITY, l);
                break;
            case VANE_STATESET:
                vane_stateset_set(vane_stateset_bind(m, l), rnd(3));
                break;
            case VANE_HISTOGRAM: {
                vane_histogram h = vane_histogram_bind(m, l);
                uint64_t before, after;
                assert_int_equal(vane_histogram_value(h, &before, NULL), VANE_OK);
                n_native += native && !before;
                for (uint32_t k = 1 + rnd(200); k > 0; k--)
                    vane_histogram_observe(h, negative && rnd(4) == 0 ? -value() : value());
                assert_int_equal(vane_histogram_value(h, &after, NULL), VANE_OK);
                observed += native ? after - before : 0;
                break;
            }
            case VANE_INFO:
                break;
            }
        }
    }
}

static void check_protobuf(void)
{
    char *body;
    size_t n;
    assert_int_equal(vane_render(VANE_FORMAT_PROTOBUF, &body, &n), VANE_OK);
    struct arena a;
    arena_init(&a, 64 << 20);
    struct expo_pb x;
    expo_pb_init(&x, (str){ body, n }, (struct expo_pb_options){ .native = true }, &a);
    uint64_t count = 0;
    uint32_t histograms = 0;
    enum expo_entry e;
    while ((e = expo_pb_next(&x)) > EXPO_ERROR)
        if (e == EXPO_HISTOGRAM) {
            assert_true(histogram_validate(x.hist, NULL) == OK);
            count += (uint64_t)x.hist->count;
            histograms++;
        }
    assert_int_equal(e, EXPO_END);
    assert_int_equal(count, observed);
    assert_int_equal(histograms, n_native);
    expo_pb_deinit(&x);
    arena_deinit(&a);
    vane_render_free(body);
}

static void test_round(bool negative)
{
    for (int round = 0; round < 25; round++) {
        vane_config c = VANE_CONFIG_INIT;
        c.ignore_environment = VANE_ON;
        c.service_name = "quo\"ted\\\n";
        c.resource_attributes = "a.b=1,a-b=2,0x=3";
        assert_int_equal(vane_start(&c), VANE_OK);
        static vane_span span;
        sdk_tls.span = &span;
        sdk_tls.context.trace_id[0] = 1;
        sdk_tls.context.flags = 1;
        observed = n_native = 0;
        fill(negative);
        sdk_tls.span = NULL;
        char *body;
        size_t n;
        assert_int_equal(vane_render(VANE_FORMAT_OPENMETRICS, &body, &n), VANE_OK);
        struct err_text why;
        if (expo_check_openmetrics((str){ body, n }, &why) != OK)
            fail_msg("%s in:\n%.*s", why.msg, (int)n, body);
        vane_render_free(body);
        check_protobuf();
        vane_stop(0);
    }
}

static void test_positive(void **state)
{
    (void)state;
    test_round(false);
}

static void test_negative(void **state)
{
    (void)state;
    test_round(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_positive), cmocka_unit_test(test_negative) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
