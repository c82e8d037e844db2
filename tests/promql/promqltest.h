/* Runner of promqltest scripts (.test files: load, clear, eval with expectations). */
#ifndef VANE_TESTS_PROMQL_PROMQLTEST_H
#define VANE_TESTS_PROMQL_PROMQLTEST_H

#include "promql/promql.h"

struct promqltest_options {
    unsigned features; /* enum promql_feature */
    size_t samples_max;
    struct pool *pool;
    bool no_variants; /* do not run instant queries again with @ and as range queries */
    bool quiet;       /* only the counts */
    bool verbose;     /* each eval, passed or not */
};
void promqltest_options_defaults(struct promqltest_options *o);
struct promqltest_counts {
    size_t passed, failed;
};
/* Run one script; failures are printed to stdout as they happen. ERR_NOT_FOUND etc. if it cannot be read. */
enum err promqltest_run_file(const char *path, const struct promqltest_options *o, struct promqltest_counts *counts);
/* The same for a text; name is what failures are reported under. */
void promqltest_run_text(str text, const char *name, const struct promqltest_options *o,
                         struct promqltest_counts *counts);

#endif
