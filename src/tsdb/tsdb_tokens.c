/* Tokens: the bytes of one sample, the same in the head and in the log (docs/format/tsdb.md, "Tokens").
 *
 *   00-3f        m += zigzag(low 6 bits)                small delta
 *   40-7f        m += d + zigzag(low 6 bits)            small delta of delta
 *   80-87, 88-8f the same with 1..8 little-endian bytes
 *   91-98        bits ^= 1..8 little-endian bytes       raw mode
 *   a0 form m    absolute decimal        a1 u64  absolute raw       a2  staleness marker
 *   a3 n, b0-bf  run: n more samples of the same bits   a4 n  gap: n timeline entries without a sample
 *   a5 ms, a6 d  start timestamp, absolute or as a difference (before a value token)
 *   a7 ...       everything a token may lean on (before a value or run token): only in memory, by a replay
 *
 * A value is decimal when m / 10^e or m * 10^-e gives the very bits back. A trailing run has no token: a chunk's
 * sample count says how many repeats follow, so a constant series adds nothing but a counter. */
#include "tsdb/tsdb_int.h"

#include <math.h>

#define EXP_MAX 15
static const double pow10_tab[EXP_MAX + 1] = { 1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                               1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15 };
static const double inv10_tab[EXP_MAX + 1] = { 1e0,  1e-1, 1e-2,  1e-3,  1e-4,  1e-5,  1e-6,  1e-7,
                                               1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15 };
#define MANT_MAX 9007199254740992.0

static inline double form_value(uint8_t form, int64_t m)
{
    unsigned e = form >> 1;
    return form & 1 ? (double)m * inv10_tab[e] : (double)m / pow10_tab[e];
}

static inline bool form_fits(uint8_t form, double v, uint64_t bits, int64_t *ret_m)
{
    double x = form & 1 ? v / inv10_tab[form >> 1] : v * pow10_tab[form >> 1];
    if (!(x > -MANT_MAX && x < MANT_MAX))
        return false;
    int64_t m = (int64_t)(x < 0 ? x - 0.5 : x + 0.5);
    if (f64_bits(form_value(form, m)) != bits)
        return false;
    *ret_m = m;
    return true;
}

static bool form_find(double v, uint64_t bits, uint8_t *ret_form, int64_t *ret_m)
{
    for (unsigned e = 0; e <= EXP_MAX; e++) {
        for (unsigned mul = 0; mul < (e ? 2 : 1); mul++) {
            if (form_fits((uint8_t)(e << 1 | mul), v, bits, ret_m)) {
                *ret_form = (uint8_t)(e << 1 | mul);
                return true;
            }
        }
    }
    return false;
}

static inline unsigned bytes_of(uint64_t x) /* 1..8 */
{
    return x ? (71 - (unsigned)__builtin_clzll(x)) / 8 : 1;
}

static inline size_t put_le(uint8_t *out, uint64_t x, unsigned n)
{
    memcpy(out, &x, 8); /* out has room for 8 */
    return n;
}

static size_t put_absolute(struct tok *t, uint64_t bits, uint8_t *out)
{
    double v = f64_from_bits(bits);
    int64_t m;
    uint8_t form;
    if (form_find(v, bits, &form, &m)) {
        t->form = form;
        t->m = m;
        t->d = 0;
        out[0] = 0xa0;
        out[1] = form;
        return 2 + uvarint_put(out + 2, zigzag(m));
    }
    t->form = TOK_RAW;
    out[0] = 0xa1;
    return 1 + put_le(out + 1, bits, 8);
}

static size_t put_delta(struct tok *t, int64_t m, uint8_t *out)
{
    int64_t delta = m - t->m;
    uint64_t a = zigzag(delta), b = zigzag(delta - t->d);
    t->d = delta;
    t->m = m;
    if (a < 64) {
        out[0] = (uint8_t)a;
        return 1;
    }
    if (b < 64) {
        out[0] = (uint8_t)(0x40 | b);
        return 1;
    }
    unsigned na = bytes_of(a), nb = bytes_of(b);
    if (nb < na) {
        out[0] = (uint8_t)(0x88 + nb - 1);
        return 1 + put_le(out + 1, b, nb);
    }
    out[0] = (uint8_t)(0x80 + na - 1);
    return 1 + put_le(out + 1, a, na);
}

static size_t put_value(struct tok *t, uint64_t bits, uint8_t *out)
{
    if (bits == STALE_NAN_BITS) {
        out[0] = 0xa2;
        return 1;
    }
    if (t->form != TOK_RAW) {
        int64_t m;
        if (form_fits(t->form, f64_from_bits(bits), bits, &m))
            return put_delta(t, m, out);
        return put_absolute(t, bits, out);
    }
    uint64_t x = bits ^ t->bits;
    if (t->bits == STALE_NAN_BITS)
        return put_absolute(t, bits, out);
    unsigned n = bytes_of(x);
    out[0] = (uint8_t)(0x90 + n);
    return 1 + put_le(out + 1, x, n);
}

