/* The metrics store: head, segments, index, compaction, retention (DESIGN part 4, STORAGE.md part 2).
 *
 * Writing: tsdb_write() applies a batch to the head and appends it to the WAL; the samples are visible to
 * queries at once, and durable when tsdb_wait(lsn) returns OK. Acknowledge a sender only after that.
 * Reading: a tsdb_query pins a consistent set of head + segments; any number of threads may read from it.
 * Threads: every function may be called from any thread unless it says otherwise. */
#ifndef VANE_TSDB_TSDB_H
#define VANE_TSDB_TSDB_H

#include "base/fs.h"
#include "base/os.h"
#include "base/thread.h"
#include "model/matcher.h"
#include "model/sample.h"

struct tsdb;
struct segment;
struct store_replayed;
struct store; /* store/store.h: WAL, MANIFEST and segment files, shared by all signals */

struct tsdb_rollup_config {  /* model/rollup.h */
    int64_t res_ms;          /* length of a window: divides a day, at least a minute; each length once */
    int64_t keep_ms;         /* 0 = for ever */
    const struct matcher *m; /* which series; n_m 0: all */
    size_t n_m;
};
struct tsdb_keep_config { /* how long the samples of these series are kept, instead of retention_ms */
    const struct matcher *m;
    size_t n_m;
    int64_t keep_ms; /* 0 = for ever */
};
#define TSDB_ROLLUPS_MAX 4
#define TSDB_KEEPS_MAX   100

struct tsdb_config {
    int64_t retention_ms;      /* drop segments older than this; 0 = keep for ever; default 15 d */
    uint64_t retention_bytes;  /* drop oldest beyond this; 0 = no limit */
    int64_t ooo_window_ms;     /* accept samples this much older than a series' newest; default 2 h */
    int64_t future_max_ms;     /* refuse samples further in the future; default 10 min */
    uint64_t memory_bytes_max; /* head and scratch; 0 = 60 % of the machine's or cgroup's memory */
    uint64_t series_max;       /* active series; 0 = no limit */
    size_t label_name_bytes_max, label_value_bytes_max; /* defaults 1024, 4096 */
    unsigned labels_max;                                /* per series; default 64 */
    unsigned partitions;                                /* 0 = 2 x cores */
    size_t exemplars_max;                               /* kept in memory and WAL; default 100,000 */
    bool log_only;      /* an agent: no segments. What is old in the head is forgotten, and its log given free */
    bool replay_behind; /* tsdb_open returns at once; the log is replayed beside writes, queries wait for it */
    const struct tsdb_rollup_config *rollups; /* copied by tsdb_open() and tsdb_set_limits(); default none */
    size_t n_rollups;
    bool no_upkeep; /* no compaction, retention or rollups: a tool has the folder, without its configuration */
    const struct tsdb_keep_config *keeps; /* the first that matches a series decides; copied; default none */
    size_t n_keeps;
    bool look_only; /* for tools: no upkeep, nothing is flushed at the end */
};
void tsdb_config_defaults(struct tsdb_config *cfg);

/* Open over a store that is open already; replays the WAL (replay_behind: begins to). */
enum err tsdb_open(const struct tsdb_config *cfg, struct store *st, struct clock *clk, struct tsdb **ret,
                   struct err_text *reterr) MUST_CHECK;
/* Is everything that was in the log there? Waits up to ms (0: not at all): ERR_TIMEOUT = not yet, anything else = the
 * replay has failed and will not be tried again. Writes are taken from the beginning: logged, acknowledged when
 * durable, visible with the rest (ERR_BUSY when too much waits). */
enum err tsdb_await(struct tsdb *db, unsigned ms, struct err_text *reterr) MUST_CHECK;
double tsdb_replay_progress(struct tsdb *db);                         /* 0..1 */
void tsdb_close(struct tsdb *db);                                     /* flushes the head */
void tsdb_set_limits(struct tsdb *db, const struct tsdb_config *cfg); /* reload: retention, window, limits */

/* ---- writing ---- */
enum tsdb_reject {                      /* why single samples were refused: the rest of the batch is taken */
                   TSDB_REJECT_TOO_OLD, /* outside the out-of-order window or retention */
                   TSDB_REJECT_FUTURE,
                   TSDB_REJECT_LABELS, /* too many, too long, invalid UTF-8, duplicate or no name */
                   TSDB_REJECT_SERIES_LIMIT,
                   TSDB_REJECT_HISTOGRAM, /* invalid native histogram */
                   TSDB_REJECT_N
};
struct tsdb_write_result {
    uint64_t lsn;               /* for tsdb_wait; 0 if nothing was written */
    size_t samples, new_series; /* accepted */
    size_t histograms;          /* of the samples accepted or there already: native histograms */
    size_t exemplars;           /* accepted */
    size_t duplicates;          /* same timestamp: same value (ignored) or other value (last write wins) */
    size_t conflicts;           /* of these: other value */
    size_t out_of_order;        /* accepted out of order */
    size_t rejected[TSDB_REJECT_N];
    struct err_text first; /* the first refusal in words, with the series */
};
/* ERR_NO_SPACE (disk), ERR_BUSY (memory): nothing was applied, try later. ERR_CLOSED. Otherwise OK, with
 * refusals of single samples in ret. Takes no ownership. batch_series.ref caches are filled. */
