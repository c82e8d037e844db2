/* shop: the API that customers see; asks catalog, payments and assistant for the rest.
 *   POST /users               {"source":"web"}: registers somebody; answers id and password
 *   POST /login               {"user":17,"password":"..."}: a token, or 401
 *   GET /                     front page: the product list
 *   GET /products/{id}        one product
 *   GET /search?q=WORD        products; counts as use of the feature "search"
 * and with the header "Authorization: Bearer TOKEN":
 *   GET /account              who I am
 *   POST /cart                {"product":7,"quantity":1}
 *   POST /checkout            {"region":"eu"}: orders what is in the cart and pays
 *   POST /ratings             {"product":7,"stars":4}
 *   POST /ask                 {"question":"..."}: the assistant
 *   POST /ask/feedback        {"conversation":"...","score":4}
 * Business metrics: orders_total{product_category,region}, order_value{currency}, user_registrations_total{source},
 * logins_total{outcome}; user_events_total and user_ratings come with the events. Health: database, catalog, payments and
 * assistant. Peers: environment CATALOG_URL, PAYMENTS_URL, ASSISTANT_URL. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../common/demo.h"

static vane_metric orders, order_value, logins, registrations;
static vane_histogram registering;
static const char *catalog_url, *payments_url, *assistant_url;

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, password TEXT, source TEXT);"
    "CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, user INTEGER);"
    "CREATE TABLE IF NOT EXISTS carts (user INTEGER, product INTEGER, quantity INTEGER);"
    "CREATE INDEX IF NOT EXISTS carts_user ON carts (user);"
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)"
    " INSERT OR IGNORE INTO users SELECT i, 'demo-' || i, 'import' FROM n;"; /* a real shop keeps hashes */

/* ---- who asks ---- */

struct session {
    int user;
    char name[24];
    const char *token;
    vane_context with_user, before;
};

/* Finds the session of the request. From here to session_leave() the user is in the baggage: every log line has it, here
 * and in the services asked meanwhile. */
static bool session_enter(const struct demo_request *rq, struct session *ret, json_t **ret_answer)
{
    const char *header = demo_header(rq, "Authorization");
    ret->token = header && strncmp(header, "Bearer ", 7) == 0 ? header + 7 : "";
    json_t *rows = demo_sql(NULL, "SELECT user FROM sessions WHERE token = ?", "s", ret->token);
    ret->user = (int)json_integer_value(json_object_get(json_array_get(rows, 0), "user"));
    json_decref(rows);
    if (!ret->user) {
        demo_error(ret_answer, 401, "log in first");
        return false;
    }
    snprintf(ret->name, sizeof(ret->name), "user-%d", ret->user);
    demo_user(ret->name);
    ret->with_user = vane_baggage_with(vane_context_current(), "user_id", ret->name, NULL);
    ret->before = vane_context_attach(&ret->with_user);
    return true;
}

static int session_leave(struct session *s, int status)
{
    vane_context_detach(s->before);
    vane_context_release(s->with_user);
    return status;
}

static int register_user(const struct demo_request *rq, json_t **ret)
{
    const char *source = "api";
    char password[33];
    json_unpack(rq->body, "{s?s}", "source", &source);
    source = strcmp(source, "web") == 0 || strcmp(source, "mobile") == 0 ? source : "api";
    VANE_TIMER(registering);
    demo_work(0.02);
    demo_token(password);
    json_t *rows =
        demo_sql(NULL, "INSERT INTO users (password, source) VALUES (?, ?) RETURNING id", "ss", password, source);
    int id = (int)json_integer_value(json_object_get(json_array_get(rows, 0), "id"));
    json_decref(rows);
    if (!id)
        return demo_error(ret, 500, "the database failed");
    vane_counter_add_to(registrations, 1, VANE_LABELS(source));
    VANE_INFO("user registered", vane_int("id", id), vane_str("source", source));
    *ret = json_pack("{s:i, s:s}", "id", id, "password", password);
    return 201;
}

static int login(const struct demo_request *rq, json_t **ret)
{
    int user = 0;
    const char *password = "";
    char name[24], token[33];
    if (json_unpack(rq->body, "{s:i, s:s}", "user", &user, "password", &password))
        return demo_error(ret, 400, "user and password are needed");
    demo_work(0.012);
    snprintf(name, sizeof(name), "user-%d", user);
    json_t *rows = demo_sql(NULL, "SELECT id FROM users WHERE id = ? AND password = ?", "is", user, password);
    bool ok = json_array_size(rows) > 0;
    json_decref(rows);
    vane_counter_add_to(logins, 1, VANE_LABELS(ok ? "success" : "failure"));
    const vane_attr why = vane_str("reason", "wrong password");
    vane_audit(name, "login", "shop", ok ? "success" : "failure", &why, ok ? 0 : 1);
    if (!ok)
        return demo_error(ret, 401, "wrong user or password");
    demo_user(name);
    demo_token(token);
    demo_sql_do("DELETE FROM sessions WHERE user = ?", "i", user);
    demo_sql_do("INSERT INTO sessions VALUES (?, ?)", "si", token, user);
    *ret = json_pack("{s:s}", "token", token);
    return 200;
}

