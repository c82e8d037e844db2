/* StatsD, one metric per line: `name:value[:value...]|type[|@rate][|#tag:value,...]` (tags and several values as DogStatsD).
 *   c counter, g gauge (+1 and -1 are relative), ms timer, h histogram, d distribution, s set
 * Names and tag names lose characters that legacy names cannot have ('_' instead). Tags may also follow the name as
 * `name,tag=value` (InfluxDB) or `name;tag=value` (Graphite). A tag without a value is "true". Unknown sections are skipped.
 * Spec: github.com/statsd/statsd docs/metric_types.md, docs.datadoghq.com "DogStatsD datagram". */
#ifndef VANE_WIRE_STATSD_H
#define VANE_WIRE_STATSD_H

#include "wire/wire.h"

enum statsd_type { STATSD_COUNTER, STATSD_GAUGE, STATSD_TIMER, STATSD_HISTOGRAM, STATSD_SET };
struct statsd_line {
    struct labels labels; /* with the name; in a, or borrowed from the line */
    enum statsd_type type;
    double rate; /* 0 < rate <= 1: how many of the events were sent */
    str values;  /* separated by ':': statsd_value() */
};
/* line has no newline. ERR_PARSE, or ERR_INVALID (labels), and why. Every value has been checked. */
enum err statsd_parse(struct arena *a, str line, const struct wire_limits *lim, struct statsd_line *ret,
                      struct err_text *reterr) MUST_CHECK;
struct statsd_value {
    str text;      /* a set's member */
    double v;      /* the others */
    bool relative; /* a gauge with a sign */
};
/* Takes the next value off l->values; false: no more. */
bool statsd_value(struct statsd_line *l, struct statsd_value *ret);

#endif
