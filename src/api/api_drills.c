/* /api/v1/alerting/drills: fire drills (api_drills). They are the default tenant's. */
#include "api/api_int.h"

enum { DRILLS_LIMIT = 100 };

static const struct api_drills *drills(struct http_request *rq, struct http_response *rs)
{
    const struct api_drills *x = api_of(rq)->d.drills;
    if (api_tenant_foreign(rq, rs))
        return NULL;
    if (!x)
        api_fail(rs, API_NOT_FOUND,
                 "no Alertmanager runs here, which drills need: name its file under `alertmanager:` in vane.yaml");
    return x;
}

static bool duration_param(const struct http_request *rq, struct http_response *rs, const char *name, int64_t fallback,
                           int64_t *ret_ms)
{
    str v = http_param(rq, str_c(name));
    const char *why;
    *ret_ms = fallback;
    if (!v.n || (api_parse_duration(v, ret_ms, &why) && *ret_ms >= 0))
        return true;
    api_fail_param(rs, name, "not a duration: write it as 90s or 5m");
    return false;
}

static void get_list(struct http_request *rq, struct http_response *rs)
{
    const struct api_drills *x = drills(rq, rs);
    struct err_text why = { 0 };
    size_t limit = DRILLS_LIMIT;
    if (!x || !api_limit_param(rq, rs, "limit", &limit))
        return;
    struct json_out j = api_begin(rs);
    json_arr(&j);
    enum err e = x->json(x->ctx, STR(""), limit ? limit : DRILLS_LIMIT, &j, &why);
    json_arr_end(&j);
    if (e) {
        buf_clear(&rs->body);
        api_fail_err(rs, e, &why);
    } else {
        api_end(&j, NULL, 0);
    }
}

static void get_one(struct http_request *rq, struct http_response *rs)
{
    const struct api_drills *x = drills(rq, rs);
    struct err_text why = { 0 };
    if (!x)
        return;
    struct json_out j = api_begin(rs);
    enum err e = x->json(x->ctx, rq->captures[0], 1, &j, &why);
    if (e) {
        buf_clear(&rs->body);
        api_fail(rs, e == ERR_NOT_FOUND ? API_NOT_FOUND : API_INTERNAL, "%s", why.msg);
    } else {
        api_end(&j, NULL, 0);
    }
}

static void post(struct http_request *rq, struct http_response *rs)
{
    const struct api_drills *x = drills(rq, rs);
    struct api_drill what = { .target = http_param(rq, STR("target")), .severity = http_param(rq, STR("severity")) };
    struct err_text why = { 0 };
    str id;
    if (!x || !duration_param(rq, rs, "for", -1, &what.for_ms) ||
        !duration_param(rq, rs, "timeout", 0, &what.timeout_ms))
        return;
    if (!what.target.n) {
        api_fail_param(rs, "target", "name a rule, a receiver, or labels like {team=\"db\"}");
        return;
    }
    enum err e = x->start(x->ctx, &what, rq->a, &id, &why);
    if (e) {
        api_fail(rs,
                 e == ERR_NOT_FOUND                   ? API_NOT_FOUND
                 : e == ERR_LIMIT || e == ERR_BUSY    ? API_UNAVAILABLE
                 : e == ERR_INVALID || e == ERR_PARSE ? API_BAD_DATA
                                                      : API_INTERNAL,
                 "%s", why.msg[0] ? why.msg : err_describe(e));
        return;
    }
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_kstr(&j, "id", id);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

const struct http_route api_drill_routes[] = {
    { HTTP_BIT(HTTP_GET), "/api/v1/alerting/drills", get_list, HTTP_CONTROL, NULL, HTTP_CORS },
    { HTTP_BIT(HTTP_POST), "/api/v1/alerting/drills", post, HTTP_INGEST, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/api/v1/alerting/drills/{id}", get_one, HTTP_CONTROL, NULL, HTTP_CORS },
};
const size_t api_drill_routes_n = ARRAY_LEN(api_drill_routes);
