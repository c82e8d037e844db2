/* OTLP/JSON -> protobuf, driven by tables (otlp_int.h): one pass of the pull reader writes the wire form, which the one
 * protobuf decoder then reads. Rules of the OTLP specification, "JSON Protobuf Encoding":
 *   - field names are lowerCamelCase; unknown fields are ignored at any depth; null is "not set"
 *   - trace and span ids are hex, other bytes base64
 *   - 64-bit integers are strings of digits or numbers; enums are numbers (names are accepted too)
 *   - doubles may be "NaN", "Infinity", "-Infinity"
 * Nesting is bounded by the reader (JSON_DEPTH_MAX). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "wire/otlp_int.h"

struct conv {
    struct json_in j;
    struct arena *a;
    struct buf *out;
    const struct otlp_json_field *field; /* the one being read, for messages */
    char why[160];
};

static bool message(struct conv *c, const struct otlp_json_message *m);

static bool wrong(struct conv *c, const char *want)
{
    if (!c->why[0] && c->j.tok != JSON_TOK_ERR)
        snprintf(c->why, sizeof(c->why), "%s: %s expected", c->field->name, want);
    return false;
}

/* ---- scalars ---- */

struct enum_name {
    str name;
    uint64_t value;
};
static const struct enum_name enum_names[] = {
    { STR_INIT("AGGREGATION_TEMPORALITY_UNSPECIFIED"), 0 },
    { STR_INIT("AGGREGATION_TEMPORALITY_DELTA"), 1 },
    { STR_INIT("AGGREGATION_TEMPORALITY_CUMULATIVE"), 2 },
};

/* A number token or a string of digits as 64 bits (negative: two's complement). Floats with whole values count. */
static bool integer(struct conv *c, uint64_t *ret)
{
    int64_t i;
    double d;
    str s = c->j.text;
    if (c->j.tok != JSON_TOK_NUM && c->j.tok != JSON_TOK_STR)
        return wrong(c, "an integer");
    if (str_to_u64(s, ret))
        return true;
    if (str_to_i64(s, &i)) {
        *ret = (uint64_t)i;
        return true;
    }
    for (size_t k = 0; k < ARRAY_LEN(enum_names) && c->j.tok == JSON_TOK_STR; k++)
        if (str_eq(s, enum_names[k].name)) {
            *ret = enum_names[k].value;
            return true;
        }
    if (num_parse_f64(s, &d) && d == floor(d) && d >= -0x1p63 && d < 0x1p64) {
        *ret = d < 0 ? (uint64_t)(int64_t)d : (uint64_t)d;
        return true;
    }
    return wrong(c, "an integer");
}

static bool real(struct conv *c, double *ret)
{
    str s = c->j.text;
    if (c->j.tok != JSON_TOK_NUM && c->j.tok != JSON_TOK_STR)
        return wrong(c, "a number");
    if (str_eq(s, STR("NaN"))) {
        *ret = (double)NAN;
        return true;
    }
    if (str_eq(s, STR("Infinity")) || str_eq(s, STR("-Infinity"))) {
        *ret = s.p[0] == '-' ? -HUGE_VAL : HUGE_VAL;
        return true;
    }
    if (num_parse_f64(s, ret) || (c->j.tok == JSON_TOK_NUM && s.n))
        return true; /* a number out of range is infinite, as protobuf's JSON has it */
    return wrong(c, "a number");
}

static int hex_digit(char ch)
{
    return ch >= '0' && ch <= '9'   ? ch - '0'
           : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
           : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                    : -1;
}
static bool hex_bytes(struct conv *c, str *ret)
{
    str s = c->j.text;
    if (c->j.tok != JSON_TOK_STR || s.n % 2)
        return wrong(c, "hex digits");
    char *p = arena_alloc_align(c->a, s.n / 2 + 1, 1);
    for (size_t i = 0; i < s.n; i += 2) {
        int hi = hex_digit(s.p[i]), lo = hex_digit(s.p[i + 1]);
        if (hi < 0 || lo < 0)
            return wrong(c, "hex digits");
        p[i / 2] = (char)(hi << 4 | lo);
    }
    *ret = (str){ p, s.n / 2 };
    return true;
}

