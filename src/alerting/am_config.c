/* alertmanager.yml as a whole: global settings, what integrations inherit from them, names that must exist, templates. */
#include "alerting/am_config_int.h"
#include "alerting/am_policy.h"

#include <glob.h>

#include "base/hash.h"
#include "base/vec.h"
#include "tmpl/tmpl_lib.h"

#define MAP_NAME     am_names
#define MAP_KEY      str
#define MAP_VALUE    size_t
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

#define L(lit)                  \
    {                           \
        "" lit, sizeof(lit) - 1 \
    }

/* ---- global ---- */
/* URLs that older tools do not know: only printed where they are not the default, so that amtool 0.25 reads the rest. */
#define SLACK_APP_URL  "https://slack.com/api/chat.postMessage"
#define ROCKETCHAT_URL "https://open.rocket.chat/"
static void print_slack_app_url(struct conf_out *out, const void *field)
{
    if (!str_eq(*(const str *)field, STR(SLACK_APP_URL)))
        am_print_str(out, field);
}
static void print_rocketchat_url(struct conf_out *out, const void *field)
{
    if (!str_eq(*(const str *)field, STR(ROCKETCHAT_URL)))
        am_print_str(out, field);
}
#define NEW_URL(m, key, fn) F(m, key, CONF_CUSTOM, .read = am_read_url, .print = fn)
#define F(m, key, t, ...)   CF(struct am_global, m, key, t, ##__VA_ARGS__)
static const struct conf_field global_fields[] = {
    F(resolve_timeout_ms, "resolve_timeout", CONF_DURATION, .flags = CONF_ALWAYS),
    F(http, "http_config", CONF_STRUCT, .schema = &http_config_schema),
    URL_ROW(jira_api_url, "jira_api_url"),
    F(smtp_from, "smtp_from", CONF_STR),
    F(smtp_hello, "smtp_hello", CONF_STR),
    HOST_PORT(smtp_smarthost, "smtp_smarthost"),
    F(smtp_auth_username, "smtp_auth_username", CONF_STR),
    F(smtp_auth_password, "smtp_auth_password", CONF_SECRET),
    F(smtp_auth_password_file, "smtp_auth_password_file", CONF_STR),
    F(smtp_auth_secret, "smtp_auth_secret", CONF_SECRET),
    F(smtp_auth_secret_file, "smtp_auth_secret_file", CONF_STR),
    F(smtp_auth_identity, "smtp_auth_identity", CONF_STR),
    F(smtp_require_tls, "smtp_require_tls", CONF_BOOL, .flags = CONF_ALWAYS),
    F(smtp_tls, "smtp_tls_config", CONF_STRUCT, .schema = &tls_config_schema),
    TRI_ROW(smtp_force_implicit_tls, "smtp_force_implicit_tls"),
    SECRET_URL(slack_api_url, "slack_api_url"),
    F(slack_api_url_file, "slack_api_url_file", CONF_STR),
    F(slack_app_token, "slack_app_token", CONF_SECRET),
    F(slack_app_token_file, "slack_app_token_file", CONF_STR),
    NEW_URL(slack_app_url, "slack_app_url", print_slack_app_url),
    URL_ROW(pagerduty_url, "pagerduty_url"),
    URL_ROW(opsgenie_api_url, "opsgenie_api_url"),
    F(opsgenie_api_key, "opsgenie_api_key", CONF_SECRET),
    F(opsgenie_api_key_file, "opsgenie_api_key_file", CONF_STR),
    URL_ROW(wechat_api_url, "wechat_api_url"),
    F(wechat_api_secret, "wechat_api_secret", CONF_SECRET),
    F(wechat_api_secret_file, "wechat_api_secret_file", CONF_STR),
    F(wechat_api_corp_id, "wechat_api_corp_id", CONF_STR),
    URL_ROW(victorops_api_url, "victorops_api_url"),
    F(victorops_api_key, "victorops_api_key", CONF_SECRET),
    F(victorops_api_key_file, "victorops_api_key_file", CONF_STR),
    URL_ROW(telegram_api_url, "telegram_api_url"),
    F(telegram_bot_token, "telegram_bot_token", CONF_SECRET),
    F(telegram_bot_token_file, "telegram_bot_token_file", CONF_STR),
    URL_ROW(webex_api_url, "webex_api_url"),
    NEW_URL(rocketchat_api_url, "rocketchat_api_url", print_rocketchat_url),
    F(rocketchat_token, "rocketchat_token", CONF_SECRET),
    F(rocketchat_token_file, "rocketchat_token_file", CONF_STR),
    F(rocketchat_token_id, "rocketchat_token_id", CONF_SECRET),
    F(rocketchat_token_id_file, "rocketchat_token_id_file", CONF_STR),
    SECRET_URL(mattermost_webhook_url, "mattermost_webhook_url"),
    F(mattermost_webhook_url_file, "mattermost_webhook_url_file", CONF_STR),
};
#undef F
static const struct am_global global_defaults = {
    .resolve_timeout_ms = 300000,
    .smtp_hello = L("localhost"),
    .smtp_require_tls = true,
    .pagerduty_url = L("https://events.pagerduty.com/v2/enqueue"),
    .opsgenie_api_url = L("https://api.opsgenie.com/"),
    .wechat_api_url = L("https://qyapi.weixin.qq.com/cgi-bin/"),
    .victorops_api_url = L("https://alert.victorops.com/integrations/generic/20131114/alert/"),
    .telegram_api_url = L("https://api.telegram.org"),
    .webex_api_url = L("https://webexapis.com/v1/messages"),
    .rocketchat_api_url = L(ROCKETCHAT_URL),
    .slack_app_url = L(SLACK_APP_URL),
};
static void check_global(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_global *g = obj;
    const struct {
        str value, file;
        const char *name;
    } pairs[] = {
        { g->slack_app_token.value, g->slack_app_token_file, "slack_app_token" },
        { g->slack_api_url.value, g->slack_api_url_file, "slack_api_url" },
        { g->opsgenie_api_key.value, g->opsgenie_api_key_file, "opsgenie_api_key" },
        { g->victorops_api_key.value, g->victorops_api_key_file, "victorops_api_key" },
        { g->telegram_bot_token.value, g->telegram_bot_token_file, "telegram_bot_token" },
        { g->smtp_auth_password.value, g->smtp_auth_password_file, "smtp_auth_password" },
        { g->smtp_auth_secret.value, g->smtp_auth_secret_file, "smtp_auth_secret" },
        { g->rocketchat_token.value, g->rocketchat_token_file, "rocketchat_token" },
        { g->rocketchat_token_id.value, g->rocketchat_token_id_file, "rocketchat_token_id" },
        { g->wechat_api_secret.value, g->wechat_api_secret_file, "wechat_api_secret" },
        { g->mattermost_webhook_url.value, g->mattermost_webhook_url_file, "mattermost_webhook_url" },
    };
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        if (pairs[i].value.n && pairs[i].file.n)
            FAIL("at most one of %s & %s_file must be configured", pairs[i].name, pairs[i].name);
    /* The same URL in both was once the advice for bot tokens. */
    if ((g->slack_app_token.value.n || g->slack_app_token_file.n) &&
        (g->slack_api_url.value.n || g->slack_api_url_file.n) && !str_eq(g->slack_api_url.value, g->slack_app_url))
        FAIL("at most one of slack_app_token/slack_app_token_file & slack_api_url/slack_api_url_file must be "
             "configured");
}
static CONF_SCHEMA(global_schema, struct am_global, "config.plain", global_fields, .defaults = &global_defaults,
                   .check = check_global);

