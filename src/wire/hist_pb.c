/* Spans and buckets of native histograms in protobuf (manual: hist_pb_int.h). */
#include "wire/hist_pb_int.h"

#include "model/sample.h"

void hist_pb_span(struct arena *a, struct hist_pb_reader *s, struct pb m, struct pb *up)
{
    struct hist_span sp = { 0 };
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            sp.offset = (int32_t)unzigzag(pb_varint(&m));
            break;
        case 2:
            sp.length = (uint32_t)pb_varint(&m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    if (s->spans.n <= HIST_BUCKETS_MAX)
        avec_push(a, &s->spans, sp);
}

void hist_pb_deltas(struct arena *a, struct hist_pb_reader *s, struct pb *m)
{
    struct pb v = pb_packed(m, PB_VARINT);
    while (v.p < v.end) {
        s->last = (int64_t)((uint64_t)s->last + (uint64_t)unzigzag(pb_varint_raw(&v)));
        if (s->from_deltas.n <= HIST_BUCKETS_MAX)
            avec_push(a, &s->from_deltas, (double)s->last);
    }
    pb_join(m, &v);
}

void hist_pb_doubles(struct arena *a, struct hist_pb_doubles *out, struct pb *m)
{
    struct pb v = pb_packed(m, PB_FIXED64);
    while (v.p < v.end) {
        uint64_t u = pb_fixed64_raw(&v);
        if (out->n <= HIST_BUCKETS_MAX)
            avec_push(a, out, f64_from_bits(u));
    }
    pb_join(m, &v);
}

struct hist_side hist_pb_side(const struct hist_pb_reader *s, bool is_float)
{
    const struct hist_pb_doubles *b = is_float ? &s->counts : &s->from_deltas;
    return (struct hist_side){ s->spans.p, s->spans.n, b->p, b->n };
}
