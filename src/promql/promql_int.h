/* Inside of the PromQL evaluator. Not for other rooms.
 *
 * A query runs in four steps: parse (ast.h), plan (promql_plan.c: a const tree of struct pq_node with durations
 * and @ times resolved and step-invariant parts marked), evaluate (promql_eval*.c) and print the result into
 * the caller's arena (promql_exec.c).
 *
 * Values. A vector over time is a set of rows: labels and one double per step of the timeline; a step without a
 * sample holds the staleness marker's NaN, which no computation can yield (it is a signalling NaN). A row may
 * have a side array of histogram pointers: h[s] != NULL makes the sample of step s a histogram.
 *
 * Rows come in two forms: struct pq_vec holds them all; struct pq_rows is a recipe (selector, range function and
 * element-wise functions over it) that computes row i on demand into a worker's buffers. Aggregations consume
 * recipes row by row, so the samples of 100 k series are never held at once.
 *
 * Threads. One thread drives a query; parallel sections (pq_parallel) split rows into contiguous slices, slice
 * i uses worker i: its arena, reader, notes and buffers. Results do not depend on scheduling. */
#ifndef VANE_PROMQL_INT_H
#define VANE_PROMQL_INT_H

#include <math.h>

#include "base/check.h"
#include "base/num.h"
#include "base/os.h"
#include "model/histogram_math.h"
#include "promql/ast.h"

#define PQ_WORKERS_MAX 16
#define PQ_NAN         ((double)NAN)
#define PQ_INF         ((double)INFINITY)

static inline double pq_none(void) /* no sample at this step */
{
    return f64_from_bits(STALE_NAN_BITS);
}
static inline bool pq_is_none(double v)
{
    return f64_bits(v) == STALE_NAN_BITS;
}
/* pq_none() as a value of which the compiler knows nothing, for loops that say "none stays none, the rest is computed".
 * With x itself or a constant in that place clang makes x * (none ? 1 : y) of none ? x : x * y, or takes arithmetic on
 * a NaN to give that very NaN; but the machine turns this signalling NaN into a quiet one, which is a sample. */
static inline double pq_none_opaque(void)
{
    uint64_t bits = STALE_NAN_BITS;
    __asm__("" : "+r"(bits));
    return f64_from_bits(bits);
}

/* ---- timeline: the steps of an evaluation ---- */
struct pq_tl {
    int64_t start, step; /* ms; step > 0 */
    size_t n;
};
static inline int64_t pq_ts(const struct pq_tl *tl, size_t i)
{
    return tl->start + (int64_t)i * tl->step;
}
static inline int64_t pq_tl_end(const struct pq_tl *tl)
{
    return pq_ts(tl, tl->n - 1);
}

/* ---- plan ---- */
struct pq_node {
    enum promql_kind kind; /* parentheses and durations are gone */
    enum promql_type type;
    const struct promql_expr *e;
    struct promql_pos pos;
    bool invariant;  /* same value at every step: computed once */
    bool has_at;     /* VECTOR, MATRIX, SUBQUERY: fixed time at_ms */
    bool statistics; /* VECTOR, MATRIX: only sums and counts of histograms are looked at */
    double number;   /* NUMBER, and functions that are constants of the query */
    int64_t at_ms, offset_ms, range_ms, step_ms;
    const struct promql_vector_sel *sel; /* VECTOR, MATRIX */
    const struct pq_node *const *args;   /* operands: UNARY 1, BINARY 2, AGG 1 or 2 (expr, param), CALL n, SUBQUERY 1 */
    size_t n_args;
};
/* The time at which a selector or subquery looks, for evaluation time ts. */
static inline int64_t pq_ref_time(const struct pq_node *n, int64_t ts)
{
    return (n->has_at ? n->at_ms : ts) - n->offset_ms;
}
struct pq_plan_env {
    int64_t start_ms, end_ms, step_ms, lookback_ms, default_step_ms; /* step 0: instant query */
    bool instant;
};
enum err pq_plan(struct arena *a, const struct promql_expr *e, const struct pq_plan_env *env,
                 const struct pq_node **ret, struct err_text *reterr) MUST_CHECK;
