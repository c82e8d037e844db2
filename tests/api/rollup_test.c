/* Answers from rollups are the answers of the samples, for times and ranges of whole windows: random series with
 * resets, gaps, NaN, staleness markers, times on and off the borders; the same queries before and after the samples
 * were given up. Exact where it must be, else within rounding. */
#include "api/api_int.h"
#include "tsdb/fixture.h"

#define DAY0     (T0 - T0 % DAY_MS)
#define DAYS     4
#define N_SERIES 8
#define N_HISTS  2

struct site {
    struct fixture f;
    struct arena a;
    struct promql_source *src;
    struct promql_engine *engine;
    struct rng rng;
};

static void site_reopen(struct site *s)
{
    if (s->src)
        api_source_tsdb_free(s->src);
    if (s->f.db)
        fx_close(&s->f);
    fx_open(&s->f);
    s->src = api_source_tsdb_new(s->f.db);
}

static double next_value(struct site *s, int i, double prev)
{
    if (rng_below(&s->rng, 60) == 0)
        return f64_from_bits(STALE_NAN_BITS);
    if (i != 0 && rng_below(&s->rng, 90) == 0)
        return (double)NAN;
    if (i % 2) /* a gauge */
        return floor(rng_unit(&s->rng) * 1000) / 8 - 30;
    if (isnan(prev) || rng_below(&s->rng, 40) == 0)
        return (double)rng_below(&s->rng, 5);
    return prev + (double)rng_below(&s->rng, 50) / (i == 4 ? 7 : 1);
}

static struct histogram *next_hist(struct arena *a, double n)
{
    struct histogram *h = arena_new(a, struct histogram);
    struct hist_span *span = arena_new(a, struct hist_span);
    double *b = arena_array(a, double, 2);
    *span = (struct hist_span){ 1, 2 };
    b[0] = n;
    b[1] = 2 * n;
    *h = (struct histogram){ .schema = 1, .sum = n * 3.5, .count = 3 * n, .pos = { span, 1, b, 2 } };
    return h;
}

static void put(struct site *s, const struct batch *b, int64_t now)
{
    struct tsdb_write_result r;
    s->f.clk.now_ms = MAX(s->f.clk.now_ms, now);
    assert_ok(tsdb_write(s->f.db, b, &r));
    for (size_t i = 0; i < TSDB_REJECT_N; i++)
        assert_int_equal(r.rejected[i], 0);
}

static void fill(struct site *s)
{
    double last[N_SERIES] = { 0 }, hist[N_HISTS] = { 0 };
    bool gone[N_SERIES] = { 0 };
    s->f.clk.now_ms = DAY0;
    for (int64_t hour = DAY0 - 600000; hour < DAY0 + DAYS * DAY_MS + 3600000; hour += 3600000) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct batch b = { .a = &a };
        for (int i = 0; i < N_SERIES; i++) {
            char name[16];
            snprintf(name, sizeof(name), "i%d", i);
            struct sample *v = arena_array(&a, struct sample, 300);
            struct batch_series bs = { .labels = mk_labels(&a, i % 2 ? "g" : "c_total", name), .samples = v };
            gone[i] = rng_below(&s->rng, gone[i] ? 3 : 12) == 0 ? !gone[i] : gone[i];
            for (int64_t t = hour; t < hour + 3600000 && !gone[i]; t += 15000) {
                if (rng_below(&s->rng, 25) == 0)
                    continue;
                int64_t ts = t + (i < 4 ? 0 : (int64_t)rng_below(&s->rng, 9000)); /* some exactly on borders */
                double x = next_value(s, i, last[i]);
                last[i] = is_stale(x) ? last[i] : x;
                v[bs.n_samples++] = (struct sample){ ts, x };
            }
            if (bs.n_samples)
                avec_push(&a, &b.series, bs);
        }
        for (int i = 0; i < N_HISTS; i++) {
            struct hist_sample *v = arena_array(&a, struct hist_sample, 300);
            struct batch_series bs = { .labels = mk_labels(&a, "h", i ? "x" : "y"), .hists = v };
            for (int64_t t = hour; t < hour + 3600000; t += 15000)
                v[bs.n_hists++] = (struct hist_sample){ t, next_hist(&a, hist[i] += (double)rng_below(&s->rng, 9)) };
            avec_push(&a, &b.series, bs);
        }
        put(s, &b, hour + 3600000);
    }
    s->f.clk.now_ms = DAY0 + DAYS * DAY_MS + 3600000;
    assert_ok(tsdb_flush(s->f.db));
}

