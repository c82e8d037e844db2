/* Replay: the log's records into the head at start, beside the writes that come in meanwhile.
 *
 *   reader   walks the log in LSN order, checks what belongs together, hands each record to the worker of its stream
 *   workers  put the records' tokens into chunks as they are, a partition's lock held; one stream's records in order
 *   late     writes that arrive before the head is complete: encoded into the log at once, in contexts of their own
 *            that need nothing from the head (tsdb_head.c), acknowledged when synced, and kept as records; the
 *            reader hands them out behind the log's own, so that the head sees everything in the log's order
 *
 *   log:  run 1 stream 0 1 2 3 | run 2 ...  | late (run n)         tsdb_query_open waits until all is in
 *           |       \ \ \ \ barrier where    \ barrier
 *           v        w0 w1 w0 w1   the run changes
 *
 * A series stays in one stream during one run of the process (or before and after its replay: two runs), and ids of
 * the log are unique in a run; between runs the reader waits for the workers. Records without a run go to worker 0. */
#include <time.h>

#include "tsdb/tsdb_int.h"

#define WORKERS_MAX    8
#define QUEUE_BYTES    (2u << 20) /* waiting at a worker at most; handed over in parts of 1/32 */
#define LATE_BYTES_MIN (8u << 20)
#define STAGE          32

atomic_bool replay_test_hold;
static struct stat wal_lost =
    STAT_COUNTER("vane_tsdb_wal_damaged_records_total", "Log records that could not be replayed", "");
static struct stat replayed_total =
    STAT_COUNTER("vane_tsdb_wal_replayed_samples_total", "Samples that came from the log at start", "");
static struct stat late_total =
    STAT_COUNTER("vane_tsdb_late_records_total", "Log records of writes that came while the log was replayed", "");
static struct stat late_busy = STAT_COUNTER("vane_tsdb_late_busy_total",
                                            "Writes refused because too much had come while the log was replayed", "");

struct rep_series { /* what an id of the log means */
    uint32_t id, context;
};
struct rep_context { /* of a stream, at its worker */
    uint32_t epoch, stamp, seq, no;
    bool broken;
};
struct rep_stream {          /* at the reader */
    uint64_t run, first_lsn; /* of its context; 0: none yet */
};
struct rep_worker {
    struct replay *r;
    pthread_t thread;
    struct replay_late *pend, **pend_tail; /* the reader's, to be handed over */
    size_t pend_bytes;
    struct mtx mu;
    struct cond work, rest;
    struct replay_late *head, **tail;
    size_t bytes;
    bool busy, stop;
    struct rep_context *contexts; /* by stream */
    uint32_t n_contexts;
    struct arena a; /* one record */
};
struct replay {
    struct tsdb *db;
    pthread_t thread;
    bool started;
    /* what others see */
    struct mtx mu; /* late records, the end */
    struct cond end;
    struct replay_late *late, **late_tail;
    size_t late_bytes;
    void (*on_ready)(void *ctx);
    void *on_ready_ctx;
    bool done;
    enum err e;
    struct err_text why;
    atomic_uint percent;
    /* the reader's */
    uint64_t tail_lsn, run;
    size_t queue_bytes;
    struct rep_stream *streams;
    uint32_t n_streams, n_workers;
    struct rep_worker workers[WORKERS_MAX];
    /* the workers' */
    int64_t oldest_ms;
    _Atomic(struct rep_series *) *pages; /* by id; one run at a time */
    atomic_uint next_context;
    atomic_uint_least64_t samples, cpu_ns, bad_records, first_bad;
};
struct staged {
    uint32_t id; /* of the log, then of the series */
    uint32_t n_tok;
    int64_t ts;
    const uint8_t *tok;
};
struct frame { /* being replayed */
    struct replay *r;
    struct rep_worker *w;
    struct rep_context *c;
    struct rd rd;
    uint32_t id;
    bool late;
    int64_t ts;
    struct labels prev;
    struct part *locked;
    uint64_t samples;
    unsigned n_staged;
    struct staged staged[STAGE];
};

