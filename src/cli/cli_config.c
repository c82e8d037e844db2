/* vane.yaml by tables. The keys of a prometheus.yml may stand beside vane's own: they are gathered into one node and
 * handed to the room scrape, which knows them. */
#include "alerting/am_policy.h"
#include "cli/cli_config.h"

#include "base/check.h"

#define FAIL(...) IGNORE_ERR(conf_error(cx, n, __VA_ARGS__))

bool cli_listen_parse(str s, struct cli_listen *ret)
{
    uint64_t port;
    size_t colon = SIZE_MAX;
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == ':')
            colon = i;
    str host = colon == SIZE_MAX ? STR("127.0.0.1") : str_take(s, colon);
    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = (str){ host.p + 1, host.n - 2 };
    else if (str_find_char(host, ':') != SIZE_MAX)
        return false;
    if (!str_to_u64(colon == SIZE_MAX ? s : str_skip(s, colon + 1), &port) || port > 65535)
        return false;
    *ret = (struct cli_listen){ host.n ? host : STR("0.0.0.0"), (uint16_t)port };
    return true;
}

bool cli_listen_is_loopback(const struct cli_listen *l)
{
    return str_has_prefix(l->host, STR("127.")) || str_eq(l->host, STR("::1")) || str_eq(l->host, STR("localhost"));
}

static enum err read_one_listen(struct conf_ctx *cx, const struct conf_node *n, struct cli_listen *ret)
{
    str s;
    TRY(conf_read_str(cx, n, &s));
    if (!cli_listen_parse(s, ret))
        return conf_error(cx, n, "not a listen address: \"" STR_FMT "\" (examples: 127.0.0.1:9090, [::1]:9090, :9090)",
                          STR_ARG(s));
    return OK;
}

/* One address or a list of them; "" is none. */
static enum err read_listen(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    CONF_LIST_OF(struct cli_listen) l = { 0 };
    size_t count = n->kind == CONF_SEQ ? n->n : n->text.n > 0;
    l.p = arena_zarray(cx->a, struct cli_listen, count + 1);
    for (size_t i = 0; i < count; i++)
        TRY(read_one_listen(cx, n->kind == CONF_SEQ ? n->items[i] : n, &l.p[l.n++]));
    memcpy(field, &l, sizeof(l));
    return OK;
}

static void print_listen(struct conf_out *out, const void *field)
{
    CONF_LIST_OF(struct cli_listen) l;
    memcpy(&l, field, sizeof(l));
    if (l.n == 0)
        buf_lit(out->b, " []");
    buf_u8(out->b, '\n');
    for (size_t i = 0; i < l.n; i++)
        buf_printf(out->b, str_find_char(l.p[i].host, ':') == SIZE_MAX ? "- %.*s:%u\n" : "- \"[%.*s]:%u\"\n",
                   STR_ARG(l.p[i].host), l.p[i].port);
}

#define SCHEMA(var, T, name, rows, ...)                                                                      \
    static const struct conf_schema var = {                                                                  \
        .type_name = (name), .size = sizeof(T), .fields = (rows), .n_fields = ARRAY_LEN(rows), ##__VA_ARGS__ \
    }

#define F(m, key, t, ...) CF(struct cli_limits, m, key, t, .flags = CONF_ALWAYS)
static const struct cli_limits limits_defaults = { .ooo_window_ms = 2 * 3600000,
                                                   .future_ms = 600000,
                                                   .labels = 64,
                                                   .label_name_bytes = 1024,
                                                   .label_value_bytes = 4096,
                                                   .exemplars = 100000,
                                                   .log_bytes = 1 << 30,
                                                   .ingest = INGEST_LIMITS_DEFAULT };
static const struct conf_field limits_fields[] = {
    F(memory_bytes, "memory", CONF_BYTES),
    F(series, "series", CONF_UINT),
    F(ooo_window_ms, "out_of_order_window", CONF_DURATION),
    F(future_ms, "future", CONF_DURATION),
    F(labels, "labels", CONF_UINT),
    F(label_name_bytes, "label_name_length", CONF_UINT),
    F(label_value_bytes, "label_value_length", CONF_UINT),
    F(exemplars, "exemplars", CONF_UINT),
    F(log_bytes, "log", CONF_BYTES),
    F(ingest.tenant, "series_per_tenant", CONF_UINT),
    F(ingest.job, "series_per_job", CONF_UINT),
    F(ingest.target, "series_per_target", CONF_UINT),
    F(ingest.metric, "series_per_metric", CONF_UINT),
};
#undef F
static void check_limits(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    if (((const struct cli_limits *)obj)->log_bytes < 64u << 20)
        FAIL("limits.log must be at least 64MB: requests and what is not forwarded yet have to fit");
}
SCHEMA(limits_schema, struct cli_limits, "limits", limits_fields, .defaults = &limits_defaults, .check = check_limits);

