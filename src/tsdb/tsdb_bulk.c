/* Bulk writing (manual: tsdb_bulk.h). Segments are of level 2 and hold one day or a part of one; several of a day are
 * merged by compaction once no bulk has come for a while. They carry no log position (0), which makes them the oldest in
 * the order of "last write wins". */
#include "tsdb/tsdb_bulk.h"
#include "tsdb/tsdb_int.h"

#define BULK_LEVEL       2
#define BULK_ROWS_MAX    (1u << 20) /* of one segment in the making: its index is in memory */
#define BULK_SAMPLES_MAX (1u << 29)
#define BULK_TIMES_MAX   (1u << 24) /* entries of timelines: series that share none */

static struct stat bulk_samples = STAT_COUNTER("vane_tsdb_bulk_samples_total", "Samples imported into segments", "");
static struct stat bulk_refused =
    STAT_COUNTER("vane_tsdb_bulk_refused_samples_total", "Samples refused by imports", "");

struct family_row {
    str name; /* in the arena, as all its texts */
    struct metric_meta meta;
};
struct tsdb_bulk {
    struct tsdb *db;
    int64_t oldest, newest; /* what is taken */
    struct seg_out *out;    /* being written, NULL: none */
    int64_t day;            /* of out */
    uint64_t out_rows, out_samples;
    struct arena last_a[2]; /* labels of the last series, in turns */
    unsigned turn;
    struct labels last;
    VEC(struct segment_writer *) done;
    struct arena a;
    VEC(struct family_row) families;
    struct tsdb_bulk_result r;
};

int64_t tsdb_retention_edge(struct tsdb *db)
{
    int64_t keep = LIMIT(db, retention_ms);
    return keep ? clock_now_ms(db->clk) - keep : INT64_MIN;
}

enum err tsdb_bulk_open(struct tsdb *db, unsigned flags, struct tsdb_bulk **ret)
{
    if (atomic_load(&db->closing))
        return ERR_CLOSED;
    struct tsdb_bulk *b = mem_zalloc(sizeof(*b));
    bool any = flags & TSDB_BULK_ANY_AGE;
    b->db = db;
    b->oldest = any ? TS_MS_MIN : MAX(tsdb_retention_edge(db), TS_MS_MIN);
    b->newest = any ? TS_MS_MAX : clock_now_ms(db->clk) + LIMIT(db, future_max_ms);
    b->r.min_ms = INT64_MAX;
    b->r.max_ms = INT64_MIN;
    arena_init(&b->a, 0);
    arena_init(&b->last_a[0], 0);
    arena_init(&b->last_a[1], 0);
    atomic_store(&db->bulk_ms, (int64_t)(os_mono_ns() / 1000000));
    return *ret = b, OK;
}

static void bulk_free(struct tsdb_bulk *b)
{
    atomic_store(&b->db->bulk_ms, (int64_t)(os_mono_ns() / 1000000));
    seg_out_abort(b->out);
    for (size_t i = 0; i < b->done.n; i++)
        segment_abort(b->done.p[i]);
    vec_free(&b->done);
    vec_free(&b->families);
    arena_deinit(&b->a);
    arena_deinit(&b->last_a[0]);
    arena_deinit(&b->last_a[1]);
    mem_free(b);
}

void tsdb_bulk_abort(struct tsdb_bulk *b)
{
    if (b)
        bulk_free(b);
}

uint64_t tsdb_bulk_samples(const struct tsdb_bulk *b)
{
    return b->r.samples;
}

static enum err cut(struct tsdb_bulk *b, struct err_text *reterr)
{
    struct seg_out *o = b->out;
    struct segment_writer *w = NULL;
    if (!o)
        return OK;
    b->out = NULL;
    b->last = LABELS_NONE;
    b->out_rows = b->out_samples = 0;
    TRY(seg_out_finish(o, 0, 0, &w, reterr));
    vec_push(&b->done, w);
    b->r.segments++;
    b->r.bytes += segment_writer_bytes(w);
    return OK;
}

