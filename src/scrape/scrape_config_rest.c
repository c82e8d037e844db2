/* Schemas of the sections of a prometheus.yml that other rooms use: alerting, remote_write, remote_read, otlp, storage,
 * tracing, runtime. Checked here with the rest of the file, so that a file is refused as a whole. */
#include "base/hash.h"
#include "scrape/scrape_config_int.h"

#define MAP_NAME     name_set
#define MAP_KEY      str
#define MAP_VALUE    char
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

/* ---- alerting ---- */

static void check_alertmanager(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct alertmanager_config *c = obj;
    if ((c->http.basic_auth || c->http.authorization || c->http.oauth2) && c->sigv4)
        FAIL("at most one of basic_auth, authorization, oauth2, & sigv4 must be configured");
    if (!str_eq(c->api_version, STR("v2")))
        FAIL("expected Alertmanager api version to be one of [v2] but got " STR_FMT, STR_ARG(c->api_version));
    if (c->relabel.n == 0)
        scrape_check_static_targets(cx, n, &c->sd);
}
#define F(m, key, t, ...) CF(struct alertmanager_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field alertmanager_fields[] = {
    F(http, "", CONF_INLINE, .schema = &http_config_schema),
    F(sigv4, "sigv4", CONF_PTR, .schema = &sigv4_config_schema),
    F(scheme, "scheme", CONF_STR),
    F(path_prefix, "path_prefix", CONF_STR),
    F(timeout_ms, "timeout", CONF_DURATION),
    F(api_version, "api_version", CONF_STR),
    CF_RELABEL(struct alertmanager_config, relabel, "relabel_configs", "Alertmanager target"),
    CF_RELABEL(struct alertmanager_config, alert_relabel, "alert_relabel_configs", "Alertmanager alert"),
    F(sd, "", CONF_INLINE, .schema = &sd_configs_schema),
};
#undef F
static const struct alertmanager_config alertmanager_defaults = { .scheme = STR_INIT("http"),
                                                                  .timeout_ms = 10000,
                                                                  .api_version = STR_INIT("v2") };
static SCHEMA(alertmanager_schema, struct alertmanager_config, "config.AlertmanagerConfig", alertmanager_fields,
              .defaults = &alertmanager_defaults, .check = check_alertmanager);

#define ALERTING(m) offsetof(struct prom_config, alerting.m) - offsetof(struct prom_config, alerting)
static const struct conf_field alerting_fields[] = {
    { .key = "alert_relabel_configs",
      .type = CONF_LIST,
      .of = CONF_STRUCT,
      .offset = ALERTING(alert_relabel),
      .schema = &relabel_rule_schema,
      .empty_text = "empty or null alert relabeling rule" },
    { .key = "alertmanagers",
      .type = CONF_LIST,
      .of = CONF_STRUCT,
      .offset = ALERTING(alertmanagers),
      .schema = &alertmanager_schema,
      .empty_text = "empty or null alertmanager config section" },
};
static bool alerting_empty(const void *obj)
{
    return ((const struct conf_list *)obj)[0].n == 0 && ((const struct conf_list *)obj)[1].n == 0;
}
const struct conf_schema alerting_schema = {
    .is_empty = alerting_empty,
    .type_name = "config.plain",
    .size = sizeof(((struct prom_config *)0)->alerting),
    .fields = alerting_fields,
    .n_fields = ARRAY_LEN(alerting_fields),
};

static bool reserved_header(str name)
{
    static const char *const reserved[] = {
        "host",
        "content-encoding",
        "content-length",
        "content-type",
        "user-agent",
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "www-authenticate",
        "accept-encoding",
        "x-prometheus-remote-write-version",
        "x-prometheus-remote-read-version",
        "x-amz-date",
        "x-amz-security-token",
        "x-amz-content-sha256",
    };
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (str_ieq(name, str_c(reserved[i])))
            return true;
    return false;
}
static void check_headers(struct conf_ctx *cx, const struct conf_node *n, const str *keys, size_t n_keys,
                          const char *authorization)
{
    for (size_t i = 0; i < n_keys; i++)
        if (str_ieq(keys[i], STR("authorization")))
            FAIL("%s", authorization);
        else if (reserved_header(keys[i]))
            FAIL(STR_FMT " is a reserved header. It must not be changed", STR_ARG(keys[i]));
}
#define HEADERS_ONLY_BY_AUTH                                                                                        \
    "authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, azuread or google_iam " \
    "parameter"

