/* libvane tracing: spans on the caller's stack, context in the thread or passed by hand, samplers.
 *
 *     vane_span s;
 *     vane_span_start(&s, "charge card", VANE_SPAN_INTERNAL);      // child of the thread's current span, and current itself
 *     vane_span_set(&s, vane_str("currency", "EUR"));
 *     if (failed)
 *         vane_span_status(&s, VANE_SPAN_ERROR, "declined");
 *     vane_span_end(&s);                                           // the previous span is current again
 *
 * or, for a scope: VANE_SPAN(s, "charge card"); ... no end needed.
 *
 * A span that is not sampled costs one branch per call. A recorded span allocates nothing for its attributes as long as
 * their keys and values take less than 500 bytes, 8 for each attribute included. Limits are those of the specification (128 attributes, events, links; config.h),
 * what is over them is counted in the span's dropped counts and in vane_self().span_limits.
 *
 * Life of a span: between start and end the memory of the vane_span must stay where it is; it may be moved to another
 * thread, used by one thread at a time. A second end, and any call after end or before start, does nothing and is
 * counted (span_misuse): a vane_span that was never started must be zeroed (VANE_SPAN_INIT) for that to be certain.
 * A span that is never ended is never exported; if it was current, the thread's current span is repaired by the end of
 * its parent. Ending on another thread than the starting one is fine: the other thread's current span is left alone, the
 * starting thread's is repaired as above; until then its vane_span_current() looks at that memory, so spans
 * that travel are better started with not_current.
 *
 * An unsampled span below an unsampled current one shares that one's context: nothing is recorded that could need an id
 * of its own. */
#ifndef VANE_TRACE_H
#define VANE_TRACE_H

#include "core.h"

#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- contexts --------------------------------------------------------------------------------------------------- */

#define VANE_TRACESTATE_MAX 512 /* bytes of a tracestate kept; W3C asks for at least 512 */

/* What travels: identity of a span. All zero is "no context". A plain value, copied freely. */
typedef struct vane_context {
    uint8_t trace_id[16]; /* big endian, as in traceparent */
    uint8_t span_id[8];
    uint8_t flags;        /* bit 0: sampled; bit 1: random trace id (W3C level 2); bit 2: debug, sampled whatever the
                             sampler says (B3, Jaeger); bit 3: the sender has not decided; bit 4: it has, but sent no ids */
    uint8_t remote;       /* 1: came from another process */
    uint8_t reserved_[2]; /* zero in what you make; the library's own use (keep_errors, keep_slow_s) */
    uint32_t extra;       /* index of tracestate and baggage in the library; 0: none. See vane_context_tracestate() */
} vane_context;

/* 1 when trace id and span id are both not zero. Signals: safe. */
VANE_API int vane_context_valid(const vane_context *c);

/* Lower-case hex of the ids into buf[33] and buf[17]. NULL buffers are skipped. Signals: safe. */
VANE_API void vane_context_hex(const vane_context *c, char *buf_trace_33, char *buf_span_17);

/* The context of the thread's current span (also when it is not sampled); zero when there is none. Signals: safe. */
VANE_API vane_context vane_context_current(void);

/* Make a context current on this thread without a span, e.g. in a worker that goes on with a request, and undo that.
 * attach answers what was current before; give it to detach. They nest; a detach out of order restores what it is given. */
VANE_API vane_context vane_context_attach(const vane_context *c);
VANE_API void vane_context_detach(vane_context previous);

/* ---- spans ------------------------------------------------------------------------------------------------------ */

typedef enum vane_span_kind {
    VANE_SPAN_INTERNAL = 1,
    VANE_SPAN_SERVER,
    VANE_SPAN_CLIENT,
    VANE_SPAN_PRODUCER,
    VANE_SPAN_CONSUMER
} vane_span_kind;

typedef enum vane_span_code { VANE_SPAN_UNSET = 0, VANE_SPAN_OK = 1, VANE_SPAN_ERROR = 2 } vane_span_code;

#define VANE_SPAN_WORDS 96

/* A span, owned by the caller, contents private. The size is part of the ABI. */
typedef struct vane_span {
    uint64_t private_[VANE_SPAN_WORDS];
} vane_span;

/* Sets the words that say "not started"; cheap. */
static inline void vane_span_init(vane_span *s)
{
    s->private_[0] = 0;
    s->private_[1] = 0;
}

/* Start a span: child of the thread's current one, or root of a new trace; it becomes current.
 *   s      the caller's memory, need not be initialised
 *   name   borrowed until the end: a literal, or memory that lives as long; low cardinality ("GET /users/{id}")
 * Before vane_start(), and when tracing is off, the span does nothing. Threads: any. */
VANE_API void vane_span_start(vane_span *s, const char *name, vane_span_kind kind);

