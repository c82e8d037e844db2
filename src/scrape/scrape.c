/* The engine: pools and targets from configuration and discovery, the schedule, the hand-over between the threads,
 * status. See scrape_int.h for who owns what when. */
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/num.h"
#include "base/stats.h"
#include "scrape/scrape_config_sd.h"
#include "scrape/scrape_int.h"

#define MAP_NAME     target_map
#define MAP_KEY      hash128
#define MAP_VALUE    struct target *
#define MAP_HASH(k)  ((k).lo)
#define MAP_EQ(a, b) hash128_eq(a, b)
#include "base/map.h"

static struct stat failure_log_errors =
    STAT_COUNTER("vane_scrape_failure_log_errors_total", "Failures that could not be written to their file.", "");

/* ---- heap of idle targets ---- */

static void heap_put(struct scrape *s, size_t i, struct target *t)
{
    s->heap.p[i] = t;
    t->heap_pos = i;
}
static void heap_up(struct scrape *s, size_t i, struct target *t)
{
    for (; i && s->heap.p[(i - 1) / 2]->due_ns > t->due_ns; i = (i - 1) / 2)
        heap_put(s, i, s->heap.p[(i - 1) / 2]);
    heap_put(s, i, t);
}
static void heap_down(struct scrape *s, size_t i, struct target *t)
{
    for (size_t child; (child = 2 * i + 1) < s->heap.n; i = child) {
        if (child + 1 < s->heap.n && s->heap.p[child + 1]->due_ns < s->heap.p[child]->due_ns)
            child++;
        if (s->heap.p[child]->due_ns >= t->due_ns)
            break;
        heap_put(s, i, s->heap.p[child]);
    }
    heap_put(s, i, t);
}
static void heap_add(struct scrape *s, struct target *t)
{
    vec_push(&s->heap, t);
    heap_up(s, s->heap.n - 1, t);
    if (t->heap_pos == 0)
        cond_signal(&s->wake);
}
static void heap_remove(struct scrape *s, struct target *t)
{
    size_t i = t->heap_pos;
    struct target *last = s->heap.p[--s->heap.n];
    if (last == t)
        return;
    heap_up(s, i, last);
    heap_down(s, last->heap_pos, last);
}

/* ---- states ---- */

static void ready_push(struct scrape *s, struct target *t)
{
    t->state = TARGET_READY;
    t->next_ready = NULL;
    if (s->ready_tail)
        s->ready_tail->next_ready = t;
    else
        s->ready_head = t;
    s->ready_tail = t;
    cond_signal(&s->ready_cv);
}

/* Put it to its next place in its interval. The first time: its offset, by hash, so that targets spread evenly. */
static void arm(struct scrape *s, struct target *t)
{
    int64_t now = clock_now_ms(s->clock), interval = t->interval_ms;
    if (t->aligned_ms && t->aligned_ms + interval > now - interval && t->aligned_ms <= now + interval) {
        t->aligned_ms += interval;
        if (t->aligned_ms <= now) /* late: a scrape took longer than the interval */
            t->aligned_ms += (now - t->aligned_ms) / interval * interval + interval;
    } else {
        int64_t offset = (int64_t)(hash_u64(t->key.hi) % (uint64_t)interval);
        t->aligned_ms = now - now % interval + offset;
        if (t->aligned_ms <= now)
            t->aligned_ms += interval;
    }
    t->due_ns = clock_mono_ns(s->clock) + (uint64_t)(t->aligned_ms - now) * 1000000u;
    t->state = TARGET_IDLE;
    heap_add(s, t);
}

void scrape_target_stop(struct scrape *s, struct target *t)
{
    if (t->stop)
        return;
    t->stop = true;
    if (t->state == TARGET_IDLE) {
        heap_remove(s, t);
        ready_push(s, t);
    } else if (t->state == TARGET_FETCH && t->request) {
        http_cancel(s->http, t->request);
    }
}

/* ---- scheduler: starts what is due ---- */

static void fetch_failed(struct target *t, enum err e, const char *text)
{
    t->fetch_err = e;
    snprintf(t->fetch_error, sizeof(t->fetch_error), "%.250s", text);
}

static void fetch_done(void *ctx, const struct http_result *r)
{
    struct target *t = ctx;
    struct scrape *s = t->s;
    t->fetch_err = r->err;
    t->status = r->status;
    if (r->err) {
        fetch_failed(t, r->err, r->error);
    } else {
        t->content_type = mem_dup(r->content_type);
        t->body = buf_detach(r->body);
    }
    mtx_lock(&s->mu);
    if (s->in_flight-- == s->in_flight_max)
        cond_signal(&s->wake);
    t->request = 0;
    ready_push(s, t);
    mtx_unlock(&s->mu);
}

