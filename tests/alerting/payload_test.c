/* alerting/am_payload.h: requests as Alertmanager sends them (captured ones), answers, cutting of texts. */
#include "conformance.h"
#include "json_doc.h"
#include "test.h"

#include "alerting/am_payload.h"

static str replaced(struct arena *a, str s, str what, str with)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    for (size_t at; (at = str_find(s, what)) != SIZE_MAX; s = str_skip(s, at + what.n)) {
        buf_str_add(&b, str_take(s, at));
        buf_str_add(&b, with);
    }
    buf_str_add(&b, s);
    return arena_str(a, buf_str(&b));
}

static struct labels labels_of(struct arena *a, const struct jt *o)
{
    struct label_builder b;
    lb_init(&b, a);
    lb_reset(&b, LABELS_NONE);
    jt_each(x, o) lb_set(&b, x->key, x->text);
    return lb_labels(&b);
}

static bool same(const struct jt *x, const struct jt *y)
{
    bool scalar = x->tok == JSON_TOK_STR || x->tok == JSON_TOK_NUM;
    if (x->tok != y->tok || x->n != y->n || (scalar && !str_eq(x->text, y->text)))
        return false;
    for (size_t i = 0; i < x->n; i++) {
        const struct jt *other = x->tok == JSON_TOK_ARR ? &y->p[i] : NULL;
        for (size_t k = 0; !other && k < y->n; k++)
            if (str_eq(y->p[k].key, x->p[i].key))
                other = &y->p[k];
        if (!other || !same(&x->p[i], other))
            return false;
    }
    return true;
}

/* Objects whose values are the same; what newer versions give as lists and numbers is left out. */
static bool same_body(const struct jt *want, const struct jt *got)
{
    static const char *const newer[] = { "firing", "resolved", "num_firing", "num_resolved" };
    if (want->tok != got->tok)
        return false;
    if (want->tok != JSON_TOK_OBJ)
        return same(want, got);
    if (want->n != got->n)
        return false;
    for (size_t i = 0; i < want->n; i++) {
        str key = want->p[i].key;
        bool skip_value = false;
        for (size_t k = 0; k < ARRAY_LEN(newer); k++)
            skip_value |= str_eq(key, str_c(newer[k]));
        const struct jt *other = NULL;
        for (size_t k = 0; k < got->n; k++)
            if (str_eq(got->p[k].key, key))
                other = &got->p[k];
        if (!other || (!skip_value && !same_body(&want->p[i], other)))
            return false;
    }
    return true;
}

struct world {
    struct arena a;
    struct am_config *cfg;
    struct tmpl_set *text, *html;
    struct jt doc;
};

static str group_key(struct arena *a, const struct am_route *r, struct labels group)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_str_add(&b, r->key);
    buf_lit(&b, ":{");
    for (size_t i = 0; i < group.n; i++)
        buf_printf(&b, "%s" STR_FMT "=\"" STR_FMT "\"", i ? ", " : "", STR_ARG(group.p[i].name),
                   STR_ARG(group.p[i].value));
    buf_lit(&b, "}");
    return arena_str(a, buf_str(&b));
}

static struct am_data_alert *alerts_of(struct arena *a, const struct jt *list)
{
    struct am_data_alert *v = arena_zarray(a, struct am_data_alert, list->n + 1);
    for (size_t i = 0; i < list->n; i++) {
        const struct jt *x = &list->p[i];
        v[i].labels = labels_of(a, jt_get(x, "labels"));
        v[i].annotations = labels_of(a, jt_get(x, "annotations"));
        assert_true(num_parse_time(jt_str(x, "startsAt"), &v[i].starts_ms));
        if (jt_has(x, "endsAt"))
            assert_true(num_parse_time(jt_str(x, "endsAt"), &v[i].ends_ms));
        v[i].generator_url = jt_str(x, "generatorURL").p ? jt_str(x, "generatorURL") : STR("");
    }
    return v;
}

