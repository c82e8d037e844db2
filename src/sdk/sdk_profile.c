/* libvane's CPU sampler: timers of the CPU time of each thread send SIGPROF to it; the handler walks the stack into a table
 * without locks or allocation; writing out (sdk_pprof.c) happens elsewhere.
 *
 * Two tables are filled the same way: that of the profile somebody asked for (all attached threads), and that of slow-request
 * capture (threads inside a request that is sampled or over the threshold). A manager thread, which exists only while one
 * of them runs, makes timers for new threads, notices slow requests and writes captured ones out. A thread that waits gets
 * no CPU time and no signal, so that no call of the host ends with EINTR for our sake: the manager notes where in the code
 * it waits (one frame, no CPU time).
 *
 * The handler stays installed once it was: a signal that is still under way must find one, and at exec it disappears. */
#include "sdk_profile.h"

#include "sdk_mem.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <execinfo.h>
#endif

enum { CAPTURE_STACKS = 4096, TICK_MS = 50, WRITE_S = 60, KIND_PROFILE = 1, KIND_REQUEST = 2 };

/* A thread that was in a request while capture was on. */
struct sdk_prof_thread {
    struct sdk_prof_thread *next;
    pthread_mutex_t lock;
    int tid; /* 0: of no thread, to be taken again */
    unsigned depth;
    bool sampled, has_timer;
    _Atomic bool armed; /* samples are kept; the timer goes on between requests, so that short ones are met fairly */
    uint64_t start_ns;
    timer_t timer;
    char endpoint[96]; /* of the last request, and its number in this start of the library */
    uint32_t endpoint_number, endpoint_run;
    struct sdk_prof_label label; /* written by its thread while no timer runs, read by the handler and the manager */
    _Atomic unsigned taken;      /* samples of this request */
};

static _Atomic(struct sdk_prof_table *) profile_table, capture_table;
static _Atomic int in_handler;
static _Atomic uint32_t sample_hz = 100;
static bool use_unwinder;

/* Everything below: guarded by mu. Order: mu > a thread's lock. */
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct sdk_prof_thread *threads;
static struct {
    int tid;
    timer_t timer;
} timers[SDK_SHARDS_MAX];
static uint64_t profile_start_ns, capture_start_ns, capture_written_ns;
static bool manager_runs, profiling;
static _Atomic bool manager_stop;
static pthread_t manager;
static struct sdk_event wake;
static char endpoints[256][96];
static unsigned n_endpoints;
static unsigned file_number;

/* ---- the handler ---- */

static unsigned walk_frames(const ucontext_t *u, uintptr_t *pc, unsigned max)
{
    unsigned n = 0;
#if defined(__x86_64__)
    uintptr_t at = (uintptr_t)u->uc_mcontext.gregs[REG_RBP], sp = (uintptr_t)u->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
    uintptr_t at = (uintptr_t)u->uc_mcontext.regs[29], sp = (uintptr_t)u->uc_mcontext.sp;
#else
    uintptr_t at = 0, sp = 0;
#endif
    while (n < max && at >= sp && at % sizeof at == 0) {
        /* Read by the kernel: a register that is no frame pointer after all costs an error, not a fault. */
        uintptr_t frame[2];
        struct iovec to = { frame, sizeof frame }, from = { (void *)at, sizeof frame };
        if (syscall(SYS_process_vm_readv, getpid(), &to, 1, &from, 1, 0) != (long)sizeof frame || frame[1] < 4096)
            break;
        pc[n++] = frame[1];
        if (frame[0] <= at)
            break;
        sp = at;
        at = frame[0];
    }
    return n;
}

