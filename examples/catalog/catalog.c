/* catalog: products and orders in SQLite, behind the shop.
 *   GET /products            all products
 *   GET /products/{id}       one
 *   POST /orders             {"product":7,"quantity":2}: takes it from the stock; 409 when there is not enough
 * Metrics: http_*, database_query_duration_seconds{query}, database_connections_{active,idle}, inventory_level. */
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/demo.h"

enum { PRODUCTS = 12, STOCK = 500, CONNECTIONS = 4 };

static sqlite3 *pool[CONNECTIONS];
static int n_idle;
static pthread_mutex_t pool_mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t pool_cond = PTHREAD_COND_INITIALIZER;
static struct metric *query_seconds, *active, *idle, *inventory;

static sqlite3 *connection_take(void)
{
    pthread_mutex_lock(&pool_mu);
    while (n_idle == 0)
        pthread_cond_wait(&pool_cond, &pool_mu);
    sqlite3 *db = pool[--n_idle];
    metric_set(active, CONNECTIONS - n_idle, NO_LABELS);
    metric_set(idle, n_idle, NO_LABELS);
    pthread_mutex_unlock(&pool_mu);
    return db;
}

static void connection_give(sqlite3 *db)
{
    pthread_mutex_lock(&pool_mu);
    pool[n_idle++] = db;
    metric_set(active, CONNECTIONS - n_idle, NO_LABELS);
    metric_set(idle, n_idle, NO_LABELS);
    pthread_cond_signal(&pool_cond);
    pthread_mutex_unlock(&pool_mu);
}

/* Runs sql with two integers bound; calls row for each row. Returns SQLite's code. */
static int query(const char *label, const char *sql, int a, int b, void (*row)(sqlite3_stmt *st, void *ctx), void *ctx,
                 int *ret_changes)
{
    sqlite3 *db = connection_take();
    sqlite3_stmt *st = NULL;
    double started = demo_now();
    int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
    if (rc == SQLITE_OK) {
        int wants = sqlite3_bind_parameter_count(st);
        if (wants > 0)
            sqlite3_bind_int(st, 1, a);
        if (wants > 1)
            sqlite3_bind_int(st, 2, b);
        while ((rc = sqlite3_step(st)) == SQLITE_ROW)
            if (row)
                row(st, ctx);
    }
    if (ret_changes)
        *ret_changes = sqlite3_changes(db);
    sqlite3_finalize(st);
    metric_observe(query_seconds, demo_now() - started, LABELS(label));
    connection_give(db);
    return rc;
}

static void product_row(sqlite3_stmt *st, void *ctx)
{
    struct demo_response *rs = ctx;
    size_t n = strlen(rs->body);
    snprintf(rs->body + n, sizeof(rs->body) - n,
             "%s{\"id\":%d,\"name\":\"%s\",\"category\":\"%s\",\"price\":%.2f,\"stock\":%d}", n > 1 ? "," : "",
             sqlite3_column_int(st, 0), (const char *)sqlite3_column_text(st, 1),
             (const char *)sqlite3_column_text(st, 2), sqlite3_column_double(st, 3), sqlite3_column_int(st, 4));
}

static void list_products(const struct demo_request *rq, struct demo_response *rs)
{
    (void)rq;
    demo_work(0.004);
    strcpy(rs->body, "[");
    query("list_products", "SELECT id, name, category, price, stock FROM products", 0, 0, product_row, rs, NULL);
    strcat(rs->body, "]");
}

static void get_product(const struct demo_request *rq, struct demo_response *rs)
{
    demo_work(0.002);
    query("get_product", "SELECT id, name, category, price, stock FROM products WHERE id = ?", atoi(rq->tail), 0,
          product_row, rs, NULL);
    if (!rs->body[0])
        rs->status = 404;
}

static void stock_row(sqlite3_stmt *st, void *ctx)
{
    (void)ctx;
    metric_set(inventory, sqlite3_column_int(st, 1), LABELS((const char *)sqlite3_column_text(st, 0)));
}

static void place_order(const struct demo_request *rq, struct demo_response *rs)
{
    int product = 0, quantity = 0, changes = 0;
    if (sscanf(rq->body, "{\"product\":%d,\"quantity\":%d}", &product, &quantity) != 2 || quantity < 1) {
        rs->status = 400;
        return;
    }
    demo_work(0.006);
    query("take_stock", "UPDATE products SET stock = stock - ?2 WHERE id = ?1 AND stock >= ?2", product, quantity, NULL,
          NULL, &changes);
    if (changes == 0) { /* sold out: the warehouse refills at once, the customer comes back */
        query("refill", "UPDATE products SET stock = stock + ?2 WHERE id = ?1", product, STOCK, NULL, NULL, NULL);
        rs->status = 409;
    }
    query("stock", "SELECT name, stock FROM products WHERE id = ?", product, 0, stock_row, NULL, NULL);
    strcpy(rs->body, rs->status == 200 ? "{\"ok\":true}" : "{\"ok\":false}");
}

static void create_database(void)
{
    static const char *const names[PRODUCTS] = { "espresso",   "filter",   "grinder", "kettle", "mug", "beans-1kg",
                                                 "beans-250g", "descaler", "scale",   "tamper", "jug", "gift-card" };
    static const char *const categories[] = { "machines", "supplies", "accessories" };
    for (int i = 0; i < CONNECTIONS; i++) {
        if (sqlite3_open_v2("file:catalog?mode=memory&cache=shared", &pool[i],
                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI | SQLITE_OPEN_FULLMUTEX,
                            NULL) != SQLITE_OK)
            exit(1);
        sqlite3_busy_timeout(pool[i], 2000);
    }
    n_idle = CONNECTIONS;
    sqlite3_exec(pool[0],
                 "PRAGMA read_uncommitted = 1; CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category "
                 "TEXT, price REAL, stock INTEGER)",
                 NULL, NULL, NULL);
    for (int i = 0; i < PRODUCTS; i++) {
        char sql[256];
        snprintf(sql, sizeof(sql), "INSERT INTO products VALUES (%d, '%s', '%s', %d.9, %d)", i + 1, names[i],
                 categories[i % 3], 4 + i * 7, STOCK);
        sqlite3_exec(pool[0], sql, NULL, NULL, NULL);
        metric_set(inventory, STOCK, LABELS(names[i]));
    }
}

int main(int argc, char **argv)
{
    static const struct demo_route routes[] = {
        { "GET", "/products", "/products", list_products },
        { "GET", "/products/", "/products/{id}", get_product },
        { "POST", "/orders", "/orders", place_order },
    };
    query_seconds = metric_histogram("database_query_duration_seconds", "Time of database queries.", "query");
    active = metric_gauge("database_connections_active", "Database connections in use.", "");
    idle = metric_gauge("database_connections_idle", "Database connections at rest.", "");
    inventory = metric_gauge("inventory_level", "Units in stock.", "product_id");
    create_database();
    demo_wait(demo_start(argc, argv, "catalog", 18082, routes, sizeof(routes) / sizeof(routes[0]), NULL));
    return 0;
}
