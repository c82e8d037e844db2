/* Contexts into and out of headers: the tables of conformance/traces (W3C trace context's own harness, B3), baggage,
 * Jaeger's header, environments, hostile values. */
#include "test.h"

#include "../../src/sdk/sdk_trace.h"
#include "json_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

struct headers {
    struct {
        char name[64], value[16384];
        size_t n;
    } h[80];
    size_t n;
};

static const char *get(void *ctx, const char *name, size_t index, size_t *ret_n)
{
    struct headers *x = ctx;
    for (size_t i = 0; i < x->n; i++)
        if (!strcasecmp(x->h[i].name, name) && index-- == 0) {
            *ret_n = x->h[i].n;
            return x->h[i].value;
        }
    return NULL;
}

static void put(struct headers *x, const char *name, const char *value, size_t n)
{
    snprintf(x->h[x->n].name, sizeof x->h[0].name, "%s", name);
    memcpy(x->h[x->n].value, value, n);
    x->h[x->n].value[n] = 0;
    x->h[x->n++].n = n;
}

static void set(void *ctx, const char *name, const char *value)
{
    put(ctx, name, value, strlen(value));
}

static const char *value_of(struct headers *x, const char *name)
{
    size_t n;
    const char *v = get(x, name, 0, &n);
    return v ? v : "";
}

static struct headers in, out;

static void begin(const char *propagators)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.propagators = propagators;
    assert_int_equal(vane_start(&c), VANE_OK);
}

static uint64_t refused(void)
{
    vane_self_stats s = { .size = sizeof s };
    vane_self(&s);
    return s.headers_refused;
}

static vane_context extract(void)
{
    vane_context c;
    assert_int_equal(vane_extract(get, &in, &c), VANE_OK);
    return c;
}

/* What a service does: a server span below what came in; what it then sends. */
static vane_context serve(void)
{
    vane_context c = extract(), own;
    vane_span s;
    vane_span_opts o = { .size = sizeof o, .kind = VANE_SPAN_SERVER, .parent = &c };
    vane_span_start_opts(&s, "serve", &o);
    out.n = 0;
    vane_inject(NULL, set, &out);
    own = vane_span_context(&s);
    vane_span_end(&s);
    vane_context_release(c);
    return own;
}

static void load(const struct jt *list)
{
    in.n = 0;
    for (size_t i = 0; list && i < list->kids.n; i++) {
        str name = jt_str(list->kids.p[i]->kids.p[0]), value = jt_str(list->kids.p[i]->kids.p[1]);
        char text[64];
        snprintf(text, sizeof text, STR_FMT, STR_ARG(name));
        put(&in, text, value.p, value.n);
    }
}

/* The value of a member of the tracestate sent, or NULL. */
static bool member(const char *state, str key, str *ret)
{
    str rest = str_c(state), item;
    while (str_cut(&rest, ',', &item)) {
        str k;
        if (str_cut(&item, '=', &k) && str_eq(k, key)) {
            *ret = item;
            return true;
        }
    }
    return false;
}

