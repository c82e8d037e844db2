/* The engine: one query from text to result, its budgets (samples, series, memory, time, cancel) and its parallel
 * sections. */
#include <stdio.h>
#include <stdlib.h>

#include "promql/promql_int.h"

struct promql_engine {
    struct promql_engine_config cfg;
};

void promql_engine_config_defaults(struct promql_engine_config *cfg)
{
    *cfg = (struct promql_engine_config){
        .lookback_ms = 5 * 60 * 1000,
        .samples_max = 50 * 1000 * 1000,
        .series_max = 10 * 1000 * 1000,
        .bytes_max = (size_t)1 << 30,
        .timeout_ms = 2 * 60 * 1000,
        .default_step_ms = 60 * 1000,
    };
}

struct promql_engine *promql_engine_new(const struct promql_engine_config *cfg)
{
    struct promql_engine *e = mem_zalloc(sizeof(*e));
    e->cfg = *cfg;
    return e;
}

void promql_engine_free(struct promql_engine *e)
{
    mem_free(e);
}

/* ---- failures and budgets ---- */
enum err pq_fail(struct pq_worker *w, enum err e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(w->text.msg, sizeof(w->text.msg), fmt, ap);
    va_end(ap);
    w->err = e;
    atomic_store_explicit(&w->run->stop, true, memory_order_relaxed);
    return e;
}

enum err pq_poll(struct pq_worker *w)
{
    struct pq_run *r = w->run;
    if (w->err != OK)
        return w->err;
    if (atomic_load_explicit(&r->stop, memory_order_relaxed))
        return w->err = ERR_CANCELLED; /* another slice failed: its error counts */
    if (r->q->cancel && atomic_load_explicit(r->q->cancel, memory_order_relaxed))
        return pq_fail(w, ERR_CANCELLED, "query was canceled in expression evaluation");
    if (os_mono_ns() > r->deadline_ns)
        return pq_fail(w, ERR_TIMEOUT, "query timed out in expression evaluation");
    size_t bytes = w->a.bytes + w->timeline_bytes;
    if (bytes > w->bytes_counted) {
        atomic_fetch_add_explicit(&r->bytes, bytes - w->bytes_counted, memory_order_relaxed);
        w->bytes_counted = bytes;
    }
    return pq_room(w, 0);
}

enum err pq_room(struct pq_worker *w, size_t n)
{
    struct pq_run *r = w->run;
    size_t used = atomic_load_explicit(&r->bytes, memory_order_relaxed);
    if (used > r->cfg->bytes_max || n > r->cfg->bytes_max - used)
        return pq_fail(w, ERR_LIMIT, "the query would use more than %zu bytes of memory", r->cfg->bytes_max);
    return OK;
}

enum err pq_check_steps(struct pq_worker *w, size_t steps)
{
    if (steps > w->run->cfg->samples_max)
        return pq_fail(w, ERR_LIMIT, "query processing would load too many samples into memory in query execution");
    return pq_room(w, steps * sizeof(double));
}

enum err pq_take_samples(struct pq_worker *w, size_t n)
{
    struct pq_run *r = w->run;
    if (atomic_fetch_add_explicit(&r->samples, n, memory_order_relaxed) + n > r->cfg->samples_max)
        return pq_fail(w, ERR_LIMIT, "query processing would load too many samples into memory in query execution");
    return OK;
}

void pq_drop_samples(struct pq_run *r, size_t n)
{
    atomic_fetch_sub_explicit(&r->samples, n, memory_order_relaxed);
}

/* ---- parallel sections ---- */
static void worker_init(struct pq_run *r, unsigned i)
{
    struct pq_worker *w = &r->workers[i];
    *w = (struct pq_worker){ .run = r };
    arena_init(&w->a, 0);
    w->notes.a = &w->a;
}

