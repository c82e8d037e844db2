/* The client over libcurl. Each event thread runs one epoll loop over several multi handles ("shards"): the cost of
 * a transfer grows with the number of pooled connections of its multi handle, so about 500 hosts share one.
 *
 *   http_start (any thread) -> inbox of the loop (mutex, eventfd) -> call_begin -> libcurl -> call_end -> done()
 *
 * A shard is chosen by the hash of the URL's authority, so that a host always meets its own idle connection.
 * Everything below `loop` belongs to the loop's thread, the inbox excepted. */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stats.h"
#include "base/vec.h"
#include "http/http_aws_keys.h"
#include "http/http_int.h"
#include "http/http_oauth2.h"

enum {
    EVENTS_MAX = 128,
    SPARE_HANDLES_MAX = 64, /* easy handles kept per shard (some 17 KB each) */
    CONNECTIONS_MAX = 2000, /* idle ones kept per shard */
    HEADER_BYTES_MAX = 128 * 1024,
    REDIRECTS_MAX = 10,
    TIMEOUT_MS_DEFAULT = 30000,
    BODY_BYTES_DEFAULT = 64 << 20,
    URL_BYTES_MAX = 64 * 1024,
};
#define WAKE_ID     UINT64_MAX
#define NO_DEADLINE UINT64_MAX

static struct stat started = STAT_COUNTER("vane_http_client_requests_total", "Outgoing requests started", "");
static struct stat failed = STAT_COUNTER("vane_http_client_failures_total", "Outgoing requests that got no answer", "");
static struct stat cut_size =
    STAT_COUNTER("vane_http_client_too_large_total", "Outgoing requests cut because the answer was too large", "");

struct call {
    uint64_t id;
    struct http_fetch f; /* borrowed members */
    struct shard *shard;
    CURL *easy;
    struct arena a;
    struct buf body;
    VEC(struct http_pair) headers;
    size_t header_bytes;
    struct curl_slist *send_headers, *proxy_headers, *connect_to;
    int pem_fds[3];
    str authorization; /* of oauth2 */
    struct http_aws_found aws;
    str url; /* as libcurl sends it */
    uint64_t begin_ns, token_ns;
    bool body_over, headers_over, cancelled;
    char error[CURL_ERROR_SIZE];
};
#define MAP_NAME     callmap
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct call *
#define MAP_HASH(k)  hash_u64(k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

struct order {         /* what other threads ask of a loop */
    struct call *call; /* start it; NULL: cancel */
    uint64_t cancel_id;
};
struct shard {
    struct loop *loop;
    uint32_t index;
    CURLM *multi;
    uint64_t deadline_ns;
    VEC(CURL *) spare;
};
struct loop {
    struct http_client *client;
    pthread_t thread;
    bool running;
    int epoll_fd, wake_fd;
    struct shard *shards;
    unsigned n_shards;
    struct callmap calls;
    VEC(struct call *) waiting; /* for an OAuth2 token or AWS credentials */
    struct mtx mu;              /* guards inbox, closed */
    VEC(struct order) inbox;
    bool closed;
};
struct http_client {
    struct http_client_config cfg;
    struct loop *loops;
    unsigned n_loops;
    struct http_tokens *tokens;
    struct http_aws_keys *aws_keys;
    atomic_uint inflight;
    atomic_uint_least64_t next_id;
    char user_agent[128];
};

/* ---- libcurl's callbacks ---- */

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    struct call *c = ctx;
    n *= size;
    long status = 0;
    if (c->f.data && curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK && status == 200) {
        c->body_over = !c->f.data(c->f.ctx, str_n(p, n));
        return c->body_over ? 0 : n;
    }
    size_t max = c->f.body_bytes_max ? c->f.body_bytes_max : BODY_BYTES_DEFAULT;
    if (n > max - MIN(c->body.n, max)) {
        c->body_over = true;
        return 0;
    }
    buf_add(&c->body, p, n);
    return n;
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx)
{
    struct call *c = ctx;
    n *= size;
    str line = str_trim(str_n(p, n)), name;
    if (str_has_prefix(line, STR("HTTP/"))) { /* another answer: after a redirect or 100 Continue */
        c->headers.n = 0;
        return n;
    }
    c->header_bytes += n;
    if (c->header_bytes > HEADER_BYTES_MAX) {
        c->headers_over = true;
        return 0;
    }
    size_t colon = str_find_char(line, ':');
    if (colon == SIZE_MAX)
        return n;
    name = str_take(line, colon);
    struct http_pair h = { arena_str(&c->a, name), arena_str(&c->a, str_trim(str_skip(line, colon + 1))) };
    avec_push(&c->a, &c->headers, h);
    return n;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *socket_ctx)
{
    (void)easy;
    struct shard *sh = ctx;
    int ep = sh->loop->epoll_fd;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    struct epoll_event ev = { .data.u64 = (uint64_t)sh->index << 32 | (uint32_t)fd };
    ev.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (socket_ctx && epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev) == 0)
        return 0;
    if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) != 0 && errno == EEXIST)
        epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev);
    curl_multi_assign(sh->multi, fd, sh);
    return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *ctx)
{
    (void)multi;
    struct shard *sh = ctx;
    sh->deadline_ns = timeout_ms < 0 ? NO_DEADLINE : os_mono_ns() + (uint64_t)timeout_ms * 1000000u;
    return 0;
}

