/* Reading: a series' value is the sum of its slots over the shards; callbacks of the host are asked first; the result is
 * walked by exporters through struct sdk_visitor. Writers are not stopped: each number is right at some moment of the
 * walk, and a histogram's count is the sum of the buckets that are shown with it.
 *
 * Locks: observe_mu (one walk at a time, held while callbacks run, not taken by fork) > sdk_collect_mu > registry. */
#include "sdk_metric.h"
#include "sdk_bounds.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static pthread_mutex_t observe_mu = PTHREAD_MUTEX_INITIALIZER;

static double f64(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

static uint32_t shards_used(void)
{
    return atomic_load_explicit(&sdk_shards_used, memory_order_acquire);
}

static uint64_t sum_u64(uint32_t slot)
{
    uint64_t sum = 0;
    for (uint32_t k = 0, n = shards_used(); k < n; k++) {
        _Atomic uint64_t *p = sdk_slot_of(k, slot);
        sum += p ? atomic_load_explicit(p, memory_order_relaxed) : 0;
    }
    return sum;
}

static double sum_f64(uint32_t slot)
{
    double sum = 0;
    for (uint32_t k = 0, n = shards_used(); k < n; k++) {
        _Atomic uint64_t *p = sdk_slot_of(k, slot);
        sum += p ? f64(atomic_load_explicit(p, memory_order_relaxed)) : 0;
    }
    return sum;
}

static double gauge_value(uint32_t slot)
{
    _Atomic uint64_t *p = sdk_slot_of(0, slot);
    uint64_t v = p ? atomic_load_explicit(p, memory_order_relaxed) : 0;
    return v ? f64(v ^ SDK_GAUGE_UNSET) : 0;
}

/* ---- histograms ---- */

void sdk_hist_reset(struct sdk_hist *h, int schema, size_t n_classic)
{
    h->n[0] = h->n[1] = 0;
    h->zero = 0;
    h->sum = 0;
    h->schema = schema;
    h->failed = false;
    if (h->n_classic < n_classic) {
        uint64_t *p = sdk_grow(h->classic, h->n_classic * 8, n_classic * 8);
        h->failed = p == NULL;
        if (p) {
            h->classic = p;
            h->n_classic = n_classic;
        }
    }
    if (h->classic)
        memset(h->classic, 0, h->n_classic * 8);
}

void sdk_hist_free(struct sdk_hist *h)
{
    sdk_free(h->b[0], h->cap[0] * sizeof *h->b[0]);
    sdk_free(h->b[1], h->cap[1] * sizeof *h->b[1]);
    sdk_free(h->classic, h->n_classic * 8);
    *h = (struct sdk_hist){ 0 };
}

void sdk_hist_bucket(struct sdk_hist *h, unsigned sign, int32_t key, uint64_t count)
{
    if (h->n[sign] == h->cap[sign]) {
        size_t cap = h->cap[sign] ? h->cap[sign] * 2 : 64;
        void *p = sdk_grow(h->b[sign], h->cap[sign] * sizeof *h->b[0], cap * sizeof *h->b[0]);
        if (!p) {
            h->failed = true;
            return;
        }
        h->b[sign] = p;
        h->cap[sign] = cap;
    }
    h->b[sign][h->n[sign]++] = (struct sdk_span_of_buckets){ key, count };
}

static void chunk_add(struct sdk_hist *h, uint32_t entry, sdk_unit_fn unit, const void *ctx)
{
    unsigned per = 1u << h->schema, units = per > 8 ? per / 8 : 1;
    const _Atomic uint64_t *counts = unit(ctx, entry & SDK_DIR_UNIT, units);
    uint32_t tag = entry >> 20;
    int32_t octave = (int32_t)(tag & 2047) - 1023;
    for (unsigned j = 0; counts && j < per; j++) {
        uint64_t n = atomic_load_explicit(counts + j, memory_order_relaxed);
        if (n)
            sdk_hist_bucket(h, tag >> 11, octave * (int32_t)per + (int32_t)j + 1, n);
    }
}

void sdk_hist_add(struct sdk_hist *h, const _Atomic uint64_t *base, bool native, uint32_t n_bounds, sdk_unit_fn unit,
                  const void *ctx)
{
    for (int i = native ? SDK_H_SUMS : SDK_H_SUM, end = native ? SDK_H_DIR : SDK_H_SUM + 1; i < end; i++)
        h->sum += f64(atomic_load_explicit(base + i, memory_order_relaxed));
    const _Atomic uint64_t *classic = base + (native ? SDK_H_CLASSIC : SDK_H_COUNTS);
    for (uint32_t i = 0; n_bounds && i <= n_bounds && h->n_classic > i; i++)
        h->classic[i] += atomic_load_explicit(classic + i, memory_order_relaxed);
    if (!native)
        return;
    h->zero += atomic_load_explicit(base + SDK_H_ZERO, memory_order_relaxed);
    const _Atomic uint32_t *dir = sdk_dir_at(base + SDK_H_DIR);
    for (int hops = 0; dir && hops < 4096 / (int)SDK_DIR_ENTRIES; hops++) {
        for (uint32_t i = 0; i < SDK_DIR_ENTRIES; i++) {
            uint32_t e = atomic_load_explicit(&dir[i], memory_order_acquire);
            if (e)
                chunk_add(h, e, unit, ctx);
        }
        uint32_t next = atomic_load_explicit(&dir[SDK_DIR_ENTRIES], memory_order_acquire);
        dir = next ? sdk_dir_at(unit(ctx, next, 1)) : NULL;
    }
}

static int by_key(const void *a, const void *b)
{
    int32_t x = ((const struct sdk_span_of_buckets *)a)->key, y = ((const struct sdk_span_of_buckets *)b)->key;
    return (x > y) - (x < y);
}

static size_t merge_equal(struct sdk_span_of_buckets *b, size_t n)
{
    size_t out = 0;
    for (size_t i = 0; i < n; i++)
        if (out && b[out - 1].key == b[i].key)
            b[out - 1].count += b[i].count;
        else
            b[out++] = b[i];
    return out;
}

void sdk_hist_halve(struct sdk_hist *h)
{
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < h->n[k]; i++) {
            int32_t key = h->b[k][i].key;
            h->b[k][i].key =
                key >= 0 ? (key + 1) / 2 : -(-key / 2); /* upwards: a bucket lies in the one that ends later */
        }
        h->n[k] = merge_equal(h->b[k], h->n[k]);
    }
    h->schema--;
}

