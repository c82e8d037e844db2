/* OTLP metrics. HTTP: POST /v1/metrics and /api/v1/otlp/v1/metrics, protobuf or JSON; the answer comes in the request's content
 * type: ExportMetricsServiceResponse (partial_success when points were refused) or google.rpc.Status. Senders repeat 429, 502,
 * 503 and 504 only, so everything that a repetition can cure is 429 or 503. gRPC: MetricsService/Export; there it is
 * UNAVAILABLE or RESOURCE_EXHAUSTED with RetryInfo (without it, senders do not repeat RESOURCE_EXHAUSTED).
 * Spec: opentelemetry.io/docs/specs/otlp, "OTLP/gRPC" and "OTLP/HTTP". */
#include "api/api_int.h"

static struct stat points_refused = STAT_COUNTER("vane_otlp_points_refused_total", "OTLP data points refused", "");

/* What a failure tells the sender: an HTTP status, a gRPC code, and after how long repeating may help (0: never). */
struct verdict {
    int status;
    enum grpc_code code;
    unsigned retry_ms;
};
static struct verdict verdict_of(enum err e)
{
    const struct api_error *row = api_error_of(e);
    if (e == ERR_NO_SPACE)
        return (struct verdict){ 503, GRPC_RESOURCE_EXHAUSTED, 30000 };
    if (row->write_status == 429 || row->write_status >= 500)
        return (struct verdict){ e == ERR_BUSY ? 429 : 503, GRPC_UNAVAILABLE, 2000 };
    return (struct verdict){ row->write_status,
                             row->write_status == 413 ? GRPC_RESOURCE_EXHAUSTED : GRPC_INVALID_ARGUMENT, 0 };
}

static void http_fail(struct http_request *rq, struct http_response *rs, enum otlp_coding coding, enum err e,
                      const char *why)
{
    struct verdict v = verdict_of(e);
    buf_clear(&rs->body);
    rs->status = v.status;
    rs->content_type = str_c(otlp_content_type(coding));
    otlp_status(&rs->body, coding, (int)v.code, str_c(why));
    if (v.retry_ms)
        http_set_header(rs, STR("Retry-After"), arena_printf(rq->a, "%u", v.retry_ms / 1000));
}

/* How many points were left out, and the first reason. */
static uint64_t refused(struct arena *a, const struct wire_rejects *rejects, const struct tsdb_write_result *r,
                        str *ret_why)
{
    uint64_t n = rejects->samples;
    for (size_t i = 0; i < TSDB_REJECT_N; i++)
        n += r->rejected[i];
    const char *phrase = api_reject_text(r);
    *ret_why = STR("");
    if (rejects->first.msg[0])
        *ret_why = arena_str(a, str_c(rejects->first.msg));
    else if (phrase)
        *ret_why = arena_printf(a, "%s: %s", phrase, r->first.msg);
    return n;
}

/* One ExportMetricsServiceRequest, whatever brought it: decode, store, wait until it is durable, and the answer to it. On
 * failure why says something. */
static enum err metrics_take(struct api *api, const struct api_store *st, str tenant, struct arena *a, str body,
                             enum otlp_coding coding, struct buf *answer, struct err_text *why)
{
    struct batch batch = { .a = a };
    struct wire_rejects rejects = { 0 };
    const struct ingest_source who = { tenant, INGEST_REPLICAS };
    struct tsdb_write_result result = { 0 };
    str reason;
    if (!api_taking(api))
        return err_fail(why, ERR_CLOSED, "not ready yet");
    const struct otlp_options *opt =
        atomic_load_explicit(&api->otlp, memory_order_acquire); /* pairs with api_set_otlp */
    enum err e = otlp_metrics_decode(a, body, coding, opt, &batch, &rejects, why);
    if (e == OK)
        e = api_store_write(st, &batch, &who, &result, why);
    if (e != OK)
        return why->msg[0] ? e : err_fail(why, e, "%s", err_describe(e));
    uint64_t n = refused(a, &rejects, &result, &reason);
    if (n)
        stat_add(&points_refused, (int64_t)n);
    otlp_metrics_response(answer, coding, n, reason);
    return OK;
}

static void http_metrics(struct http_request *rq, struct http_response *rs)
{
    struct err_text why = { .msg = "" };
    enum otlp_coding coding = OTLP_PROTOBUF;
    enum err e = otlp_coding_of(http_header(rq, STR("Content-Type")), &coding, &why);
    if (e != OK) {
        api_write_fail(rs, e, why.msg);
        return;
    }
    rs->content_type = str_c(otlp_content_type(coding));
    e = metrics_take(api_of(rq), api_store(rq), api_tenant(rq), rq->a, rq->body, coding, &rs->body, &why);
    if (e != OK)
        http_fail(rq, rs, coding, e, why.msg);
}

static void grpc_metrics(struct grpc_request *rq, struct grpc_response *rs)
{
    struct err_text why = { .msg = "" };
    struct api *api = rq->ctx;
    str tenant = api->d.tenants ? grpc_metadata(rq, STR("x-scope-orgid")) : STR("");
    if (api_tenant_check(api, tenant, &why) != OK) {
        grpc_fail(rs, tenant.n ? GRPC_INVALID_ARGUMENT : GRPC_UNAUTHENTICATED, 0, "%s", why.msg);
        return;
    }
    enum err e = metrics_take(api, &api->d.store, tenant, rq->a, rq->message, OTLP_PROTOBUF, &rs->message, &why);
    if (e != OK) {
        struct verdict v = verdict_of(e);
        grpc_fail(rs, v.code, v.retry_ms, "%s", why.msg);
    }
}

static const struct http_limits limits = { .body_bytes_max = 32 << 20,
                                           .decoded_bytes_max = 64 << 20,
                                           .body_ms_max = 60000,
                                           .arena_bytes_max = (size_t)256 << 20 };
const struct http_route api_otlp_routes[] = {
    { HTTP_BIT(HTTP_POST), "/v1/metrics", http_metrics, HTTP_INGEST, &limits, HTTP_NO_FORM },
    { HTTP_BIT(HTTP_POST), "/api/v1/otlp/v1/metrics", http_metrics, HTTP_INGEST, &limits, HTTP_NO_FORM },
};
const size_t api_otlp_routes_n = ARRAY_LEN(api_otlp_routes);
const struct grpc_method api_otlp_methods[] = {
    { API_OTLP_METRICS_SERVICE "/Export", grpc_metrics, HTTP_INGEST, &limits },
};
const size_t api_otlp_methods_n = ARRAY_LEN(api_otlp_methods);
