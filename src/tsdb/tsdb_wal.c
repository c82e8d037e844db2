/* Log records of the metrics store (docs/format/tsdb.md, "Log record"). One record per request and partition:
 *
 *   uvarint stamp | uvarint seq | svarint base ts | operations
 *   operation:  uvarint( zigzag(id - previous id) << 3 | kind ) ...
 *     0 sample, same ts as before: token          1 the same value again
 *     2 sample: svarint ts difference, token      3 svarint ts difference, the same value again
 *     4 define: front-coded labels                5 out of order: svarint ts difference, f64, svarint start
 *     6 histogram: svarint ts difference, svarint start, lstr body
 *     7 u8: 1 info: u8 type, u8 temporality, lstr resource   2 exemplar: svarint ts difference, f64, lstr labels
 *           3 family: lstr name, u8 type, lstr help, lstr unit
 *
 * A context is (file epoch, partition, stamp): inside it ids are defined before they are used and the first token
 * of a series is absolute; seq counts its records, so a lost record is noticed. Replay is running: what is decoded
 * goes through head_append(), with the same flushes when memory fills. */
#include "tsdb/tsdb_int.h"

enum { OP_TOK, OP_SAME, OP_TS_TOK, OP_TS_SAME, OP_DEF, OP_RAW, OP_HIST, OP_EXT };
enum { EXT_INFO = 1, EXT_EXEMPLAR = 2, EXT_FAMILY = 3 };

static struct stat wal_lost =
    STAT_COUNTER("vane_tsdb_wal_damaged_records_total", "Log records that could not be replayed", "");

/* ---- writing ---- */
void tsdb_wal_frame_begin(struct part *p, uint32_t epoch, int64_t base_ts)
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
    buf_add(&p->frame, tok, n_tok);
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

/* ---- replay: nobody else knows the store yet, so no locks ---- */
struct rep_series { /* what an id of the log means */
    uint32_t id, context;
    struct tok tok;
};
struct rep_part {
    uint32_t epoch, stamp, seq, context;
    uint64_t first_lsn; /* of the context */
    bool broken;
};
struct replay {
    struct tsdb *db;
    VEC(struct rep_series) ids;
    struct rep_part *parts;
    uint32_t n_parts;
    uint32_t next_context;
    uint64_t samples, bad_records, first_bad, lsn;
    struct arena a; /* one record */
    uint64_t tail_lsn;
    int64_t oldest_ms;
};

struct frame { /* being replayed */
    struct replay *r;
    struct rep_part *rp;
    struct rd rd;
    uint32_t id;
    int64_t ts;
    struct labels prev;
};

static struct rep_series *rep_at(struct replay *r, uint32_t id)
{
    if (id >= r->ids.n) {
        size_t n = MAX((size_t)id + 1, r->ids.n * 2);
        vec_reserve(&r->ids, n);
        memset(r->ids.p + r->ids.n, 0, (n - r->ids.n) * sizeof(*r->ids.p));
        r->ids.n = n;
    }
    return &r->ids.p[id];
}

static bool get_front(struct frame *f, str before, str *ret)
{
    uint64_t k = rd_uvarint(&f->rd);
    str rest = rd_lstr(&f->rd);
    if (!rd_ok(&f->rd) || k > before.n)
        return false;
    if (k == 0) {
        *ret = rest;
        return true;
    }
    char *p = arena_alloc_align(&f->r->a, (size_t)k + rest.n, 1);
    memcpy(p, before.p, (size_t)k);
    if (rest.n)
        memcpy(p + k, rest.p, rest.n);
    *ret = str_n(p, (size_t)k + rest.n);
    return true;
}

static bool get_labels(struct frame *f, struct labels *ret)
{
    uint64_t n = rd_uvarint(&f->rd);
    if (!rd_ok(&f->rd) || n > rd_left(&f->rd))
        return false;
    struct label *l = arena_array(&f->r->a, struct label, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct label before = i < f->prev.n ? f->prev.p[i] : (struct label){ STR_NONE, STR_NONE };
        if (!get_front(f, before.name, &l[i].name) || !get_front(f, before.value, &l[i].value))
            return false;
    }
    *ret = f->prev = (struct labels){ l, (size_t)n };
    return n > 0;
}

static bool do_def(struct frame *f)
{
    struct tsdb *db = f->r->db;
    struct labels ls;
    if (!get_labels(f, &ls))
        return false;
    hash128 h = series_hash(db, ls);
    struct part *p = &db->parts[series_part(db, ls, h)];
    uint32_t id;
    struct series *s = series_find(db, p, h, &id);
    if (!s)
        s = series_new(db, p, h, ls, &id);
    *rep_at(f->r, f->id) = (struct rep_series){ id, f->rp->context, { .form = TOK_RAW } };
    return true;
}

static struct rep_series *defined(struct frame *f)
{
    struct rep_series *x = f->id < f->r->ids.n ? &f->r->ids.p[f->id] : NULL;
    return x && x->context == f->rp->context && x->id ? x : NULL;
}

