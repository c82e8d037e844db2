/* Chunks, reading (manual: xor_chunk.h). Bits go from the highest of each byte down. */
#include "model/sample.h"
#include "wire/xor_chunk.h"

/* ---- columns ---- */
void xor_samples_deinit(struct xor_samples *s)
{
    mem_free(s->ts);
    mem_free(s->start);
    mem_free(s->v);
    mem_free(s->h);
    *s = (struct xor_samples){ 0 };
}

static void reserve(struct xor_samples *s, size_t want)
{
    if (want <= s->cap)
        return;
    size_t cap = s->cap ? s->cap * 2 : 256;
    while (cap < want)
        cap *= 2;
    s->ts = mem_realloc(s->ts, cap * sizeof(*s->ts));
    s->start = mem_realloc(s->start, cap * sizeof(*s->start));
    s->v = mem_realloc(s->v, cap * sizeof(*s->v));
    s->h = mem_realloc(s->h, cap * sizeof(*s->h));
    s->cap = cap;
}

void xor_samples_push(struct xor_samples *s, int64_t ts, double v, const struct histogram *h, int64_t start_ms)
{
    reserve(s, s->n + 1);
    s->ts[s->n] = ts;
    s->v[s->n] = v;
    s->h[s->n] = h;
    s->start[s->n++] = start_ms;
    s->any_hist |= h != NULL;
    s->any_start |= start_ms != 0;
}

/* ---- bits ---- */
struct bits {
    const uint8_t *p;
    size_t n, pos; /* bytes; bit */
    bool bad;
};

static uint64_t get_few(struct bits *r, unsigned n) /* 1..56; 0 past the end */
{
    size_t at = r->pos >> 3;
    if (__builtin_expect(r->bad || r->pos + n > r->n * 8, 0)) {
        r->bad = true;
        return 0;
    }
    uint64_t w = 0;
    if (__builtin_expect(at + 8 <= r->n, 1))
        memcpy(&w, r->p + at, 8);
    else
        memcpy(&w, r->p + at, r->n - at);
    w = __builtin_bswap64(w) << (r->pos & 7);
    r->pos += n;
    return w >> (64 - n);
}

static uint64_t get_bits(struct bits *r, unsigned n)
{
    if (n == 0)
        return 0;
    if (n <= 56)
        return get_few(r, n);
    uint64_t high = get_few(r, n - 32);
    return high << 32 | get_few(r, 32);
}

/* How many ones stand before a zero, at most max; the zero is consumed, a full run has none. */
static unsigned get_ones(struct bits *r, unsigned max)
{
    unsigned n = 0;
    while (n < max && get_few(r, 1))
        n++;
    return n;
}

static uint64_t get_uvarint(struct bits *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint64_t b = get_few(r, 8);
        if (shift == 63 && b > 1)
            break;
        v |= (b & 0x7f) << shift;
        if (!(b & 0x80))
            return v;
    }
    r->bad = true;
    return 0;
}

/* upstream's ranges: one more above than below */
static int64_t widen(uint64_t v, unsigned bits)
{
    return bits < 64 && v > 1ull << (bits - 1) ? (int64_t)(v - (1ull << bits)) : (int64_t)v;
}

static const uint8_t varbit_sizes[] = { 0, 3, 6, 9, 12, 18, 25, 56, 64 };

static int64_t get_varbit_int(struct bits *r)
{
    unsigned size = varbit_sizes[get_ones(r, 8)];
    return size ? widen(get_bits(r, size), size) : 0;
}

static uint64_t get_varbit_uint(struct bits *r)
{
    return get_bits(r, varbit_sizes[get_ones(r, 8)]);
}

static double get_f64(struct bits *r)
{
    return f64_from_bits(get_bits(r, 64));
}

struct xor_state {
    uint64_t last;
    unsigned leading, trailing;
};

static void get_window(struct bits *r, struct xor_state *s)
{
    unsigned leading = (unsigned)get_few(r, 5), n = (unsigned)get_few(r, 6);
    n = n ? n : 64;
    if (leading + n > 64) {
        r->bad = true;
        return;
    }
    s->leading = leading;
    s->trailing = 64 - leading - n;
    s->last ^= get_bits(r, n) << s->trailing;
}

static void get_in_window(struct bits *r, struct xor_state *s)
{
    s->last ^= get_bits(r, 64 - s->leading - s->trailing) << s->trailing;
}

static double get_xor(struct bits *r, struct xor_state *s)
{
    if (get_few(r, 1)) {
        if (get_few(r, 1))
            get_window(r, s);
        else
            get_in_window(r, s);
    }
    return f64_from_bits(s->last);
}

