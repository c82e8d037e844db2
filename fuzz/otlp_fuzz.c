/* OTLP metrics. First byte: bit 0 JSON, bits 1-2 naming, bit 3 custom buckets, bit 4 promote all.
 * Oracle: every series that is accepted has sorted, valid labels, and every histogram is valid. */
#include "base/check.h"
#include "wire/otlp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    AUTO_ARENA struct arena a;
    arena_init(&a, 64 << 20);
    struct batch b;
    struct wire_rejects r;
    struct err_text why;
    struct otlp_options o = OTLP_OPTIONS_DEFAULT;
    o.naming = (enum otlp_naming)(data[0] >> 1 & 3);
    o.convert_histograms_to_custom = data[0] & 8;
    o.promote_all_resource_attributes = data[0] & 16;
    str body = { (const char *)data + 1, size - 1 };
    if (otlp_metrics_decode(&a, body, data[0] & 1 ? OTLP_JSON : OTLP_PROTOBUF, &o, &b, &r, &why) != OK)
        return 0;
    size_t n = 0;
    vec_each (struct batch_series, s, &b.series) {
        ASSERT(wire_labels_check(s->labels, &o.limits, NULL) == OK);
        for (size_t i = 1; i < s->labels.n; i++)
            ASSERT(str_cmp(s->labels.p[i - 1].name, s->labels.p[i].name) < 0);
        for (size_t i = 0; i < s->n_hists; i++)
            ASSERT(is_stale(s->hists[i].h->sum) || histogram_validate(s->hists[i].h, NULL) == OK);
        n += s->n_samples + s->n_hists;
    }
    ASSERT(n == b.n_samples);
    return 0;
}