static void do_append(struct frame *f, struct rep_series *x, uint64_t bits, int64_t start)
{
    struct tsdb *db = f->r->db;
    if (f->ts < f->r->oldest_ms)
        return;
    struct series *s = series_at(db, x->id);
    struct part *p = &db->parts[s->part];
    IGNORE_ERR((enum err)head_append(db, p, s, x->id, f->ts, bits, start, false));
    f->r->samples++;
}

static bool do_sample(struct frame *f, unsigned kind)
{
    struct rep_series *x = defined(f);
    if (kind & 2)
        f->ts = (int64_t)((uint64_t)f->ts + (uint64_t)rd_svarint(&f->rd));
    if (!x)
        return false;
    if (!(kind & 1)) {
        const uint8_t *p = (const uint8_t *)f->rd.p;
        uint32_t n;
        if (tok_get(&x->tok, &p, (const uint8_t *)f->rd.end, &n) != TOK_VALUE)
            return false;
        f->rd.p = (const char *)p;
    }
    do_append(f, x, x->tok.bits, x->tok.start);
    return true;
}

static bool do_raw(struct frame *f)
{
    struct rep_series *x = defined(f);
    f->ts = (int64_t)((uint64_t)f->ts + (uint64_t)rd_svarint(&f->rd));
    uint64_t bits = rd_u64(&f->rd);
    int64_t start = rd_svarint(&f->rd);
    if (!x || !rd_ok(&f->rd))
        return false;
    struct tsdb *db = f->r->db;
    if (f->ts < f->r->oldest_ms)
        return true;
    struct series *s = series_at(db, x->id);
    struct part *p = &db->parts[s->part];
    IGNORE_ERR((enum err)head_append(db, p, s, x->id, f->ts, bits, start, false));
    f->r->samples++;
    return true;
}

static bool do_hist(struct frame *f)
{
    struct rep_series *x = defined(f);
    f->ts = (int64_t)((uint64_t)f->ts + (uint64_t)rd_svarint(&f->rd));
    int64_t start = rd_svarint(&f->rd);
    str body = rd_lstr(&f->rd);
    struct histogram *h;
    struct rd hr = rd_init(body);
    if (!x || !rd_ok(&f->rd) || hist_decode(&hr, &f->r->a, &h) || !rd_end(&hr))
        return false;
    if (f->ts < f->r->oldest_ms)
        return true;
    struct tsdb *db = f->r->db;
    struct series *s = series_at(db, x->id);
    struct part *p = &db->parts[s->part];
    IGNORE_ERR((enum err)head_append_hist(db, p, s, x->id, f->ts, h, start, false));
    f->r->samples++;
    return true;
}

static bool do_ext(struct frame *f)
{
    struct tsdb *db = f->r->db;
    struct rep_series *x = defined(f);
    switch (rd_u8(&f->rd)) {
    case EXT_INFO: {
        unsigned type = rd_u8(&f->rd), temporality = rd_u8(&f->rd);
        str resource = rd_lstr(&f->rd);
        if (!x || !rd_ok(&f->rd))
            return false;
        series_at(db, x->id)->info = meta_info_id(db, type, temporality, resource);
        return true;
    }
    case EXT_EXEMPLAR: {
        f->ts = (int64_t)((uint64_t)f->ts + (uint64_t)rd_svarint(&f->rd));
        double v = rd_f64(&f->rd);
        str labels = rd_lstr(&f->rd);
        if (!x || !rd_ok(&f->rd))
            return false;
        struct series *s = series_at(db, x->id);
        exemplar_put(db, x->id, s->serial, db->gen, f->ts, v, labels);
        return true;
    }
    case EXT_FAMILY: {
        str name = rd_lstr(&f->rd);
        struct metric_meta m = { .type = (enum metric_type)rd_u8(&f->rd) };
        m.help = rd_lstr(&f->rd);
        m.unit = rd_lstr(&f->rd);
        if (rd_ok(&f->rd))
            meta_family_put(db, name, &m, 0);
        return rd_ok(&f->rd);
    }
    default:
        return false;
    }
}

static bool do_op(struct frame *f)
{
    uint64_t x = rd_uvarint(&f->rd);
    int64_t id = (int64_t)f->id + unzigzag(x >> 3);
    if (!rd_ok(&f->rd) || id < 0 || id >= (int64_t)SERIES_PAGE * SERIES_PAGES_MAX)
        return false;
    f->id = (uint32_t)id;
    switch (x & 7) {
    case OP_DEF:
        return do_def(f);
    case OP_RAW:
        return do_raw(f);
    case OP_HIST:
        return do_hist(f);
    case OP_EXT:
        return do_ext(f);
    default:
        return do_sample(f, x & 7);
    }
}

