/* /api/v1: targets, scrape_pools, alertmanagers, status/..., features, notifications; and the
 * management routes /-/healthy, /-/ready, /-/reload, /-/quit. */

#include "api/api_int.h"

/* ---- targets ---- */

static void kduration(struct json_out *j, str key, int64_t ms)
{
    struct buf b;
    buf_init(&b, 0);
    buf_duration(&b, ms);
    json_key(j, key);
    json_str(j, buf_str(&b));
    buf_deinit(&b);
}

static void klabels(struct json_out *j, str key, struct labels ls)
{
    json_key(j, key);
    labels_json(j, ls);
}

static void target_json(struct json_out *j, const struct api_target *t)
{
    static const char *const health[] = {
        [API_HEALTH_UNKNOWN] = "unknown", [API_HEALTH_UP] = "up", [API_HEALTH_DOWN] = "down"
    };
    json_obj(j);
    klabels(j, STR("discoveredLabels"), t->discovered);
    klabels(j, STR("labels"), t->labels);
    json_kstr(j, "scrapePool", t->pool);
    json_kstr(j, "scrapeUrl", t->url);
    json_kstr(j, "globalUrl", t->global_url);
    json_kstr(j, "lastError", t->last_error.p ? t->last_error : STR(""));
    json_key(j, STR("lastScrape"));
    api_json_rfc3339(j, t->last_scrape_ms);
    json_kf64(j, "lastScrapeDuration", t->last_duration_s);
    json_kstr(j, "health", str_c(health[t->health]));
    kduration(j, STR("scrapeInterval"), t->interval_ms);
    kduration(j, STR("scrapeTimeout"), t->timeout_ms);
    json_obj_end(j);
}

static void dropped_json(struct json_out *j, const struct api_targets *t, str pool)
{
    json_key(j, STR("droppedTargets"));
    json_arr(j);
    for (size_t i = 0; i < t->n_dropped; i++) {
        if (pool.n && !str_eq(t->dropped[i].pool, pool))
            continue;
        json_obj(j);
        klabels(j, STR("discoveredLabels"), t->dropped[i].discovered);
        json_kstr(j, "scrapePool", t->dropped[i].pool);
        json_obj_end(j);
    }
    json_arr_end(j);
    json_key(j, STR("droppedTargetCounts"));
    json_obj(j);
    for (size_t i = 0; i < t->n_dropped_counts; i++) {
        json_key(j, t->dropped_counts[i].pool);
        json_u64(j, t->dropped_counts[i].n);
    }
    json_obj_end(j);
}

