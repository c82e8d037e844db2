/* histogram_quantile, histogram_quantiles, histogram_fraction over classic and native histograms, and the functions
 * of single native histograms. Classic buckets are series with a label "le": those that agree in all other labels
 * form one histogram per step. Semantics: Prometheus 3.x, promql/functions.go and promql/quantile.go. */
#include <stdlib.h>

#include "promql/promql_int.h"

/* ---- functions of one native histogram ---- */
static double histogram_number(enum promql_fn fn, const struct histogram *h)
{
    switch (fn) {
    case PQ_FN_histogram_count:
        return h->count;
    case PQ_FN_histogram_sum:
        return h->sum;
    case PQ_FN_histogram_avg:
        return histogram_avg(h);
    case PQ_FN_histogram_stddev:
        return sqrt(histogram_variance(h));
    default:
        return histogram_variance(h);
    }
}

enum err pq_map_histogram(struct pq_worker *w, const struct pq_map *m, const struct pq_rows *r, size_t i,
                          struct pq_row *row)
{
    (void)w, (void)i;
    for (size_t s = 0; s < r->tl.n; s++) {
        const struct histogram *h = row->h ? row->h[s] : NULL;
        row->v[s] = h && !pq_is_none(row->v[s]) ? histogram_number(m->node->e->call.fn, h) : pq_none();
    }
    row->h = NULL;
    return OK;
}

/* ---- classic buckets ---- */
struct bucket {
    double upper, count;
};

struct fix { /* what was done to make counts grow */
    bool forced;
    double min, max, diff;
};

static int bucket_cmp(const void *a, const void *b)
{
    double x = ((const struct bucket *)a)->upper, y = ((const struct bucket *)b)->upper;
    return (x > y) - (x < y);
}

/* Sorted, buckets of equal bounds added together. */
static size_t buckets_tidy(struct bucket *b, size_t n)
{
    qsort(b, n, sizeof(*b), bucket_cmp);
    size_t k = 0;
    for (size_t i = 1; i < n; i++) {
        if (b[i].upper == b[k].upper)
            b[k].count += b[i].count;
        else
            b[++k] = b[i];
    }
    return k + 1;
}

/* Cumulative counts never fall; differences in the last digits are rounding and not worth a note. */
static struct fix buckets_make_monotonic(struct bucket *b, size_t n)
{
    struct fix f = { false, PQ_INF, -PQ_INF, 0 };
    double prev = b[0].count;
    for (size_t i = 1; i < n; i++) {
        double now = b[i].count;
        if (now == prev)
            continue;
        if (f64_almost_eq(prev, now, 1e-12)) {
            b[i].count = prev;
            continue;
        }
        if (now < prev) {
            b[i].count = prev;
            f.forced = true;
            f.min = fmin(f.min, b[i].upper);
            f.max = fmax(f.max, b[i].upper);
            f.diff = fmax(f.diff, prev - now);
            continue;
        }
        prev = now;
    }
    return f;
}

static double bucket_quantile(double q, struct bucket *b, size_t n, struct fix *fix)
{
    *fix = (struct fix){ 0 };
    if (isnan(q))
        return PQ_NAN;
    if (q < 0)
        return -PQ_INF;
    if (q > 1)
        return PQ_INF;
    n = buckets_tidy(b, n);
    if (isinf(b[n - 1].upper) != 1)
        return PQ_NAN;
    *fix = buckets_make_monotonic(b, n);
    if (n < 2 || b[n - 1].count == 0)
        return PQ_NAN;
    double rank = q * b[n - 1].count;
    if (isnan(rank))
        return b[n - 2].upper;
    size_t at = 0;
    while (at < n - 1 && !(b[at].count >= rank))
        at++;
    if (at == n - 1)
        return b[n - 2].upper;
    if (at == 0 && b[0].upper <= 0)
        return b[0].upper;
    double start = 0, end = b[at].upper, count = b[at].count;
    if (at > 0) {
        start = b[at - 1].upper;
        count -= b[at - 1].count;
        rank -= b[at - 1].count;
    }
    return start + (end - start) * (rank / count);
}

/* Observations up to v, for a bucket (lower, b.upper] with `before` observations below it. */
static double bucket_rank(double v, double lower, struct bucket b, double before)
{
    if (isinf(lower))
        return b.count;
    return before + (b.count - before) * (v - lower) / (b.upper - lower);
}

