/* Syntax tree -> plan: parentheses go, duration expressions become milliseconds, @ start()/end() become times,
 * step(), range(), start(), end() become numbers, and what has the same value at every step is marked so that it
 * is computed once (a selector is when it carries @; time-dependent functions never are).
 * The plan is const afterwards. Semantics: Prometheus 3.x, promql/engine.go, PreprocessExpr. */
#include "promql/promql_int.h"

struct planner {
    struct arena *a;
    bool statistics; /* below histogram_count, _sum or _avg ... */
    unsigned whole;  /* ... but not (depth) below what needs whole histograms */
    const struct pq_plan_env *env;
    struct err_text *reterr;
};

/* What a node knows about its steps: invariant, and whether marking it pays (literals never need it). */
struct inv {
    bool invariant, wrap;
};

static enum err plan_node(struct planner *p, const struct promql_expr *e, struct pq_node **ret, struct inv *ret_inv);

static const struct promql_expr *unwrap(const struct promql_expr *e)
{
    while (e->kind == PQ_PAREN)
        e = e->paren;
    return e;
}

static enum err plan_duration(struct planner *p, const struct promql_dur *d, bool positive, int64_t *ret)
{
    if (!d->expr) {
        *ret = d->ms;
        return OK;
    }
    int64_t range = p->env->end_ms - p->env->start_ms;
    return promql_duration_eval(d, p->env->instant ? 0 : p->env->step_ms, range, positive, ret, p->reterr);
}

static enum err plan_when(struct planner *p, const struct promql_when *when, struct pq_node *n)
{
    TRY(plan_duration(p, &when->offset, false, &n->offset_ms));
    n->has_at = when->at != PQ_AT_NONE;
    n->at_ms = when->at == PQ_AT_START ? p->env->start_ms : when->at == PQ_AT_END ? p->env->end_ms : when->at_ms;
    return OK;
}

bool promql_fn_depends_on_time(enum promql_fn fn)
{
    switch (fn) {
    case PQ_FN_days_in_month:
    case PQ_FN_day_of_month:
    case PQ_FN_day_of_week:
    case PQ_FN_day_of_year:
    case PQ_FN_hour:
    case PQ_FN_minute:
    case PQ_FN_month:
    case PQ_FN_year:
    case PQ_FN_predict_linear:
    case PQ_FN_time:
    case PQ_FN_timestamp:
        return true;
    default:
        return false;
    }
}

static bool plan_constant(struct planner *p, struct pq_node *n, enum promql_fn fn)
{
    switch (fn) {
    case PQ_FN_step:
        n->number = p->env->instant ? 0 : (double)p->env->step_ms / 1000;
        break;
    case PQ_FN_range:
        n->number = (double)(p->env->end_ms - p->env->start_ms) / 1000;
        break;
    case PQ_FN_start:
        n->number = (double)p->env->start_ms / 1000;
        break;
    case PQ_FN_end:
        n->number = (double)p->env->end_ms / 1000;
        break;
    case PQ_FN_pi:
        n->number = 3.14159265358979323846;
        break;
    default:
        return false;
    }
    n->kind = PQ_NUMBER;
    return true;
}

static enum err plan_args(struct planner *p, struct pq_node *n, const struct promql_expr *const *args, size_t n_args,
                          bool at_all, struct inv *ret)
{
    struct pq_node **nodes = arena_array(p->a, struct pq_node *, n_args + 1);
    struct inv *inv = arena_array(p->a, struct inv, n_args + 1);
    bool all = !at_all;
    for (size_t i = 0; i < n_args; i++) {
        TRY(plan_node(p, args[i], &nodes[i], &inv[i]));
        all = all && inv[i].invariant;
    }
    if (!all)
        for (size_t i = 0; i < n_args; i++)
            nodes[i]->invariant = inv[i].wrap;
    n->args = (const struct pq_node *const *)nodes;
    n->n_args = n_args;
    *ret = (struct inv){ all, all };
    return OK;
}

static enum err plan_subquery(struct planner *p, const struct promql_expr *e, struct pq_node *n, struct inv *ret)
{
    struct pq_node **arg = arena_array(p->a, struct pq_node *, 1);
    struct inv inner;
    p->whole++;
    TRY(plan_node(p, e->subquery.expr, &arg[0], &inner));
    p->whole--;
    arg[0]->invariant = inner.invariant;
    n->args = (const struct pq_node *const *)arg;
    n->n_args = 1;
    TRY(plan_when(p, &e->subquery.when, n));
    TRY(plan_duration(p, &e->subquery.range, true, &n->range_ms));
    TRY(plan_duration(p, &e->subquery.step, true, &n->step_ms));
    if (n->step_ms == 0)
        n->step_ms = p->env->default_step_ms;
    *ret = (struct inv){ n->has_at, false };
    return OK;
}

