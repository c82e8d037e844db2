/* Bytes of one connection: socket or TLS below, the session above, and every time limit.
 *
 *   accept -> TLS handshake (ALPN h2) -> PREFACE (until the client's SETTINGS) -> OPEN -> closed
 *
 * Sending: the session's frames are gathered up to GRPC_OUT_BYTES, and only when all of them are gone it is asked for more; so
 * a TLS record that must be repeated is repeated unchanged. While the socket takes nothing, nothing is read either: what a
 * client makes us say is bounded by what it takes. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "base/stats.h"
#include "http/grpc_int.h"

enum { READS_PER_TURN = 16, LINGER_MS = 1000 };
#define MS 1000000ull

enum io { IO_OK, IO_AGAIN, IO_END };

static enum io io_recv(struct grpc_conn *c, void *p, size_t max, size_t *ret_n)
{
    ssize_t n;
    do
        n = c->tls ? gnutls_record_recv(c->tls, p, max) : recv(c->fd, p, max, 0);
    while (c->tls ? n == GNUTLS_E_INTERRUPTED : n < 0 && errno == EINTR);
    if (n > 0) {
        *ret_n = (size_t)n;
        return IO_OK;
    }
    if (c->tls ? n == GNUTLS_E_AGAIN : n < 0 && errno == EAGAIN)
        return IO_AGAIN;
    return IO_END;
}

static enum io io_send(struct grpc_conn *c, const void *p, size_t n, size_t *ret_n)
{
    ssize_t k;
    do
        k = c->tls ? gnutls_record_send(c->tls, p, n) : send(c->fd, p, n, MSG_NOSIGNAL);
    while (c->tls ? k == GNUTLS_E_INTERRUPTED : k < 0 && errno == EINTR);
    if (k >= 0) {
        *ret_n = (size_t)k;
        return IO_OK;
    }
    return (c->tls ? k == GNUTLS_E_AGAIN : errno == EAGAIN) ? IO_AGAIN : IO_END;
}

/* ---- open, close ---- */

void grpc_conn_close(struct grpc_conn *c, const char *reason)
{
    struct grpc_loop *loop = c->loop;
    if (c->cut ? c->cut : reason)
        grpc_count_cut(c->cut ? c->cut : reason);
    if (c->prev)
        c->prev->next = c->next;
    else
        loop->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    loop->n_conns--;
    for (struct grpc_conn **p = &loop->dirty; *p; p = &(*p)->dirty_next)
        if (*p == c) {
            *p = c->dirty_next;
            break;
        }
    for (struct grpc_call *call = c->calls, *next; call; call = next) {
        next = call->next;
        if (call->stream_id && c->session)
            nghttp2_session_set_stream_user_data(c->session, call->stream_id, NULL);
        grpc_call_conn_closed(call);
    }
    nghttp2_session_del(c->session);
    if (c->tls)
        gnutls_deinit(c->tls);
    http_cred_unref(c->cred);
    close(c->fd); /* leaves the epoll set, too */
    buf_deinit(&c->out);
    atomic_fetch_sub(&c->server->n_conns, 1);
    mem_free(c);
}

static void remote_text(struct grpc_conn *c, const struct sockaddr_storage *sa)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)sa;
        inet_ntop(AF_INET6, &in->sin6_addr, host, sizeof(host));
        snprintf(c->remote, sizeof(c->remote), "[%s]:%u", host, ntohs(in->sin6_port));
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(c->remote, sizeof(c->remote), "%s:%u", host, ntohs(in->sin_port));
    }
}

static bool tls_open(struct grpc_conn *c, const struct grpc_listen *l)
{
    gnutls_datum_t h2 = { (unsigned char *)(uintptr_t) "h2", 2 };
    if (gnutls_init(&c->tls, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) != 0)
        return false;
    gnutls_transport_set_int(c->tls, c->fd);
    gnutls_handshake_set_timeout(c->tls, GNUTLS_INDEFINITE_TIMEOUT); /* ours is grpc_conn_tick's */
    c->cred = http_cred_take(l->tls);
    return http_cred_apply(c->cred, c->tls, c->server->priority) &&
           gnutls_alpn_set_protocols(c->tls, &h2, 1, GNUTLS_ALPN_MANDATORY) == 0;
}

