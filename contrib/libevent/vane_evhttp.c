#include "vane_evhttp.h"

#include <vane/export.h>

#include <event2/buffer.h>
#include <event2/keyvalq_struct.h>
#include <stdlib.h>
#include <string.h>

/* Of a request: ended by its answer or by the end of its connection, whichever comes. */
struct request {
    vane_http_server server;
    struct evhttp_connection *connection;
};

static const char *get(void *carrier, const char *name, size_t index, size_t *ret_n)
{
    const char *v = index ? NULL : evhttp_find_header(evhttp_request_get_input_headers(carrier), name);
    if (v)
        *ret_n = strlen(v);
    return v;
}

static const char *method_of(enum evhttp_cmd_type type)
{
    switch (type) {
    case EVHTTP_REQ_GET:
        return "GET";
    case EVHTTP_REQ_POST:
        return "POST";
    case EVHTTP_REQ_HEAD:
        return "HEAD";
    case EVHTTP_REQ_PUT:
        return "PUT";
    case EVHTTP_REQ_DELETE:
        return "DELETE";
    case EVHTTP_REQ_OPTIONS:
        return "OPTIONS";
    case EVHTTP_REQ_TRACE:
        return "TRACE";
    case EVHTTP_REQ_CONNECT:
        return "CONNECT";
    case EVHTTP_REQ_PATCH:
        return "PATCH";
    }
    return "_OTHER";
}

static void end(struct request *r, int status)
{
    vane_http_response a;
    memset(&a, 0, sizeof a);
    a.size = sizeof a, a.status = status, a.body_bytes = -1;
    evhttp_connection_set_closecb(r->connection, NULL, NULL);
    vane_http_server_resume(&r->server);
    vane_http_server_end(&r->server, &a);
    free(r);
}

static void answered(struct evhttp_request *request, void *arg)
{
    end(arg, evhttp_request_get_response_code(request));
}

static void closed(struct evhttp_connection *connection, void *arg)
{
    (void)connection;
    end(arg, 0);
}

void vane_evhttp_cb(struct evhttp_request *request, void *users_of_it)
{
    const struct vane_evhttp *app = users_of_it;
    struct request *r = calloc(1, sizeof *r);
    if (!r) {
        app->cb(request, app->arg);
        return;
    }
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    char *address = NULL;
    ev_uint16_t port = 0;
    r->connection = evhttp_request_get_connection(request);
    evhttp_connection_get_peer(r->connection, &address, &port);
    vane_http_request q;
    memset(&q, 0, sizeof q);
    q.size = sizeof q, q.method = method_of(evhttp_request_get_command(request)), q.route = app->route;
    q.path = uri ? evhttp_uri_get_path(uri) : NULL, q.query = uri ? evhttp_uri_get_query(uri) : NULL;
    q.host = evhttp_find_header(evhttp_request_get_input_headers(request), "Host");
    q.user_agent = evhttp_find_header(evhttp_request_get_input_headers(request), "User-Agent");
    q.client = address, q.body_bytes = (int64_t)evbuffer_get_length(evhttp_request_get_input_buffer(request));
    q.get_header = get, q.carrier = request;
    vane_http_server_begin(&r->server, &q);
    if (vane_http_server_correlation_id(&r->server)[0])
        evhttp_add_header(evhttp_request_get_output_headers(request), "X-Correlation-Id",
                          vane_http_server_correlation_id(&r->server));
    evhttp_request_set_on_complete_cb(request, answered, r);
    evhttp_connection_set_closecb(r->connection, closed, r);
    vane_http_server *server = &r->server;
    app->cb(request, app->arg); /* its answer is sent by the event loop: r lives on */
    vane_http_server_suspend(server);
}

void vane_evhttp_own(struct evhttp_request *request, void *arg)
{
    (void)arg;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
    const char *accept = evhttp_find_header(evhttp_request_get_input_headers(request), "Accept"), *type = NULL;
    char *body = NULL;
    size_t n = 0;
    int status = vane_handle_request(method_of(evhttp_request_get_command(request)),
                                     uri ? evhttp_uri_get_path(uri) : "", accept, &body, &n, &type);
    struct evbuffer *b = evbuffer_new();
    if (b && n)
        evbuffer_add(b, body, n);
    if (type)
        evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", type);
    evhttp_send_reply(request, status, NULL, b);
    if (b)
        evbuffer_free(b);
    vane_render_free(body);
}
