/* The store's front door: the data directory, sets of open segments, commits. The log is wal.c, the MANIFEST
 * manifest.c.
 *
 * Commits are serialised by commit_mu, which is held during their I/O: only background work waits for it.
 * A set is immutable and counted; the current one of a signal hangs on an atomic pointer. A reader loads the
 * pointer inside an epoch and takes a reference unless the count has reached 0 (then a newer set is there). */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stats.h"
#include "store/store_int.h"

static struct stat stat_segments = STAT_GAUGE("vane_store_segments", "Segments that exist, of all signals", "");
static struct stat stat_segment_bytes = STAT_GAUGE("vane_store_segment_bytes", "Bytes of all segments", "");
static struct stat stat_damaged = STAT_GAUGE("vane_store_damaged_segments", "Segments that cannot be read", "");
static struct stat stat_commits = STAT_COUNTER("vane_store_commits_total", "Changes of the set of segments", "");

struct set_box {
    struct segment_set pub;
    _Atomic uint32_t refs;
    segment_meta_vec damaged;
    struct segment *p[];
};

struct store_signal_state {
    _Atomic(struct set_box *) set;
    _Atomic uint64_t next_segment;
    struct store_hooks hooks;                 /* hooks_mu */
    void (*hold_fn)(void *ctx, uint64_t lsn); /* hooks_mu */
    void *hold_ctx;
    uint64_t hold_written; /* commit_mu: as the MANIFEST has it */
    bool attached;
};

struct store {
    struct fs *fs;
    struct clock *clk;
    char *dir;
    struct fs_file *lock;
    struct mtx commit_mu; /* MANIFEST state, changes of sets */
    struct mtx hooks_mu;
    struct manifest man;
    struct store_signal_state sig[STORE_SIGNAL_MAX];
    VEC(char *) orphans; /* files a MANIFEST edit of unknown fate names: deleted after the next rewrite */
    struct wal wal;
    bool wal_open;
};

void store_config_defaults(struct store_config *cfg)
{
    *cfg = (struct store_config){
        .wal_file_bytes = 64 << 20,
        .wal_bytes_max = 1 << 30,
        .wal_queue_bytes_max = 64 << 20,
        .wal_spares = 2,
        .reserve_bytes = 128 << 20,
    };
}

struct fs *store_fs(struct store *st)
{
    return st->fs;
}

struct clock *store_clock(struct store *st)
{
    return st->clk;
}

const char *store_dir(const struct store *st)
{
    return st->dir;
}

uint64_t store_seed(const struct store *st)
{
    return st->man.seed;
}

static char *dir_join(const char *dir, const char *name)
{
    size_t n = strlen(dir) + strlen(name) + 2;
    char *p = mem_alloc(n);
    snprintf(p, n, "%s/%s", dir, name);
    return p;
}

/* ---- sets ---- */
static int by_time(const void *a, const void *b)
{
    const struct segment_meta *x = &(*(struct segment *const *)a)->meta, *y = &(*(struct segment *const *)b)->meta;
    if (x->min_time != y->min_time)
        return x->min_time < y->min_time ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Takes over the references in p. */
static struct set_box *set_new(struct segment **p, size_t n, const segment_meta_vec *damaged, uint64_t version)
{
    struct set_box *b = mem_zalloc(sizeof(*b) + n * sizeof(*p));
    atomic_init(&b->refs, 1);
    if (n) {
        memcpy(b->p, p, n * sizeof(*p));
        qsort(b->p, n, sizeof(*p), by_time);
    }
    vec_each (struct segment_meta, m, damaged)
        vec_push(&b->damaged, *m);
    b->pub =
        (struct segment_set){ .p = b->p, .n = n, .damaged = b->damaged.p, .n_damaged = damaged->n, .version = version };
    return b;
}

static struct set_box *set_box_of(const struct segment_set *set)
{
    return (struct set_box *)(uintptr_t)set; /* pub is its first member */
}

void segment_set_unref(const struct segment_set *set)
{
    struct set_box *b = set_box_of(set);
    if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < b->pub.n; i++)
        segment_unref(b->p[i]);
    vec_free(&b->damaged);
    epoch_defer(mem_free, b); /* a reader may be looking at refs */
}

