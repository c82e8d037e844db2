/* Native histograms: copying, equality and validation; see histogram.h. */
#include "model/histogram.h"

#include <math.h>

static struct hist_side side_copy(struct arena *a, const struct hist_side *s)
{
    struct hist_span *spans = arena_array(a, struct hist_span, s->n_spans);
    double *buckets = arena_array(a, double, s->n_buckets);
    if (s->n_spans)
        memcpy(spans, s->spans, s->n_spans * sizeof(*spans));
    if (s->n_buckets)
        memcpy(buckets, s->buckets, s->n_buckets * sizeof(*buckets));
    return (struct hist_side){ spans, s->n_spans, buckets, s->n_buckets };
}

struct histogram *histogram_copy(struct arena *a, const struct histogram *h)
{
    struct histogram *c = arena_new(a, struct histogram);
    *c = *h;
    c->pos = side_copy(a, &h->pos);
    c->neg = side_copy(a, &h->neg);
    double *custom = arena_array(a, double, h->n_custom);
    if (h->n_custom)
        memcpy(custom, h->custom, h->n_custom * sizeof(*custom));
    c->custom = custom;
    return c;
}

static bool doubles_eq(const double *a, const double *b, size_t n)
{
    return n == 0 || memcmp(a, b, n * sizeof(*a)) == 0;
}

static bool side_eq(const struct hist_side *a, const struct hist_side *b)
{
    return a->n_spans == b->n_spans && a->n_buckets == b->n_buckets &&
           (a->n_spans == 0 || memcmp(a->spans, b->spans, a->n_spans * sizeof(*a->spans)) == 0) &&
           doubles_eq(a->buckets, b->buckets, a->n_buckets);
}

bool histogram_eq(const struct histogram *a, const struct histogram *b)
{
    return a->schema == b->schema && doubles_eq(&a->zero_threshold, &b->zero_threshold, 1) &&
           doubles_eq(&a->zero_count, &b->zero_count, 1) && doubles_eq(&a->count, &b->count, 1) &&
           doubles_eq(&a->sum, &b->sum, 1) && side_eq(&a->pos, &b->pos) && side_eq(&a->neg, &b->neg) &&
           a->n_custom == b->n_custom && doubles_eq(a->custom, b->custom, a->n_custom);
}

static enum err side_validate(const struct hist_side *s, const char *name, struct err_text *reterr)
{
    uint64_t want = 0;
    for (size_t i = 0; i < s->n_spans; i++) {
        if (i > 0 && s->spans[i].offset < 0)
            return err_fail(reterr, ERR_INVALID, "%s span number %zu with offset %d: negative offset", name, i + 1,
                            (int)s->spans[i].offset);
        want += s->spans[i].length;
    }
    if (want > HIST_BUCKETS_MAX)
        return err_fail(reterr, ERR_LIMIT, "%s side has %llu buckets (at most %d)", name, (unsigned long long)want,
                        HIST_BUCKETS_MAX);
    if (want != s->n_buckets)
        return err_fail(reterr, ERR_INVALID, "%s spans need %llu buckets, have %zu buckets", name,
                        (unsigned long long)want, s->n_buckets);
    for (size_t i = 0; i < s->n_buckets; i++)
        if (s->buckets[i] < 0)
            return err_fail(reterr, ERR_INVALID, "%s bucket number %zu has observation count of %g: negative count",
                            name, i + 1, s->buckets[i]);
    return OK;
}

static enum err custom_validate(const struct histogram *h, struct err_text *reterr)
{
    for (size_t i = 0; i < h->n_custom; i++)
        if (isnan(h->custom[i]) || (i > 0 && h->custom[i] <= h->custom[i - 1]))
            return err_fail(reterr, ERR_INVALID, "custom bounds must ascend: bound number %zu does not", i + 1);
    if (h->n_custom && isinf(h->custom[h->n_custom - 1]) && h->custom[h->n_custom - 1] > 0)
        return err_fail(reterr, ERR_INVALID, "the last custom bound must not be +Inf");
    if (h->zero_count != 0 || h->zero_threshold != 0 || h->neg.n_spans || h->neg.n_buckets)
        return err_fail(reterr, ERR_INVALID, "a custom-bucket histogram has no zero bucket and no negative buckets");
    int64_t top = 0;
    for (size_t i = 0; i < h->pos.n_spans; i++)
        top += (int64_t)h->pos.spans[i].offset + h->pos.spans[i].length;
    if (h->pos.n_spans && (h->pos.spans[0].offset < 0 || top > (int64_t)h->n_custom + 1))
        return err_fail(reterr, ERR_INVALID, "only %zu custom bounds defined which is insufficient to cover span",
                        h->n_custom);
    return OK;
}

enum err histogram_validate(const struct histogram *h, struct err_text *reterr)
{
    if (histogram_is_custom(h))
        TRY(custom_validate(h, reterr));
    else if (h->schema < HIST_SCHEMA_MIN || h->schema > HIST_SCHEMA_MAX)
        return err_fail(reterr, ERR_INVALID, "histogram schema %d is not known", (int)h->schema);
    else if (h->n_custom)
        return err_fail(reterr, ERR_INVALID, "histogram with exponential schema must not have custom bounds");
    TRY(side_validate(&h->neg, "negative", reterr));
    TRY(side_validate(&h->pos, "positive", reterr));
    if (h->zero_threshold < 0 || isnan(h->zero_threshold))
        return err_fail(reterr, ERR_INVALID, "zero threshold %g is not valid", h->zero_threshold);
    if (h->zero_count < 0)
        return err_fail(reterr, ERR_INVALID, "zero bucket has observation count of %g: negative count", h->zero_count);
    if (h->count < 0)
        return err_fail(reterr, ERR_INVALID, "observation count is %g: negative count", h->count);
    return OK;
}
