/* libvane's health checks: run off the request path, read from anywhere.
 *
 * A thread of the library looks when checks are due and gives them to runners, at most two at a time; a runner takes what
 * is due until nothing is, then ends. It also sees when a check overruns its timeout: that runner no longer counts as one
 * of the two, and is left to itself. What a reader sees of a check (view_of) is worked out from the clock at the moment
 * of reading, so a reader is right even when all threads hang. One lock for everything; never held while a check runs. */
#include "sdk_int.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define CHECKS_MAX   128u
#define RUNNERS_MAX  2u
#define STUCK_MAX    8u
#define NAME_MAX_    100u
#define MESSAGE_MAX  256u
#define STOP_LOOK_NS 20000000u /* who waits for a check looks that often whether vane_stop() waits for him */

struct check {
    char name[NAME_MAX_ + 1];
    vane_health_fn fn; /* NULL: set by hand */
    void *ctx;
    uint64_t interval_ns, timeout_ns;
    uint32_t flags;
    vane_health state;
    char message[MESSAGE_MAX];
    uint64_t last_unix_ns, last_ns, took_ns; /* of the last result; last_ns 0: none yet */
    uint64_t due_ns, started_ns;
    bool running, stuck; /* stuck: its runner has been given up */
    bool removed;        /* no longer in the table: who ends last frees it */
    bool waited;         /* vane_health_remove() stands there: it frees it */
};

struct runner {
    pthread_t thread;
    struct check *check;
    bool stuck, done;
    bool orphan; /* the library has stopped without it: it frees itself and its check */
    bool joined; /* somebody is waiting for its thread to be gone */
    bool gone;   /* a child of fork does not have its thread */
};

static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed, ended; /* for the scheduler; for who waits for a check or a runner */
static struct check *checks[CHECKS_MAX];
static size_t n_checks;
static struct runner *runners[RUNNERS_MAX + STUCK_MAX];
static pthread_t scheduler;
static bool running, scheduler_runs, stopping, forked, has_metric;
static bool not_ready;
static char not_ready_reason[MESSAGE_MAX];

static void copy_text(char *dst, size_t cap, const char *s)
{
    dst[sdk_text(dst, cap - 1, s, SIZE_MAX)] = 0;
}

static void wait_until(pthread_cond_t *c, uint64_t ns)
{
    struct timespec t = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };
    if (ns == UINT64_MAX)
        pthread_cond_wait(c, &mu);
    else
        pthread_cond_timedwait(c, &mu, &t);
}

static void conds_init(void)
{
    pthread_condattr_t a;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &a);
    pthread_cond_init(&ended, &a);
    pthread_condattr_destroy(&a);
}

static struct check *find(const char *name)
{
    for (size_t i = 0; i < n_checks; i++)
        if (!strcmp(checks[i]->name, name))
            return checks[i];
    return NULL;
}

/* ---- running (lock held, but for the call itself) ---- */

static struct check *next_due(uint64_t now)
{
    struct check *best = NULL;
    for (size_t i = 0; i < n_checks; i++)
        if (checks[i]->fn && !checks[i]->running && checks[i]->due_ns <= now &&
            (!best || checks[i]->due_ns < best->due_ns))
            best = checks[i];
    return best;
}

static void run_one(struct runner *r, struct check *c)
{
    char message[MESSAGE_MAX] = "";
    r->check = c;
    c->running = true;
    c->stuck = false;
    c->started_ns = sdk_mono_ns();
    vane_health_fn fn = c->fn;
    void *ctx = c->ctx;
    pthread_cond_signal(&changed); /* its timeout is one more thing to look at */
    pthread_mutex_unlock(&mu);
    vane_health state = fn(ctx, message, sizeof message);
    message[sizeof message - 1] = 0;
    pthread_mutex_lock(&mu);
    uint64_t now = sdk_mono_ns();
    c->running = c->stuck = false;
    c->state = (unsigned)state <= VANE_UNHEALTHY ? state : VANE_UNHEALTHY;
    copy_text(c->message, sizeof c->message,
              (unsigned)state <= VANE_UNHEALTHY ? message : "the check answered no state");
    c->took_ns = now - c->started_ns;
    c->last_ns = now;
    c->last_unix_ns = sdk_unix_ns();
    c->due_ns = c->started_ns + c->interval_ns;
    c->due_ns = c->due_ns > now ? c->due_ns : now + c->interval_ns;
    r->check = NULL;
    if (c->removed && !c->waited)
        sdk_free(c, sizeof *c);
    pthread_cond_broadcast(&ended);
}

