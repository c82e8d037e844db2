/* Log records of the metrics store (docs/format/tsdb.md, "Log record"). One record per request and partition:
 *
 *   uvarint stamp | uvarint seq | svarint base ts | operations
 *   operation:  uvarint( zigzag(id - previous id) << 3 | kind ) ...
 *     0 sample, same ts as before: token          1 the same value again
 *     2 sample: svarint ts difference, token      3 svarint ts difference, the same value again
 *     4 define: front-coded labels                5 out of order: svarint ts difference, f64, svarint start
 *     6 histogram: svarint ts difference, svarint start, lstr body
 *     7 u8: 1 info: u8 type, u8 temporality, lstr resource   2 exemplar: svarint ts difference, f64, lstr labels
 *           3 family: lstr name, u8 type, lstr help, lstr unit   4 run: uvarint number (first in each context)
 *
 * A context is (file epoch, partition, stamp): inside it ids are defined before they are used and the first token
 * of a series is absolute; seq counts its records, so a lost record is noticed. Replay is running: what is decoded
 * goes through head_append(), with the same flushes when memory fills (tsdb_replay.c). */
#include "tsdb/tsdb_int.h"

/* ---- writing ---- */
void tsdb_wal_frame_begin(struct tsdb *db, struct part *p, uint32_t epoch, int64_t base_ts)
{
    if (p->epoch != epoch) {
        p->epoch = epoch;
        p->stamp++;
        p->seq = 0;
    }
    buf_clear(&p->frame);
    buf_uvarint(&p->frame, p->stamp);
    buf_uvarint(&p->frame, p->seq);
    buf_svarint(&p->frame, base_ts);
    p->frame_ts = base_ts;
    p->frame_prev_id = 0;
    p->frame_prev = LABELS_NONE;
    if (p->seq == 0) {
        buf_u8(&p->frame, OP_EXT);
        buf_u8(&p->frame, EXT_RUN);
        buf_uvarint(&p->frame, db->run);
    }
    p->frame_defs = false; /* nothing worth writing yet */
}

static inline void op(struct part *p, uint32_t id, unsigned kind)
{
    struct buf *b = &p->frame;
    uint64_t x = zigzag((int64_t)id - (int64_t)p->frame_prev_id) << 3 | kind;
    p->frame_prev_id = id;
    p->frame_defs = true;
    if (x < 0x80)
        buf_u8(b, (uint8_t)x);
    else
        buf_uvarint(b, x);
}

static inline void put_ts(struct part *p, int64_t ts)
{
    buf_svarint(&p->frame, (int64_t)((uint64_t)ts - (uint64_t)p->frame_ts));
    p->frame_ts = ts;
}

void tsdb_wal_put_sample(struct part *p, uint32_t id, int64_t ts, const uint8_t *tok, size_t n_tok)
{
    bool new_ts = ts != p->frame_ts;
    op(p, id, (new_ts ? OP_TS_TOK : OP_TOK) | (n_tok == 0));
    if (new_ts)
        put_ts(p, ts);
    if (buf_reserve(&p->frame, n_tok)) {
        copy_small(p->frame.p + p->frame.n, tok, n_tok);
        p->frame.n += n_tok;
    }
}

void tsdb_wal_put_raw(struct part *p, uint32_t id, int64_t ts, uint64_t bits, int64_t start)
{
    op(p, id, OP_RAW);
    put_ts(p, ts);
    buf_u64(&p->frame, bits);
    buf_svarint(&p->frame, start);
}

void tsdb_wal_put_hist(struct part *p, uint32_t id, int64_t ts, int64_t start, str body)
{
    op(p, id, OP_HIST);
    put_ts(p, ts);
    buf_svarint(&p->frame, start);
    buf_lstr(&p->frame, body);
}

static size_t shared_prefix(str a, str b)
{
    size_t n = MIN(a.n, b.n), i = 0;
    while (i < n && a.p[i] == b.p[i])
        i++;
    return i;
}

static void put_front(struct buf *b, str s, str before)
{
    size_t k = shared_prefix(s, before);
    buf_uvarint(b, k);
    buf_lstr(b, str_skip(s, k));
}

/* Against the definition before in this record: label i leans on label i. */
void tsdb_wal_put_def(struct tsdb *db, struct part *p, struct series *s, uint32_t id, struct labels ls)
{
    (void)db;
    (void)s;
    op(p, id, OP_DEF);
    buf_uvarint(&p->frame, ls.n);
    for (size_t i = 0; i < ls.n; i++) {
        struct label before = i < p->frame_prev.n ? p->frame_prev.p[i] : (struct label){ STR_NONE, STR_NONE };
        put_front(&p->frame, ls.p[i].name, before.name);
        put_front(&p->frame, ls.p[i].value, before.value);
    }
    p->frame_prev = ls;
}

