/* Quantiles, fractions, variance and trimming of native histograms; see histogram_math.h.
 *
 * Inside a bucket observations are taken to lie evenly on a logarithmic scale (exponential buckets) or a linear one
 * (custom buckets, the zero bucket). A first custom bucket with a positive bound starts at 0. */
#include <float.h>
#include <math.h>

#include "model/histogram_math.h"

/* A histogram with observations on one side only has none beyond 0 in its zero bucket. */
static void narrow_zero_bucket(const struct histogram *h, struct hist_bucket *b)
{
    if (h->neg.n_buckets == 0 && h->pos.n_buckets > 0)
        b->lower = 0;
    else if (h->pos.n_buckets == 0 && h->neg.n_buckets > 0)
        b->upper = 0;
}

static double interpolate(const struct histogram *h, const struct hist_bucket *b, double part)
{
    if (histogram_is_custom(h) || (b->lower <= 0 && b->upper >= 0))
        return b->lower + (b->upper - b->lower) * part;
    double log_lower = log2(fabs(b->lower)), log_upper = log2(fabs(b->upper));
    if (b->lower > 0)
        return exp2(log_lower + (log_upper - log_lower) * part);
    return -exp2(log_upper + (log_lower - log_upper) * (1 - part));
}

double histogram_quantile(double q, const struct histogram *h, enum hist_nan *ret_nan)
{
    *ret_nan = HIST_NAN_NONE;
    if (q < 0)
        return -(double)INFINITY;
    if (q > 1)
        return (double)INFINITY;
    if (h->count == 0 || isnan(q))
        return (double)NAN;
    /* From the nearer end, for precision; NaN observations are counted nowhere but in count, as if on top. */
    bool from_below = isnan(h->sum) || q < 0.5;
    double rank = (from_below ? q : 1 - q) * h->count, count = 0;
    struct hist_iter it;
    struct hist_bucket b = { 0 }, next;
    hist_iter_init(&it, h, from_below ? HIST_ASCENDING : HIST_DESCENDING);
    while (hist_iter_next(&it, &next)) {
        if (next.count == 0)
            continue;
        b = next;
        count += b.count;
        if (count >= rank)
            break;
    }
    if (!histogram_is_custom(h)) {
        if (b.lower < 0 && b.upper > 0)
            narrow_zero_bucket(h, &b);
    } else if (isinf(b.lower)) {
        if (b.upper <= 0)
            return b.upper;
        b.lower = 0;
    }
    if (count > h->count)
        count = h->count; /* rounding */
    if (count < rank) {
        if (!isnan(h->sum))
            return b.upper;
        *ret_nan = HIST_NAN_RESULT;
        return (double)NAN;
    }
    if (isnan(h->sum))
        *ret_nan = HIST_NAN_SKEWED;
    if (histogram_is_custom(h) && isinf(b.upper))
        return b.lower;
    rank = from_below ? rank - (count - b.count) : count - rank;
    return interpolate(h, &b, rank / b.count);
}

/* How many observations of bucket b are at or below v, which lies inside it. */
static double count_below(const struct histogram *h, const struct hist_bucket *b, bool zero_bucket, double v)
{
    if (histogram_is_custom(h) || zero_bucket) {
        if (isinf(b->lower))
            return b->count; /* all we know is that they are below the upper bound */
        if (isinf(b->upper))
            return 0;
        return b->count * (v - b->lower) / (b->upper - b->lower);
    }
    double log_lower = log2(fabs(b->lower)), log_upper = log2(fabs(b->upper)), log_v = log2(fabs(v));
    if (v > 0)
        return b->count * ((log_v - log_lower) / (log_upper - log_lower));
    return b->count * (1 - (log_v - log_upper) / (log_lower - log_upper));
}

struct rank_search {
    double v, rank;
    bool found;
};

static void rank_search_step(struct rank_search *s, const struct histogram *h, const struct hist_bucket *b, bool zero,
                             double below)
{
    if (s->found)
        return;
    if (b->lower >= s->v)
        s->rank = below;
    else if (b->upper > s->v)
        s->rank = below + count_below(h, b, zero, s->v);
    else
        return;
    s->found = true;
}

