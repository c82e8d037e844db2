/* rate, increase, delta, irate, idelta, resets, changes: semantics of Prometheus 3.x (promql/functions.go).
 *
 * A rate is the difference of the last and the first sample of the window, plus what counter resets hid, scaled to
 * the whole window: up to 1.1 average intervals between samples are bridged at either end, otherwise half an
 * interval, and never below the zero of a counter. Where start timestamps are known, a counter that started inside
 * the window counts from zero there, and a new start means a reset. */
#include "promql/promql_int.h"

/* ---- start timestamps ---- */
/* Did the counter start anew between two samples? A start at the previous sample is a reset only for delta series,
 * whose samples all have true starts; cumulative series of unknown start look the same at their second sample. */
static bool start_says_reset(int64_t prev_start, int64_t prev_t, int64_t start, int64_t t)
{
    if (start == 0 || start >= t || start < prev_t)
        return false;
    return start > prev_t || (prev_start != 0 && prev_start < prev_t);
}

static void note_overlaps(const struct pq_win *w, const int64_t *t, const int64_t *st, size_t n)
{
    for (size_t i = 1; st && i < n; i++)
        if (st[i] != 0 && st[i] < t[i - 1] && st[i] != st[i - 1]) {
            pq_note(&w->w->notes, NOTE_START_OVERLAP, w->arg->pos, pq_metric_name(w->labels));
            return;
        }
}

static bool starts_inside(const struct pq_win *w, const int64_t *t, const int64_t *st)
{
    return st && st[0] != 0 && st[0] > w->range_start && st[0] < t[0];
}

/* ---- extrapolation ---- */
struct extent { /* seconds */
    double sampled, start, end;
};

/* `gaps`: intervals between samples. */
static struct extent extent_of(int64_t first_t, int64_t last_t, size_t gaps, int64_t range_start, int64_t range_end)
{
    struct extent x = { (double)(last_t - first_t) / 1000, (double)(first_t - range_start) / 1000,
                        (double)(range_end - last_t) / 1000 };
    double average = x.sampled / (double)gaps, threshold = average * 1.1;
    if (x.start >= threshold)
        x.start = average / 2;
    if (x.end >= threshold)
        x.end = average / 2;
    return x;
}

void pq_rate_prepare(const struct pq_rows *r, const int64_t *ts, const struct pq_bounds *bd, struct pq_rate_pre *pre)
{
    double seconds = (double)r->sel->range_ms / 1000;
    size_t rated = 0;
    pre->lo = pre->hi = 0;
    for (size_t s = 0; s < r->tl.n; s++) {
        uint32_t lo = bd->lo[s], hi = bd->hi[s];
        if (hi - lo < 2) {
            pre->near[s] = pre->factor[s] = 0;
            continue;
        }
        if (rated++ == 0)
            pre->lo = s;
        pre->hi = s + 1;
        int64_t end = pq_ref_time(r->sel, pq_ts(&r->tl, s));
        struct extent x = extent_of(ts[lo], ts[hi - 1], hi - lo - 1, end - r->sel->range_ms, end);
        pre->near[s] = x.start / x.sampled * (1 + 1e-9);
        pre->factor[s] = (x.sampled + x.start + x.end) / x.sampled;
        if (r->fn->per_second)
            pre->factor[s] /= seconds;
    }
    pre->full = rated == pre->hi - pre->lo;
}

static void find_resets(struct pq_worker *w, const double *v, size_t n)
{
    vec_reserve(&w->resets, n);
    size_t k = 0;
    for (size_t i = 1; i < n; i++) { /* gauges go down at random: no branch */
        w->resets.p[k] = (uint32_t)i;
        k += v[i] < v[i - 1];
    }
    w->resets.n = k;
}

