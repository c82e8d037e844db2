/* base/json.h: the writer's text, the reader's tokens and refusals, and one against the other. */
#include <math.h>

#include "test.h"

#include "base/json.h"
#include "base/os.h"

static void writer_keeps_commas(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = { 0 };
    struct json_out j = json_out_init(&b);
    json_obj(&j);
    json_kstr(&j, "a", STR("x\"\\\n\x01<\xe2\x80\xa8\xc3\xa9\xff"));
    json_key(&j, STR("b"));
    json_arr(&j);
    json_i64(&j, -5);
    json_u64(&j, UINT64_MAX);
    json_f64(&j, 0.5);
    json_f64_str(&j, 1e6);
    json_ms_as_s(&j, 1435781430781);
    json_ms_as_s(&j, -1500);
    json_bool(&j, true);
    json_put_null(&j);
    json_arr(&j);
    json_arr_end(&j);
    json_arr_end(&j);
    json_kbool(&j, "c", false);
    json_obj_end(&j);
    assert_str(buf_str(&b),
               "{\"a\":\"x\\\"\\\\\\n\\u0001\\u003c\\u2028\xc3\xa9\\ufffd\",\"b\":[-5,18446744073709551615,0.5,"
               "\"1000000\",1435781430.781,-1.500,true,null,[]],\"c\":false}");
}

/* Texts that are remembered are those that would be written anew. */
static void samples_are_written_as_single_values(void **state)
{
    (void)state;
    static const double values[] = { 1, 1, 0.1, -0.0, 0.0, 1e300, 1e300, NAN, INFINITY, -INFINITY, 123456.789, 2 };
    AUTO_FREE struct json_samples *seen = mem_zalloc(sizeof(*seen));
    AUTO_BUF struct buf fast = { 0 }, plain = { 0 };
    struct json_out x = json_out_init(&fast), y = json_out_init(&plain);
    json_arr(&x);
    json_arr(&y);
    for (size_t i = 0; i < 3000; i++) { /* places are met again, with the same time and with others */
        int64_t ts_ms = (int64_t)(i % 700) * 500 - 1500 + (i > 2000 ? 7 : 0);
        double v = values[i * i % ARRAY_LEN(values)];
        json_sample(&x, seen, i % 700, ts_ms, v);
        json_arr(&y);
        json_ms_as_s(&y, ts_ms);
        json_f64_str(&y, v);
        json_arr_end(&y);
    }
    json_arr_end(&x);
    json_arr_end(&y);
    assert_true(str_eq(buf_str(&fast), buf_str(&plain)));
}

static const char *read_all(str text, struct err_text *why)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct json_in j;
    json_in_init(&j, &a, text);
    enum json_tok t;
    while ((t = json_next(&j)) != JSON_TOK_END)
        if (t == JSON_TOK_ERR) {
            assert_err(json_fail(&j, why), ERR_PARSE);
            return j.error;
        }
    return NULL;
}

static void reader_accepts_and_refuses(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{}", "[]",    " [1, 2.5e-3, -0, true, null, \"\"] ", "\"\\u00e9\\ud83d\\ude00\\/\"", "{\"a\":{\"b\":[{}]}}",
        "0",  "-1E+2",
    };
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "[1",
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "[01]",
        "[1.]",
        "[.5]",
        "[1e]",
        "[+1]",
        "\"\\x\"",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
        "\"\\udc00\"",
        "\"a\nb\"",
        "\"abc",
        "[1] 2",
        "{\"a\" 1}",
        "{\"a\":}",
        "[}",
        "{]",
        "tru",
        "nan",
        "[1 2]",
        "\"\xff\"",
        "\"\\u12g4\"",
        "]",
        "\"\\",
        ",",
    };
    struct err_text why;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        const char *e = read_all(str_c(good[i]), &why);
        if (e)
            fail_msg("%s: %s", good[i], e);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (!read_all(str_c(bad[i]), &why))
            fail_msg("%s was accepted", bad[i]);
    assert_non_null(read_all(STR("[1,\n  x]"), &why));
    assert_non_null(strstr(why.msg, "line 2, column 3"));
    char deep[200];
    memset(deep, '[', sizeof(deep));
    assert_non_null(read_all(str_n(deep, sizeof(deep)), &why));
}

static void strings_round_trip(void **state)
{
    (void)state;
    struct rng r = { 3 };
    for (int i = 0; i < 5000; i++) {
        char text[80];
        size_t n = 0;
        while (n < 60) {
            uint32_t cp = (uint32_t)rng_below(&r, rng_below(&r, 3) ? 0x80 : 0x11000);
            if (cp < 0xd800 || cp >= 0xe000)
                n += str_utf8_put(text + n, cp);
            if (rng_below(&r, 20) == 0)
                break;
        }
        AUTO_BUF struct buf b = { 0 };
        json_escape(&b, str_n(text, n));
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct json_in j;
        json_in_init(&j, &a, buf_str(&b));
        assert_int_equal(json_next(&j), JSON_TOK_STR);
        assert_true(str_eq(j.text, str_n(text, n)));
        assert_int_equal(json_next(&j), JSON_TOK_END);
    }
}

static void skip_passes_whole_values(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct json_in j;
    json_in_init(&j, &a, STR("{\"x\":[1,{\"y\":[]}],\"z\":7}"));
    assert_int_equal(json_next(&j), JSON_TOK_OBJ);
    assert_int_equal(json_next(&j), JSON_TOK_KEY);
    assert_true(json_skip(&j));
    assert_int_equal(json_next(&j), JSON_TOK_KEY);
    assert_str(j.text, "z");
    assert_int_equal(json_next(&j), JSON_TOK_NUM);
    assert_true(json_skip(&j));
    assert_int_equal(json_next(&j), JSON_TOK_OBJ_END);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writer_keeps_commas),        cmocka_unit_test(samples_are_written_as_single_values),
        cmocka_unit_test(reader_accepts_and_refuses), cmocka_unit_test(strings_round_trip),
        cmocka_unit_test(skip_passes_whole_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
