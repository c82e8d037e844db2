/* Remote read: snappy block around protobuf prometheus.ReadRequest; answers as samples (ReadResponse, snappy) or as a
 * stream of frames with XOR chunks (ChunkedReadResponse).
 * Spec: prometheus.io/docs/prometheus/latest/querying/remote_read_api, prompb/{remote,types}.proto, and for chunks
 * github.com/prometheus/prometheus tsdb/docs/format/chunks.md. */
#ifndef VANE_WIRE_REMOTE_READ_H
#define VANE_WIRE_REMOTE_READ_H

#include "model/matcher.h"
#include "wire/wire.h"

enum rr_type { RR_SAMPLES, RR_STREAMED_XOR_CHUNKS };
#define RR_CONTENT_TYPE_SAMPLES  "application/x-protobuf"
#define RR_CONTENT_TYPE_STREAMED "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"

struct rr_query {
    int64_t from_ms, to_ms; /* both ends included */
    struct matcher *m;
    size_t n_matchers;
};
struct rr_request {
    struct rr_query *queries;
    size_t n;
    enum rr_type type; /* the first accepted one that is known; samples if none is given */
};
enum { RR_QUERIES_MAX = 256, RR_MATCHERS_MAX = 256 };
/* ERR_CORRUPT (snappy), ERR_PARSE (protobuf, regex, unknown matcher), ERR_UNSUPPORTED (only unknown response types), ERR_LIMIT.
 * What is decoded lives in a; free the matchers with rr_request_deinit, also after an error. */
enum err rr_decode(struct arena *a, str body, size_t bytes_max, struct rr_request *ret,
                   struct err_text *reterr) MUST_CHECK;
enum err rr_decode_plain(struct arena *a, str plain, struct rr_request *ret, struct err_text *reterr) MUST_CHECK;
void rr_request_deinit(struct rr_request *r);

/* The samples of one series: as struct promql_points. */
struct rr_points {
    const int64_t *ts;
    const double *v;
    const struct histogram *const *h; /* NULL: floats only */
    size_t n;
};
/* ReadResponse, plain: at = rr_result_open(b); rr_series() ...; rr_result_close(b, at) for each query, in order. */
size_t rr_result_open(struct buf *b);
void rr_series(struct buf *b, struct labels ls, const struct rr_points *p);
void rr_result_close(struct buf *b, size_t at);

/* Frames of one series: uvarint size, CRC-32C (big endian), ChunkedReadResponse. Chunks have up to 120 samples; a frame is closed
 * at about 1 MiB and the series goes on in the next one. Native histograms are float histogram chunks. */
void rr_frames(struct buf *b, uint64_t query, struct labels ls, const struct rr_points *p);

#endif