static void targets(struct http_request *rq, struct http_response *rs)
{
    const struct api_scrape *sc = api_of(rq)->d.scrape;
    str state = http_param(rq, STR("state")), pool = http_param(rq, STR("scrapePool"));
    bool any = state.n == 0 || str_ieq(state, STR("any"));
    bool active = any || str_ieq(state, STR("active")), dropped = any || str_ieq(state, STR("dropped"));
    struct api_targets t = { 0 };
    enum err e = sc && api_tenant_is_default(rq) ? sc->targets(sc->ctx, active, dropped, rq->a, &t) : OK;
    if (e != OK) {
        api_fail_err(rs, e, NULL);
        return;
    }
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_key(&j, STR("activeTargets"));
    json_arr(&j);
    for (size_t i = 0; active && i < t.n_active; i++)
        if (!pool.n || str_eq(t.active[i].pool, pool))
            target_json(&j, &t.active[i]);
    json_arr_end(&j);
    if (!dropped)
        t.n_dropped = t.n_dropped_counts = 0;
    dropped_json(&j, &t, pool);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

static void scrape_pools(struct http_request *rq, struct http_response *rs)
{
    const struct api_scrape *sc = api_of(rq)->d.scrape;
    str *names = NULL;
    size_t n = 0;
    enum err e = sc && api_tenant_is_default(rq) ? sc->pools(sc->ctx, rq->a, &names, &n) : OK;
    if (e != OK) {
        api_fail_err(rs, e, NULL);
        return;
    }
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_key(&j, STR("scrapePools"));
    json_arr(&j);
    for (size_t i = 0; i < n; i++)
        json_str(&j, names[i]);
    json_arr_end(&j);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

static bool selector_matches(void *ctx, struct labels target)
{
    const struct api_selector *s = ctx;
    return matchers_match(s->m, s->n, target);
}

static void targets_metadata(struct http_request *rq, struct http_response *rs)
{
    const struct api_scrape *sc = api_of(rq)->d.scrape;
    struct api_selector sel = { 0 };
    struct err_text why = { .msg = "" };
    struct api_target_metadata *rows = NULL;
    int64_t limit;
    size_t n = 0;
    str match = http_param(rq, STR("match_target"));
    if (!api_count_param(rq, rs, "limit", &limit))
        return;
    if (match.n && promql_parse_selector(rq->a, match, &sel.m, &sel.n, &why) != OK) {
        api_fail_param(rs, "match_target", why.msg);
        return;
    }
    enum err e = OK;
    str metric = http_param(rq, STR("metric"));
    if (sc && sc->metadata && limit != 0 && api_tenant_is_default(rq))
        e = sc->metadata(sc->ctx, metric.p ? metric : STR(""), match.n ? selector_matches : NULL, &sel,
                         limit < 0 ? 0 : (size_t)limit, rq->a, &rows, &n);
    if (match.n)
        promql_matchers_deinit(sel.m, sel.n);
    if (e != OK) {
        api_fail_err(rs, e, NULL);
        return;
    }
    struct json_out j = api_begin(rs);
    json_arr(&j);
    for (size_t i = 0; i < n; i++) {
        json_obj(&j);
        klabels(&j, STR("target"), rows[i].target);
        if (!metric.n)
            json_kstr(&j, "metric", rows[i].metric);
        json_kstr(&j, "type", str_c(metric_type_name(rows[i].meta.type)));
        json_kstr(&j, "help", rows[i].meta.help);
        json_kstr(&j, "unit", rows[i].meta.unit);
        json_obj_end(&j);
    }
    json_arr_end(&j);
    api_end(&j, NULL, 0);
}

static void json_kurls(struct json_out *j, str key, const str *urls, size_t n)
{
    json_key(j, key);
    json_arr(j);
    for (size_t i = 0; i < n; i++) {
        json_obj(j);
        json_kstr(j, "url", urls[i]);
        json_obj_end(j);
    }
    json_arr_end(j);
}

static void alertmanagers(struct http_request *rq, struct http_response *rs)
{
    const struct api_alertmanagers *am = api_of(rq)->d.alertmanagers;
    str *active = NULL, *dropped = NULL;
    size_t n_active = 0, n_dropped = 0;
    if (am && api_tenant_is_default(rq))
        am->urls(am->ctx, rq->a, &active, &n_active, &dropped, &n_dropped);
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_kurls(&j, STR("activeAlertmanagers"), active, n_active);
    json_kurls(&j, STR("droppedAlertmanagers"), dropped, n_dropped);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

static void notifications(struct http_request *rq, struct http_response *rs)
{
    (void)rq;
    struct json_out j = api_begin(rs);
    json_arr(&j);
    json_arr_end(&j);
    api_end(&j, NULL, 0);
}

/* ---- status ---- */

static void status_config(struct http_request *rq, struct http_response *rs)
{
    const struct api_process *p = api_of(rq)->d.process;
    str text = STR("");
    enum err e = p->config_text && api_tenant_is_default(rq) ? p->config_text(p->ctx, rq->a, &text) : OK;
    if (e != OK) {
        api_fail_err(rs, e, NULL);
        return;
    }
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_kstr(&j, "yaml", text);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

static void status_flags(struct http_request *rq, struct http_response *rs)
{
    const struct api_deps *d = &api_of(rq)->d;
    struct json_out j = api_begin(rs);
    json_obj(&j);
    for (size_t i = 0; i < d->n_flags; i++) {
        json_key(&j, d->flags[i].name);
        json_str(&j, d->flags[i].value);
    }
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

static void status_buildinfo(struct http_request *rq, struct http_response *rs)
{
    const struct api_build *b = &api_of(rq)->d.build;
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_kstr(&j, "version", b->version);
    json_kstr(&j, "revision", b->revision);
    json_kstr(&j, "branch", b->branch);
    json_kstr(&j, "buildUser", b->build_user);
    json_kstr(&j, "buildDate", b->build_date);
    json_kstr(&j, "goVersion", b->compiler);
    json_kstr(&j, "application", STR("vane"));
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

static void ktime(struct json_out *j, str key, int64_t ms)
{
    json_key(j, key);
    api_json_rfc3339(j, ms);
}

static void status_runtimeinfo(struct http_request *rq, struct http_response *rs)
{
    const struct api *api = api_of(rq);
    const struct api_process *p = api->d.process;
    struct api_config_state config = { .reload_ok = true, .reload_ms = api->d.start_ms };
    if (p->config_state)
        p->config_state(p->ctx, &config);
    struct json_out j = api_begin(rs);
    json_obj(&j);
    ktime(&j, STR("startTime"), api->d.start_ms);
    json_kstr(&j, "CWD", api->d.cwd);
    json_kstr(&j, "hostname", api->d.hostname);
    ktime(&j, STR("serverTime"), api_now_ms(api));
    json_kbool(&j, "reloadConfigSuccess", config.reload_ok);
    ktime(&j, STR("lastConfigTime"), config.reload_ms);
    json_ki64(&j, "corruptionCount", 0);
    json_ki64(&j, "goroutineCount", 0);
    json_ki64(&j, "GOMAXPROCS", os_cores());
    json_ku64(&j, "GOMEMLIMIT", os_memory_limit());
    json_kstr(&j, "GOGC", STR(""));
    json_kstr(&j, "GODEBUG", STR(""));
    json_kstr(&j, "storageRetention", api->d.storage_retention);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

/* Progress in thousandths: there is one log, not a list of numbered files. */
static void status_walreplay(struct http_request *rq, struct http_response *rs)
{
    const struct api_process *p = api_of(rq)->d.process;
    double progress = p->replay_progress ? p->replay_progress(p->ctx) : 1;
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_ki64(&j, "min", 0);
    json_ki64(&j, "max", 1000);
    json_ki64(&j, "current", (int64_t)(progress * 1000));
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

static void features(struct http_request *rq, struct http_response *rs)
{
    static const struct {
        const char *name;
        unsigned bit;
    } rows[] = {
        { "binop_fill_modifiers", PROMQL_FILL },
        { "delayed_name_removal", PROMQL_DELAYED_NAME_REMOVAL },
        { "duration_expr", PROMQL_DURATION_EXPR },
        { "experimental_functions", PROMQL_EXPERIMENTAL_FUNCTIONS },
        { "extended_range_selectors", PROMQL_EXTENDED_RANGE },
        { "start_timestamps", PROMQL_START_TIMESTAMPS },
        { "type_and_unit_labels", PROMQL_TYPE_AND_UNIT },
    };
    unsigned on = api_of(rq)->d.promql_features;
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_key(&j, STR("api"));
    json_obj(&j);
    json_kbool(&j, "admin", api_of(rq)->d.admin);
    json_kbool(&j, "exclude_alerts", true);
    json_kbool(&j, "label_values_match", true);
    json_kbool(&j, "otlp_write_receiver", true);
    json_kbool(&j, "query_stats", true);
    json_kbool(&j, "remote_write_receiver", true);
    json_obj_end(&j);
    json_key(&j, STR("promql"));
    json_obj(&j);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_key(&j, str_c(rows[i].name));
        json_bool(&j, on & rows[i].bit);
    }
    json_obj_end(&j);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

/* ---- management: the texts are upstream's, because probes compare them ---- */

static void text_answer(struct http_response *rs, int status, str text)
{
    http_answer(rs, status, STR("text/plain; charset=utf-8"), text);
}

static void healthy(struct http_request *rq, struct http_response *rs)
{
    (void)rq;
    text_answer(rs, 200, STR("Prometheus Server is Healthy.\n"));
}

static void ready(struct http_request *rq, struct http_response *rs)
{
    if (!api_not_ready(api_of(rq), rs))
        text_answer(rs, 200, STR("Prometheus Server is Ready.\n"));
}

static void reload(struct http_request *rq, struct http_response *rs)
{
    const struct api_process *p = api_of(rq)->d.process;
    struct err_text why = { .msg = "" };
    if (!p->reload) {
        text_answer(rs, 403, STR("Lifecycle API is not enabled.\n"));
        return;
    }
    enum err e = p->reload(p->ctx, &why);
    if (e == OK) {
        text_answer(rs, 200, STR(""));
        return;
    }
    text_answer(rs, 500, STR("failed to reload config: "));
    buf_printf(&rs->body, "%s\n", why.msg[0] ? why.msg : err_describe(e));
}

static void quit(struct http_request *rq, struct http_response *rs)
{
    const struct api_process *p = api_of(rq)->d.process;
    if (!p->quit) {
        text_answer(rs, 403, STR("Lifecycle API is not enabled.\n"));
        return;
    }
    text_answer(rs, 200, STR("Requesting termination... Goodbye!\n"));
    p->quit(p->ctx);
}

#define GET HTTP_BIT(HTTP_GET)
#define DO  (HTTP_BIT(HTTP_POST) | HTTP_BIT(HTTP_PUT))
const struct http_route api_status_routes[] = {
    { GET, "/api/v1/targets", targets, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/targets/metadata", targets_metadata, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/scrape_pools", scrape_pools, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/alertmanagers", alertmanagers, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/notifications", notifications, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/features", features, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/status/config", status_config, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/status/flags", status_flags, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/status/buildinfo", status_buildinfo, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/status/runtimeinfo", status_runtimeinfo, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/status/walreplay", status_walreplay, HTTP_CONTROL, NULL, HTTP_CORS },
    { DO, "/-/reload", reload, HTTP_CONTROL, NULL, 0 },
    { DO, "/-/quit", quit, HTTP_CONTROL, NULL, 0 },
};
const size_t api_status_routes_n = ARRAY_LEN(api_status_routes);

/* On every listener, also on those for agents. */
const struct http_route api_common_routes[] = {
    { GET, "/-/healthy", healthy, HTTP_INLINE, NULL, 0 },
    { GET, "/-/ready", ready, HTTP_INLINE, NULL, 0 },
    { GET, "/metrics", api_metrics, HTTP_CONTROL, NULL, 0 },
};
const size_t api_common_routes_n = ARRAY_LEN(api_common_routes);