/* ---- setting a transfer up ---- */

static const char *cstr_or_null(struct arena *a, str s)
{
    return s.n ? arena_cstr(a, s) : NULL;
}

/* libcurl's GnuTLS backend reads certificates from files only: inline PEM gets an anonymous one. */
static const char *pem_path(struct call *c, int i, str pem, str file)
{
    if (pem.n == 0)
        return cstr_or_null(&c->a, file);
    int fd = memfd_create("pem", MFD_CLOEXEC);
    if (fd < 0)
        return NULL;
    c->pem_fds[i] = fd;
    for (size_t off = 0; off < pem.n;) {
        ssize_t n = write(fd, pem.p + off, pem.n - off);
        if (n <= 0)
            return NULL;
        off += (size_t)n;
    }
    return arena_printf(&c->a, "/proc/self/fd/%d", fd).p;
}

static long tls_version(unsigned v, bool max)
{
    switch (v) {
    case 10:
        return max ? CURL_SSLVERSION_MAX_TLSv1_0 : CURL_SSLVERSION_TLSv1_0;
    case 11:
        return max ? CURL_SSLVERSION_MAX_TLSv1_1 : CURL_SSLVERSION_TLSv1_1;
    case 12:
        return max ? CURL_SSLVERSION_MAX_TLSv1_2 : CURL_SSLVERSION_TLSv1_2;
    case 13:
        return max ? CURL_SSLVERSION_MAX_TLSv1_3 : CURL_SSLVERSION_TLSv1_3;
    default:
        return max ? CURL_SSLVERSION_MAX_DEFAULT : CURL_SSLVERSION_TLSv1_2;
    }
}

long http_tls_versions(const struct http_tls *t)
{
    return (long)(tls_version(t->min_version, false) | tls_version(t->max_version, true));
}

static void send_header(struct call *c, const char *line)
{
    struct curl_slist *l = curl_slist_append(c->send_headers, line);
    if (l)
        c->send_headers = l;
}

/* Speak to the URL's host under another name: the URL gets the name, CONNECT_TO leads to the real host, and the
 * Host header stays. */
static bool rename_host(struct call *c, CURLU *u)
{
    char *host = NULL, *port = NULL, *port_text = NULL;
    bool ok = curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK;
    if (ok) {
        bool own_port = curl_url_get(u, CURLUPART_PORT, &port_text, 0) == CURLUE_OK;
        const char *name = arena_cstr(&c->a, c->f.tls->server_name);
        c->connect_to = curl_slist_append(NULL, arena_printf(&c->a, "%s:%s:%s:%s", name, port, host, port).p);
        send_header(c, arena_printf(&c->a, "Host: %s%s%s", host, own_port ? ":" : "", own_port ? port_text : "").p);
        ok = curl_url_set(u, CURLUPART_HOST, name, 0) == CURLUE_OK;
        curl_easy_setopt(c->easy, CURLOPT_CONNECT_TO, c->connect_to);
    }
    curl_free(host);
    curl_free(port);
    curl_free(port_text);
    return ok;
}

static void set_tls(struct call *c)
{
    const struct http_tls *t = c->f.tls;
    if (!t)
        return;
    const char *ca = pem_path(c, 0, t->ca_pem, t->ca_file);
    const char *cert = pem_path(c, 1, t->cert_pem, t->cert_file);
    const char *key = pem_path(c, 2, t->key_pem, t->key_file);
    if (ca)
        curl_easy_setopt(c->easy, CURLOPT_CAINFO, ca);
    if (cert)
        curl_easy_setopt(c->easy, CURLOPT_SSLCERT, cert);
    if (key || cert)
        curl_easy_setopt(c->easy, CURLOPT_SSLKEY, key ? key : cert);
    curl_easy_setopt(c->easy, CURLOPT_SSL_VERIFYPEER, t->insecure_skip_verify ? 0L : 1L);
    curl_easy_setopt(c->easy, CURLOPT_SSL_VERIFYHOST, t->insecure_skip_verify ? 0L : 2L);
    curl_easy_setopt(c->easy, CURLOPT_SSLVERSION, http_tls_versions(t));
}

