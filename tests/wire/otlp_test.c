/* wire/otlp.h: requests in JSON and protobuf -> batch, refusals, answers. */
#include "wire_test.h"

#include "wire/otlp.h"
#include "wire/otlp_int.h"

/* A request around one metric's JSON: resource with job, instance and two attributes; a scope. */
static str request(struct arena *a, const char *metric)
{
    return arena_printf(a,
                        "{\"resourceMetrics\":[{\"resource\":{\"attributes\":["
                        "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"shop\"}},"
                        "{\"key\":\"service.instance.id\",\"value\":{\"stringValue\":\"i1\"}}]},"
                        "\"scopeMetrics\":[{\"metrics\":[%s]}]}]}",
                        metric);
}

/* The batch as text; rejects and errors as last lines. Decodes JSON, and its protobuf form, and wants the same. */
static str decode(struct arena *a, str json, const struct otlp_options *opt)
{
    str text[2];
    AUTO_BUF struct buf pb;
    buf_init(&pb, 0);
    struct err_text why;
    enum err e = otlp_json_to_protobuf(a, json, &otlp_json_metrics_request, &pb, &why);
    if (e != OK)
        return arena_printf(a, "%s: %s\n", err_name(e), why.msg);
    for (int i = 0; i < 2; i++) {
        struct batch b;
        struct wire_rejects r;
        e = otlp_metrics_decode(a, i ? buf_str(&pb) : json, i ? OTLP_PROTOBUF : OTLP_JSON, opt, &b, &r, &why);
        text[i] =
            e != OK
                ? arena_printf(a, "%s: %s\n", err_name(e), why.msg)
                : arena_printf(a, STR_FMT "%s", STR_ARG(batch_text(a, &b)),
                               r.samples ? arena_cstr(a, arena_printf(a, "rejected %zu: %s\n", r.samples, r.first.msg))
                                         : "");
    }
    assert_true(str_eq(text[0], text[1]));
    return text[0];
}

#define POINT "\"startTimeUnixNano\":\"1000000000\",\"timeUnixNano\":\"2000000000\""

