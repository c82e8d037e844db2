/* Reading a segment of metrics (docs/format/tsdb.md). Opening parses the directory only; pages are inflated when
 * they are touched. Every number from the file is checked before it is used: damage is ERR_CORRUPT, never a
 * wrong answer. */
#include <roaring/roaring.h>

#include "tsdb/tsdb_int.h"

enum err seg_blob(const struct segment *seg, enum seg_kind kind, struct arena *a, str *ret)
{
    const struct segment_section *sec = segment_section_find(seg, kind, 0);
    *ret = STR_NONE;
    if (!sec)
        return OK;
    size_t n = 0;
    for (uint32_t i = 0; i < sec->n_pages; i++)
        n += segment_page_raw_len(seg, sec->page_first + i);
    char *p = arena_alloc(a, n + 1);
    size_t at = 0;
    struct page_buf b = { 0 };
    enum err e = OK;
    for (uint32_t i = 0; i < sec->n_pages && !e; i++) {
        str raw;
        e = segment_page_read(seg, sec->page_first + i, &b, &raw);
        if (!e && raw.n > n - at)
            e = ERR_CORRUPT;
        if (!e) {
            memcpy(p + at, raw.p, raw.n);
            at += raw.n;
        }
    }
    page_buf_deinit(&b);
    *ret = str_n(p, at);
    return e;
}

/* ---- opening ---- */
static bool dir_section(struct tsdb_seg *s, struct rd *r, enum seg_kind kind, struct seg_pages *ret, uint32_t rows)
{
    const struct segment_section *sec = segment_section_find(s->seg, kind, 0);
    uint64_t n = rd_uvarint(r);
    if (!sec || n != sec->n_pages)
        return false;
    ret->page_first = sec->page_first;
    ret->n = (uint32_t)n;
    ret->first = arena_array(&s->a, uint32_t, n + 1);
    uint64_t at = 0;
    for (uint64_t i = 0; i < n; i++) {
        ret->first[i] = (uint32_t)at;
        uint64_t k = rd_uvarint(r);
        if (!k || k > UINT32_MAX || (at += k) > UINT32_MAX)
            return false;
    }
    ret->first[n] = (uint32_t)at;
    return rd_ok(r) && (rows == UINT32_MAX || at == rows);
}

static bool dir_read(struct tsdb_seg *s, struct rd *r)
{
    if (!dir_section(s, r, SEG_SYMBOLS, &s->symbols, s->n_symbols))
        return false;
    s->symbol_first = arena_array(&s->a, str, s->symbols.n + 1);
    for (uint32_t i = 0; i < s->symbols.n; i++)
        s->symbol_first[i] = arena_str(&s->a, rd_lstr(r));
    if (!dir_section(s, r, SEG_SERIES, &s->series, s->n_series) ||
        !dir_section(s, r, SEG_IDENT, &s->ident, s->n_series) ||
        !dir_section(s, r, SEG_POSTINGS, &s->postings, UINT32_MAX))
        return false;
    s->post_first = arena_array(&s->a, uint64_t, s->postings.n + 1);
    for (uint32_t i = 0; i < s->postings.n; i++) {
        uint64_t name = rd_uvarint(r), value = rd_uvarint(r);
        if (name >= s->n_symbols || value >= s->n_symbols)
            return false;
        s->post_first[i] = name << 32 | value;
    }
    return dir_section(s, r, SEG_TIMELINES, &s->timelines, s->n_timelines) &&
           dir_section(s, r, SEG_INDEX, &s->index, s->n_series) && rd_end(r);
}

static enum err rollup_read_span(struct tsdb_seg *s, struct arena *a)
{
    str raw;
    TRY(seg_blob(s->seg, SEG_ROLLUP, a, &raw));
    struct rd r = rd_init(raw);
    uint64_t res = rd_uvarint(&r);
    s->rollup = (struct rollup_span){ .from_ms = rd_svarint(&r), .to_ms = rd_svarint(&r), .filter = rd_u64(&r) };
    if (!rd_end(&r) || res < ROLLUP_RES_MS_MIN || res > ROLLUP_RES_MS_MAX || s->rollup.from_ms >= s->rollup.to_ms ||
        s->rollup.to_ms > TS_MS_MAX || s->rollup.from_ms < TS_MS_MIN)
        return ERR_CORRUPT;
    s->rollup.res_ms = (int64_t)res;
    return OK;
}

