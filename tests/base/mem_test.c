/* base/mem.h, base/vec.h */
#include "test.h"

#include "base/vec.h"

static void arena_keeps_pieces_apart(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    char *p[500];
    for (size_t i = 0; i < 500; i++) {
        size_t n = i % 7 == 0 ? 40000 : i + 1;
        p[i] = arena_alloc(&a, n);
        assert_int_equal((uintptr_t)p[i] % 16, 0);
        memset(p[i], (int)(i & 0xff), n);
    }
    for (size_t i = 0; i < 500; i++)
        for (size_t k = 0; k < (i % 7 == 0 ? 40000 : i + 1); k += 97)
            assert_int_equal((unsigned char)p[i][k], i & 0xff);
    arena_deinit(&a);
}

static void arena_says_when_it_is_over(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 100000);
    arena_alloc(&a, 10);
    assert_false(arena_over(&a));
    arena_alloc(&a, 200000);
    assert_true(arena_over(&a));
    arena_deinit(&a);
    assert_false(arena_over(&a));
}

static void arena_reset_reuses(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 100; i++)
            memset(arena_alloc(&a, 1000), 1, 1000);
        arena_reset(&a);
        assert_true(a.bytes < 400000);
    }
    arena_deinit(&a);
}

static void strings_are_terminated(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    str s = arena_printf(&a, "%d-%s", 7, "x");
    assert_str(s, "7-x");
    assert_int_equal(s.p[s.n], 0);
    s = arena_str(&a, STR("abc"));
    assert_string_equal(s.p, "abc");
    arena_deinit(&a);
}

static void vec_pushes_and_removes(void **state)
{
    (void)state;
    VEC(int) v = { 0 };
    for (int i = 0; i < 1000; i++)
        vec_push(&v, i);
    assert_int_equal(v.n, 1000);
    vec_remove(&v, 0);
    assert_int_equal(v.p[0], 1);
    vec_remove_swap(&v, 0);
    assert_int_equal(v.p[0], 999);
    int sum = 0;
    vec_each (int, x, &v)
        sum += *x;
    assert_int_equal(sum, 999 * 1000 / 2 - 1);
    vec_free(&v);
    assert_null(v.p);
    struct arena a;
    arena_init(&a, 0);
    for (int i = 0; i < 1000; i++)
        avec_push(&a, &v, i);
    assert_int_equal(v.p[999], 999);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_keeps_pieces_apart), cmocka_unit_test(arena_says_when_it_is_over),
        cmocka_unit_test(arena_reset_reuses),       cmocka_unit_test(strings_are_terminated),
        cmocka_unit_test(vec_pushes_and_removes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
