/* The PromQL evaluator over a small store (counters, gauges, classic and native histograms, gaps, staleness markers,
 * start timestamps): no query may crash it or break its budgets, and a range query of one step says what the instant
 * query says. The first byte picks features and the kind of query, the rest is the text. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "../tests/promql/array_source.h"
#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define N_POINTS 40

static struct array_source source;
static struct arena store;

static const struct histogram *make_histogram(size_t i, bool custom)
{
    static const struct hist_span span = { 0, 3 };
    static const double bounds[] = { 1, 5, 10 };
    struct histogram *h = arena_new(&store, struct histogram);
    double *b = arena_array(&store, double, 3);
    for (size_t k = 0; k < 3; k++)
        b[k] = (double)((i * (k + 1)) % 17 + k);
    *h = (struct histogram){ .schema = custom ? HIST_SCHEMA_CUSTOM : (int32_t)(i / 20),
                             .count = b[0] + b[1] + b[2],
                             .sum = (double)i * 3,
                             .pos = { &span, 1, b, 3 } };
    if (custom) {
        h->custom = bounds;
        h->n_custom = 3;
    }
    if (i % 11 == 10)
        h->reset = HIST_RESET_GAUGE;
    return h;
}

/* kind: 0 counter, 1 gauge with gaps, 2 histograms, 3 custom histograms and floats */
static void add_series(const char *const *labels, size_t seed, int kind)
{
    struct array_series s = { .ts = arena_array(&store, int64_t, N_POINTS),
                              .v = arena_zarray(&store, double, N_POINTS),
                              .n = N_POINTS };
    s.start_ms = seed % 3 == 0 ? arena_zarray(&store, int64_t, N_POINTS) : NULL;
    s.h = kind >= 2 ? arena_zalloc(&store, N_POINTS * sizeof(*s.h)) : NULL;
    for (size_t i = 0; i < N_POINTS; i++) {
        s.ts[i] = (int64_t)(i * 15000 + (kind == 1 ? i * i * seed % 9000 : 0));
        s.v[i] = kind == 0 ? (double)((i * (seed + 3)) % 100) : (double)i * (seed % 2 ? 1.5 : -0.5);
        if (i % 13 == seed % 13)
            s.v[i] = f64_from_bits(i % 2 ? STALE_NAN_BITS : NORMAL_NAN_BITS);
        if (kind >= 2 && !(kind == 3 && i % 5 == 0))
            s.h[i] = make_histogram(i + seed, kind == 3);
        if (s.start_ms)
            s.start_ms[i] = s.ts[i] - (int64_t)(i % 4) * 15000;
    }
    array_source_add(&source, labels, s);
}

static void make_store(void)
{
    static const char *const les[] = { "0.1", "1", "10", "+Inf", "nonsense" };
    arena_init(&store, 0);
    array_source_init(&source, &store);
    for (size_t i = 0; i < 12; i++) {
        char v[8];
        snprintf(v, sizeof(v), "%zu", i % 4);
        add_series((const char *[]){ "__name__", i % 2 ? "a" : "b_total", "x", v, "job", i < 6 ? "j" : "k", NULL }, i,
                   (int)(i % 2));
        add_series((const char *[]){ "__name__", "h", "x", v, "job", i < 6 ? "j" : "k", NULL }, i, 2 + (int)(i % 2));
    }
    for (size_t i = 0; i < 5; i++)
        add_series((const char *[]){ "__name__", "c_bucket", "le", les[i], NULL }, i, 0);
    add_series((const char *[]){ "__name__", "target_info", "instance", "i", "job", "j", "data", "d", NULL }, 1, 1);
}

static enum err run(struct promql_engine *e, str text, bool instant, int64_t ts, int64_t to, struct arena *a,
                    struct promql_result *r)
{
    struct err_text err = { 0 };
    struct promql_query q = { .text = text, .instant = instant, .from_ms = ts, .to_ms = to, .step_ms = 7000 };
    enum err x = promql_exec(e, &source.src, &q, a, r, &err);
    ASSERT(x == OK || err.msg[0] != 0);
    return x;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 2000)
        return 0;
    if (!store.bytes)
        make_store();
    struct promql_engine_config cfg;
    promql_engine_config_defaults(&cfg);
    cfg.features = data[0] & 1 ? PROMQL_ALL : data[0] & 2 ? PROMQL_ALL & ~PROMQL_DELAYED_NAME_REMOVAL : 0;
    cfg.bytes_max = 64 << 20;
    cfg.samples_max = 200000;
    cfg.timeout_ms = 2000;
    struct promql_engine *e = promql_engine_new(&cfg);
    struct arena a;
    struct promql_result r, one;
    arena_init(&a, 0);
    str text = str_n((const char *)data + 1, size - 1);
    IGNORE_ERR(run(e, text, false, 0, 600000, &a, &r));
    enum err x = run(e, text, true, 300000, 300000, &a, &one);
    if (x == OK && (one.type == PROMQL_VECTOR || one.type == PROMQL_SCALAR) &&
        run(e, text, false, 300000, 300000, &a, &r) == OK)
        ASSERT(r.n_series == (one.type == PROMQL_SCALAR ? 1 : one.n_series) || str_contains(text, STR("step")));
    arena_deinit(&a);
    promql_engine_free(e);
    return 0;
}
