/* The Histogram message of remote write (manual: remote_write_int.h): the same fields in 1.0, 2.0 and remote read, 17 only
 * in 2.0. */
#include <math.h>

#include "wire/hist_pb_int.h"
#include "wire/remote_write_int.h"

struct hist_reader {
    struct histogram h;
    bool is_float;
    uint64_t count_int, zero_int;
    double count_float, zero_float;
    struct hist_pb_reader pos, neg;
    struct hist_pb_doubles custom;
    int64_t ts_ms, start_ms;
};

static void hist_field(struct arena *a, struct hist_reader *r, struct pb *m)
{
    switch (m->field) {
    case 1:
        r->count_int = pb_varint(m);
        break;
    case 2:
        r->count_float = pb_double(m);
        r->is_float = true;
        break;
    case 3:
        r->h.sum = pb_double(m);
        break;
    case 4:
        r->h.schema = (int32_t)unzigzag(pb_varint(m));
        break;
    case 5:
        r->h.zero_threshold = pb_double(m);
        break;
    case 6:
        r->zero_int = pb_varint(m);
        break;
    case 7:
        r->zero_float = pb_double(m);
        break;
    case 8:
        hist_pb_span(a, &r->neg, pb_sub(m), m);
        break;
    case 9:
        hist_pb_deltas(a, &r->neg, m);
        break;
    case 10:
        hist_pb_doubles(a, &r->neg.counts, m);
        break;
    case 11:
        hist_pb_span(a, &r->pos, pb_sub(m), m);
        break;
    case 12:
        hist_pb_deltas(a, &r->pos, m);
        break;
    case 13:
        hist_pb_doubles(a, &r->pos.counts, m);
        break;
    case 14: {
        uint64_t hint = pb_varint(m);
        r->h.reset = hint <= HIST_RESET_GAUGE ? (enum hist_reset)hint : HIST_RESET_UNKNOWN;
        break;
    }
    case 15:
        r->ts_ms = (int64_t)pb_varint(m);
        break;
    case 16:
        hist_pb_doubles(a, &r->custom, m);
        break;
    case 17:
        r->start_ms = (int64_t)pb_varint(m);
        break;
    default:
        pb_skip(m);
    }
}

/* Prometheus sends custom bounds without +Inf; tolerate it as the last one. */
static void histogram_of(struct histogram *h, const struct hist_reader *r)
{
    *h = r->h;
    if (is_stale(h->sum)) {
        h->schema = 0;
        h->zero_threshold = 0;
        return;
    }
    h->count = r->is_float ? r->count_float : (double)r->count_int;
    h->zero_count = r->is_float ? r->zero_float : (double)r->zero_int;
    h->pos = hist_pb_side(&r->pos, r->is_float);
    h->neg = hist_pb_side(&r->neg, r->is_float);
    h->custom = r->custom.p;
    h->n_custom = r->custom.n;
    if (h->n_custom && h->custom[h->n_custom - 1] == HUGE_VAL)
        h->n_custom--;
}

enum err rw_hist_read(struct arena *a, struct pb *m, struct rw_hist *ret, struct err_text *reterr)
{
    struct hist_reader r = { 0 };
    while (pb_next(m))
        hist_field(a, &r, m);
    if (m->bad)
        return ERR_PARSE;
    struct histogram *h = arena_new(a, struct histogram);
    histogram_of(h, &r);
    *ret = (struct rw_hist){ { r.ts_ms, h }, r.start_ms };
    return is_stale(h->sum) ? OK : histogram_validate(h, reterr);
}

/* ---- encode ---- */

static void side_write(struct buf *b, uint32_t spans_field, uint32_t counts_field, struct hist_side s)
{
    for (size_t i = 0; i < s.n_spans; i++) {
        size_t at = pb_open(b, spans_field);
        pb_put_varint(b, 1, zigzag(s.spans[i].offset) & UINT32_MAX);
        pb_put_varint(b, 2, s.spans[i].length);
        pb_close(b, at);
    }
    if (s.n_buckets)
        pb_put_bytes(b, counts_field, (str){ (const char *)s.buckets, s.n_buckets * sizeof(double) });
}

void rw_hist_write(struct buf *b, uint32_t field, const struct hist_sample *hs, int64_t start_ms)
{
    const struct histogram *h = hs->h;
    size_t at = pb_open(b, field);
    pb_put_double(b, 2, h->count);
    pb_put_double(b, 3, h->sum);
    pb_put_varint(b, 4, zigzag(h->schema) & UINT32_MAX);
    pb_put_double(b, 5, h->zero_threshold);
    pb_put_double(b, 7, h->zero_count);
    side_write(b, 8, 10, h->neg);
    side_write(b, 11, 13, h->pos);
    if (h->reset)
        pb_put_varint(b, 14, h->reset);
    pb_put_varint(b, 15, (uint64_t)hs->ts_ms);
    if (h->n_custom)
        pb_put_bytes(b, 16, (str){ (const char *)h->custom, h->n_custom * sizeof(double) });
    if (start_ms)
        pb_put_varint(b, 17, (uint64_t)start_ms);
    pb_close(b, at);
}
