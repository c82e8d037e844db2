#include "rules/rules_file.h"

#include <stdlib.h>

#include "base/check.h"
#include "rules/rules_verdict.h"
#include "tmpl/tmpl_lib.h"

#define RULES_MAX 1000000u /* in a file */

struct texts {
    str *keys, *p;
    size_t n;
};
struct rule_conf {
    str record, alert, expr;
    int64_t for_ms, keep_ms;
    struct texts labels, annotations;
    const struct conf_node *on_absent, *on_error; /* last: Prometheus has them not */
};
struct verdict_conf {
    int64_t for_ms;
    str severity;
    struct texts labels;
    CONF_LIST_OF(str) by;
};
struct group_conf {
    str name;
    int64_t interval_ms, query_offset_ms;
    uint64_t limit;
    struct texts labels;
    const struct conf_node *rules, *on_absent, *on_error;
};
struct file_conf {
    const struct conf_node *groups;
};
#define F(m, key, t, ...) CF(struct rule_conf, m, key, t, ##__VA_ARGS__)
static const struct conf_field rule_fields[] = {
    F(record, "record", CONF_STR),
    F(alert, "alert", CONF_STR),
    F(expr, "expr", CONF_STR),
    F(for_ms, "for", CONF_DURATION),
    F(keep_ms, "keep_firing_for", CONF_DURATION),
    F(labels, "labels", CONF_DICT, .of = CONF_STR),
    F(annotations, "annotations", CONF_DICT, .of = CONF_STR),
    F(on_absent, "on_absent", CONF_NODE), /* the last two: vane's own */
    F(on_error, "on_error", CONF_NODE),
};
#undef F
#define F(m, key, t, ...) CF(struct group_conf, m, key, t, ##__VA_ARGS__)
static const struct conf_field group_fields[] = {
    F(name, "name", CONF_STR),
    F(interval_ms, "interval", CONF_DURATION),
    F(query_offset_ms, "query_offset", CONF_DURATION),
    F(limit, "limit", CONF_UINT),
    F(rules, "rules", CONF_NODE),
    F(labels, "labels", CONF_DICT, .of = CONF_STR),
    F(on_absent, "on_absent", CONF_NODE), /* the last two: vane's own */
    F(on_error, "on_error", CONF_NODE),
};
#undef F
enum { EXTENSIONS = 2 }; /* at the end of both */
#define F(m, key, t, ...) CF(struct verdict_conf, m, key, t, ##__VA_ARGS__)
static const struct conf_field absent_fields[] = {
    F(for_ms, "for", CONF_DURATION),
    F(severity, "severity", CONF_STR),
    F(labels, "labels", CONF_DICT, .of = CONF_STR),
    F(by, "by", CONF_LIST, .of = CONF_STR),
};
#undef F
static const struct conf_field file_fields[] = { CF(struct file_conf, groups, "groups", CONF_NODE) };
#define SCHEMA(var, T, name, rows)                                                            \
    static const struct conf_schema var = {                                                   \
        .type_name = (name), .size = sizeof(T), .fields = (rows), .n_fields = ARRAY_LEN(rows) \
    }
SCHEMA(rule_schema, struct rule_conf, "rulefmt.Rule", rule_fields);
SCHEMA(group_schema, struct group_conf, "rulefmt.RuleGroup", group_fields);
static const struct conf_schema strict_rule_schema = { .type_name = "rulefmt.Rule",
                                                       .size = sizeof(struct rule_conf),
                                                       .fields = rule_fields,
                                                       .n_fields = ARRAY_LEN(rule_fields) - EXTENSIONS };
static const struct conf_schema strict_group_schema = { .type_name = "rulefmt.RuleGroup",
                                                        .size = sizeof(struct group_conf),
                                                        .fields = group_fields,
                                                        .n_fields = ARRAY_LEN(group_fields) - EXTENSIONS };
SCHEMA(absent_schema, struct verdict_conf, "on_absent", absent_fields);
static const struct conf_schema error_schema = { .type_name = "on_error",
                                                 .size = sizeof(struct verdict_conf),
                                                 .fields = absent_fields,
                                                 .n_fields = ARRAY_LEN(absent_fields) - 1 };
