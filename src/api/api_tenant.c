/* Tenants: whose a request is, and the store as that tenant sees it.
 *
 * While there are tenants (api_deps.tenants), every route asks for X-Scope-OrgID before its handler runs, unless it is
 * in the list below: a new route is closed until somebody opens it. Handlers reach the store only through api_store()
 * and api_source(). Both put the matcher __tenant__="..." to every selection and take the label off every answer; the
 * language may say what it likes about the label, it only ever sees series of its own tenant. Writes carry the tenant to
 * the room ingest, which puts the label on. */
#include <stdlib.h>

#include "api/api_int.h"

static struct stat refused =
    STAT_COUNTER("vane_api_tenant_refused_total", "Requests without a tenant, or with one that is not valid", "");

#define TENANT_HEADER STR("X-Scope-OrgID")

/* ---- whose is it? ---- */

/* Answers that hold nothing of any tenant. */
static const char *const open_routes[] = {
    "/-/healthy",
    "/-/ready",
    "/-/reload",
    "/-/quit",
    "/metrics",
    "/ping",
    "/api/openapi.yaml",
    "/runbook",
    "/runbook/style.css",
    "/runbook/{name}",
    "/api/v1/status/buildinfo",
    "/api/v1/status/walreplay",
    "/api/v1/features",
    "/api/v1/alerting/callback/{kind}/{receiver}/{index}", /* providers: their signature lets them in */
    "/api/v1/format_query",
    "/api/v1/parse_query",
    "/{path*}", /* the web UI */
};

bool api_tenant_open_route(const char *pattern)
{
    for (size_t i = 0; i < ARRAY_LEN(open_routes); i++)
        if (strcmp(pattern, open_routes[i]) == 0)
            return true;
    return false;
}

str api_tenant(const struct http_request *rq)
{
    str t = api_of(rq)->d.tenants ? http_header(rq, TENANT_HEADER) : STR_NONE;
    return t.p ? t : STR("");
}

enum err api_tenant_check(const struct api *api, str tenant, struct err_text *why)
{
    enum err e = OK;
    if (api->d.tenants && !tenant.n)
        e = err_fail(why, ERR_PERMISSION, "no org id");
    else if (api->d.tenants && !ingest_tenant_valid(tenant, why))
        e = ERR_INVALID;
    if (e)
        stat_add(&refused, 1);
    return e;
}

/* In front of the handlers of all routes that are not open. */
static void guard(struct http_request *rq, struct http_response *rs)
{
    struct api *api = api_of(rq);
    size_t i = (size_t)(rq->route - api->guarded);
    struct err_text why = { .msg = "" };
    enum err e = api_tenant_check(api, api_tenant(rq), &why);
    if (e == OK) {
        api->handlers[i](rq, rs);
        return;
    }
    api_fail(rs, API_BAD_DATA, "%s", why.msg);
    rs->status = e == ERR_PERMISSION ? 401 : 400;
}

void api_tenant_guard(struct api *api, struct http_table *tables, size_t n)
{
    size_t all = 0;
    if (!api->d.tenants)
        return;
    for (size_t i = 0; i < n; i++)
        all += tables[i].n_routes;
    bool fresh = !api->guarded; /* asked for again: the same rows, a server may be using them */
    if (fresh) {
        api->guarded = mem_alloc(all * sizeof(*api->guarded));
        api->handlers = mem_alloc(all * sizeof(*api->handlers));
    }
    struct http_route *to = api->guarded;
    for (size_t i = 0; i < n; i++) {
        const struct http_route *from = tables[i].routes;
        tables[i].routes = to;
        for (size_t k = 0; k < tables[i].n_routes; k++, to++) {
            if (!fresh)
                continue;
            *to = from[k];
            api->handlers[to - api->guarded] = to->handle;
            if (!api_tenant_open_route(to->pattern))
                to->handle = guard;
        }
    }
}

struct ingest_source api_sender(const struct http_request *rq, unsigned flags)
{
    return (struct ingest_source){ api_tenant(rq), flags };
}

bool api_tenant_is_default(const struct http_request *rq)
{
    const struct api *api = api_of(rq);
    return !api->d.tenants || str_eq(api_tenant(rq), api->d.default_tenant);
}

bool api_tenant_foreign(const struct http_request *rq, struct http_response *rs)
{
    if (api_tenant_is_default(rq))
        return false;
    api_fail(rs, API_BAD_DATA, "this concerns all tenants: only the default tenant may do it");
    rs->status = 403;
    return true;
}

struct am *api_am(struct http_request *rq, struct http_response *rs)
{
    const struct api_alertmanager *x = api_of(rq)->d.alertmanager;
    if (api_tenant_foreign(rq, rs))
        return NULL;
    if (!x)
        api_fail(rs, API_NOT_FOUND, "no Alertmanager runs here: name its file under `alertmanager:` in vane.yaml");
    return x ? x->am : NULL;
}

