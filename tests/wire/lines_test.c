/* The line protocols: wire/influx.h, wire/graphite.h, wire/statsd.h. */
#include "wire_test.h"

#include "wire/graphite.h"
#include "wire/influx.h"
#include "wire/statsd.h"

/* ---- InfluxDB ---- */

static str influx(struct arena *a, const char *text, const char *precision, const char *db, struct wire_rejects *r)
{
    struct batch b;
    struct influx_options opt = { .now_ms = 77, .db = str_c(db) };
    assert_true(influx_precision(str_c(precision), &opt.unit_ns));
    assert_ok(influx_decode(a, str_c(text), &opt, &WIRE_LIMITS_DEFAULT, &b, r, NULL));
    return batch_text(a, &b);
}

static void influx_lines(void **state)
{
    (void)state;
    static const struct {
        const char *in, *precision, *want;
    } rows[] = {
        { "cpu,host=a,region=eu usage_idle=98.5,usage_user=1i 1700000000123456789", "",
          "cpu_usage_idle{host=\"a\", region=\"eu\"} 98.5 @1700000000123\ncpu_usage_user{host=\"a\", region=\"eu\"} 1 "
          "@1700000000123\n" },
        { "temperature,room=b value=21.5", "ns", "temperature{room=\"b\"} 21.5 @77\n" },
        { "m value=1u 5\n\n  # comment\nm value=-2i 6\r\n", "s", "m 1 @5000\nm -2 @6000\n" },
        { "m a=t,b=F,c=TRUE,d=false 1", "ms", "m_a 1 @1\nm_b 0 @1\nm_c 1 @1\nm_d 0 @1\n" },
        { "m s=\"text, with = \\\" and\nnewline\",x=1 7", "ms", "m_x 1 @7\n" },
        { "m s=\"only text\" 7", "ms", "" },
        { "my\\ m\\,x,t\\ a\\=g=v\\ a\\,l\\=ue f\\ 1=2 3", "us", "my_m_x_f_1{t_a_g=\"v a,l=ue\"} 2 @0\n" },
        { "m,path=C:\\dir\\x value=1 3", "h", "m{path=\"C:\\\\dir\\\\x\"} 1 @10800000\n" },
        { "1m.x-y,a.b=1 v.w=1e3 2", "m", "_1m_x_y_v_w{a_b=\"1\"} 1000 @120000\n" },
        { "m value=1 -1", "ns", "m 1 @-1\n" },
        { "m   value=1   5   ", "ms", "m 1 @5\n" },
        { "m,q=a\"b value=1 5\nn value=2 5", "ms", "m{q=\"a\\\"b\"} 1 @5\nn 2 @5\n" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct wire_rejects r;
        str got = influx(&a, rows[i].in, rows[i].precision, "", &r);
        assert_str(got, rows[i].want);
        assert_int_equal(r.series, 0);
    }
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct wire_rejects r;
    assert_str(influx(&a, "m,db=own,x=1 value=1 5", "ms", "tele", &r), "m{db=\"tele\", x=\"1\"} 1 @5\n");
    int64_t unit;
    assert_false(influx_precision(STR("weeks"), &unit));
}

static void influx_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *line, *why;
    } rows[] = {
        { "m", "no fields" },
        { ",a=b v=1", "no measurement" },
        { "m,a v=1", "tag" },
        { "m,a= v=1", "no value" },
        { "m v", "field" },
        { "m v=", "not a value" },
        { "m v=abc", "\"abc\" is not a value" },
        { "m v=1x", "not a value" },
        { "m v=NaN", "not a value" },
        { "m v=1 xyz", "timestamp" },
        { "m v=99999999999999999999i", "not a value" },
        { "m v=-1u", "not a value" },
        { "m v=\"open", "not closed" },
        { "m,__name__=x v=1", "reserved" },
        { "m,a-b=1,a_b=2 v=1", "a_b" },
        { "m v=\"x\"y 1", "behind" },
        { "m,a=\xff v=1", "UTF-8" },
        { "m v=1 99999999999999999999", "timestamp" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct wire_rejects r;
        str text = arena_printf(&a, "ok value=1 5\n\n%s", rows[i].line);
        assert_str(influx(&a, text.p, "ms", "", &r), "ok 1 @5\n");
        assert_int_equal(r.series, 1);
        if (!str_contains(str_c(r.first.msg), STR("line 3: ")) || !str_contains(str_c(r.first.msg), str_c(rows[i].why)))
            fail_msg("%s: \"%s\" lacks \"%s\"", rows[i].line, r.first.msg, rows[i].why);
    }
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct wire_limits few = WIRE_LIMITS_DEFAULT;
    few.series_max = 1;
    struct batch b;
    struct wire_rejects r;
    struct influx_options opt = { 1, 1, STR_NONE };
    assert_err(influx_decode(&a, STR("m a=1,b=2\n"), &opt, &few, &b, &r, NULL), ERR_LIMIT);
}

