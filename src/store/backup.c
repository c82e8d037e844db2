/* See backup.h. A list of a backup is text:
 *
 *   vane backup 1
 *   name 20261121T140000123Z-2be650b6
 *   time_ms 1795269600000
 *   file HASH BYTES STAMP ok|damaged PATH       HASH: 32 hex digits. STAMP: hash in the trailer of a segment, or -
 *   missing PATH                                named by the MANIFEST and not readable
 *   end HASH                                    of everything before this line
 *
 * Paths are relative to the data directory and checked before use: a list may come from anywhere. */
#include "store/backup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/os.h"
#include "base/stats.h"
#include "store/store_int.h"

enum { BACKUP_FORMAT = 1, PIECE = 1 << 20, DEPTH_MAX = 8, LIST_BYTES_MAX = 1 << 30, HEX = 32 };
#define RESTORING "RESTORING" /* in a target that is not complete */

struct entry {
    hash128 hash;
    uint64_t bytes, stamp; /* 0: none */
    bool damaged, missing;
    str path;
};
typedef VEC(struct entry) entries;
struct list {
    str name;
    int64_t time_ms;
    entries v; /* in the arena that it was read into */
};

struct backup {
    struct fs *fs;
    char *dir;
    struct fs_file *lock;
    struct backup_hooks hooks;
    uint64_t done, total; /* bytes, of the step that runs */
    const char *what;
};

static void step_begin(struct backup *b, const char *what, uint64_t total)
{
    b->what = what;
    b->done = 0;
    b->total = total;
    if (b->hooks.progress)
        b->hooks.progress(b->hooks.ctx, what, 0, total);
}

static void step(struct backup *b, uint64_t bytes)
{
    b->done += bytes;
    if (b->hooks.progress)
        b->hooks.progress(b->hooks.ctx, b->what, b->done, MAX(b->done, b->total));
}

static void problem(struct backup *b, struct backup_result *res, const char *path, const char *text)
{
    res->problems++;
    if (b->hooks.problem)
        b->hooks.problem(b->hooks.ctx, path, text);
}

static enum err fail(struct err_text *reterr, enum err e, const char *path)
{
    return err_fail(reterr, e, "%s: %s", path, err_describe(e));
}

static const char *join(struct arena *a, const char *dir, str name)
{
    return arena_printf(a, "%s/" STR_FMT, dir, STR_ARG(name)).p;
}

/* ---- lists ---- */
static void put_hash(struct buf *b, hash128 h)
{
    buf_printf(b, "%016" PRIx64 "%016" PRIx64, h.hi, h.lo);
}

static bool take_hex(str s, uint64_t *ret)
{
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        unsigned d = c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 16;
        if (d == 16)
            return false;
        v = v << 4 | d;
    }
    *ret = v;
    return s.n == 16;
}

static bool take_hash(str s, hash128 *ret)
{
    return s.n == HEX && take_hex(str_take(s, 16), &ret->hi) && take_hex(str_skip(s, 16), &ret->lo);
}

static bool name_ok(str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-'))
            return false;
    }
    return s.n > 0 && s.n <= 64;
}

/* Relative, below the directory it is for, and printable. */
static bool path_ok(str path)
{
    if (path.n == 0 || path.n > 1000 || path.p[path.n - 1] == '/')
        return false;
    for (size_t i = 0; i < path.n; i++)
        if ((unsigned char)path.p[i] < ' ' || path.p[i] == 0x7f)
            return false;
    str rest = path, part;
    unsigned depth = 0;
    while (str_cut(&rest, '/', &part))
        if (part.n == 0 || str_eq(part, STR(".")) || str_eq(part, STR("..")) || ++depth > DEPTH_MAX + 2)
            return false;
    return true;
}

static void list_encode(struct buf *b, const struct list *l)
{
    buf_printf(b, "vane backup %d\nname " STR_FMT "\ntime_ms %" PRId64 "\n", BACKUP_FORMAT, STR_ARG(l->name),
               l->time_ms);
    for (size_t i = 0; i < l->v.n; i++) {
        const struct entry *e = &l->v.p[i];
        if (e->missing) {
            buf_printf(b, "missing " STR_FMT "\n", STR_ARG(e->path));
            continue;
        }
        buf_lit(b, "file ");
        put_hash(b, e->hash);
        buf_printf(b, " %" PRIu64 " ", e->bytes);
        if (e->stamp)
            buf_printf(b, "%016" PRIx64, e->stamp);
        else
            buf_u8(b, '-');
        buf_printf(b, " %s " STR_FMT "\n", e->damaged ? "damaged" : "ok", STR_ARG(e->path));
    }
    hash128 h = hash128_seed(buf_str(b), 0);
    buf_lit(b, "end ");
    put_hash(b, h);
    buf_u8(b, '\n');
}