#define F(m, key, t, ...) CF(struct am_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field config_fields[] = {
    F(global, "global", CONF_STRUCT, .schema = &global_schema),
    F(route_node, "route", CONF_NODE),
    F(inhibit_node, "inhibit_rules", CONF_NODE),
    F(receivers, "receivers", CONF_LIST, .of = CONF_STRUCT, .schema = &am_receiver_schema),
    F(mute_node, "mute_time_intervals", CONF_NODE),
    F(intervals_node, "time_intervals", CONF_NODE),
    F(templates, "templates", CONF_LIST, .of = CONF_STR, .flags = CONF_ALWAYS),
    F(tracing_node, "tracing", CONF_NODE),
};
#undef F
static CONF_SCHEMA(config_schema, struct am_config, "config.plain", config_fields);

/* ---- what integrations inherit ---- */
struct fill {
    struct conf_ctx *cx;
    const struct am_global *g;
    const struct conf_node *n; /* of the integration */
};

static void or_str(str *s, str fallback)
{
    if (!s->n)
        *s = fallback;
}

static void or_secret(struct conf_secret *s, struct conf_secret fallback)
{
    or_str(&s->value, fallback.value);
}

static void need(struct fill *f, bool have, const char *text)
{
    if (!have)
        IGNORE_ERR(conf_error(f->cx, f->n, "%s", text));
}

