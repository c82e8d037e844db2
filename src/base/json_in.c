/* The JSON pull reader; see json.h. One token a call; a bit per nesting level says object or array, and
 * `state` says what may come next. Strings without escapes are slices of the input. */
#include "base/check.h"
#include "base/json.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { WANT_VALUE, WANT_VALUE_OR_END, WANT_KEY, WANT_KEY_OR_END, WANT_COLON, WANT_COMMA_OR_END, WANT_NOTHING };

void json_in_init(struct json_in *j, struct arena *a, str text)
{
    *j = (struct json_in){ .start = text.p, .p = text.p, .end = text.p + text.n, .a = a, .state = WANT_VALUE };
}

static enum json_tok json_err(struct json_in *j, const char *why)
{
    if (!j->error)
        j->error = why;
    return j->tok = JSON_TOK_ERR;
}

static void json_space(struct json_in *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\r' || *j->p == '\t'))
        j->p++;
}

/* First byte from p that is a quote, a backslash or a control character. */
static const char *json_plain_end(const char *p, const char *end)
{
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\'), low = _mm_set1_epi8(0x1f);
    for (; end - p >= 16; p += 16) {
        __m128i v;
        memcpy(&v, p, 16);
        __m128i stop = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)),
                                    _mm_cmpeq_epi8(_mm_min_epu8(v, low), v));
        int mask = _mm_movemask_epi8(stop);
        if (mask)
            return p + __builtin_ctz((unsigned)mask);
    }
#endif
    while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
        p++;
    return p;
}

static bool json_hex4(struct json_in *j, uint32_t *ret)
{
    uint32_t v = 0;
    if (j->end - j->p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        char c = *j->p++;
        uint32_t d = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                     : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a' + 10)
                     : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A' + 10)
                                            : 16;
        if (d == 16)
            return false;
        v = v << 4 | d;
    }
    *ret = v;
    return true;
}

/* After "\u": one code point, a surrogate pair taken as one. */
static bool json_unicode(struct json_in *j, uint32_t *cp)
{
    if (!json_hex4(j, cp))
        return false;
    if (*cp >= 0xdc00 && *cp < 0xe000)
        return false;
    if (*cp < 0xd800 || *cp >= 0xdc00)
        return true;
    uint32_t low;
    if (j->end - j->p < 2 || j->p[0] != '\\' || j->p[1] != 'u')
        return false;
    j->p += 2;
    if (!json_hex4(j, &low) || low < 0xdc00 || low >= 0xe000)
        return false;
    *cp = 0x10000 + ((*cp - 0xd800) << 10) + (low - 0xdc00);
    return true;
}

/* At a backslash: one escape, decoded to out; returns bytes written, 0 if malformed. */
static size_t json_escape_in(struct json_in *j, char out[4])
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    j->p++;
    if (j->p == j->end)
        return 0;
    char c = *j->p++;
    if (c == 'u') {
        uint32_t cp;
        return json_unicode(j, &cp) ? str_utf8_put(out, cp) : 0;
    }
    const char *at = memchr(from, c, sizeof(from) - 1);
    if (!at)
        return 0;
    out[0] = to[at - from];
    return 1;
}

static bool json_string_escaped(struct json_in *j, const char *from, const char *first)
{
    const char *close = first; /* find the end: it bounds the decoded size */
    while (close < j->end && *close != '"')
        close = json_plain_end(*close == '\\' ? (close + 2 < j->end ? close + 2 : j->end) : close + 1, j->end);
    char *out = arena_alloc_align(j->a, (size_t)(close - from) + 4, 1), *w = out;
    const char *run = from;
    j->p = first;
    while (j->p < j->end && *j->p == '\\') {
        memcpy(w, run, (size_t)(j->p - run));
        w += j->p - run;
        size_t n = json_escape_in(j, w);
        if (n == 0)
            return json_err(j, "invalid escape in string"), false;
        w += n;
        run = j->p;
        j->p = json_plain_end(j->p, j->end);
    }
    memcpy(w, run, (size_t)(j->p - run));
    w += j->p - run;
    j->text = (str){ out, (size_t)(w - out) };
    return true;
}

static bool json_string(struct json_in *j)
{
    const char *from = ++j->p;
    j->p = json_plain_end(from, j->end);
    j->text = (str){ from, (size_t)(j->p - from) };
    if (j->p < j->end && *j->p == '\\' && !json_string_escaped(j, from, j->p))
        return false;
    if (j->p == j->end)
        return json_err(j, "string is not closed"), false;
    if (*j->p != '"')
        return json_err(j, "control character in string"), false;
    if (!str_utf8_ok(j->text))
        return json_err(j, "string is not valid UTF-8"), false;
    j->p++;
    return true;
}

static size_t json_digits(struct json_in *j)
{
    const char *from = j->p;
    while (j->p < j->end && *j->p >= '0' && *j->p <= '9')
        j->p++;
    return (size_t)(j->p - from);
}