enum err seg_open_hook(void *ctx, struct segment *seg, void **ret_user, struct err_text *reterr)
{
    (void)ctx;
    struct tsdb_seg *s = mem_zalloc(sizeof(*s));
    arena_init(&s->a, 0);
    mtx_init(&s->tomb_mu, 158);
    s->seg = seg;
    AUTO_ARENA struct arena tmp;
    arena_init(&tmp, 0);
    str toc;
    enum err e = seg_blob(seg, SEG_TOC, &tmp, &toc);
    struct rd r = rd_init(toc);
    uint32_t version = rd_u32(&r);
    if (!e && rd_ok(&r) && version > SEG_LAYOUT_ROLLUP)
        e = err_fail(reterr, ERR_UNSUPPORTED, "layout %u of a metrics segment is newer than this program", version);
    s->n_series = rd_u32(&r);
    s->n_symbols = rd_u32(&r);
    s->n_timelines = rd_u32(&r);
    s->samples = rd_u64(&r);
    const struct segment_section *chunks = segment_section_find(seg, SEG_CHUNKS, 0);
    if (!e && (!rd_ok(&r) || !chunks || !dir_read(s, &r)))
        e = err_fail(reterr, ERR_CORRUPT, "the directory of the segment is damaged");
    if (!e && version == SEG_LAYOUT_ROLLUP && rollup_read_span(s, &tmp))
        e = err_fail(reterr, ERR_CORRUPT, "the segment does not say which windows it holds");
    if (e) {
        seg_close_hook(s);
        return e;
    }
    s->chunk_page = chunks->page_first;
    s->n_chunk_pages = chunks->n_pages;
    *ret_user = s;
    return OK;
}

void seg_close_hook(void *user)
{
    struct tsdb_seg *s = user;
    if (!s)
        return;
    seg_tombs_free(s);
    seg_keeps_free(s);
    mtx_deinit(&s->tomb_mu);
    arena_deinit(&s->a);
    mem_free(s);
}

uint32_t seg_page_of(const struct seg_pages *p, uint32_t row)
{
    uint32_t lo = 0, hi = p->n;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (p->first[mid] <= row)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* ---- symbols ---- */
void seg_ctx_init(struct seg_ctx *c, const struct tsdb_seg *s, struct arena *a)
{
    memset(c, 0, sizeof(*c));
    c->s = s;
    c->a = a;
    c->series_page = c->ident_page = UINT32_MAX;
}

void seg_ctx_deinit(struct seg_ctx *c)
{
    page_buf_deinit(&c->page);
    page_buf_deinit(&c->post);
    page_buf_deinit(&c->ident_buf);
    vec_free(&c->pairs);
    vec_free(&c->pair_at);
}

static enum err symbol_page(struct seg_ctx *c, uint32_t page, str **ret)
{
    const struct tsdb_seg *s = c->s;
    if (!c->sym_cache)
        c->sym_cache = arena_zarray(c->a, str *, s->symbols.n + 1);
    if (!c->sym_cache[page]) {
        str raw;
        struct codec_dict d;
        TRY(segment_page_read(s->seg, s->symbols.page_first + page, &c->page, &raw));
        TRY(codec_dict_open(raw, &d, NULL));
        if (d.n != s->symbols.first[page + 1] - s->symbols.first[page])
            return ERR_CORRUPT;
        str *all;
        TRY(codec_dict_all(&d, c->a, &all));
        for (uint32_t i = 0; i < d.n; i++) { /* the page buffer is reused */
            if (all[i].p >= raw.p && all[i].p < raw.p + raw.n)
                all[i] = arena_str(c->a, all[i]);
        }
        c->sym_cache[page] = all;
    }
    *ret = c->sym_cache[page];
    return OK;
}

enum err seg_symbol(struct seg_ctx *c, uint32_t sym, str *ret)
{
    if (sym >= c->s->n_symbols)
        return ERR_CORRUPT;
    uint32_t page = seg_page_of(&c->s->symbols, sym);
    str *all;
    TRY(symbol_page(c, page, &all));
    *ret = all[sym - c->s->symbols.first[page]];
    return OK;
}

/* First symbol >= key. */
static enum err symbol_lower_bound(struct seg_ctx *c, str key, uint32_t *ret, bool *ret_equal)
{
    const struct tsdb_seg *s = c->s;
    uint32_t lo = 0, hi = s->symbols.n;
    *ret_equal = false;
    *ret = 0;
    if (hi == 0 || str_cmp(key, s->symbol_first[0]) < 0)
        return OK;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (str_cmp(s->symbol_first[mid], key) <= 0)
            lo = mid;
        else
            hi = mid;
    }
    str *all;
    TRY(symbol_page(c, lo, &all));
    uint32_t a = 0, b = s->symbols.first[lo + 1] - s->symbols.first[lo];
    while (a < b) {
        uint32_t mid = a + (b - a) / 2;
        int x = str_cmp(all[mid], key);
        if (x == 0) {
            *ret_equal = true;
            *ret = s->symbols.first[lo] + mid;
            return OK;
        }
        if (x < 0)
            a = mid + 1;
        else
            b = mid;
    }
    *ret = s->symbols.first[lo] + a;
    return OK;
}