static double bucket_fraction(double lower, double upper, struct bucket *b, size_t n)
{
    n = buckets_tidy(b, n);
    if (isinf(b[n - 1].upper) != 1)
        return PQ_NAN;
    double count = b[n - 1].count, rank = 0, lower_rank = count, upper_rank = count;
    if (count == 0 || isnan(lower) || isnan(upper))
        return PQ_NAN;
    if (lower >= upper)
        return 0;
    bool lower_set = false, upper_set = false;
    double from = b[0].upper <= 0 ? -PQ_INF : 0;
    for (size_t i = 0; i < n && !(lower_set && upper_set); i++) {
        if (i > 0)
            from = b[i - 1].upper;
        if (!lower_set && (from >= lower || b[i].upper > lower)) {
            lower_rank = from >= lower ? rank : bucket_rank(lower, from, b[i], rank);
            lower_set = true;
        }
        if (!upper_set && (from >= upper || b[i].upper > upper)) {
            upper_rank = from >= upper ? rank : bucket_rank(upper, from, b[i], rank);
            upper_set = true;
        }
        rank = b[i].count;
    }
    lower_rank = lower_rank > count ? count : lower_rank;
    upper_rank = upper_rank > count ? count : upper_rank;
    return (upper_rank - lower_rank) / count;
}

/* ---- which series belong together ---- */
struct classic {          /* series of one classic histogram */
    struct labels labels; /* without le */
    size_t *series;
    double *upper;
    size_t n;
    size_t native; /* a series with exactly these labels, or SIZE_MAX */
};
struct histograms {
    struct pq_vec in;
    struct classic *classic;
    size_t n_classic;
    bool *le_ok;
};

static const str le_name = STR_INIT("le");

static void find_classic(struct pq_run *r, struct histograms *hs)
{
    struct pq_index index = { 0 };
    struct buf scratch;
    buf_init(&scratch, 0);
    size_t n = hs->in.n;
    hs->classic = arena_zarray(r->a, struct classic, n + 1);
    hs->le_ok = arena_zarray(r->a, bool, n + 1);
    size_t *of = arena_array(r->a, size_t, n + 1);
    double *upper = arena_array(r->a, double, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct labels ls = hs->in.p[i].labels;
        str le = labels_get(ls, le_name);
        hs->le_ok[i] = le.n > 0 && num_parse_f64(le, &upper[i]);
        if (!hs->le_ok[i])
            continue;
        bool is_new;
        size_t *at = pq_index_put(&index, pq_hash_without(ls, &le_name, 1, &scratch), &is_new);
        if (is_new) {
            *at = hs->n_classic;
            hs->classic[hs->n_classic++] =
                (struct classic){ .labels = pq_labels_without(r->a, ls, &le_name, 1), .native = SIZE_MAX };
        }
        of[i] = *at;
        hs->classic[*at].n++;
    }
    for (size_t k = 0; k < hs->n_classic; k++) {
        struct classic *c = &hs->classic[k];
        c->series = arena_array(r->a, size_t, c->n);
        c->upper = arena_array(r->a, double, c->n);
        c->n = 0;
    }
    for (size_t i = 0; i < n; i++) {
        if (hs->le_ok[i]) {
            struct classic *c = &hs->classic[of[i]];
            c->series[c->n] = i;
            c->upper[c->n++] = upper[i];
        }
        if (hs->in.p[i].h) {
            size_t *at = pq_index_get(&index, pq_hash_without(hs->in.p[i].labels, NULL, 0, &scratch));
            if (at)
                hs->classic[*at].native = i;
        }
    }
    pq_index_free(&index);
    buf_deinit(&scratch);
}

struct call {
    struct pq_run *run;
    struct pq_worker *w;
    const struct pq_node *node, *vec_arg;
    enum promql_fn fn;
    const struct pq_tl *tl;
    struct histograms hs;
    const double *a, *b; /* quantile; lower and upper bound */
    struct promql_pos q_pos;
    str label, label_value; /* histogram_quantiles adds this label */
    uint64_t only;          /* histogram_quantiles: steps whose quantile has these bits */
    VEC(struct pq_series) out;
    struct bucket *scratch;
};

static struct pq_series *new_series(struct call *c, struct labels ls)
{
    if (c->label.n) {
        struct label_builder b;
        lb_init(&b, c->run->a);
        lb_reset(&b, ls);
        lb_set(&b, c->label, c->label_value);
        ls = lb_labels(&b);
    }
    struct pq_series s = { .labels = ls, .drop_name = true, .v = pq_row_new(c->run->a, c->tl->n) };
    avec_push(c->run->a, &c->out, s);
    return &vec_last(&c->out);
}

static bool skips_step(const struct call *c, size_t step)
{
    return c->label.n && f64_bits(c->a[step]) != c->only;
}

