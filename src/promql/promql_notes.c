/* Warnings and infos of a query, in upstream's words (Prometheus 3.x, util/annotations). A text is kept once, with
 * the position where it occurred first. Facts are stored, text is made at the end: adding is cheap enough for
 * inner loops. */
#include "promql/promql_int.h"

#define NOTES_MAX 10000 /* different ones; what comes after is dropped */

static bool note_same(const struct pq_note *x, const struct pq_note *y)
{
    return x->kind == y->kind && str_eq(x->a, y->a) && str_eq(x->b, y->b) && f64_bits(x->x) == f64_bits(y->x) &&
           f64_bits(x->y) == f64_bits(y->y);
}

static void note_merge(struct pq_note *into, const struct pq_note *n)
{
    if (into->kind != NOTE_FORCED_MONOTONICITY)
        return;
    into->min_bucket = n->min_bucket < into->min_bucket ? n->min_bucket : into->min_bucket;
    into->max_bucket = n->max_bucket > into->max_bucket ? n->max_bucket : into->max_bucket;
    into->max_diff = n->max_diff > into->max_diff ? n->max_diff : into->max_diff;
    into->from_ms = MIN(into->from_ms, n->from_ms);
    into->to_ms = MAX(into->to_ms, n->to_ms);
    into->count += n->count;
}

void pq_note_add(struct pq_notes *ns, const struct pq_note *n)
{
    if (ns->v.n > 0 && note_same(&ns->v.p[ns->last], n)) {
        note_merge(&ns->v.p[ns->last], n);
        return;
    }
    for (size_t i = 0; i < ns->v.n; i++)
        if (note_same(&ns->v.p[i], n)) {
            note_merge(&ns->v.p[i], n);
            ns->last = i;
            return;
        }
    if (ns->v.n >= NOTES_MAX)
        return;
    struct pq_note copy = *n;
    copy.a = n->a.n ? arena_str(ns->a, n->a) : STR("");
    copy.b = n->b.n ? arena_str(ns->a, n->b) : STR("");
    ns->last = ns->v.n;
    avec_push(ns->a, &ns->v, copy);
}

void pq_notes_merge(struct pq_notes *into, const struct pq_notes *from)
{
    for (size_t i = 0; i < from->v.n; i++)
        pq_note_add(into, &from->v.p[i]);
}

static bool note_is_info(enum pq_note_kind k)
{
    switch (k) {
    case NOTE_POSSIBLE_NON_COUNTER:
    case NOTE_POSSIBLE_NON_COUNTER_TYPE:
    case NOTE_FORCED_MONOTONICITY:
    case NOTE_INCOMPATIBLE_TYPES:
    case NOTE_HISTOGRAM_IGNORED_AGG:
    case NOTE_HISTOGRAM_IGNORED_RANGE:
    case NOTE_QUANTILE_NAN:
    case NOTE_QUANTILE_NAN_SKEW:
    case NOTE_FRACTION_NAN:
    case NOTE_BOUNDS_RECONCILED:
    case NOTE_ROLLUP:
    case NOTE_ROLLUP_LAST:
    case NOTE_ROLLUP_SHORT:
    case NOTE_ROLLUP_NONE:
        return true;
    default:
        return false;
    }
}

/* Go's %g: shortest digits, exponent below -4 and from 21. */
static void put_g(struct buf *b, double v)
{
    buf_f64_g(b, v);
}
static void put_q(struct buf *b, str s)
{
    pq_quote_buf(b, s);
}
static void put_for_metric(struct buf *b, str metric)
{
    if (metric.n) {
        buf_lit(b, " for metric name ");
        put_q(b, metric);
    }
}

static void put_time(struct buf *b, int64_t ms) /* RFC 3339 in seconds */
{
    struct buf t;
    buf_init(&t, 64);
    buf_rfc3339_ms(&t, ms - (ms % 1000 + 1000) % 1000);
    str s = buf_str(&t);
    size_t dot = str_find_char(s, '.');
    buf_str_add(b, str_take(s, dot == SIZE_MAX ? s.n : dot));
    if (dot != SIZE_MAX)
        buf_lit(b, "Z");
    buf_deinit(&t);
}

static void put_monotonicity(struct buf *b, const struct pq_note *n)
{
    buf_lit(b, "input to histogram_quantile needed to be fixed for monotonicity (see "
               "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)");
    put_for_metric(b, n->a);
    buf_lit(b, ", from buckets ");
    put_g(b, n->min_bucket);
    buf_lit(b, " to ");
    put_g(b, n->max_bucket);
    buf_printf(b, ", with a max diff of %.2g, over %zu samples from ", n->max_diff, n->count);
    put_time(b, n->from_ms);
    buf_lit(b, " to ");
    put_time(b, n->to_ms);
}

static void put_rollup(struct buf *b, const struct pq_note *n)
{
    buf_lit(b, "rollups of resolution ");
    buf_duration(b, (int64_t)n->x);
    buf_lit(b, " were used where samples are no longer kept");
    if (n->kind == NOTE_ROLLUP)
        return;
    buf_lit(b, ": ");
    buf_str_add(b, n->a);
    if (n->kind == NOTE_ROLLUP_LAST) {
        buf_lit(b, " looks at the last sample of each window");
        return;
    }
    buf_lit(b, " over ");
    buf_duration(b, (int64_t)n->y);
    buf_str_add(b, n->kind == NOTE_ROLLUP_SHORT ? STR(" is less than one window, the whole window stands for it")
                                                : STR(" is less than one window and has no answer there"));
}

