/* Groups and their turns: what is due, what is muted, what was said already, what is said now. */
#include <stdlib.h>

#include "alerting/am_int.h"
#include "base/log.h"
#include "base/stats.h"

static struct stat sent = STAT_COUNTER("vane_alertmanager_notifications_total", "Messages that a receiver took", "");
static struct stat failed =
    STAT_COUNTER("vane_alertmanager_notifications_failed_total", "Messages given up until the group's next turn", "");
static struct stat retried =
    STAT_COUNTER("vane_alertmanager_notification_retries_total", "Attempts that failed and were repeated", "");
static struct stat suppressed =
    STAT_COUNTER("vane_alertmanager_notifications_suppressed_total", "Alerts left out of a group's turn", "");
static struct stat passed_over =
    STAT_COUNTER("vane_alertmanager_routes_passed_over_total", "Routes beyond the bound for one alert", "");
static struct stat no_group =
    STAT_COUNTER("vane_alertmanager_groups_refused_total", "Groups not made: there are too many", "");

/* ---- groups ---- */
static void print_labels(struct buf *out, struct labels ls)
{
    const char *sep = "";
    buf_u8(out, '{');
    labels_each (l, ls) {
        buf_printf(out, "%s" STR_FMT "=", sep, STR_ARG(l->name));
        buf_go_quote(out, l->value);
        sep = ", ";
    }
    buf_u8(out, '}');
}

static struct group *group_of(struct am *am, const struct am_route *r, struct labels ls, int64_t now_ms)
{
    struct arena a;
    arena_init(&a, 0);
    struct labels by = am_route_group(r, ls, &a);
    struct group_id id = { am_fingerprint(by), r->index };
    struct group **slot = group_map_get(&am->groups, id), *g;
    if (slot || am->groups.n >= AM_GROUPS_MAX) {
        if (!slot)
            stat_add(&no_group, 1);
        arena_deinit(&a);
        return slot ? *slot : NULL;
    }
    AUTO_BUF struct buf key;
    buf_init(&key, 0);
    g = mem_zalloc(sizeof(*g));
    g->labels = labels_copy(&a, by);
    g->route = r;
    g->id = id.labels;
    g->next_ms = am_policy_first_turn(r, now_ms);
    buf_str_add(&key, r->key);
    buf_u8(&key, ':');
    print_labels(&key, g->labels);
    g->key = arena_str(&a, buf_str(&key));
    g->a = a;
    *group_map_put(&am->groups, id, NULL) = g;
    return g;
}

static void group_free(struct group *g)
{
    if (g->flight)
        g->flight->group = NULL;
    map_each (alert_map, m, &g->members)
        am_alert_unref(m->value);
    alert_map_free(&g->members);
    arena_deinit(&g->a);
    mem_free(g);
}

void am_groups_clear(struct am *am)
{
    map_each (group_map, s, &am->groups)
        group_free(s->value);
    group_map_free(&am->groups);
}

void am_dispatch_alert(struct am *am, struct alert *al, int64_t now_ms)
{
    const struct am_route *routes[AM_ROUTES_PER_ALERT];
    size_t n = am_config_routes(am->cfg, al->v.labels, routes, AM_ROUTES_PER_ALERT);
    if (n > AM_ROUTES_PER_ALERT) {
        stat_add(&passed_over, (int64_t)(n - AM_ROUTES_PER_ALERT));
        n = AM_ROUTES_PER_ALERT;
    }
    for (size_t i = 0; i < n; i++) {
        bool is_new;
        struct group *g = group_of(am, routes[i], al->v.labels, now_ms);
        if (!g)
            continue;
        struct alert **slot = alert_map_put(&g->members, al->v.fingerprint, &is_new);
        if (is_new) {
            *slot = al;
            al->refs++;
        }
        am_policy_joined(am, g, al, now_ms);
    }
}

bool am_route_muted(const struct am *am, const struct am_route *r, int64_t now_ms)
{
    return am_config_muted(am->cfg, r, now_ms);
}

/* ---- order of alerts in a message ---- */
int am_alert_cmp(const void *x, const void *y)
{
    const struct am_alert *a = x, *b = y;
    for (int k = 0; k < 2; k++) {
        str va = labels_get(a->labels, k ? STR("instance") : STR("job")),
            vb = labels_get(b->labels, k ? STR("instance") : STR("job"));
        if (!va.p && !vb.p)
            continue;
        if (!va.p || !vb.p)
            return va.p ? -1 : 1;
        int c = str_cmp(va, vb);
        if (c)
            return c;
    }
    return a->labels.n != b->labels.n ? (a->labels.n < b->labels.n ? -1 : 1) : labels_cmp(a->labels, b->labels);
}

