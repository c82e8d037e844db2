/* Templates at work: a walk over the nodes with a stack of variables. Rules and texts of errors follow Go's
 * text/template/exec.go: a missing value (TMPL_NONE) travels through fields and prints as <no value>. */
#include <stdio.h>

#include "tmpl/tmpl_int.h"

struct var {
    str name;
    struct tmpl_val v;
};
struct tmpl_exec {
    const struct tmpl_set *set;
    const struct tmpl_run *run;
    const struct tree *tree;
    struct buf *out;
    struct html html;
    VEC(struct var) vars;
    size_t frame; /* first variable of the running template: $ */
    unsigned depth;
    size_t steps;
    struct err_text *why;
    struct tmpl_call call;
};
enum walk { WALK_ON, WALK_BREAK, WALK_CONTINUE, WALK_FAILED };
static const struct tmpl_val none = { .kind = TMPL_NONE };

/* ---- errors ---- */
static bool fail(struct tmpl_exec *x, uint32_t pos, str context, const char *fmt, ...) PRINTF_LIKE(4, 5);
static bool fail(struct tmpl_exec *x, uint32_t pos, str context, const char *fmt, ...)
{
    char msg[320];
    va_list ap;
    size_t line = 1, start = 0;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    for (size_t i = 0; i < pos && i < x->tree->text.n; i++)
        if (x->tree->text.p[i] == '\n') {
            line++;
            start = i + 1;
        }
    IGNORE_ERR(err_fail_at(x->why, ERR_EXEC, pos,
                           "template: " STR_FMT ":%zu:%zu: executing \"" STR_FMT "\" at <" STR_FMT "%s>: %s",
                           STR_ARG(x->tree->parse), line, pos - start, STR_ARG(x->tree->name),
                           STR_ARG(str_take(context, 60)), context.n > 60 ? "..." : "", msg));
    return false;
}
#define FAIL(x, node, ...) fail((x), (node)->pos, (node)->src, __VA_ARGS__)

static bool nil_or_none(const struct tmpl_val *v)
{
    return v->kind == TMPL_NONE || v->kind == TMPL_NIL;
}

/* ---- variables ---- */
static void push(struct tmpl_exec *x, str name, struct tmpl_val v)
{
    vec_push(&x->vars, ((struct var){ name, v }));
}

static struct var *find_var(struct tmpl_exec *x, str name)
{
    for (size_t i = x->vars.n; i-- > x->frame;)
        if (str_eq(x->vars.p[i].name, name))
            return &x->vars.p[i];
    return NULL;
}

/* ---- calls ---- */
static bool eval_pipe(struct tmpl_exec *x, const struct tmpl_val *dot, const struct pipe *p, struct tmpl_val *ret);
static bool eval_operand(struct tmpl_exec *x, const struct tmpl_val *dot, const struct node *n, struct tmpl_val *ret);

static const char *param_name(char p)
{
    return p == 's' ? "string" : p == 'b' ? "bool" : p == 'i' ? "int" : p == 'f' ? "float64" : "[]string";
}

static bool fits(char param, const struct tmpl_val *v)
{
    switch (param) {
    case 'v':
        return true;
    case 's':
        return v->kind == TMPL_STR && !v->type;
    case 'b':
        return v->kind == TMPL_BOOL;
    case 'i':
        return v->kind == TMPL_INT && !v->type;
    case 'f':
        return v->kind == TMPL_FLOAT && !v->type;
    default:
        return v->kind == TMPL_LIST && v->type && v->type->elem_str;
    }
}

static bool check_arg(struct tmpl_exec *x, char param, const struct node *at, const struct tmpl_val *v)
{
    if (fits(param, v) || (param == 'l' && nil_or_none(v)))
        return true;
    if (nil_or_none(v))
        return FAIL(x, at, "invalid value; expected %s", param_name(param));
    return FAIL(x, at, "wrong type for value; expected %s; got %s", param_name(param), tmpl_type_name(v));
}

