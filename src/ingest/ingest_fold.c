/* Series beyond a limit become one: their samples are added up in an overflow series.
 *
 * Requests carry arbitrary parts of what is folded (a scrape: one target; remote write: a shard), so a sum over one
 * request would jump. Instead each folded series' last value is remembered (16 to 40 bytes) and the overflow series is a
 * running total:
 *
 *   counter    total += increase since the series' last value (its value when that fell: a reset, or is new)
 *   gauge      total += value - last value; what was silent for 5 min or ended is taken out
 *   quantile   the largest value of a request
 *   delta      what was seen for this timestamp
 *   histogram  as counter or gauge, in every bucket
 *
 * When several requests have the same timestamp the last one writes the most complete total, and the store lets the last
 * write win. A total never goes back in time: an older sample counts for the newest timestamp.
 *
 * After a restart the totals begin with what the store has last of the overflow series; whatever shows up in the first
 * minutes was counted before and adds nothing but its later increases. Beyond ENTRIES_MAX series nothing more is
 * remembered: gauges and counters of those add nothing (vane_ingest_folded_samples_total{result="forgotten"}). */
#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "ingest/ingest_int.h"
#include "model/histogram_math.h"
#include "model/matcher.h"

#define ENTRIES_MAX    250000
#define OVERFLOWS_MAX  20000
#define HIST_BYTES_MAX (64u << 20)
#define SWEEP_MS       (60 * 1000LL)
#define GAUGE_QUIET_S  300
#define QUIET_S        3600
#define WARM_MS        (10 * 60 * 1000LL)
#define LOOK_BACK_MS   (24 * 3600 * 1000LL)

static struct stat folded_added =
    STAT_COUNTER("vane_ingest_folded_samples_total", "Samples of series beyond a limit", "result=\"added_up\"");
static struct stat folded_forgotten =
    STAT_COUNTER("vane_ingest_folded_samples_total", "Samples of series beyond a limit", "result=\"forgotten\"");
static struct stat folded_dropped =
    STAT_COUNTER("vane_ingest_folded_samples_total", "Samples of series beyond a limit", "result=\"dropped\"");
static struct stat by_kind[] = {
    STAT_COUNTER("vane_ingest_folded_series_total", "Series folded, once for each time they came anew",
                 "limit=\"tenant\""),
    STAT_COUNTER("vane_ingest_folded_series_total", "Series folded, once for each time they came anew",
                 "limit=\"job\""),
    STAT_COUNTER("vane_ingest_folded_series_total", "Series folded, once for each time they came anew",
                 "limit=\"target\""),
    STAT_COUNTER("vane_ingest_folded_series_total", "Series folded, once for each time they came anew",
                 "limit=\"metric\""),
    STAT_COUNTER("vane_ingest_folded_series_total", "Series folded, once for each time they came anew",
                 "limit=\"store\""),
};
_Static_assert(ARRAY_LEN(by_kind) == INGEST_KINDS + 1, "a counter per limit");

struct overflow_series {
    struct labels labels; /* owned: in a */
    struct arena a;
    uint64_t key;
    enum fold_rule rule;
    struct metric_meta meta;
    enum temporality temporality;
    double total;
    struct histogram *h; /* total of histograms; flat, owned */
    int64_t last_ms;     /* newest sample written */
    int64_t born_ms;
    bool restored;
    uint32_t n_entries, n_live; /* series folded into it; not stale */
    uint32_t seen_s;
    /* of the request at work */
    uint32_t touched; /* 1 + index in work.out; 0 = not */
};

void fold_init(struct ingest *in)
{
    struct fold *f = &in->fold;
    mtx_init(&f->mu, 90);
    f->start_ms = f->swept_ms = clock_now_ms(in->clock);
    stat_register(&folded_added);
    stat_register(&folded_forgotten);
    stat_register(&folded_dropped);
    for (size_t i = 0; i < ARRAY_LEN(by_kind); i++)
        stat_register(&by_kind[i]);
}

