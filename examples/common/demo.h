/* What the example services share: libvane started, an HTTP server (libmicrohttpd), calls to each other (libcurl), a pool
 * of SQLite connections, and chance. The three adapters of contrib/ are what instruments them.
 *
 *     demo_init(argc, argv, "shop", 18080);          // options, libvane
 *     ... instruments, demo_db_open() ...
 *     demo_serve(routes, n_routes);                  // until SIGINT or SIGTERM
 *
 * Threads: handlers run on one thread per connection. Everything here may be called from any thread. */
#ifndef VANE_EXAMPLES_DEMO_H
#define VANE_EXAMPLES_DEMO_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <vane/vane.h>

/* Options --port N (default: port) and --db FILE (default: a database in memory); exits with a message when they are not
 * understood or libvane cannot start. */
void demo_init(int argc, char **argv, const char *name, int port);
/* libvane alone, for a program with options of its own. */
void demo_start(const char *name);

/* ---- server ---- */
struct demo_request {
    const char *tail; /* what follows the route's path: "/products/7" on "/products/" -> "7" */
    json_t *body;     /* the request's JSON, NULL when there is none */
    void *connection; /* for the two below */
};
struct demo_route {
    const char *method, *path;                                  /* a path that ends in '/' matches as a prefix */
    const char *name;                                           /* the route: "/products/{id}" */
    int (*handle)(const struct demo_request *rq, json_t **ret); /* answers the status; *ret: the body, may stay NULL */
};
const char *demo_query(const struct demo_request *rq, const char *name);  /* query parameter or NULL */
const char *demo_header(const struct demo_request *rq, const char *name); /* header or NULL */
/* Who asks: for the span and the log line of the request that this thread answers. */
void demo_user(const char *user);
/* {"error": text} with a status, for `return demo_error(ret, 404, "no such product")`. */
int demo_error(json_t **ret, int status, const char *text);

/* Listens on loopback until a signal; then stops libvane. Exits with a message when the port is taken. */
void demo_serve(const struct demo_route *routes, size_t n_routes);

/* ---- calling others ---- */
/* Sends body (NULL: GET; taken over) with a token (may be NULL). *ret, if wanted: the answer's JSON, NULL when it is none.
 * Returns the status, 0 when nobody answered. */
int demo_call(const char *url, const char *token, json_t *body, json_t **ret, int timeout_ms);
/* A health check of another service: ctx is its address, with path. */
vane_health demo_check_peer(void *ctx, char *message, size_t n);
const char *demo_env(const char *name, const char *otherwise);

/* ---- database ---- */
/* Opens the service's database and makes its tables; adds the health check "database". Exits with a message on failure. */
void demo_db_open(const char *name, const char *schema);
/* Runs one statement. types: a letter an argument, i int, s const char *, d double. Returns an array of rows, objects by
 * column name, to be freed with json_decref(); NULL on an error, which is logged. ret_changes may be NULL. */
json_t *demo_sql(int *ret_changes, const char *sql, const char *types, ...);
/* The same, for those who want no rows. Returns the number of changed rows, -1 on an error. */
int demo_sql_do(const char *sql, const char *types, ...);

/* ---- chance ---- */
double demo_random(void);            /* [0, 1) */
double demo_draw(double mean);       /* log-normal around the mean */
void demo_work(double mean_seconds); /* sleeps for such a time */
void demo_token(char buf[33]);       /* 32 random hex digits */
double demo_now(void);               /* monotonic seconds */

#endif
