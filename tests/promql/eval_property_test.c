/* The evaluator against slow truths on random data (gaps, staleness markers, resets, shared and own timelines):
 *  - a range query equals instant queries at each of its steps, for many kinds of expressions;
 *  - a parallel run equals a serial one (up to rounding of sums);
 *  - window functions equal loops over the samples written out plainly. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/os.h"
#include "array_source.h"

#define N_SERIES    40
#define N_POINTS    120
#define RANGE_MS    300000
#define LOOKBACK_MS 300000

struct world {
    struct arena a;
    struct array_source source;
    struct pool *pool;
    struct promql_engine *serial, *parallel;
};

static double random_value(struct rng *rng, double prev, bool counter)
{
    if (rng_below(rng, 25) == 0)
        return f64_from_bits(STALE_NAN_BITS);
    if (rng_below(rng, 80) == 0)
        return (double)NAN;
    if (counter)
        return rng_below(rng, 15) == 0 ? (double)rng_below(rng, 5)
                                       : (isnan(prev) ? 1 : prev) + (double)rng_below(rng, 50);
    return floor(rng_unit(rng) * 1000) / 8 - 30;
}

static void random_series(struct world *w, struct rng *rng, int i)
{
    static const char *const names[] = { "a_total", "b", "c_total" };
    char instance[16], group[16];
    snprintf(instance, sizeof(instance), "i%d", i / 3);
    snprintf(group, sizeof(group), "g%d", i % 4);
    struct array_series s = { .ts = arena_array(&w->a, int64_t, N_POINTS), .v = arena_array(&w->a, double, N_POINTS) };
    bool regular = rng_below(rng, 2);
    s.timeline = regular ? 7 : 0;
    double prev = 0;
    for (int k = 0; k < N_POINTS; k++) {
        if (!regular && rng_below(rng, 5) == 0)
            continue;
        s.ts[s.n] = k * 15000 + (regular ? 0 : (int64_t)rng_below(rng, 9000));
        s.v[s.n] = random_value(rng, prev, i % 3 != 1);
        if (!isnan(s.v[s.n]))
            prev = s.v[s.n];
        s.n++;
    }
    array_source_add(&w->source,
                     (const char *[]){ "__name__", names[i % 3], "instance", instance, "group", group, NULL }, s);
}

static int setup(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));
    struct rng rng = { 20261121 };
    arena_init(&w->a, 0);
    array_source_init(&w->source, &w->a);
    for (int i = 0; i < N_SERIES; i++)
        random_series(w, &rng, i);
    struct promql_engine_config cfg;
    promql_engine_config_defaults(&cfg);
    cfg.features = PROMQL_ALL;
    w->serial = promql_engine_new(&cfg);
    assert_int_equal(pool_open("query", 3, 64, &w->pool), OK);
    cfg.pool = w->pool;
    w->parallel = promql_engine_new(&cfg);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    promql_engine_free(w->serial);
    promql_engine_free(w->parallel);
    pool_close(w->pool);
    arena_deinit(&w->a);
    mem_free(w);
    return 0;
}

static bool exec(struct promql_engine *e, struct world *w, const char *text, bool instant, int64_t from, int64_t to,
                 int64_t step, struct arena *a, struct promql_result *ret)
{
    struct err_text err = { 0 };
    struct promql_query q = { .text = str_c(text), .instant = instant, .from_ms = from, .to_ms = to, .step_ms = step };
    enum err x = promql_exec(e, &w->source.src, &q, a, ret, &err);
    if (x != OK)
        print_message("%s at %lld: %s\n", text, (long long)from, err.msg);
    return x == OK;
}

static bool near(double x, double y)
{
    if (isnan(x) || isnan(y))
        return isnan(x) && isnan(y);
    return x == y || fabs(x - y) <= 1e-9 * (fabs(x) + fabs(y));
}

static const struct promql_result_series *find_series(const struct promql_result *r, struct labels ls)
{
    for (size_t i = 0; i < r->n_series; i++)
        if (labels_eq(r->series[i].labels, ls))
            return &r->series[i];
    return NULL;
}

static const struct promql_point *find_point(const struct promql_result_series *s, int64_t ts)
{
    for (size_t i = 0; s && i < s->n_points; i++)
        if (s->points[i].ts_ms == ts)
            return &s->points[i];
    return NULL;
}

static size_t count_points(const struct promql_result *r, int64_t ts)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_series; i++)
        n += find_point(&r->series[i], ts) != NULL;
    return n;
}

static const char *const expressions[] = {
    "a_total",
    "b offset 2m",
    "b @ 600",
    "-b",
    "b * 2 + 1",
    "2 > bool b",
    "b > 3",
    "abs(b)",
    "clamp(b, 1, 20)",
    "round(b, 0.5)",
    "rate(a_total[5m])",
    "increase(c_total[3m])",
    "delta(b[4m])",
    "irate(a_total[5m])",
    "idelta(b[5m])",
    "resets(a_total[10m])",
    "changes(b[10m])",
    "deriv(b[5m])",
    "predict_linear(b[5m], 600)",
    "sum_over_time(b[5m])",
    "avg_over_time(b[5m])",
    "min_over_time(b[5m])",
    "max_over_time(b[7m])",
    "count_over_time(b[5m])",
    "last_over_time(b[5m])",
    "first_over_time(b[5m])",
    "stddev_over_time(b[5m])",
    "quantile_over_time(0.3, b[5m])",
    "mad_over_time(b[5m])",
    "present_over_time(b[1m])",
    "ts_of_max_over_time(b[5m])",
    "double_exponential_smoothing(b[5m], 0.3, 0.6)",
    "timestamp(b)",
    "timestamp(b + 1)",
    "sum(a_total)",
    "sum by (group) (rate(a_total[5m]))",
    "avg without (instance) (b)",
    "max by (instance) (b)",
    "min(b)",
    "count by (group) (b)",
    "stddev by (group) (b)",
    "stdvar(b)",
    "group by (group) (b)",
    "quantile by (group) (0.4, b)",
    "topk by (group) (2, b)",
    "bottomk(3, b)",
    "limitk(3, b)",
    "count_values(\"v\", resets(a_total[5m]))",
    "a_total + on (instance, group) c_total",
    "a_total / ignoring (job) c_total",
    "b > on (instance, group) group_left a_total",
    "a_total and on (group) b > 50",
    "a_total or b",
    "a_total unless on (instance) (b > 60)",
    "sum(b) + sum(a_total)",
    "a_total * on (group) group_left sum by (group) (b)",
    "max_over_time(sum by (group) (b)[5m:30s])",
    "rate(a_total[5m:45s])",
    "sum_over_time(rate(a_total[1m])[5m:1m] offset 1m)",
    "absent(b{group=\"g9\"})",
    "absent_over_time(b[30s])",
    "scalar(sum(b))",
    "vector(time())",
    "label_replace(b, \"x\", \"$1\", \"instance\", \"i(.)\")",
    "hour(a_total)",
    "label_join(b, \"x\", \"-\", \"instance\", \"group\")",
    "increase(a_total[5m] anchored)",
    "rate(a_total[5m] smoothed)",
    "b smoothed",
    "b @ end()",
    "sum(rate(a_total[5m] @ 900))",
    "avg_over_time(b[5m:] @ 900)",
    "b + on (instance, group) fill(0) a_total",
};

static void range_equals_instants(void **state)
{
    struct world *w = *state;
    const int64_t from = 0, to = 2000000, step = 37000;
    for (size_t i = 0; i < ARRAY_LEN(expressions); i++) {
        struct arena a;
        struct promql_result range;
        arena_init(&a, 0);
        assert_true(exec(w->serial, w, expressions[i], false, from, to, step, &a, &range));
        bool uses_end = strstr(expressions[i], "end()") != NULL;
        for (int64_t ts = from; ts <= to && !uses_end; ts += step) {
            struct promql_result at;
            assert_true(exec(w->serial, w, expressions[i], true, ts, ts, 0, &a, &at));
            if (at.type == PROMQL_SCALAR) {
                const struct promql_point *p = find_point(&range.series[0], ts);
                assert_true(p && near(p->v, at.scalar.v));
                continue;
            }
            for (size_t k = 0; k < at.n_series; k++) {
                const struct promql_point *p = find_point(find_series(&range, at.series[k].labels), ts);
                if (!p || !near(p->v, at.series[k].points[0].v))
                    fail_msg("%s at %lld: %g instead of %g", expressions[i], (long long)ts, p ? p->v : -1e99,
                             at.series[k].points[0].v);
            }
            if (count_points(&range, ts) != at.n_series)
                fail_msg("%s at %lld: %zu series instead of %zu", expressions[i], (long long)ts,
                         count_points(&range, ts), at.n_series);
        }
        arena_deinit(&a);
    }
}

static void parallel_equals_serial(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(expressions); i++) {
        struct arena a;
        struct promql_result x, y;
        arena_init(&a, 0);
        assert_true(exec(w->serial, w, expressions[i], false, 0, 2000000, 100, &a, &x));
        assert_true(exec(w->parallel, w, expressions[i], false, 0, 2000000, 100, &a, &y));
        assert_int_equal(x.n_series, y.n_series);
        for (size_t k = 0; k < x.n_series; k++) {
            assert_true(labels_eq(x.series[k].labels, y.series[k].labels));
            assert_int_equal(x.series[k].n_points, y.series[k].n_points);
            for (size_t p = 0; p < x.series[k].n_points; p++)
                if (!near(x.series[k].points[p].v, y.series[k].points[p].v))
                    fail_msg("%s: %g and %g", expressions[i], x.series[k].points[p].v, y.series[k].points[p].v);
        }
        arena_deinit(&a);
    }
}

/* ---- window functions written out ---- */
struct window {
    int64_t t[N_POINTS];
    double v[N_POINTS];
    size_t n;
    int64_t from, to;
};

