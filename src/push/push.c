/* The groups, their files and the rounds (manual: push.h).
 *
 * One mutex lets pushes, deletions and rounds through one after the other, disk writes included: it is the queue of the
 * writers, nothing that must be fast waits for it. The wait for the store's sync is outside. */
#include "push/push.h"

#include <stdio.h>

#include "base/check.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/thread.h"
#include "push/push_int.h"

static struct stat groups_now = STAT_GAUGE("vane_push_groups", "Pushed groups that are kept", "");
static struct stat bytes_now = STAT_GAUGE("vane_push_bytes", "Text of all pushed groups", "");
static struct stat pushes_taken = STAT_COUNTER("vane_pushes_total", "Pushes of groups", "result=\"taken\"");
static struct stat pushes_refused = STAT_COUNTER("vane_pushes_total", "Pushes of groups", "result=\"refused\"");
static struct stat files_damaged =
    STAT_COUNTER("vane_push_files_damaged_total", "Files of pushed groups that could not be read", "");
static struct stat rounds_failed =
    STAT_COUNTER("vane_push_rounds_failed_total", "Rounds in which the store took no samples of pushed groups", "");

#define MAP_NAME     group_map
#define MAP_KEY      hash128
#define MAP_VALUE    struct push_group *
#define MAP_HASH(k)  ((k).lo ^ (k).hi)
#define MAP_EQ(a, b) hash128_eq(a, b)
#include "base/map.h"

struct push {
    struct push_config cfg;
    char *dir;
    struct mtx mu; /* guards groups, bytes and the files; held while they are written */
    struct cond stop_cond;
    struct group_map groups;
    size_t bytes;
    bool stopping, thread_running;
    pthread_t thread;
};

/* ---- files ---- */

static str file_path(const struct push *p, struct arena *a, hash128 id)
{
    return arena_printf(a, "%s/%016llx%016llx.group", p->dir, (unsigned long long)id.hi, (unsigned long long)id.lo);
}

static enum err file_write(struct push *p, struct arena *a, const struct push_group *g, struct err_text *reterr)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    push_file_encode(&b, g);
    enum err e = fs_write_file_atomic(p->cfg.fs, file_path(p, a, push_file_id(g->key)).p, buf_str(&b));
    return e == OK ? OK : err_fail(reterr, e, "the pushed group cannot be written to %s: %s", p->dir, err_describe(e));
}

static enum err file_read(struct push *p, struct arena *a, str name, struct push_group **ret, struct err_text *reterr)
{
    str content, path = arena_printf(a, "%s/" STR_FMT, p->dir, STR_ARG(name));
    TRY(fs_read_file(p->cfg.fs, path.p, p->cfg.bytes_max + (1 << 20), a, &content, reterr));
    TRY(push_file_decode(content, ret, reterr));
    enum err e = push_group_decode(*ret, &p->cfg.limits, reterr);
    if (e != OK)
        push_group_free(*ret);
    return e;
}

/* ---- the set of groups ---- */

static struct push_group *group_of(const struct push *p, struct labels key)
{
    struct push_group **g = group_map_get(&p->groups, push_file_id(key));
    return g ? *g : NULL;
}

static void show_counts(const struct push *p)
{
    stat_set(&groups_now, (int64_t)p->groups.n);
    stat_set(&bytes_now, (int64_t)p->bytes);
}

/* next takes the place of the group with its key; the old one is freed. */
static void group_swap(struct push *p, struct push_group *next)
{
    struct push_group **slot = group_map_put(&p->groups, push_file_id(next->key), NULL);
    if (*slot) {
        p->bytes -= (*slot)->bytes;
        next->last_ms = MAX(next->last_ms, (*slot)->last_ms);
        push_group_free(*slot);
    }
    *slot = next;
    p->bytes += next->bytes;
    show_counts(p);
}

static enum err load(struct push *p, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    str *names;
    size_t n;
    arena_init(&a, 0);
    enum err e = fs_mkdirs(p->cfg.fs, p->dir);
    if (e == OK)
        e = fs_list(p->cfg.fs, p->dir, &a, &names, &n);
    if (e != OK)
        return err_fail(reterr, e, "folder of pushed groups %s: %s", p->dir, err_describe(e));
    for (size_t i = 0; i < n; i++) {
        struct push_group *g;
        struct err_text why = { .msg = "" };
        if (!str_has_suffix(names[i], STR(".group")))
            continue;
        e = file_read(p, &a, names[i], &g, &why);
        if (e == OK) {
            group_swap(p, g);
            continue;
        }
        stat_add(&files_damaged, 1);
        LOG_WARN("a pushed group cannot be read and is left out", "file", arena_cstr(&a, names[i]), "err", why.msg);
    }
    return OK;
}

/* ---- samples ---- */

static int64_t time_of_group(const struct push *p, const struct push_group *g)
{
    int64_t now = clock_now_ms(p->cfg.clock);
    return g && g->last_ms >= now ? g->last_ms + 1 : now;
}