static void metrics(void **state)
{
    (void)state;
    static const struct {
        const char *metric, *want;
    } rows[] = {
        { "{\"name\":\"cpu.load\",\"unit\":\"1\",\"gauge\":{\"dataPoints\":[{" POINT
          ",\"asDouble\":0.5,\"attributes\":["
          "{\"key\":\"core.id\",\"value\":{\"intValue\":\"3\"}},{\"key\":\"ok\",\"value\":{\"boolValue\":"
          "true}}]}]}}",
          "cpu_load_ratio{core_id=\"3\", instance=\"i1\", job=\"shop\", ok=\"true\"} 0.5 @2000\n"
          "family cpu_load_ratio gauge \"\" \"\"\n" },
        { "{\"name\":\"http.requests\",\"description\":\"All\",\"sum\":{\"aggregationTemporality\":2,"
          "\"isMonotonic\":true,"
          "\"dataPoints\":[{" POINT ",\"asInt\":\"7\"}]}}",
          "http_requests_total{instance=\"i1\", job=\"shop\"} 7 @2000 from 1000\n"
          "family http_requests_total counter \"All\" \"\"\n" },
        { "{\"name\":\"queue\",\"sum\":{\"dataPoints\":[{" POINT ",\"asInt\":-7}],\"aggregationTemporality\":1}}",
          "queue{instance=\"i1\", job=\"shop\"} -7 @2000 from 1000 delta\nfamily queue gauge \"\" \"\"\n" },
        { "{\"name\":\"queue\",\"sum\":{\"dataPoints\":[{" POINT ",\"asInt\":-7},{}]}}",
          "rejected 2: metric \"queue\": the aggregation temporality is not specified\n" },
        { "{\"name\":\"g\",\"gauge\":{\"dataPoints\":[{" POINT ",\"flags\":1},{" POINT "},{\"asInt\":1}]}}",
          "g{instance=\"i1\", job=\"shop\"} stale @2000\nfamily g gauge \"\" \"\"\n"
          "rejected 2: metric \"g\": a data point has no value\n" },
        { "{\"name\":\"g\",\"gauge\":{\"dataPoints\":[{" POINT ",\"asDouble\":\"NaN\"},{" POINT
          ",\"asDouble\":\"-Infinity\"}]}}",
          "g{instance=\"i1\", job=\"shop\"} NaN @2000\ng{instance=\"i1\", job=\"shop\"} -Inf @2000\nfamily g "
          "gauge \"\" \"\"\n" },
        { "{\"name\":\"lat\",\"unit\":\"s\",\"histogram\":{\"aggregationTemporality\":2,\"dataPoints\":["
          "{" POINT ",\"count\":\"6\",\"sum\":4.5,\"bucketCounts\":[\"1\",2,\"3\"],\"explicitBounds\":[0.5,1]"
          ",\"exemplars\":[{"
          "\"timeUnixNano\":\"1500000000\",\"asDouble\":0.7,\"traceId\":\"0AF7651916cd43dd8448eb211c80319c\","
          "\"spanId\":\"b7ad6b7169203331\",\"filteredAttributes\":[{\"key\":\"u\",\"value\":{\"stringValue\":"
          "\"x\"}}]}]}]}}",
          "lat_seconds_sum{instance=\"i1\", job=\"shop\"} 4.5 @2000 from 1000\n"
          "lat_seconds_count{instance=\"i1\", job=\"shop\"} 6 @2000 from 1000\n"
          "lat_seconds_bucket{instance=\"i1\", job=\"shop\", le=\"0.5\"} 1 @2000 from 1000\n"
          "lat_seconds_bucket{instance=\"i1\", job=\"shop\", le=\"1.0\"} 3 @2000 from 1000\n"
          "  # {span_id=\"b7ad6b7169203331\", trace_id=\"0af7651916cd43dd8448eb211c80319c\", u=\"x\"} 0.7 "
          "@1500\n"
          "lat_seconds_bucket{instance=\"i1\", job=\"shop\", le=\"+Inf\"} 6 @2000 from 1000\n"
          "family lat_seconds histogram \"\" \"seconds\"\n" },
        { "{\"name\":\"lat\",\"histogram\":{\"aggregationTemporality\":2,\"dataPoints\":[{" POINT
          ",\"count\":\"6\",\"bucketCounts\":[1],\"explicitBounds\":[0.5,1]},{" POINT
          ",\"bucketCounts\":[1,2,3],\"explicitBounds\":[1,1]}]}}",
          "family lat histogram \"\" \"\"\nrejected 2: metric \"lat\": 1 bucket counts for 2 bounds\n" },
        { "{\"name\":\"e\",\"exponentialHistogram\":{\"aggregationTemporality\":2,\"dataPoints\":[{" POINT
          ",\"count\":10,\"sum\":5,\"scale\":2,\"zeroCount\":1,\"positive\":{\"offset\":-1,\"bucketCounts\":["
          "0,1,2,0,0,0,3]},"
          "\"negative\":{\"offset\":4,\"bucketCounts\":[3]}}]}}",
          "e{instance=\"i1\", job=\"shop\"} {schema:2 count:10 sum:5 zero:1/1e-128 pos:1+2,3+1 [1 2 3] "
          "neg:5+1 [3]} @2000 from "
          "1000\nfamily e histogram \"\" \"\"\n" },
        { "{\"name\":\"e\",\"exponentialHistogram\":{\"aggregationTemporality\":1,\"dataPoints\":[{" POINT
          ",\"count\":10,\"sum\":5,\"scale\":10,\"zeroThreshold\":0.25,\"positive\":{\"offset\":-5,"
          "\"bucketCounts\":"
          "[1,1,1,1,1,1,1,1,1,1]}}]}}",
          "e{instance=\"i1\", job=\"shop\"} {schema:8 count:10 sum:5 zero:0/0.25 pos:-1+4 [1 4 4 1] reset:3} "
          "@2000 from 1000 "
          "delta\nfamily e histogram \"\" \"\"\n" },
        { "{\"name\":\"e\",\"exponentialHistogram\":{\"aggregationTemporality\":2,\"dataPoints\":[{" POINT
          ",\"scale\":-5},{" POINT ",\"flags\":1}]}}",
          "e{instance=\"i1\", job=\"shop\"} {stale} @2000 from 1000\nfamily e histogram \"\" \"\"\n"
          "rejected 1: metric \"e\": exponential histogram scale -5 is below -4\n" },
        { "{\"name\":\"s\",\"summary\":{\"dataPoints\":[{" POINT
          ",\"count\":3,\"sum\":1.5,\"quantileValues\":[{\"quantile\":0.5,\"value\":0.1},{\"quantile\":1,"
          "\"value\":0.9}]}]}}",
          "s_sum{instance=\"i1\", job=\"shop\"} 1.5 @2000 from 1000\ns_count{instance=\"i1\", job=\"shop\"} "
          "3 @2000 from 1000\n"
          "s{instance=\"i1\", job=\"shop\", quantile=\"0.5\"} 0.1 @2000 from 1000\n"
          "s{instance=\"i1\", job=\"shop\", quantile=\"1.0\"} 0.9 @2000 from 1000\nfamily s summary \"\" "
          "\"\"\n" },
        { "{\"name\":\"g\",\"gauge\":{\"dataPoints\":[{" POINT ",\"asInt\":1,\"attributes\":["
          "{\"key\":\"a_b\",\"value\":{\"stringValue\":\"2\"}},{\"key\":\"a.b\",\"value\":{\"stringValue\":"
          "\"1\"}},"
          "{\"key\":\"job\",\"value\":{\"stringValue\":\"mine\"}},{\"key\":\"_x\",\"value\":{\"doubleValue\":"
          "1e21}},"
          "{\"key\":\"l\",\"value\":{\"arrayValue\":{\"values\":[{\"intValue\":1},{\"stringValue\":\"z\"}]}}}"
          ","
          "{\"key\":\"Z\",\"value\":{\"kvlistValue\":{\"values\":[{\"key\":\"k\",\"value\":{\"bytesValue\":"
          "\"aGk=\"}}]}}},"
          "{\"key\":\"none\"}]}]}}",
          "g{Z=\"{\\\"k\\\":\\\"aGk=\\\"}\", a_b=\"1;2\", instance=\"i1\", job=\"shop\", key_x=\"1e+21\", "
          "l=\"[1,\\\"z\\\"]\"} 1 "
          "@2000\nfamily g gauge \"\" \"\"\n" },
        { "{\"name\":\"@#\",\"gauge\":{\"dataPoints\":[{" POINT ",\"asInt\":1}]}}",
          "rejected 1: metric \"@#\": the metric name \"@#\" leaves nothing that can be a name\n" },
        { "{\"name\":\"none\"},{\"name\":\"e\",\"gauge\":{}},{\"name\":\"e\",\"gauge\":{\"dataPoints\":[]}}", "" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        str got = decode(&a, request(&a, rows[i].metric), &OTLP_OPTIONS_DEFAULT);
        assert_str(got, rows[i].want);
    }
}

static const char full[] =
    "{\"resourceMetrics\":[{\"schemaUrl\":\"x\",\"scopeMetrics\":[{\"schemaUrl\":\"http://s\",\"metrics\":["
    "{\"name\":\"my.gauge\",\"unit\":\"By\",\"gauge\":{\"dataPoints\":[{" POINT
    ",\"asInt\":1,\"unknown\":{\"deep\":[1,{}]}},"
    "{\"timeUnixNano\":\"400000000000\",\"asInt\":2}]}}],"
    "\"scope\":{\"name\":\"lib\",\"version\":\"1.0\",\"attributes\":[{\"key\":\"s.a\",\"value\":{"
    "\"stringValue\":\"v\"}}]}}],"
    "\"resource\":{\"attributes\":["
    "{\"key\":\"service.name\",\"value\":{\"stringValue\":\"shop\"}},"
    "{\"key\":\"service.namespace\",\"value\":{\"stringValue\":\"eu\"}},"
    "{\"key\":\"service.instance.id\",\"value\":{\"stringValue\":\"i1\"}},"
    "{\"key\":\"k8s.pod\",\"value\":{\"stringValue\":\"p\"}}]}}]}";

static void resource_and_scope(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    assert_str(decode(&a, str_c(full), &OTLP_OPTIONS_DEFAULT),
               "my_gauge_bytes{instance=\"i1\", job=\"eu/shop\", otel_scope_name=\"lib\", otel_scope_s_a=\"v\", "
               "otel_scope_schema_url=\"http://s\", otel_scope_version=\"1.0\"} 1 @2000\n"
               "my_gauge_bytes{instance=\"i1\", job=\"eu/shop\", otel_scope_name=\"lib\", otel_scope_s_a=\"v\", "
               "otel_scope_schema_url=\"http://s\", otel_scope_version=\"1.0\"} 2 @400000\n"
               "target_info{instance=\"i1\", job=\"eu/shop\", k8s_pod=\"p\"} 1 @2000\n"
               "target_info{instance=\"i1\", job=\"eu/shop\", k8s_pod=\"p\"} 1 @152000\n"
               "target_info{instance=\"i1\", job=\"eu/shop\", k8s_pod=\"p\"} 1 @302000\n"
               "target_info{instance=\"i1\", job=\"eu/shop\", k8s_pod=\"p\"} 1 @400000\n"
               "family my_gauge_bytes gauge \"\" \"bytes\"\nfamily target_info gauge \"Target metadata\" \"\"\n");
    struct batch b;
    struct wire_rejects r;
    assert_ok(otlp_metrics_decode(&a, str_c(full), OTLP_JSON, &OTLP_OPTIONS_DEFAULT, &b, &r, NULL));
    assert_non_null(b.series.p[0].resource);
    assert_int_equal(b.series.p[0].resource->n, 4);
    assert_str(labels_get(*b.series.p[0].resource, STR("k8s.pod")), "p");
    assert_ptr_equal(b.series.p[0].resource, b.series.p[1].resource);
    assert_int_equal(b.n_samples, 6);
}

static void options(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct otlp_options o = OTLP_OPTIONS_DEFAULT;
    static const str promote[] = { STR_INIT("k8s.pod") };
    o.promote_resource_attributes = promote;
    o.n_promote = 1;
    o.promote_scope_metadata_off = true;
    o.keep_identifying_resource_attributes = true;
    o.naming = OTLP_NO_TRANSLATION;
    str got = decode(&a, str_c(full), &o);
    assert_true(
        str_has_prefix(got, STR("{\"my.gauge\", instance=\"i1\", job=\"eu/shop\", \"k8s.pod\"=\"p\"} 1 @2000\n")));
    assert_true(str_contains(got, STR("target_info{instance=\"i1\", job=\"eu/shop\", \"k8s.pod\"=\"p\", "
                                      "\"service.instance.id\"=\"i1\", \"service.name\"=\"shop\", "
                                      "\"service.namespace\"=\"eu\"} 1 @2000\n")));
    o = OTLP_OPTIONS_DEFAULT;
    o.convert_histograms_to_custom = true;
    got = decode(&a,
                 request(&a, "{\"name\":\"lat\",\"histogram\":{\"aggregationTemporality\":2,\"dataPoints\":[{" POINT
                             ",\"count\":\"6\",\"sum\":4.5,\"bucketCounts\":[0,2,4],\"explicitBounds\":[0.5,1]}]}}"),
                 &o);
    assert_str(got, "lat{instance=\"i1\", job=\"shop\"} {schema:-53 count:6 sum:4.5 pos:1+2 [2 4] le:0.5 1} "
                    "@2000 from 1000\n"
                    "family lat histogram \"\" \"\"\n");
    enum otlp_naming n;
    assert_true(otlp_naming_parse(STR("NoUTF8EscapingWithSuffixes"), &n));
    assert_int_equal(n, OTLP_NO_UTF8_ESCAPING_WITH_SUFFIXES);
    assert_false(otlp_naming_parse(STR("x"), &n));
}

static void json_errors(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {
        { "[]", "ERR_PARSE: JSON line 1, column 2: request: an object expected\n" },
        { "{\"resourceMetrics\":[\n{]}", "ERR_PARSE: JSON line 2, column 2: object key expected\n" },
        { "{\"resourceMetrics\":{}}", "ERR_PARSE: JSON line 1, column 21: resourceMetrics: an array expected\n" },
        { "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"name\":5}]}]}]}",
          "ERR_PARSE: JSON line 1, column 59: name: a string expected\n" },
        { "{} x", "ERR_PARSE: JSON line 1, column 4: unexpected data after the document\n" },
        { "", "ERR_PARSE: JSON line 1, column 1: empty document\n" },
        { "{\"resourceMetrics\":null,\"x\":[[]]}", "" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        assert_str(decode(&a, str_c(rows[i].in), &OTLP_OPTIONS_DEFAULT), rows[i].want);
    }
}

static void protobuf_errors_and_limits(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b;
    struct wire_rejects r;
    struct err_text why;
    assert_err(otlp_metrics_decode(&a, STR("\x0a\x05\x12\x03\x0a"), OTLP_PROTOBUF, &OTLP_OPTIONS_DEFAULT, &b, &r, &why),
               ERR_PARSE);
    assert_string_equal(why.msg, "malformed protobuf at byte 1 of the ExportMetricsServiceRequest");
    struct otlp_options o = OTLP_OPTIONS_DEFAULT;
    o.limits.series_max = 1;
    assert_err(otlp_metrics_decode(&a, str_c(full), OTLP_JSON, &o, &b, &r, &why), ERR_LIMIT);
    o = OTLP_OPTIONS_DEFAULT;
    o.limits.labels_max = 3;
    assert_ok(otlp_metrics_decode(&a, str_c(full), OTLP_JSON, &o, &b, &r, &why));
    assert_int_equal(r.samples, 2);
    assert_string_equal(r.first.msg, "metric \"my.gauge\": 8 labels, at most 3 are allowed");
}

static void answers(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    otlp_metrics_response(&b, OTLP_JSON, 0, STR_NONE);
    assert_str(buf_str(&b), "{}");
    buf_clear(&b);
    otlp_metrics_response(&b, OTLP_JSON, 3, STR("why"));
    assert_str(buf_str(&b), "{\"partialSuccess\":{\"rejectedDataPoints\":\"3\",\"errorMessage\":\"why\"}}");
    buf_clear(&b);
    otlp_metrics_response(&b, OTLP_PROTOBUF, 0, STR_NONE);
    assert_int_equal(b.n, 0);
    otlp_metrics_response(&b, OTLP_PROTOBUF, 3, STR("why"));
    assert_str(buf_str(&b), "\x0a\x07\x08\x03\x12\x03why");
    buf_clear(&b);
    otlp_status(&b, OTLP_JSON, 3, STR("bad"));
    assert_str(buf_str(&b), "{\"code\":3,\"message\":\"bad\"}");
    buf_clear(&b);
    otlp_status(&b, OTLP_PROTOBUF, 3, STR("bad"));
    assert_str(buf_str(&b), "\x08\x03\x12\x03"
                            "bad");
    enum otlp_coding c;
    assert_ok(otlp_coding_of(STR("application/json; charset=utf-8"), &c, NULL));
    assert_int_equal(c, OTLP_JSON);
    assert_err(otlp_coding_of(STR("text/plain"), &c, NULL), ERR_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics),     cmocka_unit_test(resource_and_scope),         cmocka_unit_test(options),
        cmocka_unit_test(json_errors), cmocka_unit_test(protobuf_errors_and_limits), cmocka_unit_test(answers),
    };
    return cmocka_run_group_tests_name("wire/otlp", tests, NULL, NULL);
}
