/* The whole of an alertmanager.yml, strictly: every key of Alertmanager with its defaults and rules, so that a file that
 * is valid there loads here, and one that is not is refused with its words at the right line.
 *
 *   struct am_config *cfg;
 *   TRY(am_config_load("alertmanager.yml", &cfg, &diags, &why));
 *   ... am_route_match(cfg->route, labels, ...), cfg->receivers.p[i].integrations ...
 *   am_config_unref(cfg);
 *
 * After loading, what an integration leaves out is filled in from `global`, so that nobody need look there.
 * Strings named "template" are Go templates over the notification's data (tmpl/tmpl_lib.h).
 * Spec: prometheus.io/docs/alerting/latest/configuration.
 * Memory: a configuration owns an arena; shared by reference count. Threads: read-only after loading. */
#ifndef VANE_ALERTING_AM_CONFIG_H
#define VANE_ALERTING_AM_CONFIG_H

#include <stdatomic.h>

#include "alerting/am_inhibit.h"
#include "alerting/am_interval.h"
#include "alerting/am_route.h"
#include "http/http_config.h"

struct tmpl_set;
struct am_policy;

#define AM_TEMPLATE_BYTES_MAX (1u << 20) /* one template file */
#define AM_TEMPLATE_FILES_MAX 1000u

/* In the order in which a receiver's integrations are numbered. */
enum am_kind {
    AM_WEBHOOK,
    AM_EMAIL,
    AM_PAGERDUTY,
    AM_OPSGENIE,
    AM_WECHAT,
    AM_SLACK,
    AM_VICTOROPS,
    AM_PUSHOVER,
    AM_SNS,
    AM_TELEGRAM,
    AM_DISCORD,
    AM_WEBEX,
    AM_MSTEAMS,
    AM_MSTEAMSV2,
    AM_JIRA,
    AM_ROCKETCHAT,
    AM_MATTERMOST,
    AM_INCIDENTIO,
    AM_SMS, /* of vane; the reference has no such receivers */
    AM_PHONE,
    AM_KINDS
};
const char *am_kind_name(enum am_kind k); /* "webhook" */

enum am_tri { AM_UNSET, AM_FALSE, AM_TRUE };
struct am_host_port { /* "" where absent */
    str host, port;
};

/* What every integration begins with. */
struct am_common {
    bool send_resolved;
    struct http_config *http; /* not NULL after loading, but for e-mail */
};

