/* MANIFEST: a whole file, and the items of one edit without a checksum before them. */
#include "base/check.h"
#include "store/store_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct manifest m;
    struct err_text et = { 0 };
    uint64_t good = 0;
    str in = { (const char *)data, size };
    manifest_init(&m, fs_os(), "/nowhere");
    if (manifest_decode(&m, in, &good, &et) == OK)
        ASSERT(good <= size);
    else
        ASSERT(et.msg[0]);
    manifest_deinit(&m);
    manifest_init(&m, fs_os(), "/nowhere");
    IGNORE_ERR(manifest_apply(&m, in, &et));
    for (int s = 1; s < STORE_SIGNAL_MAX; s++)
        for (size_t i = 1; i < m.sig[s].segments.n; i++)
            ASSERT(m.sig[s].segments.p[i - 1].id < m.sig[s].segments.p[i].id);
    manifest_deinit(&m);
    return 0;
}
