#include "alerting/am_heartbeat.h"

#include "alerting/am_int.h"
#include "base/stats.h"

#define AGAIN_MS 60000          /* a missing one is told to the engine this often ... */
#define LIFE_MS  300000         /* ... and ends by itself if that stops (it is no longer in the policy) */
enum { SEEN = 1, MISSING = 2 }; /* am_fact.n */

static struct stat received = STAT_COUNTER("vane_heartbeats_received_total", "Heartbeats that came in", "");
static struct stat missed = STAT_COUNTER("vane_heartbeats_missed_total", "Heartbeats that did not come in time", "");

static int64_t due_ms(const struct am *am, const struct am_heartbeat *h, struct am_fact f)
{
    int64_t due = f.at_ms + h->period_ms + h->grace_ms;
    return f.n & MISSING ? due : MAX(due, am->opened_ms + h->grace_ms);
}

static struct labels with(struct arena *a, struct labels base, const str *keys, const str *values, size_t n)
{
    struct label_builder b;
    lb_init(&b, a);
    lb_reset(&b, base);
    for (size_t i = 0; i < n; i++)
        lb_set(&b, keys[i], values[i]);
    return lb_labels(&b);
}

static struct labels alert_labels(struct arena *a, str name, const struct am_heartbeat *h)
{
    str keys[] = { STR("alertname"), STR("heartbeat") }, values[] = { AM_HEARTBEAT_ALERT, name };
    struct labels ls = with(a, LABELS_NONE, h->labels.keys, h->labels.p, h->labels.n);
    return with(a, ls, keys, values, 2);
}

static str span(struct arena *a, int64_t ms)
{
    int64_t s = ms / 1000;
    if (s >= 172800)
        return arena_printf(a, "%lld days", (long long)(s / 86400));
    if (s >= 7200)
        return arena_printf(a, "%lld hours", (long long)(s / 3600));
    return s >= 120 ? arena_printf(a, "%lld minutes", (long long)(s / 60)) : arena_printf(a, "%lld s", (long long)s);
}

static struct am_alert alert_of(struct arena *a, str name, const struct am_heartbeat *h, struct am_fact f,
                                int64_t starts_ms, int64_t ends_ms)
{
    str keys[] = { STR("summary") };
    str values[] = { arena_printf(a, "no heartbeat of " STR_FMT " since %s" STR_FMT "; one is due every " STR_FMT,
                                  STR_ARG(name), f.n & SEEN ? "" : "it was configured, ",
                                  STR_ARG(span(a, starts_ms - f.at_ms)), STR_ARG(span(a, h->period_ms))) };
    struct labels text = with(a, LABELS_NONE, keys, values, 1);
    return (struct am_alert){ .labels = alert_labels(a, name, h),
                              .annotations = with(a, text, h->annotations.keys, h->annotations.p, h->annotations.n),
                              .starts_ms = starts_ms,
                              .ends_ms = ends_ms };
}

static void tell_history(struct am *am, const struct am_alert *alert, str text, int64_t now_ms)
{
    am_history_add(am, &(struct am_event){ .at_ms = now_ms,
                                           .kind = AM_EV_HEARTBEAT,
                                           .fingerprint = am_fingerprint(alert->labels),
                                           .labels = alert->labels,
                                           .text = text });
}

static void tell(struct am *am, const struct am_alert *alert, int64_t now_ms)
{
    IGNORE_ERR(am_take(am, alert, 1, now_ms, NULL, NULL)); /* a label that is none was refused with the policy */
}