static bool decode_file(str rest, struct entry *e)
{
    str hash, bytes, stamp, state;
    bool ok = str_cut(&rest, ' ', &hash) && take_hash(hash, &e->hash) && str_cut(&rest, ' ', &bytes) &&
              str_to_u64(bytes, &e->bytes) && str_cut(&rest, ' ', &stamp) &&
              (str_eq(stamp, STR("-")) || take_hex(stamp, &e->stamp)) && str_cut(&rest, ' ', &state);
    e->damaged = ok && str_eq(state, STR("damaged"));
    e->path = rest;
    return ok && (e->damaged || str_eq(state, STR("ok"))) && e->bytes < (uint64_t)1 << 60 && path_ok(rest);
}

static bool decode_lines(str text, struct arena *a, struct list *ret)
{
    str line, word;
    uint64_t ms;
    if (!str_cut(&text, '\n', &line) || !str_cut(&text, '\n', &line) || !str_has_prefix(line, STR("name ")))
        return false;
    ret->name = str_skip(line, 5);
    if (!name_ok(ret->name) || !str_cut(&text, '\n', &line) || !str_has_prefix(line, STR("time_ms ")) ||
        !str_to_u64(str_skip(line, 8), &ms) || ms > INT64_MAX)
        return false;
    ret->time_ms = (int64_t)ms;
    while (str_cut(&text, '\n', &line)) {
        struct entry e = { 0 };
        if (!str_cut(&line, ' ', &word))
            return false;
        if (str_eq(word, STR("missing"))) {
            e.missing = true;
            e.path = line;
            if (!path_ok(line))
                return false;
        } else if (!str_eq(word, STR("file")) || !decode_file(line, &e)) {
            return false;
        }
        avec_push(a, &ret->v, e);
    }
    return true;
}

/* text must live as long as the list. */
static enum err list_decode(str text, struct arena *a, struct list *ret, struct err_text *reterr)
{
    uint64_t number;
    str rest = text, first, head = STR("vane backup ");
    hash128 want;
    enum { END = 4 + HEX + 1 };
    *ret = (struct list){ 0 };
    if (!str_cut(&rest, '\n', &first) || !str_has_prefix(first, head) || !str_to_u64(str_skip(first, head.n), &number))
        return err_fail(reterr, ERR_CORRUPT, "is not a list of a backup");
    if (number > BACKUP_FORMAT)
        return err_fail(reterr, ERR_UNSUPPORTED, "was written by a newer vane (backup format %" PRIu64 ")", number);
    if (text.n < END)
        return err_fail(reterr, ERR_CORRUPT, "is cut short");
    str body = str_take(text, text.n - END), end = str_skip(text, text.n - END);
    if (!str_has_prefix(end, STR("end ")) || end.p[END - 1] != '\n' || !take_hash(str_n(end.p + 4, HEX), &want) ||
        !hash128_eq(want, hash128_seed(body, 0)))
        return err_fail(reterr, ERR_CORRUPT, "is damaged: its own hash does not match");
    return decode_lines(body, a, ret) ? OK : err_fail(reterr, ERR_CORRUPT, "cannot be read");
}

enum err backup_list_verify(str text, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct list l;
    return list_decode(text, &a, &l, reterr);
}

static enum err list_read(struct backup *b, str name, struct arena *a, struct list *ret, struct err_text *reterr)
{
    const char *path = arena_printf(a, "%s/backups/" STR_FMT, b->dir, STR_ARG(name)).p;
    str text;
    struct err_text why = { 0 };
    TRY(fs_read_file(b->fs, path, LIST_BYTES_MAX, a, &text, reterr));
    enum err e = list_decode(text, a, ret, &why);
    return e ? err_fail(reterr, e, "%s %s", path, why.msg) : OK;
}

