/* Writing over HTTP: remote write, OTLP, /metrics/custom: what is stored, and what each kind of bad request or trouble
 * of the store tells the sender. */
#include "test.h"

#include "site.h"
#include "wire/compress.h"
#include "wire/remote_write.h"

static struct label up_a[] = { { STR_INIT("__name__"), STR_INIT("up") }, { STR_INIT("job"), STR_INIT("a") } };
static struct label up_b[] = { { STR_INIT("__name__"), STR_INIT("up") }, { STR_INIT("job"), STR_INIT("b") } };

/* One body with a sample for each of two series. */
static str rw_body(int64_t ts_a, int64_t ts_b)
{
    struct sample *s = arena_array(&site.a, struct sample, 2);
    s[0] = (struct sample){ ts_a, 1 };
    s[1] = (struct sample){ ts_b, 2 };
    struct batch b = { .a = &site.a };
    struct batch_series x = { .labels = { up_a, 2 }, .samples = &s[0], .n_samples = 1 },
                        y = { .labels = { up_b, 2 }, .samples = &s[1], .n_samples = 1 };
    avec_push(&site.a, &b.series, x);
    avec_push(&site.a, &b.series, y);
    struct buf plain, packed;
    buf_init(&plain, 0);
    buf_init(&packed, 0);
    rw1_encode(&plain, &b);
    snappy_pack(buf_str(&plain), &packed);
    str body = arena_str(&site.a, buf_str(&packed));
    buf_deinit(&plain);
    buf_deinit(&packed);
    return body;
}
static struct answer rw(str body)
{
    return site_post("/api/v1/write", "application/x-protobuf", "snappy", body);
}

static void remote_write(void **state)
{
    (void)state;
    struct answer a = rw(rw_body(1000, 1000));
    assert_int_equal(a.status, 204);
    assert_int_equal(a.body.n, 0);
    assert_int_equal(site.store.n_samples, 2);
    assert_int_equal(site.store.waited, site.store.lsn); /* acknowledged after it was durable */

    a = rw(rw_body(500, 2000)); /* one too old, the other taken */
    assert_int_equal(a.status, 400);
    assert_true(str_contains(a.body, STR("out of order sample")));
    assert_true(str_contains(a.body, STR("up{job=\"a\"}")));
    assert_int_equal(site.store.n_samples, 3);
    assert_null(http_result_header(&a.r, STR("Retry-After")).p);
}

static void remote_write_malformed(void **state)
{
    (void)state;
    assert_int_equal(rw(STR("not snappy at all")).status, 400);
    struct buf packed;
    buf_init(&packed, 0);
    snappy_pack(STR("\x0a\xff\xff\xff\x7f"), &packed); /* a length past the end */
    assert_int_equal(rw(buf_str(&packed)).status, 400);
    buf_deinit(&packed);
    str good = rw_body(1000, 1000);
    assert_int_equal(site_post("/api/v1/write", "text/plain", "snappy", good).status, 415);
    assert_int_equal(
        site_post("/api/v1/write", "application/x-protobuf;proto=io.prometheus.write.v3.Request", "snappy", good)
            .status,
        415);
    assert_int_equal(site_post("/api/v1/write", "application/x-protobuf", "br", good).status, 415);
    /* A header that promises 4 GiB */
    assert_int_equal(rw(STR("\xff\xff\xff\xff\x0f\x00")).status, 413);
    up_b[1].value = STR("\xff\xfe"); /* invalid UTF-8: that series is refused, the other taken */
    struct answer a = rw(rw_body(1000, 1000));
    up_b[1].value = STR("b");
    assert_int_equal(a.status, 400);
    assert_int_equal(site.store.n_samples, 1);
    assert_int_equal(site_get("/api/v1/write").status, 405);
}

static void written(const struct answer *a, const char *samples, const char *histograms, const char *exemplars)
{
    assert_str(http_result_header(&a->r, STR("X-Prometheus-Remote-Write-Samples-Written")), samples);
    assert_str(http_result_header(&a->r, STR("X-Prometheus-Remote-Write-Histograms-Written")), histograms);
    assert_str(http_result_header(&a->r, STR("X-Prometheus-Remote-Write-Exemplars-Written")), exemplars);
}