int64_t am_heartbeat_tick(struct am *am, int64_t now_ms)
{
    AUTO_ARENA struct arena a;
    VEC(struct am_alert) late = { 0 };
    int64_t next = INT64_MAX;
    arena_init(&a, 0);
    mtx_lock(&am->mu);
    struct am_config *cfg = am_config_ref(am->cfg);
    bool again = now_ms >= am->heartbeats_ms;
    if (again)
        am->heartbeats_ms = now_ms + AGAIN_MS;
    int64_t again_ms = am->heartbeats_ms;
    mtx_unlock(&am->mu);
    for (size_t i = 0; cfg->policy && i < cfg->policy->heartbeats.n; i++) {
        str name = cfg->policy->heartbeats.keys[i];
        const struct am_heartbeat *h = &cfg->policy->heartbeats.p[i];
        struct am_fact f = am_policy_state_get(am->facts, AM_FACT_HEARTBEAT, name);
        if (!f.at_ms) {
            f = (struct am_fact){ now_ms, 0 };
            am_policy_state_put(am->facts, AM_FACT_HEARTBEAT, name, f);
        }
        int64_t due = due_ms(am, h, f);
        if (due > now_ms) {
            next = MIN(next, due);
            continue;
        }
        next = MIN(next, again_ms);
        if (!again && f.n & MISSING)
            continue;
        struct am_alert alert = alert_of(&a, name, h, f, due, now_ms + LIFE_MS);
        if (!(f.n & MISSING)) {
            stat_add(&missed, 1);
            f.n |= MISSING;
            am_policy_state_put(am->facts, AM_FACT_HEARTBEAT, name, f);
            tell_history(am, &alert, STR("missed"), now_ms);
        }
        avec_push(&a, &late, alert);
    }
    for (size_t i = 0; i < late.n; i++)
        tell(am, &late.p[i], now_ms);
    am_config_unref(cfg);
    return next;
}

enum err am_heartbeat_seen(struct am *am, str name, int64_t now_ms, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    const struct am_heartbeat *h = NULL;
    arena_init(&a, 0);
    struct am_config *cfg = am_config_in_use(am);
    for (size_t i = 0; cfg->policy && i < cfg->policy->heartbeats.n; i++)
        if (str_eq(cfg->policy->heartbeats.keys[i], name))
            h = &cfg->policy->heartbeats.p[i];
    if (!h) {
        am_config_unref(cfg);
        return err_fail(reterr, ERR_NOT_FOUND, "no heartbeat \"" STR_FMT "\" in alert_policy.heartbeats",
                        STR_ARG(str_take(name, 100)));
    }
    struct am_fact f = am_policy_state_get(am->facts, AM_FACT_HEARTBEAT, name);
    am_policy_state_put(am->facts, AM_FACT_HEARTBEAT, name, (struct am_fact){ now_ms, SEEN });
    enum err e = am_policy_state_save(am->facts, reterr);
    stat_add(&received, 1);
    if (f.n & MISSING) {
        struct am_alert back = alert_of(&a, name, h, f, due_ms(am, h, f), now_ms);
        tell_history(am, &back, STR("came back"), now_ms);
        tell(am, &back, now_ms);
    }
    am_config_unref(cfg);
    return e;
}

void am_heartbeats(struct am *am, int64_t now_ms, struct arena *a, struct am_heartbeat_view **ret, size_t *ret_n)
{
    struct am_config *cfg = am_config_in_use(am);
    size_t n = cfg->policy ? cfg->policy->heartbeats.n : 0;
    *ret = arena_array(a, struct am_heartbeat_view, n + 1);
    *ret_n = n;
    for (size_t i = 0; i < n; i++) {
        const struct am_heartbeat *h = &cfg->policy->heartbeats.p[i];
        str name = arena_str(a, cfg->policy->heartbeats.keys[i]);
        struct am_fact f = am_policy_state_get(am->facts, AM_FACT_HEARTBEAT, name);
        int64_t due = f.at_ms ? due_ms(am, h, f) : now_ms + h->period_ms + h->grace_ms;
        (*ret)[i] = (struct am_heartbeat_view){ name,
                                                h->period_ms,
                                                h->grace_ms,
                                                f.n & SEEN ? f.at_ms : 0,
                                                due,
                                                f.at_ms && due <= now_ms,
                                                labels_copy(a, alert_labels(a, name, h)) };
    }
    am_config_unref(cfg);
}
