/* What was decided about alerts and why: /api/v1/alerting/history, /api/v1/alerting/explain; and who takes care:
 * /api/v1/alerting/acks. Alerts are the default tenant's. */
#include "alerting/am_ack.h"
#include "alerting/am_explain.h"
#include "alerting/am_history.h"

#include <stdio.h>

#include "api/api_int.h"
#include "rules/rules_manager.h"

static void json_hex(struct json_out *j, uint64_t v)
{
    char text[17];
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)v);
    json_str(j, str_c(text));
}

static void json_khex(struct json_out *j, str key, uint64_t v)
{
    json_key(j, key);
    if (v)
        json_hex(j, v);
    else
        json_put_null(j);
}

static bool parse_hex(str s, uint64_t *ret)
{
    *ret = 0;
    for (size_t i = 0; i < s.n; i++) {
        int digit = s.p[i] >= '0' && s.p[i] <= '9'                 ? s.p[i] - '0'
                    : (s.p[i] | 32) >= 'a' && (s.p[i] | 32) <= 'f' ? (s.p[i] | 32) - 'a' + 10
                                                                   : -1;
        if (digit < 0)
            return false;
        *ret = *ret << 4 | (uint64_t)digit;
    }
    return s.n && s.n <= 16;
}

/* ---- parameters ---- */
static bool hex_param(struct http_request *rq, struct http_response *rs, uint64_t *ret)
{
    str s = http_param(rq, STR("fingerprint"));
    *ret = 0;
    if (!s.n || parse_hex(s, ret))
        return true;
    api_fail_param(rs, "fingerprint", "it has up to 16 hexadecimal digits");
    return false;
}

static bool add_matchers(struct http_response *rs, struct arena *a, str text, struct am_matchers *m)
{
    struct am_matchers more = { 0 };
    struct err_text why = { 0 };
    if (am_matchers_parse(a, text, AM_FALLBACK, &more, &why) != OK) {
        api_fail_param(rs, "filter", why.msg);
        return false;
    }
    if (m->n + more.n > AM_MATCHERS_MAX) {
        am_matchers_free(&more);
        api_fail_param(rs, "filter", "too many matchers");
        return false;
    }
    struct am_matcher *p = arena_array(a, struct am_matcher, m->n + more.n + 1);
    if (m->n)
        memcpy(p, m->p, m->n * sizeof(*p));
    if (more.n)
        memcpy(p + m->n, more.p, more.n * sizeof(*p));
    m->p = p;
    m->n += more.n;
    return true;
}

/* All `filter` parameters together; free with am_matchers_free(). */
static bool filter_params(struct http_request *rq, struct http_response *rs, struct am_matchers *ret)
{
    const str *texts;
    size_t n = http_params(rq, STR("filter"), &texts);
    *ret = (struct am_matchers){ 0 };
    for (size_t i = 0; i < n; i++)
        if (!add_matchers(rs, rq->a, texts[i], ret))
            return false;
    return true;
}

static bool kind_params(struct http_request *rq, struct http_response *rs, uint32_t *ret)
{
    const str *texts;
    size_t n = http_params(rq, STR("kind"), &texts);
    *ret = 0;
    for (size_t i = 0; i < n; i++) {
        str rest = texts[i], name;
        while (str_cut(&rest, ',', &name)) {
            enum am_event_kind k;
            if (!am_event_kind_parse(name, &k)) {
                api_fail(rs, API_BAD_DATA, "invalid parameter \"kind\": there is no \"" STR_FMT "\"",
                         STR_ARG(str_take(name, 64)));
                return false;
            }
            *ret |= 1u << k;
        }
    }
    return true;
}

