/* Which rollups a query needs. */
#include "tsdb/tsdb_int.h"

static const struct rollup_span *span_of(const struct segment *seg)
{
    return &((const struct tsdb_seg *)segment_user(seg))->rollup;
}

static int cmp_span(const void *a, const void *b)
{
    const struct rollup_span *x = span_of(*(struct segment *const *)a), *y = span_of(*(struct segment *const *)b);
    if (x->from_ms != y->from_ms)
        return x->from_ms < y->from_ms ? -1 : 1;
    return (x->res_ms > y->res_ms) - (x->res_ms < y->res_ms);
}

void rollup_pick(struct tsdb_query *q)
{
    q->n_raw = q->n_segs;
    for (size_t i = 0; i < q->set->n; i++) {
        struct segment *seg = q->set->p[i];
        if (!meta_is_rollup(segment_meta(seg)))
            continue;
        const struct rollup_span *s = span_of(seg);
        if (s->from_ms < q->to_ms && s->to_ms + s->res_ms >= q->from_ms &&
            rollup_active(q->db, q->set, segment_meta(seg)))
            q->segs[q->n_segs++] = seg;
    }
    struct segment **v = q->segs + q->n_raw;
    size_t n = q->n_segs - q->n_raw, k = 0;
    if (n > 1)
        qsort(v, n, sizeof(*v), cmp_span);
    for (size_t i = 0; i < n; i++) /* shorter windows of all series: the longer ones have nothing to add */
        if (!k || span_of(v[k - 1])->from_ms != span_of(v[i])->from_ms || span_of(v[k - 1])->filter)
            v[k++] = v[i];
    q->n_segs = q->n_raw + k;
}
