#include "alerting/am_matcher.h"

#include <stdlib.h>

#include "base/check.h"

static const char *const type_text[] = { "=", "!=", "=~", "!~" };

const char *am_match_text(enum am_match t)
{
    return type_text[t];
}

enum err am_matcher_init(struct am_matcher *m, struct arena *a, enum am_match type, str name, str value,
                         struct err_text *reterr)
{
    *m = (struct am_matcher){ type, arena_str(a, name), arena_str(a, value), NULL };
    if (type < AM_RE)
        return OK;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_lit(&b, "^(?:");
    buf_str_add(&b, value);
    buf_lit(&b, ")$");
    return rx_compile(buf_str(&b), false, &m->rx, reterr);
}

bool am_matcher_matches(const struct am_matcher *m, str value)
{
    str whole;
    switch (m->type) {
    case AM_EQ:
        return str_eq(m->value, value);
    case AM_NE:
        return !str_eq(m->value, value);
    case AM_RE:
        return rx_find(m->rx, value.p ? value : STR(""), 0, &whole, 1);
    default:
        return !rx_find(m->rx, value.p ? value : STR(""), 0, &whole, 1);
    }
}

bool am_matchers_match(const struct am_matchers *m, struct labels ls)
{
    for (size_t i = 0; i < m->n; i++)
        if (!am_matcher_matches(&m->p[i], labels_get(ls, m->p[i].name)))
            return false;
    return true;
}

static int cmp(const void *x, const void *y)
{
    const struct am_matcher *a = x, *b = y;
    int c = str_cmp(a->name, b->name);
    if (!c)
        c = str_cmp(a->value, b->value);
    return c ? c : (int)a->type - (int)b->type;
}

void am_matchers_sort(struct am_matchers *m)
{
    if (m->n)
        qsort(m->p, m->n, sizeof(*m->p), cmp);
}

bool am_matchers_eq(const struct am_matchers *a, const struct am_matchers *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (cmp(&a->p[i], &b->p[i]) != 0)
            return false;
    return true;
}

void am_matchers_free(struct am_matchers *m)
{
    for (size_t i = 0; i < m->n; i++)
        rx_free(m->p[i].rx);
    m->n = 0;
}

/* ---- printing ---- */
static bool is_space(uint32_t r)
{
    return r == ' ' || (r >= '\t' && r <= '\r') || r == 0x85 || r == 0xa0 || r == 0x1680 ||
           (r >= 0x2000 && r <= 0x200a) || r == 0x2028 || r == 0x2029 || r == 0x202f || r == 0x205f || r == 0x3000;
}

static bool reserved(uint32_t r)
{
    return is_space(r) || (r < 0x80 && r && strchr("{}!=~,\\\"'`", (int)r));
}

void am_matcher_print(struct buf *out, const struct am_matcher *m)
{
    bool quote = m->name.n == 0;
    for (str s = m->name; s.n;) {
        uint32_t r;
        s = str_skip(s, str_utf8_get(s, &r));
        quote |= reserved(r);
    }
    if (quote)
        buf_go_quote(out, m->name);
    else
        buf_str_add(out, m->name);
    buf_str_add(out, str_c(type_text[m->type]));
    buf_u8(out, '"');
    for (size_t i = 0; i < m->value.n; i++) {
        char c = m->value.p[i];
        if (c == '\n')
            buf_lit(out, "\\n");
        else if (c == '"' || c == '\\')
            buf_u8(out, '\\'), buf_u8(out, (uint8_t)c);
        else
            buf_u8(out, (uint8_t)c);
    }
    buf_u8(out, '"');
}

void am_matchers_print(struct buf *out, const struct am_matchers *m)
{
    buf_u8(out, '{');
    for (size_t i = 0; i < m->n; i++) {
        if (i)
            buf_u8(out, ',');
        am_matcher_print(out, &m->p[i]);
    }
    buf_u8(out, '}');
}

/* ---- lists being read ---- */
struct list {
    struct arena *a;
    VEC(struct am_matcher) v; /* in a */
};

static void list_drop(struct list *l)
{
    vec_each (struct am_matcher, m, &l->v)
        rx_free(m->rx);
}

