/* Private to wire: one side of a native histogram as remote write and the protobuf exposition both write it: spans of
 * sint32 offset and uint32 length, integer buckets as sint64 deltas, float buckets as doubles.
 * Readers stop taking at HIST_BUCKETS_MAX + 1: the one too many is there to be refused by histogram_validate(). */
#ifndef VANE_WIRE_HIST_PB_INT_H
#define VANE_WIRE_HIST_PB_INT_H

#include "base/vec.h"
#include "model/histogram.h"
#include "wire/pb.h"

struct hist_pb_doubles {
    double *p;
    size_t n, cap;
};
struct hist_pb_reader {
    VEC(struct hist_span) spans;
    struct hist_pb_doubles counts;      /* float histograms */
    struct hist_pb_doubles from_deltas; /* integer histograms, summed up */
    int64_t last;
};
/* A BucketSpan message; a malformed one marks up. */
void hist_pb_span(struct arena *a, struct hist_pb_reader *s, struct pb m, struct pb *up);
/* The current field of m, packed or not. */
void hist_pb_deltas(struct arena *a, struct hist_pb_reader *s, struct pb *m);
void hist_pb_doubles(struct arena *a, struct hist_pb_doubles *out, struct pb *m);
/* What was read; borrows from the reader. */
struct hist_side hist_pb_side(const struct hist_pb_reader *s, bool is_float);

#endif
