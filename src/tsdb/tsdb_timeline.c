/* Timelines: the timestamps of many series, stored once.
 *
 * A scrape or request delivers runs of series with one timestamp. The first series that brings a new timestamp
 * extends its timeline; for the others the entry is there already and costs nothing. Entries become visible to
 * readers together, when the whole request is applied (timelines_publish): a scrape is seen whole or not at all.
 *
 *   base 1000   off [0, 15000, 30000, ...]      u32 milliseconds: a timeline spans at most 49 days
 *                                  ^ n_pub  ^ n
 * Invariants: off ascends strictly; n_pub <= n; entries never change. All but reading is under the partition lock. */
#include "tsdb/tsdb_int.h"

static uint32_t slot_take(struct tsdb *db)
{
    mtx_lock(&db->tl_mu);
    uint32_t slot;
    if (db->tl_free.n)
        slot = db->tl_free.p[--db->tl_free.n];
    else
        slot = atomic_fetch_add(&db->n_tl_slots, 1);
    mtx_unlock(&db->tl_mu);
    return slot;
}

static void mark_dirty(struct part *p, struct timeline *t)
{
    if (t->is_dirty)
        return;
    t->is_dirty = true;
    t->dirty = p->dirty;
    p->dirty = t;
}

struct timeline *timeline_new(struct tsdb *db, struct part *p, int64_t ts)
{
    struct timeline *t = mem_zalloc(sizeof(*t));
    t->base = t->last = ts;
    t->slot = slot_take(db);
    t->gen = p->gen;
    t->cap = 4;
    t->n = 1;
    uint32_t *off = mem_alloc(t->cap * sizeof(*off));
    off[0] = 0;
    atomic_init(&t->off, off);
    atomic_init(&t->n_pub, 0);
    atomic_init(&t->born, UINT64_MAX);
    t->next = p->timelines;
    p->timelines = t;
    mark_dirty(p, t);
    atomic_fetch_add_explicit(&db->bytes_timelines, (int64_t)(sizeof(*t) + t->cap * 4), memory_order_relaxed);
    timeline_note_recent(p, t);
    return t;
}

void timeline_free(void *vdb, void *vt)
{
    struct tsdb *db = vdb;
    struct timeline *t = vt;
    mtx_lock(&db->tl_mu);
    vec_push(&db->tl_free, t->slot);
    mtx_unlock(&db->tl_mu);
    atomic_fetch_sub_explicit(&db->bytes_timelines, (int64_t)(sizeof(*t) + t->cap * 4), memory_order_relaxed);
    mem_free(timeline_off(t));
    mem_free(t);
}

bool timeline_extend(struct tsdb *db, struct part *p, struct timeline *t, int64_t ts)
{
    DEBUG_ASSERT(ts > t->last);
    uint64_t off = (uint64_t)ts - (uint64_t)t->base;
    if (off > UINT32_MAX)
        return false;
    uint32_t *a = timeline_off(t);
    if (t->n == t->cap) {
        uint32_t cap = t->cap < 64 ? t->cap * 2 : t->cap + t->cap / 2;
        uint32_t *b = mem_alloc(cap * sizeof(*b));
        memcpy(b, a, t->n * sizeof(*b));
        atomic_store(&t->off, b);
        tsdb_retire(db, NULL, a);
        atomic_fetch_add_explicit(&db->bytes_timelines, (int64_t)(cap - t->cap) * 4, memory_order_relaxed);
        t->cap = cap;
        a = b;
    }
    a[t->n++] = (uint32_t)off;
    t->last = ts;
    mark_dirty(p, t);
    return true;
}

/* First index >= from whose timestamp is >= ts; t->n if none. */
uint32_t timeline_lower_bound(struct timeline *t, uint32_t from, int64_t ts)
{
    uint32_t lo = from, hi = t->n;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (timeline_ts(t, mid) < ts)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* A timeline is seen by queries that began after it was first published: then all series of that request are on it. */
void timelines_publish(struct tsdb *db, struct part *p)
{
    while (p->dirty) {
        struct timeline *t = p->dirty;
        p->dirty = t->dirty;
        t->is_dirty = false;
        if (atomic_load_explicit(&t->born, memory_order_relaxed) == UINT64_MAX)
            atomic_store(&t->born, atomic_load(&db->query_seq));
        atomic_store_explicit(&t->n_pub, t->n, memory_order_release);
    }
}

void timeline_note_recent(struct part *p, struct timeline *t)
{
    for (unsigned i = 0; i < ARRAY_LEN(p->recent); i++)
        if (p->recent[i] == t)
            return;
    p->recent[p->recent_i++ % ARRAY_LEN(p->recent)] = t;
}

/* A timeline of this request that has an entry for ts: the place to join. */
struct timeline *timeline_recent(struct part *p, int64_t ts, uint32_t *ret_index)
{
    for (unsigned i = 0; i < ARRAY_LEN(p->recent); i++) {
        struct timeline *t = p->recent[i];
        if (!t || t->gen != p->gen || ts < t->base || ts > t->last)
            continue;
        uint32_t k = t->last == ts ? t->n - 1 : timeline_lower_bound(t, 0, ts);
        if (timeline_ts(t, k) == ts) {
            *ret_index = k;
            return t;
        }
    }
    return NULL;
}
