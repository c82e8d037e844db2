/* Unit tests of rules in promtool's format: input series, evaluation, expected alerts and samples. */
#ifndef VANE_RULES_RULES_UNIT_H
#define VANE_RULES_RULES_UNIT_H

#include "rules/rules_group.h"

struct rules_unit_options {
    unsigned features;          /* enum promql_feature */
    bool ignore_unknown_fields; /* in rule and test files */
    bool strict_prometheus;     /* as in struct rules_options */
    const struct rx *only;      /* run tests whose name matches; NULL: all */
};
/* Run the tests of one file; what failed goes into report as text for people, indented, a paragraph each.
 * Returns OK when all passed; ERR_EXEC some failed; ERR_INVALID the file or its rules cannot be used (report says why). */
enum err rules_unit_run(const char *path, const struct rules_unit_options *opt, struct buf *report,
                        size_t *ret_n_tests) MUST_CHECK;

#endif
