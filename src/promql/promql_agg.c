/* Aggregation operators that fold a group to one series: sum avg count min max group stddev stdvar (quantile and
 * the operators that pick series are in promql_agg_k.c).
 *
 * Rows are consumed as they are computed: a group holds planes of accumulators, one number per step, so memory is
 * groups x steps whatever the number of series. In parallel runs each slice of rows has planes of its own, merged
 * in the order of the slices. Within a slice series are added in the order of their labels with compensated
 * sums, as Prometheus does. */
#include <stdlib.h>

#include "promql/promql_int.h"

enum {
    SEEN_FLOAT = 1,
    SEEN_HIST = 2,
    INCREMENTAL = 4, /* avg: the sum would overflow, x is a mean */
    FAILED = 8,      /* histograms that cannot be combined */
};

struct group { /* planes over the steps */
    double *x, *c, *count;
    uint8_t *flags;
    struct pq_hist_acc **hist; /* NULL until the first histogram */
    bool drop_name, any;
};

struct agg {
    struct pq_run *run;
    const struct pq_node *node;
    enum promql_agg_op op;
    const struct pq_rows *rows;
    const uint32_t *group_of;
    size_t n_groups, steps;
    struct group *slices[PQ_WORKERS_MAX];
};

/* ---- grouping ---- */
struct grouping {
    str *names; /* sorted */
    size_t n;
    bool without;
};

static struct grouping grouping_of(struct pq_run *r, const struct pq_node *n)
{
    const struct promql_agg *agg = &n->e->agg;
    struct grouping g = { pq_names_sorted(r->a, agg->grouping, agg->n_grouping, 1), agg->n_grouping, agg->without };
    if (g.without)
        pq_names_insert(g.names, &g.n, LABEL_NAME);
    return g;
}

static struct labels group_labels(struct pq_run *r, const struct grouping *g, struct labels ls, bool strip)
{
    if (strip)
        ls = pq_labels_drop_metadata(r->a, ls);
    return g->without ? pq_labels_without(r->a, ls, g->names, g->n) : pq_labels_keep(r->a, ls, g->names, g->n);
}

/* Group index of each row, and the labels of each group. strip: names are already gone from the rows' labels. */
static void group_rows(struct pq_run *r, const struct grouping *g, const struct pq_rows *rows, bool strip,
                       uint32_t *group_of, struct labels **ret_labels, size_t *ret_n)
{
    VEC(struct labels) groups = { 0 };
    struct pq_index index = { 0 };
    struct buf scratch;
    struct arena tmp;
    buf_init(&scratch, 0);
    arena_init(&tmp, 0);
    for (size_t i = 0; i < rows->n; i++) {
        struct labels ls = pq_rows_labels(rows, i);
        bool one = !g->without && g->n == 0;
        if (strip && !one) {
            arena_reset(&tmp);
            ls = pq_labels_drop_metadata(&tmp, ls);
        }
        hash128 h = { 0 };
        if (!one)
            h = g->without ? pq_hash_without(ls, g->names, g->n, &scratch) : pq_hash_keep(ls, g->names, g->n, &scratch);
        bool is_new;
        size_t *at = pq_index_put(&index, h, &is_new);
        if (is_new) {
            *at = groups.n;
            avec_push(r->a, &groups, group_labels(r, g, pq_rows_labels(rows, i), strip));
        }
        group_of[i] = (uint32_t)*at;
    }
    pq_index_free(&index);
    buf_deinit(&scratch);
    arena_deinit(&tmp);
    *ret_labels = groups.p;
    *ret_n = groups.n;
}

/* ---- folding one row into its group ---- */

