/* Private to wire: what remote write 1.0, 2.0 and remote read share. */
#ifndef VANE_WIRE_REMOTE_WRITE_INT_H
#define VANE_WIRE_REMOTE_WRITE_INT_H

#include "wire/pb.h"
#include "wire/remote_write.h"
#include "wire/wire_int.h"

enum { RW_SERIES_EXEMPLARS_MAX = 1024 };

/* One Histogram message, checked; integer histograms become float ones. */
struct rw_hist {
    struct hist_sample sample;
    int64_t start_ms; /* 0 = unknown */
};
/* Reads m to its end. ERR_PARSE: m->bad. ERR_INVALID: a histogram that makes no sense (reterr may be NULL). */
enum err rw_hist_read(struct arena *a, struct pb *m, struct rw_hist *ret, struct err_text *reterr) MUST_CHECK;
/* Written in float form; start_ms 0 is left out. */
void rw_hist_write(struct buf *b, uint32_t field, const struct hist_sample *hs, int64_t start_ms);

/* ERR_LIMIT in words when the batch or the arena is beyond its bounds, otherwise OK. */
static inline bool rw_over_limit(const struct batch *b, const struct wire_limits *lim, const struct arena *a)
{
    return b->series.n > lim->series_max || b->n_samples > lim->samples_max || arena_over(a);
}
enum err rw_limit_fail(const struct batch *b, const struct wire_limits *lim, struct err_text *reterr);

#endif