static enum err list_add(struct list *l, enum am_match type, str name, str value, struct err_text *reterr)
{
    struct am_matcher m;
    if (l->v.n >= AM_MATCHERS_MAX)
        return err_fail(reterr, ERR_LIMIT, "more than %d matchers", AM_MATCHERS_MAX);
    TRY(am_matcher_init(&m, l->a, type, name, value, reterr));
    avec_push(l->a, &l->v, m);
    return OK;
}

/* ---- classic: name op value, value up to the next comma outside quotes ---- */
static bool take_operator(str *io, enum am_match *ret)
{
    static const struct {
        str text;
        enum am_match type;
    } ops[] = {
        { STR_INIT("=~"), AM_RE }, { STR_INIT("="), AM_EQ }, { STR_INIT("!="), AM_NE }, { STR_INIT("!~"), AM_NRE }
    };
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (str_has_prefix(*io, ops[i].text)) {
            *ret = ops[i].type;
            *io = str_skip(*io, ops[i].text.n);
            return true;
        }
    return false;
}

/* The quotes and escapes of a classic value. */
static enum err classic_value(struct buf *out, str raw, struct err_text *reterr)
{
    str whole = raw;
    bool quoted = raw.n && raw.p[0] == '"', escaped = false;
    raw = str_skip(raw, quoted);
    if (!str_utf8_ok(raw))
        return err_fail(reterr, ERR_PARSE, "matcher value not valid UTF-8: " STR_FMT, STR_ARG(raw));
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];
        if (escaped) {
            if (c != 'n' && c != '"' && c != '\\')
                buf_u8(out, '\\');
            buf_u8(out, (uint8_t)(c == 'n' ? '\n' : c));
            escaped = false;
        } else if (c == '\\' && i + 1 < raw.n) {
            escaped = true;
        } else if (c == '"') {
            if (!quoted || i + 1 < raw.n)
                return err_fail(reterr, ERR_PARSE, "matcher value contains unescaped double quote: " STR_FMT,
                                STR_ARG(whole));
            quoted = false;
        } else {
            buf_u8(out, (uint8_t)c);
        }
    }
    if (quoted)
        return err_fail(reterr, ERR_PARSE, "matcher value contains unescaped double quote: " STR_FMT, STR_ARG(whole));
    return OK;
}

static bool name_char(char c, bool first)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' || (!first && c >= '0' && c <= '9');
}

static enum err classic_one(struct list *l, str s, struct err_text *reterr)
{
    enum am_match type;
    str t = str_trim(s), rest;
    size_t n = 0;
    while (n < t.n && name_char(t.p[n], n == 0))
        n++;
    rest = str_trim(str_skip(t, n));
    if (n == 0 || !take_operator(&rest, &type))
        return err_fail(reterr, ERR_PARSE, "bad matcher format: " STR_FMT, STR_ARG(s));
    AUTO_BUF struct buf value;
    buf_init(&value, 0);
    TRY(classic_value(&value, str_trim(rest), reterr));
    return list_add(l, type, str_take(t, n), buf_str(&value), reterr);
}

static enum err parse_classic(struct list *l, str s, struct err_text *reterr)
{
    bool quoted = false, escaped = false;
    size_t from = 0;
    if (s.n && s.p[0] == '{')
        s = str_skip(s, 1);
    if (s.n && s.p[s.n - 1] == '}')
        s.n--;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == ',' && !quoted) {
            TRY(classic_one(l, str_n(s.p + from, i - from), reterr));
            from = i + 1;
            continue; /* an escape before it goes on, as in the reference */
        }
        if (c == '"' && !escaped)
            quoted = !quoted;
        escaped = c == '\\' ? !escaped : false;
    }
    str last = str_trim(str_skip(s, from));
    return last.n ? classic_one(l, last, reterr) : OK;
}

/* ---- UTF-8: tokens ---- */
enum tok { TOK_END, TOK_OPEN, TOK_CLOSE, TOK_COMMA, TOK_OP, TOK_QUOTED, TOK_UNQUOTED, TOK_BAD };
struct lex {
    str all, s; /* s: what is left */
    enum tok tok;
    str text;
    enum am_match op;
    size_t at;
};

