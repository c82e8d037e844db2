/* Alerts by fingerprint: taking, merging, forgetting, looking; life of the engine. */
#include <stdlib.h>

#include "alerting/am_ack.h"
#include "alerting/am_int.h"
#include "base/log.h"
#include "base/stats.h"

static struct stat received = STAT_COUNTER("vane_alertmanager_alerts_received_total", "Alerts taken", "");
static struct stat invalid = STAT_COUNTER("vane_alertmanager_alerts_invalid_total", "Alerts refused", "");

void am_alert_unref(struct alert *al)
{
    if (--al->refs)
        return;
    am_ack_free(al->ack);
    arena_deinit(&al->a);
    mem_free(al->flap);
    mem_free(al->routes);
    mem_free(al);
}

struct alert *am_alert_new(struct am *am, uint64_t fingerprint)
{
    struct alert *al = mem_zalloc(sizeof(*al));
    al->refs = 1;
    al->row = ++am->last_row;
    arena_init(&al->a, 0);
    *alert_map_put(&am->alerts, fingerprint, NULL) = al;
    return al;
}

/* ---- taking ---- */
static void refuse(struct buf *why, const char *text, str name)
{
    if (why)
        buf_printf(why, "%s%s" STR_FMT, why->n ? "; " : "", text, STR_ARG(name));
}

/* A name that begins with a digit is refused even where UTF-8 names are taken: no matcher could name it without quotes. */
static bool name_ok(str s)
{
    return s.n && str_utf8_ok(s) && !(s.p[0] >= '0' && s.p[0] <= '9');
}

static bool pairs_ok(struct labels ls, const char *what, struct buf *why)
{
    labels_each (l, ls) {
        AUTO_BUF struct buf text;
        buf_init(&text, 0);
        if (name_ok(l->name) && str_utf8_ok(l->value))
            continue;
        buf_printf(&text, "invalid %s set: invalid %s ", what, name_ok(l->name) ? "value" : "name");
        buf_go_quote(&text, name_ok(l->name) ? l->value : l->name);
        refuse(why, "", buf_str(&text));
        return false;
    }
    return true;
}

/* As the reference merges: overlapping in time, the earliest start counts, and the latest end that somebody stated. */
static void merge(struct am_alert *v, const struct alert *old, int64_t now_ms)
{
    const struct am_alert *o = &old->v;
    bool overlaps = (v->ends_ms > o->starts_ms && v->ends_ms < o->ends_ms) ||
                    (v->starts_ms > o->starts_ms && v->starts_ms < o->ends_ms);
    if (!overlaps)
        return;
    if (o->starts_ms < v->starts_ms)
        v->starts_ms = o->starts_ms;
    if (v->ends_ms <= now_ms ? o->ends_ms <= now_ms && o->ends_ms > v->ends_ms
                             : o->ends_ms > v->ends_ms && !old->timed_out)
        v->ends_ms = o->ends_ms;
}

/* It goes on as it was: only its end and its annotations may have changed. */
static bool goes_on(const struct alert *old, const struct am_alert *v, bool timed_out, int64_t now_ms)
{
    return !alert_resolved(old, now_ms) && v->ends_ms > now_ms && v->starts_ms == old->v.starts_ms &&
           v->ends_ms >= old->saved_ends_ms && old->saved_ends_ms > now_ms && timed_out == old->timed_out;
}

/* The history of one that was taken. */
static void tell(struct am *am, struct alert *al, bool was_firing, int64_t now_ms)
{
    bool fires = !alert_resolved(al, now_ms);
    if (fires && !was_firing)
        am_event_alert(am, AM_EV_RECEIVED, al, NULL, STR(""), now_ms);
    if (!fires && !al->ended) {
        am_event_alert(am, AM_EV_RESOLVED, al, NULL, STR("its sender says so"), now_ms);
        am_ack_end(am, al, STR(""), STR("the alert ended"), now_ms);
    }
    al->ended = !fires;
}

