/* The store over the real file system: log, commits, segments, refusals, fsck. Crashes are crash_test.c's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/thread.h"
#include "store/store.h"

static char *tmp_dir(void)
{
    char *d = strdup("/tmp/vane_store_XXXXXX");
    assert_non_null(mkdtemp(d));
    return d;
}

static void tmp_free(char *d)
{
    char cmd[256];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", d);
    assert_int_equal(system(cmd), 0);
    free(d);
}

static struct store_config small_config(void)
{
    struct store_config c;
    store_config_defaults(&c);
    c.wal_file_bytes = 64 << 10;
    c.reserve_bytes = 0;
    return c;
}

static struct store *open_ok(const char *dir, const struct store_config *c)
{
    struct store *st = NULL;
    struct err_text et = { 0 };
    struct store_config small = small_config(); /* the default's files of 64 MiB take their time */
    enum err e = store_open(fs_os(), dir, c ? c : &small, os_clock(), &st, &et);
    if (e != OK)
        fail_msg("store_open: %s: %s", err_name(e), et.msg);
    return st;
}

static uint64_t put(struct store *st, enum store_signal s, uint16_t part, const void *p, size_t n, uint32_t *ret_epoch)
{
    uint32_t epoch;
    uint64_t lsn;
    enum err e;
    while ((e = store_wal_pin(st, n, &epoch)) == ERR_BUSY)
        os_sleep_ms(1);
    assert_int_equal(e, OK);
    struct iovec iov[2] = { { (void *)(uintptr_t)p, n / 2 }, { (char *)(uintptr_t)p + n / 2, n - n / 2 } };
    struct store_record r = { .signal = s, .type = 3, .partition = part, .iov = iov, .n_iov = 2 };
    assert_int_equal(store_wal_append(st, &r, &lsn), OK);
    store_wal_unpin(st);
    if (ret_epoch)
        *ret_epoch = epoch;
    return lsn;
}

struct seen {
    uint64_t n, last_lsn, sum, epochs;
    uint32_t epoch;
};
static enum err see(void *ctx, const struct store_replayed *r)
{
    struct seen *s = ctx;
    assert_true(r->lsn > s->last_lsn);
    assert_int_equal(r->type, 3);
    s->epochs += r->epoch != s->epoch;
    s->epoch = r->epoch;
    s->last_lsn = r->lsn;
    s->n++;
    for (size_t i = 0; i < r->payload.n; i++)
        s->sum += (uint8_t)r->payload.p[i];
    return OK;
}
static struct seen replay(struct store *st, enum store_signal s, uint64_t from, int32_t part)
{
    struct seen seen = { 0 };
    struct store_replay_result res;
    struct err_text et = { 0 };
    struct store_replay r = { .signal = s, .from_lsn = from, .partition = part, .ctx = &seen, .on_record = see };
    assert_int_equal(store_wal_replay(st, &r, &res, &et), OK);
    assert_int_equal(res.records, seen.n);
    assert_int_equal(res.holes, 0);
    return seen;
}

/* What nobody waits for becomes durable by itself: soon when asked, else a little later. */
static void test_lonely_records(void **state)
{
    (void)state;
    char *d = tmp_dir();
    struct store_config c = small_config();
    struct store *st = open_ok(d, &c);
    for (int asked = 0; asked < 2; asked++) {
        uint64_t lsn = put(st, STORE_METRICS, 0, "abc", 3, NULL), t0 = os_mono_ns();
        if (asked)
            store_wal_sync_soon(st);
        while (store_wal_durable_lsn(st) < lsn && os_mono_ns() - t0 < 20 * 1000000000ull)
            os_sleep_ms(1);
        assert_true(store_wal_durable_lsn(st) >= lsn);
    }
    store_close(st);
    tmp_free(d);
}

