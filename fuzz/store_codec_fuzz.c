/* Column decoders on any bytes: no access outside; skip and decode agree; what decodes is encoded again and
 * decodes to the same. First bytes: which decoder, how many values. */
#include <stdlib.h>

#include "base/check.h"
#include "base/rd.h"
#include "store/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { N_MAX = 600 };

static void i64_target(str in, size_t n)
{
    static int64_t v[N_MAX], again[N_MAX];
    size_t used = 0, skipped = 0;
    enum err e = codec_i64_decode(in, n, v, &used), s = codec_i64_skip(in, n, &skipped);
    ASSERT(e != OK || (s == OK && used == skipped));
    if (e != OK)
        return;
    struct buf b;
    buf_init(&b, 0);
    codec_i64_encode(&b, v, n);
    ASSERT(codec_i64_decode(buf_str(&b), n, again, &used) == OK);
    ASSERT(used == b.n);
    ASSERT(n == 0 || memcmp(v, again, n * 8) == 0);
    buf_deinit(&b);
}

static void f64_target(str in, size_t n)
{
    static double v[N_MAX], again[N_MAX];
    double c = 0;
    size_t used = 0, skipped = 0;
    enum err e = codec_f64_decode(in, n, v, &used), s = codec_f64_skip(in, n, &skipped);
    ASSERT(e != OK || (s == OK && used == skipped));
    if (codec_f64_const(in, n, &c))
        ASSERT(e == OK && memcmp(&c, &v[0], 8) == 0 && memcmp(&c, &v[n - 1], 8) == 0);
    if (e != OK)
        return;
    struct buf b;
    buf_init(&b, 0);
    codec_f64_encode(&b, v, n);
    ASSERT(codec_f64_decode(buf_str(&b), n, again, &used) == OK);
    ASSERT(used == b.n);
    ASSERT(n == 0 || memcmp(v, again, n * 8) == 0);
    buf_deinit(&b);
}

static void dict_target(str in)
{
    struct codec_dict d;
    struct buf scratch;
    struct arena a;
    str *all, one;
    uint32_t at;
    bool equal;
    if (codec_dict_open(in, &d, NULL) != OK || d.n > 4096)
        return;
    buf_init(&scratch, 0);
    arena_init(&a, 0);
    enum err e = codec_dict_all(&d, &a, &all);
    for (uint32_t i = 0; i < d.n && i < 64; i++) {
        buf_clear(&scratch);
        enum err g = codec_dict_get(&d, i, &scratch, &one);
        ASSERT(e != OK || (g == OK && str_eq(one, all[i])));
    }
    IGNORE_ERR(codec_dict_find(&d, STR("node"), &scratch, &at, &equal));
    arena_deinit(&a);
    buf_deinit(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint32_t u[N_MAX];
    static uint64_t w[N_MAX];
    static str s[N_MAX];
    size_t used;
    if (size < 3)
        return 0;
    size_t n = ((size_t)data[1] | (size_t)data[2] << 8) % (N_MAX + 1);
    char *copy = malloc(size - 3 ? size - 3 : 1); /* exactly as long as it is, for ASan */
    ASSERT(copy);
    memcpy(copy, data + 3, size - 3);
    str in = { copy, size - 3 };
    switch (data[0] % 6) {
    case 0:
        i64_target(in, n);
        break;
    case 1:
        f64_target(in, n);
        break;
    case 2:
        dict_target(in);
        break;
    case 3:
        IGNORE_ERR(codec_u32_decode(in, n, u, &used));
        break;
    case 4:
        IGNORE_ERR(codec_strs_decode(in, n, s, &used));
        break;
    default:
        IGNORE_ERR(codec_pfor_decode(in, n, w, &used));
        break;
    }
    free(copy);
    return 0;
}
