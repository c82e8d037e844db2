/* libvane inside: what its files share. Public headers are include/vane/; docs/libvane-internals.md tells who owns which
 * state, the threads, the fork and signal rules.
 *
 * The library depends on libc and pthreads only (docs/decisions/006-libvane-stands-alone.md), so that it can be shipped
 * as one file: no other room is included here. Every name here begins with sdk_ or SDK_ and is hidden; the installed
 * archive has them made local. A file is a module (struct sdk_module) when it has state that starts, stops or forks. */
#pragma once

#include <vane/vane.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#pragma GCC visibility push(hidden)

#define SDK_LIKELY(x)    __builtin_expect(!!(x), 1)
#define SDK_UNLIKELY(x)  __builtin_expect(!!(x), 0)
#define SDK_COUNT_OF(a)  (sizeof(a) / sizeof *(a))
#define SDK_HOT          __attribute__((hot, aligned(16)))
#define SDK_COLD         __attribute__((cold, noinline))
#define SDK_MUST_CHECK   __attribute__((warn_unused_result))
#define SDK_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* ---- modules: one row per file with state, in sdk_core.c; each declared there ----------------------------------- */

struct sdk_module {
    const char *name;
    /* In the order of the table. On failure the core stops what was started. The configuration is complete. */
    vane_status (*start)(void);
    /* Start threads, or start them again in a child of fork. May be called when they run already. */
    vane_status (*threads)(void);
    /* Hand over what is buffered by deadline (sdk_mono_ns). false: not all. Called on the host's thread. */
    bool (*flush)(uint64_t deadline_ns);
    /* Reverse order. Join threads, close files; memory that a straggling call may touch stays mapped. */
    void (*stop)(void);
    /* fork: before (take own locks so that the child finds them free), after in the parent, after in the child. The child
     * handler only makes locks anew, drops buffers and marks threads as gone: no allocation, no waiting. */
    void (*fork_prepare)(void);
    void (*fork_parent)(void);
    void (*fork_child)(void);
    /* A thread that used the library ends; runs on it. */
    void (*thread_exit)(void);
};

/* ---- state of the process --------------------------------------------------------------------------------------- */

/* 0 while not running; else the number of this start (grows). Relaxed loads are enough: what a start publishes is reached
 * through handles and module state that publish themselves. */
extern _Atomic uint32_t sdk_run;

inline bool sdk_on(void)
{
    return atomic_load_explicit(&sdk_run, memory_order_relaxed) != 0;
}

/* Calls that read sdk_cfg, the resource or a module's state off the request path: false while not running; else the library
 * does not stop under them until sdk_leave(). vane_stop() waits for them up to a second, and vane_start() refuses while
 * one of an earlier life is still under way. They nest (a callback of the host may call the library). */
bool sdk_enter(void) SDK_MUST_CHECK;
void sdk_leave(void);

/* The configuration in use: every field set, strings owned by the core until the next start, switches ON or OFF. Constant
 * between start and stop. */
extern vane_config sdk_cfg;

/* Resource attributes, service.* and telemetry.sdk.* included. Strings owned by the core. service.instance.id changes in
 * a child of fork: read it each time. */
struct sdk_pair {
    const char *key, *value;
};
extern struct sdk_pair sdk_resource[];
extern size_t sdk_resource_n;
#define SDK_RESOURCE_MAX 128

/* ---- state of a thread ------------------------------------------------------------------------------------------ */

struct sdk_log_thread;  /* sdk_log.c */
struct sdk_prof_thread; /* sdk_profile.c */
struct sdk_metric_cache;
struct sdk_shard;
typedef _Atomic(uint64_t *) sdk_seg; /* a block of slots of one shard, or NULL */

/* One per thread, in static TLS so that reaching it is one instruction and safe in signal handlers. Keep it under 256
 * bytes: a library opened with dlopen() gets its static TLS from a small surplus. */
struct sdk_tls {
    const sdk_seg *segs;            /* slab pointers of the thread's shard; never NULL (sdk_no_segs before attach) */
    struct sdk_shard *shard;        /* NULL before attach */
    vane_context context;           /* current context: owned by sdk_trace.c */
    vane_span *span;                /* the recorded span with that context, or NULL: owned by sdk_trace.c */
    struct sdk_metric_cache *cache; /* of the convenience calls: owned by sdk_metric_bind.c */
    struct sdk_log_thread *log;     /* owned by sdk_log.c */
    struct sdk_prof_thread *prof;   /* owned by sdk_profile.c */
    uint64_t rng[2];                /* sdk_random() */
    uint32_t rng_fork;              /* sdk_forks when rng was seeded, plus one; 0: not yet */
    uint32_t inside;                /* sdk_enter() of this thread */
    bool attached;                  /* the exit hook is set: sdk_thread_hook() */
};
#define SDK_SEGS_MAX 2048
extern sdk_seg sdk_no_segs[SDK_SEGS_MAX]; /* never written: kept out of read-only data for its size */
extern __thread struct sdk_tls sdk_tls __attribute__((tls_model("initial-exec")));

