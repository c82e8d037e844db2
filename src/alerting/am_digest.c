/* When a digest speaks: the group of its route has its turns at the calendar's moments and not at intervals, so that a
 * restart finds the next one by itself; one that was missed meanwhile is made good for (am_policy_state.h knows when the
 * last one was). */
#include "alerting/am_policy.h"

/* HH:MM of the day that is `days` after that of a moment. */
static int64_t moment_s(int at_minute, const struct tz *tz, int64_t now_s, int days)
{
    struct civil c = civil_of(now_s + tz_at(tz, now_s).east_s);
    c.day += days;
    c.hour = at_minute / 60;
    c.minute = at_minute % 60;
    c.second = 0;
    return tz_civil_seconds(tz, &c);
}

static int64_t find(int at_minute, const struct am_interval *on, int64_t now_ms, int step)
{
    const struct tz *tz = on->tz ? on->tz : tz_utc;
    int64_t now_s = now_ms / 1000;
    for (int day = 0; day != 9 * step; day += step) {
        int64_t t = moment_s(at_minute, tz, now_s, day);
        if ((step > 0 ? t * 1000 > now_ms : t * 1000 <= now_ms) && am_interval_contains(on, t))
            return t * 1000;
    }
    return step > 0 ? INT64_MAX : INT64_MIN; /* no day is right: the list of weekdays forbids that */
}

int64_t am_calendar_next_ms(int at_minute, const struct am_interval *on, int64_t now_ms)
{
    return find(at_minute, on, now_ms, 1);
}

int64_t am_calendar_previous_ms(int at_minute, const struct am_interval *on, int64_t now_ms)
{
    return find(at_minute, on, now_ms, -1);
}
