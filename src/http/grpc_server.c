/* Listeners, event loops, start and orderly end, and what is counted.
 *
 * Each loop is one thread with an epoll set of its own, in which every listening socket is, too (EPOLLEXCLUSIVE: one of them
 * wakes up). A connection stays with the loop that accepted it.
 *
 * End: draining   the loops let go of the listeners, which are then closed; GOAWAY to everybody; calls go on
 *      stopping   drain_ms later, or when no connection is left: calls are refused, their handlers cancelled
 *      quit       all handlers are back: the threads end */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/stats.h"
#include "http/grpc_int.h"

enum { EVENTS_MAX = 64, ACCEPTS_PER_TURN = 16, SWEEP_MS_MIN = 20, ACCEPT_PAUSE_MS = 100, POLL_MS = 5 };
#define MS 1000000ull
/* h2 forbids everything else of TLS 1.2 (RFC 9113, appendix A). */
#define TLS_PRIORITY                                                                                        \
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-CIPHER-ALL:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-" \
    "GCM"

/* ---- counters ---- */

#define CUTS(X)                                                                                                \
    X(idle)                                                                                                    \
    X(handshake)                                                                                               \
    X(tls)                                                                                                     \
    X(headers)                                                                                                 \
    X(body) X(send) X(keepalive) X(too_many_pings) X(resets) X(control) X(protocol) X(gone) X(broken) X(drain) \
        X(error)
void grpc_count_cut(const char *reason)
{
#define X(name)                                                                                            \
    { #name, STAT_COUNTER("vane_grpc_cut_total", "gRPC connections and calls ended by a limit or a fault", \
                          "reason=\"" #name "\"") },
    static struct {
        const char *name;
        struct stat stat;
    } rows[] = { CUTS(X) };
#undef X
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].name, reason) == 0)
            stat_add(&rows[i].stat, 1);
}

static struct stat accepted = STAT_COUNTER("vane_grpc_connections_total", "gRPC connections accepted", "");

static void gauge(struct buf *out, const char *name, const char *help, uint64_t v)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n%s %llu\n", name, help, name, name, (unsigned long long)v);
}

static const char *route_name(const struct grpc_route *r)
{
    return r->method ? r->method->path + 1 : "unknown";
}

static uint64_t get(const atomic_uint_least64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static void render_codes(const struct grpc_route *r, struct buf *out)
{
    for (int i = 0; i < GRPC_CODES_N; i++)
        if (get(&r->by_code[i]) || (i == 0 && r->method))
            buf_printf(out, "vane_grpc_calls_total{method=\"%s\",code=\"%s\"} %llu\n", route_name(r),
                       grpc_code_name((enum grpc_code)i), (unsigned long long)get(&r->by_code[i]));
}

static void render_durations(const struct grpc_route *r, struct buf *out)
{
    static const char *const bounds[HTTP_BUCKETS + 1] = {
        "0.1", "0.2", "0.4", "1", "3", "8", "20", "60", "120", "+Inf"
    };
    unsigned long long n = 0;
    for (int i = 0; i <= HTTP_BUCKETS; i++) {
        n += get(&r->bucket[i]);
        buf_printf(out, "vane_grpc_call_duration_seconds_bucket{method=\"%s\",le=\"%s\"} %llu\n", route_name(r),
                   bounds[i], n);
    }
    buf_printf(out, "vane_grpc_call_duration_seconds_sum{method=\"%s\"} %.9g\n", route_name(r),
               (double)get(&r->duration_ns) * 1e-9);
    buf_printf(out, "vane_grpc_call_duration_seconds_count{method=\"%s\"} %llu\n", route_name(r), n);
}

static void render(void *ctx, struct buf *out)
{
    struct grpc_server *s = ctx;
    gauge(out, "vane_grpc_connections", "Open gRPC connections.", (uint64_t)atomic_load(&s->n_conns));
    gauge(out, "vane_grpc_calls_in_flight", "gRPC calls being read, handled or answered.",
          (uint64_t)atomic_load(&s->n_calls));
    gauge(out, "vane_grpc_message_bytes", "Memory held by gRPC messages.", atomic_load(&s->message_bytes_inflight));
    buf_lit(out, "# HELP vane_grpc_calls_total gRPC calls by method and status.\n# TYPE "
                 "vane_grpc_calls_total counter\n");
    for (size_t i = 0; i <= s->n_routes; i++)
        render_codes(i < s->n_routes ? &s->routes[i] : &s->unknown, out);
    buf_lit(out, "# HELP vane_grpc_call_duration_seconds From a call's first byte to its status.\n# TYPE "
                 "vane_grpc_call_duration_seconds histogram\n");
    for (size_t i = 0; i <= s->n_routes; i++)
        render_durations(i < s->n_routes ? &s->routes[i] : &s->unknown, out);
}

/* ---- routes ---- */

static int route_cmp(const void *a, const void *b)
{
    return strcmp(((const struct grpc_route *)a)->method->path, ((const struct grpc_route *)b)->method->path);
}

static void routes_init(struct grpc_server *s)
{
    for (size_t t = 0; t < s->cfg.n_tables; t++)
        s->n_routes += s->cfg.tables[t].n_methods;
    s->routes = mem_zalloc((s->n_routes + 1) * sizeof(*s->routes));
    size_t n = 0;
    for (size_t t = 0; t < s->cfg.n_tables; t++)
        for (size_t i = 0; i < s->cfg.tables[t].n_methods; i++, n++) {
            s->routes[n].method = &s->cfg.tables[t].methods[i];
            s->routes[n].ctx = s->cfg.tables[t].ctx;
        }
    qsort(s->routes, s->n_routes, sizeof(*s->routes), route_cmp);
}

struct grpc_route *grpc_route_find(struct grpc_server *s, str path)
{
    size_t lo = 0, hi = s->n_routes;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = str_cmp(path, str_c(s->routes[mid].method->path));
        if (c == 0)
            return &s->routes[mid];
        *(c < 0 ? &hi : &lo) = c < 0 ? mid : mid + 1;
    }
    return NULL;
}

