#include "alerting/am_ack.h"

#include <stdlib.h>

#include "alerting/am_int.h"
#include "base/log.h"
#include "base/stats.h"

static struct stat made = STAT_COUNTER("vane_alertmanager_acks_total", "Alerts that somebody acknowledged", "");
static struct stat now_acked = STAT_GAUGE("vane_alertmanager_acks", "Alerts that are acknowledged", "");

/* ---- of one alert ---- */
void am_ack_free(struct ack *k)
{
    if (!k)
        return;
    arena_deinit(&k->a);
    mem_free(k);
    stat_add(&now_acked, -1);
}

void am_ack_put(struct alert *al, str owner, str comment, int64_t at_ms, int64_t until_ms)
{
    struct ack *k = mem_zalloc(sizeof(*k));
    arena_init(&k->a, 0);
    k->owner = arena_str(&k->a, owner);
    k->comment = arena_str(&k->a, comment);
    k->at_ms = at_ms;
    k->until_ms = until_ms;
    am_ack_free(al->ack);
    al->ack = k;
    stat_add(&now_acked, 1);
}

static void event(struct am *am, enum am_event_kind kind, const struct alert *al, str actor, str text, int64_t now_ms)
{
    am_history_add(am, &(struct am_event){ .at_ms = now_ms,
                                           .kind = kind,
                                           .fingerprint = al->v.fingerprint,
                                           .labels = al->v.labels,
                                           .actor = actor,
                                           .text = text });
}

void am_ack_end(struct am *am, struct alert *al, str actor, str why, int64_t now_ms)
{
    if (!al->ack)
        return;
    event(am, AM_EV_UNACKNOWLEDGED, al, actor, why, now_ms);
    am_ack_free(al->ack);
    al->ack = NULL;
    am_row_ack(am, al);
}

void am_acks_gc(struct am *am, int64_t now_ms)
{
    map_each (alert_map, s, &am->alerts)
        if (s->value->ack && !am_alert_acked(s->value, now_ms))
            am_ack_end(am, s->value, STR(""), STR("it ran out"), now_ms);
}

/* ---- targets ---- */
struct targets {
    VEC(struct alert *) v;
};

static void add_group(struct am *am, str key, int64_t now_ms, struct targets *t)
{
    map_each (group_map, g, &am->groups)
        if (str_eq(g->value->key, key))
            map_each (member_map, m, &g->value->members)
                if (!alert_resolved(m->value.al, now_ms))
                    vec_push(&t->v, m->value.al);
}

static void find(struct am *am, const struct am_ack_target *what, int64_t now_ms, struct targets *t)
{
    if (what->fingerprint) {
        struct alert **al = alert_map_get(&am->alerts, what->fingerprint);
        if (al && !alert_resolved(*al, now_ms))
            vec_push(&t->v, *al);
    } else if (what->group_key.n) {
        add_group(am, what->group_key, now_ms, t);
    } else if (what->matchers) {
        map_each (alert_map, s, &am->alerts)
            if (!alert_resolved(s->value, now_ms) && am_matchers_match(what->matchers, s->value->v.labels))
                vec_push(&t->v, s->value);
    }
}

static enum err stored(struct am *am, struct err_text *reterr)
{
    return am_state_wait(am->state, AM_FACTS, am_state_mark(am->state, AM_FACTS), reterr);
}

