/* Opening and closing, the memory account, what is freed later, facts. The map of the room is in tsdb_int.h. */
#include <roaring/roaring.h>

#include "tsdb/tsdb_int.h"

void tsdb_config_defaults(struct tsdb_config *cfg)
{
    *cfg = (struct tsdb_config){ .retention_ms = 15 * DAY_MS,
                                 .ooo_window_ms = 2 * 3600 * 1000LL,
                                 .future_max_ms = 10 * 60 * 1000,
                                 .label_name_bytes_max = 1024,
                                 .label_value_bytes_max = 4096,
                                 .labels_max = 64,
                                 .exemplars_max = 100000 };
}

/* ---- memory ---- */
uint64_t tsdb_memory_used(const struct tsdb *db)
{
    return (uint64_t)(atomic_load_explicit(&db->bytes_chunks, memory_order_relaxed) +
                      atomic_load_explicit(&db->bytes_timelines, memory_order_relaxed) +
                      atomic_load_explicit(&db->bytes_series, memory_order_relaxed) +
                      atomic_load_explicit(&db->bytes_meta, memory_order_relaxed) +
                      atomic_load_explicit(&db->bytes_index, memory_order_relaxed));
}

unsigned tsdb_memory_percent(const struct tsdb *db)
{
    return (unsigned)(tsdb_memory_used(db) * 100 / db->memory_max);
}

static void release(struct tsdb *db, void (*fn)(void *, void *), void *p)
{
    if (fn)
        fn(db, p);
    else
        mem_free(p);
}

void tsdb_retire(struct tsdb *db, void (*fn)(void *db, void *p), void *p)
{
    if (atomic_load(&db->n_queries) ==
        0) { /* pairs with the increment in pin_locked: later queries see the new state */
        release(db, fn, p);
        return;
    }
    mtx_lock(&db->limbo_mu);
    vec_push(&db->limbo, ((struct limbo_item){ fn, p, atomic_load(&db->query_seq) }));
    mtx_unlock(&db->limbo_mu);
}

void tsdb_limbo_drain(struct tsdb *db, bool all)
{
    uint64_t oldest = UINT64_MAX;
    VEC(struct limbo_item) done = { 0 };
    mtx_lock(&db->view_mu);
    for (struct tsdb_query *q = db->queries; q && !all; q = q->next)
        oldest = MIN(oldest, q->seq);
    mtx_lock(&db->limbo_mu);
    size_t k = 0;
    for (size_t i = 0; i < db->limbo.n; i++) {
        if (db->limbo.p[i].seq < oldest)
            vec_push(&done, db->limbo.p[i]);
        else
            db->limbo.p[k++] = db->limbo.p[i];
    }
    db->limbo.n = k;
    mtx_unlock(&db->limbo_mu);
    mtx_unlock(&db->view_mu);
    vec_each (struct limbo_item, x, &done)
        release(db, x->fn, x->p);
    vec_free(&done);
}

/* ---- gauges at /metrics ---- */
static void gauge(struct buf *out, const char *name, const char *help, int64_t v)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n%s %lld\n", name, help, name, name, (long long)v);
}

static void render(void *ctx, struct buf *out)
{
    struct tsdb *db = ctx;
    unsigned percent = tsdb_memory_percent(db);
    gauge(out, "vane_tsdb_head_series", "Active series", (int64_t)atomic_load(&db->n_series));
    gauge(out, "vane_tsdb_head_samples", "Samples that are not in segments yet", atomic_load(&db->gen_samples));
    gauge(out, "vane_tsdb_head_chunks", "Chunks in memory", (int64_t)atomic_load(&db->n_chunks));
    gauge(out, "vane_tsdb_memory_bytes", "Memory of head, index and metadata", (int64_t)tsdb_memory_used(db));
    gauge(out, "vane_tsdb_memory_limit_bytes", "Its limit", (int64_t)atomic_load(&db->memory_max));
    gauge(out, "vane_tsdb_memory_state", "0 enough; 1 flushed early; 2 no new series; 3 writes refused",
          (percent >= 80) + (percent >= 90) + (percent >= 95));
}

/* ---- open, close ---- */
static void on_wal_pressure(void *ctx)
{
    struct tsdb *db = ctx;
    atomic_store(&db->wal_pressure, true);
    tsdb_kick(db);
}

static void set_memory(struct tsdb *db)
{
    uint64_t max = LIMIT(db, memory_bytes_max);
    max = MAX(max ? max : os_memory_limit() / 10 * 6, 1u << 20);
    atomic_store_explicit(&db->memory_max, max, memory_order_relaxed);
}