/* ---- floats ---- */
static int64_t get_dod(struct bits *r)
{
    static const uint8_t sizes[] = { 0, 14, 17, 20, 64 };
    unsigned size = sizes[get_ones(r, 4)];
    return size ? widen(get_bits(r, size), size) : 0;
}

static void read_floats(struct bits *r, size_t n, struct xor_samples *out)
{
    int64_t t = 0;
    uint64_t delta = 0;
    struct xor_state x = { 0 };
    reserve(out, out->n + n);
    for (size_t i = 0; i < n && !r->bad; i++) {
        if (i == 0) {
            t = unzigzag(get_uvarint(r));
            x.last = get_bits(r, 64);
        } else {
            delta = i == 1 ? get_uvarint(r) : delta + (uint64_t)get_dod(r);
            t = (int64_t)((uint64_t)t + delta);
            (void)get_xor(r, &x);
        }
        out->ts[out->n] = t;
        out->v[out->n] = f64_from_bits(x.last);
        out->h[out->n] = NULL;
        out->start[out->n++] = 0;
    }
}

/* XOR2: time and value share their control bits; start timestamps may follow each sample. */
static uint64_t get_value2(struct bits *r, struct xor_state *x)
{
    switch (get_ones(r, 3)) {
    case 0:
        return x->last;
    case 1:
        get_in_window(r, x);
        return x->last;
    case 2:
        get_window(r, x);
        return x->last;
    default:
        return STALE_NAN_BITS;
    }
}

static uint64_t get_joint2(struct bits *r, struct xor_state *x, uint64_t *delta)
{
    static const uint8_t sizes[] = { [2] = 13, [3] = 20, [4] = 64 };
    unsigned ones = get_ones(r, 5);
    switch (ones) {
    case 0:
        return x->last;
    case 1:
        if (get_few(r, 1))
            get_window(r, x);
        else
            get_in_window(r, x);
        return x->last;
    case 5:
        return STALE_NAN_BITS;
    default: {
        uint64_t v = get_bits(r, sizes[ones]);
        if (sizes[ones] < 64 && v >> (sizes[ones] - 1))
            v -= 1ull << sizes[ones];
        *delta += v;
        return get_value2(r, x);
    }
    }
}

static void read_floats2(struct bits *r, size_t n, struct xor_samples *out)
{
    unsigned head = (unsigned)get_few(r, 8), change = head & 0x7f;
    int64_t t = 0, start = 0;
    uint64_t delta = 0, diff = 0, bits;
    struct xor_state x = { 0 };
    for (size_t i = 0; i < n && !r->bad; i++) {
        int64_t before = t;
        if (i == 0) {
            t = unzigzag(get_uvarint(r));
            bits = get_bits(r, 64);
            x.last = bits == STALE_NAN_BITS ? 0 : bits;
            if (head & 0x80)
                start = (int64_t)((uint64_t)t - (uint64_t)unzigzag(get_uvarint(r)));
        } else {
            if (i == 1) {
                delta = get_uvarint(r);
                bits = get_value2(r, &x);
            } else {
                bits = get_joint2(r, &x, &delta);
            }
            t = (int64_t)((uint64_t)t + delta);
            if (change && i >= change) {
                uint64_t d = (uint64_t)get_varbit_int(r);
                diff = i == change ? d : diff + d;
                start = (int64_t)((uint64_t)before - diff);
            }
        }
        xor_samples_push(out, t, f64_from_bits(bits), NULL, start);
    }
}

/* ---- histograms ---- */
struct layout {
    int32_t schema;
    double zero_threshold;
    struct hist_span *spans[2]; /* positive, negative */
    size_t n_spans[2], n_buckets[2];
    double *custom;
    size_t n_custom;
};

static void get_side(struct bits *r, struct arena *a, struct layout *l, int side)
{
    uint64_t n = get_varbit_uint(r), buckets = 0;
    if (n > HIST_BUCKETS_MAX || n > r->n * 8) {
        r->bad = true;
        return;
    }
    l->spans[side] = arena_array(a, struct hist_span, n);
    l->n_spans[side] = (size_t)n;
    for (size_t i = 0; i < n && !r->bad; i++) {
        uint64_t length = get_varbit_uint(r);
        int64_t offset = get_varbit_int(r);
        if (length > HIST_BUCKETS_MAX || offset < INT32_MIN || offset > INT32_MAX)
            r->bad = true;
        l->spans[side][i] = (struct hist_span){ (int32_t)offset, (uint32_t)length };
        buckets += length;
    }
    if (buckets > HIST_BUCKETS_MAX || buckets > r->n * 8) /* every bucket has a bit */
        r->bad = true;
    l->n_buckets[side] = (size_t)buckets;
}

