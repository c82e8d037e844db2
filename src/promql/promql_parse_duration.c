/* The parser of PromQL, duration expressions: what stands inside [] and after offset, which may calculate
 * (5m * 2, step(), -(1h)). Precedence climbing as in promql_parse.c, whose rules for errors hold here too. */
#include <math.h>

#include "promql/promql_parse_int.h"

static bool seconds_out_of_range(double v)
{
    return v > 9223372036.854775807 || v < -9223372036.854775808;
}

int64_t pq_seconds_to_ms(double v)
{
    return (int64_t)round(v * 1e9) / 1000000;
}

static struct promql_expr *parse_duration_expr(struct pq_parser *p, int min_prec);

static void needs_duration_feature(struct pq_parser *p, struct promql_pos pos)
{
    if (!(p->features & PROMQL_DURATION_EXPR))
        pq_error(p, pos, "experimental duration expression is not enabled");
}

static struct promql_expr *duration_node(struct pq_parser *p, enum promql_dur_op op, const struct promql_expr *lhs,
                                         const struct promql_expr *rhs, struct promql_pos pos)
{
    uint32_t depth = MAX(lhs ? lhs->depth : 0, rhs ? rhs->depth : 0);
    struct promql_expr *e = pq_node(p, PQ_DURATION, PROMQL_SCALAR, pos, depth);
    if (e)
        e->dur = (struct promql_dur_expr){ .op = op, .lhs = lhs, .rhs = rhs };
    return e;
}

/* step(), range(), min_of(a, b), max_of(a, b); the word is the lookahead. */
static struct promql_expr *parse_duration_call(struct pq_parser *p)
{
    struct pq_item word = pq_take(p);
    struct promql_expr *lhs = NULL, *rhs = NULL;
    if (!pq_expect(p, T_LPAREN))
        return NULL;
    if (word.type == T_MIN_OF || word.type == T_MAX_OF) {
        lhs = parse_duration_expr(p, 0);
        if (!lhs || !pq_expect(p, T_COMMA))
            return NULL;
        rhs = parse_duration_expr(p, 0);
        if (!rhs)
            return NULL;
    }
    struct promql_pos pos = { word.start, p->tok.end };
    if (!pq_expect(p, T_RPAREN))
        return NULL;
    needs_duration_feature(p, pos);
    enum promql_dur_op op = word.type == T_STEP     ? PQ_DUR_STEP
                            : word.type == T_RANGE  ? PQ_DUR_RANGE
                            : word.type == T_MIN_OF ? PQ_DUR_MIN
                                                    : PQ_DUR_MAX;
    return duration_node(p, op, lhs, rhs, pos);
}

static bool at_duration_call(const struct pq_parser *p)
{
    return pq_at(p, T_STEP) || pq_at(p, T_RANGE) || pq_at(p, T_MIN_OF) || pq_at(p, T_MAX_OF);
}

/* "(" duration ")": parentheses are kept, so that printing gives them back. */
static struct promql_expr *parse_duration_paren(struct pq_parser *p)
{
    struct pq_item open = pq_take(p);
    struct promql_expr *e = parse_duration_expr(p, 0);
    if (!e)
        return NULL;
    struct promql_pos pos = { open.start, p->tok.end };
    if (!pq_expect(p, T_RPAREN))
        return NULL;
    needs_duration_feature(p, e->pos);
    if (e->kind == PQ_NUMBER || e->dur.wrapped)
        e = duration_node(p, PQ_DUR_ADD, NULL, e, pos);
    if (e)
        e->dur.wrapped = true;
    return e;
}

static struct promql_expr *duration_in_range(struct pq_parser *p, struct promql_expr *e, struct promql_pos pos)
{
    if (!e || e->kind != PQ_NUMBER || !seconds_out_of_range(e->number.v))
        return e;
    pq_error(p, pos, "duration out of range");
    return pq_number_node(p, 0, false, (struct promql_pos){ 0, 0 });
}

/* A sign before a duration. */
static struct promql_expr *duration_sign(struct pq_parser *p, struct pq_item sign, struct promql_expr *e)
{
    if (e->kind == PQ_NUMBER) {
        if (sign.type == T_SUB)
            e->number.v = -e->number.v;
        e->pos.start = sign.start;
        return duration_in_range(p, e, pq_item_pos(sign));
    }
    struct promql_pos pos = { sign.start, e->pos.end };
    return sign.type == T_SUB ? duration_node(p, PQ_DUR_SUB, NULL, e, pos) : e;
}

static struct promql_expr *parse_duration_primary(struct pq_parser *p);

enum { DUR_PREC_ADD = 1, DUR_PREC_MUL, DUR_PREC_POW };

