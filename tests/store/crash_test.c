/* Power cuts, disk errors and full disks at every operation, on a simulated disk (tests/support/sim_fs.h).
 *
 * The model: a record is "acknowledged" when store_wal_wait() returned OK for it; a commit is "done" when
 * store_commit() returned OK and "open" when it failed (it may be found done or not, as a whole). After each
 * recovery everything acknowledged must be there, byte for byte, and nothing that was never written. */
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/os.h"
#include "sim_fs.h"
#include "test.h"
#include "store/store.h"

#define DIR "/d"
enum { RECORDS = 48, ID_MAX = 256 };

struct model {
    uint64_t appended, acked; /* LSNs */
    uint64_t low_done, low_open;
    bool seg_done[ID_MAX], seg_open[ID_MAX]; /* by id: in the set for sure; if the open commit counts */
    bool open;
    uint64_t prev_seg;
    /* who follows the log: everything beyond `followed` must be readable, whatever was flushed since */
    bool follows;
    uint64_t followed;
    uint64_t warmed, followed_files; /* records read again from the file's beginning; how often a hold was raised */
};

static struct store_config config(void)
{
    struct store_config c;
    store_config_defaults(&c);
    c.wal_file_bytes = 64 << 10;
    c.wal_spares = 1;
    c.reserve_bytes = 0;
    return c;
}

static size_t body_len(uint64_t lsn)
{
    return (size_t)(hash_u64(lsn) % 5000);
}
static void body_make(char *p, size_t n, uint64_t lsn)
{
    struct rng r = { lsn * 77 + 1 };
    for (size_t i = 0; i < n; i++)
        p[i] = (char)rng_next(&r);
}

/* ---- workload ---- */
static enum err append_some(struct store *st, struct model *m, unsigned count)
{
    char *body = mem_alloc(5000);
    uint32_t epoch;
    uint64_t lsn = 0;
    enum err e = store_wal_pin(st, count * 2500, &epoch);
    if (e == OK) {
        for (unsigned i = 0; i < count; i++) {
            uint64_t next = store_wal_last_lsn(st) + 1;
            size_t n = body_len(next);
            body_make(body, n, next);
            struct iovec iov = { body, n };
            struct store_record r = { .signal = STORE_METRICS, .type = 1, .partition = 9, .iov = &iov, .n_iov = 1 };
            assert_int_equal(store_wal_append(st, &r, &lsn), OK);
            assert_true(lsn == next);
            m->appended = lsn;
        }
        store_wal_unpin(st);
        e = store_wal_wait(st, lsn);
        if (e == OK)
            m->acked = lsn;
    }
    mem_free(body);
    return e;
}

static enum err commit_one(struct store *st, struct model *m)
{
    struct segment_writer *w;
    struct err_text et = { 0 };
    TRY(segment_writer_open(st, STORE_METRICS, 0, &w, &et));
    uint64_t id = segment_writer_id(w), low = m->acked;
    assert_true(id < ID_MAX);
    char text[3000];
    memset(text, (int)id, sizeof(text));
    segment_section_begin(w, 1, 0);
    segment_page_add(w, str_n(text, sizeof(text)), 0);
    segment_section_end(w, id, 0, 0, 0);
    struct segment_meta meta = { .min_time = (int64_t)id, .max_time = (int64_t)id, .rows = id };
    enum err e = segment_finish(w, &meta, &et);
    if (e == OK) {
        struct store_edit edit = { .signal = STORE_METRICS, .add = &w, .n_add = 1, .low_water_lsn = low };
        bool replace = m->prev_seg && id % 2 && m->seg_done[m->prev_seg];
        if (replace) {
            edit.remove = &m->prev_seg;
            edit.n_remove = 1;
        }
        memcpy(m->seg_open, m->seg_done, sizeof(m->seg_open));
        m->seg_open[id] = true;
        if (replace)
            m->seg_open[m->prev_seg] = false;
        m->open = true;
        m->low_open = low;
        e = store_commit(st, &edit, &et);
        if (e == OK) {
            memcpy(m->seg_done, m->seg_open, sizeof(m->seg_done));
            m->open = false;
            m->low_done = low;
            m->prev_seg = id;
            return OK;
        }
    }
    segment_abort(w);
    return e;
}

