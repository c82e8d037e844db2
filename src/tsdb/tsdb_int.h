/* Inside the metrics store. The map of its parts:
 *
 *   batch -> tsdb_head.c --- partition (mutex) -- series ------ chunk -> chunk -> ...   in order, newest first
 *                |                 |                \---------- ooo ---> ooo            out of order, raw
 *                |                 \-- timeline: one array of timestamps for many series
 *                |-- tsdb_wal.c    the same tokens as a record of the log
 *                |-- tsdb_replay.c the log's records into the head at start: replay = running
 *                \-- tsdb_index.c  symbols, label pairs -> series ids (one mutex, taken for new series only)
 *   flush      -> tsdb_flush.c     rotate the generation, read the frozen one through a cursor, write segments
 *   compaction -> tsdb_compact.c   the same with segments as the source; retention; the background thread
 *   import     -> tsdb_bulk.c      past data as segments, past head and log
 *   delete     -> tsdb_tombstones.c  what is hidden until a compaction leaves it out
 *   query      -> tsdb_query.c     pins segments + generations; select by postings; tsdb_cursor.c decodes
 *
 * Generations. Every chunk and timeline belongs to one. A flush takes all partition locks for a moment, adds one
 * to db->gen and notes the LSN (the cut): chunks of older generations never change again. When their segments
 * are published and the queries that started before have ended, they are unlinked and freed.
 *
 * Readers hold no lock: chunks, timelines and the series table only grow; a writer fills first and then publishes
 * with a release store. Memory a reader may still see is retired (tsdb_retire) and freed when every query that
 * was open at that moment has closed.
 *
 * Lock ranks: flush 100 < late 105 < partition 110 < index 120 < known 125 < meta 130 < exemplars 135 < view 140 < limbo 150. */
#ifndef VANE_TSDB_INT_H
#define VANE_TSDB_INT_H

#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rd.h"
#include "base/stats.h"
#include "base/thread.h"
#include "base/vec.h"
#include "model/rollup.h"
#include "store/codec.h"
#include "store/segment.h"
#include "store/store.h"
#include "tsdb/tsdb.h"

typedef struct roaring_bitmap_s roaring_bitmap_t;

#define CHUNK_SAMPLES_MAX     120                 /* in the head */
#define CHUNK_BYTES_MAX       4096                /* of tokens; histogram chunks are cut there */
#define SEG_CHUNK_SAMPLES_MAX 480                 /* in segments */
#define SLOT_MS               (2 * 3600 * 1000LL) /* L0 and L1 segments never cross these borders */
#define DAY_MS                (24 * 3600 * 1000LL)
#define LOG_ONLY_AGE_MS       (5 * 60 * 1000LL)
#define FLUSH_AGE_MS          (30 * 60 * 1000LL)
#define FLUSH_BYTES           (128u << 20)
#define FLUSH_SPAN_MS         SLOT_MS
#define TS_NONE               INT64_MIN

/* ---- tokens (tsdb_tokens.c) ---- */
enum { TOK_RAW = 0xff };
struct tok { /* what the next token is relative to */
    uint64_t bits;
    int64_t m, d;  /* mantissa, last delta */
    int64_t start; /* start timestamp, 0 = unknown */
    uint8_t form;  /* exponent * 2 + (1: multiplied); TOK_RAW */
};
#define TOK_BYTES_MAX 24
enum tok_op { TOK_VALUE, TOK_RUN, TOK_GAP, TOK_END, TOK_BAD };
/* The token of one value: 0 bytes if it is the same as before (never when absolute). */
size_t tok_put(struct tok *t, uint64_t bits, int64_t start, bool absolute, uint8_t out[TOK_BYTES_MAX]);
size_t tok_put_run(uint32_t n, uint8_t out[TOK_BYTES_MAX]);
size_t tok_put_gap(uint32_t n, uint8_t out[TOK_BYTES_MAX]);
#define TOK_STATE_BYTES_MAX 48
size_t tok_put_state(const struct tok *t, uint8_t out[TOK_STATE_BYTES_MAX]); /* goes before a value or run token */
/* Next token; *ret_n for runs and gaps. */
/* Step over one value token without knowing what came before (fsck). */
bool tok_skip(const uint8_t **p, const uint8_t *end);
enum tok_op tok_get(struct tok *t, const uint8_t **p, const uint8_t *end, uint32_t *ret_n);
/* Decode up to n_max samples of a chunk. pos (may be NULL without gaps): timeline position of each.
 * start (may be NULL). Returns how many, or SIZE_MAX for damaged bytes. */
size_t tok_decode(const uint8_t *p, size_t n_bytes, size_t n_samples, uint32_t slot_end, double *v, uint32_t *pos,
                  int64_t *start);

/* ---- timelines (tsdb_timeline.c) ---- */
struct timeline {
    struct timeline *next;  /* of the partition */
    struct timeline *succ;  /* its continuation in the next generation */
    struct timeline *dirty; /* to be published at the end of this request */
    int64_t base, last;
    uint32_t slot; /* small number, reused after free */
    uint32_t gen;
    uint32_t n, cap;
    bool is_dirty;
    atomic_uint n_pub;          /* what readers may see */
    atomic_uint_least64_t born; /* queries that began later (seq > born) see it; UINT64_MAX: not published yet */
    _Atomic(uint32_t *) off;    /* ms since base, ascending */
};

