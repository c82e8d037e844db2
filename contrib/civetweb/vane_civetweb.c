#include "vane_civetweb.h"

#include <vane/export.h>

#include <string.h>
#include <strings.h>

static const char *get(void *carrier, const char *name, size_t index, size_t *ret_n)
{
    const struct mg_request_info *r = carrier;
    for (int i = 0; i < r->num_headers; i++)
        if (!strcasecmp(r->http_headers[i].name, name) && index-- == 0) {
            *ret_n = strlen(r->http_headers[i].value);
            return r->http_headers[i].value;
        }
    return NULL;
}

int vane_civetweb_handler(struct mg_connection *c, void *users_of_it)
{
    const struct vane_civetweb *app = users_of_it;
    const struct mg_request_info *r = mg_get_request_info(c);
    vane_http_request q;
    memset(&q, 0, sizeof q);
    q.size = sizeof q, q.method = r->request_method, q.path = r->local_uri, q.query = r->query_string;
    q.route = app->route, q.scheme = r->is_ssl ? "https" : "http", q.protocol = r->http_version,
    q.client = r->remote_addr;
    q.host = mg_get_header(c, "Host"), q.user_agent = mg_get_header(c, "User-Agent");
    q.body_bytes = r->content_length;
    q.get_header = get;
    struct mg_request_info copy = *r; /* the carrier is not const */
    q.carrier = &copy;
    vane_http_server x;
    vane_http_server_begin(&x, &q);
    int status = app->handler(c, app->data);
    vane_http_response a;
    memset(&a, 0, sizeof a);
    a.size = sizeof a, a.status = status > 0 ? status : status == 0 ? 404 : 0, a.body_bytes = -1;
    vane_http_server_end(&x, &a);
    return status;
}

int vane_civetweb_own(struct mg_connection *c, void *data)
{
    (void)data;
    const struct mg_request_info *r = mg_get_request_info(c);
    char *body = NULL;
    size_t n = 0;
    const char *type = NULL;
    int status = vane_handle_request(r->request_method, r->local_uri, mg_get_header(c, "Accept"), &body, &n, &type);
    if (status == 404)
        return 0;
    mg_printf(c, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
              mg_get_response_code_text(c, status), type ? type : "text/plain", n);
    if (strcmp(r->request_method, "HEAD") && n)
        mg_write(c, body, n);
    vane_render_free(body);
    return status;
}
