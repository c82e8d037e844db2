/* The engine end to end: real sockets on loopback, targets that misbehave, a sink that remembers everything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/stats.h"
#include "model/histogram_math.h"
#include "scrape/scrape.h"
#include "target_server.h"
#include "wire/compress.h"
#include "wire/pb.h"

/* ---- sink ---- */

struct seen_sample {
    int64_t ts_ms;
    double v;
};
struct seen_series {
    char *name; /* printed labels */
    VEC(struct seen_sample) v;
    uint64_t ref;
    size_t n_exemplars, n_hists, n_starts;
    char hist[300]; /* the newest that is no marker */
};
struct memory_sink {
    struct scrape_sink sink;
    struct mtx mu;
    VEC(struct seen_series) series;
    size_t named; /* series that came without a ref: the store had to look at labels */
    size_t batches;
    enum err answer;
};

static struct seen_series *sink_find(struct memory_sink *m, str name, bool add)
{
    for (size_t i = 0; i < m->series.n; i++)
        if (str_eq(str_c(m->series.p[i].name), name))
            return &m->series.p[i];
    if (!add)
        return NULL;
    struct seen_series s = { .name = mem_strdup(name) };
    vec_push(&m->series, s);
    return &m->series.p[m->series.n - 1];
}

static enum err sink_append(struct scrape_sink *sink, const struct batch *b)
{
    struct memory_sink *m = CONTAINER_OF(sink, struct memory_sink, sink);
    mtx_lock(&m->mu);
    m->batches++;
    for (size_t i = 0; m->answer == OK && i < b->series.n; i++) {
        const struct batch_series *bs = &b->series.p[i];
        AUTO_BUF struct buf name;
        buf_init(&name, 0);
        labels_print(&name, bs->labels);
        struct seen_series *s = sink_find(m, buf_str(&name), true);
        if (!*bs->ref) {
            *bs->ref = (uint64_t)(s - m->series.p) + 1;
            m->named++;
        }
        assert_int_equal(*bs->ref, (uint64_t)(s - m->series.p) + 1);
        for (size_t k = 0; k < bs->n_samples; k++) {
            struct seen_sample x = { bs->samples[k].ts_ms, bs->samples[k].v };
            vec_push(&s->v, x);
        }
        for (size_t k = 0; k < bs->n_hists; k++) { /* a histogram's count stands for its value */
            const struct histogram *h = bs->hists[k].h;
            struct seen_sample x = { bs->hists[k].ts_ms, is_stale(h->sum) ? h->sum : h->count };
            AUTO_BUF struct buf text;
            buf_init(&text, 0);
            histogram_print_test(&text, h);
            if (!is_stale(h->sum))
                snprintf(s->hist, sizeof(s->hist), STR_FMT, STR_ARG(buf_str(&text)));
            vec_push(&s->v, x);
            s->n_hists++;
        }
        s->n_starts += bs->start_ms && *bs->start_ms;
        s->n_exemplars += bs->n_exemplars;
    }
    enum err e = m->answer;
    mtx_unlock(&m->mu);
    return e;
}

static void sink_init(struct memory_sink *m)
{
    *m = (struct memory_sink){ .sink.append = sink_append };
    mtx_init(&m->mu, 0);
}
static void sink_deinit(struct memory_sink *m)
{
    for (size_t i = 0; i < m->series.n; i++) {
        free(m->series.p[i].name);
        vec_free(&m->series.p[i].v);
    }
    vec_free(&m->series);
    mtx_deinit(&m->mu);
}