static struct answer rw2(const struct batch *b)
{
    struct buf plain, packed;
    buf_init(&plain, 0);
    buf_init(&packed, 0);
    rw2_encode(&plain, b);
    snappy_pack(buf_str(&plain), &packed);
    struct answer a = site_post("/api/v1/write", "application/x-protobuf;proto=io.prometheus.write.v2.Request",
                                "snappy", buf_str(&packed));
    buf_deinit(&plain);
    buf_deinit(&packed);
    return a;
}

static void remote_write_2(void **state)
{
    (void)state;
    static const struct sample late[] = { { 2000, 1 }, { 3000, 2 } }, early[] = { { 1000, 1 } };
    static const double buckets[] = { 1, 2 };
    static const struct hist_span spans[] = { { 0, 2 } };
    static const struct histogram h = { .schema = 0, .count = 3, .sum = 4, .pos = { spans, 1, buckets, 2 } };
    static const struct hist_sample hists[] = { { 2000, &h } };
    static const struct exemplar ex[] = { { { NULL, 0 }, 0.5, 2000 } };
    struct batch b = { .a = &site.a };
    struct batch_series x = {
        .labels = { up_a, 2 }, .samples = late, .n_samples = 2, .exemplars = ex, .n_exemplars = 1
    };
    struct batch_series y = { .labels = { up_b, 2 }, .hists = hists, .n_hists = 1 };
    avec_push(&site.a, &b.series, x);
    avec_push(&site.a, &b.series, y);
    struct answer a = rw2(&b);
    assert_int_equal(a.status, 204);
    written(&a, "2", "1", "1");
    /* the store takes one of two, the decoder refuses a third */
    b.series.p[0] = (struct batch_series){ .labels = { up_a, 2 }, .samples = early, .n_samples = 1 };
    b.series.p[1] = (struct batch_series){ .labels = { up_b, 2 }, .samples = late, .n_samples = 1 };
    struct batch_series nameless = { .labels = { &up_b[1], 1 }, .samples = late, .n_samples = 1 };
    avec_push(&site.a, &b.series, nameless);
    a = rw2(&b);
    assert_int_equal(a.status, 400);
    assert_true(str_contains(a.body, STR("out of order sample")));
    written(&a, "1", "0", "0");
    /* not written: zeros, whatever the reason; also for 1.0 */
    site.store.wait_err = ERR_IO;
    a = rw2(&b);
    assert_int_equal(a.status, 500);
    written(&a, "0", "0", "0");
    site.store.wait_err = OK;
    a = site_post("/api/v1/write", "application/x-protobuf;proto=nobody.knows.It", "snappy", STR("x"));
    assert_int_equal(a.status, 415);
    written(&a, "0", "0", "0");
    a = rw(rw_body(5000, 5000));
    written(&a, "2", "0", "0");
    struct buf packed;
    buf_init(&packed, 0);
    snappy_pack(STR("\x22\x01x"), &packed); /* the first symbol is not empty */
    a = site_post("/api/v1/write", "application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy",
                  buf_str(&packed));
    buf_deinit(&packed);
    assert_int_equal(a.status, 400);
    assert_true(str_contains(a.body, STR("first symbol")));
}

static void import_text(void **state)
{
    (void)state;
    struct answer a =
        site_post("/api/v1/import/prometheus?extra_label=job=a", NULL, NULL, STR("up 1 1000\nup 2 2000\n"));
    assert_int_equal(a.status, 204);
    assert_int_equal(site.store.n_samples, 2);
    assert_int_equal(site.store.waited, site.store.lsn);
    struct memory_series *s = memory_store_find(&site.store, (struct labels){ up_a, 2 });
    assert_non_null(s);
    assert_int_equal(s->samples.p[1].ts_ms, 2000);
    a = site_post("/api/v1/import/prometheus?extra_label=job=a", "text/plain", NULL, STR("up 1 500\nother 2 2000\n"));
    assert_int_equal(a.status, 400); /* one too old, the other taken */
    assert_true(str_contains(a.body, STR("out of order sample")));
    assert_int_equal(site.store.n_samples, 3);
    a = site_post("/api/v1/import/prometheus?timestamp=7000", NULL, NULL, STR("t 1\n"));
    assert_int_equal(a.status, 204);
    a = site_post("/api/v1/import/prometheus", NULL, NULL, STR("a 1\nb b\n"));
    assert_int_equal(a.status, 400);
    assert_true(str_contains(a.body, STR("line 2")));
    assert_int_equal(site_post("/api/v1/import/prometheus?extra_label==x", NULL, NULL, STR("a 1\n")).status, 400);
    assert_int_equal(site_post("/api/v1/import/prometheus?extra_label=__name__=x", NULL, NULL, STR("a 1\n")).status,
                     400);
    assert_int_equal(site_post("/api/v1/import/prometheus?timestamp=x", NULL, NULL, STR("a 1\n")).status, 400);
    assert_int_equal(site_post("/api/v1/import/prometheus", "application/vnd.google.protobuf", NULL, STR("")).status,
                     415);
    site.store.write_err = ERR_BUSY;
    assert_int_equal(site_post("/api/v1/import/prometheus", NULL, NULL, STR("a 1\n")).status, 429);
    site.store.write_err = OK;
    assert_int_equal(site_post("/metrics/job/a", NULL, NULL, STR("a 1\n")).status, 404); /* this site takes no groups */
    site.ready = false;
    assert_int_equal(site_post("/api/v1/import/prometheus", NULL, NULL, STR("a 1\n")).status, 503);
    assert_int_equal(site_post("/metrics/job/a", NULL, NULL, STR("a 1\n")).status, 503);
}

