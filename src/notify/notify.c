#include "notify/notify.h"

#include <stdio.h>

#include "base/check.h"
#include "base/json.h"
#include "base/log.h"
#include "base/num.h"
#include "base/os.h"
#include "base/stats.h"
#include "base/thread.h"
#include "http/http.h"

enum { WAIT_MS = 200, ANSWER_BYTES_MAX = 64 << 10 };

struct target { /* one Alertmanager */
    struct notify *n;
    const struct alertmanager_config *am;
    str url; /* owned */
    pthread_t thread;
    struct mtx mu; /* guards what follows */
    struct cond changed;
    VEC(str) queue; /* alerts as JSON, owned */
    bool closing;
    uint64_t sent, errors, dropped;
};
struct flight { /* a request under way */
    struct target *t;
    bool done;
    enum err err;
    int status;
    char error[256];
};
struct notify {
    struct http_client *http;
    struct mtx mu; /* guards what follows; before a target's */
    struct prom_config *cfg;
    str external_url; /* owned */
    VEC(struct target *) targets;
    VEC(str) dropped; /* owned URLs */
};

/* ---- one Alertmanager ---- */
static void flight_done(void *ctx, const struct http_result *r)
{
    struct flight *f = ctx;
    mtx_lock(&f->t->mu);
    f->err = r->err;
    f->status = r->status;
    snprintf(f->error, sizeof(f->error), "%s", r->error ? r->error : "");
    f->done = true;
    cond_broadcast(&f->t->changed);
    mtx_unlock(&f->t->mu);
}

static void land(struct target *t, struct flight *f, uint64_t id)
{
    bool cancelled = false;
    mtx_lock(&t->mu);
    while (!f->done) {
        if (t->closing && !cancelled) {
            cancelled = true;
            mtx_unlock(&t->mu);
            http_cancel(t->n->http, id);
            mtx_lock(&t->mu);
            continue;
        }
        cond_wait_ms(&t->changed, &t->mu, WAIT_MS);
    }
    mtx_unlock(&t->mu);
}

static enum err post(struct target *t, str body, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    char error[256] = "";
    uint64_t id;
    arena_init(&a, 0);
    struct http_pair type = { STR("Content-Type"), STR("application/json") };
    struct flight f = { .t = t };
    struct http_fetch rq = {
        .url = t->url,
        .method = HTTP_POST,
        .body = body,
        .headers = &type,
        .n_headers = 1,
        .timeout_ms = t->am->timeout_ms,
        .body_bytes_max = ANSWER_BYTES_MAX,
        .done = flight_done,
        .ctx = &f,
    };
    http_sigv4_apply(t->am->sigv4, "aps", &a, &rq);
    if (!http_config_apply(&t->am->http, &a, &rq, error, sizeof(error)))
        return err_fail(reterr, ERR_PERMISSION, "%s", error);
    enum err e = http_start(t->n->http, &rq, &id);
    if (e)
        return err_fail(reterr, e, "%s", err_describe(e));
    land(t, &f, id);
    if (f.err)
        return err_fail(reterr, f.err, "%s", f.error);
    return f.status / 100 == 2 ? OK : err_fail(reterr, ERR_IO, "it answered with status %d", f.status);
}

static void send_batch(struct target *t, const str *alerts, size_t n)
{
    AUTO_BUF struct buf body = { 0 };
    struct err_text why;
    buf_u8(&body, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_u8(&body, ',');
        buf_str_add(&body, alerts[i]);
    }
    buf_u8(&body, ']');
    enum err e = post(t, buf_str(&body), &why);
    mtx_lock(&t->mu);
    t->sent += e ? 0 : n;
    t->errors += e ? n : 0;
    t->dropped += e ? n : 0;
    bool closing = t->closing;
    mtx_unlock(&t->mu);
    if (e && !closing)
        LOG_WARN("alerts were not taken by an Alertmanager; they are sent again within a minute", "url",
                 LOG_STR(t->url), "alerts", LOG_I64(n), "err", why.msg);
}

static void send_loop(void *ctx)
{
    struct target *t = ctx;
    str batch[NOTIFY_BATCH_MAX];
    mtx_lock(&t->mu);
    while (!t->closing) {
        size_t n = MIN(t->queue.n, NOTIFY_BATCH_MAX);
        if (!n) {
            cond_wait_ms(&t->changed, &t->mu, 1000);
            continue;
        }
        memcpy(batch, t->queue.p, n * sizeof(*batch));
        memmove(t->queue.p, t->queue.p + n, (t->queue.n - n) * sizeof(*batch));
        t->queue.n -= n;
        mtx_unlock(&t->mu);
        send_batch(t, batch, n);
        for (size_t i = 0; i < n; i++)
            mem_free((void *)(uintptr_t)batch[i].p);
        mtx_lock(&t->mu);
    }
    mtx_unlock(&t->mu);
}