static enum err host_from_scalar(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    return conf_read_bool(cx, n, &((struct cli_host *)obj)->enabled);
}
#define F(m, key, t, ...) CF(struct cli_host, m, key, t, ##__VA_ARGS__)
static const struct cli_host host_defaults = { .enabled = true, .interval_ms = 15000 };
static const struct conf_field host_fields[] = {
    F(enabled, "enabled", CONF_BOOL, .flags = CONF_ALWAYS),
    F(interval_ms, "interval", CONF_DURATION, .flags = CONF_POSITIVE),
};
#undef F
SCHEMA(host_schema, struct cli_host, "host_metrics", host_fields, .defaults = &host_defaults,
       .from_scalar = host_from_scalar);

static void check_compat(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct cli_compat *c = obj;
    if (c->graphite.n > 1 || c->statsd.n > 1)
        FAIL("graphite and statsd listen on one address each");
}
#define F(m, key, t, ...) CF(struct cli_compat, m, key, t, ##__VA_ARGS__)
static const struct cli_compat compat_defaults = { .statsd_flush_ms = 10000,
                                                   .statsd_idle_ms = 300000,
                                                   .statsd_series_max = 100000 };
static const struct conf_field compat_fields[] = {
    F(graphite, "graphite", CONF_CUSTOM, .read = read_listen, .print = print_listen),
    F(statsd, "statsd", CONF_CUSTOM, .read = read_listen, .print = print_listen),
    F(statsd_flush_ms, "statsd_flush", CONF_DURATION, .flags = CONF_POSITIVE),
    F(statsd_idle_ms, "statsd_idle", CONF_DURATION, .flags = CONF_POSITIVE),
    F(statsd_series_max, "statsd_max_series", CONF_UINT, .flags = CONF_POSITIVE),
};
#undef F
SCHEMA(compat_schema, struct cli_compat, "compat_listeners", compat_fields, .defaults = &compat_defaults,
       .check = check_compat);

static enum err push_from_scalar(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    return conf_read_bool(cx, n, &((struct cli_push *)obj)->enabled);
}
#define F(m, key, t, ...) CF(struct cli_push, m, key, t, ##__VA_ARGS__)
static const struct cli_push push_defaults = {
    .enabled = true, .interval_ms = 15000, .groups_max = 10000, .bytes_max = 256 << 20
};
static const struct conf_field push_fields[] = {
    F(enabled, "enabled", CONF_BOOL, .flags = CONF_ALWAYS),
    F(interval_ms, "interval", CONF_DURATION, .flags = CONF_POSITIVE),
    F(groups_max, "max_groups", CONF_UINT, .flags = CONF_POSITIVE),
    F(bytes_max, "max_bytes", CONF_BYTES, .flags = CONF_POSITIVE),
};
#undef F
SCHEMA(push_schema, struct cli_push, "pushed_groups", push_fields, .defaults = &push_defaults,
       .from_scalar = push_from_scalar);

/* A mapping switches it on. */
static bool is_on(const struct conf_node *n, bool enabled)
{
    return enabled || (n && n->kind == CONF_MAP && !conf_has(n, "enabled"));
}

static enum err ha_from_scalar(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    return conf_read_bool(cx, n, &((struct cli_ha_dedup *)obj)->enabled);
}
static void check_ha(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct cli_ha_dedup *h = obj;
    h->enabled = is_on(n, h->enabled);
    if (!h->replica_label.n || !h->cluster_label.n)
        FAIL("replica_label and cluster_label must not be empty");
    else if (str_eq(h->replica_label, h->cluster_label))
        FAIL("replica_label and cluster_label must be two labels");
    else if (str_eq(h->replica_label, LABEL_NAME) || str_eq(h->replica_label, LABEL_TENANT))
        FAIL("replica_label must not be " STR_FMT ": it is dropped", STR_ARG(h->replica_label));
}
#define F(m, key, t, ...) CF(struct cli_ha_dedup, m, key, t, ##__VA_ARGS__)
static const struct cli_ha_dedup ha_defaults = { .replica_label = STR_INIT("__replica__"),
                                                 .cluster_label = STR_INIT("cluster"),
                                                 .failover_ms = 30000 };
