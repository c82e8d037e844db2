/* Verification of a data directory that no process has open. Reads everything, writes nothing. */
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "store/store_int.h"

struct fsck {
    const struct store_fsck *f;
    struct store_fsck_result *res;
    struct fs *fs;
    const char *dir;
    uint64_t done, total;
};

static void say(struct fsck *k, enum store_finding kind, const char *path, const char *fmt, ...) PRINTF_LIKE(4, 5);
static void say(struct fsck *k, enum store_finding kind, const char *path, const char *fmt, ...)
{
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (kind == STORE_FINDING_DAMAGE)
        k->res->damages++;
    else
        k->res->notes++;
    if (k->f->report)
        k->f->report(k->f->ctx, kind, path, text);
}

static void step(struct fsck *k, uint64_t bytes)
{
    k->done += bytes;
    if (k->f->progress)
        k->f->progress(k->f->ctx, k->done, k->total);
}

/* ---- segments ---- */
static void check_segment(struct fsck *k, const struct segment_meta *m)
{
    AUTO_FREE char *path = segment_path_make(k->dir, (enum store_signal)m->signal, m->id, "vseg");
    struct segment *g;
    struct err_text et = { 0 };
    k->res->segments++;
    k->res->segment_bytes += m->bytes;
    enum err e = segment_open(k->fs, path, &g, &et);
    if (e != OK) {
        say(k, STORE_FINDING_DAMAGE, path, "%s", et.msg);
        step(k, m->bytes);
        return;
    }
    k->res->pages += segment_n_pages(g);
    e = segment_verify(g, &et);
    if (e == OK && (g->meta.rows != m->rows || g->meta.bytes != m->bytes || g->meta.min_time != m->min_time ||
                    g->meta.max_time != m->max_time))
        say(k, STORE_FINDING_DAMAGE, path, "it is not the segment the MANIFEST names");
    if (e == OK && k->f->segment_check)
        e = k->f->segment_check(k->f->ctx, (enum store_signal)m->signal, g, &et);
    if (e != OK)
        say(k, STORE_FINDING_DAMAGE, path, "%s", et.msg);
    segment_unref(g);
    step(k, m->bytes);
}

static void note_leftovers(struct fsck *k, const struct manifest *man, enum store_signal s)
{
    AUTO_ARENA struct arena a;
    str *names;
    size_t n;
    arena_init(&a, 0);
    const char *path = arena_printf(&a, "%s/seg/%s", k->dir, store_signal_name(s)).p;
    if (fs_list(k->fs, path, &a, &names, &n) != OK)
        return;
    for (size_t i = 0; i < n; i++) {
        uint64_t id;
        str end = STR(".vseg");
        bool seg = str_has_suffix(names[i], end) && str_to_u64(str_take(names[i], names[i].n - end.n), &id);
        if (!seg || !manifest_segment(man, s, id))
            say(k, STORE_FINDING_NOTE, path, "leftover of a crash: " STR_FMT, STR_ARG(names[i]));
    }
}

static void check_tombstones(struct fsck *k, const struct manifest *man, enum store_signal s)
{
    struct err_text et = { 0 };
    vec_each (struct store_tombstone, t, &man->sig[s].tombstones)
        if (k->f->tombstone_check && k->f->tombstone_check(k->f->ctx, s, t->body, &et))
            say(k, STORE_FINDING_DAMAGE, man->path, "%s tombstone %llu: %s", store_signal_name(s),
                (unsigned long long)t->id, et.msg);
}

static void check_segments(struct fsck *k, const struct manifest *man)
{
    for (int s = 1; s < STORE_SIGNAL_MAX; s++) {
        if (!store_signal_name((enum store_signal)s))
            continue;
        vec_each (struct segment_meta, m, &man->sig[s].segments)
            check_segment(k, m);
        check_tombstones(k, man, (enum store_signal)s);
        note_leftovers(k, man, (enum store_signal)s);
    }
}

