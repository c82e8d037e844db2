/* Recipes of rows: how a selector, a range function over a selector or subquery, and element-wise functions above
 * them are computed one series at a time.
 *
 * Range functions are fused with their selector: window bounds of all steps are found with two pointers over the
 * timestamps, once per timeline (series scraped together share one, and so do the bounds and all of extrapolation
 * that does not depend on values), then a kernel runs over the steps. Series with staleness markers inside, with
 * histograms or with start timestamps take a general path that calls a function per window. */
#include "promql/promql_int.h"

/* ---- reading ---- */
enum err pq_read(struct pq_worker *w, uint64_t id, int64_t from, int64_t to, struct promql_points *ret)
{
    struct pq_run *r = w->run;
    if (!w->reader)
        w->reader = r->src->reader_new(r->view);
    enum err e = r->src->read(w->reader, id, from, to, ret);
    if (e != OK)
        return pq_fail(w, e, "reading series: %s", err_describe(e));
    w->samples_read += ret->n;
    w->series_read++;
    return OK;
}

/* Rows behind row i are read soon. */
static void read_ahead(struct pq_worker *w, const struct pq_rows *r, size_t i)
{
    static const unsigned reads[] = { PROMQL_AHEAD_FAR, PROMQL_AHEAD_MID, PROMQL_AHEAD_NEAR };
    if (!w->reader || !w->run->src->ahead)
        return;
    for (size_t k = 0; k < ARRAY_LEN(reads); k++)
        if (r->n - i > reads[k])
            w->run->src->ahead(w->reader, r->series[i + reads[k]].id, reads[k]);
}

enum err pq_select(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, const struct promql_series **ret,
                   size_t *ret_n)
{
    struct pq_worker *w = pq_main(r);
    int64_t from, to;
    pq_selector_span(n, tl, r->env.lookback_ms, &from, &to);
    struct promql_series *series = NULL;
    size_t left = r->cfg->series_max - MIN(r->cfg->series_max, r->series_touched);
    *ret_n = 0;
    enum err e = r->src->select(r->view, n->sel->matchers, n->sel->n_matchers, from, to, left, r->a, &series, ret_n);
    if (e == ERR_LIMIT)
        return pq_fail(w, e, "the query would touch more than %zu series", r->cfg->series_max);
    if (e != OK)
        return pq_fail(w, e, "selecting series: %s", err_describe(e));
    r->series_touched += *ret_n;
    *ret = series;
    return pq_poll(w);
}

static bool any_stale(const double *v, size_t n)
{
    if (!pq_any_nan(v, n))
        return false;
    uint64_t found = 0;
    for (size_t i = 0; i < n; i++)
        found |= (uint64_t)(f64_bits(v[i]) == STALE_NAN_BITS);
    return found != 0;
}

static bool any_histogram(const struct promql_points *p)
{
    if (!p->h)
        return false;
    for (size_t i = 0; i < p->n; i++)
        if (p->h[i])
            return true;
    return false;
}

static bool any_start(const struct promql_points *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->start_ms[i] != 0)
            return true;
    return false;
}

/* Where only sums and counts matter, upstream reads histograms without buckets and finds resets by itself, sample by
 * sample: unknown hints become definite ones. Visible in warnings about conflicting resets. */
static const struct histogram *with_hint(struct pq_worker *w, const struct histogram *prev, const struct histogram *h)
{
    if (!prev || h->reset != HIST_RESET_UNKNOWN)
        return h;
    struct histogram *copy = arena_new(&w->a, struct histogram);
    *copy = *h;
    copy->reset = pq_hist_is_reset(h, prev) ? HIST_RESET_YES : HIST_RESET_NO;
    return copy;
}

static const struct histogram *histogram_before(const struct promql_points *p, size_t i)
{
    while (i-- > 0)
        if (p->h[i] && !is_stale(p->h[i]->sum))
            return p->h[i];
    return NULL;
}

