/* Alertmanager: alerts come in, are grouped by the routing tree, and groups speak to their receivers in time: once, again
 * when something changed, and again after repeat_interval; never while silenced, inhibited or muted.
 *
 *   am_open(&opt, cfg, now, &am)
 *   am_post(am, alerts, n, now, &rejected, &why)        POST /api/v2/alerts; am_take() for rules
 *   next = am_tick(am, now)                             whenever `next` has come, and after am_post
 *       -> opt.send(ctx, notice)                        hands a message to its integration
 *       <- am_sent(am, notice, AM_SENT, text, now)      at once or later, from any thread
 *
 * Time is what callers say: there is no clock inside, so that tests simulate days.
 * Durable: what am_post(), am_silence_set() and the like said OK to is on disk, and a message leaves only when all that it was
 * made of is. While nothing runs, alerts do not end: the clocks of those that fired go on at the restart.
 * At least once: that a message was sent is noted after the receiver took it. notice->idempotency is the same for every
 * attempt at the same content for the same group and integration, also across a crash, until it is noted; so providers
 * that support such keys show it once.
 * What is dropped, refused, sent and failed is counted (vane_alertmanager_...).
 * Threads: any function from any thread. Lock rank: 150; not held while send() runs. */
#ifndef VANE_ALERTING_AM_H
#define VANE_ALERTING_AM_H

#include "alerting/am_config.h"
#include "alerting/am_payload.h"

#define AM_ALERTS_MAX       1000000u
#define AM_GROUPS_MAX       1000000u
#define AM_SILENCES_MAX     100000u
#define AM_ROUTES_PER_ALERT 256u      /* more are passed over, with a count */
#define AM_RETENTION_MS     432000000 /* expired silences: five days, as the reference keeps them */
#define AM_ALERT_GC_MS      1800000   /* resolved alerts */
#define AM_GROUP_GC_MS      30000     /* empty groups */
#define AM_FLUSH_TIMEOUT_MS 10000     /* the least time a notification is repeated for before it is given up */

struct am;

/* ---- alerts ---- */
struct am_alert { /* times 0: not given; all borrowed */
    struct labels labels, annotations;
    int64_t starts_ms, ends_ms, updated_ms;
    str generator_url;
    uint64_t fingerprint;
    bool flapping; /* of a notice: shown as firing whatever it is */
};

/* ---- what is sent ---- */
struct am_notice {
    const struct am_receiver *receiver;
    const struct am_integration *integration;
    str group_key; /* {}/{team="x"}:{alertname="A"} */
    struct labels group_labels, route_labels;
    const struct am_alert *alerts; /* ends_ms is 0 while firing; firing ones and, where wanted, resolved ones */
    size_t n_alerts, n_firing;
    struct am_changes { /* since the last message to this integration about this group */
        size_t n_new, n_resolved, n_unchanged;
    } changes;
    unsigned attempt;     /* from 1 */
    uint64_t idempotency; /* same for every attempt at this message */
    int64_t now_ms;       /* of the flush */
    str memory;           /* what it noted with its last message of this group while that fired (am_delivery); "" */
    struct am_delivery delivery;
};
struct control;
struct am_policy_state;
struct am_options {
    void *ctx;
    /* Takes a message; am_sent() must follow exactly once, also from within. The notice lives until then. */
    void (*send)(void *ctx, struct am_notice *n);
    struct am_policy_state *facts; /* am_policy_state.h; NULL: of its own, in memory */
    /* Where alerts, silences, timers, the log of messages, acknowledgements and the history are kept; lives longer.
     * NULL: in memory. What is there is taken up by am_open(); if it cannot be read, the engine runs in memory and says
     * so (am_durable). */
    struct control *control;
    int64_t history_rows_max, history_retention_ms; /* 0: AM_HISTORY_... */
};

enum err am_open(const struct am_options *opt, struct am_config *cfg, int64_t now_ms,
                 struct am **ret) MUST_CHECK; /* takes a reference of cfg */
