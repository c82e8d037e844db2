/* libmicrohttpd with libvane: RED metrics, server spans, correlation ids and request logs for a daemon. Copy the two files.
 *
 *     static struct vane_mhd app = { .handler = my_handler };
 *     MHD_start_daemon(flags, port, NULL, NULL, vane_mhd_handler, &app, MHD_OPTION_NOTIFY_COMPLETED, vane_mhd_completed,
 *                      &app, MHD_OPTION_END);
 *
 * and in my_handler, which is called as always, vane_mhd_queue() in place of MHD_queue_response(). All threading modes. */
#pragma once

#include <microhttpd.h>
#include <vane/http.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An application; constant while the daemon runs. */
struct vane_mhd {
    MHD_AccessHandlerCallback handler;
    void *handler_cls;
    MHD_RequestCompletedCallback completed; /* may be NULL */
    void *completed_cls;
    int serve_own; /* 1: metrics_path and /health* are answered by libvane and not counted */
};

enum MHD_Result vane_mhd_handler(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                                 const char *version, const char *upload_data, size_t *upload_data_size,
                                 void **req_cls);
void vane_mhd_completed(void *cls, struct MHD_Connection *c, void **req_cls, enum MHD_RequestTerminationCode why);

/* MHD_queue_response() that notes status and size, during a call of the handler.
 *   route   the template, "/users/{id}", a literal; NULL: unknown */
enum MHD_Result vane_mhd_queue(struct MHD_Connection *c, unsigned status, struct MHD_Response *response,
                               const char *route, int64_t body_bytes);
/* Who asks, once the handler knows: for the span and the request log. Copied, cut at 127 bytes. */
void vane_mhd_user(const char *user);
/* The request the calling thread's handler is in, for its span and correlation id; NULL outside. */
vane_http_server *vane_mhd_current(void);

#ifdef __cplusplus
}
#endif