static void *runner_main(void *arg)
{
    struct runner *r = arg;
    pthread_mutex_lock(&mu);
    for (struct check *c; !stopping && !r->stuck && !r->orphan && (c = next_due(sdk_mono_ns())) != NULL;)
        run_one(r, c);
    r->done = true;
    if (r->orphan)
        sdk_free(r, sizeof *r);
    pthread_cond_signal(&changed);
    pthread_cond_broadcast(&ended);
    pthread_mutex_unlock(&mu);
    return NULL;
}

/* Take away runners that have ended. Lets go of the lock meanwhile: whoever waits for something next has to look at it
 * again first. A runner stays in the table until its thread is gone, so that a child of fork finds it. */
static void reap(void)
{
    for (size_t i = 0; i < SDK_COUNT_OF(runners); i++) {
        struct runner *r = runners[i];
        if (!r || !r->done || (r->joined && !r->gone))
            continue;
        if (!r->gone) {
            r->joined = true;
            pthread_mutex_unlock(&mu); /* destructors of the host may run in it */
            pthread_join(r->thread, NULL);
            pthread_mutex_lock(&mu);
        }
        runners[i] = NULL;
        sdk_free(r, sizeof *r);
    }
}

/* One more runner, when there may be one. */
static void runner_start(void)
{
    size_t active = 0, free_at = SDK_COUNT_OF(runners);
    for (size_t i = 0; i < SDK_COUNT_OF(runners); i++) {
        active += runners[i] && !runners[i]->stuck;
        if (!runners[i])
            free_at = i;
    }
    if (active >= RUNNERS_MAX || free_at == SDK_COUNT_OF(runners))
        return;
    struct runner *r = sdk_alloc(sizeof *r);
    if (!r)
        return;
    runners[free_at] = r;
    if (sdk_thread_start(&r->thread, "check", runner_main, r)) {
        runners[free_at] = NULL;
        sdk_free(r, sizeof *r);
    }
}

/* Look at the clock: who is stuck, who is due. Returns when to look again; *ret_stuck: a check that has just overrun. */
static uint64_t look(uint64_t now, char ret_stuck[NAME_MAX_ + 1])
{
    uint64_t next = UINT64_MAX;
    bool due = false;
    for (size_t i = 0; i < n_checks; i++) {
        struct check *c = checks[i];
        if (!c->fn || c->stuck)
            continue;
        uint64_t at = c->running ? c->started_ns + c->timeout_ns : c->due_ns;
        if (at > now) {
            next = at < next ? at : next;
        } else if (!c->running) {
            due = true;
        } else {
            c->stuck = true;
            memcpy(ret_stuck, c->name, sizeof c->name);
            sdk_count(SDK_CALLBACKS_SLOW, 1);
            for (size_t k = 0; k < SDK_COUNT_OF(runners); k++)
                if (runners[k] && runners[k]->check == c)
                    runners[k]->stuck = true;
            next = now; /* another may have overrun too */
        }
    }
    if (due) {
        runner_start();
        uint64_t again = now + 1000000000u; /* when there was no room or no memory */
        next = again < next ? again : next;
    }
    return next;
}

static void *scheduler_main(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&mu);
    while (!stopping) {
        char stuck[NAME_MAX_ + 1] = "";
        reap();
        if (stopping) /* meanwhile, and its broadcast has gone by */
            break;
        uint64_t next = look(sdk_mono_ns(), stuck);
        if (*stuck) {
            pthread_mutex_unlock(&mu);
            sdk_diag(VANE_E_TIMEOUT,
                     "the health check \"%s\" overruns its timeout: it reads as UNHEALTHY until it comes back", stuck);
            pthread_mutex_lock(&mu);
            continue;
        }
        wait_until(&changed, next);
    }
    pthread_mutex_unlock(&mu);
    return NULL;
}

