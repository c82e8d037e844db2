/* A remote: its reader follows the log and deals samples out to the shards; how many shards there should be. */
#include <math.h>
#include <stdio.h>

#include "base/stats.h"
#include "forward/forward_int.h"

enum {
    POLL_MS = 50, /* how often the log is looked at when there is nothing new */
    TROUBLE_MS = 1000,
    DRAIN_SERIES = 256,
    LOOK_S = 10, /* seconds between two looks at the number of shards */
};

/* ---- texts ---- */
void remote_error_set(struct remote *r, const char *text)
{
    int64_t now = clock_now_ms(r->f->opt.clock), since;
    if (!text)
        atomic_store_explicit(&r->last_ok_ms, now, memory_order_relaxed);
    mtx_lock(&r->mu);
    since = r->down_since_ms;
    if (text)
        snprintf(r->last_error, sizeof(r->last_error), "%s", text);
    else
        r->last_error[0] = 0;
    r->down_since_ms = !text ? 0 : since ? since : now;
    mtx_unlock(&r->mu);
    if (text && !since)
        LOG_WARN("forwarding fails, trying again for as long as the log has room", "remote", r->name, "url", r->url,
                 "err", text);
    if (!text && since)
        LOG_INFO("forwarding works again", "remote", r->name, "url", r->url, "after_s", LOG_I64((now - since) / 1000));
}

void remote_dropped(struct remote *r, const struct fwd_item *items, size_t n, bool full)
{
    for (size_t i = 0; i < n; i++)
        atomic_fetch_add_explicit(full ? &r->counts[items[i].kind].dropped_full
                                       : &r->counts[items[i].kind].dropped_rule,
                                  1, memory_order_relaxed);
}

/* ---- places ---- */
uint64_t remote_place(struct remote *r)
{
    uint64_t place = atomic_load_explicit(&r->done_lsn, memory_order_acquire); /* before the queues: they have it */
    mtx_lock(&r->mu);
    for (unsigned i = 0; i < r->n_shards; i++) {
        struct fwd_shard *s = r->shards[i];
        mtx_lock(&s->mu);
        if (s->n)
            place = MIN(place, s->ring[s->head].lsn - 1);
        mtx_unlock(&s->mu);
    }
    mtx_unlock(&r->mu);
    return place;
}

uint64_t remote_from(struct remote *r, uint64_t place)
{
    uint64_t from = place;
    mtx_lock(&r->mu);
    while (r->epochs.n > 1 && r->epochs.p[1].first_lsn <= place + 1)
        vec_remove(&r->epochs, 0);
    if (r->epochs.n)
        from = MIN(from, r->epochs.p[0].first_lsn - 1);
    mtx_unlock(&r->mu);
    return from;
}

/* DIR/place-KEY (docs/format/forward.md). A place in it is true whether the disk has it or not, and what a killed
 * process has sent is in the page cache: so it is written after every request and never synced. */
static void note_path(struct forward *f, str key, char *ret, size_t n)
{
    snprintf(ret, n, "%s/place-%016llx", f->opt.dir, (unsigned long long)hash64(key));
}

static void note_open(struct remote *r)
{
    char path[1024];
    uint64_t was[2];
    size_t n;
    note_path(r->f, str_c(r->key), path, sizeof(path));
    enum err e = fs_open(r->f->opt.fs, path, FS_WRITE, &r->note);
    if (e == ERR_NOT_FOUND)
        e = fs_open(r->f->opt.fs, path, FS_CREATE_NEW, &r->note);
    if (e != OK) {
        LOG_WARN("no note of the place in forwarding can be kept; after a crash more would be sent twice", "file", path,
                 "err", err_describe(e));
        r->note = NULL;
        return;
    }
    if (fs_pread(r->note, was, sizeof(was), 0, &n) == OK && n == sizeof(was) && was[1] == hash_u64(was[0]) &&
        was[0] > r->start_lsn && was[0] <= store_wal_last_lsn(r->f->opt.store))
        r->start_lsn = was[0];
    atomic_store_explicit(&r->noted, r->start_lsn, memory_order_relaxed);
}

void remote_note(struct remote *r)
{
    uint64_t place = remote_place(r), note[2] = { place, hash_u64(place) };
    if (!r->note || place <= atomic_load_explicit(&r->noted, memory_order_relaxed))
        return;
    atomic_store_explicit(&r->noted, place, memory_order_relaxed);
    IGNORE_ERR(fs_pwrite(r->note, note, sizeof(note), 0)); /* an older place costs time only */
}

