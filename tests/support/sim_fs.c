/* See sim_fs.h. A node is a file's content; a directory is only a prefix of paths. The durable state of names is
 * the name table as of the last sync of each directory; operations since then are kept in order. */
#include "sim_fs.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/os.h"
#include "base/vec.h"

enum { SECTOR = 512 };

struct bytes {
    char *p;
    size_t n, cap;
};
struct node {
    unsigned refs; /* names in either table, pending operations, open files */
    struct bytes cur, dur;
    uint64_t dirty_from, dirty_to; /* not synced yet */
    bool locked;
};
struct name {
    char *path;
    struct node *node; /* NULL: a directory */
};
typedef VEC(struct name) names;
enum op_kind { OP_CREATE, OP_RENAME, OP_UNLINK };
struct op {
    enum op_kind kind;
    char *path, *to;
    struct node *node;
};
struct sim_fs {
    struct fs fs;
    pthread_mutex_t mu;
    struct rng rng;
    names now, durable;
    VEC(struct op) pending;
    uint64_t ops, cut_at, fail_from, fail_to, space, used;
    bool cut, failed;
    unsigned open_files;
};
struct fs_file {
    struct fs_file_base base;
    struct node *node;
    bool lock;
};

static struct sim_fs *sim_of(struct fs *fs)
{
    return CONTAINER_OF(fs, struct sim_fs, fs);
}
static struct sim_fs *sim_of_file(struct fs_file *f)
{
    return sim_of(f->base.fs);
}

/* ---- nodes ---- */
static void bytes_resize(struct bytes *b, size_t n)
{
    if (n > b->cap) {
        b->cap = MAX(n, b->cap * 2);
        b->p = mem_realloc(b->p, b->cap);
    }
    if (n > b->n)
        memset(b->p + b->n, 0, n - b->n);
    b->n = n;
}

static struct node *node_ref(struct node *n)
{
    if (n)
        n->refs++;
    return n;
}

static void node_unref(struct sim_fs *s, struct node *n)
{
    if (!n || --n->refs)
        return;
    s->used -= n->cur.n;
    mem_free(n->cur.p);
    mem_free(n->dur.p);
    mem_free(n);
}

static void node_dirty(struct node *n, uint64_t from, uint64_t to)
{
    if (n->dirty_to == 0 || from < n->dirty_from)
        n->dirty_from = from;
    n->dirty_to = MAX(n->dirty_to, to);
}

static void node_sync(struct node *n)
{
    bytes_resize(&n->dur, n->cur.n);
    uint64_t to = MIN(n->dirty_to, (uint64_t)n->cur.n);
    if (n->dirty_from < to)
        memcpy(n->dur.p + n->dirty_from, n->cur.p + n->dirty_from, to - n->dirty_from);
    n->dirty_from = n->dirty_to = 0;
}

/* What is on the platters after a power cut. */
static void node_cut(struct sim_fs *s, struct node *n)
{
    uint64_t mode = rng_below(&s->rng, 4); /* 0: nothing new, 1: all of it, else by sector */
    size_t size = n->dur.n != n->cur.n && mode && (mode == 1 || rng_below(&s->rng, 2)) ? n->cur.n : n->dur.n;
    bytes_resize(&n->dur, size);
    for (size_t at = 0; at < size && mode; at += SECTOR) {
        size_t len = MIN((size_t)SECTOR, size - at), have = at < n->cur.n ? MIN(len, n->cur.n - at) : 0;
        if (mode == 1 || rng_below(&s->rng, 2))
            memcpy(n->dur.p + at, n->cur.p + at, have);
    }
    s->used -= n->cur.n;
    bytes_resize(&n->cur, size);
    if (size)
        memcpy(n->cur.p, n->dur.p, size);
    s->used += size;
    n->dirty_from = n->dirty_to = 0;
    n->locked = false;
}

/* ---- names ---- */
static struct name *name_find(names *t, const char *path)
{
    vec_each (struct name, e, t)
        if (strcmp(e->path, path) == 0)
            return e;
    return NULL;
}

static void name_set(struct sim_fs *s, names *t, const char *path, struct node *n)
{
    struct name *e = name_find(t, path);
    node_ref(n);
    if (e) {
        node_unref(s, e->node);
        e->node = n;
        return;
    }
    struct name fresh = { mem_strdup(str_c(path)), n };
    vec_push(t, fresh);
}

