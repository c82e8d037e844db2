/* Receivers of alertmanager.yml: the keys of every integration, their defaults, and the rules each can check by itself. */
#include "alerting/am_config_int.h"
#include "tmpl/tmpl_lib.h"

#define L(lit)                  \
    {                           \
        "" lit, sizeof(lit) - 1 \
    }
#define T(name) L("{{ template \"" name "\" . }}")
#define COMMON                                                            \
    F(c.send_resolved, "send_resolved", CONF_BOOL, .flags = CONF_ALWAYS), \
        F(c.http, "http_config", CONF_PTR, .schema = &http_config_schema)
#define ONE(T_, name, go, ...) static CONF_SCHEMA(name##_schema, T_, go ".plain", name##_fields, ##__VA_ARGS__)

/* "{{": does it parse as a template? Functions other than Go's own are not known here, as in the reference. */
static bool template_ok(str s, struct err_text *why)
{
    static const struct tmpl_options plain = { 0 };
    if (!str_contains(s, STR("{{")))
        return true;
    struct tmpl_set *set = tmpl_set_new(&plain, NULL);
    bool ok = tmpl_parse(set, STR(""), s, why) == OK;
    tmpl_set_free(set);
    return ok;
}

static void both(struct conf_ctx *cx, const struct conf_node *n, str a, str b, const char *name_a, const char *name_b)
{
    if (a.n && b.n)
        FAIL("at most one of %s & %s must be configured", name_a, name_b);
}

/* ---- webhook ---- */
static enum err read_template_url(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    str s = STR_NONE;
    struct err_text why;
    TRY(conf_read_str(cx, n, &s));
    *(str *)field = s;
    if (!template_ok(s, &why))
        return conf_error(cx, n, "invalid template syntax: %s", why.msg);
    return !s.n || str_contains(s, STR("{{")) ? OK : am_read_secret_url(cx, n, field);
}

/* A URL in form, so that tools for which this was no secret read it. */
static void print_template_url(struct conf_out *out, const void *field)
{
    str s = ((const struct conf_secret *)field)->value;
    if (s.n)
        conf_out_scalar(out, out->reveal ? s : STR("https://secret.invalid/<secret>"));
}

static void check_webhook(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_webhook *c = obj;
    if (!c->url.value.n && !c->url_file.n)
        FAIL("one of url or url_file must be configured");
    both(cx, n, c->url.value, c->url_file, "url", "url_file");
}
#define F(m, key, t, ...) CF(struct am_webhook, m, key, t, ##__VA_ARGS__)
static const struct conf_field webhook_fields[] = {
    COMMON,
    F(url, "url", CONF_CUSTOM, .read = read_template_url, .print = print_template_url),
    F(url_file, "url_file", CONF_STR),
    F(max_alerts, "max_alerts", CONF_UINT),
    GO_TIME(timeout_ms, "timeout"),
    F(payload, "payload", CONF_NODE),
};
#undef F
static const struct am_webhook webhook_defaults = { .c.send_resolved = true };
ONE(struct am_webhook, webhook, "webhook", .defaults = &webhook_defaults, .check = check_webhook);

/* ---- e-mail ---- */
/* "x-custom" -> "X-Custom", as Go's CanonicalMIMEHeaderKey; what is no header name stays. */
static str canonical_header(struct arena *a, str s)
{
    char *p = arena_alloc(a, s.n + 1);
    bool start = true;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c <= ' ' || c >= 127 || strchr("()<>@,;:\\\"/[]?={}", c))
            return s;
        p[i] = start && c >= 'a' && c <= 'z' ? (char)(c - 32) : !start && c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        start = c == '-';
    }
    return str_n(p, s.n);
}

static void check_email(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct am_email *c = obj;
    bool thread_header = false;
    if (!c->to.n)
        FAIL("missing to address in email config");
    for (size_t i = 0; i < c->headers.n; i++) {
        c->headers.keys[i] = canonical_header(cx->a, c->headers.keys[i]);
        for (size_t k = 0; k < i; k++)
            if (str_eq(c->headers.keys[k], c->headers.keys[i]))
                FAIL("duplicate header \"" STR_FMT "\" in email config", STR_ARG(c->headers.keys[i]));
        if (c->threading &&
            (str_eq(c->headers.keys[i], STR("References")) || str_eq(c->headers.keys[i], STR("In-Reply-To")))) {
            FAIL("conflicting configuration: threading.enabled conflicts with custom " STR_FMT " header",
                 STR_ARG(c->headers.keys[i]));
            thread_header = true;
        }
    }
    if (c->threading && !thread_header && !str_eq(c->thread_by_date, STR("none")) &&
        !str_eq(c->thread_by_date, STR("daily")))
        FAIL("threading.thread_by_date must be either 'none' or 'daily'");
}
struct threading {
    bool enabled;
    str by_date;
};
static const struct conf_field threading_fields[] = {
    CF(struct threading, enabled, "enabled", CONF_BOOL),
    CF(struct threading, by_date, "thread_by_date", CONF_STR),
};
static CONF_SCHEMA(threading_schema, struct threading, "email.ThreadingConfig", threading_fields);
static enum err read_threading(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    struct am_email *c = (struct am_email *)(void *)((char *)field - offsetof(struct am_email, threading));
    struct threading t;
    TRY(conf_decode(cx, n, &threading_schema, &t));
    c->threading = t.enabled;
    c->thread_by_date = t.by_date;
    return OK;
}
static void print_threading(struct conf_out *out, const void *field)
{
    const struct am_email *c =
        (const struct am_email *)(const void *)((const char *)field - offsetof(struct am_email, threading));
    struct threading t = { c->threading, c->thread_by_date };
    if (t.enabled)
        conf_out_struct(out, &threading_schema, &t);
}
#define F(m, key, t, ...) CF(struct am_email, m, key, t, ##__VA_ARGS__)
static const struct conf_field email_fields[] = {
    F(c.send_resolved, "send_resolved", CONF_BOOL, .flags = CONF_ALWAYS),
    F(to, "to", CONF_STR),
    F(from, "from", CONF_STR),
    F(hello, "hello", CONF_STR),
    HOST_PORT(smarthost, "smarthost"),
    F(auth_username, "auth_username", CONF_STR),
    F(auth_password, "auth_password", CONF_SECRET),
    F(auth_password_file, "auth_password_file", CONF_STR),
    F(auth_secret, "auth_secret", CONF_SECRET),
    F(auth_secret_file, "auth_secret_file", CONF_STR),
    F(auth_identity, "auth_identity", CONF_STR),
    F(headers, "headers", CONF_DICT, .of = CONF_STR),
    F(html, "html", CONF_STR),
    F(text, "text", CONF_STR),
    TRI_ROW(require_tls, "require_tls"),
    F(tls, "tls_config", CONF_PTR, .schema = &tls_config_schema),
    TRI_ROW(force_implicit_tls, "force_implicit_tls"),
    F(threading, "threading", CONF_CUSTOM, .read = read_threading, .print = print_threading),
};
#undef F
static const struct am_email email_defaults = { .html = T("email.default.html") };
ONE(struct am_email, email, "email", .defaults = &email_defaults, .check = check_email);

