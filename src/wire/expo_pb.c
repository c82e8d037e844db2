/* The protobuf exposition (manual: expo_pb.h). One family is a message that is read twice: first its name, type, help and
 * unit, which may stand behind its metrics, then metric by metric. A metric is read whole and given out step by step. */
#include "wire/expo_pb.h"

#include <math.h>

#include "base/check.h"
#include "base/hash.h"
#include "wire/expo_int.h"
#include "wire/hist_pb_int.h"
#include "wire/wire_int.h"

enum { STAGE_HELP, STAGE_TYPE, STAGE_UNIT, STAGE_METRICS, STAGE_NEXT };
/* Steps of a metric: a histogram as a whole, _count, _sum, then its buckets or quantiles. */
enum { STEP_HIST = -3, STEP_COUNT = -2, STEP_SUM = -1, STEP_PLAIN = 0, STEP_DONE = INT32_MAX };
enum { KEY_PLAIN, KEY_COUNT, KEY_SUM, KEY_BUCKET, KEY_HIST };

void expo_pb_init(struct expo_pb *x, str body, struct expo_pb_options opt, struct arena *a)
{
    *x = (struct expo_pb){ .e = { .format = EXPO_PROTOBUF, .line = 1, .entry = EXPO_COMMENT },
                           .opt = opt,
                           .a = a,
                           .start = body.p,
                           .p = body.p,
                           .end = body.p + body.n,
                           .stage = STAGE_NEXT,
                           .nhcb = { .a = a } };
}

static enum expo_entry fail(struct expo_pb *x, const char *at, const char *what)
{
    IGNORE_ERR(
        err_fail_at(&x->e.error, ERR_PARSE, (size_t)(at - x->start), "byte %zu: %s", (size_t)(at - x->start), what));
    return x->e.entry = EXPO_ERROR;
}
static enum expo_entry fail_name(struct expo_pb *x, const char *what)
{
    IGNORE_ERR(err_fail(&x->e.error, ERR_PARSE, "%s of metric family \"" STR_FMT "\"", what,
                        STR_ARG(str_take(x->e.name, 100))));
    return x->e.entry = EXPO_ERROR;
}

/* ---- family ---- */

static const enum metric_type types[] = { METRIC_COUNTER, METRIC_GAUGE,     METRIC_SUMMARY,
                                          METRIC_UNKNOWN, METRIC_HISTOGRAM, METRIC_GAUGE_HISTOGRAM };

static bool unit_fits(const struct expo_pb *x)
{
    str name = x->e.name;
    if (x->e.type == METRIC_COUNTER && str_has_suffix(name, STR("_total")))
        name = str_take(name, name.n - 6);
    return str_has_suffix(name, x->unit) && name.n > x->unit.n && name.p[name.n - x->unit.n - 1] == '_';
}

/* Everything but the metrics. */
static enum expo_entry family_head(struct expo_pb *x, struct pb m)
{
    uint64_t type = 0;
    x->e.name = x->help = x->unit = STR_NONE;
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            x->e.name = pb_bytes(&m);
            break;
        case 2:
            x->help = pb_bytes(&m);
            break;
        case 3:
            type = pb_varint(&m);
            break;
        case 5:
            x->unit = pb_bytes(&m);
            break;
        default:
            pb_skip(&m);
        }
    if (m.bad)
        return fail(x, m.bad_at, "malformed metric family");
    if (!x->e.name.n || !str_utf8_ok(x->e.name))
        return fail_name(x, "invalid name");
    if (!str_utf8_ok(x->help))
        return fail_name(x, "invalid help");
    if (type >= ARRAY_LEN(types))
        return fail_name(x, "unknown type");
    x->e.type = types[type];
    if (x->unit.n && !unit_fits(x))
        return fail_name(x, "the unit is not a suffix of the name");
    return EXPO_COMMENT;
}

static enum expo_entry family_next(struct expo_pb *x)
{
    if (x->p == x->end)
        return x->e.entry = EXPO_END;
    struct pb m = { .start = x->p, .p = x->p, .end = x->end };
    uint64_t n = pb_varint_raw(&m);
    if (m.bad)
        return fail(x, x->p, "malformed length of a metric family");
    if (n > (uint64_t)(x->end - m.p))
        return fail(x, x->p, "a metric family is longer than the body");
    x->family = pb_init((str){ m.p, (size_t)n });
    x->p = m.p + n;
    x->stage = STAGE_HELP;
    return family_head(x, x->family);
}

/* ---- metric ---- */

