/* The parser of PromQL: recursive descent, precedence climbing for binary operators.
 *
 * What it accepts, the types and the wording of errors are those of Prometheus 3.x, whose parser is an LALR grammar
 * with error productions. Here a rule that meets a token it cannot use calls pq_unexpected() and returns NULL; the
 * innermost rule above it that has words of its own for the place ("in aggregation", "in offset, expected ...")
 * reports, the top rule otherwise. Inside {} and label lists parsing goes on after an error, elsewhere it ends.
 *
 *   expr     = unary { binary-operator modifiers unary }          precedence: or < and unless < comparison, trim <
 *   unary    = [+-] unary | primary { postfix }                                + - < * / % atan2, sign < ^ (right)
 *   postfix  = [range] | [range:step] | offset D | @ T | anchored | smoothed    bind tightest
 *
 * Errors found while nodes are made come in the order in which an LALR parser would make them. */
#include <math.h>
#include <stdio.h>

#include "promql/promql_parse_int.h"

/* ---- errors ---- */
void pq_error_str(struct pq_parser *p, struct promql_pos pos, str msg)
{
    if (p->errors.n < PROMQL_ERRORS_MAX)
        avec_push(p->a, &p->errors, ((struct promql_parse_error){ pos, arena_str(p->a, msg) }));
}

void pq_error(struct pq_parser *p, struct promql_pos pos, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    pq_error_str(p, pos, str_c(text));
}

/* An error whose text quotes a piece of the query. */
static void error_quoting(struct pq_parser *p, struct promql_pos pos, const char *before, str quoted, const char *after)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_printf(&b, "%s", before);
    buf_go_quote(&b, quoted);
    buf_printf(&b, "%s", after);
    pq_error_str(p, pos, buf_str(&b));
}

struct promql_pos pq_item_pos(struct pq_item it)
{
    return (struct promql_pos){ it.start, it.end };
}

static str item_text(const struct pq_parser *p, struct pq_item it)
{
    return str_n(p->lex.in.p + it.start, it.end - it.start);
}

/* The lookahead fits no rule here: some rule above puts it into words. */
void *pq_unexpected(struct pq_parser *p)
{
    p->failing = true;
    return NULL;
}

/* Put the failure into words: "unexpected X in CONTEXT, expected EXPECTED". Errors of the lexer have their words. */
static void report(struct pq_parser *p, const char *context, const char *expected)
{
    if (p->reported || !p->failing || p->over)
        return;
    p->reported = true;
    if (p->tok.type == T_ERROR)
        return;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_lit(&b, "unexpected ");
    pq_item_describe(&b, p->lex.in, p->tok);
    if (context)
        buf_printf(&b, " in %s", context);
    if (expected)
        buf_printf(&b, ", expected %s", expected);
    pq_error_str(p, pq_item_pos(p->tok), buf_str(&b));
}

void *pq_limit(struct pq_parser *p, const char *what)
{
    if (!p->over)
        pq_error(p, pq_item_pos(p->tok), "%s", what);
    p->over = p->failing = p->reported = true;
    return NULL;
}

/* ---- tokens ---- */
static void advance(struct pq_parser *p)
{
    bool was_error = p->lex.failed;
    p->prev_end = p->tok.end;
    pq_lex_next(&p->lex, &p->tok);
    switch (p->tok.type) {
    case T_ERROR:
        if (!was_error)
            pq_error_str(p, (struct promql_pos){ p->lex.start, (uint32_t)p->lex.in.n }, str_c(p->lex.error));
        break;
    case T_RBRACE:
    case T_RPAREN:
    case T_RBRACKET:
    case T_DURATION:
    case T_NUMBER:
        p->last_closing = p->tok.end;
        break;
    default:
        break;
    }
}

bool pq_at(const struct pq_parser *p, int type)
{
    return p->tok.type == type;
}

struct pq_item pq_take(struct pq_parser *p)
{
    struct pq_item it = p->tok;
    advance(p);
    return it;
}

static bool accept(struct pq_parser *p, int type)
{
    if (!pq_at(p, type))
        return false;
    advance(p);
    return true;
}

/* Consume a token of this type, or fail. The caller looks at p->failing. */
bool pq_expect(struct pq_parser *p, int type)
{
    if (accept(p, type))
        return true;
    pq_unexpected(p);
    return false;
}

/* ---- nodes ---- */
struct promql_expr *pq_node(struct pq_parser *p, enum promql_kind kind, enum promql_type type, struct promql_pos pos,
                            uint32_t child_depth)
{
    if (++p->n_nodes > PROMQL_NODES_MAX || arena_over(p->a))
        return pq_limit(p, "expression is too large");
    if (child_depth >= PROMQL_DEPTH_MAX)
        return pq_limit(p, "expression is nested too deeply");
    struct promql_expr *e = arena_new(p->a, struct promql_expr);
    e->kind = kind;
    e->type = type;
    e->pos = pos;
    e->depth = child_depth + 1;
    return e;
}