static bool w3c_case(const struct jt *c)
{
    const struct jt *e = jt_get(c, "expect"), *x;
    load(jt_get(c, "headers"));
    serve();
    char traceparent[80], trace[33];
    snprintf(traceparent, sizeof traceparent, "%s", value_of(&out, "traceparent"));
    const char *state = value_of(&out, "tracestate");
    vane_context sent;
    bool ok = vane_traceparent_parse(traceparent, strlen(traceparent), &sent) == VANE_OK;
    vane_context_hex(&sent, trace, NULL);
    str v, id = jt_str(jt_get(e, "trace_id"));
    ok &= !id.p || str_eq(id, str_c(trace));
    x = jt_get(e, "trace_id_not");
    for (size_t i = 0; x && i < x->kids.n; i++)
        ok &= !str_eq(x->kids.p[i]->text, str_c(trace));
    x = jt_get(e, "tracestate");
    for (size_t i = 0; x && i < x->kids.n; i++)
        ok &= member(state, x->kids.p[i]->key, &v) && str_eq(v, x->kids.p[i]->text);
    x = jt_get(e, "tracestate_has");
    for (size_t i = 0; x && i < x->kids.n; i++)
        ok &= member(state, x->kids.p[i]->text, &v);
    x = jt_get(e, "tracestate_lacks");
    for (size_t i = 0; x && i < x->kids.n; i++)
        ok &= !member(state, x->kids.p[i]->text, &v);
    if (jt_get(e, "tracestate_members")) {
        size_t n = *state != 0;
        for (const char *p = state; *p; p++)
            n += *p == ',';
        ok &= n == (size_t)jt_num(jt_get(e, "tracestate_members"));
    }
    if (jt_get(e, "tracestate_text"))
        ok &= strstr(state, "foo=1") != NULL;
    if (!ok)
        print_message("# " STR_FMT ": sent %s, %s\n", STR_ARG(jt_str(jt_get(c, "test"))), traceparent, state);
    return ok;
}

static bool b3_case(const struct jt *c)
{
    const struct jt *e = jt_get(c, "expect"), *sampled = jt_get(e, "sampled");
    load(jt_get(c, "headers"));
    vane_context x = extract();
    char trace[33], span[17];
    vane_context_hex(&x, trace, span);
    bool want = jt_is(jt_get(e, "valid"), JSON_TOK_TRUE), ok = true;
    bool usable = vane_context_valid(&x) || (x.flags & SDK_CTX_DECIDED);
    str id = jt_str(jt_get(e, "trace_id")), sid = jt_str(jt_get(e, "span_id"));
    ok &= want == usable;
    ok &= !id.p || str_eq(id, str_c(trace + (32 - id.n)));
    ok &= !sid.p || str_eq(sid, str_c(span));
    if (want) {
        bool deferred = jt_is(sampled, JSON_TOK_NULL);
        ok &= deferred == ((x.flags & SDK_CTX_DEFERRED) != 0);
        ok &= deferred || jt_is(sampled, JSON_TOK_TRUE) == ((x.flags & 1) != 0);
        ok &= jt_is(jt_get(e, "debug"), JSON_TOK_TRUE) == ((x.flags & SDK_CTX_DEBUG) != 0);
    }
    if (!ok)
        print_message("# b3 case with %s=%s fails\n", in.n ? in.h[0].name : "", in.n ? in.h[0].value : "");
    return ok;
}

static void run_table(const char *file, const char *propagators, bool (*fn)(const struct jt *c))
{
    const char *dir = getenv("VANE_CONFORMANCE");
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    char path[1024];
    snprintf(path, sizeof path, "%s/traces/%s", dir ? dir : "/nonexistent", file);
    const struct jt *cases = jt_load(&a, path);
    if (!cases) {
        print_message("# %s is not there\n", path);
        skip();
    }
    begin(propagators);
    size_t failed = 0;
    for (size_t i = 0; i < cases->kids.n; i++)
        failed += !fn(cases->kids.p[i]);
    vane_stop(0);
    print_message("# %zu cases, %zu failed\n", cases->kids.n, failed);
    assert_true(cases->kids.n > 10);
    assert_int_equal(failed, 0);
}

static void test_w3c(void **state)
{
    (void)state;
    run_table("w3c_tracecontext.json", "tracecontext", w3c_case);
}

static void test_b3(void **state)
{
    (void)state;
    run_table("b3.json", "b3", b3_case);
    run_table("b3.json", "b3multi", b3_case);
}

static void in1(const char *name, const char *value)
{
    in.n = 0;
    set(&in, name, value);
}

