/* Reading the log back: the list of files, the walk over their records with its rule for holes, replay. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "base/stats.h"
#include "store/wal_int.h"

static struct stat stat_holes =
    STAT_COUNTER("vane_store_wal_lost_records_total", "Log records found missing or damaged at replay", "");

/* "0000000007.wal" -> 7 */
static bool name_parse(str name, const char *suffix, uint32_t *ret)
{
    uint64_t n;
    str end = str_c(suffix);
    if (!str_has_suffix(name, end) || !str_to_u64(str_take(name, name.n - end.n), &n) || n > UINT32_MAX)
        return false;
    *ret = (uint32_t)n;
    return true;
}

static int by_epoch(const void *a, const void *b)
{
    const struct wal_file *x = a, *y = b;
    return (x->h.epoch > y->h.epoch) - (x->h.epoch < y->h.epoch);
}

/* The base LSN of a file without a readable header: what precedes the batch of its first record; 0 if it has none. */
static uint64_t base_guess(struct fs_file *file, uint32_t epoch, uint64_t seed)
{
    str map;
    struct wal_record r;
    if (fs_map(file, &map) != OK)
        return 0;
    struct wal_scan s = { .file = map, .off = WAL_HEADER_BYTES, .seed = seed, .epoch = epoch };
    uint64_t base = wal_scan_next(&s, &r) ? r.lsn - r.back - 1 : 0;
    fs_unmap(file, map);
    return base;
}

/* ERR_UNSUPPORTED stops; a header that does not parse is noted and the file kept. */
static enum err header_read(struct fs *fs, const char *dir, uint64_t seed, struct wal_file *f, struct err_text *reterr)
{
    AUTO_FREE char *path = wal_path(dir, f->h.epoch, false);
    AUTO_FREE char *head = mem_zalloc(WAL_HEADER_BYTES);
    AUTO_FS_FILE struct fs_file *file = NULL;
    size_t n = 0;
    enum err e = fs_open(fs, path, FS_READ, &file);
    e = e ? e : fs_pread(file, head, WAL_HEADER_BYTES, 0, &n);
    e = e ? e : fs_size(file, &f->bytes);
    if (e != OK)
        return err_fail(reterr, e, "%s: %s", path, err_describe(e));
    e = wal_header_decode(str_n(head, n), f->h.epoch, seed, &f->h);
    if (e == ERR_UNSUPPORTED)
        return err_fail(reterr, e, "%s was written by a newer vane", path);
    f->header_bad = e != OK;
    if (f->header_bad)
        f->h.base_lsn = base_guess(file, f->h.epoch, seed);
    return OK;
}

enum err wal_list(struct fs *fs, const char *dir, uint64_t seed, wal_file_vec *ret_files, uint32_t **ret_spares,
                  size_t *ret_n_spares, struct arena *a, struct err_text *reterr)
{
    str *names;
    size_t n, n_spares = 0;
    enum err e = fs_list(fs, dir, a, &names, &n);
    if (e != OK)
        return err_fail(reterr, e, "%s: %s", dir, err_describe(e));
    uint32_t *spares = arena_zarray(a, uint32_t, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct wal_file f = { 0 };
        if (name_parse(names[i], ".spare", &spares[n_spares]))
            n_spares++;
        else if (name_parse(names[i], ".wal", &f.h.epoch)) {
            TRY(header_read(fs, dir, seed, &f, reterr));
            vec_push(ret_files, f);
        }
    }
    if (ret_files->n)
        qsort(ret_files->p, ret_files->n, sizeof(*ret_files->p), by_epoch);
    *ret_spares = spares;
    *ret_n_spares = n_spares;
    return OK;
}

/* ---- walk ---- */
struct walk_state {
    const struct wal_walk *k;
    uint64_t expected; /* the next LSN; 0 = not known yet */
};

static void walk_hole(struct walk_state *s, const char *path, uint64_t first, uint64_t last)
{
    if (s->k->on_hole && first <= last)
        s->k->on_hole(s->k->ctx, path, first, last);
}

/* Records of the file beyond this LSN are void: a later file says where it took over. */
static uint64_t walk_limit(const struct wal_walk *k, size_t i)
{
    for (size_t j = i + 1; j < k->n_files; j++)
        if (!k->files[j].header_bad || k->files[j].h.base_lsn)
            return MIN(k->files[j].h.base_lsn, k->end_lsn);
    return k->end_lsn;
}

static enum err walk_records(struct walk_state *s, const char *path, str file, size_t i)
{
    const struct wal_file *f = &s->k->files[i];
    uint64_t limit = walk_limit(s->k, i);
    struct wal_scan scan = {
        .file = file, .off = WAL_HEADER_BYTES, .seed = s->k->seed, .epoch = f->h.epoch, .last_lsn = f->h.base_lsn
    };
    for (struct wal_record r; wal_scan_next(&scan, &r) && r.lsn <= limit;) {
        if (s->expected && r.lsn < s->expected)
            continue;
        if (s->expected && r.lsn > s->expected)
            walk_hole(s, path, s->expected, r.lsn - 1);
        s->expected = r.lsn + 1;
        TRY(s->k->on_record(s->k->ctx, &r));
    }
    return OK;
}