/* Read what is durable: every record after `followed` once, in order, as it was written; at most max of them. */
static void follow(struct store *st, struct model *m, struct store_tail *t, unsigned max)
{
    struct store_replayed r;
    uint64_t lost, durable = store_wal_durable_lsn(st);
    enum err e;
    while ((e = store_tail_next(t, &r, &lost)) == OK) {
        assert_true(r.lsn <= store_wal_durable_lsn(st));
        assert_int_equal(r.payload.n, body_len(r.lsn));
        char *body = mem_alloc(r.payload.n + 1);
        body_make(body, r.payload.n, r.lsn);
        assert_true(r.payload.n == 0 || memcmp(body, r.payload.p, r.payload.n) == 0);
        mem_free(body);
        if (r.lsn <= m->followed) {
            m->warmed++;
            continue;
        }
        if (lost || r.lsn != m->followed + 1)
            fail_msg("record %d follows %d, %d lost", (int)r.lsn, (int)m->followed, (int)lost);
        m->followed = r.lsn;
        if (--max == 0)
            return;
    }
    if (e != ERR_NOT_FOUND)
        return; /* the disk has gone */
    assert_true(m->followed >= durable);
    assert_true(store_tail_lsn(t) >= m->followed);
}

static void work(struct store *st, struct model *m, bool stop_on_error, struct store_tail *t)
{
    struct err_text et;
    for (unsigned i = 0; i < RECORDS; i++) {
        enum err e = append_some(st, m, 1 + i % 3);
        if (t && i % 4 == 3) { /* the hold stays a little behind */
            uint64_t before = m->followed;
            follow(st, m, t, 3); /* slower than the writer: flushed files are kept for it */
            m->followed_files += store_hold_set(st, STORE_METRICS, before, &et) == OK;
        }
        if (e == OK && i % 6 == 5)
            e = commit_one(st, m);
        if (e != OK && stop_on_error)
            return;
        if (e != OK)
            os_sleep_ms(2);
    }
}

/* Until the first error, or all: stop_on_error; otherwise goes on trying. */
static void workload(struct store *st, struct model *m, bool stop_on_error)
{
    struct store_tail *t = NULL;
    struct err_text et;
    if (!m->follows) { /* from now on */
        m->followed = store_wal_last_lsn(st);
        m->follows = store_hold_set(st, STORE_METRICS, m->followed, &et) == OK;
    }
    if (m->follows)
        assert_int_equal(store_tail_open(st, STORE_METRICS, m->followed, &t), OK);
    work(st, m, stop_on_error, t);
    store_tail_close(t);
}

/* ---- verification ---- */
struct check {
    uint64_t expected, last;
};
static enum err check_record(void *ctx, const struct store_replayed *r)
{
    struct check *c = ctx;
    assert_true(r->lsn == c->expected);
    c->expected++;
    c->last = r->lsn;
    size_t n = body_len(r->lsn);
    assert_int_equal(r->payload.n, n);
    char *body = mem_alloc(5000);
    body_make(body, n, r->lsn);
    assert_true(n == 0 || memcmp(body, r->payload.p, n) == 0);
    mem_free(body);
    assert_int_equal(r->type, 1);
    assert_int_equal(r->partition, 9);
    return OK;
}

static void check_log(struct store *st, struct model *m)
{
    uint64_t low = store_wal_low_water(st, STORE_METRICS);
    assert_true(low == m->low_done || (m->open && low == m->low_open));
    m->low_done = low;
    struct check c = { .expected = low + 1, .last = low };
    struct store_replay_result res;
    struct err_text et = { 0 };
    struct store_replay r = {
        .signal = STORE_METRICS, .from_lsn = low, .partition = -1, .ctx = &c, .on_record = check_record
    };
    assert_int_equal(store_wal_replay(st, &r, &res, &et), OK);
    if (res.holes)
        fail_msg("%d holes, %d records", (int)res.holes, (int)res.hole_records);
    assert_true(c.last >= m->acked);
    assert_true(c.last <= m->appended);
    assert_true(store_wal_last_lsn(st) == c.last);
    m->appended = m->acked = c.last; /* what was found counts from now on */
}

