/* model/histogram_math.h: against a slow model (a table of counts by bucket index) and by laws. */
#include "test.h"

#include <float.h>
#include <math.h>

#include "base/os.h"
#include "model/histogram_math.h"

static const double inf = (double)INFINITY, nan_value = (double)NAN;

enum { LOW = -40, HIGH = 60, ROUNDS = 400 };

struct table { /* counts by index - LOW */
    double pos[HIGH - LOW], neg[HIGH - LOW];
};

static void fill_side(struct rng *r, double *t)
{
    for (int i = 0; i < HIGH - LOW; i++)
        t[i] = rng_below(r, 3) ? 0 : (double)rng_below(r, 20);
}

/* Spans with gaps and stored empty buckets, as a client may send them. */
static void side_from(struct arena *a, struct rng *r, const double *t, struct hist_side *ret)
{
    struct hist_span *spans = arena_array(a, struct hist_span, HIGH - LOW);
    double *v = arena_array(a, double, HIGH - LOW);
    size_t n_spans = 0, n = 0;
    int next = 0;
    for (int i = 0; i < HIGH - LOW; i++) {
        if (t[i] == 0 && rng_below(r, 4))
            continue;
        if (n_spans && i + LOW == next && rng_below(r, 8))
            spans[n_spans - 1].length++;
        else
            spans[n_spans] = (struct hist_span){ i + LOW - (n_spans ? next : 0), 1 }, n_spans++;
        next = i + LOW + 1;
        v[n++] = t[i];
    }
    *ret = (struct hist_side){ spans, n_spans, v, n };
}

static struct histogram *make(struct arena *a, struct rng *r, struct table *t, int32_t schema)
{
    struct histogram *h = arena_new(a, struct histogram);
    fill_side(r, t->pos);
    fill_side(r, t->neg);
    h->schema = schema;
    side_from(a, r, t->pos, &h->pos);
    side_from(a, r, t->neg, &h->neg);
    h->zero_count = (double)rng_below(r, 5);
    h->count = h->zero_count;
    for (int i = 0; i < HIGH - LOW; i++)
        h->count += t->pos[i] + t->neg[i];
    h->sum = rng_unit(r) * 100;
    return h;
}

static double count_at(const struct histogram *h, bool negative, int32_t idx)
{
    struct hist_side_iter it;
    struct hist_bucket b;
    double n = 0;
    hist_side_iter_init(&it, h, negative);
    while (hist_side_iter_next(&it, &b))
        if (b.index == idx)
            n += b.count;
    return n;
}

static void is_compact(const struct hist_side *s)
{
    for (size_t i = 0; i < s->n_buckets; i++)
        assert_true(s->buckets[i] != 0);
    for (size_t i = 1; i < s->n_spans; i++)
        assert_true(s->spans[i].offset > 0);
}

static void sums_and_differences_by_bucket(void **state)
{
    (void)state;
    struct rng r = { 1 };
    for (int round = 0; round < ROUNDS; round++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct table tx, ty;
        struct histogram *x = make(&a, &r, &tx, 3), *y = make(&a, &r, &ty, 3), *s, *d;
        assert_ok(histogram_add(&a, x, y, &s, NULL));
        assert_ok(histogram_sub(&a, s, y, &d, NULL));
        is_compact(&s->pos);
        is_compact(&s->neg);
        assert_ok(histogram_validate(s, NULL));
        for (int i = 0; i < HIGH - LOW; i++) {
            assert_true(count_at(s, false, i + LOW) == tx.pos[i] + ty.pos[i]);
            assert_true(count_at(s, true, i + LOW) == tx.neg[i] + ty.neg[i]);
        }
        assert_true(histogram_almost_eq(d, x, 1e-9));
        struct hist_sum sum = { .a = &a };
        assert_ok(hist_sum_add(&sum, x, false, NULL));
        assert_ok(hist_sum_add(&sum, y, false, NULL));
        assert_true(histogram_almost_eq(hist_sum_result(&sum), s, 1e-12));
        assert_ok(hist_sum_add(&sum, y, true, NULL));
        assert_true(histogram_almost_eq(hist_sum_result(&sum), x, 1e-12));
    }
}

static void lower_resolution_merges_neighbours(void **state)
{
    (void)state;
    struct rng r = { 2 };
    for (int round = 0; round < ROUNDS; round++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct table tx, ty;
        struct histogram *x = make(&a, &r, &tx, 2), *y = make(&a, &r, &ty, 0), *s;
        struct histogram *low = histogram_reduce(&a, x, 0);
        double want = 0;
        for (int i = 0; i < HIGH - LOW; i++) { /* bucket 1 of schema 0 is (1, 2]: 1..4 of schema 2 */
            int idx = i + LOW;
            if (idx >= 1 && idx <= 4)
                want += tx.pos[i];
        }
        assert_true(count_at(low, false, 1) == want);
        assert_ok(histogram_add(&a, x, y, &s, NULL));
        assert_int_equal(s->schema, 0);
        struct histogram *again;
        assert_ok(histogram_add(&a, low, y, &again, NULL));
        assert_true(histogram_almost_eq(s, again, 1e-12));
    }
}

