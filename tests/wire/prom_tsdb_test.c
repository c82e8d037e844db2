/* Prometheus' files: chunks against our own writer and by hand, log pages with compression and tears, records, index damage. */
#include "wire/prom_tsdb.h"

#include <zstd.h>

#include "base/hash.h"
#include "model/sample.h"
#include "wire_test.h"
#include "wire/compress.h"

static uint64_t rnd_state = 88172645463325252ull;
static uint64_t rnd(void)
{
    rnd_state ^= rnd_state << 13;
    rnd_state ^= rnd_state >> 7;
    return rnd_state ^= rnd_state << 17;
}

/* ---- chunks ---- */
static void floats_round_trip(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        int64_t ts[200];
        double v[200];
        size_t n = 1 + rnd() % 199;
        int64_t t = (int64_t)(rnd() % 4000000000000ull) - 2000000000000ll;
        for (size_t i = 0; i < n; i++) {
            t += 1 + (int64_t)(rnd() % 4 == 0 ? rnd() >> (rnd() % 40 + 23) : 15000);
            ts[i] = t;
            v[i] = rnd() % 3 == 0   ? f64_from_bits(rnd())
                   : rnd() % 5 == 0 ? f64_from_bits(STALE_NAN_BITS)
                                    : (double)(rnd() % 1000);
        }
        AUTO_BUF struct buf b = { 0 };
        AUTO_ARENA struct arena a;
        struct xor_samples s = { 0 };
        struct err_text why;
        arena_init(&a, 0);
        xor_chunk_floats(&b, ts, v, n);
        assert_int_equal(xor_chunk_read(XOR_FLOATS, buf_str(&b), &a, &s, &why), OK);
        assert_int_equal(s.n, n);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(s.ts[i], ts[i]);
            assert_true(f64_bits(s.v[i]) == f64_bits(v[i]));
        }
        if (n > 1) { /* cut: refused, nothing is left in the columns */
            size_t before = s.n;
            assert_int_equal(
                xor_chunk_read(XOR_FLOATS, str_take(buf_str(&b), b.n - 1 - rnd() % (b.n / 2)), &a, &s, &why),
                ERR_CORRUPT);
            assert_int_equal(s.n, before);
        }
        xor_samples_deinit(&s);
    }
}

static void histogram_round_trip(void **state)
{
    (void)state;
    static const struct hist_span pos[] = { { -2, 2 }, { 3, 1 } }, neg[] = { { 0, 1 } };
    static const double pb[] = { 1.5, 2, 3 }, nb[] = { 0.25 }, bounds[] = { 0.005, 0.1, 33554.431, 1e9 };
    static const struct hist_span cs[] = { { 0, 5 } };
    static const double cb[] = { 1, 2, 3, 4, 5 };
    const struct histogram rows[] = {
        { .schema = 3,
          .reset = HIST_RESET_GAUGE,
          .zero_threshold = 0.25,
          .zero_count = 2,
          .count = 8.75,
          .sum = -1.5,
          .pos = { pos, 2, pb, 3 },
          .neg = { neg, 1, nb, 1 } },
        { .schema = HIST_SCHEMA_CUSTOM,
          .count = 15,
          .sum = 99,
          .pos = { cs, 1, cb, 5 },
          .custom = bounds,
          .n_custom = 4 },
    };
    for (size_t i = 0; i < 2; i++) {
        AUTO_BUF struct buf b = { 0 };
        AUTO_ARENA struct arena a;
        struct xor_samples s = { 0 };
        struct err_text why;
        arena_init(&a, 0);
        xor_chunk_histogram(&b, 1234567, &rows[i]);
        assert_int_equal(xor_chunk_read(XOR_FLOAT_HISTOGRAM, buf_str(&b), &a, &s, &why), OK);
        assert_int_equal(s.n, 1);
        assert_int_equal(s.ts[0], 1234567);
        assert_true(histogram_eq(s.h[0], &rows[i]));
        assert_int_equal(s.h[0]->reset, rows[i].reset);
        xor_samples_deinit(&s);
    }
}

