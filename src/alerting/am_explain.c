#include "alerting/am_explain.h"

#include <stdlib.h>

#include "alerting/am_int.h"

struct asker {
    struct am *am;
    struct arena *a;
    int64_t now_ms;
};

static bool knows(const struct log_entry *e, uint64_t fp)
{
    for (size_t i = 0; e && i < e->firing.n; i++)
        if (e->firing.p[i] == fp)
            return true;
    return false;
}

static void explain_integrations(const struct asker *q, const struct group *g, uint64_t fp,
                                 struct am_explained_group *ret)
{
    const struct am_receiver *r = am_config_receiver(q->am->cfg, ret->route->receiver);
    ret->integrations = arena_zarray(q->a, struct am_explained_integration, r->n_integrations + 1);
    for (size_t i = 0; i < r->n_integrations; i++) {
        const struct am_integration *in = &r->integrations[i];
        struct am_explained_integration *x = &ret->integrations[ret->n_integrations++];
        x->name = arena_printf(q->a, "%s[%zu]", am_kind_name(in->kind), in->index);
        if (!g)
            continue;
        str key = am_log_key(q->a, g, r, in);
        const struct log_entry *e = log_map_get(&q->am->log, key);
        struct pending **p = air_map_get(&q->am->air, key);
        x->sent_ms = e ? e->sent_ms : 0;
        x->told_firing = knows(e, fp);
        x->repeat_ms = x->told_firing ? e->sent_ms + g->route->repeat_interval_ms : 0;
        if (p) {
            x->on_its_way = true;
            x->attempt = (*p)->n.attempt;
            x->retry_ms = (*p)->retry_ms > q->now_ms ? (*p)->retry_ms : 0;
        }
    }
}

static void explain_group(const struct asker *q, const struct am_route *r, struct labels ls, uint64_t fp,
                          struct am_explained_group *ret)
{
    struct labels by = am_route_group(r, ls, q->a);
    struct group **slot = group_map_get(&q->am->groups, (struct group_id){ am_fingerprint(by), r->index }), *g = NULL;
    struct member *m = slot ? member_map_get(&(*slot)->members, fp) : NULL;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    labels_print(&b, by);
    ret->route = r;
    ret->muted = am_route_muted(q->am, r, q->now_ms);
    ret->key = arena_printf(q->a, STR_FMT ":" STR_FMT, STR_ARG(r->key), STR_ARG(buf_str(&b)));
    if (slot) {
        g = *slot;
        ret->key = arena_str(q->a, g->key);
        ret->had_turn = g->flushed;
        ret->next_ms = g->flight || !m ? 0 : g->next_ms;
    }
    ret->exists = m != NULL;
    if (m && m->why != AM_EV_RECEIVED)
        ret->left_out = am_event_kind_name(m->why);
    explain_integrations(q, g, fp, ret);
}

static void explain_silences(const struct asker *q, struct am_explained *x)
{
    x->silences = arena_zarray(q->a, struct am_silence, q->am->silences.n + 1);
    for (size_t i = 0; i < q->am->silences.n; i++) {
        const struct am_silence *s = &q->am->silences.p[i]->v;
        if (am_silence_state(s, q->now_ms) != AM_SILENCE_ACTIVE || !am_matchers_match(&s->matchers, x->labels))
            continue;
        x->silences[x->n_silences++] = (struct am_silence){ .id = arena_str(q->a, s->id),
                                                            .starts_ms = s->starts_ms,
                                                            .ends_ms = s->ends_ms,
                                                            .created_by = arena_str(q->a, s->created_by),
                                                            .comment = arena_str(q->a, s->comment) };
    }
}

static void explain_inhibition(const struct asker *q, struct am_explained *x)
{
    uint64_t by[16];
    size_t n = MIN(am_inhibited(q->am->inhibitor, x->labels, by, ARRAY_LEN(by)), ARRAY_LEN(by));
    x->inhibited_by = arena_zarray(q->a, struct labels, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct alert **al = alert_map_get(&q->am->alerts, by[i]);
        if (al)
            x->inhibited_by[x->n_inhibited_by++] = labels_copy(q->a, (*al)->v.labels);
    }
}

/* ---- the verdict ---- */
static void say_delivery(struct buf *b, const struct am_explained_group *g, int64_t now_ms)
{
    for (size_t i = 0; i < g->n_integrations; i++) {
        const struct am_explained_integration *in = &g->integrations[i];
        buf_printf(b, " " STR_FMT "/" STR_FMT ": ", STR_ARG(g->route->receiver), STR_ARG(in->name));
        if (in->retry_ms)
            buf_printf(b, "attempt %u failed, the next one comes in %.1f s.", in->attempt,
                       (double)MAX(in->retry_ms - now_ms, 0) / 1000);
        else if (in->on_its_way)
            buf_printf(b, "attempt %u is on its way.", in->attempt);
        else if (in->told_firing)
            buf_printf(b, "told %llds ago.", (long long)(now_ms - in->sent_ms) / 1000);
        else
            buf_lit(b, "not told.");
    }
    if (!g->n_integrations)
        buf_printf(b, " " STR_FMT " has no integrations: nobody is told.", STR_ARG(g->route->receiver));
}