static enum err plan_call(struct planner *p, const struct promql_expr *e, struct pq_node *n, struct inv *ret)
{
    enum promql_fn fn = e->call.fn;
    bool before = p->statistics, whole = fn == PQ_FN_histogram_quantile || fn == PQ_FN_histogram_fraction;
    p->statistics = before || fn == PQ_FN_histogram_count || fn == PQ_FN_histogram_sum || fn == PQ_FN_histogram_avg;
    p->whole += whole;
    TRY(plan_args(p, n, e->call.args, e->call.n_args, promql_fn_depends_on_time(fn), ret));
    p->whole -= whole;
    p->statistics = before;
    return OK;
}

static enum err plan_node(struct planner *p, const struct promql_expr *e, struct pq_node **ret, struct inv *ret_inv)
{
    e = unwrap(e);
    struct pq_node *n = arena_new(p->a, struct pq_node);
    *n = (struct pq_node){ .kind = e->kind, .type = e->type, .e = e, .pos = e->pos };
    *ret = n;
    *ret_inv = (struct inv){ true, false };
    switch (e->kind) {
    case PQ_NUMBER:
        n->number = e->number.v;
        return OK;
    case PQ_STRING:
        return OK;
    case PQ_VECTOR:
        n->sel = &e->vector;
        n->statistics = p->statistics && !p->whole;
        TRY(plan_when(p, &e->vector.when, n));
        *ret_inv = (struct inv){ n->has_at, n->has_at };
        return OK;
    case PQ_MATRIX: {
        const struct promql_expr *v = unwrap(e->matrix.vector);
        n->sel = &v->vector;
        n->statistics = p->statistics && !p->whole;
        TRY(plan_when(p, &v->vector.when, n));
        TRY(plan_duration(p, &e->matrix.range, true, &n->range_ms));
        *ret_inv = (struct inv){ n->has_at, false };
        return OK;
    }
    case PQ_SUBQUERY:
        return plan_subquery(p, e, n, ret_inv);
    case PQ_UNARY:
        return plan_args(p, n, &e->unary.expr, 1, false, ret_inv);
    case PQ_BINARY: {
        const struct promql_expr *sides[2] = { e->binary.lhs, e->binary.rhs };
        return plan_args(p, n, sides, 2, false, ret_inv);
    }
    case PQ_AGG: {
        const struct promql_expr *parts[2] = { e->agg.expr, e->agg.param };
        return plan_args(p, n, parts, e->agg.param ? 2 : 1, false, ret_inv);
    }
    case PQ_CALL:
        if (plan_constant(p, n, e->call.fn))
            return OK;
        return plan_call(p, e, n, ret_inv);
    case PQ_PAREN:
    case PQ_DURATION:
        break;
    }
    return err_fail(p->reterr, ERR_EXEC, "unexpected expression");
}

enum err pq_plan(struct arena *a, const struct promql_expr *e, const struct pq_plan_env *env,
                 const struct pq_node **ret, struct err_text *reterr)
{
    struct planner p = { .a = a, .env = env, .reterr = reterr };
    struct pq_node *n;
    struct inv inv;
    TRY(plan_node(&p, e, &n, &inv));
    n->invariant = inv.wrap && n->type == PROMQL_VECTOR;
    *ret = n;
    return OK;
}

void pq_selector_span(const struct pq_node *n, const struct pq_tl *tl, int64_t lookback_ms, int64_t *from, int64_t *to)
{
    *from = pq_ref_time(n, tl->start);
    *to = pq_ref_time(n, pq_tl_end(tl));
    if (n->kind == PQ_MATRIX) {
        *from -= n->range_ms;
        if (n->sel->anchored || n->sel->smoothed)
            *from -= lookback_ms;
    } else {
        *from -= lookback_ms;
    }
    if (n->sel->smoothed)
        *to += lookback_ms;
    ++*from; /* windows are open on the left */
}

bool pq_subquery_tl(const struct pq_node *n, const struct pq_tl *tl, struct pq_tl *ret)
{
    int64_t from = pq_ref_time(n, tl->start) - n->range_ms, to = pq_ref_time(n, pq_tl_end(tl));
    int64_t first = n->step_ms * (from / n->step_ms);
    if (first <= from)
        first += n->step_ms;
    if (first > to)
        return false;
    *ret = (struct pq_tl){ first, n->step_ms, (size_t)((to - first) / n->step_ms) + 1 };
    return true;
}

void pq_plan_times(const struct pq_node *n, const struct pq_tl *tl, const struct pq_plan_env *env, int64_t *from,
                   int64_t *to)
{
    struct pq_tl inner = *tl;
    if (n->invariant)
        inner.n = 1;
    if (n->kind == PQ_VECTOR || n->kind == PQ_MATRIX) {
        int64_t f, t;
        pq_selector_span(n, &inner, env->lookback_ms, &f, &t);
        *from = MIN(*from, f);
        *to = MAX(*to, t);
        return;
    }
    if (n->kind == PQ_SUBQUERY) { /* info() looks at the time of the subquery itself */
        *from = MIN(*from, pq_ref_time(n, tl->start) - n->range_ms - env->lookback_ms);
        *to = MAX(*to, pq_ref_time(n, pq_tl_end(tl)));
        if (!pq_subquery_tl(n, tl, &inner))
            return;
    }
    for (size_t i = 0; i < n->n_args; i++)
        pq_plan_times(n->args[i], &inner, env, from, to);
}
