/* shop: the API that customers see; asks the catalog for products and payments for money.
 *   GET /                     front page: the product list
 *   GET /products/{id}        one product
 *   POST /cart                puts something into a cart
 *   POST /checkout            {"product":7,"quantity":1,"region":"eu"}: order + charge
 *   POST /login               fails now and then
 * Metrics: http_*, http_client_*, orders_total{product_category,region}, order_value_dollars_total{region},
 * logins_total{outcome}. Options of the peers: environment CATALOG_URL, PAYMENTS_URL. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/demo.h"

static struct metric *orders, *order_value, *logins;
static const char *catalog_url, *payments_url;

static void front_page(const struct demo_request *rq, struct demo_response *rs)
{
    (void)rq;
    char url[256];
    snprintf(url, sizeof(url), "%s/products", catalog_url);
    demo_work(0.003);
    int status = demo_call("catalog", url, NULL, rs->body, sizeof(rs->body), 3000);
    rs->status = status ? status : 503;
}

static void product_page(const struct demo_request *rq, struct demo_response *rs)
{
    char url[256];
    snprintf(url, sizeof(url), "%s/products/%d", catalog_url, atoi(rq->tail));
    demo_work(0.002);
    int status = demo_call("catalog", url, NULL, rs->body, sizeof(rs->body), 3000);
    rs->status = status ? status : 503;
}

static void add_to_cart(const struct demo_request *rq, struct demo_response *rs)
{
    demo_work(0.005);
    if (!rq->body_bytes)
        rs->status = 400;
    strcpy(rs->body, rs->status == 200 ? "{\"ok\":true}" : "{\"error\":\"empty cart\"}");
}

static void checkout(const struct demo_request *rq, struct demo_response *rs)
{
    static const char *const categories[] = { "machines", "supplies", "accessories" };
    int product = 0, quantity = 0;
    char region[16] = "";
    if (sscanf(rq->body, "{\"product\":%d,\"quantity\":%d,\"region\":\"%15[a-z]\"}", &product, &quantity, region) !=
            3 ||
        product < 1) {
        rs->status = 400;
        strcpy(rs->body, "{\"error\":\"product, quantity and region are needed\"}");
        return;
    }
    char url[256], body[128];
    demo_work(0.008);
    snprintf(url, sizeof(url), "%s/orders", catalog_url);
    snprintf(body, sizeof(body), "{\"product\":%d,\"quantity\":%d}", product, quantity);
    int status = demo_call("catalog", url, body, NULL, 0, 3000);
    double amount = quantity * (4.9 + (product - 1) * 7);
    if (status == 200) {
        snprintf(url, sizeof(url), "%s/charge", payments_url);
        snprintf(body, sizeof(body), "{\"amount\":%.2f}", amount);
        status = demo_call("payments", url, body, NULL, 0, 2000);
    }
    rs->status = status == 0 || status >= 500 ? 503 : status;
    if (rs->status == 200) {
        metric_add(orders, 1, LABELS(categories[(product - 1) % 3], region));
        metric_add(order_value, amount, LABELS(region));
    }
    snprintf(rs->body, sizeof(rs->body), "{\"ok\":%s}", rs->status == 200 ? "true" : "false");
}

static void login(const struct demo_request *rq, struct demo_response *rs)
{
    (void)rq;
    demo_work(0.012);
    bool ok = demo_random() > 0.06;
    metric_add(logins, 1, LABELS(ok ? "success" : "failure"));
    if (!ok)
        rs->status = 401;
    strcpy(rs->body, ok ? "{\"ok\":true}" : "{\"error\":\"wrong password\"}");
}

static const char *env_or(const char *name, const char *otherwise)
{
    const char *v = getenv(name);
    return v && *v ? v : otherwise;
}

int main(int argc, char **argv)
{
    static const struct demo_route routes[] = {
        { "GET", "/", "/", front_page },           { "GET", "/products/", "/products/{id}", product_page },
        { "POST", "/cart", "/cart", add_to_cart }, { "POST", "/checkout", "/checkout", checkout },
        { "POST", "/login", "/login", login },
    };
    catalog_url = env_or("CATALOG_URL", "http://127.0.0.1:18082");
    payments_url = env_or("PAYMENTS_URL", "http://127.0.0.1:18081");
    orders = metric_counter("orders_total", "Orders placed.", "product_category,region");
    order_value = metric_counter("order_value_dollars_total", "Value of orders placed.", "region");
    logins = metric_counter("logins_total", "Login attempts.", "outcome");
    demo_wait(demo_start(argc, argv, "shop", 18080, routes, sizeof(routes) / sizeof(routes[0]), NULL));
    return 0;
}
