/* The client against the server and against raw sockets that misbehave: hang, never end, lie about the length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "http/http.h"

static void mirror(struct http_request *rq, struct http_response *rs)
{
    rs->content_type = STR("text/plain; v=1");
    buf_printf(&rs->body, STR_FMT " " STR_FMT " body=" STR_FMT "\n", STR_ARG(http_method_name(rq->method)),
               STR_ARG(rq->path), STR_ARG(rq->body));
    for (size_t i = 0; i < rq->n_headers; i++)
        buf_printf(&rs->body, STR_FMT ": " STR_FMT "\n", STR_ARG(rq->headers[i].name), STR_ARG(rq->headers[i].value));
    http_set_header(rs, STR("X-Mine"), STR("yes"));
}
static void large(struct http_request *rq, struct http_response *rs)
{
    (void)rq;
    for (int i = 0; i < 50000; i++)
        buf_lit(&rs->body, "the same line again\n");
}
static void redirect(struct http_request *rq, struct http_response *rs)
{
    (void)rq;
    rs->status = 302;
    http_set_header(rs, STR("Location"), STR("/mirror"));
}
static const struct http_route routes[] = {
    { HTTP_BIT(HTTP_GET) | HTTP_BIT(HTTP_POST) | HTTP_BIT(HTTP_PUT) | HTTP_BIT(HTTP_DELETE), "/mirror", mirror,
      HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/large", large, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/redirect", redirect, HTTP_CONTROL, NULL, 0 },
};
static struct http_server *server;
static struct http_client *client;
static char base_url[64];

static int open_all(void **state)
{
    (void)state;
    const struct http_listener l = { .address = "127.0.0.1" };
    const struct http_table t = { routes, ARRAY_LEN(routes), NULL, 0 };
    struct http_server_config cfg = { .listeners = &l, .n_listeners = 1, .tables = &t, .n_tables = 1, .drain_ms = 200 };
    struct err_text why;
    assert_int_equal(http_server_open(&cfg, &server, &why), OK);
    assert_int_equal(http_client_open(NULL, &client), OK);
    snprintf(base_url, sizeof(base_url), "http://127.0.0.1:%u", http_server_port(server, 0));
    return 0;
}
static int close_all(void **state)
{
    (void)state;
    http_client_close(client);
    http_server_close(server);
    return 0;
}

static struct arena a;
static struct http_result result;
static struct err_text why;
static char url[256];

static enum err fetch(struct http_fetch f, const char *path, str *ret_body)
{
    snprintf(url, sizeof(url), "%s%s", base_url, path);
    if (!f.url.p)
        f.url = str_c(url);
    return http_fetch_sync(client, &f, &a, &result, ret_body, &why);
}

static void requests(void **state)
{
    (void)state;
    arena_init(&a, 0);
    str body;
    const struct http_pair headers[] = { { STR("X-A"), STR("b c") }, { STR("Accept"), STR("text/x") } };
    assert_int_equal(fetch((struct http_fetch){ .headers = headers, .n_headers = 2 }, "/mirror?x=1", &body), OK);
    assert_int_equal(result.status, 200);
    assert_true(str_has_prefix(body, STR("GET /mirror body=\n")));
    assert_true(str_contains(body, STR("X-A: b c\n")));
    assert_true(str_contains(body, STR("Accept: text/x\n")));
    assert_true(str_contains(body, STR("User-Agent: vane/")));
    assert_false(str_contains(body, STR("Accept-Encoding")));
    assert_true(str_eq(result.content_type, STR("text/plain; v=1")));
    assert_true(str_eq(http_result_header(&result, STR("x-mine")), STR("yes")));
    assert_true(result.total_ns > 0);
    assert_int_equal(fetch((struct http_fetch){ .method = HTTP_POST, .body = STR("payload") }, "/mirror", &body), OK);
    assert_true(str_has_prefix(body, STR("POST /mirror body=payload\n")));
    assert_int_equal(fetch((struct http_fetch){ .method = HTTP_PUT, .body = STR("p") }, "/mirror", &body), OK);
    assert_true(str_has_prefix(body, STR("PUT /mirror body=p\n")));
    assert_int_equal(fetch((struct http_fetch){ .method = HTTP_DELETE }, "/mirror", &body), OK);
    assert_true(str_has_prefix(body, STR("DELETE /mirror body=\n")));
    assert_int_equal(fetch((struct http_fetch){ .method = HTTP_HEAD }, "/mirror", &body), OK);
    assert_int_equal(body.n, 0);
    assert_int_equal(
        fetch((struct http_fetch){ .basic_user = STR("u"), .basic_password = STR("p:w") }, "/mirror", &body), OK);
    assert_true(str_contains(body, STR("Authorization: Basic dTpwOnc=\n")));
    assert_int_equal(fetch((struct http_fetch){ .bearer = STR("tok") }, "/mirror", &body), OK);
    assert_true(str_contains(body, STR("Authorization: Bearer tok\n")));
    assert_int_equal(fetch((struct http_fetch){ .url = { 0 } }, "/nope", &body), OK);
    assert_int_equal(result.status, 404);
    assert_int_equal(fetch((struct http_fetch){ .url = { 0 } }, "/redirect", &body), OK);
    assert_int_equal(result.status, 302);
    assert_int_equal(fetch((struct http_fetch){ .follow_redirects = true }, "/redirect", &body), OK);
    assert_int_equal(result.status, 200);
    assert_true(str_has_suffix(result.final_url, STR("/mirror")));
    arena_deinit(&a);
}

static void bodies_and_limits(void **state)
{
    (void)state;
    arena_init(&a, 0);
    str body;
    assert_int_equal(fetch((struct http_fetch){ .accept_encoding = STR("gzip") }, "/large", &body), OK);
    assert_int_equal(body.n, 1000000);
    assert_true(str_eq(http_result_header(&result, STR("Content-Encoding")), STR("gzip")));
    assert_int_equal(
        fetch((struct http_fetch){ .accept_encoding = STR("gzip"), .body_bytes_max = 999999 }, "/large", &body),
        ERR_LIMIT);
    assert_string_equal(why.msg, "answer is larger than 999999 bytes");
    assert_int_equal(fetch((struct http_fetch){ .body_bytes_max = 1000000 }, "/large", &body), OK);
    arena_deinit(&a);
}

static void bad_urls(void **state)
{
    (void)state;
    arena_init(&a, 0);
    str body;
    const str bad[] = { STR("ftp://127.0.0.1/x"), STR("file:///etc/passwd"), STR("http://"), STR("nonsense"),
                        STR("http://a b/") };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(fetch((struct http_fetch){ .url = bad[i] }, "", &body), ERR_INVALID);
    assert_int_equal(fetch((struct http_fetch){ .url = STR("http://127.0.0.1:1/") }, "", &body), ERR_IO);
    assert_string_equal(why.msg, "cannot connect: Connection refused");
    const struct http_pair evil = { STR("X"), STR("a\r\nY: b") };
    assert_int_equal(fetch((struct http_fetch){ .headers = &evil, .n_headers = 1 }, "/mirror", &body), ERR_INVALID);
    arena_deinit(&a);
}

/* ---- a host that misbehaves: answers with `text`, then with filler for ever or silence ---- */
struct host {
    int fd;
    pthread_t thread;
    const char *text;
    bool endless;
};
static void host_run(void *p)
{
    struct host *h = p;
    int fd = accept(h->fd, NULL, NULL);
    static char in[4096], filler[4096];
    memset(filler, 'a', sizeof(filler));
    ssize_t n = recv(fd, in, sizeof(in), 0);
    if (n > 0 && h->text)
        n = send(fd, h->text, strlen(h->text), MSG_NOSIGNAL);
    while (h->endless && n > 0)
        n = send(fd, filler, sizeof(filler), MSG_NOSIGNAL);
    while (n > 0)
        n = recv(fd, in, sizeof(in), 0);
    close(fd);
}
static void host_open(struct host *h)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(sa);
    h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(h->fd, (struct sockaddr *)&sa, n), 0);
    assert_int_equal(listen(h->fd, 4), 0);
    getsockname(h->fd, (struct sockaddr *)&sa, &n);
    snprintf(url, sizeof(url), "http://127.0.0.1:%u/", ntohs(sa.sin_port));
    assert_int_equal(thread_start(&h->thread, "host", host_run, h), OK);
}
static void host_close(struct host *h)
{
    thread_join(h->thread);
    close(h->fd);
}

