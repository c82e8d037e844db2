/* Series of the StatsD listener (manual: compat.h): events become states, states become samples at each flush. */
#include <math.h>
#include <stdlib.h>

#include "base/check.h"
#include "compat/compat_int.h"
#include "model/histogram_math.h"
#include "wire/statsd.h"

enum { SCHEMA = 3, BUCKETS_MAX = 1000, MEMBERS_MAX = 100000 };
#define ZERO_THRESHOLD 0x1p-128

#define MAP_NAME     member_set
#define MAP_KEY      uint64_t
#define MAP_VALUE    uint8_t
#define MAP_HASH(k)  hash_u64(k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

struct bucket {
    int32_t index;
    double count;
};
struct series {
    struct arena a; /* labels */
    struct labels labels;
    enum statsd_type type;
    int64_t created_ms, heard_ms;
    double value;               /* counter, gauge */
    double count, sum, zero;    /* histogram */
    VEC(struct bucket) buckets; /* ascending */
    struct member_set members;
};

#define MAP_NAME     series_map
#define MAP_KEY      hash128
#define MAP_VALUE    struct series *
#define MAP_HASH(k)  ((k).lo ^ (k).hi)
#define MAP_EQ(a, b) hash128_eq(a, b)
#include "base/map.h"

struct statsd_table {
    const struct compat_config *cfg;
    struct series_map map;
    struct arena scratch; /* of one line */
};

struct statsd_table *statsd_table_new(const struct compat_config *cfg)
{
    struct statsd_table *t = mem_zalloc(sizeof(*t));
    t->cfg = cfg;
    arena_init(&t->scratch, 0);
    return t;
}

static void series_free(struct series *s)
{
    vec_free(&s->buckets);
    member_set_free(&s->members);
    arena_deinit(&s->a);
    mem_free(s);
}

void statsd_table_free(struct statsd_table *t)
{
    if (!t)
        return;
    map_each (series_map, slot, &t->map)
        series_free(slot->value);
    series_map_free(&t->map);
    arena_deinit(&t->scratch);
    mem_free(t);
}

size_t statsd_table_n(const struct statsd_table *t)
{
    return t->map.n;
}

/* ---- events ---- */

/* The bucket whose bounds hold v > 0: the logarithm is near, the bounds decide. */
static int32_t bucket_index(double v)
{
    int32_t i = (int32_t)ceil(log2(v) * (1 << SCHEMA));
    while (v > histogram_bound(SCHEMA, i))
        i++;
    while (v <= histogram_bound(SCHEMA, i - 1))
        i--;
    return i;
}

static bool observe(struct series *s, double v, double weight)
{
    if (v <= ZERO_THRESHOLD) {
        s->zero += weight;
    } else {
        int32_t index = bucket_index(v);
        size_t k = 0;
        while (k < s->buckets.n && s->buckets.p[k].index < index)
            k++;
        if (k == s->buckets.n || s->buckets.p[k].index != index) {
            if (s->buckets.n >= BUCKETS_MAX)
                return false;
            vec_push(&s->buckets, ((struct bucket){ 0 }));
            memmove(&s->buckets.p[k + 1], &s->buckets.p[k], (s->buckets.n - 1 - k) * sizeof(*s->buckets.p));
            s->buckets.p[k] = (struct bucket){ .index = index };
        }
        s->buckets.p[k].count += weight;
    }
    s->count += weight;
    s->sum += v * weight;
    return true;
}

static enum statsd_taken event(struct series *s, const struct statsd_value *v, double rate)
{
    switch (s->type) {
    case STATSD_COUNTER:
        if (v->v < 0)
            return STATSD_MALFORMED; /* a counter only grows */
        s->value += v->v / rate;
        return STATSD_TAKEN;
    case STATSD_GAUGE:
        s->value = v->relative ? s->value + v->v : v->v;
        return STATSD_TAKEN;
    case STATSD_TIMER:
    case STATSD_HISTOGRAM:
        if (v->v < 0)
            return STATSD_MALFORMED;
        return observe(s, s->type == STATSD_TIMER ? v->v / 1000 : v->v, 1 / rate) ? STATSD_TAKEN : STATSD_DROPPED;
    case STATSD_SET:
        if (s->members.n >= MEMBERS_MAX)
            return STATSD_DROPPED;
        member_set_put(&s->members, hash64(v->text), NULL);
        return STATSD_TAKEN;
    }
    return STATSD_MALFORMED;
}

