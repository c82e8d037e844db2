/* OTLP attributes and values (otlp_int.h). Proto: opentelemetry/proto/common/v1/common.proto. */
#include "base/num.h"
#include "wire/otlp_int.h"

enum { ANY_STRING = 1, ANY_BOOL, ANY_INT, ANY_DOUBLE, ANY_ARRAY, ANY_KVLIST, ANY_BYTES };

static void put_base64(struct buf *b, str s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *p = (const uint8_t *)s.p;
    for (size_t i = 0; i < s.n; i += 3) {
        size_t left = s.n - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0u);
        char four[4] = { digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                         left > 2 ? digits[v & 63] : '=' };
        buf_add(b, four, 4);
    }
}

/* As Go's encoding/json: plain digits between 1e-6 and 1e21, otherwise an exponent without leading zeros. */
static void put_double(struct buf *b, double v)
{
    double abs = v < 0 ? -v : v;
    if (v != v || v - v != 0 || v == 0 || (abs >= 1e-6 && abs < 1e21)) {
        buf_f64_f(b, v);
        return;
    }
    char text[NUM_TEXT_MAX];
    size_t n = num_format_g(text, v);
    if (n > 4 && text[n - 4] == 'e' && text[n - 2] == '0') {
        text[n - 2] = text[n - 1];
        n--;
    }
    buf_add(b, text, n);
}

static void any_json(struct json_out *j, struct pb m, unsigned depth, struct pb *up);

static void list_json(struct json_out *j, struct pb m, bool map, unsigned depth, struct pb *up)
{
    map ? json_obj(j) : json_arr(j);
    while (pb_next(&m)) {
        if (m.field != 1) {
            pb_skip(&m);
            continue;
        }
        struct pb item = pb_sub(&m), value = { 0 };
        if (map) {
            str key = STR("");
            while (pb_next(&item))
                if (item.field == 1)
                    key = pb_bytes(&item);
                else if (item.field == 2)
                    value = pb_sub(&item);
                else
                    pb_skip(&item);
            pb_join(&m, &item);
            json_key(j, key);
            item = value;
        }
        any_json(j, item, depth + 1, &m);
    }
    pb_join(up, &m);
    map ? json_obj_end(j) : json_arr_end(j);
}

/* One AnyValue as JSON. */
static void any_json(struct json_out *j, struct pb m, unsigned depth, struct pb *up)
{
    bool seen = false;
    if (depth > OTLP_VALUE_DEPTH_MAX) {
        pb_fail(&m);
        pb_join(up, &m);
        json_put_null(j);
        return;
    }
    while (pb_next(&m)) {
        if (seen || m.field < ANY_STRING || m.field > ANY_BYTES) {
            pb_skip(&m);
            continue;
        }
        seen = true;
        switch (m.field) {
        case ANY_STRING:
            json_str(j, pb_bytes(&m));
            break;
        case ANY_BOOL:
            json_bool(j, pb_varint(&m) != 0);
            break;
        case ANY_INT:
            json_i64(j, (int64_t)pb_varint(&m));
            break;
        case ANY_DOUBLE:
            json_f64(j, pb_double(&m));
            break;
        case ANY_ARRAY:
        case ANY_KVLIST: {
            bool map = m.field == ANY_KVLIST;
            list_json(j, pb_sub(&m), map, depth, &m);
            break;
        }
        default: {
            struct buf b;
            buf_init(&b, 0);
            put_base64(&b, pb_bytes(&m));
            json_str(j, buf_str(&b));
            buf_deinit(&b);
        }
        }
    }
    if (!seen)
        json_put_null(j);
    pb_join(up, &m);
}

/* The value of an AnyValue as text; the last member of the oneof wins. */
static str any_text(struct arena *a, struct pb m, struct pb *up)
{
    str text = STR("");
    while (pb_next(&m)) {
        if (m.field == ANY_STRING) {
            text = pb_bytes(&m);
            continue;
        }
        struct buf b;
        buf_init(&b, 0);
        switch (m.field) {
        case ANY_BOOL:
            text = pb_varint(&m) ? STR("true") : STR("false");
            break;
        case ANY_INT:
            buf_i64_dec(&b, (int64_t)pb_varint(&m));
            break;
        case ANY_DOUBLE:
            put_double(&b, pb_double(&m));
            break;
        case ANY_ARRAY:
        case ANY_KVLIST: {
            struct json_out j = json_out_init(&b);
            bool map = m.field == ANY_KVLIST;
            list_json(&j, pb_sub(&m), map, 0, &m);
            break;
        }
        case ANY_BYTES:
            put_base64(&b, pb_bytes(&m));
            break;
        default:
            pb_skip(&m);
        }
        if (b.n)
            text = arena_str(a, buf_str(&b));
        buf_deinit(&b);
    }
    pb_join(up, &m);
    return text;
}

void otlp_attr_read(struct arena *a, struct otlp_attrs *out, struct pb m, struct pb *up)
{
    struct otlp_attr at = { STR_INIT(""), STR_INIT("") };
    while (pb_next(&m))
        switch (m.field) {
        case 1:
            at.key = pb_bytes(&m);
            break;
        case 2:
            at.value = any_text(a, pb_sub(&m), &m);
            break;
        default:
            pb_skip(&m);
        }
    pb_join(up, &m);
    if (out->n < OTLP_ATTRS_MAX)
        avec_push(a, out, at);
}

str otlp_attr_get(const struct otlp_attrs *at, str key)
{
    for (size_t i = 0; i < at->n; i++)
        if (str_eq(at->p[i].key, key))
            return at->p[i].value;
    return STR_NONE;
}

str otlp_hex(struct arena *a, str bytes)
{
    static const char digits[] = "0123456789abcdef";
    char *p = arena_alloc_align(a, bytes.n * 2 + 1, 1);
    for (size_t i = 0; i < bytes.n; i++) {
        p[2 * i] = digits[(uint8_t)bytes.p[i] >> 4];
        p[2 * i + 1] = digits[(uint8_t)bytes.p[i] & 15];
    }
    return (str){ p, bytes.n * 2 };
}
