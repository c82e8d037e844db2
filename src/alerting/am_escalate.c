/* What an alert_policy adds to a group's turn: alerts that wait for their step of an escalation, that ended only just
 * now, or that flap; and the moments of digests.
 *
 * The clock of an escalation starts with the first turn of a severity's own route that has the alert: silenced, muted
 * and inhibited alerts have no clock. It is a durable fact (am_policy_state.h), keyed by the alert and its beginning, and
 * saved before the first message goes out; so a restart goes on where it was, and an alert that comes back later is a
 * new one. Steps are routes of their own: an acknowledged alert is held back from them, as is one whose time has not
 * come, and the group has its next turn when that is. */
#include <stdio.h>
#include <stdlib.h>

#include "alerting/am_int.h"
#include "base/log.h"
#include "base/stats.h"

#define ACKED_LOOK_MS  30000
#define ROUND_PART     1000 /* alerts, or facts, that a tick looks at */
#define ROUND_PAUSE_MS 20
#define TOLD_KEEP_MS   86400000 /* facts of alerts that nobody has sent again since the start */

static struct stat escalated =
    STAT_COUNTER("vane_alertmanager_escalated_total", "Alerts that the next step of an escalation was told of", "");

#define OVERDUE(name)                                                                                               \
    STAT_GAUGE("vane_alertmanager_overdue_alerts", "Alerts that nobody acknowledged in the time of their severity", \
               "severity=\"" name "\"")
static struct stat overdue[AM_SEVERITIES] = { OVERDUE("P1"), OVERDUE("P2"), OVERDUE("P3"), OVERDUE("P4") };

struct told_key {
    char text[48];
};
static struct told_key told_key(const struct am_alert *v)
{
    struct told_key k;
    snprintf(k.text, sizeof(k.text), "%016llx/%lld", (unsigned long long)v->fingerprint, (long long)v->starts_ms);
    return k;
}

static void start_clock(struct am *am, const struct am_alert *v, int64_t now_ms)
{
    const struct told_key k = told_key(v);
    if (!am_policy_state_get(am->facts, AM_FACT_TOLD, str_c(k.text)).at_ms)
        am_policy_state_put(am->facts, AM_FACT_TOLD, str_c(k.text), (struct am_fact){ now_ms, 0 });
}

static void tell_history(struct am *am, const struct group *g, const struct am_alert *v, int64_t now_ms)
{
    const struct am_route_policy *rp = g->route->policy;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_printf(&b, "nobody acknowledged within %lld s: step %u of " STR_FMT, (long long)(rp->after_ms / 1000), rp->step,
               STR_ARG(rp->escalation_name));
    const struct am_event e = { .at_ms = now_ms,
                                .kind = AM_EV_ESCALATED,
                                .fingerprint = v->fingerprint,
                                .labels = v->labels,
                                .group_key = g->key,
                                .receiver = g->route->receiver,
                                .text = buf_str(&b) };
    am_history_add(am, &e);
}

/* Has the step's time come? If not, the group's next turn is when it does. */
static bool step_is_due(struct am *am, struct group *g, const struct alert *al, const struct am_alert *v,
                        int64_t now_ms)
{
    const struct am_route_policy *rp = g->route->policy;
    const struct told_key k = told_key(v);
    struct am_fact f = am_policy_state_get(am->facts, AM_FACT_TOLD, str_c(k.text));
    if (v->ends_ms) /* it ended: those hear it that were told */
        return f.at_ms && f.n >= rp->step;
    if (am_alert_acked(al, now_ms)) { /* that may run out, or be taken back */
        g->next_ms = MIN(g->next_ms, now_ms + ACKED_LOOK_MS);
        return false;
    }
    if (!f.at_ms || f.at_ms + rp->after_ms > now_ms) {
        g->next_ms = MIN(g->next_ms, (f.at_ms ? f.at_ms : now_ms) + rp->after_ms);
        return false;
    }
    if (f.n < rp->step) {
        f.n = rp->step;
        am_policy_state_put(am->facts, AM_FACT_TOLD, str_c(k.text), f);
        stat_add(&escalated, 1);
        tell_history(am, g, v, now_ms);
    }
    return true;
}

static void tell_digest(struct am *am, const struct group *g, const struct am_alert *v, int64_t now_ms)
{
    am_history_add(am, &(struct am_event){ .at_ms = now_ms,
                                           .kind = AM_EV_DIGESTED,
                                           .fingerprint = v->fingerprint,
                                           .labels = v->labels,
                                           .group_key = g->key,
                                           .receiver = g->route->receiver,
                                           .text = g->route->policy->digest->name });
}

bool am_policy_says(struct am *am, struct group *g, const struct alert *al, const struct am_alert *v, int64_t now_ms)
{
    const struct am_route_policy *rp = g->route->policy;
    if (rp && rp->digest) {
        if (am_is_drill(v->labels))
            return false;
        tell_digest(am, g, v, now_ms);
        return true;
    }
    if (!rp || !rp->escalation)
        return true;
    if (rp->step)
        return step_is_due(am, g, al, v, now_ms);
    if (!v->ends_ms)
        start_clock(am, v, now_ms);
    return true;
}

