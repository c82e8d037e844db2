/* Arithmetic and iteration of native histograms; see histogram_math.h.
 *
 * Two histograms are combined in three steps: make their zero buckets equal (widen the smaller threshold until it is
 * inside no populated bucket), lower the finer resolution, then merge the two ascending lists of (index, count).
 * struct bucket_list is such a list; spans are made from it at the end, leaving empty buckets out. */
#include "model/histogram_math.h"

#include <float.h>
#include <math.h>

#include "base/check.h"
#include "base/vec.h"
#include "model/histogram_bounds.h"
#include "model/sample.h"

double histogram_bound(int32_t schema, int32_t idx)
{
    /* The bucket before the one for infinity would end at 2^1024, which is no double. */
    if (schema < 0) {
        int64_t exponent = (int64_t)idx * (1 << -schema);
        if (exponent == 1024)
            return DBL_MAX;
        return ldexp(1, (int)MAX(MIN(exponent, 2000), -2000));
    }
    unsigned in_octave = (unsigned)idx & ((1u << schema) - 1);
    int exponent = (idx >> schema) + 1;
    if (in_octave == 0 && exponent == 1025)
        return DBL_MAX;
    return ldexp(histogram_octave[in_octave << (HIST_SCHEMA_MAX - schema)], exponent);
}

/* ---- iteration ---- */
static double custom_bound(const struct histogram *h, int64_t idx)
{
    if (idx < 0)
        return -(double)INFINITY;
    return (size_t)idx < h->n_custom ? h->custom[idx] : (double)INFINITY;
}

static struct hist_bucket bucket_at(const struct histogram *h, bool negative, int32_t idx, double count)
{
    struct hist_bucket b = { .count = count, .index = idx };
    if (histogram_is_custom(h)) {
        b.lower = custom_bound(h, (int64_t)idx - 1);
        b.upper = custom_bound(h, idx);
        b.lower_inclusive = idx == 0;
        b.upper_inclusive = true;
        return b;
    }
    double outer = histogram_bound(h->schema, idx), inner = histogram_bound(h->schema, idx - 1);
    b.lower = negative ? -outer : inner;
    b.upper = negative ? -inner : outer;
    b.lower_inclusive = b.lower < 0;
    b.upper_inclusive = b.upper > 0;
    return b;
}

static void side_iter_start(struct hist_side_iter *it, const struct histogram *h, bool negative, bool backwards)
{
    const struct hist_side *s = negative ? &h->neg : &h->pos;
    *it = (struct hist_side_iter){ .h = h, .side = s, .negative = negative, .backwards = backwards };
    if (!backwards) {
        it->next_index = s->n_spans ? s->spans[0].offset : 0;
        return;
    }
    for (size_t i = 0; i < s->n_spans; i++)
        it->next_index += s->spans[i].offset + (int32_t)s->spans[i].length;
    it->next_index--;
    it->span = s->n_spans;
    it->bucket = s->n_buckets;
}

void hist_side_iter_init(struct hist_side_iter *it, const struct histogram *h, bool negative)
{
    side_iter_start(it, h, negative, false);
}

static bool side_next_backwards(struct hist_side_iter *it, struct hist_bucket *ret)
{
    if (it->bucket == 0)
        return false;
    while (it->in_span == 0) {
        if (it->span == 0)
            return false;
        it->span--;
        it->in_span = it->side->spans[it->span].length;
        if (it->span + 1 < it->side->n_spans)
            it->next_index -= it->side->spans[it->span + 1].offset;
    }
    it->in_span--;
    *ret = bucket_at(it->h, it->negative, it->next_index, it->side->buckets[--it->bucket]);
    it->next_index--;
    return true;
}

