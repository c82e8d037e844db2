/* Native histograms as the evaluator uses them: model/histogram_math.h with the evaluator's idea of failure. */
#include "model/histogram_math.h"
#include "promql/promql_int.h"

static struct histogram *combine(struct arena *a, const struct histogram *x, const struct histogram *y, bool sub,
                                 struct pq_hist_flags *f)
{
    struct histogram *h = NULL;
    unsigned notes = 0;
    enum err e = sub ? histogram_sub(a, x, y, &h, &notes) : histogram_add(a, x, y, &h, &notes);
    if (e != OK)
        return NULL;
    f->collision = f->collision || (notes & HIST_NOTE_RESET_COLLISION);
    f->reconciled = f->reconciled || (notes & HIST_NOTE_BOUNDS_RECONCILED);
    return h;
}

struct histogram *pq_hist_add(struct arena *a, const struct histogram *x, const struct histogram *y,
                              struct pq_hist_flags *f)
{
    return combine(a, x, y, false, f);
}
struct histogram *pq_hist_sub(struct arena *a, const struct histogram *x, const struct histogram *y,
                              struct pq_hist_flags *f)
{
    return combine(a, x, y, true, f);
}
struct histogram *pq_hist_scale(struct arena *a, const struct histogram *h, double by)
{
    return histogram_mul(a, h, by);
}
struct histogram *pq_hist_div(struct arena *a, const struct histogram *h, double by)
{
    return histogram_div(a, h, by);
}
struct histogram *pq_hist_compact(struct arena *a, struct histogram *h)
{
    return histogram_compact(a, h);
}
const struct histogram *pq_hist_to_schema(struct arena *a, const struct histogram *h, int32_t schema)
{
    return histogram_is_custom(h) || schema >= h->schema ? h : histogram_reduce(a, h, schema);
}
bool pq_hist_is_reset(const struct histogram *now, const struct histogram *before)
{
    return histogram_reset_between(before, now);
}
bool pq_hist_eq(const struct histogram *x, const struct histogram *y)
{
    return histogram_eq(x, y);
}
struct histogram *pq_hist_trim(struct arena *a, const struct histogram *h, double at, bool upper)
{
    return histogram_trim(a, h, at, upper);
}
void pq_hist_print(struct buf *out, const struct histogram *h)
{
    histogram_print(out, h);
}

const struct histogram *pq_hist_between(struct pq_worker *w, struct promql_pos pos, struct labels ls,
                                        const struct histogram *h1, int64_t t1, const struct histogram *h2, int64_t t2,
                                        int64_t t, bool counter)
{
    if (t == t1 || t == t2)
        return t == t1 ? h1 : h2;
    double part = (double)(t - t1) / (double)(t2 - t1);
    if (counter && pq_hist_is_reset(h2, h1))
        return histogram_mul(&w->a, h2, part); /* as if it had counted up from zero */
    struct pq_hist_flags f = { 0 };
    struct histogram *h = pq_hist_sub(&w->a, h2, h1, &f);
    if (h && f.reconciled)
        pq_note(&w->notes, NOTE_BOUNDS_RECONCILED, pos, STR("subtraction"));
    f = (struct pq_hist_flags){ 0 };
    if (h)
        h = pq_hist_add(&w->a, histogram_mul(&w->a, h, part), h1, &f);
    if (h && f.reconciled)
        pq_note(&w->notes, NOTE_BOUNDS_RECONCILED, pos, STR("addition"));
    if (!h)
        pq_note(&w->notes, NOTE_MIXED_EXPONENTIAL_CUSTOM, pos, pq_metric_name(ls));
    return h;
}

/* ---- sums and means ---- */
void pq_hist_acc_init(struct pq_hist_acc *acc, struct arena *a, bool mean)
{
    *acc = (struct pq_hist_acc){ .s = { .a = a }, .mean = mean };
}

static double side_max(const struct hist_side *s, double max)
{
    for (size_t i = 0; i < s->n_buckets; i++)
        max = fabs(s->buckets[i]) > max ? fabs(s->buckets[i]) : max;
    return max;
}

static double max_number(const struct histogram *h)
{
    double max = fabs(h->sum);
    max = fabs(h->count) > max ? fabs(h->count) : max;
    max = fabs(h->zero_count) > max ? fabs(h->zero_count) : max;
    return side_max(&h->neg, side_max(&h->pos, max));
}

static bool acc_add(struct pq_hist_acc *acc, const struct histogram *h)
{
    unsigned notes = 0;
    bool ok = hist_sum_add(&acc->s, h, false, &notes) == OK;
    acc->reconciled = acc->reconciled || (notes & HIST_NOTE_BOUNDS_RECONCILED);
    acc->failed = acc->failed || !ok;
    return ok;
}

bool pq_hist_acc_add(struct pq_hist_acc *acc, const struct histogram *h)
{
    acc->reset_seen = acc->reset_seen || h->reset == HIST_RESET_YES;
    acc->no_reset_seen = acc->no_reset_seen || h->reset == HIST_RESET_NO;
    acc->count++;
    if (!acc->mean || !acc->s.sum)
        return acc_add(acc, h);
    if (!acc->incremental) {
        double reach = max_number(acc->s.sum) + max_number(h);
        if (!(isinf(reach) && isfinite(max_number(acc->s.sum)) && isfinite(max_number(h))))
            return acc_add(acc, h);
        acc->incremental = true; /* the sum would overflow */
        hist_sum_div(&acc->s, acc->count - 1);
    }
    hist_sum_mul(&acc->s, (acc->count - 1) / acc->count);
    return acc_add(acc, histogram_div(acc->s.a, h, acc->count));
}

bool pq_hist_acc_merge(struct pq_hist_acc *to, const struct pq_hist_acc *from)
{
    to->reset_seen = to->reset_seen || from->reset_seen;
    to->no_reset_seen = to->no_reset_seen || from->no_reset_seen;
    to->reconciled = to->reconciled || from->reconciled;
    struct histogram *h = hist_sum_result(&from->s);
    if (!h)
        return true;
    if (to->incremental || from->incremental) { /* both as means, weighted */
        double total = to->count + from->count;
        if (!to->incremental)
            hist_sum_div(&to->s, to->count);
        if (!from->incremental)
            h = histogram_div(to->s.a, h, from->count);
        hist_sum_mul(&to->s, to->count / total);
        h = histogram_mul(to->s.a, h, from->count / total);
        to->incremental = true;
    }
    to->count += from->count;
    return acc_add(to, h);
}

struct histogram *pq_hist_acc_result(struct pq_hist_acc *acc)
{
    if (acc->failed)
        return NULL;
    if (acc->mean && !acc->incremental)
        hist_sum_div(&acc->s, acc->count);
    return hist_sum_result(&acc->s);
}
