/* The example services' server: routes over libmicrohttpd, instrumented by contrib/libmicrohttpd; see demo.h. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../contrib/libmicrohttpd/vane_mhd.h"
#include "demo_int.h"

enum { BODY_BYTES_MAX = 65536 };

static const struct demo_route *all_routes;
static size_t n_all_routes;

struct pending { /* a request while its body arrives */
    char *body;
    size_t n;
};

const char *demo_query(const struct demo_request *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->connection, MHD_GET_ARGUMENT_KIND, name);
}

const char *demo_header(const struct demo_request *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->connection, MHD_HEADER_KIND, name);
}

void demo_user(const char *user)
{
    vane_mhd_user(user);
}

int demo_error(json_t **ret, int status, const char *text)
{
    *ret = json_pack("{s:s}", "error", text);
    return status;
}

static const struct demo_route *find_route(const char *method, const char *path)
{
    for (size_t i = 0; i < n_all_routes; i++) {
        const struct demo_route *r = &all_routes[i];
        size_t n = strlen(r->path);
        bool match = r->path[n - 1] == '/' && n > 1 ? strncmp(path, r->path, n) == 0 : strcmp(path, r->path) == 0;
        if (match && strcmp(method, r->method) == 0)
            return r;
    }
    return NULL;
}

static enum MHD_Result answer(struct MHD_Connection *c, int status, const char *route, json_t *body)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    size_t n = text ? strlen(text) : 0;
    struct MHD_Response *r = MHD_create_response_from_buffer(n, text, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result ok = MHD_NO;
    if (r) {
        MHD_add_response_header(r, "Content-Type", "application/json");
        MHD_add_response_header(r, "X-Correlation-Id", vane_http_server_correlation_id(vane_mhd_current()));
        ok = vane_mhd_queue(c, (unsigned)status, r, route, (int64_t)n);
        MHD_destroy_response(r);
    }
    free(text);
    return ok;
}

static enum MHD_Result serve(struct MHD_Connection *c, const char *method, const char *path, const struct pending *p)
{
    const struct demo_route *r = find_route(method, path);
    json_t *out = NULL;
    int status;
    if (r) {
        struct demo_request rq = { path + strlen(r->path), p->n ? json_loadb(p->body, p->n, 0, NULL) : NULL, c };
        status = p->n && !rq.body ? demo_error(&out, 400, "the body is not JSON") : r->handle(&rq, &out);
        json_decref(rq.body);
    } else {
        status = demo_error(&out, 404, "no such page");
    }
    enum MHD_Result ok = answer(c, status, r ? r->name : NULL, out);
    json_decref(out);
    return ok;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *data, size_t *data_bytes, void **state)
{
    (void)ctx;
    (void)version;
    struct pending *p = *state;
    if (!p) {
        *state = calloc(1, sizeof(*p));
        return *state ? MHD_YES : MHD_NO;
    }
    if (!*data_bytes)
        return serve(c, method, path, p);
    if (p->n + *data_bytes > BODY_BYTES_MAX)
        return MHD_NO;
    char *grown = realloc(p->body, p->n + *data_bytes);
    if (!grown)
        return MHD_NO;
    p->body = grown;
    memcpy(p->body + p->n, data, *data_bytes);
    p->n += *data_bytes;
    *data_bytes = 0;
    return MHD_YES;
}

static void on_done(void *ctx, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode why)
{
    (void)ctx;
    (void)c;
    (void)why;
    struct pending *p = *state;
    if (p)
        free(p->body);
    free(p);
}

void demo_serve(const struct demo_route *routes, size_t n_routes)
{
    static struct vane_mhd app = { .handler = on_request, .completed = on_done, .serve_own = 1 };
    all_routes = routes;
    n_all_routes = n_routes;
    struct sockaddr_in loopback = { .sin_family = AF_INET, .sin_port = htons((uint16_t)demo_options.port) };
    loopback.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct MHD_Daemon *d = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, (uint16_t)demo_options.port, NULL, NULL,
        vane_mhd_handler, &app, MHD_OPTION_NOTIFY_COMPLETED, vane_mhd_completed, &app, MHD_OPTION_SOCK_ADDR,
        (struct sockaddr *)&loopback, MHD_OPTION_CONNECTION_TIMEOUT, 60u, MHD_OPTION_END);
    if (!d) {
        fprintf(stderr, "%s: cannot listen on 127.0.0.1:%d (is it in use?); choose another with --port\n",
                demo_options.name, demo_options.port);
        exit(1);
    }
    VANE_INFO("listening", vane_int("port", demo_options.port));
    int which;
    sigwait(&demo_options.signals, &which);
    vane_health_set_ready(0, "stopping");
    MHD_stop_daemon(d);
    VANE_INFO("stopped", vane_str("signal", which == SIGTERM ? "SIGTERM" : "SIGINT"));
    vane_stop(2000);
}
