/* Gathering samples of any order into sorted series of days (manual: transfer.h). */
#include <stdlib.h>

#include "base/check.h"
#include "transfer/transfer_int.h"

struct gathered {
    struct labels labels; /* in the arena of labels */
    enum metric_type type;
    struct xor_samples s;
    bool unsorted;
    VEC(struct exemplar) ex; /* labels in the arena of data */
};

#define MAP_NAME     labelmap
#define MAP_KEY      struct labels
#define MAP_VALUE    uint32_t
#define MAP_HASH(k)  labels_hash(k)
#define MAP_EQ(a, b) labels_eq(a, b)
#include "base/map.h"

struct gather {
    struct arena labels_a, data_a;
    struct labelmap by_labels;
    VEC(struct gathered) v;
    uint64_t bytes;
};

struct gather *gather_new(void)
{
    struct gather *g = mem_zalloc(sizeof(*g));
    arena_init(&g->labels_a, 0);
    arena_init(&g->data_a, 0);
    return g;
}

static void drop_series(struct gather *g)
{
    vec_each (struct gathered, x, &g->v) {
        xor_samples_deinit(&x->s);
        vec_free(&x->ex);
    }
    vec_clear(&g->v);
    labelmap_free(&g->by_labels);
    g->by_labels = (struct labelmap){ 0 };
    arena_reset(&g->labels_a);
}

void gather_free(struct gather *g)
{
    if (!g)
        return;
    drop_series(g);
    vec_free(&g->v);
    arena_deinit(&g->labels_a);
    arena_deinit(&g->data_a);
    mem_free(g);
}

uint64_t gather_bytes(const struct gather *g)
{
    return g->bytes + g->data_a.bytes;
}

uint32_t gather_series(struct gather *g, struct labels ls, enum metric_type type)
{
    uint32_t *have = labelmap_get(&g->by_labels, ls);
    if (have) {
        if (type && !g->v.p[*have].type)
            g->v.p[*have].type = type;
        return *have;
    }
    struct labels copy = labels_copy(&g->labels_a, ls);
    uint32_t id = (uint32_t)g->v.n;
    *labelmap_put(&g->by_labels, copy, NULL) = id;
    vec_push(&g->v, ((struct gathered){ .labels = copy, .type = type }));
    g->bytes += sizeof(struct gathered) + 64 * ls.n;
    return id;
}

struct labels gather_labels(const struct gather *g, uint32_t series)
{
    return g->v.p[series].labels;
}

void gather_point(struct gather *g, uint32_t series, int64_t ts_ms, double v, const struct histogram *h,
                  int64_t start_ms)
{
    struct gathered *x = &g->v.p[series];
    size_t cap = x->s.cap;
    x->unsorted |= x->s.n && ts_ms <= x->s.ts[x->s.n - 1];
    xor_samples_push(&x->s, ts_ms, v, h ? histogram_copy(&g->data_a, h) : NULL, start_ms);
    g->bytes += (x->s.cap - cap) * 32;
}

void gather_exemplar(struct gather *g, uint32_t series, const struct exemplar *e)
{
    struct exemplar copy = *e;
    copy.labels = labels_copy(&g->data_a, e->labels);
    vec_push(&g->v.p[series].ex, copy);
}

void gather_batch(struct gather *g, const struct batch *b)
{
    vec_each (struct batch_series, s, &b->series) {
        uint32_t id = gather_series(g, s->labels, s->meta.type);
        for (size_t i = 0; i < s->n_samples; i++)
            gather_point(g, id, s->samples[i].ts_ms, s->samples[i].v, NULL, s->start_ms ? s->start_ms[i] : 0);
        for (size_t i = 0; i < s->n_hists; i++)
            gather_point(g, id, s->hists[i].ts_ms, 0, s->hists[i].h, s->start_ms ? s->start_ms[s->n_samples + i] : 0);
        for (size_t i = 0; i < s->n_exemplars; i++)
            gather_exemplar(g, id, &s->exemplars[i]);
    }
}

/* ---- handing over ---- */
struct ranked {
    int64_t ts;
    size_t at;
};

static int by_time(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    return x->ts != y->ts ? (x->ts > y->ts) - (x->ts < y->ts) : (x->at > y->at) - (x->at < y->at);
}

