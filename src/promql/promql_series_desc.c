/* See series_desc.h. A recursive-descent parser over the line; the first error wins. */
#include "promql/promql_series_desc.h"

#include <math.h>

#include "base/num.h"
#include "promql/promql_lex.h"

struct sd {
    struct arena *a;
    str in;
    size_t pos;
    bool failed;
    struct err_text *reterr;
};

static bool fail_at(struct sd *s, size_t pos, str msg)
{
    if (!s->failed)
        IGNORE_ERR(err_fail_at(s->reterr, ERR_PARSE, pos, "1:%zu: parse error: " STR_FMT, pos + 1, STR_ARG(msg)));
    s->failed = true;
    return false;
}

static int peek(const struct sd *s)
{
    return s->pos < s->in.n ? (uint8_t)s->in.p[s->pos] : -1;
}
static int peek_at(const struct sd *s, size_t k)
{
    return s->pos + k < s->in.n ? (uint8_t)s->in.p[s->pos + k] : -1;
}
static bool is_blank(int c)
{
    return c == ' ' || c == '\t';
}
static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}
static bool is_word(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}
static bool accept(struct sd *s, char c)
{
    if (peek(s) != c)
        return false;
    s->pos++;
    return true;
}
static bool skip_blanks(struct sd *s)
{
    size_t from = s->pos;
    while (is_blank(peek(s)))
        s->pos++;
    return s->pos > from;
}

/* unexpected "x" in series values */
static bool unexpected(struct sd *s, const char *context)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    if (s->pos >= s->in.n) {
        buf_printf(&b, "unexpected end of input in %s", context);
    } else {
        buf_lit(&b, "unexpected ");
        buf_go_quote(&b, str_n(s->in.p + s->pos, 1));
        buf_printf(&b, " in %s", context);
    }
    return fail_at(s, s->pos, buf_str(&b));
}

/* ---- metric ---- */
static bool parse_quoted(struct sd *s, str *ret)
{
    size_t from = s->pos;
    char q = (char)peek(s);
    for (s->pos++; s->pos < s->in.n && s->in.p[s->pos] != q; s->pos++)
        if (q != '`' && s->in.p[s->pos] == '\\')
            s->pos++;
    if (s->pos >= s->in.n)
        return fail_at(s, from, STR("unterminated quoted string"));
    s->pos++;
    *ret = pq_unquote(s->a, str_n(s->in.p + from, s->pos - from));
    return true;
}

static str parse_word(struct sd *s, bool colons)
{
    size_t from = s->pos;
    while (is_word(peek(s)) || (colons && peek(s) == ':'))
        s->pos++;
    return str_n(s->in.p + from, s->pos - from);
}

static bool at_quote(const struct sd *s)
{
    return peek(s) == '"' || peek(s) == '\'' || peek(s) == '`';
}

static bool parse_label(struct sd *s, struct label_builder *b)
{
    str name, value;
    bool quoted = at_quote(s);
    if (quoted && !parse_quoted(s, &name))
        return false;
    if (!quoted)
        name = parse_word(s, false);
    if (!quoted && name.n == 0)
        return unexpected(s, "label set, expected identifier or \"}\"");
    skip_blanks(s);
    if (!accept(s, '=')) {
        if (!quoted)
            return unexpected(s, "label set, expected \"=\"");
        lb_set(b, LABEL_NAME, name);
        return true;
    }
    skip_blanks(s);
    if (!at_quote(s))
        return unexpected(s, "label set, expected string");
    if (!parse_quoted(s, &value))
        return false;
    lb_set(b, name, value);
    return true;
}

static bool parse_metric(struct sd *s, struct labels *ret)
{
    struct label_builder b;
    lb_init(&b, s->a);
    str name = parse_word(s, true);
    size_t after = s->pos;
    if (name.n)
        lb_set(&b, LABEL_NAME, name);
    skip_blanks(s);
    if (peek(s) == '{' && peek_at(s, 1) != '{') {
        s->pos++;
        for (skip_blanks(s); !accept(s, '}'); skip_blanks(s)) {
            if (!parse_label(s, &b))
                return false;
            skip_blanks(s);
            if (!accept(s, ',') && peek(s) != '}')
                return unexpected(s, "label set, expected \",\" or \"}\"");
        }
    } else {
        s->pos = after;
    }
    *ret = lb_labels(&b);
    return true;
}

