/* Tokens of a template: text outside of actions, then what is between {{ and }}. Spaces are tokens inside an action,
 * since they part arguments. Trim markers "{{- " and " -}}" take the white space of the neighbouring text. */
#include <stdio.h>

#include "tmpl/tmpl_int.h"

static const struct {
    str word;
    enum tok type;
} keywords[] = {
    { STR_INIT("block"), T_BLOCK },
    { STR_INIT("break"), T_BREAK },
    { STR_INIT("continue"), T_CONTINUE },
    { STR_INIT("define"), T_DEFINE },
    { STR_INIT("else"), T_ELSE },
    { STR_INIT("end"), T_END },
    { STR_INIT("if"), T_IF },
    { STR_INIT("range"), T_RANGE },
    { STR_INIT("nil"), T_NIL },
    { STR_INIT("template"), T_TEMPLATE },
    { STR_INIT("with"), T_WITH },
    { STR_INIT("true"), T_BOOL },
    { STR_INIT("false"), T_BOOL },
};

void lex_init(struct lex *l, str text)
{
    *l = (struct lex){ .text = text };
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static char at(const struct lex *l, size_t pos) /* NUL past the end */
{
    return pos < l->text.n ? l->text.p[pos] : 0;
}

static bool eof(const struct lex *l)
{
    return l->pos >= l->text.n;
}

/* Length of the letter, digit or underscore at pos; 0: something else. */
static size_t alnum_len(const struct lex *l, size_t pos)
{
    if (pos >= l->text.n)
        return 0;
    char c = l->text.p[pos];
    if (c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return 1;
    uint32_t r;
    size_t w = str_utf8_get(str_skip(l->text, pos), &r);
    bool symbol = r < 0xaa || r == 0xab || r == 0xac || (r >= 0xae && r <= 0xb4) || (r >= 0xb6 && r <= 0xb9) ||
                  (r >= 0xbb && r <= 0xbf) || r == 0xd7 || r == 0xf7 || (r >= 0x2000 && r <= 0x2bff) ||
                  (r >= 0x3000 && r <= 0x3004) || r >= 0xe0000 || (r >= 0xfff0 && r <= 0xffff) ||
                  (r >= 0x1f000 && r <= 0x1faff);
    return symbol ? 0 : w;
}

static struct token token(struct lex *l, enum tok type, size_t from)
{
    return (struct token){ type, str_n(l->text.p + from, l->pos - from), from };
}

static struct token fail(struct lex *l, size_t pos, const char *fmt, ...) PRINTF_LIKE(3, 4);
static struct token fail(struct lex *l, size_t pos, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (!l->error[0])
        vsnprintf(l->error, sizeof(l->error), fmt, ap);
    va_end(ap);
    l->pos = pos;
    return (struct token){ T_ERROR, str_c(l->error), pos };
}

/* 0: no right delimiter here, else its length with the trim marker. */
static size_t right_delim(const struct lex *l, bool *ret_trim)
{
    *ret_trim = is_space(at(l, l->pos)) && at(l, l->pos + 1) == '-';
    size_t skip = *ret_trim ? 2 : 0;
    if (at(l, l->pos + skip) == '}' && at(l, l->pos + skip + 1) == '}')
        return skip + 2;
    *ret_trim = false;
    return at(l, l->pos) == '}' && at(l, l->pos + 1) == '}' ? 2 : 0;
}

static struct token next_text(struct lex *l)
{
    for (;;) {
        if (l->trim_next)
            while (!eof(l) && is_space(at(l, l->pos)))
                l->pos++;
        l->trim_next = false;
        size_t from = l->pos;
        size_t x = str_find(str_skip(l->text, from), STR("{{"));
        if (x == SIZE_MAX) {
            l->pos = l->text.n;
            return l->pos > from ? token(l, T_TEXT, from) : (struct token){ T_EOF, STR_NONE, l->pos };
        }
        size_t open = from + x;
        bool trim = at(l, open + 2) == '-' && is_space(at(l, open + 3));
        if (open > from && l->parens == 0) {
            size_t end = open;
            while (trim && end > from && is_space(l->text.p[end - 1]))
                end--;
            l->pos = open;
            if (end > from)
                return (struct token){ T_TEXT, str_n(l->text.p + from, end - from), from };
        }
        l->pos = open + 2 + (trim ? 2 : 0);
        if (at(l, l->pos) != '/' || at(l, l->pos + 1) != '*') {
            l->inside = true;
            l->parens = 0;
            return (struct token){ T_LEFT, str_n(l->text.p + open, 2), open };
        }
        size_t end = str_find(str_skip(l->text, l->pos + 2), STR("*/"));
        if (end == SIZE_MAX)
            return fail(l, open, "unclosed comment");
        l->pos += end + 4;
        size_t close = right_delim(l, &l->trim_next);
        if (!close)
            return fail(l, open, "comment ends before closing delimiter");
        l->pos += close;
    }
}

static bool at_terminator(const struct lex *l)
{
    char c = at(l, l->pos);
    bool trim;
    return eof(l) || is_space(c) || c == '.' || c == ',' || c == '|' || c == ':' || c == '(' || c == ')' ||
           right_delim(l, &trim);
}

static struct token word(struct lex *l, enum tok type, size_t from)
{
    for (size_t w; (w = alnum_len(l, l->pos)) != 0;)
        l->pos += w;
    if (!at_terminator(l)) {
        uint32_t r;
        size_t w = str_utf8_get(str_skip(l->text, l->pos), &r);
        return fail(l, from, "bad character '%.*s'", (int)w, l->text.p + l->pos);
    }
    return token(l, type, from);
}

static struct token identifier(struct lex *l, size_t from)
{
    struct token t = word(l, T_IDENT, from);
    for (size_t i = 0; t.type == T_IDENT && i < ARRAY_LEN(keywords); i++)
        if (str_eq(t.s, keywords[i].word))
            t.type = keywords[i].type;
    return t;
}

static struct token field_or_variable(struct lex *l, enum tok type, size_t from)
{
    if (at_terminator(l))
        return token(l, type == T_VARIABLE ? T_VARIABLE : T_DOT, from);
    return word(l, type, from);
}

static struct token quoted(struct lex *l, enum tok type, char quote, const char *kind, size_t from)
{
    for (;; l->pos++) {
        if (eof(l) || (at(l, l->pos) == '\n' && quote != '`'))
            return fail(l, from, "unterminated %s", kind);
        if (at(l, l->pos) == '\\' && quote != '`' && l->pos + 1 < l->text.n && at(l, l->pos + 1) != '\n')
            l->pos++;
        else if (at(l, l->pos) == quote)
            break;
    }
    l->pos++;
    return token(l, type, from);
}

static bool accept_any(struct lex *l, const char *set)
{
    if (eof(l) || !at(l, l->pos) || !strchr(set, at(l, l->pos)))
        return false;
    l->pos++;
    return true;
}

static bool scan_number(struct lex *l)
{
    static const char dec[] = "0123456789_", hex[] = "0123456789abcdefABCDEF_";
    const char *digits = dec;
    accept_any(l, "+-");
    if (accept_any(l, "0"))
        digits = accept_any(l, "xX") ? hex : accept_any(l, "oO") ? "01234567_" : accept_any(l, "bB") ? "01_" : dec;
    while (accept_any(l, digits))
        ;
    if (accept_any(l, "."))
        while (accept_any(l, digits))
            ;
    if ((digits == dec && accept_any(l, "eE")) || (digits == hex && accept_any(l, "pP"))) {
        accept_any(l, "+-");
        while (accept_any(l, dec))
            ;
    }
    accept_any(l, "i");
    size_t w = alnum_len(l, l->pos);
    l->pos += w;
    return w == 0;
}

static struct token number(struct lex *l, size_t from)
{
    bool good = scan_number(l);
    if (good && (at(l, l->pos) == '+' || at(l, l->pos) == '-')) /* 1+2i */
        good = scan_number(l) && l->text.p[l->pos - 1] == 'i';
    return good ? token(l, T_NUMBER, from)
                : fail(l, from, "bad number syntax: \"%.*s\"", (int)MIN(l->pos - from, 60u), l->text.p + from);
}

static struct token space(struct lex *l, size_t from)
{
    bool trim;
    while (!eof(l) && is_space(at(l, l->pos)) && !(right_delim(l, &trim) && trim))
        l->pos++;
    return token(l, T_SPACE, from);
}

static struct token next_inside(struct lex *l)
{
    bool trim;
    size_t from = l->pos, close = right_delim(l, &trim);
    if (close) {
        if (l->parens)
            return fail(l, from, "unclosed left paren");
        l->pos += close;
        l->inside = false;
        l->trim_next = trim;
        return (struct token){ T_RIGHT, str_n(l->text.p + l->pos - 2, 2), from };
    }
    if (eof(l))
        return fail(l, from, "unclosed action");
    char c = at(l, l->pos++);
    if (is_space(c))
        return space(l, from);
    switch (c) {
    case '=':
        return token(l, T_ASSIGN, from);
    case ':':
        if (at(l, l->pos) != '=')
            return fail(l, from, "expected :=");
        l->pos++;
        return token(l, T_DECLARE, from);
    case '|':
        return token(l, T_PIPE, from);
    case '"':
        return quoted(l, T_STRING, '"', "quoted string", from);
    case '`':
        return quoted(l, T_RAW, '`', "raw quoted string", from);
    case '\'':
        return quoted(l, T_RUNE, '\'', "character constant", from);
    case '$':
        return field_or_variable(l, T_VARIABLE, from);
    case '(':
        l->parens++;
        return token(l, T_LPAREN, from);
    case ')':
        if (l->parens == 0)
            return fail(l, from, "unexpected right paren");
        l->parens--;
        return token(l, T_RPAREN, from);
    default:
        break;
    }
    if (c == '.' && !(at(l, l->pos) >= '0' && at(l, l->pos) <= '9'))
        return field_or_variable(l, T_FIELD, from);
    if (c == '+' || c == '-' || c == '.' || (c >= '0' && c <= '9')) {
        l->pos = from;
        return number(l, from);
    }
    if (alnum_len(l, from))
        return l->pos = from, identifier(l, from);
    if (c > 0x20 && c < 0x7f)
        return token(l, T_CHAR, from);
    return fail(l, from, "unrecognized character in action");
}

struct token lex_next(struct lex *l)
{
    if (l->error[0])
        return (struct token){ T_ERROR, str_c(l->error), l->pos };
    return l->inside ? next_inside(l) : next_text(l);
}
