#include "alerting/am_send.h"

#include <stdio.h>

#include "alerting/am_mail.h"
#include "base/check.h"
#include "base/log.h"
#include "base/stats.h"
#include "http/http_mail.h"

#define QUEUE_MAX        100000
#define TIMEOUT_MS       30000
#define ANSWER_BYTES_MAX (64u << 10)

static struct stat sent = STAT_COUNTER("vane_alertmanager_messages_sent_total", "Messages that receivers took", "");
static struct stat failed =
    STAT_COUNTER("vane_alertmanager_messages_failed_total", "Attempts at messages that failed", "");

struct kit { /* a configuration with its templates; as long as a message uses it */
    atomic_uint refs;
    struct am_config *cfg;
    struct tmpl_set *text, *html;
};
struct am_sender {
    struct http_client *client;
    struct pool *pool;
    struct clock *clk;
    str external_url;
    struct mtx mu;
    struct am *am;   /* mu */
    struct kit *kit; /* mu */
};
struct job {
    struct am_sender *s;
    struct am_notice *n;
};

static void kit_unref(struct kit *k)
{
    if (!k || atomic_fetch_sub(&k->refs, 1) != 1)
        return;
    tmpl_set_free(k->text);
    tmpl_set_free(k->html);
    am_config_unref(k->cfg);
    mem_free(k);
}

static struct kit *kit_ref(struct am_sender *s, struct am **ret_am)
{
    mtx_lock(&s->mu);
    struct kit *k = s->kit;
    if (k)
        atomic_fetch_add(&k->refs, 1);
    *ret_am = s->am;
    mtx_unlock(&s->mu);
    return k;
}

/* ---- one message ---- */
static struct tmpl_val data_of(const struct am_sender *s, const struct am_notice *n, struct arena *a)
{
    struct am_data_alert *v = arena_zarray(a, struct am_data_alert, n->n_alerts + 1);
    for (size_t i = 0; i < n->n_alerts; i++)
        v[i] = (struct am_data_alert){ n->alerts[i].labels, n->alerts[i].annotations, n->alerts[i].starts_ms,
                                       n->alerts[i].ends_ms, n->alerts[i].generator_url };
    struct am_data_input in = { n->receiver->name, s->external_url, n->group_labels, n->route_labels, v,
                                n->n_alerts,       n->now_ms };
    return am_data(a, &in);
}

static enum am_outcome send_http(struct am_sender *s, const struct am_message *m, const struct am_notice *n,
                                 struct arena *a, struct err_text *why)
{
    struct am_request rq[AM_REQUESTS_MAX];
    size_t n_requests;
    if (am_payload_build(m, a, rq, &n_requests, why) != OK)
        return AM_REFUSED;
    for (size_t i = 0; i < n_requests; i++) {
        struct http_result r;
        str body = STR("");
        char error[256] = "";
        struct http_pair *h = arena_zarray(a, struct http_pair, rq[i].n_headers + 2);
        h[0] = (struct http_pair){ STR("Content-Type"), rq[i].content_type };
        h[1] = (struct http_pair){ STR("Idempotency-Key"),
                                   arena_printf(a, "%016llx", (unsigned long long)n->idempotency) };
        memcpy(h + 2, rq[i].headers, rq[i].n_headers * sizeof(*h));
        struct http_fetch f = { .url = rq[i].url,
                                .method = str_eq(rq[i].method, STR("PUT")) ? HTTP_PUT : HTTP_POST,
                                .body = rq[i].body,
                                .headers = h,
                                .n_headers = rq[i].n_headers + 2,
                                .timeout_ms = TIMEOUT_MS,
                                .body_bytes_max = ANSWER_BYTES_MAX };
        if (m->integration->of->http && !http_config_apply(m->integration->of->http, a, &f, error, sizeof(error))) {
            IGNORE_ERR(err_fail(why, ERR_PERMISSION, "%s", error));
            return AM_RETRY;
        }
        enum err e = http_fetch_sync(s->client, &f, a, &r, &body, why);
        if (e == ERR_INVALID)
            return AM_REFUSED;
        enum am_outcome o = e ? AM_RETRY : am_payload_judge(m->integration->kind, r.status, body, why);
        if (o != AM_SENT)
            return o;
    }
    return AM_SENT;
}

static void tls_of(const struct tls_config *t, struct http_tls *ret)
{
    *ret = (struct http_tls){ .ca_file = t->ca_file,
                              .cert_file = t->cert_file,
                              .key_file = t->key_file,
                              .ca_pem = t->ca,
                              .cert_pem = t->cert,
                              .key_pem = t->key.value,
                              .server_name = t->server_name,
                              .insecure_skip_verify = t->insecure_skip_verify,
                              .min_version = t->min_version ? 9u + (unsigned)t->min_version : 0,
                              .max_version = t->max_version ? 9u + (unsigned)t->max_version : 0 };
}

