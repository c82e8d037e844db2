/* libevent's HTTP server with libvane: RED metrics, server spans, correlation ids and request logs. Copy the two files. In
 * place of evhttp_set_cb(http, "/users", cb, arg):
 *
 *     static struct vane_evhttp users = { .cb = cb, .arg = arg, .route = "/users" };
 *     evhttp_set_cb(http, "/users", vane_evhttp_cb, &users);
 *
 * (or evhttp_set_gencb() with route NULL). A callback may answer at once or later: the request ends when its answer was
 * sent, or without one when evhttp frees it. Uses the request's on-complete callback. */
#pragma once

#include <event2/http.h>
#include <vane/http.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vane_evhttp {
    void (*cb)(struct evhttp_request *r, void *arg);
    void *arg;
    const char *route; /* constant while the server runs */
};
void vane_evhttp_cb(struct evhttp_request *r, void *users_of_it);
/* A callback for metrics_path and /health*: libvane's own answers. arg is not used. */
void vane_evhttp_own(struct evhttp_request *r, void *arg);

#ifdef __cplusplus
}
#endif
