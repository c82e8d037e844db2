/* The watcher: one thread per server that enforces what libmicrohttpd does not (its own time-out is about
 * inactivity only) and notices clients that go away while their request is being handled.
 *
 *   idle       no request for cfg.idle_ms: closed
 *   headers    the first byte is cfg.header_ms_max old and the headers are not complete: 408. Bytes that MHD has not
 *              turned into a request line yet are seen in the socket's TCP_INFO.
 *   body       longer than limits.body_ms_max, or slower than limits.body_rate_min after 5 s: 408
 *   handling   the client closed its side: the request's `cancelled` becomes true
 *   sending    past the deadline that the size of the answer gives: closed
 *
 * A connection is cut by shutdown(2) on its socket; MHD then closes it. conns_mu keeps the socket alive
 * meanwhile: MHD closes it only after its CLOSED notification, which takes conns_mu too. */
#include <errno.h>
#include <linux/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/stats.h"
#include "http/http_int.h"

enum { EVENTS_MAX = 64, BODY_GRACE_MS = 5000, TICK_MS_MAX = 1000, TICK_MS_MIN = 20 };
#define WAKE_ID UINT64_MAX

static struct stat cut_idle =
    STAT_COUNTER("vane_http_connections_cut_total", "Connections closed by a time limit", "reason=\"idle\"");
static struct stat cut_headers =
    STAT_COUNTER("vane_http_connections_cut_total", "Connections closed by a time limit", "reason=\"headers\"");
static struct stat cut_body =
    STAT_COUNTER("vane_http_connections_cut_total", "Connections closed by a time limit", "reason=\"body\"");
static struct stat cut_send =
    STAT_COUNTER("vane_http_connections_cut_total", "Connections closed by a time limit", "reason=\"send\"");
static struct stat gone =
    STAT_COUNTER("vane_http_requests_cancelled_total", "Requests whose client went away while they were handled", "");

static uint64_t conn_id(const struct http_conn *c)
{
    return (uint64_t)c->generation << 32 | c->slot;
}

void http_watch_conn_add(struct http_server *s, struct http_conn *c)
{
    mtx_lock(&s->conns_mu);
    if (s->free_slots.n == 0) {
        size_t cap = s->conns_cap ? s->conns_cap * 2 : 64;
        s->conns = mem_realloc(s->conns, cap * sizeof(*s->conns));
        for (size_t i = cap; i-- > s->conns_cap;) {
            s->conns[i] = NULL;
            vec_push(&s->free_slots, (uint32_t)i);
        }
        s->conns_cap = cap;
    }
    c->slot = vec_last(&s->free_slots);
    s->free_slots.n--;
    c->generation = s->generation++;
    s->conns[c->slot] = c;
    mtx_unlock(&s->conns_mu);
    atomic_fetch_add(&s->n_conns, 1);
}

void http_watch_conn_remove(struct http_server *s, struct http_conn *c)
{
    mtx_lock(&s->conns_mu);
    s->conns[c->slot] = NULL;
    vec_push(&s->free_slots, c->slot);
    mtx_unlock(&s->conns_mu);
    atomic_fetch_sub(&s->n_conns, 1);
}

void http_watch_request(struct http_exchange *x)
{
    struct epoll_event ev = { .events = EPOLLRDHUP | EPOLLET, .data.u64 = conn_id(x->conn) };
    x->watched = epoll_ctl(x->server->watch_fd, EPOLL_CTL_ADD, x->conn->fd, &ev) == 0;
}

void http_watch_forget(struct http_exchange *x)
{
    if (x->watched)
        epoll_ctl(x->server->watch_fd, EPOLL_CTL_DEL, x->conn->fd, NULL);
    x->watched = false;
}

static void client_gone(struct http_server *s, uint64_t id)
{
    uint32_t slot = (uint32_t)id;
    mtx_lock(&s->conns_mu);
    struct http_conn *c = slot < s->conns_cap ? s->conns[slot] : NULL;
    if (c && conn_id(c) == id && c->x && !atomic_exchange(&c->x->cancelled, true))
        stat_add(&gone, 1);
    mtx_unlock(&s->conns_mu);
}

void http_watch_cancel_all(struct http_server *s)
{
    mtx_lock(&s->conns_mu);
    for (size_t i = 0; i < s->conns_cap; i++)
        if (s->conns[i] && s->conns[i]->x)
            atomic_store(&s->conns[i]->x->cancelled, true);
    mtx_unlock(&s->conns_mu);
}

/* ---- time limits ---- */

static uint64_t socket_bytes_received(int fd)
{
    struct tcp_info info;
    socklen_t n = sizeof(info);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) != 0)
        return 0;
    return n >= offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received)
               ? info.tcpi_bytes_received
               : 0;
}

