/* Exemplars: a bounded ring in memory (the log and every segment carry them too). The oldest are overwritten.
 * The same exemplar again (scrapes repeat theirs until it changes) is dropped. */
#include "tsdb/tsdb_int.h"

#define MAP_NAME     exlast
#define MAP_KEY      uint64_t
#define MAP_VALUE    uint64_t
#define MAP_HASH(k)  hash_u64((k) + 0x9e3779b97f4a7c15ull)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

static struct stat overwritten =
    STAT_COUNTER("vane_tsdb_exemplars_overwritten_total", "Exemplars that left memory for newer ones", "");

static uint64_t ex_hash(int64_t ts, double v, str labels)
{
    uint64_t b[2] = { (uint64_t)ts, f64_bits(v) };
    return hash64_seed(labels, hash64(str_n((const char *)b, sizeof(b))));
}

void exemplar_put(struct tsdb *db, uint32_t id, uint32_t serial, uint32_t gen, int64_t ts, double v, str labels)
{
    struct ex_ring *x = &db->ex;
    if (!x->cap)
        return;
    mtx_lock(&x->mu);
    if (!x->last)
        x->last = mem_zalloc(sizeof(struct exlast));
    uint64_t h = ex_hash(ts, v, labels), *before = exlast_put(x->last, (uint64_t)serial << 32 | id, NULL);
    if (*before == h) {
        mtx_unlock(&x->mu);
        return;
    }
    *before = h;
    if (x->last->n > 2 * x->cap)
        exlast_clear(x->last);
    if (!x->p)
        x->p = mem_zalloc(x->cap * sizeof(*x->p));
    struct ex_slot *s = &x->p[x->head];
    if (x->n == x->cap) {
        x->bytes -= s->labels.n;
        mem_free((void *)(uintptr_t)s->labels.p);
        stat_add(&overwritten, 1);
    } else {
        x->n++;
    }
    *s = (struct ex_slot){ id, serial, gen, ts, v, mem_dup(labels) };
    x->bytes += labels.n;
    x->head = (x->head + 1) % x->cap;
    mtx_unlock(&x->mu);
}

void exemplars_deleted(struct tsdb *db)
{
    mtx_lock(&db->ex.mu);
    if (db->ex.last)
        exlast_clear(db->ex.last);
    mtx_unlock(&db->ex.mu);
}

void exemplars_deinit(struct tsdb *db)
{
    for (size_t i = 0; i < db->ex.n; i++)
        mem_free((void *)(uintptr_t)db->ex.p[i].labels.p);
    mem_free(db->ex.p);
    if (db->ex.last)
        exlast_free(db->ex.last);
    mem_free(db->ex.last);
}

/* ---- reading: all that the query may see, sorted by place, made once per query ---- */
static int cmp_found(const void *a, const void *b)
{
    const struct ex_found *x = a, *y = b;
    if (x->src != y->src)
        return x->src < y->src ? -1 : 1;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return (x->e.ts_ms > y->e.ts_ms) - (x->e.ts_ms < y->e.ts_ms);
}

static void add_head(struct tsdb_query *q)
{
    struct ex_ring *x = &q->db->ex;
    mtx_lock(&x->mu);
    for (size_t i = 0; i < x->n; i++) {
        const struct ex_slot *s = &x->p[i];
        if (s->gen < q->gen_min || s->gen > q->gen_max || s->ts < q->from_ms || s->ts > q->to_ms)
            continue;
        struct ex_found f = { UINT32_MAX, s->series, s->serial, { LABELS_NONE, s->v, s->ts } };
        struct rd r = rd_init(arena_str(&q->a, s->labels));
        if (meta_labels_decode(&r, &q->a, &f.e.labels))
            avec_push(&q->a, &q->ex, f);
    }
    mtx_unlock(&x->mu);
}

