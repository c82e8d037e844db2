/* Graphite and StatsD: the series in memory, and both listeners over loopback. */
#include "test.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/thread.h"
#include "compat/compat_int.h"
#include "model/histogram_math.h"

static void batch_print(struct buf *out, const struct batch *b)
{
    vec_each (const struct batch_series, s, &b->series) {
        labels_print(out, s->labels);
        if (s->n_hists)
            buf_printf(out, " hist %g/%g", s->hists[0].h->count, s->hists[0].h->sum);
        else if (is_stale(s->samples[0].v))
            buf_lit(out, " stale");
        else
            buf_printf(out, " %g", s->samples[0].v);
        buf_printf(out, " @%lld", (long long)(s->n_hists ? s->hists[0].ts_ms : s->samples[0].ts_ms));
        if (s->start_ms)
            buf_printf(out, " from %lld", (long long)s->start_ms[0]);
        buf_lit(out, "\n");
    }
}

/* ---- the table ---- */

static const struct compat_config config = { .statsd_idle_ms = 1000, .statsd_series_max = 5 };
static struct compat_config cfg;
static struct statsd_table *table;
static int table_open(void **state)
{
    (void)state;
    cfg = config;
    cfg.limits = WIRE_LIMITS_DEFAULT;
    table = statsd_table_new(&cfg);
    return 0;
}
static int table_close(void **state)
{
    (void)state;
    statsd_table_free(table);
    return 0;
}
static enum statsd_taken line(const char *text, int64_t now)
{
    return statsd_table_line(table, str_c(text), now);
}
static void flushed(int64_t now, const char *want)
{
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf b = { 0 };
    arena_init(&a, 0);
    struct batch out = { .a = &a };
    statsd_table_flush(table, now, &out);
    batch_print(&b, &out);
    assert_str(buf_str(&b), want);
}

static void counters(void **state)
{
    (void)state;
    assert_int_equal(line("c:1|c", 100), STATSD_TAKEN);
    assert_int_equal(line("c:2|c|@0.1", 100), STATSD_TAKEN);
    flushed(200, "c 21 @200 from 100\n");
    assert_int_equal(line("c:-1|c", 300), STATSD_MALFORMED);
    assert_int_equal(line("c:1|g", 300), STATSD_MALFORMED); /* another type than before */
    assert_int_equal(line("nonsense", 300), STATSD_MALFORMED);
    flushed(400, "c 21 @400 from 100\n"); /* goes on while idle ... */
    flushed(1400, "c stale @1400\n");     /* ... and ends */
    flushed(1500, "");
    assert_int_equal(line("c:1|c", 1600), STATSD_TAKEN);
    flushed(1700, "c 1 @1700 from 1600\n");
}

static void gauges_and_sets(void **state)
{
    (void)state;
    line("g:5|g", 1);
    line("g:+2|g", 1);
    line("g:-10|g", 1);
    flushed(2, "g -3 @2\n");
    line("g:4|g", 3);
    flushed(4, "g 4 @4\n");
    flushed(1500, "g stale @1500\n");
    line("u:a|s", 1600);
    line("u:b|s", 1600);
    line("u:a|s", 1600);
    flushed(1700, "u 2 @1700\n");
    flushed(1800, "u 0 @1800\n"); /* members of one interval */
}

static void histograms(void **state)
{
    (void)state;
    static const double ms[] = { 0, 0.001, 1, 250, 250, 1000, 1024000, 5e9 };
    char text[64];
    double sum = 0;
    for (size_t i = 0; i < ARRAY_LEN(ms); i++) {
        snprintf(text, sizeof(text), "t:%.17g|ms", ms[i]);
        assert_int_equal(line(text, 1), STATSD_TAKEN);
        sum += ms[i] / 1000;
    }
    assert_int_equal(line("t:1|ms|@0.5", 1), STATSD_TAKEN);
    assert_int_equal(line("t:-1|ms", 1), STATSD_MALFORMED);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch out = { .a = &a };
    statsd_table_flush(table, 2, &out);
    assert_int_equal(out.series.n, 1);
    const struct histogram *h = out.series.p[0].hists[0].h;
    assert_ok(histogram_validate(h, NULL));
    assert_true(h->count == 10 && h->zero_count == 1 && h->sum > sum + 0.0019 && h->sum < sum + 0.0021);
    struct hist_iter it; /* every value lies in its bucket: lower < v <= upper */
    struct hist_bucket b;
    double seen = 0;
    hist_iter_init(&it, h, HIST_ASCENDING);
    while (hist_iter_next(&it, &b)) {
        double n = 0;
        for (size_t i = 0; i < ARRAY_LEN(ms); i++)
            n += b.lower < 0                                         ? ms[i] == 0
                 : ms[i] / 1000 > b.lower && ms[i] / 1000 <= b.upper ? 1 + 2 * (ms[i] == 1)
                                                                     : 0;
        assert_true(n == b.count);
        seen += b.count;
    }
    assert_true(seen == h->count);
}