static void note_bad_labels(struct call *c)
{
    for (size_t i = 0; i < c->hs.in.n; i++) {
        const struct pq_series *s = &c->hs.in.p[i];
        bool any_float = false;
        for (size_t t = 0; t < c->tl->n && !any_float && !c->hs.le_ok[i]; t++)
            any_float = pq_row_has(s, t) && !(s->h && s->h[t]);
        if (any_float)
            pq_note_add(&c->w->notes, &(struct pq_note){ .kind = NOTE_BAD_BUCKET_LABEL,
                                                         .pos = c->vec_arg->pos,
                                                         .a = labels_get(s->labels, le_name),
                                                         .b = pq_metric_name(s->labels) });
    }
}

static size_t gather(struct call *c, const struct classic *k, size_t step)
{
    size_t n = 0;
    for (size_t i = 0; i < k->n; i++) {
        const struct pq_series *s = &c->hs.in.p[k->series[i]];
        if (pq_row_has(s, step) && !(s->h && s->h[step]))
            c->scratch[n++] = (struct bucket){ k->upper[i], s->v[step] };
    }
    return n;
}

static bool native_at(const struct call *c, size_t series, size_t step)
{
    const struct pq_series *s = &c->hs.in.p[series];
    return series != SIZE_MAX && pq_row_has(s, step) && s->h && s->h[step];
}

static void note_monotonicity(struct call *c, const struct classic *k, const struct fix *f, size_t step)
{
    int64_t ts = pq_ts(c->tl, step);
    pq_note_add(&c->w->notes, &(struct pq_note){ .kind = NOTE_FORCED_MONOTONICITY,
                                                 .pos = c->vec_arg->pos,
                                                 .a = c->run->delayed ? pq_metric_name(k->labels) : STR(""),
                                                 .min_bucket = f->min,
                                                 .max_bucket = f->max,
                                                 .max_diff = f->diff,
                                                 .from_ms = ts,
                                                 .to_ms = ts,
                                                 .count = 1 });
}

static void eval_classic(struct call *c, const struct classic *k)
{
    struct pq_series *out = NULL;
    for (size_t s = 0; s < c->tl->n; s++) {
        size_t n = skips_step(c, s) ? 0 : gather(c, k, s);
        if (n == 0)
            continue;
        if (k->native != SIZE_MAX && native_at(c, k->native, s)) {
            pq_note(&c->w->notes, NOTE_MIXED_CLASSIC_NATIVE, c->vec_arg->pos, pq_metric_name(k->labels));
            continue;
        }
        if (!out)
            out = new_series(c, k->labels);
        if (c->fn == PQ_FN_histogram_fraction) {
            out->v[s] = bucket_fraction(c->a[s], c->b[s], c->scratch, n);
            continue;
        }
        struct fix fix;
        out->v[s] = bucket_quantile(c->a[s], c->scratch, n, &fix);
        if (fix.forced)
            note_monotonicity(c, k, &fix, s);
    }
}

static double eval_one_native(struct call *c, const struct histogram *h, size_t s, str name)
{
    enum hist_nan nan = HIST_NAN_NONE;
    double v;
    if (c->fn == PQ_FN_histogram_fraction) {
        v = histogram_fraction(c->a[s], c->b[s], h, &nan);
        if (nan != HIST_NAN_NONE)
            pq_note(&c->w->notes, NOTE_FRACTION_NAN, c->vec_arg->pos, name);
        return v;
    }
    v = histogram_quantile(c->a[s], h, &nan);
    if (nan != HIST_NAN_NONE)
        pq_note(&c->w->notes, nan == HIST_NAN_RESULT ? NOTE_QUANTILE_NAN : NOTE_QUANTILE_NAN_SKEW, c->vec_arg->pos,
                name);
    return v;
}

/* Steps at which a classic histogram of the same labels exists have no result. */
static bool conflicts(struct call *c, size_t series, size_t step)
{
    for (size_t k = 0; k < c->hs.n_classic; k++)
        if (c->hs.classic[k].native == series && gather(c, &c->hs.classic[k], step) > 0)
            return true;
    return false;
}

static void eval_native(struct call *c, size_t series, bool may_conflict)
{
    const struct pq_series *in = &c->hs.in.p[series];
    struct pq_series *out = NULL;
    for (size_t s = 0; s < c->tl->n; s++) {
        if (skips_step(c, s) || !native_at(c, series, s) || (may_conflict && conflicts(c, series, s)))
            continue;
        if (!out)
            out = new_series(c, in->labels);
        out->v[s] = eval_one_native(c, in->h[s], s, pq_metric_name(in->labels));
    }
}