/* Without the lock; t is in TARGET_FETCH, so nobody else touches the result. */
static enum err fetch_start(struct scrape *s, struct target *t, uint64_t *ret_id)
{
    struct http_fetch f;
    char error[256] = "";
    arena_reset(&t->request_a);
    if (!target_request(t, &t->request_a, &f, error, sizeof(error))) {
        fetch_failed(t, ERR_IO, error);
        return ERR_IO;
    }
    f.done = fetch_done;
    f.ctx = t;
    enum err e = http_start(s->http, &f, ret_id);
    if (e)
        fetch_failed(t, e, e == ERR_BUSY ? "too many requests in progress" : err_describe(e));
    return e;
}

static void note_length(struct scrape *s, const struct target *t)
{
    double length_s = (double)(clock_mono_ns(s->clock) - t->start_ns) / 1e9;
    for (size_t i = 0; i < SCRAPE_INTERVALS && t->start_ns; i++) {
        struct interval_lengths *l = &s->lengths[i];
        if (l->interval_ms && l->interval_ms != t->interval_ms)
            continue;
        l->interval_ms = t->interval_ms;
        l->newest_s[l->count++ % SCRAPE_LENGTHS] = (float)length_s;
        l->sum_s += length_s;
        return;
    }
}

static void stamp_scrape(struct scrape *s, struct target *t)
{
    note_length(s, t);
    int64_t now = clock_now_ms(s->clock), tolerance = MIN(t->interval_ms / 100, 20);
    int64_t off = now - t->aligned_ms;
    t->scrape_ms = off >= -tolerance && off <= tolerance ? t->aligned_ms : now;
    if (t->scrape_ms <= t->newest_ms)
        t->scrape_ms = t->newest_ms + 1;
    t->start_ns = clock_mono_ns(s->clock);
    t->fetch_err = OK;
    t->fetch_error[0] = 0;
    t->status = 0;
}

/* Under mu, which is given up meanwhile. */
static void start_target(struct scrape *s, struct target *t)
{
    uint64_t id = 0;
    stamp_scrape(s, t);
    if (t->forced_error[0]) {
        ready_push(s, t);
        return;
    }
    t->state = TARGET_FETCH;
    t->request = 0;
    s->in_flight++;
    target_ref(t);
    mtx_unlock(&s->mu);
    enum err e = fetch_start(s, t, &id);
    mtx_lock(&s->mu);
    if (e) {
        s->in_flight--;
        ready_push(s, t);
    } else if (t->state == TARGET_FETCH) {
        t->request = id;
        if (t->stop)
            http_cancel(s->http, id);
    }
    mtx_unlock(&s->mu);
    target_unref(t);
    mtx_lock(&s->mu);
}

static void scheduler_main(void *ctx)
{
    struct scrape *s = ctx;
    mtx_lock(&s->mu);
    while (!s->closing) {
        uint64_t now = clock_mono_ns(s->clock);
        struct target *t = s->heap.n ? s->heap.p[0] : NULL;
        if (t && t->due_ns <= now && s->in_flight < s->in_flight_max) {
            heap_remove(s, t);
            start_target(s, t);
            continue;
        }
        uint64_t wait_ms = t && t->due_ns > now ? (t->due_ns - now) / 1000000u + 1 : 1000;
        cond_wait_ms(&s->wake, &s->mu, (unsigned)MIN(wait_ms, 1000u));
    }
    mtx_unlock(&s->mu);
}

/* ---- workers: take results ---- */

static void result_clear(struct target *t)
{
    mem_free((void *)(uintptr_t)t->body.p);
    mem_free((void *)(uintptr_t)t->content_type.p);
    t->body = t->content_type = STR_NONE;
}

static void status_set(struct target *t, const struct scrape_outcome *o, double duration_s)
{
    snprintf(t->last_error, sizeof(t->last_error), "%s", o->error);
    t->last_scrape_ms = t->scrape_ms;
    t->last_duration_s = duration_s;
    t->health = o->error[0] ? SCRAPE_DOWN : SCRAPE_UP;
    t->last_samples = o->scraped;
    t->last_series = t->cache.n_series;
}

/* One JSON line to scrape_failure_log_file, as Prometheus writes it. The file is opened for each: it may be moved away at
 * any time, and jobs may share it. */
