/* int64 columns (docs/format/codec.md): a header byte, parameters, then residuals in pfor blocks.
 *
 * Residuals are the values (FOR), their differences (DELTA) or the differences of those (DELTA2), less a base:
 * the smallest residual, or the most frequent one with the rest zigzagged around it (SPREAD), which is what makes a
 * mostly constant column sparse. All arithmetic is modulo 2^64, so that nothing overflows. Values that are all
 * multiples of 2^k away from the first are shifted down first (page sizes, bytes in KiB). */
#include <stdlib.h>

#include "base/check.h"
#include "store/codec_int.h"

enum form { FORM_CONST, FORM_DELTA_CONST, FORM_FOR, FORM_DELTA, FORM_DELTA2, FORM_N };
enum { FORM_MASK = 7, FLAG_SPREAD = 8, FLAG_SHIFT = 16, HEADER_MAX = 31 };
enum { STACK_VALUES = 256 };

/* Values as seen by the residuals: shifted, relative to the first if there is a shift. */
struct column {
    const int64_t *v;
    size_t n;
    unsigned shift;
};
static inline uint64_t value_at(const struct column *c, size_t i)
{
    if (c->shift == 0)
        return (uint64_t)c->v[i];
    return (uint64_t)((int64_t)((uint64_t)c->v[i] - (uint64_t)c->v[0]) >> c->shift);
}

/* Residuals of a form into r; returns how many (fewer than n: the first values are parameters). */
static size_t residuals(const struct column *c, enum form f, int64_t *r)
{
    size_t n = c->n, lead = f == FORM_FOR ? 0 : f == FORM_DELTA ? 1 : 2;
    uint64_t prev = lead > 0 ? value_at(c, 0) : 0;
    uint64_t prev_d = lead > 1 ? value_at(c, 1) - prev : 0;
    if (lead > 1)
        prev += prev_d;
    for (size_t i = lead; i < n; i++) {
        uint64_t v = value_at(c, i), d = v - prev;
        r[i - lead] = (int64_t)(f == FORM_FOR ? v : f == FORM_DELTA ? d : d - prev_d);
        prev = v;
        prev_d = d;
    }
    return n - lead;
}

static int64_t smallest(const int64_t *r, size_t n)
{
    int64_t m = r[0];
    for (size_t i = 1; i < n; i++)
        m = MIN(m, r[i]);
    return m;
}

static int64_t most_frequent(const int64_t *r, size_t n) /* a majority if there is one (R. Boyer, J. Moore) */
{
    int64_t m = r[0];
    size_t votes = 0;
    for (size_t i = 0; i < n; i++) {
        if (votes == 0)
            m = r[i];
        votes = r[i] == m ? votes + 1 : votes - 1;
    }
    return m;
}

static size_t block_fill(const int64_t *r, size_t n, int64_t base, bool spread, uint64_t *out)
{
    n = MIN(n, (size_t)CODEC_BLOCK);
    for (size_t i = 0; i < n; i++) {
        uint64_t d = (uint64_t)r[i] - (uint64_t)base;
        out[i] = spread ? zigzag((int64_t)d) : d;
    }
    return n;
}

static size_t residual_bytes(const int64_t *r, size_t n, int64_t base, bool spread)
{
    uint64_t block[CODEC_BLOCK];
    size_t bytes = 0;
    for (size_t i = 0; i < n; i += CODEC_BLOCK)
        bytes += codec_pfor_block_bytes(block, block_fill(r + i, n - i, base, spread, block));
    return bytes;
}

static size_t svarint_bytes(int64_t v)
{
    uint64_t z = zigzag(v);
    return z ? (70u - (unsigned)__builtin_clzll(z)) / 7 : 1;
}

struct plan {
    enum form form;
    bool spread;
    int64_t base;
    size_t bytes;
};

static void plan_try(const struct column *c, enum form f, int64_t *r, struct plan *best)
{
    size_t n = residuals(c, f, r), lead = 0;
    if (f != FORM_FOR)
        lead += svarint_bytes((int64_t)value_at(c, 0));
    if (f == FORM_DELTA2)
        lead += svarint_bytes((int64_t)(value_at(c, 1) - value_at(c, 0)));
    for (int spread = 0; spread < 2; spread++) {
        int64_t base = spread ? most_frequent(r, n) : smallest(r, n);
        size_t bytes = lead + svarint_bytes(base) + residual_bytes(r, n, base, spread);
        if (bytes < best->bytes)
            *best = (struct plan){ f, spread, base, bytes };
    }
}