static void split_slow(struct pq_worker *w, const struct pq_node *sel, const struct promql_points *p,
                       struct pq_series_buf *ret, bool starts)
{
    const struct histogram *before = NULL;
    vec_clear(&w->ft);
    vec_clear(&w->fv);
    vec_clear(&w->fst);
    vec_clear(&w->ht);
    vec_clear(&w->hh);
    vec_clear(&w->hst);
    for (size_t i = 0; i < p->n; i++) {
        int64_t start = starts ? p->start_ms[i] : 0;
        const struct histogram *h = p->h ? p->h[i] : NULL;
        if (h) {
            if (is_stale(h->sum))
                continue;
            vec_push(&w->ht, p->ts[i]);
            vec_push(&w->hh, sel->statistics ? with_hint(w, before, h) : h);
            before = h;
            vec_push(&w->hst, start);
        } else if (!is_stale(p->v[i])) {
            vec_push(&w->ft, p->ts[i]);
            vec_push(&w->fv, p->v[i]);
            vec_push(&w->fst, start);
        }
    }
    *ret =
        (struct pq_series_buf){ w->ft.p, w->ht.p, w->fv.p, w->hh.p, starts ? w->fst.p : NULL, starts ? w->hst.p : NULL,
                                w->ft.n, w->ht.n, true,    false };
}

void pq_split_points(struct pq_worker *w, const struct pq_node *sel, const struct promql_points *p,
                     struct pq_series_buf *ret)
{
    bool starts = (w->run->features & PROMQL_START_TIMESTAMPS) && p->start_ms && any_start(p);
    bool growing = pq_is_growing(p->v, p->n);
    if (!any_histogram(p) && (growing || !any_stale(p->v, p->n)))
        *ret = (struct pq_series_buf){
            .ft = p->ts, .fv = p->v, .fst = starts ? p->start_ms : NULL, .nf = p->n, .growing = growing
        };
    else
        split_slow(w, sel, p, ret, starts);
}

/* ---- window bounds ---- */
static void bounds_find(const int64_t *t, size_t n, const struct pq_node *sel, const struct pq_tl *tl, int64_t before,
                        int64_t after, struct pq_bounds *b)
{
    uint32_t lo = 0, hi = 0;
    b->first = b->end = 0;
    for (size_t s = 0; s < tl->n; s++) {
        int64_t end = pq_ref_time(sel, pq_ts(tl, s)) + after, start = end - after - before;
        while (hi < n && t[hi] <= end)
            hi++;
        while (lo < hi && t[lo] <= start)
            lo++;
        b->lo[s] = lo;
        b->hi[s] = hi;
        if (lo == hi)
            continue;
        if (b->end == 0)
            b->first = s;
        b->end = s + 1;
    }
}

#define TIMELINE_STEP_BYTES (2 * sizeof(double) + 2 * sizeof(uint32_t))

static void timeline_reserve(struct pq_worker *w, struct pq_timeline *t, size_t steps)
{
    if (t->cap >= steps)
        return;
    mem_free(t->mem);
    t->mem = mem_alloc(steps * TIMELINE_STEP_BYTES);
    w->timeline_bytes += (steps - t->cap) * TIMELINE_STEP_BYTES;
    double *d = t->mem;
    t->pre = (struct pq_rate_pre){ .near = d, .factor = d + steps };
    t->bd.lo = (uint32_t *)(void *)(d + 2 * steps);
    t->bd.hi = t->bd.lo + steps;
    t->cap = steps;
}

/* The entry for a timeline under a recipe; *ret_known: its bounds are there already. timeline 0: the series' own. */
static struct pq_timeline *timeline_get(struct pq_worker *w, const struct pq_rows *r, uint64_t timeline,
                                        bool *ret_known)
{
    struct pq_timeline *t = &w->own;
    if (timeline != 0) {
        if (!w->timelines)
            w->timelines = mem_zalloc(PQ_TIMELINES_MAX * sizeof(*w->timelines));
        size_t slots = PQ_TIMELINES_MAX;
        while (slots > 1 && slots * r->tl.n * TIMELINE_STEP_BYTES > PQ_TIMELINES_BYTES_MAX)
            slots /= 2;
        t = &w->timelines[timeline & (slots - 1)]; /* sources count them */
    }
    *ret_known = timeline != 0 && t->timeline == timeline && t->rows == r->id;
    if (!*ret_known) {
        timeline_reserve(w, t, r->tl.n);
        t->timeline = timeline;
        t->rows = r->id;
        t->rate_ready = false;
    }
    return t;
}

static struct pq_bounds hist_bounds_buf(struct pq_worker *w, size_t n)
{
    vec_reserve(&w->hlo, n);
    vec_reserve(&w->hhi, n);
    return (struct pq_bounds){ .lo = w->hlo.p, .hi = w->hhi.p };
}