static void zero_buckets_are_reconciled(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    static const struct hist_span at1[] = { { 1, 3 } };
    static const double v[] = { 1, 2, 4 };
    struct histogram x = { .count = 12, .zero_count = 5, .zero_threshold = 1.5, .pos = { 0 } };
    struct histogram y = { .count = 8, .zero_count = 1, .zero_threshold = 0.1, .pos = { at1, 1, v, 3 } };
    struct histogram *s;
    assert_ok(histogram_add(&a, &x, &y, &s, NULL));
    /* 1.5 lies inside (1, 2], which is populated: the threshold moves to 2. */
    assert_true(s->zero_threshold == 2);
    assert_true(s->zero_count == 5 + 1 + 1);
    assert_true(count_at(s, false, 1) == 0);
    assert_true(count_at(s, false, 2) == 2);
}

static void custom_bounds_are_intersected(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    static const struct hist_span four[] = { { 0, 4 } }, three[] = { { 0, 3 } };
    static const double bx[] = { 1, 2, 3 }, by[] = { 2, 5 }, vx[] = { 1, 2, 3, 4 }, vy[] = { 10, 20, 30 };
    struct histogram x = {
        .schema = HIST_SCHEMA_CUSTOM, .count = 10, .pos = { four, 1, vx, 4 }, .custom = bx, .n_custom = 3
    };
    struct histogram y = {
        .schema = HIST_SCHEMA_CUSTOM, .count = 60, .pos = { three, 1, vy, 3 }, .custom = by, .n_custom = 2
    };
    struct histogram *s;
    unsigned notes = 0;
    assert_ok(histogram_add(&a, &x, &y, &s, &notes));
    assert_int_equal(notes, HIST_NOTE_BOUNDS_RECONCILED);
    assert_int_equal(s->n_custom, 1);
    assert_true(s->custom[0] == 2);
    assert_true(count_at(s, false, 0) == 1 + 2 + 10);
    assert_true(count_at(s, false, 1) == 3 + 4 + 20 + 30);
    struct histogram exp = { .count = 1 };
    assert_err(histogram_add(&a, &x, &exp, &s, NULL), ERR_INVALID);
}

static void resets_are_seen(void **state)
{
    (void)state;
    struct rng r = { 3 };
    for (int round = 0; round < ROUNDS; round++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct table tx, ty;
        struct histogram *x = make(&a, &r, &tx, 3), *y = make(&a, &r, &ty, 3), *s;
        assert_ok(histogram_add(&a, x, y, &s, NULL));
        assert_false(histogram_reset_between(x, s));
        assert_false(histogram_reset_between(x, histogram_reduce(&a, s, 1)));
        assert_int_equal(histogram_reset_between(s, x), y->count > 0);
        s->reset = HIST_RESET_YES;
        assert_true(histogram_reset_between(x, s));
        x->reset = HIST_RESET_NO;
        assert_false(histogram_reset_between(s, x));
    }
}

static void quantiles_and_fractions_are_inverse(void **state)
{
    (void)state;
    struct rng r = { 4 };
    for (int round = 0; round < ROUNDS; round++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct table t;
        struct histogram *h = make(&a, &r, &t, 2);
        enum hist_nan nan;
        double before = -inf;
        if (h->count == 0)
            continue;
        h->zero_threshold = 1e-4; /* below all buckets */
        for (int i = 1; i < 20; i++) {
            double q = i / 20.0, v = histogram_quantile(q, h, &nan);
            assert_int_equal(nan, HIST_NAN_NONE);
            assert_true(v >= before);
            before = v;
            double back = histogram_fraction(-inf, v, h, &nan);
            assert_true(fabs(back - q) < 1e-9);
        }
    }
}

static void quantile_edges(void **state)
{
    (void)state;
    enum hist_nan nan;
    static const struct hist_span one[] = { { 0, 2 } };
    static const double v[] = { 2, 2 }, bound[] = { 10 };
    struct histogram h = {
        .schema = HIST_SCHEMA_CUSTOM, .count = 4, .sum = 1, .pos = { one, 1, v, 2 }, .custom = bound, .n_custom = 1
    };
    assert_true(histogram_quantile(0.25, &h, &nan) == 5); /* from 0 */
    assert_true(histogram_quantile(0.9, &h, &nan) == 10); /* the last finite bound */
    assert_true(histogram_quantile(-1, &h, &nan) == -inf);
    assert_true(histogram_quantile(2, &h, &nan) == inf);
    assert_true(isnan(histogram_quantile(nan_value, &h, &nan)));
    struct histogram empty = { 0 };
    assert_true(isnan(histogram_quantile(0.5, &empty, &nan)));
    assert_true(isnan(histogram_fraction(0, 1, &empty, &nan)));
}

