/* Templates: from tokens to nodes. The grammar and its look-ahead are those of Go's text/template/parse. The first
 * error sticks: from then on the parser sees only the end of the text. */
#include <stdio.h>

#include "base/num.h"
#include "tmpl/tmpl_int.h"

struct parser {
    struct tmpl_set *set;
    struct arena *a;
    str name; /* of the text */
    struct lex lex;
    struct token ahead[4]; /* pushed back, last one first */
    size_t n_ahead;
    VEC(str) vars;
    unsigned range_depth, nest;
    struct tree *trees; /* of this text */
    struct err_text *why;
    bool failed;
};

static void fail_at(struct parser *p, size_t pos, const char *fmt, ...) PRINTF_LIKE(3, 4);
static void fail_at(struct parser *p, size_t pos, const char *fmt, ...)
{
    struct err_text t = { 0 };
    va_list ap;
    if (p->failed)
        return;
    p->failed = true;
    size_t line = 1;
    for (size_t i = 0; i < pos && i < p->lex.text.n; i++)
        line += p->lex.text.p[i] == '\n';
    va_start(ap, fmt);
    vsnprintf(t.msg, sizeof(t.msg), fmt, ap);
    va_end(ap);
    IGNORE_ERR(err_fail_at(p->why, ERR_PARSE, pos, "template: " STR_FMT ":%zu: %s", STR_ARG(p->name), line, t.msg));
}

/* ---- tokens ---- */
static struct token next(struct parser *p)
{
    if (p->failed)
        return (struct token){ T_EOF, STR_NONE, p->lex.text.n };
    struct token t = p->n_ahead ? p->ahead[--p->n_ahead] : lex_next(&p->lex);
    if (t.type == T_ERROR) {
        fail_at(p, t.pos, STR_FMT, STR_ARG(t.s));
        return (struct token){ T_EOF, STR_NONE, t.pos };
    }
    return t;
}

static void back(struct parser *p, struct token t)
{
    if (p->failed)
        return;
    ASSERT(p->n_ahead < ARRAY_LEN(p->ahead));
    p->ahead[p->n_ahead++] = t;
}

static struct token peek(struct parser *p)
{
    struct token t = next(p);
    back(p, t);
    return t;
}

static struct token next_nonspace(struct parser *p)
{
    struct token t;
    do
        t = next(p);
    while (t.type == T_SPACE);
    return t;
}

static struct token peek_nonspace(struct parser *p)
{
    struct token t = next_nonspace(p);
    back(p, t);
    return t;
}

static void unexpected(struct parser *p, struct token t, const char *context)
{
    if (t.type == T_EOF)
        fail_at(p, t.pos, "unexpected EOF");
    else if (t.type >= T_BLOCK || t.type == T_DOT || t.type == T_NIL)
        fail_at(p, t.pos, "unexpected <" STR_FMT "> in %s", (int)MIN(t.s.n, 40u), t.s.p, context);
    else
        fail_at(p, t.pos, "unexpected \"" STR_FMT "\" in %s", (int)MIN(t.s.n, 40u), t.s.p, context);
}

static bool expect(struct parser *p, enum tok type, const char *context)
{
    struct token t = next_nonspace(p);
    if (t.type != type)
        unexpected(p, t, context);
    return !p->failed;
}

/* ---- literals ---- */
static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : 99;
}

static bool unquote(struct arena *a, str s, str *ret)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    bool ok = buf_go_unquote(&b, s);
    *ret = arena_str(a, buf_str(&b));
    return ok;
}

/* Underscores only between digits or behind a base prefix; taken out into out. */
static bool strip_underscores(str s, char *out, size_t size, str *ret)
{
    size_t n = 0;
    size_t start = s.n && (s.p[0] == '+' || s.p[0] == '-') ? 1 : 0;
    bool prefix = s.n > start + 1 && s.p[start] == '0' && strchr("xXoObB", s.p[start + 1]);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '_') {
            bool before = i > 0 && (digit(s.p[i - 1]) < 16 || (prefix && i == start + 2));
            if (!before || i + 1 >= s.n || digit(s.p[i + 1]) > 15 || !(prefix || s.p[start] == '0'))
                return false;
        } else if (n + 1 < size) {
            out[n++] = s.p[i];
        } else {
            return false;
        }
    }
    out[n] = 0;
    *ret = str_n(out, n);
    return true;
}