static struct promql_expr *parse_expr(struct pq_parser *p, int min_prec);

/* ---- literals ---- */
static double number_of(struct pq_parser *p, struct pq_item it)
{
    double v = 0;
    str s = item_text(p, it);
    if (it.type == T_DURATION) {
        AUTO_BUF struct buf err;
        buf_init(&err, 0);
        int64_t ns = 0;
        if (!pq_duration(s, &ns, &err))
            pq_error_str(p, pq_item_pos(it), buf_str(&err));
        /* Whole seconds and rest apart, as Go's Duration.Seconds(). */
        return (double)(ns / 1000000000) + (double)(ns % 1000000000) / 1e9;
    }
    if (!pq_number(s, &v))
        error_quoting(p, pq_item_pos(it), "error parsing number: strconv.ParseFloat: parsing ", s,
                      isinf(v) ? ": value out of range" : ": invalid syntax");
    return v;
}

struct promql_expr *pq_number_node(struct pq_parser *p, double v, bool is_duration, struct promql_pos pos)
{
    struct promql_expr *e = pq_node(p, PQ_NUMBER, PROMQL_SCALAR, pos, 0);
    if (e)
        e->number = (struct promql_number){ v, is_duration };
    return e;
}

struct promql_expr *pq_parse_number(struct pq_parser *p)
{
    struct pq_item it = p->tok;
    double v = number_of(p, it);
    advance(p);
    return pq_number_node(p, v, it.type == T_DURATION, pq_item_pos(it));
}

bool pq_at_number(const struct pq_parser *p)
{
    return pq_at(p, T_NUMBER) || pq_at(p, T_DURATION);
}

/* ---- label names in parentheses: by, without, on, ignoring, group_left, group_right ---- */
static bool at_label_word(const struct pq_parser *p)
{
    int t = p->tok.type;
    return t == T_IDENT || t == T_METRIC_IDENT || t == T_AND || t == T_OR || t == T_UNLESS || t == T_ATAN2 ||
           (t >= T_OFFSET && t <= T_MAX_OF) || pq_tok_is_agg(t);
}

static void check_grouping_label(struct pq_parser *p, struct promql_pos pos, str name)
{
    if (name.n == 0 || !str_utf8_ok(name))
        error_quoting(p, pos, "invalid label name for grouping: ", name, "");
}

/* Go on after an error inside a list: to the next separator. The lexer's end ends the parse. */
static bool recover_in_list(struct pq_parser *p, const char *context, const char *expected, int closing)
{
    pq_unexpected(p);
    report(p, context, expected);
    if (p->over)
        return false;
    while (!pq_at(p, T_COMMA) && !pq_at(p, closing)) {
        if (pq_at(p, T_EOF) || pq_at(p, T_ERROR))
            return false;
        advance(p);
    }
    p->failing = p->reported = false;
    return true;
}

static bool parse_grouping_label(struct pq_parser *p, str *ret)
{
    struct pq_item it = p->tok;
    if (pq_at(p, T_STRING))
        *ret = pq_unquote(p->a, item_text(p, it));
    else if (at_label_word(p))
        *ret = item_text(p, it);
    else
        return recover_in_list(p, "grouping opts", "label", T_RPAREN);
    check_grouping_label(p, pq_item_pos(it), *ret);
    advance(p);
    if (pq_at(p, T_COMMA) || pq_at(p, T_RPAREN))
        return true;
    return recover_in_list(p, "grouping opts", "\",\" or \")\"", T_RPAREN);
}

static bool parse_grouping_labels(struct pq_parser *p, const str **ret, size_t *ret_n)
{
    VEC(str) v = { 0 };
    *ret = NULL;
    *ret_n = 0;
    if (!accept(p, T_LPAREN)) {
        pq_unexpected(p);
        report(p, "grouping opts", "\"(\"");
        return false;
    }
    while (!pq_at(p, T_RPAREN)) {
        str name = STR_NONE;
        if (!parse_grouping_label(p, &name))
            return false;
        avec_push(p->a, &v, name);
        if (!accept(p, T_COMMA))
            break;
    }
    advance(p); /* ")" */
    *ret = v.p;
    *ret_n = v.n;
    return true;
}

/* ---- vector selectors ---- */
struct matchers_builder {
    VEC(struct matcher) v;
};

static void add_matcher(struct pq_parser *p, struct matchers_builder *b, enum match_type type, str name, str value,
                        struct promql_pos pos)
{
    struct matcher m = { 0 };
    struct err_text e = { 0 };
    if (matcher_init(&m, type, name, value, &e) != OK) {
        pq_error_str(p, pos, str_c(e.msg));
        return;
    }
    if (m.rx)
        vec_push(&p->regexes, m.rx);
    avec_push(p->a, &b->v, m);
}

