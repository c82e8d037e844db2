/* The log's front and its committer (wal_int.h says who is who). */
#include <limits.h>
#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stats.h"
#include "store/wal_int.h"

enum {
    BATCH_BYTES_MAX = 16 << 20,
    BATCH_IOV = 256,
    RETRY_MS = 200,
    LONELY_MS = 500, /* a record that nobody waits for is committed after this, unless somebody asks */
};

static struct stat_hist stat_sync =
    STAT_HIST("vane_store_wal_sync_duration_seconds", "Time to write and sync one batch of log records", "");
static struct stat stat_records = STAT_COUNTER("vane_store_wal_records_total", "Log records made durable", "");
static struct stat stat_bytes = STAT_COUNTER("vane_store_wal_bytes_total", "Bytes written to the log", "");
static struct stat stat_batches =
    STAT_COUNTER("vane_store_wal_batches_total", "Batches of log records written, one sync each", "");
static struct stat stat_errors =
    STAT_COUNTER("vane_store_wal_errors_total", "Failed writes and syncs of the log; each abandons a file", "");
static struct stat stat_refused_space =
    STAT_COUNTER("vane_store_wal_refused_total", "Writes refused before anything was applied", "reason=\"no_space\"");
static struct stat stat_refused_busy =
    STAT_COUNTER("vane_store_wal_refused_total", "Writes refused before anything was applied", "reason=\"busy\"");
static struct stat stat_refused_io =
    STAT_COUNTER("vane_store_wal_refused_total", "Writes refused before anything was applied", "reason=\"disk_error\"");
struct stat stat_degraded = STAT_GAUGE("vane_store_degraded", "1 after a log or MANIFEST write or sync has failed", "");

char *wal_path(const char *dir, uint32_t n, bool spare)
{
    size_t cap = strlen(dir) + 32;
    char *p = mem_alloc(cap);
    snprintf(p, cap, "%s/%010u.%s", dir, n, spare ? "spare" : "wal");
    return p;
}

/* ---- front ---- */

static uint64_t file_limit(const struct wal *w)
{
    return w->cfg.wal_file_bytes - w->cfg.wal_file_bytes / 16; /* the rest is for records of pins that are out */
}

static bool change_wanted_locked(const struct wal *w)
{
    return w->file_epoch > w->front_epoch || w->front_bytes > file_limit(w);
}

/* Whether a following file can be had: one lies ready that is not promised yet. */
static bool spare_ready_locked(const struct wal *w)
{
    return w->spares.n > w->spares_promised;
}

static void change_locked(struct wal *w)
{
    if (w->file_epoch > w->front_epoch) { /* a file was abandoned: follow the committer to the new one */
        w->front_epoch = w->file_epoch;
        w->front_bytes = w->file_off + w->queue_bytes;
    } else {
        w->spares_promised++;
        w->front_epoch++;
        w->front_bytes = WAL_HEADER_BYTES;
        cond_signal(&w->keep);
    }
    atomic_store_explicit(&w->epoch, w->front_epoch, memory_order_release);
}

static enum err refuse(struct stat *s, enum err e)
{
    stat_add(s, 1);
    return e;
}

static enum err admit_locked(struct wal *w, size_t bytes)
{
    if (w->closing)
        return ERR_CLOSED;
    if (w->stuck != OK)
        return refuse(w->stuck == ERR_NO_SPACE ? &stat_refused_space : &stat_refused_io, w->stuck);
    if (w->no_space)
        return refuse(&stat_refused_space, ERR_NO_SPACE);
    if (w->queue_bytes && w->queue_bytes + bytes > w->cfg.wal_queue_bytes_max)
        return refuse(&stat_refused_busy, ERR_BUSY);
    if (w->used_bytes > 2 * w->cfg.wal_bytes_max)
        return refuse(&stat_refused_busy, ERR_BUSY);
    if (w->front_bytes > file_limit(w) && !spare_ready_locked(w)) {
        cond_signal(&w->keep);
        if (w->spare_failed)
            return refuse(&stat_refused_space, ERR_NO_SPACE);
        if (w->front_bytes > 2 * w->cfg.wal_file_bytes) /* the keeper is behind: the file has grown long enough */
            return refuse(&stat_refused_busy, ERR_BUSY);
    }
    return OK;
}