static bool parse_uint(str s, bool *ret_negative, uint64_t *ret)
{
    unsigned base = 10;
    uint64_t v = 0;
    *ret_negative = false;
    if (s.n && (s.p[0] == '+' || s.p[0] == '-')) {
        *ret_negative = s.p[0] == '-';
        s = str_skip(s, 1);
    }
    if (s.n > 1 && s.p[0] == '0') {
        char c = s.p[1];
        base = c == 'x' || c == 'X' ? 16 : c == 'b' || c == 'B' ? 2 : 8;
        s = str_skip(s, c == 'x' || c == 'X' || c == 'b' || c == 'B' || c == 'o' || c == 'O' ? 2 : 1);
    }
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned d = (unsigned)digit(s.p[i]);
        if (d >= base || v > (UINT64_MAX - d) / base)
            return false;
        v = v * base + d;
    }
    *ret = v;
    return true;
}

static bool looks_like_float(str s)
{
    bool hex = s.n > 1 && str_find(str_take(s, 3), STR("0x")) != SIZE_MAX;
    hex = hex || str_find(str_take(s, 3), STR("0X")) != SIZE_MAX;
    for (size_t i = 0; i < s.n; i++)
        if (strchr(hex ? ".pP" : ".eEpP", s.p[i]))
            return true;
    return false;
}

static bool imaginary(str s, struct node *n) /* 2i, 1+2i */
{
    size_t cut = 0;
    for (size_t i = 1; i + 1 < s.n; i++)
        if ((s.p[i] == '+' || s.p[i] == '-') && !strchr("eEpP", s.p[i - 1]))
            cut = i;
    double re = 0, im;
    if ((cut && !num_parse_f64(str_take(s, cut), &re)) || !num_parse_f64(str_n(s.p + cut, s.n - cut - 1), &im))
        return false;
    n->num.is_complex = true;
    n->num.f = re;
    n->num.im = im;
    return true;
}

bool num_literal(str text, struct node *n)
{
    char tmp[128];
    bool negative;
    str s;
    uint64_t u;
    if (!strip_underscores(text, tmp, sizeof(tmp), &s) || s.n == 0)
        return false;
    if (s.p[s.n - 1] == 'i')
        return imaginary(s, n);
    if (parse_uint(s, &negative, &u)) {
        n->num.is_uint = !negative || u == 0;
        n->num.u = u;
        if (negative ? u <= (uint64_t)INT64_MAX + 1 : u <= INT64_MAX) {
            n->num.is_int = true;
            n->num.i = negative ? (int64_t)-u : (int64_t)u;
        }
        if (!n->num.is_int && !n->num.is_uint)
            return false;
        n->num.is_float = true;
        n->num.f = negative ? -(double)u : (double)u;
        return true;
    }
    if (!looks_like_float(s) || !num_parse_f64(s, &n->num.f))
        return false; /* an integer beyond 64 bits is no float */
    n->num.is_float = true;
    if (n->num.f == (double)(int64_t)n->num.f && n->num.f > -9e18 && n->num.f < 9e18) {
        n->num.is_int = true;
        n->num.i = (int64_t)n->num.f;
    }
    return true;
}

/* ---- operands ---- */
static struct node *node_new(struct parser *p, enum node_type type, struct token t)
{
    struct node *n = arena_new(p->a, struct node);
    n->type = type;
    n->pos = (uint32_t)t.pos;
    n->src = t.s;
    return n;
}

static void list_add(struct node_list *l, struct node *n)
{
    if (l->last)
        l->last->next = n;
    else
        l->first = n;
    l->last = n;
}

static struct pipe *parse_pipe(struct parser *p, const char *context, enum tok end);

static bool var_known(const struct parser *p, str name)
{
    for (size_t i = 0; i < p->vars.n; i++)
        if (str_eq(p->vars.p[i], name))
            return true;
    return false;
}

static void add_name(struct parser *p, struct node *n, str name)
{
    str *names = arena_array(p->a, str, n->chain.n + 1);
    if (n->chain.n)
        memcpy(names, n->chain.names, n->chain.n * sizeof(*names));
    names[n->chain.n++] = name;
    n->chain.names = names;
}

