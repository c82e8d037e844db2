/* The gRPC server over real sockets: right calls, every kind of wrong one, floods, limits, time, orderly end. */
#include "test.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/stats.h"
#include "base/thread.h"
#include "grpc_client.h"
#include "wire/compress.h"

/* ---- a small service ---- */

static atomic_bool release_slow;
static atomic_int slow_running, slow_cancelled;

static void echo(struct grpc_request *rq, struct grpc_response *rs)
{
    buf_str_add(&rs->message, rq->message);
}
static void refuse(struct grpc_request *rq, struct grpc_response *rs)
{
    buf_str_add(&rs->message, rq->message);
    grpc_fail(rs, GRPC_UNAVAILABLE, 1500, "100%% full: äh");
}
static void slow(struct grpc_request *rq, struct grpc_response *rs)
{
    atomic_fetch_add(&slow_running, 1);
    for (int i = 0; i < 2500 && !atomic_load(&release_slow) && !atomic_load(rq->cancelled); i++)
        os_sleep_ms(2);
    if (atomic_load(rq->cancelled))
        atomic_fetch_add(&slow_cancelled, 1);
    buf_lit(&rs->message, "at last");
    atomic_fetch_sub(&slow_running, 1);
}
static void deaf(struct grpc_request *rq, struct grpc_response *rs) /* does not look at cancelled */
{
    (void)rs, (void)rq;
    atomic_fetch_add(&slow_running, 1);
    for (int i = 0; i < 2500 && !atomic_load(&release_slow); i++)
        os_sleep_ms(2);
    atomic_fetch_sub(&slow_running, 1);
}
static const struct http_limits small = { .body_bytes_max = 1000, .decoded_bytes_max = 2000, .body_ms_max = 300 };
static const struct http_limits large = { .body_bytes_max = 8 << 20, .decoded_bytes_max = 8 << 20 };
static const struct grpc_method methods[] = {
    { "/t.T/Echo", echo, HTTP_INGEST, &large },  { "/t.T/Inline", echo, HTTP_INLINE, &large },
    { "/t.T/Small", echo, HTTP_INGEST, &small }, { "/t.T/Fail", refuse, HTTP_INGEST, NULL },
    { "/t.T/Slow", slow, HTTP_INGEST, NULL },    { "/t.T/Deaf", deaf, HTTP_INGEST, NULL },
};

static struct grpc_server *server;
static struct arena a;

static uint16_t open_server(struct grpc_server_config cfg)
{
    static struct grpc_table table = { methods, ARRAY_LEN(methods), NULL };
    static struct http_listener listener = { .address = "127.0.0.1" };
    struct err_text why;
    cfg.listeners = &listener;
    cfg.n_listeners = 1;
    cfg.tables = &table;
    cfg.n_tables = 1;
    arena_init(&a, 0);
    atomic_store(&release_slow, false);
    atomic_store(&slow_cancelled, 0);
    assert_ok(grpc_server_open(&cfg, &server, &why));
    return grpc_server_port(server, 0);
}
static void close_server(void)
{
    atomic_store(&release_slow, true);
    grpc_server_close(server);
    arena_deinit(&a);
}
static bool becomes(atomic_int *v, int want)
{
    for (int i = 0; i < 1500 && atomic_load(v) != want; i++)
        os_sleep_ms(2);
    return atomic_load(v) == want;
}
/* The value of a line of /metrics. */
static double metric(const char *line)
{
    struct buf b;
    buf_init(&b, 0);
    stats_render(&b);
    buf_u8(&b, 0);
    const char *at = strstr(b.p, line);
    double v = at ? atof(at + strlen(line)) : -1;
    buf_deinit(&b);
    return v;
}
static str gz(str s)
{
    struct buf b;
    buf_init(&b, 0);
    assert_ok(gzip_compress(s, 6, &b));
    str r = arena_str(&a, buf_str(&b));
    buf_deinit(&b);
    return r;
}
static str letters(size_t n)
{
    char *p = arena_alloc(&a, n);
    memset(p, 'q', n);
    return str_n(p, n);
}
static void assert_message(const struct grpc_result *r, str want)
{
    assert_int_equal(r->code, 0);
    assert_int_equal(r->http_status, 200);
    assert_int_equal(r->error, 0);
    assert_int_equal(r->body.n, want.n + 5);
    assert_true(str_eq(buf_str(&r->body), grpc_frame(&a, 0, want)));
}

