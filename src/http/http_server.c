/* The server over libmicrohttpd: listeners, the life of a request, start and orderly end.
 *
 *   accept -> conn_notify(STARTED)                                   CONN_IDLE
 *   request line  -> on_target: an exchange with its arena           CONN_HEADERS
 *   headers       -> on_headers: route, limits, strict checks        CONN_BODY
 *   body pieces   -> on_piece: collected up to the limit
 *   end of body   -> dispatch: the connection is suspended and handed to a pool   CONN_HANDLING
 *                    worker: decode, form fields, handler, compress, resume
 *   resumed       -> http_send                                       CONN_SENDING
 *   sent          -> on_completed: counted, freed                    CONN_IDLE
 *
 * What MHD does not do by itself (0.9.75) is done here: it accepts Content-Length beside Transfer-Encoding,
 * repeated lengths and unknown codings even in strict mode (request smuggling), so on_headers refuses them; an
 * answer queued in the handler's first call closes the connection, so ordinary refusals wait for the second. */
#include <arpa/inet.h>
#include <errno.h>
#include <gnutls/abstract.h>
#include <netdb.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/stats.h"
#include "http/http_int.h"
#include "wire/compress.h"

enum {
    CONN_MEMORY_BYTES = 16 * 1024,
    LISTEN_BACKLOG = 1024,
    DROP_BYTES_MAX = 4 << 20, /* of a refused body: read and forgotten so that the client sees the answer */
    BODY_FIRST_BYTES = 64 * 1024,
    DRAIN_POLL_MS = 5,
};

const struct http_limits http_limits_default = {
    .body_bytes_max = 1 << 20,
    .decoded_bytes_max = 8 << 20,
    .body_ms_max = 60000,
    .body_rate_min = 512,
    .arena_bytes_max = (size_t)1 << 30,
};

static struct stat refused_malformed =
    STAT_COUNTER("vane_http_refused_total", "Requests refused before a handler saw them", "reason=\"malformed\"");
static struct stat refused_size =
    STAT_COUNTER("vane_http_refused_total", "Requests refused before a handler saw them", "reason=\"too_large\"");
static struct stat refused_queue =
    STAT_COUNTER("vane_http_refused_total", "Requests refused before a handler saw them", "reason=\"queue_full\"");
static struct stat refused_memory =
    STAT_COUNTER("vane_http_refused_total", "Requests refused before a handler saw them", "reason=\"body_memory\"");
static struct stat refused_coding = STAT_COUNTER(
    "vane_http_refused_total", "Requests refused before a handler saw them", "reason=\"content_encoding\"");

static struct stat refused_gate =
    STAT_COUNTER("vane_http_refused_total", "Requests refused before a handler saw them", "reason=\"host_or_origin\"");
static struct stat refused_auth =
    STAT_COUNTER("vane_http_refused_total", "Requests refused before a handler saw them", "reason=\"unauthorized\"");

/* ---- exchanges ---- */

static size_t or_default(size_t v, size_t fallback)
{
    return v ? v : fallback;
}

static void limits_of(const struct http_route *route, struct http_limits *ret)
{
    const struct http_limits *l = route && route->limits ? route->limits : &http_limits_default;
    const struct http_limits *d = &http_limits_default;
    ret->body_bytes_max = or_default(l->body_bytes_max, d->body_bytes_max);
    ret->decoded_bytes_max = or_default(l->decoded_bytes_max, d->decoded_bytes_max);
    ret->body_ms_max = (unsigned)or_default(l->body_ms_max, d->body_ms_max);
    ret->body_rate_min = (unsigned)or_default(l->body_rate_min, d->body_rate_min);
    ret->arena_bytes_max = or_default(l->arena_bytes_max, d->arena_bytes_max);
}

static struct http_exchange *exchange_new(struct http_conn *c, str target)
{
    struct http_exchange *x = mem_zalloc(sizeof(*x));
    x->conn = c;
    x->server = c->listen->server;
    arena_init(&x->a, 0);
    buf_init(&x->body, 0);
    buf_init(&x->rs.body, 0);
    buf_init(&x->piece, 0);
    x->rs.a = &x->a;
    x->rs.status = 200;
    x->rs.content_type = STR("application/json");
    x->rq.a = &x->a;
    x->rq.start_ns = os_mono_ns();
    x->rq.cancelled = &x->cancelled;
    x->target = arena_str(&x->a, target);
    x->entry = &x->server->router.unmatched;
    return x;
}