static struct node *parse_term(struct parser *p)
{
    struct token t = next_nonspace(p);
    struct node *n;
    switch (t.type) {
    case T_IDENT:
        if (!set_func(p->set, t.s))
            fail_at(p, t.pos, "function \"" STR_FMT "\" not defined", STR_ARG(t.s));
        n = node_new(p, N_IDENT, t);
        n->text = t.s;
        return n;
    case T_DOT:
        return node_new(p, N_DOT, t);
    case T_NIL:
        return node_new(p, N_NIL, t);
    case T_VARIABLE:
        if (!var_known(p, t.s))
            fail_at(p, t.pos, "undefined variable \"" STR_FMT "\"", STR_ARG(t.s));
        n = node_new(p, N_VARIABLE, t);
        add_name(p, n, t.s);
        return n;
    case T_FIELD:
        n = node_new(p, N_FIELD, t);
        add_name(p, n, str_skip(t.s, 1));
        return n;
    case T_BOOL:
        n = node_new(p, N_BOOL, t);
        n->b = t.s.p[0] == 't';
        return n;
    case T_RUNE:
        n = node_new(p, N_NUMBER, t);
        n->num.is_rune = n->num.is_int = n->num.is_float = true;
        if (!str_go_unquote_rune(t.s, &n->num.i))
            fail_at(p, t.pos, "malformed character constant: " STR_FMT, STR_ARG(t.s));
        n->num.f = (double)n->num.i;
        return n;
    case T_NUMBER:
        n = node_new(p, N_NUMBER, t);
        if (!num_literal(t.s, n))
            fail_at(p, t.pos, "illegal number syntax: \"" STR_FMT "\"", STR_ARG(t.s));
        return n;
    case T_LPAREN:
        n = node_new(p, N_PIPE, t);
        n->pipe = parse_pipe(p, "parenthesized pipeline", T_RPAREN);
        return n;
    case T_STRING:
    case T_RAW:
        n = node_new(p, N_STRING, t);
        if (!unquote(p->a, t.s, &n->text))
            fail_at(p, t.pos, "invalid syntax in " STR_FMT, STR_ARG(t.s));
        return n;
    default:
        back(p, t);
        return NULL;
    }
}

static struct node *parse_operand(struct parser *p)
{
    struct node *n = parse_term(p);
    if (!n || peek(p).type != T_FIELD)
        return n;
    struct token first = peek(p), t = first;
    if (n->type < N_FIELD)
        fail_at(p, first.pos, "unexpected . after term \"" STR_FMT "\"", STR_ARG(n->src));
    struct node *chain = n;
    if (n->type != N_FIELD && n->type != N_VARIABLE) {
        chain = node_new(p, N_CHAIN, first);
        chain->chain.of = n;
    }
    while (peek(p).type == T_FIELD) {
        t = next(p);
        add_name(p, chain, str_skip(t.s, 1));
    }
    chain->pos = (uint32_t)first.pos;
    chain->src = str_n(n->src.p, (size_t)(str_end(t.s) - n->src.p));
    return chain;
}

/* ---- pipelines ---- */
static struct command *parse_command(struct parser *p)
{
    struct command *c = arena_new(p->a, struct command);
    struct node_list args = { 0 };
    for (;;) {
        struct token at = peek_nonspace(p);
        struct node *n = parse_operand(p);
        if (n) {
            if (!args.first) {
                c->pos = (uint32_t)at.pos;
                c->src = n->src;
            }
            c->src.n = (size_t)(str_end(n->src) - c->src.p);
            list_add(&args, n);
            c->n_args++;
        }
        struct token t = next(p);
        if (t.type == T_SPACE)
            continue;
        if (t.type == T_RIGHT || t.type == T_RPAREN)
            back(p, t);
        else if (t.type != T_PIPE)
            unexpected(p, t, "operand");
        break;
    }
    if (!c->n_args)
        fail_at(p, c->pos, "empty command");
    c->args = args.first;
    return c;
}

static void declare(struct parser *p, struct pipe *pipe, str name)
{
    pipe->decl[pipe->n_decl++] = name;
    vec_push(&p->vars, name);
}

