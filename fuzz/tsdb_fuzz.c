/* The metrics store's decoders: log records, tombstones, tokens, histograms. The first byte chooses. Oracles: what is encoded
 * decodes to the same bits; what decodes encodes to something that decodes the same. */
#include "tsdb/tsdb_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void tokens_round_trip(const uint8_t *p, size_t n)
{
    uint8_t bytes[64 * TOK_BYTES_MAX];
    uint64_t want[64];
    double v[64];
    int64_t start[64], starts[64];
    struct tok t = { .form = TOK_RAW };
    size_t used = 0, k = 0;
    uint32_t run = 0;
    for (; k < 64 && n >= 9; k++, p += 9, n -= 9) {
        memcpy(&want[k], p, 8);
        starts[k] = p[8] & 0x70 ? 0 : p[8] * 1000;
        if (p[8] & 1) /* whole numbers are the common case */
            want[k] = f64_bits((double)(int32_t)want[k] / 100);
        if (k && p[8] & 2) {
            want[k] = want[k - 1];
            starts[k] = starts[k - 1];
        }
        uint8_t out[TOK_BYTES_MAX];
        size_t m = tok_put(&t, want[k], starts[k], k == 0, out);
        if (!m) {
            run++;
            continue;
        }
        if (run)
            used += tok_put_run(run, bytes + used);
        run = 0;
        memcpy(bytes + used, out, m);
        used += m;
    }
    if (!k)
        return;
    ASSERT(tok_decode(bytes, used, k, UINT32_MAX, v, NULL, start) == k);
    for (size_t i = 0; i < k; i++) {
        ASSERT(f64_bits(v[i]) == want[i]);
        ASSERT(start[i] == starts[i]);
    }
}

/* The decoder of a whole chunk against one token at a time. */
static void tokens_agree(const uint8_t *p, size_t n)
{
    static double v[CHUNK_SAMPLES_MAX], plain[CHUNK_SAMPLES_MAX];
    static uint32_t pos[CHUNK_SAMPLES_MAX];
    enum { SLOTS = 1000 };
    const uint8_t *at = p;
    struct tok t = { .form = TOK_RAW };
    size_t got = tok_decode(p, n, CHUNK_SAMPLES_MAX, SLOTS, v, pos, NULL), i = 0;
    uint32_t slot = 0, k = 0;
    while (i < CHUNK_SAMPLES_MAX && slot < SLOTS) {
        enum tok_op op = tok_get(&t, &at, p + n, &k);
        if (op == TOK_BAD) {
            ASSERT(got == SIZE_MAX);
            return;
        }
        if (op == TOK_GAP) {
            slot += k;
            continue;
        }
        k = op == TOK_VALUE ? 1 : op == TOK_END ? CHUNK_SAMPLES_MAX : k;
        for (; k && i < CHUNK_SAMPLES_MAX && slot < SLOTS; k--, i++, slot++) {
            ASSERT(f64_bits(v[i]) == t.bits);
            ASSERT(pos[i] == slot);
        }
    }
    ASSERT(got == i);
    got = tok_decode(p, n, CHUNK_SAMPLES_MAX, UINT32_MAX, plain, NULL, NULL);
    for (i = 0; slot < SLOTS && got != SIZE_MAX && i < got; i++)
        ASSERT(f64_bits(v[i]) == f64_bits(plain[i]));
}

static void histogram_again(str in)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct rd r = rd_init(in);
    struct histogram *h, *again;
    if (hist_decode(&r, &a, &h))
        return;
    AUTO_BUF struct buf b = { 0 };
    hist_encode(&b, h);
    r = rd_init(buf_str(&b));
    ASSERT(hist_decode(&r, &a, &again) == OK);
    ASSERT(rd_end(&r));
    AUTO_BUF struct buf b2 = { 0 };
    hist_encode(&b2, again);
    ASSERT(str_eq(buf_str(&b), buf_str(&b2)));
}