/* ---- chunks ---- */
enum chunk_kind { CHUNK_FLOAT, CHUNK_HIST, CHUNK_OOO, CHUNK_OOO_HIST };
struct chunk {
    _Atomic(struct chunk *) prev; /* older */
    atomic_uint_least64_t state;  /* published: samples 16 | timeline slots 24 | bytes 24 */
    struct timeline *tl;          /* NULL: out of order */
    uint32_t tl_start;
    uint32_t gen;
    uint32_t cap;
    uint8_t kind, gap_extends;
    atomic_bool has_start;
    uint8_t data[];
};
#define STATE(samples, slots, bytes) ((uint64_t)(samples) << 48 | (uint64_t)(slots) << 24 | (uint64_t)(bytes))
#define STATE_SAMPLES(s)             ((uint32_t)((s) >> 48))
#define STATE_SLOTS(s)               ((uint32_t)((s) >> 24) & 0xffffff)
#define STATE_BYTES(s)               ((uint32_t)(s)&0xffffff)
struct ooo_sample {
    int64_t ts;
    uint64_t bits;
    int64_t start;
};

/* ---- series ---- */
struct series {
    hash128 id;
    _Atomic(struct chunk *) chunk, ooo; /* newest first */
    const uint8_t *labels;              /* uvarint n, n x (uvarint name, uvarint value) symbols */
    struct tok tok;
    int64_t last_ts;           /* newest ever, TS_NONE */
    uint32_t next;             /* id of the series that followed in the last request */
    uint32_t stamp, tok_stamp; /* partition's log context in which it is defined, has an absolute token */
    atomic_uint info;          /* type, temporality, resource (tsdb_meta.c) */
    uint32_t info_gen;         /* generation in which metadata was looked at */
    uint32_t serial;           /* tells a reused id from the old one */
    uint16_t run;              /* repeats since the last token */
    uint8_t part;
    bool dead;
    uint8_t rep; /* replay: what the next token of the log leans on */
};
enum {                /* rep 0: the end of the newest chunk of floats */
       REP_FIRST = 1, /* nothing, it is absolute */
       REP_ASIDE = 2, /* tok */
};
#define SERIES_PAGE      4096
#define SERIES_PAGES_MAX 65536

struct sid_slot {
    uint32_t id, tag; /* id 0 = empty */
};
struct part {
    struct mtx mu;
    uint8_t no;
    struct sid_slot *table; /* identity -> id */
    uint32_t table_n, table_cap;
    struct timeline *timelines, *dirty;
    struct timeline *recent[4]; /* of this request */
    unsigned recent_i;
    uint32_t gen;
    int64_t slot_from;      /* of the last sample's 2 h slot */
    VEC(int64_t) slots;     /* that samples of this generation fall in */
    int64_t from, to;       /* of this generation's samples that came in order; to < from: none yet */
    VEC(uint32_t) free_ids; /* of series that left: reused in the same partition only */
    /* log context: everything logged since it began is enough to read it */
    uint32_t stamp, epoch, seq;
    uint64_t last_lsn;
    struct buf frame;
    uint32_t frame_prev_id;
    int64_t frame_ts;
    struct labels frame_prev; /* borrowed during one request */
    bool frame_defs;
};

/* ---- head index (tsdb_index.c), all under index_mu ---- */
struct plist { /* ascending ids of one label pair */
    uint32_t n, last;
    uint32_t len, cap; /* cap 0: one id, in last; UINT32_MAX: bitmap */
    union {
        uint8_t *bytes;
        roaring_bitmap_t *bitmap;
    } u;
};
#define MAP_NAME     pairmap
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct plist
#define MAP_HASH(k)  hash_u64((k) ^ 0x9e3779b97f4a7c15ull)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"
#define MAP_NAME     symmap
#define MAP_KEY      str
#define MAP_VALUE    uint32_t
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"
struct namevals {
    VEC(uint32_t) v;
};
#define MAP_NAME     namemap
#define MAP_KEY      uint32_t
#define MAP_VALUE    struct namevals
#define MAP_HASH(k)  hash_u64((uint64_t)(k) + 0x9e3779b97f4a7c15ull)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

#define SYM_PAGE      4096
#define SYM_PAGES_MAX 65536
struct head_index {
    struct mtx mu;
    struct symmap syms;
    _Atomic(str *) sym_pages[SYM_PAGES_MAX]; /* id -> bytes; from 1 */
    uint32_t n_syms;
    struct arena sym_arena;
    struct pairmap pairs;
    struct namemap names;
    roaring_bitmap_t *all;
    roaring_bitmap_t *deleted; /* series a delete matched; NULL: none. Without data here they say nothing */
    uint64_t bytes;
};

/* Sorted order of head series: built when wanted, immutable, shared. */
struct head_order {
    atomic_uint refs;
    uint32_t n, max_id;
    uint64_t version;
    uint32_t *rank; /* by id; UINT32_MAX = not in it */
};

/* ---- metadata (tsdb_meta.c) ---- */
struct series_info {
    uint8_t type, temporality;
    str resource; /* uvarint n, n x (lstr name, lstr value); empty = none */
};
struct family {
    enum metric_type type;
    str help, unit; /* owned */
    uint32_t gen;   /* generation in which it was last logged */
};
#define MAP_NAME     infomap
#define MAP_KEY      str
#define MAP_VALUE    uint32_t
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"
#define MAP_NAME     fammap
#define MAP_KEY      str
#define MAP_VALUE    struct family
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

/* ---- exemplars (tsdb_exemplars.c) ---- */
struct ex_slot {
    uint32_t series, serial;
    uint32_t gen;
    int64_t ts;
    double v;
    str labels; /* owned; as series_info.resource */
};
struct ex_ring {
    struct mtx mu;
    struct ex_slot *p;
    size_t cap, head, n; /* head: next to write */
    uint64_t bytes;
    struct exlast *last; /* per series: hash of its newest */
};

struct known_table; /* tsdb_known.c */

