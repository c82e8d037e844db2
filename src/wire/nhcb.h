/* The lines of a classic histogram (_bucket, _count, _sum) -> one native histogram with custom buckets (NHCB), as
 * Prometheus' convert_classic_histograms_to_nhcb does it.
 *
 * A zeroed struct is empty; nhcb_reset() makes it so again and keeps the memory. What does not fit together (a count
 * that falls, a count that is NaN or negative, a bound that is NaN) is remembered and told by nhcb_make(). */
#ifndef VANE_WIRE_NHCB_H
#define VANE_WIRE_NHCB_H

#include "base/vec.h"
#include "model/histogram.h"

struct nhcb_bucket {
    double le, count; /* cumulative */
    uint32_t nr;      /* in the order they came */
};
struct nhcb {
    struct arena *a; /* where the buckets live */
    VEC(struct nhcb_bucket) v;
    bool has_count, bad, too_many, unsorted;
    double count, sum;
};
void nhcb_reset(struct nhcb *n);
void nhcb_add_bucket(struct nhcb *n, double le,
                     double count); /* in any order; the same bound again: the newer counts */
void nhcb_add_count(struct nhcb *n, double count);
void nhcb_add_sum(struct nhcb *n, double sum);
/* A compact histogram in a. ERR_INVALID: the lines contradict each other. ERR_LIMIT: more than HIST_BUCKETS_MAX bounds. */
enum err nhcb_make(struct nhcb *n, struct arena *a, const struct histogram **ret, struct err_text *reterr) MUST_CHECK;

#endif
