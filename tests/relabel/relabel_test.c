/* Relabelling: our own rows, and the conformance tables where the checkout has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "relabel/relabel.h"

/* Decode a YAML list of rules; *ret_error is the first error's text. */
struct rules_doc {
    struct relabel_rules rules;
};
static const struct conf_field doc_fields[] = { CF_RELABEL(struct rules_doc, rules, "rules", "test") };
static const struct conf_schema doc_schema = {
    .type_name = "test", .size = sizeof(struct rules_doc), .fields = doc_fields, .n_fields = 1
};

static bool decode(struct conf_ctx *cx, str yaml, struct relabel_rules *ret, struct err_text *et)
{
    struct conf_node *root;
    struct rules_doc doc;
    bool ok = conf_parse(cx, STR("t.yml"), yaml, 0, &root) == OK && conf_decode(cx, root, &doc_schema, &doc) == OK;
    if (ok)
        *ret = doc.rules;
    else
        conf_first_error(cx, et);
    return ok;
}

static struct labels parse_labels(struct arena *a, const char *text)
{
    struct label_builder b;
    lb_init(&b, a);
    str rest = str_c(text), pair;
    while (str_cut(&rest, ',', &pair)) {
        str name;
        str_cut(&pair, '=', &name);
        lb_set(&b, name, pair);
    }
    return lb_labels(&b);
}

static const struct row {
    const char *in, *rules, *want; /* want NULL: dropped */
} rows[] = {
    { "a=foo", "[{source_labels: [a], target_label: b}]", "a=foo,b=foo" },
    { "a=foo,b=x", "[{source_labels: [missing], target_label: b}]", "a=foo" },
    { "a=foo,b=x",
      "[{source_labels: [a, b], separator: '-', regex: '(.*)-(.*)', target_label: c, replacement: '$2$1'}]",
      "a=foo,b=x,c=xfoo" },
    { "a=foo", "[{source_labels: [a], regex: fo, action: keep}]", NULL },
    { "a=foo", "[{source_labels: [a], regex: fo+, action: drop}]", NULL },
    { "a=foo", "[{source_labels: [b], regex: '', action: keep}]", "a=foo" },
    { "a=foo", "[{regex: '', source_labels: [a], action: KEEP}]", NULL },
    { "a=foo", "[{source_labels: [a], modulus: 1000, action: hashmod, target_label: d}]", "a=foo,d=696" },
    { "a=\xc3\xa9T", "[{source_labels: [a], action: uppercase, target_label: a}]", "a=\xc3\x89T" },
    { "a=foo,__tmp=1", "[{regex: __.*, action: labeldrop}]", "a=foo" },
    { "a=foo,b=1", "[{regex: a, action: labelkeep}]", "a=foo" },
    { "x_a=foo", "[{regex: x_(.+), action: labelmap}]", "a=foo,x_a=foo" },
    { "a=1,b=1", "[{source_labels: [a], action: dropequal, target_label: b}]", NULL },
    { "a=1,b=2", "[{source_labels: [a], action: keepequal, target_label: b}]", NULL },
    { "a=1", "[{target_label: b, replacement: static}]", "a=1,b=static" },
    { "a=1", "[{source_labels: [a], target_label: a, replacement: ''}]", "" },
};
static void rules_do_what_they_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct conf_ctx cx = conf_ctx_init(&a, fs_os());
        struct relabel_rules rules;
        struct err_text et;
        str yaml = arena_printf(&a, "rules: %s\n", rows[i].rules);
        if (!decode(&cx, yaml, &rules, &et))
            fail_msg("row %zu: %s", i, et.msg);
        struct label_builder b;
        lb_init(&b, &a);
        lb_reset(&b, parse_labels(&a, rows[i].in));
        bool kept = relabel_apply(rules, &b);
        if (kept != (rows[i].want != NULL))
            fail_msg("row %zu: kept %d", i, kept);
        if (kept) {
            struct labels got = lb_labels(&b), want = parse_labels(&a, rows[i].want);
            AUTO_BUF struct buf text;
            buf_init(&text, 0);
            labels_print(&text, got);
            if (!labels_eq(got, want))
                fail_msg("row %zu: got " STR_FMT, i, STR_ARG(buf_str(&text)));
        }
        conf_ctx_release(&cx);
    }
}

static const struct {
    const char *rules, *error;
} bad_rows[] = {
    { "[{action: hashmod, target_label: a}]", "hashmod requires non-zero modulus" },
    { "[{action: replaec, target_label: a}]", "unknown relabel action \"replaec\", did you mean \"replace\"?" },
    { "[{source_labels: [a]}]", "requires 'target_label' value" },
    { "[{action: labeldrop, regex: a, source_labels: [b]}]", "labeldrop action requires only 'regex'" },
    { "[{target_label: a, regex: '('}]", "error parsing regexp" },
    { "[{taget_label: a}]", "did you mean \"target_label\"?" },
    { "[{action: lowercase, target_label: !!binary '/w=='}]",
      "\"\\xff\" is invalid 'target_label' for lowercase action" },
    { "[{action: labelmap, replacement: !!binary '/w=='}]", "\"\\xff\" is invalid 'replacement' for labelmap action" },
    { "[null]", "empty or null test relabeling rule" },
    { "[{action: keepequal, target_label: a, regex: x}]", "requires only 'source_labels' and `target_label`" },
};
static void bad_rules_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct conf_ctx cx = conf_ctx_init(&a, fs_os());
        struct relabel_rules rules;
        struct err_text et;
        assert_false(decode(&cx, arena_printf(&a, "rules: %s\n", bad_rows[i].rules), &rules, &et));
        if (!strstr(et.msg, bad_rows[i].error))
            fail_msg("row %zu: %s", i, et.msg);
        conf_ctx_release(&cx);
    }
}