static void log_failure(const struct scrape *s, const struct target *t, struct arena *a, const char *error)
{
    AUTO_BUF struct buf b = { 0 };
    AUTO_FS_FILE struct fs_file *f = NULL;
    struct json_out j = json_out_init(&b);
    json_obj(&j);
    AUTO_BUF struct buf now = { 0 };
    buf_rfc3339_ms(&now, clock_now_ms(s->clock));
    json_kstr(&j, "time", buf_str(&now));
    json_kstr(&j, "level", STR("ERROR"));
    json_kstr(&j, "msg", str_c(error));
    json_kstr(&j, "job_name", t->cfg->job_name);
    json_kstr(&j, "target", t->url);
    json_obj_end(&j);
    buf_u8(&b, '\n');
    const char *path = arena_cstr(a, t->cfg->failure_log_file);
    enum err e = fs_open(fs_os(), path, FS_APPEND, &f);
    e = e ? e : fs_append(f, buf_str(&b));
    if (e) {
        stat_add(&failure_log_errors, 1);
        LOG_WARN("scrape_failure_log_file cannot be written, that failure is not in it", "file", path, "err",
                 err_describe(e));
    }
}

/* Under mu, which is given up meanwhile. */
static void work_on(struct scrape *s, struct target *t, struct arena *scratch)
{
    t->state = TARGET_WORK;
    memcpy(t->forced_now, t->forced_error, sizeof(t->forced_now));
    if (!t->stop) {
        struct scrape_outcome o;
        mtx_unlock(&s->mu);
        arena_reset(scratch);
        target_process(t, scratch, &o);
        if (o.error[0] && t->cfg->failure_log_file.n)
            log_failure(s, t, scratch, o.error);
        double duration_s = (double)(clock_mono_ns(s->clock) - t->start_ns) / 1e9;
        mtx_lock(&s->mu);
        status_set(t, &o, duration_s);
    }
    result_clear(t);
    if (!t->stop) {
        arm(s, t);
        return;
    }
    mtx_unlock(&s->mu);
    arena_reset(scratch);
    target_finish(t, scratch);
    target_unref(t);
    mtx_lock(&s->mu);
    s->n_alive--;
    cond_broadcast(&s->idle_cv);
}

static void worker_main(void *ctx)
{
    struct scrape *s = ctx;
    AUTO_ARENA struct arena scratch;
    arena_init(&scratch, 0);
    mtx_lock(&s->mu);
    while (!s->closing || s->ready_head) {
        struct target *t = s->ready_head;
        if (!t) {
            cond_wait_ms(&s->ready_cv, &s->mu, 1000);
            continue;
        }
        s->ready_head = t->next_ready;
        if (!s->ready_head)
            s->ready_tail = NULL;
        work_on(s, t, &scratch);
    }
    mtx_unlock(&s->mu);
}

/* ---- sync: discovered labels against running targets ---- */

struct sync {
    struct scrape *s;
    struct spool *p;
    struct arena *a;
    struct target_map running;
};

static void sync_one(struct sync *y, struct labels discovered)
{
    struct spool *p = y->p;
    struct target_spec spec;
    p->n_discovered++;
    target_populate(y->a, p->cfg, p->settings, discovered, &spec);
    if (spec.dropped) {
        p->n_dropped++;
        if (!p->cfg->keep_dropped_targets || p->dropped.n < p->cfg->keep_dropped_targets) {
            struct labels copy = labels_copy(&p->dropped_arena, spec.discovered);
            avec_push(&p->dropped_arena, &p->dropped, copy);
        }
        return;
    }
    if (spec.error[0]) {
        snprintf(p->error, sizeof(p->error), "%s", spec.error);
        LOG_WARN("discovered target cannot be used", "job", LOG_STR(p->cfg->job_name), "err", spec.error);
        return;
    }
    bool is_new;
    struct target **slot = target_map_put(&y->running, spec.key, &is_new);
    if (is_new) {
        *slot = target_new(y->s, p, &spec);
        vec_push(&p->targets, *slot);
        y->s->n_alive++;
        arm(y->s, *slot);
    }
    (*slot)->seen = true;
}

static void apply_target_limit(struct spool *p)
{
    uint64_t limit = p->cfg->target_limit;
    bool over = limit && p->targets.n > limit;
    if (over && !p->over_limit)
        stat_add(&scrape_stat_target_limit, 1);
    p->over_limit = over;
    for (size_t i = 0; i < p->targets.n; i++)
        if (over)
            snprintf(p->targets.p[i]->forced_error, sizeof(p->targets.p[i]->forced_error),
                     "target_limit exceeded (number of targets: %zu, limit: %llu)", p->targets.n,
                     (unsigned long long)limit);
        else
            p->targets.p[i]->forced_error[0] = 0;
}

static void sync_groups(struct sync *y, const struct sd_groups *g)
{
    for (size_t i = 0; g && i < g->v.n; i++)
        for (size_t k = 0; k < g->v.p[i].n; k++) {
            sync_one(y, g->v.p[i].targets[k]);
            if (y->a->bytes > (16u << 20))
                arena_reset(y->a);
        }
}