static const struct conf_field ha_fields[] = {
    F(enabled, "enabled", CONF_BOOL, .flags = CONF_ALWAYS),
    F(replica_label, "replica_label", CONF_STR),
    F(cluster_label, "cluster_label", CONF_STR),
    F(failover_ms, "failover_timeout", CONF_DURATION, .flags = CONF_POSITIVE),
};
#undef F
SCHEMA(ha_schema, struct cli_ha_dedup, "ha_dedup", ha_fields, .defaults = &ha_defaults, .from_scalar = ha_from_scalar,
       .check = check_ha);

#define UNSAID UINT64_MAX
static const struct ingest_limits tenant_limits_defaults = { UNSAID, UNSAID, UNSAID, UNSAID };
#define F(m, key) CF(struct ingest_limits, m, key, CONF_UINT, .flags = CONF_ALWAYS)
static const struct conf_field tenant_limits_fields[] = {
    F(tenant, "series_per_tenant"),
    F(job, "series_per_job"),
    F(target, "series_per_target"),
    F(metric, "series_per_metric"),
};
#undef F
SCHEMA(tenant_limits_schema, struct ingest_limits, "tenants.limits", tenant_limits_fields,
       .defaults = &tenant_limits_defaults);

static enum err tenants_from_scalar(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    return conf_read_bool(cx, n, &((struct cli_tenants *)obj)->enabled);
}
static void check_tenants(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct cli_tenants *t = obj;
    struct err_text why;
    t->enabled = is_on(n, t->enabled);
    if (!ingest_tenant_valid(t->default_tenant, &why))
        FAIL("default: %s", why.msg);
    for (size_t i = 0; i < t->limits.n; i++)
        if (!ingest_tenant_valid(t->limits.keys[i], &why))
            FAIL("limits: %s", why.msg);
}
#define F(m, key, t, ...) CF(struct cli_tenants, m, key, t, ##__VA_ARGS__)
static const struct cli_tenants tenants_defaults = { .default_tenant = STR_INIT("anonymous") };
static const struct conf_field tenants_fields[] = {
    F(enabled, "enabled", CONF_BOOL, .flags = CONF_ALWAYS),
    F(default_tenant, "default", CONF_STR),
    F(limits, "limits", CONF_DICT, .of = CONF_STRUCT, .schema = &tenant_limits_schema),
};
#undef F
SCHEMA(tenants_schema, struct cli_tenants, "tenants", tenants_fields, .defaults = &tenants_defaults,
       .from_scalar = tenants_from_scalar, .check = check_tenants);

/* What is not said of a tenant is as for all. */
static void inherit_limits(struct cli_config *c)
{
    for (size_t i = 0; i < c->tenants.limits.n; i++) {
        struct ingest_limits *l = &c->tenants.limits.p[i];
        const struct ingest_limits *all = &c->limits.ingest;
        l->tenant = l->tenant == UNSAID ? all->tenant : l->tenant;
        l->job = l->job == UNSAID ? all->job : l->job;
        l->target = l->target == UNSAID ? all->target : l->target;
        l->metric = l->metric == UNSAID ? all->metric : l->metric;
    }
}

static const char *const level_names[] = { "debug", "info", "warn", "error", NULL };
static const char *const format_names[] = { "logfmt", "json", NULL };
static const struct cli_log log_defaults = { .level = CLI_LOG_INFO };
static const struct conf_field log_fields[] = {
    CF(struct cli_log, level, "level", CONF_ENUM, .names = level_names, .flags = CONF_ALWAYS),
    CF(struct cli_log, format, "format", CONF_ENUM, .names = format_names, .flags = CONF_ALWAYS),
};
SCHEMA(log_schema, struct cli_log, "log", log_fields, .defaults = &log_defaults);

