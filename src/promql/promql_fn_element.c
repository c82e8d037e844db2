/* Functions that change each sample on its own: mathematics, calendar, clamping, rounding, histogram_count and its
 * kin, and operators between a vector and a scalar. Each is a step (struct pq_map) over a row, in place. */
#include "promql/promql_int.h"

/* ---- calendar (UTC, proleptic Gregorian) ---- */
struct civil {
    int64_t year;
    int month, day, weekday, yearday; /* from 1; weekday 0 = Sunday */
    int hour, minute;
};

static bool is_leap(int64_t y)
{
    return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}
static int month_days(int64_t y, int m)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    return m == 2 && is_leap(y) ? 29 : days[m - 1];
}

static struct civil civil_of(double seconds)
{
    if (!(seconds > -1e17 && seconds < 1e17))
        seconds = 0;
    int64_t t = (int64_t)seconds, day = t / 86400, rest = t % 86400;
    if (rest < 0) {
        rest += 86400;
        day--;
    }
    /* days since 0000-03-01, eras of 400 years */
    int64_t z = day + 719468, era = (z >= 0 ? z : z - 146096) / 146097, doe = z - era * 146097;
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365, doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153;
    struct civil c = { .year = yoe + era * 400,
                       .day = (int)(doy - (153 * mp + 2) / 5 + 1),
                       .month = (int)(mp < 10 ? mp + 3 : mp - 9) };
    c.year += c.month <= 2;
    c.weekday = (int)(((day % 7) + 11) % 7);
    c.yearday = c.day;
    for (int m = 1; m < c.month; m++)
        c.yearday += month_days(c.year, m);
    c.hour = (int)(rest / 3600);
    c.minute = (int)(rest / 60 % 60);
    return c;
}

static double fn_days_in_month(double t)
{
    struct civil c = civil_of(t);
    return month_days(c.year, c.month);
}
static double fn_day_of_month(double t)
{
    return civil_of(t).day;
}
static double fn_day_of_week(double t)
{
    return civil_of(t).weekday;
}
static double fn_day_of_year(double t)
{
    return civil_of(t).yearday;
}
static double fn_hour(double t)
{
    return civil_of(t).hour;
}
static double fn_minute(double t)
{
    return civil_of(t).minute;
}
static double fn_month(double t)
{
    return civil_of(t).month;
}
static double fn_year(double t)
{
    return (double)civil_of(t).year;
}

/* ---- mathematics ---- */
static double fn_rad(double v)
{
    return v * M_PI / 180;
}
static double fn_deg(double v)
{
    return v * 180 / M_PI;
}
static double fn_sgn(double v)
{
    return v < 0 ? -1 : v > 0 ? 1 : v;
}

static double (*const float_fns[PQ_FN_COUNT])(double) = {
    [PQ_FN_abs] = fabs,
    [PQ_FN_ceil] = ceil,
    [PQ_FN_floor] = floor,
    [PQ_FN_exp] = exp,
    [PQ_FN_sqrt] = sqrt,
    [PQ_FN_ln] = log,
    [PQ_FN_log2] = log2,
    [PQ_FN_log10] = log10,
    [PQ_FN_sin] = sin,
    [PQ_FN_cos] = cos,
    [PQ_FN_tan] = tan,
    [PQ_FN_asin] = asin,
    [PQ_FN_acos] = acos,
    [PQ_FN_atan] = atan,
    [PQ_FN_sinh] = sinh,
    [PQ_FN_cosh] = cosh,
    [PQ_FN_tanh] = tanh,
    [PQ_FN_asinh] = asinh,
    [PQ_FN_acosh] = acosh,
    [PQ_FN_atanh] = atanh,
    [PQ_FN_rad] = fn_rad,
    [PQ_FN_deg] = fn_deg,
    [PQ_FN_sgn] = fn_sgn,
    [PQ_FN_days_in_month] = fn_days_in_month,
    [PQ_FN_day_of_month] = fn_day_of_month,
    [PQ_FN_day_of_week] = fn_day_of_week,
    [PQ_FN_day_of_year] = fn_day_of_year,
    [PQ_FN_hour] = fn_hour,
    [PQ_FN_minute] = fn_minute,
    [PQ_FN_month] = fn_month,
    [PQ_FN_year] = fn_year,
};