static void fill_http(struct fill *f, struct am_common *c)
{
    const struct http_config *g = &f->g->http;
    if (!c->http) {
        c->http = arena_new(f->cx->a, struct http_config);
        *c->http = *g;
    } else if (!c->http->proxy_url.n && !c->http->proxy_from_environment) { /* own settings, the proxy of all */
        c->http->proxy_url = g->proxy_url;
        c->http->no_proxy = g->no_proxy;
        c->http->proxy_from_environment = g->proxy_from_environment;
        c->http->proxy_connect_header = g->proxy_connect_header;
    }
}

static void slash(struct fill *f, str *url)
{
    if (url->n && !str_has_suffix(*url, STR("/")))
        *url = arena_printf(f->cx->a, STR_FMT "/", STR_ARG(*url));
}

static void fill_email(struct fill *f, struct am_email *c)
{
    const struct am_global *g = f->g;
    if (!c->smarthost.port.n)
        c->smarthost = g->smtp_smarthost;
    need(f, c->smarthost.port.n, "no global SMTP smarthost set");
    or_str(&c->from, g->smtp_from);
    need(f, c->from.n, "no global SMTP from set");
    or_str(&c->hello, g->smtp_hello);
    or_str(&c->auth_username, g->smtp_auth_username);
    if (!c->auth_password.value.n && !c->auth_password_file.n) {
        c->auth_password = g->smtp_auth_password;
        c->auth_password_file = g->smtp_auth_password_file;
    }
    or_secret(&c->auth_secret, g->smtp_auth_secret);
    or_str(&c->auth_secret_file, g->smtp_auth_secret_file);
    or_str(&c->auth_identity, g->smtp_auth_identity);
    if (c->require_tls == AM_UNSET)
        c->require_tls = g->smtp_require_tls ? AM_TRUE : AM_FALSE;
    if (c->force_implicit_tls == AM_UNSET)
        c->force_implicit_tls = g->smtp_force_implicit_tls;
    if (!c->tls) {
        c->tls = arena_new(f->cx->a, struct tls_config);
        *c->tls = g->smtp_tls;
    }
}

#define SLACK_BOT " can only be used with bot tokens. api_url must be set to https://slack.com/api/chat.postMessage"
static void fill_slack(struct fill *f, struct am_slack *c)
{
    const struct am_global *g = f->g;
    bool own_auth = c->c.http && c->c.http->authorization;
    or_str(&c->app_url, g->slack_app_url);
    need(f, c->app_url.n, "no global Slack App URL set");
    if (!c->app_token.value.n && !c->app_token_file.n && !own_auth && !c->api_url.value.n) {
        c->app_token = g->slack_app_token;
        c->app_token_file = g->slack_app_token_file;
    }
    if (!c->api_url.value.n && !c->api_url_file.n) {
        c->api_url = g->slack_api_url;
        c->api_url_file = g->slack_api_url_file;
    }
    bool token = c->app_token.value.n || c->app_token_file.n;
    need(f, c->api_url.value.n || c->api_url_file.n || token,
         "no Slack API URL nor App token set either inline or in a file");
    fill_http(f, &c->c);
    for (int i = 0; i < 2; i++)
        need(f,
             !(i ? c->post_updates_to_thread : c->update_message) || token ||
                 str_has_suffix(c->api_url.value, STR("/chat.postMessage")),
             i ? "post_updates_to_thread" SLACK_BOT : "update_message" SLACK_BOT);
    if (!token)
        return;
    need(f, !c->c.http->authorization, "http authorization can't be set when using Slack App tokens");
    c->c.http->authorization = arena_new(f->cx->a, struct authorization_config);
    *c->c.http->authorization = (struct authorization_config){ .type = STR("Bearer"),
                                                               .credentials = c->app_token,
                                                               .credentials_file = c->app_token_file };
    c->api_url.value = c->app_url;
}

