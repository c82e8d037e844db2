/* Text exposition that is sent rather than scraped:
 *   POST /api/v1/import/prometheus       samples with their own timestamps (or now), ?extra_label=name=value, ?timestamp=ms
 *   PUT, POST, DELETE /metrics/job/...   a Pushgateway's groups (room push)
 * Bodies are text 0.0.4 / 1.0.0 unless Content-Type says OpenMetrics or, for groups, protobuf. */
#include "push/push.h"
#include "wire/expo_batch.h"

#include "api/api_int.h"

static struct stat imported =
    STAT_COUNTER("vane_import_samples_total", "Samples taken by /api/v1/import/prometheus", "");

/* curl's default type is taken as text. protobuf: is it taken here? */
static bool body_format(const struct http_request *rq, struct http_response *rs, bool protobuf, enum expo_format *ret)
{
    bool pb = str_eq(rq->content_type, STR("application/vnd.google.protobuf"));
    *ret = pb                                                              ? EXPO_PROTOBUF
           : str_eq(rq->content_type, STR("application/openmetrics-text")) ? EXPO_OPENMETRICS
                                                                           : EXPO_TEXT;
    if (!pb || protobuf)
        return true;
    api_write_fail(rs, ERR_UNSUPPORTED,
                   "protobuf exposition is not supported here: send text (text/plain; version=0.0.4) or OpenMetrics");
    return false;
}

/* ---- import ---- */

static enum err extra_labels(const struct http_request *rq, struct labels *ret, struct err_text *why)
{
    const str *p;
    struct label_builder b;
    lb_init(&b, rq->a);
    size_t n = http_params(rq, STR("extra_label"), &p);
    for (size_t i = 0; i < n; i++) {
        str value = p[i], name;
        bool pair = str_find_char(value, '=') != SIZE_MAX && str_cut(&value, '=', &name) && name.n;
        if (!pair || !str_utf8_ok(p[i]))
            return err_fail(why, ERR_INVALID, "extra_label must be name=value");
        if (str_eq(name, LABEL_NAME))
            return err_fail(why, ERR_INVALID, "extra_label must not be __name__");
        lb_set(&b, name, value);
    }
    *ret = lb_labels(&b);
    return OK;
}

static enum err import_batch(struct http_request *rq, enum expo_format format, struct batch *batch,
                             struct wire_rejects *rejects, struct err_text *why)
{
    struct api *api = api_of(rq);
    struct expo_batch_options opt = { .format = format, .now_ms = api_now_ms(api) };
    str at = http_param(rq, STR("timestamp"));
    if (at.p && !str_to_i64(at, &opt.now_ms))
        return err_fail(why, ERR_INVALID, "timestamp must be a number of milliseconds");
    TRY(extra_labels(rq, &opt.extra, why));
    return expo_batch(rq->a, rq->body, &opt, &api->d.write_limits, batch, rejects, why);
}

static void import_prometheus(struct http_request *rq, struct http_response *rs)
{
    struct api *api = api_of(rq);
    struct batch batch = { .a = rq->a };
    struct wire_rejects rejects = { 0 };
    const struct ingest_source who = api_sender(rq, 0);
    struct tsdb_write_result result = { 0 };
    struct err_text why = { .msg = "" };
    enum expo_format format;
    if (api_not_taking(api, rs) || !body_format(rq, rs, false, &format))
        return;
    enum err e = import_batch(rq, format, &batch, &rejects, &why);
    if (e == OK)
        e = api_store_write(api_store(rq), &batch, &who, &result, &why);
    if (e != OK) {
        api_write_fail(rs, e, why.msg);
        return;
    }
    stat_add(&imported, (int64_t)result.samples);
    if (rejects.series || api_reject_text(&result))
        api_partial_fail(rs, &rejects, &result);
    else
        rs->status = 204;
}

/* ---- pushed groups ---- */

static void push_failed(struct http_response *rs, enum err e, const struct err_text *why)
{
    api_write_fail(rs, e, why->msg[0] ? why->msg : NULL);
}

static bool push_key(struct http_request *rq, struct http_response *rs, struct labels *ret)
{
    struct api *api = api_of(rq);
    struct err_text why = { .msg = "" };
    if (api_not_taking(api, rs))
        return false;
    if (!api->d.push) {
        api_write_fail(rs, ERR_NOT_FOUND, "pushed groups are switched off");
        return false;
    }
    if (push_key_parse(rq->a, str_skip(rq->path, sizeof("/metrics/") - 1), ret, &why) == OK) {
        if (api->d.tenants) { /* a tenant's group: its rounds go on without a request */
            struct label_builder b;
            lb_init(&b, rq->a);
            lb_reset(&b, *ret);
            lb_set(&b, LABEL_TENANT, api_tenant(rq));
            *ret = lb_labels(&b);
        }
        return true;
    }
    push_failed(rs, ERR_INVALID, &why);
    return false;
}

static void push_group(struct http_request *rq, struct http_response *rs)
{
    struct labels key;
    struct err_text why = { .msg = "" };
    enum expo_format format;
    if (!push_key(rq, rs, &key))
        return;
    enum err e;
    if (rq->method == HTTP_DELETE) {
        e = push_delete(api_of(rq)->d.push, key, &why);
        rs->status = 202;
    } else {
        if (!body_format(rq, rs, true, &format))
            return;
        e = push_put(api_of(rq)->d.push, key, rq->method == HTTP_PUT ? PUSH_REPLACE : PUSH_MERGE, format, rq->body,
                     &why);
    }
    if (e != OK)
        push_failed(rs, e, &why);
}

static const struct http_limits import_limits = { .body_bytes_max = 32 << 20,
                                                  .decoded_bytes_max = 128 << 20,
                                                  .body_ms_max = 60000,
                                                  .arena_bytes_max = (size_t)512 << 20 };
static const struct http_limits push_limits = {
    .body_bytes_max = 8 << 20, .decoded_bytes_max = 32 << 20, .body_ms_max = 60000, .arena_bytes_max = (size_t)256 << 20
};
#define PUSH_METHODS (HTTP_BIT(HTTP_PUT) | HTTP_BIT(HTTP_POST) | HTTP_BIT(HTTP_DELETE))
const struct http_route api_push_routes[] = {
    { HTTP_BIT(HTTP_POST), "/api/v1/import/prometheus", import_prometheus, HTTP_INGEST, &import_limits, HTTP_NO_FORM },
    { PUSH_METHODS, "/metrics/job/{path*}", push_group, HTTP_INGEST, &push_limits, HTTP_NO_FORM },
    { PUSH_METHODS, "/metrics/job@base64/{path*}", push_group, HTTP_INGEST, &push_limits, HTTP_NO_FORM },
};
const size_t api_push_routes_n = ARRAY_LEN(api_push_routes);