static void group_init(struct arena *a, struct group *g, enum promql_agg_op op, size_t steps)
{
    g->x = arena_array(a, double, steps);
    for (size_t s = 0; s < steps; s++)
        g->x[s] = op == PQ_AGG_MIN || op == PQ_AGG_MAX ? PQ_NAN : -0.0;
    g->flags = arena_zarray(a, uint8_t, steps);
    if (op == PQ_AGG_SUM || op == PQ_AGG_AVG || op == PQ_AGG_STDDEV || op == PQ_AGG_STDVAR)
        g->c = arena_zarray(a, double, steps);
    if (op == PQ_AGG_COUNT || op == PQ_AGG_AVG || op == PQ_AGG_STDDEV || op == PQ_AGG_STDVAR)
        g->count = arena_zarray(a, double, steps);
    g->any = true;
}

/* The same for a row with a sample at every step. */
static void fold_sum_full(double *restrict x, double *restrict c, uint8_t *restrict flags, const double *restrict v,
                          size_t n)
{
    size_t s = 0;
    for (; s + 2 <= n; s += 2) {
        lanes inc, sum, lost;
        memcpy(&inc, v + s, sizeof(inc));
        memcpy(&sum, x + s, sizeof(sum));
        memcpy(&lost, c + s, sizeof(lost));
        lanes t = sum + inc, back = t - sum;
        lost += (sum - (t - back)) + (inc - back);
        lane_masks inf = (t == PQ_INF) | (t == -PQ_INF);
        lost = (lanes)((lane_masks)lost & ~inf);
        memcpy(x + s, &t, sizeof(t));
        memcpy(c + s, &lost, sizeof(lost));
    }
    for (; s < n; s++) {
        double t = x[s] + v[s], back = t - x[s];
        c[s] = isinf(t) ? 0 : c[s] + ((x[s] - (t - back)) + (v[s] - back));
        x[s] = t;
    }
    memset(flags, SEEN_FLOAT, n); /* histograms would have made gaps */
}

/* Neumaier's sum without branches: the rounding error of an addition is exact either way it is computed. */
static void fold_sum(double *restrict x, double *restrict c, uint8_t *restrict flags, const double *restrict v,
                     size_t n)
{
    for (size_t s = 0; s < n; s++) {
        bool has = !pq_is_none(v[s]);
        double inc = has ? v[s] : -0.0, sum = x[s], t = sum + inc, back = t - sum;
        double lost = (sum - (t - back)) + (inc - back);
        c[s] = fabs(t) == PQ_INF ? 0 : c[s] + lost;
        x[s] = t;
        flags[s] |= has;
    }
}

static void fold_extreme(struct group *g, const double *v, size_t from, size_t n, bool max)
{
    for (size_t s = from; s < n; s++) {
        double f = v[s], x = g->x[s];
        if (pq_is_none(f))
            continue;
        g->x[s] = isnan(x) || (max ? x < f : x > f) ? f : x;
        g->flags[s] |= SEEN_FLOAT;
    }
}

static void fold_count(struct group *g, const double *v, size_t from, size_t n)
{
    for (size_t s = from; s < n; s++) {
        bool has = !pq_is_none(v[s]);
        if (g->count)
            g->count[s] += has;
        g->flags[s] |= has;
    }
}

static void avg_one(struct group *g, size_t s, double f)
{
    double count = ++g->count[s];
    if (!(g->flags[s] & SEEN_FLOAT)) {
        g->flags[s] |= SEEN_FLOAT;
        g->x[s] = f;
        return;
    }
    if (!(g->flags[s] & INCREMENTAL)) {
        double sum = g->x[s], c = g->c[s];
        pq_kahan(f, &sum, &c);
        if (!isinf(sum)) {
            g->x[s] = sum;
            g->c[s] = c;
            return;
        }
        g->flags[s] |= INCREMENTAL;
        g->x[s] /= count - 1;
        g->c[s] /= count - 1;
    }
    double q = (count - 1) / count;
    g->x[s] *= q;
    g->c[s] *= q;
    pq_kahan(f / count, &g->x[s], &g->c[s]);
}

static void fold_avg(struct group *g, const double *v, size_t from, size_t n)
{
    for (size_t s = from; s < n; s++)
        if (!pq_is_none(v[s]))
            avg_one(g, s, v[s]);
}

