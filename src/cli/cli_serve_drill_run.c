/* One fire drill from its first sample to its last message. */
#include "alerting/am_service.h"
#include "base/check.h"
#include "base/log.h"
#include "base/num.h"
#include "cli/cli_serve_drill.h"
#include "promql/ast.h"

enum { LOOK_MS = 100, AGAIN_MS = 15000 };

/* ---- steps ---- */
static void add_step(struct drill *d, struct drill_step s)
{
    mtx_lock(&d->mu);
    s.receiver = arena_str(&d->a, s.receiver);
    s.integration = arena_str(&d->a, s.integration);
    s.text = arena_str(&d->a, s.text);
    avec_push(&d->a, &d->steps, s);
    mtx_unlock(&d->mu);
}

const struct drill_step *drill_step(const struct drill *d, const char *name)
{
    for (size_t i = 0; i < d->steps.n; i++)
        if (strcmp(d->steps.p[i].name, name) == 0)
            return &d->steps.p[i];
    return NULL;
}

static bool has_step(struct drill *d, const char *name)
{
    mtx_lock(&d->mu);
    bool has = drill_step(d, name) != NULL;
    mtx_unlock(&d->mu);
    return has;
}

static void fail(struct drill *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void fail(struct drill *d, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    mtx_lock(&d->mu);
    if (!d->error.n)
        d->error = arena_str(&d->a, str_c(text));
    mtx_unlock(&d->mu);
}

/* ---- the series ---- */
static enum err append(struct drill *d, double v, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    struct tsdb_write_result result;
    arena_init(&a, 0);
    struct label p[] = { { LABEL_NAME, STR("vane_drill") },
                         { STR(AM_DRILL_LABEL), STR("true") },
                         { STR("drill_id"), str_c(d->id) } };
    struct sample sample = { os_now_ms(), v };
    struct batch b = { .a = &a, .n_samples = 1 };
    avec_push(&a, &b.series, ((struct batch_series){ .labels = { p, 3 }, .samples = &sample, .n_samples = 1 }));
    const struct ingest_source who = { 0 };
    enum err e = ingest_append(d->s->ingest, &b, &who, &result);
    if (!e && result.first.msg[0])
        return err_fail(reterr, ERR_LIMIT, "the series was not stored: %s", result.first.msg);
    e = e ? e : tsdb_wait(d->s->db, result.lsn);
    return e ? err_fail(reterr, e, "the series was not stored: %s", err_describe(e)) : OK;
}

/* Series and alerts of a drill are told apart by its id. */
enum err drill_delete_series(struct serve *s, str id, int64_t from_ms, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    struct matcher *m;
    size_t n;
    arena_init(&a, 0);
    TRY(promql_parse_selector(&a, arena_printf(&a, "{drill_id=\"" STR_FMT "\"}", STR_ARG(id)), &m, &n, reterr));
    const struct tsdb_selector sel = { m, n };
    enum err e = tsdb_delete(s->db, &sel, 1, from_ms, os_now_ms() + 60000, reterr);
    promql_matchers_deinit(m, n);
    return e;
}

static void clean_up(struct drill *d)
{
    struct err_text why = { 0 };
    enum err e = drill_delete_series(d->s, str_c(d->id), d->started_ms - 60000, &why);
    if (e)
        LOG_WARN("series of a drill were not deleted", "drill", d->id, "err", why.msg);
    add_step(d, (struct drill_step){ .name = "cleaned", .at_ms = os_now_ms(), .text = e ? str_c(why.msg) : STR("") });
}

/* ---- the rule ---- */
static void json_labels(struct json_out *j, str key, struct labels ls, str prefix)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    json_key(j, key);
    json_obj(j);
    labels_each (l, ls) {
        buf_clear(&b);
        if (!str_has_suffix(l->name, STR("url"))) /* what people click must stay a link */
            buf_str_add(&b, prefix);
        buf_str_add(&b, l->value);
        json_key(j, l->name);
        json_str(j, buf_str(&b));
    }
    json_obj_end(j);
}

static void duration(struct json_out *j, str key, int64_t ms)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_duration(&b, ms);
    json_key(j, key);
    json_str(j, buf_str(&b));
}