static void test_round_trips(void **state)
{
    (void)state;
    static const char *const all[] = { "tracecontext,baggage", "b3", "b3multi", " jaeger , baggage" };
    for (size_t i = 0; i < SDK_COUNT_OF(all); i++) {
        begin(all[i]);
        for (unsigned flags = 0; flags < 2; flags++) {
            vane_context c = { .trace_id = "0123456789abcde", .span_id = "spanid!", .flags = (uint8_t)flags };
            in.n = 0;
            assert_int_equal(vane_inject(&c, set, &in), VANE_OK);
            vane_context back = extract();
            assert_memory_equal(back.trace_id, c.trace_id, 16);
            assert_memory_equal(back.span_id, c.span_id, 8);
            assert_int_equal(back.flags, flags);
            assert_int_equal(back.remote, 1);
        }
        vane_stop(0);
    }
    /* The sampler decides when the sender has not, and follows when it has. */
    vane_config cfg = VANE_CONFIG_INIT;
    cfg.ignore_environment = VANE_ON;
    cfg.propagators = "b3,jaeger,nonsense";
    cfg.sampler = VANE_SAMPLER_PARENT_OFF;
    assert_int_equal(vane_start(&cfg), VANE_OK);
    in1("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1");
    assert_int_equal(serve().flags & 1, 0);
    in1("b3", "1");
    assert_int_equal(serve().flags & 1, 1);
    in1("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-d");
    serve();
    assert_int_equal(strcmp(value_of(&out, "b3") + 49, "-d"), 0);
    in1("uber-trace-id", "a%3Ab%3A0%3A3");
    vane_context c = serve();
    assert_int_equal(c.trace_id[15], 10);
    assert_true(c.flags & 1);
    uint64_t before = refused();
    static const char *const bad[] = { "a:b:0",  "a:b:0:1:2", "0:b:0:1", "a:0:0:1",
                                       ":b:0:1", "a:b:0:",    "x:b:0:1", "123456789012345678901234567890123:b:0:1" };
    for (size_t i = 0; i < SDK_COUNT_OF(bad); i++) {
        in1("uber-trace-id", bad[i]);
        c = extract();
        assert_false(vane_context_valid(&c));
    }
    assert_int_equal(refused() - before, SDK_COUNT_OF(bad));
    vane_stop(0);
}

static int count(void *ctx, const char *key, const char *value)
{
    (void)key, (void)value;
    return ++*(int *)ctx == 3;
}

