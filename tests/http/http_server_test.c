/* The server over real sockets on free loopback ports: answers, limits, malformed and slow requests, clients
 * that go away, streams, orderly end. Raw sockets, so that requests can be as wrong as they like. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/check.h"
#include "base/stats.h"
#include "http/http.h"

/* ---- a small site ---- */

static atomic_bool slow_started, slow_cancelled, slow_release;
static atomic_int stream_done_calls;

static void hello(struct http_request *rq, struct http_response *rs)
{
    (void)rq;
    http_answer(rs, 200, STR("text/plain"), STR("hello\n"));
}
static void echo(struct http_request *rq, struct http_response *rs)
{
    http_answer(rs, 200, STR("application/octet-stream"), rq->body);
}
static void params(struct http_request *rq, struct http_response *rs)
{
    rs->content_type = STR("text/plain");
    for (size_t i = 0; i < rq->n_params; i++)
        buf_printf(&rs->body, STR_FMT "=" STR_FMT ";", STR_ARG(rq->params[i].name), STR_ARG(rq->params[i].value));
}
static void capture(struct http_request *rq, struct http_response *rs)
{
    rs->content_type = STR("text/plain");
    for (size_t i = 0; i < rq->n_captures; i++)
        buf_printf(&rs->body, "<" STR_FMT ">", STR_ARG(rq->captures[i]));
}
static void big(struct http_request *rq, struct http_response *rs)
{
    (void)rq;
    rs->content_type = STR("text/plain");
    for (int i = 0; i < 20000; i++)
        buf_printf(&rs->body, "line %d\n", i);
}
static void slow(struct http_request *rq, struct http_response *rs)
{
    atomic_store(&slow_started, true);
    for (int i = 0; i < 2000 && !atomic_load(rq->cancelled) && !atomic_load(&slow_release); i++)
        os_sleep_ms(2);
    atomic_store(&slow_cancelled, atomic_load(rq->cancelled));
    http_answer(rs, 200, STR("text/plain"), STR("at last\n"));
}
static bool count_down(void *ctx, struct buf *out)
{
    int *n = ctx;
    os_sleep_ms(1);
    if (*n == 0)
        return false;
    buf_printf(out, "%d\n", (*n)--);
    return true;
}
static void count_done(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&stream_done_calls, 1);
}
static void stream(struct http_request *rq, struct http_response *rs)
{
    int *n = arena_new(rq->a, int);
    *n = rq->n_params ? atoi(rq->params[0].value.p) : 3;
    rs->content_type = STR("text/plain");
    rs->stream = count_down;
    rs->stream_done = count_done;
    rs->stream_ctx = n;
}
static const struct http_file *file;
static void get_file(struct http_request *rq, struct http_response *rs)
{
    http_answer_file(rq, rs, file);
}
static const struct http_limits small = { .body_bytes_max = 1000, .decoded_bytes_max = 2000, .body_ms_max = 400 };
static const struct http_route routes[] = {
    { HTTP_BIT(HTTP_GET), "/hello", hello, HTTP_INLINE, NULL, 0 },
    { HTTP_BIT(HTTP_GET) | HTTP_BIT(HTTP_POST), "/params", params, HTTP_CONTROL, NULL, HTTP_CORS },
    { HTTP_BIT(HTTP_GET), "/label/{name}/values", capture, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/files/{path*}", capture, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/files/special", hello, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_POST), "/echo", echo, HTTP_INGEST, NULL, 0 },
    { HTTP_BIT(HTTP_POST), "/small", echo, HTTP_INGEST, &small, 0 },
    { HTTP_BIT(HTTP_GET), "/big", big, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/slow", slow, HTTP_QUERY, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/stream", stream, HTTP_QUERY, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/file", get_file, HTTP_CONTROL, NULL, 0 },
};
static const struct http_route second_only[] = { { HTTP_BIT(HTTP_GET), "/second", hello, HTTP_INLINE, NULL, 0 } };

static struct http_server *server;
static uint16_t port, port2;