static void name_drop(struct sim_fs *s, names *t, const char *path)
{
    struct name *e = name_find(t, path);
    if (!e)
        return;
    node_unref(s, e->node);
    mem_free(e->path);
    vec_remove_swap(t, e - t->p);
}

static void names_free(struct sim_fs *s, names *t)
{
    while (t->n)
        name_drop(s, t, vec_last(t).path);
    vec_free(t);
}

static bool in_dir(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && path[n] == '/' && !strchr(path + n + 1, '/');
}

static bool same_dir(const char *a, const char *b)
{
    size_t n = (size_t)(strrchr(a, '/') - a);
    return strncmp(a, b, n + 1) == 0 && !strchr(b + n + 1, '/');
}

static void op_note(struct sim_fs *s, enum op_kind kind, const char *path, const char *to, struct node *n)
{
    struct op o = { kind, mem_strdup(str_c(path)), to ? mem_strdup(str_c(to)) : NULL, node_ref(n) };
    vec_push(&s->pending, o);
}

static void op_free(struct sim_fs *s, struct op *o)
{
    node_unref(s, o->node);
    mem_free(o->path);
    mem_free(o->to);
}

static void op_apply(struct sim_fs *s, names *t, const struct op *o)
{
    if (o->kind == OP_CREATE)
        name_set(s, t, o->path, o->node);
    else if (o->kind == OP_UNLINK)
        name_drop(s, t, o->path);
    else {
        name_set(s, t, o->to, o->node);
        name_drop(s, t, o->path);
    }
}

/* ---- failures ---- */
enum fate { FATE_GOOD, FATE_HALF, FATE_DEAD };

/* Counts an operation; what becomes of it. */
static enum fate op_fate(struct sim_fs *s)
{
    if (s->cut)
        return FATE_DEAD;
    s->ops++;
    if (s->cut_at && s->ops >= s->cut_at) {
        s->cut = true;
        return FATE_HALF;
    }
    if (s->ops >= s->fail_from && s->ops < s->fail_to) {
        s->failed = true;
        return FATE_HALF;
    }
    return FATE_GOOD;
}

/* Room for a file to grow to size; ERR_NO_SPACE. */
static enum err grow(struct sim_fs *s, struct node *n, uint64_t size)
{
    if (size <= n->cur.n)
        return OK;
    uint64_t more = size - n->cur.n;
    if (s->space && s->used + more > s->space)
        return ERR_NO_SPACE;
    s->used += more;
    bytes_resize(&n->cur, (size_t)size);
    return OK;
}

/* ---- operations ---- */
static enum err sim_open(struct fs *fs, const char *path, enum fs_mode mode, struct fs_file **ret)
{
    struct sim_fs *s = sim_of(fs);
    enum err e = OK;
    pthread_mutex_lock(&s->mu);
    struct name *name = name_find(&s->now, path);
    struct node *n = name ? name->node : NULL;
    bool create = mode == FS_CREATE || mode == FS_CREATE_NEW;
    if (s->cut)
        e = ERR_IO;
    else if (name && !n)
        e = ERR_INVALID; /* a directory */
    else if (!n && !create)
        e = ERR_NOT_FOUND;
    else if (n && mode == FS_CREATE_NEW)
        e = ERR_EXISTS;
    else if (create && op_fate(s) != FATE_GOOD)
        e = ERR_IO;
    else if (!n) {
        n = mem_zalloc(sizeof(*n));
        name_set(s, &s->now, path, n);
        op_note(s, OP_CREATE, path, NULL, n);
    } else if (mode == FS_CREATE) {
        s->used -= n->cur.n;
        node_dirty(n, 0, n->cur.n);
        n->cur.n = 0;
    }
    if (e == OK) {
        struct fs_file *f = mem_zalloc(sizeof(*f));
        f->base.fs = fs;
        f->node = node_ref(n);
        s->open_files++;
        *ret = f;
    }
    pthread_mutex_unlock(&s->mu);
    return e;
}

static void sim_close(struct fs_file *f)
{
    struct sim_fs *s = sim_of_file(f);
    pthread_mutex_lock(&s->mu);
    if (f->lock)
        f->node->locked = false;
    node_unref(s, f->node);
    s->open_files--;
    pthread_mutex_unlock(&s->mu);
    mem_free(f);
}