/* ---- a histogram in one piece of memory ---- */
static size_t hist_bytes(const struct histogram *h)
{
    return sizeof(*h) + (h->pos.n_buckets + h->neg.n_buckets + h->n_custom) * sizeof(double) +
           (h->pos.n_spans + h->neg.n_spans) * sizeof(struct hist_span);
}

static const void *put(char **at, const void *p, size_t n)
{
    void *to = *at;
    if (n)
        memcpy(to, p, n);
    *at += n;
    return to;
}

static struct histogram *hist_flat(const struct histogram *h)
{
    struct histogram *f = mem_alloc(hist_bytes(h));
    char *at = (char *)(f + 1);
    *f = *h;
    f->pos.buckets = put(&at, h->pos.buckets, h->pos.n_buckets * sizeof(double));
    f->neg.buckets = put(&at, h->neg.buckets, h->neg.n_buckets * sizeof(double));
    f->custom = put(&at, h->custom, h->n_custom * sizeof(double));
    f->pos.spans = put(&at, h->pos.spans, h->pos.n_spans * sizeof(struct hist_span));
    f->neg.spans = put(&at, h->neg.spans, h->neg.n_spans * sizeof(struct hist_span));
    return f;
}

static void hist_set(struct fold *f, struct histogram **slot, const struct histogram *h)
{
    struct histogram *copy = h ? hist_flat(h) : NULL;
    if (*slot)
        f->hist_bytes -= hist_bytes(*slot);
    mem_free(*slot);
    *slot = copy;
    if (copy)
        f->hist_bytes += hist_bytes(copy);
}

/* ---- overflow series ---- */
static bool is_kept(str name, bool instance)
{
    return str_eq(name, LABEL_NAME) || str_eq(name, LABEL_JOB) || str_eq(name, LABEL_BUCKET) ||
           str_eq(name, LABEL_QUANTILE) || str_eq(name, LABEL_TENANT) || (instance && str_eq(name, LABEL_INSTANCE));
}

static uint64_t overflow_key(struct ingest *in, struct labels ls, bool instance)
{
    uint64_t h = in->counts.seed + instance;
    labels_each (l, ls)
        if (is_kept(l->name, instance))
            h = hash64_seed(l->value, hash64_seed(l->name, h));
    return h;
}

static struct labels overflow_labels(struct arena *a, struct labels ls, bool instance)
{
    struct label *p = arena_array(a, struct label, ls.n + 1);
    size_t n = 0;
    labels_each (l, ls)
        if (is_kept(l->name, instance))
            p[n++] = *l;
    p[n++] = (struct label){ INGEST_LABEL_OVERFLOW, STR("true") };
    IGNORE_ERR(labels_sort(p, &n, NULL));
    return labels_copy(a, (struct labels){ p, n });
}

static enum fold_rule rule_of(const struct batch_series *bs, struct labels ls)
{
    str name = labels_name(ls);
    if (bs->temporality == TEMPORALITY_DELTA)
        return FOLD_DELTA;
    if (labels_has(ls, LABEL_QUANTILE))
        return FOLD_QUANTILE;
    switch (bs->meta.type) {
    case METRIC_COUNTER:
    case METRIC_HISTOGRAM:
    case METRIC_SUMMARY:
        return FOLD_COUNTER;
    case METRIC_GAUGE:
    case METRIC_GAUGE_HISTOGRAM:
    case METRIC_INFO:
    case METRIC_STATESET:
        return FOLD_GAUGE;
    default:
        break;
    }
    if (bs->n_hists)
        return bs->hists[0].h->reset == HIST_RESET_GAUGE ? FOLD_GAUGE : FOLD_COUNTER;
    bool counter = str_has_suffix(name, STR("_total")) || str_has_suffix(name, STR("_count")) ||
                   str_has_suffix(name, STR("_sum")) || str_has_suffix(name, STR("_bucket"));
    return counter ? FOLD_COUNTER : FOLD_GAUGE;
}