size_t tok_put(struct tok *t, uint64_t bits, int64_t start, bool absolute, uint8_t out[TOK_BYTES_MAX])
{
    size_t n = 0;
    if (!absolute && bits == t->bits && start == t->start)
        return 0;
    if (absolute ? start || t->start : start != t->start) {
        uint64_t base = absolute ? 0 : (uint64_t)t->start;
        out[n++] = absolute ? 0xa5 : 0xa6;
        n += uvarint_put(out + n, zigzag((int64_t)((uint64_t)start - base)));
        t->start = start;
    }
    if (absolute)
        t->form = TOK_RAW;
    if (absolute && bits != STALE_NAN_BITS)
        n += put_absolute(t, bits, out + n);
    else
        n += put_value(t, bits, out + n);
    t->bits = bits;
    return n;
}

size_t tok_put_run(uint32_t n, uint8_t out[TOK_BYTES_MAX])
{
    if (n >= 1 && n <= 16) {
        out[0] = (uint8_t)(0xb0 + n - 1);
        return 1;
    }
    out[0] = 0xa3;
    return 1 + uvarint_put(out + 1, n);
}

size_t tok_put_gap(uint32_t n, uint8_t out[TOK_BYTES_MAX])
{
    out[0] = 0xa4;
    return 1 + uvarint_put(out + 1, n);
}

size_t tok_put_state(const struct tok *t, uint8_t out[TOK_STATE_BYTES_MAX])
{
    size_t n = 0;
    out[n++] = 0xa7;
    out[n++] = t->form;
    n += uvarint_put(out + n, zigzag(t->m));
    n += uvarint_put(out + n, zigzag(t->d));
    n += uvarint_put(out + n, zigzag(t->start));
    return n + put_le(out + n, t->bits, 8);
}

static bool get_uvarint(const uint8_t **p, const uint8_t *end, uint64_t *ret)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && *p < end; shift += 7) {
        uint8_t b = *(*p)++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (!(b & 0x80)) {
            *ret = v;
            return true;
        }
    }
    return false;
}

static bool get_le(const uint8_t **p, const uint8_t *end, unsigned n, uint64_t *ret)
{
    if ((size_t)(end - *p) < n)
        return false;
    uint64_t x = 0;
    memcpy(&x, *p, n);
    *p += n;
    *ret = x;
    return true;
}

static bool get_state(struct tok *t, const uint8_t **p, const uint8_t *end)
{
    uint64_t m, d, start;
    if (*p >= end || (**p != TOK_RAW && **p >> 1 > EXP_MAX))
        return false;
    t->form = *(*p)++;
    if (!get_uvarint(p, end, &m) || !get_uvarint(p, end, &d) || !get_uvarint(p, end, &start))
        return false;
    t->m = unzigzag(m);
    t->d = unzigzag(d);
    t->start = unzigzag(start);
    return get_le(p, end, 8, &t->bits);
}

static inline enum tok_op decimal(struct tok *t, uint64_t delta)
{
    if (t->form == TOK_RAW)
        return TOK_BAD;
    t->d = (int64_t)delta;
    t->m = (int64_t)((uint64_t)t->m + delta);
    t->bits = f64_bits(form_value(t->form, t->m));
    return TOK_VALUE;
}

static enum tok_op get_special(struct tok *t, uint8_t b, const uint8_t **p, const uint8_t *end, uint32_t *ret_n)
{
    uint64_t x;
    if (b >= 0xb0 && b <= 0xbf) {
        *ret_n = b - 0xb0u + 1;
        return TOK_RUN;
    }
    switch (b) {
    case 0xa0:
        if (end - *p < 2 || (**p >> 1) > EXP_MAX)
            return TOK_BAD;
        t->form = *(*p)++;
        if (!get_uvarint(p, end, &x))
            return TOK_BAD;
        t->m = unzigzag(x);
        t->d = 0;
        t->bits = f64_bits(form_value(t->form, t->m));
        return TOK_VALUE;
    case 0xa1:
        t->form = TOK_RAW;
        return get_le(p, end, 8, &t->bits) ? TOK_VALUE : TOK_BAD;
    case 0xa2:
        t->bits = STALE_NAN_BITS;
        return TOK_VALUE;
    case 0xa3:
    case 0xa4:
        if (!get_uvarint(p, end, &x) || x > UINT32_MAX)
            return TOK_BAD;
        *ret_n = (uint32_t)x;
        return b == 0xa3 ? TOK_RUN : TOK_GAP;
    default:
        return TOK_BAD;
    }
}

