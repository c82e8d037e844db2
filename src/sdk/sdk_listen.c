/* The library's own paths for any server (vane_handle_request), and a tiny HTTP/1.1 listener that serves them: one thread,
 * one poll loop, at most 32 connections, requests of at most 8 KiB, ten seconds for a request and an answer, a minute of
 * silence on a kept connection. It answers GET and HEAD and nothing else.
 *
 * The listener belongs to the process that called vane_start(): a child of fork closes its copy of the socket. */
#include "sdk_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

_Atomic(sdk_health_fn) sdk_health_hook;

enum { CONNS_MAX = 32, REQUEST_MAX = 8192 };
static const uint64_t REQUEST_NS = 10000000000u, IDLE_NS = 60000000000u, DRAIN_NS = 1000000000u;

/* ---- the paths ---- */

static int handle_metrics(const char *accept, char **ret_body, size_t *ret_n, const char **ret_type)
{
    vane_format f = vane_format_negotiate(accept);
    if (vane_render(f, ret_body, ret_n))
        return 503;
    *ret_type = vane_format_content_type(f);
    return 200;
}

int vane_handle_request(const char *method, const char *path, const char *accept, char **ret_body, size_t *ret_n,
                        const char **ret_type)
{
    static const struct {
        const char *path;
        vane_health_view view;
    } health[] = {
        { "/health", VANE_HEALTH_SUMMARY },
        { "/health/live", VANE_HEALTH_LIVE },
        { "/health/ready", VANE_HEALTH_READY },
        { "/health/detailed", VANE_HEALTH_DETAILED },
    };
    if (!method || !path || !ret_body || !ret_n || !ret_type)
        return 404;
    *ret_body = NULL;
    *ret_n = 0;
    *ret_type = "text/plain; charset=utf-8";
    bool on = sdk_enter();
    bool metrics = !strcmp(path, on ? sdk_cfg.metrics_path : "/metrics");
    size_t i = 0;
    while (i < SDK_COUNT_OF(health) && strcmp(path, health[i].path))
        i++;
    sdk_health_fn hook = atomic_load(&sdk_health_hook);
    int status = 404;
    if (!metrics && i == SDK_COUNT_OF(health))
        status = 404;
    else if (strcmp(method, "GET") && strcmp(method, "HEAD"))
        status = 405;
    else if (!on)
        status = 503;
    else if (metrics && sdk_cfg.metrics == VANE_ON)
        status = handle_metrics(accept, ret_body, ret_n, ret_type);
    else if (!metrics && hook) {
        *ret_type = "application/json";
        status = hook(health[i].view, ret_body, ret_n);
    }
    if (on)
        sdk_leave();
    return status;
}

/* ---- connections ---- */

struct conn {
    int fd; /* -1: free */
    uint64_t deadline_ns;
    size_t in_n;
    char in[REQUEST_MAX + 1];
    char *body; /* from vane_handle_request() */
    size_t body_n, head_n, sent;
    char head[512];
    bool writing, close_after, head_only, draining;
};

static struct conn *conns;
static int listen_fd = -1, wake_fd = -1;
static _Atomic uint16_t bound_port;
static _Atomic bool stopping;
static pthread_t thread;
static bool thread_runs;

uint16_t vane_listen_port(void)
{
    return atomic_load(&bound_port);
}

/* The descriptor is forgotten before it is closed: a child of fork closes what is noted here, and must not hit a number
 * that is already somebody else's. */
static void conn_close(struct conn *c)
{
    int fd = c->fd;
    c->fd = -1;
    if (fd >= 0)
        close(fd);
    vane_render_free(c->body);
    c->body = NULL;
}

static const char *reason_of(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 431:
        return "Request Header Fields Too Large";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Service Unavailable";
    }
}

static void answer(struct conn *c, int status, const char *type)
{
    if (!c->body && (status != 200)) { /* a word for people */
        char text[64];
        int n = snprintf(text, sizeof text, "%d %s\n", status, reason_of(status));
        c->body = strdup(text);
        c->body_n = c->body ? (size_t)n : 0;
        type = "text/plain; charset=utf-8";
    }
    int n = snprintf(c->head, sizeof c->head,
                     "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%sConnection: %s\r\n\r\n", status,
                     reason_of(status), type, c->body_n, status == 405 ? "Allow: GET, HEAD\r\n" : "",
                     c->close_after ? "close" : "keep-alive");
    c->head_n = n > 0 && (size_t)n < sizeof c->head ? (size_t)n : 0;
    c->sent = 0;
    c->writing = true;
    c->deadline_ns = sdk_mono_ns() + REQUEST_NS;
}

static void refuse(struct conn *c, int status)
{
    c->close_after = true;
    c->head_only = false;
    answer(c, status, "text/plain; charset=utf-8");
}