static int cmp_name(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

/* Names begin with the time: sorted, the newest is the last. */
static enum err names_read(struct backup *b, struct arena *a, str **ret, size_t *ret_n, struct err_text *reterr)
{
    const char *dir = join(a, b->dir, STR("backups"));
    enum err e = fs_list(b->fs, dir, a, ret, ret_n);
    if (e)
        return fail(reterr, e, dir);
    size_t n = 0;
    for (size_t i = 0; i < *ret_n; i++)
        if (name_ok((*ret)[i])) /* not a .tmp */
            (*ret)[n++] = (*ret)[i];
    *ret_n = n;
    if (n > 1)
        qsort(*ret, n, sizeof(**ret), cmp_name);
    return OK;
}

/* ---- the folder ---- */
static enum err format_check(struct backup *b, bool *ret_exists, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    const char *path = join(&a, b->dir, STR("BACKUP"));
    str text, head = STR("vane backup ");
    uint64_t number;
    enum err e = fs_read_file(b->fs, path, 4096, &a, &text, reterr);
    *ret_exists = e == OK;
    if (e == ERR_NOT_FOUND)
        return OK;
    if (e)
        return e;
    str line = str_trim(text);
    if (!str_has_prefix(line, head) || !str_to_u64(str_skip(line, head.n), &number))
        return err_fail(reterr, ERR_CORRUPT, "%s is not vane's", path);
    if (number > BACKUP_FORMAT)
        return err_fail(reterr, ERR_UNSUPPORTED, "%s has backup format %" PRIu64 ", written by a newer vane", b->dir,
                        number);
    return OK;
}

/* A folder of our own: nothing in it yet but the lock, and what an attempt that was cut short has made. */
static enum err folder_make(struct backup *b, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str *names;
    size_t n;
    enum err e = fs_list(b->fs, b->dir, &a, &names, &n);
    for (size_t i = 0; i < n && !e; i++)
        if (!str_eq(names[i], STR("LOCK")) && !str_eq(names[i], STR("BACKUP.tmp")) &&
            !str_eq(names[i], STR("objects")) && !str_eq(names[i], STR("backups")))
            return err_fail(reterr, ERR_EXISTS, "%s holds " STR_FMT " and is no folder of backups", b->dir,
                            STR_ARG(names[i]));
    e = e ? e : fs_mkdir(b->fs, join(&a, b->dir, STR("objects")));
    e = e ? e : fs_mkdir(b->fs, join(&a, b->dir, STR("backups")));
    char text[32];
    int len = snprintf(text, sizeof(text), "vane backup %d\n", BACKUP_FORMAT);
    e = e ? e : fs_write_file_atomic(b->fs, join(&a, b->dir, STR("BACKUP")), str_n(text, (size_t)len));
    return e ? fail(reterr, e, b->dir) : OK;
}

enum err backup_open(struct fs *fs, const char *dir, bool create, const struct backup_hooks *hooks, struct backup **ret,
                     struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct backup *b = mem_zalloc(sizeof(*b));
    b->fs = fs;
    b->dir = mem_strdup(str_c(dir));
    if (hooks)
        b->hooks = *hooks;
    bool exists = false;
    str *names;
    size_t n;
    enum err e = create ? fs_mkdirs(fs, dir) : fs_list(fs, dir, &a, &names, &n);
    if (!e && create)
        e = fs_sync_parents(fs, dir);
    if (e)
        e = fail(reterr, e, dir);
    if (!e) {
        e = fs_lock(fs, join(&a, dir, STR("LOCK")), &b->lock);
        if (e)
            b->lock = NULL;
        if (e == ERR_BUSY)
            e = err_fail(reterr, e, "%s is in use by another process", dir);
        else if (e == ERR_PERMISSION && !create) /* a medium that can only be read */
            e = OK;
        else if (e)
            e = fail(reterr, e, dir);
    }
    e = e ? e : format_check(b, &exists, reterr);
    if (!e && !exists)
        e = create ? folder_make(b, reterr)
                   : err_fail(reterr, ERR_NOT_FOUND, "%s is not a folder of backups (it has no BACKUP file)", dir);
    if (e)
        backup_close(b);
    else
        *ret = b;
    return e;
}

void backup_close(struct backup *b)
{
    if (!b)
        return;
    fs_close(b->lock);
    mem_free(b->dir);
    mem_free(b);
}

/* ---- objects ---- */
static str object_path(struct backup *b, struct arena *a, hash128 h)
{
    return arena_printf(a, "%s/objects/%016" PRIx64 "%016" PRIx64, b->dir, h.hi, h.lo);
}

static bool object_there(struct backup *b, const struct entry *e)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_FS_FILE struct fs_file *f = NULL;
    uint64_t size;
    return fs_open(b->fs, object_path(b, &a, e->hash).p, FS_READ, &f) == OK && fs_size(f, &size) == OK &&
           size == e->bytes;
}