static void limits(void **state)
{
    (void)state;
    char text[64];
    for (int i = 0; i < 7; i++) {
        snprintf(text, sizeof(text), "c%d:1|c", i);
        assert_int_equal(line(text, 1), i < 5 ? STATSD_TAKEN : STATSD_DROPPED);
    }
    assert_int_equal(statsd_table_n(table), 5);
}

/* ---- listeners ---- */

static struct {
    struct mtx mu;
    struct buf text;
    int busy; /* how often append says so */
} sink;
static enum err append(void *ctx, const struct batch *b)
{
    (void)ctx;
    mtx_lock(&sink.mu);
    bool busy = sink.busy > 0;
    sink.busy -= busy;
    if (!busy)
        batch_print(&sink.text, b);
    mtx_unlock(&sink.mu);
    return busy ? ERR_BUSY : OK;
}
static bool sink_has(const char *want)
{
    for (int i = 0; i < 500; i++) {
        mtx_lock(&sink.mu);
        bool found = str_contains(buf_str(&sink.text), str_c(want));
        mtx_unlock(&sink.mu);
        if (found)
            return true;
        os_sleep_ms(10);
    }
    return false;
}
static int connected(int type, uint16_t port)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd = socket(AF_INET, type, 0);
    assert_int_equal(inet_pton(AF_INET, "127.0.0.1", &to.sin_addr), 1);
    assert_int_equal(connect(fd, (struct sockaddr *)(void *)&to, sizeof(to)), 0);
    return fd;
}
static void put(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

static void listeners(void **state)
{
    (void)state;
    struct compat *c;
    struct err_text why;
    struct compat_config cc = { .sink = { NULL, append },
                                .graphite = { true, STR("127.0.0.1"), 0 },
                                .statsd = { true, STR("127.0.0.1"), 0 },
                                .statsd_flush_ms = 50 };
    mtx_init(&sink.mu, 0);
    buf_init(&sink.text, 0);
    if (compat_open(&cc, &c, &why) != OK)
        fail_msg("%s", why.msg);
    sink.busy = 2; /* a store that is busy is asked again */
    int g = connected(SOCK_STREAM, compat_graphite_port(c)), s = connected(SOCK_DGRAM, compat_statsd_port(c));
    put(g, "a.b 1 1000\nbad line here now\nspl");
    assert_true(sink_has("a_b 1 @1000000\n"));
    put(g, "it;x=1 2 2000\n");
    assert_true(sink_has("split{x=\"1\"} 2 @2000000\n"));
    static char longer[10001];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = 0;
    put(g, longer);
    put(g, " 1 1\nafter 3 3\nlast 4 4");
    assert_true(sink_has("after 3 @3000\n"));
    close(g);
    assert_true(sink_has("last 4 @4000\n")); /* without its newline */
    put(s, "hits:1|c\nhits:2|c\n\nbad");
    assert_true(sink_has("hits 3 @"));
    put(s, "late:7|g");
    compat_close(c); /* what was sent is written */
    assert_true(str_contains(buf_str(&sink.text), STR("late 7 @")));
    assert_false(str_contains(buf_str(&sink.text), STR("xxx")));
    close(s);
    /* an address that is taken */
    assert_ok(compat_open(&cc, &c, &why));
    struct compat *second = NULL;
    struct compat_config again = cc;
    again.graphite.port = compat_graphite_port(c);
    assert_true(compat_open(&again, &second, &why) != OK);
    assert_true(str_contains(str_c(why.msg), STR("cannot listen on 127.0.0.1")));
    compat_close(c);
    buf_deinit(&sink.text);
    mtx_deinit(&sink.mu);
}

#define T(f) cmocka_unit_test_setup_teardown(f, table_open, table_close)
int main(void)
{
    const struct CMUnitTest tests[] = { T(counters), T(gauges_and_sets), T(histograms), T(limits),
                                        cmocka_unit_test(listeners) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