/* ---- steps over a row ---- */
/* Functions of floats drop histograms. */
static void drop_histograms(const struct pq_rows *r, struct pq_row *row)
{
    for (size_t s = 0; row->h && s < r->tl.n; s++)
        if (row->h[s])
            row->v[s] = pq_none();
    row->h = NULL;
}

#define EACH_SAMPLE(s, r, row)             \
    for (size_t s = 0; s < (r)->tl.n; s++) \
        if (!pq_is_none((row)->v[s]))

static enum err map_fn(struct pq_worker *w, const struct pq_map *m, const struct pq_rows *r, size_t i,
                       struct pq_row *row)
{
    (void)w, (void)i;
    drop_histograms(r, row);
    EACH_SAMPLE(s, r, row)
    row->v[s] = m->f(row->v[s]);
    return OK;
}

/* Go's math.Max and math.Min: NaN wins, -0 < +0. */
static double go_max(double a, double b)
{
    if (isinf(a) == 1 || isinf(b) == 1)
        return PQ_INF;
    if (isnan(a) || isnan(b))
        return PQ_NAN;
    if (a == 0 && b == 0)
        return signbit(a) ? b : a;
    return a > b ? a : b;
}
static double go_min(double a, double b)
{
    if (isinf(a) == -1 || isinf(b) == -1)
        return -PQ_INF;
    if (isnan(a) || isnan(b))
        return PQ_NAN;
    if (a == 0 && b == 0)
        return signbit(a) ? a : b;
    return a < b ? a : b;
}

static enum err map_clamp(struct pq_worker *w, const struct pq_map *m, const struct pq_rows *r, size_t i,
                          struct pq_row *row)
{
    (void)w, (void)i;
    drop_histograms(r, row);
    EACH_SAMPLE(s, r, row)
    {
        double min = m->s1 ? m->s1[s] : -PQ_INF, max = m->s2 ? m->s2[s] : PQ_INF;
        row->v[s] = max < min ? pq_none() : go_max(min, go_min(max, row->v[s]));
    }
    return OK;
}

static enum err map_round(struct pq_worker *w, const struct pq_map *m, const struct pq_rows *r, size_t i,
                          struct pq_row *row)
{
    (void)w, (void)i;
    drop_histograms(r, row);
    EACH_SAMPLE(s, r, row)
    {
        double inverse = 1.0 / (m->s1 ? m->s1[s] : 1);
        row->v[s] = floor(row->v[s] * inverse + 0.5) / inverse;
    }
    return OK;
}

/* timestamp() of something that is not a selector: the time of evaluation. */
static enum err map_timestamp(struct pq_worker *w, const struct pq_map *m, const struct pq_rows *r, size_t i,
                              struct pq_row *row)
{
    (void)w, (void)i, (void)m;
    row->h = NULL;
    EACH_SAMPLE(s, r, row)
    row->v[s] = (double)pq_ts(&r->tl, s) / 1000;
    return OK;
}

/* start_timestamp() of something that is not a selector: not known. */
static enum err map_nothing(struct pq_worker *w, const struct pq_map *m, const struct pq_rows *r, size_t i,
                            struct pq_row *row)
{
    (void)w, (void)i, (void)m;
    row->h = NULL;
    for (size_t s = 0; s < r->tl.n; s++)
        row->v[s] = pq_none();
    return OK;
}

enum err pq_map_negate(struct pq_worker *w, const struct pq_map *m, const struct pq_rows *r, size_t i,
                       struct pq_row *row)
{
    (void)i, (void)m;
    EACH_SAMPLE(s, r, row)
    {
        if (row->h && row->h[s])
            row->h[s] = pq_hist_scale(&w->a, row->h[s], -1);
        else
            row->v[s] = -row->v[s];
    }
    return OK;
}

