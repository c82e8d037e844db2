/* Data of the case tables as template values. */
#ifndef VANE_TESTS_TMPL_TMPL_TEST_H
#define VANE_TESTS_TMPL_TMPL_TEST_H

#include "conformance.h"
#include "json_doc.h"
#include "test.h"
#include "tmpl/tmpl.h"

/* As the tables say: numbers without . or e are int, others float64. */
static inline struct tmpl_val val_of_json(struct arena *a, const struct jt *j)
{
    struct tmpl_val v = { .kind = TMPL_NIL };
    int64_t i;
    switch (j->tok) {
    case JSON_TOK_OBJ:
        v = tmpl_map(a, NULL, j->n);
        for (size_t k = 0; k < j->n; k++)
            v.map.p[k] = (struct tmpl_pair){ j->p[k].key, val_of_json(a, &j->p[k]) };
        tmpl_map_sort(&v);
        return v;
    case JSON_TOK_ARR:
        v = tmpl_list(a, NULL, j->n);
        for (size_t k = 0; k < j->n; k++)
            v.list.p[k] = val_of_json(a, &j->p[k]);
        return v;
    case JSON_TOK_STR:
        return tmpl_str(j->text);
    case JSON_TOK_NUM:
        return str_to_i64(j->text, &i) ? tmpl_int(i) : tmpl_float(jt_num(j));
    case JSON_TOK_TRUE:
    case JSON_TOK_FALSE:
        return tmpl_bool(j->tok == JSON_TOK_TRUE);
    default:
        return v;
    }
}

#endif
