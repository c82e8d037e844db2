/* /api/v1/admin/tsdb/import and export: past samples in, everything out. Off unless api_deps.admin, as the rest of
 * /api/v1/admin/tsdb.
 *
 * import takes a remote write request (1.0 or 2.0) of any age: its samples become segments at once, past the log, and the answer
 * comes when they are durable; what is there already stays. export streams OpenMetrics text. */
#include <stdlib.h>

#include "transfer/transfer.h"
#include "wire/expo.h"
#include "wire/remote_write.h"

#include "api/api_int.h"

static struct stat imports = STAT_COUNTER("vane_api_imports_total", "Import requests", "result=\"taken\"");
static struct stat imports_refused = STAT_COUNTER("vane_api_imports_total", "Import requests", "result=\"refused\"");
static struct stat exports = STAT_COUNTER("vane_api_exports_total", "Exports begun", "");
static struct stat exports_broken = STAT_COUNTER("vane_api_exports_broken_total", "Exports that ended early", "");

struct tsdb *api_admin_store(const struct http_request *rq, struct http_response *rs)
{
    const struct api *api = api_of(rq);
    if (!api->d.admin || !api->d.store.db) {
        api_fail(rs, API_UNAVAILABLE, "admin APIs disabled");
        rs->status = 500;
        return NULL;
    }
    if (api->d.tenants) { /* they know the store as a whole, with every tenant's label */
        api_fail(rs, API_BAD_DATA,
                 "import and export are not offered while there are tenants: use remote write, "
                 "/api/v1/read or a snapshot");
        rs->status = 403;
        return NULL;
    }
    return api_not_ready(api, rs) ? NULL : api->d.store.db(api->d.store.ctx);
}

/* ---- import ---- */
static enum err write_bulk(struct tsdb *db, const struct batch *batch, struct tsdb_bulk_result *ret,
                           struct err_text *why)
{
    struct tsdb_bulk *b;
    enum err e = tsdb_bulk_open(db, 0, &b);
    if (e)
        return err_fail(why, e, "%s", err_describe(e));
    struct transfer_sink to = transfer_sink_bulk(b);
    struct gather *g = gather_new();
    gather_batch(g, batch);
    vec_each (struct batch_family, f, &batch->families)
        tsdb_bulk_family(b, f->name, &f->meta);
    e = gather_drain(g, false, &to, why);
    gather_free(g);
    if (e) {
        tsdb_bulk_abort(b);
        return e;
    }
    return tsdb_bulk_commit(b, ret, why);
}