/* What the store has last of it becomes the total that goes on. */
static void restore(struct ingest *in, struct overflow_series *o)
{
    struct tsdb_query *q;
    struct tsdb_series *s;
    size_t n;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    if (tsdb_query_open(in->db, o->born_ms - LOOK_BACK_MS, o->born_ms, &q) != OK)
        return;
    struct matcher *m = arena_zarray(&a, struct matcher, o->labels.n);
    for (size_t i = 0; i < o->labels.n; i++)
        m[i] = (struct matcher){ MATCH_EQ, o->labels.p[i].name, o->labels.p[i].value, NULL };
    struct tsdb_cursor *c = NULL;
    if (tsdb_select(q, m, o->labels.n, 1000, &a, &s, &n) == OK)
        c = tsdb_cursor_new(q);
    for (size_t i = 0; c && i < n; i++) {
        struct tsdb_points p;
        if (!labels_eq(s[i].labels, o->labels) ||
            tsdb_read(c, s[i].id, o->born_ms - LOOK_BACK_MS, o->born_ms, &p) != OK)
            continue;
        for (size_t k = p.n; k-- && !o->restored;) {
            if (p.h && p.h[k] ? is_stale(p.h[k]->sum) : is_stale(p.v[k]))
                continue;
            if (p.h && p.h[k])
                hist_set(&in->fold, &o->h, p.h[k]);
            else
                o->total = p.v[k];
            o->restored = true;
            o->last_ms = p.ts[k];
        }
    }
    if (c)
        tsdb_cursor_free(c);
    tsdb_query_close(q);
}

static struct overflow_series *overflow_new(struct ingest *in, uint64_t key, const struct batch_series *bs,
                                            struct labels ls, bool instance, uint32_t *ret)
{
    struct fold *f = &in->fold;
    struct overflow_series *o = mem_zalloc(sizeof(*o));
    arena_init(&o->a, 0);
    o->key = key;
    o->labels = overflow_labels(&o->a, ls, instance);
    o->rule = rule_of(bs, ls);
    o->meta = (struct metric_meta){ bs->meta.type, arena_str(&o->a, bs->meta.help), arena_str(&o->a, bs->meta.unit) };
    o->temporality = bs->temporality;
    o->born_ms = clock_now_ms(in->clock);
    o->last_ms = INT64_MIN;
    if (o->rule == FOLD_COUNTER)
        restore(in, o);
    size_t i = 0;
    while (i < f->overflows.n && f->overflows.p[i])
        i++;
    if (i == f->overflows.n)
        vec_push(&f->overflows, o);
    else
        f->overflows.p[i] = o;
    f->n_overflows++;
    *overflowmap_put(&f->by_labels, key, NULL) = (uint32_t)i;
    *ret = (uint32_t)i;
    return o;
}

static void overflow_free(struct fold *f, struct overflow_series *o)
{
    hist_set(f, &o->h, NULL);
    arena_deinit(&o->a);
    mem_free(o);
}

/* Its overflow series: of its target; when there are very many, of its job; NULL when there are too many. */
static struct overflow_series *overflow_of(struct ingest *in, const struct batch_series *bs, struct labels ls,
                                           uint32_t *ret)
{
    struct fold *f = &in->fold;
    for (int instance = 1; instance >= 0; instance--) {
        uint64_t key = overflow_key(in, ls, instance);
        const uint32_t *have = overflowmap_get(&f->by_labels, key);
        if (have) {
            *ret = *have;
            return f->overflows.p[*have];
        }
        if (f->n_overflows < (instance ? OVERFLOWS_MAX / 2 : OVERFLOWS_MAX))
            return overflow_new(in, key, bs, ls, instance, ret);
    }
    return NULL;
}

