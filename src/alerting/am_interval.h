/* Time intervals of Alertmanager: when a route is muted or active. All given fields of an interval must hold; of a list
 * of intervals one is enough. Ends of times are exclusive. Negative days count from the month's end; days past it are
 * cut off, but a range wholly beyond the month matches nothing. */
#ifndef VANE_ALERTING_AM_INTERVAL_H
#define VANE_ALERTING_AM_INTERVAL_H

#include "base/tz.h"
#include "conf/conf.h"

struct am_range {
    int from, to; /* inclusive; minutes of the day: to is exclusive */
};
struct am_interval {
    CONF_LIST_OF(struct am_range) times, weekdays, days, months, years; /* n == 0: any */
    const struct tz *tz;                                                /* NULL: UTC */
};
struct am_intervals {
    struct am_interval *p;
    size_t n;
};
/* Decode a list of intervals (`time_intervals[].time_intervals`); errors go to cx. */
enum err am_intervals_conf(struct conf_ctx *cx, const struct conf_node *n, struct am_intervals *ret) MUST_CHECK;
bool am_interval_contains(const struct am_interval *i, int64_t unix_s);
bool am_intervals_contain(const struct am_intervals *v, int64_t unix_s); /* any of them */

#endif
