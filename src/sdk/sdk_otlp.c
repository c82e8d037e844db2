/* OTLP request bodies in protobuf: opentelemetry-proto collector/{trace,metrics,logs}/v1, trace/v1/trace.proto,
 * metrics/v1/metrics.proto, logs/v1/logs.proto, common/v1, resource/v1. Field numbers are written where they are used. */
#include "sdk_push.h"

static void pair(struct sdk_buf *b, unsigned field, const char *key, const char *value)
{
    sdk_otlp_pair(b, field, key, strlen(key), VANE_T_STR, value, strlen(value));
}

/* Field 1 of each request is what one resource has; its own field 1 is the resource. Left open. */
static size_t begin(struct sdk_buf *b)
{
    size_t all = sdk_pb_begin(b, 1), resource = sdk_pb_begin(b, 1);
    for (size_t i = 0; i < sdk_resource_n; i++)
        pair(b, 1, sdk_resource[i].key, sdk_resource[i].value);
    sdk_pb_end(b, resource);
    return all;
}

/* Field 2 there is what one scope has. Left open. */
static size_t scope(struct sdk_buf *b, const char *name, const char *version)
{
    size_t all = sdk_pb_begin(b, 2), mark = sdk_pb_begin(b, 1);
    sdk_pb_str(b, 1, *name ? name : "libvane");
    version = *name ? version : vane_version();
    if (*version)
        sdk_pb_str(b, 2, version);
    sdk_pb_end(b, mark);
    return all;
}

static void begin_own(struct sdk_buf *b, struct sdk_otlp_marks *m)
{
    m->of[0] = begin(b);
    m->of[1] = scope(b, "", "");
}

void sdk_otlp_close(struct sdk_buf *b, const struct sdk_otlp_marks *m)
{
    sdk_pb_end(b, m->of[1]);
    sdk_pb_end(b, m->of[0]);
}

static void fixed32(struct sdk_buf *b, unsigned field, uint32_t v)
{
    char bytes[4] = { (char)v, (char)(v >> 8), (char)(v >> 16), (char)(v >> 24) };
    sdk_pb_tag(b, field, 5);
    sdk_put(b, bytes, 4);
}

static bool all_zero(const uint8_t *p, size_t n)
{
    while (n && !p[n - 1])
        n--;
    return n == 0;
}

/* ---- spans ---- */

static void span(struct sdk_buf *b, const struct sdk_span_rec *r)
{
    const char *name = (const char *)(r + 1), *status = name + r->name_n, *state = status + r->status_n,
               *p = state + r->state_n;
    size_t mark = sdk_pb_begin(b, 2);
    sdk_pb_bytes(b, 1, r->trace_id, 16);
    sdk_pb_bytes(b, 2, r->span_id, 8);
    if (r->state_n)
        sdk_pb_bytes(b, 3, state, r->state_n);
    if (!all_zero(r->parent, 8))
        sdk_pb_bytes(b, 4, r->parent, 8);
    sdk_pb_bytes(b, 5, name, r->name_n);
    sdk_pb_u64(b, 6, r->kind);
    sdk_pb_fixed64(b, 7, r->start_unix_ns);
    sdk_pb_fixed64(b, 8, r->end_unix_ns);
    for (size_t i = 0; i < r->n_attrs; i++) {
        struct sdk_rec_attr a;
        memcpy(&a, p, sizeof a);
        p += sizeof a;
        sdk_otlp_pair(b, 9, p, a.key_n, (vane_type)a.type, p + a.key_n, a.n);
        p += a.key_n + a.n;
    }
    if (r->dropped_attrs)
        sdk_pb_u64(b, 10, r->dropped_attrs);
    sdk_put(b, p, r->events_n + r->links_n); /* fields 11 and 13, written when they came */
    if (r->dropped_events)
        sdk_pb_u64(b, 12, r->dropped_events);
    if (r->dropped_links)
        sdk_pb_u64(b, 14, r->dropped_links);
    if (r->code) {
        size_t st = sdk_pb_begin(b, 15);
        if (r->status_n)
            sdk_pb_bytes(b, 2, status, r->status_n);
        sdk_pb_u64(b, 3, r->code);
        sdk_pb_end(b, st);
    }
    fixed32(b, 16, r->flags | 0x100u | (r->parent_remote ? 0x200u : 0));
    sdk_pb_end(b, mark);
}

