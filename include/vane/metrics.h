/* libvane metrics: counters, up-down counters, gauges, histograms, infos, state sets, observed values.
 *
 * An *instrument* (vane_metric) has a name, a help text and label names. A *series* is an instrument with label values;
 * binding the values once gives a handle (vane_counter, vane_gauge, ...) whose calls cost a nanosecond or two: one check
 * of the handle's generation and one add to memory that belongs to this thread. Readers add the threads up.
 *
 *     static vane_metric requests;
 *     requests = vane_counter_new("http_requests_total", "HTTP requests", "method,endpoint,status");
 *     vane_counter ok = vane_counter_bind(requests, VANE_LABELS("GET", "/users", "200"));
 *     vane_counter_inc(ok);                                           // the fast way
 *     vane_counter_add_to(requests, 1, VANE_LABELS(method, "/users", code));   // convenient: a cached lookup
 *
 * Names: an instrument's name is [a-zA-Z_:][a-zA-Z0-9_:]*; a label's is
 * [a-zA-Z_][a-zA-Z0-9_]* without leading "__"; "le" and "quantile" are refused on histograms. A counter's name gets
 * "_total" in the exposition when it does not end so. Base units (seconds, bytes) and a unit suffix are the custom.
 *
 * Limits: VANE_NAME_MAX, VANE_LABELS_MAX, VANE_VALUE_MAX below; series per instrument: series_max of the instrument,
 * the group or the configuration, in this order. A new label set over the cap goes to the series in which every label
 * is empty but otel_metric_overflow="true" (in OTLP: the attribute otel.metric.overflow), counted.
 *
 * Errors: a function that makes something answers a zero handle when it cannot; the reason is in *ret_status of the
 * _opts form, in the diagnostic callback and in vane_self(). A zero handle is valid to use: nothing happens.
 *
 * Making the same instrument again (same name, kind, labels, unit) gives the same handle, so that two files may each
 * declare it; the same name with something different is VANE_E_EXISTS. */
#ifndef VANE_METRICS_H
#define VANE_METRICS_H

#include "core.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VANE_NAME_MAX   255  /* bytes of an instrument, label or group name */
#define VANE_LABELS_MAX 32   /* labels of an instrument */
#define VANE_VALUE_MAX  255  /* bytes of a label value; longer values are cut at a character */
#define VANE_HELP_MAX   1023 /* bytes of a help text */
#define VANE_BOUNDS_MAX 100  /* explicit bucket bounds */
#define VANE_STATES_MAX 64   /* states of a state set */

/* ---- handles ---------------------------------------------------------------------------------------------------- */

typedef struct vane_metric {
    uint64_t id;
} vane_metric; /* an instrument */
typedef struct vane_group {
    uint64_t id;
} vane_group; /* instruments that belong together */
typedef struct vane_counter {
    uint64_t id;
} vane_counter; /* series of a counter of whole numbers */
typedef struct vane_fcounter {
    uint64_t id;
} vane_fcounter; /* series of a counter of floating point */
typedef struct vane_updown {
    uint64_t id;
} vane_updown; /* series of an up-down counter */
typedef struct vane_gauge {
    uint64_t id;
} vane_gauge; /* series of a gauge */
typedef struct vane_histogram {
    uint64_t id;
} vane_histogram; /* series of a histogram */
typedef struct vane_stateset {
    uint64_t id;
} vane_stateset; /* series of a state set */

/* Label values, in the order of the instrument's label names. Borrowed for the call.
 *   v     n pointers; NULL reads as ""
 *   len   n lengths, or NULL when the values are NUL-terminated */
typedef struct vane_labels {
    const char *const *v;
    const size_t *len;
    size_t n;
} vane_labels;

/* VANE_LABELS("GET", "/users", "200"): label values written in place, alive to the end of the full expression (C++) or
 * of the block (C). VANE_NO_LABELS for an instrument without labels. */
#if defined(__cplusplus)
} /* extern "C" */
namespace vane_detail
{
template <size_t N> struct values {
    const char *v[N];
    operator vane_labels() const
    {
        vane_labels l = { v, 0, N };
        return l;
    }
};
template <typename... T> inline values<sizeof...(T)> make(T... v)
{
    values<sizeof...(T)> r = { { v... } };
    return r;
}
inline vane_labels none()
{
    vane_labels l = { 0, 0, 0 };
    return l;
}
} // namespace vane_detail
extern "C" {
#define VANE_LABELS(...) ::vane_detail::make(__VA_ARGS__)
#define VANE_NO_LABELS   ::vane_detail::none()
#else
#define VANE_LABELS(...)                                        \
    ((vane_labels){ (const char *const[]){ __VA_ARGS__ }, NULL, \
                    sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *) })
