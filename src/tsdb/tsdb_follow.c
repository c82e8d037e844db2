/* What the records of the metrics log say, one by one, for who follows the log (tsdb.h; tsdb_wal.c has their layout,
 * tsdb_replay.c reads them at start).
 *
 * What an id means is learned from its definition and holds within its context: (epoch, partition, stamp). */
#include "tsdb/tsdb_int.h"

struct follow_id { /* what an id of the log means */
    uint32_t context;
    struct tok tok;
};
struct follow_part {
    uint32_t epoch, stamp, seq, context;
    bool broken;
};
struct tsdb_follow {
    struct tsdb_follow_sink sink;
    struct follow_id **pages; /* by id, SERIES_PAGES_MAX of SERIES_PAGE */
    struct follow_part *parts;
    uint32_t n_parts, next_context;
    struct arena a; /* one record */
};
struct frame { /* being read */
    struct tsdb_follow *r;
    struct follow_part *rp;
    struct rd rd;
    uint32_t id;
    int64_t ts;
    struct labels prev;
};

static struct follow_id *id_at(struct tsdb_follow *r, uint32_t id)
{
    struct follow_id **page = &r->pages[id / SERIES_PAGE];
    if (!*page)
        *page = mem_zalloc(SERIES_PAGE * sizeof(**page));
    return &(*page)[id % SERIES_PAGE];
}

static bool frame_front(struct frame *f, str before, str *ret)
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

static bool frame_labels(struct frame *f, struct labels *ret)
{
    uint64_t n = rd_uvarint(&f->rd);
    if (!rd_ok(&f->rd) || n > rd_left(&f->rd))
        return false;
    struct label *l = arena_array(&f->r->a, struct label, n + 1);
    for (size_t i = 0; i < n; i++) {
        struct label before = i < f->prev.n ? f->prev.p[i] : (struct label){ STR_NONE, STR_NONE };
        if (!frame_front(f, before.name, &l[i].name) || !frame_front(f, before.value, &l[i].value))
            return false;
    }
    *ret = f->prev = (struct labels){ l, (size_t)n };
    return n > 0;
}

static bool frame_def(struct frame *f)
{
    struct labels ls;
    if (!frame_labels(f, &ls))
        return false;
    f->r->sink.define(f->r->sink.ctx, f->id, ls);
    *id_at(f->r, f->id) = (struct follow_id){ f->rp->context, { .form = TOK_RAW } };
    return true;
}

static struct follow_id *frame_defined(struct frame *f)
{
    struct follow_id *page = f->r->pages[f->id / SERIES_PAGE], *x = page ? &page[f->id % SERIES_PAGE] : NULL;
    return x && x->context == f->rp->context ? x : NULL;
}

static void frame_ts(struct frame *f)
{
    f->ts = (int64_t)((uint64_t)f->ts + (uint64_t)rd_svarint(&f->rd));
}

static bool frame_sample(struct frame *f, unsigned kind)
{
    struct follow_id *x = frame_defined(f);
    if (kind & 2)
        frame_ts(f);
    if (!x)
        return false;
    if (!(kind & 1)) {
        const uint8_t *p = (const uint8_t *)f->rd.p;
        uint32_t n;
        if (tok_get(&x->tok, &p, (const uint8_t *)f->rd.end, &n) != TOK_VALUE)
            return false;
        f->rd.p = (const char *)p;
    }
    f->r->sink.sample(f->r->sink.ctx, f->id, f->ts, f64_from_bits(x->tok.bits), x->tok.start);
    return true;
}

static bool frame_raw(struct frame *f)
{
    struct follow_id *x = frame_defined(f);
    frame_ts(f);
    uint64_t bits = rd_u64(&f->rd);
    int64_t start = rd_svarint(&f->rd);
    if (!x || !rd_ok(&f->rd))
        return false;
    f->r->sink.sample(f->r->sink.ctx, f->id, f->ts, f64_from_bits(bits), start);
    return true;
}

static bool frame_hist(struct frame *f)
{
    struct follow_id *x = frame_defined(f);
    frame_ts(f);
    int64_t start = rd_svarint(&f->rd);
    str body = rd_lstr(&f->rd);
    struct histogram *h;
    struct rd hr = rd_init(body);
    if (!x || !rd_ok(&f->rd) || hist_decode(&hr, &f->r->a, &h) || !rd_end(&hr))
        return false;
    f->r->sink.histogram(f->r->sink.ctx, f->id, f->ts, h, start);
    return true;
}