/* ---- right calls ---- */

static void answers(void **state)
{
    (void)state;
    struct grpc_client *c = grpc_client_open(open_server((struct grpc_server_config){ 0 }), NULL, 0);
    struct grpc_head e = GRPC_HEAD("/t.T/Echo"), i = GRPC_HEAD("/t.T/Inline"), z = e;
    z.encoding = "gzip";
    str big = letters(3 << 20);
    assert_message(grpc_client_call(c, &e, grpc_frame(&a, 0, STR("hello"))), STR("hello"));
    assert_message(grpc_client_call(c, &e, grpc_frame(&a, 0, STR(""))), STR(""));
    assert_message(grpc_client_call(c, &i, grpc_frame(&a, 0, STR("inline"))), STR("inline"));
    assert_message(grpc_client_call(c, &e, grpc_frame(&a, 0, big)), big);
    assert_message(grpc_client_call(c, &z, grpc_frame(&a, 1, gz(big))), big);
    assert_message(grpc_client_call(c, &z, grpc_frame(&a, 0, STR("not compressed"))), STR("not compressed"));
    e.content_type = "application/grpc+proto; charset=x";
    e.encoding = "identity";
    e.timeout = "10S";
    assert_message(grpc_client_call(c, &e, grpc_frame(&a, 0, STR("again"))), STR("again"));
    struct grpc_result *many[200];
    for (size_t k = 0; k < ARRAY_LEN(many); k++)
        many[k] = grpc_client_start(c, &i, grpc_frame(&a, 0, STR("x")), false);
    for (size_t k = 0; k < ARRAY_LEN(many); k++) {
        assert_true(grpc_client_wait(c, many[k], 5000));
        assert_message(many[k], STR("x"));
    }
    assert_true(metric("vane_grpc_calls_total{method=\"t.T/Echo\",code=\"OK\"} ") == 6);
    grpc_client_close(c);
    close_server();
}

static void errors_are_trailers_only(void **state)
{
    (void)state;
    struct grpc_client *c = grpc_client_open(open_server((struct grpc_server_config){ 0 }), NULL, 0);
    struct grpc_head f = GRPC_HEAD("/t.T/Fail"), u = GRPC_HEAD("/t.T/Nothing");
    struct grpc_result *r = grpc_client_call(c, &f, grpc_frame(&a, 0, STR("x")));
    assert_true(r->head_only);
    assert_int_equal(r->code, GRPC_UNAVAILABLE);
    assert_int_equal(r->http_status, 200);
    assert_int_equal(r->body.n, 0);
    assert_string_equal(r->text, "100%25 full: %C3%A4h");
    /* Status { code: 14, message, details: Any { RetryInfo { Duration { 1 s, 500000000 ns } } } } */
    assert_string_equal(r->details, "CA4SDjEwMCUgZnVsbDogw6RoGjYKKHR5cGUuZ29vZ2xlYXBpcy5jb20vZ29vZ2xlLnJwYy5S"
                                    "ZXRyeUluZm8SCgoICAEQgMq17gE");
    r = grpc_client_call(c, &u, grpc_frame(&a, 0, STR("x")));
    assert_int_equal(r->code, GRPC_UNIMPLEMENTED);
    assert_true(r->head_only);
    assert_string_equal(r->details, "");
    assert_true(metric("vane_grpc_calls_total{method=\"unknown\",code=\"UNIMPLEMENTED\"} ") == 1);
    grpc_client_close(c);
    close_server();
}

/* ---- wrong calls ---- */

