/* Numbers, durations, sizes and times as text; see num.h. */
#include "base/num.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#include "base/check.h"
#include "base/num_text.h"

static bool parse_special(str s, double *ret)
{
    bool neg = s.n && s.p[0] == '-';
    if (s.n && (neg || s.p[0] == '+')) {
        s = str_skip(s, 1);
        if (str_ieq(s, STR("nan")))
            return false;
    }
    if (str_ieq(s, STR("inf")) || str_ieq(s, STR("infinity")))
        *ret = neg ? -HUGE_VAL : HUGE_VAL;
    else if (str_ieq(s, STR("nan"))) {
        uint64_t bits = 0x7ff8000000000001ull; /* Go's math.NaN() */
        memcpy(ret, &bits, 8);
    } else
        return false;
    return true;
}

/* Go's hexadecimal floats must have a p exponent; hexadecimal integers are not floats. */
static bool parse_hex(str s, double *ret, bool *range)
{
    if (str_find_char(s, 'p') == SIZE_MAX && str_find_char(s, 'P') == SIZE_MAX)
        return false;
    return num_text_parse(s.p, s.p + s.n, true, ret, range) == s.n;
}

bool num_parse_f64(str s, double *ret)
{
    bool neg = s.n && s.p[0] == '-';
    str t = s.n && (neg || s.p[0] == '+') ? str_skip(s, 1) : s;
    if (t.n == 0)
        return false;
    if ((t.p[0] < '0' || t.p[0] > '9') && t.p[0] != '.')
        return parse_special(s, ret);
    bool range = false;
    double v;
    if (t.n > 2 && t.p[0] == '0' && (t.p[1] == 'x' || t.p[1] == 'X')) {
        if (!parse_hex(str_skip(t, 2), &v, &range))
            return false;
    } else if (num_text_parse(t.p, t.p + t.n, false, &v, &range) != t.n) {
        return false;
    }
    *ret = neg ? -v : v;
    return !(range && isinf(v)); /* underflow to zero or a subnormal is fine, as in Go */
}

/* The shortest digits of |v| and their decimal point: v = 0.DIGITS * 10^point. */
struct digits {
    char d[24];
    int n, point;
};

static struct digits digits_of(double v)
{
    struct digits r = { .n = 0 };
    char sci[32];
    size_t n = num_text_sci(sci, v), i = 0;
    for (; i < n && sci[i] != 'e'; i++)
        if (sci[i] != '.')
            r.d[r.n++] = sci[i];
    int exp = 0;
    bool exp_neg = sci[i + 1] == '-';
    for (i += 2; i < n; i++)
        exp = exp * 10 + (sci[i] - '0');
    r.point = (exp_neg ? -exp : exp) + 1;
    if (v == 0)
        r.n = 1, r.point = 1;
    return r;
}

static size_t put_plain(char *out, const struct digits *g)
{
    char *p = out;
    if (g->point <= 0) {
        *p++ = '0';
        *p++ = '.';
        for (int i = g->point; i < 0; i++)
            *p++ = '0';
        memcpy(p, g->d, (size_t)g->n);
        return (size_t)(p + g->n - out);
    }
    for (int i = 0; i < g->point; i++)
        *p++ = i < g->n ? g->d[i] : '0';
    if (g->n > g->point) {
        *p++ = '.';
        memcpy(p, g->d + g->point, (size_t)(g->n - g->point));
        p += g->n - g->point;
    }
    return (size_t)(p - out);
}

static size_t put_exponent(char *out, const struct digits *g)
{
    char *p = out;
    *p++ = g->d[0];
    if (g->n > 1) {
        *p++ = '.';
        memcpy(p, g->d + 1, (size_t)(g->n - 1));
        p += g->n - 1;
    }
    int exp = g->point - 1;
    *p++ = 'e';
    *p++ = exp < 0 ? '-' : '+';
    exp = exp < 0 ? -exp : exp;
    if (exp >= 100)
        *p++ = (char)('0' + exp / 100);
    *p++ = (char)('0' + exp / 10 % 10);
    *p++ = (char)('0' + exp % 10);
    return (size_t)(p - out);
}

