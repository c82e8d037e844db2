/* libvane's middleware: RED metrics, correlation ids, client side, SQL texts, spans, lines, bad input. */
#include "../../src/sdk/sdk_conf.h"
#include "../../src/sdk/sdk_trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static void start(void)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.process_metrics = VANE_OFF;
    c.log_sinks = "none";
    assert_int_equal(vane_start(&c), VANE_OK);
}

static void stop(void)
{
    assert_int_equal(vane_stop(1000), VANE_OK);
}

static bool shows(const char *line)
{
    char *body = NULL;
    size_t n = 0;
    assert_int_equal(vane_render(VANE_FORMAT_TEXT, &body, &n), VANE_OK);
    bool found = memmem(body, n, line, strlen(line)) != NULL;
    if (!found)
        print_message("%.*s\nlacks %s\n", (int)n, body, line);
    vane_render_free(body);
    return found;
}

struct headers {
    const char *name[8];
    char value[8][200];
    int n;
};

static const char *get(void *carrier, const char *name, size_t index, size_t *ret_n)
{
    struct headers *h = carrier;
    for (int i = 0; i < h->n; i++)
        if (!strcasecmp(h->name[i], name) && index-- == 0) {
            *ret_n = strlen(h->value[i]);
            return h->value[i];
        }
    return NULL;
}

static void set(void *carrier, const char *name, const char *value)
{
    struct headers *h = carrier;
    if (h->n == 8)
        return;
    h->name[h->n] = strdup(name);
    snprintf(h->value[h->n++], sizeof h->value[0], "%s", value);
}

static vane_http_request request(const char *method, const char *route)
{
    vane_http_request r = { .size = sizeof r, .method = method, .route = route, .path = "/users/7", .body_bytes = -1 };
    return r;
}

static vane_http_response response(int status)
{
    vane_http_response r = { .size = sizeof r, .status = status, .body_bytes = -1 };
    return r;
}

static void test_server_metrics(void **state)
{
    (void)state;
    start();
    vane_http_server x;
    vane_http_request q = request("GET", "/users/{id}");
    q.body_bytes = 10;
    vane_http_response a = response(200);
    a.body_bytes = 2000;
    for (int i = 0; i < 3; i++) {
        vane_http_server_begin(&x, &q);
        assert_true(shows("http_server_active_requests{http_request_method=\"GET\",url_scheme=\"http\"} 1\n"));
        vane_http_server_end(&x, &a);
    }
    q = request("GET", NULL), a = response(503), a.route = "/late"; /* the router ran after begin */
    vane_http_server_begin(&x, &q);
    vane_http_server_end(&x, &a);
    q = request("BREW", NULL), a = response(0); /* unknown method, lost connection, no route */
    vane_http_server_begin(&x, &q);
    vane_http_server_end(&x, &a);
    assert_true(shows("http_requests_total{method=\"GET\",endpoint=\"/users/{id}\",status=\"200\"} 3\n"));
    assert_true(shows("http_requests_total{method=\"GET\",endpoint=\"/late\",status=\"503\"} 1\n"));
    assert_true(shows("http_requests_total{method=\"_OTHER\",endpoint=\"\",status=\"\"} 1\n"));
    assert_true(shows("http_request_duration_seconds_count{method=\"GET\",endpoint=\"/users/{id}\"} 3\n"));
    assert_true(shows("http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"/late\","
                      "http_response_status_code=\"503\",error_type=\"503\"} 1\n"));
    assert_true(shows("http_server_request_duration_seconds_count{http_request_method=\"_OTHER\",http_route=\"\","
                      "http_response_status_code=\"\",error_type=\"connection_lost\"} 1\n"));
    assert_true(shows("http_server_response_body_size_bytes_sum{http_request_method=\"GET\",http_route=\"/users/{id}\","
                      "http_response_status_code=\"200\"} 6000\n"));
    assert_true(shows("http_server_request_body_size_bytes_sum{http_request_method=\"GET\",http_route=\"/users/{id}\","
                      "http_response_status_code=\"200\"} 30\n"));
    assert_true(shows("http_server_active_requests{http_request_method=\"GET\",url_scheme=\"http\"} 0\n"));
    stop();
}

