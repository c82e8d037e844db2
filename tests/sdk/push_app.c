/* A program that makes spans and metrics of every kind and pushes them; for push_test.py. Prints vane_self() as JSON.
 * Arguments: number of spans, milliseconds to wait for the flush, "fork" to do the work in a child, "logs" to log the
 * number of lines inside a span too. */
#include <vane/vane.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void told(void *ctx, vane_status st, const char *what)
{
    (void)ctx, (void)st;
    fprintf(stderr, "# %s\n", what);
}

static void metrics(void)
{
    vane_counter_add(
        vane_counter_bind(vane_counter_new("app_requests_total", "Requests.", "path"), VANE_LABELS("/\xC3\xA9")), 7);
    vane_updown_add(vane_updown_bind(vane_updown_new("app_queue", "Queue.", ""), VANE_NO_LABELS), -3);
    vane_gauge_set(vane_gauge_bind(vane_gauge_new("app_level", "Level.", ""), VANE_NO_LABELS), 1.5);
    vane_stateset_set(
        vane_stateset_bind(vane_stateset_new("app_phase", "Phase.", "", "starting,running"), VANE_NO_LABELS), 1);
    vane_info_set("app_build", "Build.", "version=1.2.3");
    static const double bounds[] = { 0.1, 1 };
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    o.kind = VANE_HISTOGRAM;
    o.name = "app_size_bytes";
    o.unit = "bytes";
    o.bounds = bounds;
    o.n_bounds = 2;
    vane_histogram classic = vane_histogram_bind(vane_metric_new(&o, NULL), VANE_NO_LABELS),
                   native = vane_histogram_bind(vane_histogram_new("app_seconds", "Seconds.", ""), VANE_NO_LABELS);
    static const double values[] = { 0.05, 0.5, 2, 2, 0, -1 };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        vane_histogram_observe(native, values[i]);
        vane_histogram_observe(classic, values[i]);
    }
}

static void spans(int n)
{
    vane_context remote = { .trace_id = { 1, 2, 3 }, .span_id = { 4 }, .flags = 1, .remote = 1 };
    remote = vane_context_with_tracestate(remote, "a=1");
    vane_span_opts o = { .size = sizeof o, .kind = VANE_SPAN_SERVER, .parent = &remote };
    vane_span s;
    vane_span_start_opts(&s, "serve", &o);
    vane_span_set(&s, vane_str("text", "caf\xC3\xA9"));
    vane_span_set(&s, vane_strn("bad", "a\xFF\0", 3));
    vane_span_set(&s, vane_int("int", -7));
    vane_span_set(&s, vane_f64("f64", 0.25));
    vane_span_set(&s, vane_bool("bool", 1));
    vane_span_set(&s, vane_bytes("bytes", "\1\2", 2));
    vane_attr a = vane_int("n", 1), odd = vane_int("k\xFF", 1); /* one bad key must not cost the batch */
    vane_span_event(&s, "cache miss", &a, 1);
    vane_span_event(&s, "odd", &odd, 1);
    vane_span_set(&s, odd);
    vane_span_exception(&s, "Timeout", "gave up", "at main");
    vane_span_link(&s, &remote, &a, 1);
    vane_span_status(&s, VANE_SPAN_ERROR, "declined");
    for (int i = 1; i < n; i++) {
        VANE_SPAN(child, "child");
        vane_span_set(&child, vane_int("i", i));
    }
    vane_span_end(&s);
    vane_context_release(remote);
}

/* A line of every kind, and n - 6 plain ones. */
static void logs(int n)
{
    VANE_SPAN(span, "work");
    VANE_LOG_SCOPE(vane_str("correlation_id", "c-1"), vane_str("user_id", "u-1"));
    VANE_INFO("caf\xC3\xA9 \xFF", vane_int("int", -7), vane_f64("f64", 0.25), vane_bool("bool", 1),
              vane_bytes("bytes", "\1\2", 2), vane_str("password", "hunter2"), vane_f64("nan", __builtin_nan("")));
    VANE_ERROR("error");
    VANE_CRITICAL("critical");
    vane_attr ip = vane_str("client.address", "192.0.2.1");
    vane_audit("ada", "delete", "order/7", "denied", &ip, 1);
    vane_user_event("u-2", "feature.used", (const vane_attr[]){ vane_str("feature", "export") }, 1);
    vane_context none = { 0 };
    vane_context previous = vane_context_attach(&none);
    vane_log(VANE_LOG_WARN, NULL, "outside", NULL, 0);
    vane_context_detach(previous);
    for (int i = 6; i < n; i++)
        vane_log(VANE_LOG_INFO, NULL, "plain", NULL, 0);
}

int main(int argc, char **argv)
{
    vane_config cfg = VANE_CONFIG_INIT;
    cfg.diag = told;
    cfg.process_metrics = VANE_OFF;
    if (argc < 3 || vane_start(&cfg))
        return 1;
    bool in_child = argc > 3 && !strcmp(argv[3], "fork"),
         with_logs = argc > 4 || (argc > 3 && !strcmp(argv[3], "logs"));
    if (in_child) {
        pid_t pid = fork();
        if (pid) {
            int status;
            waitpid(pid, &status, 0);
            vane_stop(0);
            return status != 0;
        }
    }
    if (with_logs)
        logs(atoi(argv[1]));
    else
        spans(atoi(argv[1]));
    metrics();
    vane_status st = vane_flush((uint32_t)atoi(argv[2]));
    vane_self_stats self = { .size = sizeof self };
    vane_self(&self);
    printf("{\"flush\":%d,\"started\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"ok\":%" PRIu64 ",\"failed\":%" PRIu64
           ",\"retries\":%" PRIu64 ",\"rejected\":%" PRIu64 ",\"logs_dropped\":%" PRIu64 ",\"events_dropped\":%" PRIu64
           "}\n",
           st, self.spans_started, self.spans_dropped, self.pushes_ok, self.pushes_failed, self.push_retries,
           self.push_rejected, self.logs_dropped, self.events_dropped);
    fflush(stdout);
    vane_stop(0);
    return 0;
}
