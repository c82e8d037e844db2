/* wire/remote_write.h and wire/pb.h: recorded requests, hand-made ones, round trips, refusals. */
#include "wire_test.h"

#include <math.h>

#include "json_doc.h"
#include "wire/compress.h"
#include "wire/pb.h"
#include "wire/remote_write.h"

static void recorded(struct arena *a, const struct jt *row)
{
    char name[256];
    snprintf(name, sizeof(name), "remote_write/" STR_FMT, STR_ARG(jt_str(row, "file")));
    str body = conformance_file(a, name);
    snprintf(name, sizeof(name), "remote_write/" STR_FMT ".decoded.json",
             STR_ARG(str_take(jt_str(row, "file"), jt_str(row, "file").n - 4)));
    struct jt want = jt_parse(a, conformance_file(a, name));
    struct batch b;
    struct wire_rejects r;
    assert_ok(rw1_decode(a, body, RW_BODY_BYTES_MAX, &WIRE_LIMITS_DEFAULT, &b, &r, NULL));
    assert_int_equal(r.series, 0);
    assert_int_equal(b.series.n, jt_int(row, "timeseries"));
    assert_int_equal(b.n_samples, jt_int(row, "samples"));
    assert_int_equal(b.families.n, jt_int(row, "metadata_entries"));
    const struct jt *series = jt_get(&want, "timeseries");
    for (size_t i = 0; i < series->n; i++) {
        const struct batch_series *s = &b.series.p[i];
        const struct jt *labels = jt_get(&series->p[i], "labels"), *samples = jt_get(&series->p[i], "samples");
        assert_int_equal(labels->n, s->labels.n);
        labels_each (l, s->labels) {
            snprintf(name, sizeof(name), STR_FMT, STR_ARG(l->name));
            assert_true(str_eq(jt_str(labels, name), l->value));
        }
        assert_int_equal(samples->n, s->n_samples);
        for (size_t k = 0; k < samples->n; k++) {
            const struct jt *v = &samples->p[k].p[0];
            assert_true(jt_num(&samples->p[k].p[1]) == (double)s->samples[k].ts_ms);
            double d = 0;
            if (v->tok == JSON_TOK_STR && str_eq(v->text, STR("stale")))
                assert_true(is_stale(s->samples[k].v));
            else if (v->tok == JSON_TOK_STR && str_eq(v->text, STR("NaN")))
                assert_true(isnan(s->samples[k].v));
            else
                assert_true(num_parse_f64(v->text, &d) && d == s->samples[k].v);
        }
    }
    const struct jt *meta = jt_get(&want, "metadata");
    for (size_t i = 0; i < meta->n; i++) {
        const struct batch_family *f = &b.families.p[i];
        assert_int_equal(jt_int(&meta->p[i], "type"), f->meta.type);
        assert_true(str_eq(jt_str(&meta->p[i], "help"), f->meta.help));
    }
}

static void recorded_requests(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    str text = conformance_file(&a, "remote_write/index.json");
    if (!text.p)
        skip();
    struct jt rows = jt_parse(&a, text);
    jt_each(row, &rows) recorded(&a, row);
}

static void put_label(struct buf *b, const char *name, const char *value)
{
    size_t at = pb_open(b, 1);
    pb_put_bytes(b, 1, str_c(name));
    pb_put_bytes(b, 2, str_c(value));
    pb_close(b, at);
}
static void put_sample(struct buf *b, double v, int64_t ts)
{
    size_t at = pb_open(b, 2);
    pb_put_double(b, 1, v);
    pb_put_varint(b, 2, (uint64_t)ts);
    pb_close(b, at);
}