static void worker_deinit(struct pq_run *r, struct pq_worker *w)
{
    if (w->reader)
        r->src->reader_free(w->reader);
    vec_free(&w->ft);
    vec_free(&w->ht);
    vec_free(&w->fst);
    vec_free(&w->hst);
    vec_free(&w->fv);
    vec_free(&w->tmp);
    vec_free(&w->hh);
    vec_free(&w->resets);
    vec_free(&w->row_v);
    vec_free(&w->row_h);
    vec_free(&w->hlo);
    vec_free(&w->hhi);
    vec_free(&w->roll);
    vec_free(&w->roll_ts);
    vec_free(&w->roll_start);
    vec_free(&w->roll_v);
    vec_free(&w->roll_h);
    mem_free(w->own.mem);
    for (size_t i = 0; w->timelines && i < PQ_TIMELINES_MAX; i++)
        mem_free(w->timelines[i].mem);
    mem_free(w->timelines);
    arena_deinit(&w->a);
}

#define PARALLEL_WEIGHT_MIN (64 * 1024) /* samples a slice should have to be worth a thread */

unsigned pq_slices(struct pq_run *r, size_t n, size_t weight)
{
    if (!r->cfg->pool || n < 2)
        return 1;
    size_t by_weight = n * weight / PARALLEL_WEIGHT_MIN;
    size_t slices = MIN(by_weight, (size_t)PQ_WORKERS_MAX);
    slices = MIN(slices, n);
    return slices < 2 ? 1 : (unsigned)slices;
}

struct section {
    struct pq_run *run;
    enum err (*fn)(struct pq_worker *w, void *ctx, unsigned slice, size_t lo, size_t hi);
    void *ctx;
    unsigned slices;
    size_t n;
};

static void section_run(void *ctx, size_t i)
{
    struct section *s = ctx;
    struct pq_worker *w = &s->run->workers[i];
    if (w->err == OK)
        w->err = s->fn(w, s->ctx, (unsigned)i, s->n * i / s->slices, s->n * (i + 1) / s->slices);
}

enum err pq_parallel(struct pq_run *r, unsigned slices, size_t n,
                     enum err (*fn)(struct pq_worker *w, void *ctx, unsigned slice, size_t lo, size_t hi), void *ctx)
{
    struct section s = { r, fn, ctx, slices, n };
    while (r->n_workers < slices)
        worker_init(r, r->n_workers++);
    if (slices == 1)
        section_run(&s, 0);
    else
        pool_for(r->cfg->pool, slices, section_run, &s);
    /* the error of the lowest slice that failed by itself; slices stopped because of another carry no text */
    for (int with_text = 1; with_text >= 0; with_text--)
        for (unsigned i = 0; i < slices; i++) {
            struct pq_worker *w = &r->workers[i];
            if (w->err == OK || (with_text && !w->text.msg[0]))
                continue;
            if (i > 0) {
                r->workers[0].err = w->err;
                r->workers[0].text = w->text;
            }
            return w->err;
        }
    return OK;
}

/* ---- results ---- */
static const struct histogram *share_copy(struct arena *a, const struct histogram *h, const struct histogram *prev_in,
                                          const struct histogram *prev_out)
{
    return h == prev_in ? prev_out : histogram_copy(a, h);
}

/* False if there is no sample. */
static bool copy_series(struct arena *a, const struct pq_tl *tl, const struct pq_series *s,
                        struct promql_result_series *out)
{
    size_t n = pq_row_count(s->v, tl->n), k = 0;
    if (n == 0)
        return false;
    *out = (struct promql_result_series){ .labels = labels_copy(a, s->labels),
                                          .points = arena_array(a, struct promql_point, n) };
    const struct histogram *in = NULL, *copy = NULL;
    for (size_t i = 0; i < tl->n; i++) {
        if (pq_is_none(s->v[i]))
            continue;
        struct promql_point p = { .ts_ms = pq_ts(tl, i), .v = s->v[i] };
        if (s->h && s->h[i]) {
            copy = share_copy(a, s->h[i], in, copy);
            in = s->h[i];
            p.h = copy;
            p.v = 0;
        }
        out->points[k++] = p;
    }
    out->n_points = n;
    return true;
}

