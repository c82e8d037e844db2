/* The parser and the printers: rows of our own. */
#include <math.h>
#include <stdlib.h>

#include "test.h"

#include "promql/ast.h"

/* in -> canonical text; NULL: the same */
static const struct {
    const char *in, *out;
} prints[] = {
    { "up", NULL },
    { "  up\t{ job = 'api' , } # comment", "up{job=\"api\"}" },
    { "{\"http.requests\"}", "{__name__=\"http.requests\"}" },
    { "x{b=\"2\",a=~\"1|2\",c!~\"\"}", "x{a=~\"1|2\",b=\"2\",c!~\"\"}" },
    { "SUM(x) BY (a, \"b.c\")", "sum by (a, \"b.c\") (x)" },
    { "a + b * c ^ d ^ e", NULL },
    { "(a + b) * c", NULL },
    { "-a ^ 2", NULL },
    { "- -1", "1" },
    { "0x1F + 017 + 1_000", "31 + 15 + 1000" },
    { "08", "8" },
    { "1e3", "1000" },
    { "inf > bool -inf", "+Inf > bool -Inf" },
    { "90s", "1m30s" },
    { "1y2w3d4h5m6s7ms", "382d4h5m6s7ms" },
    { "rate(x[1h30m] offset -1d)", NULL },
    { "rate(x[5400])", "rate(x[1h30m])" },
    { "x @ 1600000000.123 offset 5m", "x @ 1600000000.123 offset 5m" },
    { "x offset 5m @ start()", "x @ start() offset 5m" },
    { "max_over_time(rate(x[5m])[1h:])", NULL },
    { "max_over_time(x[1h:step()*2] @ end())", "max_over_time(x[1h:step() * 2] @ end())" },
    { "x[min_of(5m, range() / 2)]", NULL },
    { "x offset (5m + 1s) * 2", "x offset (5m + 1s) * 2" },
    { "x[5m] smoothed", NULL },
    { "a * on (x) group_left (y, z) b", NULL },
    { "a * ignoring (x) group_right () b", NULL },
    { "a == bool on () b", NULL },
    { "a + fill_left (1) b", NULL },
    { "a + on (x) group_left (y) fill_left (1) fill_right (-2.5) b", NULL },
    { "fill + fill_left", NULL },
    { "min_of", NULL },
    { "h </ 5 >/ 1", NULL },
    { "count_values(\"v\", x)", NULL },
    { "label_replace(x, 'a', \"$1\", `b`, \"(.*)\")", "label_replace(x, \"a\", \"$1\", \"b\", \"(.*)\")" },
    { "\"tab\\t\\x41\\u00e9\\377\"", "\"tab\\tAé\\xff\"" },
    { "offset offset 5m", NULL },
    { "sum by (sum, by, on) (by)", NULL },
    { "a and b or c unless d", NULL },
};

/* in -> first error as users see it */
static const struct {
    const char *in, *error;
} refuses[] = {
    { "sum(foo bar)", "1:9: parse error: unexpected identifier \"bar\" in aggregation" },
    { "foo{a=\"b\" c=\"d\"}",
      "1:11: parse error: unexpected identifier \"c\" in label matching, expected \",\" or \"}\"" },
    { "foo{,}", "1:5: parse error: unexpected \",\" in label matching, expected identifier or \"}\"" },
    { "foo\n  + )", "2:6: parse error: unexpected right parenthesis ')'" },
    { "(1))", "1:5: parse error: unexpected right parenthesis ')'" },
    { "foo[5m", "1:7: parse error: unclosed left bracket" },
    { "foo[", "1:5: parse error: unexpected end of input in duration expression" },
    { "foo[5m:5m", "1:10: parse error: unclosed left bracket" },
    { "foo offset",
      "1:11: parse error: unexpected end of input in offset, expected number, duration, step(), or range()" },
    { "foo @ bar", "1:7: parse error: unexpected identifier \"bar\" in @, expected timestamp" },
    { "1 offset 1d",
      "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a "
      "subquery" },
    { "foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times" },
    { "sum(a, b)", "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 1, got 2" },
    { "rate(a)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector" },
    { "label_join(a)", "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 1" },
    { "a + on (x) group_left (x) b", "1:3: parse error: label \"x\" must not occur in ON and GROUP clause at once" },
    { "a and fill (1) b", "1:1: parse error: filling in missing series not allowed for set operators" },
    { "\"abc", "1:1: parse error: unterminated quoted string" },
    { "a:b(c)", "1:4: parse error: unexpected \"(\"" },
    { "x{__name__=\"y\"}", "1:1: parse error: metric name must not be set twice: \"x\" or \"y\"" },
    { "x{a=~\"(\"}", "1:3: parse error: error parsing regexp: missing ): (" },
    { "1e999", "1:1: parse error: error parsing number: strconv.ParseFloat: parsing \"1e999\": value out of range" },
};

