/* The whole of a prometheus.yml, strictly: every key of Prometheus 3.x with its defaults and rules, so that a file
 * that is valid there loads here, and one that is not is refused with its words at the right line.
 * Service discoveries this build does not run yet are checked all the same and skipped with a warning.
 * Spec: prometheus.io/docs/prometheus/latest/configuration/configuration.
 * Memory: a prom_config owns an arena; shared by reference count. Threads: read-only after loading. */
#ifndef VANE_SCRAPE_SCRAPE_CONFIG_H
#define VANE_SCRAPE_SCRAPE_CONFIG_H

#include <stdatomic.h>

#include "conf/conf.h"
#include "http/http_config.h"
#include "model/labels.h"
#include "relabel/relabel.h"

/* ---- service discovery ---- */
struct target_group { /* targets and common labels: static_configs, file_sd, http_sd */
    CONF_LIST_OF(str) targets;
    CONF_DICT_OF(str) labels;
    str source;
};
struct file_sd_config {
    CONF_LIST_OF(str) files;
    int64_t refresh_ms;
};
struct http_sd_config {
    str url;
    int64_t refresh_ms;
    struct http_config http;
};
enum dns_sd_type { DNS_SRV, DNS_A, DNS_AAAA, DNS_MX, DNS_NS };
struct dns_sd_config {
    CONF_LIST_OF(str) names;
    int64_t refresh_ms;
    str type_name;
    enum dns_sd_type type;
    int64_t port;
};
#define SD_OTHERS_MAX 32
struct sd_configs {
    CONF_LIST_OF(struct target_group) statics;
    CONF_LIST_OF(struct file_sd_config) files;
    CONF_LIST_OF(struct http_sd_config) https;
    CONF_LIST_OF(struct dns_sd_config) dnss;
    struct conf_list others[SD_OTHERS_MAX]; /* checked and printed, not run; scrape_config_sd.c has the kinds */
};
/* Which discoveries are given that this build does not run? Names ("kubernetes_sd_configs") in order; 0 at the end. */
const char *sd_configs_unsupported(const struct sd_configs *sd, size_t *it);

/* ---- scraping ---- */
enum scrape_protocol {
    PROTO_PROM_PROTO,
    PROTO_PROM_TEXT_0,
    PROTO_PROM_TEXT_1,
    PROTO_OM_TEXT_0,
    PROTO_OM_TEXT_1,
    PROTO_N
};
struct scrape_protocols {
    uint8_t p[PROTO_N];
    size_t n; /* 0: not given */
    const struct conf_node *node;
};
enum tristate { TRI_UNSET, TRI_FALSE, TRI_TRUE };
struct scrape_config {
    str job_name;
    bool honor_labels, honor_timestamps, track_timestamps_staleness, enable_compression;
    CONF_DICT_OF(struct conf_list) params; /* each a list of str */
    int64_t interval_ms, timeout_ms;
    struct scrape_protocols protocols;
    str fallback_protocol; /* "": none */
    enum tristate native_histograms, always_classic, convert_classic, extra_metrics;
    str failure_log_file, metrics_path, scheme;
    uint64_t body_size_limit, sample_limit, target_limit, label_limit, label_name_length_limit,
        label_value_length_limit, native_bucket_limit, keep_dropped_targets;
    double native_min_factor;
    enum name_scheme names;
    str name_escaping;
    struct sd_configs sd;
    struct http_config http;
    struct relabel_rules relabel, metric_relabel;
    uint64_t identity; /* hash of everything that makes a running pool restart when it changes */
};

struct global_config {
    int64_t scrape_interval_ms, scrape_timeout_ms, evaluation_interval_ms, rule_query_offset_ms;
    struct scrape_protocols protocols;
    CONF_DICT_OF(str) external_labels;
    str query_log_file, failure_log_file, name_escaping;
    uint64_t body_size_limit, sample_limit, target_limit, label_limit, label_name_length_limit,
        label_value_length_limit, keep_dropped_targets;
    enum name_scheme names;
    enum tristate native_histograms, always_classic, convert_classic, extra_metrics;
};

