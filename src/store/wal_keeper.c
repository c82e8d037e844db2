/* The log's keeper: makes the next file ahead (written with zeros once, so that later syncs change no
 * metadata), reuses files that nobody needs, watches the free space, asks the signals to flush. */
#include "base/check.h"
#include "base/log.h"
#include "base/stats.h"
#include "store/wal_int.h"

enum {
    TICK_MS = 1000,
    TICK_NO_SPACE_MS = 100,
    ZERO_BYTES = 256 << 10,
    ZERO_SYNC_BYTES = 4 << 20, /* sync in small steps: the committer's syncs queue behind ours */
};

static struct stat stat_no_space =
    STAT_GAUGE("vane_store_no_space", "1 while writes are refused for lack of disk space", "");
static struct stat stat_live = STAT_GAUGE("vane_store_wal_live_bytes", "Log bytes not reusable yet", "");
static struct stat stat_reused =
    STAT_COUNTER("vane_store_wal_files_reused_total", "Log files renamed to be written again", "");
static struct stat stat_free =
    STAT_GAUGE("vane_store_disk_free_bytes", "Free space of the data directory's file system", "");

enum err wal_spare_make(struct wal *w, uint32_t number)
{
    AUTO_FREE char *path = wal_path(w->dir, number, true);
    AUTO_FREE char *zeros = mem_zalloc(ZERO_BYTES);
    struct fs_file *f = NULL;
    enum err e = fs_open(w->fs, path, FS_CREATE, &f);
    if (e != OK)
        return e;
    for (uint64_t off = 0; e == OK && off < w->cfg.wal_file_bytes; off += ZERO_BYTES) {
        e = fs_pwrite(f, zeros, (size_t)MIN((uint64_t)ZERO_BYTES, w->cfg.wal_file_bytes - off), off);
        if (e == OK && off % ZERO_SYNC_BYTES == ZERO_SYNC_BYTES - ZERO_BYTES)
            e = fs_datasync(f);
    }
    e = e ? e : fs_datasync(f);
    fs_close(f);
    if (e != OK)
        IGNORE_ERR(fs_unlink(w->fs, path));
    return e;
}

/* A successor whose header never reached the disk says nothing: then the one after it counts. */
bool wal_oldest_free_locked(const struct wal *w)
{
    size_t next = 1;
    while (next < w->files.n && w->files.p[next].header_bad)
        next++;
    if (next >= w->files.n || w->replays > 0)
        return false;
    for (int s = 0; s < STORE_SIGNAL_MAX; s++)
        if (w->files.p[next].h.before[s] > MIN(w->low_water[s], w->hold[s]))
            return false;
    return !wal_tail_needs_locked(w, w->files.p[0].h.epoch);
}

static void recycle_locked(struct wal *w)
{
    while (wal_oldest_free_locked(w)) {
        struct wal_file f = w->files.p[0];
        vec_remove(&w->files, 0);
        w->used_bytes -= f.bytes;
        bool reuse = !f.failed && w->spares.n < 1 + w->cfg.wal_spares;
        uint32_t number = w->spare_next;
        w->spare_next += reuse;
        mtx_unlock(&w->mu);
        AUTO_FREE char *from = wal_path(w->dir, f.h.epoch, false);
        AUTO_FREE char *to = wal_path(w->dir, number, true);
        uint64_t size = 0;
        struct fs_file *file = NULL;
        reuse = reuse && fs_open(w->fs, from, FS_READ, &file) == OK && fs_size(file, &size) == OK &&
                size >= w->cfg.wal_file_bytes && size <= w->cfg.wal_file_bytes + w->cfg.wal_file_bytes / 2;
        fs_close(file);
        reuse = reuse && fs_rename(w->fs, from, to) == OK;
        if (!reuse)
            IGNORE_ERR(fs_unlink(w->fs, from));
        mtx_lock(&w->mu);
        if (reuse) {
            vec_push(&w->spares, number);
            stat_add(&stat_reused, 1);
        }
    }
}

