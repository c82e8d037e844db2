/* wire/remote_read.h and wire/xor_chunk.h: requests, samples, frames; chunks are read back by a decoder of their own. */
#include "wire_test.h"

#include "base/hash.h"
#include "base/os.h"
#include "base/rd.h"
#include "wire/compress.h"
#include "wire/pb.h"
#include "wire/remote_read.h"
#include "wire/remote_write.h"
#include "wire/xor_chunk.h"

/* ---- a reader of chunks, from their description ---- */
struct bit_reader {
    str s;
    size_t at; /* bits */
};
static uint64_t bits(struct bit_reader *r, unsigned n)
{
    uint64_t v = 0;
    for (; n; n--, r->at++) {
        assert_true(r->at / 8 < r->s.n);
        v = v << 1 | ((uint8_t)r->s.p[r->at / 8] >> (7 - r->at % 8) & 1);
    }
    return v;
}
static uint64_t uvarint(struct bit_reader *r)
{
    uint64_t v = 0, b;
    for (unsigned shift = 0; (b = bits(r, 8)) & 0x80 || (v |= b << shift, false); shift += 7)
        v |= (b & 0x7f) << shift;
    return v;
}
static int64_t extend(uint64_t v, unsigned n)
{
    return v > (uint64_t)1 << (n - 1) ? (int64_t)(v - ((uint64_t)1 << n)) : (int64_t)v;
}
static int64_t read_dod(struct bit_reader *r)
{
    static const unsigned sizes[] = { 0, 14, 17, 20 };
    unsigned k = 0;
    while (k < 4 && bits(r, 1))
        k++;
    return k == 0 ? 0 : k == 4 ? (int64_t)bits(r, 64) : extend(bits(r, sizes[k]), sizes[k]);
}
static size_t read_floats(str chunk, int64_t *ts, double *v)
{
    struct bit_reader r = { chunk, 0 };
    size_t n = bits(&r, 16);
    uint64_t delta = 0, value = 0;
    unsigned leading = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0) {
            ts[0] = unzigzag(uvarint(&r));
            value = bits(&r, 64);
        } else {
            delta = i == 1 ? uvarint(&r) : delta + (uint64_t)read_dod(&r);
            ts[i] = (int64_t)((uint64_t)ts[i - 1] + delta);
            if (bits(&r, 1)) {
                if (bits(&r, 1)) {
                    leading = (unsigned)bits(&r, 5);
                    size = (unsigned)bits(&r, 6);
                    size = size ? size : 64;
                }
                value ^= bits(&r, size) << (64 - leading - size);
            }
        }
        v[i] = f64_from_bits(value);
    }
    assert_true(r.at + 8 > chunk.n * 8);
    return n;
}

static void float_chunks(void **state)
{
    (void)state;
    struct rng rng = { 42 };
    for (int round = 0; round < 300; round++) {
        enum { N = 120 };
        int64_t ts[N], got_ts[N];
        double v[N], got[N];
        size_t n = 1 + rng_below(&rng, N);
        uint64_t t = rng_next(&rng) >> 22, spread = (uint64_t)1 << rng_below(&rng, 40);
        for (size_t i = 0; i < n; i++) {
            t += 15000 + rng_below(&rng, spread);
            ts[i] = (int64_t)t;
            v[i] = round % 3 == 0   ? f64_from_bits(rng_next(&rng))
                   : round % 3 == 1 ? (double)i * 3
                                    : f64_from_bits(STALE_NAN_BITS ^ (i % 5 ? 0 : 1));
        }
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        xor_chunk_floats(&b, ts, v, n);
        assert_int_equal(read_floats(buf_str(&b), got_ts, got), n);
        assert_memory_equal(ts, got_ts, n * 8);
        assert_memory_equal(v, got, n * 8);
    }
    /* bytes written out by hand: two samples of value 1, 15 s apart */
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    xor_chunk_floats(&b, (const int64_t[]){ 1000, 16000 }, (const double[]){ 1, 1 }, 2);
    assert_int_equal(b.n, 2 + 2 + 8 + 2 + 1);
    assert_memory_equal(b.p, "\x00\x02\xd0\x0f\x3f\xf0\0\0\0\0\0\0\x98\x75\x00", 15);
}

static int64_t varbit_int(struct bit_reader *r)
{
    static const unsigned sizes[] = { 0, 3, 6, 9, 12, 18, 25, 56 };
    unsigned k = 0;
    while (k < 8 && bits(r, 1))
        k++;
    return k == 0 ? 0 : k == 8 ? (int64_t)bits(r, 64) : extend(bits(r, sizes[k]), sizes[k]);
}
static uint64_t varbit_uint(struct bit_reader *r)
{
    static const unsigned sizes[] = { 0, 3, 6, 9, 12, 18, 25, 56 };
    unsigned k = 0;
    while (k < 8 && bits(r, 1))
        k++;
    return k == 0 ? 0 : bits(r, k == 8 ? 64 : sizes[k]);
}

