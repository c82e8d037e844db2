/* Slices, UTF-8 and edit distance; see str.h. */
#include "base/str.h"

#include "base/check.h"

static char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool str_ieq(str a, str b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
            return false;
    return true;
}

bool str_cut(str *rest, char sep, str *ret_head)
{
    if (rest->n == 0)
        return false;
    size_t at = str_find_char(*rest, sep);
    if (at == SIZE_MAX) {
        *ret_head = *rest;
        *rest = (str){ rest->p + rest->n, 0 };
    } else {
        *ret_head = (str){ rest->p, at };
        *rest = (str){ rest->p + at + 1, rest->n - at - 1 };
    }
    return true;
}

static bool ascii_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

str str_trim(str s)
{
    while (s.n && ascii_space(s.p[0]))
        s.p++, s.n--;
    while (s.n && ascii_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

size_t str_find(str hay, str needle)
{
    if (needle.n == 0)
        return 0;
    if (needle.n > hay.n)
        return SIZE_MAX;
    const char *at = memmem(hay.p, hay.n, needle.p, needle.n);
    return at ? (size_t)(at - hay.p) : SIZE_MAX;
}

size_t str_find_char(str s, char c)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
    return at ? (size_t)(at - s.p) : SIZE_MAX;
}

bool str_to_u64(str s, uint64_t *ret)
{
    if (s.n == 0 || s.n > 20)
        return false;
    uint64_t v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
            return false;
    }
    *ret = v;
    return true;
}

bool str_to_i64(str s, int64_t *ret)
{
    bool neg = s.n && s.p[0] == '-';
    uint64_t v;
    if (s.n && (neg || s.p[0] == '+'))
        s = str_skip(s, 1);
    if (!str_to_u64(s, &v) || v > (uint64_t)INT64_MAX + neg)
        return false;
    *ret = (int64_t)(neg ? 0 - v : v);
    return true;
}

bool str_to_bool(str s, bool *ret)
{
    if (!str_eq(s, STR("true")) && !str_eq(s, STR("false")))
        return false;
    *ret = s.p[0] == 't';
    return true;
}

/* Length of the valid sequence at p (1..4), 0 if there is none. RFC 3629. */
static size_t utf8_seq(const unsigned char *p, size_t n, uint32_t *cp)
{
    unsigned char c = p[0];
    if (c < 0x80) {
        *cp = c;
        return 1;
    }
    size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || len > n)
        return 0;
    uint32_t v = c & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (p[i] & 0x3fu);
    }
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (v < least[len] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
        return 0;
    *cp = v;
    return len;
}

size_t str_utf8_valid_len(str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t i = 0;
    while (i < s.n) {
        uint64_t eight;
        if (s.n - i >= 8 && (memcpy(&eight, p + i, 8), (eight & 0x8080808080808080ull) == 0)) {
            i += 8;
            continue;
        }
        uint32_t cp;
        size_t len = utf8_seq(p + i, s.n - i, &cp);
        if (len == 0)
            return i;
        i += len;
    }
    return s.n;
}

size_t str_utf8_put(char out[4], uint32_t cp)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | (cp >> 18 & 7));
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

size_t str_utf8_get(str s, uint32_t *ret_cp)
{
    size_t len = utf8_seq((const unsigned char *)s.p, s.n, ret_cp);
    if (len == 0) {
        *ret_cp = 0xfffd;
        return 1;
    }
    return len;
}

enum { DISTANCE_BYTES_MAX = 64 };

unsigned str_distance(str a, str b)
{
    if (a.n > DISTANCE_BYTES_MAX || b.n > DISTANCE_BYTES_MAX)
        return 99;
    unsigned char rows[3][DISTANCE_BYTES_MAX + 1];
    for (size_t j = 0; j <= b.n; j++)
        rows[0][j] = (unsigned char)j;
    for (size_t i = 1; i <= a.n; i++) {
        unsigned char *cur = rows[i % 3], *prev = rows[(i - 1) % 3], *prev2 = rows[(i + 1) % 3];
        cur[0] = (unsigned char)i;
        for (size_t j = 1; j <= b.n; j++) {
            int cost = a.p[i - 1] != b.p[j - 1];
            int best = MIN(MIN(prev[j] + 1, cur[j - 1] + 1), prev[j - 1] + cost);
            if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1])
                best = MIN(best, prev2[j - 2] + 1);
            cur[j] = (unsigned char)best;
        }
    }
    return rows[a.n % 3][b.n];
}

str str_nearest(str s, const str *candidates, size_t n)
{
    str best = STR_NONE;
    unsigned best_distance = (unsigned)MAX(1, s.n / 3) + 1;
    for (size_t i = 0; i < n; i++) {
        unsigned d = str_distance(s, candidates[i]);
        if (d < best_distance) {
            best_distance = d;
            best = candidates[i];
        }
    }
    return best;
}
