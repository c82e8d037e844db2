/* OTLP/HTTP metrics: POST /v1/metrics and /api/v1/otlp/v1/metrics, protobuf or JSON. The answer comes in the
 * request's content type: ExportMetricsServiceResponse (partial_success when points were refused) or
 * google.rpc.Status. Senders repeat 429, 502, 503 and 504 only, so everything that a repetition can cure is 429 or 503.
 * Spec: opentelemetry.io/docs/specs/otlp, "OTLP/HTTP". */
#include "api/api_int.h"

enum { GRPC_INVALID_ARGUMENT = 3, GRPC_RESOURCE_EXHAUSTED = 8, GRPC_UNAVAILABLE = 14 };

static struct stat points_refused =
    STAT_COUNTER("vane_otlp_points_refused_total", "OTLP data points refused", "");

static void otlp_fail(struct http_response *rs, enum otlp_coding coding, enum err e, const char *why)
{
    const struct api_error *row = api_error_of(e);
    bool later = row->write_status == 429 || row->write_status >= 500;
    int status = later ? (e == ERR_BUSY ? 429 : 503) : row->write_status;
    int code = later ? GRPC_UNAVAILABLE : status == 413 ? GRPC_RESOURCE_EXHAUSTED : GRPC_INVALID_ARGUMENT;
    buf_clear(&rs->body);
    rs->status = status;
    rs->content_type = str_c(otlp_content_type(coding));
    otlp_status(&rs->body, coding, code, str_c(why && why[0] ? why : err_describe(e)));
    if (later)
        http_set_header(rs, STR("Retry-After"), e == ERR_NO_SPACE ? STR("30") : STR("2"));
}

/* How many points were left out, and the first reason. */
static uint64_t refused(struct arena *a, const struct wire_rejects *rejects,
                        const struct tsdb_write_result *r, str *ret_why)
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

static void metrics(struct http_request *rq, struct http_response *rs)
{
    struct api *api = api_of(rq);
    struct batch batch = { .a = rq->a };
    struct wire_rejects rejects = { 0 };
    struct tsdb_write_result result = { 0 };
    struct err_text why = { .msg = "" };
    enum otlp_coding coding = OTLP_PROTOBUF;
    enum err e = otlp_coding_of(http_header(rq, STR("Content-Type")), &coding, &why);
    if (e != OK) {
        api_write_fail(rs, e, why.msg);
        return;
    }
    if (!api_ready(api)) {
        otlp_fail(rs, coding, ERR_CLOSED, "not ready yet");
        return;
    }
    const struct otlp_options *opt =
        atomic_load_explicit(&api->otlp, memory_order_acquire); /* pairs with api_set_otlp */
    e = otlp_metrics_decode(rq->a, rq->body, coding, opt, &batch, &rejects, &why);
    if (e == OK)
        e = api_store_write(api, &batch, &result, &why);
    if (e != OK) {
        otlp_fail(rs, coding, e, why.msg);
        return;
    }
    str reason;
    uint64_t n = refused(rq->a, &rejects, &result, &reason);
    if (n)
        stat_add(&points_refused, (int64_t)n);
    rs->content_type = str_c(otlp_content_type(coding));
    otlp_metrics_response(&rs->body, coding, n, reason);
}

static const struct http_limits limits = { .body_bytes_max = 32 << 20,
                                           .decoded_bytes_max = 64 << 20,
                                           .body_ms_max = 60000,
                                           .arena_bytes_max = (size_t)256 << 20 };
const struct http_route api_otlp_routes[] = {
    { HTTP_BIT(HTTP_POST), "/v1/metrics", metrics, HTTP_INGEST, &limits, HTTP_NO_FORM },
    { HTTP_BIT(HTTP_POST), "/api/v1/otlp/v1/metrics", metrics, HTTP_INGEST, &limits, HTTP_NO_FORM },
};
const size_t api_otlp_routes_n = ARRAY_LEN(api_otlp_routes);
