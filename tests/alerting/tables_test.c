/* Matchers, time intervals, routing and inhibition: Alertmanager's case tables. */
#include "conformance.h"
#include "json_doc.h"
#include "test.h"

#include "alerting/am_inhibit.h"
#include "alerting/am_interval.h"
#include "alerting/am_route.h"
#include "base/tz.h"
#include "tmpl/tmpl_lib.h"

struct world {
    struct arena a;
    struct jt doc;
};
static struct world load(const char *name)
{
    struct world w;
    arena_init(&w.a, 0);
    str text = conformance_file(&w.a, name);
    if (!text.p) {
        arena_deinit(&w.a);
        skip();
    }
    w.doc = jt_parse(&w.a, text);
    assert_int_not_equal(w.doc.tok, JSON_TOK_ERR);
    return w;
}

static struct labels labels_of(struct arena *a, const struct jt *o)
{
    struct label_builder b;
    lb_init(&b, a);
    lb_reset(&b, LABELS_NONE);
    jt_each(x, o) lb_set(&b, x->key, x->text);
    return lb_labels(&b);
}

/* ---- matchers ---- */
static enum am_match type_of(str s)
{
    for (enum am_match t = AM_EQ; t <= AM_NRE; t++)
        if (str_eq(s, str_c(am_match_text(t))))
            return t;
    fail_msg("unknown operator " STR_FMT, STR_ARG(s));
    return AM_EQ;
}

static bool same(const struct jt *want, const struct am_matchers *got)
{
    if (want->n != got->n)
        return false;
    for (size_t i = 0; i < got->n; i++)
        if (!str_eq(jt_str(&want->p[i], "name"), got->p[i].name) ||
            !str_eq(jt_str(&want->p[i], "value"), got->p[i].value) ||
            type_of(jt_str(&want->p[i], "type")) != got->p[i].type)
            return false;
    return true;
}

static size_t notation(struct world *w, const char *list, enum am_notation how, bool single)
{
    size_t wrong = 0;
    const struct jt *rows = jt_get(&w->doc, list);
    assert_true(rows->n > 0);
    jt_each(row, rows)
    {
        struct am_matchers m = { 0 };
        struct am_matcher one;
        struct err_text why = { 0 };
        enum err e = single ? am_matcher_parse(&w->a, jt_str(row, "input"), how, &one, &why)
                            : am_matchers_parse(&w->a, jt_str(row, "input"), how, &m, &why);
        if (single && !e)
            m = (struct am_matchers){ &one, 1 };
        if ((e == OK) != jt_true(row, "valid") || (!e && !same(jt_get(row, "matchers"), &m))) {
            wrong++;
            print_error("%s: [" STR_FMT "] gave %s\n", list, STR_ARG(jt_str(row, "input")),
                        e ? why.msg : "other matchers");
        }
        if (!e)
            am_matchers_free(&m);
    }
    return wrong;
}

static void matchers(void **state)
{
    (void)state;
    struct world w = load("alertmanager/matchers.json");
    size_t wrong =
        notation(&w, "classic", AM_CLASSIC, false) + notation(&w, "utf8", AM_UTF8, false) +
        notation(&w, "utf8_single", AM_UTF8, true) + notation(&w, "fallback", AM_FALLBACK, false) +
        notation(&w, "fallback_single", AM_FALLBACK, true) + notation(&w, "both_parsers_agree", AM_CLASSIC, false) +
        notation(&w, "both_parsers_agree", AM_UTF8, false) + notation(&w, "both_parsers_agree", AM_FALLBACK, false) +
        notation(&w, "classic_only", AM_CLASSIC, false) + notation(&w, "classic_only", AM_FALLBACK, false);
    arena_deinit(&w.a);
    assert_int_equal(wrong, 0);
}

