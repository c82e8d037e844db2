/* The configuration of the running process: file, then options over it; reload changes all or nothing. */
#include "base/log.h"
#include "alerting/am_service.h"
#include "cli/cli_serve.h"

enum err serve_load(struct serve *s, struct cli_config **ret, struct buf *report, struct err_text *reterr)
{
    struct cli_config *cfg;
    const struct serve_options *o = &s->opt;
    TRY(cli_config_load(o->config_path, &cfg, report, reterr));
    if (o->n_listen) {
        cfg->listen.p = s->opt.listen;
        cfg->listen.n = o->n_listen;
    }
    if (o->n_otlp_listen || o->no_otlp) {
        cfg->otlp_listen.p = s->opt.otlp_listen;
        cfg->otlp_listen.n = o->no_otlp ? 0 : o->n_otlp_listen;
    }
    if (o->n_otlp_grpc_listen || o->no_otlp_grpc) {
        cfg->otlp_grpc_listen.p = s->opt.otlp_grpc_listen;
        cfg->otlp_grpc_listen.n = o->no_otlp_grpc ? 0 : o->n_otlp_grpc_listen;
    }
    if (o->data_dir)
        cfg->data_dir = str_c(o->data_dir);
    if (o->retention_ms >= 0)
        cfg->retention.time_ms = o->retention_ms;
    if (o->retention_bytes_given)
        cfg->retention.bytes = o->retention_bytes;
    if (o->external_url)
        cfg->web.external_url = str_c(o->external_url);
    if (o->cors_origin)
        cfg->web.cors_origin = str_c(o->cors_origin);
    if (o->web_config) {
        cfg->web.config_file = str_c(o->web_config);
        enum err e = cli_config_load_web(cfg, reterr);
        if (e) {
            cli_config_free(cfg);
            return e;
        }
    }
    cfg->insecure |= o->insecure;
    cfg->host.enabled &= !o->no_host_metrics;
    cfg->self_metrics &= !o->no_self_metrics;
    *ret = cfg;
    return OK;
}

void serve_tsdb_config(const struct serve *s, const struct cli_config *cfg, struct tsdb_config *ret)
{
    (void)s;
    tsdb_config_defaults(ret);
    cli_retention_tsdb(cfg, ret);
    ret->ooo_window_ms = cfg->limits.ooo_window_ms;
    ret->future_max_ms = cfg->limits.future_ms;
    ret->memory_bytes_max = cfg->limits.memory_bytes;
    ret->series_max = cfg->limits.series;
    ret->label_name_bytes_max = cfg->limits.label_name_bytes;
    ret->label_value_bytes_max = cfg->limits.label_value_bytes;
    ret->labels_max = (unsigned)cfg->limits.labels;
    ret->exemplars_max = cfg->limits.exemplars;
}

void serve_ingest_config(const struct serve *s, const struct cli_config *cfg, struct ingest_config *ret)
{
    struct ingest_tenant_limits *over = arena_array(cfg->ctx->a, struct ingest_tenant_limits, cfg->tenants.limits.n);
    for (size_t i = 0; i < cfg->tenants.limits.n; i++)
        over[i] = (struct ingest_tenant_limits){ cfg->tenants.limits.keys[i], cfg->tenants.limits.p[i] };
    *ret = (struct ingest_config){
        .limits = cfg->limits.ingest,
        .overrides = over,
        .n_overrides = cfg->tenants.limits.n,
        .ha = { cfg->ha_dedup.enabled, cfg->ha_dedup.replica_label, cfg->ha_dedup.cluster_label,
                cfg->ha_dedup.failover_ms },
        .tenants = cfg->tenants.enabled,
        .default_tenant = cfg->tenants.default_tenant,
        .dir = arena_cstr(cfg->ctx->a, s->cfg->data_dir),
        .clock = os_clock(),
    };
}

enum err serve_users(struct serve *s, const struct cli_config *cfg, struct err_text *reterr)
{
    struct http_pair *users = NULL;
    size_t n = cfg->web_file ? cfg->web_file->users.n : 0;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    users = arena_array(&a, struct http_pair, n + 1);
    for (size_t i = 0; i < n; i++)
        users[i] = (struct http_pair){ cfg->web_file->users.keys[i], cfg->web_file->users.p[i].value };
    return s->users ? http_users_set(s->users, users, n, reterr) : OK;
}

/* Certificates and users; whether there are any at all needs a restart. Certificates that cannot be read keep the old. */
static enum err apply_guards(struct serve *s, const struct cli_config *cfg, struct err_text *reterr)
{
    TRY(cli_config_check_exposure(cfg, reterr));
    if (!s->users != !cfg->web_file)
        LOG_WARN("a web.config_file was added or removed: it counts after a restart");
    if (s->certificates)
        TRY(http_certificates_reload(s->certificates, reterr));
    return serve_users(s, cfg, reterr);
}

static const str *strs_copy(struct arena *a, const str *p, size_t n)
{
    str *out = arena_array(a, str, n + 1);
    for (size_t i = 0; i < n; i++)
        out[i] = arena_str(a, p[i]);
    return out;
}

