#include "alerting/am_payload.h"

#include "alerting/am_build.h"

/* ---- webhook, incident.io ---- */
static void webhook_body(struct am_build *b, struct buf *out, uint64_t max_alerts)
{
    static const char *const keys[] = { "receiver",          "status",     "alerts", "groupLabels", "commonLabels",
                                        "commonAnnotations", "externalURL" };
    struct tmpl_val alerts = b->m->data->list.p[2];
    size_t cut = max_alerts && alerts.list.n > max_alerts ? alerts.list.n - (size_t)max_alerts : 0;
    alerts.list.n -= cut;
    buf_u8(out, '{');
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        buf_printf(out, "%s\"%s\":", i ? "," : "", keys[i]);
        tmpl_json(out, i == 2 ? &alerts : &b->m->data->list.p[i]);
    }
    if (b->m->data->type == &tmpl_am_data_changes) {
        buf_lit(out, ",\"changes\":");
        tmpl_json(out, &b->m->data->list.p[8]);
    }
    buf_lit(out, ",\"version\":\"4\",\"groupKey\":");
    json_escape(out, b->m->group_key);
    buf_printf(out, ",\"truncatedAlerts\":%zu}", cut);
}

static void build_webhook(struct am_build *b, struct buf *out)
{
    const struct am_webhook *c = (const void *)b->m->integration->of;
    str url = am_secret(b, &c->url, c->url_file);
    if (c->payload) {
        struct json_out j = json_out_init(out);
        am_put_tree(b, &j, c->payload);
    } else {
        webhook_body(b, out, c->max_alerts);
    }
    am_request_add(b, "POST", url, out);
}

static void build_incidentio(struct am_build *b, struct buf *out)
{
    const struct am_incidentio *c = (const void *)b->m->integration->of;
    struct conf_secret url = { c->url };
    str to = am_secret(b, &url, c->url_file), token = am_secret(b, &c->alert_source_token, c->alert_source_token_file);
    webhook_body(b, out, c->max_alerts);
    struct am_request *r = am_request_add(b, "POST", to, out);
    if (token.n)
        am_request_header(r, STR("Authorization"), arena_printf(b->a, "Bearer " STR_FMT, STR_ARG(token)));
}

/* ---- PagerDuty ---- */
static void pagerduty_details(struct am_build *b, struct json_out *j, const struct am_pagerduty *c)
{
    json_obj(j);
    for (size_t i = 0; i < ARRAY_LEN(am_pagerduty_details); i++)
        if (!c->details || !conf_get(c->details, am_pagerduty_details[i].name)) {
            json_key(j, am_pagerduty_details[i].name);
            am_put_typed(j, b->a, am_shown(b, am_pagerduty_details[i].value));
        }
    for (size_t i = 0; c->details && c->details->kind == CONF_MAP && i < c->details->n; i++) {
        json_key(j, c->details->items[2 * i]->text);
        am_put_tree(b, j, c->details->items[2 * i + 1]);
    }
    json_obj_end(j);
}

static void pagerduty_links(struct am_build *b, struct json_out *j, const struct am_pagerduty *c)
{
    if (c->images.n) {
        json_key(j, STR("images"));
        json_arr(j);
        for (size_t i = 0; i < c->images.n; i++) {
            str src = am_text(b, c->images.p[i].src);
            if (!src.n)
                continue;
            json_obj(j);
            am_put(j, "src", src);
            am_put(j, "alt", am_text(b, c->images.p[i].alt));
            am_put(j, "href", am_text(b, c->images.p[i].href));
            json_obj_end(j);
        }
        json_arr_end(j);
    }
    if (c->links.n) {
        json_key(j, STR("links"));
        json_arr(j);
        for (size_t i = 0; i < c->links.n; i++) {
            str href = am_text(b, c->links.p[i].href);
            if (!href.n)
                continue;
            json_obj(j);
            am_put(j, "href", href);
            am_put(j, "text", am_text(b, c->links.p[i].text));
            json_obj_end(j);
        }
        json_arr_end(j);
    }
}

