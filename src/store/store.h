/* The store: what all signals share. One directory with a write-ahead log for every signal, a MANIFEST that
 * names what exists, and immutable segment files. Recovery, retention and series are the signals' business.
 *
 *   DIR/LOCK           held while a process has the directory open
 *   DIR/FORMAT         "vane store 1": a newer number is refused
 *   DIR/MANIFEST       docs/format/manifest.md: segments, low-water LSNs, tombstones, retention marks, seed
 *   DIR/wal/           docs/format/wal.md: <epoch>.wal live files, *.spare zeroed or old files to reuse
 *   DIR/seg/<signal>/  docs/format/segment.md: <id>.vseg
 *
 * The life of data
 *   1. store_wal_pin(), store_wal_append() per record, store_wal_unpin(), apply to the head, store_wal_wait()
 *      for the sender's acknowledgement: one fdatasync serves everybody who waits (no timer).
 *   2. A flush writes the head into segments (segment.h) and publishes them with store_commit(), which in one
 *      atomic MANIFEST edit adds and removes segments and raises the signal's low-water LSN. WAL files whose
 *      records all lie at or below the low-water marks are reused.
 *   3. At start: store_open(), store_attach() per signal (segments become readable), store_wal_replay() from the
 *      low-water LSN. The log is open for new records before and during the replay.
 *
 * Errors met while running never lose what was acknowledged: a file whose write or sync failed is left behind,
 * what was not acknowledged is written again to a new file (vane_store_degraded shows it). Below the reserve of disk space
 * new records are refused with ERR_NO_SPACE, reads go on, and writing resumes by itself when there is room.
 * Threads: every function may be called from any thread unless it says otherwise. */
#ifndef VANE_STORE_STORE_H
#define VANE_STORE_STORE_H

#include "base/fs.h"
#include "base/os.h"
#include "store/segment.h"

struct store;

struct store_config {
    uint64_t wal_file_bytes;      /* size of one WAL file; default 64 MiB, at least 64 KiB */
    uint64_t wal_bytes_max;       /* live WAL beyond this asks the signals to flush; default 1 GiB. At twice
                                   * this, records are refused with ERR_BUSY until a flush frees files */
    uint64_t wal_queue_bytes_max; /* records in memory that are not written yet; default 64 MiB; ERR_BUSY beyond */
    unsigned wal_spares;          /* reusable files kept besides the one reserved ahead; default 2 */
    uint64_t reserve_bytes;       /* refuse records while the disk has less free than this; default 128 MiB */
};
void store_config_defaults(struct store_config *cfg);

/* Open DIR, making it if its parent exists. NULL cfg = defaults.
 *   ERR_BUSY         another process has it     ERR_UNSUPPORTED  written by a newer vane
 *   ERR_PERMISSION   cannot write there         ERR_CORRUPT      MANIFEST damaged (run `vane fsck`)
 * Leftovers of a crash (files the MANIFEST does not name) are deleted. Starts two threads. */
enum err store_open(struct fs *fs, const char *dir, const struct store_config *cfg, struct clock *clk,
                    struct store **ret, struct err_text *reterr) MUST_CHECK;
/* Writes and syncs what is queued, then closes. No other call may be running or follow; segments and sets
 * that are still referenced stay readable. */
void store_close(struct store *st);

struct fs *store_fs(struct store *st);
struct clock *store_clock(struct store *st);
const char *store_dir(const struct store *st);
uint64_t store_seed(const struct store *st); /* random, made once per directory: keys every identity hash */

/* ---- write-ahead log ----
 *
 * Records have log sequence numbers (LSN): 1, 2, 3 ... without gaps over all signals. The log is a row of
 * files, each with an epoch (1, 2, 3 ...). A signal whose encoding leans on earlier records starts afresh
 * whenever the epoch changes, so that every file can be replayed without the ones before it:
 *
 *   uint32_t epoch;
 *   TRY(store_wal_pin(st, bytes, &epoch));       // before any partition lock; waits only while a file is changed
 *   mtx_lock(&part->mu);
 *   if (series->wal_epoch != epoch) { ...absolute token, with labels...; series->wal_epoch = epoch; }
 *   store_wal_append(st, &rec, &lsn);            // under the partition lock: LSN order = order of application
 *   mtx_unlock(&part->mu);
 *   store_wal_unpin(st);
 *   TRY(store_wal_wait(st, lsn));                // then acknowledge
 */
