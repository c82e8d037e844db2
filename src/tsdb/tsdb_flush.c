/* Flush: freeze the head's generation, write it as segments (one per 2 h slot), publish, forget.
 *
 * Rotation takes every partition lock for a moment: the newest LSN at that moment is the cut. Everything at or
 * below it is in the frozen generations, everything above in the new one, and log contexts begin anew, so replay
 * can start exactly behind the cut. If writing fails (full disk) the frozen generations stay readable in memory
 * and in the log, and the next flush takes them along. */
#include <malloc.h>

#include "tsdb/tsdb_int.h"

#define FLUSH_SPAN_BYTES   (4u << 20) /* of the head, for each segment to be written */
#define FLUSH_SPAN_SAMPLES 64u        /* per active series */

static struct stat flushes = STAT_COUNTER("vane_tsdb_flushes_total", "Times the head was written to segments", "");
static struct stat flush_failures =
    STAT_COUNTER("vane_tsdb_flush_failures_total", "Flushes that failed and will be tried again", "");
static struct stat snapshots = STAT_COUNTER("vane_tsdb_snapshots_total", "Snapshots made", "");
static struct stat snapshot_failures =
    STAT_COUNTER("vane_tsdb_snapshot_failures_total", "Snapshots that could not be made", "");
static struct stat_hist flush_seconds = STAT_HIST("vane_tsdb_flush_duration_seconds", "Time of a flush", "");

void flush_stats_register(void)
{
    stat_register(&flushes);
    stat_register(&flush_failures);
    stat_register(&snapshots);
    stat_register(&snapshot_failures);
}

static int cmp_i64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void take_slots(struct tsdb *db, struct part *p)
{
    vec_each (int64_t, s, &p->slots) {
        bool have = false;
        vec_each (int64_t, t, &db->slots)
            have |= *t == *s;
        if (!have)
            vec_push(&db->slots, *s);
    }
    vec_clear(&p->slots);
}

bool flush_by_bytes(struct tsdb *db)
{
    uint64_t bytes = (uint64_t)MAX(atomic_load(&db->gen_bytes), 0), max = atomic_load(&db->memory_max);
    return bytes > MIN(FLUSH_BYTES, max / 4) || (bytes > max / 32 && tsdb_memory_percent(db) >= 80);
}

bool flush_by_span(struct tsdb *db)
{
    int64_t from = atomic_load_explicit(&db->gen_from, memory_order_relaxed),
            to = atomic_load_explicit(&db->gen_to, memory_order_relaxed);
    if (to <= from || (uint64_t)to - (uint64_t)from <= FLUSH_SPAN_MS)
        return false;
    uint64_t slots = ((uint64_t)to - (uint64_t)from) / SLOT_MS + 2; /* a segment each */
    return (uint64_t)MAX(atomic_load_explicit(&db->gen_bytes, memory_order_relaxed), 0) / slots >= FLUSH_SPAN_BYTES &&
           (uint64_t)atomic_load_explicit(&db->gen_samples, memory_order_relaxed) / FLUSH_SPAN_SAMPLES >=
               atomic_load_explicit(&db->n_series, memory_order_relaxed);
}

static uint64_t rotate(struct tsdb *db)
{
    for (unsigned k = 0; k < db->n_parts; k++)
        mtx_lock(&db->parts[k].mu);
    uint64_t cut = store_wal_last_lsn(db->st);
    db->gen++;
    for (unsigned k = 0; k < db->n_parts; k++) {
        struct part *p = &db->parts[k];
        timelines_publish(db, p);
        p->gen = db->gen;
        p->from = INT64_MAX;
        p->to = INT64_MIN;
        p->stamp++;
        p->seq = 0;
        take_slots(db, p);
    }
    atomic_store(&db->gen_bytes, 0);
    atomic_store(&db->gen_samples, 0);
    atomic_store(&db->gen_from, INT64_MAX);
    atomic_store(&db->gen_to, INT64_MIN);
    db->gen_began_ms = clock_now_ms(db->clk);
    for (unsigned k = db->n_parts; k--;)
        mtx_unlock(&db->parts[k].mu);
    return cut;
}

