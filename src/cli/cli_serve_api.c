/* The process and its targets as the API sees them. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/num.h"
#include "cli/cli_serve.h"
#include "cli/cli_serve_drill.h"
#include "ui_files.h"

static bool process_ready(void *ctx)
{
    return atomic_load(&((struct serve *)ctx)->ready);
}

static bool process_taking(void *ctx)
{
    return atomic_load(&((struct serve *)ctx)->taking);
}

static double process_replay_progress(void *ctx)
{
    return tsdb_replay_progress(((struct serve *)ctx)->db);
}

static enum err process_config_text(void *ctx, struct arena *a, str *ret)
{
    struct serve *s = ctx;
    AUTO_BUF struct buf b = { 0 };
    mtx_lock(&s->mu);
    prom_config_print(s->cfg->prom, &b);
    mtx_unlock(&s->mu);
    *ret = arena_str(a, buf_str(&b));
    return OK;
}

static void process_external_labels(void *ctx, struct arena *a, struct labels *ret)
{
    struct serve *s = ctx;
    struct label_builder b;
    lb_init(&b, a);
    mtx_lock(&s->mu);
    const struct global_config *g = &s->cfg->prom->global;
    for (size_t i = 0; i < g->external_labels.n; i++)
        lb_set(&b, arena_str(a, g->external_labels.keys[i]), arena_str(a, g->external_labels.p[i]));
    mtx_unlock(&s->mu);
    *ret = lb_labels(&b);
}

static void process_config_state(void *ctx, struct api_config_state *ret)
{
    struct serve *s = ctx;
    mtx_lock(&s->mu);
    *ret = (struct api_config_state){ s->reload_ok, s->reload_ms };
    mtx_unlock(&s->mu);
}

static enum err process_reload(void *ctx, struct err_text *reterr)
{
    return serve_reload(ctx, reterr);
}

/* The state of rules and alerting. Without its database the rest is worth a backup all the same. */
static enum err process_snapshot_rest(void *ctx, str name, struct err_text *reterr)
{
    struct serve *s = ctx;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    if (!s->control)
        return OK;
    if (!control_durable(s->control)) {
        LOG_WARN("this snapshot has no control.db: rules and alerting run without their database");
        return OK;
    }
    mtx_lock(&s->mu);
    str path = arena_printf(&a, STR_FMT "/snapshots/" STR_FMT "/control.db", STR_ARG(s->cfg->data_dir), STR_ARG(name));
    mtx_unlock(&s->mu);
    return control_backup(s->control, path.p, reterr);
}

static void process_quit(void *ctx)
{
    (void)ctx;
    kill(getpid(), SIGTERM); /* the main thread waits for it and stops in order */
}

static enum err scrape_targets(void *ctx, bool want_active, bool want_dropped, struct arena *a, struct api_targets *ret)
{
    static const enum api_health health[] = {
        [SCRAPE_UNKNOWN] = API_HEALTH_UNKNOWN, [SCRAPE_UP] = API_HEALTH_UP, [SCRAPE_DOWN] = API_HEALTH_DOWN
    };
    struct serve *s = ctx;
    struct scrape_status st;
    scrape_status(s->scrape, STR(""), STR(""), a, &st);
    *ret = (struct api_targets){ 0 };
    struct api_target *active = arena_array(a, struct api_target, st.n_active);
    for (size_t i = 0; want_active && i < st.n_active; i++) {
        const struct scrape_target_status *t = &st.active[i];
        active[i] = (struct api_target){
            .discovered = t->discovered,
            .labels = t->labels,
            .pool = t->pool,
            .url = t->scrape_url,
            .global_url = t->global_url,
            .last_error = t->last_error,
            .last_scrape_ms = t->last_scrape_ms,
            .last_duration_s = t->last_duration_s,
            .health = health[t->health],
            .interval_ms = t->interval_ms,
            .timeout_ms = t->timeout_ms,
        };
    }
    ret->active = active;
    ret->n_active = want_active ? st.n_active : 0;
    struct api_dropped_target *dropped = arena_array(a, struct api_dropped_target, st.n_dropped);
    for (size_t i = 0; want_dropped && i < st.n_dropped; i++)
        dropped[i] = (struct api_dropped_target){ st.dropped[i].discovered, st.dropped[i].pool };
    ret->dropped = dropped;
    ret->n_dropped = want_dropped ? st.n_dropped : 0;
    struct api_pool_count *counts = arena_array(a, struct api_pool_count, st.n_pools);
    for (size_t i = 0; i < st.n_pools; i++)
        counts[i] = (struct api_pool_count){ st.pools[i].name, st.pools[i].n_dropped };
    ret->dropped_counts = counts;
    ret->n_dropped_counts = st.n_pools;
    return OK;
}

