/* Writing one segment of metrics (docs/format/tsdb.md). Series come in order of their labels; chunks go to the
 * file at once, everything else is small and is written at the end: symbols, series, identities, postings,
 * timelines, chunk index, information, exemplars, directory. */
#include <roaring/roaring.h>

#include "tsdb/tsdb_int.h"

#define MAP_NAME     u64map
#define MAP_KEY      uint64_t
#define MAP_VALUE    uint32_t
#define MAP_HASH(k)  hash_u64((k) + 0x9e3779b97f4a7c15ull)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

#define SERIES_PAGE_BYTES  (16u << 10)
#define POSTING_INLINE_MAX 16

struct out_timeline {
    size_t at, n; /* in ts */
};
struct out_chunk {
    uint32_t page, off, tl, start, n, flags;
};

struct seg_out {
    struct tsdb *db;
    struct segment_writer *w;
    struct arena a;
    struct symmap syms; /* string -> temporary id */
    VEC(str) sym_text;
    struct pairmap pairs; /* temporary (name, value) -> rows */
    uint64_t pair_bytes;
    struct buf series; /* per row: uvarint n, pairs of temporary ids */
    VEC(uint64_t) ident_lo;
    VEC(uint32_t) ident_hi;
    VEC(uint32_t) info; /* per row */
    struct infomap info_ids;
    VEC(struct series_info) infos;
    VEC(uint32_t) n_chunks; /* per row */
    VEC(struct out_chunk) chunks;
    struct u64map tl_by_id, tl_by_hash;
    VEC(struct out_timeline) timelines;
    VEC(int64_t) ts; /* of all timelines */
    struct buf page; /* of chunks */
    uint32_t page_no;
    struct buf exemplars;
    uint32_t n_exemplars;
    struct buf families;
    uint32_t n_families;
    uint64_t samples;
    int64_t min_ts, max_ts;
    struct rollup_span rollup;
    VEC(int64_t) tmp_ts;
    struct buf dir;
};

enum err seg_out_open(struct tsdb *db, unsigned level, struct seg_out **ret, struct err_text *reterr)
{
    struct seg_out *o = mem_zalloc(sizeof(*o));
    o->db = db;
    enum err e = segment_writer_open(db->st, STORE_METRICS, level, &o->w, reterr);
    if (e) {
        mem_free(o);
        return e;
    }
    arena_init(&o->a, 0);
    o->min_ts = INT64_MAX;
    o->max_ts = INT64_MIN;
    vec_push(&o->infos, ((struct series_info){ 0 }));
    segment_section_begin(o->w, SEG_CHUNKS, 0);
    return *ret = o, OK;
}

static void out_free(struct seg_out *o)
{
    arena_deinit(&o->a);
    symmap_free(&o->syms);
    vec_free(&o->sym_text);
    map_each (pairmap, s, &o->pairs)
        plist_free(&s->value);
    pairmap_free(&o->pairs);
    buf_deinit(&o->series);
    vec_free(&o->ident_lo);
    vec_free(&o->ident_hi);
    vec_free(&o->info);
    infomap_free(&o->info_ids);
    vec_free(&o->infos);
    vec_free(&o->n_chunks);
    vec_free(&o->chunks);
    u64map_free(&o->tl_by_id);
    u64map_free(&o->tl_by_hash);
    vec_free(&o->timelines);
    vec_free(&o->ts);
    buf_deinit(&o->page);
    buf_deinit(&o->exemplars);
    buf_deinit(&o->families);
    buf_deinit(&o->dir);
    vec_free(&o->tmp_ts);
    mem_free(o);
}

void seg_out_abort(struct seg_out *o)
{
    if (!o)
        return;
    segment_abort(o->w);
    out_free(o);
}

uint64_t seg_out_samples(const struct seg_out *o)
{
    return o->samples;
}

size_t seg_out_times(const struct seg_out *o)
{
    return o->ts.n;
}

/* ---- series ---- */
static uint32_t out_sym(struct seg_out *o, str s)
{
    uint32_t *have = symmap_get(&o->syms, s);
    if (have)
        return *have;
    str copy = arena_str(&o->a, s);
    uint32_t id = (uint32_t)o->sym_text.n;
    vec_push(&o->sym_text, copy);
    *symmap_put(&o->syms, copy, NULL) = id;
    return id;
}