/* Have the modules' thread_exit called when this thread ends. Cheap when it is set already. Not for signal handlers. */
void sdk_thread_hook(void);
/* The same where a signal handler may be: sets it only if that allocates nothing. */
void sdk_thread_hook_in_signal(void);

/* Number of forks from the first start to this process. */
extern _Atomic uint32_t sdk_forks;

/* A thread of the library: all signals blocked, named "vane-" + name, 256 KiB of stack. Returns an errno or 0. */
int sdk_thread_start(pthread_t *ret, const char *name, void *(*fn)(void *), void *arg);
void sdk_thread_fork_child(void);

/* Something a background thread waits for. */
struct sdk_event {
    pthread_mutex_t mu;
    pthread_cond_t cond; /* CLOCK_MONOTONIC */
    unsigned set;
};
void sdk_event_init(struct sdk_event *e);
void sdk_event_set(struct sdk_event *e);
/* Wait until it is set (and clear it) or deadline_ns passes; UINT64_MAX: no deadline. Returns whether it was set. */
bool sdk_event_wait(struct sdk_event *e, uint64_t deadline_ns);

/* ---- own account ------------------------------------------------------------------------------------------------ */

/* One per counter of vane_self_stats, in its order. */
enum sdk_counter {
    SDK_STALE_HANDLES,
    SDK_BAD_VALUES,
    SDK_BAD_LABELS,
    SDK_REPLACED_STRINGS,
    SDK_CUT_STRINGS,
    SDK_SERIES_OVERFLOW,
    SDK_SERIES,
    SDK_MEMORY_BYTES,
    SDK_ALLOC_FAILURES,
    SDK_SPANS_STARTED,
    SDK_SPANS_DROPPED,
    SDK_SPAN_MISUSE,
    SDK_SPAN_LIMITS,
    SDK_LOGS_DROPPED,
    SDK_LOGS_SUPPRESSED,
    SDK_EVENTS_DROPPED,
    SDK_HEADERS_REFUSED,
    SDK_PUSHES_OK,
    SDK_PUSHES_FAILED,
    SDK_PUSH_RETRIES,
    SDK_PUSH_REJECTED,
    SDK_SCRAPES,
    SDK_PROFILE_SAMPLES,
    SDK_PROFILE_DROPPED,
    SDK_FILES_FOLDED,
    SDK_FILES_BAD,
    SDK_THREADS_SHARED,
    SDK_CALLBACKS_SLOW,
    SDK_CLOCK_JUMPS,
    SDK_COUNTERS_N
};
extern _Atomic uint64_t sdk_counters[SDK_COUNTERS_N];

/* Count. Signals: safe. */
inline void sdk_count(enum sdk_counter c, uint64_t n)
{
    atomic_fetch_add_explicit(&sdk_counters[c], n, memory_order_relaxed);
}

/* What a counter stands at; some are also counted in the shards of threads. */
uint64_t sdk_counter(enum sdk_counter c);
uint64_t sdk_spans_started(void); /* in shards (sdk_mem.c) */

/* Tell the host's diagnostic callback, at most 10 times a second. Never with a lock held, never in a signal handler,
 * never on a branch the request path takes often. errno is kept. */
void sdk_diag(vane_status status, const char *format, ...) SDK_PRINTF(2, 3) SDK_COLD;

/* ---- clocks ----------------------------------------------------------------------------------------------------- */

uint64_t sdk_mono_ns(void);        /* CLOCK_MONOTONIC; deadlines */
uint64_t sdk_unix_ns(void);        /* CLOCK_REALTIME */
uint64_t sdk_unix_ms_coarse(void); /* CLOCK_REALTIME_COARSE: 4 ms steps, some 5 ns to read */

/* For durations and stamps on the request path: CLOCK_MONOTONIC to within a microsecond, at half its price where the
 * processor's counter can be read. *ret_unix_ns is the wall clock, whose distance is looked up once a second. */
uint64_t sdk_tick_ns(uint64_t *ret_unix_ns);
void sdk_tick_start(void); /* finds out what there is to read, and looks at the wall clock anew */
void sdk_tick_fork_child(void);

/* Tests move the wall clock with this; added to the two unix clocks. */
extern _Atomic int64_t sdk_clock_offset_ns;