static void enqueue(struct target *t, str json)
{
    mtx_lock(&t->mu);
    if (t->queue.n == NOTIFY_QUEUE_MAX) {
        mem_free((void *)(uintptr_t)t->queue.p[0].p);
        vec_remove(&t->queue, 0);
        t->dropped++;
        LOG_WARN("the queue of an Alertmanager is full: the oldest alerts are dropped", "url", LOG_STR(t->url));
    }
    vec_push(&t->queue, mem_dup(json));
    cond_signal(&t->changed);
    mtx_unlock(&t->mu);
}

static void target_free(struct target *t)
{
    for (size_t i = 0; i < t->queue.n; i++)
        mem_free((void *)(uintptr_t)t->queue.p[i].p);
    vec_free(&t->queue);
    mem_free((void *)(uintptr_t)t->url.p);
    cond_deinit(&t->changed);
    mtx_deinit(&t->mu);
    mem_free(t);
}

static void target_stop(struct target *t)
{
    mtx_lock(&t->mu);
    t->closing = true;
    cond_broadcast(&t->changed);
    mtx_unlock(&t->mu);
    thread_join(t->thread);
}

static struct target *target_new(struct notify *n, const struct alertmanager_config *am, str url)
{
    struct target *t = mem_zalloc(sizeof(*t));
    t->n = n;
    t->am = am;
    t->url = mem_dup(url);
    mtx_init(&t->mu, 0);
    cond_init(&t->changed);
    return t;
}

/* ---- targets of a configuration ---- */
static str alerts_path(struct arena *a, str prefix)
{
    while (prefix.n && prefix.p[prefix.n - 1] == '/')
        prefix.n--;
    while (prefix.n && prefix.p[0] == '/')
        prefix = str_skip(prefix, 1);
    return prefix.n ? arena_printf(a, "/" STR_FMT "/api/v2/alerts", STR_ARG(prefix)) : STR("/api/v2/alerts");
}

static str url_of(struct arena *a, const struct label_builder *b)
{
    str path = lb_get(b, STR("__alerts_path__"));
    return arena_printf(a, STR_FMT "://" STR_FMT "%s" STR_FMT, STR_ARG(lb_get(b, STR("__scheme__"))),
                        STR_ARG(lb_get(b, STR("__address__"))), path.n && path.p[0] == '/' ? "" : "/", STR_ARG(path));
}

static bool known_url(const struct notify *n, str url)
{
    for (size_t i = 0; i < n->targets.n; i++)
        if (str_eq(n->targets.p[i]->url, url))
            return true;
    return false;
}

static void add_target(struct notify *n, const struct alertmanager_config *am, const struct target_group *g,
                       str address)
{
    AUTO_ARENA struct arena a;
    struct label_builder b;
    arena_init(&a, 0);
    lb_init(&b, &a);
    for (size_t i = 0; i < g->labels.n; i++)
        lb_set(&b, g->labels.keys[i], g->labels.p[i]);
    lb_set(&b, STR("__address__"), address);
    lb_set(&b, STR("__scheme__"), am->scheme);
    lb_set(&b, STR("__alerts_path__"), alerts_path(&a, am->path_prefix));
    str before = url_of(&a, &b);
    if (!relabel_apply(am->relabel, &b) || !lb_get(&b, STR("__address__")).n) {
        vec_push(&n->dropped, mem_dup(before));
        return;
    }
    str url = url_of(&a, &b);
    if (known_url(n, url))
        return;
    if (n->targets.n == NOTIFY_TARGETS_MAX)
        LOG_ERROR("more Alertmanagers than this version sends to: the rest is left out", "max",
                  LOG_I64(NOTIFY_TARGETS_MAX), "url", LOG_STR(url));
    else
        vec_push(&n->targets, target_new(n, am, url));
}

static void take_queue(struct target *t, struct target *const *old, size_t n_old)
{
    for (size_t i = 0; i < n_old; i++)
        if (str_eq(old[i]->url, t->url)) {
            t->sent = old[i]->sent;
            t->errors = old[i]->errors;
            t->dropped = old[i]->dropped;
            for (size_t k = 0; k < old[i]->queue.n; k++)
                vec_push(&t->queue, old[i]->queue.p[k]);
            vec_clear(&old[i]->queue);
        }
}

