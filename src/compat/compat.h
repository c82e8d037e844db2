/* Room `compat`: listeners for senders that know neither HTTP nor labels: Graphite plaintext over TCP, StatsD over UDP.
 *
 *   Graphite   lines -> samples, stored as they come (wire/graphite.h). One thread, up to 256 connections. While the store
 *              takes no samples the thread waits, and TCP makes the senders wait; after 5 s the samples are dropped.
 *   StatsD     events -> series in memory -> samples every flush (wire/statsd.h). Counters are cumulative since they were
 *              first seen, timers and histograms are native histograms (timers in seconds), sets count the members of one
 *              interval. A series that nothing was heard of for `idle` ends with a staleness marker. One thread; the
 *              kernel's receive buffer is the queue, what it drops is counted.
 *
 * Nothing is acknowledged in these protocols: whatever is dropped has a counter (vane_graphite_*, vane_statsd_*).
 * Threads: open and close by one thread. */
#ifndef VANE_COMPAT_COMPAT_H
#define VANE_COMPAT_COMPAT_H

#include "base/os.h"
#include "wire/wire.h"

/* Where samples go: as tsdb_write, ERR_BUSY and ERR_NO_SPACE mean "later". Called from the listeners' threads. */
struct compat_sink {
    void *ctx;
    enum err (*append)(void *ctx, const struct batch *b);
};
struct compat_listen {
    bool on;
    str host;
    uint16_t port; /* 0: any free one */
};
struct compat_config {
    struct compat_sink sink;
    struct clock *clock;       /* NULL: os_clock() */
    struct wire_limits limits; /* zero: the defaults */
    struct compat_listen graphite, statsd;
    int64_t statsd_flush_ms;  /* 0: 10 s */
    int64_t statsd_idle_ms;   /* 0: 5 min */
    size_t statsd_series_max; /* 0: 100,000; events of further series are dropped */
};
struct compat;
enum err compat_open(const struct compat_config *cfg, struct compat **ret, struct err_text *reterr) MUST_CHECK;
void compat_close(struct compat *c);                   /* writes what StatsD has gathered. NULL is fine */
uint16_t compat_graphite_port(const struct compat *c); /* 0 = off */
uint16_t compat_statsd_port(const struct compat *c);

#endif
