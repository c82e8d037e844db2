/* Decompression. First byte: the coding. Oracles: the limit holds; gzip and snappy of the output read back. */
#include "base/check.h"
#include "wire/compress.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MAX = 1 << 20 };
    if (size < 1)
        return 0;
    AUTO_BUF struct buf out, packed, back;
    buf_init(&out, 0);
    buf_init(&packed, 0);
    buf_init(&back, 0);
    enum coding c = (enum coding)(data[0] % 5);
    struct err_text why;
    if (decompress(c, (str){ (const char *)data + 1, size - 1 }, MAX, &out, &why) != OK)
        return 0;
    ASSERT(out.n <= MAX);
    enum coding again = c == CODING_SNAPPY ? CODING_SNAPPY : CODING_GZIP;
    if (again == CODING_SNAPPY)
        snappy_pack(buf_str(&out), &packed);
    else
        ASSERT(gzip_compress(buf_str(&out), 1, &packed) == OK);
    ASSERT(decompress(again, buf_str(&packed), MAX, &back, &why) == OK);
    ASSERT(str_eq(buf_str(&out), buf_str(&back)));
    return 0;
}
