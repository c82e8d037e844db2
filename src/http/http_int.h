/* Private to room `http`: what the server's files share. */
#ifndef VANE_HTTP_HTTP_INT_H
#define VANE_HTTP_HTTP_INT_H

#include <gnutls/gnutls.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/rx.h"
#include "http/http.h"

/* ---- http_route.c: patterns, the table of routes, what is counted per route ---- */
#define HTTP_CAPTURES_MAX 4
#define HTTP_CODES        30 /* status codes counted one by one (http_codes), the last row is "other" */
#define HTTP_BUCKETS      9  /* durations; the upper bounds are those of Prometheus' own server */

struct http_route_counts {
    atomic_uint_least64_t by_code[HTTP_CODES];
    atomic_uint_least64_t bucket[HTTP_BUCKETS + 1];
    atomic_uint_least64_t duration_ns, bytes_out;
};
struct http_entry { /* one path pattern with the rows of all its methods */
    str pattern;
    const struct http_route *by_method[HTTP_METHODS];
    void *ctx[HTTP_METHODS];
    unsigned listeners[HTTP_METHODS];
    const char *handler; /* label of metrics: "/api/v1/label/:name/values" */
    unsigned rank;       /* order of trial among patterns with captures */
    struct http_route_counts counts;
};
struct http_router {
    struct arena a;
    struct http_entry **entries; /* literal ones first, sorted by path; then patterns by rank */
    size_t n_literal, n;
    struct http_entry unmatched; /* counts of 404 and of refused requests */
};
enum err http_router_init(struct http_router *r, const struct http_table *tables, size_t n_tables,
                          struct err_text *reterr) MUST_CHECK;
void http_router_deinit(struct http_router *r);
/* The entry for a raw (still percent-encoded) path, or NULL. captures are raw. */
struct http_entry *http_router_find(const struct http_router *r, str raw_path, str captures[HTTP_CAPTURES_MAX],
                                    size_t *ret_n);
/* The methods an entry has on a listener, as bits, HEAD and OPTIONS included. 0: not there. */
unsigned http_entry_methods(const struct http_entry *e, unsigned listener);
void http_count(struct http_entry *e, int status, uint64_t duration_ns, size_t bytes_out);
void http_router_render(const struct http_router *r, struct buf *out);

/* ---- http_param.c ---- */
bool http_method_parse(str s, enum http_method *ret);
/* "a=1&b=2" -> appended to the vector; at most HTTP_PARAMS_MAX in all (false beyond). */
#define HTTP_PARAMS_MAX 4096
struct http_pairs {
    VEC(struct http_pair) v;
};
bool http_form_parse(struct arena *a, str text, struct http_pairs *out);
/* q-values: does the list (Accept-Encoding) allow the token with q > 0? */
bool http_list_allows(str list, str token);