enum err wal_pin(struct wal *w, size_t bytes, uint32_t *ret_epoch)
{
    mtx_lock(&w->mu);
    enum err e;
    for (;;) {
        e = admit_locked(w, bytes);
        if (e != OK)
            break;
        if (change_wanted_locked(w) && (w->file_epoch > w->front_epoch || spare_ready_locked(w))) {
            if (w->pins > 0) {
                w->changing = true;
                cond_wait(&w->unpinned, &w->mu);
                continue;
            }
            change_locked(w);
        }
        w->pins++;
        *ret_epoch = w->front_epoch;
        break;
    }
    mtx_unlock(&w->mu);
    return e;
}

void wal_unpin(struct wal *w)
{
    mtx_lock(&w->mu);
    ASSERT(w->pins > 0);
    if (--w->pins == 0 && w->changing) {
        w->changing = false;
        cond_broadcast(&w->unpinned);
    }
    mtx_unlock(&w->mu);
}

static size_t iov_bytes(const struct iovec *iov, int n)
{
    size_t bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += iov[i].iov_len;
    return bytes;
}

static struct wal_item *item_new(const struct store_record *rec, size_t payload_bytes)
{
    size_t n = wal_record_bytes(payload_bytes);
    struct wal_item *it = mem_alloc(sizeof(*it) + n);
    *it = (struct wal_item){ .kind = (uint8_t)((unsigned)rec->signal << 5 | rec->type),
                             .partition = rec->partition,
                             .payload_bytes = (uint32_t)payload_bytes,
                             .n = (uint32_t)n };
    char *p = it->bytes + WAL_RECORD_HEADER_BYTES;
    for (int i = 0; i < rec->n_iov; i++) {
        if (rec->iov[i].iov_len)
            memcpy(p, rec->iov[i].iov_base, rec->iov[i].iov_len);
        p += rec->iov[i].iov_len;
    }
    memset(p, 0, n - WAL_RECORD_HEADER_BYTES - payload_bytes);
    it->payload_crc = crc32c(0, str_n(it->bytes + WAL_RECORD_HEADER_BYTES, payload_bytes));
    return it;
}

enum err wal_append(struct wal *w, const struct store_record *rec, uint64_t *ret_lsn)
{
    ASSERT(rec->type < STORE_RECORD_TYPES);
    ASSERT(rec->signal > 0 && rec->signal < STORE_SIGNAL_MAX);
    size_t bytes = iov_bytes(rec->iov, rec->n_iov);
    if (bytes > STORE_RECORD_BYTES_MAX || bytes > w->cfg.wal_file_bytes / 2)
        return ERR_LIMIT;
    struct wal_item *it = item_new(rec, bytes); /* copy and checksum outside the lock */
    mtx_lock(&w->mu);
    ASSERT(w->pins > 0);
    it->lsn = w->next_lsn++;
    it->enc_epoch = w->front_epoch;
    *w->tail = it;
    w->tail = &it->next;
    w->queue_bytes += it->n;
    w->front_bytes += it->n;
    atomic_store_explicit(&w->last_lsn, it->lsn, memory_order_release);
    *ret_lsn = it->lsn;
    mtx_unlock(&w->mu);
    return OK;
}

static void ask_locked(struct wal *w)
{
    w->asked = true;
    cond_signal(&w->work);
}

void wal_sync_soon(struct wal *w)
{
    mtx_lock(&w->mu);
    if (w->head && !w->committing)
        ask_locked(w);
    else
        w->asked |= w->head != NULL; /* whoever commits now passes it on */
    mtx_unlock(&w->mu);
}

/* Somebody else commits what is still queued: who waits for it, else the committer's thread. */
static void pass_on_locked(struct wal *w)
{
    if (w->closing || (w->head && (w->retry || !w->waiting[w->flight ^ 1])))
        ask_locked(w);
    else if (w->head)
        cond_signal(&w->durable[w->flight ^ 1]);
}

static bool commit_one_locked(struct wal *w, bool leader);

enum err wal_wait(struct wal *w, uint64_t lsn, bool lead)
{
    if (atomic_load_explicit(&w->durable_lsn, memory_order_acquire) >= lsn)
        return OK;
    enum err e = OK;
    mtx_lock(&w->mu);
    while (atomic_load_explicit(&w->durable_lsn, memory_order_relaxed) < lsn) {
        if (w->stuck != OK || w->closing) {
            e = w->stuck != OK ? w->stuck : ERR_CLOSED;
            if (!w->committing)
                pass_on_locked(w); /* the role may have been meant for this one */
            break;
        }
        if (!w->committing && w->head && !w->retry && lead) {
            (void)commit_one_locked(w, true);
            pass_on_locked(w);
            continue;
        }
        if (!w->committing && w->head)
            ask_locked(w);
        unsigned k = lsn <= w->flight_lsn ? w->flight : w->flight ^ 1;
        w->waiting[k]++;
        (void)cond_wait_ms(&w->durable[k], &w->mu, LONELY_MS); /* should a signal be lost (base/thread.c), look */
        w->waiting[k]--;
    }
    mtx_unlock(&w->mu);
    return e;
}