/* Welford: c is the mean, x the sum of squared deviations. */
static void fold_variance(struct group *g, const double *v, size_t from, size_t n)
{
    for (size_t s = from; s < n; s++) {
        double f = v[s];
        if (pq_is_none(f))
            continue;
        double count = ++g->count[s];
        if (!(g->flags[s] & SEEN_FLOAT)) {
            g->flags[s] |= SEEN_FLOAT;
            g->c[s] = f;
            g->x[s] = isfinite(f) ? 0 : PQ_NAN;
            continue;
        }
        double delta = f - g->c[s];
        g->c[s] += delta / count;
        g->x[s] += delta * (f - g->c[s]);
    }
}

static void hist_one(struct pq_worker *w, const struct agg *a, struct group *g, size_t s, const struct histogram *h,
                     struct labels labels)
{
    if (!g->hist)
        g->hist = arena_zarray(&w->a, struct pq_hist_acc *, a->steps);
    if (!g->hist[s]) {
        g->hist[s] = arena_new(&w->a, struct pq_hist_acc);
        pq_hist_acc_init(g->hist[s], &w->a, a->op == PQ_AGG_AVG);
    }
    g->flags[s] |= SEEN_HIST;
    if (g->flags[s] & FAILED)
        return;
    if (!pq_hist_acc_add(g->hist[s], h)) {
        g->flags[s] |= FAILED;
        pq_note(&w->notes, NOTE_MIXED_EXPONENTIAL_CUSTOM, a->node->args[0]->pos, pq_metric_name(labels));
    }
}

/* Histograms of a row: added by sum and avg, counted by count and group, ignored with a note by the others. */
static void fold_histograms(struct pq_worker *w, const struct agg *a, struct group *g, struct pq_row *row,
                            struct labels labels)
{
    bool adds = a->op == PQ_AGG_SUM || a->op == PQ_AGG_AVG, counts = a->op == PQ_AGG_COUNT || a->op == PQ_AGG_GROUP;
    for (size_t s = 0; s < a->steps; s++) {
        const struct histogram *h = row->h[s];
        if (!h || counts)
            continue;
        row->v[s] = pq_none();
        if (adds)
            hist_one(w, a, g, s, h, labels);
        else
            pq_note(&w->notes, NOTE_HISTOGRAM_IGNORED_AGG, a->node->args[0]->pos, str_c(promql_agg_text(a->op)));
    }
}

static void fold_row(struct pq_worker *w, const struct agg *a, struct group *g, struct pq_row *row,
                     struct labels labels)
{
    if (row->h)
        fold_histograms(w, a, g, row, labels);
    size_t lo = row->lo, hi = row->hi;
    switch (a->op) {
    case PQ_AGG_SUM:
        if (!g->hist && !pq_any_nan(row->v + lo, hi - lo))
            fold_sum_full(g->x + lo, g->c + lo, g->flags + lo, row->v + lo, hi - lo);
        else
            fold_sum(g->x + lo, g->c + lo, g->flags + lo, row->v + lo, hi - lo);
        break;
    case PQ_AGG_AVG:
        fold_avg(g, row->v, lo, hi);
        break;
    case PQ_AGG_MIN:
    case PQ_AGG_MAX:
        fold_extreme(g, row->v, lo, hi, a->op == PQ_AGG_MAX);
        break;
    case PQ_AGG_STDDEV:
    case PQ_AGG_STDVAR:
        fold_variance(g, row->v, lo, hi);
        break;
    default:
        fold_count(g, row->v, lo, hi);
        break;
    }
}