/* ---- PagerDuty ---- */
const struct http_pair am_pagerduty_details[4] = {
    { L("firing"), L("{{ .Alerts.Firing | toJson }}") },
    { L("resolved"), L("{{ .Alerts.Resolved | toJson }}") },
    { L("num_firing"), L("{{ .Alerts.Firing | len }}") },
    { L("num_resolved"), L("{{ .Alerts.Resolved | len }}") },
};
static void check_pagerduty(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct am_pagerduty *c = obj;
    if (!c->routing_key.value.n && !c->service_key.value.n && !c->routing_key_file.n && !c->service_key_file.n)
        FAIL("missing service or routing key in PagerDuty config");
    both(cx, n, c->routing_key.value, c->routing_key_file, "routing_key", "routing_key_file");
    both(cx, n, c->service_key.value, c->service_key_file, "service_key", "service_key_file");
    if (c->details && c->details->kind != CONF_MAP)
        IGNORE_ERR(conf_error(cx, c->details, "details are a mapping"));
    if (!c->source.n)
        c->source = c->client;
}
#define F(m, key, t, ...) CF(struct am_link, m, key, t, ##__VA_ARGS__)
static const struct conf_field image_fields[] = { F(src, "src", CONF_STR), F(alt, "alt", CONF_STR),
                                                  F(href, "href", CONF_STR) };
static const struct conf_field link_fields[] = { F(href, "href", CONF_STR), F(text, "text", CONF_STR) };
#undef F
static CONF_SCHEMA(image_schema, struct am_link, "pagerduty.PagerdutyImage", image_fields);
static CONF_SCHEMA(link_schema, struct am_link, "pagerduty.PagerdutyLink", link_fields);
#define F(m, key, t, ...) CF(struct am_pagerduty, m, key, t, ##__VA_ARGS__)
static const struct conf_field pagerduty_fields[] = {
    COMMON,
    F(service_key, "service_key", CONF_SECRET),
    F(service_key_file, "service_key_file", CONF_STR),
    F(routing_key, "routing_key", CONF_SECRET),
    F(routing_key_file, "routing_key_file", CONF_STR),
    URL_ROW(url, "url"),
    F(client, "client", CONF_STR),
    F(client_url, "client_url", CONF_STR),
    F(description, "description", CONF_STR),
    F(details, "details", CONF_NODE),
    F(images, "images", CONF_LIST, .of = CONF_STRUCT, .schema = &image_schema),
    F(links, "links", CONF_LIST, .of = CONF_STRUCT, .schema = &link_schema),
    F(source, "source", CONF_STR),
    F(severity, "severity", CONF_STR),
    F(class_, "class", CONF_STR),
    F(component, "component", CONF_STR),
    F(group, "group", CONF_STR),
    GO_TIME(timeout_ms, "timeout"),
};
#undef F
static const struct am_pagerduty pagerduty_defaults = {
    .c.send_resolved = true,
    .description = L("{{ template \"pagerduty.default.description\" .}}"),
    .client = T("pagerduty.default.client"),
    .client_url = T("pagerduty.default.clientURL"),
};
ONE(struct am_pagerduty, pagerduty, "pagerduty", .defaults = &pagerduty_defaults, .check = check_pagerduty);