/* ---- log ---- */
struct fsck_log {
    struct fsck *k;
    const struct manifest *man;
    const char *path;
    uint64_t last_done;
};

static enum err log_record(void *ctx, const struct wal_record *r)
{
    struct fsck_log *l = ctx;
    struct fsck *k = l->k;
    struct err_text et = { 0 };
    unsigned s = r->kind >> 5;
    k->res->records++;
    if (!store_signal_name((enum store_signal)s)) {
        say(k, STORE_FINDING_DAMAGE, l->path, "record %llu is of an unknown signal", (unsigned long long)r->lsn);
        return OK;
    }
    struct store_replayed out = { r->lsn, r->enc_epoch, r->kind & 31, r->partition, r->payload };
    if (k->f->record_check && k->f->record_check(k->f->ctx, (enum store_signal)s, &out, &et) != OK)
        say(k, STORE_FINDING_DAMAGE, l->path, "record %llu: %s", (unsigned long long)r->lsn, et.msg);
    return OK;
}

static void log_hole(void *ctx, const char *path, uint64_t first, uint64_t last)
{
    struct fsck_log *l = ctx;
    uint64_t low = UINT64_MAX;
    for (int s = 1; s < STORE_SIGNAL_MAX; s++)
        if (l->man->sig[s].low_water)
            low = MIN(low, l->man->sig[s].low_water);
    if (low != UINT64_MAX && last <= low)
        say(l->k, STORE_FINDING_NOTE, path, "records %llu to %llu are gone; segments hold them",
            (unsigned long long)first, (unsigned long long)last);
    else
        say(l->k, STORE_FINDING_DAMAGE, path, "records %llu to %llu are missing or damaged", (unsigned long long)first,
            (unsigned long long)last);
}

static void log_file(void *ctx, const char *path, uint64_t done)
{
    struct fsck_log *l = ctx;
    mem_free((void *)(uintptr_t)l->path);
    l->path = mem_strdup(str_c(path));
    l->k->res->wal_files++;
    step(l->k, done - l->last_done);
    l->last_done = done;
}

/* Where the log ends, from its last file that has anything in it. */
static enum err log_end(struct fsck *k, const struct manifest *man, const char *dir, wal_file_vec *files, uint64_t *ret,
                        struct err_text *reterr)
{
    *ret = 0;
    for (; files->n; files->n--) {
        struct wal_file *f = &vec_last(files);
        AUTO_FREE char *path = wal_path(dir, f->h.epoch, false);
        AUTO_FS_FILE struct fs_file *file = NULL;
        str map;
        enum err e = fs_open(k->fs, path, FS_READ, &file);
        e = e ? e : fs_map(file, &map);
        if (e != OK)
            return err_fail(reterr, e, "%s: %s", path, err_describe(e));
        uint64_t before[STORE_SIGNAL_MAX] = { 0 }, off;
        *ret = wal_scan_end(map, &f->h, man->seed, before, &off);
        struct wal_scan s = { .file = map, .off = off, .seed = man->seed, .epoch = f->h.epoch, .last_lsn = *ret };
        struct wal_record r;
        if (wal_scan_next(&s, &r))
            say(k, STORE_FINDING_NOTE, path, "a torn tail after record %llu (never acknowledged)",
                (unsigned long long)*ret);
        fs_unmap(file, map);
        if (!f->header_bad || off != WAL_HEADER_BYTES)
            break;
        say(k, STORE_FINDING_NOTE, path, "begun by a process that crashed, holds nothing");
    }
    return OK;
}