#define F(m, key, t, ...) CF(struct cli_query, m, key, t, ##__VA_ARGS__)
static const struct cli_query query_defaults = { .timeout_ms = 120000, .lookback_ms = 300000, .samples_max = 50000000 };
static const struct conf_field query_fields[] = {
    F(timeout_ms, "timeout", CONF_DURATION, .flags = CONF_POSITIVE),
    F(samples_max, "max_samples", CONF_UINT, .flags = CONF_ALWAYS),
    F(series_max, "max_series", CONF_UINT, .flags = CONF_ALWAYS),
    F(memory_bytes, "memory", CONF_BYTES, .flags = CONF_ALWAYS),
    F(concurrency, "concurrency", CONF_UINT, .flags = CONF_ALWAYS),
    F(lookback_ms, "lookback_delta", CONF_DURATION, .flags = CONF_POSITIVE),
};
#undef F
SCHEMA(query_schema, struct cli_query, "query", query_fields, .defaults = &query_defaults);

static void check_web(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct cli_web *w = obj;
    if (!w->tls_cert_file.n != !w->tls_key_file.n)
        FAIL("tls_cert_file and tls_key_file must be given together");
}
#define F(m, key, t, ...) CF(struct cli_web, m, key, t, ##__VA_ARGS__)
static const struct cli_web web_defaults = { .cors_origin = STR_INIT(".*") };
static const struct conf_field web_fields[] = {
    F(external_url, "external_url", CONF_URL),   F(cors_origin, "cors_origin", CONF_STR),
    F(tls_cert_file, "tls_cert_file", CONF_STR), F(tls_key_file, "tls_key_file", CONF_STR),
    F(config_file, "config_file", CONF_STR),     F(allowed_hosts, "allowed_hosts", CONF_LIST, .of = CONF_STR),
};
#undef F
SCHEMA(web_schema, struct cli_web, "web", web_fields, .defaults = &web_defaults, .check = check_web);

static enum err check_addresses(const struct cli_listen *p, size_t n, const char *remedy, struct err_text *reterr)
{
    for (size_t i = 0; i < n; i++)
        if (!cli_listen_is_loopback(&p[i]))
            return err_fail(reterr, ERR_PERMISSION,
                            STR_FMT
                            ":%u is reachable from other machines and there is no authentication: anybody there "
                            "could read and write. Listen on 127.0.0.1, %sor say --insecure (insecure: true) if "
                            "the network is yours alone",
                            STR_ARG(p[i].host), p[i].port, remedy);
    return OK;
}

enum err cli_config_check_exposure(const struct cli_config *c, struct err_text *reterr)
{
    static const char users[] = "give basic_auth_users in a web.config_file, ";
    if (c->insecure)
        return OK;
    if (!cli_web_file_guards(c->web_file)) {
        TRY(check_addresses(c->listen.p, c->listen.n, users, reterr));
        TRY(check_addresses(c->otlp_listen.p, c->otlp_listen.n, users, reterr));
        TRY(check_addresses(c->otlp_grpc_listen.p, c->otlp_grpc_listen.n, users, reterr));
    }
    TRY(check_addresses(c->compat.graphite.p, c->compat.graphite.n, "", reterr)); /* their protocols know no users */
    return check_addresses(c->compat.statsd.p, c->compat.statsd.n, "", reterr);
}

/* The keys that are Prometheus' own: checked by the room scrape, only named here. */
#define PROM_KEYS(X) \
    X(global)        \
    X(runtime)       \
    X(alerting)      \
    X(rule_files) X(scrape_config_files) X(scrape_configs) X(storage) X(tracing) X(remote_write) X(remote_read) X(otlp)
struct file { /* the decoded object, with the places of Prometheus' keys behind */
    struct cli_config c;
    const struct conf_node *prom[11];
};
enum {
#define X(key) KEY_##key,
    PROM_KEYS(X)
#undef X
        KEYS_N
};
_Static_assert(KEYS_N == ARRAY_LEN(((struct file *)0)->prom), "one place per key");

static struct cli_listen default_listen[] = { { STR_INIT("127.0.0.1"), 9090 } };
static struct cli_listen default_otlp[] = { { STR_INIT("127.0.0.1"), 4318 } };
static struct cli_listen default_otlp_grpc[] = { { STR_INIT("127.0.0.1"), 4317 } };
static const struct file file_defaults = { .c = { .listen = { default_listen, 1 },
                                                  .otlp_listen = { default_otlp, 1 },
                                                  .otlp_grpc_listen = { default_otlp_grpc, 1 },
                                                  .data_dir = STR_INIT("./vane-data"),
                                                  .retention = { .time_ms = 15ll * 86400000 },
                                                  .self_metrics = true } };
