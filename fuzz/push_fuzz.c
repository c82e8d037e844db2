/* Grouping keys and files of pushed groups. First byte 'k': a path; otherwise a file. Oracles: keys are valid label sets with a
 * job; a file that is accepted is written back byte by byte. */
#include "base/check.h"
#include "push/push_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 16 << 20);
    struct err_text why;
    str in = { (const char *)data, size };
    if (size && data[0] == 'k') {
        struct labels key;
        if (push_key_parse(&a, str_skip(in, 1), &key, &why) == OK)
            ASSERT(labels_get(key, STR("job")).n > 0);
        return 0;
    }
    struct push_group *g;
    struct wire_limits lim = WIRE_LIMITS_DEFAULT;
    if (push_file_decode(in, &g, &why) != OK)
        return 0;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    push_file_encode(&b, g);
    str again = buf_str(&b);
    struct push_group *g2;
    ASSERT(push_file_decode(again, &g2, &why) == OK);
    ASSERT(g2->n_families == g->n_families && labels_eq(g2->key, g->key));
    IGNORE_ERR(push_group_decode(g, &lim, &why));
    push_group_free(g);
    push_group_free(g2);
    return 0;
}