const struct segment_set *segment_set_ref(const struct segment_set *set)
{
    atomic_fetch_add_explicit(&set_box_of(set)->refs, 1, memory_order_relaxed);
    return set;
}

const struct segment_set *store_segments_ref(struct store *st, enum store_signal s)
{
    struct epoch_pin pin = epoch_enter();
    for (;;) {
        struct set_box *b = atomic_load_explicit(&st->sig[s].set, memory_order_acquire); /* pairs with set_swap() */
        uint32_t refs = atomic_load_explicit(&b->refs, memory_order_relaxed);
        while (refs != 0)
            if (atomic_compare_exchange_weak_explicit(&b->refs, &refs, refs + 1, memory_order_acquire,
                                                      memory_order_relaxed)) {
                epoch_leave(pin);
                return &b->pub;
            }
    }
}

static void stats_update(struct store *st)
{
    uint64_t n = 0, bytes = 0, damaged = 0;
    for (int s = 1; s < STORE_SIGNAL_MAX; s++) {
        struct set_box *b = atomic_load_explicit(&st->sig[s].set, memory_order_relaxed);
        if (!b)
            continue;
        n += b->pub.n;
        damaged += b->pub.n_damaged;
        for (size_t i = 0; i < b->pub.n; i++)
            bytes += b->p[i]->meta.bytes;
    }
    stat_set(&stat_segments, (int64_t)n);
    stat_set(&stat_segment_bytes, (int64_t)bytes);
    stat_set(&stat_damaged, (int64_t)damaged);
}

static void set_swap(struct store *st, enum store_signal s, struct set_box *b)
{
    struct set_box *old = atomic_exchange_explicit(&st->sig[s].set, b, memory_order_acq_rel);
    segment_set_unref(old ? &old->pub : NULL);
    stats_update(st);
}

uint64_t store_segment_id_next(struct store *st, enum store_signal s)
{
    return atomic_fetch_add_explicit(&st->sig[s].next_segment, 1, memory_order_relaxed);
}

/* ---- commit ---- */
static enum err edit_check(const struct store *st, const struct store_edit *e, struct err_text *reterr)
{
    for (size_t i = 0; i < e->n_remove; i++)
        if (!manifest_segment(&st->man, e->signal, e->remove[i]))
            return err_fail(reterr, ERR_NOT_FOUND, "there is no %s segment %llu", store_signal_name(e->signal),
                            (unsigned long long)e->remove[i]);
    const tombstone_vec *t = &st->man.sig[e->signal].tombstones;
    for (size_t i = 0; i < e->n_tombstone_remove; i++) {
        size_t k = 0;
        while (k < t->n && t->p[k].id != e->tombstone_remove[i])
            k++;
        if (k == t->n)
            return err_fail(reterr, ERR_NOT_FOUND, "there is no %s tombstone %llu", store_signal_name(e->signal),
                            (unsigned long long)e->tombstone_remove[i]);
    }
    for (size_t i = 0; i < e->n_add; i++)
        ASSERT(e->add[i]->finished);
    return OK;
}

static enum err files_rename(struct store *st, const struct store_edit *e, struct err_text *reterr)
{
    for (size_t i = 0; i < e->n_add; i++) {
        struct segment_writer *w = e->add[i];
        enum err r = w->renamed ? OK : fs_rename(st->fs, w->tmp, w->path);
        if (r != OK)
            return err_fail(reterr, r, "%s: %s", w->path, err_describe(r));
        w->renamed = true;
    }
    if (e->n_add == 0)
        return OK;
    AUTO_FREE char *seg = dir_join(st->dir, "seg");
    AUTO_FREE char *dir = dir_join(seg, store_signal_name(e->signal));
    enum err r = fs_sync_dir(st->fs, dir);
    return r == OK ? OK : err_fail(reterr, r, "%s: %s", dir, err_describe(r));
}

