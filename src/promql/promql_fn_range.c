/* The *_over_time functions, deriv, predict_linear and double_exponential_smoothing, and the table of all range
 * functions. Floating point follows Prometheus 3.x step by step (Kahan sums, when a mean turns incremental). */
#include <stdlib.h>

#include "promql/promql_int.h"

static void note_ignored(const struct pq_win *w)
{
    pq_note(&w->w->notes, NOTE_HISTOGRAM_IGNORED_RANGE, w->arg->pos, pq_metric_name(w->labels));
}

/* Functions of floats: no floats, no result; histograms beside them are worth a note. */
static bool floats_only(const struct pq_win *w)
{
    if (w->nf == 0)
        return false;
    if (w->nh > 0)
        note_ignored(w);
    return true;
}

/* ---- sum and mean ---- */
static double sum_of(const double *v, size_t n)
{
    double sum = 0, c = 0;
    for (size_t i = 0; i < n; i++)
        pq_kahan(v[i], &sum, &c);
    return isinf(sum) ? sum : sum + c;
}

/* Plain mean while the sum stays finite, then the incremental mean. */
static double mean_of(const double *v, size_t n)
{
    double sum = v[0], c = 0, mean = 0, count = 1;
    bool incremental = false;
    for (size_t i = 1; i < n; i++) {
        count = (double)(i + 1);
        if (!incremental) {
            double s = sum, k = c;
            pq_kahan(v[i], &s, &k);
            if (!isinf(s)) {
                sum = s;
                c = k;
                continue;
            }
            incremental = true;
            mean = sum / (count - 1);
            c /= count - 1;
        }
        double q = (count - 1) / count;
        mean *= q;
        c *= q;
        pq_kahan(v[i] / count, &mean, &c);
    }
    return incremental ? mean + c : sum / count + c / count;
}

static bool mixed(const struct pq_win *w)
{
    if (w->nf == 0 || w->nh == 0)
        return false;
    pq_note(&w->w->notes, NOTE_MIXED_FLOATS_HISTOGRAMS, w->arg->pos, pq_metric_name(w->labels));
    return true;
}

static bool histogram_sum(const struct pq_win *w, bool mean, const struct histogram **reth)
{
    struct pq_hist_acc acc;
    pq_hist_acc_init(&acc, &w->w->a, mean);
    bool ok = true;
    for (size_t i = 0; i < w->nh && ok; i++)
        ok = pq_hist_acc_add(&acc, w->hh[i]);
    if (acc.reset_seen && acc.no_reset_seen)
        pq_note(&w->w->notes, NOTE_RESET_COLLISION, w->arg->pos, STR("aggregation"));
    if (acc.reconciled)
        pq_note(&w->w->notes, NOTE_BOUNDS_RECONCILED, w->arg->pos, STR("aggregation"));
    *reth = ok ? pq_hist_acc_result(&acc) : NULL;
    if (!*reth)
        pq_note(&w->w->notes, NOTE_MIXED_EXPONENTIAL_CUSTOM, w->arg->pos, pq_metric_name(w->labels));
    return *reth != NULL;
}

static bool win_sum(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    if (mixed(w))
        return false;
    if (w->nh > 0)
        return histogram_sum(w, false, reth);
    *ret = sum_of(w->fv, w->nf);
    return true;
}
static bool win_avg(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    if (mixed(w))
        return false;
    if (w->nh > 0)
        return histogram_sum(w, true, reth);
    *ret = mean_of(w->fv, w->nf);
    return true;
}