static struct series *series_of(struct statsd_table *t, const struct statsd_line *l, int64_t now_ms)
{
    hash128 id = labels_hash128(l->labels, 0);
    struct series **found = series_map_get(&t->map, id);
    if (found)
        return *found;
    if (t->map.n >= t->cfg->statsd_series_max)
        return NULL;
    struct series *s = mem_zalloc(sizeof(*s));
    arena_init(&s->a, 0);
    s->labels = labels_copy(&s->a, l->labels);
    s->type = l->type;
    s->created_ms = now_ms;
    *series_map_put(&t->map, id, NULL) = s;
    return s;
}

enum statsd_taken statsd_table_line(struct statsd_table *t, str line, int64_t now_ms)
{
    struct statsd_line l;
    struct statsd_value v;
    struct err_text why;
    arena_reset(&t->scratch);
    if (statsd_parse(&t->scratch, line, &t->cfg->limits, &l, &why) != OK)
        return STATSD_MALFORMED;
    struct series *s = series_of(t, &l, now_ms);
    if (!s)
        return STATSD_DROPPED;
    if (s->type != l.type)
        return STATSD_MALFORMED;
    enum statsd_taken worst = STATSD_TAKEN;
    s->heard_ms = now_ms;
    while (statsd_value(&l, &v)) {
        enum statsd_taken one = event(s, &v, l.rate);
        worst = MAX(worst, one);
    }
    return worst;
}

/* ---- samples ---- */

static const struct histogram *histogram_of(const struct series *s, struct arena *a)
{
    struct histogram *h = arena_new(a, struct histogram);
    struct hist_span *spans = arena_array(a, struct hist_span, s->buckets.n);
    double *counts = arena_array(a, double, s->buckets.n);
    size_t n = 0;
    for (size_t i = 0; i < s->buckets.n; i++) {
        int32_t index = s->buckets.p[i].index, next = i ? s->buckets.p[i - 1].index + 1 : 0;
        counts[i] = s->buckets.p[i].count;
        if (i && index == next)
            spans[n - 1].length++;
        else
            spans[n++] = (struct hist_span){ index - next, 1 };
    }
    *h = (struct histogram){ .schema = SCHEMA,
                             .zero_threshold = ZERO_THRESHOLD,
                             .zero_count = s->zero,
                             .count = s->count,
                             .sum = s->sum,
                             .pos = { spans, n, counts, s->buckets.n } };
    return h;
}

static void series_write(struct series *s, int64_t now_ms, bool ends, struct batch *out)
{
    static const enum metric_type types[] = { [STATSD_COUNTER] = METRIC_COUNTER,
                                              [STATSD_GAUGE] = METRIC_GAUGE,
                                              [STATSD_TIMER] = METRIC_HISTOGRAM,
                                              [STATSD_HISTOGRAM] = METRIC_HISTOGRAM,
                                              [STATSD_SET] = METRIC_GAUGE };
    bool hist = s->type == STATSD_TIMER || s->type == STATSD_HISTOGRAM;
    struct batch_series bs = { .labels = labels_copy(out->a, s->labels), .meta = { .type = types[s->type] } };
    if (hist && !ends) {
        struct hist_sample *x = arena_new(out->a, struct hist_sample);
        *x = (struct hist_sample){ now_ms, histogram_of(s, out->a) };
        bs.hists = x;
        bs.n_hists = 1;
    } else {
        struct sample *x = arena_new(out->a, struct sample);
        *x = (struct sample){ now_ms, ends                    ? f64_from_bits(STALE_NAN_BITS)
                                      : s->type == STATSD_SET ? (double)s->members.n
                                                              : s->value };
        bs.samples = x;
        bs.n_samples = 1;
    }
    if (!ends && types[s->type] != METRIC_GAUGE) {
        int64_t *start = arena_new(out->a, int64_t);
        *start = s->created_ms;
        bs.start_ms = start;
    }
    avec_push(out->a, &out->series, bs);
    out->n_samples++;
}

void statsd_table_flush(struct statsd_table *t, int64_t now_ms, struct batch *out)
{
    VEC(hash128) idle = { 0 };
    map_each (series_map, slot, &t->map) {
        struct series *s = slot->value;
        bool ends = now_ms - s->heard_ms > t->cfg->statsd_idle_ms;
        series_write(s, now_ms, ends, out);
        member_set_clear(&s->members);
        if (ends)
            vec_push(&idle, slot->key);
    }
    for (size_t i = 0; i < idle.n; i++) {
        series_free(*series_map_get(&t->map, idle.p[i]));
        series_map_del(&t->map, idle.p[i]);
    }
    vec_free(&idle);
}