void scrape_sync_pool(struct scrape *s, struct spool *p)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct sync y = { .s = s, .p = p, .a = &a };
    uint64_t start_ns = os_mono_ns();
    arena_reset(&p->dropped_arena);
    memset(&p->dropped, 0, sizeof(p->dropped));
    p->n_dropped = p->n_discovered = 0;
    p->error[0] = 0;
    for (size_t i = 0; i < p->targets.n; i++) {
        p->targets.p[i]->seen = false;
        *target_map_put(&y.running, p->targets.p[i]->key, NULL) = p->targets.p[i];
    }
    for (size_t i = 0; i < p->providers.n; i++)
        for (size_t k = 0; k < p->providers.p[i]->sources.n; k++)
            sync_groups(&y, p->providers.p[i]->sources.p[k].groups);
    target_map_free(&y.running);
    for (size_t i = p->targets.n; i-- > 0;) {
        struct target *t = p->targets.p[i];
        if (t->seen)
            continue;
        vec_remove_swap(&p->targets, i);
        t->pool = NULL;
        scrape_target_stop(s, t);
    }
    apply_target_limit(p);
    p->syncs++;
    p->sync_ns += os_mono_ns() - start_ns;
}

/* ---- configuration -> pools ---- */

/* Hash of what a running target depends on besides its labels and URL. */
static uint64_t settings_hash(const struct scrape_config *c)
{
    struct scrape_config copy = *c;
    memset(&copy.sd, 0, sizeof(copy.sd));
    copy.relabel = (struct relabel_rules){ 0 };
    return conf_hash(&scrape_config_schema, &copy);
}

/* Hash of one discovery's settings: print a config that has only it. */
static uint64_t provider_identity(enum sd_kind kind, const void *cfg)
{
    struct sd_configs one;
    memset(&one, 0, sizeof(one));
    if (kind == SD_FILE)
        one.files.p = (void *)(uintptr_t)cfg, one.files.n = 1;
    else if (kind == SD_HTTP)
        one.https.p = (void *)(uintptr_t)cfg, one.https.n = 1;
    else if (kind == SD_DNS)
        one.dnss.p = (void *)(uintptr_t)cfg, one.dnss.n = 1;
    else if (kind >= SD_KUBERNETES)
        one.others[sd_other_index((enum sd_other)(kind - SD_KUBERNETES))] =
            (struct conf_list){ (void *)(uintptr_t)cfg, 1 };
    return conf_hash(&sd_configs_schema, &one);
}

static struct provider *provider_new(struct scrape *s, struct prom_config *prom, enum sd_kind kind, const void *cfg)
{
    struct provider *p = mem_zalloc(sizeof(*p));
    p->s = s;
    p->kind = kind;
    p->cfg = cfg;
    p->prom = prom_config_ref(prom);
    p->identity = provider_identity(kind, cfg);
    arena_init(&p->request_a, 0);
    return p;
}

/* The providers of a scrape config, freshly made: files are read at once, so that targets do not blink on reload. */
static void make_providers(struct scrape *s, struct spool *pool)
{
    const struct sd_configs *sd = &pool->cfg->sd;
    if (sd->statics.n) {
        struct provider *p = provider_new(s, pool->prom, SD_STATIC, NULL);
        struct sd_source src = { .path = mem_dup(STR("")), .groups = sd_static(sd->statics.p, sd->statics.n) };
        vec_push(&p->sources, src);
        vec_push(&pool->providers, p);
    }
    for (size_t i = 0; i < sd->files.n; i++) {
        struct provider *p = provider_new(s, pool->prom, SD_FILE, &sd->files.p[i]);
        sd_files_read(p->cfg, p);
        p->next_ns = os_mono_ns() + 500000000u;
        vec_push(&pool->providers, p);
    }
    for (size_t i = 0; i < sd->https.n; i++)
        vec_push(&pool->providers, provider_new(s, pool->prom, SD_HTTP, &sd->https.p[i]));
    for (size_t i = 0; i < sd->dnss.n; i++)
        vec_push(&pool->providers, provider_new(s, pool->prom, SD_DNS, &sd->dnss.p[i]));
    for (int kind = SD_KUBERNETES; kind < SD_KINDS; kind++) {
        const struct conf_list *l = &sd->others[sd_other_index((enum sd_other)(kind - SD_KUBERNETES))];
        for (size_t i = 0; i < l->n; i++)
            vec_push(&pool->providers,
                     provider_new(s, pool->prom, (enum sd_kind)kind, (const struct sd_any *)l->p + i));
    }
}