static void body_release(struct http_exchange *x)
{
    buf_deinit(&x->body);
    buf_init(&x->body, 0);
    atomic_fetch_sub(&x->server->body_bytes_inflight, x->body_reserved);
    x->body_reserved = 0;
}

/* One line per request for those who debug; a warning for answers that are our fault. */
static void exchange_log(const struct http_exchange *x, int status, uint64_t ns)
{
    str method = http_method_name(x->method), path = x->raw_path;
    if (status == 500)
        LOG_WARN("request failed", "method", method.p, "path", LOG_STR(path), "status", LOG_I64(status), "client",
                 LOG_STR(x->rq.remote));
    else
        LOG_DEBUG("request", "method", method.p, "path", LOG_STR(path), "status", LOG_I64(status), "client",
                  LOG_STR(x->rq.remote), "bytes_in", LOG_I64(x->rq.body_bytes_sent), "bytes_out", LOG_I64(x->bytes_out),
                  "us", LOG_I64(ns / 1000));
}

static void exchange_free(struct http_exchange *x)
{
    struct http_server *s = x->server;
    if (x->seen) {
        int status = x->answered ? x->rs.status : 499;
        uint64_t ns = os_mono_ns() - x->rq.start_ns;
        http_count(x->entry, status, ns, x->bytes_out);
        exchange_log(x, status, ns);
    }
    if (x->rs.stream_done)
        x->rs.stream_done(x->rs.stream_ctx);
    body_release(x);
    buf_deinit(&x->rs.body);
    buf_deinit(&x->piece);
    arena_deinit(&x->a);
    if (x->running)
        atomic_fetch_sub(&s->inflight, 1);
    mem_free(x);
}

/* Take it from its connection, so that the watcher cannot see it any more, and free it. */
static void exchange_end(struct http_conn *c)
{
    struct http_exchange *x = c->x;
    if (!x)
        return;
    struct http_server *s = c->listen->server;
    mtx_lock(&s->conns_mu);
    c->x = NULL;
    mtx_unlock(&s->conns_mu);
    exchange_free(x);
}

/* ---- connections ---- */

/* The newest certificate instead of the one the daemon would use. Without it the handshake fails. */
static void conn_secure(struct http_conn *c)
{
    if (!c->listen->tls)
        return;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    c->cred = http_cred_take(c->listen->tls);
    if (!info || !http_cred_apply(c->cred, info->tls_session, NULL))
        LOG_WARN("a TLS connection could not be set up");
}

/* Stands where the daemon wants a certificate: every session gets its own (conn_secure). */
static int no_certificate(gnutls_session_t session, const gnutls_datum_t *req_ca_rdn, int n_reqs,
                          const gnutls_pk_algorithm_t *algos, int n_algos, gnutls_pcert_st **pcert, unsigned *n_pcert,
                          gnutls_privkey_t *key)
{
    (void)session, (void)req_ca_rdn, (void)n_reqs, (void)algos, (void)n_algos, (void)pcert, (void)n_pcert, (void)key;
    return -1;
}

static void conn_notify(void *cls, struct MHD_Connection *mhd, void **socket_ctx,
                        enum MHD_ConnectionNotificationCode code)
{
    struct http_listen *l = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        struct http_conn *c = mem_zalloc(sizeof(*c));
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        c->listen = l;
        c->mhd = mhd;
        c->fd = info ? info->connect_fd : -1;
        http_conn_enter(c, CONN_IDLE);
        conn_secure(c);
        http_watch_conn_add(l->server, c);
        *socket_ctx = c;
        return;
    }
    struct http_conn *c = *socket_ctx;
    if (!c)
        return;
    http_watch_conn_remove(l->server, c);
    exchange_end(c);
    http_cred_unref(c->cred);
    mem_free(c);
    *socket_ctx = NULL;
}