/* name OP "value", or "metric name" alone. false: the parse ends. */
static bool parse_matcher(struct pq_parser *p, struct matchers_builder *b)
{
    struct pq_item name = p->tok;
    str name_text;
    if (pq_at(p, T_IDENT))
        name_text = item_text(p, name);
    else if (pq_at(p, T_STRING))
        name_text = pq_unquote(p->a, item_text(p, name));
    else
        return recover_in_list(p, "label matching", "identifier or \"}\"", T_RBRACE);
    advance(p);
    enum match_type type;
    switch (p->tok.type) {
    case T_EQL:
        type = MATCH_EQ;
        break;
    case T_NEQ:
        type = MATCH_NE;
        break;
    case T_EQL_REGEX:
        type = MATCH_RE;
        break;
    case T_NEQ_REGEX:
        type = MATCH_NRE;
        break;
    default:
        if (name.type == T_IDENT)
            return recover_in_list(p, "label matching", "label matching operator", T_RBRACE);
        add_matcher(p, b, MATCH_EQ, LABEL_NAME, name_text, pq_item_pos(name));
        goto after;
    }
    advance(p);
    if (!pq_at(p, T_STRING))
        return recover_in_list(p, "label matching", "string", T_RBRACE);
    struct pq_item value = p->tok;
    add_matcher(p, b, type, name_text, pq_unquote(p->a, item_text(p, value)),
                (struct promql_pos){ name.start, value.end });
    advance(p);
after:
    if (pq_at(p, T_COMMA) || pq_at(p, T_RBRACE))
        return true;
    return recover_in_list(p, "label matching", "\",\" or \"}\"", T_RBRACE);
}

static bool parse_matchers(struct pq_parser *p, struct matchers_builder *b, uint32_t *ret_end)
{
    advance(p); /* "{" */
    while (!pq_at(p, T_RBRACE)) {
        if (!parse_matcher(p, b))
            return false;
        if (!accept(p, T_COMMA))
            break;
    }
    *ret_end = p->tok.end;
    advance(p); /* "}" */
    return true;
}

/* name may be absent (type T_LBRACE: the braces come first). */
static struct promql_expr *parse_vector_selector(struct pq_parser *p, const struct pq_item *name)
{
    struct matchers_builder b = { 0 };
    struct promql_pos pos = name ? pq_item_pos(*name) : pq_item_pos(p->tok);
    if (pq_at(p, T_LBRACE) && !parse_matchers(p, &b, &pos.end))
        return NULL;
    struct promql_expr *e = pq_node(p, PQ_VECTOR, PROMQL_VECTOR, pos, 0);
    if (!e)
        return NULL;
    if (name) {
        e->vector.name = item_text(p, *name);
        add_matcher(p, &b, MATCH_EQ, LABEL_NAME, e->vector.name, pos);
    }
    e->vector.matchers = b.v.p;
    e->vector.n_matchers = b.v.n;
    return e;
}

/* Words that name a metric where an operand may stand. */
static bool at_metric_word(const struct pq_parser *p)
{
    int t = p->tok.type;
    return t == T_IDENT || t == T_METRIC_IDENT || pq_tok_is_agg(t) || t == T_BY || t == T_WITHOUT || t == T_OFFSET ||
           t == T_AND || t == T_OR || t == T_UNLESS || t == T_START || t == T_END || t == T_STEP || t == T_RANGE ||
           t == T_ANCHORED || t == T_SMOOTHED;
}

/* ---- calls and aggregations ---- */
struct args {
    VEC(const struct promql_expr *) v;
    uint32_t depth;
};

static bool starts_expr(const struct pq_parser *p)
{
    return at_metric_word(p) || pq_at_number(p) || pq_at(p, T_STRING) || pq_at(p, T_LPAREN) || pq_at(p, T_LBRACE) ||
           pq_at(p, T_ADD) || pq_at(p, T_SUB) || pq_at(p, T_MIN_OF) || pq_at(p, T_MAX_OF);
}

/* Having met commas after an argument: is another argument next? A comma without one is an error that does not end
 * the parse. */
static bool another_arg(struct pq_parser *p)
{
    while (pq_at(p, T_COMMA)) {
        struct pq_item comma = pq_take(p);
        if (starts_expr(p))
            return true;
        pq_error(p, pq_item_pos(comma), "trailing commas not allowed in function call args");
    }
    return false;
}

