/* Who passed a limit, and by which label. For each limit that is passed: the labels of the series that were folded, with
 * an estimate of how many values each has (HyperLogLog, 256 registers: about 6 % off), a few of the values, and the
 * metrics with most folded series. At most CULPRITS_MAX are remembered; then the one that was quiet longest leaves. */
#include <math.h>
#include <stdlib.h>

#include "ingest/ingest_int.h"

#define SAY_EVERY_MS  (10 * 60 * 1000LL)
#define SAMPLE_LENGTH 80

void hll_add(struct hll *h, uint64_t hash)
{
    unsigned i = (unsigned)(hash & (HLL_REGISTERS - 1));
    uint8_t rank = (uint8_t)(__builtin_clzll((hash >> 8) << 8 | 0x80) + 1);
    h->r[i] = MAX(h->r[i], rank);
}

uint64_t hll_count(const struct hll *h)
{
    double sum = 0, m = HLL_REGISTERS;
    unsigned zero = 0;
    for (unsigned i = 0; i < HLL_REGISTERS; i++) {
        sum += ldexp(1, -h->r[i]);
        zero += h->r[i] == 0;
    }
    double e = 0.7213 / (1 + 1.079 / m) * m * m / sum;
    if (e <= 2.5 * m && zero)
        e = m * log(m / zero);
    return (uint64_t)(e + 0.5);
}

static void forget(struct culprit *c)
{
    mem_free((void *)(uintptr_t)c->tenant.p);
    mem_free((void *)(uintptr_t)c->name.p);
    mem_free((void *)(uintptr_t)c->instance.p);
    for (size_t i = 0; i < c->n_labels; i++) {
        mem_free((void *)(uintptr_t)c->labels[i].name.p);
        for (size_t k = 0; k < c->labels[i].n_samples; k++)
            mem_free((void *)(uintptr_t)c->labels[i].sample[k].p);
    }
    for (size_t i = 0; i < c->n_metrics; i++)
        mem_free((void *)(uintptr_t)c->metrics[i].name.p);
    mem_free(c);
}

void culprits_deinit(struct culprits *c)
{
    for (size_t i = 0; i < c->v.n; i++)
        forget(c->v.p[i]);
    vec_free(&c->v);
}

struct culprit *culprit_of(struct culprits *c, unsigned kind, const struct who *w, uint64_t limit, int64_t now_ms)
{
    uint64_t key = kind < INGEST_KINDS ? w->key[kind] : w->key[INGEST_TENANT];
    size_t quiet = 0;
    if (c->last < c->v.n && c->v.p[c->last]->key == key && c->v.p[c->last]->kind == kind)
        return c->v.p[c->last];
    for (size_t i = 0; i < c->v.n; i++) {
        struct culprit *x = c->v.p[i];
        if (x->kind == kind && x->key == key) {
            x->limit = limit;
            c->last = i;
            return x;
        }
        if (x->last_ms < c->v.p[quiet]->last_ms)
            quiet = i;
    }
    struct culprit *x = mem_zalloc(sizeof(*x));
    x->kind = kind;
    x->key = key;
    x->tenant = mem_dup(w->tenant);
    x->name = mem_dup(kind == INGEST_METRIC ? w->name : kind == INGEST_JOB || kind == INGEST_TARGET ? w->job : STR(""));
    x->instance = mem_dup(kind == INGEST_TARGET ? w->instance : STR(""));
    x->limit = limit;
    x->since_ms = now_ms;
    if (c->v.n == CULPRITS_MAX) {
        forget(c->v.p[quiet]);
        c->v.p[quiet] = x;
    } else {
        vec_push(&c->v, x);
    }
    return x;
}

/* A value to show: cut at a character's end. */
static str shown(str s)
{
    s = str_take(s, SAMPLE_LENGTH);
    return mem_dup(str_take(s, str_utf8_valid_len(s)));
}

static struct culprit_label *label_of(struct culprit *c, str name)
{
    for (size_t i = 0; i < c->n_labels; i++)
        if (str_eq(c->labels[i].name, name))
            return &c->labels[i];
    if (c->n_labels == INGEST_CULPRIT_LABELS)
        return NULL;
    struct culprit_label *l = &c->labels[c->n_labels++];
    l->name = mem_dup(name);
    return l;
}

/* Space-saving: a name that is not among the first takes the place, and the number, of the last. */
static void note_metric(struct culprit *c, str name)
{
    size_t i = 0;
    while (i < c->n_metrics && !str_eq(c->metrics[i].name, name))
        i++;
    if (i == c->n_metrics) {
        if (i == INGEST_CULPRIT_METRICS)
            mem_free((void *)(uintptr_t)c->metrics[--i].name.p);
        else
            c->n_metrics++;
        c->metrics[i].name = mem_dup(name);
    }
    c->metrics[i].n++;
    for (; i && c->metrics[i - 1].n < c->metrics[i].n; i--) {
        __typeof__(c->metrics[0]) x = c->metrics[i];
        c->metrics[i] = c->metrics[i - 1];
        c->metrics[i - 1] = x;
    }
}

