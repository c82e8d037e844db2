/* Quoting as Go writes it (strconv.Quote); see buf.h. */
#include "base/buf.h"
#include "base/check.h"

bool str_rune_is_printable(uint32_t r)
{
    static const struct {
        uint32_t lo, hi;
    } hidden[] = {
        { 0x7f, 0xa0 },       { 0xad, 0xad },       { 0x600, 0x605 },     { 0x61c, 0x61c },     { 0x6dd, 0x6dd },
        { 0x70f, 0x70f },     { 0x890, 0x891 },     { 0x8e2, 0x8e2 },     { 0x1680, 0x1680 },   { 0x180e, 0x180e },
        { 0x2000, 0x200f },   { 0x2028, 0x202f },   { 0x205f, 0x206f },   { 0x3000, 0x3000 },   { 0xd800, 0xf8ff },
        { 0xfeff, 0xfeff },   { 0xfff0, 0xfffb },   { 0xfffe, 0xffff },   { 0x110bd, 0x110bd }, { 0x110cd, 0x110cd },
        { 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a }, { 0x1fffe, 0x1ffff }, { 0xe0000, 0xe00ff }, { 0xe01f0, 0x10ffff },
    };
    if (r < 0x20)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(hidden); i++)
        if (r >= hidden[i].lo && r <= hidden[i].hi)
            return false;
    return true;
}

static void quote_one(struct buf *out, uint32_t r, char quote, bool valid, uint8_t byte)
{
    static const char escapes[] = "\aa\bb\ff\nn\rr\tt\vv";
    if (!valid) {
        buf_printf(out, "\\x%02x", byte);
        return;
    }
    if (r == (uint32_t)quote || r == '\\') {
        buf_u8(out, '\\');
        buf_u8(out, (uint8_t)r);
        return;
    }
    if (str_rune_is_printable(r)) {
        char enc[4];
        buf_add(out, enc, str_utf8_put(enc, r));
        return;
    }
    for (size_t i = 0; i + 1 < sizeof(escapes); i += 2) {
        if (r == (uint32_t)(uint8_t)escapes[i]) {
            buf_u8(out, '\\');
            buf_u8(out, (uint8_t)escapes[i + 1]);
            return;
        }
    }
    if (r < 0x20 || r == 0x7f)
        buf_printf(out, "\\x%02x", r);
    else
        buf_printf(out, r < 0x10000 ? "\\u%04x" : "\\U%08x", r);
}

void buf_go_quote(struct buf *out, str s)
{
    buf_u8(out, '"');
    while (s.n) {
        uint32_t r;
        size_t w = str_utf8_get(s, &r);
        quote_one(out, r, '"', !(r == 0xfffd && w == 1), (uint8_t)s.p[0]);
        s = str_skip(s, w);
    }
    buf_u8(out, '"');
}

void buf_go_quote_rune(struct buf *out, uint32_t cp)
{
    buf_u8(out, '\'');
    quote_one(out, cp > 0x10ffff ? 0xfffd : cp, '\'', true, 0);
    buf_u8(out, '\'');
}

/* ---- the other way ---- */
static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 99;
}

static bool escaped_number(str *io, size_t n, unsigned base, uint64_t *io_v)
{
    if (io->n < n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (digit(io->p[i]) >= (int)base)
            return false;
        *io_v = *io_v * base + (uint64_t)digit(io->p[i]);
    }
    *io = str_skip(*io, n);
    return true;
}

/* One character; ret_byte: it is a byte and no code point. */
static bool unquote_one(str *io, char quote, uint32_t *ret, bool *ret_byte)
{
    static const char simple[] = "a\ab\bf\fn\nr\rt\tv\v\\\\";
    uint64_t v = 0;
    *ret_byte = false;
    if (io->p[0] == quote || io->p[0] == '\n')
        return false;
    if (io->p[0] != '\\') {
        size_t w = str_utf8_get(*io, ret);
        *ret_byte = w == 1;
        if (w == 1)
            *ret = (uint8_t)io->p[0];
        *io = str_skip(*io, w);
        return true;
    }
    if (io->n < 2)
        return false;
    char c = io->p[1];
    *io = str_skip(*io, 2);
    for (size_t i = 0; i + 1 < sizeof(simple); i += 2)
        if (simple[i] == c) {
            *ret = (uint8_t)simple[i + 1];
            return true;
        }
    if (c == '\'' || c == '"') {
        *ret = (uint8_t)c;
        return c == quote;
    }
    *ret_byte = c == 'x' || (c >= '0' && c <= '7');
    if (c >= '0' && c <= '7') {
        v = (uint64_t)digit(c);
        if (!escaped_number(io, 2, 8, &v))
            return false;
    } else if ((c != 'x' && c != 'u' && c != 'U') || !escaped_number(io, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16, &v)) {
        return false;
    }
    *ret = (uint32_t)v;
    return *ret_byte ? v <= 255 : v <= 0x10ffff && !(v >= 0xd800 && v < 0xe000);
}

bool buf_go_unquote(struct buf *b, str q)
{
    if (q.n < 2 || q.p[0] != q.p[q.n - 1] || (q.p[0] != '"' && q.p[0] != '\'' && q.p[0] != '`'))
        return false;
    char quote = q.p[0];
    for (q = str_n(q.p + 1, q.n - 2); q.n;) {
        uint32_t r;
        bool byte;
        if (quote == '`') {
            if (q.p[0] == '`')
                return false;
            if (q.p[0] != '\r')
                buf_u8(b, (uint8_t)q.p[0]);
            q = str_skip(q, 1);
            continue;
        }
        if (!unquote_one(&q, quote, &r, &byte))
            return false;
        char enc[4];
        if (byte)
            buf_u8(b, (uint8_t)r);
        else
            buf_add(b, enc, str_utf8_put(enc, r));
    }
    return true;
}

bool str_go_unquote_rune(str q, int64_t *ret)
{
    uint32_t r;
    bool byte;
    if (q.n < 3 || q.p[0] != '\'' || q.p[q.n - 1] != '\'')
        return false;
    q = str_n(q.p + 1, q.n - 2);
    if (!unquote_one(&q, '\'', &r, &byte) || q.n)
        return false;
    *ret = r;
    return true;
}
