/* Memory. mem_* abort when the system has none: whatever depends on input is bounded first, at a few
 * choke points that return ERR_LIMIT.
 *
 * arena: memory by lifetime (a request, a query, a block being written); arena_deinit frees it all.
 * An arena has a soft limit: allocation beyond it still succeeds and arena_over() becomes true;
 * choke points (parsers' loops, operators) ask arena_over() and give up with ERR_LIMIT.
 * Threads: one arena belongs to one thread at a time. */
#ifndef VANE_BASE_MEM_H
#define VANE_BASE_MEM_H

#include "base/err.h"
#include "base/str.h"

void *mem_alloc(size_t n) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_zalloc(size_t n) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_realloc(void *p, size_t n) __attribute__((alloc_size(2), returns_nonnull));
void mem_free(void *p);
char *mem_strdup(str s); /* NUL-terminated copy */
str mem_dup(str s);      /* owned copy: mem_free((void *)s.p) */
static inline void mem_free_cleanup(void *pp)
{
    mem_free(*(void **)pp);
}
#define AUTO_FREE __attribute__((cleanup(mem_free_cleanup)))

struct arena_block;
struct arena {
    struct arena_block *block; /* newest first */
    char *next, *end;          /* free space of the newest block */
    size_t bytes;              /* handed out by the system so far */
    size_t bytes_max;          /* soft limit, 0 = none */
};

void arena_init(struct arena *a, size_t bytes_max);
void arena_deinit(struct arena *a);
void arena_reset(struct arena *a); /* keeps the largest block for reuse */
static inline bool arena_over(const struct arena *a)
{
    return a->bytes_max && a->bytes > a->bytes_max;
}
#define AUTO_ARENA __attribute__((cleanup(arena_deinit)))

void *arena_grow(struct arena *a, size_t n, size_t align); /* slow path of arena_alloc_align */
static inline void *arena_alloc_align(struct arena *a, size_t n, size_t align)
{
    char *p = (char *)(((uintptr_t)a->next + (align - 1)) & ~(uintptr_t)(align - 1));
    if (__builtin_expect(a->next == NULL || p > a->end || n > (size_t)(a->end - p), 0))
        return arena_grow(a, n, align);
    a->next = p + n;
    return p;
}
static inline void *arena_alloc(struct arena *a, size_t n)
{
    return arena_alloc_align(a, n, 16);
}
void *arena_zalloc(struct arena *a, size_t n);
#define arena_new(a, T)       ((T *)arena_zalloc((a), sizeof(T)))
#define arena_array(a, T, n)  ((T *)arena_alloc((a), sizeof(T) * (size_t)(n)))
#define arena_zarray(a, T, n) ((T *)arena_zalloc((a), sizeof(T) * (size_t)(n)))
str arena_str(struct arena *a, str s);    /* copy; a NUL follows it */
char *arena_cstr(struct arena *a, str s); /* NUL-terminated copy */
str arena_printf(struct arena *a, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