static void test_correlation(void **state)
{
    (void)state;
    start();
    vane_http_server x, y;
    vane_http_request q = request("GET", "/");
    struct headers in = { .name = { "X-Correlation-Id" }, .value = { "order-17" }, .n = 1 };
    q.get_header = get, q.carrier = &in;
    vane_http_server_begin(&x, &q);
    assert_string_equal(vane_http_server_correlation_id(&x), "order-17");
    /* what this process asks of others carries it */
    struct headers sent = { .n = 0 };
    vane_http_client c;
    vane_http_client_begin(&c, "POST", "http://pay.example:8080/charge", set, &sent);
    vane_http_client_end(&c, 201, NULL, -1);
    size_t n;
    const char *id = get(&sent, "x-correlation-id", 0, &n);
    assert_non_null(id);
    assert_string_equal(id, "order-17");
    vane_http_response a = response(200);
    vane_http_server_suspend(&x);
    vane_http_server_begin(&y, &q); /* another request on the same thread meanwhile */
    vane_http_server_end(&y, &a);
    vane_http_server_resume(&x);
    assert_string_equal(vane_http_server_correlation_id(&x), "order-17");
    vane_http_server_end(&x, &a);
    assert_string_equal(vane_http_server_correlation_id(&x), "");
    for (int i = 0; i < sent.n; i++)
        free((void *)(uintptr_t)sent.name[i]);

    static const char *const bad[] = { "", "a b", "x\r\nSet-Cookie: a=b", "\"quoted\"",
                                       "0123456789012345678901234567890123456789012345678901234567890123456789abcdef" };
    for (size_t i = 0; i < SDK_COUNT_OF(bad); i++) {
        snprintf(in.value[0], sizeof in.value[0], "%s", bad[i]);
        vane_http_server_begin(&x, &q);
        id = vane_http_server_correlation_id(&x);
        assert_int_equal(strlen(id), 36);
        assert_int_equal(id[14], '4'); /* a UUID of version 4 */
        vane_http_server_end(&x, &a);
    }
    vane_self_stats self = { .size = sizeof self };
    vane_self(&self);
    assert_true(self.headers_refused >= SDK_COUNT_OF(bad));
    stop();
}

static void test_client_metrics(void **state)
{
    (void)state;
    start();
    vane_http_client c;
    vane_http_client_begin(&c, "GET", "https://user:pw@shop.example:8443/a?token=x", NULL, NULL);
    vane_http_client_end(&c, 404, NULL, 10);
    vane_http_client_begin(&c, "GET", "http://[::1]:80/", NULL, NULL);
    vane_http_client_end(&c, 0, "timeout", -1);
    assert_true(
        shows("http_client_request_duration_seconds_count{http_request_method=\"GET\",server_address=\"shop.example\","
              "http_response_status_code=\"404\",error_type=\"404\"} 1\n"));
    assert_true(shows("http_client_request_duration_seconds_count{http_request_method=\"GET\",server_address=\"::1\","
                      "http_response_status_code=\"\",error_type=\"timeout\"} 1\n"));
    stop();
}