struct bodies {
    struct sdk_buf *otlp, *zipkin;
};

static void span_to_bodies(void *ctx, const struct sdk_span_rec *r)
{
    const struct bodies *to = ctx;
    if (to->otlp)
        span(to->otlp, r);
    if (to->zipkin)
        sdk_zipkin_span(to->zipkin, r);
}

uint32_t sdk_otlp_traces(struct sdk_buf *b, struct sdk_buf *zipkin, uint32_t max)
{
    if (!sdk_trace_waiting())
        return 0;
    struct bodies to = { b, zipkin };
    struct sdk_otlp_marks m = { { 0 } };
    uint32_t n = 0;
    if (b)
        begin_own(b, &m);
    while (n < max && (!b || b->n < SDK_OTLP_BODY) && (!zipkin || zipkin->n < SDK_OTLP_BODY) &&
           sdk_trace_take(span_to_bodies, &to))
        n++;
    if (b)
        sdk_otlp_close(b, &m);
    if (b && !n)
        b->n = 0;
    if (zipkin && n)
        sdk_putc(zipkin, ']');
    return n;
}

/* ---- log lines ---- */

void sdk_otlp_log(struct sdk_buf *b, struct sdk_otlp_marks *m, const struct sdk_log_line *l)
{
    const struct sdk_log_pair *event = l->kind == SDK_LOG_EVENT ? sdk_log_find(l, "event.name") : NULL;
    if (!b->n)
        begin_own(b, m);
    size_t mark = sdk_pb_begin(b, 2);
    sdk_pb_fixed64(b, 1, l->unix_ns);
    sdk_pb_u64(b, 2, l->level);
    sdk_pb_str(b, 3, sdk_log_level_name(l->level));
    size_t body = sdk_pb_begin(b, 5);
    sdk_pb_bytes(b, 1, l->message, l->message_n);
    sdk_pb_end(b, body);
    for (size_t i = 0; i < l->n_fields; i++) {
        const struct sdk_log_pair *p = &l->fields[i];
        if (p != event)
            sdk_otlp_pair(b, 6, p->key, p->key_n, p->type, p->value, p->value_n);
    }
    if (l->kind == SDK_LOG_AUDIT)
        pair(b, 6, "log.kind", "audit");
    const struct {
        const char *key;
        int64_t v;
    } numbers[] = { { "code.line.number", l->file_n ? l->line : 0 }, { "log.suppressed", l->suppressed } };
    if (l->file_n)
        sdk_otlp_pair(b, 6, "code.file.path", 14, VANE_T_STR, l->file, l->file_n);
    for (size_t i = 0; i < SDK_COUNT_OF(numbers); i++)
        if (numbers[i].v)
            sdk_otlp_pair(b, 6, numbers[i].key, strlen(numbers[i].key), VANE_T_INT, &numbers[i].v, 8);
    if (l->dropped)
        sdk_pb_u64(b, 7, l->dropped);
    if (l->trace_id) {
        fixed32(b, 8, l->trace_flags & 1);
        sdk_pb_bytes(b, 9, l->trace_id, 16);
        sdk_pb_bytes(b, 10, l->span_id, 8);
    }
    sdk_pb_fixed64(b, 11, sdk_unix_ns());
    if (event && event->type == VANE_T_STR)
        sdk_pb_bytes(b, 12, event->value, event->value_n);
    sdk_pb_end(b, mark);
}

/* ---- metrics ---- */