static int account(const struct demo_request *rq, json_t **ret)
{
    struct session s;
    if (!session_enter(rq, &s, ret))
        return 401;
    json_t *rows = demo_sql(NULL, "SELECT id, source FROM users WHERE id = ?", "i", s.user);
    vane_audit(s.name, "read", "personal data", "success", NULL, 0);
    *ret = json_incref(json_array_get(rows, 0));
    json_decref(rows);
    return session_leave(&s, *ret ? 200 : 500);
}

/* ---- looking around ---- */

/* The catalog's answer is ours; without one we are not available. */
static int from_catalog(const char *path, json_t **ret)
{
    char url[512];
    snprintf(url, sizeof(url), "%s%s", catalog_url, path);
    int status = demo_call(url, NULL, NULL, ret, 3000);
    return status ? status : demo_error(ret, 503, "the catalog does not answer");
}

static int front_page(const struct demo_request *rq, json_t **ret)
{
    (void)rq;
    demo_work(0.003);
    return from_catalog("/products", ret);
}

static int product_page(const struct demo_request *rq, json_t **ret)
{
    char path[64];
    snprintf(path, sizeof(path), "/products/%d", atoi(rq->tail));
    demo_work(0.002);
    return from_catalog(path, ret);
}

static int search(const struct demo_request *rq, json_t **ret)
{
    const char *q = demo_query(rq, "q");
    char path[64];
    if (!q || !q[0] || q[strspn(q, "abcdefghijklmnopqrstuvwxyz")])
        return demo_error(ret, 400, "q is one word in small letters");
    snprintf(path, sizeof(path), "/search?q=%.40s", q);
    const vane_attr feature = vane_str("feature", "search");
    vane_user_event(NULL, "feature.used", &feature, 1);
    return from_catalog(path, ret);
}

/* ---- buying ---- */

static int add_to_cart(const struct demo_request *rq, json_t **ret)
{
    struct session s;
    int product = 0, quantity = 0;
    if (!session_enter(rq, &s, ret))
        return 401;
    if (json_unpack(rq->body, "{s:i, s:i}", "product", &product, "quantity", &quantity) || quantity < 1)
        return session_leave(&s, demo_error(ret, 400, "product and quantity are needed"));
    demo_work(0.005);
    int done = demo_sql_do("INSERT INTO carts VALUES (?, ?, ?)", "iii", s.user, product, quantity);
    *ret = json_pack("{s:b}", "ok", done == 1);
    return session_leave(&s, done == 1 ? 200 : 500);
}

static const char *currency_of(const char *region)
{
    return strcmp(region, "eu") == 0 ? "EUR" : strcmp(region, "us") == 0 ? "USD" : "JPY";
}

/* Orders one line of the cart at the catalog. Returns its status; adds to the sum. */
static int order_line(json_t *line, const char *region, double *sum)
{
    char url[256];
    int product = 0, quantity = 0;
    double price = 0;
    const char *category = "";
    json_t *answer = NULL;
    snprintf(url, sizeof(url), "%s/orders", catalog_url);
    json_unpack(line, "{s:i, s:i}", "product", &product, "quantity", &quantity);
    int status = demo_call(url, NULL, json_pack("{s:i, s:i}", "product", product, "quantity", quantity), &answer, 3000);
    if (status == 200 && json_unpack(answer, "{s:s, s:F}", "category", &category, "price", &price) == 0) {
        *sum += quantity * price;
        vane_counter_add_to(orders, 1, VANE_LABELS(category, region));
    }
    json_decref(answer);
    return status;
}

static int pay(double sum, const char *currency)
{
    char url[256];
    snprintf(url, sizeof(url), "%s/charge", payments_url);
    return demo_call(
        url, NULL, json_pack("{s:f, s:s, s:s}", "amount", sum, "currency", currency, "card_number", "4000123412341234"),
        NULL, 2000);
}

static int checkout(const struct demo_request *rq, json_t **ret)
{
    struct session s;
    const char *region = "";
    if (!session_enter(rq, &s, ret))
        return 401;
    json_unpack(rq->body, "{s?s}", "region", &region);
    if (strcmp(region, "eu") != 0 && strcmp(region, "us") != 0 && strcmp(region, "asia") != 0)
        return session_leave(&s, demo_error(ret, 400, "region must be eu, us or asia"));
    demo_work(0.008);
    json_t *cart = demo_sql(NULL, "SELECT product, quantity FROM carts WHERE user = ?", "i", s.user), *line;
    demo_sql_do("DELETE FROM carts WHERE user = ?", "i", s.user);
    double sum = 0;
    int status = json_array_size(cart) ? 200 : 400;
    size_t i;
    json_array_foreach(cart, i, line)
    {
        if (status == 200)
            status = order_line(line, region, &sum);
    }
    json_decref(cart);
    if (status == 200)
        status = pay(strcmp(region, "asia") == 0 ? sum * 150 : sum, currency_of(region));
    const vane_attr what[] = { vane_f64("value", sum), vane_str("region", region) };
    vane_audit(s.name, "order", "cart", status == 200 ? "success" : "failure", what, 2);
    if (status == 200) {
        vane_histogram_observe_to(order_value, strcmp(region, "asia") == 0 ? sum * 150 : sum,
                                  VANE_LABELS(currency_of(region)));
        VANE_INFO("order placed", vane_f64("value", sum), vane_str("region", region));
        *ret = json_pack("{s:b, s:f}", "ok", 1, "value", sum);
        return session_leave(&s, 200);
    }
    VANE_WARN("order failed", vane_int("status", status));
    status = status == 0 || status >= 500 ? 503 : status;
    return session_leave(&s, demo_error(ret, status, "the order could not be placed"));
}