static void malformed(void **state)
{
    (void)state;
    struct grpc_client *c = grpc_client_open(open_server((struct grpc_server_config){ 0 }), NULL, 0);
    str ok = grpc_frame(&a, 0, STR("hello")), bomb = gz(letters(100000));
    const struct {
        const char *what;
        struct grpc_head h;
        str body;
        int http, code;
    } rows[] = {
        { "no message", GRPC_HEAD("/t.T/Small"), STR(""), 200, GRPC_UNIMPLEMENTED },
        { "half a prefix", GRPC_HEAD("/t.T/Small"), STR("\0\0\0"), 200, GRPC_INTERNAL },
        { "half a message", GRPC_HEAD("/t.T/Small"), str_take(ok, 8), 200, GRPC_INTERNAL },
        { "bytes behind", GRPC_HEAD("/t.T/Small"), STR("\0\0\0\0\1ab"), 200, GRPC_UNIMPLEMENTED },
        { "flag 2", GRPC_HEAD("/t.T/Small"), STR("\2\0\0\0\1a"), 200, GRPC_INTERNAL },
        { "4 GiB promised", GRPC_HEAD("/t.T/Small"), STR("\0\xff\xff\xff\xff"), 200, GRPC_RESOURCE_EXHAUSTED },
        { "too large", GRPC_HEAD("/t.T/Small"), grpc_frame(&a, 0, letters(1001)), 200, GRPC_RESOURCE_EXHAUSTED },
        { "much too large", GRPC_HEAD("/t.T/Small"), grpc_frame(&a, 0, letters(3 << 20)), 200,
          GRPC_RESOURCE_EXHAUSTED },
        { "compressed, no encoding", GRPC_HEAD("/t.T/Small"), grpc_frame(&a, 1, gz(STR("x"))), 200, GRPC_INTERNAL },
        { "compressed, identity",
          { "POST", "/t.T/Small", "application/grpc", "trailers", "identity", NULL, 0 },
          grpc_frame(&a, 1, gz(STR("x"))),
          200,
          GRPC_INTERNAL },
        { "no gzip",
          { "POST", "/t.T/Small", "application/grpc", "trailers", "gzip", NULL, 0 },
          grpc_frame(&a, 1, STR("abc")),
          200,
          GRPC_INTERNAL },
        { "bomb",
          { "POST", "/t.T/Small", "application/grpc", "trailers", "gzip", NULL, 0 },
          grpc_frame(&a, 1, bomb),
          200,
          GRPC_RESOURCE_EXHAUSTED },
        { "encoding",
          { "POST", "/t.T/Small", "application/grpc", "trailers", "br", NULL, 0 },
          ok,
          200,
          GRPC_UNIMPLEMENTED },
        { "te", { "POST", "/t.T/Small", "application/grpc", NULL, NULL, NULL, 0 }, ok, 400, GRPC_INTERNAL },
        { "method", { "GET", "/t.T/Small", "application/grpc", "trailers", NULL, NULL, 0 }, ok, 405, GRPC_INTERNAL },
        { "type", { "POST", "/t.T/Small", "application/json", "trailers", NULL, NULL, 0 }, ok, 415, GRPC_INTERNAL },
        { "web", { "POST", "/t.T/Small", "application/grpc-web", "trailers", NULL, NULL, 0 }, ok, 415, GRPC_INTERNAL },
        { "no type", { "POST", "/t.T/Small", NULL, "trailers", NULL, NULL, 0 }, ok, 415, GRPC_INTERNAL },
        { "time-out", { "POST", "/t.T/Small", "application/grpc", "trailers", NULL, "5x", 0 }, ok, 400, GRPC_INTERNAL },
        { "time-out digits",
          { "POST", "/t.T/Small", "application/grpc", "trailers", NULL, "123456789S", 0 },
          ok,
          400,
          GRPC_INTERNAL },
        { "metadata",
          { "POST", "/t.T/Small", "application/grpc", "trailers", NULL, NULL, 20000 },
          ok,
          200,
          GRPC_RESOURCE_EXHAUSTED },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct grpc_result *r = grpc_client_call(c, &rows[i].h, rows[i].body);
        if (r->code != rows[i].code || r->http_status != rows[i].http)
            fail_msg("%s: %d %d \"%s\"", rows[i].what, r->http_status, r->code, r->text);
        assert_true(r->head_only);
    }
    struct grpc_head e = GRPC_HEAD("/t.T/Echo"); /* none of it hurt the connection */
    assert_message(grpc_client_call(c, &e, ok), STR("hello"));
    assert_true(metric("vane_grpc_message_bytes ") == 0);
    grpc_client_close(c);
    close_server();
}

