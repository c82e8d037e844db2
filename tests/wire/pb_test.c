/* wire/pb.h: wire types, bounds, packed and unpacked, nested lengths. */
#include "wire_test.h"

#include "wire/pb.h"

static void varints_at_their_limits(void **state)
{
    (void)state;
    static const uint64_t values[] = { 0, 1, 127, 128, 16383, 16384, UINT32_MAX, 1ull << 63, UINT64_MAX };
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        pb_put_varint(&b, 5, values[i]);
        struct pb m = pb_init(buf_str(&b));
        assert_true(pb_next(&m));
        assert_int_equal(m.field, 5);
        assert_true(pb_varint(&m) == values[i]);
        assert_false(pb_next(&m));
        assert_false(m.bad);
        for (size_t n = 0; n < b.n; n++) { /* every truncation fails, none reads past the end */
            struct pb cut = pb_init(str_take(buf_str(&b), n));
            if (pb_next(&cut))
                pb_varint(&cut);
            assert_true(n == 0 || cut.bad);
        }
    }
    struct pb eleven = pb_init(STR("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"));
    assert_true(pb_next(&eleven));
    pb_varint(&eleven);
    assert_true(eleven.bad);
}

static void wrong_wire_types_fail(void **state)
{
    (void)state;
    static const str in[] = { STR_INIT("\x08\x01"), STR_INIT("\x09\x01\x02\x03\x04\x05\x06\x07\x08"),
                              STR_INIT("\x0a\x00"), STR_INIT("\x0d\x01\x02\x03\x04") };
    for (size_t i = 0; i < ARRAY_LEN(in); i++)
        for (int how = 0; how < 4; how++) {
            struct pb m = pb_init(in[i]);
            assert_true(pb_next(&m));
            if (how == 0)
                pb_varint(&m);
            else if (how == 1)
                pb_fixed64(&m);
            else if (how == 2)
                pb_bytes(&m);
            else
                pb_fixed32(&m);
            assert_int_equal(m.bad, (int)i != how);
            struct pb skipped = pb_init(in[i]);
            assert_true(pb_next(&skipped));
            pb_skip(&skipped);
            assert_false(pb_next(&skipped));
            assert_false(skipped.bad);
        }
    static const str refused[] = { STR_INIT("\x0b"), STR_INIT("\x0c"), STR_INIT("\x0e"), STR_INIT("\x00"),
                                   STR_INIT("\x0a\x02x") };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) { /* groups, unknown types, field 0, too long */
        struct pb m = pb_init(refused[i]);
        if (pb_next(&m))
            pb_skip(&m);
        assert_true(m.bad);
    }
}

static void packed_or_not(void **state)
{
    (void)state;
    static const str in[] = { STR_INIT("\x0a\x03\x01\x02\x03"), STR_INIT("\x08\x01\x08\x02\x08\x03") };
    for (size_t i = 0; i < ARRAY_LEN(in); i++) {
        struct pb m = pb_init(in[i]);
        uint64_t want = 1;
        while (pb_next(&m)) {
            struct pb v = pb_packed(&m, PB_VARINT);
            while (v.p < v.end)
                assert_true(pb_varint_raw(&v) == want++);
            pb_join(&m, &v);
        }
        assert_false(m.bad);
        assert_int_equal(want, 4);
    }
    struct pb cut = pb_init(STR("\x0a\x02\x01\x80"));
    assert_true(pb_next(&cut));
    struct pb v = pb_packed(&cut, PB_VARINT);
    while (v.p < v.end)
        pb_varint_raw(&v);
    pb_join(&cut, &v);
    assert_true(cut.bad);
    assert_int_equal(cut.bad_at - cut.start, 3);
}

static void nested_lengths_of_any_size(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, 120, 127, 128, 16379, 16384, 3000000 };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        size_t outer = pb_open(&b, 1), inner = pb_open(&b, 2);
        for (size_t k = 0; k < sizes[i]; k++)
            buf_u8(&b, (uint8_t)(k * 7));
        pb_close(&b, inner);
        pb_put_varint(&b, 3, 9);
        pb_close(&b, outer);
        struct pb m = pb_init(buf_str(&b));
        assert_true(pb_next(&m));
        struct pb o = pb_sub(&m);
        assert_false(pb_next(&m));
        assert_true(pb_next(&o));
        str body = pb_bytes(&o);
        assert_int_equal(body.n, sizes[i]);
        for (size_t k = 0; k < body.n; k++)
            assert_true((uint8_t)body.p[k] == (uint8_t)(k * 7));
        assert_true(pb_next(&o));
        assert_int_equal(pb_varint(&o), 9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_at_their_limits),
        cmocka_unit_test(wrong_wire_types_fail),
        cmocka_unit_test(packed_or_not),
        cmocka_unit_test(nested_lengths_of_any_size),
    };
    return cmocka_run_group_tests_name("wire/pb", tests, NULL, NULL);
}