void remote_note_remove(struct forward *f, str key)
{
    char path[1024];
    note_path(f, key, path, sizeof(path));
    IGNORE_ERR(fs_unlink(f->opt.fs, path));
}

unsigned remote_shards(struct remote *r)
{
    mtx_lock(&r->mu);
    unsigned n = r->n_shards;
    mtx_unlock(&r->mu);
    return n;
}

double remote_lag_seconds(struct remote *r, uint64_t place, int64_t newest_ms)
{
    if (place >= store_wal_durable_lsn(r->f->opt.store))
        return 0;
    int64_t sent = atomic_load_explicit(&r->highest_sent_ms, memory_order_relaxed);
    return sent && newest_ms > sent ? (double)(newest_ms - sent) / 1e3 : 0;
}

/* ---- what the log says ---- */
static bool is_new(const struct remote *r)
{
    return r->table.lsn > r->start_lsn;
}

static void stage(struct remote *r, uint32_t id, struct fwd_item it)
{
    it.s = fwd_table_series(&r->table, id);
    it.lsn = r->table.lsn;
    vec_push(&r->staged[it.s->id.hi % r->n_staged], it);
    atomic_fetch_add_explicit(&r->enqueued, 1, memory_order_relaxed);
}

/* Is this sample, of the record being read, to be sent? */
static bool is_wanted(struct remote *r, uint32_t id, enum fwd_kind kind)
{
    if (!is_new(r))
        return false;
    if (!fwd_table_series(&r->table, id))
        atomic_fetch_add_explicit(&r->counts[kind].dropped_rule, 1, memory_order_relaxed);
    else if (r->table.lsn <= atomic_load_explicit(&r->drop_lsn, memory_order_relaxed))
        atomic_fetch_add_explicit(&r->counts[kind].dropped_full, 1, memory_order_relaxed);
    else
        return true;
    return false;
}

static void on_define(void *ctx, uint32_t id, struct labels ls)
{
    fwd_table_define(&((struct remote *)ctx)->table, id, ls);
}

static void on_sample(void *ctx, uint32_t id, int64_t ts, double v, int64_t start)
{
    struct remote *r = ctx;
    if (is_wanted(r, id, FWD_SAMPLE))
        stage(r, id, (struct fwd_item){ .kind = FWD_SAMPLE, .ts = ts, .start = start, .u.v = v });
}

static void on_histogram(void *ctx, uint32_t id, int64_t ts, const struct histogram *h, int64_t start)
{
    struct remote *r = ctx;
    if (r->cfg->send_native_histograms && is_wanted(r, id, FWD_HISTOGRAM))
        stage(r, id, (struct fwd_item){ .kind = FWD_HISTOGRAM, .ts = ts, .start = start, .u.h = fwd_histogram_dup(h) });
}

static void on_exemplar(void *ctx, uint32_t id, const struct exemplar *e)
{
    struct remote *r = ctx;
    if (r->cfg->send_exemplars && is_wanted(r, id, FWD_EXEMPLAR))
        stage(r, id, (struct fwd_item){ .kind = FWD_EXEMPLAR, .ts = e->ts_ms, .u.x = fwd_exemplar_dup(e) });
}

static void on_info(void *ctx, uint32_t id, enum metric_type type, enum temporality t)
{
    struct fwd_series *s = fwd_table_series(&((struct remote *)ctx)->table, id);
    (void)t;
    if (s)
        atomic_store_explicit(&s->type, (unsigned char)type, memory_order_relaxed);
}

static void on_family(void *ctx, str name, const struct metric_meta *m)
{
    fwd_table_family(&((struct remote *)ctx)->table, name, m);
}

/* Names that the log's next records do not explain again. */
static void families_load(struct remote *r)
{
    AUTO_ARENA struct arena a;
    struct tsdb_metadata *m;
    size_t n;
    arena_init(&a, 0);
    if (tsdb_metadata(r->f->opt.db, STR_NONE, 0, &a, &m, &n) == OK)
        for (size_t i = 0; i < n; i++)
            fwd_table_family(&r->table, m[i].name, &m[i].meta);
}

