/* The lexer of PromQL.
 *
 * State machine after Prometheus 3.x (promql/parser/lex.go): three states, of which PQ_LEX_DURATION holds from "["
 * until the first number (errors are worded differently there, and only duration words are known); after a number
 * the general state goes on with `bracket_open` set. Keywords are recognised in any letter case.
 * An error ends the input: the parser sees T_ERROR and nothing after it. */
#include "promql/promql_lex.h"

#include <math.h>
#include <stdio.h>

#include "base/num.h"

#define EOF_RUNE UINT32_MAX

static const struct {
    const char *word;
    int type;
} keywords[] = {
    { "and", T_AND },
    { "or", T_OR },
    { "unless", T_UNLESS },
    { "atan2", T_ATAN2 },
    { "sum", T_AGG + PQ_AGG_SUM },
    { "avg", T_AGG + PQ_AGG_AVG },
    { "count", T_AGG + PQ_AGG_COUNT },
    { "min", T_AGG + PQ_AGG_MIN },
    { "max", T_AGG + PQ_AGG_MAX },
    { "group", T_AGG + PQ_AGG_GROUP },
    { "stddev", T_AGG + PQ_AGG_STDDEV },
    { "stdvar", T_AGG + PQ_AGG_STDVAR },
    { "topk", T_AGG + PQ_AGG_TOPK },
    { "bottomk", T_AGG + PQ_AGG_BOTTOMK },
    { "count_values", T_AGG + PQ_AGG_COUNT_VALUES },
    { "quantile", T_AGG + PQ_AGG_QUANTILE },
    { "limitk", T_AGG + PQ_AGG_LIMITK },
    { "limit_ratio", T_AGG + PQ_AGG_LIMIT_RATIO },
    { "offset", T_OFFSET },
    { "smoothed", T_SMOOTHED },
    { "anchored", T_ANCHORED },
    { "by", T_BY },
    { "without", T_WITHOUT },
    { "on", T_ON },
    { "ignoring", T_IGNORING },
    { "group_left", T_GROUP_LEFT },
    { "group_right", T_GROUP_RIGHT },
    { "fill", T_FILL },
    { "fill_left", T_FILL_LEFT },
    { "fill_right", T_FILL_RIGHT },
    { "bool", T_BOOL },
    { "start", T_START },
    { "end", T_END },
    { "step", T_STEP },
    { "range", T_RANGE },
    { "min_of", T_MIN_OF },
    { "max_of", T_MAX_OF },
    { "inf", T_NUMBER },
    { "nan", T_NUMBER },
};

static bool is_space(uint32_t r)
{
    return r == ' ' || r == '\t' || r == '\n' || r == '\r';
}
static bool is_digit(uint32_t r)
{
    return r >= '0' && r <= '9';
}
static bool is_alpha(uint32_t r)
{
    return r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z');
}
static bool is_alnum(uint32_t r)
{
    return is_alpha(r) || is_digit(r);
}

/* ---- characters ---- */
static uint32_t rune_at(const struct pq_lexer *l, uint32_t pos, uint32_t *ret_width)
{
    if (pos >= l->in.n) {
        *ret_width = 0;
        return EOF_RUNE;
    }
    uint8_t c = (uint8_t)l->in.p[pos];
    if (c < 0x80) {
        *ret_width = 1;
        return c;
    }
    uint32_t cp;
    *ret_width = (uint32_t)str_utf8_get(str_n(l->in.p + pos, l->in.n - pos), &cp);
    return cp;
}
static uint32_t peek(const struct pq_lexer *l)
{
    uint32_t w;
    return rune_at(l, l->pos, &w);
}
static uint32_t next(struct pq_lexer *l)
{
    uint32_t w, r = rune_at(l, l->pos, &w);
    l->pos += w;
    return r;
}
static bool accept(struct pq_lexer *l, const char *set)
{
    if (l->pos >= l->in.n || !strchr(set, l->in.p[l->pos]) || l->in.p[l->pos] == '\0')
        return false;
    l->pos++;
    return true;
}
static bool next_is(const struct pq_lexer *l, const char *set)
{
    return l->pos < l->in.n && l->in.p[l->pos] != '\0' && strchr(set, l->in.p[l->pos]) != NULL;
}