void sdk_hist_finish(struct sdk_hist *h, uint32_t buckets_max, struct sdk_point *ret)
{
    for (int k = 0; k < 2; k++) {
        bool sorted = true;
        for (size_t i = 1; i < h->n[k]; i++)
            sorted &= h->b[k][i - 1].key < h->b[k][i].key;
        if (!sorted) {
            qsort(h->b[k], h->n[k], sizeof *h->b[k], by_key);
            h->n[k] = merge_equal(h->b[k], h->n[k]);
        }
    }
    while (h->n[0] + h->n[1] > buckets_max && h->schema > -4)
        sdk_hist_halve(h);
    ret->count = ret->zero_count = h->zero;
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < h->n[k]; i++)
            ret->count += h->b[k][i].count;
    ret->sum = h->sum;
    ret->schema = h->schema;
    ret->zero_threshold = DBL_MIN;
    ret->pos = h->b[0];
    ret->n_pos = h->n[0];
    ret->neg = h->b[1];
    ret->n_neg = h->n[1];
}

static const _Atomic uint64_t *own_unit(const void *ctx, uint32_t unit, uint32_t n)
{
    (void)ctx, (void)n;
    return sdk_unit(unit);
}

static void hist_read(struct sdk_hist *h, const struct sdk_instrument *in, uint32_t slot, struct sdk_point *ret)
{
    uint32_t n_bounds = (uint32_t)in->f.n_bounds;
    sdk_hist_reset(h, in->schema, n_bounds ? n_bounds + 1 : 0);
    for (uint32_t k = 0, n = shards_used(); k < n; k++) {
        const _Atomic uint64_t *base = sdk_slot_of(k, slot);
        if (base)
            sdk_hist_add(h, base, in->f.native, n_bounds, own_unit, NULL);
    }
    sdk_hist_finish(h, in->buckets_max, ret);
    if (n_bounds) {
        ret->classic = h->classic;
        for (uint32_t i = 0; !in->f.native && i <= n_bounds; i++)
            ret->count += h->classic[i];
    }
}

