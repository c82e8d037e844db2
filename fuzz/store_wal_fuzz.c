/* A log file as a crash or a bad disk may leave it: records lie inside the file, LSNs grow, the end is one of
 * them. Headers of records are given a good checksum at the places the input names, to get past it. */
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "store/wal_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEED = 1, EPOCH = 3 };

/* Make the header at off pass its checksum, and its payload if it fits. */
static void bless(char *file, size_t n, size_t off)
{
    if (off + WAL_RECORD_HEADER_BYTES > n)
        return;
    uint32_t len, epoch = EPOCH;
    memcpy(&len, file + off, 4);
    len &= 0x3ff;
    struct wal_record r = { .payload = { file + off + WAL_RECORD_HEADER_BYTES, len }, .enc_epoch = epoch };
    memcpy(&r.lsn, file + off + 8, 8);
    memcpy(&r.back, file + off + 20, 4);
    r.kind = (uint8_t)file[off + 24];
    if (off + WAL_RECORD_HEADER_BYTES + len <= n && !(r.kind & 1))
        r.payload_crc = crc32c(0, r.payload);
    wal_record_header_encode(file + off, &r, EPOCH, SEED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 8)
        return 0;
    size_t n = WAL_HEADER_BYTES + size - 4;
    char *file = calloc(1, n);
    ASSERT(file);
    memcpy(file + WAL_HEADER_BYTES, data + 4, size - 4);
    for (int i = 0; i < 4; i++)
        bless(file, n, WAL_HEADER_BYTES + (size_t)data[i] * 8);
    struct wal_header h = { .epoch = EPOCH, .base_lsn = 10 };
    struct wal_scan s = {
        .file = { file, n }, .off = WAL_HEADER_BYTES, .seed = SEED, .epoch = EPOCH, .last_lsn = h.base_lsn
    };
    struct wal_record r;
    uint64_t last = h.base_lsn, before[STORE_SIGNAL_MAX] = { 0 }, off = 0;
    while (wal_scan_next(&s, &r)) {
        ASSERT(r.lsn > last);
        ASSERT(r.payload.p >= file + WAL_HEADER_BYTES && r.payload.p + r.payload.n <= file + n);
        last = r.lsn;
    }
    uint64_t end = wal_scan_end(str_n(file, n), &h, SEED, before, &off);
    ASSERT(end >= h.base_lsn && end <= last);
    struct wal_header got;
    IGNORE_ERR(wal_header_decode(str_n((const char *)data, size), EPOCH, SEED, &got));
    free(file);
    return 0;
}
