/* The evaluator's centre: nodes to values. Vectors that can be computed row by row go through promql_eval_rows.c;
 * what needs whole vectors is dispatched from here. */
#include "promql/promql_int.h"

/* ---- scalars ---- */
static enum err eval_scalar_of_vector(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, double *out)
{
    struct pq_vec v;
    TRY(pq_eval(r, n->args[0], tl, &v));
    for (size_t s = 0; s < tl->n; s++) {
        size_t found = 0;
        for (size_t i = 0; i < v.n && found < 2; i++)
            if (pq_row_has(&v.p[i], s) && !(v.p[i].h && v.p[i].h[s])) {
                out[s] = v.p[i].v[s];
                found++;
            }
        if (found != 1)
            out[s] = PQ_NAN;
    }
    pq_drop_samples(r, v.samples);
    return OK;
}

/* Go's math.Min / math.Max for min_of and max_of. */
static double pick_of(bool max, double a, double b)
{
    if (isnan(a) || isnan(b)) {
        double winner = max ? PQ_INF : -PQ_INF;
        return a == winner || b == winner ? winner : PQ_NAN;
    }
    return max ? (a > b ? a : b) : (a < b ? a : b);
}

static enum err eval_scalar_call(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, double *out)
{
    enum promql_fn fn = n->e->call.fn;
    if (fn == PQ_FN_scalar)
        return eval_scalar_of_vector(r, n, tl, out);
    if (fn == PQ_FN_time) {
        for (size_t s = 0; s < tl->n; s++)
            out[s] = (double)pq_ts(tl, s) / 1000;
        return OK;
    }
    if (fn == PQ_FN_min_of || fn == PQ_FN_max_of) {
        const double *a, *b;
        TRY(pq_eval_scalar(r, n->args[0], tl, &a));
        TRY(pq_eval_scalar(r, n->args[1], tl, &b));
        for (size_t s = 0; s < tl->n; s++)
            out[s] = pick_of(fn == PQ_FN_max_of, a[s], b[s]);
        return OK;
    }
    return pq_fail(pq_main(r), ERR_EXEC, "unexpected scalar function");
}

static enum err scalar_into(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, double *out)
{
    if (n->kind == PQ_NUMBER) {
        for (size_t s = 0; s < tl->n; s++)
            out[s] = n->number;
        return OK;
    }
    if (n->kind == PQ_UNARY) {
        const double *v;
        TRY(pq_eval_scalar(r, n->args[0], tl, &v));
        for (size_t s = 0; s < tl->n; s++)
            out[s] = n->e->unary.negative ? -v[s] : v[s];
        return OK;
    }
    if (n->kind == PQ_BINARY) {
        const double *a, *b;
        TRY(pq_eval_scalar(r, n->args[0], tl, &a));
        TRY(pq_eval_scalar(r, n->args[1], tl, &b));
        for (size_t s = 0; s < tl->n; s++)
            out[s] = pq_scalar_binary(n->e->binary.op, a[s], b[s]);
        return OK;
    }
    return eval_scalar_call(r, n, tl, out);
}

enum err pq_eval_scalar(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, const double **ret)
{
    double *out = arena_array(r->a, double, tl->n);
    if (n->invariant && tl->n > 1) {
        struct pq_tl one = { tl->start, tl->step, 1 };
        TRY(scalar_into(r, n, &one, out));
        for (size_t s = 1; s < tl->n; s++)
            out[s] = out[0];
    } else {
        TRY(scalar_into(r, n, tl, out));
    }
    *ret = out;
    return OK;
}

/* ---- vectors ---- */
/* What is the same at every step is computed at the first one and repeated. */
static enum err eval_once(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    struct pq_tl one = { tl->start, tl->step, 1 };
    struct pq_vec v;
    TRY(pq_eval(r, n, &one, &v));
    TRY(pq_take_samples(pq_main(r), v.samples * (tl->n - 1)));
    *ret = (struct pq_vec){ .p = arena_array(r->a, struct pq_series, v.n + 1), .n = v.n, .samples = v.samples * tl->n };
    for (size_t i = 0; i < v.n; i++) {
        struct pq_series *s = &ret->p[i];
        *s = v.p[i];
        s->v = arena_array(r->a, double, tl->n);
        s->h = v.p[i].h ? arena_array(r->a, const struct histogram *, tl->n) : NULL;
        for (size_t k = 0; k < tl->n; k++) {
            s->v[k] = v.p[i].v[0];
            if (s->h)
                s->h[k] = v.p[i].h[0];
        }
        TRY(pq_poll(pq_main(r)));
    }
    return OK;
}

static void one_series(struct pq_run *r, const struct pq_tl *tl, double *v, struct pq_vec *ret)
{
    struct pq_series *s = arena_new(r->a, struct pq_series);
    s->v = v;
    size_t n = pq_row_count(v, tl->n);
    *ret = (struct pq_vec){ .p = s, .n = n > 0, .samples = n };
}

static enum err eval_vector_call(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    const double *v;
    TRY(pq_eval_scalar(r, n->args[0], tl, &v));
    double *copy = arena_array(r->a, double, tl->n);
    memcpy(copy, v, tl->n * sizeof(*copy));
    one_series(r, tl, copy, ret);
    return pq_take_samples(pq_main(r), ret->samples);
}

/* hour() and its kin without an argument: of the evaluation time. */
static enum err eval_calendar(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    double *v = arena_array(r->a, double, tl->n);
    for (size_t s = 0; s < tl->n; s++)
        v[s] = (double)(pq_ts(tl, s) / 1000);
    struct pq_rows rows = { .id = ++r->next_id, .base = BASE_VEC, .tl = *tl, .n = 1 };
    one_series(r, tl, v, &rows.vec);
    TRY(pq_push_element_call(r, n, &rows));
    TRY(pq_take_samples(pq_main(r), rows.vec.samples));
    return pq_rows_materialise(r, &rows, ret);
}