void grpc_conn_open(struct grpc_loop *loop, const struct grpc_listen *l, int fd, const struct sockaddr_storage *sa)
{
    struct grpc_conn *c = mem_zalloc(sizeof(*c));
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    c->loop = loop;
    c->server = loop->server;
    c->fd = fd;
    c->start_ns = c->rx_ns = c->tx_ns = c->idle_ns = os_mono_ns();
    buf_init(&c->out, 0);
    remote_text(c, sa);
    c->next = loop->conns;
    if (c->next)
        c->next->prev = c;
    loop->conns = c;
    loop->n_conns++;
    c->state = l->tls ? GRPC_CONN_TLS : GRPC_CONN_PREFACE;
    c->events = EPOLLIN;
    struct epoll_event ev = { .events = c->events, .data.ptr = c };
    if ((l->tls && !tls_open(c, l)) || grpc_session_open(c) != OK ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0) {
        grpc_conn_close(c, "error");
        return;
    }
    grpc_loop_by(loop, c->start_ns + c->server->cfg.handshake_ms_max * MS);
    if (!l->tls)
        grpc_conn_flush(c); /* our SETTINGS */
}

/* ---- sending ---- */

void grpc_conn_dirty(struct grpc_conn *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->dirty_next = c->loop->dirty;
    c->loop->dirty = c;
}

static bool gather(struct grpc_conn *c)
{
    const uint8_t *p;
    ssize_t n = 0;
    while (c->out.n < GRPC_OUT_BYTES && (n = nghttp2_session_mem_send(c->session, &p)) > 0)
        buf_add(&c->out, p, (size_t)n);
    return n >= 0;
}

static void want(struct grpc_conn *c, uint32_t events)
{
    struct epoll_event ev = { .events = events, .data.ptr = c };
    if (events == c->events)
        return;
    c->events = events;
    epoll_ctl(c->loop->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
}

/* Everything the session has, until the socket is full. false: the connection is broken. */
static bool send_all(struct grpc_conn *c)
{
    for (;;) {
        size_t n;
        if (c->out_off == c->out.n) {
            buf_clear(&c->out);
            c->out_off = 0;
            if (!gather(c))
                return false;
            if (c->out.n == 0) {
                c->blocked = false;
                return true;
            }
        }
        enum io r = io_send(c, c->out.p + c->out_off, c->out.n - c->out_off, &n);
        if (r == IO_END)
            return false;
        if (r == IO_AGAIN) {
            if (!c->blocked)
                c->tx_ns = os_mono_ns();
            c->blocked = true;
            grpc_loop_by(c->loop, c->tx_ns + c->server->cfg.send_ms_max * MS);
            return true;
        }
        c->out_off += n;
        c->tx_ns = os_mono_ns();
    }
}

/* Our side is done: closed as soon as the client has closed its side, or a second later. */
static void linger(struct grpc_conn *c)
{
    if (c->tls)
        gnutls_bye(c->tls, GNUTLS_SHUT_WR);
    shutdown(c->fd, SHUT_WR);
    c->lingering = true;
    c->shut_ns = os_mono_ns() + LINGER_MS * MS;
    grpc_loop_by(c->loop, c->shut_ns);
    while (c->calls) { /* their clients were told */
        struct grpc_call *call = c->calls;
        if (call->stream_id)
            nghttp2_session_set_stream_user_data(c->session, call->stream_id, NULL);
        grpc_call_conn_closed(call);
    }
    want(c, EPOLLIN);
}

void grpc_conn_flush(struct grpc_conn *c)
{
    if (c->lingering || c->state == GRPC_CONN_TLS)
        return;
    if (!send_all(c)) {
        grpc_conn_close(c, "broken");
        return;
    }
    bool over = c->ending || (!nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session));
    if (c->ending && c->blocked) { /* it was told as far as it would listen */
        grpc_conn_close(c, "send");
        return;
    }
    if (over && !c->blocked)
        linger(c);
    else
        want(c, c->blocked ? EPOLLOUT : EPOLLIN);
    if (c->out.n == 0 && c->out.cap > 4096) { /* idle connections hold no buffer */
        buf_deinit(&c->out);
        buf_init(&c->out, 0);
    }
}

/* ---- receiving ---- */

static void drop_input(struct grpc_conn *c)
{
    size_t n;
    for (int i = 0; i < READS_PER_TURN; i++) {
        enum io r = io_recv(c, c->loop->in, sizeof(c->loop->in), &n);
        if (r == IO_AGAIN)
            return;
        if (r == IO_END) {
            grpc_conn_close(c, NULL);
            return;
        }
    }
}

/* false: closed. */
static bool receive(struct grpc_conn *c)
{
    bool pending = true;
    for (int i = 0; pending && !c->ending; i++) {
        size_t n;
        enum io r = io_recv(c, c->loop->in, sizeof(c->loop->in), &n);
        if (r == IO_AGAIN)
            return true;
        if (r == IO_END) {
            grpc_conn_close(c, c->n_calls ? "gone" : NULL);
            return false;
        }
        c->rx_ns = os_mono_ns();
        c->ping_sent = false;
        ssize_t used = nghttp2_session_mem_recv(c->session, c->loop->in, n);
        if (used < 0) { /* no HTTP/2 at all, or a flood */
            c->cut = "protocol";
            c->ending = true;
        }
        pending = i + 1 < READS_PER_TURN || (c->tls && gnutls_record_check_pending(c->tls) > 0);
    }
    return true;
}

