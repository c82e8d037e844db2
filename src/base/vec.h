/* VEC(T): the growable array. `VEC(int) v = { 0 }; vec_push(&v, 7); vec_each(int, x, &v) use(*x); vec_free(&v);`
 * On the heap with vec_*, inside an arena with avec_* (never freed on its own). Zero-initialised is empty. */
#ifndef VANE_BASE_VEC_H
#define VANE_BASE_VEC_H

#include "base/mem.h"

#define VEC(T)         \
    struct {           \
        T *p;          \
        size_t n, cap; \
    }

void *vec_grow_(void *p, size_t *cap, size_t want, size_t size);
void *avec_grow_(struct arena *a, void *p, size_t n, size_t *cap, size_t want, size_t size);

#define vec_reserve(v, want) \
    ((want) > (v)->cap ? (void)((v)->p = vec_grow_((v)->p, &(v)->cap, (want), sizeof(*(v)->p))) : (void)0)
#define vec_push(v, x) (vec_reserve((v), (v)->n + 1), (void)((v)->p[(v)->n++] = (x)))
#define vec_free(v)    (mem_free((v)->p), (v)->p = NULL, (v)->n = (v)->cap = 0)
#define vec_clear(v)   ((void)((v)->n = 0))
#define vec_last(v)    ((v)->p[(v)->n - 1])
/* T must be one word or end without a star. */
#define vec_each(T, it, v) for (T *it = (v)->p, *it##_end = (v)->n ? (v)->p + (v)->n : (v)->p; it < it##_end; it++)
/* Remove element i, keeping order / moving the last one in. */
#define vec_remove(v, i) \
    (memmove((v)->p + (i), (v)->p + (i) + 1, ((v)->n - (size_t)(i)-1) * sizeof(*(v)->p)), (void)(v)->n--)
#define vec_remove_swap(v, i) ((void)((v)->p[i] = (v)->p[--(v)->n]))

#define avec_reserve(a, v, want) \
    ((want) > (v)->cap ? (void)((v)->p = avec_grow_((a), (v)->p, (v)->n, &(v)->cap, (want), sizeof(*(v)->p))) : (void)0)
#define avec_push(a, v, x) (avec_reserve((a), (v), (v)->n + 1), (void)((v)->p[(v)->n++] = (x)))

#endif
