/* Expositions: text 0.0.4, OpenMetrics 1.0 and the delimited protobuf of Prometheus, from one walk of sdk_collect().
 *
 * The text formats know no native histograms: they show their powers of two as buckets, each populated one with both its
 * bounds, so that quantiles interpolate inside it. Counts are exact, only the resolution is lost. */
#include "sdk_file.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

enum { CHUNK = 16384, BODY_MAX = 1 << 30 };

struct expo {
    struct sdk_buf out;
    struct sdk_buf msg; /* protobuf: the family under way */
    vane_format format;
    uint64_t *le_count; /* scratch for classic buckets */
    size_t mark_family;
};

/* ---- text ---- */

static const char *type_of(const struct sdk_family *f, bool om)
{
    switch (f->kind) {
    case VANE_COUNTER:
    case VANE_FCOUNTER:
        return "counter";
    case VANE_HISTOGRAM:
        return "histogram";
    case VANE_INFO:
        return om ? "info" : "gauge";
    case VANE_STATESET:
        return om ? "stateset" : "gauge";
    case VANE_UPDOWN:
    case VANE_GAUGE:
        break;
    }
    return "gauge";
}

static const char *suffix_of(const struct sdk_family *f)
{
    return f->kind == VANE_COUNTER || f->kind == VANE_FCOUNTER ? "_total" : f->kind == VANE_INFO ? "_info" : "";
}

static bool ends_with_unit(const struct sdk_family *f)
{
    size_t n = strlen(f->name), u = strlen(f->unit);
    return u && n > u && f->name[n - u - 1] == '_' && !strcmp(f->name + n - u, f->unit);
}

static void put_help(struct sdk_buf *b, const char *s, bool om)
{
    for (; *s; s++) {
        if (*s == '\n')
            SDK_PUTS(b, "\\n");
        else if (*s == '\\' || (om && *s == '"'))
            sdk_putc(b, '\\'), sdk_putc(b, *s);
        else
            sdk_putc(b, *s);
    }
}

static void text_meta(struct sdk_buf *b, const char *what, const struct sdk_family *f, bool om)
{
    sdk_puts(b, what);
    sdk_puts(b, f->name);
    if (!om)
        sdk_puts(b, suffix_of(f));
    sdk_putc(b, ' ');
}

static int text_begin(void *ctx, const struct sdk_family *f)
{
    struct expo *e = ctx;
    struct sdk_buf *b = &e->out;
    bool om = e->format == VANE_FORMAT_OPENMETRICS;
    text_meta(b, "# HELP ", f, om);
    put_help(b, f->help, om);
    SDK_PUTS(b, "\n");
    text_meta(b, "# TYPE ", f, om);
    sdk_puts(b, type_of(f, om));
    SDK_PUTS(b, "\n");
    if (om && ends_with_unit(f) && f->kind != VANE_INFO && f->kind != VANE_STATESET) {
        text_meta(b, "# UNIT ", f, om);
        sdk_puts(b, f->unit);
        SDK_PUTS(b, "\n");
    }
    return b->failed;
}

/* name suffix {labels,extra} and a blank. */
static void text_name(struct sdk_buf *b, const struct sdk_family *f, const char *suffix, const struct sdk_point *p,
                      const char *extra, size_t extra_n)
{
    sdk_puts(b, f->name);
    sdk_puts(b, suffix);
    if (p->labels_n || extra_n) {
        sdk_putc(b, '{');
        sdk_put(b, p->labels, p->labels_n);
        if (p->labels_n && extra_n)
            sdk_putc(b, ',');
        sdk_put(b, extra, extra_n);
        sdk_putc(b, '}');
    }
    sdk_putc(b, ' ');
}

static void text_exemplar(struct sdk_buf *b, const struct sdk_exemplar *x)
{
    SDK_PUTS(b, " # {trace_id=\"");
    sdk_put_hex(b, x->trace_id, 16);
    SDK_PUTS(b, "\",span_id=\"");
    sdk_put_hex(b, x->span_id, 8);
    SDK_PUTS(b, "\"} ");
    sdk_put_f64(b, x->value);
    sdk_putc(b, ' ');
    sdk_put_u64(b, x->unix_ms / 1000);
    char ms[4] = { '.', (char)('0' + x->unix_ms / 100 % 10), (char)('0' + x->unix_ms / 10 % 10),
                   (char)('0' + x->unix_ms % 10) };
    sdk_put(b, ms, 4);
}

