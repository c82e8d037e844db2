/* The head's index: interned symbols, label pair -> series ids, label name -> values, and the sorted order.
 *
 * Everything here is guarded by idx.mu, which writers take for new series only. Symbol bytes are read without
 * it: pages of slices that never move. A posting list is one id in place, then delta varints, then (from 1,024
 * ids) a roaring bitmap. */
#include <roaring/roaring.h>

#include "tsdb/tsdb_int.h"

#define PLIST_INLINE      0u
#define PLIST_BITMAP      UINT32_MAX
#define PLIST_BITMAP_FROM 1024

void index_init(struct tsdb *db)
{
    struct head_index *x = &db->idx;
    mtx_init(&x->mu, 120);
    mtx_init(&db->order_mu, 115);
    arena_init(&x->sym_arena, 0);
    x->all = roaring_bitmap_create();
    x->n_syms = 1;
}

void plist_free(struct plist *l)
{
    if (l->n && l->cap == PLIST_BITMAP)
        roaring_bitmap_free(l->u.bitmap);
    else if (l->n && l->cap)
        mem_free(l->u.bytes);
}

void index_deinit(struct tsdb *db)
{
    struct head_index *x = &db->idx;
    map_each (pairmap, s, &x->pairs)
        plist_free(&s->value);
    pairmap_free(&x->pairs);
    map_each (namemap, s, &x->names)
        vec_free(&s->value.v);
    namemap_free(&x->names);
    symmap_free(&x->syms);
    for (unsigned i = 0; i < SYM_PAGES_MAX; i++)
        mem_free(atomic_load_explicit(&x->sym_pages[i], memory_order_relaxed));
    arena_deinit(&x->sym_arena);
    roaring_bitmap_free(x->all);
    if (x->deleted)
        roaring_bitmap_free(x->deleted);
    mtx_deinit(&x->mu);
    mtx_deinit(&db->order_mu);
    if (db->order)
        order_unref(db->order);
}

uint32_t sym_find(struct tsdb *db, str s)
{
    uint32_t *v = symmap_get(&db->idx.syms, s);
    return v ? *v : 0;
}

uint32_t sym_intern(struct tsdb *db, str s)
{
    struct head_index *x = &db->idx;
    uint32_t *v = symmap_get(&x->syms, s);
    if (v)
        return *v;
    uint32_t id = x->n_syms++;
    ASSERT(id < SYM_PAGE * SYM_PAGES_MAX);
    str *page = atomic_load_explicit(&x->sym_pages[id / SYM_PAGE], memory_order_relaxed);
    if (!page) {
        page = mem_zalloc(SYM_PAGE * sizeof(*page));
        x->bytes += SYM_PAGE * sizeof(*page);
        atomic_store_explicit(&x->sym_pages[id / SYM_PAGE], page, memory_order_release);
    }
    char *copy = arena_alloc_align(&x->sym_arena, s.n ? s.n : 1, 1);
    memcpy(copy, s.p, s.n);
    page[id % SYM_PAGE] = str_n(copy, s.n);
    *symmap_put(&x->syms, page[id % SYM_PAGE], NULL) = id;
    x->bytes += s.n + sizeof(struct symmap_slot);
    return id;
}

static void plist_to_bitmap(struct plist *l)
{
    roaring_bitmap_t *b = plist_bitmap(l);
    mem_free(l->u.bytes);
    l->u.bitmap = b;
    l->cap = PLIST_BITMAP;
}

void plist_add(struct plist *l, uint32_t id, uint64_t *io_bytes)
{
    if (l->n == 0) {
        l->n = 1;
        l->last = id;
        return;
    }
    if (l->cap == PLIST_BITMAP) {
        roaring_bitmap_add(l->u.bitmap, id);
        l->n++;
        l->last = id;
        return;
    }
    if (l->cap == PLIST_INLINE || l->cap - l->len < 10) {
        uint32_t cap = l->cap ? l->cap + l->cap / 2 + 8 : 16;
        uint8_t *p = mem_alloc(cap);
        if (l->cap) {
            memcpy(p, l->u.bytes, l->len);
            mem_free(l->u.bytes);
        } else {
            l->len = (uint32_t)uvarint_put(p, zigzag((int64_t)l->last));
        }
        *io_bytes += cap - l->cap;
        l->u.bytes = p;
        l->cap = cap;
    }
    l->len += (uint32_t)uvarint_put(l->u.bytes + l->len, zigzag((int64_t)id - (int64_t)l->last));
    l->n++;
    l->last = id;
    if (l->n >= PLIST_BITMAP_FROM)
        plist_to_bitmap(l);
}