static void settle(struct site *s)
{
    for (uint64_t before = 0, now = 1; before != now;) {
        before = now;
        assert_ok(tsdb_compact(s->f.db));
        const struct segment_set *set = store_segments_ref(s->f.st, STORE_METRICS);
        now = set->version;
        for (size_t i = 0; i < set->n; i++) {
            struct err_text why = { 0 };
            if (tsdb_segment_verify(set->p[i], &why))
                fail_msg("%s: %s", segment_path(set->p[i]), why.msg);
        }
        segment_set_unref(set);
    }
}

static void ask(struct site *s, const char *text, int64_t from, int64_t to, int64_t step, struct promql_result *ret)
{
    struct promql_query q = {
        .text = str_c(text), .instant = step == 0, .from_ms = from, .to_ms = step ? to : from, .step_ms = step
    };
    struct err_text why = { 0 };
    enum err e = promql_exec(s->engine, s->src, &q, &s->a, ret, &why);
    if (e)
        fail_msg("%s: %s %s", text, err_name(e), why.msg);
}

static bool close_to(double x, double y, double tolerance)
{
    if (isnan(x) || isnan(y))
        return isnan(x) && isnan(y);
    return x == y || fabs(x - y) <= tolerance * fmax(fabs(x), fabs(y)) + tolerance;
}

static void same(const char *text, const struct promql_result *want, const struct promql_result *got, double tolerance)
{
    size_t points = 0;
    if (want->n_series != got->n_series)
        fail_msg("%s: %zu series, want %zu", text, got->n_series, want->n_series);
    for (size_t i = 0; i < want->n_series; i++) {
        const struct promql_result_series *x = &want->series[i], *y = &got->series[i];
        assert_true(labels_eq(x->labels, y->labels));
        for (size_t k = 0; k < x->n_points || k < y->n_points; k++) {
            if (k >= x->n_points || k >= y->n_points || x->points[k].ts_ms != y->points[k].ts_ms)
                fail_msg("%s: series %zu: point %zu of %zu at +%lld, want of %zu at +%lld", text, i, k, y->n_points,
                         k < y->n_points ? (long long)(y->points[k].ts_ms - DAY0) / 1000 : -1, x->n_points,
                         k < x->n_points ? (long long)(x->points[k].ts_ms - DAY0) / 1000 : -1);
            const struct promql_point *p = &x->points[k], *r = &y->points[k];
            assert_true(!p->h == !r->h);
            if (p->h ? !close_to(p->h->count, r->h->count, tolerance) || !close_to(p->h->sum, r->h->sum, tolerance)
                     : !close_to(p->v, r->v, tolerance))
                fail_msg("%s: series %zu at +%lld s: %.17g, want %.17g", text, i, (long long)(p->ts_ms - DAY0) / 1000,
                         p->h ? r->h->sum : r->v, p->h ? p->h->sum : p->v);
            points++;
        }
    }
    if (points < 20 && str_find(str_c(text), STR("absent")) == SIZE_MAX)
        fail_msg("%s: only %zu points were compared", text, points);
}