static enum err fold_slice(struct pq_worker *w, void *ctx, unsigned slice, size_t lo, size_t hi)
{
    struct agg *a = ctx;
    struct group *groups = arena_zarray(&w->a, struct group, a->n_groups + 1);
    a->slices[slice] = groups;
    vec_reserve(&w->row_v, a->steps);
    for (size_t i = lo; i < hi; i++) { /* in the order of labels: as stores keep them */
        struct pq_row row = { .v = w->row_v.p };
        size_t n;
        TRY(pq_rows_compute(w, a->rows, i, &row, &n));
        if (n == 0)
            continue;
        struct group *g = &groups[a->group_of[i]];
        if (!g->any)
            group_init(&w->a, g, a->op, a->steps);
        g->drop_name = g->drop_name || pq_rows_drops(a->rows, i);
        fold_row(w, a, g, &row, pq_rows_labels(a->rows, i));
    }
    return OK;
}

/* ---- merging slices ---- */
static void merge_avg(struct group *to, const struct group *from, size_t s)
{
    if (!(from->flags[s] & SEEN_FLOAT))
        return;
    if (!(to->flags[s] & SEEN_FLOAT)) {
        to->x[s] = from->x[s];
        to->c[s] = from->c[s];
        to->count[s] += from->count[s];
        to->flags[s] |= from->flags[s];
        return;
    }
    double n = to->count[s], m = from->count[s];
    double sum = to->x[s], c = to->c[s] + from->c[s];
    if (!((to->flags[s] | from->flags[s]) & INCREMENTAL)) {
        pq_kahan(from->x[s], &sum, &c);
        if (!isinf(sum)) {
            to->x[s] = sum;
            to->c[s] = c;
            to->count[s] = n + m;
            return;
        }
    }
    double mean1 = to->flags[s] & INCREMENTAL ? to->x[s] + to->c[s] : to->x[s] / n + to->c[s] / n;
    double mean2 = from->flags[s] & INCREMENTAL ? from->x[s] + from->c[s] : from->x[s] / m + from->c[s] / m;
    to->x[s] = mean1 * (n / (n + m)) + mean2 * (m / (n + m));
    to->c[s] = 0;
    to->count[s] = n + m;
    to->flags[s] |= INCREMENTAL;
}

static void merge_variance(struct group *to, const struct group *from, size_t s)
{
    double n = to->count[s], m = from->count[s];
    if (m == 0)
        return;
    if (n == 0) {
        to->x[s] = from->x[s];
        to->c[s] = from->c[s];
    } else {
        double delta = from->c[s] - to->c[s];
        to->c[s] += delta * (m / (n + m));
        to->x[s] += from->x[s] + delta * delta * (n * m / (n + m));
    }
    to->count[s] = n + m;
}

static void merge_floats(enum promql_agg_op op, struct group *to, const struct group *from, size_t s)
{
    switch (op) {
    case PQ_AGG_SUM:
        pq_kahan(from->x[s], &to->x[s], &to->c[s]);
        to->c[s] = isinf(to->x[s]) ? 0 : to->c[s] + from->c[s];
        break;
    case PQ_AGG_AVG:
        merge_avg(to, from, s);
        break;
    case PQ_AGG_MIN:
    case PQ_AGG_MAX:
        if (isnan(to->x[s]) || (op == PQ_AGG_MAX ? to->x[s] < from->x[s] : to->x[s] > from->x[s]))
            to->x[s] = from->flags[s] & SEEN_FLOAT ? from->x[s] : to->x[s];
        break;
    case PQ_AGG_STDDEV:
    case PQ_AGG_STDVAR:
        merge_variance(to, from, s);
        break;
    case PQ_AGG_COUNT:
        to->count[s] += from->count[s];
        break;
    default:
        break;
    }
}

static void merge_hist(struct pq_worker *w, const struct agg *a, struct group *to, const struct group *from, size_t s)
{
    if (!from->hist || !from->hist[s])
        return;
    if (!to->hist)
        to->hist = arena_zarray(&w->a, struct pq_hist_acc *, a->steps);
    if (!to->hist[s])
        to->hist[s] = from->hist[s];
    else if (!((to->flags[s] | from->flags[s]) & FAILED) && !pq_hist_acc_merge(to->hist[s], from->hist[s])) {
        to->flags[s] |= FAILED;
        pq_note(&w->notes, NOTE_MIXED_EXPONENTIAL_CUSTOM, a->node->args[0]->pos, STR(""));
    }
}