/* The hull of all times that selectors below n read when n is evaluated over tl. */
void pq_plan_times(const struct pq_node *n, const struct pq_tl *tl, const struct pq_plan_env *env, int64_t *from,
                   int64_t *to);
/* Timeline of a subquery's inner expression. False: it has no step. */
bool pq_subquery_tl(const struct pq_node *n, const struct pq_tl *tl, struct pq_tl *ret);

/* ---- notes: warnings and infos, each text once ---- */
enum pq_note_kind {
    NOTE_INVALID_QUANTILE,        /* got */
    NOTE_INVALID_RATIO,           /* got, to */
    NOTE_BAD_BUCKET_LABEL,        /* label value, metric */
    NOTE_MIXED_FLOATS_HISTOGRAMS, /* metric */
    NOTE_MIXED_IN_AGGREGATION,
    NOTE_MIXED_CLASSIC_NATIVE,      /* metric */
    NOTE_NOT_COUNTER,               /* metric */
    NOTE_NOT_GAUGE,                 /* metric */
    NOTE_MIXED_EXPONENTIAL_CUSTOM,  /* metric */
    NOTE_INCOMPATIBLE_BUCKETS,      /* operator */
    NOTE_RESET_COLLISION,           /* operation */
    NOTE_START_OVERLAP,             /* metric */
    NOTE_POSSIBLE_NON_COUNTER,      /* metric */
    NOTE_POSSIBLE_NON_COUNTER_TYPE, /* type, metric */
    NOTE_FORCED_MONOTONICITY,       /* metric; merged */
    NOTE_INCOMPATIBLE_TYPES,        /* "lhs op rhs", op */
    NOTE_HISTOGRAM_IGNORED_AGG,     /* aggregation */
    NOTE_HISTOGRAM_IGNORED_RANGE,   /* metric */
    NOTE_QUANTILE_NAN,              /* metric */
    NOTE_QUANTILE_NAN_SKEW,         /* metric */
    NOTE_FRACTION_NAN,              /* metric */
    NOTE_BOUNDS_RECONCILED,         /* operation */
    NOTE_ROLLUP,                    /* length of windows in ms */
    NOTE_ROLLUP_LAST,               /* function; length */
    NOTE_ROLLUP_SHORT,              /* function; length, range in ms */
    NOTE_ROLLUP_NONE,               /* function; length, range in ms */
    NOTE_TEXT,                      /* text: a warning as it stands, without position */
};
struct pq_note {
    enum pq_note_kind kind;
    struct promql_pos pos;
    str a, b;
    double x, y;
    /* NOTE_FORCED_MONOTONICITY: what was merged */
    double min_bucket, max_bucket, max_diff;
    int64_t from_ms, to_ms;
    size_t count;
};
struct pq_notes {
    struct arena *a;
    VEC(struct pq_note) v; /* in a */
    size_t last;
};
void pq_note_add(struct pq_notes *ns, const struct pq_note *n); /* strings are copied */
static inline void pq_note(struct pq_notes *ns, enum pq_note_kind kind, struct promql_pos pos, str a)
{
    pq_note_add(ns, &(struct pq_note){ .kind = kind, .pos = pos, .a = a });
}
void pq_notes_merge(struct pq_notes *into, const struct pq_notes *from);
struct promql_note *pq_notes_render(const struct pq_notes *ns, str query, struct arena *a, size_t *ret_n);