static void check_segments(struct store *st, struct model *m)
{
    const struct segment_set *set = store_segments_ref(st, STORE_METRICS);
    bool found[ID_MAX] = { false };
    assert_int_equal(set->n_damaged, 0);
    for (size_t i = 0; i < set->n; i++) {
        const struct segment_meta *meta = segment_meta(set->p[i]);
        struct page_buf b = { 0 };
        str raw;
        assert_true(meta->id < ID_MAX);
        found[meta->id] = true;
        assert_true(meta->rows == meta->id);
        assert_int_equal(segment_verify(set->p[i], NULL), OK);
        assert_int_equal(segment_page_read(set->p[i], 0, &b, &raw), OK);
        assert_true(raw.n == 3000 && raw.p[2999] == (char)meta->id);
        page_buf_deinit(&b);
    }
    segment_set_unref(set);
    bool done = memcmp(found, m->seg_done, sizeof(found)) == 0;
    bool open = m->open && memcmp(found, m->seg_open, sizeof(found)) == 0;
    assert_true(done || open);
    memcpy(m->seg_done, found, sizeof(found));
    m->open = false;
}

static void damage_found(void *ctx, enum store_finding kind, const char *path, const char *text)
{
    (void)ctx;
    if (kind == STORE_FINDING_DAMAGE)
        fail_msg("fsck: %s: %s", path, text);
}

/* What is beyond the place of who follows is still there, from the first record on. */
static void check_follow(struct store *st, struct model *m)
{
    struct store_tail *t;
    if (!m->follows) {
        m->follows = store_hold(st, STORE_METRICS) != STORE_HOLD_NONE; /* the first mark may have been made durable */
        return;
    }
    assert_true(store_hold(st, STORE_METRICS) <= m->followed);
    assert_int_equal(store_tail_open(st, STORE_METRICS, m->followed, &t), OK);
    follow(st, m, t, UINT_MAX);
    store_tail_close(t);
    assert_true(m->followed == m->acked);
}

/* Open after a power cut; everything must be there. */
static struct store *recover(struct sim_fs *s, struct model *m)
{
    struct store_config c = config();
    struct store *st;
    struct err_text et = { 0 };
    struct store_fsck f = { .report = damage_found };
    struct store_fsck_result res;
    enum err e = store_fsck(sim_fs_fs(s), DIR, &f, &res, &et);
    if (e != OK && e != ERR_NOT_FOUND) /* the cut came before the directory was complete */
        fail_msg("fsck: %s: %s", err_name(e), et.msg);
    e = store_open(sim_fs_fs(s), DIR, &c, os_clock(), &st, &et);
    if (e != OK)
        fail_msg("store_open: %s: %s", err_name(e), et.msg);
    check_log(st, m);
    check_segments(st, m);
    check_follow(st, m);
    return st;
}

/* One life: open, work until the power goes at operation k, recover, work on, lose power again, recover. */
static bool life(uint64_t k, uint64_t seed)
{
    struct sim_fs *s = sim_fs_new(seed * 1000003 + k);
    struct model m = { 0 };
    struct store_config c = config();
    struct store *st;
    struct err_text et = { 0 };
    assert_int_equal(fs_mkdir(sim_fs_fs(s), DIR), OK);
    assert_int_equal(fs_sync_dir(sim_fs_fs(s), ""), OK);
    sim_fs_cut_at(s, k);
    if (store_open(sim_fs_fs(s), DIR, &c, os_clock(), &st, &et) == OK) {
        workload(st, &m, true);
        store_close(st);
    }
    bool cut = sim_fs_was_cut(s);
    sim_fs_power_cut(s);
    st = recover(s, &m);
    sim_fs_cut_at(s, 1 + k % 40);
    workload(st, &m, true);
    store_close(st);
    sim_fs_power_cut(s);
    st = recover(s, &m);
    assert_int_equal(append_some(st, &m, 2), OK);
    store_close(st);
    sim_fs_free(s);
    return cut;
}