/* "(" [expr {"," expr}] ")" */
static bool parse_args(struct pq_parser *p, struct args *ret)
{
    if (!pq_expect(p, T_LPAREN))
        return false;
    if (accept(p, T_RPAREN))
        return true;
    do {
        struct promql_expr *e = parse_expr(p, 0);
        if (!e)
            return false;
        avec_push(p->a, &ret->v, e);
        ret->depth = MAX(ret->depth, e->depth);
    } while (another_arg(p));
    return pq_expect(p, T_RPAREN);
}

static struct promql_expr *parse_call(struct pq_parser *p, struct pq_item name)
{
    struct args args = { 0 };
    if (!parse_args(p, &args))
        return NULL;
    uint32_t end = p->prev_end;
    str text = item_text(p, name);
    const struct promql_function *f = promql_function_find(text);
    if (!f)
        error_quoting(p, pq_item_pos(name), "unknown function with name ", text, "");
    else if (f->experimental && !(p->features & PROMQL_EXPERIMENTAL_FUNCTIONS))
        error_quoting(p, pq_item_pos(name), "function ", text, " is not enabled");
    struct promql_expr *e =
        pq_node(p, PQ_CALL, f ? f->returns : PROMQL_NONE, (struct promql_pos){ name.start, end }, args.depth);
    if (e)
        e->call = (struct promql_call){ f ? promql_function_id(f) : PQ_FN_abs, args.v.p, args.v.n };
    return e;
}

static bool agg_has_param(enum promql_agg_op op)
{
    return op == PQ_AGG_TOPK || op == PQ_AGG_BOTTOMK || op == PQ_AGG_COUNT_VALUES || op == PQ_AGG_QUANTILE ||
           op == PQ_AGG_LIMITK || op == PQ_AGG_LIMIT_RATIO;
}

