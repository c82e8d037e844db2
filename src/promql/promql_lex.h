/* Tokens of PromQL (private to the room). The lexer is a small state machine: outside, inside {}, and inside []
 * where durations are written. Words and errors are those of Prometheus' lexer, because they reach users. */
#ifndef VANE_PROMQL_LEX_H
#define VANE_PROMQL_LEX_H

#include "base/buf.h"
#include "base/check.h"
#include "promql/ast.h"

enum pq_tok {
    T_ERROR, /* the text is in pq_lexer.error; nothing follows */
    T_EOF,
    T_IDENT,
    T_METRIC_IDENT, /* with ':' */
    T_NUMBER,
    T_DURATION,
    T_STRING, /* with its quotes */
    T_LPAREN,
    T_RPAREN,
    T_LBRACE,
    T_RBRACE,
    T_LBRACKET,
    T_RBRACKET,
    T_COMMA,
    T_COLON,
    T_EQL, /* = */
    /* operators */
    T_EQL_REGEX,
    T_NEQ_REGEX,
    T_AT,
    T_ADD,
    T_SUB,
    T_MUL,
    T_DIV,
    T_MOD,
    T_POW,
    T_ATAN2,
    T_TRIM_UPPER,
    T_TRIM_LOWER,
    T_EQLC,
    T_NEQ,
    T_LSS,
    T_LTE,
    T_GTR,
    T_GTE,
    T_AND,
    T_OR,
    T_UNLESS,
    /* keywords */
    T_OFFSET,
    T_ANCHORED,
    T_SMOOTHED,
    T_BY,
    T_WITHOUT,
    T_ON,
    T_IGNORING,
    T_GROUP_LEFT,
    T_GROUP_RIGHT,
    T_FILL,
    T_FILL_LEFT,
    T_FILL_RIGHT,
    T_BOOL,
    /* words that are a call when "(" follows */
    T_START,
    T_END,
    T_STEP,
    T_RANGE,
    T_MIN_OF,
    T_MAX_OF,
    /* aggregations: T_AGG + enum promql_agg_op */
    T_AGG,
};

struct pq_item {
    int type; /* enum pq_tok, or T_AGG + op */
    uint32_t start, end;
};

enum pq_lex_state { PQ_LEX_STATEMENTS, PQ_LEX_BRACES, PQ_LEX_DURATION };
struct pq_lexer {
    str in;
    uint32_t pos, start;
    enum pq_lex_state state;
    unsigned paren_depth;
    bool bracket_open, got_colon, got_duration, failed;
    char error[160];
};

void pq_lex_init(struct pq_lexer *l, str text);
void pq_lex_next(struct pq_lexer *l, struct pq_item *ret); /* comments are left out */
/* "identifier \"foo\"", "<op:+>", "end of input": how an error names an item. */
void pq_item_describe(struct buf *out, str text, struct pq_item it);
static inline bool pq_tok_is_agg(int t)
{
    return t >= T_AGG;
}

/* The value of a quoted token that the lexer has accepted. */
str pq_unquote(struct arena *a, str quoted);
/* NUMBER token -> value as Go reads it (0x, 0b, 0o, leading 0 = octal, underscores); false: out of range or malformed. */
bool pq_number(str s, double *ret);
/* Duration as prometheus/common reads it; on failure the message goes to err. */
bool pq_duration(str s, int64_t *ret_ns, struct buf *err);

#endif