double histogram_fraction(double lower, double upper, const struct histogram *h, enum hist_nan *ret_nan)
{
    *ret_nan = HIST_NAN_NONE;
    if (h->count == 0 || isnan(lower) || isnan(upper))
        return (double)NAN;
    if (isnan(h->sum))
        *ret_nan = HIST_NAN_SKEWED;
    if (lower >= upper)
        return 0;
    struct rank_search lo = { .v = lower }, hi = { .v = upper };
    struct hist_iter it;
    struct hist_bucket b;
    double below = 0;
    hist_iter_init(&it, h, HIST_ASCENDING);
    while (hist_iter_next(&it, &b)) {
        bool zero = b.lower <= 0 && b.upper >= 0;
        if (zero)
            narrow_zero_bucket(h, &b);
        rank_search_step(&lo, h, &b, zero, below);
        rank_search_step(&hi, h, &b, zero, below);
        below += b.count;
    }
    double all = isnan(h->sum) ? below : h->count;
    double lower_rank = !lo.found || lo.rank > all ? all : lo.rank;
    double upper_rank = !hi.found || hi.rank > all ? all : hi.rank;
    return (upper_rank - lower_rank) / h->count;
}

static double bucket_mean(const struct histogram *h, const struct hist_bucket *b)
{
    if (histogram_is_custom(h))
        return (b->upper + b->lower) / 2;
    if (b->lower <= 0 && b->upper >= 0)
        return 0;
    double m = sqrt(b->upper * b->lower);
    return b->upper < 0 ? -m : m;
}

double histogram_variance(const struct histogram *h)
{
    double mean = h->sum / h->count, v = 0, c = 0;
    struct hist_iter it;
    struct hist_bucket b;
    hist_iter_init(&it, h, HIST_ASCENDING);
    while (hist_iter_next(&it, &b)) {
        if (b.count == 0)
            continue;
        double delta = bucket_mean(h, &b) - mean, x = b.count * delta * delta, t = v + x;
        if (isinf(t))
            c = 0;
        else
            c += fabs(v) >= fabs(x) ? (v - t) + x : (x - t) + v;
        v = t;
    }
    return (v + c) / h->count;
}

/* ---- trimming ---- */
struct part { /* what stays of a bucket */
    double count, mean;
};

/* The mean of what a (part of a) bucket holds. */
static double mean_between(double lower, double upper, bool linear)
{
    if (isinf(lower) && isinf(upper))
        return 0;
    if (isinf(lower))
        return upper > 0 ? upper / 2 : upper;
    if (isinf(upper))
        return lower;
    if (linear)
        return (lower + upper) / 2;
    double m = sqrt(fabs(lower * upper));
    return lower < 0 ? -m : m;
}

/* Only custom histograms have buckets without a bound. How observations lie in them is not known, so a bound inside
 * drops them whole, unless 0 serves as the missing bound, or the cut is on the far side of all that is known. */
static struct part split_unbounded(const struct hist_bucket *b, double bound, bool upper)
{
    if (isinf(b->lower)) {
        bool from_zero = b->upper > 0 && isfinite(b->upper);
        if (upper) {
            if (from_zero && bound > 0)
                return (struct part){ b->count * bound / b->upper, bound / 2 };
            return b->upper <= 0 ? (struct part){ b->count, bound } : (struct part){ 0, 0 };
        }
        if (from_zero && bound >= 0)
            return (struct part){ b->count * (1 - bound / b->upper), (bound + b->upper) / 2 };
        return (struct part){ 0, 0 };
    }
    return upper ? (struct part){ 0, 0 } : (struct part){ b->count, bound };
}

/* The bound lies inside b. */
static struct part split(const struct histogram *h, const struct hist_bucket *b, double bound, bool upper)
{
    bool linear = histogram_is_custom(h);
    if (isinf(b->lower) || isinf(b->upper))
        return split_unbounded(b, bound, upper);
    double below = count_below(h, b, false, bound);
    if (upper)
        return (struct part){ below, mean_between(b->lower, bound, linear) };
    return (struct part){ b->count - below, mean_between(bound, b->upper, linear) };
}

static struct part trim_bucket(const struct histogram *h, const struct hist_bucket *b, double bound, bool upper)
{
    bool all = upper ? b->upper <= bound : b->lower >= bound;
    bool none = upper ? b->lower >= bound : b->upper <= bound;
    if (all)
        return (struct part){ b->count, mean_between(b->lower, b->upper, histogram_is_custom(h)) };
    return none ? (struct part){ 0, 0 } : split(h, b, bound, upper);
}