static void parse_decls(struct parser *p, struct pipe *pipe, const char *context)
{
    while (!p->failed && peek_nonspace(p).type == T_VARIABLE) {
        struct token v = next_nonspace(p);
        struct token after = peek(p), t = after;
        if (after.type == T_SPACE) {
            next(p);
            t = peek_nonspace(p);
        }
        if (t.type == T_ASSIGN || t.type == T_DECLARE) {
            pipe->assign = t.type == T_ASSIGN;
            next_nonspace(p);
            declare(p, pipe, v.s);
            return;
        }
        if (t.type == T_CHAR && t.s.p[0] == ',') {
            next_nonspace(p);
            declare(p, pipe, v.s);
            enum tok then = peek_nonspace(p).type;
            if (str_eq(str_c(context), STR("range")) && pipe->n_decl < 2) {
                if (then == T_VARIABLE || then == T_RIGHT || then == T_RPAREN)
                    continue;
                fail_at(p, v.pos, "range can only initialize variables");
            }
            fail_at(p, v.pos, "too many declarations in %s", context);
            return;
        }
        if (after.type == T_SPACE)
            back(p, after);
        back(p, v);
        return;
    }
}

static void check_pipe(struct parser *p, const struct pipe *pipe, const char *context)
{
    if (!pipe->cmds) {
        fail_at(p, pipe->pos, "missing value for %s", context);
        return;
    }
    unsigned stage = 2;
    for (const struct command *c = pipe->cmds->next; c; c = c->next, stage++)
        if (c->args && (c->args->type <= N_STRING))
            fail_at(p, c->pos, "non executable command in pipeline stage %u", stage);
}

static struct pipe *parse_pipe(struct parser *p, const char *context, enum tok end)
{
    struct pipe *pipe = arena_new(p->a, struct pipe);
    struct command **tail = &pipe->cmds;
    struct token t = peek_nonspace(p);
    pipe->pos = (uint32_t)t.pos;
    pipe->src = t.s;
    if (++p->nest > TMPL_NEST_MAX)
        fail_at(p, t.pos, "nested more than %d deep", TMPL_NEST_MAX);
    parse_decls(p, pipe, context);
    for (;;) {
        t = next_nonspace(p);
        if (t.type == end) {
            check_pipe(p, pipe, context);
            break;
        }
        if (t.type < T_IDENT && t.type != T_LPAREN) {
            unexpected(p, t, context);
            break;
        }
        if (t.type >= T_BLOCK) {
            unexpected(p, t, context);
            break;
        }
        back(p, t);
        struct command *c = parse_command(p);
        *tail = c;
        tail = &c->next;
        pipe->src.n = (size_t)(str_end(c->src) - pipe->src.p);
    }
    p->nest--;
    return pipe;
}

/* ---- actions ---- */
static struct node *text_or_action(struct parser *p);

static struct token parse_list(struct parser *p, struct node_list *l) /* until {{else}} or {{end}}: which */
{
    if (++p->nest > TMPL_NEST_MAX)
        fail_at(p, p->lex.pos, "nested more than %d deep", TMPL_NEST_MAX);
    while (peek_nonspace(p).type != T_EOF) {
        struct node *n = text_or_action(p);
        if (p->failed)
            break;
        if (n->type == N_END || n->type == N_ELSE) {
            p->nest--;
            return (struct token){ n->type == N_END ? T_END : T_ELSE, n->src, n->pos };
        }
        list_add(l, n);
    }
    fail_at(p, p->lex.pos, "unexpected EOF");
    p->nest--;
    return (struct token){ T_EOF, STR_NONE, p->lex.pos };
}

static struct node *parse_control(struct parser *p, enum node_type type, const char *context, struct token at)
{
    struct node *n = node_new(p, type, at);
    size_t n_vars = p->vars.n;
    if (++p->nest > TMPL_NEST_MAX)
        fail_at(p, at.pos, "nested more than %d deep", TMPL_NEST_MAX);
    n->pipe = parse_pipe(p, context, T_RIGHT);
    n->pos = n->pipe->pos;
    n->src = n->pipe->src;
    p->range_depth += type == N_RANGE;
    struct token end = parse_list(p, &n->body);
    p->range_depth -= type == N_RANGE;
    if (end.type == T_ELSE) {
        struct token t = peek(p);
        if (type == N_IF && t.type == T_IF) {
            list_add(&n->other, parse_control(p, N_IF, "if", next(p)));
        } else if (type == N_WITH && t.type == T_WITH) {
            list_add(&n->other, parse_control(p, N_WITH, "with", next(p)));
        } else {
            end = parse_list(p, &n->other);
            if (end.type == T_ELSE)
                fail_at(p, end.pos, "expected end; found {{else}}");
        }
    }
    p->vars.n = MIN(p->vars.n, n_vars);
    p->nest--;
    return n;
}