static struct spool *pool_new(struct scrape *s, struct prom_config *prom, const struct scrape_config *cfg)
{
    struct spool *p = mem_zalloc(sizeof(*p));
    p->prom = prom_config_ref(prom);
    p->cfg = cfg;
    p->settings = settings_hash(cfg);
    arena_init(&p->dropped_arena, 0);
    make_providers(s, p);
    return p;
}

static void provider_drop(struct provider *p)
{
    if (p->busy)
        p->dead = true;
    else
        provider_free(p);
}

static void pool_free(struct spool *p)
{
    for (size_t i = 0; i < p->providers.n; i++)
        provider_drop(p->providers.p[i]);
    vec_free(&p->providers);
    vec_free(&p->targets);
    arena_deinit(&p->dropped_arena);
    prom_config_unref(p->prom);
    mem_free(p);
}

/* Under mu: what the old pool knows that the new one would have to find out again. */
static void pool_inherit(struct spool *from, struct spool *to)
{
    for (size_t i = 0; i < to->providers.n; i++)
        for (size_t k = 0; k < from->providers.n; k++) {
            struct provider *fresh = to->providers.p[i], *old = from->providers.p[k];
            if (old->kind != fresh->kind || old->identity != fresh->identity || fresh->kind == SD_STATIC ||
                old->pool == to)
                continue;
            to->providers.p[i] = old;
            vec_remove_swap(&from->providers, k);
            provider_free(fresh);
            break;
        }
    for (size_t i = 0; i < to->providers.n; i++)
        for (size_t k = 0; k < from->providers.n;
             k++) { /* changed settings: the old answer holds until the first new one */
            struct provider *fresh = to->providers.p[i], *old = from->providers.p[k];
            bool asks = fresh->kind == SD_HTTP || fresh->kind >= SD_DNS;
            if (!asks || old->kind != fresh->kind || fresh->sources.n || !old->sources.n)
                continue;
            fresh->sources.p = old->sources.p, fresh->sources.n = old->sources.n, fresh->sources.cap = old->sources.cap;
            memset(&old->sources, 0, sizeof(old->sources));
        }
    to->targets.p = from->targets.p, to->targets.n = from->targets.n, to->targets.cap = from->targets.cap;
    memset(&from->targets, 0, sizeof(from->targets));
    to->syncs = from->syncs, to->sync_ns = from->sync_ns;
    for (size_t i = 0; i < to->targets.n; i++)
        to->targets.p[i]->pool = to;
}

static void pool_stop_targets(struct scrape *s, struct spool *p)
{
    for (size_t i = 0; i < p->targets.n; i++) {
        p->targets.p[i]->pool = NULL;
        scrape_target_stop(s, p->targets.p[i]);
    }
    vec_clear(&p->targets);
}

enum err scrape_reload(struct scrape *s, struct prom_config *cfg, struct err_text *reterr)
{
    VEC(struct spool *) fresh = { 0 };
    (void)reterr;
    for (size_t i = 0; i < cfg->scrape_configs.n; i++) {
        const struct scrape_config *c = &cfg->scrape_configs.p[i];
        size_t it = 0;
        for (const char *name; (name = sd_configs_unsupported(&c->sd, &it));)
            LOG_WARN("service discovery is not supported yet, its targets are not scraped", "job", LOG_STR(c->job_name),
                     "kind", name);
        vec_push(&fresh, pool_new(s, cfg, c));
    }
    mtx_lock(&s->mu);
    VEC(struct spool *) old = { s->pools.p, s->pools.n, s->pools.cap };
    s->pools.p = fresh.p, s->pools.n = fresh.n, s->pools.cap = fresh.cap;
    for (size_t i = 0; i < s->pools.n; i++) {
        struct spool *p = s->pools.p[i];
        for (size_t k = 0; k < old.n; k++)
            if (str_eq(old.p[k]->cfg->job_name, p->cfg->job_name))
                pool_inherit(old.p[k], p);
        for (size_t k = 0; k < p->providers.n; k++)
            p->providers.p[k]->pool = p;
        scrape_sync_pool(s, p);
    }
    for (size_t k = 0; k < old.n; k++) {
        pool_stop_targets(s, old.p[k]);
        pool_free(old.p[k]);
    }
    vec_free(&old);
    struct prom_config *before = s->prom;
    s->prom = cfg;
    cond_signal(&s->sd_cv);
    cond_signal(&s->dns_cv);
    s->remote_news = true;
    cond_signal(&s->remote_cv);
    mtx_unlock(&s->mu);
    prom_config_unref(before);
    return OK;
}

/* ---- metrics of our own ---- */

