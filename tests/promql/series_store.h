/* Series that are loaded sample by sample (the promqltest runner), published as a array_source: series with equal
 * timestamps share one timeline, as in the real store. One thread. */
#ifndef VANE_TESTS_PROMQL_SERIES_STORE_H
#define VANE_TESTS_PROMQL_SERIES_STORE_H

#include "array_source.h"

struct store_sample {
    int64_t ts_ms, start_ms; /* start_ms 0: unknown */
    double v;
    const struct histogram *h; /* not NULL: a histogram */
};
struct series_store;
struct series_store *series_store_new(void);
void series_store_free(struct series_store *st);
void series_store_clear(struct series_store *st);
/* Labels and histograms are copied. A sample at a time that is there already replaces it. */
void series_store_add(struct series_store *st, struct labels ls, const struct store_sample *samples, size_t n);
/* What has been added so far; valid until the next add or clear. */
struct promql_source *series_store_source(struct series_store *st);

#endif
