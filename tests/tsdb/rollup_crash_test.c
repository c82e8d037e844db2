/* Power cuts and disk errors while days are rolled up and their samples given up: at every moment each sample is there
 * once, as itself or in a window, and sums agree. */
#include "sim_fs.h"
#include "tsdb/fixture.h"

#define DAY0   (T0 - T0 % DAY_MS)
#define SERIES 5
#define DAYS   3
#define STEP   600000LL /* samples lie on midnights, too */
#define N      (DAYS * DAY_MS / STEP + 12)

struct crash {
    struct sim_fs *sim;
    struct test_clock clk;
    struct store *st;
    struct tsdb *db;
};

static bool cr_open(struct crash *c, int64_t retention_ms)
{
    static const struct tsdb_rollup_config r[] = { { .res_ms = 3600000 }, { .res_ms = 1800000 } };
    struct tsdb_config cfg;
    struct store_config scfg;
    struct err_text why;
    tsdb_config_defaults(&cfg);
    cfg.retention_ms = retention_ms;
    cfg.partitions = 1;
    cfg.rollups = r;
    cfg.n_rollups = 2;
    store_config_defaults(&scfg);
    scfg.wal_file_bytes = 256 << 10;
    scfg.wal_spares = 1;
    scfg.reserve_bytes = 0;
    if (store_open(sim_fs_fs(c->sim), "/d", &scfg, &c->clk.c, &c->st, &why))
        return false;
    if (tsdb_open(&cfg, c->st, &c->clk.c, &c->db, &why)) {
        store_close(c->st);
        return false;
    }
    return true;
}

static void cr_close(struct crash *c)
{
    c->db->test_no_flush = true;
    tsdb_close(c->db);
    store_close(c->st);
}

static void fill(struct crash *c)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    for (int day = 0; day <= DAYS; day++) {
        struct batch b = { .a = &a };
        for (int i = 0; i < SERIES; i++) {
            char inst[8];
            snprintf(inst, sizeof(inst), "i%d", i);
            struct sample *v = arena_array(&a, struct sample, 200);
            struct batch_series bs = { .labels = mk_labels(&a, "m", inst), .samples = v };
            for (int64_t k = day * (DAY_MS / STEP); k < (day + 1) * (DAY_MS / STEP) && k < N; k++)
                v[bs.n_samples++] = (struct sample){ DAY0 + k * STEP, (double)(k * 10 + i) };
            avec_push(&a, &b.series, bs);
        }
        c->clk.now_ms = DAY0 + (day + 1) * DAY_MS;
        struct tsdb_write_result r;
        assert_ok(tsdb_write(c->db, &b, &r));
        assert_ok(tsdb_wait(c->db, r.lsn));
    }
    assert_ok(tsdb_flush(c->db));
}

static bool verify(struct crash *c)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_query *q;
    struct tsdb_series *s;
    size_t n;
    bool rolled = false;
    assert_ok(tsdb_query_open(c->db, DAY0 - DAY_MS, DAY0 + 9 * DAY_MS, &q));
    assert_ok(tsdb_select(q, NULL, 0, 0, &a, &s, &n));
    assert_int_equal(n, SERIES);
    struct tsdb_cursor *cur = tsdb_cursor_new(q);
    for (size_t i = 0; i < n; i++) {
        struct tsdb_points p;
        uint64_t count = 0;
        double sum = 0;
        assert_ok(tsdb_read(cur, s[i].id, INT64_MIN, INT64_MAX, &p));
        for (size_t k = 0; k < p.n_roll; k++) {
            count += p.roll[k].count;
            sum += p.roll[k].sum;
            assert_true(p.roll[k].res_ms == 1800000); /* the shorter ones */
        }
        for (size_t k = 0; k < p.n; k++) {
            count++;
            sum += p.v[k];
            assert_true(!p.n_roll || p.ts[k] > p.rolled_to_ms);
        }
        if (count != N)
            fail_msg("series %zu: %zu samples and %zu windows hold %llu samples, want %lld", i, p.n, p.n_roll,
                     (unsigned long long)count, (long long)N);
        assert_true(sum == 10.0 * (double)(N * (N - 1) / 2) + (double)(N * (int64_t)i));
        rolled |= p.n_roll != 0;
    }
    struct err_text why;
    if (tsdb_query_incomplete(q, &why))
        fail_msg("incomplete: %s", why.msg);
    tsdb_cursor_free(cur);
    tsdb_query_close(q);
    return rolled;
}

/* Rounds of upkeep; with stop they end at the first error. */
static void upkeep(struct crash *c, bool stop)
{
    struct err_text why;
    for (int i = 0; i < 80; i++) {
        enum err e = tsdb_compact(c->db);
        mtx_lock(&c->db->flush_mu);
        e = e ? e : retention_apply(c->db, &why);
        mtx_unlock(&c->db->flush_mu);
        if (e && stop)
            return;
    }
}

static void start(struct crash *c, uint64_t seed)
{
    memset(c, 0, sizeof(*c));
    c->sim = sim_fs_new(seed);
    c->clk = (struct test_clock){ { test_now, test_mono }, T0 };
    assert_true(cr_open(c, 0));
    fill(c);
    cr_close(c);
    c->clk.now_ms = DAY0 + DAYS * DAY_MS + 3 * 3600000;
}

static void power_cuts(void **state)
{
    (void)state;
    uint64_t first = 1, last = 1, step = test_seeds(&first, &last) ? 1 : 11;
    for (uint64_t i = 0, n = (last - first + 1) * 500; i < n; i += step) {
        uint64_t seed = first + i / 500, k = 1 + i % 500;
        struct crash c;
        start(&c, seed * 1000 + k);
        for (uint64_t again = 0; again < 2; again++) {
            sim_fs_cut_at(c.sim, k + again * 17);
            if (cr_open(&c, DAY_MS)) {
                upkeep(&c, true);
                cr_close(&c);
            }
            sim_fs_power_cut(c.sim);
        }
        assert_true(cr_open(&c, DAY_MS));
        verify(&c);
        upkeep(&c, true);
        assert_true(verify(&c)); /* some samples are windows by now */
        cr_close(&c);
        assert_true(cr_open(&c, DAY_MS));
        assert_true(verify(&c));
        cr_close(&c);
        sim_fs_free(c.sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(power_cuts) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
