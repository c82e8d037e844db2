/* The texts and small encodings of gRPC over HTTP/2; pure, fuzzed (fuzz/grpc_fuzz.c).
 *
 *   message  0 u8 compressed (0, 1) | 1 u32 length, big endian | message
 *   timeout  1 to 8 digits, unit H M S m u n
 *   status   google.rpc.Status: 1 code, 2 message, 3 details: Any { 1 type_url, 2 value }
 *   retry    google.rpc.RetryInfo: 1 retry_delay: Duration { 1 seconds, 2 nanos } */
#include "http/grpc_int.h"
#include "wire/pb.h"

enum { MESSAGE_TEXT_MAX = 1024 };

const char *grpc_code_name(enum grpc_code c)
{
    static const char *const names[GRPC_CODES_N] = {
#define X(name, number, text) [name] = (text),
        GRPC_CODES(X)
#undef X
    };
    return (unsigned)c < GRPC_CODES_N ? names[c] : "UNKNOWN";
}

static bool refuse(struct grpc_reader *r, enum grpc_code code, const char *why)
{
    r->code = code;
    r->why = why;
    return false;
}

static bool head_done(struct grpc_reader *r)
{
    r->length = (uint32_t)r->head[1] << 24 | (uint32_t)r->head[2] << 16 | (uint32_t)r->head[3] << 8 | r->head[4];
    r->compressed = r->head[0] == 1;
    if (r->head[0] > 1)
        return refuse(r, GRPC_INTERNAL, "malformed message prefix: the compressed flag is neither 0 nor 1");
    if (r->length > r->bytes_max)
        return refuse(r, GRPC_RESOURCE_EXHAUSTED, "the message is larger than this server accepts");
    return true;
}

bool grpc_reader_feed(struct grpc_reader *r, const void *p, size_t n)
{
    const uint8_t *b = p;
    if (r->why)
        return false;
    while (n && r->n_head < sizeof(r->head)) {
        r->head[r->n_head++] = *b++;
        n--;
        if (r->n_head == sizeof(r->head) && !head_done(r))
            return false;
    }
    if (n > r->length - r->out->n)
        return refuse(r, GRPC_UNIMPLEMENTED, "more than one message in a unary call");
    buf_add(r->out, b, n);
    return true;
}

bool grpc_reader_end(struct grpc_reader *r)
{
    if (r->why)
        return false;
    if (r->n_head == 0)
        return refuse(r, GRPC_UNIMPLEMENTED, "no message in a unary call");
    if (r->n_head < sizeof(r->head) || r->out->n < r->length)
        return refuse(r, GRPC_INTERNAL, "the stream ended inside a message");
    return true;
}

void grpc_frame_head(uint8_t head[5], bool compressed, uint32_t n)
{
    head[0] = compressed;
    head[1] = (uint8_t)(n >> 24);
    head[2] = (uint8_t)(n >> 16);
    head[3] = (uint8_t)(n >> 8);
    head[4] = (uint8_t)n;
}

bool grpc_timeout_parse(str s, uint64_t *ret_ns)
{
    static const struct {
        char unit;
        uint64_t ns;
    } units[] = { { 'H', 3600000000000ull }, { 'M', 60000000000ull }, { 'S', 1000000000ull },
                  { 'm', 1000000 },          { 'u', 1000 },           { 'n', 1 } };
    uint64_t v;
    if (s.n < 2 || s.n > 9 || !str_to_u64(str_take(s, s.n - 1), &v))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (units[i].unit == s.p[s.n - 1]) {
            *ret_ns = v * units[i].ns; /* < 10^8 hours = 3.6e20 ns overflows: cut below */
            if (v > (1ull << 62) / units[i].ns)
                *ret_ns = 1ull << 62;
            return true;
        }
    return false;
}

str grpc_message_encode(struct arena *a, str text)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t cut = MIN(text.n, (size_t)MESSAGE_TEXT_MAX);
    while (cut < text.n && cut && ((uint8_t)text.p[cut] & 0xc0) == 0x80)
        cut--;
    char *out = arena_alloc(a, cut * 3 + 1);
    size_t n = 0;
    for (size_t i = 0; i < cut; i++) {
        uint8_t c = (uint8_t)text.p[i];
        if (c >= 0x20 && c <= 0x7e && c != '%') {
            out[n++] = (char)c;
        } else {
            out[n++] = '%';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        }
    }
    return (str){ out, n };
}

static str base64(struct arena *a, str in)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *out = arena_alloc(a, in.n / 3 * 4 + 4);
    size_t n = 0;
    for (size_t i = 0; i < in.n; i += 3) {
        uint32_t v = 0;
        size_t have = MIN(in.n - i, (size_t)3);
        for (size_t k = 0; k < 3; k++)
            v = v << 8 | (k < have ? (uint8_t)in.p[i + k] : 0u);
        for (size_t k = 0; k <= have; k++)
            out[n++] = digits[v >> (18 - 6 * k) & 63];
    }
    return (str){ out, n };
}

str grpc_details_encode(struct arena *a, enum grpc_code code, str text, unsigned retry_ms)
{
    AUTO_BUF struct buf b = { 0 };
    pb_put_varint(&b, 1, (uint64_t)code);
    pb_put_bytes(&b, 2, str_take(text, str_utf8_valid_len(str_take(text, MESSAGE_TEXT_MAX))));
    size_t any = pb_open(&b, 3);
    pb_put_bytes(&b, 1, STR("type.googleapis.com/google.rpc.RetryInfo"));
    size_t info = pb_open(&b, 2), delay = pb_open(&b, 1);
    if (retry_ms / 1000)
        pb_put_varint(&b, 1, retry_ms / 1000);
    if (retry_ms % 1000)
        pb_put_varint(&b, 2, (uint64_t)(retry_ms % 1000) * 1000000);
    pb_close(&b, delay);
    pb_close(&b, info);
    pb_close(&b, any);
    return base64(a, buf_str(&b));
}
