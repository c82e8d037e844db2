/* Files of a Prometheus data folder. The first byte says which; checksums are made to fit, so that what they protect is
 * reached. Oracle: nothing outside the file is read, what decodes is in order and valid. */
#include "base/check.h"
#include "base/hash.h"
#include "model/sample.h"
#include "wire/prom_tsdb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CHUNK, RECORD, SNAPSHOT, LOG, TOMBSTONES, HEAD_CHUNKS, INDEX, META, MODES };

static uint64_t be(const char *p, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | (uint8_t)p[i];
    return v;
}

static void sign(char *p, size_t n) /* n bytes, then their checksum */
{
    uint32_t crc = __builtin_bswap32(crc32c(0, str_n(p, n)));
    memcpy(p + n, &crc, 4);
}

static void check_samples(const struct xor_samples *s)
{
    struct err_text why;
    for (size_t i = 0; i < s->n; i++) {
        ASSERT(i == 0 || s->ts[i] > s->ts[i - 1]);
        ASSERT(!s->h[i] || is_stale(s->h[i]->sum) || histogram_validate(s->h[i], &why) == OK);
    }
}

static void read_chunk(unsigned encoding, str in, struct arena *a)
{
    struct xor_samples s = { 0 };
    struct err_text why;
    if (xor_chunk_read(encoding, in, a, &s, &why) == OK)
        check_samples(&s);
    else
        ASSERT(s.n == 0);
    xor_samples_deinit(&s);
}

static enum err on_series(void *ctx, uint64_t ref, struct labels ls)
{
    (void)ref;
    for (size_t i = 1; i < ls.n; i++)
        ASSERT(str_cmp(ls.p[i - 1].name, ls.p[i].name) < 0);
    ++*(size_t *)ctx;
    return OK;
}

static enum err on_sample(void *ctx, uint64_t ref, int64_t ts, double v, int64_t start)
{
    (void)ref, (void)ts, (void)v, (void)start;
    ++*(size_t *)ctx;
    return OK;
}

static enum err on_histogram(void *ctx, uint64_t ref, int64_t ts, const struct histogram *h, int64_t start)
{
    struct err_text why;
    (void)ref, (void)ts, (void)start;
    ASSERT(is_stale(h->sum) || histogram_validate(h, &why) == OK);
    ++*(size_t *)ctx;
    return OK;
}

static enum err on_exemplar(void *ctx, uint64_t ref, const struct exemplar *e)
{
    return on_series(ctx, ref, e->labels);
}

static enum err on_tombstone(void *ctx, const struct prom_tombstone *t)
{
    (void)t;
    ++*(size_t *)ctx;
    return OK;
}

static enum err on_metadata(void *ctx, uint64_t ref, const struct metric_meta *m)
{
    (void)ref;
    ASSERT(m->type <= METRIC_STATESET);
    ++*(size_t *)ctx;
    return OK;
}

static enum err on_min_valid(void *ctx, int64_t ms)
{
    return on_sample(ctx, 0, ms, 0, 0);
}

static enum err on_chunk(void *ctx, const struct prom_head_chunk *c)
{
    return on_sample(ctx, c->ref, c->min_ms, 0, 0);
}

static void read_record(bool snapshot, str in, struct arena *a)
{
    size_t n = 0;
    struct err_text why;
    struct prom_snapshot s = {
        { &n, on_series, on_sample, on_histogram, on_exemplar, on_tombstone, on_metadata, on_min_valid }, on_chunk
    };
    IGNORE_ERR(snapshot ? prom_snapshot_read(in, a, &s, &why) : prom_record_read(in, a, &s.to, &why));
    ASSERT(n <= in.n);
}

static void read_log(str in, struct arena *a)
{
    struct prom_log l;
    struct err_text why;
    str rec;
    prom_log_init(&l, in);
    while (prom_log_next(&l, &rec, &why) == OK) {
        read_record(false, rec, a);
        ASSERT(l.off <= in.n);
    }
    prom_log_deinit(&l);
}

static void read_head_chunks(char *p, size_t n, struct arena *a)
{
    uint64_t off = 0;
    bool torn;
    struct prom_head_chunk c;
    struct err_text why;
    if (n > 8 + 25 + 1 && (uint8_t)p[33] < 0x80 && (size_t)p[33] + 38 <= n) /* the first one is made to fit */
        sign(p + 8, 26 + (size_t)p[33]);
    while (prom_head_chunk_next(str_n(p, n), &off, &c, &torn, &why) == OK) {
        ASSERT(off <= n);
        read_chunk(c.chunk.encoding, c.chunk.data, a);
    }
}

static void sign_section(char *p, size_t n, uint64_t at)
{
    if (at < 5 || at + 8 > n || be(p + at, 4) > n - at - 8)
        return;
    sign(p + at + 4, (size_t)be(p + at, 4));
}

static void read_index(char *p, size_t n, struct arena *a)
{
    struct prom_index ix;
    struct prom_series s;
    struct err_text why;
    if (n >= 57) {
        static const unsigned fields[] = { 0, 32, 40 };
        for (size_t i = 0; i < 3; i++)
            sign_section(p, n, be(p + n - 52 + fields[i], 8));
        sign(p + n - 52, 48);
    }
    if (prom_index_open(str_n(p, n), a, &ix, &why))
        return;
    for (uint32_t i = 0; i < MIN(ix.n_series, 500); i++) {
        uint64_t at = be((const char *)ix.refs + 4 * (size_t)i, 4) * (ix.version == 1 ? 1 : 16);
        if (at + 1 < n && (uint8_t)p[at] < 0x80 && at + 5 + (uint8_t)p[at] <= n)
            sign(p + at + 1, (uint8_t)p[at]);
        if (prom_index_series(&ix, i, a, &s, &why))
            continue;
        size_t none = 0;
        IGNORE_ERR(on_series(&none, 0, s.labels));
        for (size_t k = 0; k < s.n_chunks; k++)
            ASSERT(s.chunks[k].max_ms >= s.chunks[k].min_ms);
    }
}

static void read_tombstones(char *p, size_t n, struct arena *a)
{
    struct prom_tombstone *t;
    size_t n_t;
    struct err_text why;
    if (n >= 9)
        sign(p + 5, n - 9);
    if (prom_tombstones_read(str_n(p, n), a, &t, &n_t, &why) == OK)
        ASSERT(n_t * 3 <= n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    size_t n = size - 1;
    AUTO_FREE char *p = mem_alloc(n);
    memcpy(p, data + 1, n);
    struct prom_meta meta;
    struct err_text why;
    switch (data[0] % MODES) {
    case CHUNK:
        read_chunk((uint8_t)p[0], str_n(p + 1, n - 1), &a);
        break;
    case RECORD:
    case SNAPSHOT:
        read_record(data[0] % MODES == SNAPSHOT, str_n(p, n), &a);
        break;
    case LOG:
        read_log(str_n(p, n), &a);
        break;
    case TOMBSTONES:
        read_tombstones(p, n, &a);
        break;
    case HEAD_CHUNKS:
        read_head_chunks(p, n, &a);
        break;
    case INDEX:
        read_index(p, n, &a);
        break;
    default:
        if (prom_meta_read(str_n(p, n), &a, &meta, &why) == OK)
            ASSERT(meta.min_ms <= meta.max_ms);
        break;
    }
    return 0;
}
