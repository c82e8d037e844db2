/* Graphite's plaintext protocol, one line: `path[;tag=value...] value [timestamp]`.
 * The path becomes the metric name (characters that legacy names cannot have, dots above all, become '_'), tags become
 * labels. Timestamp: seconds, fractions allowed; missing or -1: now. Spec: graphite.readthedocs.io, "Feeding In Your Data", "Tag Support". */
#ifndef VANE_WIRE_GRAPHITE_H
#define VANE_WIRE_GRAPHITE_H

#include "wire/wire.h"

struct graphite_line {
    struct labels labels;
    struct sample sample;
};
/* Labels live in a or borrow from line, which has no newline. ERR_PARSE, or ERR_INVALID (labels), and why. */
enum err graphite_parse(struct arena *a, str line, int64_t now_ms, const struct wire_limits *lim,
                        struct graphite_line *ret, struct err_text *reterr) MUST_CHECK;

#endif