static enum err scrape_pools(void *ctx, struct arena *a, str **ret, size_t *ret_n)
{
    struct scrape_status st;
    scrape_status(((struct serve *)ctx)->scrape, STR(""), STR(""), a, &st);
    *ret = arena_array(a, str, st.n_pools);
    for (size_t i = 0; i < st.n_pools; i++)
        (*ret)[i] = st.pools[i].name;
    *ret_n = st.n_pools;
    return OK;
}

static enum err scrape_metadata_rows(void *ctx, str metric, bool (*match)(void *match_ctx, struct labels target),
                                     void *match_ctx, size_t limit, struct arena *a, struct api_target_metadata **ret,
                                     size_t *ret_n)
{
    struct scrape_target_metadata *rows;
    size_t n;
    scrape_metadata(((struct serve *)ctx)->scrape, metric, match, match_ctx, limit, a, &rows, &n);
    *ret = arena_array(a, struct api_target_metadata, n);
    for (size_t i = 0; i < n; i++)
        (*ret)[i] = (struct api_target_metadata){ rows[i].target, rows[i].metric, rows[i].meta };
    *ret_n = n;
    return OK;
}

static bool serve_file(str path, struct http_file *ret)
{
    const struct ui_file *f = ui_file_find(path.p, path.n);
    if (!f)
        return false;
    *ret = (struct http_file){
        .path = str_c(f->path),
        .content_type = str_c(f->type),
        .gzip = str_n((const char *)f->gz, f->n_gz),
        .etag = str_c(f->etag),
        .immutable = str_has_prefix(str_c(f->path), STR("/assets/")),
    };
    return true;
}

static str retention_text(struct serve *s)
{
    AUTO_BUF struct buf b = { 0 };
    if (s->cfg->retention.time_ms)
        buf_duration(&b, s->cfg->retention.time_ms);
    if (s->cfg->retention.bytes)
        buf_printf(&b, "%s%lluB", b.n ? " or " : "", (unsigned long long)s->cfg->retention.bytes);
    return arena_str(&s->a, buf_str(&b));
}

/* status/flags says where the data is, also by default: backups ask for it. */
static void show_data_dir(struct serve *s)
{
    struct serve_options *o = &s->opt;
    str name = STR("storage.tsdb.path");
    size_t at = 0;
    while (at < o->n_flags && str_cmp(o->flags[at].name, name) < 0)
        at++;
    if (at < o->n_flags && str_eq(o->flags[at].name, name)) {
        o->flags[at].value = s->cfg->data_dir;
        return;
    }
    if (o->n_flags == ARRAY_LEN(o->flags))
        return;
    memmove(&o->flags[at + 1], &o->flags[at], (o->n_flags - at) * sizeof(o->flags[0]));
    o->flags[at] = (struct http_pair){ name, arena_str(&s->a, s->cfg->data_dir) };
    o->n_flags++;
}

