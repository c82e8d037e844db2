/* Printing expressions: canonical on one line, pretty over several, and the tree as JSON (/api/v1/parse_query).
 * The forms are Prometheus' (promql/parser/printer.go, prettier.go; web/api/v1/translate_ast.go). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "promql/promql_lex.h"

/* ---- pieces ---- */
static void print_duration(struct buf *out, int64_t ms)
{
    if (ms < 0)
        buf_u8(out, '-');
    buf_duration(out, ms < 0 ? -ms : ms);
}

static void print_labels(struct buf *out, const str *p, size_t n)
{
    buf_u8(out, '(');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_lit(out, ", ");
        if (labels_valid_name(p[i]))
            buf_str_add(out, p[i]);
        else
            buf_go_quote(out, p[i]);
    }
    buf_u8(out, ')');
}

static void print_number(struct buf *out, const struct promql_number *n)
{
    if (n->is_duration)
        print_duration(out, (int64_t)(n->v * 1000));
    else
        buf_f64_f(out, n->v);
}

static const char *dur_op_text(enum promql_dur_op op)
{
    static const char *const text[] = {
        [PQ_DUR_ADD] = "+",     [PQ_DUR_SUB] = "-",       [PQ_DUR_MUL] = "*",      [PQ_DUR_DIV] = "/",
        [PQ_DUR_MOD] = "%",     [PQ_DUR_POW] = "^",       [PQ_DUR_MIN] = "min_of", [PQ_DUR_MAX] = "max_of",
        [PQ_DUR_STEP] = "step", [PQ_DUR_RANGE] = "range",
    };
    return text[op];
}

static void print_dur_expr(struct buf *out, const struct promql_expr *e)
{
    if (e->kind == PQ_NUMBER) {
        print_number(out, &e->number);
        return;
    }
    const struct promql_dur_expr *d = &e->dur;
    if (d->wrapped)
        buf_u8(out, '(');
    if (d->op >= PQ_DUR_MIN) {
        buf_printf(out, "%s(", dur_op_text(d->op));
        if (d->lhs) {
            print_dur_expr(out, d->lhs);
            buf_lit(out, ", ");
            print_dur_expr(out, d->rhs);
        }
        buf_u8(out, ')');
    } else {
        if (d->lhs) {
            print_dur_expr(out, d->lhs);
            buf_printf(out, " %s ", dur_op_text(d->op));
        } else if (d->op == PQ_DUR_SUB) {
            buf_u8(out, '-');
        }
        print_dur_expr(out, d->rhs);
    }
    if (d->wrapped)
        buf_u8(out, ')');
}

static void print_dur(struct buf *out, const struct promql_dur *d)
{
    if (d->expr)
        print_dur_expr(out, d->expr);
    else
        print_duration(out, d->ms);
}

static void print_at(struct buf *out, const struct promql_when *w)
{
    if (w->at == PQ_AT_TS)
        buf_printf(out, " @ %.3f", (double)w->at_ms / 1000.0);
    else if (w->at != PQ_AT_NONE)
        buf_printf(out, " @ %s()", w->at == PQ_AT_START ? "start" : "end");
}

static void print_offset(struct buf *out, const struct promql_when *w)
{
    if (!w->offset.expr && w->offset.ms == 0)
        return;
    buf_lit(out, " offset ");
    print_dur(out, &w->offset);
}

