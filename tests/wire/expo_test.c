/* wire/expo.h: parser rows, start timestamps, hints, content types, writer. */
#include "wire_test.h"

#include "wire/expo.h"

/* Every entry of a body as one line each; "error: ..." at the end when it is refused. */
static str entries(struct arena *a, enum expo_format f, str body)
{
    struct buf b;
    struct expo x;
    buf_init(&b, 0);
    expo_init(&x, f, body);
    for (enum expo_entry e; (e = expo_next(&x)) > EXPO_ERROR;) {
        struct labels ls;
        if (e == EXPO_HELP)
            buf_printf(&b, "help " STR_FMT " <" STR_FMT ">\n", STR_ARG(x.name), STR_ARG(expo_help(&x, a)));
        else if (e == EXPO_TYPE)
            buf_printf(&b, "type " STR_FMT " %s\n", STR_ARG(x.name), metric_type_name(x.type));
        else if (e == EXPO_UNIT)
            buf_printf(&b, "unit " STR_FMT " <" STR_FMT ">\n", STR_ARG(x.name), STR_ARG(x.text));
        else if (e == EXPO_COMMENT)
            buf_printf(&b, "comment <" STR_FMT ">\n", STR_ARG(x.text));
        if (e != EXPO_SAMPLE)
            continue;
        struct err_text why;
        if (expo_labels(&x, a, &ls, &why) != OK) {
            buf_printf(&b, "labels: %s\n", why.msg);
            continue;
        }
        labels_print(&b, ls);
        buf_lit(&b, " ");
        buf_f64_g(&b, x.value);
        if (x.has_ts)
            buf_printf(&b, " @%lld", (long long)x.ts_ms);
        if (expo_start_ms(&x))
            buf_printf(&b, " from %lld", (long long)expo_start_ms(&x));
        if (x.has_exemplar) {
            struct exemplar ex;
            bool has_ts;
            assert_ok(expo_exemplar(&x, a, &ex, &has_ts, NULL));
            buf_lit(&b, " # ");
            labels_print(&b, ex.labels);
            buf_lit(&b, " ");
            buf_f64_g(&b, ex.v);
            if (has_ts)
                buf_printf(&b, " @%lld", (long long)ex.ts_ms);
        }
        buf_lit(&b, "\n");
    }
    if (x.entry == EXPO_ERROR)
        buf_printf(&b, "error: %s\n", x.error.msg);
    str s = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return s;
}

