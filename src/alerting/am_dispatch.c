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
static struct stat held = STAT_COUNTER("vane_alertmanager_notifications_held_total",
                                       "Repetitions left out, as all that fires is acknowledged", "");
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
    struct timer *before = timer_map_get(&am->timers, am_timer_key(r, g->id));
    if (before) {
        g->next_ms = before->next_ms;
        g->flushed = before->flushed;
        before->used = true;
    } else {
        am_row_group(am, g);
    }
    *group_map_put(&am->groups, id, NULL) = g;
    return g;
}

static void group_free(struct group *g)
{
    if (g->flight)
        g->flight->group = NULL;
    map_each (member_map, m, &g->members)
        am_alert_unref(m->value.al);
    member_map_free(&g->members);
    arena_deinit(&g->a);
    mem_free(g);
}

void am_groups_clear(struct am *am)
{
    map_each (group_map, s, &am->groups)
        group_free(s->value);
    group_map_free(&am->groups);
}

uint64_t am_known_key(const struct group *g, uint64_t fingerprint)
{
    return hash64_seed(g->key, hash64_seed(g->route->receiver, fingerprint));
}

static int cmp_u64(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return a < b ? -1 : a > b;
}

str am_log_key(struct arena *a, const struct group *g, const struct am_receiver *receiver,
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
        const struct log_entry *e = log_map_get(&am->log, am_log_key(a, g, r, &r->integrations[i]));
        if (e && contains(&e->firing, fp))
            return true;
    }
    return false;
}

#define FLAPPING_BITS 0xf1a9f1a9f1a9f1a9u /* that an alert flaps is news, and that it does no more */

/* Of an alert that ended before a restart: is there somebody who was not told? */
static bool is_untold(const struct am *am, const struct group *g, const struct alert *al)
{
    AUTO_ARENA struct arena a;
    const struct am_receiver *receiver = am_config_receiver(am->cfg, g->route->receiver);
    uint64_t fp = al->v.fingerprint;
    arena_init(&a, 0);
    for (size_t i = 0; i < receiver->n_integrations; i++) {
        const struct log_entry *e = log_map_get(&am->log, am_log_key(&a, g, receiver, &receiver->integrations[i]));
        if (e && (contains(&e->firing, fp) || contains(&e->tried, fp) || contains(&e->firing, fp ^ FLAPPING_BITS) ||
                  al->v.updated_ms > e->flush_ms))
            return true;
    }
    return false;
}

/* An alert is in a group, for the first time or still. */
static void join(struct am *am, struct group *g, struct alert *al, int64_t now_ms)
{
    bool is_new;
    if (am->quiet && alert_resolved(al, now_ms) && !is_untold(am, g, al))
        return;
    struct member *m = member_map_put(&g->members, al->v.fingerprint, &is_new);
    int64_t before_ms = g->next_ms;
    if (is_new) {
        m->al = al;
        al->refs++;
    }
    if (!timer_map_get(&am->timers, am_timer_key(g->route, g->id))) /* not one that goes on where it was */
        am_policy_joined(am, g, al, now_ms);
    if (!am->quiet && !g->flight && (g->next_ms != before_ms || (is_new && g->flushed)))
        am_row_group(am, g);
    if (is_new && !known_map_get(&am->known, am_known_key(g, al->v.fingerprint)))
        am_event_alert(am, AM_EV_GROUPED, al, g, STR(""), now_ms);
}

/* An alert's labels never change, so the tree is asked once for each configuration. */
size_t am_alert_routes(const struct am *am, struct alert *al, const struct am_route ***ret)
{
    if (!al->n_routes) {
        const struct am_route *routes[AM_ROUTES_PER_ALERT];
        size_t n = am_config_routes(am->cfg, al->v.labels, routes, AM_ROUTES_PER_ALERT);
        if (n > AM_ROUTES_PER_ALERT) {
            stat_add(&passed_over, (int64_t)(n - AM_ROUTES_PER_ALERT));
            n = AM_ROUTES_PER_ALERT;
        }
        al->routes = mem_realloc(al->routes, n * sizeof(*routes));
        memcpy(al->routes, routes, n * sizeof(*routes));
        al->n_routes = n;
    }
    *ret = al->routes;
    return al->n_routes;
}

