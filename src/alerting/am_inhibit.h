/* Inhibition: while a source alert fires, targets with the same values of the `equal` labels are not notified.
 * An alert that matches both sides of a rule does not inhibit itself or its like. */
#ifndef VANE_ALERTING_AM_INHIBIT_H
#define VANE_ALERTING_AM_INHIBIT_H

#include "alerting/am_matcher.h"

struct am_inhibit_rule {
    str name;
    struct am_matchers source, target;
    str *equal;
    size_t n_equal;
};
struct am_inhibit_rules {
    struct am_inhibit_rule *p;
    size_t n;
};
enum err am_inhibit_conf(struct conf_ctx *cx, const struct conf_node *n, struct am_inhibit_rules *ret) MUST_CHECK;

/* What fires and is a source of some rule, indexed by the values of `equal`. One thread at a time. */
struct am_inhibitor;
struct am_inhibitor *am_inhibitor_new(const struct am_inhibit_rules *rules); /* rules must live longer */
void am_inhibitor_free(struct am_inhibitor *x);
/* fingerprint identifies the alert; labels are copied. */
void am_inhibitor_fire(struct am_inhibitor *x, uint64_t fingerprint, struct labels ls);
void am_inhibitor_resolve(struct am_inhibitor *x, uint64_t fingerprint);
/* Is an alert with these labels inhibited? ret_by: fingerprints of sources, at most max (1 or more); returns how many are
 * in it (0: it is not). */
size_t am_inhibited(const struct am_inhibitor *x, struct labels ls, uint64_t *ret_by, size_t max);

#endif
