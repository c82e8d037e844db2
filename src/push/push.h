/* Room `push`: a Pushgateway over a store. Jobs that end before a scrape could see them push their metrics as a group; the
 * group goes on being visible as if a gateway were scraped:
 *
 *   push ----> check ----> file of the group (synced) ----> samples now, stale markers for series that left ----> durable
 *                                |
 *   start ---- read all files ---'        every interval: the samples of every group again, with the time of now
 *
 * A group is known by its grouping key, the labels of the URL (job, and what follows it). These labels win over labels of the same
 * name in the body, and no job or instance is added to what was pushed: what a scrape of a gateway with honor_labels
 * stores. Beside the pushed series each group has push_time_seconds and push_failure_time_seconds (0: never).
 * DELETE ends every series of the group with a staleness marker. History stays in the store.
 *
 * A group's file holds the pushed text (docs/format/pushed.md). A push is acknowledged when its file and its samples are on disk.
 * Spec: github.com/prometheus/pushgateway, "API". Differences: docs/protocols.md.
 * Limits: groups, bytes of all groups. Threads: every function may be called from any thread; pushes and rounds come one
 * after the other. */
#ifndef VANE_PUSH_PUSH_H
#define VANE_PUSH_PUSH_H

#include "base/fs.h"
#include "base/os.h"
#include "wire/expo_batch.h"

/* Where samples go: as tsdb_write and tsdb_wait. wait is called by push_put and push_delete only. */
struct push_sink {
    void *ctx;
    enum err (*append)(void *ctx, const struct batch *b, uint64_t *ret_lsn, struct err_text *reterr);
    enum err (*wait)(void *ctx, uint64_t lsn);
};
struct push_config {
    struct push_sink sink;
    const char *dir;           /* of its own; made if missing */
    struct fs *fs;             /* NULL: fs_os() */
    struct clock *clock;       /* NULL: os_clock() */
    int64_t interval_ms;       /* between rounds; 0: no thread, the caller calls push_round (tests) */
    size_t groups_max;         /* 0: 10,000 */
    size_t bytes_max;          /* text of all groups together; 0: 256 MiB */
    struct wire_limits limits; /* zero: the defaults */
};
struct push;
/* Reads the groups that are there; a damaged file is left out, left in place and logged. */
enum err push_open(const struct push_config *cfg, struct push **ret, struct err_text *reterr) MUST_CHECK;
void push_close(struct push *p); /* NULL is fine. Groups stay: no staleness markers are written */

/* The grouping key of a path below /metrics/: "job/<job>{/<label>/<value>}", each name with "@base64" for a value in base64url
 * (padding optional, "=" is the empty value). Sorted, without empty values, in a. ERR_INVALID and why. */
enum err push_key_parse(struct arena *a, str path, struct labels *ret, struct err_text *reterr) MUST_CHECK;

enum push_verb {
    PUSH_REPLACE, /* PUT: the group is exactly this body */
    PUSH_MERGE,   /* POST: families of this body replace those of the same name */
};
/* ERR_PARSE: malformed, nothing changed. ERR_INVALID: inconsistent (timestamps, a series twice, bad labels): the group keeps its
 * content and push_failure_time_seconds is set. ERR_LIMIT: too many groups or bytes. Otherwise what fs and sink say: repeat. */
enum err push_put(struct push *p, struct labels key, enum push_verb verb, enum expo_format format, str body,
                  struct err_text *reterr) MUST_CHECK;
/* OK also if there is no such group. */
enum err push_delete(struct push *p, struct labels key, struct err_text *reterr) MUST_CHECK;
/* Write every group's samples once, now. */
void push_round(struct push *p);
size_t push_groups(struct push *p); /* how many */

#endif
