/* alerting/am_config.h: the files of the conformance suite, what integrations inherit, and that no secret is shown. */
#include "conformance.h"
#include "json_doc.h"
#include "test.h"

#include "alerting/am_config.h"
#include "tmpl/tmpl_lib.h"

/* "yaml: unmarshal errors:\n  line 16: why" stands at F:16:column here. */
static bool says(str diags, str want, struct arena *a)
{
    str head = STR("yaml: unmarshal errors:\n  line ");
    size_t colon;
    if (!str_has_prefix(want, head))
        return str_contains(diags, want);
    want = str_skip(want, head.n);
    colon = str_find(want, STR(": "));
    return str_contains(diags, arena_printf(a, ":" STR_FMT ":", STR_ARG(str_take(want, colon)))) &&
           str_contains(diags, str_skip(want, colon + 2));
}

static void index_file(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text = conformance_file(&a, "alertmanager/config/index.json");
    if (!text.p)
        skip();
    struct jt rows = jt_parse(&a, text);
    size_t wrong = 0;
    jt_each(row, &rows)
    {
        struct am_config *c = NULL;
        struct err_text why;
        AUTO_BUF struct buf diags;
        buf_init(&diags, 0);
        str yaml = conformance_file(&a, arena_printf(&a, "alertmanager/" STR_FMT, STR_ARG(jt_str(row, "file"))).p);
        assert_non_null(yaml.p);
        bool ok = am_config_parse(jt_str(row, "file"), yaml, &c, &diags, &why) == OK;
        if (ok != jt_true(row, "valid") || (!ok && !says(buf_str(&diags), jt_str(row, "error_contains"), &a))) {
            wrong++;
            print_error(STR_FMT ": %s\n" STR_FMT "\n", STR_ARG(jt_str(row, "file")), ok ? "accepted" : "refused",
                        STR_ARG(buf_str(&diags)));
        }
        am_config_unref(c);
    }
    assert_true(rows.n > 30);
    assert_int_equal(wrong, 0);
}

static struct am_config *load(const char *yaml)
{
    struct am_config *c = NULL;
    struct err_text why;
    if (am_config_parse(STR("/etc/vane/am.yml"), str_c(yaml), &c, NULL, &why) != OK)
        fail_msg("%s", why.msg);
    return c;
}

static void refused(const char *yaml, const char *why_want)
{
    struct am_config *c = NULL;
    struct err_text why;
    AUTO_BUF struct buf diags;
    buf_init(&diags, 0);
    if (am_config_parse(STR("am.yml"), str_c(yaml), &c, &diags, &why) == OK)
        fail_msg("accepted: %s", yaml);
    if (!str_contains(buf_str(&diags), str_c(why_want)))
        fail_msg("%s\nsaid " STR_FMT, yaml, STR_ARG(buf_str(&diags)));
}

#define ROUTE "route: {receiver: r}\n"
#define R     ROUTE "receivers:\n- name: r\n"

static void inheritance(void **state)
{
    (void)state;
    struct am_config *c = load("global:\n"
                               "  smtp_smarthost: '[::1]:25'\n  smtp_from: a@example.com\n  smtp_require_tls: false\n"
                               "  opsgenie_api_url: https://og.example\n  opsgenie_api_key: k\n"
                               "  slack_app_token: xoxb\n"
                               "  http_config: {proxy_url: 'http://proxy:3128'}\n" R "  email_configs:\n"
                               "  - to: b@example.com\n    headers: {x-custom: y}\n"
                               "  - {to: c@example.com, require_tls: true, smarthost: 'm:587'}\n"
                               "  opsgenie_configs: [{http_config: {follow_redirects: false}}]\n"
                               "  slack_configs: [{channel: '#x'}]\n"
                               "  webhook_configs:\n  - url: http://a.example/{{ .Status }}\n    timeout: 1m1.5s\n"
                               "  pagerduty_configs: [{routing_key: k, http_config: {tls_config: {ca_file: ca.pem}}}]\n"
                               "templates: ['t/*.tmpl']\n");
    const struct am_receiver *r = am_config_receiver(c, STR("r"));
    assert_int_equal(r->n_integrations, 6);
    assert_int_equal(r->integrations[0].kind, AM_WEBHOOK);
    const struct am_webhook *w = (const void *)r->integrations[0].of;
    assert_int_equal(w->timeout_ms, 61500);
    assert_true(w->c.send_resolved && str_eq(w->c.http->proxy_url, STR("http://proxy:3128")));
    const struct am_email *e = (const void *)r->integrations[1].of, *e2 = (const void *)r->integrations[2].of;
    assert_true(!e->c.send_resolved && str_eq(e->from, STR("a@example.com")) && str_eq(e->hello, STR("localhost")));
    assert_true(str_eq(e->smarthost.host, STR("::1")) && str_eq(e2->smarthost.port, STR("587")));
    assert_int_equal(e->require_tls, AM_FALSE);
    assert_int_equal(e2->require_tls, AM_TRUE);
    assert_true(str_eq(e->headers.keys[0], STR("X-Custom")));
    const struct am_pagerduty *p = (const void *)r->integrations[3].of;
    assert_true(str_eq(p->source, p->client) && str_eq(p->c.http->tls.ca_file, STR("/etc/vane/ca.pem")));
    const struct am_opsgenie *o = (const void *)r->integrations[4].of;
    assert_true(str_eq(o->api_url, STR("https://og.example/")) && !o->c.http->follow_redirects);
    assert_true(str_eq(o->c.http->proxy_url, STR("http://proxy:3128")));
    const struct am_slack *s = (const void *)r->integrations[5].of;
    assert_true(str_eq(s->api_url.value, STR("https://slack.com/api/chat.postMessage")));
    assert_true(str_eq(s->c.http->authorization->credentials.value, STR("xoxb")));
    assert_null(c->global.http.authorization);
    assert_true(str_eq(c->templates.p[0], STR("/etc/vane/t/*.tmpl")));
    am_config_unref(c);
}