static void canonical_text(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(prints); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        AUTO_BUF struct buf out, again;
        buf_init(&out, 0);
        buf_init(&again, 0);
        const struct promql_expr *e = NULL, *e2 = NULL;
        struct err_text err = { 0 };
        if (promql_parse_text(&a, str_c(prints[i].in), PROMQL_ALL, &e, &err) != OK)
            fail_msg("%s: %s", prints[i].in, err.msg);
        promql_print(&out, e);
        assert_str(buf_str(&out), prints[i].out ? prints[i].out : prints[i].in);
        assert_ok(promql_parse_text(&a, buf_str(&out), PROMQL_ALL, &e2, &err));
        assert_true(promql_expr_eq(e, e2));
        promql_print_pretty(&again, e, 20);
        const struct promql_expr *e3 = NULL;
        assert_ok(promql_parse_text(&a, buf_str(&again), PROMQL_ALL, &e3, &err));
        assert_true(promql_expr_eq(e, e3));
        promql_expr_deinit(e);
        promql_expr_deinit(e2);
        promql_expr_deinit(e3);
    }
}

static void errors_name_the_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refuses); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        const struct promql_expr *e = NULL;
        struct err_text err = { 0 };
        assert_err(promql_parse_text(&a, str_c(refuses[i].in), PROMQL_ALL, &e, &err), ERR_PARSE);
        assert_str(str_c(err.msg), refuses[i].error);
    }
}

static void features_gate_the_grammar(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        unsigned feature;
        const char *error;
    } rows[] = {
        { "x[5m + 1s]", PROMQL_DURATION_EXPR, "1:3: parse error: experimental duration expression is not enabled" },
        { "x[5m] anchored", PROMQL_EXTENDED_RANGE,
          "1:1: parse error: anchored modifier is experimental and not enabled" },
        { "a + fill (1) b", PROMQL_FILL, "1:1: parse error: binop fill modifiers are experimental and not enabled" },
        { "mad_over_time(x[5m])", PROMQL_EXPERIMENTAL_FUNCTIONS,
          "1:1: parse error: function \"mad_over_time\" is not enabled" },
        { "limitk(1, x)", PROMQL_EXPERIMENTAL_FUNCTIONS,
          "1:1: parse error: limitk() is experimental and must be enabled with "
          "--enable-feature=promql-experimental-functions" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        const struct promql_expr *e = NULL;
        struct err_text err = { 0 };
        assert_ok(promql_parse_text(&a, str_c(rows[i].in), rows[i].feature, &e, &err));
        promql_expr_deinit(e);
        assert_err(promql_parse_text(&a, str_c(rows[i].in), PROMQL_ALL & ~rows[i].feature, &e, &err), ERR_PARSE);
        assert_str(str_c(err.msg), rows[i].error);
    }
}

/* n times "(", then x, then n times ")" and the like. */
static str nested(struct arena *a, const char *open, const char *close, size_t n)
{
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < n; i++)
        buf_str_add(&b, str_c(open));
    buf_lit(&b, "x");
    for (size_t i = 0; i < n; i++)
        buf_str_add(&b, str_c(close));
    str s = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return s;
}