static int base64_digit(char ch)
{
    return ch >= 'A' && ch <= 'Z'   ? ch - 'A'
           : ch >= 'a' && ch <= 'z' ? ch - 'a' + 26
           : ch >= '0' && ch <= '9' ? ch - '0' + 52
           : ch == '+' || ch == '-' ? 62
           : ch == '/' || ch == '_' ? 63
                                    : -1;
}
static bool base64_bytes(struct conv *c, str *ret)
{
    str s = c->j.text;
    if (c->j.tok != JSON_TOK_STR)
        return wrong(c, "base64");
    while (s.n && s.p[s.n - 1] == '=')
        s.n--;
    char *p = arena_alloc_align(c->a, s.n + 1, 1);
    size_t n = 0;
    uint32_t bits = 0, have = 0;
    for (size_t i = 0; i < s.n; i++) {
        int d = base64_digit(s.p[i]);
        if (d < 0)
            return wrong(c, "base64");
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have >= 8) {
            have -= 8;
            p[n++] = (char)(bits >> have & 0xff);
        }
    }
    if (s.n % 4 == 1)
        return wrong(c, "base64");
    *ret = (str){ p, n };
    return true;
}

/* The value whose first token was just read, as field f. */
static bool value(struct conv *c, const struct otlp_json_field *f)
{
    uint64_t u;
    double d;
    str s;
    c->field = f;
    switch ((enum otlp_json_kind)f->kind) {
    case OJ_STRING:
        if (c->j.tok != JSON_TOK_STR)
            return wrong(c, "a string");
        pb_put_bytes(c->out, f->number, c->j.text);
        return true;
    case OJ_HEX:
    case OJ_BASE64:
        if (!(f->kind == OJ_HEX ? hex_bytes(c, &s) : base64_bytes(c, &s)))
            return false;
        pb_put_bytes(c->out, f->number, s);
        return true;
    case OJ_BOOL:
        if (c->j.tok != JSON_TOK_TRUE && c->j.tok != JSON_TOK_FALSE)
            return wrong(c, "true or false");
        pb_put_varint(c->out, f->number, c->j.tok == JSON_TOK_TRUE);
        return true;
    case OJ_VARINT:
    case OJ_SVARINT:
        if (!integer(c, &u))
            return false;
        pb_put_varint(c->out, f->number, f->kind == OJ_SVARINT ? zigzag((int64_t)u) : u);
        return true;
    case OJ_FIXED64:
        if (!integer(c, &u))
            return false;
        pb_put_fixed64(c->out, f->number, u);
        return true;
    case OJ_DOUBLE:
        if (!real(c, &d))
            return false;
        pb_put_double(c->out, f->number, d);
        return true;
    case OJ_MESSAGE:
        break;
    }
    if (c->j.tok != JSON_TOK_OBJ)
        return wrong(c, "an object");
    size_t at = pb_open(c->out, f->number);
    bool ok = message(c, f->message);
    pb_close(c->out, at);
    return ok;
}

/* ---- messages ---- */

static const struct otlp_json_field *field_of(const struct otlp_json_message *m, str name)
{
    for (size_t i = 0; i < m->n_fields; i++)
        if (strlen(m->fields[i].name) == name.n && memcmp(m->fields[i].name, name.p, name.n) == 0)
            return &m->fields[i];
    return NULL;
}

static bool repeated(struct conv *c, const struct otlp_json_field *f)
{
    c->field = f;
    if (c->j.tok != JSON_TOK_ARR)
        return wrong(c, "an array");
    while (json_next(&c->j) != JSON_TOK_ARR_END) {
        if (c->j.tok == JSON_TOK_ERR)
            return false;
        if (!value(c, f))
            return false;
    }
    return true;
}

/* After the '{' of message m. */
static bool message(struct conv *c, const struct otlp_json_message *m)
{
    while (json_next(&c->j) == JSON_TOK_KEY) {
        const struct otlp_json_field *f = field_of(m, c->j.text);
        enum json_tok tok = json_next(&c->j);
        if (tok == JSON_TOK_ERR)
            return false;
        if (tok == JSON_TOK_NULL)
            continue;
        if (!f) {
            if (!json_skip(&c->j))
                return false;
        } else if (!(f->repeated ? repeated(c, f) : value(c, f))) {
            return false;
        }
    }
    return c->j.tok == JSON_TOK_OBJ_END;
}

enum err otlp_json_to_protobuf(struct arena *a, str json, const struct otlp_json_message *root, struct buf *out,
                               struct err_text *reterr)
{
    static const struct otlp_json_field top = { "request", 0, OJ_MESSAGE, false, NULL };
    struct conv c = { .a = a, .out = out, .field = &top };
    json_in_init(&c.j, a, json);
    json_next(&c.j);
    bool ok = c.j.tok == JSON_TOK_OBJ ? message(&c, root) : wrong(&c, "an object");
    if (ok)
        ok = json_next(&c.j) == JSON_TOK_END;
    if (ok)
        return OK;
    if (c.why[0] && !c.j.error)
        c.j.error = c.why;
    return json_fail(&c.j, reterr);
}

/* ---- the messages of metrics ---- */

#define MESSAGE(var, text, rows) const struct otlp_json_message var = { text, rows, ARRAY_LEN(rows) }