/* The factor of a window whose counter would have been below zero at the start of the extrapolated range. */
static double factor_from_zero(const struct pq_rows *r, const struct pq_series_buf *b, const struct pq_bounds *bd,
                               const struct pq_rate_pre *pre, size_t s, double first, double diff)
{
    uint32_t lo = bd->lo[s], hi = bd->hi[s];
    int64_t end = pq_ref_time(r->sel, pq_ts(&r->tl, s));
    struct extent x = extent_of(b->ft[lo], b->ft[hi - 1], hi - lo - 1, end - r->sel->range_ms, end);
    double zero = x.sampled * (first / diff);
    if (!(zero < x.start))
        return pre->factor[s];
    double factor = (x.sampled + zero + x.end) / x.sampled;
    return r->fn->per_second ? factor / ((double)r->sel->range_ms / 1000) : factor;
}

/* out = diff * factor. True if some counter may have been near zero, where the factor depends on the values: decided
 * without division, with a little slack. */
static bool scale_all(const struct pq_rate_pre *pre, const double *first, const double *diff, double *out)
{
    lane_masks near = { 0 };
    size_t s = pre->lo, n = pre->hi;
    for (; s + 2 <= n; s += 2) {
        lanes f = pq_load(first + s), d = pq_load(diff + s), o = d * pq_load(pre->factor + s);
        near |= (f <= pq_load(pre->near + s) * d) & (d > 0) & (f >= 0);
        memcpy(out + s, &o, sizeof(o));
    }
    bool any = (near[0] | near[1]) != 0;
    for (; s < n; s++) {
        out[s] = diff[s] * pre->factor[s];
        any = any || (first[s] <= pre->near[s] * diff[s] && diff[s] > 0 && first[s] >= 0);
    }
    return any;
}

/* Nothing was reset, and every window between the first and the last that has two samples has two. */
static void plain_rate(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                       const struct pq_bounds *bd, const struct pq_rate_pre *pre, double *out)
{
    vec_reserve(&w->tmp, 2 * r->tl.n);
    double *restrict first = w->tmp.p, *restrict diff = first + r->tl.n;
    const double *restrict v = b->fv;
    const uint32_t *restrict lo = bd->lo, *restrict hi = bd->hi;
    for (size_t s = pre->lo; s < pre->hi; s++) {
        first[s] = v[lo[s]];
        diff[s] = v[hi[s] - 1] - first[s];
    }
    if (!scale_all(pre, first, diff, out) || !r->fn->counter)
        return;
    for (size_t s = pre->lo; s < pre->hi; s++)
        if (diff[s] > 0 && first[s] >= 0 && first[s] <= pre->near[s] * diff[s])
            out[s] = diff[s] * factor_from_zero(r, b, bd, pre, s, first[s], diff[s]);
}

void pq_fast_rate(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                  const struct pq_bounds *bd, const struct pq_rate_pre *pre, double *out)
{
    const double *v = b->fv;
    bool counter = r->fn->counter;
    size_t reset = 0;
    for (size_t s = 0; s < pre->lo; s++)
        out[s] = pq_none();
    for (size_t s = pre->hi; s < r->tl.n; s++)
        out[s] = pq_none();
    vec_clear(&w->resets);
    if (counter && !b->growing)
        find_resets(w, v, b->nf);
    if (pre->full && w->resets.n == 0) {
        plain_rate(w, r, b, bd, pre, out);
        return;
    }
    for (size_t s = pre->lo; s < pre->hi; s++) {
        uint32_t lo = bd->lo[s], hi = bd->hi[s];
        if (hi - lo < 2) {
            out[s] = pq_none();
            continue;
        }
        double first = v[lo], diff = v[hi - 1] - first, factor = pre->factor[s];
        if (counter) {
            while (reset < w->resets.n && w->resets.p[reset] <= lo)
                reset++;
            for (size_t k = reset; k < w->resets.n && w->resets.p[k] < hi; k++)
                diff += v[w->resets.p[k] - 1];
            /* the comparison without division decides all but the near cases */
            if (diff > 0 && first >= 0 && first <= pre->near[s] * diff)
                factor = factor_from_zero(r, b, bd, pre, s, first, diff);
        }
        out[s] = diff * factor;
    }
}

