/* alerting/am_exchange.h: what is asked of services that converse, against a line that answers from a script; texts
 * whose templates fail, markup in labels, secrets in answers. http/http_aws.h: signatures. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <gnutls/crypto.h>
#include <nettle/base64.h>

#include "alerting/am_callback.h"
#include "alerting/am_chart.h"
#include "alerting/am_exchange.h"
#include "alerting/am_mail.h"
#include "http/http_aws.h"

#define SAID_MAX 8

struct script { /* answers in order; what was asked */
    const char *answers[SAID_MAX];
    int status[SAID_MAX]; /* 0: 200 */
    char asked[SAID_MAX][8192], headers[SAID_MAX][2048];
    size_t n;
    char kept_as[256], kept[512]; /* the last one */
};

static enum err call(void *ctx, const struct am_request *rq, struct arena *a, struct am_answer *ret,
                     struct err_text *reterr)
{
    struct script *s = ctx;
    size_t used = 0;
    if (s->n >= SAID_MAX || !s->answers[s->n])
        return err_fail(reterr, ERR_IO, "connection refused");
    snprintf(s->asked[s->n], sizeof(s->asked[0]), STR_FMT " " STR_FMT "\n" STR_FMT, STR_ARG(rq->method),
             STR_ARG(rq->url), STR_ARG(rq->body));
    for (size_t i = 0; i < rq->n_headers; i++)
        used += (size_t)snprintf(s->headers[s->n] + used, sizeof(s->headers[0]) - used, STR_FMT ": " STR_FMT "\n",
                                 STR_ARG(rq->headers[i].name), STR_ARG(rq->headers[i].value));
    ret->status = s->status[s->n] ? s->status[s->n] : 200;
    ret->body = arena_str(a, str_c(s->answers[s->n]));
    s->n++;
    return OK;
}

static str recall(void *ctx, str key, struct arena *a)
{
    struct script *s = ctx;
    return str_eq(key, str_c(s->kept_as)) ? arena_str(a, str_c(s->kept)) : STR("");
}

static void keep(void *ctx, str key, str value, int64_t until_ms)
{
    struct script *s = ctx;
    (void)until_ms;
    snprintf(s->kept_as, sizeof(s->kept_as), STR_FMT, STR_ARG(key));
    snprintf(s->kept, sizeof(s->kept), STR_FMT, STR_ARG(value));
}

struct world {
    struct arena a;
    struct am_config *cfg;
    struct tmpl_set *text, *html;
    struct tmpl_val data;
    struct am_message m;
    struct am_delivery d;
    struct err_text why;
};

static void world_open(struct world *w, const char *receiver_yaml, const char *value, bool firing)
{
    memset(w, 0, sizeof(*w));
    arena_init(&w->a, 0);
    str yaml = arena_printf(&w->a, "route: {receiver: r}\nreceivers:\n- name: r\n%s", receiver_yaml);
    if (am_config_parse(STR("am.yml"), yaml, &w->cfg, NULL, &w->why) != OK)
        fail_msg("%s", w->why.msg);
    assert_ok(am_config_templates(w->cfg, false, &w->text, NULL));
    assert_ok(am_config_templates(w->cfg, true, &w->html, NULL));
    struct label *l = arena_array(&w->a, struct label, 2);
    l[0] = (struct label){ STR("alertname"), STR("Down") };
    l[1] = (struct label){ STR("x"), str_c(value) };
    struct am_data_alert *al = arena_zarray(&w->a, struct am_data_alert, 1);
    *al = (struct am_data_alert){
        .labels = { l, 2 }, .starts_ms = 1, .ends_ms = firing ? 0 : 2, .generator_url = STR("")
    };
    struct am_data_input in = { STR("r"), STR("http://v"), { l, 1 }, LABELS_NONE, al, 1, 1440938160000, NULL };
    w->data = am_data(&w->a, &in);
    w->m = (struct am_message){ .receiver = &w->cfg->receivers.p[0],
                                .integration = &w->cfg->receivers.p[0].integrations[0],
                                .data = &w->data,
                                .text = w->text,
                                .html = w->html,
                                .group_key = STR("{}:{}"),
                                .now_ms = in.now_ms,
                                .fs = fs_os(),
                                .idempotency = 7,
                                .memory = STR(""),
                                .callback_url = STR("") };
}

