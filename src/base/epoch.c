/* Epochs (thread.h): readers of append-only structures take no lock; what writers replace is freed later.
 *
 * The global epoch G counts up. A reader publishes the G it saw in its thread's slot and clears it when
 * its outermost pin ends. A deferred call is stamped with the G of its time and may run when every slot
 * is empty or newer than the stamp: any reader that could still see the old pointer has left. G moves on
 * with each deferral. Scheme: K. Fraser, "Practical lock-freedom" (2004), section 5.2.3, with one list.
 *
 * Order: the slot store and the pointer loads that follow are separated by a seq_cst fence, as are the
 * writer's unlink and its scan of the slots: either the reader sees the new pointer or the writer the pin. */
#include <pthread.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/thread.h"
#include "base/vec.h"

enum { SLOTS = 1024 };

struct slot {
    _Alignas(64) atomic_uint_least64_t epoch; /* 0 = not pinned */
    atomic_bool used;
};
struct deferred {
    uint64_t epoch;
    void (*fn)(void *p);
    void *p;
};

static struct slot slots[SLOTS];
static atomic_uint slots_high; /* slots ever used: what a scan must look at */
static atomic_uint_least64_t global_epoch = 1;
static pthread_mutex_t deferred_mu = PTHREAD_MUTEX_INITIALIZER;
static VEC(struct deferred) deferred_calls;

static _Thread_local unsigned my_slot; /* index + 1 */
static _Thread_local unsigned my_depth;
static pthread_key_t slot_key; /* its destructor gives the slot back when the thread ends */
static pthread_once_t slot_once = PTHREAD_ONCE_INIT;

static void slot_release(void *p)
{
    unsigned i = (unsigned)((struct slot *)p - slots);
    atomic_store(&slots[i].epoch, 0);
    atomic_store(&slots[i].used, false);
}

static void slot_key_make(void)
{
    int rc = pthread_key_create(&slot_key, slot_release);
    ASSERT(rc == 0);
}

static void slot_acquire(void)
{
    pthread_once(&slot_once, slot_key_make);
    for (unsigned i = 0; i < SLOTS; i++) {
        bool expected = false;
        if (!atomic_compare_exchange_strong(&slots[i].used, &expected, true))
            continue;
        unsigned high = atomic_load(&slots_high);
        while (high < i + 1 && !atomic_compare_exchange_weak(&slots_high, &high, i + 1))
            ;
        pthread_setspecific(slot_key, &slots[i]);
        my_slot = i + 1;
        return;
    }
    assert_failed("at most 1,024 threads pin epochs", __FILE__, __LINE__);
}

struct epoch_pin epoch_enter(void)
{
    if (my_slot == 0)
        slot_acquire();
    struct slot *s = &slots[my_slot - 1];
    if (my_depth++ == 0) {
        atomic_store_explicit(&s->epoch, atomic_load_explicit(&global_epoch, memory_order_relaxed),
                              memory_order_relaxed);
        atomic_thread_fence(memory_order_seq_cst);
    }
    return (struct epoch_pin){ my_slot - 1 };
}

void epoch_leave(struct epoch_pin p)
{
    ASSERT(my_depth > 0 && p.slot == my_slot - 1);
    if (--my_depth == 0)
        atomic_store_explicit(&slots[p.slot].epoch, 0, memory_order_release);
}

/* The oldest epoch that some reader is still in; UINT64_MAX if none is. */
static uint64_t oldest_pinned(void)
{
    uint64_t oldest = UINT64_MAX;
#ifdef __SANITIZE_THREAD__ /* gcc warns that the sanitizer does not model fences; what it checks here needs none */
#pragma GCC diagnostic ignored "-Wtsan"
#endif
    atomic_thread_fence(memory_order_seq_cst);
    unsigned high = atomic_load(&slots_high);
    for (unsigned i = 0; i < high; i++) {
        uint64_t e = atomic_load_explicit(&slots[i].epoch, memory_order_acquire);
        if (e && e < oldest)
            oldest = e;
    }
    return oldest;
}

/* Run the calls at the front whose readers are gone; returns how many stay. */
static size_t run_deferred(void)
{
    uint64_t oldest = oldest_pinned();
    VEC(struct deferred) ready = { 0 };
    pthread_mutex_lock(&deferred_mu);
    size_t n = 0;
    while (n < deferred_calls.n && deferred_calls.p[n].epoch < oldest)
        vec_push(&ready, deferred_calls.p[n++]);
    if (n) {
        memmove(deferred_calls.p, deferred_calls.p + n, (deferred_calls.n - n) * sizeof(*deferred_calls.p));
        deferred_calls.n -= n;
    }
    size_t left = deferred_calls.n;
    if (left == 0)
        vec_free(&deferred_calls);
    pthread_mutex_unlock(&deferred_mu);
    vec_each (struct deferred, d, &ready)
        d->fn(d->p);
    vec_free(&ready);
    return left;
}

void epoch_defer(void (*fn)(void *p), void *p)
{
    pthread_mutex_lock(&deferred_mu);
    uint64_t e = atomic_fetch_add(&global_epoch, 1);
    vec_push(&deferred_calls, ((struct deferred){ e, fn, p }));
    pthread_mutex_unlock(&deferred_mu);
    run_deferred();
}

void epoch_drain(void)
{
    ASSERT(my_depth == 0);
    while (run_deferred() > 0)
        os_sleep_ms(1);
}