SCHEMA(file_schema, struct file_conf, "rulefmt.RuleGroups", file_fields);

struct loader {
    struct conf_ctx *cx;
    const struct rules_options *opt;
    struct rule_file *file;
    size_t n_rules;
};

/* Options may ask to pass over unknown fields: then they are taken out before decoding. */
static const struct conf_node *known_only(struct loader *l, const struct conf_node *n, const struct conf_schema *s)
{
    if (!l->opt->ignore_unknown_fields || !n || n->kind != CONF_MAP)
        return n;
    struct conf_node *copy = arena_new(l->cx->a, struct conf_node);
    *copy = *n;
    copy->items = arena_array(l->cx->a, struct conf_node *, 2 * n->n + 1);
    copy->n = 0;
    for (size_t i = 0; i < n->n; i++)
        for (size_t f = 0; f < s->n_fields; f++)
            if (str_eq(n->items[2 * i]->text, str_c(s->fields[f].key))) {
                copy->items[2 * copy->n] = n->items[2 * i];
                copy->items[2 * copy->n++ + 1] = n->items[2 * i + 1];
            }
    return copy;
}

/* ---- names, labels, templates ---- */
static bool name_ok(const struct loader *l, str name)
{
    return l->opt->legacy_names ? labels_valid_name(name) : name.n && str_utf8_ok(name);
}

static struct labels labels_of(struct loader *l, const struct texts *t, struct labels base)
{
    struct label_builder b;
    lb_init(&b, l->cx->a);
    lb_reset(&b, base);
    for (size_t i = 0; i < t->n; i++)
        lb_set(&b, t->keys[i], t->p[i]);
    return lb_labels(&b);
}

static const struct conf_node *at_key(const struct conf_node *n, const char *key)
{
    const struct conf_node *v = n && n->kind == CONF_MAP ? conf_get(n, str_c(key)) : NULL;
    return v ? v : n;
}

static void check_texts(struct loader *l, const struct conf_node *n, const struct texts *t, const char *what)
{
    for (size_t i = 0; i < t->n; i++) {
        if (!name_ok(l, t->keys[i]) || (what[0] == 'l' && str_eq(t->keys[i], LABEL_NAME)))
            IGNORE_ERR(conf_error(l->cx, n, "invalid %s name: " STR_FMT, what, STR_ARG(t->keys[i])));
        if (!str_utf8_ok(t->p[i]))
            IGNORE_ERR(conf_error(l->cx, n, "invalid %s value of " STR_FMT ": not UTF-8", what, STR_ARG(t->keys[i])));
    }
}

static void check_template(struct loader *l, const struct conf_node *n, const char *what, str key, str text)
{
    static const struct tmpl_func *const tables[] = { tmpl_prom_funcs };
    const struct tmpl_options opt = { tables, &tmpl_prom_n_funcs, 1, TMPL_MISSING_ZERO, false };
    struct err_text why = { 0 };
    if (str_find(text, STR("{{")) == SIZE_MAX)
        return;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_lit(&b, RULES_TEMPLATE_DEFS);
    buf_str_add(&b, text);
    struct tmpl_set *set = tmpl_set_new(&opt, NULL);
    if (tmpl_parse(set, key, buf_str(&b), &why) != OK)
        IGNORE_ERR(conf_error(l->cx, n, "%s \"" STR_FMT "\": %s", what, STR_ARG(key), why.msg));
    tmpl_set_free(set);
}

/* ---- rules ---- */
static void check_record(struct loader *l, const struct conf_node *n, const struct rule_conf *c)
{
    struct conf_ctx *cx = l->cx;
    if (c->annotations.n)
        IGNORE_ERR(conf_error(cx, at_key(n, "annotations"), "invalid field 'annotations' in recording rule"));
    if (c->for_ms)
        IGNORE_ERR(conf_error(cx, at_key(n, "for"), "invalid field 'for' in recording rule"));
    if (c->keep_ms)
        IGNORE_ERR(conf_error(cx, at_key(n, "keep_firing_for"), "invalid field 'keep_firing_for' in recording rule"));
    if (!(l->opt->legacy_names ? labels_valid_metric_name(c->record) : str_utf8_ok(c->record)))
        IGNORE_ERR(conf_error(cx, at_key(n, "record"), "invalid recording rule name: " STR_FMT, STR_ARG(c->record)));
    else if (str_find_char(c->record, '{') != SIZE_MAX || str_find_char(c->record, '}') != SIZE_MAX)
        IGNORE_ERR(conf_error(cx, at_key(n, "record"),
                              "braces present in the recording rule name; should it be in expr?: " STR_FMT,
                              STR_ARG(c->record)));
}

