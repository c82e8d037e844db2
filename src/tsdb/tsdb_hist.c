/* One native histogram as bytes, leaning on nothing (docs/format/tsdb.md, "Histogram"):
 *
 *   u8 flags (bits 0-1 reset hint, 2 counts are integers) | svarint schema | f64 zero threshold | f64 sum
 *   number count | number zero count | side positive | side negative | uvarint bounds, f64 each
 *   side:   uvarint spans, per span svarint offset, uvarint length; then one number per bucket
 *   number: svarint difference to the one before if integers, else f64 */
#include "tsdb/tsdb_int.h"

#include <math.h>

static bool integral(double v)
{
    return v >= -9007199254740992.0 && v <= 9007199254740992.0 && (double)(int64_t)v == v && !(v == 0 && signbit(v));
}

static bool all_integral(const struct histogram *h)
{
    if (!integral(h->count) || !integral(h->zero_count))
        return false;
    for (size_t i = 0; i < h->pos.n_buckets; i++)
        if (!integral(h->pos.buckets[i]))
            return false;
    for (size_t i = 0; i < h->neg.n_buckets; i++)
        if (!integral(h->neg.buckets[i]))
            return false;
    return true;
}

static void put_number(struct buf *out, bool ints, double v, int64_t *prev)
{
    if (!ints) {
        buf_f64(out, v);
        return;
    }
    buf_svarint(out, (int64_t)v - *prev);
    *prev = (int64_t)v;
}

static void put_side(struct buf *out, const struct hist_side *s, bool ints)
{
    buf_uvarint(out, s->n_spans);
    for (size_t i = 0; i < s->n_spans; i++) {
        buf_svarint(out, s->spans[i].offset);
        buf_uvarint(out, s->spans[i].length);
    }
    int64_t prev = 0;
    for (size_t i = 0; i < s->n_buckets; i++)
        put_number(out, ints, s->buckets[i], &prev);
}

void hist_encode(struct buf *out, const struct histogram *h)
{
    bool ints = all_integral(h);
    buf_u8(out, (uint8_t)((unsigned)h->reset | (ints ? 4u : 0)));
    buf_svarint(out, h->schema);
    buf_f64(out, h->zero_threshold);
    buf_f64(out, h->sum);
    int64_t prev = 0;
    put_number(out, ints, h->count, &prev);
    prev = 0;
    put_number(out, ints, h->zero_count, &prev);
    put_side(out, &h->pos, ints);
    put_side(out, &h->neg, ints);
    buf_uvarint(out, h->n_custom);
    for (size_t i = 0; i < h->n_custom; i++)
        buf_f64(out, h->custom[i]);
}

static double get_number(struct rd *r, bool ints, int64_t *prev)
{
    if (!ints)
        return rd_f64(r);
    *prev = (int64_t)((uint64_t)*prev + (uint64_t)rd_svarint(r));
    return (double)*prev;
}

static bool get_side(struct rd *r, struct arena *a, bool ints, struct hist_side *s)
{
    uint64_t n = rd_uvarint(r), total = 0;
    if (n > rd_left(r))
        return false;
    struct hist_span *spans = arena_array(a, struct hist_span, n + 1);
    for (size_t i = 0; i < n; i++) {
        int64_t off = rd_svarint(r);
        uint64_t len = rd_uvarint(r);
        if (off < INT32_MIN || off > INT32_MAX || len > HIST_BUCKETS_MAX)
            return false;
        spans[i] = (struct hist_span){ (int32_t)off, (uint32_t)len };
        total += len;
    }
    if (total > HIST_BUCKETS_MAX || total > rd_left(r))
        return false;
    double *b = arena_array(a, double, total + 1);
    int64_t prev = 0;
    for (size_t i = 0; i < total; i++)
        b[i] = get_number(r, ints, &prev);
    *s = (struct hist_side){ spans, (size_t)n, b, (size_t)total };
    return rd_ok(r);
}