/* ---- emitting ---- */
static void emit(struct pq_lexer *l, struct pq_item *it, int type)
{
    *it = (struct pq_item){ type, l->start, l->pos };
    l->start = l->pos;
}

static void fail(struct pq_lexer *l, struct pq_item *it, const char *text)
{
    snprintf(l->error, sizeof(l->error), "%s", text);
    l->failed = true;
    *it = (struct pq_item){ T_ERROR, l->start, l->start };
}
static void fail_rune(struct pq_lexer *l, struct pq_item *it, const char *before, uint32_t r, const char *after)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 256);
    buf_printf(&b, "%s", before);
    buf_go_quote_rune(&b, r);
    buf_printf(&b, "%s", after);
    buf_u8(&b, 0);
    fail(l, it, b.p);
}
static void fail_quoted(struct pq_lexer *l, struct pq_item *it, const char *before)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_printf(&b, "%s", before);
    buf_go_quote(&b, str_n(l->in.p + l->start, l->pos - l->start));
    buf_u8(&b, 0);
    fail(l, it, b.p);
}

/* ---- numbers and durations ---- */
/* Scans what may be a number; the parser decides whether it is one. */
static bool scan_number(struct pq_lexer *l)
{
    uint32_t initial = l->pos;
    const char *digits = "0123456789";
    bool hex = false;
    if (accept(l, "0") && accept(l, "xX")) {
        accept(l, "_");
        digits = "0123456789abcdefABCDEF";
        hex = true;
    }
    accept(l, ".");
    accept(l, digits);
    bool dot = false, exponent = false;
    while (next_is(l, digits) || next_is(l, "._eE")) {
        if (next_is(l, ".") && dot) {
            accept(l, ".");
            return false;
        }
        if (next_is(l, "eE") && exponent) {
            accept(l, "eE");
            return false;
        }
        if (accept(l, ".")) {
            dot = true;
            if (accept(l, "_.") || hex)
                return false;
            continue;
        }
        if (accept(l, "eE")) {
            exponent = true;
            accept(l, "+-");
            if (accept(l, "._eE") || l->pos >= l->in.n)
                return false;
            continue;
        }
        if (accept(l, "_")) {
            if (accept(l, "._eE") || l->pos >= l->in.n)
                return false;
            continue;
        }
        while (accept(l, digits)) {
        }
    }
    return l->pos != initial && !is_alnum(peek(l));
}

static bool accept_duration(struct pq_lexer *l)
{
    if (!accept(l, "smhdwy"))
        return false;
    accept(l, "s"); /* "ms"; "hs" and the like are found when the duration is read */
    while (accept(l, "0123456789")) {
        while (accept(l, "0123456789")) {
        }
        if (!accept(l, "smhdw"))
            return false;
        accept(l, "s");
    }
    if (is_alnum(peek(l))) {
        next(l);
        return false;
    }
    return true;
}

static void lex_number(struct pq_lexer *l, struct pq_item *it)
{
    if (scan_number(l))
        emit(l, it, T_NUMBER);
    else if (accept_duration(l))
        emit(l, it, T_DURATION);
    else
        fail_quoted(l, it, "bad number or duration syntax: ");
}

/* ---- strings ---- */
static unsigned digit_value(uint32_t r)
{
    if (is_digit(r))
        return r - '0';
    if (r >= 'a' && r <= 'f')
        return r - 'a' + 10;
    if (r >= 'A' && r <= 'F')
        return r - 'A' + 10;
    return 16;
}