#define STORE_RECORD_BYTES_MAX (48u << 20) /* also at most half of wal_file_bytes */
#define STORE_RECORD_TYPES     32

struct store_record {
    enum store_signal signal;
    uint8_t type;       /* the signal's own, < STORE_RECORD_TYPES */
    uint16_t partition; /* the signal's own */
    const struct iovec *iov;
    int n_iov;
};

/* Ask to write, and hold the current epoch until unpin. One pin serves a whole request: any number of appends
 * by this thread; it must not pin again inside. Hold it briefly (no waiting for the network).
 *   bytes   about how much will be appended, for admission
 * Returns   OK; ERR_NO_SPACE, ERR_BUSY (queue full, log over its size, disk failing): nothing may be applied;
 *           ERR_CLOSED. After OK the appends under this pin are always taken. */
enum err store_wal_pin(struct store *st, size_t bytes, uint32_t *ret_epoch) MUST_CHECK;
void store_wal_unpin(struct store *st);
/* Queue one record, copied. Only between pin and unpin. Returns OK, or ERR_LIMIT if it is larger than a record may be. */
enum err store_wal_append(struct store *st, const struct store_record *rec, uint64_t *ret_lsn) MUST_CHECK;
/* Block until all up to lsn is synced (lsn 0: returns at once). ERR_IO, ERR_NO_SPACE: the disk does not take it now; it is still
 * queued and will be retried, but must not be acknowledged. ERR_CLOSED. */
enum err store_wal_wait(struct store *st, uint64_t lsn) MUST_CHECK;
/* Nobody is going to wait for what was appended: have it synced now by the log's own thread (else it is within a second). */
void store_wal_sync_soon(struct store *st);
uint64_t store_wal_durable_lsn(const struct store *st);              /* everything up to here is synced */
uint64_t store_wal_last_lsn(const struct store *st);                 /* of the newest record appended; 0 = none ever */
uint32_t store_wal_epoch(const struct store *st);                    /* may change at once unless pinned */
uint64_t store_wal_low_water(struct store *st, enum store_signal s); /* records up to here are in segments */
uint64_t store_wal_bytes(struct store *st);                          /* size of live log files */

/* The records that were in the log at store_open(), of one signal, with lsn > from_lsn, in LSN order, on the
 * calling thread. Several replays may run at once (e.g. one per partition), and beside new appends.
 * A torn tail (records never acknowledged) is the normal end after a crash and not an error. A damaged record
 * followed by later synced ones is a hole: on_hole is told, both sides are delivered.
 * A callback that returns an error stops the replay with that error. */
struct store_replayed {
    uint64_t lsn;
    uint32_t epoch; /* under which it was encoded (pinned) */
    uint8_t type;
    uint16_t partition;
    str payload; /* valid during the callback */
};
struct store_replay {
    enum store_signal signal;
    uint64_t from_lsn;
    int32_t partition; /* -1 = all */
    void *ctx;
    enum err (*on_record)(void *ctx, const struct store_replayed *rec);
    void (*on_hole)(void *ctx, uint64_t first_lsn, uint64_t last_lsn);         /* lost, of any signal; may be NULL */
    void (*on_progress)(void *ctx, uint64_t bytes_done, uint64_t bytes_total); /* now and then; may be NULL */
};
struct store_replay_result {
    uint64_t records, bytes, last_lsn; /* of this signal; last_lsn is that of the log */
    uint64_t holes, hole_records;
};
enum err store_wal_replay(struct store *st, const struct store_replay *r, struct store_replay_result *ret,
                          struct err_text *reterr) MUST_CHECK;

/* ---- following the log ----
 *
 * A tail delivers the records of one signal as they become durable, over file changes, for as long as it is open: for
 * forwarding. What it still wants is kept by the signal's hold, a mark in the MANIFEST beside its low-water LSN. */