#define VANE_NO_LABELS ((vane_labels){ NULL, NULL, 0 })
#endif

/* ---- instruments ------------------------------------------------------------------------------------------------ */

typedef enum vane_kind {
    VANE_COUNTER = 1, /* whole numbers that only grow; vane_counter */
    VANE_FCOUNTER,    /* floating point that only grows; vane_fcounter */
    VANE_UPDOWN,      /* whole numbers that grow and shrink by adding; vane_updown. Exposed as a gauge */
    VANE_GAUGE,       /* a value that is set; vane_gauge */
    VANE_HISTOGRAM,   /* native exponential, or explicit bounds; vane_histogram */
    VANE_INFO,        /* constant 1 with labels; vane_info_set() */
    VANE_STATESET     /* one of several states is 1; vane_stateset */
} vane_kind;

/* What several processes make of one gauge (multi-process mode; ignored otherwise). */
typedef enum vane_gauge_mode {
    VANE_GAUGE_ALL = 0,    /* every process a series of its own, label pid="..."; dead ones stay until folded away */
    VANE_GAUGE_LIVE_ALL,   /* the same, living processes only */
    VANE_GAUGE_SUM,        /* sum over all processes that ever wrote */
    VANE_GAUGE_LIVE_SUM,   /* sum over living processes */
    VANE_GAUGE_MAX,        /* largest over all processes */
    VANE_GAUGE_LIVE_MAX,   /* largest over living processes */
    VANE_GAUGE_MIN,        /* smallest over all processes */
    VANE_GAUGE_LIVE_MIN,   /* smallest over living processes */
    VANE_GAUGE_RECENT,     /* the one set last */
    VANE_GAUGE_LIVE_RECENT /* the one set last by a living process */
} vane_gauge_mode;

typedef struct vane_observer vane_observer; /* see "observed values" */
typedef void (*vane_observe_fn)(void *ctx, vane_observer *o);

/* Flags of an instrument. */
#define VANE_F_EXEMPLARS    1u /* keep exemplars; on by itself for histograms */
#define VANE_F_NO_EXEMPLARS 2u /* keep none */
#define VANE_F_CLASSIC_TOO  4u /* a native histogram that also counts in the explicit bounds given (both are exposed) */

typedef struct vane_metric_opts {
    size_t size; /* VANE_METRIC_OPTS_INIT */
    vane_kind kind;
    vane_group group; /* zero: no group */
    const char *name;
    const char *help; /* "" when NULL */
    const char
        *unit; /* e.g. "seconds"; NULL: none. OpenMetrics wants the name to end in it: the library does not add it */
    const char *labels;  /* label names, "method,endpoint,status"; NULL or "": none */
    uint32_t series_max; /* 0: that of the group or of the configuration */
    uint32_t flags;      /* VANE_F_* */

    /* Histograms. */
    const double *bounds; /* explicit upper bounds, increasing, finite; NULL: native exponential buckets */
    size_t n_bounds;      /* 1 to VANE_BOUNDS_MAX */
    uint32_t
        buckets_per_octave; /* native: buckets per power of two: 1, 2, 4, 8 (default, 9 % wide), 16, 32, 64; this is
                                    schema 0 to 6 of Prometheus and OpenTelemetry */
    uint32_t buckets_max;   /* native: at most so many are exposed, neighbours are merged beyond; 0: 160 */

    vane_gauge_mode gauge_mode;

    /* State sets. */
    const char *states; /* "starting,running,draining" */

    /* Observed values: see vane_observe_fn. */
    vane_observe_fn observe;
    void *observe_ctx;
} vane_metric_opts;

#if defined(__cplusplus)
static inline vane_metric_opts vane_metric_opts_zero_(void)
{
    vane_metric_opts o = vane_metric_opts();
    o.size = sizeof o;
    return o;
}
#else
static inline vane_metric_opts vane_metric_opts_zero_(void)
{
    static const vane_metric_opts zero;
    vane_metric_opts o = zero;
    o.size = sizeof o;
    return o;
}
#endif
#define VANE_METRIC_OPTS_INIT vane_metric_opts_zero_()

/* Make or find an instrument.
 *   ret_status   may be NULL. VANE_OK; VANE_E_ARG (name, labels, bounds, kind); VANE_E_EXISTS; VANE_E_LIMIT
 *                (4096 instruments); VANE_E_NOMEM; VANE_E_STATE before start
 * Returns   the instrument, zero on failure. Lives until vane_metric_free() or vane_stop(). */
VANE_API vane_metric vane_metric_new(const vane_metric_opts *opts, vane_status *ret_status);

