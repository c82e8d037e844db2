/* Power cuts, disk errors and full disks under the metrics store, on the simulated disk. The model: what was
 * acknowledged (tsdb_wait returned OK) must be there after recovery with its value; what was sent and not
 * acknowledged may be; nothing else may be. */
#include "sim_fs.h"
#include "tsdb/fixture.h"

#define SERIES  12
#define SCRAPES 60

struct crash {
    struct sim_fs *sim;
    struct test_clock clk;
    struct store *st;
    struct tsdb *db;
    int sent, acked; /* scrapes: sample k of every series has value k * 10 + series */
    unsigned opens;
};

static bool cr_open(struct crash *c)
{
    struct tsdb_config cfg;
    struct store_config scfg;
    struct err_text why = { 0 };
    tsdb_config_defaults(&cfg);
    cfg.retention_ms = 0;
    cfg.partitions = 2;
    cfg.replay_behind = c->opens++ % 2; /* every other time writes come while the log is replayed */
    store_config_defaults(&scfg);
    scfg.wal_file_bytes = 64 << 10;
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

static int64_t time_of(int k)
{
    return T0 + k * 300000LL; /* crosses 2 h slots */
}

static enum err scrape(struct crash *c, int k)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a };
    struct sample *v = arena_array(&a, struct sample, SERIES);
    for (int i = 0; i < SERIES; i++) {
        char name[40], inst[8];
        snprintf(name, sizeof(name), "metric_with_a_long_name_%d", i);
        snprintf(inst, sizeof(inst), "i%d", i % 3);
        v[i] = (struct sample){ time_of(k), k * 10.0 + i };
        struct batch_series bs = { .labels = mk_labels(&a, name, inst), .samples = &v[i], .n_samples = 1 };
        avec_push(&a, &b.series, bs);
    }
    c->clk.now_ms = MAX(c->clk.now_ms, time_of(k) + 1000);
    struct tsdb_write_result r;
    enum err e = tsdb_write(c->db, &b, &r);
    if (!e) {
        c->sent = MAX(c->sent, k + 1);
        e = tsdb_wait(c->db, r.lsn);
    }
    if (!e)
        c->acked = k + 1;
    return e;
}

/* Goes on from where it was; false at the first error when stop is set, else retries. */
static void workload(struct crash *c, bool stop)
{
    for (int tries = 0; c->acked < SCRAPES && tries < 3000; tries++) {
        int k = c->acked;
        enum err e = scrape(c, k);
        if (!e && k % 13 == 12)
            e = tsdb_flush(c->db);
        if (!e && k % 26 == 25) {
            e = tsdb_compact(c->db);
        }
        if (e && stop)
            return;
        if (e)
            os_sleep_ms(1);
    }
}

static void verify(struct crash *c)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_query *q;
    struct tsdb_series *s;
    size_t n;
    assert_ok(tsdb_query_open(c->db, T0 - DAY_MS, T0 + DAY_MS, &q));
    assert_ok(tsdb_select(q, NULL, 0, 0, &a, &s, &n));
    if (c->acked)
        assert_int_equal(n, SERIES);
    struct tsdb_cursor *cur = tsdb_cursor_new(q);
    for (size_t i = 0; i < n; i++) {
        str name = labels_name(s[i].labels);
        uint64_t no;
        assert_true(str_to_u64(str_skip(name, strlen("metric_with_a_long_name_")), &no));
        struct tsdb_points p;
        assert_ok(tsdb_read(cur, s[i].id, INT64_MIN, INT64_MAX, &p));
        if (p.n < (size_t)c->acked || p.n > (size_t)c->sent)
            fail_msg("series %d: %zu samples, acknowledged %d, sent %d", (int)no, p.n, c->acked, c->sent);
        for (size_t k = 0; k < p.n; k++) {
            assert_true(p.ts[k] == time_of((int)k));
            assert_true(p.v[k] == (double)k * 10.0 + (double)no);
        }
    }
    struct err_text why;
    if (tsdb_query_incomplete(q, &why))
        fail_msg("incomplete: %s", why.msg);
    tsdb_cursor_free(cur);
    tsdb_query_close(q);
}

static void start(struct crash *c, uint64_t seed)
{
    memset(c, 0, sizeof(*c));
    c->sim = sim_fs_new(seed);
    c->clk = (struct test_clock){ { test_now, test_mono }, T0 };
}

/* Three lives of a database, each ended by a power cut, the first at operation k; then everything acknowledged is there. */
static void power_cut(uint64_t seed, uint64_t k)
{
    struct crash c;
    start(&c, seed * 1000 + k);
    sim_fs_cut_at(c.sim, k);
    if (cr_open(&c)) {
        workload(&c, true);
        cr_close(&c);
    }
    sim_fs_power_cut(c.sim);
    for (uint64_t again = 0; again < 2; again++) { /* recovery is cut as well */
        sim_fs_cut_at(c.sim, 5 + (k * 7 + again * 13) % 60);
        if (cr_open(&c)) {
            workload(&c, true);
            cr_close(&c);
        }
        sim_fs_power_cut(c.sim);
    }
    assert_true(cr_open(&c));
    verify(&c);
    workload(&c, true);
    assert_int_equal(c.acked, SCRAPES);
    verify(&c);
    cr_close(&c);
    assert_true(cr_open(&c));
    verify(&c);
    cr_close(&c);
    sim_fs_free(c.sim);
}

static void power_cuts(void **state)
{
    (void)state;
    uint64_t first = 1, last = 1, step = test_seeds(&first, &last) ? 1 : 7;
    for (uint64_t seed = first; seed <= last; seed++)
        for (uint64_t k = 1; k < 400; k += step)
            power_cut(seed, k);
}

static void disk_errors(void **state)
{
    (void)state;
    for (uint64_t k = 5; k < 300; k += 17) {
        struct crash c;
        start(&c, k);
        assert_true(cr_open(&c));
        sim_fs_fail_at(c.sim, k, 1 + k % 4);
        workload(&c, false);
        assert_int_equal(c.acked, SCRAPES);
        verify(&c);
        cr_close(&c);
        sim_fs_power_cut(c.sim);
        assert_true(cr_open(&c));
        verify(&c);
        cr_close(&c);
        sim_fs_free(c.sim);
    }
}

static void full_disk(void **state)
{
    (void)state;
    struct crash c;
    start(&c, 3);
    assert_true(cr_open(&c));
    for (int k = 0; k < 20; k++)
        assert_ok(scrape(&c, k));
    sim_fs_space(c.sim, sim_fs_used(c.sim) + 2000);
    enum err e = OK;
    for (int i = 0; i < 3000 && !e && c.acked < SCRAPES - 5; i++) {
        e = tsdb_flush(c.db);
        if (!e)
            e = scrape(&c, c.acked);
    }
    assert_int_equal(e, ERR_NO_SPACE);
    verify(&c); /* reads go on */
    sim_fs_space(c.sim, 0);
    workload(&c, false);
    assert_int_equal(c.acked, SCRAPES);
    verify(&c);
    cr_close(&c);
    sim_fs_power_cut(c.sim);
    assert_true(cr_open(&c));
    verify(&c);
    cr_close(&c);
    sim_fs_free(c.sim);
}

int main(void)
{
    log_setup(LOG_LEVEL_ERROR + 1, LOG_FORMAT_LOGFMT);
    const struct CMUnitTest tests[] = { cmocka_unit_test(power_cuts), cmocka_unit_test(disk_errors),
                                        cmocka_unit_test(full_disk) };
    return cmocka_run_group_tests_name("tsdb crash", tests, NULL, NULL);
}
