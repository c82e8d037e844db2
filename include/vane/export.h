/* libvane exporters: the pull side (render an exposition into any server, the tiny listener) and the state of the push
 * side, which runs by itself when an endpoint is configured (config.h). */
#ifndef VANE_EXPORT_H
#define VANE_EXPORT_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum vane_format {
    VANE_FORMAT_TEXT = 0,    /* text/plain; version=0.0.4 */
    VANE_FORMAT_OPENMETRICS, /* application/openmetrics-text; version=1.0.0: with exemplars, units and # EOF */
    VANE_FORMAT_PROTOBUF     /* io.prometheus.client.MetricFamily, delimited: native histograms */
} vane_format;

/* The format an Accept header asks for, by its q-values; text when it is NULL, malformed or asks for nothing we have. */
VANE_API vane_format vane_format_negotiate(const char *accept);

/* The Content-Type of a format. Static memory. */
VANE_API const char *vane_format_content_type(vane_format f);

/* Render the metrics of this process (in multi-process mode: of all processes of the folder).
 *   ret, ret_n   the body, from malloc(); the caller frees it with vane_render_free(). Not NUL-terminated
 * Returns   VANE_OK; VANE_E_ARG; VANE_E_STATE when not running (no body); VANE_E_NOMEM.
 * Threads   any; renderings run one after the other; writers are never stopped. */
VANE_API vane_status vane_render(vane_format f, char **ret, size_t *ret_n);
VANE_API void vane_render_free(char *body);

/* The same in pieces, without a body in memory.
 *   write   called with parts of some 16 KiB; non-zero stops the rendering, which then returns VANE_E_IO */
typedef int (*vane_write_fn)(void *ctx, const char *p, size_t n);
VANE_API vane_status vane_render_to(vane_format f, vane_write_fn write, void *ctx);

/* Answer a request for one of the library's own paths: metrics_path, /health, /health/live, /health/ready,
 * /health/detailed. For hosts that have a server already: mount this.
 *   method          "GET" or "HEAD"; others answer 405
 *   path            without the query
 *   accept          the Accept header or NULL
 *   ret_body        freed with vane_render_free(); NULL for an empty body
 *   ret_type        Content-Type, static memory
 * Returns   the HTTP status: 200, 503 (unhealthy, not ready, or not running), 405; 404 for paths that are not ours. */
VANE_API int vane_handle_request(const char *method, const char *path, const char *accept, char **ret_body,
                                 size_t *ret_n, const char **ret_type);

/* Port the listener is bound to; 0 when there is none. */
VANE_API uint16_t vane_listen_port(void);

/* Several processes (multiproc_dir): take the files of dead processes into one, so that their number stays small. Every
 * rendering does this by itself at most once in 10 s; a supervisor may call it when it has reaped a child.
 * Returns   VANE_OK, VANE_E_STATE without a folder, VANE_E_IO. */
VANE_API vane_status vane_multiproc_fold(void);

/* Collect and push now, in the background. Returns VANE_OK, VANE_E_STATE (not running or no endpoint). */
VANE_API vane_status vane_push_now(void);

#ifdef __cplusplus
}
#endif
#endif