bool hist_side_iter_next(struct hist_side_iter *it, struct hist_bucket *ret)
{
    if (it->backwards)
        return side_next_backwards(it, ret);
    if (it->bucket >= it->side->n_buckets)
        return false;
    while (it->span < it->side->n_spans && it->in_span >= it->side->spans[it->span].length) {
        it->in_span = 0;
        if (++it->span < it->side->n_spans)
            it->next_index += it->side->spans[it->span].offset;
    }
    if (it->span >= it->side->n_spans)
        return false;
    *ret = bucket_at(it->h, it->negative, it->next_index, it->side->buckets[it->bucket++]);
    it->in_span++;
    it->next_index++;
    return true;
}

enum { STAGE_FIRST, STAGE_ZERO, STAGE_SECOND, STAGE_END };

void hist_iter_init(struct hist_iter *it, const struct histogram *h, enum hist_order order)
{
    *it = (struct hist_iter){ .h = h, .order = order };
    side_iter_start(&it->side, h, order == HIST_ASCENDING, true);
}

static void cut_at_zero_bucket(const struct histogram *h, struct hist_bucket *b)
{
    if (b->upper < 0 && b->upper > -h->zero_threshold)
        b->upper = -h->zero_threshold;
    else if (b->lower > 0 && b->lower < h->zero_threshold)
        b->lower = h->zero_threshold;
}

bool hist_iter_next(struct hist_iter *it, struct hist_bucket *ret)
{
    const struct histogram *h = it->h;
    if (it->stage == STAGE_FIRST) {
        if (hist_side_iter_next(&it->side, ret)) {
            cut_at_zero_bucket(h, ret);
            return true;
        }
        it->stage = STAGE_ZERO;
    }
    if (it->stage == STAGE_ZERO) {
        side_iter_start(&it->side, h, it->order == HIST_DESCENDING, false);
        it->stage = STAGE_SECOND;
        if (h->zero_count > 0) {
            *ret = (struct hist_bucket){ -h->zero_threshold, h->zero_threshold, h->zero_count, true, true, 0 };
            return true;
        }
    }
    if (it->stage == STAGE_SECOND) {
        if (hist_side_iter_next(&it->side, ret)) {
            cut_at_zero_bucket(h, ret);
            return true;
        }
        it->stage = STAGE_END;
    }
    return false;
}

/* ---- lists of buckets ---- */
struct bucket_list { /* ascending indices, each once */
    int32_t *idx;
    double *v, *c; /* c: compensation of v, or NULL */
    size_t n;
};

static struct bucket_list list_new(struct arena *a, size_t cap, bool compensated)
{
    return (struct bucket_list){ arena_array(a, int32_t, cap), arena_array(a, double, cap),
                                 compensated ? arena_array(a, double, cap) : NULL, 0 };
}

/* Buckets of one side, merged to `schema`; `comp` has the same layout and may be NULL. Buckets that end within
 * the zero threshold are left out (exponential only). */
static struct bucket_list list_of(struct arena *a, const struct histogram *h, const struct histogram *comp,
                                  bool negative, int32_t schema, double zero_threshold)
{
    const struct hist_side *s = negative ? &h->neg : &h->pos;
    const double *c = !comp ? NULL : negative ? comp->neg.buckets : comp->pos.buckets;
    struct bucket_list l = list_new(a, s->n_buckets, comp != NULL);
    int32_t idx = 0;
    size_t b = 0;
    int shift = histogram_is_custom(h) ? 0 : h->schema - schema;
    for (size_t i = 0; i < s->n_spans; i++) {
        idx += s->spans[i].offset;
        for (uint32_t k = 0; k < s->spans[i].length && b < s->n_buckets; k++, idx++, b++) {
            int32_t target = shift ? ((idx - 1) >> shift) + 1 : idx;
            if (!histogram_is_custom(h) && zero_threshold > 0 && histogram_bound(schema, target) <= zero_threshold)
                continue;
            if (l.n == 0 || l.idx[l.n - 1] != target) {
                l.idx[l.n] = target;
                l.v[l.n] = 0;
                if (l.c)
                    l.c[l.n] = 0;
                l.n++;
            }
            l.v[l.n - 1] += s->buckets[b];
            if (l.c)
                l.c[l.n - 1] += c[b];
        }
    }
    return l;
}