static struct http_conn *conn_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info ? info->socket_context : NULL;
}

static void *on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
    (void)cls;
    struct http_conn *c = conn_of(mhd);
    if (!c)
        return NULL;
    exchange_end(c);
    struct http_exchange *x = exchange_new(c, str_c(target));
    mtx_lock(&c->listen->server->conns_mu);
    c->x = x;
    mtx_unlock(&c->listen->server->conns_mu);
    c->n_requests++;
    http_conn_enter(c, CONN_HEADERS);
    return x;
}

static void on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode code)
{
    (void)cls;
    (void)code;
    struct http_conn *c = conn_of(mhd);
    *con_cls = NULL;
    if (!c)
        return;
    exchange_end(c);
    atomic_store_explicit(&c->deadline_ns, 0, memory_order_relaxed);
    http_conn_enter(c, CONN_IDLE);
}

/* ---- headers ---- */

static enum MHD_Result header_take(void *cls, enum MHD_ValueKind kind, const char *name, size_t name_n,
                                   const char *value, size_t value_n)
{
    (void)kind;
    struct http_exchange *x = cls;
    struct http_pair h = { { name, name_n }, { value ? value : "", value ? value_n : 0 } };
    avec_push(&x->a, &x->headers.v, h);
    return MHD_YES;
}

/* Everything a proxy in front and vane could read differently is refused. */
static bool framing_ok(const struct http_exchange *x)
{
    unsigned n_length = 0, n_coding = 0;
    vec_each (struct http_pair, h, &x->headers.v) {
        if (str_ieq(h->name, STR("Content-Length"))) {
            uint64_t n;
            if (n_length++ || !str_to_u64(str_trim(h->value), &n))
                return false;
        } else if (str_ieq(h->name, STR("Transfer-Encoding"))) {
            if (n_coding++ || !str_ieq(str_trim(h->value), STR("chunked")))
                return false;
        }
        if (h->value.n && memchr(h->value.p, 0, h->value.n))
            return false;
    }
    return !(n_length && n_coding);
}

static str media_type(struct arena *a, str content_type)
{
    str type;
    if (!str_cut(&content_type, ';', &type))
        return STR("");
    type = arena_str(a, str_trim(type));
    union {
        const char *in;
        char *out;
    } bytes = { .in = type.p }; /* our own copy */
    for (size_t i = 0; i < type.n; i++)
        if (bytes.out[i] >= 'A' && bytes.out[i] <= 'Z')
            bytes.out[i] = (char)(bytes.out[i] | 0x20);
    return type;
}

static str remote_text(struct http_exchange *x)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(x->conn->mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    char host[INET6_ADDRSTRLEN];
    if (info && info->client_addr && info->client_addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)info->client_addr;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        return arena_printf(&x->a, "%s:%u", host, ntohs(in->sin_port));
    }
    if (info && info->client_addr && info->client_addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)info->client_addr;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        return arena_printf(&x->a, "[%s]:%u", host, ntohs(in6->sin6_port));
    }
    return STR("");
}

/* "http://host/path" (allowed to clients of proxies) -> "/path"; then the query is cut off. */
static void target_split(struct http_exchange *x)
{
    str t = x->target;
    for (size_t skip = 7; skip <= 8; skip++) {
        if (t.n > skip && str_ieq(str_take(t, skip), skip == 7 ? STR("http://") : STR("https://"))) {
            str rest = str_skip(t, skip);
            size_t slash = str_find_char(rest, '/');
            t = slash == SIZE_MAX ? STR("/") : str_skip(rest, slash);
        }
    }
    size_t q = str_find_char(t, '?');
    x->raw_path = q == SIZE_MAX ? t : str_take(t, q);
    x->raw_query = q == SIZE_MAX ? STR("") : str_skip(t, q + 1);
}

static const char *allow_text(struct arena *a, unsigned methods)
{
    struct buf b;
    buf_init(&b, 0);
    for (int m = 0; m < HTTP_METHODS; m++)
        if (methods & HTTP_BIT(m))
            buf_printf(&b, "%s%s", b.n ? ", " : "", http_method_name((enum http_method)m).p);
    const char *text = arena_cstr(a, buf_str(&b));
    buf_deinit(&b);
    return text;
}

