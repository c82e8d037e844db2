/* CPU time per mode, load, pressure, scheduler counts: /proc/stat, /proc/loadavg, /proc/pressure (proc(5)). */
#include "host/host_int.h"

#include <stdio.h>
#include <unistd.h>

#include "base/check.h"

enum err host_cpu(struct host *h)
{
    static const char *const modes[] = { "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal" };
    static const char *const guests[] = { "user", "nice" };
    double hz = (double)sysconf(_SC_CLK_TCK);
    str rest, line;
    TRY(host_read(h, "/proc/stat", &rest));
    while (host_line(&rest, &line)) {
        str cpu;
        if (!str_has_prefix(line, STR("cpu")) || !host_word(&line, &cpu) || cpu.n == 3)
            continue;
        cpu = str_skip(cpu, 3);
        double ticks;
        for (size_t i = 0; i < ARRAY_LEN(modes) && host_word_f64(&line, &ticks); i++)
            host_put(h, "node_cpu_seconds_total", METRIC_COUNTER, "Seconds the CPUs spent in each mode.", ticks / hz,
                     HL("cpu", cpu), HL("mode", str_c(modes[i])));
        for (size_t i = 0; i < ARRAY_LEN(guests) && host_word_f64(&line, &ticks); i++)
            host_put(h, "node_cpu_guest_seconds_total", METRIC_COUNTER,
                     "Seconds the CPUs spent in guests (VMs) for each mode.", ticks / hz, HL("cpu", cpu),
                     HL("mode", str_c(guests[i])));
    }
    return OK;
}

enum err host_stat(struct host *h)
{
    static const struct {
        str key;
        const char *name;
        enum metric_type type;
        const char *help;
    } rows[] = {
        { STR_INIT("intr"), "node_intr_total", METRIC_COUNTER, "Total number of interrupts serviced." },
        { STR_INIT("ctxt"), "node_context_switches_total", METRIC_COUNTER, "Total number of context switches." },
        { STR_INIT("btime"), "node_boot_time_seconds", METRIC_GAUGE, "Node boot time, in unixtime." },
        { STR_INIT("processes"), "node_forks_total", METRIC_COUNTER, "Total number of forks." },
        { STR_INIT("procs_running"), "node_procs_running", METRIC_GAUGE, "Number of processes in runnable state." },
        { STR_INIT("procs_blocked"), "node_procs_blocked", METRIC_GAUGE,
          "Number of processes blocked waiting for I/O to complete." },
    };
    str rest, line, key;
    TRY(host_read(h, "/proc/stat", &rest));
    while (host_line(&rest, &line)) {
        double v;
        if (!host_word(&line, &key) || !host_word_f64(&line, &v))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(rows); i++)
            if (str_eq(key, rows[i].key))
                host_put0(h, rows[i].name, rows[i].type, rows[i].help, v);
    }
    return OK;
}

enum err host_loadavg(struct host *h)
{
    static const char *const names[] = { "node_load1", "node_load5", "node_load15" };
    static const char *const helps[] = { "1m load average.", "5m load average.", "15m load average." };
    str rest;
    TRY(host_read(h, "/proc/loadavg", &rest));
    for (size_t i = 0; i < 3; i++) {
        double v;
        if (!host_word_f64(&rest, &v))
            return ERR_PARSE;
        host_put0(h, names[i], METRIC_GAUGE, helps[i], v);
    }
    return OK;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=123": microseconds. */
static bool pressure_total(str text, str kind, double *ret)
{
    str line;
    while (host_line(&text, &line)) {
        size_t at = str_find(line, STR("total="));
        uint64_t us;
        if (str_has_prefix(line, kind) && at != SIZE_MAX && str_to_u64(str_skip(line, at + 6), &us)) {
            *ret = (double)us / 1e6;
            return true;
        }
    }
    return false;
}

enum err host_pressure(struct host *h)
{
    static const struct {
        const char *path;
        str kind;
        const char *name, *help;
    } rows[] = {
        { "/proc/pressure/cpu", STR_INIT("some"), "node_pressure_cpu_waiting_seconds_total",
          "Total time in seconds that processes have waited for CPU time" },
        { "/proc/pressure/memory", STR_INIT("some"), "node_pressure_memory_waiting_seconds_total",
          "Total time in seconds that processes have waited for memory" },
        { "/proc/pressure/memory", STR_INIT("full"), "node_pressure_memory_stalled_seconds_total",
          "Total time in seconds no process could make progress due to memory congestion" },
        { "/proc/pressure/io", STR_INIT("some"), "node_pressure_io_waiting_seconds_total",
          "Total time in seconds that processes have waited due to IO congestion" },
        { "/proc/pressure/io", STR_INIT("full"), "node_pressure_io_stalled_seconds_total",
          "Total time in seconds no process could make progress due to IO congestion" },
    };
    enum err first = OK;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        str text;
        double v;
        enum err e = host_read(h, rows[i].path, &text);
        if (e == OK && pressure_total(text, rows[i].kind, &v))
            host_put0(h, rows[i].name, METRIC_COUNTER, rows[i].help, v);
        else if (first == OK)
            first = e ? e : ERR_PARSE;
    }
    return first;
}
