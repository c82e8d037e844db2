/* base/fs.h over the real file system, in a folder of its own under the temporary directory. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"

static char dir[64];

static char *at(const char *name)
{
    static char path[4][128];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, 128, "%s/%s", dir, name);
    return p;
}

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/vane-fs-test-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    (void)state;
    char cmd[96];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    return system(cmd);
}

static void files_are_written_and_mapped(void **state)
{
    (void)state;
    struct fs *fs = fs_os();
    struct fs_file *f;
    assert_ok(fs_open(fs, at("a"), FS_CREATE_NEW, &f));
    char block[3000];
    memset(block, 'x', sizeof(block));
    struct iovec iov[100];
    for (int i = 0; i < 100; i++)
        iov[i] = (struct iovec){ block, (size_t)(i * 30) };
    assert_ok(fs_pwritev(f, iov, 100, 10));
    uint64_t size;
    assert_ok(fs_size(f, &size));
    assert_int_equal(size, 10 + 30 * 99 * 100 / 2);
    assert_ok(fs_datasync(f));
    str map;
    assert_ok(fs_map(f, &map));
    assert_int_equal(map.n, size);
    assert_int_equal(map.p[9], 0);
    assert_int_equal(map.p[10], 'x');
    fs_unmap(f, map);
    size_t got;
    assert_ok(fs_pread(f, block, sizeof(block), size - 5, &got));
    assert_int_equal(got, 5);
    fs_close(f);
    assert_err(fs_open(fs, at("a"), FS_CREATE_NEW, &f), ERR_EXISTS);
    assert_err(fs_open(fs, at("nope"), FS_READ, &f), ERR_NOT_FOUND);
}

static void atomic_write_and_read(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str s;
    struct err_text why;
    assert_ok(fs_write_file_atomic(fs_os(), at("conf"), STR("hello")));
    assert_ok(fs_read_file(fs_os(), at("conf"), 100, &a, &s, &why));
    assert_str(s, "hello");
    assert_err(fs_read_file(fs_os(), at("conf"), 4, &a, &s, &why), ERR_LIMIT);
    assert_err(fs_read_file(fs_os(), at("gone"), 4, &a, &s, &why), ERR_NOT_FOUND);
    assert_non_null(strstr(why.msg, "gone"));
    assert_ok(fs_read_file(fs_os(), "/proc/self/stat", 10000, &a, &s, &why));
    assert_true(s.n > 10);
}

static void a_lock_excludes(void **state)
{
    (void)state;
    struct fs_file *f, *g;
    assert_ok(fs_lock(fs_os(), at("LOCK"), &f));
    assert_err(fs_lock(fs_os(), at("LOCK"), &g), ERR_BUSY);
    fs_close(f);
    assert_ok(fs_lock(fs_os(), at("LOCK"), &g));
    fs_close(g);
}

static void directories(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    assert_ok(fs_mkdirs(fs_os(), at("d/e/f")));
    assert_ok(fs_mkdirs(fs_os(), at("d/e/f")));
    assert_ok(fs_write_file_atomic(fs_os(), at("d/x"), STR("")));
    str *names;
    size_t n;
    assert_ok(fs_list(fs_os(), at("d"), &a, &names, &n));
    assert_int_equal(n, 2);
    assert_err(fs_mkdir(fs_os(), at("d/x")), ERR_EXISTS);
    uint64_t free_bytes, total;
    assert_ok(fs_space(fs_os(), dir, &free_bytes, &total));
    assert_true(free_bytes <= total && total > 0);
}

/* Two writers, lines whole, whatever was written meanwhile; a stamp changes with the file. */
static void append_and_stamp(void **state)
{
    (void)state;
    struct fs *fs = fs_os();
    struct fs_file *one, *two;
    AUTO_ARENA struct arena a;
    str text;
    arena_init(&a, 0);
    assert_int_equal(fs_stamp(at("log")), 0);
    assert_ok(fs_open(fs, at("log"), FS_APPEND, &one));
    assert_ok(fs_open(fs, at("log"), FS_APPEND, &two));
    assert_ok(fs_append(one, STR("a\n")));
    uint64_t stamp = fs_stamp(at("log"));
    assert_true(stamp != 0 && stamp == fs_stamp(at("log")));
    assert_ok(fs_append(two, STR("bb\n")));
    assert_ok(fs_append(one, STR("ccc\n")));
    assert_true(fs_stamp(at("log")) != stamp);
    fs_close(one);
    fs_close(two);
    assert_ok(fs_read_file(fs, at("log"), 100, &a, &text, NULL));
    assert_true(str_eq(text, STR("a\nbb\nccc\n")));
    assert_ok(fs_unlink(fs, at("log")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(append_and_stamp),      cmocka_unit_test(files_are_written_and_mapped),
        cmocka_unit_test(atomic_write_and_read), cmocka_unit_test(a_lock_excludes),
        cmocka_unit_test(directories),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