/* ---- matchers and labels ---- */

static struct matcher *narrowed(struct arena *a, str tenant, const struct matcher *m, size_t n)
{
    struct matcher *p = arena_array(a, struct matcher, n + 1);
    if (n)
        memcpy(p, m, n * sizeof(*p));
    p[n] = (struct matcher){ MATCH_EQ, LABEL_TENANT, tenant, NULL };
    return p;
}

static struct labels stripped(struct arena *a, struct labels ls)
{
    struct label *p = arena_array(a, struct label, ls.n);
    size_t n = 0;
    labels_each (l, ls)
        if (!str_eq(l->name, LABEL_TENANT))
            p[n++] = *l;
    return (struct labels){ p, n };
}

/* ---- as a source for PromQL ---- */

struct tenant_source {
    struct promql_source vtable;
    struct promql_source *inner;
    str tenant;
};
struct tenant_view {
    const struct tenant_source *source;
    struct promql_view *v;
};
struct tenant_reader {
    const struct tenant_source *source;
    struct promql_reader *r;
};

static enum err source_open(struct promql_source *src, int64_t from_ms, int64_t to_ms, struct promql_view **ret)
{
    const struct tenant_source *s = (void *)src;
    struct promql_view *inner;
    TRY(s->inner->open(s->inner, from_ms, to_ms, &inner));
    struct tenant_view *v = mem_zalloc(sizeof(*v));
    *v = (struct tenant_view){ s, inner };
    *ret = (void *)v;
    return OK;
}

static void source_close(struct promql_view *pv)
{
    struct tenant_view *v = (void *)pv;
    if (v)
        v->source->inner->close(v->v);
    mem_free(v);
}

static int series_order(const void *a, const void *b)
{
    return labels_cmp(((const struct promql_series *)a)->labels, ((const struct promql_series *)b)->labels);
}

static enum err source_select(struct promql_view *pv, const struct matcher *m, size_t n_matchers, int64_t from_ms,
                              int64_t to_ms, size_t series_max, struct arena *a, struct promql_series **ret,
                              size_t *ret_n)
{
    const struct tenant_view *v = (void *)pv;
    TRY(v->source->inner->select(v->v, narrowed(a, v->source->tenant, m, n_matchers), n_matchers + 1, from_ms, to_ms,
                                 series_max, a, ret, ret_n));
    bool sorted = true;
    struct promql_series *s = *ret;
    for (size_t i = 0; i < *ret_n; i++) {
        s[i].labels = stripped(a, s[i].labels);
        sorted &= i == 0 || labels_cmp(s[i - 1].labels, s[i].labels) < 0;
    }
    if (!sorted) /* the label stood in the middle of some */
        qsort(s, *ret_n, sizeof(*s), series_order);
    return OK;
}

static struct promql_reader *source_reader_new(struct promql_view *pv)
{
    const struct tenant_view *v = (void *)pv;
    struct tenant_reader *r = mem_zalloc(sizeof(*r));
    *r = (struct tenant_reader){ v->source, v->source->inner->reader_new(v->v) };
    return (void *)r;
}

static void source_reader_free(struct promql_reader *pr)
{
    struct tenant_reader *r = (void *)pr;
    if (r)
        r->source->inner->reader_free(r->r);
    mem_free(r);
}

static enum err source_read(struct promql_reader *pr, uint64_t id, int64_t from_ms, int64_t to_ms,
                            struct promql_points *ret)
{
    const struct tenant_reader *r = (void *)pr;
    return r->source->inner->read(r->r, id, from_ms, to_ms, ret);
}

static void source_ahead(struct promql_reader *pr, uint64_t id, unsigned reads)
{
    const struct tenant_reader *r = (void *)pr;
    if (r->source->inner->ahead)
        r->source->inner->ahead(r->r, id, reads);
}

static bool source_incomplete(struct promql_view *pv, struct err_text *ret_why)
{
    const struct tenant_view *v = (void *)pv;
    return v->source->inner->incomplete && v->source->inner->incomplete(v->v, ret_why);
}

struct promql_source *api_tenant_source(struct arena *a, struct promql_source *inner, str tenant)
{
    struct tenant_source *s = arena_new(a, struct tenant_source);
    s->vtable = (struct promql_source){ .open = source_open,
                                        .close = source_close,
                                        .select = source_select,
                                        .reader_new = source_reader_new,
                                        .reader_free = source_reader_free,
                                        .read = source_read,
                                        .ahead = source_ahead,
                                        .incomplete = source_incomplete };
    s->inner = inner;
    s->tenant = tenant;
    return &s->vtable;
}

