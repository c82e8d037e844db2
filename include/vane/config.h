/* libvane configuration. Order of precedence per setting: field of vane_config > environment variable > default.
 * A field of zero (NULL, VANE_UNSET, 0.0) is not set. With ignore_environment = VANE_ON the environment is not read.
 *
 * Booleans in the environment: true/false, 1/0, yes/no, on/off (any case). A value that cannot be understood is reported
 * through the diagnostic callback and treated as not set, as the OpenTelemetry specification asks; in a field it is
 * VANE_E_ARG. OTEL_CONFIG_FILE is not supported (reported when set). */
#ifndef VANE_CONFIG_H
#define VANE_CONFIG_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vane_switch { VANE_UNSET = 0, VANE_ON = 1, VANE_OFF = 2 } vane_switch;

typedef enum vane_sampler_kind {
    VANE_SAMPLER_UNSET = 0,
    VANE_SAMPLER_ALWAYS_ON,     /* always_on */
    VANE_SAMPLER_ALWAYS_OFF,    /* always_off */
    VANE_SAMPLER_RATIO,         /* traceidratio, with sample_rate */
    VANE_SAMPLER_PARENT,        /* parentbased_always_on; with a sample_rate below 1: parentbased_traceidratio */
    VANE_SAMPLER_PARENT_OFF,    /* parentbased_always_off */
    VANE_SAMPLER_RATE_LIMITED,  /* at most sample_per_second new traces a second */
    VANE_SAMPLER_JAEGER_REMOTE, /* jaeger_remote: strategies from sampler_url */
    VANE_SAMPLER_RULES          /* the rules of vane_sampler_rules() (trace.h) */
} vane_sampler_kind;

/* What one signal's OTLP endpoint needs other than the rest. What is not set is taken from the otlp_* fields. Environment:
 * OTEL_EXPORTER_OTLP_<SIGNAL>_HEADERS, _COMPRESSION, _CERTIFICATE, _CLIENT_CERTIFICATE, _CLIENT_KEY, _TIMEOUT. */
typedef struct vane_otlp_signal {
    const char *headers, *compression, *ca_file, *cert_file, *key_file;
    uint32_t timeout_ms;
} vane_otlp_signal;