static void pagerduty_v1(struct am_build *b, struct buf *out, const struct am_pagerduty *c)
{
    struct json_out j = json_out_init(out);
    json_obj(&j);
    am_put(&j, "service_key", am_secret(b, &c->service_key, c->service_key_file));
    am_put(&j, "incident_key", am_group_hash(b));
    am_put(&j, "event_type", am_firing(b) ? STR("trigger") : STR("resolve"));
    am_put(&j, "description", am_truncate_runes(b->a, am_shown(b, c->description), 1024));
    if (am_firing(b)) {
        am_put_some(&j, "client", am_text(b, c->client));
        am_put_some(&j, "client_url", am_text(b, c->client_url));
    }
    json_key(&j, STR("details"));
    pagerduty_details(b, &j, c);
    json_obj_end(&j);
    am_request_add(b, "POST", am_needed(b, c->url, "url"), out);
}

static void pagerduty_v2(struct am_build *b, struct buf *out, const struct am_pagerduty *c, bool details)
{
    struct json_out j = json_out_init(out);
    json_obj(&j);
    am_put(&j, "routing_key", am_secret(b, &c->routing_key, c->routing_key_file));
    am_put(&j, "dedup_key", am_group_hash(b));
    am_put(&j, "event_action", am_firing(b) ? STR("trigger") : STR("resolve"));
    json_key(&j, STR("payload"));
    json_obj(&j);
    am_put(&j, "summary", am_truncate_runes(b->a, am_shown(b, c->description), 1024));
    am_put(&j, "source", am_text(b, c->source));
    str severity = am_text(b, c->severity);
    am_put(&j, "severity", severity.n ? severity : STR("error"));
    am_put_some(&j, "class", am_text(b, c->class_));
    am_put_some(&j, "component", am_text(b, c->component));
    am_put_some(&j, "group", am_text(b, c->group));
    json_key(&j, STR("custom_details"));
    if (details) {
        pagerduty_details(b, &j, c);
    } else {
        json_obj(&j);
        am_put(&j, "error",
               STR("Custom details have been removed because the original event exceeds the maximum size of 500KB"));
        json_obj_end(&j);
    }
    json_obj_end(&j);
    am_put_some(&j, "client", am_text(b, c->client));
    am_put_some(&j, "client_url", am_text(b, c->client_url));
    pagerduty_links(b, &j, c);
    json_obj_end(&j);
}

static void build_pagerduty(struct am_build *b, struct buf *out)
{
    const struct am_pagerduty *c = (const void *)b->m->integration->of;
    if (c->service_key.value.n || c->service_key_file.n) {
        pagerduty_v1(b, out, c);
        return;
    }
    pagerduty_v2(b, out, c, true);
    if (out->n > 512000) {
        buf_clear(out);
        pagerduty_v2(b, out, c, false);
    }
    am_request_add(b, "POST", am_needed(b, c->url, "url"), out);
}

/* ---- Opsgenie ---- */
static void put_list(struct json_out *j, const char *key, str csv)
{
    str head;
    if (!csv.n)
        return;
    json_key(j, str_c(key));
    json_arr(j);
    while (str_cut(&csv, ',', &head))
        if (str_trim(head).n)
            json_str(j, str_trim(head));
    json_arr_end(j);
}

static void opsgenie_responders(struct am_build *b, struct json_out *j, const struct am_opsgenie *c)
{
    if (!c->responders.n)
        return;
    json_key(j, STR("responders"));
    json_arr(j);
    for (size_t i = 0; i < c->responders.n; i++) {
        const struct am_responder *x = &c->responders.p[i];
        str id = am_text(b, x->id), name = am_text(b, x->name), user = am_text(b, x->username),
            type = am_text(b, x->type);
        bool teams = str_eq(type, STR("teams"));
        str rest = name, one;
        if (!id.n && !name.n && !user.n)
            continue;
        while (teams ? str_cut(&rest, ',', &one) : true) {
            json_obj(j);
            am_put_some(j, "id", id);
            am_put_some(j, "name", teams ? str_trim(one) : name);
            am_put_some(j, "username", user);
            am_put(j, "type", teams ? STR("team") : type);
            json_obj_end(j);
            if (!teams)
                break;
        }
    }
    json_arr_end(j);
}