static void test_wal_round_trip(void **state)
{
    (void)state;
    char *d = tmp_dir();
    struct store_config c = small_config();
    struct store *st = open_ok(d, &c);
    uint64_t seed = store_seed(st), lsn = 0, sum = 0;
    uint32_t epoch = 0, first_epoch = 0;
    char body[1000];
    for (int i = 0; i < 1000; i++) {
        size_t n = (size_t)(i * 7 % 1000);
        memset(body, i, sizeof(body));
        sum += (uint64_t)(i & 255) * n;
        lsn = put(st, i % 4 ? STORE_METRICS : STORE_LOGS, (uint16_t)(i % 3), body, n, &epoch);
        if (!first_epoch)
            first_epoch = epoch;
        assert_int_equal(lsn, i + 1);
    }
    assert_int_equal(store_wal_wait(st, lsn), OK);
    assert_int_equal(store_wal_durable_lsn(st), 1000);
    assert_true(epoch > first_epoch);
    store_close(st);
    st = open_ok(d, &c);
    assert_true(seed == store_seed(st));
    assert_int_equal(store_wal_last_lsn(st), 1000);
    struct seen m = replay(st, STORE_METRICS, 0, -1), l = replay(st, STORE_LOGS, 0, -1);
    assert_int_equal(m.n, 750);
    assert_int_equal(l.n, 250);
    assert_true(m.sum + l.sum == sum);
    assert_true(m.epochs > 3);
    uint64_t parts = 0;
    for (int p = 0; p < 3; p++)
        parts += replay(st, STORE_METRICS, 500, p).n;
    assert_int_equal(parts, 375);
    assert_int_equal(put(st, STORE_METRICS, 0, body, 10, &epoch), 1001);
    store_close(st);
    tmp_free(d);
}

static void test_low_water_frees_files(void **state)
{
    (void)state;
    char *d = tmp_dir();
    struct store_config c = small_config();
    struct store *st = open_ok(d, &c);
    char body[4000] = { 0 };
    uint64_t lsn = 0;
    for (int i = 0; i < 200; i++)
        lsn = put(st, STORE_METRICS, 0, body, sizeof(body), NULL);
    assert_int_equal(store_wal_wait(st, lsn), OK);
    uint64_t bytes = store_wal_bytes(st);
    struct err_text et = { 0 };
    struct store_edit e = { .signal = STORE_METRICS, .low_water_lsn = lsn };
    assert_int_equal(store_commit(st, &e, &et), OK);
    for (int i = 0; i < 4000 && store_wal_bytes(st) > 100000; i++)
        os_sleep_ms(5);
    assert_true(store_wal_bytes(st) < bytes / 4);
    lsn = put(st, STORE_METRICS, 0, body, sizeof(body), NULL);
    assert_int_equal(store_wal_wait(st, lsn), OK);
    store_close(st);
    st = open_ok(d, &c);
    assert_int_equal(store_wal_low_water(st, STORE_METRICS), 200);
    assert_int_equal(replay(st, STORE_METRICS, 200, -1).n, 1);
    store_close(st);
    tmp_free(d);
}

static enum err open_user(void *ctx, struct segment *seg, void **ret_user, struct err_text *et)
{
    (void)et;
    ++*(int *)ctx;
    *ret_user = seg;
    return OK;
}

static struct segment_writer *segment_make(struct store *st, int n_pages, int64_t t)
{
    struct segment_writer *w;
    struct err_text et = { 0 };
    assert_int_equal(segment_writer_open(st, STORE_METRICS, 0, &w, &et), OK);
    static char raw[100000];
    for (int kind = 2; kind >= 1; kind--) {
        segment_section_begin(w, (uint32_t)kind, 7);
        for (int i = 0; i < n_pages; i++) {
            memset(raw, i + kind, sizeof(raw));
            segment_page_add(w, str_n(raw, 1000 + (size_t)i * 100),
                             kind == 1 ? SEGMENT_PAGE_ZSTD : SEGMENT_PAGE_ALIGN64);
        }
        segment_section_end(w, 5, -1, 1, 0);
    }
    struct segment_meta m = { .min_time = t, .max_time = t + 10, .rows = 5, .lsn_last = 3 };
    assert_int_equal(segment_finish(w, &m, &et), OK);
    assert_true(m.id == segment_writer_id(w));
    return w;
}