struct limbo_item {
    void (*fn)(void *db, void *p);
    void *p;
    uint64_t seq;
};

struct tsdb {
    struct tsdb_config cfg;
    struct store *st;
    struct clock *clk;
    uint64_t seed;
    unsigned n_parts;
    struct part *parts;
    _Atomic(struct series *) pages[SERIES_PAGES_MAX];
    atomic_uint n_ids; /* ids below this exist */
    uint32_t serial;
    void (*gone)(void *ctx, struct labels ls); /* tsdb_on_gone */
    void *gone_ctx;
    struct head_index idx;
    struct mtx known_mu; /* one grows or purges at a time */
    _Atomic(struct known_table *) known;
    struct mtx order_mu;
    struct head_order *order;
    atomic_uint_least64_t index_version; /* grows when ids are reused */

    /* views */
    struct mtx view_mu;
    struct tsdb_query *queries; /* open ones */
    atomic_uint_least64_t query_seq;
    atomic_uint n_queries;
    struct mtx limbo_mu;
    VEC(struct limbo_item) limbo;

    /* generations */
    struct mtx flush_mu;  /* one flush or compaction publishes at a time */
    uint32_t gen;         /* current; under all partition locks */
    uint32_t gen_flushed; /* newest generation known to be in segments; view_mu */
    uint32_t gen_frozen;  /* generation being flushed, 0 = none; view_mu */
    uint64_t frozen_cut;  /* its LSN; view_mu */
    uint32_t unlink_gen;  /* to be unlinked when queries before unlink_seq are closed; view_mu */
    uint64_t unlink_seq;
    int64_t gen_began_ms;
    struct tomb_set *tombs;   /* NULL: none; changed under flush_mu and view_mu */
    atomic_uint gen_deleted;  /* newest generation a delete has looked at: nothing new is a repetition of it */
    VEC(int64_t) slots;       /* of frozen generations; flush_mu */
    VEC(uint64_t) no_compact; /* segments whose compaction met damage; flush_mu */

    struct mtx tl_mu;
    VEC(uint32_t) tl_free;
    atomic_uint n_tl_slots;

    struct mtx meta_mu;
    struct infomap info_ids;
    VEC(struct series_info) infos;
    struct fammap families;
    atomic_bool families_new; /* since the last segment: a flush without samples leaves them in the log */
    struct ex_ring ex;

    /* account */
    atomic_int_least64_t bytes_chunks, bytes_timelines, bytes_series, bytes_meta, bytes_index;
    atomic_int_least64_t gen_bytes; /* chunk bytes of the current generation */
    atomic_int_least64_t gen_samples;
    atomic_int_least64_t gen_from, gen_to; /* of the partitions' from, to */
    atomic_int_least64_t head_min, head_max;
    atomic_uint_least64_t n_series, n_chunks;
    atomic_uint_least64_t memory_max;

    atomic_int_least64_t keep_max_ms; /* of the default and all rules; 0 = for ever */
    atomic_int_least64_t given_up;    /* the store's retention mark */
    struct policy *policy;            /* view_mu */
    uint64_t policy_id;
    VEC(int64_t) no_rollup; /* days that met damage; flush_mu */

    /* background */
    uint64_t run;          /* names this run of the process in the log; 0 is no run. Changes when the replay is done */
    struct replay *replay; /* tsdb_replay.c */
    atomic_bool ready;     /* the head is complete */
    pthread_t bg;
    bool bg_running;
    struct mtx bg_mu;
    struct cond bg_cond;
    bool bg_stop, bg_kick;
    atomic_bool closing, wal_damaged, wal_pressure;
    atomic_int_least64_t bulk_ms; /* when a bulk was last at work (monotonic); 0 = never */
    atomic_uint writers;          /* requests in tsdb_write: background work yields to them */
    char damage[200];
    bool test_no_flush; /* tests: close as a crash would leave it */
};

/* ---- shared helpers ---- */
/* A limit that tsdb_set_limits may change at any time. */
#define LIMIT(db, field) __atomic_load_n(&(db)->cfg.field, __ATOMIC_RELAXED)
static inline struct series *series_at(struct tsdb *db, uint32_t id)
{
    struct series *page = atomic_load_explicit(&db->pages[id / SERIES_PAGE], memory_order_acquire);
    return &page[id % SERIES_PAGE];
}
static inline str sym_at(struct tsdb *db, uint32_t id)
{
    str *page = atomic_load_explicit(&db->idx.sym_pages[id / SYM_PAGE], memory_order_acquire);
    return page[id % SYM_PAGE];
}
static inline uint64_t uvarint_get(const uint8_t **p) /* trusted bytes of our own memory */
{
    uint64_t v = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t b = *(*p)++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80))
            return v;
    }
}
static inline size_t uvarint_put(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    return n;
}
/* Free p (fn NULL: mem_free) when nobody can see it any more. */
void tsdb_retire(struct tsdb *db, void (*fn)(void *db, void *p), void *p);
void tsdb_limbo_drain(struct tsdb *db, bool all);
unsigned tsdb_memory_percent(const struct tsdb *db);
uint64_t tsdb_memory_used(const struct tsdb *db);
void tsdb_kick(struct tsdb *db);

/* tsdb_timeline.c: all under the partition lock */
struct timeline *timeline_new(struct tsdb *db, struct part *p, int64_t ts);
bool timeline_extend(struct tsdb *db, struct part *p, struct timeline *t, int64_t ts);
static inline uint32_t *timeline_off(struct timeline *t)
{
    return atomic_load_explicit(&t->off, memory_order_relaxed);
}
static inline int64_t timeline_ts(struct timeline *t, uint32_t i)
{
    return t->base + timeline_off(t)[i];
}
uint32_t timeline_lower_bound(struct timeline *t, uint32_t from, int64_t ts);
void timelines_publish(struct tsdb *db, struct part *p);
struct timeline *timeline_recent(struct part *p, int64_t ts, uint32_t *ret_index);
void timeline_note_recent(struct part *p, struct timeline *t);
void timeline_free(void *db, void *t);

