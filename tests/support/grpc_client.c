#include "grpc_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"

static struct grpc_result *find(struct grpc_client *c, int32_t id)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->results[i]->id == id)
            return c->results[i];
    return NULL;
}

static ssize_t on_send(nghttp2_session *s, const uint8_t *p, size_t n, int flags, void *ctx)
{
    (void)s, (void)flags;
    ssize_t k = send(((struct grpc_client *)ctx)->fd, p, n, MSG_NOSIGNAL);
    return k < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : k;
}

static void copy(char *to, size_t max, str s)
{
    size_t n = MIN(s.n, max - 1);
    if (n)
        memcpy(to, s.p, n);
    to[n] = 0;
}

static int on_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t n_name,
                     const uint8_t *value, size_t n_value, uint8_t flags, void *ctx)
{
    (void)s, (void)flags;
    struct grpc_result *r = find(ctx, f->hd.stream_id);
    str k = str_n((const char *)name, n_name), v = str_n((const char *)value, n_value);
    uint64_t n = 0;
    if (!r)
        return 0;
    if (str_eq(k, STR(":status")) && str_to_u64(v, &n))
        r->http_status = (int)n;
    else if (str_eq(k, STR("grpc-status")) && str_to_u64(v, &n)) {
        r->code = (int)n;
        r->head_only = f->headers.cat == NGHTTP2_HCAT_RESPONSE;
    } else if (str_eq(k, STR("grpc-message")))
        copy(r->text, sizeof(r->text), v);
    else if (str_eq(k, STR("grpc-status-details-bin")))
        copy(r->details, sizeof(r->details), v);
    return 0;
}

static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *ctx)
{
    (void)s, (void)flags;
    struct grpc_result *r = find(ctx, id);
    if (r)
        buf_add(&r->body, p, n);
    return 0;
}

static int on_close(nghttp2_session *s, int32_t id, uint32_t error, void *ctx)
{
    (void)s;
    struct grpc_result *r = find(ctx, id);
    if (r) {
        r->closed = true;
        r->error = error;
    }
    return 0;
}

static int on_frame(nghttp2_session *s, const nghttp2_frame *f, void *ctx)
{
    (void)s;
    struct grpc_client *c = ctx;
    if (f->hd.type == NGHTTP2_GOAWAY) {
        c->goaway = true;
        c->goaway_error = f->goaway.error_code;
        c->goaway_last = f->goaway.last_stream_id;
        copy(c->goaway_debug, sizeof(c->goaway_debug),
             str_n((const char *)f->goaway.opaque_data, f->goaway.opaque_data_len));
    }
    if (f->hd.type == NGHTTP2_PING && !(f->hd.flags & NGHTTP2_FLAG_ACK))
        c->pings++;
    return 0;
}