static void test_power_cut_at_every_operation(void **state)
{
    (void)state;
    unsigned lives = 0;
    uint64_t first = 1, last = 2;
    test_seeds(&first, &last);
    for (uint64_t seed = first; seed <= last; seed++)
        for (uint64_t k = 1; life(k, seed); k++)
            lives++;
    print_message("# %u power cuts\n", lives);
    assert_true(lives > 100);
}

/* A single failed operation, or a few in a row: nothing acknowledged is lost, and work goes on. */
static bool bad_day(uint64_t k, uint64_t n)
{
    struct sim_fs *s = sim_fs_new(k * 31 + n);
    struct model m = { 0 };
    struct store_config c = config();
    struct store *st;
    struct err_text et = { 0 };
    assert_int_equal(fs_mkdir(sim_fs_fs(s), DIR), OK);
    assert_int_equal(fs_sync_dir(sim_fs_fs(s), ""), OK);
    assert_int_equal(store_open(sim_fs_fs(s), DIR, &c, os_clock(), &st, &et), OK);
    sim_fs_fail_at(s, k, n);
    workload(st, &m, false);
    bool failed = sim_fs_failed(s);
    sim_fs_fail_at(s, 0, 0);
    enum err e = ERR_IO;
    for (int i = 0; e != OK && i < 1000; i++) {
        e = append_some(st, &m, 1);
        if (e != OK)
            os_sleep_ms(2);
    }
    assert_int_equal(e, OK);
    struct store_stats stats;
    store_stats_get(st, &stats);
    store_close(st);
    sim_fs_power_cut(s);
    st = recover(s, &m);
    store_close(st);
    sim_fs_free(s);
    return failed;
}

static void test_errors_at_every_operation(void **state)
{
    (void)state;
    unsigned days = 0;
    for (uint64_t k = 1; bad_day(k, 1); k++)
        days++;
    for (uint64_t k = 1; bad_day(k, 6); k += 41)
        days++;
    print_message("# %u bad days\n", days);
    assert_true(days > 50);
}

/* The disk fills up at any size; reads go on; with room again, writing resumes by itself. */
static void test_full_disk(void **state)
{
    (void)state;
    unsigned refused = 0;
    for (uint64_t room = 4000; room < 400000; room += 14321) {
        struct sim_fs *s = sim_fs_new(room);
        struct model m = { 0 };
        struct store_config c = config();
        c.wal_bytes_max = 1 << 20;
        struct store *st;
        struct err_text et = { 0 };
        assert_int_equal(fs_mkdir(sim_fs_fs(s), DIR), OK);
        assert_int_equal(fs_sync_dir(sim_fs_fs(s), ""), OK);
        assert_int_equal(store_open(sim_fs_fs(s), DIR, &c, os_clock(), &st, &et), OK);
        sim_fs_space(s, sim_fs_used(s) + room);
        enum err e = OK;
        for (unsigned i = 0; i < 200 && e == OK; i++) {
            while ((e = append_some(st, &m, 2)) == ERR_BUSY) /* the next file is not ready yet */
                os_sleep_ms(1);
            if (i == 3)
                IGNORE_ERR(commit_one(st, &m));
        }
        assert_true(e == OK || e == ERR_NO_SPACE);
        refused += e == ERR_NO_SPACE;
        const struct segment_set *set = store_segments_ref(st, STORE_METRICS);
        for (size_t i = 0; i < set->n; i++)
            assert_int_equal(segment_verify(set->p[i], NULL), OK);
        segment_set_unref(set);
        sim_fs_space(s, 0);
        e = ERR_NO_SPACE;
        for (int i = 0; e != OK && i < 2000; i++) {
            e = append_some(st, &m, 1);
            if (e != OK)
                os_sleep_ms(2);
        }
        assert_int_equal(e, OK);
        store_close(st);
        sim_fs_power_cut(s);
        st = recover(s, &m);
        store_close(st);
        sim_fs_free(s);
    }
    assert_true(refused > 10);
}