/* ---- the log ---- */
static int cmp_u64(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return a < b ? -1 : a > b;
}

static bool is_subset(const struct fingerprints *part, const struct fingerprints *whole)
{
    size_t k = 0;
    for (size_t i = 0; i < part->n; i++) {
        while (k < whole->n && whole->p[k] < part->p[i])
            k++;
        if (k == whole->n || whole->p[k] != part->p[i])
            return false;
    }
    return true;
}

static bool needs_message(const struct log_entry *e, const struct pending *p, bool send_resolved, int64_t now_ms)
{
    if (p->digest)
        return p->firing.n || p->resolved.n;
    if (!e)
        return p->firing.n > 0;
    if (!is_subset(&p->firing, &e->firing))
        return true;
    if (!p->firing.n)
        return e->firing.n > 0;
    if (send_resolved && !is_subset(&p->resolved, &e->resolved))
        return true;
    return e->sent_ms < now_ms - p->repeat_ms;
}

static void log_message(struct am *am, const struct pending *p, int64_t now_ms)
{
    bool is_new;
    struct log_entry *e = log_map_get(&am->log, p->log_key);
    if (!e) {
        AUTO_BUF struct buf key;
        buf_init(&key, 0);
        buf_str_add(&key, p->log_key);
        str owned = buf_detach(&key);
        e = log_map_put(&am->log, owned, &is_new);
        e->key = owned;
    }
    uint64_t *block = mem_alloc((p->firing.n + p->resolved.n + 1) * sizeof(*block));
    mem_free(e->firing.p);
    memcpy(block, p->firing.p, p->firing.n * sizeof(*block));
    memcpy(block + p->firing.n, p->resolved.p, p->resolved.n * sizeof(*block));
    e->firing = (struct fingerprints){ block, p->firing.n };
    e->resolved = (struct fingerprints){ block + p->firing.n, p->resolved.n };
    e->sent_ms = now_ms;
    e->expires_ms = now_ms + MAX(2 * p->repeat_ms, AM_RETENTION_MS);
    if (!p->firing.n || p->n.delivery.memory[0]) { /* no alert fires: what comes next is another story */
        mem_free((void *)(uintptr_t)e->memory.p);
        e->memory = p->firing.n ? mem_dup(str_c(p->n.delivery.memory)) : STR_NONE;
    }
}

static void log_gc(struct am *am, int64_t now_ms)
{
    VEC(str) old = { 0 };
    map_each (log_map, s, &am->log)
        if (s->value.expires_ms < now_ms)
            vec_push(&old, s->key);
    for (size_t i = 0; i < old.n; i++) {
        struct log_entry e = *log_map_get(&am->log, old.p[i]);
        log_map_del(&am->log, old.p[i]);
        mem_free((void *)(uintptr_t)e.key.p);
        mem_free((void *)(uintptr_t)e.memory.p);
        mem_free(e.firing.p);
    }
    vec_free(&old);
}

/* ---- a group's turn ---- */
struct turn {
    struct arena a;
    struct am_alert *alerts; /* not muted; ends_ms 0 while firing */
    size_t n;
    int64_t now_ms;
};

static bool is_suppressed(const struct am *am, struct labels ls, int64_t now_ms)
{
    uint64_t by;
    return am_inhibited(am->inhibitor, ls, &by, 1) || am_silenced(am, ls, now_ms, NULL, NULL);
}

static str log_key(struct arena *a, const struct group *g, const struct am_receiver *receiver,
                   const struct am_integration *in)
{
    return arena_printf(a, STR_FMT ":" STR_FMT "/%s/%zu", STR_ARG(g->key), STR_ARG(receiver->name),
                        am_kind_name(in->kind), in->index);
}

static bool contains(const struct fingerprints *f, uint64_t fp)
{
    return f->n && bsearch(&fp, f->p, f->n, sizeof(fp), cmp_u64);
}

static bool was_told_of(struct am *am, const struct group *g, uint64_t fp, struct arena *a)
{
    const struct am_receiver *r = am_config_receiver(am->cfg, g->route->receiver);
    for (size_t i = 0; i < r->n_integrations; i++) {
        const struct log_entry *e = log_map_get(&am->log, log_key(a, g, r, &r->integrations[i]));
        if (e && contains(&e->firing, fp))
            return true;
    }
    return false;
}