static void fail_char(struct pq_lexer *l, struct pq_item *it, const char *before, uint32_t r, const char *after)
{
    char enc[5] = { 0 }, text[128];
    str_utf8_put(enc, r);
    if (str_rune_is_printable(r))
        snprintf(text, sizeof(text), "%sU+%04X '%s'%s", before, r, enc, after);
    else
        snprintf(text, sizeof(text), "%sU+%04X%s", before, r, after);
    fail(l, it, text);
}

static bool lex_escape(struct pq_lexer *l, struct pq_item *it, uint32_t quote)
{
    uint32_t ch = next(l), max = 0x10ffff, x = 0;
    unsigned n, base = 16;
    switch (ch) {
    case 'a':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
    case 'v':
    case '\\':
        return true;
    case '0':
    case '1':
    case '2':
    case '3':
    case '4':
    case '5':
    case '6':
    case '7':
        n = 3, base = 8, max = 255;
        break;
    case 'x':
        n = 2, max = 255, ch = next(l);
        break;
    case 'u':
        n = 4, ch = next(l);
        break;
    case 'U':
        n = 8, ch = next(l);
        break;
    case EOF_RUNE:
        fail(l, it, "escape sequence not terminated");
        return false;
    default:
        if (ch == quote)
            return true;
        fail_char(l, it, "unknown escape sequence ", ch, "");
        return false;
    }
    for (; n > 0; n--) {
        unsigned d = digit_value(ch);
        if (d >= base) {
            if (ch == EOF_RUNE)
                fail(l, it, "escape sequence not terminated");
            else
                fail_char(l, it, "illegal character ", ch, " in escape sequence");
            return false;
        }
        x = x * base + d;
        if (n > 1)
            ch = next(l);
    }
    if (x > max || (x >= 0xd800 && x < 0xe000)) {
        fail(l, it, "escape sequence is an invalid Unicode code point");
        return false;
    }
    return true;
}

static void lex_string(struct pq_lexer *l, struct pq_item *it, uint32_t quote)
{
    for (;;) {
        uint32_t r = next(l);
        if (r == quote)
            break;
        if (quote != '`' && r == '\\') {
            if (!lex_escape(l, it, quote))
                return;
        } else if (r == 0xfffd) {
            fail(l, it, "invalid UTF-8 rune");
            return;
        } else if (r == EOF_RUNE || (r == '\n' && quote != '`')) {
            fail(l, it, quote == '`' ? "unterminated raw string" : "unterminated quoted string");
            return;
        }
    }
    emit(l, it, T_STRING);
}

/* ---- words ---- */
static str lexeme(const struct pq_lexer *l)
{
    return str_n(l->in.p + l->start, l->pos - l->start);
}

static bool followed_by_paren(const struct pq_lexer *l)
{
    uint32_t p = l->pos;
    while (p < l->in.n && is_space((uint8_t)l->in.p[p]))
        p++;
    return p < l->in.n && l->in.p[p] == '(';
}

static void lex_word(struct pq_lexer *l, struct pq_item *it)
{
    while (is_alnum(peek(l)) || peek(l) == ':')
        l->pos++;
    str word = lexeme(l);
    for (size_t i = 0; i < ARRAY_LEN(keywords); i++) {
        if (!str_ieq(word, str_c(keywords[i].word)))
            continue;
        int t = keywords[i].type;
        /* New words that would break old queries count only where a call could stand. */
        bool soft = t == T_FILL || t == T_FILL_LEFT || t == T_FILL_RIGHT || t == T_MIN_OF || t == T_MAX_OF;
        emit(l, it, soft && !followed_by_paren(l) ? T_IDENT : t);
        return;
    }
    emit(l, it, str_find_char(word, ':') == SIZE_MAX ? T_IDENT : T_METRIC_IDENT);
}

/* step, range, min_of, max_of: the only words inside []. */
static bool lex_duration_word(struct pq_lexer *l, struct pq_item *it)
{
    static const struct {
        const char *word;
        int type;
    } words[] = { { "step", T_STEP }, { "range", T_RANGE }, { "min_of", T_MIN_OF }, { "max_of", T_MAX_OF } };
    while (is_alpha(peek(l)))
        l->pos++;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (str_ieq(lexeme(l), str_c(words[i].word))) {
            emit(l, it, words[i].type);
            l->got_duration = true;
            return true;
        }
    }
    return false;
}