void wal_low_water_set(struct wal *w, enum store_signal s, uint64_t lsn)
{
    mtx_lock(&w->mu);
    if (lsn > w->low_water[s])
        w->low_water[s] = lsn;
    cond_signal(&w->keep);
    mtx_unlock(&w->mu);
}

uint64_t wal_low_water(struct wal *w, enum store_signal s)
{
    mtx_lock(&w->mu);
    uint64_t lsn = w->low_water[s];
    mtx_unlock(&w->mu);
    return lsn;
}

uint64_t wal_bytes(struct wal *w)
{
    mtx_lock(&w->mu);
    uint64_t n = w->used_bytes;
    mtx_unlock(&w->mu);
    return n;
}

/* ---- committer ---- */

/* Make the file `epoch` from a spare, or from nothing when there is none. Its name is durable on return. */
static enum err file_make(struct wal *w, uint32_t epoch, struct fs_file **ret)
{
    AUTO_FREE char *path = wal_path(w->dir, epoch, false);
    mtx_lock(&w->mu);
    bool spare = w->spares.n > 0;
    uint32_t number = spare ? w->spares.p[0] : 0;
    if (spare)
        vec_remove(&w->spares, 0);
    if (w->spares_promised > 0)
        w->spares_promised--;
    cond_signal(&w->keep);
    mtx_unlock(&w->mu);
    enum err e = ERR_NOT_FOUND;
    if (spare) {
        AUTO_FREE char *from = wal_path(w->dir, number, true);
        e = fs_rename(w->fs, from, path);
        e = e ? e : fs_open(w->fs, path, FS_WRITE, ret);
    }
    if (e != OK)
        e = fs_open(w->fs, path, FS_CREATE, ret);
    if (e != OK)
        return e;
    e = fs_sync_dir(w->fs, w->dir);
    if (e != OK)
        fs_close(*ret);
    return e;
}

/* Close the current file. After a failure it is never touched again; one without a synced record goes at once
 * (what was tried in it is still queued), so that a long outage leaves no row of them. */
static void file_leave(struct wal *w, bool failed)
{
    fs_close(w->file);
    w->file = NULL;
    mtx_lock(&w->mu);
    struct wal_file *f = &vec_last(&w->files);
    f->failed |= failed;
    bool drop = failed && f->bytes == 0;
    if (drop)
        w->files.n--;
    mtx_unlock(&w->mu);
    if (drop) {
        AUTO_FREE char *path = wal_path(w->dir, w->file_epoch, false);
        IGNORE_ERR(fs_unlink(w->fs, path));
    }
}

static enum err file_next(struct wal *w, uint32_t epoch)
{
    if (w->file)
        file_leave(w, false);
    enum err e = file_make(w, epoch, &w->file);
    struct wal_file f = {
        .h = { .epoch = epoch,
               .base_lsn = atomic_load_explicit(&w->durable_lsn, memory_order_relaxed),
               .file_bytes = w->cfg.wal_file_bytes,
               .created_ms = clock_now_ms(w->clk) },
    };
    memcpy(f.h.before, w->synced_before, sizeof(f.h.before));
    mtx_lock(&w->mu);
    w->file_epoch = epoch;
    w->file_off = 0;
    if (e == OK)
        vec_push(&w->files, f);
    mtx_unlock(&w->mu);
    if (e != OK)
        w->file = NULL;
    return e;
}

struct batch_out { /* gathers buffers, writes them in as few calls as possible */
    struct wal *w;
    struct iovec iov[BATCH_IOV];
    int n;
    uint64_t off;
    enum err e;
};

static void out_flush(struct batch_out *o)
{
    size_t bytes = iov_bytes(o->iov, o->n);
    if (o->n && o->e == OK)
        o->e = fs_pwritev(o->w->file, o->iov, o->n, o->off);
    o->off += bytes;
    o->n = 0;
}

static void out_add(struct batch_out *o, void *p, size_t n)
{
    if (o->n == BATCH_IOV)
        out_flush(o);
    o->iov[o->n++] = (struct iovec){ p, n };
}