static void world_close(struct world *w)
{
    tmpl_set_free(w->text);
    tmpl_set_free(w->html);
    am_config_unref(w->cfg);
    arena_deinit(&w->a);
}

static enum am_outcome talk(struct world *w, struct script *s)
{
    const struct am_line line = { s, call, recall, keep };
    s->n = 0;
    return am_exchange(&w->m, &line, &w->a, &w->d, &w->why);
}

static void has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no <%s> in <%s>", part, text);
}

static void has_not(const char *text, const char *part)
{
    if (strstr(text, part))
        fail_msg("<%s> in <%s>", part, text);
}

/* ---- Slack ---- */
#define SLACK                                                                                                       \
    "  slack_configs: [{api_url: 'https://slack.com/api/chat.postMessage', channel: '#ops', title: T, text: '%s', " \
    "http_config: {authorization: {credentials: xoxb}}, %s}]\n"
static void slack_threads(void **state)
{
    (void)state;
    struct world w;
    char yaml[1024];
    static struct script s;
    memset(&s, 0, sizeof(s));
    snprintf(yaml, sizeof(yaml), SLACK, "X", "update_message: true, post_updates_to_thread: true");
    world_open(&w, yaml, "v", true);
    s.answers[0] = s.answers[1] = "{\"ok\":true,\"channel\":\"C9\",\"ts\":\"12.34\"}";
    assert_int_equal(talk(&w, &s), AM_SENT);
    assert_int_equal(s.n, 2);
    has(s.asked[0], "POST https://slack.com/api/chat.postMessage\n");
    has(s.asked[0], "\"channel\":\"#ops\"");
    has_not(s.asked[0], "thread_ts");
    has(s.asked[1], "\"channel\":\"C9\"");
    has(s.asked[1], "\"thread_ts\":\"12.34\"");
    assert_string_equal(w.d.memory, "C9 12.34");
    w.m.memory = STR("C9 12.34"); /* later: changed, and told in the thread */
    assert_int_equal(talk(&w, &s), AM_SENT);
    has(s.asked[0], "POST https://slack.com/api/chat.update\n");
    has(s.asked[0], "\"ts\":\"12.34\"");
    has(s.asked[1], "chat.postMessage");
    has(s.asked[1], "\"thread_ts\":\"12.34\"");
    assert_string_equal(w.d.memory, "");
    s.answers[0] = "{\"ok\":false,\"error\":\"message_not_found\"}"; /* somebody deleted it: a new one */
    assert_int_equal(talk(&w, &s), AM_SENT);
    has(s.asked[1], "\"channel\":\"#ops\"");
    assert_string_equal(w.d.memory, "C9 12.34");
    s.answers[0] = "{\"ok\":false,\"error\":\"invalid_auth\"}";
    assert_int_equal(talk(&w, &s), AM_REFUSED);
    has(w.why.msg, "invalid_auth");
    world_close(&w);
}

static void markup(void **state)
{
    (void)state;
    struct world w;
    char yaml[1024];
    static struct script s;
    memset(&s, 0, sizeof(s));
    s.answers[0] = "ok";
    snprintf(yaml, sizeof(yaml), SLACK, "{{ .CommonLabels.x }}", "");
    world_open(&w, yaml, "<!channel> <b> <http://evil|click>", true);
    assert_int_equal(talk(&w, &s), AM_SENT);
    has(s.asked[0], "\"text\":\"\\u0026lt;!channel\\u003e \\u003cb\\u003e \\u0026lt;http://evil|click\\u003e\"");
    world_close(&w);
    world_open(&w, "  discord_configs: [{webhook_url: 'http://d/x', message: '{{ .CommonLabels.x }}'}]\n",
               "@everyone [a](b)", true);
    assert_int_equal(talk(&w, &s), AM_SENT);
    has_not(s.asked[0], "@everyone");
    has(s.asked[0], "\\\\[a](b)");
    world_close(&w);
    world_open(&w, "  telegram_configs: [{bot_token: 123:SECRET, chat_id: 1, message: '{{ .CommonLabels.x }}'}]\n",
               "<b>&", true);
    assert_int_equal(talk(&w, &s), AM_SENT);
    has(s.asked[0], "\\u0026lt;b\\u0026gt;\\u0026amp;");
    world_close(&w);
}

