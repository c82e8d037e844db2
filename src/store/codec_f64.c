/* Columns of doubles (docs/format/codec.md), exact to the bit.
 *
 * What programs export is mostly decimal: 12.5 is 125 / 10^1, and 0.001 * ticks is not 3 / 10^3 but 3 * 10^-3, one bit apart
 * now and then. So a column is tried as integers m with v = m / 10^e, then as v = m * 10^-e; each value is
 * checked by computing it back. Values that do not fit (NaN with their payloads, infinities, -0.0, and the odd binary
 * fraction) are listed as exceptions; their m repeats the one before so that differences stay small. A column with
 * too many of them is stored as XORs with the previous value or as bits, whichever is smaller. */
#include "base/check.h"
#include "store/codec_int.h"

enum form {
    FORM_DIV,     /* m / 10^e */
    FORM_MUL,     /* m * 10^-e */
    FORM_DIV_EXC, /* the same with exceptions after the integers */
    FORM_MUL_EXC,
    FORM_XOR, /* bits ^ the bits before */
    FORM_BITS,
    FORM_CONST,     /* svarint m, / 10^e */
    FORM_CONST_BITS /* e: one of `specials`, 0 = 8 bytes follow */
};
enum { EXPONENT_MAX = 15, STACK_VALUES = 256, FORM_BITS_WIDE = 3 };

static const double pow10_up[] = {
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15
};
static const double pow10_down[] = { 1e0,  1e-1, 1e-2,  1e-3,  1e-4,  1e-5,  1e-6,  1e-7,
                                     1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15 };

/* Values common enough as exceptions to have a number; 0 stands for any other. On disk: append only. */
static const uint64_t specials[] = {
    0,
    0x7ff0000000000002ull /* staleness marker */,
    0x7ff8000000000001ull /* NaN as Go's */,
    0x8000000000000000ull /* -0.0 */,
    0x7ff0000000000000ull /* +Inf */,
    0xfff0000000000000ull /* -Inf */,
    0x7ff8000000000000ull /* NaN as the FPU's */,
};

static inline uint64_t bits_of(double v)
{
    uint64_t b;
    memcpy(&b, &v, 8);
    return b;
}
static inline double of_bits(uint64_t b)
{
    double v;
    memcpy(&v, &b, 8);
    return v;
}
static inline double decimal(int64_t m, bool mul, unsigned e)
{
    return mul ? (double)m * pow10_down[e] : (double)m / pow10_up[e];
}

/* v as a decimal with exponent e, if that gives back the very bits. */
static inline bool decimal_of(double v, bool mul, unsigned e, int64_t *ret_m)
{
    const double magic = 0x1.8p52; /* adding and taking it away rounds to an integer below 2^51 */
    double s = v * pow10_up[e], limit = e ? 0x1p51 : 0x1p63;
    if (!(s > -limit && s < limit)) /* NaN and infinities too */
        return false;
    int64_t m = (int64_t)(e ? (s + magic) - magic : s);
    *ret_m = m;
    return bits_of(decimal(m, mul, e)) == bits_of(v);
}

static unsigned special_of(uint64_t bits)
{
    for (unsigned i = 1; i < ARRAY_LEN(specials); i++)
        if (specials[i] == bits)
            return i;
    return 0;
}

/* Smallest exponent that suits the values; those that suit none are left out, unless they are many. */
static bool exponent_find(const double *v, size_t n, bool mul, unsigned *ret_e)
{
    unsigned e = 0;
    size_t misses = 0;
    int64_t m;
    for (size_t i = 0; i < n; i++) {
        if (decimal_of(v[i], mul, e, &m) || special_of(bits_of(v[i])))
            continue;
        unsigned next = e + 1;
        while (next <= EXPONENT_MAX && !decimal_of(v[i], mul, next, &m))
            next++;
        if (next <= EXPONENT_MAX)
            e = next;
        else if (++misses > 2 + n / 8)
            return false;
    }
    *ret_e = e;
    return true;
}

/* Integers for all values; positions of exceptions. Returns how many. */
static size_t mantissas(const double *v, size_t n, bool mul, unsigned e, int64_t *m, uint32_t *exc)
{
    size_t n_exc = 0, first = n;
    for (size_t i = 0; i < n; i++) {
        if (decimal_of(v[i], mul, e, &m[i])) {
            first = MIN(first, i);
            continue;
        }
        m[i] = i ? m[i - 1] : 0;
        exc[n_exc++] = (uint32_t)i;
    }
    for (size_t i = 0; first < n && i < first; i++) /* exceptions at the start repeat what follows */
        m[i] = m[first];
    return n_exc;
}