/* A literal number takes the type of the parameter, as Go's untyped constants. */
static bool eval_arg(struct tmpl_exec *x, const struct tmpl_val *dot, char param, const struct node *n,
                     struct tmpl_val *ret)
{
    if (n->type == N_NIL) {
        *ret = (struct tmpl_val){ .kind = TMPL_NIL };
        return param == 'v' || param == 'l' || FAIL(x, n, "cannot assign nil to %s", param_name(param));
    }
    if (n->type == N_NUMBER && param != 'v') {
        if (param == 'i' && n->num.is_int)
            return *ret = tmpl_int(n->num.i), true;
        if (param == 'f' && n->num.is_float)
            return *ret = tmpl_float(n->num.f), true;
        return FAIL(x, n, "expected %s; found " STR_FMT, param_name(param), STR_ARG(n->src));
    }
    if (!eval_operand(x, dot, n, ret))
        return false;
    if (n->type == N_BOOL || n->type == N_STRING)
        return fits(param, ret) || FAIL(x, n, "expected %s; found " STR_FMT, param_name(param), STR_ARG(n->src));
    return check_arg(x, param, n, ret);
}

struct invocation {
    const struct tmpl_func *f;
    const struct tmpl_val *receiver; /* of a method */
    uint32_t pos;                    /* for errors of the call */
    str src, name;
    const struct node *args; /* linked */
    size_t n_args;
    const struct tmpl_val *final; /* value of the pipeline so far; NULL: none */
    const struct node *at;        /* for errors of final */
};

static bool arity(struct tmpl_exec *x, const struct invocation *c, size_t *ret_fixed, bool *ret_more)
{
    size_t n = strlen(c->f->args), given = c->n_args + (c->final != NULL);
    *ret_more = n && c->f->args[n - 1] == '*';
    *ret_fixed = *ret_more ? n - 2 : n;
    if (*ret_more ? given >= *ret_fixed : given == *ret_fixed)
        return true;
    return fail(x, c->pos, c->src, "wrong number of args for " STR_FMT ": want %s%zu got %zu", STR_ARG(c->name),
                *ret_more ? "at least " : "", *ret_fixed, given);
}

/* and, or: the first argument that decides; what follows is not evaluated. */
static bool call_and_or(struct tmpl_exec *x, const struct tmpl_val *dot, const struct invocation *c, bool is_or,
                        struct tmpl_val *ret)
{
    for (const struct node *n = c->args; n; n = n->next) {
        if (!eval_arg(x, dot, 'v', n, ret))
            return false;
        if (tmpl_truth(ret) == is_or)
            return true;
    }
    if (c->final)
        *ret = *c->final;
    return true;
}

static bool invoke(struct tmpl_exec *x, const struct tmpl_val *dot, const struct invocation *c, struct tmpl_val *ret)
{
    size_t fixed, k = 0;
    bool more, is_or;
    if (!arity(x, c, &fixed, &more))
        return false;
    if (builtin_is_and_or(c->f, &is_or))
        return call_and_or(x, dot, c, is_or, ret);
    struct tmpl_val *args = arena_array(x->run->a, struct tmpl_val, c->n_args + 3);
    if (c->receiver)
        args[k++] = *c->receiver;
    size_t i = 0;
    for (const struct node *n = c->args; n; n = n->next, i++)
        if (!eval_arg(x, dot, c->f->args[MIN(i, more ? fixed : i)], n, &args[k++]))
            return false;
    if (c->final) {
        char param = c->f->args[MIN(i, more ? fixed : i)];
        if (!fits(param, c->final) && !(param == 'l' && nil_or_none(c->final)))
            return nil_or_none(c->final) ? fail(x, c->pos, c->src, "invalid value; expected %s", param_name(param))
                                         : fail(x, c->pos, c->src, "wrong type for value; expected %s; got %s",
                                                param_name(param), tmpl_type_name(c->final));
        args[k++] = *c->final;
    }
    struct err_text why = { 0 };
    x->call.why = &why;
    *ret = none;
    if (c->f->fn(&x->call, args, k, ret) != OK)
        return fail(x, c->pos, c->src, "error calling " STR_FMT ": %s", STR_ARG(c->name), why.msg);
    return true;
}