static enum err hook_open(struct store *st, enum store_signal s, struct segment *g, struct err_text *reterr)
{
    const struct store_hooks *h = &st->sig[s].hooks;
    if (!h->segment_open)
        return OK;
    void *user = NULL;
    TRY(h->segment_open(h->ctx, g, &user, reterr));
    g->user = user;
    g->user_close = h->segment_close;
    return OK;
}

static enum err segments_open(struct store *st, const struct store_edit *e, struct segment **ret,
                              struct err_text *reterr)
{
    for (size_t i = 0; i < e->n_add; i++) {
        enum err r = segment_open(st->fs, e->add[i]->path, &ret[i], reterr);
        if (r == OK) {
            r = hook_open(st, e->signal, ret[i], reterr);
            if (r != OK)
                segment_unref(ret[i]);
        }
        if (r != OK) {
            while (i-- > 0)
                segment_unref(ret[i]);
            return r;
        }
    }
    return OK;
}

static void edit_encode(struct store *st, const struct store_edit *e, struct buf *b)
{
    struct manifest_signal *g = &st->man.sig[e->signal];
    uint64_t tombstone = g->next_tombstone;
    for (size_t i = 0; i < e->n_remove; i++)
        manifest_remove_segment(b, e->signal, e->remove[i]);
    for (size_t i = 0; i < e->n_add; i++)
        manifest_add_segment(b, &e->add[i]->meta);
    if (e->low_water_lsn)
        manifest_low_water(b, e->signal, e->low_water_lsn);
    if (e->retention_set)
        manifest_retention(b, e->signal, e->retention_ms);
    for (size_t i = 0; i < e->n_tombstone_add; i++, tombstone++) {
        manifest_add_tombstone(b, e->signal, tombstone, e->tombstone_add[i]);
        if (e->ret_tombstone_ids)
            e->ret_tombstone_ids[i] = tombstone;
    }
    for (size_t i = 0; i < e->n_tombstone_remove; i++)
        manifest_remove_tombstone(b, e->signal, e->tombstone_remove[i]);
    manifest_next_ids(b, e->signal, atomic_load_explicit(&st->sig[e->signal].next_segment, memory_order_relaxed),
                      tombstone);
}

static bool is_removed(const struct store_edit *e, uint64_t id)
{
    for (size_t i = 0; i < e->n_remove; i++)
        if (e->remove[i] == id)
            return true;
    return false;
}

static void set_change(struct store *st, const struct store_edit *e, struct segment *const *added)
{
    struct set_box *old = atomic_load_explicit(&st->sig[e->signal].set, memory_order_relaxed);
    VEC(struct segment *) p = { 0 };
    segment_meta_vec damaged = { 0 };
    vec_each (struct segment_meta, m, &old->damaged)
        if (!is_removed(e, m->id))
            vec_push(&damaged, *m);
    for (size_t i = 0; i < old->pub.n; i++) {
        if (is_removed(e, old->p[i]->meta.id))
            atomic_store_explicit(&old->p[i]->doomed, true, memory_order_release);
        else
            vec_push(&p, segment_ref(old->p[i]));
    }
    for (size_t i = 0; i < e->n_add; i++)
        vec_push(&p, added[i]);
    set_swap(st, e->signal, set_new(p.p, p.n, &damaged, old->pub.version + 1));
    vec_free(&p);
    vec_free(&damaged);
}

static void orphans_delete(struct store *st)
{
    for (size_t i = 0; i < st->orphans.n; i++) {
        IGNORE_ERR(fs_unlink(st->fs, st->orphans.p[i]));
        mem_free(st->orphans.p[i]);
    }
    vec_clear(&st->orphans);
}

static enum err commit_locked(struct store *st, const struct store_edit *e, struct segment **added,
                              struct err_text *reterr)
{
    TRY(edit_check(st, e, reterr));
    TRY(files_rename(st, e, reterr));
    TRY(segments_open(st, e, added, reterr));
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    edit_encode(st, e, &b);
    bool rewritten = false;
    enum err r = manifest_append(&st->man, buf_str(&b), &rewritten, reterr);
    if (r != OK) {
        for (size_t i = 0; i < e->n_add; i++) {
            segment_unref(added[i]);
            e->add[i]->orphaned = true;
            vec_push(&st->orphans, mem_strdup(str_c(e->add[i]->path)));
        }
        return r;
    }
    if (rewritten)
        orphans_delete(st);
    if (e->n_add || e->n_remove)
        set_change(st, e, added);
    stat_add(&stat_commits, 1);
    return OK;
}