static enum err sim_pread(struct fs_file *f, void *p, size_t n, uint64_t off, size_t *ret_n)
{
    struct sim_fs *s = sim_of_file(f);
    pthread_mutex_lock(&s->mu);
    enum err e = s->cut ? ERR_IO : OK;
    struct bytes *b = &f->node->cur;
    size_t have = off < b->n ? MIN(n, b->n - (size_t)off) : 0;
    if (e == OK && have)
        memcpy(p, b->p + off, have);
    pthread_mutex_unlock(&s->mu);
    if (e == OK)
        *ret_n = have;
    return e;
}

static void put(struct node *n, const char *p, size_t len, uint64_t off)
{
    if (len == 0)
        return;
    memcpy(n->cur.p + off, p, len);
    node_dirty(n, off, off + len);
}

static enum err sim_pwritev(struct fs_file *f, const struct iovec *iov, int n_iov, uint64_t off)
{
    struct sim_fs *s = sim_of_file(f);
    pthread_mutex_lock(&s->mu);
    enum fate fate = op_fate(s);
    enum err e = fate == FATE_GOOD ? OK : ERR_IO;
    size_t total = 0, allowed;
    for (int i = 0; i < n_iov; i++)
        total += iov[i].iov_len;
    allowed = fate == FATE_GOOD ? total : fate == FATE_HALF && total ? (size_t)rng_below(&s->rng, total) : 0;
    if (grow(s, f->node, off + allowed) != OK) {
        e = e ? e : ERR_NO_SPACE;
        uint64_t fits = s->used < s->space ? f->node->cur.n + (s->space - s->used) : f->node->cur.n;
        allowed = fits > off ? MIN(allowed, (size_t)(fits - off)) : 0;
        if (grow(s, f->node, off + allowed) != OK)
            allowed = 0;
    }
    for (int i = 0; i < n_iov && allowed; i++) {
        size_t len = MIN(iov[i].iov_len, allowed);
        put(f->node, iov[i].iov_base, len, off);
        off += len;
        allowed -= len;
    }
    pthread_mutex_unlock(&s->mu);
    return e;
}

static enum err sim_datasync(struct fs_file *f)
{
    struct sim_fs *s = sim_of_file(f);
    pthread_mutex_lock(&s->mu);
    enum fate fate = op_fate(s);
    if (fate == FATE_GOOD)
        node_sync(f->node);
    else
        f->node->dirty_from = f->node->dirty_to = 0; /* the kernel has forgotten them */
    pthread_mutex_unlock(&s->mu);
    return fate == FATE_GOOD ? OK : ERR_IO;
}

static enum err sim_truncate(struct fs_file *f, uint64_t size)
{
    struct sim_fs *s = sim_of_file(f);
    pthread_mutex_lock(&s->mu);
    enum err e = op_fate(s) == FATE_GOOD ? OK : ERR_IO;
    struct node *n = f->node;
    if (e == OK && size > n->cur.n)
        e = grow(s, n, size);
    else if (e == OK) {
        node_dirty(n, size, n->cur.n);
        s->used -= n->cur.n - size;
        n->cur.n = (size_t)size;
    }
    pthread_mutex_unlock(&s->mu);
    return e;
}

static enum err sim_size(struct fs_file *f, uint64_t *ret)
{
    struct sim_fs *s = sim_of_file(f);
    pthread_mutex_lock(&s->mu);
    enum err e = s->cut ? ERR_IO : OK;
    *ret = f->node->cur.n;
    pthread_mutex_unlock(&s->mu);
    return e;
}

/* A copy, 64-byte aligned; who maps a file that is written meanwhile is not helped. */
static enum err sim_map(struct fs_file *f, str *ret)
{
    struct sim_fs *s = sim_of_file(f);
    pthread_mutex_lock(&s->mu);
    enum err e = s->cut ? ERR_IO : OK;
    if (e == OK) {
        size_t n = f->node->cur.n;
        char *p = aligned_alloc(64, (n + 64) & ~(size_t)63);
        ASSERT(p);
        if (n)
            memcpy(p, f->node->cur.p, n);
        *ret = str_n(p, n);
    }
    pthread_mutex_unlock(&s->mu);
    return e;
}

static void sim_unmap(struct fs_file *f, str map)
{
    (void)f;
    free((void *)(uintptr_t)map.p);
}

