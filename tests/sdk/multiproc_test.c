/* Several processes on one folder: sums, gauge modes, kill -9, folding and its crashes, files that are broken. */
#include "../../src/sdk/sdk_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[64];
static char *body;

static char *render(void)
{
    size_t n;
    char *p;
    free(body);
    body = NULL;
    assert_int_equal(vane_render(VANE_FORMAT_TEXT, &p, &n), VANE_OK);
    body = malloc(n + 1);
    memcpy(body, p, n);
    body[n] = 0;
    vane_render_free(p);
    return body;
}

/* Value of the sample with this name and labels, -1 without. */
static double value_of(const char *text, const char *series)
{
    size_t n = strlen(series);
    for (const char *at = text; (at = strstr(at, series)) != NULL; at++)
        if ((at == text || at[-1] == '\n') && at[n] == ' ')
            return strtod(at + n, NULL);
    return -1;
}

static int count_files(const char *suffix)
{
    DIR *d = opendir(dir);
    int n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        size_t len = strlen(e->d_name), s = strlen(suffix);
        n += len > s && !strcmp(e->d_name + len - s, suffix);
    }
    closedir(d);
    return n;
}

static void start(void)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.multiproc_dir = dir;
    assert_int_equal(vane_start(&c), VANE_OK);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/vane-sdk-test-XXXXXX");
    return mkdtemp(dir) ? 0 : 1;
}