/* ---- exemplars ---- */

static size_t exemplars_read(const struct sdk_series *s, struct sdk_exemplar *ret)
{
    size_t n = 0;
    for (uint32_t k = 0; k < s->n_ex; k++) {
        const struct sdk_ex_cell *c = &s->ex[k];
        uint32_t seq = atomic_load_explicit(&c->seq, memory_order_acquire);
        if (!seq || seq & 1 ||
            atomic_load_explicit(&c->fork, memory_order_relaxed) !=
                atomic_load_explicit(&sdk_forks, memory_order_relaxed))
            continue;
        /* Acquires pair with the releases of exemplar(): data of a writing under way shows in the number below. */
        struct sdk_exemplar e = { .value = f64(atomic_load_explicit(&c->value, memory_order_acquire)),
                                  .unix_ms = atomic_load_explicit(&c->ms, memory_order_acquire) };
        uint64_t ids[3];
        for (int i = 0; i < 3; i++)
            ids[i] = atomic_load_explicit(&c->ids[i], memory_order_acquire);
        memcpy(e.trace_id, ids, 16);
        memcpy(e.span_id, ids + 2, 8);
        if (atomic_load_explicit(&c->seq, memory_order_relaxed) == seq)
            ret[n++] = e;
    }
    return n;
}

/* ---- callbacks ---- */

/* What callbacks reported in this walk: records of a head and label text, in order of instruments. */
struct observed {
    const struct sdk_instrument *in;
    uint64_t bits;
    uint32_t text_n, pad_;
};
static struct sdk_buf observed = { .max = 256u << 20 };

struct vane_observer {
    const struct sdk_instrument *in;
    uint64_t *seen; /* hashes of label texts, open addressing */
    size_t n, cap;
};

/* true when this text was not reported before in this call of the callback. */
static bool seen_add(struct vane_observer *o, uint64_t hash)
{
    hash |= 1;
    if ((o->n + 1) * 2 > o->cap) {
        size_t cap = o->cap ? o->cap * 2 : 64;
        uint64_t *t = sdk_alloc(cap * 8);
        if (!t)
            return false;
        for (size_t i = 0; i < o->cap; i++)
            for (size_t at = o->seen[i] & (cap - 1); o->seen[i]; at = (at + 1) & (cap - 1))
                if (!t[at]) {
                    t[at] = o->seen[i];
                    break;
                }
        sdk_free(o->seen, o->cap * 8);
        o->seen = t;
        o->cap = cap;
    }
    size_t at = hash & (o->cap - 1);
    for (; o->seen[at]; at = (at + 1) & (o->cap - 1))
        if (o->seen[at] == hash)
            return false;
    o->seen[at] = hash;
    o->n++;
    return true;
}

