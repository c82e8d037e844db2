/* Writes while the log is replayed, against a slow model: an array of values per series in which the last write of a
 * time stays. Crashes before, during and after; the change from late to normal writes under load. */
#include "tsdb/fixture.h"

enum { SERIES = 14, TIMES = 300, ROUNDS = 8 };
static const int64_t STEP = 1000;

struct world {
    struct fixture f;
    struct rng rng;
    double v[SERIES][TIMES]; /* NAN: nothing */
    int now;                 /* newest time that is used */
    struct mtx mu;           /* two writers must not write the same cell: order is theirs */
    atomic_bool stop;
    atomic_uint writes;
};

static void name_of(int i, char *name, char *inst)
{
    snprintf(name, 20, "late_%d", i % 5);
    snprintf(inst, 20, "host%d", i / 5);
}

/* Some cells: mostly the newest time, sometimes earlier ones again, with the same or another value. */
static void write_some(struct world *w)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a };
    struct tsdb_write_result r;
    mtx_lock(&w->mu);
    if (w->now + 1 < TIMES && rng_below(&w->rng, 3))
        w->now++;
    uint64_t fresh = rng_below(&w->rng, 4) ? 5 : 1; /* sometimes nothing but old times */
    for (int i = 0; i < SERIES; i++) {
        if (rng_below(&w->rng, 4) == 0)
            continue;
        size_t n = 1 + (rng_below(&w->rng, 8) == 0), k = 0;
        struct sample *s = arena_array(&a, struct sample, n);
        for (; k < n; k++) {
            int t = rng_below(&w->rng, fresh) ? w->now : (int)rng_below(&w->rng, (uint64_t)w->now + 1);
            if (k && T0 + t * STEP == s[0].ts_ms)
                break;
            double old = w->v[i][t], v = (double)rng_below(&w->rng, 1000);
            if (!isnan(old) && rng_below(&w->rng, 2))
                v = old;
            w->v[i][t] = v;
            s[k] = (struct sample){ T0 + t * STEP, v };
        }
        char name[20], inst[20];
        name_of(i, name, inst);
        struct batch_series bs = { .labels = mk_labels(&a, name, inst), .samples = s, .n_samples = k };
        bs.meta.type = i % 2 ? METRIC_COUNTER : METRIC_GAUGE;
        bs.meta.help = STR("helps");
        avec_push(&a, &b.series, bs);
    }
    assert_ok(tsdb_write(w->f.db, &b, &r));
    mtx_unlock(&w->mu);
    for (size_t i = 0; i < TSDB_REJECT_N; i++)
        assert_int_equal(r.rejected[i], 0);
    assert_ok(tsdb_wait(w->f.db, r.lsn));
    atomic_fetch_add(&w->writes, 1);
}

static void verify(struct world *w)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_query *q;
    struct tsdb_series *s;
    size_t n, have = 0;
    assert_ok(tsdb_query_open(w->f.db, T0, T0 + TIMES * STEP, &q));
    assert_ok(tsdb_select(q, NULL, 0, 0, &a, &s, &n));
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    for (int i = 0; i < SERIES; i++) {
        char name[20], inst[20];
        name_of(i, name, inst);
        struct labels ls = mk_labels(&a, name, inst);
        struct tsdb_points p = { 0 };
        for (size_t k = 0; k < n; k++)
            if (labels_cmp(s[k].labels, ls) == 0) {
                assert_ok(tsdb_read(c, s[k].id, INT64_MIN, INT64_MAX, &p));
                have++;
            }
        size_t k = 0;
        for (int t = 0; t < TIMES; t++) {
            if (isnan(w->v[i][t]))
                continue;
            if (k >= p.n || p.ts[k] != T0 + t * STEP || p.v[k] != w->v[i][t])
                fail_msg("series %d: %zu points; at %d wanted %g, found %g at %lld", i, p.n, t, w->v[i][t],
                         k < p.n ? p.v[k] : (double)NAN, k < p.n ? (long long)((p.ts[k] - T0) / STEP) : -1);
            k++;
        }
        assert_int_equal(k, p.n);
    }
    assert_int_equal(have, n);
    struct err_text why;
    if (tsdb_query_incomplete(q, &why))
        fail_msg("incomplete: %s", why.msg);
    tsdb_cursor_free(c);
    tsdb_query_close(q);
}

