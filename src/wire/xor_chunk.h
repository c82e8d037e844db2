/* Prometheus' chunk encodings, writing: XOR for floats, float histogram for native histograms.
 * Layout: tsdb/docs/format/chunks.md of Prometheus. */
#ifndef VANE_WIRE_XOR_CHUNK_H
#define VANE_WIRE_XOR_CHUNK_H

#include "base/buf.h"
#include "model/histogram.h"

enum xor_encoding { XOR_FLOATS = 1, XOR_FLOAT_HISTOGRAM = 3 };
enum { XOR_SAMPLES_MAX = 120 };

/* Append the chunk of n (1..65535) samples, ascending by time. */
void xor_chunk_floats(struct buf *b, const int64_t *ts, const double *v, size_t n);
/* One histogram is one chunk: nothing to compress against, and any layout may follow. */
void xor_chunk_histogram(struct buf *b, int64_t ts, const struct histogram *h);

#endif
