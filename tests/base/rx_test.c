/* base/rx.h: anchoring, Go's spellings, literal sets, prefixes, templates. */
#include "test.h"

#include "base/rx.h"

static bool matches(const char *pattern, const char *text)
{
    struct rx *rx;
    struct err_text why;
    enum err e = rx_compile(str_c(pattern), true, &rx, &why);
    if (e)
        fail_msg("%s: %s", pattern, why.msg);
    bool yes = rx_match(rx, str_c(text));
    rx_free(rx);
    return yes;
}

static void anchored_at_both_ends(void **state)
{
    (void)state;
    assert_true(matches("a|bc", "a"));
    assert_true(matches("a|bc", "bc"));
    assert_false(matches("a|bc", "abc"));
    assert_false(matches("b", "abc"));
    assert_true(matches(".*", "a\nb"));
    assert_true(matches("", ""));
    assert_false(matches("", "x"));
    assert_true(matches("(?<name>a+)b", "aab"));
    assert_true(matches("[(?<]x", "(x"));
    assert_true(matches("(?i)GET", "get"));
}

static void bad_patterns_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "(", "a**", "[", "\\C", "(?=x)", "\\1", "a{1001}" };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct rx *rx = NULL;
        struct err_text why = { 0 };
        if (rx_compile(str_c(bad[i]), true, &rx, &why) == OK)
            fail_msg("%s was accepted", bad[i]);
        assert_true(why.msg[0]);
    }
}

static void sets_and_prefixes_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *set; /* '|'-joined, NULL: not a set */
        const char *prefix;
    } rows[] = {
        { "GET|POST", "GET|POST", "" },
        { "api", "api", "api" },
        { "(a|b)-[1-3]", "a-1|a-2|a-3|b-1|b-2|b-3", NULL },
        { "ab?c", "abc|ac", NULL },
        { "10\\.0\\.0\\.1", "10.0.0.1", NULL },
        { "x|", "x|", NULL },
        { "node_.*", NULL, "node_" },
        { "a.b", NULL, "a" },
        { "(?i)abc", NULL, NULL },
        { "a+", NULL, "a" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rx *rx;
        assert_ok(rx_compile(str_c(rows[i].pattern), true, &rx, NULL));
        const struct rx_info *info = rx_info(rx);
        if (!rows[i].set) {
            assert_int_equal(info->n_set, 0);
        } else {
            AUTO_BUF struct buf b = { 0 };
            for (size_t k = 0; k < info->n_set; k++) {
                if (k)
                    buf_u8(&b, '|');
                buf_str_add(&b, info->set[k]);
                assert_true(rx_match(rx, info->set[k]));
            }
            assert_str(buf_str(&b), rows[i].set);
        }
        if (rows[i].prefix)
            assert_str(info->prefix, rows[i].prefix);
        rx_free(rx);
    }
}

static void templates_expand(void **state)
{
    (void)state;
    struct rx *rx;
    assert_ok(rx_compile(STR("(?P<first>\\w+)-(\\w+)(-(x))?"), true, &rx, NULL));
    str groups[5];
    assert_int_equal(rx_n_groups(rx), 4);
    assert_str(rx_group_name(rx, 1), "first");
    assert_true(rx_find(rx, STR("ab-cd"), 0, groups, 5));
    static const char *const rows[][2] = {
        { "$1", "ab" },  { "${2}x", "cdx" }, { "$2x", "" },        { "$first.$2", "ab.cd" },
        { "$$1", "$1" }, { "a$", "a$" },     { "${first}", "ab" }, { "${4}", "" },
        { "$9", "" },    { "${", "${" },     { "$-", "$-" },       { "$0", "ab-cd" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_BUF struct buf b = { 0 };
        rx_expand(rx, str_c(rows[i][0]), groups, 5, &b);
        assert_str(buf_str(&b), rows[i][1]);
    }
    rx_free(rx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(anchored_at_both_ends),
        cmocka_unit_test(bad_patterns_are_refused),
        cmocka_unit_test(sets_and_prefixes_are_found),
        cmocka_unit_test(templates_expand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