static void world_init(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    fx_init(&w->f);
    w->f.scfg.wal_file_bytes = 64 << 10;
    w->f.cfg.replay_behind = true;
    w->rng.s = seed;
    mtx_init(&w->mu, 1);
    for (int i = 0; i < SERIES; i++)
        for (int t = 0; t < TIMES; t++)
            w->v[i][t] = (double)NAN;
}

static void writer(void *ctx)
{
    struct world *w = ctx;
    while (!atomic_load(&w->stop))
        write_some(w);
}

static void late_writes(void **state)
{
    (void)state;
    const char *env = getenv("VANE_SEED");
    uint64_t from = env ? strtoull(env, NULL, 10) : 1, to = env ? from : 25;
    for (uint64_t seed = from; seed <= to; seed++) {
        static struct world w;
        struct err_text why;
        world_init(&w, seed);
        for (int round = 0; round < ROUNDS; round++) {
            w.f.cfg.partitions = 1 + (unsigned)rng_below(&w.rng, 4); /* streams of other runs are spread anew */
            w.f.cfg.memory_bytes_max = rng_below(&w.rng, 3) ? 0 : 2 << 20;
            atomic_store(&replay_test_hold, true);
            fx_open(&w.f);
            for (uint64_t i = rng_below(&w.rng, 12); i; i--)
                write_some(&w);
            assert_int_equal(tsdb_await(w.f.db, 0, &why), ERR_TIMEOUT);
            if (rng_below(&w.rng, 4) == 0) { /* the end comes before the replay's */
                fx_crash(&w.f);
                continue;
            }
            pthread_t t;
            unsigned before = atomic_load(&w.writes);
            atomic_store(&w.stop, false);
            bool load = rng_below(&w.rng, 2);
            if (load)
                assert_ok(thread_start(&t, "writer", writer, &w));
            while (load && atomic_load(&w.writes) == before)
                sched_yield();
            atomic_store(&replay_test_hold, false);
            assert_ok(tsdb_await(w.f.db, 60000, &why));
            while (load && atomic_load(&w.writes) < before + 5)
                sched_yield();
            atomic_store(&w.stop, true);
            if (load)
                thread_join(t);
            verify(&w);
            for (uint64_t i = rng_below(&w.rng, 6); i; i--)
                write_some(&w);
            if (rng_below(&w.rng, 4) == 0)
                assert_ok(tsdb_flush(w.f.db));
            verify(&w);
            if (rng_below(&w.rng, 4))
                fx_crash(&w.f);
            else
                fx_close(&w.f);
        }
        atomic_store(&replay_test_hold, false);
        w.f.cfg.replay_behind = false;
        fx_open(&w.f);
        verify(&w);
        fx_close(&w.f);
        fx_deinit(&w.f);
        mtx_deinit(&w.mu);
    }
}

static void put_one(struct world *w, int i, int t, double v)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    char name[20], inst[20];
    name_of(i, name, inst);
    struct sample s = { T0 + t * STEP, v };
    struct batch b = { .a = &a };
    struct batch_series bs = { .labels = mk_labels(&a, name, inst), .samples = &s, .n_samples = 1 };
    avec_push(&a, &b.series, bs);
    struct tsdb_write_result r;
    assert_ok(tsdb_write(w->f.db, &b, &r));
    assert_int_equal(r.samples, 1);
    assert_ok(tsdb_wait(w->f.db, r.lsn));
    w->v[i][t] = v;
    w->now = MAX(w->now, t);
}

