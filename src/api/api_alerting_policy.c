/* What an alert_policy does, seen from outside: /api/v1/heartbeats (and the POST by which they come), and
 * /api/v1/alerting/severities: who is told how, and which alerts nobody has taken care of in time.
 * Alerts are the default tenant's. */
#include "alerting/am_ack.h"
#include "alerting/am_heartbeat.h"
#include "alerting/am_policy.h"

#include "api/api_int.h"

/* ---- heartbeats ---- */
static void heartbeat_json(struct json_out *j, const struct am_heartbeat_view *v)
{
    json_obj(j);
    json_kstr(j, "name", v->name);
    json_kstr(j, "state", v->missing ? STR("missing") : v->last_ms ? STR("ok") : STR("waiting"));
    api_json_duration(j, STR("period"), v->period_ms);
    api_json_duration(j, STR("grace"), v->grace_ms);
    api_json_moment(j, STR("lastSeen"), v->last_ms);
    api_json_moment(j, STR("due"), v->due_ms);
    json_key(j, STR("labels"));
    labels_json(j, v->labels);
    json_obj_end(j);
}

static void get_heartbeats(struct http_request *rq, struct http_response *rs)
{
    struct am *am = api_am(rq, rs);
    struct am_heartbeat_view *v;
    size_t n;
    if (!am)
        return;
    struct json_out j = api_begin(rs);
    am_heartbeats(am, api_now_ms(api_of(rq)), rq->a, &v, &n);
    json_arr(&j);
    for (size_t i = 0; i < n; i++)
        heartbeat_json(&j, &v[i]);
    json_arr_end(&j);
    api_end(&j, NULL, 0);
}

static void post_heartbeat(struct http_request *rq, struct http_response *rs)
{
    struct am *am = api_am(rq, rs);
    struct err_text why = { 0 };
    if (!am)
        return;
    enum err e = am_heartbeat_seen(am, rq->captures[0], api_now_ms(api_of(rq)), &why);
    if (e == ERR_NOT_FOUND) {
        api_fail(rs, API_NOT_FOUND, "%s", why.msg);
        return;
    }
    const struct api_alertmanager *x = api_of(rq)->d.alertmanager;
    if (x->wake)
        x->wake(x->ctx);
    if (e) {
        api_fail(rs, API_INTERNAL, "the heartbeat counts but was not stored: %s", why.msg);
        return;
    }
    struct json_out j = api_begin(rs);
    json_put_null(&j);
    api_end(&j, NULL, 0);
}

/* ---- severities ---- */
struct tally {
    size_t firing, acknowledged, overdue;
};

static void receivers_json(struct json_out *j, struct arena *a, const struct am_policy *p, const am_strs *channels)
{
    str *names;
    size_t n = am_policy_receivers(p, channels, a, &names);
    json_key(j, STR("receivers"));
    json_arr(j);
    for (size_t i = 0; i < n; i++)
        json_str(j, names[i]);
    json_arr_end(j);
}

static void steps_json(struct json_out *j, struct arena *a, const struct am_policy *p, const struct am_severity *s)
{
    json_key(j, STR("escalation"));
    json_arr(j);
    for (size_t i = 0; i < p->escalations.n; i++)
        for (size_t k = 0; str_eq(p->escalations.keys[i], s->escalation) && k < p->escalations.p[i].steps.n; k++) {
            json_obj(j);
            api_json_duration(j, STR("after"), p->escalations.p[i].steps.p[k].after_ms);
            receivers_json(j, a, p, &p->escalations.p[i].steps.p[k].channels);
            json_obj_end(j);
        }
    json_arr_end(j);
}

static void severity_json(struct json_out *j, struct arena *a, const struct am_policy *p, const struct am_severity *s,
                          const struct tally *t)
{
    json_obj(j);
    json_kstr(j, "name", s->name);
    json_key(j, STR("match"));
    json_arr(j);
    for (size_t i = 0; i < s->match.n; i++)
        json_str(j, s->match.p[i]);
    json_arr_end(j);
    receivers_json(j, a, p, &s->channels);
    json_key(j, STR("response"));
    if (s->response_ms == INT64_MAX) {
        json_put_null(j);
    } else {
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        if (s->response_ms > 0)
            buf_duration(&b, s->response_ms);
        json_str(j, s->response_ms == 0  ? STR("immediately")
                    : s->response_ms < 0 ? STR("business_hours")
                                         : buf_str(&b));
    }
    steps_json(j, a, p, s);
    json_key(j, STR("digest"));
    if (s->digest.n)
        json_str(j, s->digest);
    else
        json_put_null(j);
    json_ku64(j, "firing", t->firing);
    json_ku64(j, "acknowledged", t->acknowledged);
    json_ku64(j, "overdue", t->overdue);
    json_obj_end(j);
}

static void count(struct http_request *rq, struct am *am, const struct am_policy *p, struct tally *t)
{
    struct am_alert_view *v;
    size_t n;
    int64_t now = api_now_ms(api_of(rq)), end_ms = am_policy_last_end_ms(p, now);
    am_alerts(am, now, rq->a, &v, &n);
    for (size_t i = 0; i < n; i++) {
        const struct am_severity *s = am_policy_severity(p, v[i].alert.labels);
        if (!s || v[i].n_silenced_by || v[i].n_inhibited_by)
            continue;
        struct tally *x = &t[s - p->all];
        bool acked = am_ack_get(am, v[i].alert.fingerprint, now, rq->a, NULL);
        x->firing++;
        x->acknowledged += acked;
        x->overdue += !acked && am_policy_overdue(p, s, v[i].alert.starts_ms, now, end_ms);
    }
}

static void get_severities(struct http_request *rq, struct http_response *rs)
{
    struct am *am = api_am(rq, rs);
    if (!am)
        return;
    struct am_config *c = am_config_in_use(am);
    const struct am_policy *p = c->policy;
    struct tally *t = arena_zarray(rq->a, struct tally, p ? p->n_all + 1 : 1);
    if (p)
        count(rq, am, p, t);
    struct json_out j = api_begin(rs);
    json_arr(&j);
    for (size_t i = 0; p && i < p->n_all; i++)
        severity_json(&j, rq->a, p, &p->all[i], &t[i]);
    json_arr_end(&j);
    api_end(&j, NULL, 0);
    am_config_unref(c);
}

#define GET  HTTP_BIT(HTTP_GET)
#define POST HTTP_BIT(HTTP_POST)
const struct http_route api_policy_routes[] = {
    { GET, "/api/v1/heartbeats", get_heartbeats, HTTP_CONTROL, NULL, HTTP_CORS },
    { POST, "/api/v1/heartbeats/{name}", post_heartbeat, HTTP_INGEST, NULL, 0 },
    { GET, "/api/v1/alerting/severities", get_severities, HTTP_CONTROL, NULL, HTTP_CORS },
};
const size_t api_policy_routes_n = ARRAY_LEN(api_policy_routes);