/* ---- the states ---- */
static void lex_right_paren(struct pq_lexer *l, struct pq_item *it)
{
    if (l->paren_depth == 0) {
        l->start = l->pos; /* upstream has taken the character before it complains */
        fail_rune(l, it, "unexpected right parenthesis ", ')', "");
        return;
    }
    l->paren_depth--;
    emit(l, it, T_RPAREN);
}

static void lex_right_bracket(struct pq_lexer *l, struct pq_item *it)
{
    emit(l, it, T_RBRACKET);
    l->bracket_open = false;
    l->got_colon = false;
    l->state = PQ_LEX_STATEMENTS;
}

static int operator_of(uint32_t r)
{
    switch (r) {
    case '+':
        return T_ADD;
    case '-':
        return T_SUB;
    case '*':
        return T_MUL;
    case '/':
        return T_DIV;
    case '%':
        return T_MOD;
    case '^':
        return T_POW;
    case ',':
        return T_COMMA;
    default:
        return T_ERROR;
    }
}

static void lex_duration_state(struct pq_lexer *l, struct pq_item *it)
{
    uint32_t r = next(l);
    int op = operator_of(r);
    if (op != T_ERROR) {
        emit(l, it, op);
    } else if (r == EOF_RUNE) {
        fail(l, it, "unexpected end of input in duration expression");
    } else if (r == ']') {
        lex_right_bracket(l, it);
    } else if (r == ':') {
        if (!l->got_duration || l->got_colon)
            l->start = l->pos;
        if (!l->got_duration)
            fail(l, it, "unexpected colon before duration in duration expression");
        else if (l->got_colon)
            fail(l, it, "unexpected repeated colon in duration expression");
        else
            emit(l, it, T_COLON);
        l->got_colon = true;
    } else if (r == '(') {
        l->paren_depth++;
        emit(l, it, T_LPAREN);
    } else if (r == ')') {
        lex_right_paren(l, it);
    } else if (is_digit(r) || (r == '.' && is_digit(peek(l)))) {
        l->pos--;
        l->got_duration = true;
        l->state = PQ_LEX_STATEMENTS;
        lex_number(l, it);
    } else if (r >= 0x80 || !strchr("sSmMrR", (char)r) || !lex_duration_word(l, it)) {
        fail_rune(l, it, "unexpected character in duration expression: ", r, "");
    }
}

static void lex_braces_state(struct pq_lexer *l, struct pq_item *it)
{
    uint32_t r = next(l);
    if (r == EOF_RUNE) {
        fail(l, it, "unexpected end of input inside braces");
    } else if (is_alpha(r)) {
        while (is_alnum(peek(l)))
            l->pos++;
        emit(l, it, T_IDENT);
    } else if (r == ',') {
        emit(l, it, T_COMMA);
    } else if (r == '"' || r == '\'' || r == '`') {
        lex_string(l, it, r);
    } else if (r == '=') {
        emit(l, it, accept(l, "~") ? T_EQL_REGEX : T_EQL);
    } else if (r == '!') {
        uint32_t n = next(l);
        if (n == '~' || n == '=')
            emit(l, it, n == '~' ? T_NEQ_REGEX : T_NEQ);
        else
            fail_rune(l, it, "unexpected character after '!' inside braces: ", n, "");
    } else if (r == '{') {
        fail_rune(l, it, "unexpected left brace ", r, "");
    } else if (r == '}') {
        emit(l, it, T_RBRACE);
        l->state = PQ_LEX_STATEMENTS;
    } else {
        fail_rune(l, it, "unexpected character inside braces: ", r, "");
    }
}