/* A rule file; JSON is YAML. */
static void rule_text(const struct drill *d, struct buf *out)
{
    struct json_out j = json_out_init(out);
    json_obj(&j);
    json_key(&j, STR("groups"));
    json_arr(&j);
    json_obj(&j);
    json_kstr(&j, "name", str_c(d->id));
    duration(&j, STR("interval"), d->interval_ms);
    if (d->offset_ms)
        duration(&j, STR("query_offset"), d->offset_ms);
    json_key(&j, STR("rules"));
    json_arr(&j);
    json_obj(&j);
    json_kstr(&j, "alert", d->alert);
    AUTO_BUF struct buf expr;
    buf_init(&expr, 0);
    buf_printf(&expr, "vane_drill{drill_id=\"%s\"} > 0", d->id);
    json_kstr(&j, "expr", buf_str(&expr));
    duration(&j, STR("for"), d->for_ms);
    json_labels(&j, STR("labels"), d->labels, STR(""));
    json_labels(&j, STR("annotations"), d->annotations, STR("[DRILL] "));
    json_obj_end(&j);
    json_arr_end(&j);
    json_obj_end(&j);
    json_arr_end(&j);
    json_obj_end(&j);
}

static enum err load_rule(struct drill *d, struct rules_load **ret, struct err_text *reterr)
{
    AUTO_BUF struct buf text, report;
    buf_init(&text, 0);
    buf_init(&report, 0);
    rule_text(d, &text);
    const char *dir = arena_printf(&d->a, "%s/drills", tsdb_dir(d->s->db)).p;
    str path = arena_printf(&d->a, "%s/%s.yml", dir, d->id);
    enum err e = fs_mkdirs(fs_os(), dir);
    e = e ? e : fs_write_file_atomic(fs_os(), path.p, buf_str(&text));
    if (e)
        return err_fail(reterr, e, STR_FMT ": %s", STR_ARG(path), err_describe(e));
    mtx_lock(&d->s->mu);
    struct rules_settings settings;
    struct arena *a = &d->a;
    cli_rules_settings(d->s->cfg, d->s->opt.features, a, &settings);
    mtx_unlock(&d->s->mu);
    settings.patterns = &path;
    settings.n_patterns = 1;
    settings.packs = NULL;
    settings.n_packs = 0;
    e = rules_load(&settings, ret, &report, reterr);
    IGNORE_ERR(fs_unlink(fs_os(), path.p)); /* it is read */
    return e;
}

static enum err open_rule(struct drill *d, struct rules_manager **ret, struct err_text *reterr)
{
    struct rules_load *load;
    struct serve *s = d->s;
    const struct rules_manager_config cfg = {
        .engine = s->engine,
        .source = s->rules_source,
        .append_ctx = s,
        .append = serve_rules_append,
        .notify_ctx = s,
        .notify = serve_rules_tell,
        .clock = os_clock(),
        .threads = 1,
    };
    TRY(load_rule(d, &load, reterr));
    enum err e = rules_manager_open(&cfg, ret, reterr);
    if (e) {
        rules_load_unref(load);
        return e;
    }
    rules_manager_apply(*ret, load);
    rules_manager_start(*ret);
    return OK;
}

/* What the rule says of its alert. */
static void look_at_rule(struct drill *d, struct rules_manager *m)
{
    struct rules_snapshot snap = rules_manager_snapshot(m);
    int64_t now = os_now_ms();
    for (size_t i = 0; i < snap.n; i++)
        for (size_t k = 0; k < snap.groups[i]->group->n_rules; k++) {
            const struct rule_facts *f = &snap.groups[i]->rules[k];
            if (strcmp(f->health, "err") == 0)
                fail(d, "the rule was not evaluated: %s", f->last_error);
            for (size_t x = 0; x < f->n_alerts; x++) {
                enum alert_state state = f->alerts[x]->state;
                if (state != ALERT_INACTIVE && d->for_ms && !has_step(d, "pending"))
                    add_step(d, (struct drill_step){ .name = "pending", .at_ms = now });
                if (state == ALERT_FIRING && !has_step(d, "firing"))
                    add_step(d, (struct drill_step){ .name = "firing", .at_ms = now });
            }
        }
    rules_snapshot_deinit(&snap);
}

/* ---- what the Alertmanager did ---- */
struct trail {
    uint64_t fingerprint; /* 0: it has not come in yet */
    int64_t seen_id;      /* events up to this one are steps already */
    bool resolved;
};

static void find_alert(struct drill *d, struct trail *t)
{
    AUTO_ARENA struct arena a;
    struct am_alert_view *v;
    size_t n;
    arena_init(&a, 0);
    am_alerts(am_service_am(d->s->alertmanager), os_now_ms(), &a, &v, &n);
    for (size_t i = 0; i < n; i++)
        if (str_eq(labels_get(v[i].alert.labels, STR("drill_id")), str_c(d->id)))
            t->fingerprint = v[i].alert.fingerprint;
}

