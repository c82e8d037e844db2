/* base/str.h */
#include "test.h"

static void cut_splits_at_each_separator(void **state)
{
    (void)state;
    str rest = STR("a,,b"), head;
    assert_true(str_cut(&rest, ',', &head));
    assert_str(head, "a");
    assert_true(str_cut(&rest, ',', &head));
    assert_str(head, "");
    assert_true(str_cut(&rest, ',', &head));
    assert_str(head, "b");
    assert_false(str_cut(&rest, ',', &head));
}

static void integers_are_whole_and_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        bool ok;
        int64_t want;
    } rows[] = {
        { "0", true, 0 },
        { "-1", true, -1 },
        { "+7", true, 7 },
        { "9223372036854775807", true, INT64_MAX },
        { "-9223372036854775808", true, INT64_MIN },
        { "9223372036854775808", false, 0 },
        { "", false, 0 },
        { "-", false, 0 },
        { "1x", false, 0 },
        { " 1", false, 0 },
        { "99999999999999999999999", false, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t got = 0;
        assert_int_equal(str_to_i64(str_c(rows[i].in), &got), rows[i].ok);
        assert_int_equal(got, rows[i].want);
    }
}

static void utf8_follows_rfc_3629(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t n, valid;
    } rows[] = {
        { "abc", 3, 3 },
        { "\xc3\xa9", 2, 2 },
        { "\xe2\x82\xac", 3, 3 },
        { "\xf0\x9f\x98\x80", 4, 4 },
        { "a\xc0\x80", 3, 1 },        /* overlong */
        { "\xed\xa0\x80", 3, 0 },     /* surrogate */
        { "\xf4\x90\x80\x80", 4, 0 }, /* beyond U+10FFFF */
        { "12345678\xff", 9, 8 },
        { "\xe2\x82", 2, 0 }, /* cut */
        { "0123456789abcde\xc3\xa9", 17, 17 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(str_utf8_valid_len(str_n(rows[i].in, rows[i].n)), rows[i].valid);
    for (uint32_t cp = 0; cp <= 0x10ffff; cp += cp < 0x3000 ? 1 : 97) {
        if (cp >= 0xd800 && cp < 0xe000)
            continue;
        char b[4];
        uint32_t back;
        size_t n = str_utf8_put(b, cp);
        assert_int_equal(str_utf8_get(str_n(b, n), &back), n);
        assert_int_equal(back, cp);
    }
}

static void nearest_finds_typos_only(void **state)
{
    (void)state;
    static const str keys[] = { STR_INIT("scrape_interval"), STR_INIT("scrape_timeout"), STR_INIT("job_name") };
    assert_str(str_nearest(STR("scrape_intervall"), keys, 3), "scrape_interval");
    assert_str(str_nearest(STR("jobname"), keys, 3), "job_name");
    assert_str(str_nearest(STR("jbo_name"), keys, 3), "job_name");
    assert_null(str_nearest(STR("zzz"), keys, 3).p);
    assert_int_equal(str_distance(STR("ab"), STR("ba")), 1);
    assert_int_equal(str_distance(STR(""), STR("abc")), 3);
}

static void find_and_trim(void **state)
{
    (void)state;
    assert_int_equal(str_find(STR("hello"), STR("ll")), 2);
    assert_true(str_find(STR("hello"), STR("x")) == SIZE_MAX);
    assert_int_equal(str_find(STR(""), STR("")), 0);
    assert_str(str_trim(STR(" \t a b \n")), "a b");
    assert_true(str_ieq(STR("GZip"), STR("gzIP")));
    assert_true(str_cmp(STR("a"), STR("aa")) < 0 && str_cmp(STR("b"), STR("aa")) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cut_splits_at_each_separator),
        cmocka_unit_test(integers_are_whole_and_bounded),
        cmocka_unit_test(utf8_follows_rfc_3629),
        cmocka_unit_test(nearest_finds_typos_only),
        cmocka_unit_test(find_and_trim),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
