#include "target_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/os.h"

#define CONNECTIONS_MAX 8192
struct connection {
    struct target_server *s;
    int fd;
};
struct target_server {
    int fd;
    uint16_t port;
    target_handler handle;
    void *ctx;
    pthread_t thread;
    atomic_bool stop;
    atomic_int live;
};

uint16_t target_server_port(const struct target_server *s)
{
    return s->port;
}

void target_answer_text(struct target_answer *a, const char *status, const char *extra_headers, str body)
{
    buf_printf(&a->raw, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s%s\r\n", status, body.n,
               strstr(extra_headers, "Content-Type") ? "" : "Content-Type: text/plain;version=0.0.4\r\n",
               extra_headers);
    buf_str_add(&a->raw, body);
}

static bool send_all(int fd, const char *p, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t k = send(fd, p + done, n - done, MSG_NOSIGNAL);
        if (k <= 0)
            return false;
        done += (size_t)k;
    }
    return true;
}

static bool wait_readable(struct connection *c, int ms)
{
    struct pollfd p = { .fd = c->fd, .events = POLLIN };
    for (; ms > 0 && !atomic_load(&c->s->stop); ms -= 20)
        if (poll(&p, 1, 20) > 0)
            return true;
    return false;
}

static bool serve_one(struct connection *c, struct buf *in)
{
    size_t end;
    while ((end = str_find(buf_str(in), STR("\r\n\r\n"))) == SIZE_MAX) {
        if (in->n > 60000 || !wait_readable(c, 30000) || !buf_reserve(in, 4096))
            return false;
        ssize_t k = recv(c->fd, in->p + in->n, 4096, 0);
        if (k <= 0)
            return false;
        in->n += (size_t)k;
    }
    str head = str_take(buf_str(in), end + 2), rest = head, method, path;
    str_cut(&rest, ' ', &method);
    str_cut(&rest, ' ', &path);
    struct target_answer a = { .hold_ms = 0 };
    buf_init(&a.raw, 0);
    bool ok = c->s->handle(c->s->ctx, path, head, &a) && send_all(c->fd, a.raw.p, a.raw.n);
    while (ok && a.endless && !atomic_load(&c->s->stop))
        ok = send_all(c->fd, a.raw.p + (a.raw.n > 1024 ? a.raw.n - 1024 : 0), MIN(a.raw.n, 1024));
    if (ok && a.hold_ms)
        ok = wait_readable(c, a.hold_ms);
    buf_deinit(&a.raw);
    memmove(in->p, in->p + end + 4, in->n - end - 4);
    in->n -= end + 4;
    return ok;
}

static void *connection_main(void *ctx)
{
    struct connection *c = ctx;
    struct buf in;
    buf_init(&in, 0);
    while (serve_one(c, &in))
        ;
    buf_deinit(&in);
    close(c->fd);
    atomic_fetch_sub(&c->s->live, 1);
    mem_free(c);
    return NULL;
}

static void accept_main(void *ctx)
{
    struct target_server *s = ctx;
    struct pollfd p = { .fd = s->fd, .events = POLLIN };
    while (!atomic_load(&s->stop)) {
        if (poll(&p, 1, 20) <= 0)
            continue;
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            continue;
        struct connection *c = mem_zalloc(sizeof(*c));
        *c = (struct connection){ s, fd };
        atomic_fetch_add(&s->live, 1);
        pthread_t t;
        pthread_attr_t attr;
        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        pthread_attr_setstacksize(&attr, 128 << 10);
        if (pthread_create(&t, &attr, connection_main, c) != 0) {
            close(fd);
            mem_free(c);
            atomic_fetch_sub(&s->live, 1);
        }
        pthread_attr_destroy(&attr);
    }
}

struct target_server *target_server_open(target_handler h, void *ctx)
{
    struct target_server *s = mem_zalloc(sizeof(*s));
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);
    s->handle = h;
    s->ctx = ctx;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(bind(s->fd, (struct sockaddr *)&a, sizeof(a)) == 0);
    ASSERT(listen(s->fd, 4096) == 0);
    ASSERT(getsockname(s->fd, (struct sockaddr *)&a, &n) == 0);
    s->port = ntohs(a.sin_port);
    enum err e = thread_start(&s->thread, "test-server", accept_main, s);
    ASSERT(e == OK);
    return s;
}

void target_server_close(struct target_server *s)
{
    atomic_store(&s->stop, true);
    thread_join(s->thread);
    close(s->fd);
    while (atomic_load(&s->live))
        os_sleep_ms(5);
    mem_free(s);
}
