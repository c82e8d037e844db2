/* POST /api/v1/read: Prometheus' remote read. Samples are one snappy message; chunks are streamed, one frame after the other, while
 * the store is read. External labels are added to every series that lacks them, and matchers that ask for them are dropped,
 * so that a reader with the same external labels finds its data. */
#include "wire/compress.h"
#include "wire/remote_read.h"

#include "api/api_int.h"

enum {
    BODY_BYTES_MAX = 32 << 20,
    PIECE_BYTES = 1 << 20,
    SAMPLES_MAX = 50 * 1000 * 1000,
    SERIES_MAX = 10 * 1000 * 1000
};

static struct stat reads = STAT_COUNTER("vane_remote_read_queries_total", "Queries of remote read", "");

struct remote_read {
    struct api *api;
    struct promql_source *source;
    struct arena *a; /* the request's */
    struct rr_request request;
    struct labels external;
    const atomic_bool *cancelled;
    /* the query that is being read */
    size_t query, next;
    struct promql_view *view;
    struct promql_reader *reader;
    struct promql_series *series;
    size_t n_series, samples;
};

/* ---- one query ---- */

static void query_close(struct remote_read *r)
{
    if (r->reader)
        r->source->reader_free(r->reader);
    if (r->view)
        r->source->close(r->view);
    r->reader = NULL;
    r->view = NULL;
}

static size_t without_external(struct remote_read *r, const struct rr_query *q, struct matcher *out)
{
    size_t n = 0;
    for (size_t i = 0; i < q->n_matchers; i++) {
        const struct matcher *m = &q->m[i];
        str external = labels_get(r->external, m->name);
        if (m->type != MATCH_EQ || !external.p || !str_eq(external, m->value))
            out[n++] = *m;
    }
    return n;
}

static enum err query_open(struct remote_read *r)
{
    struct promql_source *src = r->source;
    const struct rr_query *q = &r->request.queries[r->query];
    struct matcher *m = arena_array(r->a, struct matcher, q->n_matchers + 1);
    size_t n = without_external(r, q, m);
    r->next = r->n_series = 0;
    stat_add(&reads, 1);
    if (q->to_ms < q->from_ms)
        return OK;
    TRY(src->open(src, q->from_ms, q->to_ms, &r->view));
    TRY(src->select(r->view, m, n, q->from_ms, q->to_ms, SERIES_MAX, r->a, &r->series, &r->n_series));
    r->reader = src->reader_new(r->view);
    return OK;
}

static struct labels with_external(struct remote_read *r, struct labels own)
{
    if (r->external.n == 0)
        return own;
    struct label_builder b;
    lb_init(&b, r->a);
    lb_reset(&b, r->external);
    labels_each (l, own)
        lb_set(&b, l->name, l->value);
    return lb_labels(&b);
}

/* The next series that has samples; false: the query is done, or *ret_err. */
static bool series_next(struct remote_read *r, struct labels *ret, struct rr_points *points, enum err *ret_err)
{
    const struct rr_query *q = &r->request.queries[r->query];
    struct promql_points p;
    *ret_err = OK;
    while (r->next < r->n_series) {
        const struct promql_series *s = &r->series[r->next++];
        if (atomic_load_explicit(r->cancelled, memory_order_relaxed))
            *ret_err = ERR_CANCELLED;
        else
            *ret_err = r->source->read(r->reader, s->id, q->from_ms, q->to_ms, &p);
        if (*ret_err != OK)
            return false;
        if (p.n == 0)
            continue;
        r->samples += p.n;
        *points = (struct rr_points){ p.ts, p.v, p.h, p.n };
        *ret = with_external(r, s->labels);
        return true;
    }
    return false;
}

/* ---- samples ---- */

static enum err answer_query(struct remote_read *r, struct buf *plain, struct err_text *why)
{
    struct labels ls;
    struct rr_points p;
    enum err e = query_open(r);
    if (e != OK)
        return e;
    size_t at = rr_result_open(plain);
    while (series_next(r, &ls, &p, &e)) {
        rr_series(plain, ls, &p);
        if (r->samples > SAMPLES_MAX || plain->n > UINT32_MAX / 2)
            return err_fail(why, ERR_LIMIT, "exceeded sample limit (%d): ask for less, or for streamed chunks",
                            SAMPLES_MAX);
    }
    rr_result_close(plain, at);
    return e;
}

static void answer_samples(struct remote_read *r, struct http_response *rs)
{
    AUTO_BUF struct buf plain;
    struct err_text why = { .msg = "" };
    enum err e = OK;
    buf_init(&plain, 0);
    for (; r->query < r->request.n && e == OK; r->query++) {
        e = answer_query(r, &plain, &why);
        query_close(r);
    }
    if (e != OK) {
        api_fail_err(rs, e, &why);
        return;
    }
    snappy_pack(buf_str(&plain), &rs->body);
    rs->content_type = STR(RR_CONTENT_TYPE_SAMPLES);
    rs->no_compress = true;
    http_set_header(rs, STR("Content-Encoding"), STR("snappy"));
}

/* ---- chunks ---- */

/* An error in the middle ends the answer early; the reader sees that it is cut short of its last frame only by what is
 * missing, so the connection is broken instead of closed in order: the buffer is marked as failed. */
static bool stream_piece(void *ctx, struct buf *out)
{
    struct remote_read *r = ctx;
    struct labels ls;
    struct rr_points p;
    while (out->n < PIECE_BYTES && r->query < r->request.n) {
        enum err e = r->view || r->next ? OK : query_open(r);
        if (e == OK && series_next(r, &ls, &p, &e)) {
            rr_frames(out, r->query, ls, &p);
            continue;
        }
        query_close(r);
        if (e != OK) {
            LOG_WARN("a remote read ends early", "err", err_describe(e));
            out->failed = true;
            return false;
        }
        r->query++;
        r->next = 0;
    }
    return r->query < r->request.n;
}

static void stream_done(void *ctx)
{
    struct remote_read *r = ctx;
    query_close(r);
    rr_request_deinit(&r->request);
}

static void remote_read(struct http_request *rq, struct http_response *rs)
{
    struct api *api = api_of(rq);
    struct err_text why = { .msg = "" };
    if (api_not_ready(api, rs))
        return;
    struct remote_read *r = arena_new(rq->a, struct remote_read);
    r->api = api;
    r->source = api_source(rq);
    r->a = rq->a;
    r->cancelled = rq->cancelled;
    enum err e = rr_decode(rq->a, rq->body, BODY_BYTES_MAX, &r->request, &why);
    if (e != OK) {
        rr_request_deinit(&r->request);
        api_fail(rs, API_BAD_DATA, "%s", why.msg);
        return;
    }
    api_external_labels(api, rq->a, &r->external);
    if (r->request.type == RR_SAMPLES) {
        answer_samples(r, rs);
        rr_request_deinit(&r->request);
        return;
    }
    rs->content_type = STR(RR_CONTENT_TYPE_STREAMED);
    rs->stream = stream_piece;
    rs->stream_done = stream_done;
    rs->stream_ctx = r;
}

const struct http_route api_read_routes[] = {
    { HTTP_BIT(HTTP_POST), "/api/v1/read", remote_read, HTTP_QUERY, NULL, HTTP_RAW_BODY | HTTP_NO_FORM },
};
const size_t api_read_routes_n = ARRAY_LEN(api_read_routes);