static bool is_zero(const char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Copy and hash. What reads as zeros becomes a hole. to NULL: hash only. */
static enum err pump(struct backup *b, struct fs_file *from, struct fs_file *to, hash128 *ret_hash, uint64_t *ret_bytes)
{
    AUTO_FREE char *p = mem_alloc(PIECE);
    struct hash128_state *h = hash128_begin();
    uint64_t off = 0;
    enum err e = OK;
    for (size_t n = PIECE; n == PIECE && !e; off += n) {
        e = fs_pread(from, p, PIECE, off, &n);
        if (e)
            break;
        hash128_add(h, str_n(p, n));
        if (to && !is_zero(p, n))
            e = fs_pwrite(to, p, n, off);
        step(b, n);
    }
    *ret_hash = hash128_end(h);
    *ret_bytes = off;
    if (!e && to) {
        e = fs_truncate(to, off);
        e = e ? e : fs_datasync(to);
    }
    return e;
}

/* ---- making one ---- */
struct making {
    struct backup *b;
    const char *source;
    struct arena *a;
    struct list l;
    entries before; /* segments of all earlier backups, sorted by path */
    struct backup_result *res;
    struct err_text *reterr;
};

static int cmp_path(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    int c = str_cmp(x->path, y->path);
    return c ? c : (x->stamp > y->stamp) - (x->stamp < y->stamp);
}

static enum err before_read(struct making *m)
{
    str *names;
    size_t n;
    TRY(names_read(m->b, m->a, &names, &n, m->reterr));
    for (size_t i = 0; i < n; i++) {
        struct list l;
        struct err_text why;
        enum err e = list_read(m->b, names[i], m->a, &l, &why);
        if (e == ERR_UNSUPPORTED)
            return err_fail(m->reterr, e, "%s", why.msg);
        for (size_t k = 0; k < l.v.n && !e; k++) /* a damaged list helps nobody */
            if (l.v.p[k].stamp)
                avec_push(m->a, &m->before, l.v.p[k]);
    }
    if (m->before.n > 1)
        qsort(m->before.p, m->before.n, sizeof(*m->before.p), cmp_path);
    return OK;
}

static const struct entry *before_find(const struct making *m, const struct entry *e)
{
    if (!m->before.n || !e->stamp)
        return NULL;
    const struct entry *x = bsearch(e, m->before.p, m->before.n, sizeof(*x), cmp_path);
    return x && x->bytes == e->bytes && object_there(m->b, x) ? x : NULL;
}

/* Size of a file of the source, and the hash in its trailer if it is a segment. */
static enum err look(struct making *m, struct entry *e, bool segment)
{
    AUTO_FS_FILE struct fs_file *f = NULL;
    TRY(fs_open(m->b->fs, join(m->a, m->source, e->path), FS_READ, &f));
    TRY(fs_size(f, &e->bytes));
    struct segment_trailer t;
    size_t n;
    if (!segment || e->bytes < sizeof(t))
        return OK;
    TRY(fs_pread(f, &t, sizeof(t), e->bytes - sizeof(t), &n));
    if (n == sizeof(t) && memcmp(t.magic, segment_end_magic, sizeof(t.magic)) == 0)
        e->stamp = t.hash;
    return OK;
}

static void note_missing(struct making *m, struct entry *e, enum err why)
{
    e->missing = true;
    problem(m->b, m->res, join(m->a, m->source, e->path), err_describe(why));
}

static enum err note_segments(struct making *m, const struct manifest *man)
{
    for (int s = 1; s < STORE_SIGNAL_MAX; s++) {
        vec_each (struct segment_meta, meta, &man->sig[s].segments) {
            AUTO_FREE char *path = segment_path_make("", (enum store_signal)s, meta->id, "vseg");
            struct entry e = { .path = arena_str(m->a, str_c(path[0] == '/' ? path + 1 : path)) };
            enum err r = look(m, &e, true);
            if (r == ERR_LIMIT || r == ERR_PERMISSION)
                return fail(m->reterr, r, join(m->a, m->source, e.path));
            if (r)
                note_missing(m, &e, r);
            avec_push(m->a, &m->l.v, e);
        }
    }
    return OK;
}

/* Everything else of the directory. */
static enum err note_rest(struct making *m, str below, unsigned depth)
{
    static const char *const skip[] = { "LOCK", "seg", "snapshots" };
    const char *dir = below.n ? join(m->a, m->source, below) : m->source;
    str *names, *inner;
    size_t n, n_inner;
    enum err e = fs_list(m->b->fs, dir, m->a, &names, &n);
    if (e)
        return fail(m->reterr, e, dir);
    if (n > 1)
        qsort(names, n, sizeof(*names), cmp_name);
    for (size_t i = 0; i < n; i++) {
        bool skipped = str_has_suffix(names[i], STR(".tmp")) || str_has_suffix(names[i], STR(".spare"));
        for (size_t k = 0; k < ARRAY_LEN(skip) && !below.n; k++)
            skipped |= str_eq(names[i], str_c(skip[k]));
        if (skipped)
            continue;
        struct entry x = { .path = below.n ? arena_printf(m->a, STR_FMT "/" STR_FMT, STR_ARG(below), STR_ARG(names[i]))
                                           : names[i] };
        const char *path = join(m->a, m->source, x.path);
        if (!path_ok(x.path))
            return err_fail(m->reterr, ERR_INVALID, "%s has a name that cannot be backed up", path);
        if (fs_list(m->b->fs, path, m->a, &inner, &n_inner) == OK) {
            if (depth == DEPTH_MAX)
                return err_fail(m->reterr, ERR_LIMIT, "%s lies more than %d directories deep", path, DEPTH_MAX);
            TRY(note_rest(m, x.path, depth + 1));
            continue;
        }
        e = look(m, &x, false);
        if (e)
            return fail(m->reterr, e, path);
        avec_push(m->a, &m->l.v, x);
    }
    return OK;
}

/* Does the object, which has just been written, hold the segment that its trailer promises? */
static bool segment_sound(struct backup *b, const char *path, struct err_text *why)
{
    struct segment *g;
    if (segment_open(b->fs, path, &g, why))
        return false;
    bool sound = segment_hash(g->map) == g->hash && !segment_unreadable(g);
    if (!sound)
        IGNORE_ERR(err_fail(why, ERR_CORRUPT, "the hash of the file does not match"));
    segment_unref(g);
    return sound;
}

static enum err copy_new(struct making *m, struct entry *e, bool segment, const char *tmp)
{
    struct backup *b = m->b;
    const char *from = join(m->a, m->source, e->path);
    {
        AUTO_FS_FILE struct fs_file *in = NULL;
        AUTO_FS_FILE struct fs_file *out = NULL;
        uint64_t bytes;
        enum err r = fs_open(b->fs, from, FS_READ, &in);
        if (r)
            return fail(m->reterr, r, from);
        r = fs_open(b->fs, tmp, FS_CREATE, &out);
        if (r)
            return fail(m->reterr, r, tmp);
        r = pump(b, in, out, &e->hash, &bytes);
        if (r == ERR_IO && segment) { /* the disk of the source, or ours? */
            char probe[1];
            size_t n;
            for (uint64_t off = 0; off < e->bytes && r != ERR_CORRUPT; off += 4096)
                if (fs_pread(in, probe, 1, off, &n))
                    r = ERR_CORRUPT;
            if (r == ERR_CORRUPT) {
                note_missing(m, e, ERR_IO);
                return OK;
            }
        }
        if (r)
            return err_fail(m->reterr, r, "%s -> %s: %s", from, b->dir, err_describe(r));
        e->bytes = bytes;
    }
    struct err_text why = { 0 };
    if (segment && !segment_sound(b, tmp, &why)) {
        e->damaged = true;
        problem(b, m->res, from, why.msg);
    }
    if (object_there(b, e)) /* the same bytes as something else */
        return OK;
    enum err r = fs_rename(b->fs, tmp, object_path(b, m->a, e->hash).p);
    if (r)
        return fail(m->reterr, r, tmp);
    m->res->copied_files++;
    m->res->copied_bytes += e->bytes;
    return OK;
}

static enum err take(struct making *m, struct entry *e)
{
    AUTO_ARENA struct arena one; /* of one file */
    arena_init(&one, 0);
    struct making mine = *m;
    mine.a = &one;
    bool segment = str_has_prefix(e->path, STR("seg/"));
    const struct entry *have = before_find(m, e);
    if (e->missing)
        return OK;
    if (have) {
        e->hash = have->hash;
        e->damaged = have->damaged;
        if (e->damaged)
            problem(m->b, m->res, join(&one, m->source, e->path), "it was damaged when it was copied earlier");
        step(m->b, e->bytes);
        return OK;
    }
    const char *tmp = arena_printf(&one, "%s/objects/%016" PRIx64 ".tmp", m->b->dir, os_random_u64()).p;
    enum err r = copy_new(&mine, e, segment, tmp);
    IGNORE_ERR(fs_unlink(m->b->fs, tmp)); /* where it was not renamed */
    return r;
}

static enum err source_format(struct making *m)
{
    str text, head = STR("vane store ");
    uint64_t number;
    const char *path = join(m->a, m->source, STR("FORMAT"));
    enum err e = fs_read_file(m->b->fs, path, 4096, m->a, &text, m->reterr);
    if (e == ERR_NOT_FOUND)
        return err_fail(m->reterr, e, "%s is not a data directory of vane (it has no FORMAT file)", m->source);
    TRY(e);
    str line = str_trim(text);
    if (!str_has_prefix(line, head) || !str_to_u64(str_skip(line, head.n), &number))
        return err_fail(m->reterr, ERR_CORRUPT, "%s is not a FORMAT file of vane", path);
    if (number > STORE_FORMAT)
        return err_fail(m->reterr, ERR_UNSUPPORTED, "%s has format %" PRIu64 ", written by a newer vane", m->source,
                        number);
    return OK;
}

static enum err make(struct making *m)
{
    struct backup *b = m->b;
    TRY(source_format(m));
    TRY(before_read(m));
    struct manifest man;
    TRY(manifest_load(&man, b->fs, m->source, m->reterr));
    enum err e = note_segments(m, &man);
    manifest_deinit(&man);
    TRY(e);
    TRY(note_rest(m, STR(""), 0));
    uint64_t total = 0;
    for (size_t i = 0; i < m->l.v.n; i++)
        total += m->l.v.p[i].bytes;
    step_begin(b, "copying", total);
    for (size_t i = 0; i < m->l.v.n; i++) {
        TRY(take(m, &m->l.v.p[i]));
        m->res->files += !m->l.v.p[i].missing;
        m->res->bytes += m->l.v.p[i].missing ? 0 : m->l.v.p[i].bytes;
    }
    const char *objects = join(m->a, b->dir, STR("objects"));
    e = fs_sync_dir(b->fs, objects);
    if (e)
        return fail(m->reterr, e, objects);
    AUTO_BUF struct buf text;
    buf_init(&text, 0);
    list_encode(&text, &m->l);
    const char *path = arena_printf(m->a, "%s/backups/" STR_FMT, b->dir, STR_ARG(m->l.name)).p;
    e = fs_write_file_atomic(b->fs, path, buf_str(&text));
    return e ? fail(m->reterr, e, path) : OK;
}

enum err backup_make(struct backup *b, const char *source, const char *name, int64_t now_ms, struct backup_result *ret,
                     struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_FS_FILE struct fs_file *lock = NULL;
    str *names;
    size_t n;
    *ret = (struct backup_result){ 0 };
    if (!name_ok(str_c(name)))
        return err_fail(reterr, ERR_INVALID, "'%s' is no name for a backup", name);
    enum err e = fs_list(b->fs, source, &a, &names, &n);
    if (e)
        return fail(reterr, e, source);
    e = fs_lock(b->fs, join(&a, source, STR("LOCK")), &lock);
    if (e)
        lock = NULL;
    if (e == ERR_BUSY)
        return err_fail(reterr, e, "a process has the data directory %s open", source);
    if (e && e != ERR_PERMISSION)
        return fail(reterr, e, source);
    struct making m = { .b = b, .source = source, .a = &a, .res = ret, .reterr = reterr };
    m.l.name = str_c(name);
    m.l.time_ms = MAX(now_ms, 0);
    TRY(make(&m));
    if (ret->problems)
        return err_fail(reterr, ERR_CORRUPT, "the backup was made, but %" PRIu64 " files of %s are damaged or missing",
                        ret->problems, source);
    return OK;
}

/* ---- what there is ---- */
static void sum(const struct list *l, uint64_t *files, uint64_t *bytes, uint64_t *problems)
{
    *files = *bytes = *problems = 0;
    for (size_t i = 0; i < l->v.n; i++) {
        *files += !l->v.p[i].missing;
        *bytes += l->v.p[i].bytes;
        *problems += l->v.p[i].missing || l->v.p[i].damaged;
    }
}

enum err backup_list(struct backup *b, struct arena *a, struct backup_info **ret, size_t *ret_n,
                     struct err_text *reterr)
{
    str *names;
    size_t n;
    TRY(names_read(b, a, &names, &n, reterr));
    *ret = arena_zarray(a, struct backup_info, n + 1);
    *ret_n = n;
    for (size_t i = 0; i < n; i++) {
        AUTO_ARENA struct arena one;
        arena_init(&one, 0);
        struct list l;
        struct err_text why;
        struct backup_info *x = &(*ret)[i];
        x->name = names[i];
        if (list_read(b, names[i], &one, &l, &why))
            continue;
        x->readable = true;
        x->time_ms = l.time_ms;
        sum(&l, &x->files, &x->bytes, &x->problems);
    }
    return OK;
}

/* The list of a backup by name, or of the newest. */
static enum err find(struct backup *b, const char *name, struct arena *a, struct list *ret, struct err_text *reterr)
{
    str *names;
    size_t n, i = 0;
    TRY(names_read(b, a, &names, &n, reterr));
    if (n == 0)
        return err_fail(reterr, ERR_NOT_FOUND, "%s holds no backup", b->dir);
    if (!name)
        i = n - 1;
    else
        while (i < n && !str_eq(names[i], str_c(name)))
            i++;
    if (i == n)
        return err_fail(reterr, ERR_NOT_FOUND, "%s holds no backup '%s'", b->dir, name);
    return list_read(b, names[i], a, ret, reterr);
}

/* ---- verifying ---- */
static int cmp_hash(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->hash.hi != y->hash.hi)
        return x->hash.hi < y->hash.hi ? -1 : 1;
    return (x->hash.lo > y->hash.lo) - (x->hash.lo < y->hash.lo);
}