static bool set_url(struct call *c)
{
    CURLU *u = curl_url();
    char *url = NULL, *scheme = NULL;
    bool ok = u && curl_url_set(u, CURLUPART_URL, arena_cstr(&c->a, c->f.url), CURLU_URLENCODE) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
              (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    ok = ok && curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK;
    if (ok)
        c->url = arena_str(&c->a, str_c(url));
    curl_free(url);
    url = NULL;
    if (ok && c->f.tls && c->f.tls->server_name.n)
        ok = rename_host(c, u);
    ok = ok && curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK &&
         curl_easy_setopt(c->easy, CURLOPT_URL, url) == CURLE_OK;
    curl_free(url);
    curl_free(scheme);
    curl_url_cleanup(u);
    return ok;
}

static void set_method(struct call *c)
{
    const struct http_fetch *f = &c->f;
    if (f->method == HTTP_HEAD)
        curl_easy_setopt(c->easy, CURLOPT_NOBODY, 1L);
    bool carries = f->method == HTTP_POST || f->method == HTTP_PUT || f->method == HTTP_PATCH ||
                   (f->method == HTTP_DELETE && f->body.n);
    if (carries) {
        curl_easy_setopt(c->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)f->body.n);
        curl_easy_setopt(c->easy, CURLOPT_POSTFIELDS, f->body.n ? f->body.p : "");
        send_header(c, "Expect:"); /* no round trip before the body */
    }
    if (f->method != HTTP_GET && f->method != HTTP_HEAD && f->method != HTTP_POST)
        curl_easy_setopt(c->easy, CURLOPT_CUSTOMREQUEST, http_method_name(f->method).p);
}

static void set_auth(struct call *c)
{
    const struct http_fetch *f = &c->f;
    if (f->basic_user.p) {
        curl_easy_setopt(c->easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
        curl_easy_setopt(c->easy, CURLOPT_USERNAME, arena_cstr(&c->a, f->basic_user));
        curl_easy_setopt(c->easy, CURLOPT_PASSWORD, arena_cstr(&c->a, f->basic_password));
    } else if (f->bearer.n) {
        curl_easy_setopt(c->easy, CURLOPT_HTTPAUTH, CURLAUTH_BEARER);
        curl_easy_setopt(c->easy, CURLOPT_XOAUTH2_BEARER, arena_cstr(&c->a, f->bearer));
    }
}

static bool headers_clean(const struct http_pair *headers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct http_pair *h = &headers[i];
        if (h->name.n == 0 || memchr(h->name.p, '\n', h->name.n) || memchr(h->name.p, ':', h->name.n) ||
            (h->value.n && (memchr(h->value.p, '\n', h->value.n) || memchr(h->value.p, '\r', h->value.n))))
            return false;
    }
    return true;
}

/* The type of the body must be signed; of the rest proxies may make what they like. */
static void set_signature(struct call *c)
{
    const struct http_fetch *f = &c->f;
    struct http_pair *h = arena_array(&c->a, struct http_pair, f->n_headers + 1), more[HTTP_AWS_HEADERS];
    str url = str_take(c->url, str_find_char(c->url, '#'));
    struct http_aws_request rq = { .method = http_method_name(f->method),
                                   .url = url,
                                   .region = c->aws.region,
                                   .service = f->sigv4->service,
                                   .headers = h,
                                   .body = f->body,
                                   .now_ms = os_now_ms() };
    for (size_t i = 0; i < f->n_headers; i++)
        if (str_ieq(f->headers[i].name, STR("Content-Type")))
            h[rq.n_headers++] = f->headers[i];
    size_t n = http_aws_sign(&rq, &c->aws.key, &c->a, more);
    for (size_t i = 0; i < n; i++)
        send_header(c, arena_printf(&c->a, STR_FMT ": " STR_FMT, STR_ARG(more[i].name), STR_ARG(more[i].value)).p);
}

static void set_headers(struct call *c)
{
    bool has_type = false;
    if (c->f.sigv4)
        set_signature(c);
    if (c->authorization.n)
        send_header(c, arena_printf(&c->a, "Authorization: " STR_FMT, STR_ARG(c->authorization)).p);
    for (size_t i = 0; i < c->f.n_headers; i++) {
        struct http_pair h = c->f.headers[i];
        has_type |= str_ieq(h.name, STR("Content-Type"));
        const char *form =
            h.value.n ? STR_FMT ": " STR_FMT : STR_FMT ";" STR_FMT; /* "Name;": sent with an empty value */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        send_header(c, arena_printf(&c->a, form, STR_ARG(h.name), STR_ARG(h.value)).p);
#pragma GCC diagnostic pop
    }
    if (c->f.body.n && !has_type)
        send_header(c, "Content-Type: application/octet-stream");
    if (c->send_headers)
        curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->send_headers);
}