/* ---- history ---- */
static void event_json(struct json_out *j, const struct am_event *e)
{
    json_obj(j);
    json_ki64(j, "id", e->id);
    api_json_moment(j, STR("time"), e->at_ms);
    json_kstr(j, "kind", str_c(am_event_kind_name(e->kind)));
    json_khex(j, STR("fingerprint"), e->fingerprint);
    json_key(j, STR("labels"));
    labels_json(j, e->labels);
    json_kstr(j, "groupKey", e->group_key);
    json_kstr(j, "receiver", e->receiver);
    json_kstr(j, "integration", e->integration);
    json_kstr(j, "actor", e->actor);
    json_kstr(j, "text", e->text);
    json_khex(j, STR("idempotencyKey"), e->idempotency);
    json_ku64(j, "attempt", e->attempt);
    json_key(j, STR("alerts"));
    json_arr(j);
    for (size_t i = 0; i < e->n_alerts; i++)
        json_hex(j, e->alerts[i]);
    json_arr_end(j);
    json_kbool(j, "drill", e->drill);
    json_obj_end(j);
}

static void events_json(struct json_out *j, const struct am_history_page *page)
{
    json_arr(j);
    for (size_t i = 0; i < page->n; i++)
        event_json(j, &page->events[i]);
    json_arr_end(j);
}