static inline void kahan_add(double x, double *sum, double *comp)
{
    double t = *sum + x;
    if (isinf(t))
        *comp = 0;
    else if (fabs(*sum) >= fabs(x))
        *comp += (*sum - t) + x;
    else
        *comp += (x - t) + *sum;
    *sum = t;
}

/* Both lists in one; y is added or subtracted. */
static struct bucket_list list_merge(struct arena *a, const struct bucket_list *x, const struct bucket_list *y,
                                     bool subtract)
{
    struct bucket_list l = list_new(a, x->n + y->n, x->c != NULL);
    size_t i = 0, k = 0;
    while (i < x->n || k < y->n) {
        bool take_x = i < x->n && (k == y->n || x->idx[i] <= y->idx[k]);
        bool take_y = k < y->n && (i == x->n || y->idx[k] <= x->idx[i]);
        double v = take_x ? x->v[i] : 0, c = take_x && x->c ? x->c[i] : 0;
        l.idx[l.n] = take_x ? x->idx[i] : y->idx[k];
        if (take_y) {
            double add = subtract ? -y->v[k] : y->v[k];
            if (l.c)
                kahan_add(add, &v, &c);
            else
                v += add;
        }
        l.v[l.n] = v;
        if (l.c)
            l.c[l.n] = c;
        l.n++;
        i += take_x;
        k += take_y;
    }
    return l;
}

/* Spans for the buckets of a list. keep_empty: buckets of zero stay (sum and compensation share a layout). */
static void list_to_side(struct arena *a, const struct bucket_list *l, bool keep_empty, struct hist_side *ret,
                         struct hist_side *ret_comp)
{
    struct hist_span *spans = arena_array(a, struct hist_span, l->n);
    double *v = arena_array(a, double, l->n), *c = ret_comp ? arena_array(a, double, l->n) : NULL;
    size_t n_spans = 0, n = 0;
    int64_t next = 0;
    for (size_t i = 0; i < l->n; i++) {
        if (!keep_empty && l->v[i] == 0)
            continue;
        if (n_spans && l->idx[i] == next) {
            spans[n_spans - 1].length++;
        } else {
            spans[n_spans] = (struct hist_span){ (int32_t)(l->idx[i] - (n_spans ? next : 0)), 1 };
            n_spans++;
        }
        next = (int64_t)l->idx[i] + 1;
        v[n] = l->v[i];
        if (c)
            c[n] = l->c[i];
        n++;
    }
    *ret = (struct hist_side){ spans, n_spans, v, n };
    if (ret_comp)
        *ret_comp = (struct hist_side){ spans, n_spans, c, n };
}

static void side_compact(struct arena *a, const struct histogram *h, bool negative, struct hist_side *ret)
{
    struct bucket_list l = list_of(a, h, NULL, negative, h->schema, 0);
    list_to_side(a, &l, false, ret, NULL);
}

struct histogram *histogram_compact(struct arena *a, const struct histogram *h)
{
    struct histogram *r = arena_new(a, struct histogram);
    *r = *h;
    side_compact(a, h, false, &r->pos);
    side_compact(a, h, true, &r->neg);
    return r;
}

struct histogram *histogram_reduce(struct arena *a, const struct histogram *h, int32_t schema)
{
    ASSERT(!histogram_is_custom(h));
    ASSERT(schema <= h->schema);
    struct histogram *r = arena_new(a, struct histogram);
    *r = *h;
    r->schema = schema;
    struct bucket_list pos = list_of(a, h, NULL, false, schema, 0), neg = list_of(a, h, NULL, true, schema, 0);
    list_to_side(a, &pos, false, &r->pos, NULL);
    list_to_side(a, &neg, false, &r->neg, NULL);
    return r;
}

static const double *scaled(struct arena *a, const double *v, size_t n, double x, bool divide)
{
    double *r = arena_array(a, double, n);
    for (size_t i = 0; i < n; i++)
        r[i] = divide ? v[i] / x : v[i] * x;
    return r;
}

