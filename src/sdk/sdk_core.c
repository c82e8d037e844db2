/* libvane's life: start, flush, stop, fork; the table of modules; the hook for ending threads; the account of itself.
 *
 * States: OFF -> STARTING -> ON -> STOPPING -> OFF. Only the one who moved OFF to STARTING (or ON to STOPPING) works on
 * the modules, so nothing here needs a lock. sdk_run is non-zero exactly while the state is ON and the library is not
 * disabled: the one word every other call looks at. */
#include "sdk_conf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

/* In the order of starting: lower ones are used by those behind. */
#pragma GCC visibility push(hidden)
extern const struct sdk_module sdk_mem_module, sdk_metric_module, sdk_collect_module, sdk_propagate_module,
    sdk_sample_module, sdk_trace_module, sdk_log_module, sdk_health_module, sdk_profile_module, sdk_push_module,
    sdk_listen_module;
#pragma GCC visibility pop
static const struct sdk_module *const modules[] = {
    &sdk_mem_module,
    &sdk_metric_module,
    &sdk_collect_module,
    &sdk_propagate_module,
    &sdk_sample_module,
    &sdk_trace_module,
    &sdk_log_module,
    &sdk_health_module,
    &sdk_profile_module,
    &sdk_push_module,
    &sdk_listen_module, /* last: it serves what the others have */
    NULL,
};

#define EACH_MODULE(m) for (const struct sdk_module *const *at_ = modules, *m; (m = *at_) != NULL; at_++)

enum state { OFF, STARTING, ON, STOPPING };
static _Atomic int state;
static _Atomic uint32_t starts;
_Atomic uint32_t sdk_run;
_Atomic uint32_t sdk_forks;
_Atomic uint64_t sdk_counters[SDK_COUNTERS_N];
static size_t n_started;

/* Slab pointers of a thread without a shard: all NULL, so that its adds take the slow branch. */
sdk_seg sdk_no_segs[SDK_SEGS_MAX];
__thread struct sdk_tls sdk_tls __attribute__((tls_model("initial-exec"))) = { .segs = sdk_no_segs };

/* Where a call of an inline function was not worth inlining. */
extern inline bool sdk_on(void);
extern inline void sdk_count(enum sdk_counter c, uint64_t n);
extern inline bool sdk_buf_room(struct sdk_buf *b, size_t n);
extern inline void sdk_put(struct sdk_buf *b, const char *p, size_t n);
extern inline void sdk_putc(struct sdk_buf *b, char c);

/* ---- texts ---- */

const char *vane_status_text(vane_status status)
{
    static const char *const texts[] = {
        "ok",
        "an argument is missing or malformed",
        "not started, already started, or stopping",
        "out of memory",
        "a limit is reached",
        "the name is taken by something different",
        "the handle is zero, freed or of an earlier start",
        "input or output failed",
        "timed out",
        "not available in this build or system",
    };
    return (unsigned)status < SDK_COUNT_OF(texts) ? texts[status] : "unknown status";
}

#define TEXT2(x) #x
#define TEXT(x)  TEXT2(x)

const char *vane_version(void)
{
    return TEXT(VANE_VERSION_MAJOR) "." TEXT(VANE_VERSION_MINOR) "." TEXT(VANE_VERSION_PATCH);
}

/* ---- diagnostics ---- */

void sdk_diag(vane_status status, const char *format, ...)
{
    static _Atomic uint64_t second;
    static _Atomic uint32_t told;
    vane_diag_fn fn = sdk_cfg.diag;
    if (!fn)
        return;
    int saved = errno;
    uint64_t now = sdk_mono_ns() / 1000000000u;
    if (atomic_exchange_explicit(&second, now, memory_order_relaxed) != now)
        atomic_store_explicit(&told, 0, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&told, 1, memory_order_relaxed) < 10) {
        char text[512];
        va_list ap;
        va_start(ap, format);
        vsnprintf(text, sizeof text, format, ap);
        va_end(ap);
        fn(sdk_cfg.diag_ctx, status, text);
    }
    errno = saved;
}

uint64_t sdk_counter(enum sdk_counter c)
{
    return atomic_load_explicit(&sdk_counters[c], memory_order_relaxed) +
           (c == SDK_SPANS_STARTED ? sdk_spans_started() : 0);
}

vane_status vane_self(vane_self_stats *ret)
{
    if (!ret || ret->size < 2 * sizeof(uint64_t) || ret->size > 65536)
        return VANE_E_ARG;
    size_t size = ret->size, n = size / sizeof(uint64_t) - 1;
    memset((char *)ret + sizeof ret->size, 0, size - sizeof ret->size);
    uint64_t *out = (uint64_t *)(void *)((char *)ret + offsetof(vane_self_stats, stale_handles));
    for (size_t i = 0; i < n && i < SDK_COUNTERS_N; i++)
        out[i] = sdk_counter((enum sdk_counter)i);
    return VANE_OK;
}
_Static_assert(sizeof(vane_self_stats) == sizeof(size_t) + SDK_COUNTERS_N * sizeof(uint64_t),
               "enum sdk_counter has a row for each field of vane_self_stats");

/* ---- threads of the host ---- */

static pthread_key_t exit_key;
static bool exit_key_made;

static void thread_ends(void *unused)
{
    (void)unused;
    sdk_tls.attached = false;
    EACH_MODULE(m)
    if (m->thread_exit)
        m->thread_exit();
}

void sdk_thread_hook(void)
{
    if (!sdk_tls.attached && exit_key_made)
        sdk_tls.attached = pthread_setspecific(exit_key, &sdk_tls) == 0;
}

/* glibc keeps the first 32 keys in the thread itself; a later one would allocate. A thread without the hook is found by
 * its tid when its shard is wanted. */
