/* OTLP data points -> series of the batch (otlp_dec_int.h). Field numbers: metrics/v1/metrics.proto. */
#include <math.h>

#include "wire/expo_int.h"
#include "wire/otlp_dec_int.h"

enum { FLAG_NO_RECORDED_VALUE = 1 };
enum { EXEMPLAR_RUNES_MAX = 128, POINT_EXEMPLARS_MAX = 1024, QUANTILES_MAX = 1024 };
static const double zero_threshold_default = 1e-128;

/* ---- one series with one point ---- */

static int64_t ms_of(uint64_t ns)
{
    return (int64_t)(ns / 1000000);
}

static struct batch_series *series_open(struct dec *d, str name, const struct label *extra, const struct point *pt)
{
    struct batch_series s = { .labels = otlp_merge_labels(d, name, extra),
                              .meta = d->meta,
                              .temporality = d->temporality,
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
    vec_each (struct exemplar, ex, &d->point_exemplars)
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
    struct exemplar ex = { .v = (double)NAN };
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
    if (d->point_exemplars.n == POINT_EXEMPLARS_MAX) {
        d->rejects->exemplars++;
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
    if (otlp_point_labels(d, &why) != OK) {
        otlp_reject(d, 1, &why);
        return false;
    }
    int64_t ms = ms_of(pt->time_ns);
    d->first_ms = MIN(d->first_ms, ms);
    d->last_ms = MAX(d->last_ms, ms);
    return true;
}

void otlp_number_point(struct dec *d, struct pb m, struct pb *up)
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
    if (d->counts.n > HIST_BUCKETS_MAX)
        return err_fail(why, ERR_INVALID, "more than %d buckets", HIST_BUCKETS_MAX);
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
    if (buckets.n > HIST_BUCKETS_MAX || d->counts.n > HIST_BUCKETS_MAX)
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
        if (d->counts.n <= HIST_BUCKETS_MAX) /* one too many is kept, to be refused */
            avec_push(d->a, &d->counts, u);
    }
    pb_join(m, &v);
}

/* Start, time, count and sum have the same numbers in histograms, exponential histograms and summaries. */
static bool point_field(struct hist_point *h, struct pb *m)
{
    switch (m->field) {
    case 2:
        h->pt.start_ns = pb_fixed64(m);
        return true;
    case 3:
        h->pt.time_ns = pb_fixed64(m);
        return true;
    case 4:
        h->count = pb_fixed64(m);
        return true;
    case 5:
        h->sum = pb_double(m);
        h->has_sum = true;
        return true;
    default:
        return false;
    }
}

void otlp_histogram_point(struct dec *d, struct pb m, struct pb *up)
{
    struct hist_point h = { 0 };
    point_begin(d);
    while (pb_next(&m)) {
        if (point_field(&h, &m))
            continue;
        switch (m.field) {
        case 6:
            counts_read(d, &m, PB_FIXED64);
            break;
        case 7: {
            struct pb v = pb_packed(&m, PB_FIXED64);
            while (v.p < v.end) {
                uint64_t u = pb_fixed64_raw(&v);
                if (d->bounds.n <= HIST_BUCKETS_MAX)
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
        otlp_reject(d, 1, &why);
}

/* One side of an exponential histogram: Buckets {offset, bucket_counts}. OTLP's bucket i is (base^i, base^(i+1)],
 * the native histogram's is (base^(i-1), base^i]: hence the shift by one. */
static enum err exp_side(struct dec *d, str bytes, unsigned down, struct hist_side *ret, struct pb *up,
                         struct err_text *why)
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

void otlp_exponential_point(struct dec *d, struct pb m, struct pb *up)
{
    struct hist_point h = { 0 };
    point_begin(d);
    while (pb_next(&m)) {
        if (point_field(&h, &m))
            continue;
        switch (m.field) {
        case 1:
            otlp_attr_read(d->a, &d->attrs, pb_sub(&m), &m);
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
    }
    struct err_text why;
    enum err e = OK;
    if (!m.bad && point_ready(d, &h.pt))
        e = emit_exponential(d, &h, &m, &why);
    pb_join(up, &m);
    if (e != OK)
        otlp_reject(d, 1, &why);
}

struct quantile {
    double q, v;
};

void otlp_summary_point(struct dec *d, struct pb m, struct pb *up)
{
    struct hist_point h = { 0 };
    VEC(struct quantile) quantiles = { 0 };
    point_begin(d);
    while (pb_next(&m)) {
        if (point_field(&h, &m))
            continue;
        switch (m.field) {
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
            if (quantiles.n < QUANTILES_MAX)
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
    }
    pb_join(up, &m);
    if (m.bad || !point_ready(d, &h.pt))
        return;
    emit(d, d->sum_name, NULL, &h.pt, h.sum);
    emit(d, d->count_name, NULL, &h.pt, (double)h.count);
    vec_each (struct quantile, q, &quantiles) {
        struct label l = { LABEL_QUANTILE, expo_openmetrics_float(d->a, q->q) };
        emit(d, d->family, &l, &h.pt, q->v);
    }
}