static void finish_aggregation(struct pq_parser *p, struct promql_expr *e, const struct args *args)
{
    enum promql_agg_op op = e->agg.op;
    size_t want = 1;
    if (args->v.n == 0) {
        pq_error(p, e->pos, "no arguments for aggregate expression provided");
        return;
    }
    if (agg_has_param(op)) {
        if ((op == PQ_AGG_LIMITK || op == PQ_AGG_LIMIT_RATIO) && !(p->features & PROMQL_EXPERIMENTAL_FUNCTIONS)) {
            pq_error(p, e->pos,
                     "%s() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                     promql_agg_text(op));
            return;
        }
        want = 2;
        e->agg.param = args->v.p[0];
    }
    if (args->v.n != want) {
        pq_error(p, e->pos, "wrong number of arguments for aggregate expression provided, expected %zu, got %zu", want,
                 args->v.n);
        return;
    }
    e->agg.expr = args->v.p[want - 1];
}

static bool parse_aggregation_modifier(struct pq_parser *p, struct promql_agg *agg)
{
    agg->without = pq_take(p).type == T_WITHOUT;
    return parse_grouping_labels(p, &agg->grouping, &agg->n_grouping);
}

/* The operator is consumed; "(", "by" or "without" is next. */
static struct promql_expr *parse_aggregation(struct pq_parser *p, struct pq_item op)
{
    struct promql_agg agg = { .op = (enum promql_agg_op)(op.type - T_AGG) };
    struct args args = { 0 };
    bool modifier_first = !pq_at(p, T_LPAREN);
    bool ok = (!modifier_first || parse_aggregation_modifier(p, &agg)) && parse_args(p, &args);
    if (ok && !modifier_first && (pq_at(p, T_BY) || pq_at(p, T_WITHOUT)))
        ok = parse_aggregation_modifier(p, &agg);
    if (!ok) {
        bool mine = p->failing && !p->reported;
        report(p, "aggregation", NULL);
        if (mine && !p->over)
            pq_error(p, (struct promql_pos){ op.start, p->last_closing },
                     "no arguments for aggregate expression provided");
        return NULL;
    }
    struct promql_expr *e = pq_node(p, PQ_AGG, PROMQL_VECTOR, (struct promql_pos){ op.start, p->prev_end }, args.depth);
    if (!e)
        return NULL;
    e->agg = agg;
    finish_aggregation(p, e, &args);
    return e;
}

/* ---- primary ---- */
static struct promql_expr *parse_paren(struct pq_parser *p)
{
    struct pq_item open = pq_take(p);
    struct promql_expr *inner = parse_expr(p, 0);
    if (!inner)
        return NULL;
    struct promql_pos pos = { open.start, p->tok.end };
    if (!pq_expect(p, T_RPAREN))
        return NULL;
    struct promql_expr *e = pq_node(p, PQ_PAREN, inner->type, pos, inner->depth);
    if (e)
        e->paren = inner;
    return e;
}

static struct promql_expr *parse_string(struct pq_parser *p)
{
    struct pq_item it = pq_take(p);
    struct promql_expr *e = pq_node(p, PQ_STRING, PROMQL_STRING, pq_item_pos(it), 0);
    if (e)
        e->string = pq_unquote(p->a, item_text(p, it));
    return e;
}

static bool callable_word(int t)
{
    return t == T_IDENT || (t >= T_START && t <= T_MAX_OF);
}

static struct promql_expr *parse_primary(struct pq_parser *p)
{
    if (pq_at_number(p))
        return pq_parse_number(p);
    if (pq_at(p, T_STRING))
        return parse_string(p);
    if (pq_at(p, T_LPAREN))
        return parse_paren(p);
    if (pq_at(p, T_LBRACE))
        return parse_vector_selector(p, NULL);
    if (!at_metric_word(p) && !pq_at(p, T_MIN_OF) && !pq_at(p, T_MAX_OF))
        return pq_unexpected(p);
    struct pq_item word = pq_take(p);
    if (pq_tok_is_agg(word.type) && (pq_at(p, T_LPAREN) || pq_at(p, T_BY) || pq_at(p, T_WITHOUT)))
        return parse_aggregation(p, word);
    if (callable_word(word.type) && pq_at(p, T_LPAREN))
        return parse_call(p, word);
    return parse_vector_selector(p, &word);
}

/* ---- postfix: [..], offset, @, anchored, smoothed ---- */
static struct promql_expr *vector_of(struct promql_expr *e)
{
    if (e->kind == PQ_VECTOR)
        return e;
    if (e->kind == PQ_MATRIX && e->matrix.vector->kind == PQ_VECTOR)
        return pq_mutable(e->matrix.vector);
    return NULL;
}

/* Where offset and @ of e are kept; an error if it takes none. */
static struct promql_when *when_of(struct pq_parser *p, struct promql_expr *e, const char *modifier)
{
    struct promql_expr *v = vector_of(e);
    if (v)
        return &v->vector.when;
    if (e->kind == PQ_SUBQUERY)
        return &e->subquery.when;
    if (e->kind == PQ_MATRIX)
        pq_error(p, e->pos, "ranges only allowed for vector selectors");
    else
        pq_error(p, e->pos,
                 "%s modifier must be preceded by an instant vector selector or range vector selector or a subquery",
                 modifier);
    return NULL;
}

static struct promql_expr *parse_offset(struct pq_parser *p, struct promql_expr *e)
{
    advance(p);
    struct promql_expr *d = pq_parse_offset_duration(p);
    if (!d) {
        report(p, "offset", "number, duration, step(), or range()");
        return NULL;
    }
    uint32_t end = p->prev_end;
    struct promql_when *w = when_of(p, e, "offset");
    if (!w)
        return e;
    if (w->offset.ms != 0 || w->offset.expr)
        pq_error(p, e->pos, "offset may not be set multiple times");
    else if (d->kind == PQ_NUMBER)
        w->offset.ms = pq_seconds_to_ms(d->number.v);
    else
        w->offset.expr = d;
    e->pos.end = end;
    return e;
}

static void set_at(struct pq_parser *p, struct promql_expr *e, enum promql_at kind, double ts, uint32_t end)
{
    if (kind == PQ_AT_TS && (!isfinite(ts) || ts >= 9223372036854775807.0 || ts <= -9223372036854775808.0)) {
        char text[400];
        if (isnan(ts))
            snprintf(text, sizeof(text), "NaN");
        else if (isinf(ts))
            snprintf(text, sizeof(text), ts > 0 ? "+Inf" : "-Inf");
        else
            snprintf(text, sizeof(text), "%f", ts);
        pq_error(p, e->pos, "timestamp out of bounds for @ modifier: %s", text);
    }
    struct promql_when *w = when_of(p, e, "@");
    if (!w)
        return;
    if (w->at != PQ_AT_NONE) {
        pq_error(p, e->pos, "@ <timestamp> may not be set multiple times");
        return;
    }
    w->at = kind;
    if (kind == PQ_AT_TS) {
        double ms = round(ts * 1000);
        w->at_ms = ms >= 9.2e18 ? INT64_MAX : ms <= -9.2e18 ? INT64_MIN : isnan(ms) ? 0 : (int64_t)ms;
    }
    e->pos.end = end;
}

static struct promql_expr *parse_at(struct pq_parser *p, struct promql_expr *e)
{
    advance(p);
    if (pq_at(p, T_START) || pq_at(p, T_END)) {
        enum promql_at kind = pq_take(p).type == T_START ? PQ_AT_START : PQ_AT_END;
        if (pq_expect(p, T_LPAREN)) {
            uint32_t end = p->tok.end;
            if (pq_expect(p, T_RPAREN)) {
                set_at(p, e, kind, 0, end);
                return e;
            }
        }
    } else {
        bool negative = pq_at(p, T_SUB);
        if (negative || pq_at(p, T_ADD))
            advance(p);
        if (pq_at_number(p)) {
            struct pq_item it = p->tok;
            double v = number_of(p, it);
            advance(p);
            set_at(p, e, PQ_AT_TS, negative ? -v : v, it.end);
            return e;
        }
        pq_unexpected(p);
    }
    report(p, "@", "timestamp");
    return NULL;
}

static struct promql_expr *finish_matrix(struct pq_parser *p, struct promql_expr *e, struct promql_dur range,
                                         struct promql_pos brackets)
{
    const char *why = NULL;
    if (e->kind != PQ_VECTOR)
        why = "ranges only allowed for vector selectors";
    else if (e->vector.when.offset.ms != 0 || e->vector.when.offset.expr)
        why = "no offset modifiers allowed before range";
    else if (e->vector.when.at != PQ_AT_NONE)
        why = "no @ modifiers allowed before range";
    if (why)
        pq_error(p, brackets, "%s", why);
    struct promql_expr *m =
        pq_node(p, PQ_MATRIX, PROMQL_MATRIX, (struct promql_pos){ e->pos.start, brackets.end }, e->depth);
    if (m)
        m->matrix = (struct promql_matrix_sel){ e, range };
    return m;
}

static struct promql_expr *finish_subquery(struct pq_parser *p, struct promql_expr *e, struct promql_dur range,
                                           struct promql_dur step, uint32_t end)
{
    struct promql_expr *s = pq_node(p, PQ_SUBQUERY, PROMQL_MATRIX, (struct promql_pos){ e->pos.start, end }, e->depth);
    if (s)
        s->subquery = (struct promql_subquery){ .expr = e, .range = range, .step = step };
    return s;
}

static struct promql_expr *parse_bracket(struct pq_parser *p, struct promql_expr *e)
{
    struct pq_item open = pq_take(p);
    struct promql_dur range, step = { 0 };
    if (!pq_parse_positive_duration(p, &range)) {
        report(p, "subquery or range selector", "number, duration, step(), or range()");
        return NULL;
    }
    struct pq_item close = p->tok;
    if (accept(p, T_RBRACKET))
        return finish_matrix(p, e, range, (struct promql_pos){ open.start, close.end });
    if (!pq_expect(p, T_COLON)) {
        report(p, "subquery or range", "\":\" or \"]\"");
        return NULL;
    }
    if (!pq_at(p, T_RBRACKET) && !pq_parse_positive_duration(p, &step)) {
        report(p, "subquery selector", "number, duration, step(), range(), or \"]\"");
        return NULL;
    }
    close = p->tok;
    if (!pq_expect(p, T_RBRACKET)) {
        report(p, "subquery selector", "\"]\"");
        return NULL;
    }
    return finish_subquery(p, e, range, step, close.end);
}

static void set_extended(struct pq_parser *p, struct promql_expr *e, bool anchored)
{
    const char *word = anchored ? "anchored" : "smoothed";
    if (!(p->features & PROMQL_EXTENDED_RANGE)) {
        pq_error(p, e->pos, "%s modifier is experimental and not enabled", word);
        return;
    }
    struct promql_expr *v = vector_of(e);
    if (v) {
        if (anchored ? v->vector.smoothed : v->vector.anchored)
            pq_error(p, e->pos, "anchored and smoothed modifiers cannot be used together");
        *(anchored ? &v->vector.anchored : &v->vector.smoothed) = true;
    } else if (e->kind == PQ_SUBQUERY) {
        pq_error(p, e->pos, "%s modifier is not supported for subqueries", word);
    } else if (e->kind != PQ_MATRIX) {
        pq_error(p, e->pos, "%s modifier not implemented", word);
    }
}

static struct promql_expr *parse_postfix(struct pq_parser *p, struct promql_expr *e)
{
    while (e) {
        switch (p->tok.type) {
        case T_LBRACKET:
            e = parse_bracket(p, e);
            break;
        case T_OFFSET:
            e = parse_offset(p, e);
            break;
        case T_AT:
            e = parse_at(p, e);
            break;
        case T_ANCHORED:
        case T_SMOOTHED:
            set_extended(p, e, pq_take(p).type == T_ANCHORED);
            break;
        default:
            return e;
        }
    }
    return NULL;
}

/* ---- unary and binary operators ---- */
enum { PREC_OR = 1, PREC_AND, PREC_COMPARE, PREC_ADD, PREC_MUL, PREC_POW };

static const struct {
    int tok;
    enum promql_op op;
    int prec;
} operators[] = {
    { T_OR, PQ_OR, PREC_OR },
    { T_AND, PQ_AND, PREC_AND },
    { T_UNLESS, PQ_UNLESS, PREC_AND },
    { T_EQLC, PQ_EQ, PREC_COMPARE },
    { T_NEQ, PQ_NE, PREC_COMPARE },
    { T_LSS, PQ_LT, PREC_COMPARE },
    { T_LTE, PQ_LE, PREC_COMPARE },
    { T_GTR, PQ_GT, PREC_COMPARE },
    { T_GTE, PQ_GE, PREC_COMPARE },
    { T_TRIM_UPPER, PQ_TRIM_UPPER, PREC_COMPARE },
    { T_TRIM_LOWER, PQ_TRIM_LOWER, PREC_COMPARE },
    { T_ADD, PQ_ADD, PREC_ADD },
    { T_SUB, PQ_SUB, PREC_ADD },
    { T_MUL, PQ_MUL, PREC_MUL },
    { T_DIV, PQ_DIV, PREC_MUL },
    { T_MOD, PQ_MOD, PREC_MUL },
    { T_ATAN2, PQ_ATAN2, PREC_MUL },
    { T_POW, PQ_POW, PREC_POW },
};

static bool operator_of(int tok, enum promql_op *ret_op, int *ret_prec)
{
    for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
        if (operators[i].tok == tok) {
            *ret_op = operators[i].op;
            *ret_prec = operators[i].prec;
            return true;
        }
    }
    return false;
}

