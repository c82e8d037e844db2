/* rules/rules_file.h: the rule files of the conformance suite, good and bad, and our own. */
#include "conformance.h"
#include "json_doc.h"
#include "test.h"

#include "rules/rules_file.h"

static void index_file(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text = conformance_file(&a, "rules/index.json");
    if (!text.p)
        skip();
    struct jt rows = jt_parse(&a, text);
    size_t wrong = 0, n = 0;
    jt_each(row, &rows)
    {
        AUTO_ARENA struct arena fa;
        arena_init(&fa, 0);
        struct conf_ctx cx = conf_ctx_init(&fa, fs_os());
        struct rules_options opt = { .features = PROMQL_ALL,
                                     .legacy_names = str_eq(jt_str(row, "name_validation_scheme"), STR("legacy")) };
        struct rule_file f;
        str yaml = conformance_file(&fa, arena_printf(&fa, "rules/" STR_FMT, STR_ARG(jt_str(row, "file"))).p);
        if (!yaml.p)
            continue;
        n++;
        bool ok = rules_file_parse(&cx, jt_str(row, "file"), yaml, &opt, &f) == OK;
        AUTO_BUF struct buf diags;
        buf_init(&diags, 0);
        conf_diags_print(&diags, &cx);
        bool good = ok == jt_true(row, "valid");
        if (good && !ok && jt_str(row, "error_contains").n)
            good = str_contains(buf_str(&diags), jt_str(row, "error_contains"));
        size_t alerts = 0, records = 0;
        for (size_t g = 0; ok && g < f.n_groups; g++)
            for (size_t i = 0; i < f.groups[g].n_rules; i++) {
                alerts += f.groups[g].rules[i].alerting;
                records += !f.groups[g].rules[i].alerting;
            }
        if (good && ok && jt_has(row, "groups"))
            good = (int64_t)f.n_groups == jt_int(row, "groups") && (int64_t)alerts == jt_int(row, "alerting_rules") &&
                   (int64_t)records == jt_int(row, "recording_rules");
        if (!good) {
            wrong++;
            print_error(STR_FMT ": %s, groups %zu alerts %zu records %zu\n" STR_FMT "\n", STR_ARG(jt_str(row, "file")),
                        ok ? "accepted" : "refused", ok ? f.n_groups : 0, alerts, records, STR_ARG(buf_str(&diags)));
        }
        rules_file_release(&f);
        conf_ctx_release(&cx);
    }
    assert_true(n > 50);
    if (wrong)
        fail_msg("%zu of %zu files are wrong", wrong, n);
}

static void expect(const char *yaml, const char *error)
{
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf diags;
    arena_init(&a, 0);
    buf_init(&diags, 0);
    struct conf_ctx cx = conf_ctx_init(&a, fs_os());
    struct rules_options opt = { .features = PROMQL_ALL };
    struct rule_file f;
    bool ok = rules_file_parse(&cx, STR("r.yml"), str_c(yaml), &opt, &f) == OK;
    conf_diags_print(&diags, &cx);
    if (ok != (error == NULL) || (error && !str_contains(buf_str(&diags), str_c(error))))
        fail_msg("%s\ngave %s: " STR_FMT, yaml, ok ? "no error" : "an error", STR_ARG(buf_str(&diags)));
    rules_file_release(&f);
    conf_ctx_release(&cx);
}

#define RULE(body) "groups:\n- name: g\n  rules:\n  - " body

static void errors(void **state)
{
    (void)state;
    expect(RULE("{alert: A, expr: up, labels: {__name__: x}}"), "invalid label name: __name__");
    expect(RULE("{alert: A, record: b, expr: up}"), "only one of 'record' and 'alert' must be set");
    expect(RULE("{expr: up}"), "one of 'record' or 'alert' must be set");
    expect(RULE("{alert: A, expr: 'up =='}"), "r.yml:4:");
    expect(RULE("{alert: A, expr: up, foor: 1m}"), "did you mean \"for\"");
    expect(RULE("{alert: A, expr: up, for: 5x}"), "r.yml:4:");
    expect(RULE("{record: a, expr: up, keep_firing_for: 1m}"), "invalid field 'keep_firing_for' in recording rule");
    expect(RULE("{alert: A, expr: up, annotations: {x: '{{ $nope }}'}}"), "undefined variable");
    expect(RULE("{alert: A, expr: 'up[5m]'}"), "no vector");
    expect("groups:\n- rules: []\n", "Groupname must not be empty");
    expect("groups:\n- name: g\n  limit: -1\n", "r.yml:3:");
    expect("", NULL);
    expect(RULE("{alert: A, expr: up, labels: {severity: 1}, annotations: {a: '{{ $value }}'}}"), NULL);
}

static void duplicates(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct conf_ctx cx = conf_ctx_init(&a, fs_os());
    struct rules_options opt = { 0 };
    struct rule_file f;
    struct rule_duplicate *d;
    assert_ok(rules_file_parse(
        &cx, STR("r.yml"),
        STR("groups:\n- name: g\n  labels: {team: a}\n  rules:\n  - {record: x, expr: up}\n  - {record: x, expr: up}\n"
            "  - {record: x, expr: up, labels: {team: b}}\n"),
        &opt, &f));
    assert_int_equal(rules_file_duplicates(&a, &f, &d), 1);
    assert_int_equal(d->rule->line, 6);
    assert_str(labels_get(f.groups[0].rules[0].labels, STR("team")), "a");
    assert_str(labels_get(f.groups[0].rules[2].labels, STR("team")), "b");
    rules_file_release(&f);
    conf_ctx_release(&cx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(index_file), cmocka_unit_test(errors),
                                        cmocka_unit_test(duplicates) };
    return cmocka_run_group_tests_name("rules/file", tests, NULL, NULL);
}