static void opsgenie_details(struct am_build *b, struct json_out *j, const struct am_opsgenie *c)
{
    const struct tmpl_val *common = &b->m->data->list.p[4];
    json_key(j, STR("details"));
    json_obj(j);
    for (size_t i = 0; i < common->map.n; i++) {
        bool over = false;
        for (size_t k = 0; k < c->details.n; k++)
            over |= str_eq(c->details.keys[k], common->map.p[i].k);
        if (!over) {
            json_key(j, common->map.p[i].k);
            json_str(j, common->map.p[i].v.s);
        }
    }
    for (size_t k = 0; k < c->details.n; k++) {
        json_key(j, c->details.keys[k]);
        json_str(j, am_text(b, c->details.p[k]));
    }
    json_obj_end(j);
}

static void opsgenie_auth(struct am_build *b, struct am_request *r, const struct am_opsgenie *c)
{
    am_request_header(r, STR("Authorization"),
                      arena_printf(b->a, "GenieKey " STR_FMT, STR_ARG(am_secret(b, &c->api_key, c->api_key_file))));
}

static void opsgenie_update(struct am_build *b, struct buf *out, const struct am_opsgenie *c, const char *what,
                            str value)
{
    struct json_out j = json_out_init(out);
    json_obj(&j);
    am_put(&j, what, value);
    json_obj_end(&j);
    opsgenie_auth(
        b,
        am_request_add(b, "PUT",
                       arena_printf(b->a, STR_FMT "v2/alerts/" STR_FMT "/%s?identifierType=alias",
                                    STR_ARG(am_needed(b, c->api_url, "api_url")), STR_ARG(am_group_hash(b)), what),
                       out),
        c);
}

static void build_opsgenie(struct am_build *b, struct buf *out)
{
    const struct am_opsgenie *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str url = am_needed(b, c->api_url, "api_url"), alias = am_group_hash(b);
    json_obj(&j);
    if (!am_firing(b)) {
        am_put(&j, "source", am_text(b, c->source));
        json_obj_end(&j);
        opsgenie_auth(b,
                      am_request_add(b, "POST",
                                     arena_printf(b->a, STR_FMT "v2/alerts/" STR_FMT "/close?identifierType=alias",
                                                  STR_ARG(url), STR_ARG(alias)),
                                     out),
                      c);
        return;
    }
    str message = am_truncate_runes(b->a, am_shown(b, c->message), 130), description = am_shown(b, c->description);
    am_put(&j, "alias", alias);
    am_put(&j, "message", message);
    am_put_some(&j, "description", description);
    opsgenie_details(b, &j, c);
    am_put(&j, "source", am_text(b, c->source));
    opsgenie_responders(b, &j, c);
    put_list(&j, "tags", am_text(b, c->tags));
    am_put_some(&j, "note", am_text(b, c->note));
    am_put_some(&j, "priority", am_text(b, c->priority));
    am_put_some(&j, "entity", am_text(b, c->entity));
    put_list(&j, "actions", am_text(b, c->actions));
    json_obj_end(&j);
    opsgenie_auth(b, am_request_add(b, "POST", arena_printf(b->a, STR_FMT "v2/alerts", STR_ARG(url)), out), c);
    if (c->update_alerts) {
        opsgenie_update(b, out, c, "message", message);
        opsgenie_update(b, out, c, "description", description);
    }
}