static void integer_histograms(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    size_t ts = pb_open(&b, 1);
    put_label(&b, "__name__", "h");
    size_t h = pb_open(&b, 4);
    pb_put_varint(&b, 1, 8);
    pb_put_double(&b, 3, 2.5);
    pb_put_varint(&b, 4, zigzag(-1));
    pb_put_double(&b, 5, 0.001);
    pb_put_varint(&b, 6, 1);
    for (int i = 0; i < 2; i++) {
        size_t sp = pb_open(&b, 11);
        pb_put_varint(&b, 1, zigzag(i ? 1 : -2));
        pb_put_varint(&b, 2, i ? 1 : 2);
        pb_close(&b, sp);
    }
    pb_put_bytes(&b, 12, STR("\x04\x01\x06")); /* packed +2 -1 +3: 2 1 4 */
    pb_put_varint(&b, 15, 1234);
    pb_put_varint(&b, 14, 1);
    pb_close(&b, h);
    h = pb_open(&b, 4); /* custom buckets, deltas not packed */
    pb_put_varint(&b, 1, 3);
    pb_put_varint(&b, 4, zigzag(-53));
    size_t sp = pb_open(&b, 11);
    pb_put_varint(&b, 2, 2);
    pb_close(&b, sp);
    pb_put_varint(&b, 12, zigzag(1));
    pb_put_varint(&b, 12, zigzag(1));
    pb_put_double(&b, 16, 0.5);
    pb_put_double(&b, 16, 1.5);
    pb_put_varint(&b, 15, 1235);
    pb_close(&b, h);
    h = pb_open(&b, 4); /* stale */
    pb_put_double(&b, 3, f64_from_bits(STALE_NAN_BITS));
    pb_put_varint(&b, 15, 1236);
    pb_close(&b, h);
    h = pb_open(&b, 4); /* spans without buckets */
    pb_put_varint(&b, 1, 8);
    sp = pb_open(&b, 11);
    pb_put_varint(&b, 2, 2);
    pb_close(&b, sp);
    pb_close(&b, h);
    pb_close(&b, ts);
    struct batch out;
    struct wire_rejects r;
    struct err_text why;
    if (rw1_decode_plain(&a, buf_str(&b), &WIRE_LIMITS_DEFAULT, &out, &r, &why) != OK)
        fail_msg("%s", why.msg);
    assert_str(batch_text(&a, &out), "h {schema:-1 count:8 sum:2.5 zero:1/0.001 pos:-2+2,1+1 [2 1 4] reset:1} @1234\n"
                                     "h {schema:-53 count:3 sum:0 pos:0+2 [1 2] le:0.5 1.5} @1235\n"
                                     "h {stale} @1236\n");
    assert_int_equal(r.samples, 1);
    assert_true(str_has_prefix(str_c(r.first.msg), STR("series h: ")));
    assert_int_equal(out.n_samples, 3);

    AUTO_BUF struct buf again; /* what we encode reads back the same */
    buf_init(&again, 0);
    rw1_encode(&again, &out);
    struct batch back;
    assert_ok(rw1_decode_plain(&a, buf_str(&again), &WIRE_LIMITS_DEFAULT, &back, &r, NULL));
    assert_true(str_eq(batch_text(&a, &out), batch_text(&a, &back)));
}

static void labels_and_limits(void **state)
{
    (void)state;
    static const struct {
        const char *labels[6]; /* name, value ... */
        const char *want;      /* series text, or the refusal */
    } rows[] = {
        { { "__name__", "up", "a", "1" }, "up{a=\"1\"} 1 @5\n" },
        { { "z", "1", "__name__", "up", "a", "" }, "up{z=\"1\"} 1 @5\n" },
        { { "a", "1" }, "series {a=\"1\"}: no metric name" },
        { { "__name__", "up", "a", "1", "a", "2" }, "series up{a=\"1\", a=\"2\"}: " },
        { { "__name__", "up", "", "1" }, "series " },
        { { "__name__", "up", "a", "\xff" }, "series up{a=\"" },
        { { "__name__", "up", "a", "123456789" },
          "series up{a=\"123456789\"}: the value of label \"a\" has 9 bytes, at most 8 are allowed" },
        { { "__name__", "up", "abcde", "1" }, "series up{abcde=\"1\"}: " },
    };
    struct wire_limits lim = WIRE_LIMITS_DEFAULT;
    lim.label_value_bytes_max = 8;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        lim.label_name_bytes_max = i == 7 ? 4 : 8;
        size_t at = pb_open(&b, 1);
        for (int k = 0; k < 6 && rows[i].labels[k]; k += 2)
            put_label(&b, rows[i].labels[k], rows[i].labels[k + 1]);
        put_sample(&b, 1, 5);
        pb_close(&b, at);
        struct batch out;
        struct wire_rejects r;
        assert_ok(rw1_decode_plain(&a, buf_str(&b), &lim, &out, &r, NULL));
        str got = r.series ? str_c(r.first.msg) : batch_text(&a, &out);
        if (!str_has_prefix(got, str_c(rows[i].want)))
            fail_msg("row %zu: " STR_FMT, i, STR_ARG(got));
        assert_int_equal(r.samples, r.series);
    }
}