static void check_queue(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct queue_config *q = obj;
    if (q->capacity <= 0)
        FAIL("remote write queue capacity must be positive");
    else if (q->max_samples_per_send <= 0)
        FAIL("remote write queue max_samples_per_send must be positive");
    else if (q->max_shards <= 0)
        FAIL("remote write queue max_shards must be positive");
    else if (q->min_shards <= 0)
        FAIL("remote write queue min_shards must be positive");
    else if (q->min_shards > q->max_shards)
        FAIL("remote write queue min_shards must not be greater than max_shards");
    else if (q->batch_send_deadline_ms <= 0)
        FAIL("remote write queue batch_send_deadline must be positive");
    else if (q->min_backoff_ms > q->max_backoff_ms)
        FAIL("remote write queue min_backoff must not be greater than max_backoff");
}
#define F(m, key, t, ...) CF(struct queue_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field queue_fields[] = {
    F(capacity, "capacity", CONF_INT),
    F(max_shards, "max_shards", CONF_INT),
    F(min_shards, "min_shards", CONF_INT),
    F(max_samples_per_send, "max_samples_per_send", CONF_INT),
    F(batch_send_deadline_ms, "batch_send_deadline", CONF_DURATION),
    F(min_backoff_ms, "min_backoff", CONF_DURATION),
    F(max_backoff_ms, "max_backoff", CONF_DURATION),
    F(retry_on_http_429, "retry_on_http_429", CONF_BOOL),
    F(sample_age_limit_ms, "sample_age_limit", CONF_DURATION),
};
#undef F
static const struct queue_config queue_defaults = { .capacity = 10000,
                                                    .max_shards = 50,
                                                    .min_shards = 1,
                                                    .max_samples_per_send = 2000,
                                                    .batch_send_deadline_ms = 5000,
                                                    .min_backoff_ms = 30,
                                                    .max_backoff_ms = 5000 };
static SCHEMA(queue_schema, struct queue_config, "config.QueueConfig", queue_fields, .defaults = &queue_defaults,
              .check = check_queue);

#define F(m, key, t, ...) CF(struct metadata_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field metadata_fields[] = {
    F(send, "send", CONF_BOOL, .flags = CONF_ALWAYS),
    F(send_interval_ms, "send_interval", CONF_DURATION),
    F(max_samples_per_send, "max_samples_per_send", CONF_INT),
};
#undef F
static const struct metadata_config metadata_defaults = { .send = true,
                                                          .send_interval_ms = 60000,
                                                          .max_samples_per_send = 2000 };
static SCHEMA(metadata_schema, struct metadata_config, "config.MetadataConfig", metadata_fields,
              .defaults = &metadata_defaults);