static void segment_look(struct segment *g, int n_pages)
{
    struct page_buf b = { 0 };
    for (uint32_t kind = 1; kind <= 2; kind++) {
        const struct segment_section *s = segment_section_find(g, kind, 7);
        assert_non_null(s);
        assert_int_equal(s->n_pages, n_pages);
        for (uint32_t i = 0; i < s->n_pages; i++) {
            str raw;
            assert_int_equal(segment_page_read(g, s->page_first + i, &b, &raw), OK);
            assert_int_equal(raw.n, 1000 + i * 100);
            assert_int_equal(raw.p[raw.n - 1], i + kind);
            assert_true(kind == 1 || (uintptr_t)raw.p % 64 == 0);
        }
    }
    assert_null(segment_section_find(g, 3, 7));
    assert_null(segment_section_find(g, 1, 8));
    page_buf_deinit(&b);
    assert_int_equal(segment_verify(g, NULL), OK);
}

static void test_segments(void **state)
{
    (void)state;
    char *d = tmp_dir();
    struct store *st = open_ok(d, NULL);
    struct err_text et = { 0 };
    int opened = 0;
    struct store_hooks h = { .ctx = &opened, .segment_open = open_user };
    assert_int_equal(store_attach(st, STORE_METRICS, &h, &et), OK);
    assert_int_equal(store_attach(st, STORE_METRICS, &h, &et), ERR_EXISTS);
    struct segment_writer *w[2] = { segment_make(st, 20, 100), segment_make(st, 1, 50) };
    uint64_t ids[2] = { segment_writer_id(w[0]), segment_writer_id(w[1]) };
    const struct segment_set *empty = store_segments_ref(st, STORE_METRICS);
    struct store_edit e = { .signal = STORE_METRICS, .add = w, .n_add = 2 };
    assert_int_equal(store_commit(st, &e, &et), OK);
    assert_int_equal(opened, 2);
    assert_int_equal(empty->n, 0);
    segment_set_unref(empty);
    const struct segment_set *set = store_segments_ref(st, STORE_METRICS);
    assert_int_equal(set->n, 2);
    assert_int_equal(segment_meta(set->p[0])->min_time, 50);
    segment_look(set->p[1], 20);
    char path[256];
    snprintf(path, sizeof(path), "%s", segment_path(set->p[1]));
    struct segment_writer *c;
    assert_int_equal(segment_writer_open(st, STORE_METRICS, 1, &c, &et), OK);
    segment_section_begin(c, 1, 1);
    for (uint32_t i = 0; i < segment_n_pages(set->p[1]); i++)
        segment_page_copy(c, set->p[1], i);
    segment_section_end(c, 1, 0, 0, 0);
    struct segment_meta m = { 0 };
    assert_int_equal(segment_finish(c, &m, &et), OK);
    struct store_edit swap = { .signal = STORE_METRICS, .add = &c, .n_add = 1, .remove = ids, .n_remove = 2 };
    assert_int_equal(store_commit(st, &swap, &et), OK);
    assert_int_equal(access(path, F_OK), 0); /* a reader holds it */
    segment_look(set->p[1], 20);
    segment_set_unref(set);
    assert_int_not_equal(access(path, F_OK), 0);
    swap.n_add = 0;
    assert_int_equal(store_commit(st, &swap, &et), ERR_NOT_FOUND);
    store_close(st);
    st = open_ok(d, NULL);
    set = store_segments_ref(st, STORE_METRICS);
    assert_int_equal(set->n, 1);
    assert_int_equal(segment_n_pages(set->p[0]), 40);
    segment_set_unref(set);
    store_close(st);
    tmp_free(d);
}