static int compare_strs(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

/* name{matchers}: sorted by their text; the matcher that the name stands for is left out. */
static void print_selector(struct buf *out, const struct promql_vector_sel *v)
{
    AUTO_BUF struct buf text;
    buf_init(&text, 0);
    size_t *ends = mem_alloc((v->n_matchers + 1) * sizeof(*ends)), n = 0;
    str *parts = mem_alloc((v->n_matchers + 1) * sizeof(*parts));
    for (size_t i = 0; i < v->n_matchers; i++) {
        const struct matcher *m = &v->matchers[i];
        if (m->type == MATCH_EQ && m->value.n && str_eq(m->name, LABEL_NAME) && str_eq(m->value, v->name))
            continue;
        matcher_print(&text, m);
        ends[n++] = text.n;
    }
    for (size_t i = 0; i < n; i++) {
        size_t from = i ? ends[i - 1] : 0;
        parts[i] = str_n(text.p + from, ends[i] - from);
    }
    if (n)
        qsort(parts, n, sizeof(*parts), compare_strs);
    buf_str_add(out, v->name);
    for (size_t i = 0; i < n; i++) {
        buf_u8(out, i ? ',' : '{');
        buf_str_add(out, parts[i]);
    }
    if (n)
        buf_u8(out, '}');
    mem_free(ends);
    mem_free(parts);
}

static void print_extended(struct buf *out, const struct promql_vector_sel *v)
{
    if (v->anchored)
        buf_lit(out, " anchored");
    else if (v->smoothed)
        buf_lit(out, " smoothed");
}

static void print_vector(struct buf *out, const struct promql_vector_sel *v)
{
    print_selector(out, v);
    print_at(out, &v->when);
    print_extended(out, v);
    print_offset(out, &v->when);
}

static void print_matrix(struct buf *out, const struct promql_matrix_sel *m)
{
    const struct promql_vector_sel *v = &m->vector->vector;
    print_selector(out, v);
    buf_u8(out, '[');
    print_dur(out, &m->range);
    buf_u8(out, ']');
    print_extended(out, v);
    print_at(out, &v->when);
    print_offset(out, &v->when);
}

static void print_subquery_suffix(struct buf *out, const struct promql_subquery *s)
{
    buf_u8(out, '[');
    print_dur(out, &s->range);
    buf_u8(out, ':');
    if (s->step.expr || s->step.ms)
        print_dur(out, &s->step);
    buf_u8(out, ']');
    print_at(out, &s->when);
    print_offset(out, &s->when);
}

static void print_agg_head(struct buf *out, const struct promql_agg *a)
{
    buf_printf(out, "%s", promql_agg_text(a->op));
    if (!a->without && a->n_grouping == 0)
        return;
    buf_printf(out, a->without ? " without " : " by ");
    print_labels(out, a->grouping, a->n_grouping);
    buf_u8(out, ' ');
}

static void print_fill(struct buf *out, const char *word, double v)
{
    buf_printf(out, " %s (", word);
    buf_f64_g(out, v);
    buf_u8(out, ')');
}

/* " bool on (a) group_left (b)" */
static void print_modifiers(struct buf *out, const struct promql_binary *b)
{
    const struct promql_matching *m = &b->match;
    bool grouped = m->card == PQ_MANY_TO_ONE || m->card == PQ_ONE_TO_MANY;
    if (b->return_bool)
        buf_lit(out, " bool");
    if (!b->vector_matching)
        return;
    if (m->n_labels || m->on || grouped) {
        buf_printf(out, m->on ? " on " : " ignoring ");
        print_labels(out, m->labels, m->n_labels);
    }
    if (grouped) {
        buf_printf(out, m->card == PQ_MANY_TO_ONE ? " group_left " : " group_right ");
        print_labels(out, m->include, m->n_include);
    }
    if (m->has_fill_left && m->has_fill_right && (m->fill_left == m->fill_right)) {
        print_fill(out, "fill", m->fill_left);
        return;
    }
    if (m->has_fill_left)
        print_fill(out, "fill_left", m->fill_left);
    if (m->has_fill_right)
        print_fill(out, "fill_right", m->fill_right);
}

/* ---- one line ---- */
void promql_print(struct buf *out, const struct promql_expr *e)
{
    switch (e->kind) {
    case PQ_NUMBER:
        print_number(out, &e->number);
        break;
    case PQ_STRING:
        buf_go_quote(out, e->string);
        break;
    case PQ_VECTOR:
        print_vector(out, &e->vector);
        break;
    case PQ_MATRIX:
        print_matrix(out, &e->matrix);
        break;
    case PQ_SUBQUERY:
        promql_print(out, e->subquery.expr);
        print_subquery_suffix(out, &e->subquery);
        break;
    case PQ_UNARY:
        buf_u8(out, e->unary.negative ? '-' : '+');
        promql_print(out, e->unary.expr);
        break;
    case PQ_BINARY:
        promql_print(out, e->binary.lhs);
        buf_printf(out, " %s", promql_op_text(e->binary.op));
        print_modifiers(out, &e->binary);
        buf_u8(out, ' ');
        promql_print(out, e->binary.rhs);
        break;
    case PQ_AGG:
        print_agg_head(out, &e->agg);
        buf_u8(out, '(');
        if (e->agg.param) {
            promql_print(out, e->agg.param);
            buf_lit(out, ", ");
        }
        promql_print(out, e->agg.expr);
        buf_u8(out, ')');
        break;
    case PQ_CALL:
        buf_str_add(out, promql_functions[e->call.fn].name);
        buf_u8(out, '(');
        for (size_t i = 0; i < e->call.n_args; i++) {
            if (i)
                buf_lit(out, ", ");
            promql_print(out, e->call.args[i]);
        }
        buf_u8(out, ')');
        break;
    case PQ_PAREN:
        buf_u8(out, '(');
        promql_print(out, e->paren);
        buf_u8(out, ')');
        break;
    case PQ_DURATION:
        print_dur_expr(out, e);
        break;
    }
}

/* ---- several lines ---- */
static void indent(struct buf *out, unsigned level)
{
    for (unsigned i = 0; i < level; i++)
        buf_lit(out, "  ");
}

static size_t printed_length(const struct promql_expr *e)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    promql_print(&b, e);
    return b.n;
}