static const struct {
    const char *text; /* R: range */
    double tolerance;
} queries[] = {
    { "{__name__=~'c_total|g|h'}", 0 },
    { "timestamp(g)", 0 },
    { "count_over_time({__name__=~'c_total|g|h'}[R])", 0 },
    { "min_over_time(g[R])", 0 },
    { "max_over_time(g[R])", 0 },
    { "max_over_time(c_total[R])", 0 },
    { "first_over_time({__name__=~'c_total|g'}[R])", 0 },
    { "last_over_time({__name__=~'c_total|g|h'}[R])", 0 },
    { "present_over_time(g[R])", 0 },
    { "absent_over_time(g{instance='i5'}[R])", 0 },
    { "resets(c_total[R])", 0 },
    { "sum_over_time(g[R])", 1e-9 },
    { "avg_over_time(g[R])", 1e-9 },
    { "rate(c_total[R])", 1e-9 },
    { "increase(c_total[R])", 1e-9 },
    { "delta(g[R])", 1e-9 },
    { "sum by (job) (rate(c_total[R]))", 1e-9 },
    { "sum(count_over_time(g[R] offset 1h))", 0 },
    { "max_over_time(sum(g)[R:1h])", 1e-9 },
};

static const char *const ranges5m[] = { "10m", "1h", "6h", NULL }, *const ranges1h[] = { "2h", "12h", NULL };

#define RANGES_MAX 3
static const char *query_text(struct site *s, size_t i, const char *range)
{
    AUTO_BUF struct buf b = { 0 };
    for (const char *p = queries[i].text; *p; p++) {
        if (*p == 'R')
            buf_printf(&b, "%s", range);
        else
            buf_u8(&b, (uint8_t)*p);
    }
    return arena_cstr(&s->a, buf_str(&b));
}

static void run_all(struct site *s, const char *const *ranges, int64_t step, struct promql_result *out)
{
    for (size_t i = 0; i < ARRAY_LEN(queries); i++)
        for (size_t k = 0; ranges[k]; k++)
            ask(s, query_text(s, i, ranges[k]), DAY0 + 43200000, DAY0 + DAYS * DAY_MS, step, &out[i * RANGES_MAX + k]);
}

static size_t count_segments(struct site *s, bool rollups)
{
    const struct segment_set *set = store_segments_ref(s->f.st, STORE_METRICS);
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++)
        n += meta_is_rollup(segment_meta(set->p[i])) == rollups;
    segment_set_unref(set);
    return n;
}

static void site_open(struct site *s, const struct tsdb_rollup_config *r, size_t n)
{
    memset(s, 0, sizeof(*s));
    arena_init(&s->a, 0);
    fx_init(&s->f);
    s->rng = (struct rng){ 20261121 };
    s->f.cfg.rollups = r;
    s->f.cfg.n_rollups = n;
    s->f.cfg.ooo_window_ms = 0;
    struct promql_engine_config cfg;
    promql_engine_config_defaults(&cfg);
    cfg.features = PROMQL_EXPERIMENTAL_FUNCTIONS;
    s->engine = promql_engine_new(&cfg);
    site_reopen(s);
    fill(s);
    settle(s);
}

static void site_close(struct site *s)
{
    api_source_tsdb_free(s->src);
    fx_close(&s->f);
    fx_deinit(&s->f);
    promql_engine_free(s->engine);
    arena_deinit(&s->a);
}

/* Give up all but the newest `days` days of samples. */
static void expire(struct site *s, int64_t days)
{
    s->f.cfg.retention_ms = days * DAY_MS;
    site_reopen(s);
    struct err_text why;
    mtx_lock(&s->f.db->flush_mu);
    assert_ok(retention_apply(s->f.db, &why));
    mtx_unlock(&s->f.db->flush_mu);
}