/* Below the reserve records are refused before anything is applied. */
static void test_reserve(void **state)
{
    (void)state;
    struct sim_fs *s = sim_fs_new(5);
    struct model m = { 0 };
    struct store_config c = config();
    c.reserve_bytes = 1 << 20;
    struct store *st;
    struct err_text et = { 0 };
    assert_int_equal(fs_mkdir(sim_fs_fs(s), DIR), OK);
    assert_int_equal(store_open(sim_fs_fs(s), DIR, &c, os_clock(), &st, &et), OK);
    assert_int_equal(append_some(st, &m, 1), OK);
    sim_fs_space(s, sim_fs_used(s) + 1000000);
    enum err e = OK;
    for (int i = 0; e == OK && i < 1000; i++) {
        e = append_some(st, &m, 1);
        os_sleep_ms(3);
    }
    assert_int_equal(e, ERR_NO_SPACE);
    assert_true(m.appended == m.acked);
    struct store_stats stats;
    store_stats_get(st, &stats);
    assert_true(stats.no_space);
    assert_int_equal(commit_one(st, &m), OK); /* a flush still can */
    sim_fs_space(s, 0);
    for (int i = 0; e != OK && i < 1000; i++) {
        e = append_some(st, &m, 1);
        os_sleep_ms(3);
    }
    assert_int_equal(e, OK);
    store_close(st);
    sim_fs_free(s);
}

/* kill -9 of a real process on the real file system, in the middle of full speed. */
static void child_run(const char *dir, int fd)
{
    struct store_config c = config();
    struct store *st;
    struct err_text et = { 0 };
    struct model m = { 0 };
    if (store_open(fs_os(), dir, &c, os_clock(), &st, &et) != OK)
        _exit(1);
    for (;;) {
        enum err e = append_some(st, &m, 2);
        if (e == OK && write(fd, &m.acked, sizeof(m.acked)) != sizeof(m.acked))
            _exit(2);
        if (e == OK && m.acked % 64 == 0) {
            struct store_edit edit = { .signal = STORE_METRICS, .low_water_lsn = m.acked - 50 };
            IGNORE_ERR(store_commit(st, &edit, &et));
        }
    }
}

static void test_kill_9(void **state)
{
    (void)state;
    char dir[] = "/tmp/vane_kill_XXXXXX", cmd[64];
    assert_non_null(mkdtemp(dir));
    for (int round = 0; round < 12; round++) {
        int fd[2], status;
        assert_int_equal(pipe(fd), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            child_run(dir, fd[1]);
        close(fd[1]);
        uint64_t acked = 0, got = 0, wanted = 50 + (uint64_t)round * 23;
        while (got++ < wanted && read(fd[0], &acked, sizeof(acked)) == sizeof(acked))
            ;
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        uint64_t more;
        while (read(fd[0], &more, sizeof(more)) == sizeof(more)) /* what it had still acknowledged */
            acked = more;
        close(fd[0]);
        struct store_config c = config();
        struct store *st;
        struct err_text et = { 0 };
        assert_int_equal(store_open(fs_os(), dir, &c, os_clock(), &st, &et), OK);
        uint64_t low = store_wal_low_water(st, STORE_METRICS);
        struct check k = { .expected = low + 1, .last = low };
        struct store_replay_result res;
        struct store_replay r = {
            .signal = STORE_METRICS, .from_lsn = low, .partition = -1, .ctx = &k, .on_record = check_record
        };
        assert_int_equal(store_wal_replay(st, &r, &res, &et), OK);
        assert_int_equal(res.holes, 0);
        assert_true(k.last >= acked);
        store_close(st);
    }
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    assert_int_equal(system(cmd), 0);
}

int main(void)
{
    log_setup((enum log_level)(LOG_LEVEL_ERROR + 1),
              LOG_FORMAT_LOGFMT); /* failures by the hundred are the point here */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_cut_at_every_operation),
        cmocka_unit_test(test_errors_at_every_operation),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_kill_9),
    };
    return cmocka_run_group_tests_name("store_crash", tests, NULL, NULL);
}