/* The newest exemplar with lo < value <= hi. */
static const struct sdk_exemplar *exemplar_in(const struct sdk_point *p, double lo, double hi)
{
    const struct sdk_exemplar *best = NULL;
    for (size_t i = 0; i < p->n_exemplars; i++) {
        const struct sdk_exemplar *x = &p->exemplars[i];
        if (x->value > lo && x->value <= hi && (!best || x->unix_ms > best->unix_ms))
            best = x;
    }
    return best;
}

static void text_bucket(struct expo *e, const struct sdk_family *f, const struct sdk_point *p, double lo, double le,
                        uint64_t cumulative)
{
    char label[48] = "le=\"";
    size_t n = 4 + sdk_fmt_f64(label + 4, le);
    bool om = e->format == VANE_FORMAT_OPENMETRICS;
    label[n] = 0;
    if (om && !strpbrk(label + 4, ".eI")) { /* OpenMetrics writes bounds as floats */
        memcpy(label + n, ".0", 2);
        n += 2;
    }
    label[n++] = '"';
    text_name(&e->out, f, "_bucket", p, label, n);
    sdk_put_u64(&e->out, cumulative);
    const struct sdk_exemplar *x = om ? exemplar_in(p, lo, le) : NULL;
    if (x)
        text_exemplar(&e->out, x);
    sdk_putc(&e->out, '\n');
}

static void text_native(struct expo *e, const struct sdk_family *f, const struct sdk_point *p)
{
    uint64_t sum = p->zero_count;
    for (size_t i = 0; i < p->n_neg; i++)
        sum += p->neg[i].count;
    double last = -(double)INFINITY;
    if (sum) {
        text_bucket(e, f, p, last, DBL_MIN, sum); /* everything that is not above zero, and zero */
        last = DBL_MIN;
    }
    for (size_t i = 0; i < p->n_pos;) {
        int32_t key = p->pos[i].key, octave;
        int schema = p->schema;
        octave = schema >= 0 ? (key + (1 << schema) - 1) >> schema : key; /* upwards, also below zero */
        double lo = sdk_bucket_bound(octave - 1, schema < 0 ? schema : 0),
               hi = sdk_bucket_bound(octave, schema < 0 ? schema : 0);
        if (lo > last && lo >= DBL_MIN)
            text_bucket(e, f, p, last, lo, sum);
        for (; i < p->n_pos && (schema >= 0 ? (p->pos[i].key + (1 << schema) - 1) >> schema : p->pos[i].key) == octave;
             i++)
            sum += p->pos[i].count;
        text_bucket(e, f, p, lo, hi, sum);
        last = hi;
    }
    text_bucket(e, f, p, last, (double)INFINITY, p->count);
}

static void text_classic(struct expo *e, const struct sdk_family *f, const struct sdk_point *p)
{
    uint64_t sum = 0;
    for (size_t i = 0; i <= f->n_bounds; i++) {
        sum += p->classic[i];
        text_bucket(e, f, p, i ? f->bounds[i - 1] : -HUGE_VAL, i < f->n_bounds ? f->bounds[i] : HUGE_VAL, sum);
    }
}

static void text_histogram(struct expo *e, const struct sdk_family *f, const struct sdk_point *p)
{
    uint64_t count = p->count;
    if (p->classic) {
        text_classic(e, f, p);
        count = 0;
        for (size_t i = 0; i <= f->n_bounds; i++)
            count += p->classic[i]; /* what the buckets show, to the unit */
    } else {
        text_native(e, f, p);
    }
    /* OpenMetrics has the sum only of what cannot be negative, and the count only with a sum. */
    bool negative = p->n_neg || p->sum < 0 || (f->n_bounds && f->bounds[0] < 0);
    if (negative && e->format == VANE_FORMAT_OPENMETRICS)
        return;
    text_name(&e->out, f, "_sum", p, NULL, 0);
    sdk_put_f64(&e->out, p->sum);
    SDK_PUTS(&e->out, "\n");
    text_name(&e->out, f, "_count", p, NULL, 0);
    sdk_put_u64(&e->out, count);
    SDK_PUTS(&e->out, "\n");
}

