/* GET /api/v1/alerting/status: is there an Alertmanager? /routes: the routing tree as it is in use, with receivers and time intervals, for pages and tools
 * that draw it; /routes/test: which way labels take through it, with what every route said.
 * Routes are a flat list, parents first, told apart by their index. Alerts are the default tenant's. */
#include "alerting/am.h"
#include "alerting/am_policy.h"

#include "api/api_int.h"

/* With a reference of the configuration; NULL after an answer. */
static struct am_config *config(struct http_request *rq, struct http_response *rs)
{
    struct am *am = api_am(rq, rs);
    return am ? am_config_in_use(am) : NULL;
}

static void json_strs(struct json_out *j, str key, const str *p, size_t n)
{
    json_key(j, key);
    json_arr(j);
    for (size_t i = 0; i < n; i++)
        json_str(j, p[i]);
    json_arr_end(j);
}

static void json_matchers(struct json_out *j, const struct am_matchers *m)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    json_key(j, STR("matchers"));
    json_arr(j);
    for (size_t i = 0; i < m->n; i++) {
        buf_clear(&b);
        am_matcher_print(&b, &m->p[i]);
        json_str(j, buf_str(&b));
    }
    json_arr_end(j);
}

/* What made the route, if alert_policy did. */
static void policy_json(struct json_out *j, const struct am_route_policy *p)
{
    if (!p)
        return;
    json_key(j, STR("policy"));
    json_obj(j);
    json_kstr(j, "severity", p->severity->name);
    if (p->digest)
        json_kstr(j, "digest", p->digest->name);
    if (p->step) {
        json_kstr(j, "escalation", p->escalation_name);
        json_ku64(j, "step", p->step);
        api_json_duration(j, STR("after"), p->after_ms);
    }
    json_obj_end(j);
}

static void route_json(struct json_out *j, const struct am_config *c, const struct am_route *r, int64_t now_ms)
{
    json_obj(j);
    json_ku64(j, "index", r->index);
    json_key(j, STR("parent"));
    if (r->parent)
        json_u64(j, r->parent->index);
    else
        json_put_null(j);
    json_kstr(j, "id", r->id);
    json_matchers(j, &r->matchers);
    json_kbool(j, "continue", r->goes_on);
    json_kstr(j, "receiver", r->receiver);
    json_strs(j, STR("groupBy"), r->group_by, r->n_group_by);
    json_kbool(j, "groupByAll", r->group_by_all);
    api_json_duration(j, STR("groupWait"), r->group_wait_ms);
    api_json_duration(j, STR("groupInterval"), r->group_interval_ms);
    api_json_duration(j, STR("repeatInterval"), r->repeat_interval_ms);
    json_strs(j, STR("muteTimeIntervals"), r->mute, r->n_mute);
    json_strs(j, STR("activeTimeIntervals"), r->active, r->n_active);
    policy_json(j, r->policy);
    json_kbool(j, "muted", am_config_muted(c, r, now_ms));
    json_obj_end(j);
}

static void tree_json(struct json_out *j, const struct am_config *c, const struct am_route *r, int64_t now_ms)
{
    route_json(j, c, r, now_ms);
    for (size_t i = 0; i < r->n_routes; i++) /* depth: am_route_conf bounds it */
        tree_json(j, c, r->routes[i], now_ms);
}

static void receiver_json(struct json_out *j, const struct am_receiver *v)
{
    json_obj(j);
    json_kstr(j, "name", v->name);
    json_key(j, STR("integrations"));
    json_arr(j);
    for (size_t i = 0; i < v->n_integrations; i++) {
        json_obj(j);
        json_kstr(j, "kind", str_c(am_kind_name(v->integrations[i].kind)));
        json_ku64(j, "index", v->integrations[i].index);
        json_kbool(j, "sendResolved", v->integrations[i].of->send_resolved);
        json_obj_end(j);
    }
    json_arr_end(j);
    json_obj_end(j);
}

static void get_routes(struct http_request *rq, struct http_response *rs)
{
    struct am_config *c = config(rq, rs);
    int64_t now = api_now_ms(api_of(rq));
    if (!c)
        return;
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_key(&j, STR("routes"));
    json_arr(&j);
    tree_json(&j, c, c->route, now);
    json_arr_end(&j);
    json_key(&j, STR("receivers"));
    json_arr(&j);
    for (size_t i = 0; i < c->receivers.n; i++)
        receiver_json(&j, &c->receivers.p[i]);
    json_arr_end(&j);
    json_key(&j, STR("timeIntervals"));
    json_arr(&j);
    for (size_t i = 0; i < c->n_intervals; i++) {
        json_obj(&j);
        json_kstr(&j, "name", c->intervals[i].name);
        json_kbool(&j, "now", am_intervals_contain(&c->intervals[i].intervals, now / 1000));
        json_obj_end(&j);
    }
    json_arr_end(&j);
    json_ku64(&j, "inhibitRules", c->inhibit.n);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
    am_config_unref(c);
}

