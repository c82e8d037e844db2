/* room host: against a fake /proc and /sys, and against this machine's own. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/fs.h"
#include "base/thread.h"
#include "host/host.h"

static char root[64];

static void put(const char *path, const char *text)
{
    char whole[512];
    snprintf(whole, sizeof(whole), "%s%s", root, path);
    *strrchr(whole, '/') = '\0';
    assert_ok(fs_mkdirs(fs_os(), whole));
    snprintf(whole, sizeof(whole), "%s%s", root, path);
    assert_ok(fs_write_file_atomic(fs_os(), whole, str_c(text)));
}

static int make_root(void **state)
{
    (void)state;
    strcpy(root, "/tmp/vane-host-test-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    put("/proc/stat",
        "cpu  10 0 0 0 0 0 0 0 0 0\ncpu0 250 100 300 4000 5 0 7 9 2 1\nintr 77 1 2\nctxt 12\nbtime 1700000000\n"
        "processes 99\nprocs_running 2\nprocs_blocked 1\n");
    put("/proc/loadavg", "0.50 0.25 0.12 1/100 4242\n");
    put("/proc/meminfo", "MemTotal:       1000 kB\nActive(anon):    10 kB\nHugePages_Total:       3\n");
    put("/proc/vmstat", "nr_free_pages 5\npgfault 123\noom_kill 0\n");
    put("/proc/pressure/cpu",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0 avg60=0 avg300=0 total=0\n");
    put("/proc/diskstats",
        " 254 0 vda 10 1 100 2000 20 2 200 4000 0 500 6000 0 0 0 0 0 0\n 254 1 vda1 1 1 1 1 1 1 1 1 1 1 1\n"
        " 7 0 loop0 1 1 1 1 1 1 1 1 1 1 1\n");
    put("/proc/1/mounts",
        "/dev/vda1 / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n/dev/vdb /mnt/my\\040disk ext4 ro 0 0\n");
    put("/proc/net/dev",
        "Inter-| Receive | Transmit\n face |bytes packets|bytes\n  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0\n");
    put("/proc/net/sockstat", "sockets: used 5\nTCP: inuse 27 orphan 1\n");
    put("/proc/sys/fs/file-nr", "1024\t0\t99999\n");
    put("/proc/42/stat", "42 (my (odd) name) S 1 42 42 0 -1 4194560 1 0 0 0 300 100 0 0 20 0 4 0 1000 4096000 25 "
                         "18446744073709551615\n");
    put("/proc/43/stat",
        "43 (my (odd) name) S 1 42 42 0 -1 4194560 1 0 0 0 100 0 0 0 20 0 1 0 1000 4096000 5 18446744073709551615\n");
    put("/sys/fs/cgroup/cgroup.controllers", "cpu memory\n");
    put("/sys/fs/cgroup/cpu.stat", "usage_usec 5000000\n");
    put("/sys/fs/cgroup/app.slice/cgroup.controllers", "cpu\n");
    put("/sys/fs/cgroup/app.slice/memory.current", "4096\n");
    put("/sys/fs/cgroup/app.slice/memory.stat", "anon 1\ninactive_file 1000\n");
    put("/sys/fs/cgroup/app.slice/memory.max", "max\n");
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    char cmd[96];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", root);
    return system(cmd);
}

static double find(const struct batch *b, const char *printed)
{
    vec_each (struct batch_series, s, &b->series) {
        AUTO_BUF struct buf out = { 0 };
        labels_print(&out, s->labels);
        if (str_eq(buf_str(&out), str_c(printed)))
            return s->samples[0].v;
    }
    fail_msg("no series %s", printed);
    return 0;
}

static void names_and_values_are_node_exporters(void **state)
{
    (void)state;
    static const struct {
        const char *series;
        double want;
    } rows[] = {
        { "node_cpu_seconds_total{cpu=\"0\", instance=\"h\", job=\"node\", mode=\"idle\"}", 40 },
        { "node_cpu_guest_seconds_total{cpu=\"0\", instance=\"h\", job=\"node\", mode=\"nice\"}", 0.01 },
        { "node_load5{instance=\"h\", job=\"node\"}", 0.25 },
        { "node_memory_MemTotal_bytes{instance=\"h\", job=\"node\"}", 1024000 },
        { "node_memory_Active_anon_bytes{instance=\"h\", job=\"node\"}", 10240 },
        { "node_memory_HugePages_Total{instance=\"h\", job=\"node\"}", 3 },
        { "node_vmstat_pgfault{instance=\"h\", job=\"node\"}", 123 },
        { "node_pressure_cpu_waiting_seconds_total{instance=\"h\", job=\"node\"}", 1.5 },
        { "node_disk_read_bytes_total{device=\"vda\", instance=\"h\", job=\"node\"}", 51200 },
        { "node_disk_io_time_seconds_total{device=\"vda\", instance=\"h\", job=\"node\"}", 0.5 },
        { "node_network_transmit_bytes_total{device=\"eth0\", instance=\"h\", job=\"node\"}", 2000 },
        { "node_sockstat_TCP_inuse{instance=\"h\", job=\"node\"}", 27 },
        { "node_filefd_maximum{instance=\"h\", job=\"node\"}", 99999 },
        { "node_forks_total{instance=\"h\", job=\"node\"}", 99 },
        { "node_filesystem_device_error{device=\"/dev/vdb\", fstype=\"ext4\", instance=\"h\", job=\"node\", "
          "mountpoint=\"/mnt/my disk\"}",
          1 },
        { "node_filesystem_readonly{device=\"/dev/vda1\", fstype=\"ext4\", instance=\"h\", job=\"node\", "
          "mountpoint=\"/\"}",
          0 },
        { "namedprocess_namegroup_num_procs{groupname=\"my (odd) name\", instance=\"h\", job=\"node\"}", 2 },
        { "namedprocess_namegroup_cpu_seconds_total{groupname=\"my (odd) name\", instance=\"h\", job=\"node\", "
          "mode=\"user\"}",
          4 },
        { "namedprocess_namegroup_num_threads{groupname=\"my (odd) name\", instance=\"h\", job=\"node\"}", 5 },
        { "container_cpu_usage_seconds_total{id=\"/\", instance=\"h\", job=\"node\"}", 5 },
        { "container_memory_working_set_bytes{id=\"/app.slice\", instance=\"h\", job=\"node\"}", 3096 },
        { "node_scrape_collector_success{collector=\"pressure\", instance=\"h\", job=\"node\"}", 0 },
        { "node_scrape_collector_success{collector=\"cpu\", instance=\"h\", job=\"node\"}", 1 },
    };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct host *h = host_new(&(struct host_config){ .root = root, .instance = "h" });
    struct batch b = { .a = &a };
    host_collect(h, &b);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_float_equal(find(&b, rows[i].series), rows[i].want, 1e-9);
    vec_each (struct batch_series, s, &b.series)
        assert_false(str_eq(labels_get(s->labels, STR("device")), STR("vda1")));
    host_close(h);
}

static void what_goes_becomes_stale_once(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct host *h = host_new(&(struct host_config){ .root = root, .instance = "h" });
    struct batch b1 = { .a = &a }, b2 = { .a = &a }, b3 = { .a = &a };
    host_collect(h, &b1);
    put("/proc/vmstat", "pgfault 124\n");
    host_collect(h, &b2);
    assert_true(is_stale(find(&b2, "node_vmstat_oom_kill{instance=\"h\", job=\"node\"}")));
    assert_int_equal(b1.series.n, b2.series.n);
    host_collect(h, &b3);
    assert_int_equal(b3.series.n, b2.series.n - 1);
    host_close(h);
}

static atomic_size_t stored, stale;

static enum err count_batch(void *ctx, const struct batch *b)
{
    (void)ctx;
    vec_each (struct batch_series, s, &b->series)
        atomic_fetch_add(is_stale(s->samples[0].v) ? &stale : &stored, 1);
    return OK;
}

static void the_thread_collects_this_machine(void **state)
{
    (void)state;
    struct host *h;
    assert_ok(host_open(&(struct host_config){ .sink = { count_batch, NULL }, .interval_ms = 20 }, &h));
    for (int i = 0; i < 300 && atomic_load(&stored) < 100; i++)
        os_sleep_ms(10);
    host_close(h);
    assert_true(atomic_load(&stored) > 100);
    assert_true(atomic_load(&stale) > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_values_are_node_exporters),
        cmocka_unit_test(what_goes_becomes_stale_once),
        cmocka_unit_test(the_thread_collects_this_machine),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