void replay_stats_register(void)
{
    struct stat *all[] = { &wal_lost, &replayed_total, &late_total, &late_busy };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        stat_register(all[i]);
}

/* ---- workers: one record ---- */
static void bad_record(struct replay *r, uint64_t lsn)
{
    uint64_t none = 0;
    atomic_compare_exchange_strong(&r->first_bad, &none, lsn);
    atomic_fetch_add(&r->bad_records, 1);
    stat_add(&wal_lost, 1);
}

static struct rep_series *rep_at(struct replay *r, uint32_t id)
{
    _Atomic(struct rep_series *) *slot = &r->pages[id / SERIES_PAGE];
    struct rep_series *page = atomic_load_explicit(slot, memory_order_acquire);
    if (!page) {
        struct rep_series *fresh = mem_zalloc(SERIES_PAGE * sizeof(*fresh));
        if (atomic_compare_exchange_strong(slot, &page, fresh))
            page = fresh;
        else
            mem_free(fresh);
    }
    return &page[id % SERIES_PAGE];
}

static struct rep_series *rep_peek(struct replay *r, uint32_t id)
{
    struct rep_series *page = atomic_load_explicit(&r->pages[id / SERIES_PAGE], memory_order_acquire);
    return page ? &page[id % SERIES_PAGE] : NULL;
}

static struct rep_series *defined(struct frame *f, uint32_t id)
{
    struct rep_series *x = rep_peek(f->r, id);
    return x && x->context == f->c->no && x->id ? x : NULL;
}

static void unlock_part(struct frame *f)
{
    struct part *p = f->locked;
    if (!p)
        return;
    timelines_publish(f->r->db, p);
    mtx_unlock(&p->mu);
    f->locked = NULL;
}

static struct part *lock_part(struct frame *f, unsigned no)
{
    struct part *p = &f->r->db->parts[no];
    if (__builtin_expect(f->locked != p, 0)) {
        unlock_part(f);
        mtx_lock(&p->mu);
        memset(p->recent, 0, sizeof(p->recent));
        f->locked = p;
    }
    return p;
}

static bool get_front(struct frame *f, str before, str *ret)
{
    uint64_t k = rd_uvarint(&f->rd);
    str rest = rd_lstr(&f->rd);
    if (!rd_ok(&f->rd) || k > before.n)
        return false;
    if (k == 0) {
        *ret = rest;
        return true;
    }
    char *p = arena_alloc_align(&f->w->a, (size_t)k + rest.n, 1);
    memcpy(p, before.p, (size_t)k);
    if (rest.n)
        memcpy(p + k, rest.p, rest.n);
    *ret = str_n(p, (size_t)k + rest.n);
    return true;
}

static bool get_labels(struct frame *f, struct labels *ret)
{
    uint64_t n = rd_uvarint(&f->rd);
    if (!rd_ok(&f->rd) || n > rd_left(&f->rd))
        return false;
    struct label *l = arena_array(&f->w->a, struct label, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct label before = i < f->prev.n ? f->prev.p[i] : (struct label){ STR_NONE, STR_NONE };
        if (!get_front(f, before.name, &l[i].name) || !get_front(f, before.value, &l[i].value))
            return false;
    }
    *ret = f->prev = (struct labels){ l, (size_t)n };
    return n > 0;
}

static bool do_def(struct frame *f)
{
    struct tsdb *db = f->r->db;
    struct labels ls;
    if (!get_labels(f, &ls))
        return false;
    hash128 h = series_hash(db, ls);
    struct part *p = lock_part(f, series_part(db, ls, h));
    uint32_t id;
    struct series *s = series_find(db, p, h, &id);
    if (!s)
        s = series_new(db, p, h, ls, &id);
    s->rep = REP_FIRST;
    *rep_at(f->r, f->id) = (struct rep_series){ id, f->c->no };
    return true;
}