static unsigned take_stack(const ucontext_t *u, uintptr_t pc[SDK_PROF_FRAMES])
{
#if defined(__x86_64__)
    pc[0] = (uintptr_t)u->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
    pc[0] = (uintptr_t)u->uc_mcontext.pc;
#else
    pc[0] = 0;
#endif
#ifdef __GLIBC__
    if (use_unwinder) {
        void *raw[SDK_PROF_FRAMES + 8];
        int n = backtrace(raw, SDK_PROF_FRAMES + 8);
        for (int i = 0; i < n; i++)
            if ((uintptr_t)raw[i] == pc[0]) {
                unsigned k = 0;
                for (; i < n && k < SDK_PROF_FRAMES; i++)
                    pc[k++] = (uintptr_t)raw[i];
                return k;
            }
        return 1;
    }
#endif
    return 1 + walk_frames(u, pc + 1, SDK_PROF_FRAMES - 1);
}

static uint64_t stack_hash(const struct sdk_prof_label *label, const uintptr_t *pc, unsigned n)
{
    uint64_t h = (uint64_t)(unsigned)label->tid * 0x9E3779B97F4A7C15u ^ label->profile_id ^ label->endpoint;
    uint64_t span;
    memcpy(&span, label->span_id, 8);
    h = (h ^ span) * 0xD6E8FEB86659FD93u;
    for (unsigned i = 0; i < n; i++)
        h = (h ^ pc[i] ^ h >> 29) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 32;
}

static bool same_label(const struct sdk_prof_label *a, const struct sdk_prof_label *b)
{
    return a->tid == b->tid && a->endpoint == b->endpoint && a->profile_id == b->profile_id &&
           a->waiting == b->waiting && !memcmp(a->trace_id, b->trace_id, 16) && !memcmp(a->span_id, b->span_id, 8);
}

/* Signals: safe. Two threads that add the same new stack at once may make two entries: readers do not mind. */
static void table_add(struct sdk_prof_table *t, const struct sdk_prof_label *label, const uintptr_t *pc, unsigned n,
                      uint64_t weight)
{
    uint64_t h = stack_hash(label, pc, n);
    for (unsigned k = 0; k < 64; k++) {
        struct sdk_prof_stack *s = &t->stacks[(h + k) & (t->n - 1)];
        uint32_t state = atomic_load_explicit(&s->state, memory_order_acquire);
        if (state == SDK_PROF_FREE && atomic_compare_exchange_strong(&s->state, &state, SDK_PROF_FILLING)) {
            s->label = *label;
            s->hash = h;
            s->n = n;
            memcpy(s->pc, pc, n * sizeof *pc);
            atomic_store_explicit(&s->count, weight, memory_order_relaxed);
            atomic_store_explicit(&s->state, SDK_PROF_FULL, memory_order_release);
            sdk_count(SDK_PROFILE_SAMPLES, 1);
            return;
        }
        if (state == SDK_PROF_FULL && s->hash == h && s->n == n && same_label(&s->label, label) &&
            !memcmp(s->pc, pc, n * sizeof *pc)) {
            atomic_fetch_add_explicit(&s->count, weight, memory_order_relaxed);
            sdk_count(SDK_PROFILE_SAMPLES, 1);
            return;
        }
    }
    sdk_count(SDK_PROFILE_DROPPED, 1);
}

static void on_sigprof(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    int saved = errno;
    atomic_fetch_add(&in_handler, 1);
    bool request = info->si_code == SI_TIMER && info->si_value.sival_int == KIND_REQUEST;
    bool profile = info->si_code == SI_TIMER && info->si_value.sival_int == KIND_PROFILE;
    struct sdk_prof_table *t = request ? atomic_load(&capture_table) : profile ? atomic_load(&profile_table) : NULL;
    struct sdk_prof_thread *me = sdk_tls.prof;
    if (t && (profile || (me && me->armed))) {
        struct sdk_prof_label label;
        memset(&label, 0, sizeof label);
        if (request) {
            label = me->label;
            atomic_fetch_add_explicit(&me->taken, 1, memory_order_relaxed);
        } else {
            label.tid = (int)syscall(SYS_gettid);
            memcpy(label.trace_id, sdk_tls.context.trace_id, 16);
            memcpy(label.span_id, sdk_tls.context.span_id, 8);
        }
        uintptr_t pc[SDK_PROF_FRAMES];
        unsigned n = take_stack(context, pc);
        /* A tick of the kernel may be longer than the period: what ran out meanwhile is in the overrun. */
        table_add(t, &label, pc, n, 1u + (unsigned)(info->si_overrun > 0 ? info->si_overrun : 0));
    }
    atomic_fetch_sub(&in_handler, 1);
    errno = saved;
}

