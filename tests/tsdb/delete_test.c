/* Deletes against a slow model: what was deleted is gone from every way of reading, at once and after any start,
 * compaction or power cut; what was written after the delete stays, with the same timestamps too. */
#include "sim_fs.h"
#include "tsdb/fixture.h"
#include "tsdb/tsdb_bulk.h"

#define N_SERIES 6
#define N_TIMES  400
#define STEP     90000LL            /* 400 steps cross several 2 h slots */
#define BASE     (T0 - T0 % DAY_MS) /* the day is over when the clock says so */

struct cell {
    bool maybe; /* a write or delete of it was not acknowledged: either state is right */
    bool have;
    double v, maybe_v;
};
struct world {
    struct store *st;
    struct tsdb *db;
    struct test_clock clk;
    struct cell m[N_SERIES][N_TIMES];
    double next;
};

static void series_names(int i, char name[16], char inst[16])
{
    snprintf(name, 16, "m%d", i / 3);
    snprintf(inst, 16, "i%d", i % 3);
}

static enum err put(struct world *w, int i, int t, double v)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    char name[16], inst[16];
    series_names(i, name, inst);
    struct sample s = { BASE + t * STEP, v };
    struct batch b = { .a = &a };
    struct batch_series bs = { .labels = mk_labels(&a, name, inst), .samples = &s, .n_samples = 1 };
    avec_push(&a, &b.series, bs);
    struct tsdb_write_result r;
    enum err e = tsdb_write(w->db, &b, &r);
    if (!e) {
        for (int k = 0; k < TSDB_REJECT_N; k++)
            assert_int_equal(r.rejected[k], 0);
        e = tsdb_wait(w->db, r.lsn);
    }
    struct cell *c = &w->m[i][t];
    if (e) {
        c->maybe = true;
        c->maybe_v = v;
    } else {
        *c = (struct cell){ .have = true, .v = v };
    }
    return e;
}

static void forget(struct cell *c, enum err e)
{
    if (!e) {
        *c = (struct cell){ 0 };
    } else if (c->have || c->maybe) {
        if (!c->maybe)
            c->maybe_v = c->v;
        c->maybe = true;
        c->have = false;
    }
}

/* Kind 0: by name; 1: by name and instance; 2: by a regex on the instance. */
static enum err del(struct world *w, unsigned kind, int i, int t_from, int t_to)
{
    char name[16], inst[16];
    series_names(i, name, inst);
    struct matcher m[2];
    size_t n = 1;
    if (kind == 2)
        assert_ok(matcher_init(&m[0], MATCH_RE, STR("instance"), STR("i[01]"), NULL));
    else
        assert_ok(matcher_init(&m[0], MATCH_EQ, LABEL_NAME, str_c(name), NULL));
    if (kind == 1)
        assert_ok(matcher_init(&m[n++], MATCH_EQ, STR("instance"), str_c(inst), NULL));
    struct tsdb_selector sel = { m, n };
    struct err_text why = { 0 };
    enum err e = tsdb_delete(w->db, &sel, 1, BASE + t_from * STEP, BASE + t_to * STEP, &why);
    for (int k = 0; k < N_SERIES; k++) {
        bool hit = kind == 2 ? k % 3 < 2 : k / 3 == i / 3 && (kind == 0 || k == i);
        for (int t = t_from; hit && t <= t_to; t++)
            forget(&w->m[k][t], e);
    }
    for (size_t k = 0; k < n; k++)
        matcher_deinit(&m[k]);
    return e;
}

