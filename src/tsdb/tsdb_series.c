/* Series of the head: identity (128-bit seeded hash of the canonical labels) -> id -> struct series.
 * Ids are small numbers of the whole store; each belongs to one partition, chosen by the labels job and instance
 * where there is an instance, so that a scrape takes one lock and writes one record. */
#include <roaring/roaring.h>

#include "tsdb/tsdb_int.h"

#define CANON_BYTES 2048

hash128 series_hash(struct tsdb *db, struct labels ls)
{
    char stack[CANON_BYTES], *p = stack;
    size_t need = 0;
    labels_each (l, ls)
        need += l->name.n + l->value.n + 2;
    AUTO_FREE void *heap = need > sizeof(stack) ? mem_alloc(need) : NULL;
    if (heap)
        p = heap;
    char *w = p;
    labels_each (l, ls) {
        memcpy(w, l->name.p, l->name.n);
        w += l->name.n;
        *w++ = (char)0xff;
        memcpy(w, l->value.p, l->value.n);
        w += l->value.n;
        *w++ = (char)0xff;
    }
    return hash128_seed(str_n(p, need), db->seed);
}

unsigned series_part(struct tsdb *db, struct labels ls, hash128 h)
{
    str job = STR_NONE;
    labels_each (l, ls) {
        if (l->name.n == 3 && memcmp(l->name.p, "job", 3) == 0)
            job = l->value;
        else if (l->name.n == 8 && memcmp(l->name.p, "instance", 8) == 0)
            return (unsigned)((hash64(l->value) ^ (job.n ? hash64(job) * 31 : 0)) % db->n_parts);
    }
    if (job.n)
        labels_each (l, ls)
            if (str_eq(l->name, STR("instance")))
                return (unsigned)(hash64(l->value) % db->n_parts);
    return (unsigned)(h.hi % db->n_parts);
}

static inline uint32_t tag_of(hash128 h)
{
    return (uint32_t)(h.lo >> 32);
}

struct series *series_find(struct tsdb *db, struct part *p, hash128 h, uint32_t *ret_id)
{
    if (!p->table_cap)
        return NULL;
    uint32_t mask = p->table_cap - 1, tag = tag_of(h);
    for (uint32_t i = (uint32_t)h.lo & mask;; i = (i + 1) & mask) {
        struct sid_slot *s = &p->table[i];
        if (!s->id)
            return NULL;
        if (s->tag == tag) {
            struct series *x = series_at(db, s->id);
            if (hash128_eq(x->id, h)) {
                *ret_id = s->id;
                return x;
            }
        }
    }
}

static void table_insert(struct tsdb *db, struct part *p, uint32_t id, hash128 h);

static void table_grow(struct tsdb *db, struct part *p, uint32_t cap)
{
    struct sid_slot *old = p->table;
    uint32_t old_cap = p->table_cap;
    p->table = mem_zalloc(cap * sizeof(*p->table));
    p->table_cap = cap;
    p->table_n = 0;
    for (uint32_t i = 0; i < old_cap; i++)
        if (old[i].id)
            table_insert(db, p, old[i].id, series_at(db, old[i].id)->id);
    mem_free(old);
    atomic_fetch_add_explicit(&db->bytes_series, (int64_t)(cap - old_cap) * (int64_t)sizeof(*old),
                              memory_order_relaxed);
}

static void table_insert(struct tsdb *db, struct part *p, uint32_t id, hash128 h)
{
    if ((uint64_t)(p->table_n + 1) * 4 > (uint64_t)p->table_cap * 3)
        table_grow(db, p, p->table_cap ? p->table_cap * 2 : 64);
    uint32_t mask = p->table_cap - 1, i = (uint32_t)h.lo & mask;
    while (p->table[i].id)
        i = (i + 1) & mask;
    p->table[i] = (struct sid_slot){ id, tag_of(h) };
    p->table_n++;
}

static void table_remove(struct tsdb *db, struct part *p, uint32_t id)
{
    uint32_t mask = p->table_cap - 1, hole = (uint32_t)series_at(db, id)->id.lo & mask;
    while (p->table[hole].id != id) {
        if (!p->table[hole].id)
            return;
        hole = (hole + 1) & mask;
    }
    for (uint32_t i = (hole + 1) & mask; p->table[i].id; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)series_at(db, p->table[i].id)->id.lo & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            p->table[hole] = p->table[i];
            hole = i;
        }
    }
    p->table[hole] = (struct sid_slot){ 0, 0 };
    p->table_n--;
}

