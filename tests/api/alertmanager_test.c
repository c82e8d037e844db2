/* Alertmanager's API: the recorded session of the conformance suite, refusals, and the prefix /alertmanager. */
#include "conformance.h"
#include "json_doc.h"
#include "site.h"
#include "test.h"

#include "alerting/am.h"

static struct api_alertmanager plugged;
static int woken;

static void take(void *ctx, struct am_notice *n)
{
    (void)ctx;
    am_sent(plugged.am, n, AM_SENT, site.now_ms);
}
static void wake(void *ctx)
{
    (void)ctx;
    woken++;
}

static void open_with(str yaml)
{
    struct am_config *c = NULL;
    struct err_text why;
    const struct am_options opt = { .ctx = NULL, .send = take };
    if (am_config_parse(STR("am.yml"), yaml, &c, NULL, &why) != OK)
        fail_msg("%s", why.msg);
    assert_ok(am_open(&opt, c, 1790000000000, &plugged.am));
    am_config_unref(c);
    plugged.wake = wake;
    site_alertmanager = &plugged;
    woken = 0;
    site_open(NULL);
    site.now_ms = 1790000000000;
}

static void close_all(void)
{
    site_close(NULL);
    am_close(plugged.am);
    site_alertmanager = NULL;
}

/* ---- the session ---- */
struct ids { /* recorded -> ours */
    str theirs[32], ours[32];
    size_t n;
};

static str translate(const struct ids *ids, struct arena *a, str s)
{
    for (size_t i = 0; i < ids->n; i++) {
        size_t at = str_find(s, ids->theirs[i]);
        if (at != SIZE_MAX)
            return arena_printf(a, STR_FMT STR_FMT STR_FMT, STR_ARG(str_take(s, at)), STR_ARG(ids->ours[i]),
                                STR_ARG(str_skip(s, at + ids->theirs[i].n)));
    }
    return s;
}

static void write_json(struct json_out *j, const struct jt *v, const struct ids *ids, struct arena *a)
{
    switch (v->tok) {
    case JSON_TOK_OBJ:
        json_obj(j);
        jt_each(x, v)
        {
            json_key(j, x->key);
            write_json(j, x, ids, a);
        }
        json_obj_end(j);
        break;
    case JSON_TOK_ARR:
        json_arr(j);
        jt_each(x, v) write_json(j, x, ids, a);
        json_arr_end(j);
        break;
    case JSON_TOK_STR:
        json_str(j, translate(ids, a, v->text));
        break;
    default:
        json_raw(j, v->tok == JSON_TOK_TRUE ? STR("true") : v->tok == JSON_TOK_FALSE ? STR("false") : v->text);
    }
}

static bool varies(const struct jt *want)
{
    if (want->tok == JSON_TOK_ARR)
        return false;
    static const char *const keys[] = { "updatedAt", "uptime", "versionInfo", "original" };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (str_eq(want->key, str_c(keys[i])))
            return true;
    return str_has_prefix(want->text, STR("2026-11-21T")); /* when it was recorded */
}

static bool same(const struct jt *want, const struct jt *got, struct ids *ids, struct arena *a)
{
    if (varies(want))
        return got->tok == want->tok;
    if (str_eq(want->key, STR("silenceID"))) {
        ids->theirs[ids->n] = want->text;
        ids->ours[ids->n++] = arena_str(a, got->text);
        return got->text.n == AM_ID_LEN;
    }
    if (want->tok != got->tok || want->n != got->n)
        return false;
    if (!want->n && want->tok != JSON_TOK_OBJ && want->tok != JSON_TOK_ARR)
        return !want->text.n || str_eq(translate(ids, a, want->text), got->text);
    for (size_t i = 0; i < want->n; i++) {
        const struct jt *g = &got->p[i];
        for (size_t k = 0; want->tok == JSON_TOK_OBJ && k < got->n; k++)
            if (str_eq(got->p[k].key, want->p[i].key))
                g = &got->p[k];
        if ((want->tok == JSON_TOK_OBJ && !str_eq(g->key, want->p[i].key)) || !same(&want->p[i], g, ids, a))
            return false;
    }
    return true;
}

