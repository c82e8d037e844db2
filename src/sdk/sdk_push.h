/* Push: OTLP bodies (sdk_otlp.c), Zipkin bodies (sdk_zipkin.c), the queue and the sender (sdk_push.c). */
#pragma once

#include "sdk_log.h"
#include "sdk_trace.h"

#pragma GCC visibility push(hidden)

/* What has an endpoint of its own. SDK_ZIPKIN are spans too. */
enum sdk_signal { SDK_TRACES, SDK_METRICS, SDK_LOGS, SDK_ZIPKIN, SDK_SIGNALS_N };

/* Whether the signal has an endpoint. */
bool sdk_push_wants(enum sdk_signal s);
/* Queue a finished request body of `items` records. It is taken over (b is emptied) whether or not it finds room: the
 * oldest bodies make place, what is dropped is counted. Any thread of the library. */
void sdk_push_add(enum sdk_signal s, struct sdk_buf *b, uint32_t items);

/* Bytes of a body at which it is ended and another begun. */
#define SDK_OTLP_BODY ((size_t)4 << 20)

/* Take finished spans, at most max of them, into an ExportTraceServiceRequest and into a Zipkin v2 array (either may be
 * NULL). Returns how many; 0: nothing was written. */
uint32_t sdk_otlp_traces(struct sdk_buf *b, struct sdk_buf *zipkin, uint32_t max);
/* An ExportMetricsServiceRequest of everything there is. Returns the number of points. */
uint32_t sdk_otlp_metrics(struct sdk_buf *b);

/* An ExportLogsServiceRequest, line by line: b empty begins one; after the last line sdk_otlp_close() with the same marks. */
struct sdk_otlp_marks {
    size_t of[2];
};
void sdk_otlp_log(struct sdk_buf *b, struct sdk_otlp_marks *m, const struct sdk_log_line *l);
void sdk_otlp_close(struct sdk_buf *b, const struct sdk_otlp_marks *m);

/* One span as an object of a Zipkin v2 JSON array, with the bracket or comma before it. The caller ends the array. */
void sdk_zipkin_span(struct sdk_buf *b, const struct sdk_span_rec *r);

/* ---- reading protobuf, bounded ---- */

struct sdk_pb_field {
    unsigned number, wire; /* of 0, 1, 2, 5 */
    uint64_t v;            /* varint, fixed64 or fixed32 */
    const char *p;         /* length-delimited: n bytes */
    size_t n;
};
/* The next field of a message, *at moved behind it. false at the end, or when what follows is no field. */
bool sdk_pb_next(const char **at, const char *end, struct sdk_pb_field *ret);
/* A KeyValue of a scalar: v.p and v.n when its type is text or bytes, else v.v. false: something else. */
struct sdk_pb_attr {
    struct sdk_pb_field key, v;
    vane_type type;
};
bool sdk_pb_attr(const char *p, size_t n, struct sdk_pb_attr *ret);

#pragma GCC visibility pop
