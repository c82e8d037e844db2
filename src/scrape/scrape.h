/* Scraping: service discovery -> targets -> HTTP -> text -> relabelled samples -> a sink.
 *
 * One engine owns a scheduler thread (timers, discovery results, hand-over), one HTTP client thread (room http)
 * and a small pool that parses. A target's scrape is one state machine: due -> requested -> parsed -> due;
 * nothing waits for anything, so a hanging target delays no other. Each target remembers for each series line of
 * its exposition the finished labels and the store's reference: a line seen before costs one hash lookup.
 * Staleness markers are written when a series disappears between scrapes, when a scrape fails and when a
 * target goes (exactly once). Spec: prometheus.io/docs/concepts/jobs_instances, and Prometheus' scrape_config.
 *
 * Threads: every function may be called from any thread; open, reload and close by one thread at a time. */
#ifndef VANE_SCRAPE_SCRAPE_H
#define VANE_SCRAPE_SCRAPE_H

#include "base/os.h"
#include "model/sample.h"
#include "scrape/scrape_config.h"

struct scrape;

/* Where samples go. append is called from pool threads, concurrently for different targets; the batch is borrowed.
 * No wait for durability is needed: a scrape has no sender that would repeat it.
 * ERR_BUSY / ERR_NO_SPACE: the scrape counts as failed with that text and is tried again at its next interval. */
struct scrape_sink {
    enum err (*append)(struct scrape_sink *sink, const struct batch *b);
};
struct scrape_options {
    struct scrape_sink *sink; /* must outlive the engine */
    struct clock *clock;      /* NULL: os_clock() */
    unsigned decode_threads;  /* 0: half the cores, at least 1 */
    unsigned in_flight_max;   /* requests at a time; 0: 1024 */
    bool extra_metrics;       /* scrape_timeout_seconds, scrape_sample_limit, scrape_body_size_bytes */
};
enum err scrape_open(const struct scrape_options *opt, struct scrape **ret, struct err_text *reterr) MUST_CHECK;
/* Writes staleness markers for every target and returns when all is at rest. NULL is fine. */
void scrape_close(struct scrape *s);

/* Take a configuration (one reference of the caller's moves in). Targets whose definition did not change keep
 * running undisturbed. On error nothing changed and the reference is released. */
enum err scrape_reload(struct scrape *s, struct prom_config *cfg, struct err_text *reterr) MUST_CHECK;

/* ---- status: GET /api/v1/targets, /api/v1/scrape_pools, /api/v1/targets/metadata ---- */
enum scrape_health { SCRAPE_UNKNOWN, SCRAPE_UP, SCRAPE_DOWN };
struct scrape_target_status {
    struct labels discovered; /* before relabelling */
    struct labels labels;     /* after; without __* */
    str pool;                 /* job_name */
    str scrape_url, global_url;
    str last_error;         /* "" when fine */
    int64_t last_scrape_ms; /* 0: never */
    double last_duration_s;
    enum scrape_health health;
    int64_t interval_ms, timeout_ms;
    uint64_t samples, series; /* of the last scrape; remembered lines */
};
struct scrape_dropped_status {
    struct labels discovered;
    str pool;
};
struct scrape_pool_status {
    str name;
    size_t n_active, n_dropped;
    bool over_target_limit;
    str discovery_error; /* last trouble of a discovery, "" when fine */
};
struct scrape_status {
    struct scrape_target_status *active; /* by pool, then by URL */
    size_t n_active;
    struct scrape_dropped_status *dropped; /* at most keep_dropped_targets per pool */
    size_t n_dropped;
    struct scrape_pool_status *pools;
    size_t n_pools;
};
/* pool: only that one, "" for all. Everything is copied into a. external_host: replaces localhost in global_url. */
void scrape_status(struct scrape *s, str pool, str external_host, struct arena *a, struct scrape_status *ret);

struct scrape_target_metadata {
    struct labels target;
    str metric;
    struct metric_meta meta;
};
/* Metadata per target and family: metric "" = all; the targets that satisfy the matchers' predicate (NULL = all);
 * at most limit rows (0 = all). */
void scrape_metadata(struct scrape *s, str metric, bool (*match)(void *ctx, struct labels target), void *ctx,
                     size_t limit, struct arena *a, struct scrape_target_metadata **ret, size_t *ret_n);

#endif
