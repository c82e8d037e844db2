/* libvane's metrics: values, histograms against a slow model, bad input, removal, overflow, callbacks, exposition. */
#include "../../src/sdk/sdk_metric.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char *body;

static char *render(vane_format f)
{
    size_t n;
    char *p;
    free(body);
    body = NULL;
    assert_int_equal(vane_render(f, &p, &n), VANE_OK);
    body = malloc(n + 1);
    memcpy(body, p, n);
    body[n] = 0;
    vane_render_free(p);
    return body;
}

static void start(void)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.service_name = "test";
    c.series_max = 50;
    assert_int_equal(vane_start(&c), VANE_OK);
}

static uint64_t self_of(size_t at)
{
    vane_self_stats s = { .size = sizeof s };
    vane_self(&s);
    uint64_t v;
    memcpy(&v, (char *)&s + at, 8);
    return v;
}
#define SELF(field) self_of(offsetof(vane_self_stats, field))

static void has_line(const char *text, const char *line)
{
    size_t n = strlen(line);
    for (const char *at = text; (at = strstr(at, line)) != NULL; at++)
        if ((at == text || at[-1] == '\n') && at[n] == '\n')
            return;
    fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void test_values(void **state)
{
    (void)state;
    start();
    vane_metric m = vane_counter_new("http_requests_total", "Total HTTP requests", "method,status");
    vane_counter c = vane_counter_bind(m, VANE_LABELS("GET", "200")),
                 same = vane_counter_bind(m, VANE_LABELS("GET", "200"));
    assert_true(c.id && c.id == same.id);
    vane_counter_inc(c);
    vane_counter_add(c, 41);
    for (int i = 0; i < 10; i++)
        vane_counter_add_to(m, 1, VANE_LABELS("GET", "200"));
    vane_counter_add_to(m, 7, VANE_LABELS("GET", "500"));
    uint64_t u;
    assert_int_equal(vane_counter_value(c, &u), VANE_OK);
    assert_int_equal(u, 52);
    vane_fcounter fc = vane_fcounter_bind(vane_fcounter_new("cpu_seconds", "", NULL), VANE_NO_LABELS);
    vane_fcounter_add(fc, 0.5);
    vane_fcounter_add(fc, 0.25);
    vane_updown ud = vane_updown_bind(vane_updown_new("queue_depth", "", NULL), VANE_NO_LABELS);
    vane_updown_add(ud, 3);
    vane_updown_add(ud, -5);
    vane_gauge g = vane_gauge_bind(vane_gauge_new("temperature", "", "room"), VANE_LABELS("a\"b\\c\nd"));
    vane_gauge_set(g, 20);
    vane_gauge_add(g, 1.5);
    vane_gauge_max(g, 3);
    vane_gauge_min(g, 30);
    vane_stateset st =
        vane_stateset_bind(vane_stateset_new("phase", "", "node", "starting,running,draining"), VANE_LABELS("n1"));
    vane_stateset_set(st, 1);
    vane_stateset_set(st, 3); /* refused */
    assert_int_equal(vane_info_set("build", "Build", "version=1.2%2C3,revision=abc"), VANE_OK);
    assert_int_equal(vane_info_set("build", "Build", "version=2"), VANE_OK);
    const char *text = render(VANE_FORMAT_TEXT);
    has_line(text, "# TYPE http_requests_total counter");
    has_line(text, "http_requests_total{method=\"GET\",status=\"200\"} 52");
    has_line(text, "http_requests_total{method=\"GET\",status=\"500\"} 7");
    has_line(text, "cpu_seconds_total 0.75");
    has_line(text, "queue_depth -2");
    has_line(text, "temperature{room=\"a\\\"b\\\\c\\nd\"} 21.5");
    has_line(text, "phase{node=\"n1\",phase=\"running\"} 1");
    has_line(text, "phase{node=\"n1\",phase=\"draining\"} 0");
    has_line(text, "build_info{version=\"2\"} 1");
    has_line(text, "vane_sdk_problems_total{kind=\"bad_values\"} 1");
    assert_null(strstr(text, "abc"));
    text = render(VANE_FORMAT_OPENMETRICS);
    has_line(text, "# TYPE http_requests counter");
    has_line(text, "# TYPE phase stateset");
    has_line(text, "# TYPE build info");
    assert_string_equal(text + strlen(text) - 6, "# EOF\n");
    vane_stop(0);
}

static void test_handles(void **state)
{
    (void)state;
    vane_counter before = { 0 };
    vane_counter_inc(before); /* not started: nothing, not even counted */
    start();
    assert_int_equal(SELF(stale_handles), 0);
    vane_counter_inc(before);
    assert_int_equal(SELF(stale_handles), 1);
    vane_metric m = vane_counter_new("a_total", "", "l");
    vane_counter c = vane_counter_bind(m, VANE_LABELS("x")), d = vane_counter_bind(m, VANE_LABELS("y"));
    vane_counter_add(c, 5);
    vane_counter_add(d, 6);
    assert_int_equal(vane_series_remove(m, VANE_LABELS("x")), VANE_OK);
    assert_int_equal(vane_series_remove(m, VANE_LABELS("x")), VANE_E_STALE);
    assert_int_equal(vane_series_remove(m, VANE_NO_LABELS), VANE_E_ARG);
    vane_counter_add(c, 5);
    assert_int_equal(SELF(stale_handles), 2);
    uint64_t u;
    assert_int_equal(vane_counter_value(c, &u), VANE_E_STALE);
    vane_counter again = vane_counter_bind(m, VANE_LABELS("x"));
    assert_true(again.id != c.id);
    assert_int_equal(vane_counter_value(again, &u), VANE_OK);
    assert_int_equal(u, 0);
    assert_null(strstr(render(VANE_FORMAT_TEXT), "l=\"x\"} 5"));
    assert_int_equal(vane_metric_free(m), VANE_OK);
    assert_int_equal(vane_metric_free(m), VANE_E_STALE);
    assert_int_equal(vane_counter_bind(m, VANE_LABELS("x")).id, 0);
    vane_counter_add(d, 1);
    assert_null(strstr(render(VANE_FORMAT_TEXT), "a_total"));
    m = vane_counter_new("a_total", "", "other"); /* the name is free again */
    assert_true(m.id != 0);
    c = vane_counter_bind(m, VANE_LABELS("x"));
    vane_stop(0);
    vane_counter_inc(c);
    start();
    vane_counter_inc(c); /* of an earlier start */
    assert_int_equal(SELF(stale_handles), 1);
    vane_gauge_set((vane_gauge){ c.id }, 1);
    vane_histogram_observe((vane_histogram){ c.id }, 1);
    vane_updown_add((vane_updown){ 0 }, 1);
    vane_fcounter_add((vane_fcounter){ 0 }, 1);
    vane_stateset_set((vane_stateset){ 0 }, 1);
    assert_int_equal(SELF(stale_handles), 6);
    assert_true(isnan(vane_histogram_quantile((vane_histogram){ 0 }, 0.5)));
    vane_stop(0);
}

static void test_bad_names(void **state)
{
    (void)state;
    vane_status st;
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    assert_int_equal(vane_metric_new(NULL, &st).id, 0);
    assert_int_equal(st, VANE_E_ARG);
    o.kind = VANE_COUNTER;
    o.name = "x";
    assert_int_equal(vane_metric_new(&o, &st).id, 0);
    assert_int_equal(st, VANE_E_STATE);
    start();
    char longer[VANE_NAME_MAX + 2];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    const char *const names[] = { NULL, "", "1a", "a b", "a-b", "\xC3\xA9", longer, "a{b}", "a\nb" };
    for (size_t i = 0; i < SDK_COUNT_OF(names); i++)
        assert_int_equal(vane_counter_new(names[i], "", "").id, 0);
    const char *const labels[] = { "a,a", "__x", "1", "a,,b", "a b", "a:b", longer };
    for (size_t i = 0; i < SDK_COUNT_OF(labels); i++)
        assert_int_equal(vane_counter_new("good_total", "", labels[i]).id, 0);
    assert_int_equal(vane_histogram_new("h", "", "le").id, 0);
    assert_true(vane_gauge_new("g", "", "le").id != 0);
    char many[200] = "";
    for (int i = 0; i < VANE_LABELS_MAX + 1; i++)
        snprintf(many + strlen(many), 8, "%sa%d", i ? "," : "", i);
    assert_int_equal(vane_counter_new("many_total", "", many).id, 0);
    o.kind = (vane_kind)77;
    assert_int_equal(vane_metric_new(&o, &st).id, 0);
    assert_int_equal(st, VANE_E_ARG);
    o.kind = VANE_HISTOGRAM;
    static const double down[] = { 2, 1 }, nan_bound[] = { (double)NAN }, good[] = { 1, 2 };
    o.bounds = down, o.n_bounds = 2;
    assert_int_equal(vane_metric_new(&o, &st).id, 0);
    o.bounds = nan_bound, o.n_bounds = 1;
    assert_int_equal(vane_metric_new(&o, &st).id, 0);
    o.bounds = good, o.n_bounds = 0;
    assert_int_equal(vane_metric_new(&o, &st).id, 0);
    o.bounds = NULL, o.n_bounds = 0, o.buckets_per_octave = 3;
    assert_int_equal(vane_metric_new(&o, &st).id, 0);
    /* the same again is the same; something else under the name is not */
    vane_metric a = vane_counter_new("same_total", "one", "x"), b = vane_counter_new("same", "two", "x");
    assert_true(a.id && a.id == b.id);
    memset(&o, 0, sizeof o);
    o.size = sizeof o;
    o.kind = VANE_GAUGE;
    o.name = "same_total";
    vane_metric_new(&o, &st);
    assert_int_equal(st, VANE_E_EXISTS);
    assert_true(vane_histogram_new("lat", "", "").id != 0);
    o.name = "lat_count";
    vane_metric_new(&o, &st);
    assert_int_equal(st, VANE_E_EXISTS);
    o.group.id = 77;
    o.name = "grouped";
    vane_metric_new(&o, &st);
    assert_int_equal(st, VANE_E_STALE);
    assert_int_equal(vane_info_set("bad", "", "a=b,nonsense"), VANE_E_ARG);
    assert_int_equal(vane_info_set(NULL, "", "a=b"), VANE_E_ARG);
    vane_stop(0);
}

static void test_bad_labels(void **state)
{
    (void)state;
    start();
    vane_metric m = vane_counter_new("l_total", "bad \xFF help\n\"x\"", "a,b");
    assert_int_equal(vane_counter_bind(m, VANE_LABELS("x")).id, 0);
    assert_int_equal(vane_counter_bind(m, VANE_LABELS("x", "y", "z")).id, 0);
    vane_counter_add_to(m, 1, VANE_NO_LABELS);
    vane_labels null = { NULL, NULL, 2 };
    vane_counter_add_to(m, 1, null);
    assert_int_equal(SELF(bad_labels), 4);
    assert_int_equal(vane_gauge_bind(m, VANE_LABELS("x", "y")).id, 0); /* another kind */
    vane_counter_add_to(m, 1, VANE_LABELS(NULL, "null"));
    vane_counter_add_to(m, 1, VANE_LABELS("", "null"));
    vane_counter_add_to(m, 1, VANE_LABELS("\xC3(", "utf"));
    vane_counter_add_to(m, 1, VANE_LABELS("\xC3(", "utf"));
    const char *const nul[] = { "a\0b", "nul" };
    const size_t lens[] = { 3, 3 };
    vane_labels l = { nul, lens, 2 };
    vane_counter_add_to(m, 1, l);
    char longer[1000];
    memset(longer, 'z', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    vane_counter_add_to(m, 1, VANE_LABELS(longer, "long"));
    vane_counter_add_to(m, 1, VANE_LABELS(longer, "long"));
    const char *text = render(VANE_FORMAT_TEXT);
    has_line(text, "l_total{a=\"\",b=\"null\"} 2");
    has_line(text, "l_total{a=\"\xEF\xBF\xBD(\",b=\"utf\"} 2");
    has_line(text, "l_total{a=\"a\xEF\xBF\xBD"
                   "b\",b=\"nul\"} 1");
    has_line(text, "# HELP l_total bad \xEF\xBF\xBD help\\n\"x\"");
    longer[VANE_VALUE_MAX] = 0;
    char want[1100];
    snprintf(want, sizeof want, "l_total{a=\"%s\",b=\"long\"} 2", longer);
    has_line(text, want);
    assert_true(SELF(replaced_strings) >= 3 && SELF(cut_strings) >= 2);
    vane_stop(0);
}

static void test_overflow(void **state)
{
    (void)state;
    start(); /* 50 series an instrument */
    vane_metric m = vane_counter_new("users_total", "", "user");
    for (int i = 0; i < 200; i++) {
        char user[16];
        snprintf(user, sizeof user, "u%d", i);
        vane_counter_add_to(m, 1, VANE_LABELS(user));
    }
    const char *text = render(VANE_FORMAT_TEXT);
    has_line(text, "users_total{user=\"u49\"} 1");
    has_line(text, "users_total{otel_metric_overflow=\"true\"} 150");
    assert_null(strstr(text, "u50"));
    assert_int_equal(SELF(series_overflow), 150);
    assert_int_equal(SELF(series), 51);
    vane_stop(0);
}

static void test_groups(void **state)
{
    (void)state;
    start();
    vane_group_opts o = VANE_GROUP_OPTS_INIT;
    o.name = "business";
    o.prefix = "shop_";
    o.labels = "team=orders,region=eu";
    vane_group g = vane_group_new_opts(&o, NULL);
    assert_true(g.id && vane_group_new("business").id == g.id);
    vane_metric m = vane_group_counter(g, "orders_total", "Orders", "product_category");
    vane_counter_add_to(m, 3, VANE_LABELS("books"));
    vane_counter_inc(vane_counter_bind(vane_group_counter(g, "plain_total", "", NULL), VANE_NO_LABELS));
    const char *text = render(VANE_FORMAT_TEXT);
    has_line(text, "shop_orders_total{team=\"orders\",region=\"eu\",product_category=\"books\"} 3");
    has_line(text, "shop_plain_total{team=\"orders\",region=\"eu\"} 1");
    assert_int_equal(vane_group_new("").id, 0);
    assert_int_equal(vane_group_new(NULL).id, 0);
    vane_stop(0);
}

/* ---- histograms ---- */

/* The bucket by search among bounds made with as many digits as the machine has. */
static int slow_key(double v, int schema)
{
    int exp;
    double frac = frexp(v, &exp);
    int n = 1 << schema, j = 0;
    while (j < n && frac > (double)(exp2l((long double)j / n) / 2))
        j++;
    return (exp - 1) * n + j;
}

struct seen {
    const char *name;
    int32_t keys[4096];
    uint64_t counts[4096];
    size_t n;
    uint64_t zero, count;
    double sum;
    size_t n_neg;
};

static int see_point(void *ctx, const struct sdk_family *f, const struct sdk_point *p)
{
    struct seen *s = ctx;
    if (strcmp(f->name, s->name))
        return 0;
    s->n = p->n_pos;
    s->n_neg = p->n_neg;
    for (size_t i = 0; i < p->n_pos && i < 4096; i++) {
        s->keys[i] = p->pos[i].key;
        s->counts[i] = p->pos[i].count;
    }
    s->zero = p->zero_count;
    s->count = p->count;
    s->sum = p->sum;
    return 0;
}

static int see_family(void *ctx, const struct sdk_family *f)
{
    (void)ctx, (void)f;
    return 0;
}

static void see(struct seen *s, const char *name)
{
    memset(s, 0, sizeof *s);
    s->name = name;
    const struct sdk_visitor v = { see_family, see_point, see_family, s };
    assert_int_equal(sdk_collect(&v), 0);
}

static void test_native(void **state)
{
    (void)state;
    static struct seen s;
    volatile long double one = 1.0L;
    bool precise = one + 0x1p-60L != one; /* valgrind has only doubles: no exact bounds for the model there */
    start();
    for (uint32_t schema = 0; schema <= 6; schema++) {
        char name[16];
        snprintf(name, sizeof name, "h%u", schema);
        vane_metric_opts o = VANE_METRIC_OPTS_INIT;
        o.kind = VANE_HISTOGRAM;
        o.name = name;
        o.buckets_per_octave = 1u << schema;
        o.buckets_max = 4096;
        vane_histogram h = vane_histogram_bind(vane_metric_new(&o, NULL), VANE_NO_LABELS);
        static uint64_t model[8192];
        memset(model, 0, sizeof model);
        enum { BASE = 4096 };
        double sum = 0;
        int octaves = schema > 4 ? 12 : 30;
        for (int i = 0; i < 20000; i++) {
            double v;
            if (i < 200 && precise) { /* bounds and their neighbours */
                v = exp2((i % 40 - 20) / (double)(1 << schema));
                v = i / 40 == 1 ? nextafter(v, (double)INFINITY) : i / 40 == 2 ? nextafter(v, 0) : v;
            } else {
                v = ldexp(1 + (double)(sdk_random() >> 11) / 9007199254740992.0,
                          (int)(sdk_random() % (unsigned)octaves) - octaves / 2);
            }
            vane_histogram_observe(h, v);
            model[BASE + slow_key(v, (int)schema)]++;
            sum += v;
        }
        see(&s, name);
        size_t at = 0;
        for (int k = 0; k < 8192; k++) {
            if (!model[k])
                continue;
            assert_true(at < s.n);
            assert_int_equal(s.keys[at], k - BASE);
            assert_int_equal(s.counts[at], model[k]);
            at++;
        }
        assert_int_equal(at, s.n);
        assert_int_equal(s.count, 20000);
        assert_true(fabs(s.sum - sum) < sum * 1e-9);
    }
    /* the ends of the numbers */
    vane_histogram h = vane_histogram_bind(vane_histogram_new("ends", "", ""), VANE_NO_LABELS);
    const double values[] = { 0, -0.0, 5e-324, DBL_MIN, nextafter(DBL_MIN, 1), DBL_MAX, -DBL_MAX, -1, 1 };
    for (size_t i = 0; i < SDK_COUNT_OF(values); i++)
        vane_histogram_observe(h, values[i]);
    vane_histogram_observe(h, (double)NAN);
    vane_histogram_observe(h, (double)INFINITY);
    vane_histogram_observe(h, -(double)INFINITY);
    assert_int_equal(SELF(bad_values), 3);
    see(&s, "ends");
    assert_int_equal(s.count, SDK_COUNT_OF(values));
    assert_int_equal(s.zero, 4);
    assert_int_equal(s.n_neg, 2);
    assert_int_equal(s.n, 3);
    assert_int_equal(s.keys[0], -1022 * 8 + 1);
    assert_int_equal(s.keys[2], 1024 * 8);
    render(VANE_FORMAT_TEXT);
    /* every power of two there is: the directory chains */
    h = vane_histogram_bind(vane_histogram_new("wide", "", ""), VANE_NO_LABELS);
    for (int e = -1021; e < 1023; e++)
        for (int k = 0; k < 3; k++)
            vane_histogram_observe(h, ldexp(1.5, e));
    see(&s, "wide");
    assert_int_equal(s.count, 3 * 2044);
    assert_true(s.n <= 160 && s.n > 10); /* merged to buckets_max */
    vane_stop(0);
}

static void test_explicit(void **state)
{
    (void)state;
    start();
    static const double bounds[] = { -1, 0, 0.5, 1, 2.5 };
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    o.kind = VANE_HISTOGRAM;
    o.name = "size";
    o.bounds = bounds;
    o.n_bounds = SDK_COUNT_OF(bounds);
    vane_histogram h = vane_histogram_bind(vane_metric_new(&o, NULL), VANE_NO_LABELS);
    o.name = "both";
    o.flags = VANE_F_CLASSIC_TOO;
    vane_histogram both = vane_histogram_bind(vane_metric_new(&o, NULL), VANE_NO_LABELS);
    const double values[] = { -2, -1, -0.5, 0, 0.25, 0.5, 0.75, 1, 2, 2.5, 3, 1e300 };
    for (size_t i = 0; i < SDK_COUNT_OF(values); i++) {
        vane_histogram_observe(h, values[i]);
        vane_histogram_observe(both, values[i]);
    }
    const char *text = render(VANE_FORMAT_OPENMETRICS);
    static const char *const names[] = { "size", "both" };
    for (int i = 0; i < 2; i++) {
        static const struct {
            const char *le;
            int n;
        } rows[] = { { "-1.0", 2 }, { "0.0", 4 }, { "0.5", 6 }, { "1.0", 8 }, { "2.5", 10 }, { "+Inf", 12 } };
        char line[64];
        for (size_t k = 0; k < SDK_COUNT_OF(rows); k++) {
            snprintf(line, sizeof line, "%s_bucket{le=\"%s\"} %d", names[i], rows[k].le, rows[k].n);
            has_line(text, line);
        }
        snprintf(line, sizeof line, "%s_count", names[i]);
        assert_null(strstr(text, line)); /* negative bounds: OpenMetrics forbids sum and count */
    }
    text = render(VANE_FORMAT_TEXT);
    has_line(text, "size_count 12");
    has_line(text, "both_count 12");
    uint64_t n;
    double sum;
    assert_int_equal(vane_histogram_value(h, &n, &sum), VANE_OK);
    assert_int_equal(n, 12);
    double q = vane_histogram_quantile(h, 0.5);
    assert_true(q > 0.25 && q <= 0.5);
    /* many bounds: the binary search */
    static double wide[VANE_BOUNDS_MAX];
    for (int i = 0; i < VANE_BOUNDS_MAX; i++)
        wide[i] = i;
    o.name = "hundred";
    o.bounds = wide;
    o.n_bounds = VANE_BOUNDS_MAX;
    o.flags = 0;
    h = vane_histogram_bind(vane_metric_new(&o, NULL), VANE_NO_LABELS);
    for (int i = -5; i < 1100; i++)
        vane_histogram_observe(h, i / 10.0);
    text = render(VANE_FORMAT_TEXT);
    for (int i = 0; i < VANE_BOUNDS_MAX; i++) {
        char line[64];
        snprintf(line, sizeof line, "hundred_bucket{le=\"%d\"} %d", i, i * 10 + 6);
        has_line(text, line);
    }
    vane_stop(0);
}

static void test_quantiles(void **state)
{
    (void)state;
    start();
    vane_histogram h = vane_histogram_bind(vane_histogram_new("q", "", ""), VANE_NO_LABELS);
    assert_true(isnan(vane_histogram_quantile(h, 0.5)));
    for (int i = 1; i <= 10000; i++)
        vane_histogram_observe(h, i / 1000.0);
    for (double q = 0.01; q < 1; q += 0.01) {
        double v = vane_histogram_quantile(h, q);
        assert_true(fabs(v - q * 10) < q * 10 * 0.045); /* half a bucket */
    }
    assert_true(isinf(vane_histogram_quantile(h, 2)));
    vane_histogram neg = vane_histogram_bind(vane_histogram_new("neg", "", ""), VANE_NO_LABELS);
    for (int i = 1; i <= 1000; i++)
        vane_histogram_observe(neg, -i);
    double v = vane_histogram_quantile(neg, 0.25);
    assert_true(v < -700 && v > -800);
    vane_stop(0);
}

/* ---- callbacks ---- */

static void observe_pool(void *ctx, vane_observer *o)
{
    int *calls = ctx;
    ++*calls;
    vane_observe(o, *calls, VANE_LABELS("main"));
    vane_observe(o, 99, VANE_LABELS("main")); /* twice: the first counts */
    vane_observe(o, 2.5, VANE_LABELS("other"));
    vane_observe(o, 1, VANE_NO_LABELS);
    if (*calls == 2) /* may make and use instruments */
        vane_counter_inc(vane_counter_bind(vane_counter_new("made_inside_total", "", ""), VANE_NO_LABELS));
}

static void test_callbacks(void **state)
{
    (void)state;
    int calls = 0;
    start();
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    o.kind = VANE_GAUGE;
    o.name = "pool_size";
    o.labels = "pool";
    o.observe = observe_pool;
    o.observe_ctx = &calls;
    vane_metric m = vane_metric_new(&o, NULL);
    assert_true(m.id != 0);
    const char *text = render(VANE_FORMAT_TEXT);
    has_line(text, "pool_size{pool=\"main\"} 1");
    has_line(text, "pool_size{pool=\"other\"} 2.5");
    assert_null(strstr(text, "} 99\n"));
    has_line(render(VANE_FORMAT_TEXT), "pool_size{pool=\"main\"} 2");
    has_line(render(VANE_FORMAT_TEXT), "made_inside_total 1");
    assert_int_equal(SELF(bad_labels), 3);
    vane_metric_free(m);
    render(VANE_FORMAT_TEXT);
    assert_int_equal(calls, 3);
    vane_stop(0);
}

/* ---- exemplars: tracing fills the thread's context; here by hand ---- */

static void test_exemplars(void **state)
{
    (void)state;
    start();
    vane_histogram h = vane_histogram_bind(vane_histogram_new("lat_seconds", "", ""), VANE_NO_LABELS);
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    o.kind = VANE_COUNTER;
    o.name = "errors_total";
    o.flags = VANE_F_EXEMPLARS;
    vane_counter c = vane_counter_bind(vane_metric_new(&o, NULL), VANE_NO_LABELS);
    vane_histogram_observe(h, 0.3);
    assert_null(strstr(render(VANE_FORMAT_OPENMETRICS), "# {"));
    static vane_span span;
    memset(sdk_tls.context.trace_id, 0xAB, 16);
    memset(sdk_tls.context.span_id, 0x12, 8);
    sdk_tls.span = &span;
    vane_histogram_observe(h, 0.3); /* recorded, not sampled */
    assert_null(strstr(render(VANE_FORMAT_OPENMETRICS), "# {"));
    sdk_tls.context.flags = 1;
    vane_histogram_observe(h, 0.3);
    vane_counter_inc(c);
    sdk_tls.span = NULL;
    const char *text = render(VANE_FORMAT_OPENMETRICS);
    assert_non_null(strstr(text, "lat_seconds_bucket{le=\"0.5\"} 3 # "
                                 "{trace_id=\"abababababababababababababababab\",span_id=\"1212121212121212\"} 0.3 "));
    assert_non_null(strstr(text, "errors_total 1 # {trace_id="));
    assert_null(strstr(render(VANE_FORMAT_TEXT), "# {"));
    vane_stop(0);
}

static void test_clock_jumps(void **state)
{
    (void)state;
    start();
    vane_histogram h = vane_histogram_bind(vane_histogram_new("jump_seconds", "", ""), VANE_NO_LABELS);
    static vane_span span;
    sdk_tls.span = &span;
    sdk_tls.context.flags = 1;
    render(VANE_FORMAT_OPENMETRICS);
    for (int i = 0; i < 4; i++) { /* an hour forward, two back, to 1970 and home */
        static const int64_t at[] = { 3600, -3600, -1700000000, 0 };
        vane_timer t = vane_timer_start(h);
        atomic_store(&sdk_clock_offset_ns, at[i] * 1000000000);
        double s = vane_timer_stop(&t);
        assert_true(s >= 0 && s < 10); /* durations do not follow the wall clock */
        render(VANE_FORMAT_OPENMETRICS);
    }
    sdk_tls.span = NULL;
    assert_int_equal(SELF(clock_jumps), 4);
    uint64_t n;
    assert_int_equal(vane_histogram_value(h, &n, NULL), VANE_OK);
    assert_int_equal(n, 4);
    vane_stop(0);
}

/* A rendering under way when the library is stopped ends whole; a start waits for it. */
static void observe_and_stop(void *ctx, vane_observer *o)
{
    *(vane_status *)ctx = vane_start(NULL); /* running: refused */
    vane_observe(o, 1, VANE_NO_LABELS);
}

static void test_inside(void **state)
{
    (void)state;
    start();
    vane_status inner = VANE_OK;
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    o.kind = VANE_GAUGE;
    o.name = "inner";
    o.observe = observe_and_stop;
    o.observe_ctx = &inner;
    assert_true(vane_metric_new(&o, NULL).id != 0);
    has_line(render(VANE_FORMAT_TEXT), "inner 1");
    assert_int_equal(inner, VANE_E_STATE);
    assert_true(sdk_enter());
    assert_int_equal(vane_stop(0), VANE_OK); /* this thread's own call does not hold it up */
    assert_false(sdk_enter());
    sdk_leave();
    start();
    vane_stop(0);
}

/* ---- fork and signals ---- */

static void test_fork(void **state)
{
    (void)state;
    start();
    vane_counter c = vane_counter_bind(vane_counter_new("f_total", "", ""), VANE_NO_LABELS);
    vane_gauge g = vane_gauge_bind(vane_gauge_new("fg", "", ""), VANE_NO_LABELS);
    vane_histogram h = vane_histogram_bind(vane_histogram_new("fh", "", ""), VANE_NO_LABELS);
    vane_counter_add(c, 5);
    vane_gauge_set(g, 7);
    for (int i = 0; i < 100; i++)
        vane_histogram_observe(h, i);
    pid_t pid = fork();
    if (!pid) {
        uint64_t u, n;
        double v, sum;
        bool ok = vane_counter_value(c, &u) == VANE_OK && u == 0 && vane_gauge_value(g, &v) == VANE_OK && v == 7 &&
                  vane_histogram_value(h, &n, &sum) == VANE_OK && n == 0 && sum == 0;
        vane_counter_inc(c);
        for (int i = 0; i < 10; i++)
            vane_histogram_observe(h, i);
        ok = ok && vane_counter_value(c, &u) == VANE_OK && u == 1 && vane_histogram_value(h, &n, &sum) == VANE_OK &&
             n == 10;
        char *p;
        ok = ok && vane_render(VANE_FORMAT_TEXT, &p, &n) == VANE_OK && vane_stop(100) == VANE_OK;
        _exit(ok ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    uint64_t u;
    assert_int_equal(vane_counter_value(c, &u), VANE_OK);
    assert_int_equal(u, 5);
    vane_stop(0);
}

static vane_counter sig_counter;
static vane_histogram sig_hist;
static vane_fcounter sig_float;
static volatile sig_atomic_t sig_n;

static void on_signal(int sig)
{
    (void)sig;
    vane_counter_inc(sig_counter);
    vane_fcounter_add(sig_float, 1);
    vane_histogram_observe(sig_hist, ldexp(1, sig_n % 40 - 20));
    sig_n++;
}

static void test_signals(void **state)
{
    (void)state;
    start();
    sig_counter = vane_counter_bind(vane_counter_new("s_total", "", ""), VANE_NO_LABELS);
    sig_float = vane_fcounter_bind(vane_fcounter_new("sf_total", "", ""), VANE_NO_LABELS);
    sig_hist = vane_histogram_bind(vane_histogram_new("sh", "", ""), VANE_NO_LABELS);
    sig_n = 0;
    signal(SIGALRM, on_signal);
    struct itimerval t = { { 0, 200 }, { 0, 200 } };
    setitimer(ITIMER_REAL, &t, NULL);
    uint64_t mine = 0;
    for (; sig_n < 500; mine++) { /* interrupted everywhere, the first touch of blocks and chunks included */
        vane_counter_inc(sig_counter);
        vane_fcounter_add(sig_float, 1);
        vane_histogram_observe(sig_hist, ldexp(1, (int)(mine % 40) - 20));
    }
    t = (struct itimerval){ { 0, 0 }, { 0, 0 } };
    setitimer(ITIMER_REAL, &t, NULL);
    signal(SIGALRM, SIG_IGN); /* one may still be on its way */
    uint64_t u, n, all = mine + (uint64_t)sig_n;
    double f, sum;
    assert_int_equal(vane_counter_value(sig_counter, &u), VANE_OK);
    assert_int_equal(vane_fcounter_value(sig_float, &f), VANE_OK);
    assert_int_equal(vane_histogram_value(sig_hist, &n, &sum), VANE_OK);
    assert_int_equal(u, all);
    assert_true(f == (double)all);
    assert_int_equal(n, all);
    vane_stop(0);
}

/* ---- allocation failures: whatever fails, nothing breaks ---- */

static void test_out_of_memory(void **state)
{
    (void)state;
    start();
    for (uint64_t k = 1; k < 400; k++) {
        sdk_alloc_fail_at = k;
        char name[32];
        snprintf(name, sizeof name, "oom%d_total", (int)k);
        vane_metric_opts o = VANE_METRIC_OPTS_INIT;
        static const double bounds[] = { 1, 2 };
        o.kind = VANE_HISTOGRAM;
        o.name = name;
        o.labels = "a,b";
        o.bounds = bounds;
        o.n_bounds = 2;
        o.flags = VANE_F_CLASSIC_TOO;
        vane_metric m = vane_metric_new(&o, NULL);
        vane_histogram_observe_to(m, 1, VANE_LABELS("x", "y"));
        char *p;
        size_t n;
        vane_status st = vane_render(VANE_FORMAT_PROTOBUF, &p, &n);
        assert_true(st == VANE_OK || st == VANE_E_NOMEM);
        if (!st)
            vane_render_free(p);
        vane_metric_free(m);
        bool reached = sdk_alloc_fail_at == 0;
        sdk_alloc_fail_at = 0;
        if (!reached) {
            assert_true(k > 10);
            vane_stop(0);
            return;
        }
    }
    fail();
}

static void test_limits(void **state)
{
    (void)state;
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.memory_max_bytes = 1 << 20; /* 32 blocks */
    c.series_max = 100000;
    assert_int_equal(vane_start(&c), VANE_OK);
    vane_metric m = vane_histogram_new("big", "", "i");
    uint64_t made = 0;
    for (int i = 0; i < 20000; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        vane_histogram h = vane_histogram_bind(m, VANE_LABELS(text));
        made += h.id != 0;
        vane_histogram_observe(h, i);
    }
    assert_true(made > 1000 && made < 20000);
    assert_true(SELF(alloc_failures) > 0);
    assert_true(SELF(memory_bytes) < 20u << 20);
    render(VANE_FORMAT_TEXT);
    vane_stop(0);
}

static void test_negotiation(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        vane_format want;
    } rows[] = {
        { NULL, VANE_FORMAT_TEXT },
        { "", VANE_FORMAT_TEXT },
        { "*/*", VANE_FORMAT_TEXT },
        { "text/html,application/xhtml+xml,*/*;q=0.8", VANE_FORMAT_TEXT },
        { "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", VANE_FORMAT_OPENMETRICS },
        { "application/openmetrics-text;q=0.1, text/plain;q=0.5", VANE_FORMAT_TEXT },
        { "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
          "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
          VANE_FORMAT_PROTOBUF },
        { "application/vnd.google.protobuf;proto=other;encoding=delimited", VANE_FORMAT_TEXT },
        { "application/openmetrics-text;q=x", VANE_FORMAT_TEXT },
        { ",,;;q=,", VANE_FORMAT_TEXT },
    };
    for (size_t i = 0; i < SDK_COUNT_OF(rows); i++)
        assert_int_equal(vane_format_negotiate(rows[i].accept), rows[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),      cmocka_unit_test(test_handles),       cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_bad_labels),  cmocka_unit_test(test_overflow),      cmocka_unit_test(test_groups),
        cmocka_unit_test(test_native),      cmocka_unit_test(test_explicit),      cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_callbacks),   cmocka_unit_test(test_exemplars),     cmocka_unit_test(test_fork),
        cmocka_unit_test(test_signals),     cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_negotiation), cmocka_unit_test(test_clock_jumps),   cmocka_unit_test(test_inside),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(body);
    return failed;
}