void sdk_thread_hook_in_signal(void)
{
    if (exit_key < 32)
        sdk_thread_hook();
}

/* ---- calls under way ---- */

static _Atomic uint32_t inside; /* in all threads */

bool sdk_enter(void)
{
    if (!sdk_on())
        return false;
    atomic_fetch_add(&inside,
                     1); /* sequentially consistent with sdk_run, as in calls_end(): one of the two sees the other */
    if (atomic_load(&sdk_run)) {
        sdk_tls.inside++;
        return true;
    }
    atomic_fetch_sub(&inside, 1);
    return false;
}

void sdk_leave(void)
{
    sdk_tls.inside--;
    atomic_fetch_sub(&inside, 1);
}

/* Wait until only this thread's own calls are inside. sdk_run is 0. */
static bool calls_end(uint64_t deadline_ns)
{
    while (atomic_load(&inside) > sdk_tls.inside) {
        if (sdk_mono_ns() > deadline_ns)
            return false;
        const struct timespec t = { 0, 200000 };
        nanosleep(&t, NULL);
    }
    return true;
}

/* ---- fork ---- */

static void fork_prepare(void)
{
    EACH_MODULE(m)
    if (m->fork_prepare)
        m->fork_prepare();
}

static void fork_parent(void)
{
    EACH_MODULE(m)
    if (m->fork_parent)
        m->fork_parent();
}

static void fork_child(void)
{
    atomic_fetch_add_explicit(&sdk_forks, 1, memory_order_relaxed);
    atomic_store(&inside, sdk_tls.inside); /* the other threads are not here */
    sdk_thread_fork_child();
    sdk_tick_fork_child();
    uint64_t keep_series = atomic_load(&sdk_counters[SDK_SERIES]),
             keep_bytes = atomic_load(&sdk_counters[SDK_MEMORY_BYTES]);
    for (size_t i = 0; i < SDK_COUNTERS_N; i++)
        atomic_store_explicit(&sdk_counters[i], 0, memory_order_relaxed);
    atomic_store(&sdk_counters[SDK_SERIES], keep_series);
    atomic_store(&sdk_counters[SDK_MEMORY_BYTES], keep_bytes);
    if (atomic_load_explicit(&state, memory_order_relaxed) != OFF)
        sdk_conf_fork_child();
    EACH_MODULE(m)
    if (m->fork_child)
        m->fork_child();
}

static void process_once(void)
{
    exit_key_made = pthread_key_create(&exit_key, thread_ends) == 0;
    pthread_atfork(fork_prepare, fork_parent, fork_child);
}

vane_status vane_fork_resume(void)
{
    if (!sdk_on())
        return VANE_E_STATE;
    vane_status st = VANE_OK;
    EACH_MODULE(m)
    if (m->threads && !st)
        st = m->threads();
    return st;
}

/* ---- start and stop ---- */

static void stop_modules(void)
{
    while (n_started > 0) {
        const struct sdk_module *m = modules[--n_started];
        if (m->stop)
            m->stop();
    }
}

static vane_status start_modules(void)
{
    vane_status st = VANE_OK;
    for (n_started = 0; !st && modules[n_started]; n_started++) {
        const struct sdk_module *m = modules[n_started];
        st = m->start ? m->start() : VANE_OK;
        if (st)
            break;
    }
    EACH_MODULE(m)
    if (!st && m->threads)
        st = m->threads();
    return st;
}

vane_status vane_start(const vane_config *cfg)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    int off = OFF;
    if (!atomic_compare_exchange_strong(&state, &off, STARTING))
        return VANE_E_STATE;
    pthread_once(&once, process_once);
    if (!calls_end(sdk_mono_ns() + 1000000000u)) { /* a call of an earlier life that vane_stop() could not wait for */
        atomic_store(&state, OFF);
        return VANE_E_STATE;
    }
    for (size_t i = 0; i < SDK_COUNTERS_N; i++)
        if (i != SDK_MEMORY_BYTES)
            atomic_store_explicit(&sdk_counters[i], 0, memory_order_relaxed);
    sdk_tick_start();
    vane_status st = sdk_conf_load(cfg);
    bool disabled = !st && sdk_cfg.disabled == VANE_ON;
    if (!st && !disabled) {
        st = start_modules();
        if (st)
            stop_modules();
    }
    if (st) {
        atomic_store(&state, OFF);
        return st;
    }
    if (!disabled) {
        uint32_t run = atomic_fetch_add(&starts, 1) + 1;
        atomic_store(&sdk_run, run ? run : 1);
    }
    atomic_store(&state, ON);
    return VANE_OK;
}

static bool flush_modules(uint32_t timeout_ms)
{
    uint64_t deadline = sdk_mono_ns() + (uint64_t)timeout_ms * 1000000u;
    bool all = true;
    EACH_MODULE(m)
    if (m->flush)
        all &= m->flush(deadline);
    return all;
}

vane_status vane_flush(uint32_t timeout_ms)
{
    if (!sdk_enter())
        return VANE_E_STATE;
    bool all = flush_modules(timeout_ms);
    sdk_leave();
    return all || timeout_ms == 0 ? VANE_OK : VANE_E_TIMEOUT;
}

vane_status vane_stop(uint32_t timeout_ms)
{
    int on = ON;
    if (!atomic_compare_exchange_strong(&state, &on, STOPPING))
        return VANE_E_STATE;
    bool all = !sdk_on() || flush_modules(timeout_ms);
    atomic_store(&sdk_run, 0);
    all &= calls_end(sdk_mono_ns() + 1000000000u);
    stop_modules();
    atomic_store(&state, OFF);
    return all ? VANE_OK : VANE_E_TIMEOUT;
}

int vane_running(void)
{
    return sdk_on();
}
