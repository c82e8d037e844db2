/* Samples, exemplars, metadata, and the batch in which every protocol hands them to the store. */
#ifndef VANE_MODEL_SAMPLE_H
#define VANE_MODEL_SAMPLE_H

#include "model/histogram.h"
#include "model/labels.h"

#define STALE_NAN_BITS  0x7ff0000000000002ull /* staleness marker; every other NaN is an ordinary value */
#define NORMAL_NAN_BITS 0x7ff8000000000001ull /* the NaN that Prometheus writes (value.NormalNaN) */
#define TS_MS_MIN       (INT64_MIN / 2)
#define TS_MS_MAX       (INT64_MAX / 2)

static inline uint64_t f64_bits(double v)
{
    uint64_t u;
    memcpy(&u, &v, 8);
    return u;
}
static inline double f64_from_bits(uint64_t u)
{
    double v;
    memcpy(&v, &u, 8);
    return v;
}
static inline bool is_stale(double v)
{
    return f64_bits(v) == STALE_NAN_BITS;
}

struct sample {
    int64_t ts_ms;
    double v;
};

/* The numbers are remote write's (prompb.MetricMetadata.MetricType). */
enum metric_type {
    METRIC_UNKNOWN,
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_HISTOGRAM,
    METRIC_GAUGE_HISTOGRAM,
    METRIC_SUMMARY,
    METRIC_INFO,
    METRIC_STATESET,
};
const char *metric_type_name(enum metric_type t); /* "counter", "unknown", "gaugehistogram" ... */
enum metric_type metric_type_parse(str s);        /* METRIC_UNKNOWN if it is none */

enum temporality { TEMPORALITY_CUMULATIVE, TEMPORALITY_DELTA };

struct metric_meta {
    enum metric_type type;
    str help, unit;
};

struct exemplar {
    struct labels labels; /* trace_id, span_id, ... */
    double v;
    int64_t ts_ms;
};

struct hist_sample {
    int64_t ts_ms;
    const struct histogram *h; /* h->sum == STALE NaN: a staleness marker */
};

/* Labels as the sender wrote them. The store remembers hash -> ref, so that they need not be read again. */
struct batch_key {
    hash128 hash; /* of bytes, by who will be asked again (tsdb_known) */
    str bytes;    /* batch.labels_of reads them */
    uint64_t ref; /* batch_series.ref points here */
};

/* One series' part of a batch. Everything is borrowed from the batch's arena or the request body. */
struct batch_series {
    struct labels labels;        /* sorted, valid (labels_sort); may be empty when *ref is set: a ref
                                 * that has become stale is then refused, or with a key, its labels are read */
    uint64_t *ref;               /* in/out cache of the store's series ref, kept by the caller; NULL = none */
    const struct batch_key *key; /* NULL = none. With a ref, labels may be empty */
    const struct sample *samples;
    size_t n_samples;
    const struct hist_sample *hists;
    size_t n_hists;
    const struct exemplar *exemplars;
    size_t n_exemplars;
    const int64_t *start_ms; /* start timestamp per sample (then per hist); NULL = unknown */
    struct metric_meta meta; /* zero = says nothing */
    enum temporality temporality;
    const struct labels *resource; /* OTLP resource attributes: outside identity; NULL = none */
};
/* Metadata of a family without samples (remote write metadata). While there are tenants (LABEL_TENANT), the name of a
 * family in the store has the tenant in front: tenant, METRIC_FAMILY_TENANT_END, name. */
#define METRIC_FAMILY_TENANT_END 0x1f
struct batch_family {
    str name;
    struct metric_meta meta;
};
struct batch {
    struct arena *a;
    VEC(struct batch_series) series; /* array in the arena (avec_push) */
    VEC(struct batch_family) families;
    struct labels (*labels_of)(struct arena *a, str bytes); /* of batch_key.bytes; NULL = no keys */
    /* What is done to them then, as was done to all labels here (room ingest); NULL = nothing. */
    struct labels (*fix)(const void *fix_ctx, struct arena *a, struct labels ls);
    const void *fix_ctx;
    size_t n_samples, n_exemplars;                          /* kept by whoever fills it; histograms count as samples */
};
/* The labels of a key, in a. */
static inline struct labels batch_key_labels(const struct batch *b, struct arena *a, str bytes)
{
    struct labels ls = b->labels_of(a, bytes);
    return b->fix ? b->fix(b->fix_ctx, a, ls) : ls;
}

#endif