static bool add_seg(struct tsdb_query *q, uint32_t src)
{
    str raw;
    if (seg_blob(q->segs[src], SEG_EXEMPLARS, &q->a, &raw))
        return false;
    struct rd r = rd_init(raw);
    while (rd_left(&r)) {
        struct ex_found f = { .src = src, .row = (uint32_t)rd_uvarint(&r) };
        f.e.ts_ms = rd_svarint(&r);
        f.e.v = rd_f64(&r);
        if (!meta_labels_decode(&r, &q->a, &f.e.labels))
            return false;
        if (f.e.ts_ms >= q->from_ms && f.e.ts_ms <= q->to_ms)
            avec_push(&q->a, &q->ex, f);
    }
    return true;
}

static void collect(struct tsdb_query *q)
{
    if (q->ex_done)
        return;
    q->ex_done = true;
    for (uint32_t i = 0; i < q->n_segs; i++)
        if (!add_seg(q, i))
            query_damage(q, "the exemplars of %s are damaged", segment_path(q->segs[i]));
    if (q->head)
        add_head(q);
    if (q->ex.n)
        qsort(q->ex.p, q->ex.n, sizeof(*q->ex.p), cmp_found);
}

struct ex_out {
    struct arena *a;
    VEC(struct exemplar) v;
};

static void place(struct tsdb_query *q, uint32_t src, uint32_t row, uint32_t serial, struct ex_out *out)
{
    size_t lo = 0, hi = q->ex.n;
    struct ex_found key = { src, row, 0, { LABELS_NONE, 0, INT64_MIN } };
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (cmp_found(&q->ex.p[mid], &key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < q->ex.n && q->ex.p[lo].src == src && q->ex.p[lo].row == row; lo++) {
        const struct exemplar *e = &q->ex.p[lo].e;
        bool seen = src == UINT32_MAX && q->ex.p[lo].serial != serial;
        for (size_t i = 0; i < out->v.n && !seen; i++)
            seen = out->v.p[i].ts_ms == e->ts_ms && f64_bits(out->v.p[i].v) == f64_bits(e->v) &&
                   labels_eq(out->v.p[i].labels, e->labels);
        seen |= src != UINT32_MAX && q->tombs && tombs_hide(q->tombs[src], row, e->ts_ms);
        if (!seen)
            avec_push(out->a, &out->v, *e);
    }
}

static int cmp_time(const void *a, const void *b)
{
    const struct exemplar *x = a, *y = b;
    return (x->ts_ms > y->ts_ms) - (x->ts_ms < y->ts_ms);
}

void query_exemplars(struct tsdb_query *q, const struct qseries *x, struct arena *a, struct exemplar **ret,
                     size_t *ret_n)
{
    struct ex_out out = { .a = a };
    collect(q);
    *ret_n = 0;
    if (!q->ex.n)
        return;
    for (const struct qref *r = x->first; r; r = r->next)
        place(q, r->src, r->row, 0, &out);
    if (x->head_id)
        place(q, UINT32_MAX, x->head_id, series_at(q->db, x->head_id)->serial, &out);
    if (out.v.n > 1)
        qsort(out.v.p, out.v.n, sizeof(*out.v.p), cmp_time);
    *ret = out.v.p;
    *ret_n = out.v.n;
}

enum err tsdb_exemplars(struct tsdb_query *q, const struct matcher *m, size_t n_matchers, struct arena *a,
                        struct tsdb_exemplars **ret, size_t *ret_n)
{
    struct tsdb_series *s;
    size_t n;
    TRY(tsdb_select(q, m, n_matchers, 0, a, &s, &n));
    struct tsdb_exemplars *out = arena_array(a, struct tsdb_exemplars, n + 1);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        struct exemplar *e = NULL;
        size_t n_e;
        query_exemplars(q, qseries_of(s[i].id), a, &e, &n_e);
        if (!n_e)
            continue;
        struct exemplar *copy = arena_array(a, struct exemplar, n_e);
        for (size_t j = 0; j < n_e; j++) {
            copy[j] = e[j];
            copy[j].labels = labels_copy(a, e[j].labels);
        }
        out[k++] = (struct tsdb_exemplars){ s[i].labels, copy, n_e };
    }
    *ret = out;
    *ret_n = k;
    return OK;
}