enum err tsdb_write(struct tsdb *db, const struct batch *b, struct tsdb_write_result *ret) MUST_CHECK;
/* The same with somebody who is asked about every series that the head does not have (room ingest). Known series cost
 * nothing. admit is called under a partition's lock: it must be short and not come back here.
 *   i     number of the series in the batch (a series that comes twice may be asked about twice)
 *   ls    its labels, checked, valid during the call
 *   full  no more series can be made (tsdb_config.series_max, memory): the answer is not TSDB_ADMIT
 *   why   filled for TSDB_REFUSE (counted as TSDB_REJECT_LABELS)
 * TSDB_FOLD: left out without being counted as rejected; the caller does something else with its samples. */
enum tsdb_verdict { TSDB_ADMIT, TSDB_FOLD, TSDB_REFUSE };
struct tsdb_gate {
    void *ctx;
    enum tsdb_verdict (*admit)(void *ctx, size_t i, struct labels ls, bool full, struct err_text *why);
};
enum err tsdb_write_gated(struct tsdb *db, const struct batch *b, const struct tsdb_gate *gate,
                          struct tsdb_write_result *ret) MUST_CHECK;
/* Told of every series that leaves the head, under a partition's lock as above. Set it before the first write, remove it
 * (NULL) after the last. */
void tsdb_on_gone(struct tsdb *db, void (*gone)(void *ctx, struct labels ls), void *ctx);
/* Called once when everything that was in the log or came while it was replayed is in the head, before the first write
 * that asks a gate (what comes earlier does not: its series may well be known). fn may call tsdb_each_series, nothing
 * that waits for the replay. At once if that has been. fn NULL: nobody; the one before is not called any more. */
void tsdb_on_ready(struct tsdb *db, void (*fn)(void *ctx), void *ctx);
/* Every series of the head; ls is valid during the call. No partition is locked: series made meanwhile may be missing. */
void tsdb_each_series(struct tsdb *db, void (*fn)(void *ctx, struct labels ls), void *ctx);
/* The ref of a series whose labels were last written in the same bytes, with the same salt (what else decides about
 * their meaning: the encoding, the limits of the decoder); 0 = not known. *ret_key is always set: for batch_key.hash.
 * io_hint: kept by the caller over one request, 0 at first: series in the order of an earlier request are found
 * quickly. Takes no lock. */
uint64_t tsdb_known(struct tsdb *db, str bytes, uint64_t salt, uint32_t *io_hint, hash128 *ret_key);
/* Block until everything up to lsn is on disk. ERR_IO / ERR_NO_SPACE: it is not (do not acknowledge). */
enum err tsdb_wait(struct tsdb *db, uint64_t lsn) MUST_CHECK;
/* For a writer that does not wait: what it has written is synced now, not only within a second. */
void tsdb_sync_soon(struct tsdb *db);

/* ---- following the log (forwarding) ----
 * The records that store_tail_next() delivers for STORE_METRICS, taken apart: what was stored, in the order in which it was.
 * An id is defined before it is used, again in every log file and after every flush, and may come to mean another
 * series by a definition. Labels, histograms and exemplars live during the call. One thread at a time. */
struct tsdb_follow_sink {
    void *ctx;
    void (*define)(void *ctx, uint32_t id, struct labels ls);
    void (*sample)(void *ctx, uint32_t id, int64_t ts_ms, double v, int64_t start_ms); /* start 0: unknown */
    void (*histogram)(void *ctx, uint32_t id, int64_t ts_ms, const struct histogram *h, int64_t start_ms);
    void (*exemplar)(void *ctx, uint32_t id, const struct exemplar *e);
    void (*info)(void *ctx, uint32_t id, enum metric_type type, enum temporality t); /* when it is known or changes */
    void (*family)(void *ctx, str name, const struct metric_meta *m);                /* may be NULL */
};
struct tsdb_follow;
struct tsdb_follow *tsdb_follow_new(const struct tsdb_follow_sink *sink);
void tsdb_follow_free(struct tsdb_follow *f); /* NULL is fine */
/* ERR_CORRUPT: the record, or its end, could not be read (records before it are missing, or it is damaged). */
enum err tsdb_follow_record(struct tsdb_follow *f, const struct store_replayed *rec) MUST_CHECK;