static vane_status take_signal(void)
{
    struct sigaction old, now;
    if (sigaction(SIGPROF, NULL, &old))
        return VANE_E_UNAVAILABLE;
    if (old.sa_flags & SA_SIGINFO && old.sa_sigaction == on_sigprof)
        return VANE_OK;
    if (old.sa_flags & SA_SIGINFO || (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN)) {
        sdk_diag(VANE_E_EXISTS, "profiler: the program has a handler for SIGPROF; only one of the two can use it");
        return VANE_E_EXISTS;
    }
#ifdef __GLIBC__
    /* The unwinder is loaded here, not in the handler. It is safe in handlers where it finds objects without a lock. */
    void *first[4];
    use_unwinder = backtrace(first, 4) > 0 && dlsym(RTLD_DEFAULT, "_dl_find_object");
#endif
    memset(&now, 0, sizeof now);
    now.sa_sigaction = on_sigprof;
    now.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    sigfillset(&now.sa_mask);
    return sigaction(SIGPROF, &now, NULL) ? VANE_E_UNAVAILABLE : VANE_OK;
}

/* ---- timers ---- */

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* A timer of a thread's CPU time. The clock's number is the kernel's: ~tid and "per thread, scheduler time". */
static bool timer_make(int tid, int kind, timer_t *ret)
{
    struct sigevent e;
    memset(&e, 0, sizeof e);
    e.sigev_notify = SIGEV_THREAD_ID, e.sigev_signo = SIGPROF;
    e.sigev_value.sival_int = kind;
    e.sigev_notify_thread_id = tid;
    return timer_create((clockid_t)(~(unsigned)tid << 3 | 6), &e, ret) == 0;
}

/* The first tick is anywhere in a period, so that threads that live shortly are met fairly. */
static void timer_run(timer_t t)
{
    long period = 1000000000 / (long)atomic_load_explicit(&sample_hz, memory_order_relaxed);
    long first = 1 + (long)(sdk_random() % (uint64_t)period);
    struct itimerspec s = { { period / 1000000000, period % 1000000000 }, { first / 1000000000, first % 1000000000 } };
    timer_settime(t, 0, &s, NULL);
}

/* A timer for each attached thread that has none. mu held. */
static void profile_threads(void)
{
    uint32_t used = atomic_load(&sdk_shards_used);
    for (uint32_t i = 1; sdk_shards && i < used && i < SDK_SHARDS_MAX; i++) {
        int tid = atomic_load(&sdk_shards[i].tid);
        if (tid == timers[i].tid)
            continue;
        if (timers[i].tid)
            timer_delete(timers[i].timer);
        timers[i].tid = 0;
        if (tid > 0 && timer_make(tid, KIND_PROFILE, &timers[i].timer)) {
            timers[i].tid = tid;
            timer_run(timers[i].timer);
        }
    }
}

/* Nobody writes to a table that was taken from its pointer once this is true. */
static bool handlers_gone(void)
{
    for (unsigned i = 0; i < 1000; i++) {
        if (!atomic_load(&in_handler))
            return true;
        struct timespec ms = { 0, 1000000 };
        nanosleep(&ms, NULL);
    }
    return false;
}

/* ---- tables ---- */

static struct sdk_prof_table *table_new(uint32_t n)
{
    struct sdk_prof_table *t = sdk_alloc(sizeof *t + n * sizeof *t->stacks);
    if (t)
        t->n = n;
    return t;
}

static void table_free(struct sdk_prof_table *t)
{
    if (t)
        sdk_free(t, sizeof *t + t->n * sizeof *t->stacks);
}

