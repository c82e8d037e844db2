/* Upkeep in the background: flush by age, bytes, memory and log size; compaction; retention; idle series.
 *
 * Compaction merges all segments of a 2 h slot into one of level 1 (when the slot is over, or when it has many),
 * and all of a day into one of level 2 (when the day is over). It reads through the same cursor as a query, so
 * what a query resolves (order, duplicates, last write wins) is what gets written. A failure leaves everything as
 * it was; segments that are damaged are left alone so that nothing is lost silently. */
#include <sys/resource.h>

#include "tsdb/tsdb_int.h"

#define SLOT_SEGMENTS_MAX 6
#define UPKEEP_MS         1000
#define SLOW_UPKEEP_MS    15000
#define TOMBS_MANY        256
#define DAY_PARTS_MAX     64
#define BULK_QUIET_MS     60000

static struct stat compactions = STAT_COUNTER("vane_tsdb_compactions_total", "Compactions of segments", "");
static struct stat compaction_failures =
    STAT_COUNTER("vane_tsdb_compaction_failures_total", "Compactions that failed", "");
static struct stat gc_total = STAT_COUNTER("vane_tsdb_series_left_head_total", "Idle series that left the head", "");

static int64_t floor_to(int64_t t, int64_t unit)
{
    return (t >= 0 ? t / unit : (t - unit + 1) / unit) * unit;
}

struct group { /* of segments to be merged */
    int64_t from, to;
    unsigned level;
    struct segment **segs;
    size_t n;
};

bool compact_skips(struct tsdb *db, uint64_t id)
{
    vec_each (uint64_t, x, &db->no_compact)
        if (*x == id)
            return true;
    return false;
}

/* An import writes a day in any number of parts; they are merged when it has been quiet, or when they are too many. */
static bool starts_group(const struct segment_meta *m, unsigned level, bool settled, size_t n)
{
    return m->level < level || (level == 2 && m->level == 2 && (settled || n >= DAY_PARTS_MAX));
}

static bool imports_settled(struct tsdb *db)
{
    int64_t last = atomic_load_explicit(&db->bulk_ms, memory_order_relaxed);
    return !last || (int64_t)(os_mono_ns() / 1000000) - last > BULK_QUIET_MS;
}

/* All segments inside [from, from + unit) of at most this level; merged when there are enough. */
static bool find_group(struct tsdb *db, const struct segment_set *set, int64_t unit, unsigned level, struct arena *a,
                       struct group *ret)
{
    int64_t now = clock_now_ms(db->clk);
    bool settled = imports_settled(db);
    struct segment **segs = arena_array(a, struct segment *, set->n + 1);
    for (size_t i = 0; i < set->n; i++) {
        const struct segment_meta *m = segment_meta(set->p[i]);
        if (m->level > level || (m->level == level && level == 1))
            continue;
        struct group g = { .from = floor_to(m->min_time, unit), .level = level, .segs = segs };
        g.to = g.from + unit - 1;
        bool ok = true;
        for (size_t j = 0; j < set->n; j++) {
            const struct segment_meta *x = segment_meta(set->p[j]);
            if (x->max_time < g.from || x->min_time > g.to || x->level > level)
                continue;
            ok &= x->min_time >= g.from && x->max_time <= g.to && !compact_skips(db, x->id);
            g.segs[g.n++] = set->p[j];
        }
        bool over = g.to + FLUSH_AGE_MS + 5 * 60 * 1000 < now;
        if (ok && starts_group(m, level, settled, g.n) && (over ? g.n > 1 : level == 1 && g.n >= SLOT_SEGMENTS_MAX)) {
            *ret = g;
            return true;
        }
    }
    return false;
}

/* A segment with deleted samples in it that no merge will touch any more, or any if tombstones pile up. */
static bool find_deleted(struct tsdb *db, const struct segment_set *set, struct arena *a, struct group *ret)
{
    int64_t now = clock_now_ms(db->clk);
    for (size_t i = 0; i < set->n && db->tombs; i++) {
        const struct segment_meta *m = segment_meta(set->p[i]);
        if (meta_is_rollup(m) &&
            !rollup_day_done(db, set, ((struct tsdb_seg *)segment_user(set->p[i]))->rollup.from_ms))
            continue; /* will be made anew */
        bool over =
            floor_to(m->max_time, DAY_MS) + DAY_MS + FLUSH_AGE_MS + 5 * 60 * 1000 < now || tombs_count(db) > TOMBS_MANY;
        if (!over || compact_skips(db, m->id) || !seg_has_deleted(db, set->p[i]))
            continue;
        *ret = (struct group){ m->min_time, m->max_time, m->level, arena_new(a, struct segment *), 1 };
        ret->segs[0] = set->p[i];
        return true;
    }
    return false;
}

