/* Inside forwarding: a remote with its reader and shards.
 *
 * Lifetimes. What queued items point at (series, metadata) is immutable once shared, and is retired by the reader with
 * the LSN of the record that replaced it: it is freed when the remote's place has passed that LSN, since items of
 * earlier records are done by then. Histograms and exemplars belong to their item.
 *
 * There is one struct fwd_series for a set of labels as sent, however many ids of the log stand for it: after a start
 * the log gives series other ids, and a request must not name one twice (receivers lose what is older in the second).
 *
 * Locks: forward.save_mu 5 < forward.mu 10 (list of remotes) < remote.mu 20 (shards, epochs, texts) <
 * table.tenants_mu 25 < shard.mu 30. No I/O under them. */
#ifndef VANE_FORWARD_INT_H
#define VANE_FORWARD_INT_H

#include <stdatomic.h>

#include "base/check.h"
#include "base/log.h"
#include "base/thread.h"
#include "forward/forward.h"
#include "http/http.h"
#include "model/sample.h"
#include "store/store.h"
#include "tsdb/tsdb.h"

enum { FWD_PAGE = 1024, FWD_PAGES = 1 << 18 }; /* ids of the log: 28 bits */
enum fwd_kind { FWD_SAMPLE, FWD_HISTOGRAM, FWD_EXEMPLAR, FWD_KINDS };

/* ---- series (forward_series.c): the reader's, but what is marked ---- */
struct fwd_family {
    str name;                                 /* owned */
    _Atomic(const struct metric_meta *) meta; /* NULL: nothing known; strings in the same block */
};
struct fwd_series {
    struct labels ls;     /* after relabelling; strings in the same block */
    str tenant;           /* for whom a request with it asks; empty: says nothing */
    struct batch_key key; /* the same, encoded for 1.0; without a hash. Empty for 2.0 */
    hash128 id;           /* of what is sent: tenant and labels */
    uint32_t refs;        /* ids of the log; the reader's, as is retired_lsn */
    uint64_t retired_lsn; /* of the newest entry of fwd_table.retired */
    atomic_uchar type;
    struct fwd_family *family, *base; /* by the name; without _bucket, _count, _sum: NULL if that is the same */
    /* scratch of the shard that has the series */
    uint64_t batch;
    uint32_t index;
};
struct fwd_known { /* by id of the log */
    hash128 key;   /* of the labels before relabelling */
    bool is_known;
    struct fwd_series *s; /* NULL: a rule drops it */
};
#define MAP_NAME     fwd_families
#define MAP_KEY      str
#define MAP_VALUE    struct fwd_family *
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"
#define MAP_NAME     fwd_series_map
#define MAP_KEY      hash128
#define MAP_VALUE    struct fwd_series *
#define MAP_HASH(k)  ((k).lo)
#define MAP_EQ(a, b) hash128_eq(a, b)
#include "base/map.h"

struct fwd_tenant {
    str stored, sent; /* owned: whose series it is, for whom it is sent */
};
struct fwd_retired { /* one of the two; a series that has come back since is not freed */
    struct fwd_series *s;
    const struct metric_meta *meta;
    uint64_t lsn;
};
struct fwd_table {
    struct relabel_rules rules;
    bool v2;
    struct labels external;         /* added where the name is not there yet */
    bool one_tenant;                /* the configuration sets X-Scope-OrgID itself */
    struct mtx tenants_mu;          /* 25 */
    VEC(struct fwd_tenant) tenants; /* of which series were sent; tenants_mu: shards read them */
    struct fwd_known **pages;       /* by id, FWD_PAGES of FWD_PAGE */
    struct fwd_series_map series;   /* by id of what is sent; those retired but not freed too */
    struct fwd_families families;
    VEC(struct fwd_retired) retired; /* ascending */
    size_t retired_done;
    struct arena scratch;
    uint64_t lsn; /* of the record being read */
};
void fwd_table_init(struct fwd_table *t, struct relabel_rules rules, struct labels external, bool v2, bool one_tenant);
void fwd_table_deinit(struct fwd_table *t); /* nothing may be queued any more */
void fwd_table_define(struct fwd_table *t, uint32_t id, struct labels ls);
void fwd_table_family(struct fwd_table *t, str name, const struct metric_meta *m);
void fwd_table_free_retired(struct fwd_table *t, uint64_t place);
struct metric_meta fwd_series_meta(const struct fwd_series *s); /* any thread */
static inline struct fwd_series *fwd_table_series(const struct fwd_table *t, uint32_t id)
{
    const struct fwd_known *page = t->pages[id / FWD_PAGE];
    return page ? page[id % FWD_PAGE].s : NULL;
}

/* ---- items and shards (forward_shard.c) ---- */
struct fwd_item {
    struct fwd_series *s;
    int64_t ts, start;
    union {
        double v;
        struct histogram *h; /* owned: one block */
        struct exemplar *x;  /* owned: one block */
    } u;
    uint64_t lsn;
    enum fwd_kind kind;
};
struct histogram *fwd_histogram_dup(const struct histogram *h);
struct exemplar *fwd_exemplar_dup(const struct exemplar *e);
void fwd_item_free(struct fwd_item *it);