static void head_put(struct buf *out, enum form f, unsigned e)
{
    buf_u8(out, (uint8_t)((unsigned)f | e << FORM_BITS_WIDE));
}

static void exceptions_put(struct buf *out, const double *v, const uint32_t *exc, size_t n_exc)
{
    uint32_t prev = 0;
    buf_uvarint(out, n_exc);
    for (size_t i = 0; i < n_exc; i++) {
        buf_uvarint(out, exc[i] - prev);
        prev = exc[i];
        unsigned s = special_of(bits_of(v[exc[i]]));
        buf_u8(out, (uint8_t)s);
        if (!s)
            buf_u64(out, bits_of(v[exc[i]]));
    }
}

static void const_put(struct buf *out, double v)
{
    int64_t m;
    for (unsigned e = 0; e <= EXPONENT_MAX; e++)
        if (decimal_of(v, false, e, &m)) {
            head_put(out, FORM_CONST, e);
            buf_svarint(out, m);
            return;
        }
    unsigned s = special_of(bits_of(v));
    head_put(out, FORM_CONST_BITS, s);
    if (!s)
        buf_u64(out, bits_of(v));
}

/* XOR or bits, whichever is smaller. */
static void bits_put(struct buf *out, const double *v, size_t n, int64_t *tmp)
{
    size_t at = out->n;
    head_put(out, FORM_BITS, 0);
    for (size_t i = 0; i < n; i++)
        tmp[i] = (int64_t)bits_of(v[i]);
    codec_i64_encode(out, tmp, n);
    size_t plain = out->n - at;
    for (size_t i = n; i-- > 1;)
        tmp[i] = tmp[i] ^ tmp[i - 1];
    AUTO_BUF struct buf x;
    buf_init(&x, 0);
    head_put(&x, FORM_XOR, 0);
    codec_i64_encode(&x, tmp, n);
    if (x.n < plain && !out->failed) {
        out->n = at;
        buf_str_add(out, buf_str(&x));
    }
}

static bool all_same(const double *v, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (bits_of(v[i]) != bits_of(v[0]))
            return false;
    return true;
}

/* Try both decimal forms; false if neither has few enough exceptions. */
static bool decimal_put(struct buf *out, const double *v, size_t n, int64_t *m, uint32_t *exc)
{
    unsigned e[2];
    size_t n_exc[2] = { SIZE_MAX, SIZE_MAX };
    for (int mul = 0; mul < 2; mul++) {
        if (exponent_find(v, n, mul, &e[mul]))
            n_exc[mul] = mantissas(v, n, mul, e[mul], m, exc);
        if (n_exc[mul] == 0)
            break;
    }
    bool mul = n_exc[1] < n_exc[0];
    size_t k = n_exc[mul];
    if (k > n / 4 + 2)
        return false;
    k = mantissas(v, n, mul, e[mul], m, exc);
    head_put(out, (mul ? FORM_MUL : FORM_DIV) + (k ? 2 : 0), e[mul]);
    codec_i64_encode(out, m, n);
    if (k)
        exceptions_put(out, v, exc, k);
    return true;
}

void codec_f64_encode(struct buf *out, const double *v, size_t n)
{
    ASSERT(n <= CODEC_VALUES_MAX);
    if (n == 0)
        return;
    if (all_same(v, n)) {
        const_put(out, v[0]);
        return;
    }
    int64_t small[STACK_VALUES];
    uint32_t small_exc[STACK_VALUES];
    AUTO_FREE int64_t *big = n > STACK_VALUES ? mem_alloc(n * sizeof(*big)) : NULL;
    AUTO_FREE uint32_t *big_exc = n > STACK_VALUES ? mem_alloc(n * sizeof(*big_exc)) : NULL;
    int64_t *m = big ? big : small;
    if (!decimal_put(out, v, n, m, big_exc ? big_exc : small_exc))
        bits_put(out, v, n, m);
}

/* ---- decoding ---- */
struct head {
    enum form form;
    unsigned e;
};