static void set_proxy(struct call *c)
{
    const struct http_fetch *f = &c->f;
    if (f->proxy_url.n || !f->proxy_from_environment)
        curl_easy_setopt(c->easy, CURLOPT_PROXY, f->proxy_url.n ? arena_cstr(&c->a, f->proxy_url) : "");
    if (f->no_proxy.n || !f->proxy_from_environment) /* "": NO_PROXY of the environment must not undo proxy_url */
        curl_easy_setopt(c->easy, CURLOPT_NOPROXY, arena_cstr(&c->a, f->no_proxy));
    for (size_t i = 0; i < f->n_proxy_headers; i++) {
        str line = arena_printf(&c->a, STR_FMT ": " STR_FMT, STR_ARG(f->proxy_headers[i].name),
                                STR_ARG(f->proxy_headers[i].value));
        struct curl_slist *l = curl_slist_append(c->proxy_headers, line.p);
        c->proxy_headers = l ? l : c->proxy_headers;
    }
    if (c->proxy_headers) {
        curl_easy_setopt(c->easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE);
        curl_easy_setopt(c->easy, CURLOPT_PROXYHEADER, c->proxy_headers);
    }
    if (f->unix_socket.n)
        curl_easy_setopt(c->easy, CURLOPT_UNIX_SOCKET_PATH, arena_cstr(&c->a, f->unix_socket));
}

static int64_t timeout_ms_of(const struct call *c)
{
    return c->f.timeout_ms > 0 ? c->f.timeout_ms : TIMEOUT_MS_DEFAULT;
}

static uint64_t deadline_ns_of(const struct call *c)
{
    return c->begin_ns + (uint64_t)timeout_ms_of(c) * 1000000u;
}

/* What is left of the time after the wait for a token. */
static long time_left_ms(const struct call *c)
{
    uint64_t now = os_mono_ns(), end = deadline_ns_of(c);
    return end > now ? (long)((end - now + 999999u) / 1000000u) : 1;
}

static enum err call_prepare(struct call *c)
{
    CURL *e = c->easy;
    const struct http_fetch *f = &c->f;
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_PRIVATE, c);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->error);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(e, CURLOPT_USERAGENT, c->shard->loop->client->user_agent);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, time_left_ms(c));
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, f->follow_redirects ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_MAXREDIRS, (long)REDIRECTS_MAX);
    if (f->accept_encoding.n)
        curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, arena_cstr(&c->a, f->accept_encoding));
    if (f->fresh_connection) {
        curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
        curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L);
    }
    if (f->url.n > URL_BYTES_MAX || !set_url(c)) {
        snprintf(c->error, sizeof(c->error), "not a valid http or https URL");
        return ERR_INVALID;
    }
    if (!headers_clean(f->headers, f->n_headers) || !headers_clean(f->proxy_headers, f->n_proxy_headers)) {
        snprintf(c->error, sizeof(c->error), "a request header has an invalid name or value");
        return ERR_INVALID;
    }
    set_tls(c);
    set_method(c);
    set_auth(c);
    set_headers(c);
    set_proxy(c);
    return OK;
}

/* ---- the end of a transfer ---- */

static enum err result_err(const struct call *c, CURLcode code)
{
    if (c->cancelled)
        return ERR_CANCELLED;
    if (c->body_over || c->headers_over)
        return ERR_LIMIT;
    switch (code) {
    case CURLE_OK:
        return OK;
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_URL_MALFORMAT:
        return ERR_INVALID;
    default:
        return ERR_IO;
    }
}

static const char *error_text(struct call *c, enum err e, CURLcode code)
{
    long os_errno = 0;
    switch (e) {
    case OK:
        return "";
    case ERR_CANCELLED:
        return "cancelled";
    case ERR_TIMEOUT:
        return arena_printf(&c->a, "timed out after %lld ms%s", (long long)timeout_ms_of(c),
                            c->f.oauth2 && !c->authorization.n ? " waiting for an OAuth2 token"
                            : c->f.sigv4 && !c->aws.issued_ns  ? " waiting for AWS credentials"
                                                               : "")
            .p;
    case ERR_LIMIT:
        if (c->headers_over)
            return "answer's headers are too large";
        return arena_printf(&c->a, "answer is larger than %zu bytes",
                            c->f.body_bytes_max ? c->f.body_bytes_max : (size_t)BODY_BYTES_DEFAULT)
            .p;
    default:
        break;
    }
    curl_easy_getinfo(c->easy, CURLINFO_OS_ERRNO, &os_errno);
    if (code == CURLE_COULDNT_CONNECT && os_errno)
        return arena_printf(&c->a, "cannot connect: %s", strerror((int)os_errno)).p;
    return c->error[0] ? c->error : curl_easy_strerror(code);
}