/* Find the row; or the status that says why there is none. */
static int route_find(struct http_exchange *x, const char *method_text)
{
    struct http_request *rq = &x->rq;
    unsigned listener = x->conn->listen->index;
    size_t n = 0;
    struct http_entry *e = http_router_find(&x->server->router, x->raw_path, x->captures, &n);
    unsigned methods = e ? http_entry_methods(e, listener) : 0;
    if (!methods)
        return 404;
    x->entry = e;
    bool known = http_method_parse(str_c(method_text), &x->method);
    x->head = known && x->method == HTTP_HEAD;
    enum http_method m = x->head ? HTTP_GET : x->method;
    if (!known || !(methods & HTTP_BIT(x->method))) {
        http_set_header(&x->rs, STR("Allow"), str_c(allow_text(&x->a, methods)));
        return 405;
    }
    if (m == HTTP_OPTIONS && !e->by_method[HTTP_OPTIONS]) {
        http_set_header(&x->rs, STR("Allow"), str_c(allow_text(&x->a, methods)));
        for (int i = 0; i < HTTP_METHODS && !rq->route; i++)
            rq->route = e->by_method[i]; /* for CORS */
        return 204;
    }
    rq->method = m;
    rq->route = e->by_method[m];
    rq->ctx = e->ctx[m];
    str *decoded = arena_array(&x->a, str, HTTP_CAPTURES_MAX);
    for (size_t i = 0; i < n; i++)
        decoded[i] = http_url_decode(&x->a, x->captures[i], false);
    rq->captures = decoded;
    rq->n_captures = n;
    return 0;
}

static void request_fill(struct http_exchange *x)
{
    struct http_request *rq = &x->rq;
    rq->headers = x->headers.v.p;
    rq->n_headers = x->headers.v.n;
    target_split(x);
    rq->path = http_url_decode(&x->a, x->raw_path, false);
    rq->content_type = media_type(&x->a, http_header(rq, STR("Content-Type")));
    rq->content_encoding = str_trim(http_header(rq, STR("Content-Encoding")));
    rq->remote = remote_text(x);
    x->origin = http_header(rq, STR("Origin"));
    x->accept_encoding = http_header(rq, STR("Accept-Encoding"));
}

static enum MHD_Result refuse_now(struct http_exchange *x, int status)
{
    http_refusal(x, status);
    http_set_header(&x->rs, STR("Connection"), STR("close"));
    http_finish(x);
    return http_send(x);
}

/* The handler's first call. Only what must not wait for the body is answered here: MHD closes the
 * connection after that. */
static enum MHD_Result on_headers(struct http_exchange *x, const char *method)
{
    MHD_get_connection_values_n(x->conn->mhd, MHD_HEADER_KIND, header_take, x);
    request_fill(x);
    if (!framing_ok(x)) {
        stat_add(&refused_malformed, 1);
        return refuse_now(x, 400);
    }
    x->refuse = route_find(x, method);
    x->refuse_why = http_gate(x);
    if (x->refuse_why) {
        stat_add(&refused_gate, 1);
        x->refuse = 403;
    }
    limits_of(x->rq.route, &x->limits);
    x->a.bytes_max = x->limits.arena_bytes_max;
    uint64_t length = 0;
    str length_text = http_header(&x->rq, STR("Content-Length"));
    bool has_body = length_text.p && str_to_u64(str_trim(length_text), &length) && length > 0;
    if (has_body && length > x->limits.body_bytes_max) {
        stat_add(&refused_size, 1);
        return refuse_now(x, x->refuse ? x->refuse : 413);
    }
    struct http_conn *c = x->conn;
    atomic_store_explicit(&c->body_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&c->rate_min, x->limits.body_rate_min, memory_order_relaxed);
    atomic_store_explicit(&c->deadline_ns, os_mono_ns() + (uint64_t)x->limits.body_ms_max * 1000000u,
                          memory_order_relaxed);
    http_conn_enter(c, CONN_BODY);
    return MHD_YES;
}

/* ---- body ---- */