struct histogram *histogram_mul(struct arena *a, const struct histogram *h, double factor)
{
    struct histogram *r = arena_new(a, struct histogram);
    *r = *h;
    r->zero_count *= factor;
    r->count *= factor;
    r->sum *= factor;
    r->pos.buckets = scaled(a, h->pos.buckets, h->pos.n_buckets, factor, false);
    r->neg.buckets = scaled(a, h->neg.buckets, h->neg.n_buckets, factor, false);
    if (factor < 0)
        r->reset = HIST_RESET_GAUGE;
    return r;
}

struct histogram *histogram_div(struct arena *a, const struct histogram *h, double divisor)
{
    struct histogram *r = arena_new(a, struct histogram);
    *r = *h;
    r->zero_count /= divisor;
    r->count /= divisor;
    r->sum /= divisor;
    if (divisor == 0) {
        r->pos = r->neg = (struct hist_side){ 0 };
        return r;
    }
    r->pos.buckets = scaled(a, h->pos.buckets, h->pos.n_buckets, divisor, true);
    r->neg.buckets = scaled(a, h->neg.buckets, h->neg.n_buckets, divisor, true);
    if (divisor < 0)
        r->reset = HIST_RESET_GAUGE;
    return r;
}

/* ---- zero buckets ---- */
/* The zero count h would have with a larger threshold. A threshold inside a populated bucket moves out to the end of
 * that bucket. */
static double zero_count_for(const struct histogram *h, double *threshold)
{
    if (*threshold == h->zero_threshold)
        return h->zero_count;
    for (;;) {
        struct hist_side_iter it;
        struct hist_bucket b;
        double count = h->zero_count;
        bool again = false;
        hist_side_iter_init(&it, h, false);
        while (hist_side_iter_next(&it, &b) && b.lower < *threshold) {
            count += b.count;
            if (b.upper > *threshold) {
                if (b.count != 0)
                    *threshold = b.upper;
                break;
            }
        }
        hist_side_iter_init(&it, h, true);
        while (hist_side_iter_next(&it, &b) && b.upper > -*threshold) {
            count += b.count;
            if (b.lower < -*threshold) {
                if (b.count != 0) {
                    *threshold = -b.lower;
                    again = true; /* the positive side was counted for a threshold that is too small */
                }
                break;
            }
        }
        if (!again)
            return count;
    }
}

/* The smallest threshold that suits both, and their zero counts with it. */
static double reconcile_zero(const struct histogram *x, const struct histogram *y, double *ret_x, double *ret_y)
{
    double tx = x->zero_threshold, ty = y->zero_threshold;
    *ret_x = x->zero_count;
    *ret_y = y->zero_count;
    while (tx != ty) {
        if (tx > ty) {
            ty = tx;
            *ret_y = zero_count_for(y, &ty);
        } else {
            tx = ty;
            *ret_x = zero_count_for(x, &tx);
        }
    }
    return tx;
}

/* ---- sums ---- */
static enum hist_reset combined_reset(const struct histogram *x, const struct histogram *y, unsigned *notes)
{
    if (x->reset == y->reset)
        return x->reset;
    if (x->reset == HIST_RESET_GAUGE || y->reset == HIST_RESET_GAUGE)
        return HIST_RESET_GAUGE;
    if (x->reset != HIST_RESET_UNKNOWN && y->reset != HIST_RESET_UNKNOWN && notes)
        *notes |= HIST_NOTE_RESET_COLLISION;
    return HIST_RESET_UNKNOWN;
}

static bool bounds_eq(const struct histogram *x, const struct histogram *y)
{
    if (x->n_custom != y->n_custom)
        return false;
    for (size_t i = 0; i < x->n_custom && x->custom != y->custom; i++)
        if (x->custom[i] != y->custom[i])
            return false;
    return true;
}