/* ---- run ---- */
struct pq_bounds { /* per step: samples [lo, hi) of a series are in the window */
    uint32_t *lo, *hi;
    size_t first, end; /* steps outside [first, end) have empty windows */
};
struct pq_rate_pre {       /* per step: what extrapolation needs and does not depend on values */
    double *near, *factor; /* near: first <= near * diff makes the zero of a counter matter */
    size_t lo, hi;         /* windows outside [lo, hi) have less than two samples */
    bool full;             /* those inside have two or more */
};
struct pq_series_buf { /* float and histogram samples of one series, staleness markers left out */
    const int64_t *ft, *ht;
    const double *fv;
    const struct histogram *const *hh;
    const int64_t *fst, *hst; /* start timestamps; NULL: not used */
    size_t nf, nh;
    bool own_timeline; /* ft is not what the source returned */
    bool growing;      /* no float is below the one before, none is NaN */
};
/* What is known of a timeline (the timestamps that several series share) under one recipe. */
struct pq_timeline {
    uint64_t rows, timeline; /* key; 0: not in use */
    bool rate_ready;
    struct pq_bounds bd;
    struct pq_rate_pre pre;
    void *mem;
    size_t cap; /* steps */
};
#define PQ_WORK_BETWEEN_POLLS  (4u << 20)        /* samples: some milliseconds */
#define PQ_TIMELINES_MAX       1024              /* per worker */
#define PQ_TIMELINES_BYTES_MAX (8 * 1024 * 1024) /* unless one alone is larger */
struct pq_run;
struct pq_worker {
    size_t work; /* samples looked at since the last pq_tired() poll */
    struct pq_run *run;
    struct arena a;
    size_t bytes_counted, timeline_bytes;
    struct promql_reader *reader;
    struct pq_notes notes;
    enum err err;
    struct err_text text;
    uint64_t samples_read, series_read;
    unsigned tick;
    /* buffers */
    VEC(int64_t) ft, ht, fst, hst;
    VEC(double) fv, tmp;
    VEC(const struct histogram *) hh;
    VEC(uint32_t) resets;
    VEC(double) row_v;
    VEC(const struct histogram *) row_h;
    VEC(uint32_t) hlo, hhi;
    VEC(struct rollup) roll; /* promql_rollup.c */
    VEC(int64_t) roll_ts, roll_start;
    VEC(double) roll_v;
    VEC(const struct histogram *) roll_h;
    struct pq_timeline own, *timelines; /* of a series on its own; PQ_TIMELINES_MAX, placed by number */
};
struct pq_run {
    const struct promql_engine_config *cfg;
    struct promql_source *src;
    struct promql_view *view;
    const struct promql_query *q;
    unsigned features;
    bool delayed; /* delayed name removal */
    struct pq_plan_env env;
    struct arena *a; /* workers[0].a: what lives as long as the query */
    struct pq_worker workers[PQ_WORKERS_MAX];
    unsigned n_workers; /* initialised ones */
    atomic_size_t samples, bytes;
    size_t samples_peak, series_touched;
    uint64_t next_id;
    atomic_bool stop;
    uint64_t deadline_ns;
    int64_t timeout_ms;
};
enum err pq_fail(struct pq_worker *w, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);
static inline struct pq_worker *pq_main(struct pq_run *r)
{
    return &r->workers[0];
}
enum err pq_poll(struct pq_worker *w) MUST_CHECK;           /* time, cancel, memory; cheap */
enum err pq_room(struct pq_worker *w, size_t n) MUST_CHECK; /* may n more bytes be taken? */
/* For loops inside one row: `samples` more were looked at. True when it is time to give up (w->err says why). */
static inline bool pq_tired(struct pq_worker *w, size_t samples)
{
    if ((w->work += samples + 1) < PQ_WORK_BETWEEN_POLLS)
        return false;
    w->work = 0;
    return pq_poll(w) != OK;
}
enum err pq_check_steps(struct pq_worker *w, size_t steps) MUST_CHECK; /* is a timeline of so many steps bearable? */
enum err pq_take_samples(struct pq_worker *w, size_t n) MUST_CHECK;
void pq_drop_samples(struct pq_run *r, size_t n);
/* fn over [0, n) in contiguous slices; `weight` is the work of one item in samples. The error of the lowest slice. */
unsigned pq_slices(struct pq_run *r, size_t n, size_t weight);
enum err pq_parallel(struct pq_run *r, unsigned slices, size_t n,
                     enum err (*fn)(struct pq_worker *w, void *ctx, unsigned slice, size_t lo, size_t hi),
                     void *ctx) MUST_CHECK;

