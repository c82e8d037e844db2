/* Series known by the bytes a sender writes for their labels: hash of the bytes -> ref of the series.
 *
 * A sender repeats the same label bytes with every sample. Who decodes a request asks here first (tsdb_known) and
 * spares reading, checking, sorting and hashing the labels of a series that was taken before. What is in here was
 * accepted once, as these very bytes under these very limits (the salt); a miss is always right, only slower.
 *
 *   entries   lo | hi ^ ref | ref    in the order in which they came, a ring; ref 0 = empty
 *   index     entry number + 1       looked for in WINDOW places from lo on; lossy, the entry decides
 *
 * Senders keep the order of their series: the entry behind the last hit is tried first, so that a request walks the
 * entries as it walks its own bytes. Entries are read and written without a lock: one torn by two writers, or seen
 * half written, does not give its hash back and counts as a miss. The ring grows with the number of series; old ones
 * are kept until the store closes, since a reader may be in them (a third of the memory at most). Refs of series
 * that leave are taken out before their ids can be used again. */
#include "tsdb/tsdb_int.h"

#define WINDOW    4
#define KNOWN_MIN 2048u
#define KNOWN_MAX (1u << 26)

struct known {
    atomic_uint_least64_t lo, x, ref;
};
struct known_table {
    struct known_table *older;
    uint32_t mask;    /* of both arrays */
    atomic_uint next; /* entry to be written */
    atomic_uint *index;
    struct known entries[];
};

static inline uint64_t ref_at(const struct known_table *t, uint32_t i, hash128 key)
{
    const struct known *e = &t->entries[i & t->mask];
    uint64_t ref = atomic_load_explicit(&e->ref, memory_order_relaxed);
    return ref && atomic_load_explicit(&e->lo, memory_order_relaxed) == key.lo &&
                   (atomic_load_explicit(&e->x, memory_order_relaxed) ^ ref) == key.hi
               ? ref
               : 0;
}

uint64_t tsdb_known(struct tsdb *db, str bytes, uint64_t salt, uint32_t *io_hint, hash128 *ret_key)
{
    hash128 key = hash128_seed(bytes, db->seed ^ hash_u64(salt + 1));
    struct known_table *t = atomic_load_explicit(&db->known, memory_order_acquire);
    *ret_key = key;
    if (!t)
        return 0;
    uint64_t ref = ref_at(t, *io_hint, key);
    if (__builtin_expect(ref != 0, 1)) {
        ++*io_hint;
        return ref;
    }
    for (uint32_t i = 0; i < WINDOW; i++) {
        uint32_t at = atomic_load_explicit(&t->index[((uint32_t)key.lo + i) & t->mask], memory_order_relaxed);
        ref = at ? ref_at(t, at - 1, key) : 0;
        if (ref) {
            *io_hint = at;
            return ref;
        }
    }
    return 0;
}

static void put(struct known_table *t, hash128 key, uint64_t ref)
{
    uint32_t at = atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed) & t->mask;
    struct known *e = &t->entries[at];
    atomic_store_explicit(&e->lo, key.lo, memory_order_relaxed);
    atomic_store_explicit(&e->x, key.hi ^ ref, memory_order_relaxed);
    atomic_store_explicit(&e->ref, ref, memory_order_relaxed);
    uint32_t home = (uint32_t)key.lo, to = home + (uint32_t)(key.hi % WINDOW); /* all taken: one gives way */
    for (uint32_t i = 0; i < WINDOW; i++) {
        uint32_t have = atomic_load_explicit(&t->index[(home + i) & t->mask], memory_order_relaxed);
        const struct known *h = &t->entries[(have - 1) & t->mask];
        if (!have || !atomic_load_explicit(&h->ref, memory_order_relaxed) || have == at + 1 ||
            atomic_load_explicit(&h->lo, memory_order_relaxed) == key.lo) {
            to = home + i;
            break;
        }
    }
    atomic_store_explicit(&t->index[to & t->mask], at + 1, memory_order_relaxed);
}

/* Twice as many entries as series, at least; the ring forgets the oldest when there is no room for more. */
static bool is_small(const struct tsdb *db, const struct known_table *t)
{
    return !t || (atomic_load_explicit(&t->next, memory_order_relaxed) > t->mask / 2 && t->mask < KNOWN_MAX &&
                  atomic_load_explicit(&db->n_series, memory_order_relaxed) > t->mask / 2);
}

static struct known_table *grow(struct tsdb *db, struct known_table *old)
{
    uint32_t cap = old ? (old->mask + 1) * 4 : KNOWN_MIN;
    size_t bytes = sizeof(*old) + (size_t)cap * (sizeof(struct known) + sizeof(atomic_uint));
    if (old && bytes > atomic_load_explicit(&db->memory_max, memory_order_relaxed) / 16)
        return old;
    struct known_table *t = mem_zalloc(bytes);
    t->older = old;
    t->mask = cap - 1;
    t->index = (atomic_uint *)(void *)&t->entries[cap];
    for (uint32_t i = 0; old && i <= old->mask; i++) {
        struct known *e = &old->entries[i];
        uint64_t ref = atomic_load_explicit(&e->ref, memory_order_relaxed),
                 lo = atomic_load_explicit(&e->lo, memory_order_relaxed);
        if (ref)
            put(t, (hash128){ lo, atomic_load_explicit(&e->x, memory_order_relaxed) ^ ref }, ref);
    }
    atomic_store_explicit(&db->known, t, memory_order_release); /* pairs with the loads of readers */
    atomic_fetch_add_explicit(&db->bytes_series, (int64_t)bytes, memory_order_relaxed);
    return t;
}

void known_put(struct tsdb *db, hash128 key, uint64_t ref)
{
    struct known_table *t = atomic_load_explicit(&db->known, memory_order_acquire);
    if (__builtin_expect(is_small(db, t), 0)) {
        mtx_lock(&db->known_mu);
        t = atomic_load_explicit(&db->known, memory_order_relaxed);
        if (is_small(db, t))
            t = grow(db, t);
        mtx_unlock(&db->known_mu);
    }
    put(t, key, ref);
}

/* Refs of dead series leave; nothing puts them in any more. */
void known_purge(struct tsdb *db)
{
    mtx_lock(&db->known_mu);
    struct known_table *t = atomic_load_explicit(&db->known, memory_order_relaxed);
    for (uint32_t i = 0; t && i <= t->mask; i++) {
        uint64_t ref = atomic_load_explicit(&t->entries[i].ref, memory_order_relaxed);
        const struct series *s = ref ? series_at(db, (uint32_t)ref) : NULL;
        if (s && (__atomic_load_n(&s->dead, __ATOMIC_RELAXED) || series_ref_of(s, (uint32_t)ref) != ref))
            atomic_store_explicit(&t->entries[i].ref, 0, memory_order_relaxed);
    }
    mtx_unlock(&db->known_mu);
}

void known_deinit(struct tsdb *db)
{
    struct known_table *t = atomic_load(&db->known);
    while (t) {
        struct known_table *older = t->older;
        mem_free(t);
        t = older;
    }
    mtx_deinit(&db->known_mu);
}
