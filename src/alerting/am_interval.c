#include "alerting/am_interval.h"

#include "base/check.h"

static const char *const weekday_names[] = { "sunday",   "monday", "tuesday", "wednesday",
                                             "thursday", "friday", "saturday" };
static const char *const month_names[] = { "january", "february", "march",     "april",   "may",      "june",
                                           "july",    "august",   "september", "october", "november", "december" };

/* ---- decoding ---- */
struct kind {
    const char *const *names; /* may be given instead of numbers */
    size_t n_names;
    int first; /* number of names[0] */
    int lo, hi;
    const char *what;
};
static const struct kind weekdays = { weekday_names, 7, 0, 0, 6, "weekday" };
static const struct kind months = { month_names, 12, 1, 1, 12, "month" };
static const struct kind days = { NULL, 0, 0, -31, 31, "day of the month" };
static const struct kind years = { NULL, 0, 0, 1, 999999, "year" };

static enum err read_one(struct conf_ctx *cx, const struct conf_node *n, const struct kind *k, str s, int *ret)
{
    int64_t v;
    s = str_trim(s);
    for (size_t i = 0; i < k->n_names; i++)
        if (str_ieq(s, str_c(k->names[i]))) {
            *ret = k->first + (int)i;
            return OK;
        }
    bool numbers = k != &weekdays;
    if (!numbers || !str_to_i64(s, &v))
        return conf_error(cx, n, STR_FMT " is not a valid %s", STR_ARG(s), k->what);
    if (v < k->lo || v > k->hi || (k == &days && v == 0))
        return conf_error(cx, n, STR_FMT " is not a valid %s: out of range", STR_ARG(s), k->what);
    *ret = (int)v;
    return OK;
}

static enum err check_order(struct conf_ctx *cx, const struct conf_node *n, const struct kind *k,
                            const struct am_range *r)
{
    if (k == &days) { /* months of other lengths cut off; what can never hold is an error */
        int start = r->from < 0 ? 30 + r->from : r->from, end = r->to < 0 ? 30 + r->to : r->to;
        if (r->from < 0 && r->to > 0)
            return conf_error(cx, n, "end day must be negative if start day is negative");
        if (end < start)
            return conf_error(cx, n, "end day %d is always before start day %d", r->to, r->from);
        return OK;
    }
    if (r->to < r->from)
        return conf_error(cx, n, "end %s %d is before start %s %d", k->what, r->to, k->what, r->from);
    return OK;
}

static enum err read_range(struct conf_ctx *cx, const struct conf_node *n, const struct kind *k, struct am_range *ret)
{
    str s, head;
    TRY(conf_read_str(cx, n, &s));
    str rest = s;
    size_t colon = str_find_char(s, ':');
    head = str_take(s, colon);
    rest = colon == SIZE_MAX ? s : str_skip(s, colon + 1);
    if (colon != SIZE_MAX && str_find_char(rest, ':') != SIZE_MAX)
        return conf_error(cx, n, "couldn't parse range " STR_FMT ", invalid format", STR_ARG(s));
    if (k == &days && colon != SIZE_MAX && str_eq(str_trim(head), STR("-31")) && str_eq(str_trim(rest), STR("31"))) {
        *ret = (struct am_range){ 1, 31 }; /* the whole month */
        return OK;
    }
    TRY(read_one(cx, n, k, head, &ret->from));
    TRY(read_one(cx, n, k, rest, &ret->to));
    return check_order(cx, n, k, ret);
}

#define RANGES(name, kind)                                                            \
    static enum err name(struct conf_ctx *cx, const struct conf_node *n, void *field) \
    {                                                                                 \
        return read_range(cx, n, &(kind), field);                                     \
    }
RANGES(read_weekday, weekdays)
RANGES(read_month, months)
RANGES(read_day, days)
RANGES(read_year, years)

static bool two_digits(str s, int *ret)
{
    uint64_t v;
    if (s.n != 2 || !str_to_u64(s, &v))
        return false;
    *ret = (int)v;
    return true;
}

static enum err read_minute(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    str s;
    int h = 0, m = 0;
    TRY(conf_read_str(cx, n, &s));
    bool ok = s.n == 5 && s.p[2] == ':' && two_digits(str_take(s, 2), &h) && two_digits(str_skip(s, 3), &m);
    if (!ok || m > 59 || h * 60 + m > 1440)
        return conf_error(cx, n, "couldn't parse timestamp " STR_FMT ", invalid format", STR_ARG(s));
    *(int *)field = h * 60 + m;
    return OK;
}

static void check_times(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct am_range *r = obj;
    if (!conf_has(n, "start_time") || !conf_has(n, "end_time"))
        IGNORE_ERR(conf_error(cx, n, "both start and end times must be provided"));
    else if (r->from >= r->to)
        IGNORE_ERR(conf_error(cx, n, "start time cannot be equal or greater than end time"));
}