/* {a="b", c="d"} in Alertmanager's notations, braces optional, as often as wanted. */
static bool read_labels(struct http_request *rq, struct http_response *rs, struct labels *ret)
{
    const str *texts;
    size_t n = http_params(rq, STR("labels"), &texts);
    struct label_builder b;
    bool ok = true;
    lb_init(&b, rq->a);
    lb_reset(&b, LABELS_NONE);
    for (size_t i = 0; i < n && ok; i++) {
        struct am_matchers m = { 0 };
        struct err_text why = { 0 };
        if (am_matchers_parse(rq->a, texts[i], AM_FALLBACK, &m, &why) != OK) {
            api_fail_param(rs, "labels", why.msg);
            ok = false;
        }
        for (size_t k = 0; k < m.n && ok; k++) {
            ok = m.p[k].type == AM_EQ;
            if (ok)
                lb_set(&b, m.p[k].name, m.p[k].value);
            else
                api_fail_param(rs, "labels", "labels have values: only = is meant here, as in severity=\"page\"");
        }
        am_matchers_free(&m);
    }
    *ret = lb_labels(&b);
    return ok;
}

static void steps_json(struct json_out *j, const struct am_config *c, const uint8_t *steps)
{
    static const char *const words[] = { "", "no", "passed", "taken" };
    json_key(j, STR("steps"));
    json_arr(j);
    for (size_t i = 0; i < c->n_routes; i++) {
        if (steps[i] == AM_ROUTE_UNASKED)
            continue;
        json_obj(j);
        json_ku64(j, "route", i);
        json_kstr(j, "result", str_c(words[steps[i]]));
        json_obj_end(j);
    }
    json_arr_end(j);
}

static void matches_json(struct json_out *j, const struct am_config *c, struct labels ls, struct arena *a,
                         int64_t now_ms)
{
    const struct am_route **r = arena_array(a, const struct am_route *, c->n_routes);
    size_t n = am_route_match(c->route, ls, r, c->n_routes);
    json_key(j, STR("matches"));
    json_arr(j);
    for (size_t i = 0; i < n; i++) {
        json_obj(j);
        json_ku64(j, "route", r[i]->index);
        json_kstr(j, "receiver", r[i]->receiver);
        json_key(j, STR("group"));
        labels_json(j, am_route_group(r[i], ls, a));
        json_kbool(j, "muted", am_config_muted(c, r[i], now_ms));
        policy_json(j, r[i]->policy);
        json_obj_end(j);
    }
    json_arr_end(j);
}

static void silences_json(struct json_out *j, struct am *am, struct labels ls, struct arena *a, int64_t now_ms)
{
    str *ids;
    size_t n;
    am_silences_of(am, ls, now_ms, a, &ids, &n);
    json_strs(j, STR("silencedBy"), ids, n);
}

static void test_routes(struct http_request *rq, struct http_response *rs)
{
    struct am_config *c = config(rq, rs);
    struct labels ls;
    int64_t now = api_now_ms(api_of(rq));
    if (c && read_labels(rq, rs, &ls)) {
        uint8_t *steps = arena_zarray(rq->a, uint8_t, c->n_routes);
        am_route_explain(c->route, ls, steps);
        struct json_out j = api_begin(rs);
        json_obj(&j);
        json_key(&j, STR("labels"));
        labels_json(&j, ls);
        steps_json(&j, c, steps);
        matches_json(&j, c, ls, rq->a, now);
        silences_json(&j, api_of(rq)->d.alertmanager->am, ls, rq->a, now);
        json_obj_end(&j);
        api_end(&j, NULL, 0);
    }
    am_config_unref(c);
}

/* For pages that work without one too: never an error. */
static void get_status(struct http_request *rq, struct http_response *rs)
{
    const struct api_alertmanager *x = api_tenant_is_default(rq) ? api_of(rq)->d.alertmanager : NULL;
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_kbool(&j, "configured", x != NULL);
    if (x) { /* false: a restart forgets alerts, silences and what was told */
        struct err_text why = { 0 };
        json_kbool(&j, "durable", am_durable(x->am, &why) == OK);
        json_kstr(&j, "error", str_c(why.msg));
    }
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

#define GET HTTP_BIT(HTTP_GET)
const struct http_route api_alerting_routes[] = {
    { GET, "/api/v1/alerting/status", get_status, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/alerting/routes", get_routes, HTTP_CONTROL, NULL, HTTP_CORS },
    { GET, "/api/v1/alerting/routes/test", test_routes, HTTP_CONTROL, NULL, HTTP_CORS },
};
const size_t api_alerting_routes_n = ARRAY_LEN(api_alerting_routes);