static void test_bad_input(void **state)
{
    (void)state;
    vane_http_server x = { { 0 } };
    vane_http_client c = { { 0 } };
    vane_db_query d = { { 0 } };
    vane_http_request q = request("GET", "/");
    vane_http_response a = response(200);
    for (int round = 0; round < 2; round++) { /* before the start, and running */
        vane_http_server_begin(NULL, NULL);
        vane_http_server_begin(&x, NULL);
        vane_http_server_end(&x, &a);
        q.method = NULL;
        vane_http_server_begin(&x, &q);
        vane_http_server_end(&x, NULL);
        vane_http_server_end(NULL, NULL);
        vane_http_server_suspend(&x);
        vane_http_server_resume(&x);
        assert_null(vane_http_server_span(&x));
        assert_null(vane_http_server_span(NULL));
        assert_string_equal(vane_http_server_correlation_id(NULL), "");
        vane_http_client_begin(&c, NULL, NULL, NULL, NULL);
        vane_http_client_end(&c, 200, NULL, 0);
        vane_http_client_end(NULL, 200, NULL, 0);
        vane_db_begin(NULL, NULL, NULL, NULL);
        vane_db_begin(&d, NULL, NULL, NULL);
        vane_db_end(&d, NULL, -1);
        vane_db_end(&d, NULL, -1);
        vane_db_end(NULL, NULL, -1);
        vane_db_pool(NULL, 1, -1, 3);
        vane_db_connect_failed(NULL);
        if (!round)
            start();
    }
    /* URLs that are none */
    static const char *const urls[] = { "",           "://", "http://",    "http://[", "http://a:b:c/",
                                        "http://@@@", "?",   "http://h?#", "[" };
    for (size_t i = 0; i < SDK_COUNT_OF(urls); i++) {
        vane_http_client_begin(&c, "GET", urls[i], NULL, NULL);
        vane_http_client_end(&c, 200, NULL, 0);
    }
    /* a request that outlives a stop ends quietly */
    q.method = "GET";
    vane_http_server_begin(&x, &q);
    stop();
    vane_http_server_end(&x, &a);
    start();
    vane_http_server_begin(&x, &q);
    stop();
    start();
    vane_http_server_resume(&x);
    vane_http_server_end(&x, &a);
    vane_http_server_end(&x, &a); /* twice */
    vane_self_stats self = { .size = sizeof self };
    vane_self(&self);
    assert_true(self.span_misuse >= 1);
    stop();
}

static void test_sanitize(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } t[] = {
        { "SELECT * FROM users WHERE id = 42", "SELECT * FROM users WHERE id = ?" },
        { "select 'it''s', 1.5e-3 , 0xFF,x'00ff', -7", "select ?, -?" },
        { "SELECT a1 FROM t2 WHERE x3='4'", "SELECT a1 FROM t2 WHERE x3=?" },
        { "WHERE id IN (1, 2,3 , 'x')", "WHERE id IN (?)" },
        { "INSERT INTO t(a,b) VALUES (1,'a'),(2,'b'), (3,'c')", "INSERT INTO t(a,b) VALUES (?)" },
        { "INSERT INTO t VALUES (?, ?), (?, ?)", "INSERT INTO t VALUES (?)" },
        { "SELECT 1 -- secret 'x'\n, b /* /* nested */ 's' */ FROM t", "SELECT ? , b FROM t" },
        { "SELECT $$body 'x'$$, $fn$ $$ $fn$ , $1", "SELECT ? , $1" },
        { "SELECT \"Strange \"\"name\", `x`, [y] FROM \"T 1\"", "SELECT \"Strange \"\"name\", `x`, [y] FROM \"T 1\"" },
        { "SELECT E'a\\'b', 'unterminated", "SELECT ?" },
        { "a='x' AND b=:name AND c=@p1", "a=? AND b=:name AND c=@p1" },
        { "  SELECT\n\t1  ", "SELECT ?" },
        { "f(1)", "f(?)" },
        { "", "" },
        { "'", "?" },
        { "/* open", "" },
        { "$", "$" },
        { "$x$ never closed", "?" },
        { "1e", "?" },
        { "(((", "(((" },
    };
    for (size_t i = 0; i < SDK_COUNT_OF(t); i++) {
        char buf[256];
        size_t n = vane_db_sanitize(t[i].in, buf, sizeof buf);
        assert_string_equal(buf, t[i].out);
        assert_int_equal(n, strlen(t[i].out));
        char small[6];
        assert_int_equal(vane_db_sanitize(t[i].in, small, sizeof small), n);
        assert_true(strlen(small) <= 5 && !strncmp(small, t[i].out, strlen(small)));
    }
    assert_int_equal(vane_db_sanitize(NULL, NULL, 0), 0);
    assert_int_equal(vane_db_sanitize("SELECT 1", NULL, 0), 8);
    /* No literal of any random text survives, and nothing is read past its end (sanitizers, valgrind). */
    srand(1);
    for (int round = 0; round < 20000; round++) {
        static const char *const alphabets[] = { "''$e1x.,()?-/* \\\nab[]#", "'\"`$e1x.,()?-/* \\\nab[]" };
        const char *letters = alphabets[round % 2]; /* a name in quotes may hold a quote */
        char *text = malloc(24);
        size_t n = (size_t)rand() % 23;
        for (size_t i = 0; i < n; i++)
            text[i] = letters[(size_t)rand() % strlen(letters)];
        text[n] = 0;
        char out[64];
        size_t need = vane_db_sanitize(text, out, sizeof out);
        assert_true(need <= n && need == strlen(out));
        assert_true(round % 2 || !strchr(out, '\''));
        free(text);
    }
}

