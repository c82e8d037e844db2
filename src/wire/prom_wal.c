/* The log of Prometheus: pages of fragments, records in them (manual: prom_tsdb.h). */
#include "base/hash.h"
#include "base/rd.h"
#include "wire/compress.h"
#include "wire/prom_tsdb.h"

#define PAGE_BYTES    (32u << 10)
#define FRAGMENT_HEAD 7
#define SNAPPY_BIT    8
#define ZSTD_BIT      16
#define TYPE_BITS     7

enum { FRAGMENT_NONE, FRAGMENT_FULL, FRAGMENT_FIRST, FRAGMENT_MIDDLE, FRAGMENT_LAST };

void prom_log_init(struct prom_log *l, str file)
{
    *l = (struct prom_log){ .file = file };
    buf_init(&l->joined, PROM_RECORD_BYTES_MAX);
    buf_init(&l->plain, 0);
}

void prom_log_deinit(struct prom_log *l)
{
    buf_deinit(&l->joined);
    buf_deinit(&l->plain);
}

static enum err broken(uint64_t at, const char *what, struct err_text *reterr)
{
    return err_fail_at(reterr, ERR_CORRUPT, (size_t)at, "offset %llu: %s", (unsigned long long)at, what);
}

static bool zeros(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i])
            return false;
    return true;
}

static enum err torn(struct prom_log *l, uint64_t at)
{
    l->torn = true;
    l->torn_at = at;
    l->off = l->file.n;
    return ERR_NOT_FOUND;
}

/* The fragment at l->off, over padding. type FRAGMENT_NONE: the end of the file. */
static enum err fragment(struct prom_log *l, unsigned *type, unsigned *flags, str *data, struct err_text *reterr)
{
    *type = FRAGMENT_NONE;
    for (;;) {
        uint64_t at = l->off, page_end = (at / PAGE_BYTES + 1) * PAGE_BYTES, end = page_end;
        if (end > l->file.n)
            end = l->file.n;
        if (at >= l->file.n)
            return OK;
        str rest = { l->file.p + at, (size_t)(end - at) };
        if (rest.p[0] == 0 || rest.n < FRAGMENT_HEAD) { /* the rest of the page is padding */
            if (!zeros(rest))
                return end < page_end ? torn(l, at) : broken(at, "padding of a page is not zero", reterr);
            l->off = end;
            continue;
        }
        uint8_t head = (uint8_t)rest.p[0];
        size_t n = (size_t)((uint8_t)rest.p[1] << 8 | (uint8_t)rest.p[2]);
        uint32_t crc = (uint32_t)(uint8_t)rest.p[3] << 24 | (uint32_t)(uint8_t)rest.p[4] << 16 |
                       (uint32_t)(uint8_t)rest.p[5] << 8 | (uint8_t)rest.p[6];
        if (n > page_end - at - FRAGMENT_HEAD)
            return broken(at, "a fragment is longer than its page", reterr);
        if (n > rest.n - FRAGMENT_HEAD)
            return torn(l, at);
        *data = str_n(rest.p + FRAGMENT_HEAD, n);
        if (crc32c(0, *data) != crc) {
            str after = str_skip(l->file, (size_t)at + FRAGMENT_HEAD + n);
            return zeros(after) ? torn(l, at) : broken(at, "checksum of a fragment does not match", reterr);
        }
        *type = head & TYPE_BITS;
        *flags = head & (SNAPPY_BIT | ZSTD_BIT);
        if (head & ~(TYPE_BITS | SNAPPY_BIT | ZSTD_BIT) || *type > FRAGMENT_LAST || *flags == (SNAPPY_BIT | ZSTD_BIT))
            return err_fail_at(reterr, ERR_UNSUPPORTED, (size_t)at,
                               "offset %llu: fragment type 0x%02x is not known to this version", (unsigned long long)at,
                               head);
        l->off = at + FRAGMENT_HEAD + n;
        return OK;
    }
}

