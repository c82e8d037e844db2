/* A JSON document as a tree, for tests that read case tables: built with the pull reader, lives in an arena. */
#ifndef VANE_TESTS_SUPPORT_JSON_TREE_H
#define VANE_TESTS_SUPPORT_JSON_TREE_H

#include "base/fs.h"
#include "base/json.h"
#include "base/num.h"
#include "base/vec.h"

struct jt {
    enum json_tok
        kind; /* JSON_TOK_OBJ, JSON_TOK_ARR, JSON_TOK_STR, JSON_TOK_NUM, JSON_TOK_TRUE, JSON_TOK_FALSE, JSON_TOK_NULL */
    str key;  /* inside an object */
    str text; /* of strings and numbers */
    VEC(struct jt *) kids;
};

static inline UNUSED struct jt *jt_build(struct arena *a, struct json_in *j, enum json_tok tok)
{
    struct jt *n = arena_new(a, struct jt);
    n->kind = tok;
    n->text = j->text;
    if (tok == JSON_TOK_ARR) {
        while ((tok = json_next(j)) != JSON_TOK_ARR_END && tok != JSON_TOK_ERR)
            avec_push(a, &n->kids, jt_build(a, j, tok));
    } else if (tok == JSON_TOK_OBJ) {
        while ((tok = json_next(j)) == JSON_TOK_KEY) {
            str key = j->text;
            struct jt *kid = jt_build(a, j, json_next(j));
            kid->key = key;
            avec_push(a, &n->kids, kid);
        }
    }
    return n;
}
/* NULL if the file is not there or not JSON. */
static inline UNUSED struct jt *jt_load(struct arena *a, const char *path)
{
    str text;
    if (fs_read_file(fs_os(), path, 64u << 20, a, &text, NULL) != OK)
        return NULL;
    struct json_in j;
    json_in_init(&j, a, text);
    struct jt *t = jt_build(a, &j, json_next(&j));
    return j.tok == JSON_TOK_ERR ? NULL : t;
}
static inline UNUSED const struct jt *jt_get(const struct jt *t, const char *key)
{
    for (size_t i = 0; t && i < t->kids.n; i++)
        if (t->kind == JSON_TOK_OBJ && str_eq(t->kids.p[i]->key, str_c(key)))
            return t->kids.p[i];
    return NULL;
}
static inline UNUSED bool jt_is(const struct jt *t, enum json_tok kind)
{
    return t && t->kind == kind;
}
static inline UNUSED str jt_str(const struct jt *t)
{
    return jt_is(t, JSON_TOK_STR) ? t->text : STR_NONE;
}
static inline UNUSED double jt_num(const struct jt *t)
{
    double v = 0;
    if (jt_is(t, JSON_TOK_NUM))
        num_parse_f64(t->text, &v);
    return v;
}

#endif