static struct tsdb *tsdb_new(const struct tsdb_config *cfg, struct store *st, struct clock *clk)
{
    struct tsdb *db = mem_zalloc(sizeof(*db));
    db->cfg = *cfg;
    db->st = st;
    db->clk = clk ? clk : os_clock();
    db->seed = store_seed(st);
    set_memory(db);
    db->n_parts = cfg->partitions ? MIN(cfg->partitions, 255) : MIN(2 * os_cores(), 64);
    db->parts = mem_zalloc(db->n_parts * sizeof(*db->parts));
    db->gen = 1;
    db->gen_began_ms = clock_now_ms(db->clk);
    for (unsigned i = 0; i < db->n_parts; i++) {
        struct part *p = &db->parts[i];
        mtx_init(&p->mu, 110); /* a flush takes them all, in order of number */
        p->no = (uint8_t)i;
        p->gen = 1;
        p->from = INT64_MAX;
        p->to = INT64_MIN;
        p->stamp = 1;
        buf_init(&p->frame, 0);
    }
    mtx_init(&db->flush_mu, 100);
    mtx_init(&db->known_mu, 125);
    mtx_init(&db->meta_mu, 130);
    mtx_init(&db->ex.mu, 135);
    mtx_init(&db->view_mu, 140);
    mtx_init(&db->limbo_mu, 150);
    mtx_init(&db->tl_mu, 155);
    mtx_init(&db->bg_mu, 170);
    cond_init(&db->bg_cond);
    db->ex.cap = cfg->exemplars_max;
    atomic_init(&db->n_ids, 1);
    atomic_init(&db->gen_from, INT64_MAX);
    atomic_init(&db->gen_to, INT64_MIN);
    atomic_init(&db->head_min, INT64_MAX);
    atomic_init(&db->head_max, INT64_MIN);
    index_init(db);
    policy_set(db, cfg);
    db->cfg.rollups = NULL; /* the policy has them */
    db->cfg.keeps = NULL;
    return db;
}

static void free_chain(struct tsdb *db, struct chunk *c)
{
    while (c) {
        struct chunk *older = atomic_load(&c->prev);
        chunk_free(db, c);
        c = older;
    }
}

static void tsdb_free(struct tsdb *db)
{
    tsdb_limbo_drain(db, true);
    uint32_t n = atomic_load(&db->n_ids);
    for (uint32_t id = 1; id < n; id++) {
        struct series *s = series_at(db, id);
        free_chain(db, atomic_load(&s->chunk));
        free_chain(db, atomic_load(&s->ooo));
        if (!s->dead)
            mem_free((void *)(uintptr_t)s->labels);
    }
    for (unsigned i = 0; i < db->n_parts; i++) {
        struct part *p = &db->parts[i];
        while (p->timelines) {
            struct timeline *t = p->timelines;
            p->timelines = t->next;
            timeline_free(db, t);
        }
        mem_free(p->table);
        vec_free(&p->free_ids);
        vec_free(&p->slots);
        buf_deinit(&p->frame);
        mtx_deinit(&p->mu);
    }
    for (uint32_t i = 0; i < SERIES_PAGES_MAX; i++)
        mem_free(atomic_load_explicit(&db->pages[i], memory_order_relaxed));
    index_deinit(db);
    known_deinit(db);
    meta_deinit(db);
    exemplars_deinit(db);
    vec_free(&db->tl_free);
    vec_free(&db->limbo);
    vec_free(&db->slots);
    tombs_free(db);
    vec_free(&db->no_compact);
    vec_free(&db->no_rollup);
    policy_unref(db->policy);
    mtx_deinit(&db->flush_mu);
    mtx_deinit(&db->meta_mu);
    mtx_deinit(&db->ex.mu);
    mtx_deinit(&db->view_mu);
    mtx_deinit(&db->limbo_mu);
    mtx_deinit(&db->tl_mu);
    mtx_deinit(&db->bg_mu);
    cond_deinit(&db->bg_cond);
    mem_free(db->parts);
    mem_free(db);
}

/* Metadata of families from the newest segments; the log's is newer still. */
static void load_families(struct tsdb *db)
{
    const struct segment_set *set = store_segments_ref(db->st, STORE_METRICS);
    for (size_t i = 0; i < set->n; i++) { /* oldest first: later ones overwrite */
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        str raw;
        if (seg_blob(set->p[i], SEG_FAMILIES, &a, &raw))
            continue;
        struct rd r = rd_init(raw);
        while (rd_left(&r)) {
            str name = rd_lstr(&r);
            struct metric_meta m = { .type = (enum metric_type)rd_u8(&r) };
            m.help = rd_lstr(&r);
            m.unit = rd_lstr(&r);
            if (rd_ok(&r))
                meta_family_put(db, name, &m, 0);
        }
    }
    segment_set_unref(set);
}

enum err tsdb_open(const struct tsdb_config *cfg, struct store *st, struct clock *clk, struct tsdb **ret,
                   struct err_text *reterr)
{
    struct tsdb_config defaults;
    tsdb_config_defaults(&defaults);
    struct tsdb *db = tsdb_new(cfg ? cfg : &defaults, st, clk);
    struct store_hooks hooks = {
        .ctx = db, .segment_open = seg_open_hook, .segment_close = seg_close_hook, .wal_pressure = on_wal_pressure
    };
    enum err e = store_attach(st, STORE_METRICS, &hooks, reterr);
    if (e) {
        tsdb_free(db);
        return e;
    }
    e = tombs_load(db, reterr);
    if (e) {
        store_detach(st, STORE_METRICS);
        tsdb_free(db);
        return e;
    }
    atomic_store(&db->given_up, store_retention_mark(st, STORE_METRICS));
    load_families(db);
    atomic_store(&db->families_new, false); /* what the log has comes with the replay */
    head_stats_register();
    upkeep_stats_register();
    replay_stats_register();
    e = replay_start(db);
    if (!e && !db->cfg.replay_behind && !replay_await(db))
        e = tsdb_await(db, 0, reterr);
    if (e) {
        atomic_store(&db->closing, true);
        replay_stop(db);
        upkeep_stop(db);
        store_detach(st, STORE_METRICS);
        tsdb_free(db);
        return e;
    }
    stats_on_render(render, db);
    *ret = db;
    return OK;
}