static void put_text(struct buf *b, const struct pq_note *n)
{
    switch (n->kind) {
    case NOTE_INVALID_QUANTILE:
        buf_lit(b, "quantile value should be between 0 and 1, got ");
        put_g(b, n->x);
        break;
    case NOTE_INVALID_RATIO:
        buf_lit(b, "ratio value should be between -1 and 1, got ");
        put_g(b, n->x);
        buf_lit(b, ", capping to ");
        put_g(b, n->y);
        break;
    case NOTE_BAD_BUCKET_LABEL:
        buf_lit(b, "bucket label \"le\" is missing or has a malformed value of ");
        put_q(b, n->a);
        put_for_metric(b, n->b);
        break;
    case NOTE_MIXED_FLOATS_HISTOGRAMS:
        buf_lit(b, "encountered a mix of histograms and floats for metric name ");
        put_q(b, n->a);
        break;
    case NOTE_MIXED_IN_AGGREGATION:
        buf_lit(b, "encountered a mix of histograms and floats for aggregation");
        break;
    case NOTE_MIXED_CLASSIC_NATIVE:
        buf_lit(b, "vector contains a mix of classic and native histograms");
        put_for_metric(b, n->a);
        break;
    case NOTE_NOT_COUNTER:
        buf_lit(b, "this native histogram metric is not a counter: ");
        put_q(b, n->a);
        break;
    case NOTE_NOT_GAUGE:
        buf_lit(b, "this native histogram metric is not a gauge: ");
        put_q(b, n->a);
        break;
    case NOTE_MIXED_EXPONENTIAL_CUSTOM:
        buf_lit(b, "vector contains a mix of histograms with exponential and custom buckets schemas for metric name ");
        put_q(b, n->a);
        break;
    case NOTE_INCOMPATIBLE_BUCKETS:
        buf_lit(b, "incompatible bucket layout encountered for binary operator ");
        buf_str_add(b, n->a);
        break;
    case NOTE_RESET_COLLISION:
        buf_lit(b, "conflicting counter resets during histogram ");
        buf_str_add(b, n->a);
        break;
    case NOTE_START_OVERLAP:
        buf_lit(b, "sample has start time that overlaps with previous sample timestamp for metric ");
        put_q(b, n->a);
        break;
    case NOTE_POSSIBLE_NON_COUNTER:
        buf_lit(b, "metric might not be a counter, name does not end in _total/_sum/_count/_bucket: ");
        put_q(b, n->a);
        break;
    case NOTE_POSSIBLE_NON_COUNTER_TYPE:
        buf_lit(b, "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got ");
        put_q(b, n->a);
        buf_lit(b, ": ");
        put_q(b, n->b);
        break;
    case NOTE_FORCED_MONOTONICITY:
        put_monotonicity(b, n);
        break;
    case NOTE_INCOMPATIBLE_TYPES:
        buf_lit(b, "incompatible sample types encountered for binary operator ");
        put_q(b, n->b);
        buf_lit(b, ": ");
        buf_str_add(b, n->a);
        break;
    case NOTE_HISTOGRAM_IGNORED_AGG:
        buf_lit(b, "ignored histogram in ");
        buf_str_add(b, n->a);
        buf_lit(b, " aggregation");
        break;
    case NOTE_HISTOGRAM_IGNORED_RANGE:
        buf_lit(b, "ignored histograms in a range containing both floats and histograms for metric name ");
        put_q(b, n->a);
        break;
    case NOTE_QUANTILE_NAN:
        buf_lit(b, "input to histogram_quantile has NaN observations, result is NaN");
        put_for_metric(b, n->a);
        break;
    case NOTE_QUANTILE_NAN_SKEW:
        buf_lit(b, "input to histogram_quantile has NaN observations, result is skewed higher");
        put_for_metric(b, n->a);
        break;
    case NOTE_FRACTION_NAN:
        buf_lit(b, "input to histogram_fraction has NaN observations, which are excluded from all fractions");
        put_for_metric(b, n->a);
        break;
    case NOTE_BOUNDS_RECONCILED:
        buf_lit(b, "mismatched custom buckets were reconciled during ");
        buf_str_add(b, n->a);
        break;
    case NOTE_ROLLUP:
    case NOTE_ROLLUP_LAST:
    case NOTE_ROLLUP_SHORT:
    case NOTE_ROLLUP_NONE:
        put_rollup(b, n);
        break;
    case NOTE_TEXT:
        buf_str_add(b, n->a);
        break;
    }
}

struct promql_note *pq_notes_render(const struct pq_notes *ns, str query, struct arena *a, size_t *ret_n)
{
    struct promql_note *ret = arena_array(a, struct promql_note, ns->v.n + 1);
    struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < ns->v.n; i++) {
        const struct pq_note *n = &ns->v.p[i];
        buf_clear(&b);
        if (n->kind != NOTE_TEXT)
            buf_str_add(&b, note_is_info(n->kind) ? STR("PromQL info: ") : STR("PromQL warning: "));
        put_text(&b, n);
        if (n->kind != NOTE_TEXT) {
            unsigned line, col;
            promql_pos_line_col(query, n->pos.start, &line, &col);
            buf_printf(&b, " (%u:%u)", line, col);
        }
        ret[i] = (struct promql_note){ note_is_info(n->kind), arena_str(a, buf_str(&b)) };
    }
    buf_deinit(&b);
    *ret_n = ns->v.n;
    return ret;
}