static void start_targets(struct notify *n)
{
    for (size_t i = 0; i < n->targets.n;) {
        if (thread_start(&n->targets.p[i]->thread, "notify", send_loop, n->targets.p[i]) == OK) {
            i++;
            continue;
        }
        LOG_ERROR("no thread for an Alertmanager: it gets no alerts", "url", LOG_STR(n->targets.p[i]->url));
        target_free(n->targets.p[i]);
        vec_remove(&n->targets, i);
    }
}

static void clear_dropped(struct notify *n)
{
    for (size_t i = 0; i < n->dropped.n; i++)
        mem_free((void *)(uintptr_t)n->dropped.p[i].p);
    vec_clear(&n->dropped);
}

void notify_reload(struct notify *n, struct prom_config *cfg, str external_url)
{
    VEC(struct target *) old = { 0 };
    mtx_lock(&n->mu); /* alerts wait for the new targets */
    for (size_t i = 0; i < n->targets.n; i++) {
        target_stop(n->targets.p[i]);
        vec_push(&old, n->targets.p[i]);
    }
    vec_clear(&n->targets);
    clear_dropped(n);
    for (size_t i = 0; cfg && i < cfg->alerting.alertmanagers.n; i++) {
        const struct alertmanager_config *am = &cfg->alerting.alertmanagers.p[i];
        for (size_t g = 0; g < am->sd.statics.n; g++)
            for (size_t k = 0; k < am->sd.statics.p[g].targets.n; k++)
                add_target(n, am, &am->sd.statics.p[g], am->sd.statics.p[g].targets.p[k]);
    }
    for (size_t i = 0; i < n->targets.n; i++)
        take_queue(n->targets.p[i], old.p, old.n);
    start_targets(n);
    for (size_t i = 0; i < old.n; i++)
        target_free(old.p[i]);
    vec_free(&old);
    prom_config_unref(n->cfg);
    n->cfg = cfg;
    mem_free((void *)(uintptr_t)n->external_url.p);
    n->external_url = mem_dup(external_url);
    mtx_unlock(&n->mu);
}

/* ---- alerts ---- */
static void json_ktime(struct json_out *j, str key, int64_t ms)
{
    AUTO_BUF struct buf b = { 0 };
    buf_rfc3339_ms(&b, ms);
    json_key(j, key);
    json_str(j, buf_str(&b));
}

static void generator_url(const struct notify *n, const struct rule_alert *al, struct buf *url)
{
    buf_str_add(url, n->external_url);
    buf_lit(url, "/graph?g0.expr=");
    http_url_encode(url, al->rule->expr);
    buf_lit(url, "&g0.tab=1");
}

static void alert_json(struct buf *out, const struct notify *n, struct labels ls, const struct rule_alert *al)
{
    AUTO_BUF struct buf url = { 0 };
    struct json_out j = json_out_init(out);
    generator_url(n, al, &url);
    json_obj(&j);
    json_key(&j, STR("annotations"));
    labels_json(&j, al->annotations);
    json_ktime(&j, STR("endsAt"), al->resolved_at_ms ? al->resolved_at_ms : al->valid_until_ms);
    json_ktime(&j, STR("startsAt"), al->fired_at_ms);
    json_kstr(&j, "generatorURL", buf_str(&url));
    json_key(&j, STR("labels"));
    labels_json(&j, ls);
    json_obj_end(&j);
}

/* The alert's labels as all Alertmanagers get them; false: alert_relabel_configs drop it. */
static bool common_labels(const struct notify *n, const struct rule_alert *al, struct label_builder *b)
{
    const struct global_config *g = &n->cfg->global;
    lb_reset(b, al->labels);
    for (size_t i = 0; i < g->external_labels.n; i++)
        if (!lb_get(b, g->external_labels.keys[i]).p)
            lb_set(b, g->external_labels.keys[i], g->external_labels.p[i]);
    return relabel_apply(n->cfg->alerting.alert_relabel, b);
}

static void tell_all(struct notify *n, const struct rule_alert *al)
{
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf json = { 0 };
    struct label_builder common, own;
    arena_init(&a, 0);
    lb_init(&common, &a);
    lb_init(&own, &a);
    if (!common_labels(n, al, &common))
        return;
    struct labels ls = lb_labels(&common);
    for (size_t i = 0; i < n->targets.n; i++) {
        struct target *t = n->targets.p[i];
        lb_reset(&own, ls);
        if (!relabel_apply(t->am->alert_relabel, &own))
            continue;
        buf_clear(&json);
        alert_json(&json, n, lb_labels(&own), al);
        enqueue(t, buf_str(&json));
    }
}