static void lex_next(struct lex *x)
{
    uint32_t r;
    while (x->s.n) {
        size_t w = str_utf8_get(x->s, &r);
        if (!is_space(r))
            break;
        x->s = str_skip(x->s, w);
    }
    x->at = (size_t)(x->s.p - x->all.p);
    x->text = str_take(x->s, 1);
    if (!x->s.n) {
        x->tok = TOK_END;
        return;
    }
    char c = x->s.p[0];
    size_t n = 1;
    if (c == '{' || c == '}' || c == ',') {
        x->tok = c == '{' ? TOK_OPEN : c == '}' ? TOK_CLOSE : TOK_COMMA;
    } else if (c == '=' || c == '!') {
        str rest = x->s;
        x->tok = take_operator(&rest, &x->op) ? TOK_OP : TOK_BAD;
        n = x->s.n - rest.n;
    } else if (c == '"') {
        while (n < x->s.n && x->s.p[n] != '"')
            n += x->s.p[n] == '\\' && n + 1 < x->s.n ? 2 : 1;
        x->tok = n < x->s.n ? TOK_QUOTED : TOK_BAD;
        n = MIN(n + 1, x->s.n);
    } else {
        x->tok = TOK_UNQUOTED;
        n = 0;
        while (n < x->s.n) {
            size_t w = str_utf8_get(str_skip(x->s, n), &r);
            if (reserved(r))
                break;
            n += w;
        }
        if (n == 0) {
            x->tok = TOK_BAD;
            n = 1;
        }
    }
    x->text = str_take(x->s, n);
    x->s = str_skip(x->s, n);
}

static enum err unexpected(const struct lex *x, const char *expected, struct err_text *reterr)
{
    if (x->tok == TOK_END)
        return err_fail_at(reterr, ERR_PARSE, x->at, "end of input: expected %s", expected);
    return err_fail_at(reterr, ERR_PARSE, x->at, "%zu: unexpected " STR_FMT ": expected %s", x->at, STR_ARG(x->text),
                       expected);
}

static enum err word(struct lex *x, struct buf *out, const char *expected, struct err_text *reterr)
{
    if (x->tok != TOK_QUOTED && x->tok != TOK_UNQUOTED)
        return unexpected(x, expected, reterr);
    if (x->tok == TOK_UNQUOTED)
        buf_str_add(out, x->text);
    if ((x->tok == TOK_QUOTED && !buf_go_unquote(out, x->text)) || !str_utf8_ok(buf_str(out)))
        return err_fail_at(reterr, ERR_PARSE, x->at, "%zu: " STR_FMT ": invalid input", x->at, STR_ARG(x->text));
    lex_next(x);
    return OK;
}

static enum err utf8_one(struct list *l, struct lex *x, struct err_text *reterr)
{
    AUTO_BUF struct buf name, value;
    buf_init(&name, 0);
    buf_init(&value, 0);
    TRY(word(x, &name, "label name", reterr));
    if (x->tok != TOK_OP)
        return unexpected(x, "an operator such as '=', '!=', '=~' or '!~'", reterr);
    enum am_match op = x->op;
    lex_next(x);
    TRY(word(x, &value, "label value", reterr));
    return list_add(l, op, buf_str(&name), buf_str(&value), reterr);
}

static enum err parse_utf8(struct list *l, str s, struct err_text *reterr)
{
    struct lex x = { .all = s, .s = s };
    lex_next(&x);
    bool open = x.tok == TOK_OPEN;
    if (open)
        lex_next(&x);
    while (x.tok != TOK_CLOSE && x.tok != TOK_END) {
        TRY(utf8_one(l, &x, reterr));
        if (x.tok == TOK_COMMA)
            lex_next(&x);
        else if (x.tok != TOK_CLOSE && x.tok != TOK_END)
            return unexpected(&x, "a comma or close brace", reterr);
    }
    if (open && x.tok != TOK_CLOSE)
        return unexpected(&x, "close brace", reterr);
    if (!open && x.tok == TOK_CLOSE)
        return err_fail_at(reterr, ERR_PARSE, x.at, "%zu: }: expected opening brace", x.at);
    if (open)
        lex_next(&x);
    return x.tok == TOK_END ? OK : unexpected(&x, "end of input", reterr);
}

/* ---- texts ---- */
static enum err finish(struct list *l, enum err e, struct am_matchers *ret)
{
    if (e) {
        list_drop(l);
        return e;
    }
    *ret = (struct am_matchers){ l->v.p, l->v.n };
    return OK;
}