static double slow_rate(const struct window *w, bool counter)
{
    if (w->n < 2)
        return f64_from_bits(STALE_NAN_BITS);
    double d = w->v[w->n - 1] - w->v[0];
    for (size_t i = 1; counter && i < w->n; i++)
        if (w->v[i] < w->v[i - 1])
            d += w->v[i - 1];
    double sampled = (double)(w->t[w->n - 1] - w->t[0]) / 1000, gap = sampled / (double)(w->n - 1);
    double start = (double)(w->t[0] - w->from) / 1000, end = (double)(w->to - w->t[w->n - 1]) / 1000;
    if (start >= gap * 1.1)
        start = gap / 2;
    if (counter && d > 0 && w->v[0] >= 0 && sampled * (w->v[0] / d) < start)
        start = sampled * (w->v[0] / d);
    if (end >= gap * 1.1)
        end = gap / 2;
    return d * ((sampled + start + end) / sampled);
}
static double slow_increase(const struct window *w)
{
    return slow_rate(w, true);
}
static double slow_delta(const struct window *w)
{
    return slow_rate(w, false);
}
static double slow_sum(const struct window *w)
{
    double s = 0;
    for (size_t i = 0; i < w->n; i++)
        s += w->v[i];
    return s;
}
static double slow_max(const struct window *w)
{
    double m = (double)NAN;
    for (size_t i = 0; i < w->n; i++)
        m = isnan(m) || w->v[i] > m ? w->v[i] : m;
    return m;
}
static double slow_last(const struct window *w)
{
    return w->v[w->n - 1];
}
static double slow_changes(const struct window *w)
{
    double c = 0;
    for (size_t i = 1; i < w->n; i++)
        c += w->v[i] != w->v[i - 1] && !(isnan(w->v[i]) && isnan(w->v[i - 1]));
    return c;
}