static struct node *parse_else(struct parser *p, struct token at)
{
    struct token t = peek_nonspace(p);
    if (t.type != T_IF && t.type != T_WITH)
        expect(p, T_RIGHT, "else");
    return node_new(p, N_ELSE, at);
}

static str template_name(struct parser *p, const char *context)
{
    struct token t = next_nonspace(p);
    str name = STR_NONE;
    if (t.type != T_STRING && t.type != T_RAW)
        unexpected(p, t, context);
    else if (!unquote(p->a, t.s, &name))
        fail_at(p, t.pos, "invalid syntax in " STR_FMT, STR_ARG(t.s));
    return name;
}

static bool list_is_empty(const struct node_list *l) /* nothing but white space */
{
    for (const struct node *n = l->first; n; n = n->next)
        if (n->type != N_TEXT || str_trim(n->text).n)
            return false;
    return true;
}

static void add_tree(struct parser *p, str name, struct node_list root, size_t pos)
{
    struct tree *t = p->trees;
    while (t && !str_eq(t->name, name))
        t = t->next;
    if (t && !list_is_empty(&t->root)) {
        if (!list_is_empty(&root))
            fail_at(p, pos, "multiple definition of template \"" STR_FMT "\"", STR_ARG(name));
        return;
    }
    if (!t) {
        t = arena_new(p->a, struct tree);
        t->next = p->trees;
        p->trees = t;
    }
    t->name = arena_str(p->a, name);
    t->parse = p->name;
    t->text = p->lex.text;
    t->root = root;
}

/* The body of a template inside the text: variables and loops outside of it are not seen. */
static struct node_list parse_inner(struct parser *p, const char *context)
{
    __typeof__(p->vars) saved = p->vars;
    unsigned depth = p->range_depth;
    struct node_list body = { 0 };
    p->vars = (__typeof__(p->vars)){ 0 };
    p->range_depth = 0;
    vec_push(&p->vars, STR("$"));
    struct token end = parse_list(p, &body);
    if (end.type == T_ELSE)
        fail_at(p, end.pos, "unexpected {{else}} in %s", context);
    vec_free(&p->vars);
    p->vars = saved;
    p->range_depth = depth;
    return body;
}

static void parse_define(struct parser *p)
{
    struct token at = next_nonspace(p); /* define */
    str name = template_name(p, "define clause");
    expect(p, T_RIGHT, "define clause");
    struct node_list body = parse_inner(p, "define clause");
    if (!p->failed)
        add_tree(p, name, body, at.pos);
}

static struct node *parse_template(struct parser *p, struct token at, bool block)
{
    const char *context = block ? "block clause" : "template clause";
    struct node *n = node_new(p, N_TEMPLATE, at);
    n->text = template_name(p, context);
    if (block) {
        n->pipe = parse_pipe(p, context, T_RIGHT);
        struct node_list body = parse_inner(p, context);
        if (!p->failed)
            add_tree(p, n->text, body, at.pos);
        return n;
    }
    struct token t = next_nonspace(p);
    if (t.type != T_RIGHT) {
        back(p, t);
        n->pipe = parse_pipe(p, context, T_RIGHT);
    }
    return n;
}

static struct node *parse_loop_jump(struct parser *p, enum node_type type, struct token at)
{
    struct token t = next_nonspace(p);
    if (t.type != T_RIGHT)
        unexpected(p, t, type == N_BREAK ? "{{break}}" : "{{continue}}");
    if (p->range_depth == 0)
        fail_at(p, at.pos, "{{" STR_FMT "}} outside {{range}}", STR_ARG(at.s));
    return node_new(p, type, at);
}