static void put_families(struct tsdb *db, struct seg_out *o)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_metadata *m;
    size_t n;
    if (tsdb_metadata(db, STR_NONE, 0, &a, &m, &n))
        return;
    for (size_t i = 0; i < n; i++)
        seg_out_family(o, m[i].name, &m[i].meta);
}

static enum err write_series(struct tsdb_query *q, struct tsdb_cursor *c, struct seg_out *o,
                             const struct tsdb_series *s, int64_t from, int64_t to, struct arena *a)
{
    struct tsdb_points p;
    TRY(tsdb_read(c, s->id, from, to, &p));
    if (!p.n)
        return OK;
    struct series_info info;
    const struct qseries *x = qseries_of(s->id);
    TRY(query_series_info(q, x, &info));
    seg_out_series(o, query_labels(q, s, a), x->ident, &info);
    seg_out_points(o, &p);
    struct exemplar *e;
    size_t n, k = 0;
    query_exemplars(q, x, a, &e, &n);
    for (size_t i = 0; i < n; i++)
        if (e[i].ts_ms >= from && e[i].ts_ms <= to)
            e[k++] = e[i];
    if (k)
        seg_out_exemplars(o, e, k);
    return OK;
}

void upkeep_breathe(struct tsdb *db, size_t done)
{
    if (atomic_load_explicit(&db->writers, memory_order_relaxed) && !atomic_load(&db->closing))
        sched_yield();
    if (done % 4096 == 4095 && flush_by_bytes(db)) { /* a long compaction must not hold up the head */
        struct err_text why;
        if (flush_locked(db, 0, 0, &why))
            LOG_WARN("flush during compaction failed, trying again", "err", why.msg);
        flush_unlink_try(db);
    }
}

enum err write_segment(struct tsdb_query *q, const struct tsdb_series *s, size_t n, struct seg_spec spec,
                       struct segment_writer **ret, struct err_text *reterr)
{
    struct tsdb *db = q->db;
    AUTO_ARENA struct arena one; /* of one series */
    arena_init(&one, 0);
    struct seg_out *o;
    *ret = NULL;
    TRY(seg_out_open(db, spec.level, &o, reterr));
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    enum err e = OK;
    for (size_t i = 0; i < n && !e; i++) {
        arena_reset(&one);
        e = write_series(q, c, o, &s[i], spec.from, spec.to, &one);
        if (i % 256 == 255)
            upkeep_breathe(db, spec.level ? i : 0);
    }
    tsdb_cursor_free(c);
    if (!e && tsdb_query_incomplete(q, reterr))
        e = ERR_CORRUPT;
    if (e || !seg_out_samples(o)) {
        seg_out_abort(o);
        return e;
    }
    put_families(db, o);
    return seg_out_finish(o, spec.lsn_first, spec.lsn_last, ret, reterr);
}

struct flushed {
    struct segment_writer **w;
    size_t n;
};

static enum err write_slots(struct tsdb *db, uint32_t gen, uint64_t cut, struct flushed *f, struct err_text *reterr)
{
    struct query_spec spec = {
        .from_ms = INT64_MIN, .to_ms = INT64_MAX, .head = true, .gen_min = db->gen_flushed + 1, .gen_max = gen
    };
    struct tsdb_query *q;
    query_open_raw(db, &spec, &q);
    q->lazy_labels = true;
    f->w = mem_zalloc((db->slots.n + 1) * sizeof(*f->w));
    uint64_t first = store_wal_low_water(db->st, STORE_METRICS) + 1;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_series *s;
    size_t n;
    enum err e = tsdb_select(q, NULL, 0, 0, &a, &s, &n);
    for (size_t i = 0; i < db->slots.n && !e; i++) {
        struct seg_spec one = { 0, db->slots.p[i], db->slots.p[i] + SLOT_MS - 1, MIN(first, cut), cut };
        e = write_segment(q, s, n, one, &f->w[f->n], reterr);
        if (!e && f->w[f->n])
            f->n++;
    }
    tsdb_query_close(q);
    return e;
}