/* Let the request hold `cap` bytes of the server's budget for bodies. */
static bool body_reserve(struct http_exchange *x, size_t cap)
{
    struct http_server *s = x->server;
    size_t extra = cap - MIN(cap, x->body_reserved);
    if (atomic_fetch_add(&s->body_bytes_inflight, extra) + extra > s->cfg.body_bytes_inflight_max) {
        atomic_fetch_sub(&s->body_bytes_inflight, extra);
        stat_add(&refused_memory, 1);
        return false;
    }
    x->body_reserved += extra;
    return true;
}

/* Room for n more bytes, within the request's limit and the server's budget. */
static bool body_room(struct http_exchange *x, size_t n)
{
    size_t want = x->body.n + n;
    if (want > x->limits.body_bytes_max) {
        stat_add(&refused_size, 1);
        x->refuse = 413;
        return false;
    }
    if (want <= x->body_reserved)
        return true;
    size_t cap = x->body_reserved ? x->body_reserved : BODY_FIRST_BYTES;
    while (cap < want)
        cap *= 2;
    if (body_reserve(x, cap))
        return true;
    x->refuse = 503;
    return false;
}

static enum MHD_Result on_piece(struct http_exchange *x, const char *p, size_t n)
{
    atomic_fetch_add_explicit(&x->conn->body_bytes, n, memory_order_relaxed);
    if (!x->refuse && body_room(x, n)) {
        buf_add(&x->body, p, n);
        return MHD_YES;
    }
    body_release(x);
    x->body_dropped += n;
    if (x->body_dropped <= DROP_BYTES_MAX)
        return MHD_YES;
    x->rs.status = x->refuse;
    x->answered = true;
    mtx_lock(&x->server->conns_mu);
    http_cut(x->conn, x->refuse);
    mtx_unlock(&x->server->conns_mu);
    return MHD_NO;
}

/* Content-encoding removed, into the arena. 0 or the status of a refusal. */
static int body_decode(struct http_exchange *x)
{
    struct http_request *rq = &x->rq;
    rq->body = buf_str(&x->body);
    rq->body_bytes_sent = x->body.n;
    enum coding coding = CODING_IDENTITY;
    if (rq->route->flags & HTTP_RAW_BODY)
        return 0;
    if (!coding_parse(rq->content_encoding, &coding)) {
        stat_add(&refused_coding, 1);
        return 415;
    }
    if (coding == CODING_IDENTITY)
        return 0;
    struct buf plain;
    buf_init(&plain, 0);
    struct err_text why;
    enum err e = decompress(coding, rq->body, x->limits.decoded_bytes_max, &plain, &why);
    if (e == OK) {
        body_release(x);
        x->body = plain;
        rq->body = buf_str(&plain);
        return body_reserve(x, plain.cap) ? 0 : 503;
    }
    buf_deinit(&plain);
    stat_add(e == ERR_LIMIT ? &refused_size : &refused_coding, 1);
    return e == ERR_LIMIT ? 413 : 400;
}

static int params_read(struct http_exchange *x)
{
    struct http_request *rq = &x->rq;
    bool form = rq->method != HTTP_GET && !(rq->route->flags & HTTP_NO_FORM) &&
                str_eq(rq->content_type, STR("application/x-www-form-urlencoded"));
    if ((form && !http_form_parse(&x->a, rq->body, &x->params)) || !http_form_parse(&x->a, x->raw_query, &x->params))
        return 400;
    rq->params = x->params.v.p;
    rq->n_params = x->params.v.n;
    return 0;
}

/* ---- handling ---- */

static bool authorized(struct http_exchange *x)
{
    struct http_users *users = x->server->cfg.users;
    if (!users || http_users_allow(users, http_header(&x->rq, STR("Authorization"))))
        return true;
    stat_add(&refused_auth, 1);
    return false;
}

static void handle(struct http_exchange *x)
{
    int status = x->refuse;
    if (!status && !authorized(x))
        status = 401;
    if (!status)
        status = body_decode(x);
    if (!status)
        status = params_read(x);
    if (status)
        http_refusal(x, status);
    else if (atomic_load(&x->cancelled))
        http_refusal(x, 499);
    else
        x->rq.route->handle(&x->rq, &x->rs);
    http_finish(x);
}

