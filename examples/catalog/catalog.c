/* catalog: products and their stock in SQLite, behind the shop and the assistant.
 *   GET /products            all products
 *   GET /products/{id}       one
 *   GET /search?q=WORD       those with the word in name or category
 *   POST /orders             {"product":7,"quantity":2}: takes it from the stock; 409 when there is not enough
 * Business metrics: inventory_level{product_id}. Health: database, stock (DEGRADED when much is sold out). */
#include <stdio.h>
#include <stdlib.h>

#include "../common/demo.h"

enum { STOCK = 500 };

static vane_metric inventory;

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS products (id INTEGER PRIMARY KEY, name TEXT, category TEXT, price REAL, stock INTEGER);"
    "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, product INTEGER, quantity INTEGER);"
    "INSERT OR IGNORE INTO products VALUES"
    " (1, 'espresso', 'machines', 349.0, 500), (2, 'filter', 'supplies', 4.9, 500),"
    " (3, 'grinder', 'machines', 129.0, 500), (4, 'kettle', 'machines', 59.9, 500),"
    " (5, 'mug', 'accessories', 12.5, 500), (6, 'beans-1kg', 'supplies', 24.9, 500),"
    " (7, 'beans-250g', 'supplies', 7.9, 500), (8, 'descaler', 'supplies', 9.9, 500),"
    " (9, 'scale', 'accessories', 39.0, 500), (10, 'tamper', 'accessories', 29.0, 500),"
    " (11, 'jug', 'accessories', 19.0, 500), (12, 'gift-card', 'accessories', 50.0, 500);";

static void show_stock(int product, int stock)
{
    char id[16];
    snprintf(id, sizeof(id), "%d", product);
    vane_gauge_set_to(inventory, stock, VANE_LABELS(id));
}

static int list_products(const struct demo_request *rq, json_t **ret)
{
    (void)rq;
    demo_work(0.003);
    *ret = demo_sql(NULL, "SELECT id, name, category, price, stock FROM products", "");
    return *ret ? 200 : 500;
}

static int get_product(const struct demo_request *rq, json_t **ret)
{
    demo_work(0.002);
    json_t *rows =
        demo_sql(NULL, "SELECT id, name, category, price, stock FROM products WHERE id = ?", "i", atoi(rq->tail));
    int status = !rows                        ? demo_error(ret, 500, "the database failed")
                 : json_array_size(rows) == 0 ? demo_error(ret, 404, "no such product")
                                              : 200;
    if (status == 200)
        *ret = json_incref(json_array_get(rows, 0));
    json_decref(rows);
    return status;
}

static int search(const struct demo_request *rq, json_t **ret)
{
    const char *q = demo_query(rq, "q");
    char like[100];
    if (!q || !q[0])
        return demo_error(ret, 400, "q is needed");
    demo_work(0.005);
    snprintf(like, sizeof(like), "%%%.90s%%", q);
    *ret = demo_sql(NULL, "SELECT id, name, price FROM products WHERE name LIKE ?1 OR category LIKE ?1 LIMIT 5", "s",
                    like);
    return *ret ? 200 : 500;
}

static int place_order(const struct demo_request *rq, json_t **ret)
{
    int product = 0, quantity = 0;
    if (json_unpack(rq->body, "{s:i, s:i}", "product", &product, "quantity", &quantity) || quantity < 1)
        return demo_error(ret, 400, "product and quantity are needed");
    demo_work(0.006);
    int sold =
        demo_sql_do("UPDATE products SET stock = stock - ?2 WHERE id = ?1 AND stock >= ?2", "ii", product, quantity);
    if (sold < 0)
        return demo_error(ret, 500, "the database failed");
    if (sold == 0) { /* the warehouse refills at once, the customer comes back */
        VANE_WARN("sold out", vane_int("product", product));
        demo_sql_do("UPDATE products SET stock = ?2 WHERE id = ?1", "ii", product, STOCK);
    } else {
        demo_sql_do("INSERT INTO orders (product, quantity) VALUES (?, ?)", "ii", product, quantity);
        VANE_INFO("stock taken", vane_int("product", product), vane_int("quantity", quantity));
    }
    json_t *rows = demo_sql(NULL, "SELECT stock, category, price FROM products WHERE id = ?", "i", product);
    json_t *row = json_array_get(rows, 0);
    if (row)
        show_stock(product, (int)json_integer_value(json_object_get(row, "stock")));
    *ret = json_incref(row);
    json_decref(rows);
    return !*ret ? 404 : sold ? 200 : 409;
}

static vane_health check_stock(void *ctx, char *message, size_t n)
{
    (void)ctx;
    json_t *rows = demo_sql(NULL, "SELECT count(*) AS n FROM products WHERE stock < 20", "");
    json_int_t low = json_integer_value(json_object_get(json_array_get(rows, 0), "n"));
    json_decref(rows);
    if (low < 4)
        return VANE_HEALTHY;
    snprintf(message, n, "%d products are nearly sold out", (int)low);
    return VANE_DEGRADED;
}

int main(int argc, char **argv)
{
    static const struct demo_route routes[] = {
        { "GET", "/products", "/products", list_products },
        { "GET", "/products/", "/products/{id}", get_product },
        { "GET", "/search", "/search", search },
        { "POST", "/orders", "/orders", place_order },
    };
    demo_init(argc, argv, "catalog", 18082);
    inventory = vane_group_gauge(vane_group_new("business"), "inventory_level", "Units in stock.", "product_id");
    demo_db_open("catalog", schema);
    json_t *rows = demo_sql(NULL, "SELECT id, stock FROM products", ""), *row;
    size_t i;
    json_array_foreach(rows, i, row)
    {
        int id = 0, stock = 0;
        if (!json_unpack(row, "{s:i, s:i}", "id", &id, "stock", &stock))
            show_stock(id, stock);
    }
    json_decref(rows);
    vane_health_opts o = { .size = sizeof(o), .name = "stock", .check = check_stock };
    vane_health_add(&o);
    demo_serve(routes, sizeof(routes) / sizeof(routes[0]));
    return 0;
}
