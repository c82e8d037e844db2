/* The way of a sample: write, wait, read from the head, flush, read from a segment, start again, replay. */
#include "tsdb/fixture.h"

static void put(struct fixture *f, const char *name, const char *instance, int64_t ts, double v)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct sample s = { ts, v };
    struct batch b = { .a = &a };
    struct batch_series bs = { .labels = mk_labels(&a, name, instance), .samples = &s, .n_samples = 1 };
    avec_push(&a, &b.series, bs);
    struct tsdb_write_result r;
    assert_ok(tsdb_write(f->db, &b, &r));
    assert_int_equal(r.samples, 1);
    assert_ok(tsdb_wait(f->db, r.lsn));
}

static size_t count_all(struct fixture *f, const char *name, double *ret_sum)
{
    struct tsdb_query *q;
    assert_ok(tsdb_query_open(f->db, T0 - DAY_MS, T0 + DAY_MS, &q));
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct matcher m;
    assert_ok(matcher_init(&m, MATCH_EQ, LABEL_NAME, str_c(name), NULL));
    struct tsdb_series *s;
    size_t n, total = 0;
    assert_ok(tsdb_select(q, &m, 1, 0, &a, &s, &n));
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    *ret_sum = 0;
    for (size_t i = 0; i < n; i++) {
        struct tsdb_points p;
        assert_ok(tsdb_read(c, s[i].id, INT64_MIN, INT64_MAX, &p));
        for (size_t k = 0; k < p.n; k++) {
            *ret_sum += p.v[k];
            if (k)
                assert_true(p.ts[k] > p.ts[k - 1]);
        }
        total += p.n;
    }
    assert_false(tsdb_query_incomplete(q, NULL));
    tsdb_cursor_free(c);
    matcher_deinit(&m);
    tsdb_query_close(q);
    return total;
}

static void the_way_of_a_sample(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f);
    fx_open(&f);
    double want = 0, sum;
    for (int t = 0; t < 300; t++)
        for (int i = 0; i < 5; i++) {
            char inst[10];
            snprintf(inst, sizeof(inst), "h%d", i);
            put(&f, "up", inst, T0 + t * 15000, t * 0.1 + i);
            want += t * 0.1 + i;
        }
    assert_int_equal(count_all(&f, "up", &sum), 1500);
    assert_true(fabs(sum - want) < 1e-6);
    fx_crash(&f);
    fx_open(&f);
    assert_int_equal(count_all(&f, "up", &sum), 1500);
    assert_true(fabs(sum - want) < 1e-6);
    assert_ok(tsdb_flush(f.db));
    assert_int_equal(count_all(&f, "up", &sum), 1500);
    assert_true(fabs(sum - want) < 1e-6);
    put(&f, "up", "h1", T0 + 300 * 15000, 1);
    assert_int_equal(count_all(&f, "up", &sum), 1501);
    fx_close(&f);
    fx_open(&f);
    assert_int_equal(count_all(&f, "up", &sum), 1501);
    assert_ok(tsdb_compact(f.db));
    assert_int_equal(count_all(&f, "up", &sum), 1501);
    fx_close(&f);
    fx_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_way_of_a_sample) };
    return cmocka_run_group_tests_name("tsdb basic", tests, NULL, NULL);
}