static uint64_t info_ns(CURL *easy, CURLINFO what)
{
    curl_off_t us = 0;
    curl_easy_getinfo(easy, what, &us);
    return us > 0 ? (uint64_t)us * 1000u : 0;
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static void result_timings(CURL *easy, struct http_result *r)
{
    uint64_t dns = info_ns(easy, CURLINFO_NAMELOOKUP_TIME_T), tcp = info_ns(easy, CURLINFO_CONNECT_TIME_T);
    uint64_t tls = info_ns(easy, CURLINFO_APPCONNECT_TIME_T), first = info_ns(easy, CURLINFO_STARTTRANSFER_TIME_T);
    r->total_ns = info_ns(easy, CURLINFO_TOTAL_TIME_T);
    r->dns_ns = dns;
    r->connect_ns = minus(tcp, dns);
    r->tls_ns = tls ? minus(tls, tcp) : 0;
    r->first_byte_ns = minus(first, tls ? tls : tcp);
}

static void call_free(struct call *c)
{
    struct shard *sh = c->shard;
    if (c->easy && sh->spare.n < SPARE_HANDLES_MAX) {
        curl_easy_reset(c->easy);
        vec_push(&sh->spare, c->easy);
    } else if (c->easy) {
        curl_easy_cleanup(c->easy);
    }
    for (int i = 0; i < 3; i++)
        if (c->pem_fds[i] >= 0)
            close(c->pem_fds[i]);
    curl_slist_free_all(c->send_headers);
    curl_slist_free_all(c->proxy_headers);
    curl_slist_free_all(c->connect_to);
    buf_deinit(&c->body);
    arena_deinit(&c->a);
    mem_free(c);
}

static void call_end(struct call *c, enum err e, CURLcode code)
{
    struct http_client *client = c->shard->loop->client;
    long status = 0;
    char *url = NULL;
    struct http_result r = { .err = e, .error = error_text(c, e, code), .body = &c->body };
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c->easy, CURLINFO_EFFECTIVE_URL, &url);
    r.status = (int)status;
    r.headers = c->headers.p;
    r.n_headers = c->headers.n;
    r.content_type = http_result_header(&r, STR("Content-Type"));
    r.final_url = str_c(url);
    result_timings(c->easy, &r);
    callmap_del(&c->shard->loop->calls, c->id);
    if (e != OK)
        stat_add(&failed, 1);
    if (c->body_over)
        stat_add(&cut_size, 1);
    if (status == 401 && c->authorization.n)
        http_tokens_refused(client->tokens, c->f.oauth2, c->token_ns);
    if ((status == 401 || status == 403) && c->aws.issued_ns)
        http_aws_keys_refused(client->aws_keys, c->f.sigv4, c->aws.issued_ns);
    c->f.done(c->f.ctx, &r);
    call_free(c);
    atomic_fetch_sub(&client->inflight, 1);
}

static void shard_collect(struct shard *sh)
{
    int left;
    CURLMsg *m;
    while ((m = curl_multi_info_read(sh->multi, &left)) != NULL) {
        if (m->msg != CURLMSG_DONE)
            continue;
        CURL *easy = m->easy_handle;
        CURLcode code = m->data.result; /* m dies with the next multi call */
        char *p = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &p);
        struct call *c = (void *)p;
        curl_multi_remove_handle(sh->multi, easy);
        call_end(c, result_err(c, code), code);
    }
}

static void call_go(struct call *c)
{
    enum err e = call_prepare(c);
    if (e == OK && curl_multi_add_handle(c->shard->multi, c->easy) != CURLM_OK)
        e = ERR_IO;
    if (e != OK)
        call_end(c, e, CURLE_OK);
}

static enum http_token_state call_token(struct call *c)
{
    str text = STR_NONE;
    enum http_token_state state;
    if (c->f.sigv4) {
        state = http_aws_keys_take(c->shard->loop->client->aws_keys, c->f.sigv4, &c->a, &c->aws);
        if (state == HTTP_TOKEN_FAILED)
            snprintf(c->error, sizeof(c->error), STR_FMT, STR_ARG(c->aws.why));
        return state;
    }
    state = http_tokens_take(c->shard->loop->client->tokens, c->f.oauth2, &c->a, &text, &c->token_ns);
    if (state == HTTP_TOKEN_READY)
        c->authorization = text;
    else if (state == HTTP_TOKEN_FAILED)
        snprintf(c->error, sizeof(c->error), STR_FMT, STR_ARG(text));
    return state;
}

static void call_authorized(struct call *c, enum http_token_state state)
{
    if (state == HTTP_TOKEN_READY)
        call_go(c);
    else
        call_end(c, ERR_PERMISSION, CURLE_OK);
}

static void call_begin(struct call *c)
{
    struct shard *sh = c->shard;
    *callmap_put(&sh->loop->calls, c->id, NULL) = c;
    if (sh->spare.n) {
        c->easy = vec_last(&sh->spare);
        sh->spare.n--;
    } else {
        c->easy = curl_easy_init();
        ASSERT(c->easy != NULL);
    }
    stat_add(&started, 1);
    c->begin_ns = os_mono_ns();
    enum http_token_state state = c->f.oauth2 || c->f.sigv4 ? call_token(c) : HTTP_TOKEN_READY;
    if (state == HTTP_TOKEN_WAIT)
        vec_push(&sh->loop->waiting, c);
    else
        call_authorized(c, state);
}

