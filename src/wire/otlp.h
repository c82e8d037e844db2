/* OTLP metrics: ExportMetricsServiceRequest in protobuf or JSON -> batch, and the answers.
 * Spec: opentelemetry-proto 1.x, metrics/v1; "Prometheus and OpenMetrics compatibility"; translation as
 * prometheus/otlptranslator.
 *
 *   gauge, sum                 one series; monotonic cumulative sums get _total; temporality is kept in the batch
 *   histogram                  classic: _bucket{le}, _sum, _count (or one custom-bucket histogram: as_custom)
 *   exponential histogram      native histogram; scale > 8 is merged down to 8, < -4 is refused
 *   summary                    {quantile}, _sum, _count
 * NoRecordedValue points become staleness markers. job = service.namespace/service.name, instance =
 * service.instance.id; the other resource attributes go to batch_series.resource (outside identity) and, per resource
 * with job or instance, to one target_info series. Scope name, version, schema_url and attributes: otel_scope_* labels.
 * Attributes that meet after sanitising are joined with ';'. Unknown JSON fields are ignored. */
#ifndef VANE_WIRE_OTLP_H
#define VANE_WIRE_OTLP_H

#include "wire/wire.h"

enum otlp_coding { OTLP_PROTOBUF, OTLP_JSON };
/* application/x-protobuf, application/json (parameters ignored). ERR_UNSUPPORTED otherwise. */
enum err otlp_coding_of(str content_type, enum otlp_coding *ret, struct err_text *reterr) MUST_CHECK;

enum otlp_naming {                                         /* translation_strategy */
                   OTLP_UNDERSCORE_ESCAPING_WITH_SUFFIXES, /* default */
                   OTLP_UNDERSCORE_ESCAPING_WITHOUT_SUFFIXES,
                   OTLP_NO_UTF8_ESCAPING_WITH_SUFFIXES,
                   OTLP_NO_TRANSLATION,
};
bool otlp_naming_parse(str s, enum otlp_naming *ret); /* "UnderscoreEscapingWithSuffixes" ... */

struct otlp_options {
    enum otlp_naming naming;
    const str *promote_resource_attributes; /* become labels of every series of the resource */
    size_t n_promote;
    bool promote_all_resource_attributes;  /* then n_promote is ignored */
    const str *ignore_resource_attributes; /* with promote_all: these are not promoted */
    size_t n_ignore;
    bool keep_identifying_resource_attributes;     /* service.* also on target_info */
    bool promote_scope_metadata_off;               /* no otel_scope_* labels */
    bool convert_histograms_to_custom;             /* classic histograms as one native custom-bucket series */
    bool label_name_underscore_sanitization;       /* "_a" -> "key_a" */
    bool label_name_preserve_multiple_underscores; /* "a__b" stays */
    struct wire_limits limits;
};
#define OTLP_OPTIONS_DEFAULT                                                  \
    ((struct otlp_options){ .label_name_underscore_sanitization = true,       \
                            .label_name_preserve_multiple_underscores = true, \
                            .limits = WIRE_LIMITS_DEFAULT })

/* Decode one request body (already decompressed; borrowed). Bad points are left out and counted in
 * ret_rejects->samples (one per data point). ERR_PARSE (position), ERR_LIMIT: nothing of it is usable. */
enum err otlp_metrics_decode(struct arena *a, str body, enum otlp_coding coding, const struct otlp_options *opt,
                             struct batch *out, struct wire_rejects *ret_rejects, struct err_text *reterr) MUST_CHECK;

/* Answers. ExportMetricsServiceResponse: partial_success is set only if something was rejected or `message` is not
 * empty (a warning). google.rpc.Status for errors (code: gRPC number). */
void otlp_metrics_response(struct buf *out, enum otlp_coding coding, uint64_t rejected_points, str message);
void otlp_status(struct buf *out, enum otlp_coding coding, int code, str message);
const char *otlp_content_type(enum otlp_coding coding);

/* ---- naming, as prometheus/otlptranslator ---- */
enum otlp_metric_kind {
    OTLP_KIND_UNKNOWN,
    OTLP_KIND_GAUGE,
    OTLP_KIND_SUM_NON_MONOTONIC,
    OTLP_KIND_SUM_MONOTONIC,
    OTLP_KIND_HISTOGRAM,
    OTLP_KIND_EXP_HISTOGRAM,
    OTLP_KIND_SUMMARY,
};
struct otlp_name_options {
    bool utf8_allowed, with_suffixes;
    str name_space; /* prefix, usually empty */
};
/* Metric name in a; ERR_INVALID if nothing remains. */
enum err otlp_metric_name(struct arena *a, str name, str unit, enum otlp_metric_kind kind,
                          const struct otlp_name_options *opt, str *ret, struct err_text *reterr) MUST_CHECK;
/* Unit as it stands in metadata ("ms" -> "milliseconds", "By/s" -> "bytes_per_second"). */
str otlp_unit_name(struct arena *a, str unit, bool utf8_allowed);
/* Attribute name -> label name; ERR_INVALID if empty or nothing remains. */
struct otlp_label_options {
    bool utf8_allowed, preserve_multiple_underscores, underscore_prefix; /* prefix: "_a" -> "key_a" */
};
enum err otlp_label_name(struct arena *a, str name, const struct otlp_label_options *opt, str *ret,
                         struct err_text *reterr) MUST_CHECK;

#endif