/* The scheduler is there when a check needs it; lock held. */
static vane_status need_threads(bool by_itself)
{
    if (scheduler_runs || !running || stopping || (forked && by_itself && sdk_cfg.fork_threads != VANE_ON))
        return VANE_OK;
    bool any = false;
    for (size_t i = 0; i < n_checks; i++)
        any |= checks[i]->fn != NULL;
    if (!any)
        return VANE_OK;
    if (sdk_thread_start(&scheduler, "health", scheduler_main, NULL))
        return VANE_E_NOMEM;
    scheduler_runs = true;
    return VANE_OK;
}

/* ---- what a reader sees ---- */

struct view {
    vane_health state;
    const char *message;
    char text[80];
};

static void set_seconds(struct view *v, const char *what, uint64_t ns)
{
    size_t n = strlen(what);
    v->state = VANE_UNHEALTHY;
    memcpy(v->text, what, n);
    n += sdk_fmt_u64(v->text + n, (ns + 500000000u) / 1000000000u);
    memcpy(v->text + n, " s", 3);
    v->message = v->text;
}

static void view_of(const struct check *c, uint64_t now, struct view *ret)
{
    ret->state = c->state;
    ret->message = c->message;
    if (!c->fn)
        return;
    if (c->running && now - c->started_ns > c->timeout_ns)
        set_seconds(ret, "timed out after ", c->timeout_ns);
    else if (!c->last_ns)
        ret->state = VANE_UNHEALTHY, ret->message = "not checked yet";
    else if (now - c->last_ns > c->interval_ns + c->timeout_ns)
        set_seconds(ret, "no result for ", now - c->last_ns);
}

/* Worst state over the checks with one of the flags, and their number by state. */
static vane_health worst(uint32_t flags, uint64_t now, size_t n[3])
{
    vane_health w = VANE_HEALTHY;
    n[0] = n[1] = n[2] = 0;
    for (size_t i = 0; i < n_checks; i++) {
        const struct check *c = checks[i];
        if (!(c->flags & flags))
            continue;
        struct view v;
        view_of(c, now, &v);
        n[v.state]++;
        vane_health counts = v.state == VANE_UNHEALTHY && c->flags & VANE_HEALTH_OPTIONAL ? VANE_DEGRADED : v.state;
        w = counts > w ? counts : w;
    }
    return w;
}

static const char *state_name(vane_health s)
{
    return s == VANE_HEALTHY ? "HEALTHY" : s == VANE_DEGRADED ? "DEGRADED" : "UNHEALTHY";
}

static void put_text(struct sdk_buf *b, const char *key, const char *value)
{
    sdk_putc(b, '"');
    sdk_puts(b, key);
    SDK_PUTS(b, "\":");
    sdk_put_json_str(b, value, strlen(value));
}

static void put_check(struct sdk_buf *b, const struct check *c, uint64_t now)
{
    struct view v;
    view_of(c, now, &v);
    sdk_put_json_str(b, c->name, strlen(c->name));
    SDK_PUTS(b, ":{");
    put_text(b, "status", state_name(v.state));
    sdk_putc(b, ',');
    put_text(b, "message", v.message);
    if (c->last_ns) {
        SDK_PUTS(b, ",\"last_run\":\"");
        sdk_put_rfc3339(b, c->last_unix_ns);
        sdk_putc(b, '"');
    }
    if (c->fn) {
        SDK_PUTS(b, ",\"duration_seconds\":");
        sdk_put_f64(b, (double)(c->took_ns / 1000) / 1e6);
        SDK_PUTS(b, ",\"interval_seconds\":");
        sdk_put_f64(b, (double)(c->interval_ns / 1000000) / 1e3);
    }
    sdk_puts(b, c->flags & VANE_HEALTH_OPTIONAL ? ",\"optional\":true" : ",\"optional\":false");
    sdk_puts(b, c->flags & VANE_HEALTH_LIVENESS ? ",\"liveness\":true" : ",\"liveness\":false");
    sdk_puts(b, c->flags & VANE_HEALTH_READINESS ? ",\"readiness\":true}" : ",\"readiness\":false}");
}

