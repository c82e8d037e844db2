/* Forwarding: its status, and what `vane agent`, which keeps no data to ask for, answers where others answer queries. */
#include "api/api_int.h"

static void put_time(struct json_out *j, str key, int64_t ms)
{
    AUTO_BUF struct buf b = { 0 };
    buf_rfc3339_ms(&b, ms);
    json_key(j, key);
    json_str(j, ms ? buf_str(&b) : STR(""));
}

/* [{"name", "url", ...}]: one row per remote_write. */
static void status_forwarding(struct http_request *rq, struct http_response *rs)
{
    struct api *api = api_of(rq);
    const struct api_forward_row *rows = NULL;
    size_t n = 0;
    if (api->d.forwarding && api_tenant_is_default(rq))
        api->d.forwarding->status(api->d.forwarding->ctx, rq->a, &rows, &n);
    struct json_out j = api_begin(rs);
    json_arr(&j);
    for (size_t i = 0; i < n; i++) {
        const struct api_forward_row *r = &rows[i];
        json_obj(&j);
        json_kstr(&j, "name", r->name);
        json_kstr(&j, "url", r->url);
        json_kstr(&j, "protobufMessage", r->protocol);
        json_ku64(&j, "shards", r->shards);
        json_ku64(&j, "shardsDesired", r->shards_desired);
        json_ku64(&j, "pending", r->pending);
        json_ku64(&j, "sent", r->sent);
        json_ku64(&j, "failed", r->failed);
        json_ku64(&j, "retried", r->retried);
        json_ku64(&j, "dropped", r->dropped);
        json_kf64(&j, "lagSeconds", r->lag_seconds);
        json_ku64(&j, "lagBytes", r->lag_bytes);
        put_time(&j, STR("highestSentTimestamp"), r->highest_sent_ms);
        put_time(&j, STR("lastSuccess"), r->last_ok_ms);
        json_kstr(&j, "lastError", r->last_error);
        json_obj_end(&j);
    }
    json_arr_end(&j);
    api_end(&j, NULL, 0);
}

static void unavailable(struct http_request *rq, struct http_response *rs)
{
    (void)rq;
    api_fail(rs, API_EXECUTION, "unavailable with vane agent: it collects and forwards, ask the server it forwards to");
}

#define GET  HTTP_BIT(HTTP_GET)
#define BOTH (HTTP_BIT(HTTP_GET) | HTTP_BIT(HTTP_POST))
const struct http_route api_forward_routes[] = {
    { GET, "/api/v1/status/forwarding", status_forwarding, HTTP_CONTROL, NULL, HTTP_CORS },
};
const size_t api_forward_routes_n = ARRAY_LEN(api_forward_routes);

/* In place of the tables of queries, metadata, administration, remote read and federation. */
const struct http_route api_agent_routes[] = {
    { BOTH, "/api/v1/query", unavailable, HTTP_CONTROL, NULL, HTTP_CORS },
    { BOTH, "/api/v1/query_range", unavailable, HTTP_CONTROL, NULL, HTTP_CORS },
    { BOTH, "/api/v1/query_exemplars", unavailable, HTTP_CONTROL, NULL, HTTP_CORS },
    { BOTH, "/api/v1/format_query", unavailable, HTTP_CONTROL, NULL, HTTP_CORS },
    { BOTH, "/api/v1/parse_query", unavailable, HTTP_CONTROL, NULL, HTTP_CORS },
    { BOTH, "/api/v1/series", unavailable, HTTP_CONTROL, NULL, HTTP_CORS },
    { BOTH, "/api/v1/labels", unavailable, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/label/{name}/values", unavailable, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/metadata", unavailable, HTTP_CONTROL, NULL, HTTP_CORS },
    { HTTP_BIT(HTTP_POST), "/api/v1/read", unavailable, HTTP_CONTROL, NULL, HTTP_RAW_BODY | HTTP_NO_FORM },
    { GET, "/federate", unavailable, HTTP_CONTROL, NULL, 0 },
    { BOTH | HTTP_BIT(HTTP_PUT), "/api/v1/admin/tsdb/{what}", unavailable, HTTP_CONTROL, NULL, HTTP_CORS },
};
const size_t api_agent_routes_n = ARRAY_LEN(api_agent_routes);