/* Write and sync the items from `first` to `last` (inclusive) into the current file. */
static enum err batch_write(struct wal *w, struct wal_item *first, struct wal_item *last)
{
    AUTO_FREE char *header = NULL;
    struct batch_out o = { .w = w, .off = w->file_off };
    if (w->file_off == 0) {
        mtx_lock(&w->mu);
        struct wal_header h = vec_last(&w->files).h;
        mtx_unlock(&w->mu);
        header = mem_alloc(WAL_HEADER_BYTES);
        wal_header_encode(header, &h, w->seed);
        out_add(&o, header, WAL_HEADER_BYTES);
    }
    for (struct wal_item *it = first;; it = it->next) {
        struct wal_record r = { .lsn = it->lsn,
                                .enc_epoch = it->enc_epoch,
                                .back = (uint32_t)(it->lsn - first->lsn),
                                .kind = it->kind,
                                .partition = it->partition,
                                .payload_crc = it->payload_crc,
                                .payload = { it->bytes + WAL_RECORD_HEADER_BYTES, it->payload_bytes } };
        wal_record_header_encode(it->bytes, &r, w->file_epoch, w->seed);
        out_add(&o, it->bytes, it->n);
        if (it == last)
            break;
    }
    out_flush(&o);
    if (o.e == OK)
        o.e = fs_datasync(w->file);
    if (o.e == OK) {
        stat_add(&stat_bytes, (int64_t)(o.off - w->file_off));
        mtx_lock(&w->mu);
        w->used_bytes += o.off - w->file_off;
        w->file_off = o.off;
        vec_last(&w->files).bytes = o.off;
        mtx_unlock(&w->mu);
    }
    return o.e;
}

/* The queue's first items that go into one file and one sync. mu held. */
static struct wal_item *batch_take_locked(struct wal *w, uint64_t *ret_bytes)
{
    uint32_t epoch = MAX(w->file_epoch, w->head->enc_epoch);
    struct wal_item *last = w->head;
    uint64_t bytes = last->n;
    while (last->next && last->next->enc_epoch <= epoch && bytes + last->next->n <= BATCH_BYTES_MAX) {
        last = last->next;
        bytes += last->n;
    }
    *ret_bytes = bytes;
    return last;
}

static void waiters_wake_locked(struct wal *w)
{
    cond_broadcast(&w->durable[0]);
    cond_broadcast(&w->durable[1]);
}

/* A write or sync failed. What the file holds beyond durable_lsn is unknown and stays so: leave it, go on in a
 * new one. Returns false when closing: then what is queued is given up. */
static bool batch_failed(struct wal *w, enum err e, bool again)
{
    stat_add(&stat_errors, 1);
    stat_set(&stat_degraded, 1);
    LOG_ERROR("log write failed, going on in a new file", "dir", w->dir, "err", err_describe(e));
    if (w->file)
        file_leave(w, true);
    mtx_lock(&w->mu);
    w->degraded = true;
    if (again) { /* the new file failed too: tell the waiters, come back later */
        w->stuck = e == ERR_NO_SPACE ? ERR_NO_SPACE : ERR_IO;
        waiters_wake_locked(w);
        if (!w->closing)
            IGNORE_ERR(cond_wait_ms(&w->work, &w->mu, RETRY_MS) ? OK : ERR_TIMEOUT);
    }
    bool go_on = !(w->closing && again);
    mtx_unlock(&w->mu);
    return go_on;
}

static uint32_t epoch_next(struct wal *w)
{
    mtx_lock(&w->mu);
    uint32_t epoch = MAX(w->front_epoch, w->file_epoch) + 1;
    mtx_unlock(&w->mu);
    return epoch;
}

/* Write items first..last durably, over as many files as it takes. False: given up (closing), or left to the
 * committer's thread (leader). again: it was tried before. */
static bool batch_commit(struct wal *w, struct wal_item *first, struct wal_item *last, bool leader, bool again)
{
    uint32_t epoch = again ? epoch_next(w) : MAX(w->file_epoch, first->enc_epoch);
    for (;; again = true) {
        enum err e = OK;
        if (!w->file || epoch > w->file_epoch)
            e = file_next(w, epoch);
        if (e == OK)
            e = batch_write(w, first, last);
        if (e == OK)
            return true;
        if (!batch_failed(w, e, again) || leader)
            return false;
        epoch = epoch_next(w);
    }
}