static void text_rows(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {
        { "", "" },
        { "\n \t\n", "" },
        { "up 1", "up 1\n" },
        { "up 1\n", "up 1\n" },
        { "up\t 1 \t\n", "up 1\n" },
        { "  up 1\n", "up 1\n" },
        { "up 1 1700000000000\n", "up 1 @1700000000000\n" },
        { "up 1 1700000000000 x\n", "error: line 1: expected next entry after timestamp, got 'x\\n'\n" },
        { "up 1 -5\n", "error: line 1: expected timestamp or new record, got '-5\\n'\n" },
        { "up 1 9223372036854775807\n", "up 1 @9223372036854775807\n" },
        { "up 1 9223372036854775808\n", "error: line 1: timestamp out of range, got '9223372036854775808\\n'\n" },
        { "a{} 1\n", "a 1\n" },
        { "a{b=\"c\"} 1\n", "a{b=\"c\"} 1\n" },
        { "a {b = \"c\" , } 1\n", "a{b=\"c\"} 1\n" },
        { "a{b=\"c\"d=\"e\"}1\n", "a{b=\"c\", d=\"e\"} 1\n" },
        { "a{z=\"1\",b=\"2\"} 1\n", "a{b=\"2\", z=\"1\"} 1\n" },
        { "a{b=\"\"} 1\n", "a 1\n" },
        { "a{b=\"1\",b=\"2\"} 1\n", "labels: " },
        { "a{b=\"x\\ny\\\\z\\\"q\\t\"} 1\n", "a{b=\"x\\ny\\\\z\\\"q\\\\t\"} 1\n" },
        { "a{b=\"x\ny\"} 1\n", "a{b=\"x\\ny\"} 1\n" },
        { "a{b=\"\xc3\xbc\"} 1\n", "a{b=\"\xc3\xbc\"} 1\n" },
        { "a{b=\"\xff\"} 1\n", "error: line 1: invalid UTF-8 in label value, got '\"\\xff\"} 1\\n'\n" },
        { "{\"my.metric\",b=\"c\"} 1\n", "{\"my.metric\", b=\"c\"} 1\n" },
        { "{b=\"c\",\"my.metric\"} 1\n", "{\"my.metric\", b=\"c\"} 1\n" },
        { "{\"my.metric\"}1\n", "{\"my.metric\"} 1\n" },
        { "a{\"quoted.label\"=\"c\"} 1\n", "a{\"quoted.label\"=\"c\"} 1\n" },
        { "{\"a\"b=\"c\"} 1\n", "error: line 1: expected '=' after label name, got 'b=\"c\"} 1\\n'\n" },
        { "a{\"b\"} 1\n", "error: line 1: metric name already set, got '\"b\"} 1\\n'\n" },
        { "{b=\"c\"} 1\n", "error: line 1: metric name not set, got '{b=\"c\"} 1\\n'\n" },
        { "a{b=\"c\",,} 1\n", "error: line 1: expected label name, got ',} 1\\n'\n" },
        { "a{b} 1\n", "error: line 1: expected '=' after label name, got '} 1\\n'\n" },
        { "a{b=c} 1\n", "error: line 1: expected quoted label value, got 'c} 1\\n'\n" },
        { "up 1\n\nx\n", "up 1\nerror: line 3: expected value after metric, got '\\n'\n" },
        { "up x\n", "error: line 1: expected a number, got 'x\\n'\n" },
        { "9up 1\n", "error: line 1: expected a metric name, got '9up 1\\n'\n" },
        { "up 1\r\n", "error: line 1: expected a number, got '1\\x0d\\n'\n" },
        { "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"1000000\"} 2\nh_bucket{le=\"+Inf\"} 2\n",
          "type h histogram\nh_bucket{le=\"1.0\"} 2\nh_bucket{le=\"1e+06\"} 2\nh_bucket{le=\"+Inf\"} 2\n" },
        { "# TYPE s summary\ns{quantile=\"0\"} 2\ns{quantile=\"x\"} 2\ns{le=\"1\"} 2\n",
          "type s summary\ns{quantile=\"0.0\"} 2\ns{quantile=\"x\"} 2\ns{le=\"1\"} 2\n" },
        { "# HELP a x\\ny \\\\ \\\"\n", "help a <x\ny \\ \\\">\n" },
        { "# HELP a\n# HELP b \n# HELP\n", "help a <>\nhelp b <>\ncomment <# HELP>\n" },
        { "# HELP \"a.b\" text\n#no\n", "help a.b <text>\ncomment <#no>\n" },
        { "# TYPE a stateset\n", "error: line 1: invalid metric type, got 'stateset\\n'\n" },
        { "# TYPE a gauge \n", "error: line 1: invalid metric type, got 'gauge \\n'\n" },
        { "# TYPE a untyped\n", "type a unknown\n" },
        { "# TYPE  1 gauge\n", "error: line 1: expected metric name after TYPE, got '1 gauge\\n'\n" },
        { "a +Inf\na -inf\na NaN\na nan\na Infinity\n", "a +Inf\na -Inf\na NaN\na NaN\na +Inf\n" },
        { "a 1e400\n", "error: line 1: expected a number, got '1e400\\n'\n" },
        { "a 0x10\n", "error: line 1: expected a number, got '0x10\\n'\n" },
        { "a 1_0\n", "error: line 1: expected a number, got '1_0\\n'\n" },
        { "a -0\na +.5e1\na 5.\na 1e-7\na 1E5\n", "a -0\na 5\na 5\na 1e-07\na 100000\n" },
        { "a .\n", "error: line 1: expected a number, got '.\\n'\n" },
        { "a 1e\n", "error: line 1: expected a number, got '1e\\n'\n" },
        { "a 9007199254740993\na 0.1\na 1.7976931348623157e308\na 4.9e-324\n",
          "a 9.007199254740992e+15\na 0.1\na 1.7976931348623157e+308\na 5e-324\n" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        str got = entries(&a, EXPO_TEXT, str_c(rows[i].in));
        if (str_eq(str_c(rows[i].want), STR("labels: ")))
            assert_true(str_has_prefix(got, STR("labels: ")));
        else
            assert_str(got, rows[i].want);
    }
}

static void openmetrics_rows(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {
        { "# EOF", "" },
        { "# EOF\n", "" },
        { "", "error: line 1: data does not end with # EOF, got the end of the body\n" },
        { "a 1 1.5\n# EOF\n", "a 1 @1500\n" },
        { "a 1 -1.5\n# EOF\n", "a 1 @-1500\n" },
        { "a 1  2\n# EOF\n", "error: line 1: expected value after metric, got ' 2\\n'\n" },
        { "a  1\n# EOF\n", "error: line 1: expected value after metric, got ' 1\\n'\n" },
        { "a 1 \n# EOF\n", "error: line 1: expected value after metric, got '\\n'\n" },
        { "a{b=\"c\",} 1\n# EOF\n", "a{b=\"c\"} 1\n" },
        { "a{b=\"c\" ,d=\"e\"} 1\n# EOF\n",
          "error: line 1: expected ',' or '}' after label value, got ' ,d=\"e\"} 1\\n'\n" },
        { "a{b=\"c\nd\"} 1\n# EOF\n",
          "error: line 1: expected label value (the quoted value does not end), got '\"c\\n'\n" },
        { "{\"a.b\",c=\"d\"} 1\n# EOF\n", "{\"a.b\", c=\"d\"} 1\n" },
        { "a 1 # {} 2\n# EOF\n", "a 1 # {} 2\n" },
        { "a 1 2 # {x=\"y\"} 0.5 1.25\n# EOF\n", "a 1 @2000 # {x=\"y\"} 0.5 @1250\n" },
        { "a 1 # {\"x.y\"=\"z\"} 2\n# EOF\n", "a 1 # {\"x.y\"=\"z\"} 2\n" },
        { "a 1 # {x=\"y\"} 0.5 \n# EOF\n", "error: line 1: expected value after metric, got '\\n'\n" },
        { "# UNIT a_s s\n# HELP a_s \\\"x\\\"\n# TYPE a_s stateset\n# EOF",
          "unit a_s <s>\nhelp a_s <\"x\">\ntype a_s stateset\n" },
        { "# UNIT a s\n# EOF", "error: line 1: unit not a suffix of the metric's name, got 's\\n'\n" },
        { "# EOF\na 1\n", "error: line 1: unexpected data after # EOF, got 'a 1\\n'\n" },
        { "# TYPE f counter\nf_total 1\nf_created 2.5\nf_total{a=\"b\"} 1\n# EOF\n",
          "type f counter\nf_total 1 from 2500\nf_total{a=\"b\"} 1\n" },
        { "# TYPE f gauge\nf_created 2.5\n# EOF\n", "type f gauge\nf_created 2.5\n" },
        { "# TYPE \"f.g\" counter\n{\"f.g_total\",a=\"b\"} 1\n{\"f.g_created\",a=\"b\"} 2\n# EOF\n",
          "type f.g counter\n{\"f.g_total\", a=\"b\"} 1 from 2000\n" },
        { "# TYPE f summary\nf_count 1\nf{quantile=\"1\"} 1\nf_created 3\nf_sum 2\n# TYPE g counter\ng_total "
          "1\n# EOF\n",
          "type f summary\nf_count 1 from 3000\nf{quantile=\"1.0\"} 1 from 3000\nf_sum 2 from 3000\ntype g "
          "counter\ng_total "
          "1\n" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        assert_str(entries(&a, EXPO_OPENMETRICS, str_c(rows[i].in)), rows[i].want);
    }
}

static void hints_never_change_the_result(void **state)
{
    (void)state;
    static const char *const bodies[] = { "foo 1\n",    "foo{a=\"b\"} 1\n", "foo {a=\"b\"} 1\n",
                                          "foobar 1\n", "foo{a=\"b\"}1\n",  "foo{a=\"b\"} x\n",
                                          "foo\n",      "foo{a=\"b\"}",     "{\"foo\"} 1\n" };
    static const char *const hints[] = { "foo", "foo{a=\"b\"}", "foo {a=\"b\"}", "f", "{\"foo\"}", "" };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++)
        for (size_t k = 0; k < ARRAY_LEN(hints); k++) {
            struct expo x, y;
            expo_init(&x, EXPO_TEXT, str_c(bodies[i]));
            expo_init(&y, EXPO_TEXT, str_c(bodies[i]));
            expo_hint(&y, str_c(hints[k]));
            enum expo_entry e = expo_next(&x);
            assert_int_equal(e, expo_next(&y));
            if (e == EXPO_SAMPLE) {
                assert_true(str_eq(x.series, y.series));
                assert_true(x.value == y.value);
                assert_ptr_equal(x.p, y.p);
            }
        }
}

static void errors_say_where(void **state)
{
    (void)state;
    struct expo x;
    expo_init(&x, EXPO_TEXT, STR("ok 1\n# c\n\nbad{x=1} 2\n"));
    while (expo_next(&x) > EXPO_ERROR)
        ;
    assert_int_equal(x.entry, EXPO_ERROR);
    assert_int_equal(x.error.pos, 16);
    assert_int_equal(x.line, 4);
    assert_int_equal(expo_next(&x), EXPO_ERROR);
}

static void content_types(void **state)
{
    (void)state;
    static const struct {
        const char *type, *fallback;
        int want; /* -1 refused, 0 text, 1 OpenMetrics, +10 with a warning */
    } rows[] = {
        { "text/plain", "", 0 },
        { "text/plain; version=0.0.4; charset=utf-8", "", 0 },
        { "TEXT/Plain;version=1.0.0;escaping=allow-utf-8", "", 0 },
        { "application/openmetrics-text; version=1.0.0; charset=utf-8", "", 1 },
        { "application/openmetrics-text", "PrometheusText0.0.4", 1 },
        { "", "", -1 },
        { "", "PrometheusText0.0.4", 10 },
        { "", "OpenMetricsText1.0.0", 11 },
        { "application/json", "", -1 },
        { "application/json", "PrometheusText1.0.0", 10 },
        { "text/plain; version", "", -1 },
        { "text", "PrometheusText1.0.0", 10 },
        { "text/html; charset=utf-8", "", -1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum expo_format f = EXPO_TEXT;
        struct err_text warn, why;
        enum err e = expo_format_select(str_c(rows[i].type), str_c(rows[i].fallback), &f, &warn, &why);
        int got = e != OK ? -1 : (int)f + (warn.msg[0] ? 10 : 0);
        if (got != rows[i].want)
            fail_msg("%s, %s: %d", rows[i].type, rows[i].fallback, got);
    }
    assert_true(expo_accepts_openmetrics(STR(EXPO_ACCEPT)));
    assert_false(expo_accepts_openmetrics(STR("text/plain")));
    assert_false(expo_accepts_openmetrics(STR("*/*")));
    assert_false(expo_accepts_openmetrics(STR("application/openmetrics-text;q=0.2,text/plain;q=0.5")));
    assert_true(
        expo_accepts_openmetrics(STR("application/openmetrics-text;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")));
}

static void writer_reads_back(void **state)
{
    (void)state;
    static const struct label plain[] = { { STR_INIT("__name__"), STR_INIT("a_total") },
                                          { STR_INIT("b"), STR_INIT("x\ny\"\\") } };
    static const struct label utf8[] = { { STR_INIT("__name__"), STR_INIT("a.b") },
                                         { STR_INIT("c.d"), STR_INIT("e") } };
    static const struct label trace[] = { { STR_INIT("trace_id"), STR_INIT("abc") } };
    static const char *const want[] = {
        "# HELP a_total a \\\\ \"help\"\\n\n# TYPE a_total counter\na_total{b=\"x\\ny\\\"\\\\\"} 1.5 1234\n"
        "# TYPE \"a.b\" untyped\n{\"a.b\",\"c.d\"=\"e\"} NaN\n",
        "# HELP a a \\\\ \\\"help\\\"\\n\n# TYPE a counter\na_total{b=\"x\\ny\\\"\\\\\"} 1.5 1.234 # "
        "{trace_id=\"abc\"} 2.0 5\n"
        "# TYPE \"a.b\" unknown\n{\"a.b\",\"c.d\"=\"e\"} NaN\n# EOF\n",
    };
    for (int f = 0; f < 2; f++) {
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct expo_out o = { &b, (enum expo_format)f };
        int64_t ts = 1234;
        struct exemplar ex = { { trace, 1 }, 2, 5000 };
        expo_out_family(&o, STR("a_total"), &(struct metric_meta){ METRIC_COUNTER, STR("a \\ \"help\"\n"), STR_NONE });
        expo_out_sample(&o, (struct labels){ plain, 2 }, 1.5, &ts, &ex);
        expo_out_family(&o, STR("a.b"), &(struct metric_meta){ 0 });
        expo_out_sample(&o, (struct labels){ utf8, 2 }, f64_from_bits(NORMAL_NAN_BITS), NULL, NULL);
        expo_out_end(&o);
        assert_str(buf_str(&b), want[f]);
        str back = entries(&a, (enum expo_format)f, buf_str(&b));
        assert_true(str_contains(back, STR("a_total{b=\"x\\ny\\\"\\\\\"} 1.5 @1234")));
        assert_true(str_contains(back, STR("{\"a.b\", \"c.d\"=\"e\"} NaN")));
        assert_false(str_contains(back, STR("error")));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_rows),
        cmocka_unit_test(openmetrics_rows),
        cmocka_unit_test(hints_never_change_the_result),
        cmocka_unit_test(errors_say_where),
        cmocka_unit_test(content_types),
        cmocka_unit_test(writer_reads_back),
    };
    return cmocka_run_group_tests_name("wire/expo", tests, NULL, NULL);
}
