/* A unary gRPC server over HTTP/2 (libnghttp2): the same idea of rows, pools and limits as http.h.
 *
 * A method is a row: path, handler, pool, limits. Frames are read on event threads of the server's own, which never
 * block; a handler runs on the pool its row names and may wait for the disk. A request owns an arena that lives until
 * its handler has returned and its answer was sent or given up. The message arrives whole, within the limits and
 * decompressed (gzip); exactly one message is expected and exactly one is answered.
 *
 * Transport: HTTP/2 with prior knowledge on plain listeners; TLS 1.2 or 1.3 with ALPN "h2" where a certificate is given.
 *
 * Answered here, without a handler: UNIMPLEMENTED (unknown method, unknown grpc-encoding, not exactly one message),
 * INTERNAL (malformed framing or metadata), RESOURCE_EXHAUSTED (message or metadata too large), UNAVAILABLE with
 * RetryInfo (queue full, memory for messages used up, draining), DEADLINE_EXCEEDED (grpc-timeout, slow body).
 *
 * Spec: grpc.github.io "gRPC over HTTP/2", "Compression", "Status codes"; google/rpc/status.proto, error_details.proto;
 * RFC 9113. Threads: every function may be called from any thread. */
#ifndef VANE_HTTP_GRPC_H
#define VANE_HTTP_GRPC_H

#include "http/http.h"

/* One row per code: name, number, name in metrics. */
#define GRPC_CODES(X)                                     \
    X(GRPC_OK, 0, "OK")                                   \
    X(GRPC_CANCELLED, 1, "CANCELLED")                     \
    X(GRPC_UNKNOWN, 2, "UNKNOWN")                         \
    X(GRPC_INVALID_ARGUMENT, 3, "INVALID_ARGUMENT")       \
    X(GRPC_DEADLINE_EXCEEDED, 4, "DEADLINE_EXCEEDED")     \
    X(GRPC_NOT_FOUND, 5, "NOT_FOUND")                     \
    X(GRPC_ALREADY_EXISTS, 6, "ALREADY_EXISTS")           \
    X(GRPC_PERMISSION_DENIED, 7, "PERMISSION_DENIED")     \
    X(GRPC_RESOURCE_EXHAUSTED, 8, "RESOURCE_EXHAUSTED")   \
    X(GRPC_FAILED_PRECONDITION, 9, "FAILED_PRECONDITION") \
    X(GRPC_ABORTED, 10, "ABORTED")                        \
    X(GRPC_OUT_OF_RANGE, 11, "OUT_OF_RANGE")              \
    X(GRPC_UNIMPLEMENTED, 12, "UNIMPLEMENTED")            \
    X(GRPC_INTERNAL, 13, "INTERNAL")                      \
    X(GRPC_UNAVAILABLE, 14, "UNAVAILABLE")                \
    X(GRPC_DATA_LOSS, 15, "DATA_LOSS")                    \
    X(GRPC_UNAUTHENTICATED, 16, "UNAUTHENTICATED")
enum grpc_code {
#define X(name, number, text) name = number,
    GRPC_CODES(X)
#undef X
        GRPC_CODES_N
};
const char *grpc_code_name(enum grpc_code c); /* "UNAVAILABLE" */

struct grpc_request {
    struct arena *a;
    str path;                         /* "/package.Service/Method" */
    str message;                      /* one protobuf message, decompressed; borrowed: lives as long as the arena */
    const struct http_pair *metadata; /* as sent, pseudo-headers left out; "-bin" values still in base64 */
    size_t n_metadata;
    str remote;                   /* "127.0.0.1:53412" */
    uint64_t start_ns;            /* monotonic */
    uint64_t deadline_ns;         /* monotonic, from grpc-timeout; 0 = none */
    const atomic_bool *cancelled; /* the client went away or reset, the deadline passed, the server gave up waiting */
    void *ctx;                    /* of the table the method came with */
};
str grpc_metadata(const struct grpc_request *rq, str name); /* first; names are lower case; p == NULL if absent */

/* The answer: GRPC_OK with a message, or a code with a text (grpc_fail). */
struct grpc_response {
    struct arena *a;    /* the request's */
    struct buf message; /* initialised, no limit; freed by the server */
    enum grpc_code code;
    str text;          /* grpc-message: cut to 1 KiB */
    unsigned retry_ms; /* > 0: grpc-status-details-bin carries google.rpc.RetryInfo */
};
void grpc_fail(struct grpc_response *rs, enum grpc_code code, unsigned retry_ms, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

struct grpc_method {
    const char *path; /* "/package.Service/Method" */
    void (*handle)(struct grpc_request *rq, struct grpc_response *rs);
    enum http_pool pool;              /* HTTP_INLINE (must not block) or HTTP_INGEST */
    const struct http_limits *limits; /* NULL = http_limits_default; a message is a body */
};
struct grpc_table {
    const struct grpc_method *methods;
    size_t n_methods;
    void *ctx; /* rq->ctx */
};

struct grpc_server_config { /* 0 = default */
    const struct http_listener *listeners;
    size_t n_listeners; /* at most HTTP_LISTENERS_MAX */
    const struct grpc_table *tables;
    size_t n_tables;
    struct http_users *users;          /* NULL = everybody; asked for methods that run on a pool, not for inline ones */
    struct pool *ingest;               /* runs HTTP_INGEST methods, must outlive the server; NULL = a pool of its own */
    unsigned event_threads;            /* 2 */
    unsigned connections_max;          /* 4,000; further ones wait in the backlog */
    unsigned streams_max;              /* per connection, handlers of reset streams included; 256 */
    unsigned calls_max;                /* all connections: 8,192; beyond: REFUSED_STREAM */
    unsigned header_list_bytes_max;    /* 16 KiB, as HTTP/2 counts (32 bytes more per field) */
    unsigned stream_window_bytes;      /* 1 MiB */
    unsigned conn_window_bytes;        /* 4 MiB */
    size_t message_bytes_inflight_max; /* messages of all calls being read or handled; 256 MiB */
    unsigned handshake_ms_max;         /* TLS and the client's preface; 10 s */
    unsigned header_ms_max;            /* a call's headers; 10 s */
    unsigned idle_ms;                  /* a connection without calls: GOAWAY; 300 s */
    unsigned keepalive_ms;             /* silence before the server sends PING; 60 s */
    unsigned keepalive_timeout_ms;     /* and how long it waits for any byte; 20 s */
    unsigned send_ms_max;              /* the client takes nothing of what is waiting for it; 30 s */
    unsigned pings_burst;              /* pings accepted at once; one more each second and with each call; 60 */
    unsigned resets_burst;             /* RST_STREAMs accepted at once; 100 more each second; 1,000 */
    unsigned drain_ms;                 /* grpc_server_close waits this long for calls in progress; 10 s */
};

struct grpc_server;
enum err grpc_server_open(const struct grpc_server_config *cfg, struct grpc_server **ret,
                          struct err_text *reterr) MUST_CHECK;
uint16_t grpc_server_port(const struct grpc_server *s, size_t listener);
/* Stops accepting, sends GOAWAY, waits for calls in progress up to drain_ms, then cancels them and closes. NULL is fine. */
void grpc_server_close(struct grpc_server *s);

#endif
