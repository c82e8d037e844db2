/* Prometheus' chunk encodings: XOR and XOR2 for floats, histogram and float histogram for native histograms. Remote
 * read writes them, the import of a Prometheus data folder reads them.
 * Layout: tsdb/docs/format/chunks.md of Prometheus. Pure; any thread. */
#ifndef VANE_WIRE_XOR_CHUNK_H
#define VANE_WIRE_XOR_CHUNK_H

#include "base/buf.h"
#include "base/vec.h"
#include "model/histogram.h"

/* Numbers as on disk and in remote read. */
enum xor_encoding { XOR_FLOATS = 1, XOR_HISTOGRAM = 2, XOR_FLOAT_HISTOGRAM = 3, XOR_FLOATS2 = 4 };
enum { XOR_SAMPLES_MAX = 120 };
#define XOR_CHUNK_BYTES_MAX (4u << 20) /* of one chunk that is read; Prometheus aims at 1 KiB */

/* ---- writing ---- */
/* Append the chunk of n (1..65535) samples, ascending by time. */
void xor_chunk_floats(struct buf *b, const int64_t *ts, const double *v, size_t n);
/* One histogram is one chunk: nothing to compress against, and any layout may follow. */
void xor_chunk_histogram(struct buf *b, int64_t ts, const struct histogram *h);

/* ---- reading ---- */
/* Columns of equal length n. h[i] NULL: a float. start 0: unknown. */
struct xor_samples {
    int64_t *ts, *start;
    double *v;
    const struct histogram **h;
    size_t n, cap;
    bool any_hist, any_start;
};
void xor_samples_deinit(struct xor_samples *s);
static inline void xor_samples_clear(struct xor_samples *s)
{
    s->n = 0;
    s->any_hist = s->any_start = false;
}
void xor_samples_push(struct xor_samples *s, int64_t ts, double v, const struct histogram *h, int64_t start_ms);

/* Append the samples of one chunk to out; histograms live in a. Integer histograms become float ones (exact to 2^53). Reset hints:
 * gauges keep theirs, the first sample of a chunk that began with a counter reset says so, all others are unknown (a
 * reader compares them).
 * Returns   ERR_UNSUPPORTED for an encoding that is not known (by number), ERR_CORRUPT: bits end too early, times go backwards,
 *           a histogram is not valid. On error out is as it was. */
enum err xor_chunk_read(unsigned encoding, str data, struct arena *a, struct xor_samples *out,
                        struct err_text *reterr) MUST_CHECK;
const char *xor_encoding_name(unsigned encoding); /* "XOR"; "unknown" */

#endif