/* ---- anchored and smoothed ---- */
static double line_at(int64_t t1, double v1, int64_t t2, double v2, int64_t t, bool counter)
{
    if (counter && v2 < v1)
        v1 = 0; /* a reset in between: as if it had counted up from zero */
    return v1 + (v2 - v1) * (double)(t - t1) / (double)(t2 - t1);
}

/* First index in [0, n) with t > / >= at, or n. */
static size_t first_after(const int64_t *t, size_t n, int64_t at, bool inclusive)
{
    size_t i = 0;
    while (i < n && (inclusive ? t[i] < at : t[i] <= at))
        i++;
    return i;
}

struct boundary { /* values at both ends of the range, and the samples strictly inside */
    double left, right;
    size_t first, last_excl;
};

static bool find_boundary(const int64_t *t, const double *v, size_t n, int64_t start, int64_t end, bool smoothed,
                          bool counter, struct boundary *ret)
{
    if (n == 0)
        return false;
    size_t last = n - 1, first = first_after(t, last, start, false);
    first = first > 0 ? first - 1 : 0;
    if (smoothed)
        last = first_after(t, last, end, true);
    if (t[last] <= start || (smoothed && t[first] > end))
        return false;
    ret->left = smoothed && t[first] < start ? line_at(t[first], v[first], t[first + 1], v[first + 1], start, counter)
                                             : v[first];
    ret->right = smoothed && last > 0 && t[last] > end
                     ? line_at(t[last - 1], v[last - 1], t[last], v[last], end, counter)
                     : v[last];
    ret->first = t[first] <= start ? first + 1 : first;
    ret->last_excl = t[last] >= end ? last : last + 1;
    return true;
}

size_t pq_extend_floats(const int64_t *t, const double *v, size_t n, int64_t from, int64_t to, bool smoothed,
                        int64_t *out_t, double *out_v)
{
    struct boundary b;
    if (!find_boundary(t, v, n, from, to, smoothed, false, &b))
        return 0;
    size_t k = 0;
    out_t[k] = from;
    out_v[k++] = b.left;
    for (size_t i = b.first; i < b.last_excl; i++) {
        out_t[k] = t[i];
        out_v[k++] = v[i];
    }
    out_t[k] = to;
    out_v[k++] = b.right;
    return k;
}

static bool extended_rate(const struct pq_win *w, bool counter, bool per_second, double *ret)
{
    struct boundary b;
    if (!find_boundary(w->ft, w->fv, w->nf, w->range_start, w->range_end, w->arg->sel->smoothed, counter, &b))
        return false;
    double d = b.right - b.left;
    if (counter) {
        double prev = b.left, hidden = 0;
        for (size_t i = b.first; i < b.last_excl; i++) {
            if (w->fv[i] < prev)
                hidden += prev;
            prev = w->fv[i];
        }
        if (b.right < prev)
            hidden += prev;
        d += hidden;
    }
    *ret = per_second ? d / ((double)w->arg->range_ms / 1000) : d;
    return true;
}

/* ---- histograms ---- */
static bool extended_histogram(const struct pq_win *w, bool counter, bool per_second, const struct histogram **reth);
static const struct histogram *not_combinable(const struct pq_win *w)
{
    pq_note(&w->w->notes, NOTE_MIXED_EXPONENTIAL_CUSTOM, w->arg->pos, pq_metric_name(w->labels));
    return NULL;
}

static bool hist_reset_at(const struct pq_win *w, size_t i, const struct histogram *prev)
{
    return (w->hst && start_says_reset(w->hst[i - 1], w->ht[i - 1], w->hst[i], w->ht[i])) ||
           pq_hist_is_reset(w->hh[i], prev);
}