static uint32_t out_info(struct seg_out *o, const struct series_info *i)
{
    if (!i->type && !i->temporality && !i->resource.n)
        return 0;
    AUTO_BUF struct buf key = { 0 };
    buf_u8(&key, i->type);
    buf_u8(&key, i->temporality);
    buf_str_add(&key, i->resource);
    uint32_t *have = infomap_get(&o->info_ids, buf_str(&key));
    if (have)
        return *have;
    str copy = arena_str(&o->a, buf_str(&key));
    uint32_t id = (uint32_t)o->infos.n;
    vec_push(&o->infos, ((struct series_info){ i->type, i->temporality, str_skip(copy, 2) }));
    *infomap_put(&o->info_ids, copy, NULL) = id;
    return id;
}

void seg_out_series(struct seg_out *o, struct labels ls, hash128 id, const struct series_info *info)
{
    uint32_t row = (uint32_t)o->ident_lo.n;
    vec_push(&o->ident_lo, id.lo);
    vec_push(&o->ident_hi, (uint32_t)id.hi);
    vec_push(&o->info, out_info(o, info));
    vec_push(&o->n_chunks, 0);
    buf_uvarint(&o->series, ls.n);
    labels_each (l, ls) {
        uint32_t name = out_sym(o, l->name), value = out_sym(o, l->value);
        buf_uvarint(&o->series, name);
        buf_uvarint(&o->series, value);
        plist_add(pairmap_put(&o->pairs, (uint64_t)name << 32 | value, NULL), row, &o->pair_bytes);
    }
}

/* ---- points ---- */
static uint32_t out_timeline(struct seg_out *o, const struct tsdb_points *p)
{
    bool is_new;
    if (p->timeline) {
        uint32_t *have = u64map_get(&o->tl_by_id, p->timeline);
        if (have)
            return *have;
    }
    uint64_t h = hash64(str_n((const char *)p->ts, p->n * 8));
    uint32_t *v = u64map_put(&o->tl_by_hash, h, &is_new), id;
    if (!is_new) {
        struct out_timeline *t = &o->timelines.p[*v];
        if (t->n == p->n && memcmp(o->ts.p + t->at, p->ts, p->n * 8) == 0) {
            id = *v;
            if (p->timeline)
                *u64map_put(&o->tl_by_id, p->timeline, NULL) = id;
            return id;
        }
    }
    id = (uint32_t)o->timelines.n;
    *v = id;
    vec_push(&o->timelines, ((struct out_timeline){ o->ts.n, p->n }));
    vec_reserve(&o->ts, o->ts.n + p->n);
    memcpy(o->ts.p + o->ts.n, p->ts, p->n * 8);
    o->ts.n += p->n;
    if (p->timeline)
        *u64map_put(&o->tl_by_id, p->timeline, NULL) = id;
    return id;
}

static bool any_start(const int64_t *start, size_t n)
{
    for (size_t i = 0; start && i < n; i++)
        if (start[i])
            return true;
    return false;
}

static void end_chunk(struct seg_out *o, const struct out_chunk *c)
{
    vec_push(&o->chunks, *c);
    vec_last(&o->n_chunks)++;
    if (o->page.n >= SEGMENT_PAGE_BYTES) {
        segment_page_add(o->w, buf_str(&o->page), SEGMENT_PAGE_ZSTD);
        buf_clear(&o->page);
        o->page_no++;
    }
}

static void put_chunk(struct seg_out *o, const struct tsdb_points *p, size_t at, size_t n, uint32_t tl)
{
    struct out_chunk c = { o->page_no, (uint32_t)o->page.n, tl, (uint32_t)at, (uint32_t)n, 0 };
    if (p->h && p->h[at]) {
        c.flags |= SEG_CHUNK_HIST;
        hist_chunk_encode(&o->page, p->h + at, n);
    } else {
        codec_f64_encode(&o->page, p->v + at, n);
    }
    if (any_start(p->start_ms ? p->start_ms + at : NULL, n)) {
        c.flags |= SEG_CHUNK_START;
        codec_i64_encode(&o->page, p->start_ms + at, n);
    }
    end_chunk(o, &c);
}