/* Everything that counts, to see a change. */
static void otlp_text(const struct otlp_config *c, struct buf *b)
{
    const bool flags[] = { c->promote_all,        c->keep_identifying,
                           c->convert_histograms, c->promote_scope_metadata,
                           c->label_underscores,  c->label_multiple_underscores };
    buf_add(b, flags, sizeof(flags));
    buf_lstr(b, c->translation_strategy);
    buf_uvarint(b, c->promote.n);
    for (size_t i = 0; i < c->promote.n; i++)
        buf_lstr(b, c->promote.p[i]);
    for (size_t i = 0; i < c->ignore.n; i++)
        buf_lstr(b, c->ignore.p[i]);
}

/* The section otlp. Requests may use the old options still, so those stay in memory: only a change makes new ones. */
void serve_otlp(struct serve *s, const struct cli_config *cfg)
{
    const struct otlp_config *c = &cfg->prom->otlp;
    struct otlp_options *o;
    AUTO_BUF struct buf text = { 0 };
    otlp_text(c, &text);
    if (str_eq(s->otlp_text, buf_str(&text)))
        return;
    s->otlp_text = arena_str(&s->a, buf_str(&text));
    o = arena_new(&s->a, struct otlp_options);
    *o = OTLP_OPTIONS_DEFAULT;
    o->promote_resource_attributes = strs_copy(&s->a, c->promote.p, c->promote.n);
    o->n_promote = c->promote.n;
    o->promote_all_resource_attributes = c->promote_all;
    o->ignore_resource_attributes = strs_copy(&s->a, c->ignore.p, c->ignore.n);
    o->n_ignore = c->ignore.n;
    o->keep_identifying_resource_attributes = c->keep_identifying;
    o->convert_histograms_to_custom = c->convert_histograms;
    o->promote_scope_metadata_off = !c->promote_scope_metadata;
    o->label_name_underscore_sanitization = c->label_underscores;
    o->label_name_preserve_multiple_underscores = c->label_multiple_underscores;
    if (c->translation_strategy.n && !otlp_naming_parse(c->translation_strategy, &o->naming))
        LOG_WARN("unknown otlp.translation_strategy", "name", LOG_STR(c->translation_strategy));
    api_set_otlp(s->api, o);
}

static void log_report(const struct buf *report)
{
    str rest = buf_str(report), line;
    while (str_cut(&rest, '\n', &line))
        if (line.n)
            LOG_WARN("configuration", "text", LOG_STR(line));
}

void serve_log_setup(const struct serve *s, const struct cli_config *cfg)
{
    enum log_level level = (enum log_level)cfg->log.level;
    if (s->opt.log_level)
        IGNORE_ERR(log_level_parse(str_c(s->opt.log_level), &level) ? OK : ERR_INVALID);
    bool json = s->opt.log_format ? s->opt.log_format[0] == 'j' : cfg->log.format == CLI_LOG_JSON;
    log_setup(level, json ? LOG_FORMAT_JSON : LOG_FORMAT_LOGFMT);
}

/* What can change while running: rules, scrape configuration, retention and limits, users, certificates, log level.
 * Addresses and the data folder need a restart. */
static enum err apply_rest(struct serve *s, struct cli_config *cfg, struct err_text *reterr)
{
    struct tsdb_config db;
    TRY(apply_guards(s, cfg, reterr));
    TRY(scrape_reload(s->scrape, prom_config_ref(cfg->prom), reterr));
    TRY(forward_reload(s->forward, prom_config_ref(cfg->prom), reterr));
    serve_tsdb_config(s, cfg, &db);
    tsdb_set_limits(s->db, &db);
    struct ingest_config ingest;
    serve_ingest_config(s, cfg, &ingest);
    ingest_reload(s->ingest, &ingest);
    serve_notify_reload(s, cfg);
    serve_otlp(s, cfg);
    serve_log_setup(s, cfg);
    return OK;
}

/* Rule files are read first: what is wrong with them leaves everything as it is. */
static enum err serve_apply(struct serve *s, struct cli_config *cfg, struct buf *report, struct err_text *reterr)
{
    struct rules_load *rules = NULL;
    struct am_config *am = NULL;
    TRY(serve_alertmanager_load(s, cfg, &am, report, reterr));
    enum err e = s->rules ? serve_rules_load(s, cfg, &rules, report, reterr) : OK;
    e = e ? e : apply_rest(s, cfg, reterr);
    e = e ? e : am ? am_service_reload(s->alertmanager, am, reterr) : OK;
    am_config_unref(am);
    if (e)
        rules_load_unref(rules);
    else if (rules)
        rules_manager_apply(s->rules, rules);
    return e;
}

enum err serve_reload(struct serve *s, struct err_text *reterr)
{
    AUTO_BUF struct buf report = { 0 };
    struct cli_config *cfg, *old;
    struct err_text why = { 0 };
    mtx_lock(&s->mu);
    enum err e = serve_load(s, &cfg, &report, &why);
    if (e == OK) {
        e = serve_apply(s, cfg, &report, &why);
        log_report(&report);
        if (e)
            cli_config_free(cfg);
    }
    s->reload_ok = e == OK;
    if (e) {
        mtx_unlock(&s->mu);
        LOG_ERROR("configuration was not reloaded, the old one stays in use", "err", why.msg);
        return err_fail(reterr, e, "%s", why.msg);
    }
    old = s->cfg;
    s->cfg = cfg;
    s->reload_ms = os_now_ms();
    mtx_unlock(&s->mu);
    cli_config_free(old);
    LOG_INFO("configuration reloaded");
    return OK;
}