int grpc_raw_connect(uint16_t port, bool preface)
{
    struct sockaddr_in sa = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT(connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (preface) {
        ASSERT(send(fd, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN, MSG_NOSIGNAL) == NGHTTP2_CLIENT_MAGIC_LEN);
        grpc_raw_frame(fd, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    }
    return fd;
}

void grpc_raw_frame(int fd, uint8_t type, uint8_t flags, uint32_t stream, const void *p, size_t n)
{
    uint8_t frame[9 + 1024] = {
        (uint8_t)(n >> 16),      (uint8_t)(n >> 8),      (uint8_t)n,     type, flags, (uint8_t)(stream >> 24),
        (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream
    };
    if (n)
        memcpy(frame + 9, p, n);
    ssize_t k = send(fd, frame, 9 + n, MSG_NOSIGNAL); /* fails once the server has closed */
    (void)k;
}

bool grpc_raw_closed(int fd, unsigned ms)
{
    uint64_t end = os_mono_ns() + ms * 1000000ull;
    char in[4096];
    while (os_mono_ns() < end) {
        struct pollfd p = { fd, POLLIN, 0 };
        if (poll(&p, 1, 20) == 1 && recv(fd, in, sizeof(in), 0) <= 0)
            return true;
    }
    return false;
}

struct grpc_client *grpc_client_open(uint16_t port, const nghttp2_settings_entry *settings, size_t n_settings)
{
    struct grpc_client *c = mem_zalloc(sizeof(*c));
    nghttp2_session_callbacks *cb;
    c->fd = grpc_raw_connect(port, false);
    ASSERT(nghttp2_session_callbacks_new(&cb) == 0);
    nghttp2_session_callbacks_set_send_callback(cb, on_send);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    ASSERT(nghttp2_session_client_new(&c->session, cb, c) == 0);
    nghttp2_session_callbacks_del(cb);
    ASSERT(nghttp2_submit_settings(c->session, 0, settings, n_settings) == 0);
    return c;
}

void grpc_client_close(struct grpc_client *c)
{
    nghttp2_session_del(c->session);
    close(c->fd);
    for (size_t i = 0; i < c->n; i++) {
        buf_deinit(&c->results[i]->body);
        mem_free(c->results[i]);
    }
    mem_free(c);
}

static ssize_t read_body(nghttp2_session *s, int32_t id, uint8_t *out, size_t max, uint32_t *flags,
                         nghttp2_data_source *src, void *ctx)
{
    (void)s, (void)id, (void)ctx;
    struct grpc_result *b = src->ptr;
    size_t n = MIN(max, b->left.n);
    if (n == 0 && b->open)
        return NGHTTP2_ERR_DEFERRED;
    if (n)
        memcpy(out, b->left.p, n);
    b->left = str_skip(b->left, n);
    if (b->left.n == 0 && !b->open)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static void add(nghttp2_nv *nv, size_t *n, const char *name, const char *value)
{
    if (value)
        nv[(*n)++] = (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name,
                                   .namelen = strlen(name),
                                   .value = (uint8_t *)(uintptr_t)value,
                                   .valuelen = strlen(value) };
}

struct grpc_result *grpc_client_start(struct grpc_client *c, const struct grpc_head *h, str body, bool open)
{
    nghttp2_nv nv[10];
    size_t n = 0;
    char *extra = mem_zalloc(h->extra_bytes + 1);
    memset(extra, 'x', h->extra_bytes);
    struct grpc_result *r = mem_zalloc(sizeof(*r));
    nghttp2_data_provider data = { .source.ptr = r, .read_callback = read_body };
    r->code = -1;
    r->left = body;
    r->open = open;
    buf_init(&r->body, 0);
    add(nv, &n, ":method", h->method);
    add(nv, &n, ":scheme", "http");
    add(nv, &n, ":authority", "test");
    add(nv, &n, ":path", h->path);
    add(nv, &n, "content-type", h->content_type);
    add(nv, &n, "te", h->te);
    add(nv, &n, "grpc-encoding", h->encoding);
    add(nv, &n, "grpc-timeout", h->timeout);
    if (h->extra_bytes)
        add(nv, &n, "x-extra", extra);
    ASSERT(c->n < ARRAY_LEN(c->results));
    r->id = nghttp2_submit_request(c->session, NULL, nv, n, &data, NULL);
    ASSERT(r->id > 0);
    c->results[c->n++] = r;
    mem_free(extra);
    return r;
}

static void step(struct grpc_client *c)
{
    static uint8_t in[16384]; /* tests have one client thread */
    struct pollfd p = { c->fd, POLLIN, 0 };
    if (nghttp2_session_send(c->session) != 0)
        c->eof = true;
    if (poll(&p, 1, 10) != 1)
        return;
    ssize_t n = recv(c->fd, in, sizeof(in), 0);
    if (n <= 0)
        c->eof = true;
    else
        nghttp2_session_mem_recv(c->session, in, (size_t)n);
    nghttp2_session_send(c->session);
}

bool grpc_client_wait(struct grpc_client *c, struct grpc_result *r, unsigned ms)
{
    uint64_t end = os_mono_ns() + ms * 1000000ull;
    while (!(r ? r->closed : c->eof) && os_mono_ns() < end) {
        if (c->eof && !r)
            break;
        step(c);
        if (c->eof && r)
            return r->closed;
    }
    return r ? r->closed : c->eof;
}

void grpc_client_pump(struct grpc_client *c, unsigned ms)
{
    uint64_t end = os_mono_ns() + ms * 1000000ull;
    while (!c->eof && os_mono_ns() < end)
        step(c);
}

struct grpc_result *grpc_client_call(struct grpc_client *c, const struct grpc_head *h, str body)
{
    struct grpc_result *r = grpc_client_start(c, h, body, false);
    ASSERT(grpc_client_wait(c, r, 5000));
    return r;
}

str grpc_frame(struct arena *a, uint8_t flag, str message)
{
    char *p = arena_alloc(a, message.n + 5);
    p[0] = (char)flag;
    p[1] = (char)(message.n >> 24);
    p[2] = (char)(message.n >> 16);
    p[3] = (char)(message.n >> 8);
    p[4] = (char)message.n;
    if (message.n)
        memcpy(p + 5, message.p, message.n);
    return str_n(p, message.n + 5);
}
