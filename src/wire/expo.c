/* The pull parser of text exposition (manual: expo.h; tokens: expo_lex.c).
 *
 * One loop per format over the body, no copies. A sample line is
 *
 *   text        [ws] series [ws] value [ws timestamp-ms] [ws] \n        blank lines, comments, ws = space or tab
 *   OpenMetrics series SP value [SP timestamp-s] [SP # SP {labels} SP value [SP timestamp-s]] \n
 *   series      name | name {pairs} | {"name", pairs}                   pairs: label="value", ...
 *
 * and the parser's work per line is one walk over its bytes: name by a class table, values of labels by SSE2,
 * number by an exact fast path (mantissa below 2^53, power of ten within 22). What Prometheus' lexers accept by
 * their construction is accepted here too: missing commas between labels in text format, any byte between HELP's
 * name and its text, a NUL at the start of a text line as the end of the body. */
#include "wire/expo.h"

#include <ctype.h>
#include <stdio.h>

#include "base/check.h"
#include "wire/expo_int.h"
#include "wire/wire_int.h"

#define CREATED STR("_created")

void expo_init(struct expo *x, enum expo_format format, str body)
{
    memset(x, 0, sizeof(*x));
    x->format = format;
    x->start = x->p = x->entry_start = body.p;
    x->end = body.n ? body.p + body.n : body.p;
    x->line = x->line_next = 1;
    x->entry = EXPO_COMMENT; /* anything that is not final */
    x->skip_created = true;
}

/* ---- errors ---- */

/* The bytes at p as a quoted word of the message. */
static void excerpt(char *out, size_t cap, const char *p, const char *end)
{
    size_t n = 0;
    const char *stop = end - p > 24 ? p + 24 : end;
    if (p == end) {
        snprintf(out, cap, "the end of the body");
        return;
    }
    out[n++] = '\'';
    for (; p < stop && n + 6 < cap; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '\n')
            n += (size_t)snprintf(out + n, cap - n, "\\n");
        else if (c < 0x20 || c >= 0x7f)
            n += (size_t)snprintf(out + n, cap - n, "\\x%02x", c);
        else
            out[n++] = (char)c;
        if (c == '\n')
            break;
    }
    out[n++] = '\'';
    out[n] = '\0';
}

__attribute__((cold)) static const char *fail(struct expo *x, const char *at, const char *what)
{
    char seen[128];
    excerpt(seen, sizeof(seen), at, x->end);
    IGNORE_ERR(err_fail_at(&x->error, ERR_PARSE, (size_t)(at - x->start), "line %u: %s, got %s", x->line, what, seen));
    x->entry = EXPO_ERROR;
    x->p = x->end;
    return NULL;
}

/* ---- pieces ---- */

static inline bool is_ws(char c)
{
    return c == ' ' || c == '\t';
}
static inline const char *skip_ws(const char *p, const char *end)
{
    while (p < end && is_ws(*p))
        p++;
    return p;
}

static inline const char *find_newline(const char *p, const char *end)
{
    return p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
}

enum brace_kind { BRACES_TEXT, BRACES_OPENMETRICS, BRACES_EXEMPLAR };

/* Check what stands between braces, from after '{'; returns what follows '}', or NULL after fail().
 * named: a metric name was given before the braces; set when it is found inside. */
