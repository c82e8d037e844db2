/* The notation of series in promqltest scripts and unit tests of rules: metric{labels} VALUES. Grammar: promql/promqltest in Prometheus'
 * documentation of unit tests; errors are worded as upstream does. */
#ifndef VANE_PROMQL_PROMQL_SERIES_DESC_H
#define VANE_PROMQL_PROMQL_SERIES_DESC_H

#include "base/vec.h"
#include "model/histogram_math.h"
#include "model/sample.h"

#define SERIES_DESC_VALUES_MAX 100000

struct series_value {
    bool omitted;
    bool hint_set; /* counter_reset_hint was written */
    double v;
    const struct histogram *h; /* not NULL: a histogram */
};
struct series_desc {
    struct labels labels;
    VEC(struct series_value) values; /* in the arena */
    bool is_start;                   /* metric{labels}@st: the values are start times relative to the samples, in ms */
};
/* Everything lives in a (labels may borrow from line). ERR_PARSE with "1:15: parse error: ...". */
enum err series_desc_parse(struct arena *a, str line, struct series_desc *ret, struct err_text *reterr);

#endif