/* ---- Graphite ---- */

static void graphite(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want; /* want NULL: refused */
    } rows[] = {
        { "a.b.c 1.5 1700000000", "a_b_c 1.5 @1700000000000" },
        { "a.b;dc=x;rack=r-1 2 1700000000.5\r", "a_b{dc=\"x\", rack=\"r-1\"} 2 @1700000000500" },
        { "a\t-3e2\t-1", "a -300 @77" },
        { "a:b 1", "a:b 1 @77" },
        { "9lives.x% NaN 1", "_9lives_x_ NaN @1000" },
        { "a;t= 1 1", "a 1 @1000" },
        { "a", NULL },
        { "", NULL },
        { "a b 1", NULL },
        { "a 1 x", NULL },
        { "a 1 1 1", NULL },
        { ";x=1 1 1", NULL },
        { "a;x 1 1", NULL },
        { "a;=1 1 1", NULL },
        { "a;__name__=b 1 1", NULL },
        { "a;x-y=1;x_y=2 1 1", NULL },
        { "a 1 1e300", NULL },
        { "a;x=\xff 1 1", NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct graphite_line g;
        struct err_text why = { .msg = "" };
        enum err e = graphite_parse(&a, str_c(rows[i].in), 77, &WIRE_LIMITS_DEFAULT, &g, &why);
        if (!rows[i].want) {
            if (e == OK || !why.msg[0])
                fail_msg("taken: %s", rows[i].in);
            continue;
        }
        if (e != OK)
            fail_msg("%s: %s", rows[i].in, why.msg);
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        labels_print(&b, g.labels);
        buf_lit(&b, " ");
        buf_f64_g(&b, g.sample.v);
        buf_printf(&b, " @%lld", (long long)g.sample.ts_ms);
        assert_str(buf_str(&b), rows[i].want);
    }
}

/* ---- StatsD ---- */

static void statsd(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {
        { "api.requests:1|c", "api_requests 0 rate 1: 1" },
        { "api.requests:3|c|@0.1|#env:prod,flag,url:http://x",
          "api_requests{env=\"prod\", flag=\"true\", url=\"http://x\"} 0 rate 0.1: 3" },
        { "q:1:2.5:3|ms", "q 2 rate 1: 1 2.5 3" },
        { "g:-5|g", "g 1 rate 1: rel -5" },
        { "g:+5|g", "g 1 rate 1: rel 5" },
        { "g:5|g\r", "g 1 rate 1: 5" },
        { "u:bob:x|s", "u 4 rate 1: bob:x" },
        { "d:1|d|c:abc|T123", "d 3 rate 1: 1" },
        { "a,x=1,y=2:4|h", "a{x=\"1\", y=\"2\"} 3 rate 1: 4" },
        { "a;x=1:4|h", "a{x=\"1\"} 3 rate 1: 4" },
        { "", NULL },
        { "a", NULL },
        { "a:1", NULL },
        { "a|c", NULL },
        { "a:|c", NULL },
        { "a:x|c", NULL },
        { "a:1|q", NULL },
        { ":1|c", NULL },
        { "a:1|c|@0", NULL },
        { "a:1|c|@2", NULL },
        { "a:1|c|@x", NULL },
        { "a:1:x|ms", NULL },
        { "a:inf|g", NULL },
        { "a:1|c|#__name__:x", NULL },
        { "a:|s", NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct statsd_line s;
        struct statsd_value v;
        struct err_text why = { .msg = "" };
        enum err e = statsd_parse(&a, str_c(rows[i].in), &WIRE_LIMITS_DEFAULT, &s, &why);
        if (!rows[i].want) {
            if (e == OK || !why.msg[0])
                fail_msg("taken: %s", rows[i].in);
            continue;
        }
        if (e != OK)
            fail_msg("%s: %s", rows[i].in, why.msg);
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        labels_print(&b, s.labels);
        buf_printf(&b, " %d rate %g:", (int)s.type, s.rate);
        while (statsd_value(&s, &v)) {
            if (s.type == STATSD_SET)
                buf_printf(&b, " " STR_FMT, STR_ARG(v.text));
            else
                buf_printf(&b, "%s %g", v.relative ? " rel" : "", v.v);
        }
        assert_str(buf_str(&b), rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(influx_lines), cmocka_unit_test(influx_refusals),
                                        cmocka_unit_test(graphite), cmocka_unit_test(statsd) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
