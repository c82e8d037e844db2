/* Acknowledgements: somebody takes care of a firing alert. Unlike a silence that does not hide it: messages stop being
 * repeated and escalation stops, while what is new in a group and that it ended are still told.
 *
 * An acknowledgement is one alert's. That of a group is that of each alert which fires in it now: one that joins later
 * is told as ever. It ends when it is cleared, at until_ms, or with the alert: one that fires again is not acknowledged.
 * They are durable (when am_ack_set returns OK) and each change is in the history.
 * Threads: any function from any thread. Lock rank: am.mu, 150. */
#ifndef VANE_ALERTING_AM_ACK_H
#define VANE_ALERTING_AM_ACK_H

#include "alerting/am.h"

#define AM_ACK_TEXT_BYTES_MAX 4096u /* owner, comment */

struct am_ack {
    uint64_t fingerprint;
    struct labels labels; /* the alert's */
    str owner, comment;
    int64_t at_ms, until_ms; /* until_ms 0: until the alert ends */
};
/* What is meant: the first of these that is given. */
struct am_ack_target {
    uint64_t fingerprint;
    str group_key;                      /* am_notice.group_key: all firing alerts of the group */
    const struct am_matchers *matchers; /* all firing alerts that match */
};
/* Acknowledge, or change an acknowledgement. ret_n (may be NULL): alerts. ERR_NOT_FOUND: nothing such fires;
 * ERR_INVALID: no owner, or until_ms has passed; ERR_LIMIT. Another error: it counts but was not stored. */
enum err am_ack_set(struct am *am, const struct am_ack_target *t, str owner, str comment, int64_t until_ms,
                    int64_t now_ms, size_t *ret_n, struct err_text *reterr) MUST_CHECK;
/* Take back; actor: who does. ERR_NOT_FOUND: nothing such is acknowledged. */
enum err am_ack_clear(struct am *am, const struct am_ack_target *t, str actor, int64_t now_ms, size_t *ret_n,
                      struct err_text *reterr) MUST_CHECK;
/* false: the alert is not acknowledged. ret (may be NULL) lives in a. */
bool am_ack_get(struct am *am, uint64_t fingerprint, int64_t now_ms, struct arena *a, struct am_ack *ret);
/* Are all firing ones among these acknowledged? For escalation: am_acked(am, n->alerts, n->n_alerts, now). */
bool am_acked(struct am *am, const struct am_alert *alerts, size_t n, int64_t now_ms);
/* All of them, newest first, in a. */
void am_acks(struct am *am, int64_t now_ms, struct arena *a, struct am_ack **ret, size_t *ret_n);

#endif
