/* Spans, samplers, holds: what ends in the queue, and what misuse does. */
#include "../../src/sdk/sdk_trace.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static vane_config config(void)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.otlp_endpoint = "http://127.0.0.1:9"; /* so that there is a queue */
    return c;
}

extern const struct sdk_module sdk_push_module;

/* The tests take from the queue themselves. */
static void begin(vane_config c)
{
    assert_int_equal(vane_start(&c), VANE_OK);
    sdk_push_module.stop();
}

/* The last record taken, in readable parts. */
static struct {
    struct sdk_span_rec head;
    char name[2048], status[2048], state[600];
    struct {
        char key[300], text[8192];
        int64_t i;
        uint8_t type;
        uint32_t n;
    } attr[200];
    char more[1 << 20];
} got;

static void keep(void *ctx, const struct sdk_span_rec *r)
{
    (void)ctx;
    const char *p = (const char *)(r + 1), *end = (const char *)r + r->size;
    memset(&got, 0, sizeof got);
    got.head = *r;
    memcpy(got.name, p, r->name_n), p += r->name_n;
    memcpy(got.status, p, r->status_n), p += r->status_n;
    memcpy(got.state, p, r->state_n), p += r->state_n;
    for (size_t i = 0; i < r->n_attrs; i++) {
        struct sdk_rec_attr a;
        memcpy(&a, p, sizeof a), p += sizeof a;
        memcpy(got.attr[i].key, p, a.key_n), p += a.key_n;
        got.attr[i].type = a.type;
        got.attr[i].n = a.n;
        if (a.type == VANE_T_STR || a.type == VANE_T_BYTES)
            memcpy(got.attr[i].text, p, a.n);
        else
            memcpy(&got.attr[i].i, p, 8);
        p += a.n;
    }
    memcpy(got.more, p, r->events_n + r->links_n), p += r->events_n + r->links_n;
    assert_true(p <= end && end - p < 8);
}

static bool take(void)
{
    return sdk_trace_take(keep, NULL);
}

static uint64_t self(size_t offset)
{
    vane_self_stats s = { .size = sizeof s };
    vane_self(&s);
    uint64_t v;
    memcpy(&v, (char *)&s + offset, 8);
    return v;
}
#define SELF(field) self(offsetof(vane_self_stats, field))

static void test_span(void **state)
{
    (void)state;
    begin(config());
    uint64_t before = sdk_unix_ns();
    vane_span s;
    memset(&s, 0xA5, sizeof s); /* need not be initialised */
    vane_span_start(&s, "charge card", VANE_SPAN_CLIENT);
    assert_ptr_equal(vane_span_current(), &s);
    assert_true(vane_span_recording(&s));
    vane_context c = vane_span_context(&s), now = vane_context_current();
    assert_true(vane_context_valid(&c) && c.flags == 3);
    assert_memory_equal(&c, &now, sizeof c);
    vane_span_set(&s, vane_str("a", "text"));
    vane_span_set(&s, vane_int("b", -5));
    vane_span_set(&s, vane_bool("c", 2));
    vane_span_set(&s, vane_f64("d", 0.5));
    vane_span_set(&s, vane_bytes("e", "\0\xFF", 2));
    vane_span_set(&s, vane_str("a", "replaced"));
    vane_span_set(&s, vane_strn("bad",
                                "\xFF"
                                "ab",
                                3));
    vane_span_status(&s, VANE_SPAN_ERROR, "declined");
    vane_span_status(&s, VANE_SPAN_UNSET, "x");
    {
        VANE_SPAN(inner, "inner");
        assert_ptr_equal(vane_span_current(), &inner);
        vane_context ic = vane_span_context(&inner);
        assert_memory_equal(ic.trace_id, c.trace_id, 16);
    }
    assert_true(take());
    assert_string_equal(got.name, "inner");
    assert_memory_equal(got.head.parent, c.span_id, 8);
    vane_span_rename(&s, "charge");
    assert_true(vane_span_end(&s) > 0);
    assert_null(vane_span_current());
    now = vane_context_current();
    assert_false(vane_context_valid(&now));
    assert_true(take());
    assert_string_equal(got.name, "charge");
    assert_int_equal(got.head.kind, VANE_SPAN_CLIENT);
    assert_int_equal(got.head.code, VANE_SPAN_ERROR);
    assert_string_equal(got.status, "declined");
    assert_int_equal(got.head.n_attrs, 6);
    assert_string_equal(got.attr[0].text, "replaced");
    assert_int_equal(got.attr[1].i, -5);
    assert_int_equal(got.attr[2].i, 1);
    assert_int_equal(got.attr[4].n, 2);
    assert_string_equal(got.attr[5].text, "\xEF\xBF\xBD"
                                          "ab");
    assert_true(got.head.start_unix_ns + 1000000 >= before && got.head.end_unix_ns <= sdk_unix_ns() + 1000000);
    assert_false(take());
    assert_int_equal(SELF(span_misuse), 0);
    vane_stop(0);
}