static vane_health put_body(struct sdk_buf *b, vane_health_view view)
{
    uint64_t now = sdk_mono_ns();
    size_t n[3];
    uint32_t flags = view == VANE_HEALTH_LIVE    ? VANE_HEALTH_LIVENESS
                     : view == VANE_HEALTH_READY ? VANE_HEALTH_READINESS
                                                 : VANE_HEALTH_LIVENESS | VANE_HEALTH_READINESS;
    vane_health w = worst(flags, now, n);
    if (view == VANE_HEALTH_READY && not_ready)
        w = VANE_UNHEALTHY;
    sdk_putc(b, '{');
    put_text(b, "status", state_name(w));
    sdk_putc(b, ',');
    put_text(b, "service", sdk_cfg.service_name);
    if (sdk_cfg.service_version) {
        sdk_putc(b, ',');
        put_text(b, "version", sdk_cfg.service_version);
    }
    SDK_PUTS(b, ",\"timestamp\":\"");
    sdk_put_rfc3339(b, sdk_unix_ns());
    sdk_putc(b, '"');
    if (view == VANE_HEALTH_READY && not_ready) {
        sdk_putc(b, ',');
        put_text(b, "reason", not_ready_reason);
    }
    SDK_PUTS(b, ",\"healthy\":");
    sdk_put_u64(b, n[0]);
    SDK_PUTS(b, ",\"degraded\":");
    sdk_put_u64(b, n[1]);
    SDK_PUTS(b, ",\"unhealthy\":");
    sdk_put_u64(b, n[2]);
    if (view == VANE_HEALTH_DETAILED) {
        sdk_puts(b, not_ready ? ",\"ready\":false,\"checks\":{" : ",\"ready\":true,\"checks\":{");
        for (size_t i = 0; i < n_checks; i++) {
            if (i)
                sdk_putc(b, ',');
            put_check(b, checks[i], now);
        }
        sdk_putc(b, '}');
    }
    SDK_PUTS(b, "}\n");
    return w;
}

/* ---- the metric ---- */

/* A check's state goes out as the checks are read: nothing is kept beside them. */
static void observe(void *ctx, vane_observer *o)
{
    (void)ctx;
    for (size_t i = 0;; i++) {
        char name[NAME_MAX_ + 1];
        struct view v;
        pthread_mutex_lock(&mu);
        bool more = i < n_checks;
        if (more) {
            memcpy(name, checks[i]->name, sizeof name);
            view_of(checks[i], sdk_mono_ns(), &v);
        }
        pthread_mutex_unlock(&mu);
        if (!more)
            return;
        vane_observe(o, (double)v.state, VANE_LABELS(name));
    }
}

/* An instrument with a callback is made once; lock not held: a collection may be reading the checks. */
static void need_metric(void)
{
    pthread_mutex_lock(&mu);
    bool had = has_metric;
    has_metric = true;
    pthread_mutex_unlock(&mu);
    if (had)
        return;
    vane_metric_opts o = VANE_METRIC_OPTS_INIT;
    o.kind = VANE_GAUGE;
    o.name = "health_check_status";
    o.help = "State of a health check: 0 healthy, 1 degraded, 2 unhealthy.";
    o.labels = "check";
    o.series_max = CHECKS_MAX;
    o.observe = observe;
    vane_metric_new(&o, NULL);
}

/* ---- public ---- */

static bool enter(void)
{
    if (!sdk_enter())
        return false;
    pthread_mutex_lock(&mu);
    return true;
}

static void leave(void)
{
    pthread_mutex_unlock(&mu);
    sdk_leave();
}

int vane_health_render(vane_health_view view, char **ret_body, size_t *ret_n)
{
    if (ret_body)
        *ret_body = NULL;
    if (ret_n)
        *ret_n = 0;
    if (!ret_body || !ret_n || (unsigned)view > VANE_HEALTH_DETAILED || !enter())
        return 503;
    struct sdk_buf b;
    sdk_buf_init(&b, 1 << 20);
    vane_health w = VANE_UNHEALTHY;
    bool on = running;
    if (on) {
        need_threads(true);
        w = put_body(&b, view);
    }
    leave();
    if (!on || b.failed) {
        sdk_buf_free(&b);
        return 503;
    }
    sdk_count(SDK_MEMORY_BYTES, (uint64_t)0 - b.cap); /* the caller's from here */
    *ret_body = b.p;
    *ret_n = b.n;
    return w == VANE_UNHEALTHY ? 503 : 200;
}