static void read_all(struct world *w, double got[N_SERIES][N_TIMES])
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_query *q;
    struct tsdb_series *s;
    size_t n;
    for (int i = 0; i < N_SERIES; i++)
        for (int t = 0; t < N_TIMES; t++)
            got[i][t] = -1;
    assert_ok(tsdb_query_open(w->db, INT64_MIN, INT64_MAX, &q));
    assert_ok(tsdb_select(q, NULL, 0, 0, &a, &s, &n));
    struct tsdb_cursor *cur = tsdb_cursor_new(q);
    for (size_t i = 0; i < n; i++) {
        int k = (labels_name(s[i].labels).p[1] - '0') * 3 + labels_get(s[i].labels, STR("instance")).p[1] - '0';
        struct tsdb_points p;
        assert_ok(tsdb_read(cur, s[i].id, INT64_MIN, INT64_MAX, &p));
        for (size_t j = 0; j < p.n; j++) {
            assert_int_equal((p.ts[j] - BASE) % STEP, 0);
            got[k][(p.ts[j] - BASE) / STEP] = p.v[j];
        }
    }
    struct err_text why;
    if (tsdb_query_incomplete(q, &why))
        fail_msg("incomplete: %s", why.msg);
    tsdb_cursor_free(cur);
    tsdb_query_close(q);
}

static void same_strs(const char *what, const str *got, size_t n, const char *const *want, size_t n_want)
{
    bool same = n == n_want;
    for (size_t i = 0; i < n && same; i++)
        same = str_eq(got[i], str_c(want[i]));
    if (!same)
        fail_msg("%s: %zu, not %zu, or others", what, n, n_want);
}

/* What has samples in [t_from, t_to], and nothing else, is listed by series, names and values. */
static void verify_lists(struct world *w, int t_from, int t_to)
{
    bool have[N_SERIES] = { 0 };
    size_t n_have = 0, n, k;
    for (int i = 0; i < N_SERIES; i++) {
        for (int t = t_from; t <= t_to; t++)
            have[i] |= w->m[i][t].have;
        n_have += have[i];
    }
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_query *q;
    struct tsdb_series *s;
    assert_ok(tsdb_query_open(w->db, BASE + t_from * STEP, BASE + t_to * STEP, &q));
    assert_ok(tsdb_select(q, NULL, 0, 0, &a, &s, &n));
    if (n != n_have && t_to - t_from == N_TIMES - 1) /* a part of the time may list a neighbour in its segment */
        fail_msg("%zu series, not %zu", n, n_have);
    for (int i = 0; i < N_SERIES; i++) {
        char name[16], inst[16];
        series_names(i, name, inst);
        bool found = false;
        for (k = 0; k < n; k++)
            found |= str_eq(labels_name(s[k].labels), str_c(name)) &&
                     str_eq(labels_get(s[k].labels, STR("instance")), str_c(inst));
        if (have[i] && !found)
            fail_msg("series %d is not listed", i);
    }
    if (t_to - t_from == N_TIMES - 1) {
        const char *names[2], *insts[3], *labels[] = { "__name__", "instance", "job" };
        str *v;
        size_t n_names = 0, n_insts = 0;
        for (int i = 0; i < 2; i++)
            if (have[i * 3] || have[i * 3 + 1] || have[i * 3 + 2])
                names[n_names++] = i ? "m1" : "m0";
        for (int i = 0; i < 3; i++)
            if (have[i] || have[i + 3])
                insts[n_insts++] = i == 0 ? "i0" : i == 1 ? "i1" : "i2";
        assert_ok(tsdb_label_values(q, LABEL_NAME, NULL, 0, 0, &a, &v, &k));
        same_strs("values of __name__", v, k, names, n_names);
        assert_ok(tsdb_label_values(q, STR("instance"), NULL, 0, 0, &a, &v, &k));
        same_strs("values of instance", v, k, insts, n_insts);
        assert_ok(tsdb_label_names(q, NULL, 0, 0, &a, &v, &k));
        same_strs("names", v, k, labels, n_have ? 3 : 0);
    }
    tsdb_query_close(q);
}

