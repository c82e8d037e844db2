/* Instruments and series, shared by the files of metrics. Guarded by the registry lock unless said otherwise. */
#pragma once

#include "sdk_mem.h"

#pragma GCC visibility push(hidden)

#define SDK_INSTRUMENTS_MAX 4096u
#define SDK_GROUPS_MAX      256u
#define SDK_KEY_MAX         (8 + VANE_LABELS_MAX * (VANE_VALUE_MAX + 1))
#define SDK_TEXT_MAX        28672u       /* label text of a series: fits a META record */
#define SDK_REST_NS         10000000000u /* a freed slot, series or instrument rests so long */

/* Layout of a histogram's slots, in each shard:
 *   native    1 zero count | 4..7 sums | 8..15 directory | 16.. counts of explicit bounds (VANE_F_CLASSIC_TOO)
 *             four sums, chosen by the value, so that one observation need not wait for the sum of the one before
 *   explicit  0 sum | 1.. counts */
enum { SDK_H_SUM = 0, SDK_H_ZERO = 1, SDK_H_SUMS = 4, SDK_H_DIR = 8, SDK_H_CLASSIC = 16, SDK_H_COUNTS = 1 };

/* A directory: 15 entries tag << 20 | unit, the 16th the unit of the next directory. tag: sign << 11 | exponent of a
 * double, never 0. The unit leads to 2^schema counts (a whole 64 bytes at least). */
#define SDK_DIR_ENTRIES 15u
#define SDK_DIR_UNIT    0xFFFFFu

/* Gauges are stored as bits ^ this: a zero slot was never set. */
#define SDK_GAUGE_UNSET 0x7FF456414E455355u

static inline _Atomic uint32_t *sdk_dir_at(const _Atomic uint64_t *p)
{
    return (_Atomic uint32_t *)(uintptr_t)p;
}

/* Exemplar cells: a sequence lock each; a writer that finds it odd goes away. */
struct sdk_ex_cell {
    _Atomic uint32_t seq;
    _Atomic uint32_t fork; /* sdk_forks of the writer: a parent's exemplars are not the child's */
    _Atomic uint64_t ms, value, ids[3];
};
enum { SDK_EX_HISTOGRAM = 4, SDK_EX_COUNTER = 1 };

struct sdk_group {
    uint32_t gen;
    char *name, *version, *prefix;
    char *labels; /* `k="v",` text put before every series' labels, "" without */
    uint32_t series_max;
};

struct sdk_instrument;

/* Among what rests after its removal: inside the thing itself, so that removing needs no memory. */
struct sdk_rest {
    struct sdk_rest *next;
    bool is_series;
    uint64_t freed_ns;
};

struct sdk_series {
    struct sdk_rest rest;
    struct sdk_instrument *in;
    _Atomic(struct sdk_series *) next; /* read without the lock by collections */
    _Atomic bool dead;
    uint32_t slot, n_slots, gen;
    uint64_t hash, created_ms;
    struct sdk_ex_cell *ex;
    uint32_t n_ex, key_n, text_n;
    bool overflow;
    _Atomic uint8_t *meta_state; /* in the file: 1 alive, 2 removed */
    char bytes[];                /* key_n bytes of key, text_n of text and NUL */
};

struct sdk_instrument {
    struct sdk_rest rest;
    struct sdk_family f; /* what exporters see; constant */
    uint32_t index, gen;
    struct sdk_group *group; /* NULL: none */
    uint32_t n_labels;
    char *labels[VANE_LABELS_MAX];
    uint32_t series_max, n_series, flags, buckets_max;
    uint8_t schema;
    vane_gauge_mode gauge_mode;
    vane_observe_fn observe;
    void *observe_ctx;
    _Atomic(struct sdk_series *) first;
    struct sdk_series *last, *overflow;
    _Atomic bool dead;
    char *info; /* text of an info */
};