static void hosts_that_misbehave(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool endless;
        enum err want;
    } rows[] = {
        { NULL, false, ERR_TIMEOUT },                                                  /* hangs */
        { "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", false, ERR_TIMEOUT }, /* less than it says */
        { "HTTP/1.1 200 OK\r\n\r\n", true, ERR_LIMIT },                                /* never ends */
        { "HTTP/1.1 200 OK\r\nX: ", true, ERR_IO },                                    /* a header that never ends */
        { "garbage\r\n\r\n", false, ERR_IO },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        arena_init(&a, 0);
        struct host h = { .text = rows[i].text, .endless = rows[i].endless };
        host_open(&h);
        str body;
        uint64_t t0 = os_mono_ns();
        enum err e = http_fetch_sync(
            client,
            &(struct http_fetch){
                .url = str_c(url), .timeout_ms = 150, .body_bytes_max = 1 << 20, .fresh_connection = true },
            &a, &result, &body, &why);
        if (e != rows[i].want)
            fail_msg("row %zu: %s %s", i, err_name(e), why.msg);
        assert_true(os_mono_ns() - t0 < 1000000000u);
        host_close(&h);
        arena_deinit(&a);
    }
}

/* ---- many at once, cancelling, closing ---- */
static atomic_int n_ok, n_cancelled, n_other;
static void count(void *ctx, const struct http_result *r)
{
    (void)ctx;
    atomic_fetch_add(r->err == OK ? &n_ok : r->err == ERR_CANCELLED ? &n_cancelled : &n_other, 1);
}