static const struct {
    const char *fn;
    double (*slow)(const struct window *w);
} window_fns[] = {
    { "increase", slow_increase }, { "delta", slow_delta },         { "sum_over_time", slow_sum },
    { "max_over_time", slow_max }, { "last_over_time", slow_last }, { "changes", slow_changes },
};

static void take_window(const struct array_series *s, int64_t from, int64_t to, struct window *w)
{
    *w = (struct window){ .from = from, .to = to };
    for (size_t i = 0; i < s->n; i++)
        if (s->ts[i] > from && s->ts[i] <= to && !is_stale(s->v[i])) {
            w->t[w->n] = s->ts[i];
            w->v[w->n++] = s->v[i];
        }
}

static void windows_equal_loops(void **state)
{
    struct world *w = *state;
    for (size_t f = 0; f < ARRAY_LEN(window_fns); f++) {
        struct arena a;
        struct promql_result r;
        char text[128];
        arena_init(&a, 0);
        snprintf(text, sizeof(text), "label_replace(%s({__name__=~\".+\"}[5m]), \"n\", \"$1\", \"__name__\", \"(.*)\")",
                 window_fns[f].fn);
        assert_true(exec(w->serial, w, text, false, 0, 2100000, 41000, &a, &r));
        for (size_t i = 0; i < w->source.series.n; i++) {
            const struct array_series *s = &w->source.series.p[i];
            struct label_builder b;
            lb_init(&b, &a);
            lb_reset(&b, s->labels);
            lb_set(&b, STR("n"), labels_name(s->labels));
            if (strcmp(window_fns[f].fn, "last_over_time") != 0)
                lb_del(&b, LABEL_NAME);
            const struct promql_result_series *got = find_series(&r, lb_labels(&b));
            for (int64_t ts = 0; ts <= 2100000; ts += 41000) {
                struct window win;
                take_window(s, ts - RANGE_MS, ts, &win);
                const struct promql_point *p = find_point(got, ts);
                double want = win.n ? window_fns[f].slow(&win) : f64_from_bits(STALE_NAN_BITS);
                if (is_stale(want) ? p != NULL : !p || !near(p->v, want))
                    fail_msg("%s at %lld, series %zu: %g instead of %g", window_fns[f].fn, (long long)ts, i,
                             p ? p->v : -1e99, want);
            }
        }
        arena_deinit(&a);
    }
}

