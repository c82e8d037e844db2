/* Prometheus remote write 1.0: snappy block around protobuf prometheus.WriteRequest.
 * Spec: prometheus.io/docs/specs/prw/remote_write_spec; prompb/{remote,types}.proto. 2.0 stands beside it (rw2_*):
 * snappy block around io.prometheus.write.v2.Request, prometheus.io/docs/specs/prw/remote_write_spec_2_0. */
#ifndef VANE_WIRE_REMOTE_WRITE_H
#define VANE_WIRE_REMOTE_WRITE_H

#include "wire/wire.h"

/* Which message a request carries, from Content-Type and Content-Encoding. Empty or application/x-protobuf (with or
 * without proto=prometheus.WriteRequest): RW_V1. ERR_UNSUPPORTED (415): anything else. */
enum rw_version { RW_V1, RW_V2 };
enum err rw_version_of(str content_type, str content_encoding, enum rw_version *ret,
                       struct err_text *reterr) MUST_CHECK;

#define RW_BODY_BYTES_MAX (64u << 20) /* decompressed, default */

/* Decode a request body as received (snappy). The plain bytes are placed in a; labels, samples etc. borrow from
 * them or live in a. Labels are validated, sorted, empty values dropped. Native histograms, integer or float, become
 * model histograms (custom buckets: schema -53). Series with bad labels or histograms are left out and counted in
 * ret_rejects (the protocol wants the rest taken and 400 answered).
 *   bytes_max  limit of the decompressed size
 * Returns ERR_CORRUPT (snappy), ERR_PARSE (protobuf, with position), ERR_LIMIT. */
enum err rw1_decode(struct arena *a, str body, size_t bytes_max, const struct wire_limits *lim, struct batch *out,
                    struct wire_rejects *ret_rejects, struct err_text *reterr) MUST_CHECK;
/* The same from the plain protobuf (borrowed). */
enum err rw1_decode_plain(struct arena *a, str plain, const struct wire_limits *lim, struct batch *out,
                          struct wire_rejects *ret_rejects, struct err_text *reterr) MUST_CHECK;

/* Encode a batch as a WriteRequest (plain, then snappy_pack()). Histograms are written in float form. Labels that stand
 * ready in a series' key (batch.labels_of == rw1_labels_of) are written as they are. */
void rw1_encode(struct buf *out, const struct batch *b);
/* Labels as 1.0 has them in a TimeSeries: for batch_key.bytes; and back. */
void rw1_labels_encode(struct buf *out, struct labels ls);
struct labels rw1_labels_of(struct arena *a, str bytes);

/* ---- 2.0: symbols instead of strings, metadata per series, start timestamps ----
 * As 1.0, and: the first symbol must be empty (ERR_INVALID for the whole request). A series whose references lie
 * outside the table or are odd in number, or that has neither samples nor histograms, is left out and counted. Start timestamps
 * are those of a sample or histogram, otherwise the series' created timestamp (drafts of the specification). */
enum err rw2_decode(struct arena *a, str body, size_t bytes_max, const struct wire_limits *lim, struct batch *out,
                    struct wire_rejects *ret_rejects, struct err_text *reterr) MUST_CHECK;
enum err rw2_decode_plain(struct arena *a, str plain, const struct wire_limits *lim, struct batch *out,
                          struct wire_rejects *ret_rejects, struct err_text *reterr) MUST_CHECK;
/* Families are not written: 2.0 has metadata at series only. */
void rw2_encode(struct buf *out, const struct batch *b);

#endif