static struct rep_part *rep_part(struct replay *r, uint16_t partition)
{
    if (partition >= r->n_parts) {
        uint32_t n = partition + 1u;
        r->parts = mem_realloc(r->parts, n * sizeof(*r->parts));
        memset(r->parts + r->n_parts, 0, (n - r->n_parts) * sizeof(*r->parts));
        r->n_parts = n;
    }
    return &r->parts[partition];
}

/* Is this record the next of its context? */
static bool context(struct replay *r, struct rep_part *rp, const struct store_replayed *rec, uint32_t stamp,
                    uint32_t seq)
{
    if (!rp->context || rp->epoch != rec->epoch || rp->stamp != stamp) {
        rp->epoch = rec->epoch;
        rp->first_lsn = rec->lsn;
        rp->stamp = stamp;
        rp->context = ++r->next_context;
        rp->seq = 0;
        rp->broken = false;
    }
    if (seq != rp->seq)
        rp->broken = true;
    rp->seq = seq + 1;
    return !rp->broken;
}

static void bad_record(struct replay *r, uint64_t lsn)
{
    if (!r->bad_records++)
        r->first_bad = lsn;
    stat_add(&wal_lost, 1);
}

static enum err on_record(void *ctx, const struct store_replayed *rec)
{
    struct replay *r = ctx;
    if (rec->lsn > r->tail_lsn || rec->type != WAL_FRAME)
        return OK;
    struct tsdb *db = r->db;
    struct rep_part *rp = rep_part(r, rec->partition);
    struct frame f = { .r = r, .rp = rp, .rd = rd_init(rec->payload) };
    uint32_t stamp = (uint32_t)rd_uvarint(&f.rd), seq = (uint32_t)rd_uvarint(&f.rd);
    f.ts = rd_svarint(&f.rd);
    if (!rd_ok(&f.rd) || !context(r, rp, rec, stamp, seq)) {
        bad_record(r, rec->lsn);
        return OK;
    }
    uint64_t before = r->samples;
    while (f.rd.p < f.rd.end) {
        if (!do_op(&f)) {
            rp->broken = true;
            bad_record(r, rec->lsn);
            break;
        }
    }
    r->lsn = rec->lsn;
    atomic_fetch_add_explicit(&db->gen_samples, (int64_t)(r->samples - before), memory_order_relaxed);
    arena_reset(&r->a);
    if (db->parts)
        for (unsigned k = 0; k < db->n_parts; k++) {
            memset(db->parts[k].recent, 0, sizeof(db->parts[k].recent));
            timelines_publish(db, &db->parts[k]);
        }
    if (flush_by_bytes(db)) {
        struct err_text why;
        uint64_t low = rec->lsn; /* a later start must find whole contexts */
        for (uint32_t k = 0; k < r->n_parts; k++)
            if (r->parts[k].context)
                low = MIN(low, r->parts[k].first_lsn - 1);
        if (flush_locked(db, rec->lsn, low, &why)) /* goes on in memory; the background thread tries again */
            LOG_WARN("flush during replay failed, going on", "err", why.msg);
        flush_unlink_try(db);
    }
    return OK;
}

static void on_hole(void *ctx, uint64_t first, uint64_t last)
{
    struct replay *r = ctx;
    if (!r->bad_records++)
        r->first_bad = first;
    stat_add(&wal_lost, (int64_t)(last - first + 1));
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

enum err tsdb_wal_replay(struct tsdb *db, struct err_text *reterr)
{
    struct replay r = { .db = db, .tail_lsn = store_wal_last_lsn(db->st) };
    arena_init(&r.a, 0);
    r.oldest_ms = LIMIT(db, retention_ms) ? clock_now_ms(db->clk) - LIMIT(db, retention_ms) : INT64_MIN;
    struct store_replay spec = { .signal = STORE_METRICS,
                                 .from_lsn = store_wal_low_water(db->st, STORE_METRICS),
                                 .partition = -1,
                                 .ctx = &r,
                                 .on_record = on_record,
                                 .on_hole = on_hole };
    struct store_replay_result res = { 0 };
    uint64_t began = os_mono_ns();
    enum err e = store_wal_replay(db->st, &spec, &res, reterr);
    if (r.bad_records) {
        snprintf(db->damage, sizeof(db->damage),
                 "the log is damaged: %llu records could not be read, the first is %llu",
                 (unsigned long long)r.bad_records, (unsigned long long)r.first_bad);
        atomic_store(&db->wal_damaged, true);
        LOG_ERROR("metrics log damaged, answers may miss samples", "records", LOG_I64(r.bad_records), "first_lsn",
                  LOG_I64(r.first_bad));
    }
    if (res.records)
        LOG_INFO("metrics log replayed", "records", LOG_I64(res.records), "samples", LOG_I64(r.samples), "ms",
                 LOG_I64((os_mono_ns() - began) / 1000000));
    vec_free(&r.ids);
    mem_free(r.parts);
    arena_deinit(&r.a);
    return e;
}