/* ---- fields ---- */
static const struct tmpl_func *find_method(const struct tmpl_type *t, str name)
{
    for (size_t i = 0; t && i < t->n_methods; i++)
        if (str_eq(name, str_c(t->methods[i].name)))
            return &t->methods[i];
    return NULL;
}

static struct tmpl_val zero_of(const struct tmpl_type *t)
{
    return t && t->elem_str ? tmpl_str(STR("")) : none;
}

static bool map_field(struct tmpl_exec *x, const struct tmpl_val *v, str name, const struct node *at,
                      struct tmpl_val *ret)
{
    const struct tmpl_val *found = tmpl_get(v, name);
    *ret = none;
    if (found)
        *ret = *found;
    else if (x->set->opt.missing == TMPL_MISSING_ERROR)
        return FAIL(x, at, "map has no entry for key \"" STR_FMT "\"", STR_ARG(name));
    else if (x->set->opt.missing == TMPL_MISSING_ZERO)
        *ret = zero_of(v->type);
    return true;
}

/* One step .name; c holds the arguments (of the last step only) and where it stands. */
static bool eval_field(struct tmpl_exec *x, const struct tmpl_val *dot, const struct tmpl_val *v, str name,
                       const struct node *at, struct invocation *c, struct tmpl_val *ret)
{
    if (v->kind == TMPL_NONE) {
        *ret = none;
        return x->set->opt.missing != TMPL_MISSING_ERROR ||
               FAIL(x, at, "nil data; no entry for key \"" STR_FMT "\"", STR_ARG(name));
    }
    if (v->kind == TMPL_NIL)
        return FAIL(x, at, "nil pointer evaluating interface {}." STR_FMT, STR_ARG(name));
    const struct tmpl_func *m = find_method(v->type, name);
    if (m) {
        c->f = m;
        c->receiver = v;
        c->name = name;
        return invoke(x, dot, c, ret);
    }
    bool has_args = c->n_args || c->final;
    if (v->kind == TMPL_STRUCT)
        for (size_t i = 0; i < v->type->n_fields; i++)
            if (str_eq(name, str_c(v->type->fields[i]))) {
                *ret = v->list.p[i];
                return !has_args ||
                       FAIL(x, at, STR_FMT " has arguments but cannot be invoked as function", STR_ARG(name));
            }
    if (v->kind == TMPL_MAP) {
        if (has_args)
            return FAIL(x, at, STR_FMT " is not a method but has arguments", STR_ARG(name));
        return map_field(x, v, name, at, ret);
    }
    return FAIL(x, at, "can't evaluate field " STR_FMT " in type %s", STR_ARG(name), tmpl_type_name(v));
}

static bool eval_chain(struct tmpl_exec *x, const struct tmpl_val *dot, struct tmpl_val v, const str *names, size_t n,
                       const struct node *at, struct invocation *c, struct tmpl_val *ret)
{
    for (size_t i = 0; i < n; i++) {
        struct invocation plain = { .pos = at->pos, .src = at->src };
        struct tmpl_val *from = arena_new(x->run->a, struct tmpl_val);
        *from = v;
        if (!eval_field(x, dot, from, names[i], at, i + 1 == n ? c : &plain, &v))
            return false;
    }
    *ret = v;
    return true;
}

static bool constant(struct tmpl_exec *x, const struct node *n, struct tmpl_val *ret)
{
    bool as_float =
        !n->num.is_rune && n->num.is_float && !(n->src.n > 1 && str_contains(str_take(n->src, 3), STR("0x")));
    bool dotted = false;
    for (size_t i = 0; i < n->src.n; i++)
        dotted |= strchr(n->src.n > 2 &&
                                 (n->src.p[1] == 'x' || n->src.p[1] == 'X' || n->src.p[2] == 'x' || n->src.p[2] == 'X')
                             ? ".pP"
                             : ".eEpP",
                         n->src.p[i]) != NULL;
    if (n->num.is_complex)
        *ret = (struct tmpl_val){ .kind = TMPL_COMPLEX, .c = { n->num.f, n->num.im } };
    else if ((as_float || n->num.is_float) && dotted && !n->num.is_rune)
        *ret = tmpl_float(n->num.f);
    else if (n->num.is_int)
        *ret = tmpl_int(n->num.i);
    else
        return FAIL(x, n, STR_FMT " overflows int", STR_ARG(n->src));
    return true;
}

