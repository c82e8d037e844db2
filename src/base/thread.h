/* Threads: mutex with owner check, condition, worker pool, bounded queue, and epochs for lock-free readers.
 * Lock order: a mutex has a rank; debug builds assert that ranks only grow along a thread's stack. */
#ifndef VANE_BASE_THREAD_H
#define VANE_BASE_THREAD_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/err.h"
#include "base/str.h"

struct mtx {
    pthread_mutex_t m;
    unsigned rank; /* 0 = not ranked */
    pthread_t owner;
    bool held;
};
void mtx_init(struct mtx *m, unsigned rank);
void mtx_deinit(struct mtx *m);
void mtx_lock(struct mtx *m);
bool mtx_trylock(struct mtx *m);
void mtx_unlock(struct mtx *m);
void mtx_assert_held(const struct mtx *m); /* debug builds */

struct cond {
    pthread_cond_t c; /* CLOCK_MONOTONIC */
};
void cond_init(struct cond *c);
void cond_deinit(struct cond *c);
void cond_wait(struct cond *c, struct mtx *m);
bool cond_wait_ms(struct cond *c, struct mtx *m, unsigned timeout_ms); /* false on timeout */
void cond_signal(struct cond *c);
void cond_broadcast(struct cond *c);

/* A named thread ("wal", "scrape/3"); blocks all signals. */
enum err thread_start(pthread_t *ret, const char *name, void (*fn)(void *ctx), void *ctx) MUST_CHECK;
void thread_join(pthread_t t);

/* Worker pool with a bounded queue. pool_submit returns ERR_BUSY when the queue is full (count it, refuse). */
struct pool;
enum err pool_open(const char *name, unsigned n_threads, unsigned queue_max, struct pool **ret) MUST_CHECK;
void pool_close(struct pool *p); /* finishes what is queued */
enum err pool_submit(struct pool *p, void (*fn)(void *ctx), void *ctx) MUST_CHECK;
unsigned pool_n_threads(const struct pool *p);
/* Run fn(ctx, i) for i in [0, n) on the pool and the calling thread; returns when all are done.
 * Safe to call from a pool thread. */
void pool_for(struct pool *p, size_t n, void (*fn)(void *ctx, size_t i), void *ctx);

/* Epochs: readers of append-only structures pin, writers defer frees until every reader that could
 * still see the old pointer has unpinned. Pinning is two atomic operations and may nest. */
struct epoch_pin {
    unsigned slot;
};
struct epoch_pin epoch_enter(void);
void epoch_leave(struct epoch_pin p);
void epoch_defer(void (*fn)(void *p), void *p); /* fn(p) runs on some later epoch_* call, on any thread */
void epoch_drain(void); /* waits until all deferred calls have run; no pins may be held by the caller */

#endif