static struct part trim_zero_bucket(const struct histogram *h, double bound, bool upper, bool has_neg, bool has_pos)
{
    double lo = -h->zero_threshold, hi = h->zero_threshold, n = h->zero_count;
    if (has_neg && !has_pos)
        hi = 0;
    if (has_pos && !has_neg)
        lo = 0;
    if (upper ? bound >= hi : bound <= lo)
        return (struct part){ n, (lo + hi) / 2 };
    if (upper ? bound <= lo : bound >= hi)
        return (struct part){ 0, 0 };
    if (upper)
        return (struct part){ n * (bound - lo) / (hi - lo), (lo + bound) / 2 };
    return (struct part){ n * (hi - bound) / (hi - lo), (bound + hi) / 2 };
}

struct trim {
    double count, sum;
    bool changed;
};

/* Returns whether the side has any observations. */
static bool trim_side(struct trim *t, struct arena *a, const struct histogram *h, bool negative, double bound,
                      bool upper, struct hist_side *ret)
{
    struct hist_side_iter it;
    struct hist_bucket b;
    double *kept = arena_array(a, double, ret->n_buckets);
    bool populated = false;
    hist_side_iter_init(&it, h, negative);
    for (size_t i = 0; i < ret->n_buckets && hist_side_iter_next(&it, &b); i++) {
        kept[i] = b.count;
        if (b.count == 0)
            continue;
        populated = true;
        struct part p = trim_bucket(h, &b, bound, upper);
        t->changed |= p.count != b.count;
        t->count += p.count;
        t->sum += p.mean * p.count;
        kept[i] = p.count;
    }
    ret->buckets = kept;
    return populated;
}

struct histogram *histogram_trim(struct arena *a, const struct histogram *h, double bound, bool upper)
{
    struct histogram *r = histogram_copy(a, h);
    struct trim t = { 0 };
    bool has_pos = trim_side(&t, a, h, false, bound, upper, &r->pos);
    bool has_neg = trim_side(&t, a, h, true, bound, upper, &r->neg);
    if (h->zero_count > 0) {
        struct part p = trim_zero_bucket(h, bound, upper, has_neg, has_pos);
        t.changed |= p.count != h->zero_count;
        t.count += p.count;
        t.sum += p.mean * p.count;
        r->zero_count = p.count;
    }
    if (!t.changed)
        return r;
    r->count = t.count;
    r->sum = t.sum;
    return histogram_compact(a, r);
}

/* ---- comparing ---- */
bool f64_almost_eq(double x, double y, double relative)
{
    uint64_t bx, by;
    memcpy(&bx, &x, 8);
    memcpy(&by, &y, 8);
    const uint64_t stale = 0x7ff0000000000002ull;
    if (bx == stale || by == stale)
        return bx == by;
    if (isnan(x) && isnan(y))
        return true;
    if (x == y)
        return true;
    double diff = fabs(x - y), sum = fabs(x) + fabs(y);
    if (x == 0 || y == 0 || sum < DBL_MIN)
        return diff < relative * DBL_MIN;
    return diff / fmin(sum, DBL_MAX) < relative;
}

static bool sides_almost_eq(const struct histogram *x, const struct histogram *y, bool negative, double relative)
{
    struct hist_side_iter ix, iy;
    struct hist_bucket bx = { 0 }, by = { 0 };
    hist_side_iter_init(&ix, x, negative);
    hist_side_iter_init(&iy, y, negative);
    for (;;) {
        bool has_x, has_y;
        while ((has_x = hist_side_iter_next(&ix, &bx)) && bx.count == 0) {
        }
        while ((has_y = hist_side_iter_next(&iy, &by)) && by.count == 0) {
        }
        if (!has_x || !has_y)
            return has_x == has_y;
        if (bx.index != by.index || !f64_almost_eq(bx.count, by.count, relative))
            return false;
    }
}

bool histogram_almost_eq(const struct histogram *x, const struct histogram *y, double relative)
{
    if (x->schema != y->schema || x->zero_threshold != y->zero_threshold || x->n_custom != y->n_custom)
        return false;
    for (size_t i = 0; histogram_is_custom(x) && i < x->n_custom; i++)
        if (x->custom[i] != y->custom[i])
            return false;
    return f64_almost_eq(x->count, y->count, relative) && f64_almost_eq(x->sum, y->sum, relative) &&
           f64_almost_eq(x->zero_count, y->zero_count, relative) && sides_almost_eq(x, y, false, relative) &&
           sides_almost_eq(x, y, true, relative);
}
