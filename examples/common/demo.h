/* What the example services share: an HTTP server on libmicrohttpd, metrics kept by hand in the Prometheus
 * text format, and calls to each other with libcurl. It shows what instrumenting a C service by hand takes.
 *
 *   struct demo_service *s = demo_start(argc, argv, "shop", 18080, routes, n_routes, ctx);
 *   demo_wait(s);   until SIGINT or SIGTERM, then stops
 *
 * Threads: handlers run on one thread per connection; metrics may be touched from any thread. */
#ifndef VANE_EXAMPLES_DEMO_H
#define VANE_EXAMPLES_DEMO_H

#include <stdbool.h>
#include <stddef.h>

/* ---- metrics ---- */
struct metric; /* a counter, gauge or histogram family with fixed label names */
struct metric *metric_counter(const char *name, const char *help, const char *label_names); /* "method,route" */
struct metric *metric_gauge(const char *name, const char *help, const char *label_names);
struct metric *metric_histogram(const char *name, const char *help, const char *label_names); /* seconds */
void metric_add(struct metric *m, double v, const char *const *values);
void metric_set(struct metric *m, double v, const char *const *values);
void metric_observe(struct metric *m, double seconds, const char *const *values);
#define LABELS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define NO_LABELS   ((const char *const[]){ NULL })

/* ---- server ---- */
struct demo_request {
    const char *method, *path, *body;
    size_t body_bytes;
    const char *tail; /* what follows the route's path: "/products/7" on "/products/" -> "7" */
    void *ctx;
    void *connection; /* for demo_query */
};
struct demo_response {
    int status; /* 200 unless set */
    char body[8192];
};
struct demo_route {
    const char *method, *path; /* a path that ends in '/' matches as a prefix */
    const char *name;          /* label route: "/products/{id}" */
    void (*handle)(const struct demo_request *rq, struct demo_response *rs);
};
const char *demo_query(const struct demo_request *rq, const char *name); /* query parameter or NULL */

struct demo_service;
/* Listens on loopback. Option: --port N. Exits with a message when the port is taken. */
struct demo_service *demo_start(int argc, char **argv, const char *name, int port, const struct demo_route *routes,
                                size_t n_routes, void *ctx);
void demo_wait(struct demo_service *s);

/* ---- calling others ---- */
/* POST body (NULL: GET) to url; the answer's first bytes in out. Returns the status, 0 when nobody answered.
 * Counted in http_client_requests_total / http_client_request_duration_seconds{peer}. */
int demo_call(const char *peer, const char *url, const char *body, char *out, size_t out_bytes, int timeout_ms);

/* ---- chance ---- */
double demo_random(void);            /* [0, 1) */
void demo_work(double mean_seconds); /* sleeps: log-normal around the mean */
double demo_now(void);               /* monotonic seconds */

#endif