/* ---- numbers ---- */
/* Digits, '.', '_', exponent: no hex, because x means times. */
static bool parse_unsigned(struct sd *s, double *ret)
{
    size_t from = s->pos;
    if (peek(s) == 'I' || peek(s) == 'i' || peek(s) == 'N' || peek(s) == 'n') {
        str w = str_take(str_skip(s->in, s->pos), 3);
        if (!str_ieq(w, STR("inf")) && !str_ieq(w, STR("nan")))
            return unexpected(s, "series values");
        s->pos += 3;
        *ret = str_ieq(w, STR("inf")) ? (double)INFINITY : f64_from_bits(NORMAL_NAN_BITS);
        return true;
    }
    while (is_digit(peek(s)) || peek(s) == '.' || peek(s) == '_')
        s->pos++;
    if (s->pos > from && (peek(s) == 'e' || peek(s) == 'E')) {
        s->pos++;
        if (peek(s) == '+' || peek(s) == '-')
            s->pos++;
        while (is_digit(peek(s)))
            s->pos++;
    }
    if (s->pos == from)
        return unexpected(s, "series values");
    if (!pq_number(str_n(s->in.p + from, s->pos - from), ret))
        return fail_at(s, from, STR("bad number syntax"));
    return true;
}

static bool parse_signed(struct sd *s, double *ret)
{
    bool negative = peek(s) == '-';
    if (negative || peek(s) == '+')
        s->pos++;
    if (!parse_unsigned(s, ret))
        return false;
    if (negative)
        *ret = -*ret;
    return true;
}

static bool parse_count(struct sd *s, uint64_t *ret)
{
    size_t from = s->pos;
    while (is_digit(peek(s)))
        s->pos++;
    if (s->pos == from)
        return unexpected(s, "series values");
    if (!str_to_u64(str_n(s->in.p + from, s->pos - from), ret) || *ret > SERIES_DESC_VALUES_MAX)
        return fail_at(s, from, STR("invalid repetition in series values"));
    return true;
}

static bool push(struct sd *s, struct series_desc *d, struct series_value v)
{
    if (d->values.n >= SERIES_DESC_VALUES_MAX)
        return fail_at(s, s->pos, STR("too many values"));
    avec_push(s->a, &d->values, v);
    return true;
}

/* ---- histograms ---- */
enum hist_key {
    KEY_SCHEMA,
    KEY_SUM,
    KEY_COUNT,
    KEY_Z_BUCKET,
    KEY_Z_BUCKET_W,
    KEY_CUSTOM,
    KEY_BUCKETS,
    KEY_OFFSET,
    KEY_N_BUCKETS,
    KEY_N_OFFSET,
    KEY_HINT,
    KEY_NONE
};
static const char *const hist_keys[] = {
    "schema",  "sum",    "count",     "z_bucket", "z_bucket_w",        "custom_values",
    "buckets", "offset", "n_buckets", "n_offset", "counter_reset_hint"
};

struct hist_build {
    struct histogram *h;
    int64_t offset, n_offset;
    bool hint_set;
    unsigned seen;
};

static bool bad_descriptor(struct sd *s, size_t at, str word)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_lit(&b, "bad histogram descriptor found: ");
    buf_go_quote(&b, word);
    return fail_at(s, at, buf_str(&b));
}

static bool parse_list(struct sd *s, const double **ret, size_t *ret_n)
{
    VEC(double) v = { 0 };
    if (!accept(s, '['))
        return unexpected(s, "series values");
    for (;;) {
        double x;
        if (!parse_signed(s, &x))
            return false;
        avec_push(s->a, &v, x);
        skip_blanks(s);
        if (accept(s, ']'))
            break;
    }
    *ret = v.p;
    *ret_n = v.n;
    return true;
}

static bool parse_int(struct sd *s, int64_t *ret)
{
    bool negative = accept(s, '-');
    uint64_t v;
    if (!parse_count(s, &v))
        return false;
    *ret = negative ? -(int64_t)v : (int64_t)v;
    return true;
}

static bool parse_hint(struct sd *s, struct hist_build *b)
{
    static const char *const hints[] = { [HIST_RESET_UNKNOWN] = "unknown",
                                         [HIST_RESET_YES] = "reset",
                                         [HIST_RESET_NO] = "not_reset",
                                         [HIST_RESET_GAUGE] = "gauge" };
    size_t from = s->pos;
    str w = parse_word(s, false);
    for (size_t i = 0; i < ARRAY_LEN(hints); i++) {
        if (str_ieq(w, str_c(hints[i]))) {
            b->h->reset = (enum hist_reset)i;
            b->hint_set = true;
            return true;
        }
    }
    return bad_descriptor(s, from, w);
}

