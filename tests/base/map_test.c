/* base/map.h against an array as the model. */
#include "test.h"

#include "base/hash.h"
#include "base/os.h"

#define MAP_NAME     u64map
#define MAP_KEY      uint64_t
#define MAP_VALUE    uint64_t
#define MAP_HASH(k)  hash_u64(k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

/* A hash with few values: long probe runs and deletions inside them. */
#define MAP_NAME     badmap
#define MAP_KEY      uint64_t
#define MAP_VALUE    uint64_t
#define MAP_HASH(k)  ((k) % 5)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

enum { KEYS = 300, STEPS = 60000 };

#define MODEL_TEST(MAP)                                             \
    static void MAP##_agrees_with_a_model(void **state)             \
    {                                                               \
        (void)state;                                                \
        struct MAP m = { 0 };                                       \
        uint64_t model[KEYS] = { 0 };                               \
        size_t n = 0;                                               \
        struct rng r = { 42 };                                      \
        for (int i = 0; i < STEPS; i++) {                           \
            uint64_t k = rng_below(&r, KEYS), v = rng_next(&r) | 1; \
            switch (rng_below(&r, 3)) {                             \
            case 0: {                                               \
                bool fresh;                                         \
                *MAP##_put(&m, k, &fresh) = v;                      \
                assert_int_equal(fresh, model[k] == 0);             \
                n += fresh;                                         \
                model[k] = v;                                       \
                break;                                              \
            }                                                       \
            case 1:                                                 \
                assert_int_equal(MAP##_del(&m, k), model[k] != 0);  \
                n -= model[k] != 0;                                 \
                model[k] = 0;                                       \
                break;                                              \
            default: {                                              \
                uint64_t *got = MAP##_get(&m, k);                   \
                assert_int_equal(got ? *got : 0, model[k]);         \
            }                                                       \
            }                                                       \
            assert_int_equal(m.n, n);                               \
        }                                                           \
        size_t seen = 0;                                            \
        map_each (MAP, s, &m) {                                     \
            assert_int_equal(s->value, model[s->key]);              \
            seen++;                                                 \
        }                                                           \
        assert_int_equal(seen, n);                                  \
        MAP##_free(&m);                                             \
    }
MODEL_TEST(u64map)
MODEL_TEST(badmap)

static void crc32c_has_the_known_answer(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, STR("123456789")), 0xe3069283u); /* RFC 3720, B.4 */
    assert_int_equal(crc32c(crc32c(0, STR("1234")), STR("56789")), 0xe3069283u);
    assert_int_equal(crc32c(0, STR("")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(u64map_agrees_with_a_model),
        cmocka_unit_test(badmap_agrees_with_a_model),
        cmocka_unit_test(crc32c_has_the_known_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
