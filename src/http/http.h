/* HTTP/1.1, both ways: the server's one request/response interface (over libmicrohttpd) and an asynchronous
 * client (over libcurl). Everything has a limit and a time-out; handlers never see a half-read request.
 *
 * Server
 *   A route is a row: methods, path pattern, handler, pool, limits. Requests are parsed on event threads, which never
 *   block; a handler runs on the worker pool its row names and may block. A request owns an arena that
 *   lives until its answer has been sent; what a handler puts into the answer may live in it.
 *   Body: read whole within the limits, content-encoding removed, form fields merged into the parameters.
 *   Answer: a body (buffer, borrowed bytes) or a stream; compressed when the client accepts and it pays.
 *   HEAD, OPTIONS, 404, 405 with Allow, CORS, 408/413/414/415/431/503 are answered here.
 *
 * Client
 *   http_start() queues a request; its callback comes exactly once, on the client's own thread.
 *   http_fetch_sync() is the synchronous convenience.
 *
 * Spec: RFC 9110, 9112. Threads: every function may be called from any thread unless it says otherwise. */
#ifndef VANE_HTTP_HTTP_H
#define VANE_HTTP_HTTP_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/thread.h"
#include "base/vec.h"

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_DELETE, HTTP_PATCH, HTTP_OPTIONS, HTTP_METHODS };
#define HTTP_BIT(method) (1u << (method))
str http_method_name(enum http_method m); /* "GET" */

struct http_pair { /* a header, a query parameter, a form field */
    str name, value;
};

/* ================================ server ================================ */

/* The bounds of one request; a field that is 0 takes the value of http_limits_default. */
struct http_limits {
    size_t body_bytes_max;    /* as sent; beyond: 413 */
    size_t decoded_bytes_max; /* after content-encoding (bombs); beyond: 413 */
    unsigned body_ms_max;     /* whole body, whatever its rate; beyond: 408 */
    unsigned body_rate_min;   /* bytes/s after the first 5 s; slower: 408 */
    size_t arena_bytes_max;   /* soft limit of the request's arena, see arena_over() */
};
extern const struct http_limits http_limits_default; /* 1 MiB, 8 MiB, 60 s, 512 B/s, 1 GiB */

enum http_pool {               /* where a handler runs */
                 HTTP_INLINE,  /* on the event thread: must neither block nor take long (health checks) */
                 HTTP_CONTROL, /* status pages, reload, static files */
                 HTTP_INGEST,  /* may wait for the disk */
                 HTTP_QUERY,   /* bounded concurrency */
                 HTTP_POOLS
};

struct http_request {
    struct arena *a;                /* everything below lives in it; freed after the answer was sent */
    enum http_method method;        /* HEAD arrives as GET; the body is dropped later */
    str path;                       /* percent-decoded, without the query */
    const struct http_pair *params; /* form fields first, then the query string, as Go's Request.Form */
    size_t n_params;
    const struct http_pair *headers; /* in order of arrival */
    size_t n_headers;
    const str *captures; /* of the pattern's {...} in order, percent-decoded */
    size_t n_captures;
    str content_type;     /* media type only, lower case: "application/json"; empty if none */
    str content_encoding; /* as sent; the body has been decoded unless the route says HTTP_RAW_BODY */
    str body;
    size_t body_bytes_sent;       /* before decoding */
    str remote;                   /* "127.0.0.1:53412" */
    const atomic_bool *cancelled; /* becomes true when the client goes away or the server gives up waiting */
    const struct http_route *route;
    uint64_t start_ns; /* monotonic */
    void *ctx;         /* of the table the route came with */
};

str http_header(const struct http_request *rq, str name); /* first, any case; p == NULL if absent */
str http_param(const struct http_request *rq, str name);  /* first; p == NULL if absent */
/* All values of a parameter (match[]), in rq's arena. */
size_t http_params(const struct http_request *rq, str name, const str **ret);
/* Does the Accept header prefer/allow this media type? True if there is no Accept header. */
bool http_accepts(const struct http_request *rq, str media_type);

