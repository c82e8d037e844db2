/* A day of churn by a simulated clock: every hour 10 % of the series are replaced by new ones. Heads are flushed, segments
 * compacted and idle series dropped as upkeep does it; afterwards the process is as large as after the morning, the head holds
 * little more than what is active, and every series of the day can be read. */
#include "tsdb/fixture.h"

#include <malloc.h>

enum { ACTIVE = 2000, STEP_S = 60, HOURS = 24, PERCENT = 10 };

static void name_of(char out[32], unsigned i, unsigned born)
{
    snprintf(out, 32, "pod-%u-%u", i, born);
}

static void scrape(struct fixture *f, const unsigned *born)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a };
    struct tsdb_write_result r;
    struct batch_series *rows = arena_zarray(&a, struct batch_series, ACTIVE);
    struct sample *samples = arena_array(&a, struct sample, ACTIVE);
    for (unsigned i = 0; i < ACTIVE; i++) {
        char inst[32];
        name_of(inst, i, born[i]);
        samples[i] = (struct sample){ f->clk.now_ms, (double)i };
        rows[i] =
            (struct batch_series){ .labels = mk_labels(&a, "churn", inst), .samples = &samples[i], .n_samples = 1 };
    }
    b.series.p = rows;
    b.series.n = ACTIVE;
    assert_ok(tsdb_write(f->db, &b, &r));
}

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

static uint64_t head_series(struct fixture *f)
{
    AUTO_ARENA struct arena a;
    struct tsdb_stats st;
    arena_init(&a, 0);
    assert_ok(tsdb_stats(f->db, false, &a, &st));
    return st.head_series;
}

static uint64_t all_series(struct fixture *f)
{
    AUTO_ARENA struct arena a;
    struct matcher m = { .type = MATCH_EQ, .name = LABEL_NAME, .value = STR("churn") };
    struct tsdb_query *q;
    struct tsdb_series *series;
    size_t n = 0;
    arena_init(&a, 0);
    assert_ok(tsdb_query_open(f->db, T0, f->clk.now_ms, &q));
    assert_ok(tsdb_select(q, &m, 1, 0, &a, &series, &n));
    tsdb_query_close(q);
    return n;
}

static void a_day(void **state)
{
    (void)state;
    struct fixture f;
    static unsigned born[ACTIVE];
    size_t bytes[HOURS + 1] = { 0 };
    uint64_t head[HOURS + 1] = { 0 }, total = ACTIVE;
    fx_init(&f);
    f.clk.now_ms = T0;
    fx_open(&f);
    for (unsigned hour = 1; hour <= HOURS; hour++) {
        for (unsigned i = 0; hour > 1 && i < ACTIVE; i++)
            if (i % (100 / PERCENT) == hour % (100 / PERCENT)) {
                born[i] = hour;
                total++;
            }
        for (unsigned s = 0; s < 3600 / STEP_S; s++) {
            scrape(&f, born);
            f.clk.now_ms += STEP_S * 1000;
            if (s % (1800 / STEP_S) == 1800 / STEP_S - 1)
                assert_ok(tsdb_flush(f.db));
            if (s % (300 / STEP_S) == 0)
                tsdb_series_gc(f.db);
        }
        assert_ok(tsdb_compact(f.db));
        epoch_drain();
        malloc_trim(0);
        bytes[hour] = in_use();
        head[hour] = head_series(&f);
    }
    print_message(
        "# %u series active, %llu in all; in use after 6, 12, 18, 24 h: %zu, %zu, %zu, %zu KB; head: %llu, %llu, %llu, "
        "%llu series\n",
        ACTIVE, (unsigned long long)total, bytes[6] >> 10, bytes[12] >> 10, bytes[18] >> 10, bytes[24] >> 10,
        (unsigned long long)head[6], (unsigned long long)head[12], (unsigned long long)head[18],
        (unsigned long long)head[24]);
    assert_true(head[24] <= ACTIVE + ACTIVE / 5);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(bytes[24] <= bytes[12] + bytes[12] / 5 + (1 << 20));
#endif
    assert_int_equal(all_series(&f), total);
    fx_close(&f);
    fx_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_day) };
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
    return cmocka_run_group_tests_name("tsdb churn", tests, NULL, NULL);
}
