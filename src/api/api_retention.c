/* GET /api/v1/status/retention: what the rules of retention keep, and what would go when. The same document is what
 * `vane retention` makes of a data folder. */
#include "api/api_int.h"
#include "base/num.h"

static void kkeep(struct json_out *j, int64_t keep_ms)
{
    AUTO_BUF struct buf b = { 0 };
    if (keep_ms)
        buf_duration(&b, keep_ms);
    json_kstr(j, "keep", keep_ms ? buf_str(&b) : STR("forever"));
}

static void koldest(struct json_out *j, int64_t ms)
{
    if (ms == INT64_MAX)
        return;
    json_key(j, STR("oldest"));
    api_json_rfc3339(j, ms);
}

static void gone_json(struct json_out *j, const struct tsdb_plan_gone *g, const char *what)
{
    static const char *const names[TSDB_PLAN_TIMES] = { "expired", "expires24h", "expires7d" };
    for (size_t t = 0; t < TSDB_PLAN_TIMES; t++) {
        json_key(j, str_c(names[t]));
        json_obj(j);
        json_key(j, str_c(what));
        json_u64(j, g[t].samples);
        json_ku64(j, "bytes", g[t].bytes);
        json_obj_end(j);
    }
}

static void rule_json(struct json_out *j, const struct tsdb_plan_rule *r)
{
    json_obj(j);
    json_kstr(j, "match", r->match);
    kkeep(j, r->keep_ms);
    json_ku64(j, "series", r->series);
    json_ku64(j, "samples", r->samples);
    json_ku64(j, "bytes", r->bytes);
    koldest(j, r->oldest_ms);
    gone_json(j, r->gone, "samples");
    if (r->match.n && !r->series)
        json_kstr(j, "warning", STR("matches no series"));
    json_obj_end(j);
}

static void rollup_json(struct json_out *j, const struct tsdb_plan_rollup *r)
{
    AUTO_BUF struct buf b = { 0 };
    buf_duration(&b, r->res_ms);
    json_obj(j);
    json_kstr(j, "resolution", buf_str(&b));
    json_kstr(j, "match", r->match);
    kkeep(j, r->keep_ms);
    json_ku64(j, "segments", r->segments);
    json_ku64(j, "windows", r->windows);
    json_ku64(j, "bytes", r->bytes);
    koldest(j, r->oldest_ms);
    gone_json(j, r->gone, "windows");
    if (!r->configured)
        json_kstr(j, "warning", STR("not configured any more: kept, and used where samples are gone"));
    json_obj_end(j);
}

void api_retention_json(struct json_out *j, const struct tsdb_plan *p)
{
    json_obj(j);
    json_key(j, STR("time"));
    api_json_rfc3339(j, p->now_ms);
    json_ku64(j, "bytes", p->bytes);
    json_ku64(j, "maxBytes", p->bytes_max);
    json_ku64(j, "bytesOverMax", p->bytes_over);
    json_ku64(j, "headSamples", p->head_samples);
    json_key(j, STR("rules"));
    json_arr(j);
    for (size_t i = 0; i < p->n_rules; i++)
        rule_json(j, &p->rules[i]);
    json_arr_end(j);
    json_key(j, STR("rollups"));
    json_arr(j);
    for (size_t i = 0; i < p->n_rollups; i++)
        rollup_json(j, &p->rollups[i]);
    json_arr_end(j);
    json_obj_end(j);
}

static void status_retention(struct http_request *rq, struct http_response *rs)
{
    const struct api *api = api_of(rq);
    struct tsdb_plan plan;
    struct err_text why = { 0 };
    if (api_tenant_foreign(rq, rs))
        return;
    if (!api->d.store.db) {
        api_fail(rs, API_UNAVAILABLE, "this store has no retention");
        return;
    }
    if (api_not_ready(api, rs))
        return;
    enum err e = tsdb_plan(api->d.store.db(api->d.store.ctx), NULL, rq->a, &plan, &why);
    if (e) {
        api_fail_err(rs, e, why.msg[0] ? &why : NULL);
        return;
    }
    struct json_out j = api_begin(rs);
    api_retention_json(&j, &plan);
    api_end(&j, NULL, 0);
}

const struct http_route api_retention_routes[] = {
    { HTTP_BIT(HTTP_GET), "/api/v1/status/retention", status_retention, HTTP_CONTROL, NULL, HTTP_CORS },
};
const size_t api_retention_routes_n = ARRAY_LEN(api_retention_routes);