static void test_refusals(void **state)
{
    (void)state;
    char *d = tmp_dir(), path[256];
    struct store *st = open_ok(d, NULL), *other;
    struct err_text et = { 0 };
    assert_int_equal(store_open(fs_os(), d, NULL, os_clock(), &other, &et), ERR_BUSY);
    assert_non_null(strstr(et.msg, "in use by another process"));
    struct store_fsck f = { 0 };
    struct store_fsck_result res;
    assert_int_equal(store_fsck(fs_os(), d, &f, &res, &et), ERR_BUSY);
    store_close(st);
    assert_int_equal(store_fsck(fs_os(), d, &f, &res, &et), OK);
    assert_int_equal(res.damages, 0);
    snprintf(path, sizeof(path), "%s/FORMAT", d);
    assert_int_equal(fs_write_file_atomic(fs_os(), path, STR("vane store 2\n")), OK);
    assert_int_equal(store_open(fs_os(), d, NULL, os_clock(), &other, &et), ERR_UNSUPPORTED);
    assert_non_null(strstr(et.msg, "newer vane"));
    assert_int_equal(fs_write_file_atomic(fs_os(), path, STR("vane store 1\n")), OK);
    snprintf(path, sizeof(path), "%s/MANIFEST", d);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(store_open(fs_os(), d, NULL, os_clock(), &other, &et), ERR_CORRUPT);
    assert_non_null(strstr(et.msg, "MANIFEST"));
    snprintf(path, sizeof(path), "%s/FORMAT", d);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(store_open(fs_os(), d, NULL, os_clock(), &other, &et), ERR_CORRUPT);
    snprintf(path, sizeof(path), "%s/none/here", d);
    assert_int_equal(store_open(fs_os(), path, NULL, os_clock(), &other, &et), ERR_NOT_FOUND);
    tmp_free(d);
}

