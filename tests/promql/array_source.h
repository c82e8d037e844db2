/* A source for promql_exec that keeps its series in memory: for tests and benchmarks. Not thread-safe while series are
 * added; afterwards any number of queries may run over it. */
#ifndef VANE_TESTS_PROMQL_ARRAY_SOURCE_H
#define VANE_TESTS_PROMQL_ARRAY_SOURCE_H

#include "promql/promql.h"

struct array_series {
    struct labels labels;
    int64_t *ts;
    double *v;
    const struct histogram **h;
    int64_t *start_ms;
    size_t n;
    uint64_t timeline; /* series with equal timestamps may share a number; 0: its own */
};
struct array_source {
    struct promql_source src; /* first */
    struct arena *a;
    VEC(struct array_series) series; /* in a */
    bool sorted;
};
void array_source_init(struct array_source *s, struct arena *a);
/* labels as {"job", "api", "instance", "a", NULL}; arrays are borrowed, h and start_ms may be NULL. */
void array_source_add(struct array_source *s, const char *const *labels, struct array_series data);

#endif