static void batch_publish_locked(struct wal *w, uint64_t lsn)
{
    w->stuck = OK;
    atomic_store_explicit(&w->durable_lsn, lsn, memory_order_release);
    cond_broadcast(&w->durable[w->flight]);
    if (w->used_bytes > w->cfg.wal_bytes_max || change_wanted_locked(w))
        cond_signal(&w->keep);
}

static void items_free(struct wal_item *it)
{
    while (it) {
        struct wal_item *next = it->next;
        mem_free(it);
        it = next;
    }
}

/* One batch: mu held on entry and exit. False when the rest is given up, or when a leader met an error. */
static bool commit_one_locked(struct wal *w, bool leader)
{
    uint64_t bytes, flight_lsn = w->flight_lsn;
    struct wal_item *first = w->head, *last = batch_take_locked(w, &bytes);
    bool again = w->retry;
    w->committing = true;
    w->flight ^= 1; /* who has waited for "the next one" waits for this one */
    w->flight_lsn = last->lsn;
    mtx_unlock(&w->mu);
    uint64_t t0 = clock_mono_ns(w->clk);
    bool done = batch_commit(w, first, last, leader, again);
    mtx_lock(&w->mu);
    w->committing = false;
    w->retry = !done;
    if (!done) { /* nothing is in flight; who waits looks again */
        w->flight ^= 1;
        w->flight_lsn = flight_lsn;
        waiters_wake_locked(w);
        return false;
    }
    stat_hist_observe_ns(&stat_sync, clock_mono_ns(w->clk) - t0);
    stat_add(&stat_batches, 1);
    for (struct wal_item *it = first;; it = it->next) {
        w->synced_before[it->kind >> 5] = it->lsn;
        stat_add(&stat_records, 1);
        if (it == last)
            break;
    }
    w->head = last->next;
    if (!w->head)
        w->tail = &w->head;
    last->next = NULL;
    w->queue_bytes -= bytes;
    batch_publish_locked(w, last->lsn);
    w->committing = true; /* still ours while the lock is not held */
    mtx_unlock(&w->mu);
    items_free(first);
    mtx_lock(&w->mu);
    w->committing = false;
    return true;
}

static void committer_run(void *ctx)
{
    struct wal *w = ctx;
    mtx_lock(&w->mu);
    for (;;) {
        while (w->committing || (!w->closing && !(w->asked && w->head)))
            if (!cond_wait_ms(&w->work, &w->mu, LONELY_MS))
                w->asked |= w->head != NULL;
        if (!w->head)
            break;
        w->asked = false;
        if (!commit_one_locked(w, false))
            break;
        pass_on_locked(w);
    }
    waiters_wake_locked(w);
    mtx_unlock(&w->mu);
}

/* ---- open and close ---- */

/* Drop files at the end that were begun but hold nothing; find the newest LSN. */
static enum err find_end(struct wal *w, uint64_t lsn_min, struct err_text *reterr)
{
    uint64_t end = lsn_min;
    for (; w->files.n; w->files.n--) {
        struct wal_file *f = &vec_last(&w->files);
        AUTO_FREE char *path = wal_path(w->dir, f->h.epoch, false);
        AUTO_FS_FILE struct fs_file *file = NULL;
        str map;
        enum err e = fs_open(w->fs, path, FS_READ, &file);
        e = e ? e : fs_map(file, &map);
        if (e != OK)
            return err_fail(reterr, e, "%s: %s", path, err_describe(e));
        uint64_t before[STORE_SIGNAL_MAX], off;
        memcpy(before, f->h.before, sizeof(before));
        uint64_t lsn = wal_scan_end(map, &f->h, w->seed, before, &off);
        fs_unmap(file, map);
        f->bytes = off;
        if (f->header_bad && off == WAL_HEADER_BYTES)
            continue; /* a crash while the file was begun; the keeper deletes it with its epoch */
        for (int s = 0; f->header_bad && s < STORE_SIGNAL_MAX; s++)
            before[s] = lsn; /* unknown: keep the files of all signals longer */
        memcpy(w->synced_before, before, sizeof(before));
        end = MAX(end, lsn);
        break;
    }
    w->replay_lsn_max = end;
    w->next_lsn = end + 1;
    atomic_init(&w->durable_lsn, end);
    atomic_init(&w->last_lsn, end);
    return OK;
}

