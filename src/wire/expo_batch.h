/* A whole exposition body -> a batch: what is pushed or imported rather than scraped. */
#ifndef VANE_WIRE_EXPO_BATCH_H
#define VANE_WIRE_EXPO_BATCH_H

#include "wire/expo.h"

struct expo_batch_options {
    enum expo_format format;
    int64_t now_ms;      /* of samples without a timestamp of their own */
    struct labels extra; /* set on every series, sorted; they win over the body's labels of the same name */
};
/* All or nothing: a malformed line is ERR_PARSE with "line N: ...". Series whose labels are not valid or beyond the limits are
 * left out and counted. Samples of one series on lines that follow each other make one series of the batch.
 * TYPE, HELP and UNIT become families. ERR_LIMIT as every decoder of wire. Borrows from body and opt. */
enum err expo_batch(struct arena *a, str body, const struct expo_batch_options *opt, const struct wire_limits *lim,
                    struct batch *out, struct wire_rejects *ret_rejects, struct err_text *reterr) MUST_CHECK;

/* ---- a body as a list of families, each as canonical text 0.0.4: what a Pushgateway keeps ---- */
struct expo_family_text {
    str name; /* of the TYPE line; without one: the sample's */
    str text; /* HELP and TYPE (where known), then the samples */
    size_t n_samples;
};
/* Families in order of appearance, names unique; lines of one family that are scattered are joined. No timestamps: a
 * sample that has one is ERR_INVALID. Of protobuf the classic samples are taken; native parts of histograms are left out. ERR_PARSE, ERR_LIMIT. Everything is in a. */
enum err expo_families(struct arena *a, str body, enum expo_format format, struct expo_family_text **ret, size_t *ret_n,
                       struct err_text *reterr) MUST_CHECK;

#endif