/* Those who wait for a token: is their time over, has it come, has it failed? */
static void loop_waiting(struct loop *l, bool woken)
{
    uint64_t now = os_mono_ns();
    for (size_t i = l->waiting.n; i-- > 0;) {
        struct call *c = l->waiting.p[i];
        bool over = deadline_ns_of(c) <= now;
        enum http_token_state state = woken && !over ? call_token(c) : HTTP_TOKEN_WAIT;
        if (state == HTTP_TOKEN_WAIT && !over)
            continue;
        vec_remove_swap(&l->waiting, i);
        if (over)
            call_end(c, ERR_TIMEOUT, CURLE_OK);
        else
            call_authorized(c, state);
    }
}

static void waiting_remove(struct loop *l, const struct call *c)
{
    for (size_t i = 0; i < l->waiting.n; i++)
        if (l->waiting.p[i] == c) {
            vec_remove_swap(&l->waiting, i);
            return;
        }
}

static void call_cancel(struct loop *l, uint64_t id)
{
    struct call **slot = callmap_get(&l->calls, id);
    if (!slot)
        return;
    struct call *c = *slot;
    c->cancelled = true;
    waiting_remove(l, c);
    curl_multi_remove_handle(c->shard->multi, c->easy);
    call_end(c, ERR_CANCELLED, CURLE_OK);
}

/* ---- the loop ---- */

static void loop_wake(struct loop *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->wake_fd, &one, sizeof(one));
    (void)n; /* full means that it is awake already */
}

/* false: the client is being closed. */
static bool loop_orders(struct loop *l)
{
    uint64_t n;
    ssize_t got = read(l->wake_fd, &n, sizeof(n));
    (void)got;
    mtx_lock(&l->mu);
    VEC(struct order) orders = { l->inbox.p, l->inbox.n, l->inbox.cap };
    l->inbox.p = NULL;
    l->inbox.n = l->inbox.cap = 0;
    bool closed = l->closed;
    mtx_unlock(&l->mu);
    vec_each (struct order, o, &orders) {
        if (o->call)
            call_begin(o->call);
        else
            call_cancel(l, o->cancel_id);
    }
    vec_free(&orders);
    return !closed;
}

static int loop_timeout_ms(const struct loop *l)
{
    uint64_t next = NO_DEADLINE, now = os_mono_ns();
    for (unsigned i = 0; i < l->n_shards; i++)
        next = MIN(next, l->shards[i].deadline_ns);
    for (size_t i = 0; i < l->waiting.n; i++)
        next = MIN(next, deadline_ns_of(l->waiting.p[i]));
    if (next == NO_DEADLINE)
        return -1;
    return next <= now ? 0 : (int)MIN((next - now + 999999u) / 1000000u, 60000u);
}

static void loop_timers(struct loop *l)
{
    uint64_t now = os_mono_ns();
    for (unsigned i = 0; i < l->n_shards; i++) {
        struct shard *sh = &l->shards[i];
        if (sh->deadline_ns > now)
            continue;
        int running;
        sh->deadline_ns = NO_DEADLINE;
        curl_multi_socket_action(sh->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        shard_collect(sh);
    }
}

static void loop_event(struct loop *l, const struct epoll_event *ev)
{
    struct shard *sh = &l->shards[ev->data.u64 >> 32];
    int what = (ev->events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP) ? CURL_CSELECT_IN : 0) |
               (ev->events & EPOLLOUT ? CURL_CSELECT_OUT : 0) | (ev->events & EPOLLERR ? CURL_CSELECT_ERR : 0);
    int running;
    curl_multi_socket_action(sh->multi, (curl_socket_t)(uint32_t)ev->data.u64, what, &running);
    shard_collect(sh);
}

static void loop_cancel_all(struct loop *l)
{
    size_t it;
    struct callmap_slot *s;
    while (it = 0, (s = callmap_next(&l->calls, &it)) != NULL)
        call_cancel(l, s->key);
}

static void loop_run(void *p)
{
    struct loop *l = p;
    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int n = epoll_wait(l->epoll_fd, events, EVENTS_MAX, loop_timeout_ms(l));
        bool woken = false;
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == WAKE_ID)
                woken = true;
            else
                loop_event(l, &events[i]);
        }
        if (woken && !loop_orders(l))
            break;
        loop_waiting(l, woken);
        loop_timers(l);
    }
    loop_cancel_all(l);
}