roaring_bitmap_t *plist_bitmap(const struct plist *l)
{
    if (l->n && l->cap == PLIST_BITMAP)
        return roaring_bitmap_copy(l->u.bitmap);
    roaring_bitmap_t *b = roaring_bitmap_create();
    if (l->n && l->cap == PLIST_INLINE)
        roaring_bitmap_add(b, l->last);
    else if (l->n) {
        const uint8_t *p = l->u.bytes, *end = p + l->len;
        int64_t id = 0;
        while (p < end) {
            id += unzigzag(uvarint_get(&p));
            roaring_bitmap_add(b, (uint32_t)id);
        }
    }
    return b;
}

void index_add(struct tsdb *db, uint32_t id, const uint8_t *p)
{
    struct head_index *x = &db->idx;
    uint64_t n = uvarint_get(&p);
    for (uint64_t i = 0; i < n; i++) {
        uint32_t name = (uint32_t)uvarint_get(&p), value = (uint32_t)uvarint_get(&p);
        bool is_new;
        struct plist *l = pairmap_put(&x->pairs, (uint64_t)name << 32 | value, &is_new);
        if (is_new) {
            struct namevals *nv = namemap_put(&x->names, name, NULL);
            vec_push(&nv->v, value);
            x->bytes += sizeof(struct pairmap_slot) * 3 / 2 + 6;
        }
        plist_add(l, id, &x->bytes);
    }
    roaring_bitmap_add(x->all, id);
    atomic_store_explicit(&db->bytes_index, (int64_t)x->bytes, memory_order_relaxed);
}

struct labels series_labels(struct tsdb *db, const struct series *s, struct arena *a)
{
    const uint8_t *p = s->labels;
    size_t n = (size_t)uvarint_get(&p);
    struct label *l = arena_array(a, struct label, n ? n : 1);
    for (size_t i = 0; i < n; i++) {
        l[i].name = sym_at(db, (uint32_t)uvarint_get(&p));
        l[i].value = sym_at(db, (uint32_t)uvarint_get(&p));
    }
    return (struct labels){ l, n };
}

int series_cmp(struct tsdb *db, const struct series *a, const struct series *b)
{
    const uint8_t *p = a->labels, *q = b->labels;
    uint64_t n = uvarint_get(&p), m = uvarint_get(&q);
    for (uint64_t i = 0; i < 2 * MIN(n, m); i++) {
        uint32_t x = (uint32_t)uvarint_get(&p), y = (uint32_t)uvarint_get(&q);
        if (x != y)
            return str_cmp(sym_at(db, x), sym_at(db, y));
    }
    return (n > m) - (n < m);
}

/* ---- matching ---- */
static enum err head_get(void *ctx, str name, str value, roaring_bitmap_t **ret)
{
    struct tsdb *db = ctx;
    uint32_t n = sym_find(db, name), v = sym_find(db, value);
    struct plist *l = n && v ? pairmap_get(&db->idx.pairs, (uint64_t)n << 32 | v) : NULL;
    *ret = l ? plist_bitmap(l) : NULL;
    return OK;
}

static void plist_or(const struct plist *l, roaring_bitmap_t *into)
{
    if (l->n && l->cap == PLIST_BITMAP) {
        roaring_bitmap_or_inplace(into, l->u.bitmap);
    } else if (l->n && l->cap == PLIST_INLINE) {
        roaring_bitmap_add(into, l->last);
    } else {
        roaring_bitmap_t *b = plist_bitmap(l);
        roaring_bitmap_or_inplace(into, b);
        roaring_bitmap_free(b);
    }
}

static enum err head_scan(void *ctx, const struct matcher *m, bool want, roaring_bitmap_t *into)
{
    struct tsdb *db = ctx;
    uint32_t name = sym_find(db, m->name);
    struct namevals *nv = name ? namemap_get(&db->idx.names, name) : NULL;
    if (!nv)
        return OK;
    vec_each (uint32_t, v, &nv->v) {
        if (matcher_matches(m, sym_at(db, *v)) == want)
            plist_or(pairmap_get(&db->idx.pairs, (uint64_t)name << 32 | *v), into);
    }
    return OK;
}

