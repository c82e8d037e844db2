/* The checked syntax tree of PromQL (Prometheus 3.x): what promql_parse() makes, the printers print and the
 * planner reads. It is const after parsing and may be shared by any number of threads.
 *
 * Nodes live in the arena that was given to promql_parse(); names and strings may borrow from the query text,
 * so the text must outlive the tree. Regular expressions of matchers do not live in the arena:
 * promql_expr_deinit() frees them.
 *
 * One struct for all nodes; which member of the union is valid follows from `kind`. Every node carries the
 * bytes of the text it came from (errors and annotations point at them). */
#ifndef VANE_PROMQL_AST_H
#define VANE_PROMQL_AST_H

#include "promql/promql.h"
#include "promql/promql_functions.h"

#define PROMQL_TEXT_BYTES_MAX (256 * 1024)
#define PROMQL_DEPTH_MAX      1024  /* nesting of a tree, so also of recursion over it */
#define PROMQL_NODES_MAX      65536 /* nodes of a tree */

struct promql_pos { /* bytes of the query text, end exclusive */
    uint32_t start, end;
};

enum promql_kind {
    PQ_NUMBER,
    PQ_STRING,
    PQ_VECTOR,   /* vector selector */
    PQ_MATRIX,   /* range selector over a vector selector */
    PQ_SUBQUERY, /* expr[range:step] */
    PQ_UNARY,    /* of scalar or vector; signs of number literals are folded away */
    PQ_BINARY,
    PQ_AGG,
    PQ_CALL,
    PQ_PAREN,
    PQ_DURATION, /* duration arithmetic; only below promql_dur.expr, together with PQ_NUMBER (seconds) */
};

enum promql_op {
    PQ_ADD,
    PQ_SUB,
    PQ_MUL,
    PQ_DIV,
    PQ_MOD,
    PQ_POW,
    PQ_ATAN2,
    PQ_TRIM_UPPER, /* "</": histogram buckets above are cut away */
    PQ_TRIM_LOWER, /* ">/" */
    PQ_EQ,
    PQ_NE,
    PQ_LT,
    PQ_LE,
    PQ_GT,
    PQ_GE,
    PQ_AND,
    PQ_OR,
    PQ_UNLESS,
};
static inline bool promql_op_is_comparison(enum promql_op op)
{
    return op >= PQ_EQ && op <= PQ_GE;
}
static inline bool promql_op_is_set(enum promql_op op)
{
    return op >= PQ_AND;
}
const char *promql_op_text(enum promql_op op); /* "+", "and" */

enum promql_agg_op {
    PQ_AGG_SUM,
    PQ_AGG_AVG,
    PQ_AGG_COUNT,
    PQ_AGG_MIN,
    PQ_AGG_MAX,
    PQ_AGG_GROUP,
    PQ_AGG_STDDEV,
    PQ_AGG_STDVAR,
    PQ_AGG_TOPK,
    PQ_AGG_BOTTOMK,
    PQ_AGG_QUANTILE,
    PQ_AGG_COUNT_VALUES,
    PQ_AGG_LIMITK,      /* experimental */
    PQ_AGG_LIMIT_RATIO, /* experimental */
};
#define PQ_AGG_COUNT_OPS (PQ_AGG_LIMIT_RATIO + 1)
const char *promql_agg_text(enum promql_agg_op op); /* "sum" */

enum promql_dur_op {
    PQ_DUR_ADD,
    PQ_DUR_SUB,
    PQ_DUR_MUL,
    PQ_DUR_DIV,
    PQ_DUR_MOD,
    PQ_DUR_POW,
    PQ_DUR_MIN,
    PQ_DUR_MAX,
    PQ_DUR_STEP,
    PQ_DUR_RANGE
};

struct promql_expr;

/* A duration as it stands in the text: a constant, or (expr != NULL) something to be computed with
 * promql_duration_eval() when the step and range of the query are known; ms is 0 then. */
struct promql_dur {
    int64_t ms;
    const struct promql_expr *expr;
};

enum promql_at { PQ_AT_NONE, PQ_AT_TS, PQ_AT_START, PQ_AT_END };
/* What may follow a selector or subquery. */
struct promql_when {
    struct promql_dur offset; /* negative: into the future */
    enum promql_at at;
    int64_t at_ms; /* PQ_AT_TS */
};