static void test_baggage(void **state)
{
    (void)state;
    vane_context c = { .flags = 0 }, d;
    char buf[256];
    d = vane_baggage_with(c, "k", "v", NULL); /* not running */
    assert_int_equal(d.extra, 0);
    begin("tracecontext,baggage,jaeger");
    c = vane_baggage_with(c, "user", "M\xC3\xBCller, 100%", "secret;ttl=5");
    d = vane_baggage_with(c, "plan", "gold", NULL);
    assert_true(c.extra && d.extra && c.extra != d.extra);
    assert_int_equal(vane_baggage_get(&d, "user", buf, sizeof buf), 13);
    assert_string_equal(buf, "M\xC3\xBCller, 100%");
    assert_int_equal(vane_baggage_get(&d, "user", buf, 3), 13);
    assert_int_equal(strlen(buf), 2);
    assert_true(vane_baggage_get(&c, "plan", buf, sizeof buf) == SIZE_MAX);
    out.n = 0;
    vane_inject(&d, set, &out);
    assert_string_equal(value_of(&out, "baggage"), "user=M%C3%BCller%2C%20100%25;secret;ttl=5,plan=gold");
    assert_string_equal(value_of(&out, "uberctx-plan"), "gold");
    assert_string_equal(value_of(&out, "traceparent"), "");
    vane_context e = vane_baggage_with(d, "user", NULL, NULL);
    assert_true(vane_baggage_get(&e, "user", NULL, 0) == SIZE_MAX);
    /* A span holds what its parent carried, also after the release. */
    vane_span s;
    vane_span_opts o = { .size = sizeof o, .parent = &d };
    vane_span_start_opts(&s, "x", &o);
    vane_context sc = vane_span_context(&s);
    vane_context_release(d);
    assert_int_equal(vane_baggage_get(&sc, "plan", buf, sizeof buf), 4);
    vane_span_end(&s);
    assert_true(vane_baggage_get(&sc, "plan", buf, sizeof buf) == SIZE_MAX); /* released: refused */
    vane_context_release(d);
    vane_context_release(c);
    vane_context_release(e);
    /* Lines add up; what is malformed is left out; limits hold. */
    in.n = 0;
    set(&in, "baggage", " a = 1 ;p, b=%41 ,=x,novalue,c=\"q\"");
    set(&in, "Baggage", "d=4");
    c = extract();
    assert_int_equal(vane_baggage_get(&c, "b", buf, sizeof buf), 1);
    assert_string_equal(buf, "A");
    assert_int_equal(vane_baggage_get(&c, "d", buf, sizeof buf), 1);
    int n = 0;
    vane_baggage_each(&c, count, &n);
    assert_int_equal(n, 3);
    assert_int_equal(refused(), 1);
    for (int i = 0; i < 100; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%d", i);
        d = vane_baggage_with(c, key, "v", NULL);
        if (d.extra != c.extra)
            vane_context_release(c);
        c = d;
    }
    assert_true(vane_baggage_get(&c, "key60", buf, sizeof buf) == 1);
    assert_true(vane_baggage_get(&c, "key61", buf, sizeof buf) == SIZE_MAX); /* 64 with a, b and d */
    static char huge[20000];
    memset(huge, 'x', sizeof huge - 1);
    d = vane_baggage_with(c, "a", huge, NULL);
    assert_int_equal(d.extra, c.extra);
    d = vane_baggage_with(c, "ill egal", "v", NULL);
    assert_int_equal(d.extra, c.extra);
    vane_context_release(c);
    vane_stop(0);
    vane_context_release(c); /* of an earlier start */
    begin("baggage");
    assert_true(vane_baggage_get(&c, "a", buf, sizeof buf) == SIZE_MAX);
    vane_stop(0);
}

static void test_extras_run_out(void **state)
{
    (void)state;
    begin("tracecontext");
    static vane_context c[65540];
    vane_context plain = { .trace_id = { 1 }, .span_id = { 1 } };
    size_t without = 0;
    for (size_t i = 0; i < SDK_COUNT_OF(c); i++) {
        c[i] = vane_context_with_tracestate(plain, "a=1");
        without += !c[i].extra;
    }
    assert_int_equal(without, 4);
    char buf[8];
    for (size_t i = 0; i < SDK_COUNT_OF(c); i++)
        vane_context_release(c[i]);
    plain = vane_context_with_tracestate(plain, "b=2,c=3");
    assert_int_equal(vane_context_tracestate(&plain, buf, sizeof buf), 7);
    assert_string_equal(buf, "b=2,c=3");
    vane_context bad = vane_context_with_tracestate(plain, "B=2");
    assert_int_equal(bad.extra, 0);
    vane_context_release(plain);
    vane_stop(0);
}

static void test_environment(void **state)
{
    (void)state;
    begin("tracecontext,baggage");
    char p1[] = "PATH=/bin", p2[] = "TRACEPARENT=old", p3[] = "TRACEPARENTS=mine", *env[] = { p1, p2, p3, NULL };
    vane_context c = { .trace_id = { 1 }, .span_id = { 2 }, .flags = 1 }, d = vane_baggage_with(c, "k", "v", NULL),
                 back;
    d = vane_context_with_tracestate(d, "s=1");
    char **made = vane_inject_env(&d, env);
    assert_non_null(made);
    assert_string_equal(made[0], "PATH=/bin");
    assert_string_equal(made[1], "TRACEPARENTS=mine");
    assert_string_equal(made[2], "TRACEPARENT=00-01000000000000000000000000000000-0200000000000000-01");
    assert_string_equal(made[3], "TRACESTATE=s=1");
    assert_string_equal(made[4], "BAGGAGE=k=v");
    assert_null(made[5]);
    assert_int_equal(vane_extract_env(made, &back), VANE_OK);
    assert_memory_equal(back.trace_id, c.trace_id, 16);
    char buf[8];
    assert_int_equal(vane_context_tracestate(&back, buf, sizeof buf), 3);
    assert_int_equal(vane_baggage_get(&back, "k", buf, sizeof buf), 1);
    vane_env_free(made);
    vane_env_free(NULL);
    assert_int_equal(vane_extract_env(NULL, &back), VANE_OK);
    vane_stop(0);
}