static void verify_object(struct backup *b, const struct entry *e, struct backup_result *res)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_FS_FILE struct fs_file *f = NULL;
    hash128 h = { 0 };
    uint64_t bytes = 0;
    str path = object_path(b, &a, e->hash);
    enum err r = fs_open(b->fs, path.p, FS_READ, &f);
    r = r ? r : pump(b, f, NULL, &h, &bytes);
    res->files++;
    res->bytes += bytes;
    if (r)
        problem(b, res, path.p, err_describe(r));
    else if (bytes != e->bytes || !hash128_eq(h, e->hash))
        problem(b, res, path.p, "its bytes are not the ones that were copied");
}

enum err backup_verify(struct backup *b, const char *name, struct backup_result *ret, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    entries all = { 0 };
    str *names;
    size_t n;
    uint64_t total = 0;
    *ret = (struct backup_result){ 0 };
    TRY(names_read(b, &a, &names, &n, reterr));
    if (!n || name) {
        struct list l;
        TRY(find(b, name, &a, &l, reterr));
        all = l.v;
    }
    for (size_t i = 0; i < n && !name; i++) {
        struct list l;
        struct err_text why;
        enum err e = list_read(b, names[i], &a, &l, &why);
        if (e == ERR_UNSUPPORTED)
            return err_fail(reterr, e, "%s", why.msg);
        if (e)
            problem(b, ret, arena_printf(&a, "%s/backups/" STR_FMT, b->dir, STR_ARG(names[i])).p, why.msg);
        for (size_t k = 0; k < l.v.n && !e; k++)
            avec_push(&a, &all, l.v.p[k]);
    }
    if (all.n > 1)
        qsort(all.p, all.n, sizeof(*all.p), cmp_hash);
    for (size_t i = 0; i < all.n; i++)
        total += all.p[i].missing || (i && cmp_hash(&all.p[i], &all.p[i - 1]) == 0) ? 0 : all.p[i].bytes;
    step_begin(b, "verifying", total);
    for (size_t i = 0; i < all.n; i++)
        if (!all.p[i].missing && !(i && cmp_hash(&all.p[i], &all.p[i - 1]) == 0 && !all.p[i - 1].missing))
            verify_object(b, &all.p[i], ret);
    return ret->problems
               ? err_fail(reterr, ERR_CORRUPT, "%" PRIu64 " files of the backups in %s are damaged or missing",
                          ret->problems, b->dir)
               : OK;
}

