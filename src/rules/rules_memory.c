#include "rules/rules_memory.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "model/histogram_math.h"

struct kept {
    struct labels labels;
    VEC(int64_t) ts;
    VEC(double) v;
    VEC(const struct histogram *) h; /* empty: floats only so far */
    VEC(int64_t) start;              /* empty: none known so far */
    struct kept *same_hash, *same_name;
    uint64_t id; /* place in rules_memory.series */
};
#define MAP_NAME     by_labels
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct kept *
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"
#define MAP_NAME     by_name
#define MAP_KEY      str
#define MAP_VALUE    struct kept *
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

struct rules_memory {
    struct promql_source src; /* first */
    struct arena a;
    struct by_labels map;
    struct by_name names; /* of metrics */
    VEC(struct kept *) series;
};
struct promql_view {
    struct rules_memory *m;
};
struct promql_reader {
    struct rules_memory *m;
};

static int cmp_series(const void *a, const void *b)
{
    return labels_cmp(((const struct promql_series *)a)->labels, ((const struct promql_series *)b)->labels);
}

static enum err memory_open(struct promql_source *src, int64_t from_ms, int64_t to_ms, struct promql_view **ret)
{
    struct rules_memory *m = (struct rules_memory *)(void *)src;
    (void)from_ms, (void)to_ms;
    *ret = mem_zalloc(sizeof(**ret));
    (*ret)->m = m;
    return OK;
}

static void memory_close(struct promql_view *v)
{
    mem_free(v);
}

/* The series of one metric, if the matchers name it. */
static bool one_name(const struct rules_memory *m, const struct matcher *ms, size_t n, const struct kept **ret)
{
    for (size_t i = 0; i < n; i++)
        if (ms[i].type == MATCH_EQ && str_eq(ms[i].name, LABEL_NAME) && ms[i].value.n) {
            struct kept **k = by_name_get(&m->names, ms[i].value);
            *ret = k ? *k : NULL;
            return true;
        }
    return false;
}

static enum err memory_select(struct promql_view *v, const struct matcher *ms, size_t n_matchers, int64_t from_ms,
                              int64_t to_ms, size_t series_max, struct arena *a, struct promql_series **ret,
                              size_t *ret_n)
{
    VEC(struct promql_series) out = { 0 };
    const struct kept *k = NULL;
    bool named = one_name(v->m, ms, n_matchers, &k);
    for (size_t i = 0; named ? k != NULL : i < v->m->series.n; i++, k = named ? k->same_name : NULL) {
        if (!named)
            k = v->m->series.p[i];
        if (k->ts.p[0] > to_ms || k->ts.p[k->ts.n - 1] < from_ms || !matchers_match(ms, n_matchers, k->labels))
            continue;
        if (out.n == series_max)
            return ERR_LIMIT;
        avec_push(a, &out, ((struct promql_series){ k->labels, k->id }));
    }
    if (out.n)
        qsort(out.p, out.n, sizeof(*out.p), cmp_series);
    *ret = out.p;
    *ret_n = out.n;
    return OK;
}

static struct promql_reader *memory_reader_new(struct promql_view *v)
{
    struct promql_reader *r = mem_zalloc(sizeof(*r));
    r->m = v->m;
    return r;
}

static void memory_reader_free(struct promql_reader *r)
{
    mem_free(r);
}

static size_t first_from(const int64_t *t, size_t n, int64_t at)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (t[mid] < at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static enum err memory_read(struct promql_reader *r, uint64_t id, int64_t from_ms, int64_t to_ms,
                            struct promql_points *ret)
{
    const struct kept *k = r->m->series.p[id];
    size_t lo = first_from(k->ts.p, k->ts.n, from_ms), hi = first_from(k->ts.p, k->ts.n, to_ms + 1);
    *ret = (struct promql_points){ .ts = k->ts.p + lo,
                                   .v = k->v.p + lo,
                                   .h = k->h.n ? k->h.p + lo : NULL,
                                   .start_ms = k->start.n ? k->start.p + lo : NULL,
                                   .n = hi - lo };
    return OK;
}

struct rules_memory *rules_memory_new(void)
{
    struct rules_memory *m = mem_zalloc(sizeof(*m));
    arena_init(&m->a, 0);
    m->src = (struct promql_source){ .open = memory_open,
                                     .close = memory_close,
                                     .select = memory_select,
                                     .reader_new = memory_reader_new,
                                     .reader_free = memory_reader_free,
                                     .read = memory_read };
    return m;
}

void rules_memory_free(struct rules_memory *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->series.n; i++) {
        struct kept *k = m->series.p[i];
        vec_free(&k->ts);
        vec_free(&k->v);
        vec_free(&k->h);
        vec_free(&k->start);
    }
    vec_free(&m->series);
    by_labels_free(&m->map);
    by_name_free(&m->names);
    arena_deinit(&m->a);
    mem_free(m);
}

struct promql_source *rules_memory_source(struct rules_memory *m)
{
    return &m->src;
}

static struct kept *find(struct rules_memory *m, struct labels ls)
{
    struct kept **head = by_labels_put(&m->map, labels_hash(ls), NULL);
    for (struct kept *k = *head; k; k = k->same_hash)
        if (labels_eq(k->labels, ls))
            return k;
    struct kept *k = arena_new(&m->a, struct kept);
    k->labels = labels_copy(&m->a, ls);
    k->same_hash = *head;
    *head = k;
    k->id = m->series.n;
    vec_push(&m->series, k);
    struct kept **same = by_name_put(&m->names, labels_name(k->labels), NULL);
    k->same_name = *same;
    *same = k;
    return k;
}

/* Reset hints as a store hands them out: what goes on without a reset says so. */
static const struct histogram *stored(struct rules_memory *m, const struct histogram *before, const struct histogram *h)
{
    struct histogram *r = histogram_copy(&m->a, h);
    if (h->reset != HIST_RESET_GAUGE)
        r->reset = histogram_hint_after(before, h);
    return r;
}

void rules_memory_add(struct rules_memory *m, struct labels ls, int64_t ts_ms, double v, const struct histogram *h,
                      int64_t start_ms)
{
    struct kept *k = find(m, ls);
    size_t n = k->ts.n;
    if (n && k->ts.p[n - 1] >= ts_ms) {
        if (k->ts.p[n - 1] > ts_ms)
            return; /* out of order */
        n = --k->ts.n;
        k->v.n = MIN(k->v.n, n);
        k->h.n = MIN(k->h.n, n);
        k->start.n = MIN(k->start.n, n);
    }
    vec_push(&k->ts, ts_ms);
    vec_push(&k->v, v);
    if (h || k->h.n) {
        while (k->h.n < n)
            vec_push(&k->h, NULL);
        const struct histogram *copy = h ? stored(m, n ? k->h.p[n - 1] : NULL, h) : NULL;
        vec_push(&k->h, copy);
    }
    if (start_ms || k->start.n) {
        while (k->start.n < n)
            vec_push(&k->start, 0);
        vec_push(&k->start, start_ms);
    }
}

enum err rules_memory_append(void *memory, const struct batch *b, struct err_text *reterr)
{
    (void)reterr;
    vec_each (const struct batch_series, s, &b->series) {
        for (size_t i = 0; i < s->n_samples; i++)
            rules_memory_add(memory, s->labels, s->samples[i].ts_ms, s->samples[i].v, NULL, 0);
        for (size_t i = 0; i < s->n_hists; i++)
            rules_memory_add(memory, s->labels, s->hists[i].ts_ms, 0, s->hists[i].h, 0);
    }
    return OK;
}