/* Difference of the last and first histogram with resets made good, not yet scaled. */
static const struct histogram *hist_increase(const struct pq_win *w, bool counter, bool from_zero)
{
    struct arena *a = &w->w->a;
    struct pq_notes *notes = &w->w->notes;
    const struct histogram *first = w->hh[0], *last = w->hh[w->nh - 1], *prev = first;
    str name = pq_metric_name(w->labels);
    bool any_gauge = first->reset == HIST_RESET_GAUGE || last->reset == HIST_RESET_GAUGE;
    if (counter && any_gauge)
        pq_note(notes, NOTE_NOT_COUNTER, w->arg->pos, name);
    struct histogram empty = { .schema = first->schema, .custom = first->custom, .n_custom = first->n_custom };
    bool reset_first = counter && w->nh > 1 && hist_reset_at(w, 1, first);
    if (reset_first && !from_zero) { /* the first histogram does not matter, not even its layout */
        empty = (struct histogram){ .schema = w->hh[1]->schema,
                                    .custom = w->hh[1]->custom,
                                    .n_custom = w->hh[1]->n_custom };
        prev = &empty;
    }
    const struct histogram *base = from_zero ? &empty : prev;
    bool custom = histogram_is_custom(base);
    if (histogram_is_custom(last) != custom)
        return not_combinable(w);
    int32_t schema = MIN(last->schema, base->schema);
    for (size_t i = 1; counter && i + 1 < w->nh; i++) {
        if (w->hh[i]->reset == HIST_RESET_GAUGE)
            pq_note(notes, NOTE_NOT_COUNTER, w->arg->pos, name);
        schema = MIN(schema, w->hh[i]->schema);
        if (histogram_is_custom(w->hh[i]) != custom)
            return not_combinable(w);
    }
    struct pq_hist_flags f = { 0 };
    struct histogram *h = pq_hist_sub(a, pq_hist_to_schema(a, last, schema), base, &f);
    if (!h)
        return not_combinable(w);
    if (f.reconciled)
        pq_note(notes, NOTE_BOUNDS_RECONCILED, w->arg->pos, STR("subtraction"));
    for (size_t i = 1; counter && i < w->nh; i++) {
        if (hist_reset_at(w, i, prev)) {
            f = (struct pq_hist_flags){ 0 };
            h = pq_hist_add(a, h, prev, &f);
            if (!h)
                return not_combinable(w);
            if (f.reconciled)
                pq_note(notes, NOTE_BOUNDS_RECONCILED, w->arg->pos, STR("addition"));
        }
        prev = w->hh[i];
    }
    if (!counter && (first->reset != HIST_RESET_GAUGE || last->reset != HIST_RESET_GAUGE))
        pq_note(notes, NOTE_NOT_GAUGE, w->arg->pos, name);
    h->reset = HIST_RESET_GAUGE;
    return pq_hist_compact(a, h);
}

static double to_zero(struct extent x, double first, double diff)
{
    double z = x.sampled * (first / diff);
    return z < x.start ? z : x.start;
}

static bool histogram_rate(const struct pq_win *w, bool counter, bool per_second, const struct histogram **reth)
{
    bool from_zero = counter && starts_inside(w, w->ht, w->hst);
    if (w->nh < 2 && !from_zero)
        return false;
    const struct histogram *h = hist_increase(w, counter, from_zero);
    if (!h)
        return false;
    struct extent x = { 0 };
    if (w->nh > 1)
        x = extent_of(w->ht[0], w->ht[w->nh - 1], w->nh - 1, w->range_start, w->range_end);
    if (from_zero) {
        x.sampled = (double)(w->ht[w->nh - 1] - w->hst[0]) / 1000;
        x.start = 0;
    } else if (counter && h->count > 0 && w->hh[0]->count >= 0) {
        x.start = to_zero(x, w->hh[0]->count, h->count);
    }
    double factor = (x.sampled + x.start + x.end) / x.sampled;
    if (per_second)
        factor /= (double)w->arg->range_ms / 1000;
    *reth = pq_hist_scale(&w->w->a, h, factor);
    return true;
}

