/* Backups and restores on a simulated disk: power cuts and errors at any operation, full disks, damaged objects. What was
 * backed up before is always there and sound; a restored directory answers all of it, or does not open, or says what
 * is missing. */
#include "sim_fs.h"
#include "store/backup.h"
#include "tsdb/fixture.h"

#define N_SERIES 7
#define STEP     600000LL
#define BASE     (T0 - T0 % DAY_MS)
enum { N_TIMES = 60 };

struct world {
    struct sim_fs *sim;
    struct fs *fs;
    struct test_clock clk;
    struct store *st;
    struct tsdb *db;
    int written; /* times 0 .. written-1 are in the data directory */
};

static bool open_dir(struct world *w, const char *dir)
{
    struct tsdb_config cfg;
    struct store_config scfg;
    struct err_text why = { 0 };
    tsdb_config_defaults(&cfg);
    cfg.retention_ms = 0;
    cfg.partitions = 2;
    store_config_defaults(&scfg);
    scfg.wal_file_bytes = 64 << 10;
    scfg.wal_spares = 1;
    scfg.reserve_bytes = 0;
    if (store_open(w->fs, dir, &scfg, &w->clk.c, &w->st, &why))
        return false;
    if (tsdb_open(&cfg, w->st, &w->clk.c, &w->db, &why)) {
        store_close(w->st);
        return false;
    }
    return true;
}

static void close_dir(struct world *w)
{
    w->db->test_no_flush = true;
    tsdb_close(w->db);
    store_close(w->st);
}

static double value(int i, int t)
{
    return i * 1000 + t * 7 + 0.25;
}

/* Some of it ends in segments, some in the log only. */
static void write_to(struct world *w, int upto)
{
    assert_true(open_dir(w, "/d"));
    for (; w->written < upto; w->written++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct batch b = { .a = &a };
        struct sample s[N_SERIES];
        for (int i = 0; i < N_SERIES; i++) {
            char inst[16];
            snprintf(inst, sizeof(inst), "i%d", i);
            s[i] = (struct sample){ BASE + w->written * STEP, value(i, w->written) };
            struct batch_series bs = { .labels = mk_labels(&a, "m", inst), .samples = &s[i], .n_samples = 1 };
            avec_push(&a, &b.series, bs);
        }
        struct tsdb_write_result r;
        assert_ok(tsdb_write(w->db, &b, &r));
        assert_ok(tsdb_wait(w->db, r.lsn));
        if (w->written % 9 == 8)
            assert_ok(tsdb_flush(w->db));
    }
    close_dir(w);
}

/* How many times an open directory holds (the same of every series, from 0 on), -1 if it says that samples are missing. */
static int read_all(struct world *w)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_query *q;
    struct tsdb_series *s;
    size_t n;
    struct err_text why;
    assert_ok(tsdb_query_open(w->db, INT64_MIN, INT64_MAX, &q));
    assert_ok(tsdb_select(q, NULL, 0, 0, &a, &s, &n));
    struct tsdb_cursor *cur = tsdb_cursor_new(q);
    size_t times = 0;
    bool gaps = n != N_SERIES;
    for (size_t i = 0; i < n; i++) {
        int k = labels_get(s[i].labels, STR("instance")).p[1] - '0';
        struct tsdb_points p;
        assert_ok(tsdb_read(cur, s[i].id, INT64_MIN, INT64_MAX, &p));
        gaps |= i && p.n != times;
        times = p.n;
        for (size_t j = 0; j < p.n; j++) {
            int t = (int)((p.ts[j] - BASE) / STEP);
            assert_true(p.v[j] == value(k, t));
            gaps |= t != (int)j;
        }
    }
    bool incomplete = tsdb_query_incomplete(q, &why);
    tsdb_cursor_free(cur);
    tsdb_query_close(q);
    if (n == 0 && !incomplete)
        return 0;
    if (gaps && !incomplete)
        fail_msg("samples are missing, and nothing says so");
    return incomplete ? -1 : (int)times;
}

