/* InfluxDB line protocol -> batch.
 *
 *   cpu,host=a usage_idle=98.5,usage_user=1i 1700000000000000000    ->  cpu_usage_idle{host="a"} 98.5, cpu_usage_user{host="a"} 1
 *   temperature,room=b value=21.5                                   ->  temperature{room="b"} 21.5
 *
 * A field is the metric measurement_field, a field called "value" the measurement itself; tags are labels. Characters
 * that legacy names cannot have become '_'. Integers (i, u) and booleans become numbers; strings are left out.
 * Spec: docs.influxdata.com, "Line protocol". */
#ifndef VANE_WIRE_INFLUX_H
#define VANE_WIRE_INFLUX_H

#include "wire/wire.h"

struct influx_options {
    int64_t now_ms;  /* of lines without a timestamp */
    int64_t unit_ns; /* of timestamps: influx_precision() */
    str db;          /* label "db"; empty = none */
};
/* "", ns, n: 1; us, u, µ, ms, s, m, h. false: unknown. */
bool influx_precision(str name, int64_t *ret_unit_ns);

/* Lines that are malformed or break a limit are left out and counted in ret_rejects->series, the first in words with its
 * number ("line 3: ..."); the others are taken. ERR_LIMIT as every decoder of wire. */
enum err influx_decode(struct arena *a, str body, const struct influx_options *opt, const struct wire_limits *lim,
                       struct batch *out, struct wire_rejects *ret_rejects, struct err_text *reterr) MUST_CHECK;

#endif