/* ---- VictorOps, Pushover ---- */
static void build_victorops(struct am_build *b, struct buf *out)
{
    static const str known[] = { STR_INIT("INFO"), STR_INIT("WARNING"), STR_INIT("CRITICAL") };
    const struct am_victorops *c = (const void *)b->m->integration->of;
    struct json_out j = json_out_init(out);
    str type = am_text(b, c->message_type), key = am_secret(b, &c->api_key, c->api_key_file);
    bool good = false;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        good |= str_eq(type, known[i]);
    json_obj(&j);
    for (size_t i = 0; i < c->custom_fields.n; i++) {
        json_key(&j, c->custom_fields.keys[i]);
        json_str(&j, am_text(b, c->custom_fields.p[i]));
    }
    am_put(&j, "message_type", !am_firing(b) ? STR("RECOVERY") : good ? type : STR("CRITICAL"));
    am_put(&j, "entity_id", am_group_hash(b));
    am_put(&j, "entity_display_name", am_shown(b, c->entity_display_name));
    am_put(&j, "state_message", am_truncate_runes(b->a, am_shown(b, c->state_message), 20480));
    am_put(&j, "monitoring_tool", am_text(b, c->monitoring_tool));
    json_obj_end(&j);
    am_request_add(b, "POST",
                   arena_printf(b->a, STR_FMT STR_FMT "/" STR_FMT, STR_ARG(am_needed(b, c->api_url, "api_url")),
                                STR_ARG(key), STR_ARG(am_needed(b, c->routing_key, "routing_key"))),
                   out);
}

static void build_pushover(struct am_build *b, struct buf *out)
{
    const struct am_pushover *c = (const void *)b->m->integration->of;
    str message = str_trim(c->html ? am_shown_html(b, c->message) : am_shown(b, c->message));
    message = am_truncate_runes(b->a, message, 1024);
    am_form_add(out, "token", am_secret(b, &c->token, c->token_file));
    am_form_add(out, "user", am_secret(b, &c->user_key, c->user_key_file));
    am_form_add(out, "title", am_truncate_runes(b->a, am_shown(b, c->title), 250));
    am_form_add(out, "message", message.n ? message : STR("(no details)"));
    am_form_add(out, "url", am_truncate_runes(b->a, str_trim(am_text(b, c->url)), 512));
    am_form_add(out, "url_title", am_text(b, c->url_title));
    am_form_add(out, "priority", am_text(b, c->priority));
    am_form_add(out, "retry", arena_printf(b->a, "%lld", (long long)c->retry_ms / 1000));
    am_form_add(out, "expire", arena_printf(b->a, "%lld", (long long)c->expire_ms / 1000));
    if (c->ttl_ms)
        am_form_add(out, "ttl", arena_printf(b->a, "%lld", (long long)c->ttl_ms / 1000));
    am_form_add(out, "device", am_text(b, c->device));
    am_form_add(out, "sound", am_text(b, c->sound));
    if (c->html)
        am_form_add(out, "html", STR("1"));
    if (c->monospace)
        am_form_add(out, "monospace", STR("1"));
    struct am_request *r = am_request_add(b, "POST", c->api_url, out);
    r->content_type = STR("application/x-www-form-urlencoded");
}

static void (*const builders[AM_KINDS])(struct am_build *b, struct buf *out) = {
    [AM_WEBHOOK] = build_webhook,     [AM_PAGERDUTY] = build_pagerduty, [AM_OPSGENIE] = build_opsgenie,
    [AM_VICTOROPS] = build_victorops, [AM_PUSHOVER] = build_pushover,   [AM_INCIDENTIO] = build_incidentio,
    [AM_SLACK] = am_build_chat,       [AM_TELEGRAM] = am_build_chat,    [AM_DISCORD] = am_build_chat,
    [AM_WEBEX] = am_build_chat,       [AM_MSTEAMS] = am_build_chat,     [AM_MSTEAMSV2] = am_build_chat,
    [AM_ROCKETCHAT] = am_build_chat,  [AM_MATTERMOST] = am_build_chat,
};

/* The requests of kinds whose requests do not depend on answers. */
static enum err build(struct am_build *b)
{
    struct buf out;
    enum am_kind kind = b->m->integration->kind;
    if (!builders[kind])
        return err_fail(b->why, ERR_UNSUPPORTED, "%s is a conversation: am_exchange()", am_kind_name(kind));
    buf_init(&out, 16u << 20);
    builders[kind](b, &out);
    bool failed = out.failed;
    buf_deinit(&out);
    if (!b->err && failed)
        b->err = err_fail(b->why, ERR_LIMIT, "the notification is too large");
    return b->err;
}

