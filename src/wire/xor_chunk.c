/* Chunks, writing (manual: xor_chunk.h). Bits go from the highest of each byte down. */
#include "wire/xor_chunk.h"

#include <math.h>

#include "model/sample.h"

struct bits {
    struct buf *b;
    unsigned left; /* free bits of the last byte */
};

static void put_bits(struct bits *w, uint64_t v, unsigned n)
{
    while (n) {
        if (w->left == 0) {
            buf_u8(w->b, 0);
            w->left = 8;
        }
        unsigned k = n < w->left ? n : w->left;
        uint64_t part = v >> (n - k) & ((1u << k) - 1);
        if (w->b->n)
            w->b->p[w->b->n - 1] |= (char)(uint8_t)(part << (w->left - k));
        w->left -= k;
        n -= k;
    }
}

static void put_byte(struct bits *w, uint8_t v)
{
    put_bits(w, v, 8);
}

static bool fits(int64_t v, unsigned n) /* upstream's bitRange: one more above than below */
{
    int64_t half = (int64_t)1 << (n - 1);
    return -(half - 1) <= v && v <= half;
}

static void put_uvarint(struct bits *w, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        put_byte(w, (uint8_t)(v | 0x80));
    put_byte(w, (uint8_t)v);
}

/* ---- floats ---- */

struct xor_state {
    uint64_t last;
    unsigned leading, trailing;
    bool has_window;
};

static void put_xor(struct bits *w, struct xor_state *s, double v)
{
    uint64_t u = f64_bits(v), delta = u ^ s->last;
    s->last = u;
    put_bits(w, delta != 0, 1);
    if (delta == 0)
        return;
    unsigned leading = (unsigned)__builtin_clzll(delta), trailing = (unsigned)__builtin_ctzll(delta);
    if (leading > 31)
        leading = 31;
    if (s->has_window && leading >= s->leading && trailing >= s->trailing) {
        put_bits(w, 0, 1);
        put_bits(w, delta >> s->trailing, 64 - s->leading - s->trailing);
        return;
    }
    s->has_window = true;
    s->leading = leading;
    s->trailing = trailing;
    unsigned significant = 64 - leading - trailing;
    put_bits(w, 1, 1);
    put_bits(w, leading, 5);
    put_bits(w, significant & 63, 6); /* 64 is written as 0 */
    put_bits(w, delta >> trailing, significant);
}

static void put_dod(struct bits *w, int64_t dod)
{
    static const struct {
        uint8_t prefix, prefix_bits, bits;
    } rows[] = { { 2, 2, 14 }, { 6, 3, 17 }, { 14, 4, 20 } };
    if (dod == 0) {
        put_bits(w, 0, 1);
        return;
    }
    for (int i = 0; i < 3; i++)
        if (fits(dod, rows[i].bits)) {
            put_bits(w, rows[i].prefix, rows[i].prefix_bits);
            put_bits(w, (uint64_t)dod, rows[i].bits);
            return;
        }
    put_bits(w, 15, 4);
    put_bits(w, (uint64_t)dod, 64);
}

void xor_chunk_floats(struct buf *b, const int64_t *ts, const double *v, size_t n)
{
    struct bits w = { b, 0 };
    struct xor_state s = { .last = f64_bits(v[0]) };
    put_bits(&w, n, 16);
    put_uvarint(&w, zigzag(ts[0]));
    put_bits(&w, s.last, 64);
    uint64_t delta = 0;
    for (size_t i = 1; i < n; i++) {
        uint64_t d = (uint64_t)ts[i] - (uint64_t)ts[i - 1];
        if (i == 1)
            put_uvarint(&w, d);
        else
            put_dod(&w, (int64_t)(d - delta));
        delta = d;
        put_xor(&w, &s, v[i]);
    }
}

/* ---- histograms ---- */

static const uint8_t varbit_sizes[] = { 3, 6, 9, 12, 18, 25, 56 };

static void put_varbit(struct bits *w, uint64_t v, bool zero, unsigned row)
{
    if (zero) {
        put_bits(w, 0, 1);
    } else if (row < sizeof(varbit_sizes)) {
        put_bits(w, (2u << (row + 1)) - 2, row + 2); /* 10, 110, 1110 ... */
        put_bits(w, v, varbit_sizes[row]);
    } else {
        put_bits(w, 0xff, 8);
        put_bits(w, v, 64);
    }
}

static void put_varbit_int(struct bits *w, int64_t v)
{
    unsigned row = 0;
    while (row < sizeof(varbit_sizes) && !fits(v, varbit_sizes[row]))
        row++;
    put_varbit(w, (uint64_t)v, v == 0, row);
}

static void put_varbit_uint(struct bits *w, uint64_t v)
{
    unsigned row = 0;
    while (row < sizeof(varbit_sizes) && v >> varbit_sizes[row])
        row++;
    put_varbit(w, v, v == 0, row);
}

static void put_zero_threshold(struct bits *w, double t)
{
    int exp;
    double frac = frexp(t, &exp);
    if (f64_bits(t) == 0) {
        put_byte(w, 0);
    } else if (!(frac > 0.5 || frac < 0.5) && exp >= -242 && exp <= 11) {
        put_byte(w, (uint8_t)(exp + 243));
    } else {
        put_byte(w, 255);
        put_bits(w, f64_bits(t), 64);
    }
}

static void put_spans(struct bits *w, const struct hist_side *s)
{
    put_varbit_uint(w, s->n_spans);
    for (size_t i = 0; i < s->n_spans; i++) {
        put_varbit_uint(w, s->spans[i].length);
        put_varbit_int(w, s->spans[i].offset);
    }
}

static void put_buckets(struct bits *w, const struct hist_side *s)
{
    for (size_t i = 0; i < s->n_buckets; i++)
        put_bits(w, f64_bits(s->buckets[i]), 64);
}

void xor_chunk_histogram(struct buf *b, int64_t ts, const struct histogram *h)
{
    static const uint8_t reset_header[] = {
        [HIST_RESET_UNKNOWN] = 0, [HIST_RESET_YES] = 0x80, [HIST_RESET_NO] = 0x40, [HIST_RESET_GAUGE] = 0xc0
    };
    struct bits w = { b, 0 };
    put_bits(&w, 1, 16);
    put_byte(&w, reset_header[h->reset]);
    put_zero_threshold(&w, h->zero_threshold);
    put_varbit_int(&w, h->schema);
    put_spans(&w, &h->pos);
    put_spans(&w, &h->neg);
    if (histogram_is_custom(h)) {
        put_varbit_uint(&w, h->n_custom);
        for (size_t i = 0; i < h->n_custom; i++) {
            put_bits(&w, 0, 1); /* as it stands, not as a multiple of 0.001 */
            put_bits(&w, f64_bits(h->custom[i]), 64);
        }
    }
    put_varbit_int(&w, ts);
    put_bits(&w, f64_bits(h->count), 64);
    put_bits(&w, f64_bits(h->zero_count), 64);
    put_bits(&w, f64_bits(h->sum), 64);
    put_buckets(&w, &h->pos);
    put_buckets(&w, &h->neg);
}
