/* Imports into segments: what is there wins, retention and labels are looked at, power cuts leave all of a bulk or nothing. */
#include "sim_fs.h"
#include "tsdb/fixture.h"
#include "tsdb/tsdb_bulk.h"

#define DAYS   3
#define SERIES 7
#define POINTS 200 /* per series and day */

static int64_t at(int day, int i)
{
    return (T0 / DAY_MS - 20 + day) * DAY_MS + i * (DAY_MS / POINTS);
}

static enum err add_all(struct tsdb_bulk *b, double plus)
{
    struct err_text why;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    for (int d = 0; d < DAYS; d++)
        for (int s = 0; s < SERIES; s++) {
            int64_t *ts = arena_array(&a, int64_t, POINTS);
            double *v = arena_array(&a, double, POINTS);
            char inst[8];
            snprintf(inst, sizeof(inst), "i%d", s);
            for (int i = 0; i < POINTS; i++) {
                ts[i] = at(d, i);
                v[i] = d * 1000 + s * 10 + i * 0.5 + plus;
            }
            struct tsdb_bulk_series x = { .labels = mk_labels(&a, "m", inst),
                                          .points = { .ts = ts, .v = v, .n = POINTS } };
            TRY(tsdb_bulk_add(b, &x, &why));
        }
    return OK;
}

/* How many samples there are; each has the value of add_all(plus), but where wins says another. */
static size_t count(struct tsdb *db, double plus, int64_t win_ts, double win_v)
{
    AUTO_ARENA struct arena a;
    struct tsdb_query *q;
    struct tsdb_series *s;
    size_t n, total = 0;
    arena_init(&a, 0);
    assert_ok(tsdb_query_open(db, INT64_MIN, INT64_MAX, &q));
    assert_ok(tsdb_select(q, NULL, 0, 0, &a, &s, &n));
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    for (size_t k = 0; k < n; k++) {
        struct tsdb_points p;
        str inst = labels_get(s[k].labels, STR("instance"));
        assert_ok(tsdb_read(c, s[k].id, INT64_MIN, INT64_MAX, &p));
        for (size_t i = 0; i < p.n; i++) {
            int day = (int)((p.ts[i] - at(0, 0)) / DAY_MS), no = (int)((p.ts[i] - at(day, 0)) / (DAY_MS / POINTS));
            double want = day * 1000 + (inst.p[1] - '0') * 10 + no * 0.5 + plus;
            assert_true(p.v[i] == (p.ts[i] == win_ts && inst.p[1] == '3' ? win_v : want));
        }
        total += p.n;
    }
    assert_false(tsdb_query_incomplete(q, NULL));
    tsdb_cursor_free(c);
    tsdb_query_close(q);
    return total;
}

static void existing_wins(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_bulk *b;
    struct tsdb_bulk_result r;
    struct err_text why = { 0 };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    fx_init(&f);
    f.clk.now_ms = at(1, 10) + 1000; /* the past is written as the present first */
    fx_open(&f);
    struct sample one = { at(1, 10), -77 };
    struct batch batch = { .a = &a };
    avec_push(&a, &batch.series,
              ((struct batch_series){ .labels = mk_labels(&a, "m", "i3"), .samples = &one, .n_samples = 1 }));
    struct tsdb_write_result w;
    assert_ok(tsdb_write(f.db, &batch, &w));
    assert_ok(tsdb_wait(f.db, w.lsn));
    f.clk.now_ms = T0;
    for (int round = 0; round < 3; round++) { /* again: other values, and still the first ones stay */
        assert_ok(tsdb_bulk_open(f.db, 0, &b));
        assert_ok(add_all(b, 0));
        assert_ok(tsdb_bulk_commit(b, &r, &why));
        assert_int_equal(r.samples, DAYS * SERIES * POINTS);
        assert_int_equal(r.segments, DAYS);
        assert_int_equal(count(f.db, 0, one.ts_ms, -77), DAYS * SERIES * POINTS);
    }
    for (int i = 0; i < 10; i++) {
        f.db->bulk_ms = 1; /* long ago */
        assert_ok(tsdb_compact(f.db));
    }
    const struct segment_set *set = store_segments_ref(f.st, STORE_METRICS);
    assert_true(set->n <= DAYS + 1); /* the parts of a day are one now */
    segment_set_unref(set);
    assert_int_equal(count(f.db, 0, one.ts_ms, -77), DAYS * SERIES * POINTS);
    assert_ok(tsdb_bulk_open(f.db, 0, &b));
    assert_ok(add_all(b, 5));
    tsdb_bulk_abort(b);
    fx_close(&f);
    fx_open(&f);
    assert_int_equal(count(f.db, 0, one.ts_ms, -77), DAYS * SERIES * POINTS);
    fx_close(&f);
    fx_deinit(&f);
}