static bool table_empty(const struct sdk_prof_table *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        if (atomic_load_explicit(&t->stacks[i].state, memory_order_relaxed) == SDK_PROF_FULL)
            return false;
    return true;
}

static vane_status table_render(struct sdk_prof_table *t, uint64_t since_ns, char **ret, size_t *ret_n)
{
    uint64_t now = sdk_mono_ns();
    return sdk_pprof(t, endpoints, n_endpoints, sdk_unix_ns() - (now - since_ns), now - since_ns,
                     1000000000u / atomic_load(&sample_hz), ret, ret_n);
}

/* ---- slow requests ---- */

/* Number of an endpoint's text plus one; 0 when there are too many. mu held. */
static uint32_t endpoint_number(const char *s)
{
    unsigned i = 0;
    while (i < n_endpoints && strcmp(endpoints[i], s))
        i++;
    if (i == SDK_COUNT_OF(endpoints))
        return 0;
    if (i == n_endpoints) {
        memcpy(endpoints[i], s, strlen(s) + 1);
        n_endpoints++;
    }
    return i + 1;
}

/* Both locks held. */
static void arm(struct sdk_prof_thread *p)
{
    if (p->armed)
        return;
    if (!p->has_timer) {
        p->has_timer = timer_make(p->tid, KIND_REQUEST, &p->timer);
        if (!p->has_timer)
            return;
        timer_run(p->timer);
    }
    p->armed = true;
}

void vane_profile_request_begin(const char *endpoint)
{
    if (!sdk_on() || !atomic_load_explicit(&capture_table, memory_order_relaxed))
        return;
    struct sdk_prof_thread *p = sdk_tls.prof;
    if (!p) {
        sdk_thread_hook();
        pthread_mutex_lock(&mu);
        for (p = threads; p && p->tid; p = p->next)
            ;
        if (!p && (p = sdk_alloc(sizeof *p)) != NULL) {
            pthread_mutex_init(&p->lock, NULL);
            p->next = threads;
            threads = p;
        }
        if (p)
            p->tid = (int)syscall(SYS_gettid);
        pthread_mutex_unlock(&mu);
        if (!p)
            return;
        sdk_tls.prof = p;
    }
    uint32_t run = atomic_load_explicit(&sdk_run, memory_order_relaxed);
    if (!p->depth &&
        (p->endpoint_run != run || strncmp(endpoint ? endpoint : "", p->endpoint, sizeof p->endpoint - 1))) {
        pthread_mutex_lock(&mu);
        p->endpoint[sdk_text(p->endpoint, sizeof p->endpoint - 1, endpoint, SIZE_MAX)] = 0;
        p->endpoint_number = endpoint_number(p->endpoint);
        p->endpoint_run = run;
        pthread_mutex_unlock(&mu);
    }
    pthread_mutex_lock(&p->lock);
    bool first = p->depth++ == 0;
    if (first) {
        p->start_ns = sdk_mono_ns();
        p->sampled = (double)(sdk_random() >> 11) * 0x1p-53 < sdk_cfg.profile_sample_rate;
        memset(&p->label, 0, sizeof p->label);
        p->label.tid = p->tid;
        p->label.endpoint = p->endpoint_number;
        p->label.profile_id = sdk_random() | 1;
        memcpy(p->label.trace_id, sdk_tls.context.trace_id, 16);
        memcpy(p->label.span_id, sdk_tls.context.span_id, 8);
        atomic_store(&p->taken, 0);
    }
    bool sampled = first && p->sampled;
    pthread_mutex_unlock(&p->lock);
    if (sampled) {
        pthread_mutex_lock(&mu);
        pthread_mutex_lock(&p->lock);
        arm(p);
        pthread_mutex_unlock(&p->lock);
        pthread_mutex_unlock(&mu);
    }
}

