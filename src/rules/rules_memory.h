/* A small store in memory that rules are tried in: unit tests, backtests. Samples of a series are added in order of
 * time (a sample at the newest time replaces it). One thread; what is added is visible to the next query. */
#ifndef VANE_RULES_RULES_MEMORY_H
#define VANE_RULES_RULES_MEMORY_H

#include "promql/promql.h"

struct rules_memory;
struct rules_memory *rules_memory_new(void);
void rules_memory_free(struct rules_memory *m);
/* Labels and histogram are copied. */
void rules_memory_add(struct rules_memory *m, struct labels ls, int64_t ts_ms, double v, const struct histogram *h,
                      int64_t start_ms);
enum err rules_memory_append(void *memory, const struct batch *b, struct err_text *reterr); /* rules_env.append */
struct promql_source *rules_memory_source(struct rules_memory *m);

#endif
