/* alerting/am_payload.h: requests as Alertmanager sends them (captured ones), answers, cutting of texts. */
#include "conformance.h"
#include "json_doc.h"
#include "test.h"

#include <pthread.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <sys/socket.h>

#include "alerting/am_mail.h"
#include "http/http_mail.h"

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
    struct am_data_input in = { rc->name, STR("http://am.example:9093"), group, LABELS_NONE, v, alerts->n, now_ms, NULL };
    struct tmpl_val data = am_data(&w->a, &in);
    VEC(struct am_request) sent = { 0 };
    size_t wrong = 0;
    for (size_t i = 0; i < rc->n_integrations; i++) {
        struct am_message m = { .receiver = rc,
                                .integration = &rc->integrations[i],
                                .data = &data,
                                .text = w->text,
                                .html = w->html,
                                .group_key = group_key(&w->a, w->cfg->route, group),
                                .now_ms = now_ms,
                                .fs = fs_os() };
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

/* ---- mail ---- */
static str without_varying(struct arena *a, str message) /* dates, ids and the boundary vary */
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    str rest = message, line;
    while (str_cut(&rest, '\n', &line)) {
        if (str_has_prefix(line, STR("Message-Id:")) || str_has_prefix(line, STR("Date:")))
            continue;
        if (str_has_prefix(line, STR("--")))
            line = str_has_suffix(line, STR("--\r")) ? STR("--B--\r") : STR("--B\r");
        size_t at = str_find(line, STR("boundary="));
        buf_str_add(&b, str_take(line, at));
        buf_u8(&b, '\n');
    }
    return arena_str(a, buf_str(&b));
}

static void mail_captured(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    struct am_config *cfg;
    struct tmpl_set *text, *html;
    struct err_text why = { 0 };
    arena_init(&a, 0);
    str json = conformance_file(&a, "notifications/email_captured.json");
    if (!json.p)
        skip();
    struct jt doc = jt_parse(&a, json);
    if (am_config_parse(STR("am.yml"), jt_str(&doc, "config_yaml"), &cfg, NULL, &why) != OK)
        fail_msg("%s", why.msg);
    assert_ok(am_config_templates(cfg, false, &text, NULL));
    assert_ok(am_config_templates(cfg, true, &html, NULL));
    struct label l[2][2] = { { { STR("alertname"), STR("A") }, { STR("instance"), STR("i1") } },
                             { { STR("alertname"), STR("A") }, { STR("instance"), STR("i2") } } };
    struct am_data_alert alerts[2] = { { .labels = { l[0], 2 }, .starts_ms = 1, .generator_url = STR("") },
                                       { .labels = { l[1], 2 }, .starts_ms = 1, .generator_url = STR("") } };
    struct am_data_input in = { STR("def"), STR("http://x"), { l[0], 1 }, LABELS_NONE, alerts, 2, 1795250950334, NULL };
    struct tmpl_val data = am_data(&a, &in);
    const struct am_receiver *rc = &cfg->receivers.p[0];
    struct am_message m = { .receiver = rc,
                            .integration = &rc->integrations[1],
                            .data = &data,
                            .text = text,
                            .html = html,
                            .group_key = STR("{}:{}"),
                            .now_ms = in.now_ms,
                            .fs = fs_os() };
    struct am_mail mail;
    assert_ok(am_mail_build(&m, NULL, &a, &mail, &why));
    assert_str(mail.from, "am@example.com");
    assert_int_equal(mail.n_to, 1);
    str want = without_varying(&a, jt_str(&jt_get(&doc, "mails")->p[0], "message"));
    str got = without_varying(&a, mail.message);
    assert_string_equal(arena_cstr(&a, got), arena_cstr(&a, want));
    m.integration = &rc->integrations[0]; /* HTML by the default template */
    assert_ok(am_mail_build(&m, NULL, &a, &mail, &why));
    assert_int_equal(mail.n_to, 2);
    assert_true(str_contains(mail.message, STR("text/html")));
    assert_true(str_contains(mail.message, STR("i1")));
    tmpl_set_free(text);
    tmpl_set_free(html);
    am_config_unref(cfg);
}