static void rules(void **state)
{
    (void)state;
    refused("", "no route provided in config");
    refused("route: {receiver: r, routes: [{receiver: gone}]}\nreceivers: [{name: r}]\n",
            "undefined receiver \"gone\" used in route");
    refused(R "- name: r\n", "notification config name \"r\" is not unique");
    refused(R "  webhook_configs: [{}]\n", "one of url or url_file must be configured");
    refused(R "  webhook_configs: [null]\n", "missing webhook config");
    refused(R "  webhook_configs: [{url: 'ftp://x'}]\n", "unsupported scheme \"ftp\" for URL");
    refused(R "  webhook_configs: [{url: 'http://x/{{ if }}'}]\n", "invalid template syntax");
    refused(R "  webhook_configs: [{url: 'http://x', timeout: 1d}]\n", "invalid duration \"1d\"");
    refused(R "  email_configs: [{to: x}]\n", "no global SMTP smarthost set");
    refused(R "  email_configs: [{to: x, smarthost: host}]\n", "missing port in address");
    refused(R "  email_configs: [{to: x, smarthost: 'h:1', from: y, headers: {a: b, A: c}}]\n",
            "duplicate header \"A\" in email config");
    refused(R "  email_configs: [{to: x, smarthost: 'h:1', from: y, threading: {enabled: true}}]\n",
            "threading.thread_by_date must be either 'none' or 'daily'");
    refused(R "  slack_configs: [{api_url: 'http://x', actions: [{type: button, text: t}]}]\n",
            "missing name or url in Slack action configuration");
    refused(R "  slack_configs: [{channel: x}]\n", "no Slack API URL nor App token set");
    refused(R "  opsgenie_configs: [{api_key: k, responders: [{type: team}]}]\n",
            "has to have at least one of id, username or name specified");
    refused(R "  opsgenie_configs: [{api_key: k, responders: [{name: a, type: herd}]}]\n",
            "does not match valid options");
    refused(R "  webex_configs: [{room_id: x}]\n", "missing webex_configs.http_config.authorization");
    refused(R "  jira_configs: [{project: p, issue_type: t}]\n", "no global Jira Cloud URL set");
    refused(R "  telegram_configs: [{bot_token: t}]\n", "missing chat_id or chat_id_file on telegram_config");
    refused(R "  victorops_configs: [{api_key: k, routing_key: r, custom_fields: {entity_id: x}}]\n",
            "victorOps config contains custom field entity_id");
    refused(R "  pushover_configs: [{user_key: u, token: t, html: true, monospace: true}]\n",
            "at most one of monospace & html must be configured");
    refused(R "  pagerduty_configs: [{}]\n", "missing service or routing key in PagerDuty config");
    refused(R "  incidentio_configs: [{url: 'http://x', http_config: {}}]\n", "at least one of alert_source_token");
    refused(R "time_intervals: [{name: a}, {name: a}]\n", "time interval \"a\" is not unique");
    refused(R "recievers: []\n", "did you mean \"receivers\"");
}