void notify_alerts(void *notify, struct rule_alert *const *alerts, size_t n_alerts)
{
    struct notify *n = notify;
    mtx_lock(&n->mu);
    for (size_t i = 0; i < n_alerts && n->targets.n; i++)
        tell_all(n, alerts[i]);
    mtx_unlock(&n->mu);
}

bool notify_outgoing(struct notify *n, const struct rule_alert *al, struct arena *a, struct labels *ret, str *ret_url)
{
    AUTO_BUF struct buf url = { 0 };
    struct label_builder b;
    lb_init(&b, a);
    mtx_lock(&n->mu);
    bool stays = common_labels(n, al, &b);
    generator_url(n, al, &url);
    mtx_unlock(&n->mu);
    *ret = lb_labels(&b);
    *ret_url = arena_str(a, buf_str(&url));
    return stays;
}

/* ---- facts ---- */
void notify_status(struct notify *n, struct arena *a, str **ret_active, size_t *ret_n_active, str **ret_dropped,
                   size_t *ret_n_dropped)
{
    mtx_lock(&n->mu);
    *ret_n_active = n->targets.n;
    *ret_n_dropped = n->dropped.n;
    *ret_active = arena_array(a, str, n->targets.n + 1);
    *ret_dropped = arena_array(a, str, n->dropped.n + 1);
    for (size_t i = 0; i < n->targets.n; i++)
        (*ret_active)[i] = arena_str(a, n->targets.p[i]->url);
    for (size_t i = 0; i < n->dropped.n; i++)
        (*ret_dropped)[i] = arena_str(a, n->dropped.p[i]);
    mtx_unlock(&n->mu);
}

static uint64_t get_sent(const struct target *t)
{
    return t->sent;
}
static uint64_t get_errors(const struct target *t)
{
    return t->errors;
}
static uint64_t get_dropped(const struct target *t)
{
    return t->dropped;
}
static uint64_t get_queued(const struct target *t)
{
    return t->queue.n;
}

static void render(void *ctx, struct buf *out)
{
    static const struct {
        const char *name, *type, *help;
        uint64_t (*value)(const struct target *t);
    } rows[] = {
        { "vane_notifications_sent_total", "counter", "Alerts that an Alertmanager has taken", get_sent },
        { "vane_notifications_errors_total", "counter", "Alerts in requests that failed", get_errors },
        { "vane_notifications_dropped_total", "counter", "Alerts given up: failed requests, a full queue",
          get_dropped },
        { "vane_notifications_queue_length", "gauge", "Alerts waiting to be sent", get_queued },
    };
    struct notify *n = ctx;
    mtx_lock(&n->mu);
    for (size_t i = 0; n->targets.n && i < ARRAY_LEN(rows); i++) {
        buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", rows[i].name, rows[i].help, rows[i].name, rows[i].type);
        for (size_t k = 0; k < n->targets.n; k++) {
            struct target *t = n->targets.p[k];
            mtx_lock(&t->mu);
            uint64_t v = rows[i].value(t);
            mtx_unlock(&t->mu);
            buf_printf(out, "%s{alertmanager=\"", rows[i].name);
            stats_escape(out, t->url);
            buf_printf(out, "\"} %llu\n", (unsigned long long)v);
        }
    }
    mtx_unlock(&n->mu);
}

/* ---- life ---- */
enum err notify_open(struct notify **ret, struct err_text *reterr)
{
    struct notify *n = mem_zalloc(sizeof(*n));
    enum err e = http_client_open(NULL, &n->http);
    if (e) {
        mem_free(n);
        return err_fail(reterr, e, "the client for Alertmanagers: %s", err_describe(e));
    }
    mtx_init(&n->mu, 0);
    stats_on_render(render, n);
    *ret = n;
    return OK;
}

void notify_close(struct notify *n)
{
    if (!n)
        return;
    stats_off_render(render, n);
    notify_reload(n, NULL, STR(""));
    http_client_close(n->http);
    vec_free(&n->targets);
    vec_free(&n->dropped);
    mem_free((void *)(uintptr_t)n->external_url.p);
    mtx_deinit(&n->mu);
    mem_free(n);
}
