/* Forwarding: what is stored is sent on by remote write (1.0 or 2.0), as `remote_write` of a prometheus.yml says.
 *
 *   log of the store --tail--> reader (one per remote): write_relabel_configs, choice of the shard by series
 *                                 |--> shard: queue of `capacity` samples, one request in flight, retried for ever
 *                                 `--> shard ...
 *
 * Nothing is kept beside the log: a remote has a place in it, up to which everything was acknowledged by the
 * receiver, was refused by it for good, or was dropped by a rule. The place is written to DIR/positions
 * (docs/format/forward.md) every second, and the log's files from there on are held (store_hold_set). After an outage, a restart or a
 * kill -9 sending goes on from the place: at least once, in order per series. Only when the log passes its size limit
 * (or the disk is full) is the oldest given up, counted and logged: forwarding never stops ingest.
 *
 * Threads: every function may be called from any thread; open, reload and close by one thread at a time. */
#ifndef VANE_FORWARD_FORWARD_H
#define VANE_FORWARD_FORWARD_H

#include "base/fs.h"
#include "base/os.h"
#include "scrape/scrape_config.h"

struct forward;
struct store;
struct tsdb;

struct forward_options {
    struct store *store;
    struct tsdb *db;
    struct fs *fs;
    struct clock *clock;
    const char *dir; /* made if absent: positions live here */
};
enum err forward_open(const struct forward_options *opt, struct forward **ret, struct err_text *reterr) MUST_CHECK;
/* Take remote_write of a configuration (one reference of the caller's moves in). A remote is the same if its name is, or
 * without one its URL: it keeps its place. If nothing of its configuration changed it runs on undisturbed. A new one
 * begins with what is stored from now on. ERR_LIMIT: no threads; remotes before that one are as asked for. */
enum err forward_reload(struct forward *f, struct prom_config *cfg, struct err_text *reterr) MUST_CHECK;
/* Sends what is there for at most grace_ms, as far as receivers take it; the rest is sent after the next start. NULL is fine. */
void forward_close(struct forward *f, unsigned grace_ms);

struct forward_status {
    str name, url; /* url without credentials */
    str protocol;  /* "prometheus.WriteRequest" */
    unsigned shards, shards_desired;
    uint64_t pending;                        /* samples, histograms and exemplars in queues */
    uint64_t sent, failed, retried, dropped; /* samples and histograms since the start */
    uint64_t lag_bytes;                      /* of log that is not acknowledged, about */
    double lag_seconds;                      /* newest stored minus newest sent; 0: everything was sent */
    int64_t highest_sent_ms, last_ok_ms;     /* 0: never */
    str last_error;                          /* "" since the last success */
};
/* One row per remote, in the order of the configuration; everything is copied into a. */
void forward_status(struct forward *f, struct arena *a, struct forward_status **ret, size_t *ret_n);

#endif