/* ---- shards ---- */
static void shards_resize(struct remote *r, unsigned n)
{
    struct fwd_shard **now = mem_zalloc(MAX(n, r->n_shards) * sizeof(*now));
    unsigned have = 0, old_n = r->n_shards;
    for (; have < MIN(n, old_n); have++)
        now[have] = r->shards[have];
    while (have < n && (now[have] = fwd_shard_start(r, have)))
        have++;
    if (have < n)
        LOG_WARN("not as many shards as wanted: no more threads", "remote", r->name, "shards", LOG_I64(have));
    mtx_lock(&r->mu);
    struct fwd_shard **old = r->shards;
    r->shards = now;
    r->n_shards = have;
    mtx_unlock(&r->mu);
    for (unsigned i = have; i < old_n; i++) { /* drained: they are idle */
        fwd_shard_stop(old[i]);
        fwd_shard_join(old[i]);
        fwd_shard_free(old[i]);
    }
    mem_free(old);
    for (unsigned i = 0; i < r->n_staged; i++)
        vec_free(&r->staged[i]);
    r->n_staged = MAX(have, 1u);
    r->staged = mem_realloc(r->staged, r->n_staged * sizeof(*r->staged));
    memset(r->staged, 0, r->n_staged * sizeof(*r->staged));
    atomic_store(&r->want_shards, have);
}

/* Series change their shard only when nothing of them is on its way. */
static bool shards_drained(struct remote *r)
{
    bool empty = true;
    for (unsigned i = 0; i < r->n_shards; i++) {
        struct fwd_shard *s = r->shards[i];
        mtx_lock(&s->mu);
        s->flush = true;
        empty &= s->n == 0;
        cond_signal(&s->more);
        mtx_unlock(&s->mu);
    }
    return empty;
}

static void shards_follow(struct remote *r)
{
    unsigned want = atomic_load(&r->want_shards);
    if (want == r->n_shards || want == 0)
        return;
    uint64_t began = os_mono_ns();
    while (!shards_drained(r) && !atomic_load(&r->stop)) {
        if (os_mono_ns() - began > 30ull * 1000000000) { /* the receiver is slow or away: stay as we are */
            atomic_store(&r->want_shards, r->n_shards);
            break;
        }
        os_sleep_ms(5);
    }
    for (unsigned i = 0; i < r->n_shards; i++) {
        mtx_lock(&r->shards[i]->mu);
        r->shards[i]->flush = false;
        mtx_unlock(&r->shards[i]->mu);
    }
    if (!atomic_load(&r->stop) && atomic_load(&r->want_shards) != r->n_shards) {
        LOG_INFO("forwarding changes its shards", "remote", r->name, "from", LOG_I64(r->n_shards), "to", LOG_I64(want));
        shards_resize(r, want);
    }
}

/* As Prometheus does it: how many shards, each busy all the time, would send what comes in and catch up with a
 * twentieth of what waits per second. Not when nothing was sent lately, not for less than 30 %, not down while behind. */
void remote_reshard(struct remote *r, int64_t newest_ms)
{
    if (++r->looks % LOOK_S)
        return;
    const struct queue_config *q = &r->cfg->queue;
    uint64_t in = atomic_load_explicit(&r->enqueued, memory_order_relaxed),
             out = atomic_load_explicit(&r->acked, memory_order_relaxed),
             ns = atomic_load_explicit(&r->send_ns, memory_order_relaxed);
    double a = r->looks == LOOK_S ? 1 : 0.2;
    r->rate_in += a * ((double)(in - r->was_enqueued) / LOOK_S - r->rate_in);
    r->rate_out += a * ((double)(out - r->was_acked) / LOOK_S - r->rate_out);
    r->send_share += a * ((double)(ns - r->was_send_ns) / 1e9 / LOOK_S - r->send_share);
    bool idle = out == r->was_acked;
    r->was_enqueued = in;
    r->was_acked = out;
    r->was_send_ns = ns;
    if (idle || r->rate_out <= 0)
        return;
    unsigned have = atomic_load(&r->want_shards);
    double lag = remote_lag_seconds(r, remote_place(r), newest_ms);
    double per_sample = r->send_share / r->rate_out;
    double desired = per_sample * (r->rate_in + 0.05 * lag * r->rate_in);
    if (desired > have * 0.7 && desired < have * 1.3)
        return;
    desired = ceil(desired);
    if (desired < have && lag > 10)
        return;
    atomic_store(&r->want_shards, (unsigned)MAX((double)q->min_shards, MIN(desired, (double)q->max_shards)));
}

/* ---- the reader ---- */
static void staged_push(struct remote *r)
{
    for (unsigned i = 0; i < r->n_staged; i++) {
        if (!r->staged[i].n)
            continue;
        if (r->n_shards)
            IGNORE_ERR(fwd_shard_push(r->shards[i], r->staged[i].p, r->staged[i].n) ? OK : ERR_CANCELLED);
        vec_clear(&r->staged[i]);
    }
}