/* A directory that cannot be written to; in a child, which may give up root. */
static void test_read_only(void **state)
{
    (void)state;
    char *d = tmp_dir();
    int status;
    store_close(open_ok(d, NULL));
    char cmd[256];
    snprintf(cmd, sizeof(cmd), "chmod -R a-w,a+rX %s", d);
    assert_int_equal(system(cmd), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct store *st;
        struct err_text et = { 0 };
        if (geteuid() == 0 && seteuid(65534) != 0)
            _exit(3);
        enum err e = store_open(fs_os(), d, NULL, os_clock(), &st, &et);
        _exit(e == ERR_PERMISSION && strstr(et.msg, "cannot write in the data directory") ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    snprintf(cmd, sizeof(cmd), "chmod -R u+w %s", d);
    assert_int_equal(system(cmd), 0);
    tmp_free(d);
}

static void test_edits_persist(void **state)
{
    (void)state;
    char *d = tmp_dir();
    struct store *st = open_ok(d, NULL);
    struct err_text et = { 0 };
    uint64_t ids[2];
    str bodies[2] = { STR("one"), STR("two") };
    struct store_edit e = { .signal = STORE_LOGS,
                            .tombstone_add = bodies,
                            .n_tombstone_add = 2,
                            .ret_tombstone_ids = ids,
                            .retention_set = true,
                            .retention_ms = -5 };
    assert_true(store_retention_mark(st, STORE_LOGS) == INT64_MIN);
    assert_int_equal(store_commit(st, &e, &et), OK);
    struct store_edit e2 = { .signal = STORE_LOGS, .tombstone_remove = ids, .n_tombstone_remove = 1 };
    assert_int_equal(store_commit(st, &e2, &et), OK);
    assert_int_equal(store_commit(st, &e2, &et), ERR_NOT_FOUND);
    store_close(st);
    st = open_ok(d, NULL);
    struct arena a;
    arena_init(&a, 0);
    struct store_tombstone *t;
    size_t n;
    store_tombstones(st, STORE_LOGS, &a, &t, &n);
    assert_int_equal(n, 1);
    assert_true(t[0].id == ids[1] && str_eq(t[0].body, STR("two")));
    assert_true(store_retention_mark(st, STORE_LOGS) == -5);
    arena_deinit(&a);
    store_close(st);
    tmp_free(d);
}

static long file_size(const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long n = ftell(f);
    fclose(f);
    return n;
}

/* Past 4 MiB the MANIFEST is written anew, without what is gone. */
static void test_manifest_shrinks(void **state)
{
    (void)state;
    char *d = tmp_dir(), path[256];
    struct store *st = open_ok(d, NULL);
    struct err_text et = { 0 };
    char *big = mem_zalloc(1 << 20);
    uint64_t ids[6];
    str body = { big, 1 << 20 };
    snprintf(path, sizeof(path), "%s/MANIFEST", d);
    for (int i = 0; i < 6; i++) {
        uint64_t last = i ? ids[i - 1] : 0;
        struct store_edit e = { .signal = STORE_TRACES,
                                .tombstone_add = &body,
                                .n_tombstone_add = 1,
                                .ret_tombstone_ids = &ids[i],
                                .tombstone_remove = &last,
                                .n_tombstone_remove = i > 0 };
        assert_int_equal(store_commit(st, &e, &et), OK);
    }
    assert_true(file_size(path) < 5 << 20);
    store_close(st);
    st = open_ok(d, NULL);
    assert_true(file_size(path) < 2 << 20);
    struct arena a;
    arena_init(&a, 0);
    struct store_tombstone *t;
    size_t n;
    store_tombstones(st, STORE_TRACES, &a, &t, &n);
    assert_true(n == 1 && t[0].id == ids[5]);
    arena_deinit(&a);
    mem_free(big);
    store_close(st);
    tmp_free(d);
}

static void count_pressure(void *ctx)
{
    atomic_fetch_add((atomic_int *)ctx, 1);
}

/* Over its size the log asks those who hold it to flush; at twice the size it refuses until they have. */
static void test_log_pressure(void **state)
{
    (void)state;
    char *d = tmp_dir();
    struct store_config c = small_config();
    c.wal_bytes_max = 256 << 10;
    struct store *st = open_ok(d, &c);
    struct err_text et = { 0 };
    atomic_int metrics = 0, logs = 0;
    struct store_hooks h = { .ctx = &metrics, .wal_pressure = count_pressure },
                       hl = { .ctx = &logs, .wal_pressure = count_pressure };
    assert_int_equal(store_attach(st, STORE_METRICS, &h, &et), OK);
    assert_int_equal(store_attach(st, STORE_LOGS, &hl, &et), OK);
    static char body[8000];
    enum err e = OK;
    uint32_t epoch;
    uint64_t lsn = 0;
    for (int i = 0; i < 2000 && store_wal_bytes(st) < (520 << 10); i++) {
        e = store_wal_pin(st, sizeof(body), &epoch);
        if (e == ERR_BUSY) { /* the next file is not ready yet */
            os_sleep_ms(1);
            continue;
        }
        assert_int_equal(e, OK);
        struct iovec iov = { body, sizeof(body) };
        struct store_record r = { .signal = STORE_METRICS, .iov = &iov, .n_iov = 1 };
        assert_int_equal(store_wal_append(st, &r, &lsn), OK);
        store_wal_unpin(st);
        assert_int_equal(store_wal_wait(st, lsn), OK);
    }
    for (int i = 0; i < 400 && atomic_load(&metrics) == 0; i++)
        os_sleep_ms(5);
    assert_true(atomic_load(&metrics) > 0);
    assert_int_equal(atomic_load(&logs), 0);
    e = store_wal_pin(st, 10, &epoch);
    assert_int_equal(e, ERR_BUSY);
    struct store_edit edit = { .signal = STORE_METRICS, .low_water_lsn = lsn };
    assert_int_equal(store_commit(st, &edit, &et), OK);
    for (int i = 0; i < 400 && e == ERR_BUSY; i++) {
        e = store_wal_pin(st, 10, &epoch);
        os_sleep_ms(5);
    }
    assert_int_equal(e, OK);
    static char huge[40000];
    struct iovec iov = { huge, sizeof(huge) };
    struct store_record r = { .signal = STORE_METRICS, .iov = &iov, .n_iov = 1 };
    assert_int_equal(store_wal_append(st, &r, &lsn), ERR_LIMIT); /* more than half a file */
    store_wal_unpin(st);
    store_detach(st, STORE_METRICS);
    store_close(st);
    tmp_free(d);
}

struct many {
    struct store *st;
    int n;
};
static void many_run(void *ctx)
{
    struct many *m = ctx;
    char body[500] = "x";
    for (int i = 0; i < m->n; i++) {
        uint64_t lsn = put(m->st, STORE_METRICS, 1, body, sizeof(body), NULL);
        assert_int_equal(store_wal_wait(m->st, lsn), OK);
        assert_true(store_wal_durable_lsn(m->st) >= lsn);
    }
}
/* Reader beside the writer, over many files; then one that has stopped: its hold keeps the log until pressure asks. */
static atomic_bool tail_stop;
static void *tail_writer(void *st)
{
    char body[3000];
    memset(body, 7, sizeof(body));
    for (unsigned i = 0; i < 400; i++) {
        uint64_t lsn = put(st, i % 4 ? STORE_METRICS : STORE_LOGS, 1, body, sizeof(body) - i, NULL);
        assert_int_equal(store_wal_wait(st, lsn), OK);
        IGNORE_ERR(store_commit(st, &(struct store_edit){ .signal = STORE_METRICS, .low_water_lsn = lsn }, NULL));
        IGNORE_ERR(store_commit(st, &(struct store_edit){ .signal = STORE_LOGS, .low_water_lsn = lsn }, NULL));
    }
    atomic_store(&tail_stop, true);
    return NULL;
}

static void test_tail_beside_writer(void **state)
{
    (void)state;
    char *dir = tmp_dir();
    struct store *st = open_ok(dir, NULL);
    struct store_tail *t;
    struct store_replayed r;
    struct err_text et;
    pthread_t thread;
    uint64_t n = 0, last = 0, lost;
    assert_int_equal(store_hold_set(st, STORE_METRICS, 0, &et), OK);
    assert_int_equal(store_tail_open(st, STORE_METRICS, 0, &t), OK);
    assert_int_equal(store_tail_next(t, &r, &lost), ERR_NOT_FOUND);
    atomic_store(&tail_stop, false);
    assert_int_equal(pthread_create(&thread, NULL, tail_writer, st), 0);
    for (bool stop = false;;) {
        enum err e = store_tail_next(t, &r, &lost);
        if (e == ERR_NOT_FOUND) {
            if (stop)
                break;
            stop = atomic_load(&tail_stop);
            continue;
        }
        assert_int_equal(e, OK);
        assert_int_equal(lost, 0);
        assert_true(r.lsn > last && r.lsn <= store_wal_durable_lsn(st));
        assert_true((r.lsn - 1) % 4 != 0); /* those are logs */
        assert_int_equal(r.payload.n, 3000 - (r.lsn - 1));
        last = r.lsn;
        n++;
        assert_int_equal(store_hold_set(st, STORE_METRICS, r.lsn, &et), OK);
    }
    pthread_join(thread, NULL);
    assert_int_equal(n, 300);
    assert_int_equal(store_tail_lsn(t), 400);
    assert_true(store_wal_bytes_after(st, 400) == 0);
    store_tail_close(t);
    store_close(st);

    st = open_ok(dir, NULL); /* the hold has come back, at most a file lower */
    assert_true(store_hold(st, STORE_METRICS) <= last && store_hold(st, STORE_METRICS) + 60 > last);
    store_close(st);
    tmp_free(dir);
}

static void let_go(void *ctx, uint64_t lsn)
{
    atomic_store((atomic_uint_least64_t *)ctx, lsn);
}

static void test_hold_pressure(void **state)
{
    (void)state;
    char *dir = tmp_dir(), body[3000] = { 1 };
    struct store_config c = small_config();
    c.wal_bytes_max = 300 << 10;
    struct store *st = open_ok(dir, &c);
    struct err_text et;
    atomic_uint_least64_t asked = 0;
    store_hold_hook(st, STORE_METRICS, let_go, &asked);
    assert_int_equal(store_hold_set(st, STORE_METRICS, 5, &et), OK);
    uint64_t lsn = 0;
    for (unsigned i = 0; i < 400; i++) { /* four times the log's size: never refused, since the hold gives way */
        lsn = put(st, STORE_METRICS, 1, body, sizeof(body), NULL);
        assert_int_equal(store_wal_wait(st, lsn), OK);
        assert_int_equal(store_commit(st, &(struct store_edit){ .signal = STORE_METRICS, .low_water_lsn = lsn }, NULL),
                         OK);
        uint64_t upto = atomic_exchange(&asked, 0);
        if (upto) {
            assert_true(upto > 5 && upto < lsn);
            assert_true(store_wal_bytes_after(st, upto) <= 300 << 10);
            assert_int_equal(store_hold_set(st, STORE_METRICS, upto, &et), OK);
        }
    }
    assert_true(store_hold(st, STORE_METRICS) > 200);
    assert_true(store_wal_bytes(st) < 600 << 10);
    store_hold_hook(st, STORE_METRICS, NULL, NULL);
    assert_int_equal(store_hold_set(st, STORE_METRICS, STORE_HOLD_NONE, &et), OK);
    for (int i = 0; i < 300 && store_wal_bytes(st) > 128 << 10; i++)
        os_sleep_ms(10);
    assert_true(store_wal_bytes(st) <= 128 << 10); /* nobody follows: all but the newest went */
    store_close(st);
    st = open_ok(dir, &c);
    assert_true(store_hold(st, STORE_METRICS) == STORE_HOLD_NONE);
    store_close(st);
    tmp_free(dir);
}

static void test_many_writers(void **state)
{
    (void)state;
    char *d = tmp_dir();
    struct store_config c = small_config();
    struct store *st = open_ok(d, &c);
    enum { THREADS = 8, EACH = 200 };
    pthread_t t[THREADS];
    struct many m = { st, EACH };
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(thread_start(&t[i], "w", many_run, &m), OK);
    for (int i = 0; i < THREADS; i++)
        thread_join(t[i]);
    store_close(st);
    st = open_ok(d, &c);
    assert_int_equal(replay(st, STORE_METRICS, 0, -1).n, THREADS * EACH);
    store_close(st);
    tmp_free(d);
}

static void flip(const char *path, long off)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, off, SEEK_SET), 0);
    int ch = fgetc(f);
    assert_int_equal(fseek(f, off, SEEK_SET), 0);
    fputc(ch ^ 0x40, f);
    fclose(f);
}