static void influx(void **state)
{
    (void)state;
    struct answer a =
        site_post("/write?db=tele&precision=ms", "text/plain", NULL, STR("cpu,host=a idle=5,user=6i 1000\n"));
    assert_int_equal(a.status, 204);
    assert_int_equal(site.store.n_samples, 2);
    assert_int_equal(site.store.waited, site.store.lsn);
    static const struct label idle[] = { { STR_INIT("__name__"), STR_INIT("cpu_idle") },
                                         { STR_INIT("db"), STR_INIT("tele") },
                                         { STR_INIT("host"), STR_INIT("a") } };
    assert_non_null(memory_store_find(&site.store, (struct labels){ idle, 3 }));
    a = site_post("/api/v2/write?org=o&bucket=b&precision=s", NULL, NULL, STR("cpu,host=a value=5 1\nbad\n"));
    assert_int_equal(a.status, 400); /* the good line is stored */
    assert_str(a.body, "{\"code\":\"invalid\",\"message\":\"partial write: 1 lines refused: line 2: no fields\"}");
    assert_int_equal(site.store.n_samples, 3);
    a = site_post("/write?precision=ms", NULL, NULL,
                  STR("cpu,host=a,db=tele idle=4 500\n")); /* too old for the store */
    assert_int_equal(a.status, 400);
    assert_true(str_contains(a.body, STR("{\"error\":\"partial write: out of order sample")));
    assert_int_equal(site_post("/write?precision=weeks", NULL, NULL, STR("m value=1")).status, 400);
    struct buf gz;
    buf_init(&gz, 0);
    assert_int_equal(gzip_compress(STR("zipped value=1 9000"), 6, &gz), OK);
    assert_int_equal(site_post("/write?precision=ms", NULL, "gzip", buf_str(&gz)).status, 204);
    buf_deinit(&gz);
    site.store.write_err = ERR_BUSY;
    a = site_post("/api/v2/write", NULL, NULL, STR("m value=1"));
    assert_int_equal(a.status, 429);
    assert_non_null(http_result_header(&a.r, STR("Retry-After")).p);
    site.store.write_err = OK;
    assert_int_equal(site_get("/ping").status, 204);
    site.ready = false;
    assert_int_equal(site_post("/write", NULL, NULL, STR("m value=1")).status, 503);
}