static int tear_down(void **state)
{
    (void)state;
    char cmd[128];
    vane_stop(0);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

static pid_t spawn(void (*fn)(int), int arg)
{
    pid_t pid = fork();
    if (!pid) {
        fn(arg);
        _exit(0);
    }
    return pid;
}

static void reap(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
}

/* ---- kill -9: what was counted is there ---- */

static vane_counter requests;
static vane_metric durations;
struct shared {
    volatile uint64_t counted, ready;
};
static struct shared *shared;

static void worker(int i)
{
    vane_histogram h = vane_histogram_bind(durations, VANE_LABELS("/x"));
    char name[8];
    snprintf(name, sizeof name, "w%d", i);
    vane_metric own = vane_counter_new("own_total", "", "worker"); /* made after the fork */
    for (;;) {
        vane_counter_inc(requests);
        vane_histogram_observe(h, 0.1 * (double)(shared[i].counted % 20));
        vane_counter_add_to(own, 1, VANE_LABELS(name));
        shared[i].counted++;
        shared[i].ready = 1;
    }
}

static void test_kill(void **state)
{
    (void)state;
    enum { N = 4 };
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(shared, 0, 4096);
    start();
    requests = vane_counter_bind(vane_counter_new("requests_total", "", ""), VANE_NO_LABELS);
    durations = vane_histogram_new("duration_seconds", "", "path");
    vane_counter_add(requests, 1000); /* the parent's own */
    pid_t pids[N];
    for (int i = 0; i < N; i++)
        pids[i] = spawn(worker, i);
    for (int i = 0; i < N; i++)
        while (!shared[i].ready)
            usleep(1000);
    double last = 0;
    for (int k = 0; k < 5; k++) { /* alive: it grows, never falls */
        double v = value_of(render(), "requests_total");
        assert_true(v >= last && v >= 1000);
        last = v;
        usleep(10000);
    }
    assert_int_equal(count_files(".vsm"), N + 1);
    uint64_t sum = 1000;
    for (int i = 0; i < N; i++) {
        kill(pids[i], SIGKILL);
        reap(pids[i]);
        sum += shared[i].counted;
    }
    double v = value_of(render(), "requests_total");         /* this rendering may fold or not */
    assert_true(v >= (double)sum && v <= (double)(sum + N)); /* killed between the add and the note of it */
    double hist = value_of(body, "duration_seconds_count{path=\"/x\"}");
    assert_true(hist >= (double)(sum - 1000) && hist <= (double)(sum - 1000 + N));
    assert_int_equal(vane_multiproc_fold(), VANE_OK);
    assert_int_equal(count_files(".vsm"), 1);
    assert_true(value_of(render(), "requests_total") == v);
    assert_true(value_of(body, "duration_seconds_count{path=\"/x\"}") == hist);
    double own = 0;
    for (int i = 0; i < N; i++) {
        char series[40];
        snprintf(series, sizeof series, "own_total{worker=\"w%d\"}", i);
        own += value_of(body, series);
    }
    assert_true(own >= (double)(sum - 1000) && own <= (double)(sum - 1000 + N));
    for (int k = 0; k < 3; k++)
        assert_int_equal(vane_multiproc_fold(), VANE_OK);
    assert_true(value_of(render(), "requests_total") == v);
    vane_stop(0);
    start(); /* a new life of this process: its old file is a dead one's */
    vane_counter_add(vane_counter_bind(vane_counter_new("requests_total", "", ""), VANE_NO_LABELS), 1);
    assert_true(value_of(render(), "requests_total") == v + 1);
    munmap(shared, 4096);
}

/* ---- folding: a crash after the rename leaves files that are named in the folded one ---- */

static void count_five(int n)
{
    vane_counter_add(requests, (uint64_t)n);
    vane_stop(0);
}

static void test_fold_crash(void **state)
{
    (void)state;
    start();
    requests = vane_counter_bind(vane_counter_new("requests_total", "", ""), VANE_NO_LABELS);
    reap(spawn(count_five, 5));
    char cmd[300];
    snprintf(cmd, sizeof cmd, "mkdir %s/keep && cp -p %s/*.vsm %s/keep", dir, dir, dir);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(vane_multiproc_fold(), VANE_OK);
    assert_true(value_of(render(), "requests_total") == 5);
    snprintf(cmd, sizeof cmd, "cp -pn %s/keep/*.vsm %s/", dir, dir); /* as if the unlink had not happened */
    assert_int_equal(system(cmd), 0);
    assert_int_equal(count_files(".vsm"), 2);
    assert_true(value_of(render(), "requests_total") == 5);
    assert_int_equal(vane_multiproc_fold(), VANE_OK);
    assert_true(value_of(render(), "requests_total") == 5);
    reap(spawn(count_five, 7));
    assert_int_equal(vane_multiproc_fold(), VANE_OK);
    assert_true(value_of(render(), "requests_total") == 12);
    assert_int_equal(count_files(".vsm"), 1);
    /* a folded file that is damaged is told, not believed */
    snprintf(cmd, sizeof cmd, "printf XX | dd of=%s/vane_folded.vsf bs=1 seek=200 conv=notrunc 2>/dev/null", dir);
    assert_int_equal(system(cmd), 0);
    vane_self_stats s = { .size = sizeof s };
    render();
    vane_self(&s);
    assert_true(s.files_bad > 0);
}

/* ---- gauges ---- */

static vane_gauge gauges[10];

static void set_gauges(int v)
{
    for (int m = 0; m < 10; m++)
        vane_gauge_set(gauges[m], v);
    if (v == 10)
        pause(); /* lives until it is killed */
}

static void test_gauges(void **state)
{
    (void)state;
    static const char *const names[] = { "g_all",      "g_live_all", "g_sum",      "g_live_sum", "g_max",
                                         "g_live_max", "g_min",      "g_live_min", "g_recent",   "g_live_recent" };
    start();
    for (int m = 0; m < 10; m++) {
        vane_metric_opts o = VANE_METRIC_OPTS_INIT;
        o.kind = VANE_GAUGE;
        o.name = names[m];
        o.gauge_mode = (vane_gauge_mode)m;
        gauges[m] = vane_gauge_bind(vane_metric_new(&o, NULL), VANE_NO_LABELS);
    }
    pid_t alive = spawn(set_gauges, 10);
    usleep(50000);
    pid_t dead = spawn(set_gauges, 30);
    reap(dead);
    for (int k = 0; k < 2; k++) { /* before and after folding */
        const char *text = render();
        char series[64];
        snprintf(series, sizeof series, "g_live_all{pid=\"%d\"}", (int)alive);
        assert_true(value_of(text, series) == 10);
        snprintf(series, sizeof series, "g_live_all{pid=\"%d\"}", (int)dead);
        assert_true(value_of(text, series) == -1);
        assert_true(value_of(text, "g_sum") == 40);
        assert_true(value_of(text, "g_live_sum") == 10);
        assert_true(value_of(text, "g_max") == 30);
        assert_true(value_of(text, "g_live_max") == 10);
        assert_true(value_of(text, "g_min") == 10);
        assert_true(value_of(text, "g_live_min") == 10);
        assert_true(value_of(text, "g_recent") == 30);
        assert_true(value_of(text, "g_live_recent") == 10);
        snprintf(series, sizeof series, "process_resident_memory_bytes{pid=\"%d\"}", (int)alive);
        assert_true(value_of(text, series) > 0);
        snprintf(series, sizeof series, "g_all{pid=\"%d\"}", (int)dead);
        assert_true((value_of(text, series) == 30) == (k == 0 && count_files(".vsm") == 3));
        vane_multiproc_fold();
    }
    kill(alive, SIGKILL);
    reap(alive);
}

/* ---- files that are broken, foreign, or of other shape ---- */

static void write_file(const char *name, const void *p, size_t n)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, p, n), n);
    close(fd);
}

