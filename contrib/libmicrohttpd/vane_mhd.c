#include "vane_mhd.h"

#include <vane/export.h>

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request {
    vane_http_server server;
    void *host_cls;
    vane_http_response response;
    char user[128];
};
static __thread struct request *current;

static const char *get(void *carrier, const char *name, size_t index, size_t *ret_n)
{
    const char *v = index ? NULL : MHD_lookup_connection_value(carrier, MHD_HEADER_KIND, name);
    if (v)
        *ret_n = strlen(v);
    return v;
}

static void begin(struct request *r, struct MHD_Connection *c, const char *url, const char *method, const char *version)
{
    char address[INET6_ADDRSTRLEN] = "";
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (i && i->client_addr && i->client_addr->sa_family == AF_INET)
        inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)i->client_addr)->sin_addr, address, sizeof address);
    else if (i && i->client_addr && i->client_addr->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)(void *)i->client_addr)->sin6_addr, address, sizeof address);
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");
    vane_http_request q;
    memset(&q, 0, sizeof q);
    q.size = sizeof q, q.method = method, q.path = url;
    q.scheme = MHD_get_connection_info(c, MHD_CONNECTION_INFO_PROTOCOL) ? "https" : "http";
    q.host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Host");
    q.user_agent = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "User-Agent");
    q.protocol = version && !strncmp(version, "HTTP/", 5) ? version + 5 : NULL;
    q.client = address[0] ? address : NULL;
    q.body_bytes = length ? strtoll(length, NULL, 10) : 0;
    q.get_header = get, q.carrier = c;
    vane_http_server_begin(&r->server, &q);
}

/* 404: not one of libvane's paths. */
static enum MHD_Result answer_own(struct MHD_Connection *c, const char *url, const char *method, int *ret_status)
{
    char *body = NULL;
    size_t n = 0;
    const char *type = NULL, *accept = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Accept");
    *ret_status = vane_handle_request(method, url, accept, &body, &n, &type);
    if (*ret_status == 404)
        return MHD_YES;
    struct MHD_Response *a = MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result r = MHD_NO;
    if (a) {
        if (type)
            MHD_add_response_header(a, "Content-Type", type);
        r = MHD_queue_response(c, (unsigned)*ret_status, a);
        MHD_destroy_response(a);
    }
    vane_render_free(body);
    return r;
}

enum MHD_Result vane_mhd_handler(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                                 const char *version, const char *upload_data, size_t *upload_data_size, void **req_cls)
{
    const struct vane_mhd *app = cls;
    struct request *r = *req_cls;
    if (!r) {
        if (app->serve_own) {
            int status;
            enum MHD_Result sent = answer_own(c, url, method, &status);
            if (status != 404)
                return sent;
        }
        r = calloc(1, sizeof *r);
        if (!r)
            return MHD_NO; /* the connection is closed, as libmicrohttpd does without memory */
        *req_cls = r;
        r->response.size = sizeof r->response;
        r->response.body_bytes = -1;
        begin(r, c, url, method, version);
    } else {
        vane_http_server_resume(&r->server); /* this thread may have been in other requests meanwhile */
    }
    current = r;
    enum MHD_Result result =
        app->handler(app->handler_cls, c, url, method, version, upload_data, upload_data_size, &r->host_cls);
    current = NULL;
    vane_http_server_suspend(&r->server);
    return result;
}

enum MHD_Result vane_mhd_queue(struct MHD_Connection *c, unsigned status, struct MHD_Response *response,
                               const char *route, int64_t body_bytes)
{
    enum MHD_Result result = MHD_queue_response(c, status, response);
    if (current && result == MHD_YES) {
        current->response.status = (int)(status & 0xFFFF);
        current->response.route = route;
        current->response.body_bytes = body_bytes;
    }
    return result;
}

void vane_mhd_user(const char *user)
{
    if (!current || !user)
        return;
    snprintf(current->user, sizeof current->user, "%s", user);
    current->response.user = current->user;
}

vane_http_server *vane_mhd_current(void)
{
    return current ? &current->server : NULL;
}

void vane_mhd_completed(void *cls, struct MHD_Connection *c, void **req_cls, enum MHD_RequestTerminationCode why)
{
    const struct vane_mhd *app = cls;
    struct request *r = *req_cls;
    if (!r)
        return;
    vane_http_server_resume(&r->server);
    if (app->completed)
        app->completed(app->completed_cls, c, &r->host_cls, why);
    if (why != MHD_REQUEST_TERMINATED_COMPLETED_OK)
        r->response.error_type = "connection_lost";
    vane_http_server_end(&r->server, &r->response);
    free(r);
    *req_cls = NULL;
}