static void fill_opsgenie(struct fill *f, struct am_opsgenie *c)
{
    or_str(&c->api_url, f->g->opsgenie_api_url);
    need(f, c->api_url.n, "no global OpsGenie URL set");
    slash(f, &c->api_url);
    or_secret(&c->api_key, f->g->opsgenie_api_key);
    or_str(&c->api_key_file, f->g->opsgenie_api_key_file);
    need(f, c->api_key.value.n || c->api_key_file.n, "no global OpsGenie API Key set either inline or in a file");
}

static void fill_wechat(struct fill *f, struct am_wechat *c)
{
    or_str(&c->api_url, f->g->wechat_api_url);
    need(f, c->api_url.n, "no global Wechat URL set");
    if (!c->api_secret.value.n && !c->api_secret_file.n) {
        c->api_secret = f->g->wechat_api_secret;
        c->api_secret_file = f->g->wechat_api_secret_file;
    }
    need(f, c->api_secret.value.n || c->api_secret_file.n,
         "no global Wechat Api Secret set either inline or in a file");
    or_str(&c->corp_id, f->g->wechat_api_corp_id);
    need(f, c->corp_id.n, "no global Wechat CorpID set");
    slash(f, &c->api_url);
}

static void fill_victorops(struct fill *f, struct am_victorops *c)
{
    or_str(&c->api_url, f->g->victorops_api_url);
    need(f, c->api_url.n, "no global VictorOps URL set");
    slash(f, &c->api_url);
    or_secret(&c->api_key, f->g->victorops_api_key);
    or_str(&c->api_key_file, f->g->victorops_api_key_file);
    need(f, c->api_key.value.n || c->api_key_file.n, "no global VictorOps API Key set");
}

static void fill_telegram(struct fill *f, struct am_telegram *c)
{
    or_str(&c->api_url, f->g->telegram_api_url);
    if (!c->bot_token.value.n && !c->bot_token_file.n) {
        c->bot_token = f->g->telegram_bot_token;
        c->bot_token_file = f->g->telegram_bot_token_file;
    }
    need(f, c->bot_token.value.n || c->bot_token_file.n, "missing bot_token or bot_token_file on telegram_config");
}

static void fill_rocketchat(struct fill *f, struct am_rocketchat *c)
{
    or_str(&c->api_url, f->g->rocketchat_api_url);
    or_secret(&c->token_id, f->g->rocketchat_token_id);
    or_str(&c->token_id_file, f->g->rocketchat_token_id_file);
    need(f, c->token_id.value.n || c->token_id_file.n, "no global Rocketchat TokenID set either inline or in a file");
    or_secret(&c->token, f->g->rocketchat_token);
    or_str(&c->token_file, f->g->rocketchat_token_file);
    need(f, c->token.value.n || c->token_file.n, "no global Rocketchat Token set either inline or in a file");
}

static void fill_mattermost(struct fill *f, struct am_mattermost *c)
{
    if (!c->webhook_url.value.n && !c->webhook_url_file.n) {
        c->webhook_url = f->g->mattermost_webhook_url;
        c->webhook_url_file = f->g->mattermost_webhook_url_file;
    }
    need(f, c->webhook_url.value.n || c->webhook_url_file.n,
         "missing webhook_url or webhook_url_file on mattermost_config");
}

static void fill_url(struct fill *f, str *url, str global, const char *text)
{
    or_str(url, global);
    need(f, url->n, text);
}