static void count_hole(void *ctx, uint64_t first, uint64_t last)
{
    *(uint64_t *)ctx += last - first + 1;
}
static enum err count_record(void *ctx, const struct store_replayed *r)
{
    (void)ctx;
    (void)r;
    return OK;
}

/* Damage in the middle of the log is a hole with both sides kept; at its very end it is a torn tail. */
static void test_log_damage(void **state)
{
    (void)state;
    char *d = tmp_dir(), path[256], body[68] = "abc";
    struct store *st = open_ok(d, NULL);
    for (int i = 0; i < 10; i++)
        assert_int_equal(store_wal_wait(st, put(st, STORE_METRICS, 0, body, sizeof(body), NULL)), OK);
    store_close(st);
    snprintf(path, sizeof(path), "%s/wal/0000000001.wal", d);
    flip(path, 4096 + 104 * 3 + 40); /* payload of record 4 */
    flip(path, 4096 + 104 * 6 + 10); /* header of record 7 */
    flip(path, 4096 + 104 * 9 + 33); /* payload of the last */
    struct store_fsck f = { 0 };
    struct store_fsck_result fres;
    struct err_text et = { 0 };
    assert_int_equal(store_fsck(fs_os(), d, &f, &fres, &et), OK);
    assert_int_equal(fres.damages, 2);
    assert_int_equal(fres.records, 7);
    for (int round = 0; round < 2; round++) {
        st = open_ok(d, NULL);
        assert_int_equal(store_wal_last_lsn(st), 9 + round);
        uint64_t holes = 0;
        struct store_replay_result res;
        struct store_replay r = {
            .signal = STORE_METRICS, .partition = -1, .ctx = &holes, .on_record = count_record, .on_hole = count_hole
        };
        assert_int_equal(store_wal_replay(st, &r, &res, &et), OK);
        assert_int_equal(res.records, 7 + round);
        assert_int_equal(res.holes, 2);
        assert_int_equal(holes, 2);
        assert_int_equal(put(st, STORE_METRICS, 0, body, sizeof(body), NULL), 10 + round);
        store_close(st);
    }
    tmp_free(d);
}