enum err seg_symbol_find(struct seg_ctx *c, str key, uint32_t *ret, bool *ret_found)
{
    return symbol_lower_bound(c, key, ret, ret_found);
}

/* ---- series ---- */
static enum err series_page(struct seg_ctx *c, uint32_t page)
{
    const struct tsdb_seg *s = c->s;
    str raw;
    c->series_page = UINT32_MAX;
    TRY(segment_page_read(s->seg, s->series.page_first + page, &c->page, &raw));
    struct rd r = rd_init(raw);
    c->row0 = s->series.first[page];
    c->rows = s->series.first[page + 1] - c->row0;
    vec_clear(&c->pairs);
    vec_clear(&c->pair_at);
    size_t prev = 0, prev_n = 0;
    for (uint32_t i = 0; i < c->rows; i++) {
        uint64_t n = rd_uvarint(&r), same = rd_uvarint(&r);
        if (!rd_ok(&r) || n > 4096 || same > 2 * n || same > prev_n)
            return ERR_CORRUPT;
        size_t at = c->pairs.n;
        vec_push(&c->pair_at, (uint32_t)at);
        vec_reserve(&c->pairs, at + 2 * n);
        for (uint64_t k = 0; k < same; k++)
            c->pairs.p[at + k] = c->pairs.p[prev + k];
        for (uint64_t k = same; k < 2 * n; k++) {
            uint64_t sym = rd_uvarint(&r);
            if (sym >= s->n_symbols)
                return ERR_CORRUPT;
            c->pairs.p[at + k] = (uint32_t)sym;
        }
        c->pairs.n = at + 2 * n;
        prev = at;
        prev_n = 2 * n;
    }
    vec_push(&c->pair_at, (uint32_t)c->pairs.n);
    if (!rd_end(&r))
        return ERR_CORRUPT;
    c->series_page = page;
    return OK;
}

enum err seg_labels(struct seg_ctx *c, uint32_t row, struct arena *a, struct labels *ret)
{
    if (row >= c->s->n_series)
        return ERR_CORRUPT;
    if (c->series_page == UINT32_MAX || row < c->row0 || row >= c->row0 + c->rows)
        TRY(series_page(c, seg_page_of(&c->s->series, row)));
    uint32_t from = c->pair_at.p[row - c->row0], to = c->pair_at.p[row - c->row0 + 1];
    size_t n = (to - from) / 2;
    struct label *l = arena_array(a, struct label, n + 1);
    for (size_t i = 0; i < n; i++) {
        TRY(seg_symbol(c, c->pairs.p[from + 2 * i], &l[i].name));
        TRY(seg_symbol(c, c->pairs.p[from + 2 * i + 1], &l[i].value));
    }
    *ret = (struct labels){ l, n };
    return OK;
}

