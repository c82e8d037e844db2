/* Private to room `api`: what the files of routes share. */
#ifndef VANE_API_API_INT_H
#define VANE_API_API_INT_H

#include <stdatomic.h>

#include "api/api.h"
#include "base/check.h"
#include "base/json.h"
#include "base/log.h"
#include "base/num.h"
#include "base/stats.h"
#include "promql/ast.h"

struct api {
    struct api_deps d;          /* handlers reach store and source through api_store() and api_source() only */
    struct http_route *guarded; /* all routes, those that ask for a tenant with another handler; else NULL */
    void (**handlers)(struct http_request *rq, struct http_response *rs); /* their own ones */
    _Atomic(const struct otlp_options *) otlp;
};
static inline struct api *api_of(const struct http_request *rq)
{
    return rq->ctx;
}
static inline int64_t api_now_ms(const struct api *api)
{
    return clock_now_ms(api->d.clock);
}
static inline bool api_ready(const struct api *api)
{
    return !api->d.process->ready || api->d.process->ready(api->d.process->ctx);
}
static inline bool api_taking(const struct api *api)
{
    return api->d.process->taking ? api->d.process->taking(api->d.process->ctx) : api_ready(api);
}

/* ---- api_error.c: the one table from errors to answers ---- */
enum api_error_type {
    API_BAD_DATA,
    API_EXECUTION,
    API_TIMEOUT,
    API_CANCELED,
    API_INTERNAL,
    API_UNAVAILABLE,
    API_NOT_FOUND,
    API_NOT_ACCEPTABLE
};
struct api_error {
    enum err err;
    enum api_error_type type;
    int status;       /* of the Prometheus API */
    int write_status; /* of write protocols: 4xx = never repeat, 429 and 5xx = repeat */
};
const struct api_error *api_error_of(enum err e);
/* {"status":"error","errorType":...,"error":...} */
void api_fail(struct http_response *rs, enum api_error_type type, const char *fmt, ...) PRINTF_LIKE(3, 4);
void api_fail_err(struct http_response *rs, enum err e, const struct err_text *why);
void api_fail_param(struct http_response *rs, const char *param, const char *why);
/* Write protocols: plain text and, where the sender should repeat, Retry-After. */
void api_write_fail(struct http_response *rs, enum err e, const char *why);
/* 503 in plain text while the process is not ready, as upstream; true if it was answered. */
bool api_not_ready(const struct api *api, struct http_response *rs);
bool api_not_taking(const struct api *api, struct http_response *rs); /* the same for writes */

/* ---- api_params.c: parameters as upstream reads them. On failure the answer is in rs and the result is false ---- */
#define API_TIME_MIN (-9223372036854775ll) /* upstream's MinTime and MaxTime, in milliseconds */
#define API_TIME_MAX 9223372036854775ll
bool api_parse_time(str s, int64_t *ret_ms);
bool api_parse_duration(str s, int64_t *ret_ms, const char **ret_why);
bool api_time_param(const struct http_request *rq, struct http_response *rs, const char *name, int64_t fallback,
                    int64_t *ret_ms);
bool api_limit_param(const struct http_request *rq, struct http_response *rs, const char *name, size_t *ret);
/* -1 = all, as metadata routes read their limits. */
bool api_count_param(const struct http_request *rq, struct http_response *rs, const char *name, int64_t *ret);
/* start and end with the whole range as default; end may lie before start (nothing is found then). */
bool api_range_params(const struct http_request *rq, struct http_response *rs, int64_t *ret_from, int64_t *ret_to);
struct api_selector {
    struct matcher *m;
    size_t n;
};
/* All match[] parameters; at least one if `required`. Free with api_selectors_deinit. */
bool api_selector_params(const struct http_request *rq, struct http_response *rs, bool required,
                         struct api_selector **ret, size_t *ret_n);
void api_selectors_deinit(struct api_selector *s, size_t n);

