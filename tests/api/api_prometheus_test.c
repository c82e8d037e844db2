/* Prometheus' HTTP API beyond the recorded answers: limits, warnings, parameters, states of the process, UI files. */
#include "test.h"

#include "site.h"
#include "wire/compress.h"
#include "wire/expo.h"
#include "wire/remote_write.h"

static int with_data(void **state)
{
    site_open(state);
    memory_store_load(&site.store,
                      STR("up{job=\"a\"} 1 1700000000000\n"
                          "up{job=\"b\"} 0 1700000000000\n"
                          "up{job=\"c\"} 1 1700000000000\n"
                          "http_seconds_bucket{le=\"0.1\"} 5 1700000000000\n"
                          "http_seconds_bucket{le=\"1\"} 9 1700000000000\n"
                          "http_seconds_bucket{le=\"+Inf\"} 10 1700000000000\n"
                          "http_seconds_sum 4.5 1700000000000\n"
                          "http_seconds_count 10 1700000000000\n"),
                      false);
    return 0;
}

static void is(const char *path, int status, const char *part)
{
    struct answer a = site_get(path);
    if (a.status != status || !str_contains(a.body, str_c(part)))
        fail_msg("%s: %d " STR_FMT, path, a.status, STR_ARG(str_take(a.body, 500)));
}

static void limits_and_warnings(void **state)
{
    (void)state;
    is("/api/v1/query?query=up&time=1700000000&limit=2", 200, "\"warnings\":[\"results truncated due to limit\"]");
    assert_false(str_contains(site_get("/api/v1/query?query=up&time=1700000000&limit=3").body, STR("warnings")));
    is("/api/v1/query?query=up&limit=-1", 400, "limit must be non-negative");
    is("/api/v1/query?query=up&limit=x", 400, "invalid parameter");
    is("/api/v1/labels?limit=1", 200, "{\"status\":\"success\",\"data\":[\"__name__\"],\"warnings\":");
    is("/api/v1/label/job/values?limit=2", 200, "[\"a\",\"b\"],\"warnings\"");
    is("/api/v1/series?match[]=up&match[]=%7Bjob%3D%22a%22%7D&limit=2", 200, "warnings");
    is("/api/v1/series?match[]=up&match[]=%7Bjob%3D%22a%22%7D", 200,
       "{\"__name__\":\"up\",\"job\":\"a\"},{\"__name__\":\"up\",\"job\":\"b\"},{\"__name__\":\"up\",\"job\":"
       "\"c\"}]");
    is("/api/v1/series?match[]=%7Bjob%3D%22%22%7D", 400, "at least one non-empty matcher");
    is("/api/v1/series?match[]=up&start=2&end=1", 200, "\"data\":[]");
    is("/api/v1/labels?start=2&end=1", 200, "\"data\":[]");
    is("/api/v1/labels?match[]=up%5B", 400, "\"error\":\"1:3: parse error");
    is("/api/v1/series?match[]=up%5B", 400, "\"error\":\"invalid parameter \\\"match[]\\\": 1:3: parse error");
    is("/api/v1/query_range?query=up&start=0&end=11000&step=1", 200, "success");
    is("/api/v1/query_range?query=up&start=0&end=11001&step=1", 400, "11,000 points");
    is("/api/v1/query_range?query=up&start=10&end=9&step=1", 400, "end timestamp must not be before start time");
}