static enum err append(struct push *p, const struct batch *b, uint64_t *ret_lsn, struct err_text *reterr)
{
    *ret_lsn = 0;
    return b->series.n ? p->cfg.sink.append(p->cfg.sink.ctx, b, ret_lsn, reterr) : OK;
}

static void batch_add(struct batch *all, const struct batch *b)
{
    vec_each (const struct batch_series, s, &b->series)
        avec_push(all->a, &all->series, *s);
    vec_each (const struct batch_family, f, &b->families)
        avec_push(all->a, &all->families, *f);
    all->n_samples += b->n_samples;
}

void push_round(struct push *p)
{
    enum { SERIES_AT_ONCE = 50000 };
    AUTO_ARENA struct arena a;
    struct err_text why = { .msg = "" };
    enum err e = OK;
    uint64_t lsn;
    arena_init(&a, 0);
    mtx_lock(&p->mu);
    struct batch all = { .a = &a };
    map_each (group_map, slot, &p->groups) {
        struct push_group *g = slot->value;
        push_group_stamp(g, time_of_group(p, g));
        batch_add(&all, &g->batch);
        if (all.series.n < SERIES_AT_ONCE)
            continue;
        e = append(p, &all, &lsn, &why) != OK ? ERR_IO : e;
        arena_reset(&a);
        all = (struct batch){ .a = &a };
    }
    e = append(p, &all, &lsn, &why) != OK ? ERR_IO : e;
    mtx_unlock(&p->mu);
    if (e == OK)
        return;
    stat_add(&rounds_failed, 1);
    LOG_WARN("samples of pushed groups were not stored, trying again at the next round", "err", why.msg);
}

static void rounds(void *ctx)
{
    struct push *p = ctx;
    mtx_lock(&p->mu);
    while (!p->stopping) {
        mtx_unlock(&p->mu);
        push_round(p);
        mtx_lock(&p->mu);
        if (!p->stopping)
            cond_wait_ms(&p->stop_cond, &p->mu, (unsigned)p->cfg.interval_ms);
    }
    mtx_unlock(&p->mu);
}

/* ---- push ---- */

static void keep_families(struct push_group *g, const struct expo_family_text *f, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        g->families[g->n_families++] =
            (struct expo_family_text){ arena_str(&g->a, f[i].name), arena_str(&g->a, f[i].text), f[i].n_samples };
        g->bytes += f[i].text.n;
    }
}

/* The new families behind those of the old group that stay. */
static void merge(struct push_group *g, const struct push_group *old, const struct expo_family_text *f, size_t n)
{
    g->families = arena_array(&g->a, struct expo_family_text, n + (old ? old->n_families : 0));
    for (size_t i = 0; old && i < old->n_families; i++) {
        bool replaced = false;
        for (size_t k = 0; k < n && !replaced; k++)
            replaced = str_eq(f[k].name, old->families[i].name);
        if (!replaced)
            keep_families(g, &old->families[i], 1);
    }
    keep_families(g, f, n);
}

static enum err room_for(const struct push *p, const struct push_group *old, const struct push_group *next,
                         struct err_text *reterr)
{
    if (!old && p->groups.n >= p->cfg.groups_max)
        return err_fail(reterr, ERR_LIMIT, "more than %zu pushed groups: DELETE what is no longer needed",
                        p->cfg.groups_max);
    if (p->bytes - (old ? old->bytes : 0) + next->bytes > p->cfg.bytes_max)
        return err_fail(reterr, ERR_LIMIT, "the pushed groups would be larger than %zu bytes together",
                        p->cfg.bytes_max);
    return OK;
}

/* Checked and decoded: file, then samples, then memory. Takes next. */
static enum err commit(struct push *p, struct push_group *old, struct push_group *next, uint64_t *ret_lsn,
                       struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a };
    int64_t now = time_of_group(p, old);
    enum err e = file_write(p, &a, next, reterr);
    if (e != OK) {
        push_group_free(next);
        return e;
    }
    push_group_stamp(next, now);
    batch_add(&b, &next->batch);
    if (old)
        push_group_stale(old, next, now, &b);
    e = append(p, &b, ret_lsn, reterr);
    group_swap(p, next); /* the file says so, whatever the store says */
    return e;
}

/* The group as it was, with the time of this failure. */
static enum err commit_failure(struct push *p, struct push_group *old, struct labels key, uint64_t *ret_lsn,
                               struct err_text *reterr)
{
    struct push_group *next = push_group_new(key);
    next->pushed_ms = old ? old->pushed_ms : 0;
    next->failed_ms = clock_now_ms(p->cfg.clock);
    merge(next, old, NULL, 0);
    enum err e = room_for(p, old, next, reterr);
    if (e == OK)
        e = push_group_decode(next, &p->cfg.limits, reterr);
    if (e != OK) {
        push_group_free(next);
        return e;
    }
    return commit(p, old, next, ret_lsn, reterr);
}

