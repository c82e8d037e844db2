/* See cli_am.h. */
#include "cli/cli_am.h"

#include <string.h>

#include "cli/cli_http.h"

bool cli_am_matchers(struct arena *a, char **words, int n, struct am_matchers *ret, const char **ret_bad,
                     struct err_text *reterr)
{
    *ret = (struct am_matchers){ .p = arena_array(a, struct am_matcher, (size_t)n + 1) };
    for (int i = 0; i < n; i++) {
        struct am_matcher *m = &ret->p[ret->n];
        bool name = !strpbrk(words[i], "=~");
        enum err e = name ? am_matcher_init(m, a, AM_EQ, STR("alertname"), str_c(words[i]), reterr)
                          : am_matcher_parse(a, str_c(words[i]), AM_FALLBACK, m, reterr);
        if (e) {
            *ret_bad = words[i];
            return false;
        }
        ret->n++;
    }
    return true;
}

json_t *cli_am_matchers_json(const struct am_matchers *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < m->n; i++) {
        const struct am_matcher *x = &m->p[i];
        json_t *o = json_object();
        json_object_set_new(o, "name", json_stringn(x->name.p, x->name.n));
        json_object_set_new(o, "value", json_stringn(x->value.n ? x->value.p : "", x->value.n));
        json_object_set_new(o, "isRegex", json_boolean(x->type == AM_RE || x->type == AM_NRE));
        json_object_set_new(o, "isEqual", json_boolean(x->type == AM_EQ || x->type == AM_RE));
        json_array_append_new(list, o);
    }
    return list;
}

str cli_am_matchers_text(struct arena *a, const json_t *list, const char *separator)
{
    AUTO_BUF struct buf b = { 0 };
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m)
    {
        bool regex = json_is_true(json_object_get(m, "isRegex")), equal = !json_is_false(json_object_get(m, "isEqual"));
        const struct am_matcher x = { .type = regex   ? (equal ? AM_RE : AM_NRE)
                                              : equal ? AM_EQ
                                                      : AM_NE,
                                      .name = str_c(cli_json_text(m, "name")),
                                      .value = str_c(cli_json_text(m, "value")) };
        buf_str_add(&b, str_c(i ? separator : ""));
        am_matcher_print(&b, &x);
    }
    return arena_str(a, buf_str(&b));
}

void cli_am_filters(struct buf *path, const struct am_matchers *m)
{
    AUTO_BUF struct buf text = { 0 };
    for (size_t i = 0; i < m->n; i++) {
        buf_clear(&text);
        am_matcher_print(&text, &m->p[i]);
        cli_query_add(path, "filter", buf_str(&text));
    }
}

str cli_am_names(struct arena *a, const json_t *list)
{
    AUTO_BUF struct buf b = { 0 };
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v)
        buf_printf(&b, "%s%s", b.n ? "," : "", json_is_string(v) ? json_string_value(v) : cli_json_text(v, "name"));
    return arena_str(a, buf_str(&b));
}