/* What was out of order is replayed without what it was older than: that is in a segment. */
static void old_behind_a_flush(void **state)
{
    (void)state;
    static struct world w;
    world_init(&w, 1);
    w.f.cfg.replay_behind = false;
    fx_open(&w.f);
    put_one(&w, 0, 100, 1);
    assert_ok(tsdb_flush(w.f.db));
    put_one(&w, 0, 50, 2);
    put_one(&w, 0, 60, 3);
    fx_crash(&w.f);
    fx_open(&w.f);
    verify(&w);
    put_one(&w, 0, 50, 4); /* again: the newer one wins */
    put_one(&w, 0, 60, 5);
    put_one(&w, 0, 70, 6);
    verify(&w);
    fx_crash(&w.f);
    fx_open(&w.f);
    verify(&w);
    fx_close(&w.f);
    fx_deinit(&w.f);
    mtx_deinit(&w.mu);
}

/* Labels and times are judged as always; what waits is bounded. */
static void late_limits(void **state)
{
    (void)state;
    static struct world w;
    world_init(&w, 1);
    store_config_defaults(&w.f.scfg);
    w.f.scfg.reserve_bytes = 0;
    atomic_store(&replay_test_hold, true);
    fx_open(&w.f);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    char big[2000];
    memset(big, 'x', sizeof(big));
    struct label bad[] = { { LABEL_NAME, STR("a") }, { str_n(big, sizeof(big)), STR("v") } };
    struct sample s[] = { { T0, 1 }, { T0 + 100 * DAY_MS, 2 } };
    struct batch b = { .a = &a };
    struct batch_series bs = { .labels = { bad, 2 }, .samples = s, .n_samples = 1 };
    avec_push(&a, &b.series, bs);
    bs = (struct batch_series){ .labels = mk_labels(&a, "m", "i"), .samples = s, .n_samples = 2 };
    avec_push(&a, &b.series, bs);
    struct tsdb_write_result r;
    assert_ok(tsdb_write(w.f.db, &b, &r));
    assert_int_equal(r.samples, 1);
    assert_int_equal(r.rejected[TSDB_REJECT_LABELS], 1);
    assert_int_equal(r.rejected[TSDB_REJECT_FUTURE], 1);
    assert_ok(tsdb_wait(w.f.db, r.lsn));
    struct label *l = arena_array(&a, struct label, 2);
    l[0] = (struct label){ LABEL_NAME, STR("big") };
    l[1] = (struct label){ STR("v"), str_n(big, sizeof(big)) };
    struct batch fat = { .a = &a };
    for (int i = 0; i < 2000; i++) {
        struct label *one = arena_array(&a, struct label, 2);
        char *v = arena_alloc(&a, 4000);
        memset(v, 'a' + i % 26, 4000);
        snprintf(v, 20, "%d", i);
        v[strlen(v)] = 'x'; /* nothing in common with the one before */
        one[0] = (struct label){ LABEL_NAME, STR("big") };
        one[1] = (struct label){ STR("v"), str_n(v, 4000) };
        bs = (struct batch_series){ .labels = { one, 2 }, .samples = s, .n_samples = 1 };
        avec_push(&a, &fat.series, bs);
    }
    enum err e = OK;
    size_t taken = 0;
    w.f.db->memory_max = 64 << 20;
    for (int i = 0; i < 10 && !e; i++) {
        e = tsdb_write(w.f.db, &fat, &r);
        taken += e == OK;
    }
    assert_int_equal(e, ERR_BUSY);
    assert_true(taken >= 1);
    atomic_store(&replay_test_hold, false);
    struct err_text why;
    assert_ok(tsdb_await(w.f.db, 60000, &why));
    struct tsdb_stats st;
    assert_ok(tsdb_stats(w.f.db, false, &a, &st));
    assert_int_equal(st.head_series, 2001);
    fx_close(&w.f);
    fx_deinit(&w.f);
    mtx_deinit(&w.mu);
}

int main(void)
{
    log_setup(LOG_LEVEL_ERROR + 1, LOG_FORMAT_LOGFMT);
    const struct CMUnitTest tests[] = { cmocka_unit_test(late_writes), cmocka_unit_test(old_behind_a_flush),
                                        cmocka_unit_test(late_limits) };
    return cmocka_run_group_tests_name("tsdb replay", tests, NULL, NULL);
}
