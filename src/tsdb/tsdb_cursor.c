/* Reading one series: find its chunks in segments and the head, decode them into arrays.
 *
 * What is found is a list of parts, each a run of samples with ascending timestamps. Parts that follow each other
 * in time (nearly always) are concatenated; parts that overlap (out of order, duplicates, flush in progress) are
 * merged, later writes winning. The array of timestamps of a concatenation is remembered under the hash of where
 * its pieces come from, so that all series of a scrape share one array and one timeline number. */
#include "model/histogram_math.h"
#include "tsdb/tsdb_int.h"

#define CACHE_BYTES_MAX (64u << 20)
#define HEAD_BIT        (1ull << 63)

struct tl_cached {
    int64_t *ts;
    uint32_t n;
};
#define MAP_NAME     tlmap
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct tl_cached
#define MAP_HASH(k)  hash_u64((k) + 0x9e3779b97f4a7c15ull)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"
struct joined {
    int64_t *ts; /* NULL: not kept (one piece) */
    uint64_t id;
};
#define MAP_NAME     joinmap
#define MAP_KEY      hash128
#define MAP_VALUE    struct joined
#define MAP_HASH(k)  ((k).lo)
#define MAP_EQ(a, b) hash128_eq(a, b)
#include "base/map.h"

struct part_ref { /* a run of samples of one chunk, clipped to the range */
    const int64_t *ts;
    uint32_t n;
    uint32_t lo;    /* samples of the chunk to skip */
    uint64_t tl;    /* key of the timeline, 0 = own array */
    uint32_t tl_at; /* position of ts[0] in it */
    uint32_t age;   /* later writes have higher numbers */
    bool hist, starts;
    const struct seg_chunk *chunk;
    uint32_t seg;
    /* head: */
    const struct chunk *c;
    uint64_t state;
    uint32_t slots;
    const struct ooo_entry *ooo;
};
struct ooo_entry {
    int64_t ts;
    double v;
    const struct histogram *h;
    int64_t start;
    uint32_t order;
};

struct seg_reader {
    struct seg_index_page ip;
    struct page_buf index_buf, chunk_buf;
    uint32_t chunk_page; /* UINT32_MAX = none */
    str chunk_raw;
};

struct tsdb_cursor {
    struct tsdb_query *q;
    struct seg_reader *segs;
    struct tlmap timelines;
    struct joinmap joins;
    uint64_t next_id;
    size_t cache_bytes;
    struct page_buf tl_buf;
    struct arena a; /* of one read: histograms, own timestamp arrays */
    VEC(struct part_ref) parts;
    VEC(double) v;
    VEC(const struct histogram *) h;
    VEC(int64_t) start;
    VEC(int64_t) ts;
    VEC(double) tmp_v;
    VEC(int64_t) tmp_i;
    VEC(uint32_t) tmp_pos;
    VEC(const struct histogram *) tmp_h;
    VEC(uint64_t) sig;
    VEC(struct ooo_entry) merge;
    struct rollup_vec roll;
    VEC(const struct rollup_span *) spans; /* of roll */
};

struct tsdb_cursor *tsdb_cursor_new(struct tsdb_query *q)
{
    struct tsdb_cursor *c = mem_zalloc(sizeof(*c));
    c->q = q;
    c->segs = mem_zalloc((q->n_segs + 1) * sizeof(*c->segs));
    for (size_t i = 0; i < q->n_segs; i++) {
        c->segs[i].ip.page = UINT32_MAX;
        c->segs[i].chunk_page = UINT32_MAX;
    }
    arena_init(&c->a, 0);
    return c;
}

static void cache_clear(struct tsdb_cursor *c)
{
    map_each (tlmap, s, &c->timelines)
        mem_free(s->value.ts);
    tlmap_free(&c->timelines);
    map_each (joinmap, s, &c->joins)
        mem_free(s->value.ts);
    joinmap_free(&c->joins);
    c->cache_bytes = 0;
}

void tsdb_cursor_free(struct tsdb_cursor *c)
{
    if (!c)
        return;
    cache_clear(c);
    for (size_t i = 0; i < c->q->n_segs; i++) {
        mem_free(c->segs[i].ip.chunks);
        mem_free(c->segs[i].ip.col);
        page_buf_deinit(&c->segs[i].index_buf);
        page_buf_deinit(&c->segs[i].chunk_buf);
    }
    mem_free(c->segs);
    page_buf_deinit(&c->tl_buf);
    arena_deinit(&c->a);
    vec_free(&c->parts);
    vec_free(&c->v);
    vec_free(&c->h);
    vec_free(&c->start);
    vec_free(&c->ts);
    vec_free(&c->tmp_v);
    vec_free(&c->tmp_i);
    vec_free(&c->tmp_pos);
    vec_free(&c->tmp_h);
    vec_free(&c->sig);
    vec_free(&c->merge);
    vec_free(&c->roll);
    vec_free(&c->spans);
    mem_free(c);
}

