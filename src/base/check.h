/* Assertions, for our own mistakes only. ASSERT stays on in release builds; DEBUG_ASSERT may cost. */
#ifndef VANE_BASE_CHECK_H
#define VANE_BASE_CHECK_H

__attribute__((noreturn, cold)) void assert_failed(const char *expr, const char *file, int line);

#define ASSERT(expr) (__builtin_expect(!(expr), 0) ? assert_failed(#expr, __FILE__, __LINE__) : (void)0)

#ifdef NDEBUG
#define DEBUG_ASSERT(expr) ((void)0)
#else
#define DEBUG_ASSERT(expr) ASSERT(expr)
#endif

#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))
#define UNUSED                          __attribute__((unused))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
