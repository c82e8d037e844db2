/* The PromQL parser and its printers: whatever parses must print to a text that parses to the same tree, on one line
 * and over several; errors must point into the text. */
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "promql/ast.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(struct arena *a, const struct promql_expr *e, str text)
{
    const struct promql_expr *again = NULL;
    struct promql_parse_errors errs = { 0 };
    enum err r = promql_parse(a, text, PROMQL_ALL, &again, &errs);
    if (r == ERR_LIMIT)
        return; /* parentheses of durations can nest one deeper */
    ASSERT(r == OK);
    ASSERT(promql_expr_eq(e, again));
    promql_expr_deinit(again);
}

static void check_parsed(struct arena *a, const struct promql_expr *e)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    promql_print(&text, e);
    if (!text.failed)
        check_same(a, e, buf_str(&text));
    buf_clear(&text);
    promql_print_pretty(&text, e, 40);
    if (!text.failed)
        check_same(a, e, buf_str(&text));
    buf_clear(&text);
    struct json_out j = json_out_init(&text);
    if (e->depth < 16)
        promql_print_json(&j, e);
    buf_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 4096)
        return 0;
    struct arena a;
    arena_init(&a, 0);
    str text = { (const char *)data, size };
    const struct promql_expr *e = NULL;
    struct promql_parse_errors errs = { 0 };
    if (promql_parse(&a, text, PROMQL_ALL, &e, &errs) == OK) {
        check_parsed(&a, e);
        promql_expr_deinit(e);
    } else {
        ASSERT(errs.n > 0);
        for (size_t i = 0; i < errs.n; i++)
            ASSERT(errs.p[i].pos.start <= size);
    }
    struct err_text err = { 0 };
    IGNORE_ERR(promql_parse_text(&a, text, 0, &e, &err) == OK ? (promql_expr_deinit(e), OK) : OK);
    struct matcher *m;
    size_t n;
    if (promql_parse_selector(&a, text, &m, &n, &err) == OK)
        promql_matchers_deinit(m, n);
    arena_deinit(&a);
    return 0;
}