static void note_problem(void *ctx, const char *path, const char *text)
{
    (void)path;
    assert_true(text[0] != 0);
    ++*(unsigned *)ctx;
}

static enum err with_backup(struct world *w, unsigned *problems, struct backup **ret)
{
    struct err_text why = { 0 };
    struct backup_hooks hooks = { .ctx = problems, .problem = note_problem };
    return backup_open(w->fs, "/b", true, problems ? &hooks : NULL, ret, &why);
}

static enum err make(struct world *w, const char *name)
{
    struct backup *b;
    struct backup_result res;
    struct err_text why = { 0 };
    TRY(with_backup(w, NULL, &b));
    enum err e = backup_make(b, "/d", name, 1, &res, &why);
    if (e)
        assert_true(why.msg[0] != 0);
    backup_close(b);
    return e;
}

static enum err restore(struct world *w, const char *name, const char *target)
{
    struct backup *b;
    struct backup_result res;
    struct err_text why = { 0 };
    TRY(with_backup(w, NULL, &b));
    enum err e = backup_restore(b, name, target, &res, &why);
    backup_close(b);
    return e;
}

static int restored(struct world *w, const char *name, const char *target)
{
    assert_ok(restore(w, name, target));
    assert_true(open_dir(w, target));
    int n = read_all(w);
    close_dir(w);
    return n;
}

static size_t count(struct world *w)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct backup *b;
    struct backup_info *v;
    struct err_text why;
    size_t n;
    assert_ok(with_backup(w, NULL, &b));
    assert_ok(backup_list(b, &a, &v, &n, &why));
    for (size_t i = 0; i < n; i++)
        assert_true(v[i].readable);
    backup_close(b);
    return n;
}

static enum err verify(struct world *w, unsigned *ret_problems)
{
    struct backup *b;
    struct backup_result res;
    struct err_text why;
    unsigned problems = 0;
    assert_ok(with_backup(w, &problems, &b));
    enum err e = backup_verify(b, NULL, &res, &why);
    assert_int_equal(res.problems, problems);
    if (ret_problems)
        *ret_problems = problems;
    backup_close(b);
    return e;
}

static enum err thin(struct world *w, size_t keep)
{
    struct backup *b;
    struct err_text why;
    uint64_t gone, bytes;
    TRY(with_backup(w, NULL, &b));
    enum err e = backup_thin(b, keep, &gone, &bytes, &why);
    backup_close(b);
    return e;
}

static void begin(struct world *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    w->clk = (struct test_clock){ { test_now, test_mono }, BASE + DAY_MS };
    w->sim = sim_fs_new(seed);
    w->fs = sim_fs_fs(w->sim);
    write_to(w, 25);
    assert_ok(make(w, "b1"));
    write_to(w, 40);
}

static void round_trip(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 1);
    assert_ok(make(&w, "b2"));
    assert_int_equal(make(&w, "no/name"), ERR_INVALID);
    assert_int_equal(count(&w), 2);
    assert_int_equal(restored(&w, "b1", "/r1"), 25);
    assert_int_equal(restored(&w, NULL, "/r2"), 40);
    assert_int_equal(restore(&w, "b1", "/r2"), ERR_EXISTS);
    assert_int_equal(restore(&w, "b3", "/r3"), ERR_NOT_FOUND);
    uint64_t used = sim_fs_used(w.sim);
    assert_ok(make(&w, "b3")); /* nothing new but the list */
    assert_true(sim_fs_used(w.sim) - used < 8192);
    assert_ok(thin(&w, 2));
    assert_int_equal(restored(&w, "b2", "/r4"), 40);
    assert_ok(thin(&w, 1));
    assert_int_equal(count(&w), 1);
    assert_ok(verify(&w, NULL));
    assert_int_equal(restored(&w, NULL, "/r5"), 40);
    assert_true(open_dir(&w, "/d"));
    assert_int_equal(make(&w, "b4"), ERR_BUSY);
    close_dir(&w);
    sim_fs_free(w.sim);
}