/* A sign: of a number it is folded in, otherwise a node. */
static struct promql_expr *parse_unary(struct pq_parser *p)
{
    if (!pq_at(p, T_ADD) && !pq_at(p, T_SUB))
        return parse_postfix(p, parse_primary(p));
    struct pq_item sign = pq_take(p);
    struct promql_expr *e = parse_expr(p, PREC_POW);
    if (!e)
        return NULL;
    if (e->kind == PQ_NUMBER) {
        if (sign.type == T_SUB)
            e->number.v = -e->number.v;
        e->pos.start = sign.start;
        return e;
    }
    struct promql_expr *u = pq_node(p, PQ_UNARY, e->type, (struct promql_pos){ sign.start, e->pos.end }, e->depth);
    if (u)
        u->unary = (struct promql_unary){ sign.type == T_SUB, e };
    return u;
}

static bool parse_fill_value(struct pq_parser *p, double *ret)
{
    if (!pq_expect(p, T_LPAREN))
        return false;
    bool negative = pq_at(p, T_SUB);
    if (negative || pq_at(p, T_ADD))
        advance(p);
    if (!pq_at_number(p)) {
        pq_unexpected(p);
        return false;
    }
    double v = number_of(p, p->tok);
    advance(p);
    *ret = negative ? -v : v;
    return pq_expect(p, T_RPAREN);
}