static void test_db_metrics(void **state)
{
    (void)state;
    static const struct {
        const char *text, *operation, *collection;
    } t[] = {
        { "select * from users where id=1", "SELECT", "users" },
        { "INSERT INTO \"Orders\" VALUES (1)", "INSERT", "Orders" },
        { "/* hint */ UPDATE shop.stock SET n=n-1", "UPDATE", "shop.stock" },
        { "DELETE FROM ONLY carts", "DELETE", "carts" },
        { "WITH x AS (SELECT 1 FROM inner_t) UPDATE y SET a=1", "UPDATE", "y" },
        { "CREATE TABLE IF NOT EXISTS things(a)", "CREATE", "things" },
        { "BEGIN", "BEGIN", "" },
        { "gibberish", "OTHER", "" },
        { "SELECT count(*) FROM (SELECT 1 FROM nested) x", "SELECT", "nested" },
        { "select 'from fake'", "SELECT", "" },
    };
    start();
    for (size_t i = 0; i < SDK_COUNT_OF(t); i++) {
        vane_db_query q;
        vane_db_begin(&q, "sqlite", "main", t[i].text);
        vane_db_end(&q, NULL, 1);
        char line[300];
        snprintf(line, sizeof line,
                 "database_query_duration_seconds_count{system=\"sqlite\",operation=\"%s\",collection=\"%s\"} 1\n",
                 t[i].operation, t[i].collection);
        assert_true(shows(line));
    }
    vane_db_query q;
    vane_db_begin(&q, "postgresql", "shop", "SELECT 1/0");
    vane_db_end(&q, "22012", -1);
    assert_true(shows("database_errors_total{system=\"postgresql\",operation=\"SELECT\",error_type=\"22012\"} 1\n"));
    vane_db_pool("main", 3, 5, -1);
    vane_db_connect_failed("main");
    assert_true(shows("database_connections_active{pool=\"main\"} 3\n"));
    assert_true(shows("database_connections_idle{pool=\"main\"} 5\n"));
    assert_true(shows("database_connections_failed_total{pool=\"main\"} 1\n"));
    stop();
}

/* What is kept of statements, routes and series: the same answers the first, the second and the tenth time, after a stop, and
 * when the series was removed. */