static void histogram_chunks(void **state)
{
    (void)state;
    static const double buckets[] = { 1, 2, 1.5 }, bounds[] = { 0.5, 1.25 };
    static const struct hist_span spans[] = { { -2, 2 }, { 70000, 1 } }, one[] = { { 0, 3 } };
    const struct histogram rows[] = {
        { .schema = 3,
          .reset = HIST_RESET_GAUGE,
          .zero_threshold = 0x1p-128,
          .zero_count = 2,
          .count = 6.5,
          .sum = -1,
          .pos = { spans, 2, buckets, 3 } },
        { .schema = -53, .count = 4.5, .sum = 9, .pos = { one, 1, buckets, 3 }, .custom = bounds, .n_custom = 2 },
        { .schema = -4, .zero_threshold = 0.001, .neg = { spans, 2, buckets, 3 } },
        { .sum = f64_from_bits(STALE_NAN_BITS) },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        static const uint8_t flags[] = { 0xc0, 0, 0, 0 };
        const struct histogram *h = &rows[i];
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        xor_chunk_histogram(&b, 1700000000123, h);
        struct bit_reader r = { buf_str(&b), 0 };
        assert_int_equal(bits(&r, 16), 1);
        assert_int_equal(bits(&r, 8), flags[i]);
        uint64_t zero = bits(&r, 8);
        double threshold = zero == 0     ? 0
                           : zero == 255 ? f64_from_bits(bits(&r, 64))
                                         : f64_from_bits((zero - 244 + 1023) << 52);
        assert_true(threshold == h->zero_threshold);
        assert_int_equal(varbit_int(&r), h->schema);
        const struct hist_side *sides[] = { &h->pos, &h->neg };
        for (int k = 0; k < 2; k++) {
            assert_int_equal(varbit_uint(&r), sides[k]->n_spans);
            for (size_t s = 0; s < sides[k]->n_spans; s++) {
                assert_int_equal(varbit_uint(&r), sides[k]->spans[s].length);
                assert_int_equal(varbit_int(&r), sides[k]->spans[s].offset);
            }
        }
        if (histogram_is_custom(h)) {
            assert_int_equal(varbit_uint(&r), h->n_custom);
            for (size_t k = 0; k < h->n_custom; k++) {
                assert_int_equal(bits(&r, 1), 0);
                assert_true(f64_from_bits(bits(&r, 64)) == h->custom[k]);
            }
        }
        assert_true(varbit_int(&r) == 1700000000123);
        assert_int_equal(bits(&r, 64), f64_bits(h->count));
        assert_int_equal(bits(&r, 64), f64_bits(h->zero_count));
        assert_int_equal(bits(&r, 64), f64_bits(h->sum));
        for (int k = 0; k < 2; k++)
            for (size_t s = 0; s < sides[k]->n_buckets; s++)
                assert_int_equal(bits(&r, 64), f64_bits(sides[k]->buckets[s]));
        assert_true(r.at + 8 > b.n * 8);
    }
}

static void put_matcher(struct buf *b, unsigned type, const char *name, const char *value)
{
    size_t at = pb_open(b, 3);
    pb_put_varint(b, 1, type);
    pb_put_bytes(b, 2, str_c(name));
    pb_put_bytes(b, 3, str_c(value));
    pb_close(b, at);
}