/* What must hold whatever happened to a second backup, or to thinning out; done: it returned OK. */
static void still_sound(struct world *w, bool done, bool thinned)
{
    size_t n = count(w);
    assert_ok(verify(w, NULL));
    assert_in_range(n, 1, 2);
    int newest = restored(w, NULL, "/r1");
    if (done || n == 2 || thinned)
        assert_int_equal(newest, 40);
    else
        assert_true(newest == 25 || newest == 40);
    if (!thinned)
        assert_int_equal(restored(w, "b1", "/r2"), 25);
    assert_ok(make(w, "b3"));
    assert_int_equal(restored(w, NULL, "/r3"), 40);
    assert_ok(thin(w, 1));
    assert_ok(verify(w, NULL));
    assert_int_equal(restored(w, NULL, "/r4"), 40);
}

static void cut_backups(void **state)
{
    (void)state;
    bool cut = true;
    for (uint64_t k = 1; cut && k < 400; k += 1 + k / 12) {
        struct world w;
        begin(&w, k);
        sim_fs_cut_at(w.sim, k);
        bool done = make(&w, "b2") == OK;
        cut = sim_fs_was_cut(w.sim);
        sim_fs_power_cut(w.sim);
        assert_true(done || cut);
        still_sound(&w, done, false);
        sim_fs_free(w.sim);
    }
    assert_false(cut); /* all of it has been cut */
}

static void failing_disk(void **state)
{
    (void)state;
    bool failed = true;
    for (uint64_t k = 1; failed && k < 400; k += 1 + k / 12) {
        struct world w;
        begin(&w, k);
        sim_fs_fail_at(w.sim, k, 1 + k % 3);
        enum err e = make(&w, "b2");
        failed = sim_fs_failed(w.sim);
        sim_fs_fail_at(w.sim, 1, 0);
        sim_fs_power_cut(w.sim);
        still_sound(&w, e == OK, false);
        sim_fs_free(w.sim);
    }
    assert_false(failed);
}

static void cut_thinning(void **state)
{
    (void)state;
    bool cut = true;
    for (uint64_t k = 1; cut && k < 100; k++) {
        struct world w;
        begin(&w, k);
        assert_ok(make(&w, "b2"));
        sim_fs_cut_at(w.sim, k);
        bool done = thin(&w, 1) == OK;
        cut = sim_fs_was_cut(w.sim);
        sim_fs_power_cut(w.sim);
        assert_true(done || cut);
        still_sound(&w, true, true);
        sim_fs_free(w.sim);
    }
    assert_false(cut);
}

static void full_disk(void **state)
{
    (void)state;
    bool full = true;
    for (uint64_t k = 0; full; k++) {
        struct world w;
        begin(&w, k + 1);
        sim_fs_space(w.sim, sim_fs_used(w.sim) + 1 + k * 3000);
        enum err e = make(&w, "b2");
        full = e != OK;
        if (full)
            assert_int_equal(e, ERR_NO_SPACE);
        sim_fs_space(w.sim, 0);
        still_sound(&w, e == OK, false);
        sim_fs_free(w.sim);
        assert_true(k < 100);
    }
}

static void cut_restores(void **state)
{
    (void)state;
    bool cut = true;
    unsigned unopened = 0;
    for (uint64_t k = 1; cut && k < 400; k += 1 + k / 12) {
        struct world w;
        begin(&w, k);
        sim_fs_cut_at(w.sim, k);
        bool done = restore(&w, NULL, "/r") == OK;
        cut = sim_fs_was_cut(w.sim);
        sim_fs_power_cut(w.sim);
        enum err again = k % 2 ? restore(&w, NULL, "/r") : ERR_EXISTS;
        bool opens = open_dir(&w, "/r");
        if (opens) {
            int n = read_all(&w);
            if (n == 0) /* nothing had reached the disk: a new directory */
                assert_false(done);
            else
                assert_int_equal(n, 25);
            close_dir(&w);
        }
        assert_true(opens || !done);
        if (again != ERR_EXISTS) {
            assert_ok(again);
            assert_true(opens);
        }
        unopened += !opens;
        sim_fs_free(w.sim);
    }
    assert_false(cut);
    assert_true(unopened > 3);
}