static enum err unpack(struct prom_log *l, uint64_t at, unsigned flags, str raw, str *ret, struct err_text *reterr)
{
    if (!flags || !raw.n) {
        *ret = raw;
        return OK;
    }
    struct err_text why;
    buf_clear(&l->plain);
    enum err e =
        decompress(flags & SNAPPY_BIT ? CODING_SNAPPY : CODING_ZSTD, raw, PROM_RECORD_BYTES_MAX, &l->plain, &why);
    if (e)
        return err_fail_at(reterr, e, (size_t)at, "offset %llu: %s", (unsigned long long)at, why.msg);
    *ret = buf_str(&l->plain);
    return OK;
}

enum err prom_log_next(struct prom_log *l, str *ret, struct err_text *reterr)
{
    uint64_t began = l->off;
    bool open = false;
    buf_clear(&l->joined);
    for (;;) {
        unsigned type, flags = 0;
        str data;
        uint64_t at = l->off;
        TRY(fragment(l, &type, &flags, &data, reterr));
        if (type == FRAGMENT_NONE)
            return open ? torn(l, began) : ERR_NOT_FOUND;
        bool starts = type == FRAGMENT_FULL || type == FRAGMENT_FIRST;
        if (starts == open)
            return broken(at, open ? "a record begins inside another" : "a record without its first fragment", reterr);
        if (type == FRAGMENT_FULL)
            return unpack(l, at, flags, data, ret, reterr);
        if (starts)
            began = at;
        open = true;
        buf_str_add(&l->joined, data);
        if (l->joined.failed)
            return err_fail_at(reterr, ERR_LIMIT, (size_t)began, "offset %llu: a record is larger than %u bytes",
                               (unsigned long long)began, PROM_RECORD_BYTES_MAX);
        if (type == FRAGMENT_LAST)
            return unpack(l, began, flags, buf_str(&l->joined), ret, reterr);
    }
}

/* ---- records ---- */
enum {
    REC_SERIES = 1,
    REC_SAMPLES,
    REC_TOMBSTONES,
    REC_EXEMPLARS,
    REC_MMAP_MARKERS,
    REC_METADATA,
    REC_HISTOGRAMS,
    REC_FLOAT_HISTOGRAMS,
    REC_CUSTOM_HISTOGRAMS,
    REC_CUSTOM_FLOAT_HISTOGRAMS,
    REC_SAMPLES2,
    REC_HISTOGRAMS2,
    REC_FLOAT_HISTOGRAMS2,
    REC_MIN_VALID,
};

static uint64_t rd_be64(struct rd *r)
{
    return __builtin_bswap64(rd_u64(r));
}

static double rd_bef64(struct rd *r)
{
    return f64_from_bits(rd_be64(r));
}

static bool rd_labels(struct rd *r, struct arena *a, struct labels *ret)
{
    uint64_t n = rd_uvarint(r);
    if (n > PROM_LABELS_MAX || n > rd_left(r)) {
        rd_fail(r);
        return false;
    }
    struct label *p = arena_array(a, struct label, n + 1);
    for (size_t i = 0; i < n; i++) {
        p[i].name = rd_lstr(r);
        p[i].value = rd_lstr(r);
    }
    size_t k = (size_t)n;
    struct err_text why;
    if (!rd_ok(r) || labels_sort(p, &k, &why)) {
        rd_fail(r);
        return false;
    }
    *ret = (struct labels){ p, k };
    return true;
}

static enum err series(struct rd *r, struct arena *a, const struct prom_records *to)
{
    while (rd_left(r)) {
        uint64_t ref = rd_be64(r);
        struct labels ls;
        if (!rd_labels(r, a, &ls))
            return ERR_CORRUPT;
        TRY(to->series(to->ctx, ref, ls));
    }
    return OK;
}

/* Where the samples of a record are: against the first, or (2) the one before. */
struct place {
    bool v2, any;
    uint64_t ref, first_ref;
    uint64_t ts, first_ts;
    int64_t start, first_start;
};