static enum err sim_rename(struct fs *fs, const char *from, const char *to)
{
    struct sim_fs *s = sim_of(fs);
    pthread_mutex_lock(&s->mu);
    struct name *name = name_find(&s->now, from);
    enum err e = s->cut ? ERR_IO : name && name->node ? OK : ERR_NOT_FOUND;
    if (e == OK && op_fate(s) != FATE_GOOD)
        e = ERR_IO;
    if (e == OK) {
        op_note(s, OP_RENAME, from, to, name->node);
        op_apply(s, &s->now, &vec_last(&s->pending));
    }
    pthread_mutex_unlock(&s->mu);
    return e;
}

static enum err sim_unlink(struct fs *fs, const char *path)
{
    struct sim_fs *s = sim_of(fs);
    pthread_mutex_lock(&s->mu);
    struct name *name = name_find(&s->now, path);
    enum err e = s->cut ? ERR_IO : name && name->node ? OK : ERR_NOT_FOUND;
    if (e == OK && op_fate(s) != FATE_GOOD)
        e = ERR_IO;
    if (e == OK) {
        op_note(s, OP_UNLINK, path, NULL, NULL);
        name_drop(s, &s->now, path);
    }
    pthread_mutex_unlock(&s->mu);
    return e;
}

static enum err sim_mkdir(struct fs *fs, const char *path)
{
    struct sim_fs *s = sim_of(fs);
    pthread_mutex_lock(&s->mu);
    enum err e = s->cut ? ERR_IO : OK;
    if (e == OK && !name_find(&s->now, path)) {
        e = op_fate(s) == FATE_GOOD ? OK : ERR_IO;
        if (e == OK) {
            name_set(s, &s->now, path, NULL);
            op_note(s, OP_CREATE, path, NULL, NULL);
        }
    }
    pthread_mutex_unlock(&s->mu);
    return e;
}

/* Apply pending operations of a directory to the durable names: the first `count` of them; forget all. */
static void pending_settle(struct sim_fs *s, const char *any_path, size_t count)
{
    size_t kept = 0, done = 0;
    char *key = mem_strdup(str_c(any_path));
    for (size_t i = 0; i < s->pending.n; i++) {
        struct op o = s->pending.p[i];
        if (!same_dir(o.path, key)) {
            s->pending.p[kept++] = o;
            continue;
        }
        if (done++ < count)
            op_apply(s, &s->durable, &o);
        op_free(s, &o);
    }
    s->pending.n = kept;
    mem_free(key);
}

static enum err sim_sync_dir(struct fs *fs, const char *path)
{
    struct sim_fs *s = sim_of(fs);
    pthread_mutex_lock(&s->mu);
    enum err e = op_fate(s) == FATE_GOOD ? OK : ERR_IO;
    if (e == OK) {
        char any[4096];
        snprintf(any, sizeof(any), "%s/x", strcmp(path, "/") == 0 ? "" : path);
        pending_settle(s, any, SIZE_MAX);
    }
    pthread_mutex_unlock(&s->mu);
    return e;
}

static enum err sim_list(struct fs *fs, const char *path, struct arena *a, str **ret_names, size_t *ret_n)
{
    struct sim_fs *s = sim_of(fs);
    pthread_mutex_lock(&s->mu);
    struct name *dir = name_find(&s->now, path);
    enum err e = s->cut ? ERR_IO : dir && !dir->node ? OK : ERR_NOT_FOUND;
    size_t n = 0;
    str *out = arena_array(a, str, s->now.n + 1);
    if (e == OK)
        vec_each (struct name, x, &s->now)
            if (in_dir(x->path, path))
                out[n++] = arena_str(a, str_c(x->path + strlen(path) + 1));
    pthread_mutex_unlock(&s->mu);
    if (e == OK) {
        *ret_names = out;
        *ret_n = n;
    }
    return e;
}

static enum err sim_space(struct fs *fs, const char *path, uint64_t *ret_free, uint64_t *ret_total)
{
    struct sim_fs *s = sim_of(fs);
    (void)path;
    pthread_mutex_lock(&s->mu);
    enum err e = s->cut ? ERR_IO : OK;
    uint64_t total = s->space ? s->space : 1ull << 40;
    *ret_total = total;
    *ret_free = total > s->used ? total - s->used : 0;
    pthread_mutex_unlock(&s->mu);
    return e;
}

static enum err sim_lock(struct fs *fs, const char *path, struct fs_file **ret)
{
    struct sim_fs *s = sim_of(fs);
    enum err e = sim_open(fs, path, FS_WRITE, ret);
    if (e == ERR_NOT_FOUND)
        e = sim_open(fs, path, FS_CREATE, ret);
    if (e != OK)
        return e;
    pthread_mutex_lock(&s->mu);
    bool busy = (*ret)->node->locked;
    (*ret)->lock = !busy;
    (*ret)->node->locked = true;
    pthread_mutex_unlock(&s->mu);
    if (busy)
        sim_close(*ret);
    return busy ? ERR_BUSY : OK;
}