static void test_again(void **state)
{
    (void)state;
    char longest[96 * 3];
    memset(longest, 'r', sizeof longest - 1);
    longest[0] = '/', longest[sizeof longest - 1] = 0;
    for (int life = 0; life < 2; life++) {
        start();
        for (int i = 0; i < 10; i++) {
            vane_db_query d;
            vane_db_begin(&d, "sqlite", "main", "SELECT a FROM again WHERE b = 'x'");
            vane_db_end(&d, NULL, 1);
            vane_db_begin(&d, "mysql", "main", "SELECT a FROM again WHERE b = 'x'");
            vane_db_end(&d, NULL, 1);
            vane_db_pool("again", i, 1, 9);
            vane_http_server x;
            vane_http_request q = request("PUT", "/again");
            vane_http_response a = response(i % 2 ? 204 : 503);
            vane_http_server_begin(&x, &q);
            vane_http_server_end(&x, &a);
            q.route = longest;
            vane_http_server_begin(&x, &q);
            vane_http_server_end(&x, &a);
        }
        assert_true(shows("{system=\"sqlite\",operation=\"SELECT\",collection=\"again\"} 10\n"));
        assert_true(shows("{system=\"mysql\",operation=\"SELECT\",collection=\"again\"} 10\n"));
        assert_true(shows("database_connections_active{pool=\"again\"} 9\n"));
        assert_true(shows("http_requests_total{method=\"PUT\",endpoint=\"/again\",status=\"204\"} 5\n"));
        assert_true(shows("http_requests_total{method=\"PUT\",endpoint=\"/again\",status=\"503\"} 5\n"));
        vane_metric_opts o = VANE_METRIC_OPTS_INIT;
        o.kind = VANE_COUNTER, o.name = "http_requests_total", o.help = "HTTP requests answered.";
        o.labels = "method,endpoint,status", o.gauge_mode = VANE_GAUGE_LIVE_SUM;
        vane_status st;
        vane_metric m = vane_metric_new(&o, &st);
        assert_int_equal(st, VANE_OK);
        assert_int_equal(vane_series_remove(m, VANE_LABELS("PUT", "/again", "204")), VANE_OK);
        vane_http_server x;
        vane_http_request q = request("PUT", "/again");
        vane_http_response a = response(204);
        vane_http_server_begin(&x, &q);
        vane_http_server_end(&x, &a);
        assert_true(shows("http_requests_total{method=\"PUT\",endpoint=\"/again\",status=\"204\"} 1\n"));
        stop();
    }
}

static void *many_requests(void *arg)
{
    (void)arg;
    for (int i = 0; i < 300; i++) {
        vane_http_server x;
        vane_http_request q = request("GET", i % 2 ? "/a" : "/b");
        vane_http_response a = response(200);
        vane_http_server_begin(&x, &q);
        vane_db_query d;
        vane_db_begin(&d, "sqlite", "main", "SELECT 1 FROM t");
        vane_db_end(&d, NULL, 1);
        vane_http_server_end(&x, &a);
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    start();
    pthread_t t[8];
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, many_requests, NULL), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    assert_true(shows("http_requests_total{method=\"GET\",endpoint=\"/a\",status=\"200\"} 1200\n"));
    assert_true(shows("http_server_active_requests{http_request_method=\"GET\",url_scheme=\"http\"} 0\n"));
    assert_true(
        shows("database_query_duration_seconds_count{system=\"sqlite\",operation=\"SELECT\",collection=\"t\"} 2400\n"));
    stop();
}

/* ---- spans and lines ---- */

static struct {
    struct sdk_span_rec head;
    char bytes[8192];
} last;

static void keep(void *ctx, const struct sdk_span_rec *rec)
{
    (void)ctx;
    assert_true(rec->size <= sizeof last);
    memcpy(&last, rec, rec->size);
}

static bool named(const char *name)
{
    return last.head.name_n == strlen(name) && !memcmp(last.bytes, name, last.head.name_n);
}

static bool holds(const char *text)
{
    return memmem(last.bytes, last.head.size - sizeof last.head, text, strlen(text)) != NULL;
}

static _Atomic int lines_seen;
static char line_seen[4096];

static void line(void *ctx, vane_log_level level, const char *text, size_t n)
{
    (void)ctx;
    if (level == VANE_LOG_ERROR && n < sizeof line_seen) {
        memcpy(line_seen, text, n);
        line_seen[n] = 0;
    }
    lines_seen++;
}