/* Integrations that are told at once: steps of an escalation and digests come later. */
static void expect(struct drill *d, struct labels ls)
{
    const struct am_route *routes[AM_ROUTES_PER_ALERT];
    struct am_config *c = am_config_in_use(am_service_am(d->s->alertmanager));
    size_t n = MIN(am_config_routes(c, ls, routes, AM_ROUTES_PER_ALERT), AM_ROUTES_PER_ALERT), expected = 0;
    for (size_t i = 0; i < n; i++) {
        const struct am_receiver *r = am_config_receiver(c, routes[i]->receiver);
        bool later = routes[i]->policy && (routes[i]->policy->step || routes[i]->policy->digest);
        expected += later ? 0 : r->n_integrations;
        if (!later && r->n_integrations && am_config_muted(c, routes[i], os_now_ms()))
            fail(d, "a time interval mutes the route to receiver " STR_FMT " just now", STR_ARG(r->name));
    }
    am_config_unref(c);
    mtx_lock(&d->mu);
    d->n_expected = expected;
    mtx_unlock(&d->mu);
}

static void take_event(struct drill *d, struct trail *t, const struct am_event *e)
{
    static const char *const names[AM_EV_KINDS] = {
        [AM_EV_RECEIVED] = "received", [AM_EV_GROUPED] = "grouped",     [AM_EV_SENT] = "sent",
        [AM_EV_FAILED] = "failed",     [AM_EV_DELIVERED] = "delivered", [AM_EV_RESOLVED] = "resolved",
    };
    if (e->kind == AM_EV_RECEIVED && !has_step(d, "received"))
        expect(d, e->labels);
    if (e->kind == AM_EV_SILENCED || e->kind == AM_EV_INHIBITED || e->kind == AM_EV_MUTED)
        fail(d, "nobody was told: the alert is %s%s" STR_FMT, am_event_kind_name(e->kind), e->text.n ? ": " : "",
             STR_ARG(e->text));
    if (e->kind == AM_EV_RESOLVED)
        t->resolved = true;
    if (!names[e->kind])
        return;
    add_step(d, (struct drill_step){ names[e->kind], e->at_ms, e->receiver, e->integration, e->text });
    if (e->kind == AM_EV_DELIVERED && !t->resolved) {
        mtx_lock(&d->mu);
        d->n_delivered++;
        mtx_unlock(&d->mu);
    }
}

static void look_at_history(struct drill *d, struct trail *t)
{
    AUTO_ARENA struct arena a;
    struct am_history_page page;
    struct err_text why = { 0 };
    arena_init(&a, 0);
    if (!t->fingerprint)
        find_alert(d, t);
    if (!t->fingerprint)
        return;
    const struct am_history_filter f = { .from_ms = d->started_ms, .fingerprint = t->fingerprint, .limit = 1000 };
    if (am_history_query(am_service_am(d->s->alertmanager), &f, &a, &page, &why) != OK) {
        fail(d, "the history cannot be read: %s", why.msg);
        return;
    }
    for (size_t i = page.n; i-- > 0;)
        if (page.events[i].id > t->seen_id) {
            t->seen_id = page.events[i].id;
            take_event(d, t, &page.events[i]);
        }
}

/* ---- all of it ---- */
static bool is_told(struct drill *d)
{
    mtx_lock(&d->mu);
    bool told =
        drill_step(d, "received") && d->n_delivered >= d->n_expected && (d->n_expected || drill_step(d, "grouped"));
    told |= d->error.n != 0;
    mtx_unlock(&d->mu);
    return told;
}

static void wait_until_told(struct drill *d, struct rules_manager *m, struct trail *t)
{
    int64_t end = os_now_ms() + d->timeout_ms, again = os_now_ms() + AGAIN_MS;
    struct err_text why = { 0 };
    while (!is_told(d) && !atomic_load(d->stop)) {
        if (os_now_ms() > end) {
            fail(d, "not over after %lld s: %s", (long long)(d->timeout_ms / 1000),
                 has_step(d, "sent")       ? "receivers have not taken the message"
                 : has_step(d, "received") ? "the group has not had its turn"
                 : has_step(d, "firing")   ? "the alert did not reach the Alertmanager"
                                           : "the rule does not fire");
            return;
        }
        if (os_now_ms() > again) { /* the signal goes on */
            again = os_now_ms() + AGAIN_MS;
            if (append(d, 1, &why) != OK)
                fail(d, "%s", why.msg);
        }
        os_sleep_ms(LOOK_MS);
        look_at_rule(d, m);
        look_at_history(d, t);
    }
}

