/* The life of a call.
 *
 *   HEADERS begin -> grpc_call_new                                     CALL_HEADERS
 *   HEADERS end   -> grpc_call_headers_done: checks, route, limits     CALL_BODY
 *   DATA          -> grpc_call_data: collected up to the limit
 *   END_STREAM    -> grpc_call_end_of_body: to the pool                CALL_RUNNING
 *                    worker: decompress, handler, back to the loop
 *   grpc_call_back -> HEADERS, DATA, trailers                          CALL_SENDING
 *   stream closed -> freed
 *
 * A refusal is a "trailers-only" answer: one HEADERS frame with grpc-status. It may come at any time before SENDING and
 * never touches the arena or the response, which belong to the handler while it runs. */
#include <stdio.h>

#include "base/log.h"
#include "base/stats.h"
#include "http/grpc_int.h"
#include "wire/compress.h"

enum { BODY_GRACE_MS = 5000, BODY_FIRST_BYTES = 4096, NV_MAX = 8, SEND_RATE_MIN = 4096 };
#define MS 1000000ull

static struct stat refused_malformed =
    STAT_COUNTER("vane_grpc_refused_total", "gRPC calls refused before a handler saw them", "reason=\"malformed\"");
static struct stat refused_size =
    STAT_COUNTER("vane_grpc_refused_total", "gRPC calls refused before a handler saw them", "reason=\"too_large\"");
static struct stat refused_queue =
    STAT_COUNTER("vane_grpc_refused_total", "gRPC calls refused before a handler saw them", "reason=\"queue_full\"");
static struct stat refused_memory = STAT_COUNTER(
    "vane_grpc_refused_total", "gRPC calls refused before a handler saw them", "reason=\"message_memory\"");
static struct stat refused_auth =
    STAT_COUNTER("vane_grpc_refused_total", "gRPC calls refused before a handler saw them", "reason=\"unauthorized\"");
static struct stat refused_unknown =
    STAT_COUNTER("vane_grpc_refused_total", "gRPC calls refused before a handler saw them", "reason=\"unimplemented\"");
static struct stat late =
    STAT_COUNTER("vane_grpc_deadline_exceeded_total", "gRPC calls that were not answered before their deadline", "");
static struct stat bytes_in =
    STAT_COUNTER("vane_grpc_received_message_bytes_total", "Bytes of gRPC messages as sent", "");

str grpc_metadata(const struct grpc_request *rq, str name)
{
    for (size_t i = 0; i < rq->n_metadata; i++)
        if (str_eq(rq->metadata[i].name, name))
            return rq->metadata[i].value;
    return STR_NONE;
}

void grpc_fail(struct grpc_response *rs, enum grpc_code code, unsigned retry_ms, const char *fmt, ...)
{
    struct err_text text;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text.msg, sizeof(text.msg), fmt, args);
    va_end(args);
    buf_clear(&rs->message);
    rs->code = code;
    rs->retry_ms = retry_ms;
    rs->text = arena_str(rs->a, str_c(text.msg));
}

/* ---- life ---- */

struct grpc_call *grpc_call_new(struct grpc_conn *c, int32_t stream_id)
{
    struct grpc_call *call = mem_zalloc(sizeof(*call));
    struct grpc_server *s = c->server;
    uint64_t now = os_mono_ns();
    arena_init(&call->a, 0);
    buf_init(&call->body, 0);
    buf_init(&call->plain, 0);
    buf_init(&call->rs.message, 0);
    call->server = s;
    call->loop = c->loop;
    call->conn = c;
    call->stream_id = stream_id;
    call->route = &s->unknown;
    call->http_status = 200;
    call->rq.a = call->rs.a = &call->a;
    call->rq.start_ns = call->state_ns = now;
    call->rq.cancelled = &call->cancelled;
    call->limit_ns = now + s->cfg.header_ms_max * MS;
    call->next = c->calls;
    if (c->calls)
        c->calls->prev = call;
    c->calls = call;
    c->n_calls++;
    atomic_fetch_add(&s->n_calls, 1);
    grpc_loop_by(c->loop, call->limit_ns);
    return call;
}

static void unlink_call(struct grpc_call *call)
{
    struct grpc_conn *c = call->conn;
    if (call->prev)
        call->prev->next = call->next;
    else
        c->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    call->prev = call->next = NULL;
    call->conn = NULL;
    if (--c->n_calls == 0) {
        c->idle_ns = os_mono_ns();
        grpc_loop_by(c->loop, c->idle_ns + c->server->cfg.idle_ms * MS);
    }
}