/* Four samples, a staleness marker, start timestamps: first known, changed at the fourth. Bits written down by hand. */
static void xor2_by_hand(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = { 0 };
    struct {
        uint64_t v;
        unsigned n;
    } bits[] = {
        { 0xd00f, 16 }, { 0x3ff00000, 32 }, { 0, 32 }, { 0xa006, 16 }, /* 1000; 1.0; start 400 before */
        { 15, 8 },      { 0, 1 },                                      /* +15, same value */
        { 31, 5 },                                                     /* +15, stale */
        { 6, 3 },       { 3, 13 },          { 0, 1 },  { 2, 2 },       { 3, 3 }
    }; /* +18, same; start 3 before 1030 */
    static const uint8_t head[] = { 0, 4, 0x83 };
    buf_add(&b, head, 3);
    unsigned left = 0;
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
        for (unsigned k = bits[i].n; k-- > 0;) {
            if (left == 0) {
                buf_u8(&b, 0);
                left = 8;
            }
            left--;
            b.p[b.n - 1] |= (char)((bits[i].v >> k & 1) << left);
        }
    AUTO_ARENA struct arena a;
    struct xor_samples s = { 0 };
    struct err_text why;
    arena_init(&a, 0);
    assert_int_equal(xor_chunk_read(XOR_FLOATS2, buf_str(&b), &a, &s, &why), OK);
    static const int64_t ts[] = { 1000, 1015, 1030, 1048 }, start[] = { 600, 600, 600, 1027 };
    assert_int_equal(s.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(s.ts[i], ts[i]);
        assert_int_equal(s.start[i], start[i]);
        assert_true(i == 2 ? is_stale(s.v[i]) : s.v[i] == 1);
    }
    assert_int_equal(xor_chunk_read(7, buf_str(&b), &a, &s, &why), ERR_UNSUPPORTED);
    assert_true(str_contains(str_c(why.msg), STR("encoding 7")));
    xor_samples_deinit(&s);
}

/* ---- log ---- */
static void put_be32(struct buf *b, uint32_t v)
{
    v = __builtin_bswap32(v);
    buf_u32(b, v);
}

static void put_record(struct buf *b, str rec, uint8_t flags)
{
    bool first = true;
    do {
        size_t room = 32768 - b->n % 32768;
        if (room < 7 + 1) {
            buf_zeros(b, room);
            continue;
        }
        str part = str_take(rec, room - 7);
        rec = str_skip(rec, part.n);
        buf_u8(b, (uint8_t)(flags | (first ? (rec.n ? 2 : 1) : rec.n ? 3 : 4)));
        buf_u8(b, (uint8_t)(part.n >> 8));
        buf_u8(b, (uint8_t)part.n);
        put_be32(b, crc32c(0, part));
        buf_str_add(b, part);
        first = false;
    } while (rec.n);
}