static void failing_templates(void **state)
{
    (void)state;
    struct world w;
    char yaml[1024];
    static struct script s;
    memset(&s, 0, sizeof(s));
    s.answers[0] = "ok";
    snprintf(yaml, sizeof(yaml), SLACK, "{{ index .Alerts 99 }}", "color: \"{{ index .Alerts 98 }}\"");
    world_open(&w, yaml, "v", true);
    assert_int_equal(talk(&w, &s), AM_SENT);
    has(s.asked[0], "[FIRING:1] Down (x=v): the template of this text failed:");
    has_not(s.asked[0], "\"color\"");
    has(w.why.msg, "sent, though a template failed");
    world_close(&w);
    world_open(&w, "  webhook_configs: [{url: 'http://x/{{ index .Alerts 99 }}'}]\n", "v", true);
    assert_int_equal(talk(&w, &s), AM_REFUSED); /* there is no telling where to */
    assert_int_equal(s.n, 0);
    world_close(&w);
    world_open(&w,
               "  email_configs: [{to: a@b.c, from: d@e.f, smarthost: 'h:25', html: '{{ index .Alerts 9 }}', headers: "
               "{Subject: '{{ index .Alerts 8 }}'}}]\n",
               "<x>", true);
    struct am_mail mail;
    struct am_mail_extra extra = { .text_too = true };
    assert_ok(am_mail_build(&w.m, &extra, &w.a, &mail, &w.why));
    has(mail.message.p, "Subject: [FIRING:1] Down (x=<x>): the template of this text failed");
    has(mail.message.p, "[FIRING:1] Down (x=3D&#60;x&#62;)");
    has(mail.message.p, "text/plain");
    has(mail.trouble.msg, "index");
    world_close(&w);
}

static void secrets(void **state)
{
    (void)state;
    struct world w;
    static struct script s;
    memset(&s, 0, sizeof(s));
    s.answers[0] = "no such path: /bot123:SECRET/sendMessage";
    s.status[0] = 404;
    world_open(&w, "  telegram_configs: [{bot_token: 123:SECRET, chat_id: 1}]\n", "v", true);
    assert_int_equal(talk(&w, &s), AM_REFUSED);
    has_not(w.why.msg, "SECRET");
    has(w.why.msg, "<secret>");
    world_close(&w);
    s.answers[0] = "POST /hunter2 is not there";
    world_open(&w, "  webhook_configs: [{url: 'http://x/hunter2'}]\n", "v", true);
    assert_int_equal(talk(&w, &s), AM_REFUSED);
    has_not(w.why.msg, "hunter2");
    world_close(&w);
}

static void telegram_plain(void **state)
{
    (void)state;
    struct world w;
    static struct script s;
    memset(&s, 0, sizeof(s));
    s.answers[0] = "{\"ok\":false,\"description\":\"Bad Request: can't parse entities\"}";
    s.status[0] = 400;
    s.answers[1] = "{\"ok\":true}";
    world_open(&w, "  telegram_configs: [{bot_token: 1:T, chat_id: 1, parse_mode: Markdown, message: 'a_b'}]\n", "v",
               true);
    assert_int_equal(talk(&w, &s), AM_SENT);
    has(s.asked[0], "\"parse_mode\":\"Markdown\"");
    has_not(s.asked[1], "parse_mode");
    world_close(&w);
}

static void wechat(void **state)
{
    (void)state;
    struct world w;
    static struct script s;
    memset(&s, 0, sizeof(s));
    world_open(&w,
               "  wechat_configs: [{api_secret: 's x', corp_id: c, api_url: 'http://w/', message: M, to_user: u}]\n",
               "v", true);
    s.answers[0] = "{\"errcode\":0,\"access_token\":\"TOK\"}";
    s.answers[1] = "{\"errcode\":0,\"errmsg\":\"ok\"}";
    assert_int_equal(talk(&w, &s), AM_SENT);
    has(s.asked[0], "GET http://w/gettoken?corpid=c&corpsecret=s+x\n");
    has(s.asked[1], "POST http://w/message/send?access_token=TOK\n{\"text\":{\"content\":\"M\"},\"markdown\":"
                    "{\"content\":\"\"},\"touser\":\"u\",\"safe\":\"0\",\"msgtype\":\"text\"}");
    s.answers[0] = "{\"errcode\":42001,\"errmsg\":\"access_token expired\"}"; /* the one that was kept */
    assert_int_equal(talk(&w, &s), AM_RETRY);
    assert_string_equal(s.kept, "");
    s.answers[0] = "{\"errcode\":40001,\"errmsg\":\"invalid credential\"}";
    assert_int_equal(talk(&w, &s), AM_REFUSED);
    has(w.why.msg, "invalid credential");
    s.answers[0] = "<html>";
    assert_int_equal(talk(&w, &s), AM_REFUSED);
    world_close(&w);
}

