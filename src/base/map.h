/* The hash map: open addressing, linear probing, generated per type by including this file.
 *
 *   #define MAP_NAME  symtab            // struct symtab, symtab_get(), symtab_put(), ...
 *   #define MAP_KEY   str
 *   #define MAP_VALUE uint32_t
 *   #define MAP_HASH(k)  hash64(k)
 *   #define MAP_EQ(a, b) str_eq(a, b)
 *   #include "base/map.h"
 *
 * A zero-initialised map is empty. Keys are stored by value (a str key borrows its bytes).
 *   V *NAME_get(const struct NAME *, K)            NULL if absent
 *   V *NAME_put(struct NAME *, K, bool *ret_new)   existing value, or a new zeroed one (ret_new may be NULL)
 *   bool NAME_del(struct NAME *, K)
 *   struct NAME_slot *NAME_next(const struct NAME *, size_t *it)   iterate: it starts at 0, NULL at the end
 *   void NAME_free(struct NAME *); NAME_clear(struct NAME *); NAME_reserve(struct NAME *, size_t n)
 * Pointers to values are valid until the next put or del. map_each(NAME, slot, &m) iterates.
 * Threads: none of its own. */
#include "base/check.h"
#include "base/mem.h"

#ifndef map_each
#define map_each(NAME, slot, m)                                   \
    for (struct {                                                 \
             size_t i;                                            \
             struct NAME##_slot *s;                               \
         } slot##_it = { 0, NULL };                               \
         (slot##_it.s = NAME##_next((m), &slot##_it.i)) != NULL;) \
        for (struct NAME##_slot *slot = slot##_it.s; slot; slot = NULL)
#endif

#define MAP_CAT_(a, b) a##b
#define MAP_CAT(a, b)  MAP_CAT_(a, b)
#define MAP_FN(f)      MAP_CAT(MAP_NAME, f)
#define MAP_SLOT       struct MAP_FN(_slot)

MAP_SLOT
{
    MAP_KEY key;
    MAP_VALUE value;
    uint32_t tag; /* 0 = empty; otherwise hash bits | 1 */
};
struct MAP_NAME {
    MAP_SLOT *slots;
    size_t n, cap; /* cap is a power of two or 0 */
};

static inline UNUSED MAP_SLOT *MAP_FN(_find_)(const struct MAP_NAME *m, MAP_KEY key, uint64_t h)
{
    uint32_t tag = (uint32_t)(h >> 32) | 1;
    for (size_t i = (size_t)h & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
        MAP_SLOT *s = &m->slots[i];
        if (s->tag == 0 || (s->tag == tag && MAP_EQ(s->key, key)))
            return s;
    }
}
static inline UNUSED MAP_VALUE *MAP_FN(_get)(const struct MAP_NAME *m, MAP_KEY key)
{
    if (m->n == 0)
        return NULL;
    MAP_SLOT *s = MAP_FN(_find_)(m, key, (uint64_t)(MAP_HASH(key)));
    return s->tag ? &s->value : NULL;
}
static inline UNUSED void MAP_FN(_rehash_)(struct MAP_NAME *m, size_t cap)
{
    struct MAP_NAME old = *m;
    m->slots = mem_zalloc(cap * sizeof(*m->slots));
    m->cap = cap;
    for (size_t i = 0; i < old.cap; i++)
        if (old.slots[i].tag)
            *MAP_FN(_find_)(m, old.slots[i].key, (uint64_t)(MAP_HASH(old.slots[i].key))) = old.slots[i];
    mem_free(old.slots);
}
static inline UNUSED void MAP_FN(_reserve)(struct MAP_NAME *m, size_t n)
{
    size_t cap = m->cap ? m->cap : 16;
    while (n * 4 > cap * 3)
        cap *= 2;
    if (cap != m->cap)
        MAP_FN(_rehash_)(m, cap);
}
static inline UNUSED MAP_VALUE *MAP_FN(_put)(struct MAP_NAME *m, MAP_KEY key, bool *ret_new)
{
    if ((m->n + 1) * 4 > m->cap * 3)
        MAP_FN(_rehash_)(m, m->cap ? m->cap * 2 : 16);
    uint64_t h = (uint64_t)(MAP_HASH(key));
    MAP_SLOT *s = MAP_FN(_find_)(m, key, h);
    if (ret_new)
        *ret_new = s->tag == 0;
    if (s->tag == 0) {
        s->key = key;
        s->tag = (uint32_t)(h >> 32) | 1;
        m->n++;
    }
    return &s->value;
}
static inline UNUSED bool MAP_FN(_del)(struct MAP_NAME *m, MAP_KEY key)
{
    if (m->n == 0)
        return false;
    MAP_SLOT *s = MAP_FN(_find_)(m, key, (uint64_t)(MAP_HASH(key)));
    if (s->tag == 0)
        return false;
    size_t hole = (size_t)(s - m->slots), mask = m->cap - 1;
    for (size_t i = (hole + 1) & mask; m->slots[i].tag; i = (i + 1) & mask) {
        size_t home = (size_t)(uint64_t)(MAP_HASH(m->slots[i].key)) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    memset(&m->slots[hole], 0, sizeof(m->slots[hole]));
    m->n--;
    return true;
}
static inline UNUSED MAP_SLOT *MAP_FN(_next)(const struct MAP_NAME *m, size_t *it)
{
    while (*it < m->cap) {
        MAP_SLOT *s = &m->slots[(*it)++];
        if (s->tag)
            return s;
    }
    return NULL;
}
static inline UNUSED void MAP_FN(_free)(struct MAP_NAME *m)
{
    mem_free(m->slots);
    memset(m, 0, sizeof(*m));
}
static inline UNUSED void MAP_FN(_clear)(struct MAP_NAME *m)
{
    if (m->cap)
        memset(m->slots, 0, m->cap * sizeof(*m->slots));
    m->n = 0;
}

#undef MAP_NAME
#undef MAP_KEY
#undef MAP_VALUE
#undef MAP_HASH
#undef MAP_EQ
#undef MAP_CAT_
#undef MAP_CAT
#undef MAP_FN
#undef MAP_SLOT