static void body_release(struct grpc_call *call)
{
    buf_deinit(&call->body);
    buf_deinit(&call->plain);
    atomic_fetch_sub(&call->server->message_bytes_inflight, call->body_reserved);
    call->body_reserved = 0;
}

static void call_free(struct grpc_call *call)
{
    if (call->conn)
        unlink_call(call);
    body_release(call);
    buf_deinit(&call->rs.message);
    arena_deinit(&call->a);
    atomic_fetch_sub(&call->server->n_calls, 1);
    mem_free(call);
}

static void count(struct grpc_call *call, enum grpc_code code)
{
    static const uint64_t bounds_us[HTTP_BUCKETS] = { 100000,  200000,   400000,   1000000,  3000000,
                                                      8000000, 20000000, 60000000, 120000000 };
    if (call->counted)
        return;
    call->counted = true;
    uint64_t ns = os_mono_ns() - call->rq.start_ns;
    size_t b = 0;
    while (b < HTTP_BUCKETS && ns > bounds_us[b] * 1000)
        b++;
    struct grpc_route *r = call->route;
    atomic_fetch_add_explicit(&r->by_code[(unsigned)code < GRPC_CODES_N ? code : GRPC_UNKNOWN], 1,
                              memory_order_relaxed);
    atomic_fetch_add_explicit(&r->bucket[b], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->duration_ns, ns, memory_order_relaxed);
    if (code == GRPC_DEADLINE_EXCEEDED)
        stat_add(&late, 1);
    if (r->method)
        LOG_DEBUG("grpc call", "method", r->method->path, "code", grpc_code_name(code), "us", LOG_I64(ns / 1000));
}

static void cancel(struct grpc_call *call)
{
    atomic_store_explicit(&call->cancelled, true, memory_order_relaxed); /* a hint: nothing is published with it */
}

void grpc_call_stream_closed(struct grpc_call *call)
{
    count(call, GRPC_CANCELLED);
    call->stream_id = 0;
    cancel(call);
    if (!call->running)
        call_free(call);
}

void grpc_call_conn_closed(struct grpc_call *call)
{
    unlink_call(call);
    grpc_call_stream_closed(call);
}

/* ---- answering ---- */

struct nv_list {
    nghttp2_nv v[NV_MAX];
    size_t n;
};
static void nv_add(struct nv_list *l, str name, str value)
{
    ASSERT(l->n < NV_MAX);
    l->v[l->n++] = (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name.p,
                                 .namelen = name.n,
                                 .value = (uint8_t *)(uintptr_t)value.p,
                                 .valuelen = value.n };
}

static void nv_status(struct nv_list *l, struct arena *a, enum grpc_code code, str text, unsigned retry_ms)
{
    nv_add(l, STR("grpc-status"), arena_printf(a, "%d", (int)code));
    if (text.n)
        nv_add(l, STR("grpc-message"), grpc_message_encode(a, text));
    if (retry_ms)
        nv_add(l, STR("grpc-status-details-bin"), grpc_details_encode(a, code, text, retry_ms));
}

static void nv_head(struct nv_list *l, struct arena *a, int http_status)
{
    nv_add(l, STR(":status"), arena_printf(a, "%d", http_status));
    nv_add(l, STR("content-type"), STR("application/grpc"));
    nv_add(l, STR("grpc-accept-encoding"), STR("identity,gzip"));
}

static void sending(struct grpc_call *call, size_t bytes)
{
    call->state = CALL_SENDING;
    call->state_ns = os_mono_ns();
    call->limit_ns = call->state_ns + (call->server->cfg.send_ms_max + (uint64_t)bytes * 1000 / SEND_RATE_MIN) * MS;
    grpc_loop_by(call->loop, call->limit_ns);
    grpc_conn_dirty(call->conn);
}

static void trailers_only(struct grpc_call *call, enum grpc_code code, unsigned retry_ms, str text)
{
    AUTO_ARENA struct arena a;
    struct nv_list l = { .n = 0 };
    arena_init(&a, 0);
    nv_head(&l, &a, call->http_status);
    nv_status(&l, &a, code, text, retry_ms);
    count(call, code);
    if (nghttp2_submit_response(call->conn->session, call->stream_id, l.v, l.n, NULL) != 0)
        call->conn->ending = true;
    sending(call, 0);
}

void grpc_call_refuse(struct grpc_call *call, enum grpc_code code, unsigned retry_ms, const char *why)
{
    if (call->stream_id == 0 || call->state == CALL_SENDING)
        return;
    cancel(call);
    if (!call->running)
        body_release(call);
    trailers_only(call, code, retry_ms, str_c(why));
}

