/* Private to am*.c of the engine.
 *
 * An alert is one object per fingerprint, updated in place; the store and the groups it is in hold it (refs). A group's
 * turn (flush) makes a flight: one pending message per integration that has something to say. While a flight is out, the
 * group has no other turn; messages live no longer than their flight's deadline, so turns come back.
 * Everything here is under am.mu. */
#ifndef VANE_ALERTING_AM_INT_H
#define VANE_ALERTING_AM_INT_H

#include "alerting/am.h"
#include "alerting/am_policy.h"
#include "alerting/am_policy_state.h"
#include "alerting/am_history.h"
#include "alerting/am_state.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/thread.h"
#include "base/vec.h"

struct ack {
    struct arena a;
    str owner, comment;
    int64_t at_ms, until_ms;
};
struct alert {
    struct arena a; /* of v */
    struct am_alert v;
    struct am_flap *flap; /* NULL: it never changed, or nobody asks */
    bool timed_out;       /* ends_ms is a guess: now + resolve_timeout */
    bool ended;           /* the history knows that it ended */
    unsigned refs;
    const struct am_route **routes; /* that take it under the configuration in use: am_alert_routes() */
    size_t n_routes;                /* 0: not asked yet; at least one takes it */
    struct ack *ack;                /* NULL: nobody took care of it */
    int64_t row;                    /* of the database */
    int64_t saved_ends_ms;          /* what is written down of v.ends_ms */
};
static inline bool alert_resolved(const struct alert *al, int64_t now_ms)
{
    return al->v.ends_ms <= now_ms;
}
#define MAP_NAME     alert_map
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct alert *
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

/* An alert in a group, and what it was left out of the last turn for (AM_EV_INHIBITED ...; 0: it was not). */
struct member {
    struct alert *al;
    enum am_event_kind why;
};
#define MAP_NAME     member_map
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct member
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

struct flight;
struct group {
    struct arena a; /* labels, key */
    const struct am_route *route;
    struct labels labels;
    str key;
    uint64_t id; /* fingerprint of the labels */
    struct member_map members;
    int64_t next_ms;
    bool flushed;
    struct flight *flight; /* NULL: none is out */
};
struct group_id {
    uint64_t labels;
    size_t route;
};
#define MAP_NAME     group_map
#define MAP_KEY      struct group_id
#define MAP_VALUE    struct group *
#define MAP_HASH(k)  ((k).labels + (k).route * 0x9e3779b97f4a7c15u)
#define MAP_EQ(a, b) ((a).labels == (b).labels && (a).route == (b).route)
#include "base/map.h"

struct resolved_alert { /* as it was when the flight began */
    uint64_t fingerprint;
    int64_t updated_ms;
};
struct flight {
    struct group *group;   /* NULL: it is gone (reload) */
    struct am_config *cfg; /* a reference: messages point into it */
    VEC(struct resolved_alert) resolved;
    size_t n_pending;
    bool failed, spoke;
    int64_t deadline_ms;
};
struct fingerprints { /* sorted */
    uint64_t *p;
    size_t n;
};
struct pending { /* one message */
    struct am_notice n;
    struct arena a;
    struct flight *flight;
    str log_key;
    struct fingerprints firing, resolved;
    int64_t flush_ms, repeat_ms, retry_ms, pause_ms;
    bool digest; /* said whether it is news or not */
};

#define MAP_NAME     air_map
#define MAP_KEY      str
#define MAP_VALUE    struct pending *
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

struct log_entry { /* what an integration was told last about a group */
    str key;       /* owned */
    /* Owned, one block. tried: of a message that was on its way when the process died. */
    struct fingerprints firing, resolved, tried;
    int64_t sent_ms, flush_ms, expires_ms; /* flush_ms: of the turn that the message was of */
    bool held;                             /* a repetition was held back since, as everything is acknowledged */
    str memory;                            /* of the integration; owned, mostly empty */
};
#define MAP_NAME     log_map
#define MAP_KEY      str
#define MAP_VALUE    struct log_entry
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

struct timer {
    int64_t next_ms;
    bool flushed, used;
};
#define MAP_NAME     timer_map
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct timer
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

#define MAP_NAME     known_map
#define MAP_KEY      uint64_t
#define MAP_VALUE    uint8_t
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

struct silence {
    struct arena a;
    struct am_silence v;
};
#define AM_SEVERITIES 4 /* P1 to P4 */
/* The count of overdue alerts and the end of clocks that nobody needs, a part in each tick: 50,000 alerts at once would
 * hold am.mu for too long. */
struct am_policy_round {
    int64_t next_ms;    /* of its next part; INT64_MAX: it is over */
    size_t alert, fact; /* where to go on in the maps; one that moved meanwhile is counted in the next round */
    bool counted;
    int64_t hours_end_ms, n[AM_SEVERITIES];
};
struct am {
    struct mtx mu;
    struct am_options opt;
    struct am_config *cfg;
    struct alert_map alerts;
    struct am_inhibitor *inhibitor;
    struct am_policy_state *facts;
    bool own_facts;
    struct am_policy_round round;
    int64_t opened_ms, heartbeats_ms; /* heartbeats_ms: when missing heartbeats are told again; mu */
    struct group_map groups;
    size_t group_at;               /* where the turns of groups go on */
    VEC(struct pending *) waiting; /* for their next attempt */
    struct air_map air;            /* messages that are out or waiting, by log_key */
    struct log_map log;
    VEC(struct silence *) silences;
    int64_t alert_gc_ms, group_gc_ms, next_end_ms; /* next_end_ms: no firing alert ends before */
    int64_t alive_ms;                              /* when it was last written down that this runs */
    struct control *own_control;                   /* NULL: it is the caller's */
    struct control *control;
    int64_t last_row; /* of an alert */
    struct am_state *state;
    struct err_text broken;  /* "": the database was taken up; or why it was not */
    bool quiet;              /* what is taken up from before is no news */
    struct timer_map timers; /* of groups, while they are taken up */
    struct known_map known;  /* at a reload: alerts and the groups they are in, which is nothing new */
};
#define AM_ALIVE_MS 15000 /* how often that is written down, while there are alerts */

