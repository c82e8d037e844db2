/* time.Time and time.Duration as template values, with Go's layouts. A Time is a struct without fields whose list
 * holds seconds, nanoseconds and the zone. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "tmpl/tmpl_int.h"
#include "tmpl/tmpl_lib.h"

static const char *const months[] = { "January", "February", "March",     "April",   "May",      "June",
                                      "July",    "August",   "September", "October", "November", "December" };
static const char *const weekdays[] = { "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday" };

/* ---- layouts ---- */
enum chunk {
    C_NONE,
    C_LONG_MONTH,
    C_MONTH,
    C_NUM_MONTH,
    C_ZERO_MONTH,
    C_LONG_WEEKDAY,
    C_WEEKDAY,
    C_DAY,
    C_UNDER_DAY,
    C_ZERO_DAY,
    C_UNDER_YEARDAY,
    C_ZERO_YEARDAY,
    C_HOUR,
    C_HOUR12,
    C_ZERO_HOUR12,
    C_MINUTE,
    C_ZERO_MINUTE,
    C_SECOND,
    C_ZERO_SECOND,
    C_LONG_YEAR,
    C_YEAR,
    C_PM,
    C_pm,
    C_TZ,
    C_ISO_TZ, /* Z for UTC */
    C_ISO_SECONDS_TZ,
    C_ISO_SHORT_TZ,
    C_ISO_COLON_TZ,
    C_ISO_COLON_SECONDS_TZ,
    C_NUM_TZ,
    C_NUM_SECONDS_TZ,
    C_NUM_SHORT_TZ,
    C_NUM_COLON_TZ,
    C_NUM_COLON_SECONDS_TZ,
    C_FRAC0, /* .000: n digits */
    C_FRAC9, /* .999: trailing zeros go */
};
static const struct {
    const char *text;
    enum chunk c;
} chunks[] = {
    /* longer ones first where one begins another */
    { "January", C_LONG_MONTH },
    { "Jan", C_MONTH },
    { "Monday", C_LONG_WEEKDAY },
    { "Mon", C_WEEKDAY },
    { "MST", C_TZ },
    { "002", C_ZERO_YEARDAY },
    { "01", C_ZERO_MONTH },
    { "02", C_ZERO_DAY },
    { "03", C_ZERO_HOUR12 },
    { "04", C_ZERO_MINUTE },
    { "05", C_ZERO_SECOND },
    { "06", C_YEAR },
    { "15", C_HOUR },
    { "1", C_NUM_MONTH },
    { "2006", C_LONG_YEAR },
    { "2", C_DAY },
    { "__2", C_UNDER_YEARDAY },
    { "_2006", C_NONE }, /* an underscore and a year */
    { "_2", C_UNDER_DAY },
    { "3", C_HOUR12 },
    { "4", C_MINUTE },
    { "5", C_SECOND },
    { "PM", C_PM },
    { "pm", C_pm },
    { "-070000", C_NUM_SECONDS_TZ },
    { "-07:00:00", C_NUM_COLON_SECONDS_TZ },
    { "-0700", C_NUM_TZ },
    { "-07:00", C_NUM_COLON_TZ },
    { "-07", C_NUM_SHORT_TZ },
    { "Z070000", C_ISO_SECONDS_TZ },
    { "Z07:00:00", C_ISO_COLON_SECONDS_TZ },
    { "Z0700", C_ISO_TZ },
    { "Z07:00", C_ISO_COLON_TZ },
    { "Z07", C_ISO_SHORT_TZ },
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* The next chunk of a layout: what is before it, itself, what is behind. digits: of a fraction. */
static enum chunk next_chunk(str layout, str *ret_before, str *ret_after, size_t *ret_digits)
{
    for (size_t i = 0; i < layout.n; i++) {
        str s = str_skip(layout, i);
        *ret_before = str_take(layout, i);
        if ((s.p[0] == '.' || s.p[0] == ',') && s.n > 1 && (s.p[1] == '0' || s.p[1] == '9')) {
            size_t n = 1;
            while (n < s.n && s.p[n] == s.p[1])
                n++;
            if (n >= s.n || !is_digit(s.p[n])) {
                *ret_digits = n - 1;
                *ret_after = str_skip(s, n);
                return s.p[1] == '0' ? C_FRAC0 : C_FRAC9;
            }
        }
        for (size_t k = 0; k < ARRAY_LEN(chunks); k++) {
            str c = str_c(chunks[k].text);
            if (!str_has_prefix(s, c))
                continue;
            if (chunks[k].c == C_NONE) {
                *ret_before = str_take(layout, i + 1);
                *ret_after = str_skip(s, c.n);
                return C_LONG_YEAR;
            }
            if (chunks[k].c == C_MONTH && s.n > 3 && s.p[3] >= 'a' && s.p[3] <= 'z')
                continue;
            if (chunks[k].c == C_WEEKDAY && s.n > 3 && s.p[3] >= 'a' && s.p[3] <= 'z')
                continue;
            *ret_after = str_skip(s, c.n);
            return chunks[k].c;
        }
    }
    *ret_before = layout;
    *ret_after = STR_NONE;
    return C_NONE;
}

static void put_zone(struct buf *out, enum chunk c, int32_t east)
{
    if (east == 0 && c >= C_ISO_TZ && c <= C_ISO_COLON_SECONDS_TZ) {
        buf_u8(out, 'Z');
        return;
    }
    int32_t a = abs(east);
    bool colon =
        c == C_ISO_COLON_TZ || c == C_ISO_COLON_SECONDS_TZ || c == C_NUM_COLON_TZ || c == C_NUM_COLON_SECONDS_TZ;
    buf_printf(out, "%c%02d", east < 0 ? '-' : '+', a / 3600);
    if (c == C_ISO_SHORT_TZ || c == C_NUM_SHORT_TZ)
        return;
    buf_printf(out, colon ? ":%02d" : "%02d", a / 60 % 60);
    if (c == C_ISO_SECONDS_TZ || c == C_ISO_COLON_SECONDS_TZ || c == C_NUM_SECONDS_TZ || c == C_NUM_COLON_SECONDS_TZ)
        buf_printf(out, colon ? ":%02d" : "%02d", a % 60);
}

static void put_fraction(struct buf *out, char point, uint32_t ns, size_t digits, bool trim)
{
    char d[16];
    snprintf(d, sizeof(d), "%09u", ns);
    digits = MIN(digits, 9u);
    while (trim && digits && d[digits - 1] == '0')
        digits--;
    if (!digits)
        return;
    buf_u8(out, (uint8_t)point);
    buf_add(out, d, digits);
}

static void put_year(struct buf *out, int64_t year, int width)
{
    buf_printf(out, "%s%0*lld", year < 0 ? "-" : "", width, (long long)llabs(year));
}

static void put_chunk(struct buf *out, enum chunk c, const struct civil *t, struct tz_offset off)
{
    int h12 = t->hour % 12 ? t->hour % 12 : 12;
    switch (c) {
    case C_LONG_MONTH:
        buf_str_add(out, str_c(months[t->month - 1]));
        break;
    case C_MONTH:
        buf_add(out, months[t->month - 1], 3);
        break;
    case C_NUM_MONTH:
        buf_printf(out, "%d", t->month);
        break;
    case C_ZERO_MONTH:
        buf_printf(out, "%02d", t->month);
        break;
    case C_LONG_WEEKDAY:
        buf_str_add(out, str_c(weekdays[t->weekday]));
        break;
    case C_WEEKDAY:
        buf_add(out, weekdays[t->weekday], 3);
        break;
    case C_DAY:
        buf_printf(out, "%d", t->day);
        break;
    case C_UNDER_DAY:
        buf_printf(out, "%2d", t->day);
        break;
    case C_ZERO_DAY:
        buf_printf(out, "%02d", t->day);
        break;
    case C_UNDER_YEARDAY:
        buf_printf(out, "%3d", t->yearday);
        break;
    case C_ZERO_YEARDAY:
        buf_printf(out, "%03d", t->yearday);
        break;
    case C_HOUR:
        buf_printf(out, "%02d", t->hour);
        break;
    case C_HOUR12:
        buf_printf(out, "%d", h12);
        break;
    case C_ZERO_HOUR12:
        buf_printf(out, "%02d", h12);
        break;
    case C_MINUTE:
        buf_printf(out, "%d", t->minute);
        break;
    case C_ZERO_MINUTE:
        buf_printf(out, "%02d", t->minute);
        break;
    case C_SECOND:
        buf_printf(out, "%d", t->second);
        break;
    case C_ZERO_SECOND:
        buf_printf(out, "%02d", t->second);
        break;
    case C_LONG_YEAR:
        put_year(out, t->year, 4);
        break;
    case C_YEAR:
        put_year(out, (t->year % 100 + 100) % 100, 2);
        break;
    case C_PM:
        buf_str_add(out, t->hour >= 12 ? STR("PM") : STR("AM"));
        break;
    case C_pm:
        buf_str_add(out, t->hour >= 12 ? STR("pm") : STR("am"));
        break;
    case C_TZ:
        if (off.abbrev.n && off.abbrev.p[0] != '+' && off.abbrev.p[0] != '-')
            buf_str_add(out, off.abbrev);
        else if (off.east_s % 3600 == 0)
            put_zone(out, C_NUM_SHORT_TZ, off.east_s);
        else
            put_zone(out, C_NUM_TZ, off.east_s);
        break;
    default:
        put_zone(out, c, off.east_s);
    }
}

void tmpl_time_format(struct buf *out, int64_t unix_s, uint32_t ns, const struct tz *tz, str layout)
{
    struct tz_offset off = tz_at(tz, unix_s);
    struct civil t = civil_of(unix_s + off.east_s);
    while (layout.n) {
        str before, after;
        size_t digits = 0;
        enum chunk c = next_chunk(layout, &before, &after, &digits);
        buf_str_add(out, before);
        if (c == C_NONE)
            return;
        if (c == C_FRAC0 || c == C_FRAC9)
            put_fraction(out, str_end(before)[0], ns, digits, c == C_FRAC9);
        else
            put_chunk(out, c, &t, off);
        layout = after;
    }
}

/* ---- parsing ---- */
struct parsed {
    struct civil t;
    uint32_t ns;
    bool pm_set, pm, zone_set;
    int32_t east_s;
};

static bool digits_between(str *io, size_t lo, size_t hi, int *ret)
{
    size_t n = 0;
    int v = 0;
    while (n < io->n && n < hi && is_digit(io->p[n]))
        v = v * 10 + (io->p[n++] - '0');
    *io = str_skip(*io, n);
    *ret = v;
    return n >= lo;
}

static bool name_of(str *io, const char *const *names, size_t n, size_t len, int *ret) /* len 0: whole names */
{
    for (size_t i = 0; i < n; i++) {
        str name = len ? str_take(str_c(names[i]), len) : str_c(names[i]);
        if (io->n >= name.n && str_ieq(str_take(*io, name.n), name)) {
            *ret = (int)i;
            *io = str_skip(*io, name.n);
            return true;
        }
    }
    return false;
}

static bool parse_zone(str *io, enum chunk c, struct parsed *p)
{
    int h, m = 0, s = 0;
    bool colon =
        c == C_ISO_COLON_TZ || c == C_ISO_COLON_SECONDS_TZ || c == C_NUM_COLON_TZ || c == C_NUM_COLON_SECONDS_TZ;
    bool hours_only = c == C_ISO_SHORT_TZ || c == C_NUM_SHORT_TZ;
    bool seconds =
        c == C_ISO_SECONDS_TZ || c == C_ISO_COLON_SECONDS_TZ || c == C_NUM_SECONDS_TZ || c == C_NUM_COLON_SECONDS_TZ;
    p->zone_set = true;
    if (c >= C_ISO_TZ && c <= C_ISO_COLON_SECONDS_TZ && io->n && io->p[0] == 'Z') {
        *io = str_skip(*io, 1);
        return true;
    }
    if (!io->n || (io->p[0] != '+' && io->p[0] != '-'))
        return false;
    int sign = io->p[0] == '-' ? -1 : 1;
    *io = str_skip(*io, 1);
    if (!digits_between(io, 2, 2, &h))
        return false;
    for (int i = 0; i < 2; i++) {
        if (i == 0 ? hours_only : !seconds)
            continue;
        if (colon && (!io->n || io->p[0] != ':'))
            return false;
        *io = str_skip(*io, colon);
        if (!digits_between(io, 2, 2, i ? &s : &m))
            return false;
    }
    p->east_s = sign * (h * 3600 + m * 60 + s);
    return h <= 24 && m < 60 && s < 60;
}

static bool parse_abbrev(str *io, struct parsed *p)
{
    size_t n = 0;
    while (n < io->n && n < 5 && io->p[n] >= 'A' && io->p[n] <= 'Z')
        n++;
    if (n < 3)
        return false;
    p->zone_set |= str_eq(str_take(*io, n), STR("UTC")); /* of others only the name is known */
    *io = str_skip(*io, n);
    return true;
}

static bool parse_fraction(str *io, struct parsed *p, size_t digits, bool optional)
{
    if (!io->n || (io->p[0] != '.' && io->p[0] != ',') || io->n < 2 || !is_digit(io->p[1]))
        return optional;
    size_t n = 1;
    uint64_t ns = 0, unit = 100000000;
    for (; n < io->n && is_digit(io->p[n]); n++, unit /= 10)
        ns += (uint64_t)(io->p[n] - '0') * unit;
    p->ns = (uint32_t)ns;
    *io = str_skip(*io, n);
    return optional || n - 1 == digits;
}

static bool parse_chunk(str *io, enum chunk c, struct parsed *p)
{
    int v;
    switch (c) {
    case C_LONG_MONTH:
    case C_MONTH:
        if (!name_of(io, months, 12, c == C_MONTH ? 3 : 0, &v))
            return false;
        p->t.month = v + 1;
        return true;
    case C_LONG_WEEKDAY:
    case C_WEEKDAY:
        return name_of(io, weekdays, 7, c == C_WEEKDAY ? 3 : 0, &v);
    case C_NUM_MONTH:
    case C_ZERO_MONTH:
        return digits_between(io, c == C_NUM_MONTH ? 1 : 2, 2, &p->t.month) && p->t.month >= 1 && p->t.month <= 12;
    case C_UNDER_DAY:
    case C_DAY:
    case C_ZERO_DAY:
        if (c == C_UNDER_DAY && io->n && io->p[0] == ' ')
            *io = str_skip(*io, 1);
        return digits_between(io, c == C_ZERO_DAY ? 2 : 1, 2, &p->t.day);
    case C_UNDER_YEARDAY:
    case C_ZERO_YEARDAY:
        while (c == C_UNDER_YEARDAY && io->n && io->p[0] == ' ')
            *io = str_skip(*io, 1);
        return digits_between(io, 1, 3, &p->t.yearday) && p->t.yearday >= 1 && p->t.yearday <= 366;
    case C_HOUR:
        return digits_between(io, 2, 2, &p->t.hour) && p->t.hour < 24;
    case C_HOUR12:
    case C_ZERO_HOUR12:
        return digits_between(io, c == C_HOUR12 ? 1 : 2, 2, &p->t.hour) && p->t.hour <= 12;
    case C_MINUTE:
    case C_ZERO_MINUTE:
        return digits_between(io, c == C_MINUTE ? 1 : 2, 2, &p->t.minute) && p->t.minute < 60;
    case C_SECOND:
    case C_ZERO_SECOND:
        if (!digits_between(io, c == C_SECOND ? 1 : 2, 2, &p->t.second) || p->t.second >= 60)
            return false;
        return parse_fraction(io, p, 0, true); /* accepted without being in the layout */
    case C_LONG_YEAR:
        if (!digits_between(io, 4, 4, &v))
            return false;
        p->t.year = v;
        return true;
    case C_YEAR:
        if (!digits_between(io, 2, 2, &v))
            return false;
        p->t.year = v + (v >= 69 ? 1900 : 2000);
        return true;
    case C_PM:
    case C_pm:
        if (io->n < 2 || !(str_ieq(str_take(*io, 2), STR("PM")) || str_ieq(str_take(*io, 2), STR("AM"))))
            return false;
        p->pm_set = true;
        p->pm = (io->p[0] | 32) == 'p';
        *io = str_skip(*io, 2);
        return true;
    case C_TZ:
        return parse_abbrev(io, p);
    default:
        return parse_zone(io, c, p);
    }
}

bool tmpl_time_parse(str layout, str text, const struct tz *tz, int64_t *ret_s, uint32_t *ret_ns)
{
    struct parsed p = { .t = { .month = 1, .day = 1 } };
    for (;;) {
        str before, after;
        size_t digits = 0;
        enum chunk c = next_chunk(layout, &before, &after, &digits);
        if (!str_has_prefix(text, before))
            return false;
        text = str_skip(text, before.n);
        if (c == C_NONE)
            break;
        if (c == C_FRAC0 || c == C_FRAC9 ? !(c == C_FRAC0 && p.ns) && !parse_fraction(&text, &p, digits, c == C_FRAC9)
                                         : !parse_chunk(&text, c, &p))
            return false;
        layout = after;
    }
    if (text.n)
        return false;
    if (p.pm_set && p.pm && p.t.hour < 12)
        p.t.hour += 12;
    else if (p.pm_set && !p.pm && p.t.hour == 12)
        p.t.hour = 0;
    if (p.t.yearday) {
        struct civil d = civil_of(civil_seconds(p.t.year, 1, p.t.yearday, 0, 0, 0));
        p.t.month = d.month;
        p.t.day = d.day;
    }
    if (p.t.day < 1 || p.t.day > civil_month_days(p.t.year, p.t.month))
        return false;
    *ret_ns = p.ns;
    if (p.zone_set)
        *ret_s = tz_civil_seconds(tz_utc, &p.t) - p.east_s;
    else
        *ret_s = tz_civil_seconds(tz, &p.t);
    return true;
}

/* ---- time.Duration ---- */
#define NS_S INT64_C(1000000000)
static const struct tmpl_type duration_type;

struct tmpl_val tmpl_duration(int64_t ns)
{
    return (struct tmpl_val){ .kind = TMPL_INT, .type = &duration_type, .i = ns };
}

static void small_unit(struct buf *out, uint64_t ns, uint64_t unit, const char *name)
{
    buf_u64_dec(out, ns / unit);
    uint64_t frac = ns % unit;
    if (frac) {
        char d[16];
        int digits = unit == 1000 ? 3 : unit == 1000000 ? 6 : 9;
        snprintf(d, sizeof(d), "%0*llu", digits, (unsigned long long)frac);
        size_t n = strlen(d);
        while (d[n - 1] == '0')
            n--;
        buf_u8(out, '.');
        buf_add(out, d, n);
    }
    buf_str_add(out, str_c(name));
}

static void duration_string(struct buf *out, const struct tmpl_val *v)
{
    uint64_t ns = v->i < 0 ? -(uint64_t)v->i : (uint64_t)v->i;
    if (ns == 0) {
        buf_lit(out, "0s");
        return;
    }
    if (v->i < 0)
        buf_u8(out, '-');
    if (ns < 1000) {
        small_unit(out, ns, 1, "ns");
    } else if (ns < 1000000) {
        small_unit(out, ns, 1000, "\xc2\xb5s");
    } else if (ns < NS_S) {
        small_unit(out, ns, 1000000, "ms");
    } else {
        uint64_t minutes = ns / (60 * (uint64_t)NS_S);
        if (minutes >= 60)
            buf_printf(out, "%lluh", (unsigned long long)(minutes / 60));
        if (minutes)
            buf_printf(out, "%llum", (unsigned long long)(minutes % 60));
        small_unit(out, ns % (60 * (uint64_t)NS_S), (uint64_t)NS_S, "s");
    }
}

/* As Go divides: the whole part and the rest by themselves. */
static double in_unit(int64_t ns, int64_t unit)
{
    return (double)(ns / unit) + (double)(ns % unit) / (double)unit;
}

#define METHOD(name) static enum err name(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
#define UNUSED_ARGS  ((void)c, (void)n, (void)v)

METHOD(d_seconds)
{
    UNUSED_ARGS;
    *ret = tmpl_float(in_unit(v->i, NS_S));
    return OK;
}
METHOD(d_minutes)
{
    UNUSED_ARGS;
    *ret = tmpl_float(in_unit(v->i, 60 * NS_S));
    return OK;
}
METHOD(d_hours)
{
    UNUSED_ARGS;
    *ret = tmpl_float(in_unit(v->i, 3600 * NS_S));
    return OK;
}
METHOD(d_milli)
{
    UNUSED_ARGS;
    *ret = tmpl_int(v->i / 1000000);
    return OK;
}
METHOD(d_micro)
{
    UNUSED_ARGS;
    *ret = tmpl_int(v->i / 1000);
    return OK;
}
METHOD(d_nano)
{
    UNUSED_ARGS;
    *ret = tmpl_int(v->i);
    return OK;
}
METHOD(d_abs)
{
    UNUSED_ARGS;
    *ret = tmpl_duration(v->i == INT64_MIN ? INT64_MAX : v->i < 0 ? -v->i : v->i);
    return OK;
}
METHOD(string_of)
{
    struct buf b;
    (void)n;
    buf_init(&b, 0);
    v->type->string(&b, v);
    *ret = tmpl_str(arena_str(c->a, buf_str(&b)));
    buf_deinit(&b);
    return OK;
}

static enum err want_duration(struct tmpl_call *c, const struct tmpl_val *v, int64_t *ret)
{
    if (v->kind != TMPL_INT) /* an untyped constant is one too */
        return err_fail(c->why, ERR_EXEC, "wrong type for value; expected time.Duration; got %s", tmpl_type_name(v));
    *ret = v->i;
    return OK;
}

METHOD(d_truncate)
{
    int64_t unit = 0;
    (void)n;
    TRY(want_duration(c, &v[1], &unit));
    *ret = tmpl_duration(unit <= 0 ? v->i : v->i - v->i % unit);
    return OK;
}
METHOD(d_round)
{
    int64_t unit = 0;
    (void)n;
    TRY(want_duration(c, &v[1], &unit));
    if (unit <= 0) {
        *ret = *v;
        return OK;
    }
    int64_t r = v->i % unit, base = v->i - r;
    bool up = llabs(r) > unit - llabs(r) || llabs(r) * 2 == unit;
    *ret = tmpl_duration(!up ? base : v->i < 0 ? base - unit : base + unit);
    return OK;
}
static const struct tmpl_func duration_methods[] = {
    { "Seconds", "", d_seconds },
    { "Minutes", "", d_minutes },
    { "Hours", "", d_hours },
    { "Milliseconds", "", d_milli },
    { "Microseconds", "", d_micro },
    { "Nanoseconds", "", d_nano },
    { "Abs", "", d_abs },
    { "String", "", string_of },
    { "Truncate", "v", d_truncate },
    { "Round", "v", d_round },
};
static const struct tmpl_type duration_type = { .name = "time.Duration",
                                                .methods = duration_methods,
                                                .n_methods = ARRAY_LEN(duration_methods),
                                                .string = duration_string };

/* ---- time.Time ---- */
static const struct tmpl_type time_type, month_type, weekday_type;

struct tmpl_val tmpl_time(struct arena *a, int64_t unix_s, uint32_t ns, const struct tz *tz)
{
    struct tmpl_val v = { .kind = TMPL_STRUCT, .type = &time_type };
    v.list.p = arena_zarray(a, struct tmpl_val, 3);
    v.list.p[0].i = unix_s;
    v.list.p[1].u = ns;
    v.list.p[2].s.p = (const char *)tz;
    return v;
}

struct tmpl_val tmpl_time_ms(struct arena *a, int64_t ts_ms)
{
    int64_t s = ts_ms / 1000 - (ts_ms % 1000 < 0);
    return tmpl_time(a, s, (uint32_t)(ts_ms - s * 1000) * 1000000, tz_utc);
}

bool tmpl_time_get(const struct tmpl_val *v, int64_t *ret_s, uint32_t *ret_ns, const struct tz **ret_tz)
{
    if (v->kind != TMPL_STRUCT || v->type != &time_type)
        return false;
    *ret_s = v->list.p[0].i;
    *ret_ns = (uint32_t)v->list.p[1].u;
    *ret_tz = (const struct tz *)(const void *)v->list.p[2].s.p;
    return true;
}

struct moment {
    int64_t s;
    uint32_t ns;
    const struct tz *tz;
};
static struct moment moment_of(const struct tmpl_val *v)
{
    struct moment m;
    ASSERT(tmpl_time_get(v, &m.s, &m.ns, &m.tz));
    return m;
}

static enum err want_time(struct tmpl_call *c, const struct tmpl_val *v, struct moment *ret)
{
    if (!tmpl_time_get(v, &ret->s, &ret->ns, &ret->tz))
        return err_fail(c->why, ERR_EXEC, "wrong type for value; expected time.Time; got %s", tmpl_type_name(v));
    return OK;
}

static void time_string(struct buf *out, const struct tmpl_val *v)
{
    struct moment m = moment_of(v);
    tmpl_time_format(out, m.s, m.ns, m.tz, STR("2006-01-02 15:04:05.999999999 -0700 MST"));
}

static void time_json(struct json_out *j, const struct tmpl_val *v)
{
    struct moment m = moment_of(v);
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    tmpl_time_format(&b, m.s, m.ns, m.tz, STR("2006-01-02T15:04:05.999999999Z07:00"));
    json_str(j, buf_str(&b));
}

METHOD(t_format)
{
    struct moment m = moment_of(v);
    struct buf b;
    (void)n;
    buf_init(&b, 0);
    tmpl_time_format(&b, m.s, m.ns, m.tz, v[1].s);
    *ret = tmpl_str(arena_str(c->a, buf_str(&b)));
    buf_deinit(&b);
    return OK;
}

static int64_t saturating_ns(int64_t s, int64_t ns)
{
    int64_t r;
    if (__builtin_mul_overflow(s, NS_S, &r) || __builtin_add_overflow(r, ns, &r))
        return s < 0 ? INT64_MIN : INT64_MAX;
    return r;
}

METHOD(t_sub)
{
    struct moment a = moment_of(v), b = { 0 };
    (void)n;
    TRY(want_time(c, &v[1], &b));
    *ret = tmpl_duration(saturating_ns(a.s - b.s, (int64_t)a.ns - b.ns));
    return OK;
}
METHOD(t_add)
{
    struct moment m = moment_of(v);
    int64_t d = 0;
    (void)n;
    TRY(want_duration(c, &v[1], &d));
    int64_t ns = (int64_t)m.ns + d % NS_S, s = m.s + d / NS_S;
    if (ns < 0 || ns >= NS_S) {
        s += ns < 0 ? -1 : 1;
        ns += ns < 0 ? NS_S : -NS_S;
    }
    *ret = tmpl_time(c->a, s, (uint32_t)ns, m.tz);
    return OK;
}
METHOD(t_add_date)
{
    struct moment m = moment_of(v);
    (void)n;
    struct civil t = civil_of(m.s + tz_at(m.tz, m.s).east_s);
    t.year += v[1].i;
    int64_t month = t.month + v[2].i, day = t.day + v[3].i;
    int64_t local = civil_seconds(t.year, month, day, t.hour, t.minute, t.second);
    struct civil norm = civil_of(local);
    *ret = tmpl_time(c->a, tz_civil_seconds(m.tz, &norm), m.ns, m.tz);
    return OK;
}
static int cmp_time(struct moment a, struct moment b)
{
    return a.s != b.s ? (a.s > b.s) - (a.s < b.s) : (a.ns > b.ns) - (a.ns < b.ns);
}
METHOD(t_after)
{
    struct moment b = { 0 };
    (void)n;
    TRY(want_time(c, &v[1], &b));
    *ret = tmpl_bool(cmp_time(moment_of(v), b) > 0);
    return OK;
}
METHOD(t_before)
{
    struct moment b = { 0 };
    (void)n;
    TRY(want_time(c, &v[1], &b));
    *ret = tmpl_bool(cmp_time(moment_of(v), b) < 0);
    return OK;
}
METHOD(t_equal)
{
    struct moment b = { 0 };
    (void)n;
    TRY(want_time(c, &v[1], &b));
    *ret = tmpl_bool(cmp_time(moment_of(v), b) == 0);
    return OK;
}
METHOD(t_is_zero)
{
    UNUSED_ARGS;
    struct moment m = moment_of(v);
    *ret = tmpl_bool(m.s == TMPL_TIME_ZERO_S && m.ns == 0);
    return OK;
}
METHOD(t_unix)
{
    UNUSED_ARGS;
    *ret = tmpl_int(moment_of(v).s);
    return OK;
}
METHOD(t_unix_milli)
{
    UNUSED_ARGS;
    struct moment m = moment_of(v);
    *ret = tmpl_int(m.s * 1000 + m.ns / 1000000);
    return OK;
}
METHOD(t_unix_micro)
{
    UNUSED_ARGS;
    struct moment m = moment_of(v);
    *ret = tmpl_int(m.s * 1000000 + m.ns / 1000);
    return OK;
}
METHOD(t_unix_nano)
{
    UNUSED_ARGS;
    struct moment m = moment_of(v);
    *ret = tmpl_int((int64_t)((uint64_t)m.s * (uint64_t)NS_S + m.ns));
    return OK;
}
METHOD(t_utc)
{
    (void)n;
    struct moment m = moment_of(v);
    *ret = tmpl_time(c->a, m.s, m.ns, tz_utc);
    return OK;
}
METHOD(t_local)
{
    (void)n;
    struct moment m = moment_of(v);
    const struct tz *tz;
    TRY(tz_load(STR("Local"), &tz, c->why));
    *ret = tmpl_time(c->a, m.s, m.ns, tz);
    return OK;
}
static struct civil civil_at(const struct tmpl_val *v)
{
    struct moment m = moment_of(v);
    return civil_of(m.s + tz_at(m.tz, m.s).east_s);
}
#define FIELD_METHOD(fn, expr)        \
    METHOD(fn)                        \
    {                                 \
        UNUSED_ARGS;                  \
        struct civil t = civil_at(v); \
        *ret = (expr);                \
        return OK;                    \
    }
FIELD_METHOD(t_year, tmpl_int(t.year))
FIELD_METHOD(t_month, ((struct tmpl_val){ .kind = TMPL_INT, .type = &month_type, .i = t.month }))
FIELD_METHOD(t_day, tmpl_int(t.day))
FIELD_METHOD(t_hour, tmpl_int(t.hour))
FIELD_METHOD(t_minute, tmpl_int(t.minute))
FIELD_METHOD(t_second, tmpl_int(t.second))
FIELD_METHOD(t_yearday, tmpl_int(t.yearday))
FIELD_METHOD(t_weekday, ((struct tmpl_val){ .kind = TMPL_INT, .type = &weekday_type, .i = t.weekday }))
METHOD(t_nanosecond)
{
    UNUSED_ARGS;
    *ret = tmpl_int(moment_of(v).ns);
    return OK;
}

static void month_string(struct buf *out, const struct tmpl_val *v)
{
    buf_str_add(out, str_c(months[(v->i - 1) % 12]));
}
static void weekday_string(struct buf *out, const struct tmpl_val *v)
{
    buf_str_add(out, str_c(weekdays[v->i % 7]));
}
static const struct tmpl_func name_methods[] = { { "String", "", string_of } };
static const struct tmpl_type month_type = {
    .name = "time.Month", .methods = name_methods, .n_methods = 1, .string = month_string
};
static const struct tmpl_type weekday_type = {
    .name = "time.Weekday", .methods = name_methods, .n_methods = 1, .string = weekday_string
};
static const struct tmpl_func time_methods[] = {
    { "Format", "s", t_format },
    { "Sub", "v", t_sub },
    { "Add", "v", t_add },
    { "AddDate", "iii", t_add_date },
    { "After", "v", t_after },
    { "Before", "v", t_before },
    { "Equal", "v", t_equal },
    { "IsZero", "", t_is_zero },
    { "Unix", "", t_unix },
    { "UnixMilli", "", t_unix_milli },
    { "UnixMicro", "", t_unix_micro },
    { "UnixNano", "", t_unix_nano },
    { "UTC", "", t_utc },
    { "Local", "", t_local },
    { "Year", "", t_year },
    { "Month", "", t_month },
    { "Day", "", t_day },
    { "Hour", "", t_hour },
    { "Minute", "", t_minute },
    { "Second", "", t_second },
    { "YearDay", "", t_yearday },
    { "Weekday", "", t_weekday },
    { "Nanosecond", "", t_nanosecond },
    { "String", "", string_of },
};
static const struct tmpl_type time_type = { .name = "time.Time",
                                            .methods = time_methods,
                                            .n_methods = ARRAY_LEN(time_methods),
                                            .string = time_string,
                                            .json_value = time_json };