static void test_hostile(void **state)
{
    (void)state;
    assert_int_equal(vane_extract(get, &in, NULL), VANE_E_ARG);
    vane_context c;
    assert_int_equal(vane_extract(NULL, &in, &c), VANE_E_ARG);
    assert_int_equal(vane_inject(&c, NULL, NULL), VANE_E_ARG);
    assert_int_equal(vane_traceparent_parse(NULL, 0, &c), VANE_E_ARG);
    begin("tracecontext,baggage,b3,b3multi,jaeger");
    static const char *const names[] = { "traceparent",  "tracestate",    "baggage",
                                         "b3",           "x-b3-traceid",  "x-b3-spanid",
                                         "x-b3-sampled", "uber-trace-id", "jaeger-baggage" };
    static char junk[16000];
    for (int round = 0; round < 20000; round++) { /* any bytes, any length: no crash, bounded, valid or nothing */
        in.n = 0;
        for (int k = (int)(sdk_random() % 4); k >= 0; k--) {
            size_t n = sdk_random() % 8 ? sdk_random() % 80 : sdk_random() % sizeof junk;
            static const char alphabet[] = "0123456789abcdef-=,;:% \t@/01xX\xFF\0\"";
            for (size_t i = 0; i < n; i++)
                junk[i] = alphabet[sdk_random() % (sizeof alphabet - 1)];
            if (n > 56 && sdk_random() % 4 == 0)
                memcpy(junk, "00-12345678901234567890123456789012-1234567890123456-01", 55);
            put(&in, names[sdk_random() % SDK_COUNT_OF(names)], junk, n);
        }
        vane_context x = serve();
        assert_true(vane_context_valid(&x));
    }
    vane_stop(0);
}

/* What most requests bring is read without memory of the heap. */
static void test_brief(void **state)
{
    (void)state;
    static const char plain[] = " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ";
    static const struct {
        const char *name, *value;
        bool brief;
    } more[] = { { "accept", "*/*", true }, { "tracestate", "a=1", false }, { "baggage", "a=1", false } };
    begin(NULL);
    for (size_t i = 0; i < 2 * SDK_COUNT_OF(more); i++) {
        vane_context c;
        in.n = 0;
        if (i & 1)
            put(&in, "traceparent", plain, sizeof plain - 1);
        put(&in, more[i / 2].name, more[i / 2].value, strlen(more[i / 2].value));
        bool brief = more[i / 2].brief || (!(i & 1) && i / 2 == 1); /* a tracestate alone is nothing */
        atomic_store(&sdk_alloc_fail_at, 1);
        assert_int_equal(vane_extract(get, &in, &c), brief ? VANE_OK : VANE_E_NOMEM);
        atomic_store(&sdk_alloc_fail_at, 0);
        assert_int_equal(vane_context_valid(&c), brief && (i & 1));
        assert_int_equal(vane_extract(get, &in, &c), VANE_OK);
        assert_int_equal(vane_context_valid(&c), i & 1);
        assert_int_equal(c.remote, i & 1);
    }
    vane_stop(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_w3c),         cmocka_unit_test(test_brief),   cmocka_unit_test(test_b3),
        cmocka_unit_test(test_round_trips), cmocka_unit_test(test_baggage), cmocka_unit_test(test_extras_run_out),
        cmocka_unit_test(test_environment), cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