static void no_http2(void **state)
{
    (void)state;
    uint16_t port = open_server((struct grpc_server_config){ .handshake_ms_max = 150 });
    int fd = grpc_raw_connect(port, false);
    assert_int_equal(send(fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, 0), 27);
    assert_true(grpc_raw_closed(fd, 2000));
    close(fd);
    fd = grpc_raw_connect(port, false); /* says nothing */
    assert_true(grpc_raw_closed(fd, 2000));
    close(fd);
    fd = grpc_raw_connect(port, true);
    grpc_raw_frame(fd, NGHTTP2_DATA, 0, 1, "x", 1); /* of a stream that was never opened */
    assert_true(grpc_raw_closed(fd, 2000));
    close(fd);
    fd = grpc_raw_connect(port, true);
    grpc_raw_frame(fd, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 1, "\xff\xff\xff\xff\xff\xff", 6); /* no HPACK */
    assert_true(grpc_raw_closed(fd, 2000));
    close(fd);
    close_server();
}

/* ---- floods ---- */

static void reset_storm(void **state)
{
    (void)state;
    double before = metric("vane_grpc_cut_total{reason=\"resets\"} ");
    struct grpc_client *c = grpc_client_open(open_server((struct grpc_server_config){ .resets_burst = 100 }), NULL, 0);
    struct grpc_head e = GRPC_HEAD("/t.T/Inline");
    for (int i = 0; i < 1000 && !c->eof; i++) {
        struct grpc_result *r = grpc_client_start(c, &e, grpc_frame(&a, 0, STR("x")), true);
        nghttp2_session_send(c->session);
        nghttp2_submit_rst_stream(c->session, 0, r->id, NGHTTP2_CANCEL);
        if (nghttp2_session_send(c->session) != 0)
            break;
    }
    grpc_client_wait(c, NULL, 3000);
    assert_true(c->goaway);
    assert_int_equal(c->goaway_error, NGHTTP2_ENHANCE_YOUR_CALM);
    grpc_client_close(c);
    for (int i = 0; i < 500 && metric("vane_grpc_cut_total{reason=\"resets\"} ") != MAX(before, 0) + 1; i++)
        os_sleep_ms(2);
    assert_true(metric("vane_grpc_cut_total{reason=\"resets\"} ") == MAX(before, 0) + 1);
    close_server();
}

static void continuation_flood(void **state)
{
    (void)state;
    uint16_t port = open_server((struct grpc_server_config){ .header_ms_max = 150 });
    int fd = grpc_raw_connect(port, true);
    grpc_raw_frame(fd, NGHTTP2_HEADERS, 0, 1, "\x83", 1);
    for (int i = 0; i < 1000; i++)
        grpc_raw_frame(fd, NGHTTP2_CONTINUATION, 0, 1, NULL, 0);
    assert_true(grpc_raw_closed(fd, 2000));
    close(fd);
    fd = grpc_raw_connect(port, true); /* a header block that never ends, slowly */
    grpc_raw_frame(fd, NGHTTP2_HEADERS, 0, 1, "\x83", 1);
    assert_true(grpc_raw_closed(fd, 2000));
    close(fd);
    close_server();
}