static int64_t timestamp_read(struct pb m, struct pb *up)
{
    int64_t s = 0, ns = 0;
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            s = (int64_t)pb_varint(&m);
            break;
        case 2:
            ns = (int32_t)pb_varint(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    bool sane = s > -(TS_MS_MAX / 1000) && s < TS_MS_MAX / 1000;
    return sane ? s * 1000 + ns / 1000000 : 0;
}

static void label_read(struct expo_pb *x, str bytes, struct pb *up)
{
    struct label l = wire_label_read(pb_init(bytes), up);
    avec_push(x->a, &x->labels, l);
    buf_lstr(&x->label_bytes, bytes);
}

/* Gauge, counter, untyped. */
static void plain_read(struct expo_pb *x, struct pb m, struct pb *up)
{
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            x->plain = pb_double(&m);
            break;
        case 2:
            x->exemplar = pb_bytes(&m);
            break;
        case 3:
            x->start_ms = timestamp_read(pb_sub(&m), &m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
}

static void bucket_read(struct expo_pb *x, struct pb m, struct pb *up)
{
    struct expo_pb_bucket b = { 0 };
    double exact = 0;
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            b.count = (double)pb_varint(&m);
            break;
        case 2:
            b.bound = pb_double(&m);
            break;
        case 3:
            b.exemplar = pb_bytes(&m);
            break;
        case 4:
            exact = pb_double(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    b.count = exact > 0 ? exact : b.count;
    avec_push(x->a, &x->buckets, b);
}

static void quantile_read(struct expo_pb *x, struct pb m, struct pb *up)
{
    struct expo_pb_bucket b = { 0 };
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            b.bound = pb_double(&m);
            break;
        case 2:
            b.count = pb_double(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    avec_push(x->a, &x->buckets, b);
}

static void summary_read(struct expo_pb *x, struct pb m, struct pb *up)
{
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            x->count = (double)pb_varint(&m);
            break;
        case 2:
            x->sum = pb_double(&m);
            break;
        case 3:
            quantile_read(x, pb_sub(&m), &m);
            break;
        case 4:
            x->start_ms = timestamp_read(pb_sub(&m), &m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
}

struct hist_reader {
    struct hist_pb_reader pos, neg;
    uint64_t count, zero;
    double count_float, zero_float, zero_threshold;
    int32_t schema;
};

static void hist_field(struct expo_pb *x, struct hist_reader *r, struct pb *m)
{
    switch (m->field) {
    case 1:
        r->count = pb_varint(m);
        break;
    case 2:
        x->sum = pb_double(m);
        break;
    case 3:
        bucket_read(x, pb_sub(m), m);
        break;
    case 4:
        r->count_float = pb_double(m);
        break;
    case 5:
        r->schema = (int32_t)unzigzag(pb_varint(m));
        break;
    case 6:
        r->zero_threshold = pb_double(m);
        break;
    case 7:
        r->zero = pb_varint(m);
        break;
    case 8:
        r->zero_float = pb_double(m);
        break;
    case 9:
        hist_pb_span(x->a, &r->neg, pb_sub(m), m);
        break;
    case 10:
        hist_pb_deltas(x->a, &r->neg, m);
        break;
    case 11:
        hist_pb_doubles(x->a, &r->neg.counts, m);
        break;
    case 12:
        hist_pb_span(x->a, &r->pos, pb_sub(m), m);
        break;
    case 13:
        hist_pb_deltas(x->a, &r->pos, m);
        break;
    case 14:
        hist_pb_doubles(x->a, &r->pos.counts, m);
        break;
    case 15:
        x->start_ms = timestamp_read(pb_sub(m), m);
        break;
    case 16: {
        str e = pb_bytes(m);
        if (x->exemplars.n < EXPO_PB_EXEMPLARS_MAX)
            avec_push(x->a, &x->exemplars, e);
        break;
    }
    default:
        pb_skip(m);
    }
}

/* An empty side may have a span without buckets: the sign of a native histogram that has seen nothing yet. */
static struct hist_side side_of(const struct hist_pb_reader *r, bool is_float)
{
    struct hist_side s = hist_pb_side(r, is_float);
    return s.n_buckets ? s : (struct hist_side){ .n_spans = 0 };
}

static enum err hist_make(struct expo_pb *x, const struct hist_reader *r, struct err_text *reterr)
{
    struct histogram *h = arena_new(x->a, struct histogram);
    bool f = r->count_float > 0 || r->zero_float > 0;
    *h = (struct histogram){ .schema = r->schema,
                             .zero_threshold = r->zero_threshold,
                             .count = x->count,
                             .sum = x->sum,
                             .zero_count = f ? r->zero_float : (double)r->zero,
                             .pos = hist_pb_side(&r->pos, f),
                             .neg = hist_pb_side(&r->neg, f) };
    TRY(histogram_validate(h, reterr));
    h->pos = side_of(&r->pos, f);
    h->neg = side_of(&r->neg, f);
    if (x->e.type == METRIC_GAUGE_HISTOGRAM)
        h->reset = HIST_RESET_GAUGE;
    x->hist = h;
    return OK;
}

static enum err nhcb_of(struct expo_pb *x, struct err_text *reterr)
{
    x->nhcb.a = x->a;
    nhcb_reset(&x->nhcb);
    for (size_t i = 0; i < x->buckets.n; i++)
        nhcb_add_bucket(&x->nhcb, x->buckets.p[i].bound, x->buckets.p[i].count);
    nhcb_add_count(&x->nhcb, x->count);
    nhcb_add_sum(&x->nhcb, x->sum);
    TRY(nhcb_make(&x->nhcb, x->a, &x->hist, reterr));
    if (x->e.type == METRIC_GAUGE_HISTOGRAM) {
        struct histogram *h = histogram_copy(x->a, x->hist);
        h->reset = HIST_RESET_GAUGE;
        x->hist = h;
    }
    return OK;
}

/* Reads the message, decides what will be given of it. False: x->e.error is set, not by m. */
static bool hist_read(struct expo_pb *x, struct pb m, struct pb *up)
{
    struct hist_reader r = { 0 };
    while (pb_next(&m))
        hist_field(x, &r, &m);
    pb_join(up, &m);
    if (m.bad)
        return true;
    x->count = r.count_float > 0 ? r.count_float : (double)r.count;
    x->is_native =
        x->opt.native && (r.pos.spans.n || r.neg.spans.n || r.zero_threshold > 0 || r.zero > 0 || r.zero_float > 0);
    x->step = STEP_COUNT;
    if (x->is_native) {
        x->step = STEP_HIST;
        if (hist_make(x, &r, &x->e.error) == OK)
            return true;
        err_prefix(&x->e.error, "histogram " STR_FMT, STR_ARG(str_take(x->e.name, 100)));
        return false;
    }
    struct err_text why;
    if (x->opt.nhcb && nhcb_of(x, &why) == OK)
        x->step = STEP_HIST;
    else if (x->opt.nhcb && !x->opt.classic_too)
        x->step = STEP_DONE; /* as upstream: what cannot be converted is left out */
    return true;
}

static void metric_reset(struct expo_pb *x)
{
    vec_clear(&x->labels);
    vec_clear(&x->buckets);
    vec_clear(&x->exemplars);
    buf_clear(&x->label_bytes);
    buf_lstr(&x->label_bytes, x->e.name);
    x->count = x->sum = x->plain = 0;
    x->is_native = x->e.has_ts = false;
    x->exemplar = STR_NONE;
    x->hist = NULL;
    x->start_ms = 0;
    x->step = x->e.type == METRIC_SUMMARY ? STEP_COUNT : STEP_PLAIN;
    if (x->e.type == METRIC_HISTOGRAM || x->e.type == METRIC_GAUGE_HISTOGRAM)
        x->step = STEP_COUNT;
}

static bool metric_field(struct expo_pb *x, struct pb *m)
{
    enum metric_type t = x->e.type;
    uint32_t plain = t == METRIC_GAUGE ? 2 : t == METRIC_COUNTER ? 3 : 5;
    bool is_hist = t == METRIC_HISTOGRAM || t == METRIC_GAUGE_HISTOGRAM;
    if (m->field == 1) {
        label_read(x, pb_bytes(m), m);
    } else if (m->field == 6) {
        x->e.ts_ms = (int64_t)pb_varint(m);
        x->e.has_ts = x->e.ts_ms != 0;
    } else if (m->field == 7 && is_hist) {
        return hist_read(x, pb_sub(m), m);
    } else if (m->field == 4 && t == METRIC_SUMMARY) {
        summary_read(x, pb_sub(m), m);
    } else if (m->field == plain && !is_hist && t != METRIC_SUMMARY) {
        plain_read(x, pb_sub(m), m);
    } else {
        pb_skip(m);
    }
    return true;
}

/* One metric of the family; false: none is left, or an error. */
static bool metric_next(struct expo_pb *x)
{
    while (pb_next(&x->family)) {
        if (x->family.field != 4) {
            pb_skip(&x->family);
            continue;
        }
        struct pb m = pb_sub(&x->family);
        metric_reset(x);
        bool ok = true;
        while (ok && pb_next(&m))
            ok = metric_field(x, &m);
        if (m.bad)
            fail(x, m.bad_at, "malformed metric");
        if (!ok)
            x->e.entry = EXPO_ERROR;
        if (m.bad || !ok)
            return false;
        hash128 h = hash128_seed(buf_str(&x->label_bytes), 0);
        x->key[0] = (char)0xff;
        memcpy(x->key + 2, &h, sizeof(h));
        return true;
    }
    return false;
}

/* ---- steps ---- */

static enum expo_entry give(struct expo_pb *x, int key, double value, double bound, str exemplar)
{
    x->key[1] = (char)key;
    memcpy(x->key + 18, &bound, sizeof(bound));
    x->e.series = (str){ x->key, sizeof(x->key) };
    x->e.value = isnan(value) ? f64_from_bits(NORMAL_NAN_BITS) : value;
    x->bound = bound;
    x->exemplar_now = exemplar;
    x->e.has_exemplar = exemplar.p || key == KEY_HIST;
    return x->e.entry = key == KEY_HIST ? EXPO_HISTOGRAM : EXPO_SAMPLE;
}

/* After the histogram itself: are the classic samples wanted too? */
static int after_hist(const struct expo_pb *x)
{
    return x->opt.classic_too && (!x->is_native || x->buckets.n) ? STEP_COUNT : STEP_DONE;
}

static enum expo_entry step_bucket(struct expo_pb *x)
{
    bool summary = x->e.type == METRIC_SUMMARY;
    size_t i = (size_t)x->step++;
    bool inf_left_out = !summary && (!x->buckets.n || vec_last(&x->buckets).bound != HUGE_VAL);
    if (i + 1 >= x->buckets.n + inf_left_out)
        x->step = STEP_DONE;
    if (i < x->buckets.n)
        return give(x, KEY_BUCKET, x->buckets.p[i].count, x->buckets.p[i].bound, x->buckets.p[i].exemplar);
    return give(x, KEY_BUCKET, x->count, HUGE_VAL, STR_NONE);
}

static enum expo_entry metric_step(struct expo_pb *x)
{
    bool plain = x->e.type == METRIC_COUNTER || x->e.type == METRIC_GAUGE || x->e.type == METRIC_UNKNOWN;
    if (plain) {
        x->step = STEP_DONE;
        return give(x, KEY_PLAIN, x->plain, 0, x->e.type == METRIC_COUNTER ? x->exemplar : STR_NONE);
    }
    switch (x->step) {
    case STEP_HIST:
        x->step = after_hist(x);
        return give(x, KEY_HIST, 0, 0, STR_NONE);
    case STEP_COUNT:
        x->step = STEP_SUM;
        return give(x, KEY_COUNT, x->count, 0, STR_NONE);
    case STEP_SUM:
        x->step = x->e.type == METRIC_SUMMARY && !x->buckets.n ? STEP_DONE : 0;
        return give(x, KEY_SUM, x->sum, 0, STR_NONE);
    default:
        return step_bucket(x);
    }
}

static enum expo_entry head_entry(struct expo_pb *x)
{
    if (x->stage == STAGE_HELP) {
        x->stage = STAGE_TYPE;
        x->e.text = x->help;
        return x->e.entry = EXPO_HELP;
    }
    if (x->stage == STAGE_TYPE) {
        x->stage = x->unit.n ? STAGE_UNIT : STAGE_METRICS;
        return x->e.entry = EXPO_TYPE;
    }
    x->stage = STAGE_METRICS;
    x->e.text = x->unit;
    return x->e.entry = EXPO_UNIT;
}

enum expo_entry expo_pb_next(struct expo_pb *x)
{
    if (x->e.entry == EXPO_ERROR || x->e.entry == EXPO_END)
        return x->e.entry;
    for (;;) {
        if (x->stage == STAGE_NEXT && family_next(x) <= EXPO_ERROR)
            break;
        if (x->stage < STAGE_METRICS) {
            x->step = STEP_DONE;
            return head_entry(x);
        }
        if (x->step != STEP_DONE)
            return metric_step(x);
        if (metric_next(x))
            continue;
        if (x->family.bad)
            fail(x, x->family.bad_at, "malformed metric family");
        if (x->e.entry == EXPO_ERROR)
            break;
        x->stage = STAGE_NEXT;
    }
    return x->e.entry;
}

void expo_pb_deinit(struct expo_pb *x)
{
    buf_deinit(&x->label_bytes);
}

/* ---- on demand ---- */

enum err expo_pb_labels(const struct expo_pb *x, struct arena *a, struct labels *ret, struct err_text *reterr)
{
    static const char *const suffixes[] = {
        [KEY_PLAIN] = "", [KEY_COUNT] = "_count", [KEY_SUM] = "_sum", [KEY_BUCKET] = "_bucket", [KEY_HIST] = ""
    };
    bool summary = x->e.type == METRIC_SUMMARY, bucket = x->key[1] == KEY_BUCKET;
    struct label *p = arena_array(a, struct label, x->labels.n + 2);
    const char *suffix = summary && bucket ? "" : suffixes[(size_t)x->key[1]];
    size_t n = 0;
    p[n++] =
        (struct label){ LABEL_NAME, *suffix ? arena_printf(a, STR_FMT "%s", STR_ARG(x->e.name), suffix) : x->e.name };
    if (bucket)
        p[n++] = (struct label){ summary ? LABEL_QUANTILE : LABEL_BUCKET, expo_openmetrics_float(a, x->bound) };
    for (size_t i = 0; i < x->labels.n; i++) {
        struct label l = x->labels.p[i];
        if (!l.name.n || !str_utf8_ok(l.name) || !str_utf8_ok(l.value))
            return err_fail(reterr, ERR_INVALID, "invalid label in metric family \"" STR_FMT "\"",
                            STR_ARG(str_take(x->e.name, 100)));
        p[n++] = l;
    }
    TRY(labels_sort(p, &n, reterr));
    *ret = (struct labels){ p, n };
    return OK;
}

bool expo_pb_has_empty(const struct expo_pb *x, str name)
{
    for (size_t i = 0; i < x->labels.n; i++)
        if (str_eq(x->labels.p[i].name, name) && !x->labels.p[i].value.n)
            return true;
    return false;
}

static bool exemplar_label(struct arena *a, struct pb m, struct label *ret)
{
    (void)a;
    *ret = (struct label){ .name = STR("") };
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            ret->name = pb_bytes(&m);
            break;
        case 2:
            ret->value = pb_bytes(&m);
            break;
        default:
            pb_skip(&m);
        }
    return !m.bad && ret->name.n && str_utf8_ok(ret->name) && str_utf8_ok(ret->value);
}

/* One Exemplar message; false: malformed. */
static bool exemplar_read(struct arena *a, str bytes, struct exemplar *ret, bool *ret_has_ts)
{
    VEC(struct label) v = { 0 };
    struct pb m = pb_init(bytes);
    bool ok = true;
    *ret = (struct exemplar){ 0 };
    *ret_has_ts = false;
    while (pb_next(&m))
        if (m.field == 1) {
            struct label l;
            ok &= exemplar_label(a, pb_sub(&m), &l);
            avec_push(a, &v, l);
        } else if (m.field == 2) {
            ret->v = pb_double(&m);
        } else if (m.field == 3) {
            ret->ts_ms = timestamp_read(pb_sub(&m), &m);
            *ret_has_ts = true;
        } else {
            pb_skip(&m);
        }
    if (m.bad || !ok || labels_sort(v.p, &v.n, NULL) != OK)
        return false;
    ret->labels = (struct labels){ v.p, v.n };
    return true;
}

struct exemplars {
    VEC(struct exemplar) v;
};

static void exemplar_take(struct exemplars *out, struct arena *a, str bytes, bool needs_ts, int64_t ts_ms)
{
    struct exemplar ex;
    bool has_ts;
    if (!bytes.p || out->v.n >= EXPO_PB_EXEMPLARS_MAX || !exemplar_read(a, bytes, &ex, &has_ts) ||
        (needs_ts && !has_ts))
        return;
    if (!has_ts)
        ex.ts_ms = ts_ms;
    avec_push(a, &out->v, ex);
    for (size_t i = out->v.n - 1; i && out->v.p[i - 1].ts_ms > ex.ts_ms; i--) {
        out->v.p[i] = out->v.p[i - 1];
        out->v.p[i - 1] = ex;
    }
}

size_t expo_pb_exemplars(const struct expo_pb *x, struct arena *a, int64_t ts_ms, struct exemplar **ret)
{
    struct exemplars out = { 0 };
    if (x->e.entry == EXPO_SAMPLE)
        exemplar_take(&out, a, x->exemplar_now, false, ts_ms);
    else if (x->is_native && x->exemplars.n)
        for (size_t i = 0; i < x->exemplars.n; i++)
            exemplar_take(&out, a, x->exemplars.p[i], true, ts_ms);
    else
        for (size_t i = 0; i < x->buckets.n; i++)
            exemplar_take(&out, a, x->buckets.p[i].exemplar, true, ts_ms);
    *ret = out.v.p;
    return out.v.n;
}
