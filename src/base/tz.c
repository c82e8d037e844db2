#include "base/tz.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/fs.h"
#include "base/thread.h"

#define ZONES_MAX      1024
#define ZONE_BYTES_MAX (1u << 20)

struct zone_type {
    int32_t east_s;
    bool dst;
    str abbrev;
};
struct rule_day { /* of a POSIX TZ text: Mm.w.d, Jn or n */
    char kind;
    int m, w, d;
    int32_t at_s;
};
struct tz {
    str name;
    int64_t *at; /* transitions, ascending */
    uint8_t *to; /* type from then on */
    size_t n;
    struct zone_type types[256];
    size_t n_types;
    bool has_rule, has_dst; /* what the footer says for times past the last transition */
    struct zone_type std, dst;
    struct rule_day from, until;
    struct arena a;
};
static struct tz utc = { .name = STR_INIT("UTC"), .types = { { 0, false, STR_INIT("UTC") } }, .n_types = 1 };
const struct tz *const tz_utc = &utc;

/* ---- calendar (days from 1970, proleptic Gregorian) ---- */
static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static int64_t days_of(int64_t y, int64_t m, int64_t d) /* m in 1..12 */
{
    y -= m <= 2;
    int64_t era = floor_div(y, 400), yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

int64_t civil_seconds(int64_t year, int64_t month, int64_t day, int64_t hour, int64_t minute, int64_t second)
{
    year += floor_div(month - 1, 12);
    month = month - 1 - floor_div(month - 1, 12) * 12 + 1;
    return ((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
}

struct civil civil_of(int64_t s)
{
    struct civil c;
    int64_t days = floor_div(s, 86400), rest = s - days * 86400;
    c.hour = (int)(rest / 3600);
    c.minute = (int)(rest / 60 % 60);
    c.second = (int)(rest % 60);
    c.weekday = (int)((days % 7 + 11) % 7);
    int64_t z = days + 719468, era = floor_div(z, 146097), doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    c.day = (int)(doy - (153 * mp + 2) / 5 + 1);
    c.month = (int)(mp < 10 ? mp + 3 : mp - 9);
    c.year = yoe + era * 400 + (c.month <= 2);
    c.yearday = (int)(days - days_of(c.year, 1, 1) + 1);
    return c;
}

int civil_month_days(int64_t year, int month)
{
    return (int)(days_of(month == 12 ? year + 1 : year, month == 12 ? 1 : month + 1, 1) - days_of(year, month, 1));
}

/* ---- the footer: a POSIX TZ text such as CET-1CEST,M3.5.0,M10.5.0/3 ---- */
static bool tz_abbrev(str *io, struct arena *a, str *ret)
{
    size_t n = 0;
    if (io->n && io->p[0] == '<') {
        n = str_find_char(*io, '>');
        if (n == SIZE_MAX)
            return false;
        *ret = arena_str(a, str_n(io->p + 1, n - 1));
        *io = str_skip(*io, n + 1);
        return true;
    }
    while (n < io->n && ((io->p[n] | 32) >= 'a' && (io->p[n] | 32) <= 'z'))
        n++;
    *ret = arena_str(a, str_take(*io, n));
    *io = str_skip(*io, n);
    return n >= 3;
}

static bool number(str *io, int *ret)
{
    size_t n = 0;
    int v = 0;
    for (; n < io->n && n < 5 && io->p[n] >= '0' && io->p[n] <= '9'; n++)
        v = v * 10 + (io->p[n] - '0');
    *io = str_skip(*io, n);
    *ret = v;
    return n > 0;
}

static bool eat(str *io, char c)
{
    if (!io->n || io->p[0] != c)
        return false;
    *io = str_skip(*io, 1);
    return true;
}

static bool hms(str *io, int32_t *ret)
{
    int sign = eat(io, '-') ? -1 : 1, h, m = 0, s = 0;
    eat(io, '+');
    if (!number(io, &h))
        return false;
    if (eat(io, ':') && !number(io, &m))
        return false;
    if (eat(io, ':') && !number(io, &s))
        return false;
    *ret = sign * (h * 3600 + m * 60 + s);
    return h <= 167 && m < 60 && s < 60;
}

static bool rule_day(str *io, struct rule_day *r)
{
    if (!eat(io, ','))
        return false;
    r->at_s = 7200;
    if (eat(io, 'M')) {
        r->kind = 'M';
        if (!number(io, &r->m) || !eat(io, '.') || !number(io, &r->w) || !eat(io, '.') || !number(io, &r->d) ||
            r->m < 1 || r->m > 12 || r->w < 1 || r->w > 5 || r->d > 6)
            return false;
    } else {
        r->kind = eat(io, 'J') ? 'J' : 'n';
        if (!number(io, &r->d) || r->d > 365)
            return false;
    }
    return !eat(io, '/') || hms(io, &r->at_s);
}

static bool parse_rule(struct tz *tz, str s)
{
    int32_t off;
    if (!tz_abbrev(&s, &tz->a, &tz->std.abbrev) || !hms(&s, &off))
        return false;
    tz->std.east_s = -off;
    tz->has_rule = true;
    if (!s.n)
        return true;
    if (!tz_abbrev(&s, &tz->a, &tz->dst.abbrev))
        return false;
    tz->dst.east_s = tz->std.east_s + 3600;
    tz->dst.dst = true;
    if (s.n && s.p[0] != ',') {
        if (!hms(&s, &off))
            return false;
        tz->dst.east_s = -off;
    }
    tz->has_dst = true;
    return rule_day(&s, &tz->from) && rule_day(&s, &tz->until) && !s.n;
}

/* Local seconds since 1970 at which the rule takes effect in that year. */
static int64_t rule_at(const struct rule_day *r, int64_t year)
{
    if (r->kind == 'M') {
        struct civil first = civil_of(civil_seconds(year, r->m, 1, 0, 0, 0));
        int day = 1 + (r->d - first.weekday + 7) % 7 + (r->w - 1) * 7;
        while (day > civil_month_days(year, r->m))
            day -= 7;
        return civil_seconds(year, r->m, day, 0, 0, 0) + r->at_s;
    }
    bool leap = civil_month_days(year, 2) == 29;
    int day = r->kind == 'J' ? r->d - 1 + (leap && r->d >= 60) : r->d;
    return civil_seconds(year, 1, 1 + day, 0, 0, 0) + r->at_s;
}

static const struct zone_type *by_rule(const struct tz *tz, int64_t s)
{
    if (!tz->has_dst)
        return &tz->std;
    int64_t year = civil_of(s + tz->std.east_s).year;
    int64_t from = rule_at(&tz->from, year) - tz->std.east_s, until = rule_at(&tz->until, year) - tz->dst.east_s;
    bool dst = from < until ? s >= from && s < until : !(s >= until && s < from);
    return dst ? &tz->dst : &tz->std;
}

/* ---- zone files ---- */
static uint64_t be(const char *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

/* One block of the file with times of w bytes; rest: what follows it. */
static bool parse_block(struct tz *tz, str s, size_t w, bool keep, str *ret_rest)
{
    if (s.n < 44 || memcmp(s.p, "TZif", 4) != 0)
        return false;
    size_t n_utc = be(s.p + 20, 4), n_std = be(s.p + 24, 4), n_leap = be(s.p + 28, 4), n = be(s.p + 32, 4),
           types = be(s.p + 36, 4), chars = be(s.p + 40, 4);
    if (n > 100000 || types == 0 || types > 256 || chars > 10000 || n_leap > 10000 || n_utc > 256 || n_std > 256)
        return false;
    size_t size = n * w + n + types * 6 + chars + n_leap * (w + 4) + n_std + n_utc;
    if (s.n < 44 + size)
        return false;
    *ret_rest = str_skip(s, 44 + size);
    if (!keep)
        return true;
    const char *p = s.p + 44, *idx = p + n * w, *ty = idx + n, *ab = ty + types * 6;
    tz->at = arena_array(&tz->a, int64_t, n + 1);
    tz->to = arena_array(&tz->a, uint8_t, n + 1);
    for (size_t i = 0; i < n; i++) {
        tz->at[i] = w == 8 ? (int64_t)be(p + i * 8, 8) : (int32_t)be(p + i * 4, 4);
        tz->to[i] = (uint8_t)idx[i];
        if (tz->to[i] >= types || (i && tz->at[i] <= tz->at[i - 1]))
            return false;
    }
    for (size_t i = 0; i < types; i++) {
        size_t a = (unsigned char)ty[i * 6 + 5];
        if (a >= chars)
            return false;
        tz->types[i] = (struct zone_type){ (int32_t)be(ty + i * 6, 4), ty[i * 6 + 4] != 0,
                                           arena_str(&tz->a, str_n(ab + a, strnlen(ab + a, chars - a))) };
    }
    tz->n = n;
    tz->n_types = types;
    return true;
}

static bool parse_file(struct tz *tz, str s)
{
    str rest;
    bool v2 = s.n > 4 && s.p[4] >= '2';
    if (!parse_block(tz, s, 4, !v2, &rest))
        return false;
    if (!v2)
        return true;
    if (!parse_block(tz, rest, 8, true, &rest))
        return false;
    size_t end = rest.n > 1 && rest.p[0] == '\n' ? str_find_char(str_skip(rest, 1), '\n') : SIZE_MAX;
    if (end == SIZE_MAX)
        return false;
    return end == 0 || parse_rule(tz, str_n(rest.p + 1, end));
}

/* ---- zones by name ---- */
static struct {
    pthread_once_t once;
    struct mtx mu;
    struct tz *p[ZONES_MAX]; /* mu */
    size_t n;
} zones = { .once = PTHREAD_ONCE_INIT };

static void zones_init(void)
{
    mtx_init(&zones.mu, 240);
}

static bool name_ok(str name)
{
    if (name.n == 0 || name.n > 200 || name.p[0] == '/' || name.p[0] == '.' || str_contains(name, STR("..")))
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] == '\\' || (unsigned char)name.p[i] >= 0x7f)
            return false;
    return true;
}

static enum err read_zone(str name, struct tz **ret, struct err_text *reterr)
{
    char path[300];
    const char *dir = getenv("TZDIR");
    struct tz *tz = mem_zalloc(sizeof(*tz));
    str text;
    arena_init(&tz->a, 0);
    if (str_eq(name, STR("Local")))
        snprintf(path, sizeof(path), "/etc/localtime");
    else
        snprintf(path, sizeof(path), "%s/" STR_FMT, dir && *dir ? dir : "/usr/share/zoneinfo", STR_ARG(name));
    enum err e = fs_read_file(fs_os(), path, ZONE_BYTES_MAX, &tz->a, &text, NULL);
    if (e)
        e = err_fail(reterr, ERR_NOT_FOUND, "unknown time zone " STR_FMT, STR_ARG(name));
    else if (!parse_file(tz, text))
        e = err_fail(reterr, ERR_CORRUPT, "time zone " STR_FMT ": %s is damaged", STR_ARG(name), path);
    if (e) {
        arena_deinit(&tz->a);
        mem_free(tz);
        return e;
    }
    tz->name = arena_str(&tz->a, name);
    *ret = tz;
    return OK;
}

static const struct tz *known(str name) /* under mu */
{
    for (size_t i = 0; i < zones.n; i++)
        if (str_eq(zones.p[i]->name, name))
            return zones.p[i];
    return NULL;
}

enum err tz_load(str name, const struct tz **ret, struct err_text *reterr)
{
    struct tz *fresh;
    if (name.n == 0 || str_eq(name, STR("UTC"))) {
        *ret = tz_utc;
        return OK;
    }
    if (!name_ok(name))
        return err_fail(reterr, ERR_NOT_FOUND, "unknown time zone " STR_FMT, (int)MIN(name.n, 100u), name.p);
    pthread_once(&zones.once, zones_init);
    mtx_lock(&zones.mu);
    *ret = known(name);
    mtx_unlock(&zones.mu);
    if (*ret)
        return OK;
    enum err e = read_zone(name, &fresh, reterr);
    if (e) {
        if (str_eq(name, STR("Local")) && e == ERR_NOT_FOUND) {
            *ret = tz_utc; /* a system without one runs in UTC */
            return OK;
        }
        return e;
    }
    mtx_lock(&zones.mu);
    *ret = known(name);
    if (!*ret && zones.n < ZONES_MAX) {
        *ret = zones.p[zones.n++] = fresh;
        fresh = NULL;
    }
    mtx_unlock(&zones.mu);
    if (fresh) {
        arena_deinit(&fresh->a);
        mem_free(fresh);
    }
    return *ret ? OK : err_fail(reterr, ERR_LIMIT, "more than %d time zones", ZONES_MAX);
}

str tz_name(const struct tz *tz)
{
    return tz->name;
}

struct tz_offset tz_at(const struct tz *tz, int64_t s)
{
    const struct zone_type *t = &tz->types[0];
    size_t lo = 0, hi = tz->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (tz->at[mid] <= s)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == tz->n && tz->has_rule)
        t = by_rule(tz, s);
    else if (lo > 0)
        t = &tz->types[tz->to[lo - 1]];
    else
        for (size_t i = 0; i < tz->n_types; i++)
            if (!tz->types[i].dst) {
                t = &tz->types[i];
                break;
            }
    return (struct tz_offset){ t->east_s, t->abbrev, t->dst };
}

int64_t tz_civil_seconds(const struct tz *tz, const struct civil *c)
{
    int64_t local = civil_seconds(c->year, c->month, c->day, c->hour, c->minute, c->second);
    int64_t s = local - tz_at(tz, local).east_s;
    return local - tz_at(tz, s).east_s; /* around a transition the first guess may be on its other side */
}