static void fill_integration(struct fill *f, enum am_kind kind, void *of)
{
    if (kind != AM_EMAIL && kind != AM_SLACK)
        fill_http(f, of);
    switch (kind) {
    case AM_EMAIL:
        fill_email(f, of);
        break;
    case AM_SLACK:
        fill_slack(f, of);
        break;
    case AM_OPSGENIE:
        fill_opsgenie(f, of);
        break;
    case AM_WECHAT:
        fill_wechat(f, of);
        break;
    case AM_VICTOROPS:
        fill_victorops(f, of);
        break;
    case AM_TELEGRAM:
        fill_telegram(f, of);
        break;
    case AM_ROCKETCHAT:
        fill_rocketchat(f, of);
        break;
    case AM_MATTERMOST:
        fill_mattermost(f, of);
        break;
    case AM_PAGERDUTY:
        fill_url(f, &((struct am_pagerduty *)of)->url, f->g->pagerduty_url, "no global PagerDuty URL set");
        break;
    case AM_WEBEX:
        fill_url(f, &((struct am_webex *)of)->api_url, f->g->webex_api_url, "no global Webex URL set");
        break;
    case AM_JIRA:
        fill_url(f, &((struct am_jira *)of)->api_url, f->g->jira_api_url, "no global Jira Cloud URL set");
        break;
    default: /* inherits no more than HTTP settings */
        break;
    }
}

static const size_t kind_size[AM_KINDS] = {
    [AM_WEBHOOK] = sizeof(struct am_webhook),
    [AM_EMAIL] = sizeof(struct am_email),
    [AM_PAGERDUTY] = sizeof(struct am_pagerduty),
    [AM_OPSGENIE] = sizeof(struct am_opsgenie),
    [AM_WECHAT] = sizeof(struct am_wechat),
    [AM_SLACK] = sizeof(struct am_slack),
    [AM_VICTOROPS] = sizeof(struct am_victorops),
    [AM_PUSHOVER] = sizeof(struct am_pushover),
    [AM_SNS] = sizeof(struct am_sns),
    [AM_TELEGRAM] = sizeof(struct am_telegram),
    [AM_DISCORD] = sizeof(struct am_discord),
    [AM_WEBEX] = sizeof(struct am_webex),
    [AM_MSTEAMS] = sizeof(struct am_msteams),
    [AM_MSTEAMSV2] = sizeof(struct am_msteams),
    [AM_JIRA] = sizeof(struct am_jira),
    [AM_ROCKETCHAT] = sizeof(struct am_rocketchat),
    [AM_MATTERMOST] = sizeof(struct am_mattermost),
    [AM_INCIDENTIO] = sizeof(struct am_incidentio),
    [AM_SMS] = sizeof(struct am_dial),
    [AM_PHONE] = sizeof(struct am_dial),
};

/* Files that keys name are relative to the configuration's folder, as those of http_config. */
static void join_files(struct arena *a, str dir, const struct conf_schema *schema, void *obj)
{
    for (size_t i = 0; i < schema->n_fields; i++) {
        const struct conf_field *x = &schema->fields[i];
        void *field = (char *)obj + x->offset;
        if (x->type == CONF_STR && str_has_suffix(str_c(x->key), STR("_file")))
            *(str *)field = http_join_dir(a, dir, *(str *)field);
        else if (x->type == CONF_STRUCT && x->schema == &tls_config_schema)
            join_files(a, dir, x->schema, field);
        else if (x->type == CONF_PTR && x->schema == &tls_config_schema && *(void **)field)
            join_files(a, dir, x->schema, *(void **)field);
    }
}

static const struct conf_schema *schema_of(const char *list) /* "webhook_configs" */
{
    for (size_t i = 0; i < am_receiver_schema.n_fields; i++)
        if (strcmp(am_receiver_schema.fields[i].key, list) == 0)
            return am_receiver_schema.fields[i].schema;
    return NULL;
}