static void semantics(void **state)
{
    (void)state;
    struct world w = load("alertmanager/matcher_semantics.json");
    jt_each(row, jt_get(&w.doc, "match"))
    {
        struct am_matcher m;
        assert_ok(am_matcher_init(&m, &w.a, type_of(jt_str(row, "type")), STR("x"), jt_str(row, "pattern"), NULL));
        if (am_matcher_matches(&m, jt_str(row, "value")) != jt_true(row, "match"))
            fail_msg(STR_FMT " " STR_FMT, STR_ARG(jt_str(row, "pattern")), STR_ARG(jt_str(row, "value")));
        rx_free(m.rx);
    }
    jt_each(row, jt_get(&w.doc, "string_form"))
    {
        struct am_matcher m;
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        assert_ok(
            am_matcher_init(&m, &w.a, type_of(jt_str(row, "type")), jt_str(row, "name"), jt_str(row, "value"), NULL));
        am_matcher_print(&b, &m);
        assert_true(str_eq(buf_str(&b), jt_str(row, "string")));
        rx_free(m.rx);
    }
    arena_deinit(&w.a);
}

/* ---- time intervals ---- */
static void intervals(void **state)
{
    (void)state;
    struct world w = load("alertmanager/time_intervals.json");
    jt_each(row, &w.doc)
    {
        struct conf_ctx cx = conf_ctx_init(&w.a, fs_os());
        struct conf_node *root;
        struct am_intervals v;
        str yaml = jt_str(row, "yaml");
        assert_ok(conf_parse(&cx, STR("t.yml"), yaml, 0, &root));
        bool ok = am_intervals_conf(&cx, root, &v) == OK;
        if (ok != jt_true(row, "valid"))
            fail_msg(STR_FMT ": %s", STR_ARG(yaml),
                     ok           ? "accepted"
                     : cx.diags.n ? arena_cstr(&w.a, cx.diags.p[0].message)
                                  : "");
        for (int k = 0; k < 2; k++)
            jt_each(t, jt_get(row, k ? "excludes" : "contains"))
            {
                int64_t s;
                uint32_t ns;
                assert_true(tmpl_time_parse(STR("_2 Jan 06 15:04 -0700"), t->text, tz_utc, &s, &ns));
                if (am_intervals_contain(&v, s) == (k == 1))
                    fail_msg(STR_FMT ": " STR_FMT " is %s", STR_ARG(yaml), STR_ARG(t->text), k ? "in" : "out");
            }
        if (jt_has(row, "start_minute") && ok) {
            assert_int_equal(v.p[0].times.p[0].from, jt_int(row, "start_minute"));
            assert_int_equal(v.p[0].times.p[0].to, jt_int(row, "end_minute"));
        }
        conf_ctx_release(&cx);
    }
    arena_deinit(&w.a);
}

/* ---- routing ---- */
static struct am_route *route_of(struct conf_ctx *cx, str yaml, bool whole)
{
    struct conf_node *root;
    struct am_route *r = NULL;
    size_t n;
    assert_ok(conf_parse(cx, STR("t.yml"), yaml, 0, &root));
    enum err e = am_route_conf(cx, whole ? conf_get(root, STR("route")) : root, &r, &n);
    if (e)
        fail_msg(STR_FMT, STR_ARG(cx->diags.p[0].message));
    return r;
}

static void check_route(struct arena *a, const struct jt *want, const struct am_route *r)
{
    AUTO_BUF struct buf got, exp;
    buf_init(&got, 0);
    buf_init(&exp, 0);
    buf_printf(&exp, STR_FMT " %d " STR_FMT " " STR_FMT " " STR_FMT, STR_ARG(jt_str(want, "receiver")),
               jt_true(want, "group_by_all"), STR_ARG(jt_get(want, "group_wait_s")->text),
               STR_ARG(jt_get(want, "group_interval_s")->text), STR_ARG(jt_get(want, "repeat_interval_s")->text));
    jt_each(g, jt_get(want, "group_by")) buf_printf(&exp, " " STR_FMT, STR_ARG(g->text));
    buf_printf(&got, STR_FMT " %d %lld %lld %lld", STR_ARG(r->receiver), r->group_by_all,
               (long long)r->group_wait_ms / 1000, (long long)r->group_interval_ms / 1000,
               (long long)r->repeat_interval_ms / 1000);
    for (size_t i = 0; i < r->n_group_by; i++)
        buf_printf(&got, " " STR_FMT, STR_ARG(r->group_by[i]));
    assert_string_equal(arena_cstr(a, buf_str(&got)), arena_cstr(a, buf_str(&exp)));
}

