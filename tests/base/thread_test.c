/* base/thread.h: the pool, parallel loops (nested too), and epochs under stress. */
#include "test.h"

#include "base/mem.h"
#include "base/os.h"
#include "base/thread.h"

static void count_one(void *ctx)
{
    atomic_fetch_add((atomic_int *)ctx, 1);
}

static void pool_runs_all_and_refuses_beyond_its_queue(void **state)
{
    (void)state;
    struct pool *p;
    atomic_int n = 0;
    assert_ok(pool_open("test", 3, 50, &p));
    int taken = 0, refused = 0;
    for (int i = 0; i < 100000; i++)
        pool_submit(p, count_one, &n) == OK ? taken++ : refused++;
    pool_close(p);
    assert_int_equal(atomic_load(&n), taken);
    assert_int_equal(taken + refused, 100000);
}

struct nested {
    struct pool *p;
    atomic_int n;
};

static void inner(void *ctx, size_t i)
{
    (void)i;
    atomic_fetch_add(&((struct nested *)ctx)->n, 1);
}

static void outer(void *ctx, size_t i)
{
    (void)i;
    pool_for(((struct nested *)ctx)->p, 20, inner, ctx);
}

static void loops_nest(void **state)
{
    (void)state;
    struct nested s = { 0 };
    assert_ok(pool_open("test", 2, 8, &s.p));
    for (int i = 0; i < 200; i++)
        pool_for(s.p, 10, outer, &s);
    assert_int_equal(atomic_load(&s.n), 200 * 10 * 20);
    pool_close(s.p);
}

enum { LIVE = 0x11fe, DEAD = 0xdead };
static _Atomic(int *) shared;
static atomic_bool stop;
static atomic_int freed;

static void kill_int(void *p)
{
    *(int *)p = DEAD;
    mem_free(p);
    atomic_fetch_add(&freed, 1);
}

static void reader(void *ctx)
{
    while (!atomic_load(&stop)) {
        struct epoch_pin pin = epoch_enter();
        int *p = atomic_load_explicit(&shared, memory_order_acquire);
        for (int i = 0; i < 50; i++)
            if (*(volatile int *)p != LIVE)
                atomic_store((atomic_bool *)ctx, true);
        epoch_leave(pin);
    }
}

static void epochs_free_only_what_nobody_sees(void **state)
{
    (void)state;
    pthread_t t[3];
    atomic_bool broken = false;
    int *first = mem_alloc(sizeof(int));
    *first = LIVE;
    atomic_store(&shared, first);
    for (int i = 0; i < 3; i++)
        assert_ok(thread_start(&t[i], "reader", reader, &broken));
    for (int i = 0; i < 20000; i++) {
        int *fresh = mem_alloc(sizeof(int));
        *fresh = LIVE;
        epoch_defer(kill_int, atomic_exchange(&shared, fresh));
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 3; i++)
        thread_join(t[i]);
    epoch_drain();
    assert_false(atomic_load(&broken));
    assert_int_equal(atomic_load(&freed), 20000);
    mem_free(atomic_load(&shared));
}

static void waiting_times_out(void **state)
{
    (void)state;
    struct mtx m;
    struct cond c;
    mtx_init(&m, 1);
    cond_init(&c);
    mtx_lock(&m);
    uint64_t t0 = os_mono_ns();
    assert_false(cond_wait_ms(&c, &m, 20));
    assert_true(os_mono_ns() - t0 >= 19000000);
    mtx_unlock(&m);
    cond_deinit(&c);
    mtx_deinit(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_runs_all_and_refuses_beyond_its_queue),
        cmocka_unit_test(loops_nest),
        cmocka_unit_test(epochs_free_only_what_nobody_sees),
        cmocka_unit_test(waiting_times_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