/* Decimal exponents from plain_from to below plain_below are written plainly; INT32_MAX: always plain. */
static size_t format_f64(char *out, double v, int plain_from, int plain_below)
{
    if (isnan(v))
        return memcpy(out, "NaN", 3), 3;
    if (isinf(v))
        return memcpy(out, v < 0 ? "-Inf" : "+Inf", 4), 4;
    size_t sign = signbit(v) ? 1 : 0;
    if (sign)
        out[0] = '-';
    double abs = fabs(v);
    if (abs < 1e15 && abs == (double)(int64_t)abs &&
        (abs < 1e6 || plain_below > 15)) { /* small integers, the common case */
        char text[20];
        size_t at = sizeof(text);
        for (uint64_t u = (uint64_t)abs; at == sizeof(text) || u; u /= 10)
            text[--at] = (char)('0' + u % 10);
        memcpy(out + sign, text + at, sizeof(text) - at);
        return sign + sizeof(text) - at;
    }
    struct digits g = digits_of(abs);
    bool plain = plain_below == INT32_MAX || (g.point - 1 >= plain_from && g.point - 1 < plain_below);
    return sign + (plain ? put_plain(out + sign, &g) : put_exponent(out + sign, &g));
}

size_t num_format_f(char out[NUM_TEXT_MAX], double v)
{
    return format_f64(out, v, 0, INT32_MAX);
}

size_t num_format_g(char out[NUM_TEXT_MAX], double v)
{
    return format_f64(out, v, -4, 6);
}

size_t num_format_json(char out[NUM_TEXT_MAX], double v)
{
    size_t n = format_f64(out, v, -6, 21);
    if (n >= 4 && out[n - 4] == 'e' && out[n - 3] == '-' && out[n - 2] == '0') { /* e-07 */
        out[n - 2] = out[n - 1];
        n--;
    }
    return n;
}

void buf_f64_f(struct buf *b, double v)
{
    if (buf_reserve(b, NUM_TEXT_MAX))
        b->n += num_format_f(b->p + b->n, v);
}

void buf_f64_g(struct buf *b, double v)
{
    if (buf_reserve(b, NUM_TEXT_MAX))
        b->n += num_format_g(b->p + b->n, v);
}

void buf_f64_e(struct buf *b, double v)
{
    if (!isfinite(v)) {
        buf_f64_f(b, v);
    } else if (buf_reserve(b, NUM_TEXT_MAX)) {
        struct digits g = digits_of(fabs(v));
        if (signbit(v))
            b->p[b->n++] = '-';
        b->n += v == 0 ? (memcpy(b->p + b->n, "0e+00", 5), 5) : put_exponent(b->p + b->n, &g);
    }
}

void buf_f64_json(struct buf *b, double v)
{
    if (buf_reserve(b, NUM_TEXT_MAX))
        b->n += num_format_json(b->p + b->n, v);
}

static const struct duration_unit {
    const char *name;
    int64_t ms;
    bool exact; /* printed only when it divides the rest (as Prometheus' Duration.String) */
} duration_units[] = {
    { "y", 365LL * 86400000, true }, { "w", 7LL * 86400000, true }, { "d", 86400000, false }, { "h", 3600000, false },
    { "m", 60000, false },           { "s", 1000, false },          { "ms", 1, false },
};

/* The unit at the start of s, longest name first ("ms" before "m"). */
static int duration_unit_at(str s)
{
    int found = -1;
    for (int i = 0; i < (int)ARRAY_LEN(duration_units); i++) {
        str name = str_c(duration_units[i].name);
        if (str_has_prefix(s, name) && (found < 0 || name.n > strlen(duration_units[found].name)))
            found = i;
    }
    return found;
}

bool num_parse_duration(str s, int64_t *ret_ms)
{
    if (str_eq(s, STR("0"))) {
        *ret_ms = 0;
        return true;
    }
    if (s.n == 0)
        return false;
    int64_t total = 0;
    for (int last = -1; s.n;) {
        size_t digits = 0;
        while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
            digits++;
        uint64_t count;
        if (!str_to_u64(str_take(s, digits), &count))
            return false;
        s = str_skip(s, digits);
        int unit = duration_unit_at(s);
        int64_t part;
        if (unit <= last || count > INT64_MAX ||
            __builtin_mul_overflow((int64_t)count, duration_units[unit].ms, &part) ||
            __builtin_add_overflow(total, part, &total))
            return false;
        if (total > INT64_MAX / 1000000) /* Go's durations are nanoseconds in 64 bits */
            return false;
        s = str_skip(s, strlen(duration_units[unit].name));
        last = unit;
    }
    *ret_ms = total;
    return true;
}

void buf_duration(struct buf *b, int64_t ms)
{
    if (ms == 0) {
        buf_lit(b, "0s");
        return;
    }
    if (ms < 0) {
        buf_u8(b, '-');
        ms = -ms;
    }
    for (size_t i = 0; i < ARRAY_LEN(duration_units); i++) {
        const struct duration_unit *u = &duration_units[i];
        if (u->exact && ms % u->ms != 0)
            continue;
        if (ms / u->ms > 0) {
            buf_i64_dec(b, ms / u->ms);
            buf_str_add(b, str_c(u->name));
            ms %= u->ms;
        }
    }
}