enum err seg_ident(struct seg_ctx *c, uint32_t row, hash128 *ret)
{
    const struct tsdb_seg *s = c->s;
    if (row >= s->n_series)
        return ERR_CORRUPT;
    uint32_t page = row / SEG_IDENT_ROWS;
    if (page != c->ident_page) {
        c->ident_page = UINT32_MAX;
        if (page >= s->ident.n || s->ident.first[page] != page * SEG_IDENT_ROWS)
            return ERR_CORRUPT;
        TRY(segment_page_read(s->seg, s->ident.page_first + page, &c->ident_buf, &c->ident_raw));
        if (c->ident_raw.n != 12 * (size_t)(s->ident.first[page + 1] - s->ident.first[page]))
            return ERR_CORRUPT;
        c->ident_page = page;
    }
    uint32_t n = s->ident.first[page + 1] - s->ident.first[page], i = row % SEG_IDENT_ROWS, hi;
    memcpy(&ret->lo, c->ident_raw.p + 8 * (size_t)i, 8);
    memcpy(&hi, c->ident_raw.p + 8 * (size_t)n + 4 * (size_t)i, 4);
    ret->hi = hi;
    return OK;
}

enum err seg_series_info(struct seg_ctx *c, uint32_t row, struct series_info *ret)
{
    if (!c->info) {
        str raw;
        TRY(seg_blob(c->s->seg, SEG_INFO, c->a, &raw));
        struct rd r = rd_init(raw);
        uint64_t n = rd_uvarint(&r);
        if (n > rd_left(&r))
            return ERR_CORRUPT;
        struct series_info *infos = arena_zarray(c->a, struct series_info, n + 1);
        for (uint64_t i = 1; i <= n; i++) {
            infos[i].type = rd_u8(&r);
            infos[i].temporality = rd_u8(&r);
            infos[i].resource = rd_lstr(&r);
        }
        if (!rd_ok(&r))
            return ERR_CORRUPT;
        uint32_t *info = arena_array(c->a, uint32_t, c->s->n_series + 1);
        TRY(codec_u32_decode(str_n(r.p, rd_left(&r)), c->s->n_series, info, NULL));
        c->infos = infos;
        c->n_infos = (uint32_t)n + 1;
        c->info = info;
    }
    if (row >= c->s->n_series || c->info[row] >= c->n_infos)
        return ERR_CORRUPT;
    *ret = c->infos[c->info[row]];
    return OK;
}

/* ---- postings ---- */
struct post {
    uint64_t key;
    uint64_t n; /* cardinality */
    str body;   /* inline: differences; else a bitmap */
};

static bool post_next(struct rd *r, struct post *ret)
{
    uint64_t name = rd_uvarint(r), value = rd_uvarint(r);
    ret->key = name << 32 | value;
    ret->n = rd_uvarint(r);
    if (name > UINT32_MAX || value > UINT32_MAX || !ret->n)
        return false;
    if (ret->n <= 16) {
        const char *from = r->p;
        for (uint64_t i = 0; i < ret->n; i++)
            rd_uvarint(r);
        ret->body = str_n(from, (size_t)(r->p - from));
    } else {
        ret->body = rd_lstr(r);
    }
    return rd_ok(r);
}

static enum err post_or(const struct tsdb_seg *s, const struct post *p, roaring_bitmap_t *into)
{
    if (p->n <= 16) {
        struct rd r = rd_init(p->body);
        uint64_t id = 0;
        for (uint64_t i = 0; i < p->n; i++) {
            id += rd_uvarint(&r);
            if (id >= s->n_series)
                return ERR_CORRUPT;
            roaring_bitmap_add(into, (uint32_t)id);
        }
        return OK;
    }
    roaring_bitmap_t *b = roaring_bitmap_portable_deserialize_safe(p->body.p, p->body.n);
    if (!b)
        return ERR_CORRUPT;
    enum err e =
        roaring_bitmap_get_cardinality(b) == p->n && roaring_bitmap_maximum(b) < s->n_series ? OK : ERR_CORRUPT;
    if (!e)
        roaring_bitmap_or_inplace(into, b);
    roaring_bitmap_free(b);
    return e;
}

