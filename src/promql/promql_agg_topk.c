/* topk and bottomk row by row: each group and step has a heap of the k best so far, so that memory is groups x steps x k
 * and no more series are held than are picked. Which of several equal series stays follows Prometheus' heap (Go's
 * container/heap), so that ties break the same way. In parallel runs every slice of rows has heaps of its own; those of
 * later slices are offered to the first one's in the order of the rows. */
#include <stdlib.h>

#include "promql/promql_int.h"

/* ---- heap of samples: [0] is the one to be replaced first ---- */
static bool pick_less(const struct pq_heap *h, const struct pq_pick *a, const struct pq_pick *b)
{
    if (isnan(a->v))
        return true;
    return h->largest_first ? a->v > b->v : a->v < b->v;
}

static void pick_swap(struct pq_heap *h, size_t i, size_t j)
{
    struct pq_pick t = h->p[i];
    h->p[i] = h->p[j];
    h->p[j] = t;
}

void pq_heap_push(struct pq_heap *h, struct pq_pick x)
{
    size_t j = h->n++;
    h->p[j] = x;
    while (j > 0) {
        size_t i = (j - 1) / 2;
        if (!pick_less(h, &h->p[j], &h->p[i]))
            break;
        pick_swap(h, i, j);
        j = i;
    }
}

void pq_heap_fix_top(struct pq_heap *h)
{
    size_t i = 0;
    for (;;) {
        size_t j = 2 * i + 1;
        if (j >= h->n)
            return;
        if (j + 1 < h->n && pick_less(h, &h->p[j + 1], &h->p[j]))
            j++;
        if (!pick_less(h, &h->p[j], &h->p[i]))
            return;
        pick_swap(h, i, j);
        i = j;
    }
}

/* Best first; stable, as insertion sort is. */
void pq_heap_sort(struct pq_heap *h, struct pq_pick *tmp)
{
    for (size_t width = 1; width < h->n; width *= 2) {
        for (size_t lo = 0; lo < h->n; lo += 2 * width) {
            size_t mid = MIN(lo + width, h->n), hi = MIN(lo + 2 * width, h->n), i = lo, j = mid;
            for (size_t k = lo; k < hi; k++) /* take the right one only if it comes strictly before */
                tmp[k] = i < mid && (j >= hi || !pick_less(h, &h->p[i], &h->p[j])) ? h->p[i++] : h->p[j++];
        }
        memcpy(h->p, tmp, h->n * sizeof(*tmp));
    }
}

void pq_heap_offer(struct pq_heap *h, size_t k, struct pq_pick x)
{
    if (h->n < k) {
        pq_heap_push(h, x);
        return;
    }
    double top = h->p[0].v;
    if ((h->largest_first ? top > x.v : top < x.v) || (isnan(top) && !isnan(x.v))) {
        h->p[0] = x;
        pq_heap_fix_top(h);
    }
}

/* ---- streaming ---- */
struct topk {
    struct pq_run *run;
    const struct pq_node *node;
    const struct pq_rows *rows;
    const uint32_t *group_of;
    size_t n_groups, steps, k_max;
    const uint32_t *k; /* by step */
    bool bottom;
    struct slice {
        uint32_t *n; /* by group and step: how many are in the heap */
        struct pq_pick *picks;
    } slices[PQ_WORKERS_MAX];
};

static struct pq_heap heap_at(const struct topk *t, const struct slice *sl, size_t group, size_t step)
{
    size_t at = group * t->steps + step;
    return (struct pq_heap){ sl->picks + at * t->k_max, sl->n[at], t->bottom };
}

static void offer_row(struct pq_worker *w, const struct topk *t, const struct slice *sl, size_t i,
                      const struct pq_row *row)
{
    size_t group = t->group_of[i];
    for (size_t s = row->lo; s < row->hi; s++) {
        if (pq_is_none(row->v[s]) || t->k[s] == 0)
            continue;
        if (row->h && row->h[s]) {
            pq_note(&w->notes, NOTE_HISTOGRAM_IGNORED_AGG, t->node->pos, str_c(promql_agg_text(t->node->e->agg.op)));
            continue;
        }
        struct pq_heap h = heap_at(t, sl, group, s);
        if (h.n == t->k[s] && (t->bottom ? h.p[0].v <= row->v[s] : h.p[0].v >= row->v[s]))
            continue;
        pq_heap_offer(&h, t->k[s], (struct pq_pick){ row->v[s], i });
        sl->n[group * t->steps + s] = (uint32_t)h.n;
    }
}