static void refusals(void **state)
{
    (void)state;
    struct fixture f;
    struct tsdb_bulk *b;
    struct tsdb_bulk_result r;
    struct err_text why = { 0 };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    fx_init(&f);
    f.cfg.retention_ms = T0 - at(1, 50);
    f.clk.now_ms = T0;
    fx_open(&f);
    assert_ok(tsdb_bulk_open(f.db, 0, &b));
    assert_ok(add_all(b, 0));
    static const int64_t future[] = { T0, T0 + DAY_MS / 2 }, back[] = { T0, T0 - 1 }, days[] = { T0 - DAY_MS, T0 };
    static const double v[] = { 1, 2 };
    struct tsdb_bulk_series x = { .labels = mk_labels(&a, "z", "i"), .points = { .ts = future, .v = v, .n = 2 } };
    assert_ok(tsdb_bulk_add(b, &x, &why));
    x.points.ts = back;
    assert_err(tsdb_bulk_add(b, &x, &why), ERR_INVALID);
    x.points.ts = days;
    assert_err(tsdb_bulk_add(b, &x, &why), ERR_INVALID);
    struct label bad[] = { { STR("b"), STR("not sorted") }, { LABEL_NAME, STR("z") } };
    x.labels = (struct labels){ bad, 2 };
    x.points.ts = future;
    assert_ok(tsdb_bulk_add(b, &x, &why));
    assert_ok(tsdb_bulk_commit(b, &r, &why));
    assert_int_equal(r.rejected[TSDB_REJECT_TOO_OLD], SERIES * (POINTS + 50));
    assert_int_equal(r.rejected[TSDB_REJECT_FUTURE], 1);
    assert_int_equal(r.rejected[TSDB_REJECT_LABELS], 2);
    assert_true(str_contains(str_c(r.first.msg), STR("retention")));
    assert_int_equal(r.samples, SERIES * (2 * POINTS - 50) + 1);
    fx_close(&f);
    fx_deinit(&f);
}

/* A power cut at any operation of a bulk: afterwards all of it is there, or nothing; acknowledged is there. */
static void power_cuts(void **state)
{
    (void)state;
    size_t whole = 0, none = 0;
    for (uint64_t k = 1; k < 200; k += 3) {
        struct sim_fs *sim = sim_fs_new(k);
        struct test_clock clk = { { test_now, test_mono }, T0 };
        struct tsdb_config cfg;
        struct store_config scfg;
        struct err_text why = { 0 };
        bool acked = false;
        tsdb_config_defaults(&cfg);
        cfg.retention_ms = 0;
        store_config_defaults(&scfg);
        scfg.wal_file_bytes = 64 << 10;
        scfg.reserve_bytes = 0;
        for (int life = 0; life < 2; life++) {
            struct store *st;
            struct tsdb *db;
            if (life == 0)
                sim_fs_cut_at(sim, k);
            enum err e = store_open(sim_fs_fs(sim), "/d", &scfg, &clk.c, &st, &why);
            assert_true(e == OK || life == 0);
            if (e)
                goto cut;
            e = tsdb_open(&cfg, st, &clk.c, &db, &why);
            assert_true(e == OK || life == 0);
            if (e) {
                store_close(st);
                goto cut;
            }
            if (life == 0) {
                struct tsdb_bulk *b;
                struct tsdb_bulk_result r;
                assert_ok(tsdb_bulk_open(db, 0, &b));
                if (add_all(b, 0) == OK)
                    acked = tsdb_bulk_commit(b, &r, &why) == OK;
                else
                    tsdb_bulk_abort(b);
            } else {
                size_t n = count(db, 0, 0, 0);
                assert_true(n == DAYS * SERIES * POINTS || (n == 0 && !acked));
                *(n ? &whole : &none) += 1;
            }
            db->test_no_flush = true;
            tsdb_close(db);
            store_close(st);
        cut:
            if (life == 0)
                sim_fs_power_cut(sim);
        }
        sim_fs_free(sim);
    }
    assert_true(whole > 3 && none > 3); /* both were met */
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(existing_wins), cmocka_unit_test(refusals),
                                        cmocka_unit_test(power_cuts) };
    return cmocka_run_group_tests_name("tsdb/bulk", tests, NULL, NULL);
}