typedef struct vane_span_opts {
    size_t size;                /* sizeof(vane_span_opts) */
    vane_span_kind kind;        /* 0: internal */
    const vane_context *parent; /* NULL: the thread's current one; a zero context: a new root */
    uint64_t start_unix_ns;     /* 0: now */
    const vane_attr *attrs;     /* known at the start: samplers see them */
    size_t n_attrs;
    const vane_context *links; /* spans this one is linked to, without attributes */
    size_t n_links;
    int not_current; /* 1: does not become the thread's current span (asynchronous code) */
} vane_span_opts;
VANE_API void vane_span_start_opts(vane_span *s, const char *name, const vane_span_opts *opts);

/* End: stamps the time, queues the span for export if it is sampled, makes its parent current again (on the thread that
 * started it). Returns the duration in nanoseconds by the monotonic clock, 0 for spans that are not recorded. */
VANE_API uint64_t vane_span_end(vane_span *s);
/* The same with an end time; one before the start time becomes the start time. */
VANE_API void vane_span_end_at(vane_span *s, uint64_t end_unix_ns);

/* 1 when the span is recorded: worth computing expensive attributes. Signals: safe. */
VANE_API int vane_span_recording(const vane_span *s);
VANE_API vane_context vane_span_context(const vane_span *s);

/* Set an attribute; a key set before is replaced. Key and value are copied, the value cut at attribute_bytes_max.
 * An inline function, so that the lengths of literals are known; from other languages: vane_span_set_all(). */
VANE_API void vane_span_put_(vane_span *s, const char *key, uint64_t type_and_key_n, size_t n, uint64_t value);
VANE_API void vane_span_put_str_(vane_span *s, const char *key, size_t key_n, size_t n, const char *value);
static inline void vane_span_set(vane_span *s, vane_attr attr) /* passes the attribute in registers */
{
    uint64_t value;
    memcpy(&value, &attr.v, sizeof value);
    if (attr.type == VANE_T_STR)
        vane_span_put_str_(s, attr.key, attr.key_n, attr.n, attr.v.s);
    else
        vane_span_put_(s, attr.key, (uint64_t)attr.key_n << 32 | (uint32_t)attr.type, attr.n, value);
}
VANE_API void vane_span_set_all(vane_span *s, const vane_attr *attrs, size_t n);

/* Change the name. Copied. */
VANE_API void vane_span_rename(vane_span *s, const char *name);

/* Status: ERROR with a description; OK is final; UNSET never overwrites. Description copied, kept for ERROR only. */
VANE_API void vane_span_status(vane_span *s, vane_span_code code, const char *description);

/* Add an event, now or at a time. Name and keys borrowed until the end, values copied. */
VANE_API void vane_span_event(vane_span *s, const char *name, const vane_attr *attrs, size_t n);
VANE_API void vane_span_event_at(vane_span *s, const char *name, uint64_t unix_ns, const vane_attr *attrs, size_t n);

/* An error as the event "exception" (exception.type, exception.message, exception.stacktrace) by the conventions.
 * All copied; any may be NULL. Does not set the status: say so when it is an error of the span. */
VANE_API void vane_span_exception(vane_span *s, const char *type, const char *message, const char *stacktrace);

/* Link to another span. Values copied, keys borrowed until the end. */
VANE_API void vane_span_link(vane_span *s, const vane_context *to, const vane_attr *attrs, size_t n);

/* The thread's current span if it is a recorded one of this process, else NULL; for code deep inside a request. */
VANE_API vane_span *vane_span_current(void);

/* VANE_SPAN(name_of_variable, "span name"): a span for the enclosing scope. gcc and clang; C and C++. */
VANE_API void vane_span_cleanup_(vane_span *s);
#if defined(__GNUC__)
#define VANE_SPAN(var, name)                                    \
    __attribute__((cleanup(vane_span_cleanup_))) vane_span var; \
    vane_span_start(&var, name, VANE_SPAN_INTERNAL)
#endif

/* ---- sampling by rules ------------------------------------------------------------------------------------------ */

/* Rules for roots, tried in order; the first that fits decides. Used with VANE_SAMPLER_RULES; children follow their
 * parent. Head rules are decided at the start. keep_errors and keep_slow_s look at the end of a local root: its trace's
 * local spans are held back until then (at most 512 spans a trace and 16 MiB altogether; over that the head decision
 * stands) and exported when the root is an error or slow, whatever the ratio said. */
typedef struct vane_sampler_rule {
    const char *name;       /* span name; "*" at the end fits any rest; NULL: any */
    const char *attr_key;   /* an attribute known at the start, NULL: any */
    const char *attr_value; /* its value as text */
    double ratio;           /* 0 to 1 */
    double per_second;      /* at most so many a second; 0: no limit */
    int keep_errors;
    double keep_slow_s; /* 0: off */
} vane_sampler_rule;

/* Replace the rules. Copied; at most 64. Returns VANE_OK, VANE_E_ARG, VANE_E_LIMIT, VANE_E_NOMEM, VANE_E_STATE. */
VANE_API vane_status vane_sampler_rules(const vane_sampler_rule *rules, size_t n);

#ifdef __cplusplus
}
#endif
#endif