void am_dispatch_alert(struct am *am, struct alert *al, int64_t now_ms)
{
    const struct am_route **routes;
    size_t n = am_alert_routes(am, al, &routes);
    for (size_t i = 0; i < n; i++) {
        struct group *g = group_of(am, routes[i], al->v.labels, now_ms);
        if (g)
            join(am, g, al, now_ms);
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

enum reason { NOTHING_NEW, NEWS, REPETITION };

static enum reason needs_message(const struct log_entry *e, const struct pending *p, bool send_resolved, int64_t now_ms)
{
    if (p->digest)
        return p->firing.n || p->resolved.n;
    if (!e)
        return p->firing.n ? NEWS : NOTHING_NEW;
    if (!is_subset(&p->firing, &e->firing))
        return NEWS;
    if (!p->firing.n)
        return e->firing.n || e->tried.n ? NEWS : NOTHING_NEW;
    if (send_resolved && !is_subset(&p->resolved, &e->resolved))
        return NEWS;
    return e->sent_ms < now_ms - p->repeat_ms ? REPETITION : NOTHING_NEW;
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
    e->tried = (struct fingerprints){ 0 };
    e->firing = (struct fingerprints){ block, p->firing.n };
    e->resolved = (struct fingerprints){ block + p->firing.n, p->resolved.n };
    e->sent_ms = now_ms;
    e->flush_ms = p->flush_ms;
    e->held = false;
    e->expires_ms = now_ms + MAX(2 * p->repeat_ms, AM_RETENTION_MS);
    if (!p->firing.n || p->n.delivery.memory[0]) { /* no alert fires: what comes next is another story */
        mem_free((void *)(uintptr_t)e->memory.p);
        e->memory = p->firing.n ? mem_dup(str_c(p->n.delivery.memory)) : STR_NONE;
    }
    am_row_log(am, e);
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
        am_row_log_gone(am, e.key);
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
    bool acked; /* all that fire are */
};

/* Why an alert is left out, for people. */
static void tell_left_out(struct am *am, const struct group *g, const struct member *m, int64_t now_ms)
{
    AUTO_BUF struct buf b;
    AUTO_ARENA struct arena a;
    uint64_t by;
    str *ids;
    buf_init(&b, 0);
    arena_init(&a, 0);
    if (m->why == AM_EV_INHIBITED && am_inhibited(am->inhibitor, m->al->v.labels, &by, 1)) {
        struct alert **source = alert_map_get(&am->alerts, by);
        buf_printf(&b, "by alert %016llx ", (unsigned long long)by);
        if (source)
            labels_print(&b, (*source)->v.labels);
    } else if (m->why == AM_EV_SILENCED && am_silenced(am, m->al->v.labels, now_ms, &a, &ids)) {
        buf_printf(&b, "by silence " STR_FMT, STR_ARG(ids[0]));
    } else if (m->why == AM_EV_MUTED) {
        const struct am_route *r = g->route;
        buf_printf(&b, "by time intervals of the route:");
        for (size_t i = 0; i < r->n_mute; i++)
            buf_printf(&b, " mute " STR_FMT, STR_ARG(r->mute[i]));
        for (size_t i = 0; i < r->n_active; i++)
            buf_printf(&b, " active only in " STR_FMT, STR_ARG(r->active[i]));
    }
    am_event_alert(am, m->why, m->al, g, buf_str(&b), now_ms);
}

static bool is_left_out(struct am *am, const struct group *g, struct member *m, bool muted, int64_t now_ms)
{
    enum am_event_kind why = AM_EV_RECEIVED, before = m->why;
    uint64_t by;
    if (muted)
        why = AM_EV_MUTED;
    else if (am_inhibited(am->inhibitor, m->al->v.labels, &by, 1))
        why = AM_EV_INHIBITED;
    else if (am_silenced(am, m->al->v.labels, now_ms, NULL, NULL))
        why = AM_EV_SILENCED;
    m->why = why;
    if (why != AM_EV_RECEIVED && why != before)
        tell_left_out(am, g, m, now_ms);
    return why != AM_EV_RECEIVED;
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
    t->acked = true;
    map_each (member_map, m, &g->members) {
        struct am_alert v = m->value.al->v;
        mark_flapping(am, m->value.al, t, &v);
        if (alert_resolved(m->value.al, t->now_ms) && !is_kept(am, g, t, &v)) {
            struct resolved_alert r = { v.fingerprint, v.updated_ms };
            vec_push(&f->resolved, r);
        } else {
            v.ends_ms = 0;
        }
        if (is_left_out(am, g, &m->value, muted, t->now_ms)) {
            stat_add(&suppressed, 1);
            continue;
        }
        if (!am_policy_says(am, g, m->value.al, &v, t->now_ms))
            continue;
        t->alerts[t->n++] = v;
        t->acked &= v.ends_ms || am_alert_acked(m->value.al, t->now_ms);
    }
    if (t->n)
        qsort(t->alerts, t->n, sizeof(*t->alerts), am_alert_cmp);
}

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

static void fill_notice(struct am *am, struct pending *p, const struct group *g, const struct turn *t,
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
    const struct log_entry *before = log_map_get(&am->log, p->log_key);
    uint64_t h = hash64(p->log_key);
    for (size_t i = 0; i < p->firing.n + p->resolved.n; i++) {
        uint64_t v[2] = { h, i < p->firing.n ? p->firing.p[i] : ~p->resolved.p[i - p->firing.n] };
        h = hash64(str_n((const char *)v, sizeof(v)));
    }
    uint64_t after[2] = { h, before ? (uint64_t)before->sent_ms : 0 }; /* a repetition is another message */
    p->n = (struct am_notice){ .receiver = receiver,
                               .integration = in,
                               .group_key = arena_str(a, g->key),
                               .group_labels = labels_copy(a, g->labels),
                               .route_labels = labels_copy(a, g->route->labels),
                               .alerts = alerts,
                               .n_alerts = n,
                               .n_firing = p->firing.n,
                               .idempotency = hash64(str_n((const char *)after, sizeof(after))),
                               .now_ms = t->now_ms };
}

static void pending_free(struct pending *p)
{
    arena_deinit(&p->a);
    mem_free(p);
}

static void tell_held(struct am *am, const struct group *g, const struct am_receiver *receiver, int64_t now_ms)
{
    am_history_add(am, &(struct am_event){ .at_ms = now_ms,
                                           .kind = AM_EV_HELD,
                                           .labels = g->labels,
                                           .group_key = g->key,
                                           .receiver = receiver->name });
}

/* What one integration has to be told; NULL: nothing. */
static struct pending *message(struct am *am, struct group *g, const struct turn *t, const struct am_receiver *receiver,
                               const struct am_integration *in)
{
    struct pending *p = mem_zalloc(sizeof(*p));
    bool send_resolved = in->of->send_resolved;
    arena_init(&p->a, 0);
    p->log_key = am_log_key(&p->a, g, receiver, in);
    p->digest = am_policy_is_digest(g->route);
    p->flush_ms = t->now_ms;
    p->firing = fingerprints_of(&p->a, t, false);
    p->resolved = fingerprints_of(&p->a, t, true);
    p->repeat_ms = g->route->repeat_interval_ms;
    p->pause_ms = 500;
    struct log_entry *before = log_map_get(&am->log, p->log_key);
    enum reason why = needs_message(before, p, send_resolved, t->now_ms);
    if (why == REPETITION && t->acked) {
        why = NOTHING_NEW;
        stat_add(&held, 1);
        if (!before->held)
            tell_held(am, g, receiver, t->now_ms);
        before->held = true;
    }
    if (why == NOTHING_NEW) {
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
    fill_notice(am, p, g, t, receiver, in, send_resolved);
    p->n.changes = changes_of(before, t);
    p->n.memory = before && before->memory.n ? arena_str(&p->a, before->memory) : STR("");
    return p;
}

static void flight_end(struct am *am, struct flight *f)
{
    struct group *g = f->group;
    if (g) {
        g->flight = NULL;
        for (size_t i = 0; i < f->resolved.n && !f->failed; i++) {
            struct member *m = member_map_get(&g->members, f->resolved.p[i].fingerprint);
            if (!m || m->al->v.updated_ms != f->resolved.p[i].updated_ms)
                continue; /* fires again: the next turn tells */
            am_alert_unref(m->al);
            member_map_del(&g->members, f->resolved.p[i].fingerprint);
        }
        if (f->spoke) /* until now its row said when it was due, for the case of a crash */
            am_row_group(am, g);
    }
    vec_free(&f->resolved);
    am_config_unref(f->cfg);
    mem_free(f);
}

void am_pending_end(struct am *am, struct pending *p)
{
    air_map_del(&am->air, p->log_key);
    if (--p->flight->n_pending == 0)
        flight_end(am, p->flight);
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
        f->spoke = true;
        f->n_pending++;
        *air_map_put(&am->air, p->log_key, NULL) = p;
        vec_push(&out->v, p);
    }
    if (!f->n_pending)
        flight_end(am, f);
    arena_deinit(&t.a);
}

/* pause_ms 0: no other attempt in this turn. */
static void tell_outcome(struct am *am, const struct pending *p, enum am_outcome o, int64_t now_ms, int64_t pause_ms)
{
    const struct am_delivery *d = &p->n.delivery;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    if (d->status)
        buf_printf(&b, "%d%s", d->status, d->answer[0] ? ": " : "");
    buf_printf(&b, "%s", d->answer[0] || d->status ? d->answer : o == AM_SENT ? "taken" : "no answer");
    if (o != AM_SENT && pause_ms)
        buf_printf(&b, "; again in %.1f s", (double)pause_ms / 1000);
    else if (o != AM_SENT)
        buf_lit(&b, "; again at the group's next turn");
    am_event_message(am, o == AM_SENT ? AM_EV_DELIVERED : AM_EV_FAILED, p, buf_str(&b), now_ms);
}

void am_sent(struct am *am, struct am_notice *n, enum am_outcome o, int64_t now_ms)
{
    struct pending *p = (struct pending *)(void *)n;
    struct flight *f = p->flight;
    mtx_lock(&am->mu);
    int64_t pause_ms = MAX(p->pause_ms, n->delivery.retry_in_ms);
    tell_outcome(am, p, o, now_ms, o == AM_RETRY && now_ms + pause_ms < f->deadline_ms ? pause_ms : 0);
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
        const struct log_entry *before = log_map_get(&am->log, p->log_key);
        f->failed = true;
        stat_add(&failed, 1);
        if (before)
            am_row_log(am, before);
        else
            am_row_log_gone(am, p->log_key);
        LOG_WARN("message not delivered: the group's next turn tries again", "receiver", LOG_STR(n->receiver->name),
                 "integration", am_kind_name(n->integration->kind), "group", LOG_STR(n->group_key), "attempts",
                 LOG_I64(n->attempt));
    }
    am_pending_end(am, p);
    mtx_unlock(&am->mu);
}

/* ---- time ---- */
static void end_alert(struct am *am, struct alert *al, int64_t now_ms)
{
    am_inhibitor_resolve(am->inhibitor, al->v.fingerprint);
    if (al->ended)
        return;
    al->ended = true;
    am_event_alert(am, AM_EV_RESOLVED, al, NULL,
                   al->timed_out ? STR("nobody told it again within resolve_timeout") : STR("its end has come"),
                   now_ms);
    am_ack_end(am, al, STR(""), STR("the alert ended"), now_ms);
}

/* Alerts that ended no longer inhibit. */
static void end_alerts(struct am *am, int64_t now_ms)
{
    if (now_ms < am->next_end_ms)
        return;
    am->next_end_ms = INT64_MAX;
    map_each (alert_map, s, &am->alerts) {
        if (alert_resolved(s->value, now_ms))
            end_alert(am, s->value, now_ms);
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
            am_row_group_gone(am, am_timer_key(groups.p[i]->route, groups.p[i]->id));
            group_map_del(&am->groups, (struct group_id){ groups.p[i]->id, groups.p[i]->route->index });
            group_free(groups.p[i]);
        }
        am_silences_gc(am, now_ms);
        am_acks_gc(am, now_ms);
        log_gc(am, now_ms);
        am_policy_gc_begin(am, now_ms);
    }
    am_policy_gc(am, now_ms);
    if (now_ms >= am->alert_gc_ms) {
        am->alert_gc_ms = now_ms + AM_ALERT_GC_MS;
        map_each (alert_map, s, &am->alerts)
            if (alert_resolved(s->value, now_ms) && s->value->refs == 1) /* everybody who should knows */
                vec_push(&alerts, s->key);
        for (size_t i = 0; i < alerts.n; i++) {
            struct alert *al = *alert_map_get(&am->alerts, alerts.p[i]);
            alert_map_del(&am->alerts, alerts.p[i]);
            am_row_alert_gone(am, al);
            am_alert_unref(al);
        }
    }
    vec_free(&alerts);
    vec_free(&groups);
}

