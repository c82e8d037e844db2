/* wire/remote_write2.c: hand-made requests, round trips, refusals. */
#include "wire_test.h"

#include "wire/compress.h"
#include "wire/pb.h"
#include "wire/remote_write.h"

static void symbols(struct buf *b, const char *const *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pb_put_bytes(b, 4, str_c(p[i]));
}
static void refs(struct buf *b, const char *bytes, size_t n)
{
    pb_put_bytes(b, 1, str_n(bytes, n));
}
static void put_sample(struct buf *b, double v, int64_t ts, int64_t start)
{
    size_t at = pb_open(b, 2);
    pb_put_double(b, 1, v);
    pb_put_varint(b, 2, (uint64_t)ts);
    if (start)
        pb_put_varint(b, 3, (uint64_t)start);
    pb_close(b, at);
}
static const char *const table[] = { "",    "__name__", "m",       "job", "a",   "trace_id",
                                     "abc", "Help me.", "seconds", "h",   "\xff" };

static str decode(struct arena *a, struct buf *b, struct wire_rejects *r)
{
    struct batch out;
    struct err_text why = { .msg = "" };
    if (rw2_decode_plain(a, buf_str(b), &WIRE_LIMITS_DEFAULT, &out, r, &why) != OK)
        fail_msg("%s", why.msg);
    AUTO_BUF struct buf again, packed;
    buf_init(&again, 0);
    buf_init(&packed, 0);
    rw2_encode(&again, &out);
    snappy_pack(buf_str(&again), &packed);
    struct batch back;
    struct wire_rejects none;
    assert_ok(rw2_decode(a, buf_str(&packed), 1 << 20, &WIRE_LIMITS_DEFAULT, &back, &none, NULL));
    assert_int_equal(none.series + none.samples + none.exemplars, 0);
    str text = batch_text(a, &out), text_back = batch_text(a, &back);
    assert_true(str_eq(text, text_back));
    for (size_t i = 0; i < out.series.n; i++) {
        const struct metric_meta *x = &out.series.p[i].meta, *y = &back.series.p[i].meta;
        assert_true(x->type == y->type && str_eq(x->help, y->help) && str_eq(x->unit, y->unit));
    }
    return text;
}

static void everything(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    size_t ts = pb_open(&b, 5); /* the table of symbols comes last: fields have no order */
    refs(&b, "\x03\x04\x01\x02", 4);
    put_sample(&b, 1.5, 1000, 400);
    put_sample(&b, 2.5, 2000, 0);
    size_t ex = pb_open(&b, 4);
    refs(&b, "\x05\x06", 2);
    pb_put_double(&b, 2, 0.25);
    pb_put_varint(&b, 3, 1500);
    pb_close(&b, ex);
    size_t meta = pb_open(&b, 5);
    pb_put_varint(&b, 1, METRIC_COUNTER);
    pb_put_varint(&b, 3, 7);
    pb_put_varint(&b, 4, 8);
    pb_close(&b, meta);
    pb_put_varint(&b, 6, 300); /* created: where the sample says nothing */
    pb_close(&b, ts);
    ts = pb_open(&b, 5);
    pb_put_varint(&b, 1, 1); /* references one by one */
    pb_put_varint(&b, 1, 9);
    size_t h = pb_open(&b, 3);
    pb_put_varint(&b, 1, 3);
    pb_put_varint(&b, 4, zigzag(-53));
    size_t sp = pb_open(&b, 11);
    pb_put_varint(&b, 2, 2);
    pb_close(&b, sp);
    pb_put_bytes(&b, 12, STR("\x02\x02"));
    pb_put_double(&b, 16, 0.5);
    pb_put_double(&b, 16, 1.5);
    pb_put_varint(&b, 15, 1235);
    pb_put_varint(&b, 17, 1000);
    pb_close(&b, h);
    pb_close(&b, ts);
    symbols(&b, table, 10);
    struct wire_rejects r;
    assert_str(decode(&a, &b, &r), "m{job=\"a\"} 1.5 @1000 from 400\n"
                                   "m{job=\"a\"} 2.5 @2000 from 300\n"
                                   "  # {trace_id=\"abc\"} 0.25 @1500\n"
                                   "h {schema:-53 count:3 sum:0 pos:0+2 [1 2] le:0.5 1.5} @1235 from 1000\n");
    assert_int_equal(r.series + r.samples + r.exemplars, 0);
}

static void refused_series(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    static const struct {
        const char *refs, *why;
        size_t n, n_samples;
    } rows[] = {
        { "\x01\x02\x03", "odd number", 3, 1 },
        { "\x01\x63", "symbol 99 of 11", 2, 1 },
        { "\x03\x04", "name", 2, 1 },
        { "\x01\x02\x03\x0a", "UTF-8", 4, 1 },
        { "\x01\x02\x03\x04\x03\x04", "job", 6, 1 },
        { "\x01\x02", "neither a sample nor", 2, 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        symbols(&b, table, ARRAY_LEN(table));
        size_t ts = pb_open(&b, 5);
        refs(&b, rows[i].refs, rows[i].n);
        if (rows[i].n_samples)
            put_sample(&b, 1, 1000, 0);
        pb_close(&b, ts);
        ts = pb_open(&b, 5); /* the good one is taken */
        refs(&b, "\x01\x02", 2);
        put_sample(&b, 7, 1000, 0);
        size_t ex = pb_open(&b, 4); /* a bad exemplar does not cost its series */
        refs(&b, "\x05\x63", 2);
        pb_close(&b, ex);
        pb_close(&b, ts);
        struct wire_rejects r;
        assert_str(decode(&a, &b, &r), "m 7 @1000\n");
        assert_int_equal(r.series, 1);
        assert_int_equal(r.samples, rows[i].n_samples);
        assert_int_equal(r.exemplars, 1);
        if (!str_contains(str_c(r.first.msg), str_c(rows[i].why)))
            fail_msg("row %zu: \"%s\" lacks \"%s\"", i, r.first.msg, rows[i].why);
    }
}

static void refused_requests(void **state)
{
    (void)state;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch out;
    struct wire_rejects r;
    struct err_text why;
    assert_err(rw2_decode_plain(&a, STR("\x22\x01x"), &WIRE_LIMITS_DEFAULT, &out, &r, &why), ERR_INVALID);
    assert_true(str_contains(str_c(why.msg), STR("first symbol")));
    assert_err(rw2_decode_plain(&a, STR("\x2a\x00"), &WIRE_LIMITS_DEFAULT, &out, &r, &why), ERR_INVALID);
    assert_err(rw2_decode_plain(&a, STR("\x22\x7f"), &WIRE_LIMITS_DEFAULT, &out, &r, &why), ERR_PARSE);
    assert_err(rw2_decode_plain(&a, STR("\x22\x00\x2a\x03\x12\x05\x09"), &WIRE_LIMITS_DEFAULT, &out, &r, &why),
               ERR_PARSE);
    assert_ok(rw2_decode_plain(&a, STR(""), &WIRE_LIMITS_DEFAULT, &out, &r, &why));
    struct wire_limits few = WIRE_LIMITS_DEFAULT;
    few.series_max = 1;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    symbols(&b, table, 5);
    for (int i = 0; i < 2; i++) {
        size_t ts = pb_open(&b, 5);
        refs(&b, "\x01\x02", 2);
        put_sample(&b, 1, i, 0);
        pb_close(&b, ts);
    }
    assert_err(rw2_decode_plain(&a, buf_str(&b), &few, &out, &r, &why), ERR_LIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(everything), cmocka_unit_test(refused_series),
                                        cmocka_unit_test(refused_requests) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