static int cmp_result(const void *x, const void *y)
{
    return labels_cmp(((const struct promql_result_series *)x)->labels,
                      ((const struct promql_result_series *)y)->labels);
}

static enum err result_of_vector(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct arena *a,
                                 struct promql_result *ret)
{
    struct pq_vec v;
    TRY(pq_eval(r, n, tl, &v));
    if (r->delayed)
        TRY(pq_vec_drop_names(r, tl, &v));
    ret->type = r->q->instant ? PROMQL_VECTOR : PROMQL_MATRIX;
    ret->series = arena_array(a, struct promql_result_series, v.n + 1);
    for (size_t i = 0; i < v.n; i++) {
        ret->n_series += copy_series(a, tl, &v.p[i], &ret->series[ret->n_series]);
        if ((i & 255) == 0)
            TRY(pq_poll(pq_main(r)));
    }
    if (!r->q->instant)
        qsort(ret->series, ret->n_series, sizeof(*ret->series), cmp_result);
    return OK;
}

static enum err result_of_scalar(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct arena *a,
                                 struct promql_result *ret)
{
    const double *v;
    TRY(pq_eval_scalar(r, n, tl, &v));
    if (r->q->instant) {
        ret->type = PROMQL_SCALAR;
        ret->scalar = (struct promql_point){ .ts_ms = tl->start, .v = v[0] };
        return OK;
    }
    struct pq_series s = { .v = arena_array(r->a, double, tl->n) };
    memcpy(s.v, v, tl->n * sizeof(*v));
    ret->type = PROMQL_MATRIX;
    ret->series = arena_array(a, struct promql_result_series, 1);
    ret->n_series = copy_series(a, tl, &s, ret->series);
    return OK;
}

/* One series of `m[5m]`: its samples as they are. */
static enum err result_of_points(struct pq_run *r, const struct pq_node *n, const struct promql_series *in,
                                 const struct pq_tl *tl, struct arena *a, struct promql_result_series *out)
{
    struct pq_worker *w = pq_main(r);
    struct promql_points p;
    int64_t from, to, end = pq_ref_time(n, tl->start);
    bool extended = n->sel->anchored || n->sel->smoothed;
    pq_selector_span(n, tl, r->env.lookback_ms, &from, &to);
    TRY(pq_read(w, in->id, from, to, &p));
    if (p.n_roll)
        pq_rolled_flatten(w, n, &p, true);
    *out = (struct promql_result_series){ .labels = labels_copy(a, in->labels) };
    out->points = arena_array(a, struct promql_point, p.n + 2);
    if (extended) {
        struct pq_series_buf b;
        pq_split_points(w, n, &p, &b);
        if (b.nh > 0)
            return pq_fail(w, ERR_EXEC, "anchored modifier is not supported with histograms");
        int64_t *t = arena_array(r->a, int64_t, b.nf + 2);
        double *v = arena_array(r->a, double, b.nf + 2);
        out->n_points = pq_extend_floats(b.ft, b.fv, b.nf, end - n->range_ms, end, n->sel->smoothed, t, v);
        for (size_t i = 0; i < out->n_points; i++)
            out->points[i] = (struct promql_point){ .ts_ms = t[i], .v = v[i] };
        return pq_take_samples(w, out->n_points);
    }
    for (size_t i = 0; i < p.n; i++) {
        const struct histogram *h = p.h ? p.h[i] : NULL;
        if (h ? is_stale(h->sum) : is_stale(p.v[i]))
            continue;
        out->points[out->n_points++] =
            (struct promql_point){ .ts_ms = p.ts[i], .v = h ? 0 : p.v[i], .h = h ? histogram_copy(a, h) : NULL };
    }
    return pq_take_samples(w, out->n_points);
}

