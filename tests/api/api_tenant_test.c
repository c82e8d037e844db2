/* Tenants: every route says here what it shows of them. What a tenant reads never holds another one's data. */
#include "test.h"

#include "api/api_int.h"
#include "site.h"
#include "wire/compress.h"
#include "wire/pb.h"

#define MINE  "zebra"
#define OTHER "koala"

static struct answer ask_as(const char *tenant, enum http_method m, const char *path, const char *type, str body)
{
    struct http_pair h[2];
    size_t n = 0;
    if (type)
        h[n++] = (struct http_pair){ STR("Content-Type"), str_c(type) };
    if (tenant)
        h[n++] = (struct http_pair){ STR("X-Scope-OrgID"), str_c(tenant) };
    return site_ask(m, path, h, n, body);
}

static str remote_read_body(void)
{
    struct buf m, q, r, packed;
    struct buf *const all[] = { &m, &q, &r, &packed };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_init(all[i], 0);
    pb_put_bytes(&m, 2, STR("__name__"));
    pb_put_bytes(&m, 3, STR("secret_total"));
    pb_put_varint(&q, 1, 1);
    pb_put_varint(&q, 2, (uint64_t)site.now_ms);
    pb_put_bytes(&q, 3, buf_str(&m));
    pb_put_bytes(&r, 1, buf_str(&q));
    pb_put_varint(&r, 2, 1); /* streamed chunks: not compressed */
    snappy_pack(buf_str(&r), &packed);
    str body = arena_str(&site.a, buf_str(&packed));
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        buf_deinit(all[i]);
    return body;
}

/* The same names for both, with the tenant's name as a value; a metric, an exemplar and a help text of its own. */
static void fill(const char *tenant)
{
    str text = arena_printf(&site.a,
                            "# TYPE secret counter\n# HELP secret help of %s\n"
                            "secret_total{job=\"%s\",x_%s=\"1\"} 1 %lld.0 # {trace_id=\"%s\"} 1 %lld.0\n"
                            "# TYPE only_%s gauge\n# HELP only_%s h\nonly_%s 1\n# EOF\n",
                            tenant, tenant, tenant, (long long)site.now_ms / 1000, tenant,
                            (long long)site.now_ms / 1000, tenant, tenant, tenant);
    struct answer a = ask_as(tenant, HTTP_POST, "/api/v1/import/prometheus", "application/openmetrics-text", text);
    if (a.status != 204)
        fail_msg("import as %s: %d " STR_FMT, tenant, a.status, STR_ARG(a.body));
}

static int open_filled(void **state)
{
    site_open_tenants(state);
    site.ready = true;
    fill(MINE);
    fill(OTHER);
    fill("anonymous");
    return 0;
}