/* ---- reading ---- */
struct tsdb_query; /* a pinned view */
enum err tsdb_query_open(struct tsdb *db, int64_t from_ms, int64_t to_ms, struct tsdb_query **ret) MUST_CHECK;
void tsdb_query_close(struct tsdb_query *q);
bool tsdb_query_incomplete(const struct tsdb_query *q, struct err_text *ret_why); /* a damaged page was met */

/* Series that match all matchers and may have samples in [from, to], sorted by labels. Arrays live in a.
 * ids are handles for this query only. ERR_LIMIT beyond series_max. */
struct tsdb_series {
    struct labels labels;
    uint64_t id;
};
enum err tsdb_select(struct tsdb_query *q, const struct matcher *m, size_t n_matchers, size_t series_max,
                     struct arena *a, struct tsdb_series **ret, size_t *ret_n) MUST_CHECK;

/* All samples of one series in [from, to], ascending, duplicates resolved. Two consecutive reads through
 * the same cursor may return the same `ts` pointer when the series share a timeline. */
struct tsdb_points {
    const int64_t *ts;                /* n timestamps */
    const double *v;                  /* n values; undefined where h[i] != NULL */
    const struct histogram *const *h; /* NULL if the series has no histogram in range */
    const int64_t *start_ms;          /* NULL if no start timestamps are known; 0 = unknown */
    size_t n;
    uint64_t timeline; /* equal and non-zero: same ts array as another read of this cursor */
    /* Where samples have been given up and rollups are left: windows by end, floats before histograms. They reach up
     * to rolled_to_ms, the samples above begin behind it; samples older than that are windows of length 0. */
    const struct rollup *roll;
    size_t n_roll;
    int64_t rolled_to_ms;
};
struct tsdb_cursor; /* decode buffers: one thread at a time; results are valid until the next read */
struct tsdb_cursor *tsdb_cursor_new(struct tsdb_query *q);
void tsdb_cursor_free(struct tsdb_cursor *c);
enum err tsdb_read(struct tsdb_cursor *c, uint64_t id, int64_t from_ms, int64_t to_ms,
                   struct tsdb_points *ret) MUST_CHECK;
/* Before series id is read: bring into the cache what its read looks at, step 2 first, then 1, then 0, some reads apart.
 * Each step follows pointers that the one before has brought. */
void tsdb_read_ahead(struct tsdb_cursor *c, uint64_t id, unsigned step);

/* Sorted label names / values among series that match (n_matchers 0: all). Copied into a; at most limit (0 = all). */
enum err tsdb_label_names(struct tsdb_query *q, const struct matcher *m, size_t n_matchers, size_t limit,
                          struct arena *a, str **ret, size_t *ret_n) MUST_CHECK;
enum err tsdb_label_values(struct tsdb_query *q, str name, const struct matcher *m, size_t n_matchers, size_t limit,
                           struct arena *a, str **ret, size_t *ret_n) MUST_CHECK;
/* Exemplars of matching series in [from, to], grouped by series. */
struct tsdb_exemplars {
    struct labels labels;
    const struct exemplar *p;
    size_t n;
};
enum err tsdb_exemplars(struct tsdb_query *q, const struct matcher *m, size_t n_matchers, struct arena *a,
                        struct tsdb_exemplars **ret, size_t *ret_n) MUST_CHECK;
/* Metadata per metric family (name -> type, help, unit), one or all families. */
struct tsdb_metadata {
    str name;
    struct metric_meta meta;
};
enum err tsdb_metadata(struct tsdb *db, str name, size_t limit, struct arena *a, struct tsdb_metadata **ret,
                       size_t *ret_n) MUST_CHECK;

/* ---- deleting ---- */
struct tsdb_selector { /* series that match all of m[n] */
    const struct matcher *m;
    size_t n;
};
/* Delete the samples (and exemplars) in [from, to] of the series that any selector matches, as far as they were
 * written before the call. Durable when it returns OK; what is written later stays, whatever its timestamp. Flushes
 * the head. One that covers an earlier one (same matchers in the same order, range not smaller) replaces it; where
 * there is nothing (more) to hide nothing is written. The bytes go at the next compaction of their segment, or now with tsdb_clean_tombstones(). Waits for a
 * running compaction.
 * ERR_NO_SPACE, ERR_IO, ERR_LIMIT (too many tombstones wait), ERR_CLOSED: nothing was deleted. */
enum err tsdb_delete(struct tsdb *db, const struct tsdb_selector *sel, size_t n_sel, int64_t from_ms, int64_t to_ms,
                     struct err_text *reterr) MUST_CHECK;