static void parameters(void **state)
{
    (void)state;
    is("/api/v1/query?query=up&time=2023-11-14T22:13:20Z", 200, "[1700000000,\"1\"]");
    is("/api/v1/query?query=up&time=2023-11-14T23:13:20.500%2B01:00", 200, "[1700000000.500,\"1\"]");
    is("/api/v1/query?query=up&time=yesterday", 400,
       "Invalid time value for 'time': cannot parse \\\"yesterday\\\" to a valid timestamp");
    is("/api/v1/query?query=up&time=1700000290", 200, "\"job\":\"a\"");
    is("/api/v1/query?query=up&time=1700000290&lookback_delta=1m", 200, "\"result\":[]");
    is("/api/v1/query?query=up&lookback_delta=1y1", 400, "error parsing lookback delta duration");
    is("/api/v1/query?query=up&timeout=1x", 400, "invalid parameter \\\"timeout\\\"");
    is("/api/v1/query?query=up&time=1700000000&stats=all", 200, "\"totalQueryableSamples\":3");
    is("/api/v1/query?query=%22a%5Cn%22&time=1", 200, "{\"resultType\":\"string\",\"result\":[1,\"a\\n\"]}");
    is("/api/v1/query?query=%FF", 400, "bad_data");
    is("/api/v1/query?query=up%00", 400, "bad_data");
    is("/api/v1/label/U__job/values", 200, "[\"a\",\"b\",\"c\"]");
    is("/api/v1/parse_query?query=up", 200, "\"type\":\"vectorSelector\"");
    struct answer a =
        site_post("/api/v1/query", "application/x-www-form-urlencoded", NULL, STR("query=count(up)&time=1700000000"));
    assert_true(str_contains(a.body, STR("[1700000000,\"3\"]")));
    a = site_post("/api/v1/query?query=1", "application/x-www-form-urlencoded", NULL, STR("query=2"));
    assert_true(str_contains(a.body, STR("\"2\"")));
    assert_true(str_contains(a.content_type, STR("application/json")));
}

/* The seeds' way of asking: quantiles from the base name, histograms as results. */
static void classic_histograms(void **state)
{
    (void)state;
    is("/api/v1/query?query=histogram_quantile(0.5,http_seconds)&time=1700000000", 200, "[1700000000,\"0.1\"]");
    is("/api/v1/query?query=histogram_count(http_seconds)&time=1700000000", 200, "\"10\"");
    is("/api/v1/query?query=http_seconds&time=1700000000", 200,
       "\"histogram\":[1700000000,{\"count\":\"10\",\"sum\":\"4.5\",\"buckets\":[[3,\"-Inf\",\"0.1\",\"5\"]");
    is("/api/v1/query?query=http_seconds_bucket&time=1700000000", 200, "\"le\":\"0.1\"");
    is("/api/v1/query?query=absent(http_secondz)&time=1700000000", 200, "\"1\"");
}

static void metadata_and_exemplars(void **state)
{
    (void)state;
    struct tsdb_metadata m[] = { { STR("up"), { METRIC_GAUGE, STR("Up or not."), STR("") } },
                                 { STR("a_total"), { METRIC_COUNTER, STR("x \"y\""), STR("s") } } };
    vec_push(&site.store.metadata, m[0]);
    vec_push(&site.store.metadata, m[1]);
    is("/api/v1/metadata", 200,
       "{\"a_total\":[{\"type\":\"counter\",\"help\":\"x \\\"y\\\"\",\"unit\":\"s\"}],\"up\":[");
    is("/api/v1/metadata?metric=up", 200, "{\"up\":[{\"type\":\"gauge\",\"help\":\"Up or not.\",\"unit\":\"\"}]}");
    is("/api/v1/metadata?limit=1", 200, "\"a_total\"");
    is("/api/v1/metadata?limit=0", 200, "\"data\":{}");
    is("/api/v1/metadata?limit=x", 400, "limit must be a number");
    is("/api/v1/query_exemplars?query=up&start=2&end=1", 400, "end timestamp must not be before start timestamp");
    is("/api/v1/query_exemplars?query=1", 200, "{\"status\":\"success\"}");
    struct label trace[] = { { STR("trace_id"), STR("abc") } };
    struct exemplar x = { { trace, 1 }, 0.5, 1700000000250 };
    avec_push(&site.store.a, &site.store.series.p[site.store.series.n - 1]->exemplars, x);
    is("/api/v1/query_exemplars?query=rate(up[5m])%2Bup&start=0&end=1800000000", 200,
       "[{\"seriesLabels\":{\"__name__\":\"up\",\"job\":\"c\"},\"exemplars\":[{\"labels\":{\"trace_id\":"
       "\"abc\"},\"value\":\"0.5\",\"timestamp\":1700000000.250}]}]");
}

