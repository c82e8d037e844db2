/* Mappings of files that survive a bad sector. Touching a page that the disk cannot give (or that lies behind the
 * end of a file cut short by someone) raises SIGBUS, which would end the process. The handler here looks the
 * address up among the mappings of fs_map(): if it is one of ours, a page of zeros is put in that place, the
 * mapping's count of faults goes up and the read goes on. Readers have checksums and look at the count, so zeros
 * are seen as damage. Any other SIGBUS goes to whoever handled it before.
 *
 * The table of mappings is read by the handler, which can wait for nobody: blocks of slots that are never freed,
 * taken by compare-and-swap. A thread that faults holds its mapping, so the slot it looks for cannot change; those
 * of others may, hence the second look at what was read. Slots of other threads are only ever skipped. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "base/fs_int.h"

enum { SLOTS = 256 };

struct map_slot {
    atomic_uintptr_t base; /* 0: free */
    atomic_size_t n;       /* 0: not in force */
    atomic_uint faults;
};
struct map_block {
    struct map_slot slots[SLOTS];
    _Atomic(struct map_block *) next;
};

static struct map_block first_block;
static const atomic_uint no_faults;
static struct sigaction before_us;
static uintptr_t page_bytes;
static pthread_mutex_t handler_mu = PTHREAD_MUTEX_INITIALIZER; /* guards before_us, page_bytes */

static struct map_slot *slot_of(uintptr_t at)
{
    for (struct map_block *b = &first_block; b; b = atomic_load_explicit(&b->next, memory_order_acquire))
        for (size_t i = 0; i < SLOTS; i++) {
            struct map_slot *s = &b->slots[i];
            size_t n = atomic_load_explicit(&s->n, memory_order_acquire);
            uintptr_t base = atomic_load_explicit(&s->base, memory_order_acquire);
            if (n && at >= base && at - base < n && n == atomic_load_explicit(&s->n, memory_order_acquire))
                return s;
        }
    return NULL;
}

static void pass_on(int sig, siginfo_t *info, void *ctx)
{
    if (before_us.sa_flags & SA_SIGINFO)
        before_us.sa_sigaction(sig, info, ctx);
    else if (before_us.sa_handler != SIG_DFL && before_us.sa_handler != SIG_IGN)
        before_us.sa_handler(sig);
    else
        signal(sig, SIG_DFL); /* the access is tried again and ends the process as it would have */
}

/* Only calls that are safe in a signal handler (mmap is on Linux: a bare system call). */
static void on_bus_error(int sig, siginfo_t *info, void *ctx)
{
    int saved = errno;
    uintptr_t at = (uintptr_t)info->si_addr;
    struct map_slot *s = info->si_code > 0 ? slot_of(at) : NULL;
    if (s) {
        atomic_fetch_add_explicit(&s->faults, 1, memory_order_release);
        void *page = (void *)(at & ~(page_bytes - 1));
        if (mmap(page, page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
            s = NULL;
    }
    errno = saved;
    if (!s)
        pass_on(sig, info, ctx);
}

/* Looked at with every mapping: a library may have taken the signal meanwhile. */
static void handler_install(void)
{
    struct sigaction now, sa = { .sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    pthread_mutex_lock(&handler_mu);
    int rc = sigaction(SIGBUS, NULL, &now);
    ASSERT(rc == 0);
    if (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != on_bus_error) {
        page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
        before_us = now;
        sigemptyset(&sa.sa_mask);
        rc = sigaction(SIGBUS, &sa, NULL);
        ASSERT(rc == 0);
    }
    pthread_mutex_unlock(&handler_mu);
}

static struct map_block *block_after(struct map_block *b)
{
    struct map_block *next = atomic_load_explicit(&b->next, memory_order_acquire);
    if (next)
        return next;
    struct map_block *made = mem_zalloc(sizeof(*made));
    if (atomic_compare_exchange_strong_explicit(&b->next, &next, made, memory_order_acq_rel, memory_order_acquire))
        return made;
    mem_free(made);
    return next;
}

void fs_map_enter(str map)
{
    handler_install();
    for (struct map_block *b = &first_block;; b = block_after(b))
        for (size_t i = 0; i < SLOTS; i++) {
            struct map_slot *s = &b->slots[i];
            uintptr_t none = 0;
            if (atomic_load_explicit(&s->base, memory_order_relaxed) ||
                !atomic_compare_exchange_strong_explicit(&s->base, &none, (uintptr_t)map.p, memory_order_acq_rel,
                                                         memory_order_relaxed))
                continue;
            atomic_store_explicit(&s->faults, 0, memory_order_relaxed);
            atomic_store_explicit(&s->n, map.n, memory_order_release); /* pairs with slot_of() */
            return;
        }
}

void fs_map_leave(str map)
{
    struct map_slot *s = slot_of((uintptr_t)map.p);
    ASSERT(s);
    atomic_store_explicit(&s->n, 0, memory_order_release);
    atomic_store_explicit(&s->base, 0, memory_order_release); /* pairs with the exchange in fs_map_enter() */
}

const atomic_uint *fs_map_faults(str map)
{
    const struct map_slot *s = map.n ? slot_of((uintptr_t)map.p) : NULL;
    return s ? &s->faults : &no_faults;
}
