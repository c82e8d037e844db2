/* libvane's configuration: one table row per setting with its field, its environment variables and its default. The same
 * row reads the environment, fills in the default and prints the setting. Precedence: field, environment, default.
 *
 * A bad value in a field refuses the start (VANE_E_ARG); one in the environment is told and counts as not set. */
#include "sdk_conf.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

vane_config sdk_cfg;
struct sdk_pair sdk_resource[SDK_RESOURCE_MAX];
size_t sdk_resource_n;

enum type { T_STR, T_SWITCH, T_U16, T_U32, T_U64, T_F64, T_SAMPLER };

struct row {
    const char *name;
    size_t at;
    enum type type;
    const char *env[3];
    const char *def; /* as text; NULL: stays unset */
    double min, max; /* of numbers */
    bool secret;
};

#define R(field, ty, def, min, max, ...)                                                \
    {                                                                                   \
#field, offsetof(vane_config, field), ty, { __VA_ARGS__ }, def, min, max, false \
    }
#define S(field, ...)                                                                  \
    {                                                                                  \
#field, offsetof(vane_config, field), T_STR, { __VA_ARGS__ }, NULL, 0, 0, true \
    }
/* clang-format off */
#define SIGNAL(field, env)                                                      \
    S(field.headers, env "HEADERS"),                                            \
    R(field.compression, T_STR, NULL, 0, 0, env "COMPRESSION"),                 \
    R(field.ca_file, T_STR, NULL, 0, 0, env "CERTIFICATE"),                     \
    R(field.cert_file, T_STR, NULL, 0, 0, env "CLIENT_CERTIFICATE"),            \
    R(field.key_file, T_STR, NULL, 0, 0, env "CLIENT_KEY"),                     \
    R(field.timeout_ms, T_U32, NULL, 1, 600000, env "TIMEOUT")
/* clang-format on */

