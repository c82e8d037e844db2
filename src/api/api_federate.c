/* GET /federate: the newest sample within the look-back of every series that a match[] selects, as text or OpenMetrics, for
 * another Prometheus (or vane) to scrape with honor_labels. As upstream: families are untyped, external labels are added where a
 * series lacks them, an empty instance label where neither has one; stale series and native histograms (which
 * text cannot carry) are left out. */
#include <stdlib.h>

#include "wire/expo.h"

#include "api/api_int.h"

struct federated {
    struct labels labels;
    str name;
    int64_t ts_ms;
    double v;
};
struct federation {
    struct promql_source *source;
    struct promql_view *view;
    struct promql_reader *reader;
    int64_t from_ms, to_ms;
    struct arena *a;
    VEC(struct federated) v;
};

void api_external_labels(const struct api *api, struct arena *a, struct labels *ret)
{
    *ret = LABELS_NONE;
    if (api->d.process->external_labels)
        api->d.process->external_labels(api->d.process->ctx, a, ret);
}

static int by_name(const void *x, const void *y)
{
    const struct federated *a = x, *b = y;
    int c = str_cmp(a->name, b->name);
    return c ? c : labels_cmp(a->labels, b->labels);
}

static enum err take_series(struct federation *f, const struct promql_series *s)
{
    struct promql_points p;
    str name = labels_name(s->labels);
    if (!name.n)
        return OK;
    TRY(f->source->read(f->reader, s->id, f->from_ms, f->to_ms, &p));
    if (p.n == 0)
        return OK;
    size_t last = p.n - 1;
    if ((p.h && p.h[last]) || is_stale(p.v[last]))
        return OK;
    avec_push(f->a, &f->v, ((struct federated){ s->labels, name, p.ts[last], p.v[last] }));
    return OK;
}

static enum err select_all(struct federation *f, const struct api_selector *s, size_t n, const struct http_request *rq)
{
    for (size_t i = 0; i < n; i++) {
        struct promql_series *series;
        size_t n_series;
        TRY(f->source->select(f->view, s[i].m, s[i].n, f->from_ms, f->to_ms, SIZE_MAX, f->a, &series, &n_series));
        for (size_t k = 0; k < n_series; k++) {
            TRY(take_series(f, &series[k]));
            if (arena_over(f->a))
                return ERR_LIMIT;
            if (atomic_load_explicit(rq->cancelled, memory_order_relaxed))
                return ERR_CANCELLED;
        }
    }
    return OK;
}

static enum err federation_read(struct federation *f, const struct api_selector *s, size_t n,
                                const struct http_request *rq)
{
    struct promql_source *src = f->source;
    TRY(src->open(src, f->from_ms, f->to_ms, &f->view));
    f->reader = src->reader_new(f->view);
    enum err e = select_all(f, s, n, rq);
    if (f->v.n)
        qsort(f->v.p, f->v.n, sizeof(*f->v.p), by_name);
    return e;
}

static void federation_close(struct federation *f)
{
    if (f->reader)
        f->source->reader_free(f->reader);
    if (f->view)
        f->source->close(f->view);
}

/* The series' own labels, then the external ones that it lacks, then instance="". */
static struct labels shown_labels(struct arena *a, struct labels own, struct labels external)
{
    str instance = STR("instance");
    struct label *p = arena_array(a, struct label, own.n + external.n + 1);
    size_t n = own.n;
    memcpy(p, own.p, own.n * sizeof(*p));
    labels_each (l, external)
        if (!labels_has(own, l->name))
            p[n++] = *l;
    if (!labels_has(own, instance) && !labels_has(external, instance))
        p[n++] = (struct label){ instance, STR("") };
    return (struct labels){ p, n };
}

static void federation_write(struct federation *f, struct labels external, enum expo_format format, struct buf *out)
{
    struct expo_out o = { out, format };
    const struct metric_meta untyped = { 0 };
    for (size_t i = 0; i < f->v.n; i++) {
        const struct federated *x = &f->v.p[i];
        if (i && labels_eq(x->labels, f->v.p[i - 1].labels))
            continue; /* selected twice */
        if (i == 0 || !str_eq(x->name, f->v.p[i - 1].name))
            expo_out_family(&o, x->name, &untyped);
        expo_out_sample(&o, shown_labels(f->a, x->labels, external), x->v, &x->ts_ms, NULL);
    }
    expo_out_end(&o);
}

static void federate(struct http_request *rq, struct http_response *rs)
{
    struct api *api = api_of(rq);
    struct api_selector *s;
    struct labels external;
    size_t n;
    if (api_not_ready(api, rs) || !api_selector_params(rq, rs, false, &s, &n))
        return;
    int64_t now = api_now_ms(api), lookback = api->d.lookback_ms ? api->d.lookback_ms : 300000;
    struct federation f = { .source = api_source(rq), .from_ms = now - lookback, .to_ms = now, .a = rq->a };
    enum expo_format format = expo_accepts_openmetrics(http_header(rq, STR("Accept"))) ? EXPO_OPENMETRICS : EXPO_TEXT;
    enum err e = federation_read(&f, s, n, rq);
    if (e == OK) {
        api_external_labels(api, rq->a, &external);
        rs->content_type =
            format == EXPO_OPENMETRICS ? STR(EXPO_CONTENT_TYPE_OPENMETRICS) : STR(EXPO_CONTENT_TYPE_TEXT);
        federation_write(&f, external, format, &rs->body);
    } else {
        api_fail_err(rs, e, NULL);
    }
    federation_close(&f);
    api_selectors_deinit(s, n);
}

const struct http_route api_federate_routes[] = {
    { HTTP_BIT(HTTP_GET), "/federate", federate, HTTP_QUERY, NULL, 0 },
};
const size_t api_federate_routes_n = ARRAY_LEN(api_federate_routes);