/* ---- a loop ---- */

void grpc_loop_wake(struct grpc_loop *loop)
{
    uint64_t one = 1;
    ssize_t n = write(loop->wake_fd, &one, sizeof(one));
    (void)n; /* EAGAIN: it is awake */
}

void grpc_loop_by(struct grpc_loop *loop, uint64_t at_ns)
{
    if (at_ns < loop->wake_ns)
        loop->wake_ns = at_ns;
}

/* Listening sockets in or out of the loop's epoll set. */
static void listen_to(struct grpc_loop *loop, bool on)
{
    struct grpc_server *s = loop->server;
    if (loop->accepting == on)
        return;
    loop->accepting = on;
    for (size_t i = 0; i < s->n_listens; i++) {
        struct epoll_event ev = { .events = EPOLLIN | EPOLLEXCLUSIVE, .data.ptr = &s->listens[i] };
        epoll_ctl(loop->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, s->listens[i].fd, &ev);
    }
}

static void accept_pause(struct grpc_loop *loop)
{
    listen_to(loop, false);
    grpc_loop_by(loop, os_mono_ns() + ACCEPT_PAUSE_MS * MS);
}

static void accept_some(struct grpc_loop *loop, const struct grpc_listen *l)
{
    struct grpc_server *s = loop->server;
    for (int i = 0; i < ACCEPTS_PER_TURN && loop->accepting; i++) {
        struct sockaddr_storage sa;
        socklen_t n = sizeof(sa);
        memset(&sa, 0, sizeof(sa));
        if (atomic_fetch_add(&s->n_conns, 1) >= (int)s->cfg.connections_max) {
            atomic_fetch_sub(&s->n_conns, 1);
            accept_pause(loop);
            return;
        }
        int fd = accept4(l->fd, (struct sockaddr *)&sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            atomic_fetch_sub(&s->n_conns, 1);
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                LOG_WARN("gRPC connection not accepted, waiting", "err", strerror(errno));
                accept_pause(loop);
            }
            return;
        }
        stat_add(&accepted, 1);
        grpc_conn_open(loop, l, fd, &sa);
    }
}

static void take_done(struct grpc_loop *loop)
{
    uint64_t n;
    ssize_t k = read(loop->wake_fd, &n, sizeof(n));
    (void)k;
    mtx_lock(&loop->mu);
    struct grpc_call *call = loop->done;
    loop->done = NULL;
    mtx_unlock(&loop->mu);
    for (struct grpc_call *next; call; call = next) {
        next = call->done_next;
        grpc_call_back(call);
    }
}

static void drain_begin(struct grpc_loop *loop)
{
    listen_to(loop, false);
    loop->drain_begun = true;
    atomic_fetch_add(&loop->server->loops_drained, 1);
    for (struct grpc_conn *c = loop->conns, *next; c; c = next) {
        next = c->next;
        if (c->state == GRPC_CONN_OPEN)
            grpc_session_shutdown(c);
        else
            grpc_conn_close(c, NULL);
    }
}