static void jira(void **state)
{
    (void)state;
    struct world w;
    static struct script s;
    static const char yaml[] =
        "  jira_configs: [{api_url: 'https://x.atlassian.net/rest/api/2/', project: OPS, issue_type: Bug, labels: [z, "
        "a], "
        "reopen_transition: Reopen, resolve_transition: Close, reopen_duration: 1h, priority: High, summary: S, "
        "description: D, fields: {customfield_1: {value: '{{ .CommonLabels.x }}'}}}]\n";
    memset(&s, 0, sizeof(s));
    world_open(&w, yaml, "v", true);
    s.answers[0] = "{\"issues\":[]}";
    s.answers[1] = "{\"key\":\"OPS-1\"}";
    assert_int_equal(talk(&w, &s), AM_SENT);
    assert_int_equal(s.n, 2);
    has(s.asked[0], "POST https://x.atlassian.net/rest/api/3/search/jql\n");
    has(s.asked[0],
        "(resolutiondate is EMPTY OR resolutiondate \\u003e= -60m) and project=\\\"OPS\\\" and labels=\\\"ALERT{");
    has(s.asked[1], "POST https://x.atlassian.net/rest/api/2/issue\n{\"fields\":{\"description\":\"D\",\"issuetype\":"
                    "{\"name\":\"Bug\"},\"labels\":[\"ALERT{");
    has(s.asked[1], "\",\"a\",\"z\"],\"priority\":{\"name\":\"High\"},\"project\":{\"key\":\"OPS\"},\"summary\":\"S\","
                    "\"customfield_1\":{\"value\":\"v\"}}}");
    has(s.headers[0], "Accept-Language: en");
    world_close(&w);
    world_open(&w, yaml, "v", false);
    assert_int_equal(talk(&w, &s), AM_SENT); /* over, and there is none: nothing to do */
    assert_int_equal(s.n, 1);
    s.answers[0] = "{\"issues\":[{\"key\":\"OPS-1\",\"fields\":{\"status\":{\"statusCategory\":{\"key\":\"new\"}}}}]}";
    s.answers[1] = "";
    s.answers[2] = "{\"transitions\":[{\"id\":\"1\",\"name\":\"Reopen\"},{\"id\":\"2\",\"name\":\"Close\"}]}";
    s.answers[3] = "";
    s.status[3] = 204;
    assert_int_equal(talk(&w, &s), AM_SENT);
    assert_int_equal(s.n, 4);
    has(s.asked[1], "PUT https://x.atlassian.net/rest/api/2/issue/OPS-1\n");
    has(s.asked[2], "GET https://x.atlassian.net/rest/api/2/issue/OPS-1/transitions\n");
    has(s.asked[3], "POST https://x.atlassian.net/rest/api/2/issue/OPS-1/transitions\n{\"transition\":{\"id\":\"2\"}}");
    s.answers[2] = "{\"transitions\":[]}";
    assert_int_equal(talk(&w, &s), AM_REFUSED);
    has(w.why.msg, "can't find transition Close");
    s.answers[0] = "garbage";
    assert_int_equal(talk(&w, &s), AM_RETRY);
    world_close(&w);
}