static void observe_add(vane_observer *o, uint64_t bits, vane_labels values)
{
    const struct sdk_instrument *in = o->in;
    if (values.n != in->n_labels || (values.n && !values.v)) {
        sdk_count(SDK_BAD_LABELS, 1);
        return;
    }
    if (o->n >= in->series_max) {
        sdk_count(SDK_SERIES_OVERFLOW, 1);
        return;
    }
    struct sdk_buf text;
    sdk_buf_init(&text, SDK_TEXT_MAX);
    if (in->group && in->group->labels[0])
        sdk_put(&text, in->group->labels, strlen(in->group->labels) - 1);
    char clean[VANE_VALUE_MAX];
    for (uint32_t i = 0; i < in->n_labels; i++)
        sdk_put_label(&text, in->labels[i], clean,
                      sdk_text(clean, sizeof clean, values.v[i], values.len ? values.len[i] : SIZE_MAX));
    if (!text.failed && seen_add(o, sdk_hash(text.p, text.n))) {
        struct observed head = { in, bits, (uint32_t)text.n, 0 };
        sdk_put(&observed, (const char *)&head, sizeof head);
        sdk_put(&observed, text.p, text.n);
        while (observed.n % 8 && !observed.failed)
            sdk_putc(&observed, 0);
    }
    sdk_buf_free(&text);
}

void vane_observe(vane_observer *o, double value, vane_labels values)
{
    if (!o)
        return;
    vane_kind kind = o->in->f.kind;
    bool whole = kind == VANE_COUNTER || kind == VANE_UPDOWN;
    if ((kind == VANE_COUNTER || kind == VANE_FCOUNTER || whole) &&
        !(value <= DBL_MAX && value >= (kind == VANE_UPDOWN ? -9e18 : 0) && (!whole || value < 1.8e19))) {
        sdk_count(SDK_BAD_VALUES, 1);
        return;
    }
    uint64_t bits;
    if (whole)
        bits = kind == VANE_UPDOWN ? (uint64_t)(int64_t)value : (uint64_t)value;
    else
        memcpy(&bits, &value, 8);
    observe_add(o, bits, values);
}

void vane_observe_u64(vane_observer *o, uint64_t value, vane_labels values)
{
    if (!o)
        return;
    if (o->in->f.kind == VANE_COUNTER || o->in->f.kind == VANE_UPDOWN)
        observe_add(o, value, values);
    else
        vane_observe(o, (double)value, values);
}

static void run_callbacks(void)
{
    observed.n = 0;
    observed.failed = false;
    atomic_store(&sdk_observing, true);
    uint32_t n = atomic_load_explicit(&sdk_instruments_n, memory_order_acquire);
    for (uint32_t i = 0; i < n; i++) {
        struct sdk_instrument *in = atomic_load_explicit(&sdk_instruments[i], memory_order_acquire);
        if (!in || !in->observe)
            continue;
        vane_observer o = { .in = in };
        uint64_t start = sdk_mono_ns();
        in->observe(in->observe_ctx, &o);
        if (sdk_mono_ns() - start > 100000000u)
            sdk_count(SDK_CALLBACKS_SLOW, 1);
        sdk_free(o.seen, o.cap * 8);
    }
    atomic_store(&sdk_observing, false);
}

static int visit_observed(const struct sdk_visitor *v, const struct sdk_instrument *in)
{
    int stop = 0;
    for (size_t at = 0; !stop && at + sizeof(struct observed) <= observed.n;) {
        struct observed head;
        memcpy(&head, observed.p + at, sizeof head);
        const char *text = observed.p + at + sizeof head;
        at = (at + sizeof head + head.text_n + 7) / 8 * 8;
        if (head.in != in)
            continue;
        struct sdk_point p = { .labels = text, .labels_n = head.text_n };
        p.v.u = head.bits; /* the kinds share their bits */
        stop = v->point(v->ctx, &in->f, &p);
    }
    return stop;
}

/* ---- the walk ---- */

static struct sdk_hist scratch; /* of the walk under way */