static void check_remote_write(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct remote_write_config *c = obj;
    struct err_text et;
    unsigned auths = 0;
    const void *given[] = { c->http.basic_auth, c->http.authorization, c->http.oauth2, c->sigv4,
                            c->azuread,         c->google_iam };
    for (size_t i = 0; i < ARRAY_LEN(given); i++)
        auths += given[i] != NULL;
    if (c->url.n == 0)
        FAIL("url for remote_write is empty");
    else if (conf_check_url(c->url, false, &et))
        FAIL("%s", et.msg);
    if (!str_eq(c->protobuf_message, STR("prometheus.WriteRequest")) &&
        !str_eq(c->protobuf_message, STR("io.prometheus.write.v2.Request")))
        FAIL("invalid protobuf_message value: unknown type for remote write protobuf message " STR_FMT
             ", supported: prometheus.WriteRequest, io.prometheus.write.v2.Request",
             STR_ARG(c->protobuf_message));
    if (auths > 1)
        FAIL("at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be configured");
    check_headers(cx, n, c->headers.keys, c->headers.n, HEADERS_ONLY_BY_AUTH);
    const struct conf_node *clouds[] = { c->azuread, c->google_iam };
    for (size_t i = 0; i < ARRAY_LEN(clouds); i++)
        if (clouds[i])
            conf_warn(cx, clouds[i], "this way to sign requests is not supported: they are sent without credentials");
    if (c->round_robin_dns)
        conf_warn(cx, conf_get(n, STR("round_robin_dns")), "round_robin_dns has no effect: the resolver chooses");
}
#define F(m, key, t, ...) CF(struct remote_write_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field remote_write_fields[] = {
    F(url, "url", CONF_STR),
    F(timeout_ms, "remote_timeout", CONF_DURATION),
    F(headers, "headers", CONF_DICT, .of = CONF_STR),
    { .key = "write_relabel_configs",
      .type = CONF_LIST,
      .of = CONF_STRUCT,
      .offset = offsetof(struct remote_write_config, relabel),
      .schema = &relabel_rule_schema,
      .empty_text = "empty or null relabeling rule in remote write config" },
    F(name, "name", CONF_STR),
    F(send_exemplars, "send_exemplars", CONF_BOOL),
    F(send_native_histograms, "send_native_histograms", CONF_BOOL),
    F(round_robin_dns, "round_robin_dns", CONF_BOOL),
    F(protobuf_message, "protobuf_message", CONF_STR),
    F(http, "", CONF_INLINE, .schema = &http_config_rw_schema),
    F(queue, "queue_config", CONF_STRUCT, .schema = &queue_schema),
    F(metadata, "metadata_config", CONF_STRUCT, .schema = &metadata_schema),
    F(sigv4, "sigv4", CONF_PTR, .schema = &sigv4_config_schema),
    F(azuread, "azuread", CONF_NODE, .flags = CONF_HIDDEN),
    F(google_iam, "google_iam", CONF_NODE, .flags = CONF_HIDDEN),
};
#undef F
static const struct remote_write_config remote_write_defaults = { .timeout_ms = 30000,
                                                                  .protobuf_message =
                                                                      STR_INIT("prometheus.WriteRequest") };
SCHEMA(remote_write_schema, struct remote_write_config, "config.plain", remote_write_fields,
       .defaults = &remote_write_defaults, .check = check_remote_write);

static void check_remote_read(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct remote_read_config *c = obj;
    struct err_text et;
    if (c->url.n == 0)
        FAIL("url for remote_read is empty");
    else if (conf_check_url(c->url, false, &et))
        FAIL("%s", et.msg);
    check_headers(cx, n, c->headers.keys, c->headers.n, HEADERS_ONLY_BY_AUTH);
}
#define F(m, key, t, ...) CF(struct remote_read_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field remote_read_fields[] = {
    F(url, "url", CONF_STR),
    F(timeout_ms, "remote_timeout", CONF_DURATION),
    F(chunked_read_limit, "chunked_read_limit", CONF_UINT),
    F(headers, "headers", CONF_DICT, .of = CONF_STR),
    F(read_recent, "read_recent", CONF_BOOL),
    F(name, "name", CONF_STR),
    F(http, "", CONF_INLINE, .schema = &http_config_schema),
    F(required_matchers, "required_matchers", CONF_DICT, .of = CONF_STR),
    F(filter_external_labels, "filter_external_labels", CONF_BOOL),
};
#undef F
static const struct remote_read_config remote_read_defaults = { .timeout_ms = 60000,
                                                                .filter_external_labels = true,
                                                                .chunked_read_limit = 50000000 };
SCHEMA(remote_read_schema, struct remote_read_config, "config.plain", remote_read_fields,
       .defaults = &remote_read_defaults, .check = check_remote_read);

