/* Jaeger's strategy files (conformance/traces/jaeger_sampling), as answers a Jaeger gives to a service that asks: the share
 * of traces that the library then samples is the one the file names. */
#include "test.h"

#include "../../src/sdk/sdk_trace.h"
#include "json_tree.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TRACES = 4000 };

static double share(const char *operation)
{
    unsigned yes = 0;
    for (unsigned i = 0; i < TRACES; i++) {
        uint64_t id[2] = { sdk_random(), sdk_random() };
        uint8_t bytes[16];
        memcpy(bytes, id, 16);
        yes += sdk_sample_root(bytes, operation, NULL, 0).sampled;
    }
    return (double)yes / TRACES;
}

static void expect(const char *file, const char *operation, double want)
{
    double have = share(operation), sigma = sqrt(want * (1 - want) / TRACES);
    if (fabs(have - want) > 6 * sigma + 1e-9)
        print_message("# %s: \"%s\" is sampled at %g, not %g\n", file, operation, have, want);
    assert_true(fabs(have - want) <= 6 * sigma + 1e-9);
}

static double param(const struct jt *s, const struct jt *fallback)
{
    const struct jt *p = jt_get(s, "param");
    return jt_num(p ? p : jt_get(fallback, "param"));
}

/* One service of the file asks. Its operations, and those of the default that it does not have itself. */
static void serve(const char *file, const struct jt *service, const struct jt *rest)
{
    char answer[4096];
    double p = param(service, rest);
    bool limited = str_eq(jt_str(jt_get(service, "type")), STR("ratelimiting"));
    size_t n = (size_t)snprintf(
        answer, sizeof answer,
        limited ? "{\"strategyType\":\"RATE_LIMITING\",\"rateLimitingSampling\":{\"maxTracesPerSecond\":%g}"
                : "{\"strategyType\":\"PROBABILISTIC\",\"probabilisticSampling\":{\"samplingRate\":%g}",
        p);
    const struct jt *own = jt_get(service, "operation_strategies"),
                    *lists[] = { own, jt_get(rest, "operation_strategies") };
    const char *sep = "";
    if (!limited)
        n += (size_t)snprintf(
            answer + n, sizeof answer - n,
            ",\"operationSampling\":{\"defaultSamplingProbability\":%g,\"defaultLowerBoundTracesPerSecond\":0,"
            "\"perOperationStrategies\":[",
            p);
    for (size_t k = 0; !limited && k < 2; k++)
        for (size_t i = 0; lists[k] && i < lists[k]->kids.n; i++, sep = ",") {
            str name = jt_str(jt_get(lists[k]->kids.p[i], "operation"));
            n += (size_t)snprintf(answer + n, sizeof answer - n,
                                  "%s{\"operation\":\"" STR_FMT "\",\"probabilisticSampling\":{\"samplingRate\":%g}}",
                                  sep, STR_ARG(name), param(lists[k]->kids.p[i], service));
        }
    n += (size_t)snprintf(answer + n, sizeof answer - n, limited ? "}" : "]}}");
    assert_true(n < sizeof answer);
    assert_true(sdk_sample_remote(answer, n));
    if (limited) {
        double first = share("any") * TRACES; /* at once: what the bucket holds */
        assert_true(first >= floor(p) && first <= p + 2 + TRACES / 100);
        return;
    }
    expect(file, "an operation nobody names", p);
    for (size_t i = 0; own && i < own->kids.n; i++) {
        char name[256];
        str s = jt_str(jt_get(own->kids.p[i], "operation"));
        snprintf(name, sizeof name, STR_FMT, STR_ARG(s));
        expect(file, name, param(own->kids.p[i], service));
    }
}

static void test_files(void **state)
{
    (void)state;
    const char *dir = getenv("VANE_CONFORMANCE");
    char path[1024];
    snprintf(path, sizeof path, "%s/traces/jaeger_sampling", dir ? dir : "/nonexistent");
    DIR *d = opendir(path);
    if (!d)
        skip();
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.log_sinks = "none";
    c.sampler = VANE_SAMPLER_JAEGER_REMOTE;
    assert_int_equal(vane_start(&c), VANE_OK);
    size_t files = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        char file[2048];
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        const struct jt *t = strstr(e->d_name, ".json") ? jt_load(&a, file) : NULL;
        const struct jt *rest = jt_get(t, "default_strategy"), *services = jt_get(t, "service_strategies");
        if (!rest)
            continue;
        files++;
        serve(e->d_name, rest, rest);
        for (size_t i = 0; services && i < services->kids.n; i++)
            serve(e->d_name, services->kids.p[i], rest);
    }
    closedir(d);
    vane_stop(0);
    assert_true(files > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_files) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