static void verify(struct world *w)
{
    static double got[N_SERIES][N_TIMES];
    read_all(w, got);
    for (int i = 0; i < N_SERIES; i++)
        for (int t = 0; t < N_TIMES; t++) {
            struct cell *c = &w->m[i][t];
            double g = got[i][t];
            bool right = g == (c->have ? c->v : -1);
            if (!right && !(c->maybe && (g == -1 || g == c->maybe_v)))
                fail_msg("series %d time %d: %g, not %g", i, t, g, c->have ? c->v : -1);
            *c = (struct cell){ .have = g != -1, .v = g }; /* decided now */
        }
    verify_lists(w, 0, N_TIMES - 1);
    int t = rand() % N_TIMES;
    verify_lists(w, t, MIN(t + 60, N_TIMES - 1));
}

static size_t n_tombstones(struct world *w)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct store_tombstone *t;
    size_t n;
    store_tombstones(w->st, STORE_METRICS, &a, &t, &n);
    return n;
}

static void open_again(struct world *w, struct fixture *f)
{
    fx_open(f);
    w->st = f->st;
    w->db = f->db;
}

static void begin(struct world *w, struct fixture *f)
{
    memset(w, 0, sizeof(*w));
    fx_init(f);
    f->clk.now_ms = BASE + N_TIMES * STEP;
    f->cfg.ooo_window_ms = 10 * DAY_MS;
    open_again(w, f);
}

static void written_again(void **state)
{
    (void)state;
    static struct world w;
    struct fixture f;
    begin(&w, &f);
    for (int t = 0; t < N_TIMES; t++)
        for (int i = 0; i < N_SERIES; i++)
            assert_ok(put(&w, i, t, t));
    struct tsdb_query *pin; /* keeps the head's chunks from leaving */
    assert_ok(tsdb_query_open(f.db, 0, INT64_MAX, &pin));
    assert_ok(del(&w, 0, 0, 100, N_TIMES - 1));
    verify(&w);
    assert_ok(put(&w, 0, N_TIMES - 1, N_TIMES - 1)); /* the same sample as the one deleted */
    assert_ok(put(&w, 1, 200, 200));
    assert_ok(put(&w, 2, 99, 7)); /* beside the range: replaces */
    verify(&w);
    tsdb_query_close(pin);
    fx_crash(&f);
    open_again(&w, &f);
    verify(&w);
    assert_ok(tsdb_flush(f.db));
    verify(&w);
    assert_int_equal(n_tombstones(&w), 1);
    fx_close(&f);
    open_again(&w, &f);
    verify(&w);
    struct err_text why = { 0 };
    assert_ok(tsdb_clean_tombstones(f.db, &why));
    assert_int_equal(n_tombstones(&w), 0);
    verify(&w);
    fx_close(&f);
    fx_deinit(&f);
}

static void nothing_to_hide(void **state)
{
    (void)state;
    static struct world w;
    struct fixture f;
    begin(&w, &f);
    for (int t = 0; t < 50; t++)
        assert_ok(put(&w, 0, t, t));
    assert_ok(del(&w, 0, 3, 0, N_TIMES - 1)); /* no such series */
    assert_ok(del(&w, 0, 0, 60, 70));         /* no such time */
    verify(&w);
    assert_ok(del(&w, 0, 0, 0, N_TIMES - 1)); /* all there is */
    verify(&w);
    assert_int_equal(n_tombstones(&w), 1);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_query *q;
    struct tsdb_series *s;
    size_t n;
    assert_ok(tsdb_query_open(f.db, INT64_MIN, INT64_MAX, &q));
    assert_ok(tsdb_select(q, NULL, 0, 0, &a, &s, &n));
    assert_int_equal(n, 0); /* not even the series */
    tsdb_query_close(q);
    f.clk.now_ms += 3 * DAY_MS;
    assert_ok(tsdb_compact(f.db)); /* finds it by itself once the day is over */
    assert_int_equal(n_tombstones(&w), 0);
    verify(&w);
    fx_close(&f);
    fx_deinit(&f);
}