/* ---- anchored and smoothed histograms ---- */
static bool hists_are_alike(const struct pq_win *w, size_t first, size_t last, bool counter)
{
    for (size_t i = first; i <= last; i++) {
        if (histogram_is_custom(w->hh[i]) != histogram_is_custom(w->hh[first])) {
            not_combinable(w);
            return false;
        }
        if (counter && w->hh[i]->reset == HIST_RESET_GAUGE)
            pq_note(&w->w->notes, NOTE_NOT_COUNTER, w->arg->pos, pq_metric_name(w->labels));
    }
    return true;
}

static struct histogram *add_noted(const struct pq_win *w, struct histogram *h, const struct histogram *other)
{
    struct pq_hist_flags f = { 0 };
    h = pq_hist_add(&w->w->a, h, other, &f);
    if (!h)
        not_combinable(w);
    else if (f.reconciled)
        pq_note(&w->w->notes, NOTE_BOUNDS_RECONCILED, w->arg->pos, STR("addition"));
    return h;
}

/* Adds to h what resets between samples first and last hid. left and right are the values at the boundaries, made from
 * those two samples: if the left one was interpolated across a reset, that reset is in it already. */
static struct histogram *add_resets(const struct pq_win *w, size_t first, size_t last, const struct histogram *left,
                                    const struct histogram *right, struct histogram *h)
{
    size_t i = first + 1;
    const struct histogram *prev = left;
    if (w->arg->sel->smoothed && w->ht[first] < w->range_start && pq_hist_is_reset(w->hh[first + 1], w->hh[first]))
        prev = w->hh[i++];
    if (i > last)
        return h;
    for (; i < last && h; i++) {
        if (pq_hist_is_reset(w->hh[i], prev))
            h = add_noted(w, h, prev);
        prev = w->hh[i];
    }
    return h && pq_hist_is_reset(right, prev) ? add_noted(w, h, prev) : h;
}

static bool extended_histogram(const struct pq_win *w, bool counter, bool per_second, const struct histogram **reth)
{
    bool smoothed = w->arg->sel->smoothed;
    size_t last = w->nh - 1, first = first_after(w->ht, last, w->range_start, false);
    first = first > 0 ? first - 1 : 0;
    if (smoothed)
        last = first_after(w->ht, last, w->range_end, true);
    if (w->ht[last] <= w->range_start || (smoothed && w->ht[first] > w->range_end) ||
        !hists_are_alike(w, first, last, counter))
        return false;
    struct promql_pos pos = w->arg->pos;
    const struct histogram *left = w->hh[first], *right = w->hh[last];
    if (smoothed && w->ht[first] < w->range_start)
        left = pq_hist_between(w->w, pos, w->labels, left, w->ht[first], w->hh[first + 1], w->ht[first + 1],
                               w->range_start, counter);
    if (smoothed && last > 0 && w->ht[last] > w->range_end)
        right = pq_hist_between(w->w, pos, w->labels, w->hh[last - 1], w->ht[last - 1], right, w->ht[last],
                                w->range_end, counter);
    if (!left || !right)
        return false;
    if (!counter && (left->reset != HIST_RESET_GAUGE || right->reset != HIST_RESET_GAUGE))
        pq_note(&w->w->notes, NOTE_NOT_GAUGE, pos, pq_metric_name(w->labels));
    struct pq_hist_flags f = { 0 };
    struct histogram *h = pq_hist_sub(&w->w->a, right, left, &f);
    if (!h) {
        not_combinable(w);
        return false;
    }
    if (f.reconciled)
        pq_note(&w->w->notes, NOTE_BOUNDS_RECONCILED, pos, STR("subtraction"));
    if (counter)
        h = add_resets(w, first, last, left, right, h);
    if (!h)
        return false;
    if (per_second)
        h = pq_hist_div(&w->w->a, h, (double)w->arg->range_ms / 1000);
    h = pq_hist_compact(&w->w->a, h);
    h->reset = HIST_RESET_GAUGE;
    *reth = h;
    return true;
}

double pq_rate_factor(int64_t first_t, int64_t last_t, size_t gaps, int64_t start, int64_t end, double first,
                      double diff, bool counter)
{
    struct extent x = extent_of(first_t, last_t, gaps, start, end);
    if (counter && diff > 0 && first >= 0)
        x.start = to_zero(x, first, diff);
    return (x.sampled + x.start + x.end) / x.sampled;
}