static void size_and_depth_are_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *open, *close;
        size_t fits;
    } rows[] = { { "(", ")", 500 }, { "-", "", 500 }, { "x+", "", 1000 }, { "x^", "", 500 }, { "abs(", ")", 500 } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        const struct promql_expr *e = NULL;
        assert_ok(promql_parse(&a, nested(&a, rows[i].open, rows[i].close, rows[i].fits), 0, &e, NULL));
        promql_expr_deinit(e);
        assert_err(promql_parse(&a, nested(&a, rows[i].open, rows[i].close, 40000), 0, &e, NULL), ERR_LIMIT);
    }
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    char *big = arena_alloc(&a, PROMQL_TEXT_BYTES_MAX + 1);
    memset(big, 'x', PROMQL_TEXT_BYTES_MAX + 1);
    const struct promql_expr *e = NULL;
    struct err_text err = { 0 };
    assert_err(promql_parse_text(&a, str_n(big, PROMQL_TEXT_BYTES_MAX + 1), 0, &e, &err), ERR_LIMIT);
    assert_str(str_c(err.msg), "1:1: parse error: expression is too long");
}

static void selectors_for_match(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct matcher *m;
    size_t n;
    struct err_text err = { 0 };
    assert_ok(promql_parse_selector(&a, STR("up{job=~\"a.*\"}"), &m, &n, &err));
    assert_int_equal(n, 2);
    promql_matchers_deinit(m, n);
    assert_err(promql_parse_selector(&a, STR("up offset 5m"), &m, &n, &err), ERR_PARSE);
    assert_err(promql_parse_selector(&a, STR("rate(x[5m])"), &m, &n, &err), ERR_PARSE);
    assert_err(promql_parse_selector(&a, STR("{job=~\"(\"}"), &m, &n, &err), ERR_PARSE);
}

static void tree_as_json(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    const struct promql_expr *e = NULL;
    assert_ok(promql_parse(&a, STR("sum by (a) (rate(x{b=\"c\"}[5m] offset 1m)) / 2"), 0, &e, NULL));
    struct json_out j = json_out_init(&out);
    promql_print_json(&j, e);
    assert_str(
        buf_str(&out),
        "{\"bool\":false,\"lhs\":{\"expr\":{\"args\":[{\"anchored\":false,\"matchers\":[{\"name\":\"b\",\"type\":\"=\","
        "\"value\":\"c\"},{\"name\":\"__name__\",\"type\":\"=\",\"value\":\"x\"}],\"name\":\"x\",\"smoothed\":false,"
        "\"offset\":60000,\"startOrEnd\":null,\"timestamp\":null,\"range\":300000,\"type\":\"matrixSelector\"}],"
        "\"func\":{\"argTypes\":[\"matrix\"],\"name\":\"rate\",\"returnType\":\"vector\",\"variadic\":0},"
        "\"type\":\"call\"},\"grouping\":[\"a\"],\"op\":\"sum\",\"param\":null,\"type\":\"aggregation\","
        "\"without\":false},\"matching\":null,\"op\":\"/\",\"rhs\":{\"type\":\"numberLiteral\",\"val\":\"2\"},"
        "\"type\":\"binaryExpr\"}");
    promql_expr_deinit(e);
}

static void durations_are_computed(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        int64_t want_ms; /* -1: an error */
    } rows[] = {
        { "x[step()]", 15000 },
        { "x[range() / 2 + 1s]", 1801000 },
        { "x[2 ^ 3]", 8000 },
        { "x[min_of(1m, step())]", 15000 },
        { "x[max_of(1m, step())]", 60000 },
        { "x[5s - 10s]", -1 },
        { "x[10s % (step() - 15s)]", -1 },
        { "x[(7m)]", 420000 },
        { "x[-(5s - 10s)]", 5000 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        const struct promql_expr *e = NULL;
        assert_ok(promql_parse(&a, str_c(rows[i].in), PROMQL_ALL, &e, NULL));
        int64_t got = -1;
        enum err err = promql_duration_eval(&e->matrix.range, 15000, 3600000, true, &got, NULL);
        assert_int_equal(err == OK, rows[i].want_ms >= 0);
        assert_int_equal(got, rows[i].want_ms);
        promql_expr_deinit(e);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(canonical_text),
        cmocka_unit_test(errors_name_the_place),
        cmocka_unit_test(features_gate_the_grammar),
        cmocka_unit_test(size_and_depth_are_bounded),
        cmocka_unit_test(selectors_for_match),
        cmocka_unit_test(tree_as_json),
        cmocka_unit_test(durations_are_computed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
