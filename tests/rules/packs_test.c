/* Rule packs: every alert says how urgent it is, what is the matter and what to do, and its unit tests make it fire once
 * and stay silent once. (That those tests pass is a test each: rules/meson.build.) */
#include "test.h"

#include "rules/rules_file.h"
#include "rules/rules_packs.h"

static struct {
    struct arena a;
    struct conf_ctx cx;
} w;

static int open_all(void **state)
{
    (void)state;
    arena_init(&w.a, 0);
    w.cx = conf_ctx_init(&w.a, fs_os());
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    conf_ctx_release(&w.cx);
    arena_deinit(&w.a);
    return 0;
}

static struct rule_file pack_file(size_t i)
{
    struct rule_file f;
    const struct rules_options opt = { .strict_prometheus = true };
    if (rules_file_parse(&w.cx, rules_packs[i].name, rules_packs[i].text, &opt, &f) != OK) {
        struct err_text why;
        conf_first_error(&w.cx, &why);
        fail_msg(STR_FMT ": %s", STR_ARG(rules_packs[i].name), why.msg);
    }
    return f;
}

static void each_alert(void (*check)(const struct rule_text *pack, const struct rule *r))
{
    for (size_t i = 0; i < rules_packs_n; i++) {
        struct rule_file f = pack_file(i);
        for (size_t g = 0; g < f.n_groups; g++)
            for (size_t k = 0; k < f.groups[g].n_rules; k++)
                if (f.groups[g].rules[k].alerting)
                    check(&rules_packs[i], &f.groups[g].rules[k]);
        rules_file_release(&f);
    }
}

static size_t n_alerts;

static void check_texts(const struct rule_text *pack, const struct rule *r)
{
    (void)pack;
    str severity = labels_get(r->labels, STR("severity")), summary = labels_get(r->annotations, STR("summary")),
        description = labels_get(r->annotations, STR("description")),
        url = labels_get(r->annotations, STR("runbook_url")),
        want = arena_printf(&w.a, "{{ $externalURL }}/runbook/" STR_FMT, STR_ARG(r->name));
    n_alerts++;
    if (severity.n != 2 || severity.p[0] != 'P' || severity.p[1] < '1' || severity.p[1] > '4')
        fail_msg(STR_FMT ": severity is P1 to P4", STR_ARG(r->name));
    if (!summary.n || !description.n)
        fail_msg(STR_FMT ": summary and description are needed", STR_ARG(r->name));
    if (!str_contains(summary, STR("$value")) && !str_contains(description, STR("$value")))
        fail_msg(STR_FMT ": the current value is not told", STR_ARG(r->name));
    if (!str_eq(url, want))
        fail_msg(STR_FMT ": runbook_url is not " STR_FMT, STR_ARG(r->name), STR_ARG(want));
    const struct rule_text *page = rules_runbook_find(r->name);
    if (!page)
        fail_msg("docs/runbook/" STR_FMT ".md is missing", STR_ARG(r->name));
    if (!str_has_prefix(page->text,
                        arena_printf(&w.a, "# " STR_FMT "\n\n" STR_FMT ":", STR_ARG(r->name), STR_ARG(severity))))
        fail_msg("docs/runbook/" STR_FMT ".md begins with its name and its severity " STR_FMT, STR_ARG(r->name),
                 STR_ARG(severity));
}

static void texts(void **state)
{
    (void)state;
    n_alerts = 0;
    each_alert(check_texts);
    assert_true(n_alerts >= 30);
    assert_non_null(rules_runbook_find(STR("DataAbsent")));
    assert_non_null(rules_runbook_find(STR("RuleFailing")));
    assert_int_equal(n_alerts + 2, rules_runbooks_n); /* and no page is left over */
}

/* ---- unit tests ---- */
static const struct conf_node *tests_of(str pack)
{
    struct conf_node *root;
    const char *source = getenv("VANE_SOURCE");
    str path = arena_printf(&w.a, "%s/rules/tests/" STR_FMT ".yml", source ? source : ".", STR_ARG(pack));
    if (conf_read(&w.cx, path.p, 0, &root) != OK)
        fail_msg("%s cannot be read", path.p);
    const struct conf_node *t = conf_get(root, STR("tests"));
    assert_non_null(t);
    return t;
}

static void check_tested(const struct rule_text *pack, const struct rule *r)
{
    const struct conf_node *tests = tests_of(pack->name);
    bool fires = false, silent = str_eq(r->name, STR("Watchdog"));
    for (size_t i = 0; i < tests->n; i++) {
        const struct conf_node *alerts = conf_get(tests->items[i], STR("alert_rule_test"));
        for (size_t k = 0; alerts && k < alerts->n; k++) {
            const struct conf_node *name = conf_get(alerts->items[k], STR("alertname")),
                                   *exp = conf_get(alerts->items[k], STR("exp_alerts"));
            if (!name || !str_eq(name->text, r->name))
                continue;
            fires |= exp && exp->n > 0;
            silent |= !exp || exp->n == 0;
        }
    }
    if (!fires || !silent)
        fail_msg(STR_FMT ": no unit test in which it %s", STR_ARG(r->name), fires ? "stays silent" : "fires");
}

static void tested(void **state)
{
    (void)state;
    each_alert(check_tested);
}

static void found_by_name(void **state)
{
    (void)state;
    assert_null(rules_pack_find(STR("availabilit")));
    assert_non_null(rules_pack_find(STR("availability")));
    assert_string_equal(arena_cstr(&w.a, rules_pack_nearest(STR("avialability"))), "availability");
    for (size_t i = 1; i < rules_packs_n; i++)
        assert_true(str_cmp(rules_packs[i - 1].name, rules_packs[i].name) < 0);
    for (size_t i = 0; i < rules_runbooks_n; i++)
        assert_ptr_equal(rules_runbook_find(rules_runbooks[i].name), &rules_runbooks[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(texts), cmocka_unit_test(tested),
                                        cmocka_unit_test(found_by_name) };
    return cmocka_run_group_tests_name("rules/packs", tests, open_all, close_all);
}
