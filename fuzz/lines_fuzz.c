/* The line protocols: InfluxDB, Graphite, StatsD. Oracle: what is accepted is valid, sorted, with a legacy metric name. */
#include <math.h>

#include "base/check.h"
#include "wire/graphite.h"
#include "wire/influx.h"
#include "wire/statsd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_labels(struct labels ls)
{
    struct wire_limits lim = WIRE_LIMITS_DEFAULT;
    ASSERT(wire_labels_check(ls, &lim, NULL) == OK);
    ASSERT(labels_valid_metric_name(labels_name(ls)));
}

static void lines(struct arena *a, str body)
{
    struct wire_limits lim = WIRE_LIMITS_DEFAULT;
    struct err_text why;
    str line;
    while (str_cut(&body, '\n', &line)) {
        struct graphite_line g;
        struct statsd_line s;
        struct statsd_value v;
        if (graphite_parse(a, line, 1, &lim, &g, &why) == OK)
            check_labels(g.labels);
        if (statsd_parse(a, line, &lim, &s, &why) != OK)
            continue;
        check_labels(s.labels);
        ASSERT(s.rate > 0 && s.rate <= 1);
        while (statsd_value(&s, &v))
            ASSERT(s.type == STATSD_SET || isfinite(v.v));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 16 << 20);
    struct batch b;
    struct wire_rejects r;
    struct wire_limits lim = WIRE_LIMITS_DEFAULT;
    struct err_text why;
    str body = { (const char *)data, size };
    struct influx_options opt = { 1, 1, size % 2 ? STR("db") : STR("") };
    if (influx_decode(&a, body, &opt, &lim, &b, &r, &why) == OK)
        vec_each (struct batch_series, s, &b.series)
            check_labels(s->labels);
    lines(&a, body);
    return 0;
}