bool http_work_begin(struct http_server *s)
{
    atomic_fetch_add(&s->working, 1); /* before the look at `stopping`: pairs with drain() */
    if (!atomic_load(&s->stopping))
        return true;
    atomic_fetch_sub(&s->working, 1);
    return false;
}

static void worker_run(void *p)
{
    struct http_exchange *x = p;
    struct http_server *s = x->server;
    handle(x);
    http_watch_forget(x);
    MHD_resume_connection(x->conn->mhd); /* x belongs to the event thread from here on */
    atomic_fetch_sub(&s->working, 1);
}

static enum MHD_Result answer_here(struct http_exchange *x)
{
    handle(x);
    return http_send(x);
}

static enum MHD_Result dispatch(struct http_exchange *x)
{
    struct http_server *s = x->server;
    x->running = true;
    atomic_fetch_add(&s->inflight, 1);
    http_conn_enter(x->conn, CONN_HANDLING);
    enum http_pool pool = x->refuse ? HTTP_INLINE : x->rq.route->pool;
    if (pool == HTTP_INLINE && !x->refuse && s->cfg.users) /* a password takes its time */
        pool = HTTP_CONTROL;
    if (x->refuse == 204) {
        x->rs.status = 204;
        http_finish(x);
        return http_send(x);
    }
    if (pool == HTTP_INLINE)
        return answer_here(x);
    if (!http_work_begin(s)) {
        x->refuse = 503;
        return answer_here(x);
    }
    MHD_suspend_connection(x->conn->mhd);
    if (pool == HTTP_QUERY)
        http_watch_request(x);
    if (pool_submit(s->pools[pool], worker_run, x) == OK)
        return MHD_YES;
    stat_add(&refused_queue, 1);
    http_watch_forget(x);
    x->refuse = 503;
    handle(x);
    MHD_resume_connection(x->conn->mhd);
    atomic_fetch_sub(&s->working, 1);
    return MHD_YES;
}

static enum MHD_Result on_call(void *cls, struct MHD_Connection *mhd, const char *url, const char *method,
                               const char *version, const char *upload, size_t *upload_n, void **con_cls)
{
    (void)cls;
    (void)mhd;
    (void)url;
    (void)version;
    struct http_exchange *x = *con_cls;
    if (!x)
        return MHD_NO;
    if (!x->seen) {
        x->seen = true;
        return on_headers(x, method);
    }
    if (*upload_n) {
        size_t n = *upload_n;
        *upload_n = 0;
        return on_piece(x, upload, n);
    }
    return x->running ? http_send(x) : dispatch(x);
}

/* ---- listeners ---- */

static void mhd_log(void *cls, const char *fmt, va_list args)
{
    (void)cls;
    if (!log_enabled(LOG_LEVEL_DEBUG))
        return;
    char text[256];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    vsnprintf(text, sizeof(text), fmt, args);
#pragma GCC diagnostic pop
    LOG_DEBUG("http library", "text", text);
}

enum err http_socket_open(const struct http_listener *cfg, int *ret_fd, uint16_t *ret_port, struct err_text *reterr)
{
    char port[8];
    snprintf(port, sizeof(port), "%u", cfg->port);
    struct addrinfo hints = { .ai_family = AF_UNSPEC,
                              .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV };
    struct addrinfo *ai = NULL;
    if (getaddrinfo(cfg->address, port, &hints, &ai) != 0)
        return err_fail(reterr, ERR_INVALID, "listen address %s is not an IP address", cfg->address);
    int on = 1, fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
    if (ok && ai->ai_family == AF_INET6)
        ok = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0;
    ok = ok && bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0;
    int why = errno;
    freeaddrinfo(ai);
    if (!ok) {
        if (fd >= 0)
            close(fd);
        return err_fail(reterr, err_from_errno(why), "cannot listen on %s port %u: %s", cfg->address, cfg->port,
                        strerror(why));
    }
    struct sockaddr_storage sa;
    socklen_t n = sizeof(sa);
    memset(&sa, 0, sizeof(sa));
    getsockname(fd, (struct sockaddr *)&sa, &n);
    *ret_port = ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
                                               : ((struct sockaddr_in *)&sa)->sin_port);
    *ret_fd = fd;
    return OK;
}