enum err am_matchers_parse(struct arena *a, str text, enum am_notation how, struct am_matchers *ret,
                           struct err_text *reterr)
{
    struct list l = { .a = a }, utf8 = { .a = a };
    if (how == AM_UTF8)
        return finish(&l, parse_utf8(&l, text, reterr), ret);
    enum err e = parse_classic(&l, text, reterr);
    if (!e || how == AM_CLASSIC)
        return finish(&l, e, ret);
    list_drop(&l);
    if (parse_utf8(&utf8, text, NULL) != OK) {
        list_drop(&utf8);
        return e; /* the classic reading's words */
    }
    return finish(&utf8, OK, ret);
}

enum err am_matcher_parse(struct arena *a, str text, enum am_notation how, struct am_matcher *ret,
                          struct err_text *reterr)
{
    struct am_matchers m;
    if (how != AM_UTF8 && text.n && (text.p[0] == '{' || text.p[text.n - 1] == '}'))
        return err_fail(reterr, ERR_PARSE, "unexpected open or close brace: " STR_FMT, STR_ARG(text));
    TRY(am_matchers_parse(a, text, how, &m, reterr));
    if (m.n == 1) {
        *ret = m.p[0];
        return OK;
    }
    size_t n = m.n;
    am_matchers_free(&m);
    return n ? err_fail(reterr, ERR_PARSE, "expected 1 matcher, found %zu", n)
             : err_fail(reterr, ERR_PARSE, "no matchers");
}

/* ---- configuration ---- */
static void keep(struct conf_ctx *cx, struct list *l, struct am_matcher m)
{
    avec_push(l->a, &l->v, m);
    if (m.rx)
        vec_push(&cx->regexes, m.rx);
}

static void read_dict(struct conf_ctx *cx, const struct conf_node *n, bool regex, struct list *l)
{
    if (!n || n->kind == CONF_NULL)
        return;
    if (n->kind != CONF_MAP) {
        IGNORE_ERR(conf_error(cx, n, "match and match_re are mappings of label names to values"));
        return;
    }
    for (size_t i = 0; i < n->n; i++) {
        struct am_matcher m;
        struct err_text why = { 0 };
        str name = n->items[2 * i]->text, value = STR("");
        if (!labels_valid_name(name))
            IGNORE_ERR(conf_error(cx, n->items[2 * i], "invalid label name \"" STR_FMT "\"", STR_ARG(name)));
        if (n->items[2 * i + 1]->kind == CONF_NULL && regex) {
            IGNORE_ERR(conf_error(cx, n->items[2 * i + 1], "no regular expression for " STR_FMT, STR_ARG(name)));
            continue;
        }
        if (n->items[2 * i + 1]->kind != CONF_NULL && conf_read_str(cx, n->items[2 * i + 1], &value) != OK)
            continue;
        if (regex)
            value = arena_printf(cx->a, "^(?:" STR_FMT ")$", STR_ARG(value));
        if (am_matcher_init(&m, cx->a, regex ? AM_RE : AM_EQ, name, value, &why) != OK)
            IGNORE_ERR(conf_error(cx, n->items[2 * i + 1], "%s", why.msg));
        else
            keep(cx, l, m);
    }
}

static void read_texts(struct conf_ctx *cx, const struct conf_node *n, struct list *l)
{
    struct conf_list texts;
    if (!n || n->kind == CONF_NULL || conf_read_strs(cx, n, &texts) != OK)
        return;
    for (size_t i = 0; i < texts.n; i++) {
        struct am_matchers m;
        struct err_text why = { 0 };
        if (am_matchers_parse(cx->a, ((str *)texts.p)[i], AM_FALLBACK, &m, &why) != OK)
            IGNORE_ERR(conf_error(cx, n->kind == CONF_SEQ ? n->items[i] : n, "%s", why.msg));
        else
            for (size_t k = 0; k < m.n; k++)
                keep(cx, l, m.p[k]);
    }
}

enum err am_matchers_conf(struct conf_ctx *cx, const struct conf_node *match, const struct conf_node *match_re,
                          const struct conf_node *matchers, struct am_matchers *ret)
{
    struct list l = { .a = cx->a };
    size_t errors = cx->n_errors;
    read_dict(cx, match, false, &l);
    read_dict(cx, match_re, true, &l);
    read_texts(cx, matchers, &l);
    *ret = (struct am_matchers){ l.v.p, l.v.n };
    am_matchers_sort(ret);
    return cx->n_errors == errors ? OK : ERR_INVALID;
}