static void plan_write(struct buf *out, const struct column *c, const struct plan *p, int64_t *r)
{
    uint64_t block[CODEC_BLOCK];
    size_t n = residuals(c, p->form, r);
    buf_u8(out, (uint8_t)((unsigned)p->form | (p->spread ? FLAG_SPREAD : 0u) | (c->shift ? FLAG_SHIFT : 0u)));
    if (c->shift) {
        buf_u8(out, (uint8_t)c->shift);
        buf_svarint(out, c->v[0]);
    }
    if (p->form != FORM_FOR)
        buf_svarint(out, (int64_t)value_at(c, 0));
    if (p->form == FORM_DELTA2)
        buf_svarint(out, (int64_t)(value_at(c, 1) - value_at(c, 0)));
    buf_svarint(out, p->base);
    for (size_t i = 0; i < n; i += CODEC_BLOCK)
        codec_pfor_block(out, block, block_fill(r + i, n - i, p->base, p->spread, block));
}

/* Whether all differences from the first value are equal steps; OR of the differences for the shift. */
static bool steps_equal(const int64_t *v, size_t n, uint64_t *ret_or)
{
    uint64_t all = 0, step = n > 1 ? (uint64_t)v[1] - (uint64_t)v[0] : 0;
    bool equal = true;
    for (size_t i = 1; i < n; i++) {
        all |= (uint64_t)v[i] - (uint64_t)v[0];
        equal &= (uint64_t)v[i] - (uint64_t)v[i - 1] == step;
    }
    *ret_or = all;
    return equal;
}

void codec_i64_encode(struct buf *out, const int64_t *v, size_t n)
{
    uint64_t all;
    ASSERT(n <= CODEC_VALUES_MAX);
    if (n == 0)
        return;
    bool equal = steps_equal(v, n, &all);
    if (all == 0 || equal) {
        buf_u8(out, all == 0 ? FORM_CONST : FORM_DELTA_CONST);
        buf_svarint(out, v[0]);
        if (all)
            buf_svarint(out, (int64_t)((uint64_t)v[1] - (uint64_t)v[0]));
        return;
    }
    struct column c = { v, n, (unsigned)__builtin_ctzll(all) };
    int64_t small[STACK_VALUES];
    AUTO_FREE int64_t *big = n > STACK_VALUES ? mem_alloc(n * sizeof(*big)) : NULL;
    int64_t *r = big ? big : small;
    struct plan best = { .bytes = SIZE_MAX };
    plan_try(&c, FORM_FOR, r, &best);
    plan_try(&c, FORM_DELTA, r, &best);
    if (n > 2)
        plan_try(&c, FORM_DELTA2, r, &best);
    plan_write(out, &c, &best, r);
}

/* ---- decoding ---- */
struct head {
    enum form form;
    bool spread;
    unsigned shift;
    uint64_t origin, first, delta, base;
};

static bool head_read(struct rd *r, struct head *h)
{
    uint8_t b = rd_u8(r);
    *h = (struct head){ .form = b & FORM_MASK, .spread = b & FLAG_SPREAD };
    if (!rd_ok(r) || b > HEADER_MAX || h->form >= FORM_N || (h->form <= FORM_DELTA_CONST && b != (uint8_t)h->form))
        return false;
    if (b & FLAG_SHIFT) {
        h->shift = rd_u8(r);
        h->origin = (uint64_t)rd_svarint(r);
    }
    if (h->form != FORM_FOR)
        h->first = (uint64_t)rd_svarint(r);
    if (h->form == FORM_DELTA_CONST || h->form == FORM_DELTA2)
        h->delta = (uint64_t)rd_svarint(r);
    if (h->form >= FORM_FOR)
        h->base = (uint64_t)rd_svarint(r);
    return rd_ok(r) && h->shift < 64;
}

static size_t head_lead(const struct head *h)
{
    return h->form == FORM_FOR ? 0 : h->form == FORM_DELTA ? 1 : 2;
}

static void unzigzag_block(uint64_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        b[i] = (b[i] >> 1) ^ (0 - (b[i] & 1));
}