static void test_segment_damage(void **state)
{
    (void)state;
    char *d = tmp_dir(), path[256];
    struct store *st = open_ok(d, NULL);
    struct err_text et = { 0 };
    struct segment_writer *w[3] = { segment_make(st, 3, 0), segment_make(st, 3, 1), segment_make(st, 3, 2) };
    struct store_edit e = { .signal = STORE_METRICS, .add = w, .n_add = 3 };
    assert_int_equal(store_commit(st, &e, &et), OK);
    store_close(st);
    snprintf(path, sizeof(path), "%s/seg/metrics/000000000001.vseg", d);
    flip(path, 300); /* a page */
    snprintf(path, sizeof(path), "%s/seg/metrics/000000000002.vseg", d);
    assert_int_equal(truncate(path, 2000), 0);
    st = open_ok(d, NULL);
    const struct segment_set *set = store_segments_ref(st, STORE_METRICS);
    assert_int_equal(set->n, 2);
    assert_int_equal(set->n_damaged, 1);
    assert_int_equal(set->damaged[0].min_time, 1);
    struct page_buf b = { 0 };
    str raw;
    assert_int_equal(segment_page_read(set->p[0], 0, &b, &raw), ERR_CORRUPT);
    assert_int_equal(segment_page_read(set->p[0], 1, &b, &raw), OK);
    assert_int_equal(segment_page_read(set->p[0], 99, &b, &raw), ERR_NOT_FOUND);
    page_buf_deinit(&b);
    segment_set_unref(set);
    store_close(st);
    struct store_fsck f = { 0 };
    struct store_fsck_result res;
    assert_int_equal(store_fsck(fs_os(), d, &f, &res, &et), OK);
    assert_int_equal(res.damages, 2);
    assert_int_equal(res.segments, 3);
    tmp_free(d);
}