/* ---- the server ---- */
struct http_exchange;
enum http_conn_state { CONN_IDLE, CONN_HEADERS, CONN_BODY, CONN_HANDLING, CONN_SENDING };
struct http_conn { /* from accept to close */
    struct http_listen *listen;
    struct MHD_Connection *mhd;
    int fd;
    uint32_t slot, generation;
    _Atomic(enum http_conn_state) state;
    atomic_uint_least64_t since_ns;    /* of the state */
    atomic_uint_least64_t body_bytes;  /* received in CONN_BODY */
    atomic_uint_least64_t deadline_ns; /* CONN_SENDING: the whole answer; CONN_BODY: the whole body; 0 = none */
    atomic_uint rate_min;
    uint64_t rx_bytes, rx_since_ns; /* the watcher's: bytes on the socket when it became idle, when more were seen */
    unsigned n_requests;
    struct http_exchange *x; /* event thread; under conns_mu for the watcher */
    struct http_cred *cred;  /* TLS: what it began with */
};
struct http_exchange { /* one request and its answer */
    struct http_conn *conn;
    struct http_server *server;
    struct arena a;
    struct http_request rq;
    struct http_response rs;
    struct http_pairs headers, params;
    struct http_entry *entry;
    struct buf body;      /* as received */
    size_t body_reserved; /* of the server's body_bytes_inflight */
    size_t body_dropped;  /* received after the limit was passed */
    struct http_limits limits;
    str target; /* raw request target */
    str raw_path, raw_query;
    str origin, accept_encoding;
    str captures[HTTP_CAPTURES_MAX];
    atomic_bool cancelled;
    int refuse;             /* status decided before the handler ran; 0 = none */
    const char *refuse_why; /* NULL: the status says it */
    bool seen, head, watched, running, answered, counted;
    enum http_method method;
    /* streaming: one piece at a time, made on the pool, sent on the event thread */
    struct buf piece;
    size_t piece_off;
    bool stream_open, stream_ended, piece_failed;
    size_t bytes_out;
};
struct http_listen {
    struct http_server *server;
    unsigned index;
    struct MHD_Daemon *daemon;
    int fd;
    uint16_t port;
    struct http_certificates *tls; /* NULL: plain */
    bool loopback;
};
struct http_server {
    struct http_server_config cfg;
    struct http_listen listens[HTTP_LISTENERS_MAX];
    size_t n_listens;
    struct http_router router;
    struct pool *pools[HTTP_POOLS];
    struct rx *cors; /* NULL: any origin */
    atomic_size_t body_bytes_inflight;
    atomic_int inflight;  /* requests from dispatch to the end of their answer */
    atomic_int working;   /* suspended connections: handed to a pool and not yet resumed */
    atomic_bool draining; /* no new connections; answers close theirs */
    atomic_bool stopping; /* nothing may be suspended any more */
    /* connections, for the watcher; guarded by conns_mu */
    struct mtx conns_mu;
    struct http_conn **conns;
    size_t conns_cap;
    VEC(uint32_t) free_slots;
    uint32_t generation;
    atomic_int n_conns;
    pthread_t watcher;
    int watch_fd, wake_fd; /* epoll of handled requests' sockets; eventfd */
    atomic_bool stop;
    bool watcher_started;
};

/* A listening socket that does not block. ERR_INVALID: not an IP address. */
enum err http_socket_open(const struct http_listener *cfg, int *ret_fd, uint16_t *ret_port,
                          struct err_text *reterr) MUST_CHECK;

/* ---- http_tls.c ---- */
struct http_cred;
struct http_cred *http_cred_take(struct http_certificates *c); /* the newest; a reference */
void http_cred_unref(struct http_cred *c);                     /* when its session has ended; NULL is fine */
/* Before the handshake. priority NULL: what the settings say. */
bool http_cred_apply(struct http_cred *c, gnutls_session_t session, gnutls_priority_t priority);

/* ---- http_gate.c ---- */
/* Why a request must not be served (a text for people), or NULL: Host and Origin against web pages of others. */
const char *http_gate(const struct http_exchange *x);
bool http_address_is_loopback(const char *address);

/* May a connection be suspended and handed to a pool? false while the server stops. Counts in `working`. */
bool http_work_begin(struct http_server *s);

/* ---- http_watch.c: time limits and clients that go away ---- */
enum err http_watch_open(struct http_server *s) MUST_CHECK;
void http_watch_close(struct http_server *s);
void http_watch_conn_add(struct http_server *s, struct http_conn *c);
void http_watch_conn_remove(struct http_server *s, struct http_conn *c); /* before the socket is closed */
void http_watch_request(struct http_exchange *x);                        /* tell when the client closes its side */
void http_watch_forget(struct http_exchange *x);
void http_watch_cancel_all(struct http_server *s);
static inline void http_conn_enter(struct http_conn *c, enum http_conn_state state)
{
    atomic_store_explicit(&c->since_ns, os_mono_ns(), memory_order_relaxed);
    atomic_store_explicit(&c->state, state, memory_order_release);
}

/* ---- http_reply.c: from http_response to what is sent ---- */
void http_refusal(struct http_exchange *x, int status); /* a plain-text answer in x->rs */
void http_finish(struct http_exchange *x);              /* compress, common headers; on the worker */
enum MHD_Result http_send(struct http_exchange *x);     /* queue it; on the event thread */
/* Write a bare refusal to the socket and cut the connection; under conns_mu or on the event thread. */
void http_cut(struct http_conn *c, int status);

extern const int http_codes[HTTP_CODES - 1];

/* ---- libcurl (http_client.c) ---- */
void http_curl_init(void); /* once per process, before its first use */
long http_tls_versions(const struct http_tls *t); /* for CURLOPT_SSLVERSION */

#endif