static enum err read_location(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    str s;
    struct err_text why = { 0 };
    TRY(conf_read_str(cx, n, &s));
    if (tz_load(s, field, &why) != OK)
        return conf_error(cx, n, "%s", why.msg);
    return OK;
}

static void print_nothing(struct conf_out *out, const void *field)
{
    (void)field;
    conf_out_scalar(out, STR(""));
}

static const struct conf_field time_fields[] = {
    CF(struct am_range, from, "start_time", CONF_CUSTOM, .read = read_minute, .print = print_nothing),
    CF(struct am_range, to, "end_time", CONF_CUSTOM, .read = read_minute, .print = print_nothing),
};
static const struct conf_schema time_schema = {
    .type_name = "timeinterval.yamlTimeRange",
    .size = sizeof(struct am_range),
    .fields = time_fields,
    .n_fields = ARRAY_LEN(time_fields),
    .check = check_times,
};
#define RANGE_SCHEMA(name, fn)                                                  \
    static const struct conf_schema name = { .type_name = "timeinterval.range", \
                                             .size = sizeof(struct am_range),   \
                                             .from_scalar = fn }
RANGE_SCHEMA(weekday_schema, read_weekday);
RANGE_SCHEMA(month_schema, read_month);
RANGE_SCHEMA(day_schema, read_day);
RANGE_SCHEMA(year_schema, read_year);

#define F(m, key, ...) CF(struct am_interval, m, key, ##__VA_ARGS__)
static const struct conf_field interval_fields[] = {
    F(times, "times", CONF_LIST, .of = CONF_STRUCT, .schema = &time_schema),
    F(weekdays, "weekdays", CONF_LIST, .of = CONF_STRUCT, .schema = &weekday_schema),
    F(days, "days_of_month", CONF_LIST, .of = CONF_STRUCT, .schema = &day_schema),
    F(months, "months", CONF_LIST, .of = CONF_STRUCT, .schema = &month_schema),
    F(years, "years", CONF_LIST, .of = CONF_STRUCT, .schema = &year_schema),
    F(tz, "location", CONF_CUSTOM, .read = read_location, .print = print_nothing),
};
static const struct conf_schema interval_schema = {
    .type_name = "timeinterval.TimeInterval",
    .size = sizeof(struct am_interval),
    .fields = interval_fields,
    .n_fields = ARRAY_LEN(interval_fields),
};

enum err am_intervals_conf(struct conf_ctx *cx, const struct conf_node *n, struct am_intervals *ret)
{
    size_t errors = cx->n_errors;
    *ret = (struct am_intervals){ 0 };
    if (!n || n->kind == CONF_NULL)
        return OK;
    if (n->kind != CONF_SEQ)
        return conf_error(cx, n, "time intervals are a list");
    ret->p = arena_zarray(cx->a, struct am_interval, n->n + 1);
    for (size_t i = 0; i < n->n; i++)
        IGNORE_ERR(conf_decode(cx, n->items[i], &interval_schema, &ret->p[ret->n++]));
    return cx->n_errors == errors ? OK : ERR_INVALID;
}

/* ---- asking ---- */
static bool in_any(const struct am_range *p, size_t n, int64_t v)
{
    for (size_t i = 0; i < n; i++)
        if (v >= p[i].from && v <= p[i].to)
            return true;
    return n == 0;
}

static bool day_in(const struct am_range *r, int day, int last)
{
    int from = r->from < 0 ? last + r->from + 1 : r->from, to = r->to < 0 ? last + r->to + 1 : r->to;
    if (from > last || to < 1)
        return false; /* wholly outside of this month */
    return day >= MAX(from, 1) && day <= MIN(to, last);
}

bool am_interval_contains(const struct am_interval *x, int64_t unix_s)
{
    struct civil c = civil_of(unix_s + tz_at(x->tz ? x->tz : tz_utc, unix_s).east_s);
    int minute = c.hour * 60 + c.minute, last = civil_month_days(c.year, c.month);
    bool time = x->times.n == 0, day = x->days.n == 0;
    for (size_t i = 0; i < x->times.n && !time; i++)
        time = minute >= x->times.p[i].from && minute < x->times.p[i].to;
    for (size_t i = 0; i < x->days.n && !day; i++)
        day = day_in(&x->days.p[i], c.day, last);
    return time && day && in_any(x->months.p, x->months.n, c.month) &&
           in_any(x->weekdays.p, x->weekdays.n, c.weekday) && in_any(x->years.p, x->years.n, c.year);
}

bool am_intervals_contain(const struct am_intervals *v, int64_t unix_s)
{
    for (size_t i = 0; i < v->n; i++)
        if (am_interval_contains(&v->p[i], unix_s))
            return true;
    return false;
}