static void import_answer(struct http_response *rs, const struct tsdb_bulk_result *r,
                          const struct wire_rejects *rejects)
{
    struct json_out j = api_begin(rs);
    const char *first = r->first.msg[0] ? r->first.msg : rejects->first.msg;
    json_obj(&j);
    json_ku64(&j, "samples", r->samples);
    json_ku64(&j, "histograms", r->histograms);
    json_ku64(&j, "exemplars", r->exemplars);
    json_ku64(&j, "series", r->rows);
    json_ku64(&j, "segments", r->segments);
    json_ku64(&j, "bytes", r->bytes);
    json_key(&j, STR("refused"));
    json_obj(&j);
    json_ku64(&j, "tooOld", r->rejected[TSDB_REJECT_TOO_OLD]);
    json_ku64(&j, "future", r->rejected[TSDB_REJECT_FUTURE]);
    json_ku64(&j, "labels", r->rejected[TSDB_REJECT_LABELS] + rejects->samples);
    json_obj_end(&j);
    if (first[0])
        json_kstr(&j, "firstRefusal", str_c(first));
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

static void import_fail(struct http_response *rs, enum err e, const struct err_text *why)
{
    stat_add(&imports_refused, 1);
    LOG_WARN("import refused", "err", why->msg);
    api_fail_err(rs, e, why);
}

static void import_samples(struct http_request *rq, struct http_response *rs)
{
    const struct api_deps *d = &api_of(rq)->d;
    struct tsdb *db = api_admin_store(rq, rs);
    struct batch batch = { .a = rq->a };
    struct wire_rejects rejects = { 0 };
    struct tsdb_bulk_result result = { 0 };
    struct err_text why = { .msg = "" };
    enum rw_version version;
    if (!db)
        return;
    size_t plain_max = d->write_body_bytes_max ? d->write_body_bytes_max : RW_BODY_BYTES_MAX;
    enum err e = rw_version_of(http_header(rq, STR("Content-Type")), rq->content_encoding, &version, &why);
    if (!e)
        e = (version == RW_V2 ? rw2_decode : rw1_decode)(rq->a, rq->body, plain_max, &d->write_limits, &batch, &rejects,
                                                         &why);
    if (!e)
        e = write_bulk(db, &batch, &result, &why);
    if (e) {
        import_fail(rs, e, &why);
        return;
    }
    stat_add(&imports, 1);
    LOG_INFO("samples imported", "samples", LOG_I64((int64_t)result.samples), "segments",
             LOG_I64((int64_t)result.segments));
    import_answer(rs, &result, &rejects);
}

/* ---- export ---- */
struct exporting {
    struct transfer_export *x;
    struct api_selector *s;
    size_t n;
    const atomic_bool *cancelled;
};

static void export_done(void *ctx)
{
    struct exporting *e = ctx;
    transfer_export_close(e->x);
    api_selectors_deinit(e->s, e->n);
}

static bool export_next(void *ctx, struct buf *out)
{
    struct exporting *e = ctx;
    struct err_text why = { .msg = "" };
    struct transfer_export_result r;
    enum err err = atomic_load_explicit(e->cancelled, memory_order_relaxed) ? ERR_CANCELLED : OK;
    bool more = !err && transfer_export_next(e->x, out, &err, &why);
    transfer_export_result(e->x, &r);
    if (err || r.incomplete) { /* the client sees a broken connection: no # EOF for what is not whole */
        LOG_WARN("export ends early", "err", err ? why.msg : r.why.msg);
        stat_add(&exports_broken, 1);
        out->failed = true;
        return false;
    }
    if (!more)
        LOG_INFO("exported", "samples", LOG_I64((int64_t)r.samples), "series", LOG_I64((int64_t)r.series),
                 "left_out_histograms", LOG_I64((int64_t)r.left_out_histograms), "left_out_stale",
                 LOG_I64((int64_t)r.left_out_stale));
    return more;
}

static void export_samples(struct http_request *rq, struct http_response *rs)
{
    struct tsdb *db = api_admin_store(rq, rs);
    struct exporting *e = arena_new(rq->a, struct exporting);
    struct transfer_export_config cfg = { 0 };
    struct err_text why = { .msg = "" };
    str format = http_param(rq, STR("format"));
    if (!db)
        return;
    if (format.n && !str_eq(format, STR("openmetrics"))) {
        api_fail_param(rs, "format", "openmetrics is the one there is");
        return;
    }
    if (!api_range_params(rq, rs, &cfg.from_ms, &cfg.to_ms) || !api_selector_params(rq, rs, false, &e->s, &e->n))
        return;
    struct transfer_selector *sel = arena_array(rq->a, struct transfer_selector, e->n + 1);
    for (size_t i = 0; i < e->n; i++)
        sel[i] = (struct transfer_selector){ e->s[i].m, e->s[i].n };
    cfg.selectors = sel;
    cfg.n_selectors = e->n;
    e->cancelled = rq->cancelled;
    enum err err = transfer_export_open(db, &cfg, &e->x, &why);
    if (err) {
        api_selectors_deinit(e->s, e->n);
        api_fail_err(rs, err, &why);
        return;
    }
    stat_add(&exports, 1);
    rs->content_type = STR(EXPO_CONTENT_TYPE_OPENMETRICS);
    rs->stream = export_next;
    rs->stream_done = export_done;
    rs->stream_ctx = e;
}

static const struct http_limits import_limits = { .body_bytes_max = 64 << 20,
                                                  .decoded_bytes_max = 64 << 20,
                                                  .body_ms_max = 120000,
                                                  .arena_bytes_max = (size_t)512 << 20 };
#define GET_POST (HTTP_BIT(HTTP_GET) | HTTP_BIT(HTTP_POST))
const struct http_route api_transfer_routes[] = {
    { HTTP_BIT(HTTP_POST), "/api/v1/admin/tsdb/import", import_samples, HTTP_INGEST, &import_limits,
      HTTP_RAW_BODY | HTTP_NO_FORM },
    { GET_POST, "/api/v1/admin/tsdb/export", export_samples, HTTP_QUERY, NULL, 0 },
};
const size_t api_transfer_routes_n = ARRAY_LEN(api_transfer_routes);
