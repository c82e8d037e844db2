/* Heartbeats that others send (dead man's switch): a job that should run every day, a Prometheus elsewhere whose watchdog
 * posts every minute. One that is late becomes the alert HeartbeatMissing{heartbeat="NAME"} with the labels of the
 * policy; it ends when the next one comes. The other way round, `watchdog` of the policy is a route (am_policy.h).
 *
 * Late is: period + grace after the last one, or after the heartbeat was first configured. While this process was down
 * nobody could be heard: after a start each heartbeat has its grace once more, unless it was missing before.
 * When a heartbeat was last seen is durable before am_heartbeat_seen() says OK.
 * Threads: any function from any thread. Lock rank: am.mu. */
#ifndef VANE_ALERTING_AM_HEARTBEAT_H
#define VANE_ALERTING_AM_HEARTBEAT_H

#include "alerting/am.h"

#define AM_HEARTBEAT_ALERT STR("HeartbeatMissing")

/* It came. ERR_NOT_FOUND: the policy has none of this name; another error: it counts but was not stored. */
enum err am_heartbeat_seen(struct am *am, str name, int64_t now_ms, struct err_text *reterr) MUST_CHECK;

struct am_heartbeat_view {
    str name;
    int64_t period_ms, grace_ms, last_ms, due_ms; /* last_ms 0: never; due_ms: missing from then on */
    bool missing;
    struct labels labels; /* of its alert */
};
/* All of the policy, in its order; everything lives in a. */
void am_heartbeats(struct am *am, int64_t now_ms, struct arena *a, struct am_heartbeat_view **ret, size_t *ret_n);

#endif