enum err series_check_labels(struct tsdb *db, struct labels ls, struct err_text *reterr)
{
    const size_t labels_max = LIMIT(db, labels_max), name_max = LIMIT(db, label_name_bytes_max),
                 value_max = LIMIT(db, label_value_bytes_max);
    if (ls.n == 0)
        return err_fail(reterr, ERR_INVALID, "a series without labels");
    if (ls.n > labels_max)
        return err_fail(reterr, ERR_LIMIT, "%zu labels, at most %zu are allowed", ls.n, labels_max);
    for (size_t i = 0; i < ls.n; i++) {
        const struct label *l = &ls.p[i];
        if (l->name.n == 0)
            return err_fail(reterr, ERR_INVALID, "a label without a name");
        if (l->value.n == 0)
            return err_fail(reterr, ERR_INVALID, "label " STR_FMT " is empty", STR_ARG(str_take(l->name, 100)));
        if (l->name.n > name_max)
            return err_fail(reterr, ERR_LIMIT, "a label name of %zu bytes, at most %zu are allowed", l->name.n,
                            name_max);
        if (l->value.n > value_max)
            return err_fail(reterr, ERR_LIMIT, "the value of label " STR_FMT " has %zu bytes, at most %zu are allowed",
                            STR_ARG(str_take(l->name, 100)), l->value.n, value_max);
        if (!str_utf8_ok(l->name) || !str_utf8_ok(l->value))
            return err_fail(reterr, ERR_INVALID, "a label is not valid UTF-8");
        if (i && str_cmp(ls.p[i - 1].name, l->name) >= 0)
            return err_fail(reterr, ERR_INVALID, "label " STR_FMT " occurs twice or the labels are not sorted",
                            STR_ARG(str_take(l->name, 100)));
    }
    return OK;
}

static struct series *slot_take(struct tsdb *db, struct part *p, uint32_t *ret_id)
{
    if (p->free_ids.n) {
        *ret_id = p->free_ids.p[--p->free_ids.n];
        atomic_fetch_add(&db->index_version, 1);
        return series_at(db, *ret_id);
    }
    uint32_t id = atomic_load_explicit(&db->n_ids, memory_order_relaxed);
    ASSERT(id < SERIES_PAGE * (uint64_t)SERIES_PAGES_MAX);
    if (!atomic_load_explicit(&db->pages[id / SERIES_PAGE], memory_order_relaxed)) {
        struct series *page = mem_zalloc(SERIES_PAGE * sizeof(*page));
        atomic_store_explicit(&db->pages[id / SERIES_PAGE], page, memory_order_release);
        atomic_fetch_add_explicit(&db->bytes_series, (int64_t)(SERIES_PAGE * sizeof(*page)), memory_order_relaxed);
    }
    atomic_store_explicit(&db->n_ids, id + 1, memory_order_release);
    *ret_id = id;
    return series_at(db, id);
}

static const uint8_t *labels_blob(struct tsdb *db, struct labels ls)
{
    uint8_t tmp[16 + 256 * 10], *big = NULL, *p = tmp;
    if (ls.n > 256)
        p = big = mem_alloc(16 + ls.n * 10);
    size_t n = uvarint_put(p, ls.n);
    labels_each (l, ls) {
        n += uvarint_put(p + n, sym_intern(db, l->name));
        n += uvarint_put(p + n, sym_intern(db, l->value));
    }
    uint8_t *copy = mem_alloc(n);
    memcpy(copy, p, n);
    mem_free(big);
    atomic_fetch_add_explicit(&db->bytes_series, (int64_t)n + 8, memory_order_relaxed);
    return copy;
}

/* Under the partition lock; labels were checked. */
struct series *series_new(struct tsdb *db, struct part *p, hash128 h, struct labels ls, uint32_t *ret_id)
{
    mtx_lock(&db->idx.mu);
    struct series *s = slot_take(db, p, ret_id);
    s->id = h;
    s->tok = (struct tok){ .form = TOK_RAW };
    s->last_ts = TS_NONE;
    s->next = s->stamp = s->tok_stamp = 0;
    s->info = 0;
    s->info_gen = UINT32_MAX;
    s->run = 0;
    s->serial = ++db->serial;
    s->part = p->no;
    s->dead = false;
    s->rep = 0;
    s->labels = labels_blob(db, ls);
    atomic_store(&s->chunk, NULL);
    atomic_store(&s->ooo, NULL);
    index_add(db, *ret_id, s->labels);
    mtx_unlock(&db->idx.mu);
    table_insert(db, p, *ret_id, h);
    atomic_fetch_add(&db->n_series, 1);
    return s;
}

/* ---- idle series leave ---- */
struct gc_list {
    struct tsdb *db;
    VEC(uint32_t) ids;
    VEC(void *) blobs;
};