/* Keep one file more ready than is promised. */
static void spares_fill_locked(struct wal *w)
{
    while (!w->closing && w->spares.n < w->spares_promised + 1u) {
        uint32_t number = w->spare_next++;
        mtx_unlock(&w->mu);
        enum err e = wal_spare_make(w, number);
        mtx_lock(&w->mu);
        if (e != OK) {
            if (!w->spare_failed)
                LOG_WARN("no room for the next log file, trying again", "dir", w->dir, "err", err_describe(e));
            w->spare_failed = true;
            return;
        }
        w->spare_failed = false;
        vec_push(&w->spares, number);
    }
}

static void space_look_locked(struct wal *w)
{
    uint64_t free_bytes = 0, total = 0;
    mtx_unlock(&w->mu);
    enum err e = fs_space(w->fs, w->dir, &free_bytes, &total);
    mtx_lock(&w->mu);
    if (e != OK)
        return;
    w->disk_free = free_bytes;
    w->disk_total = total;
    bool no_space = free_bytes < w->cfg.reserve_bytes;
    if (no_space != w->no_space) {
        if (no_space)
            LOG_ERROR("disk space below the reserve, refusing writes until there is room", "dir", w->dir, "free_bytes",
                      LOG_I64(free_bytes));
        else
            LOG_INFO("disk space is back, taking writes again", "dir", w->dir);
    }
    w->no_space = no_space;
    stat_set(&stat_no_space, no_space || w->spare_failed);
    stat_set(&stat_free, (int64_t)free_bytes);
    stat_set(&stat_live, (int64_t)w->used_bytes);
}

/* Does a signal itself still need file i? */
static bool flush_needs_locked(const struct wal *w, size_t i)
{
    for (int s = 0; s < STORE_SIGNAL_MAX; s++)
        if (w->files.p[i + 1].h.before[s] > w->low_water[s])
            return true;
    return false;
}

/* Who follows the log never stops those who write it: when the log is over its size, or the disk full, and a mark keeps
 * what the signals themselves no longer need, its owner is told up to which LSN to let go. */
static void hold_pressure_locked(struct wal *w)
{
    bool over = w->used_bytes > w->cfg.wal_bytes_max;
    if ((!over && !w->no_space) || w->files.n < 2 || !w->hooks.hold_pressure)
        return;
    uint64_t left = w->used_bytes, lsn = 0;
    for (size_t i = 0; i + 1 < w->files.n && (left > w->cfg.wal_bytes_max || (w->no_space && i == 0)); i++) {
        if (flush_needs_locked(w, i))
            break; /* giving it up would free nothing */
        left -= w->files.p[i].bytes;
        lsn = MAX(lsn, w->files.p[i + 1].h.base_lsn);
    }
    uint64_t hold[STORE_SIGNAL_MAX];
    memcpy(hold, w->hold, sizeof(hold));
    mtx_unlock(&w->mu);
    for (int s = 1; s < STORE_SIGNAL_MAX; s++)
        if (hold[s] < lsn)
            w->hooks.hold_pressure(w->hooks.ctx, (enum store_signal)s, lsn);
    mtx_lock(&w->mu);
}

static void pressure_locked(struct wal *w)
{
    if (w->used_bytes <= w->cfg.wal_bytes_max || w->files.n < 2 || w->pressure_epoch == w->file_epoch ||
        !w->hooks.pressure)
        return;
    w->pressure_epoch = w->file_epoch;
    bool holds[STORE_SIGNAL_MAX];
    for (int s = 0; s < STORE_SIGNAL_MAX; s++)
        holds[s] = w->files.p[1].h.before[s] > w->low_water[s];
    mtx_unlock(&w->mu);
    for (int s = 1; s < STORE_SIGNAL_MAX; s++)
        if (holds[s])
            w->hooks.pressure(w->hooks.ctx, (enum store_signal)s);
    mtx_lock(&w->mu);
}

void wal_keeper_run(void *ctx)
{
    struct wal *w = ctx;
    mtx_lock(&w->mu);
    while (!w->closing) {
        recycle_locked(w);
        space_look_locked(w);
        if (!w->no_space || w->cfg.reserve_bytes == 0)
            spares_fill_locked(w);
        pressure_locked(w);
        hold_pressure_locked(w);
        if (!w->closing)
            IGNORE_ERR(cond_wait_ms(&w->keep, &w->mu, w->no_space || w->spare_failed ? TICK_NO_SPACE_MS : TICK_MS)
                           ? OK
                           : ERR_TIMEOUT);
    }
    mtx_unlock(&w->mu);
}