struct metrics {
    struct sdk_buf *b;
    uint64_t now_ns;
    uint32_t points;
    size_t scope_mark, metric_mark, data_mark; /* messages that are open */
    bool scope_open;
    char scope_name[VANE_NAME_MAX + 1], scope_version[VANE_NAME_MAX + 1];
};

static void labels(struct sdk_buf *b, unsigned field, const struct sdk_point *p)
{
    char name[VANE_NAME_MAX + 1], value[VANE_VALUE_MAX + 1];
    const char *at = p->labels;
    while (p->labels_n && sdk_labels_next(&at, p->labels + p->labels_n, name, value))
        sdk_otlp_pair(b, field, name, strlen(name), VANE_T_STR, value, strlen(value));
}

static void exemplars(struct sdk_buf *b, unsigned field, const struct sdk_point *p)
{
    for (size_t i = 0; i < p->n_exemplars; i++) {
        const struct sdk_exemplar *e = &p->exemplars[i];
        size_t mark = sdk_pb_begin(b, field);
        sdk_pb_fixed64(b, 2, e->unix_ms * 1000000u);
        sdk_pb_f64(b, 3, e->value);
        sdk_pb_bytes(b, 4, e->span_id, 8);
        sdk_pb_bytes(b, 5, e->trace_id, 16);
        sdk_pb_end(b, mark);
    }
}

static int family_begin(void *ctx, const struct sdk_family *f)
{
    struct metrics *m = ctx;
    struct sdk_buf *b = m->b;
    if (!m->scope_open || strcmp(m->scope_name, f->scope) || strcmp(m->scope_version, f->scope_version)) {
        if (m->scope_open)
            sdk_pb_end(b, m->scope_mark);
        m->scope_open = true;
        m->scope_name[sdk_text(m->scope_name, VANE_NAME_MAX, f->scope, SIZE_MAX)] = 0;
        m->scope_version[sdk_text(m->scope_version, VANE_NAME_MAX, f->scope_version, SIZE_MAX)] = 0;
        m->scope_mark = scope(b, f->scope, f->scope_version);
    }
    m->metric_mark = sdk_pb_begin(b, 2);
    char name[VANE_NAME_MAX + 6];
    size_t n = sdk_text(name, VANE_NAME_MAX, f->name, SIZE_MAX);
    memcpy(name + n, f->kind == VANE_INFO ? "_info" : "", f->kind == VANE_INFO ? 6 : 1); /* a gauge, named as scraped */
    sdk_pb_str(b, 1, name);
    if (*f->help)
        sdk_pb_str(b, 2, f->help);
    if (*f->unit)
        sdk_pb_str(b, 3, f->unit);
    bool sum = f->kind == VANE_COUNTER || f->kind == VANE_FCOUNTER || f->kind == VANE_UPDOWN;
    m->data_mark = sdk_pb_begin(b, f->kind == VANE_HISTOGRAM ? (f->native ? 10 : 9) : sum ? 7 : 5);
    if (sum || f->kind == VANE_HISTOGRAM)
        sdk_pb_u64(b, 2, 2); /* cumulative */
    if (sum)
        sdk_pb_u64(b, 3, f->kind != VANE_UPDOWN); /* is_monotonic */
    return b->failed;
}

static int family_end(void *ctx, const struct sdk_family *f)
{
    struct metrics *m = ctx;
    (void)f;
    sdk_pb_end(m->b, m->data_mark);
    sdk_pb_end(m->b, m->metric_mark);
    return m->b->failed;
}

/* Buckets of one sign as offset and dense counts. OTLP's bucket i is (base^i, base^(i+1)], ours of key k ends at base^k. */
static void buckets(struct sdk_buf *b, unsigned field, const struct sdk_span_of_buckets *s, size_t n)
{
    if (!n)
        return;
    size_t mark = sdk_pb_begin(b, field), i = 0;
    sdk_pb_s64(b, 1, s[0].key - 1);
    size_t counts = sdk_pb_begin(b, 2);
    for (int64_t key = s[0].key; i < n && !b->failed; key++) {
        bool have = s[i].key == key;
        sdk_pb_varint(b, have ? s[i].count : 0);
        i += have;
    }
    sdk_pb_end(b, counts);
    sdk_pb_end(b, mark);
}