struct remote;
struct fwd_shard {
    struct remote *r;
    unsigned no;
    pthread_t thread;
    struct mtx mu;
    struct cond more, space;
    struct fwd_item *ring; /* n items from head on wait; the first of them may be in flight */
    uint32_t cap, head, n;
    uint64_t first_ns; /* when the oldest that waits came */
    bool stop, flush;
    /* the thread's own */
    struct arena a;
    uint64_t metadata_ns;
};
struct fwd_shard *fwd_shard_start(struct remote *r, unsigned no); /* NULL: no thread to be had */
void fwd_shard_stop(struct fwd_shard *s);                         /* asks */
void fwd_shard_join(struct fwd_shard *s);                         /* what is queued stays */
void fwd_shard_free(struct fwd_shard *s);
/* Queue items in order. Waits for room; false when the remote stops or what waits is to be dropped. */
bool fwd_shard_push(struct fwd_shard *s, struct fwd_item *items, size_t n);

/* ---- a remote (forward_remote.c) ---- */
struct fwd_epoch {
    uint32_t epoch;
    uint64_t first_lsn;
};
struct fwd_counts {
    atomic_uint_least64_t pending, sent, failed, retried, dropped_old, dropped_full, dropped_rule, dropped_again,
        dropped_alone;
};
struct remote {
    struct forward *f;
    struct prom_config *prom; /* keeps cfg alive */
    const struct remote_write_config *cfg;
    char *key;        /* who it is in DIR/positions */
    char *name, *url; /* for people: metrics and status */
    uint64_t identity;
    bool v2;
    struct arena a; /* external labels */
    struct labels external;

    uint64_t start_lsn, start_from; /* where it began: place, and LSN after which the log has to be read for it */
    uint64_t resent_lsn;            /* records up to here may have been sent by an earlier process */
    struct fs_file *note;           /* DIR/place-KEY: how far we are, for a process that dies; NULL: cannot be had */
    atomic_uint_least64_t noted;
    pthread_t reader;
    bool started;
    struct mtx mu;
    struct cond wake;
    atomic_bool stop;
    atomic_uint_least64_t done_lsn, drop_lsn;
    struct fwd_shard **shards; /* changed by the reader under mu */
    unsigned n_shards;
    atomic_uint want_shards;
    VEC(struct fwd_epoch) epochs; /* where encoding epochs begin that may be needed again; mu */
    char last_error[256];         /* mu */
    int64_t down_since_ms;        /* mu; 0: fine */

    /* the reader's own */
    struct fwd_table table;
    VEC(struct fwd_item) *staged; /* per shard: of one record */
    unsigned n_staged;
    uint32_t epoch; /* of the last record */

    struct fwd_counts counts[FWD_KINDS];
    atomic_uint_least64_t batches, bytes, metadata, metadata_failed, send_ns, requests, enqueued, acked, records_lost,
        waits;
    atomic_int_least64_t highest_sent_ms, last_ok_ms;
    /* the upkeep thread's own */
    uint64_t saved_lsn;
    double rate_in, rate_out, send_share;
    uint64_t was_enqueued, was_acked, was_send_ns;
    unsigned looks;
    uint64_t dropped_said;
};
struct remote_start { /* where a remote goes on */
    uint64_t lsn, from, resent;
    unsigned shards;
};
enum err remote_open(struct forward *f, struct prom_config *prom, const struct remote_write_config *cfg, str key,
                     const struct remote_start *at, struct remote **ret, struct err_text *reterr) MUST_CHECK;
void remote_stop(struct remote *r);                               /* asks; remote_close() waits */
void remote_close(struct remote *r, struct remote_start *ret_at); /* ret_at: where to go on; may be NULL */
uint64_t remote_place(struct remote *r);                          /* everything up to here is done */
void remote_note(struct remote *r);                               /* the place, not synced; any thread */
void remote_note_remove(struct forward *f, str key);              /* of a remote that is gone for good */
uint64_t remote_from(struct remote *r, uint64_t place); /* LSN after which the log has to be read to go on at place */
unsigned remote_shards(struct remote *r);
void remote_reshard(struct remote *r, int64_t newest_ms);
double remote_lag_seconds(struct remote *r, uint64_t place, int64_t newest_ms);
uint64_t remote_identity(const struct prom_config *prom, const struct remote_write_config *cfg);
void remote_error_set(struct remote *r, const char *text); /* NULL: a request was answered well */
void remote_dropped(struct remote *r, const struct fwd_item *items, size_t n, bool full);

struct forward {
    struct forward_options opt;
    struct http_client *http;
    struct mtx save_mu; /* 5: one writes the places at a time */
    struct mtx mu;
    VEC(struct remote *) remotes;
    struct cond wake;
    bool closing;
    pthread_t upkeep;
    char *path;              /* DIR/positions */
    uint64_t positions_hash; /* of what the file holds */
    atomic_int_least64_t newest_ms;
    uint64_t open_lsn;
    atomic_uint_least64_t drop_lsn; /* asked for by the store */
};

#endif
