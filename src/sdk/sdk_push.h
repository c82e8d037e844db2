/* Push: OTLP bodies (sdk_otlp.c), the queue and the sender (sdk_push.c). */
#pragma once

#include "sdk_trace.h"

enum sdk_signal { SDK_TRACES, SDK_METRICS, SDK_LOGS, SDK_SIGNALS_N };

/* Whether the signal has an endpoint. */
bool sdk_push_wants(enum sdk_signal s);
/* Queue a finished request body of `items` records. It is taken over (b is emptied) whether or not it finds room: the
 * oldest bodies make place, what is dropped is counted. Any thread of the library. */
void sdk_push_add(enum sdk_signal s, struct sdk_buf *b, uint32_t items);

/* Bytes of a body at which it is ended and another begun. */
#define SDK_OTLP_BODY ((size_t)4 << 20)

/* An ExportTraceServiceRequest of finished spans, at most max of them. Returns how many; 0: nothing was written. */
uint32_t sdk_otlp_traces(struct sdk_buf *b, uint32_t max);
/* An ExportMetricsServiceRequest of everything there is. Returns the number of points. */
uint32_t sdk_otlp_metrics(struct sdk_buf *b);
/* A Resource message in `field`. */
void sdk_otlp_resource(struct sdk_buf *b, unsigned field);