/* ---- count, present, first, last ---- */
static bool win_count(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    *ret = (double)(w->nf + w->nh);
    return true;
}
static bool win_present(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth, (void)w;
    *ret = 1;
    return true;
}
static bool win_first(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    if (w->nh == 0 || (w->nf > 0 && w->ft[0] < w->ht[0]))
        *ret = w->fv[0];
    else
        *reth = w->hh[0];
    return true;
}
static bool win_last(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    if (w->nh == 0 || (w->nf > 0 && w->ht[w->nh - 1] < w->ft[w->nf - 1]))
        *ret = w->fv[w->nf - 1];
    else
        *reth = w->hh[w->nh - 1];
    return true;
}
static bool win_ts_first(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    int64_t f = w->nf ? w->ft[0] : INT64_MAX, h = w->nh ? w->ht[0] : INT64_MAX;
    *ret = (double)MIN(f, h) / 1000;
    return true;
}
static bool win_ts_last(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    int64_t f = w->nf ? w->ft[w->nf - 1] : INT64_MIN, h = w->nh ? w->ht[w->nh - 1] : INT64_MIN;
    *ret = (double)MAX(f, h) / 1000;
    return true;
}

/* ---- extremes ---- */
static size_t extreme(const double *v, size_t n, bool max, bool latest)
{
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        bool better = max ? v[i] > v[at] : v[i] < v[at];
        if (better || isnan(v[at]) || (latest && v[i] == v[at]))
            at = i;
    }
    return at;
}
static bool win_max(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    if (!floats_only(w))
        return false;
    *ret = w->fv[extreme(w->fv, w->nf, true, false)];
    return true;
}
static bool win_min(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    if (!floats_only(w))
        return false;
    *ret = w->fv[extreme(w->fv, w->nf, false, false)];
    return true;
}
static bool win_ts_max(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    if (!floats_only(w))
        return false;
    *ret = (double)w->ft[extreme(w->fv, w->nf, true, true)] / 1000;
    return true;
}
static bool win_ts_min(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    if (!floats_only(w))
        return false;
    *ret = (double)w->ft[extreme(w->fv, w->nf, false, true)] / 1000;
    return true;
}

/* ---- spread and quantiles ---- */
static double variance_of(const double *v, size_t n)
{
    double count = 0, mean = 0, c_mean = 0, aux = 0, c_aux = 0;
    for (size_t i = 0; i < n; i++) {
        count++;
        double delta = v[i] - (mean + c_mean);
        pq_kahan(delta / count, &mean, &c_mean);
        pq_kahan(delta * (v[i] - (mean + c_mean)), &aux, &c_aux);
    }
    return (aux + c_aux) / count;
}
static bool win_stdvar(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    if (!floats_only(w))
        return false;
    *ret = variance_of(w->fv, w->nf);
    return true;
}
static bool win_stddev(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    if (!win_stdvar(w, ret, reth))
        return false;
    *ret = sqrt(*ret);
    return true;
}

static int value_cmp(const void *a, const void *b) /* NaN first */
{
    double x = *(const double *)a, y = *(const double *)b;
    if (isnan(x) || isnan(y))
        return (int)isnan(y) - (int)isnan(x);
    return (x > y) - (x < y);
}

double pq_quantile(double q, double *v, size_t n)
{
    if (n == 0 || isnan(q))
        return PQ_NAN;
    if (q < 0)
        return -PQ_INF;
    if (q > 1)
        return PQ_INF;
    qsort(v, n, sizeof(*v), value_cmp);
    double rank = q * (double)(n - 1), lower = fmax(0, floor(rank)), upper = fmin((double)(n - 1), lower + 1);
    double weight = rank - floor(rank);
    return v[(size_t)lower] * (1 - weight) + v[(size_t)upper] * weight;
}

static double *scratch(const struct pq_win *w)
{
    vec_reserve(&w->w->tmp, w->nf);
    memcpy(w->w->tmp.p, w->fv, w->nf * sizeof(double));
    return w->w->tmp.p;
}

static bool win_quantile(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    double q = w->rows->s1[w->step];
    if (w->nf == 0)
        return false;
    if (isnan(q) || q < 0 || q > 1)
        pq_note_add(&w->w->notes,
                    &(struct pq_note){ .kind = NOTE_INVALID_QUANTILE, .pos = w->rows->call->args[0]->pos, .x = q });
    if (w->nh > 0)
        note_ignored(w);
    *ret = pq_quantile(q, scratch(w), w->nf);
    return true;
}