static bool frame_ext(struct frame *f)
{
    struct follow_id *x = frame_defined(f);
    switch (rd_u8(&f->rd)) {
    case EXT_INFO: {
        unsigned type = rd_u8(&f->rd), temporality = rd_u8(&f->rd);
        rd_lstr(&f->rd); /* resource */
        if (!x || !rd_ok(&f->rd))
            return false;
        f->r->sink.info(f->r->sink.ctx, f->id, (enum metric_type)type, (enum temporality)temporality);
        return true;
    }
    case EXT_EXEMPLAR: {
        frame_ts(f);
        double v = rd_f64(&f->rd);
        struct rd lr = rd_init(rd_lstr(&f->rd));
        struct labels ls;
        if (!x || !rd_ok(&f->rd) || !meta_labels_decode(&lr, &f->r->a, &ls))
            return false;
        f->r->sink.exemplar(f->r->sink.ctx, f->id, &(struct exemplar){ ls, v, f->ts });
        return true;
    }
    case EXT_FAMILY: {
        str name = rd_lstr(&f->rd);
        struct metric_meta m = { .type = (enum metric_type)rd_u8(&f->rd) };
        m.help = rd_lstr(&f->rd);
        m.unit = rd_lstr(&f->rd);
        if (rd_ok(&f->rd) && f->r->sink.family)
            f->r->sink.family(f->r->sink.ctx, name, &m);
        return rd_ok(&f->rd);
    }
    case EXT_RUN:
        rd_uvarint(&f->rd);
        return rd_ok(&f->rd);
    default:
        return false;
    }
}

static bool frame_op(struct frame *f)
{
    uint64_t x = rd_uvarint(&f->rd);
    int64_t id = (int64_t)f->id + unzigzag(x >> 3);
    if (!rd_ok(&f->rd) || id < 0 || id >= (int64_t)SERIES_PAGE * SERIES_PAGES_MAX)
        return false;
    f->id = (uint32_t)id;
    switch (x & 7) {
    case OP_DEF:
        return frame_def(f);
    case OP_RAW:
        return frame_raw(f);
    case OP_HIST:
        return frame_hist(f);
    case OP_EXT:
        return frame_ext(f);
    default:
        return frame_sample(f, x & 7);
    }
}

static struct follow_part *frame_part(struct tsdb_follow *r, uint16_t partition)
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
static bool frame_context(struct tsdb_follow *r, struct follow_part *rp, const struct store_replayed *rec,
                          uint32_t stamp, uint32_t seq)
{
    if (!rp->context || rp->epoch != rec->epoch || rp->stamp != stamp) {
        rp->epoch = rec->epoch;
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

struct tsdb_follow *tsdb_follow_new(const struct tsdb_follow_sink *sink)
{
    struct tsdb_follow *f = mem_zalloc(sizeof(*f));
    f->sink = *sink;
    f->pages = mem_zalloc(SERIES_PAGES_MAX * sizeof(*f->pages));
    arena_init(&f->a, 0);
    return f;
}

void tsdb_follow_free(struct tsdb_follow *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < SERIES_PAGES_MAX; i++)
        mem_free(f->pages[i]);
    mem_free(f->pages);
    mem_free(f->parts);
    arena_deinit(&f->a);
    mem_free(f);
}

enum err tsdb_follow_record(struct tsdb_follow *r, const struct store_replayed *rec)
{
    if (rec->type != WAL_FRAME)
        return OK;
    struct follow_part *rp = frame_part(r, rec->partition);
    struct frame f = { .r = r, .rp = rp, .rd = rd_init(rec->payload) };
    uint32_t stamp = (uint32_t)rd_uvarint(&f.rd), seq = (uint32_t)rd_uvarint(&f.rd);
    f.ts = rd_svarint(&f.rd);
    bool good = rd_ok(&f.rd) && frame_context(r, rp, rec, stamp, seq);
    while (good && f.rd.p < f.rd.end)
        good = frame_op(&f);
    rp->broken |= !good;
    arena_reset(&r->a);
    return good ? OK : ERR_CORRUPT;
}
