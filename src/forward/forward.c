/* The list of remotes, and their upkeep once a second: places to DIR/positions, the hold of the log, what is to be
 * dropped, shards, metrics. */
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/stats.h"
#include "forward/forward_int.h"

enum {
    TICK_MS = 1000,
    POSITIONS_BYTES_MAX = 1 << 20,
    GRACE_STEP_MS = 20,
};
#define POSITIONS_HEAD "vane forward 1"
#define EACH_REMOTE(f, r)                                   \
    for (size_t r##_i = 0; r##_i < (f)->remotes.n; r##_i++) \
        for (struct remote *r = (f)->remotes.p[r##_i]; r; r = NULL)

/* ---- DIR/positions (docs/format/forward.md) ---- */
static void positions_text(struct forward *f, struct buf *b, uint64_t *ret_hold)
{
    buf_lit(b, POSITIONS_HEAD "\n");
    *ret_hold = STORE_HOLD_NONE;
    EACH_REMOTE(f, r)
    {
        uint64_t place = remote_place(r), from = remote_from(r, place);
        *ret_hold = MIN(*ret_hold, from);
        buf_printf(b, "%llu %llu %u %s\n", (unsigned long long)place, (unsigned long long)from, remote_shards(r),
                   r->key);
    }
}

/* The line of `key`; false if there is none. */
static bool position_find(str text, str key, struct remote_start *ret)
{
    str line;
    if (!str_cut(&text, '\n', &line) || !str_eq(line, STR(POSITIONS_HEAD)))
        return false;
    while (str_cut(&text, '\n', &line)) {
        str place, from, shards;
        uint64_t n;
        if (str_cut(&line, ' ', &place) && str_cut(&line, ' ', &from) && str_cut(&line, ' ', &shards) &&
            str_eq(line, key) && str_to_u64(place, &ret->lsn) && str_to_u64(from, &ret->from) &&
            str_to_u64(shards, &n) && ret->from <= ret->lsn) {
            ret->shards = (unsigned)MIN(n, (uint64_t)10000);
            return true;
        }
    }
    return false;
}

static void positions_save_locked(struct forward *f)
{
    AUTO_BUF struct buf b = { 0 };
    struct err_text why = { 0 };
    uint64_t hold;
    mtx_lock(&f->mu);
    positions_text(f, &b, &hold);
    mtx_unlock(&f->mu);
    uint64_t hash = hash64(buf_str(&b));
    if (hash == f->positions_hash)
        return;
    enum err e = fs_write_file_atomic(f->opt.fs, f->path, buf_str(&b));
    if (e != OK) { /* the hold stays: nothing that the file on disk needs goes */
        LOG_WARN("places of forwarding cannot be written, trying again; after a crash more would be sent twice", "file",
                 f->path, "err", err_describe(e));
        return;
    }
    f->positions_hash = hash;
    e = store_hold_set(f->opt.store, STORE_METRICS, hold, &why);
    if (e != OK)
        LOG_WARN("the log's hold cannot be moved, trying again", "err", why.msg[0] ? why.msg : err_describe(e));
    if (e != OK)
        f->positions_hash = 0;
}

static void positions_save(struct forward *f)
{
    mtx_lock(&f->save_mu);
    positions_save_locked(f);
    mtx_unlock(&f->save_mu);
}

/* ---- upkeep ---- */
static void on_hold_pressure(void *ctx, uint64_t lsn)
{
    struct forward *f = ctx;
    atomic_store_explicit(&f->drop_lsn, lsn, memory_order_relaxed);
    cond_signal(&f->wake);
}

static uint64_t dropped_full(const struct remote *r)
{
    uint64_t n = 0;
    for (int k = 0; k < FWD_KINDS; k++)
        n += atomic_load_explicit(&r->counts[k].dropped_full, memory_order_relaxed);
    return n;
}

static void drop_look(struct forward *f, struct remote *r)
{
    uint64_t lsn = atomic_load_explicit(&f->drop_lsn, memory_order_relaxed), n = dropped_full(r);
    if (lsn > atomic_load_explicit(&r->drop_lsn, memory_order_relaxed) && remote_place(r) < lsn) {
        atomic_store_explicit(&r->drop_lsn, lsn, memory_order_relaxed);
        LOG_ERROR("the log is full: the oldest samples that were not forwarded yet are given up", "remote", r->name,
                  "url", r->url, "up_to_lsn", LOG_I64(lsn));
    }
    if (n > r->dropped_said) {
        LOG_WARN("samples were not forwarded because the log was full", "remote", r->name, "samples",
                 LOG_I64(n - r->dropped_said));
        r->dropped_said = n;
    }
}

static void newest_look(struct forward *f)
{
    AUTO_ARENA struct arena a;
    struct tsdb_stats st;
    arena_init(&a, 0);
    if (tsdb_stats(f->opt.db, false, &a, &st) == OK)
        atomic_store_explicit(&f->newest_ms, MAX(st.head_max_ms, (int64_t)0), memory_order_relaxed);
}

static void upkeep_main(void *ctx)
{
    struct forward *f = ctx;
    mtx_lock(&f->mu);
    while (!f->closing) {
        int64_t newest;
        bool any = f->remotes.n > 0;
        mtx_unlock(&f->mu);
        if (any)
            newest_look(f);
        mtx_lock(&f->mu);
        newest = atomic_load_explicit(&f->newest_ms, memory_order_relaxed);
        EACH_REMOTE(f, r)
        {
            drop_look(f, r);
            remote_reshard(r, newest);
        }
        mtx_unlock(&f->mu);
        if (any)
            positions_save(f);
        mtx_lock(&f->mu);
        if (!f->closing)
            cond_wait_ms(&f->wake, &f->mu, TICK_MS);
    }
    mtx_unlock(&f->mu);
}

/* ---- metrics ---- */
struct series_out {
    struct buf *b;
    const char *family;
};

static void family(struct series_out *o, const char *name, const char *type, const char *help)
{
    o->family = name;
    buf_printf(o->b, "# HELP vane_remote_storage_%s %s\n# TYPE vane_remote_storage_%s %s\n", name, help, name, type);
}

static void label_value(struct buf *b, const char *s)
{
    for (; *s; s++)
        if (*s == '"' || *s == '\\')
            buf_printf(b, "\\%c", *s);
        else if (*s != '\n')
            buf_u8(b, (uint8_t)*s);
}

static void row(struct series_out *o, const struct remote *r, const char *more, double v)
{
    buf_printf(o->b, "vane_remote_storage_%s{remote_name=\"", o->family);
    label_value(o->b, r->name);
    buf_lit(o->b, "\",url=\"");
    label_value(o->b, r->url);
    buf_printf(o->b, "\"%s} ", more);
    buf_f64_g(o->b, v);
    buf_u8(o->b, '\n');
}

#define LOAD(x) (double)atomic_load_explicit(&(x), memory_order_relaxed)

static void render(void *ctx, struct buf *out)
{
    static const struct {
        const char *prefix, *what;
    } kinds[FWD_KINDS] = { { "samples", "Samples" },
                           { "histograms", "Native histograms" },
                           { "exemplars", "Exemplars" } };
    struct forward *f = ctx;
    struct series_out o = { .b = out };
    char name[64], help[200];
    mtx_lock(&f->mu);
    if (!f->remotes.n) {
        mtx_unlock(&f->mu);
        return;
    }
#define PER_KIND(suffix, type, text, field, extra)                   \
    for (int k = 0; k < FWD_KINDS; k++) {                            \
        snprintf(name, sizeof(name), "%s_" suffix, kinds[k].prefix); \
        snprintf(help, sizeof(help), "%s " text, kinds[k].what);     \
        family(&o, name, type, help);                                \
        EACH_REMOTE(f, r)                                            \
        row(&o, r, extra, LOAD(r->counts[k].field));                 \
    }
    PER_KIND("total", "counter", "that the remote storage has taken", sent, "")
    PER_KIND("pending", "gauge", "in the queues of the shards", pending, "")
    PER_KIND("failed_total", "counter", "that the remote storage refused for good", failed, "")
    PER_KIND("retried_total", "counter", "sent again after a failure that may pass", retried, "")
#undef PER_KIND
    for (int k = 0; k < FWD_KINDS; k++) {
        snprintf(name, sizeof(name), "%s_dropped_total", kinds[k].prefix);
        snprintf(help, sizeof(help),
                 "%s that were not sent: by a relabelling rule, for their age, or since the log was full",
                 kinds[k].what);
        family(&o, name, "counter", help);
        EACH_REMOTE(f, r)
        {
            row(&o, r, ",reason=\"dropped_series\"", LOAD(r->counts[k].dropped_rule));
            row(&o, r, ",reason=\"too_old\"", LOAD(r->counts[k].dropped_old));
            row(&o, r, ",reason=\"log_full\"", LOAD(r->counts[k].dropped_full));
            row(&o, r, ",reason=\"resent\"", LOAD(r->counts[k].dropped_again));
            if (k == FWD_EXEMPLAR)
                row(&o, r, ",reason=\"no_sample\"", LOAD(r->counts[k].dropped_alone));
        }
    }
#define PER_REMOTE(name_, type, help_, value) \
    family(&o, name_, type, help_);           \
    EACH_REMOTE(f, r)                         \
    row(&o, r, "", (value));
    PER_REMOTE("bytes_total", "counter", "Compressed bytes of requests that were taken", LOAD(r->bytes))
    PER_REMOTE("metadata_total", "counter", "Metadata entries that were taken", LOAD(r->metadata))
    PER_REMOTE("metadata_failed_total", "counter",
               "Metadata entries that were not taken; sent again at the next interval", LOAD(r->metadata_failed))
    PER_REMOTE("requests_total", "counter", "Requests that were answered or failed", LOAD(r->requests))
    PER_REMOTE("request_seconds_total", "counter", "Time spent in requests, over all shards", LOAD(r->send_ns) / 1e9)
    PER_REMOTE("samples_in_total", "counter", "Samples, histograms and exemplars that were queued", LOAD(r->enqueued))
    PER_REMOTE("enqueue_retries_total", "counter", "Times the reader of the log waited for room in a shard's queue",
               LOAD(r->waits))
    PER_REMOTE("log_records_lost_total", "counter",
               "Log records that were missing or damaged when they were to be sent", LOAD(r->records_lost))
    PER_REMOTE("shards", "gauge", "Shards that send in parallel", remote_shards(r))
    PER_REMOTE("shards_desired", "gauge", "Shards that the queue wants by its rates", LOAD(r->want_shards))
    PER_REMOTE("shards_min", "gauge", "queue_config.min_shards", (double)r->cfg->queue.min_shards)
    PER_REMOTE("shards_max", "gauge", "queue_config.max_shards", (double)r->cfg->queue.max_shards)
    PER_REMOTE("shard_capacity", "gauge", "queue_config.capacity", (double)r->cfg->queue.capacity)
    PER_REMOTE("max_samples_per_send", "gauge", "queue_config.max_samples_per_send",
               (double)r->cfg->queue.max_samples_per_send)
    PER_REMOTE("queue_highest_sent_timestamp_seconds", "gauge", "Newest timestamp that was taken",
               LOAD(r->highest_sent_ms) / 1e3)
    PER_REMOTE("queue_last_send_timestamp_seconds", "gauge", "When a request was last taken", LOAD(r->last_ok_ms) / 1e3)
    PER_REMOTE("lag_seconds", "gauge", "Newest stored timestamp minus newest one taken; 0 when all was taken",
               remote_lag_seconds(r, remote_place(r), atomic_load(&f->newest_ms)))
    PER_REMOTE("lag_bytes", "gauge", "Bytes of the log that the remote storage has not taken yet, about",
               (double)store_wal_bytes_after(f->opt.store, remote_place(r)))
#undef PER_REMOTE
    buf_printf(out, "# HELP vane_remote_storage_highest_timestamp_in_seconds Newest timestamp stored\n"
                    "# TYPE vane_remote_storage_highest_timestamp_in_seconds gauge\n"
                    "vane_remote_storage_highest_timestamp_in_seconds ");
    buf_f64_g(out, LOAD(f->newest_ms) / 1e3);
    buf_u8(out, '\n');
    mtx_unlock(&f->mu);
}

void forward_status(struct forward *f, struct arena *a, struct forward_status **ret, size_t *ret_n)
{
    mtx_lock(&f->mu);
    *ret = arena_zarray(a, struct forward_status, f->remotes.n + 1);
    *ret_n = f->remotes.n;
    for (size_t i = 0; i < f->remotes.n; i++) {
        struct remote *r = f->remotes.p[i];
        struct forward_status *s = &(*ret)[i];
        uint64_t place = remote_place(r);
        *s = (struct forward_status){
            .name = arena_str(a, str_c(r->name)),
            .url = arena_str(a, str_c(r->url)),
            .protocol = arena_str(a, r->cfg->protobuf_message),
            .shards = remote_shards(r),
            .shards_desired = atomic_load(&r->want_shards),
            .lag_bytes = store_wal_bytes_after(f->opt.store, place),
            .lag_seconds = remote_lag_seconds(r, place, atomic_load(&f->newest_ms)),
            .highest_sent_ms = atomic_load(&r->highest_sent_ms),
            .last_ok_ms = atomic_load(&r->last_ok_ms),
        };
        for (int k = 0; k < FWD_KINDS; k++) {
            const struct fwd_counts *c = &r->counts[k];
            s->pending += atomic_load(&c->pending);
            if (k == FWD_EXEMPLAR)
                continue;
            s->sent += atomic_load(&c->sent);
            s->failed += atomic_load(&c->failed);
            s->retried += atomic_load(&c->retried);
            s->dropped += atomic_load(&c->dropped_full) + atomic_load(&c->dropped_old);
        }
        mtx_lock(&r->mu);
        s->last_error = arena_str(a, str_c(r->last_error));
        mtx_unlock(&r->mu);
    }
    mtx_unlock(&f->mu);
}

/* ---- life ---- */
enum err forward_open(const struct forward_options *opt, struct forward **ret, struct err_text *reterr)
{
    enum err e = fs_mkdirs(opt->fs, opt->dir);
    if (e != OK)
        return err_fail(reterr, e, "%s: %s", opt->dir, err_describe(e));
    struct forward *f = mem_zalloc(sizeof(*f));
    f->opt = *opt;
    size_t n = strlen(opt->dir) + 16;
    f->path = mem_alloc(n);
    snprintf(f->path, n, "%s/positions", opt->dir);
    f->open_lsn = store_wal_last_lsn(opt->store);
    mtx_init(&f->save_mu, 5);
    mtx_init(&f->mu, 10);
    cond_init(&f->wake);
    e = http_client_open(NULL, &f->http);
    if (e == OK) {
        e = thread_start(&f->upkeep, "forward", upkeep_main, f);
        if (e != OK)
            http_client_close(f->http);
    }
    if (e != OK) {
        cond_deinit(&f->wake);
        mtx_deinit(&f->mu);
        mtx_deinit(&f->save_mu);
        mem_free(f->path);
        mem_free(f);
        return err_fail(reterr, e, "forwarding: %s", err_describe(e));
    }
    store_hold_hook(opt->store, STORE_METRICS, on_hold_pressure, f);
    stats_on_render(render, f);
    *ret = f;
    return OK;
}

/* Name or URL; the second one of the same URL gets " #2". Control characters would break the file's lines. */
static str key_of(struct arena *a, const struct prom_config *cfg, size_t i)
{
    const struct remote_write_config *c = &cfg->remote_write.p[i];
    unsigned same = 1;
    if (!c->name.n)
        for (size_t k = 0; k < i; k++)
            same += !cfg->remote_write.p[k].name.n && str_eq(cfg->remote_write.p[k].url, c->url);
    str key = c->name.n  ? arena_printf(a, "name:" STR_FMT, STR_ARG(c->name))
              : same > 1 ? arena_printf(a, "url:" STR_FMT " #%u", STR_ARG(c->url), same)
                         : arena_printf(a, "url:" STR_FMT, STR_ARG(c->url));
    char *p = (char *)(uintptr_t)key.p;
    for (size_t k = 0; k < key.n; k++)
        p[k] = (unsigned char)p[k] < ' ' ? '?' : p[k];
    return key;
}

/* Where a remote goes on that does not run yet. */
static struct remote_start place_of(struct forward *f, str text, bool text_good, str key)
{
    uint64_t last = store_wal_last_lsn(f->opt.store), hold = store_hold(f->opt.store, STORE_METRICS);
    struct remote_start at = { .lsn = last, .from = last };
    if (position_find(text, key, &at)) {
        at.lsn = MIN(at.lsn, last);
        at.from = MIN(at.from, at.lsn);
        at.resent = f->open_lsn;
    } else if (!text_good && hold != STORE_HOLD_NONE) { /* the file is gone, but somebody was forwarding */
        at.lsn = at.from = MIN(hold, last);
        at.resent = f->open_lsn;
    }
    return at;
}

enum err forward_reload(struct forward *f, struct prom_config *cfg, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    VEC(struct remote *) next = { 0 };
    enum err e = OK;
    str text = STR_NONE;
    struct err_text why;
    arena_init(&a, 0);
    bool good = fs_read_file(f->opt.fs, f->path, POSITIONS_BYTES_MAX, &a, &text, &why) == OK &&
                str_has_prefix(text, STR(POSITIONS_HEAD "\n"));
    if (!good && text.n)
        LOG_ERROR("places of forwarding cannot be read, sending what the log still has", "file", f->path);
    if (cfg->remote_write.n && store_hold(f->opt.store, STORE_METRICS) == STORE_HOLD_NONE)
        e = store_hold_set(f->opt.store, STORE_METRICS, store_wal_last_lsn(f->opt.store), reterr);
    /* Nothing is stopped before everything new could be started, except what has the same place. */
    for (size_t i = 0; i < cfg->remote_write.n && e == OK; i++) {
        const struct remote_write_config *c = &cfg->remote_write.p[i];
        str key = key_of(&a, cfg, i);
        struct remote *r = NULL;
        mtx_lock(&f->mu);
        EACH_REMOTE(f, old)
        if (str_eq(str_c(old->key), key))
            r = old;
        mtx_unlock(&f->mu);
        if (r && r->identity == remote_identity(cfg, c)) {
            vec_push(&next, r);
            continue;
        }
        struct remote_start at;
        if (r) {
            mtx_lock(&f->mu); /* its place in the list is taken by the one that follows it */
            size_t k = 0;
            while (f->remotes.p[k] != r)
                k++;
            vec_remove(&f->remotes, k);
            mtx_unlock(&f->mu);
            remote_close(r, &at);
        } else
            at = place_of(f, text, good, key);
        e = remote_open(f, cfg, c, key, &at, &r, reterr);
        if (e == OK) {
            vec_push(&next, r);
            mtx_lock(&f->mu);
            vec_push(&f->remotes, r);
            mtx_unlock(&f->mu);
            LOG_INFO("forwarding", "remote", r->name, "url", r->url, "from_lsn", LOG_I64(at.lsn));
        }
    }
    if (e == OK) {
        mtx_lock(&f->mu);
        for (size_t i = 0; i < f->remotes.n;) {
            struct remote *r = f->remotes.p[i];
            bool stays = false;
            for (size_t k = 0; k < next.n; k++)
                stays |= next.p[k] == r;
            if (stays) {
                i++;
                continue;
            }
            vec_remove(&f->remotes, i);
            mtx_unlock(&f->mu);
            LOG_INFO("forwarding ends", "remote", r->name, "url", r->url);
            remote_note_remove(f, str_c(r->key));
            remote_close(r, NULL);
            mtx_lock(&f->mu);
        }
        if (next.n)
            memcpy(f->remotes.p, next.p, next.n * sizeof(*next.p)); /* the configuration's order */
        mtx_unlock(&f->mu);
        mtx_lock(&f->save_mu);
        f->positions_hash = 0;
        positions_save_locked(f); /* also lets go of the log when nobody is left */
        mtx_unlock(&f->save_mu);
    }
    vec_free(&next);
    prom_config_unref(cfg);
    return e;
}

/* Is everything sent that can be? */
static bool all_sent(struct forward *f)
{
    bool done = true;
    mtx_lock(&f->mu);
    EACH_REMOTE(f, r)
    {
        mtx_lock(&r->mu);
        bool down = r->down_since_ms != 0;
        for (unsigned i = 0; i < r->n_shards; i++) {
            mtx_lock(&r->shards[i]->mu);
            r->shards[i]->flush = true;
            cond_signal(&r->shards[i]->more);
            mtx_unlock(&r->shards[i]->mu);
        }
        mtx_unlock(&r->mu);
        done &= down || remote_place(r) >= store_wal_durable_lsn(f->opt.store);
    }
    mtx_unlock(&f->mu);
    return done;
}

void forward_close(struct forward *f, unsigned grace_ms)
{
    if (!f)
        return;
    for (unsigned ms = 0; ms < grace_ms && !all_sent(f); ms += GRACE_STEP_MS)
        os_sleep_ms(GRACE_STEP_MS);
    stats_off_render(render, f);
    store_hold_hook(f->opt.store, STORE_METRICS, NULL, NULL);
    mtx_lock(&f->mu);
    f->closing = true;
    cond_broadcast(&f->wake);
    EACH_REMOTE(f, r)
    remote_stop(r);
    mtx_unlock(&f->mu);
    thread_join(f->upkeep);
    AUTO_BUF struct buf b = { 0 };
    buf_lit(&b, POSITIONS_HEAD "\n");
    EACH_REMOTE(f, r)
    {
        struct remote_start at;
        AUTO_FREE char *key = mem_strdup(str_c(r->key));
        remote_close(r, &at);
        buf_printf(&b, "%llu %llu %u %s\n", (unsigned long long)at.lsn, (unsigned long long)at.from, at.shards, key);
    }
    if (f->remotes.n && fs_write_file_atomic(f->opt.fs, f->path, buf_str(&b)) != OK)
        LOG_WARN("places of forwarding were not written: more is sent twice after the next start", "file", f->path);
    vec_free(&f->remotes);
    http_client_close(f->http);
    cond_deinit(&f->wake);
    mtx_deinit(&f->mu);
    mtx_deinit(&f->save_mu);
    mem_free(f->path);
    mem_free(f);
}
