/* libvane core: start and stop, status codes, attributes, the library's account of itself. See vane.h for the rules. */
#ifndef VANE_CORE_H
#define VANE_CORE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define VANE_API           __attribute__((visibility("default")))
#define VANE_PRINTF_(f, a) __attribute__((format(printf, f, a)))
/* The length of a literal, worked out by an optimising compiler; else `unknown`, and the library measures. */
#define VANE_LEN_(s, unknown) \
    (__builtin_constant_p(__builtin_strlen((s) ? (s) : "")) ? __builtin_strlen((s) ? (s) : "") : (unknown))
#else
#define VANE_API
#define VANE_PRINTF_(f, a)
#define VANE_LEN_(s, unknown) (unknown)
#endif

#define VANE_VERSION_MAJOR 0
#define VANE_VERSION_MINOR 1
#define VANE_VERSION_PATCH 0

#ifdef __cplusplus
extern "C" {
#endif

/* What a call that can fail answers. The numbers are ABI: new ones are added at the end. */
typedef enum vane_status {
    VANE_OK = 0,
    VANE_E_ARG,        /* an argument is NULL, empty, out of range or malformed */
    VANE_E_STATE,      /* not started, already started, or stopping */
    VANE_E_NOMEM,      /* the system gave no memory */
    VANE_E_LIMIT,      /* a documented limit is reached; the text of vane_status_text() names limits in general, the
                       diagnostic callback names the one */
    VANE_E_EXISTS,     /* the name is taken by something different */
    VANE_E_STALE,      /* a handle that is zero, freed or of an earlier start */
    VANE_E_IO,         /* a file, socket or the peer failed; errno is kept where there is one */
    VANE_E_TIMEOUT,    /* the time given was not enough */
    VANE_E_UNAVAILABLE /* this build or system lacks it, e.g. push without libcurl */
} vane_status;

/* A short English text without a newline. Never NULL; static memory. Signals: safe. */
VANE_API const char *vane_status_text(vane_status status);

/* "0.1.0" of the library in use, to compare with VANE_VERSION_*. Static memory. Signals: safe. */
VANE_API const char *vane_version(void);

/* ---- attributes: the key-value pairs of spans, log lines, events and resources ---------------------------------- */

typedef enum vane_type { VANE_T_NONE = 0, VANE_T_STR, VANE_T_INT, VANE_T_F64, VANE_T_BOOL, VANE_T_BYTES } vane_type;

/* One pair. Make it with the functions below: they are what checks the types at compile time.
 *   key   non-empty; the library says per call whether keys are copied or borrowed
 *   key_n bytes of the key; 0: NUL-terminated, not yet measured
 *   n     bytes of a string or of bytes; SIZE_MAX for a NUL-terminated string not yet measured
 * Values are borrowed for the duration of the call they are passed to. */
typedef struct vane_attr {
    const char *key;
    vane_type type;
    uint32_t key_n;
    size_t n;
    union {
        const char *s;
        const void *p;
        int64_t i;
        double f;
        int b;
    } v;
} vane_attr;

static inline vane_attr vane_attr_(const char *key, vane_type type, size_t n)
{
    vane_attr a;
    a.key = key, a.type = type, a.key_n = (uint32_t)VANE_LEN_(key, 0), a.n = n, a.v.i = 0;
    return a;
}

static inline vane_attr vane_str(const char *key, const char *value)
{
    vane_attr a = vane_attr_(key, VANE_T_STR, VANE_LEN_(value, SIZE_MAX));
    a.v.s = value;
    return a;
}

/* A string of n bytes, which may hold anything; NUL and bytes that are not UTF-8 become U+FFFD. */
static inline vane_attr vane_strn(const char *key, const char *value, size_t n)
{
    vane_attr a = vane_attr_(key, VANE_T_STR, value ? n : 0);
    a.v.s = value;
    return a;
}

static inline vane_attr vane_int(const char *key, int64_t value)
{
    vane_attr a = vane_attr_(key, VANE_T_INT, 0);
    a.v.i = value;
    return a;
}

static inline vane_attr vane_f64(const char *key, double value)
{
    vane_attr a = vane_attr_(key, VANE_T_F64, 0);
    a.v.f = value;
    return a;
}

static inline vane_attr vane_bool(const char *key, int value)
{
    vane_attr a = vane_attr_(key, VANE_T_BOOL, 0);
    a.v.b = value != 0;
    return a;
}

/* Raw bytes: OTLP bytesValue; base64 in JSON. */
static inline vane_attr vane_bytes(const char *key, const void *value, size_t n)
{
    vane_attr a = vane_attr_(key, VANE_T_BYTES, value ? n : 0);
    a.v.p = value;
    return a;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

struct vane_config; /* config.h */

/* Start the library. Reads the configuration (struct, then environment, then defaults: config.h), takes its memory,
 * registers its fork handlers once, and starts the background thread if something needs it (push, listener, health).
 *   cfg   NULL: everything from the environment and the defaults. Read during the call only.
 * Returns   VANE_OK; also when OTEL_SDK_DISABLED=true, then everything stays a no-op. VANE_E_STATE when running
 *           already; VANE_E_ARG for a value that cannot be used (nothing was started; the diagnostic callback says which
 *           one); VANE_E_NOMEM; VANE_E_IO when the multi-process folder cannot be used or the listener's port is taken.
 * Threads   one caller; concurrent calls: the second gets VANE_E_STATE. */
VANE_API vane_status vane_start(const struct vane_config *cfg);

/* Send or write out what is buffered: spans, log lines, events, and one last collection of metrics when push is on.
 *   timeout_ms   the most it waits; 0: only wakes the background thread and returns
 * Returns   VANE_OK, VANE_E_TIMEOUT (the rest stays queued), VANE_E_STATE. */
VANE_API vane_status vane_flush(uint32_t timeout_ms);

/* Flush, stop the background threads, close what is open. Every handle becomes stale. May be followed by vane_start().
 * Calls of other threads that are under way end safely: memory they may touch stays mapped until the next start.
 *   timeout_ms   the most it waits for the flush; threads are joined in any case within 1 s more, except a health check
 *                or callback of the host that does not return: it is left to itself and counted
 * Returns   VANE_OK, VANE_E_TIMEOUT (something was dropped: vane_self()), VANE_E_STATE when not running. */
VANE_API vane_status vane_stop(uint32_t timeout_ms);

/* 1 between a successful vane_start() and vane_stop(). Signals: safe. */
VANE_API int vane_running(void);

/* fork: the library registers pthread_atfork() handlers. In the child: counters, up-down counters and histograms are
 * zero; gauges keep their values, in multi-process mode they are unset; buffered spans, log lines and events are dropped
 * (they belong to the parent, which still has them); service.instance.id is new; handles stay valid; the background
 * thread starts again by itself at the first call that needs it, unless fork_threads is off in the configuration, then
 * after vane_fork_resume(). vfork() and posix_spawn() need nothing. A process made by raw clone() must not use the library. */

/* Start the background threads of this process now, e.g. in a worker after it dropped privileges. No-op when they run.
 * Returns   VANE_OK, VANE_E_STATE, VANE_E_NOMEM. */
VANE_API vane_status vane_fork_resume(void);

/* Give this thread its share of the metric memory now instead of at its first add. After this a counter add from a
 * signal handler on this thread is as fast as any other. Costs one shard until the thread ends.
 * Returns   VANE_OK, VANE_E_LIMIT (threads_max shards are taken: the thread uses the shared one, correct but slower). */
VANE_API vane_status vane_thread_attach(void);

/* ---- the library's account of itself ---------------------------------------------------------------------------- */

/* Totals since vane_start() (since fork in a child). Rendered as vane_sdk_* in every exposition.
 * Set size = sizeof(vane_self_stats) before the call; the library fills no more. */
typedef struct vane_self_stats {
    size_t size;
    uint64_t stale_handles;    /* calls with a zero, freed or old handle */
    uint64_t bad_values;       /* NaN, infinite or negative values refused */
    uint64_t bad_labels;       /* wrong label counts; the call was dropped */
    uint64_t replaced_strings; /* strings with NUL or invalid UTF-8, stored with U+FFFD */
    uint64_t cut_strings;      /* strings over their limit, stored cut */
    uint64_t series_overflow;  /* label sets that went to the overflow series: a cardinality cap was reached */
    uint64_t series;           /* series now */
    uint64_t memory_bytes;     /* bytes the library holds now */
    uint64_t alloc_failures;   /* allocations the system refused; what needed them was dropped */
    uint64_t spans_started;    /* recorded spans started */
    uint64_t spans_dropped;    /* finished spans that found the queue full, or could not be pushed */
    uint64_t span_misuse;      /* double end, end on an unstarted span, attribute after end */
    uint64_t span_limits;      /* attributes, events, links over the limits of the specification */
    uint64_t logs_dropped;     /* log lines that found the ring full or a sink broken, or could not be pushed */
    uint64_t logs_suppressed;  /* log lines withheld by rate limit or sampling macros */
    uint64_t events_dropped;   /* usage, rating, LLM and audit events lost to a full queue */
    uint64_t headers_refused;  /* propagation headers that were malformed or over their limit */
    uint64_t pushes_ok;        /* export requests answered with success */
    uint64_t pushes_failed;    /* export requests given up */
    uint64_t push_retries;     /* export requests tried again */
    uint64_t push_rejected;    /* items the receiver rejected by partialSuccess */
    uint64_t scrapes;          /* expositions rendered */
    uint64_t profile_samples;  /* stacks taken by the profiler */
    uint64_t profile_dropped;  /* stacks lost to a full buffer */
    uint64_t files_folded;     /* files of dead workers folded in */
    uint64_t files_bad;        /* multi-process files that could not be read and were skipped */
    uint64_t threads_shared;   /* threads that found no free shard and use the shared one */
    uint64_t callbacks_slow;   /* callbacks and health checks of the host that overran their time */
    uint64_t clock_jumps;      /* wall clock steps over one second noticed */
} vane_self_stats;

/* Fill *ret. Returns VANE_OK, VANE_E_ARG when ret is NULL or its size is unknown. Before start: zeros. */
VANE_API vane_status vane_self(vane_self_stats *ret);

/* What went wrong, in words: called for problems the counters of vane_self() only count, at most 10 times a second,
 * never on the request path's fast branch, never with a lock of the library held. It may call the library.
 *   what   one line, valid during the call: what, where, what to do */
typedef void (*vane_diag_fn)(void *ctx, vane_status status, const char *what);

#ifdef __cplusplus
}
#endif
#endif
