/* Classic histograms as native ones with custom buckets (manual: nhcb.h). */
#include "wire/nhcb.h"

#include <math.h>
#include <stdlib.h>

#include "model/histogram_math.h"

void nhcb_reset(struct nhcb *n)
{
    vec_clear(&n->v);
    n->has_count = n->bad = n->too_many = n->unsorted = false;
    n->count = n->sum = 0;
}

void nhcb_add_bucket(struct nhcb *n, double le, double count)
{
    if (isnan(le) || !(count >= 0)) {
        n->bad = true;
        return;
    }
    if (n->v.n > HIST_BUCKETS_MAX) {
        n->too_many = true;
        return;
    }
    struct nhcb_bucket b = { le, count, (uint32_t)n->v.n };
    n->unsorted |= n->v.n && le <= vec_last(&n->v).le;
    avec_push(n->a, &n->v, b);
}

static int bucket_cmp(const void *a, const void *b)
{
    const struct nhcb_bucket *x = a, *y = b;
    return x->le != y->le ? (x->le > y->le) - (x->le < y->le) : (x->nr > y->nr) - (x->nr < y->nr);
}

static void sort_buckets(struct nhcb *n)
{
    size_t kept = 0;
    qsort(n->v.p, n->v.n, sizeof(*n->v.p), bucket_cmp);
    for (size_t i = 0; i < n->v.n; i++)
        if (i + 1 == n->v.n || n->v.p[i + 1].le != n->v.p[i].le)
            n->v.p[kept++] = n->v.p[i];
    n->v.n = kept;
    n->unsorted = false;
}

void nhcb_add_count(struct nhcb *n, double count)
{
    n->bad |= !(count >= 0);
    n->count = count;
    n->has_count = true;
}

void nhcb_add_sum(struct nhcb *n, double sum)
{
    n->sum = sum;
}

enum err nhcb_make(struct nhcb *n, struct arena *a, const struct histogram **ret, struct err_text *reterr)
{
    if (n->unsorted)
        sort_buckets(n);
    size_t finite = n->v.n;
    double total = n->has_count || !finite ? n->count : n->v.p[finite - 1].count, before = 0;
    bool has_inf = finite && n->v.p[finite - 1].le == HUGE_VAL;
    finite -= has_inf;
    if (n->too_many)
        return err_fail(reterr, ERR_LIMIT, "a classic histogram has more than %d buckets", HIST_BUCKETS_MAX);
    if (n->bad || (has_inf && n->v.p[finite].count != total))
        return err_fail(reterr, ERR_INVALID, "a classic histogram's counts contradict each other");
    struct histogram *h = arena_new(a, struct histogram);
    struct hist_span *span = arena_new(a, struct hist_span);
    double *custom = arena_array(a, double, finite + 1), *buckets = arena_array(a, double, finite + 1);
    for (size_t i = 0; i <= finite; i++) {
        double count = i < finite ? n->v.p[i].count : total;
        if (i < finite)
            custom[i] = n->v.p[i].le;
        if (count < before)
            return err_fail(reterr, ERR_INVALID, "a classic histogram's buckets are not cumulative");
        buckets[i] = count - before;
        before = count;
    }
    span->length = (uint32_t)finite + 1;
    *h = (struct histogram){ .schema = HIST_SCHEMA_CUSTOM,
                             .count = total,
                             .sum = n->sum,
                             .custom = custom,
                             .n_custom = finite,
                             .pos = { span, 1, buckets, finite + 1 } };
    TRY(histogram_validate(h, reterr));
    *ret = histogram_compact(a, h);
    return OK;
}