/* An alert that ended is shown as firing still: it flaps, or ended less than resolve_wait ago. */
static bool is_kept(struct am *am, const struct group *g, struct turn *t, struct am_alert *v)
{
    int64_t wait_ms = am_policy_resolve_wait_ms(am->cfg->policy, g->route);
    return v->flapping || (wait_ms && v->ends_ms + wait_ms > t->now_ms && was_told_of(am, g, v->fingerprint, &t->a));
}

static void mark_flapping(struct am *am, const struct alert *al, struct turn *t, struct am_alert *v)
{
    struct label_builder b;
    v->flapping = am_flapping(am, al, t->now_ms);
    if (!v->flapping)
        return;
    lb_init(&b, &t->a);
    lb_reset(&b, v->annotations);
    lb_set(&b, STR("flapping"), am_flap_text(am, al, t->now_ms, &t->a));
    v->annotations = lb_labels(&b);
}

static void gather(struct am *am, struct group *g, struct flight *f, struct turn *t)
{
    bool muted = am_route_muted(am, g->route, t->now_ms);
    t->alerts = arena_array(&t->a, struct am_alert, g->members.n + 1);
    map_each (alert_map, m, &g->members) {
        struct am_alert v = m->value->v;
        mark_flapping(am, m->value, t, &v);
        if (alert_resolved(m->value, t->now_ms) && !is_kept(am, g, t, &v)) {
            struct resolved_alert r = { v.fingerprint, v.updated_ms };
            vec_push(&f->resolved, r);
        } else {
            v.ends_ms = 0;
        }
        if (muted || is_suppressed(am, v.labels, t->now_ms))
            stat_add(&suppressed, 1);
        else if (am_policy_says(am, g, &v, t->now_ms))
            t->alerts[t->n++] = v;
    }
    if (t->n)
        qsort(t->alerts, t->n, sizeof(*t->alerts), am_alert_cmp);
}

#define FLAPPING_BITS 0xf1a9f1a9f1a9f1a9u /* that an alert flaps is news, and that it does no more */
static uint64_t told_as(const struct am_alert *v)
{
    return v->fingerprint ^ (v->flapping ? FLAPPING_BITS : 0);
}

static struct am_changes changes_of(const struct log_entry *e, const struct turn *t)
{
    static const struct fingerprints none;
    const struct fingerprints *firing = e ? &e->firing : &none, *resolved = e ? &e->resolved : &none;
    struct am_changes c = { 0 };
    for (size_t i = 0; i < t->n; i++) {
        uint64_t fp = t->alerts[i].fingerprint;
        bool knew = contains(firing, fp) || contains(firing, fp ^ FLAPPING_BITS);
        if (t->alerts[i].ends_ms)
            c.n_resolved += !contains(resolved, fp);
        else if (knew)
            c.n_unchanged++;
        else
            c.n_new++;
    }
    return c;
}

static struct fingerprints fingerprints_of(struct arena *a, const struct turn *t, bool resolved)
{
    struct fingerprints f = { arena_array(a, uint64_t, t->n + 1), 0 };
    for (size_t i = 0; i < t->n; i++)
        if ((t->alerts[i].ends_ms != 0) == resolved)
            f.p[f.n++] = told_as(&t->alerts[i]);
    if (f.n)
        qsort(f.p, f.n, sizeof(*f.p), cmp_u64);
    return f;
}

static void fill_notice(struct pending *p, const struct group *g, const struct turn *t,
                        const struct am_receiver *receiver, const struct am_integration *in, bool send_resolved)
{
    struct arena *a = &p->a;
    struct am_alert *alerts = arena_array(a, struct am_alert, t->n + 1);
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) {
        struct am_alert v = t->alerts[i];
        if (v.ends_ms && !send_resolved)
            continue;
        v.labels = labels_copy(a, v.labels);
        v.annotations = labels_copy(a, v.annotations);
        v.generator_url = arena_str(a, v.generator_url);
        alerts[n++] = v;
    }
    uint64_t h = hash64(p->log_key);
    for (size_t i = 0; i < p->firing.n + p->resolved.n; i++) {
        uint64_t v[2] = { h, i < p->firing.n ? p->firing.p[i] : ~p->resolved.p[i - p->firing.n] };
        h = hash64(str_n((const char *)v, sizeof(v)));
    }
    uint64_t with_time[2] = { h, (uint64_t)t->now_ms };
    p->n = (struct am_notice){ .receiver = receiver,
                               .integration = in,
                               .group_key = arena_str(a, g->key),
                               .group_labels = labels_copy(a, g->labels),
                               .route_labels = labels_copy(a, g->route->labels),
                               .alerts = alerts,
                               .n_alerts = n,
                               .n_firing = p->firing.n,
                               .idempotency = hash64(str_n((const char *)with_time, sizeof(with_time))),
                               .now_ms = t->now_ms };
}