static int open_server(void **state)
{
    (void)state;
    const struct http_listener listeners[] = { { .address = "127.0.0.1" }, { .address = "127.0.0.1" } };
    const struct http_table tables[] = {
        { routes, ARRAY_LEN(routes), NULL, 1 },
        { second_only, 1, NULL, 2 },
    };
    struct http_server_config cfg = { .listeners = listeners,
                                      .n_listeners = 2,
                                      .tables = tables,
                                      .n_tables = 2,
                                      .header_ms_max = 200,
                                      .idle_ms = 600,
                                      .drain_ms = 300,
                                      .body_bytes_inflight_max = 8 << 20 };
    cfg.threads[HTTP_QUERY] = 1;
    cfg.queue[HTTP_QUERY] = 1;
    struct err_text why;
    assert_int_equal(http_server_open(&cfg, &server, &why), OK);
    port = http_server_port(server, 0);
    port2 = http_server_port(server, 1);
    atomic_store(&slow_started, false);
    atomic_store(&slow_cancelled, false);
    atomic_store(&slow_release, false);
    atomic_store(&stream_done_calls, 0);
    return 0;
}
static int close_server(void **state)
{
    (void)state;
    atomic_store(&slow_release, true);
    http_server_close(server);
    server = NULL;
    return 0;
}

/* ---- raw client ---- */

