/* gRPC message framing and texts. Oracles: a message fed in pieces is the message fed whole; what the reader accepts is
 * exactly head + length bytes; what grpc_frame_head writes is read back; an encoded grpc-message is plain ASCII that
 * decodes to the text. First byte of the input: size of the pieces. */
#include <stdlib.h>

#include "http/grpc_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BYTES_MAX = 4096 };

struct outcome {
    bool ok;
    enum grpc_code code;
    struct buf message;
};

static struct outcome feed(const uint8_t *p, size_t n, size_t piece)
{
    struct outcome o = { 0 };
    struct grpc_reader r = { .bytes_max = BYTES_MAX };
    buf_init(&o.message, 0);
    r.out = &o.message;
    o.ok = true;
    for (size_t i = 0; i < n && o.ok; i += piece)
        o.ok = grpc_reader_feed(&r, p + i, MIN(piece, n - i));
    o.ok = o.ok && grpc_reader_end(&r);
    o.code = r.code;
    if (o.ok == (r.why != NULL) || o.message.n > BYTES_MAX || (o.ok && (o.message.n != r.length || n != r.length + 5)))
        abort();
    return o;
}

static void framing(const uint8_t *p, size_t n, size_t piece)
{
    struct outcome whole = feed(p, n, n + 1), pieces = feed(p, n, piece);
    if (whole.ok != pieces.ok || whole.code != pieces.code ||
        (whole.ok && !str_eq(buf_str(&whole.message), buf_str(&pieces.message))))
        abort();
    struct buf framed;
    uint8_t head[5];
    buf_init(&framed, 0);
    grpc_frame_head(head, false, (uint32_t)n);
    buf_add(&framed, head, sizeof(head));
    buf_add(&framed, p, n);
    struct outcome again = feed((const uint8_t *)framed.p, framed.n, piece);
    if (again.ok != (n <= BYTES_MAX) || (again.ok && !str_eq(buf_str(&again.message), str_n((const char *)p, n))))
        abort();
    buf_deinit(&framed);
    buf_deinit(&whole.message);
    buf_deinit(&pieces.message);
    buf_deinit(&again.message);
}

static void texts(struct arena *a, str s)
{
    uint64_t ns;
    str e = grpc_message_encode(a, s);
    for (size_t i = 0; i < e.n; i++)
        if (e.p[i] < 0x20 || e.p[i] > 0x7e)
            abort();
    if (!str_has_prefix(s, http_url_decode(a, e, false)))
        abort();
    if (grpc_timeout_parse(s, &ns) && ns > 1ull << 62)
        abort();
    str d = grpc_details_encode(a, GRPC_UNAVAILABLE, s, 1500);
    if (d.n % 4 == 1)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    if (size == 0)
        return 0;
    arena_init(&a, 0);
    framing(data + 1, size - 1, data[0] ? data[0] : 1);
    texts(&a, arena_str(&a, str_n((const char *)data + 1, size - 1)));
    arena_deinit(&a);
    return 0;
}