/* How far the samples of a window reach before and after the reference time. */
static void window_reach(const struct pq_rows *r, int64_t lookback, int64_t *before, int64_t *after)
{
    *before = r->sel->kind == PQ_VECTOR ? lookback : r->sel->range_ms;
    *after = 0;
    if (r->sel->kind == PQ_MATRIX && (r->sel->sel->anchored || r->sel->sel->smoothed))
        *before += lookback;
    if (r->sel->kind == PQ_MATRIX && r->sel->sel->smoothed)
        *after = lookback;
}

/* Bounds of the float samples; those of a shared timeline are found once. */
static struct pq_timeline *float_bounds(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                                        uint64_t timeline)
{
    bool known;
    struct pq_timeline *t = timeline_get(w, r, b->own_timeline ? 0 : timeline, &known);
    if (!known) {
        int64_t before, after;
        window_reach(r, w->run->env.lookback_ms, &before, &after);
        bounds_find(b->ft, b->nf, r->sel, &r->tl, before, after, &t->bd);
    }
    return t;
}

static const struct histogram **row_h(struct pq_worker *w, size_t n)
{
    vec_reserve(&w->row_h, n);
    memset(w->row_h.p, 0, n * sizeof(*w->row_h.p));
    return w->row_h.p;
}

/* ---- bases ---- */
static enum err compute_instant(struct pq_worker *w, const struct pq_rows *r, size_t i, struct pq_row *row)
{
    struct promql_points p;
    int64_t from, to;
    pq_selector_span(r->sel, &r->tl, w->run->env.lookback_ms, &from, &to);
    TRY(pq_read(w, r->series[i].id, from, to, &p));
    bool known;
    struct pq_timeline *t = timeline_get(w, r, p.timeline, &known);
    if (!known)
        bounds_find(p.ts, p.n, r->sel, &r->tl, w->run->env.lookback_ms, 0, &t->bd);
    struct pq_bounds bd = t->bd;
    row->h = NULL;
    for (size_t s = 0; s < bd.first; s++)
        row->v[s] = pq_none();
    for (size_t s = bd.end; s < r->tl.n; s++)
        row->v[s] = pq_none();
    if (!p.n_roll) {
        row->lo = bd.first;
        row->hi = bd.end;
    }
    for (size_t s = bd.first; s < bd.end; s++) {
        row->v[s] = pq_none();
        if (bd.lo[s] == bd.hi[s])
            continue;
        size_t k = bd.hi[s] - 1;
        const struct histogram *h = p.h ? p.h[k] : NULL;
        if (h ? is_stale(h->sum) : is_stale(p.v[k]))
            continue;
        if (r->base == BASE_TIMESTAMP) {
            row->v[s] = (double)p.ts[k] / 1000;
        } else if (r->base == BASE_START_TIMESTAMP) {
            row->v[s] = p.start_ms ? (double)p.start_ms[k] / 1000 : 0;
        } else if (h) {
            if (!row->h)
                row->h = row_h(w, r->tl.n);
            row->h[s] = r->sel->statistics ? with_hint(w, histogram_before(&p, k), h) : h;
            row->v[s] = 0;
        } else {
            row->v[s] = p.v[k];
        }
    }
    return p.n_roll ? pq_rolled_instant(w, r, i, &p, row) : OK;
}

/* A plain `m smoothed`: between two samples the line between them, after the last one its value. */
static bool smoothed_float(const struct pq_series_buf *b, size_t lo, size_t hi, int64_t ts, double *ret)
{
    size_t k = lo;
    while (k < hi && b->ft[k] < ts)
        k++;
    if (k < hi && b->ft[k] == ts)
        *ret = b->fv[k];
    else if (k > lo && k < hi)
        *ret =
            b->fv[k - 1] + (b->fv[k] - b->fv[k - 1]) * (double)(ts - b->ft[k - 1]) / (double)(b->ft[k] - b->ft[k - 1]);
    else if (k > lo)
        *ret = b->fv[k - 1];
    else
        return false;
    return true;
}