static void histogram_point(struct sdk_buf *b, const struct sdk_family *f, const struct sdk_point *p)
{
    sdk_pb_fixed64(b, 4, p->count);
    sdk_pb_f64(b, 5, p->sum);
    if (f->native) {
        sdk_pb_s64(b, 6, p->schema);
        sdk_pb_fixed64(b, 7, p->zero_count);
        buckets(b, 8, p->pos, p->n_pos);
        buckets(b, 9, p->neg, p->n_neg);
        exemplars(b, 11, p);
        sdk_pb_f64(b, 14, p->zero_threshold);
        return;
    }
    size_t mark = sdk_pb_begin(b, 6);
    for (size_t i = 0; p->classic && i <= f->n_bounds; i++)
        for (unsigned k = 0; k < 64; k += 8)
            sdk_putc(b, (char)(p->classic[i] >> k));
    sdk_pb_end(b, mark);
    mark = sdk_pb_begin(b, 7);
    for (size_t i = 0; p->classic && i < f->n_bounds; i++) {
        uint64_t bits;
        memcpy(&bits, &f->bounds[i], 8);
        for (unsigned k = 0; k < 64; k += 8)
            sdk_putc(b, (char)(bits >> k));
    }
    sdk_pb_end(b, mark);
    exemplars(b, 8, p);
}

static size_t point_begin(struct metrics *m, const struct sdk_family *f, const struct sdk_point *p)
{
    bool native = f->kind == VANE_HISTOGRAM && f->native;
    size_t mark = sdk_pb_begin(m->b, 1);
    labels(m->b, f->kind != VANE_HISTOGRAM ? 7 : native ? 1 : 9, p);
    if (p->created_unix_ms)
        sdk_pb_fixed64(m->b, 2, p->created_unix_ms * 1000000u);
    sdk_pb_fixed64(m->b, 3, m->now_ns);
    m->points++;
    return mark;
}

static int point(void *ctx, const struct sdk_family *f, const struct sdk_point *p)
{
    struct metrics *m = ctx;
    struct sdk_buf *b = m->b;
    if (f->kind == VANE_STATESET) { /* one point a state, as the text formats have it */
        for (size_t i = 0; i < f->n_states; i++) {
            size_t mark = point_begin(m, f, p);
            sdk_otlp_pair(b, 7, f->name, strlen(f->name), VANE_T_STR, f->states[i], strlen(f->states[i]));
            sdk_pb_fixed64(b, 6, p->v.u == i);
            sdk_pb_end(b, mark);
        }
        return b->failed;
    }
    size_t mark = point_begin(m, f, p);
    switch (f->kind) {
    case VANE_COUNTER:
        exemplars(b, 5, p);
        sdk_pb_fixed64(b, 6, p->v.u);
        break;
    case VANE_UPDOWN:
        sdk_pb_fixed64(b, 6, (uint64_t)p->v.i);
        break;
    case VANE_HISTOGRAM:
        histogram_point(b, f, p);
        break;
    case VANE_INFO:
        sdk_pb_fixed64(b, 6, 1);
        break;
    default:
        exemplars(b, 5, p);
        sdk_pb_f64(b, 4, p->v.f);
        break;
    }
    sdk_pb_end(b, mark);
    return b->failed;
}

uint32_t sdk_otlp_metrics(struct sdk_buf *b)
{
    struct metrics m = { .b = b, .now_ns = sdk_unix_ns() };
    struct sdk_visitor v = { family_begin, point, family_end, &m };
    size_t resource_metrics = begin(b);
    sdk_collect(&v);
    if (m.scope_open)
        sdk_pb_end(b, m.scope_mark);
    sdk_pb_end(b, resource_metrics);
    return m.points;
}
