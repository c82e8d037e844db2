/* Following the log: the tail cursor and the hold (store.h, "following the log").
 *
 * A tail stands in one file (its epoch) behind the record `next - 1`. What may be read of the file is what was synced
 * (wal_file.bytes), as far as the log is durable, and not beyond the base LSN of the file after it: what follows there
 * is void. A file is mapped anew when more of it has been synced. Under wal.mu a tail only looks at the list of files;
 * reading takes no lock. */
#include "base/check.h"
#include "store/wal_int.h"

struct store_tail {
    struct store_tail *next_tail; /* wal.tails, under wal.mu */
    struct wal *w;
    enum store_signal s;
    uint32_t epoch;      /* of the file it stands in; 0: none yet. Written under wal.mu */
    uint32_t next_epoch; /* of the file after it; 0: there is none yet */
    uint64_t next;       /* LSN that comes next */
    uint64_t durable;    /* as last looked */
    uint64_t limit;      /* this file's records count up to here */
    uint64_t bytes;      /* of the file that were synced */
    uint64_t off;        /* where `next` is expected */
    uint64_t lost;       /* LSNs that were missing since the last record delivered */
    bool begun;          /* the file's base LSN has been looked at */
    struct fs_file *file;
    str map;
};

bool wal_tail_needs_locked(const struct wal *w, uint32_t epoch)
{
    for (const struct store_tail *t = w->tails; t; t = t->next_tail)
        if (epoch >= t->epoch)
            return true;
    return false;
}

enum err wal_tail_open(struct wal *w, enum store_signal s, uint64_t from_lsn, struct store_tail **ret)
{
    struct store_tail *t = mem_zalloc(sizeof(*t));
    *t = (struct store_tail){ .w = w, .s = s, .next = from_lsn + 1, .off = WAL_HEADER_BYTES };
    mtx_lock(&w->mu);
    if (w->closing) {
        mtx_unlock(&w->mu);
        mem_free(t);
        return ERR_CLOSED;
    }
    size_t first = 0;
    for (size_t i = 1; i < w->files.n; i++)
        if (!w->files.p[i].header_bad && w->files.p[i].h.before[s] <= from_lsn)
            first = i;
    if (w->files.n) {
        const struct wal_file *f = &w->files.p[first];
        t->epoch = f->h.epoch;
        if (!f->header_bad && f->h.before[s] > from_lsn)
            t->lost = f->h.base_lsn - from_lsn; /* whole files have gone */
        t->next = f->h.base_lsn + 1;            /* 1 for a bad header without records: nothing is missed by that */
    }
    t->next_tail = w->tails;
    w->tails = t;
    mtx_unlock(&w->mu);
    *ret = t;
    return OK;
}

static void tail_leave(struct store_tail *t)
{
    if (t->map.p)
        fs_unmap(t->file, t->map);
    fs_close(t->file);
    t->file = NULL;
    t->map = STR_NONE;
    t->bytes = 0;
    t->off = WAL_HEADER_BYTES;
    t->begun = false;
}

void store_tail_close(struct store_tail *t)
{
    if (!t)
        return;
    tail_leave(t);
    struct wal *w = t->w;
    mtx_lock(&w->mu);
    struct store_tail **p = &w->tails;
    while (*p != t)
        p = &(*p)->next_tail;
    *p = t->next_tail;
    cond_signal(&w->keep);
    mtx_unlock(&w->mu);
    mem_free(t);
}

uint64_t store_tail_lsn(const struct store_tail *t)
{
    return t->next - 1;
}

/* What the list of files says of ours now. False: there is none yet. */
static bool tail_look(struct store_tail *t, uint64_t *ret_bytes, uint64_t *ret_base)
{
    struct wal *w = t->w;
    t->durable =
        atomic_load_explicit(&w->durable_lsn, memory_order_acquire); /* before the list: it says at least as much */
    mtx_lock(&w->mu);
    size_t i = 0;
    while (i < w->files.n && w->files.p[i].h.epoch < t->epoch)
        i++;
    bool found = i < w->files.n;
    if (found) {
        const struct wal_file *f = &w->files.p[i];
        t->epoch = f->h.epoch; /* another only when ours was dropped before it held anything */
        t->next_epoch = i + 1 < w->files.n ? w->files.p[i + 1].h.epoch : 0;
        t->limit = UINT64_MAX;
        for (size_t k = i + 1; k < w->files.n && t->limit == UINT64_MAX; k++)
            if (!w->files.p[k].header_bad || w->files.p[k].h.base_lsn)
                t->limit = w->files.p[k].h.base_lsn;
        *ret_bytes = f->bytes;
        *ret_base = f->header_bad && !f->h.base_lsn ? t->next - 1 : f->h.base_lsn;
    }
    mtx_unlock(&w->mu);
    return found;
}

