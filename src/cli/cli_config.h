/* vane.yaml: what one process is to do. Every key has a default, so no file at all works.
 *
 *   listen: 127.0.0.1:9090          # or a list; UI and all HTTP APIs
 *   otlp_listen: 127.0.0.1:4318     # OTLP/HTTP; "" or [] switches it off
 *   otlp_grpc_listen: 127.0.0.1:4317  # OTLP/gRPC; "" or [] switches it off
 *   insecure: false                 # allow binding beyond loopback without authentication
 *   data_dir: ./vane-data
 *   retention: {time: 15d, size: 0, rules: [{match: '{__name__=~"debug_.*"}', keep: 3d}]}   # or a list of rules
 *   rollups: [{resolution: 5m, keep: 90d}, {resolution: 1h, keep: 2y, match: '{job="api"}'}]   # none by default
 *   limits: {memory: 0, series: 0, out_of_order_window: 2h, future: 10m, labels: 64,
 *            label_name_length: 1024, label_value_length: 4096, exemplars: 100000, log: 1GB,
 *            series_per_tenant: 20000000, series_per_job: 5000000, series_per_target: 500000,
 *            series_per_metric: 2000000}
 *   prometheus: prometheus.yml      # include one, or write global, scrape_configs ... right here
 *   alertmanager: alertmanager.yml
 *   alert_policy: {severities: {P1: {...}}, escalations: ...}   # docs/oncall.md; alerting/am_policy.h
 *   host_metrics: true              # or {enabled: true, interval: 15s}
 *   compat_listeners: {graphite: "", statsd: "", statsd_flush: 10s, statsd_idle: 5m, statsd_max_series: 100000}
 *   pushed_groups: {enabled: true, interval: 15s, max_groups: 10000, max_bytes: 256MB}   # Pushgateway paths
 *   ha_dedup: {replica_label: __replica__, cluster_label: cluster, failover_timeout: 30s}      # off without this key
 *   tenants: {default: anonymous, limits: {acme: {series_per_tenant: 100000}}}                 # off without this key
 *   self_metrics: true              # vane's own metrics are stored, too
 *   log: {level: info, format: logfmt}
 *   query: {timeout: 2m, max_samples: 50000000, max_series: 0, memory: 0, concurrency: 0, lookback_delta: 5m}
 *   web: {external_url: "", cors_origin: ".*", tls_cert_file: "", tls_key_file: "", config_file: "", allowed_hosts: []}
 *
 * ${VAR}, ${VAR:-default} and ${file:/path} are replaced in every value. A file that has only keys of a
 * prometheus.yml is one, and is read as Prometheus reads it. Memory: owned by the object. Threads: read-only. */
#ifndef VANE_CLI_CLI_CONFIG_H
#define VANE_CLI_CLI_CONFIG_H

#include "cli/cli_web.h"
#include "ingest/ingest.h"
#include "scrape/scrape_config.h"
#include "tsdb/tsdb.h"

enum cli_log_level { CLI_LOG_DEBUG, CLI_LOG_INFO, CLI_LOG_WARN, CLI_LOG_ERROR };
enum cli_log_format { CLI_LOG_LOGFMT, CLI_LOG_JSON };