static const struct histogram *smoothed_hist(struct pq_worker *w, const struct pq_rows *r, struct labels ls,
                                             const struct pq_series_buf *b, size_t lo, size_t hi, int64_t ts)
{
    size_t k = lo;
    while (k < hi && b->ht[k] < ts)
        k++;
    if (k < hi && b->ht[k] == ts)
        return b->hh[k];
    if (k == lo)
        return NULL;
    if (k == hi)
        return b->hh[k - 1];
    bool counter = b->hh[k - 1]->reset != HIST_RESET_GAUGE && b->hh[k]->reset != HIST_RESET_GAUGE;
    return pq_hist_between(w, r->sel->pos, ls, b->hh[k - 1], b->ht[k - 1], b->hh[k], b->ht[k], ts, counter);
}

static enum err compute_smoothed(struct pq_worker *w, const struct pq_rows *r, size_t i, struct pq_row *row)
{
    struct promql_points p;
    struct pq_series_buf b;
    int64_t from, to, lookback = w->run->env.lookback_ms;
    pq_selector_span(r->sel, &r->tl, lookback, &from, &to);
    TRY(pq_read(w, r->series[i].id, from, to, &p));
    if (p.n_roll)
        pq_rolled_flatten(w, r->sel, &p, true);
    pq_split_points(w, r->sel, &p, &b);
    bool known;
    struct pq_bounds bd = timeline_get(w, r, 0, &known)->bd, hb = hist_bounds_buf(w, r->tl.n);
    bounds_find(b.ft, b.nf, r->sel, &r->tl, lookback, lookback, &bd);
    bounds_find(b.ht, b.nh, r->sel, &r->tl, lookback, lookback, &hb);
    row->h = NULL;
    for (size_t s = 0; s < r->tl.n; s++) {
        int64_t ts = pq_ref_time(r->sel, pq_ts(&r->tl, s));
        row->v[s] = pq_none();
        if (hb.lo[s] == hb.hi[s]) {
            double v;
            if (smoothed_float(&b, bd.lo[s], bd.hi[s], ts, &v))
                row->v[s] = v;
            continue;
        }
        if (bd.lo[s] != bd.hi[s]) {
            pq_note(&w->notes, NOTE_MIXED_FLOATS_HISTOGRAMS, r->sel->pos, pq_metric_name(r->series[i].labels));
            continue;
        }
        const struct histogram *h = smoothed_hist(w, r, r->series[i].labels, &b, hb.lo[s], hb.hi[s], ts);
        if (!h)
            continue;
        if (!row->h)
            row->h = row_h(w, r->tl.n);
        row->h[s] = h;
        row->v[s] = 0;
    }
    return OK;
}

/* The samples of row i of a subquery as points. Hints of counter resets are forgotten: samples between the steps
 * were not seen. */
static void subquery_points(struct pq_worker *w, const struct pq_rows *r, size_t i, struct pq_series_buf *ret)
{
    const struct pq_series *s = &r->vec.p[i];
    size_t n = r->vec_tl.n;
    if (!s->h && !any_stale(s->v, n)) {
        *ret = (struct pq_series_buf){ .ft = r->vec_ts, .fv = s->v, .nf = n };
        return;
    }
    struct promql_points p = { .ts = r->vec_ts, .v = s->v, .n = n };
    split_slow(w, r->sel, &p, ret, false);
    if (!s->h)
        return;
    vec_clear(&w->ft);
    vec_clear(&w->fv);
    for (size_t k = 0; k < n; k++) {
        const struct histogram *h = s->h[k];
        if (pq_is_none(s->v[k]))
            continue;
        if (h) {
            if (h->reset == HIST_RESET_YES || h->reset == HIST_RESET_NO) {
                struct histogram *copy = arena_new(&w->a, struct histogram);
                *copy = *h;
                copy->reset = HIST_RESET_UNKNOWN;
                h = copy;
            }
            vec_push(&w->ht, r->vec_ts[k]);
            vec_push(&w->hh, h);
        } else {
            vec_push(&w->ft, r->vec_ts[k]);
            vec_push(&w->fv, s->v[k]);
        }
    }
    *ret = (struct pq_series_buf){
        .ft = w->ft.p, .fv = w->fv.p, .nf = w->ft.n, .ht = w->ht.p, .hh = w->hh.p, .nh = w->ht.n, .own_timeline = true
    };
}

