/* Answers: what a handler filled in becomes what MHD sends. Compression happens on the worker that ran the
 * handler, never on an event thread. RFC 9110 section 8.4 (content codings), 13 (conditional requests). */
#include <errno.h>
#include <stdio.h>
#include <zstd.h>

#include "base/log.h"
#include "http/http_int.h"
#include "wire/compress.h"

enum { COMPRESS_BYTES_MIN = 1024, GZIP_LEVEL = 1, ZSTD_LEVEL = 1, STREAM_BLOCK_BYTES = 32 * 1024 };

void http_set_header(struct http_response *rs, str name, str value)
{
    str v = arena_str(rs->a, value);
    for (size_t i = 0; i < rs->headers.n; i++) {
        if (str_ieq(rs->headers.p[i].name, name)) {
            rs->headers.p[i].value = v;
            return;
        }
    }
    struct http_pair h = { arena_str(rs->a, name), v };
    avec_push(rs->a, &rs->headers, h);
}

void http_answer(struct http_response *rs, int status, str content_type, str body)
{
    rs->status = status;
    rs->content_type = content_type;
    buf_clear(&rs->body);
    buf_str_add(&rs->body, body);
}

void http_refusal(struct http_exchange *x, int status)
{
    struct http_response *rs = &x->rs;
    if (status == 404)
        http_answer(rs, status, STR("text/plain; charset=utf-8"), STR("404 page not found\n"));
    else {
        http_answer(rs, status, STR("text/plain; charset=utf-8"), STR(""));
        buf_printf(&rs->body, "%s\n", x->refuse_why && status == 403 ? x->refuse_why : http_status_text(status));
    }
    if (status == 401)
        http_set_header(rs, STR("WWW-Authenticate"), STR("Basic"));
    if (status == 503 || status == 429)
        http_set_header(rs, STR("Retry-After"), STR("1"));
}

/* ---- static files ---- */

/* If-None-Match: a list of tags, weak ones too, or "*". */
static bool etag_matches(str list, str etag)
{
    str one;
    while (str_cut(&list, ',', &one)) {
        one = str_trim(one);
        if (str_has_prefix(one, STR("W/")))
            one = str_skip(one, 2);
        if (str_eq(one, etag) || str_eq(one, STR("*")))
            return true;
    }
    return false;
}

void http_answer_file(const struct http_request *rq, struct http_response *rs, const struct http_file *f)
{
    http_set_header(rs, STR("ETag"), f->etag);
    http_set_header(rs, STR("Cache-Control"),
                    f->immutable ? STR("public, max-age=31536000, immutable") : STR("no-cache"));
    http_set_header(rs, STR("Vary"), STR("Accept-Encoding"));
    rs->content_type = f->content_type;
    rs->no_compress = true;
    if (etag_matches(http_header(rq, STR("If-None-Match")), f->etag)) {
        rs->status = 304;
        return;
    }
    if (http_list_allows(http_header(rq, STR("Accept-Encoding")), STR("gzip"))) {
        rs->borrowed = f->gzip;
        rs->borrowed_encoding = STR("gzip");
        return;
    }
    struct err_text why;
    if (decompress(CODING_GZIP, f->gzip, (size_t)256 << 20, &rs->body, &why) != OK) {
        LOG_ERROR("embedded file is damaged", "path", LOG_STR(f->path), "err", why.msg);
        http_answer(rs, 500, STR("text/plain; charset=utf-8"), STR("damaged file\n"));
    }
}

/* ---- finishing ---- */

static void compress_zstd(struct http_response *rs)
{
    struct buf out;
    buf_init(&out, 0);
    size_t room = ZSTD_compressBound(rs->body.n);
    if (!buf_reserve(&out, room))
        return;
    size_t n = ZSTD_compress(out.p, room, rs->body.p, rs->body.n, ZSTD_LEVEL);
    if (ZSTD_isError(n)) {
        buf_deinit(&out);
        return;
    }
    out.n = n;
    buf_deinit(&rs->body);
    rs->body = out;
    http_set_header(rs, STR("Content-Encoding"), STR("zstd"));
}

static void compress_gzip(struct http_response *rs)
{
    struct buf out;
    buf_init(&out, 0);
    if (gzip_compress(buf_str(&rs->body), GZIP_LEVEL, &out) != OK) {
        buf_deinit(&out);
        return;
    }
    buf_deinit(&rs->body);
    rs->body = out;
    http_set_header(rs, STR("Content-Encoding"), STR("gzip"));
}

static void compress(struct http_exchange *x)
{
    struct http_response *rs = &x->rs;
    if (rs->no_compress || rs->stream || rs->body.n < COMPRESS_BYTES_MIN)
        return;
    http_set_header(rs, STR("Vary"), STR("Accept-Encoding"));
    if (http_list_allows(x->accept_encoding, STR("zstd")))
        compress_zstd(rs);
    else if (http_list_allows(x->accept_encoding, STR("gzip")))
        compress_gzip(rs);
}

/* As Prometheus' SetCORS: any origin gets "*", a list of origins gets its own name back. */
static void cors(struct http_exchange *x)
{
    struct http_response *rs = &x->rs;
    if (x->origin.n == 0 || !x->rq.route || !(x->rq.route->flags & HTTP_CORS))
        return;
    const struct rx *allowed = x->server->cors;
    if (allowed && !rx_match(allowed, x->origin)) {
        http_set_header(rs, STR("Vary"), STR("Origin"));
        return;
    }
    http_set_header(rs, STR("Access-Control-Allow-Headers"), STR("Accept, Authorization, Content-Type, Origin"));
    http_set_header(rs, STR("Access-Control-Allow-Methods"), STR("GET, POST, OPTIONS"));
    http_set_header(rs, STR("Access-Control-Allow-Origin"), allowed ? x->origin : STR("*"));
    http_set_header(rs, STR("Access-Control-Expose-Headers"), STR("Date"));
    if (allowed)
        http_set_header(rs, STR("Vary"), STR("Origin"));
}