static enum err listen_open(struct http_server *s, struct http_listen *l, const struct http_listener *cfg,
                            struct err_text *reterr)
{
    l->server = s;
    l->index = (unsigned)(l - s->listens);
    l->tls = cfg->tls;
    l->loopback = http_address_is_loopback(cfg->address);
    l->fd = -1;
    TRY(http_socket_open(cfg, &l->fd, &l->port, reterr));
    const union {
        gnutls_certificate_retrieve_function2 *f;
        void *p;
    } callback = { .f = no_certificate };
    struct MHD_OptionItem tls_options[] = {
        { MHD_OPTION_HTTPS_CERT_CALLBACK, 0, callback.p },
        { MHD_OPTION_END, 0, NULL },
    };
    struct MHD_OptionItem none[] = { { MHD_OPTION_END, 0, NULL } };
    unsigned flags =
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | (l->tls ? MHD_USE_TLS : 0u);
    l->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_call, NULL, MHD_OPTION_EXTERNAL_LOGGER, mhd_log, NULL, MHD_OPTION_LISTEN_SOCKET, l->fd,
        MHD_OPTION_THREAD_POOL_SIZE, MAX(s->cfg.event_threads, 2u), MHD_OPTION_CONNECTION_LIMIT, s->cfg.connections_max,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONN_MEMORY_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        s->cfg.idle_ms / 1000 + 10, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_CONNECTION, conn_notify, l,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, l, MHD_OPTION_NOTIFY_COMPLETED, on_completed, l, MHD_OPTION_ARRAY,
        l->tls ? tls_options : none, MHD_OPTION_END);
    if (!l->daemon)
        return err_fail(reterr, ERR_IO, "cannot start the HTTP server on %s port %u", cfg->address, l->port);
    return OK;
}

static void listen_close(struct http_listen *l)
{
    if (l->daemon)
        MHD_stop_daemon(l->daemon); /* was quiesced: fd is ours */
    if (l->fd >= 0)
        close(l->fd);
}

/* ---- the server ---- */

static void config_defaults(struct http_server_config *cfg)
{
    static const unsigned threads[HTTP_POOLS] = { [HTTP_CONTROL] = 4, [HTTP_INGEST] = 16 };
    static const unsigned queues[HTTP_POOLS] = { [HTTP_CONTROL] = 256, [HTTP_INGEST] = 1024, [HTTP_QUERY] = 64 };
    cfg->event_threads = (unsigned)or_default(cfg->event_threads, 2);
    cfg->connections_max = (unsigned)or_default(cfg->connections_max, 12000);
    cfg->idle_ms = (unsigned)or_default(cfg->idle_ms, 300000);
    cfg->header_ms_max = (unsigned)or_default(cfg->header_ms_max, 10000);
    cfg->drain_ms = (unsigned)or_default(cfg->drain_ms, 10000);
    cfg->body_bytes_inflight_max = or_default(cfg->body_bytes_inflight_max, (size_t)256 << 20);
    for (int i = HTTP_CONTROL; i < HTTP_POOLS; i++) {
        unsigned fallback = i == HTTP_QUERY ? MAX(4u, 2 * os_cores()) : threads[i];
        cfg->threads[i] = (unsigned)or_default(cfg->threads[i], fallback);
        cfg->queue[i] = (unsigned)or_default(cfg->queue[i], queues[i]);
    }
}

static void server_render(void *ctx, struct buf *out)
{
    struct http_server *s = ctx;
    buf_printf(out,
               "# HELP vane_http_connections Open connections.\n# TYPE vane_http_connections "
               "gauge\nvane_http_connections %d\n",
               atomic_load(&s->n_conns));
    buf_printf(out,
               "# HELP vane_http_requests_in_flight Requests being handled or answered.\n# TYPE "
               "vane_http_requests_in_flight gauge\nvane_http_requests_in_flight %d\n",
               atomic_load(&s->inflight));
    buf_printf(out,
               "# HELP vane_http_body_bytes Memory held by request bodies.\n# TYPE vane_http_body_bytes "
               "gauge\nvane_http_body_bytes %zu\n",
               atomic_load(&s->body_bytes_inflight));
    http_router_render(&s->router, out);
}