/* ---- values ---- */
struct pq_row {
    double *v;
    size_t lo, hi;              /* steps outside [lo, hi) have no sample (all of v is set) */
    const struct histogram **h; /* NULL: floats only */
};
struct pq_series {
    struct labels labels;
    bool drop_name; /* delayed removal of __name__, __type__, __unit__ */
    double *v;
    const struct histogram **h;
};
struct pq_vec {
    struct pq_series *p;
    size_t n, samples;
    bool ordered; /* the order is part of the value (sort, topk) */
};
size_t pq_row_count(const double *v, size_t n);
bool pq_any_nan(const double *v, size_t n);
bool pq_is_growing(const double *v, size_t n);
static inline bool pq_row_has(const struct pq_series *s, size_t step)
{
    return !pq_is_none(s->v[step]);
}
double *pq_row_new(struct arena *a, size_t n); /* all absent */

/* ---- labels ---- */
bool pq_is_metadata_label(str name); /* __name__, __type__, __unit__ */
struct labels pq_labels_drop_metadata(struct arena *a, struct labels ls);
bool pq_labels_have_metadata(struct labels ls);
struct labels pq_labels_keep(struct arena *a, struct labels ls, const str *names, size_t n);    /* names sorted */
struct labels pq_labels_without(struct arena *a, struct labels ls, const str *names, size_t n); /* names sorted */
hash128 pq_hash_keep(struct labels ls, const str *names, size_t n, struct buf *scratch);
hash128 pq_hash_without(struct labels ls, const str *names, size_t n, struct buf *scratch);
str *pq_names_sorted(struct arena *a, const str *names, size_t n, size_t extra); /* sorted copy with room for extra */
void pq_names_insert(str *names, size_t *n, str name);
void pq_labels_string(struct buf *out, struct labels ls); /* {__name__="up", job="x"} */
str pq_metric_name(struct labels ls);
/* Series with equal labels become one; ERR_EXEC if two have a sample at the same step. */
enum err pq_vec_merge_same(struct pq_run *r, const struct pq_tl *tl, struct pq_vec *v) MUST_CHECK;
enum err pq_vec_drop_names(struct pq_run *r, const struct pq_tl *tl, struct pq_vec *v) MUST_CHECK; /* those marked */
enum err pq_fail_same_labelset(struct pq_worker *w);

/* hash128 -> index */
#define MAP_NAME     pq_index
#define MAP_KEY      hash128
#define MAP_VALUE    size_t
#define MAP_HASH(k)  ((k).lo)
#define MAP_EQ(a, b) hash128_eq(a, b)
#include "base/map.h"

/* ---- recipes of rows ---- */
struct pq_rows;
struct pq_map { /* an element-wise step: changes a row in place */
    enum err (*fn)(struct pq_worker *w, const struct pq_map *m, const struct pq_rows *r, size_t i, struct pq_row *row);
    double (*f)(double);
    const double *s1, *s2; /* scalars by step */
    const struct pq_node *node;
    enum promql_op op;
    bool swap, return_bool;
};
#define PQ_MAPS_MAX 16
enum pq_base { BASE_INSTANT, BASE_TIMESTAMP, BASE_START_TIMESTAMP, BASE_RANGE, BASE_VEC };
struct pq_rows {
    uint64_t id; /* unique in the query */
    enum pq_base base;
    const struct pq_node *sel; /* selector or subquery */
    struct pq_tl tl;
    const struct promql_series *series; /* from the source */
    struct pq_vec vec;                  /* BASE_VEC; BASE_RANGE over a subquery */
    struct pq_tl vec_tl;                /* of vec, for BASE_RANGE */
    const int64_t *vec_ts;
    size_t n;
    const struct pq_node *call; /* BASE_RANGE */
    const struct pq_range_fn *fn;
    const double *s1, *s2; /* scalar arguments of fn */
    struct pq_map maps[PQ_MAPS_MAX];
    size_t n_maps;
    bool drop_name, single_name;
};
enum err pq_rows_prepare(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl,
                         struct pq_rows *ret) MUST_CHECK;