bool num_parse_bytes(str s, uint64_t *ret)
{
    static const char prefixes[] = "KMGTPE";
    size_t digits = 0;
    while (digits < s.n && ((s.p[digits] >= '0' && s.p[digits] <= '9') || s.p[digits] == '.'))
        digits++;
    double v;
    if (digits == 0 || !num_parse_f64(str_take(s, digits), &v))
        return false;
    str unit = str_skip(s, digits);
    uint64_t scale = 1;
    if (unit.n && !str_eq(unit, STR("B"))) {
        const char *at = memchr(prefixes, unit.p[0], sizeof(prefixes) - 1);
        if (!at)
            return false;
        scale = 1ull << (10 * (at - prefixes + 1));
        unit = str_skip(unit, 1);
        if (!str_eq(unit, STR("B")) && !str_eq(unit, STR("iB")))
            return false;
    }
    v *= (double)scale;
    if (!(v < 0x1p63))
        return false;
    *ret = (uint64_t)v;
    return true;
}

static bool digits_at(str s, size_t at, size_t n, int *ret)
{
    *ret = 0;
    for (size_t i = at; i < at + n; i++) {
        if (i >= s.n || s.p[i] < '0' || s.p[i] > '9')
            return false;
        *ret = *ret * 10 + (s.p[i] - '0');
    }
    return true;
}

static int days_in_month(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* Days since 1970-01-01 of a proleptic Gregorian date (H. Hinnant, "chrono-compatible date algorithms"). */
static int64_t days_from_civil(int64_t y, int m, int d)
{
    y -= m <= 2;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t yoe = y - era * 400;
    int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + doe - 719468;
}

static bool parse_zone(str s, int64_t *ret_offset_s)
{
    if (str_eq(s, STR("Z")) || str_eq(s, STR("z"))) {
        *ret_offset_s = 0;
        return true;
    }
    int h, m;
    if (s.n != 6 || (s.p[0] != '+' && s.p[0] != '-') || s.p[3] != ':' || !digits_at(s, 1, 2, &h) ||
        !digits_at(s, 4, 2, &m) || h > 23 || m > 59)
        return false;
    *ret_offset_s = (h * 3600 + m * 60) * (s.p[0] == '-' ? -1 : 1);
    return true;
}

static bool parse_rfc3339(str s, int64_t *ret_ms)
{
    int y, mo, d, h, mi, sec;
    if (s.n < 20 || s.p[4] != '-' || s.p[7] != '-' || (s.p[10] != 'T' && s.p[10] != 't') || s.p[13] != ':' ||
        s.p[16] != ':' || !digits_at(s, 0, 4, &y) || !digits_at(s, 5, 2, &mo) || !digits_at(s, 8, 2, &d) ||
        !digits_at(s, 11, 2, &h) || !digits_at(s, 14, 2, &mi) || !digits_at(s, 17, 2, &sec))
        return false;
    if (mo < 1 || mo > 12 || d < 1 || d > days_in_month(y, mo) || h > 23 || mi > 59 || sec > 59)
        return false;
    size_t at = 19;
    int64_t ms = 0, scale = 100;
    if (s.p[at] == '.') {
        size_t first = ++at;
        for (; at < s.n && s.p[at] >= '0' && s.p[at] <= '9'; at++, scale /= 10)
            ms += (s.p[at] - '0') * scale;
        if (at == first)
            return false;
    }
    int64_t offset;
    if (!parse_zone(str_skip(s, at), &offset))
        return false;
    *ret_ms = (days_from_civil(y, mo, d) * 86400 + h * 3600 + mi * 60 + sec - offset) * 1000 + ms;
    return true;
}

bool num_parse_time(str s, int64_t *ret_ms)
{
    double v;
    if (num_parse_f64(s, &v)) {
        if (!(fabs(v) < 9.2e15))
            return false;
        *ret_ms = (int64_t)llround(v * 1000);
        return true;
    }
    return parse_rfc3339(s, ret_ms);
}

void buf_rfc3339_ms(struct buf *b, int64_t ts_ms)
{
    int64_t s = ts_ms / 1000, ms = ts_ms % 1000;
    if (ms < 0)
        s--, ms += 1000;
    time_t t = (time_t)s;
    struct tm tm;
    if (!gmtime_r(&t, &tm)) {
        buf_i64_dec(b, ts_ms);
        return;
    }
    buf_printf(b, "%04d-%02d-%02dT%02d:%02d:%02d", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
               tm.tm_sec);
    if (ms)
        buf_printf(b, ".%03d", (int)ms);
    buf_u8(b, 'Z');
}