enum err hist_decode(struct rd *r, struct arena *a, struct histogram **ret)
{
    struct histogram *h = arena_new(a, struct histogram);
    unsigned flags = rd_u8(r);
    bool ints = flags & 4;
    h->reset = (enum hist_reset)(flags & 3);
    int64_t schema = rd_svarint(r);
    if (schema != HIST_SCHEMA_CUSTOM && (schema < HIST_SCHEMA_MIN || schema > HIST_SCHEMA_MAX))
        return ERR_CORRUPT;
    h->schema = (int32_t)schema;
    h->zero_threshold = rd_f64(r);
    h->sum = rd_f64(r);
    int64_t prev = 0;
    h->count = get_number(r, ints, &prev);
    prev = 0;
    h->zero_count = get_number(r, ints, &prev);
    if (!get_side(r, a, ints, &h->pos) || !get_side(r, a, ints, &h->neg))
        return ERR_CORRUPT;
    uint64_t n = rd_uvarint(r);
    if (n > rd_left(r) / 8)
        return ERR_CORRUPT;
    double *c = arena_array(a, double, n + 1);
    for (size_t i = 0; i < n; i++)
        c[i] = rd_f64(r);
    h->custom = c;
    h->n_custom = (size_t)n;
    if (!rd_ok(r))
        return ERR_CORRUPT;
    *ret = h;
    return OK;
}

/* ---- chunks of a segment: layout | reset hints | sum | count | zero count | one column per bucket ---- */
bool hist_same_layout(const struct histogram *a, const struct histogram *b)
{
    return a->schema == b->schema && f64_bits(a->zero_threshold) == f64_bits(b->zero_threshold) &&
           a->pos.n_spans == b->pos.n_spans && a->neg.n_spans == b->neg.n_spans && a->n_custom == b->n_custom &&
           a->pos.n_buckets == b->pos.n_buckets && a->neg.n_buckets == b->neg.n_buckets &&
           (!a->pos.n_spans || memcmp(a->pos.spans, b->pos.spans, a->pos.n_spans * sizeof(*a->pos.spans)) == 0) &&
           (!a->neg.n_spans || memcmp(a->neg.spans, b->neg.spans, a->neg.n_spans * sizeof(*a->neg.spans)) == 0) &&
           (!a->n_custom || memcmp(a->custom, b->custom, a->n_custom * 8) == 0);
}

static void put_spans(struct buf *b, const struct hist_side *s)
{
    buf_uvarint(b, s->n_spans);
    for (size_t i = 0; i < s->n_spans; i++) {
        buf_svarint(b, s->spans[i].offset);
        buf_uvarint(b, s->spans[i].length);
    }
}

void hist_chunk_encode(struct buf *b, const struct histogram *const *h, size_t n)
{
    buf_svarint(b, h[0]->schema);
    buf_f64(b, h[0]->zero_threshold);
    put_spans(b, &h[0]->pos);
    put_spans(b, &h[0]->neg);
    buf_uvarint(b, h[0]->n_custom);
    buf_add(b, h[0]->custom, h[0]->n_custom * 8);
    AUTO_FREE void *mem = mem_alloc(n * 8);
    int64_t *reset = mem;
    for (size_t i = 0; i < n; i++)
        reset[i] = (int64_t)h[i]->reset;
    codec_i64_encode(b, reset, n);
    double *c = mem;
#define COLUMN(expr)                   \
    do {                               \
        for (size_t i = 0; i < n; i++) \
            c[i] = (expr);             \
        codec_f64_encode(b, c, n);     \
    } while (0)
    COLUMN(h[i]->sum);
    COLUMN(h[i]->count);
    COLUMN(h[i]->zero_count);
    for (size_t k = 0; k < h[0]->pos.n_buckets; k++)
        COLUMN(h[i]->pos.buckets[k]);
    for (size_t k = 0; k < h[0]->neg.n_buckets; k++)
        COLUMN(h[i]->neg.buckets[k]);
#undef COLUMN
}

