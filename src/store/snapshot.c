/* Snapshots: a data directory made of hard links to what a running store has published.
 *
 * What exists is taken under the lock of commits, in memory: the state of the MANIFEST and a reference of every
 * segment, so that no file goes while it is being linked. Everything after that is outside any lock. The new directory
 * has its own MANIFEST with that state and an empty log; log sequence numbers go on behind the marks in it. */
#include <stdio.h>

#include "base/check.h"
#include "base/log.h"
#include "store/store_int.h"

struct store_snapshot {
    struct fs *fs;
    char *dir;
    uint64_t seed;
    struct buf items;
    const struct segment_set *sets[STORE_SIGNAL_MAX];
};

struct store_snapshot *store_snapshot_take(struct store *st)
{
    struct store_snapshot *s = mem_zalloc(sizeof(*s));
    s->fs = store_fs(st);
    s->dir = mem_strdup(str_c(store_dir(st)));
    s->seed = store_seed(st);
    buf_init(&s->items, 0);
    store_state(st, &s->items, s->sets);
    return s;
}

void store_snapshot_free(struct store_snapshot *s)
{
    if (!s)
        return;
    for (int i = 1; i < STORE_SIGNAL_MAX; i++)
        segment_set_unref(s->sets[i]);
    buf_deinit(&s->items);
    mem_free(s->dir);
    mem_free(s);
}

static const char *join(struct arena *a, const char *dir, const char *name)
{
    return arena_printf(a, "%s/%s", dir, name).p;
}

static enum err take_file(struct fs *fs, const char *from, const char *to, struct err_text *reterr)
{
    enum err e = fs_link(fs, from, to);
    if (e == ERR_UNSUPPORTED)
        e = fs_copy(fs, from, to);
    return e ? err_fail(reterr, e, "%s -> %s: %s", from, to, err_describe(e)) : OK;
}

static enum err take_segments(const struct store_snapshot *s, enum store_signal sig, const char *dir,
                              size_t *io_damaged, struct err_text *reterr)
{
    const struct segment_set *set = s->sets[sig];
    for (size_t i = 0; set && i < set->n; i++) {
        AUTO_FREE char *to = segment_path_make(dir, sig, segment_meta(set->p[i])->id, "vseg");
        TRY(take_file(s->fs, segment_path(set->p[i]), to, reterr));
    }
    for (size_t i = 0; set && i < set->n_damaged; i++) { /* as good as it is; its name is in the MANIFEST */
        AUTO_FREE char *from = segment_path_make(s->dir, sig, set->damaged[i].id, "vseg");
        AUTO_FREE char *to = segment_path_make(dir, sig, set->damaged[i].id, "vseg");
        struct err_text why;
        enum err e = take_file(s->fs, from, to, &why);
        ++*io_damaged;
        LOG_WARN("snapshot of a damaged segment", "file", from, "taken", LOG_I64(e == OK));
    }
    return OK;
}

/* What other rooms keep in the directory (pushed groups, ...): small files that change by rename. Not forward/: places
 * in a log that the copy does not have; not control.db: a database that is written to is copied by whoever has it open
 * (control_backup). */
static enum err take_rest(struct fs *fs, const char *from, const char *to, unsigned depth, struct err_text *reterr)
{
    static const char *const own[] = { "LOCK",    "FORMAT",     "MANIFEST",       "wal",           "seg", "snapshots",
                                       "forward", "control.db", "control.db-wal", "control.db-shm" };
    enum { DEPTH = 8 };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str *names, *below;
    size_t n, n_below;
    enum err e = fs_list(fs, from, &a, &names, &n);
    for (size_t i = 0; i < n && !e; i++) {
        bool skip = str_has_suffix(names[i], STR(".tmp"));
        for (size_t k = 0; k < ARRAY_LEN(own) && depth == 0; k++)
            skip |= str_eq(names[i], str_c(own[k]));
        if (skip || depth == DEPTH)
            continue;
        const char *name = arena_cstr(&a, names[i]), *f = join(&a, from, name), *t = join(&a, to, name);
        if (fs_list(fs, f, &a, &below, &n_below) == OK) {
            e = fs_mkdir(fs, t);
            e = e ? e : take_rest(fs, f, t, depth + 1, reterr);
        } else {
            e = fs_copy(fs, f, t);
            if (e == ERR_NOT_FOUND) /* gone meanwhile */
                e = OK;
        }
        if (e && (!reterr || !reterr->msg[0]))
            return err_fail(reterr, e, "%s -> %s: %s", f, t, err_describe(e));
    }
    return e ? e : fs_sync_dir(fs, to);
}

