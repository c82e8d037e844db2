/* model/matcher.h */
#include "test.h"

#include "model/matcher.h"

static void matchers_see_missing_labels_as_empty(void **state)
{
    (void)state;
    static const struct {
        enum match_type type;
        const char *name, *value;
        bool want;
    } rows[] = {
        { MATCH_EQ, "job", "api", true },     { MATCH_EQ, "job", "ap", false },  { MATCH_NE, "job", "web", true },
        { MATCH_RE, "job", "a.*", true },     { MATCH_RE, "job", "p", false },   { MATCH_RE, "job", "web|api", true },
        { MATCH_NRE, "job", "web|db", true }, { MATCH_EQ, "zone", "", true },    { MATCH_NE, "zone", "", false },
        { MATCH_RE, "zone", ".*", true },     { MATCH_RE, "zone", ".+", false }, { MATCH_NRE, "zone", ".+", true },
        { MATCH_RE, "zone", "", true },       { MATCH_RE, "zone", "a|", true },
    };
    struct label p[] = { { STR_INIT("job"), STR_INIT("api") } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct matcher m;
        assert_ok(matcher_init(&m, rows[i].type, str_c(rows[i].name), str_c(rows[i].value), NULL));
        if (matcher_matches_labels(&m, (struct labels){ p, 1 }) != rows[i].want)
            fail_msg("row %zu", i);
        if (strcmp(rows[i].name, "zone") == 0)
            assert_int_equal(matcher_matches_empty(&m), rows[i].want);
        matcher_deinit(&m);
    }
    struct matcher m;
    struct err_text why;
    assert_err(matcher_init(&m, MATCH_RE, STR("a"), STR("("), &why), ERR_PARSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(matchers_see_missing_labels_as_empty) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