enum { BY_TARGETS, BY_DISCOVERED, BY_SYNCS, BY_SYNC_SUM, BY_SYNC_COUNT };
static void render_pools(struct scrape *s, struct buf *out, const char *name, const char *labels, int what)
{
    for (size_t i = 0; i < s->pools.n; i++) {
        const struct spool *p = s->pools.p[i];
        buf_printf(out, "%s{%s=", name, labels);
        json_escape(out, p->cfg->job_name);
        buf_lit(out, "} ");
        if (what == BY_SYNC_SUM)
            buf_f64_g(out, (double)p->sync_ns / 1e9);
        else
            buf_u64_dec(out, what == BY_TARGETS ? p->targets.n : what == BY_DISCOVERED ? p->n_discovered : p->syncs);
        buf_u8(out, '\n');
    }
}

static void render_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static int float_cmp(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void render_lengths(struct buf *out, const struct interval_lengths *l)
{
    static const double quantiles[] = { 0.01, 0.05, 0.5, 0.9, 0.99 };
    float sorted[SCRAPE_LENGTHS];
    size_t n = (size_t)MIN(l->count, (uint64_t)SCRAPE_LENGTHS);
    AUTO_BUF struct buf interval;
    buf_init(&interval, 100);
    buf_duration(&interval, l->interval_ms);
    memcpy(sorted, l->newest_s, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), float_cmp);
    for (size_t q = 0; q < ARRAY_LEN(quantiles); q++)
        buf_printf(out, "prometheus_target_interval_length_seconds{interval=\"" STR_FMT "\",quantile=\"%g\"} %g\n",
                   STR_ARG(buf_str(&interval)), quantiles[q], (double)sorted[(size_t)(quantiles[q] * (double)(n - 1))]);
    buf_printf(out, "prometheus_target_interval_length_seconds_sum{interval=\"" STR_FMT "\"} %g\n",
               STR_ARG(buf_str(&interval)), l->sum_s);
    buf_printf(out, "prometheus_target_interval_length_seconds_count{interval=\"" STR_FMT "\"} %llu\n",
               STR_ARG(buf_str(&interval)), (unsigned long long)l->count);
}

static void render(void *ctx, struct buf *out)
{
    struct scrape *s = ctx;
    mtx_lock(&s->mu);
    render_head(out, "prometheus_target_scrape_pools", "gauge", "Scrape pools.");
    buf_printf(out, "prometheus_target_scrape_pools %zu\n", s->pools.n);
    render_head(out, "prometheus_target_scrape_pool_targets", "gauge",
                "Current number of targets in this scrape pool.");
    render_pools(s, out, "prometheus_target_scrape_pool_targets", "scrape_job", BY_TARGETS);
    render_head(out, "prometheus_sd_discovered_targets", "gauge", "Current number of discovered targets.");
    render_pools(s, out, "prometheus_sd_discovered_targets", "name=\"scrape\",config", BY_DISCOVERED);
    render_head(out, "prometheus_target_scrape_pool_sync_total", "counter",
                "Total number of syncs that were executed on a scrape pool.");
    render_pools(s, out, "prometheus_target_scrape_pool_sync_total", "scrape_job", BY_SYNCS);
    render_head(out, "prometheus_target_sync_length_seconds", "summary", "Actual interval to sync the scrape pool.");
    render_pools(s, out, "prometheus_target_sync_length_seconds_sum", "scrape_job", BY_SYNC_SUM);
    render_pools(s, out, "prometheus_target_sync_length_seconds_count", "scrape_job", BY_SYNC_COUNT);
    render_head(out, "prometheus_target_interval_length_seconds", "summary", "Actual intervals between scrapes.");
    for (size_t i = 0; i < SCRAPE_INTERVALS && s->lengths[i].count; i++)
        render_lengths(out, &s->lengths[i]);
    render_head(out, "vane_scrape_in_flight", "gauge", "Requests to targets in progress.");
    buf_printf(out, "vane_scrape_in_flight %zu\n", s->in_flight);
    mtx_unlock(&s->mu);
}

/* ---- open and close ---- */

static enum err start_threads(struct scrape *s)
{
    TRY(thread_start(&s->scheduler, "scrape", scheduler_main, s));
    TRY(thread_start(&s->sd, "scrape-sd", sd_main, s));
    TRY(thread_start(&s->dns, "scrape-dns", sd_dns_main, s));
    TRY(thread_start(&s->remote, "scrape-remote", sd_remote_main, s));
    s->workers = mem_zalloc(s->n_workers * sizeof(*s->workers));
    for (unsigned i = 0; i < s->n_workers; i++) {
        char name[16];
        snprintf(name, sizeof(name), "scrape/%u", i % 1000);
        TRY(thread_start(&s->workers[i], name, worker_main, s));
    }
    return OK;
}

