/* Native histograms (float form: integer histograms are converted, exact to 2^53).
 * schema -4..8: exponential buckets of base 2^(2^-schema); schema -53: custom bounds (`custom`), used for
 * classic histograms. Buckets are absolute counts. Spec: Prometheus "native histograms" 1.0.
 * Arithmetic, quantiles and printing: model/histogram.c. Histograms are immutable once shared; operations
 * write their result into an arena. */
#ifndef VANE_MODEL_HISTOGRAM_H
#define VANE_MODEL_HISTOGRAM_H

#include "base/buf.h"
#include "base/mem.h"

#define HIST_SCHEMA_MIN    (-4)
#define HIST_SCHEMA_MAX    8
#define HIST_SCHEMA_CUSTOM (-53)
#define HIST_BUCKETS_MAX   65536

enum hist_reset { HIST_RESET_UNKNOWN, HIST_RESET_YES, HIST_RESET_NO, HIST_RESET_GAUGE };

struct hist_span {
    int32_t offset;  /* gap to the previous span (index of the first bucket for the first span) */
    uint32_t length; /* consecutive buckets */
};
struct hist_side {
    const struct hist_span *spans;
    size_t n_spans;
    const double *buckets; /* as many as the spans' lengths together */
    size_t n_buckets;
};
struct histogram {
    int32_t schema;
    enum hist_reset reset;
    double zero_threshold, zero_count, count, sum;
    struct hist_side pos, neg; /* custom: pos only */
    const double *custom;      /* upper bounds, without +Inf */
    size_t n_custom;
};

struct histogram *histogram_copy(struct arena *a, const struct histogram *h);
bool histogram_eq(const struct histogram *a, const struct histogram *b); /* bit for bit, reset hint left out */
/* Spans and buckets agree, counts are not negative, schema known, bounds ascending ... */
enum err histogram_validate(const struct histogram *h, struct err_text *reterr) MUST_CHECK;
static inline bool histogram_is_custom(const struct histogram *h)
{
    return h->schema == HIST_SCHEMA_CUSTOM;
}

#endif