static void test_spans_and_lines(void **state)
{
    (void)state;
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.log_sinks = "none";
    c.log_redact = "pin";
    c.otlp_traces_endpoint = "http://127.0.0.1:1/"; /* nobody there: spans wait in the queue */
    c.batch_delay_ms = 86400000;
    assert_int_equal(vane_start(&c), VANE_OK);
    assert_int_equal(vane_log_add_sink(line, NULL), VANE_OK);
    struct headers in = { .name = { "traceparent", "x-correlation-id" },
                          .value = { "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "order-17" },
                          .n = 2 };
    vane_http_server x;
    vane_http_request q = request("GET", NULL);
    q.query = "a=1&token=s3cret&p%49n=1234&b", q.host = "shop.example:8080", q.get_header = get, q.carrier = &in;
    vane_http_server_begin(&x, &q);
    assert_non_null(vane_http_server_span(&x));
    vane_db_query d;
    vane_db_begin(&d, "sqlite", "main", "SELECT * FROM users WHERE name = 's3cret'");
    vane_db_end(&d, "5", 3);
    assert_true(sdk_trace_take(keep, NULL));
    assert_true(named("SELECT users") && last.head.kind == VANE_SPAN_CLIENT && last.head.code == VANE_SPAN_ERROR);
    assert_true(holds("SELECT * FROM users WHERE name = ?") && !holds("s3cret"));
    vane_context server = vane_span_context(vane_http_server_span(&x));
    assert_memory_equal(last.head.parent, server.span_id, 8);
    vane_http_server_suspend(&x);
    assert_false(vane_context_valid(&sdk_tls.context));
    vane_http_server_resume(&x);
    assert_memory_equal(sdk_tls.context.span_id, server.span_id, 8);
    struct headers sent = { .n = 0 };
    vane_http_client h;
    vane_http_client_begin(&h, "GET", "http://anna:s3cret@pay.example/x?token=s3cret&ok=1", set, &sent);
    vane_context client = vane_context_current();
    vane_http_client_end(&h, 502, NULL, 7);
    assert_true(sdk_trace_take(keep, NULL));
    assert_true(named("GET") && last.head.code == VANE_SPAN_ERROR && !holds("s3cret") && !holds("anna"));
    assert_true(holds("http://REDACTED:REDACTED@pay.example/x?token=REDACTED&ok=1"));
    char id[17];
    vane_context_hex(&client, NULL, id);
    size_t n;
    const char *parent = get(&sent, "traceparent", 0, &n);
    assert_non_null(parent);
    assert_memory_equal(parent + 36, id, 16);
    for (int i = 0; i < sent.n; i++)
        free((void *)(uintptr_t)sent.name[i]);
    vane_http_response a = response(500);
    a.route = "/users/{id}", a.user = "u7";
    vane_http_server_end(&x, &a);
    assert_true(sdk_trace_take(keep, NULL));
    assert_true(named("GET /users/{id}") && last.head.kind == VANE_SPAN_SERVER && last.head.code == VANE_SPAN_ERROR);
    assert_true(holds("a=1&token=REDACTED&p%49n=REDACTED&b") && holds("shop.example") && holds("u7") &&
                holds("order-17"));
    static const uint8_t trace[] = { 0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6 };
    assert_memory_equal(last.head.trace_id, trace, sizeof trace);
    assert_false(vane_context_valid(&sdk_tls.context));
    assert_false(sdk_trace_take(keep, NULL));
    assert_int_equal(vane_flush(2000), VANE_OK);
    assert_int_equal(lines_seen, 1);
    assert_non_null(strstr(line_seen, "order-17"));
    assert_non_null(strstr(line_seen, "4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_non_null(strstr(line_seen, "GET /users/{id}"));
    assert_non_null(strstr(line_seen, "u7"));
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_server_metrics),  cmocka_unit_test(test_correlation),
        cmocka_unit_test(test_client_metrics),  cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_sanitize),        cmocka_unit_test(test_db_metrics),
        cmocka_unit_test(test_again),           cmocka_unit_test(test_threads),
        cmocka_unit_test(test_spans_and_lines),
    };
    return cmocka_run_group_tests_name("sdk_http", tests, NULL, NULL);
}