#define TURN_ALERTS 5000 /* of the groups that have their turn in one tick, so that am.mu is not held for long */

static void gather_due(struct am *am, int64_t now_ms, struct outbox *out)
{
    for (size_t i = am->waiting.n; i-- > 0;)
        if (am->waiting.p[i]->retry_ms <= now_ms) {
            vec_push(&out->v, am->waiting.p[i]);
            vec_remove_swap(&am->waiting, i);
        }
    size_t left = TURN_ALERTS;
    for (size_t n = am->groups.n; n > 0 && left > 0; n--) {
        struct group_map_slot *s = group_map_next(&am->groups, &am->group_at);
        if (!s) {
            am->group_at = 0;
            s = group_map_next(&am->groups, &am->group_at);
        }
        if (s->value->next_ms <= now_ms && !s->value->flight) {
            flush(am, s->value, now_ms, out);
            left -= MIN(left, s->value->members.n + 1);
        }
    }
    if (left) /* all had their turn; else the next tick, at once, goes on there */
        am->group_at = 0;
}

static int64_t next_due(const struct am *am, int64_t now_ms)
{
    int64_t next = MIN(MIN(am->group_gc_ms, am->alert_gc_ms), am->round.next_ms);
    if (am->alerts.n)
        next = MIN(next, MAX(am->alive_ms + AM_ALIVE_MS, now_ms + 1));
    if (am->air.n > am->waiting.n) /* an answer may make a message or a group due */
        next = MIN(next, now_ms + 200);
    for (size_t i = 0; i < am->waiting.n; i++)
        next = MIN(next, am->waiting.p[i]->retry_ms);
    map_each (group_map, s, &am->groups)
        if (!s->value->flight)
            next = MIN(next, MAX(s->value->next_ms, now_ms + 1)); /* that its turn was put off is soon enough */
    return next;
}