/* The answer. A handler sets status (200 unless set), headers, and one of body, borrowed, stream. */
struct http_response {
    struct arena *a; /* the request's */
    int status;
    str content_type;      /* default "application/json" */
    struct buf body;       /* initialised, no limit; freed by the server */
    str borrowed;          /* used when body is empty: must live as long as the request's arena or for ever */
    str borrowed_encoding; /* content-encoding that `borrowed` has already ("gzip") */
    /* Streaming: called on the route's pool for one piece after the other, never in parallel. Appends to out and returns
     * true; false ends the answer, or breaks the connection if out->failed is set (the rest is missing). NULL = not a
     * stream. Waits for something new must be short (< 1 s) and look at rq->cancelled. stream_done is called exactly once, also when the client goes away. */
    bool (*stream)(void *stream_ctx, struct buf *out);
    void (*stream_done)(void *stream_ctx);
    void *stream_ctx;
    bool no_compress;
    VEC(struct http_pair) headers; /* in the arena: http_set_header */
};
void http_set_header(struct http_response *rs, str name, str value); /* copies; replaces an earlier one */
void http_answer(struct http_response *rs, int status, str content_type, str body); /* copies the body */
/* A static file with ETag and Cache-Control: 304 when If-None-Match matches. gzip bytes are sent as they are
 * to clients that accept them and decoded for the others. Everything must live for ever. */
struct http_file {
    str path; /* "/assets/app.js" */
    str content_type;
    str gzip;
    str etag;       /* with quotes */
    bool immutable; /* name carries a hash: cache for a year; otherwise revalidate each time */
};
void http_answer_file(const struct http_request *rq, struct http_response *rs, const struct http_file *f);

enum http_route_flags {
    HTTP_RAW_BODY = 1 << 0, /* leave content-encoding to the handler */
    HTTP_NO_FORM = 1 << 1,  /* do not read form fields from the body */
    HTTP_CORS = 1 << 2,     /* answers pages of other origins (cfg.cors_origin) */
};
struct http_route {
    unsigned methods;    /* HTTP_BIT() of each; HEAD comes with GET, OPTIONS always */
    const char *pattern; /* "/api/v1/label/{name}/values"; a last "{path*}" takes the rest, also empty */
    void (*handle)(struct http_request *rq, struct http_response *rs);
    enum http_pool pool;
    const struct http_limits *limits; /* NULL = default */
    unsigned flags;
};
/* Patterns are tried by specificity: literal segments win over {one}, {one} over {rest*}. */
struct http_table {
    const struct http_route *routes;
    size_t n_routes;
    void *ctx;          /* rq->ctx */
    unsigned listeners; /* bit i: reachable through listener i; 0 = through all */
};

/* ---- TLS of servers: one object for all their listeners. Changed files are noticed within seconds; connections go on
 * with what they began with. */
enum http_client_auth { /* certificates of clients */
                        HTTP_CLIENT_NONE,
                        HTTP_CLIENT_REQUEST,         /* asked for, taken as it is */
                        HTTP_CLIENT_REQUIRE_ANY,     /* one is needed, taken as it is */
                        HTTP_CLIENT_VERIFY_IF_GIVEN, /* one that is given must be of client_ca_file */
                        HTTP_CLIENT_REQUIRE_VERIFY,  /* one of client_ca_file is needed */
};
struct http_certificates_config {
    const char *cert_file, *key_file, *client_ca_file; /* PEM */
    enum http_client_auth client_auth;
    unsigned min_version, max_version; /* 10, 11, 12, 13; 0 = 12, 13 */
};
struct http_certificates;
enum err http_certificates_open(const struct http_certificates_config *cfg, struct http_certificates **ret,
                                struct err_text *reterr) MUST_CHECK;
/* Read the files again now. On error the old ones stay in use. */
enum err http_certificates_reload(struct http_certificates *c, struct err_text *reterr) MUST_CHECK;
void http_certificates_close(struct http_certificates *c); /* after the servers; NULL is fine */

/* ---- Basic authentication: names and bcrypt hashes ("$2y$10$...") ---- */
struct http_users;
struct http_users *http_users_new(void); /* nobody: everybody may come in */
void http_users_free(struct http_users *u);
/* Exchange all of them. ERR_INVALID: a hash is not bcrypt's or costs too much; nothing changed. */
enum err http_users_set(struct http_users *u, const struct http_pair *users, size_t n,
                        struct err_text *reterr) MUST_CHECK;
/* The value of an Authorization header ("" = none). May take as long as bcrypt: not on an event thread. */
bool http_users_allow(struct http_users *u, str authorization);