static void pending_free(struct pending *p)
{
    arena_deinit(&p->a);
    mem_free(p);
}

/* What one integration has to be told; NULL: nothing. */
static struct pending *message(struct am *am, struct group *g, const struct turn *t, const struct am_receiver *receiver,
                               const struct am_integration *in)
{
    struct pending *p = mem_zalloc(sizeof(*p));
    bool send_resolved = in->of->send_resolved;
    arena_init(&p->a, 0);
    p->log_key = log_key(&p->a, g, receiver, in);
    p->digest = am_policy_is_digest(g->route);
    p->firing = fingerprints_of(&p->a, t, false);
    p->resolved = fingerprints_of(&p->a, t, true);
    p->repeat_ms = g->route->repeat_interval_ms;
    p->pause_ms = 500;
    if (!needs_message(log_map_get(&am->log, p->log_key), p, send_resolved, t->now_ms)) {
        pending_free(p);
        return NULL;
    }
    if (air_map_get(&am->air, p->log_key)) { /* of the tree before a reload: what comes of it is not known yet */
        g->flight->failed = true;
        pending_free(p);
        return NULL;
    }
    if (!send_resolved && !p->firing.n) { /* nobody wants to hear it, but the next turn must know */
        log_message(am, p, t->now_ms);
        pending_free(p);
        return NULL;
    }
    fill_notice(p, g, t, receiver, in, send_resolved);
    const struct log_entry *before = log_map_get(&am->log, p->log_key);
    p->n.changes = changes_of(before, t);
    p->n.memory = before && before->memory.n ? arena_str(&p->a, before->memory) : STR("");
    return p;
}

static void flight_end(struct flight *f)
{
    struct group *g = f->group;
    if (g) {
        g->flight = NULL;
        for (size_t i = 0; i < f->resolved.n && !f->failed; i++) {
            struct alert **al = alert_map_get(&g->members, f->resolved.p[i].fingerprint);
            if (!al || (*al)->v.updated_ms != f->resolved.p[i].updated_ms)
                continue; /* fires again: the next turn tells */
            am_alert_unref(*al);
            alert_map_del(&g->members, f->resolved.p[i].fingerprint);
        }
    }
    vec_free(&f->resolved);
    am_config_unref(f->cfg);
    mem_free(f);
}

void am_pending_end(struct am *am, struct pending *p)
{
    air_map_del(&am->air, p->log_key);
    if (--p->flight->n_pending == 0)
        flight_end(p->flight);
    pending_free(p);
}

struct outbox {
    VEC(struct pending *) v;
};

static void flush(struct am *am, struct group *g, int64_t now_ms, struct outbox *out)
{
    struct turn t = { .now_ms = now_ms };
    struct flight *f = mem_zalloc(sizeof(*f));
    const struct am_receiver *receiver = am_config_receiver(am->cfg, g->route->receiver);
    arena_init(&t.a, 0);
    f->group = g;
    f->cfg = am_config_ref(am->cfg);
    f->deadline_ms = now_ms + MAX(g->route->group_interval_ms, AM_FLUSH_TIMEOUT_MS);
    g->flight = f;
    g->flushed = true;
    g->next_ms = am_policy_next_turn(am, g->route, now_ms);
    gather(am, g, f, &t);
    for (size_t i = 0; t.n && i < receiver->n_integrations; i++) {
        struct pending *p = message(am, g, &t, receiver, &receiver->integrations[i]);
        if (!p)
            continue;
        p->flight = f;
        f->n_pending++;
        *air_map_put(&am->air, p->log_key, NULL) = p;
        vec_push(&out->v, p);
    }
    if (!f->n_pending)
        flight_end(f);
    arena_deinit(&t.a);
}