static void pause_ms(struct remote *r, unsigned ms)
{
    mtx_lock(&r->mu);
    if (!atomic_load(&r->stop))
        cond_wait_ms(&r->wake, &r->mu, ms);
    mtx_unlock(&r->mu);
}

static void record_read(struct remote *r, struct tsdb_follow *fo, const struct store_replayed *rec, uint64_t lost)
{
    if (lost && rec->lsn > r->start_lsn) {
        atomic_fetch_add_explicit(&r->records_lost, lost, memory_order_relaxed);
        LOG_ERROR("log records that were to be forwarded are missing; going on with what follows", "remote", r->name,
                  "records", LOG_I64(lost), "before_lsn", LOG_I64(rec->lsn));
    }
    if (r->epoch != rec->epoch) {
        struct fwd_epoch e = { rec->epoch, rec->lsn };
        r->epoch = rec->epoch;
        mtx_lock(&r->mu);
        vec_push(&r->epochs, e);
        mtx_unlock(&r->mu);
    }
    r->table.lsn = rec->lsn;
    if (tsdb_follow_record(fo, rec) != OK && is_new(r)) {
        atomic_fetch_add_explicit(&r->records_lost, 1, memory_order_relaxed);
        LOG_ERROR("a log record that was to be forwarded cannot be read; going on with the next", "remote", r->name,
                  "lsn", LOG_I64(rec->lsn));
    }
    staged_push(r);
    if (atomic_load(&r->stop))
        return; /* it may be queued in part: it is read again */
    if (is_new(r))
        atomic_store_explicit(&r->done_lsn, rec->lsn, memory_order_release);
}

static void reader_main(void *ctx)
{
    struct remote *r = ctx;
    struct store *st = r->f->opt.store;
    struct store_tail *t = NULL;
    struct tsdb_follow_sink sink = { r, on_define, on_sample, on_histogram, on_exemplar, on_info, on_family };
    struct tsdb_follow *fo = tsdb_follow_new(&sink);
    unsigned records = 0;
    families_load(r);
    while (!atomic_load(&r->stop) && store_tail_open(st, STORE_METRICS, r->start_from, &t) != OK)
        pause_ms(r, TROUBLE_MS);
    while (!atomic_load(&r->stop)) {
        struct store_replayed rec;
        uint64_t lost;
        shards_follow(r);
        enum err e = store_tail_next(t, &rec, &lost);
        if (e == OK) {
            record_read(r, fo, &rec, lost);
            if (++records % 1024)
                continue;
        } else if (e == ERR_NOT_FOUND) {
            uint64_t upto = store_tail_lsn(t); /* the rest is of other signals */
            if (upto > atomic_load_explicit(&r->done_lsn, memory_order_relaxed))
                atomic_store_explicit(&r->done_lsn, upto, memory_order_release);
            pause_ms(r, POLL_MS);
        } else {
            LOG_WARN("the log cannot be read for forwarding, trying again", "remote", r->name, "err", err_describe(e));
            pause_ms(r, TROUBLE_MS);
        }
        if (r->table.retired.n)
            fwd_table_free_retired(&r->table, remote_place(r));
    }
    store_tail_close(t);
    tsdb_follow_free(fo);
}

/* ---- life ---- */
uint64_t remote_identity(const struct prom_config *prom, const struct remote_write_config *cfg)
{
    uint64_t h = conf_hash(&remote_write_schema, cfg);
    for (size_t i = 0; i < prom->global.external_labels.n; i++)
        h = hash_u64(h ^ hash64(prom->global.external_labels.keys[i])) ^ hash64(prom->global.external_labels.p[i]);
    return h;
}

/* "https://user:secret@host/path" without what is before the "@". */
static char *url_for_people(str url)
{
    size_t at = SIZE_MAX, end = url.n, start = 0;
    for (size_t i = 0; i + 2 < url.n && !start; i++)
        if (url.p[i] == ':' && url.p[i + 1] == '/' && url.p[i + 2] == '/')
            start = i + 3;
    for (size_t i = start; i < end && url.p[i] != '/' && url.p[i] != '?'; i++)
        if (url.p[i] == '@')
            at = i;
    if (at == SIZE_MAX)
        return mem_strdup(url);
    AUTO_BUF struct buf b = { 0 };
    buf_str_add(&b, str_take(url, start));
    buf_str_add(&b, str_skip(url, at + 1));
    return mem_strdup(buf_str(&b));
}