void seg_out_points(struct seg_out *o, const struct tsdb_points *p)
{
    if (!p->n)
        return;
    uint32_t tl = out_timeline(o, p);
    o->min_ts = MIN(o->min_ts, p->ts[0]);
    o->max_ts = MAX(o->max_ts, p->ts[p->n - 1]);
    o->samples += p->n;
    for (size_t i = 0; i < p->n;) {
        bool hist = p->h && p->h[i];
        size_t n = 1;
        while (i + n < p->n && n < SEG_CHUNK_SAMPLES_MAX && (p->h && p->h[i + n]) == hist &&
               (!hist || hist_same_layout(p->h[i], p->h[i + n])))
            n++;
        put_chunk(o, p, i, n, tl);
        i += n;
    }
}

/* ---- windows ---- */
void seg_out_rollup(struct seg_out *o, const struct rollup_span *span)
{
    o->rollup = *span;
}

enum window_time { WINDOW_END, WINDOW_FIRST, WINDOW_LAST, WINDOW_COUNT };

/* Times and counts of windows, as timelines: what the series of one scrape share is stored once. */
static uint32_t window_timeline(struct seg_out *o, const struct rollup *r, size_t n, enum window_time which)
{
    int64_t count = 0;
    vec_clear(&o->tmp_ts);
    vec_reserve(&o->tmp_ts, n);
    for (size_t i = 0; i < n; i++) {
        count += (int64_t)r[i].count + 1; /* ascends even if a window has only markers */
        int64_t v[] = { r[i].end_ms, r[i].first_ms, r[i].last_ms, count };
        vec_push(&o->tmp_ts, v[which]);
    }
    return out_timeline(o, &(struct tsdb_points){ .ts = o->tmp_ts.p, .n = n });
}

static void put_windows(struct seg_out *o, const struct rollup *r, size_t at, size_t n, const uint32_t tl[4])
{
    struct out_chunk c = {
        o->page_no, (uint32_t)o->page.n, tl[WINDOW_END], (uint32_t)at, (uint32_t)n, SEG_CHUNK_ROLLUP
    };
    for (unsigned k = WINDOW_FIRST; k <= WINDOW_COUNT; k++)
        buf_uvarint(&o->page, tl[k]);
    if (r[at].h) {
        c.flags |= SEG_CHUNK_HIST;
        rollup_hists_encode(&o->page, r + at, n);
    } else {
        rollup_floats_encode(&o->page, r + at, n);
    }
    end_chunk(o, &c);
}

static void put_kind(struct seg_out *o, const struct rollup *r, size_t n)
{
    uint32_t tl[4];
    for (unsigned k = 0; k < 4; k++)
        tl[k] = window_timeline(o, r, n, k);
    for (size_t i = 0; i < n;) {
        size_t k = 1;
        while (i + k < n && k < SEG_CHUNK_SAMPLES_MAX && (!r[i].h || hist_same_layout(r[i].h, r[i + k].h)))
            k++;
        put_windows(o, r, i, k, tl);
        i += k;
    }
}

void seg_out_windows(struct seg_out *o, const struct rollup *r, size_t n)
{
    struct rollup *one = mem_alloc((n + 1) * sizeof(*one));
    for (int hist = 0; hist < 2; hist++) {
        size_t k = 0;
        for (size_t i = 0; i < n; i++)
            if (!r[i].h == !hist)
                one[k++] = r[i];
        if (k)
            put_kind(o, one, k);
    }
    mem_free(one);
    for (size_t i = 0; i < n; i++) {
        o->min_ts = MIN(o->min_ts, r[i].first_ms);
        o->max_ts = MAX(o->max_ts, r[i].last_ms);
    }
    o->samples += n;
}

void seg_out_exemplars(struct seg_out *o, const struct exemplar *e, size_t n)
{
    uint32_t row = (uint32_t)o->ident_lo.n - 1;
    for (size_t i = 0; i < n; i++) {
        buf_uvarint(&o->exemplars, row);
        buf_svarint(&o->exemplars, e[i].ts_ms);
        buf_f64(&o->exemplars, e[i].v);
        meta_labels_encode(&o->exemplars, e[i].labels);
        o->n_exemplars++;
    }
}

void seg_out_family(struct seg_out *o, str name, const struct metric_meta *m)
{
    buf_lstr(&o->families, name);
    buf_u8(&o->families, (uint8_t)m->type);
    buf_lstr(&o->families, m->help);
    buf_lstr(&o->families, m->unit);
    o->n_families++;
}

