/* Answers of a server of sampling strategies: any bytes. Oracle: one that is refused leaves the strategy before in place. */
#include "../src/sdk/sdk_trace.h"

#include <stdlib.h>
#include <time.h>

/* The library waits here for readers of the strategy before; there are none. */
int nanosleep(const struct timespec *t, struct timespec *rest)
{
    (void)t, (void)rest;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char none[] = "{\"probabilisticSampling\":{\"samplingRate\":0}}";
    static const uint8_t id[16] = { [9] = 1 };
    if (!vane_running()) {
        vane_config c = VANE_CONFIG_INIT;
        c.ignore_environment = VANE_ON;
        c.log_sinks = "none";
        c.sampler = VANE_SAMPLER_JAEGER_REMOTE;
        if (vane_start(&c))
            abort();
    }
    if (!sdk_sample_remote(none, sizeof none - 1) || sdk_sample_root(id, "GET /", NULL, 0).sampled)
        abort();
    char *copy = malloc(size ? size : 1);
    if (!copy)
        return 0;
    if (size)
        memcpy(copy, data, size);
    bool taken = sdk_sample_remote(copy, size);
    free(copy);
    bool sampled = sdk_sample_root(id, "GET /", NULL, 0).sampled;
    if (!taken && sampled)
        abort();
    return 0;
}