static void many(void **state)
{
    (void)state;
    atomic_store(&n_ok, 0);
    static char urls[300][80];
    for (int i = 0; i < 300; i++) {
        snprintf(urls[i], sizeof(urls[i]), "%s/mirror?i=%d", base_url, i);
        assert_int_equal(http_start(client, &(struct http_fetch){ .url = str_c(urls[i]), .done = count }, NULL), OK);
    }
    for (int i = 0; i < 3000 && atomic_load(&n_ok) < 300; i++)
        os_sleep_ms(1);
    assert_int_equal(atomic_load(&n_ok), 300);
}

static void cancelling(void **state)
{
    (void)state;
    struct host h = { 0 };
    host_open(&h);
    atomic_store(&n_cancelled, 0);
    uint64_t id;
    assert_int_equal(http_start(client, &(struct http_fetch){ .url = str_c(url), .done = count }, &id), OK);
    os_sleep_ms(20);
    http_cancel(client, id);
    http_cancel(client, id);
    for (int i = 0; i < 1000 && atomic_load(&n_cancelled) < 1; i++)
        os_sleep_ms(1);
    assert_int_equal(atomic_load(&n_cancelled), 1);
    host_close(&h);
    struct host g = { 0 };
    host_open(&g);
    assert_int_equal(http_start(client, &(struct http_fetch){ .url = str_c(url), .done = count }, &id), OK);
    os_sleep_ms(20);
    http_client_close(client); /* in flight: ends as cancelled */
    assert_int_equal(atomic_load(&n_cancelled), 2);
    host_close(&g);
    assert_int_equal(http_client_open(NULL, &client), OK);
}

/* ---- TLS: a certificate for "vane.test", valid for a century, trusted by nobody ---- */
static const char cert_pem[] = "-----BEGIN CERTIFICATE-----\n"
                               "MIIBljCCATugAwIBAgIUESzUV9Gy6dwbbfY1q5IwCbEZkbcwCgYIKoZIzj0EAwIw\n"
                               "FDESMBAGA1UEAwwJdmFuZS50ZXN0MCAXDTI2MTEyMTExNDQ1NloYDzIxMjYxMDI4\n"
                               "MTE0NDU2WjAUMRIwEAYDVQQDDAl2YW5lLnRlc3QwWTATBgcqhkjOPQIBBggqhkjO\n"
                               "PQMBBwNCAASVYSKbC7SRA6Gx9PIkFLVeJHighMD+059Ls/EJcVZ8zJjf5JabnrTz\n"
                               "lEGh6W+CFwYhhQSxO+VGuzlDdjkSVugRo2kwZzAdBgNVHQ4EFgQUcklsk3NvQPHR\n"
                               "DmmjTysSG4cb8KcwHwYDVR0jBBgwFoAUcklsk3NvQPHRDmmjTysSG4cb8KcwDwYD\n"
                               "VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALggl2YW5lLnRlc3QwCgYIKoZIzj0EAwID\n"
                               "SQAwRgIhANPeV/O3u8GN9RJ7u24qWF0l26/UKOuKTW67biDDv4AOAiEA7XNiobdj\n"
                               "MfyVJVoje2urv0qS1ozQEnb/FBD+5FfvIkQ=\n"
                               "-----END CERTIFICATE-----\n";
