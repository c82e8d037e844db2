/* What an alert is about, in numbers: the expression of its rule without the condition, as it is now, for messages that
 * say an alert has ended, where the condition itself gives nothing any more; and over the last hour, for the pictures in
 * mails. */
#include <math.h>

#include "alerting/am.h"
#include "alerting/am_chart.h"
#include "base/num.h"
#include "cli/cli_serve.h"
#include "promql/ast.h"

enum { VALUE_TIMEOUT_MS = 5000, CHART_MS = 3600000, CHART_STEP_MS = 30000 };

/* http://host/graph?g0.expr=EXPR&... */
static str expr_of(str url, struct arena *a)
{
    size_t at = str_find(url, STR("g0.expr="));
    str expr = at == SIZE_MAX ? STR("") : str_skip(url, at + sizeof("g0.expr=") - 1);
    return http_url_decode(a, str_take(expr, str_find_char(expr, '&')), true);
}

/* The side of the outermost comparison that is not its bound; NULL: there is no comparison. */
static const struct promql_expr *compared(const struct promql_expr *e, const struct promql_expr **ret_bound)
{
    while (e->kind == PQ_PAREN || (e->kind == PQ_BINARY && promql_op_is_set(e->binary.op) && e->binary.op != PQ_OR))
        e = e->kind == PQ_PAREN ? e->paren : e->binary.lhs;
    if (e->kind != PQ_BINARY || !promql_op_is_comparison(e->binary.op))
        return NULL;
    bool left = e->binary.lhs->type == PROMQL_VECTOR;
    *ret_bound = left ? e->binary.rhs : e->binary.lhs;
    return left ? e->binary.lhs : e->binary.rhs;
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
    const struct promql_expr *e = NULL, *side, *bound;
    struct promql_result r;
    struct err_text why;
    str text = expr_of(al->generator_url, a), value = STR("");
    if (!text.n || !atomic_load(&s->ready) || promql_parse_text(a, text, s->opt.features, &e, &why) != OK)
        return value;
    side = compared(e, &bound);
    const struct promql_query q = {
        .text = text, .expr = side, .instant = true, .from_ms = now_ms, .to_ms = now_ms, .timeout_ms = VALUE_TIMEOUT_MS
    };
    if (side && promql_exec(s->engine, s->rules_source, &q, a, &r, &why) == OK)
        value = value_text(&r, al->labels, a);
    promql_expr_deinit(e);
    return value;
}

/* ---- pictures ---- */
static double number_of(const struct promql_expr *e) /* NaN: it is none */
{
    while (e->kind == PQ_PAREN)
        e = e->paren;
    return e->kind == PQ_NUMBER ? e->number.v : (double)NAN;
}

static struct am_chart_line line_of(const struct promql_result_series *s, struct arena *a)
{
    int64_t *t = arena_array(a, int64_t, 2 * s->n_points + 1);
    double *v = arena_array(a, double, 2 * s->n_points + 1);
    size_t n = 0;
    for (size_t i = 0; i < s->n_points; i++) {
        if (n && s->points[i].ts_ms - t[n - 1] > CHART_STEP_MS) { /* nothing was there */
            t[n] = t[n - 1] + CHART_STEP_MS;
            v[n++] = (double)NAN;
        }
        t[n] = s->points[i].ts_ms;
        v[n++] = s->points[i].h ? (double)NAN : s->points[i].v;
    }
    return (struct am_chart_line){ t, v, n };
}

static bool lines_of(const struct promql_result *r, struct labels ls, struct arena *a, struct am_chart *ret)
{
    struct am_chart_line *lines = arena_array(a, struct am_chart_line, AM_CHART_LINES_MAX);
    for (size_t i = 0; i < r->n_series && ret->n_lines < AM_CHART_LINES_MAX; i++)
        if (within(r->series[i].labels, ls))
            lines[ret->n_lines++] = line_of(&r->series[i], a);
    ret->lines = lines;
    return ret->n_lines > 0;
}

bool serve_alert_chart(void *ctx, const struct am_alert *al, int64_t now_ms, struct arena *a, struct am_chart *ret)
{
    struct serve *s = ctx;
    const struct promql_expr *e = NULL, *side, *bound = NULL;
    struct promql_result r;
    struct err_text why;
    str text = expr_of(al->generator_url, a);
    if (!text.n || !atomic_load(&s->ready) || promql_parse_text(a, text, s->opt.features, &e, &why) != OK)
        return false;
    side = compared(e, &bound);
    *ret = (struct am_chart){ .from_ms = now_ms - CHART_MS,
                              .to_ms = now_ms,
                              .threshold = side ? number_of(bound) : (double)NAN };
    const struct promql_query q = { .text = text,
                                    .expr = side ? side : e,
                                    .from_ms = ret->from_ms,
                                    .to_ms = now_ms,
                                    .step_ms = CHART_STEP_MS,
                                    .timeout_ms = VALUE_TIMEOUT_MS };
    bool ok = (e->type == PROMQL_VECTOR || e->type == PROMQL_SCALAR) &&
              promql_exec(s->engine, s->rules_source, &q, a, &r, &why) == OK && lines_of(&r, al->labels, a, ret);
    promql_expr_deinit(e);
    return ok;
}