/* Row i into row (n_steps doubles at row->v, owned by the caller); row->h is set to worker memory if there are
 * histograms. ret_n: number of samples. */
enum err pq_rows_compute(struct pq_worker *w, const struct pq_rows *rows, size_t i, struct pq_row *row,
                         size_t *ret_n) MUST_CHECK;
static inline struct labels pq_rows_labels(const struct pq_rows *r, size_t i)
{
    return r->series ? r->series[i].labels : r->vec.p[i].labels;
}
static inline bool pq_rows_drops(const struct pq_rows *r, size_t i)
{
    return r->drop_name || (!r->series && r->vec.p[i].drop_name);
}
enum err pq_rows_materialise(struct pq_run *r, struct pq_rows *rows, struct pq_vec *ret) MUST_CHECK;
/* Selects the series of a selector that is evaluated over tl. */
enum err pq_select(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, const struct promql_series **ret,
                   size_t *ret_n) MUST_CHECK;
enum err pq_read(struct pq_worker *w, uint64_t id, int64_t from, int64_t to, struct promql_points *ret) MUST_CHECK;
void pq_split_points(struct pq_worker *w, const struct pq_node *sel, const struct promql_points *p,
                     struct pq_series_buf *ret);
/* Times a selector reads, for all of tl. */
void pq_selector_span(const struct pq_node *n, const struct pq_tl *tl, int64_t lookback_ms, int64_t *from, int64_t *to);

/* ---- range functions ---- */
struct pq_win { /* one window of one series */
    struct pq_worker *w;
    const struct pq_rows *rows;
    const struct pq_node *arg; /* the range vector argument */
    struct labels labels;
    size_t step;
    int64_t ts, range_start, range_end;
    const int64_t *ft, *ht, *fst, *hst;
    const double *fv;
    const struct histogram *const *hh;
    size_t nf, nh;
};
/* Gives false: no sample. A histogram result goes to *reth. Errors through pq_fail. */
typedef bool pq_win_fn(const struct pq_win *w, double *ret, const struct histogram **reth);
struct pq_range_fn {
    pq_win_fn *win;
    /* floats without staleness, histograms or start timestamps: all steps at once; NULL: win for each */
    void (*fast)(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                 const struct pq_bounds *bd, const struct pq_rate_pre *pre, double *out);
    bool keep_name, rate, counter; /* rate: wants pq_rate_pre */
    bool per_second, anchored_ok, smoothed_ok;
    bool start_times; /* looks at start timestamps */
};
const struct pq_range_fn *pq_range_fn_of(enum promql_fn fn); /* NULL: not a range function */
pq_win_fn pq_win_rate, pq_win_increase, pq_win_delta, pq_win_irate, pq_win_idelta, pq_win_resets, pq_win_changes;
void pq_fast_rate(struct pq_worker *w, const struct pq_rows *r, const struct pq_series_buf *b,
                  const struct pq_bounds *bd, const struct pq_rate_pre *pre, double *out);
/* increase (or delta) of a run of samples, scaled to the range (start, end]: what lies before the first and after the
 * last of them is extrapolated. diff has the resets in it. */
double pq_rate_factor(int64_t first_t, int64_t last_t, size_t gaps, int64_t start, int64_t end, double first,
                      double diff, bool counter);
void pq_rate_prepare(const struct pq_rows *r, const int64_t *ts, const struct pq_bounds *bd, struct pq_rate_pre *pre);
/* Samples of a plain `m[5m] anchored` / `smoothed`: boundary values made up. */
size_t pq_extend_floats(const int64_t *t, const double *v, size_t n, int64_t from, int64_t to, bool smoothed,
                        int64_t *out_t, double *out_v);

