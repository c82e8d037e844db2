/* The write-ahead log (docs/format/wal.md), private to the store.
 *
 * Three parties share struct wal:
 *   front     callers of pin/append/wait: give out LSNs and encoding epochs, queue finished records
 *   committer one at a time: writes all that is queued with one pwritev and one datasync, publishes durable_lsn. Whoever
 *             waits for a record commits by itself (no thread is woken for it) and passes the role on to the next who
 *             waits; a thread of its own commits what nobody waits for, and takes over when the disk fails
 *   keeper    one thread: makes the next files ahead, reuses old ones, watches the disk's space
 *
 * Epochs. `front_epoch` is the epoch records are encoded under; it grows only while nobody holds a pin. The
 * file being written has `file_epoch` >= that of every record in it: equal normally, greater after a file
 * was abandoned because of an error and its unacknowledged records were written again. */
#ifndef VANE_STORE_WAL_INT_H
#define VANE_STORE_WAL_INT_H

#include "base/fs.h"
#include "base/os.h"
#include "base/thread.h"
#include "store/store.h"

enum {
    WAL_VERSION = 1,
    WAL_HEADER_BYTES = 4096, /* records start here */
    WAL_RECORD_HEADER_BYTES = 32,
};

/* ---- format (wal_format.c) ---- */
struct wal_header {
    uint32_t epoch;
    uint64_t base_lsn;                 /* records of earlier files beyond this LSN are void */
    uint64_t before[STORE_SIGNAL_MAX]; /* newest LSN of each signal up to base_lsn */
    uint64_t file_bytes;
    int64_t created_ms;
};
void wal_header_encode(char out[WAL_HEADER_BYTES], const struct wal_header *h, uint64_t seed);
/* ERR_CORRUPT: not a header of this store and epoch. ERR_UNSUPPORTED: newer version. */
enum err wal_header_decode(str file, uint32_t epoch, uint64_t seed, struct wal_header *ret);

struct wal_record {
    uint64_t lsn;
    uint32_t enc_epoch; /* under which the payload was encoded */
    uint32_t back;      /* lsn - back is the first of its batch: all before that was synced */
    uint8_t kind;       /* signal << 5 | type */
    uint16_t partition;
    uint32_t payload_crc;
    str payload;
};
void wal_record_header_encode(char out[WAL_RECORD_HEADER_BYTES], const struct wal_record *r, uint32_t file_epoch,
                              uint64_t seed);
static inline uint64_t wal_record_bytes(uint64_t payload) /* with header and padding */
{
    return (WAL_RECORD_HEADER_BYTES + payload + 7) & ~(uint64_t)7;
}

/* Walks a file's records in order; past damage it looks for the next record that parses. */
struct wal_scan {
    str file;
    uint64_t off; /* after the last good record */
    uint64_t seed;
    uint32_t epoch;
    uint64_t last_lsn; /* of the last good record; the file's base LSN before */
};
bool wal_scan_next(struct wal_scan *s, struct wal_record *ret);
/* The newest LSN of the file that a crash may keep: records of the last batch after its first damaged one
 * were never acknowledged. before[] is advanced to that LSN. */
uint64_t wal_scan_end(str file, const struct wal_header *h, uint64_t seed, uint64_t before[STORE_SIGNAL_MAX],
                      uint64_t *ret_off);

/* ---- the log ---- */
struct wal_file {
    struct wal_header h;
    uint64_t bytes; /* used */
    bool header_bad;
    bool failed; /* a write or sync failed: never written, synced or reused */
};
typedef VEC(struct wal_file) wal_file_vec;

struct wal_item { /* a queued record; the record header and payload follow in `bytes` */
    struct wal_item *next;
    uint64_t lsn;
    uint32_t enc_epoch, payload_crc;
    uint8_t kind;
    uint16_t partition;
    uint32_t payload_bytes, n; /* n: with header and padding */
    char bytes[];
};

struct wal_hooks {
    void *ctx;
    void (*pressure)(void *ctx, enum store_signal s);
    void (*hold_pressure)(void *ctx, enum store_signal s, uint64_t lsn);
};

struct wal {
    struct fs *fs;
    struct clock *clk;
    struct store_config cfg;
    uint64_t seed;
    char *dir; /* DIR/wal */
    struct wal_hooks hooks;

    struct mtx mu;          /* guards all below except what is named otherwise; no I/O under it */
    struct cond work;       /* committer's thread: asked, or closing */
    struct cond keep;       /* keeper: something to do */
    struct cond unpinned;   /* a file change may go on */
    struct cond durable[2]; /* waiters of the batch in flight and of the next one */
    unsigned flight;        /* which of the two is in flight */
    uint64_t flight_lsn;    /* newest LSN in flight */
    unsigned waiting[2];    /* on durable[] */
    bool committing;        /* somebody is */
    bool asked;             /* the committer's thread shall */
    bool retry;             /* a commit failed: only the committer's thread tries again */

