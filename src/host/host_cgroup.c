/* Cgroups (version 2) under cAdvisor's names: container_cpu_usage_seconds_total{id="/system.slice/x.service"}
 * and so on, two levels deep, at most CGROUPS_MAX of them. A host without cgroup v2 has none of these. */
#include "host/host_int.h"

#include <stdio.h>

#include "base/check.h"
#include "base/num.h"

enum { CGROUPS_MAX = 500, CGROUP_DEPTH_MAX = 3 };

static const char cgroup_root[] = "/sys/fs/cgroup";

static bool cgroup_file(struct host *h, str id, const char *file, str *ret)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s" STR_FMT "/%s", cgroup_root, STR_ARG(id), file);
    return host_read(h, path, ret) == OK;
}

static bool keyed_number(str text, str key, double *ret)
{
    str line, word;
    while (host_line(&text, &line))
        if (host_word(&line, &word) && str_eq(word, key))
            return host_word_f64(&line, ret);
    return false;
}

static void cgroup_put(struct host *h, str id)
{
    static const struct {
        str key;
        const char *name, *help;
    } cpu[] = {
        { STR_INIT("usage_usec"), "container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds." },
        { STR_INIT("user_usec"), "container_cpu_user_seconds_total", "Cumulative user cpu time consumed in seconds." },
        { STR_INIT("system_usec"), "container_cpu_system_seconds_total",
          "Cumulative system cpu time consumed in seconds." },
        { STR_INIT("throttled_usec"), "container_cpu_cfs_throttled_seconds_total",
          "Total time duration the container has been throttled." },
    };
    str text;
    double v, inactive = 0;
    if (cgroup_file(h, id, "cpu.stat", &text))
        for (size_t i = 0; i < ARRAY_LEN(cpu); i++)
            if (keyed_number(text, cpu[i].key, &v))
                host_put(h, cpu[i].name, METRIC_COUNTER, cpu[i].help, v / 1e6, HL("id", id));
    if (cgroup_file(h, id, "memory.stat", &text))
        IGNORE_ERR(keyed_number(text, STR("inactive_file"), &inactive) ? OK : ERR_NOT_FOUND);
    if (cgroup_file(h, id, "memory.current", &text) && num_parse_f64(str_trim(text), &v)) {
        host_put(h, "container_memory_usage_bytes", METRIC_GAUGE, "Current memory usage in bytes.", v, HL("id", id));
        host_put(h, "container_memory_working_set_bytes", METRIC_GAUGE, "Current working set in bytes.",
                 v > inactive ? v - inactive : 0, HL("id", id));
    }
    if (cgroup_file(h, id, "memory.max", &text) && num_parse_f64(str_trim(text), &v))
        host_put(h, "container_spec_memory_limit_bytes", METRIC_GAUGE, "Memory limit for the container.", v,
                 HL("id", id));
    if (cgroup_file(h, id, "pids.current", &text) && num_parse_f64(str_trim(text), &v))
        host_put(h, "container_processes", METRIC_GAUGE, "Number of processes running inside the container.", v,
                 HL("id", id));
}

static void cgroup_walk(struct host *h, str id, unsigned depth, size_t *n)
{
    char path[1024];
    str *names, text;
    size_t n_names;
    if (depth > CGROUP_DEPTH_MAX || *n >= CGROUPS_MAX || !cgroup_file(h, id, "cgroup.controllers", &text))
        return;
    ++*n;
    cgroup_put(h, id.n ? id : STR("/"));
    snprintf(path, sizeof(path), "%s%s" STR_FMT, h->cfg.root ? h->cfg.root : "", cgroup_root, STR_ARG(id));
    if (fs_list(fs_os(), path, h->a, &names, &n_names) != OK)
        return;
    for (size_t i = 0; i < n_names; i++)
        if (!str_contains(names[i], STR(".")) || str_has_suffix(names[i], STR(".slice")) ||
            str_has_suffix(names[i], STR(".service")) || str_has_suffix(names[i], STR(".scope")))
            cgroup_walk(h, arena_printf(h->a, STR_FMT "/" STR_FMT, STR_ARG(id), STR_ARG(names[i])), depth + 1, n);
}

enum err host_cgroups(struct host *h)
{
    size_t n = 0;
    cgroup_walk(h, STR(""), 0, &n);
    return OK;
}