/* Copying goes in words that overlap: every length, and a byte that is no text at every place. */
static void test_text_of_any_length(void **state)
{
    (void)state;
    begin(config());
    static const char bad[] = { 0, '\xFF', '\x80' };
    for (size_t n = 0; n < 40; n++)
        for (size_t at = 0; at <= n; at++)
            for (size_t b = 0; b < sizeof bad; b++) {
                char value[40], want[200], key[41];
                for (size_t i = 0; i < n; i++)
                    key[i] = value[i] = (char)('a' + i % 26);
                key[n] = 0;
                if (at < n)
                    value[at] = bad[b];
                size_t want_n = sdk_text(want, sizeof want, value, n);
                vane_span s;
                vane_span_start(&s, "s", VANE_SPAN_INTERNAL);
                vane_span_set(&s, vane_strn("before", "12345678", 8));
                vane_span_set(&s, vane_strn("v", value, n));
                vane_span_set(&s, vane_str("after", "abc"));
                vane_attr measured = { .key = key, .key_n = (uint32_t)n, .type = VANE_T_INT, .v.i = 7 };
                if (n)
                    vane_span_set(&s, measured);
                vane_span_end(&s);
                assert_true(take());
                assert_int_equal(got.head.n_attrs, n ? 4 : 3);
                assert_string_equal(got.attr[0].text, "12345678");
                assert_int_equal(got.attr[1].n, want_n);
                assert_memory_equal(got.attr[1].text, want, want_n);
                assert_string_equal(got.attr[2].text, "abc");
                if (n)
                    assert_string_equal(got.attr[3].key, key);
            }
    vane_stop(0);
}

/* A value set again stays in its place, whatever its length and wherever it and the others lie. */
static void test_replaced_attributes(void **state)
{
    (void)state;
    begin(config());
    static const size_t lens[] = { 0, 3, 40, 300, 3000 };
    static char big[3001];
    memset(big, 'y', 3000);
    static const char *const keys[] = { "a", "bb", "key.three", "dddd", "another.key.that.is.longer", "f" };
    for (size_t first = 0; first < 5; first++)
        for (size_t then = 0; then < 5; then++)
            for (size_t which = 0; which < 6; which++) {
                vane_span s;
                vane_span_start(&s, "s", VANE_SPAN_INTERNAL);
                for (size_t i = 0; i < 6; i++)
                    vane_span_set(&s, i % 2 ? vane_int(keys[i], (int64_t)i) : vane_strn(keys[i], big, lens[first]));
                vane_span_set(&s, vane_strn(keys[which], big, lens[then]));
                vane_span_rename(&s, "renamed");
                vane_span_set(&s, vane_bool("last", 1));
                vane_span_end(&s);
                assert_true(take());
                assert_string_equal(got.name, "renamed");
                assert_int_equal(got.head.n_attrs, 7);
                for (size_t i = 0; i < 6; i++) {
                    assert_string_equal(got.attr[i].key, keys[i]);
                    assert_int_equal(got.attr[i].n, i == which ? lens[then] : i % 2 ? 8 : lens[first]);
                    if (i % 2 && i != which)
                        assert_int_equal(got.attr[i].i, i);
                    else
                        assert_memory_equal(got.attr[i].text, big, got.attr[i].n);
                }
                assert_string_equal(got.attr[6].key, "last");
            }
    assert_int_equal(SELF(span_limits), 0);
    vane_stop(0);
}