/* A mail server for one connection: takes everything, or refuses recipients. */
struct smtp_server {
    int fd;
    bool refuse;
    char got[65536];
    size_t n;
};

static void *serve_smtp(void *arg)
{
    struct smtp_server *s = arg;
    int c = accept(s->fd, NULL, NULL);
    bool data = false;
    char line[4096];
    size_t n = 0;
    (void)!write(c, "220 test\r\n", 10);
    for (char ch; read(c, &ch, 1) == 1;) {
        if (s->n + 1 < sizeof(s->got))
            s->got[s->n++] = ch;
        if (n + 1 < sizeof(line))
            line[n++] = ch;
        if (ch != '\n')
            continue;
        line[n] = 0;
        n = 0;
        const char *answer = "250 ok\r\n";
        if (data && strcmp(line, ".\r\n") == 0)
            data = false;
        else if (data)
            continue;
        else if (strncmp(line, "DATA", 4) == 0)
            answer = "354 go\r\n", data = true;
        else if (strncmp(line, "RCPT", 4) == 0 && s->refuse)
            answer = "550 no such user\r\n";
        else if (strncmp(line, "QUIT", 4) == 0)
            answer = "221 bye\r\n";
        (void)!write(c, answer, strlen(answer));
        if (strncmp(line, "QUIT", 4) == 0 && !data)
            break;
    }
    close(c);
    return NULL;
}

static void mail_sent(void **state)
{
    (void)state;
    for (int refuse = 0; refuse < 2; refuse++) {
        static struct smtp_server s;
        memset(&s, 0, sizeof(s));
        s.fd = socket(AF_INET, SOCK_STREAM, 0);
        s.refuse = refuse;
        struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
        socklen_t len = sizeof(at);
        pthread_t th;
        char port[16];
        assert_int_equal(bind(s.fd, (struct sockaddr *)&at, sizeof(at)), 0);
        assert_int_equal(listen(s.fd, 1), 0);
        assert_int_equal(getsockname(s.fd, (struct sockaddr *)&at, &len), 0);
        snprintf(port, sizeof(port), "%u", ntohs(at.sin_port));
        pthread_create(&th, NULL, serve_smtp, &s);
        str to[] = { STR("a@example.com"), STR("b@example.com") };
        struct http_mail mail = { .host = STR("127.0.0.1"),
                                  .port = str_c(port),
                                  .hello = STR("me.example"),
                                  .from = STR("me@example.com"),
                                  .to = to,
                                  .n_to = 2,
                                  .message = STR("Subject: x\r\n\r\n.dot\r\n"),
                                  .timeout_ms = 10000 };
        struct http_mail_result r;
        struct err_text why = { 0 };
        enum err e = http_mail_send(&mail, &r, &why);
        pthread_join(th, NULL);
        close(s.fd);
        s.got[s.n] = 0;
        assert_non_null(strstr(s.got, "EHLO me.example"));
        assert_non_null(strstr(s.got, "MAIL FROM:<me@example.com>"));
        if (refuse) {
            assert_int_equal(e, ERR_EXEC);
            assert_int_equal(r.code, 550);
        } else {
            assert_ok(e);
            assert_non_null(strstr(s.got, "RCPT TO:<b@example.com>"));
            assert_non_null(strstr(s.got, "\r\n..dot\r\n.\r\n"));
        }
    }
    str bad = STR("a@b>\r\nRCPT TO:<x@y");
    struct http_mail mail = { .host = STR("127.0.0.1"), .from = STR("a@b"), .to = &bad, .n_to = 1 };
    struct http_mail_result r;
    assert_int_equal(http_mail_send(&mail, &r, NULL), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(captured), cmocka_unit_test(truncation),
                                        cmocka_unit_test(answers), cmocka_unit_test(mail_captured),
                                        cmocka_unit_test(mail_sent) };
    return cmocka_run_group_tests_name("alerting/payload", tests, NULL, NULL);
}
