/* Who follows the log sees what was stored, all of it, per series in order: over file changes, flushes, restarts and
 * crashes, floats, histograms, exemplars, start timestamps and late samples. The model is the list of what was written. */
#include "tsdb/fixture.h"

enum { SERIES = 40, ROUNDS = 220 };

struct event {
    int64_t ts, start;
    uint64_t bits; /* of a histogram: its count */
    bool hist;
};
struct watch {
    VEC(struct event) wanted[SERIES], got[SERIES];
    uint32_t exemplars_wanted, exemplars_got, defines, infos;
    int series_of[1 << 16]; /* id -> series */
};

static int series_no(struct labels ls)
{
    int n = -1;
    sscanf(labels_get(ls, STR("instance")).p, "h%d", &n);
    assert_true(n >= 0 && n < SERIES);
    return n;
}
static void on_define(void *ctx, uint32_t id, struct labels ls)
{
    struct watch *w = ctx;
    assert_true(str_eq(labels_get(ls, STR("job")), STR("test")));
    assert_true(id < ARRAY_LEN(w->series_of));
    w->series_of[id] = series_no(ls);
    w->defines++;
}
static void on_sample(void *ctx, uint32_t id, int64_t ts, double v, int64_t start)
{
    struct watch *w = ctx;
    struct event e = { ts, start, f64_bits(v), false };
    vec_push(&w->got[w->series_of[id]], e);
}
static void on_histogram(void *ctx, uint32_t id, int64_t ts, const struct histogram *h, int64_t start)
{
    struct watch *w = ctx;
    struct event e = { ts, start, f64_bits(h->count), true };
    vec_push(&w->got[w->series_of[id]], e);
}
static void on_exemplar(void *ctx, uint32_t id, const struct exemplar *e)
{
    struct watch *w = ctx;
    (void)id;
    assert_true(str_eq(labels_get(e->labels, STR("trace_id")), STR("abc")) && e->v == 4.5);
    w->exemplars_got++;
}
static void on_info(void *ctx, uint32_t id, enum metric_type type, enum temporality t)
{
    struct watch *w = ctx;
    assert_true(w->series_of[id] % 3 == 1 && type == METRIC_COUNTER && t == TEMPORALITY_CUMULATIVE);
    w->infos++;
}

/* Everything new of the log. */
static void drain(struct fixture *f, struct store_tail *t, struct tsdb_follow *fo, uint64_t *io_place)
{
    struct store_replayed rec;
    uint64_t lost;
    enum err e;
    (void)f;
    while ((e = store_tail_next(t, &rec, &lost)) == OK) {
        assert_int_equal(lost, 0);
        assert_ok(tsdb_follow_record(fo, &rec));
        *io_place = rec.lsn;
    }
    assert_int_equal(e, ERR_NOT_FOUND);
}

static void write_round(struct fixture *f, struct watch *w, struct rng *rng, int64_t now)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a };
    for (int i = 0; i < SERIES; i++) {
        if (rng_next(rng) % 5 == 0)
            continue;
        bool late = rng_next(rng) % 20 == 0 && i % 3 == 0, hist = i % 8 == 7;
        struct event e = { late ? now - 30001 : now, i % 3 == 2 ? now - 5000 : 0, 0, hist };
        double v = rng_next(rng) % 50 == 0 ? f64_from_bits(STALE_NAN_BITS) : (double)(rng_next(rng) % 1000) / 4;
        struct batch_series bs = { 0 };
        bs.labels = mk_labels(&a, "m", arena_printf(&a, "h%d", i).p);
        if (hist) {
            struct histogram *h = arena_new(&a, struct histogram);
            h->count = h->zero_count = (double)(rng_next(rng) % 1000);
            h->schema = 2;
            e.bits = f64_bits(h->count);
            struct hist_sample *hs = arena_new(&a, struct hist_sample);
            *hs = (struct hist_sample){ e.ts, h };
            bs.hists = hs;
            bs.n_hists = 1;
        } else {
            struct sample *s = arena_new(&a, struct sample);
            *s = (struct sample){ e.ts, v };
            e.bits = f64_bits(v);
            bs.samples = s;
            bs.n_samples = 1;
        }
        if (e.start) {
            int64_t *st = arena_new(&a, int64_t);
            *st = e.start;
            bs.start_ms = st;
        }
        if (i % 3 == 1)
            bs.meta = (struct metric_meta){ METRIC_COUNTER, STR("help"), STR("") };
        if (i == 4) {
            struct label *l = arena_new(&a, struct label);
            *l = (struct label){ STR("trace_id"), STR("abc") };
            struct exemplar *ex = arena_new(&a, struct exemplar);
            *ex = (struct exemplar){ { l, 1 }, 4.5, now };
            bs.exemplars = ex;
            bs.n_exemplars = 1;
            w->exemplars_wanted++;
        }
        avec_push(&a, &b.series, bs);
        vec_push(&w->wanted[i], e);
    }
    struct tsdb_write_result r;
    enum err e;
    while ((e = tsdb_write(f->db, &b, &r)) == ERR_BUSY)
        os_sleep_ms(1);
    assert_ok(e);
    assert_ok(tsdb_wait(f->db, r.lsn));
    for (int k = 0; k < TSDB_REJECT_N; k++)
        assert_int_equal(r.rejected[k], 0);
    assert_int_equal(r.duplicates, 0);
}

