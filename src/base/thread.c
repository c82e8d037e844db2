/* Mutexes with rank and owner checks, conditions, threads and the worker pool; see thread.h. */
#include "base/thread.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "base/check.h"
#include "base/mem.h"

#ifndef NDEBUG
enum { RANKS_HELD_MAX = 16 };
static _Thread_local unsigned ranks_held[RANKS_HELD_MAX];
static _Thread_local unsigned n_ranks_held;

static void rank_push(unsigned rank)
{
    if (rank == 0)
        return;
    ASSERT(n_ranks_held < RANKS_HELD_MAX);
    ASSERT(n_ranks_held == 0 || ranks_held[n_ranks_held - 1] <= rank); /* lock order broken */
    ranks_held[n_ranks_held++] = rank;
}

static void rank_pop(unsigned rank)
{
    for (unsigned i = n_ranks_held; rank && i-- > 0;)
        if (ranks_held[i] == rank) {
            for (; i + 1 < n_ranks_held; i++)
                ranks_held[i] = ranks_held[i + 1];
            n_ranks_held--;
            return;
        }
}
#else
#define rank_push(rank) ((void)0)
#define rank_pop(rank)  ((void)0)
#endif

void mtx_init(struct mtx *m, unsigned rank)
{
    *m = (struct mtx){ .rank = rank };
    pthread_mutex_init(&m->m, NULL);
}

void mtx_deinit(struct mtx *m)
{
    pthread_mutex_destroy(&m->m);
}

static void mtx_taken(struct mtx *m)
{
    m->owner = pthread_self();
    m->held = true;
}

void mtx_lock(struct mtx *m)
{
    rank_push(m->rank);
    int rc = pthread_mutex_lock(&m->m);
    ASSERT(rc == 0);
    mtx_taken(m);
}

bool mtx_trylock(struct mtx *m)
{
    if (pthread_mutex_trylock(&m->m) != 0)
        return false;
    rank_push(m->rank);
    mtx_taken(m);
    return true;
}

void mtx_unlock(struct mtx *m)
{
    m->held = false;
    rank_pop(m->rank);
    int rc = pthread_mutex_unlock(&m->m);
    ASSERT(rc == 0);
}

void mtx_assert_held(const struct mtx *m)
{
    (void)m;
    DEBUG_ASSERT(m->held && pthread_equal(m->owner, pthread_self()));
}

void cond_init(struct cond *c)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->c, &attr);
    pthread_condattr_destroy(&attr);
}

void cond_deinit(struct cond *c)
{
    pthread_cond_destroy(&c->c);
}

void cond_wait(struct cond *c, struct mtx *m)
{
    m->held = false;
    pthread_cond_wait(&c->c, &m->m);
    mtx_taken(m);
}

bool cond_wait_ms(struct cond *c, struct mtx *m, unsigned timeout_ms)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += timeout_ms / 1000;
    ts.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    m->held = false;
    int rc = pthread_cond_timedwait(&c->c, &m->m, &ts);
    mtx_taken(m);
    return rc != ETIMEDOUT;
}

void cond_signal(struct cond *c)
{
    pthread_cond_signal(&c->c);
}

void cond_broadcast(struct cond *c)
{
    pthread_cond_broadcast(&c->c);
}

struct thread_start_args {
    void (*fn)(void *ctx);
    void *ctx;
    char name[16];
};

static void *thread_main(void *p)
{
    struct thread_start_args args = *(struct thread_start_args *)p;
    mem_free(p);
    pthread_setname_np(pthread_self(), args.name);
    args.fn(args.ctx);
    return NULL;
}

enum err thread_start(pthread_t *ret, const char *name, void (*fn)(void *ctx), void *ctx)
{
    struct thread_start_args *args = mem_zalloc(sizeof(*args));
    args->fn = fn;
    args->ctx = ctx;
    strncpy(args->name, name, sizeof(args->name) - 1);
    sigset_t all, old;
    sigfillset(&all);
    static const int faults[] = { SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT }; /* belong to who causes them */
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* the rest belongs to the main thread */
    int rc = pthread_create(ret, NULL, thread_main, args);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        mem_free(args);
        return err_from_errno(rc);
    }
    return OK;
}

void thread_join(pthread_t t)
{
    pthread_join(t, NULL);
}

/* ---- pool: a ring of jobs under one mutex; idle workers wait on `work` ---- */
struct pool_job {
    void (*fn)(void *ctx);
    void *ctx;
};
struct pool {
    struct mtx mu;
    struct cond work;
    struct pool_job *ring;
    unsigned cap, head, n;
    bool closing;
    unsigned n_threads;
    pthread_t *threads;
};