static void fill_receiver(struct fill *f, const struct conf_node *n, struct am_receiver *r, str dir)
{
    size_t total = 0;
    for (size_t k = 0; k < AM_KINDS; k++)
        total += r->lists[k].n;
    r->integrations = arena_zarray(f->cx->a, struct am_integration, total + 1);
    for (enum am_kind k = 0; k < AM_KINDS; k++) {
        AUTO_BUF struct buf key;
        buf_init(&key, 0);
        buf_printf(&key, "%s_configs", am_kind_name(k));
        const struct conf_node *list = conf_get(n, buf_str(&key));
        const struct conf_schema *schema = schema_of(arena_cstr(f->cx->a, buf_str(&key)));
        for (size_t i = 0; i < r->lists[k].n; i++) {
            struct am_common *c = (struct am_common *)(void *)((char *)r->lists[k].p + i * kind_size[k]);
            f->n = list && i < list->n ? list->items[i] : n;
            join_files(f->cx->a, dir, schema, c);
            if (c->http)
                http_config_set_dir(f->cx->a, c->http, dir);
            fill_integration(f, k, c);
            r->integrations[r->n_integrations++] = (struct am_integration){ k, i, c };
        }
    }
}

static void fill_receivers(struct conf_ctx *cx, const struct conf_node *root, struct am_config *c, str dir)
{
    struct am_names seen = { 0 };
    const struct conf_node *list = conf_get(root, STR("receivers"));
    struct fill f = { .cx = cx, .g = &c->global };
    http_config_set_dir(cx->a, &c->global.http, dir);
    join_files(cx->a, dir, &global_schema, &c->global);
    for (size_t i = 0; i < c->receivers.n; i++) {
        bool is_new;
        struct am_receiver *r = &c->receivers.p[i];
        am_names_put(&seen, r->name, &is_new);
        if (!is_new)
            IGNORE_ERR(conf_error(cx, list->items[i], "notification config name \"" STR_FMT "\" is not unique",
                                  STR_ARG(r->name)));
        fill_receiver(&f, list->items[i], r, dir);
    }
    am_names_free(&seen);
}

/* ---- time intervals ---- */
struct named {
    str name;
    const struct conf_node *intervals;
};
static const struct conf_field named_fields[] = {
    CF(struct named, name, "name", CONF_STR),
    CF(struct named, intervals, "time_intervals", CONF_NODE),
};
static CONF_SCHEMA(named_schema, struct named, "config.plain", named_fields);

static void read_intervals(struct conf_ctx *cx, struct am_config *c, const struct conf_node *list, const char *what)
{
    if (list && list->kind != CONF_SEQ)
        IGNORE_ERR(conf_error(cx, list, "time intervals are a list"));
    for (size_t i = 0; list && list->kind == CONF_SEQ && i < list->n; i++) {
        const struct conf_node *n = list->items[i];
        struct named x;
        if (conf_decode(cx, n, &named_schema, &x) != OK)
            continue;
        if (!x.name.n)
            FAIL("missing name in %s", what);
        else if (am_config_intervals(c, x.name))
            FAIL("%s \"" STR_FMT "\" is not unique", what, STR_ARG(x.name));
        struct am_named_intervals *v = &c->intervals[c->n_intervals++];
        v->name = x.name;
        IGNORE_ERR(am_intervals_conf(cx, x.intervals, &v->intervals));
    }
}

const struct am_intervals *am_config_intervals(const struct am_config *c, str name)
{
    for (size_t i = 0; i < c->n_intervals; i++)
        if (str_eq(c->intervals[i].name, name))
            return &c->intervals[i].intervals;
    return NULL;
}

bool am_config_muted(const struct am_config *c, const struct am_route *r, int64_t now_ms)
{
    bool active = r->n_active == 0;
    int64_t now_s = now_ms / 1000;
    for (size_t i = 0; i < r->n_active && !active; i++) {
        const struct am_intervals *v = am_config_intervals(c, r->active[i]);
        active = v && am_intervals_contain(v, now_s);
    }
    for (size_t i = 0; i < r->n_mute && active; i++) {
        const struct am_intervals *v = am_config_intervals(c, r->mute[i]);
        active = !(v && am_intervals_contain(v, now_s));
    }
    return !active;
}