vane_health vane_health_overall(void)
{
    size_t n[3];
    if (!enter())
        return VANE_HEALTHY;
    need_threads(true);
    vane_health w = worst(VANE_HEALTH_LIVENESS | VANE_HEALTH_READINESS, sdk_mono_ns(), n);
    leave();
    return w;
}

/* A new row; lock held. */
static vane_status check_new(const char *name, struct check **ret)
{
    if (n_checks == CHECKS_MAX)
        return VANE_E_LIMIT;
    struct check *c = sdk_alloc(sizeof *c);
    if (!c)
        return VANE_E_NOMEM;
    copy_text(c->name, sizeof c->name, name);
    c->flags = VANE_HEALTH_READINESS;
    checks[n_checks++] = c;
    *ret = c;
    return VANE_OK;
}

static bool name_ok(const char *name)
{
    return name && *name && strnlen(name, NAME_MAX_ + 1) <= NAME_MAX_ && sdk_text_valid(name, strlen(name));
}

vane_status vane_health_add(const vane_health_opts *opts)
{
    vane_health_opts o = { 0 };
    if (!opts || opts->size < offsetof(vane_health_opts, ctx) || opts->size > 4096)
        return VANE_E_ARG;
    memcpy(&o, opts, opts->size < sizeof o ? opts->size : sizeof o);
    if (!name_ok(o.name) || !o.check || (o.interval_ms && o.interval_ms < 100) ||
        o.flags & ~(VANE_HEALTH_READINESS | VANE_HEALTH_LIVENESS | VANE_HEALTH_OPTIONAL))
        return VANE_E_ARG;
    if (!enter())
        return VANE_E_STATE;
    struct check *c = NULL;
    vane_status st = !running ? VANE_E_UNAVAILABLE : find(o.name) ? VANE_E_EXISTS : check_new(o.name, &c);
    if (!st) {
        c->fn = o.check;
        c->ctx = o.ctx;
        c->interval_ns = o.interval_ms ? o.interval_ms * 1000000ull : sdk_cfg.health_interval_s * 1000000000ull;
        c->timeout_ns = o.timeout_ms ? o.timeout_ms * 1000000ull : sdk_cfg.health_timeout_s * 1000000000ull;
        c->flags = o.flags & (VANE_HEALTH_READINESS | VANE_HEALTH_LIVENESS) ? o.flags : o.flags | VANE_HEALTH_READINESS;
        st = need_threads(true);
        if (st) {
            n_checks--;
            sdk_free(c, sizeof *c);
        } else {
            pthread_cond_signal(&changed);
        }
    }
    pthread_mutex_unlock(&mu);
    if (!st)
        need_metric();
    sdk_leave();
    return st;
}

vane_status vane_health_remove(const char *name)
{
    if (!name_ok(name))
        return VANE_E_ARG;
    if (!enter())
        return VANE_E_STATE;
    vane_status st = VANE_OK;
    struct check *c = find(name);
    if (!c) {
        st = VANE_E_ARG;
    } else {
        size_t i = 0;
        while (checks[i] != c)
            i++;
        memmove(&checks[i], &checks[i + 1], (n_checks - i - 1) * sizeof checks[0]);
        n_checks--;
        c->removed = c->waited = true;
        uint64_t deadline = sdk_mono_ns() + c->timeout_ns;
        for (uint64_t now; c->running && (now = sdk_mono_ns()) < deadline && sdk_on();)
            wait_until(&ended, deadline - now < STOP_LOOK_NS ? deadline : now + STOP_LOOK_NS);
        c->waited = false;
        if (c->running) {
            st = VANE_E_TIMEOUT;
            for (size_t k = 0; k < SDK_COUNT_OF(runners); k++) /* nobody looks at its clock any more */
                if (runners[k] && runners[k]->check == c)
                    runners[k]->stuck = true;
        } else {
            sdk_free(c, sizeof *c);
        }
    }
    leave();
    return st;
}