#define F(m, key, t, ...) CF(struct file, c.m, key, t, ##__VA_ARGS__)
static const struct conf_field fields[] = {
    F(listen, "listen", CONF_CUSTOM, .read = read_listen, .print = print_listen),
    F(otlp_listen, "otlp_listen", CONF_CUSTOM, .read = read_listen, .print = print_listen),
    F(otlp_grpc_listen, "otlp_grpc_listen", CONF_CUSTOM, .read = read_listen, .print = print_listen),
    F(insecure, "insecure", CONF_BOOL, .flags = CONF_ALWAYS),
    F(data_dir, "data_dir", CONF_STR),
    F(retention, "retention", CONF_CUSTOM, .read = cli_retention_read, .print = cli_retention_print),
    F(rollups, "rollups", CONF_LIST, .of = CONF_STRUCT, .schema = &cli_rollup_schema),
    F(limits, "limits", CONF_STRUCT, .schema = &limits_schema),
    F(prometheus_file, "prometheus", CONF_STR),
    F(alertmanager_file, "alertmanager", CONF_STR),
    F(rule_packs, "rule_packs", CONF_LIST, .of = CONF_STR),
    F(alert_policy, "alert_policy", CONF_PTR, .schema = &am_policy_schema),
    F(host, "host_metrics", CONF_STRUCT, .schema = &host_schema),
    F(compat, "compat_listeners", CONF_STRUCT, .schema = &compat_schema),
    F(push, "pushed_groups", CONF_STRUCT, .schema = &push_schema),
    F(ha_dedup, "ha_dedup", CONF_STRUCT, .schema = &ha_schema),
    F(tenants, "tenants", CONF_STRUCT, .schema = &tenants_schema),
    F(self_metrics, "self_metrics", CONF_BOOL, .flags = CONF_ALWAYS),
    F(log, "log", CONF_STRUCT, .schema = &log_schema),
    F(query, "query", CONF_STRUCT, .schema = &query_schema),
    F(web, "web", CONF_STRUCT, .schema = &web_schema),
#define X(key_) CF(struct file, prom[KEY_##key_], #key_, CONF_NODE, .flags = CONF_HIDDEN),
    PROM_KEYS(X)
#undef X
};
#undef F
const struct conf_schema cli_config_schema = { .type_name = "vane.yaml",
                                               .size = sizeof(struct file),
                                               .defaults = &file_defaults,
                                               .fields = fields,
                                               .n_fields = ARRAY_LEN(fields) };