void fold_deinit(struct ingest *in)
{
    struct fold *f = &in->fold;
    map_each (foldmap, s, &f->entries)
        mem_free(s->value.h);
    foldmap_free(&f->entries);
    for (size_t i = 0; i < f->overflows.n; i++)
        if (f->overflows.p[i])
            overflow_free(f, f->overflows.p[i]);
    vec_free(&f->overflows);
    overflowmap_free(&f->by_labels);
    culprits_deinit(&f->culprits);
    mtx_deinit(&f->mu);
}

/* ---- one request ---- */
struct emitted { /* an overflow series' samples of this request */
    struct overflow_series *o;
    VEC(struct sample) samples;
    VEC(struct hist_sample) hists;
    double quantile; /* the largest of this timestamp */
    bool any, any_hist;
};
struct work {
    struct ingest *in;
    struct fold *f;
    struct arena *a;
    int64_t now_ms;
    uint32_t now_s;
    VEC(struct emitted) out;
    size_t added, forgotten, dropped;
};
struct item { /* one sample of a folded series */
    int64_t ts_ms;
    size_t seq;
    struct fold_entry *e; /* NULL: not remembered */
    struct overflow_series *o;
    double v;
    const struct histogram *h;
};

static const double none = (double)NAN;

static struct emitted *emitted_of(struct work *w, struct overflow_series *o)
{
    if (!o->touched) {
        avec_push(w->a, &w->out, ((struct emitted){ .o = o, .quantile = none }));
        o->touched = (uint32_t)w->out.n;
    }
    return &w->out.p[o->touched - 1];
}

static void live(struct fold_entry *e, struct overflow_series *o, bool is)
{
    if (e && e->stale == is) {
        e->stale = !is;
        o->n_live += is ? 1u : -1u;
    }
}

static void ended(struct work *w, struct item *x)
{
    struct overflow_series *o = x->o;
    if (!x->e || x->e->stale || o->rule == FOLD_DELTA)
        return;
    if (o->rule == FOLD_GAUGE && !x->e->h && !isnan(x->e->last)) {
        o->total -= x->e->last;
        x->e->last = none;
    }
    live(x->e, o, false);
    emitted_of(w, o)->any |= !x->e->h;
    emitted_of(w, o)->any_hist |= x->e->h != NULL;
}

static void add_float(struct work *w, struct item *x)
{
    struct overflow_series *o = x->o;
    struct emitted *out = emitted_of(w, o);
    double last = x->e ? x->e->last : none, v = x->v;
    bool first = isnan(last);
    switch (o->rule) {
    case FOLD_COUNTER:
        if (x->e && isfinite(v)) {
            bool counted = first && o->restored && w->now_ms - o->born_ms < WARM_MS;
            o->total += counted ? 0 : first || v < last ? v : v - last;
        }
        break;
    case FOLD_GAUGE:
        if (x->e && isfinite(v))
            o->total += first ? v : v - last;
        break;
    case FOLD_DELTA:
        o->total += isfinite(v) ? v : 0;
        break;
    case FOLD_QUANTILE:
        if (isnan(out->quantile) || v > out->quantile)
            out->quantile = v;
        break;
    }
    if (x->e && isfinite(v))
        x->e->last = v;
    out->any = true;
}

/* The total is replaced by total + h, or + (h - last). What does not fit (custom bounds and exponential ones) is left
 * out. */
static void add_hist(struct work *w, struct item *x)
{
    struct overflow_series *o = x->o;
    struct fold_entry *e = x->e;
    struct histogram *sum = NULL;
    const struct histogram *more = x->h;
    emitted_of(w, o)->any_hist = true;
    if (o->rule != FOLD_DELTA) {
        bool counted = e && !e->h && o->restored && w->now_ms - o->born_ms < WARM_MS;
        if (!e || counted || w->f->hist_bytes > HIST_BYTES_MAX)
            more = NULL;
        if (more && e->h && (o->rule == FOLD_GAUGE || !histogram_reset_between(e->h, x->h))) {
            struct histogram *diff;
            more = histogram_sub(w->a, x->h, e->h, &diff, NULL) == OK ? diff : NULL;
        }
        if (e)
            hist_set(w->f, &e->h, x->h);
    }
    if (more && o->h && histogram_add(w->a, o->h, more, &sum, NULL) == OK)
        hist_set(w->f, &o->h, sum);
    else if (more && !o->h)
        hist_set(w->f, &o->h, more);
}