static void process(void **state)
{
    (void)state;
    is("/api/v1/status/buildinfo", 200, "\"version\":\"0.1.0\"");
    is("/api/v1/status/flags", 200, "{\"storage.path\":\"/data\"}");
    is("/api/v1/status/runtimeinfo", 200, "\"storageRetention\":\"15d\"");
    is("/api/v1/status/tsdb", 200, "\"seriesCountByMetricName\":[{\"name\":\"up\",\"value\":2}]");
    is("/api/v1/status/walreplay", 200, "\"current\":1000");
    is("/api/v1/status/config", 200, "\"yaml\":\"global:\\n");
    is("/api/v1/targets?state=dropped", 200, "\"activeTargets\":[],\"droppedTargets\":[{\"discoveredLabels\":");
    is("/api/v1/targets?state=nonsense", 200, "\"activeTargets\":[],\"droppedTargets\":[]");
    is("/api/v1/status/tsdb?limit=0", 400, "limit must be a positive number");
    is("/api/v1/targets?state=active&scrapePool=other", 200,
       "\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}");
    is("/api/v1/scrape_pools", 200, "{\"scrapePools\":[\"dead\"]}");
    is("/api/v1/targets/metadata", 200, "\"data\":[]");
    is("/api/v1/features", 200, "\"promql\":{");
    is("/api/v1/notifications", 200, "\"data\":[]");
    is("/metrics", 200, "process_resident_memory_bytes ");
    is("/metrics", 200, "prometheus_tsdb_head_series 8");
    is("/metrics", 200,
       "# TYPE prometheus_engine_query_duration_seconds "
       "summary\nprometheus_engine_query_duration_seconds_sum{slice=\"inner_eval\"} ");
    is("/metrics", 200, "vane_build_info{branch=\"\",compiler=\"gcc\",revision=\"abc\",version=\"0.1.0\"} 1");
    is("/metrics", 200, "prometheus_http_requests_total{handler=\"/api/v1/status/tsdb\",code=\"200\"} 1");
}

static void management(void **state)
{
    (void)state;
    assert_int_equal(site_post("/-/reload", NULL, NULL, STR("")).status, 200);
    assert_int_equal(site.reloads, 1);
    assert_int_equal(site_get("/-/reload").status, 405);
    site.reload_fails = true;
    struct answer a = site_post("/-/reload", NULL, NULL, STR(""));
    assert_int_equal(a.status, 500);
    assert_str(a.body, "failed to reload config: vane.yaml:3:1: unknown key\n");
    site.ready = false;
    is("/-/ready", 503, "Service Unavailable");
    is("/-/healthy", 200, "Healthy");
    is("/api/v1/query?query=1", 503, "Service Unavailable");
    assert_int_equal(site_post("/-/quit", NULL, NULL, STR("")).status, 200);
    assert_true(site.quit_called);
}

static void pages(void **state)
{
    (void)state;
    is("/", 200, "<html>");
    is("/api/openapi.yaml", 200, "openapi: 3.1.0\n");
    const struct http_pair html = { STR("Accept"), STR("text/html,*/*") };
    assert_int_equal(site_get("/explore").status, 200);
    struct answer a = site_ask(HTTP_GET, "/no/such/page", &html, 1, STR(""));
    assert_int_equal(a.status, 404); /* drawn by the UI */
    assert_str(a.body, "<html>");
    assert_str(http_result_header(&a.r, STR("Content-Security-Policy")), "default-src 'self'");
    assert_int_equal(site_ask(HTTP_GET, "/api/v1/nope", &html, 1, STR("")).status, 404);
    assert_str(site_get("/no/such/page").body, "404 page not found\n");
    assert_int_equal(site_post("/api/v1/nope", NULL, NULL, STR("")).status, 404);
    assert_int_equal(site_ask(HTTP_DELETE, "/api/v1/query", NULL, 0, STR("")).status, 405);
}