/* ---- rate, increase, delta: one window ---- */
static bool float_rate(const struct pq_win *w, bool counter, bool per_second, double *ret)
{
    bool from_zero = counter && starts_inside(w, w->ft, w->fst);
    if (w->nf < 2 && !from_zero)
        return false;
    double first = w->fv[0], d = w->fv[w->nf - 1] - first;
    for (size_t i = 1; counter && i < w->nf; i++)
        if (w->fv[i] < w->fv[i - 1] || (w->fst && start_says_reset(w->fst[i - 1], w->ft[i - 1], w->fst[i], w->ft[i])))
            d += w->fv[i - 1];
    struct extent x = { 0 };
    if (w->nf > 1)
        x = extent_of(w->ft[0], w->ft[w->nf - 1], w->nf - 1, w->range_start, w->range_end);
    if (from_zero) {
        d += first;
        x.sampled = (double)(w->ft[w->nf - 1] - w->fst[0]) / 1000;
        x.start = 0;
    } else if (counter && d > 0 && first >= 0) {
        x.start = to_zero(x, first, d);
    }
    double factor = (x.sampled + x.start + x.end) / x.sampled;
    if (per_second)
        factor /= (double)w->arg->range_ms / 1000;
    *ret = d * factor;
    return true;
}

static bool any_rate(const struct pq_win *w, bool counter, bool per_second, double *ret, const struct histogram **reth)
{
    if (w->nf > 0 && w->nh > 0) {
        pq_note(&w->w->notes, NOTE_MIXED_FLOATS_HISTOGRAMS, w->arg->pos, pq_metric_name(w->labels));
        return false;
    }
    if (w->arg->kind == PQ_MATRIX && (w->arg->sel->anchored || w->arg->sel->smoothed))
        return w->nh > 0 ? extended_histogram(w, counter, per_second, reth)
                         : extended_rate(w, counter, per_second, ret);
    if (counter) {
        note_overlaps(w, w->ft, w->fst, w->nf);
        note_overlaps(w, w->ht, w->hst, w->nh);
    }
    return w->nh > 0 ? histogram_rate(w, counter, per_second, reth) : float_rate(w, counter, per_second, ret);
}

bool pq_win_rate(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    return any_rate(w, true, true, ret, reth);
}
bool pq_win_increase(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    return any_rate(w, true, false, ret, reth);
}
bool pq_win_delta(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    return any_rate(w, false, false, ret, reth);
}

/* ---- irate, idelta ---- */
struct point {
    int64_t t, st;
    double f;
    const struct histogram *h;
};

/* The last two samples, floats and histograms together. */
static bool last_two(const struct pq_win *w, struct point p[2])
{
    if (w->nf + w->nh < 2)
        return false;
    size_t f = w->nf, h = w->nh;
    for (int k = 1; k >= 0; k--) {
        bool use_h = h > 0 && (f == 0 || w->ht[h - 1] >= w->ft[f - 1]);
        if (use_h) {
            h--;
            p[k] = (struct point){ w->ht[h], w->hst ? w->hst[h] : 0, 0, w->hh[h] };
        } else {
            f--;
            p[k] = (struct point){ w->ft[f], w->fst ? w->fst[f] : 0, w->fv[f], NULL };
        }
    }
    return p[1].t != p[0].t;
}