static inline const char *braces(struct expo *x, const char *p, enum brace_kind kind, bool *named)
{
    const char *end = x->end;
    bool text = kind == BRACES_TEXT;
    for (;;) {
        if (text)
            p = skip_ws(p, end);
        if (p == end)
            return fail(x, p, "expected label name or '}'");
        if (*p == '}')
            return p + 1;
        const char *at = p;
        unsigned flags = 0;
        bool quoted = *p == '"';
        if (quoted) {
            p = expo_quote_end(p + 1, end, kind != BRACES_EXEMPLAR, false, &flags);
            if (!p)
                return fail(x, at, "expected label name (the quoted name does not end)");
            p++;
        } else {
            p = expo_label_name_end(p, end);
            if (p == at)
                return fail(x, at, "expected label name");
        }
        if (text)
            p = skip_ws(p, end);
        if (quoted && kind != BRACES_EXEMPLAR && p < end && (*p == ',' || *p == '}')) {
            if (*named)
                return fail(x, at, "metric name already set");
            *named = true;
            if (*p++ == '}')
                return p;
            continue;
        }
        if (p == end || *p != '=')
            return fail(x, p, "expected '=' after label name");
        p++;
        if (text)
            p = skip_ws(p, end);
        at = p;
        if (p == end || *p != '"')
            return fail(x, p, "expected quoted label value");
        p = expo_quote_end(p + 1, end, text, true, &flags);
        if (!p)
            return fail(x, at, "expected label value (the quoted value does not end)");
        if ((flags & EXPO_Q_HIGH) && !str_utf8_ok((str){ at + 1, (size_t)(p - at - 1) }))
            return fail(x, at, "invalid UTF-8 in label value");
        p++;
        if (text)
            p = skip_ws(p, end);
        if (p < end && *p == ',')
            p++;
        else if (!text && (p == end || *p != '}'))
            return fail(x, p, "expected ',' or '}' after label value");
    }
}

static const double pow10_exact[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                      1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };

/* The number token at p; it ends at a byte for which stop() holds. Returns its end, NULL after fail(). */
static inline bool number_stop(char c, bool text)
{
    return c == ' ' || c == '\n' || c == '\0' || (text && (c == '\t' || c == '{'));
}
__attribute__((noinline)) static const char *number_slow(struct expo *x, const char *p, bool text, double *ret)
{
    const char *q = p;
    while (q < x->end && !number_stop(*q, text))
        q++;
    if (q == p)
        return fail(x, p, "expected value after metric");
    if (!expo_number((str){ p, (size_t)(q - p) }, ret))
        return fail(x, p, "expected a number");
    if (*ret != *ret)
        *ret = f64_from_bits(NORMAL_NAN_BITS);
    return q;
}
static inline const char *number(struct expo *x, const char *const from, bool text, double *ret)
{
    const char *p = from, *end = x->end;
    uint64_t mant = 0;
    bool minus = p < end && *p == '-';
    p += minus;
    const char *digits = p;
    for (; p < end && (unsigned)(*p - '0') < 10; p++)
        mant = mant * 10 + (unsigned)(*p - '0');
    ptrdiff_t n_digits = p - digits;
    int exp = 0;
    if (p < end && *p == '.') {
        const char *frac = ++p;
        for (; p < end && (unsigned)(*p - '0') < 10; p++)
            mant = mant * 10 + (unsigned)(*p - '0');
        exp = -(int)(p - frac);
        n_digits += p - frac;
    }
    if (p < end && (*p == 'e' || *p == 'E') && end - p > 2) {
        const char *q = p + 1;
        bool neg = *q == '-';
        q += neg || *q == '+';
        int e = 0;
        const char *e_digits = q;
        for (; q < end && q < e_digits + 4 && (unsigned)(*q - '0') < 10; q++)
            e = e * 10 + (*q - '0');
        if (q == e_digits)
            return number_slow(x, from, text, ret);
        exp += neg ? -e : e;
        p = q;
    }
    if (__builtin_expect(n_digits == 0 || n_digits > 19 || mant > (1ull << 53) || exp < -22 || exp > 22 ||
                             (p < end && !number_stop(*p, text)),
                         0))
        return number_slow(x, from, text, ret);
    double v = (double)mant;
    v = exp < 0 ? v / pow10_exact[-exp] : v * pow10_exact[exp];
    *ret = minus ? -v : v;
    return p;
}

