/* Speed of the PromQL evaluator over an in-memory source (decoding costs nothing), as JSON.
 * CPU seconds of the process per query, the best of a few runs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../tests/promql/array_source.h"
#include "base/check.h"
#include "base/os.h"

#define N_INSTANCES 1000
#define N_HANDLERS  100
#define N_SAMPLES   980 /* 15 s: a bit over four hours */
#define N_VALUES    64
#define STEPS       231

static double *values[N_VALUES];
static int64_t *times;

static void make_data(struct arena *a)
{
    struct rng rng = { 7 };
    times = arena_array(a, int64_t, N_SAMPLES);
    for (size_t i = 0; i < N_SAMPLES; i++)
        times[i] = (int64_t)i * 15000;
    for (size_t k = 0; k < N_VALUES; k++) {
        double v = 1000 + rng_unit(&rng) * 1e6;
        values[k] = arena_array(a, double, N_SAMPLES);
        for (size_t i = 0; i < N_SAMPLES; i++) {
            v += (double)rng_below(&rng, 200);
            if (k % 16 == 0 && i == 500)
                v = 3; /* one in sixteen restarts once */
            values[k][i] = v;
        }
    }
}

static void make_series(struct array_source *s, bool shared)
{
    uint64_t n = 0;
    for (int h = 0; h < N_HANDLERS; h++)
        for (int i = 0; i < N_INSTANCES; i++, n++) {
            char handler[32], instance[32];
            snprintf(handler, sizeof(handler), "/api/%02d", h);
            snprintf(instance, sizeof(instance), "host-%03d:9100", i);
            const char *labels[] = {
                "__name__", "http_requests_total", "handler", handler, "instance", instance, "job", "api", NULL
            };
            array_source_add(
                s, labels,
                (struct array_series){ .ts = times,
                                       .v = values[n % N_VALUES],
                                       .n = N_SAMPLES,
                                       .timeline = shared ? (uint64_t)i + 1
                                                          : 0 }); /* by instance: it changes with every series */
        }
}

struct run {
    double cpu_s, wall_s;
    size_t series;
};

static struct run run_query(struct promql_engine *e, struct array_source *s, const char *text, bool instant)
{
    struct run best = { HUGE_VAL, HUGE_VAL, 0 };
    for (int i = 0; i < 3; i++) {
        struct arena a;
        struct promql_result r;
        struct err_text err = { 0 };
        arena_init(&a, 0);
        int64_t to = times[N_SAMPLES - 1];
        struct promql_query q = { .text = str_c(text),
                                  .instant = instant,
                                  .from_ms = instant ? to : to - (STEPS - 1) * 60000,
                                  .to_ms = to,
                                  .step_ms = 60000 };
        uint64_t cpu = os_cpu_ns(), wall = os_mono_ns();
        if (promql_exec(e, &s->src, &q, &a, &r, &err) != OK) {
            fprintf(stderr, "%s: %s\n", text, err.msg);
            exit(1);
        }
        best.cpu_s = fmin(best.cpu_s, (double)(os_cpu_ns() - cpu) / 1e9);
        best.wall_s = fmin(best.wall_s, (double)(os_mono_ns() - wall) / 1e9);
        best.series = r.n_series;
        arena_deinit(&a);
    }
    return best;
}

static void report(const char *name, struct run r, bool last)
{
    printf("  {\"query\": \"%s\", \"cpu_s\": %.6f, \"wall_s\": %.6f, \"series\": %zu}%s\n", name, r.cpu_s, r.wall_s,
           r.series, last ? "" : ",");
}

int main(void)
{
    struct arena a;
    struct array_source shared, own, one;
    arena_init(&a, 0);
    make_data(&a);
    array_source_init(&shared, &a);
    array_source_init(&own, &a);
    array_source_init(&one, &a);
    make_series(&shared, true);
    make_series(&own, false);
    array_source_add(&one, (const char *[]){ "__name__", "up", "job", "api", NULL },
                     (struct array_series){ .ts = times, .v = values[1], .n = N_SAMPLES });
    struct promql_engine_config cfg;
    promql_engine_config_defaults(&cfg);
    struct promql_engine *serial = promql_engine_new(&cfg);
    if (pool_open("query", os_cores(), 64, &cfg.pool) != OK)
        return 1;
    struct promql_engine *parallel = promql_engine_new(&cfg);
    static const char *const queries[] = {
        "sum by (instance) (rate(http_requests_total[5m]))",
        "sum(rate(http_requests_total[5m]))",
        "sum by (instance) (http_requests_total)",
        "max by (handler) (max_over_time(http_requests_total[5m]))",
        "avg by (handler) (avg_over_time(http_requests_total[5m]))",
        "topk(5, rate(http_requests_total[5m]))",
        "sum by (instance) (rate(http_requests_total[5m])) / sum by (instance) (http_requests_total)",
    };
    printf("[\n");
    for (size_t i = 0; i < ARRAY_LEN(queries); i++)
        report(queries[i], run_query(serial, &shared, queries[i], false), false);
    report("parallel: sum by (instance) (rate(http_requests_total[5m]))",
           run_query(parallel, &shared, queries[0], false), false);
    report("own timelines: sum by (instance) (rate(http_requests_total[5m]))",
           run_query(serial, &own, queries[0], false), false);
    report("select only: count(http_requests_total > Inf)",
           run_query(serial, &shared, "count(http_requests_total offset 10d)", true), false);
    report("instant: up", run_query(serial, &one, "up", true), false);
    report("instant: sum(rate(up[5m]))", run_query(serial, &one, "sum(rate(up[5m]))", true), true);
    printf("]\n");
    promql_engine_free(serial);
    promql_engine_free(parallel);
    pool_close(cfg.pool);
    arena_deinit(&a);
    return 0;
}
