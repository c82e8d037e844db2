/* Memory: /proc/meminfo as node_memory_*_bytes, and the counters of /proc/vmstat that dashboards use. */
#include "host/host_int.h"

#include "base/check.h"

/* "Active(anon)" -> "node_memory_Active_anon_bytes", as node_exporter writes it. */
static const char *meminfo_name(struct host *h, str key, bool kilobytes)
{
    char text[128];
    size_t n = 0;
    for (size_t i = 0; i < key.n && n < sizeof(text); i++) {
        if (key.p[i] == '(')
            text[n++] = '_';
        else if (key.p[i] != ')')
            text[n++] = key.p[i];
    }
    return arena_printf(h->a, "node_memory_%.*s%s", (int)n, text, kilobytes ? "_bytes" : "").p;
}

enum err host_meminfo(struct host *h)
{
    str rest, line;
    TRY(host_read(h, "/proc/meminfo", &rest));
    while (host_line(&rest, &line)) {
        str key, unit;
        double v;
        if (!host_word(&line, &key) || key.p[key.n - 1] != ':' || !host_word_f64(&line, &v))
            continue;
        key.n--;
        bool kilobytes = host_word(&line, &unit) && str_eq(unit, STR("kB"));
        const char *help =
            arena_printf(h->a, "Memory information field " STR_FMT "%s.", STR_ARG(key), kilobytes ? "_bytes" : "").p;
        host_put0(h, meminfo_name(h, key, kilobytes), METRIC_GAUGE, help, kilobytes ? v * 1024 : v);
    }
    return OK;
}

enum err host_vmstat(struct host *h)
{
    static const str keep[] = { STR_INIT("pgpgin"),  STR_INIT("pgpgout"),    STR_INIT("pswpin"),  STR_INIT("pswpout"),
                                STR_INIT("pgfault"), STR_INIT("pgmajfault"), STR_INIT("oom_kill") };
    str rest, line, key;
    TRY(host_read(h, "/proc/vmstat", &rest));
    while (host_line(&rest, &line)) {
        double v;
        if (!host_word(&line, &key) || !host_word_f64(&line, &v))
            continue;
        for (size_t i = 0; i < ARRAY_LEN(keep); i++)
            if (str_eq(key, keep[i]))
                host_put0(h, arena_printf(h->a, "node_vmstat_" STR_FMT, STR_ARG(key)).p, METRIC_UNKNOWN,
                          arena_printf(h->a, "/proc/vmstat information field " STR_FMT ".", STR_ARG(key)).p, v);
    }
    return OK;
}