/* ---- budgets ---- */
static void budgets_end_queries(void **state)
{
    struct world *w = *state;
    struct promql_engine_config cfg;
    struct arena a;
    struct promql_result r;
    struct err_text err;
    arena_init(&a, 0);
    promql_engine_config_defaults(&cfg);
    cfg.samples_max = 50;
    struct promql_engine *few = promql_engine_new(&cfg);
    struct promql_query q = { .text = STR("b"), .from_ms = 0, .to_ms = 1000000, .step_ms = 1000 };
    assert_int_equal(promql_exec(few, &w->source.src, &q, &a, &r, &err), ERR_LIMIT);
    assert_string_equal(err.msg, "query processing would load too many samples into memory in query execution");
    cfg.samples_max = 1000000;
    cfg.series_max = 3;
    struct promql_engine *narrow = promql_engine_new(&cfg);
    assert_int_equal(promql_exec(narrow, &w->source.src, &q, &a, &r, &err), ERR_LIMIT);
    atomic_bool cancel = true;
    q.cancel = &cancel;
    assert_int_equal(promql_exec(w->parallel, &w->source.src, &q, &a, &r, &err), ERR_CANCELLED);
    q.cancel = NULL;
    q.timeout_ms = 1;
    q.text = STR("count(a_total or b or c_total) + count(quantile_over_time(0.5, {__name__=~\".+\"}[30m]))");
    q.step_ms = 10;
    assert_int_equal(promql_exec(w->serial, &w->source.src, &q, &a, &r, &err), ERR_TIMEOUT);
    promql_engine_free(few);
    promql_engine_free(narrow);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(range_equals_instants),
        cmocka_unit_test(parallel_equals_serial),
        cmocka_unit_test(windows_equal_loops),
        cmocka_unit_test(budgets_end_queries),
    };
    return cmocka_run_group_tests_name("promql_eval_property", tests, setup, teardown);
}
