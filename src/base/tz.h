/* Time zones by name, from the system's zoneinfo (RFC 8536), and the civil calendar. No process-wide TZ is touched.
 * Threads: all functions may be called from any thread; a zone lives as long as the process. */
#ifndef VANE_BASE_TZ_H
#define VANE_BASE_TZ_H

#include "base/buf.h"

struct tz;
extern const struct tz *const tz_utc;
/* "Europe/Berlin", "UTC", "" (UTC), "Local" (the system's). ERR_NOT_FOUND: no such zone; ERR_CORRUPT: not a zone file. */
enum err tz_load(str name, const struct tz **ret, struct err_text *reterr) MUST_CHECK;
str tz_name(const struct tz *tz);
/* What holds at a moment: seconds east of UTC, abbreviation (of static lifetime), daylight saving. */
struct tz_offset {
    int32_t east_s;
    str abbrev;
    bool dst;
};
struct tz_offset tz_at(const struct tz *tz, int64_t unix_s);

struct civil {
    int64_t year;
    int month, day, hour, minute, second; /* month and day from 1 */
    int weekday;                          /* 0 = Sunday */
    int yearday;                          /* from 1 */
};
struct civil civil_of(int64_t unix_s); /* of seconds since 1970 in whatever zone was added to them */
/* Seconds since 1970 of a date; fields may be out of range, as in Go's time.Date. */
int64_t civil_seconds(int64_t year, int64_t month, int64_t day, int64_t hour, int64_t minute, int64_t second);
int64_t tz_civil_seconds(const struct tz *tz, const struct civil *c); /* the same, c being local time in tz */
int civil_month_days(int64_t year, int month);

#endif