/* tsdb_index.c */
void index_init(struct tsdb *db);
void index_deinit(struct tsdb *db);
uint32_t sym_intern(struct tsdb *db, str s) /* REQUIRES index_mu */;
uint32_t sym_find(struct tsdb *db, str s);                           /* 0 = none; index_mu */
void index_add(struct tsdb *db, uint32_t id, const uint8_t *labels); /* index_mu */
roaring_bitmap_t *plist_bitmap(const struct plist *l);               /* new bitmap */
void plist_add(struct plist *l, uint32_t id, uint64_t *io_bytes);
void plist_free(struct plist *l);
struct labels series_labels(struct tsdb *db, const struct series *s, struct arena *a);
int series_cmp(struct tsdb *db, const struct series *a, const struct series *b); /* as labels_cmp */
/* Ids of head series that match; sorted by id. index_mu is taken inside. */
enum err index_select(struct tsdb *db, const struct matcher *m, size_t n, roaring_bitmap_t **ret);
void index_note_deleted(struct tsdb *db, const struct matcher *m, size_t n);
struct head_order *order_get(struct tsdb *db); /* sorted order of all head series; unref it */
void order_unref(struct head_order *o);

/* tsdb_series.c */
struct series *series_find(struct tsdb *db, struct part *p, hash128 h, uint32_t *ret_id);
struct series *series_new(struct tsdb *db, struct part *p, hash128 h, struct labels ls, uint32_t *ret_id);
unsigned series_part(struct tsdb *db, struct labels ls, hash128 h);
hash128 series_hash(struct tsdb *db, struct labels ls);
enum err series_check_labels(struct tsdb *db, struct labels ls, struct err_text *reterr);
static inline uint64_t series_ref_of(const struct series *s, uint32_t id)
{
    return (uint64_t)id | (uint64_t)s->part << 32 | (uint64_t)(s->serial & 0xffffff) << 40;
}
size_t tsdb_series_gc(struct tsdb *db); /* drop idle series from the head; how many */

/* tsdb_known.c */
void known_put(struct tsdb *db, hash128 key, uint64_t ref); /* under the partition lock of the (living) series */
void known_purge(struct tsdb *db); /* after series were marked dead, before their ids are free */
void known_deinit(struct tsdb *db);

/* tsdb_head.c */
enum append_result { APPEND_OK, APPEND_DUP, APPEND_CONFLICT, APPEND_OOO, APPEND_TOO_OLD, APPEND_BAD };
enum append_mode {
    APPEND_REPLAY, /* it is in the log */
    APPEND_LATE,   /* the same, but nobody has looked yet whether it is there already */
    APPEND_LOG,    /* also write it into the partition's frame */
};
/* Append under the partition lock. */
enum append_result head_append(struct tsdb *db, struct part *p, struct series *s, uint32_t id, int64_t ts,
                               uint64_t bits, int64_t start, enum append_mode mode);
enum append_result head_append_hist(struct tsdb *db, struct part *p, struct series *s, uint32_t id, int64_t ts,
                                    const struct histogram *h, int64_t start, enum append_mode mode);
/* Replay: the sample that a token of the log stands for; the token's bytes go to the chunk as they are. The first of a context
 * (s->rep = REP_FIRST) is absolute. too_old: only followed. APPEND_BAD: it cannot be read. */
enum append_result head_append_token(struct tsdb *db, struct part *p, struct series *s, uint32_t id, int64_t ts,
                                     const uint8_t *tok, size_t n_tok, bool too_old, enum append_mode mode);
/* Replay: a sample that was out of order. */
enum append_result head_append_raw(struct tsdb *db, struct part *p, struct series *s, uint32_t id, int64_t ts,
                                   uint64_t bits, int64_t start, enum append_mode mode);
void head_rep_aside(struct tsdb *db); /* chunks are going to leave: what the log leans on moves to the series */
void chunk_free(void *db, void *c);
void head_stats_register(void); /* counters show 0 before they count */
void upkeep_stats_register(void);
void flush_stats_register(void);
void bulk_stats_register(void);
void span_publish(struct tsdb *db, struct part *p); /* the partition's span of time to the store's; under its lock */
void head_unlink(struct tsdb *db, uint32_t gen);    /* drop what is in segments */

/* tsdb_wal.c */
enum { WAL_FRAME = 1 };
enum { OP_TOK, OP_SAME, OP_TS_TOK, OP_TS_SAME, OP_DEF, OP_RAW, OP_HIST, OP_EXT };
enum { EXT_INFO = 1, EXT_EXEMPLAR = 2, EXT_FAMILY = 3, EXT_RUN = 4 };
void tsdb_wal_frame_begin(struct tsdb *db, struct part *p, uint32_t epoch, int64_t base_ts);
void tsdb_wal_put_def(struct tsdb *db, struct part *p, struct series *s, uint32_t id, struct labels ls);
void tsdb_wal_put_sample(struct part *p, uint32_t id, int64_t ts, const uint8_t *tok, size_t n_tok);
void tsdb_wal_put_raw(struct part *p, uint32_t id, int64_t ts, uint64_t bits, int64_t start);
void tsdb_wal_put_hist(struct part *p, uint32_t id, int64_t ts, int64_t start, str body);
void tsdb_wal_put_exemplar(struct part *p, uint32_t id, int64_t ts, double v, str labels);
void tsdb_wal_put_info(struct part *p, uint32_t id, const struct series_info *info);
void tsdb_wal_put_family(struct part *p, str name, const struct metric_meta *m);
enum err tsdb_wal_frame_end(struct tsdb *db, struct part *p); /* append to the log if there is anything */

