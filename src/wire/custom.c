/* POST /metrics/custom (manual: custom.h). */
#include "wire/custom.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "base/num.h"
#include "wire/wire_int.h"

struct reader {
    struct json_in j;
    struct arena *a;
    const struct wire_limits *lim;
    int64_t now_ms;
    size_t index; /* of the element, for messages */
    bool in_array;
    struct err_text *err;
    struct label *scratch; /* labels_max + 1 */
};

/* "JSON line 2, column 5: metrics[3].value: a number expected". */
PRINTF_LIKE(2, 3) static enum err fail(struct reader *r, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    int n = r->in_array ? snprintf(text, sizeof(text), "element %zu: ", r->index) : 0;
    va_start(ap, fmt);
    vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
    va_end(ap);
    r->j.error = text;
    enum err e = json_fail(&r->j, r->err);
    r->j.error = "";
    return e;
}
static enum err syntax(struct reader *r)
{
    return json_fail(&r->j, r->err);
}

static enum err number_of(struct reader *r, const char *field, double *ret)
{
    enum json_tok tok = json_next(&r->j);
    if (tok == JSON_TOK_ERR)
        return syntax(r);
    if ((tok != JSON_TOK_NUM && tok != JSON_TOK_STR) || !num_parse_f64(r->j.text, ret))
        return fail(r, "%s: a number expected", field);
    return OK;
}

static enum err string_of(struct reader *r, const char *field, str *ret)
{
    enum json_tok tok = json_next(&r->j);
    if (tok == JSON_TOK_ERR)
        return syntax(r);
    if (tok != JSON_TOK_STR)
        return fail(r, "%s: a string expected", field);
    *ret = r->j.text;
    return OK;
}

static enum err timestamp_of(struct reader *r, int64_t *ret_ms)
{
    double v;
    enum json_tok tok = json_next(&r->j);
    if (tok == JSON_TOK_ERR)
        return syntax(r);
    if (tok == JSON_TOK_NULL)
        return OK;
    bool is_number = (tok == JSON_TOK_NUM || tok == JSON_TOK_STR) && num_parse_f64(r->j.text, &v);
    if (!is_number)
        return tok == JSON_TOK_STR && num_parse_time(r->j.text, ret_ms)
                   ? OK
                   : fail(r, "timestamp: Unix seconds, Unix milliseconds or RFC 3339 text expected");
    if (!(fabs(v) < 1e15))
        return fail(r, "timestamp: out of range");
    *ret_ms = (int64_t)(fabs(v) >= 1e11 ? v : round(v * 1000));
    return OK;
}

static enum err labels_of(struct reader *r, struct label *p, size_t *n, size_t cap)
{
    enum json_tok tok = json_next(&r->j);
    if (tok == JSON_TOK_NULL)
        return OK;
    if (tok != JSON_TOK_OBJ)
        return tok == JSON_TOK_ERR ? syntax(r) : fail(r, "labels: an object expected");
    while (json_next(&r->j) == JSON_TOK_KEY) {
        str name = r->j.text, value = STR_NONE;
        tok = json_next(&r->j);
        switch (tok) {
        case JSON_TOK_STR:
        case JSON_TOK_NUM:
            value = r->j.text;
            break;
        case JSON_TOK_TRUE:
        case JSON_TOK_FALSE:
            value = tok == JSON_TOK_TRUE ? STR("true") : STR("false");
            break;
        case JSON_TOK_NULL:
            continue;
        case JSON_TOK_ERR:
            return syntax(r);
        default:
            return fail(r, "labels." STR_FMT ": a string expected", STR_ARG(str_take(name, 60)));
        }
        if (!name.n || str_eq(name, LABEL_NAME))
            return fail(r, "labels: \"" STR_FMT "\" cannot be a label name here", STR_ARG(name));
        if (*n == cap)
            return fail(r, "labels: more than %zu", r->lim->labels_max);
        p[(*n)++] = (struct label){ name, value };
    }
    return r->j.tok == JSON_TOK_OBJ_END ? OK : syntax(r);
}

enum field { F_NAME, F_VALUE, F_LABELS, F_TIMESTAMP, F_TYPE, F_UNIT, F_HELP, F_N };
static const str fields[F_N] = { STR_INIT("name"), STR_INIT("value"), STR_INIT("labels"), STR_INIT("timestamp"),
                                 STR_INIT("type"), STR_INIT("unit"),  STR_INIT("help") };

struct metric {
    str name;
    struct sample s;
    struct label *labels;
    size_t n_labels;
    struct metric_meta meta;
    unsigned seen; /* bit per field */
};

