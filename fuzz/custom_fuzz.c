/* POST /metrics/custom. Oracle: accepted series are valid and sorted. */
#include "base/check.h"
#include "wire/custom.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 16 << 20);
    struct batch b;
    struct err_text why;
    struct wire_limits lim = WIRE_LIMITS_DEFAULT;
    if (custom_decode(&a, (str){ (const char *)data, size }, 1, &lim, &b, &why) != OK)
        return 0;
    vec_each (struct batch_series, s, &b.series)
        ASSERT(wire_labels_check(s->labels, &lim, NULL) == OK);
    return 0;
}