/* A series whose printed labels contain the text: samples so far, the newest value. */
struct peek {
    size_t n, stale;
    double first, last;
    int64_t last_ts_ms;
    bool last_stale;
};
static struct peek peek(struct memory_sink *m, const char *text)
{
    struct peek p = { 0 };
    mtx_lock(&m->mu);
    for (size_t i = 0; i < m->series.n; i++) {
        if (!strstr(m->series.p[i].name, text))
            continue;
        for (size_t k = 0; k < m->series.p[i].v.n; k++) {
            struct seen_sample s = m->series.p[i].v.p[k];
            p.first = p.n ? p.first : s.v;
            p.n++;
            p.stale += is_stale(s.v);
            p.last = s.v;
            p.last_ts_ms = s.ts_ms;
            p.last_stale = is_stale(s.v);
        }
    }
    mtx_unlock(&m->mu);
    return p;
}
/* Wait for at least n samples. */
static struct peek wait_for(struct memory_sink *m, const char *text, size_t n)
{
    struct peek p = peek(m, text);
    for (int i = 0; i < 1500 && p.n < n; i++, p = peek(m, text))
        os_sleep_ms(5);
    if (p.n < n)
        fail_msg("%s: %zu of %zu samples", text, p.n, n);
    return p;
}
/* The condition is judged once: what it saw may be gone a moment later. */
#define wait_until(condition)                        \
    do {                                             \
        bool met_ = false;                           \
        for (int i_ = 0; i_ < 3000 && !met_; i_++) { \
            met_ = (condition);                      \
            if (!met_)                               \
                os_sleep_ms(5);                      \
        }                                            \
        if (!met_)                                   \
            fail_msg("waited for %s", #condition);   \
    } while (0)

/* ---- targets ---- */

struct farm {
    atomic_int round, hits, redirected, proto_round;
    char head[4096]; /* of the last /echo request */
    struct mtx mu;
    struct target_server *server;
};

static void answer_gzip(struct target_answer *a, str text)
{
    AUTO_BUF struct buf z;
    buf_init(&z, 0);
    assert_int_equal(gzip_compress(text, 6, &z), OK);
    target_answer_text(a, "200 OK", "Content-Encoding: gzip\r\n", buf_str(&z));
}

static void pb_bucket(struct buf *b, double bound, uint64_t count)
{
    size_t at = pb_open(b, 3);
    pb_put_varint(b, 1, count);
    pb_put_double(b, 2, bound);
    pb_close(b, at);
}
static void pb_spans(struct buf *b, unsigned n)
{
    size_t at = pb_open(b, 12);
    pb_put_varint(b, 2, n);
    pb_close(b, at);
    for (unsigned i = 0; i < n; i++)
        pb_put_varint(b, 13, zigzag(i == 0)); /* one each */
}
/* hits_total, and lat: native (4 buckets at schema 2) and classic; every second time without lat. */
static void answer_protobuf(struct target_answer *a, bool whole)
{
    AUTO_BUF struct buf body, f;
    buf_init(&body, 0);
    buf_init(&f, 0);
    pb_put_bytes(&f, 1, STR("hits_total"));
    size_t m = pb_open(&f, 4), v = pb_open(&f, 3);
    pb_put_double(&f, 1, 5);
    size_t t = pb_open(&f, 3);
    pb_put_varint(&f, 1, 1000);
    pb_close(&f, t);
    pb_close(&f, v);
    pb_close(&f, m);
    buf_lstr(&body, buf_str(&f));
    buf_clear(&f);
    pb_put_bytes(&f, 1, STR("lat"));
    pb_put_bytes(&f, 2, STR("Latency."));
    pb_put_varint(&f, 3, 4);
    m = pb_open(&f, 4);
    v = pb_open(&f, 7);
    pb_put_varint(&f, 1, 4);
    pb_put_double(&f, 2, 6);
    pb_bucket(&f, 1, 1);
    pb_bucket(&f, 2, 4);
    pb_put_varint(&f, 5, zigzag(2));
    pb_put_double(&f, 6, 0.001);
    pb_spans(&f, 4);
    pb_close(&f, v);
    pb_close(&f, m);
    if (whole)
        buf_lstr(&body, buf_str(&f));
    target_answer_text(a, "200 OK",
                       "Content-Type: application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; "
                       "encoding=delimited\r\n",
                       buf_str(&body));
}

static bool answer(void *ctx, str path, str head, struct target_answer *a)
{
    struct farm *f = ctx;
    int round = atomic_fetch_add(&f->round, 1);
    str rest = path, bare;
    str_cut(&rest, '?', &bare);
    atomic_fetch_add(&f->hits, 1);
#define IS(p) str_eq(bare, STR(p))
    if (IS("/ok"))
        target_answer_text(
            a, "200 OK", "",
            STR("# HELP a_total As.\n# TYPE a_total counter\na_total 5\nb{x=\"1\"} 2.5\nb{x=\"2\"} NaN\n"));
    else if (IS("/hang"))
        a->hold_ms = 30000;
    else if (IS("/lie"))
        buf_lit(&a->raw, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Type: text/plain\r\nConnection: "
                         "close\r\n\r\nshort 1\n");
    else if (IS("/endless"))
        buf_printf(&a->raw, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n%02000d\n", 0),
            a->endless = true;
    else if (IS("/gzip"))
        answer_gzip(a, STR("zipped 7\n"));
    else if (IS("/bad"))
        target_answer_text(a, "200 OK", "", STR("good 1\nthis is { not metrics\n"));
    else if (IS("/gone"))
        target_answer_text(a, "200 OK", "", round % 2 == 0 ? STR("stays 1\ngoes 1\n") : STR("stays 1\n"));
    else if (IS("/dup"))
        target_answer_text(a, "200 OK", "", STR("twice 1\ntwice 2\n"));
    else if (IS("/own"))
        target_answer_text(a, "200 OK", "", STR("m{job=\"mine\",instance=\"\"} 1\n"));
    else if (IS("/times"))
        target_answer_text(a, "200 OK", "", STR("old 1 1000\nnew 2\n"));
    else if (IS("/labels"))
        target_answer_text(a, "200 OK", "", STR("m{a=\"1\",b=\"2\",c=\"3\"} 1\n"));
    else if (IS("/openmetrics"))
        target_answer_text(a, "200 OK", "Content-Type: application/openmetrics-text; version=1.0.0\r\n",
                           STR("# TYPE c counter\nc_total 5 # {trace_id=\"abc\"} 1\nc_created 1000\n# EOF\n"));
    else if (IS("/protobuf"))
        answer_protobuf(a, true);
    else if (IS("/protogone"))
        answer_protobuf(a, atomic_fetch_add(&f->proto_round, 1) % 2 == 0);
    else if (IS("/classic")) /* the order of lines changes, one comes later */
        target_answer_text(a, "200 OK", "Content-Type: application/openmetrics-text; version=1.0.0\r\n",
                           round % 2 ? STR("# TYPE t histogram\nt_bucket{le=\"1\"} 2 # {trace_id=\"x\"} 0.5 "
                                           "1.5\nt_bucket{le=\"+Inf\"} 3\nt_count 3\nt_sum 4\n"
                                           "t_bucket{z=\"2\",le=\"+Inf\"} 1\nt_count{z=\"2\"} 1\nt_sum{z=\"2\"} 9\n# "
                                           "TYPE after gauge\nafter 1\n# EOF\n")
                                     : STR("# TYPE t histogram\nt_count 3\nt_sum 4\nt_bucket{le=\"1\"} "
                                           "2\nt_bucket{le=\"+Inf\"} 3\n# TYPE after gauge\nafter 1\n"
                                           "# EOF\n"));
    else if (IS("/untyped"))
        target_answer_text(a, "200 OK", "Content-Type: application/json\r\n", STR("u 1\n"));
    else if (IS("/redirect"))
        target_answer_text(a, "302 Found", "Location: /ok\r\n", STR("")), atomic_fetch_add(&f->redirected, 1);
    else if (IS("/sd")) {
        AUTO_BUF struct buf json;
        buf_init(&json, 0);
        buf_printf(&json, "[{\"targets\": [\"127.0.0.1:%u\"], \"labels\": {\"from\": \"http\"}}]",
                   target_server_port(f->server));
        target_answer_text(a, "200 OK", "Content-Type: application/json\r\n", buf_str(&json));
    } else if (IS("/churn")) { /* half of it is new each time; one series under two spellings */
        AUTO_BUF struct buf text;
        buf_init(&text, 0);
        for (int i = 0; i < 300; i++)
            buf_printf(&text, "churn{i=\"%d\",path=\"/a/rather/long/path/to/fill/memory/%d\",round=\"%d\"} %d\n", i, i,
                       i % 2 ? round : 0, i);
        buf_lit(&text, "steady{a=\"1\",b=\"2\"} 5\n");
        buf_printf(&text, "steady{b=\"2\"%s,a=\"1\"} 6\n", round % 2 ? "" : " ");
        target_answer_text(a, "200 OK", "", buf_str(&text));
    } else if (IS("/echo") || str_has_prefix(head, STR("CONNECT "))) {
        mtx_lock(&f->mu);
        snprintf(f->head, sizeof(f->head), STR_FMT, STR_ARG(head));
        mtx_unlock(&f->mu);
        target_answer_text(a, "200 OK", "", STR("echo 1\n"));
    } else if (IS("/token")) {
        target_answer_text(a, "200 OK", "Connection: close\r\n", STR("access_token=tok-oauth&token_type=bearer"));
    } else
        target_answer_text(a, "404 Not Found", "", STR("no\n"));
#undef IS
    return true;
}

/* ---- harness ---- */

struct rig {
    struct memory_sink sink;
    struct farm farm;
    struct scrape *scrape;
    char dir[64];
};

static int setup(void **state)
{
    struct rig *r = mem_zalloc(sizeof(*r));
    sink_init(&r->sink);
    mtx_init(&r->farm.mu, 0);
    r->farm.server = target_server_open(answer, &r->farm);
    struct err_text et;
    if (scrape_open(&(struct scrape_options){ .sink = &r->sink.sink }, &r->scrape, &et))
        fail_msg("%s", et.msg);
    snprintf(r->dir, sizeof(r->dir), "/tmp/vane-scrape-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    *state = r;
    return 0;
}
static int teardown(void **state)
{
    struct rig *r = *state;
    scrape_close(r->scrape);
    target_server_close(r->farm.server);
    mtx_deinit(&r->farm.mu);
    sink_deinit(&r->sink);
    char path[128];
    snprintf(path, sizeof(path), "%s/t.json", r->dir);
    unlink(path);
    rmdir(r->dir);
    mem_free(r);
    return 0;
}

/* $PORT and $DIR stand for themselves. */
static void configure(struct rig *r, const char *yaml)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    for (const char *p = yaml; *p;) {
        if (strncmp(p, "$PORT", 5) == 0) {
            buf_printf(&b, "%u", target_server_port(r->farm.server));
            p += 5;
        } else if (strncmp(p, "$DIR", 4) == 0) {
            buf_printf(&b, "%s", r->dir);
            p += 4;
        } else {
            buf_u8(&b, (uint8_t)*p++);
        }
    }
    struct prom_config *c;
    struct err_text et = { .msg = "" };
    if (prom_config_parse(STR("t.yml"), buf_str(&b), &c, NULL, &et) || scrape_reload(r->scrape, c, &et))
        fail_msg("%s", et.msg);
}
#define GLOBAL "global: {scrape_interval: 100ms, scrape_timeout: 90ms}\nscrape_configs:\n"
#define JOB(name, path, more) \
    "- job_name: " name "\n  metrics_path: " path "\n  static_configs: [{targets: ['127.0.0.1:$PORT']}]\n" more

static struct scrape_target_status status_of(struct rig *r, struct arena *a, const char *job)
{
    struct scrape_status st;
    scrape_status(r->scrape, str_c(job), STR("example.org"), a, &st);
    assert_int_equal(st.n_active, 1);
    return st.active[0];
}

/* ---- tests ---- */

static void good_target(void **state)
{
    struct rig *r = *state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    configure(r, GLOBAL JOB("j", "/ok", ""));
    wait_for(&r->sink, "a_total{", 4);
    wait_for(&r->sink, "scrape_series_added{", 4);
    char labels[100];
    snprintf(labels, sizeof(labels), "b{instance=\"127.0.0.1:%u\", job=\"j\", x=\"1\"}",
             target_server_port(r->farm.server));
    assert_true(peek(&r->sink, labels).last == 2.5);
    assert_true(peek(&r->sink, "up{").last == 1);
    assert_true(peek(&r->sink, "scrape_samples_scraped{").last == 3);
    assert_true(peek(&r->sink, "scrape_samples_post_metric_relabeling{").last == 3);
    assert_true(peek(&r->sink, "scrape_series_added{").first == 3);
    assert_true(peek(&r->sink, "scrape_series_added{").last == 0);
    assert_int_equal(r->sink.named, 8); /* each series was named once, however often it came */
    assert_int_equal(peek(&r->sink, "a_total{").last_ts_ms % 100, peek(&r->sink, "up{").last_ts_ms % 100);
    struct scrape_target_status t = status_of(r, &a, "j");
    assert_int_equal(t.health, SCRAPE_UP);
    assert_int_equal(t.last_error.n, 0);
    assert_true(str_has_suffix(t.scrape_url, STR("/ok")));
    assert_true(str_has_prefix(t.global_url, STR("http://example.org:")));
    assert_true(labels_has(t.discovered, STR("__address__")));
    struct scrape_target_metadata *m;
    size_t n;
    scrape_metadata(r->scrape, STR("a_total"), NULL, NULL, 0, &a, &m, &n);
    assert_int_equal(n, 1);
    assert_int_equal(m->meta.type, METRIC_COUNTER);
    assert_true(str_eq(m->meta.help, STR("As.")));
}

static void own_metrics(void **state)
{
    struct rig *r = *state;
    configure(r, GLOBAL JOB("'quo\"ted'", "/ok", ""));
    wait_for(&r->sink, "a_total{", 4);
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    stats_render(&out);
    static const char *const want[] = {
        "prometheus_target_scrape_pools 1\n",
        "prometheus_target_scrape_pool_targets{scrape_job=\"quo\\\"ted\"} 1\n",
        "prometheus_sd_discovered_targets{name=\"scrape\",config=\"quo\\\"ted\"} 1\n",
        "prometheus_target_interval_length_seconds_count{interval=\"100ms\"} ",
        "prometheus_target_scrapes_exceeded_sample_limit_total 0\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        if (!str_contains(buf_str(&out), str_c(want[i])))
            fail_msg("no %s in\n" STR_FMT, want[i], STR_ARG(buf_str(&out)));
}

/* One row per misbehaviour: up is 0, the reason is told, nothing else is stored. */
static const struct {
    const char *path, *more, *error;
} bad_targets[] = {
    { "/nowhere", "", "server returned HTTP status 404 Not Found" },
    { "/hang", "", "" },
    { "/lie", "", "" },
    { "/endless", "  body_size_limit: 100KB\n", "body size limit exceeded" },
    { "/bad", "", "line 2" },
    { "/ok", "  sample_limit: 2\n", "sample limit exceeded" },
    { "/labels", "  label_limit: 5\n", "label_limit exceeded" },
    { "/labels", "  label_name_length_limit: 3\n", "label_name_length_limit exceeded" },
    { "/labels", "  label_value_length_limit: 5\n", "label_value_length_limit exceeded" },
    { "/redirect", "  follow_redirects: false\n", "server returned HTTP status 302 Found" },
    { "/untyped", "", "" },
    { "/ok", "  metric_relabel_configs: [{target_label: __name__, replacement: ''}]\n", "missing metric name" },
    { "/ok", "  target_limit: 0\n  basic_auth: {username: a, password_file: /nonexistent/x}\n",
      "unable to read credentials" },
};
static void bad_targets_are_down(void **state)
{
    struct rig *r = *state;
    AUTO_BUF struct buf yaml;
    buf_init(&yaml, 0);
    buf_lit(&yaml, GLOBAL);
    for (size_t i = 0; i < ARRAY_LEN(bad_targets); i++)
        buf_printf(&yaml,
                   "- job_name: j%zu\n  metrics_path: %s\n  static_configs: [{targets: ['127.0.0.1:$PORT']}]\n%s", i,
                   bad_targets[i].path, bad_targets[i].more);
    buf_lit(&yaml, "- job_name: refused\n  static_configs: [{targets: ['127.0.0.1:1']}]\n");
    buf_lit(&yaml,
            "- job_name: limited\n  target_limit: 1\n  static_configs: [{targets: ['127.0.0.1:1', '127.0.0.1:2']}]\n");
    buf_u8(&yaml, 0);
    configure(r, yaml.p);
    for (size_t i = 0; i < ARRAY_LEN(bad_targets); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        char up[100], job[20], any[40];
        snprintf(up, sizeof(up), "up{instance=\"127.0.0.1:%u\", job=\"j%zu\"}", target_server_port(r->farm.server), i);
        snprintf(job, sizeof(job), "j%zu", i);
        snprintf(any, sizeof(any), "job=\"j%zu\"", i);
        wait_for(&r->sink, up, 2);
        if (peek(&r->sink, up).last != 0)
            fail_msg("row %zu: up", i);
        struct scrape_target_status t = status_of(r, &a, job);
        assert_int_equal(t.health, SCRAPE_DOWN);
        if (!t.last_error.n || !str_contains(t.last_error, str_c(bad_targets[i].error)))
            fail_msg("row %zu: " STR_FMT, i, STR_ARG(t.last_error));
        mtx_lock(&r->sink.mu);
        for (size_t k = 0; k < r->sink.series.n; k++)
            if (strstr(r->sink.series.p[k].name, any) && strncmp(r->sink.series.p[k].name, "up{", 3) != 0 &&
                strncmp(r->sink.series.p[k].name, "scrape_", 7) != 0)
                fail_msg("row %zu: %s was stored", i, r->sink.series.p[k].name);
        mtx_unlock(&r->sink.mu);
    }
    wait_for(&r->sink, "job=\"refused\"", 5);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct scrape_status st;
    wait_for(&r->sink, "job=\"limited\"", 10);
    scrape_status(r->scrape, STR("limited"), STR(""), &a, &st);
    assert_true(st.pools[0].over_target_limit);
    assert_true(str_contains(st.active[0].last_error, STR("target_limit exceeded (number of targets: 2, limit: 1)")));
}

/* A JSON line for each failure, at the end of what is there; jobs may share a file, and inherit it. */
static void failures_are_written_down(void **state)
{
    struct rig *r = *state;
    AUTO_ARENA struct arena a;
    char path[] = "/tmp/vane_failures_XXXXXX", yaml[1024];
    arena_init(&a, 0);
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "before\n", 7) == 7);
    close(fd);
    snprintf(yaml, sizeof(yaml),
             "global: {scrape_interval: 100ms, scrape_timeout: 90ms, scrape_failure_log_file: %s}\nscrape_configs:\n"
             "- {job_name: down, static_configs: [{targets: ['127.0.0.1:1']}]}\n"
             "- {job_name: gone, metrics_path: /nowhere, static_configs: [{targets: ['127.0.0.1:$PORT']}]}\n"
             "- {job_name: fine, metrics_path: /echo, static_configs: [{targets: ['127.0.0.1:$PORT']}]}\n",
             path);
    configure(r, yaml);
    wait_for(&r->sink, "job=\"gone\"", 15);
    wait_for(&r->sink, "job=\"down\"", 15);
    str text = STR_NONE;
    assert_int_equal(fs_read_file(fs_os(), path, 1 << 20, &a, &text, NULL), OK);
    assert_true(str_has_prefix(text, STR("before\n{\"time\":\"20")));
    assert_true(str_contains(text, STR("\"level\":\"ERROR\",\"msg\":\"server returned HTTP status 404 Not Found\","
                                       "\"job_name\":\"gone\",\"target\":\"http://127.0.0.1:")));
    assert_true(str_contains(text, STR("onnection refused")));
    assert_false(str_contains(text, STR("\"fine\"")));
    unlink(path);
}

static void a_slow_target_delays_no_other(void **state)
{
    struct rig *r = *state;
    AUTO_BUF struct buf yaml;
    buf_init(&yaml, 0);
    buf_lit(&yaml, "global: {scrape_interval: 5s, scrape_timeout: 5s}\nscrape_configs:\n- job_name: slow\n  "
                   "metrics_path: /hang\n  static_configs: [{targets: [");
    for (int i = 0; i < 60; i++) /* labels make them different targets */
        buf_printf(&yaml, "'127.0.0.1:$PORT'], labels: {n: '%d'}}, {targets: [", i);
    buf_lit(&yaml, "]}]\n  scrape_interval: 100ms\n  scrape_timeout: 100ms\n" JOB(
                       "fast", "/ok", "  scrape_interval: 100ms\n  scrape_timeout: 90ms\n"));
    buf_u8(&yaml, 0);
    configure(r, yaml.p);
    wait_for(&r->sink, "job=\"slow\"", 100);
    size_t before = peek(&r->sink, "a_total{").n;
    os_sleep_ms(500);
    assert_in_range(peek(&r->sink, "a_total{").n - before, 4, 6);
}

static void disappearing_series_get_markers(void **state)
{
    struct rig *r = *state;
    configure(r, GLOBAL JOB("j", "/gone", ""));
    wait_for(&r->sink, "goes{", 6);
    struct peek p = peek(&r->sink, "goes{");
    assert_in_range(p.stale, p.n / 2, (p.n + 1) / 2);
    assert_int_equal(peek(&r->sink, "stays{").stale, 0);
    configure(r, "scrape_configs: []\n"); /* the target goes */
    wait_until(peek(&r->sink, "stays{").last_stale && peek(&r->sink, "up{").last_stale);
    os_sleep_ms(250);
    assert_int_equal(peek(&r->sink, "stays{").stale, 1); /* exactly once */
    assert_int_equal(peek(&r->sink, "up{").stale, 1);
}

/* The cache rewrites itself under churn: what the store is told stays right. */
static void churn(void **state)
{
    struct rig *r = *state;
    configure(r, "global: {scrape_interval: 20ms, scrape_timeout: 20ms}\nscrape_configs:\n" JOB("j", "/churn", ""));
    for (int i = 0; i < 1500 && peek(&r->sink, "up{").n < 40; i++)
        os_sleep_ms(5);
    configure(r, "scrape_configs: []\n");
    wait_until(peek(&r->sink, "up{").last_stale);
    struct peek steady = peek(&r->sink, "steady{");
    assert_true(steady.n >= 40);
    assert_int_equal(steady.stale, 1);
    assert_true(steady.first == 5); /* of two lines of one series the first counts */
    mtx_lock(&r->sink.mu);
    for (size_t i = 0; i < r->sink.series.n; i++) {
        const struct seen_series *s = &r->sink.series.p[i];
        int n, round;
        const char *at = strstr(s->name, "round=\"");
        if (strncmp(s->name, "churn{", 6) != 0 || !at || sscanf(s->name, "churn{i=\"%d\"", &n) != 1 ||
            sscanf(at, "round=\"%d\"", &round) != 1)
            continue;
        assert_true(s->v.p[0].v == n);
        assert_true(is_stale(s->v.p[s->v.n - 1].v)); /* each ended, at the latest with its target */
        if (n % 2)
            assert_int_equal(s->v.n, 2);
    }
    mtx_unlock(&r->sink.mu);
}

static void a_failing_scrape_ends_its_series_once(void **state)
{
    struct rig *r = *state;
    configure(r, GLOBAL JOB("j", "/ok", ""));
    wait_for(&r->sink, "a_total{", 2);
    mtx_lock(&r->sink.mu);
    r->sink.answer = ERR_NO_SPACE;
    mtx_unlock(&r->sink.mu);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    wait_until(status_of(r, &a, "j").health == SCRAPE_DOWN);
    assert_true(str_contains(status_of(r, &a, "j").last_error, STR("could not be stored")));
    mtx_lock(&r->sink.mu);
    r->sink.answer = OK;
    mtx_unlock(&r->sink.mu);
    wait_until(status_of(r, &a, "j").health == SCRAPE_UP);
}

static void odd_expositions(void **state)
{
    struct rig *r = *state;
    configure(r, GLOBAL JOB("dup", "/dup", "") JOB("own", "/own", "") JOB("honor", "/own", "  honor_labels: true\n")
                     JOB("times", "/times", "") JOB("mytime", "/times", "  honor_timestamps: false\n")
                         JOB("om", "/openmetrics", "") JOB("zip", "/gzip", "")
                             JOB("fallback", "/untyped", "  fallback_scrape_protocol: PrometheusText0.0.4\n")
                                 JOB("redirect", "/redirect", "")
                                     JOB("relabel", "/ok",
                                         "  metric_relabel_configs: [{source_labels: [x], regex: '1', action: drop}, "
                                         "{regex: x, action: labeldrop}]\n"));
    struct peek d = wait_for(&r->sink, "twice{", 2);
    assert_true(d.last == 1); /* the first of two lines */
    wait_for(&r->sink, "exported_job=\"mine\", instance=\"127", 1);
    wait_for(&r->sink, "m{job=\"mine\"}", 1);
    wait_for(&r->sink, "job=\"times\"", 4);
    wait_for(&r->sink, "job=\"mytime\"", 4);
    mtx_lock(&r->sink.mu);
    for (size_t i = 0; i < r->sink.series.n; i++) {
        bool old = strncmp(r->sink.series.p[i].name, "old{", 4) == 0;
        if (old && strstr(r->sink.series.p[i].name, "\"times\""))
            assert_int_equal(r->sink.series.p[i].v.p[0].ts_ms, 1000);
        if (old && strstr(r->sink.series.p[i].name, "\"mytime\""))
            assert_true(r->sink.series.p[i].v.p[0].ts_ms > 1000000);
    }
    mtx_unlock(&r->sink.mu);
    wait_for(&r->sink, "c_total{", 1);
    mtx_lock(&r->sink.mu);
    for (size_t i = 0; i < r->sink.series.n; i++)
        if (strncmp(r->sink.series.p[i].name, "c_total{", 8) == 0)
            assert_true(r->sink.series.p[i].n_exemplars > 0);
    mtx_unlock(&r->sink.mu);
    wait_for(&r->sink, "zipped{", 1);
    wait_for(&r->sink, "u{", 1);
    char redirected[100];
    snprintf(redirected, sizeof(redirected), "a_total{instance=\"127.0.0.1:%u\", job=\"redirect\"}",
             target_server_port(r->farm.server));
    wait_for(&r->sink, redirected, 1);
    wait_for(&r->sink, "job=\"relabel\"", 8);
    assert_int_equal(peek(&r->sink, "job=\"relabel\", x=").n, 0);
}

/* The newest histogram of the first series whose labels contain the text. */
static void check_histogram(struct memory_sink *m, const char *text, const char *want)
{
    char got[300] = "none";
    mtx_lock(&m->mu);
    for (size_t i = 0; i < m->series.n; i++)
        if (strstr(m->series.p[i].name, text)) {
            memcpy(got, m->series.p[i].hist, sizeof(got));
            break;
        }
    mtx_unlock(&m->mu);
    assert_string_equal(got, want);
}

static void protobuf_histograms(void **state)
{
    struct rig *r = *state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
#define PROTO(name, path, more) JOB(name, path, "  scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0]\n" more)
#define HISTS                   "  scrape_native_histograms: true\n"
    configure(r,
              GLOBAL PROTO("native", "/protobuf", HISTS) PROTO("both", "/protobuf",
                                                               HISTS "  always_scrape_classic_histograms: true\n")
                  PROTO("classic", "/protobuf", "") PROTO("custom", "/protobuf",
                                                          "  convert_classic_histograms_to_nhcb: true\n")
                      PROTO("coarse", "/protobuf", HISTS "  native_histogram_bucket_limit: 2\n")
                          PROTO("factor", "/protobuf", HISTS "  native_histogram_min_bucket_factor: 1.9\n")
                              PROTO("refused", "/protobuf",
                                    "  convert_classic_histograms_to_nhcb: true\n  native_histogram_bucket_limit: 1\n")
                                  PROTO("gone", "/protogone", HISTS) JOB("asks", "/echo", HISTS));
    static const struct {
        const char *job, *want;
    } rows[] = {
        { "native", "{{schema:2 count:4 sum:6 z_bucket_w:0.001 buckets:[1 1 1 1]}}" },
        { "both", "{{schema:2 count:4 sum:6 z_bucket_w:0.001 buckets:[1 1 1 1]}}" },
        { "custom", "{{schema:-53 count:4 sum:6 custom_values:[1 2] buckets:[1 3]}}" },
        { "coarse", "{{count:4 sum:6 z_bucket_w:0.001 buckets:[1 3]}}" },
        { "factor", "{{count:4 sum:6 z_bucket_w:0.001 buckets:[1 3]}}" },
        { "gone", "{{schema:2 count:4 sum:6 z_bucket_w:0.001 buckets:[1 1 1 1]}}" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char series[100];
        snprintf(series, sizeof(series), "lat{instance=\"127.0.0.1:%u\", job=\"%s\"}",
                 target_server_port(r->farm.server), rows[i].job);
        wait_for(&r->sink, series, 3);
        check_histogram(&r->sink, series, rows[i].want);
    }
    wait_until(peek(&r->sink, "job=\"gone\"").stale > 0);
    assert_int_equal(peek(&r->sink, "job=\"native\", le=").n, 0);
    assert_true(wait_for(&r->sink, "job=\"both\", le=\"2.0\"", 2).last == 4);
    assert_true(wait_for(&r->sink, "job=\"classic\", le=\"+Inf\"", 2).last == 4);
    assert_true(str_contains(status_of(r, &a, "refused").last_error, STR("histogram bucket limit exceeded")));
    char up[100];
    snprintf(up, sizeof(up), "scrape_series_added{instance=\"127.0.0.1:%u\", job=\"both\"}",
             target_server_port(r->farm.server));
    assert_true(wait_for(&r->sink, up, 3).last == 0); /* remembered: nothing is new the second time */
    mtx_lock(&r->farm.mu);
    assert_non_null(
        strstr(r->farm.head,
               "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"));
    mtx_unlock(&r->farm.mu);
    mtx_lock(&r->sink.mu);
    for (size_t i = 0; i < r->sink.series.n; i++)
        if (strncmp(r->sink.series.p[i].name, "hits_total{", 11) == 0)
            assert_int_equal(r->sink.series.p[i].n_starts, r->sink.series.p[i].v.n);
    mtx_unlock(&r->sink.mu);
    struct scrape_target_metadata *m;
    size_t n;
    scrape_metadata(r->scrape, STR("lat"), NULL, NULL, 1, &a, &m, &n);
    assert_int_equal(m->meta.type, METRIC_HISTOGRAM);
    assert_true(str_eq(m->meta.help, STR("Latency.")));
}

static void classic_histograms_of_text(void **state)
{
    struct rig *r = *state;
    configure(r, GLOBAL JOB("one", "/classic", "  convert_classic_histograms_to_nhcb: true\n"));
    struct peek p = wait_for(&r->sink, "job=\"one\", z=\"2\"", 4);
    assert_in_range(p.stale, 1, p.n / 2 + 1); /* every second scrape lacks it */
    check_histogram(&r->sink, "job=\"one\", z=\"2\"", "{{schema:-53 count:1 sum:9 custom_values:[] buckets:[1]}}");
    char series[100];
    snprintf(series, sizeof(series), "t{instance=\"127.0.0.1:%u\", job=\"one\"}", target_server_port(r->farm.server));
    p = wait_for(&r->sink, series, 6);
    assert_int_equal(p.stale, 0);
    check_histogram(&r->sink, series, "{{schema:-53 count:3 sum:4 custom_values:[1] buckets:[2 1]}}");
    assert_int_equal(peek(&r->sink, "job=\"one\", le=").n, 0);
    configure(r, GLOBAL JOB("two", "/classic",
                            "  convert_classic_histograms_to_nhcb: true\n  always_scrape_classic_histograms: true\n"));
    wait_for(&r->sink, "job=\"two\", le=\"1.0\"", 4);
    wait_for(&r->sink, "after{", 4);
    mtx_lock(&r->sink.mu);
    for (size_t i = 0; i < r->sink.series.n; i++)
        if (strcmp(r->sink.series.p[i].name, series) == 0)
            assert_true(r->sink.series.p[i].n_exemplars > 0);
    mtx_unlock(&r->sink.mu);
}

static bool head_has(struct rig *r, const char *text)
{
    mtx_lock(&r->farm.mu);
    bool yes = strstr(r->farm.head, text);
    mtx_unlock(&r->farm.mu);
    return yes;
}
static void requests_carry_what_is_configured(void **state)
{
    struct rig *r = *state;
    configure(r, GLOBAL JOB("j", "/echo",
                            "  params: {module: [a b], z: ['1', '2']}\n  basic_auth: {username: u, password: p}\n  "
                            "http_headers: {X-Mine: {values: [yes please]}}\n"
                            "  relabel_configs: [{target_label: __param_module, replacement: c}]\n"));
    wait_for(&r->sink, "echo{", 1);
    static const char *const want[] = { "GET /echo?module=c&z=1&z=2 ",
                                        "Authorization: Basic dTpw\r\n",
                                        "X-Mine: yes please\r\n",
                                        "X-Prometheus-Scrape-Timeout-Seconds: 0.09\r\n",
                                        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,",
                                        "ccept-Encoding: gzip" };
    for (size_t i = 0; i < ARRAY_LEN(want); i++)
        if (!head_has(r, want[i]))
            fail_msg("no %s in the request", want[i]);
    configure(r, GLOBAL JOB("k", "/echo", "  authorization: {credentials: tok}\n  enable_compression: false\n"));
    wait_until(head_has(r, "Authorization: Bearer tok\r\n"));
    assert_false(head_has(r, "gzip"));
    configure(r, GLOBAL JOB("o", "/echo",
                            "  oauth2: {client_id: me, client_secret: s, token_url: 'http://127.0.0.1:$PORT/token'}\n"
                            "  scrape_interval: 1s\n  scrape_timeout: 1s\n"));
    wait_until(head_has(r, "Authorization: Bearer tok-oauth\r\n"));
    configure(
        r,
        GLOBAL JOB(
            "p", "/echo",
            "  scheme: https\n  proxy_url: 'http://127.0.0.1:$PORT'\n  proxy_connect_header: {X-Proxy: [let me]}\n"));
    wait_until(head_has(r, "CONNECT 127.0.0.1:") && head_has(r, "X-Proxy: let me\r\n"));
}

static void relabelling_chooses_targets(void **state)
{
    struct rig *r = *state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    configure(r, GLOBAL "- job_name: j\n  metrics_path: /ok\n  static_configs:\n  - targets: ['127.0.0.1:$PORT', "
                        "'127.0.0.1:$PORT', '127.0.0.1:2']\n"
                        "    labels: {zone: a, __meta_x: y}\n"
                        "  relabel_configs:\n  - {source_labels: [__address__], regex: '.*:2', action: drop}\n"
                        "  - {source_labels: [__meta_x], target_label: got}\n  - {target_label: __scrape_interval__, "
                        "replacement: 200ms}\n"
                        "  - {target_label: __scrape_timeout__, replacement: 150ms}\n");
    struct scrape_status st;
    scrape_status(r->scrape, STR(""), STR(""), &a, &st);
    assert_int_equal(st.n_active, 1); /* identical targets are one */
    assert_int_equal(st.n_dropped, 1);
    assert_true(str_eq(labels_get(st.active[0].labels, STR("got")), STR("y")));
    assert_false(labels_has(st.active[0].labels, STR("__meta_x")));
    assert_int_equal(st.active[0].interval_ms, 200);
    assert_int_equal(st.active[0].timeout_ms, 150);
    assert_int_equal(st.pools[0].n_dropped, 1);
}

static void reload_leaves_others_alone(void **state)
{
    struct rig *r = *state;
    configure(r, GLOBAL JOB("a", "/ok", "") JOB("b", "/dup", ""));
    wait_for(&r->sink, "a_total{", 2);
    wait_for(&r->sink, "twice{", 2);
    configure(r, GLOBAL JOB("b", "/dup", "  honor_labels: true\n") JOB("a", "/ok", "") JOB("c", "/gzip", ""));
    wait_for(&r->sink, "zipped{", 2);
    assert_int_equal(peek(&r->sink, "a_total{").stale, 0);
    wait_until(peek(&r->sink, "twice{").stale == 1); /* the changed one started anew */
    size_t n = peek(&r->sink, "twice{").n;
    wait_for(&r->sink, "twice{", n + 2);
}

static void put_file(struct rig *r, const char *text)
{
    char path[128], tmp[140];
    snprintf(path, sizeof(path), "%s/t.json", r->dir);
    snprintf(tmp, sizeof(tmp), "%s.new", path);
    FILE *f = fopen(tmp, "w");
    for (const char *p = text; *p; p++)
        if (strncmp(p, "$PORT", 5) == 0) {
            fprintf(f, "%u", target_server_port(r->farm.server));
            p += 4;
        } else {
            fputc(*p, f);
        }
    fclose(f);
    assert_int_equal(rename(tmp, path), 0);
}
static void files_are_watched(void **state)
{
    struct rig *r = *state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    put_file(r, "[{\"targets\": [\"127.0.0.1:$PORT\"], \"labels\": {\"v\": \"one\"}}]");
    configure(r, GLOBAL "- job_name: f\n  metrics_path: /ok\n  file_sd_configs: [{files: ['$DIR/*.json']}]\n");
    wait_for(&r->sink, "v=\"one\"", 1);
    assert_true(str_has_suffix(labels_get(status_of(r, &a, "f").discovered, STR("__meta_filepath")), STR("/t.json")));
    put_file(r, "[{\"targets\": [\"127.0.0.1:$PORT\"], \"labels\": {\"v\": \"two\"}}]");
    wait_for(&r->sink, "v=\"two\"", 1);
    wait_until(peek(&r->sink, "a_total{instance=\"127").stale == 1 || peek(&r->sink, "v=\"one\"").last_stale);
    put_file(r, "[{\"targets\": [3]}]"); /* a bad file changes nothing, and says so */
    struct scrape_status st;
    do {
        os_sleep_ms(20);
        scrape_status(r->scrape, STR(""), STR(""), &a, &st);
    } while (!st.pools[0].discovery_error.n);
    assert_true(str_contains(st.pools[0].discovery_error, STR("expected a target (string)")));
    assert_int_equal(st.n_active, 1);
    char path[128];
    snprintf(path, sizeof(path), "%s/t.json", r->dir);
    unlink(path);
    do {
        os_sleep_ms(20);
        scrape_status(r->scrape, STR(""), STR(""), &a, &st);
    } while (st.n_active);
}

static void http_endpoints_are_asked(void **state)
{
    struct rig *r = *state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    configure(r, GLOBAL "- job_name: h\n  metrics_path: /ok\n  http_sd_configs:\n  - {url: "
                        "'http://127.0.0.1:$PORT/sd', refresh_interval: 1s}\n"
                        "- job_name: wrong\n  http_sd_configs: [{url: 'http://127.0.0.1:$PORT/ok'}]\n");
    wait_for(&r->sink, "from=\"http\"", 2);
    assert_true(str_has_suffix(labels_get(status_of(r, &a, "h").discovered, STR("__meta_url")), STR("/sd")));
    struct scrape_status st;
    scrape_status(r->scrape, STR("wrong"), STR(""), &a, &st);
    assert_true(str_contains(st.pools[0].discovery_error, STR("unsupported content type")));
    /* the same discovery in another configuration keeps its answer: nothing blinks */
    configure(r, GLOBAL JOB("other", "/dup", "") "- job_name: h\n  metrics_path: /ok\n  http_sd_configs:\n"
                                                 "  - {url: 'http://127.0.0.1:$PORT/sd', refresh_interval: 1s}\n");
    wait_for(&r->sink, "twice{", 2);
    assert_int_equal(peek(&r->sink, "a_total{").stale, 0);
    configure(r, GLOBAL "- job_name: h\n  metrics_path: /ok\n  http_sd_configs:\n"
                        "  - {url: 'http://127.0.0.1:$PORT/sd', refresh_interval: 2s}\n");
    wait_for(&r->sink, "a_total{", peek(&r->sink, "a_total{").n + 4);
    assert_int_equal(peek(&r->sink, "a_total{").stale, 0);
}

int main(void)
{
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(good_target),
        T(own_metrics),
        T(bad_targets_are_down),
        T(failures_are_written_down),
        T(a_slow_target_delays_no_other),
        T(disappearing_series_get_markers),
        T(churn),
        T(a_failing_scrape_ends_its_series_once),
        T(odd_expositions),
        T(requests_carry_what_is_configured),
        T(relabelling_chooses_targets),
        T(reload_leaves_others_alone),
        T(files_are_watched),
        T(http_endpoints_are_asked),
        T(protobuf_histograms),
        T(classic_histograms_of_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
