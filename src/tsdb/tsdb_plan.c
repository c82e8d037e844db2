/* What the rules of retention keep, and what would go when: a look at the index of every segment. Nothing changes. */
#include <roaring/roaring.h>

#include "tsdb/tsdb_int.h"

#define MAP_NAME     planmap
#define MAP_KEY      hash128
#define MAP_VALUE    uint8_t
#define MAP_HASH(k)  ((k).lo ^ (k).hi * 0x9e3779b97f4a7c15ull)
#define MAP_EQ(a, b) hash128_eq(a, b)
#include "base/map.h"

static const int64_t times[TSDB_PLAN_TIMES] = { 0, DAY_MS, 7 * DAY_MS };

struct plan {
    struct tsdb *db;
    const struct policy *p;
    struct arena *a;
    int64_t keep_ms; /* default */
    struct tsdb_plan *out;
    struct planmap seen;
    struct err_text *reterr;
};

static int64_t cutoff(const struct plan *pl, size_t rule, size_t t)
{
    int64_t keep = rule < pl->p->n_keeps ? pl->p->keeps[rule].keep_ms : pl->keep_ms, now = pl->out->now_ms + times[t];
    if (!keep)
        return INT64_MIN;
    if (rule == pl->p->n_keeps && pl->p->n_rollups) /* whole days */
        return (now - keep) / DAY_MS * DAY_MS;
    return now - keep;
}

static str matchers_text(struct arena *a, const struct matcher *m, size_t n)
{
    AUTO_BUF struct buf b = { 0 };
    for (size_t i = 0; i < n; i++) {
        buf_u8(&b, i ? ',' : '{');
        matcher_print(&b, &m[i]);
    }
    if (n)
        buf_u8(&b, '}');
    return arena_str(a, buf_str(&b));
}

static void see(struct plan *pl, hash128 ident, size_t rule)
{
    bool is_new;
    ident.hi &= UINT32_MAX;
    *planmap_put(&pl->seen, ident, &is_new) = 1;
    pl->out->rules[rule].series += is_new;
}

static enum err plan_row(struct plan *pl, struct tsdb_query *q, struct tsdb_cursor *c, uint32_t row, size_t rule,
                         uint64_t gone[TSDB_PLAN_TIMES], uint64_t *io_samples)
{
    const struct segment_meta *m = segment_meta(q->segs[0]);
    struct tsdb_plan_rule *r = &pl->out->rules[rule];
    hash128 ident;
    uint64_t n;
    TRY(seg_ident(&q->ctx[0], row, &ident));
    see(pl, ident, rule);
    TRY(cursor_count(c, 0, row, INT64_MIN, INT64_MAX, &n, &r->oldest_ms));
    *io_samples += n;
    for (size_t t = 0; t < TSDB_PLAN_TIMES; t++) {
        int64_t cut = cutoff(pl, rule, t), ignore = 0;
        uint64_t k = cut > m->max_time ? n : 0;
        if (cut > m->min_time && cut <= m->max_time)
            TRY(cursor_count(c, 0, row, INT64_MIN, cut - 1, &k, &ignore));
        gone[t] += k;
    }
    return OK;
}

static enum err plan_rule(struct plan *pl, struct tsdb_query *q, struct tsdb_cursor *c, const roaring_bitmap_t *rows,
                          size_t rule)
{
    const struct segment_meta *m = segment_meta(q->segs[0]);
    struct tsdb_plan_rule *r = &pl->out->rules[rule];
    uint64_t gone[TSDB_PLAN_TIMES] = { 0 }, samples = 0;
    roaring_uint32_iterator_t it;
    for (roaring_init_iterator(rows, &it); it.has_value; roaring_advance_uint32_iterator(&it)) {
        TRY(plan_row(pl, q, c, it.current_value, rule, gone, &samples));
        if (atomic_load(&pl->db->closing))
            return ERR_CLOSED;
    }
    double each = m->rows ? (double)m->bytes / (double)m->rows : 0;
    r->samples += samples;
    r->bytes += (uint64_t)((double)samples * each);
    for (size_t t = 0; t < TSDB_PLAN_TIMES; t++) {
        r->gone[t].samples += gone[t];
        r->gone[t].bytes += (uint64_t)((double)gone[t] * each);
    }
    return OK;
}

static enum err plan_segment(struct plan *pl, struct segment *seg)
{
    struct query_spec spec = {
        .from_ms = INT64_MIN, .to_ms = INT64_MAX, .segs = &seg, .n_segs = 1, .with_deleted = true
    };
    const struct seg_keeps *k;
    struct tsdb_query *q;
    TRY(seg_keeps_get(segment_user(seg), pl->p, &k));
    query_open_raw(pl->db, &spec, &q);
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    enum err e = OK;
    for (size_t r = 0; r <= pl->p->n_keeps && !e; r++)
        e = plan_rule(pl, q, c, k->rows[r], r);
    tsdb_cursor_free(c);
    tsdb_query_close(q);
    return e;
}