static void text_states(struct expo *e, const struct sdk_family *f, const struct sdk_point *p)
{
    for (size_t i = 0; i < f->n_states; i++) {
        char extra[VANE_NAME_MAX + 2 * VANE_VALUE_MAX + 8];
        struct sdk_buf b = { .p = extra, .cap = sizeof extra, .max = sizeof extra };
        sdk_put_label(&b, f->name, f->states[i], strlen(f->states[i]));
        text_name(&e->out, f, "", p, extra, b.n);
        sdk_puts(&e->out, p->v.u == i ? "1\n" : "0\n");
    }
}

static int text_point(void *ctx, const struct sdk_family *f, const struct sdk_point *p)
{
    struct expo *e = ctx;
    if (f->kind == VANE_HISTOGRAM) {
        text_histogram(e, f, p);
    } else if (f->kind == VANE_STATESET) {
        text_states(e, f, p);
    } else {
        text_name(&e->out, f, suffix_of(f), p, NULL, 0);
        if (f->kind == VANE_COUNTER)
            sdk_put_u64(&e->out, p->v.u);
        else if (f->kind == VANE_UPDOWN)
            sdk_put_i64(&e->out, p->v.i);
        else if (f->kind == VANE_INFO)
            sdk_putc(&e->out, '1');
        else
            sdk_put_f64(&e->out, p->v.f);
        if (e->format == VANE_FORMAT_OPENMETRICS && p->n_exemplars &&
            (f->kind == VANE_COUNTER || f->kind == VANE_FCOUNTER))
            text_exemplar(&e->out, p->exemplars);
        sdk_putc(&e->out, '\n');
    }
    return e->out.failed;
}

static int text_end(void *ctx, const struct sdk_family *f)
{
    (void)f;
    return ((struct expo *)ctx)->out.failed;
}