/* ---- the rest, at the end ---- */
struct pages_out { /* a section in the making, with its part of the directory */
    struct seg_out *o;
    struct buf page;
    uint32_t rows_before, n_pages;
    struct buf dir;
};

static void pages_begin(struct pages_out *s, struct seg_out *o, enum seg_kind kind)
{
    memset(s, 0, sizeof(*s));
    s->o = o;
    segment_section_begin(o->w, kind, 0);
}

static void pages_cut(struct pages_out *s, uint32_t rows_end, unsigned flags)
{
    if (!s->page.n)
        return;
    segment_page_add(s->o->w, buf_str(&s->page), flags);
    buf_clear(&s->page);
    buf_uvarint(&s->dir, rows_end - s->rows_before);
    s->rows_before = rows_end;
    s->n_pages++;
}

static void pages_end(struct pages_out *s, uint32_t rows)
{
    segment_section_end(s->o->w, rows, 0, 0, 0);
    buf_uvarint(&s->o->dir, s->n_pages);
    buf_str_add(&s->o->dir, buf_str(&s->dir));
    buf_deinit(&s->page);
    buf_deinit(&s->dir);
}

struct sym_order {
    str s;
    uint32_t id;
};
static int cmp_sym(const void *a, const void *b)
{
    return str_cmp(((const struct sym_order *)a)->s, ((const struct sym_order *)b)->s);
}

/* Sorted symbols; map[temporary] = final. */
static void write_symbols(struct seg_out *o, uint32_t *map)
{
    uint32_t n = (uint32_t)o->sym_text.n;
    struct sym_order *v = mem_alloc((n + 1) * sizeof(*v));
    str *sorted = mem_alloc((n + 1) * sizeof(*sorted));
    for (uint32_t i = 0; i < n; i++)
        v[i] = (struct sym_order){ o->sym_text.p[i], i };
    qsort(v, n, sizeof(*v), cmp_sym);
    struct pages_out s;
    pages_begin(&s, o, SEG_SYMBOLS);
    AUTO_BUF struct buf firsts = { 0 };
    uint32_t from = 0;
    size_t bytes = 0;
    for (uint32_t i = 0; i < n; i++) {
        map[v[i].id] = i;
        sorted[i] = v[i].s;
        bytes += v[i].s.n + 2;
        if (bytes >= SEG_SYMBOL_PAGE || i + 1 == n) {
            codec_dict_encode(&s.page, sorted + from, i + 1 - from);
            buf_lstr(&firsts, sorted[from]);
            pages_cut(&s, i + 1, SEGMENT_PAGE_ZSTD);
            from = i + 1;
            bytes = 0;
        }
    }
    pages_end(&s, n);
    buf_str_add(&o->dir, buf_str(&firsts));
    mem_free(v);
    mem_free(sorted);
}

static void write_series(struct seg_out *o, const uint32_t *map)
{
    struct pages_out s;
    pages_begin(&s, o, SEG_SERIES);
    struct rd r = rd_init(buf_str(&o->series));
    VEC(uint32_t) cur = { 0 }, prev = { 0 };
    uint32_t n = (uint32_t)o->ident_lo.n;
    for (uint32_t row = 0; row < n; row++) {
        size_t k = (size_t)rd_uvarint(&r) * 2, same = 0;
        vec_clear(&cur);
        for (size_t i = 0; i < k; i++)
            vec_push(&cur, map[rd_uvarint(&r)]);
        if (s.page.n)
            while (same < MIN(cur.n, prev.n) && cur.p[same] == prev.p[same])
                same++;
        buf_uvarint(&s.page, k / 2);
        buf_uvarint(&s.page, same);
        for (size_t i = same; i < k; i++)
            buf_uvarint(&s.page, cur.p[i]);
        vec_clear(&prev);
        vec_each (uint32_t, x, &cur)
            vec_push(&prev, *x);
        if (s.page.n >= SERIES_PAGE_BYTES || row + 1 == n)
            pages_cut(&s, row + 1, SEGMENT_PAGE_ZSTD);
    }
    pages_end(&s, n);
    vec_free(&cur);
    vec_free(&prev);
}

