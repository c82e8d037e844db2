/* A pushed group: its families as text, decoded once into the batch that every round writes. */
#include <stdlib.h>

#include "base/check.h"
#include "push/push_int.h"

struct push_group *push_group_new(struct labels key)
{
    struct push_group *g = mem_zalloc(sizeof(*g));
    arena_init(&g->a, 0);
    g->key = labels_copy(&g->a, key);
    return g;
}

void push_group_free(struct push_group *g)
{
    if (!g)
        return;
    arena_deinit(&g->a);
    mem_free(g);
}

/* ---- decode ---- */

static int by_labels(const void *x, const void *y)
{
    const struct batch_series *const *a = x, *const *b = y;
    return labels_cmp((*a)->labels, (*b)->labels);
}

static void own_series(struct push_group *g, str name, str help, int64_t ms)
{
    struct label *p = arena_array(&g->a, struct label, g->key.n + 1);
    struct sample *s = arena_new(&g->a, struct sample);
    size_t n = g->key.n + 1;
    p[0] = (struct label){ LABEL_NAME, name };
    memcpy(p + 1, g->key.p, g->key.n * sizeof(*p));
    IGNORE_ERR(labels_sort(p, &n, NULL));
    s->v = (double)ms / 1000;
    struct batch_series bs = { .labels = { p, n }, .samples = s, .n_samples = 1 };
    avec_push(&g->a, &g->batch.series, bs);
    avec_push(&g->a, &g->batch.families, ((struct batch_family){ name, { METRIC_GAUGE, help, STR("seconds") } }));
    g->batch.n_samples++;
}

static enum err find_twice(struct push_group *g, struct err_text *reterr)
{
    size_t n = g->batch.series.n;
    g->sorted = arena_array(&g->a, const struct batch_series *, n);
    for (size_t i = 0; i < n; i++)
        g->sorted[i] = &g->batch.series.p[i];
    qsort(g->sorted, n, sizeof(*g->sorted), by_labels);
    for (size_t i = 0; i < n; i++) {
        bool twice = i && labels_eq(g->sorted[i - 1]->labels, g->sorted[i]->labels);
        if (!twice && g->sorted[i]->n_samples == 1)
            continue;
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        labels_print(&b, g->sorted[i]->labels);
        return err_fail(reterr, ERR_INVALID,
                        "pushed metrics are invalid or inconsistent: series " STR_FMT " occurs twice",
                        STR_ARG(str_take(buf_str(&b), 300)));
    }
    return OK;
}

static void give_refs(struct push_group *g)
{
    size_t n = g->batch.series.n;
    uint64_t *refs = arena_zarray(&g->a, uint64_t, n);
    g->samples = arena_array(&g->a, struct sample, n);
    for (size_t i = 0; i < n; i++) {
        struct batch_series *s = &g->batch.series.p[i];
        g->samples[i] = s->samples[0];
        s->samples = &g->samples[i];
        s->ref = &refs[i];
    }
}

enum err push_group_decode(struct push_group *g, const struct wire_limits *lim, struct err_text *reterr)
{
    struct wire_rejects rejects;
    struct expo_batch_options opt = { .format = EXPO_TEXT, .extra = g->key };
    char *text = arena_array(&g->a, char, g->bytes + 1), *p = text;
    for (size_t i = 0; i < g->n_families; i++) {
        memcpy(p, g->families[i].text.p, g->families[i].text.n);
        p += g->families[i].text.n;
    }
    TRY(expo_batch(&g->a, (str){ text, (size_t)(p - text) }, &opt, lim, &g->batch, &rejects, reterr));
    if (rejects.series)
        return err_fail(reterr, ERR_INVALID, "pushed metrics are invalid or inconsistent: %s", rejects.first.msg);
    own_series(g, STR("push_time_seconds"), STR("When this group was pushed last."), g->pushed_ms);
    own_series(g, STR("push_failure_time_seconds"), STR("When a push of this group was refused last, 0 = never."),
               g->failed_ms);
    TRY(find_twice(g, reterr));
    give_refs(g);
    return OK;
}

/* ---- time ---- */

void push_group_stamp(struct push_group *g, int64_t now_ms)
{
    for (size_t i = 0; i < g->batch.series.n; i++)
        g->samples[i].ts_ms = now_ms;
    g->last_ms = now_ms;
}

void push_group_stale(const struct push_group *g, const struct push_group *next, int64_t now_ms, struct batch *out)
{
    size_t n = g->batch.series.n, n_next = next ? next->batch.series.n : 0;
    struct sample *mark = arena_new(out->a, struct sample);
    *mark = (struct sample){ now_ms, f64_from_bits(STALE_NAN_BITS) };
    for (size_t i = 0, k = 0; i < n; i++) {
        const struct batch_series *s = g->sorted[i];
        while (k < n_next && labels_cmp(next->sorted[k]->labels, s->labels) < 0)
            k++;
        if (k < n_next && labels_eq(next->sorted[k]->labels, s->labels))
            continue;
        struct batch_series bs = { .labels = s->labels, .ref = s->ref, .samples = mark, .n_samples = 1 };
        avec_push(out->a, &out->series, bs);
        out->n_samples++;
    }
}