static bool parse_fill(struct pq_parser *p, struct promql_matching *m)
{
    if (accept(p, T_FILL)) {
        if (!parse_fill_value(p, &m->fill_left))
            return false;
        m->fill_right = m->fill_left;
        m->has_fill_left = m->has_fill_right = true;
        return true;
    }
    while ((pq_at(p, T_FILL_LEFT) && !m->has_fill_left) || (pq_at(p, T_FILL_RIGHT) && !m->has_fill_right)) {
        bool left = pq_take(p).type == T_FILL_LEFT;
        if (!parse_fill_value(p, left ? &m->fill_left : &m->fill_right))
            return false;
        *(left ? &m->has_fill_left : &m->has_fill_right) = true;
    }
    return true;
}

/* [bool] [on|ignoring (..) [group_left|group_right [(..)]]] [fill...] */
static bool parse_modifiers(struct pq_parser *p, struct promql_binary *b)
{
    b->return_bool = accept(p, T_BOOL);
    if (pq_at(p, T_ON) || pq_at(p, T_IGNORING)) {
        b->match.on = pq_take(p).type == T_ON;
        b->match.is_explicit = true;
        if (!parse_grouping_labels(p, &b->match.labels, &b->match.n_labels))
            return false;
        if (pq_at(p, T_GROUP_LEFT) || pq_at(p, T_GROUP_RIGHT)) {
            b->match.card = pq_take(p).type == T_GROUP_LEFT ? PQ_MANY_TO_ONE : PQ_ONE_TO_MANY;
            if (pq_at(p, T_LPAREN) && !parse_grouping_labels(p, &b->match.include, &b->match.n_include))
                return false;
        }
    }
    return parse_fill(p, &b->match);
}

static struct promql_expr *binary_node(struct pq_parser *p, const struct promql_binary *b)
{
    const struct promql_expr *l = b->lhs, *r = b->rhs;
    enum promql_type type = l->type == PROMQL_SCALAR && r->type == PROMQL_SCALAR ? PROMQL_SCALAR : PROMQL_VECTOR;
    struct promql_expr *e =
        pq_node(p, PQ_BINARY, type, (struct promql_pos){ l->pos.start, r->pos.end }, MAX(l->depth, r->depth));
    if (!e)
        return NULL;
    e->binary = *b;
    if (!(p->features & PROMQL_FILL) && (b->match.has_fill_left || b->match.has_fill_right))
        pq_error(p, e->pos, "binop fill modifiers are experimental and not enabled");
    return e;
}