static enum err loop_open(struct loop *l, struct http_client *c, unsigned n_shards)
{
    l->client = c;
    l->n_shards = n_shards;
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    mtx_init(&l->mu, 0);
    l->shards = mem_zalloc(n_shards * sizeof(*l->shards));
    for (unsigned i = 0; i < n_shards; i++) {
        struct shard *sh = &l->shards[i];
        *sh = (struct shard){ .loop = l, .index = i, .multi = curl_multi_init(), .deadline_ns = NO_DEADLINE };
        ASSERT(sh->multi != NULL);
        curl_multi_setopt(sh->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
        curl_multi_setopt(sh->multi, CURLMOPT_SOCKETDATA, sh);
        curl_multi_setopt(sh->multi, CURLMOPT_TIMERFUNCTION, on_timer);
        curl_multi_setopt(sh->multi, CURLMOPT_TIMERDATA, sh);
        curl_multi_setopt(sh->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_MAX);
    }
    if (l->epoll_fd < 0 || l->wake_fd < 0)
        return err_from_errno(errno);
    struct epoll_event ev = { .events = EPOLLIN, .data.u64 = WAKE_ID };
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &ev) != 0)
        return err_from_errno(errno);
    TRY(thread_start(&l->thread, "http-client", loop_run, l));
    l->running = true;
    return OK;
}

static void loop_stop(struct loop *l)
{
    if (!l->client)
        return;
    mtx_lock(&l->mu);
    l->closed = true;
    mtx_unlock(&l->mu);
    if (l->running) {
        loop_wake(l);
        thread_join(l->thread);
    }
}

/* When all loops have stopped: the end of one's request may wake the others. */
static void loop_close(struct loop *l)
{
    if (!l->client)
        return;
    for (unsigned i = 0; i < l->n_shards; i++) {
        for (size_t k = 0; k < l->shards[i].spare.n; k++)
            curl_easy_cleanup(l->shards[i].spare.p[k]);
        vec_free(&l->shards[i].spare);
        curl_multi_cleanup(l->shards[i].multi);
    }
    if (l->epoll_fd >= 0)
        close(l->epoll_fd);
    if (l->wake_fd >= 0)
        close(l->wake_fd);
    callmap_free(&l->calls);
    vec_free(&l->waiting);
    vec_free(&l->inbox);
    mem_free(l->shards);
    mtx_deinit(&l->mu);
}

/* ---- public ---- */

static void curl_once(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

void http_curl_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, curl_once);
}

enum err http_client_open(const struct http_client_config *cfg, struct http_client **ret)
{
    http_curl_init();
    struct http_client *c = mem_zalloc(sizeof(*c));
    if (cfg)
        c->cfg = *cfg;
    unsigned threads = c->cfg.threads ? c->cfg.threads : 1, shards = c->cfg.shards ? c->cfg.shards : 16;
    c->cfg.inflight_max = c->cfg.inflight_max ? c->cfg.inflight_max : 20000;
    snprintf(c->user_agent, sizeof(c->user_agent), "%s", c->cfg.user_agent ? c->cfg.user_agent : "vane/" VANE_VERSION);
    c->tokens = http_tokens_open(c);
    c->aws_keys = http_aws_keys_open(c);
    c->loops = mem_zalloc(threads * sizeof(*c->loops));
    c->n_loops = threads;
    for (unsigned i = 0; i < threads; i++) {
        enum err e = loop_open(&c->loops[i], c, (shards + threads - 1) / threads);
        if (e != OK) {
            http_client_close(c);
            return e;
        }
    }
    *ret = c;
    return OK;
}

void http_client_close(struct http_client *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < c->n_loops; i++)
        loop_stop(&c->loops[i]);
    for (unsigned i = 0; i < c->n_loops; i++)
        loop_close(&c->loops[i]);
    if (c->tokens)
        http_tokens_close(c->tokens);
    if (c->aws_keys)
        http_aws_keys_close(c->aws_keys);
    mem_free(c->loops);
    mem_free(c);
}

void http_client_wake(struct http_client *c)
{
    for (unsigned i = 0; i < c->n_loops; i++)
        if (c->loops[i].running)
            loop_wake(&c->loops[i]);
}

/* "http://user@host:80/path" -> "user@host:80" */
static str authority(str url)
{
    size_t at = str_find(url, STR("://"));
    str rest = at == SIZE_MAX ? url : str_skip(url, at + 3);
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?' && rest.p[n] != '#')
        n++;
    return str_take(rest, n);
}

static enum err order_put(struct loop *l, struct order o)
{
    mtx_lock(&l->mu);
    bool closed = l->closed;
    if (!closed)
        vec_push(&l->inbox, o);
    bool first = l->inbox.n == 1;
    mtx_unlock(&l->mu);
    if (first)
        loop_wake(l);
    return closed ? ERR_CLOSED : OK;
}

