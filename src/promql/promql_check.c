/* Types and rules that go beyond the grammar, after Prometheus 3.x (parser.checkAST): same order, same words, same
 * positions. Runs only on trees without syntax errors. */
#include "promql/promql_parse_int.h"

const char *pq_documented_type(enum promql_type t)
{
    switch (t) {
    case PROMQL_VECTOR:
        return "instant vector";
    case PROMQL_MATRIX:
        return "range vector";
    default:
        return promql_type_name(t);
    }
}

static void check(struct pq_parser *p, struct promql_expr *e);

static void check_const(struct pq_parser *p, const struct promql_expr *e)
{
    check(p, pq_mutable(e));
}

static void expect_type(struct pq_parser *p, const struct promql_expr *e, enum promql_type want, const char *context)
{
    check_const(p, e);
    if (e->type != want)
        pq_error(p, e->pos, "expected type %s in %s, got %s", pq_documented_type(want), context,
                 pq_documented_type(e->type));
}

static void check_agg(struct pq_parser *p, const struct promql_expr *e)
{
    expect_type(p, e->agg.expr, PROMQL_VECTOR, "aggregation expression");
    if (!e->agg.param)
        return;
    enum promql_type want = e->agg.op == PQ_AGG_COUNT_VALUES ? PROMQL_STRING : PROMQL_SCALAR;
    expect_type(p, e->agg.param, want, "aggregation parameter");
}

/* The operator with its modifiers: the text between the operands, white space trimmed. */
static struct promql_pos operator_pos(const struct pq_parser *p, const struct promql_binary *b)
{
    const char *text = p->lex.in.p;
    struct promql_pos r = { b->lhs->pos.end, b->rhs->pos.start - 1 };
    while (r.start < r.end && strchr(" \t\n\r", text[r.start]))
        r.start++;
    while (r.end > r.start && strchr(" \t\n\r", text[r.end]))
        r.end--;
    return r;
}

static void check_label_overlap(struct pq_parser *p, const struct promql_binary *b)
{
    const struct promql_matching *m = &b->match;
    if (!m->on)
        return;
    for (size_t i = 0; i < m->n_labels; i++)
        for (size_t k = 0; k < m->n_include; k++)
            if (str_eq(m->labels[i], m->include[k]))
                pq_error(p, b->op_pos, "label \"" STR_FMT "\" must not occur in ON and GROUP clause at once",
                         STR_ARG(m->labels[i]));
}

static bool operand_ok(enum promql_type t)
{
    return t == PROMQL_SCALAR || t == PROMQL_VECTOR;
}

static void check_matching(struct pq_parser *p, struct promql_expr *e)
{
    struct promql_binary *b = &e->binary;
    struct promql_matching *m = &b->match;
    bool fills = m->has_fill_left || m->has_fill_right;
    b->vector_matching = b->lhs->type == PROMQL_VECTOR && b->rhs->type == PROMQL_VECTOR;
    if (!b->vector_matching) {
        if (m->n_labels)
            pq_error(p, e->pos, "vector matching only allowed between instant vectors");
        if (fills)
            pq_error(p, e->pos, "filling in missing series only allowed between instant vectors");
    } else if (promql_op_is_set(b->op)) {
        if (m->card != PQ_MANY_TO_MANY) {
            pq_error(p, e->pos, "no grouping allowed for \"%s\" operation", promql_op_text(b->op));
            pq_error(p, e->pos, "set operations must always be many-to-many");
        }
        if (fills)
            pq_error(p, e->pos, "filling in missing series not allowed for set operators");
    }
}

static void check_binary(struct pq_parser *p, struct promql_expr *e)
{
    struct promql_binary *b = &e->binary;
    check_const(p, b->lhs);
    check_const(p, b->rhs);
    enum promql_type lt = b->lhs->type, rt = b->rhs->type;
    b->op_pos = operator_pos(p, b);
    if (b->return_bool && !promql_op_is_comparison(b->op))
        pq_error(p, b->op_pos, "bool modifier can only be used on comparison operators");
    if (promql_op_is_comparison(b->op) && !b->return_bool && lt == PROMQL_SCALAR && rt == PROMQL_SCALAR)
        pq_error(p, b->op_pos, "comparisons between scalars must use BOOL modifier");
    if (promql_op_is_set(b->op) && b->match.card == PQ_ONE_TO_ONE)
        b->match.card = PQ_MANY_TO_MANY;
    check_label_overlap(p, b);
    if (!operand_ok(lt))
        pq_error(p, b->lhs->pos, "binary expression must contain only scalar and instant vector types");
    if (!operand_ok(rt))
        pq_error(p, b->rhs->pos, "binary expression must contain only scalar and instant vector types");
    check_matching(p, e);
    if ((lt == PROMQL_SCALAR || rt == PROMQL_SCALAR) && promql_op_is_set(b->op))
        pq_error(p, e->pos, "set operator \"%s\" not allowed in binary scalar expression", promql_op_text(b->op));
}