static void merge_group(struct pq_worker *w, const struct agg *a, struct group *to, const struct group *from)
{
    if (!from->any)
        return;
    if (!to->any) {
        *to = *from;
        return;
    }
    to->drop_name = to->drop_name || from->drop_name;
    for (size_t s = 0; s < a->steps; s++) {
        merge_floats(a->op, to, from, s);
        merge_hist(w, a, to, from, s);
        to->flags[s] |= from->flags[s];
    }
}

/* ---- results ---- */
static double float_result(enum promql_agg_op op, const struct group *g, size_t s)
{
    switch (op) {
    case PQ_AGG_SUM:
        return g->x[s] + g->c[s];
    case PQ_AGG_AVG:
        return g->flags[s] & INCREMENTAL ? g->x[s] + g->c[s] : g->x[s] / g->count[s] + g->c[s] / g->count[s];
    case PQ_AGG_COUNT:
        return g->count[s];
    case PQ_AGG_GROUP:
        return 1;
    case PQ_AGG_STDVAR:
        return g->x[s] / g->count[s];
    case PQ_AGG_STDDEV:
        return sqrt(g->x[s] / g->count[s]);
    default:
        return g->x[s];
    }
}

static const struct histogram *hist_result(struct pq_worker *w, const struct agg *a, const struct group *g, size_t s)
{
    struct pq_hist_acc *acc = g->hist[s];
    struct promql_pos pos = a->node->args[0]->pos;
    if (acc->reconciled)
        pq_note(&w->notes, NOTE_BOUNDS_RECONCILED, pos, STR("aggregation"));
    if (g->flags[s] & FAILED)
        return NULL;
    if (acc->reset_seen && acc->no_reset_seen)
        pq_note(&w->notes, NOTE_RESET_COLLISION, pos, STR("aggregation"));
    struct histogram *h = pq_hist_acc_result(acc);
    return h ? pq_hist_compact(&w->a, h) : NULL;
}

static size_t group_result(struct pq_worker *w, const struct agg *a, const struct group *g, struct pq_series *out)
{
    size_t n = 0;
    for (size_t s = 0; s < a->steps; s++) {
        unsigned f = g->flags[s];
        double v = pq_none();
        const struct histogram *h = NULL;
        if ((f & SEEN_FLOAT) && (f & SEEN_HIST))
            pq_note(&w->notes, NOTE_MIXED_IN_AGGREGATION, a->node->args[0]->pos, STR(""));
        else if (f & SEEN_FLOAT)
            v = float_result(a->op, g, s);
        else if (f & SEEN_HIST)
            h = hist_result(w, a, g, s);
        if (h) {
            if (!out->h)
                out->h = arena_zarray(&w->a, const struct histogram *, a->steps);
            out->h[s] = h;
            v = 0;
        }
        g->x[s] = v;
        n += !pq_is_none(v);
    }
    out->v = g->x;
    out->drop_name = g->drop_name;
    return n;
}

static unsigned agg_slices(struct pq_run *r, const struct agg *a)
{
    size_t plane = a->n_groups * a->steps * 25;
    unsigned slices = pq_slices(r, a->rows->n, a->steps * 4);
    slices = MIN(slices, 8);
    while (slices > 1 && plane * slices > r->cfg->bytes_max / 4)
        slices--;
    return slices;
}

/* quantile, topk and their kin look at all series of a group at once. */
static bool needs_all(enum promql_agg_op op)
{
    return op == PQ_AGG_TOPK || op == PQ_AGG_BOTTOMK || op == PQ_AGG_QUANTILE || op == PQ_AGG_LIMITK ||
           op == PQ_AGG_LIMIT_RATIO;
}