static void forward_rows(void *ctx, struct arena *a, const struct api_forward_row **ret, size_t *ret_n)
{
    struct forward_status *st;
    forward_status(((struct serve *)ctx)->forward, a, &st, ret_n);
    struct api_forward_row *rows = arena_array(a, struct api_forward_row, *ret_n + 1);
    for (size_t i = 0; i < *ret_n; i++)
        rows[i] = (struct api_forward_row){
            .name = st[i].name,
            .url = st[i].url,
            .protocol = st[i].protocol,
            .shards = st[i].shards,
            .shards_desired = st[i].shards_desired,
            .pending = st[i].pending,
            .sent = st[i].sent,
            .failed = st[i].failed,
            .retried = st[i].retried,
            .dropped = st[i].dropped,
            .lag_bytes = st[i].lag_bytes,
            .lag_seconds = st[i].lag_seconds,
            .highest_sent_ms = st[i].highest_sent_ms,
            .last_ok_ms = st[i].last_ok_ms,
            .last_error = st[i].last_error,
        };
    *ret = rows;
}

static void alertmanager_urls(void *ctx, struct arena *a, str **ret_active, size_t *ret_n_active, str **ret_dropped,
                              size_t *ret_n_dropped)
{
    *ret_n_active = *ret_n_dropped = 0;
    struct serve *s = ctx;
    if (s->notify)
        notify_status(s->notify, a, ret_active, ret_n_active, ret_dropped, ret_n_dropped);
}

void serve_api_deps(struct serve *s, struct api_deps *d)
{
    s->api_forward = (struct api_forward){ s, forward_rows };
    char text[1024] = "";
    show_data_dir(s);
    s->api_scrape = (struct api_scrape){
        .ctx = s, .targets = scrape_targets, .pools = scrape_pools, .metadata = scrape_metadata_rows
    };
    s->api_process = (struct api_process){
        .ctx = s,
        .ready = process_ready,
        .taking = process_taking,
        .replay_progress = process_replay_progress,
        .config_text = process_config_text,
        .external_labels = process_external_labels,
        .config_state = process_config_state,
        .reload = process_reload,
        .snapshot_rest = process_snapshot_rest,
        .quit = s->opt.lifecycle ? process_quit : NULL,
    };
    s->api_drills = (struct api_drills){ s->drills, drills_start, drills_json };
    s->api_alertmanagers = (struct api_alertmanagers){ s, alertmanager_urls };
    s->api_store = (struct api_store_pair){ s->db, s->ingest };
    *d = (struct api_deps){
        .store = api_store_tsdb(&s->api_store),
        .engine = s->engine,
        .source = s->source,
        .promql_features = s->opt.features,
        .scrape = &s->api_scrape,
        .forwarding = &s->api_forward,
        .agent = s->opt.agent,
        .push = s->push,
        .rules = s->rules,
        .alertmanager = s->alertmanager ? &s->api_alertmanager : NULL,
        .alertmanagers = &s->api_alertmanagers,
        .drills = s->drills ? &s->api_drills : NULL,
        .process = &s->api_process,
        .admin = s->opt.admin,
        .flags = s->opt.flags,
        .n_flags = s->opt.n_flags,
        .build = { .version = str_c(cli_version_text),
                   .revision = str_c(cli_version_revision),
                   .branch = str_c(cli_version_branch),
                   .build_user = STR(""),
                   .build_date = STR(""),
                   .compiler = str_c(cli_version_compiler) },
        .clock = os_clock(),
        .start_ms = s->start_ms,
        .storage_retention = retention_text(s),
        .lookback_ms = s->cfg->query.lookback_ms,
        .tenants = s->cfg->tenants.enabled,
        .default_tenant = arena_str(&s->a, s->cfg->tenants.default_tenant),
        .write_limits = WIRE_LIMITS_DEFAULT,
        .ui_find = serve_file,
        .ui_csp = STR(UI_CSP),
        .external_url = arena_str(&s->a, s->cfg->web.external_url),
    };
    if (getcwd(text, sizeof(text)))
        d->cwd = arena_str(&s->a, str_c(text));
    if (gethostname(text, sizeof(text) - 1) == 0)
        d->hostname = arena_str(&s->a, str_c(text));
}
