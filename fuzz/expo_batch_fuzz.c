/* Whole expositions, text, OpenMetrics and (families only) protobuf. Oracles: accepted series are valid and carry the extra label; the canonical text of
 * the families is read again as the same families. */
#include "base/check.h"
#include "wire/expo_batch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_families(struct arena *a, str body, enum expo_format format)
{
    struct expo_family_text *f, *again;
    size_t n, n_again;
    struct err_text why;
    if (expo_families(a, body, format, &f, &n, &why) != OK)
        return;
    AUTO_BUF struct buf all;
    buf_init(&all, 0);
    size_t samples = 0, samples_again = 0;
    for (size_t i = 0; i < n; i++) {
        buf_str_add(&all, f[i].text);
        samples += f[i].n_samples;
    }
    if (expo_families(a, buf_str(&all), EXPO_TEXT, &again, &n_again, &why) != OK) {
        ASSERT(arena_over(a));
        return;
    }
    for (size_t i = 0; i < n_again; i++)
        samples_again += again[i].n_samples;
    ASSERT(samples == samples_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct label extra = { STR_INIT("job"), STR_INIT("x") };
    struct wire_limits lim = WIRE_LIMITS_DEFAULT;
    AUTO_ARENA struct arena pb;
    arena_init(&pb, 16 << 20);
    check_families(&pb, (str){ (const char *)data, size }, EXPO_PROTOBUF);
    for (int k = 0; k < 2; k++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 16 << 20);
        struct batch b;
        struct wire_rejects r;
        struct err_text why;
        struct expo_batch_options opt = { k ? EXPO_OPENMETRICS : EXPO_TEXT, 1, { &extra, 1 } };
        str body = { (const char *)data, size };
        if (expo_batch(&a, body, &opt, &lim, &b, &r, &why) == OK)
            vec_each (struct batch_series, s, &b.series) {
                ASSERT(wire_labels_check(s->labels, &lim, NULL) == OK);
                ASSERT(str_eq(labels_get(s->labels, extra.name), extra.value));
            }
        check_families(&a, body, opt.format);
    }
    return 0;
}