static enum err walk_file(struct walk_state *s, size_t i, uint64_t done, struct err_text *reterr)
{
    const struct wal_file *f = &s->k->files[i];
    AUTO_FREE char *path = wal_path(s->k->dir, f->h.epoch, false);
    AUTO_FS_FILE struct fs_file *file = NULL;
    str map;
    if (s->k->on_file)
        s->k->on_file(s->k->ctx, path, done);
    enum err e = fs_open(s->k->fs, path, FS_READ, &file);
    e = e ? e : fs_map(file, &map);
    if (e != OK)
        return err_fail(reterr, e, "%s: %s", path, err_describe(e));
    if (!f->header_bad || f->h.base_lsn) {
        if (s->expected && f->h.base_lsn + 1 > s->expected)
            walk_hole(s, path, s->expected, f->h.base_lsn);
        if (!s->expected || f->h.base_lsn + 1 > s->expected)
            s->expected = f->h.base_lsn + 1;
    }
    e = walk_records(s, path, map, i);
    fs_unmap(file, map);
    return e;
}

enum err wal_walk(const struct wal_walk *k, struct err_text *reterr)
{
    struct walk_state s = { .k = k };
    uint64_t done = 0;
    for (size_t i = 0; i < k->n_files; i++) {
        TRY(walk_file(&s, i, done, reterr));
        done += k->files[i].bytes;
    }
    if (s.expected && s.expected <= k->end_lsn)
        walk_hole(&s, k->dir, s.expected, k->end_lsn);
    return OK;
}

/* ---- replay ---- */
struct replay_state {
    const struct store_replay *r;
    struct store_replay_result res;
    uint64_t bytes_total;
};

static enum err replay_record(void *ctx, const struct wal_record *rec)
{
    struct replay_state *s = ctx;
    if (rec->kind >> 5 != (int)s->r->signal || rec->lsn <= s->r->from_lsn ||
        (s->r->partition >= 0 && rec->partition != s->r->partition))
        return OK;
    s->res.records++;
    s->res.bytes += rec->payload.n;
    struct store_replayed out = { .lsn = rec->lsn,
                                  .epoch = rec->enc_epoch,
                                  .type = rec->kind & 31,
                                  .partition = rec->partition,
                                  .payload = rec->payload };
    return s->r->on_record(s->r->ctx, &out);
}

static void replay_hole(void *ctx, const char *path, uint64_t first, uint64_t last)
{
    struct replay_state *s = ctx;
    first = MAX(first, s->r->from_lsn + 1);
    if (first > last)
        return;
    s->res.holes++;
    s->res.hole_records += last - first + 1;
    stat_add(&stat_holes, (int64_t)(last - first + 1));
    LOG_ERROR("log records are missing or damaged; going on with what follows", "file", path, "first_lsn",
              LOG_I64(first), "last_lsn", LOG_I64(last));
    if (s->r->on_hole)
        s->r->on_hole(s->r->ctx, first, last);
}

static void replay_file(void *ctx, const char *path, uint64_t done)
{
    struct replay_state *s = ctx;
    (void)path;
    if (s->r->on_progress)
        s->r->on_progress(s->r->ctx, done, s->bytes_total);
}

/* The files to read: those of the time of open, without the first ones in which the signal has nothing new. */
static size_t replay_files(struct wal *w, const struct store_replay *r, struct wal_file **ret)
{
    mtx_lock(&w->mu);
    w->replays++; /* holds the files until replay_done() */
    size_t first = 0, n = 0;
    for (size_t i = 0; i < w->files.n && w->files.p[i].h.epoch <= w->replay_epoch_max; i++) {
        if (i > 0 && !w->files.p[i].header_bad && w->files.p[i].h.before[r->signal] <= r->from_lsn)
            first = i;
        n = i + 1;
    }
    struct wal_file *files = mem_alloc((n - first + 1) * sizeof(*files));
    if (n > first)
        memcpy(files, w->files.p + first, (n - first) * sizeof(*files));
    mtx_unlock(&w->mu);
    *ret = files;
    return n - first;
}

static void replay_done(struct wal *w)
{
    mtx_lock(&w->mu);
    w->replays--;
    cond_signal(&w->keep);
    mtx_unlock(&w->mu);
}

enum err wal_replay(struct wal *w, const struct store_replay *r, struct store_replay_result *ret,
                    struct err_text *reterr)
{
    AUTO_FREE struct wal_file *files = NULL;
    size_t n = replay_files(w, r, &files);
    struct replay_state s = { .r = r, .res = { .last_lsn = w->replay_lsn_max } };
    for (size_t i = 0; i < n; i++)
        s.bytes_total += files[i].bytes;
    if (n && !files[0].header_bad && files[0].h.before[r->signal] > r->from_lsn)
        replay_hole(&s, w->dir, r->from_lsn + 1, files[0].h.base_lsn); /* a whole file has gone */
    struct wal_walk k = { .fs = w->fs,
                          .dir = w->dir,
                          .seed = w->seed,
                          .files = files,
                          .n_files = n,
                          .end_lsn = w->replay_lsn_max,
                          .ctx = &s,
                          .on_record = replay_record,
                          .on_hole = replay_hole,
                          .on_file = replay_file };
    enum err e = wal_walk(&k, reterr);
    replay_done(w);
    replay_file(&s, "", s.bytes_total);
    *ret = s.res;
    return e;
}
