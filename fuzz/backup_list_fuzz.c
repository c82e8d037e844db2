/* Lists of backups: they may come from anywhere. The bytes as they are, and with the hash at the end put right, so that
 * what is behind it is reached. */
#include <inttypes.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/hash.h"
#include "store/backup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err_text why = { 0 };
    str in = { (const char *)data, size };
    if (backup_list_verify(in, &why))
        ASSERT(why.msg[0]);
    AUTO_BUF struct buf b = { 0 };
    buf_str_add(&b, in);
    hash128 h = hash128_seed(in, 0);
    buf_printf(&b, "end %016" PRIx64 "%016" PRIx64 "\n", h.hi, h.lo);
    why = (struct err_text){ 0 };
    if (backup_list_verify(buf_str(&b), &why))
        ASSERT(why.msg[0]);
    return 0;
}
