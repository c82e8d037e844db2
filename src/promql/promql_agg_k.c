/* Aggregation operators that need all series of a group at a step: quantile, topk, bottomk, limitk, limit_ratio,
 * and count_values. topk and bottomk of small k do without all series in memory: promql_agg_topk.c. */
#include <stdlib.h>

#include "promql/promql_int.h"

/* ---- members of groups ---- */
struct members {
    size_t *series; /* by group, in order */
    size_t *first;  /* n_groups + 1 */
};

static struct members members_of(struct arena *a, const struct pq_group_map *g, size_t n)
{
    struct members m = { arena_array(a, size_t, n + 1), arena_zarray(a, size_t, g->n + 2) };
    for (size_t i = 0; i < n; i++)
        m.first[g->of[i] + 1]++;
    for (size_t i = 0; i < g->n; i++)
        m.first[i + 1] += m.first[i];
    size_t *at = arena_array(a, size_t, g->n + 1);
    memcpy(at, m.first, g->n * sizeof(*at));
    for (size_t i = 0; i < n; i++)
        m.series[at[g->of[i]]++] = i;
    return m;
}

struct picking {
    struct pq_run *run;
    const struct pq_node *node;
    enum promql_agg_op op;
    const struct pq_tl *tl;
    const struct pq_vec *in;
    const struct pq_group_map *groups;
    struct members members;
    const double *param;
    struct pq_heap heap;
    struct pq_pick *tmp;
    double *places;        /* limit_ratio, by input series */
    struct pq_series *out; /* by input series; v NULL until picked */
    struct pq_vec *ret;
};

static void note_ignored(struct picking *p, struct promql_pos pos)
{
    pq_note(&pq_main(p->run)->notes, NOTE_HISTOGRAM_IGNORED_AGG, pos, str_c(promql_agg_text(p->op)));
}

static bool is_hist(const struct pq_series *s, size_t step)
{
    return s->h && s->h[step];
}

/* ---- quantile ---- */
static void quantile_group(struct picking *p, size_t group, double *values, double *out, bool *drop)
{
    for (size_t s = 0; s < p->tl->n; s++) {
        size_t n = 0;
        for (size_t k = p->members.first[group]; k < p->members.first[group + 1]; k++) {
            const struct pq_series *m = &p->in->p[p->members.series[k]];
            if (!pq_row_has(m, s))
                continue;
            if (is_hist(m, s)) {
                note_ignored(p, p->node->args[0]->pos);
                continue;
            }
            values[n++] = m->v[s];
            *drop = *drop || m->drop_name;
        }
        out[s] = n ? pq_quantile(p->param[s], values, n) : pq_none();
    }
}

static void note_quantile(struct picking *p, double q)
{
    pq_note_add(&pq_main(p->run)->notes,
                &(struct pq_note){ .kind = NOTE_INVALID_QUANTILE, .pos = p->node->args[1]->pos, .x = q });
}

struct extent {
    double min, max;
    bool nan;
};
static struct extent param_extent(const double *v, size_t n)
{
    struct extent e = { PQ_INF, -PQ_INF, false };
    for (size_t i = 0; i < n; i++) {
        e.nan = e.nan || isnan(v[i]);
        e.min = v[i] < e.min ? v[i] : e.min;
        e.max = v[i] > e.max ? v[i] : e.max;
    }
    return e;
}

static enum err eval_quantile(struct picking *p)
{
    struct arena *a = p->run->a;
    struct extent e = param_extent(p->param, p->tl->n);
    if (e.nan)
        note_quantile(p, PQ_NAN);
    if (e.max > 1)
        note_quantile(p, e.max);
    if (e.min < 0)
        note_quantile(p, e.min);
    double *values = arena_array(a, double, p->in->n + 1);
    p->ret->p = arena_zarray(a, struct pq_series, p->groups->n + 1);
    for (size_t g = 0; g < p->groups->n; g++) {
        TRY(pq_poll(pq_main(p->run)));
        struct pq_series s = { .labels = p->groups->labels[g], .v = arena_array(a, double, p->tl->n) };
        quantile_group(p, g, values, s.v, &s.drop_name);
        size_t n = pq_row_count(s.v, p->tl->n);
        if (n == 0)
            continue;
        p->ret->p[p->ret->n++] = s;
        p->ret->samples += n;
    }
    return OK;
}

/* ---- picking series ---- */
static void keep(struct picking *p, size_t series, size_t step)
{
    const struct pq_series *in = &p->in->p[series];
    struct pq_series *out = &p->out[series];
    if (!out->v) {
        *out = (struct pq_series){
            .labels = in->labels, .drop_name = in->drop_name, .v = pq_row_new(p->run->a, p->tl->n), .h = in->h
        };
        if (p->tl->n == 1) /* an instant query shows them in the order in which they were picked */
            p->ret->p[p->ret->n++] = *out;
    }
    out->v[step] = in->v[step];
    p->ret->samples++;
}