static bool json_number(struct json_in *j)
{
    const char *from = j->p;
    if (*j->p == '-')
        j->p++;
    bool zero = j->p < j->end && *j->p == '0';
    size_t whole = json_digits(j);
    if (whole == 0 || (zero && whole > 1))
        return json_err(j, "invalid number"), false;
    if (j->p < j->end && *j->p == '.') {
        j->p++;
        if (json_digits(j) == 0)
            return json_err(j, "invalid number"), false;
    }
    if (j->p < j->end && (*j->p == 'e' || *j->p == 'E')) {
        j->p++;
        if (j->p < j->end && (*j->p == '+' || *j->p == '-'))
            j->p++;
        if (json_digits(j) == 0)
            return json_err(j, "invalid number"), false;
    }
    j->text = (str){ from, (size_t)(j->p - from) };
    return true;
}

static bool json_word(struct json_in *j, str word)
{
    if (!str_has_prefix((str){ j->p, (size_t)(j->end - j->p) }, word))
        return json_err(j, "invalid value"), false;
    j->p += word.n;
    return true;
}

static void json_value_done(struct json_in *j)
{
    j->state = j->depth ? WANT_COMMA_OR_END : WANT_NOTHING;
}

static enum json_tok json_open_in(struct json_in *j, bool object)
{
    if (j->depth == JSON_DEPTH_MAX)
        return json_err(j, "nested too deeply");
    j->stack[j->depth++] = object;
    j->p++;
    j->state = object ? WANT_KEY_OR_END : WANT_VALUE_OR_END;
    return j->tok = object ? JSON_TOK_OBJ : JSON_TOK_ARR;
}

static enum json_tok json_close_in(struct json_in *j, bool object)
{
    if (!j->depth || j->stack[j->depth - 1] != object)
        return json_err(j, "bracket does not match");
    j->depth--;
    j->p++;
    json_value_done(j);
    return j->tok = object ? JSON_TOK_OBJ_END : JSON_TOK_ARR_END;
}

static enum json_tok json_value(struct json_in *j)
{
    enum json_tok tok;
    bool ok;
    switch (*j->p) {
    case '{':
        return json_open_in(j, true);
    case '[':
        return json_open_in(j, false);
    case '"':
        tok = JSON_TOK_STR;
        ok = json_string(j);
        break;
    case 't':
        tok = JSON_TOK_TRUE;
        ok = json_word(j, STR("true"));
        break;
    case 'f':
        tok = JSON_TOK_FALSE;
        ok = json_word(j, STR("false"));
        break;
    case 'n':
        tok = JSON_TOK_NULL;
        ok = json_word(j, STR("null"));
        break;
    default:
        if (*j->p != '-' && (*j->p < '0' || *j->p > '9'))
            return json_err(j, "value expected");
        tok = JSON_TOK_NUM;
        ok = json_number(j);
    }
    if (!ok)
        return JSON_TOK_ERR;
    json_value_done(j);
    return j->tok = tok;
}

static enum json_tok json_member_key(struct json_in *j)
{
    if (*j->p != '"')
        return json_err(j, "object key expected");
    if (!json_string(j))
        return JSON_TOK_ERR;
    json_space(j);
    if (j->p == j->end || *j->p != ':')
        return json_err(j, "':' expected after object key");
    j->p++;
    j->state = WANT_VALUE;
    return j->tok = JSON_TOK_KEY;
}

enum json_tok json_next(struct json_in *j)
{
    if (j->error)
        return JSON_TOK_ERR;
    json_space(j);
    if (j->p == j->end) {
        if (j->state == WANT_NOTHING)
            return j->tok = JSON_TOK_END;
        return json_err(j, j->start == j->end ? "empty document" : "unexpected end of document");
    }
    char c = *j->p;
    if (j->state == WANT_NOTHING)
        return json_err(j, "unexpected data after the document");
    if (j->state == WANT_COMMA_OR_END) {
        bool object = j->stack[j->depth - 1];
        if (c == '}' || c == ']')
            return json_close_in(j, c == '}');
        if (c != ',')
            return json_err(j, object ? "',' or '}' expected" : "',' or ']' expected");
        j->p++;
        json_space(j);
        if (j->p == j->end)
            return json_err(j, "unexpected end of document");
        return object ? json_member_key(j) : json_value(j);
    }
    if (j->state == WANT_KEY_OR_END)
        return c == '}' ? json_close_in(j, true) : json_member_key(j);
    if (j->state == WANT_VALUE_OR_END && c == ']')
        return json_close_in(j, false);
    return json_value(j);
}

bool json_skip(struct json_in *j)
{
    if (j->tok == JSON_TOK_KEY)
        json_next(j);
    if (j->tok == JSON_TOK_ERR)
        return false;
    if (j->tok != JSON_TOK_OBJ && j->tok != JSON_TOK_ARR)
        return true;
    unsigned until = j->depth - 1;
    while (j->depth > until)
        if (json_next(j) == JSON_TOK_ERR)
            return false;
    return true;
}

enum err json_fail(const struct json_in *j, struct err_text *reterr)
{
    size_t line = 1, column = 1;
    for (const char *p = j->start; p < j->p; p++) {
        column++;
        if (*p == '\n')
            line++, column = 1;
    }
    return err_fail_at(reterr, ERR_PARSE, (size_t)(j->p - j->start), "JSON line %zu, column %zu: %s", line, column,
                       j->error ? j->error : "unexpected value");
}