static enum err wal_load(struct wal *w, uint64_t lsn_min, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    uint32_t *spares;
    size_t n_spares;
    TRY(fs_mkdir(w->fs, w->dir));
    TRY(wal_list(w->fs, w->dir, w->seed, &w->files, &spares, &n_spares, &a, reterr));
    uint32_t epoch_max = w->files.n ? vec_last(&w->files).h.epoch : 0;
    size_t n_found = w->files.n;
    TRY(find_end(w, lsn_min, reterr));
    for (size_t i = w->files.n; i < n_found; i++) { /* begun, never used */
        AUTO_FREE char *path = wal_path(w->dir, w->files.p[i].h.epoch, false);
        IGNORE_ERR(fs_unlink(w->fs, path));
    }
    for (size_t i = 0; i < n_spares; i++) {
        AUTO_FREE char *path = wal_path(w->dir, spares[i], true);
        AUTO_FS_FILE struct fs_file *f = NULL;
        uint64_t size = 0;
        w->spare_next = MAX(w->spare_next, spares[i] + 1);
        bool good = fs_open(w->fs, path, FS_READ, &f) == OK && fs_size(f, &size) == OK &&
                    size >= w->cfg.wal_file_bytes && w->spares.n <= w->cfg.wal_spares;
        if (good)
            vec_push(&w->spares, spares[i]);
        else
            IGNORE_ERR(fs_unlink(w->fs, path));
    }
    for (size_t i = 0; i < w->files.n; i++)
        w->used_bytes += w->files.p[i].bytes;
    w->replay_epoch_max = w->files.n ? vec_last(&w->files).h.epoch : 0;
    w->front_epoch = epoch_max + 1;
    w->front_bytes = WAL_HEADER_BYTES;
    w->file_epoch = 0;
    atomic_init(&w->epoch, w->front_epoch);
    return OK;
}

static void wal_free(struct wal *w)
{
    items_free(w->head);
    vec_free(&w->files);
    vec_free(&w->spares);
    mem_free(w->dir);
    for (int i = 0; i < 2; i++)
        cond_deinit(&w->durable[i]);
    cond_deinit(&w->work);
    cond_deinit(&w->keep);
    cond_deinit(&w->unpinned);
    mtx_deinit(&w->mu);
}

enum err wal_open(struct wal *w, struct fs *fs, const char *dir, const struct store_config *cfg, struct clock *clk,
                  uint64_t seed, const uint64_t low_water[STORE_SIGNAL_MAX], const uint64_t hold[STORE_SIGNAL_MAX],
                  uint64_t lsn_min, struct err_text *reterr)
{
    struct wal_hooks hooks = w->hooks;
    *w = (struct wal){ .fs = fs, .clk = clk, .cfg = *cfg, .seed = seed, .hooks = hooks, .flight = 0 };
    size_t n = strlen(dir) + 8;
    w->dir = mem_alloc(n);
    snprintf(w->dir, n, "%s/wal", dir);
    w->tail = &w->head;
    memcpy(w->low_water, low_water, sizeof(w->low_water));
    memcpy(w->hold, hold, sizeof(w->hold));
    mtx_init(&w->mu, 0);
    cond_init(&w->work);
    cond_init(&w->keep);
    cond_init(&w->unpinned);
    for (int i = 0; i < 2; i++)
        cond_init(&w->durable[i]);
    stat_register(&stat_degraded);
    stat_register(&stat_refused_busy);
    stat_register(&stat_refused_space);
    stat_register(&stat_refused_io);
    enum err e = wal_load(w, lsn_min, reterr);
    if (e == OK)
        e = thread_start(&w->committer, "wal", committer_run, w);
    if (e == OK) {
        e = thread_start(&w->keeper, "wal/keeper", wal_keeper_run, w);
        w->started = e == OK;
        if (e != OK) {
            mtx_lock(&w->mu);
            w->closing = true;
            cond_broadcast(&w->work);
            mtx_unlock(&w->mu);
            thread_join(w->committer);
        }
    }
    if (e != OK) {
        wal_free(w);
        return reterr && reterr->msg[0] ? e : err_fail(reterr, e, "%s/wal: %s", dir, err_describe(e));
    }
    return OK;
}

void wal_close(struct wal *w)
{
    mtx_lock(&w->mu);
    w->closing = true;
    cond_broadcast(&w->work);
    cond_broadcast(&w->keep);
    cond_broadcast(&w->unpinned);
    mtx_unlock(&w->mu);
    thread_join(w->committer);
    thread_join(w->keeper);
    fs_close(w->file);
    wal_free(w);
}