enum tok_op tok_get(struct tok *t, const uint8_t **p, const uint8_t *end, uint32_t *ret_n)
{
    for (;;) {
        if (*p >= end)
            return TOK_END;
        uint8_t b = *(*p)++;
        uint64_t x;
        if (b < 0x40)
            return decimal(t, (uint64_t)unzigzag(b));
        if (b < 0x80)
            return decimal(t, (uint64_t)t->d + (uint64_t)unzigzag(b & 0x3f));
        if (b < 0x90) {
            if (!get_le(p, end, (b & 7u) + 1, &x))
                return TOK_BAD;
            return decimal(t, (uint64_t)unzigzag(x) + (b & 8 ? (uint64_t)t->d : 0));
        }
        if (b > 0x90 && b <= 0x98) {
            if (t->form != TOK_RAW || !get_le(p, end, b - 0x90u, &x))
                return TOK_BAD;
            t->bits ^= x;
            return TOK_VALUE;
        }
        if (b == 0xa7) {
            if (!get_state(t, p, end))
                return TOK_BAD;
            continue;
        }
        if (b != 0xa5 && b != 0xa6)
            return get_special(t, b, p, end, ret_n);
        if (!get_uvarint(p, end, &x))
            return TOK_BAD;
        t->start = (int64_t)((uint64_t)unzigzag(x) + (b == 0xa6 ? (uint64_t)t->start : 0));
    }
}

bool tok_skip(const uint8_t **p, const uint8_t *end)
{
    uint64_t x;
    while (*p < end) {
        uint8_t b = *(*p)++;
        if (b < 0x80 || b == 0xa2)
            return true;
        if (b < 0x90)
            return get_le(p, end, (b & 7u) + 1, &x);
        if (b > 0x90 && b <= 0x98)
            return get_le(p, end, b - 0x90u, &x);
        if (b == 0xa1)
            return get_le(p, end, 8, &x);
        if (b == 0xa0)
            return *p < end && (*(*p)++ >> 1) <= EXP_MAX && get_uvarint(p, end, &x);
        if ((b != 0xa5 && b != 0xa6) || !get_uvarint(p, end, &x))
            return false;
    }
    return false;
}

/* Differences of a decimal column: nearly all tokens there are, without a branch on their length. Stops before the
 * first token that is none of them, or whose look-ahead of 8 bytes would leave [p, end). Returns how many samples. */
static inline size_t run_decimals(struct tok *t, const uint8_t **pp, const uint8_t *end, size_t n, double *v)
{
    static const uint64_t masks[] = { 0,          0xff,         0xffff,         0xffffff,
                                      0xffffffff, 0xffffffffff, 0xffffffffffff, 0xffffffffffffff,
                                      UINT64_MAX };
    const uint8_t *p = *pp;
    uint64_t m = (uint64_t)t->m, d = (uint64_t)t->d, x;
    double scale = t->form & 1 ? inv10_tab[t->form >> 1] : pow10_tab[t->form >> 1];
    size_t i = 0;
    bool mul = t->form & 1 || t->form == 0; /* times 1 is exact */
    while (i < n && end - p > 8) {
        unsigned b = p[0], wide = b >> 7, len = ((b & 7) + 1) & (0 - wide);
        if (b >= 0x90)
            break;
        memcpy(&x, p + 1, 8);
        x = (x & masks[len]) | (b & 0x3f & (wide - 1));
        p += 1 + len;
        uint64_t keep = 0 - (uint64_t)(b >> (wide ? 3 : 6) & 1); /* a difference of differences */
        d = (uint64_t)unzigzag(x) + (d & keep);
        m += d;
        double f = (double)(int64_t)m;
        v[i++] = mul ? f * scale : f / scale;
    }
    if (i) {
        t->m = (int64_t)m;
        t->d = (int64_t)d;
        t->bits = f64_bits(v[i - 1]);
    }
    *pp = p;
    return i;
}

static void fill(double *v, uint32_t *pos, int64_t *start, const struct tok *t, uint32_t n, uint32_t at)
{
    double x = f64_from_bits(t->bits);
    for (uint32_t k = 0; k < n; k++)
        v[k] = x;
    for (uint32_t k = 0; pos && k < n; k++)
        pos[k] = at + k;
    for (uint32_t k = 0; start && k < n; k++)
        start[k] = t->start;
}

size_t tok_decode(const uint8_t *p, size_t n_bytes, size_t n_samples, uint32_t slot_end, double *v, uint32_t *pos,
                  int64_t *start)
{
    const uint8_t *end = p + n_bytes;
    struct tok t = { .form = TOK_RAW };
    size_t i = 0;
    uint32_t at = 0, n = 0;
    while (i < n_samples && at < slot_end) {
        if (t.form != TOK_RAW && end - p > 8 && *p < 0x90) {
            n = (uint32_t)run_decimals(&t, &p, end, MIN(n_samples - i, (size_t)(slot_end - at)), v + i);
            for (uint32_t k = 0; pos && k < n; k++)
                pos[i + k] = at + k;
            for (uint32_t k = 0; start && k < n; k++)
                start[i + k] = t.start;
            i += n;
            at += n;
            continue;
        }
        enum tok_op op = tok_get(&t, &p, end, &n);
        if (op == TOK_BAD)
            return SIZE_MAX;
        if (op == TOK_GAP) {
            at += n;
            continue;
        }
        if (op == TOK_VALUE)
            n = 1;
        else if (op == TOK_END)
            n = (uint32_t)(n_samples - i);
        n = (uint32_t)MIN(n, MIN(n_samples - i, (size_t)(slot_end - at)));
        fill(v + i, pos ? pos + i : NULL, start ? start + i : NULL, &t, n, at);
        i += n;
        at += n;
    }
    return i;
}