/* A segment of a finished day of which much is expired by a rule of retention. */
static bool find_expired(struct tsdb *db, const struct segment_set *set, struct arena *a, struct group *ret)
{
    int64_t now = clock_now_ms(db->clk);
    struct policy *p = policy_ref(db);
    bool found = false;
    for (size_t i = 0; i < set->n && p->n_keeps && !found; i++) {
        const struct segment_meta *m = segment_meta(set->p[i]);
        if (meta_is_rollup(m) || floor_to(m->max_time, DAY_MS) + DAY_MS + FLUSH_AGE_MS + 5 * 60 * 1000 >= now ||
            compact_skips(db, m->id) || !retention_rewrites(db, p, set->p[i], now))
            continue;
        *ret = (struct group){ m->min_time, m->max_time, m->level, arena_new(a, struct segment *), 1 };
        ret->segs[0] = set->p[i];
        found = true;
    }
    policy_unref(p);
    return found;
}

static enum err merge(struct tsdb *db, const struct group *g, struct err_text *reterr)
{
    if (meta_is_rollup(segment_meta(g->segs[0])))
        return rollup_rewrite(db, g->segs[0], reterr);
    struct query_spec spec = { .from_ms = INT64_MIN, .to_ms = INT64_MAX, .segs = g->segs, .n_segs = g->n };
    struct tsdb_query *q;
    query_open_raw(db, &spec, &q);
    uint64_t first = UINT64_MAX, last = 0, *ids = mem_alloc(g->n * sizeof(*ids));
    for (size_t i = 0; i < g->n; i++) {
        const struct segment_meta *m = segment_meta(g->segs[i]);
        first = MIN(first, m->lsn_first);
        last = MAX(last, m->lsn_last);
        ids[i] = m->id;
    }
    struct segment_writer *w = NULL;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_series *s;
    size_t n;
    enum err e = tsdb_select(q, NULL, 0, 0, &a, &s, &n);
    if (!e)
        e = write_segment(q, s, n, (struct seg_spec){ g->level, INT64_MIN, INT64_MAX, first, last }, &w, reterr);
    tsdb_query_close(q);
    if (!e) {
        struct store_edit edit = {
            .signal = STORE_METRICS, .add = &w, .n_add = w != NULL, .remove = ids, .n_remove = g->n
        };
        e = store_commit(db->st, &edit, reterr);
        if (e)
            segment_abort(w);
    }
    if (e == ERR_CORRUPT)
        for (size_t i = 0; i < g->n; i++)
            vec_push(&db->no_compact, ids[i]);
    mem_free(ids);
    return e;
}

enum err compact_rewrite(struct tsdb *db, struct segment *seg, struct err_text *reterr)
{
    const struct segment_meta *m = segment_meta(seg);
    struct group g = { m->min_time, m->max_time, m->level, &seg, 1 };
    return merge(db, &g, reterr);
}

enum err compact_round(struct tsdb *db, bool *ret_did, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    const struct segment_set *set = store_segments_ref(db->st, STORE_METRICS);
    struct group g;
    enum err e = OK;
    *ret_did = find_group(db, set, SLOT_MS, 1, &a, &g) || find_group(db, set, DAY_MS, 2, &a, &g) ||
               find_deleted(db, set, &a, &g) || find_expired(db, set, &a, &g);
    if (*ret_did) {
        e = merge(db, &g, reterr);
        stat_add(e ? &compaction_failures : &compactions, 1);
    }
    segment_set_unref(set);
    if (*ret_did && !e)
        e = tombs_drop_unneeded(db, reterr);
    return e;
}

enum err tsdb_compact(struct tsdb *db)
{
    struct err_text why;
    bool did;
    if (!replay_await(db))
        return ERR_CLOSED;
    mtx_lock(&db->flush_mu);
    enum err e = compact_round(db, &did, &why);
    if (!e && !did)
        e = rollup_round(db, &did, &why);
    mtx_unlock(&db->flush_mu);
    return e;
}