/* ---- rollups (promql_rollup.c): rows of series whose older samples are only there as windows ---- */
/* row holds what the samples alone give; the steps that look at windows are computed anew. */
enum err pq_rolled_instant(struct pq_worker *w, const struct pq_rows *r, size_t i, const struct promql_points *p,
                           struct pq_row *row) MUST_CHECK;
enum err pq_rolled_range(struct pq_worker *w, const struct pq_rows *r, size_t i, const struct promql_points *p,
                         struct pq_row *row) MUST_CHECK;
/* The last sample of every window, at its time, before the samples in *io. In w->a. */
void pq_rolled_flatten(struct pq_worker *w, const struct pq_node *sel, struct promql_points *io, bool note);

/* ---- histograms (promql_hist.c): results live in a; NULL: the layouts cannot be combined ---- */
struct pq_hist_flags {
    bool collision;  /* one says reset, the other says not */
    bool reconciled; /* custom bounds differed */
};
struct histogram *pq_hist_add(struct arena *a, const struct histogram *x, const struct histogram *y,
                              struct pq_hist_flags *f);
struct histogram *pq_hist_sub(struct arena *a, const struct histogram *x, const struct histogram *y,
                              struct pq_hist_flags *f);
struct histogram *pq_hist_scale(struct arena *a, const struct histogram *h, double by);
struct histogram *pq_hist_div(struct arena *a, const struct histogram *h, double by);
struct histogram *pq_hist_compact(struct arena *a, struct histogram *h);
const struct histogram *pq_hist_to_schema(struct arena *a, const struct histogram *h, int32_t schema);
bool pq_hist_is_reset(const struct histogram *now, const struct histogram *before);
bool pq_hist_eq(const struct histogram *x, const struct histogram *y);
/* Between h1 at t1 and h2 at t2, at t; NULL (and a note) if they cannot be combined. */
const struct histogram *pq_hist_between(struct pq_worker *w, struct promql_pos pos, struct labels ls,
                                        const struct histogram *h1, int64_t t1, const struct histogram *h2, int64_t t2,
                                        int64_t t, bool counter);
void pq_hist_print(struct buf *out, const struct histogram *h); /* {count:.., sum:.., (1,2]:3} */
struct histogram *pq_hist_trim(struct arena *a, const struct histogram *h, double at, bool upper);
/* Sum or mean of histograms, with compensation (Kahan) of every number; the mean turns incremental on overflow. */
struct pq_hist_acc {
    struct hist_sum s;
    double count;
    bool mean, incremental, reset_seen, no_reset_seen, reconciled, failed;
};
void pq_hist_acc_init(struct pq_hist_acc *acc, struct arena *a, bool mean);
bool pq_hist_acc_add(struct pq_hist_acc *acc, const struct histogram *h); /* false: cannot be combined */
bool pq_hist_acc_merge(struct pq_hist_acc *to, const struct pq_hist_acc *from);
struct histogram *pq_hist_acc_result(struct pq_hist_acc *acc);

/* ---- evaluation ---- */
enum err pq_eval(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret) MUST_CHECK;
enum err pq_eval_scalar(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl,
                        const double **ret) MUST_CHECK;
enum err pq_eval_agg(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret) MUST_CHECK;
struct pq_group_map {
    const uint32_t *of; /* group of each series */
    struct labels *labels;
    size_t n;
};
enum err pq_eval_agg_k(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, const struct pq_vec *in,
                       const struct pq_group_map *groups, const double *param, struct pq_vec *ret) MUST_CHECK;
enum err pq_check_agg_param(struct pq_run *r, const struct pq_node *node, const double *param, size_t steps,
                            bool *ret_empty) MUST_CHECK;
