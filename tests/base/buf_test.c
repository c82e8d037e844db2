/* base/buf.h, base/rd.h */
#include "test.h"

#include "base/os.h"
#include "base/rd.h"

static void varints_round_trip(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = { 0 };
    struct rng r = { 1 };
    uint64_t want[500];
    for (size_t i = 0; i < 500; i++) {
        want[i] = rng_next(&r) >> rng_below(&r, 64);
        buf_uvarint(&b, want[i]);
        buf_svarint(&b, (int64_t)want[i]);
    }
    struct rd rd = rd_init(buf_str(&b));
    for (size_t i = 0; i < 500; i++) {
        assert_true(rd_uvarint(&rd) == want[i]);
        assert_true((uint64_t)rd_svarint(&rd) == want[i]);
    }
    assert_true(rd_end(&rd));
}

static void reading_past_the_end_sticks(void **state)
{
    (void)state;
    struct rd r = rd_init(STR("\x01\x02\x03"));
    assert_int_equal(rd_u32(&r), 0);
    assert_false(rd_ok(&r));
    assert_int_equal(rd_u8(&r), 0);
    assert_false(rd_end(&r));
    r = rd_init(STR("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02")); /* more than 64 bits */
    rd_uvarint(&r);
    assert_false(rd_ok(&r));
    r = rd_init(STR("\x80")); /* cut */
    rd_uvarint(&r);
    assert_false(rd_ok(&r));
    r = rd_init(STR("\x05"
                    "ab"));
    assert_null(rd_lstr(&r).p);
    assert_false(rd_ok(&r));
}

static void the_limit_sticks(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    buf_lit(&b, "12345678");
    assert_false(b.failed);
    buf_lit(&b, "90a");
    assert_true(b.failed);
    buf_lit(&b, "x");
    assert_int_equal(b.n, 8);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_round_trip),
        cmocka_unit_test(reading_past_the_end_sticks),
        cmocka_unit_test(the_limit_sticks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