/* am_rows.c: what is written down, a row for each. Under am.mu but for am_rows_attach(). */
enum err am_rows_attach(struct control *c, struct err_text *reterr) MUST_CHECK;
void am_row_alert(struct am *am, struct alert *al);
void am_row_alert_gone(struct am *am, const struct alert *al);
void am_row_silence(struct am *am, const struct am_silence *s);
void am_row_silence_gone(struct am *am, str id);
void am_row_log(struct am *am, const struct log_entry *e);
void am_row_log_gone(struct am *am, str key);
void am_row_tried(struct am *am, const struct pending *p); /* it goes out now */
void am_row_group(struct am *am, const struct group *g);   /* its timer */
void am_row_group_gone(struct am *am, uint64_t timer_key);
void am_rows_no_groups(struct am *am);
uint64_t am_timer_key(const struct am_route *r, uint64_t labels); /* of am.timers */
void am_row_ack(struct am *am, const struct alert *al);           /* or that there is none */
void am_row_alive(struct am *am, int64_t now_ms);
void am_rows_all(struct am *am); /* everything anew */
/* Fill an engine that is empty; ERR_...: it is still. Rows that make no sense are passed over, with a warning. */
enum err am_rows_load(struct am *am, struct control *c, int64_t now_ms, struct err_text *reterr) MUST_CHECK;

/* am_history.c: those called under am.mu */
void am_event_alert(struct am *am, enum am_event_kind kind, const struct alert *al, const struct group *g, str text,
                    int64_t now_ms);
void am_event_message(struct am *am, enum am_event_kind kind, const struct pending *p, str text, int64_t now_ms);

/* am_ack.c */
void am_ack_put(struct alert *al, str owner, str comment, int64_t at_ms, int64_t until_ms); /* replaces */
void am_ack_free(struct ack *k);                                                            /* NULL is fine */
void am_ack_end(struct am *am, struct alert *al, str actor, str why, int64_t now_ms);       /* if there is one */
void am_acks_gc(struct am *am, int64_t now_ms);
static inline bool am_alert_acked(const struct alert *al, int64_t now_ms)
{
    return al->ack && (!al->ack->until_ms || al->ack->until_ms > now_ms);
}

/* am_alerts.c */
struct alert *am_alert_new(struct am *am, uint64_t fingerprint); /* in the store */

/* am_flap.c */
void am_flap_note(struct am *am, struct alert *al, int64_t now_ms); /* it began, or ended */
bool am_flapping(const struct am *am, const struct alert *al, int64_t now_ms);
str am_flap_text(const struct am *am, const struct alert *al, int64_t now_ms, struct arena *a);
/* am_escalate.c: what a policy says of a group's turns */
int64_t am_policy_first_turn(const struct am_route *r, int64_t now_ms);
int64_t am_policy_next_turn(struct am *am, const struct am_route *r, int64_t now_ms);
void am_policy_joined(const struct am *am, struct group *g, const struct alert *al, int64_t now_ms);
/* Is it told in this turn? v->ends_ms: as in a turn. May bring the group's next turn forward. */
bool am_policy_says(struct am *am, struct group *g, const struct alert *al, const struct am_alert *v, int64_t now_ms);
bool am_policy_is_digest(const struct am_route *r);
void am_policy_gc_begin(struct am *am, int64_t now_ms); /* a round, if none is under way */
void am_policy_gc(struct am *am, int64_t now_ms);       /* its next part, when it is time */
void am_policy_save(struct am *am);                     /* without am.mu */
/* am_heartbeat.c, without am.mu: tells what is missing; when to come again */
int64_t am_heartbeat_tick(struct am *am, int64_t now_ms);
/* am_silence.c */
enum err am_silence_restore(struct am *am, const struct am_silence *s, struct err_text *reterr) MUST_CHECK;
/* Ids of active silences that match, in a; NULL a: does any? */
size_t am_silenced(const struct am *am, struct labels ls, int64_t now_ms, struct arena *a, str **ret);
void am_silences_gc(struct am *am, int64_t now_ms);
void am_silence_free(struct silence *s);
/* am_dispatch.c */
void am_dispatch_alert(struct am *am, struct alert *al, int64_t now_ms);
size_t am_alert_routes(const struct am *am, struct alert *al, const struct am_route ***ret);
/* "{}:{a=\"b\"}:receiver/webhook/0", in a: key of am.log and am.air */
str am_log_key(struct arena *a, const struct group *g, const struct am_receiver *receiver,
               const struct am_integration *in);
uint64_t am_known_key(const struct group *g, uint64_t fingerprint); /* of am.known */
void am_groups_clear(struct am *am);
void am_pending_end(struct am *am, struct pending *p); /* frees it, and its flight with the last one */
bool am_route_muted(const struct am *am, const struct am_route *r, int64_t now_ms);
void am_alert_unref(struct alert *al);
int am_alert_cmp(const void *a, const void *b); /* struct am_alert: job, instance, then all labels */

#endif