vane_status vane_health_set(const char *name, vane_health state, const char *message)
{
    if (!name_ok(name) || (unsigned)state > VANE_UNHEALTHY)
        return VANE_E_ARG;
    if (!enter())
        return VANE_E_STATE;
    struct check *c = find(name);
    vane_status st = !running ? VANE_E_UNAVAILABLE : c ? (c->fn ? VANE_E_EXISTS : VANE_OK) : check_new(name, &c);
    if (!st) {
        c->state = state;
        copy_text(c->message, sizeof c->message, message);
        c->last_ns = sdk_mono_ns();
        c->last_unix_ns = sdk_unix_ns();
    }
    pthread_mutex_unlock(&mu);
    if (!st)
        need_metric();
    sdk_leave();
    return st;
}

void vane_health_set_ready(int ready, const char *reason)
{
    if (!enter())
        return;
    not_ready = !ready;
    copy_text(not_ready_reason, sizeof not_ready_reason, reason);
    leave();
}

/* ---- life ---- */

static vane_status health_start(void)
{
    pthread_mutex_lock(&mu); /* a check of an earlier life may still run */
    running = sdk_cfg.health == VANE_ON;
    stopping = forked = scheduler_runs = not_ready = has_metric = false;
    n_checks = 0;
    conds_init();
    atomic_store(&sdk_health_hook, running ? vane_health_render : NULL);
    pthread_mutex_unlock(&mu);
    return VANE_OK;
}

static vane_status health_threads(void)
{
    pthread_mutex_lock(&mu);
    vane_status st = need_threads(false);
    pthread_mutex_unlock(&mu);
    return st;
}

static void health_stop(void)
{
    atomic_store(&sdk_health_hook, NULL);
    pthread_mutex_lock(&mu);
    stopping = true;
    running = false;
    bool join = scheduler_runs;
    scheduler_runs = false;
    pthread_cond_broadcast(&changed);
    pthread_cond_broadcast(&ended);
    pthread_mutex_unlock(&mu);
    if (join)
        pthread_join(scheduler, NULL);
    pthread_mutex_lock(&mu);
    uint64_t deadline = sdk_mono_ns() + 1000000000u;
    for (size_t i = 0; i < SDK_COUNT_OF(runners); i++)
        while (runners[i] && !runners[i]->done && !runners[i]->gone && sdk_mono_ns() < deadline)
            wait_until(&ended, deadline);
    for (size_t i = 0; i < SDK_COUNT_OF(runners); i++) {
        struct runner *r = runners[i];
        if (!r || r->done)
            continue;
        runners[i] = NULL;
        r->orphan = true; /* its check is not freed below */
        pthread_detach(r->thread);
        sdk_count(SDK_CALLBACKS_SLOW, 1);
    }
    reap();
    for (size_t i = 0; i < n_checks; i++) {
        checks[i]->removed = true;
        if (!checks[i]->running)
            sdk_free(checks[i], sizeof *checks[i]);
    }
    n_checks = 0;
    pthread_mutex_unlock(&mu);
}

static void health_fork_prepare(void)
{
    pthread_mutex_lock(&mu);
}

static void health_fork_parent(void)
{
    pthread_mutex_unlock(&mu);
}

static void health_fork_child(void)
{
    forked = true;
    scheduler_runs = false;
    for (size_t i = 0; i < SDK_COUNT_OF(runners); i++) {
        struct runner *r = runners[i];
        if (!r)
            continue;
        if (r->check && r->check->removed) /* nobody here is in it, and nobody waits for it */
            sdk_free(r->check, sizeof *r->check);
        r->check = NULL;
        r->gone = r->done = true;
    }
    for (size_t i = 0; i < n_checks; i++) {
        checks[i]->running = checks[i]->stuck = false;
        checks[i]->due_ns = 0;
    }
    conds_init(); /* threads that are not here may have waited at them */
    pthread_mutex_unlock(&mu);
}

const struct sdk_module sdk_health_module = {
    .name = "health",
    .start = health_start,
    .threads = health_threads,
    .stop = health_stop,
    .fork_prepare = health_fork_prepare,
    .fork_parent = health_fork_parent,
    .fork_child = health_fork_child,
};
