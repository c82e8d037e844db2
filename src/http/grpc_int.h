/* Private to room `http`: what the gRPC server's files share.
 *
 *   grpc_text.c    pure: message framing, grpc-timeout, grpc-message, grpc-status-details-bin
 *   grpc_call.c    the life of a call: metadata, message, pool, answer
 *   grpc_session.c HTTP/2 of one connection: nghttp2's callbacks, floods
 *   grpc_conn.c    bytes of one connection: sockets, TLS, time limits
 *   grpc_server.c  listeners, event loops, start and orderly end, metrics
 *
 * Everything of a connection (session, calls, buffers) belongs to one event loop's thread. The one thing that crosses
 * threads is a call: handed to a pool by pool_submit, handed back through the loop's `done` list. A call whose stream or
 * connection ends meanwhile is detached (stream_id 0, conn NULL) and freed when it comes back. */
#ifndef VANE_HTTP_GRPC_INT_H
#define VANE_HTTP_GRPC_INT_H

#include <gnutls/gnutls.h>
#include <nghttp2/nghttp2.h>

#include "http/grpc.h"
#include "http/http_int.h"

/* ---- grpc_text.c ---- */
/* Takes one length-prefixed message apart as it arrives: flag byte, length (4, big endian), message. */
struct grpc_reader {
    size_t bytes_max; /* of the message as sent */
    struct buf *out;  /* the message */
    uint8_t head[5];
    uint8_t n_head;
    bool compressed;
    uint32_t length;
    enum grpc_code code; /* of the refusal */
    const char *why;
};
/* false: refused (code, why); later calls stay false. */
bool grpc_reader_feed(struct grpc_reader *r, const void *p, size_t n);
bool grpc_reader_end(struct grpc_reader *r); /* was it exactly one whole message? */
void grpc_frame_head(uint8_t head[5], bool compressed, uint32_t n);
/* "100m" -> nanoseconds, at most 2^62; false if malformed. */
bool grpc_timeout_parse(str s, uint64_t *ret_ns);
str grpc_message_encode(struct arena *a, str text); /* percent-encoded, cut to 1 KiB on a character */
/* google.rpc.Status with RetryInfo in base64 without padding. */
str grpc_details_encode(struct arena *a, enum grpc_code code, str text, unsigned retry_ms);

/* ---- objects ---- */
enum { GRPC_REMOTE_BYTES = 64, GRPC_READ_BYTES = 16 * 1024, GRPC_OUT_BYTES = 16 * 1024 };

struct grpc_route { /* a row and what is counted of it */
    const struct grpc_method *method;
    void *ctx;
    atomic_uint_least64_t by_code[GRPC_CODES_N];
    atomic_uint_least64_t bucket[HTTP_BUCKETS + 1];
    atomic_uint_least64_t duration_ns;
};

enum grpc_call_state { CALL_HEADERS, CALL_BODY, CALL_RUNNING, CALL_SENDING };
struct grpc_call {
    struct grpc_server *server;
    struct grpc_loop *loop;
    struct grpc_conn *conn;        /* NULL: gone */
    int32_t stream_id;             /* 0: closed */
    struct grpc_call *prev, *next; /* of the connection */
    struct grpc_call *done_next;   /* in the loop's `done` */
    enum grpc_call_state state;
    bool running; /* handed to a pool, not yet back */
    bool counted;
    struct arena a;
    struct grpc_request rq;
    struct grpc_response rs;
    struct grpc_route *route;
    struct http_limits limits;
    VEC(struct http_pair) metadata;
    size_t header_bytes;
    str method, content_type, te, encoding, timeout;
    int http_status; /* of the answer: 200, or what tells a wrong client more */
    bool gzip;
    struct grpc_reader reader;
    struct buf body, plain; /* as sent; decompressed */
    size_t body_reserved;   /* of the server's message_bytes_inflight */
    size_t body_seen;
    uint64_t state_ns; /* since when in this state */
    uint64_t limit_ns; /* end of headers, body or sending; UINT64_MAX = none */
    uint8_t head[5];
    size_t out_off; /* of head + rs.message */
    atomic_bool cancelled;
};

struct grpc_bucket { /* so many at once, so many each second */
    double tokens, burst, per_s;
    uint64_t at_ns;
};
bool grpc_bucket_take(struct grpc_bucket *b, uint64_t now_ns);