static void test_many_attributes_and_limits(void **state)
{
    (void)state;
    vane_config cfg = config();
    cfg.span_attributes_max = 100;
    cfg.span_events_max = 3;
    cfg.span_links_max = 2;
    cfg.attribute_bytes_max = 1000;
    begin(cfg);
    static char keys[120][8], big[5000];
    memset(big, 'x', sizeof big - 1);
    vane_span s;
    vane_span_start(&s, NULL, (vane_span_kind)77);
    for (int i = 0; i < 120; i++) {
        snprintf(keys[i], sizeof keys[i], "k%d", i);
        vane_span_set(&s, i % 2 ? vane_str(keys[i], big + sizeof big - 1 - i * 9) : vane_int(keys[i], i));
    }
    vane_span_set(&s, vane_str("k1", big));
    vane_span_set(&s, vane_str(NULL, "x"));
    vane_span_set(&s, vane_str("", "x"));
    vane_attr none = { .key = "none" };
    vane_span_set(&s, none);
    vane_context to = vane_span_context(&s);
    for (int i = 0; i < 5; i++) {
        vane_attr a[2] = { vane_int("n", i), vane_str("s", "v") };
        vane_span_event(&s, "event", a, 2);
        vane_span_link(&s, &to, a, 2);
    }
    vane_span_link(&s, NULL, NULL, 0);
    vane_span_exception(&s, "E", NULL, NULL);
    vane_span_end(&s);
    assert_true(take());
    assert_int_equal(got.head.kind, VANE_SPAN_INTERNAL);
    assert_string_equal(got.name, "");
    assert_int_equal(got.head.n_attrs, 100);
    assert_int_equal(got.head.dropped_attrs, 20);
    assert_int_equal(got.head.dropped_events, 3);
    assert_int_equal(got.head.dropped_links, 3);
    assert_int_equal(got.attr[1].n, 1000);
    for (int i = 2; i < 100; i++)
        if (i % 2)
            assert_int_equal(got.attr[i].n, i * 9);
        else
            assert_int_equal(got.attr[i].i, i);
    assert_int_equal(SELF(span_limits), 26);
    assert_int_equal(SELF(bad_values), 3);
    assert_int_equal(SELF(cut_strings), 1);
    vane_stop(0);
}

static void test_misuse(void **state)
{
    (void)state;
    vane_span s = { { 0 } }, copy;
    assert_int_equal(vane_span_end(&s), 0); /* before start: nothing */
    vane_span_start(&s, "early", VANE_SPAN_INTERNAL);
    vane_span_end(&s);
    begin(config());
    assert_int_equal(vane_span_end(NULL), 0);
    vane_span_start(NULL, "x", VANE_SPAN_INTERNAL);
    vane_span_start_opts(NULL, "x", NULL);
    vane_span_set(NULL, vane_int("a", 1));
    vane_span_init(&s);
    vane_span_end(&s);                   /* 1: never started */
    vane_span_set(&s, vane_int("a", 1)); /* 2 */
    vane_span_start(&s, "x", VANE_SPAN_INTERNAL);
    copy = s;
    vane_span_end(&copy); /* 3: not the span, but a copy */
    vane_span_end(&s);
    vane_span_end(&s);                   /* 4: twice */
    vane_span_set(&s, vane_int("a", 1)); /* 5: after its end */
    vane_span_event(&s, "x", NULL, 0);   /* 6 */
    assert_int_equal(SELF(span_misuse), 6);
    assert_true(take());
    assert_false(take());
    /* A span that is never ended: the end of its parent repairs. An end out of order does not disturb. */
    vane_span a, b, c;
    vane_span_start(&a, "a", VANE_SPAN_INTERNAL);
    vane_span_start(&b, "b", VANE_SPAN_INTERNAL);
    vane_span_end(&a);
    assert_null(vane_span_current());
    vane_span_start(&c, "c", VANE_SPAN_INTERNAL);
    vane_span_end(&b);
    assert_ptr_equal(vane_span_current(), &c);
    vane_span_end(&c);
    assert_null(vane_span_current());
    vane_span open;
    vane_span_start(&open, "over the stop", VANE_SPAN_INTERNAL);
    vane_span_event(&open, "x", NULL, 0);
    vane_stop(0);
    assert_null(vane_span_current());
    vane_span_end(&open); /* its memory is freed, nothing is queued */
    assert_int_equal(vane_span_recording(&open), 0);
}

static void *end_elsewhere(void *p)
{
    vane_span own;
    vane_span_start(&own, "own", VANE_SPAN_INTERNAL);
    vane_span_end(p);
    assert_ptr_equal(vane_span_current(), &own);
    vane_span_end(&own);
    return NULL;
}