/* One who knows the label bytes it was told of. */
struct memory {
    char bytes[200];
    size_t n;
};
static uint64_t remembers(void *ctx, str bytes, uint64_t salt, uint32_t *io_hint, hash128 *ret_key)
{
    const struct memory *m = ctx;
    *ret_key = hash128_seed(bytes, salt);
    ++*io_hint;
    return str_eq(bytes, str_n(m->bytes, m->n)) ? 77 : 0;
}

static void known_labels(void **state)
{
    (void)state;
    struct memory m = { .n = 0 };
    const struct wire_known known = { &m, remembers };
    struct wire_limits lim = WIRE_LIMITS_DEFAULT;
    lim.known = &known;
    for (int row = 0; row < 4; row++) { /* 1: labels after the sample, too; 2: no sample; 3: a label twice */
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        size_t at = pb_open(&b, 1);
        put_label(&b, "z", "1");
        put_label(&b, "__name__", "up");
        if (row != 2)
            put_sample(&b, 0.5, 1700000000000);
        if (row == 1)
            put_label(&b, "y", "2");
        if (row == 3)
            put_label(&b, "z", "2");
        pb_close(&b, at);
        struct batch out;
        struct wire_rejects r;
        for (int again = 0; again < 2; again++) {
            m.n = 0;
            assert_ok(rw1_decode_plain(&a, buf_str(&b), &lim, &out, &r, NULL));
            if (again) { /* remember what was before the sample */
                AUTO_BUF struct buf l;
                buf_init(&l, 0);
                put_label(&l, "z", "1");
                put_label(&l, "__name__", "up");
                memcpy(m.bytes, l.p, l.n);
                m.n = l.n;
                assert_ok(rw1_decode_plain(&a, buf_str(&b), &lim, &out, &r, NULL));
            }
            assert_int_equal(out.series.n, row < 2);
            assert_int_equal(r.series, row == 3);
            if (row >= 2)
                continue;
            const struct batch_series *s = &out.series.p[0];
            assert_int_equal(s->n_samples, 1);
            assert_true(s->samples[0].v == 0.5 && s->samples[0].ts_ms == 1700000000000);
            if (row == 1) { /* not in one piece: as if nobody knew */
                assert_null(s->key);
                assert_int_equal(s->labels.n, 3);
                continue;
            }
            assert_non_null(s->key);
            assert_int_equal(*s->ref, again ? 77 : 0);
            assert_int_equal(s->labels.n, again ? 0 : 2);
            struct labels ls = out.labels_of(&a, s->key->bytes);
            assert_int_equal(ls.n, 2);
            assert_true(str_eq(ls.p[0].name, LABEL_NAME) && str_eq(ls.p[1].value, STR("1")));
        }
    }
}