static void place_first(struct rd *r, struct place *p)
{
    if (p->v2) {
        p->ref = (uint64_t)rd_svarint(r);
        p->first_ts = (uint64_t)rd_svarint(r);
        p->first_start = rd_svarint(r);
    } else {
        p->first_ref = rd_be64(r);
        p->first_ts = rd_be64(r);
    }
}

static void place_next(struct rd *r, struct place *p)
{
    if (!p->v2) {
        p->ref = p->first_ref + (uint64_t)rd_svarint(r);
        p->ts = p->first_ts + (uint64_t)rd_svarint(r);
        return;
    }
    if (!p->any) {
        p->any = true;
        p->ts = p->first_ts;
        p->start = p->first_start;
        return;
    }
    p->ref += (uint64_t)rd_svarint(r);
    p->ts = p->first_ts + (uint64_t)rd_svarint(r);
    uint8_t marker = rd_u8(r);
    if (marker == 0)
        p->start = 0;
    else if (marker != 1)
        p->start = (int64_t)((uint64_t)p->first_start + (uint64_t)rd_svarint(r));
}

static enum err samples(struct rd *r, bool v2, const struct prom_records *to)
{
    struct place p = { .v2 = v2 };
    if (!rd_left(r))
        return OK;
    place_first(r, &p);
    if (v2 && !rd_left(r))
        return ERR_CORRUPT; /* it has begun the first sample */
    while (rd_left(r)) {
        place_next(r, &p);
        double v = rd_bef64(r);
        if (!rd_ok(r))
            return ERR_CORRUPT;
        TRY(to->sample(to->ctx, p.ref, (int64_t)p.ts, v, p.start));
    }
    return OK;
}

static size_t rd_count(struct rd *r)
{
    uint64_t n = rd_uvarint(r);
    if (n > HIST_BUCKETS_MAX || n > rd_left(r)) {
        rd_fail(r);
        return 0;
    }
    return (size_t)n;
}

static void rd_spans(struct rd *r, struct arena *a, struct hist_side *s)
{
    s->n_spans = rd_count(r);
    struct hist_span *p = arena_array(a, struct hist_span, s->n_spans + 1);
    for (size_t i = 0; i < s->n_spans; i++) {
        int64_t offset = rd_svarint(r);
        uint64_t length = rd_uvarint(r);
        if (offset < INT32_MIN || offset > INT32_MAX || length > HIST_BUCKETS_MAX)
            rd_fail(r);
        p[i] = (struct hist_span){ (int32_t)offset, (uint32_t)length };
    }
    s->spans = p;
}

static void rd_buckets(struct rd *r, bool is_float, struct arena *a, struct hist_side *s)
{
    s->n_buckets = rd_count(r);
    double *p = arena_array(a, double, s->n_buckets + 1);
    uint64_t level = 0;
    for (size_t i = 0; i < s->n_buckets; i++) {
        if (is_float)
            p[i] = rd_bef64(r);
        else
            p[i] = (double)(int64_t)(level += (uint64_t)rd_svarint(r));
    }
    s->buckets = p;
}

static struct histogram *rd_histogram(struct rd *r, bool is_float, struct arena *a, struct err_text *why)
{
    struct histogram *h = arena_new(a, struct histogram);
    uint8_t hint = rd_u8(r);
    int64_t schema = rd_svarint(r);
    h->schema = schema < INT16_MIN || schema > INT16_MAX ? INT16_MAX : (int32_t)schema;
    h->zero_threshold = rd_bef64(r);
    h->zero_count = is_float ? rd_bef64(r) : (double)rd_uvarint(r);
    h->count = is_float ? rd_bef64(r) : (double)rd_uvarint(r);
    h->sum = rd_bef64(r);
    rd_spans(r, a, &h->pos);
    rd_spans(r, a, &h->neg);
    rd_buckets(r, is_float, a, &h->pos);
    rd_buckets(r, is_float, a, &h->neg);
    if (h->schema == HIST_SCHEMA_CUSTOM) {
        h->n_custom = rd_count(r);
        double *p = arena_array(a, double, h->n_custom + 1);
        for (size_t i = 0; i < h->n_custom; i++)
            p[i] = rd_bef64(r);
        h->custom = p;
    }
    if (!rd_ok(r))
        return NULL;
    if (is_stale(h->sum)) {
        struct histogram *stale = arena_new(a, struct histogram);
        stale->sum = h->sum;
        return stale;
    }
    h->reset = hint == HIST_RESET_GAUGE ? HIST_RESET_GAUGE
               : hint == HIST_RESET_YES ? HIST_RESET_YES
                                        : HIST_RESET_UNKNOWN;
    return histogram_validate(h, why) ? NULL : h;
}

