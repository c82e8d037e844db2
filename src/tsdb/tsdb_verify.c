/* fsck of metrics: looks at everything a segment or a log record holds and at how its parts agree. */
#include <roaring/roaring.h>

#include "tsdb/tsdb_int.h"

#define FAIL(...) return err_fail(reterr, ERR_CORRUPT, __VA_ARGS__)

struct verify {
    const struct tsdb_seg *s;
    struct seg_ctx ctx;
    struct arena a, one; /* of the segment, of one chunk or series */
    struct page_buf b;
    uint64_t samples, pairs;
    const int64_t **tl; /* of rollups */
};

static enum err verify_series(struct verify *v, struct err_text *reterr)
{
    struct labels prev = LABELS_NONE;
    AUTO_ARENA struct arena keep; /* the labels before */
    arena_init(&keep, 0);
    for (uint32_t row = 0; row < v->s->n_series; row++) {
        struct labels ls;
        hash128 id;
        struct series_info info;
        if (seg_labels(&v->ctx, row, &v->one, &ls) || seg_ident(&v->ctx, row, &id) ||
            seg_series_info(&v->ctx, row, &info))
            FAIL("series %u cannot be read", row);
        if (!ls.n || (row && labels_cmp(prev, ls) >= 0))
            FAIL("series %u is out of order", row);
        v->pairs += ls.n;
        arena_reset(&keep);
        prev = labels_copy(&keep, ls);
        arena_reset(&v->one);
    }
    return OK;
}

static enum err verify_postings(struct verify *v, struct err_text *reterr)
{
    uint32_t *names, *values;
    size_t n_names, n_values;
    uint64_t pairs = 0;
    if (seg_values(&v->ctx, STR_NONE, &v->a, &names, &n_names))
        FAIL("the postings cannot be read");
    for (size_t i = 0; i < n_names; i++) {
        str name, value;
        if (seg_symbol(&v->ctx, names[i], &name) || seg_values(&v->ctx, name, &v->a, &values, &n_values))
            FAIL("the postings of label %zu cannot be read", i);
        for (size_t k = 0; k < n_values; k++) {
            if (seg_symbol(&v->ctx, values[k], &value))
                FAIL("a symbol cannot be read");
            struct matcher m = { .type = MATCH_EQ, .name = name, .value = value };
            roaring_bitmap_t *b;
            if (seg_select(&v->ctx, &m, 1, &b))
                FAIL("the postings of " STR_FMT " cannot be read", STR_ARG(str_take(name, 100)));
            pairs += roaring_bitmap_get_cardinality(b);
            roaring_bitmap_free(b);
        }
    }
    if (pairs != v->pairs)
        FAIL("postings name %llu label pairs, series have %llu", (unsigned long long)pairs,
             (unsigned long long)v->pairs);
    return OK;
}

static enum err verify_windows(struct verify *v, const struct seg_chunk *c, str in, const uint32_t *tl_n,
                               struct err_text *reterr)
{
    struct rd r = rd_init(in);
    const int64_t *tl[4] = { v->tl[c->tl] };
    for (unsigned i = 1; i < 4; i++) {
        uint64_t id = rd_uvarint(&r);
        if (!rd_ok(&r) || id >= v->s->n_timelines || c->start > tl_n[id] || c->n > tl_n[id] - c->start)
            FAIL("a chunk of windows points outside");
        tl[i] = v->tl[id];
    }
    struct rollup *w = arena_array(&v->one, struct rollup, c->n);
    for (uint32_t i = 0; i < c->n; i++)
        if (!rollup_times(&v->s->rollup, tl, c->start + i, &w[i]))
            FAIL("a window's times do not fit");
    in = str_n(r.p, rd_left(&r));
    if (c->flags & SEG_CHUNK_HIST ? rollup_hists_decode(in, c->n, &v->one, w) : rollup_floats_decode(in, c->n, w))
        FAIL("a chunk of windows cannot be decoded");
    v->samples += c->n;
    return OK;
}