static bool head_read(struct rd *r, struct head *h)
{
    uint8_t b = rd_u8(r);
    *h = (struct head){ b & ((1 << FORM_BITS_WIDE) - 1), b >> FORM_BITS_WIDE };
    return rd_ok(r) && h->e <= (h->form == FORM_CONST_BITS ? ARRAY_LEN(specials) - 1 : EXPONENT_MAX);
}

static double const_read(struct rd *r, const struct head *h)
{
    if (h->form == FORM_CONST)
        return decimal(rd_svarint(r), false, h->e);
    return of_bits(h->e ? specials[h->e] : rd_u64(r));
}

static void decimals_restore(const int64_t *m, size_t n, bool mul, unsigned e, double *out)
{
    if (e == 0)
        for (size_t i = 0; i < n; i++)
            out[i] = (double)m[i];
    else if (mul)
        for (size_t i = 0; i < n; i++)
            out[i] = (double)m[i] * pow10_down[e];
    else
        for (size_t i = 0; i < n; i++)
            out[i] = (double)m[i] / pow10_up[e];
}

static bool exceptions_read(struct rd *r, size_t n, double *out)
{
    uint64_t k = rd_uvarint(r), pos = 0;
    if (k > n)
        return false;
    for (uint64_t i = 0; i < k && rd_ok(r); i++) {
        uint64_t step = rd_uvarint(r);
        uint8_t s = rd_u8(r);
        if (step >= n || (pos += step) >= n || s >= ARRAY_LEN(specials))
            return false;
        uint64_t bits = s ? specials[s] : rd_u64(r);
        if (out)
            out[pos] = of_bits(bits);
    }
    return rd_ok(r);
}

static void bits_restore(const int64_t *m, size_t n, bool is_xor, double *out)
{
    uint64_t prev = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t b = (uint64_t)m[i] ^ (is_xor ? prev : 0);
        out[i] = of_bits(b);
        prev = b;
    }
}

static bool f64_read(struct rd *r, size_t n, double *out)
{
    struct head h;
    if (n == 0)
        return true;
    if (n > CODEC_VALUES_MAX || !head_read(r, &h))
        return false;
    if (h.form >= FORM_CONST) {
        double v = const_read(r, &h);
        for (size_t i = 0; i < n; i++)
            out[i] = v;
        return rd_ok(r);
    }
    int64_t small[STACK_VALUES];
    AUTO_FREE int64_t *big = n > STACK_VALUES ? mem_alloc(n * sizeof(*big)) : NULL;
    int64_t *m = big ? big : small;
    if (!codec_i64_read(r, n, m))
        return false;
    if (h.form >= FORM_XOR)
        bits_restore(m, n, h.form == FORM_XOR, out);
    else
        decimals_restore(m, n, h.form & 1, h.e, out);
    return (h.form != FORM_DIV_EXC && h.form != FORM_MUL_EXC) || exceptions_read(r, n, out);
}

enum err codec_f64_decode(str in, size_t n, double *ret_v, size_t *ret_used)
{
    struct rd r = rd_init(in);
    if (!f64_read(&r, n, ret_v))
        return ERR_CORRUPT;
    if (ret_used)
        *ret_used = in.n - rd_left(&r);
    return OK;
}

bool codec_f64_const(str in, size_t n, double *ret_v)
{
    struct rd r = rd_init(in);
    struct head h;
    if (n == 0 || !head_read(&r, &h) || h.form < FORM_CONST)
        return false;
    double v = const_read(&r, &h);
    if (!rd_ok(&r))
        return false;
    *ret_v = v;
    return true;
}

enum err codec_f64_skip(str in, size_t n, size_t *ret_used)
{
    struct rd r = rd_init(in);
    struct head h;
    bool good = n <= CODEC_VALUES_MAX;
    if (n && good) {
        good = head_read(&r, &h);
        if (good && h.form >= FORM_CONST)
            (void)const_read(&r, &h);
        else if (good)
            good = codec_i64_skip_rd(&r, n) &&
                   ((h.form != FORM_DIV_EXC && h.form != FORM_MUL_EXC) || exceptions_read(&r, n, NULL));
    }
    if (!good || !rd_ok(&r))
        return ERR_CORRUPT;
    if (ret_used)
        *ret_used = in.n - rd_left(&r);
    return OK;
}