/* A file that cannot be read any more under a running reader (cut short here; a bad sector looks the same). */
static void test_segment_cut_short(void **state)
{
    (void)state;
    enum { PAGES = 40 };
    char *d = tmp_dir();
    struct store *st = open_ok(d, NULL);
    struct err_text et = { 0 };
    struct segment_writer *w = segment_make(st, PAGES, 0), *copy;
    struct store_edit e = { .signal = STORE_METRICS, .add = &w, .n_add = 1 };
    assert_int_equal(store_commit(st, &e, &et), OK);
    const struct segment_set *set = store_segments_ref(st, STORE_METRICS);
    segment_look(set->p[0], PAGES); /* every page was right once */
    assert_false(segment_unreadable(set->p[0]));
    struct page_buf b = { 0 };
    str in_place;
    assert_int_equal(segment_page_read(set->p[0], PAGES - 1, &b, &in_place), OK);
    assert_int_equal(truncate(segment_path(set->p[0]), 8192), 0);
    assert_int_equal(in_place.p[100], 0);       /* the read goes on ... */
    assert_true(segment_unreadable(set->p[0])); /* ... and is known to be worth nothing */
    str raw;
    assert_int_equal(segment_page_read(set->p[0], 0, &b, &raw), OK);
    for (uint32_t i = 20; i < 2 * PAGES; i++)
        assert_int_equal(segment_page_read(set->p[0], i, &b, &raw), ERR_CORRUPT);
    assert_int_equal(segment_verify(set->p[0], NULL), ERR_CORRUPT);
    assert_int_equal(segment_writer_open(st, STORE_METRICS, 1, &copy, &et), OK);
    segment_section_begin(copy, 1, 1);
    segment_page_copy(copy, set->p[0], PAGES - 1);
    segment_section_end(copy, 1, 0, 0, 0);
    struct segment_meta m = { 0 };
    assert_int_equal(segment_finish(copy, &m, &et), ERR_CORRUPT);
    segment_abort(copy);
    page_buf_deinit(&b);
    segment_set_unref(set);
    store_close(st);
    tmp_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tail_beside_writer),
        cmocka_unit_test(test_hold_pressure),
        cmocka_unit_test(test_lonely_records),
        cmocka_unit_test(test_wal_round_trip),
        cmocka_unit_test(test_low_water_frees_files),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_edits_persist),
        cmocka_unit_test(test_many_writers),
        cmocka_unit_test(test_log_damage),
        cmocka_unit_test(test_segment_damage),
        cmocka_unit_test(test_manifest_shrinks),
        cmocka_unit_test(test_log_pressure),
        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_segment_cut_short),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