void vane_profile_request_end(void)
{
    struct sdk_prof_thread *p = sdk_tls.prof;
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    bool last = p->depth == 1;
    p->depth -= p->depth > 0;
    uint64_t id = 0;
    if (last && p->armed) {
        p->armed = false;
        id = atomic_load(&p->taken) ? p->label.profile_id : 0;
    }
    pthread_mutex_unlock(&p->lock);
    if (id && sdk_tls.span) {
        char text[20];
        snprintf(text, sizeof text, "%016llx", (unsigned long long)id);
        vane_span_set(sdk_tls.span, vane_str("profile.id", text));
    }
}

static void thread_gone(void)
{
    struct sdk_prof_thread *p = sdk_tls.prof;
    sdk_tls.prof = NULL;
    if (!p)
        return;
    pthread_mutex_lock(&mu);
    pthread_mutex_lock(&p->lock);
    if (p->has_timer)
        timer_delete(p->timer);
    p->has_timer = false;
    p->armed = false;
    p->depth = 0;
    p->tid = 0;
    pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&mu);
}

/* Where a waiting thread waits: the kernel tells the address, for "running" it tells none. */
static uintptr_t waiting_at(int tid)
{
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0 || text[0] == 'r')
        return 0;
    text[n] = 0;
    const char *last = strrchr(text, ' ');
    return last ? (uintptr_t)strtoull(last, NULL, 16) : 0;
}

/* mu held. */
static void watch_requests(void)
{
    struct sdk_prof_table *t = atomic_load(&capture_table);
    uint64_t now = sdk_mono_ns(), slow = (uint64_t)(sdk_cfg.profile_slow_s * 1e9);
    for (struct sdk_prof_thread *p = threads; t && p; p = p->next) {
        pthread_mutex_lock(&p->lock);
        if (p->tid && p->depth && now - p->start_ns >= slow)
            arm(p);
        if (p->armed) {
            uintptr_t pc = waiting_at(p->tid);
            struct sdk_prof_label label = p->label;
            label.waiting = true;
            if (pc) {
                table_add(t, &label, &pc, 1, 1);
                atomic_fetch_add(&p->taken, 1);
            }
        }
        pthread_mutex_unlock(&p->lock);
    }
}

/* Write captured stacks and begin anew. mu held. */
static vane_status write_captured(void)
{
    struct sdk_prof_table *t = atomic_load(&capture_table);
    if (!t || !sdk_cfg.profile_dir || !sdk_cfg.profile_dir[0])
        return VANE_E_STATE;
    capture_written_ns = sdk_mono_ns();
    if (table_empty(t))
        return VANE_OK;
    struct sdk_prof_table *fresh = table_new(CAPTURE_STACKS);
    if (!fresh)
        return VANE_E_NOMEM;
    atomic_store(&capture_table, fresh);
    if (!handlers_gone()) { /* the old one stays allocated: a handler may still write to it */
        sdk_count(SDK_PROFILE_DROPPED, 1);
        return VANE_E_TIMEOUT;
    }
    char *body = NULL, path[1024];
    size_t n = 0;
    vane_status st = table_render(t, capture_start_ns, &body, &n);
    capture_start_ns = sdk_mono_ns();
    table_free(t);
    if (st)
        return st;
    int len = snprintf(path, sizeof path, "%s/requests-%d-%llu-%u.pb.gz", sdk_cfg.profile_dir, (int)getpid(),
                       (unsigned long long)(sdk_unix_ns() / 1000000000u), ++file_number);
    st = len > 0 && (size_t)len < sizeof path ? sdk_pprof_write(path, body, n) : VANE_E_LIMIT;
    vane_render_free(body);
    return st;
}

vane_status vane_profile_flush(void)
{
    if (!sdk_on())
        return VANE_E_STATE;
    pthread_mutex_lock(&mu);
    vane_status st = write_captured();
    pthread_mutex_unlock(&mu);
    if (st > VANE_E_STATE)
        sdk_diag(st, "profiler: captured requests cannot be written to %s: %s", sdk_cfg.profile_dir,
                 vane_status_text(st));
    return st;
}