/* ---- when ---- */
int64_t am_policy_first_turn(const struct am_route *r, int64_t now_ms)
{
    const struct am_digest *d = r->policy ? r->policy->digest : NULL;
    return d ? am_calendar_next_ms(d->at_minute, &d->on, now_ms) : now_ms + r->group_wait_ms;
}

int64_t am_policy_next_turn(struct am *am, const struct am_route *r, int64_t now_ms)
{
    const struct am_digest *d = r->policy ? r->policy->digest : NULL;
    if (!d)
        return now_ms + r->group_interval_ms;
    am_policy_state_put(am->facts, AM_FACT_DIGEST, r->id, (struct am_fact){ now_ms, 0 });
    return am_calendar_next_ms(d->at_minute, &d->on, now_ms);
}

void am_policy_joined(const struct am *am, struct group *g, const struct alert *al, int64_t now_ms)
{
    const struct am_route_policy *rp = g->route->policy;
    if (rp && rp->step) {
        g->next_ms = MIN(g->next_ms, now_ms + rp->after_ms);
    } else if (rp && rp->digest) { /* was there one between its beginning and now, and nobody to send it? */
        int64_t due = am_calendar_previous_ms(rp->digest->at_minute, &rp->digest->on, now_ms),
                last = am_policy_state_get(am->facts, AM_FACT_DIGEST, g->route->id).at_ms;
        if (last && last < due && al->v.starts_ms < due)
            g->next_ms = MIN(g->next_ms, now_ms);
    } else if (!g->flushed && al->v.starts_ms + g->route->group_wait_ms < now_ms) {
        g->next_ms = MIN(g->next_ms, now_ms); /* fires for longer than group_wait already: not made to wait */
    }
}

bool am_policy_is_digest(const struct am_route *r)
{
    return r->policy && r->policy->digest;
}

/* ---- durable ---- */
struct sweep {
    const struct am *am;
    int64_t now_ms;
};

static bool still_wanted(void *ctx, str key, struct am_fact f)
{
    const struct sweep *s = ctx;
    char hex[17] = "", *end;
    memcpy(hex, key.p, MIN(key.n, 16));
    uint64_t fp = strtoull(hex, &end, 16);
    int64_t starts = 0;
    struct alert **al = alert_map_get(&s->am->alerts, fp);
    if (!al)
        return f.at_ms > s->now_ms - TOLD_KEEP_MS;
    return str_to_i64(str_skip(key, 17), &starts) && starts == (*al)->v.starts_ms;
}

static bool is_overdue(const struct am *am, const struct alert *al, const struct am_severity *v, int64_t now_ms)
{
    uint64_t by;
    return am_policy_overdue(am->cfg->policy, v, al->v.starts_ms, now_ms, am->round.hours_end_ms) &&
           !am_alert_acked(al, now_ms) && !am_inhibited(am->inhibitor, al->v.labels, &by, 1) &&
           !am_silenced(am, al->v.labels, now_ms, NULL, NULL);
}

/* Alerts that somebody should have taken care of by now, by the four severities that everybody has. */
static void count_overdue(struct am *am, int64_t now_ms)
{
    const struct am_policy *p = am->cfg->policy;
    struct am_policy_round *r = &am->round;
    const struct alert_map_slot *s = NULL;
    for (size_t k = 0; p && k < ROUND_PART && (s = alert_map_next(&am->alerts, &r->alert)) != NULL; k++) {
        const struct alert *al = s->value;
        const struct am_severity *v = alert_resolved(al, now_ms) ? NULL : am_policy_severity(p, al->v.labels);
        size_t i = v ? (size_t)(v - p->all) : SIZE_MAX;
        if (i < AM_SEVERITIES && is_overdue(am, al, v, now_ms))
            r->n[i]++;
    }
    if (s)
        return;
    for (size_t i = 0; i < AM_SEVERITIES; i++)
        stat_set(&overdue[i], p ? r->n[i] : 0);
    r->counted = true;
}

void am_policy_gc_begin(struct am *am, int64_t now_ms)
{
    const struct am_policy *p = am->cfg->policy;
    if (am->round.next_ms == INT64_MAX)
        am->round = (struct am_policy_round){ .hours_end_ms = p ? am_policy_last_end_ms(p, now_ms) : INT64_MIN };
}

void am_policy_gc(struct am *am, int64_t now_ms)
{
    struct am_policy_round *r = &am->round;
    struct sweep s = { am, now_ms };
    if (now_ms < r->next_ms)
        return;
    r->next_ms = now_ms + ROUND_PAUSE_MS;
    if (!r->counted) {
        count_overdue(am, now_ms);
        if (!r->counted)
            return;
    }
    r->fact = am_policy_state_sweep(am->facts, AM_FACT_TOLD, still_wanted, &s, r->fact, ROUND_PART);
    if (!r->fact)
        r->next_ms = INT64_MAX;
}

void am_policy_save(struct am *am)
{
    struct err_text why = { 0 };
    if (am_policy_state_save(am->facts, &why) != OK)
        LOG_WARN("the clocks of escalations were not stored: a restart would start them anew", "err", why.msg);
}