/* target_info: the resource, as the OpenTelemetry and OpenMetrics compatibility has it. */
static void target_labels(struct sdk_buf *b)
{
    for (size_t i = 0; i < sdk_resource_n; i++) {
        char name[VANE_NAME_MAX + 1];
        size_t n = 0;
        for (const char *s = sdk_resource[i].key; *s && n < VANE_NAME_MAX; s++) {
            bool ok =
                (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == '_' || (n && *s >= '0' && *s <= '9');
            name[n++] = ok ? *s : '_';
        }
        name[n] = 0;
        bool twice = false; /* two keys that become one name: the first stays */
        for (size_t k = 0; k < i && !twice; k++) {
            const char *a = sdk_resource[k].key;
            size_t j = 0;
            while (a[j] && name[j] && (a[j] == name[j] || name[j] == '_'))
                j++;
            twice = !a[j] && !name[j];
        }
        if (!twice)
            sdk_put_label(b, name, sdk_resource[i].value, strlen(sdk_resource[i].value));
    }
}

/* ---- protobuf: io.prometheus.client.MetricFamily, varint length before each ---- */

enum { PB_COUNTER = 0, PB_GAUGE = 1, PB_HISTOGRAM = 4 };

static int pb_begin(void *ctx, const struct sdk_family *f)
{
    struct expo *e = ctx;
    struct sdk_buf *b = &e->msg;
    b->n = 0;
    const char *suffix = suffix_of(f);
    size_t n = strlen(f->name), s = strlen(suffix);
    sdk_pb_tag(b, 1, 2);
    sdk_pb_varint(b, n + s);
    sdk_put(b, f->name, n);
    sdk_put(b, suffix, s);
    sdk_pb_str(b, 2, f->help);
    unsigned type = f->kind == VANE_HISTOGRAM            ? PB_HISTOGRAM
                    : *suffix == '_' && suffix[1] == 't' ? PB_COUNTER
                                                         : PB_GAUGE;
    sdk_pb_u64(b, 3, type);
    if (ends_with_unit(f))
        sdk_pb_str(b, 5, f->unit);
    return b->failed;
}

static void pb_label(struct sdk_buf *b, const char *name, const char *value)
{
    size_t n = strlen(name), v = strlen(value), all = n + v + 4;
    if (all < 128 && sdk_buf_room(b, all + 2)) { /* lengths of one byte: most labels, and most of a rendering */
        char *p = b->p + b->n, heads[4] = { 1 << 3 | 2, (char)all, 1 << 3 | 2, (char)n };
        memcpy(p, heads, 4);
        memcpy(p + 4, name, n);
        p[4 + n] = 2 << 3 | 2;
        p[5 + n] = (char)v;
        memcpy(p + 6 + n, value, v);
        b->n += all + 2;
        return;
    }
    size_t mark = sdk_pb_begin(b, 1);
    sdk_pb_str(b, 1, name);
    sdk_pb_str(b, 2, value);
    sdk_pb_end(b, mark);
}

static void pb_labels(struct sdk_buf *b, const struct sdk_point *p)
{
    char name[VANE_NAME_MAX + 1], value[VANE_VALUE_MAX + 1];
    const char *at = p->labels, *end = p->labels + p->labels_n;
    while (at < end && sdk_labels_next(&at, end, name, value))
        pb_label(b, name, value);
}

static void pb_timestamp(struct sdk_buf *b, unsigned field, uint64_t unix_ms)
{
    size_t mark = sdk_pb_begin(b, field);
    sdk_pb_u64(b, 1, unix_ms / 1000);
    sdk_pb_u64(b, 2, unix_ms % 1000 * 1000000);
    sdk_pb_end(b, mark);
}

static void pb_exemplar(struct sdk_buf *b, unsigned field, const struct sdk_exemplar *x)
{
    size_t mark = sdk_pb_begin(b, field);
    static const char hex[] = "0123456789abcdef";
    char trace[33], span[17];
    for (int i = 0; i < 16; i++) {
        trace[2 * i] = hex[x->trace_id[i] >> 4];
        trace[2 * i + 1] = hex[x->trace_id[i] & 15];
    }
    for (int i = 0; i < 8; i++) {
        span[2 * i] = hex[x->span_id[i] >> 4];
        span[2 * i + 1] = hex[x->span_id[i] & 15];
    }
    trace[32] = span[16] = 0;
    pb_label(b, "trace_id", trace);
    pb_label(b, "span_id", span);
    sdk_pb_f64(b, 2, x->value);
    pb_timestamp(b, 3, x->unix_ms);
    sdk_pb_end(b, mark);
}

/* Spans of neighbouring buckets (gaps of up to two are filled with zeros) and the differences of their counts. */
static void pb_buckets(struct sdk_buf *b, unsigned span_field, const struct sdk_span_of_buckets *v, size_t n)
{
    int32_t next = 0;
    for (size_t i = 0; i < n;) {
        size_t j = i + 1;
        while (j < n && v[j].key - v[j - 1].key <= 3)
            j++;
        size_t mark = sdk_pb_begin(b, span_field);
        sdk_pb_s64(b, 1, v[i].key - next);
        sdk_pb_u64(b, 2, (uint64_t)(v[j - 1].key - v[i].key + 1));
        sdk_pb_end(b, mark);
        next = v[j - 1].key + 1;
        i = j;
    }
    int64_t last = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t gap = i ? v[i].key - v[i - 1].key - 1 : 0;
        for (int32_t k = 0; gap <= 2 && k < gap; k++) {
            sdk_pb_s64(b, span_field + 1, -last);
            last = 0;
        }
        sdk_pb_s64(b, span_field + 1, (int64_t)v[i].count - last);
        last = (int64_t)v[i].count;
    }
}

static void pb_histogram(struct sdk_buf *b, const struct sdk_family *f, const struct sdk_point *p)
{
    size_t mark = sdk_pb_begin(b, 7);
    sdk_pb_u64(b, 1, p->count);
    sdk_pb_f64(b, 2, p->sum);
    uint64_t sum = 0;
    for (size_t i = 0; p->classic && i <= f->n_bounds; i++) {
        sum += p->classic[i];
        size_t bucket = sdk_pb_begin(b, 3);
        sdk_pb_u64(b, 1, sum);
        sdk_pb_f64(b, 2, i < f->n_bounds ? f->bounds[i] : HUGE_VAL);
        const struct sdk_exemplar *x =
            exemplar_in(p, i ? f->bounds[i - 1] : -HUGE_VAL, i < f->n_bounds ? f->bounds[i] : HUGE_VAL);
        if (x)
            pb_exemplar(b, 3, x);
        sdk_pb_end(b, bucket);
    }
    if (f->native) {
        sdk_pb_s64(b, 5, p->schema);
        sdk_pb_f64(b, 6, p->zero_threshold);
        sdk_pb_u64(b, 7, p->zero_count);
        pb_buckets(b, 9, p->neg, p->n_neg);
        pb_buckets(b, 12, p->pos, p->n_pos);
        if (!p->n_pos && !p->n_neg) { /* an empty span says that this is a native histogram */
            size_t span = sdk_pb_begin(b, 12);
            sdk_pb_s64(b, 1, 0);
            sdk_pb_u64(b, 2, 0);
            sdk_pb_end(b, span);
        }
        for (size_t i = 0; i < p->n_exemplars; i++)
            pb_exemplar(b, 16, &p->exemplars[i]);
    }
    if (p->created_unix_ms)
        pb_timestamp(b, 15, p->created_unix_ms);
    sdk_pb_end(b, mark);
}