/* The same delete again and again, reaching further each time: one tombstone, and nothing is written when nothing is new. */
static void in_rounds(void **state)
{
    (void)state;
    static struct world w;
    struct fixture f;
    begin(&w, &f);
    for (int t = 0; t < N_TIMES; t++)
        for (int i = 0; i < N_SERIES; i++)
            assert_ok(put(&w, i, t, t + 1));
    struct matcher m;
    struct err_text why = { 0 };
    assert_ok(matcher_init(&m, MATCH_EQ, LABEL_NAME, STR("m1"), NULL));
    struct tsdb_selector sel = { &m, 1 };
    int64_t to = 0;
    for (int round = 0; round < 3; round++) {
        to = BASE + (100 + round * 37) * STEP - 1;
        for (int again = 0; again < 3; again++) {
            const struct tomb_set *before = f.db->tombs;
            assert_ok(tsdb_delete(f.db, &sel, 1, INT64_MIN, to, &why));
            assert_int_equal(n_tombstones(&w), 1);
            if (again)
                assert_ptr_equal(before, f.db->tombs); /* the same set */
        }
        for (int i = 3; i < 6; i++)
            for (int t = 0; t < 100 + round * 37; t++)
                w.m[i][t] = (struct cell){ 0 };
        verify(&w);
        fx_close(&f);
        open_again(&w, &f);
        verify(&w);
    }
    assert_ok(tsdb_clean_tombstones(f.db, &why));
    assert_int_equal(n_tombstones(&w), 0);
    const struct segment_set *set = store_segments_ref(f.st, STORE_METRICS);
    uint64_t version = set->version;
    segment_set_unref(set);
    assert_ok(tsdb_delete(f.db, &sel, 1, INT64_MIN, to, &why)); /* nothing left of it: nothing to do */
    assert_ok(tsdb_delete(f.db, &sel, 1, INT64_MIN, to - 5, &why));
    assert_int_equal(n_tombstones(&w), 0);
    set = store_segments_ref(f.st, STORE_METRICS);
    assert_int_equal(set->version, version);
    segment_set_unref(set);
    assert_ok(put(&w, 3, 10, 77)); /* comes late */
    verify(&w);
    assert_ok(tsdb_delete(f.db, &sel, 1, INT64_MIN, to, &why));
    w.m[3][10] = (struct cell){ 0 };
    verify(&w);
    matcher_deinit(&m);
    fx_close(&f);
    fx_deinit(&f);
}

/* A delete between the beginning of an import and its end: what is imported came after it. */
static void import_beside(void **state)
{
    (void)state;
    static struct world w;
    struct fixture f;
    begin(&w, &f);
    for (int t = 0; t < 20; t++)
        assert_ok(put(&w, 0, t, t + 1));
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_bulk *b;
    struct tsdb_bulk_result r;
    struct err_text why = { 0 };
    int64_t ts[3];
    double v[3];
    for (int k = 0; k < 3; k++) {
        ts[k] = BASE + (30 + k) * STEP;
        v[k] = 100 + k;
    }
    struct tsdb_bulk_series s = { .labels = mk_labels(&a, "m0", "i1"), .points = { .ts = ts, .v = v, .n = 3 } };
    assert_ok(tsdb_bulk_open(f.db, 0, &b));
    assert_ok(tsdb_bulk_add(b, &s, &why));
    assert_ok(tsdb_flush(f.db));
    for (int t = 20; t < 40; t++)
        assert_ok(put(&w, 0, t, t + 1));
    assert_ok(del(&w, 0, 0, 0, N_TIMES - 1));
    assert_int_equal(n_tombstones(&w), 1);
    verify(&w);
    assert_ok(tsdb_bulk_commit(b, &r, &why));
    assert_int_equal(r.samples, 3);
    for (int k = 0; k < 3; k++)
        w.m[1][30 + k] = (struct cell){ .have = true, .v = v[k] };
    verify(&w);
    fx_crash(&f);
    open_again(&w, &f);
    verify(&w);
    const struct segment_set *set = store_segments_ref(f.st, STORE_METRICS);
    for (size_t i = 0; i < set->n; i++)
        assert_ok(segment_verify(set->p[i], &why));
    segment_set_unref(set);
    assert_ok(tsdb_clean_tombstones(f.db, &why));
    assert_int_equal(n_tombstones(&w), 0);
    verify(&w);
    fx_close(&f);
    fx_deinit(&f);
}