static void refuse(struct tsdb_bulk *b, enum tsdb_reject why, size_t n, const struct labels *ls, const char *text)
{
    b->r.rejected[why] += n;
    stat_add(&bulk_refused, (int64_t)n);
    if (b->r.first.msg[0])
        return;
    AUTO_BUF struct buf name = { 0 };
    labels_print(&name, *ls);
    IGNORE_ERR(err_fail(&b->r.first, OK, STR_FMT ": %s", STR_ARG(str_take(buf_str(&name), 300)), text));
}

/* The part of s that may be stored; false: none. */
static bool admit(struct tsdb_bulk *b, const struct tsdb_bulk_series *s, struct tsdb_points *p)
{
    struct err_text why;
    size_t from = 0, to = s->points.n;
    *p = s->points;
    p->timeline = 0;
    if (to && series_check_labels(b->db, s->labels, &why)) {
        refuse(b, TSDB_REJECT_LABELS, to, &s->labels, why.msg);
        return false;
    }
    while (from < to && p->ts[from] < b->oldest)
        from++;
    while (to > from && p->ts[to - 1] > b->newest)
        to--;
    if (from)
        refuse(b, TSDB_REJECT_TOO_OLD, from, &s->labels, "older than retention keeps");
    if (to < s->points.n)
        refuse(b, TSDB_REJECT_FUTURE, s->points.n - to, &s->labels, "too far in the future");
    p->ts += from;
    p->v += from;
    p->h = p->h ? p->h + from : NULL;
    p->start_ms = p->start_ms ? p->start_ms + from : NULL;
    p->n = to - from;
    return p->n > 0;
}

static int64_t day_of(int64_t ts)
{
    return ts >= 0 ? ts / DAY_MS : -((-ts - 1) / DAY_MS) - 1;
}

static enum err check(const struct tsdb_points *p, struct err_text *reterr)
{
    for (size_t i = 1; i < p->n; i++)
        if (p->ts[i] <= p->ts[i - 1])
            return err_fail(reterr, ERR_INVALID, "times of a series do not ascend: %lld after %lld",
                            (long long)p->ts[i], (long long)p->ts[i - 1]);
    if (day_of(p->ts[0]) != day_of(p->ts[p->n - 1]))
        return err_fail(reterr, ERR_INVALID, "points of more than one day at once");
    return OK;
}

static enum err add(struct tsdb_bulk *b, const struct tsdb_bulk_series *s, const struct tsdb_points *p,
                    struct err_text *reterr)
{
    int64_t day = day_of(p->ts[0]);
    bool back = b->out && b->last.n && labels_cmp(b->last, s->labels) >= 0;
    if (b->out && (back || day != b->day || b->out_rows >= BULK_ROWS_MAX || b->out_samples >= BULK_SAMPLES_MAX ||
                   seg_out_times(b->out) >= BULK_TIMES_MAX))
        TRY(cut(b, reterr));
    if (!b->out) {
        TRY(seg_out_open(b->db, BULK_LEVEL, &b->out, reterr));
        b->day = day;
    }
    struct arena *a = &b->last_a[b->turn ^= 1];
    arena_reset(a);
    b->last = labels_copy(a, s->labels);
    struct series_info info = { .type = (uint8_t)s->type };
    seg_out_series(b->out, s->labels, series_hash(b->db, s->labels), &info);
    seg_out_points(b->out, p);
    if (s->n_exemplars)
        seg_out_exemplars(b->out, s->exemplars, s->n_exemplars);
    b->out_rows++;
    b->out_samples += p->n;
    return OK;
}

enum err tsdb_bulk_add(struct tsdb_bulk *b, const struct tsdb_bulk_series *s, struct err_text *reterr)
{
    struct tsdb_points p;
    if (!admit(b, s, &p))
        return OK;
    TRY(check(&p, reterr));
    TRY(add(b, s, &p, reterr));
    b->r.samples += p.n;
    b->r.exemplars += s->n_exemplars;
    b->r.rows++;
    b->r.min_ms = MIN(b->r.min_ms, p.ts[0]);
    b->r.max_ms = MAX(b->r.max_ms, p.ts[p.n - 1]);
    for (size_t i = 0; p.h && i < p.n; i++)
        b->r.histograms += p.h[i] != NULL;
    if (b->r.rows % 1024 == 0)
        atomic_store(&b->db->bulk_ms, (int64_t)(os_mono_ns() / 1000000));
    return OK;
}

