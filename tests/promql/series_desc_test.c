/* The notation of series and histograms (conformance/promql/parse), where the checkout has the cases; and our own. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "test.h"

#include "json_tree.h"
#include "promql/promql_series_desc.h"

static const struct jt *load_cases(struct arena *a, const char *file)
{
    const char *dir = getenv("VANE_CONFORMANCE");
    char path[4096];
    snprintf(path, sizeof(path), "%s/promql/parse/%s", dir ? dir : "/nonexistent", file);
    return jt_load(a, path);
}

static bool labels_match(const struct jt *want, struct labels got)
{
    if (want->kids.n != got.n)
        return false;
    for (size_t i = 0; i < want->kids.n; i++)
        if (!str_eq(labels_get(got, want->kids.p[i]->key), jt_str(want->kids.p[i])))
            return false;
    return true;
}

static bool check_series(const struct jt *c)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct series_desc d;
    struct err_text e = { 0 };
    enum err err = series_desc_parse(&a, jt_str(jt_get(c, "input")), &d, &e);
    if (jt_is(jt_get(c, "fail"), JSON_TOK_TRUE))
        return err == ERR_PARSE;
    const struct jt *want = jt_get(c, "values");
    bool ok = err == OK && labels_match(jt_get(c, "labels"), d.labels) && d.values.n == want->kids.n;
    for (size_t i = 0; ok && i < d.values.n; i++) {
        const struct jt *w = want->kids.p[i];
        ok = w->kind == JSON_TOK_STR ? d.values.p[i].omitted : !d.values.p[i].omitted && d.values.p[i].v == jt_num(w);
    }
    return ok;
}

static bool buckets_match(const struct jt *want, const double *got, size_t n)
{
    if ((want ? want->kids.n : 0) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (jt_num(want->kids.p[i]) != got[i])
            return false;
    return true;
}

static bool spans_match(const struct jt *want, const struct hist_side *got)
{
    if ((want ? want->kids.n : 0) != got->n_spans)
        return false;
    for (size_t i = 0; i < got->n_spans; i++)
        if (jt_num(jt_get(want->kids.p[i], "Offset")) != got->spans[i].offset ||
            jt_num(jt_get(want->kids.p[i], "Length")) != got->spans[i].length)
            return false;
    return true;
}

static bool hint_matches(str want, enum hist_reset got)
{
    static const char *const names[] = { [HIST_RESET_UNKNOWN] = "histogram.UnknownCounterReset",
                                         [HIST_RESET_YES] = "histogram.CounterReset",
                                         [HIST_RESET_NO] = "histogram.NotCounterReset",
                                         [HIST_RESET_GAUGE] = "histogram.GaugeType" };
    return want.p ? str_eq(want, str_c(names[got])) : got == HIST_RESET_UNKNOWN;
}

static bool histogram_matches(const struct jt *w, const struct histogram *h)
{
    return h->schema == (int32_t)jt_num(jt_get(w, "Schema")) && h->sum == jt_num(jt_get(w, "Sum")) &&
           h->count == jt_num(jt_get(w, "Count")) && h->zero_count == jt_num(jt_get(w, "ZeroCount")) &&
           h->zero_threshold == jt_num(jt_get(w, "ZeroThreshold")) &&
           hint_matches(jt_str(jt_get(w, "CounterResetHint")), h->reset) &&
           buckets_match(jt_get(w, "PositiveBuckets"), h->pos.buckets, h->pos.n_buckets) &&
           buckets_match(jt_get(w, "NegativeBuckets"), h->neg.buckets, h->neg.n_buckets) &&
           spans_match(jt_get(w, "PositiveSpans"), &h->pos) && spans_match(jt_get(w, "NegativeSpans"), &h->neg);
}

static bool check_histogram(const struct jt *c)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct series_desc d;
    struct err_text e = { 0 };
    enum err err = series_desc_parse(&a, jt_str(jt_get(c, "input")), &d, &e);
    str want_error = jt_str(jt_get(c, "expect_error"));
    if (want_error.p) {
        bool same = err == ERR_PARSE && str_eq(want_error, str_c(e.msg));
        if (!same)
            print_message("# got  %s\n# want " STR_FMT "\n", e.msg, STR_ARG(want_error));
        return same;
    }
    const struct jt *want = jt_get(c, "histograms");
    bool ok = err == OK && d.values.n == want->kids.n;
    for (size_t i = 0; ok && i < d.values.n; i++)
        ok = d.values.p[i].h && histogram_matches(want->kids.p[i], d.values.p[i].h);
    return ok;
}

static void run_cases(const char *file, bool (*check)(const struct jt *c))
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    const struct jt *cases = load_cases(&a, file);
    if (!cases)
        skip();
    size_t failed = 0;
    for (size_t i = 0; i < cases->kids.n; i++) {
        if (check(cases->kids.p[i]))
            continue;
        print_message("# failed: " STR_FMT "\n", STR_ARG(jt_str(jt_get(cases->kids.p[i], "input"))));
        failed++;
    }
    print_message("# %s: %zu passed, %zu failed\n", file, cases->kids.n - failed, failed);
    assert_int_equal(failed, 0);
}

static void series_cases(void **state)
{
    (void)state;
    run_cases("series_notation.json", check_series);
}
static void histogram_cases(void **state)
{
    (void)state;
    run_cases("histogram_notation.json", check_histogram);
}

static void start_times_are_relative_durations(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct series_desc d;
    assert_ok(series_desc_parse(&a, STR("m{a=\"b\"}@st _ 0 -1m +1s -30s-1mx2 _x2"), &d, NULL));
    assert_true(d.is_start);
    const double nan = (double)NAN, want[] = { nan, 0, -60000, 1000, -30000, -90000, -150000, nan, nan };
    assert_int_equal(d.values.n, ARRAY_LEN(want));
    for (size_t i = 0; i < d.values.n; i++) {
        assert_int_equal(d.values.p[i].omitted, isnan(want[i]));
        if (!isnan(want[i]))
            assert_true(d.values.p[i].v == want[i]);
    }
}

static void repetition_is_bounded(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct series_desc d;
    assert_err(series_desc_parse(&a, STR("m 1x99999999"), &d, NULL), ERR_PARSE);
    assert_err(series_desc_parse(&a, STR("m 1x60000 1x60000"), &d, NULL), ERR_PARSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(series_cases),
        cmocka_unit_test(histogram_cases),
        cmocka_unit_test(start_times_are_relative_durations),
        cmocka_unit_test(repetition_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