/* A letter or colon between [ and ], after a number. */
static void lex_bracket_letter(struct pq_lexer *l, struct pq_item *it, uint32_t r)
{
    if (r == ':') {
        if (l->got_colon) {
            fail_rune(l, it, "unexpected colon ", r, "");
            return;
        }
        l->got_colon = true;
        emit(l, it, T_COLON);
    } else if (!strchr("sSmMrR", (char)r) || !lex_duration_word(l, it)) {
        fail_rune(l, it, "unexpected character: ", r, ", expected ':'");
    }
}

static void lex_left_bracket(struct pq_lexer *l, struct pq_item *it)
{
    if (l->bracket_open) {
        fail_rune(l, it, "unexpected left bracket ", '[', "");
        return;
    }
    emit(l, it, T_LBRACKET);
    l->got_colon = l->got_duration = false;
    l->bracket_open = true;
    l->state = PQ_LEX_DURATION;
}

static void lex_comparison(struct pq_lexer *l, struct pq_item *it, uint32_t r)
{
    switch (r) {
    case '=':
        if (peek(l) == '~')
            fail_rune(l, it, "unexpected character after '=': ", '~', "");
        else
            emit(l, it, accept(l, "=") ? T_EQLC : T_EQL);
        break;
    case '!': {
        uint32_t n = next(l);
        if (n == '=')
            emit(l, it, T_NEQ);
        else
            fail_rune(l, it, "unexpected character after '!': ", n, "");
        break;
    }
    case '<':
        emit(l, it, accept(l, "=") ? T_LTE : accept(l, "/") ? T_TRIM_UPPER : T_LSS);
        break;
    default:
        emit(l, it, accept(l, "=") ? T_GTE : accept(l, "/") ? T_TRIM_LOWER : T_GTR);
    }
}

static void lex_eof(struct pq_lexer *l, struct pq_item *it)
{
    if (l->paren_depth)
        fail(l, it, "unclosed left parenthesis");
    else if (l->bracket_open)
        fail(l, it, "unclosed left bracket");
    else
        emit(l, it, T_EOF);
}

static void lex_statements_state(struct pq_lexer *l, struct pq_item *it)
{
    uint32_t r = next(l);
    int op = operator_of(r);
    if (op != T_ERROR) {
        emit(l, it, op);
        return;
    }
    switch (r) {
    case EOF_RUNE:
        lex_eof(l, it);
        return;
    case '=':
    case '!':
    case '<':
    case '>':
        lex_comparison(l, it, r);
        return;
    case '"':
    case '\'':
    case '`':
        lex_string(l, it, r);
        return;
    case '(':
        l->paren_depth++;
        emit(l, it, T_LPAREN);
        return;
    case ')':
        lex_right_paren(l, it);
        return;
    case '{':
        emit(l, it, T_LBRACE);
        l->state = PQ_LEX_BRACES;
        return;
    case '[':
        lex_left_bracket(l, it);
        return;
    case ']':
        if (l->bracket_open)
            lex_right_bracket(l, it);
        else
            fail_rune(l, it, "unexpected right bracket ", r, "");
        return;
    case '@':
        emit(l, it, T_AT);
        return;
    default:
        break;
    }
    if (is_digit(r) || (r == '.' && is_digit(peek(l)))) {
        l->pos--;
        lex_number(l, it);
    } else if ((is_alpha(r) || r == ':') && l->bracket_open) {
        lex_bracket_letter(l, it, r);
    } else if (is_alpha(r) || r == ':') {
        lex_word(l, it);
    } else {
        fail_rune(l, it, "unexpected character: ", r, "");
    }
}

void pq_lex_init(struct pq_lexer *l, str text)
{
    *l = (struct pq_lexer){ .in = text };
}

static void skip_blanks_and_comments(struct pq_lexer *l)
{
    for (;;) {
        while (is_space(peek(l)))
            l->pos++;
        /* In the duration state "#" is an error, as it is upstream. */
        if (peek(l) != '#' || l->state == PQ_LEX_DURATION)
            break;
        while (l->pos < l->in.n && l->in.p[l->pos] != '\n' && l->in.p[l->pos] != '\r')
            l->pos++;
    }
    l->start = l->pos;
}

