/* What is left of the samples of one series in a window of time after they were rolled up.
 *
 * Windows are aligned to their length and open on the left, as PromQL's: (end - res, end]. Their columns are made from the
 * window's own samples alone, so that any run of windows can be put together without looking outside:
 *
 *   increase of one window    last - first + hidden
 *   increase from one to the next     next.first - this.last, or next.first after a reset (next.first < this.last)
 *
 * and the sum of these over a run is what the samples themselves would have given. Staleness markers count nowhere. */
#ifndef VANE_MODEL_ROLLUP_H
#define VANE_MODEL_ROLLUP_H

#include "model/histogram.h"

#define ROLLUP_RES_MS_MIN 60000LL    /* a minute */
#define ROLLUP_RES_MS_MAX 86400000LL /* a day: it must divide one */

struct rollup {
    int64_t end_ms, res_ms;    /* res_ms 0: one sample that was not rolled up */
    int64_t first_ms, last_ms; /* of the samples; count 0: of the staleness markers */
    uint64_t count, resets;    /* resets: samples below the one before, in this window */
    double sum, min, max;      /* NaN: as sum_over_time, min_over_time, max_over_time treat it */
    double first, last;
    double hidden;             /* what resets hid: the values before them, added up */
    const struct histogram *h; /* not NULL: the last of count native histograms; the numbers above are 0. Its hint says
                                * whether there was a reset since the window before */
    bool stale;                /* the newest sample of the window is a staleness marker */
};

#endif