struct store_tail;

/* From the beginning of the file that holds the record after from_lsn (encodings lean on earlier records of an epoch):
 * the first records delivered may lie at or below from_lsn. The file being read and those after it stay while the
 * tail is open. */
enum err store_tail_open(struct store *st, enum store_signal s, uint64_t from_lsn, struct store_tail **ret) MUST_CHECK;
void store_tail_close(struct store_tail *t); /* NULL is fine */
/* The next durable record; its payload is valid until the next call. *ret_lost: LSNs (of any signal) before it that
 * should be there and are not. Does not wait.
 * Returns   OK; ERR_NOT_FOUND: there is nothing more yet; ERR_IO...: cannot be read now, calling again tries again
 * Threads   one at a time */
enum err store_tail_next(struct store_tail *t, struct store_replayed *ret, uint64_t *ret_lost) MUST_CHECK;
uint64_t store_tail_lsn(const struct store_tail *t); /* everything up to here has been delivered or was not for us */

/* Keep the signal's records beyond lsn until the hold is raised; STORE_HOLD_NONE: no longer keep anything. The hold comes back
 * with the next start, at most one log file lower. Written to the MANIFEST only when it passes a file's border. */
#define STORE_HOLD_NONE UINT64_MAX
enum err store_hold_set(struct store *st, enum store_signal s, uint64_t lsn, struct err_text *reterr) MUST_CHECK;
uint64_t store_hold(struct store *st, enum store_signal s);
/* Log bytes beyond lsn, about. */
uint64_t store_wal_bytes_after(struct store *st, uint64_t lsn);

/* ---- segments ---- */

/* What a signal gives the store. All may be NULL. */
struct store_hooks {
    void *ctx;
    /* A segment is about to become visible: parse its sections, keep the result as segment_user().
     * An error at start marks the segment damaged; in store_commit() it fails the commit. */
    enum err (*segment_open)(void *ctx, struct segment *seg, void **ret_user, struct err_text *reterr);
    void (*segment_close)(void *user); /* the last reference has gone */
    /* The log is larger than wal_bytes_max and this signal's low-water mark keeps it: flush soon.
     * Called from the store's thread, again at every file while it lasts; must return at once. */
    void (*wal_pressure)(void *ctx);
};
/* Once per signal, before its segments are read. */
enum err store_attach(struct store *st, enum store_signal s, const struct store_hooks *hooks,
                      struct err_text *reterr) MUST_CHECK;
/* The log is over its size (or the disk is full) and the hold keeps files that could go: let go of what is at or below
 * lsn soon. Called from the store's thread, again while it lasts; must return at once. fn NULL: nobody. Once it has returned,
 * the old one is not called any more. */
void store_hold_hook(struct store *st, enum store_signal s, void (*fn)(void *ctx, uint64_t lsn), void *ctx);
/* No hook of this signal is called after this, except segment_close. */
void store_detach(struct store *st, enum store_signal s);

/* The segments of a signal at one moment, sorted by (min_time, id). Immutable. */
struct segment_set {
    struct segment *const *p;
    size_t n;
    const struct segment_meta *damaged; /* named by the MANIFEST but unreadable: answers miss these */
    size_t n_damaged;
    uint64_t version; /* grows with every change */
};
/* Lock-free. Holds all its segments until unref; the files of removed segments are deleted when the last
 * holder lets go. */
const struct segment_set *store_segments_ref(struct store *st, enum store_signal s);
const struct segment_set *segment_set_ref(const struct segment_set *set); /* one more reference of a held set */
void segment_set_unref(const struct segment_set *set);                    /* NULL is fine */