static enum err eval_picking(struct pq_run *r, const struct pq_node *n, struct pq_rows *rows, const struct grouping *g,
                             struct pq_vec *ret)
{
    const double *param;
    struct pq_vec in;
    struct pq_tl tl = rows->tl;
    TRY(pq_eval_scalar(r, n->args[1], &tl, &param));
    if (n->e->agg.op == PQ_AGG_TOPK || n->e->agg.op == PQ_AGG_BOTTOMK) {
        struct pq_group_map gm = { 0 };
        size_t k;
        uint32_t *group_of = arena_array(r->a, uint32_t, rows->n + 1);
        group_rows(r, g, rows, !r->delayed && rows->drop_name, group_of, &gm.labels, &gm.n);
        gm.of = group_of;
        if (pq_topk_streams(rows, gm.n, param, &k))
            return pq_eval_topk(r, n, rows, &gm, param, k, ret);
    }
    TRY(pq_rows_materialise(r, rows, &in));
    struct pq_rows all = { .base = BASE_VEC, .tl = tl, .vec = in, .n = in.n };
    struct pq_group_map gm = { 0 };
    uint32_t *group_of = arena_array(r->a, uint32_t, in.n + 1);
    group_rows(r, g, &all, false, group_of, &gm.labels, &gm.n);
    gm.of = group_of;
    return pq_eval_agg_k(r, n, &tl, &in, &gm, param, ret);
}

/* Do all rows differ when their names are gone? Then they can be consumed one by one. */
static bool differ_without_names(const struct pq_rows *rows)
{
    const str names[] = { STR("__name__"), STR("__type__"), STR("__unit__") };
    struct pq_index index = { 0 };
    AUTO_BUF struct buf scratch = { 0 };
    bool is_new = true;
    for (size_t i = 0; i < rows->n && is_new; i++)
        pq_index_put(&index, pq_hash_without(pq_rows_labels(rows, i), names, ARRAY_LEN(names), &scratch), &is_new);
    pq_index_free(&index);
    return is_new;
}

enum err pq_eval_agg(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    if (n->e->agg.op == PQ_AGG_COUNT_VALUES)
        return pq_eval_count_values(r, n, tl, ret);
    struct pq_rows rows;
    struct grouping g = grouping_of(r, n);
    TRY(pq_rows_prepare(r, n->args[0], tl, &rows));
    bool strip = !r->delayed && rows.drop_name;
    if (strip && !rows.single_name && !(rows.series && differ_without_names(&rows))) { /* equal ones must be merged */
        struct pq_vec v;
        TRY(pq_rows_materialise(r, &rows, &v));
        rows = (struct pq_rows){ .id = ++r->next_id, .base = BASE_VEC, .tl = *tl, .vec = v, .n = v.n };
        strip = false;
    }
    if (needs_all(n->e->agg.op))
        return eval_picking(r, n, &rows, &g, ret);
    struct agg a = { .run = r, .node = n, .op = n->e->agg.op, .rows = &rows, .steps = tl->n };
    struct labels *labels;
    uint32_t *group_of = arena_array(r->a, uint32_t, rows.n + 1);
    group_rows(r, &g, &rows, strip, group_of, &labels, &a.n_groups);
    a.group_of = group_of;
    unsigned slices = agg_slices(r, &a);
    TRY(pq_parallel(r, slices, rows.n, fold_slice, &a));
    struct pq_worker *w = pq_main(r);
    *ret = (struct pq_vec){ .p = arena_zarray(r->a, struct pq_series, a.n_groups + 1) };
    for (size_t i = 0; i < a.n_groups; i++) {
        struct group *to = &a.slices[0][i];
        for (unsigned k = 1; k < slices; k++)
            merge_group(w, &a, to, &a.slices[k][i]);
        struct pq_series s = { .labels = labels[i] };
        size_t samples = to->any ? group_result(w, &a, to, &s) : 0;
        if (samples == 0)
            continue;
        ret->p[ret->n++] = s;
        ret->samples += samples;
    }
    pq_drop_samples(r, rows.vec.samples);
    return pq_take_samples(w, ret->samples);
}