enum kind {
    OPEN,   /* nothing of tenants in it: answers without one */
    READS,  /* must show the asking tenant's name, and not another one's */
    EMPTY,  /* asks for a tenant, holds data of nobody in this test */
    WRITES, /* asks for a tenant; where it goes is tested below or by its room */
};
#define G HTTP_GET
#define P HTTP_POST
#define Q "query=%7B__name__%3D~%22.%2B%22%7D" /* {__name__=~".+"} */
#define M "match%5B%5D=%7B__name__%3D~%22.%2B%22%7D"
static const struct {
    const char *pattern;
    enum kind kind;
    enum http_method method;
    const char *path; /* NULL: the pattern */
} rows[] = {
    { "/api/v1/query", READS, G, "/api/v1/query?time=1700000900&" Q },
    { "/api/v1/query_range", READS, G, "/api/v1/query_range?start=1700000900&end=1700000900&step=1&" Q },
    { "/api/v1/query_exemplars", READS, G, "/api/v1/query_exemplars?" Q },
    { "/api/v1/format_query", OPEN, G, "/api/v1/format_query?query=a" },
    { "/api/v1/parse_query", OPEN, G, "/api/v1/parse_query?query=a" },
    { "/api/v1/series", READS, G, "/api/v1/series?" M },
    { "/api/v1/labels", READS, G, NULL },
    { "/api/v1/label/{name}/values", READS, G, "/api/v1/label/job/values" },
    { "/api/v1/metadata", READS, G, NULL },
    { "/api/v1/status/tsdb", READS, G, "/api/v1/status/tsdb?limit=100" },
    { "/api/v1/status/cardinality", READS, G, "/api/v1/status/cardinality?limit=100" },
    { "/federate", READS, G, "/federate?" M },
    { "/api/v1/read", READS, P, NULL },
    { "/api/v1/targets", EMPTY, G, NULL },
    { "/api/v1/targets/metadata", EMPTY, G, NULL },
    { "/api/v1/scrape_pools", EMPTY, G, NULL },
    { "/api/v1/rules", EMPTY, G, NULL },
    { "/api/v1/alerts", EMPTY, G, NULL },
    { "/api/v1/rules/backtest", WRITES, P, NULL }, /* tried on the asking tenant's data */
    { "/api/v1/rules/backfill", WRITES, P, NULL },
    { "/api/v1/alertmanagers", EMPTY, G, NULL },
    { "/api/v1/notifications", EMPTY, G, NULL },
    { "/api/v1/status/config", EMPTY, G, NULL },
    { "/api/v1/status/flags", EMPTY, G, NULL },
    { "/api/v1/status/runtimeinfo", EMPTY, G, NULL },
    { "/api/v1/admin/tsdb/delete_series", WRITES, P, NULL },
    { "/api/v1/admin/tsdb/clean_tombstones", WRITES, P, NULL },
    { "/api/v1/admin/tsdb/snapshot", WRITES, P, NULL },
    { "/api/v1/admin/tsdb/import", WRITES, P, NULL },
    { "/api/v1/admin/tsdb/export", WRITES, G, NULL },
    { "/api/v1/status/retention", WRITES, G, NULL }, /* of the store as a whole: the default tenant only */
    { "/api/v2/alerts", WRITES, G, NULL },           /* Alertmanager: the default tenant only */
    { "/api/v2/alerts/groups", WRITES, G, NULL },
    { "/api/v2/silences", WRITES, G, NULL },
    { "/api/v2/silence/{id}", WRITES, G, "/api/v2/silence/x" },
    { "/api/v2/receivers", WRITES, G, NULL },
    { "/api/v2/status", WRITES, G, NULL },
    { "/alertmanager/api/v2/alerts", WRITES, G, NULL },
    { "/alertmanager/api/v2/alerts/groups", WRITES, G, NULL },
    { "/alertmanager/api/v2/silences", WRITES, G, NULL },
    { "/alertmanager/api/v2/silence/{id}", WRITES, G, "/alertmanager/api/v2/silence/x" },
    { "/alertmanager/api/v2/receivers", WRITES, G, NULL },
    { "/alertmanager/api/v2/status", WRITES, G, NULL },
    { "/api/v1/alerting/status", EMPTY, G, NULL },
    { "/api/v1/alerting/drills", WRITES, G, NULL },
    { "/api/v1/alerting/drills/{id}", WRITES, G, "/api/v1/alerting/drills/x" },
    { "/api/v1/heartbeats", WRITES, G, NULL },
    { "/api/v1/heartbeats/{name}", WRITES, P, "/api/v1/heartbeats/x" },
    { "/api/v1/alerting/alerts", WRITES, G, NULL },
    { "/api/v1/alerting/history", WRITES, G, NULL },
    { "/api/v1/alerting/explain", WRITES, G, NULL },
    { "/api/v1/alerting/acks", WRITES, G, NULL },
    { "/api/v1/alerting/severities", WRITES, G, NULL },
    { "/api/v1/alerting/receivers/test", WRITES, P, NULL },
    { "/api/v1/alerting/callback/{kind}/{receiver}/{index}", OPEN, P, NULL }, /* told apart by signatures */
    { "/api/v1/alerting/routes", WRITES, G, NULL },
    { "/api/v1/alerting/routes/test", WRITES, G, NULL },
    { "/api/v1/status/forwarding", EMPTY, G, NULL },
    { "/api/v1/write", WRITES, P, NULL },
    { "/v1/metrics", WRITES, P, NULL },
    { "/api/v1/otlp/v1/metrics", WRITES, P, NULL },
    { "/metrics/custom", WRITES, P, NULL },
    { "/api/v1/import/prometheus", WRITES, P, NULL },
    { "/metrics/job/{path*}", WRITES, P, "/metrics/job/x" },
    { "/metrics/job@base64/{path*}", WRITES, P, "/metrics/job@base64/eA" },
    { "/write", WRITES, P, NULL },
    { "/api/v2/write", WRITES, P, NULL },
    { "/api/v1/features", OPEN, G, NULL },
    { "/api/v1/status/buildinfo", OPEN, G, NULL },
    { "/api/v1/status/walreplay", OPEN, G, NULL },
    { "/api/openapi.yaml", OPEN, G, NULL },
    { "/runbook", OPEN, G, NULL },
    { "/runbook/style.css", OPEN, G, NULL },
    { "/runbook/{name}", OPEN, G, "/runbook/Watchdog" },
    { "/metrics", OPEN, G, NULL },
    { "/ping", OPEN, G, NULL },
    { "/-/healthy", OPEN, G, NULL },
    { "/-/ready", OPEN, G, NULL },
    { "/-/reload", OPEN, P, NULL },
    { "/-/quit", OPEN, P, NULL },
    { "/{path*}", OPEN, G, "/explore" },
};

static void every_route_is_listed(void **state)
{
    (void)state;
    struct http_table tables[API_TABLES_MAX];
    size_t n = api_tables(site.api, 1, 2, tables);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < tables[i].n_routes; k++) {
            const char *pattern = tables[i].routes[k].pattern;
            bool listed = false;
            for (size_t r = 0; r < ARRAY_LEN(rows); r++)
                listed |= strcmp(pattern, rows[r].pattern) == 0;
            if (!listed)
                fail_msg("%s: say in this file what tenants see of it", pattern);
        }
}