/* clang-format off */
static const struct otlp_json_message any_value;
static const struct otlp_json_field key_value_fields[] = {
    { "key", 1, OJ_STRING, false, NULL }, { "value", 2, OJ_MESSAGE, false, &any_value } };
static MESSAGE(key_value, "KeyValue", key_value_fields);
static const struct otlp_json_field array_value_fields[] = { { "values", 1, OJ_MESSAGE, true, &any_value } };
static MESSAGE(array_value, "ArrayValue", array_value_fields);
static const struct otlp_json_field kvlist_value_fields[] = { { "values", 1, OJ_MESSAGE, true, &key_value } };
static MESSAGE(kvlist_value, "KeyValueList", kvlist_value_fields);
static const struct otlp_json_field any_value_fields[] = {
    { "stringValue", 1, OJ_STRING, false, NULL },  { "boolValue", 2, OJ_BOOL, false, NULL },
    { "intValue", 3, OJ_VARINT, false, NULL },     { "doubleValue", 4, OJ_DOUBLE, false, NULL },
    { "arrayValue", 5, OJ_MESSAGE, false, &array_value }, { "kvlistValue", 6, OJ_MESSAGE, false, &kvlist_value },
    { "bytesValue", 7, OJ_BASE64, false, NULL } };
static MESSAGE(any_value, "AnyValue", any_value_fields);

static const struct otlp_json_field resource_fields[] = {
    { "attributes", 1, OJ_MESSAGE, true, &key_value }, { "droppedAttributesCount", 2, OJ_VARINT, false, NULL } };
static MESSAGE(resource, "Resource", resource_fields);
static const struct otlp_json_field scope_fields[] = {
    { "name", 1, OJ_STRING, false, NULL }, { "version", 2, OJ_STRING, false, NULL },
    { "attributes", 3, OJ_MESSAGE, true, &key_value }, { "droppedAttributesCount", 4, OJ_VARINT, false, NULL } };
static MESSAGE(scope, "InstrumentationScope", scope_fields);

static const struct otlp_json_field exemplar_fields[] = {
    { "filteredAttributes", 7, OJ_MESSAGE, true, &key_value }, { "timeUnixNano", 2, OJ_FIXED64, false, NULL },
    { "asDouble", 3, OJ_DOUBLE, false, NULL }, { "asInt", 6, OJ_FIXED64, false, NULL },
    { "spanId", 4, OJ_HEX, false, NULL }, { "traceId", 5, OJ_HEX, false, NULL } };
static MESSAGE(exemplar, "Exemplar", exemplar_fields);
static const struct otlp_json_field number_fields[] = {
    { "attributes", 7, OJ_MESSAGE, true, &key_value }, { "startTimeUnixNano", 2, OJ_FIXED64, false, NULL },
    { "timeUnixNano", 3, OJ_FIXED64, false, NULL }, { "asDouble", 4, OJ_DOUBLE, false, NULL },
    { "asInt", 6, OJ_FIXED64, false, NULL }, { "exemplars", 5, OJ_MESSAGE, true, &exemplar },
    { "flags", 8, OJ_VARINT, false, NULL } };
static MESSAGE(number, "NumberDataPoint", number_fields);
static const struct otlp_json_field histogram_point_fields[] = {
    { "attributes", 9, OJ_MESSAGE, true, &key_value }, { "startTimeUnixNano", 2, OJ_FIXED64, false, NULL },
    { "timeUnixNano", 3, OJ_FIXED64, false, NULL }, { "count", 4, OJ_FIXED64, false, NULL },
    { "sum", 5, OJ_DOUBLE, false, NULL }, { "bucketCounts", 6, OJ_FIXED64, true, NULL },
    { "explicitBounds", 7, OJ_DOUBLE, true, NULL }, { "exemplars", 8, OJ_MESSAGE, true, &exemplar },
    { "flags", 10, OJ_VARINT, false, NULL }, { "min", 11, OJ_DOUBLE, false, NULL }, { "max", 12, OJ_DOUBLE, false, NULL } };
static MESSAGE(histogram_point, "HistogramDataPoint", histogram_point_fields);
static const struct otlp_json_field buckets_fields[] = {
    { "offset", 1, OJ_SVARINT, false, NULL }, { "bucketCounts", 2, OJ_VARINT, true, NULL } };