static enum err range_windows(struct pq_worker *w, const struct pq_rows *r, size_t i, const struct pq_series_buf *b,
                              const struct pq_bounds *fb, struct pq_row *row)
{
    int64_t before, after;
    window_reach(r, w->run->env.lookback_ms, &before, &after);
    struct pq_bounds hb = { 0 };
    if (b->nh > 0) {
        hb = hist_bounds_buf(w, r->tl.n);
        bounds_find(b->ht, b->nh, r->sel, &r->tl, before, after, &hb);
    }
    struct pq_win win = { .w = w, .rows = r, .arg = r->sel, .labels = pq_rows_labels(r, i) };
    for (size_t s = 0; s < r->tl.n; s++) {
        uint32_t lo = fb->lo[s], hlo = b->nh ? hb.lo[s] : 0;
        win.nf = fb->hi[s] - lo;
        win.nh = b->nh ? hb.hi[s] - hlo : 0;
        row->v[s] = pq_none();
        if (win.nf + win.nh == 0)
            continue;
        win.step = s;
        win.ts = pq_ts(&r->tl, s);
        win.range_end = pq_ref_time(r->sel, win.ts);
        win.range_start = win.range_end - r->sel->range_ms;
        if (b->nf > 0) {
            win.ft = b->ft + lo;
            win.fv = b->fv + lo;
            win.fst = b->fst ? b->fst + lo : NULL;
        }
        if (b->nh > 0) {
            win.ht = b->ht + hlo;
            win.hh = b->hh + hlo;
            win.hst = b->hst ? b->hst + hlo : NULL;
        }
        double v = 0;
        const struct histogram *h = NULL;
        if (r->fn->win(&win, &v, &h)) {
            row->v[s] = h ? 0 : v;
            if (h && !row->h)
                row->h = row_h(w, r->tl.n);
            if (h)
                row->h[s] = h;
        }
        if (w->err != OK || pq_tired(w, win.nf + win.nh))
            return w->err;
    }
    return OK;
}

/* rate() of something that does not look like a counter. */
static void note_non_counter(struct pq_worker *w, const struct pq_rows *r, size_t i)
{
    struct labels ls = pq_rows_labels(r, i);
    str name = pq_metric_name(ls);
    if (!name.n)
        return;
    if (w->run->features & PROMQL_TYPE_AND_UNIT) {
        str type = labels_get(ls, STR("__type__"));
        if (!str_eq(type, STR("counter")) && !str_eq(type, STR("histogram")))
            pq_note_add(
                &w->notes,
                &(struct pq_note){ .kind = NOTE_POSSIBLE_NON_COUNTER_TYPE, .pos = r->sel->pos, .a = type, .b = name });
    } else if (!str_has_suffix(name, STR("_total")) && !str_has_suffix(name, STR("_sum")) &&
               !str_has_suffix(name, STR("_count")) && !str_has_suffix(name, STR("_bucket"))) {
        pq_note(&w->notes, NOTE_POSSIBLE_NON_COUNTER, r->sel->pos, name);
    }
}

static bool row_has_float(const struct pq_row *row)
{
    for (size_t s = row->lo; s < row->hi; s++)
        if (!pq_is_none(row->v[s]) && !(row->h && row->h[s]))
            return true;
    return false;
}

static enum err compute_range(struct pq_worker *w, const struct pq_rows *r, size_t i, struct pq_row *row)
{
    struct pq_series_buf b;
    struct promql_points p = { 0 };
    uint64_t timeline = 1; /* a subquery's rows share theirs */
    if (r->series) {
        int64_t from, to;
        pq_selector_span(r->sel, &r->tl, w->run->env.lookback_ms, &from, &to);
        TRY(pq_read(w, r->series[i].id, from, to, &p));
        pq_split_points(w, r->sel, &p, &b);
        timeline = p.timeline;
    } else {
        subquery_points(w, r, i, &b);
    }
    bool extended = r->sel->kind == PQ_MATRIX && (r->sel->sel->anchored || r->sel->sel->smoothed);
    row->h = NULL;
    if (b.nf + b.nh == 0) {
        for (size_t s = 0; s < r->tl.n; s++)
            row->v[s] = pq_none();
        if (!p.n_roll)
            return OK;
        TRY(pq_rolled_range(w, r, i, &p, row));
        if (r->fn->rate && r->fn->counter && row_has_float(row))
            note_non_counter(w, r, i);
        return OK;
    }
    struct pq_timeline *t = float_bounds(w, r, &b, timeline);
    if (r->fn->fast && b.nh == 0 && !extended && !(b.fst && r->fn->start_times)) {
        if (r->fn->rate && !t->rate_ready)
            pq_rate_prepare(r, b.ft, &t->bd, &t->pre);
        t->rate_ready = r->fn->rate;
        r->fn->fast(w, r, &b, &t->bd, &t->pre, row->v);
        if (w->err != OK)
            return w->err;
        if (r->fn->rate && !p.n_roll) {
            row->lo = t->pre.lo;
            row->hi = t->pre.hi;
        }
    } else {
        TRY(range_windows(w, r, i, &b, &t->bd, row));
    }
    if (p.n_roll)
        TRY(pq_rolled_range(w, r, i, &p, row));
    if (r->fn->rate && r->fn->counter && row_has_float(row))
        note_non_counter(w, r, i);
    return OK;
}

