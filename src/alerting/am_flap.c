/* Flapping: an alert that begins and ends again and again is one thing to tell, not many. Each change of its state is
 * noted with the alert; more of them in a window than the policy allows make it flap, until it was quiet for as long as
 * the window. While it flaps, messages show it as firing whatever it is just now, with an annotation that says so: one
 * message when it begins to flap, and one when it is over.
 * Bounds: AM_FLAP_CHANGES_MAX moments per alert. All of it under am.mu; forgotten with the alert, or by a restart. */
#include "alerting/am_int.h"
#include "base/stats.h"

static struct stat flapped = STAT_COUNTER("vane_alertmanager_flapping_total", "Alerts that began to flap", "");

struct am_flap {
    int64_t at_ms[AM_FLAP_CHANGES_MAX + 1]; /* a ring of the last changes */
    size_t n, next;
    bool is;
};

static size_t changes_since(const struct am_flap *f, int64_t ms)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++)
        n += f->at_ms[i] > ms;
    return n;
}

void am_flap_note(struct am *am, struct alert *al, int64_t now_ms)
{
    const struct am_flapping *c = am->cfg->policy ? am->cfg->policy->flapping : NULL;
    if (!c)
        return;
    if (!al->flap)
        al->flap = mem_zalloc(sizeof(*al->flap));
    struct am_flap *f = al->flap;
    f->at_ms[f->next] = now_ms;
    f->next = (f->next + 1) % ARRAY_LEN(f->at_ms);
    f->n = MIN(f->n + 1, ARRAY_LEN(f->at_ms));
    if (!f->is && changes_since(f, now_ms - c->window_ms) > c->changes) {
        f->is = true;
        stat_add(&flapped, 1);
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        am_history_add(am, &(struct am_event){ .at_ms = now_ms,
                                               .kind = AM_EV_FLAPPING,
                                               .fingerprint = al->v.fingerprint,
                                               .labels = al->v.labels,
                                               .text = am_flap_text(am, al, now_ms, &a) });
    }
}

bool am_flapping(const struct am *am, const struct alert *al, int64_t now_ms)
{
    const struct am_flapping *c = am->cfg->policy ? am->cfg->policy->flapping : NULL;
    struct am_flap *f = al->flap;
    if (!c || !f || !f->is)
        return false;
    f->is = changes_since(f, now_ms - c->window_ms) > 0;
    return f->is;
}

str am_flap_text(const struct am *am, const struct alert *al, int64_t now_ms, struct arena *a)
{
    const struct am_flapping *c = am->cfg->policy->flapping;
    return arena_printf(a, "%zu changes in the last %lld s: told once, until it is quiet",
                        changes_since(al->flap, now_ms - c->window_ms), (long long)(c->window_ms / 1000));
}