static void note_quantiles(struct call *c)
{
    for (size_t s = 0; s < c->tl->n; s++)
        if (isnan(c->a[s]) || c->a[s] < 0 || c->a[s] > 1)
            pq_note_add(&c->w->notes,
                        &(struct pq_note){ .kind = NOTE_INVALID_QUANTILE, .pos = c->q_pos, .x = c->a[s] });
}

static enum err eval_all(struct call *c)
{
    if (c->fn != PQ_FN_histogram_fraction)
        note_quantiles(c);
    bool any_conflict = false;
    for (size_t k = 0; k < c->hs.n_classic; k++)
        any_conflict = any_conflict || c->hs.classic[k].native != SIZE_MAX;
    for (size_t i = 0; i < c->hs.in.n; i++) {
        if (c->hs.in.p[i].h)
            eval_native(c, i, any_conflict);
        if ((i & 63) == 0)
            TRY(pq_poll(c->w));
    }
    for (size_t k = 0; k < c->hs.n_classic; k++) {
        eval_classic(c, &c->hs.classic[k]);
        if ((k & 63) == 0)
            TRY(pq_poll(c->w));
    }
    return OK;
}

/* A quantile as a label value: 1.0, 0.5, 1e-10 (OpenMetrics). */
static str quantile_text(struct pq_run *r, double q)
{
    char t[NUM_TEXT_MAX];
    if (isnan(q))
        return STR("NaN");
    if (isinf(q))
        return q > 0 ? STR("+Inf") : STR("-Inf");
    str s = str_n(t, num_format_g(t, q));
    bool plain = str_find_char(s, '.') == SIZE_MAX && str_find_char(s, 'e') == SIZE_MAX;
    return arena_printf(r->a, STR_FMT "%s", STR_ARG(s), plain ? ".0" : "");
}

static enum err eval_quantile_value(struct call *c)
{
    for (size_t k = 0; k < c->hs.in.n; k++)
        if (c->hs.in.p[k].h)
            eval_native(c, k, true);
    for (size_t k = 0; k < c->hs.n_classic; k++)
        eval_classic(c, &c->hs.classic[k]);
    return pq_poll(c->w);
}

/* Each quantile may differ from step to step: every value it takes gives series of its own. */
static enum err eval_quantiles(struct call *c)
{
    const struct pq_node *n = c->node;
    c->label = n->args[1]->e->string;
    for (size_t i = 2; i < n->n_args; i++) {
        TRY(pq_eval_scalar(c->run, n->args[i], c->tl, &c->a));
        c->q_pos = n->args[i]->pos;
        note_quantiles(c);
        for (size_t s = 0; s < c->tl->n; s++) {
            bool seen = false;
            for (size_t t = 0; t < s && !seen; t++)
                seen = f64_bits(c->a[t]) == f64_bits(c->a[s]);
            if (seen)
                continue;
            c->only = f64_bits(c->a[s]);
            c->label_value = quantile_text(c->run, c->a[s]);
            TRY(eval_quantile_value(c));
        }
    }
    return OK;
}

enum err pq_eval_histogram_call(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    struct call c = { .run = r, .w = pq_main(r), .node = n, .fn = n->e->call.fn, .tl = tl };
    if (c.fn == PQ_FN_histogram_quantiles) {
        c.vec_arg = n->args[0];
    } else {
        c.vec_arg = n->args[n->n_args - 1];
        c.q_pos = n->args[0]->pos;
        TRY(pq_eval_scalar(r, n->args[0], tl, &c.a));
        if (c.fn == PQ_FN_histogram_fraction)
            TRY(pq_eval_scalar(r, n->args[1], tl, &c.b));
    }
    TRY(pq_eval(r, c.vec_arg, tl, &c.hs.in));
    find_classic(r, &c.hs);
    note_bad_labels(&c);
    c.scratch = arena_array(r->a, struct bucket, c.hs.in.n + 1);
    TRY(c.fn == PQ_FN_histogram_quantiles ? eval_quantiles(&c) : eval_all(&c));
    pq_drop_samples(r, c.hs.in.samples);
    *ret = (struct pq_vec){ .p = c.out.p, .n = c.out.n };
    for (size_t i = 0; i < ret->n; i++)
        ret->samples += pq_row_count(ret->p[i].v, tl->n);
    TRY(pq_take_samples(c.w, ret->samples));
    return r->delayed ? pq_vec_merge_same(r, tl, ret) : pq_vec_drop_names(r, tl, ret);
}