enum err store_commit(struct store *st, const struct store_edit *edit, struct err_text *reterr)
{
    AUTO_FREE struct segment **added = mem_zalloc((edit->n_add + 1) * sizeof(*added));
    struct store_edit mine = *edit, *e = &mine;
    /* The mark stays within the synced log: LSNs given up here must not look like lost records to other signals
     * after a crash. While the disk refuses the log, the mark lags and a replay finds some records twice. */
    if (wal_wait(&st->wal, MIN(e->low_water_lsn, store_wal_last_lsn(st)), false) != OK)
        e->low_water_lsn = MIN(e->low_water_lsn, store_wal_durable_lsn(st));
    mtx_lock(&st->commit_mu);
    enum err r = commit_locked(st, e, added, reterr);
    mtx_unlock(&st->commit_mu);
    if (r != OK)
        return r;
    for (size_t i = 0; i < e->n_add; i++)
        segment_writer_free(e->add[i]);
    if (e->low_water_lsn)
        wal_low_water_set(&st->wal, e->signal, e->low_water_lsn);
    return OK;
}

void store_state(struct store *st, struct buf *items, const struct segment_set *ret_sets[STORE_SIGNAL_MAX])
{
    mtx_lock(&st->commit_mu);
    manifest_state(&st->man, items);
    for (int s = 1; s < STORE_SIGNAL_MAX; s++)
        ret_sets[s] = atomic_load_explicit(&st->sig[s].set, memory_order_relaxed)
                          ? store_segments_ref(st, (enum store_signal)s)
                          : NULL;
    mtx_unlock(&st->commit_mu);
}

void store_tombstones(struct store *st, enum store_signal s, struct arena *a, struct store_tombstone **ret,
                      size_t *ret_n)
{
    mtx_lock(&st->commit_mu);
    const tombstone_vec *t = &st->man.sig[s].tombstones;
    *ret = arena_array(a, struct store_tombstone, t->n + 1);
    *ret_n = t->n;
    for (size_t i = 0; i < t->n; i++)
        (*ret)[i] = (struct store_tombstone){ t->p[i].id, arena_str(a, t->p[i].body) };
    mtx_unlock(&st->commit_mu);
}

int64_t store_retention_mark(struct store *st, enum store_signal s)
{
    mtx_lock(&st->commit_mu);
    int64_t ms = st->man.sig[s].retention_ms;
    mtx_unlock(&st->commit_mu);
    return ms;
}

/* ---- signals ---- */
enum err store_attach(struct store *st, enum store_signal s, const struct store_hooks *hooks, struct err_text *reterr)
{
    struct store_signal_state *g = &st->sig[s];
    mtx_lock(&st->commit_mu);
    if (g->attached) {
        mtx_unlock(&st->commit_mu);
        return err_fail(reterr, ERR_EXISTS, "%s is attached already", store_signal_name(s));
    }
    mtx_lock(&st->hooks_mu);
    g->hooks = *hooks;
    g->attached = true;
    mtx_unlock(&st->hooks_mu);
    struct set_box *old = atomic_load_explicit(&g->set, memory_order_relaxed);
    VEC(struct segment *) p = { 0 };
    segment_meta_vec damaged = { 0 };
    vec_each (struct segment_meta, m, &old->damaged)
        vec_push(&damaged, *m);
    for (size_t i = 0; i < old->pub.n; i++) {
        struct err_text et = { 0 };
        if (hook_open(st, s, old->p[i], &et) == OK) {
            vec_push(&p, segment_ref(old->p[i]));
            continue;
        }
        LOG_ERROR("segment is damaged, answers will miss its data", "file", old->p[i]->path, "err", et.msg);
        vec_push(&damaged, old->p[i]->meta);
    }
    set_swap(st, s, set_new(p.p, p.n, &damaged, old->pub.version + 1));
    mtx_unlock(&st->commit_mu);
    vec_free(&p);
    vec_free(&damaged);
    return OK;
}

