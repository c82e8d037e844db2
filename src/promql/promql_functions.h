/* The functions of PromQL, one row each: the parser checks calls against it, the planner maps ids to code,
 * the UI completes from it. Spec: Prometheus 3.x, promql/parser/functions.go.
 *
 *   X(name, args, variadic, returns, experimental)
 *   args      argument types: s scalar, v instant vector, m range vector, t string
 *   variadic  0: exactly these arguments. n > 0: the last is optional and may occur up to n times in all
 *             (at least len-1, at most len-1+n). -1: the last may be left out or repeated without limit */
#ifndef VANE_PROMQL_FUNCTIONS_H
#define VANE_PROMQL_FUNCTIONS_H

#include "base/str.h"
#include "promql/promql.h"

/* clang-format off */
#define PROMQL_FUNCTIONS(X)                                    \
    X(abs,                         "v",      0,   'v', false)  \
    X(absent,                      "v",      0,   'v', false)  \
    X(absent_over_time,            "m",      0,   'v', false)  \
    X(acos,                        "v",      0,   'v', false)  \
    X(acosh,                       "v",      0,   'v', false)  \
    X(asin,                        "v",      0,   'v', false)  \
    X(asinh,                       "v",      0,   'v', false)  \
    X(atan,                        "v",      0,   'v', false)  \
    X(atanh,                       "v",      0,   'v', false)  \
    X(avg_over_time,               "m",      0,   'v', false)  \
    X(ceil,                        "v",      0,   'v', false)  \
    X(changes,                     "m",      0,   'v', false)  \
    X(clamp,                       "vss",    0,   'v', false)  \
    X(clamp_max,                   "vs",     0,   'v', false)  \
    X(clamp_min,                   "vs",     0,   'v', false)  \
    X(cos,                         "v",      0,   'v', false)  \
    X(cosh,                        "v",      0,   'v', false)  \
    X(count_over_time,             "m",      0,   'v', false)  \
    X(day_of_month,                "v",      1,   'v', false)  \
    X(day_of_week,                 "v",      1,   'v', false)  \
    X(day_of_year,                 "v",      1,   'v', false)  \
    X(days_in_month,               "v",      1,   'v', false)  \
    X(deg,                         "v",      0,   'v', false)  \
    X(delta,                       "m",      0,   'v', false)  \
    X(deriv,                       "m",      0,   'v', false)  \
    X(double_exponential_smoothing, "mss",    0,   'v', true)  \
    X(end,                         "",       0,   's', true)   \
    X(exp,                         "v",      0,   'v', false)  \
    X(first_over_time,             "m",      0,   'v', false)  \
    X(floor,                       "v",      0,   'v', false)  \
    X(histogram_avg,               "v",      0,   'v', false)  \
    X(histogram_count,             "v",      0,   'v', false)  \
    X(histogram_fraction,          "ssv",    0,   'v', false)  \
    X(histogram_quantile,          "sv",     0,   'v', false)  \
    X(histogram_quantiles,         "vtss",   9,   'v', true)   \
    X(histogram_stddev,            "v",      0,   'v', false)  \
    X(histogram_stdvar,            "v",      0,   'v', false)  \
    X(histogram_sum,               "v",      0,   'v', false)  \
    X(hour,                        "v",      1,   'v', false)  \
    X(idelta,                      "m",      0,   'v', false)  \
    X(increase,                    "m",      0,   'v', false)  \
    X(info,                        "vv",     1,   'v', true)   \
    X(irate,                       "m",      0,   'v', false)  \
    X(label_join,                  "vttt",   -1,  'v', false)  \
    X(label_replace,               "vtttt",  0,   'v', false)  \
    X(last_over_time,              "m",      0,   'v', false)  \
    X(ln,                          "v",      0,   'v', false)  \
    X(log10,                       "v",      0,   'v', false)  \
    X(log2,                        "v",      0,   'v', false)  \
    X(mad_over_time,               "m",      0,   'v', true)   \
    X(max_of,                      "ss",     0,   's', true)   \
    X(max_over_time,               "m",      0,   'v', false)  \
    X(min_of,                      "ss",     0,   's', true)   \
    X(min_over_time,               "m",      0,   'v', false)  \
    X(minute,                      "v",      1,   'v', false)  \
    X(month,                       "v",      1,   'v', false)  \
    X(pi,                          "",       0,   's', false)  \
    X(predict_linear,              "ms",     0,   'v', false)  \
    X(present_over_time,           "m",      0,   'v', false)  \
    X(quantile_over_time,          "sm",     0,   'v', false)  \
    X(rad,                         "v",      0,   'v', false)  \
    X(range,                       "",       0,   's', true)   \
    X(rate,                        "m",      0,   'v', false)  \
    X(resets,                      "m",      0,   'v', false)  \
    X(round,                       "vs",     1,   'v', false)  \
    X(scalar,                      "v",      0,   's', false)  \
    X(sgn,                         "v",      0,   'v', false)  \
    X(sin,                         "v",      0,   'v', false)  \
    X(sinh,                        "v",      0,   'v', false)  \
    X(sort,                        "v",      0,   'v', false)  \
    X(sort_by_label,               "vt",     -1,  'v', true)   \
    X(sort_by_label_desc,          "vt",     -1,  'v', true)   \
    X(sort_desc,                   "v",      0,   'v', false)  \
    X(sqrt,                        "v",      0,   'v', false)  \
    X(start,                       "",       0,   's', true)   \
    X(start_timestamp,             "v",      0,   'v', true)   \
    X(stddev_over_time,            "m",      0,   'v', false)  \
    X(stdvar_over_time,            "m",      0,   'v', false)  \
    X(step,                        "",       0,   's', true)   \
    X(sum_over_time,               "m",      0,   'v', false)  \
    X(tan,                         "v",      0,   'v', false)  \
    X(tanh,                        "v",      0,   'v', false)  \
    X(time,                        "",       0,   's', false)  \
    X(timestamp,                   "v",      0,   'v', false)  \
    X(ts_of_first_over_time,       "m",      0,   'v', true)   \
    X(ts_of_last_over_time,        "m",      0,   'v', true)   \
    X(ts_of_max_over_time,         "m",      0,   'v', true)   \
    X(ts_of_min_over_time,         "m",      0,   'v', true)   \
    X(vector,                      "s",      0,   'v', false)  \
    X(year,                        "v",      1,   'v', false)
/* clang-format on */

enum promql_fn {
#define X(name, args, variadic, returns, experimental) PQ_FN_##name,
    PROMQL_FUNCTIONS(X)
#undef X
};
#define X(name, args, variadic, returns, experimental) +1
enum { PQ_FN_COUNT = 0 PROMQL_FUNCTIONS(X) };
#undef X

struct promql_function {
    str name;
    const char *args;
    int variadic;
    enum promql_type returns;
    bool experimental;
};
extern const struct promql_function promql_functions[PQ_FN_COUNT]; /* by enum promql_fn; sorted by name */
const struct promql_function *promql_function_find(str name);      /* NULL: none */
/* Does the result depend on the time of evaluation even if the arguments do not? */
bool promql_fn_depends_on_time(enum promql_fn fn);
static inline enum promql_fn promql_function_id(const struct promql_function *f)
{
    return (enum promql_fn)(f - promql_functions);
}
enum promql_type promql_type_of_letter(char c);
const char *promql_type_name(enum promql_type t); /* "scalar", "vector", "matrix", "string", "none" */

#endif