/* tsdb_replay.c: what was in the log at open goes into the head, on threads; what is written meanwhile waits behind it */
extern atomic_bool replay_test_hold; /* tests: the replay does not end */
enum err replay_start(struct tsdb *db) MUST_CHECK;
void replay_stop(struct tsdb *db);
void replay_stats_register(void);
/* A write while the log is replayed: into the log at once, into the head afterwards. */
struct replay_late { /* a record that waits */
    struct replay_late *next;
    uint64_t lsn;
    uint32_t epoch;
    uint16_t partition;
    uint32_t n;
    char payload[];
};
bool replay_late_begin(struct tsdb *db,
                       enum err *ret); /* true: with the lock; false: the head is complete, write as always */
enum err replay_late_add(struct tsdb *db, struct part *p); /* the partition's frame, which ends here */
void replay_late_end(struct tsdb *db);
bool replay_await(struct tsdb *db); /* until the head is complete; false: it never will be */

/* tsdb_hist.c: self-contained byte form of one histogram */
void hist_encode(struct buf *out, const struct histogram *h);
enum err hist_decode(struct rd *r, struct arena *a, struct histogram **ret);
/* A segment's chunk of n histograms of one layout, in columns. */
void hist_chunk_encode(struct buf *out, const struct histogram *const *h, size_t n);
enum err hist_chunk_decode(struct rd *r, size_t n, struct arena *a, struct histogram **ret);
bool hist_same_layout(const struct histogram *a, const struct histogram *b);

/* tsdb_meta.c */
void meta_labels_encode(struct buf *out, struct labels ls);
bool meta_labels_decode(struct rd *r, struct arena *a, struct labels *ret);
uint32_t meta_info_id(struct tsdb *db, enum metric_type type, enum temporality t, str resource);
struct series_info meta_info(struct tsdb *db, uint32_t id);
bool meta_family_put(struct tsdb *db, str name, const struct metric_meta *m, uint32_t gen); /* true: log it */
void meta_deinit(struct tsdb *db);

/* tsdb_exemplars.c */
void exemplar_put(struct tsdb *db, uint32_t id, uint32_t serial, uint32_t gen, int64_t ts, double v, str labels);
void exemplars_deinit(struct tsdb *db);
void exemplars_deleted(struct tsdb *db); /* what was deleted may be written again */

/* ---- segments (tsdb_segment.c reads, tsdb_segment_write.c writes; docs/format/tsdb.md) ---- */
enum seg_kind {
    SEG_TOC = 1,
    SEG_SYMBOLS = 2,
    SEG_SERIES = 3,
    SEG_IDENT = 4,
    SEG_POSTINGS = 5,
    SEG_TIMELINES = 6,
    SEG_CHUNKS = 7,
    SEG_INDEX = 8,
    SEG_INFO = 9,
    SEG_FAMILIES = 10,
    SEG_EXEMPLARS = 11,
    SEG_ROLLUP = 12,
};
enum { SEG_LAYOUT = 1, SEG_LAYOUT_ROLLUP = 2 }; /* a program that does not know windows refuses them */
#define SEG_LEVEL_ROLLUP  8                     /* segments of this level hold windows, not samples */
#define SEG_SYMBOL_PAGE   (16u << 10)
#define SEG_POSTINGS_PAGE (8u << 10)
#define SEG_IDENT_ROWS    4096
#define SEG_INDEX_ROWS    1024

struct rollup_span { /* windows of one length that end in (from_ms, to_ms] */
    int64_t res_ms, from_ms, to_ms;
    uint64_t filter; /* hash of the matchers they were chosen with; 0 = all series */
};
struct seg_pages { /* a section's pages and the first row in each */
    uint32_t page_first, n;
    uint32_t *first; /* n + 1 entries: the last is the number of rows */
};
struct tsdb_seg {        /* segment_user() */
    struct segment *seg; /* borrowed: this lives as long as it */
    uint32_t n_series, n_symbols, n_timelines;
    uint64_t samples;
    struct seg_pages symbols, series, ident, postings, timelines, index;
    str *symbol_first;    /* first key of each symbol page */
    uint64_t *post_first; /* first (name << 32 | value) of each postings page */
    uint32_t chunk_page;  /* first page of chunks */
    uint32_t n_chunk_pages;
    struct rollup_span rollup;         /* res_ms 0: samples */
    _Atomic(struct seg_keeps *) keeps; /* grows under tomb_mu */
    struct arena a;
    struct mtx tomb_mu;               /* for adding to: */
    _Atomic(struct seg_tomb *) tombs; /* rows hidden by tombstones */
    atomic_uint_least64_t tombs_upto; /* newest tombstone that was looked up */
};
enum err seg_open_hook(void *ctx, struct segment *seg, void **ret_user, struct err_text *reterr);
void seg_close_hook(void *user);