/* ---- the rest of the file: for the rooms of rules, alerting, remote storage, OTLP ---- */
struct alertmanager_config {
    struct sd_configs sd;
    struct http_config http;
    str scheme, path_prefix, api_version;
    int64_t timeout_ms;
    struct relabel_rules relabel, alert_relabel;
    struct sigv4_config *sigv4;
};
struct queue_config {
    int64_t capacity, max_shards, min_shards, max_samples_per_send;
    int64_t batch_send_deadline_ms, min_backoff_ms, max_backoff_ms, sample_age_limit_ms;
    bool retry_on_http_429;
};
struct metadata_config {
    bool send;
    int64_t send_interval_ms, max_samples_per_send;
};
struct remote_write_config {
    str url, name, protobuf_message;
    int64_t timeout_ms;
    CONF_DICT_OF(str) headers;
    struct relabel_rules relabel;
    bool send_exemplars, send_native_histograms, round_robin_dns;
    struct http_config http;
    struct queue_config queue;
    struct metadata_config metadata;
    struct sigv4_config *sigv4;
    const struct conf_node *azuread, *google_iam;
};
struct remote_read_config {
    str url, name;
    int64_t timeout_ms;
    CONF_DICT_OF(str) headers, required_matchers;
    bool read_recent, filter_external_labels;
    uint64_t chunked_read_limit;
    struct http_config http;
};
struct otlp_config {
    bool promote_all, keep_identifying, convert_histograms, promote_scope_metadata, label_underscores,
        label_multiple_underscores;
    CONF_LIST_OF(str) promote, ignore;
    str translation_strategy;
};
struct storage_config {
    struct {
        int64_t ooo_window_ms;
        double stale_series_threshold;
        struct {
            int64_t time_ms;
            uint64_t bytes;
            double percentage;
        } retention;
        struct {
            str floats;
        } chunk_encoding;
    } tsdb;
    struct {
        int64_t max;
    } exemplars;
};
struct tracing_config {
    str endpoint, client_type, compression;
    double sampling_fraction;
    bool insecure, given;
    CONF_DICT_OF(str) headers;
    int64_t timeout_ms;
    struct tls_config tls;
};
struct prom_config {
    struct global_config global;
    CONF_LIST_OF(str) rule_files, scrape_config_files;
    CONF_LIST_OF(struct scrape_config) scrape_configs; /* those of scrape_config_files included */
    struct {
        struct relabel_rules alert_relabel;
        CONF_LIST_OF(struct alertmanager_config) alertmanagers;
    } alerting;
    CONF_LIST_OF(struct remote_write_config) remote_write;
    CONF_LIST_OF(struct remote_read_config) remote_read;
    struct otlp_config otlp;
    struct storage_config storage;
    struct tracing_config tracing;
    struct {
        int64_t gogc;
    } runtime;
    /* of this copy */
    str dir; /* folder of the file: relative paths are resolved against it */
    struct arena *a;
    struct conf_ctx *ctx; /* owns the regexes; diags hold the warnings */
    atomic_uint *refs;
};
extern const struct conf_schema prom_config_schema, scrape_config_schema, remote_write_schema;

/* Load a file, or take a text as if it stood in `file`. Errors (also several) are described in reterr's text
 * and, with source lines, in *diags_out (may be NULL). The result has one reference. */
enum err prom_config_load(const char *path, struct prom_config **ret, struct buf *diags_out,
                          struct err_text *reterr) MUST_CHECK;
enum err prom_config_parse(str file, str text, struct prom_config **ret, struct buf *diags_out,
                           struct err_text *reterr) MUST_CHECK;
/* From a node of a larger document (vane.yaml with inline scrape_configs): same rules. */
enum err prom_config_from_node(str file, const struct conf_node *n, struct prom_config **ret, struct buf *diags_out,
                               struct err_text *reterr) MUST_CHECK;
struct prom_config *prom_config_ref(struct prom_config *c);
void prom_config_unref(struct prom_config *c); /* NULL is fine */
/* The configuration as YAML, defaults filled in, secrets hidden: /api/v1/status/config. */
void prom_config_print(const struct prom_config *c, struct buf *out);

#endif
