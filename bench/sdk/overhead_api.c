/* The API that bench/sdk/overhead.py loads: GET /api/orders/N answers an order with its items out of SQLite, as JSON.
 *
 *     overhead_api none|metrics|tracing|logging|health|all PORT OTLP_URL LOG_FILE
 *
 * "none" is the server as it would be without libvane; the others have the one code with libvane in it, and that much of
 * it on. Prints "ready". */
#include "../../contrib/libmicrohttpd/vane_mhd.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vane/vane.h>

enum { ORDERS = 2000, ITEMS = 5, THREADS = 2 };

static bool with_vane;
static vane_metric served;

static const char schema[] =
    "CREATE TABLE orders(id INTEGER PRIMARY KEY, customer TEXT, total REAL);"
    "CREATE TABLE items(order_id INTEGER, product TEXT, price REAL, n INTEGER);"
    "CREATE INDEX items_of ON items(order_id);"
    "WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < 2000)"
    "  INSERT INTO orders SELECT i, 'customer-' || (i % 97), i * 1.25 FROM k;"
    "INSERT INTO items SELECT o.id, 'product-' || (o.id * 7 + n.value) % 301, n.value * 3.5, n.value"
    "  FROM orders o, json_each('[1,2,3,4,5]') n;";
static const char query[] = "SELECT o.customer, o.total, i.product, i.price, i.n FROM orders o JOIN items i"
                            " ON i.order_id = o.id WHERE o.id = ?1 ORDER BY i.n";

/* A database for each thread, in memory. */
static sqlite3_stmt *statement(void)
{
    static __thread sqlite3_stmt *st;
    sqlite3 *db;
    if (!st && (sqlite3_open(":memory:", &db) || sqlite3_exec(db, schema, NULL, NULL, NULL) ||
                sqlite3_prepare_v2(db, query, -1, &st, NULL))) {
        fprintf(stderr, "overhead_api: %s\n", sqlite3_errmsg(db));
        exit(1);
    }
    return st;
}

static size_t order(int id, char *to, size_t cap)
{
    sqlite3_stmt *st = statement();
    vane_db_query q;
    if (with_vane)
        vane_db_begin(&q, "sqlite", "shop", query);
    sqlite3_bind_int(st, 1, id);
    size_t n = 0;
    int rows = 0;
    while (sqlite3_step(st) == SQLITE_ROW && n + 200 < cap) {
        if (!rows++)
            n += (size_t)snprintf(to + n, cap - n, "{\"id\":%d,\"customer\":\"%s\",\"total\":%.2f,\"items\":[", id,
                                  (const char *)sqlite3_column_text(st, 0), sqlite3_column_double(st, 1));
        n += (size_t)snprintf(to + n, cap - n, "%s{\"product\":\"%s\",\"price\":%.2f,\"n\":%d}", rows > 1 ? "," : "",
                              (const char *)sqlite3_column_text(st, 2), sqlite3_column_double(st, 3),
                              sqlite3_column_int(st, 4));
    }
    sqlite3_reset(st);
    if (rows)
        n += (size_t)snprintf(to + n, cap - n, "]}\n");
    if (with_vane)
        vane_db_end(&q, NULL, rows);
    return n;
}

static enum MHD_Result handler(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                               const char *version, const char *data, size_t *data_n, void **req)
{
    (void)cls, (void)method, (void)version, (void)data, (void)data_n, (void)req;
    char body[4096];
    int id = strncmp(url, "/api/orders/", 12) ? -1 : atoi(url + 12);
    size_t n = id >= 0 ? order(id % ORDERS + 1, body, sizeof body) : 0;
    unsigned status = n ? MHD_HTTP_OK : MHD_HTTP_NOT_FOUND;
    struct MHD_Response *r = MHD_create_response_from_buffer(n, body, MHD_RESPMEM_MUST_COPY);
    MHD_add_response_header(r, "Content-Type", "application/json");
    if (with_vane) {
        static const char *const regions[] = { "eu", "us", "asia" };
        vane_counter_add_to(served, 1, VANE_LABELS("order", regions[id > 0 ? id % 3 : 0]));
        VANE_INFO("order served", vane_int("order_id", id), vane_int("bytes", (int64_t)n));
    }
    enum MHD_Result done =
        with_vane ? vane_mhd_queue(c, status, r, "/api/orders/{id}", (int64_t)n) : MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return done;
}

static vane_health well(void *ctx, char *message, size_t n)
{
    (void)ctx;
    snprintf(message, n, "%d threads", THREADS);
    return VANE_HEALTHY;
}

static int instrument(const char *mode, const char *otlp, const char *log_file)
{
    bool all = !strcmp(mode, "all");
    char sink[300];
    snprintf(sink, sizeof sink, "file:%s", log_file);
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.service_name = "orders";
    c.metrics = all || !strcmp(mode, "metrics") ? VANE_ON : VANE_OFF;
    c.tracing = all || !strcmp(mode, "tracing") ? VANE_ON : VANE_OFF;
    c.health = all || !strcmp(mode, "health") ? VANE_ON : VANE_OFF;
    if (c.tracing == VANE_ON)
        c.otlp_traces_endpoint = otlp;
    bool logs = all || !strcmp(mode, "logging");
    c.log_level = logs ? "INFO" : "CRITICAL";
    c.log_sinks = logs ? sink : "none";
    if (vane_start(&c))
        return 1;
    served = vane_counter_new("orders_served_total", "Orders.", "kind,region");
    static const char *const names[] = { "database", "cache", "payments" };
    for (int i = 0; i < 3 && c.health == VANE_ON; i++) {
        vane_health_opts o = { .size = sizeof o, .name = names[i], .check = well, .interval_ms = 1000 };
        vane_health_add(&o);
    }
    with_vane = true;
    return 0;
}

int main(int argc, char **argv)
{
    static struct vane_mhd app = { .handler = handler, .serve_own = 1 };
    if (argc != 5 || (strcmp(argv[1], "none") && instrument(argv[1], argv[3], argv[4]))) {
        fprintf(stderr, "usage: overhead_api none|metrics|tracing|logging|health|all PORT OTLP_URL LOG_FILE\n");
        return 2;
    }
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG;
    uint16_t port = (uint16_t)atoi(argv[2]);
    struct MHD_Daemon *d =
        with_vane ? MHD_start_daemon(flags, port, NULL, NULL, vane_mhd_handler, &app, MHD_OPTION_THREAD_POOL_SIZE,
                                     THREADS, MHD_OPTION_NOTIFY_COMPLETED, vane_mhd_completed, &app, MHD_OPTION_END)
                  : MHD_start_daemon(flags, port, NULL, NULL, handler, NULL, MHD_OPTION_THREAD_POOL_SIZE, THREADS,
                                     MHD_OPTION_END);
    if (!d)
        return 1;
    puts("ready");
    fflush(stdout);
    getchar(); /* until the driver closes our input */
    MHD_stop_daemon(d);
    if (with_vane)
        vane_stop(1000);
    return 0;
}