enum err scrape_open(const struct scrape_options *opt, struct scrape **ret, struct err_text *reterr)
{
    struct scrape *s = mem_zalloc(sizeof(*s));
    s->sink = opt->sink;
    s->clock = opt->clock ? opt->clock : os_clock();
    s->extra_metrics = opt->extra_metrics;
    s->in_flight_max = opt->in_flight_max ? opt->in_flight_max : SCRAPE_IN_FLIGHT_DEFAULT;
    s->n_workers = opt->decode_threads ? opt->decode_threads : MAX(os_cores() / 2, 1);
    enum err e = http_client_open(NULL, &s->http);
    if (e) {
        mem_free(s);
        return err_fail(reterr, e, "HTTP client cannot be opened");
    }
    mtx_init(&s->mu, 0);
    struct cond *conds[] = { &s->wake, &s->ready_cv, &s->idle_cv, &s->sd_cv, &s->dns_cv, &s->remote_cv };
    for (size_t i = 0; i < ARRAY_LEN(conds); i++)
        cond_init(conds[i]);
    struct stat *stats[] = { &scrape_stat_sample_limit, &scrape_stat_body_limit,  &scrape_stat_duplicates,
                             &scrape_stat_scrapes,      &scrape_stat_failed,      &scrape_stat_cache_misses,
                             &scrape_stat_target_limit, &scrape_stat_label_limit, &scrape_stat_bucket_limit };
    for (size_t i = 0; i < ARRAY_LEN(stats); i++)
        stat_register(stats[i]);
    e = start_threads(s);
    ASSERT(e == OK); /* no threads at start: nothing sensible can run */
    stats_on_render(render, s);
    *ret = s;
    return OK;
}

/* Discovery first (nothing new appears), then every target's last pass, then the rest. */
static void stop_all(struct scrape *s)
{
    mtx_lock(&s->mu);
    s->sd_closing = true;
    cond_broadcast(&s->sd_cv);
    cond_broadcast(&s->dns_cv);
    cond_broadcast(&s->remote_cv);
    mtx_unlock(&s->mu);
    thread_join(s->sd);
    thread_join(s->dns);
    thread_join(s->remote);
    mtx_lock(&s->mu);
    for (size_t i = 0; i < s->pools.n; i++)
        pool_stop_targets(s, s->pools.p[i]);
    while (s->n_alive)
        cond_wait(&s->idle_cv, &s->mu);
    s->closing = true;
    cond_broadcast(&s->wake);
    cond_broadcast(&s->ready_cv);
    mtx_unlock(&s->mu);
    thread_join(s->scheduler);
    for (unsigned i = 0; i < s->n_workers; i++)
        thread_join(s->workers[i]);
}

void scrape_close(struct scrape *s)
{
    if (!s)
        return;
    stats_off_render(render, s);
    stop_all(s);
    http_client_close(s->http);
    sd_remote_close(s);
    for (size_t i = 0; i < s->pools.n; i++) {
        for (size_t k = 0; k < s->pools.p[i]->providers.n; k++)
            s->pools.p[i]->providers.p[k]->busy = false;
        pool_free(s->pools.p[i]);
    }
    prom_config_unref(s->prom);
    vec_free(&s->pools);
    vec_free(&s->heap);
    mem_free(s->workers);
    struct cond *conds[] = { &s->wake, &s->ready_cv, &s->idle_cv, &s->sd_cv, &s->dns_cv, &s->remote_cv };
    for (size_t i = 0; i < ARRAY_LEN(conds); i++)
        cond_deinit(conds[i]);
    mtx_deinit(&s->mu);
    mem_free(s);
}

/* ---- status ---- */

static str global_url(const struct target *t, str external_host, struct arena *a)
{
    str host = t->host, port = STR("");
    size_t colon = SIZE_MAX;
    for (size_t i = host.n; i-- > 0 && host.p[i] != ']';)
        if (host.p[i] == ':') {
            colon = i;
            break;
        }
    if (colon != SIZE_MAX) {
        port = str_skip(host, colon);
        host = str_take(host, colon);
    }
    bool local = str_eq(host, STR("localhost")) || str_eq(host, STR("127.0.0.1")) || str_eq(host, STR("[::1]"));
    if (!local || external_host.n == 0)
        return arena_str(a, t->url);
    return arena_printf(a, STR_FMT "://" STR_FMT STR_FMT STR_FMT, STR_ARG(t->scheme), STR_ARG(external_host),
                        STR_ARG(port), STR_ARG(t->url_path_on));
}