static bool parse_hist_value(struct sd *s, enum hist_key key, struct hist_build *b)
{
    int64_t i;
    switch (key) {
    case KEY_SCHEMA:
        if (!parse_int(s, &i))
            return false;
        b->h->schema = (int32_t)i;
        return true;
    case KEY_SUM:
        return parse_signed(s, &b->h->sum);
    case KEY_COUNT:
        return parse_signed(s, &b->h->count);
    case KEY_Z_BUCKET:
        return parse_signed(s, &b->h->zero_count);
    case KEY_Z_BUCKET_W:
        return parse_unsigned(s, &b->h->zero_threshold);
    case KEY_CUSTOM:
        return parse_list(s, &b->h->custom, &b->h->n_custom);
    case KEY_BUCKETS:
        return parse_list(s, &b->h->pos.buckets, &b->h->pos.n_buckets);
    case KEY_OFFSET:
        return parse_int(s, &b->offset);
    case KEY_N_BUCKETS:
        return parse_list(s, &b->h->neg.buckets, &b->h->neg.n_buckets);
    case KEY_N_OFFSET:
        return parse_int(s, &b->n_offset);
    case KEY_HINT:
        return parse_hint(s, b);
    case KEY_NONE:
        break;
    }
    return false;
}

static bool parse_hist_item(struct sd *s, struct hist_build *b)
{
    size_t from = s->pos;
    str w = parse_word(s, false);
    if (w.n == 0)
        return unexpected(s, b->seen
                                 ? "histogram description, expected histogram description key, e.g. buckets:[5 10 7]"
                                 : "series values");
    unsigned key = 0;
    while (key < KEY_NONE && !str_ieq(w, str_c(hist_keys[key])))
        key++;
    if (key == KEY_NONE)
        return bad_descriptor(s, from, w);
    if (!accept(s, ':'))
        return fail_at(s, from, STR("missing `:` for histogram descriptor"));
    if (b->seen & (1u << key)) {
        AUTO_BUF struct buf t;
        buf_init(&t, 0);
        buf_printf(&t, "duplicate key \"%s\" in histogram", hist_keys[key]);
        return fail_at(s, 0, buf_str(&t));
    }
    b->seen |= 1u << key;
    return parse_hist_value(s, (enum hist_key)key, b);
}

static void set_span(struct sd *s, struct hist_side *side, int64_t offset)
{
    if (side->n_buckets == 0)
        return;
    struct hist_span *span = arena_new(s->a, struct hist_span);
    *span = (struct hist_span){ (int32_t)offset, (uint32_t)side->n_buckets };
    side->spans = span;
    side->n_spans = 1;
}

/* {{...}} */
static bool parse_histogram(struct sd *s, struct series_value *ret)
{
    struct hist_build b = { .h = arena_new(s->a, struct histogram) };
    s->pos += 2;
    skip_blanks(s);
    while (!(peek(s) == '}' && peek_at(s, 1) == '}')) {
        if (!parse_hist_item(s, &b))
            return false;
        if (!skip_blanks(s) && peek(s) != '}')
            return unexpected(s, "histogram description, expected histogram description key, e.g. buckets:[5 10 7]");
    }
    s->pos += 2;
    set_span(s, &b.h->pos, b.offset);
    set_span(s, &b.h->neg, b.n_offset);
    *ret = (struct series_value){ .h = b.h, .hint_set = b.hint_set };
    return true;
}

static bool at_histogram(const struct sd *s)
{
    return peek(s) == '{' && peek_at(s, 1) == '{';
}

static bool push_histograms(struct sd *s, struct series_desc *d, struct series_value base,
                            const struct series_value *inc, bool subtract, uint64_t times, size_t times_pos)
{
    struct series_value cur = base;
    if (inc)
        cur.hint_set = inc->hint_set;
    if (!push(s, d, cur))
        return false;
    for (uint64_t i = 0; i < times; i++) {
        if (inc) {
            AUTO_BUF struct buf why;
            buf_init(&why, 0);
            struct histogram *next = NULL;
            if (cur.h->schema > inc->h->schema) {
                buf_printf(&why, "error combining histograms: cannot merge from schema %d to %d", (int)inc->h->schema,
                           (int)cur.h->schema);
                return fail_at(s, times_pos, buf_str(&why));
            }
            enum err e = subtract ? histogram_sub(s->a, cur.h, inc->h, &next, NULL)
                                  : histogram_add(s->a, cur.h, inc->h, &next, NULL);
            if (e != OK)
                return fail_at(s, times_pos,
                               STR("cannot apply this operation on histograms with a mix of exponential "
                                   "and custom bucket schemas"));
            cur.h = next;
        }
        if (!push(s, d, cur))
            return false;
    }
    return true;
}

