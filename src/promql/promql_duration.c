/* Duration expressions: foo[step() * 2], offset -(5m + range()). Computed in seconds, as upstream does. */
#include <math.h>

#include "promql/ast.h"

struct scope {
    double step_s, range_s;
    struct err_text *reterr;
};

static enum err eval(const struct promql_expr *e, const struct scope *sc, double *ret);

static enum err eval_two(const struct promql_dur_expr *d, const struct scope *sc, double *ret)
{
    double l = 0, r = 0;
    if (d->lhs)
        TRY(eval(d->lhs, sc, &l));
    TRY(eval(d->rhs, sc, &r));
    switch (d->op) {
    case PQ_DUR_ADD:
        *ret = l + r;
        return OK;
    case PQ_DUR_SUB:
        *ret = l - r;
        return OK;
    case PQ_DUR_MUL:
        *ret = l * r;
        return OK;
    case PQ_DUR_DIV:
        if (r == 0)
            return err_fail(sc->reterr, ERR_EXEC, "division by zero");
        *ret = l / r;
        return OK;
    case PQ_DUR_MOD:
        if (r == 0)
            return err_fail(sc->reterr, ERR_EXEC, "modulo by zero");
        *ret = fmod(l, r);
        return OK;
    case PQ_DUR_POW:
        *ret = pow(l, r);
        return OK;
    case PQ_DUR_MIN:
        *ret = fmin(l, r);
        return OK;
    default:
        *ret = fmax(l, r);
        return OK;
    }
}

static enum err eval(const struct promql_expr *e, const struct scope *sc, double *ret)
{
    if (e->kind == PQ_NUMBER)
        *ret = e->number.v;
    else if (e->dur.op == PQ_DUR_STEP)
        *ret = sc->step_s;
    else if (e->dur.op == PQ_DUR_RANGE)
        *ret = sc->range_s;
    else
        return eval_two(&e->dur, sc, ret);
    return OK;
}

enum err promql_duration_eval(const struct promql_dur *d, int64_t step_ms, int64_t range_ms, bool must_be_positive,
                              int64_t *ret_ms, struct err_text *reterr)
{
    if (!d->expr) {
        *ret_ms = d->ms;
        return OK;
    }
    struct scope sc = { (double)step_ms / 1000, (double)range_ms / 1000, reterr };
    double v = 0;
    TRY(eval(d->expr, &sc, &v));
    if (must_be_positive && !(v > 0))
        return err_fail(reterr, ERR_EXEC, "duration must be greater than 0");
    if (isnan(v) || v > 9223372036.0 || v < -9223372036.0) /* nanoseconds must fit 63 bits */
        return err_fail(reterr, ERR_EXEC, "duration is out of range");
    *ret_ms = (int64_t)(v * 1000);
    return OK;
}
