/* What the files of tracing share: the span behind vane_span, the record a finished span becomes, the samplers' and the
 * contexts' side of both. */
#pragma once

#include "sdk_int.h"

#pragma GCC visibility push(hidden)

/* Bits of vane_context.flags; trace.h lists them. Only the first two travel in a traceparent. */
#define SDK_CTX_SAMPLED  1u
#define SDK_CTX_RANDOM   2u
#define SDK_CTX_DEBUG    4u  /* B3 "d", Jaeger flag 2: sampled whatever the sampler says */
#define SDK_CTX_DEFERRED 8u  /* ids, but no decision: ours to make */
#define SDK_CTX_DECIDED  16u /* a decision, but no ids */

/* vane_context.reserved_ is the number of the hold (sdk_sample.c) this span's record waits in; 0: none. */
static inline uint16_t sdk_ctx_hold(const vane_context *c)
{
    return (uint16_t)(c->reserved_[0] | c->reserved_[1] << 8);
}

#define SDK_NAME_BYTES 1024 /* of span and event names and status descriptions */

/* A text that the span keeps. */
struct sdk_span_text {
    const char *p;
    uint32_t n;
    bool own; /* in memory of its own, not in the body */
};

/* What does not fit in a vane_span. */
struct sdk_span_more {
    struct sdk_buf attrs;         /* what follows the attributes in the body */
    struct sdk_buf events, links; /* fields 11 and 13 of an OTLP Span */
};

/* The body: attributes as they go into the record, from the front; name and status, when copied, from the back. */
#define SDK_SPAN_BODY 520
struct sdk_span {
    uint64_t magic; /* sdk_trace.c */
    uint64_t start_mono_ns;
    vane_context ctx, previous; /* own; the thread's before */
    vane_span *previous_span;
    uint8_t parent[8];
    uint64_t start_unix_ns;
    struct sdk_tls *thread; /* that it is current on; NULL: on none */
    struct sdk_span_more *more;
    uint32_t body_n, room;       /* bytes of attributes; bytes that may be filled the quick way */
    uint16_t body_end, text_max; /* where the texts begin; bytes of a text that is put the quick way */
    uint16_t n_attrs, depth;
    uint8_t kind, code, parent_remote, hold_root, extra_held;
    uint32_t serial;
    struct sdk_span_text name, status; /* name.n 0: name.p is the caller's, not yet measured */
    uint32_t seen[8];                  /* a bit of each key's: a key whose bit is not set is new */
    uint64_t keep_slow_ns;             /* of a root with a hold; bit 0 of hold_root: keep errors */
    uint32_t n_events, n_links, dropped_attrs, dropped_events, dropped_links;
    char body[SDK_SPAN_BODY];
};
_Static_assert(sizeof(struct sdk_span) <= sizeof(vane_span), "VANE_SPAN_WORDS");

/* A finished span, in one piece: this, then name, status description, tracestate, the attributes (struct sdk_rec_attr,
 * key, value each), events and links as OTLP protobuf. */
struct sdk_span_rec {
    uint32_t size; /* of all */
    uint8_t kind, code, flags, parent_remote;
    uint8_t trace_id[16], span_id[8], parent[8];
    uint64_t start_unix_ns, end_unix_ns;
    uint16_t name_n, status_n, state_n, n_attrs;
    uint32_t dropped_attrs, dropped_events, dropped_links;
    uint32_t events_n, links_n;
};
/* A slot of the ring of finished spans, as the black box finds it: two words of the ring's, then the record. */
#define SDK_SPAN_SLOT      512u
#define SDK_SPAN_SLOT_HEAD 8u
struct sdk_rec_attr {
    uint32_t n; /* bytes of the value; numbers and booleans 8 */
    uint16_t key_n;
    uint8_t type, unused_;
};

/* ---- finished spans (sdk_trace.c) ---- */

/* Take the oldest finished span: fn sees it during the call. false when there is none. Any thread. */
bool sdk_trace_take(void (*fn)(void *ctx, const struct sdk_span_rec *rec), void *ctx);
/* By the configuration, somebody takes them (sdk_push.c). */
bool sdk_trace_pushed(void);
/* Spans waiting. */
uint32_t sdk_trace_waiting(void);
/* Queue a record (copied). Full: counted, dropped. */
void sdk_trace_queue(const struct sdk_span_rec *rec);
/* Called, when set, after every batch_max spans and when the queue is half full. */
typedef void (*sdk_wake_fn)(void);
extern _Atomic(sdk_wake_fn) sdk_trace_wake;
/* Encode a pair as OTLP KeyValue in `field`. The key is made valid text; a value must be. */
void sdk_otlp_pair(struct sdk_buf *b, unsigned field, const char *key, size_t key_n, vane_type type, const void *value,
                   size_t n);

/* ---- samplers (sdk_sample.c) ---- */

struct sdk_decision {
    bool sampled;
    bool keep_errors; /* with keep_slow_ns: record although not sampled, decide at the end of the root */
    uint64_t keep_slow_ns;
};
struct sdk_decision sdk_sample_root(const uint8_t trace_id[16], const char *name, const vane_attr *attrs, size_t n);
/* The sampler takes every root: no need to ask. */
extern _Atomic bool sdk_sample_all;
extern _Atomic bool sdk_sample_attrs; /* some rule looks at attributes: they must be there when a span starts */
/* Whether children follow their parent. */
static inline bool sdk_sample_follows(void)
{
    return sdk_cfg.sampler != VANE_SAMPLER_ALWAYS_ON && sdk_cfg.sampler != VANE_SAMPLER_ALWAYS_OFF &&
           sdk_cfg.sampler != VANE_SAMPLER_RATIO;
}
/* Jaeger's answer to GET /sampling?service=...; false: not understood, the strategy before stays. */
bool sdk_sample_remote(const char *json, size_t n);

/* A place where the records of a trace wait for the end of its local root; 0: no room, the head decision stands. */
uint16_t sdk_hold_new(const uint8_t trace_id[16]);
/* false: no such hold, or full. */
bool sdk_hold_add(uint16_t hold, const uint8_t trace_id[16], const struct sdk_span_rec *rec);
void sdk_hold_end(uint16_t hold, const uint8_t trace_id[16], bool keep);

/* ---- what a context carries along (sdk_propagate.c) ---- */

bool sdk_extra_hold(uint32_t extra);
void sdk_extra_release(uint32_t extra);
/* Bytes of the tracestate copied to buf. */
size_t sdk_extra_state(uint32_t extra, char buf[VANE_TRACESTATE_MAX]);

bool sdk_unhex(const char *s, size_t n, uint8_t *ret); /* n digits, either case; n even */

#pragma GCC visibility pop
