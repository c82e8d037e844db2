/* model/labels.h */
#include "test.h"

#include "model/labels.h"

static void builder_sorts_and_drops_empties(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct label_builder b;
    lb_init(&b, &a);
    lb_set(&b, STR("job"), STR("x"));
    lb_set(&b, STR("__name__"), STR("up"));
    lb_set(&b, STR("empty"), STR(""));
    lb_set(&b, STR("job"), STR("y"));
    lb_set(&b, STR("zone"), STR("q\"\n"));
    struct labels ls = lb_labels(&b);
    AUTO_BUF struct buf out = { 0 };
    labels_print(&out, ls);
    assert_str(buf_str(&out), "up{job=\"y\", zone=\"q\\\"\\n\"}");
    lb_del(&b, STR("job"));
    lb_del(&b, STR("zone"));
    buf_clear(&out);
    labels_print(&out, lb_labels(&b));
    assert_str(buf_str(&out), "up");
    struct labels copy = labels_copy(&a, ls);
    assert_true(labels_eq(copy, ls));
    assert_true(labels_hash(copy) == labels_hash(ls));
    assert_true(hash128_eq(labels_hash128(copy, 9), labels_hash128(ls, 9)));
    assert_false(hash128_eq(labels_hash128(copy, 9), labels_hash128(ls, 8)));
}

static void utf8_names_are_quoted(void **state)
{
    (void)state;
    struct label p[] = { { STR_INIT("__name__"), STR_INIT("my.metric") }, { STR_INIT("a.b"), STR_INIT("1") } };
    AUTO_BUF struct buf out = { 0 };
    labels_print(&out, (struct labels){ p, 2 });
    assert_str(buf_str(&out), "{\"my.metric\", \"a.b\"=\"1\"}");
    buf_clear(&out);
    labels_print(&out, LABELS_NONE);
    assert_str(buf_str(&out), "{}");
}

static void duplicates_are_refused(void **state)
{
    (void)state;
    struct label p[] = { { STR_INIT("b"), STR_INIT("1") },
                         { STR_INIT("a"), STR_INIT("") },
                         { STR_INIT("b"), STR_INIT("") } };
    size_t n = 3;
    struct err_text why;
    assert_err(labels_sort(p, &n, &why), ERR_INVALID);
    assert_non_null(strstr(why.msg, "\"b\""));
    struct label q[] = { { STR_INIT("b"), STR_INIT("1") }, { STR_INIT("a"), STR_INIT("") } };
    n = 2;
    assert_ok(labels_sort(q, &n, &why));
    assert_int_equal(n, 1);
    assert_str(q[0].name, "b");
}

static void order_is_prometheus_order(void **state)
{
    (void)state;
    struct label a[] = { { STR_INIT("a"), STR_INIT("1") } };
    struct label ab[] = { { STR_INIT("a"), STR_INIT("1") }, { STR_INIT("b"), STR_INIT("1") } };
    struct label c[] = { { STR_INIT("a"), STR_INIT("2") } };
    assert_true(labels_cmp((struct labels){ a, 1 }, (struct labels){ ab, 2 }) < 0);
    assert_true(labels_cmp((struct labels){ ab, 2 }, (struct labels){ c, 1 }) < 0);
    assert_int_equal(labels_cmp((struct labels){ c, 1 }, (struct labels){ c, 1 }), 0);
    assert_true(labels_valid_name(STR("a_1")) && !labels_valid_name(STR("1a")) && !labels_valid_name(STR("a:b")));
    assert_true(labels_valid_metric_name(STR("a:b")) && !labels_valid_metric_name(STR("a.b")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builder_sorts_and_drops_empties),
        cmocka_unit_test(utf8_names_are_quoted),
        cmocka_unit_test(duplicates_are_refused),
        cmocka_unit_test(order_is_prometheus_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
