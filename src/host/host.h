/* Room `host`: metrics of the machine that vane runs on, under node_exporter's names (and cAdvisor's for
 * cgroups, process-exporter's for processes), so that existing dashboards and rules work. Read from /proc
 * and /sys; nothing is executed. On by default; `host_metrics: false` turns it off.
 *
 *   struct host *h;
 *   host_open(&(struct host_config){ .sink = sink, .interval_ms = 15000 }, &h);   a thread collects from now on
 *   host_close(h);
 *
 * Collectors (host_cpu.c ...) are rows of one table; each appends to a batch and fails alone: a failure is
 * counted in node_scrape_collector_success{collector}, as node_exporter does.
 * Threads: host_open/close from one thread; the sink is called from the collector's thread. */
#ifndef VANE_HOST_HOST_H
#define VANE_HOST_HOST_H

#include "base/os.h"
#include "model/sample.h"

struct host_sink {
    enum err (*append)(void *ctx, const struct batch *b); /* b is valid during the call only */
    void *ctx;
};
struct host_config {
    struct host_sink sink;
    int64_t interval_ms;    /* 0 = 15 s */
    const char *root;       /* prefix of /proc and /sys; NULL = none (tests bring a fake one) */
    const char *job;        /* label job; NULL = "node" */
    const char *instance;   /* label instance; NULL = the host name */
    unsigned top_processes; /* process groups by CPU and by memory; 0 = 20 */
    struct clock *clock;    /* NULL = the real one */
};
struct host;
enum err host_open(const struct host_config *cfg, struct host **ret) MUST_CHECK;
void host_close(struct host *h); /* NULL is fine; writes staleness markers for all series */

/* One collection into b (arena of b), without a thread: what host_open's thread does each interval. */
void host_collect(struct host *h, struct batch *b);
/* As host_open, without the thread (tests). */
struct host *host_new(const struct host_config *cfg);

#endif
