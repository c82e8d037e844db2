/* vane's own counters and gauges, rendered at /metrics. Handles are static structs registered on first
 * use; an increment is one relaxed atomic add. Label values are fixed per handle:
 *   static struct stat drops = STAT_COUNTER("vane_scrape_drops_total", "Samples dropped", "reason=\"limit\"");
 *   stat_add(&drops, 1);
 * Families that are computed at scrape time register a callback (stats_on_render). Threads: any. */
#ifndef VANE_BASE_STATS_H
#define VANE_BASE_STATS_H

#include <stdatomic.h>

#include "base/buf.h"

enum stat_kind { STAT_KIND_COUNTER, STAT_KIND_GAUGE };
struct stat {
    const char *name, *help;
    const char *labels; /* `a="b",c="d"` or "" */
    enum stat_kind kind;
    atomic_uint_least8_t registered;
    atomic_int_least64_t value;
    struct stat *next;
};
#define STAT_COUNTER(name_, help_, labels_)                                              \
    {                                                                                    \
        .name = (name_), .help = (help_), .labels = (labels_), .kind = STAT_KIND_COUNTER \
    }
#define STAT_GAUGE(name_, help_, labels_)                                              \
    {                                                                                  \
        .name = (name_), .help = (help_), .labels = (labels_), .kind = STAT_KIND_GAUGE \
    }

void stat_register(struct stat *s); /* also without a first increment, so that it shows 0 */
static inline void stat_add(struct stat *s, int64_t n)
{
    if (__builtin_expect(!atomic_load_explicit(&s->registered, memory_order_relaxed), 0))
        stat_register(s);
    atomic_fetch_add_explicit(&s->value, n, memory_order_relaxed);
}
static inline void stat_set(struct stat *s, int64_t v)
{
    if (__builtin_expect(!atomic_load_explicit(&s->registered, memory_order_relaxed), 0))
        stat_register(s);
    atomic_store_explicit(&s->value, v, memory_order_relaxed);
}
static inline int64_t stat_get(const struct stat *s)
{
    return atomic_load_explicit(&s->value, memory_order_relaxed);
}

/* Histograms of durations: fixed exponential buckets (100 us .. 100 s, factor ~3.16), seconds. */
#define STAT_HIST_BUCKETS 13
struct stat_hist {
    const char *name, *help, *labels;
    atomic_uint_least8_t registered;
    atomic_uint_least64_t bucket[STAT_HIST_BUCKETS + 1];
    atomic_uint_least64_t sum_ns;
    struct stat_hist *next;
};
#define STAT_HIST(name_, help_, labels_)                      \
    {                                                         \
        .name = (name_), .help = (help_), .labels = (labels_) \
    }
void stat_hist_observe_ns(struct stat_hist *h, uint64_t ns);

/* Callback families: write whole exposition lines (with # HELP / # TYPE) into out. */
void stats_on_render(void (*fn)(void *ctx, struct buf *out), void *ctx);
/* A label's value as such lines need it, without the quotes. */
void stats_escape(struct buf *out, str s);
void stats_off_render(void (*fn)(void *ctx, struct buf *out), void *ctx);
/* Everything in Prometheus text format 0.0.4, families grouped and sorted by name. */
void stats_render(struct buf *out);

#endif