/* ---- operands and commands ---- */
static bool call_function(struct tmpl_exec *x, const struct tmpl_val *dot, const struct node *n, struct invocation *c,
                          struct tmpl_val *ret)
{
    c->f = set_func(x->set, n->text);
    c->name = n->text;
    return invoke(x, dot, c, ret);
}

/* An operand that may be given arguments: c. */
static bool eval_callable(struct tmpl_exec *x, const struct tmpl_val *dot, const struct node *n, struct invocation *c,
                          struct tmpl_val *ret)
{
    struct tmpl_val v;
    const struct var *var;
    if (++x->steps > TMPL_STEPS_MAX)
        return FAIL(x, n, "more than %u steps", TMPL_STEPS_MAX);
    switch (n->type) {
    case N_FIELD:
        return eval_chain(x, dot, *dot, n->chain.names, n->chain.n, n, c, ret);
    case N_CHAIN:
        if (n->chain.of->type == N_NIL)
            return FAIL(x, n, "nil is not a command");
        return eval_operand(x, dot, n->chain.of, &v) && eval_chain(x, dot, v, n->chain.names, n->chain.n, n, c, ret);
    case N_IDENT:
        return call_function(x, dot, n, c, ret);
    case N_VARIABLE:
        var = find_var(x, n->chain.names[0]);
        if (!var)
            return FAIL(x, n, "undefined variable: " STR_FMT, STR_ARG(n->chain.names[0]));
        if (n->chain.n > 1)
            return eval_chain(x, dot, var->v, n->chain.names + 1, n->chain.n - 1, n, c, ret);
        *ret = var->v;
        break;
    case N_PIPE:
        if (c->n_args || c->final)
            break;
        return eval_pipe(x, dot, n->pipe, ret);
    case N_DOT:
        *ret = *dot;
        break;
    case N_NIL:
        return FAIL(x, n, "nil is not a command");
    case N_BOOL:
        *ret = tmpl_bool(n->b);
        break;
    case N_STRING:
        *ret = tmpl_str(n->text);
        break;
    default:
        if (!constant(x, n, ret))
            return false;
        break;
    }
    return (!c->n_args && !c->final) || FAIL(x, n, "can't give argument to non-function " STR_FMT, STR_ARG(n->src));
}

static bool eval_operand(struct tmpl_exec *x, const struct tmpl_val *dot, const struct node *n, struct tmpl_val *ret)
{
    struct invocation c = { .pos = n->pos, .src = n->src };
    return eval_callable(x, dot, n, &c, ret);
}

static bool eval_pipe(struct tmpl_exec *x, const struct tmpl_val *dot, const struct pipe *p, struct tmpl_val *ret)
{
    struct tmpl_val v = none, last;
    for (const struct command *cmd = p->cmds; cmd; cmd = cmd->next) {
        struct invocation c = { .pos = cmd->pos, .src = cmd->src, .args = cmd->args->next, .n_args = cmd->n_args - 1 };
        if (cmd != p->cmds) {
            last = v;
            c.final = &last;
        }
        if (!eval_callable(x, dot, cmd->args, &c, &v))
            return false;
        if (v.kind == TMPL_NIL)
            v = none;
    }
    for (size_t i = 0; i < p->n_decl; i++) {
        struct var *var = p->assign ? find_var(x, p->decl[i]) : NULL;
        if (p->assign && !var)
            return fail(x, p->cmds->pos, p->cmds->src, "undefined variable: " STR_FMT, STR_ARG(p->decl[i]));
        if (var)
            var->v = v;
        else
            push(x, p->decl[i], v);
    }
    *ret = v;
    return true;
}