static void sns(void **state)
{
    (void)state;
    struct world w;
    static struct script s;
    memset(&s, 0, sizeof(s));
    world_open(
        &w,
        "  sns_configs: [{topic_arn: 'arn:aws:sns:eu-central-1:1:t.fifo', subject: 'a b', message: M, attributes: "
        "{k: v}, sigv4: {region: eu-central-1, access_key: AK, secret_key: SK}}]\n",
        "v", true);
    s.answers[0] = "<PublishResponse/>";
    assert_int_equal(talk(&w, &s), AM_SENT);
    has(s.asked[0],
        "POST https://sns.eu-central-1.amazonaws.com/\nAction=Publish&Version=2010-03-31&TopicArn="
        "arn%3Aaws%3Asns%3Aeu-central-1%3A1%3At.fifo&Subject=a+b&Message=M&MessageAttributes.entry.1.Name=k&"
        "MessageAttributes.entry.1.Value.DataType=String&MessageAttributes.entry.1.Value.StringValue=v&"
        "MessageGroupId=");
    has(s.asked[0], "&MessageDeduplicationId=0000000000000007");
    has(s.headers[0],
        "Credential=AK/20150830/eu-central-1/sns/aws4_request, SignedHeaders=content-type;host;x-amz-date, ");
    has_not(s.headers[0], "SK");
    world_close(&w);
    world_open(
        &w,
        "  sns_configs: [{phone_number: '+4930', message: M, sigv4: {region: us-east-1, access_key: AK, secret_key: "
        "SK, role_arn: 'arn:r', external_id: e}}]\n",
        "v", true);
    s.answers[0] =
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>TK</AccessKeyId><SecretAccessKey>TS"
        "</SecretAccessKey><SessionToken>TT</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration></Credentials>"
        "</AssumeRoleResult></AssumeRoleResponse>";
    s.answers[1] = "<PublishResponse/>";
    assert_int_equal(talk(&w, &s), AM_SENT);
    has(s.asked[0], "POST https://sts.us-east-1.amazonaws.com/\nAction=AssumeRole&Version=2011-06-15&RoleArn=arn%3Ar&"
                    "RoleSessionName=vane&ExternalId=e");
    has(s.headers[1], "Credential=TK/");
    has(s.headers[1], "X-Amz-Security-Token: TT");
    s.answers[0] = "<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>";
    s.status[0] = 400;
    assert_int_equal(talk(&w, &s), AM_RETRY); /* the role is kept */
    assert_int_equal(s.n, 1);
    world_close(&w);
}

/* ---- calls and text messages ---- */
#define TWILIO                                                                                              \
    "provider: twilio, api_url: 'http://t/', account: AC1, secret: TOKEN, from: '+1', to: '+4930, +4931', " \
    "message: 'a & b', callback_url: 'https://v.example/'"
static void twilio(void **state)
{
    (void)state;
    struct world w;
    static struct script s;
    char code[AM_CODE_LEN + 1];
    am_callback_code(STR("{}:{}"), code);
    memset(&s, 0, sizeof(s));
    world_open(&w, "  phone_configs: [{" TWILIO ", times: 1}]\n", "v", true);
    s.answers[0] = s.answers[1] = "{}";
    s.status[0] = s.status[1] = 201;
    assert_int_equal(talk(&w, &s), AM_SENT);
    assert_int_equal(s.n, 2);
    str url = am_callback_url(&w.a, STR("https://v.example/"), AM_PHONE, STR("r"), 0, str_c(code));
    has(url.p, "https://v.example/api/v1/alerting/callback/phone/r/0?code=");
    str want = arena_printf(&w.a,
                            "<Response><Gather numDigits=\"1\" timeout=\"10\" method=\"POST\" action=\"" STR_FMT
                            "\"><Say language=\"en-US\">a &#38; b</Say><Say language=\"en-US\">Press 1 to "
                            "acknowledge.</Say></Gather></Response>",
                            STR_ARG(url));
    has(s.asked[0], "POST http://t/2010-04-01/Accounts/AC1/Calls.json\nTo=%2B4930&From=%2B1&Twiml=");
    str sent = http_url_decode(&w.a, str_c(strstr(s.asked[0], "Twiml=") + 6), true);
    assert_string_equal(arena_cstr(&w.a, sent), arena_cstr(&w.a, want));
    has(s.asked[1], "To=%2B4931&");
    world_close(&w);
    memset(&s, 0, sizeof(s));
    world_open(&w, "  sms_configs: [{" TWILIO "}]\n", "v", true);
    s.answers[0] = s.answers[1] = "{}";
    s.status[1] = 503;
    assert_int_equal(talk(&w, &s), AM_RETRY);
    has(s.asked[0], "Accounts/AC1/Messages.json\nTo=%2B4930&From=%2B1&Body=a+%26+b%0AReply+ACK+");
    has(w.why.msg, "+4931: unexpected status code 503");
    world_close(&w);
}