void store_detach(struct store *st, enum store_signal s)
{
    mtx_lock(&st->commit_mu);
    mtx_lock(&st->hooks_mu);
    st->sig[s].hooks = (struct store_hooks){ 0 };
    st->sig[s].attached = false;
    mtx_unlock(&st->hooks_mu);
    mtx_unlock(&st->commit_mu);
}

static void on_pressure(void *ctx, enum store_signal s)
{
    struct store *st = ctx;
    mtx_lock(&st->hooks_mu); /* held during the call, so that store_detach() waits for it */
    const struct store_hooks *h = &st->sig[s].hooks;
    if (h->wal_pressure)
        h->wal_pressure(h->ctx);
    mtx_unlock(&st->hooks_mu);
}

static void on_hold_pressure(void *ctx, enum store_signal s, uint64_t lsn)
{
    struct store *st = ctx;
    mtx_lock(&st->hooks_mu);
    const struct store_signal_state *g = &st->sig[s];
    if (g->hold_fn)
        g->hold_fn(g->hold_ctx, lsn);
    mtx_unlock(&st->hooks_mu);
}

void store_hold_hook(struct store *st, enum store_signal s, void (*fn)(void *ctx, uint64_t lsn), void *ctx)
{
    mtx_lock(&st->hooks_mu);
    st->sig[s].hold_fn = fn;
    st->sig[s].hold_ctx = ctx;
    mtx_unlock(&st->hooks_mu);
}

enum err store_hold_set(struct store *st, enum store_signal s, uint64_t lsn, struct err_text *reterr)
{
    struct store_signal_state *g = &st->sig[s];
    enum err e = OK;
    mtx_lock(&st->commit_mu);
    bool write = g->hold_written != lsn && (lsn == STORE_HOLD_NONE || lsn < g->hold_written /* also none */ ||
                                            wal_hold_passes_file(&st->wal, s, g->hold_written, lsn));
    if (lsn < g->hold_written)
        wal_hold_set(&st->wal, s, lsn);
    if (write) {
        AUTO_BUF struct buf b;
        bool rewritten = false;
        buf_init(&b, 0);
        manifest_hold(&b, s, lsn);
        e = manifest_append(&st->man, buf_str(&b), &rewritten, reterr);
        if (e == OK)
            g->hold_written = lsn;
        if (rewritten)
            orphans_delete(st);
    }
    if (e == OK)
        wal_hold_set(&st->wal, s, lsn);
    mtx_unlock(&st->commit_mu);
    return e;
}

uint64_t store_hold(struct store *st, enum store_signal s)
{
    mtx_lock(&st->wal.mu);
    uint64_t lsn = st->wal.hold[s];
    mtx_unlock(&st->wal.mu);
    return lsn;
}

/* ---- open ---- */
static enum err format_check(struct store *st, bool *ret_exists, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    AUTO_FREE char *path = dir_join(st->dir, "FORMAT");
    str text, head = STR("vane store ");
    uint64_t number;
    arena_init(&a, 0);
    enum err e = fs_read_file(st->fs, path, 4096, &a, &text, reterr);
    *ret_exists = e == OK;
    if (e == ERR_NOT_FOUND)
        return OK;
    if (e != OK)
        return e;
    str line = str_trim(text);
    if (!str_has_prefix(line, head) || !str_to_u64(str_skip(line, head.n), &number))
        return err_fail(reterr, ERR_CORRUPT, "%s is not a FORMAT file of vane", path);
    if (number > STORE_FORMAT)
        return err_fail(reterr, ERR_UNSUPPORTED,
                        "the data directory %s has format %llu, written by a newer vane; this one reads up to %d",
                        st->dir, (unsigned long long)number, STORE_FORMAT);
    return OK;
}

static enum err format_write(struct store *st)
{
    AUTO_FREE char *path = dir_join(st->dir, "FORMAT");
    char text[64];
    int n = snprintf(text, sizeof(text), "vane store %d\n", STORE_FORMAT);
    return fs_write_file_atomic(st->fs, path, str_n(text, (size_t)n));
}