/* The short forms: no group, defaults for the rest. Same rules as vane_metric_new(). */
VANE_API vane_metric vane_counter_new(const char *name, const char *help, const char *labels);
VANE_API vane_metric vane_fcounter_new(const char *name, const char *help, const char *labels);
VANE_API vane_metric vane_updown_new(const char *name, const char *help, const char *labels);
VANE_API vane_metric vane_gauge_new(const char *name, const char *help, const char *labels);
VANE_API vane_metric vane_histogram_new(const char *name, const char *help, const char *labels);
VANE_API vane_metric vane_stateset_new(const char *name, const char *help, const char *labels, const char *states);

/* Remove an instrument with all its series. Handles to them become stale; their memory is used again after ten seconds at
 * the earliest. Returns VANE_OK, VANE_E_STALE. */
VANE_API vane_status vane_metric_free(vane_metric m);

/* Remove one series (it leaves the exposition; its handles become stale). With wrong labels: VANE_E_ARG, without such a
 * series: VANE_E_STALE. Also removes what multi-process files of this process hold of it. */
VANE_API vane_status vane_series_remove(vane_metric m, vane_labels values);

/* ---- groups ----------------------------------------------------------------------------------------------------- */

typedef struct vane_group_opts {
    size_t size;         /* VANE_GROUP_OPTS_INIT */
    const char *name;    /* also the OTLP instrumentation scope */
    const char *version; /* of the scope; NULL: none */
    const char *prefix;  /* put before every instrument's name, e.g. "shop_"; NULL: none */
    const char *labels;  /* constant labels of every series, "key=value,key=value"; NULL: none */
    uint32_t series_max; /* per instrument; 0: that of the configuration */
} vane_group_opts;

#if defined(__cplusplus)
static inline vane_group_opts vane_group_opts_zero_(void)
{
    vane_group_opts o = vane_group_opts();
    o.size = sizeof o;
    return o;
}
#else
static inline vane_group_opts vane_group_opts_zero_(void)
{
    static const vane_group_opts zero;
    vane_group_opts o = zero;
    o.size = sizeof o;
    return o;
}
#endif
#define VANE_GROUP_OPTS_INIT vane_group_opts_zero_()

/* Make or find a group by name. Returns zero when it cannot (name, prefix or labels malformed; 256 groups). */
VANE_API vane_group vane_group_new(const char *name);
VANE_API vane_group vane_group_new_opts(const vane_group_opts *opts, vane_status *ret_status);

/* Instruments of a group, short forms. */
VANE_API vane_metric vane_group_counter(vane_group g, const char *name, const char *help, const char *labels);
VANE_API vane_metric vane_group_gauge(vane_group g, const char *name, const char *help, const char *labels);
VANE_API vane_metric vane_group_histogram(vane_group g, const char *name, const char *help, const char *labels);

/* ---- bind: label values to a handle ----------------------------------------------------------------------------- */

/* Find or make the series with these label values. Costs a lookup under a lock: do it once, keep the handle.
 * Returns   the handle; the overflow series' when the cap is reached; zero when the instrument is stale or of another
 *           kind, or the number of values is not the number of labels (bad_labels is counted). */
VANE_API vane_counter vane_counter_bind(vane_metric m, vane_labels values);
VANE_API vane_fcounter vane_fcounter_bind(vane_metric m, vane_labels values);
VANE_API vane_updown vane_updown_bind(vane_metric m, vane_labels values);
VANE_API vane_gauge vane_gauge_bind(vane_metric m, vane_labels values);
VANE_API vane_histogram vane_histogram_bind(vane_metric m, vane_labels values);
VANE_API vane_stateset vane_stateset_bind(vane_metric m, vane_labels values);

/* ---- the hot path: never fails, allocates, locks or looks up ---------------------------------------------------- */

/* Add n. Wraps at 2^64 (the exposition shows a reset, as the formats ask). Signals: safe. */
VANE_API void vane_counter_add(vane_counter c, uint64_t n);
static inline void vane_counter_inc(vane_counter c)
{
    vane_counter_add(c, 1);
}

/* Add v >= 0; a negative, infinite or NaN v is refused and counted. Signals: safe. */
VANE_API void vane_fcounter_add(vane_fcounter c, double v);

/* Add n, which may be negative. Signals: safe. */
VANE_API void vane_updown_add(vane_updown c, int64_t n);

/* Set, add to, raise or lower a gauge. Any double, NaN and infinities too. set is one store; the others loop until
 * nobody interfered. Signals: safe. */
VANE_API void vane_gauge_set(vane_gauge g, double v);
VANE_API void vane_gauge_add(vane_gauge g, double v);
VANE_API void vane_gauge_max(vane_gauge g, double v); /* keeps the larger */
VANE_API void vane_gauge_min(vane_gauge g, double v); /* keeps the smaller */
VANE_API void vane_gauge_set_to_now(vane_gauge g);    /* seconds since the epoch */

