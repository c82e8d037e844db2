/* The outside world: clocks, randomness, processes' own facts. The only place (with fs.h, thread.h) that
 * asks the system. Code that tests must steer takes a `struct clock *`. */
#ifndef VANE_BASE_OS_H
#define VANE_BASE_OS_H

#include "base/str.h"

struct clock {
    int64_t (*now_ms)(struct clock *c);   /* wall clock, milliseconds since the epoch */
    uint64_t (*mono_ns)(struct clock *c); /* monotonic */
};
struct clock *os_clock(void); /* the real one */
static inline int64_t clock_now_ms(struct clock *c)
{
    return c->now_ms(c);
}
static inline uint64_t clock_mono_ns(struct clock *c)
{
    return c->mono_ns(c);
}
uint64_t os_mono_ns(void);
int64_t os_now_ms(void);
uint64_t os_cpu_ns(void); /* CPU time of this process */
void os_sleep_ms(unsigned ms);
void os_random(void *p, size_t n); /* getrandom */
uint64_t os_random_u64(void);
unsigned os_cores(void);        /* CPUs this process may use */
uint64_t os_memory_limit(void); /* bytes: the smaller of RAM and cgroup limit */
uint64_t os_rss(void);

/* Deterministic generator for tests and jitter (xorshift64*). */
struct rng {
    uint64_t s;
};
static inline uint64_t rng_next(struct rng *r)
{
    uint64_t x = r->s ? r->s : 0x9e3779b97f4a7c15ull;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    r->s = x;
    return x * 0x2545f4914f6cdd1dull;
}
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
    return n ? rng_next(r) % n : 0;
}
static inline double rng_unit(struct rng *r)
{
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}

#endif