    uint64_t next_lsn;
    uint32_t front_epoch;
    uint64_t front_bytes; /* queued or written under front_epoch's file */
    unsigned pins;
    bool changing; /* somebody waits for the pins to drain */
    bool closing;
    bool no_space, spare_failed;
    bool degraded;
    enum err stuck; /* != OK: the disk takes nothing now, the committer retries */
    struct wal_item *head, **tail;
    uint64_t queue_bytes;

    wal_file_vec files;   /* oldest first; the last one may be the current one */
    VEC(uint32_t) spares; /* numbers of ready *.spare files */
    uint32_t spare_next;  /* for names */
    unsigned spares_promised;
    unsigned replays;
    uint64_t low_water[STORE_SIGNAL_MAX];
    uint64_t hold[STORE_SIGNAL_MAX]; /* STORE_HOLD_NONE: nobody follows */
    struct store_tail *tails;        /* open ones: their file and those after it stay */
    uint64_t used_bytes;             /* of all files */
    uint32_t pressure_epoch;
    uint64_t disk_free, disk_total;
    uint32_t replay_epoch_max; /* files up to here were there at open */
    uint64_t replay_lsn_max;

    /* the committer's own */
    struct fs_file *file;
    uint32_t file_epoch; /* written under mu */
    uint64_t file_off;
    uint64_t synced_before[STORE_SIGNAL_MAX];

    _Atomic uint64_t durable_lsn, last_lsn;
    _Atomic uint32_t epoch;

    pthread_t committer, keeper;
    bool started;
};

/* Opens DIR/wal and finds the end. lsn_min: the log goes on after at least this LSN. */
enum err wal_open(struct wal *w, struct fs *fs, const char *dir, const struct store_config *cfg, struct clock *clk,
                  uint64_t seed, const uint64_t low_water[STORE_SIGNAL_MAX], const uint64_t hold[STORE_SIGNAL_MAX],
                  uint64_t lsn_min, struct err_text *reterr) MUST_CHECK;
void wal_close(struct wal *w);
enum err wal_pin(struct wal *w, size_t bytes, uint32_t *ret_epoch);
void wal_unpin(struct wal *w);
enum err wal_append(struct wal *w, const struct store_record *rec, uint64_t *ret_lsn);
enum err wal_wait(struct wal *w, uint64_t lsn, bool lead); /* lead: commit by yourself if nobody does */
void wal_sync_soon(struct wal *w);
void wal_low_water_set(struct wal *w, enum store_signal s, uint64_t lsn);
uint64_t wal_low_water(struct wal *w, enum store_signal s);
uint64_t wal_bytes(struct wal *w);
enum err wal_replay(struct wal *w, const struct store_replay *r, struct store_replay_result *ret,
                    struct err_text *reterr);

/* Files of DIR/wal as they lie there, sorted by epoch, headers decoded (header_bad if not). Also the numbers
 * of spares. Used by open and fsck. */
enum err wal_list(struct fs *fs, const char *dir, uint64_t seed, wal_file_vec *ret_files, uint32_t **ret_spares,
                  size_t *ret_n_spares, struct arena *a, struct err_text *reterr);
char *wal_path(const char *dir, uint32_t n, bool spare); /* owned */

/* Feeds every record of files[0..n), which are in order, to fn, with holes. end_lsn: nothing beyond it.
 * Shared by replay and fsck. */
struct wal_walk {
    struct fs *fs;
    const char *dir;
    uint64_t seed;
    const struct wal_file *files;
    size_t n_files;
    uint64_t end_lsn;
    void *ctx;
    enum err (*on_record)(void *ctx, const struct wal_record *r);
    void (*on_hole)(void *ctx, const char *path, uint64_t first_lsn, uint64_t last_lsn);
    void (*on_file)(void *ctx, const char *path, uint64_t bytes_done); /* before each */
};
enum err wal_walk(const struct wal_walk *k, struct err_text *reterr);

/* ---- following (wal_tail.c): as in store.h ---- */
enum err wal_tail_open(struct wal *w, enum store_signal s, uint64_t from_lsn, struct store_tail **ret);
/* Is the file `epoch` open in a tail, or to be read by one? mu held. */
bool wal_tail_needs_locked(const struct wal *w, uint32_t epoch);
/* True if a raise of the mark to lsn lets a file go that the mark as last written keeps. */
bool wal_hold_passes_file(struct wal *w, enum store_signal s, uint64_t written, uint64_t lsn);
void wal_hold_set(struct wal *w, enum store_signal s, uint64_t lsn);
/* Bytes of the log from the first record after lsn on, about. */
uint64_t wal_bytes_after(struct wal *w, uint64_t lsn);

/* ---- keeper (wal_keeper.c) ---- */
void wal_keeper_run(void *wal);
enum err wal_spare_make(struct wal *w, uint32_t number);
/* The oldest file may go: every signal has what is in it. mu held; needs a successor. */
bool wal_oldest_free_locked(const struct wal *w);

extern struct stat stat_degraded;
#endif