/* Observe v. NaN and infinities are refused and counted. Native buckets cover every other double, with both signs; zero
 * and subnormal numbers count in the zero bucket. Inside a recorded span the value, trace id and span id become an
 * exemplar, at most one per series, power of two and 100 ms. Signals: safe. */
VANE_API void vane_histogram_observe(vane_histogram h, double v);

/* The state with this index (order of opts.states) becomes 1, the others 0. Out of range: bad_values. Signals: safe. */
VANE_API void vane_stateset_set(vane_stateset s, uint32_t state);

/* An info: constant 1 with these label pairs, e.g. build version. Replaces the pairs of an earlier call with the name.
 *   pairs   "version=1.2.3,revision=abc"; keys are label names, values percent-encoded where they hold , = or %
 * Returns   VANE_OK, VANE_E_ARG, VANE_E_EXISTS, VANE_E_LIMIT, VANE_E_NOMEM, VANE_E_STATE. */
VANE_API vane_status vane_info_set(const char *name, const char *help, const char *pairs);

/* ---- convenience: label values at the call ---------------------------------------------------------------------- */

/* The same without a handle: looked up in a cache of this thread by the bytes of the values (some 30 ns), the first time
 * under a lock. Not for signal handlers. */
VANE_API void vane_counter_add_to(vane_metric m, uint64_t n, vane_labels values);
VANE_API void vane_fcounter_add_to(vane_metric m, double v, vane_labels values);
VANE_API void vane_updown_add_to(vane_metric m, int64_t n, vane_labels values);
VANE_API void vane_gauge_set_to(vane_metric m, double v, vane_labels values);
VANE_API void vane_histogram_observe_to(vane_metric m, double v, vane_labels values);

/* ---- timers ----------------------------------------------------------------------------------------------------- */

/* On the caller's stack. The duration in seconds, by the monotonic clock, goes to a histogram. */
typedef struct vane_timer {
    vane_histogram histogram;
    uint64_t start_ns;
} vane_timer;

VANE_API vane_timer vane_timer_start(vane_histogram h);
/* Observe the time since the start. Returns it in seconds (also when the handle is stale; 0 before vane_start()). The
 * timer can be stopped again: each call observes the time since the start. */
VANE_API double vane_timer_stop(vane_timer *t);
VANE_API void vane_timer_cleanup_(vane_timer *t); /* used by VANE_TIMER */

/* VANE_TIMER(histogram): times the enclosing scope, whichever way it is left. gcc and clang; C and C++. */
#define VANE_JOIN2_(a, b) a##b
#define VANE_JOIN_(a, b)  VANE_JOIN2_(a, b)
#if defined(__GNUC__)
#define VANE_TIMER(histogram)                                                                            \
    __attribute__((cleanup(vane_timer_cleanup_), unused)) vane_timer VANE_JOIN_(vane_timer_, __LINE__) = \
        vane_timer_start(histogram)
#endif

/* ---- observed values -------------------------------------------------------------------------------------------- */

/* A callback is called at every collection, one collection at a time, on the collecting thread (scrape or push), without
 * a lock of the library held; it reports values for label sets through the observer. Series it did not report in a
 * collection leave the exposition. It may create and use other instruments; it must not render, flush or stop. It should
 * take under 100 ms: longer ones are counted (callbacks_slow). In multi-process mode a process reports its own.
 * Kinds: counter, fcounter (values are totals, not differences), updown, gauge. */
VANE_API void vane_observe(vane_observer *o, double value, vane_labels values);
VANE_API void vane_observe_u64(vane_observer *o, uint64_t value, vane_labels values);

/* ---- reading back (tests, self-checks) -------------------------------------------------------------------------- */

/* The value of this process's series now: counter, fcounter, updown, gauge value; a histogram's count.
 * Returns   VANE_OK, VANE_E_STALE. */
VANE_API vane_status vane_counter_value(vane_counter c, uint64_t *ret);
VANE_API vane_status vane_fcounter_value(vane_fcounter c, double *ret);
VANE_API vane_status vane_updown_value(vane_updown c, int64_t *ret);
VANE_API vane_status vane_gauge_value(vane_gauge g, double *ret);
VANE_API vane_status vane_histogram_value(vane_histogram h, uint64_t *ret_count, double *ret_sum);

/* Quantile q of a histogram of this process, by the rule of PromQL's histogram_quantile (exponential interpolation for
 * native buckets). NaN when it is empty or the handle is stale; q outside [0, 1] gives -Inf or +Inf. */
VANE_API double vane_histogram_quantile(vane_histogram h, double q);

#ifdef __cplusplus
}
#endif
#endif