static enum err compute_vec(struct pq_worker *w, const struct pq_rows *r, size_t i, struct pq_row *row)
{
    const struct pq_series *s = &r->vec.p[i];
    memcpy(row->v, s->v, r->tl.n * sizeof(*row->v));
    row->h = NULL;
    if (s->h) {
        row->h = row_h(w, r->tl.n);
        memcpy(row->h, s->h, r->tl.n * sizeof(*row->h));
    }
    return OK;
}

enum err pq_rows_compute(struct pq_worker *w, const struct pq_rows *r, size_t i, struct pq_row *row, size_t *ret_n)
{
    if ((w->tick++ & 15) == 0 || r->tl.n > 4096)
        TRY(pq_poll(w));
    row->lo = 0;
    row->hi = r->tl.n;
    if (r->series)
        read_ahead(w, r, i);
    if (r->base == BASE_RANGE)
        TRY(compute_range(w, r, i, row));
    else if (r->base == BASE_VEC)
        TRY(compute_vec(w, r, i, row));
    else if (r->sel->sel->smoothed)
        TRY(compute_smoothed(w, r, i, row));
    else
        TRY(compute_instant(w, r, i, row));
    for (size_t m = 0; m < r->n_maps; m++)
        TRY(r->maps[m].fn(w, &r->maps[m], r, i, row));
    if (r->n_maps) {
        row->lo = 0;
        row->hi = r->tl.n;
    }
    *ret_n = pq_row_count(row->v + row->lo, row->hi - row->lo);
    return OK;
}

/* ---- preparing ---- */
/* Do the matchers pin __name__ to one value, so that dropping it cannot make two series equal? */
static bool name_is_pinned(const struct pq_node *sel, const struct promql_series *series, size_t n)
{
    if (sel->kind == PQ_SUBQUERY)
        return false;
    bool pinned = false;
    for (size_t i = 0; i < sel->sel->n_matchers; i++) {
        const struct matcher *m = &sel->sel->matchers[i];
        pinned = pinned || (m->type == MATCH_EQ && str_eq(m->name, LABEL_NAME) && m->value.n > 0);
    }
    for (size_t i = 0; pinned && i < n; i++)
        if (series[i].labels.n > 1 &&
            (labels_has(series[i].labels, STR("__type__")) || labels_has(series[i].labels, STR("__unit__"))))
            return false;
    return pinned;
}

static enum err prepare_selector(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, enum pq_base base,
                                 struct pq_rows *ret)
{
    *ret = (struct pq_rows){ .id = ++r->next_id, .base = base, .sel = n, .tl = *tl };
    TRY(pq_select(r, n, tl, &ret->series, &ret->n));
    if (!ret->series)
        ret->series = arena_array(r->a, struct promql_series, 1);
    return OK;
}

static enum err prepare_subquery(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_rows *ret)
{
    *ret = (struct pq_rows){ .id = ++r->next_id, .base = BASE_RANGE, .sel = n, .tl = *tl };
    if (!pq_subquery_tl(n, tl, &ret->vec_tl))
        return OK;
    size_t steps = ret->vec_tl.n;
    TRY(pq_check_steps(pq_main(r), steps));
    TRY(pq_eval(r, n->args[0], &ret->vec_tl, &ret->vec));
    int64_t *ts = arena_array(r->a, int64_t, steps);
    for (size_t i = 0; i < steps; i++)
        ts[i] = pq_ts(&ret->vec_tl, i);
    ret->vec_ts = ts;
    ret->n = ret->vec.n;
    return OK;
}