static enum err manifest_put(const struct store_snapshot *s, const char *dir, struct err_text *reterr)
{
    struct manifest m;
    manifest_init(&m, s->fs, dir);
    m.seed = s->seed;
    enum err e = manifest_apply(&m, (str){ s->items.p, s->items.n }, reterr);
    for (int i = 1; i < STORE_SIGNAL_MAX; i++)
        m.sig[i].hold = STORE_HOLD_NONE; /* who follows this log does not follow the copy's */
    e = e ? e : manifest_rewrite(&m, reterr);
    manifest_deinit(&m);
    return e;
}

static enum err build(const struct store_snapshot *s, const char *dir, size_t *ret_damaged, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    const char *seg = join(&a, dir, "seg");
    enum err e = fs_mkdirs(s->fs, seg);
    e = e ? e : fs_mkdir(s->fs, join(&a, dir, "wal"));
    if (e)
        return err_fail(reterr, e, "%s: %s", dir, err_describe(e));
    for (int i = 1; i < STORE_SIGNAL_MAX; i++) {
        const char *name = store_signal_name((enum store_signal)i);
        if (!name)
            continue;
        const char *sub = join(&a, seg, name);
        e = fs_mkdir(s->fs, sub);
        if (e)
            return err_fail(reterr, e, "%s: %s", sub, err_describe(e));
        TRY(take_segments(s, (enum store_signal)i, dir, ret_damaged, reterr));
        e = fs_sync_dir(s->fs, sub);
        if (e)
            return err_fail(reterr, e, "%s: %s", sub, err_describe(e));
    }
    TRY(take_rest(s->fs, s->dir, dir, 0, reterr));
    TRY(manifest_put(s, dir, reterr));
    char text[64];
    int n = snprintf(text, sizeof(text), "vane store %d\n", STORE_FORMAT);
    e = fs_write_file_atomic(s->fs, join(&a, dir, "FORMAT"), str_n(text, (size_t)n));
    e = e ? e : fs_sync_dir(s->fs, seg);
    e = e ? e : fs_sync_dir(s->fs, dir);
    return e ? err_fail(reterr, e, "%s: %s", dir, err_describe(e)) : OK;
}

enum err store_snapshot_write(const struct store_snapshot *s, const char *dest, size_t *ret_damaged,
                              struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    const char *tmp = arena_printf(&a, "%s.tmp", dest).p, *slash = strrchr(dest, '/');
    const char *parent = slash ? arena_printf(&a, "%.*s", (int)(slash - dest), dest).p : ".";
    str *names;
    size_t n;
    *ret_damaged = 0;
    if (reterr)
        *reterr = (struct err_text){ 0 };
    if (fs_list(s->fs, dest, &a, &names, &n) == OK)
        return err_fail(reterr, ERR_EXISTS, "%s exists", dest);
    enum err e = fs_remove_tree(s->fs, tmp); /* of a crash */
    e = e ? e : build(s, tmp, ret_damaged, reterr);
    if (!e)
        e = fs_rename(s->fs, tmp, dest);
    e = e ? e : fs_sync_dir(s->fs, parent);
    if (e) {
        IGNORE_ERR(fs_remove_tree(s->fs, tmp));
        return reterr && reterr->msg[0] ? e : err_fail(reterr, e, "%s: %s", dest, err_describe(e));
    }
    return OK;
}