static void store_in_trouble(void **state)
{
    (void)state;
    static const struct {
        enum err write, wait;
        int status, otlp;
    } rows[] = {
        { ERR_BUSY, OK, 429, 429 }, { ERR_NO_SPACE, OK, 507, 503 }, { OK, ERR_NO_SPACE, 507, 503 },
        { OK, ERR_IO, 500, 503 },   { ERR_CLOSED, OK, 503, 503 },   { ERR_CORRUPT, OK, 500, 503 },
    };
    const char *json = "{\"resourceMetrics\":[{\"scopeMetrics\":[{\"metrics\":[{\"name\":\"m\",\"gauge\":{"
                       "\"dataPoints\":[{\"asDouble\":1,\"timeUnixNano\":\"1700000000000000000\"}]}}]}]}]}";
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        site.store.write_err = rows[i].write;
        site.store.wait_err = rows[i].wait;
        struct answer a = rw(rw_body(1000, 1000));
        assert_int_equal(a.status, rows[i].status);
        assert_non_null(http_result_header(&a.r, STR("Retry-After")).p);
        a = site_post("/v1/metrics", "application/json", NULL, str_c(json));
        assert_int_equal(a.status, rows[i].otlp);
        assert_non_null(http_result_header(&a.r, STR("Retry-After")).p);
        assert_true(str_contains(a.body, STR("\"code\"")));
    }
    site.store.write_err = site.store.wait_err = OK;
    site.ready = false;
    assert_int_equal(rw(rw_body(1000, 1000)).status, 503);
    assert_int_equal(site_post("/v1/metrics", "application/json", NULL, str_c(json)).status, 503);
    assert_int_equal(site.store.n_samples > 0 && site.store.wait_err == OK, true);
}

static void otlp(void **state)
{
    (void)state;
    const char *json = "{\"resourceMetrics\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\","
                       "\"value\":{\"stringValue\":\"shop\"}}]},"
                       "\"scopeMetrics\":[{\"metrics\":[{\"name\":\"queue.length\",\"gauge\":{\"dataPoints\":"
                       "[{\"asDouble\":4,\"timeUnixNano\":\"1700000000000000000\"}]}}]}]}]}";
    struct answer a = site_post("/v1/metrics", "application/json", NULL, str_c(json));
    assert_int_equal(a.status, 200);
    assert_true(str_has_prefix(a.content_type, STR("application/json")));
    assert_true(site.store.n_samples >= 1);
    struct buf gz;
    buf_init(&gz, 0);
    assert_int_equal(gzip_compress(str_c(json), 6, &gz), OK);
    assert_int_equal(site_post("/api/v1/otlp/v1/metrics", "application/json", "gzip", buf_str(&gz)).status, 200);
    buf_deinit(&gz);
    a = site_post("/v1/metrics", "application/x-protobuf", NULL, STR(""));
    assert_int_equal(a.status, 200);
    assert_true(str_has_prefix(a.content_type, STR("application/x-protobuf")));
    a = site_post("/v1/metrics", "application/x-protobuf", NULL, STR("\x0a\xff\xff"));
    assert_int_equal(a.status, 400);
    assert_true(str_has_prefix(a.content_type, STR("application/x-protobuf")));
    assert_int_equal(site_post("/v1/metrics", "application/json", NULL, STR("{\"resourceMetrics\":")).status, 400);
    assert_int_equal(site_post("/v1/metrics", "text/plain", NULL, STR("x")).status, 415);
    assert_int_equal(site_post("/v1/metrics", "application/json", "compress", STR("x")).status, 415);
}

static void custom(void **state)
{
    (void)state;
    struct answer a =
        site_post("/metrics/custom", "application/json", NULL,
                  STR("{\"name\":\"orders\",\"value\":3,\"labels\":{\"shop\":\"a\"},\"timestamp\":1700000000}"));
    assert_int_equal(a.status, 200);
    assert_str(a.body, "{\"status\":\"success\",\"accepted\":1}");
    a = site_post("/metrics/custom", "application/json", NULL,
                  STR("[{\"name\":\"x\",\"value\":1},{\"name\":\"y\",\"value\":2}]"));
    assert_int_equal(a.status, 200);
    assert_int_equal(site.store.n_samples, 3);
    a = site_post("/metrics/custom", "application/json", NULL, STR("{\"name\":\"x\",\"valeu\":1}"));
    assert_int_equal(a.status, 400);
    assert_true(str_contains(a.body, STR("value")));
    assert_int_equal(site_post("/metrics/custom", "text/csv", NULL, STR("x,1")).status, 415);
    assert_int_equal(
        site_post("/metrics/custom", "application/json", NULL, STR("{\"name\":\"\xff\",\"value\":1}")).status, 400);
    assert_int_equal(site.store.n_samples, 3);
}

#define T(f) cmocka_unit_test_setup_teardown(f, site_open, site_close)
int main(void)
{
    const struct CMUnitTest tests[] = { T(remote_write), T(remote_write_malformed), T(remote_write_2), T(import_text),
                                        T(influx),       T(store_in_trouble),       T(otlp),           T(custom) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