static int visit_series(const struct sdk_visitor *v, const struct sdk_instrument *in, const struct sdk_series *s)
{
    struct sdk_exemplar ex[SDK_EX_HISTOGRAM];
    struct sdk_point p = { .labels = sdk_series_text(s), .labels_n = s->text_n, .created_unix_ms = s->created_ms };
    switch (in->f.kind) {
    case VANE_COUNTER:
    case VANE_UPDOWN:
        p.v.u = sum_u64(s->slot);
        break;
    case VANE_FCOUNTER:
        p.v.f = sum_f64(s->slot);
        break;
    case VANE_GAUGE:
        p.v.f = gauge_value(s->slot);
        break;
    case VANE_STATESET: {
        _Atomic uint64_t *at = sdk_slot_of(0, s->slot);
        uint64_t state = at ? atomic_load_explicit(at, memory_order_relaxed) : 0;
        p.v.u = state ? state - 1 : 0;
        break;
    }
    case VANE_HISTOGRAM:
        hist_read(&scratch, in, s->slot, &p);
        if (scratch.failed)
            return 0; /* no memory: counted; better absent than wrong */
        break;
    case VANE_INFO:
        break;
    }
    if (s->ex) {
        p.exemplars = ex;
        p.n_exemplars = exemplars_read(s, ex);
    }
    if (atomic_load_explicit(&s->dead, memory_order_relaxed))
        return 0;
    return v->point(v->ctx, &in->f, &p);
}

static int visit_instrument(const struct sdk_visitor *v, const struct sdk_instrument *in)
{
    const struct sdk_series *s = atomic_load_explicit(&in->first, memory_order_acquire);
    if (!s && !in->observe && !in->info)
        return 0;
    int stop = v->family_begin(v->ctx, &in->f);
    if (!stop && in->info) {
        struct sdk_point p = { .labels = in->info, .labels_n = strlen(in->info) };
        p.v.u = 1;
        stop = v->point(v->ctx, &in->f, &p);
    } else if (!stop && in->observe) {
        stop = visit_observed(v, in);
    }
    for (; s && !stop && !in->observe; s = atomic_load_explicit(&s->next, memory_order_acquire))
        stop = visit_series(v, in, s);
    return stop ? stop : v->family_end(v->ctx, &in->f);
}

/* Wall and monotonic clock drift apart by a second between two walks: somebody set the clock. */
static void notice_clock_jump(void)
{
    static int64_t last; /* under observe_mu */
    int64_t apart = (int64_t)(sdk_unix_ns() - sdk_mono_ns());
    int64_t moved = last ? apart - last : 0;
    last = apart;
    if (moved > 1000000000 || moved < -1000000000)
        sdk_count(SDK_CLOCK_JUMPS, 1);
}

int sdk_collect(const struct sdk_visitor *v)
{
    pthread_mutex_lock(&observe_mu);
    notice_clock_jump();
    run_callbacks();
    pthread_mutex_lock(&sdk_collect_mu);
    int stop = 0;
    bool multi = sdk_mem_mapped() && sdk_cfg.multiproc_dir && *sdk_cfg.multiproc_dir;
    uint32_t n = sdk_on() ? atomic_load_explicit(&sdk_instruments_n, memory_order_acquire) : 0;
    for (uint32_t i = 0; i < n && !stop; i++) {
        const struct sdk_instrument *in = atomic_load_explicit(&sdk_instruments[i], memory_order_acquire);
        if (in && (!multi || in->observe || in->info))
            stop = visit_instrument(v, in);
    }
    if (multi && !stop && sdk_on())
        stop = sdk_multiproc_collect(v);
    if (!stop && sdk_on())
        stop = sdk_process_collect(v);
    sdk_metric_reap();
    pthread_mutex_unlock(&sdk_collect_mu);
    pthread_mutex_unlock(&observe_mu);
    return stop;
}