void am_sent(struct am *am, struct am_notice *n, enum am_outcome o, int64_t now_ms)
{
    struct pending *p = (struct pending *)(void *)n;
    struct flight *f = p->flight;
    mtx_lock(&am->mu);
    int64_t pause_ms = MAX(p->pause_ms, n->delivery.retry_in_ms);
    if (o == AM_RETRY && now_ms + pause_ms < f->deadline_ms) {
        stat_add(&retried, 1);
        p->retry_ms = now_ms + pause_ms;
        p->pause_ms = MIN(p->pause_ms + p->pause_ms / 2, 60000);
        vec_push(&am->waiting, p);
        mtx_unlock(&am->mu);
        return;
    }
    if (o == AM_SENT) {
        log_message(am, p, now_ms);
        stat_add(&sent, 1);
    } else {
        f->failed = true;
        stat_add(&failed, 1);
        LOG_WARN("message not delivered: the group's next turn tries again", "receiver", LOG_STR(n->receiver->name),
                 "integration", am_kind_name(n->integration->kind), "group", LOG_STR(n->group_key), "attempts",
                 LOG_I64(n->attempt));
    }
    am_pending_end(am, p);
    mtx_unlock(&am->mu);
}

/* ---- time ---- */
/* Alerts that ended no longer inhibit. */
static void end_alerts(struct am *am, int64_t now_ms)
{
    if (now_ms < am->next_end_ms)
        return;
    am->next_end_ms = INT64_MAX;
    map_each (alert_map, s, &am->alerts) {
        if (alert_resolved(s->value, now_ms))
            am_inhibitor_resolve(am->inhibitor, s->key);
        else
            am->next_end_ms = MIN(am->next_end_ms, s->value->v.ends_ms);
    }
}

static void gc(struct am *am, int64_t now_ms)
{
    VEC(uint64_t) alerts = { 0 };
    VEC(struct group *) groups = { 0 };
    if (now_ms >= am->group_gc_ms) {
        am->group_gc_ms = now_ms + AM_GROUP_GC_MS;
        map_each (group_map, s, &am->groups)
            if (!s->value->members.n && !s->value->flight)
                vec_push(&groups, s->value);
        for (size_t i = 0; i < groups.n; i++) {
            group_map_del(&am->groups, (struct group_id){ groups.p[i]->id, groups.p[i]->route->index });
            group_free(groups.p[i]);
        }
        am_silences_gc(am, now_ms);
        log_gc(am, now_ms);
        am_policy_gc(am, now_ms);
    }
    if (now_ms >= am->alert_gc_ms) {
        am->alert_gc_ms = now_ms + AM_ALERT_GC_MS;
        map_each (alert_map, s, &am->alerts)
            if (alert_resolved(s->value, now_ms))
                vec_push(&alerts, s->key);
        for (size_t i = 0; i < alerts.n; i++) {
            struct alert *al = *alert_map_get(&am->alerts, alerts.p[i]);
            alert_map_del(&am->alerts, alerts.p[i]);
            am_alert_unref(al);
        }
    }
    vec_free(&alerts);
    vec_free(&groups);
}

static void gather_due(struct am *am, int64_t now_ms, struct outbox *out)
{
    for (size_t i = am->waiting.n; i-- > 0;)
        if (am->waiting.p[i]->retry_ms <= now_ms) {
            vec_push(&out->v, am->waiting.p[i]);
            vec_remove_swap(&am->waiting, i);
        }
    map_each (group_map, s, &am->groups)
        if (s->value->next_ms <= now_ms && !s->value->flight)
            flush(am, s->value, now_ms, out);
}

static int64_t next_due(const struct am *am, int64_t now_ms)
{
    int64_t next = MIN(am->group_gc_ms, am->alert_gc_ms);
    if (am->air.n > am->waiting.n) /* an answer may make a message or a group due */
        next = MIN(next, now_ms + 200);
    for (size_t i = 0; i < am->waiting.n; i++)
        next = MIN(next, am->waiting.p[i]->retry_ms);
    map_each (group_map, s, &am->groups)
        if (!s->value->flight)
            next = MIN(next, s->value->next_ms);
    return next;
}

int64_t am_tick(struct am *am, int64_t now_ms)
{
    struct outbox out = { 0 };
    int64_t heartbeat_ms = am_heartbeat_tick(am, now_ms);
    mtx_lock(&am->mu);
    end_alerts(am, now_ms);
    gc(am, now_ms);
    gather_due(am, now_ms, &out);
    mtx_unlock(&am->mu);
    am_policy_save(am);
    for (size_t i = 0; i < out.v.n; i++) {
        out.v.p[i]->n.attempt++;
        am->opt.send(am->opt.ctx, &out.v.p[i]->n);
    }
    vec_free(&out.v);
    mtx_lock(&am->mu);
    int64_t next = next_due(am, now_ms);
    mtx_unlock(&am->mu);
    return MIN(next, heartbeat_ms);
}