/* Samples are gathered and applied together, so that what each needs is on its way into the cache while others are worked on. */
static bool staged_apply(struct frame *f)
{
    struct tsdb *db = f->r->db;
    unsigned n = f->n_staged;
    f->n_staged = 0;
    bool good = true;
    for (unsigned i = 0; i < n; i++) {
        const struct rep_series *x = defined(f, f->staged[i].id);
        if (!x) {
            n = i;
            good = false;
            break;
        }
        f->staged[i].id = x->id;
        const char *s = (const char *)series_at(db, x->id);
        __builtin_prefetch(s);
        __builtin_prefetch(s + 64);
        __builtin_prefetch(s + sizeof(struct series) - 1);
    }
    for (unsigned i = 0; i < n; i++) {
        const struct chunk *c = atomic_load_explicit(&series_at(db, f->staged[i].id)->chunk, memory_order_relaxed);
        __builtin_prefetch(c);
        __builtin_prefetch((const char *)c + 64);
    }
    for (unsigned i = 0; i < n; i++) {
        struct staged *t = &f->staged[i];
        struct series *s = series_at(db, t->id);
        bool too_old = t->ts < f->r->oldest_ms;
        if (head_append_token(db, lock_part(f, s->part), s, t->id, t->ts, t->tok, t->n_tok, too_old,
                              f->late ? APPEND_LATE : APPEND_REPLAY) == APPEND_BAD)
            return false;
        f->samples += !too_old;
    }
    return good;
}

static bool do_sample(struct frame *f, unsigned kind)
{
    if (kind & 2)
        f->ts = (int64_t)((uint64_t)f->ts + (uint64_t)rd_svarint(&f->rd));
    const uint8_t *from = (const uint8_t *)f->rd.p, *p = from;
    __builtin_prefetch(rep_peek(f->r, f->id));
    if (!(kind & 1)) {
        if (!rd_ok(&f->rd) || !tok_skip(&p, (const uint8_t *)f->rd.end))
            return false;
        f->rd.p = (const char *)p;
    }
    f->staged[f->n_staged++] = (struct staged){ f->id, (uint32_t)MIN(p - from, UINT32_MAX), f->ts, from };
    return rd_ok(&f->rd) && (f->n_staged < STAGE || staged_apply(f));
}

static bool do_raw(struct frame *f)
{
    const struct rep_series *x = defined(f, f->id);
    f->ts = (int64_t)((uint64_t)f->ts + (uint64_t)rd_svarint(&f->rd));
    uint64_t bits = rd_u64(&f->rd);
    int64_t start = rd_svarint(&f->rd);
    if (!x || !rd_ok(&f->rd))
        return false;
    if (f->ts < f->r->oldest_ms)
        return true;
    struct tsdb *db = f->r->db;
    struct series *s = series_at(db, x->id);
    IGNORE_ERR((enum err)head_append_raw(db, lock_part(f, s->part), s, x->id, f->ts, bits, start,
                                         f->late ? APPEND_LATE : APPEND_REPLAY));
    f->samples++;
    return true;
}

static bool do_hist(struct frame *f)
{
    const struct rep_series *x = defined(f, f->id);
    f->ts = (int64_t)((uint64_t)f->ts + (uint64_t)rd_svarint(&f->rd));
    int64_t start = rd_svarint(&f->rd);
    str body = rd_lstr(&f->rd);
    struct histogram *h;
    struct rd hr = rd_init(body);
    if (!x || !rd_ok(&f->rd) || hist_decode(&hr, &f->w->a, &h) || !rd_end(&hr))
        return false;
    if (f->ts < f->r->oldest_ms)
        return true;
    struct tsdb *db = f->r->db;
    struct series *s = series_at(db, x->id);
    IGNORE_ERR((enum err)head_append_hist(db, lock_part(f, s->part), s, x->id, f->ts, h, start,
                                          f->late ? APPEND_LATE : APPEND_REPLAY));
    f->samples++;
    return true;
}