static void routing_options(void **state)
{
    (void)state;
    struct world w = load("alertmanager/routing_options.json");
    jt_each(tree, &w.doc)
    {
        struct conf_ctx cx = conf_ctx_init(&w.a, fs_os());
        struct am_route *root = route_of(&cx, jt_str(tree, "route_yaml"), false);
        jt_each(c, jt_get(tree, "cases"))
        {
            const struct am_route *found[16];
            const struct jt *want = jt_get(c, "routes"), *keys = jt_get(c, "keys");
            assert_int_equal(am_route_match(root, labels_of(&w.a, jt_get(c, "labels")), found, 16), want->n);
            for (size_t i = 0; i < want->n; i++) {
                check_route(&w.a, &want->p[i], found[i]);
                assert_true(str_eq(found[i]->key, keys->p[i].text));
            }
        }
        conf_ctx_release(&cx);
    }
    arena_deinit(&w.a);
}

static void routing_files(void **state)
{
    (void)state;
    struct world w = load("alertmanager/routing/cases.json");
    size_t n = 0;
    jt_each(tree, &w.doc)
    {
        struct conf_ctx cx = conf_ctx_init(&w.a, fs_os());
        const char *path = arena_printf(&w.a, "alertmanager/" STR_FMT, STR_ARG(jt_str(tree, "config"))).p;
        str yaml = conformance_file(&w.a, path);
        if (!yaml.p)
            fail_msg("%s is not there", path);
        struct am_route *root = route_of(&cx, yaml, true);
        jt_each(c, jt_get(tree, "cases"))
        {
            const struct am_route *found[64];
            const struct jt *want = jt_get(c, "receivers");
            size_t got = am_route_match(root, labels_of(&w.a, jt_get(c, "labels")), found, 64);
            assert_int_equal(got, want->n);
            for (size_t i = 0; i < got; i++)
                assert_true(str_eq(found[i]->receiver, want->p[i].text));
            n++;
        }
        conf_ctx_release(&cx);
    }
    arena_deinit(&w.a);
    assert_true(n > 20);
}

/* ---- inhibition ---- */
static void inhibition(void **state)
{
    (void)state;
    struct world w = load("alertmanager/inhibition.json");
    jt_each(c, &w.doc)
    {
        struct conf_ctx cx = conf_ctx_init(&w.a, fs_os());
        struct conf_node *root;
        struct am_inhibit_rules rules;
        assert_ok(conf_parse(&cx, STR("t.yml"), jt_str(c, "inhibit_rules_yaml"), 0, &root));
        assert_ok(am_inhibit_conf(&cx, root, &rules));
        struct am_inhibitor *x = am_inhibitor_new(&rules);
        uint64_t fp = 0;
        jt_each(al, jt_get(c, "alerts"))
        {
            struct labels ls = labels_of(&w.a, jt_get(al, "labels"));
            am_inhibitor_fire(x, ++fp, ls);
            if (!jt_true(al, "active"))
                am_inhibitor_resolve(x, fp);
        }
        jt_each(t, jt_get(c, "targets"))
        {
            uint64_t by[4];
            bool got = am_inhibited(x, labels_of(&w.a, jt_get(t, "labels")), by, 4) > 0;
            if (got != jt_true(t, "inhibited"))
                fail_msg(STR_FMT ": wrong", STR_ARG(jt_str(c, "name")));
        }
        am_inhibitor_free(x);
        conf_ctx_release(&cx);
    }
    arena_deinit(&w.a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matchers),        cmocka_unit_test(semantics),     cmocka_unit_test(intervals),
        cmocka_unit_test(routing_options), cmocka_unit_test(routing_files), cmocka_unit_test(inhibition),
    };
    return cmocka_run_group_tests_name("alerting/tables", tests, NULL, NULL);
}
