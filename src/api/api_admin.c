/* /api/v1/admin/tsdb: delete_series, clean_tombstones, snapshot. Off unless api_deps.admin, as upstream
 * (--web.enable-admin-api); then the answer is upstream's too: "unavailable", status 500. Every action is logged. */
#include <stdio.h>

#include "api/api_int.h"

static struct stat actions =
    STAT_COUNTER("vane_api_admin_requests_total", "Requests to the administration of the store", "");

static bool refused(const struct http_request *rq, struct http_response *rs)
{
    const struct api *api = api_of(rq);
    if (!api->d.admin || !api->d.store.delete_series) {
        api_fail(rs, API_UNAVAILABLE, "admin APIs disabled");
        rs->status = 500;
        return true;
    }
    if (api_not_ready(api, rs))
        return true;
    stat_add(&actions, 1);
    return false;
}

static void done(struct http_response *rs)
{
    rs->status = 204;
    rs->content_type = (str){ 0 };
}

static void log_delete(const struct tsdb_selector *sel, size_t n, int64_t from, int64_t to)
{
    for (size_t i = 0; i < n; i++) {
        AUTO_BUF struct buf b;
        buf_init(&b, 1000);
        for (size_t k = 0; k < sel[i].n; k++) {
            if (k)
                buf_u8(&b, ',');
            matcher_print(&b, &sel[i].m[k]);
        }
        buf_u8(&b, 0);
        LOG_INFO("series deleted", "match", b.failed ? "(long)" : b.p, "from_ms", LOG_I64(from), "to_ms", LOG_I64(to));
    }
}

static void delete_series(struct http_request *rq, struct http_response *rs)
{
    struct api_selector *s;
    size_t n;
    int64_t from, to;
    if (refused(rq, rs) || !api_selector_params(rq, rs, true, &s, &n))
        return;
    if (api_range_params(rq, rs, &from, &to)) {
        struct tsdb_selector *sel = arena_array(rq->a, struct tsdb_selector, n);
        for (size_t i = 0; i < n; i++)
            sel[i] = (struct tsdb_selector){ s[i].m, s[i].n };
        struct err_text why = { .msg = "" };
        enum err e = api_store(rq)->delete_series(api_store(rq)->ctx, sel, n, from, to, &why);
        if (e) {
            LOG_WARN("deleting series failed", "err", why.msg);
            api_fail_err(rs, e, &why);
        } else {
            log_delete(sel, n, from, to);
            done(rs);
        }
    }
    api_selectors_deinit(s, n);
}

static void clean_tombstones(struct http_request *rq, struct http_response *rs)
{
    struct err_text why = { .msg = "" };
    if (refused(rq, rs) || api_tenant_foreign(rq, rs))
        return;
    enum err e = api_store(rq)->clean_tombstones(api_store(rq)->ctx, &why);
    if (e) {
        LOG_WARN("cleaning tombstones failed", "err", why.msg);
        api_fail_err(rs, e, &why);
    } else {
        LOG_INFO("tombstones cleaned");
        done(rs);
    }
}

/* As Go's strconv.ParseBool. */
static bool parse_bool(str s, bool *ret)
{
    static const char *const words[] = {
        "1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq(s, str_c(words[i]))) {
            *ret = i < ARRAY_LEN(words) / 2;
            return true;
        }
    return false;
}

/* 20171210T211224Z-2be650b6d019eb54 */
static str snapshot_name(const struct api *api, struct arena *a)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_rfc3339_ms(&b, api_now_ms(api)); /* 2017-12-10T21:12:24.123Z */
    const char *t = b.p;
    return arena_printf(a, "%.4s%.2s%.2sT%.2s%.2s%.2sZ-%016llx", t, t + 5, t + 8, t + 11, t + 14, t + 17,
                        (unsigned long long)(os_random_u64() >> 1));
}

static void snapshot(struct http_request *rq, struct http_response *rs)
{
    const struct api *api = api_of(rq);
    struct err_text why = { .msg = "" };
    str skip = http_param(rq, STR("skip_head"));
    bool skip_head = false;
    if (refused(rq, rs) || api_tenant_foreign(rq, rs))
        return;
    if (skip.n && !parse_bool(skip, &skip_head)) {
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        buf_lit(&b, "unable to parse boolean strconv.ParseBool: parsing ");
        buf_go_quote(&b, skip);
        buf_lit(&b, ": invalid syntax");
        buf_u8(&b, 0);
        api_fail_param(rs, "skip_head", b.p);
        return;
    }
    str name = snapshot_name(api, rq->a);
    enum err e = api_store(rq)->snapshot(api_store(rq)->ctx, name, skip_head, &why);
    if ((!e || e == ERR_CORRUPT) && api->d.process->snapshot_rest) {
        struct err_text rest = { .msg = "" };
        enum err e_rest = api->d.process->snapshot_rest(api->d.process->ctx, name, &rest);
        if (e_rest) {
            e = e_rest;
            why = rest;
        }
    }
    if (e && e != ERR_CORRUPT) {
        LOG_WARN("snapshot failed", "name", arena_cstr(rq->a, name), "err", why.msg);
        api_fail_err(rs, e, &why);
        return;
    }
    LOG_INFO("snapshot made", "name", arena_cstr(rq->a, name), "damaged", e ? why.msg : "");
    struct promql_note note = { .text = str_c(why.msg) };
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_kstr(&j, "name", name);
    json_obj_end(&j);
    api_end(&j, &note, e != OK);
}

#define DO (HTTP_BIT(HTTP_POST) | HTTP_BIT(HTTP_PUT))
const struct http_route api_admin_routes[] = {
    { DO, "/api/v1/admin/tsdb/delete_series", delete_series, HTTP_CONTROL, NULL, HTTP_CORS },
    { DO, "/api/v1/admin/tsdb/clean_tombstones", clean_tombstones, HTTP_CONTROL, NULL, HTTP_CORS },
    { DO, "/api/v1/admin/tsdb/snapshot", snapshot, HTTP_CONTROL, NULL, HTTP_CORS },
};
const size_t api_admin_routes_n = ARRAY_LEN(api_admin_routes);