static void vonage_and_http(void **state)
{
    (void)state;
    struct world w;
    static struct script s;
    memset(&s, 0, sizeof(s));
    world_open(
        &w,
        "  sms_configs: [{provider: vonage, api_url: 'http://v', account: K, secret: S, from: vane, to: '+4930', "
        "message: 'grün'}]\n",
        "v", true);
    s.answers[0] = "{\"message-count\":\"1\",\"messages\":[{\"to\":\"4930\",\"status\":\"0\"}]}";
    assert_int_equal(talk(&w, &s), AM_SENT);
    has(s.asked[0], "POST http://v/sms/json\napi_key=K&api_secret=S&from=vane&to=4930&text=gr%C3%BCn&type=unicode");
    s.answers[0] = "{\"messages\":[{\"status\":\"1\",\"error-text\":\"Throughput Rate Exceeded\"}]}";
    s.kept[0] = 0;
    assert_int_equal(talk(&w, &s), AM_RETRY);
    s.answers[0] = "{\"messages\":[{\"status\":\"4\",\"error-text\":\"Bad Credentials\"}]}";
    assert_int_equal(talk(&w, &s), AM_REFUSED);
    has(w.why.msg, "Bad Credentials");
    world_close(&w);
    world_open(
        &w,
        "  phone_configs: [{provider: vonage, account: APP, secret: no key, from: '+1', to: '+4930', message: m}]\n",
        "v", true);
    assert_int_equal(talk(&w, &s), AM_REFUSED);
    has(w.why.msg, "no private key in PEM");
    assert_int_equal(s.n, 0);
    world_close(&w);
    world_open(&w,
               "  sms_configs: [{provider: http, api_url: 'http://g/send?n={to}', to: '+49 30', message: 'say \"x\"', "
               "headers: "
               "{X-Key: '{secret}'}, secret: S1}]\n",
               "v", true);
    s.answers[0] = "";
    assert_int_equal(talk(&w, &s), AM_SENT);
    has(s.asked[0], "POST http://g/send?n=%2B49%2030\n{\"to\":\"+49 30\",\"from\":\"\",\"text\":\"say \\\"x\\\"\",");
    has(s.headers[0], "X-Key: S1");
    world_close(&w);
}

/* ---- acknowledging ---- */
static str twilio_signature(struct arena *a, str key, str text)
{
    uint8_t d[20];
    char *out = arena_alloc(a, 29);
    gnutls_hmac_fast(GNUTLS_MAC_SHA1, key.p, key.n, text.p, text.n, d);
    base64_encode_raw(out, sizeof(d), d);
    return str_n(out, 28);
}