static void take(struct am *am, struct am_alert v, bool timed_out, int64_t now_ms)
{
    struct alert **slot = alert_map_get(&am->alerts, v.fingerprint), *al;
    bool is_new = !slot;
    struct arena a;
    al = is_new ? am_alert_new(am, v.fingerprint) : *slot;
    if (!is_new)
        merge(&v, al, now_ms);
    else
        al->ended = true;
    bool was_firing = !is_new && !al->ended, write = is_new || !goes_on(al, &v, timed_out, now_ms);
    if (!is_new && alert_resolved(al, now_ms) != (v.ends_ms <= now_ms))
        am_flap_note(am, al, now_ms);
    arena_init(&a, 0);
    v.labels = labels_copy(&a, v.labels);
    v.annotations = labels_copy(&a, v.annotations);
    v.generator_url = arena_str(&a, v.generator_url);
    v.updated_ms = is_new || al->v.updated_ms < now_ms ? now_ms : al->v.updated_ms + 1;
    arena_deinit(&al->a);
    al->a = a;
    al->v = v;
    al->timed_out = timed_out;
    if (alert_resolved(al, now_ms)) {
        am_inhibitor_resolve(am->inhibitor, v.fingerprint);
    } else {
        am_inhibitor_fire(am->inhibitor, v.fingerprint, v.labels);
        am->next_end_ms = MIN(am->next_end_ms, v.ends_ms);
    }
    if (write)
        am_row_alert(am, al);
    tell(am, al, was_firing, now_ms);
    am_dispatch_alert(am, al, now_ms);
}

static bool check(struct am_alert *v, bool *ret_timed_out, int64_t resolve_ms, struct arena *a, int64_t now_ms,
                  struct buf *why)
{
    struct label_builder b;
    lb_init(&b, a);
    lb_reset(&b, LABELS_NONE);
    if (!pairs_ok(v->labels, "label", why) || !pairs_ok(v->annotations, "annotation", why))
        return false;
    labels_each (l, v->labels)
        lb_set(&b, l->name, l->value); /* drops empty values, sorts */
    v->labels = lb_labels(&b);
    v->fingerprint = am_fingerprint(v->labels);
    *ret_timed_out = !v->ends_ms;
    if (!v->starts_ms)
        v->starts_ms = v->ends_ms ? v->ends_ms : now_ms;
    if (!v->ends_ms)
        v->ends_ms = now_ms + resolve_ms;
    if (!v->labels.n)
        refuse(why, "at least one label pair required", STR(""));
    else if (v->ends_ms < v->starts_ms)
        refuse(why, "start time must be before end time", STR(""));
    else
        return true;
    return false;
}

enum err am_take(struct am *am, const struct am_alert *alerts, size_t n, int64_t now_ms, size_t *ret_rejected,
                 struct buf *why)
{
    AUTO_ARENA struct arena a;
    size_t rejected = 0;
    arena_init(&a, 0);
    mtx_lock(&am->mu);
    for (size_t i = 0; i < n; i++) {
        struct am_alert v = alerts[i];
        bool timed_out, ok = check(&v, &timed_out, am->cfg->global.resolve_timeout_ms, &a, now_ms, why);
        if (ok && am->alerts.n >= AM_ALERTS_MAX && !alert_map_get(&am->alerts, v.fingerprint)) {
            refuse(why, "too many alerts are active", STR(""));
            ok = false;
        }
        if (ok)
            take(am, v, timed_out, now_ms);
        rejected += !ok;
    }
    if (am->alerts.n && (now_ms >= am->alive_ms + AM_ALIVE_MS || now_ms < am->alive_ms))
        am_row_alive(am, now_ms);
    mtx_unlock(&am->mu);
    stat_add(&received, (int64_t)(n - rejected));
    stat_add(&invalid, (int64_t)rejected);
    if (ret_rejected)
        *ret_rejected = rejected;
    return rejected ? ERR_INVALID : OK;
}

enum err am_post(struct am *am, const struct am_alert *alerts, size_t n, int64_t now_ms, size_t *ret_rejected,
                 struct buf *why)
{
    struct err_text text;
    enum err e = am_take(am, alerts, n, now_ms, ret_rejected, why);
    enum err stored = am_state_wait(am->state, AM_FACTS, am_state_mark(am->state, AM_FACTS), &text);
    if (stored)
        refuse(why, "not stored: ", str_c(text.msg));
    return stored ? stored : e;
}

/* ---- life ---- */
static void am_empty(struct am *am)
{
    map_each (alert_map, s, &am->alerts)
        am_alert_unref(s->value);
    alert_map_free(&am->alerts);
    map_each (log_map, s, &am->log) {
        mem_free((void *)(uintptr_t)s->value.key.p);
        mem_free((void *)(uintptr_t)s->value.memory.p);
        mem_free(s->value.firing.p);
    }
    log_map_free(&am->log);
    for (size_t i = 0; i < am->silences.n; i++)
        am_silence_free(am->silences.p[i]);
    vec_free(&am->silences);
    timer_map_free(&am->timers);
}