static bool play(const struct jt *row, struct ids *ids, struct arena *a)
{
    enum http_method method = str_eq(jt_str(row, "method"), STR("POST"))     ? HTTP_POST
                              : str_eq(jt_str(row, "method"), STR("DELETE")) ? HTTP_DELETE
                                                                             : HTTP_GET;
    const struct http_pair json = { STR("Content-Type"), STR("application/json") };
    const struct jt *want = jt_get(row, "response");
    AUTO_BUF struct buf body;
    struct json_out j;
    buf_init(&body, 0);
    j = json_out_init(&body);
    if (jt_has(row, "body_raw"))
        buf_str_add(&body, jt_str(row, "body_raw"));
    else if (jt_has(row, "body"))
        write_json(&j, jt_get(row, "body"), ids, a);
    struct answer r = site_ask(method, arena_cstr(a, translate(ids, a, jt_str(row, "path"))), &json, 1, buf_str(&body));
    bool ok = r.status == jt_int(row, "status");
    if (want->tok == JSON_TOK_STR && !want->text.n)
        ok = ok && !r.body.n && !r.content_type.n;
    else {
        struct jt got = jt_parse(a, arena_str(a, r.body));
        ok = ok && str_has_prefix(r.content_type, STR("application/json")) && same(want, &got, ids, a);
    }
    if (!ok)
        print_error(STR_FMT " " STR_FMT " " STR_FMT "\ngave %d " STR_FMT ": " STR_FMT "\n",
                    STR_ARG(jt_str(row, "method")), STR_ARG(jt_str(row, "path")), STR_ARG(buf_str(&body)), r.status,
                    STR_ARG(r.content_type), STR_ARG(r.body));
    return ok;
}

static void session(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    struct ids ids = { .n = 0 };
    size_t wrong = 0, n = 0;
    arena_init(&a, 0);
    str text = conformance_file(&a, "alertmanager/api_v2_session.json");
    if (!text.p)
        skip();
    struct jt doc = jt_parse(&a, text);
    open_with(jt_str(&doc, "config_yaml"));
    jt_each(row, jt_get(&doc, "requests"))
    {
        if (str_has_prefix(jt_str(row, "path"), STR("/-/"))) /* vane's own answer to these differs */
            continue;
        site.now_ms += 3;
        wrong += !play(row, &ids, &a);
        n++;
    }
    close_all();
    assert_true(n > 40);
    assert_int_equal(wrong, 0);
}

/* ---- our own ---- */
#define YAML "route: {receiver: r}\nreceivers:\n- name: r\n  webhook_configs: [{url: 'http://x.example/hunter2'}]\n"

static void refused(const char *path, const char *body, int status, const char *says)
{
    struct answer r = site_post(path, "application/json", NULL, str_c(body));
    if (r.status != status || !str_contains(r.body, str_c(says)))
        fail_msg("%s %s: %d " STR_FMT, path, body, r.status, STR_ARG(r.body));
}

static void bad_input(void **state)
{
    (void)state;
    open_with(STR(YAML));
    refused("/api/v2/alerts", "[1]", 400, "cannot unmarshal number into Go value of type models.PostableAlert");
    refused("/api/v2/alerts", "[{\"labels\":{\"a\":1}}]", 400, "cannot unmarshal number");
    refused("/api/v2/alerts", "[{\"labels\":{\"a\":\"b\"},\"startsAt\":\"yesterday\"}]", 400, "parsing time");
    refused("/api/v2/alerts", "[{\"annotations\":{}}]", 422, "labels in body is required");
    refused("/api/v2/alerts", "[] x", 400, "failed, because");
    refused("/api/v2/alerts", "", 400, "unexpected EOF");
    refused("/api/v2/silences", "[]", 400, "cannot unmarshal array into Go value of type models.PostableSilence");
    refused("/api/v2/silences", "{}", 422, "validation failure list:\\ncomment in body is required\\ncreatedBy");
    refused("/api/v2/silences", "{\"matchers\":[{\"isRegex\":true}]}", 422, "matchers.0.name in body is required");
    assert_int_equal(woken, 0);
    struct answer r = site_get("/api/v2/alerts?receiver=%5B");
    assert_int_equal(r.status, 400);
    close_all();
}