static enum err histograms(struct rd *r, bool v2, bool is_float, struct arena *a, const struct prom_records *to,
                           struct err_text *why)
{
    struct place p = { .v2 = v2 };
    if (!rd_left(r))
        return OK;
    place_first(r, &p);
    while (rd_left(r)) {
        place_next(r, &p);
        struct histogram *h = rd_histogram(r, is_float, a, why);
        if (!h)
            return ERR_CORRUPT;
        TRY(to->histogram(to->ctx, p.ref, (int64_t)p.ts, h, p.start));
    }
    return OK;
}

static enum err exemplars(struct rd *r, struct arena *a, const struct prom_records *to)
{
    struct place p = { 0 };
    if (!rd_left(r))
        return OK;
    place_first(r, &p);
    while (rd_left(r)) {
        place_next(r, &p);
        struct exemplar e = { .v = rd_bef64(r), .ts_ms = (int64_t)p.ts };
        if (!rd_labels(r, a, &e.labels))
            return ERR_CORRUPT;
        TRY(to->exemplar(to->ctx, p.ref, &e));
    }
    return OK;
}

static enum err tombstones(struct rd *r, const struct prom_records *to)
{
    while (rd_left(r)) {
        struct prom_tombstone t = { .ref = rd_be64(r) };
        t.min_ms = rd_svarint(r);
        t.max_ms = rd_svarint(r);
        if (!rd_ok(r))
            return ERR_CORRUPT;
        TRY(to->tombstone(to->ctx, &t));
    }
    return OK;
}

static enum err metadata(struct rd *r, const struct prom_records *to)
{
    while (rd_left(r)) {
        uint64_t ref = rd_uvarint(r);
        struct metric_meta m = { .type = (enum metric_type)rd_u8(r) }; /* the numbers are the same */
        uint64_t n = rd_uvarint(r);
        if (m.type > METRIC_STATESET)
            m.type = METRIC_UNKNOWN;
        for (uint64_t i = 0; i < n && rd_ok(r); i++) {
            str k = rd_lstr(r), v = rd_lstr(r);
            if (str_eq(k, STR("UNIT")))
                m.unit = v;
            else if (str_eq(k, STR("HELP")))
                m.help = v;
        }
        if (!rd_ok(r))
            return ERR_CORRUPT;
        TRY(to->metadata(to->ctx, ref, &m));
    }
    return OK;
}

static enum err min_valid(struct rd *r, const struct prom_records *to)
{
    int64_t ms = (int64_t)rd_be64(r);
    return rd_end(r) ? to->min_valid(to->ctx, ms) : ERR_CORRUPT;
}

