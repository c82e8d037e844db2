/* Lexing of text exposition: names, quoted strings, numbers. See expo_int.h. */
#include "wire/expo_int.h"

#include <emmintrin.h>

#include "base/num.h"

#define N4 EXPO_C_NAME_START | EXPO_C_LABEL_START
#define N5 N4, N4, N4, N4, N4
/* clang-format off */
const uint8_t expo_class[256] = {
    ['0'] = EXPO_C_DIGIT, EXPO_C_DIGIT, EXPO_C_DIGIT, EXPO_C_DIGIT, EXPO_C_DIGIT,
    EXPO_C_DIGIT, EXPO_C_DIGIT, EXPO_C_DIGIT, EXPO_C_DIGIT, EXPO_C_DIGIT,
    [':'] = EXPO_C_NAME_START,
    ['A'] = N5, N5, N5, N5, N5, N4,
    ['_'] = N4,
    ['a'] = N5, N5, N5, N5, N5, N4,
};
/* clang-format on */

const char *expo_metric_name_end(const char *p, const char *end)
{
    if (p == end || !expo_is(*p, EXPO_C_NAME_START))
        return p;
    for (p++; p < end && expo_is(*p, EXPO_C_NAME_START | EXPO_C_DIGIT);)
        p++;
    return p;
}

const char *expo_label_name_end(const char *p, const char *end)
{
    if (p == end || !expo_is(*p, EXPO_C_LABEL_START))
        return p;
    for (p++; p < end && expo_is(*p, EXPO_C_LABEL_START | EXPO_C_DIGIT);)
        p++;
    return p;
}

/* The first byte of [p, end) that is '"', '\\', '\n' or NUL; ORs EXPO_Q_HIGH when a byte >= 0x80 was passed. */
static const char *quote_scan(const char *p, const char *end, unsigned *flags)
{
    const __m128i quote = _mm_set1_epi8('"'), back = _mm_set1_epi8('\\');
    const __m128i low = _mm_set1_epi8('\n'), zero = _mm_setzero_si128();
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, back)),
                                   _mm_or_si128(_mm_cmpeq_epi8(v, low), _mm_cmpeq_epi8(v, zero)));
        unsigned mask = (unsigned)_mm_movemask_epi8(hit), high = (unsigned)_mm_movemask_epi8(v);
        if (mask) {
            unsigned k = (unsigned)__builtin_ctz(mask);
            if (high & ((1u << k) - 1))
                *flags |= EXPO_Q_HIGH;
            return p + k;
        }
        if (high)
            *flags |= EXPO_Q_HIGH;
        p += 16;
    }
    for (; p < end && *p != '"' && *p != '\\' && *p != '\n' && *p != '\0'; p++)
        if (*p & 0x80)
            *flags |= EXPO_Q_HIGH;
    return p;
}

const char *expo_quote_end(const char *p, const char *end, bool newline_ok, bool nul_ok, unsigned *ret_flags)
{
    unsigned flags = 0;
    for (;;) {
        p = quote_scan(p, end, &flags);
        if (p == end)
            return NULL;
        if (*p == '"') {
            *ret_flags = flags;
            return p;
        }
        if (*p == '\\') {
            if (++p == end || *p == '\n')
                return NULL;
            flags |= EXPO_Q_ESCAPE | (*p & 0x80 ? EXPO_Q_HIGH : 0u);
        } else if (*p == '\n' ? !newline_ok : !nul_ok) {
            return NULL;
        }
        p++;
    }
}

str expo_unescape(struct arena *a, str s, bool help)
{
    if (!s.n || !memchr(s.p, '\\', s.n))
        return s;
    char *out = arena_alloc_align(a, s.n, 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i], next = i + 1 < s.n ? s.p[i + 1] : '\0';
        if (c == '\\' && (next == '\\' || next == 'n' || (next == '"' && !help))) {
            c = next == 'n' ? '\n' : next;
            i++;
        }
        out[n++] = c;
    }
    return (str){ out, n };
}

bool expo_number(str s, double *ret)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] == 'p' || s.p[i] == 'P' || s.p[i] == '_' || s.p[i] == 'x' || s.p[i] == 'X')
            return false;
    return num_parse_f64(s, ret);
}

str expo_openmetrics_float(struct arena *a, double v)
{
    char text[NUM_TEXT_MAX + 2];
    size_t n = num_format_g(text, v);
    bool plain = v - v == 0; /* finite */
    for (size_t i = 0; i < n && plain; i++)
        plain = text[i] != '.' && text[i] != 'e';
    if (v == 0) { /* also -0 */
        text[0] = '0';
        n = 1;
    }
    if (plain) {
        text[n++] = '.';
        text[n++] = '0';
    }
    return arena_str(a, (str){ text, n });
}

str expo_normal_value(struct arena *a, enum metric_type type, str name, str value)
{
    if (!(type == METRIC_HISTOGRAM && str_eq(name, LABEL_BUCKET)) &&
        !(type == METRIC_SUMMARY && str_eq(name, LABEL_QUANTILE)))
        return value;
    double v;
    return num_parse_f64(value, &v) ? expo_openmetrics_float(a, v) : value;
}