enum grpc_conn_state { GRPC_CONN_TLS, GRPC_CONN_PREFACE, GRPC_CONN_OPEN };
struct grpc_conn {
    struct grpc_loop *loop;
    struct grpc_server *server;
    struct grpc_conn *prev, *next;
    int fd;
    gnutls_session_t tls;   /* NULL: plain */
    struct http_cred *cred; /* what it began with */
    nghttp2_session *session;
    enum grpc_conn_state state;
    bool ending;    /* send what is waiting (GOAWAY), then close */
    bool lingering; /* our side is closed; what still arrives is dropped for a moment so that GOAWAY is read */
    bool blocked;   /* the socket takes nothing now: reading pauses, too */
    bool shutting, shut_final; /* GOAWAY: notice, last id */
    bool ping_sent, dirty;
    const char *cut; /* why it ends before its time, for the counter */
    uint32_t events; /* registered with epoll */
    struct buf out;
    size_t out_off;
    uint64_t start_ns, rx_ns, tx_ns, idle_ns, ping_ns, shut_ns;
    struct grpc_conn *dirty_next;
    struct grpc_bucket pings, resets, control;
    struct grpc_call *calls; /* open streams and running handlers of closed ones */
    unsigned n_calls;
    char remote[GRPC_REMOTE_BYTES];
};

struct grpc_loop {
    struct grpc_server *server;
    pthread_t thread;
    bool started;
    int epoll_fd, wake_fd;
    struct grpc_conn *conns;
    size_t n_conns;
    uint64_t wake_ns, swept_ns; /* when a time limit may be reached; the last look at all of them */
    bool accepting, drain_begun, stop_begun;
    struct grpc_conn *dirty; /* have something to send since the last flush */
    struct mtx mu;           /* guards done */
    struct grpc_call *done;
    uint8_t in[GRPC_READ_BYTES];
};

struct grpc_listen {
    int fd;
    uint16_t port;
    struct http_certificates *tls; /* NULL: plain */
};
struct grpc_server {
    struct grpc_server_config cfg;
    struct grpc_listen listens[HTTP_LISTENERS_MAX];
    size_t n_listens;
    struct grpc_route *routes; /* sorted by path */
    size_t n_routes;
    struct grpc_route unknown;
    struct pool *ingest, *own_pool;
    struct grpc_loop *loops;
    size_t n_loops;
    gnutls_priority_t priority;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    atomic_int n_conns, n_calls, working;
    atomic_size_t message_bytes_inflight;
    atomic_bool draining, stopping, quit; /* no new connections; end of patience; threads end */
    atomic_uint loops_drained;            /* loops that have let go of the listeners */
};

/* ---- grpc_call.c; all on the connection's thread except the handler ---- */
struct grpc_call *grpc_call_new(struct grpc_conn *c, int32_t stream_id);
void grpc_call_header(struct grpc_call *call, str name, str value);
void grpc_call_headers_done(struct grpc_call *call);
void grpc_call_data(struct grpc_call *call, const uint8_t *p, size_t n);
void grpc_call_end_of_body(struct grpc_call *call);
/* Answer with a status now, whatever the call is doing; a running handler is cancelled. */
void grpc_call_refuse(struct grpc_call *call, enum grpc_code code, unsigned retry_ms, const char *why);
void grpc_call_back(struct grpc_call *call);          /* the handler has returned */
void grpc_call_stream_closed(struct grpc_call *call); /* frees it, or leaves it to grpc_call_back */
void grpc_call_conn_closed(struct grpc_call *call);
/* Time limits. Returns when to look again. */
uint64_t grpc_call_tick(struct grpc_call *call, uint64_t now_ns);

/* ---- grpc_session.c ---- */
enum err grpc_session_setup(struct grpc_server *s) MUST_CHECK; /* callbacks and options */
enum err grpc_session_open(struct grpc_conn *c) MUST_CHECK;
void grpc_session_shutdown(struct grpc_conn *c); /* GOAWAY in two steps: notice, and the last id a little later */
void grpc_session_shutdown_final(struct grpc_conn *c);
void grpc_session_flood(struct grpc_conn *c, const char *reason, const char *debug); /* GOAWAY ENHANCE_YOUR_CALM */

/* ---- grpc_conn.c ---- */
void grpc_conn_open(struct grpc_loop *loop, const struct grpc_listen *l, int fd, const struct sockaddr_storage *sa);
void grpc_conn_event(struct grpc_conn *c, uint32_t events);
void grpc_conn_flush(struct grpc_conn *c);                     /* send what the session has; may close and free c */
void grpc_conn_dirty(struct grpc_conn *c);                     /* to be flushed before the loop sleeps */
void grpc_conn_close(struct grpc_conn *c, const char *reason); /* frees c; reason NULL: an orderly end */
/* Time limits; may close and free c. Returns when to look again. */
uint64_t grpc_conn_tick(struct grpc_conn *c, uint64_t now_ns);

/* ---- grpc_server.c ---- */
void grpc_loop_wake(struct grpc_loop *loop);
void grpc_loop_by(struct grpc_loop *loop, uint64_t at_ns); /* look at the time limits then, or before */
void grpc_count_cut(const char *reason);
struct grpc_route *grpc_route_find(struct grpc_server *s, str path); /* NULL: none */

#endif