static void stop_begin(struct grpc_loop *loop)
{
    loop->stop_begun = true;
    for (struct grpc_conn *c = loop->conns; c; c = c->next) {
        for (struct grpc_call *call = c->calls; call; call = call->next)
            if (call->state == CALL_BODY || call->state == CALL_RUNNING)
                grpc_call_refuse(call, GRPC_UNAVAILABLE, 1000, "the server is shutting down");
        c->ending = true;
        grpc_conn_dirty(c);
    }
}

static void flush_dirty(struct grpc_loop *loop)
{
    while (loop->dirty) {
        struct grpc_conn *c = loop->dirty;
        loop->dirty = c->dirty_next;
        c->dirty = false;
        grpc_conn_flush(c);
    }
}

/* All time limits of all connections; not more often than every SWEEP_MS_MIN. */
static void sweep(struct grpc_loop *loop)
{
    uint64_t now = os_mono_ns(), next = UINT64_MAX;
    if (now < loop->wake_ns || now < loop->swept_ns + SWEEP_MS_MIN * MS)
        return;
    loop->swept_ns = now;
    loop->wake_ns = UINT64_MAX; /* what comes up meanwhile is kept by grpc_loop_by */
    for (struct grpc_conn *c = loop->conns, *after; c; c = after) {
        after = c->next;
        uint64_t at = grpc_conn_tick(c, now);
        next = MIN(next, at);
    }
    grpc_loop_by(loop, next);
    struct grpc_server *s = loop->server;
    if (!loop->accepting && !loop->drain_begun) {
        if (atomic_load(&s->n_conns) < (int)s->cfg.connections_max)
            listen_to(loop, true);
        else
            grpc_loop_by(loop, now + ACCEPT_PAUSE_MS * MS);
    }
}

static int sleep_ms(const struct grpc_loop *loop)
{
    uint64_t now = os_mono_ns(), at = MAX(loop->wake_ns, loop->swept_ns + SWEEP_MS_MIN * MS);
    if (loop->wake_ns == UINT64_MAX)
        return -1;
    return at <= now ? 0 : (int)MIN((at - now) / MS + 1, 60000ull);
}

static void loop_run(void *ctx)
{
    struct grpc_loop *loop = ctx;
    struct grpc_server *s = loop->server;
    struct epoll_event ev[EVENTS_MAX];
    listen_to(loop, true);
    while (!atomic_load(&s->quit)) {
        int n = epoll_wait(loop->epoll_fd, ev, EVENTS_MAX, sleep_ms(loop));
        bool woken = false;
        for (int i = 0; i < n; i++) { /* an event frees no other connection than its own */
            void *p = ev[i].data.ptr;
            if (p == loop)
                woken = true;
            else if (p >= (void *)s->listens && p < (void *)(s->listens + s->n_listens))
                accept_some(loop, p);
            else
                grpc_conn_event(p, ev[i].events);
        }
        if (woken)
            take_done(loop);
        if (!loop->drain_begun && atomic_load(&s->draining))
            drain_begin(loop);
        if (!loop->stop_begun && atomic_load(&s->stopping))
            stop_begin(loop);
        flush_dirty(loop);
        sweep(loop);
        flush_dirty(loop);
    }
    while (loop->conns)
        grpc_conn_close(loop->conns, NULL);
}

static enum err loop_open(struct grpc_server *s, struct grpc_loop *loop)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.ptr = loop };
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->epoll_fd < 0 || loop->wake_fd < 0 || epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &ev) != 0)
        return err_from_errno(errno);
    char name[16];
    snprintf(name, sizeof(name), "grpc/%u", (unsigned)(loop - s->loops));
    TRY(thread_start(&loop->thread, name, loop_run, loop));
    loop->started = true;
    return OK;
}

/* ---- the server ---- */

static void set_default(unsigned *v, unsigned fallback)
{
    if (*v == 0)
        *v = fallback;
}

static void config_defaults(struct grpc_server_config *cfg)
{
    set_default(&cfg->event_threads, 2);
    set_default(&cfg->connections_max, 4000);
    set_default(&cfg->streams_max, 256);
    set_default(&cfg->calls_max, 8192);
    set_default(&cfg->header_list_bytes_max, 16 << 10);
    set_default(&cfg->stream_window_bytes, 1 << 20);
    set_default(&cfg->conn_window_bytes, 4 << 20);
    set_default(&cfg->handshake_ms_max, 10000);
    set_default(&cfg->header_ms_max, 10000);
    set_default(&cfg->idle_ms, 300000);
    set_default(&cfg->keepalive_ms, 60000);
    set_default(&cfg->keepalive_timeout_ms, 20000);
    set_default(&cfg->send_ms_max, 30000);
    set_default(&cfg->pings_burst, 60);
    set_default(&cfg->resets_burst, 1000);
    set_default(&cfg->drain_ms, 10000);
    if (cfg->message_bytes_inflight_max == 0)
        cfg->message_bytes_inflight_max = (size_t)256 << 20;
}