enum err http_start(struct http_client *c, const struct http_fetch *f, uint64_t *ret_id)
{
    if (atomic_fetch_add(&c->inflight, 1) >= c->cfg.inflight_max) {
        atomic_fetch_sub(&c->inflight, 1);
        return ERR_BUSY;
    }
    uint64_t h = hash64(authority(f->url));
    struct loop *l = &c->loops[h % c->n_loops];
    struct call *call = mem_zalloc(sizeof(*call));
    /* The id names its loop, so that http_cancel finds it. */
    call->id = (atomic_fetch_add(&c->next_id, 1) + 1) * c->n_loops + (uint64_t)(l - c->loops);
    call->f = *f;
    call->shard = &l->shards[(h >> 32) % l->n_shards];
    call->pem_fds[0] = call->pem_fds[1] = call->pem_fds[2] = -1;
    arena_init(&call->a, 0);
    buf_init(&call->body, 0);
    if (ret_id)
        *ret_id = call->id;
    enum err e = order_put(l, (struct order){ .call = call });
    if (e != OK) {
        arena_deinit(&call->a);
        mem_free(call);
        atomic_fetch_sub(&c->inflight, 1);
    }
    return e;
}

enum http_region http_sigv4_region(struct http_client *c, const struct http_sigv4 *s, struct arena *a, str *ret,
                                   str *ret_why)
{
    struct http_aws_found found;
    enum http_token_state state = http_aws_keys_take(c->aws_keys, s, a, &found);
    *ret = found.region;
    *ret_why = found.why;
    return state == HTTP_TOKEN_READY  ? HTTP_REGION_READY
           : state == HTTP_TOKEN_WAIT ? HTTP_REGION_WAIT
                                      : HTTP_REGION_FAILED;
}

void http_cancel(struct http_client *c, uint64_t id)
{
    IGNORE_ERR(order_put(&c->loops[id % c->n_loops], (struct order){ .cancel_id = id }));
}

str http_result_header(const struct http_result *r, str name)
{
    for (size_t i = 0; i < r->n_headers; i++)
        if (str_ieq(r->headers[i].name, name))
            return r->headers[i].value;
    return STR_NONE;
}

/* ---- synchronous ---- */

#define CANCEL_LOOK_MS 100

struct waiter {
    struct mtx mu;
    struct cond done;
    bool is_done;
    struct arena *a;
    struct http_result *ret;
    str *ret_body;
};

static void result_copy(struct waiter *w, const struct http_result *r)
{
    struct http_pair *headers = arena_array(w->a, struct http_pair, r->n_headers);
    for (size_t i = 0; i < r->n_headers; i++)
        headers[i] = (struct http_pair){ arena_str(w->a, r->headers[i].name), arena_str(w->a, r->headers[i].value) };
    *w->ret = *r;
    w->ret->headers = headers;
    w->ret->error = arena_cstr(w->a, str_c(r->error));
    w->ret->content_type = arena_str(w->a, r->content_type);
    w->ret->final_url = arena_str(w->a, r->final_url);
    w->ret->body = NULL;
    *w->ret_body = arena_str(w->a, buf_str(r->body));
}

static void waiter_done(void *ctx, const struct http_result *r)
{
    struct waiter *w = ctx;
    mtx_lock(&w->mu);
    result_copy(w, r);
    w->is_done = true;
    cond_signal(&w->done);
    mtx_unlock(&w->mu);
}

enum err http_fetch_sync(struct http_client *c, const struct http_fetch *f, struct arena *a, struct http_result *ret,
                         str *ret_body, struct err_text *reterr)
{
    struct waiter w = { .a = a, .ret = ret, .ret_body = ret_body };
    struct http_fetch mine = *f;
    mine.done = waiter_done;
    mine.ctx = &w;
    memset(ret, 0, sizeof(*ret));
    *ret_body = STR("");
    mtx_init(&w.mu, 0);
    cond_init(&w.done);
    uint64_t id;
    enum err e = http_start(c, &mine, &id);
    if (e == OK) {
        bool ended = false;
        mtx_lock(&w.mu);
        while (!w.is_done) {
            if (!f->cancel || ended)
                cond_wait(&w.done, &w.mu);
            else
                cond_wait_ms(&w.done, &w.mu, CANCEL_LOOK_MS);
            if (f->cancel && !ended && !w.is_done && atomic_load(f->cancel)) {
                ended = true;
                mtx_unlock(&w.mu);
                http_cancel(c, id); /* its callback takes the lock */
                mtx_lock(&w.mu);
            }
        }
        mtx_unlock(&w.mu);
        e = ret->err;
        if (e != OK)
            IGNORE_ERR(err_fail(reterr, e, "%s", ret->error));
    } else {
        ret->err = e;
        ret->error = e == ERR_BUSY ? "too many requests in flight" : "the client is closed";
        IGNORE_ERR(err_fail(reterr, e, "%s", ret->error));
    }
    cond_deinit(&w.done);
    mtx_deinit(&w.mu);
    return e;
}