struct http_listener {
    const char *address;           /* "127.0.0.1", "::1", "0.0.0.0" ... */
    uint16_t port;                 /* 0 = any free one: http_server_port() tells */
    struct http_certificates *tls; /* NULL = plain; must outlive the server */
};
struct http_server_config {
    const struct http_listener *listeners;
    size_t n_listeners; /* at most HTTP_LISTENERS_MAX */
    const struct http_table *tables;
    size_t n_tables;
    unsigned event_threads;         /* per listener; 0 = 2 */
    unsigned connections_max;       /* per listener; default 12,000; further ones wait in the backlog */
    unsigned idle_ms;               /* keep-alive; default 300 s */
    unsigned header_ms_max;         /* request line and headers, whole; default 10 s; beyond: 408 */
    unsigned drain_ms;              /* http_server_close waits this long for requests in progress; default 10 s */
    size_t body_bytes_inflight_max; /* bodies of all requests being read or handled; default 256 MiB; beyond: 503 */
    unsigned threads[HTTP_POOLS];   /* 0 = default: control 4, ingest 16, query max(4, 2 x cores) */
    unsigned queue[HTTP_POOLS];     /* waiting requests; 0 = default: 256, 1024, 64; beyond: 503 with Retry-After */
    const char *cors_origin;        /* regex of allowed origins; NULL or ".*": any ("*") */
    /* Names this server is called by, for the check against DNS rebinding and forged requests of web pages (http_gate.c):
     * on loopback listeners, on the others if check_hosts. */
    const str *hosts;
    size_t n_hosts;
    bool check_hosts;
    struct http_users *users;             /* NULL = everybody; must outlive the server */
    const struct http_pair *send_headers; /* with every answer */
    size_t n_send_headers;
    struct clock *clock; /* NULL = the real one */
};
#define HTTP_LISTENERS_MAX 8

struct http_server;
enum err http_server_open(const struct http_server_config *cfg, struct http_server **ret,
                          struct err_text *reterr) MUST_CHECK;
uint16_t http_server_port(const struct http_server *s, size_t listener);
/* The pool, for another server to share (grpc.h); lives until http_server_close. */
struct pool *http_server_pool(const struct http_server *s, enum http_pool pool);
/* Stops accepting, waits for requests in progress up to drain_ms, then sets their cancelled flag, closes. */
void http_server_close(struct http_server *s);

/* ================================ client ================================ */

struct http_client;
struct http_client_config {
    unsigned threads;       /* event threads; default 1 */
    unsigned shards;        /* libcurl multi handles (about one per 500 hosts is fastest); default 16 */
    unsigned inflight_max;  /* requests started and not done; beyond: ERR_BUSY; default 20,000 */
    const char *user_agent; /* default "vane/<version>" */
};
enum err http_client_open(const struct http_client_config *cfg,
                          struct http_client **ret) MUST_CHECK; /* cfg NULL = defaults */
void http_client_close(struct http_client *c);                  /* ends what is in flight with ERR_CANCELLED */

struct http_tls { /* all optional; files are PEM and read again for each connection (rotation works) */
    str ca_file, cert_file, key_file;
    str ca_pem, cert_pem, key_pem; /* the same inline; win over the files */
    str server_name;               /* SNI and certificate name, when not the URL's host (verified against it) */
    bool insecure_skip_verify;
    unsigned min_version, max_version; /* 10, 11, 12, 13; 0 = library's default (1.2 at least) */
};
/* OAuth 2.0, client credentials: the client fetches a token, shares it among all requests with equal settings, and
 * exchanges it before it ends. A request waits for it within its own timeout_ms; without one it ends with ERR_PERMISSION. */
struct http_oauth2 {
    str token_url, client_id, client_secret;
    const str *scopes;
    size_t n_scopes;
    const struct http_pair *params; /* further form fields */
    size_t n_params;
    const struct http_tls *tls; /* of the token server; may be NULL */
    str proxy_url, no_proxy;
    bool proxy_from_environment;
    const struct http_pair *proxy_headers;
    size_t n_proxy_headers;
};
/* Amazon's signature version 4. The client finds the credentials: the keys given here, those of the environment, a web
 * identity, the profile's, a container's, the instance's (in this order; a profile named here comes first), exchanges them
 * by STS for role_arn's if there is one, keeps them for all requests with equal settings and renews them before they end.
 * A request waits for them within its own timeout_ms; without any it ends with ERR_PERMISSION. */
