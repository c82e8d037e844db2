/* The request path: adds, sets and observations through handles. Nothing here allocates, locks or looks up, but the slow
 * branches taken the first time a thread meets a block (sdk_slot_slow) or a power of two (a chunk of buckets). */
#include "sdk_metric.h"
#include "sdk_bounds.h"

#include <float.h>

static inline double f64(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, 8);
    return v;
}

static inline uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, 8);
    return bits;
}

static inline void shared_add_f64(_Atomic uint64_t *p, double v)
{
    uint64_t old = atomic_load_explicit(p, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(p, &old, bits_of(f64(old) + v), memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
}

static inline void own_add_f64(_Atomic uint64_t *p, double v)
{
#ifdef SDK_PORTABLE
    shared_add_f64(p, v);
#else
    uint64_t old = atomic_load_explicit(p, memory_order_relaxed);
    bool done;
    do { /* once, unless a signal handler came in between; no lock prefix, nobody else writes */
        uint64_t sum = bits_of(f64(old) + v);
        __asm__ volatile("cmpxchgq %3, %1" : "=@ccz"(done), "+m"(*p), "+a"(old) : "r"(sum) : "memory");
    } while (SDK_UNLIKELY(!done));
#endif
}

static SDK_COLD void refused(enum sdk_counter c)
{
    if (sdk_on())
        sdk_count(c, 1);
}

static inline const struct sdk_slot_info *slot_info(uint64_t id)
{
    return &sdk_slots.info[(uint32_t)id & sdk_slots.mask];
}

static inline bool alive(const struct sdk_slot_info *i, uint64_t id)
{
    return atomic_load_explicit(&i->gen, memory_order_acquire) == (uint32_t)(id >> 32);
}

/* This thread's slot, NULL when the slow branch is needed. */
static inline _Atomic uint64_t *own_slot(uint32_t slot)
{
    uint64_t *seg = atomic_load_explicit(&sdk_tls.segs[SDK_SLOT_SEG(slot)], memory_order_relaxed);
    return SDK_LIKELY(seg != NULL) ? (_Atomic uint64_t *)(void *)(seg + slot % SDK_BLOCK_SLOTS) : NULL;
}

/* ---- exemplars ---- */

static SDK_COLD void exemplar(const struct sdk_series *s, double v, uint32_t cell)
{
    struct sdk_ex_cell *c = &s->ex[cell];
    uint64_t now = sdk_unix_ms_coarse(), last = atomic_load_explicit(&c->ms, memory_order_relaxed);
    uint32_t fork = atomic_load_explicit(&sdk_forks, memory_order_relaxed);
    if (atomic_load_explicit(&c->fork, memory_order_relaxed) == fork && now - last < 100)
        return;
    uint32_t seq = atomic_load_explicit(&c->seq, memory_order_relaxed);
    if (seq & 1 ||
        !atomic_compare_exchange_strong_explicit(&c->seq, &seq, seq + 1, memory_order_acquire, memory_order_relaxed))
        return;
    /* Releases, so that a reader that sees any of this also sees the odd number, or a later one: exemplars_read(). */
    const vane_context *ctx = &sdk_tls.context;
    uint64_t ids[3];
    memcpy(ids, ctx->trace_id, 16);
    memcpy(ids + 2, ctx->span_id, 8);
    atomic_store_explicit(&c->fork, fork, memory_order_release);
    atomic_store_explicit(&c->ms, now, memory_order_release);
    atomic_store_explicit(&c->value, bits_of(v), memory_order_release);
    for (int i = 0; i < 3; i++)
        atomic_store_explicit(&c->ids[i], ids[i], memory_order_release);
    atomic_store_explicit(&c->seq, seq + 2, memory_order_release);
}

static SDK_COLD void counter_exemplar(const struct sdk_slot_info *i, double v)
{
    const struct sdk_series *s = i->more;
    if (sdk_tls.context.flags & 1 && s && s->ex)
        exemplar(s, v, 0);
}

/* ---- counters: the slow branches are calls in tail position, so that the fast ones need no stack ---- */

static SDK_COLD void add_slow(uint32_t slot, uint64_t n)
{
    bool shared;
    struct sdk_shard *shard;
    _Atomic uint64_t *p = sdk_slot_slow(slot, &shared, &shard);
    if (p && shared)
        atomic_fetch_add_explicit(p, n, memory_order_relaxed);
    else if (p)
        sdk_own_add(p, n);
    if (sdk_tls.span)
        counter_exemplar(slot_info(slot), (double)n);
}

static SDK_COLD void add_f64_slow(uint32_t slot, double v)
{
    bool shared;
    struct sdk_shard *shard;
    _Atomic uint64_t *p = sdk_slot_slow(slot, &shared, &shard);
    if (p && shared)
        shared_add_f64(p, v);
    else if (p)
        own_add_f64(p, v);
    if (sdk_tls.span)
        counter_exemplar(slot_info(slot), v);
}

SDK_HOT void vane_counter_add(vane_counter c, uint64_t n)
{
    const struct sdk_slot_info *i = slot_info(c.id);
    if (SDK_UNLIKELY(!alive(i, c.id))) {
        refused(SDK_STALE_HANDLES);
        return;
    }
    _Atomic uint64_t *p = own_slot((uint32_t)c.id);
    if (SDK_UNLIKELY(!p)) {
        add_slow((uint32_t)c.id, n);
        return;
    }
    sdk_own_add(p, n);
    if (SDK_UNLIKELY(sdk_tls.span != NULL))
        counter_exemplar(i, (double)n);
}

SDK_HOT void vane_updown_add(vane_updown c, int64_t n)
{
    if (SDK_UNLIKELY(!alive(slot_info(c.id), c.id))) {
        refused(SDK_STALE_HANDLES);
        return;
    }
    _Atomic uint64_t *p = own_slot((uint32_t)c.id);
    if (SDK_UNLIKELY(!p)) {
        add_slow((uint32_t)c.id, (uint64_t)n);
        return;
    }
    sdk_own_add(p, (uint64_t)n);
}

SDK_HOT void vane_fcounter_add(vane_fcounter c, double v)
{
    const struct sdk_slot_info *i = slot_info(c.id);
    if (SDK_UNLIKELY(!alive(i, c.id))) {
        refused(SDK_STALE_HANDLES);
        return;
    }
    if (SDK_UNLIKELY(!(v >= 0 && v <= DBL_MAX))) {
        refused(SDK_BAD_VALUES);
        return;
    }
    _Atomic uint64_t *p = own_slot((uint32_t)c.id);
    if (SDK_UNLIKELY(!p)) {
        add_f64_slow((uint32_t)c.id, v);
        return;
    }
    own_add_f64(p, v);
    if (SDK_UNLIKELY(sdk_tls.span != NULL))
        counter_exemplar(i, v);
}

/* ---- gauges: one slot, in shard 0 ---- */

static inline _Atomic uint64_t *gauge_slot(uint64_t id, const struct sdk_slot_info **ret)
{
    const struct sdk_slot_info *i = slot_info(id);
    if (SDK_UNLIKELY(!alive(i, id))) {
        refused(SDK_STALE_HANDLES);
        return NULL;
    }
    *ret = i;
    return sdk_slot_of(0, (uint32_t)id);
}

static inline void gauge_stamp(const struct sdk_slot_info *i, _Atomic uint64_t *p)
{
    if (i->native) /* of mode "recent" */
        atomic_store_explicit(p + 1, sdk_unix_ms_coarse(), memory_order_relaxed);
}

SDK_HOT void vane_gauge_set(vane_gauge g, double v)
{
    const struct sdk_slot_info *i;
    _Atomic uint64_t *p = gauge_slot(g.id, &i);
    if (!p)
        return;
    atomic_store_explicit(p, bits_of(v) ^ SDK_GAUGE_UNSET, memory_order_relaxed);
    gauge_stamp(i, p);
}

static inline double gauge_of(uint64_t stored)
{
    return stored ? f64(stored ^ SDK_GAUGE_UNSET) : 0;
}

void vane_gauge_add(vane_gauge g, double v)
{
    const struct sdk_slot_info *i;
    _Atomic uint64_t *p = gauge_slot(g.id, &i);
    if (!p)
        return;
    uint64_t old = atomic_load_explicit(p, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(p, &old, bits_of(gauge_of(old) + v) ^ SDK_GAUGE_UNSET,
                                                  memory_order_relaxed, memory_order_relaxed))
        ;
    gauge_stamp(i, p);
}

static SDK_COLD void gauge_extreme(vane_gauge g, double v, bool larger)
{
    const struct sdk_slot_info *i;
    _Atomic uint64_t *p = gauge_slot(g.id, &i);
    if (!p)
        return;
    uint64_t old = atomic_load_explicit(p, memory_order_relaxed);
    do {
        double was = gauge_of(old);
        if (old && !(larger ? v > was : v < was))
            return;
    } while (!atomic_compare_exchange_weak_explicit(p, &old, bits_of(v) ^ SDK_GAUGE_UNSET, memory_order_relaxed,
                                                    memory_order_relaxed));
    gauge_stamp(i, p);
}

void vane_gauge_max(vane_gauge g, double v)
{
    gauge_extreme(g, v, true);
}

void vane_gauge_min(vane_gauge g, double v)
{
    gauge_extreme(g, v, false);
}

SDK_COLD void vane_gauge_set_to_now(vane_gauge g)
{
    vane_gauge_set(g, (double)(sdk_unix_ns() / 1000000u) / 1000);
}

SDK_COLD void vane_stateset_set(vane_stateset s, uint32_t state)
{
    const struct sdk_slot_info *i;
    _Atomic uint64_t *p = gauge_slot(s.id, &i);
    if (!p)
        return;
    if (state >= i->n_bounds) { /* the number of states */
        refused(SDK_BAD_VALUES);
        return;
    }
    atomic_store_explicit(p, (uint64_t)state + 1, memory_order_relaxed);
}

/* ---- histograms ---- */

/* The chunk of buckets for a tag: found in the directory, or made. NULL: no memory. */
static SDK_COLD _Atomic uint64_t *chunk_new(struct sdk_shard *shard, _Atomic uint32_t *dir, uint32_t tag,
                                            unsigned schema)
{
    uint32_t units = schema > 3 ? 1u << (schema - 3) : 1;
    for (;;) {
        for (uint32_t k = 0; k < SDK_DIR_ENTRIES; k++) {
            _Atomic uint32_t *e = &dir[(tag + k) % SDK_DIR_ENTRIES];
            uint32_t have = atomic_load_explicit(e, memory_order_acquire);
            if (!have) {
                uint32_t unit = sdk_units_new(shard, units);
                if (!unit)
                    return NULL;
                if (atomic_compare_exchange_strong_explicit(e, &have, tag << 20 | unit, memory_order_acq_rel,
                                                            memory_order_acquire))
                    return sdk_unit(unit);
                /* another thread on shard 0, or a signal handler, took the entry; the units are lost, which is rare */
            }
            if (have >> 20 == tag)
                return sdk_unit(have & SDK_DIR_UNIT);
        }
        _Atomic uint32_t *link = &dir[SDK_DIR_ENTRIES];
        uint32_t next = atomic_load_explicit(link, memory_order_acquire);
        if (!next) {
            uint32_t unit = sdk_units_new(shard, 1);
            if (!unit)
                return NULL;
            if (atomic_compare_exchange_strong_explicit(link, &next, unit, memory_order_acq_rel, memory_order_acquire))
                next = unit;
        }
        dir = sdk_dir_at(sdk_unit(next));
    }
}

/* The count of a native bucket, or NULL. w is the value's bits without sign, minus one: buckets include their upper bound,
 * so that (lo, hi] in values is [lo, hi) in w. */
static inline _Atomic uint64_t *bucket_of(struct sdk_shard *shard, _Atomic uint64_t *base, uint64_t w, uint32_t sign,
                                          unsigned schema)
{
    uint64_t mantissa = w & 0xFFFFFFFFFFFFFu;
    uint32_t tag = sign << 11 | (uint32_t)(w >> 52);
    uint32_t j = sdk_bucket_cell[mantissa >> 45];
    j += mantissa >= sdk_bucket_mantissa[j + 1];
    j >>= 6 - schema;
    _Atomic uint32_t *dir = sdk_dir_at(base + SDK_H_DIR);
    uint32_t e = atomic_load_explicit(&dir[tag % SDK_DIR_ENTRIES], memory_order_acquire);
    if (SDK_LIKELY(e >> 20 == tag))
        return sdk_unit(e & SDK_DIR_UNIT) + j;
    _Atomic uint64_t *chunk = chunk_new(shard, dir, tag, schema);
    return chunk ? chunk + j : NULL;
}

static inline size_t bound_of(const double *bounds, size_t n, double v)
{
    size_t at = 0;
    if (n <= 16) {
        while (at < n && v > bounds[at])
            at++;
        return at;
    }
    while (n) { /* the first bound that is not below v */
        size_t half = n / 2;
        bool right = v > bounds[at + half];
        at = right ? at + half + 1 : at;
        n = right ? n - half - 1 : half;
    }
    return at;
}

static inline void count_one(_Atomic uint64_t *p, bool shared)
{
    if (shared)
        atomic_fetch_add_explicit(p, 1, memory_order_relaxed);
    else
        sdk_own_add(p, 1);
}

static void observe_elsewhere(const struct sdk_slot_info *i, double v, bool shared) SDK_COLD;

static inline void observe(const struct sdk_slot_info *i, struct sdk_shard *shard, _Atomic uint64_t *base, double v,
                           bool shared)
{
    _Atomic uint64_t *sum = base + SDK_H_SUM;
    if (SDK_LIKELY(i->native)) {
        uint64_t bits = bits_of(v), w = (bits & INT64_MAX) - 1;
        _Atomic uint64_t *p = base + SDK_H_ZERO;
        sum = base + SDK_H_SUMS + (w >> 46 & 3);
        if (SDK_LIKELY(w + 1 > (uint64_t)1 << 52)) { /* normal, and not the smallest */
            p = bucket_of(shard, base, w, (uint32_t)(bits >> 63), i->schema);
            if (SDK_UNLIKELY(!p)) {
                observe_elsewhere(i, v, shared);
                return;
            }
        }
        count_one(p, shared);
    }
    if (SDK_UNLIKELY(i->n_bounds)) {
        const struct sdk_instrument *in = ((const struct sdk_series *)i->more)->in;
        _Atomic uint64_t *counts = base + (i->native ? SDK_H_CLASSIC : SDK_H_COUNTS);
        count_one(counts + bound_of(in->f.bounds, i->n_bounds, v), shared);
    }
    if (shared)
        shared_add_f64(sum, v);
    else
        own_add_f64(sum, v);
}

/* This shard has no chunk for the value, and none is to be had now: no memory, or a signal handler has interrupted the
 * very allocation. Shard 0 has a reserve. */
static void observe_elsewhere(const struct sdk_slot_info *i, double v, bool shared)
{
    struct sdk_shard *all = &sdk_shards[0];
    _Atomic uint64_t *base = shared ? NULL : sdk_slot_of(0, (uint32_t)(i - sdk_slots.info));
    if (base)
        observe(i, all, base, v, true);
    else
        sdk_count(SDK_ALLOC_FAILURES, 1);
}

static SDK_COLD void observe_exemplar(const struct sdk_slot_info *i, double v)
{
    const struct sdk_series *s = i->more;
    if (sdk_tls.context.flags & 1 && s && s->ex)
        exemplar(s, v, (uint32_t)(bits_of(v) >> 52) % SDK_EX_HISTOGRAM);
}

static SDK_COLD void observe_slow(const struct sdk_slot_info *i, uint32_t slot, double v)
{
    bool shared;
    struct sdk_shard *shard;
    _Atomic uint64_t *base = sdk_slot_slow(slot, &shared, &shard);
    if (base)
        observe(i, shard, base, v, shared);
    if (sdk_tls.span)
        observe_exemplar(i, v);
}

SDK_HOT void vane_histogram_observe(vane_histogram h, double v)
{
    const struct sdk_slot_info *i = slot_info(h.id);
    if (SDK_UNLIKELY(!alive(i, h.id))) {
        refused(SDK_STALE_HANDLES);
        return;
    }
    if (SDK_UNLIKELY(!(v <= DBL_MAX && v >= -DBL_MAX))) {
        refused(SDK_BAD_VALUES);
        return;
    }
    _Atomic uint64_t *base = own_slot((uint32_t)h.id);
    if (SDK_UNLIKELY(!base)) {
        observe_slow(i, (uint32_t)h.id, v);
        return;
    }
    observe(i, sdk_tls.shard, base, v, false);
    if (SDK_UNLIKELY(sdk_tls.span != NULL))
        observe_exemplar(i, v);
}

/* ---- timers ---- */

vane_timer vane_timer_start(vane_histogram h)
{
    uint64_t wall;
    vane_timer t = { h, sdk_on() ? sdk_tick_ns(&wall) : 0 };
    return t;
}

double vane_timer_stop(vane_timer *t)
{
    if (!t || !t->start_ns || !sdk_on())
        return 0;
    uint64_t wall, now = sdk_tick_ns(&wall);
    double s = now > t->start_ns ? (double)(now - t->start_ns) / 1e9 : 0;
    vane_histogram_observe(t->histogram, s);
    return s;
}

void vane_timer_cleanup_(vane_timer *t)
{
    vane_timer_stop(t);
}

/* ---- label values at the call ---- */

void vane_counter_add_to(vane_metric m, uint64_t n, vane_labels values)
{
    uint64_t id = sdk_on() ? sdk_series_cached(m, values, VANE_COUNTER) : 0;
    if (id)
        vane_counter_add((vane_counter){ id }, n);
}

void vane_fcounter_add_to(vane_metric m, double v, vane_labels values)
{
    uint64_t id = sdk_on() ? sdk_series_cached(m, values, VANE_FCOUNTER) : 0;
    if (id)
        vane_fcounter_add((vane_fcounter){ id }, v);
}

void vane_updown_add_to(vane_metric m, int64_t n, vane_labels values)
{
    uint64_t id = sdk_on() ? sdk_series_cached(m, values, VANE_UPDOWN) : 0;
    if (id)
        vane_updown_add((vane_updown){ id }, n);
}

void vane_gauge_set_to(vane_metric m, double v, vane_labels values)
{
    uint64_t id = sdk_on() ? sdk_series_cached(m, values, VANE_GAUGE) : 0;
    if (id)
        vane_gauge_set((vane_gauge){ id }, v);
}

void vane_histogram_observe_to(vane_metric m, double v, vane_labels values)
{
    uint64_t id = sdk_on() ? sdk_series_cached(m, values, VANE_HISTOGRAM) : 0;
    if (id)
        vane_histogram_observe((vane_histogram){ id }, v);
}