/* Ascending, each time once; of equal times the one that came last. */
void transfer_samples_sort(struct xor_samples *s)
{
    struct ranked *r = mem_alloc((s->n + 1) * sizeof(*r));
    struct xor_samples out = { 0 };
    for (size_t i = 0; i < s->n; i++)
        r[i] = (struct ranked){ s->ts[i], i };
    if (s->n > 1)
        qsort(r, s->n, sizeof(*r), by_time);
    for (size_t i = 0; i < s->n; i++) {
        size_t at = r[i].at;
        if (i + 1 < s->n && r[i + 1].ts == r[i].ts)
            continue;
        xor_samples_push(&out, s->ts[at], s->v[at], s->h[at], s->start[at]);
    }
    mem_free(r);
    xor_samples_deinit(s);
    *s = out;
}

static int by_exemplar_time(const void *a, const void *b)
{
    int64_t x = ((const struct exemplar *)a)->ts_ms, y = ((const struct exemplar *)b)->ts_ms;
    return (x > y) - (x < y);
}

struct order {
    struct gathered *g;
    size_t at, ex_at;
};

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(((const struct order *)a)->g->labels, ((const struct order *)b)->g->labels);
}

static enum err hand_day(struct order *o, int64_t day, const struct transfer_sink *to, struct err_text *reterr)
{
    struct gathered *x = o->g;
    size_t n = 0, n_ex = 0;
    while (o->at + n < x->s.n && transfer_day(x->s.ts[o->at + n]) == day)
        n++;
    if (!n)
        return OK;
    while (o->ex_at + n_ex < x->ex.n && transfer_day(x->ex.p[o->ex_at + n_ex].ts_ms) <= day)
        n_ex++;
    struct tsdb_bulk_series s = { .labels = x->labels,
                                  .type = x->type,
                                  .points = { .ts = x->s.ts + o->at,
                                              .v = x->s.v + o->at,
                                              .h = x->s.any_hist ? x->s.h + o->at : NULL,
                                              .start_ms = x->s.any_start ? x->s.start + o->at : NULL,
                                              .n = n },
                                  .exemplars = x->ex.p + o->ex_at,
                                  .n_exemplars = n_ex };
    o->at += n;
    o->ex_at += n_ex;
    return to->series(to->ctx, &s, reterr);
}

enum err gather_drain(struct gather *g, bool keep_series, const struct transfer_sink *to, struct err_text *reterr)
{
    struct order *o = mem_zalloc((g->v.n + 1) * sizeof(*o));
    size_t n = 0;
    enum err e = OK;
    vec_each (struct gathered, x, &g->v) {
        if (!x->s.n)
            continue;
        if (x->unsorted)
            transfer_samples_sort(&x->s);
        if (x->ex.n > 1)
            qsort(x->ex.p, x->ex.n, sizeof(*x->ex.p), by_exemplar_time);
        o[n++] = (struct order){ x, 0, 0 };
    }
    if (n > 1)
        qsort(o, n, sizeof(*o), by_labels);
    while (!e) {
        int64_t day = INT64_MAX;
        for (size_t i = 0; i < n; i++)
            if (o[i].at < o[i].g->s.n)
                day = MIN(day, transfer_day(o[i].g->s.ts[o[i].at]));
        if (day == INT64_MAX)
            break;
        for (size_t i = 0; i < n && !e; i++)
            e = hand_day(&o[i], day, to, reterr);
    }
    mem_free(o);
    if (keep_series) {
        vec_each (struct gathered, x, &g->v) {
            xor_samples_deinit(&x->s);
            vec_free(&x->ex);
            x->unsorted = false;
        }
    } else {
        drop_series(g);
    }
    arena_deinit(&g->data_a); /* a reset would keep its largest block */
    arena_init(&g->data_a, 0);
    g->bytes = 0;
    return e;
}

/* ---- the store as a sink ---- */
static enum err bulk_series(void *ctx, const struct tsdb_bulk_series *s, struct err_text *reterr)
{
    return tsdb_bulk_add(ctx, s, reterr);
}

static void bulk_family(void *ctx, str name, const struct metric_meta *m)
{
    tsdb_bulk_family(ctx, name, m);
}

struct transfer_sink transfer_sink_bulk(struct tsdb_bulk *b)
{
    return (struct transfer_sink){ b, bulk_series, bulk_family };
}