static size_t n_exemplars(struct world *w)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_query *q;
    struct tsdb_exemplars *x;
    size_t n, sum = 0;
    assert_ok(tsdb_query_open(w->db, INT64_MIN, INT64_MAX, &q));
    assert_ok(tsdb_exemplars(q, NULL, 0, &a, &x, &n));
    for (size_t i = 0; i < n; i++)
        sum += x[i].n;
    tsdb_query_close(q);
    return sum;
}

static void put_exemplar(struct world *w, int i, int t)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    char name[16], inst[16];
    series_names(i, name, inst);
    struct sample s = { BASE + t * STEP, 1 };
    struct exemplar e = { .labels = mk_labels(&a, "e", "x"), .v = 3, .ts_ms = BASE + t * STEP };
    struct batch b = { .a = &a };
    struct batch_series bs = {
        .labels = mk_labels(&a, name, inst), .samples = &s, .n_samples = 1, .exemplars = &e, .n_exemplars = 1
    };
    avec_push(&a, &b.series, bs);
    struct tsdb_write_result r;
    assert_ok(tsdb_write(w->db, &b, &r));
    assert_ok(tsdb_wait(w->db, r.lsn));
    w->m[i][t] = (struct cell){ .have = true, .v = 1 };
}

static void exemplars(void **state)
{
    (void)state;
    static struct world w;
    struct fixture f;
    begin(&w, &f);
    put_exemplar(&w, 0, 5);
    put_exemplar(&w, 1, 5);
    put_exemplar(&w, 0, 9);
    assert_int_equal(n_exemplars(&w), 3);
    assert_ok(del(&w, 1, 0, 7, 20));
    assert_int_equal(n_exemplars(&w), 2);
    put_exemplar(&w, 0, 9); /* the very same again */
    assert_int_equal(n_exemplars(&w), 3);
    verify(&w);
    fx_crash(&f);
    open_again(&w, &f);
    assert_int_equal(n_exemplars(&w), 3);
    struct err_text why;
    assert_ok(tsdb_clean_tombstones(f.db, &why));
    assert_int_equal(n_exemplars(&w), 3);
    assert_ok(del(&w, 0, 0, 0, N_TIMES - 1));
    assert_int_equal(n_exemplars(&w), 0);
    verify(&w);
    fx_close(&f);
    fx_deinit(&f);
}

static void one_step(struct world *w, struct fixture *f, int op)
{
    int i = rand() % N_SERIES, t = rand() % N_TIMES, r = rand() % 100;
    struct err_text why = { 0 };
    if (r < 84) {
        for (int k = 0; k < 4; k++)
            assert_ok(put(w, (i + k) % N_SERIES, t, rand() % 3 ? op : 1));
    } else if (r < 89) {
        int to = t + rand() % 120;
        assert_ok(del(w, (unsigned)rand() % 3, i, t, MIN(to, N_TIMES - 1)));
    } else if (r < 92) {
        assert_ok(tsdb_flush(f->db));
    } else if (r < 95) {
        assert_ok(tsdb_compact(f->db));
    } else if (r < 96) {
        assert_ok(tsdb_clean_tombstones(f->db, &why));
        assert_int_equal(n_tombstones(w), 0);
    } else if (r < 97) {
        f->clk.now_ms += DAY_MS / 2;
    } else if (r < 99) {
        if (r < 98)
            fx_crash(f);
        else
            fx_close(f);
        open_again(w, f);
    } else {
        verify(w);
    }
}

