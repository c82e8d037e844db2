/* libvane middleware core: one call when a request arrives, one when it was answered, and the rest follows:
 * RED metrics by the HTTP semantic conventions, the server span with the remote parent, correlation id, request log,
 * slow-request capture. Ready adapters for servers are in contrib/.
 *
 * Metrics: http_server_request_duration_seconds{http_request_method,http_route,http_response_status_code,error_type},
 * http_server_active_requests{http_request_method,url_scheme}, http_server_{request,response}_body_size_bytes by method,
 * route and status; and http_requests_total{method,endpoint,status} and
 * http_request_duration_seconds{method,endpoint}. Unknown methods are "_OTHER"; requests without a route have the route
 * "" (never the path: its cardinality has no bound). */
#ifndef VANE_HTTP_H
#define VANE_HTTP_H

#include "core.h"
#include "trace.h"
#include "propagate.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A request being handled; the caller's memory, private. Must stay where it is from begin to end; may go to another
 * thread in between (then see vane_http_server_resume()). */
#define VANE_HTTP_WORDS 160
typedef struct vane_http_server {
    uint64_t private_[VANE_HTTP_WORDS];
} vane_http_server;

/* Everything is borrowed until begin returns, except route: until end. Unknown: NULL, 0, -1 for body_bytes. */
typedef struct vane_http_request {
    size_t size;          /* sizeof(vane_http_request) */
    const char *method;   /* required */
    const char *path;     /* url.path, without the query */
    const char *query;    /* url.query, without "?"; values of keys in the redaction list are replaced */
    const char *route;    /* template, "/users/{id}"; may also be given at the end */
    const char *scheme;   /* NULL: "http" */
    const char *host;     /* Host header; server.address and server.port */
    const char *protocol; /* "1.1", "2" */
    const char *client;   /* address of the peer */
    const char *user_agent;
    int64_t body_bytes;
    vane_header_get get_header; /* for propagation and the correlation id; NULL: none */
    void *carrier;
} vane_http_request;

typedef struct vane_http_response {
    size_t size;            /* sizeof(vane_http_response) */
    int status;             /* 100 to 599; 0: none was sent (connection lost), error.type "connection_lost" */
    const char *route;      /* NULL: that of the request */
    const char *user;       /* id of the authenticated user: span and log only */
    const char *error_type; /* NULL: the status when it is 500 or over */
    int64_t body_bytes;     /* -1: unknown */
} vane_http_response;

/* Begin. The server span is current on this thread until end. Before vane_start(): nothing. */
VANE_API void vane_http_server_begin(vane_http_server *x, const vane_http_request *req);
/* The correlation id of the request (from the header, or made): put it into the response. Lives until end. "" when off. */
VANE_API const char *vane_http_server_correlation_id(const vane_http_server *x);
/* The request's span, for attributes and children. NULL when not recorded. */
VANE_API vane_span *vane_http_server_span(vane_http_server *x);
/* Asynchronous servers: leave the request on this thread, and go on with it on another (or the same) one. */
VANE_API void vane_http_server_suspend(vane_http_server *x);
VANE_API void vane_http_server_resume(vane_http_server *x);
/* End, once. A second end, or one without begin on zeroed memory, does nothing (span_misuse). */
VANE_API void vane_http_server_end(vane_http_server *x, const vane_http_response *res);

/* ---- client side ------------------------------------------------------------------------------------------------ */

typedef struct vane_http_client {
    uint64_t private_[VANE_HTTP_WORDS];
} vane_http_client;

/* Begin a request this process makes: client span, headers injected through `set`.
 *   url   user:password and the values of redacted query keys are removed from what is recorded */
VANE_API void vane_http_client_begin(vane_http_client *x, const char *method, const char *url, vane_header_set set,
                                     void *carrier);
/* End: status 0 with an error_type when there was no answer. Metric http_client_request_duration_seconds
 * {http_request_method,server_address,http_response_status_code,error_type}. */
VANE_API void vane_http_client_end(vane_http_client *x, int status, const char *error_type, int64_t response_bytes);

/* ---- databases -------------------------------------------------------------------------------------------------- */

typedef struct vane_db_query {
    uint64_t private_[VANE_HTTP_WORDS];
} vane_db_query;

/* A query: client span with sanitised text (literals become ?), metric database_query_duration_seconds{system,
 * operation,collection}, database_errors_total{system,operation,error_type}. The text is read as standard SQL with the
 * extensions of PostgreSQL and SQLite, for the systems "mysql" and "mariadb" as theirs ("..." is a string, # a comment).
 *   system   "postgresql", "sqlite" ...;   name   of the database;   text   SQL, at most 8 KiB are looked at */
VANE_API void vane_db_begin(vane_db_query *q, const char *system, const char *name, const char *text);
VANE_API void vane_db_end(vane_db_query *q, const char *error_type, int64_t rows);

/* Pool gauges: database_connections_active{pool}, _idle, _max, database_connections_failed_total. -1 leaves a gauge alone. */
VANE_API void vane_db_pool(const char *pool, int64_t active, int64_t idle, int64_t max);
VANE_API void vane_db_connect_failed(const char *pool);

/* The text (at most 8 KiB of it) with literals replaced by "?", lists of them and repeated groups folded, comments removed,
 * white space one blank. Never longer than the text. Returns the length it needs, as snprintf. */
VANE_API size_t vane_db_sanitize(const char *text, char *buf, size_t n);

#ifdef __cplusplus
}
#endif
#endif