/* ---- opinions and questions ---- */

static int rate(const struct demo_request *rq, json_t **ret)
{
    struct session s;
    int product = 0, stars = 0;
    char id[16];
    if (!session_enter(rq, &s, ret))
        return 401;
    if (json_unpack(rq->body, "{s:i, s:i}", "product", &product, "stars", &stars) || stars < 1 || stars > 5)
        return session_leave(&s, demo_error(ret, 400, "product and 1 to 5 stars are needed"));
    snprintf(id, sizeof(id), "%d", product);
    vane_rating(s.name, "product", id, stars, 1, 5, NULL);
    *ret = json_pack("{s:b}", "ok", 1);
    return session_leave(&s, 200);
}

static int pass_on(const struct demo_request *rq, const char *path, const char *feature, json_t **ret)
{
    struct session s;
    char url[256], conversation[40];
    if (!session_enter(rq, &s, ret))
        return 401;
    if (!json_is_object(rq->body))
        return session_leave(&s, demo_error(ret, 400, "a question or a score is needed"));
    snprintf(url, sizeof(url), "%s%s", assistant_url, path);
    snprintf(conversation, sizeof(conversation), "c-%d", s.user);
    const vane_attr what = vane_str("feature", feature);
    vane_user_event(s.name, "feature.used", &what, 1);
    json_t *body = json_copy(rq->body);
    json_object_set_new(body, "conversation", json_string(conversation));
    int status = demo_call(url, NULL, body, ret, 8000);
    return session_leave(&s, status ? status : demo_error(ret, 503, "the assistant does not answer"));
}

static int ask(const struct demo_request *rq, json_t **ret)
{
    return pass_on(rq, "/chat", "assistant", ret);
}

static int feedback(const struct demo_request *rq, json_t **ret)
{
    return pass_on(rq, "/feedback", "assistant feedback", ret);
}

static void watch_peer(const char *name, const char *url)
{
    static struct peer {
        char url[300];
    } peers[3];
    static size_t n;
    if (n == sizeof(peers) / sizeof(peers[0]))
        return;
    struct peer *p = &peers[n++];
    snprintf(p->url, sizeof(p->url), "%s/health/live", url);
    vane_health_opts o = { .size = sizeof(o),
                           .name = name,
                           .check = demo_check_peer,
                           .ctx = p->url,
                           .flags = VANE_HEALTH_READINESS | VANE_HEALTH_OPTIONAL };
    vane_health_add(&o);
}

int main(int argc, char **argv)
{
    static const struct demo_route routes[] = {
        { "GET", "/", "/", front_page },
        { "GET", "/products/", "/products/{id}", product_page },
        { "GET", "/search", "/search", search },
        { "POST", "/users", "/users", register_user },
        { "POST", "/login", "/login", login },
        { "GET", "/account", "/account", account },
        { "POST", "/cart", "/cart", add_to_cart },
        { "POST", "/checkout", "/checkout", checkout },
        { "POST", "/ratings", "/ratings", rate },
        { "POST", "/ask", "/ask", ask },
        { "POST", "/ask/feedback", "/ask/feedback", feedback },
    };
    demo_init(argc, argv, "shop", 18080);
    catalog_url = demo_env("CATALOG_URL", "http://127.0.0.1:18082");
    payments_url = demo_env("PAYMENTS_URL", "http://127.0.0.1:18081");
    assistant_url = demo_env("ASSISTANT_URL", "http://127.0.0.1:18083");
    vane_group business = vane_group_new("business");
    orders = vane_group_counter(business, "orders_total", "Orders placed.", "product_category,region");
    order_value = vane_group_histogram(business, "order_value", "Value of orders placed.", "currency");
    registrations = vane_counter_new("user_registrations_total", "Total user registrations.", "source");
    logins = vane_counter_new("logins_total", "Login attempts.", "outcome");
    registering = vane_histogram_bind(
        vane_histogram_new("user_creation_duration_seconds", "Time to register a user.", ""), VANE_NO_LABELS);
    demo_db_open("shop", schema);
    watch_peer("catalog", catalog_url);
    watch_peer("payments", payments_url);
    watch_peer("assistant", assistant_url);
    demo_serve(routes, sizeof(routes) / sizeof(routes[0]));
    return 0;
}