/* The signal ends; the rule sees it at its next evaluation, and the receivers hear of it at their group's next turn. */
static void end_signal(struct drill *d, struct trail *t)
{
    struct err_text why = { 0 };
    uint64_t stale = STALE_NAN_BITS;
    double v;
    memcpy(&v, &stale, sizeof(v));
    if (append(d, v, &why) != OK)
        LOG_WARN("the end of a drill was not stored", "drill", d->id, "err", why.msg);
    int64_t end = os_now_ms() + d->interval_ms + d->offset_ms + 5000;
    while (t->fingerprint && !t->resolved && os_now_ms() < end && !atomic_load(d->stop)) {
        os_sleep_ms(LOOK_MS);
        look_at_history(d, t);
    }
}

static enum drill_state verdict(struct drill *d)
{
    const struct drill_step *in = drill_step(d, "ingested"), *seen = drill_step(d, d->for_ms ? "pending" : "firing"),
                            *out = drill_step(d, "delivered");
    if (d->error.n)
        return DRILL_FAILED;
    if (atomic_load(d->stop))
        return DRILL_INTERRUPTED;
    bool late = !in || !seen || seen->at_ms - in->at_ms >= DRILL_DETECT_MS ||
                (d->n_expected && (!out || out->at_ms - in->at_ms >= DRILL_ALERT_MS));
    return late ? DRILL_LATE : DRILL_PASSED;
}

void drill_run(struct drill *d)
{
    struct rules_manager *m = NULL;
    struct trail t = { 0 };
    struct err_text why = { 0 };
    enum err e = open_rule(d, &m, &why);
    e = e ? e : append(d, 1, &why);
    if (e) {
        fail(d, "%s", why.msg);
    } else {
        add_step(d, (struct drill_step){ .name = "ingested", .at_ms = os_now_ms() });
        wait_until_told(d, m, &t);
        end_signal(d, &t);
    }
    rules_manager_close(m);
    clean_up(d);
    mtx_lock(&d->mu);
    d->ended_ms = os_now_ms();
    d->state = verdict(d);
    mtx_unlock(&d->mu);
}

/* ---- as JSON ---- */
static void moment(struct json_out *j, str key, int64_t ms)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    json_key(j, key);
    if (!ms) {
        json_put_null(j);
        return;
    }
    buf_rfc3339_ms(&b, ms);
    json_str(j, buf_str(&b));
}

static void bound(struct json_out *j, str key, const struct drill_step *from, const struct drill_step *to,
                  int64_t limit_ms)
{
    json_key(j, key);
    json_obj(j);
    json_ki64(j, "limitMs", limit_ms);
    json_key(j, STR("tookMs"));
    if (from && to)
        json_i64(j, to->at_ms - from->at_ms);
    else
        json_put_null(j);
    json_kbool(j, "ok", from && to && to->at_ms - from->at_ms < limit_ms);
    json_obj_end(j);
}

void drill_json(struct drill *d, struct json_out *j)
{
    static const char *const kinds[] = { "rule", "route", "receiver" };
    static const char *const states[] = { "running", "passed", "late", "failed", "interrupted" };
    mtx_lock(&d->mu);
    const struct drill_step *in = drill_step(d, "ingested");
    json_obj(j);
    json_kstr(j, "id", str_c(d->id));
    json_kstr(j, "target", d->target);
    json_kstr(j, "kind", str_c(kinds[d->kind]));
    json_kstr(j, "alert", d->alert);
    json_key(j, STR("labels"));
    labels_json(j, d->labels);
    json_kbool(j, "scheduled", d->scheduled);
    json_kstr(j, "state", str_c(states[d->state]));
    json_kstr(j, "error", d->error);
    moment(j, STR("startedAt"), d->started_ms);
    moment(j, STR("endedAt"), d->ended_ms);
    json_ki64(j, "intervalMs", d->interval_ms);
    json_ki64(j, "forMs", d->for_ms);
    json_ku64(j, "expected", d->n_expected);
    json_ku64(j, "delivered", d->n_delivered);
    json_key(j, STR("bounds"));
    json_obj(j);
    bound(j, STR("detect"), in, drill_step(d, d->for_ms ? "pending" : "firing"), DRILL_DETECT_MS);
    bound(j, STR("alert"), in, drill_step(d, "delivered"), DRILL_ALERT_MS);
    json_obj_end(j);
    json_key(j, STR("steps"));
    json_arr(j);
    for (size_t i = 0; i < d->steps.n; i++) {
        const struct drill_step *s = &d->steps.p[i];
        json_obj(j);
        json_kstr(j, "step", str_c(s->name));
        moment(j, STR("at"), s->at_ms);
        json_ki64(j, "afterMs", s->at_ms - (in ? in->at_ms : d->started_ms));
        json_kstr(j, "receiver", s->receiver);
        json_kstr(j, "integration", s->integration);
        json_kstr(j, "text", s->text);
        json_obj_end(j);
    }
    json_arr_end(j);
    json_obj_end(j);
    mtx_unlock(&d->mu);
}