static struct promql_expr *parse_expr(struct pq_parser *p, int min_prec)
{
    enum promql_op op;
    int prec;
    if (++p->nesting > PROMQL_DEPTH_MAX)
        return pq_limit(p, "expression is nested too deeply");
    struct promql_expr *e = parse_unary(p);
    while (e && operator_of(p->tok.type, &op, &prec) && prec >= min_prec) {
        struct promql_binary b = { .op = op, .lhs = e };
        advance(p);
        e = NULL;
        if (parse_modifiers(p, &b)) {
            b.rhs = parse_expr(p, op == PQ_POW ? prec : prec + 1);
            if (b.rhs)
                e = binary_node(p, &b);
        }
    }
    p->nesting--;
    return e;
}

/* ---- entry ---- */
static void parser_init(struct pq_parser *p, struct arena *a, str text, unsigned features)
{
    *p = (struct pq_parser){ .a = a, .features = features };
    pq_lex_init(&p->lex, text);
    advance(p);
}

static enum err parser_finish(struct pq_parser *p, struct promql_parse_errors *reterrs)
{
    bool ok = p->errors.n == 0;
    for (size_t i = 0; !ok && i < p->regexes.n; i++)
        rx_free(p->regexes.p[i]);
    vec_free(&p->regexes);
    if (reterrs)
        *reterrs = (struct promql_parse_errors){ p->errors.p, p->errors.n };
    return ok ? OK : p->over ? ERR_LIMIT : ERR_PARSE;
}

enum err promql_parse(struct arena *a, str text, unsigned features, const struct promql_expr **ret,
                      struct promql_parse_errors *reterrs)
{
    struct pq_parser p;
    bool too_long = text.n > PROMQL_TEXT_BYTES_MAX;
    parser_init(&p, a, too_long ? STR_NONE : text, features);
    struct promql_expr *e = NULL;
    if (too_long) {
        pq_limit(&p, "expression is too long");
    } else if (pq_at(&p, T_EOF)) {
        pq_error(&p, (struct promql_pos){ 0, 0 }, "no expression found in input");
    } else {
        e = parse_expr(&p, 0);
        if (e && !pq_at(&p, T_EOF))
            pq_unexpected(&p);
        report(&p, NULL, NULL);
        if (e && p.errors.n == 0)
            pq_check(&p, e);
    }
    enum err r = parser_finish(&p, reterrs);
    if (r == OK)
        *ret = e;
    return r;
}

/* First error as the API words it. */
static enum err fail_first(str text, enum err e, const struct promql_parse_errors *errs, struct err_text *reterr)
{
    unsigned line, col;
    promql_pos_line_col(text, errs->p[0].pos.start, &line, &col);
    return err_fail_at(reterr, e, errs->p[0].pos.start, "%u:%u: parse error: " STR_FMT, line, col,
                       STR_ARG(errs->p[0].msg));
}

enum err promql_parse_text(struct arena *a, str text, unsigned features, const struct promql_expr **ret,
                           struct err_text *reterr)
{
    struct promql_parse_errors errs = { 0 };
    enum err e = promql_parse(a, text, features, ret, &errs);
    return e == OK ? OK : fail_first(text, e, &errs, reterr);
}

enum err promql_parse_selector(struct arena *a, str text, struct matcher **ret, size_t *ret_n, struct err_text *reterr)
{
    struct pq_parser p;
    struct promql_parse_errors errs = { 0 };
    bool too_long = text.n > PROMQL_TEXT_BYTES_MAX;
    parser_init(&p, a, too_long ? STR_NONE : text, 0);
    struct promql_expr *e = NULL;
    if (too_long) {
        pq_limit(&p, "selector is too long");
    } else if (at_metric_word(&p)) {
        struct pq_item name = pq_take(&p);
        e = parse_vector_selector(&p, &name);
    } else if (pq_at(&p, T_LBRACE)) {
        e = parse_vector_selector(&p, NULL);
    } else {
        pq_unexpected(&p);
    }
    if (e && !pq_at(&p, T_EOF))
        pq_unexpected(&p);
    report(&p, NULL, NULL);
    enum err r = parser_finish(&p, &errs);
    if (r != OK)
        return fail_first(text, r, &errs, reterr);
    *ret_n = e->vector.n_matchers;
    *ret = arena_array(a, struct matcher, *ret_n);
    if (*ret_n)
        memcpy(*ret, e->vector.matchers, *ret_n * sizeof(**ret));
    return OK;
}