static void damaged_objects(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 3);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str *names;
    size_t n, damaged_answers = 0;
    assert_ok(fs_list(w.fs, "/b/objects", &a, &names, &n));
    assert_true(n > 5);
    for (size_t i = 0; i < n; i++) {
        const char *path = arena_printf(&a, "/b/objects/" STR_FMT, STR_ARG(names[i])).p;
        struct fs_file *f;
        uint64_t size;
        unsigned problems;
        assert_ok(fs_open(w.fs, path, FS_READ, &f));
        assert_ok(fs_size(f, &size));
        fs_close(f);
        uint64_t at = (i * 7919 + 13) % size;
        char target[32];
        snprintf(target, sizeof(target), "/r%zu", i);
        sim_fs_damage(w.sim, path, at, 0x55);
        assert_int_equal(verify(&w, &problems), ERR_CORRUPT);
        assert_int_equal(problems, 1);
        assert_int_equal(restore(&w, NULL, target), ERR_CORRUPT);
        if (open_dir(&w, target)) { /* not without its MANIFEST */
            int got = read_all(&w); /* and never with gaps that it does not tell of */
            damaged_answers += got == -1;
            close_dir(&w);
        }
        assert_ok(fs_unlink(w.fs, path)); /* the source still has it: the next backup heals the folder */
        char name[32];
        snprintf(name, sizeof(name), "c%03zu", i);
        assert_ok(make(&w, name));
        snprintf(target, sizeof(target), "/s%zu", i);
        assert_int_equal(restored(&w, NULL, target), 40);
        assert_ok(thin(&w, 1));
        assert_ok(verify(&w, NULL));
        assert_ok(fs_list(w.fs, "/b/objects", &a, &names, &n)); /* others now */
    }
    assert_true(damaged_answers > 0);
    sim_fs_free(w.sim);
}

static void lists(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 4);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text;
    struct err_text why;
    assert_ok(fs_read_file(w.fs, "/b/backups/b1", 1 << 20, &a, &text, &why));
    assert_ok(backup_list_verify(text, &why));
    char *copy = arena_cstr(&a, text);
    for (size_t i = 0; i < text.n; i++) {
        copy[i] ^= 4;
        assert_true(backup_list_verify(str_n(copy, text.n), &why) != OK);
        copy[i] ^= 4;
        assert_true(backup_list_verify(str_n(copy, i), &why) != OK);
    }
    static const char *const paths[] = { "../x", "/etc/passwd", "a/../../b", "a//b", ".", "a/", "", "a\tb" };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        AUTO_BUF struct buf b = { 0 };
        buf_printf(&b, "vane backup 1\nname x\ntime_ms 1\nmissing %s\n", paths[i]);
        hash128 h = hash128_seed(buf_str(&b), 0);
        buf_printf(&b, "end %016llx%016llx\n", (unsigned long long)h.hi, (unsigned long long)h.lo);
        assert_int_equal(backup_list_verify(buf_str(&b), &why), ERR_CORRUPT);
    }
    sim_fs_free(w.sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),      cmocka_unit_test(cut_backups), cmocka_unit_test(failing_disk),
        cmocka_unit_test(cut_thinning),    cmocka_unit_test(full_disk),   cmocka_unit_test(cut_restores),
        cmocka_unit_test(damaged_objects), cmocka_unit_test(lists),
    };
    return cmocka_run_group_tests_name("backup", tests, NULL, NULL);
}