void pq_lex_next(struct pq_lexer *l, struct pq_item *ret)
{
    if (l->failed) {
        *ret = (struct pq_item){ T_ERROR, l->start, l->start };
        return;
    }
    skip_blanks_and_comments(l);
    if (l->state == PQ_LEX_BRACES)
        lex_braces_state(l, ret);
    else if (l->state == PQ_LEX_DURATION)
        lex_duration_state(l, ret);
    else
        lex_statements_state(l, ret);
}

/* ---- naming an item in an error ---- */
/* Go's %.10q: at most ten runes. */
static void quote_short(struct buf *out, str s)
{
    if (s.n <= 10) {
        buf_go_quote(out, s);
        return;
    }
    size_t n = 0;
    for (unsigned i = 0; i < 10 && n < s.n; i++) {
        uint32_t r;
        n += str_utf8_get(str_skip(s, n), &r);
    }
    buf_go_quote(out, str_take(s, n));
    buf_lit(out, "...");
}

void pq_item_describe(struct buf *out, str text, struct pq_item it)
{
    str val = str_n(text.p + it.start, it.end - it.start);
    switch (it.type) {
    case T_ERROR:
        buf_lit(out, "error");
        return;
    case T_EOF:
        buf_lit(out, "end of input");
        return;
    case T_IDENT:
    case T_METRIC_IDENT:
        buf_printf(out, it.type == T_IDENT ? "identifier " : "metric identifier ");
        buf_go_quote(out, val);
        return;
    case T_STRING:
        buf_lit(out, "string ");
        break;
    case T_NUMBER:
        buf_lit(out, "number ");
        break;
    case T_DURATION:
        buf_lit(out, "duration ");
        break;
    default:
        if (it.type >= T_EQL_REGEX && it.type <= T_UNLESS)
            buf_printf(out, "<op:" STR_FMT ">", STR_ARG(val));
        else if (it.type >= T_OFFSET && it.type <= T_BOOL)
            buf_printf(out, "<" STR_FMT ">", STR_ARG(val));
        else if (pq_tok_is_agg(it.type))
            buf_printf(out, "<aggr:" STR_FMT ">", STR_ARG(val));
        else
            break;
        return;
    }
    quote_short(out, val);
}

/* ---- values of tokens ---- */
static size_t unquote_escape(str s, char *out, size_t *n)
{
    static const char from[] = "abfnrtv", to[] = "\a\b\f\n\r\t\v";
    const char *hit = strchr(from, s.p[1]);
    if (hit && s.p[1]) {
        out[(*n)++] = to[hit - from];
        return 2;
    }
    unsigned digits = s.p[1] == 'x' ? 2 : s.p[1] == 'u' ? 4 : s.p[1] == 'U' ? 8 : is_digit((uint8_t)s.p[1]) ? 3 : 0;
    if (digits == 0) {
        out[(*n)++] = s.p[1];
        return 2;
    }
    size_t at = digits == 3 ? 1 : 2;
    uint32_t x = 0;
    for (unsigned i = 0; i < digits; i++)
        x = x * (digits == 3 ? 8 : 16) + digit_value((uint8_t)s.p[at + i]);
    if (digits <= 3)
        out[(*n)++] = (char)x;
    else
        *n += str_utf8_put(out + *n, x);
    return at + digits;
}

str pq_unquote(struct arena *a, str quoted)
{
    ASSERT(quoted.n >= 2);
    str s = str_n(quoted.p + 1, quoted.n - 2);
    if (quoted.p[0] == '`' || str_find_char(s, '\\') == SIZE_MAX)
        return s;
    char *out = arena_alloc(a, s.n + 4);
    size_t n = 0;
    while (s.n) {
        if (s.p[0] == '\\' && s.n > 1) {
            s = str_skip(s, unquote_escape(s, out, &n));
        } else {
            out[n++] = s.p[0];
            s = str_skip(s, 1);
        }
    }
    return str_n(out, n);
}