/* Bounds that both have. */
static double *common_bounds(struct arena *a, const struct histogram *x, const struct histogram *y, size_t *ret_n)
{
    double *r = arena_array(a, double, MIN(x->n_custom, y->n_custom));
    size_t n = 0;
    for (size_t i = 0, k = 0; i < x->n_custom && k < y->n_custom;) {
        if (x->custom[i] == y->custom[k]) {
            r[n++] = x->custom[i++];
            k++;
        } else if (x->custom[i] < y->custom[k]) {
            i++;
        } else {
            k++;
        }
    }
    *ret_n = n;
    return r;
}

/* A list of custom buckets in other (coarser) bounds. */
static void list_rebound(struct bucket_list *l, const struct histogram *h, const double *bounds, size_t n_bounds)
{
    size_t n = 0, to = 0;
    for (size_t i = 0; i < l->n; i++) {
        if ((size_t)l->idx[i] >= h->n_custom)
            to = n_bounds;
        while (to < n_bounds && bounds[to] < h->custom[l->idx[i]])
            to++;
        if (n && l->idx[n - 1] == (int32_t)to) {
            l->v[n - 1] += l->v[i];
            if (l->c)
                l->c[n - 1] += l->c[i];
            continue;
        }
        l->idx[n] = (int32_t)to;
        l->v[n] = l->v[i];
        if (l->c)
            l->c[n] = l->c[i];
        n++;
    }
    l->n = n;
}

struct operand {
    const struct histogram *h, *comp;
};

struct combination {
    struct arena *a;
    bool subtract, keep_empty;
    unsigned *notes;
};

static void combine_custom(const struct combination *op, struct operand x, const struct histogram *y,
                           struct histogram *ret, struct histogram *ret_comp)
{
    struct bucket_list lx = list_of(op->a, x.h, x.comp, false, x.h->schema, 0);
    struct bucket_list ly = list_of(op->a, y, NULL, false, y->schema, 0);
    if (!bounds_eq(x.h, y)) {
        size_t n;
        double *bounds = common_bounds(op->a, x.h, y, &n);
        list_rebound(&lx, x.h, bounds, n);
        list_rebound(&ly, y, bounds, n);
        ret->custom = bounds;
        ret->n_custom = n;
        if (op->notes)
            *op->notes |= HIST_NOTE_BOUNDS_RECONCILED;
    }
    struct bucket_list l = list_merge(op->a, &lx, &ly, op->subtract);
    list_to_side(op->a, &l, op->keep_empty, &ret->pos, ret_comp ? &ret_comp->pos : NULL);
}

static void combine_exponential(const struct combination *op, struct operand x, const struct histogram *y,
                                struct histogram *ret, struct histogram *ret_comp)
{
    double zero_x, zero_y;
    double threshold = reconcile_zero(x.h, y, &zero_x, &zero_y);
    int32_t schema = MIN(x.h->schema, y->schema);
    ret->schema = schema;
    ret->zero_threshold = threshold;
    ret->zero_count = zero_x;
    double add = op->subtract ? -zero_y : zero_y;
    if (ret_comp)
        kahan_add(add, &ret->zero_count, &ret_comp->zero_count);
    else
        ret->zero_count += add;
    for (int negative = 0; negative < 2; negative++) {
        /* Buckets inside the zero bucket are left out at their own resolution: its threshold is a bound there. */
        struct bucket_list lx =
            list_of(op->a, x.h, x.comp, negative, schema, x.h->zero_threshold < threshold ? threshold : 0);
        struct bucket_list ly = list_of(op->a, y, NULL, negative, schema, threshold);
        struct bucket_list l = list_merge(op->a, &lx, &ly, op->subtract);
        list_to_side(op->a, &l, op->keep_empty, negative ? &ret->neg : &ret->pos,
                     !ret_comp  ? NULL
                     : negative ? &ret_comp->neg
                                : &ret_comp->pos);
    }
}

