/* Disks (/proc/diskstats; fields as in Documentation/admin-guide/iostats.rst) and mounted filesystems. */
#include "host/host_int.h"

#include <stdio.h>
#include <sys/statvfs.h>

#include "base/check.h"

static bool disk_ignored(str device)
{
    static const str prefixes[] = { STR_INIT("ram"), STR_INIT("loop"), STR_INIT("fd") };
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (str_has_prefix(device, prefixes[i]))
            return true;
    /* partitions: sda1, vdb2, nvme0n1p3 */
    bool digit_end = device.n && device.p[device.n - 1] >= '0' && device.p[device.n - 1] <= '9';
    if (!digit_end)
        return false;
    if (str_has_prefix(device, STR("nvme")) || str_has_prefix(device, STR("mmcblk")))
        return str_find_char(str_skip(device, 4), 'p') != SIZE_MAX;
    return str_has_prefix(device, STR("sd")) || str_has_prefix(device, STR("vd")) ||
           str_has_prefix(device, STR("hd")) || str_has_prefix(device, STR("xvd"));
}

enum err host_diskstats(struct host *h)
{
    static const struct {
        const char *name;
        double scale;
        enum metric_type type;
        const char *help;
    } rows[] = {
        { "node_disk_reads_completed_total", 1, METRIC_COUNTER, "The total number of reads completed successfully." },
        { "node_disk_reads_merged_total", 1, METRIC_COUNTER, "The total number of reads merged." },
        { "node_disk_read_bytes_total", 512, METRIC_COUNTER, "The total number of bytes read successfully." },
        { "node_disk_read_time_seconds_total", 0.001, METRIC_COUNTER,
          "The total number of seconds spent by all reads." },
        { "node_disk_writes_completed_total", 1, METRIC_COUNTER, "The total number of writes completed successfully." },
        { "node_disk_writes_merged_total", 1, METRIC_COUNTER, "The number of writes merged." },
        { "node_disk_written_bytes_total", 512, METRIC_COUNTER, "The total number of bytes written successfully." },
        { "node_disk_write_time_seconds_total", 0.001, METRIC_COUNTER,
          "This is the total number of seconds spent by all writes." },
        { "node_disk_io_now", 1, METRIC_GAUGE, "The number of I/Os currently in progress." },
        { "node_disk_io_time_seconds_total", 0.001, METRIC_COUNTER, "Total seconds spent doing I/Os." },
        { "node_disk_io_time_weighted_seconds_total", 0.001, METRIC_COUNTER,
          "The weighted # of seconds spent doing I/Os." },
    };
    str rest, line, word, device;
    TRY(host_read(h, "/proc/diskstats", &rest));
    while (host_line(&rest, &line)) {
        double v;
        if (!host_word(&line, &word) || !host_word(&line, &word) || !host_word(&line, &device) || disk_ignored(device))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(rows) && host_word_f64(&line, &v); i++)
            host_put(h, rows[i].name, rows[i].type, rows[i].help, v * rows[i].scale, HL("device", device));
    }
    return OK;
}

static bool fstype_ignored(str type)
{
    static const str ignored[] = {
        STR_INIT("autofs"),    STR_INIT("binfmt_misc"), STR_INIT("bpf"),        STR_INIT("cgroup"),
        STR_INIT("cgroup2"),   STR_INIT("configfs"),    STR_INIT("debugfs"),    STR_INIT("devpts"),
        STR_INIT("devtmpfs"),  STR_INIT("fusectl"),     STR_INIT("hugetlbfs"),  STR_INIT("iso9660"),
        STR_INIT("mqueue"),    STR_INIT("nsfs"),        STR_INIT("overlay"),    STR_INIT("proc"),
        STR_INIT("procfs"),    STR_INIT("pstore"),      STR_INIT("rpc_pipefs"), STR_INIT("securityfs"),
        STR_INIT("selinuxfs"), STR_INIT("squashfs"),    STR_INIT("sysfs"),      STR_INIT("tracefs"),
    };
    for (size_t i = 0; i < ARRAY_LEN(ignored); i++)
        if (str_eq(type, ignored[i]))
            return true;
    return false;
}

/* Mount points come with \040 for blanks and so on (fstab(5)). */
static str mount_unescape(struct host *h, str s)
{
    char *out = arena_alloc_align(h->a, s.n + 1, 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' && i + 3 < s.n && s.p[i + 1] >= '0' && s.p[i + 1] <= '3') {
            out[n++] = (char)((s.p[i + 1] - '0') * 64 + (s.p[i + 2] - '0') * 8 + (s.p[i + 3] - '0'));
            i += 3;
        } else {
            out[n++] = s.p[i];
        }
    }
    out[n] = '\0';
    return str_n(out, n);
}

static void filesystem_put(struct host *h, str device, str mountpoint, str type, bool readonly)
{
    struct host_label labels[] = { HL("device", device), HL("fstype", type), HL("mountpoint", mountpoint) };
    struct statvfs st;
    char path[1024];
    snprintf(path, sizeof(path), "%s" STR_FMT, h->cfg.root ? h->cfg.root : "", STR_ARG(mountpoint));
    bool ok = statvfs(path, &st) == 0;
    host_emit(h, "node_filesystem_device_error", METRIC_GAUGE,
              "Whether an error occurred while getting statistics for the given device.", ok ? 0 : 1, labels, 3);
    if (!ok)
        return;
    double unit = (double)st.f_frsize;
    const struct {
        const char *name, *help;
        double v;
    } rows[] = {
        { "node_filesystem_size_bytes", "Filesystem size in bytes.", (double)st.f_blocks * unit },
        { "node_filesystem_free_bytes", "Filesystem free space in bytes.", (double)st.f_bfree * unit },
        { "node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes.",
          (double)st.f_bavail * unit },
        { "node_filesystem_files", "Filesystem total file nodes.", (double)st.f_files },
        { "node_filesystem_files_free", "Filesystem total free file nodes.", (double)st.f_ffree },
        { "node_filesystem_readonly", "Filesystem read-only status.", readonly ? 1 : 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        host_emit(h, rows[i].name, METRIC_GAUGE, rows[i].help, rows[i].v, labels, 3);
}

enum err host_filesystem(struct host *h)
{
    str rest, line, device, mountpoint, type, options;
    VEC(str) seen = { 0 };
    if (host_read(h, "/proc/1/mounts", &rest) != OK)
        TRY(host_read(h, "/proc/self/mounts", &rest));
    while (host_line(&rest, &line)) {
        if (!host_word(&line, &device) || !host_word(&line, &mountpoint) || !host_word(&line, &type) ||
            !host_word(&line, &options) || fstype_ignored(type))
            continue;
        mountpoint = mount_unescape(h, mountpoint);
        bool again = str_has_prefix(mountpoint, STR("/proc/")) || str_has_prefix(mountpoint, STR("/sys/")) ||
                     str_has_prefix(mountpoint, STR("/dev/")) || str_has_prefix(mountpoint, STR("/run/credentials/"));
        vec_each (str, s, &seen)
            again |= str_eq(*s, mountpoint);
        if (again)
            continue;
        avec_push(h->a, &seen, mountpoint);
        bool readonly = str_eq(options, STR("ro")) || str_has_prefix(options, STR("ro,"));
        filesystem_put(h, device, mountpoint, type, readonly);
    }
    return OK;
}