static void check_expr(struct loader *l, const struct conf_node *n, const struct rule_conf *c, struct rule *r)
{
    struct err_text why = { 0 };
    if (!str_trim(c->expr).n) {
        IGNORE_ERR(conf_error(l->cx, n, "field 'expr' must be set in rule"));
        return;
    }
    if (promql_parse_text(l->cx->a, r->expr, l->opt->features, &r->parsed, &why) != OK) {
        r->parsed = NULL;
        IGNORE_ERR(conf_error(l->cx, at_key(n, "expr"), "could not parse expression: %s", why.msg));
        return;
    }
    if (r->parsed->type != PROMQL_VECTOR && r->parsed->type != PROMQL_SCALAR)
        IGNORE_ERR(conf_error(l->cx, at_key(n, "expr"), "the expression gives no vector and no scalar"));
}

void rules_file_release(struct rule_file *f)
{
    for (size_t g = 0; g < f->n_groups; g++)
        for (size_t i = 0; i < f->groups[g].n_rules; i++) {
            promql_expr_deinit(f->groups[g].rules[i].parsed);
            f->groups[g].rules[i].parsed = NULL;
        }
}

/* ---- on_absent, on_error ---- */
static void check_by(struct loader *l, const struct conf_node *n, const struct verdict_conf *c)
{
    for (size_t i = 0; i < c->by.n; i++)
        if (!labels_valid_name(c->by.p[i]) || str_eq(c->by.p[i], LABEL_NAME))
            IGNORE_ERR(conf_error(l->cx, at_key(n, "by"), "by: not a label name: " STR_FMT, STR_ARG(c->by.p[i])));
}

/* What is said at n; base (of the group) where nothing is. */
static struct rule_verdict read_verdict(struct loader *l, const struct conf_node *n, const struct conf_schema *schema,
                                        const struct rule_verdict *base)
{
    static const str job = STR_INIT("job"), group = STR_INIT("rule_group");
    struct rule_verdict v = { .on = true, .n_by = 1, .by = schema == &absent_schema ? &job : &group };
    struct verdict_conf c;
    struct label_builder b;
    if (!n)
        return base ? *base : (struct rule_verdict){ 0 };
    if (n->kind == CONF_NULL)
        return (struct rule_verdict){ 0 };
    if (conf_decode(l->cx, known_only(l, n, schema), schema, &c) != OK)
        return v;
    check_texts(l, at_key(n, "labels"), &c.labels, "label");
    check_by(l, n, &c);
    lb_init(&b, l->cx->a);
    lb_reset(&b, labels_of(l, &c.labels, LABELS_NONE));
    if (c.severity.n)
        lb_set(&b, STR("severity"), c.severity);
    v.for_ms = c.for_ms;
    v.labels = lb_labels(&b);
    if (c.by.n) {
        v.by = c.by.p;
        v.n_by = c.by.n;
    }
    v.id = rules_verdict_id(l->cx->a, &v);
    return v;
}

static void read_verdicts(struct loader *l, const struct conf_node *n, const struct rule_conf *c,
                          const struct rule_group *g, struct rule *r)
{
    if (!r->alerting && (c->on_absent || c->on_error)) {
        IGNORE_ERR(conf_error(l->cx, at_key(n, c->on_absent ? "on_absent" : "on_error"),
                              "on_absent and on_error are for alerting rules"));
        return;
    }
    if (!r->alerting || l->opt->strict_prometheus)
        return;
    r->on_absent = read_verdict(l, conf_get(n, STR("on_absent")), &absent_schema, &g->on_absent);
    r->on_error = read_verdict(l, conf_get(n, STR("on_error")), &error_schema, &g->on_error);
    if (r->on_absent.on && r->parsed)
        r->on_absent.sources = rules_verdict_sources(l->cx->a, r);
}