static void log_pages(void **state)
{
    (void)state;
    AUTO_BUF struct buf b = { 0 };
    AUTO_BUF struct buf recs = { 0 };
    static const size_t sizes[] = { 10, 32761, 100, 70000, 1, 32000, 760, 200000 };
    size_t ends[8];
    for (size_t i = 0; i < 200000; i++)
        buf_u8(&recs, (uint8_t)(rnd() % 7));
    for (size_t i = 0; i < 8; i++) {
        AUTO_BUF struct buf packed = { 0 };
        str rec = str_take(buf_str(&recs), sizes[i]);
        if (i % 3 == 1) {
            snappy_pack(rec, &packed);
        } else if (i % 3 == 2) {
            assert_true(buf_reserve(&packed, ZSTD_compressBound(rec.n)));
            packed.n = ZSTD_compress(packed.p, packed.cap, rec.p, rec.n, 1);
        }
        put_record(&b, i % 3 ? buf_str(&packed) : rec, (uint8_t)(i % 3 == 1 ? 8 : i % 3 == 2 ? 16 : 0));
        ends[i] = b.n;
    }
    struct err_text why;
    for (int cut = 0; cut < 400; cut++) { /* whole, then cut anywhere: whole records, then a tear, never an error */
        size_t n = cut ? rnd() % b.n : b.n, want = 0;
        struct prom_log l;
        str rec;
        enum err e;
        size_t got = 0;
        prom_log_init(&l, str_n(b.p, n));
        while ((e = prom_log_next(&l, &rec, &why)) == OK) {
            assert_int_equal(rec.n, sizes[got]);
            assert_memory_equal(rec.p, recs.p, rec.n);
            got++;
        }
        while (want < 8 && ends[want] <= n)
            want++;
        assert_int_equal(e, ERR_NOT_FOUND);
        assert_int_equal(got, want);
        if (cut && n > (want ? ends[want - 1] : 0) + 40)
            assert_true(l.torn);
        prom_log_deinit(&l);
    }
    for (int round = 0; round < 400; round++) { /* a flipped bit: an error with the offset, or a tear at the end */
        struct prom_log l;
        str rec;
        enum err e;
        size_t at = rnd() % b.n, got = 0;
        b.p[at] = (char)(b.p[at] ^ (1 << rnd() % 8));
        prom_log_init(&l, buf_str(&b));
        while ((e = prom_log_next(&l, &rec, &why)) == OK && got < 8) {
            assert_int_equal(rec.n, sizes[got]);
            assert_memory_equal(rec.p, recs.p, rec.n);
            got++;
        }
        assert_true(e != OK && got < 8);
        if (e != ERR_NOT_FOUND)
            assert_true(str_contains(str_c(why.msg), STR("offset")));
        prom_log_deinit(&l);
        buf_clear(&b); /* write it anew */
        for (size_t i = 0; i < 8; i++) {
            AUTO_BUF struct buf packed = { 0 };
            rec = str_take(buf_str(&recs), sizes[i]);
            snappy_pack(rec, &packed);
            put_record(&b, i % 2 ? buf_str(&packed) : rec, i % 2 ? 8 : 0);
        }
    }
}

/* ---- records ---- */
struct seen {
    size_t n;
    uint64_t ref[8];
    int64_t ts[8], start[8];
    double v[8];
    struct metric_meta meta;
    const struct histogram *h;
    struct arena *a;
};

static enum err on_sample(void *ctx, uint64_t ref, int64_t ts, double v, int64_t start)
{
    struct seen *s = ctx;
    assert_true(s->n < 8);
    s->ref[s->n] = ref;
    s->ts[s->n] = ts;
    s->v[s->n] = v;
    s->start[s->n++] = start;
    return OK;
}

static enum err on_histogram(void *ctx, uint64_t ref, int64_t ts, const struct histogram *h, int64_t start)
{
    struct seen *s = ctx;
    s->h = histogram_copy(s->a, h);
    return on_sample(ctx, ref, ts, 0, start);
}

static enum err on_metadata(void *ctx, uint64_t ref, const struct metric_meta *m)
{
    struct seen *s = ctx;
    s->meta = *m;
    s->ref[0] = ref;
    return OK;
}

