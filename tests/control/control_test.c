/* control/control.h: transactions hold or do not, tables move up, bad files are refused with what to do. */
#include "test.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/thread.h"
#include "control/control.h"

static char dir[64], path[96];

static int setup(void **state)
{
    (void)state;
    snprintf(dir, sizeof(dir), "/tmp/vane-control-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/control.db", dir);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return fs_remove_tree(fs_os(), dir) != OK;
}

static const char *const steps[] = { "CREATE TABLE t(k INTEGER PRIMARY KEY, v TEXT) STRICT",
                                     "ALTER TABLE t ADD COLUMN w TEXT DEFAULT 'old'; CREATE INDEX tw ON t(w)" };
static const struct control_tables tables[] = { { "test", steps, 1 }, { "test", steps, 2 } };

static struct control *open_ok(size_t version)
{
    struct control *c;
    struct err_text why = { 0 };
    if (control_open(path, &c, &why) != OK || control_attach(c, &tables[version], &why) != OK)
        fail_msg("%s", why.msg);
    return c;
}

static void put(struct control *c, int64_t k, const char *v)
{
    struct control_tx *tx;
    assert_int_equal(control_begin(c, &tx, NULL), OK);
    assert_int_equal(control_run(tx, "INSERT INTO t(k, v) VALUES(?, ?)",
                                 (struct control_val[]){ CV_INT(k), CV_TEXT(str_c(v)) }, 2, NULL),
                     OK);
    assert_int_equal(control_commit(tx, NULL), OK);
}

static bool count_row(void *ctx, const struct control_val *cols, size_t n)
{
    assert_int_equal(n, 1);
    assert_int_equal(cols[0].type, CONTROL_INT);
    *(int64_t *)ctx = cols[0].i;
    return true;
}

static int64_t rows(struct control *c)
{
    struct control_tx *tx;
    int64_t n = -1;
    assert_int_equal(control_begin(c, &tx, NULL), OK);
    assert_int_equal(control_query(tx, "SELECT count(*) FROM t", NULL, 0, count_row, &n, NULL), OK);
    assert_int_equal(control_commit(tx, NULL), OK);
    return n;
}

static void all_or_nothing(void **state)
{
    (void)state;
    struct control *c = open_ok(1);
    struct control_tx *tx;
    struct err_text why = { 0 };
    put(c, 1, "one");
    assert_int_equal(control_begin(c, &tx, NULL), OK);
    assert_int_equal(control_run(tx, "DELETE FROM t", NULL, 0, NULL), OK);
    control_rollback(tx);
    assert_int_equal(rows(c), 1);
    /* An error is sticky: the commit tells it and keeps nothing. */
    assert_int_equal(control_begin(c, &tx, NULL), OK);
    assert_int_equal(control_run(tx, "INSERT INTO t(k) VALUES(2)", NULL, 0, NULL), OK);
    assert_int_equal(control_run(tx, "INSERT INTO t(k) VALUES(1)", NULL, 0, NULL), ERR_EXISTS);
    assert_int_equal(control_run(tx, "INSERT INTO t(k) VALUES(3)", NULL, 0, NULL), ERR_EXISTS);
    assert_int_equal(control_commit(tx, &why), ERR_EXISTS);
    assert_non_null(strstr(why.msg, "UNIQUE"));
    assert_int_equal(rows(c), 1);
    control_close(c);
    c = open_ok(1);
    assert_int_equal(rows(c), 1);
    control_close(c);
}

static bool check_types(void *ctx, const struct control_val *cols, size_t n)
{
    assert_int_equal(n, 5);
    assert_int_equal(cols[0].type, CONTROL_NULL);
    assert_int_equal(cols[1].i, INT64_MIN);
    assert_true(cols[2].f == 0.1);
    assert_true(str_eq(cols[3].s, str_n("a\0b", 3)));
    assert_int_equal(cols[4].type, CONTROL_BLOB);
    assert_int_equal(cols[4].s.n, 0);
    *(bool *)ctx = true;
    return true;
}

static void values_come_back(void **state)
{
    (void)state;
    struct control *c = open_ok(1);
    struct control_tx *tx;
    bool seen = false;
    const struct control_val in[] = { CV_NULL, CV_INT(INT64_MIN), CV_REAL(0.1), CV_TEXT(str_n("a\0b", 3)),
                                      CV_BLOB(STR("")) };
    assert_int_equal(control_begin(c, &tx, NULL), OK);
    assert_int_equal(control_query(tx, "SELECT ?, ?, ?, ?, ?", in, 5, check_types, &seen, NULL), OK);
    assert_int_equal(control_commit(tx, NULL), OK);
    assert_true(seen);
    control_close(c);
}

static bool check_old(void *ctx, const struct control_val *cols, size_t n)
{
    *(bool *)ctx = n == 1 && str_eq(cols[0].s, STR("old"));
    return true;
}

