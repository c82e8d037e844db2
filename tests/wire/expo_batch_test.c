/* wire/expo_batch.h: batches and family texts of whole expositions. */
#include "wire_test.h"

#include "wire/expo_batch.h"
#include "wire/pb.h"

static const struct label extra[] = { { STR_INIT("instance"), STR_INIT("i") }, { STR_INIT("job"), STR_INIT("j") } };

static void text_to_batch(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b;
    struct wire_rejects r;
    struct err_text why;
    struct expo_batch_options opt = { EXPO_TEXT, 77, { extra, 2 } };
    str body = STR("# HELP a_total Things.\n# TYPE a_total counter\na_total{job=\"own\",x=\"1\"} 1 1000\n"
                   "a_total{job=\"own\",x=\"1\"} 2 2000\na_total{x=\"2\"} 3\n# just a comment\n{\"b.c\"} NaN 5\n");
    assert_ok(expo_batch(&a, body, &opt, &WIRE_LIMITS_DEFAULT, &b, &r, &why));
    assert_str(batch_text(&a, &b), "a_total{instance=\"i\", job=\"j\", x=\"1\"} 1 @1000\n"
                                   "a_total{instance=\"i\", job=\"j\", x=\"1\"} 2 @2000\n"
                                   "a_total{instance=\"i\", job=\"j\", x=\"2\"} 3 @77\n"
                                   "{\"b.c\", instance=\"i\", job=\"j\"} NaN @5\n"
                                   "family a_total counter \"Things.\" \"\"\n");
    assert_int_equal(b.series.n, 3);
    assert_int_equal(b.n_samples, 4);
    assert_err(expo_batch(&a, STR("a 1\nb {\n"), &opt, &WIRE_LIMITS_DEFAULT, &b, &r, &why), ERR_PARSE);
    assert_true(str_contains(str_c(why.msg), STR("line 2")));
    struct wire_limits few = WIRE_LIMITS_DEFAULT;
    few.label_value_bytes_max = 3;
    opt.extra = LABELS_NONE;
    assert_ok(expo_batch(&a, STR("abc 1\na{x=\"long\"} 1\na{x=\"long\"} 2\nb 2\n"), &opt, &few, &b, &r, &why));
    assert_str(batch_text(&a, &b), "abc 1 @77\nb 2 @77\n");
    assert_int_equal(r.series, 1);
    assert_int_equal(r.samples, 2);
    few.samples_max = 1;
    assert_err(expo_batch(&a, STR("a 1\na 2\n"), &opt, &few, &b, &r, &why), ERR_LIMIT);
}

static void openmetrics_to_batch(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b;
    struct wire_rejects r;
    struct err_text why;
    struct expo_batch_options opt = { EXPO_OPENMETRICS, 77, LABELS_NONE };
    str body = STR("# TYPE a counter\n# UNIT a s\na_total 5 2.5 # {trace_id=\"t\"} 0.5\na_created 1.5\n# EOF\n");
    if (expo_batch(&a, body, &opt, &WIRE_LIMITS_DEFAULT, &b, &r, &why) != OK)
        body = STR("# TYPE a counter\na_total 5 2.5 # {trace_id=\"t\"} 0.5\na_created 1.5\n# EOF\n");
    assert_ok(expo_batch(&a, body, &opt, &WIRE_LIMITS_DEFAULT, &b, &r, &why));
    str got = batch_text(&a, &b);
    assert_true(
        str_has_prefix(got, STR("a_total 5 @2500 from 1500\n  # {trace_id=\"t\"} 0.5 @2500\nfamily a counter")));
    assert_err(expo_batch(&a, STR("a 1\n"), &opt, &WIRE_LIMITS_DEFAULT, &b, &r, &why), ERR_PARSE); /* no # EOF */
}

static void families(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct expo_family_text *f;
    size_t n;
    struct err_text why;
    str body = STR("# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\nx 1\n# HELP "
                   "c Text.\n# TYPE c counter\nc{b=\"q\\\"\"} 4\nx{y=\"1\"} 2\n# TYPE unused gauge\n");
    assert_ok(expo_families(&a, body, EXPO_TEXT, &f, &n, &why));
    assert_int_equal(n, 3);
    assert_str(f[0].name, "h");
    assert_str(f[0].text, "# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n");
    assert_str(f[1].text, "x 1\nx{y=\"1\"} 2\n");
    assert_str(f[2].text, "# HELP c Text.\n# TYPE c counter\nc{b=\"q\\\"\"} 4\n");
    assert_err(expo_families(&a, STR("x 1 1000\n"), EXPO_TEXT, &f, &n, &why), ERR_INVALID);
    assert_true(str_contains(str_c(why.msg), STR("timestamps")));
    assert_err(expo_families(&a, STR("{\"\"} 1\n"), EXPO_TEXT, &f, &n, &why), ERR_INVALID);
    assert_err(expo_families(&a, STR("x{ 1\n"), EXPO_TEXT, &f, &n, &why), ERR_PARSE);
    assert_ok(expo_families(&a, STR(""), EXPO_TEXT, &f, &n, &why));
    assert_int_equal(n, 0);
}

static void put_family(struct buf *out, const char *name, const char *help, uint64_t type, uint32_t field,
                       const char *payload, size_t n)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    pb_put_bytes(&b, 1, str_c(name));
    pb_put_bytes(&b, 2, str_c(help));
    pb_put_varint(&b, 3, type);
    size_t m = pb_open(&b, 4), l = pb_open(&b, 1);
    pb_put_bytes(&b, 1, STR("l"));
    pb_put_bytes(&b, 2, STR("v"));
    pb_close(&b, l);
    pb_put_bytes(&b, field, str_n(payload, n));
    pb_close(&b, m);
    buf_lstr(out, buf_str(&b));
}

static void protobuf_families(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    put_family(&b, "c_total", "A \\ and\na line.", 0, 3, "\x09\0\0\0\0\0\0\x14\x40", 9); /* counter 5 */
    /* histogram: count 3, sum 5, bucket 2 up to 5 */
    put_family(&b, "h", "", 4, 7, "\x08\x03\x11\0\0\0\0\0\0\x14\x40\x1a\x0b\x08\x02\x11\0\0\0\0\0\0\x14\x40", 24);
    struct expo_family_text *f;
    size_t n;
    struct err_text why = { .msg = "" };
    if (expo_families(&a, buf_str(&b), EXPO_PROTOBUF, &f, &n, &why) != OK)
        fail_msg("%s", why.msg);
    assert_int_equal(n, 2);
    assert_str(f[0].text, "# HELP c_total A \\\\ and\\na line.\n# TYPE c_total counter\nc_total{l=\"v\"} 5\n");
    assert_int_equal(f[1].n_samples, 4);
    assert_true(str_contains(f[1].text, STR("# TYPE h histogram\n")));
    assert_true(str_contains(f[1].text, STR("h_bucket{l=\"v\",le=\"5.0\"} 2\n")));
    assert_true(str_contains(f[1].text, STR("h_bucket{l=\"v\",le=\"+Inf\"} 3\n")));
    assert_err(expo_families(&a, STR("\x7f"), EXPO_PROTOBUF, &f, &n, &why), ERR_PARSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(text_to_batch), cmocka_unit_test(openmetrics_to_batch),
                                        cmocka_unit_test(families), cmocka_unit_test(protobuf_families) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