static void at_random(void **state)
{
    (void)state;
    uint64_t first = 1, last = 5;
    test_seeds(&first, &last);
    for (uint64_t seed = first; seed <= last; seed++) {
        static struct world w;
        struct fixture f;
        srand((unsigned)seed);
        begin(&w, &f);
        for (int op = 2; op < 700; op++)
            one_step(&w, &f, op);
        verify(&w);
        fx_close(&f);
        fx_deinit(&f);
    }
}

/* ---- power cuts ---- */
static bool cut_open(struct world *w, struct sim_fs *sim)
{
    struct tsdb_config cfg;
    struct store_config scfg;
    struct err_text why = { 0 };
    tsdb_config_defaults(&cfg);
    cfg.retention_ms = 0;
    cfg.partitions = 2;
    cfg.ooo_window_ms = 10 * DAY_MS;
    store_config_defaults(&scfg);
    scfg.wal_file_bytes = 64 << 10;
    scfg.wal_spares = 1;
    scfg.reserve_bytes = 0;
    if (store_open(sim_fs_fs(sim), "/d", &scfg, &w->clk.c, &w->st, &why))
        return false;
    if (tsdb_open(&cfg, w->st, &w->clk.c, &w->db, &why)) {
        store_close(w->st);
        return false;
    }
    return true;
}

static void cut_close(struct world *w)
{
    w->db->test_no_flush = true;
    tsdb_close(w->db);
    store_close(w->st);
}

static void cut_work(struct world *w, int n)
{
    for (int op = 0; op < n; op++) {
        int i = rand() % N_SERIES, t = rand() % N_TIMES;
        struct err_text why;
        enum err e = put(w, i, t, ++w->next);
        if (!e && op % 9 == 8)
            e = del(w, (unsigned)rand() % 3, i, MAX(t - 100, 0), MIN(t + 100, N_TIMES - 1));
        if (!e && op % 25 == 24)
            e = tsdb_compact(w->db);
        if (!e && op % 40 == 39)
            e = tsdb_clean_tombstones(w->db, &why);
        if (e)
            return;
    }
}

static void power_cuts(void **state)
{
    (void)state;
    uint64_t first = 1, last = 1, step = test_seeds(&first, &last) ? 1 : 11;
    for (uint64_t i = 0, n = (last - first + 1) * 500; i < n; i += step) {
        uint64_t seed = first + i / 500, k = 1 + i % 500;
        static struct world w;
        memset(&w, 0, sizeof(w));
        w.clk = (struct test_clock){ { test_now, test_mono }, BASE + DAY_MS };
        srand((unsigned)(seed * 1000 + k));
        struct sim_fs *sim = sim_fs_new(seed * 1000 + k);
        sim_fs_cut_at(sim, k);
        for (int life = 0; life < 3; life++) {
            if (cut_open(&w, sim)) {
                verify(&w);
                cut_work(&w, 60);
                cut_close(&w);
            }
            sim_fs_power_cut(sim);
            sim_fs_cut_at(sim, 20 + (k * 7 + (uint64_t)life * 31) % 150);
        }
        sim_fs_cut_at(sim, 0);
        sim_fs_power_cut(sim);
        assert_true(cut_open(&w, sim));
        verify(&w);
        cut_work(&w, 30);
        verify(&w);
        cut_close(&w);
        assert_true(cut_open(&w, sim));
        verify(&w);
        cut_close(&w);
        sim_fs_free(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(written_again), cmocka_unit_test(nothing_to_hide),
                                        cmocka_unit_test(in_rounds),     cmocka_unit_test(exemplars),
                                        cmocka_unit_test(import_beside), cmocka_unit_test(at_random),
                                        cmocka_unit_test(power_cuts) };
    return cmocka_run_group_tests_name("tsdb delete", tests, NULL, NULL);
}
