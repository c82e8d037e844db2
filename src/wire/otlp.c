/* OTLP metrics: protobuf -> batch, and the answers (manual: otlp.h).
 * Proto: opentelemetry/proto/metrics/v1/metrics.proto; field numbers are in the enums below.
 *
 * A message's fields may come in any order, so containers are walked twice: first for what describes them (resource,
 * scope, name, temporality), then for their children. Nothing is copied on the way; the second walk of a container only
 * skips over lengths.
 *
 * Labels of a series are merged from three levels, each prepared once:
 *   resource   job, instance, promoted attributes
 *   scope      otel_scope_*
 *   point      attributes, sanitised (names through a cache), joined with ';' where they meet
 * An attribute yields to nothing but scope, job, instance and the labels that make the series (__name__, le, quantile);
 * promoted attributes yield to it. JSON bodies are turned into protobuf first (otlp_json.c). */
#include "wire/otlp.h"

#include <math.h>
#include <stdio.h>

#include "base/check.h"
#include "wire/expo_int.h"
#include "wire/otlp_int.h"
#include "wire/wire_int.h"

enum { METRIC_NAME = 1, METRIC_DESCRIPTION = 2, METRIC_UNIT = 3 };
enum { DATA_GAUGE = 5, DATA_SUM = 7, DATA_HISTOGRAM = 9, DATA_EXP_HISTOGRAM = 10, DATA_SUMMARY = 11 };
enum { AGGREGATION_DELTA = 1, AGGREGATION_CUMULATIVE = 2 };
enum { FLAG_NO_RECORDED_VALUE = 1 };
enum { EXEMPLAR_RUNES_MAX = 128, TARGET_INFO_STEP_MS = 150000, TARGET_INFO_SAMPLES_MAX = 1000 };
static const double zero_threshold_default = 1e-128;

#define MAP_NAME    names
#define MAP_KEY     str
#define MAP_VALUE   str
#define MAP_HASH(k) hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

struct label_list {
    struct label *p;
    size_t n, cap;
};

struct dec {
    struct arena *a;
    const struct otlp_options *opt;
    struct batch *out;
    struct wire_rejects *rejects;
    struct names names;            /* attribute name -> label name; p == NULL: refused */
    bool utf8, suffixes;
    RUN(struct label) labels;
    RUN(struct sample) samples;
    RUN(struct hist_sample) hists;
    RUN(struct exemplar) exemplars;
    RUN(int64_t) starts;
    /* resource */
    struct otlp_attrs resource_attrs;
    const struct labels *resource; /* NULL if there are none */
    struct label_list fixed;       /* job, instance, otel_scope_*: win over attributes */
    size_t n_fixed_resource;       /* of these: the resource's */
    struct label_list promoted;    /* lose against attributes */
    int64_t first_ms, last_ms;     /* of the resource's points */
    /* metric */
    str metric_name, family, sum_name, count_name, bucket_name;
    struct metric_meta meta;
    enum temporality temporality;
    bool cumulative_kind;          /* its start timestamps mean something */
    /* point */
    struct otlp_attrs attrs;
    struct label_list base;        /* sorted, without __name__ */
    VEC(double) bounds;
    VEC(double) le_of;             /* bounds that le holds the texts of */
    VEC(str) le;
    VEC(uint64_t) counts;
    VEC(struct exemplar) point_exemplars;
};

struct point { /* what the four kinds have in common */
    uint64_t start_ns, time_ns;
    uint32_t flags;
};

/* ---- refusals ---- */

static void reject(struct dec *d, size_t points, const struct err_text *why)
{
    d->rejects->samples += points;
    if (!d->rejects->first.msg[0])
        IGNORE_ERR(err_fail(&d->rejects->first, ERR_INVALID, "metric \"" STR_FMT "\": %s",
                            STR_ARG(str_take(d->metric_name, 100)), why->msg));
}
#define REJECT(d, points, ...)                                     \
    do {                                                           \
        struct err_text why_;                                      \
        IGNORE_ERR(err_fail(&why_, ERR_INVALID, __VA_ARGS__));     \
        reject((d), (points), &why_);                              \
    } while (0)

/* ---- labels ---- */

static struct label *list_find(struct label_list *l, str name)
{
    for (size_t i = 0; i < l->n; i++)
        if (str_eq(l->p[i].name, name))
            return &l->p[i];
    return NULL;
}
static void list_set(struct dec *d, struct label_list *l, str name, str value)
{
    struct label *old = list_find(l, name);
    if (old)
        old->value = value;
    else
        avec_push(d->a, l, ((struct label){ name, value }));
}

/* The label name of an attribute, STR_NONE if it has none. */
static str label_name(struct dec *d, str attr)
{
    bool fresh;
    str *slot = names_put(&d->names, attr, &fresh);
    if (!fresh)
        return *slot;
    struct otlp_label_options o = { d->utf8, d->opt->label_name_preserve_multiple_underscores,
                                    d->opt->label_name_underscore_sanitization };
    str name;
    if (otlp_label_name(d->a, attr, &o, &name, NULL) != OK || !wire_utf8_ok(name))
        name = STR_NONE;
    *slot = name;
    return name;
}

static void attrs_sort(struct otlp_attrs *at)
{
    for (size_t i = 1; i < at->n; i++)
        for (size_t k = i; k > 0 && str_cmp(at->p[k - 1].key, at->p[k].key) > 0; k--) {
            struct otlp_attr swap = at->p[k];
            at->p[k] = at->p[k - 1];
            at->p[k - 1] = swap;
        }
}

