/* A server with one route. cc example.c vane_mhd.c $(pkg-config --cflags --libs libvane libmicrohttpd) */
#include "vane_mhd.h"

#include <vane/vane.h>

#include <stdio.h>
#include <string.h>

static enum MHD_Result handle(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                              const char *version, const char *upload_data, size_t *upload_data_size, void **req_cls)
{
    (void)cls, (void)method, (void)version, (void)upload_data;
    static int seen;
    if (!*req_cls) { /* the headers; the answer comes with the next call */
        *req_cls = &seen;
        return MHD_YES;
    }
    if (*upload_data_size) { /* a part of the body, which nobody wants */
        *upload_data_size = 0;
        return MHD_YES;
    }
    int found = !strncmp(url, "/users/", 7);
    VANE_INFO("looking up a user", vane_bool("found", found));
    char text[100];
    int n = snprintf(text, sizeof text, "%s\n", found ? url + 7 : "no such page");
    struct MHD_Response *r = MHD_create_response_from_buffer((size_t)n < sizeof text ? (size_t)n : sizeof text - 1,
                                                             text, MHD_RESPMEM_MUST_COPY);
    MHD_add_response_header(r, "X-Correlation-Id", vane_http_server_correlation_id(vane_mhd_current()));
    enum MHD_Result result = vane_mhd_queue(c, found ? 200 : 404, r, found ? "/users/{id}" : NULL, n);
    MHD_destroy_response(r);
    return result;
}

int main(void)
{
    static struct vane_mhd app = { .handler = handle, .serve_own = 1 };
    if (vane_start(NULL))
        return 1;
    struct MHD_Daemon *d = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, vane_mhd_handler, &app,
                                            MHD_OPTION_NOTIFY_COMPLETED, vane_mhd_completed, &app, MHD_OPTION_END);
    if (!d)
        return 1;
    printf("%u\n", (unsigned)MHD_get_daemon_info(d, MHD_DAEMON_INFO_BIND_PORT)->port);
    fflush(stdout);
    while (getchar() != EOF) /* until its input ends */
        ;
    MHD_stop_daemon(d);
    return vane_stop(2000);
}