/* What vane adds: calls and texts, rate limits; files beside the configuration. */
static void additions(void **state)
{
    (void)state;
    refused(R "  sms_configs: [{to: '1'}]\n", "provider of sms_configs must be twilio, vonage or http");
    refused(R "  phone_configs: [{provider: pigeon, to: '1'}]\n", "provider of phone_configs must be");
    refused(R "  sms_configs: [{provider: twilio, to: '1'}]\n",
            "twilio needs account, secret (or secret_file) and from");
    refused(R "  sms_configs: [{provider: http, to: '1'}]\n", "missing api_url in sms_configs");
    refused(R "  sms_configs: [{provider: http, api_url: 'http://x'}]\n", "missing to in sms_configs");
    refused(R "  sms_configs: [{provider: http, api_url: 'http://x', to: '{{ nope }}'}]\n", "to: invalid template");
    refused(R "  phone_configs: [{provider: http, api_url: 'http://x', to: '1', times: 10}]\n", "times must be 1 to 9");
    refused(R "  sms_configs: [{provider: http, api_url: 'http://x', to: '1', secret: a, secret_file: b}]\n",
            "at most one of secret & secret_file");
    refused(R "  sms_configs: [{provider: http, api_url: 'http://x', to: '1', times: 2}]\n", "times");
    refused(R "  max_messages_per_minute: -1\n", "max_messages_per_minute");
    struct am_config *c;
    struct err_text why = { 0 };
    str yaml = STR(
        "route: {receiver: r}\nreceivers:\n- name: r\n  max_messages_per_minute: 5\n"
        "  webhook_configs: [{url_file: u}]\n  sns_configs: [{topic_arn: t}]\n"
        "  email_configs: [{to: a@b, from: c@d, smarthost: 'h:1', tls_config: {ca_file: ca}, "
        "auth_password_file: /abs}]\n"
        "  sms_configs: [{provider: twilio, account: a, secret_file: s, from: '1', to: '2', api_url: 'http://x//'}]\n");
    if (am_config_parse(STR("/etc/vane/am.yml"), yaml, &c, NULL, &why) != OK)
        fail_msg("%s", why.msg);
    const struct am_receiver *r = &c->receivers.p[0];
    assert_int_equal(r->max_messages_per_minute, 5);
    assert_str(((const struct am_webhook *)(const void *)r->integrations[0].of)->url_file, "/etc/vane/u");
    const struct am_email *m = (const void *)r->integrations[1].of;
    assert_str(m->auth_password_file, "/abs");
    assert_str(m->tls->ca_file, "/etc/vane/ca");
    const struct am_dial *d = (const void *)r->integrations[3].of;
    assert_int_equal(r->integrations[3].kind, AM_SMS);
    assert_str(d->secret_file, "/etc/vane/s");
    assert_str(d->api_url, "http://x");
    assert_true(d->acknowledge);
    am_config_unref(c);
}

static void secrets_are_hidden(void **state)
{
    (void)state;
    struct am_config *c =
        load("global: {slack_api_url: 'https://hooks.example/hunter2', victorops_api_key: hunter2,\n"
             "  smtp_auth_password: hunter2, http_config: {basic_auth: {username: u, password: hunter2}}}\n" R
             "  slack_configs: [{channel: '#a'}]\n"
             "  webhook_configs: [{url: 'http://x.example/hunter2'}]\n"
             "  victorops_configs: [{routing_key: k}]\n"
             "  sns_configs: [{topic_arn: t, sigv4: {access_key: a, secret_key: hunter2}}]\n"
             "  discord_configs: [{webhook_url: 'http://x.example/hunter2'}]\n");
    struct am_config *again = NULL;
    struct err_text why;
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    am_config_print(c, &out);
    assert_false(str_contains(buf_str(&out), STR("hunter2")));
    assert_true(str_contains(buf_str(&out), STR("slack_api_url: <secret>")));
    if (am_config_parse(STR("printed.yml"), buf_str(&out), &again, NULL, &why) != OK)
        fail_msg("%s\n" STR_FMT, why.msg, STR_ARG(buf_str(&out)));
    assert_true(c->hash != again->hash); /* secrets count */
    am_config_unref(again);
    am_config_unref(c);
}

static void templates(void **state)
{
    (void)state;
    struct am_config *c = load(R);
    for (int html = 0; html < 2; html++) {
        struct tmpl_set *set = NULL;
        struct err_text why;
        assert_ok(am_config_templates(c, html, &set, &why));
        assert_true(tmpl_defined(set, STR("email.default.html")));
        tmpl_set_free(set);
    }
    am_config_unref(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_file),         cmocka_unit_test(inheritance), cmocka_unit_test(rules),
        cmocka_unit_test(secrets_are_hidden), cmocka_unit_test(templates),   cmocka_unit_test(additions),
    };
    return cmocka_run_group_tests_name("alerting/config", tests, NULL, NULL);
}