static void trimming_keeps_what_lies_inside(void **state)
{
    (void)state;
    struct rng r = { 5 };
    for (int round = 0; round < ROUNDS; round++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct table t;
        struct histogram *h = make(&a, &r, &t, 2);
        double bound = (rng_unit(&r) - 0.5) * 40;
        struct histogram *below = histogram_trim(&a, h, bound, true), *above = histogram_trim(&a, h, bound, false);
        assert_true(f64_almost_eq(below->count + above->count, h->count, 1e-9));
        assert_true(histogram_almost_eq(histogram_trim(&a, h, inf, true), h, 0.0000001));
        assert_true(histogram_trim(&a, h, inf, false)->count == 0);
        struct hist_iter it;
        struct hist_bucket b;
        hist_iter_init(&it, below, HIST_ASCENDING);
        while (hist_iter_next(&it, &b))
            assert_true(b.lower <= bound);
    }
}

static void both_orders_visit_the_same(void **state)
{
    (void)state;
    struct rng r = { 6 };
    for (int round = 0; round < ROUNDS; round++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct table t;
        struct histogram *h = make(&a, &r, &t, 3);
        struct hist_bucket *up = arena_array(&a, struct hist_bucket, 2 * (HIGH - LOW) + 1), b;
        size_t n = 0;
        struct hist_iter it;
        hist_iter_init(&it, h, HIST_ASCENDING);
        while (hist_iter_next(&it, &b)) {
            assert_true(n == 0 || up[n - 1].upper <= b.lower);
            up[n++] = b;
        }
        hist_iter_init(&it, h, HIST_DESCENDING);
        while (hist_iter_next(&it, &b)) {
            n--;
            assert_true(up[n].lower == b.lower && up[n].upper == b.upper && up[n].count == b.count);
        }
        assert_int_equal(n, 0);
    }
}

static void bounds_are_the_field_s(void **state)
{
    (void)state;
    assert_true(histogram_bound(0, 0) == 1);
    assert_true(histogram_bound(0, 3) == 8);
    assert_true(histogram_bound(-1, 1) == 4);
    assert_true(histogram_bound(1, -1) == 0.7071067811865475);
    assert_true(histogram_bound(8, 1) == 2 * 0.5013556375251013);
    assert_true(histogram_bound(0, 1024) == DBL_MAX);
    assert_true(isinf(histogram_bound(0, 1025)));
    assert_true(histogram_bound(-4, 64) == DBL_MAX);
}

static void texts(void **state)
{
    (void)state;
    static const struct hist_span pos[] = { { 1, 1 }, { 1, 1 } }, neg[] = { { 0, 1 } };
    static const double pv[] = { 2, 3 }, nv[] = { 1 };
    struct histogram h = { .schema = 0,
                           .count = 10,
                           .sum = -1.5,
                           .zero_count = 4,
                           .zero_threshold = 0.001,
                           .pos = { pos, 2, pv, 2 },
                           .neg = { neg, 1, nv, 1 },
                           .reset = HIST_RESET_GAUGE };
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    histogram_print(&out, &h);
    assert_str(buf_str(&out), "{count:10, sum:-1.5, [-1,-0.5):1, [-0.001,0.001]:4, (1,2]:2, (4,8]:3}");
    buf_clear(&out);
    histogram_print_test(&out, &h);
    assert_str(buf_str(&out), "{{count:10 sum:-1.5 z_bucket:4 z_bucket_w:0.001 counter_reset_hint:gauge offset:1 "
                              "buckets:[2 0 3] n_buckets:[1]}}");
    buf_clear(&out);
    struct json_out j = json_out_init(&out);
    histogram_json(&j, &h);
    assert_str(buf_str(&out), "{\"count\":\"10\",\"sum\":\"-1.5\",\"buckets\":[[1,\"-1\",\"-0.5\",\"1\"],"
                              "[3,\"-0.001\",\"0.001\",\"4\"],[0,\"1\",\"2\",\"2\"],[0,\"4\",\"8\",\"3\"]]}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_differences_by_bucket),
        cmocka_unit_test(lower_resolution_merges_neighbours),
        cmocka_unit_test(zero_buckets_are_reconciled),
        cmocka_unit_test(custom_bounds_are_intersected),
        cmocka_unit_test(resets_are_seen),
        cmocka_unit_test(quantiles_and_fractions_are_inverse),
        cmocka_unit_test(quantile_edges),
        cmocka_unit_test(trimming_keeps_what_lies_inside),
        cmocka_unit_test(both_orders_visit_the_same),
        cmocka_unit_test(bounds_are_the_field_s),
        cmocka_unit_test(texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