static void pretty(struct buf *out, const struct promql_expr *e, unsigned level, size_t columns);

static void print_inline(struct buf *out, const struct promql_expr *e, unsigned level)
{
    indent(out, level);
    promql_print(out, e);
}

/* "(", the arguments one a line, ")" */
static void pretty_args(struct buf *out, const struct promql_expr *const *args, size_t n, unsigned level,
                        size_t columns)
{
    buf_lit(out, "(\n");
    for (size_t i = 0; i < n; i++) {
        pretty(out, args[i], level + 1, columns);
        buf_printf(out, i + 1 < n ? ",\n" : "\n");
    }
    indent(out, level);
    buf_u8(out, ')');
}

static void pretty_agg(struct buf *out, const struct promql_expr *e, unsigned level, size_t columns)
{
    const struct promql_expr *args[2] = { e->agg.param, e->agg.expr };
    indent(out, level);
    print_agg_head(out, &e->agg);
    pretty_args(out, e->agg.param ? args : args + 1, e->agg.param ? 2 : 1, level, columns);
}

static void pretty_binary(struct buf *out, const struct promql_expr *e, unsigned level, size_t columns)
{
    pretty(out, e->binary.lhs, level + 1, columns);
    buf_u8(out, '\n');
    indent(out, level);
    buf_printf(out, "%s", promql_op_text(e->binary.op));
    print_modifiers(out, &e->binary);
    buf_u8(out, '\n');
    pretty(out, e->binary.rhs, level + 1, columns);
}

static void pretty(struct buf *out, const struct promql_expr *e, unsigned level, size_t columns)
{
    if (level >= 512) { /* deeper trees are not pretty anyway */
        promql_print(out, e);
        return;
    }
    bool fits = e->kind == PQ_NUMBER || e->kind == PQ_STRING || e->kind == PQ_VECTOR || e->kind == PQ_MATRIX ||
                printed_length(e) <= columns;
    switch (e->kind) {
    case PQ_SUBQUERY:
        if (fits) { /* without indentation, as upstream has it */
            promql_print(out, e);
            return;
        }
        pretty(out, e->subquery.expr, level, columns);
        print_subquery_suffix(out, &e->subquery);
        return;
    case PQ_UNARY: {
        /* The sign stands before the operand's first character, behind its indentation. */
        AUTO_BUF struct buf inner;
        buf_init(&inner, 0);
        pretty(&inner, e->unary.expr, level, columns);
        str s = buf_str(&inner);
        while (s.n && s.p[0] == ' ')
            s = str_skip(s, 1);
        indent(out, level);
        buf_u8(out, e->unary.negative ? '-' : '+');
        buf_str_add(out, s);
        return;
    }
    case PQ_BINARY:
        if (fits)
            break;
        pretty_binary(out, e, level, columns);
        return;
    case PQ_AGG:
        if (fits)
            break;
        pretty_agg(out, e, level, columns);
        return;
    case PQ_CALL:
        if (fits)
            break;
        indent(out, level);
        buf_str_add(out, promql_functions[e->call.fn].name);
        pretty_args(out, e->call.args, e->call.n_args, level, columns);
        return;
    case PQ_PAREN:
        if (fits)
            break;
        indent(out, level);
        pretty_args(out, (const struct promql_expr *const[]){ e->paren }, 1, level, columns);
        return;
    default:
        break;
    }
    print_inline(out, e, level);
}

void promql_print_pretty(struct buf *out, const struct promql_expr *e, size_t columns)
{
    pretty(out, e, 0, columns);
}

/* ---- JSON ---- */
static void json_strs(struct json_out *j, const str *p, size_t n)
{
    json_arr(j);
    for (size_t i = 0; i < n; i++)
        json_str(j, p[i]);
    json_arr_end(j);
}