static void test_threads_and_contexts(void **state)
{
    (void)state;
    begin(config());
    vane_span parent, s;
    pthread_t t;
    vane_span_start(&parent, "parent", VANE_SPAN_SERVER);
    vane_span_start(&s, "travels", VANE_SPAN_INTERNAL);
    pthread_create(&t, NULL, end_elsewhere, &s);
    pthread_join(t, NULL);
    assert_null(vane_span_current()); /* s is over */
    vane_span_end(&parent);
    assert_null(vane_span_current());
    while (take())
        ;
    /* attach hides the span, detach shows it again */
    vane_span_start(&parent, "parent", VANE_SPAN_SERVER);
    vane_context other = { .trace_id = { 1 }, .span_id = { 2 }, .flags = 1, .remote = 1 }, before;
    before = vane_context_attach(&other);
    assert_null(vane_span_current());
    vane_span_start(&s, "child of other", VANE_SPAN_INTERNAL);
    vane_context c = vane_span_context(&s);
    assert_memory_equal(c.trace_id, other.trace_id, 16);
    vane_span_end(&s);
    vane_context_detach(before);
    assert_ptr_equal(vane_span_current(), &parent);
    vane_span_end(&parent);
    assert_true(take());
    assert_true(got.head.parent_remote);
    assert_true(take());
    /* explicit parents, not current, given times */
    vane_attr attr = vane_str("k", "v");
    vane_span_opts o = { .size = sizeof o,
                         .kind = VANE_SPAN_CONSUMER,
                         .parent = &other,
                         .start_unix_ns = 5000,
                         .attrs = &attr,
                         .n_attrs = 1,
                         .links = &other,
                         .n_links = 1,
                         .not_current = 1 };
    vane_span_start_opts(&s, "async", &o);
    assert_null(vane_span_current());
    vane_span_end_at(&s, 4000);
    assert_true(take());
    assert_int_equal(got.head.start_unix_ns, 5000);
    assert_int_equal(got.head.end_unix_ns, 5000);
    assert_int_equal(got.head.n_attrs, 1);
    assert_true(got.head.links_n > 26);
    vane_stop(0);
}

static void test_unsampled(void **state)
{
    (void)state;
    vane_config c = config();
    c.sampler = VANE_SAMPLER_PARENT_OFF;
    begin(c);
    vane_span root, child;
    vane_span_start(&root, "root", VANE_SPAN_SERVER);
    vane_context rc = vane_span_context(&root);
    assert_true(vane_context_valid(&rc) && !(rc.flags & 1));
    assert_null(vane_span_current());
    vane_span_start(&child, "child", VANE_SPAN_INTERNAL);
    vane_span_set(&child, vane_int("a", 1));
    vane_context cc = vane_span_context(&child);
    assert_memory_equal(cc.trace_id, rc.trace_id, 16);
    assert_int_equal(vane_span_end(&child), 0);
    vane_span_end(&child);
    assert_int_equal(SELF(span_misuse), 1);
    vane_span_end(&root);
    rc = vane_context_current();
    assert_false(vane_context_valid(&rc));
    /* a sampled remote parent is followed */
    vane_context remote = { .trace_id = { 9 }, .span_id = { 9 }, .flags = 1, .remote = 1 };
    vane_span_opts o = { .size = sizeof o, .parent = &remote };
    vane_span_start_opts(&root, "r", &o);
    assert_true(vane_span_recording(&root));
    vane_span_end(&root);
    assert_true(take());
    assert_false(take());
    vane_stop(0);
}

static unsigned roots(const char *name, unsigned n)
{
    unsigned yes = 0;
    for (unsigned i = 0; i < n; i++) {
        vane_span s;
        vane_span_start(&s, name, VANE_SPAN_SERVER);
        yes += (unsigned)vane_span_recording(&s);
        vane_span_end(&s);
        take();
    }
    return yes;
}

static void test_samplers(void **state)
{
    (void)state;
    vane_config c = config();
    c.sampler = VANE_SAMPLER_RATIO;
    c.sample_rate = 0.25;
    begin(c);
    unsigned yes = roots("x", 20000);
    assert_true(yes > 4700 && yes < 5300); /* 5000 +- 5 sigma */
    uint8_t low[16] = { [9] = 0xBF, [10] = 0xFF }, high[16] = { [9] = 0xC0 };
    assert_false(sdk_sample_root(low, "x", NULL, 0).sampled); /* the last 7 bytes against 3/4 */
    assert_true(sdk_sample_root(high, "x", NULL, 0).sampled);
    vane_stop(0);
    c = config();
    c.sampler = VANE_SAMPLER_RATE_LIMITED;
    c.sample_per_second = 20;
    begin(c);
    uint64_t since = sdk_mono_ns();
    yes = roots("x", 20000); /* the bucket holds 20, and 20 come a second */
    assert_true(yes >= 20 && yes <= 40 + 20 * ((sdk_mono_ns() - since) / 1000000000u));
    vane_stop(0);
}