static enum err result_of_range(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct arena *a,
                                struct promql_result *ret)
{
    const struct promql_series *series;
    size_t n_series;
    TRY(pq_select(r, n, tl, &series, &n_series));
    ret->type = PROMQL_MATRIX;
    ret->series = arena_array(a, struct promql_result_series, n_series + 1);
    for (size_t i = 0; i < n_series; i++) {
        struct promql_result_series *s = &ret->series[ret->n_series];
        TRY(result_of_points(r, n, &series[i], tl, a, s));
        ret->n_series += s->n_points > 0;
        TRY(pq_poll(pq_main(r)));
    }
    qsort(ret->series, ret->n_series, sizeof(*ret->series), cmp_result);
    return OK;
}

static enum err result_of_subquery(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct arena *a,
                                   struct promql_result *ret)
{
    struct pq_tl inner;
    struct pq_vec v = { 0 };
    ret->type = PROMQL_MATRIX;
    if (!pq_subquery_tl(n, tl, &inner))
        return OK;
    TRY(pq_check_steps(pq_main(r), inner.n));
    TRY(pq_eval(r, n->args[0], &inner, &v));
    if (r->delayed)
        TRY(pq_vec_drop_names(r, &inner, &v));
    ret->series = arena_array(a, struct promql_result_series, v.n + 1);
    for (size_t i = 0; i < v.n; i++)
        ret->n_series += copy_series(a, &inner, &v.p[i], &ret->series[ret->n_series]);
    qsort(ret->series, ret->n_series, sizeof(*ret->series), cmp_result);
    return OK;
}

static enum err make_result(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct arena *a,
                            struct promql_result *ret)
{
    switch (n->type) {
    case PROMQL_SCALAR:
        return result_of_scalar(r, n, tl, a, ret);
    case PROMQL_STRING:
        ret->type = PROMQL_STRING;
        ret->string = arena_str(a, n->e->string);
        ret->string_ts_ms = tl->start;
        return OK;
    case PROMQL_MATRIX:
        return n->kind == PQ_SUBQUERY ? result_of_subquery(r, n, tl, a, ret) : result_of_range(r, n, tl, a, ret);
    default:
        return result_of_vector(r, n, tl, a, ret);
    }
}

/* ---- running ---- */
static enum err open_view(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl)
{
    int64_t from = INT64_MAX, to = INT64_MIN;
    pq_plan_times(n, tl, &r->env, &from, &to);
    if (from > to) { /* no selector at all */
        from = tl->start;
        to = pq_tl_end(tl);
    }
    enum err e = r->src->open(r->src, from, to, &r->view);
    return e == OK ? OK : pq_fail(pq_main(r), e, "opening the store: %s", err_describe(e));
}

static void note_incomplete(struct pq_run *r)
{
    struct err_text why = { 0 };
    if (r->view && r->src->incomplete && r->src->incomplete(r->view, &why))
        pq_note(&pq_main(r)->notes, NOTE_TEXT, (struct promql_pos){ 0 }, str_c(why.msg));
}

static enum err run_plan(struct pq_run *r, const struct pq_node *n, struct arena *a, struct promql_result *ret,
                         uint64_t *prepared_ns)
{
    const struct promql_query *q = r->q;
    struct pq_tl tl = { r->env.start_ms, q->instant ? 1 : q->step_ms, 1 };
    if (!q->instant) {
        if (n->type != PROMQL_SCALAR && n->type != PROMQL_VECTOR)
            return pq_fail(pq_main(r), ERR_PARSE,
                           "invalid expression type \"%s\" for range query, must be Scalar or instant Vector",
                           n->type == PROMQL_MATRIX ? "range vector" : "string");
        tl.n = q->to_ms < q->from_ms ? 0 : (size_t)((q->to_ms - q->from_ms) / q->step_ms) + 1;
        ret->type = PROMQL_MATRIX;
        if (tl.n == 0)
            return OK;
        TRY(pq_check_steps(pq_main(r), tl.n));
    }
    TRY(open_view(r, n, &tl));
    *prepared_ns = os_mono_ns();
    TRY(make_result(r, n, &tl, a, ret));
    note_incomplete(r);
    return OK;
}