static void json_matchers(struct json_out *j, const struct promql_vector_sel *v)
{
    static const char *const types[] = { [MATCH_EQ] = "=", [MATCH_NE] = "!=", [MATCH_RE] = "=~", [MATCH_NRE] = "!~" };
    json_key(j, STR("matchers"));
    json_arr(j);
    for (size_t i = 0; i < v->n_matchers; i++) {
        json_obj(j);
        json_kstr(j, "name", v->matchers[i].name);
        json_kstr(j, "type", str_c(types[v->matchers[i].type]));
        json_kstr(j, "value", v->matchers[i].value);
        json_obj_end(j);
    }
    json_arr_end(j);
}

static void json_when(struct json_out *j, const struct promql_when *w)
{
    json_ki64(j, "offset", w->offset.ms);
    json_key(j, STR("startOrEnd"));
    if (w->at == PQ_AT_START || w->at == PQ_AT_END)
        json_str(j, w->at == PQ_AT_START ? STR("start") : STR("end"));
    else
        json_put_null(j);
    json_key(j, STR("timestamp"));
    if (w->at == PQ_AT_TS)
        json_i64(j, w->at_ms);
    else
        json_put_null(j);
}

static void json_vector_fields(struct json_out *j, const struct promql_vector_sel *v)
{
    json_kbool(j, "anchored", v->anchored);
    json_matchers(j, v);
    json_kstr(j, "name", v->name);
    json_kbool(j, "smoothed", v->smoothed);
    json_when(j, &v->when);
}

static void json_child(struct json_out *j, str key, const struct promql_expr *e)
{
    json_key(j, key);
    if (e)
        promql_print_json(j, e);
    else
        json_put_null(j);
}

static void json_fill(struct json_out *j, str key, bool has, double v)
{
    json_key(j, key);
    if (has)
        json_f64(j, v);
    else
        json_put_null(j);
}

static void json_matching(struct json_out *j, const struct promql_binary *b)
{
    static const char *const cards[] = {
        [PQ_ONE_TO_ONE] = "one-to-one",
        [PQ_MANY_TO_ONE] = "many-to-one",
        [PQ_ONE_TO_MANY] = "one-to-many",
        [PQ_MANY_TO_MANY] = "many-to-many",
    };
    const struct promql_matching *m = &b->match;
    json_key(j, STR("matching"));
    if (!b->vector_matching) {
        json_put_null(j);
        return;
    }
    json_obj(j);
    json_kstr(j, "card", str_c(cards[m->card]));
    json_key(j, STR("fillValues"));
    json_obj(j);
    json_fill(j, STR("lhs"), m->has_fill_left, m->fill_left);
    json_fill(j, STR("rhs"), m->has_fill_right, m->fill_right);
    json_obj_end(j);
    json_key(j, STR("include"));
    json_strs(j, m->include, m->n_include);
    json_key(j, STR("labels"));
    json_strs(j, m->labels, m->n_labels);
    json_kbool(j, "on", m->on);
    json_obj_end(j);
}

static void json_function(struct json_out *j, const struct promql_function *f)
{
    json_key(j, STR("func"));
    json_obj(j);
    json_key(j, STR("argTypes"));
    json_arr(j);
    for (const char *c = f->args; *c; c++)
        json_str(j, str_c(promql_type_name(promql_type_of_letter(*c))));
    json_arr_end(j);
    json_kstr(j, "name", f->name);
    json_kstr(j, "returnType", str_c(promql_type_name(f->returns)));
    json_ki64(j, "variadic", f->variadic);
    json_obj_end(j);
}

static void json_type(struct json_out *j, const char *type)
{
    json_kstr(j, "type", str_c(type));
}

static void json_agg(struct json_out *j, const struct promql_agg *a)
{
    json_child(j, STR("expr"), a->expr);
    json_key(j, STR("grouping"));
    json_strs(j, a->grouping, a->n_grouping);
    json_kstr(j, "op", str_c(promql_agg_text(a->op)));
    json_child(j, STR("param"), a->param);
    json_type(j, "aggregation");
    json_kbool(j, "without", a->without);
}

static void json_binary(struct json_out *j, const struct promql_binary *b)
{
    json_kbool(j, "bool", b->return_bool);
    json_child(j, STR("lhs"), b->lhs);
    json_matching(j, b);
    json_kstr(j, "op", str_c(promql_op_text(b->op)));
    json_child(j, STR("rhs"), b->rhs);
    json_type(j, "binaryExpr");
}

