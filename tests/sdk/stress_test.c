/* Sixteen threads on the same series while others scrape, make and remove series, and threads come and go: nothing is
 * lost. Meant for ThreadSanitizer, useful without. */
#include "../../src/sdk/sdk_metric.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { THREADS = 16, ROUNDS = 20000 };

static vane_metric vec, hist_vec, churn_vec;
static vane_counter counter;
static vane_fcounter fcounter;
static vane_updown updown;
static vane_gauge gauge;
static vane_histogram native;
static _Atomic bool done;

static void *adds(void *p)
{
    int id = (int)(intptr_t)p;
    for (int i = 0; i < ROUNDS; i++) {
        vane_counter_inc(counter);
        vane_fcounter_add(fcounter, 0.5);
        vane_updown_add(updown, i % 2 ? 1 : -1);
        vane_gauge_add(gauge, 1);
        vane_histogram_observe(native, (double)((i * 7 + id) % 1000) * 0.01);
        if (i % 8 == 0) {
            char text[16];
            snprintf(text, sizeof text, "%d", i % 64);
            vane_counter_add_to(vec, 1, VANE_LABELS("GET", text));
            vane_histogram_observe_to(hist_vec, 0.5, VANE_LABELS(text));
        }
    }
    return NULL;
}

static void *scrapes(void *p)
{
    (void)p;
    for (int i = 0; !atomic_load(&done); i++) {
        char *body;
        size_t n;
        assert_int_equal(vane_render((vane_format)(i % 3), &body, &n), VANE_OK);
        vane_render_free(body);
        vane_histogram_quantile(native, 0.9);
    }
    return NULL;
}

static void *churns(void *p)
{
    (void)p;
    for (int i = 0; !atomic_load(&done); i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i % 100);
        vane_counter c = vane_counter_bind(churn_vec, VANE_LABELS(text));
        vane_counter_inc(c);
        vane_series_remove(churn_vec, VANE_LABELS(text));
        vane_counter_inc(c); /* stale */
        if (i % 50 == 0) {
            vane_metric m = vane_gauge_new("passing", "", "x");
            vane_gauge_set_to(m, i, VANE_LABELS("y"));
            vane_metric_free(m);
        }
    }
    return NULL;
}

static void run(uint32_t threads_max)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.threads_max = threads_max;
    assert_int_equal(vane_start(&c), VANE_OK);
    atomic_store(&done, false);
    vec = vane_counter_new("vec_total", "", "a,b");
    hist_vec = vane_histogram_new("hist_vec", "", "a");
    churn_vec = vane_counter_new("churn_total", "", "a");
    counter = vane_counter_bind(vane_counter_new("c_total", "", ""), VANE_NO_LABELS);
    fcounter = vane_fcounter_bind(vane_fcounter_new("f_total", "", ""), VANE_NO_LABELS);
    updown = vane_updown_bind(vane_updown_new("ud", "", ""), VANE_NO_LABELS);
    gauge = vane_gauge_bind(vane_gauge_new("g", "", ""), VANE_NO_LABELS);
    native = vane_histogram_bind(vane_histogram_new("h", "", ""), VANE_NO_LABELS);
    pthread_t t[THREADS], scraper, churner;
    pthread_create(&scraper, NULL, scrapes, NULL);
    pthread_create(&churner, NULL, churns, NULL);
    enum { WAVES = 2 }; /* threads that end give their shards on */
    for (int wave = 0; wave < WAVES; wave++) {
        for (int i = 0; i < THREADS; i++)
            pthread_create(&t[i], NULL, adds, (void *)(intptr_t)i);
        for (int i = 0; i < THREADS; i++)
            pthread_join(t[i], NULL);
    }
    atomic_store(&done, true);
    pthread_join(scraper, NULL);
    pthread_join(churner, NULL);
    uint64_t u, n, all = (uint64_t)WAVES * THREADS * ROUNDS;
    int64_t i;
    double f, sum, want = 0;
    assert_int_equal(vane_counter_value(counter, &u), VANE_OK);
    assert_int_equal(u, all);
    assert_int_equal(vane_fcounter_value(fcounter, &f), VANE_OK);
    assert_true(f == (double)all / 2);
    assert_int_equal(vane_updown_value(updown, &i), VANE_OK);
    assert_int_equal(i, 0);
    assert_int_equal(vane_gauge_value(gauge, &f), VANE_OK);
    assert_true(f == (double)all);
    assert_int_equal(vane_histogram_value(native, &n, &sum), VANE_OK);
    assert_int_equal(n, all);
    for (int id = 0; id < THREADS; id++)
        for (int k = 0; k < ROUNDS; k++)
            want += WAVES * (double)((k * 7 + id) % 1000) * 0.01;
    assert_true(sum > want * (1 - 1e-9) && sum < want * (1 + 1e-9));
    u = 0;
    for (int k = 0; k < 64; k += 8) {
        char text[16];
        uint64_t one;
        snprintf(text, sizeof text, "%d", k);
        assert_int_equal(vane_counter_value(vane_counter_bind(vec, VANE_LABELS("GET", text)), &one), VANE_OK);
        u += one;
    }
    assert_int_equal(u, all / 8);
    vane_self_stats s = { .size = sizeof s };
    vane_self(&s);
    assert_int_equal(s.threads_shared > 0, threads_max < THREADS);
    assert_int_equal(vane_stop(1000), VANE_OK);
}

static void test_shards_for_all(void **state)
{
    (void)state;
    run(64);
}

static void test_shards_for_some(void **state)
{
    (void)state;
    run(4);
}

/* Start and stop while others call: nothing but no-ops and whole calls. */
static void *calls(void *p)
{
    (void)p;
    while (!atomic_load(&done)) {
        vane_metric m = vane_counter_new("x_total", "", "l");
        vane_counter_add_to(m, 1, VANE_LABELS("v"));
        vane_counter_inc(vane_counter_bind(m, VANE_LABELS("w")));
        char *body;
        size_t n;
        if (vane_render(VANE_FORMAT_TEXT, &body, &n) == VANE_OK)
            vane_render_free(body);
    }
    return NULL;
}

static void test_start_stop(void **state)
{
    (void)state;
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    atomic_store(&done, false);
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, calls, NULL);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(vane_start(&c), VANE_OK);
        assert_int_equal(vane_stop(10), VANE_OK);
    }
    atomic_store(&done, true);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shards_for_all),
        cmocka_unit_test(test_shards_for_some),
        cmocka_unit_test(test_start_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
