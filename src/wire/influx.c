/* InfluxDB line protocol (manual: influx.h). One pass over each line; strings without escapes stay where they are. */
#include "wire/influx.h"

#include <math.h>

#include "base/check.h"
#include "base/num.h"
#include "wire/wire_int.h"

struct line {
    const char *p, *end;
    unsigned number;
};
struct influx {
    struct arena *a;
    const struct influx_options *opt;
    const struct wire_limits *lim;
    struct batch *out;
    struct wire_rejects *rejects;
    VEC(struct label) tags; /* of the line; the array is used again */
    struct influx_field {
        str name;
        double v;
    } * fields;
    size_t n_fields, fields_cap;
};

bool influx_precision(str name, int64_t *ret)
{
    static const struct {
        const char *name;
        int64_t ns;
    } rows[] = { { "", 1 },
                 { "ns", 1 },
                 { "n", 1 },
                 { "us", 1000 },
                 { "u", 1000 },
                 { "\xc2\xb5", 1000 },
                 { "ms", 1000000 },
                 { "s", 1000000000 },
                 { "m", 60000000000 },
                 { "h", 3600000000000 } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq(name, str_c(rows[i].name))) {
            *ret = rows[i].ns;
            return true;
        }
    return false;
}

/* ---- tokens ---- */

/* Up to an unescaped byte of `stops`; a backslash takes away the meaning of one of `special` only. */
static str token(struct influx *x, struct line *l, const char *stops, const char *special)
{
    const char *from = l->p;
    bool escaped = false;
    while (l->p < l->end && !strchr(stops, *l->p)) {
        if (*l->p == '\\' && l->p + 1 < l->end && strchr(special, l->p[1])) {
            escaped = true;
            l->p++;
        }
        l->p++;
    }
    str s = { from, (size_t)(l->p - from) };
    if (!escaped)
        return s;
    char *out = arena_array(x->a, char, s.n);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' && i + 1 < s.n && strchr(special, s.p[i + 1]))
            i++;
        out[n++] = s.p[i];
    }
    return (str){ out, n };
}

static bool eat(struct line *l, char c)
{
    if (l->p < l->end && *l->p == c) {
        l->p++;
        return true;
    }
    return false;
}

static enum err bad(struct err_text *why, const char *what)
{
    return err_fail(why, ERR_PARSE, "%s", what);
}

/* ---- tags and fields ---- */

static enum err tags_read(struct influx *x, struct line *l, struct err_text *why)
{
    x->tags.n = 0;
    while (eat(l, ',')) {
        str name = token(x, l, ",= ", ",= "), value;
        if (!eat(l, '=') || !name.n)
            return bad(why, "a tag is not name=value");
        value = token(x, l, ", ", ",= ");
        if (!value.n)
            return bad(why, "a tag has no value");
        if (str_eq(name, LABEL_NAME))
            return bad(why, "the tag __name__ is reserved");
        if (x->tags.n > x->lim->labels_max)
            return bad(why, "too many tags");
        avec_push(x->a, &x->tags, ((struct label){ wire_legacy_name(x->a, name, false), value }));
    }
    return OK;
}

static bool truth(str s, double *ret)
{
    static const char *const words[] = { "t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE" };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eq(s, str_c(words[i]))) {
            *ret = i < 5;
            return true;
        }
    return false;
}

static bool number(str s, double *ret)
{
    int64_t i;
    uint64_t u;
    if (!s.n)
        return false;
    char last = s.p[s.n - 1];
    if (last == 'i' || last == 'u') {
        s.n--;
        if (last == 'i' ? !str_to_i64(s, &i) : !str_to_u64(s, &u))
            return false;
        *ret = last == 'i' ? (double)i : (double)u;
        return true;
    }
    return num_parse_f64(s, ret) && isfinite(*ret);
}

/* A value; *ret_is_number false: a string. */
static enum err value_read(struct influx *x, struct line *l, double *ret, bool *ret_is_number, struct err_text *why)
{
    *ret_is_number = false;
    if (eat(l, '"')) {
        (void)token(x, l, "\"", "\"\\");
        return eat(l, '"') ? OK : bad(why, "a string is not closed");
    }
    str s = token(x, l, ", ", "");
    *ret_is_number = true;
    if (truth(s, ret) || number(s, ret))
        return OK;
    return err_fail(why, ERR_PARSE, "\"" STR_FMT "\" is not a value",
                    STR_ARG(str_take(s, str_utf8_valid_len(str_take(s, 60)))));
}

static enum err fields_read(struct influx *x, struct line *l, struct err_text *why)
{
    enum { FIELDS_MAX = 10000 };
    x->n_fields = 0;
    do {
        str name = token(x, l, ",= ", ",= ");
        double v = 0;
        bool is_number;
        if (!eat(l, '=') || !name.n)
            return bad(why, "a field is not name=value");
        TRY(value_read(x, l, &v, &is_number, why));
        if (l->p < l->end && *l->p != ',' && *l->p != ' ')
            return bad(why, "unexpected text behind a value");
        if (x->n_fields >= FIELDS_MAX)
            return bad(why, "too many fields");
        if (!is_number)
            continue;
        if (x->n_fields == x->fields_cap)
            x->fields = avec_grow_(x->a, x->fields, x->n_fields, &x->fields_cap, x->n_fields + 1, sizeof(*x->fields));
        x->fields[x->n_fields++] = (struct influx_field){ name, v };
    } while (eat(l, ','));
    return OK;
}