static bool do_ext(struct frame *f)
{
    struct tsdb *db = f->r->db;
    unsigned kind = rd_u8(&f->rd);
    const struct rep_series *x = kind == EXT_INFO || kind == EXT_EXEMPLAR ? defined(f, f->id) : NULL;
    switch (kind) {
    case EXT_INFO: {
        unsigned type = rd_u8(&f->rd), temporality = rd_u8(&f->rd);
        str resource = rd_lstr(&f->rd);
        if (!x || !rd_ok(&f->rd))
            return false;
        series_at(db, x->id)->info = meta_info_id(db, type, temporality, resource);
        return true;
    }
    case EXT_EXEMPLAR: {
        f->ts = (int64_t)((uint64_t)f->ts + (uint64_t)rd_svarint(&f->rd));
        double v = rd_f64(&f->rd);
        str labels = rd_lstr(&f->rd);
        if (!x || !rd_ok(&f->rd))
            return false;
        exemplar_put(db, x->id, series_at(db, x->id)->serial, db->gen, f->ts, v, labels);
        return true;
    }
    case EXT_FAMILY: {
        str name = rd_lstr(&f->rd);
        struct metric_meta m = { .type = (enum metric_type)rd_u8(&f->rd) };
        m.help = rd_lstr(&f->rd);
        m.unit = rd_lstr(&f->rd);
        if (rd_ok(&f->rd))
            meta_family_put(db, name, &m, 0);
        return rd_ok(&f->rd);
    }
    case EXT_RUN:
        rd_uvarint(&f->rd);
        return rd_ok(&f->rd);
    default:
        return false;
    }
}

static bool do_op(struct frame *f)
{
    uint64_t x = rd_uvarint(&f->rd);
    int64_t id = (int64_t)f->id + unzigzag(x >> 3);
    if (!rd_ok(&f->rd) || id < 0 || id >= (int64_t)SERIES_PAGE * SERIES_PAGES_MAX)
        return false;
    f->id = (uint32_t)id;
    unsigned kind = x & 7;
    if (kind <= OP_TS_SAME)
        return do_sample(f, kind);
    if (f->n_staged && !staged_apply(f))
        return false;
    return kind == OP_DEF ? do_def(f) : kind == OP_RAW ? do_raw(f) : kind == OP_HIST ? do_hist(f) : do_ext(f);
}

/* Is this record the next of its context? */
static bool in_context(struct rep_worker *w, const struct replay_late *it, struct frame *f)
{
    uint32_t stamp = (uint32_t)rd_uvarint(&f->rd), seq = (uint32_t)rd_uvarint(&f->rd);
    f->ts = rd_svarint(&f->rd);
    if (it->partition >= w->n_contexts) {
        uint32_t n = it->partition + 1u;
        w->contexts = mem_realloc(w->contexts, n * sizeof(*w->contexts));
        memset(w->contexts + w->n_contexts, 0, (n - w->n_contexts) * sizeof(*w->contexts));
        w->n_contexts = n;
    }
    struct rep_context *c = f->c = &w->contexts[it->partition];
    if (!rd_ok(&f->rd))
        return false;
    if (!c->no || c->epoch != it->epoch || c->stamp != stamp)
        *c = (struct rep_context){ .epoch = it->epoch,
                                   .stamp = stamp,
                                   .no = atomic_fetch_add_explicit(&w->r->next_context, 1, memory_order_relaxed) + 1 };
    c->broken |= seq != c->seq;
    c->seq = seq + 1;
    return !c->broken;
}

