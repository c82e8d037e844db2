/* civetweb with libvane: RED metrics, server spans, correlation ids and request logs for request handlers. Copy the two
 * files. In place of mg_set_request_handler(ctx, "/users/", h, data):
 *
 *     static struct vane_civetweb users = { .handler = h, .data = data, .route = "/users/{id}" };
 *     mg_set_request_handler(ctx, "/users/", vane_civetweb_handler, &users);
 *
 * The handler returns the status it sent, as civetweb asks for; 0 means "not handled" and counts as 404. */
#pragma once

#include <civetweb.h>
#include <vane/http.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vane_civetweb {
    mg_request_handler handler;
    void *data;
    const char *route; /* constant while the server runs */
};
int vane_civetweb_handler(struct mg_connection *c, void *users_of_it);
/* A handler for metrics_path and /health*: libvane's own answers. data is not used. */
int vane_civetweb_own(struct mg_connection *c, void *data);

#ifdef __cplusplus
}
#endif