/* ---- the interface ---- */
enum err am_ack_set(struct am *am, const struct am_ack_target *t, str owner, str comment, int64_t until_ms,
                    int64_t now_ms, size_t *ret_n, struct err_text *reterr)
{
    struct targets found = { 0 };
    if (!owner.n || !str_utf8_ok(owner) || !str_utf8_ok(comment))
        return err_fail(reterr, ERR_INVALID, "an acknowledgement has an owner: who takes care");
    if (until_ms && until_ms <= now_ms)
        return err_fail(reterr, ERR_INVALID, "the acknowledgement would end in the past");
    if (owner.n > AM_ACK_TEXT_BYTES_MAX || comment.n > AM_ACK_TEXT_BYTES_MAX)
        return err_fail(reterr, ERR_LIMIT, "owner and comment have at most %u bytes", AM_ACK_TEXT_BYTES_MAX);
    mtx_lock(&am->mu);
    find(am, t, now_ms, &found);
    for (size_t i = 0; i < found.v.n; i++) {
        am_ack_put(found.v.p[i], owner, comment, now_ms, until_ms);
        am_row_ack(am, found.v.p[i]);
        event(am, AM_EV_ACKNOWLEDGED, found.v.p[i], owner, comment, now_ms);
    }
    size_t n = found.v.n;
    vec_free(&found.v);
    mtx_unlock(&am->mu);
    stat_add(&made, (int64_t)n);
    if (ret_n)
        *ret_n = n;
    if (!n)
        return err_fail(reterr, ERR_NOT_FOUND, "no such alert fires");
    LOG_INFO("alerts were acknowledged", "owner", LOG_STR(owner), "alerts", LOG_I64(n));
    return stored(am, reterr);
}

enum err am_ack_clear(struct am *am, const struct am_ack_target *t, str actor, int64_t now_ms, size_t *ret_n,
                      struct err_text *reterr)
{
    struct targets found = { 0 };
    size_t n = 0;
    mtx_lock(&am->mu);
    find(am, t, now_ms, &found);
    for (size_t i = 0; i < found.v.n; i++) {
        n += found.v.p[i]->ack != NULL;
        am_ack_end(am, found.v.p[i], actor, STR("it was taken back"), now_ms);
    }
    vec_free(&found.v);
    mtx_unlock(&am->mu);
    if (ret_n)
        *ret_n = n;
    return n ? stored(am, reterr) : err_fail(reterr, ERR_NOT_FOUND, "no such alert is acknowledged");
}

static struct am_ack copy(const struct alert *al, struct arena *a)
{
    return (struct am_ack){ .fingerprint = al->v.fingerprint,
                            .labels = labels_copy(a, al->v.labels),
                            .owner = arena_str(a, al->ack->owner),
                            .comment = arena_str(a, al->ack->comment),
                            .at_ms = al->ack->at_ms,
                            .until_ms = al->ack->until_ms };
}

bool am_ack_get(struct am *am, uint64_t fingerprint, int64_t now_ms, struct arena *a, struct am_ack *ret)
{
    mtx_lock(&am->mu);
    struct alert **al = alert_map_get(&am->alerts, fingerprint);
    bool acked = al && !alert_resolved(*al, now_ms) && am_alert_acked(*al, now_ms);
    if (acked && ret)
        *ret = copy(*al, a);
    mtx_unlock(&am->mu);
    return acked;
}

bool am_acked(struct am *am, const struct am_alert *alerts, size_t n, int64_t now_ms)
{
    bool all = true;
    mtx_lock(&am->mu);
    for (size_t i = 0; i < n && all; i++) {
        struct alert **al = alert_map_get(&am->alerts, alerts[i].fingerprint);
        all = !al || alert_resolved(*al, now_ms) || am_alert_acked(*al, now_ms);
    }
    mtx_unlock(&am->mu);
    return all;
}

static int newest_first(const void *x, const void *y)
{
    const struct am_ack *a = x, *b = y;
    if (a->at_ms != b->at_ms)
        return a->at_ms > b->at_ms ? -1 : 1;
    return a->fingerprint < b->fingerprint ? -1 : a->fingerprint > b->fingerprint;
}

void am_acks(struct am *am, int64_t now_ms, struct arena *a, struct am_ack **ret, size_t *ret_n)
{
    VEC(struct am_ack) v = { 0 };
    mtx_lock(&am->mu);
    map_each (alert_map, s, &am->alerts)
        if (!alert_resolved(s->value, now_ms) && am_alert_acked(s->value, now_ms))
            avec_push(a, &v, copy(s->value, a));
    mtx_unlock(&am->mu);
    if (v.n)
        qsort(v.p, v.n, sizeof(*v.p), newest_first);
    *ret = v.p;
    *ret_n = v.n;
}