/* An exponential histogram over the real store, written as remote write: bounds to the last digit. */
static void native_histograms(void **state)
{
    (void)state;
    const struct hist_span spans[] = { { 0, 2 } };
    const double buckets[] = { 5, 7.5 };
    const struct histogram h = { .schema = 1, .count = 12.5, .sum = 42.1, .pos = { spans, 1, buckets, 2 } };
    struct hist_sample hs = { 1700000900000, &h };
    struct label name[] = { { LABEL_NAME, STR("h") } };
    struct batch b = { .a = &site.a, .n_samples = 1 };
    struct batch_series bs = { .labels = { name, 1 }, .hists = &hs, .n_hists = 1 };
    avec_push(&site.a, &b.series, bs);
    struct buf plain, packed;
    buf_init(&plain, 0);
    buf_init(&packed, 0);
    rw1_encode(&plain, &b);
    snappy_pack(buf_str(&plain), &packed);
    assert_int_equal(site_post("/api/v1/write", "application/x-protobuf", "snappy", buf_str(&packed)).status, 204);
    is("/api/v1/query?query=h&time=1700000900", 200,
       "\"histogram\":[1700000900,{\"count\":\"12.5\",\"sum\":\"42.1\",\"buckets\":[[0,\"0."
       "7071067811865475\",\"1\",\"5\"],[0,\"1\",\"1.414213562373095\",\"7.5\"]]}]");
    is("/api/v1/query_range?query=h&start=1700000900&end=1700000900&step=1", 200, "\"histograms\":[[1700000900,{");
    buf_deinit(&plain);
    buf_deinit(&packed);
}

/* What vane says of itself has to be what vane can scrape. */
static void own_metrics_are_valid(void **state)
{
    (void)state;
    site_get("/api/v1/query?query=up");
    str text = site_get("/metrics").body;
    struct expo x;
    expo_init(&x, EXPO_TEXT, text);
    while (expo_next(&x) > EXPO_ERROR) {
    }
    if (x.entry != EXPO_END)
        fail_msg("%s", x.error.msg);
    static str families[1024];
    size_t n = 0;
    str line;
    while (str_cut(&text, '\n', &line)) {
        if (!str_has_prefix(line, STR("# TYPE ")))
            continue;
        str rest = str_skip(line, 7), name;
        str_cut(&rest, ' ', &name);
        for (size_t i = 0; i < n; i++)
            if (str_eq(families[i], name))
                fail_msg("family twice: " STR_FMT, STR_ARG(name));
        assert_true(n < 1024);
        families[n++] = name;
    }
}

/* A query that takes longer than it may ends with upstream's status and words. */
static void query_timeout(void **state)
{
    (void)state;
    is("/api/v1/query?timeout=1ms&time=1700000000&query=count_over_time(up[1h:1ms])", 503, "\"errorType\":\"timeout\"");
    is("/api/v1/query?timeout=1ms&time=1700000000&query=count_over_time(up[1h:1ms])", 503,
       "query timed out in expression evaluation");
}

/* Every route is described, and nothing else is. */
static void openapi_is_complete(void **state)
{
    (void)state;
    struct http_table tables[API_TABLES_MAX];
    size_t n = api_tables(site.api, 1, 2, tables);
    str text = site_get("/api/openapi.yaml").body;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < tables[i].n_routes; k++) {
            const char *pattern = tables[i].routes[k].pattern;
            str line = arena_printf(&site.a, "\n  %s:\n", pattern);
            if (!strchr(pattern, '*') && !str_contains(text, line))
                fail_msg("docs/openapi.yaml lacks %s", pattern);
        }
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, with_data, site_close)
int main(void)
{
    const struct CMUnitTest tests[] = { T(limits_and_warnings),
                                        T(parameters),
                                        T(classic_histograms),
                                        T(metadata_and_exemplars),
                                        T(process),
                                        T(management),
                                        T(pages),
                                        T(own_metrics_are_valid),
                                        T(query_timeout),
                                        T(openapi_is_complete),
                                        cmocka_unit_test_setup_teardown(native_histograms, site_open_tsdb,
                                                                        site_close) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
