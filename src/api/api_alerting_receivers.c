/* Receivers of notifications, seen from outside: POST /api/v1/alerting/receivers/test sends a message marked as a drill
 * through each integration of a receiver and says what came of it. /api/v1/alerting/callback/... is where providers of
 * calls and text messages ask back (am_callback.h): their signature is what lets them in.
 * Receivers are the default tenant's. */
#include "alerting/am_ack.h"
#include "alerting/am_callback.h"
#include "alerting/am_send.h"

#include "api/api_int.h"
#include "base/log.h"

static const struct api_alertmanager *running(struct http_request *rq, struct http_response *rs)
{
    const struct api_alertmanager *x = api_of(rq)->d.alertmanager;
    if (api_tenant_foreign(rq, rs))
        return NULL;
    if (!x || !x->sender)
        api_fail(rs, API_NOT_FOUND, "no Alertmanager runs here: name its file under `alertmanager:` in vane.yaml");
    return x && x->sender ? x : NULL;
}

/* ---- what is asked for: {"receiver": "team", "labels": {"severity": "P1"}}, or ?receiver=team ---- */
static bool read_labels(struct json_in *in, struct arena *a, struct labels *ret)
{
    struct label_builder b;
    enum json_tok t = json_next(in);
    lb_init(&b, a);
    lb_reset(&b, LABELS_NONE);
    if (t != JSON_TOK_OBJ)
        return t == JSON_TOK_NULL;
    for (size_t n = 0; (t = json_next(in)) == JSON_TOK_KEY && n < 100; n++) {
        str key = arena_str(a, in->text);
        if (json_next(in) != JSON_TOK_STR)
            return false;
        lb_set(&b, key, arena_str(a, in->text));
    }
    *ret = lb_labels(&b);
    return t == JSON_TOK_OBJ_END;
}

static bool read_body(struct json_in *in, struct arena *a, struct am_test *ret)
{
    enum json_tok t;
    if (json_next(in) != JSON_TOK_OBJ)
        return false;
    while ((t = json_next(in)) == JSON_TOK_KEY) {
        if (str_eq(in->text, STR("labels"))) {
            if (!read_labels(in, a, &ret->labels))
                return false;
            continue;
        }
        bool is = str_eq(in->text, STR("receiver"));
        t = json_next(in);
        if (is && t == JSON_TOK_STR)
            ret->receiver = arena_str(a, in->text);
        else if (is || t == JSON_TOK_ERR || !json_skip(in))
            return false;
    }
    return t == JSON_TOK_OBJ_END && json_next(in) == JSON_TOK_END;
}

static bool read_test(struct http_request *rq, struct http_response *rs, struct am_test *ret)
{
    struct json_in in;
    *ret = (struct am_test){ .receiver = http_param(rq, STR("receiver")), .labels = LABELS_NONE };
    json_in_init(&in, rq->a, rq->body);
    if (str_eq(rq->content_type, STR("application/json")) && rq->body.n && !read_body(&in, rq->a, ret)) {
        api_fail(rs, API_BAD_DATA, "the body is no {\"receiver\": \"...\", \"labels\": {\"...\": \"...\"}}");
        return false;
    }
    if (!ret->receiver.n)
        api_fail(rs, API_BAD_DATA, "which receiver? name it: {\"receiver\": \"...\"}");
    return ret->receiver.n != 0;
}

/* ---- what came of it ---- */
static void row_json(struct json_out *j, const struct am_test_row *r)
{
    static const char *const outcomes[] = { [AM_SENT] = "sent", [AM_RETRY] = "failed", [AM_REFUSED] = "refused" };
    json_obj(j);
    json_kstr(j, "integration", str_c(am_kind_name(r->kind)));
    json_ku64(j, "index", r->index);
    json_kstr(j, "message", r->resolved ? STR("resolved") : STR("firing"));
    json_kstr(j, "outcome", str_c(outcomes[r->outcome]));
    json_key(j, STR("status"));
    if (r->status)
        json_i64(j, r->status);
    else
        json_put_null(j);
    json_kf64(j, "seconds", (double)r->took_ms / 1000);
    json_kstr(j, "answer", r->answer);
    json_obj_end(j);
}