static void read_rule(struct loader *l, const struct conf_node *n, const struct rule_group *g, struct rule *r)
{
    struct rule_conf c;
    const struct conf_schema *schema = l->opt->strict_prometheus ? &strict_rule_schema : &rule_schema;
    *r = (struct rule){ .line = n->line };
    if (conf_decode(l->cx, known_only(l, n, schema), schema, &c) != OK)
        return;
    r->alerting = c.alert.n != 0;
    r->name = r->alerting ? c.alert : c.record;
    r->expr = str_trim(c.expr);
    r->for_ms = c.for_ms;
    r->keep_firing_for_ms = c.keep_ms;
    if (c.record.n && c.alert.n)
        IGNORE_ERR(conf_error(l->cx, n, "only one of 'record' and 'alert' must be set"));
    else if (!c.record.n && !c.alert.n)
        IGNORE_ERR(conf_error(l->cx, n, "one of 'record' or 'alert' must be set"));
    check_expr(l, n, &c, r);
    if (c.record.n && !c.alert.n)
        check_record(l, n, &c);
    check_texts(l, at_key(n, "labels"), &c.labels, "label");
    check_texts(l, at_key(n, "annotations"), &c.annotations, "annotation");
    if (r->alerting) {
        for (size_t i = 0; i < c.labels.n; i++)
            check_template(l, at_key(n, "labels"), "label", c.labels.keys[i], c.labels.p[i]);
        for (size_t i = 0; i < c.annotations.n; i++)
            check_template(l, at_key(n, "annotations"), "annotation", c.annotations.keys[i], c.annotations.p[i]);
    }
    r->labels = labels_of(l, &c.labels, g->labels);
    r->annotations = labels_of(l, &c.annotations, LABELS_NONE);
    read_verdicts(l, n, &c, g, r);
}

static void read_group(struct loader *l, const struct conf_node *n, struct rule_group *g)
{
    struct group_conf c;
    *g = (struct rule_group){ .file = l->file->path };
    const struct conf_schema *schema = l->opt->strict_prometheus ? &strict_group_schema : &group_schema;
    if (conf_decode(l->cx, known_only(l, n, schema), schema, &c) != OK)
        return;
    g->name = c.name;
    g->interval_ms = c.interval_ms;
    g->limit = c.limit;
    g->query_offset_ms = c.query_offset_ms;
    g->has_query_offset = n->kind == CONF_MAP && conf_has(n, "query_offset");
    if (!g->name.n)
        IGNORE_ERR(conf_error(l->cx, n, "Groupname must not be empty"));
    check_texts(l, at_key(n, "labels"), &c.labels, "label");
    g->labels = labels_of(l, &c.labels, LABELS_NONE);
    if (!l->opt->strict_prometheus) {
        g->on_absent = read_verdict(l, conf_get(n, STR("on_absent")), &absent_schema, NULL);
        g->on_error = read_verdict(l, conf_get(n, STR("on_error")), &error_schema, NULL);
    }
    if (!c.rules || c.rules->kind == CONF_NULL)
        return;
    if (c.rules->kind != CONF_SEQ) {
        IGNORE_ERR(conf_error(l->cx, c.rules, "rules are a list"));
        return;
    }
    l->n_rules += c.rules->n;
    if (l->n_rules > RULES_MAX) {
        IGNORE_ERR(conf_error(l->cx, c.rules, "more than %u rules in a file", RULES_MAX));
        return;
    }
    g->rules = arena_zarray(l->cx->a, struct rule, c.rules->n + 1);
    for (size_t i = 0; i < c.rules->n; i++)
        read_rule(l, c.rules->items[i], g, &g->rules[g->n_rules++]);
}

static int by_name(const void *a, const void *b)
{
    const struct rule_group *x = *(const struct rule_group *const *)a, *y = *(const struct rule_group *const *)b;
    int c = str_cmp(x->name, y->name);
    return c ? c : (x > y) - (x < y);
}