/* A header's value, trimmed, into buf; false without that header. Lines end with CRLF before `end`; too long values are
 * cut, which no header asked for here needs. */
static bool header_of(const char *at, const char *end, const char *name, char *buf, size_t cap)
{
    size_t n = strlen(name);
    while (at < end) {
        const char *eol = memchr(at, '\r', (size_t)(end - at));
        eol = eol ? eol : end;
        if ((size_t)(eol - at) > n && at[n] == ':' && !strncasecmp(at, name, n)) {
            const char *v = at + n + 1;
            while (v < eol && (*v == ' ' || *v == '\t'))
                v++;
            while (eol > v && (eol[-1] == ' ' || eol[-1] == '\t'))
                eol--;
            size_t len = (size_t)(eol - v) < cap ? (size_t)(eol - v) : cap - 1;
            memcpy(buf, v, len);
            buf[len] = 0;
            return true;
        }
        at = eol + 2;
    }
    return false;
}

/* The request in c->in[0..n), its blank line included. */
static void handle(struct conn *c, size_t n)
{
    char *line_end = memchr(c->in, '\r', n), *end = c->in + n - 2;
    if (memchr(c->in, 0, n) || !line_end) {
        refuse(c, 400);
        return;
    }
    *line_end = 0;
    char *headers = line_end + 2, *method = c->in, *path = strchr(method, ' '),
         *version = path ? strchr(path + 1, ' ') : NULL;
    if (!version || path == method) {
        refuse(c, 400);
        return;
    }
    *path++ = 0;
    *version++ = 0;
    if (strcmp(version, "HTTP/1.1") && strcmp(version, "HTTP/1.0")) {
        refuse(c, strncmp(version, "HTTP/", 5) ? 400 : 505);
        return;
    }
    c->close_after = !strcmp(version, "HTTP/1.0");
    char value[64], accept[1024];
    if (header_of(headers, end, "Connection", value, sizeof value) && !strcasecmp(value, "close"))
        c->close_after = true;
    if (header_of(headers, end, "Transfer-Encoding", value, sizeof value) ||
        (header_of(headers, end, "Content-Length", value, sizeof value) && strcmp(value, "0")))
        c->close_after = true; /* a body is not read: the connection cannot go on */
    bool has_accept = header_of(headers, end, "Accept", accept, sizeof accept);
    path[strcspn(path, "?#")] = 0;
    const char *type = "text/plain; charset=utf-8";
    c->head_only = !strcmp(method, "HEAD");
    int status = vane_handle_request(method, path, has_accept ? accept : NULL, &c->body, &c->body_n, &type);
    answer(c, status, type);
}

static void conn_read(struct conn *c)
{
    if (c->draining)
        c->in_n = 0;
    ssize_t n = recv(c->fd, c->in + c->in_n, REQUEST_MAX - c->in_n, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        conn_close(c);
        return;
    }
    if (n > 0 && !c->in_n && !c->draining)
        c->deadline_ns = sdk_mono_ns() + REQUEST_NS;
    c->in_n += n > 0 ? (size_t)n : 0;
}

static void conn_next(struct conn *c)
{
    while (!c->writing && !c->draining && c->fd >= 0 && c->in_n) {
        char *blank = memmem(c->in, c->in_n, "\r\n\r\n", 4);
        if (!blank) {
            if (c->in_n == REQUEST_MAX)
                refuse(c, 431);
            return;
        }
        size_t n = (size_t)(blank - c->in) + 4;
        handle(c, n);
        c->in_n -= n;
        memmove(c->in, c->in + n, c->in_n);
    }
}

static void conn_write(struct conn *c)
{
    size_t body_n = c->head_only ? 0 : c->body_n, all = c->head_n + body_n;
    while (c->sent < all) {
        bool head = c->sent < c->head_n;
        const char *p = head ? c->head + c->sent : c->body + (c->sent - c->head_n);
        ssize_t n = send(c->fd, p, head ? c->head_n - c->sent : all - c->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT | (head ? MSG_MORE : 0));
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            conn_close(c);
            return;
        }
        c->sent += (size_t)n;
    }
    vane_render_free(c->body);
    c->body = NULL;
    c->body_n = 0;
    c->writing = false;
    c->deadline_ns = sdk_mono_ns() + IDLE_NS;
    if (c->close_after) {
        shutdown(
            c->fd,
            SHUT_WR); /* what still comes is read and dropped for a second: closing at once would cancel the answer */
        c->draining = true;
        c->deadline_ns = sdk_mono_ns() + DRAIN_NS;
    }
}

