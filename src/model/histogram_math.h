/* Arithmetic, iteration, quantiles and texts of native histograms, as Prometheus 3.x computes them
 * (model/histogram/float_histogram.go, promql/quantile.go).
 *
 * Histograms are immutable: an operation writes a new one into the arena. Results are compact: no empty buckets, no
 * adjacent spans. Bounds of custom buckets are shared, not copied. Nothing here fails on a histogram that
 * histogram_validate() accepts; negative counts (results of subtractions) are fine too. Threads: no state. */
#ifndef VANE_MODEL_HISTOGRAM_MATH_H
#define VANE_MODEL_HISTOGRAM_MATH_H

#include "base/json.h"
#include "model/histogram.h"

/* ---- buckets ---- */
struct hist_bucket {
    double lower, upper, count;
    bool lower_inclusive, upper_inclusive;
    int32_t index; /* within its side and schema; 0 for the zero bucket */
};
/* Upper bound of bucket idx on the positive side: base^idx; the last finite one is the largest double. */
double histogram_bound(int32_t schema, int32_t idx);
/* Position in one side of a histogram. Read the fields after a successful next. */
struct hist_side_iter {
    const struct histogram *h;
    const struct hist_side *side;
    bool negative, backwards;
    size_t span, in_span, bucket; /* of the next bucket; backwards: counted from the end */
    int32_t next_index;
};
/* All buckets, empty ones that are stored included. */
enum hist_order { HIST_ASCENDING, HIST_DESCENDING };
struct hist_iter {
    const struct histogram *h;
    enum hist_order order;
    int stage;
    struct hist_side_iter side;
};
/* Negative buckets, the zero bucket if it is populated, positive buckets; or the reverse. Bounds that reach into the
 * zero bucket are cut at the zero threshold. */
void hist_iter_init(struct hist_iter *it, const struct histogram *h, enum hist_order order);
bool hist_iter_next(struct hist_iter *it, struct hist_bucket *ret);
/* One side, from the zero bucket outwards. */
void hist_side_iter_init(struct hist_side_iter *it, const struct histogram *h, bool negative);
bool hist_side_iter_next(struct hist_side_iter *it, struct hist_bucket *ret);

/* ---- arithmetic ---- */
enum hist_note {
    HIST_NOTE_RESET_COLLISION = 1,   /* one says counter reset, the other not */
    HIST_NOTE_BOUNDS_RECONCILED = 2, /* custom bounds differed: the result has their intersection */
};
/* x + y, x - y. Zero buckets are widened and resolution is lowered until both fit. ERR_INVALID: one has custom
 * buckets, the other exponential ones. notes: enum hist_note bits are added; may be NULL. The reset hint of a
 * difference is that of a sum: the operator `-` of PromQL makes it a gauge by itself. */
enum err histogram_add(struct arena *a, const struct histogram *x, const struct histogram *y, struct histogram **ret,
                       unsigned *notes) MUST_CHECK;
enum err histogram_sub(struct arena *a, const struct histogram *x, const struct histogram *y, struct histogram **ret,
                       unsigned *notes) MUST_CHECK;
/* A negative factor makes a gauge. Division by zero drops the buckets. */
struct histogram *histogram_mul(struct arena *a, const struct histogram *h, double factor);
struct histogram *histogram_div(struct arena *a, const struct histogram *h, double divisor);
/* Without empty buckets and with as few spans as possible. */
struct histogram *histogram_compact(struct arena *a, const struct histogram *h);
/* Merge buckets to a lower schema (asserts: exponential, schema <= h->schema). */
struct histogram *histogram_reduce(struct arena *a, const struct histogram *h, int32_t schema);
/* Did the counter start anew between prev and cur? Hints of cur decide first. */
bool histogram_reset_between(const struct histogram *prev, const struct histogram *cur);
/* The reset hint that a store gives h when it is read behind prev (NULL: nothing known before it): gauges stay gauges;
 * what goes on without a reset, in the same layout, says so; anything else is unknown, and the reader compares. */
enum hist_reset histogram_hint_after(const struct histogram *prev, const struct histogram *h);
/* Buckets above (upper) or below the bound are cut away, the one that holds it is split; sum and count follow.
 * PromQL's `h </ bound` is upper, `h >/ bound` is not. */
struct histogram *histogram_trim(struct arena *a, const struct histogram *h, double bound, bool upper);

/* Sums and means of many, compensated (Kahan/Neumaier) in every bucket. A zeroed struct is empty. */
struct hist_sum {
    struct arena *a;
    struct histogram *sum, *comp; /* same layout; sum == NULL: nothing added yet */
};
/* Add (or subtract) h. Errors and notes as histogram_add. */
enum err hist_sum_add(struct hist_sum *s, const struct histogram *h, bool subtract, unsigned *notes) MUST_CHECK;
/* Scale sum and compensation. */
void hist_sum_div(struct hist_sum *s, double divisor);
void hist_sum_mul(struct hist_sum *s, double factor);
/* Sum and compensation together. NULL if nothing was added. */
struct histogram *hist_sum_result(const struct hist_sum *s);

/* ---- statistics ---- */
enum hist_nan {
    HIST_NAN_NONE,
    HIST_NAN_RESULT, /* the rank lies among NaN observations: the result is NaN */
    HIST_NAN_SKEWED, /* NaN observations count as larger than all others */
};
double histogram_quantile(double q, const struct histogram *h, enum hist_nan *ret_nan);
/* Part of the observations in (lower, upper]; ret_nan: HIST_NAN_SKEWED if NaN observations are in no fraction. */
double histogram_fraction(double lower, double upper, const struct histogram *h, enum hist_nan *ret_nan);
static inline double histogram_avg(const struct histogram *h)
{
    return h->sum / h->count;
}
double histogram_variance(const struct histogram *h); /* population variance, from bucket means */

/* ---- comparing and printing ---- */
/* Equal apart from rounding: counts and sums differ by less than `relative`; empty buckets do not matter. */
bool histogram_almost_eq(const struct histogram *x, const struct histogram *y, double relative);
/* |x - y| / min(|x| + |y|, MaxFloat64) < relative; NaN equals NaN, a staleness marker only itself. */
bool f64_almost_eq(double x, double y, double relative);
void histogram_print(struct buf *out, const struct histogram *h);      /* {count:3, sum:5, (0.5,1]:3} */
void histogram_print_test(struct buf *out, const struct histogram *h); /* {{schema:1 count:3 sum:5 buckets:[3]}} */
/* {"count":"3","sum":"5","buckets":[[0,"0.5","1","3"]]} as the HTTP API writes it. */
void histogram_json(struct json_out *j, const struct histogram *h);

#endif