static enum err check_log(struct fsck *k, const struct manifest *man, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    wal_file_vec files = { 0 };
    uint32_t *spares;
    size_t n_spares;
    uint64_t end = 0;
    arena_init(&a, 0);
    const char *dir = arena_printf(&a, "%s/wal", k->dir).p; /* a NUL follows */
    enum err e = wal_list(k->fs, dir, man->seed, &files, &spares, &n_spares, &a, reterr);
    e = e ? e : log_end(k, man, dir, &files, &end, reterr);
    struct fsck_log l = { .k = k, .man = man };
    vec_each (struct wal_file, f, &files) {
        AUTO_FREE char *path = wal_path(dir, f->h.epoch, false);
        k->total += f->bytes;
        if (f->header_bad) /* a crash can do that; what is missing shows as a gap in the records */
            say(k, STORE_FINDING_NOTE, path, "the header is unreadable; its records were looked for without it");
    }
    if (e == OK && files.n && !files.p[0].header_bad)
        for (int s = 1; s < STORE_SIGNAL_MAX; s++)
            if (files.p[0].h.before[s] > man->sig[s].low_water)
                say(k, STORE_FINDING_DAMAGE, dir, "records of %s up to %llu are gone and in no segment",
                    store_signal_name((enum store_signal)s), (unsigned long long)files.p[0].h.before[s]);
    struct wal_walk w = { .fs = k->fs,
                          .dir = dir,
                          .seed = man->seed,
                          .files = files.p,
                          .n_files = files.n,
                          .end_lsn = end,
                          .ctx = &l,
                          .on_record = log_record,
                          .on_hole = log_hole,
                          .on_file = log_file };
    e = e ? e : wal_walk(&w, reterr);
    mem_free((void *)(uintptr_t)l.path);
    vec_free(&files);
    return e;
}

/* ---- all ---- */
static enum err format_read(struct fsck *k, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    char path[4096];
    str text;
    uint64_t number;
    arena_init(&a, 0);
    snprintf(path, sizeof(path), "%s/FORMAT", k->dir);
    enum err e = fs_read_file(k->fs, path, 4096, &a, &text, reterr);
    if (e == ERR_NOT_FOUND)
        return err_fail(reterr, e, "%s is not a data directory of vane (it has no FORMAT file)", k->dir);
    if (e != OK)
        return e;
    str head = STR("vane store "), line = str_trim(text);
    if (!str_has_prefix(line, head) || !str_to_u64(str_skip(line, head.n), &number))
        say(k, STORE_FINDING_DAMAGE, path, "not a FORMAT file of vane");
    else if (number > STORE_FORMAT)
        return err_fail(reterr, ERR_UNSUPPORTED, "%s has format %llu, written by a newer vane", k->dir,
                        (unsigned long long)number);
    return OK;
}

enum err store_fsck(struct fs *fs, const char *dir, const struct store_fsck *f, struct store_fsck_result *ret,
                    struct err_text *reterr)
{
    struct store_fsck_result res = { 0 };
    struct fsck k = { .f = f, .res = &res, .fs = fs, .dir = dir };
    struct manifest man;
    struct err_text et = { 0 };
    AUTO_FS_FILE struct fs_file *lock = NULL;
    TRY(format_read(&k, reterr));
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    const char *path = arena_printf(&a, "%s/LOCK", dir).p;
    if (fs_lock(fs, path, &lock) == ERR_BUSY)
        return err_fail(reterr, ERR_BUSY, "the data directory %s is in use by another process", dir);
    enum err e = manifest_load(&man, fs, dir, &et);
    if (e == ERR_UNSUPPORTED)
        return err_fail(reterr, e, "%s", et.msg);
    if (e != OK) {
        say(&k, STORE_FINDING_DAMAGE, arena_printf(&a, "%s/MANIFEST", dir).p, "%s", et.msg);
        *ret = res;
        return OK;
    }
    if (man.torn)
        say(&k, STORE_FINDING_NOTE, man.path, "a torn edit at the end (never committed)");
    for (int s = 1; s < STORE_SIGNAL_MAX; s++)
        vec_each (struct segment_meta, m, &man.sig[s].segments)
            k.total += m->bytes;
    check_segments(&k, &man);
    e = check_log(&k, &man, reterr);
    manifest_deinit(&man);
    *ret = res;
    return e;
}