/* All instruments in order of creation; entries and count are published with release. */
extern _Atomic(struct sdk_instrument *) sdk_instruments[SDK_INSTRUMENTS_MAX];
extern _Atomic uint32_t sdk_instruments_n;

/* A collection is under way: nothing it may see is freed. Held by sdk_collect(). */
extern pthread_mutex_t sdk_collect_mu;

static inline const char *sdk_series_text(const struct sdk_series *s)
{
    return s->bytes + s->key_n;
}

/* Callbacks of the host are running (without a lock): no instrument is freed. */
extern _Atomic bool sdk_observing;

/* The series of these values; makes it. 0 when it cannot: counted. kinds: the kind the caller's handle is of. */
uint64_t sdk_series_bind(vane_metric m, vane_labels values, vane_kind kind);

/* The same through this thread's cache. */
uint64_t sdk_series_cached(vane_metric m, vane_labels values, vane_kind kind);

/* What a histogram holds, added up over shards of this process or of files. The lists are sorted by sdk_hist_finish(). */
struct sdk_hist {
    struct sdk_span_of_buckets *b[2]; /* positive, negative */
    size_t n[2], cap[2];
    uint64_t zero, *classic; /* n_classic counts */
    size_t n_classic;
    double sum;
    int schema;
    bool failed;
};
/* Add one shard's slots. unit(ctx, number) answers an allocation unit or NULL. */
typedef const _Atomic uint64_t *(*sdk_unit_fn)(const void *ctx, uint32_t unit, uint32_t n_units);
void sdk_hist_add(struct sdk_hist *h, const _Atomic uint64_t *base, bool native, uint32_t n_bounds, sdk_unit_fn unit,
                  const void *ctx);
/* Sort, merge equal keys, halve the resolution until there are at most buckets_max. Fills the point's histogram part. */
void sdk_hist_finish(struct sdk_hist *h, uint32_t buckets_max, struct sdk_point *ret);
/* One bucket more; half the resolution. */
void sdk_hist_bucket(struct sdk_hist *h, unsigned sign, int32_t key, uint64_t count);
void sdk_hist_halve(struct sdk_hist *h);
void sdk_hist_reset(struct sdk_hist *h, int schema, size_t n_classic);
void sdk_hist_free(struct sdk_hist *h);

/* The families of the library itself and of the process (sdk_process.c). */
int sdk_process_collect(const struct sdk_visitor *v);
/* pids of the living processes of the folder, 0 without a folder. */
size_t sdk_multiproc_pids(uint32_t *ret, size_t max);
/* All processes of the folder (sdk_multiproc.c). Collect lock held. */
int sdk_multiproc_collect(const struct sdk_visitor *v);

/* Free what has rested long enough. Called with sdk_collect_mu held. */
void sdk_metric_reap(void);

/* Add to a label text: name="value", escaped; a comma before it unless it is the first. */
void sdk_put_label(struct sdk_buf *b, const char *name, const char *value, size_t n);

/* Record of a series in META blocks (docs/format/sdk-file.md, table 3), 8-byte aligned; strings behind it. */
struct sdk_meta_record {
    uint32_t bytes;     /* of the record, a multiple of 8 */
    uint8_t state;      /* 1 alive, 2 removed */
    uint8_t kind;       /* vane_kind */
    uint8_t gauge_mode; /* vane_gauge_mode */
    uint8_t native, schema;
    uint8_t spare_;
    uint16_t n_bounds; /* doubles right behind this struct */
    uint32_t slot, n_slots;
    uint64_t created_ms;
    uint32_t buckets_max;
    uint16_t name_n, help_n, unit_n, scope_n, version_n, states_n; /* strings in this order, then labels */
    uint32_t labels_n;
    uint32_t spare2_;
};
_Static_assert(sizeof(struct sdk_meta_record) == 56, "docs/format/sdk-file.md, table 3");

#pragma GCC visibility pop