/* ---- the background thread ---- */
void upkeep_stats_register(void)
{
    struct stat *all[] = { &compactions, &compaction_failures, &gc_total };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        stat_register(all[i]);
    flush_stats_register();
    bulk_stats_register();
    tomb_stats_register();
    rollup_stats_register();
    retention_stats_register();
}

static bool flush_wanted(struct tsdb *db, bool kicked)
{
    if (!atomic_load(&db->gen_samples) && !db->slots.n)
        return false;
    return kicked || flush_by_bytes(db) || flush_by_span(db) ||
           clock_now_ms(db->clk) - db->gen_began_ms >= (db->cfg.log_only ? LOG_ONLY_AGE_MS : FLUSH_AGE_MS);
}

static void slow_upkeep(struct tsdb *db)
{
    struct err_text why;
    mtx_lock(&db->flush_mu);
    if (retention_apply(db, &why))
        LOG_WARN("retention failed, trying again", "err", why.msg);
    bool did = true;
    for (int i = 0; did && i < 16 && !atomic_load(&db->closing); i++) {
        if (compact_round(db, &did, &why)) {
            LOG_WARN("compaction failed, segments stay as they are", "err", why.msg);
            break;
        }
    }
    for (int i = 0; !did && i < 64 && !atomic_load(&db->closing); i++) {
        if (rollup_round(db, &did, &why)) {
            LOG_WARN("rollup failed, the samples stay until it succeeds", "err", why.msg);
            break;
        }
        did = !did;
    }
    mtx_unlock(&db->flush_mu);
}

static void upkeep(struct tsdb *db, int64_t *io_slow_ns, int64_t *io_gc_ns, int64_t *io_retry_ns)
{
    bool kick = atomic_exchange(&db->wal_pressure, false);
    int64_t now = (int64_t)os_mono_ns();
    flush_unlink_try(db);
    if (now >= *io_retry_ns) {
        struct err_text why;
        mtx_lock(&db->flush_mu);
        enum err e = flush_wanted(db, kick) ? flush_locked(db, 0, 0, &why) : OK;
        mtx_unlock(&db->flush_mu);
        if (e) {
            LOG_WARN("flush failed, trying again in 5 s", "err", why.msg);
            *io_retry_ns = now + 5000 * 1000000LL;
        }
        flush_unlink_try(db);
    }
    if (!db->cfg.no_upkeep && now - *io_slow_ns > SLOW_UPKEEP_MS * 1000000LL) {
        *io_slow_ns = now;
        slow_upkeep(db);
    }
    if (now - *io_gc_ns > 300 * 1000000000LL) {
        *io_gc_ns = now;
        stat_add(&gc_total, (int64_t)tsdb_series_gc(db));
    }
    tsdb_limbo_drain(db, false);
}

static void background(void *ctx)
{
    struct tsdb *db = ctx;
    setpriority(PRIO_PROCESS, 0, 10); /* this thread only, on Linux */
    int64_t slow = (int64_t)os_mono_ns(), gc = slow, retry = 0;
    mtx_lock(&db->bg_mu);
    while (!db->bg_stop) {
        if (!db->bg_kick)
            cond_wait_ms(&db->bg_cond, &db->bg_mu, UPKEEP_MS);
        db->bg_kick = false;
        if (db->bg_stop)
            break;
        mtx_unlock(&db->bg_mu);
        upkeep(db, &slow, &gc, &retry);
        mtx_lock(&db->bg_mu);
    }
    mtx_unlock(&db->bg_mu);
}

enum err upkeep_start(struct tsdb *db)
{
    if (db->cfg.look_only)
        return OK;
    TRY(thread_start(&db->bg, "tsdb", background, db));
    db->bg_running = true;
    return OK;
}

void upkeep_stop(struct tsdb *db)
{
    if (!db->bg_running)
        return;
    mtx_lock(&db->bg_mu);
    db->bg_stop = true;
    cond_signal(&db->bg_cond);
    mtx_unlock(&db->bg_mu);
    thread_join(db->bg);
    db->bg_running = false;
}

void tsdb_kick(struct tsdb *db)
{
    if (!mtx_trylock(&db->bg_mu)) /* it is awake */
        return;
    if (!db->bg_kick) {
        db->bg_kick = true;
        cond_signal(&db->bg_cond);
    }
    mtx_unlock(&db->bg_mu);
}