static size_t step(struct world *w, const char *name, const struct jt *alerts, int64_t now_ms)
{
    const struct am_receiver *rc = &w->cfg->receivers.p[0];
    struct am_data_alert *v = alerts_of(&w->a, alerts);
    struct labels group = am_route_group(w->cfg->route, v[0].labels, &w->a);
    struct am_data_input in = { rc->name, STR("http://am.example:9093"), group, LABELS_NONE, v, alerts->n, now_ms };
    struct tmpl_val data = am_data(&w->a, &in);
    VEC(struct am_request) sent = { 0 };
    size_t wrong = 0;
    for (size_t i = 0; i < rc->n_integrations; i++) {
        struct am_message m = {
            rc, &rc->integrations[i], &data, w->text, w->html, group_key(&w->a, w->cfg->route, group), now_ms, fs_os()
        };
        struct am_request rq[AM_REQUESTS_MAX];
        size_t n;
        struct err_text why = { 0 };
        if (am_payload_build(&m, &w->a, rq, &n, &why) != OK)
            fail_msg("%s: %s", am_kind_name(m.integration->kind), why.msg);
        for (size_t k = 0; k < n; k++)
            avec_push(&w->a, &sent, rq[k]);
    }
    size_t expected = 0;
    jt_each(rq, jt_get(&w->doc, "requests"))
    {
        bool found = false;
        if (!str_eq(jt_str(rq, "step"), str_c(name)))
            continue;
        expected++;
        str url = arena_printf(&w->a, "http://sink.example" STR_FMT, STR_ARG(jt_str(rq, "path")));
        str shown = STR("");
        for (size_t i = 0; i < sent.n && !found; i++) {
            if (!str_eq(sent.p[i].url, url))
                continue;
            struct jt body = jt_parse(&w->a, sent.p[i].body);
            shown = sent.p[i].body;
            found = same_body(jt_get(rq, "body"), &body);
        }
        if (!found) {
            wrong++;
            print_error("%s " STR_FMT ": not sent so; we sent " STR_FMT "\n", name, STR_ARG(url), STR_ARG(shown));
        }
    }
    assert_true(expected > 5);
    return wrong;
}

static void captured(void **state)
{
    (void)state;
    struct world w = { 0 };
    struct err_text why = { 0 };
    arena_init(&w.a, 0);
    str text = conformance_file(&w.a, "notifications/captured_single.json");
    if (!text.p) {
        arena_deinit(&w.a);
        skip();
    }
    w.doc = jt_parse(&w.a, text);
    str yaml = replaced(&w.a, jt_str(&w.doc, "config_yaml"), STR("http://SINK"), STR("http://sink.example"));
    if (am_config_parse(STR("am.yml"), yaml, &w.cfg, NULL, &why) != OK)
        fail_msg("%s", why.msg);
    assert_ok(am_config_templates(w.cfg, false, &w.text, NULL));
    assert_ok(am_config_templates(w.cfg, true, &w.html, NULL));
    size_t wrong = step(&w, "firing", jt_get(&w.doc, "posted_alerts"), 1715000000000) +
                   step(&w, "after_resolve", jt_get(&w.doc, "then_resolved"), 1715000000000);
    tmpl_set_free(w.text);
    tmpl_set_free(w.html);
    am_config_unref(w.cfg);
    arena_deinit(&w.a);
    assert_int_equal(wrong, 0);
}

static void truncation(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text = conformance_file(&a, "notifications/truncate.json");
    if (!text.p)
        skip();
    struct jt rows = jt_parse(&a, text);
    jt_each(row, &rows)
    {
        size_t n = (size_t)jt_int(row, "n");
        str want_runes = jt_str(jt_get(row, "runes"), "out"), want_bytes = jt_str(jt_get(row, "bytes"), "out");
        str runes = am_truncate_runes(&a, jt_str(row, "in"), n), bytes = am_truncate_bytes(&a, jt_str(row, "in"), n);
        if (!str_eq(runes, want_runes) || !str_eq(bytes, want_bytes))
            fail_msg(STR_FMT " to %zu: runes " STR_FMT " bytes " STR_FMT, STR_ARG(jt_str(row, "in")), n, STR_ARG(runes),
                     STR_ARG(bytes));
    }
}

static void answers(void **state)
{
    (void)state;
    struct err_text why;
    assert_int_equal(am_payload_judge(AM_WEBHOOK, 200, STR(""), &why), AM_SENT);
    assert_int_equal(am_payload_judge(AM_WEBHOOK, 404, STR("no"), &why), AM_REFUSED);
    assert_non_null(strstr(why.msg, "404"));
    assert_int_equal(am_payload_judge(AM_WEBHOOK, 503, STR(""), &why), AM_RETRY);
    assert_int_equal(am_payload_judge(AM_WEBHOOK, 0, STR(""), &why), AM_RETRY);
    assert_int_equal(am_payload_judge(AM_PAGERDUTY, 429, STR(""), &why), AM_RETRY);
    assert_int_equal(am_payload_judge(AM_WEBHOOK, 429, STR(""), &why), AM_REFUSED);
    assert_int_equal(am_payload_judge(AM_SLACK, 200, STR("{\"ok\":false,\"error\":\"x\"}"), &why), AM_REFUSED);
    assert_int_equal(am_payload_judge(AM_SLACK, 200, STR("ok"), &why), AM_SENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(captured), cmocka_unit_test(truncation),
                                        cmocka_unit_test(answers) };
    return cmocka_run_group_tests_name("alerting/payload", tests, NULL, NULL);
}