static void pb_value(struct sdk_buf *b, unsigned field, double v, const struct sdk_point *p)
{
    size_t mark = sdk_pb_begin(b, field);
    sdk_pb_f64(b, 1, v);
    if (field == 3 && p->n_exemplars)
        pb_exemplar(b, 2, p->exemplars);
    if (field == 3 && p->created_unix_ms)
        pb_timestamp(b, 3, p->created_unix_ms);
    sdk_pb_end(b, mark);
}

static int pb_point(void *ctx, const struct sdk_family *f, const struct sdk_point *p)
{
    struct sdk_buf *b = &((struct expo *)ctx)->msg;
    size_t n = f->kind == VANE_STATESET ? f->n_states : 1;
    for (size_t i = 0; i < n; i++) {
        size_t mark = sdk_pb_begin(b, 4);
        pb_labels(b, p);
        switch (f->kind) {
        case VANE_HISTOGRAM:
            pb_histogram(b, f, p);
            break;
        case VANE_STATESET:
            pb_label(b, f->name, f->states[i]);
            pb_value(b, 2, p->v.u == i, p);
            break;
        case VANE_COUNTER:
            pb_value(b, 3, (double)p->v.u, p);
            break;
        case VANE_FCOUNTER:
            pb_value(b, 3, p->v.f, p);
            break;
        case VANE_UPDOWN:
            pb_value(b, 2, (double)p->v.i, p);
            break;
        case VANE_GAUGE:
            pb_value(b, 2, p->v.f, p);
            break;
        case VANE_INFO:
            pb_value(b, 2, 1, p);
            break;
        }
        sdk_pb_end(b, mark);
    }
    return b->failed;
}

static int pb_end(void *ctx, const struct sdk_family *f)
{
    (void)f;
    struct expo *e = ctx;
    sdk_pb_varint(&e->out, e->msg.n);
    sdk_put(&e->out, e->msg.p, e->msg.n);
    return e->out.failed || e->msg.failed;
}

/* ---- rendering ---- */

static vane_status render(struct expo *e)
{
    bool pb = e->format == VANE_FORMAT_PROTOBUF;
    sdk_buf_init(&e->msg, 256u << 20);
    const struct sdk_visitor v = { pb ? pb_begin : text_begin, pb ? pb_point : text_point, pb ? pb_end : text_end, e };
    struct sdk_buf labels;
    sdk_buf_init(&labels, SDK_TEXT_MAX);
    target_labels(&labels);
    const struct sdk_family target = {
        .kind = VANE_INFO, .name = "target", .help = "What the metrics are of.", .unit = ""
    };
    const struct sdk_point point = { .labels = labels.p, .labels_n = labels.n };
    int stop = sdk_collect(&v);
    if (!stop && !labels.failed && labels.n)
        stop = v.family_begin(e, &target) || v.point(e, &target, &point) || v.family_end(e, &target);
    if (!stop && e->format == VANE_FORMAT_OPENMETRICS)
        SDK_PUTS(&e->out, "# EOF\n");
    sdk_buf_free(&labels);
    sdk_buf_free(&e->msg);
    sdk_count(SDK_SCRAPES, 1);
    return stop || e->out.failed ? VANE_E_NOMEM : VANE_OK;
}