/* ret starts as a copy of x's scalars; ret_comp (may be NULL) as one of x.comp's. */
static enum err combine(const struct combination *op, struct operand x, const struct histogram *y,
                        struct histogram *ret, struct histogram *ret_comp)
{
    if (histogram_is_custom(x.h) != histogram_is_custom(y))
        return ERR_INVALID;
    *ret = *x.h;
    if (ret_comp)
        *ret_comp = *x.comp;
    ret->reset = combined_reset(x.h, y, op->notes);
    double count = op->subtract ? -y->count : y->count, sum = op->subtract ? -y->sum : y->sum;
    if (ret_comp) {
        kahan_add(count, &ret->count, &ret_comp->count);
        kahan_add(sum, &ret->sum, &ret_comp->sum);
    } else {
        ret->count += count;
        ret->sum += sum;
    }
    if (histogram_is_custom(y))
        combine_custom(op, x, y, ret, ret_comp);
    else
        combine_exponential(op, x, y, ret, ret_comp);
    return OK;
}

static enum err add_or_sub(struct arena *a, const struct histogram *x, const struct histogram *y, bool subtract,
                           struct histogram **ret, unsigned *notes)
{
    struct histogram *r = arena_new(a, struct histogram);
    struct combination op = { a, subtract, false, notes };
    TRY(combine(&op, (struct operand){ x, NULL }, y, r, NULL));
    *ret = r;
    return OK;
}

enum err histogram_add(struct arena *a, const struct histogram *x, const struct histogram *y, struct histogram **ret,
                       unsigned *notes)
{
    return add_or_sub(a, x, y, false, ret, notes);
}

enum err histogram_sub(struct arena *a, const struct histogram *x, const struct histogram *y, struct histogram **ret,
                       unsigned *notes)
{
    return add_or_sub(a, x, y, true, ret, notes);
}

/* ---- compensated sums ---- */
static struct hist_side zero_side(struct arena *a, const struct hist_side *like)
{
    struct hist_side s = *like;
    s.buckets = arena_zarray(a, double, like->n_buckets);
    return s;
}

/* The usual case: y has the layout of the sum, so nothing needs to be made anew. */
static bool same_layout(const struct histogram *x, const struct histogram *y)
{
    const struct hist_side *s[2][2] = { { &x->pos, &y->pos }, { &x->neg, &y->neg } };
    if (x->schema != y->schema || x->zero_threshold != y->zero_threshold || !bounds_eq(x, y))
        return false;
    for (int i = 0; i < 2; i++) {
        if (s[i][0]->n_spans != s[i][1]->n_spans || s[i][0]->n_buckets != s[i][1]->n_buckets)
            return false;
        if (s[i][0]->n_spans &&
            memcmp(s[i][0]->spans, s[i][1]->spans, s[i][0]->n_spans * sizeof(struct hist_span)) != 0)
            return false;
    }
    return true;
}

/* The buckets of sum and comp are this hist_sum's own, made in its arena. */
static double *own(const double *p)
{
    double *m;
    memcpy(&m, &p, sizeof(m));
    return m;
}

static void add_side_in_place(struct hist_side *sum, struct hist_side *comp, const struct hist_side *y, double sign)
{
    double *v = own(sum->buckets), *c = own(comp->buckets);
    for (size_t i = 0; i < y->n_buckets; i++)
        kahan_add(sign * y->buckets[i], &v[i], &c[i]);
}

static void add_in_place(struct hist_sum *s, const struct histogram *h, bool subtract, unsigned *notes)
{
    double sign = subtract ? -1 : 1;
    s->sum->reset = combined_reset(s->sum, h, notes);
    kahan_add(sign * h->count, &s->sum->count, &s->comp->count);
    kahan_add(sign * h->sum, &s->sum->sum, &s->comp->sum);
    kahan_add(sign * h->zero_count, &s->sum->zero_count, &s->comp->zero_count);
    add_side_in_place(&s->sum->pos, &s->comp->pos, &h->pos, sign);
    add_side_in_place(&s->sum->neg, &s->comp->neg, &h->neg, sign);
}