void tsdb_bulk_family(struct tsdb_bulk *b, str name, const struct metric_meta *m)
{
    if (!name.n || (!m->type && !m->help.n && !m->unit.n))
        return;
    struct family_row f = { arena_str(&b->a, name), *m };
    f.meta.help = arena_str(&b->a, m->help);
    f.meta.unit = arena_str(&b->a, m->unit);
    vec_push(&b->families, f);
}

/* Those that are not known yet. */
static void new_families(struct tsdb_bulk *b)
{
    size_t k = 0;
    for (size_t i = 0; i < b->families.n; i++) {
        AUTO_ARENA struct arena a;
        struct tsdb_metadata *have;
        size_t n = 0;
        arena_init(&a, 0);
        if (tsdb_metadata(b->db, b->families.p[i].name, 1, &a, &have, &n) == OK && n == 0)
            b->families.p[k++] = b->families.p[i];
    }
    b->families.n = k;
    vec_each (struct family_row, f, &b->families)
        if (b->out)
            seg_out_family(b->out, f->name, &f->meta);
}

static enum err publish(struct tsdb_bulk *b, struct err_text *reterr)
{
    struct tsdb *db = b->db;
    if (!b->done.n)
        return OK;
    mtx_lock(&db->flush_mu);
    const struct segment_set *set = store_segments_ref(db->st, STORE_METRICS);
    AUTO_FREE uint64_t *ids = mem_alloc((set->n + 1) * sizeof(*ids));
    struct store_edit edit = { .signal = STORE_METRICS,
                               .add = b->done.p,
                               .n_add = b->done.n,
                               .remove = ids,
                               .n_remove = rollup_outdated(db, set, b->r.min_ms, b->r.max_ms, ids) };
    enum err e = OK;
    for (size_t i = 0; i < b->done.n && !e; i++) /* what a delete looked at was written before it; this comes after */
        if (tombs_reach(db, segment_writer_meta(b->done.p[i])))
            e = segment_renumber(b->done.p[i], reterr);
    e = e ? e : store_commit(db->st, &edit, reterr);
    segment_set_unref(set);
    mtx_unlock(&db->flush_mu);
    if (!e)
        b->done.n = 0; /* they belong to the store now */
    return e;
}

/* To those who ask now; and into the log, for a bulk that had no segment to put them into. */
static enum err tell_families(struct tsdb_bulk *b, struct err_text *reterr)
{
    struct tsdb_write_result r;
    struct batch batch = { .a = &b->a };
    if (b->r.segments) {
        vec_each (struct family_row, f, &b->families)
            (void)meta_family_put(b->db, f->name, &f->meta, 0);
        return OK;
    }
    vec_each (struct family_row, f, &b->families)
        avec_push(&b->a, &batch.families, ((struct batch_family){ f->name, f->meta }));
    enum err e = batch.families.n ? tsdb_write(b->db, &batch, &r) : OK;
    if (!e && batch.families.n)
        e = tsdb_wait(b->db, r.lsn);
    return e ? err_fail(reterr, e, "metadata: %s", err_describe(e)) : OK;
}

enum err tsdb_bulk_commit(struct tsdb_bulk *b, struct tsdb_bulk_result *ret, struct err_text *reterr)
{
    new_families(b);
    enum err e = cut(b, reterr);
    if (!e)
        e = publish(b, reterr);
    if (!e)
        e = tell_families(b, reterr);
    if (!e) {
        stat_add(&bulk_samples, (int64_t)b->r.samples);
        *ret = b->r;
    }
    bulk_free(b);
    return e;
}

void bulk_stats_register(void)
{
    stat_register(&bulk_samples);
    stat_register(&bulk_refused);
}