static bool get_spans(struct rd *r, struct arena *a, struct hist_side *s)
{
    uint64_t n = rd_uvarint(r), total = 0;
    if (n > rd_left(r))
        return false;
    struct hist_span *spans = arena_array(a, struct hist_span, n + 1);
    for (uint64_t i = 0; i < n; i++) {
        int64_t off = rd_svarint(r);
        uint64_t len = rd_uvarint(r);
        if (off < INT32_MIN || off > INT32_MAX || len > HIST_BUCKETS_MAX || (total += len) > HIST_BUCKETS_MAX)
            return false;
        spans[i] = (struct hist_span){ (int32_t)off, (uint32_t)len };
    }
    s->spans = spans;
    s->n_spans = (size_t)n;
    s->n_buckets = (size_t)total;
    return rd_ok(r);
}

static enum err f64_column(struct rd *r, size_t n, double *v)
{
    size_t used;
    TRY(codec_f64_decode(str_n(r->p, rd_left(r)), n, v, &used));
    r->p += used;
    return OK;
}

static enum err side_columns(struct rd *r, size_t n, struct arena *a, double *v, struct histogram *h, bool neg)
{
    size_t n_buckets = neg ? h->neg.n_buckets : h->pos.n_buckets;
    if (n_buckets > rd_left(r)) /* a column has at least a byte */
        return ERR_CORRUPT;
    double *all = arena_array(a, double, n *n_buckets + 1);
    for (size_t k = 0; k < n_buckets; k++) {
        TRY(f64_column(r, n, v));
        for (size_t i = 0; i < n; i++)
            all[i * n_buckets + k] = v[i];
    }
    for (size_t i = 0; i < n; i++)
        *(neg ? &h[i].neg.buckets : &h[i].pos.buckets) = all + i * n_buckets;
    return OK;
}

static enum err layout_decode(struct rd *r, struct arena *a, struct histogram *ret)
{
    int64_t schema = rd_svarint(r);
    ret->schema = (int32_t)schema;
    ret->zero_threshold = rd_f64(r);
    if (!get_spans(r, a, &ret->pos) || !get_spans(r, a, &ret->neg) || schema < HIST_SCHEMA_CUSTOM ||
        schema > HIST_SCHEMA_MAX)
        return ERR_CORRUPT;
    uint64_t n_custom = rd_uvarint(r);
    str custom = rd_bytes(r, n_custom > rd_left(r) / 8 ? SIZE_MAX : (size_t)n_custom * 8);
    if (!rd_ok(r))
        return ERR_CORRUPT;
    double *bounds = arena_array(a, double, n_custom + 1);
    if (custom.n)
        memcpy(bounds, custom.p, custom.n);
    ret->custom = bounds;
    ret->n_custom = (size_t)n_custom;
    return OK;
}

enum err hist_chunk_decode(struct rd *r, size_t n, struct arena *a, struct histogram **ret)
{
    struct histogram one = { 0 };
    TRY(layout_decode(r, a, &one));
    struct histogram *h = arena_array(a, struct histogram, n);
    for (size_t i = 0; i < n; i++)
        h[i] = one;
    size_t used;
    int64_t *reset = arena_array(a, int64_t, n);
    TRY(codec_i64_decode(str_n(r->p, rd_left(r)), n, reset, &used));
    r->p += used;
    double *v = arena_array(a, double, n);
    for (size_t i = 0; i < n; i++)
        h[i].reset = (enum hist_reset)(reset[i] & 3);
    TRY(f64_column(r, n, v));
    for (size_t i = 0; i < n; i++)
        h[i].sum = v[i];
    TRY(f64_column(r, n, v));
    for (size_t i = 0; i < n; i++)
        h[i].count = v[i];
    TRY(f64_column(r, n, v));
    for (size_t i = 0; i < n; i++)
        h[i].zero_count = v[i];
    TRY(side_columns(r, n, a, v, h, false));
    TRY(side_columns(r, n, a, v, h, true));
    *ret = h;
    return OK;
}
