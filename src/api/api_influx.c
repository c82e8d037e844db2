/* InfluxDB's write paths, for telegraf and everything else that speaks line protocol:
 *   POST /write         1.x: ?db= becomes the label db; ?precision=ns|us|ms|s|m|h
 *   POST /api/v2/write  2.x: ?precision=ns|us|ms|s; org and bucket are accepted and not used
 *   GET  /ping          204, as clients ask before they write
 * Good lines are stored; if some are not, the answer is 400 and names the first. */
#include "wire/influx.h"

#include "api/api_int.h"

static struct stat lines_refused =
    STAT_COUNTER("vane_influx_lines_refused_total", "Lines of InfluxDB line protocol that were refused", "");

/* 1.x: {"error":...}; 2.x: {"code":...,"message":...}. */
static void influx_fail(const struct http_request *rq, struct http_response *rs, int status, const char *text)
{
    bool v2 = str_has_prefix(rq->path, STR("/api/v2/"));
    buf_clear(&rs->body);
    rs->status = status;
    rs->content_type = STR("application/json");
    struct json_out j = json_out_init(&rs->body);
    json_obj(&j);
    if (v2) {
        const char *code = status == 413   ? "request too large"
                           : status == 429 ? "too many requests"
                           : status >= 500 ? "unavailable"
                                           : "invalid";
        json_kstr(&j, "code", str_c(code));
    }
    json_key(&j, v2 ? STR("message") : STR("error"));
    json_str(&j, str_c(text));
    json_obj_end(&j);
    if (status == 429 || status >= 500)
        http_set_header(rs, STR("Retry-After"), STR("2"));
}

static void influx_partial(const struct http_request *rq, struct http_response *rs, const struct wire_rejects *rejects,
                           const struct tsdb_write_result *r)
{
    struct err_text text;
    const char *phrase = api_reject_text(r);
    if (rejects->series)
        IGNORE_ERR(err_fail(&text, OK, "partial write: %zu lines refused: %s", rejects->series, rejects->first.msg));
    else
        IGNORE_ERR(err_fail(&text, OK, "partial write: %s: %s", phrase, r->first.msg));
    influx_fail(rq, rs, 400, text.msg);
}

static void influx_write(struct http_request *rq, struct http_response *rs)
{
    struct api *api = api_of(rq);
    struct batch batch = { .a = rq->a };
    struct wire_rejects rejects = { 0 };
    const struct ingest_source who = api_sender(rq, 0);
    struct tsdb_write_result result = { 0 };
    struct err_text why = { .msg = "" };
    struct influx_options opt = { .now_ms = api_now_ms(api), .db = http_param(rq, STR("db")) };
    if (!api_taking(api)) {
        influx_fail(rq, rs, 503, "not ready");
        return;
    }
    if (!influx_precision(http_param(rq, STR("precision")), &opt.unit_ns)) {
        influx_fail(rq, rs, 400, "precision must be one of ns, us, ms, s, m, h");
        return;
    }
    enum err e = influx_decode(rq->a, rq->body, &opt, &api->d.write_limits, &batch, &rejects, &why);
    if (e == OK)
        e = api_store_write(api_store(rq), &batch, &who, &result, &why);
    if (rejects.series)
        stat_add(&lines_refused, (int64_t)rejects.series);
    if (e != OK)
        influx_fail(rq, rs, api_error_of(e)->write_status, why.msg);
    else if (rejects.series || api_reject_text(&result))
        influx_partial(rq, rs, &rejects, &result);
    else
        rs->status = 204;
}

static void ping(struct http_request *rq, struct http_response *rs)
{
    (void)rq;
    rs->status = 204;
}

static const struct http_limits limits = { .body_bytes_max = 32 << 20,
                                           .decoded_bytes_max = 128 << 20,
                                           .body_ms_max = 60000,
                                           .arena_bytes_max = (size_t)512 << 20 };
const struct http_route api_influx_routes[] = {
    { HTTP_BIT(HTTP_POST), "/write", influx_write, HTTP_INGEST, &limits, HTTP_NO_FORM },
    { HTTP_BIT(HTTP_POST), "/api/v2/write", influx_write, HTTP_INGEST, &limits, HTTP_NO_FORM },
    { HTTP_BIT(HTTP_GET), "/ping", ping, HTTP_INLINE, NULL, 0 },
};
const size_t api_influx_routes_n = ARRAY_LEN(api_influx_routes);