static enum err lock_take(struct store *st, struct err_text *reterr)
{
    AUTO_FREE char *path = dir_join(st->dir, "LOCK");
    enum err e = fs_mkdir(st->fs, st->dir);
    if (e != OK)
        return err_fail(reterr, e, "cannot make the data directory %s: %s", st->dir, err_describe(e));
    e = fs_sync_parent(st->fs, st->dir);
    if (e != OK)
        return err_fail(reterr, e, "the directory of %s: %s", st->dir, err_describe(e));
    e = fs_lock(st->fs, path, &st->lock);
    if (e == ERR_BUSY)
        return err_fail(reterr, e, "the data directory %s is in use by another process", st->dir);
    if (e != OK)
        return err_fail(reterr, e, "cannot write in the data directory %s: %s", st->dir, err_describe(e));
    return OK;
}

/* A MANIFEST is written before the directories are made. */
static bool holds_data(struct store *st)
{
    AUTO_ARENA struct arena a;
    AUTO_FREE char *seg = dir_join(st->dir, "seg");
    str *names;
    size_t n;
    arena_init(&a, 0);
    return fs_list(st->fs, seg, &a, &names, &n) != ERR_NOT_FOUND;
}

static enum err manifest_open(struct store *st, struct err_text *reterr)
{
    bool format;
    TRY(format_check(st, &format, reterr));
    enum err e = manifest_load(&st->man, st->fs, st->dir, reterr);
    if (e == ERR_NOT_FOUND) {
        if (format || holds_data(st)) /* never take it for a new one: what no MANIFEST names is deleted */
            return err_fail(reterr, ERR_CORRUPT, "the data directory %s has lost its MANIFEST", st->dir);
        if (reterr)
            *reterr = (struct err_text){ 0 };
        manifest_init(&st->man, st->fs, st->dir);
        st->man.seed = os_random_u64();
    } else if (e != OK)
        return e;
    e = manifest_rewrite(&st->man, reterr); /* drops a torn end, and shows that we can write */
    if (e == OK && !format) {
        e = format_write(st);
        if (e != OK)
            e = err_fail(reterr, e, "cannot write in the data directory %s: %s", st->dir, err_describe(e));
    }
    if (e != OK)
        manifest_deinit(&st->man);
    return e;
}

/* Files of the signal's directory that the MANIFEST does not name. */
static enum err leftovers_delete(struct store *st, enum store_signal s, const char *dir)
{
    AUTO_ARENA struct arena a;
    str *names;
    size_t n;
    arena_init(&a, 0);
    TRY(fs_list(st->fs, dir, &a, &names, &n));
    for (size_t i = 0; i < n; i++) {
        uint64_t id = 0;
        str end = STR(".vseg");
        bool seg = str_has_suffix(names[i], end) && str_to_u64(str_take(names[i], names[i].n - end.n), &id);
        if (seg && manifest_segment(&st->man, s, id))
            continue;
        if (!seg && !str_has_suffix(names[i], STR(".tmp")))
            continue; /* not ours */
        AUTO_FREE char *path = dir_join(dir, arena_cstr(&a, names[i]));
        IGNORE_ERR(fs_unlink(st->fs, path));
        if (id >= atomic_load_explicit(&st->sig[s].next_segment, memory_order_relaxed))
            atomic_store_explicit(&st->sig[s].next_segment, id + 1, memory_order_relaxed);
    }
    return OK;
}

static bool meta_agrees(const struct segment_meta *a, const struct segment_meta *b)
{
    return a->id == b->id && a->signal == b->signal && a->bytes == b->bytes && a->rows == b->rows &&
           a->min_time == b->min_time && a->max_time == b->max_time;
}