void tsdb_close(struct tsdb *db)
{
    if (!db)
        return;
    stats_off_render(render, db);
    struct err_text why;
    bool whole = tsdb_await(db, 0, &why) == OK; /* before closing is said: then the replay leaves records out */
    atomic_store(&db->closing, true);
    replay_stop(db);
    upkeep_stop(db);
    mtx_lock(&db->flush_mu);
    if (whole && !db->test_no_flush && !db->cfg.look_only && flush_locked(db, 0, 0, &why))
        LOG_WARN("last flush failed, the log keeps the samples", "err", why.msg);
    mtx_unlock(&db->flush_mu);
    store_detach(db->st, STORE_METRICS);
    tsdb_free(db);
}

void tsdb_set_limits(struct tsdb *db, const struct tsdb_config *cfg)
{
    __atomic_store_n(&db->cfg.retention_ms, cfg->retention_ms, __ATOMIC_RELAXED);
    __atomic_store_n(&db->cfg.retention_bytes, cfg->retention_bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&db->cfg.ooo_window_ms, cfg->ooo_window_ms, __ATOMIC_RELAXED);
    __atomic_store_n(&db->cfg.future_max_ms, cfg->future_max_ms, __ATOMIC_RELAXED);
    __atomic_store_n(&db->cfg.series_max, cfg->series_max, __ATOMIC_RELAXED);
    __atomic_store_n(&db->cfg.label_name_bytes_max, cfg->label_name_bytes_max, __ATOMIC_RELAXED);
    __atomic_store_n(&db->cfg.label_value_bytes_max, cfg->label_value_bytes_max, __ATOMIC_RELAXED);
    __atomic_store_n(&db->cfg.labels_max, cfg->labels_max, __ATOMIC_RELAXED);
    __atomic_store_n(&db->cfg.memory_bytes_max, cfg->memory_bytes_max, __ATOMIC_RELAXED);
    set_memory(db);
    policy_set(db, cfg);
    tsdb_kick(db);
}

/* ---- facts ---- */
#define TOP 10
static size_t top_copy(struct tsdb_top *to, const struct tsdb_top *from, size_t n)
{
    memcpy(to, from, n * sizeof(*to));
    return n;
}

static enum err tops(struct tsdb *db, struct arena *a, struct tsdb_stats *st)
{
    struct tsdb_cardinality c;
    TRY(tsdb_cardinality(db, NULL, 0, TOP, a, &c));
    st->n_top_metrics = top_copy(st->top_metrics, c.metrics, c.n_metrics);
    st->n_top_labels = top_copy(st->top_labels, c.labels, c.n_labels);
    st->n_top_label_bytes = top_copy(st->top_label_bytes, c.label_bytes, c.n_label_bytes);
    st->n_top_pairs = top_copy(st->top_pairs, c.pairs, c.n_pairs);
    return OK;
}

enum err tsdb_stats(struct tsdb *db, bool with_top, struct arena *a, struct tsdb_stats *ret)
{
    struct tsdb_stats s = { .head_series = atomic_load(&db->n_series),
                            .head_samples = (uint64_t)atomic_load(&db->gen_samples),
                            .head_bytes = tsdb_memory_used(db),
                            .head_chunks = atomic_load(&db->n_chunks),
                            .head_min_ms = atomic_load(&db->head_min),
                            .head_max_ms = atomic_load(&db->head_max),
                            .wal_bytes = store_wal_bytes(db->st) };
    if (s.head_min_ms == INT64_MAX)
        s.head_min_ms = s.head_max_ms = 0;
    bool any = s.head_max_ms != 0;
    s.min_ms = any ? s.head_min_ms : INT64_MAX;
    s.max_ms = any ? s.head_max_ms : INT64_MIN;
    const struct segment_set *set = store_segments_ref(db->st, STORE_METRICS);
    for (size_t i = 0; i < set->n; i++) {
        const struct segment_meta *m = segment_meta(set->p[i]);
        s.segments++;
        s.segment_bytes += m->bytes;
        s.min_ms = MIN(s.min_ms, m->min_time);
        s.max_ms = MAX(s.max_ms, m->max_time);
    }
    if (!any && !set->n)
        s.min_ms = s.max_ms = 0;
    segment_set_unref(set);
    mtx_lock(&db->idx.mu);
    s.label_pairs = db->idx.pairs.n;
    s.symbols = db->idx.syms.n;
    mtx_unlock(&db->idx.mu);
    if (with_top)
        TRY(tops(db, a, &s));
    *ret = s;
    return OK;
}