/* Seconds as a float token (OpenMetrics timestamps) -> ms. */
static const char *seconds(struct expo *x, const char *p, const char *what, int64_t *ret_ms)
{
    const char *at = p;
    double s = 0;
    p = number(x, p, false, &s);
    if (!p)
        return NULL;
    if (s - s != 0)
        return fail(x, at, what);
    double ms = s * 1000;
    *ret_ms = ms >= -0x1p63 && ms < 0x1p63 ? (int64_t)ms : INT64_MIN;
    return p;
}

/* The series at p (name, braces, or both); sets x->series and returns what follows it. A hint that fits saves the
 * walk: the same bytes were accepted as a series before, and the byte after them cannot belong to it. */
static inline const char *series(struct expo *x, const char *p, bool text)
{
    const char *from = p, *end = x->end, *q;
    enum brace_kind kind = text ? BRACES_TEXT : BRACES_OPENMETRICS;
    bool named = false;
    size_t n = x->hint.n;
    if (n && (size_t)(end - p) > n && is_ws(p[n]) && memcmp(p, x->hint.p, n) == 0) {
        q = p + n;
        if (q[-1] == '}') {
            x->series = (str){ from, n };
            return q;
        }
    } else if (*p == '{') {
        q = p;
    } else {
        q = expo_metric_name_end(p, end);
        if (q == p)
            return fail(x, p, "expected a metric name");
    }
    named = q != p;
    x->series = (str){ from, (size_t)(q - from) };
    p = text ? skip_ws(q, end) : q;
    if (p == end || *p != '{')
        return q;
    q = braces(x, p + 1, kind, &named);
    if (!q)
        return NULL;
    if (!named)
        return fail(x, from, "metric name not set");
    x->series = (str){ from, (size_t)(q - from) };
    return q;
}