static void json_call(struct json_out *j, const struct promql_call *c)
{
    json_key(j, STR("args"));
    json_arr(j);
    for (size_t i = 0; i < c->n_args; i++)
        promql_print_json(j, c->args[i]);
    json_arr_end(j);
    json_function(j, &promql_functions[c->fn]);
    json_type(j, "call");
}

void promql_print_json(struct json_out *j, const struct promql_expr *e)
{
    char num[NUM_TEXT_MAX];
    json_obj(j);
    switch (e->kind) {
    case PQ_NUMBER:
        json_type(j, "numberLiteral");
        json_kstr(j, "val", str_n(num, num_format_f(num, e->number.v)));
        break;
    case PQ_STRING:
        json_type(j, "stringLiteral");
        json_kstr(j, "val", e->string);
        break;
    case PQ_VECTOR:
        json_vector_fields(j, &e->vector);
        json_type(j, "vectorSelector");
        break;
    case PQ_MATRIX:
        json_vector_fields(j, &e->matrix.vector->vector);
        json_ki64(j, "range", e->matrix.range.ms);
        json_type(j, "matrixSelector");
        break;
    case PQ_SUBQUERY:
        json_child(j, STR("expr"), e->subquery.expr);
        json_when(j, &e->subquery.when);
        json_ki64(j, "range", e->subquery.range.ms);
        json_ki64(j, "step", e->subquery.step.ms);
        json_type(j, "subquery");
        break;
    case PQ_UNARY:
        json_child(j, STR("expr"), e->unary.expr);
        json_kstr(j, "op", e->unary.negative ? STR("-") : STR("+"));
        json_type(j, "unaryExpr");
        break;
    case PQ_BINARY:
        json_binary(j, &e->binary);
        break;
    case PQ_AGG:
        json_agg(j, &e->agg);
        break;
    case PQ_CALL:
        json_call(j, &e->call);
        break;
    case PQ_PAREN:
        json_child(j, STR("expr"), e->paren);
        json_type(j, "parenExpr");
        break;
    case PQ_DURATION:
        break; /* never a node of its own */
    }
    json_obj_end(j);
}

/* ---- equality ---- */
static bool durs_eq(const struct promql_dur *a, const struct promql_dur *b)
{
    if (!a->expr != !b->expr)
        return false;
    return a->expr ? promql_expr_eq(a->expr, b->expr) : a->ms == b->ms;
}

static bool dur_exprs_eq(const struct promql_dur_expr *a, const struct promql_dur_expr *b)
{
    return a->op == b->op && a->wrapped == b->wrapped && !a->lhs == !b->lhs && !a->rhs == !b->rhs &&
           (!a->lhs || promql_expr_eq(a->lhs, b->lhs)) && (!a->rhs || promql_expr_eq(a->rhs, b->rhs));
}

/* The same kinds of nodes at the same places. */
static bool shapes_eq(const struct promql_expr *a, const struct promql_expr *b)
{
    if (a->kind != b->kind || a->type != b->type)
        return false;
    switch (a->kind) {
    case PQ_DURATION:
        return dur_exprs_eq(&a->dur, &b->dur);
    case PQ_MATRIX:
        return durs_eq(&a->matrix.range, &b->matrix.range);
    case PQ_SUBQUERY:
        return durs_eq(&a->subquery.range, &b->subquery.range) && durs_eq(&a->subquery.step, &b->subquery.step) &&
               shapes_eq(a->subquery.expr, b->subquery.expr);
    case PQ_CALL:
        if (a->call.fn != b->call.fn || a->call.n_args != b->call.n_args)
            return false;
        for (size_t i = 0; i < a->call.n_args; i++)
            if (!shapes_eq(a->call.args[i], b->call.args[i]))
                return false;
        return true;
    default:
        break;
    }
    const struct promql_expr *x[2], *y[2];
    size_t n = promql_children(a, x, 2);
    if (n != promql_children(b, y, 2))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!shapes_eq(x[i], y[i]))
            return false;
    return true;
}

bool promql_expr_eq(const struct promql_expr *a, const struct promql_expr *b)
{
    if (!shapes_eq(a, b))
        return false;
    /* The rest shows completely in the text. */
    AUTO_BUF struct buf x, y;
    buf_init(&x, 0);
    buf_init(&y, 0);
    promql_print(&x, a);
    promql_print(&y, b);
    return str_eq(buf_str(&x), buf_str(&y));
}