static const struct fs_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .pread = sim_pread,
    .pwritev = sim_pwritev,
    .datasync = sim_datasync,
    .truncate = sim_truncate,
    .size = sim_size,
    .map = sim_map,
    .unmap = sim_unmap,
    .rename = sim_rename,
    .unlink = sim_unlink,
    .mkdir = sim_mkdir,
    .sync_dir = sim_sync_dir,
    .list = sim_list,
    .space = sim_space,
    .lock = sim_lock,
};

/* ---- the tester's side ---- */
struct sim_fs *sim_fs_new(uint64_t seed)
{
    struct sim_fs *s = mem_zalloc(sizeof(*s));
    s->fs.ops = &sim_ops;
    s->rng.s = seed * 0x9e3779b97f4a7c15ull + 1;
    pthread_mutex_init(&s->mu, NULL);
    return s;
}

void sim_fs_free(struct sim_fs *s)
{
    ASSERT(s->open_files == 0);
    for (size_t i = 0; i < s->pending.n; i++)
        op_free(s, &s->pending.p[i]);
    vec_free(&s->pending);
    names_free(s, &s->now);
    names_free(s, &s->durable);
    pthread_mutex_destroy(&s->mu);
    mem_free(s);
}

struct fs *sim_fs_fs(struct sim_fs *s)
{
    return &s->fs;
}

void sim_fs_cut_at(struct sim_fs *s, uint64_t k)
{
    pthread_mutex_lock(&s->mu);
    s->cut_at = k ? s->ops + k : 0;
    pthread_mutex_unlock(&s->mu);
}

bool sim_fs_was_cut(struct sim_fs *s)
{
    pthread_mutex_lock(&s->mu);
    bool cut = s->cut;
    pthread_mutex_unlock(&s->mu);
    return cut;
}

void sim_fs_fail_at(struct sim_fs *s, uint64_t k, uint64_t n)
{
    pthread_mutex_lock(&s->mu);
    s->fail_from = s->ops + k;
    s->fail_to = n ? s->fail_from + n : 0;
    s->failed = false;
    pthread_mutex_unlock(&s->mu);
}

bool sim_fs_failed(struct sim_fs *s)
{
    pthread_mutex_lock(&s->mu);
    bool failed = s->failed;
    pthread_mutex_unlock(&s->mu);
    return failed;
}

void sim_fs_space(struct sim_fs *s, uint64_t bytes)
{
    pthread_mutex_lock(&s->mu);
    s->space = bytes;
    pthread_mutex_unlock(&s->mu);
}

uint64_t sim_fs_used(struct sim_fs *s)
{
    pthread_mutex_lock(&s->mu);
    uint64_t n = s->used;
    pthread_mutex_unlock(&s->mu);
    return n;
}

uint64_t sim_fs_ops(struct sim_fs *s)
{
    pthread_mutex_lock(&s->mu);
    uint64_t n = s->ops;
    pthread_mutex_unlock(&s->mu);
    return n;
}

void sim_fs_power_cut(struct sim_fs *s)
{
    ASSERT(s->open_files == 0);
    while (s->pending.n) {
        const char *path = s->pending.p[0].path;
        size_t n = 0;
        for (size_t i = 0; i < s->pending.n; i++)
            n += same_dir(s->pending.p[i].path, path);
        pending_settle(s, path, (size_t)rng_below(&s->rng, n + 1));
    }
    names_free(s, &s->now);
    vec_each (struct name, e, &s->durable)
        name_set(s, &s->now, e->path, e->node);
    vec_each (struct name, e, &s->now)
        if (e->node)
            node_cut(s, e->node);
    s->cut = s->failed = false;
    s->cut_at = s->fail_from = s->fail_to = s->space = 0;
}

void sim_fs_damage(struct sim_fs *s, const char *path, uint64_t off, uint8_t bits)
{
    struct name *e = name_find(&s->now, path);
    ASSERT(e && e->node);
    ASSERT(off < e->node->cur.n);
    e->node->cur.p[off] = (char)(e->node->cur.p[off] ^ bits);
    if (off < e->node->dur.n)
        e->node->dur.p[off] = e->node->cur.p[off];
}
