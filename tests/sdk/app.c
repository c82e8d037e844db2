/* A program instrumented with libvane, for tests/sdk/scrape_test.py: serves its metrics and health, prints its port, does what
 * its standard input says until it ends: "h", "d", "u" the state of its database, "n", "r" not ready and ready, else it counts. Spans are made by hand, as tracing fills the thread's context. */
#include "../../src/sdk/sdk_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static vane_health disk(void *ctx, char *message, size_t n)
{
    (void)ctx;
    snprintf(message, n, "12 \"GB\" free");
    return VANE_HEALTHY;
}

static void pool(void *ctx, vane_observer *o)
{
    (void)ctx;
    vane_observe(o, 3, VANE_LABELS("main"));
}

static vane_metric make(vane_kind kind, const char *name, const char *help, const char *labels, unsigned flags)
{
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    o.kind = kind;
    o.name = name;
    o.help = help;
    o.labels = labels;
    o.flags = flags;
    return vane_metric_new(&o, NULL);
}

int main(void)
{
    static vane_span span;
    vane_config cfg = VANE_CONFIG_INIT;
    cfg.service_name = getenv("APP_UNNAMED") ? NULL : "scraped-app";
    cfg.listen_any_port = VANE_ON;
    if (vane_start(&cfg))
        return 1;
    vane_metric requests = make(VANE_COUNTER, "app_requests_total", "Requests \"answered\".\nSecond line \\.",
                                "method,path", VANE_F_EXEMPLARS);
    vane_counter get = vane_counter_bind(requests, VANE_LABELS("GET", "/caf\xC3\xA9 \"x\"\\\n"));
    vane_histogram native =
        vane_histogram_bind(vane_histogram_new("app_duration_seconds", "Native.", "method"), VANE_LABELS("GET"));
    static const double bounds[] = { 0.1, 0.5, 1 };
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    o.kind = VANE_HISTOGRAM;
    o.name = "app_size_bytes";
    o.help = "Explicit.";
    o.unit = "bytes";
    o.bounds = bounds;
    o.n_bounds = 3;
    vane_histogram classic = vane_histogram_bind(vane_metric_new(&o, NULL), VANE_NO_LABELS);
    vane_histogram empty =
        vane_histogram_bind(vane_histogram_new("app_empty_seconds", "Never observed.", ""), VANE_NO_LABELS);
    (void)empty;
    vane_gauge_set(vane_gauge_bind(vane_gauge_new("app_temperature_celsius", "Gauge.", ""), VANE_NO_LABELS), -3.25);
    vane_fcounter_add(vane_fcounter_bind(vane_fcounter_new("app_cpu_seconds_total", "Float.", ""), VANE_NO_LABELS),
                      1.5);
    vane_updown_add(vane_updown_bind(vane_updown_new("app_queue_items", "Up-down.", ""), VANE_NO_LABELS), -2);
    vane_stateset_set(
        vane_stateset_bind(vane_stateset_new("app_phase", "States.", "", "starting,running"), VANE_NO_LABELS), 1);
    vane_info_set("app_build", "Build.", "version=1.2.3");
    vane_metric_opts observed = VANE_METRIC_OPTS_INIT;
    observed.kind = VANE_GAUGE;
    observed.name = "app_pool_connections";
    observed.help = "Observed.";
    observed.labels = "pool";
    observed.observe = pool;
    vane_metric_new(&observed, NULL);
    vane_counter_add(get, 41);
    sdk_tls.span = &span;
    for (int i = 0; i < 16; i++)
        sdk_tls.context.trace_id[i] = (uint8_t)(i + 1);
    sdk_tls.context.span_id[7] = 9;
    sdk_tls.context.flags = 1;
    for (int i = 1; i <= 1000; i++) {
        vane_histogram_observe(native, i / 1000.0);
        vane_histogram_observe(classic, i / 500.0);
    }
    vane_histogram delta =
        vane_histogram_bind(vane_histogram_new("app_delta_seconds", "Both signs.", ""), VANE_NO_LABELS);
    for (int i = -10; i <= 10; i++)
        vane_histogram_observe(delta, i);
    vane_histogram_observe(native, 0);
    vane_counter_inc(get);
    vane_health_opts check = { .size = sizeof check, .name = "disk", .check = disk, .interval_ms = 100 };
    check.flags = VANE_HEALTH_LIVENESS | VANE_HEALTH_READINESS;
    vane_health_add(&check);
    vane_health_set("database", VANE_HEALTHY, "");
    printf("%u\n", vane_listen_port());
    fflush(stdout);
    char c;
    while (read(0, &c, 1) > 0)
        if (c == 'h' || c == 'd' || c == 'u')
            vane_health_set("database", c == 'h' ? VANE_HEALTHY : c == 'd' ? VANE_DEGRADED : VANE_UNHEALTHY, "asked");
        else if (c == 'n' || c == 'r')
            vane_health_set_ready(c == 'r', "warming up");
        else
            vane_counter_inc(get);
    return vane_stop(1000) != VANE_OK;
}