int64_t am_tick(struct am *am, int64_t now_ms)
{
    struct outbox out = { 0 };
    int64_t heartbeat_ms = am_heartbeat_tick(am, now_ms);
    mtx_lock(&am->mu);
    end_alerts(am, now_ms);
    gc(am, now_ms);
    if (am->alerts.n && (now_ms >= am->alive_ms + AM_ALIVE_MS || now_ms < am->alive_ms))
        am_row_alive(am, now_ms);
    if (am_state_lost(am->state))
        am_rows_all(am);
    gather_due(am, now_ms, &out);
    for (size_t i = 0; i < out.v.n; i++) {
        if (!out.v.p[i]->n.attempt++)
            am_row_tried(am, out.v.p[i]);
        am_event_message(am, AM_EV_SENT, out.v.p[i], STR(""), now_ms);
    }
    uint64_t mark = am_state_mark(am->state, AM_FACTS);
    mtx_unlock(&am->mu);
    am_policy_save(am);
    if (out.v.n) /* what a message is made of is on disk before it leaves; if that fails, it leaves all the same */
        IGNORE_ERR(am_state_wait(am->state, AM_FACTS, mark, NULL));
    for (size_t i = 0; i < out.v.n; i++)
        am->opt.send(am->opt.ctx, &out.v.p[i]->n);
    vec_free(&out.v);
    mtx_lock(&am->mu);
    int64_t next = next_due(am, now_ms);
    mtx_unlock(&am->mu);
    return MIN(next, heartbeat_ms);
}