static void acknowledge(void **state)
{
    (void)state;
    struct world w;
    struct am_callback_deed deed;
    str groups[] = { STR("{}:{a=\"1\"}"), STR("{}:{a=\"2\"}") }, type;
    char code[AM_CODE_LEN + 1];
    am_callback_code(groups[1], code);
    world_open(&w, "  phone_configs: [{" TWILIO "}]\n  sms_configs: [{" TWILIO "}]\n", "v", true);
    struct http_pair q = { STR("code"), str_c(code) };
    struct am_callback cb = { .kind = AM_PHONE,
                              .receiver = STR("r"),
                              .query = &q,
                              .n_query = 1,
                              .content_type = STR("application/x-www-form-urlencoded"),
                              .body = STR("To=%2B4930&Digits=1&From=%2B1"),
                              .groups = groups,
                              .n_groups = 2 };
    str url = am_callback_url(&w.a, STR("https://v.example"), AM_PHONE, STR("r"), 0, str_c(code));
    cb.twilio_signature =
        twilio_signature(&w.a, STR("TOKEN"), arena_printf(&w.a, STR_FMT "Digits1From+1To+4930", STR_ARG(url)));
    am_callback_read(w.cfg, &cb, fs_os(), &w.a, &deed);
    assert_int_equal(deed.status, 200);
    assert_int_equal(deed.n_group_keys, 1);
    assert_true(str_eq(deed.group_keys[0], groups[1]));
    assert_string_equal(arena_cstr(&w.a, deed.owner), "phone:+4930");
    str answer = am_callback_answer(w.cfg, &cb, deed.text, &w.a, &type);
    assert_string_equal(arena_cstr(&w.a, answer), "<Response><Say>Acknowledged.</Say></Response>");
    cb.body = STR("To=%2B4930&Digits=2&From=%2B1"); /* not what was signed */
    am_callback_read(w.cfg, &cb, fs_os(), &w.a, &deed);
    assert_int_equal(deed.status, 403);
    cb.twilio_signature = STR("");
    am_callback_read(w.cfg, &cb, fs_os(), &w.a, &deed);
    assert_int_equal(deed.status, 403);
    cb.kind = AM_SMS; /* a reply */
    cb.n_query = 0;
    const struct {
        const char *body, *signed_as;
        size_t groups, want;
    } replies[] = {
        { "Body=ack%20", "Bodyack FromX+4930", 1, 0 },
        { "Body=ack&From=%2B4930", "BodyackFrom+4930", 1, 1 }, /* one of ours, one group */
        { "Body=ack&From=%2B4930", "BodyackFrom+4930", 2, 0 },
        { "Body=ack&From=%2B999", "BodyackFrom+999", 1, 0 }, /* a stranger needs the code */
    };
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        cb.body = str_c(replies[i].body);
        cb.n_groups = replies[i].groups;
        url = am_callback_url(&w.a, STR("https://v.example"), AM_SMS, STR("r"), 0, STR(""));
        cb.twilio_signature =
            twilio_signature(&w.a, STR("TOKEN"), arena_printf(&w.a, STR_FMT "%s", STR_ARG(url), replies[i].signed_as));
        am_callback_read(w.cfg, &cb, fs_os(), &w.a, &deed);
        assert_int_equal(deed.status, i ? 200 : 403);
        assert_int_equal(deed.n_group_keys, replies[i].want);
    }
    cb.receiver = STR("nobody");
    am_callback_read(w.cfg, &cb, fs_os(), &w.a, &deed);
    assert_int_equal(deed.status, 404);
    world_close(&w);
    world_open(
        &w,
        "  sms_configs: [{provider: http, api_url: 'http://g', to: '1', callback_secret: CS}]\n"
        "  phone_configs: [{provider: vonage, account: a, secret: s, from: '1', to: '2', callback_secret: VS}]\n",
        "v", true);
    cb = (struct am_callback){ .kind = AM_SMS,
                               .receiver = STR("r"),
                               .content_type = STR("application/json"),
                               .body = arena_printf(&w.a, "{\"from\":\"me\",\"text\":\"ACK %s\"}", code),
                               .groups = groups,
                               .n_groups = 2 };
    uint8_t d[32];
    char hex[65];
    gnutls_hmac_fast(GNUTLS_MAC_SHA256, "CS", 2, cb.body.p, cb.body.n, d);
    for (size_t i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", d[i]);
    cb.vane_signature = arena_printf(&w.a, "sha256=%s", hex);
    am_callback_read(w.cfg, &cb, fs_os(), &w.a, &deed);
    assert_int_equal(deed.n_group_keys, 1);
    cb.kind = AM_PHONE; /* a token: {"alg":"HS256"} {"iat":..,"payload_hash":..} */
    cb.query = &q;
    cb.n_query = 1;
    cb.now_ms = 1000000;
    cb.body = STR("{\"to\":\"4930\",\"dtmf\":{\"digits\":\"1\",\"timed_out\":false}}");
    gnutls_hash_fast(GNUTLS_DIG_SHA256, cb.body.p, cb.body.n, d);
    for (size_t i = 0; i < 32; i++)
        snprintf(hex + 2 * i, 3, "%02x", d[i]);
    char claims[256], b64[512];
    int n = snprintf(claims, sizeof(claims), "{\"iat\":1000,\"payload_hash\":\"%s\"}", hex);
    while (n % 3) /* no padding */
        claims[n++] = ' ';
    base64_encode_raw(b64, (size_t)n, (uint8_t *)claims);
    str text = arena_printf(&w.a, "eyJhbGciOiJIUzI1NiJ9.%.*s", (int)BASE64_ENCODE_RAW_LENGTH((size_t)n), b64);
    gnutls_hmac_fast(GNUTLS_MAC_SHA256, "VS", 2, text.p, text.n, d);
    base64_encode_raw(b64, 32, d);
    for (int i = 0; i < 43; i++)
        b64[i] = b64[i] == '+' ? '-' : b64[i] == '/' ? '_' : b64[i];
    cb.authorization = arena_printf(&w.a, "Bearer " STR_FMT ".%.43s", STR_ARG(text), b64);
    am_callback_read(w.cfg, &cb, fs_os(), &w.a, &deed);
    assert_int_equal(deed.status, 200);
    assert_int_equal(deed.n_group_keys, 1);
    assert_string_equal(arena_cstr(&w.a, deed.owner), "phone:4930");
    cb.now_ms = 100000000; /* an old one */
    am_callback_read(w.cfg, &cb, fs_os(), &w.a, &deed);
    assert_int_equal(deed.status, 403);
    world_close(&w);
}