static void tables_move_up_and_never_down(void **state)
{
    (void)state;
    struct control *c = open_ok(0);
    struct control_tx *tx;
    struct err_text why = { 0 };
    bool old = false;
    put(c, 1, "one");
    control_close(c);
    c = open_ok(1);
    assert_int_equal(control_begin(c, &tx, NULL), OK);
    assert_int_equal(control_query(tx, "SELECT w FROM t", NULL, 0, check_old, &old, NULL), OK);
    assert_int_equal(control_commit(tx, NULL), OK);
    assert_true(old);
    assert_int_equal(control_attach(c, &tables[0], &why), ERR_UNSUPPORTED);
    assert_non_null(strstr(why.msg, "newer"));
    /* A step that fails leaves the version where it was. */
    const char *const bad[] = { "CREATE TABLE other(a); CREATE TABLE other(a)" };
    assert_int_not_equal(control_attach(c, &(struct control_tables){ "bad", bad, 1 }, &why), OK);
    const char *const good[] = { "CREATE TABLE other(a)" };
    assert_int_equal(control_attach(c, &(struct control_tables){ "bad", good, 1 }, &why), OK);
    control_close(c);
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    struct control *c;
    struct err_text why = { 0 };
    assert_int_equal(fs_write_file_atomic(fs_os(), path, STR("this is no database, and it is long enough to see it")),
                     OK);
    assert_int_equal(control_open(path, &c, &why), ERR_CORRUPT);
    assert_non_null(strstr(why.msg, path));
    assert_non_null(strstr(why.msg, "move this file away"));
    assert_int_not_equal(control_open("/nowhere/at/all/control.db", &c, &why), OK);
}

/* A process that is killed: what was committed is there, what was not is not. */
static void survives_kill(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        pid_t pid = fork();
        if (pid == 0) {
            struct control *c = open_ok(1);
            for (int64_t k = round * 1000000;; k++) {
                put(c, k, "x");
                if (write(pipes[1], &k, sizeof(k)) != sizeof(k))
                    _exit(1);
            }
        }
        close(pipes[1]);
        int64_t last = -1;
        for (int i = 0; i < 20 + round; i++)
            assert_int_equal(read(pipes[0], &last, sizeof(last)), sizeof(last));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (read(pipes[0], &last, sizeof(last)) == sizeof(last))
            ;
        close(pipes[0]);
        struct control *c = open_ok(1);
        struct control_tx *tx;
        int64_t max = -1;
        assert_int_equal(control_begin(c, &tx, NULL), OK);
        assert_int_equal(control_query(tx, "SELECT max(k) FROM t", NULL, 0, count_row, &max, NULL), OK);
        assert_int_equal(control_commit(tx, NULL), OK);
        assert_true(max == last || max == last + 1);
        control_close(c);
    }
}

static void worker(void *ctx)
{
    struct control *c = ctx;
    static atomic_int next;
    for (int i = 0; i < 25; i++)
        put(c, atomic_fetch_add(&next, 1), "t");
}

static void threads_take_turns(void **state)
{
    (void)state;
    struct control *c = open_ok(1);
    pthread_t t[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(thread_start(&t[i], "writer", worker, c), OK);
    for (size_t i = 0; i < 4; i++)
        thread_join(t[i]);
    assert_int_equal(rows(c), 100);
    control_close(c);
}

/* Copies while others write: each is a database as of one moment, in one file. */
static void writes(void *c)
{
    for (int64_t k = 1; k <= 2000; k++)
        put(c, k, "row");
}

static void copies(void **state)
{
    (void)state;
    struct control *c = open_ok(1), *x;
    struct err_text why = { 0 };
    char to[128], wal[140];
    pthread_t th;
    int64_t before = -1;
    assert_int_equal(thread_start(&th, "writes", writes, c), OK);
    for (int i = 0; i < 5; i++) {
        int64_t n = 0, last = 0;
        struct control_tx *tx;
        snprintf(to, sizeof(to), "%s/copy-%d.db", dir, i);
        snprintf(wal, sizeof(wal), "%s-wal", to);
        if (control_backup(c, to, &why) != OK)
            fail_msg("%s", why.msg);
        assert_int_not_equal(access(wal, F_OK), 0);
        assert_int_equal(control_open(to, &x, &why), OK);
        assert_int_equal(control_view(x, &tx, NULL), OK);
        assert_int_equal(control_query(tx, "SELECT count(*) FROM t", NULL, 0, count_row, &n, NULL), OK);
        assert_int_equal(control_query(tx, "SELECT coalesce(max(k), 0) FROM t", NULL, 0, count_row, &last, NULL), OK);
        assert_int_equal(control_commit(tx, NULL), OK);
        control_close(x);
        assert_int_equal(n, last); /* no gap */
        assert_true(n >= before);
        before = n;
    }
    thread_join(th);
    assert_int_not_equal(control_backup(c, "/nowhere/at/all.db", &why), OK);
    control_close(c);
    assert_int_equal(control_open(NULL, &c, &why), OK);
    assert_int_equal(control_backup(c, to, &why), ERR_UNSUPPORTED);
    control_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_or_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(values_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(tables_move_up_and_never_down, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_files_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(survives_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(threads_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(copies, setup, teardown),
    };
    return cmocka_run_group_tests_name("control", tests, NULL, NULL);
}
