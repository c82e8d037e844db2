/* Classic histograms seen as native ones, at read time. A selector on NAME that finds no series of its own is
 * answered from NAME_bucket, NAME_sum and NAME_count: series that differ in nothing but `le` become one series
 * whose samples are histograms with custom buckets (schema -53).
 *
 * A sample exists at each timestamp of the +Inf bucket (or, where that is missing, of NAME_count). Buckets
 * that have no sample at that very timestamp are left out of it; counts that fall from one bucket to the next (a torn
 * scrape) are lifted to the one before, so that every histogram is valid. A staleness marker stays one.
 *
 * Ids of such series are counted down from UINT64_MAX; all others are the inner source's. */
#include <math.h>
#include <stdlib.h>

#include "api/api_int.h"

struct column { /* one classic series */
    double le;
    uint64_t id;
};
struct classic { /* one histogram put together */
    struct labels labels;
    VEC(struct column) buckets; /* ascending by le; in the view's arena */
    uint64_t sum_id, count_id;
    bool has_sum, has_count;
};
struct view {
    struct promql_source *inner;
    struct promql_view *v;
    struct arena a;
    VEC(struct classic *) made; /* id UINT64_MAX - i */
};
struct reader {
    struct view *view;
    struct promql_reader *r;
    struct arena a; /* of the last read */
};
struct source {
    struct promql_source vtable;
    struct promql_source *inner;
};

#define MAP_NAME     classic_map
#define MAP_KEY      hash128
#define MAP_VALUE    struct classic *
#define MAP_HASH(k)  (k).lo
#define MAP_EQ(x, y) hash128_eq(x, y)
#include "base/map.h"

/* ---- selecting ---- */

/* The one name a selector asks for, or STR_NONE when it cannot be a classic histogram's base name. */
static str base_name(const struct matcher *m, size_t n)
{
    str name = STR_NONE;
    for (size_t i = 0; i < n; i++) {
        if (str_eq(m[i].name, LABEL_BUCKET))
            return STR_NONE;
        if (str_eq(m[i].name, LABEL_NAME)) {
            if (m[i].type != MATCH_EQ || name.p)
                return STR_NONE;
            name = m[i].value;
        }
    }
    bool part = str_has_suffix(name, STR("_bucket")) || str_has_suffix(name, STR("_sum")) ||
                str_has_suffix(name, STR("_count"));
    return part || name.n == 0 ? STR_NONE : name;
}

struct lookup {
    struct view *view;
    const struct matcher *m;
    size_t n_matchers;
    int64_t from_ms, to_ms;
    size_t series_max;
    str name;
    struct arena *a;
    struct classic_map map;
    VEC(struct classic *) found;
};

static enum err select_part(struct lookup *l, const char *suffix, struct promql_series **ret, size_t *ret_n)
{
    struct matcher *m = arena_array(l->a, struct matcher, l->n_matchers);
    memcpy(m, l->m, l->n_matchers * sizeof(*m));
    for (size_t i = 0; i < l->n_matchers; i++)
        if (str_eq(m[i].name, LABEL_NAME))
            m[i].value = arena_printf(l->a, STR_FMT "%s", STR_ARG(l->name), suffix);
    struct view *v = l->view;
    return v->inner->select(v->v, m, l->n_matchers, l->from_ms, l->to_ms, l->series_max, l->a, ret, ret_n);
}

/* The labels of the histogram that a part belongs to. */
static struct labels whole_labels(struct lookup *l, struct labels part)
{
    struct label_builder b;
    lb_init(&b, l->a);
    lb_reset(&b, part);
    lb_del(&b, LABEL_BUCKET);
    lb_set(&b, LABEL_NAME, l->name);
    return lb_labels(&b);
}

static void bucket_add(struct lookup *l, const struct promql_series *s)
{
    double le;
    if (!num_parse_f64(labels_get(s->labels, LABEL_BUCKET), &le) || isnan(le))
        return;
    struct labels whole = whole_labels(l, s->labels);
    struct classic **slot = classic_map_put(&l->map, labels_hash128(whole, 0), NULL);
    if (!*slot) {
        *slot = arena_new(&l->view->a, struct classic);
        (*slot)->labels = labels_copy(&l->view->a, whole);
        avec_push(l->a, &l->found, *slot);
    }
    struct column c = { le, s->id };
    avec_push(&l->view->a, &(*slot)->buckets, c);
}

static enum err buckets_find(struct lookup *l)
{
    struct promql_series *s;
    size_t n;
    TRY(select_part(l, "_bucket", &s, &n));
    for (size_t i = 0; i < n; i++)
        bucket_add(l, &s[i]);
    return OK;
}

static enum err totals_find(struct lookup *l, const char *suffix, bool is_sum)
{
    struct promql_series *s;
    size_t n;
    TRY(select_part(l, suffix, &s, &n));
    for (size_t i = 0; i < n; i++) {
        struct classic **slot = classic_map_get(&l->map, labels_hash128(whole_labels(l, s[i].labels), 0));
        if (!slot)
            continue;
        struct classic *c = *slot;
        if (is_sum) {
            c->sum_id = s[i].id;
            c->has_sum = true;
        } else {
            c->count_id = s[i].id;
            c->has_count = true;
        }
    }
    return OK;
}

