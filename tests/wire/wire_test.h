/* Shared by the tests of wire: files, the conformance folder, readable batches. */
#ifndef VANE_TESTS_WIRE_TEST_H
#define VANE_TESTS_WIRE_TEST_H

#include "conformance.h"
#include "test.h"

#include "base/buf.h"
#include "base/num.h"
#include "model/sample.h"

/* A batch as text, one line per sample: `series value @ms`, exemplars, families; the tests compare with it. */
static inline void hist_text(struct buf *b, const struct histogram *h)
{
    if (is_stale(h->sum)) {
        buf_lit(b, "{stale}");
        return;
    }
    buf_printf(b, "{schema:%d count:%g sum:%g", h->schema, h->count, h->sum);
    if (h->zero_threshold != 0 || h->zero_count != 0)
        buf_printf(b, " zero:%g/%g", h->zero_count, h->zero_threshold);
    const struct hist_side *sides[] = { &h->pos, &h->neg };
    for (int k = 0; k < 2; k++) {
        if (sides[k]->n_spans)
            buf_printf(b, " %s", k ? "neg" : "pos");
        for (size_t i = 0; i < sides[k]->n_spans; i++)
            buf_printf(b, "%s%d+%u", i ? "," : ":", sides[k]->spans[i].offset, sides[k]->spans[i].length);
        for (size_t i = 0; i < sides[k]->n_buckets; i++)
            buf_printf(b, "%s%g", i ? " " : " [", sides[k]->buckets[i]);
        if (sides[k]->n_buckets)
            buf_lit(b, "]");
    }
    for (size_t i = 0; i < h->n_custom; i++)
        buf_printf(b, "%s%g", i ? " " : " le:", h->custom[i]);
    if (h->reset)
        buf_printf(b, " reset:%d", h->reset);
    buf_lit(b, "}");
}
static inline void value_text(struct buf *b, double v)
{
    if (is_stale(v))
        buf_lit(b, "stale");
    else
        buf_f64_g(b, v);
}
static inline void series_text(struct buf *b, const struct batch_series *s)
{
    static const char *const delta[] = { "", " delta" };
    for (size_t i = 0; i < s->n_samples + s->n_hists; i++) {
        bool hist = i >= s->n_samples;
        labels_print(b, s->labels);
        buf_lit(b, " ");
        if (hist)
            hist_text(b, s->hists[i - s->n_samples].h);
        else
            value_text(b, s->samples[i].v);
        buf_printf(b, " @%lld", (long long)(hist ? s->hists[i - s->n_samples].ts_ms : s->samples[i].ts_ms));
        if (s->start_ms && s->start_ms[i])
            buf_printf(b, " from %lld", (long long)s->start_ms[i]);
        buf_printf(b, "%s", delta[s->temporality]);
        buf_lit(b, "\n");
    }
    for (size_t i = 0; i < s->n_exemplars; i++) {
        buf_lit(b, "  # ");
        labels_print(b, s->exemplars[i].labels);
        buf_printf(b, " %g @%lld\n", s->exemplars[i].v, (long long)s->exemplars[i].ts_ms);
    }
}
static inline str batch_text(struct arena *a, const struct batch *batch)
{
    struct buf b;
    buf_init(&b, 0);
    vec_each (const struct batch_series, s, &batch->series)
        series_text(&b, s);
    vec_each (const struct batch_family, f, &batch->families)
        buf_printf(&b, "family " STR_FMT " %s \"" STR_FMT "\" \"" STR_FMT "\"\n", STR_ARG(f->name),
                   metric_type_name(f->meta.type), STR_ARG(f->meta.help), STR_ARG(f->meta.unit));
    str s = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return s;
}

#endif