static bool win_mad(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    if (!floats_only(w))
        return false;
    double *v = scratch(w), median = pq_quantile(0.5, v, w->nf);
    for (size_t i = 0; i < w->nf; i++)
        v[i] = fabs(w->fv[i] - median);
    *ret = pq_quantile(0.5, v, w->nf);
    return true;
}

/* ---- trends ---- */
struct line {
    double slope, intercept;
};
static struct line regression(const struct pq_win *w, int64_t at)
{
    double n = 0, x1 = 0, cx1 = 0, y1 = 0, cy1 = 0, xy = 0, cxy = 0, x2 = 0, cx2 = 0;
    bool constant = true;
    for (size_t i = 0; i < w->nf; i++) {
        double x = (double)(w->ft[i] - at) / 1e3, y = w->fv[i];
        if (y != w->fv[0])
            constant = constant && i == 0;
        n++;
        pq_kahan(x, &x1, &cx1);
        pq_kahan(y, &y1, &cy1);
        pq_kahan(x * y, &xy, &cxy);
        pq_kahan(x * x, &x2, &cx2);
    }
    if (constant)
        return isinf(w->fv[0]) ? (struct line){ PQ_NAN, PQ_NAN } : (struct line){ 0, w->fv[0] };
    x1 += cx1;
    y1 += cy1;
    xy += cxy;
    x2 += cx2;
    double cov = xy - x1 * y1 / n, var = x2 - x1 * x1 / n, slope = cov / var;
    return (struct line){ slope, y1 / n - slope * x1 / n };
}

/* Trends need two floats; one float beside histograms is still worth the note. */
static bool two_floats(const struct pq_win *w)
{
    if (w->nf > 0 && w->nh > 0)
        note_ignored(w);
    return w->nf >= 2;
}

static bool win_deriv(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    if (!two_floats(w))
        return false;
    *ret = regression(w, w->ft[0]).slope;
    return true;
}
static bool win_predict(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    if (!two_floats(w))
        return false;
    struct line l = regression(w, w->ts);
    *ret = l.slope * w->rows->s1[w->step] + l.intercept;
    return true;
}
static bool win_smoothing(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    double sf = w->rows->s1[w->step], tf = w->rows->s2[w->step];
    if (sf <= 0 || sf >= 1) {
        w->w->err = pq_fail(w->w, ERR_EXEC, "invalid smoothing factor. Expected: 0 < sf < 1, got: %f", sf);
        return false;
    }
    if (tf <= 0 || tf >= 1) {
        w->w->err = pq_fail(w->w, ERR_EXEC, "invalid trend factor. Expected: 0 < tf < 1, got: %f", tf);
        return false;
    }
    if (!two_floats(w))
        return false;
    double s0 = 0, s1 = w->fv[0], b = w->fv[1] - w->fv[0];
    for (size_t i = 1; i < w->nf; i++) {
        double x = sf * w->fv[i];
        if (i > 1)
            b = tf * (s1 - s0) + (1 - tf) * b;
        double y = (1 - sf) * (s1 + b);
        s0 = s1;
        s1 = x + y;
    }
    *ret = s1;
    return true;
}

/* ---- kernels over all steps, floats only ---- */
#define FAST_KERNEL(name, expr)                                                                   \
    static void name(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b, \
                     const struct pq_bounds *bd, const struct pq_rate_pre *pre, double *out)      \
    {                                                                                             \
        (void)pre;                                                                                \
        for (size_t s = 0; s < r->tl.n; s++) {                                                    \
            size_t n = bd->hi[s] - bd->lo[s];                                                     \
            const double *v = n ? b->fv + bd->lo[s] : NULL;                                       \
            (void)v;                                                                              \
            if (pq_tired(w, n))                                                                   \
                return;                                                                           \
            out[s] = n == 0 ? pq_none() : (expr);                                                 \
        }                                                                                         \
    }
