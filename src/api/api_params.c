/* Parameters of Prometheus' HTTP API: times, durations, limits, selectors, with upstream's words for what is wrong. */
#include <math.h>
#include <stdio.h>

#include "api/api_int.h"

static const str time_min_text = STR_INIT("-292273086-05-16T16:47:06Z");
static const str time_max_text = STR_INIT("292277025-08-18T07:12:54.999999999Z");

bool api_parse_time(str s, int64_t *ret_ms)
{
    double seconds;
    if (num_parse_f64(s, &seconds)) {
        if (isnan(seconds))
            return false;
        /* Seconds and thousandths apart, as upstream: whole milliseconds survive the binary fraction. */
        double whole, fraction = round(modf(seconds, &whole) * 1000);
        if (whole <= (double)API_TIME_MIN / 1000)
            *ret_ms = API_TIME_MIN;
        else if (whole >= (double)API_TIME_MAX / 1000)
            *ret_ms = API_TIME_MAX;
        else
            *ret_ms = (int64_t)whole * 1000 + (int64_t)fraction;
        return true;
    }
    if (str_eq(s, time_min_text) || str_eq(s, time_max_text)) {
        *ret_ms = s.p[0] == '-' ? API_TIME_MIN : API_TIME_MAX;
        return true;
    }
    return num_parse_time(s, ret_ms);
}

bool api_parse_duration(str s, int64_t *ret_ms, const char **ret_why)
{
    double seconds;
    *ret_why = "to a valid duration";
    if (num_parse_f64(s, &seconds)) {
        if (isnan(seconds))
            return false;
        *ret_why = "to a valid duration. It overflows int64";
        if (fabs(seconds) > 9223372036.0)
            return false;
        *ret_ms = (int64_t)trunc(seconds * 1000 + (seconds < 0 ? -1e-6 : 1e-6));
        return true;
    }
    return num_parse_duration(s, ret_ms);
}

/* %q of a value in a message, cut to a sensible length. */
static str quoted(struct arena *a, str s)
{
    struct buf b;
    buf_init(&b, 0);
    json_escape(&b, str_take(s, 200));
    str q = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return q;
}

bool api_time_param(const struct http_request *rq, struct http_response *rs, const char *name, int64_t fallback,
                    int64_t *ret_ms)
{
    str s = http_param(rq, str_c(name));
    if (s.n == 0) {
        *ret_ms = fallback;
        return true;
    }
    if (api_parse_time(s, ret_ms))
        return true;
    str q = quoted(rq->a, s);
    api_fail(rs, API_BAD_DATA,
             "invalid parameter \"%s\": Invalid time value for '%s': cannot parse " STR_FMT " to a valid timestamp",
             name, name, STR_ARG(q));
    return false;
}

bool api_limit_param(const struct http_request *rq, struct http_response *rs, const char *name, size_t *ret)
{
    str s = http_param(rq, str_c(name));
    int64_t v = 0;
    *ret = 0;
    if (s.n == 0)
        return true;
    if (!str_to_i64(s, &v)) {
        str q = quoted(rq->a, s);
        api_fail(rs, API_BAD_DATA, "invalid parameter \"%s\": strconv.Atoi: parsing " STR_FMT ": invalid syntax", name,
                 STR_ARG(q));
        return false;
    }
    if (v < 0) {
        api_fail_param(rs, name, "limit must be non-negative");
        return false;
    }
    *ret = (size_t)v;
    return true;
}

bool api_range_params(const struct http_request *rq, struct http_response *rs, int64_t *ret_from, int64_t *ret_to)
{
    return api_time_param(rq, rs, "start", API_TIME_MIN, ret_from) &&
           api_time_param(rq, rs, "end", API_TIME_MAX, ret_to);
}

bool api_count_param(const struct http_request *rq, struct http_response *rs, const char *name, int64_t *ret)
{
    str s = http_param(rq, str_c(name));
    *ret = -1;
    if (s.n == 0 || str_to_i64(s, ret))
        return true;
    api_fail(rs, API_BAD_DATA, "%s must be a number", name);
    return false;
}

/* The message names the parameter where the parameter is required: that is how upstream's handlers differ. */
static void selector_fail(struct http_response *rs, bool required, const char *why)
{
    if (required)
        api_fail_param(rs, "match[]", why);
    else
        api_fail(rs, API_BAD_DATA, "%s", why);
}

bool api_selector_params(const struct http_request *rq, struct http_response *rs, bool required,
                         struct api_selector **ret, size_t *ret_n)
{
    const str *texts;
    size_t n = http_params(rq, STR("match[]"), &texts);
    if (n == 0 && required) {
        api_fail(rs, API_BAD_DATA, "no match[] parameter provided");
        return false;
    }
    struct api_selector *s = arena_zarray(rq->a, struct api_selector, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct err_text why = { .msg = "" };
        bool ok = promql_parse_selector(rq->a, texts[i], &s[i].m, &s[i].n, &why) == OK;
        bool some = false;
        for (size_t k = 0; ok && k < s[i].n; k++)
            some |= !matcher_matches_empty(&s[i].m[k]);
        if (ok && some)
            continue;
        api_selectors_deinit(s, ok ? i + 1 : i);
        selector_fail(rs, required, ok ? "match[] must contain at least one non-empty matcher" : why.msg);
        return false;
    }
    *ret = s;
    *ret_n = n;
    return true;
}

void api_selectors_deinit(struct api_selector *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        promql_matchers_deinit(s[i].m, s[i].n);
}