struct http_sigv4 {
    str region;  /* "": AWS_REGION, the profile's, the instance's */
    str service; /* "aps", "ec2" */
    str access_key, secret_key, profile, role_arn, external_id;
    bool use_fips_sts;
};
struct http_result;
struct http_fetch {          /* everything is borrowed until the callback has returned */
    str url;                 /* http or https only */
    enum http_method method; /* default GET */
    str body;                /* POST, PUT, PATCH */
    const struct http_pair *headers;
    size_t n_headers;
    str basic_user, basic_password;   /* basic auth if basic_user.p != NULL */
    str bearer;                       /* "Authorization: Bearer ..." if not empty */
    const struct http_oauth2 *oauth2; /* may be NULL */
    const struct http_sigv4 *sigv4;   /* may be NULL; sets Authorization, instead of the above */
    str accept_encoding;              /* "gzip", "gzip, zstd": sent, and the body decoded; empty = identity */
    int64_t timeout_ms;               /* whole request, connect included; 0 = 30 s */
    size_t body_bytes_max;            /* decoded; beyond: ERR_LIMIT, the transfer is cut at once; 0 = 64 MiB */
    bool follow_redirects;            /* at most 10; credentials are not sent to another host */
    const struct http_tls *tls;       /* may be NULL */
    str proxy_url;                    /* empty = none */
    str no_proxy;                     /* hosts, comma-separated */
    bool proxy_from_environment;
    const struct http_pair *proxy_headers; /* of the CONNECT request to a proxy */
    size_t n_proxy_headers;
    str unix_socket; /* path of a socket to connect to; the URL's host is only named in the request */
    /* The body of an answer with status 200 piece by piece, on the client's thread, instead of being gathered (so
     * body_bytes_max does not apply); false cuts it (ERR_LIMIT). NULL: gathered. */
    bool (*data)(void *ctx, str piece);
    const atomic_bool *cancel; /* http_fetch_sync: true ends it with ERR_CANCELLED soon; may be NULL */
    bool fresh_connection;     /* neither reuse a connection nor keep this one */
    void (*done)(void *ctx, const struct http_result *r);
    void *ctx;
};
struct http_result { /* valid during the callback */
    enum err
        err; /* OK: an answer came, whatever its status. ERR_TIMEOUT, ERR_LIMIT, ERR_CANCELLED, ERR_INVALID (bad URL), ERR_PERMISSION (no OAuth2 token, no AWS credentials), ERR_IO */
    const char *error; /* text for people: "connection refused", ...; "" if OK */
    int status;
    struct buf *body;                /* the callback may keep the bytes with buf_detach() */
    const struct http_pair *headers; /* of the last answer, trailers included */
    size_t n_headers;
    str content_type;                                   /* as sent, with parameters */
    str final_url;                                      /* after redirects */
    uint64_t total_ns;                                  /* start to end */
    uint64_t dns_ns, connect_ns, tls_ns, first_byte_ns; /* each phase's own share */
};
str http_result_header(const struct http_result *r, str name); /* p == NULL if absent */

/* ERR_BUSY, ERR_CLOSED: not started, no callback. Otherwise done() comes exactly once, on the client's thread
 * (it must not block: hand work to a pool). ret_id may be NULL. */
enum err http_start(struct http_client *c, const struct http_fetch *f, uint64_t *ret_id) MUST_CHECK;
/* The region that a request with these settings is signed for, in a; ret_why for people unless it is there. */
enum http_region { HTTP_REGION_READY, HTTP_REGION_WAIT /* ask again */, HTTP_REGION_FAILED };
enum http_region http_sigv4_region(struct http_client *c, const struct http_sigv4 *s, struct arena *a, str *ret,
                                   str *ret_why);
void http_cancel(struct http_client *c, uint64_t id); /* done() comes soon with ERR_CANCELLED, unless it came already */

/* Start and wait. Copies the result into a; done and ctx of f are ignored. Returns ret->err. Not from a callback. */
enum err http_fetch_sync(struct http_client *c, const struct http_fetch *f, struct arena *a, struct http_result *ret,
                         str *ret_body, struct err_text *reterr) MUST_CHECK;

/* ---- small helpers both sides need ---- */
str http_url_decode(struct arena *a, str s, bool plus_is_space); /* bad escapes stay as they are */
void http_url_encode(struct buf *out, str s);                    /* RFC 3986 unreserved stay */
const char *http_status_text(int status);

#endif
