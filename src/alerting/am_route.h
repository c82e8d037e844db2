/* The routing tree: which receivers get an alert, how it is grouped, when a group speaks. */
#ifndef VANE_ALERTING_AM_ROUTE_H
#define VANE_ALERTING_AM_ROUTE_H

#include "alerting/am_matcher.h"

struct am_route_policy;

#define AM_ROUTES_MAX 100000u /* in a tree */

struct am_route {
    struct am_route *parent;
    struct am_route **routes;
    size_t n_routes;
    size_t index; /* of all routes, depth first: 0 is the root */
    struct am_matchers matchers;
    bool goes_on; /* continue: later siblings are asked too */
    str key;      /* {}/{a="b"}: route part of the group key; two routes may share one */
    str id;       /* {}/{a="b"}/0: unique */
    /* inherited unless given */
    str receiver;
    str *group_by; /* sorted */
    size_t n_group_by;
    bool group_by_all;
    int64_t group_wait_ms, group_interval_ms, repeat_interval_ms;
    /* not inherited: names of intervals */
    str *mute, *active;
    size_t n_mute, n_active;
    struct labels labels; /* templates for routeLabels; inherited, own ones win */
    const struct conf_node *at;
    const struct am_route_policy *policy; /* am_policy.h; NULL: none */
};

/* Decode `route:` of alertmanager.yml. Checks what a route can know by itself (matchers, group_by, durations, the
 * root's rules); names of receivers and intervals are the caller's to check. */
enum err am_route_conf(struct conf_ctx *cx, const struct conf_node *n, struct am_route **ret_root,
                       size_t *ret_n) MUST_CHECK;
/* The deepest routes that take the labels, in order; at most max; returns how many there are (1 at least). */
size_t am_route_match(const struct am_route *root, struct labels ls, const struct am_route **ret, size_t max);
/* The same with what every route said, by index, for people: ret is of as many entries as the tree has routes. */
enum am_route_step {
    AM_ROUTE_UNASKED, /* a sibling before took the alert, or the parent's matchers do not match */
    AM_ROUTE_NO,      /* its matchers do not match */
    AM_ROUTE_PASSED,  /* they do, and a route below took it */
    AM_ROUTE_TAKEN
};
void am_route_explain(const struct am_route *root, struct labels ls, uint8_t *ret);
/* Labels of an alert by which the route groups; in a. */
struct labels am_route_group(const struct am_route *r, struct labels ls, struct arena *a);

#endif