static enum err type_of(struct reader *r, enum metric_type *ret)
{
    static const str known[] = { STR_INIT("counter"), STR_INIT("gauge"),   STR_INIT("histogram"),
                                 STR_INIT("summary"), STR_INIT("unknown"), STR_INIT("untyped") };
    str s;
    TRY(string_of(r, "type", &s));
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (str_eq(s, known[i])) {
            *ret = metric_type_parse(s);
            return OK;
        }
    return fail(r, "type: counter, gauge, histogram, summary or unknown expected");
}

static enum err member(struct reader *r, struct metric *m, enum field f)
{
    switch (f) {
    case F_NAME:
        return string_of(r, "name", &m->name);
    case F_VALUE:
        return number_of(r, "value", &m->s.v);
    case F_LABELS:
        return labels_of(r, m->labels, &m->n_labels, r->lim->labels_max);
    case F_TIMESTAMP:
        return timestamp_of(r, &m->s.ts_ms);
    case F_TYPE:
        return type_of(r, &m->meta.type);
    case F_UNIT:
        return string_of(r, "unit", &m->meta.unit);
    default:
        return string_of(r, "help", &m->meta.help);
    }
}

static enum err unknown(struct reader *r, str key)
{
    str near = str_nearest(key, fields, F_N);
    key = str_take(key, 60);
    if (near.p)
        return fail(r, "unknown field \"" STR_FMT "\", did you mean \"" STR_FMT "\"?", STR_ARG(key), STR_ARG(near));
    return fail(r, "unknown field \"" STR_FMT "\"", STR_ARG(key));
}

/* After '{'. */
static enum err metric_read(struct reader *r, struct batch *out)
{
    struct metric m = { .s.ts_ms = r->now_ms, .labels = r->scratch };
    while (json_next(&r->j) == JSON_TOK_KEY) {
        str key = r->j.text;
        unsigned f = 0;
        while (f < F_N && !str_eq(key, fields[f]))
            f++;
        if (f == F_N)
            return unknown(r, key);
        if (m.seen & 1u << f)
            return fail(r, "%s: given twice", fields[f].p);
        m.seen |= 1u << f;
        TRY(member(r, &m, (enum field)f));
    }
    if (r->j.tok != JSON_TOK_OBJ_END)
        return syntax(r);
    if (!m.name.n)
        return fail(r, "name is missing");
    if (!(m.seen & 1u << F_VALUE))
        return fail(r, "value is missing");
    m.labels[m.n_labels++] = (struct label){ LABEL_NAME, m.name };
    struct err_text why;
    if (labels_sort(m.labels, &m.n_labels, &why) != OK ||
        wire_labels_check((struct labels){ m.labels, m.n_labels }, r->lim, &why) != OK)
        return fail(r, "%s", why.msg);
    if (m.s.v != m.s.v)
        m.s.v = f64_from_bits(NORMAL_NAN_BITS);
    struct sample *s = arena_new(r->a, struct sample);
    struct label *labels = arena_array(r->a, struct label, m.n_labels);
    *s = m.s;
    memcpy(labels, m.labels, m.n_labels * sizeof(*labels));
    struct batch_series bs = { .labels = { labels, m.n_labels }, .samples = s, .n_samples = 1, .meta = m.meta };
    avec_push(r->a, &out->series, bs);
    out->n_samples++;
    return OK;
}

enum err custom_decode(struct arena *a, str body, int64_t now_ms, const struct wire_limits *lim, struct batch *out,
                       struct err_text *reterr)
{
    struct reader r = { .a = a, .lim = lim, .now_ms = now_ms, .err = reterr };
    r.scratch = arena_array(a, struct label, lim->labels_max + 1);
    memset(out, 0, sizeof(*out));
    out->a = a;
    json_in_init(&r.j, a, body);
    enum json_tok tok = json_next(&r.j);
    if (tok == JSON_TOK_OBJ) {
        TRY(metric_read(&r, out));
    } else if (tok == JSON_TOK_ARR) {
        r.in_array = true;
        for (; (tok = json_next(&r.j)) == JSON_TOK_OBJ; r.index++) {
            TRY(metric_read(&r, out));
            if (out->n_samples > lim->samples_max || arena_over(a))
                return err_fail(reterr, ERR_LIMIT, "too much in one request: element %zu", r.index);
        }
        if (tok != JSON_TOK_ARR_END)
            return tok == JSON_TOK_ERR ? syntax(&r) : fail(&r, "an object expected");
    } else {
        return tok == JSON_TOK_ERR ? syntax(&r) : fail(&r, "an object or an array of objects expected");
    }
    return json_next(&r.j) == JSON_TOK_END ? OK : syntax(&r);
}