/* Attributes as labels: names sanitised, values of names that meet joined in the order of the attribute names. */
static enum err attrs_to_labels(struct dec *d, struct otlp_attrs *at, struct label_list *out, struct err_text *why)
{
    if (at->n > d->opt->limits.labels_max)
        return err_fail(why, ERR_INVALID, "%zu attributes, at most %zu are allowed", at->n, d->opt->limits.labels_max);
    attrs_sort(at);
    for (size_t i = 0; i < at->n; i++) {
        str name = label_name(d, at->p[i].key);
        if (!name.p)
            return err_fail(why, ERR_INVALID, "the attribute name \"" STR_FMT "\" cannot be a label name",
                            STR_ARG(str_take(at->p[i].key, 100)));
        if (str_eq(name, LABEL_NAME))
            continue;
        struct label *old = list_find(out, name);
        if (!old)
            avec_push(d->a, out, ((struct label){ name, at->p[i].value }));
        else
            old->value = arena_printf(d->a, STR_FMT ";" STR_FMT, STR_ARG(old->value), STR_ARG(at->p[i].value));
    }
    return OK;
}

/* d->attrs -> d->base. */
static enum err point_labels(struct dec *d, struct err_text *why)
{
    d->base.n = 0;
    TRY(attrs_to_labels(d, &d->attrs, &d->base, why));
    for (size_t i = 0; i < d->promoted.n; i++)
        if (!list_find(&d->base, d->promoted.p[i].name))
            avec_push(d->a, &d->base, d->promoted.p[i]);
    for (size_t i = 0; i < d->fixed.n; i++)
        list_set(d, &d->base, d->fixed.p[i].name, d->fixed.p[i].value);
    TRY(labels_sort(d->base.p, &d->base.n, why));
    /* one more for the name, one for le or quantile */
    if (d->base.n + 2 > d->opt->limits.labels_max)
        return err_fail(why, ERR_INVALID, "%zu labels, at most %zu are allowed", d->base.n + 2, d->opt->limits.labels_max);
    str name = d->family;
    struct label with_name[1] = { { LABEL_NAME, name } };
    TRY(wire_labels_check((struct labels){ with_name, 1 }, &d->opt->limits, why));
    for (size_t i = 0; i < d->base.n; i++) {
        const struct label *l = &d->base.p[i];
        if (!wire_utf8_ok(l->value))
            return err_fail(why, ERR_INVALID, "the value of attribute \"" STR_FMT "\" is not valid UTF-8",
                            STR_ARG(str_take(l->name, 100)));
        if (l->name.n > d->opt->limits.label_name_bytes_max || l->value.n > d->opt->limits.label_value_bytes_max)
            return err_fail(why, ERR_INVALID, "attribute \"" STR_FMT "\" is too long: name %zu, value %zu bytes",
                            STR_ARG(str_take(l->name, 60)), l->name.n, l->value.n);
    }
    return OK;
}

/* base + __name__ + (extra) -> the open run of labels; base is sorted, and so is the result. */
static struct labels merge_labels(struct dec *d, str name, const struct label *extra)
{
    bool name_put = false, extra_put = extra == NULL;
    for (size_t i = 0; i < d->base.n; i++) {
        const struct label *l = &d->base.p[i];
        if (!name_put && str_cmp(LABEL_NAME, l->name) < 0) {
            RUN_PUSH(d->a, &d->labels, ((struct label){ LABEL_NAME, name }));
            name_put = true;
        }
        int c = extra_put ? -1 : str_cmp(extra->name, l->name);
        if (!extra_put && c <= 0) {
            if (!name_put && str_cmp(LABEL_NAME, extra->name) < 0) {
                RUN_PUSH(d->a, &d->labels, ((struct label){ LABEL_NAME, name }));
                name_put = true;
            }
            RUN_PUSH(d->a, &d->labels, *extra);
            extra_put = true;
            if (c == 0)
                continue;
        } else if (extra && str_eq(extra->name, l->name)) {
            continue;
        }
        RUN_PUSH(d->a, &d->labels, *l);
    }
    if (!name_put)
        RUN_PUSH(d->a, &d->labels, ((struct label){ LABEL_NAME, name }));
    if (!extra_put)
        RUN_PUSH(d->a, &d->labels, *extra);
    struct labels ls = { RUN_START(&d->labels), RUN_LEN(&d->labels) };
    RUN_CLOSE(&d->labels);
    return ls;
}

/* ---- one series with one point ---- */

static int64_t ms_of(uint64_t ns)
{
    return (int64_t)(ns / 1000000);
}

static struct batch_series *series_open(struct dec *d, str name, const struct label *extra, const struct point *pt)
{
    struct batch_series s = { .labels = merge_labels(d, name, extra), .meta = d->meta, .temporality = d->temporality,
                              .resource = d->resource };
    if (d->cumulative_kind && pt->start_ns && pt->start_ns <= pt->time_ns) {
        RUN_PUSH(d->a, &d->starts, ms_of(pt->start_ns));
        s.start_ms = RUN_START(&d->starts);
        RUN_CLOSE(&d->starts);
    }
    avec_push(d->a, &d->out->series, s);
    d->out->n_samples++;
    return &vec_last(&d->out->series);
}

static struct batch_series *emit(struct dec *d, str name, const struct label *extra, const struct point *pt, double v)
{
    if (pt->flags & FLAG_NO_RECORDED_VALUE)
        v = f64_from_bits(STALE_NAN_BITS);
    struct batch_series *s = series_open(d, name, extra, pt);
    RUN_PUSH(d->a, &d->samples, ((struct sample){ ms_of(pt->time_ns), v }));
    s->samples = RUN_START(&d->samples);
    s->n_samples = 1;
    RUN_CLOSE(&d->samples);
    return s;
}

static struct batch_series *emit_hist(struct dec *d, const struct point *pt, const struct histogram *h)
{
    struct batch_series *s = series_open(d, d->family, NULL, pt);
    RUN_PUSH(d->a, &d->hists, ((struct hist_sample){ ms_of(pt->time_ns), h }));
    s->hists = RUN_START(&d->hists);
    s->n_hists = 1;
    RUN_CLOSE(&d->hists);
    return s;
}

