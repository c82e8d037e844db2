/* Prometheus' protobuf exposition: io.prometheus.client.MetricFamily messages, each after its length as a varint
 * (application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited).
 * Spec: prometheus/client_model, io/prometheus/client/metrics.proto. Entries come as Prometheus' own parser gives them:
 * HELP, TYPE, UNIT of a family, then its samples; a summary or classic histogram becomes _count, _sum and its
 * quantiles or buckets (+Inf is added where it is left out).
 *
 *   struct expo_pb x;
 *   expo_pb_init(&x, body, (struct expo_pb_options){ .native = true }, &arena);
 *   for (enum expo_entry e; (e = expo_pb_next(&x)) > EXPO_ERROR;)
 *       if (e == EXPO_SAMPLE) use(x.e.series, x.e.value, x.e.has_ts ? x.e.ts_ms : now);
 *       else if (e == EXPO_HISTOGRAM) use_histogram(x.e.series, x.hist);
 *   expo_pb_deinit(&x);
 *
 * The public part of struct expo holds the current entry. x.e.series is no text but a key of EXPO_PB_KEY_BYTES bytes
 * (a hash of family and labels, and which of the metric's samples it is) that names the same series in every body and
 * never looks like a series text; it is valid until the next call.
 *
 * Which histograms: with `native`, one that has native parts is an EXPO_HISTOGRAM, and its classic buckets are given too
 * only with `classic_too`. Without native parts (or without `native`): the classic samples; with `nhcb` an EXPO_HISTOGRAM
 * with custom buckets instead of them, or before them with `classic_too`.
 *
 * Borrowing: strings borrow from the body; histograms and tables live in the arena, its limit is the caller's to look at. */
#ifndef VANE_WIRE_EXPO_PB_H
#define VANE_WIRE_EXPO_PB_H

#include "wire/expo.h"
#include "wire/nhcb.h"
#include "wire/pb.h"

#define EXPO_PB_KEY_BYTES     26
#define EXPO_PB_EXEMPLARS_MAX 1024

struct expo_pb_options {
    bool native, classic_too, nhcb;
};
struct expo_pb_bucket {
    double bound, count; /* of a summary: quantile and value */
    str exemplar;        /* message, p == NULL: none */
};
struct expo_pb {
    struct expo e;                /* the current entry: series, value, has_ts, ts_ms, name, text, type, error */
    const struct histogram *hist; /* EXPO_HISTOGRAM */
    int64_t start_ms;             /* of the sample: created timestamp, 0 = unknown */
    /* ---- private ---- */
    struct expo_pb_options opt;
    struct arena *a;
    const char *start, *p, *end; /* body: after the current family */
    struct pb family;            /* behind the current metric */
    str unit, help;
    int stage, step; /* what comes next of the family, of the metric */
    char key[EXPO_PB_KEY_BYTES];
    struct buf label_bytes;
    VEC(struct label) labels; /* of the metric, as they stand */
    double count, sum, plain;
    bool is_float, is_native, has_exemplars;
    str exemplar; /* of a counter */
    VEC(struct expo_pb_bucket) buckets;
    VEC(str) exemplars; /* of a native histogram */
    struct nhcb nhcb;
    double bound; /* of the current bucket or quantile */
    str exemplar_now;
};

void expo_pb_init(struct expo_pb *x, str body, struct expo_pb_options opt, struct arena *a);
void expo_pb_deinit(struct expo_pb *x); /* always, also after an error */
/* The next entry; also in x->e.entry. After EXPO_END or EXPO_ERROR it stays there. */
enum expo_entry expo_pb_next(struct expo_pb *x);
/* Of the current SAMPLE or HISTOGRAM: name and labels, sorted, empty values dropped. ERR_INVALID: a label twice, bad UTF-8. */
enum err expo_pb_labels(const struct expo_pb *x, struct arena *a, struct labels *ret,
                        struct err_text *reterr) MUST_CHECK;
/* Is the label given with an empty value? */
bool expo_pb_has_empty(const struct expo_pb *x, str name);
/* Exemplars of the current SAMPLE or HISTOGRAM, by time; one without a timestamp gets ts_ms, on a histogram it is left
 * out as upstream does. Returns how many (at most EXPO_PB_EXEMPLARS_MAX), *ret in a. */
size_t expo_pb_exemplars(const struct expo_pb *x, struct arena *a, int64_t ts_ms, struct exemplar **ret);

#endif
