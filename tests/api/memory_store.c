#include "memory_store.h"

#include <stdlib.h>

#include "base/check.h"
#include "wire/expo.h"

/* ---- writing ---- */

static struct memory_series *series_of(struct memory_store *m, struct labels ls)
{
    size_t lo = 0, hi = m->series.n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = labels_cmp(m->series.p[mid]->labels, ls);
        if (c == 0)
            return m->series.p[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    struct memory_series *s = arena_new(&m->a, struct memory_series);
    s->labels = labels_copy(&m->a, ls);
    vec_push(&m->series, s);
    for (size_t i = m->series.n - 1; i > lo; i--)
        m->series.p[i] = m->series.p[i - 1];
    m->series.p[lo] = s;
    return s;
}

struct memory_series *memory_store_find(struct memory_store *m, struct labels ls)
{
    for (size_t i = 0; i < m->series.n; i++)
        if (labels_eq(m->series.p[i]->labels, ls))
            return m->series.p[i];
    return NULL;
}

static enum err store_write(void *ctx, const struct batch *b, const struct ingest_source *who,
                            struct tsdb_write_result *ret)
{
    (void)who;
    struct memory_store *m = ctx;
    memset(ret, 0, sizeof(*ret));
    if (m->write_err != OK)
        return m->write_err;
    mtx_lock(&m->mu);
    vec_each (struct batch_series, bs, &b->series) {
        struct memory_series *s = series_of(m, bs->labels);
        for (size_t i = 0; i < bs->n_samples; i++) {
            if (s->samples.n && bs->samples[i].ts_ms < vec_last(&s->samples).ts_ms) {
                ret->rejected[TSDB_REJECT_TOO_OLD]++;
                if (!ret->first.msg[0]) {
                    struct buf b_;
                    buf_init(&b_, 0);
                    labels_print(&b_, s->labels);
                    IGNORE_ERR(err_fail(&ret->first, OK, "series " STR_FMT, STR_ARG(buf_str(&b_))));
                    buf_deinit(&b_);
                }
                continue;
            }
            avec_push(&m->a, &s->samples, bs->samples[i]);
            ret->samples++;
        }
        ret->samples += bs->n_hists; /* counted, not kept */
        ret->histograms += bs->n_hists;
        ret->exemplars += bs->n_exemplars;
        for (size_t i = 0; i < bs->n_exemplars; i++) {
            struct exemplar x = bs->exemplars[i];
            x.labels = labels_copy(&m->a, x.labels);
            avec_push(&m->a, &s->exemplars, x);
        }
    }
    m->n_samples += ret->samples;
    ret->lsn = ++m->lsn;
    mtx_unlock(&m->mu);
    return OK;
}

static enum err store_wait(void *ctx, uint64_t lsn)
{
    struct memory_store *m = ctx;
    m->waited = lsn;
    return m->wait_err;
}

void memory_store_load(struct memory_store *m, str text, bool openmetrics)
{
    struct expo x;
    expo_init(&x, openmetrics ? EXPO_OPENMETRICS : EXPO_TEXT, text);
    for (enum expo_entry e; (e = expo_next(&x)) > EXPO_ERROR;) {
        if (e != EXPO_SAMPLE)
            continue;
        struct labels ls;
        ASSERT(expo_labels(&x, &m->a, &ls, NULL) == OK);
        struct sample s = { x.ts_ms, x.value };
        avec_push(&m->a, &series_of(m, ls)->samples, s);
    }
    ASSERT(x.entry == EXPO_END);
}

/* ---- reading ---- */

static bool in_range(const struct memory_series *s, int64_t from, int64_t to)
{
    for (size_t i = 0; i < s->samples.n; i++)
        if (s->samples.p[i].ts_ms >= from && s->samples.p[i].ts_ms <= to)
            return true;
    return false;
}

static enum err view_open(struct promql_source *src, int64_t from_ms, int64_t to_ms, struct promql_view **ret)
{
    (void)from_ms;
    (void)to_ms;
    *ret = (void *)src;
    return OK;
}
static void view_close(struct promql_view *v)
{
    (void)v;
}
static enum err view_select(struct promql_view *v, const struct matcher *mm, size_t n, int64_t from, int64_t to,
                            size_t max, struct arena *a, struct promql_series **ret, size_t *ret_n)
{
    struct memory_store *m = (void *)v;
    VEC(struct promql_series) out = { 0 };
    (void)max;
    for (size_t i = 0; i < m->series.n; i++) {
        struct promql_series s = { m->series.p[i]->labels, i };
        if (matchers_match(mm, n, s.labels) && in_range(m->series.p[i], from, to))
            avec_push(a, &out, s);
    }
    *ret = out.p;
    *ret_n = out.n;
    return OK;
}
struct memory_reader {
    struct memory_store *m;
    struct arena a;
};
static struct promql_reader *reader_new(struct promql_view *v)
{
    struct memory_reader *r = mem_zalloc(sizeof(*r));
    r->m = (void *)v;
    arena_init(&r->a, 0);
    return (void *)r;
}
static void reader_free(struct promql_reader *pr)
{
    struct memory_reader *r = (void *)pr;
    if (r)
        arena_deinit(&r->a);
    mem_free(r);
}
static enum err reader_read(struct promql_reader *pr, uint64_t id, int64_t from, int64_t to, struct promql_points *ret)
{
    struct memory_reader *r = (void *)pr;
    const struct memory_series *s = r->m->series.p[id];
    arena_reset(&r->a);
    int64_t *ts = arena_array(&r->a, int64_t, s->samples.n);
    double *v = arena_array(&r->a, double, s->samples.n);
    size_t n = 0;
    for (size_t i = 0; i < s->samples.n; i++)
        if (s->samples.p[i].ts_ms >= from && s->samples.p[i].ts_ms <= to) {
            ts[n] = s->samples.p[i].ts_ms;
            v[n++] = s->samples.p[i].v;
        }
    *ret = (struct promql_points){ .ts = ts, .v = v, .n = n };
    return OK;
}

static enum err store_series(void *ctx, int64_t from, int64_t to, const struct matcher *mm, size_t n, size_t limit,
                             struct arena *a, struct labels **ret, size_t *ret_n)
{
    struct promql_series *found;
    size_t k;
    TRY(view_select(ctx, mm, n, from, to, 0, a, &found, &k));
    k = limit && k > limit ? limit : k;
    *ret = arena_array(a, struct labels, k);
    for (size_t i = 0; i < k; i++)
        (*ret)[i] = found[i].labels;
    *ret_n = k;
    return OK;
}

static int str_order(const void *x, const void *y)
{
    return str_cmp(*(const str *)x, *(const str *)y);
}
static enum err strings(void *ctx, int64_t from, int64_t to, const str *name, const struct matcher *mm, size_t n,
                        size_t limit, struct arena *a, str **ret, size_t *ret_n)
{
    struct promql_series *found;
    size_t k, u = 0;
    TRY(view_select(ctx, mm, n, from, to, 0, a, &found, &k));
    VEC(str) v = { 0 };
    for (size_t i = 0; i < k; i++)
        labels_each (l, found[i].labels)
            if (!name || str_eq(l->name, *name))
                avec_push(a, &v, name ? l->value : l->name);
    if (v.n)
        qsort(v.p, v.n, sizeof(str), str_order);
    for (size_t i = 0; i < v.n && (!limit || u < limit); i++)
        if (u == 0 || !str_eq(v.p[u - 1], v.p[i]))
            v.p[u++] = v.p[i];
    *ret = v.p;
    *ret_n = u;
    return OK;
}
static enum err store_names(void *ctx, int64_t from, int64_t to, const struct matcher *mm, size_t n, size_t limit,
                            struct arena *a, str **ret, size_t *ret_n)
{
    return strings(ctx, from, to, NULL, mm, n, limit, a, ret, ret_n);
}
static enum err store_values(void *ctx, int64_t from, int64_t to, str name, const struct matcher *mm, size_t n,
                             size_t limit, struct arena *a, str **ret, size_t *ret_n)
{
    return strings(ctx, from, to, &name, mm, n, limit, a, ret, ret_n);
}
static enum err store_exemplars(void *ctx, int64_t from, int64_t to, const struct matcher *mm, size_t n,
                                struct arena *a, struct tsdb_exemplars **ret, size_t *ret_n)
{
    struct memory_store *m = ctx;
    VEC(struct tsdb_exemplars) out = { 0 };
    (void)from;
    (void)to;
    for (size_t i = 0; i < m->series.n; i++) {
        const struct memory_series *s = m->series.p[i];
        struct tsdb_exemplars x = { s->labels, s->exemplars.p, s->exemplars.n };
        if (x.n && matchers_match(mm, n, s->labels))
            avec_push(a, &out, x);
    }
    *ret = out.p;
    *ret_n = out.n;
    return OK;
}
static enum err store_metadata(void *ctx, str name, size_t limit, struct arena *a, struct tsdb_metadata **ret,
                               size_t *ret_n)
{
    struct memory_store *m = ctx;
    VEC(struct tsdb_metadata) out = { 0 };
    vec_each (struct tsdb_metadata, x, &m->metadata)
        if ((!name.n || str_eq(name, x->name)) && (!limit || out.n < limit))
            avec_push(a, &out, *x);
    *ret = out.p;
    *ret_n = out.n;
    return OK;
}
static enum err store_stats(void *ctx, bool with_top, struct arena *a, struct tsdb_stats *ret)
{
    struct memory_store *m = ctx;
    (void)with_top;
    (void)a;
    *ret = (struct tsdb_stats){ .head_series = m->series.n, .top_metrics = { { STR("up"), 2 } }, .n_top_metrics = 1 };
    return OK;
}

void memory_store_init(struct memory_store *m)
{
    memset(m, 0, sizeof(*m));
    arena_init(&m->a, 0);
    mtx_init(&m->mu, 0);
    m->source =
        (struct promql_source){ view_open, view_close, view_select, reader_new, reader_free, reader_read, NULL, NULL };
}
void memory_store_deinit(struct memory_store *m)
{
    vec_free(&m->series);
    vec_free(&m->metadata);
    arena_deinit(&m->a);
    mtx_deinit(&m->mu);
}
struct api_store memory_store_api(struct memory_store *m)
{
    return (struct api_store){ .ctx = m,
                               .write = store_write,
                               .wait = store_wait,
                               .series = store_series,
                               .label_names = store_names,
                               .label_values = store_values,
                               .exemplars = store_exemplars,
                               .metadata = store_metadata,
                               .stats = store_stats };
}