static void check_names(struct loader *l, const struct conf_node *groups)
{
    size_t n = l->file->n_groups;
    const struct rule_group **v = arena_array(l->cx->a, const struct rule_group *, n + 1);
    for (size_t i = 0; i < n; i++)
        v[i] = &l->file->groups[i];
    if (n)
        qsort(v, n, sizeof(*v), by_name);
    for (size_t i = 1; i < n; i++)
        if (v[i]->name.n && str_eq(v[i]->name, v[i - 1]->name))
            IGNORE_ERR(conf_error(l->cx, groups->items[v[i] - l->file->groups],
                                  "groupname: \"" STR_FMT "\" is repeated in the same file", STR_ARG(v[i]->name)));
}

static enum err read_file(struct loader *l, const struct conf_node *root)
{
    struct file_conf c;
    struct conf_ctx *cx = l->cx;
    const struct conf_node *kind = root->kind == CONF_MAP ? conf_get(root, STR("kind")) : NULL;
    if (kind && str_eq(kind->text, STR("PrometheusRule")) && conf_get(root, STR("spec")))
        root = conf_get(root, STR("spec"));
    TRY(conf_decode(cx, known_only(l, root, &file_schema), &file_schema, &c));
    if (!c.groups || c.groups->kind == CONF_NULL)
        return OK;
    if (c.groups->kind != CONF_SEQ)
        return conf_error(cx, c.groups, "groups are a list");
    l->file->groups = arena_zarray(cx->a, struct rule_group, c.groups->n + 1);
    for (size_t i = 0; i < c.groups->n; i++)
        read_group(l, c.groups->items[i], &l->file->groups[l->file->n_groups++]);
    check_names(l, c.groups);
    return OK;
}

enum err rules_file_parse(struct conf_ctx *cx, str path, str text, const struct rules_options *opt,
                          struct rule_file *ret)
{
    struct conf_node *root;
    struct loader l = { cx, opt, ret, 0 };
    size_t errors = cx->n_errors;
    *ret = (struct rule_file){ .path = arena_str(cx->a, path) };
    TRY(conf_parse(cx, ret->path, text, CONF_FIRST_DOCUMENT, &root));
    TRY(read_file(&l, root));
    return cx->n_errors == errors ? OK : ERR_INVALID;
}

enum err rules_file_load(struct conf_ctx *cx, const char *path, const struct rules_options *opt, struct rule_file *ret)
{
    str text;
    enum err e = fs_read_file(cx->fs, path, CONF_BYTES_MAX, cx->a, &text, NULL);
    if (e)
        return conf_error(cx, NULL, "%s: %s", path, err_describe(e));
    return rules_file_parse(cx, str_c(path), text, opt, ret);
}

/* ---- lint ---- */
static int by_identity(const void *a, const void *b)
{
    const struct rule *x = ((const struct rule_duplicate *)a)->rule, *y = ((const struct rule_duplicate *)b)->rule;
    int c = str_cmp(x->name, y->name);
    if (!c)
        c = labels_cmp(x->labels, y->labels);
    return c ? c : (x > y) - (x < y);
}

size_t rules_file_duplicates(struct arena *a, const struct rule_file *f, struct rule_duplicate **ret)
{
    size_t n = 0, k = 0;
    for (size_t g = 0; g < f->n_groups; g++)
        n += f->groups[g].n_rules;
    struct rule_duplicate *v = arena_array(a, struct rule_duplicate, n + 1);
    n = 0;
    for (size_t g = 0; g < f->n_groups; g++)
        for (size_t i = 0; i < f->groups[g].n_rules; i++)
            v[n++] = (struct rule_duplicate){ &f->groups[g].rules[i], &f->groups[g] };
    if (n)
        qsort(v, n, sizeof(*v), by_identity);
    for (size_t i = 1; i < n; i++)
        if (str_eq(v[i].rule->name, v[i - 1].rule->name) && labels_eq(v[i].rule->labels, v[i - 1].rule->labels))
            v[k++] = v[i];
    *ret = v;
    return k;
}
