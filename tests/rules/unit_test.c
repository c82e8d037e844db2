/* rules/rules_unit.h: the unit-test files of the conformance suite pass or fail as promtool judges them. */
#include "conformance.h"
#include "json_doc.h"
#include "test.h"

#include "rules/rules_unit.h"

static void index_file(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text = conformance_file(&a, "rules/unittests/index.json");
    const char *dir = getenv("VANE_CONFORMANCE");
    if (!text.p)
        skip();
    struct jt rows = jt_parse(&a, text);
    size_t wrong = 0, n = 0;
    jt_each(row, &rows)
    {
        AUTO_BUF struct buf report;
        const struct rules_unit_options opt = { .features = PROMQL_ALL };
        size_t n_tests;
        buf_init(&report, 0);
        const char *path = arena_printf(&a, "%s/rules/unittests/" STR_FMT, dir, STR_ARG(jt_str(row, "test_file"))).p;
        bool passed = rules_unit_run(path, &opt, &report, &n_tests) == OK;
        n++;
        if (passed == (jt_int(row, "expect_exit") == 0))
            continue;
        wrong++;
        print_error("%s: %s\n" STR_FMT "\n", path, passed ? "passed" : "failed",
                    STR_ARG(str_take(buf_str(&report), 6000)));
    }
    assert_true(n > 5);
    if (wrong)
        fail_msg("%zu of %zu files are wrong", wrong, n);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(index_file) };
    return cmocka_run_group_tests_name("rules/unit", tests, NULL, NULL);
}