struct cli_listen { /* one address, taken apart */
    str host;       /* "127.0.0.1", "::1", "0.0.0.0" */
    uint16_t port;
};
struct cli_match { /* series selector */
    str text;
    struct matcher *m;
    size_t n; /* 0: all series */
};
struct cli_keep {
    struct cli_match match;
    int64_t keep_ms; /* 0 = for ever */
};
struct cli_rollup {
    int64_t resolution_ms, keep_ms; /* keep 0 = for ever */
    struct cli_match match;
};
struct cli_config {
    CONF_LIST_OF(struct cli_listen) listen, otlp_listen, otlp_grpc_listen;
    bool insecure;
    str data_dir;
    struct cli_retention {
        int64_t time_ms; /* 0 = for ever */
        uint64_t bytes;  /* 0 = no limit */
        bool time_given, bytes_given;
        CONF_LIST_OF(struct cli_keep) rules; /* the first that matches a series decides */
    } retention;
    CONF_LIST_OF(struct cli_rollup) rollups;
    struct tsdb_rollup_config *tsdb_rollups; /* the same as the store wants them */
    struct tsdb_keep_config *tsdb_keeps;
    struct cli_limits {
        uint64_t memory_bytes, series; /* 0 = by the machine, no limit */
        int64_t ooo_window_ms, future_ms;
        uint64_t labels, label_name_bytes, label_value_bytes, exemplars;
        uint64_t log_bytes;          /* of the write-ahead log: then it is flushed, or the oldest unsent given up */
        struct ingest_limits ingest; /* active series per tenant, job, target, metric */
    } limits;
    str alertmanager_file; /* against the folder of this file; "" = none runs here */
    CONF_LIST_OF(str) rule_packs; /* names */
    struct am_policy *alert_policy;             /* alerting/am_policy.h, for show; NULL: none */
    const struct conf_node *alert_policy_node;  /* what am_config_load_under() wants; NULL: none */
    str prometheus_file;   /* resolved against the folder of this file; "" = inline or none */
    struct cli_host {
        bool enabled;
        int64_t interval_ms;
    } host;
    struct cli_compat { /* none or one address each: off by default */
        CONF_LIST_OF(struct cli_listen) graphite, statsd;
        int64_t statsd_flush_ms, statsd_idle_ms;
        uint64_t statsd_series_max;
    } compat;
    struct cli_push {
        bool enabled;
        int64_t interval_ms;
        uint64_t groups_max, bytes_max;
    } push;
    struct cli_ha_dedup { /* on when the key is there */
        bool enabled;
        str replica_label, cluster_label;
        int64_t failover_ms;
    } ha_dedup;
    struct cli_tenants { /* on when the key is there */
        bool enabled;
        str default_tenant;
        CONF_DICT_OF(struct ingest_limits) limits; /* by tenant; what is not said: as in limits */
    } tenants;
    bool self_metrics;
    struct cli_log {
        int level;  /* enum cli_log_level: the numbers of enum log_level */
        int format; /* enum cli_log_format: of enum log_format */
    } log;
    struct cli_query {
        int64_t timeout_ms, lookback_ms;
        uint64_t samples_max, series_max, memory_bytes, concurrency; /* 0 = no limit / by the machine */
    } query;
    struct cli_web {
        str external_url, cors_origin, tls_cert_file, tls_key_file;
        str config_file; /* Prometheus' web configuration file, read into web_file */
        CONF_LIST_OF(str) allowed_hosts;
    } web;
    struct cli_web_file *web_file; /* NULL: none */
    struct prom_config *prom;      /* never NULL; a reference of this object's */
    str file;                      /* "" = none */
    struct conf_ctx *ctx;          /* private: owns everything */
};
extern const struct conf_schema cli_config_schema;

/* cli_config_retention.c: retention and rollups as the store wants them; borrowed from c. */
void cli_retention_tsdb(const struct cli_config *c, struct tsdb_config *ret);
/* Parts of loading. */
enum err cli_retention_read(struct conf_ctx *cx, const struct conf_node *n, void *field);
void cli_retention_print(struct conf_out *out, const void *field);
extern const struct conf_schema cli_rollup_schema;
enum err cli_rollups_check(struct conf_ctx *cx, const struct conf_node *n, const struct cli_config *c) MUST_CHECK;
void cli_retention_prepare(struct cli_config *c);

/* cli_rules.c: where links to this server point. */
str cli_external_url(const struct cli_config *cfg, struct arena *a);
/* Borrowed from cfg, or in a. */
struct rules_settings;
void cli_rules_settings(const struct cli_config *cfg, unsigned features, struct arena *a, struct rules_settings *ret);
/* The rule files it names, read and checked; errors as cli_config_load. */
struct rules_load;
enum err cli_rules_load(const struct cli_config *cfg, unsigned features, struct rules_load **ret, struct buf *report,
                        struct err_text *reterr) MUST_CHECK;

/* cli_serve_alertmanager.c: the alertmanager.yml it names under its alert_policy, with a reference; NULL if none. */
struct am_config;
enum err cli_alertmanager_load(const struct cli_config *cfg, struct am_config **ret, struct buf *report,
                               struct err_text *reterr) MUST_CHECK;

/* path NULL: the defaults. Errors and warnings with source lines go to diags_out (may be NULL). */
enum err cli_config_load(const char *path, struct cli_config **ret, struct buf *diags_out,
                         struct err_text *reterr) MUST_CHECK;
void cli_config_free(struct cli_config *c); /* NULL is fine */
/* vane's own part, then the Prometheus part, as YAML without secrets. */
void cli_config_print(const struct cli_config *c, struct buf *out);
/* "127.0.0.1:9090", "[::1]:9090", ":9090" (all addresses), "9090" (loopback). */
bool cli_listen_parse(str s, struct cli_listen *ret);
bool cli_listen_is_loopback(const struct cli_listen *l);
/* Does an address that others reach ask nobody who he is? ERR_PERMISSION with what to do about it. */
enum err cli_config_check_exposure(const struct cli_config *c, struct err_text *reterr) MUST_CHECK;
/* Read web.config_file (again). On error c->web_file stays. */
enum err cli_config_load_web(struct cli_config *c, struct err_text *reterr) MUST_CHECK;
/* A path of a setting: relative ones are beside the file. */
str cli_path_beside(struct arena *a, str file, str path);

#endif
