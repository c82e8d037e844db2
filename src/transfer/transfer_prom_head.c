/* The head of a Prometheus data folder: what is not in blocks (manual: transfer.h).
 *
 * Two passes over the log. The first learns series, metadata, what was deleted, and from when on the head is valid; the
 * second gathers samples. A sample may be in a head chunk, in a memory snapshot and in the log: it is taken once.
 * As Prometheus does at its start: of in-order data, what lies before the end of the newest block is passed over (it is in
 * blocks, or was deleted from them); of checkpoints and memory snapshots the newest counts. */
#include <stdlib.h>

#include "transfer/transfer_int.h"

struct head_series {
    uint32_t no; /* in gather */
    bool wanted;
};
#define MAP_NAME     refmap
#define MAP_KEY      uint64_t
#define MAP_VALUE    struct head_series
#define MAP_HASH(k)  hash_u64((k) ^ 0x9e3779b97f4a7c15ull)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"
#define MAP_NAME     nameset
#define MAP_KEY      str
#define MAP_VALUE    bool
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

struct head {
    struct transfer_prom *p;
    const struct transfer_sink *to;
    struct err_text *err;
    int64_t from, until;
    struct gather *g;
    struct refmap refs;
    struct nameset families;
    struct arena a, scratch, chunk_a;
    struct xor_samples chunk;
    VEC(struct prom_tombstone) deleted;
    struct tombs tombs;
    int64_t min_valid;
    bool in_order; /* what is read now is bounded by min_valid */
    uint64_t unknown;
};

/* ---- what there is ---- */

/* The newest of the folders PREFIX<numbers>; empty: none. */
static str newest(const str *names, size_t n, str prefix, struct arena *a, str dir)
{
    str best = STR_NONE;
    for (size_t i = 0; i < n; i++)
        if (str_has_prefix(names[i], prefix) && !str_has_suffix(names[i], STR(".tmp")) &&
            (!best.p || str_cmp(names[i], best) > 0)) /* numbers have leading zeros */
            best = names[i];
    return best.p ? arena_printf(a, STR_FMT "/" STR_FMT, STR_ARG(dir), STR_ARG(best)) : STR_NONE;
}

static uint64_t number_at_end(str path, char after)
{
    uint64_t v = 0;
    size_t at = path.n;
    while (at && path.p[at - 1] != after)
        at--;
    return str_to_u64(str_skip(path, at), &v) ? v : 0;
}

static enum err names_of(struct transfer_prom *p, str dir, str **ret, size_t *ret_n, struct err_text *reterr)
{
    enum err e = fs_list(p->fs, dir.p, &p->a, ret, ret_n);
    if (e == ERR_NOT_FOUND) {
        *ret_n = 0;
        return OK;
    }
    return e ? err_fail(reterr, e, STR_FMT ": %s", STR_ARG(dir), err_describe(e)) : OK;
}

static uint64_t bytes_of(const struct log_files *v)
{
    uint64_t n = 0;
    for (size_t i = 0; i < v->n; i++)
        n += v->p[i].bytes;
    return n;
}

enum err head_list(struct transfer_prom *p, struct err_text *reterr)
{
    struct prom_head *h = &p->head;
    str *names, wal = arena_printf(&p->a, STR_FMT "/wal", STR_ARG(p->dir));
    size_t n;
    TRY(names_of(p, wal, &names, &n, reterr));
    str checkpoint = newest(names, n, STR("checkpoint."), &p->a, wal);
    TRY(numbered_files(p, wal, &h->wal, reterr));
    if (checkpoint.p) {
        TRY(numbered_files(p, checkpoint, &h->checkpoint, reterr));
        uint64_t upto = number_at_end(checkpoint, '.');
        size_t k = 0;
        for (size_t i = 0; i < h->wal.n; i++)
            if (number_at_end(h->wal.p[i].path, '/') > upto)
                h->wal.p[k++] = h->wal.p[i];
        h->wal.n = k;
    }
    TRY(numbered_files(p, arena_printf(&p->a, STR_FMT "/wbl", STR_ARG(p->dir)), &h->wbl, reterr));
    TRY(numbered_files(p, arena_printf(&p->a, STR_FMT "/chunks_head", STR_ARG(p->dir)), &h->chunks, reterr));
    TRY(names_of(p, p->dir, &names, &n, reterr));
    str snapshot = newest(names, n, STR("chunk_snapshot."), &p->a, p->dir);
    if (snapshot.p)
        TRY(numbered_files(p, snapshot, &h->snapshot, reterr));
    h->bytes = bytes_of(&h->wal) + bytes_of(&h->checkpoint) + bytes_of(&h->wbl) + bytes_of(&h->chunks) +
               bytes_of(&h->snapshot);
    return OK;
}