/* What there was before goes on: groups are made anew, with their timers. */
static void go_on(struct am *am, int64_t now_ms)
{
    am->quiet = true;
    map_each (alert_map, s, &am->alerts)
        if (!alert_resolved(s->value, now_ms)) {
            am_inhibitor_fire(am->inhibitor, s->key, s->value->v.labels);
            am->next_end_ms = MIN(am->next_end_ms, s->value->v.ends_ms);
        }
    map_each (alert_map, s, &am->alerts)
        am_dispatch_alert(am, s->value, now_ms);
    am->quiet = false;
    map_each (timer_map, t, &am->timers)
        if (!t->value.used)
            am_row_group_gone(am, t->key);
    timer_map_free(&am->timers);
    if (am->alerts.n)
        am_row_alive(am, now_ms);
    if (am->alerts.n || am->silences.n)
        LOG_INFO("alerting goes on", "alerts", LOG_I64(am->alerts.n), "groups", LOG_I64(am->groups.n), "silences",
                 LOG_I64(am->silences.n));
}

static enum err take_up(struct am *am, struct control *control, int64_t now_ms, struct err_text *reterr)
{
    const struct am_options *o = &am->opt;
    const struct am_state_options opt = {
        .history_rows_max = o->history_rows_max ? o->history_rows_max : AM_HISTORY_ROWS_MAX,
        .history_retention_ms = o->history_retention_ms ? o->history_retention_ms : AM_HISTORY_RETENTION_MS,
    };
    TRY(am_rows_attach(control, reterr));
    enum err e = am_rows_load(am, control, now_ms, reterr);
    if (e) {
        am_empty(am);
        return e;
    }
    am->control = control;
    return am_state_open(control, &opt, &am->state);
}

enum err am_open(const struct am_options *opt, struct am_config *cfg, int64_t now_ms, struct am **ret)
{
    struct am *am = mem_zalloc(sizeof(*am));
    enum err e = OK;
    mtx_init(&am->mu, 150);
    am->opt = *opt;
    am->cfg = am_config_ref(cfg);
    am->inhibitor = am_inhibitor_new(&cfg->inhibit);
    am->alert_gc_ms = now_ms + AM_ALERT_GC_MS;
    am->group_gc_ms = now_ms + AM_GROUP_GC_MS;
    am->next_end_ms = INT64_MAX;
    am->round.next_ms = INT64_MAX;
    am->opened_ms = now_ms;
    if (opt->control && take_up(am, opt->control, now_ms, &am->broken) != OK)
        LOG_ERROR(
            "the state of alerting cannot be read: alerting begins anew and is in memory only, a restart forgets it",
            "err", am->broken.msg);
    if (!am->state) {
        e = control_open(NULL, &am->own_control, NULL);
        e = e ? e : take_up(am, am->own_control, now_ms, NULL);
    }
    if (e) {
        am_close(am);
        return e;
    }
    am->facts = opt->facts;
    am->own_facts = !opt->facts;
    if (am->own_facts && am_policy_state_open(am->control, &am->facts, &am->broken) != OK) {
        LOG_ERROR("escalations, digests and heartbeats begin anew and are in memory only", "err", am->broken.msg);
        IGNORE_ERR(am_policy_state_open(NULL, &am->facts, NULL)); /* nothing can fail without a database */
    }
    go_on(am, now_ms);
    *ret = am;
    return OK;
}

enum err am_durable(struct am *am, struct err_text *reterr)
{
    if (am->broken.msg[0])
        return err_fail(reterr, ERR_CORRUPT, "%s", am->broken.msg);
    if (!control_durable(am->control))
        return err_fail(reterr, ERR_UNSUPPORTED, "the control database is in memory");
    return am_state_health(am->state, reterr);
}

void am_close(struct am *am)
{
    if (!am)
        return;
    am_groups_clear(am);
    for (size_t i = 0; i < am->waiting.n; i++)
        am_pending_end(am, am->waiting.p[i]);
    air_map_free(&am->air);
    am_inhibitor_free(am->inhibitor);
    am_empty(am);
    am_state_close(am->state);
    known_map_free(&am->known);
    vec_free(&am->waiting);
    am_config_unref(am->cfg);
    if (am->own_facts)
        am_policy_state_close(am->facts);
    control_close(am->own_control);
    mtx_deinit(&am->mu);
    mem_free(am);
}

void am_reload(struct am *am, struct am_config *cfg, int64_t now_ms)
{
    mtx_lock(&am->mu);
    struct am_config *old = am->cfg;
    map_each (group_map, g, &am->groups)
        map_each (member_map, m, &g->value->members)
            known_map_put(&am->known, am_known_key(g->value, m->key), NULL);
    am_groups_clear(am);
    am_rows_no_groups(am);
    am_inhibitor_free(am->inhibitor);
    am->cfg = am_config_ref(cfg);
    am->inhibitor = am_inhibitor_new(&cfg->inhibit);
    map_each (alert_map, s, &am->alerts) {
        s->value->n_routes = 0;
        if (!alert_resolved(s->value, now_ms))
            am_inhibitor_fire(am->inhibitor, s->key, s->value->v.labels);
    }
    map_each (alert_map, s, &am->alerts)
        am_dispatch_alert(am, s->value, now_ms);
    known_map_free(&am->known);
    mtx_unlock(&am->mu);
    am_config_unref(old);
}