static enum err server_start(struct http_server *s, struct err_text *reterr)
{
    static const char *const names[HTTP_POOLS] = {
        [HTTP_CONTROL] = "http-control", [HTTP_INGEST] = "http-ingest", [HTTP_QUERY] = "http-query"
    };
    const struct http_server_config *cfg = &s->cfg;
    if (cfg->n_listeners > HTTP_LISTENERS_MAX)
        return err_fail(reterr, ERR_LIMIT, "at most %d listeners", HTTP_LISTENERS_MAX);
    TRY(http_router_init(&s->router, cfg->tables, cfg->n_tables, reterr));
    if (cfg->cors_origin && strcmp(cfg->cors_origin, ".*") != 0)
        TRY(rx_compile(str_c(cfg->cors_origin), true, &s->cors, reterr));
    for (int i = HTTP_CONTROL; i < HTTP_POOLS; i++)
        TRY(pool_open(names[i], cfg->threads[i], cfg->queue[i], &s->pools[i]));
    TRY(http_watch_open(s));
    for (size_t i = 0; i < cfg->n_listeners; i++) {
        s->n_listens++;
        TRY(listen_open(s, &s->listens[i], &cfg->listeners[i], reterr));
    }
    return OK;
}

enum err http_server_open(const struct http_server_config *cfg, struct http_server **ret, struct err_text *reterr)
{
    struct http_server *s = mem_zalloc(sizeof(*s));
    s->cfg = *cfg;
    s->watch_fd = s->wake_fd = -1;
    for (size_t i = 0; i < HTTP_LISTENERS_MAX; i++)
        s->listens[i].fd = -1;
    config_defaults(&s->cfg);
    mtx_init(&s->conns_mu, 0);
    stats_on_render(server_render, s);
    if (reterr)
        reterr->msg[0] = 0;
    enum err e = server_start(s, reterr);
    if (e != OK) {
        if (reterr && reterr->msg[0] == 0)
            IGNORE_ERR(err_fail(reterr, e, "cannot start the HTTP server: %s", err_describe(e)));
        http_server_close(s);
        return e;
    }
    *ret = s;
    return OK;
}

uint16_t http_server_port(const struct http_server *s, size_t listener)
{
    return s->listens[listener].port;
}

struct pool *http_server_pool(const struct http_server *s, enum http_pool pool)
{
    return s->pools[pool];
}

static void drain(struct http_server *s)
{
    uint64_t end = os_mono_ns() + (uint64_t)s->cfg.drain_ms * 1000000u;
    while (atomic_load(&s->inflight) > 0 && os_mono_ns() < end)
        os_sleep_ms(DRAIN_POLL_MS);
    atomic_store(&s->stopping, true);
    while (atomic_load(&s->working) > 0) { /* MHD cannot stop while connections are suspended */
        http_watch_cancel_all(s);
        os_sleep_ms(DRAIN_POLL_MS);
    }
}

void http_server_close(struct http_server *s)
{
    if (!s)
        return;
    atomic_store(&s->draining, true);
    for (size_t i = 0; i < s->n_listens; i++) {
        struct http_listen *l = &s->listens[i];
        if (l->daemon) {
            l->fd = MHD_quiesce_daemon(l->daemon);
            if (l->fd >=
                0) /* refuses; not yet closed: the daemon's thread aborts if it cannot take it out of its epoll set */
                shutdown(l->fd, SHUT_RDWR);
        }
    }
    drain(s);
    for (size_t i = 0; i < s->n_listens; i++)
        listen_close(&s->listens[i]);
    http_watch_close(s);
    for (int i = HTTP_CONTROL; i < HTTP_POOLS; i++)
        if (s->pools[i])
            pool_close(s->pools[i]);
    stats_off_render(server_render, s);
    http_router_deinit(&s->router);
    rx_free(s->cors);
    mem_free(s->conns);
    vec_free(&s->free_slots);
    mtx_deinit(&s->conns_mu);
    mem_free(s);
}