/* ---- thinning out ---- */
static enum err objects_drop(struct backup *b, const entries *needed, struct arena *a, uint64_t *ret_bytes,
                             struct err_text *reterr)
{
    const char *dir = join(a, b->dir, STR("objects"));
    str *names;
    size_t n;
    enum err e = fs_list(b->fs, dir, a, &names, &n);
    for (size_t i = 0; i < n && !e; i++) {
        struct entry key = { 0 };
        bool tmp = str_has_suffix(names[i], STR(".tmp"));
        if (!tmp && !take_hash(names[i], &key.hash))
            continue; /* not ours */
        if (!tmp && needed->n && bsearch(&key, needed->p, needed->n, sizeof(key), cmp_hash))
            continue;
        const char *path = join(a, dir, names[i]);
        uint64_t size = 0;
        {
            AUTO_FS_FILE struct fs_file *f = NULL;
            if (fs_open(b->fs, path, FS_READ, &f) == OK && fs_size(f, &size))
                size = 0;
        }
        e = fs_unlink(b->fs, path);
        *ret_bytes += e ? 0 : size;
    }
    e = e ? e : fs_sync_dir(b->fs, dir);
    return e ? fail(reterr, e, dir) : OK;
}

enum err backup_thin(struct backup *b, size_t keep, uint64_t *ret_backups, uint64_t *ret_bytes, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str *names;
    size_t n;
    entries needed = { 0 };
    *ret_backups = *ret_bytes = 0;
    ASSERT(keep > 0);
    TRY(names_read(b, &a, &names, &n, reterr));
    size_t gone = n > keep ? n - keep : 0;
    for (size_t i = gone; i < n; i++) {
        struct list l;
        TRY(list_read(b, names[i], &a, &l, reterr));
        for (size_t k = 0; k < l.v.n; k++)
            if (!l.v.p[k].missing)
                avec_push(&a, &needed, l.v.p[k]);
    }
    if (needed.n > 1)
        qsort(needed.p, needed.n, sizeof(*needed.p), cmp_hash);
    const char *dir = join(&a, b->dir, STR("backups"));
    enum err e = OK;
    for (size_t i = 0; i < gone && !e; i++) {
        e = fs_unlink(b->fs, join(&a, dir, names[i]));
        *ret_backups += e == OK;
    }
    e = e ? e : fs_sync_dir(b->fs, dir); /* before the objects go */
    return e ? fail(reterr, e, dir) : objects_drop(b, &needed, &a, ret_bytes, reterr);
}