/* What all series of one timestamp made of the totals. */
static void emit(struct work *w, int64_t ts)
{
    for (size_t i = 0; i < w->out.n; i++) {
        struct emitted *e = &w->out.p[i];
        struct overflow_series *o = e->o;
        int64_t at = MAX(ts, o->last_ms);
        bool all_stale = o->n_entries && !o->n_live && o->rule != FOLD_DELTA;
        if (e->any && (all_stale || o->rule != FOLD_QUANTILE || !isnan(e->quantile))) {
            double v = all_stale ? f64_from_bits(STALE_NAN_BITS) : o->rule == FOLD_QUANTILE ? e->quantile : o->total;
            if (e->samples.n && vec_last(&e->samples).ts_ms == at)
                vec_last(&e->samples).v = v;
            else
                avec_push(w->a, &e->samples, ((struct sample){ at, v }));
            o->last_ms = at;
        }
        if (e->any_hist && o->h) {
            struct histogram *h = histogram_copy(w->a, o->h);
            h->reset = o->rule == FOLD_GAUGE ? HIST_RESET_GAUGE : HIST_RESET_UNKNOWN;
            if (all_stale)
                h->sum = f64_from_bits(STALE_NAN_BITS);
            if (e->hists.n && vec_last(&e->hists).ts_ms == at)
                vec_last(&e->hists).h = h;
            else
                avec_push(w->a, &e->hists, ((struct hist_sample){ at, h }));
            o->last_ms = at;
        }
        e->any = e->any_hist = false;
        e->quantile = none;
    }
}

static int by_ts(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return x->ts_ms != y->ts_ms ? (x->ts_ms > y->ts_ms) - (x->ts_ms < y->ts_ms) : (x->seq > y->seq) - (x->seq < y->seq);
}

static void apply(struct work *w, struct item *p, size_t n)
{
    bool sorted = true;
    for (size_t i = 1; i < n; i++)
        sorted &= p[i].ts_ms >= p[i - 1].ts_ms;
    if (!sorted)
        qsort(p, n, sizeof(*p), by_ts);
    for (size_t i = 0; i < n; i++) {
        struct item *x = &p[i];
        if (x->o->rule == FOLD_DELTA && x->ts_ms > x->o->last_ms && !emitted_of(w, x->o)->any &&
            !emitted_of(w, x->o)->any_hist) {
            x->o->total = 0;
            hist_set(w->f, &x->o->h, NULL);
        }
        bool stale = x->h ? is_stale(x->h->sum) : is_stale(x->v);
        if (stale) {
            ended(w, x);
        } else {
            live(x->e, x->o, true);
            if (x->h)
                add_hist(w, x);
            else
                add_float(w, x);
        }
        if (i + 1 == n || p[i + 1].ts_ms != x->ts_ms)
            emit(w, x->ts_ms);
    }
}

/* ---- what is remembered ---- */
static void entry_drop(struct fold *f, struct fold_entry *e)
{
    struct overflow_series *o = f->overflows.p[e->overflow];
    if (o->rule == FOLD_GAUGE && !e->h && !isnan(e->last))
        o->total -= e->last;
    live(e, o, false);
    if (--o->n_entries == 0 && o->rule == FOLD_GAUGE)
        o->total = 0; /* without what rounding left */
    hist_set(f, &e->h, NULL);
}