static enum err topk_slice(struct pq_worker *w, void *ctx, unsigned slice, size_t lo, size_t hi)
{
    struct topk *t = ctx;
    struct slice *sl = &t->slices[slice];
    sl->n = arena_zarray(&w->a, uint32_t, t->n_groups * t->steps + 1);
    sl->picks = arena_array(&w->a, struct pq_pick, t->n_groups * t->steps * t->k_max + 1);
    vec_reserve(&w->row_v, t->steps);
    for (size_t i = lo; i < hi; i++) {
        struct pq_row row = { .v = w->row_v.p };
        size_t n;
        TRY(pq_rows_compute(w, t->rows, i, &row, &n));
        if (n > 0)
            offer_row(w, t, sl, i, &row);
    }
    return OK;
}

static int by_series(const void *a, const void *b)
{
    size_t x = ((const struct pq_pick *)a)->series, y = ((const struct pq_pick *)b)->series;
    return (x > y) - (x < y);
}

static void merge_slice(const struct topk *t, const struct slice *into, const struct slice *from)
{
    for (size_t g = 0; g < t->n_groups; g++)
        for (size_t s = 0; s < t->steps; s++) {
            struct pq_heap h = heap_at(t, into, g, s), x = heap_at(t, from, g, s);
            qsort(x.p, x.n, sizeof(*x.p), by_series);
            for (size_t i = 0; i < x.n; i++)
                pq_heap_offer(&h, t->k[s], x.p[i]);
            into->n[g * t->steps + s] = (uint32_t)h.n;
        }
}

static enum err collect(const struct topk *t, struct pq_vec *ret)
{
    struct arena *a = t->run->a;
    VEC(struct pq_series) out = { 0 };
    uint32_t *out_of = arena_zarray(a, uint32_t, t->rows->n + 1); /* place in out, from 1 */
    struct pq_pick *tmp = arena_array(a, struct pq_pick, t->k_max + 1);
    *ret = (struct pq_vec){ .ordered = t->steps == 1 };
    for (size_t g = 0; g < t->n_groups; g++)
        for (size_t s = 0; s < t->steps; s++) {
            struct pq_heap h = heap_at(t, &t->slices[0], g, s);
            pq_heap_sort(&h, tmp);
            for (size_t i = 0; i < h.n; i++) {
                size_t row = h.p[i].series;
                if (!out_of[row]) {
                    struct pq_series x = { .labels = pq_rows_labels(t->rows, row),
                                           .drop_name = pq_rows_drops(t->rows, row),
                                           .v = pq_row_new(a, t->steps) };
                    avec_push(a, &out, x);
                    out_of[row] = (uint32_t)out.n;
                    TRY(pq_poll(pq_main(t->run)));
                }
                out.p[out_of[row] - 1].v[s] = h.p[i].v;
                ret->samples++;
            }
        }
    ret->p = out.p;
    ret->n = out.n;
    return OK;
}

#define TOPK_BYTES_MAX ((size_t)64 << 20) /* heaps of one slice */

bool pq_topk_streams(const struct pq_rows *rows, size_t n_groups, const double *param, size_t *ret_k)
{
    double k = 0;
    for (size_t s = 0; s < rows->tl.n; s++)
        k = param[s] > k ? param[s] : k;
    if (k > (double)rows->n)
        k = (double)rows->n;
    *ret_k = (size_t)k;
    return k * (double)n_groups * (double)rows->tl.n * sizeof(struct pq_pick) <= (double)TOPK_BYTES_MAX;
}

enum err pq_eval_topk(struct pq_run *r, const struct pq_node *n, const struct pq_rows *rows,
                      const struct pq_group_map *groups, const double *param, size_t k_max, struct pq_vec *ret)
{
    bool empty;
    *ret = (struct pq_vec){ 0 };
    size_t steps = rows->tl.n;
    TRY(pq_check_agg_param(r, n, param, steps, &empty));
    if (empty || rows->n == 0)
        return OK;
    uint32_t *k = arena_array(r->a, uint32_t, steps);
    for (size_t s = 0; s < steps; s++)
        k[s] = param[s] < 1 ? 0 : param[s] > (double)k_max ? (uint32_t)k_max : (uint32_t)param[s];
    struct topk t = { .run = r,
                      .node = n,
                      .rows = rows,
                      .group_of = groups->of,
                      .n_groups = groups->n,
                      .steps = steps,
                      .k_max = k_max,
                      .k = k,
                      .bottom = n->e->agg.op == PQ_AGG_BOTTOMK };
    unsigned slices = pq_slices(r, rows->n, steps * 4);
    slices = MIN(slices, 4);
    TRY(pq_parallel(r, slices, rows->n, topk_slice, &t));
    for (unsigned i = 1; i < slices; i++)
        merge_slice(&t, &t.slices[0], &t.slices[i]);
    TRY(collect(&t, ret));
    pq_drop_samples(r, rows->vec.samples);
    TRY(pq_take_samples(pq_main(r), ret->samples));
    return r->delayed ? OK : pq_vec_drop_names(r, &rows->tl, ret);
}