static void write_ident(struct seg_out *o)
{
    struct pages_out s;
    pages_begin(&s, o, SEG_IDENT);
    uint32_t n = (uint32_t)o->ident_lo.n;
    for (uint32_t from = 0; from < n; from += SEG_IDENT_ROWS) {
        uint32_t k = MIN(n - from, SEG_IDENT_ROWS);
        buf_add(&s.page, o->ident_lo.p + from, k * 8);
        buf_add(&s.page, o->ident_hi.p + from, k * 4);
        pages_cut(&s, from + k, 0);
    }
    pages_end(&s, n);
}

struct pair_out {
    uint64_t key;
    const struct plist *l;
};
static int cmp_pair(const void *a, const void *b)
{
    uint64_t x = ((const struct pair_out *)a)->key, y = ((const struct pair_out *)b)->key;
    return (x > y) - (x < y);
}

static void put_posting(struct buf *page, uint64_t key, const struct plist *l)
{
    buf_uvarint(page, key >> 32);
    buf_uvarint(page, key & 0xffffffff);
    buf_uvarint(page, l->n);
    roaring_bitmap_t *b = plist_bitmap(l);
    if (l->n <= POSTING_INLINE_MAX) {
        uint32_t ids[POSTING_INLINE_MAX], prev = 0;
        roaring_bitmap_to_uint32_array(b, ids);
        for (uint32_t i = 0; i < l->n; i++) {
            buf_uvarint(page, ids[i] - prev);
            prev = ids[i];
        }
    } else {
        roaring_bitmap_run_optimize(b);
        size_t n = roaring_bitmap_portable_size_in_bytes(b);
        buf_uvarint(page, n);
        if (buf_reserve(page, n)) {
            roaring_bitmap_portable_serialize(b, page->p + page->n);
            page->n += n;
        }
    }
    roaring_bitmap_free(b);
}

static void write_postings(struct seg_out *o, const uint32_t *map)
{
    size_t n = 0;
    struct pair_out *v = mem_alloc((o->pairs.n + 1) * sizeof(*v));
    map_each (pairmap, s, &o->pairs) {
        v[n].key = (uint64_t)map[s->key >> 32] << 32 | map[s->key & 0xffffffff];
        v[n++].l = &s->value;
    }
    qsort(v, n, sizeof(*v), cmp_pair);
    struct pages_out s;
    pages_begin(&s, o, SEG_POSTINGS);
    AUTO_BUF struct buf firsts = { 0 };
    for (size_t i = 0; i < n; i++) {
        if (!s.page.n) {
            buf_uvarint(&firsts, v[i].key >> 32);
            buf_uvarint(&firsts, v[i].key & 0xffffffff);
        }
        put_posting(&s.page, v[i].key, v[i].l);
        if (s.page.n >= SEG_POSTINGS_PAGE || i + 1 == n)
            pages_cut(&s, (uint32_t)i + 1, SEGMENT_PAGE_ZSTD);
    }
    pages_end(&s, (uint32_t)n);
    buf_str_add(&o->dir, buf_str(&firsts));
    mem_free(v);
}

static void write_timelines(struct seg_out *o)
{
    struct pages_out s;
    pages_begin(&s, o, SEG_TIMELINES);
    uint32_t n = (uint32_t)o->timelines.n;
    AUTO_BUF struct buf body = { 0 };
    AUTO_BUF struct buf offs = { 0 };
    uint32_t from = 0;
    for (uint32_t i = 0; i < n; i++) { /* page: u32 count, u32 offset each, then (u32 entries, codec_ts) each */
        buf_u32(&offs, (uint32_t)body.n);
        buf_u32(&body, (uint32_t)o->timelines.p[i].n);
        codec_ts_encode(&body, o->ts.p + o->timelines.p[i].at, o->timelines.p[i].n);
        if (body.n >= SEG_SYMBOL_PAGE || i + 1 == n) {
            buf_u32(&s.page, i + 1 - from);
            buf_str_add(&s.page, buf_str(&offs));
            buf_str_add(&s.page, buf_str(&body));
            pages_cut(&s, i + 1, SEGMENT_PAGE_ZSTD);
            buf_clear(&body);
            buf_clear(&offs);
            from = i + 1;
        }
    }
    pages_end(&s, n);
}

