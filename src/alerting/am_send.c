#include "alerting/am_send.h"

#include <stdio.h>

#include <nettle/base64.h>

#include "alerting/am_exchange.h"
#include "alerting/am_mail.h"
#include "alerting/am_policy.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/num.h"
#include "base/stats.h"
#include "http/http_mail.h"
#include "tmpl/tmpl_lib.h"

#define QUEUE_MAX        100000
#define THREADS          16
#define LANE_MAX         4
#define CLOSE_MS         5000 /* messages on their way have so long when it ends */
#define TIMEOUT_MS       30000
#define TEST_TIMEOUT_MS  10000
#define VALUES_MAX       20 /* alerts of one message whose expressions are asked for their values */
#define ANSWER_BYTES_MAX (64u << 10)
#define RETRY_IN_MAX_MS  3600000 /* what Retry-After may say */
#define KEPT_MAX         256     /* tokens */
#define HIDDEN_MAX       32      /* secrets of one message's requests */

static struct stat sent = STAT_COUNTER("vane_alertmanager_messages_sent_total", "Messages that receivers took", "");
static struct stat failed =
    STAT_COUNTER("vane_alertmanager_messages_failed_total", "Attempts at messages that failed", "");
static struct stat limited = STAT_COUNTER("vane_alertmanager_messages_limited_total",
                                          "Attempts put off because a receiver had its number of messages", "");

struct bucket { /* of a receiver: messages it may still be sent */
    double left;
    int64_t at_ms;
};
struct kit { /* a configuration with its templates; as long as a message uses it */
    atomic_uint refs;
    struct am_config *cfg;
    struct tmpl_set *text, *html;
    struct bucket *buckets; /* one for each receiver; sender's mu */
};
struct kept {
    str key, value; /* owned; key.p NULL: free */
    int64_t until_ms;
};
struct lane { /* of a receiver that is being told something */
    str name; /* owned */
    unsigned running;
    struct job *first, **last; /* waiting */
};
#define MAP_NAME     lane_map
#define MAP_KEY      str
#define MAP_VALUE    struct lane *
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"
struct am_sender {
    struct http_client *client;
    struct pool *pool;
    struct clock *clk;
    str external_url;
    bool (*chart)(void *ctx, const struct am_alert *al, int64_t now_ms, struct arena *a, struct am_chart *ret);
    void *chart_ctx;
    struct mtx mu;
    atomic_bool closing, cancel; /* nothing new is begun; what is on its way ends */
    struct lane_map lanes;       /* mu */
    struct am *am;               /* mu */
    struct kit *kit;             /* mu */
    struct kept kept[KEPT_MAX];  /* mu */
    str (*value)(void *ctx, const struct am_alert *al, int64_t now_ms, struct arena *a);
    void *value_ctx;
};
/* A receiver that is slow may hold up LANE_MAX threads, and no other receiver. */
struct job {
    struct am_sender *s;
    struct am_notice *n;
    struct lane *lane;
    struct job *next;
};