enum err hist_sum_add(struct hist_sum *s, const struct histogram *h, bool subtract, unsigned *notes)
{
    if (!s->sum) {
        s->sum = histogram_copy(s->a, h);
        s->comp = arena_new(s->a, struct histogram);
        *s->comp = *s->sum;
        s->comp->count = s->comp->sum = s->comp->zero_count = 0;
        s->comp->pos = zero_side(s->a, &s->sum->pos);
        s->comp->neg = zero_side(s->a, &s->sum->neg);
        if (subtract)
            hist_sum_mul(s, -1);
        return OK;
    }
    if (same_layout(s->sum, h)) {
        add_in_place(s, h, subtract, notes);
        return OK;
    }
    struct histogram sum, comp;
    struct combination op = { s->a, subtract, true, notes };
    TRY(combine(&op, (struct operand){ s->sum, s->comp }, h, &sum, &comp));
    comp.schema = sum.schema;
    comp.custom = sum.custom;
    comp.n_custom = sum.n_custom;
    comp.zero_threshold = sum.zero_threshold;
    *s->sum = sum;
    *s->comp = comp;
    return OK;
}

static void scale(struct histogram *h, double x, bool divide)
{
    double *v[2] = { own(h->pos.buckets), own(h->neg.buckets) };
    size_t n[2] = { h->pos.n_buckets, h->neg.n_buckets };
    h->count = divide ? h->count / x : h->count * x;
    h->sum = divide ? h->sum / x : h->sum * x;
    h->zero_count = divide ? h->zero_count / x : h->zero_count * x;
    for (int s = 0; s < 2; s++)
        for (size_t i = 0; i < n[s]; i++)
            v[s][i] = divide ? v[s][i] / x : v[s][i] * x;
}

void hist_sum_div(struct hist_sum *s, double divisor)
{
    if (!s->sum)
        return;
    scale(s->sum, divisor, true);
    scale(s->comp, divisor, true);
}

void hist_sum_mul(struct hist_sum *s, double factor)
{
    if (!s->sum)
        return;
    scale(s->sum, factor, false);
    scale(s->comp, factor, false);
}

struct histogram *hist_sum_result(const struct hist_sum *s)
{
    if (!s->sum)
        return NULL;
    struct histogram *r = arena_new(s->a, struct histogram);
    *r = *s->sum;
    r->count += s->comp->count;
    r->sum += s->comp->sum;
    r->zero_count += s->comp->zero_count;
    for (int negative = 0; negative < 2; negative++) {
        struct bucket_list l = list_of(s->a, s->sum, s->comp, negative, s->sum->schema, 0);
        for (size_t i = 0; i < l.n; i++)
            l.v[i] += l.c[i];
        list_to_side(s->a, &l, false, negative ? &r->neg : &r->pos, NULL);
    }
    return r;
}

/* ---- counter resets ---- */
/* Steps over the buckets of one side merged to a schema, without memory. */
struct merged_iter {
    struct hist_side_iter it;
    int shift;
    double zero_threshold;
    int32_t schema;
    bool has_ahead;
    struct hist_bucket ahead;
};

static bool merged_next(struct merged_iter *m, int32_t *ret_idx, double *ret_count)
{
    bool has = false;
    for (;;) {
        if (!m->has_ahead) {
            if (!hist_side_iter_next(&m->it, &m->ahead))
                return has;
            if (m->shift)
                m->ahead.index = ((m->ahead.index - 1) >> m->shift) + 1;
            if (!histogram_is_custom(m->it.h) && m->zero_threshold > 0 &&
                histogram_bound(m->schema, m->ahead.index) <= m->zero_threshold)
                continue;
            m->has_ahead = true;
        }
        if (has && m->ahead.index != *ret_idx)
            return true;
        *ret_count = has ? *ret_count + m->ahead.count : m->ahead.count;
        *ret_idx = m->ahead.index;
        has = true;
        m->has_ahead = false;
    }
}

static struct merged_iter merged_start(const struct histogram *h, bool negative, int32_t schema, double zero_threshold)
{
    struct merged_iter m = { .schema = schema, .zero_threshold = zero_threshold };
    m.shift = histogram_is_custom(h) ? 0 : h->schema - schema;
    hist_side_iter_init(&m.it, h, negative);
    return m;
}