static int column_order(const void *a, const void *b)
{
    double x = ((const struct column *)a)->le, y = ((const struct column *)b)->le;
    return (x > y) - (x < y);
}
static int series_order(const void *a, const void *b)
{
    return labels_cmp(((const struct promql_series *)a)->labels, ((const struct promql_series *)b)->labels);
}

static void lookup_result(struct lookup *l, struct promql_series **ret, size_t *ret_n)
{
    struct promql_series *out = arena_array(l->a, struct promql_series, l->found.n);
    struct view *v = l->view;
    for (size_t i = 0; i < l->found.n; i++) {
        struct classic *c = l->found.p[i];
        qsort(c->buckets.p, c->buckets.n, sizeof(*c->buckets.p), column_order);
        out[i] = (struct promql_series){ c->labels, UINT64_MAX - v->made.n };
        avec_push(&v->a, &v->made, c);
    }
    if (l->found.n)
        qsort(out, l->found.n, sizeof(*out), series_order);
    *ret = out;
    *ret_n = l->found.n;
}

static enum err classic_select(struct promql_view *pv, const struct matcher *m, size_t n_matchers, int64_t from_ms,
                               int64_t to_ms, size_t series_max, struct arena *a, struct promql_series **ret,
                               size_t *ret_n)
{
    struct view *v = (void *)pv;
    TRY(v->inner->select(v->v, m, n_matchers, from_ms, to_ms, series_max, a, ret, ret_n));
    str name = *ret_n ? STR_NONE : base_name(m, n_matchers);
    if (!name.p)
        return OK;
    struct lookup l = { .view = v,
                        .m = m,
                        .n_matchers = n_matchers,
                        .from_ms = from_ms,
                        .to_ms = to_ms,
                        .series_max = series_max,
                        .name = name,
                        .a = a };
    enum err e = buckets_find(&l);
    if (e == OK && l.found.n)
        e = totals_find(&l, "_sum", true);
    if (e == OK && l.found.n)
        e = totals_find(&l, "_count", false);
    if (e == OK)
        lookup_result(&l, ret, ret_n);
    classic_map_free(&l.map);
    return e;
}

/* ---- reading ---- */

struct part { /* the samples of one classic series, copied */
    double le;
    const int64_t *ts;
    const double *v;
    size_t n, at; /* `at` moves along with the timestamps */
};

static enum err part_read(struct reader *r, uint64_t id, int64_t from_ms, int64_t to_ms, struct part *ret)
{
    struct promql_points p;
    TRY(r->view->inner->read(r->r, id, from_ms, to_ms, &p));
    int64_t *ts = arena_array(&r->a, int64_t, p.n);
    double *v = arena_array(&r->a, double, p.n);
    size_t n = 0;
    for (size_t i = 0; i < p.n; i++) {
        if (p.h && p.h[i])
            continue;
        ts[n] = p.ts[i];
        v[n++] = p.v[i];
    }
    ret->ts = ts;
    ret->v = v;
    ret->n = n;
    ret->at = 0;
    return OK;
}

static bool part_at(struct part *p, int64_t ts, double *ret)
{
    while (p->at < p->n && p->ts[p->at] < ts)
        p->at++;
    if (p->at == p->n || p->ts[p->at] != ts)
        return false;
    *ret = p->v[p->at];
    return true;
}

struct build { /* of one series' samples */
    struct arena *a;
    struct part *parts; /* finite buckets, ascending */
    size_t n_parts;
    struct part sum, reference;
    const double *custom; /* bounds of the sample before: shared while they stay the same */
    size_t n_custom;
    double *bounds, *counts; /* scratch */
};

static const double *bounds_shared(struct build *b, size_t n)
{
    if (!b->custom || n != b->n_custom || memcmp(b->custom, b->bounds, n * sizeof(double)) != 0) {
        double *copy = arena_array(b->a, double, n);
        memcpy(copy, b->bounds, n * sizeof(double));
        b->custom = copy;
        b->n_custom = n;
    }
    return b->custom;
}

static const struct histogram *histogram_at(struct build *b, int64_t ts, double total)
{
    size_t n = 0;
    double before = 0, value, sum = 0;
    for (size_t i = 0; i < b->n_parts; i++) {
        if (!part_at(&b->parts[i], ts, &value) || isnan(value))
            continue;
        value = fmax(value, before);
        b->bounds[n] = b->parts[i].le;
        b->counts[n++] = value - before;
        before = value;
    }
    total = fmax(total, before);
    if (!part_at(&b->sum, ts, &sum))
        sum = 0;
    double *counts = arena_array(b->a, double, n + 1);
    memcpy(counts, b->counts, n * sizeof(double));
    counts[n] = total - before;
    struct hist_span *span = arena_new(b->a, struct hist_span);
    span->length = (uint32_t)n + 1;
    struct histogram *h = arena_new(b->a, struct histogram);
    h->schema = HIST_SCHEMA_CUSTOM;
    h->count = total;
    h->sum = sum;
    h->pos = (struct hist_side){ span, 1, counts, n + 1 };
    h->custom = bounds_shared(b, n);
    h->n_custom = n;
    return h;
}

