/* Private to room `compat`. */
#ifndef VANE_COMPAT_COMPAT_INT_H
#define VANE_COMPAT_COMPAT_INT_H

#include <stdatomic.h>

#include "compat/compat.h"

struct compat_shared { /* what both listeners use; never changes but for `stopping` */
    struct compat_config cfg;
    atomic_bool stopping;
};

struct graphite;
enum err graphite_open(struct compat_shared *s, struct graphite **ret, struct err_text *reterr) MUST_CHECK;
void graphite_close(struct graphite *g); /* after `stopping` was set; NULL is fine */
uint16_t graphite_port(const struct graphite *g);

struct statsd;
enum err statsd_open(struct compat_shared *s, struct statsd **ret, struct err_text *reterr) MUST_CHECK;
void statsd_close(struct statsd *s);
uint16_t statsd_port(const struct statsd *s);

/* statsd_series.c: the series in memory. One thread. */
struct statsd_table;
struct statsd_table *statsd_table_new(const struct compat_config *cfg);
void statsd_table_free(struct statsd_table *t);
enum statsd_taken { STATSD_TAKEN, STATSD_MALFORMED, STATSD_DROPPED };
/* One line. MALFORMED: not a metric, or of another type than the series has. DROPPED: a limit. */
enum statsd_taken statsd_table_line(struct statsd_table *t, str line, int64_t now_ms);
/* Everything as samples at now_ms into out (arena out->a); idle series end; sets begin anew. */
void statsd_table_flush(struct statsd_table *t, int64_t now_ms, struct batch *out);
size_t statsd_table_n(const struct statsd_table *t);

#endif