/* Residuals of one block to values; prev and delta carry over to the next. */
static void block_restore(const struct head *h, const uint64_t *b, size_t n, uint64_t *prev, uint64_t *delta,
                          int64_t *out)
{
    uint64_t p = *prev, d = *delta, base = h->base;
    if (h->form == FORM_FOR)
        for (size_t i = 0; i < n; i++)
            out[i] = (int64_t)(b[i] + base);
    else if (h->form == FORM_DELTA)
        for (size_t i = 0; i < n; i++)
            out[i] = (int64_t)(p += b[i] + base);
    else
        for (size_t i = 0; i < n; i++)
            out[i] = (int64_t)(p += d += b[i] + base);
    *prev = p;
    *delta = d;
}

static bool blocks_read(struct rd *r, const struct head *h, size_t n, int64_t *out)
{
    uint64_t b[CODEC_BLOCK], prev = h->first, delta = h->delta;
    size_t i = head_lead(h);
    if (n < i)
        return false;
    if (i > 0)
        out[0] = (int64_t)h->first;
    if (i > 1)
        out[1] = (int64_t)(prev += delta);
    for (; i < n; i += CODEC_BLOCK) {
        size_t k = MIN((size_t)CODEC_BLOCK, n - i);
        if (!codec_pfor_block_read(r, k, b))
            return false;
        if (h->spread)
            unzigzag_block(b, k);
        block_restore(h, b, k, &prev, &delta, out + i);
    }
    if (h->shift)
        for (i = 0; i < n; i++)
            out[i] = (int64_t)(h->origin + ((uint64_t)out[i] << h->shift));
    return true;
}

bool codec_i64_read(struct rd *r, size_t n, int64_t *out)
{
    struct head h;
    if (n == 0)
        return true;
    if (n > CODEC_VALUES_MAX || !head_read(r, &h))
        return false;
    if (h.form >= FORM_FOR)
        return blocks_read(r, &h, n, out);
    for (size_t i = 0; i < n; i++)
        out[i] = (int64_t)(h.first + i * h.delta);
    return true;
}

bool codec_i64_skip_rd(struct rd *r, size_t n)
{
    struct head h;
    if (n == 0)
        return true;
    if (n > CODEC_VALUES_MAX || !head_read(r, &h))
        return false;
    if (h.form < FORM_FOR)
        return true;
    size_t i = head_lead(&h);
    if (n < i)
        return false;
    for (; i < n; i += CODEC_BLOCK)
        if (!codec_pfor_block_skip(r, MIN((size_t)CODEC_BLOCK, n - i)))
            return false;
    return true;
}

static enum err used(const struct rd *r, str in, bool good, size_t *ret_used)
{
    if (!good)
        return ERR_CORRUPT;
    if (ret_used)
        *ret_used = in.n - rd_left(r);
    return OK;
}

enum err codec_i64_decode(str in, size_t n, int64_t *ret_v, size_t *ret_used)
{
    struct rd r = rd_init(in);
    bool good = codec_i64_read(&r, n, ret_v);
    return used(&r, in, good, ret_used);
}

enum err codec_i64_skip(str in, size_t n, size_t *ret_used)
{
    struct rd r = rd_init(in);
    bool good = codec_i64_skip_rd(&r, n);
    return used(&r, in, good, ret_used);
}

bool codec_i64_const(str in, size_t n, int64_t *ret_v)
{
    struct rd r = rd_init(in);
    struct head h;
    if (n == 0 || !head_read(&r, &h) || h.form != FORM_CONST)
        return false;
    *ret_v = (int64_t)h.first;
    return true;
}

/* ---- timestamps, 32 bit ---- */
void codec_ts_encode(struct buf *out, const int64_t *ts, size_t n)
{
    codec_i64_encode(out, ts, n);
}

enum err codec_ts_decode(str in, size_t n, int64_t *ret_ts, size_t *ret_used)
{
    return codec_i64_decode(in, n, ret_ts, ret_used);
}

void codec_u32_encode(struct buf *out, const uint32_t *v, size_t n)
{
    AUTO_FREE int64_t *wide = mem_alloc((n + 1) * sizeof(*wide));
    for (size_t i = 0; i < n; i++)
        wide[i] = v[i];
    codec_i64_encode(out, wide, n);
}

enum err codec_u32_decode(str in, size_t n, uint32_t *ret_v, size_t *ret_used)
{
    if (n > CODEC_VALUES_MAX)
        return ERR_CORRUPT;
    AUTO_FREE int64_t *wide = mem_alloc((n + 1) * sizeof(*wide));
    TRY(codec_i64_decode(in, n, wide, ret_used));
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++) {
        all |= (uint64_t)wide[i];
        ret_v[i] = (uint32_t)wide[i];
    }
    return all >> 32 ? ERR_CORRUPT : OK;
}
