/* tmpl inside: text -> tmpl_lex.c -> tmpl_parse.c (nodes in the set's arena) -> tmpl_exec.c. Values print by
 * tmpl_fmt.c, built-in functions are tmpl_func.c, html/template's escaping is tmpl_html.c. */
#ifndef VANE_TMPL_TMPL_INT_H
#define VANE_TMPL_TMPL_INT_H

#include "base/check.h"
#include "base/vec.h"
#include "tmpl/tmpl.h"

#define TMPL_NEST_MAX  200  /* parentheses and blocks inside each other */
#define TMPL_DEPTH_MAX 1000 /* templates that call templates */

/* ---- tokens ---- */
enum tok {
    T_ERROR,
    T_EOF,
    T_TEXT,
    T_LEFT,  /* {{ */
    T_RIGHT, /* }} */
    T_SPACE,
    T_ASSIGN,  /* = */
    T_DECLARE, /* := */
    T_CHAR,    /* any other printable character */
    T_PIPE,
    T_LPAREN,
    T_RPAREN,
    T_IDENT,
    T_VARIABLE,
    T_FIELD,
    T_DOT,
    T_NIL,
    T_BOOL,
    T_NUMBER,
    T_RUNE,
    T_STRING,
    T_RAW,
    T_BLOCK, /* keywords from here on */
    T_BREAK,
    T_CONTINUE,
    T_DEFINE,
    T_ELSE,
    T_END,
    T_IF,
    T_RANGE,
    T_TEMPLATE,
    T_WITH,
};
struct token {
    enum tok type;
    str s; /* in the text; T_ERROR: what is wrong */
    size_t pos;
};
struct lex {
    str text;
    size_t pos;
    bool inside; /* an action */
    bool trim_next;
    unsigned parens;
    char error[96];
};
void lex_init(struct lex *l, str text);
struct token lex_next(struct lex *l); /* after T_ERROR and T_EOF: the same again */

/* ---- nodes ---- */
enum node_type {
    N_TEXT,
    N_ACTION,
    N_IF,
    N_RANGE,
    N_WITH,
    N_TEMPLATE,
    N_BREAK,
    N_CONTINUE,
    N_END, /* END and ELSE only while parsing */
    N_ELSE,
    /* operands */
    N_DOT,
    N_NIL,
    N_BOOL,
    N_NUMBER,
    N_STRING,
    N_FIELD,    /* .a.b */
    N_VARIABLE, /* $x.a.b; names[0] is "$x" */
    N_IDENT,    /* function */
    N_PIPE,     /* ( ... ) */
    N_CHAIN,    /* operand .a.b */
};
struct pipe;
struct node_list {
    struct node *first, *last;
};
struct node {
    enum node_type type;
    uint32_t pos; /* in the text, as Go counts it */
    str src;      /* its text */
    struct node *next;
    union {
        str text; /* TEXT, STRING, IDENT, TEMPLATE's name */
        bool b;
        struct {
            bool is_int, is_uint, is_float, is_complex;
            int64_t i;
            uint64_t u;
            double f, im;
            bool is_rune;
        } num;
        struct {
            struct node *of; /* CHAIN */
            str *names;
            size_t n;
        } chain; /* FIELD, VARIABLE, CHAIN */
    };
    struct pipe *pipe; /* ACTION, IF, RANGE, WITH, TEMPLATE, PIPE */
    struct node_list body, other;
};
struct command {
    struct command *next;
    str src;
    uint32_t pos;
    struct node *args; /* linked by next */
    size_t n_args;
};
struct pipe {
    str src;
    uint32_t pos;
    bool assign; /* = and not := */
    str decl[2];
    size_t n_decl;
    struct command *cmds;
};
struct tree {
    struct tree *next;
    str name;  /* of the template */
    str parse; /* of the text it came from */
    str text;
    struct node_list root;
};
struct tmpl_set {
    struct arena a;
    struct tmpl_options opt;
    const struct tmpl_set *parent;
    struct tree *trees; /* newest first */
};
const struct tmpl_func *set_func(const struct tmpl_set *set, str name);
const struct tree *set_tree(const struct tmpl_set *set, str name);

bool num_literal(str s, struct node *n); /* Go's literals into n->num */

/* ---- built-in functions ---- */
const struct tmpl_func *builtin_func(str name);
bool builtin_is_and_or(const struct tmpl_func *f, bool *ret_or);
void escape_html(struct buf *out, str s);
void escape_js(struct buf *out, str s);
void escape_query(struct buf *out, str s); /* url.QueryEscape */
/* fmt.Sprint of many, as print does it. */
void sprint(struct buf *out, const struct tmpl_val *args, size_t n);

/* ---- html/template ---- */
struct html {
    enum html_state {
        HTML_TEXT,
        HTML_TAG_NAME,
        HTML_TAG,
        HTML_ATTR_NAME,
        HTML_AFTER_NAME,
        HTML_BEFORE_VALUE,
        HTML_VALUE, /* by attr and quote */
        HTML_COMMENT,
        HTML_RCDATA, /* title, textarea */
        HTML_SCRIPT,
        HTML_STYLE,
    } state;
    enum { ATTR_PLAIN, ATTR_URL, ATTR_SCRIPT, ATTR_STYLE, ATTR_SRCSET } attr;
    enum { ELEM_NORMAL, ELEM_SCRIPT, ELEM_STYLE, ELEM_RCDATA } elem;
    char quote; /* of the value: " ' or 0 */
    enum { URL_START, URL_BEFORE_QUERY, URL_QUERY } url;
    enum { JS_CODE, JS_DQ, JS_SQ, JS_BQ, JS_LINE_COMMENT, JS_BLOCK_COMMENT } js;
    enum { CSS_CODE, CSS_DQ, CSS_SQ, CSS_COMMENT } css;
    char name[32]; /* of the tag or attribute being read */
    size_t n_name;
    char tag[32];
    bool closing, escaped;
    char prev; /* of the script, style or comment text */
};
void html_text(struct html *h, struct buf *out, str text);                  /* a template's own text */
void html_value(struct html *h, struct buf *out, const struct tmpl_val *v); /* what a pipeline gave */

#endif
