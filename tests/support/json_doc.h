/* JSON documents of test data as a tree in an arena (the product reads JSON by pulling: base/json.h). */
#ifndef VANE_TESTS_SUPPORT_JSON_DOC_H
#define VANE_TESTS_SUPPORT_JSON_DOC_H

#include "base/json.h"
#include "base/num.h"
#include "base/vec.h"

struct jt {
    enum json_tok
        tok; /* JSON_TOK_OBJ, JSON_TOK_ARR, JSON_TOK_STR, JSON_TOK_NUM, JSON_TOK_TRUE, JSON_TOK_FALSE, JSON_TOK_NULL; JSON_TOK_ERR = absent */
    str key; /* in an object */
    str text;           /* STR, NUM */
    const struct jt *p; /* members */
    size_t n;
};

static inline struct jt jt_value(struct json_in *j, struct arena *a)
{
    struct jt v = { .tok = j->tok, .text = j->text };
    VEC(struct jt) kids = { 0 };
    if (v.tok == JSON_TOK_OBJ || v.tok == JSON_TOK_ARR) {
        while (json_next(j) != JSON_TOK_OBJ_END && j->tok != JSON_TOK_ARR_END && j->tok != JSON_TOK_ERR) {
            str key = j->text;
            if (v.tok == JSON_TOK_OBJ)
                json_next(j);
            struct jt kid = jt_value(j, a);
            kid.key = key;
            avec_push(a, &kids, kid);
        }
        v.p = kids.p;
        v.n = kids.n;
    }
    return v;
}
/* tok JSON_TOK_ERR if the text is malformed. */
static inline struct jt jt_parse(struct arena *a, str text)
{
    struct json_in j;
    json_in_init(&j, a, text);
    json_next(&j);
    struct jt v = jt_value(&j, a);
    if (json_next(&j) != JSON_TOK_END)
        v.tok = JSON_TOK_ERR;
    return v;
}
static inline const struct jt *jt_get(const struct jt *o, const char *key)
{
    static const struct jt none = { .tok = JSON_TOK_ERR };
    for (size_t i = 0; i < o->n; i++)
        if (str_eq(o->p[i].key, str_c(key)))
            return &o->p[i];
    return &none;
}
static inline bool jt_has(const struct jt *o, const char *key)
{
    return jt_get(o, key)->tok != JSON_TOK_ERR;
}
static inline str jt_str(const struct jt *o, const char *key)
{
    const struct jt *v = jt_get(o, key);
    return v->tok == JSON_TOK_STR ? v->text : STR_NONE;
}
static inline bool jt_true(const struct jt *o, const char *key)
{
    return jt_get(o, key)->tok == JSON_TOK_TRUE;
}
static inline double jt_num(const struct jt *v)
{
    double d = 0;
    return v->tok == JSON_TOK_NUM && num_parse_f64(v->text, &d) ? d : 0;
}
static inline int64_t jt_int(const struct jt *o, const char *key)
{
    int64_t i = 0;
    return str_to_i64(jt_get(o, key)->text, &i) ? i : 0;
}
#define jt_each(it, v) for (const struct jt *it = (v)->p, *it##_end = (v)->p + (v)->n; it < it##_end; it++)

#endif