struct promql_source *api_source(struct http_request *rq)
{
    struct api *api = api_of(rq);
    return api->d.tenants ? api_tenant_source(rq->a, api->d.source, api_tenant(rq)) : api->d.source;
}

/* ---- as the API's store ---- */

struct tenant_store {
    const struct api_store *inner;
    str tenant;
    struct arena *a; /* the request's */
};

static enum err store_write(void *ctx, const struct batch *b, const struct ingest_source *who,
                            struct tsdb_write_result *ret)
{
    const struct tenant_store *t = ctx;
    struct ingest_source me = *who;
    me.tenant = t->tenant;
    return t->inner->write(t->inner->ctx, b, &me, ret);
}
static uint64_t store_known(void *ctx, str bytes, uint64_t salt, uint32_t *io_hint, hash128 *ret_key)
{
    const struct tenant_store *t = ctx;
    return t->inner->known(t->inner->ctx, bytes, salt, io_hint, ret_key);
}
static uint64_t store_salt(void *ctx, const struct ingest_source *who)
{
    const struct tenant_store *t = ctx;
    struct ingest_source me = *who;
    me.tenant = t->tenant;
    return t->inner->salt(t->inner->ctx, &me);
}
static enum err store_wait(void *ctx, uint64_t lsn)
{
    const struct tenant_store *t = ctx;
    return t->inner->wait(t->inner->ctx, lsn);
}

static enum err store_series(void *ctx, int64_t from_ms, int64_t to_ms, const struct matcher *m, size_t n_matchers,
                             size_t limit, struct arena *a, struct labels **ret, size_t *ret_n)
{
    const struct tenant_store *t = ctx;
    TRY(t->inner->series(t->inner->ctx, from_ms, to_ms, narrowed(a, t->tenant, m, n_matchers), n_matchers + 1, limit, a,
                         ret, ret_n));
    for (size_t i = 0; i < *ret_n; i++)
        (*ret)[i] = stripped(a, (*ret)[i]);
    return OK;
}

static enum err store_label_names(void *ctx, int64_t from_ms, int64_t to_ms, const struct matcher *m, size_t n_matchers,
                                  size_t limit, struct arena *a, str **ret, size_t *ret_n)
{
    const struct tenant_store *t = ctx;
    size_t n;
    str *p;
    TRY(t->inner->label_names(t->inner->ctx, from_ms, to_ms, narrowed(a, t->tenant, m, n_matchers), n_matchers + 1,
                              limit ? limit + 1 : 0, a, &p, &n));
    *ret = p;
    *ret_n = 0;
    for (size_t i = 0; i < n && (!limit || *ret_n < limit); i++)
        if (!str_eq(p[i], LABEL_TENANT))
            p[(*ret_n)++] = p[i];
    return OK;
}

static enum err store_label_values(void *ctx, int64_t from_ms, int64_t to_ms, str name, const struct matcher *m,
                                   size_t n_matchers, size_t limit, struct arena *a, str **ret, size_t *ret_n)
{
    const struct tenant_store *t = ctx;
    *ret = NULL;
    *ret_n = 0;
    if (str_eq(name, LABEL_TENANT))
        return OK;
    return t->inner->label_values(t->inner->ctx, from_ms, to_ms, name, narrowed(a, t->tenant, m, n_matchers),
                                  n_matchers + 1, limit, a, ret, ret_n);
}

static enum err store_exemplars(void *ctx, int64_t from_ms, int64_t to_ms, const struct matcher *m, size_t n_matchers,
                                struct arena *a, struct tsdb_exemplars **ret, size_t *ret_n)
{
    const struct tenant_store *t = ctx;
    TRY(t->inner->exemplars(t->inner->ctx, from_ms, to_ms, narrowed(a, t->tenant, m, n_matchers), n_matchers + 1, a,
                            ret, ret_n));
    for (size_t i = 0; i < *ret_n; i++)
        (*ret)[i].labels = stripped(a, (*ret)[i].labels);
    return OK;
}

/* Families of a tenant have its name in front. */
static enum err store_metadata(void *ctx, str name, size_t limit, struct arena *a, struct tsdb_metadata **ret,
                               size_t *ret_n)
{
    const struct tenant_store *t = ctx;
    str prefix = arena_printf(a, STR_FMT "%c", STR_ARG(t->tenant), METRIC_FAMILY_TENANT_END);
    str key = name.n ? arena_printf(a, STR_FMT STR_FMT, STR_ARG(prefix), STR_ARG(name)) : STR("");
    struct tsdb_metadata *p;
    size_t n;
    TRY(t->inner->metadata(t->inner->ctx, key, 0, a, &p, &n));
    *ret = p;
    *ret_n = 0;
    for (size_t i = 0; i < n && (!limit || *ret_n < limit); i++) {
        if (!str_has_prefix(p[i].name, prefix))
            continue;
        p[*ret_n] = p[i];
        p[(*ret_n)++].name = str_skip(p[i].name, prefix.n);
    }
    return OK;
}

