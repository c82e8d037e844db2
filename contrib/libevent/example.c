/* A server with one route. cc example.c vane_evhttp.c $(pkg-config --cflags --libs libvane libevent) */
#include "vane_evhttp.h"

#include <vane/vane.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void user(struct evhttp_request *r, void *arg)
{
    (void)arg;
    VANE_INFO("looking up a user", vane_bool("found", 1));
    struct evbuffer *b = evbuffer_new();
    const char *uri = evhttp_request_get_uri(r);
    evbuffer_add_printf(b, "%s\n", strncmp(uri, "/users/", 7) ? "no such page" : uri + 7);
    evhttp_send_reply(r, strncmp(uri, "/users/", 7) ? 404 : 200, NULL, b);
    evbuffer_free(b);
}

static void input_ended(evutil_socket_t fd, short what, void *base)
{
    (void)what;
    char c;
    if (read(fd, &c, 1) == 0)
        event_base_loopexit(base, NULL);
}

int main(void)
{
    static struct vane_evhttp users = { .cb = user, .route = "/users/{id}" };
    if (vane_start(NULL))
        return 1;
    struct event_base *base = event_base_new();
    struct evhttp *http = evhttp_new(base);
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(http, "127.0.0.1", 0);
    if (!bound)
        return 1;
    evhttp_set_cb(http, "/metrics", vane_evhttp_own, NULL);
    evhttp_set_gencb(http, vane_evhttp_cb, &users);
    struct sockaddr_in at;
    socklen_t n = sizeof at;
    getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&at, &n);
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    struct event *input = event_new(base, 0, EV_READ | EV_PERSIST, input_ended, base);
    event_add(input, NULL);
    event_base_dispatch(base);
    event_free(input);
    evhttp_free(http);
    event_base_free(base);
    return vane_stop(2000);
}