static void write_index(struct seg_out *o)
{
    struct pages_out s;
    pages_begin(&s, o, SEG_INDEX);
    uint32_t n = (uint32_t)o->n_chunks.n, *col = mem_alloc((o->chunks.n + SEG_INDEX_ROWS + 1) * sizeof(*col));
    size_t at = 0;
    for (uint32_t from = 0; from < n; from += SEG_INDEX_ROWS) {
        uint32_t rows = MIN(n - from, SEG_INDEX_ROWS);
        size_t k = 0;
        for (uint32_t i = 0; i < rows; i++)
            k += o->n_chunks.p[from + i];
        buf_u32(&s.page, (uint32_t)k);
        codec_u32_encode(&s.page, o->n_chunks.p + from, rows);
        const struct out_chunk *c = o->chunks.p + at;
#define COLUMN(field)                      \
    do {                                   \
        for (size_t i = 0; i < k; i++)     \
            col[i] = c[i].field;           \
        codec_u32_encode(&s.page, col, k); \
    } while (0)
        COLUMN(page);
        COLUMN(off);
        COLUMN(tl);
        COLUMN(start);
        COLUMN(n);
        COLUMN(flags);
#undef COLUMN
        at += k;
        pages_cut(&s, from + rows, SEGMENT_PAGE_ZSTD);
    }
    pages_end(&s, n);
    mem_free(col);
}

static void write_blob(struct seg_out *o, enum seg_kind kind, struct buf *b, uint32_t rows)
{
    segment_section_begin(o->w, kind, 0);
    for (size_t at = 0; at < b->n; at += SEGMENT_PAGE_BYTES_MAX / 4)
        segment_page_add(o->w, str_take(str_skip(buf_str(b), at), SEGMENT_PAGE_BYTES_MAX / 4), SEGMENT_PAGE_ZSTD);
    segment_section_end(o->w, rows, 0, 0, 0);
}

static void write_info(struct seg_out *o)
{
    AUTO_BUF struct buf b = { 0 };
    buf_uvarint(&b, o->infos.n - 1);
    for (size_t i = 1; i < o->infos.n; i++) {
        buf_u8(&b, o->infos.p[i].type);
        buf_u8(&b, o->infos.p[i].temporality);
        buf_lstr(&b, o->infos.p[i].resource);
    }
    codec_u32_encode(&b, o->info.p, o->info.n);
    write_blob(o, SEG_INFO, &b, (uint32_t)o->info.n);
}

enum err seg_out_finish(struct seg_out *o, uint64_t lsn_first, uint64_t lsn_last, struct segment_writer **ret,
                        struct err_text *reterr)
{
    if (o->page.n)
        segment_page_add(o->w, buf_str(&o->page), SEGMENT_PAGE_ZSTD);
    segment_section_end(o->w, o->samples, o->min_ts, o->max_ts, 0);
    uint32_t *map = mem_alloc((o->sym_text.n + 1) * sizeof(*map));
    write_symbols(o, map);
    write_series(o, map);
    write_ident(o);
    write_postings(o, map);
    mem_free(map);
    write_timelines(o);
    write_index(o);
    write_info(o);
    if (o->n_families)
        write_blob(o, SEG_FAMILIES, &o->families, o->n_families);
    if (o->n_exemplars)
        write_blob(o, SEG_EXEMPLARS, &o->exemplars, o->n_exemplars);
    if (o->rollup.res_ms) {
        AUTO_BUF struct buf b = { 0 };
        buf_uvarint(&b, (uint64_t)o->rollup.res_ms);
        buf_svarint(&b, o->rollup.from_ms);
        buf_svarint(&b, o->rollup.to_ms);
        buf_u64(&b, o->rollup.filter);
        write_blob(o, SEG_ROLLUP, &b, 1);
    }
    AUTO_BUF struct buf toc = { 0 };
    buf_u32(&toc, o->rollup.res_ms ? SEG_LAYOUT_ROLLUP : SEG_LAYOUT);
    buf_u32(&toc, (uint32_t)o->ident_lo.n);
    buf_u32(&toc, (uint32_t)o->sym_text.n);
    buf_u32(&toc, (uint32_t)o->timelines.n);
    buf_u64(&toc, o->samples);
    buf_str_add(&toc, buf_str(&o->dir));
    write_blob(o, SEG_TOC, &toc, 1);
    struct segment_meta meta = {
        .min_time = o->min_ts, .max_time = o->max_ts, .lsn_first = lsn_first, .lsn_last = lsn_last, .rows = o->samples
    };
    enum err e = segment_finish(o->w, &meta, reterr);
    if (e)
        segment_abort(o->w);
    else
        *ret = o->w;
    out_free(o);
    return e;
}