static enum err check_modifiers(struct pq_run *r, const struct pq_node *call, const struct pq_node *arg,
                                const struct pq_range_fn *fn)
{
    const char *name = promql_functions[call->e->call.fn].name.p;
    int len = (int)promql_functions[call->e->call.fn].name.n;
    if (arg->kind != PQ_MATRIX)
        return OK;
    if (arg->sel->anchored && !fn->anchored_ok)
        return pq_fail(
            pq_main(r), ERR_EXEC,
            "anchored modifier can only be used with: changes, delta, increase, rate, resets - not with %.*s", len,
            name);
    if (arg->sel->smoothed && !fn->smoothed_ok)
        return pq_fail(pq_main(r), ERR_EXEC,
                       "smoothed modifier can only be used with: delta, increase, rate - not with %.*s", len, name);
    return OK;
}

static enum err prepare_range(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_rows *ret)
{
    const struct pq_range_fn *fn = pq_range_fn_of(n->e->call.fn);
    const struct pq_node *arg = NULL;
    const double *scalars[2] = { NULL, NULL };
    size_t k = 0;
    for (size_t i = 0; i < n->n_args; i++) {
        if (n->args[i]->type == PROMQL_MATRIX)
            arg = n->args[i];
        else if (k < 2)
            TRY(pq_eval_scalar(r, n->args[i], tl, &scalars[k++]));
    }
    TRY(check_modifiers(r, n, arg, fn));
    if (arg->kind == PQ_SUBQUERY)
        TRY(prepare_subquery(r, arg, tl, ret));
    else
        TRY(prepare_selector(r, arg, tl, BASE_RANGE, ret));
    ret->call = n;
    ret->fn = fn;
    ret->s1 = scalars[0];
    ret->s2 = scalars[1];
    ret->drop_name = !fn->keep_name;
    ret->single_name = ret->series && name_is_pinned(arg, ret->series, ret->n);
    return OK;
}

static enum err prepare_vec(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_rows *ret)
{
    *ret = (struct pq_rows){ .id = ++r->next_id, .base = BASE_VEC, .tl = *tl };
    TRY(pq_eval(r, n, tl, &ret->vec));
    ret->n = ret->vec.n;
    return OK;
}

static struct pq_map *push_map(struct pq_rows *rows, const struct pq_node *n)
{
    struct pq_map *m = &rows->maps[rows->n_maps++];
    *m = (struct pq_map){ .node = n };
    return m;
}

/* Deep chains end in a materialised vector so that the list of maps stays short. */
static enum err prepare_child(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_rows *ret)
{
    TRY(pq_rows_prepare(r, n, tl, ret));
    if (ret->n_maps < PQ_MAPS_MAX)
        return OK;
    struct pq_vec v;
    TRY(pq_rows_materialise(r, ret, &v));
    *ret = (struct pq_rows){ .id = ++r->next_id, .base = BASE_VEC, .tl = *tl, .vec = v, .n = v.n };
    return OK;
}

static enum err prepare_binary(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_rows *ret)
{
    bool swap = n->args[0]->type == PROMQL_SCALAR;
    const double *s;
    TRY(prepare_child(r, n->args[swap ? 1 : 0], tl, ret));
    TRY(pq_eval_scalar(r, n->args[swap ? 0 : 1], tl, &s));
    struct pq_map *m = push_map(ret, n);
    m->fn = pq_map_scalar_binary;
    m->op = n->e->binary.op;
    m->return_bool = n->e->binary.return_bool;
    m->swap = swap;
    m->s1 = s;
    if (m->return_bool || pq_op_changes_schema(m->op))
        ret->drop_name = true;
    return OK;
}

/* timestamp() and start_timestamp() look at the sample itself when given a selector. */
static const struct pq_node *sample_time_selector(const struct pq_node *n)
{
    bool which = n->kind == PQ_CALL && (n->e->call.fn == PQ_FN_timestamp || n->e->call.fn == PQ_FN_start_timestamp);
    return which && n->args[0]->kind == PQ_VECTOR ? n->args[0] : NULL;
}