static int dial(uint16_t to)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(to), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    return fd;
}
static void put(int fd, str s)
{
    while (s.n) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        s = str_skip(s, (size_t)n);
    }
}
/* Everything until the server closes or nothing comes for timeout_ms. */
static char *get_all(int fd, int timeout_ms, size_t *ret_n)
{
    static char text[1 << 20];
    size_t n = 0;
    struct pollfd p = { .fd = fd, .events = POLLIN };
    while (n < sizeof(text) - 1 && poll(&p, 1, timeout_ms) == 1) {
        ssize_t got = recv(fd, text + n, sizeof(text) - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    text[n] = 0;
    if (ret_n)
        *ret_n = n;
    return text;
}
/* One request on its own connection. */
static char *ask(const char *request)
{
    int fd = dial(port);
    put(fd, str_c(request));
    char *text = get_all(fd, 1500, NULL);
    close(fd);
    return text;
}
static int status_of(const char *answer)
{
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : 0;
}
static const char *body_of(const char *answer)
{
    const char *p = strstr(answer, "\r\n\r\n");
    return p ? p + 4 : "";
}
#define GET(target, more) "GET " target " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" more "\r\n"

/* ---- tests ---- */

static void answers(void **state)
{
    (void)state;
    char *a = ask(GET("/hello", ""));
    assert_int_equal(status_of(a), 200);
    assert_string_equal(body_of(a), "hello\n");
    assert_non_null(strstr(a, "Content-Type: text/plain\r\n"));
    a = ask("HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(status_of(a), 200);
    assert_non_null(strstr(a, "Content-Length: 6\r\n"));
    assert_string_equal(body_of(a), "");
    a = ask(GET("/nope", ""));
    assert_int_equal(status_of(a), 404);
    assert_string_equal(body_of(a), "404 page not found\n");
    a = ask("DELETE /params HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(status_of(a), 405);
    assert_non_null(strstr(a, "Allow: GET, HEAD, POST, OPTIONS\r\n"));
    a = ask("BREW /params HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(status_of(a), 405);
}

static void parameters(void **state)
{
    (void)state;
    char *a = ask("POST /params?a=q&b=%2B+%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 17\r\n"
                  "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n\r\na=body&match[]=%41");
    assert_string_equal(body_of(a), "a=body;match[]=%4;a=q;b=+ %zz;");
    a = ask(GET("/label/a%2Fb%20c/values?x=1", ""));
    assert_string_equal(body_of(a), "<a/b c>");
    a = ask(GET("/label//values", ""));
    assert_int_equal(status_of(a), 404);
    a = ask(GET("/files/", ""));
    assert_string_equal(body_of(a), "<>");
    a = ask(GET("/files/a/b.js", ""));
    assert_string_equal(body_of(a), "<a/b.js>");
    a = ask(GET("/files/special", ""));
    assert_string_equal(body_of(a), "hello\n");
    a = ask(GET("http://other.example/hello", ""));
    assert_int_equal(status_of(a), 200);
}

static void listeners_have_their_routes(void **state)
{
    (void)state;
    assert_int_equal(status_of(ask(GET("/second", ""))), 404);
    int fd = dial(port2);
    put(fd, STR(GET("/second", "")));
    assert_int_equal(status_of(get_all(fd, 1000, NULL)), 200);
    close(fd);
}

static void keep_alive_and_pipelining(void **state)
{
    (void)state;
    int fd = dial(port);
    for (int i = 0; i < 3; i++) {
        put(fd, STR("GET /params?a=1 HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert_string_equal(body_of(get_all(fd, 60, NULL)), "a=1;");
    }
    put(fd, STR("GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /params?b=2 HTTP/1.1\r\nHost: x\r\nConnection: "
                "close\r\n\r\n"));
    char *a = get_all(fd, 500, NULL);
    assert_non_null(strstr(a, "hello\n"));
    assert_non_null(strstr(a, "b=2;"));
    close(fd);
}

static void cross_origin(void **state)
{
    (void)state;
    char *a = ask(GET("/params", "Origin: http://grafana.example\r\n"));
    assert_non_null(strstr(a, "Access-Control-Allow-Origin: *\r\n"));
    a = ask("OPTIONS /params HTTP/1.1\r\nHost: x\r\nOrigin: http://a\r\nConnection: close\r\n\r\n");
    assert_int_equal(status_of(a), 204);
    assert_non_null(strstr(a, "Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n"));
    assert_null(strstr(ask(GET("/hello", "Origin: http://a\r\n")), "Access-Control"));
}

static void compression(void **state)
{
    (void)state;
    static char plain[1 << 20];
    int fd = dial(port);
    size_t n;
    put(fd, STR(GET("/big", "Accept-Encoding: br, gzip;q=0.5\r\n")));
    char *a = get_all(fd, 1000, &n);
    close(fd);
    assert_non_null(strstr(a, "Content-Encoding: gzip\r\n"));
    assert_non_null(strstr(a, "Vary: Accept-Encoding\r\n"));
    const char *body = body_of(a);
    z_stream z = { .avail_in = (unsigned)(n - (size_t)(body - a)),
                   .avail_out = sizeof(plain),
                   .next_out = (Bytef *)plain };
    z.next_in = (Bytef *)(uintptr_t)body;
    assert_int_equal(inflateInit2(&z, 31), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    inflateEnd(&z);
    assert_true(strncmp(plain, "line 0\nline 1\n", 14) == 0);
    size_t plain_n = z.total_out;

    fd = dial(port);
    put(fd, STR(GET("/big", "Accept-Encoding: gzip, zstd\r\n")));
    a = get_all(fd, 1000, &n);
    close(fd);
    assert_non_null(strstr(a, "Content-Encoding: zstd\r\n"));
    body = body_of(a);
    assert_int_equal(ZSTD_decompress(plain, sizeof(plain), body, n - (size_t)(body - a)), plain_n);
    assert_null(strstr(ask(GET("/big", "Accept-Encoding: gzip;q=0\r\n")), "Content-Encoding"));
    assert_null(strstr(ask(GET("/hello", "Accept-Encoding: gzip\r\n")), "Content-Encoding")); /* too small */
}

static size_t gzip_of(const char *text, size_t n, char *out, size_t room)
{
    z_stream z = { .avail_in = (unsigned)n, .avail_out = (unsigned)room, .next_out = (Bytef *)out };
    z.next_in = (Bytef *)(uintptr_t)text;
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return z.total_out;
}

static void static_files(void **state)
{
    (void)state;
    static char gz[1000];
    size_t n = gzip_of("<html>", 6, gz, sizeof(gz));
    const struct http_file f = { STR("/file"), STR("text/html"), { gz, n }, STR("\"abc\""), true };
    file = &f;
    char *a = ask(GET("/file", ""));
    assert_string_equal(body_of(a), "<html>");
    assert_non_null(strstr(a, "ETag: \"abc\"\r\n"));
    assert_non_null(strstr(a, "immutable"));
    a = ask(GET("/file", "If-None-Match: W/\"x\", \"abc\"\r\n"));
    assert_int_equal(status_of(a), 304);
    assert_string_equal(body_of(a), "");
    assert_non_null(strstr(ask(GET("/file", "Accept-Encoding: gzip\r\n")), "Content-Encoding: gzip\r\n"));
}

static void bodies(void **state)
{
    (void)state;
    assert_string_equal(
        body_of(ask("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc")), "abc");
    assert_string_equal(
        body_of(ask("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                    "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n")),
        "abcde");
    assert_int_equal(status_of(ask("POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")), 413);
    assert_int_equal(status_of(ask("POST /small HTTP/1.1\r\nHost: x\r\nContent-Encoding: "
                                   "rot13\r\nConnection: close\r\nContent-Length: 1\r\n\r\na")),
                     415);
    assert_int_equal(status_of(ask("POST /small HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nConnection: "
                                   "close\r\nContent-Length: 1\r\n\r\na")),
                     400);

    static char zeros[100000], gz[1000], request[2000];
    size_t n = gzip_of(zeros, sizeof(zeros), gz, sizeof(gz)); /* a bomb of 100,000 bytes in some 130 */
    assert_true(n < 1000);
    int head = snprintf(request, sizeof(request),
                        "POST /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Encoding: "
                        "gzip\r\nContent-Length: %zu\r\n\r\n",
                        n);
    memcpy(request + head, gz, n);
    int fd = dial(port);
    put(fd, str_n(request, (size_t)head + n));
    assert_int_equal(status_of(get_all(fd, 1000, NULL)), 413);
    close(fd);

    fd = dial(port); /* chunked, no length given, past the limit: the rest is read and 413 answered */
    put(fd, STR("POST /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"));
    for (int i = 0; i < 4; i++) {
        put(fd, STR("200\r\n"));
        put(fd, str_n(zeros, 512));
        put(fd, STR("\r\n"));
    }
    put(fd, STR("0\r\n\r\n"));
    assert_int_equal(status_of(get_all(fd, 1000, NULL)), 413);
    close(fd);
}

static void malformed(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3x\r\n\r\nabc",
        "GET /hello HTTP/1.1\r\n\r\n", /* no Host */
        "GET\r\n\r\n",
        "\x16\x03\x01\x02\x01\xfc\x03\x03\r\n\r\n", /* TLS on a plain port */
    };
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        char *a = ask(requests[i]);
        if (status_of(a) != 400 && a[0] != 0)
            fail_msg("request %zu answered %.60s", i, a);
    }
    assert_int_equal(status_of(ask(GET("/hello", ""))), 200);
}

static void large_headers(void **state)
{
    (void)state;
    static char request[70000];
    int n = snprintf(request, sizeof(request), "GET /hello HTTP/1.1\r\nHost: x\r\nX-Big: ");
    memset(request + n, 'a', 60000);
    memcpy(request + n + 60000, "\r\n\r\n", 5);
    assert_int_equal(status_of(ask(request)), 431);
    n = snprintf(request, sizeof(request), "GET /hello?");
    memset(request + n, 'a', 60000);
    snprintf(request + n + 60000, 50, " HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(status_of(ask(request)), 414);
}

/* Slow in every phase: each connection is cut in time and told why where it can be. */
static void slow_clients(void **state)
{
    (void)state;
    uint64_t t0 = os_mono_ns();
    int silent = dial(port), line = dial(port), headers = dial(port), body = dial(port), idle = dial(port);
    put(line, STR("GET /hel"));
    put(headers, STR("GET /hello HTTP/1.1\r\nHost: x\r\nX-A: "));
    put(body, STR("POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\nabc"));
    put(idle, STR("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_int_equal(status_of(get_all(line, 2000, NULL)), 408);
    assert_int_equal(status_of(get_all(headers, 2000, NULL)), 408);
    assert_int_equal(status_of(get_all(body, 2000, NULL)), 408);
    assert_string_equal(get_all(silent, 2000, NULL), "");
    char *a = get_all(idle, 2000, NULL);
    assert_int_equal(status_of(a), 200);
    assert_true(os_mono_ns() - t0 < 1900u * 1000000u);
    close(silent), close(line), close(headers), close(body), close(idle);
}

/* Bytes that trickle in do not extend the time for the headers. */
static void trickle(void **state)
{
    (void)state;
    int fd = dial(port);
    uint64_t t0 = os_mono_ns();
    struct pollfd p = { .fd = fd, .events = POLLIN };
    while (poll(&p, 1, 30) == 0 && os_mono_ns() - t0 < 3000000000u)
        put(fd, STR("G"));
    assert_true(os_mono_ns() - t0 < 1500000000u);
    close(fd);
}

static void client_goes_away(void **state)
{
    (void)state;
    int fd = dial(port);
    put(fd, STR("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"));
    while (!atomic_load(&slow_started))
        os_sleep_ms(1);
    close(fd);
    for (int i = 0; i < 1000 && !atomic_load(&slow_cancelled); i++)
        os_sleep_ms(1);
    assert_true(atomic_load(&slow_cancelled));
}

static void full_queue(void **state)
{
    (void)state;
    int a = dial(port), b = dial(port);
    put(a, STR("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")); /* runs */
    while (!atomic_load(&slow_started))
        os_sleep_ms(1);
    put(b, STR("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")); /* waits */
    os_sleep_ms(30);
    char *c = ask(GET("/slow", ""));
    assert_int_equal(status_of(c), 503);
    assert_non_null(strstr(c, "Retry-After: 1\r\n"));
    assert_int_equal(status_of(ask(GET("/params", ""))), 200); /* other pools go on */
    atomic_store(&slow_release, true);
    assert_int_equal(status_of(get_all(a, 100, NULL)), 200);
    assert_int_equal(status_of(get_all(b, 100, NULL)), 200);
    close(a), close(b);
}

static void streams(void **state)
{
    (void)state;
    char *a = ask(GET("/stream?n=3", ""));
    assert_int_equal(status_of(a), 200);
    assert_non_null(strstr(a, "Transfer-Encoding: chunked\r\n"));
    assert_non_null(strstr(body_of(a), "3\n"));
    assert_non_null(strstr(body_of(a), "1\n"));
    int fd = dial(port);
    put(fd, STR("GET /stream?n=100000 HTTP/1.1\r\nHost: x\r\n\r\n"));
    os_sleep_ms(20);
    close(fd);
    for (int i = 0; i < 1000 && atomic_load(&stream_done_calls) < 2; i++)
        os_sleep_ms(1);
    assert_int_equal(atomic_load(&stream_done_calls), 2);
}

static void body_memory_is_bounded(void **state)
{
    (void)state;
    static char piece[900 * 1024];
    int fds[12], refused = 0; /* 12 bodies of 900 KB reserve 1 MiB each: 8 MiB is the budget */
    for (int i = 0; i < 12; i++) {
        fds[i] = dial(port);
        char head[200];
        snprintf(head, sizeof(head),
                 "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                 sizeof(piece) + 1);
        put(fds[i], str_c(head));
        put(fds[i], str_n(piece, sizeof(piece)));
    }
    os_sleep_ms(100);
    for (int i = 0; i < 12; i++) {
        put(fds[i], STR("x"));
        refused += status_of(get_all(fds[i], 300, NULL)) == 503;
        close(fds[i]);
    }
    assert_true(refused >= 3 && refused <= 5);
    assert_int_equal(
        status_of(ask("POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1\r\n\r\na")), 200);
}

static void end_waits_for_requests(void **state)
{
    (void)state;
    int fd = dial(port), idle = dial(port);
    put(fd, STR("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"));
    while (!atomic_load(&slow_started))
        os_sleep_ms(1);
    uint64_t t0 = os_mono_ns();
    http_server_close(server); /* drain_ms passes, then the request is cancelled */
    server = NULL;
    assert_true(atomic_load(&slow_cancelled));
    assert_true(os_mono_ns() - t0 < 2000000000u);
    close(fd), close(idle);
}

static void counters(void **state)
{
    (void)state;
    ask(GET("/label/x/values", ""));
    ask(GET("/nope", ""));
    struct buf out;
    buf_init(&out, 0);
    stats_render(&out);
    buf_u8(&out, 0);
    assert_non_null(strstr(out.p, "vane_http_requests_total{handler=\"/label/:name/values\",code=\"200\"} 1"));
    assert_non_null(strstr(out.p, "prometheus_http_requests_total{handler=\"other\",code=\"404\"} 1"));
    assert_non_null(strstr(out.p, "prometheus_http_request_duration_seconds_count{handler=\"/label/:name/values\"} 1"));
    buf_deinit(&out);
}

static void bad_listeners(void **state)
{
    (void)state;
    struct err_text why;
    struct http_server *s = NULL;
    struct http_listener l = { .address = "127.0.0.1", .port = port };
    struct http_server_config cfg = { .listeners = &l, .n_listeners = 1 };
    assert_int_not_equal(http_server_open(&cfg, &s, &why), OK);
    assert_non_null(strstr(why.msg, "Address already in use"));
    l.address = "nonsense";
    assert_int_equal(http_server_open(&cfg, &s, &why), ERR_INVALID);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_server, close_server)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(answers),
        T(parameters),
        T(listeners_have_their_routes),
        T(keep_alive_and_pipelining),
        T(cross_origin),
        T(compression),
        T(static_files),
        T(bodies),
        T(malformed),
        T(large_headers),
        T(slow_clients),
        T(trickle),
        T(client_goes_away),
        T(full_queue),
        T(streams),
        T(body_memory_is_bounded),
        T(end_waits_for_requests),
        T(counters),
        T(bad_listeners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
