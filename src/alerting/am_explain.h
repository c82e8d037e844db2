/* Why an alert did or did not page: what the engine knows of it at this moment. The history (am_history.h) tells what
 * happened before. */
#ifndef VANE_ALERTING_AM_EXPLAIN_H
#define VANE_ALERTING_AM_EXPLAIN_H

#include "alerting/am.h"
#include "alerting/am_ack.h"

#define AM_EXPLAIN_MAX 20 /* alerts of one answer */

struct am_explained_integration {
    str name;          /* "webhook[0]" */
    int64_t sent_ms;   /* the last message about this group; 0: none */
    bool told_firing;  /* that message said of this alert that it fires */
    bool on_its_way;   /* a message is out, or waits for its next attempt */
    unsigned attempt;  /* of that message */
    int64_t retry_ms;  /* 0: it is not waiting */
    int64_t repeat_ms; /* told_firing: when it would be repeated, at the earliest */
};
struct am_explained_group {
    const struct am_route *route; /* of the configuration in use: hold a reference (am_config_in_use) */
    str key;
    bool exists;     /* the alert is in such a group; otherwise it would be */
    int64_t next_ms; /* its next turn; 0: a message is out, or there is no group */
    bool had_turn, muted;
    const char *left_out; /* of its last turn: "silenced", "inhibited", "muted"; NULL: it was not */
    struct am_explained_integration *integrations;
    size_t n_integrations;
};
struct am_explained {
    struct labels labels;
    uint64_t fingerprint;
    bool known, fires, timed_out; /* timed_out: its sender stated no end */
    struct am_alert alert;        /* known */
    bool acked;
    struct am_ack ack;
    struct am_silence *silences; /* that match now */
    size_t n_silences;
    struct labels *inhibited_by; /* sources */
    size_t n_inhibited_by;
    uint8_t *steps; /* am_route_explain(), of cfg->n_routes */
    struct am_explained_group *groups;
    size_t n_groups;
    str verdict; /* a sentence or two for people */
};
struct am_explanation {
    struct am_config *cfg; /* a reference, for the caller */
    struct am_explained *alerts;
    size_t n, n_more; /* n_more: alerts that match, too, and are left out */
};
/* Alerts that are known and match; if there is none, one that is made of the labels that the matchers demand. In a. */
void am_explain(struct am *am, const struct am_matchers *m, int64_t now_ms, struct arena *a,
                struct am_explanation *ret);

#endif