/* Who follows the log is told only what was defined, and takes no record whose structure is bad. */
struct heard {
    uint32_t defined[64];
    size_t n;
};
static void on_define(void *ctx, uint32_t id, struct labels ls)
{
    struct heard *h = ctx;
    ASSERT(ls.n > 0);
    h->defined[h->n++ % 64] = id;
}
static void heard_of(struct heard *h, uint32_t id)
{
    bool found = h->n > 64;
    for (size_t i = 0; i < h->n && i < 64; i++)
        found |= h->defined[i] == id;
    ASSERT(found);
}
static void on_sample(void *ctx, uint32_t id, int64_t ts, double v, int64_t start)
{
    (void)ts, (void)v, (void)start;
    heard_of(ctx, id);
}
static void on_histogram(void *ctx, uint32_t id, int64_t ts, const struct histogram *h, int64_t start)
{
    (void)ts, (void)start;
    ASSERT(h->pos.n_buckets <= HIST_BUCKETS_MAX);
    heard_of(ctx, id);
}
static void on_exemplar(void *ctx, uint32_t id, const struct exemplar *e)
{
    labels_each (l, e->labels)
        ASSERT(l->name.n + l->value.n <= 1u << 20);
    heard_of(ctx, id);
}
static void on_info(void *ctx, uint32_t id, enum metric_type type, enum temporality t)
{
    (void)type, (void)t;
    heard_of(ctx, id);
}
static void followed(const struct store_replayed *rec, bool good)
{
    struct heard h = { 0 };
    struct tsdb_follow_sink sink = { &h, on_define, on_sample, on_histogram, on_exemplar, on_info, NULL };
    struct tsdb_follow *f = tsdb_follow_new(&sink);
    ASSERT(tsdb_follow_record(f, rec) != OK || good);
    tsdb_follow_free(f);
}

/* Windows of a rollup: what decodes is encoded to something that decodes to the same bits. */
static void windows_again(str in, size_t n)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct rollup *w = arena_zarray(&a, struct rollup, n), *again = arena_zarray(&a, struct rollup, n);
    for (size_t i = 0; i < n; i++)
        w[i].count = again[i].count = i % 7;
    IGNORE_ERR(rollup_hists_decode(in, n, &a, again));
    memset(again, 0, n * sizeof(*again));
    if (rollup_floats_decode(in, n, w))
        return;
    AUTO_BUF struct buf b = { 0 };
    rollup_floats_encode(&b, w, n);
    for (size_t i = 0; i < n; i++)
        again[i].count = w[i].count;
    ASSERT(rollup_floats_decode(buf_str(&b), n, again) == OK);
    for (size_t i = 0; i < n; i++) {
        ASSERT(f64_bits(w[i].first) == f64_bits(again[i].first) && f64_bits(w[i].last) == f64_bits(again[i].last));
        ASSERT(f64_bits(w[i].min) == f64_bits(again[i].min) && f64_bits(w[i].max) == f64_bits(again[i].max));
        ASSERT(f64_bits(w[i].sum) == f64_bits(again[i].sum) && f64_bits(w[i].hidden) == f64_bits(again[i].hidden));
        ASSERT(w[i].resets == again[i].resets && w[i].stale == again[i].stale);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    str in = str_n((const char *)data + 1, size - 1);
    struct err_text why;
    if (data[0] == 0xff) {
        IGNORE_ERR(tsdb_tombstone_verify(in, &why));
        return 0;
    }
    if (data[0] == 0xfe) {
        windows_again(str_skip(in, 1), 1 + data[1] % 200u);
        return 0;
    }
    switch (data[0] % 5) {
    case 0: {
        struct store_replayed rec = { .type = WAL_FRAME, .payload = in };
        bool good = tsdb_record_verify(&rec, &why) == OK;
        followed(&rec, good);
        break;
    }
    case 1:
        tokens_round_trip(data + 1, size - 1);
        break;
    case 2:
        histogram_again(in);
        break;
    case 3:
        tokens_agree(data + 1, size - 1);
        break;
    default: {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct histogram *h;
        struct rd r = rd_init(str_skip(in, 1));
        IGNORE_ERR(hist_chunk_decode(&r, 1 + data[1] % 200u, &a, &h));
    }
    }
    return 0;
}