static enum err verify_chunk(struct verify *v, const struct seg_chunk *c, str raw, const uint32_t *tl_n,
                             struct err_text *reterr)
{
    if (c->tl >= v->s->n_timelines || c->start > tl_n[c->tl] || c->n > tl_n[c->tl] - c->start || !c->n ||
        c->off >= raw.n)
        FAIL("a chunk points outside");
    str in = str_skip(raw, c->off);
    size_t used;
    arena_reset(&v->one);
    if (!(c->flags & SEG_CHUNK_ROLLUP) != !v->s->rollup.res_ms)
        FAIL("a chunk is of the wrong kind");
    if (c->flags & SEG_CHUNK_ROLLUP)
        return verify_windows(v, c, in, tl_n, reterr);
    if (c->flags & SEG_CHUNK_HIST) {
        struct rd r = rd_init(in);
        struct histogram *h;
        if (hist_chunk_decode(&r, c->n, &v->one, &h))
            FAIL("a chunk of histograms cannot be decoded");
        in = str_n(r.p, rd_left(&r));
    } else {
        if (codec_f64_decode(in, c->n, arena_array(&v->one, double, c->n), &used))
            FAIL("a chunk cannot be decoded");
        in = str_skip(in, used);
    }
    if ((c->flags & SEG_CHUNK_START) && codec_i64_decode(in, c->n, arena_array(&v->one, int64_t, c->n), NULL))
        FAIL("the start timestamps of a chunk cannot be decoded");
    v->samples += c->n;
    return OK;
}

static enum err verify_chunks(struct verify *v, struct err_text *reterr)
{
    const struct tsdb_seg *s = v->s;
    uint32_t *tl_n = arena_array(&v->a, uint32_t, s->n_timelines + 1);
    v->tl = arena_zarray(&v->a, const int64_t *, s->n_timelines + 1);
    for (uint32_t i = 0; i < s->n_timelines; i++) {
        int64_t *ts;
        if (seg_timeline(s, i, &v->b, &ts, &tl_n[i]))
            FAIL("timeline %u cannot be read", i);
        if (s->rollup.res_ms)
            v->tl[i] = memcpy(arena_array(&v->a, int64_t, tl_n[i]), ts, tl_n[i] * sizeof(*ts));
        mem_free(ts);
    }
    struct seg_index_page *ip = arena_new(&v->a, struct seg_index_page);
    struct page_buf chunk_buf = { 0 };
    uint32_t page = UINT32_MAX;
    str raw = STR_NONE;
    enum err e = OK;
    ip->page = UINT32_MAX;
    for (uint32_t row = 0; row < s->n_series && !e; row += SEG_INDEX_ROWS) {
        e = seg_index_load(s, row, ip, &v->b);
        for (uint32_t i = 0; i < ip->n_chunks && !e; i++) {
            const struct seg_chunk *c = &ip->chunks[i];
            if (c->page != page) {
                page = c->page;
                e = page < s->n_chunk_pages ? segment_page_read(s->seg, s->chunk_page + page, &chunk_buf, &raw)
                                            : ERR_CORRUPT;
            }
            e = e ? e : verify_chunk(v, c, raw, tl_n, reterr);
        }
    }
    page_buf_deinit(&chunk_buf);
    mem_free(ip->chunks);
    mem_free(ip->col);
    if (!e && v->samples != s->samples)
        FAIL("%llu samples, the directory says %llu", (unsigned long long)v->samples, (unsigned long long)s->samples);
    return e;
}

static enum err verify_rest(struct verify *v, struct err_text *reterr)
{
    str raw;
    if (seg_blob(v->s->seg, SEG_FAMILIES, &v->a, &raw))
        FAIL("the metadata cannot be read");
    struct rd r = rd_init(raw);
    while (rd_left(&r)) {
        rd_lstr(&r);
        rd_u8(&r);
        rd_lstr(&r);
        rd_lstr(&r);
    }
    if (!rd_ok(&r) || seg_blob(v->s->seg, SEG_EXEMPLARS, &v->a, &raw))
        FAIL("the metadata cannot be read");
    r = rd_init(raw);
    while (rd_left(&r)) {
        struct labels ls;
        uint64_t row = rd_uvarint(&r);
        rd_svarint(&r);
        rd_f64(&r);
        if (row >= v->s->n_series || !meta_labels_decode(&r, &v->a, &ls))
            FAIL("the exemplars cannot be read");
    }
    return rd_ok(&r) ? OK : err_fail(reterr, ERR_CORRUPT, "the exemplars cannot be read");
}

enum err tsdb_segment_verify(struct segment *seg, struct err_text *reterr)
{
    void *user;
    TRY(seg_open_hook(NULL, seg, &user, reterr));
    struct verify v = { .s = user };
    arena_init(&v.a, 0);
    arena_init(&v.one, 0);
    seg_ctx_init(&v.ctx, v.s, &v.a);
    enum err e = verify_series(&v, reterr);
    e = e ? e : verify_postings(&v, reterr);
    e = e ? e : verify_chunks(&v, reterr);
    e = e ? e : verify_rest(&v, reterr);
    seg_ctx_deinit(&v.ctx);
    page_buf_deinit(&v.b);
    arena_deinit(&v.a);
    arena_deinit(&v.one);
    seg_close_hook(user);
    return e;
}
