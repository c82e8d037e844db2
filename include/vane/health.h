/* libvane health: named checks run off the request path, and the bodies of /health*.
 *
 *     static vane_health check_db(void *ctx, char *message, size_t n) { ...; return VANE_HEALTHY; }
 *     vane_health_add(&(vane_health_opts){ sizeof(vane_health_opts), .name = "database", .check = check_db });
 *
 * Two threads at most run the checks: each at its interval, never two runs of one check at a time. A check that
 * overruns its timeout is UNHEALTHY ("timed out after 30 s") until it comes back; its thread is replaced, at most 8 such
 * threads. Results older than interval + timeout read as UNHEALTHY ("no result for ..."). Without a check to run there is
 * no thread. Each check is also a metric, health_check_status{check}: 0 healthy, 1 degraded, 2 unhealthy. With health off
 * (config.h) the calls answer VANE_E_UNAVAILABLE and vane_health_render() 503. */
#ifndef VANE_HEALTH_H
#define VANE_HEALTH_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vane_health { VANE_HEALTHY = 0, VANE_DEGRADED = 1, VANE_UNHEALTHY = 2 } vane_health;

/* Runs on a thread of the library. May write a message (UTF-8, NUL-terminated, n = 256 bytes). */
typedef vane_health (*vane_health_fn)(void *ctx, char *message, size_t n);

#define VANE_HEALTH_READINESS 1u /* counts for /health/ready (default when no flag is given) */
#define VANE_HEALTH_LIVENESS  2u /* counts for /health/live: only for what a restart would cure */
#define VANE_HEALTH_OPTIONAL  4u /* UNHEALTHY makes the whole only DEGRADED */

typedef struct vane_health_opts {
    size_t size;      /* sizeof(vane_health_opts) */
    const char *name; /* unique, 1 to 100 bytes; copied */
    vane_health_fn check;
    void *ctx;
    uint32_t interval_ms; /* 0: health_interval_s of the configuration; at least 100 */
    uint32_t timeout_ms;  /* 0: health_timeout_s of the configuration */
    uint32_t flags;       /* VANE_HEALTH_* */
} vane_health_opts;

/* Add a check; its first run is at once, until then it reads as UNHEALTHY ("not checked yet").
 * Returns   VANE_OK, VANE_E_ARG, VANE_E_EXISTS, VANE_E_LIMIT (128 checks), VANE_E_NOMEM, VANE_E_STATE. */
VANE_API vane_status vane_health_add(const vane_health_opts *opts);
/* Remove; waits for a running call, at most its timeout or until vane_stop() is called (then VANE_E_TIMEOUT: ctx must
 * stay valid). */
VANE_API vane_status vane_health_remove(const char *name);

/* Set a state by hand, without a check function: made on first use, stands until set again. */
VANE_API vane_status vane_health_set(const char *name, vane_health state, const char *message);

/* Not ready (or ready again) as a whole: while starting up or draining. /health/ready answers 503 with the reason. */
VANE_API void vane_health_set_ready(int ready, const char *reason);

/* Worst state over all checks; HEALTHY when there are none. */
VANE_API vane_health vane_health_overall(void);

typedef enum vane_health_view {
    VANE_HEALTH_SUMMARY, /* /health */
    VANE_HEALTH_LIVE,    /* /health/live */
    VANE_HEALTH_READY,   /* /health/ready */
    VANE_HEALTH_DETAILED /* /health/detailed: every check with state, message, last run, duration */
} vane_health_view;

/* Body (JSON) and HTTP status (200 or 503) of a view; DEGRADED is 200. The body is freed with vane_render_free().
 * Returns the status; 503 with a NULL body when memory is out or the library does not run. */
VANE_API int vane_health_render(vane_health_view view, char **ret_body, size_t *ret_n);

#ifdef __cplusplus
}
#endif
#endif