static void prefix_and_status(void **state)
{
    (void)state;
    open_with(STR(YAML));
    struct answer r = site_post("/alertmanager/api/v2/alerts", "application/json", NULL,
                                STR("[{\"labels\":{\"a\":\"<b>\"},\"annotations\":{\"é\":\"x\"}}]"));
    assert_int_equal(r.status, 200);
    assert_int_equal(woken, 1);
    r = site_get("/alertmanager/api/v2/alerts");
    assert_true(str_contains(r.body, STR("\"a\":\"<b>\"")) || str_contains(r.body, STR("\\u003cb\\u003e")));
    r = site_get("/api/v2/status");
    assert_int_equal(r.status, 200);
    assert_true(str_contains(r.body, STR("receiver: r")) && !str_contains(r.body, STR("hunter2")));
    close_all();
}

static void has(const char *path, const char *text)
{
    struct answer r = site_get(path);
    if (r.status != 200 || !str_contains(r.body, str_c(text)))
        fail_msg("%s: %d " STR_FMT "\nlacks %s", path, r.status, STR_ARG(r.body), text);
}

static size_t rows(const char *path)
{
    struct answer r = site_get(path);
    size_t n = 0, at;
    for (str s = r.body; (at = str_find(s, STR("\"since\":"))) != SIZE_MAX; s = str_skip(s, at + 1))
        n++;
    return n;
}

static void a_page_of_alerts(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    open_with(STR("route: {receiver: r, routes: [{match: {team: db}, receiver: db}]}\n"
                  "receivers: [{name: r}, {name: db}]\n"));
    for (int i = 0; i < 1200; i++)
        buf_printf(
            &b,
            "%c{\"labels\":{\"alertname\":\"A%d\",\"i\":\"%d\",\"team\":\"%s\"},\"annotations\":{\"summary\":\"Disk "
            "%d\"}}",
            i ? ',' : '[', i % 40, i, i % 4 ? "web" : "db", i);
    buf_u8(&b, ']');
    assert_int_equal(site_post("/api/v2/alerts", "application/json", NULL, buf_str(&b)).status, 200);
    assert_int_equal(site_post("/api/v2/silences", "application/json", NULL,
                               STR("{\"matchers\":[{\"name\":\"i\",\"value\":\"7\",\"isRegex\":false}],\"startsAt\":"
                                   "\"2026-09-01T00:00:00Z\",\"endsAt\":\"2099-01-01T00:00:00Z\",\"createdBy\":\"ada\","
                                   "\"comment\":\"c\"}"))
                         .status,
                     200);
    has("/api/v1/alerting/alerts",
        "\"configured\":true,\"rules\":0,\"failingRules\":0,\"firing\":1200,\"pending\":0,\"quiet\":1,\"sent\":1200,"
        "\"matching\":"
        "1200,"
        "\"groupsMatching\":40,\"labelNames\":[\"alertname\",\"i\",\"team\"],\"groups\":[{\"key\":\"=A0\",\"title\":"
        "\"A0\","
        "\"firing\":30,\"pending\":0,\"rule\":null,\"alerts\":[{\"labels\":{\"alertname\":\"A0\"");
    assert_int_equal(rows("/api/v1/alerting/alerts"), 250);
    assert_int_equal(rows("/api/v1/alerting/alerts?groups=3&limit=2"), 6);
    assert_int_equal(rows("/api/v1/alerting/alerts?group=%3DA39&limit=100"), 30);
    assert_int_equal(rows("/api/v1/alerting/alerts?group=none"), 0);
    has("/api/v1/alerting/alerts?by=receiver&groups=1&limit=1",
        "\"groupsMatching\":2,\"labelNames\":[\"alertname\",\"i\",\"team\"],\"groups\":[{\"key\":\"db\",\"title\":"
        "\"db\","
        "\"firing\":300,");
    has("/api/v1/alerting/alerts?by=nothing", "\"groups\":[{\"key\":\"\",\"title\":\"\",\"firing\":1200,");
    assert_int_equal(rows("/api/v1/alerting/alerts?by=nothing&group=&limit=900"), 900);
    has("/api/v1/alerting/alerts?q=DISK+1199", "\"matching\":1,");
    has("/api/v1/alerting/alerts?q=team%3Ddb+i%3D11", "\"matching\":27,");
    has("/api/v1/alerting/alerts?filter=team%3Ddb&filter=i%3D~%22.%22", "\"matching\":3,");
    has("/api/v1/alerting/alerts?state=quiet", "\"receivers\":[\"r\"],\"silencedBy\":[\"");
    has("/api/v1/alerting/alerts?state=pending", "\"matching\":0,\"groupsMatching\":0,");
    assert_int_equal(site_get("/api/v1/alerting/alerts?state=odd").status, 400);
    assert_int_equal(site_get("/api/v1/alerting/alerts?filter=%7B").status, 400);
    assert_int_equal(site_get("/api/v1/alerting/alerts?limit=x").status, 400);
    close_all();
}