static void kit_unref(struct kit *k)
{
    if (!k || atomic_fetch_sub(&k->refs, 1) != 1)
        return;
    tmpl_set_free(k->text);
    tmpl_set_free(k->html);
    am_config_unref(k->cfg);
    mem_free(k->buckets);
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

/* ---- tokens between messages ---- */
struct carrier { /* am_line.ctx: one message's */
    struct am_sender *s;
    const struct am_integration *integration;
    uint64_t idempotency;
    int64_t timeout_ms;
    str hidden[HIDDEN_MAX]; /* what requests were made with and texts must not show */
    size_t n_hidden;
};

static void kept_clear(struct kept *k)
{
    mem_free((void *)(uintptr_t)k->key.p);
    mem_free((void *)(uintptr_t)k->value.p);
    *k = (struct kept){ 0 };
}

static str recall(void *ctx, str key, struct arena *a)
{
    struct am_sender *s = ((struct carrier *)ctx)->s;
    str found = STR("");
    int64_t now = clock_now_ms(s->clk);
    mtx_lock(&s->mu);
    for (size_t i = 0; i < KEPT_MAX && !found.n; i++)
        if (s->kept[i].key.p && s->kept[i].until_ms > now && str_eq(s->kept[i].key, key))
            found = arena_str(a, s->kept[i].value);
    mtx_unlock(&s->mu);
    return found;
}

static void keep(void *ctx, str key, str value, int64_t until_ms)
{
    struct am_sender *s = ((struct carrier *)ctx)->s;
    mtx_lock(&s->mu);
    struct kept *slot = &s->kept[0];
    for (size_t i = 0; i < KEPT_MAX; i++) { /* its own, or the one that ends first */
        struct kept *k = &s->kept[i];
        if (k->key.p && str_eq(k->key, key)) {
            slot = k;
            break;
        }
        if (slot->key.p && (!k->key.p || k->until_ms < slot->until_ms))
            slot = k;
    }
    kept_clear(slot);
    if (value.n)
        *slot = (struct kept){ mem_dup(key), mem_dup(value), until_ms };
    mtx_unlock(&s->mu);
}

/* ---- one request ---- */
static int64_t number_ms(str s) /* "1.5, ..." seconds */
{
    double v;
    size_t n = 0;
    s = str_trim(s);
    while (n < s.n && n < 20 && ((s.p[n] >= '0' && s.p[n] <= '9') || s.p[n] == '.'))
        n++;
    return num_parse_f64(str_take(s, n), &v) && v >= 0 && v < 1e6 ? (int64_t)(v * 1000) : 0;
}

/* "120", or a date; also what two services say in the answer itself. */
static int64_t retry_in(const struct http_result *r, str body, int64_t now_ms)
{
    str v = str_trim(http_result_header(r, STR("Retry-After")));
    uint64_t seconds = 0;
    int64_t at_s = 0, ms = 0;
    uint32_t ns;
    size_t at = str_find(body, STR("\"retry_after\":"));
    if (str_to_u64(v, &seconds))
        ms = seconds > RETRY_IN_MAX_MS / 1000 ? RETRY_IN_MAX_MS : (int64_t)seconds * 1000;
    else if (v.n && tmpl_time_parse(STR("Mon, 02 Jan 2006 15:04:05 GMT"), v, tz_utc, &at_s, &ns))
        ms = at_s * 1000 - now_ms;
    else if (r->status == 429 && at != SIZE_MAX)
        ms = number_ms(str_skip(body, at + sizeof("\"retry_after\":") - 1));
    return MAX(MIN(ms, RETRY_IN_MAX_MS), 0);
}

static void hide(struct carrier *c, str s)
{
    if (s.n > 3 && c->n_hidden < HIDDEN_MAX)
        c->hidden[c->n_hidden++] = s;
}

/* Credentials are what headers carry, but for those that say nothing. */
static void hide_headers(struct carrier *c, const struct http_fetch *f, struct arena *a)
{
    static const str open[] = { STR_INIT("Content-Type"), STR_INIT("Idempotency-Key"), STR_INIT("Accept-Language"),
                                STR_INIT("X-Amz-Date") };
    for (size_t i = 0; i < f->n_headers; i++) {
        bool plain = false;
        str v = f->headers[i].value;
        for (size_t k = 0; k < ARRAY_LEN(open); k++)
            plain |= str_ieq(f->headers[i].name, open[k]);
        if (plain)
            continue;
        hide(c, v);
        size_t space = str_find_char(v, ' ');
        if (space != SIZE_MAX) /* "Bearer x" */
            hide(c, str_skip(v, space + 1));
    }
    if (f->basic_user.p) {
        str pair = arena_printf(a, STR_FMT ":" STR_FMT, STR_ARG(f->basic_user), STR_ARG(f->basic_password));
        char *text = arena_alloc(a, BASE64_ENCODE_RAW_LENGTH(pair.n));
        base64_encode_raw(text, pair.n, (const uint8_t *)pair.p);
        hide(c, str_n(text, BASE64_ENCODE_RAW_LENGTH(pair.n)));
    }
    hide(c, f->basic_password);
    hide(c, f->bearer);
    if (f->oauth2)
        hide(c, f->oauth2->client_secret);
}

static enum http_method method_of(str m)
{
    for (enum http_method k = 0; k < HTTP_METHODS; k++)
        if (str_eq(http_method_name(k), m))
            return k;
    return HTTP_POST;
}

static enum err call(void *ctx, const struct am_request *rq, struct arena *a, struct am_answer *ret,
                     struct err_text *reterr)
{
    struct carrier *c = ctx;
    struct http_result r;
    char error[256] = "";
    struct http_pair *h = arena_zarray(a, struct http_pair, rq->n_headers + 2);
    size_t n = 0;
    if (rq->content_type.n)
        h[n++] = (struct http_pair){ STR("Content-Type"), rq->content_type };
    h[n++] =
        (struct http_pair){ STR("Idempotency-Key"), arena_printf(a, "%016llx", (unsigned long long)c->idempotency) };
    memcpy(h + n, rq->headers, rq->n_headers * sizeof(*h));
    struct http_fetch f = { .url = rq->url,
                            .method = method_of(rq->method),
                            .body = rq->body,
                            .headers = h,
                            .n_headers = n + rq->n_headers,
                            .timeout_ms = c->timeout_ms,
                            .body_bytes_max = ANSWER_BYTES_MAX,
                            .cancel = &c->s->cancel };
    if (rq->basic_user.n) {
        f.basic_user = rq->basic_user;
        f.basic_password = rq->basic_password;
    }
    if (c->integration->of->http && !http_config_apply(c->integration->of->http, a, &f, error, sizeof(error)))
        return err_fail(reterr, ERR_PERMISSION, "%s", error);
    hide_headers(c, &f, a);
    enum err e = http_fetch_sync(c->s->client, &f, a, &r, &ret->body, reterr);
    ret->status = r.status;
    for (size_t i = 0; i < c->n_hidden; i++)
        ret->body = am_scrubbed(a, ret->body, c->hidden[i]);
    if (!e)
        ret->content_type = r.content_type;
    if (!e)
        ret->retry_in_ms = retry_in(&r, ret->body, clock_now_ms(c->s->clk));
    return e;
}

static int64_t timeout_of(const struct am_integration *in)
{
    const void *of = in->of;
    int64_t ms = 0;
    switch (in->kind) {
    case AM_WEBHOOK:
        ms = ((const struct am_webhook *)of)->timeout_ms;
        break;
    case AM_PAGERDUTY:
        ms = ((const struct am_pagerduty *)of)->timeout_ms;
        break;
    case AM_SLACK:
        ms = ((const struct am_slack *)of)->timeout_ms;
        break;
    case AM_TELEGRAM:
        ms = ((const struct am_telegram *)of)->timeout_ms;
        break;
    case AM_INCIDENTIO:
        ms = ((const struct am_incidentio *)of)->timeout_ms;
        break;
    case AM_SMS:
    case AM_PHONE:
        ms = ((const struct am_dial *)of)->timeout_ms;
        break;
    default:
        break;
    }
    return ms > 0 ? ms : TIMEOUT_MS;
}

/* ---- one message ---- */
/* With what the expression gives now, for an alert that ended. */
static struct labels with_value(const struct am_sender *s, const struct am_alert *al, int64_t now_ms, struct arena *a)
{
    struct label_builder b;
    str value = s->value(s->value_ctx, al, now_ms, a);
    if (!value.n)
        return al->annotations;
    lb_init(&b, a);
    lb_reset(&b, al->annotations);
    lb_set(&b, STR("current_value"), value);
    return lb_labels(&b);
}

static struct tmpl_val data_of(const struct am_sender *s, const struct kit *k, const struct am_notice *n,
                               struct arena *a)
{
    const struct am_policy *p = k->cfg->policy;
    size_t n_values = s->value && p && p->current_value ? VALUES_MAX : 0;
    struct am_data_alert *v = arena_zarray(a, struct am_data_alert, n->n_alerts + 1);
    const struct am_data_changes changes = { n->changes.n_new, n->changes.n_resolved, n->changes.n_unchanged };
    for (size_t i = 0; i < n->n_alerts; i++) {
        const struct am_alert *al = &n->alerts[i];
        bool ask = al->ends_ms && n_values;
        n_values -= ask;
        v[i] = (struct am_data_alert){ al->labels, ask ? with_value(s, al, n->now_ms, a) : al->annotations,
                                       al->starts_ms, al->ends_ms, al->generator_url };
    }
    struct am_data_input in = { n->receiver->name,
                                s->external_url,
                                n->group_labels,
                                n->route_labels,
                                v,
                                n->n_alerts,
                                n->now_ms,
                                p && p->changes ? &changes : NULL };
    return am_data(a, &in);
}

static enum am_outcome send_http(struct am_sender *s, const struct am_message *m, struct am_notice *n, int64_t most_ms,
                                 struct arena *a, struct err_text *why)
{
    struct carrier c = { .s = s,
                         .integration = n->integration,
                         .idempotency = n->idempotency,
                         .timeout_ms = MIN(timeout_of(n->integration), most_ms) };
    const struct am_line line = { &c, call, recall, keep };
    return am_exchange(m, &line, a, &n->delivery, why);
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

/* Pictures of what fires, the first ones. */
static void draw(struct am_sender *s, const struct am_notice *n, struct arena *a, struct am_mail_extra *ret)
{
    for (size_t i = 0; s->chart && i < n->n_alerts && ret->n_pictures < AM_MAIL_PICTURES_MAX; i++) {
        struct am_chart chart;
        if (n->alerts[i].ends_ms || !s->chart(s->chart_ctx, &n->alerts[i], n->now_ms, a, &chart))
            continue;
        chart.mark_ms = n->alerts[i].starts_ms;
        str png = am_chart_png(&chart, a);
        if (png.n)
            ret->pictures[ret->n_pictures++] = (struct am_mail_picture){ png, n->alerts[i].labels };
    }
}

static enum am_outcome send_mail(struct am_sender *s, const struct am_message *m, struct am_notice *n, int64_t most_ms,
                                 struct arena *a, struct err_text *why)
{
    const struct am_email *c = (const void *)m->integration->of;
    struct am_mail_extra extra = { .text_too = true };
    struct am_mail mail;
    struct http_tls tls;
    struct http_mail_result r;
    if (c->html.n)
        draw(s, n, a, &extra);
    if (am_mail_build(m, &extra, a, &mail, why) != OK)
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
                             .secret = mail.secret,
                             .identity = c->auth_identity,
                             .message = mail.message,
                             .tls = implicit                    ? HTTP_MAIL_TLS
                                    : c->require_tls == AM_TRUE ? HTTP_MAIL_STARTTLS
                                                                : HTTP_MAIL_PLAIN,
                             .timeout_ms = MIN(TIMEOUT_MS, most_ms),
                             .cancel = &s->cancel };
    if (c->tls) {
        tls_of(c->tls, &tls);
        out.settings = &tls;
    }
    enum err e = http_mail_send(&out, &r, why);
    n->delivery.status = r.code;
    str text = am_scrubbed(a, am_scrubbed(a, str_c(why->msg), mail.password), mail.secret);
    if (text.p != why->msg)
        IGNORE_ERR(err_fail(why, e, STR_FMT, STR_ARG(text)));
    if (!e && mail.trouble.msg[0])
        IGNORE_ERR(err_fail(why, ERR_EXEC, "sent, though a template failed: %s", mail.trouble.msg));
    return !e ? AM_SENT : e == ERR_INVALID || r.code / 100 == 5 ? AM_REFUSED : AM_RETRY;
}

/* Builds and carries out; fills n->delivery. */
static enum am_outcome deliver(struct am_sender *s, const struct kit *k, struct am_notice *n, int64_t most_ms)
{
    struct err_text why = { 0 };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    int64_t from = clock_now_ms(s->clk);
    struct tmpl_val data = data_of(s, k, n, &a);
    struct am_message m = { .receiver = n->receiver,
                            .integration = n->integration,
                            .data = &data,
                            .text = k->text,
                            .html = k->html,
                            .group_key = n->group_key,
                            .now_ms = n->now_ms,
                            .fs = fs_os(),
                            .idempotency = n->idempotency,
                            .memory = n->memory,
                            .callback_url = s->external_url };
    n->delivery = (struct am_delivery){ 0 };
    enum am_outcome o = n->integration->kind == AM_EMAIL ? send_mail(s, &m, n, most_ms, &a, &why)
                                                         : send_http(s, &m, n, most_ms, &a, &why);
    n->delivery.took_ms = clock_now_ms(s->clk) - from;
    size_t len = MIN(strlen(why.msg), sizeof(n->delivery.answer) - 1);
    len = str_utf8_valid_len(str_n(why.msg, len)); /* a cut character, or what a server sent */
    memcpy(n->delivery.answer, why.msg, len);
    stat_add(o == AM_SENT ? &sent : &failed, 1);
    if (o != AM_SENT || len)
        LOG_WARN(o == AM_SENT    ? "notification sent with an error in it"
                 : o == AM_RETRY ? "notification failed, will be tried again"
                                 : "notification refused",
                 "receiver", LOG_STR(n->receiver->name), "integration", am_kind_name(n->integration->kind), "error",
                 n->delivery.answer);
    return o;
}

/* May this receiver be told now? If not: when. */
static int64_t wait_for_turn(struct am_sender *s, struct kit *k, const struct am_receiver *r)
{
    int64_t now = clock_now_ms(s->clk), wait = 0;
    const struct am_receiver *mine = am_config_receiver(k->cfg, r->name); /* r may be of the configuration before */
    r = mine ? mine : r;
    double per_ms = (double)r->max_messages_per_minute / 60000;
    if (!r->max_messages_per_minute || !mine)
        return 0;
    mtx_lock(&s->mu);
    struct bucket *b = &k->buckets[mine - k->cfg->receivers.p];
    double most = (double)r->max_messages_per_minute;
    b->left = b->at_ms ? MIN(most, b->left + (double)MAX(now - b->at_ms, 0) * per_ms) : most;
    b->at_ms = now;
    if (b->left >= 1)
        b->left -= 1;
    else
        wait = (int64_t)((1 - b->left) / per_ms) + 1;
    mtx_unlock(&s->mu);
    return wait;
}

/* ---- lanes ---- */
static bool lane_enter(struct job *j) /* false: it waits for its turn */
{
    struct am_sender *s = j->s;
    bool is_new;
    mtx_lock(&s->mu);
    struct lane **slot = lane_map_get(&s->lanes, j->n->receiver->name), *lane = slot ? *slot : NULL;
    if (!lane) {
        lane = mem_zalloc(sizeof(*lane));
        lane->name = mem_dup(j->n->receiver->name);
        lane->last = &lane->first;
        *lane_map_put(&s->lanes, lane->name, &is_new) = lane;
    }
    j->lane = lane;
    bool enters = lane->running < LANE_MAX;
    if (enters) {
        lane->running++;
    } else {
        *lane->last = j;
        lane->last = &j->next;
    }
    mtx_unlock(&s->mu);
    return enters;
}

static struct job *lane_leave(struct am_sender *s, struct lane *lane) /* the one whose turn it is; NULL: nobody waits */
{
    mtx_lock(&s->mu);
    struct job *next = lane->first;
    if (next) {
        lane->first = next->next;
        lane->last = lane->first ? lane->last : &lane->first;
    } else if (--lane->running == 0) {
        lane_map_del(&s->lanes, lane->name);
        mem_free((void *)(uintptr_t)lane->name.p);
        mem_free(lane);
    }
    mtx_unlock(&s->mu);
    return next;
}

static void carry_out(void *ctx);

static void submit(struct job *j)
{
    while (j && pool_submit(j->s->pool, carry_out, j) != OK) {
        struct am_sender *s = j->s;
        struct am *am;
        struct am_notice *n = j->n;
        struct lane *lane = j->lane;
        mem_free(j);
        kit_unref(kit_ref(s, &am));
        stat_add(&failed, 1);
        n->delivery = (struct am_delivery){ .answer = "put off: too many messages are waiting to be sent" };
        am_sent(am, n, AM_RETRY, clock_now_ms(s->clk));
        j = lane_leave(s, lane);
    }
}

static void carry_out(void *ctx)
{
    struct job *j = ctx;
    struct am_sender *s = j->s;
    struct am_notice *n = j->n;
    struct lane *lane = j->lane;
    struct am *am;
    mem_free(j);
    struct kit *k = kit_ref(s, &am);
    enum am_outcome o = AM_RETRY;
    int64_t wait = wait_for_turn(s, k, n->receiver);
    if (wait) {
        n->delivery = (struct am_delivery){ .retry_in_ms = wait };
        snprintf(n->delivery.answer, sizeof(n->delivery.answer),
                 "put off: the receiver had its %llu messages of this minute",
                 (unsigned long long)n->receiver->max_messages_per_minute);
        stat_add(&limited, 1);
    } else if (atomic_load(&s->closing)) {
        n->delivery = (struct am_delivery){ .answer = "put off: vane is being stopped" };
    } else {
        o = deliver(s, k, n, INT64_MAX);
    }
    am_sent(am, n, o, clock_now_ms(s->clk));
    kit_unref(k);
    submit(lane_leave(s, lane));
}

void am_sender_send(void *sender, struct am_notice *n)
{
    struct job *j = mem_zalloc(sizeof(*j));
    j->s = sender;
    j->n = n;
    if (lane_enter(j))
        submit(j);
}

/* ---- tests of receivers ---- */
static struct labels test_labels(const struct am_test *t, struct arena *a)
{
    struct label_builder b;
    lb_init(&b, a);
    lb_reset(&b, LABELS_NONE);
    lb_set(&b, STR("alertname"), STR("VaneReceiverTest"));
    lb_set(&b, STR("drill"), STR("true"));
    lb_set(&b, STR("receiver"), t->receiver);
    lb_set(&b, STR("severity"), STR("info"));
    labels_each (l, t->labels)
        lb_set(&b, l->name, l->value);
    return lb_labels(&b);
}

static bool keeps_incidents(enum am_kind k)
{
    return k == AM_PAGERDUTY || k == AM_OPSGENIE || k == AM_VICTOROPS || k == AM_JIRA || k == AM_INCIDENTIO;
}

static void test_one(struct am_sender *s, const struct kit *k, struct am_notice *n, int64_t most_ms, struct arena *a,
                     struct am_test_row *row)
{
    row->outcome = deliver(s, k, n, most_ms);
    row->status = n->delivery.status;
    row->took_ms = n->delivery.took_ms;
    row->answer = arena_str(a, str_c(n->delivery.answer));
}

static void test_all(struct am_sender *s, const struct kit *k, const struct am_receiver *r, struct labels ls,
                     struct arena *a, struct am_test_row *rows, size_t *ret_n)
{
    struct label note[2] = { { STR("description"), STR("This is a drill. Nobody needs to do anything.") },
                             { STR("summary"), STR("DRILL: a test message of vane") } };
    struct label name = { STR("alertname"), labels_get(ls, STR("alertname")) };
    int64_t begin = clock_now_ms(s->clk);
    uint64_t random = os_random_u64();
    struct am_alert alert = { .labels = ls,
                              .annotations = { note, 2 },
                              .starts_ms = begin,
                              .updated_ms = begin,
                              .generator_url = s->external_url,
                              .fingerprint = am_fingerprint(ls) };
    for (size_t i = 0; i < r->n_integrations; i++)
        for (int resolved = 0; resolved <= (keeps_incidents(r->integrations[i].kind) ? 1 : 0); resolved++) {
            int64_t now = clock_now_ms(s->clk);
            struct am_test_row *row = &rows[(*ret_n)++];
            *row = (struct am_test_row){ r->integrations[i].kind,
                                         r->integrations[i].index,
                                         resolved,
                                         AM_REFUSED,
                                         0,
                                         0,
                                         STR("not tried: the test took too long") };
            alert.ends_ms = resolved ? now : 0;
            struct am_notice n = { .receiver = r,
                                   .integration = &r->integrations[i],
                                   .group_key = arena_printf(a, "{}/{drill=\"true\"}:{test=\"%016llx\"}",
                                                             (unsigned long long)random),
                                   .group_labels = { &name, 1 },
                                   .alerts = &alert,
                                   .n_alerts = 1,
                                   .n_firing = !resolved,
                                   .attempt = 1,
                                   .idempotency = random + i * 2 + (uint64_t)resolved,
                                   .now_ms = now,
                                   .memory = STR("") };
            if (now - begin < AM_TEST_MS_MAX - TEST_TIMEOUT_MS)
                test_one(s, k, &n, TEST_TIMEOUT_MS, a, row);
        }
}

enum err am_sender_test(struct am_sender *s, const struct am_test *t, struct arena *a, struct am_test_row **ret,
                        size_t *ret_n, struct err_text *reterr)
{
    struct am *am;
    struct kit *k = kit_ref(s, &am);
    if (!k)
        return err_fail(reterr, ERR_CLOSED, "no configuration is served yet");
    const struct am_receiver *r = am_config_receiver(k->cfg, t->receiver);
    enum err e = OK;
    *ret_n = 0;
    if (!r)
        e = err_fail(reterr, ERR_NOT_FOUND, "no receiver \"" STR_FMT "\" in the configuration",
                     STR_ARG(str_take(t->receiver, 100)));
    else if (!r->n_integrations)
        e = err_fail(reterr, ERR_INVALID, "receiver \"" STR_FMT "\" has no integrations: it tells nobody",
                     STR_ARG(r->name));
    if (!e) {
        *ret = arena_zarray(a, struct am_test_row, 2 * r->n_integrations);
        test_all(s, k, r, test_labels(t, a), a, *ret, ret_n);
    }
    kit_unref(k);
    return e;
}

/* ---- open, serve, close ---- */
enum err am_sender_open(const struct am_sender_config *cfg, struct am_sender **ret)
{
    struct am_sender *s = mem_zalloc(sizeof(*s));
    struct http_client_config http = { .user_agent = "Alertmanager/vane" };
    mtx_init(&s->mu, 40);
    s->clk = cfg->clk ? cfg->clk : os_clock();
    s->external_url = mem_dup(cfg->external_url);
    s->chart = cfg->chart;
    s->chart_ctx = cfg->chart_ctx;
    s->value = cfg->value;
    s->value_ctx = cfg->value_ctx;
    enum err e = http_client_open(&http, &s->client);
    if (!e)
        e = pool_open("notify", cfg->threads ? cfg->threads : THREADS, QUEUE_MAX, &s->pool);
    if (e) {
        am_sender_close(s);
        return e;
    }
    stat_register(&sent);
    stat_register(&failed);
    stat_register(&limited);
    *ret = s;
    return OK;
}

static bool is_idle(struct am_sender *s)
{
    mtx_lock(&s->mu);
    bool idle = s->lanes.n == 0;
    mtx_unlock(&s->mu);
    return idle;
}

void am_sender_close(struct am_sender *s)
{
    if (!s)
        return;
    atomic_store(&s->closing, true);
    for (int i = 0; s->pool && i < CLOSE_MS / 20 && !is_idle(s); i++)
        os_sleep_ms(20);
    atomic_store(&s->cancel, true);
    if (s->pool)
        pool_close(s->pool);
    if (s->client)
        http_client_close(s->client);
    kit_unref(s->kit);
    lane_map_free(&s->lanes);
    for (size_t i = 0; i < KEPT_MAX; i++)
        kept_clear(&s->kept[i]);
    mem_free((void *)(uintptr_t)s->external_url.p);
    mtx_deinit(&s->mu);
    mem_free(s);
}

enum err am_sender_serve(struct am_sender *s, struct am *am, struct am_config *cfg, struct err_text *reterr)
{
    struct kit *k = mem_zalloc(sizeof(*k)), *old;
    atomic_init(&k->refs, 1);
    k->cfg = am_config_ref(cfg);
    k->buckets = mem_zalloc((cfg->receivers.n + 1) * sizeof(*k->buckets));
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