static bool is_prom_key(str key)
{
#define X(name)                  \
    if (str_eq(key, STR(#name))) \
        return true;
    PROM_KEYS(X)
#undef X
    return false;
}

/* Only keys of a prometheus.yml, at least one of them: the file is one. */
static bool is_prometheus_file(const struct conf_node *root)
{
    for (size_t i = 0; root->kind == CONF_MAP && i < root->n; i++)
        if (!is_prom_key(root->items[2 * i]->text))
            return false;
    return root->kind == CONF_MAP && root->n > 0;
}

/* A mapping of just Prometheus' keys. */
static const struct conf_node *prom_part(struct arena *a, const struct conf_node *root)
{
    struct conf_node *n = arena_new(a, struct conf_node);
    *n = *root;
    if (root->kind != CONF_MAP)
        return n;
    n->items = arena_array(a, struct conf_node *, 2 * root->n + 1);
    n->n = 0;
    for (size_t i = 0; i < root->n; i++)
        if (is_prom_key(root->items[2 * i]->text)) {
            n->items[2 * n->n] = root->items[2 * i];
            n->items[2 * n->n++ + 1] = root->items[2 * i + 1];
        }
    return n;
}

str cli_path_beside(struct arena *a, str file, str path)
{
    size_t slash = file.n;
    while (slash && file.p[slash - 1] != '/')
        slash--;
    if (slash == 0 || path.n == 0 || path.p[0] == '/')
        return path;
    return arena_printf(a, STR_FMT STR_FMT, STR_ARG(str_take(file, slash)), STR_ARG(path));
}

static enum err load_prom(struct cli_config *c, const struct conf_node *root, struct buf *diags_out,
                          struct err_text *reterr)
{
    const struct conf_node *inline_part = prom_part(c->ctx->a, root);
    if (c->prometheus_file.n && inline_part->n) {
        IGNORE_ERR(conf_error(c->ctx, conf_get(root, STR("prometheus")),
                              "either include a Prometheus file or write its sections here, not both (" STR_FMT ")",
                              STR_ARG(inline_part->items[0]->text)));
        return ERR_INVALID;
    }
    if (c->prometheus_file.n) {
        c->prometheus_file = cli_path_beside(c->ctx->a, c->file, c->prometheus_file);
        return prom_config_load(arena_cstr(c->ctx->a, c->prometheus_file), &c->prom, diags_out, reterr);
    }
    return prom_config_from_node(c->file, inline_part, &c->prom, diags_out, reterr);
}

/* prometheus.yml may set the retention; what vane.yaml says itself wins. */
static void take_from_prom(struct cli_config *c, const struct conf_node *root)
{
    const struct storage_config *s = &c->prom->storage;
    const struct conf_node *l = conf_get(root, STR("limits"));
    if (s->tsdb.retention.time_ms && !c->retention.time_given)
        c->retention.time_ms = s->tsdb.retention.time_ms;
    if (s->tsdb.retention.bytes && !c->retention.bytes_given)
        c->retention.bytes = s->tsdb.retention.bytes;
    if (s->tsdb.ooo_window_ms && !conf_has(l, "out_of_order_window"))
        c->limits.ooo_window_ms = s->tsdb.ooo_window_ms;
    if (s->exemplars.max && !conf_has(l, "exemplars"))
        c->limits.exemplars = (uint64_t)MAX(s->exemplars.max, 0);
}

static enum err read_root(struct conf_ctx *cx, const char *path, struct conf_node **ret)
{
    if (!path)
        return conf_parse(cx, STR(""), STR(""), 0, ret);
    TRY(conf_read(cx, path, 0, ret));
    if (is_prometheus_file(*ret))
        return OK;
    return conf_read(cx, path, CONF_EXPAND, ret);
}

enum err cli_config_load_web(struct cli_config *c, struct err_text *reterr)
{
    struct cli_web_file *f;
    if (!c->web.config_file.n)
        return OK;
    if (cli_web_file_load(c->ctx, c->web.config_file, &f) != OK) {
        conf_first_error(c->ctx, reterr);
        return ERR_INVALID;
    }
    if (f->tls && c->web.tls_cert_file.n)
        return err_fail(reterr, ERR_INVALID,
                        "web.tls_cert_file and tls_server_config of " STR_FMT " must not be given together",
                        STR_ARG(c->web.config_file));
    c->web_file = f;
    return OK;
}

static enum err load(struct conf_ctx *cx, const char *path, struct cli_config **ret, struct buf *diags_out,
                     struct err_text *reterr)
{
    struct conf_node *root;
    struct file *f = arena_new(cx->a, struct file);
    TRY(read_root(cx, path, &root));
    TRY(conf_decode(cx, root, &cli_config_schema, f));
    struct cli_config *c = &f->c;
    c->ctx = cx;
    inherit_limits(c);
    c->file = arena_str(cx->a, str_c(path));
    c->alert_policy_node = conf_get(root, STR("alert_policy"));
    if (c->alert_policy_node && !c->alertmanager_file.n)
        return conf_error(cx, c->alert_policy_node,
                          "alert_policy needs alertmanager: its channels are receivers of that file");
    c->web.tls_cert_file = cli_path_beside(cx->a, c->file, c->web.tls_cert_file);
    c->web.tls_key_file = cli_path_beside(cx->a, c->file, c->web.tls_key_file);
    c->web.config_file = cli_path_beside(cx->a, c->file, c->web.config_file);
    TRY(cli_config_load_web(c, reterr));
    TRY(load_prom(c, root, diags_out, reterr));
    take_from_prom(c, root);
    cli_retention_prepare(c);
    TRY(cli_rollups_check(cx, conf_get(root, STR("rollups")), c));
    *ret = c;
    return OK;
}

enum err cli_config_load(const char *path, struct cli_config **ret, struct buf *diags_out, struct err_text *reterr)
{
    struct conf_ctx *cx = conf_ctx_new(fs_os());
    enum err e = load(cx, path, ret, diags_out, reterr);
    if (diags_out)
        conf_diags_print(diags_out, cx);
    if (e) {
        if (cx->n_errors)
            conf_first_error(cx, reterr);
        conf_ctx_free(cx);
    }
    return e;
}

void cli_config_free(struct cli_config *c)
{
    if (!c)
        return;
    prom_config_unref(c->prom);
    conf_ctx_free(c->ctx);
}

void cli_config_print(const struct cli_config *c, struct buf *out)
{
    conf_print(out, &cli_config_schema, c);
    prom_config_print(c->prom, out);
}