static void pick_k(struct picking *p, size_t group, size_t step, size_t k)
{
    struct pq_heap *h = &p->heap;
    h->n = 0;
    for (size_t i = p->members.first[group]; i < p->members.first[group + 1]; i++) {
        size_t series = p->members.series[i];
        const struct pq_series *m = &p->in->p[series];
        if (!pq_row_has(m, step))
            continue;
        if (is_hist(m, step)) {
            note_ignored(p, p->node->pos);
            continue;
        }
        pq_heap_offer(h, k, (struct pq_pick){ m->v[step], series });
    }
    pq_heap_sort(h, p->tmp);
    for (size_t i = 0; i < h->n; i++)
        keep(p, h->p[i].series, step);
}

static void pick_limit(struct picking *p, size_t group, size_t step, size_t k)
{
    for (size_t i = p->members.first[group]; i < p->members.first[group + 1] && k > 0; i++)
        if (pq_row_has(&p->in->p[p->members.series[i]], step)) {
            keep(p, p->members.series[i], step);
            k--;
        }
}

/* A series' place in [0, 1] by the hash of its labels, the same as Prometheus': a ratio r takes those below r, -r the
 * others. */
static double *ratio_places(struct arena *a, const struct pq_vec *in)
{
    double *places = arena_array(a, double, in->n + 1);
    for (size_t i = 0; i < in->n; i++)
        places[i] = (double)labels_hash_prometheus(in->p[i].labels) / 0x1p64;
    return places;
}

static bool ratio_takes(double place, double r)
{
    return r >= 0 ? place < r : place >= 1 + r;
}

static void pick_ratio(struct picking *p, size_t group, size_t step, double r)
{
    r = r > 1 ? 1 : r < -1 ? -1 : r;
    for (size_t i = p->members.first[group]; i < p->members.first[group + 1]; i++) {
        const struct pq_series *m = &p->in->p[p->members.series[i]];
        if (pq_row_has(m, step) && ratio_takes(p->places[p->members.series[i]], r))
            keep(p, p->members.series[i], step);
    }
}

enum err pq_check_agg_param(struct pq_run *r, const struct pq_node *node, const double *param, size_t steps,
                            bool *ret_empty)
{
    struct pq_worker *w = pq_main(r);
    struct extent e = param_extent(param, steps);
    if (node->e->agg.op == PQ_AGG_LIMIT_RATIO) {
        *ret_empty = e.max == 0 && e.min == 0 && !e.nan;
        if (e.nan)
            return pq_fail(w, ERR_EXEC, "Ratio value is NaN");
        struct pq_note n = { .kind = NOTE_INVALID_RATIO, .pos = node->args[1]->pos };
        n.x = e.max, n.y = 1;
        if (e.max > 1)
            pq_note_add(&w->notes, &n);
        n.x = e.min, n.y = -1;
        if (e.min < -1)
            pq_note_add(&w->notes, &n);
        return OK;
    }
    *ret_empty = e.max < 1 && !e.nan;
    if (e.nan)
        return pq_fail(w, ERR_EXEC, "Parameter value is NaN");
    if (!*ret_empty && e.min <= -0x1p63)
        return pq_fail(w, ERR_EXEC, "Scalar value %g underflows int64", e.min);
    if (!*ret_empty && e.max >= 0x1p63)
        return pq_fail(w, ERR_EXEC, "Scalar value %g overflows int64", e.max);
    return OK;
}

static void pick_step(struct picking *p, size_t group, size_t step)
{
    double k = p->param[step];
    if (p->op == PQ_AGG_LIMIT_RATIO) {
        pick_ratio(p, group, step, k);
        return;
    }
    size_t n = k < 1 ? 0 : k > (double)p->in->n ? p->in->n : (size_t)k;
    if (n == 0)
        return;
    if (p->op == PQ_AGG_LIMITK)
        pick_limit(p, group, step, n);
    else
        pick_k(p, group, step, n);
}

static enum err eval_picking(struct picking *p)
{
    bool empty;
    struct arena *a = p->run->a;
    TRY(pq_check_agg_param(p->run, p->node, p->param, p->tl->n, &empty));
    if (empty)
        return OK;
    p->heap =
        (struct pq_heap){ .p = arena_array(a, struct pq_pick, p->in->n + 1), .largest_first = p->op == PQ_AGG_BOTTOMK };
    p->tmp = arena_array(a, struct pq_pick, p->in->n + 1);
    if (p->op == PQ_AGG_LIMIT_RATIO)
        p->places = ratio_places(a, p->in);
    p->out = arena_zarray(a, struct pq_series, p->in->n + 1);
    p->ret->p = arena_array(a, struct pq_series, p->in->n + 1);
    for (size_t g = 0; g < p->groups->n; g++) {
        TRY(pq_poll(pq_main(p->run)));
        for (size_t s = 0; s < p->tl->n; s++)
            pick_step(p, g, s);
    }
    if (p->tl->n == 1) {
        p->ret->ordered = true;
        return OK;
    }
    for (size_t i = 0; i < p->in->n; i++)
        if (p->out[i].v)
            p->ret->p[p->ret->n++] = p->out[i];
    return OK;
}