bool sdk_labels_next(const char **at, const char *end, char name[VANE_NAME_MAX + 1], char value[VANE_VALUE_MAX + 1])
{
    const char *p = *at;
    if (p < end && *p == ',')
        p++;
    size_t n = 0;
    while (p < end && *p != '=' && n < VANE_NAME_MAX)
        name[n++] = *p++;
    name[n] = 0;
    if (!n || end - p < 2 || p[0] != '=' || p[1] != '"')
        return false;
    n = 0;
    for (p += 2; p < end && *p != '"' && n < VANE_VALUE_MAX; p++) {
        char c = *p;
        if (c == '\\' && p + 1 < end)
            c = *++p == 'n' ? '\n' : *p;
        value[n++] = c;
    }
    value[n] = 0;
    *at = p < end ? p + 1 : end;
    return p < end;
}

/* ---- reading back ---- */

static bool alive(uint64_t id)
{
    return sdk_on() &&
           atomic_load_explicit(&sdk_slots.info[(uint32_t)id & sdk_slots.mask].gen, memory_order_acquire) == id >> 32;
}

vane_status vane_counter_value(vane_counter c, uint64_t *ret)
{
    if (!ret || !alive(c.id))
        return ret ? VANE_E_STALE : VANE_E_ARG;
    *ret = sum_u64((uint32_t)c.id);
    return VANE_OK;
}

vane_status vane_fcounter_value(vane_fcounter c, double *ret)
{
    if (!ret || !alive(c.id))
        return ret ? VANE_E_STALE : VANE_E_ARG;
    *ret = sum_f64((uint32_t)c.id);
    return VANE_OK;
}

vane_status vane_updown_value(vane_updown c, int64_t *ret)
{
    if (!ret || !alive(c.id))
        return ret ? VANE_E_STALE : VANE_E_ARG;
    *ret = (int64_t)sum_u64((uint32_t)c.id);
    return VANE_OK;
}

vane_status vane_gauge_value(vane_gauge g, double *ret)
{
    if (!ret || !alive(g.id))
        return ret ? VANE_E_STALE : VANE_E_ARG;
    *ret = gauge_value((uint32_t)g.id);
    return VANE_OK;
}

/* Reads a histogram into h; false when the handle is stale. The collect lock keeps the series' memory. */
static bool hist_of(vane_histogram g, struct sdk_hist *h, struct sdk_point *p, const struct sdk_instrument **ret_in)
{
    pthread_mutex_lock(&sdk_collect_mu);
    bool ok = alive(g.id);
    if (ok) {
        const struct sdk_series *s = sdk_slots.info[(uint32_t)g.id & sdk_slots.mask].more;
        *ret_in = s->in;
        hist_read(h, s->in, s->slot, p);
        ok = !h->failed;
    }
    pthread_mutex_unlock(&sdk_collect_mu);
    return ok;
}

vane_status vane_histogram_value(vane_histogram g, uint64_t *ret_count, double *ret_sum)
{
    struct sdk_hist h = { 0 };
    struct sdk_point p = { 0 };
    const struct sdk_instrument *in;
    bool ok = hist_of(g, &h, &p, &in);
    sdk_hist_free(&h);
    if (!ok)
        return VANE_E_STALE;
    if (ret_count)
        *ret_count = p.count;
    if (ret_sum)
        *ret_sum = p.sum;
    return VANE_OK;
}

/* 2^x for |x| < 1, to 13 digits: the nearest lower 2^(j/64) times a short series. */
static double exp2_fraction(double x)
{
    int i = x < 0 ? -1 : 0;
    x -= i;
    unsigned j = (unsigned)(x * 64) & 63;
    double r = (x - j / 64.0) * 0.69314718055994530942;
    double series = 1 + r * (1 + r / 2 * (1 + r / 3 * (1 + r / 4 * (1 + r / 5))));
    double v = f64(((uint64_t)(1023 + i) << 52) | sdk_bucket_mantissa[j]) * series;
    return v;
}

