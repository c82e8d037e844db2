/* process_* as every Prometheus client has them, read from /proc at a collection, and the library's account of itself as
 * vane_sdk_*. With several processes sharing a folder each living one has its process_* with the label pid. */
#include "sdk_metric.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t read_file(const char *path, char *buf, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, cap - 1);
    if (fd >= 0)
        close(fd);
    buf[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

struct process {
    double cpu_s, start_s, resident, virt, threads, fds, max_fds, max_virt;
};

static double boot_time(void)
{
    static double cached; /* under the collect lock */
    static char text[16384];
    if (cached == 0 && read_file("/proc/stat", text, sizeof text)) {
        const char *at = strstr(text, "btime ");
        cached = at ? (double)strtoull(at + 6, NULL, 10) : 0;
    }
    return cached;
}

static double count_fds(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0 && st.st_size > 0)
        return (double)st.st_size; /* Linux 6.2 and later tell it */
    DIR *d = opendir(path);
    double n = 0;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

/* "unlimited" reads as 0, which is not shown. */
static double limit_of(const char *limits, const char *name)
{
    const char *at = strstr(limits, name);
    if (!at)
        return 0;
    at += strlen(name);
    return strtod(at + strspn(at, " "), NULL);
}

static bool process_read(uint32_t pid, struct process *ret)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    if (!read_file(path, text, sizeof text))
        return false;
    const char *at = strrchr(text, ')');
    unsigned long long f[25] = { 0 };
    if (!at)
        return false;
    at += 4; /* ") S " */
    char *end;
    for (int i = 4; i < 25; i++, at = end)
        f[i] = strtoull(at, &end, 10); /* negative ones wrap; none of those is used */
    double tick = (double)sysconf(_SC_CLK_TCK);
    *ret = (struct process){
        .cpu_s = (double)(f[14] + f[15]) / tick,
        .threads = (double)f[20],
        .start_s = boot_time() + (double)f[22] / tick,
        .virt = (double)f[23],
        .resident = (double)f[24] * (double)sysconf(_SC_PAGESIZE),
    };
    snprintf(path, sizeof path, "/proc/%u/fd", pid);
    ret->fds = count_fds(path);
    snprintf(path, sizeof path, "/proc/%u/limits", pid);
    if (read_file(path, text, sizeof text)) {
        ret->max_fds = limit_of(text, "Max open files");
        ret->max_virt = limit_of(text, "Max address space");
    }
    return true;
}

static const struct {
    const char *name, *help, *unit;
    vane_kind kind;
    size_t at;
    bool hide_zero;
} rows[] = {
    { "process_cpu_seconds", "User and system CPU time spent.", "seconds", VANE_FCOUNTER,
      offsetof(struct process, cpu_s), false },
    { "process_resident_memory_bytes", "Resident memory size.", "bytes", VANE_GAUGE, offsetof(struct process, resident),
      false },
    { "process_virtual_memory_bytes", "Virtual memory size.", "bytes", VANE_GAUGE, offsetof(struct process, virt),
      false },
    { "process_virtual_memory_max_bytes", "Limit of virtual memory.", "bytes", VANE_GAUGE,
      offsetof(struct process, max_virt), true },
    { "process_open_fds", "Open file descriptors.", "", VANE_GAUGE, offsetof(struct process, fds), false },
    { "process_max_fds", "Limit of open file descriptors.", "", VANE_GAUGE, offsetof(struct process, max_fds), true },
    { "process_threads", "Threads.", "", VANE_GAUGE, offsetof(struct process, threads), false },
    { "process_start_time_seconds", "Start of the process, seconds since the epoch.", "seconds", VANE_GAUGE,
      offsetof(struct process, start_s), false },
};

enum { PIDS_MAX = 1024 };

static int visit_process(const struct sdk_visitor *v)
{
    static uint32_t pids[PIDS_MAX]; /* under the collect lock */
    static struct process all[PIDS_MAX];
    size_t n = sdk_multiproc_pids(pids, PIDS_MAX), read = 0;
    bool with_pid = n > 0;
    if (!n)
        pids[n++] = (uint32_t)getpid();
    for (size_t i = 0; i < n; i++)
        if (process_read(pids[i], &all[read]))
            pids[read++] = pids[i];
    int stop = 0;
    for (size_t r = 0; r < SDK_COUNT_OF(rows) && !stop && read; r++) {
        struct sdk_family f = { .kind = rows[r].kind,
                                .name = rows[r].name,
                                .help = rows[r].help,
                                .unit = rows[r].unit,
                                .scope = "vane",
                                .scope_version = "" };
        stop = v->family_begin(v->ctx, &f);
        for (size_t i = 0; i < read && !stop; i++) {
            char label[32];
            struct sdk_point p = { .labels = label };
            p.labels_n = with_pid ? (size_t)snprintf(label, sizeof label, "pid=\"%u\"", pids[i]) : 0;
            memcpy(&p.v.f, (const char *)&all[i] + rows[r].at, sizeof p.v.f);
            if (!rows[r].hide_zero || p.v.f > 0)
                stop = v->point(v->ctx, &f, &p);
        }
        if (!stop)
            stop = v->family_end(v->ctx, &f);
    }
    return stop;
}