static ssize_t read_answer(nghttp2_session *session, int32_t stream_id, uint8_t *out, size_t max, uint32_t *flags,
                           nghttp2_data_source *source, void *conn)
{
    (void)conn;
    struct grpc_call *call = source->ptr;
    size_t n = 0, total = sizeof(call->head) + call->rs.message.n;
    while (n < max && call->out_off < total) {
        bool head = call->out_off < sizeof(call->head);
        size_t at = head ? call->out_off : call->out_off - sizeof(call->head);
        size_t k = MIN(max - n, (head ? sizeof(call->head) : call->rs.message.n) - at);
        memcpy(out + n, head ? (const char *)call->head + at : call->rs.message.p + at, k);
        n += k;
        call->out_off += k;
    }
    if (call->out_off == total) {
        nghttp2_nv status = { .name = (uint8_t *)(uintptr_t) "grpc-status",
                              .namelen = 11,
                              .value = (uint8_t *)(uintptr_t) "0",
                              .valuelen = 1 };
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (nghttp2_submit_trailer(session, stream_id, &status, 1) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return (ssize_t)n;
}

static void answer(struct grpc_call *call)
{
    struct grpc_response *rs = &call->rs;
    if (rs->code != GRPC_OK) {
        trailers_only(call, rs->code, rs->retry_ms, rs->text);
        return;
    }
    struct nv_list l = { .n = 0 };
    nghttp2_data_provider body = { .source.ptr = call, .read_callback = read_answer };
    nv_head(&l, &call->a, 200);
    grpc_frame_head(call->head, false, (uint32_t)rs->message.n);
    count(call, GRPC_OK);
    if (nghttp2_submit_response(call->conn->session, call->stream_id, l.v, l.n, &body) != 0)
        call->conn->ending = true;
    sending(call, rs->message.n);
}

/* ---- the handler ---- */

static void unpack_and_handle(struct grpc_call *call)
{
    struct grpc_request *rq = &call->rq;
    struct err_text why = { 0 };
    if (atomic_load_explicit(&call->cancelled, memory_order_relaxed)) {
        grpc_fail(&call->rs, GRPC_CANCELLED, 0, "cancelled");
        return;
    }
    if (rq->deadline_ns && os_mono_ns() >= rq->deadline_ns) {
        grpc_fail(&call->rs, GRPC_DEADLINE_EXCEEDED, 0, "the deadline passed before the call was handled");
        return;
    }
    struct http_users *users = call->server->cfg.users;
    if (users && call->route->method->pool != HTTP_INLINE &&
        !http_users_allow(users, grpc_metadata(rq, STR("authorization")))) {
        stat_add(&refused_auth, 1);
        grpc_fail(&call->rs, GRPC_UNAUTHENTICATED, 0,
                  "metadata \"authorization: Basic ...\" with a known name is needed");
        return;
    }
    rq->message = buf_str(&call->body);
    if (call->reader.compressed) {
        enum err e = decompress(CODING_GZIP, rq->message, call->limits.decoded_bytes_max, &call->plain, &why);
        if (e == ERR_LIMIT) {
            stat_add(&refused_size, 1);
            grpc_fail(&call->rs, GRPC_RESOURCE_EXHAUSTED, 0, "the message is larger than %zu bytes when decompressed",
                      call->limits.decoded_bytes_max);
            return;
        }
        if (e != OK) {
            stat_add(&refused_malformed, 1);
            grpc_fail(&call->rs, GRPC_INTERNAL, 0, "the message is not gzip: %s", why.msg);
            return;
        }
        rq->message = buf_str(&call->plain);
    }
    call->route->method->handle(rq, &call->rs);
}

static void run(void *ctx)
{
    struct grpc_call *call = ctx;
    struct grpc_loop *loop = call->loop;
    unpack_and_handle(call);
    /* Waking under the lock: once it is released with the call in `done`, the loop may end and be freed. */
    mtx_lock(&loop->mu);
    call->done_next = loop->done;
    loop->done = call;
    if (!call->done_next)
        grpc_loop_wake(loop);
    mtx_unlock(&loop->mu);
}

void grpc_call_back(struct grpc_call *call)
{
    call->running = false;
    atomic_fetch_sub(&call->server->working, 1);
    if (call->stream_id == 0) {
        call_free(call);
        return;
    }
    body_release(call);
    if (call->state == CALL_RUNNING)
        answer(call);
}

static void dispatch(struct grpc_call *call)
{
    call->state = CALL_RUNNING;
    call->limit_ns = UINT64_MAX;
    call->running = true;
    atomic_fetch_add(&call->server->working, 1);
    call->a.bytes_max = call->limits.arena_bytes_max;
    if (call->route->method->pool == HTTP_INLINE) {
        unpack_and_handle(call);
        grpc_call_back(call);
    } else if (atomic_load(&call->server->stopping) || pool_submit(call->server->ingest, run, call) != OK) {
        call->running = false;
        atomic_fetch_sub(&call->server->working, 1);
        stat_add(&refused_queue, 1);
        grpc_call_refuse(call, GRPC_UNAVAILABLE, 1000, "overloaded: too many calls are waiting, try again");
    }
}

/* ---- reading ---- */

void grpc_call_header(struct grpc_call *call, str name, str value)
{
    static const struct {
        str name;
        size_t at;
    } known[] = {
        { STR_INIT(":method"), offsetof(struct grpc_call, method) },
        { STR_INIT(":path"), offsetof(struct grpc_call, rq.path) },
        { STR_INIT("content-type"), offsetof(struct grpc_call, content_type) },
        { STR_INIT("te"), offsetof(struct grpc_call, te) },
        { STR_INIT("grpc-encoding"), offsetof(struct grpc_call, encoding) },
        { STR_INIT("grpc-timeout"), offsetof(struct grpc_call, timeout) },
    };
    call->header_bytes += name.n + value.n + 32;
    if (call->header_bytes > call->server->cfg.header_list_bytes_max)
        return; /* refused at the end of the headers */
    str v = arena_str(&call->a, value);
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq(name, known[i].name))
            *(str *)(void *)((char *)call + known[i].at) = v;
    if (name.n && name.p[0] != ':')
        avec_push(&call->a, &call->metadata, ((struct http_pair){ arena_str(&call->a, name), v }));
}

static bool is_grpc(str content_type)
{
    str type = str_take(content_type, str_find_char(content_type, ';'));
    return str_ieq(str_trim(type), STR("application/grpc")) || str_ieq(str_trim(type), STR("application/grpc+proto"));
}

static void refuse_counted(struct grpc_call *call, struct stat *counter, enum grpc_code code, int http_status,
                           const char *why)
{
    stat_add(counter, 1);
    call->http_status = http_status;
    grpc_call_refuse(call, code, 0, why);
}

/* The checks of the head; false: answered. */
static bool head_ok(struct grpc_call *call)
{
    if (call->header_bytes > call->server->cfg.header_list_bytes_max)
        refuse_counted(call, &refused_size, GRPC_RESOURCE_EXHAUSTED, 200, "too much metadata");
    else if (!str_eq(call->method, STR("POST")))
        refuse_counted(call, &refused_malformed, GRPC_INTERNAL, 405, "gRPC calls are POST requests");
    else if (!is_grpc(call->content_type))
        refuse_counted(call, &refused_malformed, GRPC_INTERNAL, 415, "the content-type is not application/grpc");
    else if (!str_ieq(str_trim(call->te), STR("trailers")))
        refuse_counted(call, &refused_malformed, GRPC_INTERNAL, 400,
                       "the header te: trailers is missing: is a proxy on the way that cannot pass on gRPC?");
    else if (!call->route->method)
        refuse_counted(call, &refused_unknown, GRPC_UNIMPLEMENTED, 200, "unknown service or method");
    else if (call->encoding.n && !str_eq(call->encoding, STR("identity")) && !call->gzip)
        refuse_counted(call, &refused_unknown, GRPC_UNIMPLEMENTED, 200,
                       "unknown grpc-encoding: this server takes identity and gzip");
    else
        return true;
    return false;
}

static void limits_of(struct grpc_call *call)
{
    const struct http_limits *d = &http_limits_default, *l = call->route->method->limits;
    call->limits = l ? *l : *d;
    if (!call->limits.body_bytes_max)
        call->limits.body_bytes_max = d->body_bytes_max;
    if (!call->limits.decoded_bytes_max)
        call->limits.decoded_bytes_max = d->decoded_bytes_max;
    if (!call->limits.body_ms_max)
        call->limits.body_ms_max = d->body_ms_max;
    if (!call->limits.body_rate_min)
        call->limits.body_rate_min = d->body_rate_min;
    if (!call->limits.arena_bytes_max)
        call->limits.arena_bytes_max = d->arena_bytes_max;
}

void grpc_call_headers_done(struct grpc_call *call)
{
    struct grpc_server *s = call->server;
    uint64_t timeout_ns;
    call->state = CALL_BODY;
    call->state_ns = os_mono_ns();
    call->rq.metadata = call->metadata.p;
    call->rq.n_metadata = call->metadata.n;
    call->rq.remote = arena_str(&call->a, str_c(call->conn->remote));
    struct grpc_route *route = grpc_route_find(s, call->rq.path);
    if (route) {
        call->route = route;
        call->rq.ctx = route->ctx;
    }
    call->gzip = str_eq(call->encoding, STR("gzip"));
    if (!head_ok(call))
        return;
    if (call->timeout.p) {
        if (!grpc_timeout_parse(call->timeout, &timeout_ns)) {
            refuse_counted(call, &refused_malformed, GRPC_INTERNAL, 400, "malformed grpc-timeout");
            return;
        }
        call->rq.deadline_ns = call->rq.start_ns + timeout_ns;
        grpc_loop_by(call->loop, call->rq.deadline_ns);
    }
    limits_of(call);
    call->reader = (struct grpc_reader){ .bytes_max = call->limits.body_bytes_max, .out = &call->body };
    call->limit_ns = call->state_ns + call->limits.body_ms_max * MS;
    grpc_loop_by(call->loop, MIN(call->limit_ns, call->state_ns + BODY_GRACE_MS * MS));
}

static void reader_refused(struct grpc_call *call)
{
    stat_add(call->reader.code == GRPC_RESOURCE_EXHAUSTED ? &refused_size : &refused_malformed, 1);
    grpc_call_refuse(call, call->reader.code, 0, call->reader.why);
}

void grpc_call_data(struct grpc_call *call, const uint8_t *p, size_t n)
{
    struct grpc_server *s = call->server;
    if (call->state != CALL_BODY)
        return;
    call->body_seen += n;
    call->body_reserved += n;
    stat_add(&bytes_in, (int64_t)n);
    if (atomic_fetch_add(&s->message_bytes_inflight, n) + n > s->cfg.message_bytes_inflight_max) {
        stat_add(&refused_memory, 1);
        grpc_call_refuse(call, GRPC_UNAVAILABLE, 1000, "overloaded: no memory for more messages right now, try again");
        return;
    }
    if (!grpc_reader_feed(&call->reader, p, n)) {
        reader_refused(call);
        return;
    }
    if (call->reader.compressed && !call->gzip) {
        call->reader.code = GRPC_INTERNAL;
        call->reader.why = "the message says it is compressed, but there is no grpc-encoding";
        reader_refused(call);
    }
}

void grpc_call_end_of_body(struct grpc_call *call)
{
    if (call->state != CALL_BODY)
        return;
    if (!grpc_reader_end(&call->reader))
        reader_refused(call);
    else
        dispatch(call);
}

/* ---- time ---- */

static bool body_slow(const struct grpc_call *call, uint64_t now_ns)
{
    uint64_t ms = (now_ns - call->state_ns) / MS;
    return now_ns >= call->limit_ns || (ms > BODY_GRACE_MS && call->body_seen < ms * call->limits.body_rate_min / 1000);
}

uint64_t grpc_call_tick(struct grpc_call *call, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX;
    if (call->stream_id == 0)
        return next;
    if (call->rq.deadline_ns && call->state != CALL_SENDING) {
        if (now_ns >= call->rq.deadline_ns)
            grpc_call_refuse(call, GRPC_DEADLINE_EXCEEDED, 0, "the deadline passed before the call was answered");
        else
            next = call->rq.deadline_ns;
    }
    switch (call->state) {
    case CALL_HEADERS: /* nothing else on this connection can go on before the header block ends */
        if (now_ns >= call->limit_ns) {
            call->conn->cut = "headers";
            call->conn->ending = true;
        }
        break;
    case CALL_BODY:
        if (body_slow(call, now_ns)) {
            grpc_count_cut("body");
            grpc_call_refuse(call, GRPC_DEADLINE_EXCEEDED, 0, "the message arrived too slowly");
        } else {
            next = MIN(next, MAX(call->state_ns + BODY_GRACE_MS * MS, now_ns + 1000 * MS));
        }
        break;
    case CALL_SENDING:
        if (now_ns >= call->limit_ns) {
            if (call->conn->blocked) /* a reset would not get through either */
                call->conn->ending = true;
            else
                grpc_count_cut("send");
            nghttp2_submit_rst_stream(call->conn->session, NGHTTP2_FLAG_NONE, call->stream_id, NGHTTP2_CANCEL);
            call->limit_ns = UINT64_MAX;
            grpc_conn_dirty(call->conn);
        }
        break;
    case CALL_RUNNING:
        break;
    }
    return MIN(next, call->limit_ns > now_ns ? call->limit_ns : UINT64_MAX);
}