static void malformed(void **state)
{
    (void)state;
    static const struct {
        str in;
        const char *want;
    } rows[] = {
        { STR_INIT("\x0a\x05x"), "malformed protobuf at byte 1 of the decompressed WriteRequest" },
        { STR_INIT("\x0a\x02\x0a\x09"), "malformed protobuf at byte 3 of the decompressed WriteRequest" },
        { STR_INIT("\x0b"), "malformed protobuf at byte 1 of the decompressed WriteRequest" },
        { STR_INIT("\x00\x00"), "malformed protobuf at byte 1 of the decompressed WriteRequest" },
        { STR_INIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
          "malformed protobuf at byte 0 of the decompressed WriteRequest" },
        { STR_INIT("\x0a\x04\x12\x02\x08\x01"), "malformed protobuf at byte 5 of the decompressed WriteRequest" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct batch out;
        struct wire_rejects r;
        struct err_text why;
        assert_err(rw1_decode_plain(&a, rows[i].in, &WIRE_LIMITS_DEFAULT, &out, &r, &why), ERR_PARSE);
        assert_string_equal(why.msg, rows[i].want);
        assert_err(rw1_decode(&a, rows[i].in, RW_BODY_BYTES_MAX, &WIRE_LIMITS_DEFAULT, &out, &r, &why), ERR_CORRUPT);
    }
}

/* Random batches: encode, pack, decode, and compare. */
static void round_trip(void **state)
{
    (void)state;
    uint64_t seed = 7;
    for (int run = 0; run < 50; run++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct batch in = { .a = &a }, out;
        for (int i = 0; i < 40; i++) {
            seed = seed * 6364136223846793005ull + 1442695040888963407ull;
            size_t n = seed >> 60, n_samples = (seed >> 50) % 5 + 1;
            struct label *l = arena_array(&a, struct label, n + 1);
            struct sample *s = arena_array(&a, struct sample, n_samples);
            l[0] = (struct label){ LABEL_NAME, STR("m") };
            for (size_t k = 1; k <= n; k++)
                l[k] = (struct label){ arena_printf(&a, "l%02zu", k),
                                       arena_printf(&a, "v%u", (unsigned)(seed >> k) & 0xffff) };
            for (size_t k = 0; k < n_samples; k++)
                s[k] = (struct sample){ (int64_t)(seed >> 20) - (1ll << 42), f64_from_bits(seed * (k + 1)) };
            struct batch_series bs = { .labels = { l, n + 1 }, .samples = s, .n_samples = n_samples };
            avec_push(&a, &in.series, bs);
        }
        AUTO_BUF struct buf plain, packed;
        buf_init(&plain, 0);
        buf_init(&packed, 0);
        rw1_encode(&plain, &in);
        snappy_pack(buf_str(&plain), &packed);
        struct wire_rejects r;
        assert_ok(rw1_decode(&a, buf_str(&packed), plain.n, &WIRE_LIMITS_DEFAULT, &out, &r, NULL));
        assert_int_equal(in.series.n, out.series.n);
        for (size_t i = 0; i < in.series.n; i++) {
            assert_true(labels_eq(in.series.p[i].labels, out.series.p[i].labels));
            assert_int_equal(in.series.p[i].n_samples, out.series.p[i].n_samples);
            assert_memory_equal(in.series.p[i].samples, out.series.p[i].samples,
                                in.series.p[i].n_samples * sizeof(struct sample));
        }
        assert_err(rw1_decode(&a, buf_str(&packed), plain.n - 1, &WIRE_LIMITS_DEFAULT, &out, &r, NULL), ERR_LIMIT);
        struct wire_limits lim = WIRE_LIMITS_DEFAULT;
        lim.series_max = 10;
        assert_err(rw1_decode(&a, buf_str(&packed), plain.n, &lim, &out, &r, NULL), ERR_LIMIT);
    }
}

/* Bodies that would cost much more memory than they have bytes are refused by number, not by size. */
static void small_bodies_cannot_cost_much(void **state)
{
    (void)state;
    static const struct {
        char key;
        size_t times;
    } rows[] = { { 0x0a, 1 << 20 },
                 { 0x1a, 1 << 20 },
                 { 0x22, 1 << 18 } }; /* labels, exemplars, histograms: all empty */
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 256 << 20);
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        size_t at = pb_open(&b, 1);
        put_label(&b, "__name__", "up");
        for (size_t k = 0; k < rows[i].times; k++) {
            buf_u8(&b, (uint8_t)rows[i].key);
            buf_u8(&b, 0);
        }
        pb_close(&b, at);
        struct batch out;
        struct wire_rejects r;
        struct err_text why;
        enum err e = rw1_decode_plain(&a, buf_str(&b), &WIRE_LIMITS_DEFAULT, &out, &r, &why);
        assert_true(e == OK || e == ERR_LIMIT);
        assert_true(a.bytes < 320u << 20);
        if (rows[i].key == 0x0a)
            assert_int_equal(r.series, 1);
    }
}

static void versions(void **state)
{
    (void)state;
    static const struct {
        const char *type, *encoding;
        int want;
    } rows[] = {
        { "application/x-protobuf", "snappy", RW_V1 },
        { "", "", RW_V1 },
        { "application/x-protobuf;proto=prometheus.WriteRequest", "snappy", RW_V1 },
        { "application/x-protobuf; proto=io.prometheus.write.v2.Request", "snappy", RW_V2 },
        { "application/x-protobuf;proto=other", "snappy", -1 },
        { "application/json", "snappy", -1 },
        { "application/x-protobuf", "gzip", -1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum rw_version v = RW_V1;
        enum err e = rw_version_of(str_c(rows[i].type), str_c(rows[i].encoding), &v, NULL);
        assert_int_equal(e == OK ? (int)v : -1, rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_requests), cmocka_unit_test(integer_histograms),
        cmocka_unit_test(labels_and_limits), cmocka_unit_test(known_labels),
        cmocka_unit_test(malformed),         cmocka_unit_test(round_trip),
        cmocka_unit_test(versions),          cmocka_unit_test(small_bodies_cannot_cost_much),
    };
    return cmocka_run_group_tests_name("wire/remote_write", tests, NULL, NULL);
}