/* One atomic change of what exists. Zero-initialise; fields that are 0 change nothing. */
struct store_edit {
    enum store_signal signal;
    struct segment_writer *const *add; /* finished (segment_finish); consumed on success, else the caller aborts them */
    size_t n_add;
    const uint64_t *remove; /* segment ids of this signal */
    size_t n_remove;
    uint64_t low_water_lsn;   /* records of this signal up to here are in segments now; never goes back. Waits for
                             * their sync; while the disk refuses that, the mark stays at what is synced */
    const str *tombstone_add; /* opaque bytes (a signal's encoded matchers and range) */
    size_t n_tombstone_add;
    const uint64_t *tombstone_remove; /* ids */
    size_t n_tombstone_remove;
    bool retention_set;
    int64_t retention_ms;        /* data older than this has been given up (retention mark) */
    uint64_t *ret_tombstone_ids; /* n_tombstone_add ids, or NULL */
};
/* Renames the new files, syncs the directory, appends and syncs the MANIFEST edit, then swaps the set.
 * On error nothing changed for readers, and a later start sees either all of it or nothing.
 * Returns ERR_NO_SPACE, ERR_IO, ERR_NOT_FOUND (removes what is not there), or what segment_open returned. */
enum err store_commit(struct store *st, const struct store_edit *e, struct err_text *reterr) MUST_CHECK;

struct store_tombstone {
    uint64_t id;
    str body;
};
/* All tombstones of a signal, oldest first, copied into a. */
void store_tombstones(struct store *st, enum store_signal s, struct arena *a, struct store_tombstone **ret,
                      size_t *ret_n);
int64_t store_retention_mark(struct store *st, enum store_signal s); /* INT64_MIN = never set */

/* ---- snapshots ---- */
/* What the segments hold at one moment. Its files stay until it is freed. */
struct store_snapshot;
struct store_snapshot *store_snapshot_take(struct store *st); /* waits for a commit that is being made, no longer */
/* Make DEST a data directory with just that (its parents are made, it must not exist): hard links of the segments, or
 * copies where there can be none, a MANIFEST, an empty log, and copies of what other rooms keep in the directory. It is
 * built as DEST.tmp and appears whole. Records that are in no segment yet are not in it: flush first.
 * *ret_damaged: segments that cannot be read and were taken along as they are. ERR_EXISTS, ERR_NO_SPACE, ERR_IO. */
enum err store_snapshot_write(const struct store_snapshot *s, const char *dest, size_t *ret_damaged,
                              struct err_text *reterr) MUST_CHECK;
void store_snapshot_free(struct store_snapshot *s);

/* ---- facts ---- */
struct store_stats {
    uint64_t wal_bytes, wal_files, wal_spares;
    uint64_t last_lsn, durable_lsn;
    uint64_t segments, segment_bytes, damaged; /* over all signals */
    uint64_t disk_free, disk_total;            /* as of the last second */
    bool degraded;                             /* a WAL or MANIFEST write or sync has failed since the start */
    bool no_space;                             /* records are refused */
};
void store_stats_get(struct store *st, struct store_stats *ret);

/* ---- fsck ---- */
enum store_finding {
    STORE_FINDING_NOTE,   /* normal: a torn tail, a leftover of a crash */
    STORE_FINDING_DAMAGE, /* data is lost or cannot be trusted */
};
struct store_fsck {
    void *ctx;
    void (*report)(void *ctx, enum store_finding kind, const char *path, const char *text);
    void (*progress)(void *ctx, uint64_t bytes_done, uint64_t bytes_total); /* may be NULL */
    /* The signal's own check of an open, hash-verified segment, and of a record; error = damage. May be NULL. */
    enum err (*segment_check)(void *ctx, enum store_signal s, struct segment *seg, struct err_text *reterr);
    enum err (*record_check)(void *ctx, enum store_signal s, const struct store_replayed *rec, struct err_text *reterr);
    enum err (*tombstone_check)(void *ctx, enum store_signal s, str body, struct err_text *reterr);
};
struct store_fsck_result {
    uint64_t segments, segment_bytes, pages, wal_files, records, notes, damages;
};
/* Verify every byte of a data directory: MANIFEST, log, segments (hash, page checksums, structure). Writes
 * nothing; takes the lock file if it can, ERR_BUSY if a process has the directory open.
 * Returns OK when it could look at everything (damage is in the result), else why not. */
enum err store_fsck(struct fs *fs, const char *dir, const struct store_fsck *f, struct store_fsck_result *ret,
                    struct err_text *reterr) MUST_CHECK;

#endif