static const char key_pem[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgUlgTsjWHviwwKpRD\n"
                              "EmyCotghvR6jqVpZ34GD4cmN+a2hRANCAASVYSKbC7SRA6Gx9PIkFLVeJHighMD+\n"
                              "059Ls/EJcVZ8zJjf5JabnrTzlEGh6W+CFwYhhQSxO+VGuzlDdjkSVugR\n"
                              "-----END PRIVATE KEY-----\n";

static void file_write(const char *path, const char *text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
}

static void tls(void **state)
{
    (void)state;
    char dir[] = "/tmp/vane_tls_test_XXXXXX", cert[64], key[64], https[64];
    assert_non_null(mkdtemp(dir));
    snprintf(cert, sizeof(cert), "%s/cert.pem", dir);
    snprintf(key, sizeof(key), "%s/key.pem", dir);
    file_write(cert, cert_pem);
    file_write(key, key_pem);
    struct http_certificates_config files = { .cert_file = cert, .key_file = key };
    struct http_certificates *certificates;
    assert_int_equal(http_certificates_open(&files, &certificates, &why), OK);
    struct http_listener l = { .address = "127.0.0.1", .tls = certificates };
    const struct http_table t = { routes, ARRAY_LEN(routes), NULL, 0 };
    struct http_server_config cfg = { .listeners = &l, .n_listeners = 1, .tables = &t, .n_tables = 1, .drain_ms = 200 };
    struct http_server *s;
    assert_int_equal(http_server_open(&cfg, &s, &why), OK);
    snprintf(https, sizeof(https), "https://127.0.0.1:%u/mirror", http_server_port(s, 0));
    arena_init(&a, 0);
    str body;
    struct http_tls by_file = { .ca_file = str_c(cert), .server_name = STR("vane.test") };
    struct http_tls by_text = { .ca_pem = str_c(cert_pem), .server_name = STR("vane.test") };
    struct http_tls other_name = { .ca_pem = str_c(cert_pem), .server_name = STR("other.test") };
    struct http_tls blind = { .insecure_skip_verify = true };
    assert_int_equal(fetch((struct http_fetch){ .url = str_c(https), .tls = &by_file }, "", &body), OK);
    assert_true(str_contains(body, STR("Host: 127.0.0.1:"))); /* the name is for the certificate only */
    assert_int_equal(
        fetch((struct http_fetch){ .url = str_c(https), .tls = &by_text, .fresh_connection = true }, "", &body), OK);
    assert_int_equal(
        fetch((struct http_fetch){ .url = str_c(https), .tls = &blind, .fresh_connection = true }, "", &body), OK);
    assert_int_equal(
        fetch((struct http_fetch){ .url = str_c(https), .tls = &other_name, .fresh_connection = true }, "", &body),
        ERR_IO);
    assert_int_equal(fetch((struct http_fetch){ .url = str_c(https), .fresh_connection = true }, "", &body), ERR_IO);
    file_write(key, "nonsense"); /* the old ones stay in use */
    assert_int_not_equal(http_certificates_reload(certificates, &why), OK);
    assert_int_equal(
        fetch((struct http_fetch){ .url = str_c(https), .tls = &by_text, .fresh_connection = true }, "", &body), OK);
    http_server_close(s);
    http_certificates_close(certificates);
    assert_int_not_equal(http_certificates_open(&files, &certificates, &why), OK);
    assert_true(str_contains(str_c(why.msg), STR("PEM")));
    arena_deinit(&a);
    unlink(cert);
    unlink(key);
    rmdir(dir);
}

/* ---- OAuth 2.0: a token server with whims, and a resource that shows what it was sent ---- */
enum whim { GOOD, SHORT_LIVED, IN_FORM, FORM_ANSWER, SLOW, GARBAGE, NO_TOKEN, REFUSES, BAD_TOKEN, OTHER_TYPE };
static _Atomic(enum whim) whim;
static atomic_int n_tokens;
static void token(struct http_request *rq, struct http_response *rs)
{
    enum whim w = atomic_load(&whim);
    int n = atomic_fetch_add(&n_tokens, 1) + 1;
    str auth = http_header(rq, STR("Authorization"));
    os_sleep_ms(w == SLOW ? 400 : 0);
    /* "my%20id:s%3Dcret", each part escaped first (RFC 6749 2.3.1) */
    bool by_header = str_eq(auth, STR("Basic bXklMjBpZDpzJTNEY3JldA=="));
    bool by_form = str_eq(http_param(rq, STR("client_id")), STR("my id")) &&
                   str_eq(http_param(rq, STR("client_secret")), STR("s=cret"));
    rs->status = by_header || by_form ? 200 : 401;
    if (!str_eq(http_param(rq, STR("grant_type")), STR("client_credentials")) ||
        !str_eq(http_param(rq, STR("scope")), STR("read write")) ||
        !str_eq(http_param(rq, STR("audience")), STR("a&b")) || (w == IN_FORM && by_header))
        rs->status = 400;
    if (rs->status != 200)
        return;
    switch (w) {
    case SLOW:
    case GOOD:
    case IN_FORM:
        buf_printf(&rs->body, "{\"access_token\":\"t%d\",\"token_type\":\"bearer\",\"expires_in\":3600,\"x\":[1,{}]}",
                   n);
        break;
    case SHORT_LIVED:
        buf_printf(&rs->body, "{\"access_token\":\"t%d\",\"expires_in\":\"1\"}", n);
        break;
    case FORM_ANSWER:
        rs->content_type = STR("application/x-www-form-urlencoded");
        buf_printf(&rs->body, "access_token=t%d&expires_in=100", n);
        break;
    case GARBAGE:
        buf_lit(&rs->body, "{\"access_token\": <html>");
        break;
    case NO_TOKEN:
        buf_lit(&rs->body, "{\"access_token\": 17, \"token_type\": \"bearer\"} and more");
        break;
    case REFUSES:
        rs->status = 403;
        buf_lit(&rs->body, "{\"error\":\"invalid_scope\",\"error_description\":\"not yours\"}");
        break;
    case BAD_TOKEN:
        buf_lit(&rs->body, "{\"access_token\":\"a\\r\\nX-Evil: 1\"}");
        break;
    case OTHER_TYPE:
        buf_lit(&rs->body, "{\"access_token\":\"t\",\"token_type\":\"MAC\"}");
        break;
    }
}
static const struct http_route token_routes[] = {
    { HTTP_BIT(HTTP_POST), "/token/{any}", token, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/mirror", mirror, HTTP_CONTROL, NULL, 0 },
};

struct oauth2_site {
    struct http_server *server;
    struct http_client *client;
    char token_url[100], url[100];
    struct http_oauth2 o;
};
static const str scopes[] = { STR_INIT("read"), STR_INIT("write") };
static const struct http_pair params[] = { { STR_INIT("audience"), STR_INIT("a&b") } };

/* Settings of their own for every whim: the token of one is not that of another. */
static void site_set(struct oauth2_site *s, enum whim w)
{
    atomic_store(&whim, w);
    atomic_store(&n_tokens, 0);
    snprintf(s->token_url, sizeof(s->token_url), "http://127.0.0.1:%u/token/%d", http_server_port(s->server, 0), w);
    s->o = (struct http_oauth2){ .token_url = str_c(s->token_url),
                                 .client_id = STR("my id"),
                                 .client_secret = STR("s=cret"),
                                 .scopes = scopes,
                                 .n_scopes = 2,
                                 .params = params,
                                 .n_params = 1 };
}

static enum err ask(struct oauth2_site *s, int64_t timeout_ms, str *ret_body)
{
    struct http_fetch f = { .url = str_c(s->url), .oauth2 = &s->o, .timeout_ms = timeout_ms };
    return http_fetch_sync(s->client, &f, &a, &result, ret_body, &why);
}

static void site_open(struct oauth2_site *s)
{
    const struct http_listener l = { .address = "127.0.0.1" };
    const struct http_table t = { token_routes, ARRAY_LEN(token_routes), NULL, 0 };
    struct http_server_config cfg = { .listeners = &l, .n_listeners = 1, .tables = &t, .n_tables = 1, .drain_ms = 200 };
    assert_int_equal(http_server_open(&cfg, &s->server, &why), OK);
    assert_int_equal(http_client_open(&(struct http_client_config){ .threads = 2 }, &s->client), OK);
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u/mirror", http_server_port(s->server, 0));
    arena_init(&a, 0);
}

static void oauth2(void **state)
{
    (void)state;
    struct oauth2_site s;
    str body;
    site_open(&s);
    site_set(&s, GOOD);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(ask(&s, 2000, &body), OK);
        assert_true(str_contains(body, STR("Authorization: Bearer t1\n")));
    }
    assert_int_equal(atomic_load(&n_tokens), 1);
    struct http_oauth2 same = s.o; /* other settings: a token of their own */
    s.o.n_scopes = 1;
    assert_int_equal(ask(&s, 2000, &body), ERR_PERMISSION);
    assert_true(str_contains(str_c(why.msg), STR("HTTP status 400")));
    s.o = same;

    site_set(&s, SHORT_LIVED); /* 1 s: exchanged on the way */
    for (int i = 0; i < 16; i++) {
        assert_int_equal(ask(&s, 2000, &body), OK);
        os_sleep_ms(100);
    }
    assert_in_range(atomic_load(&n_tokens), 2, 4);

    site_set(&s, IN_FORM); /* the credentials in the header are refused; from then on in the form at once */
    assert_int_equal(ask(&s, 2000, &body), OK);
    assert_true(str_contains(body, STR("Authorization: Bearer t2\n")));
    site_set(&s, FORM_ANSWER);
    assert_int_equal(ask(&s, 2000, &body), OK);
    site_set(&s, OTHER_TYPE);
    assert_int_equal(ask(&s, 2000, &body), OK);
    assert_true(str_contains(body, STR("Authorization: MAC t\n")));
    http_client_close(s.client);
    http_server_close(s.server);
    arena_deinit(&a);
}

static void oauth2_trouble(void **state)
{
    (void)state;
    static const struct {
        enum whim whim;
        const char *text;
    } rows[] = {
        { GARBAGE, "the answer cannot be read: " },
        { NO_TOKEN, "the answer cannot be read: " },
        { BAD_TOKEN, "no usable access_token" },
        { REFUSES, "HTTP status 403, invalid_scope: not yours" },
    };
    struct oauth2_site s;
    str body;
    site_open(&s);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        site_set(&s, rows[i].whim);
        assert_int_equal(ask(&s, 2000, &body), ERR_PERMISSION);
        if (!str_contains(str_c(why.msg), str_c(rows[i].text)))
            fail_msg("%s", why.msg);
        assert_int_equal(ask(&s, 2000, &body), ERR_PERMISSION); /* remembered for a while */
        assert_int_equal(atomic_load(&n_tokens), 1);
    }
    os_sleep_ms(1100);
    atomic_store(&whim, GOOD); /* and tried again */
    assert_int_equal(ask(&s, 2000, &body), OK);

    site_set(&s, SLOW); /* the wait counts; the token that comes too late serves the next */
    assert_int_equal(ask(&s, 100, &body), ERR_TIMEOUT);
    assert_true(str_contains(str_c(why.msg), STR("waiting for an OAuth2 token")));
    atomic_store(&n_ok, 0);
    struct http_fetch many_at_once = { .url = str_c(s.url), .oauth2 = &s.o, .done = count };
    for (int i = 0; i < 100; i++)
        assert_int_equal(http_start(s.client, &many_at_once, NULL), OK);
    for (int i = 0; i < 3000 && atomic_load(&n_ok) < 100; i++)
        os_sleep_ms(1);
    assert_int_equal(atomic_load(&n_ok), 100);
    assert_int_equal(atomic_load(&n_tokens), 1);

    s.o.client_secret = STR("other"); /* the server says 401, in the form too */
    assert_int_equal(ask(&s, 2000, &body), ERR_PERMISSION);
    s.o.token_url = STR("http://127.0.0.1:1/token");
    assert_int_equal(ask(&s, 2000, &body), ERR_PERMISSION);
    assert_true(str_contains(str_c(why.msg), STR("cannot connect")));

    site_set(&s, SLOW); /* cancelled and closed while waiting */
    s.o.client_id = STR("another");
    uint64_t id;
    atomic_store(&n_cancelled, 0);
    assert_int_equal(http_start(s.client, &many_at_once, &id), OK);
    os_sleep_ms(20);
    http_cancel(s.client, id);
    assert_int_equal(http_start(s.client, &many_at_once, &id), OK);
    http_client_close(s.client);
    assert_int_equal(atomic_load(&n_cancelled), 2);
    http_server_close(s.server);
    arena_deinit(&a);
}

#define T(f) cmocka_unit_test(f)
int main(void)
{
    const struct CMUnitTest tests[] = { T(requests),      T(bodies_and_limits), T(bad_urls), T(hosts_that_misbehave),
                                        T(many),          T(cancelling),        T(tls),      T(oauth2),
                                        T(oauth2_trouble) };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