static void test_jaeger_strategies(void **state)
{
    (void)state;
    vane_config c = config();
    c.sampler = VANE_SAMPLER_JAEGER_REMOTE;
    begin(c);
    assert_true(roots("x", 200) < 20);
    static const char *const bad[] = { "",
                                       "{}",
                                       "[]",
                                       "nonsense",
                                       "{\"probabilisticSampling\":{\"samplingRate\":2}}",
                                       "{\"probabilisticSampling\":{\"samplingRate\":1}} x",
                                       "{\"probabilisticSampling\":{\"samplingRate\":1}",
                                       "{\"rateLimitingSampling\":{\"maxTracesPerSecond\":\"5\"}}" };
    for (size_t i = 0; i < SDK_COUNT_OF(bad); i++)
        assert_false(sdk_sample_remote(bad[i], strlen(bad[i])));
    char deep[400];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    assert_false(sdk_sample_remote(deep, sizeof deep));
    static const char all[] = "{\"strategyType\":\"PROBABILISTIC\",\"probabilisticSampling\":{\"samplingRate\":1}}",
                      limited[] = "{\"strategyType\":1,\"rateLimitingSampling\":{\"maxTracesPerSecond\":5}}",
                      per[] =
                          "{\"strategyType\":0,\"probabilisticSampling\":{\"samplingRate\":0.5},\"operationSampling\":{"
                          "\"perOperationStrategies\":[{\"operation\":\"always\",\"probabilisticSampling\":{"
                          "\"samplingRate\":1.0}},{\"operation\":\"never\",\"probabilisticSampling\":{\"samplingRate\""
                          ":0}}],\"defaultSamplingProbability\":0.5,\"defaultLowerBoundTracesPerSecond\":2}}";
    assert_true(sdk_sample_remote(all, strlen(all)));
    assert_int_equal(roots("x", 100), 100);
    assert_true(sdk_sample_remote(limited, strlen(limited)));
    unsigned yes = roots("x", 1000);
    assert_true(yes >= 5 && yes <= 10);
    assert_true(sdk_sample_remote(per, strlen(per)));
    assert_int_equal(roots("always", 100), 100);
    yes = roots("never", 1000); /* the lower bound */
    assert_true(yes >= 2 && yes <= 6);
    yes = roots("other", 2000);
    assert_true(yes > 850 && yes < 1150);
    vane_stop(0);
}

static void trace_of(bool failed, bool slow, unsigned children)
{
    vane_span root, child;
    vane_span_start(&root, "GET /slow", VANE_SPAN_SERVER);
    for (unsigned i = 0; i < children; i++) {
        vane_span_start(&child, "child", VANE_SPAN_INTERNAL);
        assert_true(vane_span_recording(&child));
        vane_span_end(&child);
    }
    if (failed)
        vane_span_status(&root, VANE_SPAN_ERROR, "no");
    if (slow)
        usleep(30000);
    vane_span_end(&root);
}

static unsigned drain(void)
{
    unsigned n = 0;
    while (take())
        n++;
    return n;
}

static void test_rules(void **state)
{
    (void)state;
    vane_config c = config();
    c.sampler = VANE_SAMPLER_RULES;
    assert_int_equal(vane_sampler_rules(NULL, 0), VANE_E_STATE);
    begin(c);
    vane_sampler_rule bad = { .ratio = 2 }, rules[] = {
        { .name = "GET /health*", .ratio = 0 },
        { .attr_key = "user", .attr_value = "7", .ratio = 1 },
        { .ratio = 0, .keep_errors = 1, .keep_slow_s = 0.02 },
    };
    assert_int_equal(vane_sampler_rules(&bad, 1), VANE_E_ARG);
    assert_int_equal(vane_sampler_rules(rules, 65), VANE_E_LIMIT);
    assert_int_equal(vane_sampler_rules(NULL, 1), VANE_E_ARG);
    assert_int_equal(vane_sampler_rules(rules, 3), VANE_OK);
    assert_int_equal(roots("GET /health/live", 50), 0);
    vane_attr user = vane_int("user", 7);
    vane_span_opts o = { .size = sizeof o, .attrs = &user, .n_attrs = 1 };
    vane_span s;
    vane_span_start_opts(&s, "x", &o);
    assert_true(vane_span_context(&s).flags & 1);
    vane_span_end(&s);
    assert_int_equal(drain(), 1);
    trace_of(false, false, 3);
    assert_int_equal(drain(), 0);
    trace_of(true, false, 3);
    assert_int_equal(drain(), 4);
    trace_of(false, true, 1);
    assert_int_equal(drain(), 2);
    trace_of(true, false, 600); /* 512 are kept; the root comes too late */
    assert_int_equal(drain(), 512);
    vane_stop(0);
}

