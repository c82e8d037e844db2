/* State of one parse, shared by promql_parse.c, promql_parse_duration.c and promql_check.c. */
#ifndef VANE_PROMQL_PARSE_INT_H
#define VANE_PROMQL_PARSE_INT_H

#include "promql/promql_lex.h"

#define PROMQL_ERRORS_MAX 64

struct pq_parser {
    struct arena *a;
    struct pq_lexer lex;
    struct pq_item tok;    /* lookahead, not yet consumed */
    uint32_t last_closing; /* end of the newest ) ] } number or duration, the lookahead included */
    uint32_t prev_end;     /* end of the token before tok */
    unsigned features;
    VEC(struct promql_parse_error) errors; /* in the arena */
    VEC(struct rx *) regexes;              /* on the heap: freed when the parse fails */
    size_t n_nodes;
    unsigned nesting;
    bool failing;  /* a syntax error was met at tok ... */
    bool reported; /* ... and some rule has put it into words */
    bool over;     /* a limit was reached */
};

void pq_error(struct pq_parser *p, struct promql_pos pos, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same with a text that is ready. */
void pq_error_str(struct pq_parser *p, struct promql_pos pos, str msg);
/* Type check of a tree without syntax errors; adds to p->errors. */
void pq_check(struct pq_parser *p, struct promql_expr *e);
/* "range vector": how types are named to users. */
const char *pq_documented_type(enum promql_type t);

/* ---- rules and tokens (promql_parse.c); what gives a node or bool gives NULL or false after an error ---- */
bool pq_at(const struct pq_parser *p, int type);
bool pq_at_number(const struct pq_parser *p);
bool pq_expect(struct pq_parser *p, int type);
struct promql_pos pq_item_pos(struct pq_item it);
void *pq_limit(struct pq_parser *p, const char *what);
struct promql_expr *pq_node(struct pq_parser *p, enum promql_kind kind, enum promql_type type, struct promql_pos pos,
                            uint32_t child_depth);
struct promql_expr *pq_number_node(struct pq_parser *p, double v, bool is_duration, struct promql_pos pos);
struct promql_expr *pq_parse_number(struct pq_parser *p);
struct pq_item pq_take(struct pq_parser *p);
void *pq_unexpected(struct pq_parser *p);

/* ---- durations inside [] and after offset (promql_parse_duration.c) ---- */
struct promql_expr *pq_parse_offset_duration(struct pq_parser *p);
bool pq_parse_positive_duration(struct pq_parser *p, struct promql_dur *ret);
int64_t pq_seconds_to_ms(double v);

/* Nodes are const for everyone but the parser that is making them. */
static inline struct promql_expr *pq_mutable(const struct promql_expr *e)
{
    struct promql_expr *m;
    memcpy(&m, &e, sizeof(m));
    return m;
}

#endif