static void pings(void **state)
{
    (void)state;
    uint16_t port = open_server((struct grpc_server_config){ .pings_burst = 20 });
    struct grpc_client *c = grpc_client_open(port, NULL, 0);
    struct grpc_head e = GRPC_HEAD("/t.T/Inline");
    for (int i = 0; i < 60; i++) { /* pings beside calls are nobody's harm */
        nghttp2_submit_ping(c->session, 0, NULL);
        assert_int_equal(grpc_client_call(c, &e, grpc_frame(&a, 0, STR("x")))->code, 0);
    }
    assert_false(c->goaway);
    for (int i = 0; i < 60; i++)
        nghttp2_submit_ping(c->session, 0, NULL);
    assert_true(grpc_client_wait(c, NULL, 3000));
    assert_int_equal(c->goaway_error, NGHTTP2_ENHANCE_YOUR_CALM);
    assert_string_equal(c->goaway_debug, "too_many_pings");
    grpc_client_close(c);
    int fd = grpc_raw_connect(port, true);
    for (int i = 0; i < 15000; i++)
        grpc_raw_frame(fd, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\1", 4);
    assert_true(grpc_raw_closed(fd, 3000));
    close(fd);
    close_server();
}

static void streams_and_their_handlers_are_bounded(void **state)
{
    (void)state;
    struct grpc_client *c = grpc_client_open(open_server((struct grpc_server_config){ .streams_max = 4 }), NULL, 0);
    struct grpc_head d = GRPC_HEAD("/t.T/Deaf"), e = GRPC_HEAD("/t.T/Echo");
    for (int i = 0; i < 4; i++) {
        struct grpc_result *r = grpc_client_start(c, &d, grpc_frame(&a, 0, STR("x")), false);
        grpc_client_pump(c, 20);
        nghttp2_submit_rst_stream(c->session, 0, r->id, NGHTTP2_CANCEL);
        grpc_client_pump(c, 20);
    }
    assert_true(becomes(&slow_running, 4)); /* their streams are closed, they still run */
    struct grpc_result *r = grpc_client_call(c, &e, grpc_frame(&a, 0, STR("x")));
    assert_int_equal(r->code, -1);
    assert_int_equal(r->error, NGHTTP2_REFUSED_STREAM);
    atomic_store(&release_slow, true);
    assert_true(becomes(&slow_running, 0));
    grpc_client_pump(c, 50);
    assert_message(grpc_client_call(c, &e, grpc_frame(&a, 0, STR("x"))), STR("x"));
    grpc_client_close(c);
    close_server();
}

/* ---- overload ---- */

static void overload(void **state)
{
    (void)state;
    struct pool *pool;
    assert_ok(pool_open("test", 1, 1, &pool));
    struct grpc_client *c = grpc_client_open(open_server((struct grpc_server_config){ .ingest = pool }), NULL, 0);
    struct grpc_head s = GRPC_HEAD("/t.T/Slow");
    struct grpc_result *first = grpc_client_start(c, &s, grpc_frame(&a, 0, STR("x")), false);
    grpc_client_pump(c, 30);
    assert_true(becomes(&slow_running, 1));
    struct grpc_result *second = grpc_client_start(c, &s, grpc_frame(&a, 0, STR("x")), false);
    grpc_client_pump(c, 30);
    struct grpc_result *third = grpc_client_call(c, &s, grpc_frame(&a, 0, STR("x")));
    assert_int_equal(third->code, GRPC_UNAVAILABLE);
    assert_true(third->details[0] != 0); /* RetryInfo */
    atomic_store(&release_slow, true);
    assert_true(grpc_client_wait(c, first, 3000));
    assert_true(grpc_client_wait(c, second, 3000));
    assert_message(first, STR("at last"));
    assert_message(second, STR("at last"));
    grpc_client_close(c);
    close_server();
    pool_close(pool);

    c = grpc_client_open(open_server((struct grpc_server_config){ .message_bytes_inflight_max = 1 << 20 }), NULL, 0);
    struct grpc_head e = GRPC_HEAD("/t.T/Echo");
    struct grpc_result *r = grpc_client_call(c, &e, grpc_frame(&a, 0, letters(2 << 20)));
    assert_int_equal(r->code, GRPC_UNAVAILABLE);
    assert_true(r->details[0] != 0);
    assert_true(metric("vane_grpc_message_bytes ") == 0);
    grpc_client_close(c);
    close_server();
}

static void connections_wait(void **state)
{
    (void)state;
    uint16_t port = open_server((struct grpc_server_config){ .connections_max = 2, .event_threads = 1 });
    struct grpc_head e = GRPC_HEAD("/t.T/Inline");
    struct grpc_client *c[3];
    for (int i = 0; i < 2; i++) {
        c[i] = grpc_client_open(port, NULL, 0);
        assert_int_equal(grpc_client_call(c[i], &e, grpc_frame(&a, 0, STR("x")))->code, 0);
    }
    c[2] = grpc_client_open(port, NULL, 0);
    struct grpc_result *r = grpc_client_start(c[2], &e, grpc_frame(&a, 0, STR("x")), false);
    assert_false(grpc_client_wait(c[2], r, 250));
    grpc_client_close(c[0]);
    assert_true(grpc_client_wait(c[2], r, 3000));
    assert_int_equal(r->code, 0);
    grpc_client_close(c[1]);
    grpc_client_close(c[2]);
    close_server();
}

/* ---- time ---- */

static void deadlines_and_cancellation(void **state)
{
    (void)state;
    struct grpc_client *c = grpc_client_open(open_server((struct grpc_server_config){ 0 }), NULL, 0);
    struct grpc_head s = GRPC_HEAD("/t.T/Slow"), e = GRPC_HEAD("/t.T/Echo");
    s.timeout = "100m";
    uint64_t t0 = os_mono_ns();
    assert_int_equal(grpc_client_call(c, &s, grpc_frame(&a, 0, STR("x")))->code, GRPC_DEADLINE_EXCEEDED);
    uint64_t ms = (os_mono_ns() - t0) / 1000000;
    assert_in_range(ms, 95, 1000);
    assert_true(becomes(&slow_cancelled, 1));
    s.timeout = NULL;
    struct grpc_result *r = grpc_client_start(c, &s, grpc_frame(&a, 0, STR("x")), false);
    grpc_client_pump(c, 30);
    assert_true(becomes(&slow_running, 1));
    nghttp2_submit_rst_stream(c->session, 0, r->id, NGHTTP2_CANCEL);
    grpc_client_pump(c, 30);
    assert_true(becomes(&slow_cancelled, 2));
    e.timeout = "0n";
    assert_int_equal(grpc_client_call(c, &e, grpc_frame(&a, 0, STR("x")))->code, GRPC_DEADLINE_EXCEEDED);
    r = grpc_client_start(c, &s, grpc_frame(&a, 0, STR("x")), false);
    grpc_client_pump(c, 30);
    assert_true(becomes(&slow_running, 1));
    grpc_client_close(c); /* the whole connection goes away */
    assert_true(becomes(&slow_cancelled, 3));
    close_server();
}

static void slow_clients(void **state)
{
    (void)state;
    uint16_t port = open_server((struct grpc_server_config){ .send_ms_max = 200 });
    struct grpc_client *c = grpc_client_open(port, NULL, 0);
    struct grpc_head s = GRPC_HEAD("/t.T/Small"), e = GRPC_HEAD("/t.T/Echo");
    struct grpc_result *r = grpc_client_start(c, &s, STR("\0\0\0\0\x10slow"), true);
    assert_true(grpc_client_wait(c, r, 3000)); /* body_ms_max 300 */
    assert_int_equal(r->code, GRPC_DEADLINE_EXCEEDED);
    grpc_client_close(c);
    const nghttp2_settings_entry closed_window = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0 };
    c = grpc_client_open(port, &closed_window, 1); /* never takes an answer's body */
    r = grpc_client_start(c, &e, grpc_frame(&a, 0, STR("x")), false);
    assert_true(grpc_client_wait(c, r, 3000));
    assert_int_equal(r->error, NGHTTP2_CANCEL);
    grpc_client_close(c);
    close_server();
    port = open_server((struct grpc_server_config){
        .send_ms_max = 200, .stream_window_bytes = 16 << 20, .conn_window_bytes = 64 << 20 });
    const nghttp2_settings_entry wide = { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, INT32_MAX };
    c = grpc_client_open(port, &wide, 1); /* has room for it, but reads nothing */
    assert_int_equal(nghttp2_session_set_local_window_size(c->session, 0, 0, INT32_MAX), 0);
    grpc_client_pump(c, 50);
    str big = letters(7 << 20);
    double before = MAX(metric("vane_grpc_cut_total{reason=\"send\"} "), 0);
    for (int i = 0; i < 4; i++)
        grpc_client_start(c, &e, grpc_frame(&a, 0, big), false);
    nghttp2_session_send(c->session); /* ends when the server has closed, or all is sent */
    for (int i = 0; i < 1500 && metric("vane_grpc_cut_total{reason=\"send\"} ") == before; i++)
        os_sleep_ms(2);
    assert_true(metric("vane_grpc_cut_total{reason=\"send\"} ") > before);
    grpc_client_close(c);
    close_server();
}

