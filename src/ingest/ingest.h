/* Room `ingest`: the one way into the metrics store. Whatever brings samples (scrapes, remote write, OTLP, pushes, this
 * machine, vane itself) hands its batch over here.
 *
 *   ingest_open(&cfg, db, &in, &why) ... ingest_append(in, &batch, &who, &result) ... ingest_close(in)
 *
 * Series that the head has already pass at no cost; only a series that would be new is looked at:
 *
 *   batch --> tenant, replica --> tsdb_write_gated --known--> samples
 *             (ingest_tenant.c,            |
 *              ingest_ha.c)                new: active series of its tenant, job, target, metric (ingest_count.c)
 *                                          |--below the limits--> made
 *                                          '--beyond one-------> folded (ingest_fold.c) --> overflow series
 *                                                                 '--> who did it (ingest_culprit.c) --> log, status
 *
 * An overflow series has the metric's name, job, instance, le and quantile of what it stands for, and
 * otel_metric_overflow="true". Counters and histograms: the increases of all folded series added up. Gauges: the sum
 * of their newest values. Summaries' quantiles: the largest of a batch. A target never fails for a limit.
 * docs/cardinality.md is the manual for users.
 *
 * Threads: every function may be called from any thread. Lock ranks: fold 90, count 112 (inside a partition's 110). */
#ifndef VANE_INGEST_INGEST_H
#define VANE_INGEST_INGEST_H

#include "tsdb/tsdb.h"

#define INGEST_LABEL_OVERFLOW STR("otel_metric_overflow") /* ="true" */

struct ingest;
struct ingest_limits { /* active series; 0 = no limit */
    uint64_t tenant, job, target, metric;
};
struct ingest_tenant_limits {
    str tenant;
    struct ingest_limits limits;
};
struct ingest_ha { /* replicas of one Prometheus: one of them is taken at a time (ingest_ha.c) */
    bool on;
    str replica_label, cluster_label;
    int64_t failover_ms; /* without a word from the elected replica */
};
struct ingest_config { /* copied */
    struct ingest_limits limits;
    const struct ingest_tenant_limits *overrides;
    size_t n_overrides;
    struct ingest_ha ha;
    bool tenants;        /* fixed at ingest_open */
    str default_tenant;  /* of what comes without one: scrapes, this machine */
    struct fs *fs;       /* NULL: fs_os() */
    const char *dir;     /* folder for the elected replicas; NULL: they are not kept */
    struct clock *clock; /* NULL: os_clock() */
};
#define INGEST_LIMITS_DEFAULT                                                   \
    {                                                                           \
        .tenant = 20000000, .job = 5000000, .target = 500000, .metric = 2000000 \
    }

enum err ingest_open(const struct ingest_config *cfg, struct tsdb *db, struct ingest **ret,
                     struct err_text *reterr) MUST_CHECK; /* counts the series of the head */
void ingest_reload(struct ingest *in, const struct ingest_config *cfg);
void ingest_close(struct ingest *in); /* NULL is fine; nobody may write any more; before tsdb_close */

/* Who writes. Zeroed: a sender of which nothing is known. */
struct ingest_source {
    str tenant; /* of the sender; empty: the default one. Ignored while there are no tenants */
    unsigned flags;
};
enum ingest_flags {
    INGEST_SCRAPES = 1 << 0,  /* a scrape: the series that report on it (up, scrape_...) are always taken */
    INGEST_REPLICAS = 1 << 1, /* replicas of one cluster may be sending: remote write, OTLP */
    INGEST_LABELLED = 1 << 2, /* series may carry their tenant as LABEL_TENANT: pushed groups. Nobody else may set it */
};
/* As tsdb_write; then tsdb_wait(ret->lsn). Folded samples count as accepted. */
enum err ingest_append(struct ingest *in, const struct batch *b, const struct ingest_source *who,
                       struct tsdb_write_result *ret) MUST_CHECK;
/* What else decides about the meaning of a sender's label bytes: to be mixed into the salt of tsdb_known(). */
uint64_t ingest_salt(struct ingest *in, const struct ingest_source *who);

/* Is it a tenant's name? 1 to 150 of A-Z a-z 0-9 ! - _ . * ' ( ), neither "." nor "..": as Grafana Mimir. */
bool ingest_tenant_valid(str tenant, struct err_text *reterr);

/* ---- facts ---- */
struct ingest_replica { /* that is taken for its cluster */
    str cluster, replica;
    int64_t seen_ms, elected_ms;
    uint64_t changes, dropped; /* elections after the first; samples of other replicas */
};
enum ingest_kind { INGEST_TENANT, INGEST_JOB, INGEST_TARGET, INGEST_METRIC, INGEST_KINDS, INGEST_STORE = INGEST_KINDS };
const char *ingest_kind_name(unsigned kind); /* "tenant" ... "store": all series together, or memory */
struct ingest_count {
    str name, instance;              /* of the job, metric; instance of a target */
    uint64_t series, created, limit; /* active; new in the last hour; 0 = no limit */
};
#define INGEST_CULPRIT_LABELS  16
#define INGEST_CULPRIT_VALUES  5
#define INGEST_CULPRIT_METRICS 5
struct ingest_culprit_label {
    str name;
    uint64_t values; /* distinct ones among the folded series, estimated */
    str sample[INGEST_CULPRIT_VALUES];
    size_t n_samples;
};
struct ingest_overflow { /* a limit that was passed */
    enum ingest_kind kind;
    str tenant, name, instance; /* whose: as ingest_count */
    uint64_t limit;
    int64_t since_ms, last_ms; /* first and newest folded sample; last_ms within 10 min: it goes on */
    bool active;
    uint64_t series, samples;                                  /* folded; series estimated */
    struct ingest_culprit_label labels[INGEST_CULPRIT_LABELS]; /* most values first: the first one exploded */
    size_t n_labels;
    struct ingest_count metrics[INGEST_CULPRIT_METRICS]; /* series: folded ones, the most first */
    size_t n_metrics;
};
struct ingest_status {
    struct ingest_count tenant;
    struct ingest_limits limits;
    struct ingest_count *jobs, *targets, *metrics; /* most series first */
    size_t n_jobs, n_targets, n_metrics;
    struct ingest_count *job_churn, *metric_churn; /* most new series first */
    size_t n_job_churn, n_metric_churn;
    struct ingest_overflow *overflows; /* newest first */
    size_t n_overflows;
    uint64_t folded_series, overflow_series; /* remembered, of all tenants */
    struct ingest_replica *replicas;
    size_t n_replicas;
};
/* Of one tenant; at most top rows of each kind. Everything in a. */
void ingest_status(struct ingest *in, str tenant, size_t top, struct arena *a, struct ingest_status *ret);

#endif