static void check_attributes(struct conf_ctx *cx, const struct conf_node *n, str *p, size_t count, const char *key,
                             const char *what)
{
    struct name_set seen = { 0 };
    for (size_t i = 0; i < count; i++) {
        bool is_new;
        p[i] = str_trim(p[i]);
        if (p[i].n == 0)
            FAIL("invalid '%s': empty %s OTel resource attribute", key, what);
        name_set_put(&seen, p[i], &is_new);
        if (!is_new)
            FAIL("invalid '%s': duplicated %s OTel resource attribute \"" STR_FMT "\"", key, what, STR_ARG(p[i]));
    }
    name_set_free(&seen);
}
static void check_otlp(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct otlp_config *c = obj;
    static const char *const strategies[] = { "UnderscoreEscapingWithSuffixes", "UnderscoreEscapingWithoutSuffixes",
                                              "NoUTF8EscapingWithSuffixes", "NoTranslation" };
    bool known = c->translation_strategy.n == 0;
    if (c->promote_all && c->promote.n)
        FAIL("'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously");
    else if (!c->promote_all && c->ignore.n)
        FAIL("'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true");
    check_attributes(cx, n, c->ignore.p, c->ignore.n, "ignore_resource_attributes", "ignored");
    check_attributes(cx, n, c->promote.p, c->promote.n, "promote_resource_attributes", "promoted");
    for (size_t i = 0; i < ARRAY_LEN(strategies); i++)
        known |= str_eq(c->translation_strategy, str_c(strategies[i]));
    if (!known)
        FAIL("unsupported OTLP translation strategy \"" STR_FMT "\"", STR_ARG(c->translation_strategy));
}
#define F(m, key, t, ...) CF(struct otlp_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field otlp_fields[] = {
    F(promote_all, "promote_all_resource_attributes", CONF_BOOL),
    F(promote, "promote_resource_attributes", CONF_LIST, .of = CONF_STR),
    F(ignore, "ignore_resource_attributes", CONF_LIST, .of = CONF_STR),
    F(translation_strategy, "translation_strategy", CONF_STR),
    F(keep_identifying, "keep_identifying_resource_attributes", CONF_BOOL),
    F(convert_histograms, "convert_histograms_to_nhcb", CONF_BOOL),
    F(promote_scope_metadata, "promote_scope_metadata", CONF_BOOL, .flags = CONF_ALWAYS),
    F(label_underscores, "label_name_underscore_sanitization", CONF_BOOL),
    F(label_multiple_underscores, "label_name_preserve_multiple_underscores", CONF_BOOL),
};
#undef F
static const struct otlp_config otlp_defaults = { .translation_strategy = STR_INIT("UnderscoreEscapingWithSuffixes"),
                                                  .promote_scope_metadata = true, /* as OpenTelemetry specifies it */
                                                  .label_underscores = true,
                                                  .label_multiple_underscores = true };
SCHEMA(otlp_schema, struct otlp_config, "config.plain", otlp_fields, .defaults = &otlp_defaults, .check = check_otlp);

/* Nested anonymous structs: rows by offset within their part. */
#define STORAGE(m, base) (uint32_t)(offsetof(struct storage_config, m) - offsetof(struct storage_config, base))
#define STORAGE_SIZE(m)  sizeof(((struct storage_config *)0)->m)
static void check_retention(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    double percentage = *(double *)(void *)((char *)obj + STORAGE(tsdb.retention.percentage, tsdb.retention));
    if (!(percentage >= 0 && percentage <= 100))
        FAIL("'storage.tsdb.retention.percentage' must be in the range [0, 100]");
}
static bool all_zero(const void *obj, size_t size)
{
    const char *c = obj;
    for (size_t i = 0; i < size; i++)
        if (c[i])
            return false;
    return true;
}
static bool retention_empty(const void *obj)
{
    return all_zero(obj, STORAGE_SIZE(tsdb.retention));
}
static const struct conf_field retention_fields[] = {
    { .key = "time", .type = CONF_DURATION, .offset = STORAGE(tsdb.retention.time_ms, tsdb.retention) },
    { .key = "size", .type = CONF_BYTES, .offset = STORAGE(tsdb.retention.bytes, tsdb.retention) },
    { .key = "percentage", .type = CONF_FLOAT, .offset = STORAGE(tsdb.retention.percentage, tsdb.retention) },
};
static const struct conf_schema retention_schema = { .type_name = "config.TSDBRetentionConfig",
                                                     .size = STORAGE_SIZE(tsdb.retention),
                                                     .fields = retention_fields,
                                                     .n_fields = ARRAY_LEN(retention_fields),
                                                     .check = check_retention,
                                                     .is_empty = retention_empty };
static void check_chunks(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    str floats = *(str *)obj;
    if (conf_get(n, STR("floats")) && !str_eq(floats, STR("xor")) && !str_eq(floats, STR("xor2")))
        FAIL("'storage.tsdb.chunk_encoding.floats' must be 'xor' or 'xor2', or the field must be omitted entirely, got "
             "\"" STR_FMT "\"",
             STR_ARG(floats));
}
static bool chunks_empty(const void *obj)
{
    return ((const str *)obj)->n == 0;
}
static const struct conf_field chunk_fields[] = {
    { .key = "floats", .type = CONF_STR, .offset = 0 },
};
static const struct conf_schema chunk_schema = { .type_name = "config.ChunkEncodingConfig",
                                                 .size = STORAGE_SIZE(tsdb.chunk_encoding),
                                                 .fields = chunk_fields,
                                                 .n_fields = 1,
                                                 .check = check_chunks,
                                                 .is_empty = chunks_empty };