static struct node *parse_action(struct parser *p)
{
    struct token t = next_nonspace(p);
    struct node *n;
    switch (t.type) {
    case T_BLOCK:
    case T_TEMPLATE:
        return parse_template(p, t, t.type == T_BLOCK);
    case T_BREAK:
        return parse_loop_jump(p, N_BREAK, t);
    case T_CONTINUE:
        return parse_loop_jump(p, N_CONTINUE, t);
    case T_ELSE:
        return parse_else(p, t);
    case T_END:
        expect(p, T_RIGHT, "end");
        return node_new(p, N_END, t);
    case T_IF:
        return parse_control(p, N_IF, "if", t);
    case T_RANGE:
        return parse_control(p, N_RANGE, "range", t);
    case T_WITH:
        return parse_control(p, N_WITH, "with", t);
    default:
        back(p, t);
        n = node_new(p, N_ACTION, t);
        n->pipe = parse_pipe(p, "command", T_RIGHT);
        return n;
    }
}

static struct node *text_or_action(struct parser *p)
{
    struct token t = next_nonspace(p);
    if (t.type == T_TEXT) {
        struct node *n = node_new(p, N_TEXT, t);
        n->text = t.s;
        return n;
    }
    if (t.type == T_LEFT)
        return parse_action(p);
    unexpected(p, t, "input");
    return NULL;
}

static void parse_all(struct parser *p)
{
    struct node_list root = { 0 };
    while (peek(p).type != T_EOF) {
        struct token left = peek(p);
        if (left.type == T_LEFT) {
            next(p);
            if (peek_nonspace(p).type == T_DEFINE) {
                parse_define(p);
                continue;
            }
            back(p, left);
        }
        struct node *n = text_or_action(p);
        if (p->failed)
            return;
        if (n->type == N_END || n->type == N_ELSE)
            fail_at(p, n->pos, "unexpected {{" STR_FMT "}}", STR_ARG(n->src));
        list_add(&root, n);
    }
    if (!p->failed)
        add_tree(p, p->name, root, 0);
}

/* ---- sets ---- */
struct tmpl_set *tmpl_set_new(const struct tmpl_options *opt, const struct tmpl_set *parent)
{
    struct tmpl_set *set = mem_zalloc(sizeof(*set));
    arena_init(&set->a, 0);
    set->opt = *opt;
    set->parent = parent;
    return set;
}

void tmpl_set_free(struct tmpl_set *set)
{
    if (!set)
        return;
    arena_deinit(&set->a);
    mem_free(set);
}

const struct tmpl_func *set_func(const struct tmpl_set *set, str name)
{
    for (size_t t = set->opt.n_tables; t-- > 0;)
        for (size_t i = 0; i < set->opt.n_funcs[t]; i++)
            if (str_eq(name, str_c(set->opt.funcs[t][i].name)))
                return &set->opt.funcs[t][i];
    return builtin_func(name);
}

const struct tree *set_tree(const struct tmpl_set *set, str name)
{
    for (; set; set = set->parent)
        for (const struct tree *t = set->trees; t; t = t->next)
            if (str_eq(t->name, name))
                return t;
    return NULL;
}

bool tmpl_defined(const struct tmpl_set *set, str name)
{
    return set_tree(set, name) != NULL;
}

enum err tmpl_parse(struct tmpl_set *set, str name, str text, struct err_text *reterr)
{
    struct parser p = { .set = set, .a = &set->a, .why = reterr };
    if (text.n > TMPL_TEXT_BYTES_MAX)
        return err_fail(reterr, ERR_LIMIT, "template: " STR_FMT ": longer than %u bytes", STR_ARG(name),
                        TMPL_TEXT_BYTES_MAX);
    p.name = arena_str(&set->a, name);
    lex_init(&p.lex, arena_str(&set->a, text));
    vec_push(&p.vars, STR("$"));
    parse_all(&p);
    vec_free(&p.vars);
    if (p.failed)
        return ERR_PARSE;
    while (p.trees) { /* over what is there, unless nothing would replace something */
        struct tree *t = p.trees;
        p.trees = t->next;
        if (list_is_empty(&t->root) && set_tree(set, t->name))
            continue;
        t->next = set->trees;
        set->trees = t;
    }
    return OK;
}
