/* Remote read requests (plain protobuf and snappy). Oracle: bounded counts; matchers answer. Chunks are written from the same bytes. */
#include "base/check.h"
#include "wire/remote_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_chunks(const uint8_t *data, size_t size)
{
    enum { N = 64 };
    int64_t ts[N];
    double v[N];
    size_t n = size / 16 < N ? size / 16 : N;
    for (size_t i = 0; i < n; i++) {
        memcpy(&ts[i], data + 16 * i, 8);
        memcpy(&v[i], data + 16 * i + 8, 8);
    }
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    struct rr_points p = { ts, v, NULL, n };
    rr_frames(&b, 1, LABELS_NONE, &p);
    ASSERT(n == 0 || b.n > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 16 << 20);
    struct rr_request r = { 0 };
    struct err_text why;
    str in = { (const char *)data, size };
    IGNORE_ERR(rr_decode(&a, in, 1 << 20, &r, &why));
    rr_request_deinit(&r);
    if (rr_decode_plain(&a, in, &r, &why) == OK) {
        ASSERT(r.n <= RR_QUERIES_MAX);
        for (size_t i = 0; i < r.n; i++)
            (void)matchers_match(r.queries[i].m, r.queries[i].n_matchers, LABELS_NONE);
    }
    rr_request_deinit(&r);
    write_chunks(data, size);
    return 0;
}