static void answer_history(struct http_request *rq, struct http_response *rs, struct am *am,
                           const struct am_history_filter *f)
{
    struct am_history_page page;
    struct err_text why = { 0 };
    enum err e = am_history_query(am, f, rq->a, &page, &why);
    if (e) {
        api_fail(rs, API_INTERNAL, "%s", why.msg);
        return;
    }
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_key(&j, STR("events"));
    events_json(&j, &page);
    json_key(&j, STR("next"));
    if (page.next_id)
        json_i64(&j, page.next_id);
    else
        json_put_null(&j);
    json_kbool(&j, "cut", page.cut);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

static void get_history(struct http_request *rq, struct http_response *rs)
{
    struct am *am = api_am(rq, rs);
    struct am_matchers m = { 0 };
    struct am_history_filter f = { .receiver = http_param(rq, STR("receiver")),
                                   .group_key = http_param(rq, STR("group")),
                                   .contains = http_param(rq, STR("q")) };
    str before = http_param(rq, STR("before"));
    if (!am || !hex_param(rq, rs, &f.fingerprint) || !kind_params(rq, rs, &f.kinds) ||
        !api_time_param(rq, rs, "start", 0, &f.from_ms) || !api_time_param(rq, rs, "end", 0, &f.to_ms) ||
        !api_limit_param(rq, rs, "limit", &f.limit))
        return;
    if (before.n && (!str_to_i64(before, &f.before_id) || f.before_id <= 0)) {
        api_fail_param(rs, "before", "it is the \"next\" of an earlier answer");
        return;
    }
    if (filter_params(rq, rs, &m)) {
        f.matchers = m.n ? &m : NULL;
        answer_history(rq, rs, am, &f);
    }
    am_matchers_free(&m);
}

/* ---- acknowledgements ---- */
static void ack_json(struct json_out *j, const struct am_ack *k)
{
    json_obj(j);
    json_khex(j, STR("fingerprint"), k->fingerprint);
    json_key(j, STR("labels"));
    labels_json(j, k->labels);
    json_kstr(j, "owner", k->owner);
    json_kstr(j, "comment", k->comment);
    api_json_moment(j, STR("at"), k->at_ms);
    api_json_moment(j, STR("until"), k->until_ms);
    json_obj_end(j);
}

static void get_acks(struct http_request *rq, struct http_response *rs)
{
    struct am *am = api_am(rq, rs);
    struct am_ack *p;
    size_t n;
    if (!am)
        return;
    am_acks(am, api_now_ms(api_of(rq)), rq->a, &p, &n);
    struct json_out j = api_begin(rs);
    json_arr(&j);
    for (size_t i = 0; i < n; i++)
        ack_json(&j, &p[i]);
    json_arr_end(&j);
    api_end(&j, NULL, 0);
}

struct ack_request {
    struct am_matchers m;
    str fingerprint, group, owner, comment, until, lasts;
    struct am_ack_target target;
    int64_t until_ms;
};

static bool read_filters(struct json_in *in, struct http_response *rs, struct arena *a, struct am_matchers *m)
{
    if (json_next(in) != JSON_TOK_ARR)
        return false;
    while (json_next(in) == JSON_TOK_STR)
        if (!add_matchers(rs, a, arena_str(a, in->text), m))
            return false;
    return in->tok == JSON_TOK_ARR_END;
}

/* {"fingerprint" | "group" | "filter": [...], "owner", "comment", "until" | "for"} */
static bool read_ack(struct http_request *rq, struct http_response *rs, struct ack_request *k)
{
    struct json_in in;
    json_in_init(&in, rq->a, rq->body);
    const struct {
        str key;
        str *to;
    } fields[] = { { STR("fingerprint"), &k->fingerprint }, { STR("group"), &k->group }, { STR("owner"), &k->owner },
                   { STR("comment"), &k->comment },         { STR("until"), &k->until }, { STR("for"), &k->lasts } };
    bool ok = json_next(&in) == JSON_TOK_OBJ;
    while (ok && json_next(&in) == JSON_TOK_KEY) {
        str *to = NULL;
        for (size_t i = 0; i < ARRAY_LEN(fields); i++)
            if (str_eq(in.text, fields[i].key))
                to = fields[i].to;
        if (!to && str_eq(in.text, STR("filter"))) {
            ok = read_filters(&in, rs, rq->a, &k->m);
            continue;
        }
        ok = to && json_next(&in) == JSON_TOK_STR;
        if (ok)
            *to = arena_str(rq->a, in.text);
    }
    ok = ok && in.tok == JSON_TOK_OBJ_END && json_next(&in) == JSON_TOK_END;
    if (!ok && !rs->body.n)
        api_fail(rs, API_BAD_DATA,
                 "the body is an object {\"fingerprint\": \"...\" or \"group\": \"...\" or \"filter\": [matchers], "
                 "\"owner\": "
                 "\"...\", \"comment\": \"...\", \"until\": time or \"for\": \"2h\"} of strings");
    return ok;
}

static bool find_target(struct http_response *rs, struct ack_request *k)
{
    k->target = (struct am_ack_target){ .group_key = k->group, .matchers = k->m.n ? &k->m : NULL };
    if (k->fingerprint.n && !parse_hex(k->fingerprint, &k->target.fingerprint)) {
        api_fail_param(rs, "fingerprint", "it has up to 16 hexadecimal digits");
        return false;
    }
    if (k->target.fingerprint || k->group.n || k->m.n)
        return true;
    api_fail(rs, API_BAD_DATA, "say which alerts are meant: by fingerprint, group or filter");
    return false;
}

static bool find_end(struct http_response *rs, int64_t now_ms, struct ack_request *k)
{
    const char *why = "not a time";
    int64_t lasts_ms;
    if (k->until.n && !api_parse_time(k->until, &k->until_ms)) {
        api_fail_param(rs, "until", why);
        return false;
    }
    if (!k->until.n && k->lasts.n) {
        if (!api_parse_duration(k->lasts, &lasts_ms, &why)) {
            api_fail_param(rs, "for", why);
            return false;
        }
        k->until_ms = now_ms + lasts_ms;
    }
    return true;
}

static void answer_ack(struct http_request *rq, struct http_response *rs, enum err e, size_t n, const char *why)
{
    const struct api_alertmanager *x = api_of(rq)->d.alertmanager;
    if (e) {
        api_fail(rs,
                 e == ERR_NOT_FOUND                   ? API_NOT_FOUND
                 : e == ERR_INVALID || e == ERR_LIMIT ? API_BAD_DATA
                                                      : API_INTERNAL,
                 "%s", why);
        return;
    }
    if (x->wake)
        x->wake(x->ctx);
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_ku64(&j, "alerts", n);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

static void post_acks(struct http_request *rq, struct http_response *rs)
{
    struct am *am = api_am(rq, rs);
    struct ack_request k = { 0 };
    struct err_text why = { 0 };
    int64_t now = api_now_ms(api_of(rq));
    size_t n = 0;
    if (!am)
        return;
    if (read_ack(rq, rs, &k) && find_target(rs, &k) && find_end(rs, now, &k)) {
        enum err e = am_ack_set(am, &k.target, k.owner, k.comment, k.until_ms, now, &n, &why);
        answer_ack(rq, rs, e, n, why.msg);
    }
    am_matchers_free(&k.m);
}

static void delete_acks(struct http_request *rq, struct http_response *rs)
{
    struct am *am = api_am(rq, rs);
    struct ack_request k = { .fingerprint = http_param(rq, STR("fingerprint")), .group = http_param(rq, STR("group")) };
    struct err_text why = { 0 };
    size_t n = 0;
    if (!am)
        return;
    if (filter_params(rq, rs, &k.m) && find_target(rs, &k)) {
        enum err e = am_ack_clear(am, &k.target, http_param(rq, STR("owner")), api_now_ms(api_of(rq)), &n, &why);
        answer_ack(rq, rs, e, n, why.msg);
    }
    am_matchers_free(&k.m);
}

/* ---- explain ---- */
static void rule_alert_json(struct json_out *j, const struct rule_alert *al, const struct rule_facts *f,
                            const struct rules_view *v)
{
    AUTO_BUF struct buf value;
    buf_init(&value, 0);
    buf_f64_e(&value, al->value);
    json_obj(j);
    json_kstr(j, "rule", f->rule->name);
    json_kstr(j, "group", v->group->name);
    json_kstr(j, "file", v->group->file);
    json_kstr(j, "state", str_c(alert_state_name(al->state)));
    json_kstr(j, "value", buf_str(&value));
    api_json_moment(j, STR("activeAt"), al->active_at_ms);
    api_json_moment(j, STR("firedAt"), al->fired_at_ms);
    api_json_moment(j, STR("resolvedAt"), al->resolved_at_ms);
    json_kf64(j, "for", (double)f->rule->for_ms / 1e3);
    api_json_moment(j, STR("firesAt"), al->state == ALERT_PENDING ? al->active_at_ms + f->rule->for_ms : 0);
    json_key(j, STR("labels"));
    labels_json(j, al->labels);
    json_obj_end(j);
}

/* May alerts of this rule match? What the rule itself says of its labels decides, where it says something. */
static bool may_match(const struct rule *r, const struct am_matchers *m)
{
    for (size_t i = 0; i < m->n; i++)
        if (str_eq(m->p[i].name, STR("alertname")) && !am_matcher_matches(&m->p[i], r->name))
            return false;
    return r->alerting;
}

static void rule_json(struct json_out *j, const struct rule_facts *f, const struct rules_view *v,
                      const struct am_matchers *m)
{
    AUTO_BUF struct buf query;
    buf_init(&query, 0);
    promql_print(&query, f->rule->parsed);
    json_obj(j);
    json_kstr(j, "name", f->rule->name);
    json_kstr(j, "group", v->group->name);
    json_kstr(j, "file", v->group->file);
    json_kstr(j, "query", buf_str(&query));
    json_kstr(j, "health", str_c(f->health));
    json_kstr(j, "lastError", str_c(f->last_error));
    api_json_moment(j, STR("lastEvaluation"), f->last_eval_ms);
    json_kf64(j, "interval", (double)v->interval_ms / 1e3);
    json_key(j, STR("alerts"));
    json_arr(j);
    for (size_t i = 0; i < f->n_alerts; i++)
        if (am_matchers_match(m, f->alerts[i]->labels))
            rule_alert_json(j, f->alerts[i], f, v);
    json_arr_end(j);
    json_obj_end(j);
}

static void rules_json(struct json_out *j, const struct api *api, const struct am_matchers *m)
{
    struct rules_snapshot s = rules_manager_snapshot(api->d.rules);
    json_arr(j);
    for (size_t g = 0; g < s.n; g++)
        for (size_t i = 0; i < s.groups[g]->group->n_rules; i++)
            if (may_match(s.groups[g]->rules[i].rule, m))
                rule_json(j, &s.groups[g]->rules[i], s.groups[g], m);
    json_arr_end(j);
    rules_snapshot_deinit(&s);
}

static void integration_json(struct json_out *j, const struct am_explained_integration *in)
{
    json_obj(j);
    json_kstr(j, "name", in->name);
    api_json_moment(j, STR("lastSent"), in->sent_ms);
    json_kbool(j, "toldFiring", in->told_firing);
    api_json_moment(j, STR("repeatsAfter"), in->repeat_ms);
    json_kbool(j, "onItsWay", in->on_its_way);
    json_ku64(j, "attempt", in->attempt);
    api_json_moment(j, STR("nextAttempt"), in->retry_ms);
    json_obj_end(j);
}

static void group_json(struct json_out *j, const struct am_explained_group *g)
{
    json_obj(j);
    json_kstr(j, "receiver", g->route->receiver);
    json_kstr(j, "route", g->route->id);
    json_kstr(j, "groupKey", g->key);
    json_kbool(j, "inGroup", g->exists);
    json_kbool(j, "hadTurn", g->had_turn);
    api_json_moment(j, STR("nextTurn"), g->next_ms);
    json_kbool(j, "muted", g->muted);
    json_key(j, STR("leftOut"));
    if (g->left_out)
        json_str(j, str_c(g->left_out));
    else
        json_put_null(j);
    json_key(j, STR("integrations"));
    json_arr(j);
    for (size_t i = 0; i < g->n_integrations; i++)
        integration_json(j, &g->integrations[i]);
    json_arr_end(j);
    json_obj_end(j);
}

/* What every route on the way said, with its matchers. */
static void steps_json(struct json_out *j, const struct am_route *r, const uint8_t *steps)
{
    static const char *const words[] = { "", "no", "passed", "taken" };
    AUTO_BUF struct buf b = { 0 };
    if (steps[r->index] == AM_ROUTE_UNASKED)
        return;
    buf_init(&b, 0);
    am_matchers_print(&b, &r->matchers);
    json_obj(j);
    json_kstr(j, "route", r->id);
    json_kstr(j, "matchers", buf_str(&b));
    json_kstr(j, "receiver", r->receiver);
    json_kstr(j, "result", str_c(words[steps[r->index]]));
    json_obj_end(j);
    for (size_t i = 0; i < r->n_routes; i++) /* depth: am_route_conf bounds it */
        steps_json(j, r->routes[i], steps);
}

static void keeps_quiet_json(struct json_out *j, const struct am_explained *x)
{
    json_key(j, STR("silencedBy"));
    json_arr(j);
    for (size_t i = 0; i < x->n_silences; i++) {
        json_obj(j);
        json_kstr(j, "id", x->silences[i].id);
        json_kstr(j, "createdBy", x->silences[i].created_by);
        json_kstr(j, "comment", x->silences[i].comment);
        api_json_moment(j, STR("endsAt"), x->silences[i].ends_ms);
        json_obj_end(j);
    }
    json_arr_end(j);
    json_key(j, STR("inhibitedBy"));
    json_arr(j);
    for (size_t i = 0; i < x->n_inhibited_by; i++)
        labels_json(j, x->inhibited_by[i]);
    json_arr_end(j);
    json_key(j, STR("acknowledged"));
    if (x->acked)
        ack_json(j, &x->ack);
    else
        json_put_null(j);
}

static void explained_json(struct json_out *j, struct http_request *rq, struct am *am, const struct am_config *cfg,
                           const struct am_explained *x)
{
    struct am_history_page page = { 0 };
    const struct am_history_filter f = { .fingerprint = x->fingerprint, .limit = 50 };
    IGNORE_ERR(am_history_query(am, &f, rq->a, &page, NULL)); /* without it the rest still helps */
    json_obj(j);
    json_kstr(j, "verdict", x->verdict);
    json_key(j, STR("labels"));
    labels_json(j, x->labels);
    json_khex(j, STR("fingerprint"), x->fingerprint);
    json_kstr(j, "state", !x->known ? STR("unknown") : x->fires ? STR("firing") : STR("resolved"));
    api_json_moment(j, STR("startsAt"), x->known ? x->alert.starts_ms : 0);
    api_json_moment(j, STR("endsAt"), x->known ? x->alert.ends_ms : 0);
    keeps_quiet_json(j, x);
    json_key(j, STR("steps"));
    json_arr(j);
    steps_json(j, cfg->route, x->steps);
    json_arr_end(j);
    json_key(j, STR("groups"));
    json_arr(j);
    for (size_t i = 0; i < x->n_groups; i++)
        group_json(j, &x->groups[i]);
    json_arr_end(j);
    json_key(j, STR("history"));
    events_json(j, &page);
    json_obj_end(j);
}

/* NAME, NAME{a="b"}, {a="b"}: NAME is the alertname. */
static bool alert_param(struct http_request *rq, struct http_response *rs, struct am_matchers *ret)
{
    str text = http_param(rq, STR("alert"));
    size_t brace = str_find_char(text, '{');
    str name = str_trim(str_take(text, MIN(brace, text.n))), rest = str_skip(text, MIN(brace, text.n));
    struct err_text why = { 0 };
    *ret = (struct am_matchers){ 0 };
    if (!text.n) {
        api_fail_param(rs, "alert", "it is NAME{label=\"value\", ...}");
        return false;
    }
    if (rest.n && !add_matchers(rs, rq->a, rest, ret))
        return false;
    if (!name.n)
        return true;
    struct am_matcher *p = arena_zarray(rq->a, struct am_matcher, ret->n + 1);
    if (ret->n)
        memcpy(p, ret->p, ret->n * sizeof(*p));
    ret->p = p;
    if (am_matcher_init(&p[ret->n], rq->a, AM_EQ, STR("alertname"), name, &why) == OK)
        ret->n++;
    return true;
}

static void get_explain(struct http_request *rq, struct http_response *rs)
{
    struct am *am = api_am(rq, rs);
    struct am_matchers m;
    struct am_explanation x;
    if (!am || !alert_param(rq, rs, &m))
        return;
    am_explain(am, &m, api_now_ms(api_of(rq)), rq->a, &x);
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_key(&j, STR("rules"));
    rules_json(&j, api_of(rq), &m);
    json_key(&j, STR("alerts"));
    json_arr(&j);
    for (size_t i = 0; i < x.n; i++)
        explained_json(&j, rq, am, x.cfg, &x.alerts[i]);
    json_arr_end(&j);
    json_ku64(&j, "more", x.n_more);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
    am_config_unref(x.cfg);
    am_matchers_free(&m);
}

#define GET  HTTP_BIT(HTTP_GET)
#define POST HTTP_BIT(HTTP_POST)
const struct http_route api_history_routes[] = {
    { GET, "/api/v1/alerting/history", get_history, HTTP_QUERY, NULL, HTTP_CORS },
    { GET, "/api/v1/alerting/explain", get_explain, HTTP_QUERY, NULL, HTTP_CORS },
    { GET, "/api/v1/alerting/acks", get_acks, HTTP_CONTROL, NULL, HTTP_CORS },
    { POST, "/api/v1/alerting/acks", post_acks, HTTP_INGEST, NULL, HTTP_NO_FORM },
    { HTTP_BIT(HTTP_DELETE), "/api/v1/alerting/acks", delete_acks, HTTP_INGEST, NULL, 0 },
};
const size_t api_history_routes_n = ARRAY_LEN(api_history_routes);
