/* model/histogram.h: validation rows, copy and equality. */
#include "test.h"

#include <math.h>

#include "model/sample.h"

static const struct hist_span two_spans[] = { { -1, 2 }, { 3, 1 } };
static const double three[] = { 1, 2, 3 };

static struct histogram good(void)
{
    return (struct histogram){ .schema = 3, .count = 6, .sum = 9, .pos = { two_spans, 2, three, 3 } };
}

static void validation(void **state)
{
    (void)state;
    struct err_text why;
    struct histogram h = good();
    assert_ok(histogram_validate(&h, &why));
    h.schema = 9;
    assert_err(histogram_validate(&h, &why), ERR_INVALID);
    h = good();
    h.pos.n_buckets = 2;
    assert_err(histogram_validate(&h, &why), ERR_INVALID);
    h = good();
    static const double negative[] = { 1, -2, 3 };
    h.pos.buckets = negative;
    assert_err(histogram_validate(&h, &why), ERR_INVALID);
    static const struct hist_span back[] = { { -1, 2 }, { -3, 1 } };
    h = good();
    h.pos.spans = back;
    assert_err(histogram_validate(&h, &why), ERR_INVALID);
    h = good();
    static const struct hist_span huge[] = { { 0, UINT32_MAX }, { 0, UINT32_MAX } };
    h.pos.spans = huge;
    assert_err(histogram_validate(&h, &why), ERR_LIMIT);
}

static void custom_bounds(void **state)
{
    (void)state;
    struct err_text why;
    static const double bounds[] = { 0.1, 1, 10 }, tangled[] = { 1, 0.1, 10 };
    static const struct hist_span all[] = { { 0, 3 } };
    struct histogram h = { .schema = HIST_SCHEMA_CUSTOM, .pos = { all, 1, three, 3 }, .custom = bounds, .n_custom = 3 };
    assert_ok(histogram_validate(&h, &why));
    h.n_custom = 1;
    assert_err(histogram_validate(&h, &why), ERR_INVALID);
    h.n_custom = 3;
    h.custom = tangled;
    assert_err(histogram_validate(&h, &why), ERR_INVALID);
    h.custom = bounds;
    h.zero_count = 1;
    assert_err(histogram_validate(&h, &why), ERR_INVALID);
}

static void copies_are_equal_and_apart(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct histogram h = good();
    h.sum = f64_from_bits(STALE_NAN_BITS);
    struct histogram *c = histogram_copy(&a, &h);
    assert_true(histogram_eq(&h, c));
    assert_ptr_not_equal(c->pos.buckets, h.pos.buckets);
    c->sum = (double)NAN;
    assert_false(histogram_eq(&h, c));
    assert_true(is_stale(h.sum) && !is_stale(c->sum));
    assert_int_equal(metric_type_parse(STR("gaugehistogram")), METRIC_GAUGE_HISTOGRAM);
    assert_string_equal(metric_type_name(METRIC_COUNTER), "counter");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(validation),
        cmocka_unit_test(custom_bounds),
        cmocka_unit_test(copies_are_equal_and_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
