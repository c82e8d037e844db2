/* History of alerting: every decision, kept durably and bounded, so that it can be told afterwards why somebody was or
 * was not told.
 *
 *   am_history_add(am, &(struct am_event){ .kind = AM_EV_ESCALATED, .at_ms = now, .group_key = key, ... });
 *   am_history_query(am, &(struct am_history_filter){ .fingerprint = fp, .limit = 100 }, &a, &page, &why);
 *
 * An event is about one alert (fingerprint and labels), or about a message (group_key, receiver, and the fingerprints
 * of the alerts in it). It is written behind the caller's back within milliseconds, in the order of the calls; a query
 * sees everything that was added before it, but in a flood (thousands of events that are not on disk yet), where it
 * waits for nothing and sees what is written. Rows go after retention_ms or beyond rows_max, the oldest first. What
 * cannot be written is counted in vane_alertmanager_history_dropped_total; nobody waits for the history.
 * Threads: any function from any thread. am_history_add may be called with am.mu held and never blocks on the disk. */
#ifndef VANE_ALERTING_AM_HISTORY_H
#define VANE_ALERTING_AM_HISTORY_H

#include "alerting/am_matcher.h"
#include "base/err.h"
#include "model/labels.h"

struct am;

#define AM_HISTORY_TEXT_BYTES_MAX 2048u    /* longer texts are cut */
#define AM_HISTORY_ALERTS_MAX     10000u   /* fingerprints of one message; more: found by its group */
#define AM_HISTORY_LIMIT_MAX      10000u   /* rows of one page */
#define AM_HISTORY_ROWS_MAX       1000000u /* kept unless configured */
#define AM_HISTORY_RETENTION_MS   (90ll * 24 * 3600 * 1000)

/* Numbers are stored: rows are only ever added at the end. */
#define AM_EVENTS(X)                                                                             \
    X(RECEIVED, "received", "the alert came in, for the first time or again after it had ended") \
    X(RESOLVED, "resolved", "it ended")                                                          \
    X(GROUPED, "grouped", "it is in this group of this receiver")                                \
    X(INHIBITED, "inhibited", "left out of the group's turn: another alert fires")               \
    X(SILENCED, "silenced", "left out of the group's turn: a silence matches")                   \
    X(MUTED, "muted", "left out of the group's turn: a time interval")                           \
    X(HELD, "held", "not repeated: everything in the group is acknowledged")                     \
    X(SENT, "sent", "a message was handed to its integration")                                   \
    X(DELIVERED, "delivered", "the provider took it; text: its answer")                          \
    X(FAILED, "failed", "an attempt failed; text: why, and what happens next")                   \
    X(ACKNOWLEDGED, "acknowledged", "actor took care of it; text: the comment")                  \
    X(UNACKNOWLEDGED, "unacknowledged", "the acknowledgement was taken back or ran out")         \
    X(SILENCE_SET, "silence_set", "a silence was made or changed")                               \
    X(SILENCE_EXPIRED, "silence_expired", "a silence was ended by actor")                        \
    X(ESCALATED, "escalated", "nobody acknowledged in time: the next step was told")             \
    X(DIGESTED, "digested", "put into, or sent with, a digest")                                  \
    X(FLAPPING, "flapping", "changes too often: held back, or told as such")                     \
    X(HEARTBEAT, "heartbeat", "a heartbeat was missed, came back, or was sent")                  \
    X(DRILL, "drill", "a step of a fire drill")

enum am_event_kind {
#define X(id, name, help) AM_EV_##id,
    AM_EVENTS(X)
#undef X
        AM_EV_KINDS
};
const char *am_event_kind_name(enum am_event_kind k); /* "received" */
bool am_event_kind_parse(str name, enum am_event_kind *ret);

struct am_event { /* what does not apply is left zero; all borrowed, copied by am_history_add */
    int64_t id;   /* given by the history; grows */
    int64_t at_ms;
    enum am_event_kind kind;
    uint64_t fingerprint;                 /* of the alert; 0: about a message, a group or a silence */
    struct labels labels;                 /* the alert's; of a message its group's */
    str group_key, receiver, integration; /* integration: "webhook[0]" */
    str actor;                            /* who decided: a person, "phone:+49...", "" */
    str text;                             /* for people; no secrets */
    uint64_t idempotency;                 /* of a message: the same for all attempts at it */
    unsigned attempt;                     /* from 1 */
    const uint64_t *alerts;               /* of a message: fingerprints, sorted */
    size_t n_alerts;
    bool drill;
};
void am_history_add(struct am *am, const struct am_event *e);

struct am_history_filter {              /* zero: everything */
    int64_t from_ms, to_ms;             /* [from, to); 0: open */
    uint64_t fingerprint;               /* events of this alert and messages that it was in */
    const struct am_matchers *matchers; /* over labels; NULL: all */
    uint32_t kinds;                     /* bits 1 << enum am_event_kind; 0: all */
    str receiver, group_key;            /* exactly */
    str contains;                       /* in text or actor, ASCII case folded */
    int64_t before_id;                  /* go on with an earlier page: its next_id; 0: from the newest */
    size_t limit;                       /* 0: 100 */
};
struct am_history_page {
    struct am_event *events; /* newest first */
    size_t n;
    int64_t next_id; /* 0: that is all there is */
    bool cut;        /* looking took too long: fewer rows than asked for, go on at next_id */
};
/* Everything lives in a. ERR_IO ...: the database. */
enum err am_history_query(struct am *am, const struct am_history_filter *f, struct arena *a,
                          struct am_history_page *ret, struct err_text *reterr) MUST_CHECK;

#endif
