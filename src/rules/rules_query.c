/* Where rules ask: the one place that knows in which language an expression is written and who answers it. */
#include "rules/rules_int.h"

static void scalar_as_vector(struct arena *a, struct promql_result *r)
{
    r->series = arena_new(a, struct promql_result_series);
    *r->series = (struct promql_result_series){ .points = arena_new(a, struct promql_point), .n_points = 1 };
    r->series->points[0] = r->scalar;
    r->n_series = 1;
    r->type = PROMQL_VECTOR;
}

enum err rules_ask(const struct rules_env *env, str text, const struct promql_expr *parsed, int64_t ts_ms,
                   struct arena *a, struct promql_result *ret, struct err_text *reterr)
{
    struct promql_query q = {
        .text = text, .expr = parsed, .instant = true, .from_ms = ts_ms, .to_ms = ts_ms, .cancel = env->cancel
    };
    TRY(promql_exec(env->engine, env->source, &q, a, ret, reterr));
    if (ret->type == PROMQL_SCALAR)
        scalar_as_vector(a, ret);
    return OK;
}
