/* Moments that must outlive the process: when an alert was told first (escalation), when a digest was sent last, when a
 * heartbeat was seen last. Kept in memory, and durably once am_policy_state_save() returned OK.
 * Threads: any function from any thread. Lock rank: 160; the database's (200) below it. */
#ifndef VANE_ALERTING_AM_POLICY_STATE_H
#define VANE_ALERTING_AM_POLICY_STATE_H

#include "control/control.h"

#define AM_POLICY_FACTS_MAX 2000000u

enum am_fact_kind { AM_FACT_TOLD, AM_FACT_DIGEST, AM_FACT_HEARTBEAT }; /* numbers are stored */
struct am_fact {
    int64_t at_ms; /* 0: there is none */
    int64_t n;     /* AM_FACT_TOLD: the step that was reached */
};
struct am_policy_state;
/* control NULL: in memory alone. */
enum err am_policy_state_open(struct control *control, struct am_policy_state **ret,
                              struct err_text *reterr) MUST_CHECK;
void am_policy_state_close(struct am_policy_state *s); /* NULL is fine; what was not saved is not */
struct am_fact am_policy_state_get(struct am_policy_state *s, enum am_fact_kind k, str key);
void am_policy_state_put(struct am_policy_state *s, enum am_fact_kind k, str key, struct am_fact f); /* at_ms 0: gone */
/* What was put since the last time, in one transaction. On error it is tried again with the next one. */
enum err am_policy_state_save(struct am_policy_state *s, struct err_text *reterr) MUST_CHECK;
/* Forget facts of a kind for which keep() says no, looking at max of them: from at (0: from the beginning) on. Returns
 * where to go on; 0: that was the last one. What was put meanwhile may be passed over. */
size_t am_policy_state_sweep(struct am_policy_state *s, enum am_fact_kind k,
                             bool (*keep)(void *ctx, str key, struct am_fact f), void *ctx, size_t at, size_t max);

#endif