struct am_webhook {
    struct am_common c;
    struct conf_secret url; /* template */
    str url_file;
    uint64_t max_alerts;             /* 0: all */
    int64_t timeout_ms;              /* 0: none of its own; so everywhere below */
    const struct conf_node *payload; /* templates in its strings; NULL: the standard one */
};
struct am_email {
    struct am_common c;
    str to, from, hello, auth_username, auth_password_file, auth_secret_file, auth_identity; /* to, from: templates */
    struct conf_secret auth_password, auth_secret;
    struct am_host_port smarthost;
    CONF_DICT_OF(str) headers; /* canonical names; templates */
    str html, text;            /* templates */
    enum am_tri require_tls;   /* never AM_UNSET after loading */
    enum am_tri force_implicit_tls;
    struct tls_config *tls; /* not NULL after loading */
    bool threading;
    str thread_by_date; /* none, daily */
};
struct am_link { /* of PagerDuty; templates */
    str href, text, src, alt;
};
struct am_pagerduty {
    struct am_common c;
    struct conf_secret service_key, routing_key; /* templates */
    str service_key_file, routing_key_file, url;
    str client, client_url, description, source, severity, class_, component, group; /* templates */
    const struct conf_node *details; /* templates; the default ones are added where absent: am_pagerduty_details */
    CONF_LIST_OF(struct am_link) images, links;
    int64_t timeout_ms;
};
extern const struct http_pair am_pagerduty_details[4];
struct am_responder {
    str id, name, username, type; /* templates */
};
struct am_opsgenie {
    struct am_common c;
    struct conf_secret api_key;                                              /* template */
    str api_key_file, api_url;                                               /* ends in / */
    str message, description, source, entity, actions, tags, note, priority; /* templates */
    CONF_DICT_OF(str) details;                                               /* templates */
    CONF_LIST_OF(struct am_responder) responders;
    bool update_alerts;
};
struct am_wechat {
    struct am_common c;
    struct conf_secret api_secret;
    str api_secret_file, corp_id, api_url; /* ends in / */
    str message, to_user, to_party, to_tag, agent_id, message_type;
};
struct am_slack_confirm {
    str text, title, ok_text, dismiss_text;
};
struct am_slack_action {
    str type, text, url, style, name, value;
    struct am_slack_confirm *confirm; /* NULL: none */
};
struct am_field { /* of Slack, Rocket.Chat, Mattermost */
    str title, value;
    enum am_tri short_;
};
struct am_slack {
    struct am_common c;
    struct conf_secret api_url, app_token;
    str api_url_file, app_token_file, app_url;
    str channel, username, color, title, title_link, pretext, text, message_text, footer, fallback, callback_id,
        icon_emoji, icon_url, image_url, thumb_url;
    CONF_LIST_OF(struct am_field) fields;
    CONF_LIST_OF(str) mrkdwn_in;
    CONF_LIST_OF(struct am_slack_action) actions;
    bool short_fields, link_names, update_message, post_updates_to_thread;
    int64_t timeout_ms;
};
struct am_victorops {
    struct am_common c;
    struct conf_secret api_key;
    str api_key_file, api_url; /* ends in / */
    str routing_key, message_type, state_message, entity_display_name, monitoring_tool;
    CONF_DICT_OF(str) custom_fields;
};
struct am_pushover {
    struct am_common c;
    struct conf_secret user_key, token;
    str api_url, user_key_file, token_file, title, message, url, url_title, device, sound, priority;
    int64_t retry_ms, expire_ms, ttl_ms;
    bool html, monospace;
};
struct am_sns {
    struct am_common c;
    str api_url, topic_arn, phone_number, target_arn, subject, message; /* templates */
    struct sigv4_config sigv4;
    CONF_DICT_OF(str) attributes;
    bool use_aws_http_client;
};
struct am_telegram {
    struct am_common c;
    struct conf_secret bot_token;
    str api_url, bot_token_file, chat_id_file, message, parse_mode;
    int64_t chat_id, message_thread_id, timeout_ms;
    bool disable_notifications;
};
struct am_discord {
    struct am_common c;
    struct conf_secret webhook_url;
    str webhook_url_file, content, title, message, username, avatar_url;
};
struct am_webex {
    struct am_common c;
    str api_url, message, room_id;
};
struct am_msteams { /* and msteamsv2 */
    struct am_common c;
    struct conf_secret webhook_url;
    str webhook_url_file, title, summary, text;
};
struct am_jira_field {
    str text; /* template */
    enum am_tri enable_update;
};
struct am_jira {
    struct am_common c;
    str api_url, api_type, project, priority, issue_type, reopen_transition, resolve_transition, wont_fix_resolution;
    struct am_jira_field summary, description;
    CONF_LIST_OF(str) labels;
    enum am_tri labels_update;
    int64_t reopen_duration_ms;
    const struct conf_node *fields; /* NULL: none */
};
struct am_rocketchat_action {
    str type, text, url, image_url, webview_height_ratio, msg, msg_processing_type;
    bool is_webview, msg_in_chat_window;
};
struct am_rocketchat {
    struct am_common c;
    struct conf_secret token_id, token;
    str api_url, token_id_file, token_file, channel, color, title, title_link, text, emoji, icon_url, image_url,
        thumb_url;
    CONF_LIST_OF(struct am_field) fields;
    CONF_LIST_OF(struct am_rocketchat_action) actions;
    bool short_fields, link_names;
};
struct am_mattermost_attachment {
    str fallback, color, pretext, text, author_name, author_link, author_icon, title, title_link, thumb_url, footer,
        footer_icon, image_url;
    CONF_LIST_OF(struct am_field) fields;
};
struct am_mattermost_props {
    str card;
};
struct am_mattermost_priority {
    str priority;
    bool requested_ack, persistent_notifications;
};
struct am_mattermost {
    struct am_common c;
    struct conf_secret webhook_url;
    str webhook_url_file, channel, username, icon_url, icon_emoji, type;
    struct am_mattermost_attachment main;
    CONF_LIST_OF(struct am_mattermost_attachment) attachments;
    struct am_mattermost_props *props;       /* NULL: none */
    struct am_mattermost_priority *priority; /* NULL: none */
};
struct am_incidentio {
    struct am_common c;
    str url, url_file, alert_source_token_file;
    struct conf_secret alert_source_token;
    uint64_t max_alerts;
    int64_t timeout_ms;
};

struct am_dial { /* a text message or a call; docs/alerting.md, "Calls and text messages" */
    struct am_common c;
    str provider;                               /* twilio, vonage, http */
    str api_url;                                /* ends without /; http: a template with {to} ... in it */
    str account;                                /* Twilio: account's SID; Vonage: API key, for calls application's id */
    struct conf_secret secret, callback_secret; /* callback_secret "": Twilio's is secret */
    str secret_file, callback_secret_file;
    str from, to, message; /* to: several, separated by commas; templates */
    str language, voice, callback_url;
    uint64_t times; /* a call says its message so often */
    bool acknowledge;
    str method, content_type, body;           /* http: body is a template with {to} ... in it */
    CONF_DICT_OF(struct conf_secret) headers; /* http */
    int64_t timeout_ms;
};