static struct tsdb_plan_rollup *rollup_of(struct plan *pl, int64_t res)
{
    struct tsdb_plan *o = pl->out;
    for (size_t i = 0; i < o->n_rollups; i++)
        if (o->rollups[i].res_ms == res)
            return &o->rollups[i];
    struct tsdb_plan_rollup *more = arena_zarray(pl->a, struct tsdb_plan_rollup, o->n_rollups + 1);
    memcpy(more, o->rollups, o->n_rollups * sizeof(*more));
    o->rollups = more;
    more[o->n_rollups] = (struct tsdb_plan_rollup){ .res_ms = res, .match = STR(""), .oldest_ms = INT64_MAX };
    return &more[o->n_rollups++];
}

static void plan_rollup(struct plan *pl, const struct segment *seg)
{
    const struct segment_meta *m = segment_meta(seg);
    const struct rollup_span *s = &((const struct tsdb_seg *)segment_user(seg))->rollup;
    struct tsdb_plan_rollup *r = rollup_of(pl, s->res_ms);
    r->segments++;
    r->windows += m->rows;
    r->bytes += m->bytes;
    r->oldest_ms = MIN(r->oldest_ms, m->min_time);
    for (size_t t = 0; t < TSDB_PLAN_TIMES; t++)
        if (r->configured && r->keep_ms && s->to_ms < pl->out->now_ms + times[t] - r->keep_ms) {
            r->gone[t].samples += m->rows;
            r->gone[t].bytes += m->bytes;
        }
}

static enum err plan_head(struct plan *pl)
{
    struct tsdb *db = pl->db;
    roaring_bitmap_t *done = roaring_bitmap_create();
    enum err e = OK;
    for (size_t r = 0; r <= pl->p->n_keeps && !e; r++) {
        roaring_bitmap_t *ids;
        const struct matcher *m = r < pl->p->n_keeps ? pl->p->keeps[r].m : NULL;
        e = index_select(db, m, m ? pl->p->keeps[r].n : 0, &ids);
        if (e)
            break;
        roaring_bitmap_andnot_inplace(ids, done);
        roaring_uint32_iterator_t it;
        for (roaring_init_iterator(ids, &it); it.has_value; roaring_advance_uint32_iterator(&it))
            see(pl, series_at(db, it.current_value)->id, r);
        roaring_bitmap_or_inplace(done, ids);
        roaring_bitmap_free(ids);
    }
    roaring_bitmap_free(done);
    return e;
}

static void plan_begin(struct plan *pl, const struct tsdb_config *cfg)
{
    struct tsdb_plan *o = pl->out;
    const struct policy *p = pl->p;
    *o = (struct tsdb_plan){ .now_ms = clock_now_ms(pl->db->clk),
                             .n_rules = p->n_keeps + 1,
                             .bytes = store_wal_bytes(pl->db->st),
                             .bytes_max = cfg ? cfg->retention_bytes : LIMIT(pl->db, retention_bytes),
                             .head_samples = (uint64_t)atomic_load(&pl->db->gen_samples) };
    pl->keep_ms = cfg ? cfg->retention_ms : LIMIT(pl->db, retention_ms);
    o->rules = arena_zarray(pl->a, struct tsdb_plan_rule, o->n_rules);
    for (size_t i = 0; i < o->n_rules; i++) {
        bool rule = i < p->n_keeps;
        o->rules[i].match = rule ? matchers_text(pl->a, p->keeps[i].m, p->keeps[i].n) : STR("");
        o->rules[i].keep_ms = rule ? p->keeps[i].keep_ms : pl->keep_ms;
        o->rules[i].oldest_ms = INT64_MAX;
    }
    for (size_t i = 0; i < p->n_rollups; i++) {
        struct tsdb_plan_rollup *r = rollup_of(pl, p->rollups[i].res_ms);
        r->keep_ms = p->rollups[i].keep_ms;
        r->configured = true;
        r->match = matchers_text(pl->a, p->rollups[i].m, p->rollups[i].n);
    }
}

enum err tsdb_plan(struct tsdb *db, const struct tsdb_config *cfg, struct arena *a, struct tsdb_plan *ret,
                   struct err_text *reterr)
{
    int64_t longest;
    struct policy *p = cfg ? policy_new(cfg, &longest) : policy_ref(db);
    struct plan pl = { .db = db, .p = p, .a = a, .out = ret, .reterr = reterr };
    plan_begin(&pl, cfg);
    const struct segment_set *set = store_segments_ref(db->st, STORE_METRICS);
    enum err e = OK;
    for (size_t i = 0; i < set->n && !e; i++) {
        ret->bytes += segment_meta(set->p[i])->bytes;
        if (meta_is_rollup(segment_meta(set->p[i])))
            plan_rollup(&pl, set->p[i]);
        else
            e = plan_segment(&pl, set->p[i]);
        if (e)
            e = err_fail(reterr, e, "%s: %s", segment_path(set->p[i]), err_describe(e));
    }
    segment_set_unref(set);
    if (!e)
        e = plan_head(&pl);
    if (ret->bytes_max && ret->bytes > ret->bytes_max)
        ret->bytes_over = ret->bytes - ret->bytes_max;
    planmap_free(&pl.seen);
    policy_unref(p);
    return e;
}