struct pq_pick { /* a sample in the heap of topk */
    double v;
    size_t series;
};
struct pq_heap { /* [0] is the one to be replaced first */
    struct pq_pick *p;
    size_t n;
    bool largest_first; /* bottomk */
};
void pq_heap_push(struct pq_heap *h, struct pq_pick x);
void pq_heap_fix_top(struct pq_heap *h);
void pq_heap_offer(struct pq_heap *h, size_t k, struct pq_pick x); /* keeps the k best */
void pq_heap_sort(struct pq_heap *h, struct pq_pick *tmp);         /* best first, stable */
bool pq_topk_streams(const struct pq_rows *rows, size_t n_groups, const double *param,
                     size_t *ret_k); /* are the heaps small? */
enum err pq_eval_topk(struct pq_run *r, const struct pq_node *n, const struct pq_rows *rows,
                      const struct pq_group_map *groups, const double *param, size_t k_max,
                      struct pq_vec *ret) MUST_CHECK;
enum err pq_eval_count_values(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl,
                              struct pq_vec *ret) MUST_CHECK;
enum err pq_eval_vector_binary(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl,
                               struct pq_vec *ret) MUST_CHECK;
enum err pq_eval_set_op(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl,
                        struct pq_vec *ret) MUST_CHECK;
enum err pq_eval_call(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret) MUST_CHECK;
enum err pq_eval_histogram_call(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl,
                                struct pq_vec *ret) MUST_CHECK;
enum err pq_eval_info(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret) MUST_CHECK;
enum err pq_eval_label_call(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl,
                            struct pq_vec *ret) MUST_CHECK;
enum err pq_eval_sort_call(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl,
                           struct pq_vec *ret) MUST_CHECK;
enum err pq_eval_absent(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl,
                        struct pq_vec *ret) MUST_CHECK;
bool pq_natural_less(str a, str b);

/* Element-wise functions: true if n is one; the scalars it needs are evaluated and the map is appended. */
bool pq_is_element_call(enum promql_fn fn);
enum err pq_push_element_call(struct pq_run *r, const struct pq_node *n, struct pq_rows *rows) MUST_CHECK;
enum err pq_map_negate(struct pq_worker *w, const struct pq_map *m, const struct pq_rows *r, size_t i,
                       struct pq_row *row);
enum err pq_map_scalar_binary(struct pq_worker *w, const struct pq_map *m, const struct pq_rows *r, size_t i,
                              struct pq_row *row);
enum err pq_map_histogram(struct pq_worker *w, const struct pq_map *m, const struct pq_rows *r, size_t i,
                          struct pq_row *row);

/* ---- binary operators on elements ---- */
struct pq_elem {
    double f;
    const struct histogram *h;
};
double pq_scalar_binary(enum promql_op op, double a, double b);
bool pq_op_changes_schema(enum promql_op op);
/* false: no result (a note says why, unless it is a plain mismatch). *keep: comparison holds. */
bool pq_elem_binary(struct pq_worker *w, struct promql_pos pos, enum promql_op op, struct pq_elem l, struct pq_elem r,
                    struct pq_elem *ret, bool *keep);

/* ---- numbers ---- */
/* Two doubles at once: what every 64-bit machine has. */
typedef double lanes __attribute__((vector_size(16)));
typedef int64_t lane_masks __attribute__((vector_size(16)));
static inline lanes pq_load(const double *p)
{
    lanes x;
    memcpy(&x, p, sizeof(x));
    return x;
}
static inline void pq_kahan(double inc, double *sum, double *c) /* Neumaier */
{
    double t = *sum + inc;
    if (__builtin_isinf(t))
        *c = 0;
    else if (__builtin_fabs(*sum) >= __builtin_fabs(inc))
        *c += (*sum - t) + inc;
    else
        *c += (inc - t) + *sum;
    *sum = t;
}
double pq_quantile(double q, double *values, size_t n); /* sorts values */
str pq_quote(struct arena *a, str s);                   /* as Go's %q */
void pq_quote_buf(struct buf *out, str s);

#endif