/* Underscores may only separate digits (one may follow the base prefix). */
static bool strip_underscores(str s, char *out, size_t out_max, size_t *ret_n)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] != '_') {
            if (n == out_max)
                return false;
            out[n++] = s.p[i];
            continue;
        }
        bool after = i > 0 && (digit_value((uint8_t)s.p[i - 1]) < 16 || (i == 2 && strchr("xXbBoO", s.p[1])));
        if (!after || i + 1 >= s.n || digit_value((uint8_t)s.p[i + 1]) >= 16)
            return false;
    }
    *ret_n = n;
    return true;
}

static bool parse_int_base(str s, unsigned base, double *ret)
{
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned d = digit_value((uint8_t)s.p[i]);
        if (d >= base || v > ((uint64_t)INT64_MAX - d) / base)
            return false;
        v = v * base + d;
    }
    *ret = (double)(int64_t)v;
    return true;
}

bool pq_number(str s, double *ret)
{
    char clean[512];
    size_t n;
    if (!strip_underscores(s, clean, sizeof(clean), &n))
        return false;
    str c = str_n(clean, n);
    if (n > 1 && c.p[0] == '0') {
        char k = c.p[1];
        if ((k == 'x' || k == 'X') && parse_int_base(str_skip(c, 2), 16, ret))
            return true;
        if (k != 'x' && k != 'X' && parse_int_base(str_skip(c, 1), 8, ret))
            return true;
    } else if (parse_int_base(c, 10, ret)) {
        return true;
    }
    return num_parse_f64(c, ret) && (isfinite(*ret) || is_alpha((uint8_t)c.p[0]));
}

static bool duration_fail(struct buf *err, const char *before, str s)
{
    buf_printf(err, "%s", before);
    if (s.p)
        buf_go_quote(err, s);
    return false;
}

bool pq_duration(str s, int64_t *ret_ns, struct buf *err)
{
    static const struct {
        const char *unit;
        uint64_t ns;
    } units[] = {
        { "y", 365ull * 86400 * 1000000000 },
        { "w", 7ull * 86400 * 1000000000 },
        { "d", 86400ull * 1000000000 },
        { "h", 3600ull * 1000000000 },
        { "m", 60ull * 1000000000 },
        { "s", 1000000000ull },
        { "ms", 1000000ull },
    };
    str rest = s;
    uint64_t total = 0;
    size_t least = 0;
    if (str_eq(s, STR("0"))) {
        *ret_ns = 0;
        return true;
    }
    if (s.n == 0)
        return duration_fail(err, "empty duration string", STR_NONE);
    while (rest.n) {
        size_t d = 0, u, i = 0;
        uint64_t v;
        while (d < rest.n && is_digit((uint8_t)rest.p[d]))
            d++;
        if (d == 0 || !str_to_u64(str_take(rest, d), &v))
            return duration_fail(err, "not a valid duration string: ", s);
        rest = str_skip(rest, d);
        for (u = 0; u < rest.n && !is_digit((uint8_t)rest.p[u]); u++) {
        }
        if (u == 0)
            return duration_fail(err, "not a valid duration string: ", s);
        while (i < ARRAY_LEN(units) && !str_eq(str_c(units[i].unit), str_take(rest, u)))
            i++;
        if (i == ARRAY_LEN(units)) {
            duration_fail(err, "unknown unit ", str_take(rest, u));
            return duration_fail(err, " in duration ", s);
        }
        if (i < least)
            return duration_fail(err, "not a valid duration string: ", s);
        least = i + 1;
        if (v > (uint64_t)INT64_MAX / units[i].ns || total + v * units[i].ns > (uint64_t)INT64_MAX)
            return duration_fail(err, "duration out of range", STR_NONE);
        total += v * units[i].ns;
        rest = str_skip(rest, u);
    }
    *ret_ns = (int64_t)total;
    return true;
}