enum err pq_eval_agg_k(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, const struct pq_vec *in,
                       const struct pq_group_map *groups, const double *param, struct pq_vec *ret)
{
    *ret = (struct pq_vec){ 0 };
    struct picking p = { .run = r,
                         .node = n,
                         .op = n->e->agg.op,
                         .tl = tl,
                         .in = in,
                         .groups = groups,
                         .param = param,
                         .members = members_of(r->a, groups, in->n),
                         .ret = ret };
    TRY(p.op == PQ_AGG_QUANTILE ? eval_quantile(&p) : eval_picking(&p));
    pq_drop_samples(r, in->samples);
    return pq_take_samples(pq_main(r), ret->samples);
}

/* ---- count_values ---- */
struct counting {
    struct pq_run *run;
    const struct pq_tl *tl;
    str *names; /* grouping, sorted */
    size_t n_names;
    bool without;
    str label;
    struct pq_index index;
    struct pq_vec *ret;
    size_t cap;
    struct buf text, scratch;
};

static void count_value(struct counting *c, const struct pq_series *m, size_t step)
{
    struct arena *a = c->run->a;
    buf_clear(&c->text);
    if (is_hist(m, step))
        pq_hist_print(&c->text, m->h[step]);
    else
        buf_f64_f(&c->text, m->v[step]);
    struct label_builder b;
    lb_init(&b, a);
    lb_reset(&b, m->labels);
    lb_set(&b, c->label, buf_str(&c->text));
    struct labels ls = lb_labels(&b);
    hash128 h = c->without ? pq_hash_without(ls, c->names, c->n_names, &c->scratch)
                           : pq_hash_keep(ls, c->names, c->n_names, &c->scratch);
    bool is_new;
    size_t *at = pq_index_put(&c->index, h, &is_new);
    if (is_new) {
        ls = c->without ? pq_labels_without(a, ls, c->names, c->n_names) : pq_labels_keep(a, ls, c->names, c->n_names);
        if (c->ret->n == c->cap) {
            size_t cap = c->cap ? c->cap * 2 : 16;
            struct pq_series *p = arena_array(a, struct pq_series, cap);
            if (c->ret->n)
                memcpy(p, c->ret->p, c->ret->n * sizeof(*p));
            c->ret->p = p;
            c->cap = cap;
        }
        *at = c->ret->n;
        c->ret->p[c->ret->n++] = (struct pq_series){ .labels = labels_copy(a, ls), .v = pq_row_new(a, c->tl->n) };
    }
    double *v = &c->ret->p[*at].v[step];
    c->ret->samples += pq_is_none(*v);
    *v = pq_is_none(*v) ? 1 : *v + 1;
}

enum err pq_eval_count_values(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    const struct promql_agg *agg = &n->e->agg;
    struct pq_worker *w = pq_main(r);
    str label = n->args[1]->e->string;
    if (label.n == 0 || !str_utf8_ok(label)) {
        struct buf b;
        buf_init(&b, 400);
        pq_quote_buf(&b, label);
        enum err e = pq_fail(w, ERR_EXEC, "invalid label name " STR_FMT, STR_ARG(buf_str(&b)));
        buf_deinit(&b);
        return e;
    }
    struct pq_vec in;
    TRY(pq_eval(r, n->args[0], tl, &in));
    *ret = (struct pq_vec){ 0 };
    struct counting c = { .run = r,
                          .tl = tl,
                          .names = pq_names_sorted(r->a, agg->grouping, agg->n_grouping, 2),
                          .n_names = agg->n_grouping,
                          .without = agg->without,
                          .label = label,
                          .ret = ret };
    pq_names_insert(c.names, &c.n_names, agg->without ? LABEL_NAME : label);
    buf_init(&c.text, 0);
    buf_init(&c.scratch, 0);
    enum err e = OK;
    for (size_t s = 0; s < tl->n && e == OK; s++) {
        for (size_t i = 0; i < in.n; i++)
            if (pq_row_has(&in.p[i], s))
                count_value(&c, &in.p[i], s);
        e = pq_poll(w);
    }
    buf_deinit(&c.text);
    buf_deinit(&c.scratch);
    pq_index_free(&c.index);
    pq_drop_samples(r, in.samples);
    return e == OK ? pq_take_samples(w, ret->samples) : e;
}
