/* The field's own parser and printer cases (conformance/promql/parse), where the checkout has them. */
#include <stdio.h>
#include <stdlib.h>

#include "test.h"

#include "json_tree.h"
#include "promql/ast.h"

static str case_expr(const struct jt *c, char *space, size_t max)
{
    str e = jt_str(jt_get(c, "expr")), hex = jt_str(jt_get(c, "expr_hex"));
    if (!hex.p)
        return e;
    size_t n = 0;
    for (; 2 * n + 1 < hex.n && n < max; n++) {
        char two[3] = { hex.p[2 * n], hex.p[2 * n + 1] };
        space[n] = (char)strtoul(two, NULL, 16);
    }
    return str_n(space, n);
}

/* What the upstream tests switch on. */
enum { FEATURES = PROMQL_EXPERIMENTAL_FUNCTIONS | PROMQL_DURATION_EXPR | PROMQL_EXTENDED_RANGE };

static const char *node_name(const struct promql_expr *e)
{
    static const char *const names[] = {
        [PQ_NUMBER] = "NumberLiteral",  [PQ_STRING] = "StringLiteral",  [PQ_VECTOR] = "VectorSelector",
        [PQ_MATRIX] = "MatrixSelector", [PQ_SUBQUERY] = "SubqueryExpr", [PQ_UNARY] = "UnaryExpr",
        [PQ_BINARY] = "BinaryExpr",     [PQ_AGG] = "AggregateExpr",     [PQ_CALL] = "Call",
        [PQ_PAREN] = "ParenExpr",
    };
    return names[e->kind];
}

static bool check_valid(const struct jt *c)
{
    char space[4096];
    str text = case_expr(c, space, sizeof(space));
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    const struct promql_expr *e = NULL;
    struct err_text err = { 0 };
    if (promql_parse_text(&a, text, FEATURES, &e, &err) != OK) {
        print_message("# " STR_FMT ": refused: %s\n", STR_ARG(text), err.msg);
        return false;
    }
    str want_node = jt_str(jt_get(c, "ast_node")), want_type = jt_str(jt_get(c, "type"));
    const struct jt *want_value = jt_get(c, "value");
    bool ok = !want_node.p || str_eq(want_node, str_c(node_name(e)));
    ok &= !want_type.p || str_eq(want_type, str_c(promql_type_name(e->type)));
    if (jt_is(want_value, JSON_TOK_NUM))
        ok &= e->kind == PQ_NUMBER && e->number.v == jt_num(want_value);
    if (jt_is(want_value, JSON_TOK_STR))
        ok &= e->kind == PQ_STRING && str_eq(e->string, jt_str(want_value));
    if (!ok)
        print_message("# " STR_FMT ": got %s of type %s\n", STR_ARG(text), node_name(e), promql_type_name(e->type));
    promql_expr_deinit(e);
    return ok;
}

static bool pos_matches(const struct jt *want, uint32_t got)
{
    return !jt_is(want, JSON_TOK_NUM) || (uint32_t)jt_num(want) == got;
}

static bool check_invalid(const struct jt *c)
{
    char space[4096];
    str text = case_expr(c, space, sizeof(space));
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    const struct promql_expr *e = NULL;
    struct promql_parse_errors errs = { 0 };
    const struct jt *want = jt_get(c, "errors");
    bool ok = promql_parse(&a, text, FEATURES, &e, &errs) == ERR_PARSE && errs.n == want->kids.n;
    for (size_t i = 0; ok && i < errs.n; i++) {
        const struct jt *w = want->kids.p[i], *msg = jt_get(w, "msg");
        ok &= pos_matches(jt_get(w, "start"), errs.p[i].pos.start) && pos_matches(jt_get(w, "end"), errs.p[i].pos.end);
        ok &= !jt_is(msg, JSON_TOK_STR) || str_eq(errs.p[i].msg, jt_str(msg));
    }
    if (!ok) {
        print_message("# " STR_FMT ": got %zu errors, want %zu\n", STR_ARG(text), errs.n, want->kids.n);
        for (size_t i = 0; i < errs.n; i++)
            print_message("#   got  %u..%u " STR_FMT "\n", errs.p[i].pos.start, errs.p[i].pos.end,
                          STR_ARG(errs.p[i].msg));
        for (size_t i = 0; i < want->kids.n; i++) {
            const struct jt *w = want->kids.p[i];
            print_message("#   want %.0f..%.0f " STR_FMT "\n", jt_num(jt_get(w, "start")), jt_num(jt_get(w, "end")),
                          STR_ARG(jt_str(jt_get(w, "msg"))));
        }
    }
    return ok;
}

static bool check_print(const struct jt *c)
{
    str in = jt_str(jt_get(c, "in"));
    str want = jt_str(jt_get(c, "out"));
    const struct jt *columns = jt_get(c, "max_chars_per_line");
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    const struct promql_expr *e = NULL;
    struct err_text err = { 0 };
    if (promql_parse_text(&a, in, PROMQL_ALL, &e, &err) != OK) {
        print_message("# " STR_FMT ": refused: %s\n", STR_ARG(in), err.msg);
        return false;
    }
    if (columns)
        promql_print_pretty(&out, e, (size_t)jt_num(columns));
    else
        promql_print(&out, e);
    bool ok = str_eq(buf_str(&out), want);
    if (!ok)
        print_message("# " STR_FMT "\n# got  " STR_FMT "\n# want " STR_FMT "\n", STR_ARG(in), STR_ARG(buf_str(&out)),
                      STR_ARG(want));
    promql_expr_deinit(e);
    return ok;
}

static void run_cases(const char *file, bool (*check)(const struct jt *c))
{
    const char *dir = getenv("VANE_CONFORMANCE");
    char path[4096];
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    snprintf(path, sizeof(path), "%s/promql/parse/%s", dir ? dir : "/nonexistent", file);
    const struct jt *cases = jt_load(&a, path);
    if (!cases)
        skip();
    size_t failed = 0;
    for (size_t i = 0; i < cases->kids.n; i++)
        failed += !check(cases->kids.p[i]);
    print_message("# %s: %zu passed, %zu failed\n", file, cases->kids.n - failed, failed);
    assert_int_equal(failed, 0);
}

static void valid_expressions(void **state)
{
    (void)state;
    run_cases("expr_valid.json", check_valid);
}
static void invalid_expressions(void **state)
{
    (void)state;
    run_cases("expr_invalid.json", check_invalid);
}
static void canonical_text(void **state)
{
    (void)state;
    run_cases("format_string.json", check_print);
}
static void pretty_text(void **state)
{
    (void)state;
    run_cases("format_pretty.json", check_print);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_expressions),
        cmocka_unit_test(invalid_expressions),
        cmocka_unit_test(canonical_text),
        cmocka_unit_test(pretty_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