FAST_KERNEL(fast_count, (double)n)
FAST_KERNEL(fast_present, 1.0)
FAST_KERNEL(fast_first, v[0])
FAST_KERNEL(fast_last, v[n - 1])
FAST_KERNEL(fast_stdvar, variance_of(v, n))
FAST_KERNEL(fast_stddev, sqrt(variance_of(v, n)))

/* Compensated sums of two windows of equal length at once. The rounding error of an addition is exact either way it is
 * computed, so this is Neumaier's sum; what is not finite is left to the plain functions. */
static void sum_two(const double *x, const double *y, size_t n, lanes *ret_sum, lanes *ret_c)
{
    lanes sum = { x[0], y[0] }, c = { 0 };
    for (size_t i = 1; i < n; i++) {
        lanes v = { x[i], y[i] }, t = sum + v, back = t - sum;
        c += (sum - (t - back)) + (v - back);
        sum = t;
    }
    *ret_sum = sum;
    *ret_c = c;
}

static void fast_fold(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                      const struct pq_bounds *bd, bool mean, double *out)
{
    for (size_t s = 0; s < r->tl.n; s++) {
        size_t n = bd->hi[s] - bd->lo[s];
        if (pq_tired(w, n))
            return;
        if (n == 0) {
            out[s] = pq_none();
            continue;
        }
        const double *v = b->fv + bd->lo[s];
        if (s + 1 < r->tl.n && bd->hi[s + 1] - bd->lo[s + 1] == n) {
            lanes sum, c;
            sum_two(v, b->fv + bd->lo[s + 1], n, &sum, &c);
            if (isfinite(sum[0]) && isfinite(sum[1])) {
                lanes x = mean ? sum / (double)n + c / (double)n : sum + c;
                out[s] = x[0];
                out[++s] = x[1];
                continue;
            }
        }
        out[s] = mean ? mean_of(v, n) : sum_of(v, n);
    }
}
static void fast_sum(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                     const struct pq_bounds *bd, const struct pq_rate_pre *pre, double *out)
{
    (void)pre;
    fast_fold(w, r, b, bd, false, out);
}
static void fast_avg(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                     const struct pq_bounds *bd, const struct pq_rate_pre *pre, double *out)
{
    (void)pre;
    fast_fold(w, r, b, bd, true, out);
}

/* Sliding extremes: the last one is kept while it stays in the window; a window is scanned only when it left. */
static void fast_extreme(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                         const struct pq_bounds *bd, bool max, double *out)
{
    size_t at = 0, seen = 0; /* v[at] is the extreme of [.., seen) */
    bool valid = false;
    for (size_t s = 0; s < r->tl.n; s++) {
        size_t lo = bd->lo[s], hi = bd->hi[s];
        if (lo == hi) {
            out[s] = pq_none();
            valid = false;
            continue;
        }
        if (!valid || at < lo) {
            if (pq_tired(w, hi - lo))
                return;
            at = lo + extreme(b->fv + lo, hi - lo, max, true);
        } else {
            for (size_t i = seen; i < hi; i++)
                if ((max ? b->fv[i] >= b->fv[at] : b->fv[i] <= b->fv[at]) || isnan(b->fv[at]))
                    at = i;
        }
        valid = true;
        seen = hi;
        out[s] = b->fv[at];
    }
}
static void fast_max(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                     const struct pq_bounds *bd, const struct pq_rate_pre *pre, double *out)
{
    (void)pre;
    fast_extreme(w, r, b, bd, true, out);
}
static void fast_min(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                     const struct pq_bounds *bd, const struct pq_rate_pre *pre, double *out)
{
    (void)pre;
    fast_extreme(w, r, b, bd, false, out);
}