static void run_finish(struct pq_run *r, struct promql_result *ret, struct arena *a)
{
    struct pq_worker *main = pq_main(r);
    for (unsigned i = 0; i < r->n_workers; i++) {
        struct pq_worker *w = &r->workers[i];
        if (i > 0)
            pq_notes_merge(&main->notes, &w->notes);
        ret->stats.samples_read += w->samples_read;
        ret->stats.series_read += w->series_read;
        ret->stats.bytes_peak += w->a.bytes;
    }
    ret->notes = pq_notes_render(&main->notes, r->q->text, a, &ret->n_notes);
    for (unsigned i = 0; i < r->n_workers; i++)
        worker_deinit(r, &r->workers[i]);
    if (r->view)
        r->src->close(r->view);
}

static void run_init(struct pq_run *r, struct promql_engine *e, struct promql_source *src, const struct promql_query *q,
                     uint64_t now_ns)
{
    r->cfg = &e->cfg;
    r->src = src;
    r->q = q;
    r->features = e->cfg.features;
    r->delayed = r->features & PROMQL_DELAYED_NAME_REMOVAL;
    r->timeout_ms = q->timeout_ms > 0 && (q->timeout_ms < e->cfg.timeout_ms || e->cfg.timeout_ms <= 0)
                        ? q->timeout_ms
                        : e->cfg.timeout_ms;
    r->deadline_ns = r->timeout_ms > 0 ? now_ns + (uint64_t)r->timeout_ms * 1000000u : UINT64_MAX;
    r->env = (struct pq_plan_env){
        .start_ms = q->from_ms,
        .end_ms = q->instant ? q->from_ms : q->to_ms,
        .step_ms = q->step_ms,
        .lookback_ms = q->lookback_ms > 0 ? q->lookback_ms : e->cfg.lookback_ms,
        .default_step_ms = e->cfg.default_step_ms,
        .instant = q->instant,
    };
    r->n_workers = 1;
    worker_init(r, 0);
    r->a = &r->workers[0].a;
}

enum err promql_exec(struct promql_engine *e, struct promql_source *src, const struct promql_query *q, struct arena *a,
                     struct promql_result *ret, struct err_text *reterr)
{
    uint64_t start = os_mono_ns();
    *ret = (struct promql_result){ 0 };
    if (!q->instant && q->step_ms <= 0)
        return err_fail(reterr, ERR_INVALID,
                        "zero or negative query resolution step widths are not accepted. Try a positive integer");
    const struct promql_expr *expr = NULL;
    struct pq_run *r = mem_zalloc(sizeof(*r));
    run_init(r, e, src, q, start);
    struct pq_worker *w = pq_main(r);
    const struct pq_node *plan = NULL;
    enum err err = q->expr ? OK : promql_parse_text(r->a, q->text, e->cfg.features, &expr, &w->text);
    uint64_t parsed = os_mono_ns(), prepared = parsed;
    if (err == OK)
        err = pq_plan(r->a, q->expr ? q->expr : expr, &r->env, &plan, &w->text);
    if (err == OK)
        err = run_plan(r, plan, a, ret, &prepared);
    if (err != OK && reterr)
        *reterr = w->text;
    promql_expr_deinit(expr); /* the tree lives in the run's arena */
    run_finish(r, ret, a);
    uint64_t end = os_mono_ns();
    ret->stats.parse_ns = parsed - start;
    ret->stats.prepare_ns = prepared - parsed;
    ret->stats.exec_ns = end - prepared;
    mem_free(r);
    return err;
}