const struct am_receiver *am_config_receiver(const struct am_config *c, str name)
{
    for (size_t i = 0; i < c->receivers.n; i++)
        if (str_eq(c->receivers.p[i].name, name))
            return &c->receivers.p[i];
    return NULL;
}

/* ---- the route's names ---- */
struct check {
    struct conf_ctx *cx;
    const struct am_config *c;
    struct am_names receivers;
};

static void check_intervals(struct check *k, const struct am_route *r, const str *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!am_config_intervals(k->c, names[i]))
            IGNORE_ERR(
                conf_error(k->cx, r->at, "undefined time interval \"" STR_FMT "\" used in route", STR_ARG(names[i])));
}

static void check_route(struct check *k, const struct am_route *r) /* depth: am_route_conf bounds it */
{
    bool inherited = r->parent && str_eq(r->parent->receiver, r->receiver);
    if (r->receiver.n && !inherited && !am_names_get(&k->receivers, r->receiver))
        IGNORE_ERR(conf_error(k->cx, r->at, "undefined receiver \"" STR_FMT "\" used in route", STR_ARG(r->receiver)));
    check_intervals(k, r, r->active, r->n_active);
    check_intervals(k, r, r->mute, r->n_mute);
    for (size_t i = 0; i < r->n_routes; i++)
        check_route(k, r->routes[i]);
}

static void read_route(struct conf_ctx *cx, struct am_config *c)
{
    struct check k = { .cx = cx, .c = c };
    enum err e = am_route_conf(cx, c->route_node, &c->route, &c->n_routes);
    if (!c->route)
        return;
    (void)e; /* said in cx */
    for (size_t i = 0; i < c->receivers.n; i++)
        *am_names_put(&k.receivers, c->receivers.p[i].name, NULL) = i;
    check_route(&k, c->route);
    am_names_free(&k.receivers);
}

/* ---- life ---- */
static str dir_of(str path)
{
    for (size_t i = path.n; i > 0; i--)
        if (path.p[i - 1] == '/')
            return i == 1 ? STR("/") : str_take(path, i - 1);
    return STR("");
}

static enum err from_root(struct conf_ctx *cx, str file, const struct conf_node *root, const struct conf_node *policy,
                          struct am_config **ret)
{
    struct am_policy *p = NULL;
    if (am_policy_compile(cx, policy ? conf_copy(cx->a, policy) : NULL, root, &root, &p) != OK)
        return ERR_INVALID;
    struct am_config *c = arena_new(cx->a, struct am_config);
    str dir = dir_of(file);
    bool read = conf_decode(cx, root, &config_schema, c) == OK;
    if (root->kind != CONF_MAP && root->kind != CONF_NULL)
        return ERR_INVALID;
    size_t n = (c->mute_node ? c->mute_node->n : 0) + (c->intervals_node ? c->intervals_node->n : 0);
    c->intervals = arena_zarray(cx->a, struct am_named_intervals, n + 1);
    read_intervals(cx, c, c->mute_node, "mute time interval");
    read_intervals(cx, c, c->intervals_node, "time interval");
    if (read)
        fill_receivers(cx, root, c, dir);
    c->policy = p;
    read_route(cx, c);
    am_policy_attach(cx, c);
    IGNORE_ERR(am_inhibit_conf(cx, c->inhibit_node, &c->inhibit)); /* said in cx */
    for (size_t i = 0; i < c->templates.n; i++)
        c->templates.p[i] = http_join_dir(cx->a, dir, c->templates.p[i]);
    if (c->tracing_node)
        conf_warn(cx, c->tracing_node, "tracing of notifications is not supported: ignored");
    if (cx->n_errors)
        return ERR_INVALID;
    c->hash = conf_hash(&config_schema, c) ^ (p ? conf_hash(&am_policy_schema, p) : 0);
    c->a = cx->a;
    c->ctx = cx;
    c->refs = arena_new(cx->a, atomic_uint);
    atomic_init(c->refs, 1);
    *ret = c;
    return OK;
}

static enum err finish(struct conf_ctx *cx, enum err e, struct buf *diags_out, struct err_text *reterr)
{
    if (diags_out)
        conf_diags_print(diags_out, cx);
    if (e) {
        conf_first_error(cx, reterr);
        conf_ctx_free(cx);
    }
    return e;
}

