/* Private to wire: the state of one OTLP metrics request being decoded.
 *   otlp.c        walks request, resources, scopes, metrics; answers
 *   otlp_label.c  attributes -> labels, refusals
 *   otlp_point.c  data points -> series */
#ifndef VANE_WIRE_OTLP_DEC_INT_H
#define VANE_WIRE_OTLP_DEC_INT_H

#include "base/check.h"
#include "wire/otlp_int.h"
#include "wire/wire_int.h"

#define MAP_NAME     names
#define MAP_KEY      str
#define MAP_VALUE    str
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

struct label_list {
    struct label *p;
    size_t n, cap;
};

struct dec {
    struct arena *a;
    const struct otlp_options *opt;
    struct batch *out;
    struct wire_rejects *rejects;
    struct names names; /* attribute name -> label name; p == NULL: refused */
    bool utf8, suffixes;
    RUN(struct label) labels;
    RUN(struct sample) samples;
    RUN(struct hist_sample) hists;
    RUN(struct exemplar) exemplars;
    RUN(int64_t) starts;
    /* resource */
    struct otlp_attrs resource_attrs;
    const struct labels *resource; /* NULL if there are none */
    struct label_list fixed;       /* job, instance, otel_scope_*: win over attributes */
    size_t n_fixed_resource;       /* of these: the resource's */
    struct label_list promoted;    /* lose against attributes */
    int64_t first_ms, last_ms;     /* of the resource's points */
    /* metric */
    str metric_name, family, sum_name, count_name, bucket_name;
    struct metric_meta meta;
    enum temporality temporality;
    bool cumulative_kind; /* its start timestamps mean something */
    /* point */
    struct otlp_attrs attrs;
    struct label_list base; /* sorted, without __name__ */
    VEC(double) bounds;
    VEC(double) le_of; /* bounds that le holds the texts of */
    VEC(str) le;
    VEC(uint64_t) counts;
    VEC(struct exemplar) point_exemplars;
};

struct point { /* what the four kinds have in common */
    uint64_t start_ns, time_ns;
    uint32_t flags;
};

/* ---- otlp_label.c ---- */

/* Count refused points and keep the first reason: "metric \"x\": why". */
void otlp_reject(struct dec *d, size_t points, const struct err_text *why);
#define REJECT(d, points, ...)                                 \
    do {                                                       \
        struct err_text why_;                                  \
        IGNORE_ERR(err_fail(&why_, ERR_INVALID, __VA_ARGS__)); \
        otlp_reject((d), (points), &why_);                     \
    } while (0)
struct label *label_list_find(struct label_list *l, str name);
void label_list_set(struct dec *d, struct label_list *l, str name, str value);
/* The label name of an attribute (cached), STR_NONE if it has none. */
str otlp_label_of(struct dec *d, str attr);
void otlp_attrs_sort(struct otlp_attrs *at);
/* d->attrs and what resource and scope add -> d->base. */
enum err otlp_point_labels(struct dec *d, struct err_text *why) MUST_CHECK;
/* base + __name__ + (extra) as a run of the batch's labels, sorted. */
struct labels otlp_merge_labels(struct dec *d, str name, const struct label *extra);

/* ---- otlp_point.c: one data point of each kind ---- */

typedef void otlp_point_fn(struct dec *d, struct pb m, struct pb *up);
otlp_point_fn otlp_number_point, otlp_histogram_point, otlp_exponential_point, otlp_summary_point;

#endif