static void nobody_sees_another_one(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *path = rows[i].path ? rows[i].path : rows[i].pattern;
        str body = strcmp(path, "/api/v1/read") == 0 ? remote_read_body() : STR("");
        struct answer a = ask_as(NULL, rows[i].method, path, NULL, body);
        if (rows[i].kind == OPEN) {
            if (a.status == 401 || str_contains(a.body, STR(MINE)))
                fail_msg("%s: %d", path, a.status);
            continue;
        }
        if (a.status != 401 || !str_contains(a.body, STR("no org id")))
            fail_msg("%s without a tenant: %d " STR_FMT, path, a.status, STR_ARG(a.body));
        assert_int_equal(ask_as(MINE "|" OTHER, rows[i].method, path, NULL, body).status, 400);
        if (rows[i].kind == WRITES)
            continue;
        a = ask_as(MINE, rows[i].method, path, NULL, body);
        if (a.status != 200 || str_contains(a.body, STR(OTHER)) || str_contains(a.body, STR("anonymous")) ||
            str_contains(a.body, STR("__tenant__")) || str_contains(a.body, STR("\x1f")) ||
            str_contains(a.body, STR("\\u001f")))
            fail_msg("%s: %d " STR_FMT, path, a.status, STR_ARG(a.body));
        if (rows[i].kind == READS && !str_contains(a.body, STR(MINE)))
            fail_msg("%s shows nothing: " STR_FMT, path, STR_ARG(a.body));
        a = ask_as("nobody", rows[i].method, path, NULL, body);
        if (a.status != 200 || str_contains(a.body, STR(MINE)) || str_contains(a.body, STR(OTHER)))
            fail_msg("%s as nobody: %d " STR_FMT, path, a.status, STR_ARG(a.body));
    }
}

/* The language may name the label, it sees nothing behind it. */
static void the_label_opens_nothing(void **state)
{
    (void)state;
    static const char *const queries[] = {
        "secret_total%7B__tenant__=%22" OTHER "%22%7D",
        "secret_total%7B__tenant__!=%22" MINE "%22%7D",
        "secret_total%7B__tenant__=~%22.*%22,job!=%22" MINE "%22%7D",
        "count%20by%20(__tenant__)(secret_total%7Bjob!=%22" MINE "%22%7D)",
        "info(secret_total%7Bjob=%22" OTHER "%22%7D)",
        "only_" OTHER,
    };
    for (size_t i = 0; i < ARRAY_LEN(queries); i++) {
        str path = arena_printf(&site.a, "/api/v1/query?time=1700000900&query=%s", queries[i]);
        struct answer a = ask_as(MINE, HTTP_GET, path.p, NULL, STR(""));
        if (!str_contains(a.body, STR("\"result\":[]")) && a.status == 200)
            fail_msg("%s: " STR_FMT, queries[i], STR_ARG(a.body));
    }
    struct answer a = ask_as(MINE, HTTP_GET, "/api/v1/label/__tenant__/values", NULL, STR(""));
    assert_true(str_contains(a.body, STR("\"data\":[]")));
    a = ask_as(MINE, HTTP_GET, "/api/v1/query?time=1700000900&query=sum%20by%20(__tenant__)(secret_total)", NULL,
               STR(""));
    assert_true(str_contains(a.body, STR("\"metric\":{}")));
    a = ask_as(MINE, HTTP_GET, "/api/v1/metadata?metric=secret", NULL, STR(""));
    assert_true(str_contains(a.body, STR("help of " MINE)));
    a = ask_as(MINE, HTTP_GET, "/api/v1/metadata?metric=only_" OTHER, NULL, STR(""));
    assert_true(str_contains(a.body, STR("\"data\":{}")));
}

static void senders_do_not_set_it(void **state)
{
    (void)state;
    struct answer a = ask_as(MINE, HTTP_POST, "/api/v1/import/prometheus", "text/plain",
                             STR("forged{__tenant__=\"" OTHER "\"} 1\nfine 1\n"));
    assert_int_equal(a.status, 400);
    assert_true(str_contains(a.body, STR("reserved")));
    a = ask_as(OTHER, HTTP_GET, "/api/v1/query?time=1700000900&query=forged", NULL, STR(""));
    assert_true(str_contains(a.body, STR("\"result\":[]")));
    a = ask_as(MINE, HTTP_GET, "/api/v1/query?time=1700000900&query=fine", NULL, STR(""));
    assert_true(str_contains(a.body, STR("\"value\":")));
}

static void names_are_checked(void **state)
{
    (void)state;
    assert_int_equal(ask_as("a b", HTTP_GET, "/api/v1/labels", NULL, STR("")).status, 400);
    struct answer a = ask_as("a|b", HTTP_GET, "/api/v1/labels", NULL, STR(""));
    assert_int_equal(a.status, 400);
    assert_true(str_contains(a.body, STR("not supported")));
    assert_int_equal(ask_as("..", HTTP_POST, "/api/v1/import/prometheus", NULL, STR("a 1\n")).status, 400);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_filled, site_close)
int main(void)
{
    const struct CMUnitTest tests[] = { T(every_route_is_listed), T(nobody_sees_another_one),
                                        T(the_label_opens_nothing), T(senders_do_not_set_it), T(names_are_checked) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
