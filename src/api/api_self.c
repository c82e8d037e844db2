/* GET /metrics: vane's own counters (base/stats.h), the process' facts under the names of Prometheus' client
 * libraries, and those names of Prometheus itself that dashboards and alerts use. */
#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>

#include "wire/expo.h"

#include "api/api_int.h"

static void family(struct buf *out, const char *name, const char *type, const char *help, double v)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s ", name, help, name, type, name);
    buf_f64_g(out, v);
    buf_u8(out, '\n');
}

static size_t open_fds(void)
{
    size_t n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n > 3 ? n - 3 : 0; /* without ".", ".." and the directory itself */
}

static double virtual_bytes(void)
{
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f && fscanf(f, "%llu", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return (double)pages * 4096;
}

static void render_process(const struct api *api, struct buf *out)
{
    struct rlimit fds = { 0 };
    getrlimit(RLIMIT_NOFILE, &fds);
    family(out, "process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.",
           (double)os_cpu_ns() * 1e-9);
    family(out, "process_max_fds", "gauge", "Maximum number of open file descriptors.", (double)fds.rlim_cur);
    family(out, "process_open_fds", "gauge", "Number of open file descriptors.", (double)open_fds());
    family(out, "process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", (double)os_rss());
    family(out, "process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.",
           (double)api->d.start_ms / 1000);
    family(out, "process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", virtual_bytes());
}

static void label_value(struct buf *out, str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '"' || s.p[i] == '\\')
            buf_u8(out, '\\');
        buf_u8(out, s.p[i] == '\n' ? ' ' : (uint8_t)s.p[i]);
    }
}

static void render_build(const struct api *api, struct buf *out)
{
    const struct api_build *b = &api->d.build;
    const struct {
        const char *name;
        str value;
    } labels[] = {
        { "branch", b->branch }, { "compiler", b->compiler }, { "revision", b->revision }, { "version", b->version }
    };
    static const char *const families[] = { "prometheus_build_info", "vane_build_info" };
    for (size_t f = 0; f < ARRAY_LEN(families); f++) {
        buf_printf(out, "# HELP %s What this binary was built from.\n# TYPE %s gauge\n%s{", families[f], families[f],
                   families[f]);
        for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
            buf_printf(out, "%s%s=\"", i ? "," : "", labels[i].name);
            label_value(out, labels[i].value);
            buf_lit(out, "\"");
        }
        buf_lit(out, "} 1\n");
    }
}

static void render_config(const struct api *api, struct buf *out)
{
    const struct api_process *p = api->d.process;
    struct api_config_state s = { .reload_ok = true, .reload_ms = api->d.start_ms };
    if (p->config_state)
        p->config_state(p->ctx, &s);
    family(out, "prometheus_config_last_reload_success_timestamp_seconds", "gauge",
           "Timestamp of the last successful configuration reload.", (double)s.reload_ms / 1000);
    family(out, "prometheus_config_last_reload_successful", "gauge",
           "Whether the last configuration reload attempt was successful.", s.reload_ok);
    family(out, "prometheus_ready", "gauge",
           "Whether startup was fully completed and the server is ready for normal operation.", api_ready(api));
}

static void render_store(const struct api *api, struct buf *out)
{
    const struct api_store *st = &api->d.store;
    AUTO_ARENA struct arena a;
    struct tsdb_stats s = { 0 };
    arena_init(&a, 0);
    if (!st->stats || !api_ready(api) || st->stats(st->ctx, false, &a, &s) != OK)
        return;
    family(out, "prometheus_tsdb_head_chunks", "gauge", "Total number of chunks in the head block.",
           (double)s.head_chunks);
    family(out, "prometheus_tsdb_head_max_time_seconds", "gauge", "Maximum timestamp of the head block.",
           (double)s.head_max_ms / 1000);
    family(out, "prometheus_tsdb_head_min_time_seconds", "gauge", "Minimum time bound of the head block.",
           (double)s.head_min_ms / 1000);
    family(out, "prometheus_tsdb_head_series", "gauge", "Total number of series in the head block.",
           (double)s.head_series);
    family(out, "prometheus_tsdb_lowest_timestamp_seconds", "gauge", "Lowest timestamp value stored in the database.",
           (double)s.min_ms / 1000);
    family(out, "prometheus_tsdb_storage_blocks_bytes", "gauge",
           "The number of bytes that are currently used for local storage by all blocks.", (double)s.segment_bytes);
    family(out, "prometheus_tsdb_wal_storage_size_bytes", "gauge", "Size of the write log directory.",
           (double)s.wal_bytes);
}

static void render(void *ctx, struct buf *out)
{
    const struct api *api = ctx;
    render_process(api, out);
    render_build(api, out);
    render_config(api, out);
    render_store(api, out);
}

void api_self_open(struct api *api)
{
    stats_on_render(render, api);
}

void api_self_close(struct api *api)
{
    stats_off_render(render, api);
}

/* Rooms below know nothing of Prometheus' names: those that dashboards use are given here, from what was rendered. */
static const struct {
    const char *ours, *family, *series, *type;
} aliases[] = {
    { "vane_tsdb_samples_appended_total", "prometheus_tsdb_head_samples_appended_total",
      "prometheus_tsdb_head_samples_appended_total{type=\"float\"}", "counter" },
    { "vane_tsdb_out_of_order_samples_total", "prometheus_tsdb_head_out_of_order_samples_appended_total",
      "prometheus_tsdb_head_out_of_order_samples_appended_total{type=\"float\"}", "counter" },
    { "vane_tsdb_compactions_total", "prometheus_tsdb_compactions_total", "prometheus_tsdb_compactions_total",
      "counter" },
    { "vane_tsdb_compaction_failures_total", "prometheus_tsdb_compactions_failed_total",
      "prometheus_tsdb_compactions_failed_total", "counter" },
    { "vane_query_duration_seconds_sum", "prometheus_engine_query_duration_seconds",
      "prometheus_engine_query_duration_seconds_sum{slice=\"inner_eval\"}", "summary" },
    { "vane_query_duration_seconds_count", NULL, "prometheus_engine_query_duration_seconds_count{slice=\"inner_eval\"}",
      "" },
};

/* The value of a rendered series without labels, or STR_NONE. */
static str rendered_value(str text, const char *name)
{
    char line[128];
    snprintf(line, sizeof(line), "\n%s ", name);
    size_t at = str_find(text, str_c(line));
    if (at == SIZE_MAX)
        return STR_NONE;
    str value = str_skip(text, at + strlen(line));
    size_t end = str_find_char(value, '\n');
    return str_take(value, end == SIZE_MAX ? value.n : end);
}

static void render_aliases(struct arena *a, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LEN(aliases); i++) {
        str value = arena_str(a, rendered_value(buf_str(out), aliases[i].ours));
        if (value.n == 0)
            continue;
        if (aliases[i].family)
            buf_printf(out, "# HELP %s The same as %s.\n# TYPE %s %s\n", aliases[i].family, aliases[i].ours,
                       aliases[i].family, aliases[i].type);
        buf_printf(out, "%s " STR_FMT "\n", aliases[i].series, STR_ARG(value));
    }
}

void api_metrics(struct http_request *rq, struct http_response *rs)
{
    rs->content_type = STR(EXPO_CONTENT_TYPE_TEXT);
    stats_render(&rs->body);
    render_aliases(rq->a, &rs->body);
}