/* glibc before 2.41 can lose a signal among several waiters (its bug 25847): a job would then lie there until the next one
 * comes. So waiting workers look by themselves now and then. */
#define POOL_LOOK_MS 1000

static void pool_worker(void *ctx)
{
    struct pool *p = ctx;
    mtx_lock(&p->mu);
    for (;;) {
        while (p->n == 0 && !p->closing)
            (void)cond_wait_ms(&p->work, &p->mu, POOL_LOOK_MS);
        if (p->n == 0)
            break;
        struct pool_job job = p->ring[p->head];
        p->head = (p->head + 1) % p->cap;
        p->n--;
        mtx_unlock(&p->mu);
        job.fn(job.ctx);
        mtx_lock(&p->mu);
    }
    mtx_unlock(&p->mu);
}

enum err pool_open(const char *name, unsigned n_threads, unsigned queue_max, struct pool **ret)
{
    struct pool *p = mem_zalloc(sizeof(*p));
    mtx_init(&p->mu, 0);
    cond_init(&p->work);
    p->cap = MAX(queue_max, 1);
    p->ring = mem_alloc(p->cap * sizeof(*p->ring));
    p->threads = mem_alloc(MAX(n_threads, 1) * sizeof(*p->threads));
    for (; p->n_threads < MAX(n_threads, 1); p->n_threads++) {
        enum err e = thread_start(&p->threads[p->n_threads], name, pool_worker, p);
        if (e) {
            pool_close(p);
            return e;
        }
    }
    *ret = p;
    return OK;
}

void pool_close(struct pool *p)
{
    if (!p)
        return;
    mtx_lock(&p->mu);
    p->closing = true;
    cond_broadcast(&p->work);
    mtx_unlock(&p->mu);
    for (unsigned i = 0; i < p->n_threads; i++)
        thread_join(p->threads[i]);
    mtx_deinit(&p->mu);
    cond_deinit(&p->work);
    mem_free(p->threads);
    mem_free(p->ring);
    mem_free(p);
}

enum err pool_submit(struct pool *p, void (*fn)(void *ctx), void *ctx)
{
    mtx_lock(&p->mu);
    enum err e = p->closing ? ERR_CLOSED : p->n == p->cap ? ERR_BUSY : OK;
    if (e == OK) {
        p->ring[(p->head + p->n) % p->cap] = (struct pool_job){ fn, ctx };
        p->n++;
        cond_signal(&p->work);
    }
    mtx_unlock(&p->mu);
    return e;
}

unsigned pool_n_threads(const struct pool *p)
{
    return p->n_threads;
}

/* pool_for: helpers take indices from a shared counter. The caller works too, so progress never depends
 * on a free worker; a helper that starts late finds nothing left and drops its reference. */
struct pool_loop {
    void (*fn)(void *ctx, size_t i);
    void *ctx;
    size_t n;
    atomic_size_t next, done;
    atomic_uint refs;
    struct mtx mu;
    struct cond finished;
};

static void pool_loop_unref(struct pool_loop *l)
{
    if (atomic_fetch_sub(&l->refs, 1) == 1) {
        mtx_deinit(&l->mu);
        cond_deinit(&l->finished);
        mem_free(l);
    }
}

static void pool_loop_work(struct pool_loop *l)
{
    for (size_t i; (i = atomic_fetch_add(&l->next, 1)) < l->n;) {
        l->fn(l->ctx, i);
        if (atomic_fetch_add(&l->done, 1) + 1 == l->n) {
            mtx_lock(&l->mu);
            cond_broadcast(&l->finished);
            mtx_unlock(&l->mu);
        }
    }
}

static void pool_loop_help(void *ctx)
{
    struct pool_loop *l = ctx;
    pool_loop_work(l);
    pool_loop_unref(l);
}

void pool_for(struct pool *p, size_t n, void (*fn)(void *ctx, size_t i), void *ctx)
{
    if (n <= 1 || !p) {
        for (size_t i = 0; i < n; i++)
            fn(ctx, i);
        return;
    }
    struct pool_loop *l = mem_zalloc(sizeof(*l));
    l->fn = fn;
    l->ctx = ctx;
    l->n = n;
    atomic_init(&l->refs, 1);
    mtx_init(&l->mu, 0);
    cond_init(&l->finished);
    for (size_t i = 0; i < MIN((size_t)p->n_threads, n - 1); i++) {
        atomic_fetch_add(&l->refs, 1);
        if (pool_submit(p, pool_loop_help, l) != OK)
            pool_loop_unref(l);
    }
    pool_loop_work(l);
    mtx_lock(&l->mu);
    while (atomic_load(&l->done) < n)
        cond_wait(&l->finished, &l->mu);
    mtx_unlock(&l->mu);
    pool_loop_unref(l);
}