static enum err build_open(struct reader *r, const struct classic *c, int64_t from_ms, int64_t to_ms, struct build *b)
{
    memset(b, 0, sizeof(*b));
    b->a = &r->a;
    b->parts = arena_zarray(&r->a, struct part, c->buckets.n);
    b->bounds = arena_array(&r->a, double, c->buckets.n);
    b->counts = arena_array(&r->a, double, c->buckets.n);
    bool has_inf = false;
    for (size_t i = 0; i < c->buckets.n; i++) {
        const struct column *col = &c->buckets.p[i];
        bool inf = isinf(col->le) && col->le > 0;
        struct part *p = inf ? &b->reference : &b->parts[b->n_parts];
        p->le = col->le;
        TRY(part_read(r, col->id, from_ms, to_ms, p));
        has_inf |= inf;
        b->n_parts += !inf;
    }
    if (!has_inf && c->has_count)
        TRY(part_read(r, c->count_id, from_ms, to_ms, &b->reference));
    if (c->has_sum)
        TRY(part_read(r, c->sum_id, from_ms, to_ms, &b->sum));
    return OK;
}

static enum err classic_read(struct promql_reader *pr, uint64_t id, int64_t from_ms, int64_t to_ms,
                             struct promql_points *ret)
{
    struct reader *r = (void *)pr;
    if (UINT64_MAX - id >= r->view->made.n)
        return r->view->inner->read(r->r, id, from_ms, to_ms, ret);
    struct build b;
    arena_reset(&r->a);
    TRY(build_open(r, r->view->made.p[UINT64_MAX - id], from_ms, to_ms, &b));
    size_t n = b.reference.n;
    double *v = arena_array(&r->a, double, n);
    const struct histogram **h = arena_array(&r->a, const struct histogram *, n);
    for (size_t i = 0; i < n; i++) {
        double total = b.reference.v[i];
        v[i] = total;
        h[i] = isnan(total) ? NULL : histogram_at(&b, b.reference.ts[i], total); /* stale markers stay */
    }
    *ret = (struct promql_points){ .ts = b.reference.ts, .v = v, .h = h, .n = n };
    return OK;
}

/* ---- the rest passes through ---- */

static enum err classic_open(struct promql_source *src, int64_t from_ms, int64_t to_ms, struct promql_view **ret)
{
    struct source *s = (void *)src;
    struct promql_view *inner;
    TRY(s->inner->open(s->inner, from_ms, to_ms, &inner));
    struct view *v = mem_zalloc(sizeof(*v));
    v->inner = s->inner;
    v->v = inner;
    arena_init(&v->a, 0);
    *ret = (void *)v;
    return OK;
}

static void classic_close(struct promql_view *pv)
{
    struct view *v = (void *)pv;
    if (!v)
        return;
    v->inner->close(v->v);
    arena_deinit(&v->a);
    mem_free(v);
}

static struct promql_reader *classic_reader_new(struct promql_view *pv)
{
    struct view *v = (void *)pv;
    struct reader *r = mem_zalloc(sizeof(*r));
    r->view = v;
    r->r = v->inner->reader_new(v->v);
    arena_init(&r->a, 0);
    return (void *)r;
}

static void classic_reader_free(struct promql_reader *pr)
{
    struct reader *r = (void *)pr;
    if (!r)
        return;
    r->view->inner->reader_free(r->r);
    arena_deinit(&r->a);
    mem_free(r);
}

static void classic_ahead(struct promql_reader *pr, uint64_t id, unsigned reads)
{
    struct reader *r = (void *)pr;
    if (r->view->inner->ahead && UINT64_MAX - id >= r->view->made.n)
        r->view->inner->ahead(r->r, id, reads);
}

static bool classic_incomplete(struct promql_view *pv, struct err_text *ret_why)
{
    struct view *v = (void *)pv;
    return v->inner->incomplete && v->inner->incomplete(v->v, ret_why);
}

struct promql_source *api_classic_histograms_new(struct promql_source *inner)
{
    struct source *s = mem_zalloc(sizeof(*s));
    s->vtable = (struct promql_source){ .open = classic_open,
                                        .close = classic_close,
                                        .select = classic_select,
                                        .reader_new = classic_reader_new,
                                        .reader_free = classic_reader_free,
                                        .read = classic_read,
                                        .ahead = classic_ahead,
                                        .incomplete = classic_incomplete };
    s->inner = inner;
    return &s->vtable;
}

void api_classic_histograms_free(struct promql_source *s)
{
    mem_free(s);
}