static uint32_t lower(const int64_t *ts, uint32_t n, int64_t t) /* first >= t */
{
    uint32_t lo = 0, hi = n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (ts[mid] < t)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static bool clip(const int64_t *ts, uint32_t n, int64_t from, int64_t to, uint32_t *ret_lo, uint32_t *ret_hi)
{
    if (!n || ts[0] > to || ts[n - 1] < from)
        return false;
    *ret_lo = ts[0] >= from ? 0 : lower(ts, n, from);
    *ret_hi = ts[n - 1] <= to ? n : lower(ts, n, to + 1);
    return *ret_lo < *ret_hi;
}

/* ---- segments ---- */
static enum err seg_tl(struct tsdb_cursor *c, uint32_t seg, uint32_t tl, struct tl_cached *ret)
{
    uint64_t key = ((uint64_t)seg + 1) << 32 | tl;
    struct tl_cached *have = tlmap_get(&c->timelines, key);
    if (!have) {
        struct tl_cached t;
        TRY(seg_timeline(segment_user(c->q->segs[seg]), tl, &c->tl_buf, &t.ts, &t.n));
        *tlmap_put(&c->timelines, key, NULL) = t;
        c->cache_bytes += t.n * 8 + 64;
        *ret = t;
        return OK;
    }
    *ret = *have;
    return OK;
}

static enum err seg_parts_in(struct tsdb_cursor *c, const struct qref *ref, int64_t from, int64_t to)
{
    struct seg_reader *sr = &c->segs[ref->src];
    const struct tsdb_seg *s = segment_user(c->q->segs[ref->src]);
    TRY(seg_index_load(s, ref->row, &sr->ip, &sr->index_buf));
    uint32_t i = sr->ip.first[ref->row - sr->ip.row0], end = sr->ip.first[ref->row - sr->ip.row0 + 1];
    for (; i < end; i++) {
        const struct seg_chunk *k = &sr->ip.chunks[i];
        struct tl_cached t;
        TRY(seg_tl(c, ref->src, k->tl, &t));
        uint32_t lo, hi;
        if (k->start > t.n || k->n > t.n - k->start || k->n == 0 || k->page >= s->n_chunk_pages)
            return ERR_CORRUPT;
        int64_t until = to;
        if (k->flags & SEG_CHUNK_ROLLUP) /* windows reach back from their ends */
            until = MIN(to, TS_MS_MAX) + s->rollup.res_ms - 1;
        if (!clip(t.ts + k->start, k->n, from, until, &lo, &hi))
            continue;
        struct part_ref p = { .ts = t.ts + k->start + lo,
                              .n = hi - lo,
                              .lo = lo,
                              .tl = ((uint64_t)ref->src + 1) << 32 | k->tl,
                              .tl_at = k->start + lo,
                              .hist = k->flags & SEG_CHUNK_HIST,
                              .starts = k->flags & SEG_CHUNK_START,
                              .chunk = k,
                              .seg = ref->src };
        vec_push(&c->parts, p);
    }
    return OK;
}

static enum err seg_parts(struct tsdb_cursor *c, const struct qref *ref, int64_t from, int64_t to)
{
    const struct seg_tomb *hidden = c->q->tombs ? c->q->tombs[ref->src] : NULL;
    if (!hidden)
        return seg_parts_in(c, ref, from, to);
    struct time_range *left;
    size_t n = tombs_left(hidden, ref->row, from, to, &c->a, &left);
    for (size_t i = 0; i < n; i++)
        TRY(seg_parts_in(c, ref, left[i].from, left[i].to));
    return OK;
}

enum err cursor_count(struct tsdb_cursor *c, uint32_t src, uint32_t row, int64_t from, int64_t to, uint64_t *ret,
                      int64_t *io_oldest)
{
    struct qref ref = { .src = src, .row = row };
    if (c->cache_bytes > CACHE_BYTES_MAX)
        cache_clear(c);
    arena_reset(&c->a);
    vec_clear(&c->parts);
    *ret = 0;
    TRY(seg_parts_in(c, &ref, from, to));
    for (size_t i = 0; i < c->parts.n; i++) {
        *ret += c->parts.p[i].n;
        *io_oldest = MIN(*io_oldest, c->parts.p[i].ts[0]);
    }
    return OK;
}

enum err cursor_row_has(struct tsdb_cursor *c, uint32_t src, uint32_t row, int64_t from, int64_t to, bool *ret)
{
    struct qref ref = { .src = src, .row = row };
    if (c->cache_bytes > CACHE_BYTES_MAX)
        cache_clear(c);
    arena_reset(&c->a);
    vec_clear(&c->parts);
    enum err e = seg_parts(c, &ref, from, to);
    *ret = c->parts.n != 0;
    vec_clear(&c->parts);
    return e;
}

/* Decode part p into v, h, start (the last two may be NULL). */
static enum err seg_decode(struct tsdb_cursor *c, const struct part_ref *p, double *v, const struct histogram **h,
                           int64_t *start)
{
    struct seg_reader *sr = &c->segs[p->seg];
    const struct tsdb_seg *s = segment_user(c->q->segs[p->seg]);
    if (sr->chunk_page != p->chunk->page) {
        sr->chunk_page = UINT32_MAX;
        TRY(segment_page_read(s->seg, s->chunk_page + p->chunk->page, &sr->chunk_buf, &sr->chunk_raw));
        sr->chunk_page = p->chunk->page;
    }
    if (p->chunk->off >= sr->chunk_raw.n)
        return ERR_CORRUPT;
    str in = str_skip(sr->chunk_raw, p->chunk->off);
    size_t n = p->chunk->n, used;
    if (p->hist) {
        struct rd r = rd_init(in);
        struct histogram *all;
        TRY(hist_chunk_decode(&r, n, &c->a, &all));
        for (uint32_t i = 0; i < p->n; i++) {
            h[i] = &all[p->lo + i];
            v[i] = 0;
        }
        in = str_n(r.p, rd_left(&r));
    } else if (p->n == n) {
        TRY(codec_f64_decode(in, n, v, &used));
        in = str_skip(in, used);
    } else {
        vec_reserve(&c->tmp_v, n);
        TRY(codec_f64_decode(in, n, c->tmp_v.p, &used));
        memcpy(v, c->tmp_v.p + p->lo, p->n * sizeof(*v));
        in = str_skip(in, used);
    }
    if (start && !p->starts)
        memset(start, 0, p->n * sizeof(*start));
    if (p->starts && start) {
        vec_reserve(&c->tmp_i, n);
        TRY(codec_i64_decode(in, n, c->tmp_i.p, NULL));
        memcpy(start, c->tmp_i.p + p->lo, p->n * sizeof(*start));
    }
    return OK;
}

/* ---- the head ---- */
static uint32_t visible_entries(struct tsdb_query *q, struct timeline *t)
{
    if (t->slot >= q->n_caps || atomic_load(&t->born) >= q->seq)
        return 0;
    atomic_uint *cap = &q->caps[t->slot];
    unsigned have = atomic_load_explicit(cap, memory_order_acquire);
    if (!have) {
        unsigned now = atomic_load_explicit(&t->n_pub, memory_order_acquire) + 1;
        if (atomic_compare_exchange_strong(cap, &have, now))
            have = now;
    }
    return have - 1;
}

static const int64_t *head_tl(struct tsdb_cursor *c, struct timeline *t, uint32_t n)
{
    uint64_t key = (uint64_t)(uintptr_t)t | HEAD_BIT;
    struct tl_cached *have = tlmap_get(&c->timelines, key);
    if (have)
        return have->ts;
    struct tl_cached x = { mem_alloc((n + 1) * sizeof(int64_t)), n };
    const uint32_t *off = atomic_load(&t->off);
    for (uint32_t i = 0; i < n; i++)
        x.ts[i] = t->base + off[i];
    *tlmap_put(&c->timelines, key, NULL) = x;
    c->cache_bytes += n * 8 + 64;
    return x.ts;
}

static void head_part(struct tsdb_cursor *c, const struct chunk *k, int64_t from, int64_t to)
{
    uint32_t n = visible_entries(c->q, k->tl); /* before the state: what is published is in the chunk */
    uint64_t st = atomic_load_explicit(&k->state, memory_order_acquire);
    if (n <= k->tl_start || !STATE_SAMPLES(st))
        return;
    const int64_t *ts = head_tl(c, k->tl, n) + k->tl_start;
    struct part_ref p = { .c = k,
                          .state = st,
                          .hist = k->kind == CHUNK_HIST,
                          .starts = atomic_load_explicit(&k->has_start, memory_order_relaxed) };
    p.slots = MIN(STATE_SLOTS(st), n - k->tl_start);
    uint32_t lo, hi;
    if (STATE_SLOTS(st) == STATE_SAMPLES(st)) {
        if (!clip(ts, p.slots, from, to, &lo, &hi))
            return;
        p.ts = ts + lo;
        p.tl = (uint64_t)(uintptr_t)k->tl | HEAD_BIT;
        p.tl_at = k->tl_start + lo;
    } else { /* gaps: an array of its own */
        if (ts[0] > to || ts[p.slots - 1] < from)
            return;
        uint32_t max = STATE_SAMPLES(st);
        vec_reserve(&c->tmp_pos, max);
        vec_reserve(&c->tmp_v, max);
        size_t got;
        if (p.hist) {
            const uint8_t *d = k->data, *end = d + STATE_BYTES(st);
            uint32_t at = 0;
            for (got = 0; d < end && got < max;) {
                if (*d == 0xa4) {
                    d++;
                    at += (uint32_t)uvarint_get(&d);
                    continue;
                }
                d++;
                uvarint_get(&d);
                uint64_t len = uvarint_get(&d);
                d += len;
                if (at >= p.slots)
                    break;
                c->tmp_pos.p[got++] = at++;
            }
        } else {
            got = tok_decode(k->data, STATE_BYTES(st), max, p.slots, c->tmp_v.p, c->tmp_pos.p, NULL);
        }
        ASSERT(got != SIZE_MAX);
        int64_t *own = arena_array(&c->a, int64_t, got + 1);
        for (size_t i = 0; i < got; i++)
            own[i] = ts[c->tmp_pos.p[i]];
        if (!clip(own, (uint32_t)got, from, to, &lo, &hi))
            return;
        p.ts = own + lo;
    }
    p.lo = lo;
    p.n = hi - lo;
    vec_push(&c->parts, p);
}

static enum err head_decode(struct tsdb_cursor *c, const struct part_ref *p, double *v, const struct histogram **h,
                            int64_t *start)
{
    uint32_t want = p->lo + p->n;
    if (!p->hist) {
        double *to = v;
        int64_t *st = start;
        if (p->lo) {
            vec_reserve(&c->tmp_v, want);
            to = c->tmp_v.p;
            if (start) {
                vec_reserve(&c->tmp_i, want);
                st = c->tmp_i.p;
            }
        }
        if (tok_decode(p->c->data, STATE_BYTES(p->state), want, UINT32_MAX, to, NULL, st) != want)
            return ERR_CORRUPT;
        if (p->lo) {
            memcpy(v, to + p->lo, p->n * sizeof(*v));
            if (start)
                memcpy(start, st + p->lo, p->n * sizeof(*start));
        }
        return OK;
    }
    struct rd r = rd_init(str_n((const char *)p->c->data, STATE_BYTES(p->state)));
    for (uint32_t i = 0; i < want;) {
        uint8_t b = rd_u8(&r);
        if (b == 0xa4) {
            rd_uvarint(&r);
            continue;
        }
        int64_t s = rd_svarint(&r);
        struct rd body = rd_init(rd_lstr(&r));
        struct histogram *x;
        if (b != 0xc0 || !rd_ok(&r))
            return ERR_CORRUPT;
        if (i >= p->lo) {
            TRY(hist_decode(&body, &c->a, &x));
            h[i - p->lo] = x;
            v[i - p->lo] = 0;
            if (start)
                start[i - p->lo] = s;
        }
        i++;
    }
    return OK;
}

static int cmp_ooo(const void *a, const void *b)
{
    const struct ooo_entry *x = a, *y = b;
    if (x->ts != y->ts)
        return x->ts < y->ts ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

/* One out-of-order chunk -> a part with arrays of its own, sorted, the last write of a timestamp kept. */
static void ooo_part(struct tsdb_cursor *c, const struct chunk *k, int64_t from, int64_t to)
{
    uint64_t st = atomic_load_explicit(&k->state, memory_order_acquire);
    uint32_t n = STATE_SAMPLES(st), m = 0;
    struct ooo_entry *e = arena_array(&c->a, struct ooo_entry, n + 1);
    struct rd r = rd_init(str_n((const char *)k->data, STATE_BYTES(st)));
    bool starts = false;
    for (uint32_t i = 0; i < n; i++) {
        struct ooo_entry x = { .order = i };
        if (k->kind == CHUNK_OOO) {
            struct ooo_sample s;
            memcpy(&s, k->data + i * sizeof(s), sizeof(s));
            x.ts = s.ts;
            x.v = f64_from_bits(s.bits);
            x.start = s.start;
        } else {
            x.ts = (int64_t)rd_u64(&r);
            x.start = rd_svarint(&r);
            struct rd body = rd_init(rd_lstr(&r));
            struct histogram *h;
            if (x.ts < from || x.ts > to || hist_decode(&body, &c->a, &h))
                continue;
            x.h = h;
        }
        if (x.ts >= from && x.ts <= to) {
            e[m++] = x;
            starts |= x.start != 0;
        }
    }
    if (!m)
        return;
    qsort(e, m, sizeof(*e), cmp_ooo);
    uint32_t w = 0;
    for (uint32_t i = 0; i < m; i++) {
        if (w && e[w - 1].ts == e[i].ts)
            w--;
        e[w++] = e[i];
    }
    int64_t *ts = arena_array(&c->a, int64_t, w);
    for (uint32_t i = 0; i < w; i++)
        ts[i] = e[i].ts;
    struct part_ref p = { .ts = ts, .n = w, .ooo = e, .hist = k->kind == CHUNK_OOO_HIST, .starts = starts };
    vec_push(&c->parts, p);
}

/* Chunks of a chain that the query sees, newest first. */
static const struct chunk **chain(struct tsdb_cursor *c, struct chunk *k, size_t *ret_n)
{
    size_t n = 0, cap = 16;
    const struct chunk **v = arena_array(&c->a, const struct chunk *, cap);
    for (; k && k->gen >= c->q->gen_min; k = atomic_load(&k->prev)) {
        if (k->gen > c->q->gen_max)
            continue;
        if (n == cap) {
            const struct chunk **bigger = arena_array(&c->a, const struct chunk *, cap * 2);
            memcpy(bigger, v, n * sizeof(*v));
            v = bigger;
            cap *= 2;
        }
        v[n++] = k;
    }
    *ret_n = n;
    return v;
}

/* In order. What is published on the timelines we look at must be in the chunks we look at: first the chunks, then
 * how much of their timelines is visible, then the chunks again, until nothing moved in between. */
static void chain_parts(struct tsdb_cursor *c, struct series *s, int64_t from, int64_t to)
{
    const struct chunk **v;
    size_t n;
    struct chunk *head;
    do {
        head = atomic_load(&s->chunk);
        v = chain(c, head, &n);
        for (size_t i = 0; i < n; i++)
            visible_entries(c->q, v[i]->tl);
    } while (atomic_load(&s->chunk) != head);
    while (n--)
        head_part(c, v[n], from, to);
}

static void ooo_parts(struct tsdb_cursor *c, struct series *s, int64_t from, int64_t to)
{
    size_t n;
    const struct chunk **v = chain(c, atomic_load(&s->ooo), &n);
    while (n--)
        ooo_part(c, v[n], from, to);
}

/* ---- putting parts together ---- */
static enum err decode(struct tsdb_cursor *c, const struct part_ref *p, double *v, const struct histogram **h,
                       int64_t *start)
{
    if (p->ooo) {
        for (uint32_t i = 0; i < p->n; i++) {
            v[i] = p->ooo[i].v;
            if (h)
                h[i] = p->ooo[i].h;
            if (start)
                start[i] = p->ooo[i].start;
        }
        return OK;
    }
    if (h && !p->hist)
        memset(h, 0, p->n * sizeof(*h));
    return p->c ? head_decode(c, p, v, h, start) : seg_decode(c, p, v, h, start);
}

static void damaged_part(struct tsdb_cursor *c, const struct part_ref *p)
{
    query_damage(c->q, "a page of %s is damaged", p->c ? "the head" : segment_path(c->q->segs[p->seg]));
}

/* Timestamps of parts that follow each other. */
static void join_ts(struct tsdb_cursor *c, size_t n, struct tsdb_points *ret)
{
    bool shared = true;
    vec_clear(&c->sig);
    vec_each (struct part_ref, p, &c->parts) {
        shared &= p->tl != 0;
        if (c->sig.n >= 2 && c->sig.p[c->sig.n - 2] == p->tl &&
            (c->sig.p[c->sig.n - 1] >> 32) + (uint32_t)c->sig.p[c->sig.n - 1] == p->tl_at) {
            c->sig.p[c->sig.n - 1] += p->n; /* goes on in the same timeline */
        } else {
            vec_push(&c->sig, p->tl);
            vec_push(&c->sig, (uint64_t)p->tl_at << 32 | p->n);
        }
    }
    struct joined own = { 0 }, *j = &own;
    bool is_new = true;
    if (shared)
        j = joinmap_put(&c->joins, hash128_seed(str_n((const char *)c->sig.p, c->sig.n * 8), 1), &is_new);
    if (shared && is_new)
        j->id = ++c->next_id;
    ret->timeline = j->id;
    if (c->sig.n == 2) { /* one piece: in place */
        ret->ts = c->parts.p[0].ts;
        return;
    }
    if (is_new) {
        vec_reserve(&c->ts, n);
        int64_t *ts = shared ? (j->ts = mem_alloc(n * sizeof(*ts))) : c->ts.p;
        size_t at = 0;
        vec_each (struct part_ref, p, &c->parts) {
            memcpy(ts + at, p->ts, p->n * sizeof(*ts));
            at += p->n;
        }
        if (shared)
            c->cache_bytes += n * 8;
        ret->ts = ts;
        return;
    }
    ret->ts = j->ts;
}

static bool read_joined(struct tsdb_cursor *c, size_t n, bool hists, bool starts, struct tsdb_points *ret)
{
    size_t at = 0;
    vec_each (struct part_ref, p, &c->parts) {
        if (decode(c, p, c->v.p + at, hists ? c->h.p + at : NULL, starts ? c->start.p + at : NULL)) {
            damaged_part(c, p);
            vec_remove(&c->parts, (size_t)(p - c->parts.p)); /* without it, from the beginning */
            return false;
        }
        at += p->n;
    }
    ret->n = n;
    ret->v = c->v.p;
    ret->h = hists ? c->h.p : NULL;
    ret->start_ms = starts ? c->start.p : NULL;
    if (n)
        join_ts(c, n, ret);
    return true;
}

/* Parts that overlap: all samples, sorted by (time, age); the youngest of each time stays. */
static void read_merged(struct tsdb_cursor *c, size_t n, struct tsdb_points *ret)
{
    vec_clear(&c->merge);
    vec_reserve(&c->merge, n);
    bool hists = false, starts = false;
    vec_each (struct part_ref, p, &c->parts) {
        const struct histogram **h = c->h.p;
        if (decode(c, p, c->v.p, h, c->start.p)) {
            damaged_part(c, p);
            continue;
        }
        for (uint32_t i = 0; i < p->n; i++) {
            struct ooo_entry e = { p->ts[i], c->v.p[i], h[i], c->start.p[i], p->age };
            c->merge.p[c->merge.n++] = e;
        }
    }
    qsort(c->merge.p, c->merge.n, sizeof(*c->merge.p), cmp_ooo);
    vec_reserve(&c->ts, n);
    size_t w = 0;
    for (size_t i = 0; i < c->merge.n; i++) {
        const struct ooo_entry *e = &c->merge.p[i];
        if (w && c->ts.p[w - 1] == e->ts)
            w--;
        c->ts.p[w] = e->ts;
        c->v.p[w] = e->v;
        c->h.p[w] = e->h;
        c->start.p[w] = e->start;
        w++;
    }
    for (size_t i = 0; i < w; i++) {
        hists |= c->h.p[i] != NULL;
        starts |= c->start.p[i] != 0;
    }
    *ret = (struct tsdb_points){
        .ts = c->ts.p, .v = c->v.p, .h = hists ? c->h.p : NULL, .start_ms = starts ? c->start.p : NULL, .n = w
    };
}

/* Parts were found in order of age; put them in order of time. True if none overlaps the next. */
static bool sort_parts(struct tsdb_cursor *c)
{
    struct part_ref *p = c->parts.p;
    bool disjoint = true;
    for (size_t i = 0; i < c->parts.n; i++)
        p[i].age = (uint32_t)i;
    for (size_t i = 1; i < c->parts.n; i++) {
        if (p[i - 1].ts[0] <= p[i].ts[0])
            continue;
        struct part_ref x = p[i];
        size_t j = i;
        for (; j && p[j - 1].ts[0] > x.ts[0]; j--)
            p[j] = p[j - 1];
        p[j] = x;
    }
    for (size_t i = 1; i < c->parts.n; i++)
        disjoint &= p[i - 1].ts[p[i - 1].n - 1] < p[i].ts[0];
    return disjoint;
}

/* Reset hints as readers expect them: of what follows in this answer, whatever chunks it lies in. */
static void set_hints(struct tsdb_cursor *c, const struct histogram **h, size_t n)
{
    for (size_t i = n; i--;) { /* backwards: each is compared with its neighbour as it was sent */
        if (!h[i])
            continue;
        enum hist_reset hint = histogram_hint_after(i ? h[i - 1] : NULL, h[i]);
        if (hint == h[i]->reset)
            continue;
        struct histogram *x = arena_new(&c->a, struct histogram);
        *x = *h[i];
        x->reset = hint;
        h[i] = x;
    }
}

/* ---- rollups ---- */
/* Has the series samples of the day that a rollup is of? Then the day is read from those. */
static bool has_samples(struct tsdb_cursor *c, const struct qseries *x, const struct rollup_span *s)
{
    struct tsdb_query *q = c->q;
    for (const struct qref *r = x->first; r && r->src < q->n_raw; r = r->next) {
        const struct segment_meta *m = segment_meta(q->segs[r->src]);
        int64_t from = MAX(m->min_time, s->from_ms), to = MIN(m->max_time, s->to_ms - 1);
        struct time_range *left;
        if (from <= to &&
            (!q->tombs || !q->tombs[r->src] || tombs_left(q->tombs[r->src], r->row, from, to, &c->a, &left)))
            return true;
    }
    return false;
}

static enum err decode_windows(struct tsdb_cursor *c, const struct part_ref *p)
{
    struct seg_reader *sr = &c->segs[p->seg];
    const struct tsdb_seg *s = segment_user(c->q->segs[p->seg]);
    const struct seg_chunk *k = p->chunk;
    if (sr->chunk_page != k->page) {
        sr->chunk_page = UINT32_MAX;
        TRY(segment_page_read(s->seg, s->chunk_page + k->page, &sr->chunk_buf, &sr->chunk_raw));
        sr->chunk_page = k->page;
    }
    struct rd r = rd_init(str_skip(sr->chunk_raw, MIN(k->off, sr->chunk_raw.n)));
    const int64_t *tl[4];
    for (unsigned i = 0; i < 4; i++) {
        struct tl_cached t;
        uint64_t id = i ? rd_uvarint(&r) : k->tl;
        if (!rd_ok(&r) || id > UINT32_MAX)
            return ERR_CORRUPT;
        TRY(seg_tl(c, p->seg, (uint32_t)id, &t));
        if (k->start > t.n || k->n > t.n - k->start)
            return ERR_CORRUPT;
        tl[i] = t.ts;
    }
    struct rollup *w = arena_zarray(&c->a, struct rollup, k->n + 1);
    for (uint32_t i = 0; i < k->n; i++)
        if (!rollup_times(&s->rollup, tl, k->start + i, &w[i]))
            return ERR_CORRUPT;
    str in = str_n(r.p, rd_left(&r));
    TRY(k->flags & SEG_CHUNK_HIST ? rollup_hists_decode(in, k->n, &c->a, w) : rollup_floats_decode(in, k->n, w));
    for (uint32_t i = p->lo; i < p->lo + p->n; i++)
        vec_push(&c->roll, w[i]);
    return OK;
}

/* Is the whole window visible? */
static bool window_left(struct tsdb_cursor *c, const struct qref *ref, const struct rollup *w)
{
    const struct seg_tomb *hidden = c->q->tombs ? c->q->tombs[ref->src] : NULL;
    struct time_range *left;
    if (!hidden)
        return true;
    size_t n = tombs_left(hidden, ref->row, w->first_ms, w->last_ms, &c->a, &left);
    return n == 1 && left[0].from == w->first_ms && left[0].to == w->last_ms;
}

static int cmp_window(const void *a, const void *b)
{
    const struct rollup *x = a, *y = b;
    if (x->end_ms != y->end_ms)
        return x->end_ms < y->end_ms ? -1 : 1;
    return (x->h != NULL) - (y->h != NULL);
}

/* Windows of one segment that touch [from, to]. */
static enum err read_windows(struct tsdb_cursor *c, const struct qref *ref, int64_t from, int64_t to)
{
    size_t begin = c->roll.n;
    vec_clear(&c->parts);
    TRY(seg_parts_in(c, ref, from, to));
    vec_each (struct part_ref, p, &c->parts)
        TRY(decode_windows(c, p));
    size_t k = begin;
    for (size_t i = begin; i < c->roll.n; i++)
        if (window_left(c, ref, &c->roll.p[i]))
            c->roll.p[k++] = c->roll.p[i];
    c->roll.n = k;
    if (k > begin)
        qsort(c->roll.p + begin, k - begin, sizeof(*c->roll.p), cmp_window);
    return OK;
}

enum err cursor_windows(struct tsdb_cursor *c, const struct qseries *x, struct rollup_vec **ret)
{
    arena_reset(&c->a);
    vec_clear(&c->roll);
    TRY(read_windows(c, x->first, TS_MS_MIN, TS_MS_MAX));
    *ret = &c->roll;
    return OK;
}

/* Samples that are older than some window become windows of one; those inside a day that was rolled up are in it. */
static void absorb_samples(struct tsdb_cursor *c, struct tsdb_points *p)
{
    uint32_t n = lower(p->ts, (uint32_t)p->n, p->rolled_to_ms + 1);
    size_t before = c->roll.n;
    for (uint32_t i = 0; i < n; i++) {
        bool inside = false;
        for (size_t k = 0; k < c->spans.n; k++)
            inside |= p->ts[i] > c->spans.p[k]->from_ms && p->ts[i] <= c->spans.p[k]->to_ms;
        if (inside)
            continue;
        const struct histogram *h = p->h ? p->h[i] : NULL;
        double v = h ? 0 : p->v[i];
        bool stale = is_stale(h ? h->sum : v);
        struct rollup w = {
            .end_ms = p->ts[i], .first_ms = p->ts[i], .last_ms = p->ts[i], .stale = stale, .count = !stale
        };
        if (!stale) {
            w.sum = w.min = w.max = w.first = w.last = v;
            w.h = h;
        }
        vec_push(&c->roll, w);
    }
    if (c->roll.n > before)
        qsort(c->roll.p, c->roll.n, sizeof(*c->roll.p), cmp_window);
    p->ts += n;
    p->v += n;
    p->h = p->h ? p->h + n : NULL;
    p->start_ms = p->start_ms ? p->start_ms + n : NULL;
    p->n -= n;
    p->timeline = n ? 0 : p->timeline;
}

/* The days of which the series has no samples but windows; the shortest windows there are. */
static void read_rolled(struct tsdb_cursor *c, const struct qseries *x, int64_t from, int64_t to, struct tsdb_points *p)
{
    struct tsdb_query *q = c->q;
    vec_clear(&c->roll);
    vec_clear(&c->spans);
    for (const struct qref *r = x->first; r; r = r->next) {
        if (r->src < q->n_raw)
            continue;
        const struct rollup_span *s = &((const struct tsdb_seg *)segment_user(q->segs[r->src]))->rollup;
        if ((c->spans.n && vec_last(&c->spans)->from_ms == s->from_ms) || has_samples(c, x, s))
            continue;
        /* one window before, which answers for times between window ends */
        if (read_windows(c, r, MAX(from, TS_MS_MIN) - s->res_ms, MIN(to, TS_MS_MAX) - s->res_ms + 1))
            query_damage(q, "a page of %s is damaged", segment_path(q->segs[r->src]));
        vec_push(&c->spans, s);
    }
    if (!c->roll.n)
        return;
    p->rolled_to_ms = vec_last(&c->spans)->to_ms;
    absorb_samples(c, p);
    p->roll = c->roll.p;
    p->n_roll = c->roll.n;
}

static void prefetch_chunk(const struct chunk *k)
{
    __builtin_prefetch(k);
    __builtin_prefetch((const char *)k + 64);
}

void tsdb_read_ahead(struct tsdb_cursor *c, uint64_t id, unsigned step)
{
    const struct tsdb_query *q = c->q;
    const struct qseries *x = qseries_of(id);
    if (!x->head_data)
        return;
    const struct series *s = series_at(q->db, x->head_id);
    if (step == 2) {
        __builtin_prefetch(&s->chunk);
        return;
    }
    const struct chunk *k = atomic_load_explicit(&s->chunk, memory_order_acquire);
    if (step == 1)
        prefetch_chunk(k);
    else if (k && k->gen >= q->gen_min)
        prefetch_chunk(atomic_load_explicit(&k->prev, memory_order_acquire));
}

enum err tsdb_read(struct tsdb_cursor *c, uint64_t id, int64_t from_ms, int64_t to_ms, struct tsdb_points *ret)
{
    struct tsdb_query *q = c->q;
    const struct qseries *x = qseries_of(id);
    if (c->cache_bytes > CACHE_BYTES_MAX)
        cache_clear(c);
    arena_reset(&c->a);
    vec_clear(&c->parts);
    memset(ret, 0, sizeof(*ret));
    int64_t from = MAX(from_ms, q->from_ms), to = MIN(to_ms, q->to_ms);
    if (from > to)
        return OK;
    for (const struct qref *r = x->first; r && r->src < q->n_raw; r = r->next) {
        enum err e = seg_parts(c, r, from, to);
        if (e)
            query_damage(q, "the chunk index of %s is damaged", segment_path(q->segs[r->src]));
    }
    if (x->head_data) {
        struct series *s = series_at(q->db, x->head_id);
        int64_t begin = q->head_cuts ? MAX(from, x->head_cut) : from;
        chain_parts(c, s, begin, to);
        if (atomic_load(&s->ooo))
            ooo_parts(c, s, begin, to);
    }
    size_t n = 0;
    bool ordered = sort_parts(c), hists = false, starts = false;
    for (size_t i = 0; i < c->parts.n; i++) {
        const struct part_ref *p = &c->parts.p[i];
        hists |= p->hist;
        starts |= p->starts;
        n += p->n;
    }
    vec_reserve(&c->v, n);
    if (hists || !ordered)
        vec_reserve(&c->h, n);
    if (starts || !ordered)
        vec_reserve(&c->start, n);
    if (!ordered) {
        read_merged(c, n, ret);
    } else {
        while (!read_joined(c, n, hists, starts, ret)) {
            n = 0;
            vec_each (struct part_ref, p, &c->parts)
                n += p->n;
        }
    }
    if (q->hints && ret->h)
        set_hints(c, c->h.p, ret->n);
    if (q->n_segs > q->n_raw)
        read_rolled(c, x, from, to, ret);
    return OK;
}