static void test_broken(void **state)
{
    (void)state;
    start();
    requests = vane_counter_bind(vane_counter_new("requests_total", "", ""), VANE_NO_LABELS);
    vane_histogram h = vane_histogram_bind(vane_histogram_new("lat", "", ""), VANE_NO_LABELS);
    vane_counter_add(requests, 5);
    for (int i = 0; i < 50; i++)
        vane_histogram_observe(h, i);
    static char good[SDK_BLOCK * 8], bad[SDK_BLOCK * 8];
    int fd = open(sdk_mem_path(), O_RDONLY);
    ssize_t n = read(fd, good, sizeof good);
    close(fd);
    assert_true(n >= (ssize_t)SDK_BLOCK * 3 && n % SDK_BLOCK == 0);
    write_file("vane_1_1_0.vsm", "", 0);
    write_file("vane_1_2_0.vsm", "garbage", 7);
    write_file("vane_1_3_0.vsm", good, (size_t)n - 1);
    char path[200];
    snprintf(path, sizeof path, "%s/vane_1_4_0.vsm", dir);
    assert_int_equal(symlink("/dev/zero", path), 0);
    snprintf(path, sizeof path, "%s/vane_1_5_0.vsm", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_true(value_of(render(), "requests_total") == 5);
    vane_self_stats s = { .size = sizeof s };
    vane_self(&s);
    assert_true(s.files_bad >= 5);
    srand(7);
    for (int round = 0; round < 300; round++) { /* any bytes wrong anywhere: no crash, and our own counts stay */
        memcpy(bad, good, (size_t)n);
        for (int k = rand() % 20 + 1; k > 0; k--) {
            size_t block = (size_t)rand() % ((size_t)n / SDK_BLOCK), at = (size_t)rand() % (k % 2 ? 600u : SDK_BLOCK);
            bad[block * SDK_BLOCK + at] = (char)rand();
        }
        write_file("vane_1_6_0.vsm", bad, (size_t)n);
        render();
    }
    unlink(path);
}

static void test_bad_folder(void **state)
{
    (void)state;
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.multiproc_dir = "/nonexistent/folder";
    assert_int_equal(vane_start(&c), VANE_E_IO);
    assert_int_equal(vane_running(), 0);
    c.multiproc_dir = "/dev/null";
    assert_int_equal(vane_start(&c), VANE_E_IO);
    c.multiproc_dir = NULL;
    c.blackbox_dir = dir;
    assert_int_equal(vane_start(&c), VANE_OK);
    assert_int_equal(vane_multiproc_fold(), VANE_E_STATE);
    assert_int_equal(count_files(".vsm"), 1);
    assert_int_equal(vane_stop(0), VANE_OK);
    assert_int_equal(count_files(".vsm"), 0); /* it ended well: nothing to look back at */
}

/* A host that becomes a daemon closes every descriptor; another file gets our number. */
static void test_closed_descriptors(void **state)
{
    (void)state;
    start();
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    int other = open("/dev/null", O_RDWR);
    char path[200];
    snprintf(path, sizeof path, "%s/innocent", dir);
    int innocent = open(path, O_RDWR | O_CREAT, 0600);
    vane_metric m = vane_counter_new("many_total", "", "i");
    for (int i = 0; i < 2000; i++) { /* needs new blocks */
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        vane_counter_add_to(m, 1, VANE_LABELS(text));
    }
    struct stat st;
    assert_int_equal(fstat(innocent, &st), 0);
    assert_int_equal(st.st_size, 0);
    assert_true(value_of(render(), "many_total{i=\"1999\"}") == 1);
    vane_stop(0);
    assert_int_equal(fstat(innocent, &st), 0); /* not closed by us either */
    assert_int_equal(fstat(other, &st), 0);
    close(innocent);
    close(other);
}

/* No room: the child counts for itself, the parent's file is untouched. */
static void forked_again(int n)
{
    vane_counter_add(requests, (uint64_t)n);
    pid_t pid = fork();
    if (!pid) {
        vane_counter_add(requests, 100);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

static void test_fork_of_fork(void **state)
{
    (void)state;
    start();
    requests = vane_counter_bind(vane_counter_new("requests_total", "", ""), VANE_NO_LABELS);
    vane_counter_add(requests, 1);
    reap(spawn(forked_again, 10));
    assert_true(value_of(render(), "requests_total") == 111);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kill, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fold_crash, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_gauges, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_closed_descriptors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fork_of_fork, set_up, tear_down),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(body);
    return failed;
}