static void accept_one(void)
{
    int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    for (int i = 0; i < CONNS_MAX; i++) {
        struct conn *c = &conns[i];
        if (c->fd >= 0)
            continue;
        c->fd = fd;
        c->in_n = 0;
        c->writing = c->close_after = c->head_only = c->draining = false;
        c->deadline_ns = sdk_mono_ns() + REQUEST_NS;
        return;
    }
    close(fd); /* all taken: better refused at once than kept waiting */
}

static void *listen_main(void *arg)
{
    (void)arg;
    struct pollfd p[CONNS_MAX + 2];
    while (!atomic_load(&stopping)) {
        p[0] = (struct pollfd){ .fd = wake_fd, .events = POLLIN };
        p[1] = (struct pollfd){ .fd = listen_fd, .events = POLLIN };
        for (int i = 0; i < CONNS_MAX; i++)
            p[i + 2] = (struct pollfd){ .fd = conns[i].fd, .events = (short)(conns[i].writing ? POLLOUT : POLLIN) };
        if (poll(p, CONNS_MAX + 2, 1000) < 0 && errno != EINTR)
            break;
        uint64_t now = sdk_mono_ns();
        for (int i = 0; i < CONNS_MAX; i++) {
            struct conn *c = &conns[i];
            if (c->fd < 0 || p[i + 2].fd != c->fd)
                continue;
            if (p[i + 2].revents && !c->writing)
                conn_read(c);
            if (c->fd >= 0)
                conn_next(c);
            if (c->fd >= 0 && c->writing)
                conn_write(c);
            if (c->fd >= 0 && !c->writing)
                conn_next(c);
            if (c->fd >= 0 && now > c->deadline_ns)
                conn_close(c);
        }
        if (p[1].revents & POLLIN)
            accept_one();
    }
    return NULL;
}

/* ---- life ---- */

static vane_status bind_socket(void)
{
    const char *host = sdk_cfg.listen_host;
    struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM },
                    *list = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", sdk_cfg.listen_port);
    host = !strcmp(host, "localhost") ? "127.0.0.1" : host;
    int e = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (e || !list) {
        sdk_diag(VANE_E_ARG, "listen_host \"%.100s\" is no IP address", host);
        return VANE_E_ARG;
    }
    int one = 1;
    listen_fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listen_fd >= 0)
        setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_storage at;
    socklen_t at_n = sizeof at;
    bool ok = listen_fd >= 0 && bind(listen_fd, list->ai_addr, list->ai_addrlen) == 0 && listen(listen_fd, 64) == 0 &&
              getsockname(listen_fd, (struct sockaddr *)&at, &at_n) == 0;
    freeaddrinfo(list);
    if (!ok) {
        sdk_diag(VANE_E_IO, "cannot listen on %.100s port %s: %s", host, port, strerror(errno));
        return VANE_E_IO;
    }
    atomic_store(&bound_port, ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                                             : ((struct sockaddr_in *)&at)->sin_port));
    return VANE_OK;
}

static void close_all(void)
{
    for (int i = 0; conns && i < CONNS_MAX; i++)
        conn_close(&conns[i]);
    if (listen_fd >= 0)
        close(listen_fd);
    if (wake_fd >= 0)
        close(wake_fd);
    listen_fd = wake_fd = -1;
    atomic_store(&bound_port, 0);
}

static void listen_stop(void)
{
    atomic_store(&stopping, true);
    if (thread_runs) {
        uint64_t one = 1;
        ssize_t n = write(wake_fd, &one, sizeof one); /* a full counter wakes as well */
        (void)n;
        pthread_join(thread, NULL);
    }
    thread_runs = false;
    close_all();
    sdk_free(conns, CONNS_MAX * sizeof *conns);
    conns = NULL;
}

static vane_status listen_start(void)
{
    if (!sdk_cfg.listen_port && sdk_cfg.listen_any_port != VANE_ON)
        return VANE_OK;
    atomic_store(&stopping, false);
    conns = sdk_alloc(CONNS_MAX * sizeof *conns);
    if (!conns)
        return VANE_E_NOMEM;
    for (int i = 0; i < CONNS_MAX; i++)
        conns[i].fd = -1;
    vane_status st = bind_socket();
    wake_fd = st ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!st && (wake_fd < 0 || sdk_thread_start(&thread, "listen", listen_main, NULL)))
        st = VANE_E_NOMEM;
    thread_runs = st == VANE_OK;
    if (st)
        listen_stop();
    return st;
}

static void listen_fork_child(void)
{
    thread_runs = false; /* the parent answers */
    for (int i = 0; conns && i < CONNS_MAX; i++)
        conns[i].body = NULL; /* its thread may have been freeing it: left to the copy of the heap */
    close_all();
}

const struct sdk_module sdk_listen_module = {
    .name = "listen",
    .start = listen_start,
    .stop = listen_stop,
    .fork_child = listen_fork_child,
};