static void replay_record(struct rep_worker *w, const struct replay_late *it)
{
    struct replay *r = w->r;
    struct tsdb *db = r->db;
    struct frame f = { .r = r, .w = w, .rd = rd_init(str_n(it->payload, it->n)), .late = it->lsn > r->tail_lsn };
    bool good = in_context(w, it, &f);
    while (good && f.rd.p < f.rd.end)
        good = do_op(&f);
    if (f.n_staged) /* also what stands before the damage */
        good &= staged_apply(&f);
    unlock_part(&f);
    if (!good) {
        f.c->broken = true;
        bad_record(r, it->lsn);
    }
    atomic_fetch_add_explicit(&r->samples, f.samples, memory_order_relaxed);
    atomic_fetch_add_explicit(&db->gen_samples, (int64_t)f.samples, memory_order_relaxed);
    arena_reset(&w->a);
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void worker_run(void *ctx)
{
    struct rep_worker *w = ctx;
    mtx_lock(&w->mu);
    for (;;) {
        while (!w->head && !w->stop)
            cond_wait(&w->work, &w->mu);
        if (!w->head)
            break;
        struct replay_late *it = w->head;
        w->head = NULL;
        w->tail = &w->head;
        w->busy = true;
        mtx_unlock(&w->mu);
        size_t bytes = 0;
        uint64_t cpu = thread_cpu_ns();
        while (it) {
            struct replay_late *next = it->next;
            if (!atomic_load_explicit(&w->r->db->closing, memory_order_relaxed))
                replay_record(w, it);
            bytes += it->n;
            mem_free(it);
            it = next;
        }
        atomic_fetch_add_explicit(&w->r->cpu_ns, thread_cpu_ns() - cpu, memory_order_relaxed);
        mtx_lock(&w->mu);
        w->busy = false;
        w->bytes -= bytes;
        cond_signal(&w->rest);
    }
    mtx_unlock(&w->mu);
}

/* ---- the reader ---- */
static void hand_over(struct rep_worker *w)
{
    if (!w->pend)
        return;
    mtx_lock(&w->mu);
    while (w->bytes > w->r->queue_bytes)
        cond_wait(&w->rest, &w->mu);
    *w->tail = w->pend;
    w->tail = w->pend_tail;
    w->bytes += w->pend_bytes;
    cond_signal(&w->work);
    mtx_unlock(&w->mu);
    w->pend = NULL;
    w->pend_tail = &w->pend;
    w->pend_bytes = 0;
}

static void barrier(struct replay *r)
{
    for (unsigned i = 0; i < r->n_workers; i++)
        hand_over(&r->workers[i]);
    for (unsigned i = 0; i < r->n_workers; i++) {
        struct rep_worker *w = &r->workers[i];
        mtx_lock(&w->mu);
        while (w->head || w->busy)
            cond_wait(&w->rest, &w->mu);
        mtx_unlock(&w->mu);
    }
}

/* The run that a record belongs to: the first record of a context says it. */
static uint64_t run_of(struct replay *r, const struct replay_late *it)
{
    if (it->partition >= r->n_streams) {
        uint32_t n = it->partition + 1u;
        r->streams = mem_realloc(r->streams, n * sizeof(*r->streams));
        memset(r->streams + r->n_streams, 0, (n - r->n_streams) * sizeof(*r->streams));
        r->n_streams = n;
    }
    struct rep_stream *s = &r->streams[it->partition];
    struct rd rd = rd_init(str_n(it->payload, it->n));
    rd_uvarint(&rd);
    uint64_t seq = rd_uvarint(&rd);
    rd_svarint(&rd);
    if (seq != 0 && s->first_lsn)
        return s->run;
    s->first_lsn = it->lsn;
    uint64_t op = rd_uvarint(&rd);
    s->run = rd_ok(&rd) && op == OP_EXT && rd_u8(&rd) == EXT_RUN ? rd_uvarint(&rd) : 0;
    if (!rd_ok(&rd))
        s->run = 0;
    return s->run;
}

static void dispatch(struct replay *r, struct replay_late *it)
{
    uint64_t run = run_of(r, it);
    if (run != r->run) {
        barrier(r);
        r->run = run;
    }
    struct rep_worker *w = &r->workers[run ? it->partition % r->n_workers : 0];
    it->next = NULL;
    *w->pend_tail = it;
    w->pend_tail = &it->next;
    w->pend_bytes += it->n;
    if (w->pend_bytes >= r->queue_bytes / 32)
        hand_over(w);
}

/* Memory fills: what has been replayed becomes segments, as when running. */
static void flush_now(struct replay *r, uint64_t lsn)
{
    struct err_text why;
    uint64_t low = lsn; /* a later start must find whole contexts */
    barrier(r);
    head_rep_aside(r->db);
    for (uint32_t k = 0; k < r->n_streams; k++)
        if (r->streams[k].first_lsn)
            low = MIN(low, r->streams[k].first_lsn - 1);
    if (flush_locked(r->db, lsn, low, &why)) /* goes on in memory; the background thread tries again */
        LOG_WARN("flush during replay failed, going on", "err", why.msg);
    flush_unlink_try(r->db);
}

static struct replay_late *item_new(uint64_t lsn, uint32_t epoch, uint16_t partition, str payload)
{
    struct replay_late *it = mem_alloc(sizeof(*it) + payload.n);
    *it = (struct replay_late){ .lsn = lsn, .epoch = epoch, .partition = partition, .n = (uint32_t)payload.n };
    memcpy(it->payload, payload.p, payload.n);
    return it;
}

static enum err on_record(void *ctx, const struct store_replayed *rec)
{
    struct replay *r = ctx;
    struct tsdb *db = r->db;
    if (atomic_load_explicit(&db->closing, memory_order_relaxed))
        return ERR_CLOSED;
    if (rec->lsn > r->tail_lsn || rec->type != WAL_FRAME)
        return OK;
    dispatch(r, item_new(rec->lsn, rec->epoch, rec->partition, rec->payload));
    if (flush_by_bytes(db))
        flush_now(r, rec->lsn);
    return OK;
}

static void on_hole(void *ctx, uint64_t first, uint64_t last)
{
    struct replay *r = ctx;
    uint64_t none = 0;
    atomic_compare_exchange_strong(&r->first_bad, &none, first);
    atomic_fetch_add(&r->bad_records, 1);
    stat_add(&wal_lost, (int64_t)(last - first + 1));
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct replay *r = ctx;
    atomic_store_explicit(&r->percent, total ? (unsigned)(done * 100 / total) : 100, memory_order_relaxed);
}

static enum err read_log(struct replay *r)
{
    struct tsdb *db = r->db;
    struct store_replay spec = { .signal = STORE_METRICS,
                                 .from_lsn = store_wal_low_water(db->st, STORE_METRICS),
                                 .partition = -1,
                                 .ctx = r,
                                 .on_record = on_record,
                                 .on_hole = on_hole,
                                 .on_progress = on_progress };
    struct store_replay_result res = { 0 };
    uint64_t began = os_mono_ns();
    enum err e = store_wal_replay(db->st, &spec, &res, &r->why);
    barrier(r);
    uint64_t bad = atomic_load(&r->bad_records), first_bad = atomic_load(&r->first_bad);
    if (bad) {
        snprintf(db->damage, sizeof(db->damage),
                 "the log is damaged: %llu records could not be read, the first is %llu", (unsigned long long)bad,
                 (unsigned long long)first_bad);
        atomic_store(&db->wal_damaged, true);
        LOG_ERROR("metrics log damaged, answers may miss samples", "records", LOG_I64(bad), "first_lsn",
                  LOG_I64(first_bad));
    }
    uint64_t samples = atomic_load(&r->samples);
    stat_add(&replayed_total, (int64_t)samples);
    if (res.records && !e)
        LOG_INFO("metrics log replayed", "records", LOG_I64(res.records), "samples", LOG_I64(samples), "ms",
                 LOG_I64((os_mono_ns() - began) / 1000000), "cpu_ms",
                 LOG_I64((atomic_load(&r->cpu_ns) + thread_cpu_ns()) / 1000000));
    return e;
}

/* Late records into the head until there are none: then the head is complete and writes go their normal way. */
static void finish(struct replay *r)
{
    struct tsdb *db = r->db;
    mtx_lock(&r->mu);
    for (int round = 0; r->late; round++) {
        struct replay_late *it = r->late;
        r->late = NULL;
        r->late_tail = &r->late;
        r->late_bytes = 0;
        bool wait = round > 8; /* senders are faster than this: the last ones are made to wait */
        if (!wait)
            mtx_unlock(&r->mu);
        while (it) {
            struct replay_late *next = it->next;
            dispatch(r, it);
            it = next;
        }
        barrier(r);
        if (!wait)
            mtx_lock(&r->mu);
    }
    uint64_t lsn = store_wal_last_lsn(db->st);
    for (unsigned i = 0; i < db->n_parts; i++) {
        struct part *p = &db->parts[i];
        mtx_lock(&p->mu);
        memset(p->recent, 0, sizeof(p->recent));
        span_publish(db, p);
        p->last_lsn = lsn; /* duplicates of replayed samples are durable with these */
        mtx_unlock(&p->mu);
    }
    if (r->on_ready)
        r->on_ready(r->on_ready_ctx);
    db->run++;
    r->done = true;
    atomic_store(&db->ready, true);
    cond_broadcast(&r->end);
    mtx_unlock(&r->mu);
}

static void workers_stop(struct replay *r)
{
    for (unsigned i = 0; i < r->n_workers; i++) {
        struct rep_worker *w = &r->workers[i];
        mtx_lock(&w->mu);
        w->stop = true;
        cond_signal(&w->work);
        mtx_unlock(&w->mu);
        thread_join(w->thread);
        mem_free(w->contexts);
        arena_deinit(&w->a);
        cond_deinit(&w->work);
        cond_deinit(&w->rest);
        mtx_deinit(&w->mu);
    }
    for (size_t i = 0; i < SERIES_PAGES_MAX; i++)
        mem_free(atomic_load_explicit(&r->pages[i], memory_order_relaxed));
    mem_free(r->pages);
    mem_free(r->streams);
    r->n_workers = 0;
}

static enum err workers_start(struct replay *r)
{
    unsigned n = MAX(MIN(MIN(os_cores(), r->db->n_parts), WORKERS_MAX), 1);
    for (unsigned i = 0; i < n; i++) {
        struct rep_worker *w = &r->workers[i];
        char name[16];
        w->r = r;
        w->tail = &w->head;
        w->pend_tail = &w->pend;
        mtx_init(&w->mu, 0);
        cond_init(&w->work);
        cond_init(&w->rest);
        arena_init(&w->a, 0);
        snprintf(name, sizeof(name), "replay/%u", i % 100);
        enum err e = thread_start(&w->thread, name, worker_run, w);
        if (e)
            return e;
        r->n_workers++;
    }
    return OK;
}

static void reader_run(void *ctx)
{
    struct replay *r = ctx;
    struct tsdb *db = r->db;
    mtx_lock(&db->flush_mu);
    enum err e = read_log(r);
    while (atomic_load(&replay_test_hold) && !atomic_load(&db->closing))
        os_sleep_ms(1);
    if (!e && atomic_load(&db->closing))
        e = ERR_CLOSED;
    if (!e)
        e = upkeep_start(db);
    if (!e)
        finish(r);
    mtx_unlock(&db->flush_mu); /* no flush before: what is late is in the log, and not in the head yet */
    workers_stop(r);
    mtx_lock(&r->mu);
    r->done = true;
    r->e = e;
    if (e && !r->why.msg[0])
        IGNORE_ERR(err_fail(&r->why, e, "the metrics log could not be replayed: %s", err_describe(e)));
    cond_broadcast(&r->end);
    mtx_unlock(&r->mu);
}

enum err replay_start(struct tsdb *db)
{
    struct replay *r = mem_zalloc(sizeof(*r));
    db->replay = r;
    r->db = db;
    r->late_tail = &r->late;
    r->tail_lsn = store_wal_last_lsn(db->st);
    r->oldest_ms = retention_accepts(db, clock_now_ms(db->clk));
    r->queue_bytes = MIN(QUEUE_BYTES, atomic_load(&db->memory_max) / 64);
    r->pages = mem_zalloc(SERIES_PAGES_MAX * sizeof(*r->pages));
    db->run = r->tail_lsn * 2 + 1; /* no two runs that wrote anything begin at the same record */
    mtx_init(&r->mu, 105);
    cond_init(&r->end);
    TRY(workers_start(r));
    TRY(thread_start(&r->thread, "replay", reader_run, r));
    r->started = true;
    return OK;
}

void replay_stop(struct tsdb *db)
{
    struct replay *r = db->replay;
    if (!r)
        return;
    if (r->started)
        thread_join(r->thread);
    else
        workers_stop(r);
    for (struct replay_late *it = r->late, *next; it; it = next) { /* the log has them */
        next = it->next;
        mem_free(it);
    }
    cond_deinit(&r->end);
    mtx_deinit(&r->mu);
    mem_free(r);
    db->replay = NULL;
}

/* ---- from outside ---- */
bool replay_late_begin(struct tsdb *db, enum err *ret)
{
    struct replay *r = db->replay;
    if (atomic_load_explicit(&db->ready, memory_order_acquire))
        return false;
    mtx_lock(&r->mu);
    *ret = r->done && r->e                                                                    ? r->e
           : r->late_bytes > MAX(atomic_load(&db->memory_max) / 16, (uint64_t)LATE_BYTES_MIN) ? ERR_BUSY
                                                                                              : OK;
    if (*ret == ERR_BUSY)
        stat_add(&late_busy, 1);
    bool late = !atomic_load(&db->ready);
    if (!late) {
        *ret = OK;
        mtx_unlock(&r->mu);
    }
    return late;
}

void replay_late_end(struct tsdb *db)
{
    mtx_unlock(&db->replay->mu);
}

enum err replay_late_add(struct tsdb *db, struct part *p)
{
    struct replay *r = db->replay;
    struct replay_late *it = item_new(0, p->epoch, p->no, buf_str(&p->frame));
    enum err e = tsdb_wal_frame_end(db, p);
    if (e) {
        mem_free(it);
        return e;
    }
    it->lsn = p->last_lsn;
    *r->late_tail = it;
    r->late_tail = &it->next;
    r->late_bytes += sizeof(*it) + it->n;
    stat_add(&late_total, 1);
    return OK;
}

void tsdb_on_ready(struct tsdb *db, void (*fn)(void *ctx), void *ctx)
{
    struct replay *r = db->replay;
    mtx_lock(&r->mu);
    bool now = atomic_load(&db->ready);
    r->on_ready = fn;
    r->on_ready_ctx = ctx;
    mtx_unlock(&r->mu);
    if (now && fn)
        fn(ctx);
}

bool replay_await(struct tsdb *db)
{
    struct replay *r = db->replay;
    if (__builtin_expect(atomic_load_explicit(&db->ready, memory_order_acquire), 1))
        return true;
    mtx_lock(&r->mu);
    while (!r->done)
        cond_wait(&r->end, &r->mu);
    mtx_unlock(&r->mu);
    return atomic_load(&db->ready);
}

enum err tsdb_await(struct tsdb *db, unsigned ms, struct err_text *reterr)
{
    struct replay *r = db->replay;
    if (atomic_load_explicit(&db->ready, memory_order_acquire))
        return OK;
    mtx_lock(&r->mu);
    if (!r->done)
        IGNORE_ERR(cond_wait_ms(&r->end, &r->mu, ms) ? OK : ERR_TIMEOUT);
    enum err e = atomic_load(&db->ready) ? OK : !r->done ? ERR_TIMEOUT : r->e ? r->e : ERR_IO;
    if (e && r->done)
        *reterr = r->why;
    mtx_unlock(&r->mu);
    return e;
}

double tsdb_replay_progress(struct tsdb *db)
{
    return atomic_load(&db->ready) ? 1 : (double)atomic_load(&db->replay->percent) / 100;
}