static void test_queue_full_and_fork(void **state)
{
    (void)state;
    vane_config c = config();
    c.span_queue_max = 10;
    begin(c);
    for (int i = 0; i < 15; i++) {
        VANE_SPAN(s, "x");
        if (i % 2)
            for (int k = 0; k < 9; k++)
                vane_span_event(&s, "an event that does not fit in the slot", NULL, 0);
    }
    assert_int_equal(SELF(spans_dropped), 5);
    assert_int_equal(sdk_trace_waiting(), 10);
    pid_t pid = fork();
    if (!pid) { /* the child has nothing of the parent's, and a queue that works */
        bool ok = !sdk_trace_take(keep, NULL);
        vane_span s;
        vane_span_start(&s, "child", VANE_SPAN_INTERNAL);
        vane_span_end(&s);
        ok = ok && sdk_trace_take(keep, NULL) && !strcmp(got.name, "child");
        _exit(ok ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(drain(), 10);
    for (int lap = 0; lap < 100; lap++) {
        assert_int_equal(roots("x", 7), 7);
        assert_int_equal(drain(), 0);
    }
    vane_stop(0);
}

static void test_no_memory(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t k = 1; failed && k < 100; k++) {
        begin(config());
        atomic_store(&sdk_alloc_fail_at, k);
        vane_span s;
        vane_span_start(&s, "x", VANE_SPAN_INTERNAL);
        for (int i = 0; i < 20; i++) {
            static const char keys[20][3] = { "a", "b", "c", "d", "e", "f", "g", "h", "i", "j",
                                              "k", "l", "m", "n", "o", "p", "q", "r", "s", "t" };
            vane_span_set(&s, vane_str(keys[i], "some text that fills the space of the span"));
        }
        vane_span_event(&s, "e", NULL, 0);
        vane_span_end(&s);
        failed = atomic_load(&sdk_alloc_fail_at) == 0;
        atomic_store(&sdk_alloc_fail_at, 0);
        drain();
        vane_stop(0);
    }
    assert_false(failed);
}

static void *storm(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        VANE_SPAN(a, "outer");
        vane_span_set(&a, vane_int("i", i));
        VANE_SPAN(b, "inner");
        vane_span_set(&b, vane_str("s", "value"));
        if (i % 64 == 0)
            vane_span_exception(&b, "type", "message", "stack");
        if (arg)
            take();
    }
    return NULL;
}

static void count_one(void *ctx, const struct sdk_span_rec *r)
{
    assert_true(r->size >= sizeof *r && r->n_attrs == 1);
    ++*(uint64_t *)ctx;
}

static void test_stress(void **state)
{
    (void)state;
    vane_config c = config();
    c.span_queue_max = 64;
    begin(c);
    pthread_t t[8];
    for (size_t i = 0; i < SDK_COUNT_OF(t); i++)
        pthread_create(&t[i], NULL, storm, NULL);
    uint64_t n = 0;
    while (SELF(spans_started) < 8 * 40000)
        while (sdk_trace_take(count_one, &n))
            ;
    for (size_t i = 0; i < SDK_COUNT_OF(t); i++)
        pthread_join(t[i], NULL);
    while (sdk_trace_take(count_one, &n))
        ;
    assert_int_equal(n + SELF(spans_dropped), 8 * 40000); /* none twice, none lost */
    vane_stop(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_span),
        cmocka_unit_test(test_text_of_any_length),
        cmocka_unit_test(test_replaced_attributes),
        cmocka_unit_test(test_many_attributes_and_limits),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_threads_and_contexts),
        cmocka_unit_test(test_unsampled),
        cmocka_unit_test(test_samplers),
        cmocka_unit_test(test_jaeger_strategies),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_queue_full_and_fork),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_stress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