/* The point's exemplars with above < value <= upto. */
static void attach_exemplars(struct dec *d, struct batch_series *s, double above, double upto)
{
    vec_each(struct exemplar, ex, &d->point_exemplars)
        if (ex->v > above && ex->v <= upto)
            RUN_PUSH(d->a, &d->exemplars, *ex);
    s->exemplars = RUN_START(&d->exemplars);
    s->n_exemplars = RUN_LEN(&d->exemplars);
    d->out->n_exemplars += s->n_exemplars;
    RUN_CLOSE(&d->exemplars);
}

/* ---- exemplars ---- */

static size_t runes(str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((uint8_t)s.p[i] & 0xc0) != 0x80;
    return n;
}
static bool all_zero(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i])
            return false;
    return true;
}

/* trace_id, span_id and, as long as all of it stays within 128 characters, the filtered attributes. */
static void exemplar_labels(struct dec *d, struct exemplar *ex, str trace, str span, struct otlp_attrs *at)
{
    struct label_list l = { 0 };
    size_t total = 0;
    bool fits = true;
    if (!all_zero(trace))
        avec_push(d->a, &l, ((struct label){ STR("trace_id"), otlp_hex(d->a, trace) }));
    if (!all_zero(span))
        avec_push(d->a, &l, ((struct label){ STR("span_id"), otlp_hex(d->a, span) }));
    for (size_t i = 0; i < l.n; i++)
        total += l.p[i].name.n + l.p[i].value.n;
    for (size_t i = 0; i < at->n; i++) {
        total += runes(at->p[i].key) + runes(at->p[i].value);
        fits &= at->p[i].key.n && wire_utf8_ok(at->p[i].key) && wire_utf8_ok(at->p[i].value);
    }
    size_t own = l.n;
    for (size_t i = 0; i < at->n && fits && total <= EXEMPLAR_RUNES_MAX; i++)
        avec_push(d->a, &l, ((struct label){ at->p[i].key, at->p[i].value }));
    if (labels_sort(l.p, &l.n, NULL) != OK)
        l.n = own; /* an attribute came twice: sorted or not, the first two are not in question */
    ex->labels = (struct labels){ l.p, l.n };
}

