/* Who is told how, by severity: `alert_policy:` of vane.yaml. Its parts compile to routes (and a few receivers) in front
 * of those of alertmanager.yml, so that grouping, silences, inhibition, the log of what was told, retries, history and
 * `amtool config routes` know nothing of them; a file without alert_policy behaves as ever.
 *
 *   severities   P1 ... P4: which label values they mean, which channels hear them, in what time somebody must respond
 *   escalations  whom a severity tells next while nobody acknowledges
 *   digests      what is told once a day and not at once
 *   flapping, resolve_wait, current_value, changes    what a message says, and when it keeps still
 *   heartbeats, watchdog   dead man's switches, both ways (am_heartbeat.h)
 *   drills       scheduled fire drills
 *
 * A severity is a route for each of its receivers, with `continue`; only the last one decides whether the file's own
 * routes see the alert too. A step of an escalation and a digest are such routes with struct am_route_policy on top, by
 * which the dispatcher holds alerts back until their time.
 * Memory: lives in the am_config's arena. Threads: read-only after loading. */
#ifndef VANE_ALERTING_AM_POLICY_H
#define VANE_ALERTING_AM_POLICY_H

#include "alerting/am_config.h"
#include "alerting/am_interval.h"

#define AM_POLICY_NAMES_MAX 1000u /* severities, steps, digests, heartbeats, drills: each */
#define AM_FLAP_CHANGES_MAX 60u
#define AM_BUSINESS_HOURS   (-1) /* am_severity.response_ms */

typedef CONF_LIST_OF(str) am_strs;
struct am_channel { /* what a name means */
    str name;
    am_strs receivers;
};
struct am_severity {
    str name;      /* P1 */
    am_strs match; /* values of the severity label; its name is always one */
    am_strs channels;
    int64_t response_ms; /* somebody must acknowledge by then; 0: at once, AM_BUSINESS_HOURS; INT64_MAX: no goal */
    str escalation, digest;
    int64_t repeat_ms, group_wait_ms, resolve_wait_ms; /* -1: as everywhere else */
    bool goes_on;                                      /* the routes of alertmanager.yml hear it too */
};
struct am_step {
    int64_t after_ms; /* since the alert was told first */
    am_strs channels;
};
struct am_escalation {
    CONF_LIST_OF(struct am_step) steps;
};
struct am_digest {
    str name;
    int at_minute; /* of the day */
    str time_zone;
    const struct conf_node *weekdays; /* as in a time interval; NULL: all */
    struct am_interval on;            /* days and zone */
    am_strs channels;
};
struct am_flapping {
    uint64_t changes;  /* more of them ... */
    int64_t window_ms; /* ... in this time: the alert flaps, until it was quiet for as long */
};
struct am_heartbeat {
    int64_t period_ms, grace_ms;
    CONF_DICT_OF(str) labels, annotations;
};
struct am_watchdog {
    str alert; /* its name */
    struct conf_secret url;
    str url_file;
    int64_t period_ms;
};
struct am_drill_plan {
    str rule, receiver; /* one of them, or labels */
    CONF_DICT_OF(str) labels;
    str severity; /* "": the rule's */
    int at_minute;
    str time_zone;
    const struct conf_node *weekdays;
    struct am_interval on;
};
struct am_policy {
    str severity_label;
    const struct conf_node *channels;       /* name: receiver, or name: [receivers] */
    const struct conf_node *business_hours; /* a time interval's list, or the name of one */
    CONF_DICT_OF(struct am_severity) severities;
    CONF_DICT_OF(struct am_escalation) escalations;
    CONF_DICT_OF(struct am_digest) digests;
    struct am_flapping *flapping; /* NULL: off */
    int64_t resolve_wait_ms;
    bool current_value, changes;
    CONF_DICT_OF(struct am_heartbeat) heartbeats;
    struct am_watchdog *watchdog; /* NULL: none */
    CONF_LIST_OF(struct am_drill_plan) drills;
    /* after loading */
    struct am_channel *channel;
    size_t n_channel;
    struct am_intervals hours; /* n 0: none are said */
    struct am_severity *all;   /* P1 ... P4 with what the file says of them, then the file's others */
    size_t n_all;
};
extern const struct conf_schema am_policy_schema;

/* On top of a route. */
struct am_route_policy {
    const struct am_severity *severity;
    const struct am_digest *digest;         /* its turns are the calendar's */
    const struct am_escalation *escalation; /* of the severity; NULL: none */
    str escalation_name;
    unsigned step;    /* 0: the first notification, which starts the clock; then the steps, from 1 */
    int64_t after_ms; /* of the step */
};

/* ---- private to am_config.c ---- */
/* Decode n (NULL: no policy) and write its routes and receivers into a copy of the file's root. */
enum err am_policy_compile(struct conf_ctx *cx, const struct conf_node *n, const struct conf_node *file,
                           const struct conf_node **ret_root, struct am_policy **ret) MUST_CHECK;
/* After the routes are decoded: puts am_route_policy on those it made. */
void am_policy_attach(struct conf_ctx *cx, struct am_config *c);

/* ---- questions ---- */
/* The severity of an alert; NULL: none. */
const struct am_severity *am_policy_severity(const struct am_policy *p, struct labels ls);
/* When somebody must have responded to an alert that began at start_ms; INT64_MAX: no goal. */
int64_t am_policy_due_ms(const struct am_policy *p, const struct am_severity *s, int64_t start_ms);
/* Should somebody have responded by now? When the last stretch of business hours ended is asked for once for many alerts
 * (am_policy_last_end_ms(); INT64_MIN: none has). */
bool am_policy_overdue(const struct am_policy *p, const struct am_severity *s, int64_t start_ms, int64_t now_ms,
                       int64_t last_end_ms);
int64_t am_policy_last_end_ms(const struct am_policy *p, int64_t now_ms);
/* How long a resolved alert is held back on this route. p may be NULL. */
int64_t am_policy_resolve_wait_ms(const struct am_policy *p, const struct am_route *r);
/* Receivers that a list of channels means, in order, without repetition; in a. */
size_t am_policy_receivers(const struct am_policy *p, const am_strs *channels, struct arena *a, str **ret);

/* ---- calendars: moments at HH:MM of some days in some zone ---- */
int64_t am_calendar_next_ms(int at_minute, const struct am_interval *on, int64_t now_ms);     /* the first after now */
int64_t am_calendar_previous_ms(int at_minute, const struct am_interval *on, int64_t now_ms); /* now, or before */

/* ---- drills ---- */
#define AM_DRILL_LABEL    "drill"          /* "true": a fire drill: marked in every message, never of a real group */
#define AM_DRILL_RECEIVER "drill_receiver" /* with it: only this receiver is told */
bool am_is_drill(struct labels ls);
/* Routes of an alert: those of the tree, or that of a drill of one receiver. As am_route_match(). */
size_t am_config_routes(const struct am_config *c, struct labels ls, const struct am_route **ret, size_t max);

#endif