/* ---- callbacks ---- */
static enum err on_series(void *ctx, uint64_t ref, struct labels ls)
{
    struct head *h = ctx;
    bool is_new;
    struct head_series *s = refmap_put(&h->refs, ref, &is_new);
    if (!is_new)
        return OK;
    s->wanted = prom_wants(h->p, ls);
    if (s->wanted)
        s->no = gather_series(h->g, ls, METRIC_UNKNOWN);
    return OK;
}

static enum err on_tombstone(void *ctx, const struct prom_tombstone *t)
{
    struct head *h = ctx;
    vec_push(&h->deleted, *t);
    return OK;
}

static enum err on_min_valid(void *ctx, int64_t ms)
{
    struct head *h = ctx;
    h->min_valid = MAX(h->min_valid, ms);
    return OK;
}

static str family_of(str name, enum metric_type t)
{
    static const str parts[] = { STR_INIT("_bucket"), STR_INIT("_count"), STR_INIT("_sum"), STR_INIT("_gcount"),
                                 STR_INIT("_gsum") };
    size_t from = t == METRIC_SUMMARY ? 1 : 0;
    if (t != METRIC_HISTOGRAM && t != METRIC_GAUGE_HISTOGRAM && t != METRIC_SUMMARY)
        return name;
    for (size_t i = from; i < ARRAY_LEN(parts); i++)
        if (str_has_suffix(name, parts[i]) && name.n > parts[i].n)
            return str_take(name, name.n - parts[i].n);
    return name;
}

static enum err on_metadata(void *ctx, uint64_t ref, const struct metric_meta *m)
{
    struct head *h = ctx;
    const struct head_series *s = refmap_get(&h->refs, ref);
    if (!s || !s->wanted)
        return OK;
    struct labels ls = gather_labels(h->g, s->no);
    (void)gather_series(h->g, ls, m->type);
    str family = family_of(labels_name(ls), m->type);
    bool is_new;
    if (!family.n || nameset_get(&h->families, family))
        return OK;
    (void)nameset_put(&h->families, arena_str(&h->a, family), &is_new);
    if (h->to->family)
        h->to->family(h->to->ctx, family, m);
    return OK;
}

static const struct head_series *taken(struct head *h, uint64_t ref, int64_t ts_ms)
{
    if (ts_ms < h->from || ts_ms > h->until || (h->in_order && ts_ms < h->min_valid))
        return NULL;
    const struct head_series *s = refmap_get(&h->refs, ref);
    if (!s)
        h->unknown++;
    if (!s || !s->wanted || (h->tombs.n && prom_tombs_hide(&h->tombs, ref, ts_ms)))
        return NULL;
    return s;
}

static enum err on_sample(void *ctx, uint64_t ref, int64_t ts_ms, double v, int64_t start_ms)
{
    struct head *h = ctx;
    const struct head_series *s = taken(h, ref, ts_ms);
    if (s)
        gather_point(h->g, s->no, ts_ms, v, NULL, start_ms);
    return OK;
}

static enum err on_histogram(void *ctx, uint64_t ref, int64_t ts_ms, const struct histogram *hist, int64_t start_ms)
{
    struct head *h = ctx;
    const struct head_series *s = taken(h, ref, ts_ms);
    if (s)
        gather_point(h->g, s->no, ts_ms, 0, hist, start_ms);
    return OK;
}