struct am_config *am_config_in_use(struct am *am)
{
    mtx_lock(&am->mu);
    struct am_config *c = am_config_ref(am->cfg);
    mtx_unlock(&am->mu);
    return c;
}

/* ---- looking ---- */
static struct am_alert copy(struct arena *a, const struct am_alert *v)
{
    struct am_alert c = *v;
    c.labels = labels_copy(a, v->labels);
    c.annotations = labels_copy(a, v->annotations);
    c.generator_url = arena_str(a, v->generator_url);
    return c;
}

static void view(struct am *am, struct alert *al, int64_t now_ms, struct arena *a, struct am_alert_view *ret)
{
    const struct am_route **routes;
    uint64_t by[64];
    size_t n = am_alert_routes(am, al, &routes);
    str *receivers = arena_array(a, str, n + 1), *ids = NULL;
    for (size_t i = 0; i < n; i++)
        receivers[i] = arena_str(a, routes[i]->receiver);
    size_t n_by = MIN(am_inhibited(am->inhibitor, al->v.labels, by, ARRAY_LEN(by)), ARRAY_LEN(by));
    uint64_t *inhibited = arena_array(a, uint64_t, n_by + 1);
    memcpy(inhibited, by, n_by * sizeof(*by));
    size_t n_ids = am_silenced(am, al->v.labels, now_ms, a, &ids);
    *ret = (struct am_alert_view){ copy(a, &al->v), receivers, n, ids, n_ids, inhibited, n_by };
}

static int cmp_view(const void *x, const void *y)
{
    const struct am_alert_view *a = x, *b = y;
    return a->alert.fingerprint < b->alert.fingerprint ? -1 : a->alert.fingerprint > b->alert.fingerprint;
}

static void views(struct am *am, int64_t now_ms, struct arena *a, struct am_alert_view **ret, size_t *ret_n)
{
    struct am_alert_view *p = arena_array(a, struct am_alert_view, am->alerts.n + 1);
    size_t n = 0;
    map_each (alert_map, s, &am->alerts)
        if (!alert_resolved(s->value, now_ms))
            view(am, s->value, now_ms, a, &p[n++]);
    if (n)
        qsort(p, n, sizeof(*p), cmp_view);
    *ret = p;
    *ret_n = n;
}

void am_alerts(struct am *am, int64_t now_ms, struct arena *a, struct am_alert_view **ret, size_t *ret_n)
{
    mtx_lock(&am->mu);
    views(am, now_ms, a, ret, ret_n);
    mtx_unlock(&am->mu);
}

static int cmp_row(const void *x, const void *y)
{
    return cmp_view(*(const struct am_alert_view *const *)x, *(const struct am_alert_view *const *)y);
}

static int cmp_group(const void *x, const void *y)
{
    const struct am_group_view *a = x, *b = y;
    int c = labels_cmp(a->labels, b->labels);
    return c ? c : str_cmp(a->receiver, b->receiver);
}

void am_groups(struct am *am, int64_t now_ms, struct arena *a, struct am_group_view **ret, size_t *ret_n)
{
    struct am_alert_view *rows;
    size_t n_rows, n = 0;
    mtx_lock(&am->mu);
    views(am, now_ms, a, &rows, &n_rows);
    struct am_group_view *p = arena_zarray(a, struct am_group_view, am->groups.n + 1);
    map_each (group_map, s, &am->groups) {
        struct group *g = s->value;
        struct am_group_view *v = &p[n];
        v->alerts = arena_array(a, const struct am_alert_view *, g->members.n + 1);
        v->n = 0;
        map_each (member_map, m, &g->members) {
            struct am_alert_view key = { .alert.fingerprint = m->key };
            const struct am_alert_view *row = n_rows ? bsearch(&key, rows, n_rows, sizeof(*rows), cmp_view) : NULL;
            if (row)
                v->alerts[v->n++] = row;
        }
        if (!v->n)
            continue;
        qsort(v->alerts, v->n, sizeof(*v->alerts), cmp_row);
        v->labels = labels_copy(a, g->labels);
        v->receiver = arena_str(a, g->route->receiver);
        v->key = arena_str(a, g->key);
        v->muted = am_route_muted(am, g->route, now_ms);
        n++;
    }
    mtx_unlock(&am->mu);
    if (n)
        qsort(p, n, sizeof(*p), cmp_group);
    *ret = p;
    *ret_n = n;
}