/* ---- conformance: the tables are JSON, which is YAML ---- */

static const struct conf_node *table(struct conf_ctx *cx, const char *name)
{
    const char *dir = getenv("VANE_CONFORMANCE");
    char path[4096];
    struct conf_node *root;
    snprintf(path, sizeof(path), "%s/prometheus_config/%s", dir ? dir : "", name);
    return conf_read(cx, path, 0, &root) == OK ? root : NULL;
}

static struct labels labels_of(struct arena *a, const struct conf_node *n)
{
    struct label_builder b;
    lb_init(&b, a);
    for (size_t i = 0; n && i < n->n; i++)
        lb_set(&b, n->items[2 * i]->text, n->items[2 * i + 1]->text);
    return lb_labels(&b);
}

static bool is_true(const struct conf_node *n)
{
    return n && str_eq(n->text, STR("true"));
}

static void conformance_relabel(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct conf_ctx cx = conf_ctx_init(&a, fs_os());
    const struct conf_node *t = table(&cx, "relabel.json");
    for (size_t i = 0; t && i < t->n; i++) {
        const struct conf_node *c = t->items[i];
        struct relabel_rules rules = { 0 };
        const struct conf_node *list = conf_get(c, STR("relabel_configs"));
        rules.p = arena_zarray(&a, struct relabel_rule, list->n + 1);
        for (size_t k = 0; k < list->n; k++)
            if (conf_decode(&cx, list->items[k], &relabel_rule_schema, &rules.p[rules.n++]))
                fail_msg("case %zu: " STR_FMT, i, STR_ARG(cx.diags.p[0].message));
        struct label_builder b;
        lb_init(&b, &a);
        lb_reset(&b, labels_of(&a, conf_get(c, STR("input"))));
        bool kept = relabel_apply(rules, &b);
        if (kept == is_true(conf_get(c, STR("drop"))))
            fail_msg("case %zu: kept %d", i, kept);
        if (kept && !labels_eq(lb_labels(&b), labels_of(&a, conf_get(c, STR("output")))))
            fail_msg("case %zu: other labels", i);
    }
    conf_ctx_release(&cx);
    if (!t)
        skip();
}

static str go_text(const struct conf_node *fields, str name)
{
    const struct conf_node *n = conf_get(fields, name);
    str s = n ? n->text : STR("");
    return str_eq(s, STR("DefaultRelabelConfig.Replacement")) ? STR("$1")
           : str_eq(s, STR("DefaultRelabelConfig.Separator")) ? STR(";")
                                                              : s;
}

static void conformance_validate(void **state)
{
    (void)state;
    static const char *const actions[] = {
#define X(id, name, help) name,
        RELABEL_ACTIONS(X)
#undef X
    };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct conf_ctx cx = conf_ctx_init(&a, fs_os());
    const struct conf_node *t = table(&cx, "relabel_validate.json");
    for (size_t i = 0; t && i < t->n; i++) {
        const struct conf_node *f = conf_get(t->items[i], STR("config_fields"));
        struct relabel_rule r = { .action = RELABEL_NO_ACTION };
        for (size_t k = 0; k < ARRAY_LEN(actions); k++)
            if (str_eq(go_text(f, STR("Action")), str_c(actions[k])))
                r.action = (enum relabel_action)k;
        r.names = str_contains(go_text(f, STR("NameValidationScheme")), STR("Legacy")) ? NAMES_LEGACY : NAMES_UTF8;
        r.target_label = go_text(f, STR("TargetLabel"));
        r.replacement = go_text(f, STR("Replacement"));
        r.separator = go_text(f, STR("Separator"));
        IGNORE_ERR(str_to_u64(go_text(f, STR("Modulus")), &r.modulus) ? OK : ERR_PARSE);
        struct err_text et = { .msg = "" };
        bool ok = relabel_validate(&r, &et) == OK;
        str want = go_text(t->items[i], STR("error_contains"));
        if (ok != is_true(conf_get(t->items[i], STR("valid"))) || (!ok && !str_contains(str_c(et.msg), want)))
            fail_msg("case %zu: %s", i, et.msg);
    }
    conf_ctx_release(&cx);
    if (!t)
        skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_do_what_they_say),
        cmocka_unit_test(bad_rules_are_refused),
        cmocka_unit_test(conformance_relabel),
        cmocka_unit_test(conformance_validate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