static enum err on_exemplar(void *ctx, uint64_t ref, const struct exemplar *e)
{
    struct head *h = ctx;
    const struct head_series *s = refmap_get(&h->refs, ref);
    if (s && s->wanted && e->ts_ms >= h->from && e->ts_ms <= h->until)
        gather_exemplar(h->g, s->no, e);
    return OK;
}

static enum err on_chunk(void *ctx, const struct prom_head_chunk *c)
{
    struct head *h = ctx;
    const struct head_series *s = refmap_get(&h->refs, c->ref);
    if (!s) {
        h->unknown++;
        return OK;
    }
    if (!s->wanted || c->max_ms < h->from || c->min_ms > h->until)
        return OK;
    arena_reset(&h->chunk_a);
    xor_samples_clear(&h->chunk);
    TRY(xor_chunk_read(c->chunk.encoding, c->chunk.data, &h->chunk_a, &h->chunk, h->err));
    bool in_order = h->in_order;
    h->in_order = !c->out_of_order;
    for (size_t i = 0; i < h->chunk.n; i++)
        if (taken(h, c->ref, h->chunk.ts[i]))
            gather_point(h->g, s->no, h->chunk.ts[i], h->chunk.v[i], h->chunk.h[i], h->chunk.start[i]);
    h->in_order = in_order;
    return OK;
}

/* ---- passes ---- */
static enum err full(struct head *h)
{
    return gather_bytes(h->g) > h->p->cfg.memory_max ? gather_drain(h->g, true, h->to, h->err) : OK;
}

/* Records of a row of log files. torn_ok: the last one may end in a record that was being written. */
static enum err read_log(struct head *h, const struct log_files *v, bool torn_ok, const struct prom_records *to,
                         const struct prom_snapshot *snap)
{
    for (size_t i = 0; i < v->n; i++) {
        struct mapped m;
        struct prom_log l;
        str rec;
        uint64_t at = 0;
        TRY(mapped_open(h->p->fs, v->p[i].path.p, &m, h->err));
        prom_log_init(&l, m.bytes);
        enum err e;
        h->err->msg[0] = 0;
        while ((e = prom_log_next(&l, &rec, h->err)) == OK) {
            e = snap ? prom_snapshot_read(rec, &h->scratch, snap, h->err)
                     : prom_record_read(rec, &h->scratch, to, h->err);
            if (e) {
                err_prefix(h->err, "record that ends at offset %llu", (unsigned long long)l.off);
                break;
            }
            e = full(h);
            if (e)
                break;
            prom_progress(h->p, l.off - at);
            at = l.off;
        }
        if (e == ERR_NOT_FOUND && l.torn) {
            if (torn_ok && i + 1 == v->n)
                prom_note(h->p, STR_FMT ", offset %llu: the log ends in a record that was not written to its end",
                          STR_ARG(v->p[i].path), (unsigned long long)l.torn_at);
            else
                e = err_fail(h->err, ERR_CORRUPT, "offset %llu: a record is cut off, and other files follow",
                             (unsigned long long)l.torn_at);
        }
        prom_log_deinit(&l);
        mapped_close(&m);
        if (e != ERR_NOT_FOUND) {
            err_prefix(h->err, STR_FMT, STR_ARG(v->p[i].path));
            return e;
        }
    }
    return OK;
}

static enum err read_head_chunks(struct head *h)
{
    const struct log_files *v = &h->p->head.chunks;
    for (size_t i = 0; i < v->n; i++) {
        struct mapped m;
        struct prom_head_chunk c;
        uint64_t off = 0, at;
        bool torn;
        enum err e;
        TRY(mapped_open(h->p->fs, v->p[i].path.p, &m, h->err));
        h->err->msg[0] = 0;
        while (at = off, (e = prom_head_chunk_next(m.bytes, &off, &c, &torn, h->err)) == OK) {
            e = on_chunk(h, &c);
            if (e) {
                err_prefix(h->err, "offset %llu", (unsigned long long)at);
                break;
            }
            e = full(h);
            if (e)
                break;
            prom_progress(h->p, off - at);
        }
        if (e == ERR_NOT_FOUND && torn) {
            if (i + 1 == v->n)
                prom_note(h->p,
                          STR_FMT ", offset %llu: the file ends in a chunk that was not written to its end (its "
                                  "samples are in the log)",
                          STR_ARG(v->p[i].path), (unsigned long long)at);
            else
                e = err_fail(h->err, ERR_CORRUPT, "offset %llu: a chunk is cut off, and other files follow",
                             (unsigned long long)at);
        }
        mapped_close(&m);
        if (e != ERR_NOT_FOUND) {
            err_prefix(h->err, STR_FMT, STR_ARG(v->p[i].path));
            return e;
        }
    }
    return OK;
}

