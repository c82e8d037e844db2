/* Series whose older samples have been given up and are there as windows only (model/rollup.h).
 *
 * At a time t that windows cover, everything answers as it did at the last end of a window at or before t:
 *
 *   samples   . . . . . . | . . . . . . |          windows (t0, t1], (t1, t2]
 *                        t1     ^t     t2          a look at t is a look at t1; m[10m] at t is (t1 - 10m, t1]
 *
 * so for times at ends of windows, and ranges that are whole windows, the answer is that of the samples: exactly for
 * counts, extremes, first and last, and but for rounding for sums, averages and the rate family. A range that is less
 * than a window is answered by the whole window around its end, where that makes sense. A range across the border takes
 * windows, then samples. What cannot be put together from windows (quantiles, deviations, trends ...) looks at the
 * last sample of each. Infos say which of these happened. */
#include "promql/promql_int.h"

/* ---- places in time ---- */
static size_t first_from(const struct rollup *e, size_t n, int64_t t) /* first that ends at or after t */
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (e[mid].end_ms < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct rolled { /* one series */
    const struct rollup *e;
    size_t n;
    int64_t to_ms; /* windows end here */
};

/* The length of the windows around t; 0: samples. */
static int64_t res_at(const struct rolled *r, int64_t t)
{
    if (t > r->to_ms)
        return 0;
    size_t i = first_from(r->e, r->n, t);
    return r->e[i < r->n && r->e[i].end_ms <= r->to_ms ? i : (i ? i - 1 : 0)].res_ms;
}

static int64_t floor_to(int64_t t, int64_t res)
{
    return res ? (t >= 0 ? t / res : (t - res + 1) / res) * res : t;
}

static int64_t snap(const struct rolled *r, int64_t t)
{
    return floor_to(t, res_at(r, t));
}

static void note(struct pq_worker *w, const struct pq_rows *r, enum pq_note_kind kind, int64_t res)
{
    str fn = r->call ? promql_functions[r->call->e->call.fn].name : STR("");
    pq_note_add(&w->notes, &(struct pq_note){ .kind = kind,
                                              .pos = r->sel->pos,
                                              .a = kind == NOTE_ROLLUP ? STR("") : fn,
                                              .x = (double)res,
                                              .y = kind >= NOTE_ROLLUP_SHORT ? (double)r->sel->range_ms : 0 });
}

/* ---- flat: the last sample of each window ---- */
void pq_rolled_flatten(struct pq_worker *w, const struct pq_node *sel, struct promql_points *io, bool say)
{
    size_t max = io->n_roll + io->n;
    bool any_h = io->h != NULL;
    vec_clear(&w->roll_ts);
    vec_clear(&w->roll_v);
    vec_clear(&w->roll_h);
    vec_clear(&w->roll_start);
    vec_reserve(&w->roll_ts, max);
    vec_reserve(&w->roll_v, max);
    vec_reserve(&w->roll_h, max);
    for (size_t i = 0; i < io->n_roll; i++) {
        const struct rollup *x = &io->roll[i];
        any_h |= x->h != NULL;
        if (!x->count)
            continue;
        size_t at = w->roll_ts.n;
        while (at && w->roll_ts.p[at - 1] > x->last_ms) /* floats and histograms of one window */
            at--;
        if (at && w->roll_ts.p[at - 1] == x->last_ms)
            continue;
        vec_push(&w->roll_ts, 0);
        vec_push(&w->roll_v, 0);
        vec_push(&w->roll_h, NULL);
        for (size_t k = w->roll_ts.n - 1; k > at; k--) {
            w->roll_ts.p[k] = w->roll_ts.p[k - 1];
            w->roll_v.p[k] = w->roll_v.p[k - 1];
            w->roll_h.p[k] = w->roll_h.p[k - 1];
        }
        w->roll_ts.p[at] = x->last_ms;
        w->roll_v.p[at] = x->last;
        w->roll_h.p[at] = x->h;
        if (say && x->res_ms)
            pq_note_add(&w->notes, &(struct pq_note){ .kind = NOTE_ROLLUP, .pos = sel->pos, .x = (double)x->res_ms });
    }
    for (size_t i = 0; i < io->n; i++) {
        vec_push(&w->roll_ts, io->ts[i]);
        vec_push(&w->roll_v, io->v[i]);
        vec_push(&w->roll_h, io->h ? io->h[i] : NULL);
    }
    *io = (struct promql_points){
        .ts = w->roll_ts.p, .v = w->roll_v.p, .h = any_h ? w->roll_h.p : NULL, .n = w->roll_ts.n
    };
}

/* ---- instants ---- */
/* What a look at `ref`, an end of a window or a time behind them, sees: NULL = nothing. */
static const struct rollup *seen_at(const struct rolled *r, int64_t ref, int64_t lookback)
{
    size_t i = first_from(r->e, r->n, ref + 1);
    if (!i)
        return NULL;
    const struct rollup *x = &r->e[i - 1];
    if (i > 1 && r->e[i - 2].end_ms == x->end_ms && r->e[i - 2].last_ms > x->last_ms)
        x = &r->e[i - 2]; /* floats and histograms in one window */
    return x->stale || !x->count || x->last_ms <= ref - lookback ? NULL : x;
}

static const struct histogram **row_hists(struct pq_worker *w, struct pq_row *row, size_t n)
{
    if (!row->h) {
        vec_reserve(&w->row_h, n);
        memset(w->row_h.p, 0, n * sizeof(*w->row_h.p));
        row->h = w->row_h.p;
    }
    return row->h;
}

static void put_instant(struct pq_worker *w, const struct pq_rows *r, const struct rollup *x, size_t s,
                        struct pq_row *row)
{
    row->v[s] = pq_none();
    if (row->h)
        row->h[s] = NULL;
    if (!x)
        return;
    if (x->res_ms)
        note(w, r, NOTE_ROLLUP, x->res_ms);
    if (r->base == BASE_TIMESTAMP) {
        row->v[s] = (double)x->last_ms / 1000;
    } else if (r->base == BASE_START_TIMESTAMP) {
        row->v[s] = 0;
    } else {
        row->v[s] = x->h ? 0 : x->last;
        if (x->h)
            row_hists(w, row, r->tl.n)[s] = x->h;
    }
}

static bool any_sample(const struct promql_points *p, int64_t after, int64_t to)
{
    for (size_t i = 0; i < p->n && p->ts[i] <= to; i++)
        if (p->ts[i] > after)
            return true;
    return false;
}

enum err pq_rolled_instant(struct pq_worker *w, const struct pq_rows *r, size_t i, const struct promql_points *p,
                           struct pq_row *row)
{
    (void)i;
    struct rolled rl = { p->roll, p->n_roll, p->rolled_to_ms };
    int64_t lookback = w->run->env.lookback_ms;
    for (size_t s = 0; s < r->tl.n; s++) {
        int64_t t = pq_ref_time(r->sel, pq_ts(&r->tl, s));
        if (t - lookback >= rl.to_ms || (t > rl.to_ms && any_sample(p, t - lookback, t)))
            continue;
        put_instant(w, r, seen_at(&rl, snap(&rl, t), lookback), s, row);
    }
    return OK;
}

/* ---- ranges ---- */
struct fold { /* one step of one series */
    struct pq_worker *w;
    const struct pq_rows *r;
    struct labels labels;
    const struct rollup *e; /* windows and samples in the range */
    size_t n;
    int64_t start, end; /* what they stand for */
    int64_t nominal;    /* what was asked for: length */
};

static double fold_sum(const struct fold *f, double *ret_count)
{
    double sum = 0, c = 0, count = 0;
    for (size_t i = 0; i < f->n; i++)
        if (f->e[i].count && !f->e[i].h) {
            pq_kahan(f->e[i].sum, &sum, &c);
            count += (double)f->e[i].count;
        }
    *ret_count = count;
    return isinf(sum) ? sum : sum + c;
}

static double fold_extreme(const struct fold *f, bool max)
{
    double best = PQ_NAN;
    for (size_t i = 0; i < f->n; i++) {
        if (!f->e[i].count || f->e[i].h)
            continue;
        double v = max ? f->e[i].max : f->e[i].min;
        if ((max ? v >= best : v <= best) || isnan(best))
            best = v;
    }
    return best;
}

static bool fold_rate(const struct fold *f, double *ret)
{
    const struct rollup *first = NULL, *prev = NULL;
    double hidden = 0;
    size_t samples = 0;
    bool counter = f->r->fn->counter;
    for (size_t i = 0; i < f->n; i++) {
        const struct rollup *x = &f->e[i];
        if (!x->count || x->h)
            continue;
        if (prev && x->first < prev->last)
            hidden += prev->last;
        hidden += x->hidden;
        samples += x->count;
        first = first ? first : x;
        prev = x;
    }
    if (samples < 2 || f->end <= f->start)
        return false;
    double d = prev->last - first->first;
    if (counter)
        d += hidden;
    double factor =
        pq_rate_factor(first->first_ms, prev->last_ms, samples - 1, f->start, f->end, first->first, d, counter);
    int64_t length = f->end - f->start;
    if (f->r->fn->per_second)
        factor /= (double)length / 1000;
    else if (length != f->nominal)
        factor *= (double)f->nominal / (double)length;
    *ret = d * factor;
    return true;
}

static double fold_resets(const struct fold *f)
{
    const struct rollup *prev = NULL;
    double n = 0;
    for (size_t i = 0; i < f->n; i++) {
        const struct rollup *x = &f->e[i];
        if (!x->count || x->h)
            continue;
        n += (double)x->resets + (prev && x->first < prev->last);
        prev = x;
    }
    return n;
}

static const struct rollup *fold_edge(const struct fold *f, bool last)
{
    const struct rollup *best = NULL;
    for (size_t i = 0; i < f->n; i++) {
        const struct rollup *x = &f->e[i];
        if (!x->count)
            continue;
        if (!best || (last ? x->last_ms > best->last_ms : x->first_ms < best->first_ms))
            best = x;
    }
    return best;
}

static bool decomposes(enum promql_fn fn)
{
    switch (fn) {
    case PQ_FN_count_over_time:
    case PQ_FN_present_over_time:
    case PQ_FN_absent_over_time:
    case PQ_FN_sum_over_time:
    case PQ_FN_avg_over_time:
    case PQ_FN_min_over_time:
    case PQ_FN_max_over_time:
    case PQ_FN_first_over_time:
    case PQ_FN_last_over_time:
    case PQ_FN_ts_of_first_over_time:
    case PQ_FN_ts_of_last_over_time:
    case PQ_FN_rate:
    case PQ_FN_increase:
    case PQ_FN_delta:
    case PQ_FN_resets:
        return true;
    default:
        return false;
    }
}

/* Needs every histogram, or the first of a window, which is not kept. */
static bool decomposes_with_histograms(enum promql_fn fn)
{
    return fn == PQ_FN_count_over_time || fn == PQ_FN_present_over_time || fn == PQ_FN_absent_over_time ||
           fn == PQ_FN_last_over_time || fn == PQ_FN_ts_of_first_over_time || fn == PQ_FN_ts_of_last_over_time;
}

static bool fold_floats(const struct fold *f, enum promql_fn fn, double *ret, const struct histogram **reth)
{
    double count = 0;
    for (size_t i = 0; i < f->n; i++)
        count += (double)f->e[i].count;
    if (count <= 0)
        return false;
    const struct rollup *edge;
    switch (fn) {
    case PQ_FN_count_over_time:
        *ret = count;
        return true;
    case PQ_FN_present_over_time:
    case PQ_FN_absent_over_time:
        *ret = 1;
        return true;
    case PQ_FN_sum_over_time:
        *ret = fold_sum(f, &count);
        return true;
    case PQ_FN_avg_over_time:
        *ret = fold_sum(f, &count);
        *ret /= count;
        return true;
    case PQ_FN_min_over_time:
    case PQ_FN_max_over_time:
        *ret = fold_extreme(f, fn == PQ_FN_max_over_time);
        return true;
    case PQ_FN_resets:
        *ret = fold_resets(f);
        return true;
    case PQ_FN_first_over_time:
        *ret = fold_edge(f, false)->first;
        return true;
    case PQ_FN_last_over_time:
        edge = fold_edge(f, true);
        *ret = edge->last;
        *reth = edge->h;
        return true;
    case PQ_FN_ts_of_first_over_time:
        *ret = (double)fold_edge(f, false)->first_ms / 1000;
        return true;
    case PQ_FN_ts_of_last_over_time:
        *ret = (double)fold_edge(f, true)->last_ms / 1000;
        return true;
    default:
        return fold_rate(f, ret);
    }
}

/* The function itself over the last sample of each window. */
static bool fold_flat(const struct fold *f, size_t step, double *ret, const struct histogram **reth)
{
    struct promql_points p = { .roll = f->e, .n_roll = f->n };
    struct pq_worker *w = f->w;
    pq_rolled_flatten(w, f->r->sel, &p, false);
    struct pq_series_buf b;
    pq_split_points(w, f->r->sel, &p, &b);
    struct pq_win win = { .w = w,
                          .rows = f->r,
                          .arg = f->r->sel,
                          .labels = f->labels,
                          .step = step,
                          .ts = pq_ts(&f->r->tl, step),
                          .range_start = f->start,
                          .range_end = f->end,
                          .ft = b.ft,
                          .fv = b.fv,
                          .nf = b.nf,
                          .ht = b.ht,
                          .hh = b.hh,
                          .nh = b.nh };
    return win.nf + win.nh && f->r->fn->win(&win, ret, reth);
}

static struct rollup of_sample(const struct promql_points *p, size_t i)
{
    const struct histogram *h = p->h ? p->h[i] : NULL;
    double v = h ? 0 : p->v[i];
    bool stale = is_stale(h ? h->sum : v);
    struct rollup x = {
        .end_ms = p->ts[i], .first_ms = p->ts[i], .last_ms = p->ts[i], .count = !stale, .stale = stale
    };
    if (!stale) {
        x.sum = x.min = x.max = x.first = x.last = v;
        x.h = h;
    }
    return x;
}

/* Is a range that is less than a window answered by the window? */
static bool widens(enum promql_fn fn)
{
    return fn != PQ_FN_count_over_time && fn != PQ_FN_sum_over_time && fn != PQ_FN_resets && fn != PQ_FN_changes;
}

/* The windows and samples of one step; false: none. */
static bool step_range(const struct rolled *all, struct fold *f, int64_t start, int64_t end, enum promql_fn fn,
                       int64_t *ret_res)
{
    int64_t res = res_at(all, end);
    f->start = snap(all, start);
    f->end = floor_to(end, res);
    size_t lo = first_from(all->e, all->n, f->start + 1), hi = first_from(all->e, all->n, f->end + 1);
    *ret_res = res ? res : res_at(all, start);
    if (res > end - start) { /* less than a window */
        note(f->w, f->r, widens(fn) ? NOTE_ROLLUP_SHORT : NOTE_ROLLUP_NONE, res);
        if (!widens(fn))
            return false;
        f->start = f->end - res;
        lo = first_from(all->e, all->n, f->start + 1);
    }
    f->e = all->e + lo;
    f->n = hi - lo;
    return lo < hi;
}

static enum err one_step(struct fold *f, size_t s, int64_t res, struct pq_row *row)
{
    enum promql_fn fn = f->r->call->e->call.fn;
    bool hists = false, windows = false,
         extended = f->r->sel->kind == PQ_MATRIX && (f->r->sel->sel->anchored || f->r->sel->sel->smoothed);
    for (size_t i = 0; i < f->n; i++) {
        hists |= f->e[i].h != NULL;
        windows |= f->e[i].res_ms != 0;
    }
    bool exact = decomposes(fn) && !extended && (!hists || decomposes_with_histograms(fn));
    if (windows)
        note(f->w, f->r, exact ? NOTE_ROLLUP : NOTE_ROLLUP_LAST, res);
    double v = 0;
    const struct histogram *h = NULL;
    bool some = exact ? fold_floats(f, fn, &v, &h) : fold_flat(f, s, &v, &h);
    if (!some)
        return f->w->err;
    row->v[s] = h ? 0 : v;
    if (h)
        row_hists(f->w, row, f->r->tl.n)[s] = h;
    return f->w->err;
}

enum err pq_rolled_range(struct pq_worker *w, const struct pq_rows *r, size_t i, const struct promql_points *p,
                         struct pq_row *row)
{
    int64_t range = r->sel->range_ms;
    vec_clear(&w->roll);
    vec_reserve(&w->roll, p->n_roll);
    memcpy(w->roll.p, p->roll, p->n_roll * sizeof(*p->roll));
    w->roll.n = p->n_roll;
    for (size_t k = 0; k < p->n && p->ts[k] <= p->rolled_to_ms + range; k++) /* what a step across the border needs */
        vec_push(&w->roll, of_sample(p, k));
    struct rolled all = { w->roll.p, w->roll.n, p->rolled_to_ms };
    for (size_t s = 0; s < r->tl.n; s++) {
        int64_t end = pq_ref_time(r->sel, pq_ts(&r->tl, s)), res;
        if (end - range >= p->rolled_to_ms)
            continue;
        struct fold f = { .w = w, .r = r, .labels = pq_rows_labels(r, i), .nominal = range };
        row->v[s] = pq_none();
        if (row->h)
            row->h[s] = NULL;
        if (step_range(&all, &f, end - range, end, r->call->e->call.fn, &res))
            TRY(one_step(&f, s, res, row));
        if (pq_tired(w, f.n))
            return w->err;
    }
    return OK;
}