static void check_arg_count(struct pq_parser *p, const struct promql_expr *e, const struct promql_function *f)
{
    size_t n_types = strlen(f->args), n = e->call.n_args;
    if (f->variadic == 0) {
        if (n != n_types)
            pq_error(p, e->pos, "expected %zu argument(s) in call to \"%s\", got %zu", n_types, f->name.p, n);
        return;
    }
    size_t least = n_types - 1, most = least + (size_t)MAX(f->variadic, 0);
    if (n < least)
        pq_error(p, e->pos, "expected at least %zu argument(s) in call to \"%s\", got %zu", least, f->name.p, n);
    else if (f->variadic > 0 && n > most)
        pq_error(p, e->pos, "expected at most %zu argument(s) in call to \"%s\", got %zu", most, f->name.p, n);
}

/* info(v, {labels}): the second argument is a bare list of matchers. Says whether arg is one. */
static bool check_info_labels(struct pq_parser *p, const struct promql_expr *e)
{
    const struct promql_expr *arg = e->call.args[1];
    if (arg->type != PROMQL_VECTOR)
        pq_error(p, e->pos, "expected type instant vector in call to function \"info\", got %s",
                 pq_documented_type(arg->type));
    if (arg->kind != PQ_VECTOR)
        pq_error(p, arg->pos, "expected label selectors only");
    else if (arg->vector.name.n)
        pq_error(p, arg->pos, "expected label selectors only, got vector selector instead");
    else
        return true;
    return false;
}

static void check_call(struct pq_parser *p, const struct promql_expr *e)
{
    const struct promql_function *f = &promql_functions[e->call.fn];
    size_t n_types = strlen(f->args);
    check_arg_count(p, e, f);
    bool labels_only = e->call.fn == PQ_FN_info && e->call.n_args > 1 && check_info_labels(p, e);
    for (size_t i = 0; i < e->call.n_args; i++) {
        if (i >= n_types && f->variadic == 0)
            break; /* there are too many already */
        const struct promql_expr *arg = e->call.args[i];
        enum promql_type want = promql_type_of_letter(f->args[MIN(i, n_types - 1)]);
        if (!(labels_only && i == 1))
            check_const(p, arg);
        if (arg->type != want)
            pq_error(p, arg->pos, "expected type %s in call to function \"%s\", got %s", pq_documented_type(want),
                     f->name.p, pq_documented_type(arg->type));
    }
}

static void error_name_twice(struct pq_parser *p, struct promql_pos pos, str a, str b)
{
    AUTO_BUF struct buf t;
    buf_init(&t, 0);
    buf_lit(&t, "metric name must not be set twice: ");
    buf_go_quote(&t, a);
    buf_lit(&t, " or ");
    buf_go_quote(&t, b);
    pq_error_str(p, pos, buf_str(&t));
}

static void check_vector(struct pq_parser *p, const struct promql_expr *e)
{
    const struct promql_vector_sel *v = &e->vector;
    if (v->name.n) {
        for (size_t i = 0; i + 1 < v->n_matchers; i++)
            if (str_eq(v->matchers[i].name, LABEL_NAME))
                error_name_twice(p, e->pos, v->name, v->matchers[i].value);
        return;
    }
    for (size_t i = 0; i < v->n_matchers; i++)
        if (!matcher_matches_empty(&v->matchers[i]))
            return;
    pq_error(p, e->pos, "vector selector must contain at least one non-empty matcher");
}

static void check(struct pq_parser *p, struct promql_expr *e)
{
    switch (e->kind) {
    case PQ_AGG:
        check_agg(p, e);
        break;
    case PQ_BINARY:
        check_binary(p, e);
        break;
    case PQ_CALL:
        check_call(p, e);
        break;
    case PQ_PAREN:
        check_const(p, e->paren);
        break;
    case PQ_UNARY:
        check_const(p, e->unary.expr);
        if (!operand_ok(e->unary.expr->type))
            pq_error(p, e->pos,
                     "unary expression only allowed on expressions of type scalar or instant vector, got \"%s\"",
                     pq_documented_type(e->unary.expr->type));
        break;
    case PQ_SUBQUERY:
        check_const(p, e->subquery.expr);
        if (e->subquery.expr->type != PROMQL_VECTOR)
            pq_error(p, e->pos, "subquery is only allowed on instant vector, got %s instead",
                     promql_type_name(e->subquery.expr->type));
        break;
    case PQ_MATRIX:
        check_const(p, e->matrix.vector);
        break;
    case PQ_VECTOR:
        check_vector(p, e);
        break;
    case PQ_NUMBER:
    case PQ_STRING:
    case PQ_DURATION:
        break;
    }
}

void pq_check(struct pq_parser *p, struct promql_expr *e)
{
    check(p, e);
}