struct seg_ctx { /* one query's decoded parts of a segment; one thread */
    const struct tsdb_seg *s;
    struct arena *a;
    str **sym_cache; /* per symbol page: all its strings */
    struct page_buf page, post;
    uint32_t series_page; /* decoded page of series, UINT32_MAX = none: */
    uint32_t row0, rows;
    VEC(uint32_t) pairs;   /* of all rows */
    VEC(uint32_t) pair_at; /* rows + 1 */
    uint32_t *info;        /* per row, lazily */
    struct series_info *infos;
    uint32_t n_infos;
    uint32_t ident_page;
    str ident_raw;
    struct page_buf ident_buf;
};
void seg_ctx_init(struct seg_ctx *c, const struct tsdb_seg *s, struct arena *a);
void seg_ctx_deinit(struct seg_ctx *c);
enum err seg_symbol(struct seg_ctx *c, uint32_t sym, str *ret);
enum err seg_symbol_find(struct seg_ctx *c, str s, uint32_t *ret, bool *ret_found);
enum err seg_labels(struct seg_ctx *c, uint32_t row, struct arena *a, struct labels *ret);
enum err seg_select(struct seg_ctx *c, const struct matcher *m, size_t n, roaring_bitmap_t **ret);
/* Values of a label (symbols, ascending), or all names when name is STR_NONE. */
enum err seg_values(struct seg_ctx *c, str name, struct arena *a, uint32_t **ret, size_t *ret_n);
enum err seg_ident(struct seg_ctx *c, uint32_t row, hash128 *ret); /* 96 bits */
/* All bytes of a section that is no larger than a few pages; empty if absent. In a. */
enum err seg_blob(const struct segment *seg, enum seg_kind kind, struct arena *a, str *ret);
enum err seg_timeline(const struct tsdb_seg *s, uint32_t tl, struct page_buf *b, int64_t **ret_ts, uint32_t *ret_n);
struct seg_chunk {
    uint32_t page, off, tl, start, n, flags;
};
#define SEG_CHUNK_HIST   1
#define SEG_CHUNK_START  2
#define SEG_CHUNK_ROLLUP 4 /* windows; their ends are the timeline */
struct seg_index_page {    /* decoded chunk index of SEG_INDEX_ROWS series */
    uint32_t page;         /* UINT32_MAX = none */
    uint32_t row0, rows;
    uint32_t first[SEG_INDEX_ROWS + 1];
    struct seg_chunk *chunks;
    uint32_t n_chunks, cap;
    uint32_t *col;
    size_t col_cap;
};
enum err seg_index_load(const struct tsdb_seg *s, uint32_t row, struct seg_index_page *ip, struct page_buf *b);
uint32_t seg_page_of(const struct seg_pages *p, uint32_t row); /* index into first; row must be < first[n] */
enum err seg_series_info(struct seg_ctx *c, uint32_t row, struct series_info *ret);

struct seg_spec { /* what a segment is made of */
    unsigned level;
    int64_t from, to;
    uint64_t lsn_first, lsn_last;
};
struct seg_out; /* a segment being written */
enum err seg_out_open(struct tsdb *db, unsigned level, struct seg_out **ret, struct err_text *reterr);
void seg_out_series(struct seg_out *o, struct labels ls, hash128 id, const struct series_info *info); /* ascending */
void seg_out_points(struct seg_out *o, const struct tsdb_points *p);
/* Windows of the series, ascending; in a segment that seg_out_rollup() said is of windows. */
void seg_out_rollup(struct seg_out *o, const struct rollup_span *span);
void seg_out_windows(struct seg_out *o, const struct rollup *r, size_t n);
void seg_out_exemplars(struct seg_out *o, const struct exemplar *e, size_t n);
void seg_out_family(struct seg_out *o, str name, const struct metric_meta *m);
uint64_t seg_out_samples(const struct seg_out *o);
size_t seg_out_times(const struct seg_out *o); /* entries of all its timelines */
enum err seg_out_finish(struct seg_out *o, uint64_t lsn_first, uint64_t lsn_last, struct segment_writer **ret,
                        struct err_text *reterr); /* frees o */
void seg_out_abort(struct seg_out *o);

/* ---- rollups (tsdb_rollup.c, tsdb_rollup_codec.c; model/rollup.h) ---- */
struct rollup_vec {
    struct rollup *p;
    size_t n, cap;
};
/* The samples of p in (from, to] as windows, both aligned to the length; floats before histograms where a window has
 * both. What is before `from` tells of resets. Histograms are p's or in a. */
void rollup_windows(const struct tsdb_points *p, int64_t from_ms, int64_t to_ms, int64_t res_ms, struct arena *a,
                    struct rollup_vec *out);