struct promql_number {
    double v;
    bool is_duration; /* was written as a duration: prints as one */
};
struct promql_vector_sel {
    str name;                       /* metric name outside the braces; n == 0: none */
    const struct matcher *matchers; /* the __name__ matcher of `name` is the last of them */
    size_t n_matchers;
    struct promql_when when;
    bool anchored, smoothed;
};
struct promql_matrix_sel {
    const struct promql_expr *vector; /* PQ_VECTOR; offset, @, anchored, smoothed stand there */
    struct promql_dur range;
};
struct promql_subquery {
    const struct promql_expr *expr;
    struct promql_dur range, step; /* step 0 without expr: the engine's default */
    struct promql_when when;
};
struct promql_unary {
    bool negative; /* false: a plus sign, which changes nothing but drops nothing either */
    const struct promql_expr *expr;
};
enum promql_card {
    PQ_ONE_TO_ONE,
    PQ_MANY_TO_ONE /* group_left */,
    PQ_ONE_TO_MANY /* group_right */,
    PQ_MANY_TO_MANY /* set operators */
};
struct promql_matching { /* only between vectors */
    enum promql_card card;
    bool on;          /* labels are the ones to match on; otherwise the ones to ignore */
    bool is_explicit; /* on() or ignoring() was written */
    const str *labels;
    size_t n_labels;
    const str *include; /* group_left(...) */
    size_t n_include;
    bool has_fill_left, has_fill_right;
    double fill_left, fill_right;
};
struct promql_binary {
    enum promql_op op;
    bool return_bool;
    const struct promql_expr *lhs, *rhs;
    bool vector_matching; /* both sides are vectors: `match` is meaningful */
    struct promql_matching match;
    struct promql_pos op_pos; /* of the operator and its bool modifier */
};
struct promql_agg {
    enum promql_agg_op op;
    const struct promql_expr *expr;
    const struct promql_expr *param; /* NULL: the operator takes none */
    const str *grouping;
    size_t n_grouping;
    bool without;
};
struct promql_call {
    enum promql_fn fn;
    const struct promql_expr *const *args;
    size_t n_args;
};
struct promql_dur_expr {
    enum promql_dur_op op;
    const struct promql_expr *lhs, *rhs; /* lhs NULL: the sign of rhs (ADD, SUB); both NULL: step(), range() */
    bool wrapped;                        /* stood in parentheses */
};

struct promql_expr {
    enum promql_kind kind;
    enum promql_type type; /* of the value */
    struct promql_pos pos;
    uint32_t depth; /* 1 + the deepest child */
    union {
        struct promql_number number;
        str string; /* unescaped */
        struct promql_vector_sel vector;
        struct promql_matrix_sel matrix;
        struct promql_subquery subquery;
        struct promql_unary unary;
        struct promql_binary binary;
        struct promql_agg agg;
        struct promql_call call;
        const struct promql_expr *paren;
        struct promql_dur_expr dur;
    };
};

struct promql_parse_error {
    struct promql_pos pos;
    str msg;
};
struct promql_parse_errors {
    const struct promql_parse_error *p; /* in the order in which they were found; at least one on ERR_PARSE */
    size_t n;
};

/* Parse and type-check.
 *   text      at most PROMQL_TEXT_BYTES_MAX; borrowed by the tree
 *   features  enum promql_feature bits that decide what the grammar allows
 *   reterrs   may be NULL: all errors, for tools; users see the first, as promql_parse_text() writes it
 * Returns ERR_PARSE (bad text), ERR_LIMIT (too long, deep or large; one error says so). */
enum err promql_parse(struct arena *a, str text, unsigned features, const struct promql_expr **ret,
                      struct promql_parse_errors *reterrs) MUST_CHECK;
/* The same, with the first error as the API words it: "1:5: parse error: unexpected ...". */
enum err promql_parse_text(struct arena *a, str text, unsigned features, const struct promql_expr **ret,
                           struct err_text *reterr) MUST_CHECK;
/* A metric selector alone ("match[]" of the API): no offset, no @. Matchers live in a, regexes until
 * promql_matchers_deinit(). */
enum err promql_parse_selector(struct arena *a, str text, struct matcher **ret, size_t *ret_n,
                               struct err_text *reterr) MUST_CHECK;
void promql_matchers_deinit(struct matcher *m, size_t n);
/* Frees the regular expressions below e (NULL is fine). */
void promql_expr_deinit(const struct promql_expr *e);

/* "LINE:COL" of byte `at` (both from 1; columns count bytes). */
void promql_pos_line_col(str text, uint32_t at, unsigned *ret_line, unsigned *ret_col);
/* Same meaning: positions and superfluous detail of writing are left out. */
bool promql_expr_eq(const struct promql_expr *a, const struct promql_expr *b);

/* Direct children in the order of evaluation, those of durations left out; writes up to `max`, returns how many. */
size_t promql_children(const struct promql_expr *e, const struct promql_expr **ret, size_t max);

/* Compute a duration expression: step() and range() are those of the query (instant query: step 0, range 0).
 * ERR_EXEC with the text upstream gives (division by zero, out of range, not positive where it must be). */
enum err promql_duration_eval(const struct promql_dur *d, int64_t step_ms, int64_t range_ms, bool must_be_positive,
                              int64_t *ret_ms, struct err_text *reterr) MUST_CHECK;

/* ---- printing (promql_print.c) ---- */
void promql_print(struct buf *out, const struct promql_expr *e); /* canonical, one line */
#define PROMQL_PRETTY_COLUMNS 100
void promql_print_pretty(struct buf *out, const struct promql_expr *e, size_t columns);
void promql_print_json(struct json_out *j, const struct promql_expr *e); /* /api/v1/parse_query */

#endif