static void cut(struct http_conn *c, int status, struct stat *reason)
{
    stat_add(reason, 1);
    http_cut(c, status);
}

static void check_idle(const struct http_server *s, struct http_conn *c, uint64_t since, uint64_t now)
{
    uint64_t rx = socket_bytes_received(c->fd);
    if (c->rx_since_ns < since) { /* first look in this idle phase */
        c->rx_since_ns = since;
        c->rx_bytes = c->n_requests ? rx : 0;
    }
    if (rx > c->rx_bytes) { /* a request line has begun; TLS handshakes count as one on a new connection */
        if (now - c->rx_since_ns > (uint64_t)s->cfg.header_ms_max * 1000000u)
            cut(c, 408, &cut_headers);
        return;
    }
    uint64_t limit_ms = c->n_requests ? s->cfg.idle_ms : MAX(s->cfg.header_ms_max, 1u);
    if (now - since > limit_ms * 1000000u)
        cut(c, 0, &cut_idle);
    else
        c->rx_since_ns = now;
}

static void check_body(struct http_conn *c, uint64_t since, uint64_t now)
{
    uint64_t deadline = atomic_load_explicit(&c->deadline_ns, memory_order_relaxed);
    uint64_t ms = (now - since) / 1000000u;
    uint64_t rate_min = atomic_load_explicit(&c->rate_min, memory_order_relaxed);
    uint64_t expected = ms > BODY_GRACE_MS ? (ms - BODY_GRACE_MS) * rate_min / 1000 : 0;
    if (now > deadline || atomic_load_explicit(&c->body_bytes, memory_order_relaxed) < expected)
        cut(c, 408, &cut_body);
}

static void check(const struct http_server *s, struct http_conn *c, uint64_t now)
{
    enum http_conn_state state = atomic_load_explicit(&c->state, memory_order_acquire);
    uint64_t since = atomic_load_explicit(&c->since_ns, memory_order_relaxed);
    uint64_t deadline = atomic_load_explicit(&c->deadline_ns, memory_order_relaxed);
    if (now < since)
        return;
    switch (state) {
    case CONN_IDLE:
        check_idle(s, c, since, now);
        break;
    case CONN_HEADERS:
        if (now - since > (uint64_t)s->cfg.header_ms_max * 1000000u)
            cut(c, 408, &cut_headers);
        break;
    case CONN_BODY:
        check_body(c, since, now);
        break;
    case CONN_SENDING:
        if (deadline && now > deadline)
            cut(c, 0, &cut_send);
        break;
    case CONN_HANDLING:
        break;
    }
}

static void check_all(struct http_server *s)
{
    uint64_t now = os_mono_ns();
    mtx_lock(&s->conns_mu);
    for (size_t i = 0; i < s->conns_cap; i++)
        if (s->conns[i])
            check(s, s->conns[i], now);
    mtx_unlock(&s->conns_mu);
}

static void watcher_run(void *p)
{
    struct http_server *s = p;
    unsigned tick_ms = s->cfg.header_ms_max / 4;
    tick_ms = tick_ms > TICK_MS_MAX ? TICK_MS_MAX : tick_ms < TICK_MS_MIN ? TICK_MS_MIN : tick_ms;
    uint64_t next_check = 0;
    while (!atomic_load(&s->stop)) {
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(s->watch_fd, events, EVENTS_MAX, (int)tick_ms);
        for (int i = 0; i < n; i++)
            if (events[i].data.u64 != WAKE_ID)
                client_gone(s, events[i].data.u64);
        uint64_t now = os_mono_ns();
        if (now >= next_check) {
            check_all(s);
            next_check = now + tick_ms * 1000000ull;
        }
    }
}

enum err http_watch_open(struct http_server *s)
{
    s->watch_fd = epoll_create1(EPOLL_CLOEXEC);
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->watch_fd < 0 || s->wake_fd < 0)
        return err_from_errno(errno);
    struct epoll_event ev = { .events = EPOLLIN, .data.u64 = WAKE_ID };
    if (epoll_ctl(s->watch_fd, EPOLL_CTL_ADD, s->wake_fd, &ev) != 0)
        return err_from_errno(errno);
    TRY(thread_start(&s->watcher, "http-watch", watcher_run, s));
    s->watcher_started = true;
    return OK;
}

void http_watch_close(struct http_server *s)
{
    atomic_store(&s->stop, true);
    if (s->watcher_started) {
        uint64_t one = 1;
        ssize_t n = write(s->wake_fd, &one, sizeof(one));
        (void)n; /* an eventfd of 0 always takes 1 */
        thread_join(s->watcher);
    }
    if (s->watch_fd >= 0)
        close(s->watch_fd);
    if (s->wake_fd >= 0)
        close(s->wake_fd);
}