static bool instant_histogram(const struct pq_win *w, const struct point p[2], bool counter,
                              const struct histogram **reth)
{
    struct arena *a = &w->w->a;
    struct pq_notes *notes = &w->w->notes;
    bool g0 = p[0].h->reset == HIST_RESET_GAUGE, g1 = p[1].h->reset == HIST_RESET_GAUGE;
    if (counter && (g0 || g1))
        pq_note(notes, NOTE_NOT_COUNTER, w->arg->pos, pq_metric_name(w->labels));
    if (!counter && (!g0 || !g1))
        pq_note(notes, NOTE_NOT_GAUGE, w->arg->pos, pq_metric_name(w->labels));
    struct histogram *h;
    if (counter && (start_says_reset(p[0].st, p[0].t, p[1].st, p[1].t) || pq_hist_is_reset(p[1].h, p[0].h))) {
        h = histogram_copy(a, p[1].h);
    } else {
        struct pq_hist_flags f = { 0 };
        h = pq_hist_sub(a, p[1].h, p[0].h, &f);
        if (!h) {
            not_combinable(w);
            return false;
        }
        if (f.reconciled)
            pq_note(notes, NOTE_BOUNDS_RECONCILED, w->arg->pos, STR("subtraction"));
    }
    h->reset = HIST_RESET_GAUGE;
    h = pq_hist_compact(a, h);
    *reth = counter ? pq_hist_div(a, h, (double)(p[1].t - p[0].t) / 1000) : h;
    return true;
}

static bool instant_value(const struct pq_win *w, bool counter, double *ret, const struct histogram **reth)
{
    struct point p[2];
    if (!last_two(w, p))
        return false;
    if (!p[0].h != !p[1].h) {
        pq_note(&w->w->notes, NOTE_MIXED_FLOATS_HISTOGRAMS, w->arg->pos, pq_metric_name(w->labels));
        return false;
    }
    if (p[0].h)
        return instant_histogram(w, p, counter, reth);
    bool reset = counter && (p[1].f < p[0].f || start_says_reset(p[0].st, p[0].t, p[1].st, p[1].t));
    *ret = reset ? p[1].f : p[1].f - p[0].f;
    if (counter)
        *ret /= (double)(p[1].t - p[0].t) / 1000;
    return true;
}

bool pq_win_irate(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    return instant_value(w, true, ret, reth);
}
bool pq_win_idelta(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    return instant_value(w, false, ret, reth);
}

/* ---- resets, changes ---- */
static bool is_reset(const struct point *prev, const struct point *p)
{
    if (!prev->h != !p->h || start_says_reset(prev->st, prev->t, p->st, p->t))
        return true;
    return p->h ? pq_hist_is_reset(p->h, prev->h) : p->f < prev->f;
}

static bool is_change(const struct point *prev, const struct point *p)
{
    if (!prev->h != !p->h)
        return true;
    if (p->h)
        return !pq_hist_eq(p->h, prev->h);
    return p->f != prev->f && !(p->f != p->f && prev->f != prev->f);
}

/* The next sample in time, floats and histograms together. */
static bool next_point(const struct pq_win *w, size_t *f, size_t *h, struct point *ret)
{
    if (*f >= w->nf && *h >= w->nh)
        return false;
    if (*h >= w->nh || (*f < w->nf && w->ft[*f] <= w->ht[*h])) {
        *ret = (struct point){ w->ft[*f], w->fst ? w->fst[*f] : 0, w->fv[*f], NULL };
        ++*f;
    } else {
        *ret = (struct point){ w->ht[*h], w->hst ? w->hst[*h] : 0, 0, w->hh[*h] };
        ++*h;
    }
    return true;
}

static bool count_pairs(const struct pq_win *w, bool (*test)(const struct point *prev, const struct point *p),
                        double *ret)
{
    bool anchored = w->arg->kind == PQ_MATRIX && w->arg->sel->anchored, any = false;
    size_t f = 0, h = 0, count = 0;
    struct point prev = { 0 }, p;
    while (next_point(w, &f, &h, &p)) {
        bool inside = !anchored || p.t > w->range_start; /* the anchor is the last sample that is not */
        count += inside && f + h > 1 && test(&prev, &p);
        any = any || inside;
        prev = p;
    }
    *ret = (double)count;
    return any;
}

bool pq_win_resets(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    return count_pairs(w, is_reset, ret);
}
bool pq_win_changes(const struct pq_win *w, double *ret, const struct histogram **reth)
{
    (void)reth;
    return count_pairs(w, is_change, ret);
}