static bool side_reset(const struct histogram *prev, const struct histogram *cur, bool negative)
{
    struct merged_iter p = merged_start(prev, negative, cur->schema, cur->zero_threshold);
    struct merged_iter c = merged_start(cur, negative, cur->schema, cur->zero_threshold);
    int32_t p_idx, c_idx = 0;
    double p_count, c_count = 0;
    bool c_has = merged_next(&c, &c_idx, &c_count);
    while (merged_next(&p, &p_idx, &p_count)) {
        while (c_has && c_idx < p_idx)
            c_has = merged_next(&c, &c_idx, &c_count);
        if (p_count != 0 && (!c_has || c_idx != p_idx))
            return true;
        if (c_has && c_idx == p_idx && c_count < p_count)
            return true;
    }
    return false;
}

/* Custom bounds differ: compare what lies between the bounds that both have. */
static bool rebound_reset(const struct histogram *prev, const struct histogram *cur)
{
    struct hist_side_iter p, c;
    struct hist_bucket pb, cb;
    hist_side_iter_init(&p, prev, false);
    hist_side_iter_init(&c, cur, false);
    bool p_has = hist_side_iter_next(&p, &pb), c_has = hist_side_iter_next(&c, &cb);
    for (size_t i = 0, k = 0; i <= prev->n_custom && k <= cur->n_custom;) {
        double p_bound = custom_bound(prev, (int64_t)i), c_bound = custom_bound(cur, (int64_t)k);
        if (p_bound != c_bound) {
            p_bound < c_bound ? i++ : k++;
            continue;
        }
        double p_sum = 0, c_sum = 0;
        for (; p_has && pb.upper <= p_bound; p_has = hist_side_iter_next(&p, &pb))
            p_sum += pb.count;
        for (; c_has && cb.upper <= c_bound; c_has = hist_side_iter_next(&c, &cb))
            c_sum += cb.count;
        if (c_sum < p_sum)
            return true;
        i++;
        k++;
    }
    return false;
}

bool histogram_reset_between(const struct histogram *prev, const struct histogram *cur)
{
    if (cur->reset == HIST_RESET_YES)
        return true;
    if (cur->reset == HIST_RESET_NO)
        return false;
    if (cur->count < prev->count || histogram_is_custom(cur) != histogram_is_custom(prev))
        return true;
    if (histogram_is_custom(cur) && !bounds_eq(cur, prev))
        return rebound_reset(prev, cur);
    if (cur->schema > prev->schema || cur->zero_threshold < prev->zero_threshold)
        return true;
    double threshold = cur->zero_threshold, prev_zero = zero_count_for(prev, &threshold);
    if (threshold != cur->zero_threshold || cur->zero_count < prev_zero)
        return true;
    return side_reset(prev, cur, false) || side_reset(prev, cur, true);
}

enum hist_reset histogram_hint_after(const struct histogram *prev, const struct histogram *h)
{
    if (h->reset == HIST_RESET_GAUGE)
        return HIST_RESET_GAUGE;
    if (!prev || prev->reset == HIST_RESET_GAUGE || h->reset == HIST_RESET_YES || is_stale(prev->sum) ||
        is_stale(h->sum))
        return HIST_RESET_UNKNOWN;
    if (prev->schema != h->schema || prev->zero_threshold != h->zero_threshold)
        return HIST_RESET_UNKNOWN;
    if (prev->n_custom != h->n_custom ||
        (h->n_custom && memcmp(prev->custom, h->custom, h->n_custom * sizeof(*h->custom)) != 0))
        return HIST_RESET_UNKNOWN;
    struct histogram unhinted = *h;
    unhinted.reset = HIST_RESET_UNKNOWN;
    return histogram_reset_between(prev, &unhinted) ? HIST_RESET_UNKNOWN : HIST_RESET_NO;
}