static void compare(const struct tsdb_rollup_config *r, size_t n, const char *const *ranges, int64_t step)
{
    struct site s;
    site_open(&s, r, n);
    assert_int_equal(count_segments(&s, true), n * DAYS + n); /* the first minutes lie in a day of their own */
    size_t raw = count_segments(&s, false);
    struct promql_result *want = arena_zarray(&s.a, struct promql_result, ARRAY_LEN(queries) * RANGES_MAX),
                         *got = arena_zarray(&s.a, struct promql_result, ARRAY_LEN(queries) * RANGES_MAX);
    run_all(&s, ranges, step, want);
    assert_int_equal(want[0].n_notes, 0);
    for (int64_t days = DAYS - 1; days >= 1; days--) {
        expire(&s, days);
        assert_true(count_segments(&s, false) < raw);
        raw = count_segments(&s, false);
        run_all(&s, ranges, step, got);
        for (size_t i = 0; i < ARRAY_LEN(queries); i++)
            for (size_t j = 0; ranges[j]; j++) {
                const struct promql_result *x = &want[i * RANGES_MAX + j], *y = &got[i * RANGES_MAX + j];
                same(query_text(&s, i, ranges[j]), x, y, queries[i].tolerance);
                assert_true(y->n_notes > x->n_notes || !y->n_series);
            }
    }
    site_close(&s);
}

static void five_minutes_answer_as_samples(void **state)
{
    (void)state;
    struct tsdb_rollup_config r[] = { { .res_ms = 300000 } };
    compare(r, 1, ranges5m, 300000);
}

static void hours_answer_as_samples(void **state)
{
    (void)state;
    struct tsdb_rollup_config r[] = { { .res_ms = 3600000 } };
    compare(r, 1, ranges1h, 3600000);
}

/* While the samples are there, rollups change nothing; and both lengths together answer from the shorter. */
static void samples_answer_first(void **state)
{
    (void)state;
    struct site s, plain;
    struct tsdb_rollup_config r[] = { { .res_ms = 3600000 }, { .res_ms = 300000 } };
    site_open(&s, r, 2);
    site_open(&plain, NULL, 0);
    assert_int_equal(count_segments(&s, true), 2 * DAYS + 2);
    assert_int_equal(count_segments(&plain, true), 0);
    struct promql_result x, y;
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        const char *text = query_text(&s, i, "7m");
        ask(&plain, text, DAY0 + 1000, DAY0 + DAYS * DAY_MS, 137000, &x);
        ask(&s, text, DAY0 + 1000, DAY0 + DAYS * DAY_MS, 137000, &y);
        same(text, &x, &y, 0);
        assert_int_equal(x.n_notes, y.n_notes);
    }
    expire(&s, 1);
    ask(&plain, "max_over_time(g[10m])", DAY0 + 43200000, DAY0 + DAYS * DAY_MS, 300000, &x);
    ask(&s, "max_over_time(g[10m])", DAY0 + 43200000, DAY0 + DAYS * DAY_MS, 300000, &y);
    same("both lengths", &x, &y, 0);
    site_close(&s);
    site_close(&plain);
}

/* Between the ends of windows, an answer is the one of the last end; what is too short is said. */
static void between_window_ends(void **state)
{
    (void)state;
    struct site s;
    struct tsdb_rollup_config r[] = { { .res_ms = 300000 } };
    site_open(&s, r, 1);
    struct promql_result x, y;
    int64_t from = DAY0 + 43200000, to = DAY0 + 2 * DAY_MS;
    ask(&s, "g", from, to, 300000, &x);
    struct promql_result count;
    ask(&s, "count_over_time(g[15m])", from, to, 300000, &count);
    expire(&s, 1);
    ask(&s, "g", from + 123000, to, 300000, &y);
    for (size_t i = 0; i < x.n_series; i++)
        for (size_t k = 0; k + 1 < x.series[i].n_points && k < y.series[i].n_points; k++) {
            assert_true(y.series[i].points[k].ts_ms == x.series[i].points[k].ts_ms + 123000);
            assert_true(close_to(x.series[i].points[k].v, y.series[i].points[k].v, 0));
        }
    ask(&s, "count_over_time(g[15m])", from + 123000, to, 300000, &y);
    for (size_t i = 0; i < count.n_series; i++)
        for (size_t k = 0; k + 1 < count.series[i].n_points; k++)
            assert_true(count.series[i].points[k].v == y.series[i].points[k].v);
    ask(&s, "rate(c_total[1m])", from, to, 300000, &y);
    assert_true(y.n_series > 0);
    bool said = false;
    for (size_t i = 0; i < y.n_notes; i++)
        said |= str_contains(y.notes[i].text, STR("rate over 1m is less than one window"));
    assert_true(said);
    ask(&s, "count_over_time(c_total[1m])", from, to, 300000, &y);
    assert_int_equal(y.n_series, 0);
    assert_true(y.n_notes == 1 && y.notes[0].info);
    assert_str(y.notes[0].text, "PromQL info: rollups of resolution 5m were used where samples are no longer kept: "
                                "count_over_time over 1m is less than one window and has no answer there (1:17)");
    ask(&s, "quantile_over_time(0.5, g[1h])", from, to, 300000, &y);
    assert_true(y.n_series > 0 && y.n_notes == 1);
    assert_str(y.notes[0].text, "PromQL info: rollups of resolution 5m were used where samples are no longer kept: "
                                "quantile_over_time looks at the last sample of each window (1:25)");
    ask(&s, "rate(h[1h])", from, to, 300000, &y);
    assert_true(y.n_series == N_HISTS && y.series[0].points[0].h);
    site_close(&s);
}