static void signatures(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    struct http_pair h[HTTP_AWS_HEADERS], type = { STR("Content-Type"), STR("application/x-www-form-urlencoded") };
    struct http_aws_key key = { STR("AKIDEXAMPLE"), STR("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"), STR("") };
    arena_init(&a, 0);
    struct http_aws_request rq = { .method = STR("GET"),
                                   .url = STR("https://example.amazonaws.com/"),
                                   .region = STR("us-east-1"),
                                   .service = STR("service"),
                                   .now_ms = 1440938160000 };
    assert_int_equal(http_aws_sign(&rq, &key, &a, h), 2); /* of Amazon's test suite: get-vanilla */
    has(h[0].value.p, "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
    assert_string_equal(arena_cstr(&a, h[1].value), "20150830T123600Z");
    rq.url = STR("https://user@example.amazonaws.com:443/?Param2=value2&Param1=value1");
    assert_int_equal(http_aws_sign(&rq, &key, &a, h), 2); /* get-vanilla-query-order-key-case */
    has(h[0].value.p, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
    rq.url = STR("https://example.amazonaws.com/");
    rq.method = STR("POST");
    rq.body = STR("Param1=value1");
    rq.headers = &type;
    rq.n_headers = 1;
    assert_int_equal(http_aws_sign(&rq, &key, &a, h), 2); /* post-x-www-form-urlencoded */
    has(h[0].value.p, "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
}

static void charts(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    int64_t t[60];
    double v[60];
    arena_init(&a, 0);
    for (int i = 0; i < 60; i++) {
        t[i] = i * 60000;
        v[i] = i == 30 ? (double)NAN : i == 31 ? (double)INFINITY : 100 * sin(i / 5.0);
    }
    struct am_chart_line line = { t, v, 60 };
    struct am_chart c = { 0, 3600000, &line, 1, 50, 1800000 };
    str png = am_chart_png(&c, &a);
    assert_true(png.n > 500 && png.n < AM_CHART_BYTES_MAX);
    assert_memory_equal(png.p, "\x89PNG\r\n\x1a\n", 8);
    const char *out = getenv("VANE_CHART_FILE"); /* to look at it */
    FILE *f = out ? fopen(out, "wb") : NULL;
    if (f) {
        (void)!fwrite(png.p, 1, png.n, f);
        fclose(f);
    }
    for (int i = 0; i < 60; i++)
        v[i] = i % 2 ? 1.7e308 : -1.7e308;
    assert_int_equal(am_chart_png(&c, &a).n, 0);
    line.n = 1; /* one point */
    v[0] = 0;
    c.threshold = (double)NAN;
    assert_true(am_chart_png(&c, &a).n > 100);
    line.n = 0;
    assert_int_equal(am_chart_png(&c, &a).n, 0);
    c.to_ms = 0;
    assert_int_equal(am_chart_png(&c, &a).n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slack_threads),
        cmocka_unit_test(markup),
        cmocka_unit_test(failing_templates),
        cmocka_unit_test(secrets),
        cmocka_unit_test(telegram_plain),
        cmocka_unit_test(wechat),
        cmocka_unit_test(jira),
        cmocka_unit_test(sns),
        cmocka_unit_test(signatures),
        cmocka_unit_test(charts),
        cmocka_unit_test(twilio),
        cmocka_unit_test(vonage_and_http),
        cmocka_unit_test(acknowledge),
    };
    return cmocka_run_group_tests_name("alerting/exchange", tests, NULL, NULL);
}
