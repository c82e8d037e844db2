/* The JSON writer; see json.h. */
#include <math.h>

#include "base/check.h"
#include "base/json.h"
#include "base/num.h"

struct json_out json_out_init(struct buf *b)
{
    return (struct json_out){ .b = b };
}

static void json_before_value(struct json_out *j)
{
    if (j->after_key)
        j->after_key = false;
    else if (j->comma[j->depth])
        buf_u8(j->b, ',');
    j->comma[j->depth] = true;
}

static void json_open(struct json_out *j, char c)
{
    json_before_value(j);
    buf_u8(j->b, (uint8_t)c);
    ASSERT(j->depth < JSON_DEPTH_MAX);
    j->comma[++j->depth] = false;
}

static void json_close(struct json_out *j, char c)
{
    ASSERT(j->depth > 0);
    j->depth--;
    buf_u8(j->b, (uint8_t)c);
}

void json_obj(struct json_out *j)
{
    json_open(j, '{');
}

void json_obj_end(struct json_out *j)
{
    json_close(j, '}');
}

void json_arr(struct json_out *j)
{
    json_open(j, '[');
}

void json_arr_end(struct json_out *j)
{
    json_close(j, ']');
}

void json_key(struct json_out *j, str key)
{
    json_before_value(j);
    json_escape(j->b, key);
    buf_u8(j->b, ':');
    j->after_key = true;
}

void json_str(struct json_out *j, str s)
{
    json_before_value(j);
    json_escape(j->b, s);
}

void json_i64(struct json_out *j, int64_t v)
{
    json_before_value(j);
    buf_i64_dec(j->b, v);
}

void json_u64(struct json_out *j, uint64_t v)
{
    json_before_value(j);
    buf_u64_dec(j->b, v);
}

void json_f64(struct json_out *j, double v)
{
    json_before_value(j);
    if (isfinite(v))
        buf_f64_json(j->b, v);
    else
        buf_lit(j->b, "null");
}

void json_f64_str(struct json_out *j, double v)
{
    json_before_value(j);
    buf_u8(j->b, '"');
    buf_f64_f(j->b, v);
    buf_u8(j->b, '"');
}

enum { TIME_TEXT_MAX = 24 };

static size_t time_text(char out[TIME_TEXT_MAX], int64_t ts_ms)
{
    char text[TIME_TEXT_MAX];
    size_t at = sizeof(text);
    uint64_t abs = ts_ms < 0 ? 0 - (uint64_t)ts_ms : (uint64_t)ts_ms, s = abs / 1000;
    unsigned ms = (unsigned)(abs % 1000);
    if (ms) {
        text[--at] = (char)('0' + ms % 10);
        text[--at] = (char)('0' + ms / 10 % 10);
        text[--at] = (char)('0' + ms / 100);
        text[--at] = '.';
    }
    do {
        text[--at] = (char)('0' + s % 10);
        s /= 10;
    } while (s);
    if (ts_ms < 0)
        text[--at] = '-';
    memcpy(out, text + at, sizeof(text) - at);
    return sizeof(text) - at;
}

void json_ms_as_s(struct json_out *j, int64_t ts_ms)
{
    char text[TIME_TEXT_MAX];
    json_before_value(j);
    buf_add(j->b, text, time_text(text, ts_ms));
}

void json_sample(struct json_out *j, struct json_samples *seen, size_t at, int64_t ts_ms, double v)
{
    size_t i = at % JSON_SAMPLES_TIMES;
    if (!seen->times_n[i] || seen->times[i].ts_ms != ts_ms) {
        seen->times[i].ts_ms = ts_ms;
        seen->times_n[i] = (uint8_t)time_text(seen->times[i].text, ts_ms);
    }
    json_before_value(j);
    if (!buf_reserve(j->b, TIME_TEXT_MAX + NUM_TEXT_MAX + JSON_SAMPLES_TEXT))
        return;
    char *p = j->b->p + j->b->n;
    *p++ = '[';
    memcpy(p, seen->times[i].text, TIME_TEXT_MAX);
    p += seen->times_n[i];
    *p++ = ',';
    *p++ = '"';
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    if (seen->value_n && bits == seen->bits) {
        memcpy(p, seen->value, JSON_SAMPLES_TEXT);
        p += seen->value_n;
    } else {
        size_t n = num_format_f(p, v);
        seen->value_n = n <= JSON_SAMPLES_TEXT ? n : 0;
        memcpy(seen->value, p, seen->value_n);
        seen->bits = bits;
        p += n;
    }
    *p++ = '"';
    *p++ = ']';
    j->b->n = (size_t)(p - j->b->p);
}

void json_bool(struct json_out *j, bool v)
{
    json_before_value(j);
    if (v)
        buf_lit(j->b, "true");
    else
        buf_lit(j->b, "false");
}

void json_put_null(struct json_out *j)
{
    json_before_value(j);
    buf_lit(j->b, "null");
}

void json_raw(struct json_out *j, str json)
{
    json_before_value(j);
    buf_str_add(j->b, json);
}

static void json_put_u(struct buf *b, unsigned cp)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = { '\\', 'u', hex[cp >> 12 & 15], hex[cp >> 8 & 15], hex[cp >> 4 & 15], hex[cp & 15] };
    buf_add(b, text, 6);
}

/* A byte that needs more than itself (control, quote, backslash, HTML, non-ASCII); returns what it took. */
static size_t json_put_special(struct buf *b, str rest)
{
    unsigned char c = (unsigned char)rest.p[0];
    switch (c) {
    case '"':
        buf_lit(b, "\\\"");
        return 1;
    case '\\':
        buf_lit(b, "\\\\");
        return 1;
    case '\n':
        buf_lit(b, "\\n");
        return 1;
    case '\r':
        buf_lit(b, "\\r");
        return 1;
    case '\t':
        buf_lit(b, "\\t");
        return 1;
    default:
        break;
    }
    if (c < 0x80) {
        json_put_u(b, c);
        return 1;
    }
    uint32_t cp;
    size_t n = str_utf8_get(rest, &cp);
    if (cp == 0x2028 || cp == 0x2029)
        json_put_u(b, cp);
    else if (cp == 0xfffd && n == 1)
        buf_lit(b, "\\ufffd");
    else
        buf_add(b, rest.p, n);
    return n;
}

void json_escape(struct buf *b, str s)
{
    buf_u8(b, '"');
    size_t from = 0;
    for (size_t i = 0; i < s.n;) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&') {
            i++;
            continue;
        }
        buf_add(b, s.p + from, i - from);
        i += json_put_special(b, str_skip(s, i));
        from = i;
    }
    if (from < s.n)
        buf_add(b, s.p + from, s.n - from);
    buf_u8(b, '"');
}