/* No notice may be under way. NULL is fine. */
void am_close(struct am *am);
/* The new tree takes all alerts; what was notified stays noted. Takes a reference of cfg. */
void am_reload(struct am *am, struct am_config *cfg, int64_t now_ms);

/* Alerts with empty label values lose these labels; missing times are filled in (resolve_timeout). Valid ones are taken
 * though others are refused. ret_rejected (may be NULL): how many; why: all of them joined by "; ".
 * Returns when they are on disk. ERR_INVALID: some were refused; another error: taken, and not stored (yet). */
enum err am_post(struct am *am, const struct am_alert *alerts, size_t n, int64_t now_ms, size_t *ret_rejected,
                 struct buf *why) MUST_CHECK;
/* As am_post, without waiting for the disk: for those who tell again (rules). */
enum err am_take(struct am *am, const struct am_alert *alerts, size_t n, int64_t now_ms, size_t *ret_rejected,
                 struct buf *why) MUST_CHECK;
/* OK: what is said to be stored is. Otherwise why it is in memory only. */
enum err am_durable(struct am *am, struct err_text *reterr);
/* Run what is due. Returns when to come again at the latest. */
int64_t am_tick(struct am *am, int64_t now_ms);
/* AM_RETRY: tried again with growing pauses until the group's next turn; AM_REFUSED: that turn tries it again. */
void am_sent(struct am *am, struct am_notice *n, enum am_outcome o, int64_t now_ms);

/* ---- silences ---- */
#define AM_ID_LEN 36 /* 6f4922e4-5b5d-4a0b-9f0a-2f4a4f1c1d11 */
struct am_silence {
    str id; /* "": a new one */
    struct am_matchers matchers;
    int64_t starts_ms, ends_ms, updated_ms;
    str created_by, comment;
};
enum am_silence_state { AM_SILENCE_ACTIVE, AM_SILENCE_PENDING, AM_SILENCE_EXPIRED };
enum am_silence_state am_silence_state(const struct am_silence *s, int64_t now_ms);
/* Create, or change what may be changed: a change of matchers or of a start that has passed makes a new silence and
 * expires the old one. ERR_NOT_FOUND: no such id; ERR_INVALID; ERR_LIMIT. matchers are copied. */
enum err am_silence_set(struct am *am, const struct am_silence *s, int64_t now_ms, char ret_id[AM_ID_LEN + 1],
                        struct err_text *reterr) MUST_CHECK;
enum err am_silence_expire(struct am *am, str id, int64_t now_ms, struct err_text *reterr) MUST_CHECK;
/* Copies in a, in the API's order: active (first to end first), pending (first to start first), expired (last first). */
void am_silences(struct am *am, int64_t now_ms, struct arena *a, struct am_silence **ret, size_t *ret_n);

/* Ids of active silences that match the labels, in a. */
void am_silences_of(struct am *am, struct labels ls, int64_t now_ms, struct arena *a, str **ret, size_t *ret_n);

/* ---- looking ---- */
struct am_alert_view { /* firing ones only */
    struct am_alert alert;
    const str *receivers;
    size_t n_receivers;
    const str *silenced_by; /* ids */
    size_t n_silenced_by;
    const uint64_t *inhibited_by; /* fingerprints */
    size_t n_inhibited_by;
};
/* Sorted by fingerprint; everything lives in a. */
void am_alerts(struct am *am, int64_t now_ms, struct arena *a, struct am_alert_view **ret, size_t *ret_n);
struct am_group_view {
    struct labels labels;
    str receiver, key;
    const struct am_alert_view **alerts; /* of am_alerts' rows */
    size_t n;
    bool muted; /* by a time interval, now */
};
/* Groups that have firing alerts, sorted by labels, then receiver. */
void am_groups(struct am *am, int64_t now_ms, struct arena *a, struct am_group_view **ret, size_t *ret_n);
/* With a reference for the caller. */
struct am_config *am_config_in_use(struct am *am);

#endif