/* Page that may hold the first entry >= key. */
static uint32_t post_page(const struct tsdb_seg *s, uint64_t key)
{
    uint32_t lo = 0, hi = s->postings.n;
    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (s->post_first[mid] <= key)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* Call fn for entries with from <= key < to. */
static enum err post_range(struct seg_ctx *c, uint64_t from, uint64_t to, void *ctx,
                           enum err (*fn)(void *ctx, const struct post *p))
{
    const struct tsdb_seg *s = c->s;
    for (uint32_t page = post_page(s, from); page < s->postings.n && (s->post_first[page] < to); page++) {
        str raw;
        TRY(segment_page_read(s->seg, s->postings.page_first + page, &c->post, &raw));
        struct rd r = rd_init(raw);
        while (rd_left(&r)) {
            struct post p;
            if (!post_next(&r, &p))
                return ERR_CORRUPT;
            if (p.key >= to)
                return OK;
            if (p.key >= from)
                TRY(fn(ctx, &p));
        }
    }
    return OK;
}

struct post_into {
    struct seg_ctx *c;
    roaring_bitmap_t *into;
    const struct matcher *m;
    bool want;
};

static enum err into_all(void *ctx, const struct post *p)
{
    struct post_into *x = ctx;
    return post_or(x->c->s, p, x->into);
}

static enum err into_matching(void *ctx, const struct post *p)
{
    struct post_into *x = ctx;
    str value;
    TRY(seg_symbol(x->c, (uint32_t)p->key, &value));
    return matcher_matches(x->m, value) == x->want ? post_or(x->c->s, p, x->into) : OK;
}

static enum err seg_get(void *ctx, str name, str value, roaring_bitmap_t **ret)
{
    struct seg_ctx *c = ctx;
    uint32_t n, v;
    bool found;
    *ret = NULL;
    TRY(seg_symbol_find(c, name, &n, &found));
    if (!found)
        return OK;
    TRY(seg_symbol_find(c, value, &v, &found));
    if (!found)
        return OK;
    struct post_into x = { .c = c, .into = roaring_bitmap_create() };
    uint64_t key = (uint64_t)n << 32 | v;
    enum err e = post_range(c, key, key + 1, &x, into_all);
    if (e)
        roaring_bitmap_free(x.into);
    else
        *ret = x.into;
    return e;
}

static enum err seg_scan(void *ctx, const struct matcher *m, bool want, roaring_bitmap_t *into)
{
    struct seg_ctx *c = ctx;
    uint32_t n;
    bool found;
    TRY(seg_symbol_find(c, m->name, &n, &found));
    if (!found)
        return OK;
    uint64_t from = (uint64_t)n << 32, to = ((uint64_t)n + 1) << 32;
    const struct rx_info *info = m->rx && want == (m->type == MATCH_RE) ? rx_info(m->rx) : NULL;
    if (info && info->prefix.n) { /* only values that begin so */
        uint32_t lo, hi;
        char next[256];
        TRY(symbol_lower_bound(c, info->prefix, &lo, &found));
        from |= lo;
        str p = str_take(info->prefix, sizeof(next));
        while (p.n && (uint8_t)p.p[p.n - 1] == 0xff)
            p.n--;
        if (p.n) {
            memcpy(next, p.p, p.n);
            next[p.n - 1]++;
            TRY(symbol_lower_bound(c, str_n(next, p.n), &hi, &found));
            to = ((uint64_t)n << 32) + hi;
        }
    }
    struct post_into x = { c, into, m, want };
    return post_range(c, from, to, &x, into_matching);
}

static roaring_bitmap_t *seg_all(void *ctx)
{
    return roaring_bitmap_from_range(0, ((struct seg_ctx *)ctx)->s->n_series, 1);
}

enum err seg_select(struct seg_ctx *c, const struct matcher *m, size_t n, roaring_bitmap_t **ret)
{
    struct postings_source src = { c, seg_get, seg_scan, seg_all };
    return postings_select(&src, m, n, ret);
}

struct values {
    struct arena *a;
    bool names;
    VEC(uint32_t) v;
};

static enum err add_value(void *ctx, const struct post *p)
{
    struct values *x = ctx;
    uint32_t sym = x->names ? (uint32_t)(p->key >> 32) : (uint32_t)p->key;
    if (!x->v.n || vec_last(&x->v) != sym)
        avec_push(x->a, &x->v, sym);
    return OK;
}

enum err seg_values(struct seg_ctx *c, str name, struct arena *a, uint32_t **ret, size_t *ret_n)
{
    struct values x = { .a = a, .names = name.p == NULL };
    uint64_t from = 0, to = UINT64_MAX;
    *ret_n = 0;
    if (!x.names) {
        uint32_t n;
        bool found;
        TRY(seg_symbol_find(c, name, &n, &found));
        if (!found)
            return OK;
        from = (uint64_t)n << 32;
        to = from + ((uint64_t)1 << 32);
    }
    TRY(post_range(c, from, to, &x, add_value));
    *ret = x.v.p;
    *ret_n = x.v.n;
    return OK;
}

/* ---- timelines and the chunk index ---- */
/* ret_ts: mem_alloc'ed. */
enum err seg_timeline(const struct tsdb_seg *s, uint32_t tl, struct page_buf *b, int64_t **ret_ts, uint32_t *ret_n)
{
    if (tl >= s->n_timelines)
        return ERR_CORRUPT;
    uint32_t page = seg_page_of(&s->timelines, tl), i = tl - s->timelines.first[page], count, off, n;
    str raw;
    TRY(segment_page_read(s->seg, s->timelines.page_first + page, b, &raw));
    if (raw.n < 4)
        return ERR_CORRUPT;
    memcpy(&count, raw.p, 4);
    if (count != s->timelines.first[page + 1] - s->timelines.first[page] || raw.n < 4 + 4 * (size_t)count)
        return ERR_CORRUPT;
    memcpy(&off, raw.p + 4 + 4 * (size_t)i, 4);
    str body = str_skip(raw, 4 + 4 * (size_t)count);
    if (off > body.n || body.n - off < 4)
        return ERR_CORRUPT;
    memcpy(&n, body.p + off, 4);
    if (n == 0 || n > CODEC_VALUES_MAX)
        return ERR_CORRUPT;
    int64_t *ts = mem_alloc(n * sizeof(*ts));
    enum err e = codec_ts_decode(str_skip(body, off + 4), n, ts, NULL);
    for (uint32_t k = 1; k < n && !e; k++)
        if (ts[k] <= ts[k - 1])
            e = ERR_CORRUPT;
    if (e) {
        mem_free(ts);
        return e;
    }
    *ret_ts = ts;
    *ret_n = n;
    return OK;
}

enum err seg_index_load(const struct tsdb_seg *s, uint32_t row, struct seg_index_page *ip, struct page_buf *b)
{
    if (row >= s->n_series)
        return ERR_CORRUPT;
    uint32_t page = row / SEG_INDEX_ROWS, n;
    if (ip->page == page)
        return OK;
    ip->page = UINT32_MAX;
    if (page >= s->index.n || s->index.first[page] != page * SEG_INDEX_ROWS)
        return ERR_CORRUPT;
    ip->row0 = s->index.first[page];
    ip->rows = s->index.first[page + 1] - ip->row0;
    str raw;
    TRY(segment_page_read(s->seg, s->index.page_first + page, b, &raw));
    if (raw.n < 4 || ip->rows > SEG_INDEX_ROWS)
        return ERR_CORRUPT;
    memcpy(&n, raw.p, 4);
    raw = str_skip(raw, 4);
    if (n > CODEC_VALUES_MAX)
        return ERR_CORRUPT;
    size_t used;
    TRY(codec_u32_decode(raw, ip->rows, ip->first, &used));
    raw = str_skip(raw, used);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < ip->rows; i++) { /* counts -> begins */
        uint32_t k = ip->first[i];
        ip->first[i] = (uint32_t)sum;
        sum += k;
        if (sum > n)
            return ERR_CORRUPT;
    }
    ip->first[ip->rows] = (uint32_t)sum;
    if (sum != n)
        return ERR_CORRUPT;
    if (n > ip->cap) {
        ip->chunks = mem_realloc(ip->chunks, n * sizeof(*ip->chunks));
        ip->col = mem_realloc(ip->col, n * sizeof(*ip->col));
        ip->cap = n;
    }
#define COLUMN(field)                                  \
    do {                                               \
        TRY(codec_u32_decode(raw, n, ip->col, &used)); \
        raw = str_skip(raw, used);                     \
        for (uint32_t i = 0; i < n; i++)               \
            ip->chunks[i].field = ip->col[i];          \
    } while (0)
    COLUMN(page);
    COLUMN(off);
    COLUMN(tl);
    COLUMN(start);
    COLUMN(n);
    COLUMN(flags);
#undef COLUMN
    ip->n_chunks = n;
    ip->page = page;
    return OK;
}