/* ---- the manager ---- */

static void *manage(void *unused)
{
    (void)unused;
    while (!atomic_load(&manager_stop)) {
        sdk_event_wait(&wake, sdk_mono_ns() + TICK_MS * 1000000u);
        vane_status st = VANE_OK;
        pthread_mutex_lock(&mu);
        if (atomic_load(&profile_table))
            profile_threads();
        watch_requests();
        if (atomic_load(&capture_table) && sdk_mono_ns() - capture_written_ns >= WRITE_S * 1000000000u)
            st = write_captured();
        pthread_mutex_unlock(&mu);
        if (st > VANE_E_STATE)
            sdk_diag(st, "profiler: captured requests cannot be written to %s: %s", sdk_cfg.profile_dir,
                     vane_status_text(st));
    }
    return NULL;
}

/* mu held. */
static vane_status manager_start(void)
{
    if (manager_runs)
        return VANE_OK;
    sdk_event_init(&wake);
    atomic_store(&manager_stop, false);
    if (sdk_thread_start(&manager, "profile", manage, NULL))
        return VANE_E_NOMEM;
    manager_runs = true;
    return VANE_OK;
}

/* ---- a profile somebody asked for ---- */

vane_status vane_profile_start(const vane_profile_opts *opts)
{
    vane_profile_opts o;
    memset(&o, 0, sizeof o);
    if (opts && opts->size < sizeof(size_t))
        return VANE_E_ARG;
    if (opts)
        memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    if (o.hz > 250 || o.stacks_max > 1u << 20)
        return VANE_E_ARG;
    if (!sdk_on())
        return VANE_E_STATE;
    vane_thread_attach();
    pthread_mutex_lock(&mu);
    vane_status st = profiling ? VANE_E_STATE : take_signal();
    uint32_t n = 64;
    while (n < (o.stacks_max ? o.stacks_max : 16384))
        n *= 2;
    struct sdk_prof_table *t = st ? NULL : table_new(n);
    if (!st && !t)
        st = VANE_E_NOMEM;
    if (!st)
        st = manager_start();
    if (!st) {
        atomic_store(&sample_hz, o.hz ? o.hz : 100);
        profile_start_ns = sdk_mono_ns();
        profiling = true;
        atomic_store(&profile_table, t);
        profile_threads();
    } else {
        table_free(t);
    }
    pthread_mutex_unlock(&mu);
    return st;
}

/* mu held. The table, which no handler writes to any more; NULL when one still may. */
static struct sdk_prof_table *profile_take(void)
{
    struct sdk_prof_table *t = atomic_exchange(&profile_table, NULL);
    profiling = false;
    for (unsigned i = 0; i < SDK_COUNT_OF(timers); i++) {
        if (timers[i].tid)
            timer_delete(timers[i].timer);
        timers[i].tid = 0;
    }
    return handlers_gone() ? t : NULL;
}

vane_status vane_profile_stop(char **ret, size_t *ret_n)
{
    if (!ret || !ret_n)
        return VANE_E_ARG;
    pthread_mutex_lock(&mu);
    if (!profiling) {
        pthread_mutex_unlock(&mu);
        return VANE_E_STATE;
    }
    struct sdk_prof_table *t = profile_take();
    vane_status st = t ? table_render(t, profile_start_ns, ret, ret_n) : VANE_E_TIMEOUT;
    table_free(t);
    atomic_store(&sample_hz, 100);
    pthread_mutex_unlock(&mu);
    return st;
}

vane_status vane_profile_stop_to_file(const char *path)
{
    if (!path || !path[0])
        return VANE_E_ARG;
    char *body = NULL;
    size_t n = 0;
    vane_status st = vane_profile_stop(&body, &n);
    if (!st) {
        st = sdk_pprof_write(path, body, n);
        vane_render_free(body);
    }
    return st;
}