static void routes(void **state)
{
    (void)state;
    open_with(STR(
        "route:\n"
        "  receiver: def\n"
        "  group_by: [alertname]\n"
        "  routes:\n"
        "  - {matchers: [team=db], receiver: db, continue: true, mute_time_intervals: [never]}\n"
        "  - {matchers: ['severity=~\"page|warn\"'], group_by: [...], repeat_interval: 90m, routes: [{match: {x: y}, "
        "receiver: db}]}\n"
        "  - {match: {team: web}, receiver: db}\n"
        "receivers: [{name: def}, {name: db, webhook_configs: [{url: 'http://h/secret'}]}]\n"
        "time_intervals: [{name: never, time_intervals: [{years: ['1970']}]}]\n"));
    struct answer r = site_get("/api/v1/alerting/routes");
    assert_int_equal(r.status, 200);
    assert_true(str_contains(
        r.body, STR("{\"index\":2,\"parent\":0,\"id\":\"{}/{severity=~\\\"page|warn\\\"}/1\",\"matchers\":[\"severity=~"
                    "\\\"page|warn\\\"\"],\"continue\":false,\"receiver\":\"def\",\"groupBy\":[],\"groupByAll\":true,"
                    "\"groupWait\":\"30s\",\"groupInterval\":\"5m\",\"repeatInterval\":\"1h30m\"")));
    assert_true(str_contains(r.body, STR("{\"kind\":\"webhook\",\"index\":0,\"sendResolved\":true}")));
    assert_true(str_contains(r.body, STR("{\"name\":\"never\",\"now\":false}")));
    assert_false(str_contains(r.body, STR("secret")));
    r = site_get("/api/v1/alerting/routes/test?labels=team=db,severity=page&labels=%7Balertname%3D%22A%22%7D");
    assert_int_equal(r.status, 200);
    assert_true(
        str_contains(r.body, STR("\"steps\":[{\"route\":0,\"result\":\"passed\"},{\"route\":1,\"result\":"
                                 "\"taken\"},{\"route\":2,\"result\":\"taken\"},{\"route\":3,\"result\":\"no\"}]")));
    assert_true(
        str_contains(r.body, STR("\"matches\":[{\"route\":1,\"receiver\":\"db\",\"group\":{\"alertname\":\"A\"},"
                                 "\"muted\":false},{\"route\":2,\"receiver\":\"def\",\"group\":{\"alertname\":\"A\","
                                 "\"severity\":\"page\",\"team\":\"db\"},\"muted\":false}],\"silencedBy\":[]")));
    r = site_get("/api/v1/alerting/routes/test");
    assert_true(
        str_contains(r.body, STR("\"matches\":[{\"route\":0,\"receiver\":\"def\",\"group\":{},\"muted\":false}]")));
    r = site_get("/api/v1/alerting/routes/test?labels=team!=db");
    assert_int_equal(r.status, 400);
    r = site_get("/api/v1/alerting/routes/test?labels=team");
    assert_int_equal(r.status, 400);
    close_all();
}

static void without_one(void **state)
{
    (void)state;
    site_open(NULL);
    struct answer r = site_get("/api/v2/alerts");
    assert_int_equal(r.status, 404);
    assert_true(str_contains(r.body, STR("alertmanager:")));
    assert_int_equal(site_post("/api/v2/alerts", "application/json", NULL, STR("[]")).status, 404);
    r = site_get("/api/v1/alerting/status");
    assert_string_equal(arena_printf(&site.a, STR_FMT, STR_ARG(r.body)).p,
                        "{\"status\":\"success\",\"data\":{\"configured\":false}}");
    r = site_get("/api/v1/alerting/routes");
    assert_int_equal(r.status, 404);
    assert_true(str_contains(r.body, STR("alertmanager:")));
    site_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(session),          cmocka_unit_test(bad_input), cmocka_unit_test(prefix_and_status),
        cmocka_unit_test(a_page_of_alerts), cmocka_unit_test(routes),    cmocka_unit_test(without_one),
    };
    return cmocka_run_group_tests_name("api/alertmanager", tests, NULL, NULL);
}