static void idle_and_dead_connections(void **state)
{
    (void)state;
    uint16_t port = open_server((struct grpc_server_config){ .idle_ms = 200 });
    struct grpc_client *c = grpc_client_open(port, NULL, 0);
    struct grpc_head e = GRPC_HEAD("/t.T/Echo");
    assert_int_equal(grpc_client_call(c, &e, grpc_frame(&a, 0, STR("x")))->code, 0);
    assert_true(grpc_client_wait(c, NULL, 3000));
    assert_true(c->goaway);
    assert_int_equal(c->goaway_error, NGHTTP2_NO_ERROR);
    grpc_client_close(c);
    close_server();
    port = open_server((struct grpc_server_config){ .keepalive_ms = 100, .keepalive_timeout_ms = 100 });
    c = grpc_client_open(port, NULL, 0);
    grpc_client_pump(c, 500); /* answers pings: stays */
    assert_true(c->pings >= 2);
    assert_int_equal(grpc_client_call(c, &e, grpc_frame(&a, 0, STR("x")))->code, 0);
    grpc_client_close(c);
    int fd = grpc_raw_connect(port, true); /* does not */
    assert_true(grpc_raw_closed(fd, 2000));
    close(fd);
    close_server();
}

/* ---- the end ---- */

static void closer(void *ctx)
{
    (void)ctx;
    grpc_server_close(server);
}

