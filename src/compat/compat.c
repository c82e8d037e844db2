/* Both listeners' life (manual: compat.h). */
#include "base/check.h"
#include "compat/compat_int.h"

struct compat {
    struct compat_shared shared;
    struct graphite *graphite;
    struct statsd *statsd;
};

enum err compat_open(const struct compat_config *cfg, struct compat **ret, struct err_text *reterr)
{
    struct compat *c = mem_zalloc(sizeof(*c));
    struct compat_config *own = &c->shared.cfg;
    *own = *cfg;
    if (!own->clock)
        own->clock = os_clock();
    if (!own->limits.series_max)
        own->limits = WIRE_LIMITS_DEFAULT;
    if (!own->statsd_flush_ms)
        own->statsd_flush_ms = 10000;
    if (!own->statsd_idle_ms)
        own->statsd_idle_ms = 300000;
    if (!own->statsd_series_max)
        own->statsd_series_max = 100000;
    enum err e = cfg->graphite.on ? graphite_open(&c->shared, &c->graphite, reterr) : OK;
    if (e == OK && cfg->statsd.on)
        e = statsd_open(&c->shared, &c->statsd, reterr);
    if (e != OK)
        compat_close(c);
    else
        *ret = c;
    return e;
}

void compat_close(struct compat *c)
{
    if (!c)
        return;
    atomic_store(&c->shared.stopping, true);
    graphite_close(c->graphite);
    statsd_close(c->statsd);
    mem_free(c);
}

uint16_t compat_graphite_port(const struct compat *c)
{
    return graphite_port(c->graphite);
}

uint16_t compat_statsd_port(const struct compat *c)
{
    return statsd_port(c->statsd);
}