void tsdb_wal_put_info(struct part *p, uint32_t id, const struct series_info *info)
{
    op(p, id, OP_EXT);
    buf_u8(&p->frame, EXT_INFO);
    buf_u8(&p->frame, info->type);
    buf_u8(&p->frame, info->temporality);
    buf_lstr(&p->frame, info->resource);
}

void tsdb_wal_put_exemplar(struct part *p, uint32_t id, int64_t ts, double v, str labels)
{
    op(p, id, OP_EXT);
    buf_u8(&p->frame, EXT_EXEMPLAR);
    put_ts(p, ts);
    buf_f64(&p->frame, v);
    buf_lstr(&p->frame, labels);
}

void tsdb_wal_put_family(struct part *p, str name, const struct metric_meta *m)
{
    op(p, p->frame_prev_id, OP_EXT);
    buf_u8(&p->frame, EXT_FAMILY);
    buf_lstr(&p->frame, name);
    buf_u8(&p->frame, (uint8_t)m->type);
    buf_lstr(&p->frame, m->help);
    buf_lstr(&p->frame, m->unit);
}

enum err tsdb_wal_frame_end(struct tsdb *db, struct part *p)
{
    if (!p->frame_defs)
        return OK;
    struct iovec iov = { p->frame.p, p->frame.n };
    struct store_record rec = { STORE_METRICS, WAL_FRAME, p->no, &iov, 1 };
    enum err e = store_wal_append(db->st, &rec, &p->last_lsn);
    p->frame_defs = false;
    if (e) { /* the log does not know what was applied: start a new context */
        p->stamp++;
        p->seq = 0;
    } else {
        p->seq++;
    }
    if (p->frame.cap > (1u << 20)) {
        buf_deinit(&p->frame);
        buf_init(&p->frame, 0);
    }
    return e;
}

/* ---- fsck ---- */
static bool verify_op(struct rd *r)
{
    unsigned kind = (unsigned)rd_uvarint(r) & 7;
    if (kind == OP_TS_TOK || kind == OP_TS_SAME || kind == OP_RAW || kind == OP_HIST)
        rd_svarint(r);
    const uint8_t *p = (const uint8_t *)r->p;
    switch (kind) {
    case OP_TOK:
    case OP_TS_TOK:
        if (!rd_ok(r) || !tok_skip(&p, (const uint8_t *)r->end))
            return false;
        r->p = (const char *)p;
        break;
    case OP_DEF:
        for (uint64_t n = rd_uvarint(r); n && rd_ok(r); n--)
            for (int i = 0; i < 2; i++) {
                rd_uvarint(r);
                rd_lstr(r);
            }
        break;
    case OP_RAW:
        rd_u64(r);
        rd_svarint(r);
        break;
    case OP_HIST:
        rd_svarint(r);
        rd_lstr(r);
        break;
    case OP_EXT:
        switch (rd_u8(r)) {
        case EXT_INFO:
            rd_u16(r);
            rd_lstr(r);
            break;
        case EXT_EXEMPLAR:
            rd_svarint(r);
            rd_f64(r);
            rd_lstr(r);
            break;
        case EXT_FAMILY:
            rd_lstr(r);
            rd_u8(r);
            rd_lstr(r);
            rd_lstr(r);
            break;
        case EXT_RUN:
            rd_uvarint(r);
            break;
        default:
            return false;
        }
        break;
    default:
        break;
    }
    return rd_ok(r);
}

enum err tsdb_record_verify(const struct store_replayed *rec, struct err_text *reterr)
{
    if (rec->type != WAL_FRAME)
        return err_fail(reterr, ERR_CORRUPT, "record %llu has the unknown type %u", (unsigned long long)rec->lsn,
                        rec->type);
    struct rd r = rd_init(rec->payload);
    rd_uvarint(&r);
    rd_uvarint(&r);
    rd_svarint(&r);
    while (rd_ok(&r) && rd_left(&r))
        if (!verify_op(&r))
            return err_fail(reterr, ERR_CORRUPT, "record %llu cannot be read", (unsigned long long)rec->lsn);
    return rd_ok(&r) ? OK : err_fail(reterr, ERR_CORRUPT, "record %llu cannot be read", (unsigned long long)rec->lsn);
}