static void handshake(struct grpc_conn *c)
{
    gnutls_datum_t alpn;
    int r;
    do
        r = gnutls_handshake(c->tls);
    while (r == GNUTLS_E_INTERRUPTED || (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(r)));
    if (r == GNUTLS_E_AGAIN) {
        want(c, gnutls_record_get_direction(c->tls) ? EPOLLOUT : EPOLLIN);
        return;
    }
    if (r != 0 || gnutls_alpn_get_selected_protocol(c->tls, &alpn) != 0) {
        LOG_DEBUG("gRPC TLS handshake failed", "client", c->remote, "err", r ? gnutls_strerror(r) : "no ALPN h2");
        grpc_conn_close(c, "tls");
        return;
    }
    c->state = GRPC_CONN_PREFACE;
    if (receive(c)) /* what came with the handshake's last record */
        grpc_conn_flush(c);
}

void grpc_conn_event(struct grpc_conn *c, uint32_t events)
{
    if (c->lingering) {
        drop_input(c);
    } else if (c->state == GRPC_CONN_TLS) {
        handshake(c);
        if (events & (EPOLLHUP | EPOLLERR))
            return; /* the handshake has seen it */
    } else if (events & (EPOLLHUP | EPOLLERR) && c->blocked) {
        grpc_conn_close(c, c->n_calls ? "gone" : NULL);
    } else {
        if (!c->blocked && !receive(c))
            return;
        grpc_conn_flush(c);
    }
}

/* ---- time ---- */

static uint64_t earlier(uint64_t next, uint64_t at)
{
    return MIN(next, at);
}

static const char *overdue(struct grpc_conn *c, uint64_t now_ns)
{
    const struct grpc_server_config *cfg = &c->server->cfg;
    if (c->state != GRPC_CONN_OPEN && now_ns >= c->start_ns + cfg->handshake_ms_max * MS)
        return "handshake";
    if (c->blocked && now_ns >= c->tx_ns + cfg->send_ms_max * MS)
        return "send";
    if (c->ping_sent && now_ns >= c->ping_ns + cfg->keepalive_timeout_ms * MS)
        return "keepalive";
    if (c->shutting && now_ns >= c->shut_ns + cfg->drain_ms * MS)
        return "drain";
    return NULL;
}

uint64_t grpc_conn_tick(struct grpc_conn *c, uint64_t now_ns)
{
    const struct grpc_server_config *cfg = &c->server->cfg;
    uint64_t next = UINT64_MAX;
    if (c->lingering) {
        if (now_ns < c->shut_ns)
            return c->shut_ns;
        grpc_conn_close(c, NULL);
        return next;
    }
    if (c->blocked)
        c->ping_ns = now_ns; /* its answer waits as well: nothing is read */
    const char *reason = overdue(c, now_ns);
    if (reason) {
        grpc_conn_close(c, reason);
        return next;
    }
    for (struct grpc_call *call = c->calls; call; call = call->next)
        next = earlier(next, grpc_call_tick(call, now_ns));
    if (c->ending)
        grpc_conn_dirty(c);
    if (c->state != GRPC_CONN_OPEN)
        return earlier(next, c->start_ns + cfg->handshake_ms_max * MS);
    if (c->n_calls == 0 && !c->shutting && now_ns >= c->idle_ns + cfg->idle_ms * MS) {
        grpc_count_cut("idle");
        grpc_session_shutdown(c);
    }
    if (c->shutting && !c->shut_final && now_ns >= c->shut_ns)
        grpc_session_shutdown_final(c);
    if (!c->ping_sent && !c->blocked && now_ns >= c->rx_ns + cfg->keepalive_ms * MS) {
        nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, NULL);
        c->ping_sent = true;
        c->ping_ns = now_ns;
        grpc_conn_dirty(c);
    }
    if (c->blocked)
        next = earlier(next, c->tx_ns + cfg->send_ms_max * MS);
    else if (!c->ping_sent)
        next = earlier(next, c->rx_ns + cfg->keepalive_ms * MS);
    if (c->ping_sent)
        next = earlier(next, c->ping_ns + cfg->keepalive_timeout_ms * MS);
    if (c->shutting)
        next = earlier(next, c->shut_final ? c->shut_ns + cfg->drain_ms * MS : c->shut_ns);
    else if (c->n_calls == 0)
        next = earlier(next, c->idle_ns + cfg->idle_ms * MS);
    return next;
}
