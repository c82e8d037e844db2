/* Memory that aborts when the system has none, arenas and the growth of VEC; see mem.h, vec.h. */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/vec.h"

enum { ARENA_BLOCK_BYTES = 16 * 1024, ARENA_BLOCK_BYTES_MAX = 4 * 1024 * 1024 };

void assert_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "vane: assertion failed: %s (%s:%d); this is a bug in vane\n", expr, file, line);
    abort();
}

__attribute__((noreturn, cold)) static void mem_exhausted(size_t n)
{
    fprintf(stderr, "vane: out of memory: %zu bytes were refused by the system\n", n);
    abort();
}

void *mem_alloc(size_t n)
{
    void *p = malloc(n ? n : 1);
    if (!p)
        mem_exhausted(n);
    return p;
}

void *mem_zalloc(size_t n)
{
    void *p = calloc(1, n ? n : 1);
    if (!p)
        mem_exhausted(n);
    return p;
}

void *mem_realloc(void *p, size_t n)
{
    void *q = realloc(p, n ? n : 1);
    if (!q)
        mem_exhausted(n);
    return q;
}

void mem_free(void *p)
{
    free(p);
}

char *mem_strdup(str s)
{
    char *p = mem_alloc(s.n + 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

str mem_dup(str s)
{
    return (str){ mem_strdup(s), s.n };
}

struct arena_block {
    struct arena_block *prev;
    size_t size; /* of the bytes that follow */
    max_align_t data[];
};

void arena_init(struct arena *a, size_t bytes_max)
{
    *a = (struct arena){ .bytes_max = bytes_max };
}

void arena_deinit(struct arena *a)
{
    for (struct arena_block *b = a->block, *prev; b; b = prev) {
        prev = b->prev;
        free(b);
    }
    *a = (struct arena){ .bytes_max = a->bytes_max };
}

static void arena_use(struct arena *a, struct arena_block *b)
{
    a->block = b;
    a->next = (char *)b->data;
    a->end = a->next + b->size;
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = NULL;
    for (struct arena_block *b = a->block, *prev; b; b = prev) {
        prev = b->prev;
        if (!keep || b->size > keep->size) {
            free(keep);
            keep = b;
        } else {
            free(b);
        }
    }
    *a = (struct arena){ .bytes_max = a->bytes_max };
    if (keep) {
        keep->prev = NULL;
        a->bytes = keep->size;
        arena_use(a, keep);
    }
}

void *arena_grow(struct arena *a, size_t n, size_t align)
{
    size_t want = n + align;
    size_t size = a->bytes < ARENA_BLOCK_BYTES ? ARENA_BLOCK_BYTES : a->bytes;
    size = MIN(size, ARENA_BLOCK_BYTES_MAX);
    bool alone = want > size; /* a large piece gets a block of its own; the current one stays in use */
    if (alone)
        size = want;
    struct arena_block *b = mem_alloc(sizeof(*b) + size);
    b->size = size;
    a->bytes += size;
    if (alone && a->block) {
        b->prev = a->block->prev;
        a->block->prev = b;
        uintptr_t p = ((uintptr_t)b->data + (align - 1)) & ~(uintptr_t)(align - 1);
        return (void *)p;
    }
    b->prev = a->block;
    arena_use(a, b);
    return arena_alloc_align(a, n, align);
}

void *arena_zalloc(struct arena *a, size_t n)
{
    void *p = arena_alloc(a, n);
    memset(p, 0, n);
    return p;
}

char *arena_cstr(struct arena *a, str s)
{
    char *p = arena_alloc_align(a, s.n + 1, 1);
    if (s.n)
        memcpy(p, s.p, s.n);
    p[s.n] = '\0';
    return p;
}

str arena_str(struct arena *a, str s)
{
    return (str){ arena_cstr(a, s), s.n };
}

str arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0);
    char *p = arena_alloc_align(a, (size_t)n + 1, 1);
    vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return (str){ p, (size_t)n };
}

static size_t vec_next_cap(size_t cap, size_t want)
{
    size_t next = cap ? cap + cap / 2 + 1 : 8;
    return next < want ? want : next;
}

void *vec_grow_(void *p, size_t *cap, size_t want, size_t size)
{
    *cap = vec_next_cap(*cap, want);
    ASSERT(*cap <= SIZE_MAX / size);
    return mem_realloc(p, *cap * size);
}

void *avec_grow_(struct arena *a, void *p, size_t n, size_t *cap, size_t want, size_t size)
{
    *cap = vec_next_cap(*cap, want);
    ASSERT(*cap <= SIZE_MAX / size);
    void *q = arena_alloc(a, *cap * size);
    if (n)
        memcpy(q, p, n * size);
    return q;
}