struct am_integration {
    enum am_kind kind;
    size_t index;               /* among those of its kind in the receiver, from 0 */
    const struct am_common *of; /* first member of the struct of its kind */
};
struct am_receiver {
    str name;
    CONF_DICT_OF(str) labels;
    uint64_t max_messages_per_minute; /* 0: any number */
    struct conf_list lists[AM_KINDS]; /* as in the file */
    struct am_integration *integrations;
    size_t n_integrations;
};
struct am_named_intervals {
    str name;
    struct am_intervals intervals;
};
struct am_global {
    int64_t resolve_timeout_ms;
    struct http_config http;
    str smtp_from, smtp_hello, smtp_auth_username, smtp_auth_password_file, smtp_auth_secret_file, smtp_auth_identity;
    struct am_host_port smtp_smarthost;
    struct conf_secret smtp_auth_password, smtp_auth_secret;
    bool smtp_require_tls;
    enum am_tri smtp_force_implicit_tls;
    struct tls_config smtp_tls;
    struct conf_secret slack_api_url, slack_app_token, opsgenie_api_key, wechat_api_secret, victorops_api_key,
        telegram_bot_token, rocketchat_token, rocketchat_token_id, mattermost_webhook_url;
    str slack_api_url_file, slack_app_token_file, slack_app_url, pagerduty_url, opsgenie_api_url, opsgenie_api_key_file,
        wechat_api_url, wechat_api_secret_file, wechat_api_corp_id, victorops_api_url, victorops_api_key_file,
        telegram_api_url, telegram_bot_token_file, webex_api_url, rocketchat_api_url, rocketchat_token_file,
        rocketchat_token_id_file, mattermost_webhook_url_file, jira_api_url;
};
struct am_config {
    struct am_global global;
    CONF_LIST_OF(struct am_receiver) receivers;
    CONF_LIST_OF(str) templates; /* patterns, against the file's folder */
    struct am_route *route;
    size_t n_routes;
    struct am_inhibit_rules inhibit;
    struct am_named_intervals *intervals; /* of both lists */
    size_t n_intervals;
    struct am_policy *policy;             /* am_policy.h; NULL: none */
    const struct am_route **drill_routes; /* by receiver */
    uint64_t hash;                        /* of all settings, secrets too: did a reload change it? */
    /* of the file */
    const struct conf_node *route_node, *inhibit_node, *mute_node, *intervals_node, *tracing_node;
    struct arena *a;
    struct conf_ctx *ctx;
    atomic_uint *refs;
};

/* Load a file, or take a text as if it stood in `file`. Errors (also several) are described in reterr's text and, with
 * source lines, in *diags_out (may be NULL), where warnings stand too. The result has one reference. */
enum err am_config_load(const char *path, struct am_config **ret, struct buf *diags_out,
                        struct err_text *reterr) MUST_CHECK;
enum err am_config_parse(str file, str text, struct am_config **ret, struct buf *diags_out,
                         struct err_text *reterr) MUST_CHECK;
/* The same under an alert_policy (am_policy.h): its node in vane.yaml, copied; NULL: none. */
enum err am_config_load_under(const char *path, const struct conf_node *policy, struct am_config **ret,
                              struct buf *diags_out, struct err_text *reterr) MUST_CHECK;
enum err am_config_parse_under(str file, str text, const struct conf_node *policy, struct am_config **ret,
                               struct buf *diags_out, struct err_text *reterr) MUST_CHECK;
struct am_config *am_config_ref(struct am_config *c);
void am_config_unref(struct am_config *c); /* NULL is fine */
/* As YAML, defaults filled in, secrets hidden. */
void am_config_print(const struct am_config *c, struct buf *out);
const struct am_receiver *am_config_receiver(const struct am_config *c, str name);         /* NULL: none */
const struct am_intervals *am_config_intervals(const struct am_config *c, str name);       /* NULL: none */
bool am_config_muted(const struct am_config *c, const struct am_route *r, int64_t now_ms); /* by time intervals */

/* The default templates and those of the configuration's files, as text or as HTML. Free with tmpl_set_free(). */
enum err am_config_templates(const struct am_config *c, bool html, struct tmpl_set **ret,
                             struct err_text *reterr) MUST_CHECK;

#endif