void culprit_note(struct culprit *c, struct labels ls, uint64_t hash)
{
    hll_add(&c->series, hash);
    labels_each (l, ls) {
        if (str_eq(l->name, LABEL_NAME)) {
            note_metric(c, l->value);
            if (c->kind == INGEST_METRIC)
                continue;
        }
        if (str_eq(l->name, LABEL_TENANT))
            continue;
        struct culprit_label *x = label_of(c, l->name);
        if (!x)
            continue;
        hll_add(&x->values, hash_u64(hash64(l->value)));
        bool have = x->n_samples == INGEST_CULPRIT_VALUES;
        for (size_t i = 0; i < x->n_samples && !have; i++)
            have = str_has_prefix(l->value, x->sample[i]) && (l->value.n == x->sample[i].n || x->sample[i].n > 70);
        if (!have)
            x->sample[x->n_samples++] = shown(l->value);
    }
}

static const struct culprit_label *exploded(const struct culprit *c, uint64_t *ret_values)
{
    const struct culprit_label *best = NULL;
    *ret_values = 0;
    for (size_t i = 0; i < c->n_labels; i++) {
        uint64_t n = hll_count(&c->labels[i].values);
        if (n > *ret_values) {
            best = &c->labels[i];
            *ret_values = n;
        }
    }
    return best;
}

void culprit_say(struct culprit *c, int64_t now_ms)
{
    uint64_t values;
    if (c->logged_ms && now_ms - c->logged_ms < SAY_EVERY_MS)
        return;
    c->logged_ms = now_ms;
    const struct culprit_label *l = exploded(c, &values);
    LOG_WARN("a limit of active series is reached: new series are folded into overflow series "
             "(otel_metric_overflow=\"true\"), nothing else is lost; see the Cardinality page",
             "limit", ingest_kind_name(c->kind), "max", LOG_I64(c->limit), "tenant", LOG_STR(c->tenant),
             c->kind == INGEST_METRIC ? "metric" : "job", LOG_STR(c->name), "instance", LOG_STR(c->instance),
             "most_in_metric", LOG_STR(c->n_metrics ? c->metrics[0].name : STR("")), "label",
             LOG_STR(l ? l->name : STR("")), "values", LOG_I64(values), "for_example",
             LOG_STR(l && l->n_samples ? l->sample[0] : STR("")), "folded_series", LOG_I64(hll_count(&c->series)));
}

static int by_values(const void *a, const void *b)
{
    uint64_t x = ((const struct ingest_culprit_label *)a)->values, y = ((const struct ingest_culprit_label *)b)->values;
    return (x < y) - (x > y);
}
static int by_time(const void *a, const void *b)
{
    int64_t x = ((const struct ingest_overflow *)a)->last_ms, y = ((const struct ingest_overflow *)b)->last_ms;
    return (x < y) - (x > y);
}

static void copy_one(const struct culprit *c, int64_t now_ms, struct arena *a, struct ingest_overflow *o)
{
    *o = (struct ingest_overflow){ .kind = (enum ingest_kind)c->kind,
                                   .tenant = arena_str(a, c->tenant),
                                   .name = arena_str(a, c->name),
                                   .instance = arena_str(a, c->instance),
                                   .limit = c->limit,
                                   .since_ms = c->since_ms,
                                   .last_ms = c->last_ms,
                                   .active = now_ms - c->last_ms < SAY_EVERY_MS,
                                   .series = hll_count(&c->series),
                                   .samples = c->samples };
    for (; o->n_labels < c->n_labels; o->n_labels++) {
        struct ingest_culprit_label *l = &o->labels[o->n_labels];
        const struct culprit_label *from = &c->labels[o->n_labels];
        *l = (struct ingest_culprit_label){ .name = arena_str(a, from->name), .values = hll_count(&from->values) };
        for (; l->n_samples < from->n_samples; l->n_samples++)
            l->sample[l->n_samples] = arena_str(a, from->sample[l->n_samples]);
    }
    qsort(o->labels, o->n_labels, sizeof(o->labels[0]), by_values);
    for (; o->n_metrics < c->n_metrics; o->n_metrics++)
        o->metrics[o->n_metrics] = (struct ingest_count){ .name = arena_str(a, c->metrics[o->n_metrics].name),
                                                          .series = c->metrics[o->n_metrics].n };
}

void culprits_copy(const struct culprits *c, str tenant, int64_t now_ms, struct arena *a, struct ingest_overflow **ret,
                   size_t *ret_n)
{
    size_t n = 0;
    *ret = arena_array(a, struct ingest_overflow, c->v.n + 1);
    for (size_t i = 0; i < c->v.n; i++)
        if (str_eq(c->v.p[i]->tenant, tenant))
            copy_one(c->v.p[i], now_ms, a, &(*ret)[n++]);
    qsort(*ret, n, sizeof(**ret), by_time);
    *ret_n = n;
}