/* Late samples and deletes make a rollup anew while its day is there; behind that, deletes hide windows. */
static void outdated(void **state)
{
    (void)state;
    struct site s;
    struct tsdb_rollup_config r[] = { { .res_ms = 300000 } };
    site_open(&s, r, 1);
    s.f.cfg.ooo_window_ms = 30 * DAY_MS;
    site_reopen(&s);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct sample late = { DAY0 + 40000000 + 7, 1e6 };
    struct batch b = { .a = &a };
    avec_push(&a, &b.series,
              ((struct batch_series){ .labels = mk_labels(&a, "g", "i1"), .samples = &late, .n_samples = 1 }));
    put(&s, &b, 0);
    assert_ok(tsdb_flush(s.f.db));
    struct matcher m;
    struct err_text why;
    assert_ok(matcher_init(&m, MATCH_EQ, STR("instance"), STR("i3"), &why));
    struct tsdb_selector sel = { &m, 1 };
    assert_ok(tsdb_delete(s.f.db, &sel, 1, DAY0 + DAY_MS / 2, DAY0 + DAY_MS / 2 + 3600000, &why));
    settle(&s);
    struct promql_result want, got;
    ask(&s, "max_over_time({__name__=~'g|c_total'}[1h])", DAY0 + DAY_MS / 4, DAY0 + 2 * DAY_MS, 3600000, &want);
    expire(&s, 1);
    ask(&s, "max_over_time({__name__=~'g|c_total'}[1h])", DAY0 + DAY_MS / 4, DAY0 + 2 * DAY_MS, 3600000, &got);
    same("late and deleted", &want, &got, 0);
    bool seen = false;
    for (size_t i = 0; i < got.n_series; i++)
        for (size_t k = 0; k < got.series[i].n_points; k++)
            seen |= got.series[i].points[k].v == 1e6;
    assert_true(seen);
    assert_ok(tsdb_delete(s.f.db, &sel, 1, DAY0, DAY0 + 10 * DAY_MS, &why));
    for (int again = 0; again < 3; again++) {
        ask(&s, "g{instance='i3'}", DAY0, DAY0 + DAYS * DAY_MS, 300000, &got);
        assert_int_equal(got.n_series, 0);
        ask(&s, "g{instance='i1'}", DAY0, DAY0 + DAYS * DAY_MS, 300000, &got);
        assert_int_equal(got.n_series, 1);
        if (again == 0)
            assert_ok(tsdb_clean_tombstones(s.f.db, &why));
        else
            site_reopen(&s);
    }
    matcher_deinit(&m);
    site_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_minutes_answer_as_samples),
        cmocka_unit_test(hours_answer_as_samples),
        cmocka_unit_test(samples_answer_first),
        cmocka_unit_test(between_window_ends),
        cmocka_unit_test(outdated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