void http_finish(struct http_exchange *x)
{
    struct http_response *rs = &x->rs;
    if (rs->body.failed) {
        buf_deinit(&rs->body);
        buf_init(&rs->body, 0);
        http_refusal(x, 500);
    }
    compress(x);
    cors(x);
    for (size_t i = 0; i < x->server->cfg.n_send_headers; i++)
        http_set_header(rs, x->server->cfg.send_headers[i].name, x->server->cfg.send_headers[i].value);
    if (rs->borrowed.n && rs->body.n == 0 && rs->borrowed_encoding.n)
        http_set_header(rs, STR("Content-Encoding"), rs->borrowed_encoding);
    bool bodiless = rs->status == 204 || rs->status == 304;
    if (!bodiless && rs->content_type.n)
        http_set_header(rs, STR("Content-Type"), rs->content_type);
    http_set_header(rs, STR("X-Content-Type-Options"), STR("nosniff"));
    if (atomic_load_explicit(&x->server->draining, memory_order_relaxed))
        http_set_header(rs, STR("Connection"), STR("close"));
}

/* ---- sending ---- */

static void piece_make(void *p)
{
    struct http_exchange *x = p;
    struct http_response *rs = &x->rs;
    buf_clear(&x->piece);
    x->piece_off = 0;
    bool more =
        !atomic_load(&x->cancelled) && !atomic_load(&x->server->draining) && rs->stream(rs->stream_ctx, &x->piece);
    x->stream_ended = !more || x->piece.failed;
    x->piece_failed |= x->piece.failed;
    http_watch_forget(x);
    struct http_server *s = x->server;
    MHD_resume_connection(x->conn->mhd);
    atomic_fetch_sub(&s->working, 1);
}

/* MHD wants bytes: give what is left of the piece, or suspend until the pool has made the next one. */
static ssize_t stream_read(void *p, uint64_t pos, char *out, size_t room)
{
    struct http_exchange *x = p;
    (void)pos;
    if (x->piece_off < x->piece.n) {
        size_t n = MIN(room, x->piece.n - x->piece_off);
        memcpy(out, x->piece.p + x->piece_off, n);
        x->piece_off += n;
        x->bytes_out += n;
        return (ssize_t)n;
    }
    if (x->stream_ended)
        return x->piece_failed ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
    struct http_server *s = x->server;
    if (!http_work_begin(s))
        return MHD_CONTENT_READER_END_WITH_ERROR;
    MHD_suspend_connection(x->conn->mhd);
    http_watch_request(x);
    if (pool_submit(s->pools[x->rq.route->pool == HTTP_INLINE ? HTTP_CONTROL : x->rq.route->pool], piece_make, x) !=
        OK) {
        x->stream_ended = true; /* overloaded: the answer ends early and the connection with it */
        x->piece_failed = true;
        http_watch_forget(x);
        MHD_resume_connection(x->conn->mhd);
        atomic_fetch_sub(&s->working, 1);
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    return 0; /* the exchange belongs to the pool until it resumes */
}

enum { SEND_GRACE_S = 30, SEND_RATE_MIN = 4096 };

enum MHD_Result http_send(struct http_exchange *x)
{
    struct http_response *rs = &x->rs;
    x->answered = true;
    str body = rs->body.n ? buf_str(&rs->body) : rs->borrowed;
    if (rs->status == 304 || rs->status == 204)
        body = STR_NONE;
    struct MHD_Response *r;
    if (rs->stream) {
        x->stream_open = true;
        r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, stream_read, x, NULL);
    } else {
        /* MHD reads only; its type lacks the const. */
        union {
            const char *in;
            void *out;
        } bytes = { .in = body.n ? body.p : "" };
        r = MHD_create_response_from_buffer(body.n, bytes.out, MHD_RESPMEM_PERSISTENT);
        x->bytes_out = body.n;
    }
    if (!r)
        return MHD_NO;
    for (size_t i = 0; i < rs->headers.n; i++) /* arena_str leaves a NUL behind */
        if (MHD_add_response_header(r, rs->headers.p[i].name.p, rs->headers.p[i].value.p) == MHD_NO)
            LOG_DEBUG("header refused", "name", rs->headers.p[i].name.p);
    uint64_t budget_s = SEND_GRACE_S + body.n / SEND_RATE_MIN;
    uint64_t deadline = rs->stream ? 0 : os_mono_ns() + budget_s * 1000000000u;
    atomic_store_explicit(&x->conn->deadline_ns, deadline, memory_order_relaxed);
    http_conn_enter(x->conn, CONN_SENDING);
    enum MHD_Result queued = MHD_queue_response(x->conn->mhd, (unsigned)rs->status, r);
    MHD_destroy_response(r);
    return queued;
}

void http_cut(struct http_conn *c, int status)
{
    if (c->fd < 0)
        return;
    if (status && !c->listen->tls) {
        char text[256];
        int n = snprintf(text, sizeof(text), "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", status,
                         http_status_text(status));
        ssize_t sent = send(c->fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)sent; /* a courtesy: the connection ends either way */
    }
    shutdown(c->fd, SHUT_RDWR);
}