static struct promql_expr *parse_duration_signed(struct pq_parser *p)
{
    if (++p->nesting > PROMQL_DEPTH_MAX)
        return pq_limit(p, "expression is nested too deeply");
    struct pq_item sign = pq_take(p);
    struct promql_expr *e = parse_duration_expr(p, DUR_PREC_POW); /* a sign binds like "*" */
    p->nesting--;
    return e ? duration_sign(p, sign, e) : NULL;
}

static struct promql_expr *parse_duration_primary(struct pq_parser *p)
{
    if (pq_at_number(p)) {
        struct promql_pos pos = pq_item_pos(p->tok);
        return duration_in_range(p, pq_parse_number(p), pos);
    }
    if (at_duration_call(p))
        return parse_duration_call(p);
    if (pq_at(p, T_LPAREN))
        return parse_duration_paren(p);
    if (pq_at(p, T_ADD) || pq_at(p, T_SUB))
        return parse_duration_signed(p);
    return pq_unexpected(p);
}

static bool duration_operator(int tok, enum promql_dur_op *ret_op, int *ret_prec)
{
    switch (tok) {
    case T_ADD:
    case T_SUB:
        *ret_op = tok == T_ADD ? PQ_DUR_ADD : PQ_DUR_SUB;
        *ret_prec = DUR_PREC_ADD;
        return true;
    case T_MUL:
    case T_DIV:
    case T_MOD:
        *ret_op = tok == T_MUL ? PQ_DUR_MUL : tok == T_DIV ? PQ_DUR_DIV : PQ_DUR_MOD;
        *ret_prec = DUR_PREC_MUL;
        return true;
    case T_POW:
        *ret_op = PQ_DUR_POW;
        *ret_prec = DUR_PREC_POW;
        return true;
    default:
        return false;
    }
}

static struct promql_expr *duration_binary(struct pq_parser *p, struct pq_item op_item, enum promql_dur_op op,
                                           struct promql_expr *lhs, struct promql_expr *rhs)
{
    needs_duration_feature(p, lhs->pos);
    if ((op == PQ_DUR_DIV || op == PQ_DUR_MOD) && rhs->kind == PQ_NUMBER && rhs->number.v == 0) {
        pq_error(p, pq_item_pos(op_item), op == PQ_DUR_DIV ? "division by zero" : "modulo by zero");
        return pq_number_node(p, 0, false, (struct promql_pos){ 0, 0 });
    }
    return duration_node(p, op, lhs, rhs, (struct promql_pos){ lhs->pos.start, rhs->pos.end });
}

static struct promql_expr *parse_duration_tail(struct pq_parser *p, struct promql_expr *lhs, int min_prec)
{
    enum promql_dur_op op;
    int prec;
    while (lhs && duration_operator(p->tok.type, &op, &prec) && prec >= min_prec) {
        struct pq_item op_item = pq_take(p);
        struct promql_expr *rhs = parse_duration_expr(p, op == PQ_DUR_POW ? prec : prec + 1);
        lhs = rhs ? duration_binary(p, op_item, op, lhs, rhs) : NULL;
    }
    return lhs;
}

static struct promql_expr *parse_duration_expr(struct pq_parser *p, int min_prec)
{
    if (++p->nesting > PROMQL_DEPTH_MAX)
        return pq_limit(p, "expression is nested too deeply");
    struct promql_expr *e = parse_duration_tail(p, parse_duration_primary(p), min_prec);
    p->nesting--;
    return e;
}

/* Inside []: a constant must be above zero; anything else is checked when it is computed. */
bool pq_parse_positive_duration(struct pq_parser *p, struct promql_dur *ret)
{
    struct promql_expr *e = parse_duration_expr(p, 0);
    if (!e)
        return false;
    *ret = (struct promql_dur){ 0 };
    if (e->kind != PQ_NUMBER) {
        ret->expr = e;
        return true;
    }
    if (!(e->number.v > 0))
        pq_error(p, e->pos, "duration must be greater than 0");
    else
        ret->ms = pq_seconds_to_ms(e->number.v);
    return true;
}

/* After "offset": one number, call or parenthesis, with a sign; "offset 5s - 8" is a subtraction. Only after an
 * unsigned parenthesis, or two signs, does the arithmetic go on. */
struct promql_expr *pq_parse_offset_duration(struct pq_parser *p)
{
    bool sign_first = pq_at(p, T_ADD) || pq_at(p, T_SUB);
    if (pq_at(p, T_LPAREN))
        return parse_duration_tail(p, parse_duration_paren(p), 0);
    if (!sign_first)
        return parse_duration_primary(p);
    struct pq_item sign = pq_take(p);
    bool again = pq_at(p, T_ADD) || pq_at(p, T_SUB);
    struct promql_expr *e = again ? parse_duration_expr(p, DUR_PREC_POW) : parse_duration_primary(p);
    if (e)
        e = duration_sign(p, sign, e);
    return again ? parse_duration_tail(p, e, 0) : e;
}