static enum err listens_open(struct grpc_server *s, struct err_text *reterr)
{
    const struct grpc_server_config *cfg = &s->cfg;
    if (cfg->n_listeners > HTTP_LISTENERS_MAX)
        return err_fail(reterr, ERR_LIMIT, "at most %d listeners", HTTP_LISTENERS_MAX);
    for (size_t i = 0; i < cfg->n_listeners; i++) {
        struct grpc_listen *l = &s->listens[i];
        l->tls = cfg->listeners[i].tls;
        TRY(http_socket_open(&cfg->listeners[i], &l->fd, &l->port, reterr));
        s->n_listens++;
    }
    return OK;
}

static enum err server_start(struct grpc_server *s, struct err_text *reterr)
{
    routes_init(s);
    s->ingest = s->cfg.ingest;
    if (!s->ingest) {
        TRY(pool_open("grpc-ingest", 16, 1024, &s->own_pool));
        s->ingest = s->own_pool;
    }
    if (gnutls_priority_init(&s->priority, TLS_PRIORITY, NULL) != 0)
        return err_fail(reterr, ERR_INVALID, "TLS priorities");
    TRY(grpc_session_setup(s));
    TRY(listens_open(s, reterr));
    s->loops = mem_zalloc(s->cfg.event_threads * sizeof(*s->loops));
    for (; s->n_loops < s->cfg.event_threads; s->n_loops++) {
        struct grpc_loop *loop = &s->loops[s->n_loops];
        loop->server = s;
        loop->wake_ns = UINT64_MAX;
        loop->epoll_fd = loop->wake_fd = -1;
        mtx_init(&loop->mu, 0);
    }
    for (size_t i = 0; i < s->n_loops; i++)
        TRY(loop_open(s, &s->loops[i]));
    return OK;
}

enum err grpc_server_open(const struct grpc_server_config *cfg, struct grpc_server **ret, struct err_text *reterr)
{
    struct grpc_server *s = mem_zalloc(sizeof(*s));
    s->cfg = *cfg;
    for (size_t i = 0; i < HTTP_LISTENERS_MAX; i++)
        s->listens[i].fd = -1;
    config_defaults(&s->cfg);
    stats_on_render(render, s);
    if (reterr)
        reterr->msg[0] = 0;
    enum err e = server_start(s, reterr);
    if (e != OK) {
        if (reterr && reterr->msg[0] == 0)
            IGNORE_ERR(err_fail(reterr, e, "cannot start the gRPC server: %s", err_describe(e)));
        grpc_server_close(s);
        return e;
    }
    *ret = s;
    return OK;
}

uint16_t grpc_server_port(const struct grpc_server *s, size_t listener)
{
    return s->listens[listener].port;
}

static void wake_all(struct grpc_server *s)
{
    for (size_t i = 0; i < s->n_loops; i++)
        if (s->loops[i].started)
            grpc_loop_wake(&s->loops[i]);
}

static void drain(struct grpc_server *s)
{
    unsigned started = 0;
    for (size_t i = 0; i < s->n_loops; i++)
        started += s->loops[i].started;
    atomic_store(&s->draining, true);
    wake_all(s);
    while (atomic_load(&s->loops_drained) < started)
        os_sleep_ms(1);
    for (size_t i = 0; i < s->n_listens; i++)
        close(s->listens[i].fd);
    uint64_t end = os_mono_ns() + s->cfg.drain_ms * MS;
    while (atomic_load(&s->n_conns) > 0 && os_mono_ns() < end)
        os_sleep_ms(POLL_MS);
    atomic_store(&s->stopping, true);
    wake_all(s);
    while (atomic_load(&s->working) > 0)
        os_sleep_ms(POLL_MS);
    atomic_store(&s->quit, true);
    wake_all(s);
}

void grpc_server_close(struct grpc_server *s)
{
    if (!s)
        return;
    drain(s);
    for (size_t i = 0; i < s->n_loops; i++) {
        struct grpc_loop *loop = &s->loops[i];
        if (loop->started)
            thread_join(loop->thread);
        if (loop->epoll_fd >= 0)
            close(loop->epoll_fd);
        if (loop->wake_fd >= 0)
            close(loop->wake_fd);
        mtx_deinit(&loop->mu);
    }
    stats_off_render(render, s);
    pool_close(s->own_pool);
    if (s->priority)
        gnutls_priority_deinit(s->priority);
    nghttp2_session_callbacks_del(s->callbacks);
    nghttp2_option_del(s->option);
    mem_free(s->routes);
    mem_free(s->loops);
    mem_free(s);
}
