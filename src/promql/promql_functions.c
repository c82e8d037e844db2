/* The function table in its array form, and look-up by name. */
#include "promql/promql_functions.h"

#include "promql/ast.h"

const struct promql_function promql_functions[PQ_FN_COUNT] = {
#define TYPE_OF(c) \
    ((c) == 's' ? PROMQL_SCALAR : (c) == 'v' ? PROMQL_VECTOR : (c) == 'm' ? PROMQL_MATRIX : PROMQL_STRING)
#define X(name, args, variadic, returns, experimental) \
    { STR_INIT(#name), args, variadic, TYPE_OF(returns), experimental },
    PROMQL_FUNCTIONS(X)
#undef X
};

const struct promql_function *promql_function_find(str name)
{
    size_t lo = 0, hi = PQ_FN_COUNT;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = str_cmp(promql_functions[mid].name, name);
        if (c == 0)
            return &promql_functions[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

enum promql_type promql_type_of_letter(char c)
{
    return TYPE_OF(c);
}

const char *promql_type_name(enum promql_type t)
{
    static const char *const names[] = {
        [PROMQL_NONE] = "none",     [PROMQL_SCALAR] = "scalar", [PROMQL_VECTOR] = "vector",
        [PROMQL_MATRIX] = "matrix", [PROMQL_STRING] = "string",
    };
    return names[t];
}

const char *promql_op_text(enum promql_op op)
{
    static const char *const text[] = {
        [PQ_ADD] = "+",   [PQ_SUB] = "-",       [PQ_MUL] = "*",         [PQ_DIV] = "/",         [PQ_MOD] = "%",
        [PQ_POW] = "^",   [PQ_ATAN2] = "atan2", [PQ_TRIM_UPPER] = "</", [PQ_TRIM_LOWER] = ">/", [PQ_EQ] = "==",
        [PQ_NE] = "!=",   [PQ_LT] = "<",        [PQ_LE] = "<=",         [PQ_GT] = ">",          [PQ_GE] = ">=",
        [PQ_AND] = "and", [PQ_OR] = "or",       [PQ_UNLESS] = "unless",
    };
    return text[op];
}

const char *promql_agg_text(enum promql_agg_op op)
{
    static const char *const text[PQ_AGG_COUNT_OPS] = {
        [PQ_AGG_SUM] = "sum",           [PQ_AGG_AVG] = "avg",
        [PQ_AGG_COUNT] = "count",       [PQ_AGG_MIN] = "min",
        [PQ_AGG_MAX] = "max",           [PQ_AGG_GROUP] = "group",
        [PQ_AGG_STDDEV] = "stddev",     [PQ_AGG_STDVAR] = "stdvar",
        [PQ_AGG_TOPK] = "topk",         [PQ_AGG_BOTTOMK] = "bottomk",
        [PQ_AGG_QUANTILE] = "quantile", [PQ_AGG_COUNT_VALUES] = "count_values",
        [PQ_AGG_LIMITK] = "limitk",     [PQ_AGG_LIMIT_RATIO] = "limit_ratio",
    };
    return text[op];
}