/* ---- the library itself ---- */

static const char *const problems[SDK_COUNTERS_N] = {
    [SDK_STALE_HANDLES] = "stale_handles",   [SDK_BAD_VALUES] = "bad_values",
    [SDK_BAD_LABELS] = "bad_labels",         [SDK_REPLACED_STRINGS] = "replaced_strings",
    [SDK_CUT_STRINGS] = "cut_strings",       [SDK_SERIES_OVERFLOW] = "series_overflow",
    [SDK_ALLOC_FAILURES] = "alloc_failures", [SDK_SPANS_DROPPED] = "spans_dropped",
    [SDK_SPAN_MISUSE] = "span_misuse",       [SDK_SPAN_LIMITS] = "span_limits",
    [SDK_LOGS_DROPPED] = "logs_dropped",     [SDK_LOGS_SUPPRESSED] = "logs_suppressed",
    [SDK_EVENTS_DROPPED] = "events_dropped", [SDK_HEADERS_REFUSED] = "headers_refused",
    [SDK_PUSHES_FAILED] = "pushes_failed",   [SDK_PUSH_RETRIES] = "push_retries",
    [SDK_PUSH_REJECTED] = "push_rejected",   [SDK_PROFILE_DROPPED] = "profile_dropped",
    [SDK_FILES_BAD] = "files_bad",           [SDK_THREADS_SHARED] = "threads_shared",
    [SDK_CALLBACKS_SLOW] = "callbacks_slow", [SDK_CLOCK_JUMPS] = "clock_jumps",
};
static const char *const activity[SDK_COUNTERS_N] = {
    [SDK_SPANS_STARTED] = "spans_started",     [SDK_PUSHES_OK] = "pushes_ok",       [SDK_SCRAPES] = "scrapes",
    [SDK_PROFILE_SAMPLES] = "profile_samples", [SDK_FILES_FOLDED] = "files_folded",
};

static int visit_kinds(const struct sdk_visitor *v, const char *name, const char *help, const char *const *kinds)
{
    struct sdk_family f = {
        .kind = VANE_COUNTER, .name = name, .help = help, .unit = "", .scope = "vane", .scope_version = ""
    };
    int stop = v->family_begin(v->ctx, &f);
    for (size_t i = 0; i < SDK_COUNTERS_N && !stop; i++) {
        if (!kinds[i])
            continue;
        char label[64];
        struct sdk_point p = { .labels = label };
        p.labels_n = (size_t)snprintf(label, sizeof label, "kind=\"%s\"", kinds[i]);
        p.v.u = sdk_counter((enum sdk_counter)i);
        stop = v->point(v->ctx, &f, &p);
    }
    return stop ? stop : v->family_end(v->ctx, &f);
}

static int visit_gauge(const struct sdk_visitor *v, const char *name, const char *help, const char *unit,
                       uint64_t value)
{
    struct sdk_family f = {
        .kind = VANE_GAUGE, .name = name, .help = help, .unit = unit, .scope = "vane", .scope_version = ""
    };
    struct sdk_point p = { .labels = "" };
    p.v.f = (double)value;
    int stop = v->family_begin(v->ctx, &f);
    if (!stop)
        stop = v->point(v->ctx, &f, &p);
    return stop ? stop : v->family_end(v->ctx, &f);
}

int sdk_process_collect(const struct sdk_visitor *v)
{
    int stop = sdk_cfg.process_metrics == VANE_ON ? visit_process(v) : 0;
    if (!stop)
        stop = visit_kinds(v, "vane_sdk_problems", "What the library refused, dropped or lost.", problems);
    if (!stop)
        stop = visit_kinds(v, "vane_sdk_activity", "What the library did.", activity);
    if (!stop)
        stop = visit_gauge(v, "vane_sdk_series", "Series of this process.", "", sdk_counter(SDK_SERIES));
    return stop ? stop
                : visit_gauge(v, "vane_sdk_memory_bytes", "Memory the library holds.", "bytes",
                              sdk_counter(SDK_MEMORY_BYTES));
}