static const struct row rows[] = {
    R(ignore_environment, T_SWITCH, "false", 0, 0, NULL),
    R(disabled, T_SWITCH, "false", 0, 0, "OTEL_SDK_DISABLED"),
    R(service_name, T_STR, NULL, 0, 0, "OTEL_SERVICE_NAME"),
    R(service_version, T_STR, NULL, 0, 0, NULL),
    R(service_namespace, T_STR, NULL, 0, 0, NULL),
    R(service_instance_id, T_STR, NULL, 0, 0, NULL),
    R(environment, T_STR, NULL, 0, 0, NULL),
    R(resource_attributes, T_STR, NULL, 0, 0, "OTEL_RESOURCE_ATTRIBUTES"),
    R(metrics, T_SWITCH, "true", 0, 0, "METRICS_ENABLED"),
    R(metrics_path, T_STR, "/metrics", 0, 0, "METRICS_ENDPOINT"),
    R(multiproc_dir, T_STR, NULL, 0, 0, "PROMETHEUS_MULTIPROC_DIR"),
    R(series_max, T_U32, "2000", 1, 1000000, NULL),
    R(series_total_max, T_U32, "100000", 1, 4000000, NULL),
    R(memory_max_bytes, T_U64, "67108864", 1048576, 67108864, NULL),
    R(threads_max, T_U32, "64", 1, 256, NULL),
    R(process_metrics, T_SWITCH, "true", 0, 0, NULL),
    R(exemplars, T_SWITCH, "true", 0, 0, NULL),
    R(tracing, T_SWITCH, "true", 0, 0, "TRACING_ENABLED"),
    R(sampler, T_SAMPLER, "parentbased_always_on", 0, 0, "OTEL_TRACES_SAMPLER"),
    R(sample_rate, T_F64, "1", 0, 1, "TRACING_SAMPLE_RATE", "OTEL_TRACES_SAMPLER_ARG"),
    R(sample_per_second, T_F64, "10", 0.001, 1e9, NULL),
    R(sampler_url, T_STR, NULL, 0, 0, "JAEGER_SAMPLER_URL"),
    R(propagators, T_STR, "tracecontext,baggage", 0, 0, "OTEL_PROPAGATORS"),
    R(span_attributes_max, T_U32, "128", 1, 65535, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
    R(span_events_max, T_U32, "128", 1, 65535, "OTEL_SPAN_EVENT_COUNT_LIMIT"),
    R(span_links_max, T_U32, "128", 1, 65535, "OTEL_SPAN_LINK_COUNT_LIMIT"),
    R(attribute_bytes_max, T_U32, "4096", 1, 1048576, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
      "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
    R(span_queue_max, T_U32, "2048", 1, 1000000, "OTEL_BSP_MAX_QUEUE_SIZE"),
    R(log_level, T_STR, "INFO", 0, 0, "LOG_LEVEL"),
    R(log_format, T_STR, "json", 0, 0, "LOG_FORMAT"),
    R(log_sinks, T_STR, "stderr", 0, 0, "VANE_LOG_SINKS"),
    R(log_file_max_bytes, T_U64, "67108864", 4096, 1e15, NULL),
    R(log_file_keep, T_U32, "5", 0, 1000, NULL),
    R(log_ring_bytes, T_U32, "65536", 4096, 16777216, NULL),
    R(log_redact, T_STR, NULL, 0, 0, "VANE_LOG_REDACT"),
    R(correlation, T_SWITCH, "true", 0, 0, "LOG_CORRELATION_ENABLED"),
    R(correlation_header, T_STR, "x-correlation-id", 0, 0, "LOG_CORRELATION_HEADER"),
    R(health, T_SWITCH, "true", 0, 0, "HEALTH_CHECK_ENABLED"),
    R(health_timeout_s, T_U32, "30", 1, 86400, "HEALTH_CHECK_TIMEOUT"),
    R(health_interval_s, T_U32, "60", 1, 86400, "HEALTH_CHECK_INTERVAL"),
    R(profiling, T_SWITCH, "false", 0, 0, "PROFILING_ENABLED"),
    R(profile_sample_rate, T_F64, "0.01", 0, 1, "PROFILING_SAMPLE_RATE"),
    R(profile_slow_s, T_F64, "1", 0.000001, 86400, "PROFILING_SLOW_THRESHOLD"),
    R(profile_dir, T_STR, NULL, 0, 0, "VANE_PROFILE_DIR"),
    R(otlp_endpoint, T_STR, NULL, 0, 0, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    R(otlp_traces_endpoint, T_STR, NULL, 0, 0, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
    R(otlp_metrics_endpoint, T_STR, NULL, 0, 0, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"),
    R(otlp_logs_endpoint, T_STR, NULL, 0, 0, "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"),
    S(otlp_headers, "OTEL_EXPORTER_OTLP_HEADERS"),
    R(otlp_compression, T_STR, NULL, 0, 0, "OTEL_EXPORTER_OTLP_COMPRESSION"),
    R(otlp_ca_file, T_STR, NULL, 0, 0, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
    R(otlp_cert_file, T_STR, NULL, 0, 0, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"),
    R(otlp_key_file, T_STR, NULL, 0, 0, "OTEL_EXPORTER_OTLP_CLIENT_KEY"),
    R(otlp_timeout_ms, T_U32, "10000", 1, 600000, "OTEL_EXPORTER_OTLP_TIMEOUT"),
    SIGNAL(otlp_traces, "OTEL_EXPORTER_OTLP_TRACES_"),
    SIGNAL(otlp_metrics, "OTEL_EXPORTER_OTLP_METRICS_"),
    SIGNAL(otlp_logs, "OTEL_EXPORTER_OTLP_LOGS_"),
    R(metric_interval_ms, T_U32, "60000", 10, 86400000, "OTEL_METRIC_EXPORT_INTERVAL"),
    R(batch_delay_ms, T_U32, "5000", 1, 86400000, "OTEL_BSP_SCHEDULE_DELAY"),
    R(log_batch_delay_ms, T_U32, "1000", 1, 86400000, "OTEL_BLRP_SCHEDULE_DELAY"),
    R(batch_max, T_U32, "512", 1, 65536, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
    R(push_queue_bytes, T_U64, "8388608", 65536, 1e12, NULL),
    R(zipkin_endpoint, T_STR, NULL, 0, 0, "OTEL_EXPORTER_ZIPKIN_ENDPOINT", "ZIPKIN_ENDPOINT"),
    R(zipkin_timeout_ms, T_U32, "10000", 1, 600000, "OTEL_EXPORTER_ZIPKIN_TIMEOUT"),
    R(jaeger_endpoint, T_STR, NULL, 0, 0, "JAEGER_ENDPOINT"),
    R(listen_host, T_STR, "127.0.0.1", 0, 0, "OTEL_EXPORTER_PROMETHEUS_HOST"),
    R(listen_port, T_U16, NULL, 1, 65535, NULL), /* its variable counts with OTEL_METRICS_EXPORTER=prometheus only */
    R(listen_any_port, T_SWITCH, "false", 0, 0, NULL),
    R(blackbox_dir, T_STR, NULL, 0, 0, "VANE_BLACKBOX_DIR"),
    R(fork_threads, T_SWITCH, "true", 0, 0, NULL),
};
#undef R
#undef S
#undef SIGNAL

enum from { FROM_NOWHERE, FROM_FIELD, FROM_ENVIRONMENT, FROM_DEFAULT };
static uint8_t from[SDK_COUNT_OF(rows)];

static const struct {
    const char *name;
    vane_sampler_kind kind;
} samplers[] = {
    { "always_on", VANE_SAMPLER_ALWAYS_ON },
    { "always_off", VANE_SAMPLER_ALWAYS_OFF },
    { "traceidratio", VANE_SAMPLER_RATIO },
    { "parentbased_always_on", VANE_SAMPLER_PARENT },
    { "parentbased_always_off", VANE_SAMPLER_PARENT_OFF },
    { "parentbased_traceidratio", VANE_SAMPLER_PARENT },
    { "rate_limited", VANE_SAMPLER_RATE_LIMITED },
    { "jaeger_remote", VANE_SAMPLER_JAEGER_REMOTE },
    { "parentbased_jaeger_remote", VANE_SAMPLER_JAEGER_REMOTE },
    { "rules", VANE_SAMPLER_RULES },
};

static void *field_of(vane_config *c, const struct row *r)
{
    return (char *)c + r->at;
}

static bool parse_switch(const char *s, vane_switch *ret)
{
    static const char *const on[] = { "true", "1", "yes", "on" }, *const off[] = { "false", "0", "no", "off" };
    for (size_t i = 0; i < SDK_COUNT_OF(on); i++) {
        if (!strcasecmp(s, on[i]))
            return *ret = VANE_ON, true;
        if (!strcasecmp(s, off[i]))
            return *ret = VANE_OFF, true;
    }
    return false;
}

/* Give a field its value from text. Strings are duplicated. */
static vane_status set_text(vane_config *c, const struct row *r, const char *text)
{
    void *f = field_of(c, r);
    if (r->type == T_STR) {
        char *copy = sdk_dup(text);
        if (!copy)
            return VANE_E_NOMEM;
        *(const char **)f = copy;
        return VANE_OK;
    }
    if (r->type == T_SWITCH)
        return parse_switch(text, f) ? VANE_OK : VANE_E_ARG;
    if (r->type == T_SAMPLER) {
        for (size_t i = 0; i < SDK_COUNT_OF(samplers); i++)
            if (!strcasecmp(text, samplers[i].name)) {
                *(vane_sampler_kind *)f = samplers[i].kind;
                return VANE_OK;
            }
        return VANE_E_ARG;
    }
    double v;
    if (!sdk_parse_f64(text, strlen(text), &v) || v < r->min || v > r->max ||
        (r->type != T_F64 && v != (double)(uint64_t)v))
        return VANE_E_ARG;
    if (r->type == T_F64)
        *(double *)f = v;
    else if (r->type == T_U64)
        *(uint64_t *)f = (uint64_t)v;
    else if (r->type == T_U32)
        *(uint32_t *)f = (uint32_t)v;
    else
        *(uint16_t *)f = (uint16_t)v;
    return VANE_OK;
}

/* Whether the caller's struct gives the field, and within its bounds. */
static vane_status from_field(vane_config *out, const vane_config *in, const struct row *r, bool *ret_set)
{
    const void *f = (const char *)in + r->at;
    double v = 0;
    switch (r->type) {
    case T_STR: {
        const char *s = *(const char *const *)f;
        *ret_set = s != NULL;
        return s ? set_text(out, r, s) : VANE_OK;
    }
    case T_SWITCH: {
        vane_switch s = *(const vane_switch *)f;
        *ret_set = s != VANE_UNSET;
        *(vane_switch *)field_of(out, r) = s;
        return (unsigned)s <= VANE_OFF ? VANE_OK : VANE_E_ARG;
    }
    case T_SAMPLER: {
        vane_sampler_kind s = *(const vane_sampler_kind *)f;
        *ret_set = s != VANE_SAMPLER_UNSET;
        *(vane_sampler_kind *)field_of(out, r) = s;
        return (unsigned)s <= VANE_SAMPLER_RULES ? VANE_OK : VANE_E_ARG;
    }
    case T_U16:
        *(uint16_t *)field_of(out, r) = *(const uint16_t *)f;
        v = *(const uint16_t *)f;
        break;
    case T_U32:
        *(uint32_t *)field_of(out, r) = *(const uint32_t *)f;
        v = *(const uint32_t *)f;
        break;
    case T_U64:
        *(uint64_t *)field_of(out, r) = *(const uint64_t *)f;
        v = (double)*(const uint64_t *)f;
        break;
    case T_F64:
        *(double *)field_of(out, r) = *(const double *)f;
        v = *(const double *)f;
        break;
    }
    *ret_set = v != 0;
    return v == 0 || (v >= r->min && v <= r->max) ? VANE_OK : VANE_E_ARG;
}

static const char *env_of(const char *name)
{
    const char *s = name ? secure_getenv(name) : NULL;
    return s && *s ? s : NULL; /* empty counts as not set, as the specification of the variables has it */
}

static vane_status resolve(size_t i, const vane_config *in, bool use_env)
{
    const struct row *r = &rows[i];
    bool set = false;
    vane_status st = from_field(&sdk_cfg, in, r, &set);
    if (st) {
        sdk_diag(st, "vane_start: the field %s of the configuration is out of range; nothing was started", r->name);
        return st;
    }
    from[i] = set ? FROM_FIELD : FROM_NOWHERE;
    for (size_t k = 0; use_env && !set && k < SDK_COUNT_OF(r->env) && r->env[k]; k++) {
        const char *text = env_of(r->env[k]);
        if (!text)
            continue;
        st = set_text(&sdk_cfg, r, text);
        if (st == VANE_E_NOMEM)
            return st;
        set = st == VANE_OK;
        if (set)
            from[i] = FROM_ENVIRONMENT;
        else
            sdk_diag(st, "the environment variable %s=\"%.60s\" cannot be used and is ignored", r->env[k], text);
    }
    if (!set && r->def) {
        from[i] = FROM_DEFAULT;
        return set_text(&sdk_cfg, r, r->def);
    }
    return VANE_OK;
}

static size_t row_of(size_t at)
{
    for (size_t i = 0; i < SDK_COUNT_OF(rows); i++)
        if (rows[i].at == at)
            return i;
    return 0;
}
#define ROW(field) row_of(offsetof(vane_config, field))

static bool env_is(const char *name, const char *value)
{
    const char *s = env_of(name);
    return s && !strcasecmp(s, value);
}

int sdk_lists(const char *text, const char *word)
{
    size_t n = strlen(word);
    if (!text)
        return -1;
    while (*text) {
        text += strspn(text, ", \t");
        size_t len = strcspn(text, ",");
        if (len >= n && !strncasecmp(text, word, n) && n + strspn(text + n, " \t") >= len)
            return 1;
        text += len;
    }
    return 0;
}

/* Give a text setting the value that another setting means. */
static void decide(size_t at, const char *text)
{
    size_t i = row_of(at);
    char **f = field_of(&sdk_cfg, &rows[i]);
    sdk_free_str(*f);
    *f = sdk_dup(text);
    from[i] = FROM_ENVIRONMENT;
}

/* Which signals are pushed where. A list of exporters does not take away what the host's fields ask for. */
static void resolve_push(bool use_env)
{
    static const struct {
        const char *env, *standard;
        size_t own;
    } signals[] = {
        { "OTEL_TRACES_EXPORTER", "http://localhost:4318/v1/traces", offsetof(vane_config, otlp_traces_endpoint) },
        { "OTEL_METRICS_EXPORTER", "http://localhost:4318/v1/metrics", offsetof(vane_config, otlp_metrics_endpoint) },
        { "OTEL_LOGS_EXPORTER", "http://localhost:4318/v1/logs", offsetof(vane_config, otlp_logs_endpoint) },
    };
    for (size_t i = 0; i < SDK_COUNT_OF(signals); i++) {
        const char *own = *(const char **)((char *)&sdk_cfg + signals[i].own);
        int otlp = sdk_lists(use_env ? env_of(signals[i].env) : NULL, "otlp");
        bool logs = i == SDK_COUNT_OF(signals) - 1;
        if (logs && from[ROW(log_sinks)] == FROM_DEFAULT && (otlp > 0 || (otlp && own && *own)))
            decide(offsetof(vane_config, log_sinks), "stderr,otlp");
        if (logs && sdk_lists(sdk_cfg.log_sinks, "otlp") > 0)
            otlp = 1;
        if (from[row_of(signals[i].own)] == FROM_FIELD)
            continue;
        if (otlp > 0 && !own && !sdk_cfg.otlp_endpoint)
            decide(signals[i].own, signals[i].standard);
        else if (!otlp && from[ROW(otlp_endpoint)] != FROM_FIELD)
            decide(signals[i].own, "");
    }
    int zipkin = sdk_lists(use_env ? env_of(signals[0].env) : NULL, "zipkin");
    if (zipkin > 0 && !sdk_cfg.zipkin_endpoint)
        decide(offsetof(vane_config, zipkin_endpoint), "http://localhost:9411/api/v2/spans");
    else if (!zipkin && from[ROW(zipkin_endpoint)] != FROM_FIELD)
        decide(offsetof(vane_config, zipkin_endpoint), "");
}

/* What one variable says about several settings. */
static void resolve_exporters(void)
{
    if (from[ROW(metrics)] != FROM_FIELD && env_is("OTEL_METRICS_EXPORTER", "none"))
        sdk_cfg.metrics = VANE_OFF;
    if (from[ROW(tracing)] != FROM_FIELD && env_is("OTEL_TRACES_EXPORTER", "none"))
        sdk_cfg.tracing = VANE_OFF;
    if (from[ROW(exemplars)] != FROM_FIELD && env_is("OTEL_METRICS_EXEMPLAR_FILTER", "always_off"))
        sdk_cfg.exemplars = VANE_OFF;
    if (!sdk_cfg.listen_port && sdk_cfg.listen_any_port != VANE_ON && env_is("OTEL_METRICS_EXPORTER", "prometheus")) {
        const char *port = env_of("OTEL_EXPORTER_PROMETHEUS_PORT");
        sdk_cfg.listen_port = 9464;
        if (port && set_text(&sdk_cfg, &rows[ROW(listen_port)], port))
            sdk_diag(VANE_E_ARG,
                     "the environment variable OTEL_EXPORTER_PROMETHEUS_PORT=\"%.60s\" is no port; 9464 is used", port);
        from[ROW(listen_port)] = FROM_ENVIRONMENT;
    }
    if (env_of("OTEL_CONFIG_FILE"))
        sdk_diag(VANE_E_UNAVAILABLE,
                 "OTEL_CONFIG_FILE is set: declarative configuration is not supported and is ignored");
}

/* A rate of zero can only come from the environment; the samplers know it by their kind. */
static void resolve_sampler(void)
{
    if (from[ROW(sample_rate)] != FROM_ENVIRONMENT || sdk_cfg.sample_rate > 0)
        return;
    if (sdk_cfg.sampler == VANE_SAMPLER_RATIO)
        sdk_cfg.sampler = VANE_SAMPLER_ALWAYS_OFF;
    else if (sdk_cfg.sampler == VANE_SAMPLER_PARENT)
        sdk_cfg.sampler = VANE_SAMPLER_PARENT_OFF;
}

static vane_status check(void)
{
    if (strcasecmp(sdk_cfg.log_format, "json") && strcasecmp(sdk_cfg.log_format, "text")) {
        sdk_diag(VANE_E_ARG, "log_format (LOG_FORMAT) is \"%.40s\"; json or text is meant", sdk_cfg.log_format);
        return VANE_E_ARG;
    }
    if (sdk_cfg.metrics_path[0] != '/') {
        sdk_diag(VANE_E_ARG, "metrics_path (METRICS_ENDPOINT) \"%.60s\" does not begin with /", sdk_cfg.metrics_path);
        return VANE_E_ARG;
    }
    return VANE_OK;
}

/* ---- resource ---- */

static void resource_clear(void)
{
    for (size_t i = 0; i < sdk_resource_n; i++) {
        sdk_free_str((char *)(uintptr_t)sdk_resource[i].key);
        sdk_free_str((char *)(uintptr_t)sdk_resource[i].value);
    }
    sdk_resource_n = 0;
}

/* Add or replace. */
static vane_status resource_set(const char *key, const char *value)
{
    char text[VANE_VALUE_MAX * 4 + 1];
    size_t n = sdk_text(text, sizeof text - 1, value, SIZE_MAX);
    text[n] = 0;
    size_t i = 0;
    while (i < sdk_resource_n && strcmp(sdk_resource[i].key, key))
        i++;
    if (i == SDK_RESOURCE_MAX)
        return VANE_E_LIMIT;
    char *v = sdk_dup(text);
    if (!v)
        return VANE_E_NOMEM;
    if (i < sdk_resource_n) {
        sdk_free_str((char *)(uintptr_t)sdk_resource[i].value);
        sdk_resource[i].value = v;
        return VANE_OK;
    }
    char *k = sdk_dup(key);
    if (!k) {
        sdk_free_str(v);
        return VANE_E_NOMEM;
    }
    sdk_resource[sdk_resource_n++] = (struct sdk_pair){ k, v };
    return VANE_OK;
}

static vane_status resource_list(const char *list, const char *where)
{
    char *copy = sdk_dup(list);
    if (!copy)
        return VANE_E_NOMEM;
    size_t size = strlen(copy) + 1;
    char *rest = copy, *key, *value;
    bool bad = false;
    vane_status st = VANE_OK;
    while (!st && sdk_pairs_next(&rest, &key, &value, &bad))
        if (sdk_text_valid(key, strlen(key)))
            st = resource_set(key, value);
    sdk_free(copy, size);
    if (bad)
        sdk_diag(VANE_E_ARG, "%s holds items that are not key=value; they are ignored", where);
    return st;
}

void sdk_uuid(char buf[37])
{
    uint64_t r[2] = { sdk_random(), sdk_random() };
    uint8_t b[16];
    memcpy(b, r, 16);
    b[6] = (uint8_t)((b[6] & 0x0F) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3F) | 0x80);
    char hex[32];
    sdk_hex(hex, b, 16);
    memcpy(buf, hex, 8);
    memcpy(buf + 9, hex + 8, 4);
    memcpy(buf + 14, hex + 12, 4);
    memcpy(buf + 19, hex + 16, 4);
    memcpy(buf + 24, hex + 20, 12);
    buf[8] = buf[13] = buf[18] = buf[23] = '-';
    buf[36] = 0;
}

/* In a child: a new instance id of the same length is written in place, so that nothing is allocated. One the host chose
 * gets no change: it is the host's to tell its children apart. */
static bool own_instance_id;

void sdk_conf_fork_child(void)
{
    for (size_t i = 0; own_instance_id && i < sdk_resource_n; i++)
        if (!strcmp(sdk_resource[i].key, "service.instance.id") && strlen(sdk_resource[i].value) == 36)
            sdk_uuid((char *)(uintptr_t)sdk_resource[i].value);
}

static vane_status resource_build(bool use_env)
{
    char name[64], uuid[37];
    snprintf(name, sizeof name, "unknown_service:%.40s", program_invocation_short_name);
    sdk_uuid(uuid);
    resource_clear();
    vane_status st = resource_set("service.name", name);
    const char *env = use_env ? env_of("OTEL_RESOURCE_ATTRIBUTES") : NULL;
    if (!st && env)
        st = resource_list(env, "OTEL_RESOURCE_ATTRIBUTES");
    if (!st && from[ROW(resource_attributes)] == FROM_FIELD)
        st = resource_list(sdk_cfg.resource_attributes, "resource_attributes");
    const struct sdk_pair more[] = {
        { "service.name", sdk_cfg.service_name },
        { "service.version", sdk_cfg.service_version },
        { "service.namespace", sdk_cfg.service_namespace },
        { "service.instance.id", sdk_cfg.service_instance_id },
        { "deployment.environment.name", sdk_cfg.environment },
        { "telemetry.sdk.name", "vane" },
        { "telemetry.sdk.language", "c" },
        { "telemetry.sdk.version", vane_version() },
    };
    for (size_t i = 0; !st && i < SDK_COUNT_OF(more); i++)
        if (more[i].value)
            st = resource_set(more[i].key, more[i].value);
    own_instance_id = !sdk_resource_value("service.instance.id");
    if (!st && own_instance_id)
        st = resource_set("service.instance.id", uuid);
    return st;
}

const char *sdk_resource_value(const char *key)
{
    for (size_t i = 0; i < sdk_resource_n; i++)
        if (!strcmp(sdk_resource[i].key, key))
            return sdk_resource[i].value;
    return NULL;
}

/* ---- in and out ---- */

void sdk_conf_free(void)
{
    for (size_t i = 0; i < SDK_COUNT_OF(rows); i++) {
        if (rows[i].type != T_STR)
            continue;
        char **f = field_of(&sdk_cfg, &rows[i]);
        sdk_free_str(*f);
        *f = NULL;
    }
    resource_clear();
}

vane_status sdk_conf_load(const vane_config *given)
{
    vane_config in = { 0 };
    if (given) {
        if (given->size < 2 * sizeof(size_t) || given->size > 65536)
            return VANE_E_ARG;
        memcpy(&in, given, given->size < sizeof in ? given->size : sizeof in);
    }
    sdk_conf_free();
    sdk_cfg = (vane_config){ .size = sizeof sdk_cfg, .diag = in.diag, .diag_ctx = in.diag_ctx };
    bool use_env = in.ignore_environment != VANE_ON;
    vane_status st = VANE_OK;
    for (size_t i = 0; !st && i < SDK_COUNT_OF(rows); i++)
        st = resolve(i, &in, use_env);
    if (!st && use_env)
        resolve_exporters();
    if (!st)
        resolve_push(use_env);
    resolve_sampler();
    if (!st)
        st = check();
    if (!st)
        st = resource_build(use_env);
    if (!st && !sdk_cfg.service_name) {
        sdk_cfg.service_name = sdk_dup(sdk_resource_value("service.name"));
        st = sdk_cfg.service_name ? VANE_OK : VANE_E_NOMEM;
    }
    return st;
}

static void print_value(struct sdk_buf *b, const struct row *r)
{
    const void *f = (const char *)&sdk_cfg + r->at;
    switch (r->type) {
    case T_STR: {
        const char *s = *(const char *const *)f, *at = s ? strstr(s, "://") : NULL;
        const char *user = at ? strchr(at, '@') : NULL;
        if (r->secret && s) {
            SDK_PUTS(b, "***");
        } else if (user && user < at + 3 + strcspn(at + 3, "/?#")) {
            sdk_put(b, s, (size_t)(at + 3 - s));
            SDK_PUTS(b, "***");
            sdk_puts(b, user);
        } else {
            sdk_puts(b, s ? s : "");
        }
        break;
    }
    case T_SWITCH:
        sdk_puts(b, *(const vane_switch *)f == VANE_ON ? "true" : "false");
        break;
    case T_SAMPLER:
        for (size_t i = 0; i < SDK_COUNT_OF(samplers); i++)
            if (samplers[i].kind == *(const vane_sampler_kind *)f) {
                sdk_puts(b, samplers[i].name);
                break;
            }
        break;
    case T_U16:
        sdk_put_u64(b, *(const uint16_t *)f);
        break;
    case T_U32:
        sdk_put_u64(b, *(const uint32_t *)f);
        break;
    case T_U64:
        sdk_put_u64(b, *(const uint64_t *)f);
        break;
    case T_F64:
        sdk_put_f64(b, *(const double *)f);
        break;
    }
}

size_t vane_config_print(char *buf, size_t n)
{
    static const char *const names[] = { "not set", "field", "environment", "default" };
    if (buf && n)
        buf[0] = 0;
    if (!sdk_enter())
        return 0;
    struct sdk_buf b;
    sdk_buf_init(&b, 1 << 20);
    for (size_t i = 0; i < SDK_COUNT_OF(rows); i++) {
        const struct row *r = &rows[i];
        sdk_puts(&b, r->name);
        SDK_PUTS(&b, " = ");
        print_value(&b, r);
        SDK_PUTS(&b, "  # ");
        sdk_puts(&b, names[from[i]]);
        for (size_t k = 0; k < SDK_COUNT_OF(r->env) && r->env[k]; k++) {
            sdk_puts(&b, k ? ", " : "; ");
            sdk_puts(&b, r->env[k]);
        }
        sdk_putc(&b, '\n');
    }
    sdk_leave();
    size_t len = b.failed ? 0 : b.n;
    if (buf && n && len) {
        size_t cut = len < n ? len : n - 1;
        memcpy(buf, b.p, cut);
        buf[cut] = 0;
    }
    sdk_buf_free(&b);
    return len;
}