/* ---- walking ---- */
static enum walk walk_list(struct tmpl_exec *x, const struct tmpl_val *dot, const struct node_list *l);

static void emit(struct tmpl_exec *x, const struct tmpl_val *v)
{
    if (x->set->opt.html)
        html_value(&x->html, x->out, v);
    else
        tmpl_print(x->out, v);
}

static enum walk iterate(struct tmpl_exec *x, const struct node *n, struct tmpl_val index, const struct tmpl_val *elem)
{
    const struct pipe *p = n->pipe;
    size_t mark = x->vars.n;
    if (++x->steps > TMPL_STEPS_MAX) {
        FAIL(x, n, "it takes too much time or memory");
        return WALK_FAILED;
    }
    struct tmpl_val e = elem->kind == TMPL_NIL ? none : *elem;
    if (p->n_decl && p->assign) {
        for (size_t i = 0; i < p->n_decl; i++) {
            struct var *var = find_var(x, p->decl[i]);
            if (var)
                var->v = p->n_decl == 2 && i == 0 ? index : e;
        }
    } else if (p->n_decl) {
        x->vars.p[mark - 1].v = e;
        if (p->n_decl > 1)
            x->vars.p[mark - 2].v = index;
    }
    struct tmpl_val dot = e;
    enum walk w = walk_list(x, &dot, &n->body);
    x->vars.n = mark;
    return w == WALK_CONTINUE ? WALK_ON : w;
}

static enum walk walk_range(struct tmpl_exec *x, const struct tmpl_val *dot, const struct node *n)
{
    struct tmpl_val v;
    enum walk w = WALK_ON;
    size_t count = 0;
    if (!eval_pipe(x, dot, n->pipe, &v))
        return WALK_FAILED;
    switch (v.kind) {
    case TMPL_LIST:
        for (; count < v.list.n && w == WALK_ON; count++)
            w = iterate(x, n, tmpl_int((int64_t)count), &v.list.p[count]);
        break;
    case TMPL_MAP:
        for (; count < v.map.n && w == WALK_ON; count++)
            w = iterate(x, n, tmpl_str(v.map.p[count].k), &v.map.p[count].v);
        break;
    case TMPL_INT:
    case TMPL_UINT:
        if (n->pipe->n_decl > 1) {
            FAIL(x, n, "can't use an integer to iterate over more than one variable");
            return WALK_FAILED;
        }
        for (; (v.kind == TMPL_UINT ? count < v.u : (int64_t)count < v.i) && w == WALK_ON; count++) {
            struct tmpl_val i = tmpl_int((int64_t)count);
            w = iterate(x, n, i, &i);
        }
        break;
    case TMPL_NONE:
    case TMPL_NIL:
        break;
    default: {
        AUTO_BUF struct buf b;
        buf_init(&b, 200);
        tmpl_print(&b, &v);
        FAIL(x, n, "range can't iterate over " STR_FMT, STR_ARG(buf_str(&b)));
        return WALK_FAILED;
    }
    }
    if (w == WALK_FAILED)
        return w;
    return count ? WALK_ON : walk_list(x, dot, &n->other);
}

static enum walk walk_template(struct tmpl_exec *x, const struct tmpl_val *dot, const struct node *n)
{
    const struct tree *t = set_tree(x->set, n->text), *caller = x->tree;
    struct tmpl_val v = none;
    if (!t) {
        FAIL(x, n, "template \"" STR_FMT "\" not defined", STR_ARG(n->text));
        return WALK_FAILED;
    }
    if (x->depth == TMPL_DEPTH_MAX) {
        FAIL(x, n, "exceeded maximum template depth (%d)", TMPL_DEPTH_MAX);
        return WALK_FAILED;
    }
    if (n->pipe && !eval_pipe(x, dot, n->pipe, &v))
        return WALK_FAILED;
    size_t frame = x->frame, mark = x->vars.n;
    x->depth++;
    x->tree = t;
    x->frame = mark;
    push(x, STR("$"), v);
    enum walk w = walk_list(x, &v, &t->root);
    x->vars.n = mark;
    x->frame = frame;
    x->tree = caller;
    x->depth--;
    return w == WALK_FAILED ? w : WALK_ON;
}