/* ---- restoring ---- */
static enum err target_prepare(struct backup *b, const char *target, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str *names;
    size_t n = 0;
    enum err e = fs_mkdirs(b->fs, target);
    e = e ? e : fs_list(b->fs, target, &a, &names, &n);
    bool ours = false, live = false; /* live: somebody has opened it after all */
    for (size_t i = 0; i < n && !e; i++) {
        ours |= str_eq(names[i], STR(RESTORING));
        live |= str_eq(names[i], STR("MANIFEST"));
    }
    if (!e && n && (!ours || live))
        return err_fail(reterr, ERR_EXISTS, "%s is not empty: restore into a new folder", target);
    for (size_t i = 0; i < n && !e; i++) /* what a restore that was cut short has left */
        if (!str_eq(names[i], STR(RESTORING)))
            e = fs_remove_tree(b->fs, join(&a, target, names[i]));
    e = e ? e : fs_write_file_atomic(b->fs, join(&a, target, STR(RESTORING)), STR("vane restore was cut short here\n"));
    e = e ? e : fs_mkdir(b->fs, join(&a, target, STR("seg"))); /* without a MANIFEST it is no data directory now */
    e = e ? e : fs_mkdir(b->fs, join(&a, target, STR("wal")));
    e = e ? e : fs_sync_dir(b->fs, target);
    e = e ? e : fs_sync_parents(b->fs, target);
    return e ? fail(reterr, e, target) : OK;
}

static enum err parents_make(struct backup *b, struct arena *a, const char *target, str path, bool sync)
{
    for (size_t i = 0; i < path.n; i++) {
        if (path.p[i] != '/')
            continue;
        const char *dir = join(a, target, str_take(path, i));
        TRY(sync ? fs_sync_dir(b->fs, dir) : fs_mkdir(b->fs, dir));
    }
    return OK;
}

