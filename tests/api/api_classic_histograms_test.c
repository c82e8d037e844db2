/* Classic histograms read as native ones: grouping, torn scrapes, missing parts, staleness, what passes through. */
#include "test.h"

#include <math.h>

#include "memory_store.h"

static struct memory_store store;
static struct promql_source *src;
static struct promql_view *view;
static struct arena a;
static struct promql_series *found;
static size_t n_found;

static int open_source(void **state)
{
    (void)state;
    memory_store_init(&store);
    arena_init(&a, 0);
    src = api_classic_histograms_new(&store.source);
    assert_ok(src->open(src, 0, 1000000, &view));
    return 0;
}
static int close_source(void **state)
{
    (void)state;
    src->close(view);
    api_classic_histograms_free(src);
    arena_deinit(&a);
    memory_store_deinit(&store);
    return 0;
}

static void ask(enum match_type type, const char *name, const char *more_name, const char *more_value)
{
    struct matcher m[2];
    assert_ok(matcher_init(&m[0], type, LABEL_NAME, str_c(name), NULL));
    size_t n = 1;
    if (more_name)
        assert_ok(matcher_init(&m[n++], MATCH_EQ, str_c(more_name), str_c(more_value), NULL));
    assert_ok(src->select(view, m, n, 0, 1000000, 1000, &a, &found, &n_found));
    for (size_t i = 0; i < n; i++)
        matcher_deinit(&m[i]);
}

static struct promql_points read_series(struct promql_reader *r, size_t i)
{
    struct promql_points p;
    assert_ok(src->read(r, found[i].id, 0, 1000000, &p));
    return p;
}

static void grouping(void **state)
{
    (void)state;
    memory_store_load(&store,
                      STR("h_bucket{job=\"b\",le=\"+Inf\"} 7 1\n"
                          "h_bucket{job=\"b\",le=\"10\"} 6 1\n"
                          "h_bucket{job=\"b\",le=\"2\"} 4 1\n"
                          "h_bucket{job=\"a\",le=\"1\"} 1 1\n"
                          "h_bucket{job=\"a\",le=\"+Inf\"} 3 1\n"
                          "h_bucket{job=\"a\",le=\"nonsense\"} 3 1\n"
                          "h_sum{job=\"b\"} 12.5 1\n"
                          "h_count{job=\"b\"} 7 1\n"),
                      false);
    ask(MATCH_EQ, "h", NULL, NULL);
    assert_int_equal(n_found, 2);
    assert_str(labels_get(found[0].labels, STR("job")), "a");
    assert_str(labels_name(found[1].labels), "h");
    assert_false(labels_has(found[1].labels, LABEL_BUCKET));
    struct promql_reader *r = src->reader_new(view);
    struct promql_points p = read_series(r, 1);
    assert_int_equal(p.n, 1);
    const struct histogram *h = p.h[0];
    assert_ok(histogram_validate(h, NULL));
    assert_int_equal(h->schema, HIST_SCHEMA_CUSTOM);
    assert_int_equal(h->n_custom, 2);
    assert_true(h->custom[0] == 2 && h->custom[1] == 10);
    assert_true(h->pos.buckets[0] == 4 && h->pos.buckets[1] == 2 && h->pos.buckets[2] == 1);
    assert_true(h->count == 7 && h->sum == 12.5);
    p = read_series(r, 0);
    assert_true(p.h[0]->count == 3 && p.h[0]->sum == 0); /* no _sum there */
    src->reader_free(r);
    ask(MATCH_EQ, "h", "job", "a");
    assert_int_equal(n_found, 1);
}

static void torn_and_stale(void **state)
{
    (void)state;
    memory_store_load(&store,
                      STR("h_bucket{le=\"1\"} 5 1\nh_bucket{le=\"1\"} 9 2\nh_bucket{le=\"1\"} 9 4\n"
                          "h_bucket{le=\"2\"} 3 1\nh_bucket{le=\"2\"} 10 3\n"
                          "h_bucket{le=\"+Inf\"} 4 1\nh_bucket{le=\"+Inf\"} 12 2\nh_bucket{le=\"+Inf\"} 12 3\n"),
                      false);
    struct memory_series *inf = NULL;
    for (size_t i = 0; i < store.series.n; i++)
        if (str_eq(labels_get(store.series.p[i]->labels, LABEL_BUCKET), STR("+Inf")))
            inf = store.series.p[i];
    inf->samples.p[2].v = f64_from_bits(STALE_NAN_BITS);
    ask(MATCH_EQ, "h", NULL, NULL);
    struct promql_reader *r = src->reader_new(view);
    struct promql_points p = read_series(r, 0);
    assert_int_equal(p.n, 3);
    assert_ok(histogram_validate(p.h[0], NULL)); /* counts that fall are lifted */
    assert_true(p.h[0]->pos.buckets[0] == 5 && p.h[0]->pos.buckets[1] == 0 && p.h[0]->count == 5);
    assert_int_equal(p.h[1]->n_custom, 1); /* le="2" is missing at that time */
    assert_true(p.h[1]->pos.buckets[1] == 3);
    assert_null(p.h[2]);
    assert_true(is_stale(p.v[2]));
    src->reader_free(r);
}

static void count_stands_in_for_inf(void **state)
{
    (void)state;
    memory_store_load(&store, STR("h_bucket{le=\"1\"} 5 1\nh_count 8 1\nh_sum 2 1\n"), false);
    ask(MATCH_EQ, "h", NULL, NULL);
    struct promql_reader *r = src->reader_new(view);
    struct promql_points p = read_series(r, 0);
    assert_true(p.n == 1 && p.h[0]->count == 8 && p.h[0]->pos.buckets[1] == 3);
    src->reader_free(r);
}

static void passing_through(void **state)
{
    (void)state;
    memory_store_load(&store, STR("h_bucket{le=\"1\"} 5 1\ng_bucket{le=\"1\"} 5 1\ng 3 1\n"), false);
    ask(MATCH_EQ, "g", NULL, NULL); /* has series of its own */
    assert_int_equal(n_found, 1);
    struct promql_reader *r = src->reader_new(view);
    struct promql_points p = read_series(r, 0);
    assert_true(p.n == 1 && p.v[0] == 3 && p.h == NULL);
    src->reader_free(r);
    ask(MATCH_EQ, "h_bucket", NULL, NULL);
    assert_int_equal(n_found, 1);
    ask(MATCH_RE, "h", NULL, NULL); /* only an exact name */
    assert_int_equal(n_found, 0);
    ask(MATCH_EQ, "h", "le", "1");
    assert_int_equal(n_found, 0);
    ask(MATCH_EQ, "nothing", NULL, NULL);
    assert_int_equal(n_found, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_source, close_source)
int main(void)
{
    const struct CMUnitTest tests[] = { T(grouping), T(torn_and_stale), T(count_stands_in_for_inf),
                                        T(passing_through) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