vane_status vane_profile_stop_to_url(const char *url)
{
    if (!url || !url[0])
        return VANE_E_ARG;
    char *body = NULL;
    size_t n = 0;
    vane_status st = vane_profile_stop(&body, &n);
    if (!st) {
        st = sdk_pprof_post(url, body, n);
        vane_render_free(body);
    }
    return st;
}

/* ---- life ---- */

static vane_status profile_start(void)
{
    if (sdk_cfg.profiling != VANE_ON)
        return VANE_OK;
    if (!sdk_cfg.profile_dir || !sdk_cfg.profile_dir[0]) {
        sdk_diag(VANE_E_ARG, "profiler: slow requests are not captured: set profile_dir (VANE_PROFILE_DIR)");
        return VANE_OK;
    }
    pthread_mutex_lock(&mu);
    vane_status st = take_signal();
    struct sdk_prof_table *t = st ? NULL : table_new(CAPTURE_STACKS);
    capture_start_ns = capture_written_ns = sdk_mono_ns();
    atomic_store(&capture_table, t);
    pthread_mutex_unlock(&mu);
    return st == VANE_E_EXISTS || t ? VANE_OK : st ? st : VANE_E_NOMEM;
}

static vane_status profile_manager(void)
{
    pthread_mutex_lock(&mu);
    vane_status st = atomic_load(&capture_table) ? manager_start() : VANE_OK;
    pthread_mutex_unlock(&mu);
    return st;
}

static void profile_stop(void)
{
    atomic_store(&manager_stop, true);
    pthread_mutex_lock(&mu);
    bool join = manager_runs;
    manager_runs = false;
    pthread_mutex_unlock(&mu);
    if (join) {
        sdk_event_set(&wake);
        pthread_join(manager, NULL);
    }
    pthread_mutex_lock(&mu);
    if (profiling)
        table_free(profile_take());
    for (struct sdk_prof_thread *p = threads; p; p = p->next) {
        pthread_mutex_lock(&p->lock);
        if (p->has_timer)
            timer_delete(p->timer);
        p->has_timer = false;
        p->armed = false;
        p->depth = 0;
        pthread_mutex_unlock(&p->lock);
    }
    write_captured();
    struct sdk_prof_table *t = atomic_exchange(&capture_table, NULL);
    if (handlers_gone())
        table_free(t);
    n_endpoints = 0;
    pthread_mutex_unlock(&mu);
}

static void profile_fork_prepare(void)
{
    pthread_mutex_lock(&mu);
    for (struct sdk_prof_thread *p = threads; p; p = p->next)
        pthread_mutex_lock(&p->lock);
}

static void profile_fork_parent(void)
{
    for (struct sdk_prof_thread *p = threads; p; p = p->next)
        pthread_mutex_unlock(&p->lock);
    pthread_mutex_unlock(&mu);
}

/* Timers and the manager are the parent's; so is the profile. Capture goes on with an empty table. */
static void profile_fork_child(void)
{
    pthread_mutex_init(&mu, NULL);
    for (struct sdk_prof_thread *p = threads; p; p = p->next) {
        pthread_mutex_init(&p->lock, NULL);
        p->has_timer = false;
        p->armed = false;
        if (p != sdk_tls.prof)
            p->tid = 0, p->depth = 0;
        else
            p->label.tid = p->tid = (int)syscall(SYS_gettid);
    }
    memset(timers, 0, sizeof timers);
    struct sdk_prof_table *t = atomic_load(&capture_table);
    if (t)
        memset(t->stacks, 0, t->n * sizeof *t->stacks);
    atomic_store(&profile_table, NULL);
    atomic_store(&in_handler, 0);
    manager_runs = profiling = false;
}

const struct sdk_module sdk_profile_module = {
    .name = "profile",
    .start = profile_start,
    .threads = profile_manager,
    .stop = profile_stop,
    .fork_prepare = profile_fork_prepare,
    .fork_parent = profile_fork_parent,
    .fork_child = profile_fork_child,
    .thread_exit = thread_gone,
};