static void scalar_binary_at(struct pq_worker *w, const struct pq_map *m, size_t s, struct pq_row *row)
{
    struct pq_elem el = { row->v[s], row->h ? row->h[s] : NULL }, sc = { m->s1[s], NULL };
    struct pq_elem l = m->swap ? sc : el, r = m->swap ? el : sc, out = el;
    bool keep = true;
    if (!pq_elem_binary(w, m->node->pos, m->op, l, r, &out, &keep)) {
        row->v[s] = pq_none();
        return;
    }
    if (promql_op_is_comparison(m->op)) {
        out = el; /* the vector's element stays, whichever side it was on */
        if (m->return_bool)
            out = (struct pq_elem){ keep ? 1 : 0, NULL };
        else if (!keep)
            out = (struct pq_elem){ pq_none(), NULL };
    }
    row->v[s] = out.f;
    if (row->h)
        row->h[s] = out.h;
}

/* The arithmetic that dashboards are made of, without a call per element. */
#define FLOAT_LOOP(expr)                      \
    for (size_t s = 0; s < n; s++) {          \
        double x = v[s], y = sc[s];           \
        v[s] = pq_is_none(x) ? none : (expr); \
    }                                         \
    return true
static bool float_binary(enum promql_op op, bool swap, double *restrict v, const double *restrict sc, size_t n)
{
    const double none = pq_none_opaque();
    switch (op) {
    case PQ_ADD:
        FLOAT_LOOP(x + y);
    case PQ_MUL:
        FLOAT_LOOP(x * y);
    case PQ_SUB:
        if (swap) {
            FLOAT_LOOP(y - x);
        }
        FLOAT_LOOP(x - y);
    case PQ_DIV:
        if (swap) {
            FLOAT_LOOP(y / x);
        }
        FLOAT_LOOP(x / y);
    default:
        return false;
    }
}

enum err pq_map_scalar_binary(struct pq_worker *w, const struct pq_map *m, const struct pq_rows *r, size_t i,
                              struct pq_row *row)
{
    (void)i;
    if (!row->h && float_binary(m->op, m->swap, row->v, m->s1, r->tl.n))
        return OK;
    EACH_SAMPLE(s, r, row)
    scalar_binary_at(w, m, s, row);
    return OK;
}

/* ---- recognising and preparing ---- */
bool pq_is_element_call(enum promql_fn fn)
{
    switch (fn) {
    case PQ_FN_clamp:
    case PQ_FN_clamp_max:
    case PQ_FN_clamp_min:
    case PQ_FN_round:
    case PQ_FN_timestamp:
    case PQ_FN_start_timestamp:
    case PQ_FN_histogram_count:
    case PQ_FN_histogram_sum:
    case PQ_FN_histogram_avg:
    case PQ_FN_histogram_stddev:
    case PQ_FN_histogram_stdvar:
        return true;
    default:
        return float_fns[fn] != NULL;
    }
}

enum err pq_push_element_call(struct pq_run *r, const struct pq_node *n, struct pq_rows *rows)
{
    enum promql_fn fn = n->e->call.fn;
    struct pq_map m = { .node = n, .fn = map_fn, .f = float_fns[fn] };
    switch (fn) {
    case PQ_FN_clamp:
        m.fn = map_clamp;
        TRY(pq_eval_scalar(r, n->args[1], &rows->tl, &m.s1));
        TRY(pq_eval_scalar(r, n->args[2], &rows->tl, &m.s2));
        break;
    case PQ_FN_clamp_max:
        m.fn = map_clamp;
        TRY(pq_eval_scalar(r, n->args[1], &rows->tl, &m.s2));
        break;
    case PQ_FN_clamp_min:
        m.fn = map_clamp;
        TRY(pq_eval_scalar(r, n->args[1], &rows->tl, &m.s1));
        break;
    case PQ_FN_round:
        m.fn = map_round;
        if (n->n_args > 1)
            TRY(pq_eval_scalar(r, n->args[1], &rows->tl, &m.s1));
        break;
    case PQ_FN_timestamp:
        m.fn = map_timestamp;
        break;
    case PQ_FN_start_timestamp:
        m.fn = map_nothing;
        break;
    default:
        if (!m.f)
            m.fn = pq_map_histogram;
        break;
    }
    rows->maps[rows->n_maps++] = m;
    return OK;
}