/* A damaged object: told, its file is left out. Errors are the target's. */
static enum err put_back(struct backup *b, struct entry *e, const char *target, struct backup_result *res,
                         struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_FS_FILE struct fs_file *in = NULL;
    AUTO_FS_FILE struct fs_file *out = NULL;
    bool last = str_eq(e->path, STR("MANIFEST")) || str_eq(e->path, STR("FORMAT"));
    const char *object = object_path(b, &a, e->hash).p;
    const char *to = arena_printf(&a, "%s/" STR_FMT "%s", target, STR_ARG(e->path), last ? ".restored" : "").p;
    hash128 h;
    uint64_t bytes, size = 0;
    enum err r = fs_open(b->fs, object, FS_READ, &in);
    r = r ? r : fs_size(in, &size);
    if (!r && size != e->bytes)
        r = ERR_CORRUPT;
    if (r) {
        e->missing = true;
        problem(b, res, object, r == ERR_CORRUPT ? "its bytes are not the ones that were copied" : err_describe(r));
        step(b, e->bytes);
        return OK;
    }
    r = parents_make(b, &a, target, e->path, false);
    r = r ? r : fs_open(b->fs, to, FS_CREATE_NEW, &out);
    if (r)
        return fail(reterr, r, to);
    r = pump(b, in, out, &h, &bytes);
    if (r)
        return err_fail(reterr, r, "%s -> %s: %s", object, to, err_describe(r));
    if (hash128_eq(h, e->hash))
        return OK;
    e->missing = true;
    problem(b, res, object, "its bytes are not the ones that were copied");
    r = fs_unlink(b->fs, to);
    return r ? fail(reterr, r, to) : OK;
}

/* What was written is read back. */
static enum err check_back(struct backup *b, const struct entry *e, const char *target, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_FS_FILE struct fs_file *f = NULL;
    bool last = str_eq(e->path, STR("MANIFEST")) || str_eq(e->path, STR("FORMAT"));
    const char *path = arena_printf(&a, "%s/" STR_FMT "%s", target, STR_ARG(e->path), last ? ".restored" : "").p;
    hash128 h;
    uint64_t bytes;
    enum err r = fs_open(b->fs, path, FS_READ, &f);
    r = r ? r : pump(b, f, NULL, &h, &bytes);
    if (r)
        return fail(reterr, r, path);
    if (bytes != e->bytes || !hash128_eq(h, e->hash))
        return err_fail(reterr, ERR_IO, "%s: the disk gives back other bytes than were written", path);
    r = parents_make(b, &a, target, e->path, true);
    return r ? fail(reterr, r, path) : OK;
}

/* The marker goes before the MANIFEST comes: with both, a later restore would take live data for leftovers. */
static enum err finish(struct backup *b, const char *target, struct err_text *reterr)
{
    static const char *const names[] = { "FORMAT", "MANIFEST" };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    enum err e = fs_sync_dir(b->fs, join(&a, target, STR("seg")));
    e = e ? e : fs_unlink(b->fs, join(&a, target, STR(RESTORING)));
    e = e ? e : fs_sync_dir(b->fs, target);
    for (size_t i = 0; i < ARRAY_LEN(names) && !e; i++) {
        const char *to = join(&a, target, str_c(names[i]));
        e = fs_rename(b->fs, arena_printf(&a, "%s.restored", to).p, to);
    }
    e = e ? e : fs_sync_dir(b->fs, target);
    return e ? fail(reterr, e, target) : OK;
}

static enum err restore(struct backup *b, struct list *l, const char *target, struct backup_result *res,
                        struct err_text *reterr)
{
    uint64_t problems;
    bool manifest = false;
    sum(l, &res->files, &res->bytes, &problems);
    for (size_t i = 0; i < l->v.n; i++) {
        const struct entry *e = &l->v.p[i];
        manifest |= str_eq(e->path, STR("MANIFEST"));
        if (e->missing || e->damaged) {
            AUTO_ARENA struct arena a;
            arena_init(&a, 0);
            problem(b, res, arena_cstr(&a, e->path),
                    e->missing ? "was missing when the backup was made" : "was damaged when the backup was made");
        }
    }
    if (!manifest)
        return err_fail(reterr, ERR_CORRUPT, "backup " STR_FMT " has no MANIFEST", STR_ARG(l->name));
    step_begin(b, "restoring", res->bytes);
    for (size_t i = 0; i < l->v.n; i++)
        if (!l->v.p[i].missing)
            TRY(put_back(b, &l->v.p[i], target, res, reterr));
    step_begin(b, "verifying", res->bytes);
    for (size_t i = 0; i < l->v.n; i++) {
        const struct entry *e = &l->v.p[i];
        if (!e->missing)
            TRY(check_back(b, e, target, reterr));
        else if (str_eq(e->path, STR("MANIFEST")) || str_eq(e->path, STR("FORMAT")))
            return err_fail(reterr, ERR_CORRUPT, "the " STR_FMT " of this backup is damaged: try an earlier backup",
                            STR_ARG(e->path));
    }
    return finish(b, target, reterr);
}

enum err backup_restore(struct backup *b, const char *name, const char *target, struct backup_result *ret,
                        struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct list l;
    *ret = (struct backup_result){ 0 };
    TRY(find(b, name, &a, &l, reterr));
    TRY(target_prepare(b, target, reterr));
    TRY(restore(b, &l, target, ret, reterr));
    if (ret->problems)
        return err_fail(reterr, ERR_CORRUPT,
                        "%s was restored, but %" PRIu64
                        " files are damaged or missing: answers will say that they are incomplete",
                        target, ret->problems);
    return OK;
}