static enum err publish(struct tsdb *db, uint32_t gen, uint64_t cut, uint64_t low_water, struct flushed *f,
                        struct err_text *reterr)
{
    mtx_lock(&db->view_mu);
    db->gen_frozen = gen;
    db->frozen_cut = cut;
    mtx_unlock(&db->view_mu);
    struct store_edit edit = { .signal = STORE_METRICS, .add = f->w, .n_add = f->n, .low_water_lsn = low_water };
    enum err e = store_commit(db->st, &edit, reterr);
    mtx_lock(&db->view_mu);
    db->gen_frozen = 0;
    if (!e) {
        db->gen_flushed = gen;
        db->unlink_gen = gen;
        db->unlink_seq = db->query_seq;
    }
    mtx_unlock(&db->view_mu);
    return e;
}

enum err flush_locked(struct tsdb *db, uint64_t cut, uint64_t low_water, struct err_text *reterr)
{
    uint64_t began = os_mono_ns();
    uint64_t now = rotate(db);
    if (!cut)
        cut = low_water = now;
    uint32_t gen = db->gen - 1;
    if (db->slots.n > 1)
        qsort(db->slots.p, db->slots.n, sizeof(*db->slots.p), cmp_i64);
    struct flushed f = { 0 };
    bool families = !db->cfg.log_only && atomic_exchange(&db->families_new, false);
    enum err e = db->cfg.log_only ? OK : write_slots(db, gen, cut, &f, reterr); /* else the log is all there is */
    /* metadata that no segment has yet stays in the log */
    if (!e && (f.n || (!families && low_water > store_wal_low_water(db->st, STORE_METRICS))))
        e = publish(db, gen, cut, low_water, &f, reterr);
    if (families && (e || !f.n))
        atomic_store(&db->families_new, true);
    if (e) {
        for (size_t i = 0; i < f.n; i++)
            segment_abort(f.w[i]);
        stat_add(&flush_failures, 1);
    } else {
        vec_clear(&db->slots);
        stat_add(&flushes, 1);
        stat_hist_observe_ns(&flush_seconds, os_mono_ns() - began);
    }
    mem_free(f.w);
    return e;
}

/* Frozen generations that are in segments leave the head once the queries that may need them have ended. */
void flush_unlink_try(struct tsdb *db)
{
    mtx_lock(&db->view_mu);
    uint32_t gen = db->unlink_gen;
    for (struct tsdb_query *q = db->queries; q; q = q->next)
        if (q->seq <= db->unlink_seq)
            gen = 0;
    if (gen)
        db->unlink_gen = 0;
    mtx_unlock(&db->view_mu);
    if (gen) {
        head_unlink(db, gen);
        tsdb_limbo_drain(db, false);
        malloc_trim(0); /* a generation's worth of small blocks */
    }
}

const char *tsdb_dir(const struct tsdb *db)
{
    return store_dir(db->st);
}

enum err tsdb_snapshot(struct tsdb *db, const char *dest, bool skip_head, struct err_text *reterr)
{
    if (atomic_load(&db->closing) || !replay_await(db))
        return err_fail(reterr, ERR_CLOSED, "the store is closing");
    struct store_snapshot *s = NULL;
    mtx_lock(&db->flush_mu);
    enum err e = skip_head ? OK : flush_locked(db, 0, 0, reterr);
    if (!e)
        s = store_snapshot_take(db->st);
    mtx_unlock(&db->flush_mu);
    flush_unlink_try(db);
    size_t damaged = 0;
    if (!e)
        e = store_snapshot_write(s, dest, &damaged, reterr);
    store_snapshot_free(s);
    stat_add(e ? &snapshot_failures : &snapshots, 1);
    if (!e && damaged)
        return err_fail(reterr, ERR_CORRUPT, "%s was made, but %zu segments in it are damaged", dest, damaged);
    return e;
}

enum err tsdb_flush(struct tsdb *db)
{
    struct err_text why;
    if (!replay_await(db))
        return ERR_CLOSED;
    mtx_lock(&db->flush_mu);
    enum err e = flush_locked(db, 0, 0, &why);
    mtx_unlock(&db->flush_mu);
    flush_unlink_try(db);
    return e;
}