static void records(void **state)
{
    (void)state;
    AUTO_ARENA struct arena scratch, keep;
    arena_init(&scratch, 0);
    arena_init(&keep, 0);
    struct seen s = { .a = &keep };
    struct prom_records to = { .ctx = &s, .sample = on_sample, .histogram = on_histogram, .metadata = on_metadata };
    struct err_text why;
    /* samples with start timestamps: (7,1000,st 900,1.5) (8,1015,same,2.5) (9,1015,none,3) (7,1030,950,4) */
    static const char v2[] = "\x0b\x0e\xd0\x0f\x88\x0e\x3f\xf8\0\0\0\0\0\0"
                             "\x02\x1e\x01\x40\x04\0\0\0\0\0\0"
                             "\x02\x1e\x00\x40\x08\0\0\0\0\0\0"
                             "\x03\x3c\x02\x64\x40\x10\0\0\0\0\0\0";
    assert_int_equal(prom_record_read(str_n(v2, sizeof(v2) - 1), &scratch, &to, &why), OK);
    static const int64_t start[] = { 900, 900, 0, 950 }, ts[] = { 1000, 1015, 1015, 1030 };
    static const uint64_t ref[] = { 7, 8, 9, 7 };
    assert_int_equal(s.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(s.ref[i], ref[i]);
        assert_int_equal(s.ts[i], ts[i]);
        assert_int_equal(s.start[i], start[i]);
    }
    assert_true(s.v[0] == 1.5 && s.v[3] == 4);
    for (size_t n = 2; n < sizeof(v2) - 1; n++) /* cut anywhere: refused, or ends between two samples */
        if (n != 14 && n != 25 && n != 36) {
            s.n = 0;
            assert_int_equal(prom_record_read(str_n(v2, n), &scratch, &to, &why), ERR_CORRUPT);
        }
    static const char meta[] = "\x06\x07\x01\x02\x04UNIT\x01s\x04HELP\x03"
                               "abc";
    assert_int_equal(prom_record_read(str_n(meta, sizeof(meta) - 1), &scratch, &to, &why), OK);
    assert_int_equal(s.meta.type, METRIC_COUNTER);
    assert_true(str_eq(s.meta.unit, STR("s")) && str_eq(s.meta.help, STR("abc")));
    /* custom buckets: bounds 0.5 1, counts 1 2 3 (differences 1 1 1), sum 3.5, a gauge */
    static const char hist[] = "\x09\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\x03\xe8\x00\x00"
                               "\x03\x69\0\0\0\0\0\0\0\0\x00\x06\x40\x0c\0\0\0\0\0\0"
                               "\x01\x00\x03\x00\x03\x02\x02\x02\x00\x02\x3f\xe0\0\0\0\0\0\0\x3f\xf0\0\0\0\0\0\0";
    s.n = 0;
    assert_int_equal(prom_record_read(str_n(hist, sizeof(hist) - 1), &scratch, &to, &why), OK);
    assert_int_equal(s.n, 1);
    assert_int_equal(s.h->schema, HIST_SCHEMA_CUSTOM);
    assert_int_equal(s.h->reset, HIST_RESET_GAUGE);
    assert_true(s.h->pos.n_buckets == 3 && s.h->pos.buckets[2] == 3 && s.h->n_custom == 2 && s.h->custom[1] == 1);
    assert_int_equal(prom_record_read(STR("\x63zz"), &scratch, &to, &why), ERR_UNSUPPORTED);
    assert_true(str_contains(str_c(why.msg), STR("99")));
}

/* ---- meta.json ---- */
static void meta(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum err want;
    } rows[] = {
        { "{\"version\":1,\"ulid\":\"A\",\"minTime\":10,\"maxTime\":7200010,\"stats\":{\"numSamples\":5},"
          "\"compaction\":{\"level\":2,\"parents\":[{\"ulid\":\"B\",\"minTime\":1}],\"hints\":[\"from-out-of-order\"]}"
          "}",
          OK },
        { "{\"version\":2,\"ulid\":\"A\",\"minTime\":10,\"maxTime\":20}", ERR_UNSUPPORTED },
        { "{\"version\":1,\"ulid\":\"A\",\"minTime\":10}", ERR_CORRUPT },
        { "{\"version\":1,\"ulid\":\"A\",\"minTime\":30,\"maxTime\":20}", ERR_CORRUPT },
        { "{\"version\":1,\"ulid\":\"A\",\"minTime\":-9000000000000000000,\"maxTime\":9000000000000000000}",
          ERR_CORRUPT },
        { "{\"version\":1,\"ulid\":\"A\",\"minTime\":10,\"maxTime\":20", ERR_CORRUPT },
        { "[]", ERR_CORRUPT },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        AUTO_ARENA struct arena a;
        struct prom_meta m;
        struct err_text why;
        arena_init(&a, 0);
        enum err e = prom_meta_read(str_c(rows[i].text), &a, &m, &why);
        if (e != rows[i].want)
            fail_msg("%s: %s", rows[i].text, err_name(e));
        if (e == OK) {
            assert_int_equal(m.samples, 5);
            assert_true(m.out_of_order && m.n_parents == 1 && str_eq(m.parents[0], STR("B")));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(floats_round_trip), cmocka_unit_test(histogram_round_trip),
                                        cmocka_unit_test(xor2_by_hand),      cmocka_unit_test(log_pages),
                                        cmocka_unit_test(records),           cmocka_unit_test(meta) };
    return cmocka_run_group_tests_name("wire/prom_tsdb", tests, NULL, NULL);
}
