/* Inside the room ingest. */
#ifndef VANE_INGEST_INT_H
#define VANE_INGEST_INT_H

#include <stdatomic.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/os.h"
#include "base/stats.h"
#include "base/thread.h"
#include "ingest/ingest.h"

#define LABEL_JOB      STR("job")
#define LABEL_INSTANCE STR("instance")

/* ---- ingest_count.c: active and new series per tenant, job, target, metric ---- */
#define CHURN_SLOTS   6
#define CHURN_SLOT_MS (10 * 60 * 1000LL)
struct count {
    enum ingest_kind kind;
    str tenant, name, instance; /* bytes behind the struct */
    uint64_t n;
    uint32_t created[CHURN_SLOTS];
    int64_t slot; /* number of the newest one */
};
#define MAP_NAME     countmap
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct count *
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

struct who { /* the labels that limits look at */
    str tenant, name, job, instance;
    uint64_t key[INGEST_KINDS];
};
struct counts {
    struct mtx mu;
    struct countmap map;
    uint64_t seed;
    int64_t swept_slot;
};
void counts_init(struct counts *c);
void counts_deinit(struct counts *c);
struct who who_of(const struct counts *c, struct labels ls);
/* Count a new series unless a limit is reached: then which (INGEST_KINDS = none). force: always. */
unsigned counts_admit(struct counts *c, const struct who *w, const struct ingest_limits *lim, bool force,
                      int64_t now_ms);
void counts_gone(struct counts *c, const struct who *w);
uint64_t count_created(const struct count *c, int64_t now_ms); /* in the last hour */

/* ---- ingest_culprit.c: who passed a limit, and by which label; all under fold.mu ---- */
#define HLL_REGISTERS 256
struct hll {
    uint8_t r[HLL_REGISTERS];
};
void hll_add(struct hll *h, uint64_t hash);
uint64_t hll_count(const struct hll *h);

#define CULPRITS_MAX 200
struct culprit_label {
    str name; /* owned, as the values */
    struct hll values;
    str sample[INGEST_CULPRIT_VALUES];
    size_t n_samples;
};
struct culprit {
    unsigned kind;
    uint64_t key;
    str tenant, name, instance; /* owned */
    uint64_t limit, samples, last_samples;
    int64_t since_ms, last_ms, logged_ms;
    struct hll series;
    struct culprit_label labels[INGEST_CULPRIT_LABELS];
    size_t n_labels;
    struct {
        str name; /* owned */
        uint64_t n;
    } metrics[INGEST_CULPRIT_METRICS];
    size_t n_metrics;
};
struct culprits {
    VEC(struct culprit *) v;
    size_t last; /* asked for */
};
struct culprit *culprit_of(struct culprits *c, unsigned kind, const struct who *w, uint64_t limit, int64_t now_ms);
void culprit_note(struct culprit *c, struct labels ls, uint64_t hash); /* a series that was not folded before */
void culprit_say(struct culprit *c, int64_t now_ms);                   /* to the log, now and then */
void culprits_deinit(struct culprits *c);
void culprits_copy(const struct culprits *c, str tenant, int64_t now_ms, struct arena *a, struct ingest_overflow **ret,
                   size_t *ret_n);

/* ---- ingest_fold.c ---- */
struct folded { /* a series of the batch that was not admitted */
    uint32_t i;
    uint8_t kind; /* enum ingest_kind */
};
struct fold_entry { /* a folded series */
    double last;
    struct histogram *h; /* owned, flat; NULL = none yet */
    uint32_t overflow;   /* which */
    uint32_t seen_s;     /* since the process began */
    bool stale;
};
#define MAP_NAME     foldmap
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct fold_entry
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"
enum fold_rule { FOLD_COUNTER, FOLD_GAUGE, FOLD_QUANTILE, FOLD_DELTA };
struct overflow_series;
#define MAP_NAME     overflowmap
#define MAP_KEY      uint64_t
#define MAP_VALUE    uint32_t
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"
struct fold {
    struct mtx mu;
    struct foldmap entries;
    size_t hist_bytes;
    struct overflowmap by_labels;
    VEC(struct overflow_series *) overflows; /* NULL: free */
    size_t n_overflows;
    struct culprits culprits;
    int64_t start_ms, swept_ms;
};
void fold_init(struct ingest *in);
void fold_deinit(struct ingest *in);
/* The samples of the folded series into their overflow series. Adds to *ret. */
enum err fold_batch(struct ingest *in, const struct batch *b, const struct folded *f, size_t n,
                    struct tsdb_write_result *ret) MUST_CHECK;

/* ---- ingest_ha.c: the replica that is taken, per tenant and cluster ---- */
struct ha_cluster;
#define MAP_NAME     hamap
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct ha_cluster *
#define MAP_HASH(k)  (k)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"
struct ha {
    struct mtx mu; /* not ranked: held alone */
    struct hamap clusters;
    struct fs *fs;
    char *path; /* NULL: not kept */
};
void ha_init(struct ingest *in, const struct ingest_config *cfg);
void ha_deinit(struct ingest *in);
enum ha_verdict { HA_NONE, HA_TAKEN, HA_OTHER }; /* no replica; the elected one; not the elected one */
enum ha_verdict ha_ask(struct ingest *in, const struct ingest_ha *cfg, str tenant, struct labels first, size_t samples);
void ha_copy(struct ingest *in, str tenant, struct arena *a, struct ingest_status *ret);

/* ---- ingest_prepare.c: the tenant's label on, the replica's label off ---- */
struct settings;
struct fix {     /* what is done to labels */
    str tenant;  /* empty: no tenants */
    str replica; /* label to drop; empty: none */
    bool labelled;
};
/* *b, or a changed copy in a. ERR_EXISTS: nothing is to be written (another replica is taken). */
enum err prepare(struct ingest *in, const struct settings *s, const struct ingest_source *who, struct arena *a,
                 struct fix *fix, const struct batch **b, struct tsdb_write_result *ret) MUST_CHECK;

/* ---- ingest.c ---- */
struct settings { /* of the configuration; immutable */
    struct settings *older;
    struct arena a;
    struct ingest_limits limits;
    struct ingest_tenant_limits *overrides;
    size_t n_overrides;
    struct ingest_ha ha;
};
struct ingest {
    struct tsdb *db;
    struct clock *clock;
    _Atomic(struct settings *) settings;
    struct counts counts;
    struct fold fold;
    struct ha ha;
    bool tenants;
    str default_tenant; /* owned */
};
static inline const struct settings *settings_of(struct ingest *in)
{
    return atomic_load_explicit(&in->settings, memory_order_acquire); /* pairs with ingest_reload */
}
const struct ingest_limits *limits_of(const struct settings *s, str tenant);
/* A batch of overflow series: they are always admitted. */
enum err append_overflow(struct ingest *in, const struct batch *b, struct tsdb_write_result *ret) MUST_CHECK;

#endif