static roaring_bitmap_t *head_all(void *ctx)
{
    struct tsdb *db = ctx;
    return roaring_bitmap_copy(db->idx.all);
}

enum err index_select(struct tsdb *db, const struct matcher *m, size_t n, roaring_bitmap_t **ret)
{
    struct postings_source src = { db, head_get, head_scan, head_all };
    mtx_lock(&db->idx.mu);
    enum err e = postings_select(&src, m, n, ret);
    mtx_unlock(&db->idx.mu);
    return e;
}

void index_note_deleted(struct tsdb *db, const struct matcher *m, size_t n)
{
    roaring_bitmap_t *ids;
    if (index_select(db, m, n, &ids))
        return;
    mtx_lock(&db->idx.mu);
    roaring_bitmap_and_inplace(ids, db->idx.all); /* some may have left meanwhile */
    if (!db->idx.deleted)
        db->idx.deleted = roaring_bitmap_create();
    roaring_bitmap_or_inplace(db->idx.deleted, ids);
    mtx_unlock(&db->idx.mu);
    roaring_bitmap_free(ids);
}

/* ---- sorted order ---- */
static int cmp_ids(const void *a, const void *b, void *ctx)
{
    struct tsdb *db = ctx;
    return series_cmp(db, series_at(db, *(const uint32_t *)a), series_at(db, *(const uint32_t *)b));
}

void order_unref(struct head_order *o)
{
    if (o && atomic_fetch_sub(&o->refs, 1) == 1) {
        mem_free(o->rank);
        mem_free(o);
    }
}

/* Ids that exist and are not in old, sorted; then merged with old's sequence. */
static struct head_order *order_build(struct tsdb *db, const struct head_order *old)
{
    mtx_lock(&db->idx.mu);
    uint64_t version = atomic_load(&db->index_version);
    uint32_t n = (uint32_t)roaring_bitmap_get_cardinality(db->idx.all);
    uint32_t *ids = mem_alloc((n + 1) * sizeof(*ids));
    roaring_bitmap_to_uint32_array(db->idx.all, ids);
    uint32_t max_id = n ? ids[n - 1] : 0;
    mtx_unlock(&db->idx.mu);
    bool reuse = old && old->version == version;
    uint32_t *fresh = mem_alloc((n + 1) * sizeof(*fresh)), n_fresh = 0;
    uint32_t *known = mem_alloc((n + 1) * sizeof(*known)), n_known = 0;
    if (reuse)
        for (uint32_t i = 0; i <= old->max_id; i++)
            if (old->rank[i] != UINT32_MAX)
                known[old->rank[i]] = i, n_known++;
    for (uint32_t i = 0; i < n; i++)
        if (!reuse || ids[i] > old->max_id || old->rank[ids[i]] == UINT32_MAX)
            fresh[n_fresh++] = ids[i];
    qsort_r(fresh, n_fresh, sizeof(*fresh), cmp_ids, db);
    struct head_order *o = mem_zalloc(sizeof(*o));
    atomic_init(&o->refs, 1);
    o->version = version;
    o->max_id = max_id;
    o->n = n;
    o->rank = mem_alloc((max_id + 1) * sizeof(*o->rank));
    memset(o->rank, 0xff, (max_id + 1) * sizeof(*o->rank));
    uint32_t i = 0, j = 0, k = 0;
    while (i < n_known || j < n_fresh) {
        bool from_known = j == n_fresh || (i < n_known && cmp_ids(&known[i], &fresh[j], db) < 0);
        o->rank[from_known ? known[i++] : fresh[j++]] = k++;
    }
    mem_free(ids);
    mem_free(fresh);
    mem_free(known);
    return o;
}

struct head_order *order_get(struct tsdb *db)
{
    mtx_lock(&db->order_mu);
    mtx_lock(&db->idx.mu);
    uint32_t n = (uint32_t)roaring_bitmap_get_cardinality(db->idx.all);
    mtx_unlock(&db->idx.mu);
    struct head_order *o = db->order;
    if (!o || o->n != n || o->version != atomic_load(&db->index_version)) {
        db->order = order_build(db, o);
        order_unref(o);
        o = db->order;
    }
    atomic_fetch_add(&o->refs, 1);
    mtx_unlock(&db->order_mu);
    return o;
}
