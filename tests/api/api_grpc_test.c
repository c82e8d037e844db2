/* OTLP/gRPC and health over a real connection: what is stored and what each kind of trouble tells the sender. */
#include "test.h"

#include "grpc_client.h"
#include "site.h"
#include "wire/compress.h"
#include "wire/pb.h"

#define EXPORT "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

static struct grpc_server *server;
static struct grpc_client *client;

static int open_grpc(void **state)
{
    struct grpc_table tables[API_GRPC_TABLES_MAX];
    const struct http_listener listener = { .address = "127.0.0.1" };
    struct err_text why;
    site_open(state);
    struct grpc_server_config cfg = { .listeners = &listener,
                                      .n_listeners = 1,
                                      .tables = tables,
                                      .n_tables = api_grpc_tables(site.api, tables),
                                      .ingest = http_server_pool(site.server, HTTP_INGEST),
                                      .drain_ms = 500 };
    assert_ok(grpc_server_open(&cfg, &server, &why));
    client = grpc_client_open(grpc_server_port(server, 0), NULL, 0);
    return 0;
}
static int close_grpc(void **state)
{
    grpc_client_close(client);
    grpc_server_close(server);
    return site_close(state);
}

/* ExportMetricsServiceRequest with one gauge of one point. */
static str gauge(const char *name, int64_t ts_ms, double v)
{
    AUTO_BUF struct buf b = { 0 };
    size_t rm = pb_open(&b, 1), sm = pb_open(&b, 2), m = pb_open(&b, 2);
    pb_put_bytes(&b, 1, str_c(name));
    size_t g = pb_open(&b, 5), p = pb_open(&b, 1);
    pb_put_fixed64(&b, 3, (uint64_t)ts_ms * 1000000);
    pb_put_double(&b, 4, v);
    pb_close(&b, p);
    pb_close(&b, g);
    pb_close(&b, m);
    pb_close(&b, sm);
    pb_close(&b, rm);
    return arena_str(&site.a, buf_str(&b));
}

static struct grpc_result *export(str message)
{
    struct grpc_head h = GRPC_HEAD(EXPORT);
    return grpc_client_call(client, &h, grpc_frame(&site.a, 0, message));
}

static void metrics(void **state)
{
    (void)state;
    struct grpc_result *r = export(gauge("queue.length", 1700000000000, 4));
    assert_int_equal(r->code, GRPC_OK);
    assert_int_equal(r->body.n, 5); /* no partial_success */
    assert_int_equal(site.store.n_samples, 1);
    assert_int_equal(site.store.waited, site.store.lsn); /* acknowledged after it was durable */
    r = export(gauge("queue.length", 1600000000000, 4)); /* too old: refused, and said so */
    assert_int_equal(r->code, GRPC_OK);
    struct pb m = pb_init(str_skip(buf_str(&r->body), 5));
    assert_true(pb_next(&m));
    struct pb partial = pb_sub(&m);
    assert_true(pb_next(&partial));
    assert_int_equal(partial.field, 1);
    assert_int_equal(pb_varint(&partial), 1);
    assert_true(pb_next(&partial));
    assert_true(str_contains(pb_bytes(&partial), STR("out of order")));
    assert_int_equal(site.store.n_samples, 1);
    AUTO_BUF struct buf gz = { 0 };
    assert_ok(gzip_compress(gauge("queue.length", 1700000001000, 5), 6, &gz));
    struct grpc_head z = GRPC_HEAD(EXPORT);
    z.encoding = "gzip";
    assert_int_equal(grpc_client_call(client, &z, grpc_frame(&site.a, 1, buf_str(&gz)))->code, GRPC_OK);
    assert_int_equal(site.store.n_samples, 2);
    assert_int_equal(export(STR(""))->code, GRPC_OK); /* nothing is fine */
}

static void bad_data_is_final(void **state)
{
    (void)state;
    struct grpc_result *r = export(STR("\x0a\xff\xff"));
    assert_int_equal(r->code, GRPC_INVALID_ARGUMENT);
    assert_true(r->text[0] != 0);
    assert_string_equal(r->details, "");
    assert_int_equal(site.store.n_samples, 0);
    struct grpc_head traces = GRPC_HEAD("/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    assert_int_equal(grpc_client_call(client, &traces, grpc_frame(&site.a, 0, STR("")))->code, GRPC_UNIMPLEMENTED);
}

static void store_in_trouble(void **state)
{
    (void)state;
    static const struct {
        enum err write, wait;
        enum grpc_code code;
    } rows[] = {
        { ERR_BUSY, OK, GRPC_UNAVAILABLE },
        { ERR_NO_SPACE, OK, GRPC_RESOURCE_EXHAUSTED },
        { OK, ERR_NO_SPACE, GRPC_RESOURCE_EXHAUSTED },
        { OK, ERR_IO, GRPC_UNAVAILABLE },
        { ERR_CLOSED, OK, GRPC_UNAVAILABLE },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        site.store.write_err = rows[i].write;
        site.store.wait_err = rows[i].wait;
        struct grpc_result *r = export(gauge("m", 1700000000000 + (int64_t)i, 1));
        assert_int_equal(r->code, rows[i].code);
        assert_true(r->text[0] != 0);
        assert_true(r->details[0] != 0); /* RetryInfo: the sender may repeat */
    }
    site.store.write_err = site.store.wait_err = OK;
    site.ready = false;
    struct grpc_result *r = export(gauge("m", 1700000000000, 1));
    assert_int_equal(r->code, GRPC_UNAVAILABLE);
    assert_true(r->details[0] != 0);
}

static void health(void **state)
{
    (void)state;
    struct grpc_head h = GRPC_HEAD("/grpc.health.v1.Health/Check"), w = GRPC_HEAD("/grpc.health.v1.Health/Watch");
    static const struct {
        const char *service;
        int code;
    } rows[] = { { "", GRPC_OK },
                 { "opentelemetry.proto.collector.metrics.v1.MetricsService", GRPC_OK },
                 { "grpc.health.v1.Health", GRPC_OK },
                 { "no.Such", GRPC_NOT_FOUND } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_BUF struct buf b = { 0 };
        pb_put_bytes(&b, 1, str_c(rows[i].service));
        struct grpc_result *r = grpc_client_call(client, &h, grpc_frame(&site.a, 0, buf_str(&b)));
        assert_int_equal(r->code, rows[i].code);
        if (r->code == GRPC_OK)
            assert_memory_equal(r->body.p, "\0\0\0\0\2\x08\1", 7);
    }
    site.ready = false;
    struct grpc_result *r = grpc_client_call(client, &h, grpc_frame(&site.a, 0, STR("")));
    assert_memory_equal(r->body.p, "\0\0\0\0\2\x08\2", 7);
    assert_int_equal(grpc_client_call(client, &h, grpc_frame(&site.a, 0, STR("\x0a\x7f")))->code,
                     GRPC_INVALID_ARGUMENT);
    assert_int_equal(grpc_client_call(client, &w, grpc_frame(&site.a, 0, STR("")))->code, GRPC_UNIMPLEMENTED);
}

#define T(f) cmocka_unit_test_setup_teardown(f, open_grpc, close_grpc)
int main(void)
{
    const struct CMUnitTest tests[] = { T(metrics), T(bad_data_is_final), T(store_in_trouble), T(health) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