static enum err put_locked(struct push *p, struct labels key, enum push_verb verb, const struct expo_family_text *f,
                           size_t n, uint64_t *ret_lsn, struct err_text *reterr)
{
    struct push_group *old = group_of(p, key), *next = push_group_new(key);
    next->pushed_ms = clock_now_ms(p->cfg.clock);
    next->failed_ms = old ? old->failed_ms : 0;
    merge(next, verb == PUSH_MERGE ? old : NULL, f, n);
    enum err e = room_for(p, old, next, reterr);
    if (e == OK)
        e = push_group_decode(next, &p->cfg.limits, reterr);
    if (e == OK)
        return commit(p, old, next, ret_lsn, reterr);
    push_group_free(next);
    return e;
}

enum err push_put(struct push *p, struct labels key, enum push_verb verb, enum expo_format format, str body,
                  struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    struct expo_family_text *f = NULL;
    struct err_text second;
    size_t n = 0;
    uint64_t lsn = 0;
    arena_init(&a, (size_t)256 << 20);
    enum err e = expo_families(&a, body, format, &f, &n, reterr);
    mtx_lock(&p->mu);
    if (e == OK)
        e = put_locked(p, key, verb, f, n, &lsn, reterr);
    if (e == ERR_INVALID)
        IGNORE_ERR(commit_failure(p, group_of(p, key), key, &lsn, &second));
    mtx_unlock(&p->mu);
    stat_add(e == OK ? &pushes_taken : &pushes_refused, 1);
    enum err waited = lsn ? p->cfg.sink.wait(p->cfg.sink.ctx, lsn) : OK;
    if (e == OK && waited != OK)
        return err_fail(reterr, waited, "not stored: %s", err_describe(waited));
    return e;
}

/* ---- delete ---- */

static enum err delete_locked(struct push *p, struct push_group *g, uint64_t *ret_lsn, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a };
    push_group_stale(g, NULL, time_of_group(p, g), &b);
    enum err e = append(p, &b, ret_lsn, reterr);
    if (e != OK)
        return e; /* nothing changed: the sender repeats */
    hash128 id = push_file_id(g->key);
    e = fs_unlink(p->cfg.fs, file_path(p, &a, id).p);
    if (e == OK)
        e = fs_sync_dir(p->cfg.fs, p->dir);
    if (e != OK && e != ERR_NOT_FOUND)
        return err_fail(reterr, e, "the pushed group cannot be removed from %s: %s", p->dir, err_describe(e));
    p->bytes -= g->bytes;
    group_map_del(&p->groups, id);
    push_group_free(g);
    show_counts(p);
    return OK;
}

enum err push_delete(struct push *p, struct labels key, struct err_text *reterr)
{
    uint64_t lsn = 0;
    mtx_lock(&p->mu);
    struct push_group *g = group_of(p, key);
    enum err e = g ? delete_locked(p, g, &lsn, reterr) : OK;
    mtx_unlock(&p->mu);
    if (e == OK && lsn)
        e = p->cfg.sink.wait(p->cfg.sink.ctx, lsn);
    return e;
}

size_t push_groups(struct push *p)
{
    mtx_lock(&p->mu);
    size_t n = p->groups.n;
    mtx_unlock(&p->mu);
    return n;
}

/* ---- life ---- */

enum err push_open(const struct push_config *cfg, struct push **ret, struct err_text *reterr)
{
    struct push *p = mem_zalloc(sizeof(*p));
    p->cfg = *cfg;
    p->dir = mem_strdup(str_c(cfg->dir));
    if (!p->cfg.fs)
        p->cfg.fs = fs_os();
    if (!p->cfg.clock)
        p->cfg.clock = os_clock();
    if (!p->cfg.groups_max)
        p->cfg.groups_max = 10000;
    if (!p->cfg.bytes_max)
        p->cfg.bytes_max = (size_t)256 << 20;
    if (!p->cfg.limits.series_max)
        p->cfg.limits = WIRE_LIMITS_DEFAULT;
    mtx_init(&p->mu, 0);
    cond_init(&p->stop_cond);
    enum err e = load(p, reterr);
    if (e == OK && p->cfg.interval_ms > 0) {
        e = thread_start(&p->thread, "push", rounds, p);
        p->thread_running = e == OK;
        if (e != OK)
            IGNORE_ERR(err_fail(reterr, e, "the thread of pushed groups does not start: %s", err_describe(e)));
    }
    if (e != OK)
        push_close(p);
    else
        *ret = p;
    return e;
}

void push_close(struct push *p)
{
    if (!p)
        return;
    mtx_lock(&p->mu);
    p->stopping = true;
    cond_signal(&p->stop_cond);
    mtx_unlock(&p->mu);
    if (p->thread_running)
        thread_join(p->thread);
    map_each (group_map, slot, &p->groups)
        push_group_free(slot->value);
    group_map_free(&p->groups);
    cond_deinit(&p->stop_cond);
    mtx_deinit(&p->mu);
    mem_free(p->dir);
    mem_free(p);
}