typedef struct vane_config {
    size_t size; /* sizeof(vane_config): VANE_CONFIG_INIT */

    /* Resource. Environment: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES. */
    const char *service_name; /* default "unknown_service:" + name of the program */
    const char *service_version;
    const char *service_namespace;
    const char *service_instance_id; /* default: a random UUID; a new one in every child of fork */
    const char *environment;         /* deployment.environment.name */
    const char *resource_attributes; /* more, "key=value,key=value", percent-encoded as in OTEL_RESOURCE_ATTRIBUTES */

    vane_switch disabled;           /* OTEL_SDK_DISABLED; default off */
    vane_switch ignore_environment; /* default off */

    /* Metrics. */
    vane_switch metrics;         /* METRICS_ENABLED; OTEL_METRICS_EXPORTER=none is off; default on */
    const char *metrics_path;    /* METRICS_ENDPOINT; default "/metrics" */
    const char *multiproc_dir;   /* PROMETHEUS_MULTIPROC_DIR; default none: memory of this process only. The folder must
                                     exist. Emptied by whoever starts the service, never by the library */
    uint32_t series_max;         /* label sets per instrument; default 2000 */
    uint32_t series_total_max;   /* of all instruments; default 100000 */
    uint64_t memory_max_bytes;   /* values of metrics; default and most 64 MiB; address space, memory as touched */
    uint32_t threads_max;        /* threads with a shard of their own, 1 to 256; default 64; more share one */
    vane_switch process_metrics; /* process_*; default on */
    vane_switch exemplars;       /* OTEL_METRICS_EXEMPLAR_FILTER: trace_based is on (default), always_off is off */

    /* Traces. */
    vane_switch tracing;          /* TRACING_ENABLED; OTEL_TRACES_EXPORTER=none is off; default on */
    vane_sampler_kind sampler;    /* OTEL_TRACES_SAMPLER; default VANE_SAMPLER_PARENT */
    double sample_rate;           /* TRACING_SAMPLE_RATE, OTEL_TRACES_SAMPLER_ARG; (0, 1]; default 1. For zero choose
                                     VANE_SAMPLER_ALWAYS_OFF or VANE_SAMPLER_PARENT_OFF; the variables accept 0 */
    double sample_per_second;     /* default 10 */
    const char *sampler_url;      /* e.g. "http://jaeger:5778/sampling" */
    const char *propagators;      /* OTEL_PROPAGATORS; "tracecontext,baggage" (default), b3, b3multi, jaeger, none */
    uint32_t span_attributes_max; /* OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT; default 128 */
    uint32_t span_events_max;     /* OTEL_SPAN_EVENT_COUNT_LIMIT; default 128 */
    uint32_t span_links_max;      /* OTEL_SPAN_LINK_COUNT_LIMIT; default 128 */
    uint32_t attribute_bytes_max; /* OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT; default 4096 */
    uint32_t span_queue_max;      /* OTEL_BSP_MAX_QUEUE_SIZE; spans; default 2048 */

    /* Logs. */
    const char *log_level;  /* LOG_LEVEL; DEBUG, INFO (default), WARN, ERROR, CRITICAL */
    const char *log_format; /* LOG_FORMAT; "json" (default) or "text" */
    const char *log_sinks;  /* VANE_LOG_SINKS; comma list of stderr (default), file:PATH, syslog, journald, otlp, none.
                               Without it, OTEL_LOGS_EXPORTER=otlp or an endpoint for logs of their own mean stderr,otlp */
    uint64_t log_file_max_bytes; /* rotation; default 64 MiB */
    uint32_t log_file_keep;      /* rotated files kept; default 5 */
    uint32_t log_ring_bytes;     /* per thread; default 64 KiB */
    const char *log_redact;      /* VANE_LOG_REDACT; comma list of keys whose values are replaced, added to the built-in
                                     list (password, passwd, secret, token, api_key, authorization, cookie, set-cookie) */
    vane_switch correlation;     /* LOG_CORRELATION_ENABLED; default on */
    const char *correlation_header; /* LOG_CORRELATION_HEADER; default "x-correlation-id" */

    /* Health. */
    vane_switch health;         /* HEALTH_CHECK_ENABLED; default on */
    uint32_t health_timeout_s;  /* HEALTH_CHECK_TIMEOUT; default 30 */
    uint32_t health_interval_s; /* HEALTH_CHECK_INTERVAL; default 60 */

    /* Profiling. */
    vane_switch profiling;      /* PROFILING_ENABLED; default off */
    double profile_sample_rate; /* PROFILING_SAMPLE_RATE; share of requests; default 0.01 */
    double profile_slow_s;      /* PROFILING_SLOW_THRESHOLD; seconds; default 1.0 */
    const char *profile_dir;    /* VANE_PROFILE_DIR; where pprof files go; default none */

    /* Push. Off unless an endpoint is set by field or variable. OTEL_{TRACES,METRICS,LOGS}_EXPORTER, a comma list, keeps a
     * signal from endpoints of the environment that it does not name; "otlp" without an endpoint is http://localhost:4318. */
    const char *otlp_endpoint;        /* OTEL_EXPORTER_OTLP_ENDPOINT; /v1/<signal> is appended */
    const char *otlp_traces_endpoint; /* OTEL_EXPORTER_OTLP_TRACES_ENDPOINT; as is; "" in the field: none, whatever
                                         otlp_endpoint says. Also _METRICS_, _LOGS_ */
    const char *otlp_metrics_endpoint;
    const char *otlp_logs_endpoint;
    const char *otlp_headers;     /* OTEL_EXPORTER_OTLP_HEADERS; "key=value,key=value" */
    const char *otlp_compression; /* OTEL_EXPORTER_OTLP_COMPRESSION; "gzip" (default when zlib is found) or "none" */
    const char *otlp_ca_file;     /* OTEL_EXPORTER_OTLP_CERTIFICATE; also _CLIENT_CERTIFICATE, _CLIENT_KEY */
    const char *otlp_cert_file;
    const char *otlp_key_file;
    uint32_t otlp_timeout_ms;    /* OTEL_EXPORTER_OTLP_TIMEOUT; default 10000 */
    uint32_t metric_interval_ms; /* OTEL_METRIC_EXPORT_INTERVAL; default 60000 */
    uint32_t batch_delay_ms;     /* OTEL_BSP_SCHEDULE_DELAY; spans; default 5000 */
    uint32_t log_batch_delay_ms; /* OTEL_BLRP_SCHEDULE_DELAY; log lines and events; default 1000 */
    uint32_t batch_max;          /* OTEL_BSP_MAX_EXPORT_BATCH_SIZE; spans, log lines; default 512 */
    uint64_t push_queue_bytes;   /* all signals together; default 8 MiB; the oldest batch is dropped first */
    const char *zipkin_endpoint; /* OTEL_EXPORTER_ZIPKIN_ENDPOINT, ZIPKIN_ENDPOINT; spans as Zipkin v2 JSON; with
                                    OTEL_TRACES_EXPORTER=zipkin default "http://localhost:9411/api/v2/spans" */
    const char *jaeger_endpoint; /* JAEGER_ENDPOINT: host of a Jaeger; an OTLP endpoint on port 4318 is derived from an
                                          address that ends in :14268/api/traces, any other is used as OTLP/HTTP */

    /* Listener: a tiny HTTP/1.1 server for /metrics and /health*, one thread. Off unless a port is set. */
    const char *listen_host; /* OTEL_EXPORTER_PROMETHEUS_HOST; default "127.0.0.1" */
    uint16_t listen_port; /* OTEL_EXPORTER_PROMETHEUS_PORT with OTEL_METRICS_EXPORTER=prometheus (then default 9464) */
    vane_switch listen_any_port; /* on: the system chooses a port, vane_listen_port() (export.h) tells it */

    /* Crash-surviving telemetry: the last metrics, spans and log lines stay readable with `vane blackbox DIR`. */
    const char *blackbox_dir; /* VANE_BLACKBOX_DIR; default: multiproc_dir if that is set, else none */

    vane_switch fork_threads; /* background threads start again by themselves in a child; default on */

    vane_diag_fn diag; /* see core.h; default none */
    void *diag_ctx;

    vane_otlp_signal otlp_traces, otlp_metrics, otlp_logs;
    uint32_t zipkin_timeout_ms; /* OTEL_EXPORTER_ZIPKIN_TIMEOUT; default 10000 */
} vane_config;

#if defined(__cplusplus)
/* C++ fills the rest with zeros. */
#define VANE_CONFIG_INIT vane_config_zero_()
static inline vane_config vane_config_zero_(void)
{
    vane_config c = vane_config();
    c.size = sizeof c;
    return c;
}
#else
#define VANE_CONFIG_INIT vane_config_zero_()
static inline vane_config vane_config_zero_(void)
{
    static const vane_config zero;
    vane_config c = zero;
    c.size = sizeof c;
    return c;
}
#endif

/* The configuration in use, as `name = value  # where it came from` lines; secrets (headers, user:password in URLs) are
 * replaced by "***".
 *   buf, n   may be NULL, 0 to ask for the size; always NUL-terminated when n > 0
 * Returns   bytes it needs without the NUL, as snprintf does; 0 before vane_start(). */
VANE_API size_t vane_config_print(char *buf, size_t n);

#ifdef __cplusplus
}
#endif
#endif