static void requests(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_BUF struct buf b, packed;
    buf_init(&b, 0);
    buf_init(&packed, 0);
    size_t at = pb_open(&b, 1);
    pb_put_varint(&b, 1, 1000);
    pb_put_varint(&b, 2, 2000);
    put_matcher(&b, 0, "__name__", "up");
    put_matcher(&b, 3, "job", "a.*");
    pb_put_bytes(&b, 4, STR("\x08\x01")); /* hints */
    pb_close(&b, at);
    size_t plain = b.n;
    pb_put_bytes(&b, 2, STR("\x07\x01\x00")); /* unknown, chunks, samples */
    snappy_pack(buf_str(&b), &packed);
    struct rr_request r;
    struct err_text why;
    assert_ok(rr_decode(&a, buf_str(&packed), 1 << 20, &r, &why));
    assert_int_equal(r.n, 1);
    assert_int_equal(r.type, RR_STREAMED_XOR_CHUNKS);
    assert_true(r.queries[0].from_ms == 1000 && r.queries[0].to_ms == 2000 && r.queries[0].n_matchers == 2);
    assert_int_equal(r.queries[0].m[1].type, MATCH_NRE);
    assert_true(matcher_matches(&r.queries[0].m[1], STR("b")));
    rr_request_deinit(&r);
    assert_ok(rr_decode_plain(&a, str_take(buf_str(&b), plain), &r, &why));
    assert_int_equal(r.type, RR_SAMPLES);
    rr_request_deinit(&r);
    assert_err(rr_decode_plain(&a, STR("\x12\x01\x07"), &r, &why), ERR_UNSUPPORTED);
    rr_request_deinit(&r);
    assert_err(rr_decode_plain(&a, STR("\x0a\x05\x08"), &r, &why), ERR_PARSE);
    rr_request_deinit(&r);
    buf_clear(&b);
    at = pb_open(&b, 1);
    put_matcher(&b, 2, "job", "(");
    pb_close(&b, at);
    assert_err(rr_decode_plain(&a, buf_str(&b), &r, &why), ERR_PARSE);
    rr_request_deinit(&r);
    buf_clear(&b);
    at = pb_open(&b, 1);
    put_matcher(&b, 4, "job", "x");
    pb_close(&b, at);
    assert_err(rr_decode_plain(&a, buf_str(&b), &r, &why), ERR_PARSE);
    rr_request_deinit(&r);
}

static void answers(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    static const struct label up[] = { { STR_INIT("__name__"), STR_INIT("up") } };
    enum { N = 300 };
    static int64_t ts[N];
    static double v[N];
    static const struct histogram *h[N];
    static const struct histogram one = { .count = 1, .sum = 2, .zero_count = 1 };
    for (int i = 0; i < N; i++) {
        ts[i] = 1000 + 10 * i;
        v[i] = i;
    }
    h[200] = &one;
    struct rr_points p = { ts, v, h, N };
    size_t at = rr_result_open(&b);
    rr_series(&b, (struct labels){ up, 1 }, &p);
    rr_result_close(&b, at);
    struct pb m = pb_init(buf_str(&b)); /* a result's time series are those of remote write */
    assert_true(pb_next(&m) && m.field == 1);
    struct batch batch;
    struct wire_rejects r;
    assert_ok(rw1_decode_plain(&a, pb_bytes(&m), &WIRE_LIMITS_DEFAULT, &batch, &r, NULL));
    assert_int_equal(batch.series.n, 1);
    assert_int_equal(batch.series.p[0].n_samples, N - 1);
    assert_int_equal(batch.series.p[0].n_hists, 1);
    assert_int_equal(batch.series.p[0].hists[0].ts_ms, 3000);

    buf_clear(&b);
    rr_frames(&b, 3, (struct labels){ up, 1 }, &p);
    struct rd rd = rd_init(buf_str(&b));
    uint64_t size = rd_uvarint(&rd);
    uint32_t crc = __builtin_bswap32(rd_u32(&rd));
    str message = rd_bytes(&rd, size);
    assert_true(rd_end(&rd));
    assert_int_equal(crc, crc32c(0, message));
    m = pb_init(message);
    assert_true(pb_next(&m) && m.field == 1);
    struct pb series = pb_sub(&m);
    static const size_t want[] = { 120, 80, 1, 99 };
    size_t chunks = 0, seen = 0;
    while (pb_next(&series)) {
        if (series.field == 1) {
            pb_skip(&series);
            continue;
        }
        struct pb c = pb_sub(&series);
        int64_t min = 0, max = 0, type = 0, got_ts[120];
        double got[120];
        str data = STR_NONE;
        while (pb_next(&c))
            if (c.field == 4)
                data = pb_bytes(&c);
            else
                *(c.field == 1 ? &min : c.field == 2 ? &max : &type) = (int64_t)pb_varint(&c);
        assert_true(chunks < ARRAY_LEN(want));
        assert_int_equal(type, chunks == 2 ? XOR_FLOAT_HISTOGRAM : XOR_FLOATS);
        assert_int_equal(min, ts[seen]);
        assert_int_equal(max, ts[seen + want[chunks] - 1]);
        if (chunks != 2) {
            assert_int_equal(read_floats(data, got_ts, got), want[chunks]);
            assert_memory_equal(got, v + seen, want[chunks] * 8);
        }
        seen += want[chunks++];
    }
    assert_int_equal(seen, N);
    assert_true(pb_next(&m) && m.field == 2 && pb_varint(&m) == 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(float_chunks), cmocka_unit_test(histogram_chunks),
                                        cmocka_unit_test(requests), cmocka_unit_test(answers) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