/* Resets and changes as running counts: the pairs in a window are a difference of two of them. */
static void fast_pairs(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                       const struct pq_bounds *bd, bool changes, double *out)
{
    vec_reserve(&w->resets, b->nf + 1);
    uint32_t *count = w->resets.p, c = 0;
    for (size_t i = 0; i < b->nf; i++) {
        if (i > 0) {
            double x = b->fv[i - 1], y = b->fv[i];
            c += changes ? (y != x && !(isnan(x) && isnan(y))) : y < x;
        }
        count[i] = c;
    }
    for (size_t s = 0; s < r->tl.n; s++)
        out[s] = bd->lo[s] == bd->hi[s] ? pq_none() : (double)(count[bd->hi[s] - 1] - count[bd->lo[s]]);
}
static void fast_resets(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                        const struct pq_bounds *bd, const struct pq_rate_pre *pre, double *out)
{
    (void)pre;
    fast_pairs(w, r, b, bd, false, out);
}
static void fast_changes(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                         const struct pq_bounds *bd, const struct pq_rate_pre *pre, double *out)
{
    (void)pre;
    fast_pairs(w, r, b, bd, true, out);
}

static const struct pq_range_fn range_fns[PQ_FN_COUNT] = {
    [PQ_FN_rate] = { .win = pq_win_rate,
                     .fast = pq_fast_rate,
                     .rate = true,
                     .counter = true,
                     .per_second = true,
                     .anchored_ok = true,
                     .smoothed_ok = true,
                     .start_times = true },
    [PQ_FN_increase] = { .win = pq_win_increase,
                         .fast = pq_fast_rate,
                         .rate = true,
                         .counter = true,
                         .anchored_ok = true,
                         .smoothed_ok = true,
                         .start_times = true },
    [PQ_FN_delta] = { .win = pq_win_delta,
                      .fast = pq_fast_rate,
                      .rate = true,
                      .anchored_ok = true,
                      .smoothed_ok = true },
    [PQ_FN_irate] = { .win = pq_win_irate, .start_times = true },
    [PQ_FN_idelta] = { .win = pq_win_idelta },
    [PQ_FN_resets] = { .win = pq_win_resets, .fast = fast_resets, .anchored_ok = true, .start_times = true },
    [PQ_FN_changes] = { .win = pq_win_changes, .fast = fast_changes, .anchored_ok = true },
    [PQ_FN_sum_over_time] = { .win = win_sum, .fast = fast_sum },
    [PQ_FN_avg_over_time] = { .win = win_avg, .fast = fast_avg },
    [PQ_FN_count_over_time] = { .win = win_count, .fast = fast_count },
    [PQ_FN_present_over_time] = { .win = win_present, .fast = fast_present },
    [PQ_FN_absent_over_time] = { .win = win_present, .fast = fast_present },
    [PQ_FN_first_over_time] = { .win = win_first, .fast = fast_first, .keep_name = true },
    [PQ_FN_last_over_time] = { .win = win_last, .fast = fast_last, .keep_name = true },
    [PQ_FN_ts_of_first_over_time] = { .win = win_ts_first },
    [PQ_FN_ts_of_last_over_time] = { .win = win_ts_last },
    [PQ_FN_max_over_time] = { .win = win_max, .fast = fast_max },
    [PQ_FN_min_over_time] = { .win = win_min, .fast = fast_min },
    [PQ_FN_ts_of_max_over_time] = { .win = win_ts_max },
    [PQ_FN_ts_of_min_over_time] = { .win = win_ts_min },
    [PQ_FN_stddev_over_time] = { .win = win_stddev, .fast = fast_stddev },
    [PQ_FN_stdvar_over_time] = { .win = win_stdvar, .fast = fast_stdvar },
    [PQ_FN_quantile_over_time] = { .win = win_quantile },
    [PQ_FN_mad_over_time] = { .win = win_mad },
    [PQ_FN_deriv] = { .win = win_deriv },
    [PQ_FN_predict_linear] = { .win = win_predict },
    [PQ_FN_double_exponential_smoothing] = { .win = win_smoothing },
};

const struct pq_range_fn *pq_range_fn_of(enum promql_fn fn)
{
    return range_fns[fn].win ? &range_fns[fn] : NULL;
}
