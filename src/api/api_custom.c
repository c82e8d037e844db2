/* POST /metrics/custom: one sample or an array of them as JSON (wire/custom.h). All or nothing while decoding; samples
 * that the store refuses are counted in the answer. */
#include "wire/custom.h"

#include "api/api_int.h"

static void custom_answer(struct http_response *rs, const struct tsdb_write_result *r)
{
    const char *phrase = api_reject_text(r);
    size_t refused = 0;
    for (size_t i = 0; i < TSDB_REJECT_N; i++)
        refused += r->rejected[i];
    struct json_out j = json_out_init(&rs->body);
    json_obj(&j);
    json_kstr(&j, "status", phrase ? STR("partial") : STR("success"));
    json_ku64(&j, "accepted", r->samples);
    if (phrase) {
        json_ku64(&j, "rejected", refused);
        json_kstr(&j, "error", str_c(r->first.msg[0] ? r->first.msg : phrase));
        rs->status = 400;
    }
    json_obj_end(&j);
}

/* JSON, or what `curl -d` says when it is told nothing. */
static bool is_json(str content_type)
{
    return content_type.n == 0 || str_eq(content_type, STR("application/json")) ||
           str_eq(content_type, STR("application/x-www-form-urlencoded"));
}

static void custom(struct http_request *rq, struct http_response *rs)
{
    struct api *api = api_of(rq);
    struct batch batch = { .a = rq->a };
    const struct ingest_source who = api_sender(rq, 0);
    struct tsdb_write_result result = { 0 };
    struct err_text why = { .msg = "" };
    if (api_not_taking(api, rs))
        return;
    if (!is_json(rq->content_type)) {
        api_write_fail(rs, ERR_UNSUPPORTED, "content type must be application/json");
        return;
    }
    enum err e = custom_decode(rq->a, rq->body, api_now_ms(api), &api->d.write_limits, &batch, &why);
    if (e == OK)
        e = api_store_write(api_store(rq), &batch, &who, &result, &why);
    if (e == OK) {
        custom_answer(rs, &result);
        return;
    }
    int status = api_error_of(e)->write_status;
    if (status == 429 || status >= 500) {
        api_write_fail(rs, e, why.msg);
        return;
    }
    api_fail(rs, API_BAD_DATA, "%s", why.msg);
    rs->status = status;
}

static const struct http_limits limits = { .body_bytes_max = 8 << 20,
                                           .decoded_bytes_max = 32 << 20,
                                           .arena_bytes_max = (size_t)256 << 20 };
const struct http_route api_custom_routes[] = {
    { HTTP_BIT(HTTP_POST), "/metrics/custom", custom, HTTP_INGEST, &limits, HTTP_NO_FORM },
};
const size_t api_custom_routes_n = ARRAY_LEN(api_custom_routes);
