/* Room `wire`: bytes <-> model, pure (no I/O, no clock, no globals), for every protocol of the metrics side.
 *
 *   expo.h          Prometheus text 0.0.4/1.0.0 and OpenMetrics 1.0: pull parser, strict checker, writer
 *   expo_pb.h       Prometheus' protobuf exposition (native histograms): pull parser
 *   nhcb.h          a classic histogram's lines -> a native histogram with custom buckets
 *   remote_write.h  remote write 1.0: decode to a batch, encode
 *   otlp.h          OTLP metrics (protobuf and JSON): decode to a batch, answers, naming translation
 *   custom.h        POST /metrics/custom: {name, value, labels, timestamp}
 *   compress.h      request and answer bodies: gzip, deflate, zstd, snappy, with output limits
 *   pb.h            protobuf reader and writer, used by the above
 *
 * This header holds what they share. Decoded batches borrow from the body and from the arena: both must
 * outlive the batch. Decoders bound their memory by the arena's soft limit (ERR_LIMIT when it is passed).
 * Threads: nothing is shared; any thread, one at a time per object. */
#ifndef VANE_WIRE_WIRE_H
#define VANE_WIRE_WIRE_H

#include "base/err.h"
#include "model/sample.h"

/* Who remembers series by the bytes their labels were sent in: then a decoder need not read them again. find gives the
 * ref of a series that was accepted from the same bytes and salt before, 0 = not known; *ret_key in any case. *io_hint: 0 at the
 * begin of a request, then find's own. */
struct wire_known {
    void *ctx;
    uint64_t (*find)(void *ctx, str bytes, uint64_t salt, uint32_t *io_hint, hash128 *ret_key);
};

/* Limits of decoders that take whole requests. A series beyond a label limit is left out and counted. */
struct wire_limits {
    size_t labels_max; /* per series, __name__ included */
    size_t label_name_bytes_max;
    size_t label_value_bytes_max;
    size_t series_max;              /* per request: ERR_LIMIT beyond */
    size_t samples_max;             /* per request: ERR_LIMIT beyond */
    const struct wire_known *known; /* not a limit: spares work (remote write 1.0); NULL = nobody */
};
#define WIRE_LIMITS_DEFAULT                                   \
    ((struct wire_limits){ .labels_max = 128,                 \
                           .label_name_bytes_max = 1024,      \
                           .label_value_bytes_max = 64 << 10, \
                           .series_max = 1 << 20,             \
                           .samples_max = 8 << 20 })

/* What a decoder left out of the batch while taking the rest. */
struct wire_rejects {
    size_t series, samples; /* refused; samples counts histograms and OTLP data points too */
    size_t exemplars;
    struct err_text first; /* the first refusal in words; msg[0] == 0 if none */
};

/* Check one sorted label set: a name, valid UTF-8, lengths, count. ERR_INVALID with a text. */
enum err wire_labels_check(struct labels ls, const struct wire_limits *lim, struct err_text *reterr) MUST_CHECK;

#endif