static enum err no_chunk(void *ctx, const struct prom_head_chunk *c)
{
    (void)ctx;
    (void)c;
    return OK;
}

static enum err no_series(void *ctx, uint64_t ref, struct labels ls)
{
    (void)ctx;
    (void)ref;
    (void)ls;
    return OK;
}

static enum err no_tombstone(void *ctx, const struct prom_tombstone *t)
{
    (void)ctx;
    (void)t;
    return OK;
}

static enum err no_exemplar(void *ctx, uint64_t ref, const struct exemplar *e)
{
    (void)ctx;
    (void)ref;
    (void)e;
    return OK;
}

static enum err learn(struct head *h)
{
    const struct prom_head *p = &h->p->head;
    struct prom_records what = {
        .ctx = h, .series = on_series, .tombstone = on_tombstone, .metadata = on_metadata, .min_valid = on_min_valid
    };
    struct prom_snapshot snap = { what, no_chunk };
    snap.to.exemplar = no_exemplar;
    TRY(read_log(h, &p->snapshot, false, NULL, &snap));
    TRY(read_log(h, &p->checkpoint, false, &what, NULL));
    TRY(read_log(h, &p->wal, true, &what, NULL));
    h->tombs = (struct tombs){ h->deleted.p, h->deleted.n };
    prom_tombs_sort(&h->tombs);
    return OK;
}

static enum err gather_all(struct head *h)
{
    const struct prom_head *p = &h->p->head;
    void (*note)(void *, const char *) = h->p->cfg.note;
    struct prom_records what = { .ctx = h, .sample = on_sample, .histogram = on_histogram, .exemplar = on_exemplar };
    struct prom_snapshot snap = { { .ctx = h, .series = no_series, .tombstone = no_tombstone, .exemplar = on_exemplar },
                                  on_chunk };
    h->in_order = true;
    TRY(read_log(h, &p->snapshot, false, NULL, &snap));
    TRY(read_head_chunks(h));
    TRY(read_log(h, &p->checkpoint, false, &what, NULL));
    h->p->cfg.note = NULL; /* said in the first pass */
    enum err e = read_log(h, &p->wal, true, &what, NULL);
    h->p->cfg.note = note;
    TRY(e);
    h->in_order = false;
    TRY(read_log(h, &p->wbl, true, &what, NULL));
    return gather_drain(h->g, false, h->to, h->err);
}

enum err head_read(struct transfer_prom *p, int64_t from_ms, int64_t to_ms, const struct transfer_sink *to,
                   struct err_text *reterr)
{
    if (!p->head.bytes)
        return OK;
    struct head h = { .p = p,
                      .to = to,
                      .err = reterr,
                      .from = MAX(from_ms, TS_MS_MIN),
                      .until = MIN(to_ms, TS_MS_MAX),
                      .g = gather_new(),
                      .min_valid = p->head.min_valid };
    arena_init(&h.a, 0);
    arena_init(&h.scratch, 0);
    arena_init(&h.chunk_a, 0);
    enum err e = learn(&h);
    if (!e)
        e = gather_all(&h);
    if (!e && h.unknown)
        prom_note(p,
                  "%llu samples or chunks of the head belong to series that the log does not define: left out, as "
                  "Prometheus does",
                  (unsigned long long)h.unknown);
    xor_samples_deinit(&h.chunk);
    gather_free(h.g);
    refmap_free(&h.refs);
    nameset_free(&h.families);
    vec_free(&h.deleted);
    arena_deinit(&h.a);
    arena_deinit(&h.scratch);
    arena_deinit(&h.chunk_a);
    return e;
}