static void gc_release(void *vdb, void *vl)
{
    struct tsdb *db = vdb;
    struct gc_list *l = vl;
    for (size_t i = 0; i < l->blobs.n; i++)
        mem_free(l->blobs.p[i]);
    vec_each (uint32_t, id, &l->ids) {
        struct part *p = &db->parts[series_at(db, *id)->part];
        mtx_lock(&p->mu);
        vec_push(&p->free_ids, *id);
        mtx_unlock(&p->mu);
    }
    vec_free(&l->ids);
    vec_free(&l->blobs);
    mem_free(l);
}

static void tell_gone(struct tsdb *db, const struct series *s, struct arena *a)
{
    if (!db->gone)
        return;
    arena_reset(a);
    db->gone(db->gone_ctx, series_labels(db, s, a));
}

void tsdb_on_gone(struct tsdb *db, void (*gone)(void *ctx, struct labels ls), void *ctx)
{
    for (unsigned i = 0; i < db->n_parts; i++)
        mtx_lock(&db->parts[i].mu);
    db->gone = gone;
    db->gone_ctx = ctx;
    for (unsigned i = db->n_parts; i--;)
        mtx_unlock(&db->parts[i].mu);
}

void tsdb_each_series(struct tsdb *db, void (*fn)(void *ctx, struct labels ls), void *ctx)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    mtx_lock(&db->idx.mu);
    uint32_t n = (uint32_t)roaring_bitmap_get_cardinality(db->idx.all), *ids = arena_array(&a, uint32_t, n + 1);
    roaring_bitmap_to_uint32_array(db->idx.all, ids);
    mtx_unlock(&db->idx.mu);
    AUTO_ARENA struct arena one;
    arena_init(&one, 0);
    for (uint32_t i = 0; i < n; i++) {
        const struct series *s = series_at(db, ids[i]);
        struct part *p = &db->parts[s->part];
        arena_reset(&one);
        struct labels ls = LABELS_NONE;
        mtx_lock(&p->mu); /* it may leave meanwhile */
        if (!s->dead)
            ls = labels_copy(&one, series_labels(db, s, &one));
        mtx_unlock(&p->mu);
        if (ls.n)
            fn(ctx, ls);
    }
}

static void gc_part(struct tsdb *db, struct part *p, int64_t before_ms, struct gc_list *out)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    mtx_lock(&p->mu);
    for (uint32_t i = 0; i < p->table_cap; i++) {
        uint32_t id = p->table[i].id;
        if (!id)
            continue;
        struct series *s = series_at(db, id);
        if (s->last_ts < before_ms && !atomic_load(&s->chunk) && !atomic_load(&s->ooo) && !s->dead) {
            s->dead = true;
            tell_gone(db, s, &a);
            vec_push(&out->ids, id);
            vec_push(&out->blobs, (void *)(uintptr_t)s->labels);
        }
    }
    vec_each (uint32_t, id, &out->ids)
        if (series_at(db, *id)->part == p->no)
            table_remove(db, p, *id);
    mtx_unlock(&p->mu);
}

static void index_rebuild(struct tsdb *db, const struct gc_list *dead)
{
    struct head_index *x = &db->idx;
    mtx_lock(&x->mu);
    roaring_bitmap_t *gone = roaring_bitmap_of_ptr(dead->ids.n, dead->ids.p);
    roaring_bitmap_andnot_inplace(x->all, gone);
    if (x->deleted)
        roaring_bitmap_andnot_inplace(x->deleted, gone); /* their ids will be others */
    roaring_bitmap_free(gone);
    struct pairmap old = x->pairs;
    memset(&x->pairs, 0, sizeof(x->pairs));
    map_each (namemap, s, &x->names)
        vec_free(&s->value.v);
    namemap_clear(&x->names);
    map_each (pairmap, s, &old)
        plist_free(&s->value);
    pairmap_free(&old);
    uint32_t n = (uint32_t)roaring_bitmap_get_cardinality(x->all), *ids = mem_alloc((n + 1) * sizeof(*ids));
    roaring_bitmap_to_uint32_array(x->all, ids);
    roaring_bitmap_free(x->all);
    x->all = roaring_bitmap_create();
    for (uint32_t i = 0; i < n; i++)
        index_add(db, ids[i], series_at(db, ids[i])->labels);
    mem_free(ids);
    atomic_fetch_add(&db->index_version, 1);
    mtx_unlock(&x->mu);
}

/* Drop series without data in the head whose newest sample is old. Their labels live in segments. */
size_t tsdb_series_gc(struct tsdb *db)
{
    struct gc_list *l = mem_zalloc(sizeof(*l));
    int64_t before = clock_now_ms(db->clk) - 25 * 60 * 1000;
    for (unsigned i = 0; i < db->n_parts; i++)
        gc_part(db, &db->parts[i], before, l);
    size_t n = l->ids.n;
    if (n) {
        known_purge(db);
        index_rebuild(db, l);
    }
    atomic_fetch_sub(&db->n_series, n);
    tsdb_retire(db, gc_release, l);
    return n;
}