static void say_group(struct buf *b, const struct am_explained *x, const struct am_explained_group *g, int64_t now_ms)
{
    if (g->muted)
        buf_printf(b, " The route to " STR_FMT " is muted by a time interval.", STR_ARG(g->route->receiver));
    if (x->fires && g->exists && !g->had_turn && g->next_ms > now_ms)
        buf_printf(b, " The group of " STR_FMT " waits for group_wait: its first turn is in %.1f s.",
                   STR_ARG(g->route->receiver), (double)(g->next_ms - now_ms) / 1000);
    say_delivery(b, g, now_ms);
}

static str verdict(const struct asker *q, const struct am_explained *x)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    if (!x->known)
        buf_lit(&b, "No such alert has come in; this is what would happen to it.");
    else if (x->fires)
        buf_printf(&b, "It fires, since %llds.", (long long)(q->now_ms - x->alert.starts_ms) / 1000);
    else
        buf_printf(&b, "It ended %llds ago.", (long long)(q->now_ms - x->alert.ends_ms) / 1000);
    if (x->n_silences)
        buf_printf(&b, " Silenced by " STR_FMT ": " STR_FMT " (" STR_FMT ").", STR_ARG(x->silences[0].created_by),
                   STR_ARG(x->silences[0].comment), STR_ARG(x->silences[0].id));
    if (x->n_inhibited_by) {
        buf_lit(&b, " Inhibited by ");
        labels_print(&b, x->inhibited_by[0]);
        buf_u8(&b, '.');
    }
    if (x->acked)
        buf_printf(&b, " Acknowledged by " STR_FMT ": not repeated, not escalated.", STR_ARG(x->ack.owner));
    for (size_t i = 0; i < x->n_groups && x->known; i++)
        say_group(&b, x, &x->groups[i], q->now_ms);
    return arena_str(q->a, buf_str(&b));
}

/* ---- one alert ---- */
static void explain_one(const struct asker *q, struct labels ls, const struct alert *al, struct am_explained *x)
{
    const struct am_config *cfg = q->am->cfg;
    const struct am_route *routes[AM_ROUTES_PER_ALERT];
    *x = (struct am_explained){ .labels = labels_copy(q->a, ls),
                                .fingerprint = am_fingerprint(ls),
                                .known = al != NULL };
    if (al) {
        x->alert = al->v;
        x->alert.labels = x->labels;
        x->alert.annotations = labels_copy(q->a, al->v.annotations);
        x->alert.generator_url = arena_str(q->a, al->v.generator_url);
        x->fires = !alert_resolved(al, q->now_ms);
        x->timed_out = al->timed_out;
        x->acked = x->fires && am_alert_acked(al, q->now_ms);
        if (x->acked)
            x->ack = (struct am_ack){ .fingerprint = x->fingerprint,
                                      .labels = x->labels,
                                      .owner = arena_str(q->a, al->ack->owner),
                                      .comment = arena_str(q->a, al->ack->comment),
                                      .at_ms = al->ack->at_ms,
                                      .until_ms = al->ack->until_ms };
    }
    explain_silences(q, x);
    explain_inhibition(q, x);
    x->steps = arena_zarray(q->a, uint8_t, cfg->n_routes);
    am_route_explain(cfg->route, x->labels, x->steps);
    size_t n = MIN(am_config_routes(cfg, x->labels, routes, ARRAY_LEN(routes)), ARRAY_LEN(routes));
    x->groups = arena_zarray(q->a, struct am_explained_group, n + 1);
    for (; x->n_groups < n; x->n_groups++)
        explain_group(q, routes[x->n_groups], x->labels, x->fingerprint, &x->groups[x->n_groups]);
    x->verdict = verdict(q, x);
}

static struct labels demanded(struct arena *a, const struct am_matchers *m)
{
    struct label_builder b;
    lb_init(&b, a);
    lb_reset(&b, LABELS_NONE);
    for (size_t i = 0; i < m->n; i++)
        if (m->p[i].type == AM_EQ)
            lb_set(&b, m->p[i].name, m->p[i].value);
    return lb_labels(&b);
}

static int firing_first(const void *x, const void *y)
{
    const struct am_explained *a = x, *b = y;
    if (a->fires != b->fires)
        return a->fires ? -1 : 1;
    return labels_cmp(a->labels, b->labels);
}

void am_explain(struct am *am, const struct am_matchers *m, int64_t now_ms, struct arena *a, struct am_explanation *ret)
{
    const struct asker q = { am, a, now_ms };
    *ret = (struct am_explanation){ .alerts = arena_array(a, struct am_explained, AM_EXPLAIN_MAX) };
    mtx_lock(&am->mu);
    ret->cfg = am_config_ref(am->cfg);
    map_each (alert_map, s, &am->alerts) {
        if (!am_matchers_match(m, s->value->v.labels))
            continue;
        if (ret->n < AM_EXPLAIN_MAX)
            explain_one(&q, s->value->v.labels, s->value, &ret->alerts[ret->n++]);
        else
            ret->n_more++;
    }
    if (!ret->n)
        explain_one(&q, demanded(a, m), NULL, &ret->alerts[ret->n++]);
    mtx_unlock(&am->mu);
    qsort(ret->alerts, ret->n, sizeof(*ret->alerts), firing_first);
}