enum err prom_record_read(str rec, struct arena *scratch, const struct prom_records *to, struct err_text *reterr)
{
    struct rd r = rd_init(rec);
    struct err_text why = { .msg = "" };
    unsigned type = rd_u8(&r);
    enum err e = OK;
    arena_reset(scratch);
#define WITH(callback, call) (to->callback ? (call) : (r.p = r.end, OK))
    switch (type) {
    case REC_SERIES:
        e = WITH(series, series(&r, scratch, to));
        break;
    case REC_SAMPLES:
    case REC_SAMPLES2:
        e = WITH(sample, samples(&r, type == REC_SAMPLES2, to));
        break;
    case REC_TOMBSTONES:
        e = WITH(tombstone, tombstones(&r, to));
        break;
    case REC_EXEMPLARS:
        e = WITH(exemplar, exemplars(&r, scratch, to));
        break;
    case REC_MMAP_MARKERS: /* which samples of the log are in head chunks too: both are read, and the same */
        return OK;
    case REC_METADATA:
        e = WITH(metadata, metadata(&r, to));
        break;
    case REC_HISTOGRAMS:
    case REC_CUSTOM_HISTOGRAMS:
    case REC_HISTOGRAMS2:
        e = WITH(histogram, histograms(&r, type == REC_HISTOGRAMS2, false, scratch, to, &why));
        break;
    case REC_FLOAT_HISTOGRAMS:
    case REC_CUSTOM_FLOAT_HISTOGRAMS:
    case REC_FLOAT_HISTOGRAMS2:
        e = WITH(histogram, histograms(&r, type == REC_FLOAT_HISTOGRAMS2, true, scratch, to, &why));
        break;
    case REC_MIN_VALID:
        e = WITH(min_valid, min_valid(&r, to));
        break;
    default:
        return err_fail(reterr, ERR_UNSUPPORTED, "a record of type %u is not known to this version", type);
    }
#undef WITH
    if (e == ERR_CORRUPT || (e == OK && !rd_ok(&r)))
        return err_fail(reterr, ERR_CORRUPT, "a record of type %u and %zu bytes does not decode%s%s", type, rec.n,
                        why.msg[0] ? ": " : "", why.msg);
    return e;
}

/* ---- memory snapshot ---- */
enum { SNAP_SERIES = 1, SNAP_TOMBSTONES, SNAP_EXEMPLARS };

static enum err snap_series(struct rd *r, struct arena *a, const struct prom_snapshot *to)
{
    struct prom_head_chunk c = { .ref = rd_be64(r) };
    struct labels ls;
    if (!rd_labels(r, a, &ls))
        return ERR_CORRUPT;
    (void)rd_be64(r); /* range of chunks; newer versions lack it, and are the same up to here */
    if (rd_uvarint(r) != 0) {
        c.min_ms = (int64_t)rd_be64(r);
        c.max_ms = (int64_t)rd_be64(r);
        c.chunk.encoding = rd_u8(r);
        c.chunk.data = rd_lstr(r); /* what follows is what the writer of the chunk needs to go on */
    }
    if (!rd_ok(r))
        return ERR_CORRUPT;
    TRY(to->to.series(to->to.ctx, c.ref, ls));
    return c.chunk.encoding ? to->chunk(to->to.ctx, &c) : OK;
}

enum err prom_snapshot_read(str rec, struct arena *scratch, const struct prom_snapshot *to, struct err_text *reterr)
{
    struct rd r = rd_init(rec);
    unsigned type = rd_u8(&r);
    enum err e = OK;
    arena_reset(scratch);
    if (type == SNAP_SERIES) {
        e = snap_series(&r, scratch, to);
    } else if (type == SNAP_TOMBSTONES) {
        str body = rd_lstr(&r);
        struct rd t = rd_init(body);
        e = rd_u8(&t) == 1 ? OK : ERR_CORRUPT; /* version, as in the file of tombstones */
        while (!e && rd_left(&t)) {
            struct prom_tombstone x = { .ref = rd_uvarint(&t) };
            x.min_ms = rd_svarint(&t);
            x.max_ms = rd_svarint(&t);
            e = rd_ok(&t) ? to->to.tombstone(to->to.ctx, &x) : ERR_CORRUPT;
        }
    } else if (type == SNAP_EXEMPLARS) {
        e = exemplars(&r, scratch, &to->to);
    } else {
        return err_fail(reterr, ERR_UNSUPPORTED, "a snapshot record of type %u is not known to this version", type);
    }
    if (e == ERR_CORRUPT)
        return err_fail(reterr, ERR_CORRUPT, "a snapshot record of type %u and %zu bytes does not decode", type, rec.n);
    return e;
}
