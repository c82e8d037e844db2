/* The tree of a parsed query: walking it, releasing what it holds beside its arena, places in the text. */
#include "promql/promql_parse_int.h"

void promql_pos_line_col(str text, uint32_t at_byte, unsigned *ret_line, unsigned *ret_col)
{
    unsigned line = 1;
    uint32_t line_start = 0;
    for (uint32_t i = 0; i < at_byte && i < text.n; i++) {
        if (text.p[i] == '\n') {
            line++;
            line_start = i + 1;
        }
    }
    *ret_line = line;
    *ret_col = at_byte - line_start + 1;
}

void promql_matchers_deinit(struct matcher *m, size_t n)
{
    for (size_t i = 0; i < n; i++)
        matcher_deinit(&m[i]);
}

size_t promql_children(const struct promql_expr *e, const struct promql_expr **ret, size_t max)
{
    const struct promql_expr *two[2] = { 0 };
    const struct promql_expr *const *from = two;
    size_t n = 1;
    switch (e->kind) {
    case PQ_MATRIX:
        two[0] = e->matrix.vector;
        break;
    case PQ_SUBQUERY:
        two[0] = e->subquery.expr;
        break;
    case PQ_UNARY:
        two[0] = e->unary.expr;
        break;
    case PQ_PAREN:
        two[0] = e->paren;
        break;
    case PQ_BINARY:
        two[0] = e->binary.lhs;
        two[1] = e->binary.rhs;
        n = 2;
        break;
    case PQ_AGG:
        two[0] = e->agg.expr;
        two[1] = e->agg.param;
        n = e->agg.param ? 2 : 1;
        break;
    case PQ_CALL:
        from = e->call.args;
        n = e->call.n_args;
        break;
    default:
        n = 0;
    }
    n = MIN(n, max);
    for (size_t i = 0; i < n; i++)
        ret[i] = from[i];
    return n;
}

void promql_expr_deinit(const struct promql_expr *e)
{
    if (!e)
        return;
    if (e->kind == PQ_VECTOR) {
        for (size_t i = 0; i < e->vector.n_matchers; i++) {
            struct matcher m = e->vector.matchers[i];
            matcher_deinit(&m);
        }
    } else if (e->kind == PQ_CALL) {
        for (size_t i = 0; i < e->call.n_args; i++)
            promql_expr_deinit(e->call.args[i]);
    } else {
        const struct promql_expr *kids[2];
        size_t n = promql_children(e, kids, 2);
        for (size_t i = 0; i < n; i++)
            promql_expr_deinit(kids[i]);
    }
}