static enum err time_read(struct influx *x, struct line *l, int64_t *ret_ms, struct err_text *why)
{
    int64_t t, ns;
    while (eat(l, ' '))
        ;
    str s = str_trim((str){ l->p, (size_t)(l->end - l->p) });
    *ret_ms = x->opt->now_ms;
    if (!s.n)
        return OK;
    if (!str_to_i64(s, &t))
        return bad(why, "the timestamp is not a number");
    if (x->opt->unit_ns >= 1000000) {
        if (__builtin_mul_overflow(t, x->opt->unit_ns / 1000000, ret_ms))
            return bad(why, "the timestamp is out of range");
        return OK;
    }
    ns = 1000000 / x->opt->unit_ns;
    *ret_ms = t / ns - (t % ns < 0);
    return OK;
}

/* ---- a line ---- */

static str metric_name(struct influx *x, str measurement, str field)
{
    if (str_eq(field, STR("value")))
        return wire_legacy_name(x->a, measurement, true);
    return wire_legacy_name(x->a, arena_printf(x->a, STR_FMT "_" STR_FMT, STR_ARG(measurement), STR_ARG(field)), true);
}

static enum err series_add(struct influx *x, str measurement, const struct influx_field *f, int64_t ts_ms,
                           struct err_text *why)
{
    size_t n = 0;
    struct label *p = arena_array(x->a, struct label, x->tags.n + 2);
    p[n++] = (struct label){ LABEL_NAME, metric_name(x, measurement, f->name) };
    if (x->opt->db.n)
        p[n++] = (struct label){ STR("db"), x->opt->db };
    vec_each (const struct label, t, &x->tags)
        if (n == 1 || !x->opt->db.n || !str_eq(t->name, STR("db")))
            p[n++] = *t;
    TRY(wire_labels_finish(p, &n, x->lim, why));
    struct sample *s = arena_new(x->a, struct sample);
    *s = (struct sample){ ts_ms, f->v };
    struct batch_series bs = { .labels = { p, n }, .samples = s, .n_samples = 1 };
    avec_push(x->a, &x->out->series, bs);
    x->out->n_samples++;
    return OK;
}

static enum err line_read(struct influx *x, struct line *l, struct err_text *why)
{
    int64_t ts_ms;
    str measurement = token(x, l, ", ", ", ");
    if (!measurement.n)
        return bad(why, "no measurement");
    TRY(tags_read(x, l, why));
    if (!eat(l, ' '))
        return bad(why, "no fields");
    while (eat(l, ' '))
        ;
    TRY(fields_read(x, l, why));
    TRY(time_read(x, l, &ts_ms, why));
    size_t before = x->out->series.n;
    for (size_t i = 0; i < x->n_fields; i++) {
        enum err e = series_add(x, measurement, &x->fields[i], ts_ms, why);
        if (e == OK)
            continue;
        x->out->n_samples -= x->out->series.n - before;
        x->out->series.n = before; /* a line is taken whole or not */
        return e;
    }
    return OK;
}

/* The end of the line at p: a newline outside of a quoted string value. A quote opens one only behind '='. */
static const char *line_end(const char *p, const char *end)
{
    bool quoted = false;
    for (const char *from = p; p < end; p++) {
        if (*p == '\\' && p + 1 < end && p[1] != '\n')
            p++;
        else if (*p == '"' && (quoted || (p > from && p[-1] == '=')))
            quoted = !quoted;
        else if (*p == '\n' && !quoted)
            break;
    }
    return p;
}

static enum err over_limit(const struct influx *x, struct err_text *reterr)
{
    if (x->out->series.n > x->lim->series_max || x->out->n_samples > x->lim->samples_max)
        return err_fail(reterr, ERR_LIMIT, "more than %zu fields in one request",
                        MIN(x->lim->series_max, x->lim->samples_max));
    if (arena_over(x->a))
        return err_fail(reterr, ERR_LIMIT, "the request needs more than %zu bytes of memory to decode",
                        x->a->bytes_max);
    return OK;
}

enum err influx_decode(struct arena *a, str body, const struct influx_options *opt, const struct wire_limits *lim,
                       struct batch *out, struct wire_rejects *ret_rejects, struct err_text *reterr)
{
    struct influx x = { .a = a, .opt = opt, .lim = lim, .out = out, .rejects = ret_rejects };
    memset(ret_rejects, 0, sizeof(*ret_rejects));
    memset(out, 0, sizeof(*out));
    out->a = a;
    unsigned number_next = 1;
    const char *end = body.p + body.n;
    for (const char *p = body.p; p < end;) {
        struct line l = { p, line_end(p, end), number_next };
        for (; p < l.end; p++)
            number_next += *p == '\n';
        number_next++;
        p = l.end + (l.end < end);
        if (l.end > l.p && l.end[-1] == '\r')
            l.end--;
        while (eat(&l, ' '))
            ;
        if (l.p == l.end || *l.p == '#')
            continue;
        struct err_text why = { .msg = "" };
        if (line_read(&x, &l, &why) != OK) {
            if (!ret_rejects->first.msg[0])
                IGNORE_ERR(err_fail(&ret_rejects->first, ERR_INVALID, "line %u: %s", l.number, why.msg));
            ret_rejects->series++;
        }
        TRY(over_limit(&x, reterr));
    }
    return OK;
}