static void get_custom(struct bits *r, struct arena *a, struct layout *l)
{
    uint64_t n = get_varbit_uint(r);
    if (n > HIST_BUCKETS_MAX || n > r->n * 8) {
        r->bad = true;
        return;
    }
    l->custom = arena_array(a, double, n);
    l->n_custom = (size_t)n;
    for (size_t i = 0; i < n && !r->bad; i++) {
        uint64_t v = get_varbit_uint(r);
        l->custom[i] = v ? (double)(v - 1) / 1000 : get_f64(r);
    }
}

static void get_layout(struct bits *r, struct arena *a, struct layout *l)
{
    unsigned zero = (unsigned)get_few(r, 8);
    l->zero_threshold = zero == 0 ? 0 : zero == 255 ? get_f64(r) : __builtin_ldexp(0.5, (int)zero - 243);
    int64_t schema = get_varbit_int(r);
    if (schema < INT16_MIN || schema > INT16_MAX)
        r->bad = true;
    l->schema = (int32_t)schema;
    get_side(r, a, l, 0);
    if (!r->bad)
        get_side(r, a, l, 1);
    if (!r->bad && l->schema == HIST_SCHEMA_CUSTOM)
        get_custom(r, a, l);
}

static enum hist_reset hint_of(unsigned flags, size_t i)
{
    switch (flags >> 6) {
    case 3:
        return HIST_RESET_GAUGE;
    case 2:
        return i == 0 ? HIST_RESET_YES : HIST_RESET_UNKNOWN;
    default:
        return HIST_RESET_UNKNOWN;
    }
}

static const struct histogram *stale_histogram(struct arena *a)
{
    struct histogram *h = arena_new(a, struct histogram);
    h->sum = f64_from_bits(STALE_NAN_BITS);
    return h;
}

static struct histogram *histogram_of(struct arena *a, const struct layout *l, double *buckets[2])
{
    struct histogram *h = arena_new(a, struct histogram);
    h->schema = l->schema;
    h->zero_threshold = l->zero_threshold;
    h->pos = (struct hist_side){ l->spans[0], l->n_spans[0], buckets[0], l->n_buckets[0] };
    h->neg = (struct hist_side){ l->spans[1], l->n_spans[1], buckets[1], l->n_buckets[1] };
    h->custom = l->custom;
    h->n_custom = l->n_custom;
    return h;
}

struct int_bucket {
    int64_t v, delta; /* difference to the bucket before; its change */
};

static int64_t plus(int64_t a, int64_t b) /* wraps: what is not sound fails validation */
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static void read_int(struct bits *r, unsigned flags, size_t n, struct arena *a, struct xor_samples *out)
{
    struct layout l = { 0 };
    get_layout(r, a, &l);
    if (r->bad)
        return;
    struct int_bucket *b[2] = { arena_zarray(a, struct int_bucket, l.n_buckets[0] + 1),
                                arena_zarray(a, struct int_bucket, l.n_buckets[1] + 1) };
    int64_t t = 0, dt = 0, count = 0, dcount = 0, zero = 0, dzero = 0;
    struct xor_state sum = { 0 };
    for (size_t i = 0; i < n && !r->bad; i++) {
        if (i == 0) {
            t = get_varbit_int(r);
            count = (int64_t)get_varbit_uint(r);
            zero = (int64_t)get_varbit_uint(r);
            sum.last = get_bits(r, 64);
        } else { /* the second sample's differences are differences of differences to 0 */
            t = plus(t, dt = plus(dt, get_varbit_int(r)));
            count = plus(count, dcount = plus(dcount, get_varbit_int(r)));
            zero = plus(zero, dzero = plus(dzero, get_varbit_int(r)));
            (void)get_xor(r, &sum);
        }
        if (sum.last == STALE_NAN_BITS) {
            xor_samples_push(out, t, 0, stale_histogram(a), 0);
            if (i == 0)
                for (int side = 0; side < 2; side++)
                    for (size_t k = 0; k < l.n_buckets[side]; k++)
                        b[side][k].v = get_varbit_int(r);
            continue;
        }
        double *abs[2];
        for (int side = 0; side < 2; side++) {
            abs[side] = arena_array(a, double, l.n_buckets[side] + 1);
            int64_t level = 0;
            for (size_t k = 0; k < l.n_buckets[side]; k++) {
                int64_t x = get_varbit_int(r);
                if (i == 0)
                    b[side][k].v = x;
                else
                    b[side][k].v = plus(b[side][k].v, b[side][k].delta = plus(b[side][k].delta, x));
                level = plus(level, b[side][k].v);
                abs[side][k] = (double)level;
            }
        }
        struct histogram *h = histogram_of(a, &l, abs);
        h->count = (double)(uint64_t)count;
        h->zero_count = (double)(uint64_t)zero;
        h->sum = f64_from_bits(sum.last);
        h->reset = hint_of(flags, i);
        xor_samples_push(out, t, 0, h, 0);
    }
}

