/* A store in memory for tests of the API: what is written is kept as plain arrays, sorted when read. It can be told to
 * fail like a full disk or an overloaded head. Not thread-safe beyond one lock. */
#ifndef VANE_TESTS_API_MEMORY_STORE_H
#define VANE_TESTS_API_MEMORY_STORE_H

#include "api/api.h"

struct memory_store {
    struct promql_source source; /* first: the engine hands it back */
    struct arena a;
    struct mtx mu;
    VEC(struct memory_series *) series; /* sorted by labels */
    VEC(struct tsdb_metadata) metadata;
    enum err write_err, wait_err; /* answered by the next calls */
    uint64_t lsn, waited;
    size_t n_samples;
};
struct memory_series {
    struct labels labels;
    VEC(struct sample) samples; /* ascending by time */
    VEC(struct exemplar) exemplars;
};
void memory_store_init(struct memory_store *m);
void memory_store_deinit(struct memory_store *m);
struct api_store memory_store_api(struct memory_store *m);
/* Load OpenMetrics or text with timestamps. */
void memory_store_load(struct memory_store *m, str exposition, bool openmetrics);
struct memory_series *memory_store_find(struct memory_store *m, struct labels ls);

#endif
