/* See series_store.h. */
#include "series_store.h"

#include "base/check.h"
#include "base/vec.h"
#include "model/histogram_math.h"

struct stored {
    struct labels labels;
    VEC(struct store_sample) samples; /* ascending */
};
struct series_store {
    struct arena a;
    VEC(struct stored *) series;
    struct array_source source;
    bool published;
};

static struct stored *find_series(struct series_store *st, struct labels ls)
{
    for (size_t i = 0; i < st->series.n; i++)
        if (labels_eq(st->series.p[i]->labels, ls))
            return st->series.p[i];
    struct stored *s = arena_new(&st->a, struct stored);
    s->labels = labels_copy(&st->a, ls);
    vec_push(&st->series, s);
    return s;
}

static void add_sample(struct series_store *st, struct stored *s, struct store_sample x)
{
    size_t i = s->samples.n;
    while (i > 0 && s->samples.p[i - 1].ts_ms >= x.ts_ms)
        i--;
    if (x.h)
        x.h = histogram_copy(&st->a, x.h);
    if (i < s->samples.n && s->samples.p[i].ts_ms == x.ts_ms) {
        s->samples.p[i] = x;
        return;
    }
    avec_push(&st->a, &s->samples, x);
    memmove(s->samples.p + i + 1, s->samples.p + i, (s->samples.n - 1 - i) * sizeof(x));
    s->samples.p[i] = x;
}

void series_store_add(struct series_store *st, struct labels ls, const struct store_sample *samples, size_t n)
{
    if (n == 0)
        return;
    struct stored *s = find_series(st, ls);
    for (size_t i = 0; i < n; i++)
        add_sample(st, s, samples[i]);
    st->published = false;
}

/* Timestamps are shared with an earlier series that has the same. */
static void share_timeline(struct series_store *st, struct array_series *m)
{
    for (size_t k = 0; k < st->source.series.n; k++) {
        const struct array_series *o = &st->source.series.p[k];
        if (o->n == m->n && memcmp(o->ts, m->ts, m->n * sizeof(*m->ts)) == 0) {
            m->ts = o->ts;
            m->timeline = o->timeline;
            return;
        }
    }
    m->timeline = st->source.series.n + 1;
}

/* Reset hints as a store hands them out: what goes on without a reset says so, what comes first is unknown. */
static const struct histogram *with_stored_hint(struct series_store *st, const struct histogram *prev,
                                                const struct histogram *h)
{
    if (h->reset == HIST_RESET_GAUGE)
        return h;
    struct histogram *r = arena_new(&st->a, struct histogram);
    *r = *h;
    r->reset = histogram_hint_after(prev, h);
    return r;
}

static void publish_series(struct series_store *st, const struct stored *s)
{
    size_t n = s->samples.n;
    struct array_series m = { .labels = s->labels, .n = n };
    m.ts = arena_array(&st->a, int64_t, n);
    m.v = arena_array(&st->a, double, n);
    const struct histogram **h = arena_zalloc(&st->a, n * sizeof(*h));
    int64_t *start = arena_array(&st->a, int64_t, n);
    for (size_t i = 0; i < n; i++) {
        const struct store_sample *x = &s->samples.p[i];
        m.ts[i] = x->ts_ms;
        m.v[i] = x->v;
        h[i] = x->h ? with_stored_hint(st, i ? s->samples.p[i - 1].h : NULL, x->h) : NULL;
        start[i] = x->start_ms;
        if (x->h)
            m.h = h;
        if (x->start_ms)
            m.start_ms = start;
    }
    share_timeline(st, &m);
    avec_push(&st->a, &st->source.series, m);
}

struct promql_source *series_store_source(struct series_store *st)
{
    if (!st->published) {
        array_source_init(&st->source, &st->a);
        for (size_t i = 0; i < st->series.n; i++)
            publish_series(st, st->series.p[i]);
        st->published = true;
    }
    return &st->source.src;
}

struct series_store *series_store_new(void)
{
    struct series_store *st = mem_zalloc(sizeof(*st));
    arena_init(&st->a, 0);
    return st;
}

void series_store_clear(struct series_store *st)
{
    vec_clear(&st->series);
    arena_reset(&st->a);
    st->published = false;
}

void series_store_free(struct series_store *st)
{
    vec_free(&st->series);
    arena_deinit(&st->a);
    mem_free(st);
}