static void exemplar_read(struct dec *d, struct pb m, struct pb *up)
{
    struct exemplar ex = { .v = NAN };
    struct otlp_attrs at = { 0 };
    str trace = STR_NONE, span = STR_NONE;
    while (pb_next(&m))
        switch (m.field) {
        case 2:
            ex.ts_ms = ms_of(pb_fixed64(&m));
            break;
        case 3:
            ex.v = pb_double(&m);
            break;
        case 4:
            span = pb_bytes(&m);
            break;
        case 5:
            trace = pb_bytes(&m);
            break;
        case 6:
            ex.v = (double)(int64_t)pb_fixed64(&m);
            break;
        case 7:
            otlp_attr_read(d->a, &at, pb_sub(&m), &m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    if (m.bad || ex.v != ex.v) {
        d->rejects->exemplars += !m.bad;
        return;
    }
    exemplar_labels(d, &ex, trace, span, &at);
    avec_push(d->a, &d->point_exemplars, ex);
}

/* ---- points ---- */

static void point_begin(struct dec *d)
{
    d->attrs.n = 0;
    d->point_exemplars.n = 0;
    d->counts.n = 0;
    d->bounds.n = 0;
}

/* Time, labels: what every point needs before it can become series. false: refused and counted. */
static bool point_ready(struct dec *d, const struct point *pt)
{
    struct err_text why;
    if (pt->time_ns == 0 || pt->time_ns > (uint64_t)INT64_MAX) {
        REJECT(d, 1, "a data point has no timestamp");
        return false;
    }
    if (point_labels(d, &why) != OK) {
        reject(d, 1, &why);
        return false;
    }
    int64_t ms = ms_of(pt->time_ns);
    d->first_ms = MIN(d->first_ms, ms);
    d->last_ms = MAX(d->last_ms, ms);
    return true;
}

static void number_point(struct dec *d, struct pb m, struct pb *up)
{
    struct point pt = { 0 };
    double v = 0;
    bool has_value = false;
    point_begin(d);
    while (pb_next(&m))
        switch (m.field) {
        case 2:
            pt.start_ns = pb_fixed64(&m);
            break;
        case 3:
            pt.time_ns = pb_fixed64(&m);
            break;
        case 4:
            v = pb_double(&m);
            has_value = true;
            break;
        case 5:
            exemplar_read(d, pb_sub(&m), &m);
            break;
        case 6:
            v = (double)(int64_t)pb_fixed64(&m);
            has_value = true;
            break;
        case 7:
            otlp_attr_read(d->a, &d->attrs, pb_sub(&m), &m);
            break;
        case 8:
            pt.flags = (uint32_t)pb_varint(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    if (m.bad)
        return;
    if (!has_value && !(pt.flags & FLAG_NO_RECORDED_VALUE)) {
        REJECT(d, 1, "a data point has no value");
        return;
    }
    if (!point_ready(d, &pt))
        return;
    if (v != v && !is_stale(v))
        v = f64_from_bits(NORMAL_NAN_BITS);
    attach_exemplars(d, emit(d, d->family, NULL, &pt, v), -HUGE_VAL, HUGE_VAL);
}

struct hist_point {
    struct point pt;
    uint64_t count;
    double sum;
    bool has_sum;
    /* exponential */
    int32_t scale;
    uint64_t zero_count;
    double zero_threshold;
    str positive, negative;
};

/* Bounds ascend and fit the counts; bounds of +Inf at the end are dropped. */
static enum err bounds_check(struct dec *d, struct err_text *why)
{
    size_t n = d->bounds.n;
    if (d->counts.n != n + 1 && !(d->counts.n == 0 && n == 0))
        return err_fail(why, ERR_INVALID, "%zu bucket counts for %zu bounds", d->counts.n, n);
    for (size_t i = 0; i < n; i++)
        if (d->bounds.p[i] != d->bounds.p[i] || (i && d->bounds.p[i] <= d->bounds.p[i - 1]))
            return err_fail(why, ERR_INVALID, "the bucket bounds do not ascend");
    if (n && d->bounds.p[n - 1] == HUGE_VAL) {
        d->bounds.n--;
        d->counts.p[n - 1] += d->counts.p[n];
        d->counts.n--;
    }
    return OK;
}

/* Texts of the bounds, made once for points that share them. */
static void le_texts(struct dec *d)
{
    size_t n = d->bounds.n;
    if (n == d->le_of.n && (n == 0 || memcmp(d->bounds.p, d->le_of.p, n * sizeof(double)) == 0))
        return;
    d->le_of.n = d->le.n = 0;
    for (size_t i = 0; i < n; i++) {
        avec_push(d->a, &d->le_of, d->bounds.p[i]);
        avec_push(d->a, &d->le, expo_openmetrics_float(d->a, d->bounds.p[i]));
    }
}

static void emit_classic(struct dec *d, const struct hist_point *h)
{
    double above = -HUGE_VAL;
    uint64_t total = 0;
    le_texts(d);
    if (h->has_sum)
        emit(d, d->sum_name, NULL, &h->pt, h->sum);
    emit(d, d->count_name, NULL, &h->pt, (double)h->count);
    for (size_t i = 0; i < d->bounds.n; i++) {
        struct label le = { LABEL_BUCKET, d->le.p[i] };
        total += d->counts.p[i];
        attach_exemplars(d, emit(d, d->bucket_name, &le, &h->pt, (double)total), above, d->bounds.p[i]);
        above = d->bounds.p[i];
    }
    struct label inf = { LABEL_BUCKET, STR("+Inf") };
    attach_exemplars(d, emit(d, d->bucket_name, &inf, &h->pt, (double)h->count), above, HUGE_VAL);
}

/* Dense counts whose first is bucket `index`, merged by 2^down, as spans and absolute counts without long gaps. */
static enum err side_from_counts(struct dec *d, int64_t index, unsigned down, int64_t shift, struct hist_side *ret,
                                 struct err_text *why)
{
    VEC(struct hist_span) spans = { 0 };
    VEC(double) buckets = { 0 };
    int64_t next = 0; /* bucket after the last one written */
    for (size_t i = 0; i < d->counts.n;) {
        int64_t at = (index + (int64_t)i) >> down;
        uint64_t sum = 0;
        for (; i < d->counts.n && (index + (int64_t)i) >> down == at; i++)
            sum += d->counts.p[i];
        if (sum == 0)
            continue;
        at += shift;
        if (at <= INT32_MIN || at >= INT32_MAX)
            return err_fail(why, ERR_INVALID, "the bucket offset is out of range");
        if (spans.n == 0 || at - next > 2)
            avec_push(d->a, &spans, ((struct hist_span){ (int32_t)(spans.n ? at - next : at), 0 }));
        else
            for (; next < at; next++, vec_last(&spans).length++)
                avec_push(d->a, &buckets, 0.0);
        avec_push(d->a, &buckets, (double)sum);
        vec_last(&spans).length++;
        next = at + 1;
    }
    if (buckets.n > HIST_BUCKETS_MAX)
        return err_fail(why, ERR_INVALID, "more than %d buckets", HIST_BUCKETS_MAX);
    *ret = (struct hist_side){ spans.p, spans.n, buckets.p, buckets.n };
    return OK;
}

static struct histogram *hist_new(struct dec *d, const struct hist_point *p, int32_t schema)
{
    struct histogram *h = arena_new(d->a, struct histogram);
    h->schema = schema;
    h->reset = d->temporality == TEMPORALITY_DELTA ? HIST_RESET_GAUGE : HIST_RESET_UNKNOWN;
    h->count = (double)p->count;
    h->sum = p->has_sum ? p->sum : 0;
    return h;
}

static enum err emit_native(struct dec *d, const struct hist_point *p, struct histogram *h, struct err_text *why)
{
    if (p->pt.flags & FLAG_NO_RECORDED_VALUE)
        *h = (struct histogram){ .sum = f64_from_bits(STALE_NAN_BITS) };
    else
        TRY(histogram_validate(h, why));
    attach_exemplars(d, emit_hist(d, &p->pt, h), -HUGE_VAL, HUGE_VAL);
    return OK;
}

static enum err emit_custom(struct dec *d, const struct hist_point *p, struct err_text *why)
{
    struct histogram *h = hist_new(d, p, HIST_SCHEMA_CUSTOM);
    double *custom = arena_array(d->a, double, d->bounds.n);
    if (d->bounds.n)
        memcpy(custom, d->bounds.p, d->bounds.n * sizeof(double));
    else if (p->count && d->counts.n == 0)
        avec_push(d->a, &d->counts, p->count); /* no buckets at all: everything is below +Inf */
    h->custom = custom;
    h->n_custom = d->bounds.n;
    TRY(side_from_counts(d, 0, 0, 0, &h->pos, why));
    return emit_native(d, p, h, why);
}

static void counts_read(struct dec *d, struct pb *m, enum pb_wire wire)
{
    struct pb v = pb_packed(m, wire);
    while (v.p < v.end) {
        uint64_t u = wire == PB_VARINT ? pb_varint_raw(&v) : pb_fixed64_raw(&v);
        avec_push(d->a, &d->counts, u);
    }
    pb_join(m, &v);
}

static void histogram_point(struct dec *d, struct pb m, struct pb *up)
{
    struct hist_point h = { 0 };
    point_begin(d);
    while (pb_next(&m))
        switch (m.field) {
        case 2:
            h.pt.start_ns = pb_fixed64(&m);
            break;
        case 3:
            h.pt.time_ns = pb_fixed64(&m);
            break;
        case 4:
            h.count = pb_fixed64(&m);
            break;
        case 5:
            h.sum = pb_double(&m);
            h.has_sum = true;
            break;
        case 6:
            counts_read(d, &m, PB_FIXED64);
            break;
        case 7: {
            struct pb v = pb_packed(&m, PB_FIXED64);
            while (v.p < v.end) {
                uint64_t u = pb_fixed64_raw(&v);
                avec_push(d->a, &d->bounds, f64_from_bits(u));
            }
            pb_join(&m, &v);
            break;
        }
        case 8:
            exemplar_read(d, pb_sub(&m), &m);
            break;
        case 9:
            otlp_attr_read(d->a, &d->attrs, pb_sub(&m), &m);
            break;
        case 10:
            h.pt.flags = (uint32_t)pb_varint(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    struct err_text why;
    if (m.bad || !point_ready(d, &h.pt))
        return;
    enum err e = bounds_check(d, &why);
    if (e == OK && d->opt->convert_histograms_to_custom)
        e = emit_custom(d, &h, &why);
    else if (e == OK)
        emit_classic(d, &h);
    if (e != OK)
        reject(d, 1, &why);
}

/* One side of an exponential histogram: Buckets {offset, bucket_counts}. OTLP's bucket i is (base^i, base^(i+1)],
 * the native histogram's is (base^(i-1), base^i]: hence the shift by one. */
static enum err exp_side(struct dec *d, str bytes, unsigned down, struct hist_side *ret, struct pb *up, struct err_text *why)
{
    struct pb m = pb_init(bytes);
    int64_t offset = 0;
    d->counts.n = 0;
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            offset = (int32_t)unzigzag(pb_varint(&m));
            break;
        case 2:
            counts_read(d, &m, PB_VARINT);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    return side_from_counts(d, offset, down, 1, ret, why);
}

static enum err emit_exponential(struct dec *d, const struct hist_point *p, struct pb *up, struct err_text *why)
{
    if (p->scale < HIST_SCHEMA_MIN)
        return err_fail(why, ERR_INVALID, "exponential histogram scale %d is below %d", p->scale, HIST_SCHEMA_MIN);
    int64_t down = p->scale > HIST_SCHEMA_MAX ? (int64_t)p->scale - HIST_SCHEMA_MAX : 0;
    struct histogram *h = hist_new(d, p, (int32_t)(p->scale - down));
    h->zero_count = (double)p->zero_count;
    h->zero_threshold = p->zero_threshold > 0 ? p->zero_threshold : zero_threshold_default;
    unsigned shift = (unsigned)MIN(down, 40);
    TRY(exp_side(d, p->positive, shift, &h->pos, up, why));
    TRY(exp_side(d, p->negative, shift, &h->neg, up, why));
    return emit_native(d, p, h, why);
}

static void exponential_point(struct dec *d, struct pb m, struct pb *up)
{
    struct hist_point h = { 0 };
    point_begin(d);
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            otlp_attr_read(d->a, &d->attrs, pb_sub(&m), &m);
            break;
        case 2:
            h.pt.start_ns = pb_fixed64(&m);
            break;
        case 3:
            h.pt.time_ns = pb_fixed64(&m);
            break;
        case 4:
            h.count = pb_fixed64(&m);
            break;
        case 5:
            h.sum = pb_double(&m);
            h.has_sum = true;
            break;
        case 6:
            h.scale = (int32_t)unzigzag(pb_varint(&m));
            break;
        case 7:
            h.zero_count = pb_fixed64(&m);
            break;
        case 8:
            h.positive = pb_bytes(&m);
            break;
        case 9:
            h.negative = pb_bytes(&m);
            break;
        case 10:
            h.pt.flags = (uint32_t)pb_varint(&m);
            break;
        case 11:
            exemplar_read(d, pb_sub(&m), &m);
            break;
        case 14:
            h.zero_threshold = pb_double(&m);
            break;
        default:
            pb_skip(&m);
        }
    struct err_text why;
    enum err e = OK;
    if (!m.bad && point_ready(d, &h.pt))
        e = emit_exponential(d, &h, &m, &why);
    pb_join(up, &m);
    if (e != OK)
        reject(d, 1, &why);
}

struct quantile {
    double q, v;
};

static void summary_point(struct dec *d, struct pb m, struct pb *up)
{
    struct hist_point h = { 0 };
    VEC(struct quantile) quantiles = { 0 };
    point_begin(d);
    while (pb_next(&m))
        switch (m.field) {
        case 2:
            h.pt.start_ns = pb_fixed64(&m);
            break;
        case 3:
            h.pt.time_ns = pb_fixed64(&m);
            break;
        case 4:
            h.count = pb_fixed64(&m);
            break;
        case 5:
            h.sum = pb_double(&m);
            break;
        case 6: {
            struct quantile q = { 0 };
            struct pb sub = pb_sub(&m);
            while (pb_next(&sub))
                if (sub.field == 1)
                    q.q = pb_double(&sub);
                else if (sub.field == 2)
                    q.v = pb_double(&sub);
                else
                    pb_skip(&sub);
            pb_join(&m, &sub);
            avec_push(d->a, &quantiles, q);
            break;
        }
        case 7:
            otlp_attr_read(d->a, &d->attrs, pb_sub(&m), &m);
            break;
        case 8:
            h.pt.flags = (uint32_t)pb_varint(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    if (m.bad || !point_ready(d, &h.pt))
        return;
    emit(d, d->sum_name, NULL, &h.pt, h.sum);
    emit(d, d->count_name, NULL, &h.pt, (double)h.count);
    vec_each(struct quantile, q, &quantiles) {
        struct label l = { LABEL_QUANTILE, expo_openmetrics_float(d->a, q->q) };
        emit(d, d->family, &l, &h.pt, q->v);
    }
}

/* ---- metrics ---- */

typedef void point_fn(struct dec *d, struct pb m, struct pb *up);
struct data_kind {
    uint32_t field;
    bool aggregated; /* has a temporality */
    enum otlp_metric_kind kind;
    enum metric_type type;
    point_fn *point;
};
static const struct data_kind data_kinds[] = {
    { DATA_GAUGE, false, OTLP_KIND_GAUGE, METRIC_GAUGE, number_point },
    { DATA_SUM, true, OTLP_KIND_SUM_NON_MONOTONIC, METRIC_GAUGE, number_point },
    { DATA_HISTOGRAM, true, OTLP_KIND_HISTOGRAM, METRIC_HISTOGRAM, histogram_point },
    { DATA_EXP_HISTOGRAM, true, OTLP_KIND_EXP_HISTOGRAM, METRIC_HISTOGRAM, exponential_point },
    { DATA_SUMMARY, false, OTLP_KIND_SUMMARY, METRIC_SUMMARY, summary_point },
};

struct metric {
    str name, description, unit, data;
    const struct data_kind *kind;
    uint64_t aggregation;
    bool monotonic;
    size_t n_points;
};

static const struct data_kind *kind_of(uint32_t field)
{
    for (size_t i = 0; i < ARRAY_LEN(data_kinds); i++)
        if (data_kinds[i].field == field)
            return &data_kinds[i];
    return NULL;
}

/* First walk over a Metric: everything but the points. */
static struct metric metric_head(struct pb m, struct pb *up)
{
    struct metric mt = { .name = STR("") };
    while (pb_next(&m)) {
        if (m.field == METRIC_NAME) {
            mt.name = pb_bytes(&m);
        } else if (m.field == METRIC_DESCRIPTION) {
            mt.description = pb_bytes(&m);
        } else if (m.field == METRIC_UNIT) {
            mt.unit = pb_bytes(&m);
        } else if (kind_of(m.field)) {
            mt.kind = kind_of(m.field);
            mt.data = pb_bytes(&m);
        } else {
            pb_skip(&m);
        }
    }
    struct pb data = pb_init(mt.data);
    while (pb_next(&data))
        if (data.field == 2 && data.wire == PB_VARINT) {
            mt.aggregation = pb_varint(&data);
        } else if (data.field == 3 && data.wire == PB_VARINT) {
            mt.monotonic = pb_varint(&data) != 0;
        } else {
            mt.n_points += data.field == 1;
            pb_skip(&data);
        }
    pb_join(&m, &data);
    pb_join(up, &m);
    return mt;
}

/* Name and metadata of a metric, before its points. */
static enum err metric_begin(struct dec *d, const struct metric *mt, struct err_text *why)
{
    bool sum = mt->kind->field == DATA_SUM, counter = sum && mt->monotonic;
    if (mt->kind->aggregated && mt->aggregation != AGGREGATION_DELTA && mt->aggregation != AGGREGATION_CUMULATIVE)
        return err_fail(why, ERR_INVALID, "the aggregation temporality is not specified");
    if (!wire_utf8_ok(mt->name))
        return err_fail(why, ERR_INVALID, "the name is not valid UTF-8");
    struct otlp_name_options o = { d->utf8, d->suffixes, STR_NONE };
    TRY(otlp_metric_name(d->a, mt->name, mt->unit, counter ? OTLP_KIND_SUM_MONOTONIC : mt->kind->kind, &o, &d->family, why));
    bool parts = mt->kind->field == DATA_HISTOGRAM || mt->kind->field == DATA_SUMMARY;
    if (parts) {
        d->sum_name = arena_printf(d->a, STR_FMT "_sum", STR_ARG(d->family));
        d->count_name = arena_printf(d->a, STR_FMT "_count", STR_ARG(d->family));
        d->bucket_name = arena_printf(d->a, STR_FMT "_bucket", STR_ARG(d->family));
    }
    d->meta.type = counter ? METRIC_COUNTER : mt->kind->type;
    d->meta.help = wire_utf8_ok(mt->description) ? mt->description : STR_NONE;
    d->meta.unit = wire_utf8_ok(mt->unit) ? otlp_unit_name(d->a, mt->unit, d->utf8) : STR_NONE;
    d->temporality = mt->aggregation == AGGREGATION_DELTA && mt->kind->aggregated ? TEMPORALITY_DELTA : TEMPORALITY_CUMULATIVE;
    d->cumulative_kind = mt->kind->field != DATA_GAUGE;
    return OK;
}

static bool over(const struct dec *d)
{
    return d->out->series.n > d->opt->limits.series_max || d->out->n_samples > d->opt->limits.samples_max || arena_over(d->a);
}

static void metric_read(struct dec *d, struct pb m, struct pb *up)
{
    struct metric mt = metric_head(m, up);
    struct err_text why;
    if (up->bad || !mt.kind || mt.n_points == 0)
        return;
    d->metric_name = mt.name;
    if (metric_begin(d, &mt, &why) != OK) {
        reject(d, mt.n_points, &why);
        return;
    }
    avec_push(d->a, &d->out->families, ((struct batch_family){ d->family, d->meta }));
    struct pb data = pb_init(mt.data);
    while (pb_next(&data) && !over(d))
        if (data.field == 1)
            mt.kind->point(d, pb_sub(&data), &data);
        else
            pb_skip(&data);
    pb_join(up, &data);
}

/* ---- scopes and resources ---- */

static void scope_labels(struct dec *d, struct pb m, str schema_url, struct pb *up)
{
    struct otlp_attrs at = { 0 };
    str name = STR_NONE, version = STR_NONE;
    d->fixed.n = d->n_fixed_resource;
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            name = pb_bytes(&m);
            break;
        case 2:
            version = pb_bytes(&m);
            break;
        case 3:
            otlp_attr_read(d->a, &at, pb_sub(&m), &m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    if (m.bad || d->opt->promote_scope_metadata_off || !name.n)
        return;
    avec_push(d->a, &d->fixed, ((struct label){ STR("otel_scope_name"), name }));
    if (version.n)
        avec_push(d->a, &d->fixed, ((struct label){ STR("otel_scope_version"), version }));
    if (schema_url.n)
        avec_push(d->a, &d->fixed, ((struct label){ STR("otel_scope_schema_url"), schema_url }));
    attrs_sort(&at);
    for (size_t i = 0; i < at.n && i < d->opt->limits.labels_max; i++) {
        str l = label_name(d, arena_printf(d->a, "otel_scope_" STR_FMT, STR_ARG(at.p[i].key)));
        if (l.p)
            list_set(d, &d->fixed, l, at.p[i].value);
    }
}

static void scope_read(struct dec *d, struct pb m, struct pb *up)
{
    str scope = STR_NONE, schema_url = STR_NONE;
    struct pb head = m;
    while (pb_next(&head))
        if (head.field == 1)
            scope = pb_bytes(&head);
        else if (head.field == 3)
            schema_url = pb_bytes(&head);
        else
            pb_skip(&head);
    pb_join(up, &head);
    if (head.bad)
        return;
    scope_labels(d, pb_init(scope), schema_url, up);
    while (pb_next(&m) && !over(d))
        if (m.field == 2)
            metric_read(d, pb_sub(&m), &m);
        else
            pb_skip(&m);
    pb_join(up, &m);
}

static bool in_list(str s, const str *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(s, list[i]))
            return true;
    return false;
}
static bool identifying(str key)
{
    return str_eq(key, STR("service.name")) || str_eq(key, STR("service.namespace")) || str_eq(key, STR("service.instance.id"));
}

/* job, instance, promoted attributes, and the resource for batch_series.resource. */
static void resource_begin(struct dec *d)
{
    struct otlp_attrs *at = &d->resource_attrs;
    struct label_list all = { 0 };
    d->fixed.n = d->promoted.n = 0;
    d->first_ms = INT64_MAX;
    d->last_ms = INT64_MIN;
    size_t n = 0;
    for (size_t i = 0; i < at->n; i++)
        if (at->p[i].key.n && wire_utf8_ok(at->p[i].key) && wire_utf8_ok(at->p[i].value))
            at->p[n++] = at->p[i];
    at->n = MIN(n, d->opt->limits.labels_max);
    attrs_sort(at);
    for (size_t i = 0; i < at->n; i++) {
        str key = at->p[i].key;
        list_set(d, &all, key, at->p[i].value);
        bool promote = d->opt->promote_all_resource_attributes
                           ? !in_list(key, d->opt->ignore_resource_attributes, d->opt->n_ignore)
                           : in_list(key, d->opt->promote_resource_attributes, d->opt->n_promote);
        str name = promote ? label_name(d, key) : STR_NONE;
        if (name.p && !list_find(&d->promoted, name))
            avec_push(d->a, &d->promoted, ((struct label){ name, at->p[i].value }));
    }
    str service = otlp_attr_get(at, STR("service.name")), space = otlp_attr_get(at, STR("service.namespace"));
    str instance = otlp_attr_get(at, STR("service.instance.id"));
    if (service.p)
        avec_push(d->a, &d->fixed, ((struct label){ STR("job"), space.p ? arena_printf(d->a, STR_FMT "/" STR_FMT,
                                                                                       STR_ARG(space), STR_ARG(service))
                                                                        : service }));
    if (instance.p)
        avec_push(d->a, &d->fixed, ((struct label){ STR("instance"), instance }));
    d->n_fixed_resource = d->fixed.n;
    IGNORE_ERR(labels_sort(all.p, &all.n, NULL)); /* names are unique already */
    struct labels *r = arena_new(d->a, struct labels);
    *r = (struct labels){ all.p, all.n };
    d->resource = all.n ? r : NULL;
}

/* target_info with the attributes that do not identify, from the first to the last point's time. */
static void target_info(struct dec *d)
{
    struct err_text why;
    struct otlp_attrs *at = &d->attrs;
    bool has_other = false;
    at->n = 0;
    for (size_t i = 0; i < d->resource_attrs.n; i++) {
        bool id = identifying(d->resource_attrs.p[i].key);
        has_other |= !id;
        if (!id || d->opt->keep_identifying_resource_attributes)
            avec_push(d->a, at, d->resource_attrs.p[i]);
    }
    if (!has_other || d->n_fixed_resource == 0 || d->first_ms > d->last_ms)
        return;
    d->fixed.n = d->n_fixed_resource;
    d->promoted.n = 0;
    d->family = d->metric_name = STR("target_info");
    d->meta = (struct metric_meta){ .type = METRIC_GAUGE, .help = STR("Target metadata") };
    if (point_labels(d, &why) != OK) {
        reject(d, 0, &why);
        return;
    }
    struct batch_series s = { .labels = merge_labels(d, d->family, NULL), .meta = d->meta, .resource = d->resource };
    int64_t step = MAX(TARGET_INFO_STEP_MS, (d->last_ms - d->first_ms) / TARGET_INFO_SAMPLES_MAX);
    for (int64_t ts = d->first_ms; ts < d->last_ms; ts += step)
        RUN_PUSH(d->a, &d->samples, ((struct sample){ ts, 1 }));
    RUN_PUSH(d->a, &d->samples, ((struct sample){ d->last_ms, 1 }));
    s.samples = RUN_START(&d->samples);
    s.n_samples = RUN_LEN(&d->samples);
    RUN_CLOSE(&d->samples);
    d->out->n_samples += s.n_samples;
    avec_push(d->a, &d->out->series, s);
    avec_push(d->a, &d->out->families, ((struct batch_family){ d->family, d->meta }));
}

static void resource_read(struct dec *d, struct pb m, struct pb *up)
{
    struct pb head = m;
    d->resource_attrs = (struct otlp_attrs){ 0 };
    while (pb_next(&head)) {
        if (head.field != 1) {
            pb_skip(&head);
            continue;
        }
        struct pb r = pb_sub(&head);
        while (pb_next(&r))
            if (r.field == 1)
                otlp_attr_read(d->a, &d->resource_attrs, pb_sub(&r), &r);
            else
                pb_skip(&r);
        pb_join(&head, &r);
    }
    pb_join(up, &head);
    if (head.bad)
        return;
    resource_begin(d);
    while (pb_next(&m) && !over(d))
        if (m.field == 2)
            scope_read(d, pb_sub(&m), &m);
        else
            pb_skip(&m);
    pb_join(up, &m);
    if (!m.bad)
        target_info(d);
}

static enum err over_limit(const struct dec *d, struct err_text *reterr)
{
    if (d->out->series.n > d->opt->limits.series_max)
        return err_fail(reterr, ERR_LIMIT, "more than %zu series in one request", d->opt->limits.series_max);
    if (d->out->n_samples > d->opt->limits.samples_max)
        return err_fail(reterr, ERR_LIMIT, "more than %zu samples in one request", d->opt->limits.samples_max);
    return err_fail(reterr, ERR_LIMIT, "the request needs more than %zu bytes of memory to decode", d->a->bytes_max);
}

static enum err request_read(struct dec *d, str body, struct err_text *reterr)
{
    struct pb m = pb_init(body);
    while (pb_next(&m)) {
        if (m.field == 1)
            resource_read(d, pb_sub(&m), &m);
        else
            pb_skip(&m);
        if (over(d))
            return over_limit(d, reterr);
    }
    if (!m.bad)
        return OK;
    size_t pos = (size_t)(m.bad_at - body.p);
    return err_fail_at(reterr, ERR_PARSE, pos, "malformed protobuf at byte %zu of the ExportMetricsServiceRequest", pos);
}

enum err otlp_metrics_decode(struct arena *a, str body, enum otlp_coding coding, const struct otlp_options *opt,
                             struct batch *out, struct wire_rejects *ret_rejects, struct err_text *reterr)
{
    memset(out, 0, sizeof(*out));
    memset(ret_rejects, 0, sizeof(*ret_rejects));
    out->a = a;
    if (coding == OTLP_JSON) {
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        TRY(otlp_json_to_protobuf(a, body, &otlp_json_metrics_request, &b, reterr));
        body = arena_str(a, buf_str(&b));
    }
    struct dec d = {
        .a = a,
        .opt = opt,
        .out = out,
        .rejects = ret_rejects,
        .utf8 = opt->naming == OTLP_NO_UTF8_ESCAPING_WITH_SUFFIXES || opt->naming == OTLP_NO_TRANSLATION,
        .suffixes = opt->naming == OTLP_UNDERSCORE_ESCAPING_WITH_SUFFIXES || opt->naming == OTLP_NO_UTF8_ESCAPING_WITH_SUFFIXES,
    };
    enum err e = request_read(&d, body, reterr);
    names_free(&d.names);
    return e;
}

/* ---- content types, strategies, answers ---- */

enum err otlp_coding_of(str content_type, enum otlp_coding *ret, struct err_text *reterr)
{
    str rest = content_type, type = STR_NONE;
    str_cut(&rest, ';', &type);
    type = str_trim(type);
    if (str_ieq(type, STR("application/x-protobuf")) || str_ieq(type, STR("application/protobuf")))
        *ret = OTLP_PROTOBUF;
    else if (str_ieq(type, STR("application/json")))
        *ret = OTLP_JSON;
    else
        return err_fail(reterr, ERR_UNSUPPORTED,
                        "Content-Type \"" STR_FMT "\" is neither application/x-protobuf nor application/json",
                        STR_ARG(str_take(content_type, 100)));
    return OK;
}

const char *otlp_content_type(enum otlp_coding coding)
{
    return coding == OTLP_JSON ? "application/json" : "application/x-protobuf";
}

bool otlp_naming_parse(str s, enum otlp_naming *ret)
{
    static const str rows[] = { STR_INIT("UnderscoreEscapingWithSuffixes"), STR_INIT("UnderscoreEscapingWithoutSuffixes"),
                                STR_INIT("NoUTF8EscapingWithSuffixes"), STR_INIT("NoTranslation") };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq(s, rows[i])) {
            *ret = (enum otlp_naming)i;
            return true;
        }
    return false;
}

void otlp_metrics_response(struct buf *out, enum otlp_coding coding, uint64_t rejected, str message)
{
    bool partial = rejected || message.n;
    if (coding == OTLP_JSON) {
        struct json_out j = json_out_init(out);
        json_obj(&j);
        if (partial) {
            char digits[24];
            int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)rejected);
            json_key(&j, STR("partialSuccess"));
            json_obj(&j);
            if (rejected)
                json_kstr(&j, "rejectedDataPoints", ((str){ digits, (size_t)n }));
            if (message.n)
                json_kstr(&j, "errorMessage", message);
            json_obj_end(&j);
        }
        json_obj_end(&j);
    } else if (partial) {
        size_t at = pb_open(out, 1);
        if (rejected)
            pb_put_varint(out, 1, rejected);
        if (message.n)
            pb_put_bytes(out, 2, message);
        pb_close(out, at);
    }
}

void otlp_status(struct buf *out, enum otlp_coding coding, int code, str message)
{
    if (coding == OTLP_JSON) {
        struct json_out j = json_out_init(out);
        json_obj(&j);
        json_ki64(&j, "code", code);
        json_kstr(&j, "message", message);
        json_obj_end(&j);
        return;
    }
    pb_put_varint(out, 1, (uint64_t)code);
    pb_put_bytes(out, 2, message);
}