/* ---- Opsgenie ---- */
static void check_responder(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    static const char *const types[] = { "team", "teams", "user", "escalation", "schedule" };
    const struct am_responder *r = obj;
    struct err_text why;
    bool known = false;
    if (!r->id.n && !r->username.n && !r->name.n) {
        FAIL("opsGenieConfig responder {    " STR_FMT "} has to have at least one of id, username or name specified",
             STR_ARG(str_take(r->type, 60)));
        return;
    }
    if (str_contains(r->type, STR("{{"))) {
        if (!template_ok(r->type, &why))
            FAIL("opsGenieConfig responder type is not a valid template: %s", why.msg);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        known |= str_ieq(r->type, str_c(types[i]));
    if (!known)
        FAIL("opsGenieConfig responder {" STR_FMT " " STR_FMT " " STR_FMT " " STR_FMT
             "} type does not match valid options ^(team|teams|user|escalation|schedule)$",
             STR_ARG(str_take(r->id, 60)), STR_ARG(str_take(r->name, 60)), STR_ARG(str_take(r->username, 60)),
             STR_ARG(str_take(r->type, 60)));
}
#define F(m, key, t, ...) CF(struct am_responder, m, key, t, ##__VA_ARGS__)
static const struct conf_field responder_fields[] = { F(id, "id", CONF_STR), F(name, "name", CONF_STR),
                                                      F(username, "username", CONF_STR), F(type, "type", CONF_STR) };
#undef F
static CONF_SCHEMA(responder_schema, struct am_responder, "opsgenie.OpsGenieConfigResponder", responder_fields,
                   .check = check_responder);
static void check_opsgenie(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_opsgenie *c = obj;
    both(cx, n, c->api_key.value, c->api_key_file, "api_key", "api_key_file");
}
#define F(m, key, t, ...) CF(struct am_opsgenie, m, key, t, ##__VA_ARGS__)
static const struct conf_field opsgenie_fields[] = {
    COMMON,
    F(api_key, "api_key", CONF_SECRET),
    F(api_key_file, "api_key_file", CONF_STR),
    URL_ROW(api_url, "api_url"),
    F(message, "message", CONF_STR),
    F(description, "description", CONF_STR),
    F(source, "source", CONF_STR),
    F(details, "details", CONF_DICT, .of = CONF_STR),
    F(entity, "entity", CONF_STR),
    F(responders, "responders", CONF_LIST, .of = CONF_STRUCT, .schema = &responder_schema),
    F(actions, "actions", CONF_STR),
    F(tags, "tags", CONF_STR),
    F(note, "note", CONF_STR),
    F(priority, "priority", CONF_STR),
    F(update_alerts, "update_alerts", CONF_BOOL),
};
#undef F
static const struct am_opsgenie opsgenie_defaults = {
    .c.send_resolved = true,
    .message = T("opsgenie.default.message"),
    .description = T("opsgenie.default.description"),
    .source = T("opsgenie.default.source"),
};
ONE(struct am_opsgenie, opsgenie, "opsgenie", .defaults = &opsgenie_defaults, .check = check_opsgenie);

/* ---- WeChat ---- */
static void check_wechat(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct am_wechat *c = obj;
    if (!c->message_type.n)
        c->message_type = STR("text");
    if (!str_eq(c->message_type, STR("text")) && !str_eq(c->message_type, STR("markdown")))
        FAIL("weChat message type \"" STR_FMT "\" does not match valid options ^(text|markdown)$",
             STR_ARG(str_take(c->message_type, 60)));
    both(cx, n, c->api_secret.value, c->api_secret_file, "api_secret", "api_secret_file");
}
#define F(m, key, t, ...) CF(struct am_wechat, m, key, t, ##__VA_ARGS__)
static const struct conf_field wechat_fields[] = {
    COMMON,
    F(api_secret, "api_secret", CONF_SECRET),
    F(api_secret_file, "api_secret_file", CONF_STR),
    F(corp_id, "corp_id", CONF_STR),
    F(message, "message", CONF_STR),
    URL_ROW(api_url, "api_url"),
    F(to_user, "to_user", CONF_STR),
    F(to_party, "to_party", CONF_STR),
    F(to_tag, "to_tag", CONF_STR),
    F(agent_id, "agent_id", CONF_STR),
    F(message_type, "message_type", CONF_STR),
};
#undef F
static const struct am_wechat wechat_defaults = {
    .message = T("wechat.default.message"),
    .to_user = T("wechat.default.to_user"),
    .to_party = T("wechat.default.to_party"),
    .to_tag = T("wechat.default.to_tag"),
    .agent_id = T("wechat.default.agent_id"),
};
ONE(struct am_wechat, wechat, "wechat", .defaults = &wechat_defaults, .check = check_wechat);

/* ---- Slack ---- */
static void check_confirm(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    if (!((const struct am_slack_confirm *)obj)->text.n)
        FAIL("missing text in Slack confirmation configuration");
}
#define F(m, key, t, ...) CF(struct am_slack_confirm, m, key, t, ##__VA_ARGS__)
static const struct conf_field confirm_fields[] = { F(text, "text", CONF_STR), F(title, "title", CONF_STR),
                                                    F(ok_text, "ok_text", CONF_STR),
                                                    F(dismiss_text, "dismiss_text", CONF_STR) };
#undef F
ONE(struct am_slack_confirm, confirm, "slack", .check = check_confirm);

static void check_action(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct am_slack_action *c = obj;
    if (!c->type.n)
        FAIL("missing type in Slack action configuration");
    else if (!c->text.n)
        FAIL("missing text in Slack action configuration");
    else if (c->url.n) {
        c->name = c->value = STR("");
        c->confirm = NULL;
    } else if (!c->name.n)
        FAIL("missing name or url in Slack action configuration");
}
#define F(m, key, t, ...) CF(struct am_slack_action, m, key, t, ##__VA_ARGS__)
static const struct conf_field action_fields[] = {
    F(type, "type", CONF_STR),
    F(text, "text", CONF_STR),
    F(url, "url", CONF_STR),
    F(style, "style", CONF_STR),
    F(name, "name", CONF_STR),
    F(value, "value", CONF_STR),
    F(confirm, "confirm", CONF_PTR, .schema = &confirm_schema),
};
#undef F
ONE(struct am_slack_action, action, "slack", .check = check_action);

static void check_field(struct conf_ctx *cx, const struct conf_node *n, const struct am_field *f, const char *of)
{
    if (!f->title.n)
        FAIL("missing title in %s field configuration", of);
    else if (!f->value.n)
        FAIL("missing value in %s field configuration", of);
}
static void check_slack_field(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    check_field(cx, n, obj, "Slack");
}
static void check_mattermost_field(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    check_field(cx, n, obj, "Mattermost");
}
#define F(m, key, t, ...) CF(struct am_field, m, key, t, ##__VA_ARGS__)
static const struct conf_field field_fields[] = { F(title, "title", CONF_STR), F(value, "value", CONF_STR),
                                                  TRI_ROW(short_, "short") };
#undef F
static CONF_SCHEMA(slack_field_schema, struct am_field, "slack.plain", field_fields, .check = check_slack_field);
static CONF_SCHEMA(mattermost_field_schema, struct am_field, "mattermost.plain", field_fields,
                   .check = check_mattermost_field);
static CONF_SCHEMA(rocketchat_field_schema, struct am_field, "rocketchat.RocketchatAttachmentField", field_fields);

static void check_slack(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_slack *c = obj;
    /* Whether a bot's token comes from `global` shows when that is filled in. */
    bool none = !c->api_url.value.n && !c->api_url_file.n;
    bool bot = none || str_has_suffix(c->api_url.value, STR("/chat.postMessage"));
    both(cx, n, c->api_url.value, c->api_url_file, "api_url", "api_url_file");
    both(cx, n, c->app_token.value, c->app_token_file, "app_token", "app_token_file");
    if ((c->api_url.value.n || c->api_url_file.n) && (c->app_token.value.n || c->app_token_file.n))
        FAIL("at most one of api_url/api_url_file & app_token/app_token_file must be configured");
    for (int i = 0; i < 2; i++)
        if ((i ? c->post_updates_to_thread : c->update_message) && !bot)
            FAIL("%s can only be used with bot tokens. api_url must be set to https://slack.com/api/chat.postMessage",
                 i ? "post_updates_to_thread" : "update_message");
}
#define F(m, key, t, ...) CF(struct am_slack, m, key, t, ##__VA_ARGS__)
static const struct conf_field slack_fields[] = {
    COMMON,
    SECRET_URL(api_url, "api_url"),
    F(api_url_file, "api_url_file", CONF_STR),
    F(app_token, "app_token", CONF_SECRET),
    F(app_token_file, "app_token_file", CONF_STR),
    URL_ROW(app_url, "app_url"),
    F(channel, "channel", CONF_STR),
    F(username, "username", CONF_STR),
    F(color, "color", CONF_STR),
    F(title, "title", CONF_STR),
    F(title_link, "title_link", CONF_STR),
    F(pretext, "pretext", CONF_STR),
    F(text, "text", CONF_STR),
    F(message_text, "message_text", CONF_STR),
    F(fields, "fields", CONF_LIST, .of = CONF_STRUCT, .schema = &slack_field_schema),
    F(short_fields, "short_fields", CONF_BOOL, .flags = CONF_ALWAYS),
    F(footer, "footer", CONF_STR),
    F(fallback, "fallback", CONF_STR),
    F(callback_id, "callback_id", CONF_STR),
    F(icon_emoji, "icon_emoji", CONF_STR),
    F(icon_url, "icon_url", CONF_STR),
    F(image_url, "image_url", CONF_STR),
    F(thumb_url, "thumb_url", CONF_STR),
    F(link_names, "link_names", CONF_BOOL, .flags = CONF_ALWAYS),
    F(mrkdwn_in, "mrkdwn_in", CONF_LIST, .of = CONF_STR),
    F(actions, "actions", CONF_LIST, .of = CONF_STRUCT, .schema = &action_schema),
    F(update_message, "update_message", CONF_BOOL),
    F(post_updates_to_thread, "post_updates_to_thread", CONF_BOOL),
    GO_TIME(timeout_ms, "timeout"),
};
#undef F
static const struct am_slack slack_defaults = {
    .color = T("slack.default.color"),
    .username = T("slack.default.username"),
    .title = T("slack.default.title"),
    .title_link = T("slack.default.titlelink"),
    .icon_emoji = T("slack.default.iconemoji"),
    .icon_url = T("slack.default.iconurl"),
    .pretext = T("slack.default.pretext"),
    .text = T("slack.default.text"),
    .fallback = T("slack.default.fallback"),
    .callback_id = T("slack.default.callbackid"),
    .footer = T("slack.default.footer"),
};
ONE(struct am_slack, slack, "slack", .defaults = &slack_defaults, .check = check_slack);

/* ---- VictorOps ---- */
static void check_victorops(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    static const char *const fixed[] = { "routing_key",     "message_type", "state_message", "entity_display_name",
                                         "monitoring_tool", "entity_id",    "entity_state" };
    const struct am_victorops *c = obj;
    if (!c->routing_key.n)
        FAIL("missing Routing key in VictorOps config");
    both(cx, n, c->api_key.value, c->api_key_file, "api_key", "api_key_file");
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        for (size_t k = 0; k < c->custom_fields.n; k++)
            if (str_eq(c->custom_fields.keys[k], str_c(fixed[i])))
                FAIL("victorOps config contains custom field %s which cannot be used as it conflicts with the "
                     "fixed/static fields",
                     fixed[i]);
}
#define F(m, key, t, ...) CF(struct am_victorops, m, key, t, ##__VA_ARGS__)
static const struct conf_field victorops_fields[] = {
    COMMON,
    F(api_key, "api_key", CONF_SECRET),
    F(api_key_file, "api_key_file", CONF_STR),
    URL_ROW(api_url, "api_url"),
    F(routing_key, "routing_key", CONF_STR),
    F(message_type, "message_type", CONF_STR),
    F(state_message, "state_message", CONF_STR),
    F(entity_display_name, "entity_display_name", CONF_STR),
    F(monitoring_tool, "monitoring_tool", CONF_STR),
    F(custom_fields, "custom_fields", CONF_DICT, .of = CONF_STR),
};
#undef F
static const struct am_victorops victorops_defaults = {
    .c.send_resolved = true,
    .message_type = L("CRITICAL"),
    .state_message = T("victorops.default.state_message"),
    .entity_display_name = T("victorops.default.entity_display_name"),
    .monitoring_tool = T("victorops.default.monitoring_tool"),
};
ONE(struct am_victorops, victorops, "victorops", .defaults = &victorops_defaults, .check = check_victorops);

/* ---- Pushover ---- */
#define PUSHOVER_URL "https://api.pushover.net/1/messages.json"
static void check_pushover(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_pushover *c = obj;
    if (!c->user_key.value.n && !c->user_key_file.n)
        FAIL("one of user_key or user_key_file must be configured");
    both(cx, n, c->user_key.value, c->user_key_file, "user_key", "user_key_file");
    if (!c->token.value.n && !c->token_file.n)
        FAIL("one of token or token_file must be configured");
    both(cx, n, c->token.value, c->token_file, "token", "token_file");
    if (c->html && c->monospace)
        FAIL("at most one of monospace & html must be configured");
}
/* The reference does not know the key: only shown where it is set, so that amtool reads the rest. */
static void print_pushover_url(struct conf_out *out, const void *field)
{
    if (!str_eq(*(const str *)field, STR(PUSHOVER_URL)))
        am_print_str(out, field);
}
#define F(m, key, t, ...) CF(struct am_pushover, m, key, t, ##__VA_ARGS__)
static const struct conf_field pushover_fields[] = {
    COMMON,
    F(api_url, "api_url", CONF_CUSTOM, .read = am_read_url, .print = print_pushover_url),
    F(user_key, "user_key", CONF_SECRET),
    F(user_key_file, "user_key_file", CONF_STR),
    F(token, "token", CONF_SECRET),
    F(token_file, "token_file", CONF_STR),
    F(title, "title", CONF_STR),
    F(message, "message", CONF_STR),
    F(url, "url", CONF_STR),
    F(url_title, "url_title", CONF_STR),
    F(device, "device", CONF_STR),
    F(sound, "sound", CONF_STR),
    F(priority, "priority", CONF_STR),
    GO_TIME(retry_ms, "retry"),
    GO_TIME(expire_ms, "expire"),
    GO_TIME(ttl_ms, "ttl"),
    F(html, "html", CONF_BOOL),
    F(monospace, "monospace", CONF_BOOL),
};
#undef F
static const struct am_pushover pushover_defaults = {
    .c.send_resolved = true,
    .api_url = L(PUSHOVER_URL),
    .title = T("pushover.default.title"),
    .message = T("pushover.default.message"),
    .url = T("pushover.default.url"),
    .priority = L("{{ if eq .Status \"firing\" }}2{{ else }}0{{ end }}"),
    .retry_ms = 60000,
    .expire_ms = 3600000,
};
ONE(struct am_pushover, pushover, "pushover", .defaults = &pushover_defaults, .check = check_pushover);

/* ---- SNS ---- */
static void check_sns(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_sns *c = obj;
    if (((c->target_arn.n == 0) != (c->topic_arn.n == 0)) != (c->phone_number.n == 0))
        FAIL("must provide either a Target ARN, Topic ARN, or Phone Number for SNS config");
}
#define F(m, key, t, ...) CF(struct am_sns, m, key, t, ##__VA_ARGS__)
static const struct conf_field sns_fields[] = {
    COMMON,
    F(api_url, "api_url", CONF_STR),
    F(sigv4, "sigv4", CONF_STRUCT, .schema = &sigv4_config_schema),
    F(topic_arn, "topic_arn", CONF_STR),
    F(phone_number, "phone_number", CONF_STR),
    F(target_arn, "target_arn", CONF_STR),
    F(subject, "subject", CONF_STR),
    F(message, "message", CONF_STR),
    F(attributes, "attributes", CONF_DICT, .of = CONF_STR),
    F(use_aws_http_client, "use_aws_http_client", CONF_BOOL),
};
#undef F
static const struct am_sns sns_defaults = { .c.send_resolved = true,
                                            .subject = T("sns.default.subject"),
                                            .message = T("sns.default.message") };
ONE(struct am_sns, sns, "sns", .defaults = &sns_defaults, .check = check_sns);

/* ---- Telegram ---- */
static void check_telegram(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_telegram *c = obj;
    both(cx, n, c->bot_token.value, c->bot_token_file, "bot_token", "bot_token_file");
    if (!c->chat_id && !c->chat_id_file.n)
        FAIL("missing chat_id or chat_id_file on telegram_config");
    if (c->chat_id && c->chat_id_file.n)
        FAIL("at most one of chat_id & chat_id_file must be configured");
    if (c->parse_mode.n && !str_eq(c->parse_mode, STR("Markdown")) && !str_eq(c->parse_mode, STR("MarkdownV2")) &&
        !str_eq(c->parse_mode, STR("HTML")))
        FAIL("unknown parse_mode on telegram_config, must be Markdown, MarkdownV2, HTML or empty string");
}
#define F(m, key, t, ...) CF(struct am_telegram, m, key, t, ##__VA_ARGS__)
static const struct conf_field telegram_fields[] = {
    COMMON,
    URL_ROW(api_url, "api_url"),
    F(bot_token, "bot_token", CONF_SECRET),
    F(bot_token_file, "bot_token_file", CONF_STR),
    F(chat_id, "chat_id", CONF_INT),
    F(chat_id_file, "chat_id_file", CONF_STR),
    F(message_thread_id, "message_thread_id", CONF_INT),
    F(message, "message", CONF_STR),
    F(disable_notifications, "disable_notifications", CONF_BOOL),
    F(parse_mode, "parse_mode", CONF_STR),
    GO_TIME(timeout_ms, "timeout"),
};
#undef F
static const struct am_telegram telegram_defaults = { .c.send_resolved = true,
                                                      .message = T("telegram.default.message"),
                                                      .parse_mode = L("HTML") };
ONE(struct am_telegram, telegram, "telegram", .defaults = &telegram_defaults, .check = check_telegram);

/* ---- Discord, Webex, Teams ---- */
static void check_discord(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_discord *c = obj;
    if (!c->webhook_url.value.n && !c->webhook_url_file.n)
        FAIL("one of webhook_url or webhook_url_file must be configured");
    both(cx, n, c->webhook_url.value, c->webhook_url_file, "webhook_url", "webhook_url_file");
}
#define F(m, key, t, ...) CF(struct am_discord, m, key, t, ##__VA_ARGS__)
static const struct conf_field discord_fields[] = {
    COMMON,
    SECRET_URL(webhook_url, "webhook_url"),
    F(webhook_url_file, "webhook_url_file", CONF_STR),
    F(content, "content", CONF_STR),
    F(title, "title", CONF_STR),
    F(message, "message", CONF_STR),
    F(username, "username", CONF_STR),
    F(avatar_url, "avatar_url", CONF_STR),
};
#undef F
static const struct am_discord discord_defaults = { .c.send_resolved = true,
                                                    .content = T("discord.default.content"),
                                                    .title = T("discord.default.title"),
                                                    .message = T("discord.default.message") };
ONE(struct am_discord, discord, "discord", .defaults = &discord_defaults, .check = check_discord);

static void check_webex(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_webex *c = obj;
    if (!c->room_id.n)
        FAIL("missing room_id on webex_config");
    if (!c->c.http || !c->c.http->authorization)
        FAIL("missing webex_configs.http_config.authorization");
}
#define F(m, key, t, ...) CF(struct am_webex, m, key, t, ##__VA_ARGS__)
static const struct conf_field webex_fields[] = { COMMON, URL_ROW(api_url, "api_url"), F(message, "message", CONF_STR),
                                                  F(room_id, "room_id", CONF_STR) };
#undef F
static const struct am_webex webex_defaults = { .c.send_resolved = true, .message = T("webex.default.message") };
ONE(struct am_webex, webex, "webex", .defaults = &webex_defaults, .check = check_webex);

static void check_msteams(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_msteams *c = obj;
    if (!c->webhook_url.value.n && !c->webhook_url_file.n)
        FAIL("one of webhook_url or webhook_url_file must be configured");
    both(cx, n, c->webhook_url.value, c->webhook_url_file, "webhook_url", "webhook_url_file");
}
#define F(m, key, t, ...) CF(struct am_msteams, m, key, t, ##__VA_ARGS__)
static const struct conf_field msteams_fields[] = {
    COMMON,
    SECRET_URL(webhook_url, "webhook_url"),
    F(webhook_url_file, "webhook_url_file", CONF_STR),
    F(title, "title", CONF_STR),
    F(summary, "summary", CONF_STR),
    F(text, "text", CONF_STR),
};
static const struct conf_field msteamsv2_fields[] = {
    COMMON,
    SECRET_URL(webhook_url, "webhook_url"),
    F(webhook_url_file, "webhook_url_file", CONF_STR),
    F(title, "title", CONF_STR),
    F(text, "text", CONF_STR),
};
#undef F
static const struct am_msteams msteams_defaults = { .c.send_resolved = true,
                                                    .title = T("msteams.default.title"),
                                                    .summary = T("msteams.default.summary"),
                                                    .text = T("msteams.default.text") };
static const struct am_msteams msteamsv2_defaults = { .c.send_resolved = true,
                                                      .title = T("msteamsv2.default.title"),
                                                      .text = T("msteamsv2.default.text") };
ONE(struct am_msteams, msteams, "msteams", .defaults = &msteams_defaults, .check = check_msteams);
ONE(struct am_msteams, msteamsv2, "msteamsv2", .defaults = &msteamsv2_defaults, .check = check_msteams);

/* ---- Jira ---- */
struct jira_object {
    str text;
    struct conf_list values;
    enum am_tri update;
};
#define F(m, key, t, ...) CF(struct jira_object, m, key, t, ##__VA_ARGS__)
static const struct conf_field jira_text_fields[] = { F(text, "template", CONF_STR), TRI_ROW(update, "enable_update") };
static const struct conf_field jira_labels_fields[] = { F(values, "values", CONF_LIST, .of = CONF_STR),
                                                        TRI_ROW(update, "enable_update") };
#undef F
static CONF_SCHEMA(jira_text_schema, struct jira_object, "jira.plain", jira_text_fields);
static CONF_SCHEMA(jira_labels_schema, struct jira_object, "jira.plain", jira_labels_fields);
static enum err read_jira_field(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    struct am_jira_field *f = field;
    struct jira_object o;
    if (n->kind != CONF_MAP)
        return conf_read_str(cx, n, &f->text);
    TRY(conf_decode(cx, n, &jira_text_schema, &o));
    if (conf_has(n, "template"))
        f->text = o.text;
    f->enable_update = o.update;
    return OK;
}
static void print_jira_field(struct conf_out *out, const void *field)
{
    const struct am_jira_field *f = field;
    struct jira_object o = { .text = f->text, .update = f->enable_update };
    conf_out_struct(out, &jira_text_schema, &o);
}
static enum err read_jira_labels(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    struct am_jira *c = (struct am_jira *)(void *)((char *)field - offsetof(struct am_jira, labels));
    struct jira_object o;
    if (n->kind != CONF_MAP)
        return conf_read_strs(cx, n, field);
    TRY(conf_decode(cx, n, &jira_labels_schema, &o));
    c->labels.p = o.values.p;
    c->labels.n = o.values.n;
    c->labels_update = o.update;
    return OK;
}
static void print_jira_labels(struct conf_out *out, const void *field)
{
    const struct am_jira *c =
        (const struct am_jira *)(const void *)((const char *)field - offsetof(struct am_jira, labels));
    struct jira_object o = { .values = { c->labels.p, c->labels.n }, .update = c->labels_update };
    if (c->labels.n || c->labels_update)
        conf_out_struct(out, &jira_labels_schema, &o);
}
static void check_jira(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_jira *c = obj;
    if (!c->project.n)
        FAIL("missing project in jira_config");
    if (!c->issue_type.n)
        FAIL("missing issue_type in jira_config");
    if (!str_eq(c->api_type, STR("auto")) && !str_eq(c->api_type, STR("cloud")) &&
        !str_eq(c->api_type, STR("datacenter")))
        FAIL("unknown api_type on jira_config, must be auto, cloud or datacenter");
    if (c->fields && c->fields->kind != CONF_MAP)
        IGNORE_ERR(conf_error(cx, c->fields, "fields are a mapping"));
}
#define F(m, key, t, ...) CF(struct am_jira, m, key, t, ##__VA_ARGS__)
static const struct conf_field jira_fields[] = {
    COMMON,
    URL_ROW(api_url, "api_url"),
    F(api_type, "api_type", CONF_STR),
    F(project, "project", CONF_STR),
    F(summary, "summary", CONF_CUSTOM, .read = read_jira_field, .print = print_jira_field),
    F(description, "description", CONF_CUSTOM, .read = read_jira_field, .print = print_jira_field),
    F(labels, "labels", CONF_CUSTOM, .read = read_jira_labels, .print = print_jira_labels),
    F(priority, "priority", CONF_STR),
    F(issue_type, "issue_type", CONF_STR),
    F(reopen_transition, "reopen_transition", CONF_STR),
    F(resolve_transition, "resolve_transition", CONF_STR),
    F(wont_fix_resolution, "wont_fix_resolution", CONF_STR),
    F(reopen_duration_ms, "reopen_duration", CONF_DURATION),
    F(fields, "fields", CONF_NODE),
};
#undef F
static const struct am_jira jira_defaults = { .c.send_resolved = true,
                                              .api_type = L("auto"),
                                              .summary.text = T("jira.default.summary"),
                                              .description.text = T("jira.default.description"),
                                              .priority = T("jira.default.priority") };
ONE(struct am_jira, jira, "jira", .defaults = &jira_defaults, .check = check_jira);

/* ---- Rocket.Chat ---- */
static void check_rocketchat(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_rocketchat *c = obj;
    both(cx, n, c->token.value, c->token_file, "token", "token_file");
    both(cx, n, c->token_id.value, c->token_id_file, "token_id", "token_id_file");
}
#define F(m, key, t, ...) CF(struct am_rocketchat_action, m, key, t, ##__VA_ARGS__)
/* The reference gives these no YAML names: its keys are the Go names in lower case. */
static const struct conf_field rc_action_fields[] = {
    F(type, "type", CONF_STR),
    F(text, "text", CONF_STR),
    F(url, "url", CONF_STR),
    F(image_url, "imageurl", CONF_STR),
    F(is_webview, "iswebview", CONF_BOOL),
    F(webview_height_ratio, "webviewheightratio", CONF_STR),
    F(msg, "msg", CONF_STR),
    F(msg_in_chat_window, "msginchatwindow", CONF_BOOL),
    F(msg_processing_type, "msgprocessingtype", CONF_STR),
};
#undef F
static CONF_SCHEMA(rc_action_schema, struct am_rocketchat_action, "rocketchat.RocketchatAttachmentAction",
                   rc_action_fields);
#define F(m, key, t, ...) CF(struct am_rocketchat, m, key, t, ##__VA_ARGS__)
static const struct conf_field rocketchat_fields[] = {
    COMMON,
    URL_ROW(api_url, "api_url"),
    F(token_id, "token_id", CONF_SECRET),
    F(token_id_file, "token_id_file", CONF_STR),
    F(token, "token", CONF_SECRET),
    F(token_file, "token_file", CONF_STR),
    F(channel, "channel", CONF_STR),
    F(color, "color", CONF_STR),
    F(title, "title", CONF_STR),
    F(title_link, "title_link", CONF_STR),
    F(text, "text", CONF_STR),
    F(fields, "fields", CONF_LIST, .of = CONF_STRUCT, .schema = &rocketchat_field_schema),
    F(short_fields, "short_fields", CONF_BOOL, .flags = CONF_ALWAYS),
    F(emoji, "emoji", CONF_STR),
    F(icon_url, "icon_url", CONF_STR),
    F(image_url, "image_url", CONF_STR),
    F(thumb_url, "thumb_url", CONF_STR),
    F(link_names, "link_names", CONF_BOOL, .flags = CONF_ALWAYS),
    F(actions, "actions", CONF_LIST, .of = CONF_STRUCT, .schema = &rc_action_schema),
};
#undef F
static const struct am_rocketchat rocketchat_defaults = {
    .color = L("{{ if eq .Status \"firing\" }}red{{ else }}green{{ end }}"),
    .emoji = T("rocketchat.default.emoji"),
    .icon_url = T("rocketchat.default.iconurl"),
    .text = T("rocketchat.default.text"),
    .title = T("rocketchat.default.title"),
    .title_link = T("rocketchat.default.titlelink"),
};
ONE(struct am_rocketchat, rocketchat, "rocketchat", .defaults = &rocketchat_defaults, .check = check_rocketchat);

/* ---- Mattermost ---- */
#define ATTACHMENT(pre)                                                                                          \
    F(pre fallback, "fallback", CONF_STR), F(pre color, "color", CONF_STR), F(pre pretext, "pretext", CONF_STR), \
        F(pre text, "text", CONF_STR), F(pre author_name, "author_name", CONF_STR),                              \
        F(pre author_link, "author_link", CONF_STR), F(pre author_icon, "author_icon", CONF_STR),                \
        F(pre title, "title", CONF_STR), F(pre title_link, "title_link", CONF_STR),                              \
        F(pre fields, "fields", CONF_LIST, .of = CONF_STRUCT, .schema = &mattermost_field_schema),               \
        F(pre thumb_url, "thumb_url", CONF_STR), F(pre footer, "footer", CONF_STR),                              \
        F(pre footer_icon, "footer_icon", CONF_STR), F(pre image_url, "image_url", CONF_STR)
#define F(m, key, t, ...) CF(struct am_mattermost_attachment, m, key, t, ##__VA_ARGS__)
static const struct conf_field attachment_fields[] = { ATTACHMENT() };
#undef F
static CONF_SCHEMA(attachment_schema, struct am_mattermost_attachment, "mattermost.MattermostAttachment",
                   attachment_fields);
static const struct conf_field props_fields[] = { CF(struct am_mattermost_props, card, "card", CONF_STR) };
static CONF_SCHEMA(props_schema, struct am_mattermost_props, "mattermost.MattermostProps", props_fields);
#define F(m, key, t, ...) CF(struct am_mattermost_priority, m, key, t, ##__VA_ARGS__)
static const struct conf_field priority_fields[] = {
    F(priority, "priority", CONF_STR),
    F(requested_ack, "requested_ack", CONF_BOOL),
    F(persistent_notifications, "persistent_notifications", CONF_BOOL),
};
#undef F
static CONF_SCHEMA(priority_schema, struct am_mattermost_priority, "mattermost.MattermostPriority", priority_fields);
static void check_mattermost(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_mattermost *c = obj;
    both(cx, n, c->webhook_url.value, c->webhook_url_file, "webhook_url", "webhook_url_file");
}
#define F(m, key, t, ...) CF(struct am_mattermost, m, key, t, ##__VA_ARGS__)
static const struct conf_field mattermost_fields[] = {
    COMMON,
    SECRET_URL(webhook_url, "webhook_url"),
    F(webhook_url_file, "webhook_url_file", CONF_STR),
    F(channel, "channel", CONF_STR),
    F(username, "username", CONF_STR),
    ATTACHMENT(main.),
    F(icon_url, "icon_url", CONF_STR),
    F(icon_emoji, "icon_emoji", CONF_STR),
    F(attachments, "attachments", CONF_LIST, .of = CONF_STRUCT, .schema = &attachment_schema),
    F(type, "type", CONF_STR),
    F(props, "props", CONF_PTR, .schema = &props_schema),
    F(priority, "priority", CONF_PTR, .schema = &priority_schema),
};
#undef F
static const struct am_mattermost mattermost_defaults = {
    .c.send_resolved = true,
    .username = T("mattermost.default.username"),
    .main = { .color = T("mattermost.default.color"),
              .text = T("mattermost.default.text"),
              .title = T("mattermost.default.title"),
              .title_link = T("mattermost.default.titlelink"),
              .fallback = T("mattermost.default.fallback") },
};
ONE(struct am_mattermost, mattermost, "mattermost", .defaults = &mattermost_defaults, .check = check_mattermost);

/* ---- incident.io ---- */
static void check_incidentio(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_incidentio *c = obj;
    bool token = c->alert_source_token.value.n || c->alert_source_token_file.n;
    if (!c->url.n && !c->url_file.n)
        FAIL("one of url or url_file must be configured");
    both(cx, n, c->url, c->url_file, "url", "url_file");
    both(cx, n, c->alert_source_token.value, c->alert_source_token_file, "alert_source_token",
         "alert_source_token_file");
    if (c->c.http && c->c.http->authorization && token)
        FAIL("cannot specify alert_source_token or alert_source_token_file when using http_config.authorization");
    if (c->c.http && !c->c.http->authorization && !token)
        FAIL("at least one of alert_source_token, alert_source_token_file or http_config.authorization must be "
             "configured");
}
#define F(m, key, t, ...) CF(struct am_incidentio, m, key, t, ##__VA_ARGS__)
static const struct conf_field incidentio_fields[] = {
    COMMON,
    URL_ROW(url, "url"),
    F(url_file, "url_file", CONF_STR),
    F(alert_source_token, "alert_source_token", CONF_SECRET),
    F(alert_source_token_file, "alert_source_token_file", CONF_STR),
    F(max_alerts, "max_alerts", CONF_UINT),
    GO_TIME(timeout_ms, "timeout"),
};
#undef F
static const struct am_incidentio incidentio_defaults = { .c.send_resolved = true };
ONE(struct am_incidentio, incidentio, "incidentio", .defaults = &incidentio_defaults, .check = check_incidentio);

/* ---- calls and text messages ---- */
static const struct {
    const char *name, *sms_url, *phone_url;
} providers[] = { { "twilio", "https://api.twilio.com", "https://api.twilio.com" },
                  { "vonage", "https://rest.nexmo.com", "https://api.nexmo.com" },
                  { "http", "", "" } };

static void check_template(struct conf_ctx *cx, const struct conf_node *n, str s, const char *key)
{
    static const struct tmpl_func *const funcs[] = { tmpl_am_funcs };
    const struct tmpl_options opt = { .funcs = funcs, .n_funcs = &tmpl_am_n_funcs, .n_tables = 1 };
    struct err_text why;
    struct tmpl_set *set = tmpl_set_new(&opt, NULL);
    if (str_contains(s, STR("{{")) && tmpl_parse(set, STR(""), s, &why) != OK)
        FAIL("%s: invalid template: %s", key, why.msg);
    tmpl_set_free(set);
}

static void check_dial(struct conf_ctx *cx, const struct conf_node *n, struct am_dial *c, bool phone)
{
    const char *kind = phone ? "phone" : "sms", *provider = NULL;
    for (size_t i = 0; i < ARRAY_LEN(providers); i++)
        if (str_eq(c->provider, str_c(providers[i].name))) {
            provider = providers[i].name;
            if (!c->api_url.n)
                c->api_url = str_c(phone ? providers[i].phone_url : providers[i].sms_url);
        }
    bool http = str_eq(c->provider, STR("http"));
    if (!provider)
        FAIL("provider of %s_configs must be twilio, vonage or http", kind);
    while (!http && c->api_url.n && c->api_url.p[c->api_url.n - 1] == '/')
        c->api_url.n--;
    while (c->callback_url.n && c->callback_url.p[c->callback_url.n - 1] == '/')
        c->callback_url.n--;
    if (!c->to.n)
        FAIL("missing to in %s_configs: one or more phone numbers, separated by commas", kind);
    if (provider && !c->api_url.n)
        FAIL("missing api_url in %s_configs: the http provider has no default one", kind);
    if (provider && !http && (!c->account.n || (!c->secret.value.n && !c->secret_file.n) || !c->from.n))
        FAIL("%s needs account, secret (or secret_file) and from", provider);
    both(cx, n, c->secret.value, c->secret_file, "secret", "secret_file");
    both(cx, n, c->callback_secret.value, c->callback_secret_file, "callback_secret", "callback_secret_file");
    if (c->times < 1 || c->times > 9)
        FAIL("times must be 1 to 9");
    check_template(cx, n, c->to, "to");
    check_template(cx, n, c->message, "message");
    check_template(cx, n, c->body, "body");
}
static void check_sms(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    check_dial(cx, n, obj, false);
}
static void check_phone(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    check_dial(cx, n, obj, true);
}
#define F(m, key, t, ...) CF(struct am_dial, m, key, t, ##__VA_ARGS__)
#define DIAL_FIELDS                                                                                                    \
    COMMON, F(provider, "provider", CONF_STR), F(api_url, "api_url", CONF_STR), F(account, "account", CONF_STR),       \
        F(secret, "secret", CONF_SECRET), F(secret_file, "secret_file", CONF_STR),                                     \
        F(callback_secret, "callback_secret", CONF_SECRET), F(callback_secret_file, "callback_secret_file", CONF_STR), \
        F(from, "from", CONF_STR), F(to, "to", CONF_STR), F(message, "message", CONF_STR),                             \
        F(acknowledge, "acknowledge", CONF_BOOL),                                                                      \
        F(callback_url, "callback_url", CONF_CUSTOM, .read = am_read_url, .print = am_print_str),                      \
        F(method, "method", CONF_STR), F(content_type, "content_type", CONF_STR), F(body, "body", CONF_STR),           \
        F(headers, "headers", CONF_DICT, .of = CONF_SECRET), GO_TIME(timeout_ms, "timeout")
static const struct conf_field sms_fields[] = { DIAL_FIELDS };
static const struct conf_field phone_fields[] = { DIAL_FIELDS, F(language, "language", CONF_STR),
                                                  F(voice, "voice", CONF_STR), F(times, "times", CONF_UINT) };
#undef F
static const struct am_dial sms_defaults = {
    .c.send_resolved = true,
    .message = L("[{{ .Status | toUpper }}{{ if eq .Status \"firing\" }}:{{ .Alerts.Firing | len }}{{ end }}] "
                 "{{ .CommonLabels.alertname }}{{ range .CommonAnnotations.Values }} {{ . }}{{ end }}"),
    .acknowledge = true,
    .times = 1,
    .method = L("POST"),
    .content_type = L("application/json"),
    .body = L("{\"to\":\"{to}\",\"from\":\"{from}\",\"text\":\"{message}\",\"code\":\"{code}\"}"),
};
static const struct am_dial phone_defaults = {
    .message =
        L("{{ if eq .Status \"firing\" }}{{ .Alerts.Firing | len }} alerts are firing{{ else }}Resolved{{ end }}: "
          "{{ .CommonLabels.alertname }}. {{ .CommonAnnotations.summary }}"),
    .acknowledge = true,
    .times = 2,
    .language = L("en-US"),
    .method = L("POST"),
    .content_type = L("application/json"),
    .body = L("{\"to\":\"{to}\",\"from\":\"{from}\",\"text\":\"{message}\",\"code\":\"{code}\","
              "\"callback\":\"{callback}\"}"),
};
ONE(struct am_dial, sms, "sms", .defaults = &sms_defaults, .check = check_sms);
ONE(struct am_dial, phone, "phone", .defaults = &phone_defaults, .check = check_phone);

/* ---- all of them ---- */
static const char *const kind_names[AM_KINDS] = { "webhook",    "email",      "pagerduty",  "opsgenie",  "wechat",
                                                  "slack",      "victorops",  "pushover",   "sns",       "telegram",
                                                  "discord",    "webex",      "msteams",    "msteamsv2", "jira",
                                                  "rocketchat", "mattermost", "incidentio", "sms",       "phone" };
const char *am_kind_name(enum am_kind k)
{
    return kind_names[k];
}

static void check_receiver(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_receiver *r = obj;
    if (!r->name.n)
        FAIL("missing name in receiver");
}
#define F(m, key, t, ...) CF(struct am_receiver, m, key, t, ##__VA_ARGS__)
#define KIND(k, name)                                                                     \
    F(lists[k], #name "_configs", CONF_LIST, .of = CONF_STRUCT, .schema = &name##_schema, \
      .empty_text = "missing " #name " config")
static const struct conf_field receiver_fields[] = {
    F(name, "name", CONF_STR, .flags = CONF_ALWAYS),
    F(labels, "labels", CONF_DICT, .of = CONF_STR),
    F(max_messages_per_minute, "max_messages_per_minute", CONF_UINT),
    KIND(AM_DISCORD, discord),
    KIND(AM_EMAIL, email),
    KIND(AM_INCIDENTIO, incidentio),
    KIND(AM_PAGERDUTY, pagerduty),
    KIND(AM_SLACK, slack),
    KIND(AM_WEBHOOK, webhook),
    KIND(AM_OPSGENIE, opsgenie),
    KIND(AM_WECHAT, wechat),
    KIND(AM_PUSHOVER, pushover),
    KIND(AM_VICTOROPS, victorops),
    KIND(AM_SNS, sns),
    KIND(AM_TELEGRAM, telegram),
    KIND(AM_WEBEX, webex),
    KIND(AM_MSTEAMS, msteams),
    KIND(AM_MSTEAMSV2, msteamsv2),
    KIND(AM_JIRA, jira),
    KIND(AM_ROCKETCHAT, rocketchat),
    KIND(AM_MATTERMOST, mattermost),
    KIND(AM_SMS, sms),
    KIND(AM_PHONE, phone),
};
#undef F
CONF_SCHEMA(am_receiver_schema, struct am_receiver, "config.plain", receiver_fields, .check = check_receiver);