/* Who is asked for is said by the configuration: then that is so for all. */
static bool sets_tenant(const struct remote_write_config *cfg)
{
    bool sets = false;
    for (size_t i = 0; i < cfg->headers.n; i++)
        sets |= str_ieq(cfg->headers.keys[i], STR("X-Scope-OrgID"));
    for (size_t i = 0; i < cfg->http.headers.n; i++)
        sets |= str_ieq(cfg->http.headers.keys[i], STR("X-Scope-OrgID"));
    return sets;
}

static void remote_free(struct remote *r)
{
    for (unsigned i = 0; i < r->n_staged; i++)
        vec_free(&r->staged[i]);
    mem_free(r->staged);
    mem_free(r->shards);
    vec_free(&r->epochs);
    fwd_table_deinit(&r->table);
    cond_deinit(&r->wake);
    mtx_deinit(&r->mu);
    arena_deinit(&r->a);
    prom_config_unref(r->prom);
    fs_close(r->note);
    mem_free(r->key);
    mem_free(r->name);
    mem_free(r->url);
    mem_free(r);
}

/* No thread sends any more; what is queued stays, so that the place is known. */
static void shards_stop(struct remote *r)
{
    for (unsigned i = 0; i < r->n_shards; i++)
        fwd_shard_stop(r->shards[i]);
    for (unsigned i = 0; i < r->n_shards; i++)
        fwd_shard_join(r->shards[i]);
}

static void shards_free(struct remote *r)
{
    for (unsigned i = 0; i < r->n_shards; i++)
        fwd_shard_free(r->shards[i]);
    r->n_shards = 0;
}

enum err remote_open(struct forward *f, struct prom_config *prom, const struct remote_write_config *cfg, str key,
                     const struct remote_start *at, struct remote **ret, struct err_text *reterr)
{
    struct remote *r = mem_zalloc(sizeof(*r));
    char hex[8];
    r->f = f;
    r->prom = prom_config_ref(prom);
    r->cfg = cfg;
    r->key = mem_strdup(key);
    r->identity = remote_identity(prom, cfg);
    snprintf(hex, sizeof(hex), "%06x", (unsigned)(hash64(key) & 0xffffff));
    r->name = cfg->name.n ? mem_strdup(cfg->name) : mem_strdup(str_c(hex));
    r->url = url_for_people(cfg->url);
    r->v2 = str_eq(cfg->protobuf_message, STR("io.prometheus.write.v2.Request"));
    r->start_lsn = at->lsn;
    r->start_from = at->from;
    r->resent_lsn = at->resent;
    note_open(r);
    atomic_init(&r->done_lsn, r->start_lsn);
    mtx_init(&r->mu, 20);
    cond_init(&r->wake);
    arena_init(&r->a, 0);
    struct label_builder b;
    lb_init(&b, &r->a);
    for (size_t i = 0; i < prom->global.external_labels.n; i++)
        lb_set(&b, prom->global.external_labels.keys[i], prom->global.external_labels.p[i]);
    r->external = lb_labels(&b);
    fwd_table_init(&r->table, cfg->relabel, r->external, r->v2, sets_tenant(cfg));
    unsigned shards = (unsigned)MIN(MAX((int64_t)at->shards, cfg->queue.min_shards), cfg->queue.max_shards);
    shards_resize(r, shards);
    enum err e = r->n_shards ? thread_start(&r->reader, "forward/reader", reader_main, r) : ERR_LIMIT;
    if (e != OK) {
        err_fail(reterr, e, "remote_write %s: no thread to be had", r->url);
        shards_stop(r);
        shards_free(r);
        remote_free(r);
        return e;
    }
    r->started = true;
    *ret = r;
    return OK;
}

void remote_stop(struct remote *r)
{
    atomic_store(&r->stop, true);
    mtx_lock(&r->mu);
    cond_broadcast(&r->wake);
    mtx_unlock(&r->mu);
    mtx_lock(&r->mu);
    for (unsigned i = 0; i < r->n_shards; i++)
        fwd_shard_stop(r->shards[i]);
    mtx_unlock(&r->mu);
}

void remote_close(struct remote *r, struct remote_start *ret_at)
{
    remote_stop(r);
    thread_join(r->reader);
    shards_stop(r); /* again: the reader may have started some */
    uint64_t place = remote_place(r);
    if (ret_at)
        *ret_at = (struct remote_start){ .lsn = place,
                                         .from = remote_from(r, place),
                                         .resent = store_wal_last_lsn(r->f->opt.store),
                                         .shards = r->n_shards };
    shards_free(r);
    remote_free(r);
}