/* Silent series leave: gauges soon, counters later, and sooner when there is little room. */
static void sweep(struct work *w)
{
    struct fold *f = w->f;
    if (w->now_ms - f->swept_ms < SWEEP_MS)
        return;
    f->swept_ms = w->now_ms;
    struct foldmap old = f->entries;
    bool tight = old.n > ENTRIES_MAX / 4 * 3;
    memset(&f->entries, 0, sizeof(f->entries));
    map_each (foldmap, s, &old) {
        struct fold_entry *e = &s->value;
        uint32_t quiet = w->now_s - e->seen_s;
        bool soon = f->overflows.p[e->overflow]->rule != FOLD_COUNTER || tight || e->stale;
        if (quiet > (soon ? GAUGE_QUIET_S : QUIET_S))
            entry_drop(f, e);
        else
            *foldmap_put(&f->entries, s->key, NULL) = *e;
    }
    foldmap_free(&old);
    for (size_t i = 0; i < f->overflows.n; i++) {
        struct overflow_series *o = f->overflows.p[i];
        if (!o || o->n_entries || w->now_s - o->seen_s < QUIET_S)
            continue;
        overflowmap_del(&f->by_labels, o->key);
        overflow_free(f, o);
        f->overflows.p[i] = NULL;
        f->n_overflows--;
    }
}

static bool all_stale(const struct batch_series *bs)
{
    for (size_t i = 0; i < bs->n_samples; i++)
        if (!is_stale(bs->samples[i].v))
            return false;
    for (size_t i = 0; i < bs->n_hists; i++)
        if (!is_stale(bs->hists[i].h->sum))
            return false;
    return true;
}

struct place { /* where a folded series belongs */
    uint64_t key;
    uint32_t overflow;
    bool known, ended, lost;
};

static struct place place_of(struct work *w, const struct batch_series *bs, struct labels ls, unsigned kind)
{
    struct fold *f = w->f;
    struct place p = { .key = labels_hash128(ls, w->in->counts.seed).lo };
    struct fold_entry *e = foldmap_get(&f->entries, p.key);
    struct who who = who_of(&w->in->counts, ls);
    const struct ingest_limits *lim = limits_of(settings_of(w->in), who.tenant);
    if (e) {
        p.overflow = e->overflow;
        p.known = true;
    } else if (all_stale(bs)) {
        p.ended = true; /* the end of something that was never seen */
        return p;
    } else if (!overflow_of(w->in, bs, ls, &p.overflow)) {
        p.lost = true;
    }
    const uint64_t max[] = { lim->tenant, lim->job, lim->target, lim->metric, 0 };
    struct culprit *c = culprit_of(&f->culprits, kind, &who, max[kind], w->now_ms);
    c->last_ms = w->now_ms;
    c->samples += bs->n_samples + bs->n_hists;
    if (!e) {
        stat_add(&by_kind[kind], 1);
        culprit_note(c, ls, p.key);
    }
    if (!e && !p.lost && f->entries.n < ENTRIES_MAX) {
        e = foldmap_put(&f->entries, p.key, NULL);
        *e = (struct fold_entry){ .last = none, .overflow = p.overflow };
        f->overflows.p[p.overflow]->n_entries++;
        f->overflows.p[p.overflow]->n_live++;
        p.known = true;
    }
    if (e)
        e->seen_s = w->now_s;
    if (!p.lost)
        f->overflows.p[p.overflow]->seen_s = w->now_s;
    return p;
}

static struct labels labels_of(const struct batch *b, const struct batch_series *bs, struct arena *a)
{
    return bs->labels.n || !bs->key ? bs->labels : batch_key_labels(b, a, bs->key->bytes);
}