static void compare(struct watch *w)
{
    for (int i = 0; i < SERIES; i++) {
        assert_int_equal(w->got[i].n, w->wanted[i].n);
        for (size_t k = 0; k < w->got[i].n; k++) {
            struct event x = w->wanted[i].p[k], y = w->got[i].p[k];
            if (x.ts != y.ts || x.bits != y.bits || x.hist != y.hist || x.start != y.start)
                fail_msg("series %d, sample %zu: ts %lld, start %lld, bits %llx for %lld, %lld, %llx", i, k,
                         (long long)y.ts, (long long)y.start, (unsigned long long)y.bits, (long long)x.ts,
                         (long long)x.start, (unsigned long long)x.bits);
        }
    }
    assert_int_equal(w->exemplars_got, w->exemplars_wanted);
}

/* A follower that reads as it goes, and another that comes late and reads everything again. */
static void follows_all(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct fixture f;
        struct watch *w = mem_zalloc(sizeof(*w)), *late = mem_zalloc(sizeof(*late));
        struct tsdb_follow_sink sink = { w, on_define, on_sample, on_histogram, on_exemplar, on_info, NULL };
        struct tsdb_follow *fo = tsdb_follow_new(&sink);
        struct store_tail *t;
        struct rng rng = { seed };
        struct err_text why;
        uint64_t place = 0;
        fx_init(&f);
        f.scfg.wal_file_bytes = 64 << 10;
        fx_open(&f);
        assert_ok(store_hold_set(f.st, STORE_METRICS, 0, &why));
        assert_ok(store_tail_open(f.st, STORE_METRICS, 0, &t));
        for (int round = 0; round < ROUNDS; round++) {
            f.clk.now_ms = T0 + round * 15000;
            write_round(&f, w, &rng, f.clk.now_ms);
            if (rng_next(&rng) % 4 == 0)
                drain(&f, t, fo, &place);
            if (rng_next(&rng) % 40 == 0)
                assert_ok(tsdb_flush(f.db));
            if (rng_next(&rng) % 60 == 0) { /* a restart in the middle: the decoder starts over with the file */
                drain(&f, t, fo, &place);
                store_tail_close(t);
                tsdb_follow_free(fo);
                if (round % 2)
                    fx_crash(&f);
                else
                    fx_close(&f);
                fx_open(&f);
                fo = tsdb_follow_new(&sink);
                assert_ok(store_tail_open(f.st, STORE_METRICS, place, &t));
                struct store_replayed rec;
                uint64_t lost;
                size_t n[SERIES]; /* what is repeated is not counted twice */
                uint32_t ex = w->exemplars_got;
                for (int i = 0; i < SERIES; i++)
                    n[i] = w->got[i].n;
                while (store_tail_lsn(t) < place && store_tail_next(t, &rec, &lost) == OK)
                    assert_ok(tsdb_follow_record(fo, &rec));
                for (int i = 0; i < SERIES; i++)
                    w->got[i].n = n[i];
                w->exemplars_got = ex;
            }
        }
        drain(&f, t, fo, &place);
        compare(w);
        assert_true(w->defines > SERIES && w->infos > 0);
        store_tail_close(t);
        tsdb_follow_free(fo);

        sink.ctx = late;
        fo = tsdb_follow_new(&sink);
        assert_ok(store_tail_open(f.st, STORE_METRICS, 0, &t));
        drain(&f, t, fo, &place);
        memcpy(late->wanted, w->wanted, sizeof(w->wanted));
        late->exemplars_wanted = w->exemplars_wanted;
        compare(late);
        store_tail_close(t);
        tsdb_follow_free(fo);
        for (int i = 0; i < SERIES; i++) {
            vec_free(&w->wanted[i]);
            vec_free(&w->got[i]);
            vec_free(&late->got[i]);
        }
        mem_free(w);
        mem_free(late);
        fx_close(&f);
        fx_deinit(&f);
    }
}

/* An agent's store: a flush forgets the head, writes no segment, and lets the log go but for who follows it. */
static void log_only_keeps_the_log(void **state)
{
    (void)state;
    struct fixture f;
    struct watch *w = mem_zalloc(sizeof(*w));
    struct rng rng = { 9 };
    struct store_tail *t;
    struct err_text why;
    uint64_t place = 0;
    fx_init(&f);
    f.scfg.wal_file_bytes = 64 << 10;
    f.cfg.log_only = true;
    fx_open(&f);
    assert_ok(store_hold_set(f.st, STORE_METRICS, 0, &why));
    for (int round = 0; round < 60; round++) {
        f.clk.now_ms = T0 + round * 15000;
        write_round(&f, w, &rng, f.clk.now_ms);
        if (round % 20 == 19)
            assert_ok(tsdb_flush(f.db));
    }
    struct store_stats st;
    store_stats_get(f.st, &st);
    assert_int_equal(st.segments, 0);
    assert_true(store_wal_low_water(f.st, STORE_METRICS) == store_wal_last_lsn(f.st));
    AUTO_ARENA struct arena a;
    struct tsdb_stats head;
    arena_init(&a, 0);
    assert_ok(tsdb_stats(f.db, false, &a, &head));
    assert_int_equal(head.head_chunks, 0);
    fx_crash(&f);
    fx_open(&f);
    struct tsdb_follow_sink sink = { w, on_define, on_sample, on_histogram, on_exemplar, on_info, NULL };
    struct tsdb_follow *fo = tsdb_follow_new(&sink);
    assert_ok(store_tail_open(f.st, STORE_METRICS, 0, &t));
    drain(&f, t, fo, &place);
    compare(w);
    store_tail_close(t);
    tsdb_follow_free(fo);
    for (int i = 0; i < SERIES; i++) {
        vec_free(&w->wanted[i]);
        vec_free(&w->got[i]);
    }
    mem_free(w);
    fx_close(&f);
    fx_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(follows_all), cmocka_unit_test(log_only_keeps_the_log) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