static bool parse_histogram_series(struct sd *s, struct series_desc *d)
{
    struct series_value base, inc;
    bool has_inc = false, subtract = false;
    uint64_t times = 0;
    size_t times_pos = s->pos;
    if (!parse_histogram(s, &base))
        return false;
    if ((peek(s) == '+' || peek(s) == '-') && peek_at(s, 1) == '{') {
        subtract = peek(s) == '-';
        has_inc = true;
        s->pos++;
        if (!parse_histogram(s, &inc))
            return false;
    }
    if (accept(s, 'x')) {
        times_pos = s->pos;
        if (!parse_count(s, &times))
            return false;
    } else if (has_inc) {
        return unexpected(s, "series values");
    }
    return push_histograms(s, d, base, has_inc ? &inc : NULL, subtract, times, times_pos);
}

/* ---- items ---- */
static bool parse_gaps(struct sd *s, struct series_desc *d)
{
    uint64_t n = 1;
    s->pos++;
    if (accept(s, 'x') && !parse_count(s, &n))
        return false;
    for (uint64_t i = 0; i < n; i++)
        if (!push(s, d, (struct series_value){ .omitted = true }))
            return false;
    return true;
}

/* A duration, with a sign that may be there; "0" needs no unit. */
static bool parse_start_offset(struct sd *s, double *ret)
{
    bool negative = peek(s) == '-';
    if (negative || peek(s) == '+')
        s->pos++;
    size_t from = s->pos;
    while (is_digit(peek(s)) || (peek(s) >= 'a' && peek(s) <= 'z' && peek(s) != 'x'))
        s->pos++;
    AUTO_BUF struct buf why;
    buf_init(&why, 0);
    int64_t ns;
    if (!pq_duration(str_n(s->in.p + from, s->pos - from), &ns, &why))
        return fail_at(s, from, buf_str(&why));
    *ret = (double)(ns / 1000000) * (negative ? -1 : 1);
    return true;
}

static bool parse_number_item(struct sd *s, struct series_desc *d)
{
    bool (*value)(struct sd *, double *) = d->is_start ? parse_start_offset : parse_signed;
    double v, inc = 0;
    uint64_t times = 0;
    if (!d->is_start && str_has_prefix(str_skip(s->in, s->pos), STR("stale"))) {
        s->pos += 5;
        v = f64_from_bits(STALE_NAN_BITS);
    } else if (!value(s, &v)) {
        return false;
    }
    bool has_inc = peek(s) == '+' || peek(s) == '-';
    if (has_inc && !value(s, &inc))
        return false;
    if (accept(s, 'x')) {
        if (!parse_count(s, &times))
            return false;
    } else if (has_inc) {
        return unexpected(s, "series values");
    }
    for (uint64_t i = 0; i <= times; i++) {
        if (!push(s, d, (struct series_value){ .v = v }))
            return false;
        if (has_inc)
            v += inc;
    }
    return true;
}

static bool parse_values(struct sd *s, struct series_desc *d)
{
    while (s->pos < s->in.n) {
        if (!skip_blanks(s))
            return unexpected(s, "series values");
        if (s->pos == s->in.n)
            return true;
        bool ok = peek(s) == '_'    ? parse_gaps(s, d)
                  : at_histogram(s) ? parse_histogram_series(s, d)
                                    : parse_number_item(s, d);
        if (!ok)
            return false;
    }
    return true;
}

enum err series_desc_parse(struct arena *a, str line, struct series_desc *ret, struct err_text *reterr)
{
    struct sd s = { .a = a, .in = line, .reterr = reterr };
    *ret = (struct series_desc){ 0 };
    if (!parse_metric(&s, &ret->labels))
        return ERR_PARSE;
    if (str_has_prefix(str_skip(s.in, s.pos), STR("@st"))) {
        ret->is_start = true;
        s.pos += 3;
    }
    return parse_values(&s, ret) ? OK : ERR_PARSE;
}