/* ---- random numbers (xoroshiro128+, seeded by getrandom(), per thread, again after fork) ------------------------ */

uint64_t sdk_random(void);
void sdk_random_ids(uint64_t *ret, size_t n); /* of a span, which is not 0; n 3: and of a trace, which is not 0 */

/* ---- memory ----------------------------------------------------------------------------------------------------- */

/* malloc and friends, counted: NULL on failure, which is counted and told. sdk_alloc zeroes. */
void *sdk_alloc(size_t n) SDK_MUST_CHECK;
void *sdk_grow(void *p, size_t old_n, size_t n) SDK_MUST_CHECK; /* as realloc; p stays valid on failure */
void sdk_free(void *p, size_t n);
char *sdk_dup(const char *s) SDK_MUST_CHECK; /* NULL reads as "" */
void sdk_free_str(char *s);

/* Tests: the k-th allocation from now fails; 0: none. */
extern _Atomic uint64_t sdk_alloc_fail_at;

/* Memory of at least n bytes for a ring or a table that shall survive the process when blackbox_dir or multiproc_dir is
 * set (then in a mapped file, named so in it), plain zeroed memory otherwise. Lives until the next start.
 * In a child of fork it is zeroed. Not in signal handlers. kind: 4 letters. Returns NULL, counted, when there is none. (sdk_mem.c) */
void *sdk_region(const char kind[4], uint32_t index, size_t n) SDK_MUST_CHECK;

/* ---- growing buffer --------------------------------------------------------------------------------------------- */

/* Bytes being written. Past max or without memory `failed` is set and everything further is ignored: check once. */
struct sdk_buf {
    char *p;
    size_t n, cap, max;
    bool failed;
    bool odd; /* sdk_put_json_str() has met more than printable ASCII without " and backslash */
    /* When set: called with the content whenever cap is reached, which is then emptied. Non-zero: failed. */
    int (*flush)(void *ctx, const char *p, size_t n);
    void *flush_ctx;
};
void sdk_buf_init(struct sdk_buf *b, size_t max);
void sdk_buf_free(struct sdk_buf *b);
bool sdk_buf_room_slow(struct sdk_buf *b, size_t n);
inline bool sdk_buf_room(struct sdk_buf *b, size_t n)
{
    return SDK_LIKELY(b->cap - b->n >= n) || sdk_buf_room_slow(b, n);
}
inline void sdk_put(struct sdk_buf *b, const char *p, size_t n)
{
    if (sdk_buf_room(b, n)) {
        if (n)
            memcpy(b->p + b->n, p, n);
        b->n += n;
    }
}
inline void sdk_putc(struct sdk_buf *b, char c)
{
    if (sdk_buf_room(b, 1))
        b->p[b->n++] = c;
}
#define SDK_PUTS(b, literal) sdk_put((b), "" literal, sizeof(literal) - 1)
void sdk_puts(struct sdk_buf *b, const char *s);
void sdk_put_u64(struct sdk_buf *b, uint64_t v);
void sdk_put_i64(struct sdk_buf *b, int64_t v);
void sdk_put_f64(struct sdk_buf *b, double v); /* shortest that reads back; NaN, +Inf, -Inf; no locale */
void sdk_put_json_str(struct sdk_buf *b, const char *s, size_t n); /* with quotes; invalid UTF-8 becomes U+FFFD */
void sdk_put_rfc3339(struct sdk_buf *b, uint64_t unix_ns);         /* 2026-01-02T03:04:05.123456Z */
void sdk_put_hex(struct sdk_buf *b, const uint8_t *p, size_t n);
void sdk_hex(char *dst, const uint8_t *p, size_t n); /* 2 * n characters; n: a multiple of 4 */
void sdk_putf(struct sdk_buf *b, const char *format, ...) SDK_PRINTF(2, 3);

/* The digits of v into buf[24]; returns their number. */
size_t sdk_fmt_u64(char buf[24], uint64_t v);
/* As sdk_put_f64; buf[32]. */
size_t sdk_fmt_f64(char buf[32], double v);
/* "%.17g" of strtod without a locale. false when it is no number or something follows it. */
bool sdk_parse_f64(const char *s, size_t n, double *ret);

/* ---- text ------------------------------------------------------------------------------------------------------- */

/* Copy up to n bytes of s (SIZE_MAX: to its NUL) into dst[cap], made valid: NUL and invalid UTF-8 become U+FFFD, cut at a
 * character before cap. Both are counted. Returns the length; not NUL-terminated. NULL reads as "". */
size_t sdk_text(char *dst, size_t cap, const char *s, size_t n);
/* true when the bytes are valid UTF-8 without NUL. */
bool sdk_text_valid(const char *s, size_t n);