static enum walk walk_node(struct tmpl_exec *x, const struct tmpl_val *dot, const struct node *n)
{
    struct tmpl_val v;
    size_t mark = x->vars.n;
    enum walk w = WALK_ON;
    if (++x->steps > TMPL_STEPS_MAX || x->out->failed || arena_over(x->run->a)) {
        FAIL(x, n, x->out->failed ? "the output is too long" : "it takes too much time or memory");
        return WALK_FAILED;
    }
    switch (n->type) {
    case N_TEXT:
        if (x->set->opt.html)
            html_text(&x->html, x->out, n->text);
        else
            buf_str_add(x->out, n->text);
        return WALK_ON;
    case N_ACTION:
        if (!eval_pipe(x, dot, n->pipe, &v))
            return WALK_FAILED;
        if (!n->pipe->n_decl)
            emit(x, &v);
        return WALK_ON; /* variables stay until the block ends */
    case N_IF:
    case N_WITH:
        if (!eval_pipe(x, dot, n->pipe, &v))
            return WALK_FAILED;
        if (tmpl_truth(&v))
            w = walk_list(x, n->type == N_WITH ? &v : dot, &n->body);
        else
            w = walk_list(x, dot, &n->other);
        break;
    case N_RANGE:
        w = walk_range(x, dot, n);
        break;
    case N_TEMPLATE:
        w = walk_template(x, dot, n);
        break;
    case N_BREAK:
        return WALK_BREAK;
    default:
        return WALK_CONTINUE;
    }
    x->vars.n = mark;
    return w;
}

static enum walk walk_list(struct tmpl_exec *x, const struct tmpl_val *dot, const struct node_list *l)
{
    enum walk w = WALK_ON;
    for (const struct node *n = l->first; n && w == WALK_ON; n = n->next)
        w = walk_node(x, dot, n);
    return w;
}

enum err tmpl_exec(const struct tmpl_set *set, str name, const struct tmpl_val *dot, const struct tmpl_run *run,
                   struct buf *out, struct err_text *reterr)
{
    struct err_text why = { 0 };
    struct tmpl_exec x = { .set = set, .run = run, .out = out, .why = &why };
    x.tree = set_tree(set, name);
    if (!x.tree)
        return err_fail(reterr, ERR_NOT_FOUND, "template: \"" STR_FMT "\" is not defined", STR_ARG(name));
    size_t max = out->max;
    size_t limit = out->n + (run->output_bytes_max ? run->output_bytes_max : TMPL_OUTPUT_BYTES_MAX);
    out->max = max && max < limit ? max : limit;
    x.call = (struct tmpl_call){ .a = run->a, .ctx = run->ctx, .exec = &x };
    push(&x, STR("$"), dot->kind == TMPL_NIL ? none : *dot);
    struct tmpl_val first = x.vars.p[0].v;
    enum walk w = walk_list(&x, &first, &x.tree->root);
    vec_free(&x.vars);
    bool too_long = out->failed;
    out->max = max;
    if (too_long)
        return err_fail(reterr, ERR_LIMIT, "template: " STR_FMT ": the output is longer than %zu bytes", STR_ARG(name),
                        limit);
    return w == WALK_FAILED ? err_fail_at(reterr, ERR_EXEC, why.pos, "%s", why.msg) : OK;
}

enum err tmpl_once(const struct tmpl_options *opt, const struct tmpl_set *set, str name, str text,
                   const struct tmpl_val *dot, const struct tmpl_run *run, struct buf *out, struct err_text *reterr)
{
    struct tmpl_set *own = tmpl_set_new(opt ? opt : &set->opt, set);
    enum err e = tmpl_parse(own, name, text, reterr);
    if (!e)
        e = tmpl_exec(own, name, dot, run, out, reterr);
    tmpl_set_free(own);
    return e;
}
