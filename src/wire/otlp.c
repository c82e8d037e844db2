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

#include <stdio.h>

#include "wire/otlp_dec_int.h"

enum { METRIC_NAME = 1, METRIC_DESCRIPTION = 2, METRIC_UNIT = 3 };
enum { DATA_GAUGE = 5, DATA_SUM = 7, DATA_HISTOGRAM = 9, DATA_EXP_HISTOGRAM = 10, DATA_SUMMARY = 11 };
enum { AGGREGATION_DELTA = 1, AGGREGATION_CUMULATIVE = 2 };
enum { TARGET_INFO_STEP_MS = 150000, TARGET_INFO_SAMPLES_MAX = 1000 };

/* ---- metrics ---- */

struct data_kind {
    uint32_t field;
    bool aggregated; /* has a temporality */
    enum otlp_metric_kind kind;
    enum metric_type type;
    otlp_point_fn *point;
};
static const struct data_kind data_kinds[] = {
    { DATA_GAUGE, false, OTLP_KIND_GAUGE, METRIC_GAUGE, otlp_number_point },
    { DATA_SUM, true, OTLP_KIND_SUM_NON_MONOTONIC, METRIC_GAUGE, otlp_number_point },
    { DATA_HISTOGRAM, true, OTLP_KIND_HISTOGRAM, METRIC_HISTOGRAM, otlp_histogram_point },
    { DATA_EXP_HISTOGRAM, true, OTLP_KIND_EXP_HISTOGRAM, METRIC_HISTOGRAM, otlp_exponential_point },
    { DATA_SUMMARY, false, OTLP_KIND_SUMMARY, METRIC_SUMMARY, otlp_summary_point },
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
    TRY(otlp_metric_name(d->a, mt->name, mt->unit, counter ? OTLP_KIND_SUM_MONOTONIC : mt->kind->kind, &o, &d->family,
                         why));
    bool parts = mt->kind->field == DATA_HISTOGRAM || mt->kind->field == DATA_SUMMARY;
    if (parts) {
        d->sum_name = arena_printf(d->a, STR_FMT "_sum", STR_ARG(d->family));
        d->count_name = arena_printf(d->a, STR_FMT "_count", STR_ARG(d->family));
        d->bucket_name = arena_printf(d->a, STR_FMT "_bucket", STR_ARG(d->family));
    }
    d->meta.type = counter ? METRIC_COUNTER : mt->kind->type;
    d->meta.help = wire_utf8_ok(mt->description) ? mt->description : STR_NONE;
    d->meta.unit = wire_utf8_ok(mt->unit) ? otlp_unit_name(d->a, mt->unit, d->utf8) : STR_NONE;
    d->temporality =
        mt->aggregation == AGGREGATION_DELTA && mt->kind->aggregated ? TEMPORALITY_DELTA : TEMPORALITY_CUMULATIVE;
    d->cumulative_kind = mt->kind->field != DATA_GAUGE;
    return OK;
}

static bool over(const struct dec *d)
{
    return d->out->series.n > d->opt->limits.series_max || d->out->n_samples > d->opt->limits.samples_max ||
           arena_over(d->a);
}

static void metric_read(struct dec *d, struct pb m, struct pb *up)
{
    struct metric mt = metric_head(m, up);
    struct err_text why;
    if (up->bad || !mt.kind || mt.n_points == 0)
        return;
    d->metric_name = mt.name;
    if (metric_begin(d, &mt, &why) != OK) {
        otlp_reject(d, mt.n_points, &why);
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
    at.n = MIN(at.n, d->opt->limits.labels_max);
    otlp_attrs_sort(&at);
    for (size_t i = 0; i < at.n; i++) {
        str l = otlp_label_of(d, arena_printf(d->a, "otel_scope_" STR_FMT, STR_ARG(at.p[i].key)));
        if (l.p)
            label_list_set(d, &d->fixed, l, at.p[i].value);
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
    return str_eq(key, STR("service.name")) || str_eq(key, STR("service.namespace")) ||
           str_eq(key, STR("service.instance.id"));
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
    otlp_attrs_sort(at);
    for (size_t i = 0; i < at->n; i++) {
        str key = at->p[i].key;
        label_list_set(d, &all, key, at->p[i].value);
        bool promote = d->opt->promote_all_resource_attributes
                           ? !in_list(key, d->opt->ignore_resource_attributes, d->opt->n_ignore)
                           : in_list(key, d->opt->promote_resource_attributes, d->opt->n_promote);
        str name = promote ? otlp_label_of(d, key) : STR_NONE;
        if (name.p && !label_list_find(&d->promoted, name))
            avec_push(d->a, &d->promoted, ((struct label){ name, at->p[i].value }));
    }
    str service = otlp_attr_get(at, STR("service.name")), space = otlp_attr_get(at, STR("service.namespace"));
    str instance = otlp_attr_get(at, STR("service.instance.id"));
    if (service.p)
        avec_push(d->a, &d->fixed,
                  ((struct label){ STR("job"),
                                   space.p ? arena_printf(d->a, STR_FMT "/" STR_FMT, STR_ARG(space), STR_ARG(service))
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
    if (otlp_point_labels(d, &why) != OK) {
        otlp_reject(d, 0, &why);
        return;
    }
    struct batch_series s = { .labels = otlp_merge_labels(d, d->family, NULL),
                              .meta = d->meta,
                              .resource = d->resource };
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
    return err_fail_at(reterr, ERR_PARSE, pos, "malformed protobuf at byte %zu of the ExportMetricsServiceRequest",
                       pos);
}

enum err otlp_metrics_decode(struct arena *a, str body, enum otlp_coding coding, const struct otlp_options *opt,
                             struct batch *out, struct wire_rejects *ret_rejects, struct err_text *reterr)
{
    memset(out, 0, sizeof(*out));
    memset(ret_rejects, 0, sizeof(*ret_rejects));
    out->a = a;
    if (coding == OTLP_JSON) {
        AUTO_BUF struct buf b;
        buf_init(&b, a->bytes_max);
        TRY(otlp_json_to_protobuf(a, body, &otlp_json_metrics_request, &b, reterr));
        if (b.failed)
            return err_fail(reterr, ERR_LIMIT, "the request needs more than %zu bytes of memory to decode",
                            a->bytes_max);
        body = arena_str(a, buf_str(&b));
    }
    struct dec d = {
        .a = a,
        .opt = opt,
        .out = out,
        .rejects = ret_rejects,
        .utf8 = opt->naming == OTLP_NO_UTF8_ESCAPING_WITH_SUFFIXES || opt->naming == OTLP_NO_TRANSLATION,
        .suffixes =
            opt->naming == OTLP_UNDERSCORE_ESCAPING_WITH_SUFFIXES || opt->naming == OTLP_NO_UTF8_ESCAPING_WITH_SUFFIXES,
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
    static const str rows[] = { STR_INIT("UnderscoreEscapingWithSuffixes"),
                                STR_INIT("UnderscoreEscapingWithoutSuffixes"), STR_INIT("NoUTF8EscapingWithSuffixes"),
                                STR_INIT("NoTranslation") };
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