static bool type_of(str s, enum expo_format f, enum metric_type *ret)
{
    static const struct {
        str name;
        enum metric_type type;
        uint8_t formats; /* 1 text, 2 OpenMetrics */
    } rows[] = {
        { STR_INIT("counter"), METRIC_COUNTER, 3 },     { STR_INIT("gauge"), METRIC_GAUGE, 3 },
        { STR_INIT("histogram"), METRIC_HISTOGRAM, 3 }, { STR_INIT("summary"), METRIC_SUMMARY, 3 },
        { STR_INIT("untyped"), METRIC_UNKNOWN, 1 },     { STR_INIT("gaugehistogram"), METRIC_GAUGE_HISTOGRAM, 2 },
        { STR_INIT("info"), METRIC_INFO, 2 },           { STR_INIT("stateset"), METRIC_STATESET, 2 },
        { STR_INIT("unknown"), METRIC_UNKNOWN, 2 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if ((rows[i].formats & (f == EXPO_TEXT ? 1 : 2)) && str_eq(s, rows[i].name)) {
            *ret = rows[i].type;
            return true;
        }
    return false;
}

/* The metric name of a HELP/TYPE/UNIT line at p -> x->name; returns what follows it. */
static const char *meta_name(struct expo *x, const char *p, const char *what)
{
    unsigned flags = 0;
    if (p < x->end && *p == '"') {
        const char *q = expo_quote_end(p + 1, x->end, true, false, &flags);
        if (!q)
            return fail(x, p, what);
        x->name = (str){ p + 1, (size_t)(q - p - 1) };
        return q + 1;
    }
    const char *q = expo_metric_name_end(p, x->end);
    if (q == p)
        return fail(x, p, what);
    x->name = (str){ p, (size_t)(q - p) };
    return q;
}

/* HELP, TYPE or UNIT is complete in name and text: check it, make it the current entry. */
static enum expo_entry meta_entry(struct expo *x, enum expo_entry kind)
{
    x->family = x->name;
    if (kind == EXPO_TYPE && !type_of(x->text, x->format, &x->type)) {
        fail(x, x->text.p, "invalid metric type");
        return EXPO_ERROR;
    }
    if (kind == EXPO_HELP && !wire_utf8_ok(x->text)) {
        fail(x, x->text.p, "invalid UTF-8 in help text");
        return EXPO_ERROR;
    }
    str u = x->text;
    if (kind == EXPO_UNIT && u.n &&
        (!str_has_suffix(x->name, u) || x->name.n < u.n + 1 || x->name.p[x->name.n - u.n - 1] != '_')) {
        fail(x, u.p, "unit not a suffix of the metric's name");
        return EXPO_ERROR;
    }
    return x->entry = kind;
}

/* ---- text format ---- */

/* A line that starts with '#'. */
static enum expo_entry text_comment(struct expo *x, const char *p)
{
    const char *end = x->end, *q = skip_ws(p + 1, end);
    enum expo_entry kind = EXPO_COMMENT;
    bool spaced = q > p + 1;
    if (spaced && end - q > 4 && is_ws(q[4]))
        kind = memcmp(q, "HELP", 4) == 0 ? EXPO_HELP : memcmp(q, "TYPE", 4) == 0 ? EXPO_TYPE : EXPO_COMMENT;
    const char *nl = find_newline(q, end);
    const char *stop = nl ? nl : end;
    if (kind == EXPO_COMMENT) {
        /* the reference's lexer stops at a NUL here unless it has skipped white space and one more byte */
        const char *nul = memchr(p, '\0', (size_t)(stop - p));
        if (nul && (!spaced || nul == q))
            return x->p = end, x->entry = EXPO_END;
        x->text = (str){ p, (size_t)(stop - p) };
    } else {
        q = meta_name(x, skip_ws(q + 4, end),
                      kind == EXPO_HELP ? "expected metric name after HELP" : "expected metric name after TYPE");
        if (!q)
            return EXPO_ERROR;
        if (q < end && *q == '\0')
            return fail(x, q, "linebreak expected after metadata"), EXPO_ERROR;
        nl = find_newline(q, end);
        stop = nl ? nl : end;
        x->text = skip_ws(q, stop) == stop ? (str){ stop, 0 } : (str){ q + 1, (size_t)(stop - q - 1) };
    }
    x->p = nl ? nl + 1 : end;
    x->line_next++;
    return kind == EXPO_COMMENT ? (x->entry = kind) : meta_entry(x, kind);
}

static enum expo_entry text_sample(struct expo *x, const char *p)
{
    const char *end = x->end;
    p = series(x, p, true);
    if (!p)
        return EXPO_ERROR;
    p = number(x, skip_ws(p, end), true, &x->value);
    if (!p)
        return EXPO_ERROR;
    p = skip_ws(p, end);
    x->has_ts = false;
    if (p < end && (unsigned)(*p - '0') < 10) {
        const char *digits = p;
        uint64_t ms = 0;
        for (; p < end && (unsigned)(*p - '0') < 10; p++) {
            if (ms > (INT64_MAX - (uint64_t)(*p - '0')) / 10)
                return fail(x, digits, "timestamp out of range"), EXPO_ERROR;
            ms = ms * 10 + (unsigned)(*p - '0');
        }
        x->ts_ms = (int64_t)ms;
        x->has_ts = true;
        p = skip_ws(p, end);
        if (p < end && *p != '\n')
            return fail(x, p, "expected next entry after timestamp"), EXPO_ERROR;
    } else if (p < end && *p != '\n') {
        return fail(x, p, "expected timestamp or new record"), EXPO_ERROR;
    }
    x->p = p == end ? p : p + 1;
    x->line_next++;
    return x->entry = EXPO_SAMPLE;
}

static enum expo_entry text_next(struct expo *x)
{
    const char *end = x->end;
    for (;;) {
        const char *p = skip_ws(x->p, end);
        if (p == end || *p == '\0')
            return x->p = end, x->entry = EXPO_END;
        x->line = x->line_next;
        x->entry_start = p;
        if (*p == '\n') {
            x->line_next++;
            x->p = p + 1;
        } else {
            return *p == '#' ? text_comment(x, p) : text_sample(x, p);
        }
    }
}

/* ---- OpenMetrics ---- */

static enum expo_entry om_comment(struct expo *x, const char *p)
{
    const char *end = x->end, *q;
    if (end - p < 5 || p[1] != ' ')
        return fail(x, p, "expected HELP, TYPE, UNIT or EOF after \"# \""), EXPO_ERROR;
    q = p + 2;
    if (memcmp(q, "EOF", 3) == 0) {
        q += 3;
        q += q < end && *q == '\n';
        if (q != end)
            return fail(x, q, "unexpected data after # EOF"), EXPO_ERROR;
        return x->p = end, x->entry = EXPO_END;
    }
    enum expo_entry kind = EXPO_ERROR;
    if (end - q > 4 && q[4] == ' ')
        kind = memcmp(q, "HELP", 4) == 0   ? EXPO_HELP
               : memcmp(q, "TYPE", 4) == 0 ? EXPO_TYPE
               : memcmp(q, "UNIT", 4) == 0 ? EXPO_UNIT
                                           : EXPO_ERROR;
    if (kind == EXPO_ERROR)
        return fail(x, p, "expected HELP, TYPE, UNIT or EOF after \"# \""), EXPO_ERROR;
    q = meta_name(x, q + 5, "expected metric name");
    if (!q)
        return EXPO_ERROR;
    const char *nl = q < end && *q == ' ' ? find_newline(q, end) : NULL;
    if (!nl)
        return fail(x, q, "expected a space and text until the end of the line"), EXPO_ERROR;
    x->text = (str){ q + 1, (size_t)(nl - q - 1) };
    x->p = nl + 1;
    x->line_next++;
    return meta_entry(x, kind);
}

/* After " # {": check the exemplar up to its newline. */
static const char *om_exemplar(struct expo *x, const char *p)
{
    bool named = true;
    const char *from = p - 1;
    double v;
    int64_t ms;
    p = braces(x, p, BRACES_EXEMPLAR, &named);
    if (!p)
        return NULL;
    if (p == x->end || *p != ' ')
        return fail(x, p, "expected value after exemplar labels");
    p = number(x, p + 1, false, &v);
    if (p && p < x->end && *p == ' ')
        p = seconds(x, p + 1, "invalid exemplar timestamp", &ms);
    if (!p)
        return NULL;
    if (p == x->end || *p != '\n')
        return fail(x, p, "expected the end of the line after the exemplar");
    x->exemplar = (str){ from, (size_t)(p - from) };
    x->has_exemplar = true;
    return p;
}

static enum expo_entry om_sample(struct expo *x, const char *p)
{
    const char *end = x->end;
    x->has_exemplar = x->has_ts = false;
    p = series(x, p, false);
    if (!p)
        return EXPO_ERROR;
    if (p == end || *p != ' ')
        return fail(x, p, "expected value after metric"), EXPO_ERROR;
    p = number(x, p + 1, false, &x->value);
    if (p && p < end && *p == ' ' && !(end - p > 3 && memcmp(p, " # {", 4) == 0)) {
        p = seconds(x, p + 1, "invalid timestamp", &x->ts_ms);
        x->has_ts = true;
    }
    if (p && end - p > 3 && memcmp(p, " # {", 4) == 0)
        p = om_exemplar(x, p + 4);
    if (!p)
        return EXPO_ERROR;
    if (p == end)
        return fail(x, p, "data does not end with # EOF"), EXPO_ERROR;
    if (*p != '\n')
        return fail(x, p, "expected timestamp, exemplar or the end of the line"), EXPO_ERROR;
    x->p = p + 1;
    x->line_next++;
    return x->entry = EXPO_SAMPLE;
}

static bool has_created(enum metric_type t)
{
    return t == METRIC_COUNTER || t == METRIC_SUMMARY || t == METRIC_HISTOGRAM;
}

/* ---- labels of an accepted series ---- */

/* Walks the pairs of a series that was accepted. */
struct pairs {
    const char *p, *end;
};
static str quoted_text(struct pairs *it)
{
    unsigned flags;
    const char *from = it->p + 1, *q = expo_quote_end(from, it->end, true, true, &flags);
    ASSERT(q != NULL);
    it->p = q + 1;
    return (str){ from, (size_t)(q - from) };
}
/* The next pair, raw; value.p is NULL when name is the metric's name. false at the end. */
static bool pairs_next(struct pairs *it, str *name, str *value)
{
    while (it->p < it->end && (is_ws(*it->p) || *it->p == ',' || *it->p == '{'))
        it->p++;
    if (it->p == it->end || *it->p == '}')
        return false;
    if (*it->p == '"') {
        *name = quoted_text(it);
    } else {
        const char *q = expo_label_name_end(it->p, it->end);
        *name = (str){ it->p, (size_t)(q - it->p) };
        it->p = q;
    }
    it->p = skip_ws(it->p, it->end);
    *value = STR_NONE;
    if (it->p == it->end || *it->p != '=')
        return true;
    it->p = skip_ws(it->p + 1, it->end);
    *value = quoted_text(it);
    return true;
}
/* Name before the braces (empty if it is inside); it is set to the pairs. */
static str pairs_init(struct pairs *it, str series)
{
    const char *end = series.p + series.n, *q = expo_metric_name_end(series.p, end);
    *it = (struct pairs){ q, end };
    return (str){ series.p, (size_t)(q - series.p) };
}

/* Raw metric name of a series. */
static str raw_name(str s)
{
    struct pairs it;
    str name = pairs_init(&it, s), value;
    if (name.n)
        return name;
    while (pairs_next(&it, &name, &value))
        if (!value.p)
            return name;
    return STR_NONE;
}

str expo_metric_name(const struct expo *x, struct arena *a)
{
    return expo_unescape(a, raw_name(x->series), false);
}

static enum err label_names_ok(const struct label *p, size_t n, struct err_text *reterr)
{
    for (size_t i = 0; i < n; i++) {
        if (!wire_utf8_ok(p[i].name) || !p[i].name.n)
            return err_fail(reterr, ERR_INVALID, "invalid label name");
        if (str_eq(p[i].name, LABEL_NAME) && !wire_utf8_ok(p[i].value))
            return err_fail(reterr, ERR_INVALID, "invalid UTF-8 in metric name");
    }
    return OK;
}

enum err expo_labels(const struct expo *x, struct arena *a, struct labels *ret, struct err_text *reterr)
{
    VEC(struct label) v = { 0 };
    struct pairs it;
    str name = pairs_init(&it, x->series), value;
    avec_reserve(a, &v, 8);
    if (name.n)
        avec_push(a, &v, ((struct label){ LABEL_NAME, name }));
    while (pairs_next(&it, &name, &value)) {
        name = expo_unescape(a, name, false);
        if (!value.p) {
            avec_push(a, &v, ((struct label){ LABEL_NAME, name }));
            continue;
        }
        value = expo_normal_value(a, x->type, name, expo_unescape(a, value, false));
        avec_push(a, &v, ((struct label){ name, value }));
    }
    TRY(label_names_ok(v.p, v.n, reterr));
    TRY(labels_sort(v.p, &v.n, reterr));
    *ret = (struct labels){ v.p, v.n };
    return OK;
}

enum err expo_exemplar(const struct expo *x, struct arena *a, struct exemplar *ret, bool *ret_has_ts,
                       struct err_text *reterr)
{
    VEC(struct label) v = { 0 };
    struct pairs it = { x->exemplar.p, x->exemplar.p + x->exemplar.n };
    struct exemplar ex = { 0 };
    str name, value, rest, number_text;
    while (pairs_next(&it, &name, &value))
        avec_push(a, &v, ((struct label){ expo_unescape(a, name, false), expo_unescape(a, value, false) }));
    TRY(label_names_ok(v.p, v.n, reterr));
    TRY(labels_sort(v.p, &v.n, reterr));
    ex.labels = (struct labels){ v.p, v.n };
    rest = (str){ it.p + 2, (size_t)(it.end - it.p - 2) }; /* after "} " */
    bool ok = str_cut(&rest, ' ', &number_text) && expo_number(number_text, &ex.v);
    double s = 0;
    *ret_has_ts = ok && rest.n && expo_number(rest, &s);
    double ms = s * 1000;
    ex.ts_ms = ms >= -0x1p63 && ms < 0x1p63 ? (int64_t)ms : INT64_MIN;
    *ret = ex;
    return OK;
}

str expo_help(const struct expo *x, struct arena *a)
{
    return expo_unescape(a, x->text, x->format == EXPO_TEXT);
}

/* ---- start timestamps ---- */

/* What a series and its `_created` line have in common: labels without le/quantile, the family's name. */
static uint64_t created_key(const struct expo *x, str series, str family)
{
    struct pairs it;
    str name, value;
    uint64_t h = hash64(family);
    pairs_init(&it, series);
    while (pairs_next(&it, &name, &value)) {
        if (!value.p || (x->type == METRIC_SUMMARY && str_eq(name, LABEL_QUANTILE)) ||
            (x->type == METRIC_HISTOGRAM && str_eq(name, LABEL_BUCKET)))
            continue;
        h = hash64_seed(value, hash64_seed(name, h));
    }
    return h;
}

/* Look for the first `_created` line from x->p on within the family; remember it, or that there is none. */
static void created_look(struct expo *x)
{
    x->created.found = false;
    const char *p = x->p;
    while (p < x->end && *p != '#') {
        const char *nl = find_newline(p, x->end);
        const char *stop = nl ? nl : x->end;
        const char *q = expo_metric_name_end(p, stop);
        bool maybe = *p == '{' || str_has_suffix((str){ p, (size_t)(q - p) }, CREATED);
        if (maybe) {
            struct expo y = *x;
            y.hint = STR_NONE;
            str name = om_sample(&y, p) == EXPO_SAMPLE ? raw_name(y.series) : STR_NONE;
            if (str_has_suffix(name, CREATED)) {
                double ms = y.value * 1000;
                x->created.found = true;
                x->created.key = created_key(x, y.series, str_take(name, name.n - CREATED.n));
                x->created.ms = ms > -0x1p62 && ms < 0x1p62 ? (int64_t)ms : 0;
                break;
            }
        }
        p = nl ? nl + 1 : stop;
    }
    x->created.until = p;
}

int64_t expo_start_ms(struct expo *x)
{
    if (x->format != EXPO_OPENMETRICS || x->entry != EXPO_SAMPLE || !has_created(x->type)) {
        x->created.last_ms = 0;
        return 0;
    }
    if (!x->created.until || x->entry_start >= x->created.until)
        created_look(x);
    if (!x->created.found && x->created.last_ms == 0)
        return 0;
    uint64_t key = created_key(x, x->series, str_take(raw_name(x->series), x->family.n));
    if (x->created.last_ms != 0 && key == x->created.last_key)
        return x->created.last_ms;
    bool mine = x->created.found && key == x->created.key;
    x->created.last_ms = mine ? x->created.ms : 0;
    x->created.last_key = key;
    return x->created.last_ms;
}

/* ---- the loop ---- */

static enum expo_entry om_next(struct expo *x)
{
    for (;;) {
        const char *p = x->p;
        x->line = x->line_next;
        x->entry_start = p;
        if (p == x->end)
            return fail(x, p, "data does not end with # EOF"), EXPO_ERROR;
        if (*p == '#')
            return om_comment(x, p);
        if (om_sample(x, p) == EXPO_ERROR)
            return EXPO_ERROR;
        if (x->skip_created && has_created(x->type) && str_has_suffix(raw_name(x->series), CREATED))
            continue;
        return EXPO_SAMPLE;
    }
}

enum expo_entry expo_next(struct expo *x)
{
    if (x->entry <= EXPO_ERROR)
        return x->entry;
    x->has_exemplar = false;
    return x->format == EXPO_TEXT ? text_next(x) : om_next(x);
}