uint64_t sdk_hash(const void *p, size_t n);

/* Take the next "key=value" of a comma list, trimmed; value percent-decoded in place into the caller's copy. false at the
 * end. A malformed item sets *ret_bad and is skipped. */
bool sdk_pairs_next(char **rest, char **ret_key, char **ret_value, bool *ret_bad);

/* ---- protobuf writer -------------------------------------------------------------------------------------------- */

void sdk_pb_varint(struct sdk_buf *b, uint64_t v);
static inline void sdk_pb_tag(struct sdk_buf *b, unsigned field, unsigned type)
{
    sdk_pb_varint(b, (uint64_t)field << 3 | type);
}
void sdk_pb_u64(struct sdk_buf *b, unsigned field, uint64_t v); /* varint; 0 is written too */
void sdk_pb_s64(struct sdk_buf *b, unsigned field, int64_t v);  /* zigzag (sint) */
void sdk_pb_fixed64(struct sdk_buf *b, unsigned field, uint64_t v);
void sdk_pb_f64(struct sdk_buf *b, unsigned field, double v);
void sdk_pb_bytes(struct sdk_buf *b, unsigned field, const void *p, size_t n);
void sdk_pb_str(struct sdk_buf *b, unsigned field, const char *s);
/* A message inside: begin answers a mark, end fills the length in (the length takes 4 bytes as a padded varint, which
 * every reader accepts; bodies under 2^28 bytes). Not for buffers with a flush function. */
size_t sdk_pb_begin(struct sdk_buf *b, unsigned field);
void sdk_pb_end(struct sdk_buf *b, size_t mark);

/* ---- metrics: what exporters read (sdk_collect.c) --------------------------------------------------------------- */

struct sdk_exemplar {
    double value;
    uint64_t unix_ms;
    uint8_t trace_id[16], span_id[8];
};

struct sdk_span_of_buckets {
    int32_t key; /* bucket i of schema s: (2^((i-1)/2^s), 2^(i/2^s)] */
    uint64_t count;
};

/* An instrument as an exporter sees it. Strings are valid UTF-8, NUL-terminated, valid during the call. */
struct sdk_family {
    vane_kind kind;
    const char *name; /* as made, without _total */
    const char *help, *unit;
    const char *scope, *scope_version; /* of the group; "" without */
    bool native;                       /* histogram with exponential buckets */
    const double *bounds;              /* explicit ones; n_bounds 0: none */
    size_t n_bounds;
    const char *const *states; /* state set */
    size_t n_states;
};

/* One series. */
struct sdk_point {
    const char *labels; /* `a="b",c="d"`, escaped as in the text formats; labels_n 0: none */
    size_t labels_n;
    uint64_t created_unix_ms;
    union {
        uint64_t u; /* counter; state set: index of the state */
        int64_t i;  /* updown */
        double f;   /* fcounter, gauge */
    } v;
    /* Histograms. count is the sum of all buckets. */
    uint64_t count, zero_count;
    double sum, zero_threshold;
    int schema;
    const struct sdk_span_of_buckets *pos, *neg; /* in order of key, counts not zero */
    size_t n_pos, n_neg;
    const uint64_t *classic; /* n_bounds + 1 counts, not cumulative; NULL: none */
    const struct sdk_exemplar *exemplars;
    size_t n_exemplars;
};

/* Upper bound of bucket `key` of a schema from -4 to 6. */
double sdk_bucket_bound(int32_t key, int schema);

/* Walk everything there is: family_begin, its points, family_end, in order of creation. Runs callbacks of the host first.
 * One walk at a time; writers go on. A non-zero answer stops the walk and is returned. */
struct sdk_visitor {
    int (*family_begin)(void *ctx, const struct sdk_family *f);
    int (*point)(void *ctx, const struct sdk_family *f, const struct sdk_point *p);
    int (*family_end)(void *ctx, const struct sdk_family *f);
    void *ctx;
};
int sdk_collect(const struct sdk_visitor *v);

/* Body and status of /health*: set by sdk_health.c while it runs, NULL otherwise. As vane_health_render(). */
typedef int (*sdk_health_fn)(vane_health_view view, char **ret_body, size_t *ret_n);
extern _Atomic(sdk_health_fn) sdk_health_hook;

/* Read the label text of a point: the next name and unescaped value (into the caller's buffer of VANE_VALUE_MAX + 1, NUL
 * terminated). false at the end. */
bool sdk_labels_next(const char **at, const char *end, char name[VANE_NAME_MAX + 1], char value[VANE_VALUE_MAX + 1]);

#pragma GCC visibility pop
