/* What an alert is about, in numbers: the expression of its rule without the condition, as it is now. For messages that
 * say an alert has ended, where the condition itself gives nothing any more. */
#include "alerting/am.h"
#include "base/num.h"
#include "cli/cli_serve.h"
#include "promql/ast.h"

enum { VALUE_TIMEOUT_MS = 5000 };

/* http://host/graph?g0.expr=EXPR&... */
static str expr_of(str url, struct arena *a)
{
    size_t at = str_find(url, STR("g0.expr="));
    str expr = at == SIZE_MAX ? STR("") : str_skip(url, at + sizeof("g0.expr=") - 1);
    return http_url_decode(a, str_take(expr, str_find_char(expr, '&')), true);
}

/* The side of the outermost comparison that is not its bound; NULL: there is no comparison. */
static const struct promql_expr *compared(const struct promql_expr *e)
{
    while (e->kind == PQ_PAREN || (e->kind == PQ_BINARY && promql_op_is_set(e->binary.op) && e->binary.op != PQ_OR))
        e = e->kind == PQ_PAREN ? e->paren : e->binary.lhs;
    if (e->kind != PQ_BINARY || !promql_op_is_comparison(e->binary.op))
        return NULL;
    return e->binary.lhs->type == PROMQL_VECTOR ? e->binary.lhs : e->binary.rhs;
}

static bool within(struct labels part, struct labels whole)
{
    labels_each (l, part)
        if (!str_eq(l->name, LABEL_NAME) && !str_eq(labels_get(whole, l->name), l->value))
            return false;
    return true;
}

static str value_text(const struct promql_result *r, struct labels ls, struct arena *a)
{
    const struct promql_result_series *found = NULL;
    for (size_t i = 0; r->type == PROMQL_VECTOR && i < r->n_series; i++) {
        if (r->series[i].points[0].h || !within(r->series[i].labels, ls))
            continue;
        if (found) /* which one was meant? */
            return STR("");
        found = &r->series[i];
    }
    if (!found)
        return STR("");
    char text[NUM_TEXT_MAX];
    return arena_str(a, str_n(text, num_format_g(text, found->points[0].v)));
}

str serve_alert_value(void *ctx, const struct am_alert *al, int64_t now_ms, struct arena *a)
{
    struct serve *s = ctx;
    const struct promql_expr *e = NULL, *side;
    struct promql_result r;
    struct err_text why;
    str text = expr_of(al->generator_url, a), value = STR("");
    if (!text.n || !atomic_load(&s->ready) || promql_parse_text(a, text, s->opt.features, &e, &why) != OK)
        return value;
    side = compared(e);
    const struct promql_query q = {
        .text = text, .expr = side, .instant = true, .from_ms = now_ms, .to_ms = now_ms, .timeout_ms = VALUE_TIMEOUT_MS
    };
    if (side && promql_exec(s->engine, s->rules_source, &q, a, &r, &why) == OK)
        value = value_text(&r, al->labels, a);
    promql_expr_deinit(e);
    return value;
}