static size_t without_label(struct tsdb_top *p, size_t n, bool pair)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        bool ours =
            str_has_prefix(p[i].name, LABEL_TENANT) &&
            (pair ? p[i].name.n > LABEL_TENANT.n && p[i].name.p[LABEL_TENANT.n] == '=' : p[i].name.n == LABEL_TENANT.n);
        if (!ours)
            p[k++] = p[i];
    }
    return k;
}

static enum err store_cardinality(void *ctx, const struct matcher *m, size_t n_matchers, size_t top, struct arena *a,
                                  struct tsdb_cardinality *ret)
{
    const struct tenant_store *t = ctx;
    TRY(t->inner->cardinality(t->inner->ctx, narrowed(a, t->tenant, m, n_matchers), n_matchers + 1, top + 1, a, ret));
    if (ret->series) { /* the label itself */
        ret->label_pairs--;
        ret->label_names--;
    }
    ret->n_metrics = MIN(ret->n_metrics, top);
    ret->n_jobs = MIN(ret->n_jobs, top);
    ret->n_labels = MIN(without_label(ret->labels, ret->n_labels, false), top);
    ret->n_label_bytes = MIN(without_label(ret->label_bytes, ret->n_label_bytes, false), top);
    ret->n_pairs = MIN(without_label(ret->pairs, ret->n_pairs, true), top);
    return OK;
}

/* Nothing of the store as a whole. */
static enum err store_stats(void *ctx, bool with_top, struct arena *a, struct tsdb_stats *ret)
{
    struct tsdb_cardinality c;
    (void)with_top;
    *ret = (struct tsdb_stats){ 0 };
    TRY(store_cardinality(ctx, NULL, 0, 0, a, &c));
    ret->head_series = c.series;
    ret->label_pairs = c.label_pairs;
    return OK;
}

static void store_usage(void *ctx, str tenant, size_t top, struct arena *a, struct ingest_status *ret)
{
    const struct tenant_store *t = ctx;
    (void)tenant;
    t->inner->usage(t->inner->ctx, t->tenant, top, a, ret);
}

static enum err store_delete_series(void *ctx, const struct tsdb_selector *sel, size_t n, int64_t from_ms,
                                    int64_t to_ms, struct err_text *reterr)
{
    const struct tenant_store *t = ctx;
    struct tsdb_selector *mine = arena_array(t->a, struct tsdb_selector, n);
    for (size_t i = 0; i < n; i++)
        mine[i] = (struct tsdb_selector){ narrowed(t->a, t->tenant, sel[i].m, sel[i].n), sel[i].n + 1 };
    return t->inner->delete_series(t->inner->ctx, mine, n, from_ms, to_ms, reterr);
}

static enum err store_clean_tombstones(void *ctx, struct err_text *reterr)
{
    const struct tenant_store *t = ctx;
    return t->inner->clean_tombstones(t->inner->ctx, reterr);
}

static enum err store_snapshot(void *ctx, str name, bool skip_head, struct err_text *reterr)
{
    const struct tenant_store *t = ctx;
    return t->inner->snapshot(t->inner->ctx, name, skip_head, reterr);
}

struct api_store *api_tenant_store(struct arena *a, const struct api_store *inner, str tenant)
{
    struct tenant_store *t = arena_new(a, struct tenant_store);
    struct api_store *s = arena_new(a, struct api_store);
    *t = (struct tenant_store){ inner, tenant, a };
    *s = (struct api_store){
        .ctx = t,
        .write = store_write,
        .wait = store_wait,
        .series = store_series,
        .label_names = store_label_names,
        .label_values = store_label_values,
        .exemplars = store_exemplars,
        .metadata = store_metadata,
        .stats = store_stats,
        .cardinality = inner->cardinality ? store_cardinality : NULL,
        .usage = inner->usage ? store_usage : NULL,
        .known = inner->known ? store_known : NULL,
        .salt = inner->salt ? store_salt : NULL,
        .delete_series = inner->delete_series ? store_delete_series : NULL,
        .clean_tombstones = inner->clean_tombstones ? store_clean_tombstones : NULL,
        .snapshot = inner->snapshot ? store_snapshot : NULL,
    };
    return s;
}

const struct api_store *api_store(struct http_request *rq)
{
    struct api *api = api_of(rq);
    return api->d.tenants ? api_tenant_store(rq->a, &api->d.store, api_tenant(rq)) : &api->d.store;
}
