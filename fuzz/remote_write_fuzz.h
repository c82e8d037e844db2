/* Remote write (plain protobuf), whatever its version. Oracle: what was decoded, encoded again, decodes to the same text of
 * bytes. Before the include: RW_DECODE, RW_DECODE_PLAIN, RW_ENCODE. */
#include <stdlib.h>

#include "base/check.h"
#include "wire/remote_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 64 << 20);
    struct batch b, again;
    struct wire_rejects r;
    struct err_text why;
    struct wire_limits lim = WIRE_LIMITS_DEFAULT;
    str body = { (const char *)data, size };
    IGNORE_ERR(RW_DECODE(&a, body, 1 << 20, &lim, &b, &r, &why));
    if (RW_DECODE_PLAIN(&a, body, &lim, &b, &r, &why) != OK)
        return 0;
    AUTO_BUF struct buf one, two;
    buf_init(&one, 0);
    buf_init(&two, 0);
    RW_ENCODE(&one, &b);
    if (RW_DECODE_PLAIN(&a, buf_str(&one), &lim, &again, &r, &why) != OK)
        return !arena_over(&a) ? (abort(), 0) : 0;
    ASSERT(r.series == 0);
    ASSERT(again.n_samples == b.n_samples);
    RW_ENCODE(&two, &again);
    ASSERT(str_eq(buf_str(&one), buf_str(&two)));
    return 0;
}