/* Rewrite every segment that holds deleted samples. ERR_CORRUPT: done, but for damaged ones. */
enum err tsdb_clean_tombstones(struct tsdb *db, struct err_text *reterr) MUST_CHECK;
/* Make DEST a data directory (store_snapshot_write) with everything that was written before the call; without what is
 * in the head if skip_head. Ingest and queries go on meanwhile. ERR_CORRUPT: it was made, but segments in it are as damaged as here. */
enum err tsdb_snapshot(struct tsdb *db, const char *dest, bool skip_head, struct err_text *reterr) MUST_CHECK;
const char *tsdb_dir(const struct tsdb *db); /* the store's data directory */
/* Can this tombstone of the MANIFEST be read? (fsck, fuzz target) */
enum err tsdb_tombstone_verify(str body, struct err_text *reterr) MUST_CHECK;

/* ---- what retention keeps, and what would go when (tsdb_plan.c) ---- */
#define TSDB_PLAN_TIMES 3 /* now, within 24 hours, within 7 days */
struct tsdb_plan_gone {
    uint64_t samples, bytes;
};
struct tsdb_plan_rule {
    str match;                       /* as PromQL writes it; empty: the series of no rule */
    int64_t keep_ms;                 /* 0 = for ever */
    uint64_t series, samples, bytes; /* on disk; bytes by their share of their segments. series: of the head, too */
    int64_t oldest_ms;               /* INT64_MAX: no samples */
    struct tsdb_plan_gone gone[TSDB_PLAN_TIMES]; /* expired by then, in all */
};
struct tsdb_plan_rollup {
    int64_t res_ms, keep_ms;
    bool configured; /* no: what an earlier configuration left; it is kept */
    str match;
    uint64_t segments, windows, bytes;
    int64_t oldest_ms;                           /* INT64_MAX: none */
    struct tsdb_plan_gone gone[TSDB_PLAN_TIMES]; /* samples: windows */
};
struct tsdb_plan {
    int64_t now_ms;
    struct tsdb_plan_rule *rules; /* in order, the default last */
    size_t n_rules;
    struct tsdb_plan_rollup *rollups;
    size_t n_rollups;
    uint64_t bytes, bytes_max; /* log and segments; 0 = no limit */
    uint64_t bytes_over;       /* would go now because of the limit */
    uint64_t head_samples;     /* not on disk yet, in no rule's samples */
};
/* Under the rules of cfg (NULL: those in force). Reads the index of every segment. Everything of ret is in a. */
enum err tsdb_plan(struct tsdb *db, const struct tsdb_config *cfg, struct arena *a, struct tsdb_plan *ret,
                   struct err_text *reterr) MUST_CHECK;

/* ---- facts and upkeep ---- */
struct tsdb_top {
    str name;
    uint64_t value;
};
struct tsdb_stats {
    uint64_t head_series, head_samples, head_bytes, head_chunks;
    int64_t min_ms, max_ms; /* of everything stored */
    int64_t head_min_ms, head_max_ms;
    uint64_t segments, segment_bytes, wal_bytes;
    uint64_t label_pairs, symbols;
    struct tsdb_top top_metrics[10], top_labels[10], top_label_bytes[10], top_pairs[10];
    size_t n_top_metrics, n_top_labels, n_top_label_bytes, n_top_pairs;
};
/* strings in a; with_top walks the whole head index. */
enum err tsdb_stats(struct tsdb *db, bool with_top, struct arena *a, struct tsdb_stats *ret) MUST_CHECK;
/* The same of the head's series that match (n_matchers 0: all), at most top rows each, the largest first; strings in a.
 * With matchers the labels of every one of them are walked: about 0.5 s per million. */
struct tsdb_cardinality {
    uint64_t series, label_pairs, label_names;
    struct tsdb_top *metrics, *jobs, *labels, *label_bytes, *pairs; /* series; series; values; bytes; series */
    size_t n_metrics, n_jobs, n_labels, n_label_bytes, n_pairs;
};
enum err tsdb_cardinality(struct tsdb *db, const struct matcher *m, size_t n_matchers, size_t top, struct arena *a,
                          struct tsdb_cardinality *ret) MUST_CHECK;
enum err tsdb_flush(struct tsdb *db) MUST_CHECK;   /* head -> segment, now */
enum err tsdb_compact(struct tsdb *db) MUST_CHECK; /* one round, now (tests) */

/* ---- fsck: hooks of store_fsck() for STORE_METRICS; no open tsdb is needed ---- */
/* Every page of every section decodes, numbers agree with each other (docs/format/tsdb.md). ERR_CORRUPT and why. */
enum err tsdb_segment_verify(struct segment *seg, struct err_text *reterr) MUST_CHECK;
/* The structure of one log record. */
enum err tsdb_record_verify(const struct store_replayed *rec, struct err_text *reterr) MUST_CHECK;

#endif