enum err am_config_load_under(const char *path, const struct conf_node *policy, struct am_config **ret,
                              struct buf *diags_out, struct err_text *reterr)
{
    struct conf_ctx *cx = conf_ctx_new(fs_os());
    struct conf_node *root;
    enum err e = conf_read(cx, path, 0, &root);
    e = e ? e : from_root(cx, arena_str(cx->a, str_c(path)), root, policy, ret);
    return finish(cx, e, diags_out, reterr);
}

enum err am_config_load(const char *path, struct am_config **ret, struct buf *diags_out, struct err_text *reterr)
{
    return am_config_load_under(path, NULL, ret, diags_out, reterr);
}

enum err am_config_parse_under(str file, str text, const struct conf_node *policy, struct am_config **ret,
                               struct buf *diags_out, struct err_text *reterr)
{
    struct conf_ctx *cx = conf_ctx_new(fs_os());
    struct conf_node *root;
    enum err e = conf_parse(cx, arena_str(cx->a, file), arena_str(cx->a, text), 0, &root);
    e = e ? e : from_root(cx, file, root, policy, ret);
    return finish(cx, e, diags_out, reterr);
}

enum err am_config_parse(str file, str text, struct am_config **ret, struct buf *diags_out, struct err_text *reterr)
{
    return am_config_parse_under(file, text, NULL, ret, diags_out, reterr);
}

struct am_config *am_config_ref(struct am_config *c)
{
    atomic_fetch_add_explicit(c->refs, 1, memory_order_relaxed);
    return c;
}

void am_config_unref(struct am_config *c)
{
    if (c && atomic_fetch_sub_explicit(c->refs, 1, memory_order_acq_rel) == 1)
        conf_ctx_free(c->ctx);
}

void am_config_print(const struct am_config *c, struct buf *out)
{
    conf_print(out, &config_schema, c);
}

/* ---- templates ---- */
static enum err parse_file(struct tmpl_set *set, const char *path, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text, name = str_c(path);
    TRY(fs_read_file(fs_os(), path, AM_TEMPLATE_BYTES_MAX, &a, &text, reterr));
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] == '/') {
            name = str_skip(name, i + 1);
            i = (size_t)-1;
        }
    return tmpl_parse(set, name, text, reterr);
}

static enum err parse_pattern(struct tmpl_set *set, const char *pattern, struct err_text *reterr)
{
    glob_t g;
    enum err e = OK;
    int got = glob(pattern, 0, NULL, &g);
    if (got == GLOB_NOMATCH)
        return OK; /* as in the reference: a folder may be empty */
    if (got)
        return err_fail(reterr, ERR_IO, "templates %s cannot be listed", pattern);
    if (g.gl_pathc > AM_TEMPLATE_FILES_MAX)
        e = err_fail(reterr, ERR_LIMIT, "templates %s are more than %u files", pattern, AM_TEMPLATE_FILES_MAX);
    for (size_t i = 0; !e && i < g.gl_pathc; i++)
        e = parse_file(set, g.gl_pathv[i], reterr);
    globfree(&g);
    return e;
}

enum err am_config_templates(const struct am_config *c, bool html, struct tmpl_set **ret, struct err_text *reterr)
{
    static const struct tmpl_func *const funcs[] = { tmpl_am_funcs };
    const struct tmpl_options opt = {
        .funcs = funcs, .n_funcs = &tmpl_am_n_funcs, .n_tables = 1, .missing = TMPL_MISSING_ZERO, .html = html
    };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tmpl_set *set = tmpl_set_new(&opt, NULL);
    enum err e = tmpl_am_defaults(set, reterr);
    if (!e && c->policy && c->policy->changes)
        e = tmpl_am_changes_defaults(set, reterr);
    for (size_t i = 0; !e && i < c->templates.n; i++)
        e = parse_pattern(set, arena_cstr(&a, c->templates.p[i]), reterr);
    if (e)
        tmpl_set_free(set);
    else
        *ret = set;
    return e;
}