static enum am_outcome send_mail(const struct am_message *m, const struct am_notice *n, struct arena *a,
                                 struct err_text *why)
{
    const struct am_email *c = (const void *)m->integration->of;
    struct am_mail mail;
    struct http_tls tls;
    struct http_mail_result r;
    if (am_mail_build(m, a, n->idempotency, &mail, why) != OK)
        return AM_REFUSED;
    bool implicit = c->force_implicit_tls == AM_TRUE ||
                    (c->force_implicit_tls != AM_FALSE && str_eq(c->smarthost.port, STR("465")));
    struct http_mail out = { .host = c->smarthost.host,
                             .port = c->smarthost.port,
                             .hello = c->hello,
                             .from = mail.from,
                             .to = mail.to,
                             .n_to = mail.n_to,
                             .user = c->auth_username,
                             .password = mail.password,
                             .message = mail.message,
                             .tls = implicit                    ? HTTP_MAIL_TLS
                                    : c->require_tls == AM_TRUE ? HTTP_MAIL_STARTTLS
                                                                : HTTP_MAIL_PLAIN,
                             .timeout_ms = TIMEOUT_MS };
    if (c->tls) {
        tls_of(c->tls, &tls);
        out.settings = &tls;
    }
    enum err e = http_mail_send(&out, &r, why);
    return !e ? AM_SENT : e == ERR_INVALID || r.code / 100 == 5 ? AM_REFUSED : AM_RETRY;
}

static void carry_out(void *ctx)
{
    struct job *j = ctx;
    struct am_sender *s = j->s;
    struct am_notice *n = j->n;
    struct am *am;
    struct err_text why = { 0 };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    mem_free(j);
    struct kit *k = kit_ref(s, &am);
    struct tmpl_val data = data_of(s, n, &a);
    struct am_message m = { n->receiver, n->integration, &data, k->text, k->html, n->group_key, n->now_ms, fs_os() };
    enum am_outcome o = n->integration->kind == AM_EMAIL ? send_mail(&m, n, &a, &why) : send_http(s, &m, n, &a, &why);
    stat_add(o == AM_SENT ? &sent : &failed, 1);
    if (o != AM_SENT)
        LOG_WARN(o == AM_RETRY ? "notification failed, will be tried again" : "notification refused", "receiver",
                 arena_cstr(&a, n->receiver->name), "integration", am_kind_name(n->integration->kind), "error",
                 why.msg);
    snprintf(n->delivery.answer, sizeof(n->delivery.answer), "%s", o == AM_SENT ? "" : why.msg);
    am_sent(am, n, o, clock_now_ms(s->clk));
    kit_unref(k);
}

void am_sender_send(void *sender, struct am_notice *n)
{
    struct am_sender *s = sender;
    struct job *j = mem_alloc(sizeof(*j));
    *j = (struct job){ s, n };
    if (pool_submit(s->pool, carry_out, j) == OK)
        return;
    mem_free(j);
    stat_add(&failed, 1);
    am_sent(s->am, n, AM_RETRY, clock_now_ms(s->clk));
}

/* ---- open, serve, close ---- */
enum err am_sender_open(const struct am_sender_config *cfg, struct am_sender **ret)
{
    struct am_sender *s = mem_zalloc(sizeof(*s));
    struct http_client_config http = { .user_agent = "Alertmanager/vane" };
    mtx_init(&s->mu, 40);
    s->clk = cfg->clk ? cfg->clk : os_clock();
    s->external_url = mem_dup(cfg->external_url);
    enum err e = http_client_open(&http, &s->client);
    if (!e)
        e = pool_open("notify", cfg->threads ? cfg->threads : 8, QUEUE_MAX, &s->pool);
    if (e) {
        am_sender_close(s);
        return e;
    }
    stat_register(&sent);
    stat_register(&failed);
    *ret = s;
    return OK;
}

void am_sender_close(struct am_sender *s)
{
    if (!s)
        return;
    if (s->pool)
        pool_close(s->pool);
    if (s->client)
        http_client_close(s->client);
    kit_unref(s->kit);
    mem_free((void *)(uintptr_t)s->external_url.p);
    mtx_deinit(&s->mu);
    mem_free(s);
}

enum err am_sender_serve(struct am_sender *s, struct am *am, struct am_config *cfg, struct err_text *reterr)
{
    struct kit *k = mem_zalloc(sizeof(*k)), *old;
    atomic_init(&k->refs, 1);
    k->cfg = am_config_ref(cfg);
    enum err e = am_config_templates(cfg, false, &k->text, reterr);
    if (!e)
        e = am_config_templates(cfg, true, &k->html, reterr);
    if (e) {
        kit_unref(k);
        return e;
    }
    mtx_lock(&s->mu);
    old = s->kit;
    s->kit = k;
    s->am = am;
    mtx_unlock(&s->mu);
    kit_unref(old);
    return OK;
}