static bool tsdb_empty(const void *obj)
{
    return all_zero(obj, STORAGE_SIZE(tsdb));
}
static const struct conf_field tsdb_fields[] = {
    { .key = "out_of_order_time_window", .type = CONF_DURATION, .offset = STORAGE(tsdb.ooo_window_ms, tsdb) },
    { .key = "stale_series_compaction_threshold",
      .type = CONF_FLOAT,
      .offset = STORAGE(tsdb.stale_series_threshold, tsdb) },
    { .key = "retention", .type = CONF_STRUCT, .offset = STORAGE(tsdb.retention, tsdb), .schema = &retention_schema },
    { .key = "chunk_encoding",
      .type = CONF_STRUCT,
      .offset = STORAGE(tsdb.chunk_encoding, tsdb),
      .schema = &chunk_schema },
};
static const struct conf_schema tsdb_schema = { .type_name = "config.plain",
                                                .size = STORAGE_SIZE(tsdb),
                                                .fields = tsdb_fields,
                                                .n_fields = ARRAY_LEN(tsdb_fields),
                                                .is_empty = tsdb_empty };
static bool exemplars_empty(const void *obj)
{
    return *(const int64_t *)obj == 0;
}
static const struct conf_field exemplars_fields[] = { { .key = "max_exemplars", .type = CONF_INT, .offset = 0 } };
static const struct conf_schema exemplars_schema = { .type_name = "config.ExemplarsConfig",
                                                     .size = STORAGE_SIZE(exemplars),
                                                     .fields = exemplars_fields,
                                                     .n_fields = 1,
                                                     .is_empty = exemplars_empty };
static bool storage_empty(const void *obj)
{
    return all_zero(obj, sizeof(struct storage_config));
}
static const struct conf_field storage_fields[] = {
    CF(struct storage_config, tsdb, "tsdb", CONF_STRUCT, .schema = &tsdb_schema),
    CF(struct storage_config, exemplars, "exemplars", CONF_STRUCT, .schema = &exemplars_schema),
};
SCHEMA(storage_schema, struct storage_config, "config.StorageConfig", storage_fields, .is_empty = storage_empty);

static void check_tracing(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct tracing_config *c = obj;
    c->given = true;
    check_headers(cx, n, c->headers.keys, c->headers.n,
                  "custom authorization header configuration is not yet supported");
    if (!str_eq(c->client_type, STR("http")) && !str_eq(c->client_type, STR("grpc")))
        FAIL("expected tracing client type to be to be http or grpc, but got " STR_FMT, STR_ARG(c->client_type));
    if (c->endpoint.n == 0)
        FAIL("tracing endpoint must be set");
    if (c->compression.n && !str_eq(c->compression, STR("gzip")))
        FAIL("invalid compression type " STR_FMT " provided, valid options: gzip", STR_ARG(c->compression));
}
static bool tracing_empty(const void *obj)
{
    return !((const struct tracing_config *)obj)->given;
}
#define F(m, key, t, ...) CF(struct tracing_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field tracing_fields[] = {
    F(client_type, "client_type", CONF_STR),
    F(endpoint, "endpoint", CONF_STR),
    F(sampling_fraction, "sampling_fraction", CONF_FLOAT),
    F(insecure, "insecure", CONF_BOOL),
    F(tls, "tls_config", CONF_STRUCT, .schema = &tls_config_schema),
    F(headers, "headers", CONF_DICT, .of = CONF_STR),
    F(compression, "compression", CONF_STR),
    F(timeout_ms, "timeout", CONF_DURATION),
};
#undef F
static const struct tracing_config tracing_defaults = { .client_type = STR_INIT("grpc") };
SCHEMA(tracing_schema, struct tracing_config, "config.plain", tracing_fields, .defaults = &tracing_defaults,
       .check = check_tracing, .is_empty = tracing_empty);

static const int64_t runtime_defaults = 75;
static const struct conf_field runtime_fields[] = { { .key = "gogc", .type = CONF_INT, .offset = 0 } };
const struct conf_schema runtime_schema = { .type_name = "config.RuntimeConfig",
                                            .size = sizeof(int64_t),
                                            .fields = runtime_fields,
                                            .n_fields = 1,
                                            .defaults = &runtime_defaults };