static enum err signal_open(struct store *st, enum store_signal s, struct err_text *reterr)
{
    const struct manifest_signal *m = &st->man.sig[s];
    AUTO_FREE char *seg = dir_join(st->dir, "seg");
    AUTO_FREE char *dir = dir_join(seg, store_signal_name(s));
    VEC(struct segment *) p = { 0 };
    segment_meta_vec damaged = { 0 };
    atomic_store_explicit(&st->sig[s].next_segment, m->next_segment, memory_order_relaxed);
    enum err e = fs_mkdir(st->fs, dir);
    e = e ? e : leftovers_delete(st, s, dir);
    if (e != OK)
        return err_fail(reterr, e, "%s: %s", dir, err_describe(e));
    for (size_t i = 0; i < m->segments.n && e == OK; i++) {
        AUTO_FREE char *path = segment_path_make(st->dir, s, m->segments.p[i].id, "vseg");
        struct segment *g;
        struct err_text et = { 0 };
        enum err r = segment_open(st->fs, path, &g, &et);
        if (r == ERR_UNSUPPORTED)
            e = err_fail(reterr, r, "%s", et.msg);
        else if (r == OK && meta_agrees(&g->meta, &m->segments.p[i]))
            vec_push(&p, g);
        else {
            if (r == OK)
                segment_unref(g);
            LOG_ERROR("segment is damaged, answers will miss its data", "file", path, "err",
                      r == OK ? "it is not the one the MANIFEST names" : et.msg);
            vec_push(&damaged, m->segments.p[i]);
        }
    }
    if (e == OK)
        set_swap(st, s, set_new(p.p, p.n, &damaged, 1));
    else
        for (size_t i = 0; i < p.n; i++)
            segment_unref(p.p[i]);
    vec_free(&p);
    vec_free(&damaged);
    return e;
}

static enum err log_open(struct store *st, const struct store_config *cfg, struct err_text *reterr)
{
    uint64_t low_water[STORE_SIGNAL_MAX], hold[STORE_SIGNAL_MAX], lsn_min = 0;
    for (int s = 0; s < STORE_SIGNAL_MAX; s++) {
        low_water[s] = st->man.sig[s].low_water;
        hold[s] = st->sig[s].hold_written = st->man.sig[s].hold;
        lsn_min = MAX(lsn_min, low_water[s]);
        vec_each (struct segment_meta, m, &st->man.sig[s].segments)
            lsn_min = MAX(lsn_min, m->lsn_last);
    }
    st->wal.hooks = (struct wal_hooks){ st, on_pressure, on_hold_pressure };
    return wal_open(&st->wal, st->fs, st->dir, cfg, st->clk, st->man.seed, low_water, hold, lsn_min, reterr);
}

static enum err open_parts(struct store *st, const struct store_config *cfg, struct err_text *reterr)
{
    AUTO_FREE char *seg = dir_join(st->dir, "seg");
    enum err e = fs_mkdir(st->fs, seg);
    if (e != OK)
        return err_fail(reterr, e, "%s: %s", seg, err_describe(e));
    for (int s = 1; s < STORE_SIGNAL_MAX; s++)
        if (store_signal_name((enum store_signal)s))
            TRY(signal_open(st, (enum store_signal)s, reterr));
    e = fs_sync_dir(st->fs, seg);
    e = e ? e : fs_sync_dir(st->fs, st->dir);
    if (e != OK)
        return err_fail(reterr, e, "%s: %s", st->dir, err_describe(e));
    return log_open(st, cfg, reterr);
}

static void sets_drop(struct store *st)
{
    for (int s = 1; s < STORE_SIGNAL_MAX; s++) {
        struct set_box *b = atomic_exchange_explicit(&st->sig[s].set, NULL, memory_order_acq_rel);
        segment_set_unref(b ? &b->pub : NULL);
    }
}

enum err store_open(struct fs *fs, const char *dir, const struct store_config *cfg, struct clock *clk,
                    struct store **ret, struct err_text *reterr)
{
    struct store_config c;
    store_config_defaults(&c);
    if (cfg)
        c = *cfg;
    c.wal_file_bytes = MAX(c.wal_file_bytes & ~(uint64_t)4095, (uint64_t)64 << 10);
    struct store *st = mem_zalloc(sizeof(*st));
    st->fs = fs;
    st->clk = clk;
    st->dir = mem_strdup(str_c(dir));
    mtx_init(&st->commit_mu, 0);
    mtx_init(&st->hooks_mu, 0);
    enum err e = lock_take(st, reterr);
    if (e == OK) {
        e = manifest_open(st, reterr);
        if (e == OK) {
            e = open_parts(st, &c, reterr);
            if (e == OK) {
                *ret = st;
                return OK;
            }
            sets_drop(st);
            manifest_deinit(&st->man);
        }
        fs_close(st->lock);
    }
    mtx_deinit(&st->commit_mu);
    mtx_deinit(&st->hooks_mu);
    mem_free(st->dir);
    mem_free(st);
    return e;
}

