/* GET /federate: rows of upstream's behaviour. */
#include "test.h"

#include "site.h"

static struct labels external;
static void external_labels(void *ctx, struct arena *a, struct labels *ret)
{
    (void)ctx;
    *ret = labels_copy(a, external);
}

static int open_site(void **state)
{
    site_open(state);
    site.process.external_labels = external_labels;
    external = LABELS_NONE;
    memory_store_load(
        &site.store,
        STR("# TYPE t1 gauge\nt1{foo=\"bar\",instance=\"i\"} 0 1700000840000\nt1{foo=\"bar\",instance=\"i\"} 1 "
            "1700000900000\n"
            "t1{foo=\"boo\",instance=\"i\"} 2 1700000600000\nt2{foo=\"boo\"} 3 1700000890000\nold 4 1700000599999\n"
            "t_nan NaN 1700000900000\nA_first{zone=\"z\"} 5 1700000900000\n"),
        false);
    return 0;
}

static struct answer ask(const char *path, const char *accept)
{
    struct http_pair h = { STR("Accept"), str_c(accept) };
    return site_ask(HTTP_GET, path, &h, accept ? 1 : 0, STR(""));
}
#define ALL "/federate?match[]=%7B__name__%3D~%22.%2B%22%7D"

static void text(void **state)
{
    (void)state;
    struct answer a = ask("/federate?match[]=t1", NULL);
    assert_int_equal(a.status, 200);
    assert_str(a.content_type, "text/plain; version=0.0.4; charset=utf-8");
    assert_str(a.body, "# TYPE t1 untyped\nt1{foo=\"bar\",instance=\"i\"} 1 "
                       "1700000900000\nt1{foo=\"boo\",instance=\"i\"} 2 1700000600000\n");
    a = ask(ALL "&match[]=t2", NULL); /* twice selected, once shown; families by name */
    assert_str(a.body, "# TYPE A_first untyped\nA_first{zone=\"z\",instance=\"\"} 5 1700000900000\n"
                       "# TYPE t1 untyped\nt1{foo=\"bar\",instance=\"i\"} 1 "
                       "1700000900000\nt1{foo=\"boo\",instance=\"i\"} 2 1700000600000\n"
                       "# TYPE t2 untyped\nt2{foo=\"boo\",instance=\"\"} 3 1700000890000\n"
                       "# TYPE t_nan untyped\nt_nan{instance=\"\"} NaN 1700000900000\n");
    assert_str(ask("/federate?match[]=none", NULL).body, "");
    assert_int_equal(ask("/federate?match[]=none", NULL).status, 200);
    assert_str(ask("/federate", NULL).body, "");
    assert_int_equal(ask("/federate?match[]=t1{", NULL).status, 400);
    assert_int_equal(ask("/federate?match[]=%7B%7D", NULL).status, 400);
    site.ready = false;
    assert_int_equal(ask("/federate?match[]=t1", NULL).status, 503);
}

static void openmetrics(void **state)
{
    (void)state;
    struct answer a = ask("/federate?match[]=t2", "application/openmetrics-text;version=1.0.0");
    assert_true(str_has_prefix(a.content_type, STR("application/openmetrics-text")));
    assert_str(a.body, "# TYPE t2 unknown\nt2{foo=\"boo\",instance=\"\"} 3.0 1700000890\n# EOF\n");
}

static void with_external_labels(void **state)
{
    (void)state;
    static const struct label own[] = { { STR_INIT("foo"), STR_INIT("ext") }, { STR_INIT("zone"), STR_INIT("e\"u") } };
    external = (struct labels){ own, 2 };
    assert_str(ask("/federate?match[]=t2", NULL).body,
               "# TYPE t2 untyped\nt2{foo=\"boo\",zone=\"e\\\"u\",instance=\"\"} 3 1700000890000\n");
    static const struct label instance[] = { { STR_INIT("instance"), STR_INIT("ext") } };
    external = (struct labels){ instance, 1 };
    assert_str(ask("/federate?match[]=t2", NULL).body,
               "# TYPE t2 untyped\nt2{foo=\"boo\",instance=\"ext\"} 3 1700000890000\n");
}

static void stale(void **state)
{
    (void)state;
    const struct sample mark = { 1700000895000, f64_from_bits(STALE_NAN_BITS) };
    static const struct label t2[] = { { STR_INIT("__name__"), STR_INIT("t2") }, { STR_INIT("foo"), STR_INIT("boo") } };
    avec_push(&site.store.a, &memory_store_find(&site.store, (struct labels){ t2, 2 })->samples, mark);
    assert_str(ask("/federate?match[]=t2", NULL).body, "");
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_site, site_close)
int main(void)
{
    const struct CMUnitTest tests[] = { T(text), T(openmetrics), T(with_external_labels), T(stale) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
