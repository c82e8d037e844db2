/* PromQL: text -> checked plan -> result, over a source that the caller plugs in (Prometheus 3.x semantics).
 *
 *   struct promql_expr *e; promql_parse(&a, text, flags, &e, &errs)           promql_parse.c, ast.h
 *   struct promql_query q = { .text = ..., .from_ms = ..., ... };
 *   promql_exec(engine, src, &q, &arena, &result, &err)                       promql_exec.c
 *
 * Threads: an engine may run any number of queries at once. A result lives in the caller's arena. */
#ifndef VANE_PROMQL_PROMQL_H
#define VANE_PROMQL_PROMQL_H

#include <stdatomic.h>

#include "base/thread.h"
#include "model/matcher.h"
#include "model/rollup.h"
#include "model/sample.h"

/* ---- the source: what the language needs from a store ---- */
struct promql_points { /* the same meaning as the store's: ascending, duplicates resolved, stale markers included */
    const int64_t *ts;
    const double *v;
    const struct histogram *const *h; /* NULL: floats only; h[i] != NULL: sample i is a histogram */
    const int64_t *start_ms;          /* NULL: unknown */
    size_t n;
    uint64_t
        timeline; /* non-zero and equal to that of another read of this reader over the same time: equal ts arrays */
    /* Where samples have been given up: windows in order of their ends, floats before histograms, up to rolled_to_ms;
     * the samples begin behind it. Also the window that ends before from_ms, which stands for what comes next. */
    const struct rollup *roll;
    size_t n_roll;
    int64_t rolled_to_ms;
};
struct promql_series {
    struct labels labels;
    uint64_t id;
};
enum { PROMQL_AHEAD_FAR = 9, PROMQL_AHEAD_MID = 6, PROMQL_AHEAD_NEAR = 3 };
struct promql_view;   /* pinned for one query */
struct promql_reader; /* decode buffers of one thread */
struct promql_source {
    /* A consistent view of [from, to]. */
    enum err (*open)(struct promql_source *src, int64_t from_ms, int64_t to_ms, struct promql_view **ret);
    void (*close)(struct promql_view *v);
    /* Matching series sorted by labels, in a. Thread: the query's. */
    enum err (*select)(struct promql_view *v, const struct matcher *m, size_t n_matchers, int64_t from_ms,
                       int64_t to_ms, size_t series_max, struct arena *a, struct promql_series **ret, size_t *ret_n);
    struct promql_reader *(*reader_new)(struct promql_view *v);
    void (*reader_free)(struct promql_reader *r);
    /* All samples in [from, to] (both ends included); valid until the reader's next read. */
    enum err (*read)(struct promql_reader *r, uint64_t id, int64_t from_ms, int64_t to_ms, struct promql_points *ret);
    /* Series id will be read in so many reads from now (PROMQL_AHEAD_*): what it takes may be brought nearer. May be NULL. */
    void (*ahead)(struct promql_reader *r, uint64_t id, unsigned reads);
    /* true and a text if what was read is not everything (damaged page, replay in progress): becomes a warning. */
    bool (*incomplete)(struct promql_view *v, struct err_text *ret_why);
};

/* ---- feature flags, named as upstream's --enable-feature ---- */
enum promql_feature {
    PROMQL_EXPERIMENTAL_FUNCTIONS = 1 << 0, /* promql-experimental-functions */
    PROMQL_DURATION_EXPR = 1 << 1,          /* promql-duration-expr */
    PROMQL_EXTENDED_RANGE = 1 << 2,         /* promql-extended-range-selectors: anchored, smoothed */
    PROMQL_FILL = 1 << 3,                   /* promql-binop-fill-modifiers */
    PROMQL_TYPE_AND_UNIT = 1 << 4,          /* type-and-unit-labels */
    PROMQL_DELAYED_NAME_REMOVAL = 1 << 5,   /* promql-delayed-name-removal */
    PROMQL_START_TIMESTAMPS = 1 << 6,       /* use-start-timestamps */
    PROMQL_ALL = (1 << 7) - 1,
};

/* ---- running ---- */
struct promql_engine;
struct promql_engine_config {
    struct pool *pool;       /* for parallel evaluation; NULL = the calling thread only */
    int64_t lookback_ms;     /* default 5 min */
    size_t samples_max;      /* samples a query may hold at once; default 50 M */
    size_t series_max;       /* series a query may touch; default 10 M */
    size_t bytes_max;        /* memory of one query; default 1 GiB */
    int64_t timeout_ms;      /* default 2 min */
    unsigned features;       /* enum promql_feature */
    int64_t default_step_ms; /* of subqueries without a step; default 1 min */
};
void promql_engine_config_defaults(struct promql_engine_config *cfg);
struct promql_engine *promql_engine_new(const struct promql_engine_config *cfg);
void promql_engine_free(struct promql_engine *e);

struct promql_expr; /* ast.h */
struct promql_query {
    str text;
    const struct promql_expr *expr; /* the text parsed before, with the engine's features; NULL: it is parsed here */
    bool instant;                   /* from == to, step ignored */
    int64_t from_ms, to_ms, step_ms;
    int64_t timeout_ms;        /* 0 = the engine's; never above it */
    int64_t lookback_ms;       /* 0 = the engine's */
    const atomic_bool *cancel; /* set by another thread: the query ends with ERR_CANCELLED; may be NULL */
};

enum promql_type { PROMQL_NONE, PROMQL_SCALAR, PROMQL_VECTOR, PROMQL_MATRIX, PROMQL_STRING };
struct promql_point { /* one sample of a result */
    int64_t ts_ms;
    double v;
    const struct histogram *h; /* not NULL: a histogram */
};
struct promql_result_series {
    struct labels labels;
    struct promql_point *points; /* vector: exactly one */
    size_t n_points;
};
struct promql_note {
    bool info; /* info annotation, otherwise a warning */
    str text;  /* "PromQL warning: ... (1:5)" as the API renders it */
};
struct promql_stats {
    uint64_t samples_read, series_read, bytes_peak;
    uint64_t parse_ns, prepare_ns, exec_ns; /* wall */
};
struct promql_result {
    enum promql_type type; /* instant: scalar, vector, matrix, string; range: matrix */
    struct promql_result_series *series;
    size_t n_series;
    struct promql_point scalar;
    str string;
    int64_t string_ts_ms;
    struct promql_note *notes;
    size_t n_notes;
    struct promql_stats stats;
};
/* ERR_PARSE (bad query: reterr is upstream's text, "1:5: parse error: ..."), ERR_EXEC (evaluation failed),
 * ERR_LIMIT, ERR_TIMEOUT, ERR_CANCELLED, or what the source returned. Everything of ret lives in a. */
enum err promql_exec(struct promql_engine *e, struct promql_source *src, const struct promql_query *q, struct arena *a,
                     struct promql_result *ret, struct err_text *reterr) MUST_CHECK;

#endif