/* Map what has been synced meanwhile. */
static enum err tail_map(struct store_tail *t, uint64_t bytes)
{
    if (!t->file) {
        AUTO_FREE char *path = wal_path(t->w->dir, t->epoch, false);
        TRY(fs_open(t->w->fs, path, FS_READ, &t->file));
    }
    if (bytes == t->bytes && t->map.p)
        return OK;
    str map;
    TRY(fs_map(t->file, &map));
    if (t->map.p)
        fs_unmap(t->file, t->map);
    t->map = map;
    t->bytes = MIN(bytes, map.n);
    return OK;
}

static enum err tail_refresh(struct store_tail *t)
{
    uint64_t bytes, base;
    if (!tail_look(t, &bytes, &base))
        return ERR_NOT_FOUND;
    if (!t->begun && base + 1 > t->next) {
        t->lost += base + 1 - t->next;
        t->next = base + 1;
    }
    t->begun = true;
    if (t->next > t->durable || t->next > t->limit)
        return OK; /* nothing in here (yet) */
    return tail_map(t, bytes);
}

/* The file's next record within the limits; false: the file has no more, what lacks up to `end` is lost. */
static bool tail_scan(struct store_tail *t, uint64_t end, struct wal_record *ret)
{
    struct wal_scan scan = { .file = str_take(t->map, t->bytes),
                             .off = t->off,
                             .seed = t->w->seed,
                             .epoch = t->epoch,
                             .last_lsn = t->next - 1 };
    if (!wal_scan_next(&scan, ret) || ret->lsn > end) {
        t->lost += end + 1 - t->next;
        t->next = end + 1;
        t->off = t->bytes;
        return false;
    }
    t->lost += ret->lsn - t->next;
    t->next = ret->lsn + 1;
    t->off = scan.off;
    return true;
}

enum err store_tail_next(struct store_tail *t, struct store_replayed *ret, uint64_t *ret_lost)
{
    for (;;) {
        if (!t->map.p || t->next > t->durable || t->next > t->limit || t->off >= t->bytes) {
            TRY(tail_refresh(t));
            if (t->next > t->limit) {
                tail_leave(t);
                mtx_lock(&t->w->mu);
                t->epoch = t->next_epoch;
                cond_signal(&t->w->keep); /* the one before may go now */
                mtx_unlock(&t->w->mu);
                t->limit = UINT64_MAX;
                continue;
            }
            if (t->next > t->durable)
                return ERR_NOT_FOUND;
        }
        struct wal_record r;
        if (!tail_scan(t, MIN(t->limit, t->durable), &r) || r.kind >> 5 != (int)t->s)
            continue;
        *ret = (struct store_replayed){
            .lsn = r.lsn, .epoch = r.enc_epoch, .type = r.kind & 31, .partition = r.partition, .payload = r.payload
        };
        *ret_lost = t->lost;
        t->lost = 0;
        return OK;
    }
}

/* ---- the hold ---- */
bool wal_hold_passes_file(struct wal *w, enum store_signal s, uint64_t written, uint64_t lsn)
{
    bool passes = false;
    mtx_lock(&w->mu);
    for (size_t i = 0; i < w->files.n; i++) /* the first one's border too: the file before it may have gone just now */
        passes |= w->files.p[i].h.before[s] > written && w->files.p[i].h.before[s] <= lsn;
    mtx_unlock(&w->mu);
    return passes;
}

void wal_hold_set(struct wal *w, enum store_signal s, uint64_t lsn)
{
    mtx_lock(&w->mu);
    w->hold[s] = lsn;
    cond_signal(&w->keep);
    mtx_unlock(&w->mu);
}

uint64_t wal_bytes_after(struct wal *w, uint64_t lsn)
{
    uint64_t bytes = 0, last = atomic_load_explicit(&w->durable_lsn, memory_order_acquire);
    mtx_lock(&w->mu);
    for (size_t i = w->files.n; i-- > 0 && last > lsn;) {
        const struct wal_file *f = &w->files.p[i];
        uint64_t base = MIN(f->h.base_lsn, last), n = f->bytes - MIN(f->bytes, (uint64_t)WAL_HEADER_BYTES);
        if (base >= lsn)
            bytes += n;
        else /* about that part of the file */
            bytes += (uint64_t)((double)n * (double)(last - lsn) / (double)(last - base));
        last = base;
    }
    mtx_unlock(&w->mu);
    return bytes;
}
