/* Private to the room scrape: discoveries that talk to an API for as long as they live (Kubernetes, Consul, Docker,
 * EC2).
 *
 * One thread, sd_remote_main, steps all of them; HTTP callbacks only put bytes and results into a call and wake it. A
 * remote belongs to that thread; r->mu guards what callbacks touch. A provider that was dropped is taken down by the thread
 * when its last call has ended. */
#ifndef VANE_SCRAPE_SCRAPE_SD_REMOTE_H
#define VANE_SCRAPE_SCRAPE_SD_REMOTE_H

#include "scrape/scrape_config_sd.h"
#include "scrape/scrape_int.h"

struct remote;
enum remote_call_state { CALL_IDLE, CALL_RUNNING, CALL_DONE };
struct remote_call { /* one request at a time, again and again */
    struct remote *r;
    enum remote_call_state state; /* under r->mu */
    struct arena a;               /* what the client borrows */
    uint64_t id;
    struct buf in; /* under r->mu: pieces of a stream so far, or the body when done */
    enum err err;
    int status;
    char error[256];
    uint64_t index;      /* X-Consul-Index of the answer */
    uint64_t next_ns;    /* not to be started before */
    unsigned backoff_ms; /* 0: the last one was fine */
};
struct remote_kind {
    void *(*open)(struct remote *r); /* NULL: cannot be set up, r->error says why; tried again later */
    void (*step)(void *state, uint64_t now_ns);
    void (*close)(void *state); /* no call is running */
};
extern const struct remote_kind remote_kubernetes, remote_consul, remote_docker, remote_ec2;

struct remote {
    struct scrape *s;
    struct provider *p;
    const struct sd_any *cfg;
    const struct remote_kind *kind;
    void *state; /* NULL: not open yet */
    uint64_t open_ns;
    struct mtx mu;
    VEC(struct remote_call *) calls;
    char error[256]; /* what sd status shows */
    bool dead;
};

void remote_call_init(struct remote_call *c, struct remote *r);
void remote_call_deinit(struct remote_call *c);
struct remote_ask {
    const struct http_config *http;
    str url; /* in c->a, which is reset by remote_call_begin */
    str unix_socket;
    enum http_method method;        /* default GET */
    str body;                       /* as the url: borrowed */
    const struct http_sigv4 *sigv4; /* may be NULL; borrowed */
    const struct http_pair *headers;
    size_t n_headers;
    int64_t timeout_ms;
    bool streams;
};
/* Only when CALL_IDLE: an empty arena to build the question in. */
struct arena *remote_call_begin(struct remote_call *c);
/* A call that cannot be started is CALL_DONE at once, with its error. */
void remote_call_start(struct remote_call *c, const struct remote_ask *q);
enum remote_call_state remote_call_state(struct remote_call *c);
/* CALL_DONE -> CALL_IDLE; bytes stay in c->in until the next start. */
void remote_call_reset(struct remote_call *c);
/* Wait before the next: doubling from 0.8 s to 30 s, with jitter. */
void remote_call_failed(struct remote_call *c, uint64_t now_ns);

/* A new answer (owned from here on), or trouble (shown and logged; the last good answer stays). */
void remote_install(struct remote *r, struct sd_groups *g);
void remote_fine(struct remote *r); /* the trouble is over */
void remote_error(struct remote *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "a.b/c" -> "a_b_c" in g's arena, behind a prefix. */
str sd_label_name(struct arena *a, const char *prefix, str name);
str sd_host_port(struct arena *a, str host, long long port);

#endif