void store_close(struct store *st)
{
    if (!st)
        return;
    wal_close(&st->wal);
    sets_drop(st);
    manifest_deinit(&st->man);
    for (size_t i = 0; i < st->orphans.n; i++)
        mem_free(st->orphans.p[i]);
    vec_free(&st->orphans);
    fs_close(st->lock);
    mtx_deinit(&st->commit_mu);
    mtx_deinit(&st->hooks_mu);
    mem_free(st->dir);
    mem_free(st);
}

/* ---- the log, as in store.h ---- */
enum err store_wal_pin(struct store *st, size_t bytes, uint32_t *ret_epoch)
{
    return wal_pin(&st->wal, bytes, ret_epoch);
}

void store_wal_unpin(struct store *st)
{
    wal_unpin(&st->wal);
}

enum err store_wal_append(struct store *st, const struct store_record *rec, uint64_t *ret_lsn)
{
    return wal_append(&st->wal, rec, ret_lsn);
}

enum err store_wal_wait(struct store *st, uint64_t lsn)
{
    return wal_wait(&st->wal, lsn, true);
}

void store_wal_sync_soon(struct store *st)
{
    wal_sync_soon(&st->wal);
}

uint64_t store_wal_durable_lsn(const struct store *st)
{
    return atomic_load_explicit(&st->wal.durable_lsn, memory_order_acquire);
}

uint64_t store_wal_last_lsn(const struct store *st)
{
    return atomic_load_explicit(&st->wal.last_lsn, memory_order_acquire);
}

uint32_t store_wal_epoch(const struct store *st)
{
    return atomic_load_explicit(&st->wal.epoch, memory_order_acquire);
}

uint64_t store_wal_low_water(struct store *st, enum store_signal s)
{
    return wal_low_water(&st->wal, s);
}

uint64_t store_wal_bytes(struct store *st)
{
    return wal_bytes(&st->wal);
}

enum err store_tail_open(struct store *st, enum store_signal s, uint64_t from_lsn, struct store_tail **ret)
{
    return wal_tail_open(&st->wal, s, from_lsn, ret);
}

uint64_t store_wal_bytes_after(struct store *st, uint64_t lsn)
{
    return wal_bytes_after(&st->wal, lsn);
}

enum err store_wal_replay(struct store *st, const struct store_replay *r, struct store_replay_result *ret,
                          struct err_text *reterr)
{
    return wal_replay(&st->wal, r, ret, reterr);
}

void store_stats_get(struct store *st, struct store_stats *ret)
{
    struct wal *w = &st->wal;
    *ret = (struct store_stats){ .last_lsn = store_wal_last_lsn(st), .durable_lsn = store_wal_durable_lsn(st) };
    mtx_lock(&w->mu);
    ret->wal_bytes = w->used_bytes;
    ret->wal_files = w->files.n;
    ret->wal_spares = w->spares.n;
    ret->disk_free = w->disk_free;
    ret->disk_total = w->disk_total;
    ret->degraded = w->degraded;
    ret->no_space = w->no_space || w->spare_failed || w->stuck == ERR_NO_SPACE;
    mtx_unlock(&w->mu);
    mtx_lock(&st->commit_mu);
    ret->degraded |= st->man.uncertain;
    for (int s = 1; s < STORE_SIGNAL_MAX; s++) {
        struct set_box *b = atomic_load_explicit(&st->sig[s].set, memory_order_relaxed);
        for (size_t i = 0; b && i < b->pub.n; i++)
            ret->segment_bytes += b->p[i]->meta.bytes;
        ret->segments += b ? b->pub.n : 0;
        ret->damaged += b ? b->pub.n_damaged : 0;
    }
    mtx_unlock(&st->commit_mu);
}