/* A chunk's columns, without times and counts: those are timelines. All floats, or all histograms of one layout. */
void rollup_floats_encode(struct buf *out, const struct rollup *r, size_t n);
enum err rollup_floats_decode(str in, size_t n, struct rollup *io) MUST_CHECK; /* counts are there */
/* Window number `at` of the timelines ends, first and last times, counts (running, each plus one); false: damaged. */
bool rollup_times(const struct rollup_span *span, const int64_t *const tl[4], size_t at, struct rollup *ret);
void rollup_hists_encode(struct buf *out, const struct rollup *r, size_t n);
enum err rollup_hists_decode(str in, size_t n, struct arena *a, struct rollup *io) MUST_CHECK;
static inline bool meta_is_rollup(const struct segment_meta *m)
{
    return m->level >= SEG_LEVEL_ROLLUP;
}
/* What the configuration says of retention and rollups: immutable, shared. */
struct policy_rollup {
    int64_t res_ms, keep_ms;
    struct matcher *m;
    size_t n;
    uint64_t filter; /* rollup_span.filter */
};
struct policy_keep {
    int64_t keep_ms;
    struct matcher *m;
    size_t n;
};
struct policy {
    atomic_uint refs;
    uint64_t id; /* differs between any two of a store */
    struct arena a;
    struct policy_rollup rollups[TSDB_ROLLUPS_MAX]; /* shortest windows first */
    size_t n_rollups;
    struct policy_keep *keeps;
    size_t n_keeps;
    uint64_t keeps_key; /* hash of their matchers: rows found by them can be used again */
};
struct policy *policy_ref(struct tsdb *db); /* the current one; never NULL */
void policy_unref(struct policy *p);
void policy_set(struct tsdb *db, const struct tsdb_config *cfg);
struct policy *policy_new(const struct tsdb_config *cfg, int64_t *ret_longest); /* longest keep of all, 0 = for ever */
/* Which rule of retention is that of these labels: its index, n_keeps = the default. */
size_t policy_keep_of(const struct policy *p, struct labels ls);
/* Does a rule keep these samples for a shorter time than the default? Then nothing is left of them in rollups, too. */
bool policy_keeps_less(struct tsdb *db, const struct policy *p, size_t rule);
/* Samples before this are too old to be written. */
int64_t retention_accepts(struct tsdb *db, int64_t now_ms);
/* Hide what is expired from a query: rows of its segments, and series of the head when they are selected. */
void retention_hide(struct tsdb_query *q);
/* Where the samples of a head series begin for a query. */
int64_t retention_head_cut(struct tsdb_query *q, struct labels ls);
/* Is so much of a segment expired that writing it anew is worth it? */
bool retention_rewrites(struct tsdb *db, const struct policy *p, struct segment *seg, int64_t now);
void seg_keeps_free(struct tsdb_seg *s);
struct seg_keeps { /* rows of a segment by rule of retention */
    struct seg_keeps *next;
    uint64_t key;
    size_t n;                 /* rules; rows[n]: of no rule */
    roaring_bitmap_t *rows[]; /* n + 1 */
};
enum err seg_keeps_get(struct tsdb_seg *s, const struct policy *p, const struct seg_keeps **ret) MUST_CHECK;
/* Are its windows wanted for answers: have samples of its time been given up? */
/* Rollups of the days from..to that can be made anew and would lack what is about to be added to those days: their ids. */
size_t rollup_outdated(struct tsdb *db, const struct segment_set *set, int64_t from_ms, int64_t to_ms, uint64_t *ids);
bool rollup_active(struct tsdb *db, const struct segment_set *set, const struct segment_meta *m);
/* Write what is missing or outdated, drop what is too old; one day at a time. */
/* Windows of a segment that holds deleted samples, without those; of a day whose samples are gone. */
enum err rollup_rewrite(struct tsdb *db, struct segment *seg, struct err_text *reterr);
enum err rollup_round(struct tsdb *db, bool *ret_did, struct err_text *reterr);
/* Are the samples of this day in rollups as far as they should be? Then they may go. */
bool rollup_day_done(struct tsdb *db, const struct segment_set *set, int64_t day_ms);
void rollup_stats_register(void);
/* tsdb_rollup_read.c: add the rollups that a query needs to its segments. */
void rollup_pick(struct tsdb_query *q);
struct qseries;
struct tsdb_cursor;
/* All windows of a series of a query over one rollup; valid until the next read. */
enum err cursor_windows(struct tsdb_cursor *c, const struct qseries *x, struct rollup_vec **ret) MUST_CHECK;

/* ---- matching over any sorted source of label pairs (tsdb_postings.c) ---- */
struct postings_source {
    void *ctx;
    /* Ids with name=value, NULL if none; the caller frees. */
    enum err (*get)(void *ctx, str name, str value, roaring_bitmap_t **ret);
    /* Union of the ids of all values for which match(value) == want. */
    enum err (*scan)(void *ctx, const struct matcher *m, bool want, roaring_bitmap_t *into);
    roaring_bitmap_t *(*all)(void *ctx);
};
enum err postings_select(const struct postings_source *src, const struct matcher *m, size_t n, roaring_bitmap_t **ret);

