/* The protobuf exposition. Oracle: keys name series (equal keys, equal labels), histograms are valid, nothing follows the end. */
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "wire/expo_pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    str key;
    uint64_t labels;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 64 << 20);
    if (size < 1)
        return 0;
    struct expo_pb_options opt = { .native = data[0] & 1, .classic_too = data[0] & 2, .nhcb = data[0] & 4 };
    struct expo_pb x;
    struct labels ls;
    VEC(struct seen) seen = { 0 };
    expo_pb_init(&x, (str){ (const char *)data + 1, size - 1 }, opt, &a);
    for (enum expo_entry e; !arena_over(&a) && (e = expo_pb_next(&x)) > EXPO_ERROR;) {
        struct exemplar *ex;
        if (e != EXPO_SAMPLE && e != EXPO_HISTOGRAM)
            continue;
        ASSERT(x.e.series.n == EXPO_PB_KEY_BYTES);
        if (e == EXPO_HISTOGRAM)
            ASSERT(histogram_validate(x.hist, NULL) == OK);
        size_t n = expo_pb_exemplars(&x, &a, 1, &ex);
        for (size_t i = 1; i < n; i++)
            ASSERT(ex[i - 1].ts_ms <= ex[i].ts_ms);
        if (expo_pb_labels(&x, &a, &ls, NULL) != OK || seen.n > 200)
            continue;
        struct seen s = { arena_str(&a, x.e.series), labels_hash(ls) };
        for (size_t i = 0; i < seen.n; i++)
            ASSERT(!str_eq(seen.p[i].key, s.key) || seen.p[i].labels == s.labels);
        avec_push(&a, &seen, s);
    }
    enum expo_entry last = x.e.entry;
    if (last <= EXPO_ERROR)
        ASSERT(expo_pb_next(&x) == last);
    expo_pb_deinit(&x);
    return 0;
}