static void drains(void **state)
{
    (void)state;
    pthread_t t;
    struct grpc_client *c = grpc_client_open(open_server((struct grpc_server_config){ 0 }), NULL, 0);
    struct grpc_head s = GRPC_HEAD("/t.T/Slow");
    struct grpc_result *r = grpc_client_start(c, &s, grpc_frame(&a, 0, STR("x")), false);
    grpc_client_pump(c, 30);
    assert_true(becomes(&slow_running, 1));
    assert_ok(thread_start(&t, "closer", closer, NULL));
    grpc_client_pump(c, 300);
    assert_true(c->goaway);
    assert_int_equal(c->goaway_error, NGHTTP2_NO_ERROR);
    assert_int_equal(c->goaway_last, r->id);
    assert_false(r->closed);
    atomic_store(&release_slow, true);
    assert_true(grpc_client_wait(c, r, 3000)); /* what was begun is answered */
    assert_message(r, STR("at last"));
    thread_join(t);
    assert_true(grpc_client_wait(c, NULL, 3000));
    grpc_client_close(c);
    arena_deinit(&a);

    c = grpc_client_open(open_server((struct grpc_server_config){ .drain_ms = 200 }), NULL, 0);
    r = grpc_client_start(c, &s, grpc_frame(&a, 0, STR("x")), false);
    grpc_client_pump(c, 30);
    assert_true(becomes(&slow_running, 1));
    assert_ok(thread_start(&t, "closer", closer, NULL));
    grpc_client_wait(c, NULL, 3000); /* patience ends: the handler is cancelled, the client told */
    assert_int_equal(r->code, GRPC_UNAVAILABLE);
    thread_join(t);
    assert_int_equal(atomic_load(&slow_cancelled), 1);
    grpc_client_close(c);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(errors_are_trailers_only),
        cmocka_unit_test(malformed),
        cmocka_unit_test(no_http2),
        cmocka_unit_test(reset_storm),
        cmocka_unit_test(continuation_flood),
        cmocka_unit_test(pings),
        cmocka_unit_test(streams_and_their_handlers_are_bounded),
        cmocka_unit_test(overload),
        cmocka_unit_test(connections_wait),
        cmocka_unit_test(deadlines_and_cancellation),
        cmocka_unit_test(slow_clients),
        cmocka_unit_test(idle_and_dead_connections),
        cmocka_unit_test(drains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
