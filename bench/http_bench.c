/* The server and the client against each other over loopback, in one process: what a request costs on both sides
 * together. One JSON object per row. */
#include <stdio.h>

#include "base/check.h"
#include "http/http.h"

enum { REQUESTS = 40000, IN_FLIGHT = 64, BODY_BYTES = 100 * 1024 };

static void hello(struct http_request *rq, struct http_response *rs)
{
    (void)rq;
    http_answer(rs, 200, STR("text/plain"), STR("hello, world\n"));
}
static void take(struct http_request *rq, struct http_response *rs)
{
    rs->status = rq->body.n ? 204 : 400;
}
static const struct http_route routes[] = {
    { HTTP_BIT(HTTP_GET), "/inline", hello, HTTP_INLINE, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/pool", hello, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/query", hello, HTTP_QUERY, NULL, 0 },
    { HTTP_BIT(HTTP_POST), "/take", take, HTTP_INGEST, NULL, 0 },
};

static struct http_client *client;
static struct http_fetch fetch;
static atomic_int started, finished, failed;

static void next(void)
{
    if (atomic_fetch_add(&started, 1) < REQUESTS && http_start(client, &fetch, NULL) != OK)
        atomic_fetch_add(&failed, 1);
}
static void done(void *ctx, const struct http_result *r)
{
    (void)ctx;
    if (r->err != OK || r->status >= 300)
        atomic_fetch_add(&failed, 1);
    next();
    atomic_fetch_add(&finished, 1);
}

static void row(const char *name, const char *base, const char *path, str body)
{
    char url[128];
    snprintf(url, sizeof(url), "%s%s", base, path);
    fetch =
        (struct http_fetch){ .url = str_c(url), .method = body.n ? HTTP_POST : HTTP_GET, .body = body, .done = done };
    atomic_store(&started, 0);
    atomic_store(&finished, 0);
    atomic_store(&failed, 0);
    uint64_t wall = os_mono_ns(), cpu = os_cpu_ns();
    for (int i = 0; i < IN_FLIGHT; i++)
        next();
    while (atomic_load(&finished) < REQUESTS)
        os_sleep_ms(1);
    wall = os_mono_ns() - wall;
    cpu = os_cpu_ns() - cpu;
    printf("{\"bench\":\"http_%s\",\"requests\":%d,\"failed\":%d,\"per_s\":%.0f,\"cpu_us_per_request\":%.2f}\n", name,
           REQUESTS, atomic_load(&failed), REQUESTS / ((double)wall * 1e-9), (double)cpu / REQUESTS * 1e-3);
}

int main(void)
{
    static char body[BODY_BYTES];
    struct http_listener l = { .address = "127.0.0.1" };
    struct http_table t = { routes, ARRAY_LEN(routes), NULL, 0 };
    struct http_server_config cfg = { .listeners = &l, .n_listeners = 1, .tables = &t, .n_tables = 1 };
    struct http_server *server;
    struct err_text why;
    if (http_server_open(&cfg, &server, &why) != OK || http_client_open(NULL, &client) != OK)
        return 1;
    char base[64];
    snprintf(base, sizeof(base), "http://127.0.0.1:%u", http_server_port(server, 0));
    memset(body, 'x', sizeof(body));
    row("get_inline", base, "/inline", STR(""));
    row("get_pool", base, "/pool", STR(""));
    row("get_query", base, "/query", STR(""));
    row("post_100k", base, "/take", str_n(body, sizeof(body)));
    http_client_close(client);
    http_server_close(server);
    return 0;
}