static void gather(struct work *w, const struct batch *b, const struct folded *folded, size_t n)
{
    struct place *places = arena_array(w->a, struct place, n);
    size_t n_items = 0;
    for (size_t i = 0; i < n; i++) {
        const struct batch_series *bs = &b->series.p[folded[i].i];
        struct labels ls = labels_of(b, bs, w->a);
        places[i] = place_of(w, bs, ls, folded[i].kind);
        size_t k = bs->n_samples + bs->n_hists;
        if (places[i].ended)
            continue;
        *(places[i].lost ? &w->dropped : places[i].known ? &w->added : &w->forgotten) += k;
        n_items += places[i].lost ? 0 : k;
    }
    /* Entries stay where they are from here on. */
    struct item *items = arena_array(w->a, struct item, n_items + 1), *x = items;
    for (size_t i = 0; i < n; i++) {
        const struct batch_series *bs = &b->series.p[folded[i].i];
        const struct place *p = &places[i];
        if (p->lost || p->ended)
            continue;
        struct item base = { .e = p->known ? foldmap_get(&w->f->entries, p->key) : NULL,
                             .o = w->f->overflows.p[p->overflow] };
        for (size_t k = 0; k < bs->n_samples; k++, x++) {
            *x = base;
            x->ts_ms = bs->samples[k].ts_ms;
            x->v = bs->samples[k].v;
            x->seq = (size_t)(x - items);
        }
        for (size_t k = 0; k < bs->n_hists; k++) {
            if (!is_stale(bs->hists[k].h->sum) && histogram_validate(bs->hists[k].h, NULL) != OK) {
                w->dropped++;
                continue;
            }
            *x = base;
            x->ts_ms = bs->hists[k].ts_ms;
            x->h = bs->hists[k].h;
            x->seq = (size_t)(x - items);
            x++;
        }
    }
    apply(w, items, (size_t)(x - items));
}

static enum err write_out(struct work *w, struct tsdb_write_result *ret)
{
    struct batch b = { .a = w->a };
    struct tsdb_write_result r;
    for (size_t i = 0; i < w->out.n; i++) {
        struct emitted *e = &w->out.p[i];
        e->o->touched = 0;
        struct batch_series bs = { .labels = e->o->labels,
                                   .samples = e->samples.p,
                                   .n_samples = e->samples.n,
                                   .hists = e->hists.p,
                                   .n_hists = e->hists.n,
                                   .meta = e->o->meta,
                                   .temporality = e->o->temporality };
        if (bs.n_samples + bs.n_hists == 0)
            continue;
        avec_push(w->a, &b.series, bs);
        b.n_samples += bs.n_samples + bs.n_hists;
    }
    if (b.series.n == 0)
        return OK;
    enum err e = append_overflow(w->in, &b, &r);
    ret->lsn = MAX(ret->lsn, r.lsn);
    ret->new_series += r.new_series;
    w->dropped += r.rejected[TSDB_REJECT_LABELS]; /* no memory for one more series */
    if (!ret->first.msg[0])
        ret->first = r.first;
    return e;
}

enum err fold_batch(struct ingest *in, const struct batch *b, const struct folded *folded, size_t n,
                    struct tsdb_write_result *ret)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct fold *f = &in->fold;
    struct work w = { .in = in, .f = f, .a = &a, .now_ms = clock_now_ms(in->clock) };
    w.now_s = (uint32_t)(MAX(w.now_ms - f->start_ms, 0) / 1000);
    mtx_lock(&f->mu);
    sweep(&w);
    gather(&w, b, folded, n);
    enum err e = write_out(&w, ret);
    for (size_t i = 0; i < f->culprits.v.n; i++)
        if (f->culprits.v.p[i]->last_ms == w.now_ms)
            culprit_say(f->culprits.v.p[i], w.now_ms);
    mtx_unlock(&f->mu);
    ret->samples += w.added + w.forgotten;
    ret->rejected[TSDB_REJECT_SERIES_LIMIT] += w.dropped;
    if (w.dropped && !ret->first.msg[0])
        IGNORE_ERR(err_fail(&ret->first, ERR_LIMIT, "too many overflow series"));
    stat_add(&folded_added, (int64_t)w.added);
    stat_add(&folded_forgotten, (int64_t)w.forgotten);
    stat_add(&folded_dropped, (int64_t)w.dropped);
    return e;
}
