/* Byte slices by value, borrowed unless a name says otherwise; not NUL-terminated. */
#ifndef VANE_BASE_STR_H
#define VANE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct str {
    const char *p;
    size_t n;
} str;

#define STR(lit) ((str){ "" lit, sizeof(lit) - 1 })
#define STR_INIT(lit)           \
    {                           \
        "" lit, sizeof(lit) - 1 \
    } /* for static tables */
#define STR_NONE   ((str){ 0 })
#define STR_FMT    "%.*s"
#define STR_ARG(s) (int)(s).n, (s).p

static inline str str_c(const char *c)
{
    return (str){ c, c ? strlen(c) : 0 };
}
static inline str str_n(const char *p, size_t n)
{
    return (str){ p, n };
}
static inline const char *str_end(str s) /* also of an empty slice that points nowhere */
{
    return s.n ? s.p + s.n : s.p;
}
static inline bool str_eq(str a, str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
/* Order by bytes, shorter first: the order of label names and values everywhere. */
static inline int str_cmp(str a, str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.p, b.p, n) : 0;
    return c ? c : (a.n > b.n) - (a.n < b.n);
}
static inline bool str_has_prefix(str s, str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}
static inline bool str_has_suffix(str s, str suffix)
{
    return s.n >= suffix.n && (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}
static inline str str_skip(str s, size_t k)
{
    return k >= s.n ? (str){ str_end(s), 0 } : (str){ s.p + k, s.n - k };
}
static inline str str_take(str s, size_t k)
{
    return k >= s.n ? s : (str){ s.p, k };
}

bool str_ieq(str a, str b);                       /* ASCII case folded */
bool str_cut(str *rest, char sep, str *ret_head); /* "a,b": head "a", rest "b"; false when rest was empty */
str str_trim(str s);                              /* ASCII white space at both ends */
size_t str_find(str hay, str needle);             /* SIZE_MAX if absent */
static inline bool str_contains(str hay, str needle)
{
    return str_find(hay, needle) != SIZE_MAX;
}
size_t str_find_char(str s, char c);   /* SIZE_MAX if absent */
bool str_to_u64(str s, uint64_t *ret); /* decimal, whole string */
bool str_to_i64(str s, int64_t *ret);
bool str_to_bool(str s, bool *ret); /* true/false only */
/* Length of the longest valid UTF-8 prefix (no surrogates, no overlong forms); == s.n if all valid. */
size_t str_utf8_valid_len(str s);
static inline bool str_utf8_ok(str s)
{
    return str_utf8_valid_len(s) == s.n;
}
/* Encode one code point, 1..4 bytes; returns the length. */
size_t str_utf8_put(char out[4], uint32_t cp);
/* Decode one code point at s.p (s.n > 0). Invalid bytes give U+FFFD and length 1. */
size_t str_utf8_get(str s, uint32_t *ret_cp);
/* Damerau-Levenshtein distance with transpositions, for "did you mean"; strings over 64 bytes give 99. */
unsigned str_distance(str a, str b);
/* The candidate nearest to s within a third of its length, or STR_NONE. */
str str_nearest(str s, const str *candidates, size_t n);

#endif
