/* Bytes of the log: file header, record header, and the walk over a file that may be damaged.
 * The layout and its reasons are in docs/format/wal.md. */
#include "base/check.h"
#include "base/hash.h"
#include "base/rd.h"
#include "store/wal_int.h"

static const char wal_magic[8] = "VANEWAL1";

enum { HEADER_USED = 8 + 4 + 4 + 8 + 8 + 8 + 8 + 8 * STORE_SIGNAL_MAX };

void wal_header_encode(char out[WAL_HEADER_BYTES], const struct wal_header *h, uint64_t seed)
{
    uint32_t version = WAL_VERSION;
    char *p = out;
    memset(out, 0, WAL_HEADER_BYTES);
#define PUT(x) (memcpy(p, &(x), sizeof(x)), p += sizeof(x))
    PUT(wal_magic);
    PUT(version);
    PUT(h->epoch);
    PUT(seed);
    PUT(h->base_lsn);
    PUT(h->file_bytes);
    PUT(h->created_ms);
    PUT(h->before);
    uint32_t crc = crc32c(0, str_n(out, HEADER_USED));
    PUT(crc);
#undef PUT
}

enum err wal_header_decode(str file, uint32_t epoch, uint64_t seed, struct wal_header *ret)
{
    if (file.n < WAL_HEADER_BYTES || memcmp(file.p, wal_magic, 8) != 0)
        return ERR_CORRUPT;
    struct rd r = rd_init(str_n(file.p + 8, HEADER_USED - 8 + 4));
    struct wal_header h = { 0 };
    uint32_t version = rd_u32(&r);
    h.epoch = rd_u32(&r);
    uint64_t file_seed = rd_u64(&r);
    h.base_lsn = rd_u64(&r);
    h.file_bytes = rd_u64(&r);
    h.created_ms = (int64_t)rd_u64(&r);
    for (int s = 0; s < STORE_SIGNAL_MAX; s++)
        h.before[s] = rd_u64(&r);
    if (rd_u32(&r) != crc32c(0, str_n(file.p, HEADER_USED)))
        return ERR_CORRUPT;
    if (version > WAL_VERSION)
        return ERR_UNSUPPORTED;
    if (h.epoch != epoch || file_seed != seed)
        return ERR_CORRUPT;
    *ret = h;
    return OK;
}

/* What the header's checksum starts from: bytes of the file's earlier life, of another store, or forged
 * inside a payload do not pass for a record. */
static uint32_t record_crc_start(uint32_t file_epoch, uint64_t seed)
{
    return (uint32_t)hash_u64(seed ^ file_epoch);
}

void wal_record_header_encode(char out[WAL_RECORD_HEADER_BYTES], const struct wal_record *r, uint32_t file_epoch,
                              uint64_t seed)
{
    uint32_t len = (uint32_t)r->payload.n;
    memcpy(out, &len, 4);
    memcpy(out + 4, &r->payload_crc, 4);
    memcpy(out + 8, &r->lsn, 8);
    memcpy(out + 16, &r->enc_epoch, 4);
    memcpy(out + 20, &r->back, 4);
    out[24] = (char)r->kind;
    out[25] = 0;
    memcpy(out + 26, &r->partition, 2);
    uint32_t crc = crc32c(record_crc_start(file_epoch, seed), str_n(out, 28));
    memcpy(out + 28, &crc, 4);
}

/* The header at off, if it is one; its payload is inside the file. */
static bool header_at(const struct wal_scan *s, uint64_t off, struct wal_record *ret)
{
    if (off + WAL_RECORD_HEADER_BYTES > s->file.n)
        return false;
    const char *p = s->file.p + off;
    uint32_t len, crc;
    memcpy(&len, p, 4);
    memcpy(&ret->payload_crc, p + 4, 4);
    memcpy(&ret->lsn, p + 8, 8);
    memcpy(&ret->enc_epoch, p + 16, 4);
    memcpy(&ret->back, p + 20, 4);
    memcpy(&crc, p + 28, 4);
    if (ret->lsn <= s->last_lsn || ret->enc_epoch == 0 || ret->enc_epoch > s->epoch || ret->back >= ret->lsn ||
        len > s->file.n - off - WAL_RECORD_HEADER_BYTES)
        return false;
    if (crc != crc32c(record_crc_start(s->epoch, s->seed), str_n(p, 28)))
        return false;
    ret->kind = (uint8_t)p[24];
    memcpy(&ret->partition, p + 26, 2);
    ret->payload = str_n(p + WAL_RECORD_HEADER_BYTES, len);
    return true;
}

bool wal_scan_next(struct wal_scan *s, struct wal_record *ret)
{
    for (uint64_t off = s->off; off + WAL_RECORD_HEADER_BYTES <= s->file.n;) {
        struct wal_record r = { 0 };
        if (!header_at(s, off, &r)) {
            off += 8;
            continue;
        }
        uint64_t end = off + wal_record_bytes(r.payload.n);
        if (r.payload_crc == crc32c(0, r.payload)) {
            s->off = end;
            s->last_lsn = r.lsn;
            *ret = r;
            return true;
        }
        off = end; /* the header is good, so its length is */
    }
    return false;
}

uint64_t wal_scan_end(str file, const struct wal_header *h, uint64_t seed, uint64_t before[STORE_SIGNAL_MAX],
                      uint64_t *ret_off)
{
    struct wal_scan s = {
        .file = file, .off = WAL_HEADER_BYTES, .seed = seed, .epoch = h->epoch, .last_lsn = h->base_lsn
    };
    uint64_t end = h->base_lsn, end_off = s.off;
    uint64_t last_of[STORE_SIGNAL_MAX];
    uint64_t run = s.last_lsn + 1; /* records run..last_lsn were all there */
    memcpy(last_of, before, sizeof(last_of));
    for (struct wal_record r;;) {
        uint64_t prev = s.last_lsn;
        if (!wal_scan_next(&s, &r))
            break;
        if (r.lsn != prev + 1)
            run = r.lsn;
        last_of[r.kind >> 5] = r.lsn;
        uint64_t batch_first = r.lsn - r.back;
        if (run > end + 1 && batch_first > end + 1)
            end = batch_first - 1; /* earlier batches had been synced: what lacks there is damage, not a torn tail */
        if (run <= end + 1) {
            end = r.lsn;
            end_off = s.off;
        }
        memcpy(before, last_of, sizeof(last_of)); /* may be beyond end: that only keeps files longer */
    }
    *ret_off = end_off;
    return end;
}