static MESSAGE(buckets, "Buckets", buckets_fields);
static const struct otlp_json_field exponential_point_fields[] = {
    { "attributes", 1, OJ_MESSAGE, true, &key_value }, { "startTimeUnixNano", 2, OJ_FIXED64, false, NULL },
    { "timeUnixNano", 3, OJ_FIXED64, false, NULL }, { "count", 4, OJ_FIXED64, false, NULL },
    { "sum", 5, OJ_DOUBLE, false, NULL }, { "scale", 6, OJ_SVARINT, false, NULL },
    { "zeroCount", 7, OJ_FIXED64, false, NULL }, { "positive", 8, OJ_MESSAGE, false, &buckets },
    { "negative", 9, OJ_MESSAGE, false, &buckets }, { "flags", 10, OJ_VARINT, false, NULL },
    { "exemplars", 11, OJ_MESSAGE, true, &exemplar }, { "min", 12, OJ_DOUBLE, false, NULL },
    { "max", 13, OJ_DOUBLE, false, NULL }, { "zeroThreshold", 14, OJ_DOUBLE, false, NULL } };
static MESSAGE(exponential_point, "ExponentialHistogramDataPoint", exponential_point_fields);
static const struct otlp_json_field quantile_fields[] = {
    { "quantile", 1, OJ_DOUBLE, false, NULL }, { "value", 2, OJ_DOUBLE, false, NULL } };
static MESSAGE(quantile, "ValueAtQuantile", quantile_fields);
static const struct otlp_json_field summary_point_fields[] = {
    { "attributes", 7, OJ_MESSAGE, true, &key_value }, { "startTimeUnixNano", 2, OJ_FIXED64, false, NULL },
    { "timeUnixNano", 3, OJ_FIXED64, false, NULL }, { "count", 4, OJ_FIXED64, false, NULL },
    { "sum", 5, OJ_DOUBLE, false, NULL }, { "quantileValues", 6, OJ_MESSAGE, true, &quantile },
    { "flags", 8, OJ_VARINT, false, NULL } };
static MESSAGE(summary_point, "SummaryDataPoint", summary_point_fields);

static const struct otlp_json_field gauge_fields[] = { { "dataPoints", 1, OJ_MESSAGE, true, &number } };
static MESSAGE(gauge, "Gauge", gauge_fields);
static const struct otlp_json_field sum_fields[] = {
    { "dataPoints", 1, OJ_MESSAGE, true, &number }, { "aggregationTemporality", 2, OJ_VARINT, false, NULL },
    { "isMonotonic", 3, OJ_BOOL, false, NULL } };
static MESSAGE(sum, "Sum", sum_fields);
static const struct otlp_json_field histogram_fields[] = {
    { "dataPoints", 1, OJ_MESSAGE, true, &histogram_point }, { "aggregationTemporality", 2, OJ_VARINT, false, NULL } };
static MESSAGE(histogram, "Histogram", histogram_fields);
static const struct otlp_json_field exponential_fields[] = {
    { "dataPoints", 1, OJ_MESSAGE, true, &exponential_point }, { "aggregationTemporality", 2, OJ_VARINT, false, NULL } };
static MESSAGE(exponential, "ExponentialHistogram", exponential_fields);
static const struct otlp_json_field summary_fields[] = { { "dataPoints", 1, OJ_MESSAGE, true, &summary_point } };
static MESSAGE(summary, "Summary", summary_fields);

static const struct otlp_json_field metric_fields[] = {
    { "name", 1, OJ_STRING, false, NULL }, { "description", 2, OJ_STRING, false, NULL },
    { "unit", 3, OJ_STRING, false, NULL }, { "gauge", 5, OJ_MESSAGE, false, &gauge },
    { "sum", 7, OJ_MESSAGE, false, &sum }, { "histogram", 9, OJ_MESSAGE, false, &histogram },
    { "exponentialHistogram", 10, OJ_MESSAGE, false, &exponential }, { "summary", 11, OJ_MESSAGE, false, &summary } };
static MESSAGE(metric, "Metric", metric_fields);
static const struct otlp_json_field scope_metrics_fields[] = {
    { "scope", 1, OJ_MESSAGE, false, &scope }, { "metrics", 2, OJ_MESSAGE, true, &metric },
    { "schemaUrl", 3, OJ_STRING, false, NULL } };
static MESSAGE(scope_metrics, "ScopeMetrics", scope_metrics_fields);
static const struct otlp_json_field resource_metrics_fields[] = {
    { "resource", 1, OJ_MESSAGE, false, &resource }, { "scopeMetrics", 2, OJ_MESSAGE, true, &scope_metrics },
    { "schemaUrl", 3, OJ_STRING, false, NULL } };
static MESSAGE(resource_metrics, "ResourceMetrics", resource_metrics_fields);
static const struct otlp_json_field request_fields[] = { { "resourceMetrics", 1, OJ_MESSAGE, true, &resource_metrics } };
MESSAGE(otlp_json_metrics_request, "ExportMetricsServiceRequest", request_fields);
/* clang-format on */