static void status_target(const struct target *t, str external_host, struct arena *a, struct scrape_target_status *ret)
{
    *ret = (struct scrape_target_status){
        .discovered = labels_copy(a, t->discovered),
        .labels = labels_copy(a, t->labels),
        .pool = arena_str(a, t->cfg->job_name),
        .scrape_url = arena_str(a, t->url),
        .global_url = global_url(t, external_host, a),
        .last_error = arena_str(a, str_c(t->last_error)),
        .last_scrape_ms = t->last_scrape_ms,
        .last_duration_s = t->last_duration_s,
        .health = t->health,
        .interval_ms = t->interval_ms,
        .timeout_ms = t->timeout_ms,
        .samples = t->last_samples,
        .series = t->last_series,
    };
}

static int status_cmp(const void *a, const void *b)
{
    const struct scrape_target_status *x = a, *y = b;
    int c = str_cmp(x->pool, y->pool);
    return c ? c : str_cmp(x->scrape_url, y->scrape_url);
}

static void status_pool(struct spool *p, str external_host, struct arena *a, struct scrape_status *ret)
{
    struct scrape_pool_status *ps = &ret->pools[ret->n_pools++];
    *ps = (struct scrape_pool_status){ .name = arena_str(a, p->cfg->job_name),
                                       .n_active = p->targets.n,
                                       .n_dropped = p->n_dropped,
                                       .over_target_limit = p->over_limit };
    const char *error = p->error;
    for (size_t i = 0; i < p->providers.n && !error[0]; i++)
        error = p->providers.p[i]->error;
    ps->discovery_error = arena_str(a, str_c(error));
    for (size_t i = 0; i < p->targets.n; i++)
        status_target(p->targets.p[i], external_host, a, &ret->active[ret->n_active++]);
    for (size_t i = 0; i < p->dropped.n; i++)
        ret->dropped[ret->n_dropped++] = (struct scrape_dropped_status){ labels_copy(a, p->dropped.p[i]), ps->name };
}

void scrape_status(struct scrape *s, str pool, str external_host, struct arena *a, struct scrape_status *ret)
{
    size_t active = 0, dropped = 0;
    *ret = (struct scrape_status){ 0 };
    mtx_lock(&s->mu);
    for (size_t i = 0; i < s->pools.n; i++) {
        active += s->pools.p[i]->targets.n;
        dropped += s->pools.p[i]->dropped.n;
    }
    ret->active = arena_zarray(a, struct scrape_target_status, active + 1);
    ret->dropped = arena_zarray(a, struct scrape_dropped_status, dropped + 1);
    ret->pools = arena_zarray(a, struct scrape_pool_status, s->pools.n + 1);
    for (size_t i = 0; i < s->pools.n; i++)
        if (pool.n == 0 || str_eq(pool, s->pools.p[i]->cfg->job_name))
            status_pool(s->pools.p[i], external_host, a, ret);
    mtx_unlock(&s->mu);
    qsort(ret->active, ret->n_active, sizeof(*ret->active), status_cmp);
}

static void metadata_of(struct target *t, str metric, size_t limit, struct arena *a, struct scrape_target_metadata **p,
                        size_t *n, size_t *cap)
{
    VEC(struct scrape_target_metadata) v = { *p, *n, *cap };
    struct labels ls = labels_copy(a, t->labels);
    mtx_lock(&t->cache_mu);
    map_each (meta_map, slot, &t->cache.meta) {
        if ((limit && v.n >= limit) || (metric.n && !str_eq(metric, slot->key)))
            continue;
        struct scrape_target_metadata m = { ls, arena_str(a, slot->key), slot->value.meta };
        m.meta.help = arena_str(a, m.meta.help);
        m.meta.unit = arena_str(a, m.meta.unit);
        avec_push(a, &v, m);
    }
    mtx_unlock(&t->cache_mu);
    *p = v.p, *n = v.n, *cap = v.cap;
}

void scrape_metadata(struct scrape *s, str metric, bool (*match)(void *ctx, struct labels target), void *ctx,
                     size_t limit, struct arena *a, struct scrape_target_metadata **ret, size_t *ret_n)
{
    VEC(struct target *) v = { 0 };
    size_t cap = 0;
    *ret = NULL;
    *ret_n = 0;
    mtx_lock(&s->mu);
    for (size_t i = 0; i < s->pools.n; i++)
        for (size_t k = 0; k < s->pools.p[i]->targets.n; k++)
            avec_push(a, &v, target_ref(s->pools.p[i]->targets.p[k]));
    mtx_unlock(&s->mu);
    for (size_t i = 0; i < v.n; i++) {
        if ((!limit || *ret_n < limit) && (!match || match(ctx, v.p[i]->labels)))
            metadata_of(v.p[i], metric, limit, a, ret, ret_n, &cap);
        target_unref(v.p[i]);
    }
}