enum err pq_rows_prepare(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_rows *ret)
{
    if (n->invariant && tl->n > 1)
        return prepare_vec(r, n, tl, ret);
    if (n->kind == PQ_VECTOR) {
        TRY(prepare_selector(r, n, tl, BASE_INSTANT, ret));
        ret->single_name = name_is_pinned(n, ret->series, ret->n);
        return OK;
    }
    const struct pq_node *selector = sample_time_selector(n);
    if (selector) {
        bool start = n->e->call.fn == PQ_FN_start_timestamp;
        TRY(prepare_selector(r, selector, tl, start ? BASE_START_TIMESTAMP : BASE_TIMESTAMP, ret));
        ret->single_name = name_is_pinned(selector, ret->series, ret->n);
        ret->drop_name = true;
        return OK;
    }
    if (n->kind == PQ_CALL && pq_range_fn_of(n->e->call.fn))
        return prepare_range(r, n, tl, ret);
    if (n->kind == PQ_CALL && pq_is_element_call(n->e->call.fn) && n->n_args > 0) {
        size_t v = n->args[0]->type == PROMQL_VECTOR ? 0 : n->n_args - 1;
        TRY(prepare_child(r, n->args[v], tl, ret));
        ret->drop_name = true;
        return pq_push_element_call(r, n, ret);
    }
    if (n->kind == PQ_UNARY && n->type == PROMQL_VECTOR) {
        TRY(prepare_child(r, n->args[0], tl, ret));
        if (n->e->unary.negative) {
            push_map(ret, n)->fn = pq_map_negate;
            ret->drop_name = true;
        }
        return OK;
    }
    if (n->kind == PQ_BINARY && n->type == PROMQL_VECTOR &&
        (n->args[0]->type == PROMQL_SCALAR || n->args[1]->type == PROMQL_SCALAR))
        return prepare_binary(r, n, tl, ret);
    return prepare_vec(r, n, tl, ret);
}

/* ---- materialising ---- */
struct materialise {
    const struct pq_rows *rows;
    struct pq_series *out; /* v == NULL: no samples */
    size_t samples[PQ_WORKERS_MAX];
};

static enum err materialise_slice(struct pq_worker *w, void *ctx, unsigned slice, size_t lo, size_t hi)
{
    struct materialise *m = ctx;
    const struct pq_rows *r = m->rows;
    size_t steps = r->tl.n, total = 0;
    double *v = NULL;
    for (size_t i = lo; i < hi; i++) {
        struct pq_row row = { .v = v ? v : arena_array(&w->a, double, steps) };
        size_t n;
        v = row.v;
        TRY(pq_rows_compute(w, r, i, &row, &n));
        if (n == 0)
            continue;
        TRY(pq_take_samples(w, n));
        total += n;
        const struct histogram **h = NULL;
        if (row.h) {
            h = arena_array(&w->a, const struct histogram *, steps);
            memcpy(h, row.h, steps * sizeof(*h));
            for (size_t s = 0; s < steps; s++) /* what the reader lent lasts only until its next read */
                if (h[s] && r->series && (s == 0 || row.h[s] != row.h[s - 1]))
                    h[s] = histogram_copy(&w->a, h[s]);
                else if (h[s] && r->series)
                    h[s] = h[s - 1];
        }
        m->out[i] =
            (struct pq_series){ .labels = pq_rows_labels(r, i), .drop_name = pq_rows_drops(r, i), .v = row.v, .h = h };
        v = NULL;
    }
    m->samples[slice] = total;
    return OK;
}

enum err pq_rows_materialise(struct pq_run *r, struct pq_rows *rows, struct pq_vec *ret)
{
    if (rows->base == BASE_VEC && rows->n_maps == 0) {
        *ret = rows->vec;
        return OK;
    }
    struct materialise m = { .rows = rows, .out = arena_zarray(r->a, struct pq_series, rows->n + 1) };
    unsigned slices = pq_slices(r, rows->n, rows->tl.n * 4);
    TRY(pq_parallel(r, slices, rows->n, materialise_slice, &m));
    *ret = (struct pq_vec){ .p = m.out, .ordered = rows->base == BASE_VEC && rows->vec.ordered };
    for (size_t i = 0; i < rows->n; i++)
        if (m.out[i].v)
            m.out[ret->n++] = m.out[i];
    for (unsigned i = 0; i < slices; i++)
        ret->samples += m.samples[i];
    if (!rows->series) {
        pq_drop_samples(r, rows->vec.samples);
    }
    return r->delayed || !rows->drop_name ? OK : pq_vec_drop_names(r, &rows->tl, ret);
}