/* ---- api_json.c: envelopes and values ---- */
struct json_out api_begin(struct http_response *rs); /* {"status":"success","data": */
/* ...,"warnings":[...],"infos":[...]} */
void api_end(struct json_out *j, const struct promql_note *notes, size_t n_notes);
void api_end_truncated(struct json_out *j, bool truncated);                            /* with upstream's warning */
void api_json_value(struct json_out *j, int64_t ts_ms, double v);                      /* [1.5,"2"] */
void api_json_histogram(struct json_out *j, int64_t ts_ms, const struct histogram *h); /* [1.5,{...}] */
void api_json_result(struct json_out *j, const struct promql_result *r, size_t limit);
void api_json_rfc3339(struct json_out *j, int64_t ts_ms);         /* 0: "0001-01-01T00:00:00Z" */
void api_json_moment(struct json_out *j, str key, int64_t ts_ms); /* "key": the time; 0: null */
void api_json_duration(struct json_out *j, str key, int64_t ms);  /* "key": "1h30m" */
#define API_TRUNCATED "results truncated due to limit"

/* Of the configuration, sorted, in a. */
void api_external_labels(const struct api *api, struct arena *a, struct labels *ret);

/* ---- api_transfer.c ---- */
/* The whole store, for administration; NULL: it is off, there are tenants, or it is not ready, and rs says so. */
struct tsdb *api_admin_store(const struct http_request *rq, struct http_response *rs);

/* ---- the tables, one per family ---- */
#define API_TABLE(name)                          \
    extern const struct http_route api_##name[]; \
    extern const size_t api_##name##_n;
API_TABLE(query_routes)
API_TABLE(meta_routes)
API_TABLE(status_routes)
API_TABLE(runbook_routes)
API_TABLE(backtest_routes)
API_TABLE(rules_routes)
API_TABLE(alertmanager_routes)
API_TABLE(alerting_routes)
API_TABLE(alerting_receivers)
API_TABLE(alerts_routes)
API_TABLE(history_routes)
API_TABLE(policy_routes)
API_TABLE(drill_routes)
API_TABLE(cardinality_routes)
API_TABLE(admin_routes)
API_TABLE(retention_routes)
API_TABLE(transfer_routes)

API_TABLE(write_routes)
API_TABLE(otlp_routes)
API_TABLE(custom_routes)
API_TABLE(push_routes)
API_TABLE(federate_routes)
API_TABLE(read_routes)
API_TABLE(forward_routes)
API_TABLE(agent_routes)
API_TABLE(influx_routes)
API_TABLE(file_routes)
API_TABLE(common_routes) /* health and /metrics: on every listener */

/* gRPC methods, one table per family; a service's name also goes into the list of api_grpc.c that Health answers for. */
#define API_OTLP_METRICS_SERVICE "/opentelemetry.proto.collector.metrics.v1.MetricsService"
extern const struct grpc_method api_otlp_methods[];
extern const size_t api_otlp_methods_n;

void api_metrics(struct http_request *rq, struct http_response *rs); /* api_self.c */
void api_self_open(struct api *api);
void api_self_close(struct api *api);

/* ---- api_tenant.c ---- */
str api_tenant(const struct http_request *rq);             /* whose request it is; "" while there are no tenants */
bool api_tenant_is_default(const struct http_request *rq); /* true while there are none */
/* What concerns the store as a whole is the default tenant's: 403 for the others, true if it was answered. */
bool api_tenant_foreign(const struct http_request *rq, struct http_response *rs);
/* The Alertmanager inside, which is the default tenant's; NULL after an answer. */
struct am *api_am(struct http_request *rq, struct http_response *rs);
const struct api_store *api_store(struct http_request *rq); /* as the request's tenant sees it; lives as long as rq */
struct promql_source *api_source(struct http_request *rq);
struct ingest_source api_sender(const struct http_request *rq, unsigned flags);
/* For requests that are not HTTP/1.1: ERR_PERMISSION (none given), ERR_INVALID. */
enum err api_tenant_check(const struct api *api, str tenant, struct err_text *why) MUST_CHECK;
void api_tenant_guard(struct api *api, struct http_table *tables, size_t n);
bool api_tenant_open_route(const char *pattern); /* nothing of any tenant is in its answer */
struct api_store *api_tenant_store(struct arena *a, const struct api_store *inner, str tenant);

/* Write a decoded batch and wait until it is durable. On trouble the store's error. */
enum err api_store_write(const struct api_store *st, const struct batch *b, const struct ingest_source *who,
                         struct tsdb_write_result *ret, struct err_text *reterr) MUST_CHECK;
/* 400 with the first refusal in words: of the decoder, or of the store with the reference receiver's phrase in front. */
void api_partial_fail(struct http_response *rs, const struct wire_rejects *rejects, const struct tsdb_write_result *r);
/* "out of order sample": the words senders know for a refusal. */
const char *api_reject_text(const struct tsdb_write_result *r);

#endif