double sdk_bucket_bound(int32_t key, int schema)
{
    int64_t octave =
        schema >= 0 ? key >> schema : (int64_t)key << -schema; /* shifts of negative numbers round down in gcc, clang */
    uint64_t mantissa = schema > 0 ? sdk_bucket_mantissa[(uint32_t)(key & ((1 << schema) - 1)) << (6 - schema)] : 0;
    if (octave > 1023)
        return DBL_MAX; /* the last bucket ends with the numbers */
    return octave < -1022 ? 0 : f64((uint64_t)(octave + 1023) << 52 | mantissa);
}

/* Where the rank lies in a bucket: exponential between its bounds, as PromQL does for native histograms. share 0: at its
 * lower end. */
static double inside(int32_t key, int schema, double share)
{
    double width = 1;
    for (int i = 0; i < schema; i++)
        width /= 2;
    for (int i = 0; i > schema; i--)
        width *= 2;
    double lo = sdk_bucket_bound(key - 1, schema), hi = sdk_bucket_bound(key, schema);
    if (schema < 0) /* wider than a power of two: only after heavy merging */
        return lo + (hi - lo) * share;
    return lo * exp2_fraction(share * width > 0.999999999 ? 0.999999999 : share * width);
}

static double native_quantile(const struct sdk_point *p, double q)
{
    double rank = q * (double)p->count, seen = 0;
    for (size_t i = p->n_neg; i-- > 0;) {
        double n = (double)p->neg[i].count;
        if (seen + n >= rank)
            return -inside(p->neg[i].key, p->schema, 1 - (rank - seen) / n);
        seen += n;
    }
    if (p->zero_count && seen + (double)p->zero_count >= rank)
        return 0;
    seen += (double)p->zero_count;
    for (size_t i = 0; i < p->n_pos; i++) {
        double n = (double)p->pos[i].count;
        if (seen + n >= rank)
            return inside(p->pos[i].key, p->schema, (rank - seen) / n);
        seen += n;
    }
    return p->n_pos ? sdk_bucket_bound(p->pos[p->n_pos - 1].key, p->schema) : 0;
}

static double classic_quantile(const struct sdk_family *f, const struct sdk_point *p, double q)
{
    double rank = q * (double)p->count, seen = 0;
    for (size_t i = 0; i <= f->n_bounds; i++) {
        double n = (double)p->classic[i];
        if (n == 0 || seen + n < rank) {
            seen += n;
            continue;
        }
        if (i == f->n_bounds)
            return f->bounds[i - 1];
        double hi = f->bounds[i], lo = i ? f->bounds[i - 1] : hi > 0 ? 0 : hi;
        return lo + (hi - lo) * ((rank - seen) / n);
    }
    return f->bounds[f->n_bounds - 1];
}

double vane_histogram_quantile(vane_histogram g, double q)
{
    struct sdk_hist h = { 0 };
    struct sdk_point p = { 0 };
    const struct sdk_instrument *in = NULL;
    double v = (double)NAN;
    if (hist_of(g, &h, &p, &in) && p.count && !isnan(q))
        v = q < 0          ? -(double)INFINITY
            : q > 1        ? (double)INFINITY
            : in->f.native ? native_quantile(&p, q)
                           : classic_quantile(&in->f, &p, q);
    sdk_hist_free(&h);
    return v;
}

/* ---- life ---- */

static void collect_fork_child(void)
{
    pthread_mutex_init(&observe_mu, NULL);
    if (atomic_load(&sdk_observing)) /* another thread was writing it: left to the copy of the heap */
        observed = (struct sdk_buf){ .max = observed.max };
    atomic_store(&sdk_observing, false);
}

static void collect_stop(void)
{
    pthread_mutex_lock(&sdk_collect_mu);
    sdk_hist_free(&scratch);
    pthread_mutex_unlock(&sdk_collect_mu);
}

const struct sdk_module sdk_collect_module = { .name = "collect",
                                               .stop = collect_stop,
                                               .fork_child = collect_fork_child };