static void test_receiver(struct http_request *rq, struct http_response *rs)
{
    const struct api_alertmanager *x = running(rq, rs);
    struct am_test t;
    struct am_test_row *rows;
    size_t n;
    struct err_text why;
    if (!x || !read_test(rq, rs, &t))
        return;
    enum err e = am_sender_test(x->sender, &t, rq->a, &rows, &n, &why);
    if (e) {
        api_fail_err(rs, e, &why);
        return;
    }
    bool all = true;
    struct json_out j = api_begin(rs);
    json_obj(&j);
    json_kstr(&j, "receiver", t.receiver);
    json_key(&j, STR("results"));
    json_arr(&j);
    for (size_t i = 0; i < n; i++) {
        row_json(&j, &rows[i]);
        all &= rows[i].outcome == AM_SENT;
    }
    json_arr_end(&j);
    json_kbool(&j, "ok", all);
    json_obj_end(&j);
    api_end(&j, NULL, 0);
}

/* ---- callbacks ---- */
static str header(const struct http_request *rq, const char *name)
{
    str v = http_header(rq, str_c(name));
    return v.p ? v : STR("");
}

static void firing_groups(struct am *am, int64_t now_ms, struct arena *a, struct am_callback *cb)
{
    struct am_group_view *v;
    size_t n;
    am_groups(am, now_ms, a, &v, &n);
    str *keys = arena_array(a, str, n + 1);
    for (size_t i = 0; i < n; i++)
        if (str_eq(v[i].receiver, cb->receiver))
            keys[cb->n_groups++] = v[i].key;
    cb->groups = keys;
}

static void acknowledge(struct am *am, const struct am_callback *cb, struct am_callback_deed *d)
{
    struct err_text why;
    for (size_t i = 0; i < d->n_group_keys; i++) {
        const struct am_ack_target target = { .group_key = d->group_keys[i] };
        if (am_ack_set(am, &target, d->owner, STR("by key press or reply"), 0, cb->now_ms, NULL, &why) != OK)
            d->text = STR("It could not be acknowledged: look at vane.");
    }
}

static void callback(struct http_request *rq, struct http_response *rs)
{
    const struct api_alertmanager *x = api_of(rq)->d.alertmanager;
    struct am_callback cb = { .kind = str_eq(rq->captures[0], STR("phone")) ? AM_PHONE : AM_SMS,
                              .receiver = rq->captures[1],
                              .query = rq->params,
                              .n_query = rq->n_params,
                              .content_type = rq->content_type,
                              .body = rq->body,
                              .twilio_signature = header(rq, "X-Twilio-Signature"),
                              .authorization = header(rq, "Authorization"),
                              .vane_signature = header(rq, "X-Vane-Signature"),
                              .now_ms = api_now_ms(api_of(rq)) };
    struct am_callback_deed d;
    uint64_t index;
    str type;
    bool kind = cb.kind == AM_PHONE || str_eq(rq->captures[0], STR("sms"));
    if (!x || !kind || !str_to_u64(rq->captures[2], &index)) {
        api_fail(rs, API_NOT_FOUND, "no such callback");
        return;
    }
    cb.index = (size_t)index;
    cb.external_url = x->external_url;
    firing_groups(x->am, cb.now_ms, rq->a, &cb);
    struct am_config *cfg = am_config_in_use(x->am);
    am_callback_read(cfg, &cb, fs_os(), rq->a, &d);
    if (d.status == 200) {
        acknowledge(x->am, &cb, &d);
        str answer = am_callback_answer(cfg, &cb, d.text, rq->a, &type);
        http_answer(rs, 200, type, answer);
    } else {
        LOG_WARN("callback refused", "kind", am_kind_name(cb.kind), "receiver", LOG_STR(str_take(cb.receiver, 100)),
                 "why", LOG_STR(d.text));
        http_answer(rs, d.status, STR("text/plain"), d.text);
    }
    am_config_unref(cfg);
}

const struct http_route api_alerting_receivers[] = {
    { HTTP_BIT(HTTP_POST), "/api/v1/alerting/receivers/test", test_receiver, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_POST) | HTTP_BIT(HTTP_GET), "/api/v1/alerting/callback/{kind}/{receiver}/{index}", callback,
      HTTP_CONTROL, NULL, HTTP_NO_FORM },
};
const size_t api_alerting_receivers_n = ARRAY_LEN(api_alerting_receivers);