/* Labels that the selector pins by equality, for absent(). */
static struct labels absent_labels(struct pq_run *r, const struct pq_node *arg)
{
    struct label_builder b;
    lb_init(&b, r->a);
    if (arg->kind != PQ_VECTOR && arg->kind != PQ_MATRIX)
        return LABELS_NONE;
    for (size_t i = 0; i < arg->sel->n_matchers; i++) {
        const struct matcher *m = &arg->sel->matchers[i];
        bool earlier = false;
        for (size_t k = 0; k < i; k++)
            earlier =
                earlier || (str_eq(arg->sel->matchers[k].name, m->name) && arg->sel->matchers[k].type == MATCH_EQ);
        if (str_eq(m->name, LABEL_NAME))
            continue;
        if (m->type == MATCH_EQ && !earlier)
            lb_set(&b, m->name, m->value);
        else
            lb_set(&b, m->name, STR(""));
    }
    return lb_labels(&b);
}

enum err pq_eval_absent(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    bool over_time = n->e->call.fn == PQ_FN_absent_over_time;
    struct pq_rows rows;
    if (over_time)
        TRY(pq_rows_prepare(r, n, tl, &rows));
    else
        TRY(pq_rows_prepare(r, n->args[0], tl, &rows));
    double *v = arena_array(r->a, double, tl->n), *row_v = arena_array(r->a, double, tl->n);
    for (size_t s = 0; s < tl->n; s++)
        v[s] = 1;
    for (size_t i = 0, left = tl->n; i < rows.n && left > 0; i++) {
        struct pq_row row = { .v = row_v };
        size_t k;
        TRY(pq_rows_compute(pq_main(r), &rows, i, &row, &k));
        for (size_t s = 0; k > 0 && s < tl->n; s++)
            if (!pq_is_none(row.v[s]) && !pq_is_none(v[s])) {
                v[s] = pq_none();
                left--;
            }
    }
    pq_drop_samples(r, rows.vec.samples);
    one_series(r, tl, v, ret);
    ret->p[0].labels = absent_labels(r, n->args[0]);
    ret->p[0].drop_name = over_time && r->delayed;
    return pq_take_samples(pq_main(r), ret->samples);
}

enum err pq_eval_call(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    enum promql_fn fn = n->e->call.fn;
    switch (fn) {
    case PQ_FN_vector:
        return eval_vector_call(r, n, tl, ret);
    case PQ_FN_absent:
    case PQ_FN_absent_over_time:
        return pq_eval_absent(r, n, tl, ret);
    case PQ_FN_sort:
    case PQ_FN_sort_desc:
    case PQ_FN_sort_by_label:
    case PQ_FN_sort_by_label_desc:
        return pq_eval_sort_call(r, n, tl, ret);
    case PQ_FN_label_replace:
    case PQ_FN_label_join:
        return pq_eval_label_call(r, n, tl, ret);
    case PQ_FN_histogram_quantile:
    case PQ_FN_histogram_quantiles:
    case PQ_FN_histogram_fraction:
        return pq_eval_histogram_call(r, n, tl, ret);
    case PQ_FN_info:
        return pq_eval_info(r, n, tl, ret);
    default:
        if (pq_is_element_call(fn) && n->n_args == 0)
            return eval_calendar(r, n, tl, ret);
        return pq_fail(pq_main(r), ERR_UNSUPPORTED, "function %.*s is not implemented",
                       (int)promql_functions[fn].name.n, promql_functions[fn].name.p);
    }
}

/* Is n computed row by row (promql_eval_rows.c)? */
static bool is_row_wise(const struct pq_node *n)
{
    switch (n->kind) {
    case PQ_VECTOR:
    case PQ_UNARY:
        return true;
    case PQ_BINARY:
        return n->args[0]->type == PROMQL_SCALAR || n->args[1]->type == PROMQL_SCALAR;
    case PQ_CALL:
        if (n->e->call.fn == PQ_FN_absent_over_time)
            return false;
        return pq_range_fn_of(n->e->call.fn) || (pq_is_element_call(n->e->call.fn) && n->n_args > 0);
    default:
        return false;
    }
}

enum err pq_eval(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    TRY(pq_poll(pq_main(r)));
    *ret = (struct pq_vec){ 0 };
    if (n->type == PROMQL_SCALAR) {
        const double *v;
        TRY(pq_eval_scalar(r, n, tl, &v));
        double *copy = arena_array(r->a, double, tl->n);
        memcpy(copy, v, tl->n * sizeof(*copy));
        one_series(r, tl, copy, ret);
        return OK;
    }
    if (n->invariant && tl->n > 1)
        return eval_once(r, n, tl, ret);
    if (is_row_wise(n)) {
        struct pq_rows rows;
        TRY(pq_rows_prepare(r, n, tl, &rows));
        return pq_rows_materialise(r, &rows, ret);
    }
    switch (n->kind) {
    case PQ_AGG:
        return pq_eval_agg(r, n, tl, ret);
    case PQ_BINARY:
        return promql_op_is_set(n->e->binary.op) ? pq_eval_set_op(r, n, tl, ret) : pq_eval_vector_binary(r, n, tl, ret);
    case PQ_CALL:
        return pq_eval_call(r, n, tl, ret);
    default:
        return pq_fail(pq_main(r), ERR_EXEC, "unexpected expression");
    }
}