enum err am_payload_build(const struct am_message *m, struct arena *a, struct am_request ret[AM_REQUESTS_MAX],
                          size_t *ret_n, struct err_text *reterr)
{
    struct am_build b;
    am_build_init(&b, m, a, reterr);
    b.ret = ret;
    enum err e = build(&b);
    *ret_n = b.n;
    return e;
}

/* ---- carrying them out ---- */
static enum am_outcome simple(struct am_build *b, struct am_delivery *d)
{
    struct am_request rq[AM_REQUESTS_MAX];
    struct am_answer answer;
    b->ret = rq;
    if (build(b) != OK)
        return AM_REFUSED;
    for (size_t i = 0; i < b->n; i++) {
        enum am_outcome o = am_call(b, &rq[i], &answer, d);
        if (o != AM_SENT)
            return o;
    }
    return AM_SENT;
}

enum am_outcome am_exchange(const struct am_message *m, const struct am_line *line, struct arena *a,
                            struct am_delivery *d, struct err_text *why)
{
    static enum am_outcome (*const talks[AM_KINDS])(struct am_build * b, struct am_delivery * d) = {
        [AM_SLACK] = am_slack, [AM_TELEGRAM] = am_telegram, [AM_WECHAT] = am_wechat, [AM_JIRA] = am_jira,
        [AM_SNS] = am_sns,     [AM_SMS] = am_dial,          [AM_PHONE] = am_dial,
    };
    struct am_build b;
    *why = (struct err_text){ 0 };
    *d = (struct am_delivery){ 0 };
    am_build_init(&b, m, a, why);
    b.line = line;
    enum am_kind kind = m->integration->kind;
    enum am_outcome o = talks[kind] ? talks[kind](&b, d) : simple(&b, d);
    if (o == AM_SENT && b.trouble.msg[0])
        IGNORE_ERR(err_fail(why, ERR_EXEC, "sent, though a template failed: %s", b.trouble.msg));
    else if (o == AM_SENT)
        why->msg[0] = 0;
    am_build_scrub(&b, why);
    return o;
}

/* ---- answers ---- */
static bool says_not_ok(str body) /* of Slack's and Rocket.Chat's APIs: {"ok":false,"error":...} */
{
    static const str no[] = { STR_INIT("\"ok\":false"), STR_INIT("\"ok\": false"), STR_INIT("\"success\":false"),
                              STR_INIT("\"success\": false") };
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        if (str_contains(body, no[i]))
            return true;
    return false;
}

/* Two services say 200 also when they refuse. */
static enum am_outcome taken(enum am_kind kind, str body, str shown, struct err_text *why)
{
    bool api = kind == AM_SLACK || kind == AM_ROCKETCHAT, object = body.n && body.p[0] == '{';
    if (!api || !body.n || str_eq(body, STR("ok")))
        return AM_SENT;
    if (object && body.p[body.n - 1] != '}') {
        IGNORE_ERR(err_fail(why, ERR_EXEC, "an answer that cannot be read: " STR_FMT, STR_ARG(shown)));
        return AM_RETRY;
    }
    if (object ? !says_not_ok(body) : kind == AM_ROCKETCHAT)
        return AM_SENT;
    IGNORE_ERR(err_fail(why, ERR_EXEC, "refused: " STR_FMT, STR_ARG(shown)));
    return str_contains(body, STR("ratelimited")) ? AM_RETRY : AM_REFUSED;
}

enum am_outcome am_payload_judge(enum am_kind kind, int status, str body, struct err_text *why)
{
    bool also_429 = kind == AM_PAGERDUTY || kind == AM_OPSGENIE || kind == AM_PUSHOVER;
    why->msg[0] = 0;
    if (status == 0) {
        IGNORE_ERR(err_fail(why, ERR_IO, "no answer"));
        return AM_RETRY;
    }
    str shown = str_take(str_trim(body), 200);
    if (status / 100 == 2)
        return taken(kind, str_trim(body), shown, why);
    IGNORE_ERR(err_fail(why, ERR_EXEC, "unexpected status code %d: " STR_FMT, status, STR_ARG(shown)));
    return status / 100 == 5 || (status == 429 && also_429) ? AM_RETRY : AM_REFUSED;
}
