/* label_replace, label_join, sort and sort_by_label: functions that look at series, not at samples. */
#include <stdlib.h>

#include "promql/promql_int.h"

static enum err fail_quoted(struct pq_worker *w, const char *what, str s)
{
    return pq_fail(w, ERR_EXEC, "%s: " STR_FMT, what, STR_ARG(s));
}

static bool valid_label_name(str s)
{
    return s.n > 0 && str_utf8_ok(s);
}

static str string_arg(const struct pq_node *n, size_t i)
{
    return n->args[i]->e->string;
}

static void set_label(struct pq_run *r, struct pq_series *s, str dst, str value)
{
    struct label_builder b;
    lb_init(&b, r->a);
    lb_reset(&b, s->labels);
    lb_set(&b, dst, value.n ? arena_str(r->a, value) : STR(""));
    s->labels = lb_labels(&b);
    if (str_eq(dst, LABEL_NAME))
        s->drop_name = false;
}

/* A private copy of the series list: the argument may be shared. */
static void copy_list(struct pq_run *r, struct pq_vec *v)
{
    struct pq_series *p = arena_array(r->a, struct pq_series, v->n + 1);
    if (v->n)
        memcpy(p, v->p, v->n * sizeof(*p));
    v->p = p;
}

static enum err label_replace(struct pq_run *r, const struct pq_node *n, struct pq_vec *v)
{
    struct pq_worker *w = pq_main(r);
    str dst = string_arg(n, 1), repl = string_arg(n, 2), src = string_arg(n, 3), pattern = string_arg(n, 4);
    struct rx *rx;
    if (rx_compile(pattern, true, &rx, NULL) != OK)
        return fail_quoted(w, "invalid regular expression in label_replace()", pattern);
    if (!valid_label_name(dst)) {
        rx_free(rx);
        return fail_quoted(w, "invalid destination label name in label_replace()", dst);
    }
    size_t n_groups = rx_n_groups(rx) + 1;
    str *groups = arena_array(r->a, str, n_groups);
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < v->n; i++) {
        str from = labels_get(v->p[i].labels, src);
        if (!from.p)
            from = STR("");
        if (!rx_find(rx, from, 0, groups, n_groups))
            continue;
        buf_clear(&b);
        rx_expand(rx, repl, groups, n_groups, &b);
        set_label(r, &v->p[i], dst, buf_str(&b));
    }
    buf_deinit(&b);
    rx_free(rx);
    return OK;
}

static enum err label_join(struct pq_run *r, const struct pq_node *n, struct pq_vec *v)
{
    struct pq_worker *w = pq_main(r);
    str dst = string_arg(n, 1), sep = string_arg(n, 2);
    for (size_t i = 3; i < n->n_args; i++)
        if (!valid_label_name(string_arg(n, i)))
            return fail_quoted(w, "invalid source label name in label_join()", string_arg(n, i));
    if (!valid_label_name(dst))
        return fail_quoted(w, "invalid destination label name in label_join()", dst);
    struct buf b;
    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < v->n; i++) {
        buf_clear(&b);
        for (size_t k = 3; k < n->n_args; k++) {
            if (k > 3)
                buf_str_add(&b, sep);
            buf_str_add(&b, labels_get(v->p[i].labels, string_arg(n, k)));
        }
        set_label(r, &v->p[i], dst, buf_str(&b));
    }
    buf_deinit(&b);
    return OK;
}

enum err pq_eval_label_call(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    TRY(pq_eval(r, n->args[0], tl, ret));
    copy_list(r, ret);
    TRY(n->e->call.fn == PQ_FN_label_replace ? label_replace(r, n, ret) : label_join(r, n, ret));
    return pq_vec_merge_same(r, tl, ret);
}

/* ---- sorting: meaningful in instant queries only ---- */
struct sorting {
    const struct pq_node *n;
    bool descending, by_label;
};

/* NaN goes last either way. */
static int cmp_value(const struct sorting *so, double x, double y)
{
    if (isnan(x) || isnan(y))
        return (int)isnan(x) - (int)isnan(y);
    int c = (x > y) - (x < y);
    return so->descending ? -c : c;
}

static int cmp_labels(const struct sorting *so, const struct pq_series *x, const struct pq_series *y)
{
    int c = 0;
    for (size_t i = 1; i < so->n->n_args && c == 0; i++) {
        str a = labels_get(x->labels, string_arg(so->n, i)), b = labels_get(y->labels, string_arg(so->n, i));
        if (!str_eq(a, b))
            c = pq_natural_less(a, b) ? -1 : 1;
    }
    if (c == 0)
        c = labels_cmp(x->labels, y->labels);
    return so->descending ? -c : c;
}

static int cmp_series(const void *a, const void *b, void *ctx)
{
    const struct sorting *so = ctx;
    const struct pq_series *x = a, *y = b;
    return so->by_label ? cmp_labels(so, x, y) : cmp_value(so, x->v[0], y->v[0]);
}

enum err pq_eval_sort_call(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    enum promql_fn fn = n->e->call.fn;
    struct sorting so = { n, fn == PQ_FN_sort_desc || fn == PQ_FN_sort_by_label_desc,
                          fn == PQ_FN_sort_by_label || fn == PQ_FN_sort_by_label_desc };
    TRY(pq_eval(r, n->args[0], tl, ret));
    copy_list(r, ret);
    if (!so.by_label) { /* values sort, histograms have none */
        size_t k = 0;
        for (size_t i = 0; i < ret->n; i++) {
            struct pq_series *s = &ret->p[i];
            if (s->h) {
                double *v = pq_row_new(r->a, tl->n);
                for (size_t t = 0; t < tl->n; t++)
                    v[t] = s->h[t] ? v[t] : s->v[t];
                s->v = v;
                s->h = NULL;
            }
            if (pq_row_count(s->v, tl->n) > 0)
                ret->p[k++] = *s;
        }
        ret->n = k;
    }
    if (tl->n == 1)
        qsort_r(ret->p, ret->n, sizeof(*ret->p), cmp_series, &so);
    ret->ordered = true;
    return OK;
}
