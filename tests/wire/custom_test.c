/* wire/custom.h: rows of accepted and refused bodies. */
#include "wire_test.h"

#include "wire/custom.h"

static void rows(void **state)
{
    (void)state;
    static const struct {
        const char *in, *want;
    } rows[] = {
        { "{\"name\":\"m\",\"value\":1.5}", "m 1.5 @5\n" },
        { "{\"name\":\"m\",\"value\":1,\"labels\":{\"b\":\"2\",\"a\":1,\"c\":true,\"d\":null,\"e\":\"\"},"
          "\"timestamp\":1700000000}",
          "m{a=\"1\", b=\"2\", c=\"true\"} 1 @1700000000000\n" },
        { "[{\"name\":\"m\",\"value\":1,\"timestamp\":1700000000.25},{\"name\":\"n.x\",\"value\":\"NaN\","
          "\"timestamp\":1700000000123}]",
          "m 1 @1700000000250\n{\"n.x\"} NaN @1700000000123\n" },
        { "{\"value\":-2e3,\"name\":\"m\",\"timestamp\":\"2023-11-14T22:13:20Z\",\"type\":\"counter\","
          "\"help\":\"h\"}",
          "m -2000 @1700000000000\n" },
        { "{\"name\":\"m\",\"value\":1,\"timestamp\":null,\"labels\":null}", "m 1 @5\n" },
        { "[]", "" },
        { "5", "JSON line 1, column 2: an object or an array of objects expected" },
        { "", "JSON line 1, column 1: empty document" },
        { "{\"name\":\"m\"}", "JSON line 1, column 13: value is missing" },
        { "{\"value\":1}", "JSON line 1, column 12: name is missing" },
        { "[{\"name\":\"m\",\"value\":1},\n {\"name\":\"m\",\"value\":\"x\"}]",
          "JSON line 2, column 25: element 1: value: a number expected" },
        { "{\"name\":5}", "JSON line 1, column 10: name: a string expected" },
        { "{\"name\":\"m\",\"value\":1,\"lables\":{}}",
          "JSON line 1, column 32: unknown field \"lables\", did you mean \"labels\"?" },
        { "{\"name\":\"m\",\"value\":1,\"zzzzzzzzz\":{}}", "JSON line 1, column 35: unknown field \"zzzzzzzzz\"" },
        { "{\"name\":\"m\",\"name\":\"m\"}", "JSON line 1, column 20: name: given twice" },
        { "{\"name\":\"m\",\"value\":1,\"labels\":{\"a\":[]}}", "JSON line 1, column 38: labels.a: a string expected" },
        { "{\"name\":\"m\",\"value\":1,\"labels\":[]}", "JSON line 1, column 33: labels: an object expected" },
        { "{\"name\":\"m\",\"value\":1,\"labels\":{\"__name__\":\"x\"}}",
          "JSON line 1, column 47: labels: \"__name__\" cannot be a label name here" },
        { "{\"name\":\"m\",\"value\":1,\"timestamp\":\"soon\"}",
          "JSON line 1, column 41: timestamp: Unix seconds, Unix milliseconds or RFC 3339 text expected" },
        { "{\"name\":\"m\",\"value\":1,\"timestamp\":1e300}", "JSON line 1, column 40: timestamp: out of range" },
        { "{\"name\":\"m\",\"value\":1} {}", "JSON line 1, column 24: unexpected data after the document" },
        { "[{\"name\":\"m\",\"value\":1},5]", "JSON line 1, column 26: element 1: an object expected" },
        { "{\"name\":\"m\",\"value\":1,", "JSON line 1, column 23: unexpected end of document" },
        { "{\"name\":\"m\",\"value\":1,\"type\":\"gouge\"}",
          "JSON line 1, column 37: type: counter, gauge, histogram, summary or unknown expected" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct batch b;
        struct err_text why;
        enum err e = custom_decode(&a, str_c(rows[i].in), 5, &WIRE_LIMITS_DEFAULT, &b, &why);
        assert_str(e == OK ? batch_text(&a, &b) : str_c(why.msg), rows[i].want);
    }
}

static void limits(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct wire_limits lim = WIRE_LIMITS_DEFAULT;
    struct batch b;
    struct err_text why;
    lim.labels_max = 2;
    str two = STR("{\"name\":\"m\",\"value\":1,\"labels\":{\"a\":\"1\",\"b\":\"2\"}}");
    assert_err(custom_decode(&a, two, 5, &lim, &b, &why), ERR_PARSE);
    lim.labels_max = 3;
    assert_ok(custom_decode(&a, two, 5, &lim, &b, &why));
    lim.label_value_bytes_max = 0;
    assert_err(custom_decode(&a, two, 5, &lim, &b, &why), ERR_PARSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rows), cmocka_unit_test(limits) };
    return cmocka_run_group_tests_name("wire/custom", tests, NULL, NULL);
}
