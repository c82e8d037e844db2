/* A server with one route. cc example.c vane_civetweb.c $(pkg-config --cflags --libs libvane) -lcivetweb */
#include "vane_civetweb.h"

#include <vane/vane.h>

#include <stdio.h>
#include <string.h>

static int user(struct mg_connection *c, void *data)
{
    (void)data;
    const char *id = mg_get_request_info(c)->local_uri + 7;
    VANE_INFO("looking up a user", vane_bool("found", id[0] != 0));
    char body[100];
    snprintf(body, sizeof body, "%s\n", id);
    mg_send_http_ok(c, "text/plain", (long long)strlen(body));
    mg_write(c, body, strlen(body));
    return 200;
}

int main(void)
{
    static struct vane_civetweb users = { .handler = user, .route = "/users/{id}" };
    static const char *options[] = { "listening_ports", "127.0.0.1:0", "num_threads", "4", NULL };
    if (vane_start(NULL))
        return 1;
    struct mg_context *ctx = mg_start(NULL, NULL, options);
    if (!ctx)
        return 1;
    mg_set_request_handler(ctx, "/users/", vane_civetweb_handler, &users);
    mg_set_request_handler(ctx, "/metrics", vane_civetweb_own, NULL);
    struct mg_server_port port;
    mg_get_server_ports(ctx, 1, &port);
    printf("%d\n", port.port);
    fflush(stdout);
    while (getchar() != EOF) /* until its input ends */
        ;
    mg_stop(ctx);
    return vane_stop(2000);
}