static void read_float_hist(struct bits *r, unsigned flags, size_t n, struct arena *a, struct xor_samples *out)
{
    struct layout l = { 0 };
    get_layout(r, a, &l);
    if (r->bad)
        return;
    struct xor_state *b[2] = { arena_zarray(a, struct xor_state, l.n_buckets[0] + 1),
                               arena_zarray(a, struct xor_state, l.n_buckets[1] + 1) };
    int64_t t = 0, dt = 0;
    struct xor_state count = { 0 }, zero = { 0 }, sum = { 0 };
    for (size_t i = 0; i < n && !r->bad; i++) {
        if (i == 0) {
            t = get_varbit_int(r);
            count.last = get_bits(r, 64);
            zero.last = get_bits(r, 64);
            sum.last = get_bits(r, 64);
        } else {
            t = plus(t, dt = plus(dt, get_varbit_int(r)));
            (void)get_xor(r, &count);
            (void)get_xor(r, &zero);
            (void)get_xor(r, &sum);
        }
        if (sum.last == STALE_NAN_BITS && i > 0) {
            xor_samples_push(out, t, 0, stale_histogram(a), 0);
            continue;
        }
        double *abs[2];
        for (int side = 0; side < 2; side++) {
            abs[side] = arena_array(a, double, l.n_buckets[side] + 1);
            for (size_t k = 0; k < l.n_buckets[side]; k++) {
                if (i == 0)
                    b[side][k].last = get_bits(r, 64);
                else
                    (void)get_xor(r, &b[side][k]);
                abs[side][k] = f64_from_bits(b[side][k].last);
            }
        }
        if (sum.last == STALE_NAN_BITS) {
            xor_samples_push(out, t, 0, stale_histogram(a), 0);
            continue;
        }
        struct histogram *h = histogram_of(a, &l, abs);
        h->count = f64_from_bits(count.last);
        h->zero_count = f64_from_bits(zero.last);
        h->sum = f64_from_bits(sum.last);
        h->reset = hint_of(flags, i);
        xor_samples_push(out, t, 0, h, 0);
    }
}

/* ---- any ---- */
const char *xor_encoding_name(unsigned encoding)
{
    static const char *const names[] = { "none", "XOR", "histogram", "floathistogram", "XOR2" };
    return encoding < 5 ? names[encoding] : "unknown";
}

static enum err check(const struct xor_samples *s, size_t from, struct err_text *reterr)
{
    for (size_t i = from; i < s->n; i++) {
        if (i > from && s->ts[i] <= s->ts[i - 1])
            return err_fail(reterr, ERR_CORRUPT, "time goes backwards at sample %zu of the chunk", i - from);
        const struct histogram *h = s->h[i];
        struct err_text why;
        if (h && !is_stale(h->sum) && histogram_validate(h, &why))
            return err_fail(reterr, ERR_CORRUPT, "histogram %zu of the chunk: %s", i - from, why.msg);
    }
    return OK;
}

enum err xor_chunk_read(unsigned encoding, str data, struct arena *a, struct xor_samples *out, struct err_text *reterr)
{
    struct bits r = { .p = (const uint8_t *)data.p, .n = data.n };
    struct xor_samples before = *out;
    if (encoding < XOR_FLOATS || encoding > XOR_FLOATS2)
        return err_fail(reterr, ERR_UNSUPPORTED, "chunk encoding %u (%s) is not known to this version", encoding,
                        xor_encoding_name(encoding));
    if (data.n > XOR_CHUNK_BYTES_MAX)
        return err_fail(reterr, ERR_LIMIT, "a chunk of %zu bytes is larger than %u", data.n, XOR_CHUNK_BYTES_MAX);
    size_t n = (size_t)get_few(&r, 16);
    unsigned flags = encoding == XOR_HISTOGRAM || encoding == XOR_FLOAT_HISTOGRAM ? (unsigned)get_few(&r, 8) : 0;
    switch (encoding) {
    case XOR_FLOATS:
        read_floats(&r, n, out);
        break;
    case XOR_FLOATS2:
        read_floats2(&r, n, out);
        break;
    case XOR_HISTOGRAM:
        read_int(&r, flags, n, a, out);
        break;
    default:
        read_float_hist(&r, flags, n, a, out);
        break;
    }
    enum err e = OK;
    if (r.bad)
        e = err_fail(reterr, ERR_CORRUPT, "the bits of a %s chunk of %zu samples end too early or do not fit",
                     xor_encoding_name(encoding), n);
    else
        e = check(out, before.n, reterr);
    if (e) {
        out->n = before.n;
        out->any_hist = before.any_hist;
        out->any_start = before.any_start;
    }
    return e;
}