int sdk_expo_file(const struct sdk_file *f, struct sdk_buf *out)
{
    struct expo e = { .format = VANE_FORMAT_TEXT, .out = *out };
    const struct sdk_visitor v = { text_begin, text_point, text_end, &e };
    int stop = sdk_file_visit(f, &v);
    *out = e.out;
    return stop;
}

vane_status vane_render(vane_format f, char **ret, size_t *ret_n)
{
    if (!ret || !ret_n || (unsigned)f > VANE_FORMAT_PROTOBUF)
        return VANE_E_ARG;
    if (!sdk_enter())
        return VANE_E_STATE;
    struct expo e = { .format = f };
    sdk_buf_init(&e.out, BODY_MAX);
    vane_status st = render(&e);
    sdk_leave();
    if (st) {
        sdk_buf_free(&e.out);
        return st;
    }
    sdk_count(SDK_MEMORY_BYTES, (uint64_t)0 - e.out.cap); /* the caller's from here */
    *ret = e.out.p;
    *ret_n = e.out.n;
    return VANE_OK;
}

void vane_render_free(char *body)
{
    free(body);
}

vane_status vane_render_to(vane_format f, vane_write_fn write, void *ctx)
{
    if (!write || (unsigned)f > VANE_FORMAT_PROTOBUF)
        return VANE_E_ARG;
    if (!sdk_enter())
        return VANE_E_STATE;
    struct expo e = { .format = f };
    sdk_buf_init(&e.out, BODY_MAX);
    vane_status st = VANE_E_NOMEM;
    if (sdk_buf_room(&e.out, CHUNK)) {
        e.out.flush = write;
        e.out.flush_ctx = ctx;
        st = render(&e);
        if (!st && e.out.n && write(ctx, e.out.p, e.out.n))
            st = VANE_E_IO;
        else if (st && e.out.failed)
            st = VANE_E_IO;
    }
    sdk_leave();
    sdk_buf_free(&e.out);
    return st;
}

/* ---- negotiation ---- */

const char *vane_format_content_type(vane_format f)
{
    switch (f) {
    case VANE_FORMAT_OPENMETRICS:
        return "application/openmetrics-text; version=1.0.0; charset=utf-8";
    case VANE_FORMAT_PROTOBUF:
        return "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    case VANE_FORMAT_TEXT:
        break;
    }
    return "text/plain; version=0.0.4; charset=utf-8";
}

static bool has(const char *s, size_t n, const char *what)
{
    size_t w = strlen(what);
    for (size_t i = 0; i + w <= n; i++)
        if (!strncasecmp(s + i, what, w))
            return true;
    return false;
}

/* q of a media range in thousandths; 1000 without one. */
static unsigned quality(const char *s, size_t n)
{
    for (size_t i = 0; i + 2 < n; i++) {
        bool param = (s[i] == ';' || s[i] == ' ') && (s[i + 1] == 'q' || s[i + 1] == 'Q') && s[i + 2] == '=';
        double q;
        size_t len = 0;
        if (!param)
            continue;
        while (i + 3 + len < n && ((s[i + 3 + len] >= '0' && s[i + 3 + len] <= '9') || s[i + 3 + len] == '.'))
            len++;
        if (!sdk_parse_f64(s + i + 3, len, &q) || q < 0 || q > 1)
            return 0;
        return (unsigned)(q * 1000 + 0.5);
    }
    return 1000;
}

vane_format vane_format_negotiate(const char *accept)
{
    vane_format best = VANE_FORMAT_TEXT;
    unsigned best_q = 0;
    for (const char *at = accept; at && *at;) {
        size_t n = strcspn(at, ",");
        vane_format f = VANE_FORMAT_TEXT;
        bool known = true;
        if (has(at, n, "application/openmetrics-text"))
            f = VANE_FORMAT_OPENMETRICS;
        else if (has(at, n, "application/vnd.google.protobuf") && has(at, n, "io.prometheus.client.MetricFamily"))
            f = VANE_FORMAT_PROTOBUF;
        else
            known = has(at, n, "text/plain") || has(at, n, "text/*") || has(at, n, "*/*");
        if (f == VANE_FORMAT_PROTOBUF && !has(at, n, "encoding=delimited"))
            known = false;
        unsigned q = known ? quality(at, n) : 0;
        if (q > best_q) {
            best = f;
            best_q = q;
        }
        at += n + (at[n] == ',');
    }
    return best;
}