/* ---- queries (tsdb_query.c, tsdb_cursor.c) ---- */
struct qref { /* where a series of a query lives */
    struct qref *next;
    uint32_t src; /* index into segs */
    uint32_t row;
};
struct qseries {   /* in the query's arena; its address is the id */
    hash128 ident; /* 96 bits */
    struct qref *first, *last;
    uint32_t head_id;             /* 0 = not in the head */
    uint32_t created_in, seen_in; /* selects; its places are learned in the first */
    bool head_data;
    int64_t head_cut; /* what is older in the head is expired */
};
#define MAP_NAME     identmap
#define MAP_KEY      hash128
#define MAP_VALUE    struct qseries *
#define MAP_HASH(k)  ((k).lo ^ (k).hi * 0x9e3779b97f4a7c15ull)
#define MAP_EQ(a, b) hash128_eq(a, b)
#include "base/map.h"
struct ex_found {
    uint32_t src, row, serial; /* src UINT32_MAX: the head */
    struct exemplar e;
};
struct tsdb_query {
    struct tsdb *db;
    struct tsdb_query *prev, *next; /* db->queries */
    uint64_t seq;
    const struct segment_set *set; /* NULL: none */
    struct segment **segs;         /* those that overlap the range (or were given), oldest log position first */
    size_t n_segs, n_raw;          /* from n_raw on: rollups, by time and length of window */
    bool head;
    bool hints;                /* give histograms the reset hints of a store; what is to be stored keeps its own */
    bool lazy_labels;          /* a flush: labels are made one series at a time (query_labels) */
    uint32_t gen_min, gen_max; /* head generations that are not in the set */
    int64_t from_ms, to_ms;
    struct arena a;                /* one thread: the query's */
    struct seg_ctx *ctx;           /* per segment */
    const struct seg_tomb **tombs; /* per segment; NULL: nothing is deleted */
    struct policy *policy;         /* NULL: nothing is expired but by whole segments */
    int64_t now_ms;                /* of the policy */
    bool head_cuts;                /* series of the head have expired samples */
    struct identmap by_ident;
    uint32_t select_no;
    atomic_uint *caps; /* timeline slot -> published entries as first seen + 1 */
    uint32_t n_caps;
    VEC(struct ex_found) ex; /* sorted, once asked for */
    bool ex_done;
    atomic_bool damaged;
    struct mtx why_mu;
    char why[300];
};
void query_damage(struct tsdb_query *q, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A query over given segments only (compaction), or over given head generations only (flush). */
struct query_spec {
    int64_t from_ms, to_ms;
    struct segment *const *segs;
    size_t n_segs;
    bool head;
    bool with_deleted; /* as if there were no tombstones, and nothing expired */
    uint32_t gen_min, gen_max;
};
void query_open_raw(struct tsdb *db, const struct query_spec *spec, struct tsdb_query **ret);
/* Visible head chunks only. */
static inline bool query_sees(const struct tsdb_query *q, uint32_t gen)
{
    return gen >= q->gen_min && gen <= q->gen_max;
}
static inline struct qseries *qseries_of(uint64_t id)
{
    return (struct qseries *)(uintptr_t)id;
}
/* Has a row of segment src samples in [from, to] that are not hidden? (tsdb_cursor.c) */
/* Samples of a row in [from, to]; *io_oldest: the first of them, if it is older. */
enum err cursor_count(struct tsdb_cursor *c, uint32_t src, uint32_t row, int64_t from, int64_t to, uint64_t *ret,
                      int64_t *io_oldest) MUST_CHECK;
enum err cursor_row_has(struct tsdb_cursor *c, uint32_t src, uint32_t row, int64_t from, int64_t to, bool *ret);
/* Labels of a selected series of a lazy query, in a. */
struct labels query_labels(struct tsdb_query *q, const struct tsdb_series *s, struct arena *a);
enum err query_series_info(struct tsdb_query *q, const struct qseries *x, struct series_info *ret);
/* Exemplars of the query's head generations (ring) and segments of one series; in a. */
void query_exemplars(struct tsdb_query *q, const struct qseries *x, struct arena *a, struct exemplar **ret,
                     size_t *ret_n);

/* ---- deletes (tsdb_tombstones.c) ---- */
struct time_range {
    int64_t from, to; /* inclusive */
};
enum err tombs_load(struct tsdb *db, struct err_text *reterr); /* at start, from the MANIFEST */
void tombs_free(struct tsdb *db);
void tomb_stats_register(void);
struct tomb_set *tomb_set_ref(struct tomb_set *s); /* NULL is fine */
void tomb_set_unref(struct tomb_set *s);
void seg_tombs_free(struct tsdb_seg *s);
/* Fill q->tombs for its segments. */
void query_tombs(struct tsdb_query *q, const struct tomb_set *set);
/* Hide rows of segment src before a time, for this query. rows are borrowed. */
void query_hide_rows(struct tsdb_query *q, size_t src, const roaring_bitmap_t *rows, int64_t before_ms);
/* Take out the rows of segment src that tombstones leave nothing of in the query's range. */
enum err tombs_select(struct tsdb_query *q, size_t src, roaring_bitmap_t *io_rows);
bool tombs_hide(const struct seg_tomb *t, uint32_t row, int64_t ts);
/* What is left of [from, to] in a row: disjoint, ascending; in a. */
size_t tombs_left(const struct seg_tomb *t, uint32_t row, int64_t from, int64_t to, struct arena *a,
                  struct time_range **ret);
/* REQUIRES flush_mu */
bool seg_has_deleted(struct tsdb *db, struct segment *seg);
size_t tombs_count(const struct tsdb *db);
bool tombs_reach(const struct tsdb *db, const struct segment_meta *m); /* a segment that is not published yet */
enum err tombs_drop_unneeded(struct tsdb *db, struct err_text *reterr);

/* ---- upkeep (tsdb_flush.c, tsdb_compact.c) ---- */
/* One segment again, without what is deleted. REQUIRES flush_mu. */
enum err compact_rewrite(struct tsdb *db, struct segment *seg, struct err_text *reterr);
bool compact_skips(struct tsdb *db, uint64_t id); /* it was found damaged */
/* Rotate and write what was frozen. cut 0: everything logged so far. low_water: log position up to which nothing
 * needs to be replayed any more. REQUIRES flush_mu. */
/* Between series of a long job under flush_mu: writers go first, and the head must not wait for it. */
void upkeep_breathe(struct tsdb *db, size_t done);
enum err flush_locked(struct tsdb *db, uint64_t cut, uint64_t low_water, struct err_text *reterr);
/* The samples of series s in [from, to] as one segment; *ret NULL if there are none. */
enum err write_segment(struct tsdb_query *q, const struct tsdb_series *s, size_t n, struct seg_spec spec,
                       struct segment_writer **ret, struct err_text *reterr);
enum err upkeep_start(struct tsdb *db);
void upkeep_stop(struct tsdb *db);
enum err compact_round(struct tsdb *db, bool *ret_did, struct err_text *reterr);
enum err retention_apply(struct tsdb *db, struct err_text *reterr); /* tsdb_retention.c; REQUIRES flush_mu */
void retention_stats_register(void);
void flush_unlink_try(struct tsdb *db);
/* Enough in the current generation that writing it gives memory back? */
bool flush_by_bytes(struct tsdb *db);
/* Does the current generation hold more than FLUSH_SPAN_MS of data time, in chunks worth a segment? Live streams are
 * flushed by age; this bounds those that are faster than the clock. */
bool flush_by_span(struct tsdb *db);

#endif
