/* Retention: what is older than its keep is not answered any more and leaves the disk.
 *
 * Rules by matcher come before the default; the first that matches a series decides. What a rule lets expire is hidden
 * at once: by the same lists as tombstones, made of the rows of each rule, which every segment is asked for once. It
 * is left out when the segment is compacted, or written anew because enough of it is expired.
 *
 * Whole segments go as soon as nothing in them is to be kept. With rollups, samples go by whole days, and not before
 * the rollup of their day is there (but for lack of space, or when it met damage). */
#include <roaring/roaring.h>

#include "tsdb/tsdb_int.h"

#define SIZE_SPARES_MS (2 * DAY_MS) /* size: samples of this age go only after all rollups */

static struct stat retention_drops =
    STAT_COUNTER("vane_tsdb_retention_segments_total", "Segments dropped because of age or size", "");

void retention_stats_register(void)
{
    stat_register(&retention_drops);
}

static int64_t day_of(int64_t t)
{
    return (t >= 0 ? t / DAY_MS : (t - DAY_MS + 1) / DAY_MS) * DAY_MS;
}

/* Samples before this are given up; INT64_MIN: none. */
static int64_t default_cutoff(struct tsdb *db, const struct policy *p, int64_t now)
{
    int64_t keep = LIMIT(db, retention_ms);
    if (!keep)
        return INT64_MIN;
    return p->n_rollups ? day_of(now - keep) : now - keep;
}

struct aged {
    struct segment *seg;
    int cls; /* of size: what goes first */
};
static int cmp_age(const void *a, const void *b)
{
    const struct aged *x = a, *y = b;
    const struct segment_meta *m = segment_meta(x->seg), *n = segment_meta(y->seg);
    if (x->cls != y->cls)
        return x->cls - y->cls;
    return (m->max_time > n->max_time) - (m->max_time < n->max_time);
}

/* ---- rules ---- */
static int64_t default_keep(struct tsdb *db)
{
    return LIMIT(db, retention_ms);
}

bool policy_keeps_less(struct tsdb *db, const struct policy *p, size_t rule)
{
    int64_t keep = rule < p->n_keeps ? p->keeps[rule].keep_ms : 0, all = default_keep(db);
    return keep && (!all || keep < all);
}

int64_t retention_accepts(struct tsdb *db, int64_t now_ms)
{
    int64_t keep = atomic_load_explicit(&db->keep_max_ms, memory_order_relaxed);
    return keep ? MAX(now_ms - keep, TS_MS_MIN) : TS_MS_MIN;
}

/* Samples of a rule's series before this are expired. Those of no rule wait for their rollups. */
static int64_t rule_cutoff(struct tsdb *db, const struct policy *p, size_t rule, int64_t now)
{
    if (rule < p->n_keeps)
        return p->keeps[rule].keep_ms ? now - p->keeps[rule].keep_ms : INT64_MIN;
    if (p->n_rollups)
        return default_keep(db) ? atomic_load_explicit(&db->given_up, memory_order_relaxed) : INT64_MIN;
    return default_cutoff(db, p, now);
}

void seg_keeps_free(struct tsdb_seg *s)
{
    for (struct seg_keeps *k = atomic_load(&s->keeps), *next; k; k = next) {
        next = k->next;
        for (size_t i = 0; i <= k->n; i++)
            roaring_bitmap_free(k->rows[i]);
        mem_free(k);
    }
}

static struct seg_keeps *keeps_find(struct tsdb_seg *s, const struct policy *p)
{
    struct seg_keeps *k = atomic_load_explicit(&s->keeps, memory_order_acquire);
    while (k && (k->key != p->keeps_key || k->n != p->n_keeps))
        k = k->next;
    return k;
}

static enum err keeps_resolve(struct tsdb_seg *s, const struct policy *p, struct seg_keeps *k)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct seg_ctx c;
    seg_ctx_init(&c, s, &a);
    roaring_bitmap_t *left = roaring_bitmap_from_range(0, s->n_series, 1);
    enum err e = OK;
    for (size_t i = 0; i < p->n_keeps && !e; i++) {
        e = seg_select(&c, p->keeps[i].m, p->keeps[i].n, &k->rows[i]);
        if (e)
            break;
        roaring_bitmap_and_inplace(k->rows[i], left); /* the first rule decides */
        roaring_bitmap_andnot_inplace(left, k->rows[i]);
        k->n = i + 1;
    }
    seg_ctx_deinit(&c);
    k->rows[k->n] = left;
    return e;
}

enum err seg_keeps_get(struct tsdb_seg *s, const struct policy *p, const struct seg_keeps **ret)
{
    struct seg_keeps *k = keeps_find(s, p);
    enum err e = OK;
    if (!k) {
        mtx_lock(&s->tomb_mu);
        k = keeps_find(s, p);
        if (!k) {
            k = mem_zalloc(sizeof(*k) + (p->n_keeps + 1) * sizeof(*k->rows));
            k->key = p->keeps_key;
            e = keeps_resolve(s, p, k);
            k->next = atomic_load(&s->keeps);
            if (!e)
                atomic_store_explicit(&s->keeps, k, memory_order_release);
        }
        mtx_unlock(&s->tomb_mu);
    }
    if (e) {
        for (size_t i = 0; i <= k->n; i++)
            roaring_bitmap_free(k->rows[i]);
        mem_free(k);
        return e;
    }
    *ret = k;
    return OK;
}

/* The latest cutoff of any rule: what begins behind it has nothing expired. */
static int64_t latest_cutoff(struct tsdb *db, const struct policy *p, int64_t now)
{
    int64_t t = INT64_MIN;
    for (size_t i = 0; i <= p->n_keeps; i++)
        t = MAX(t, rule_cutoff(db, p, i, now));
    return t;
}

void retention_hide(struct tsdb_query *q)
{
    struct tsdb *db = q->db;
    struct policy *p = policy_ref(db);
    if (!p->n_keeps) {
        policy_unref(p);
        return;
    }
    q->policy = p;
    q->now_ms = clock_now_ms(db->clk);
    int64_t latest = latest_cutoff(db, p, q->now_ms);
    q->head_cuts = q->head && latest > atomic_load(&db->head_min);
    for (size_t i = 0; i < q->n_segs; i++) {
        const struct segment_meta *m = segment_meta(q->segs[i]);
        const struct seg_keeps *k;
        if (m->min_time >= latest)
            continue;
        if (seg_keeps_get(segment_user(q->segs[i]), p, &k)) {
            query_damage(q, "the index of %s is damaged: what is expired of it is not known", segment_path(q->segs[i]));
            query_hide_rows(q, i, NULL, INT64_MAX);
            continue;
        }
        for (size_t r = 0; r <= p->n_keeps; r++) {
            int64_t cut = rule_cutoff(db, p, r, q->now_ms);
            if (cut > m->min_time && !roaring_bitmap_is_empty(k->rows[r]) &&
                (!meta_is_rollup(m) || policy_keeps_less(db, p, r)))
                query_hide_rows(q, i, k->rows[r], cut);
        }
    }
}

int64_t retention_head_cut(struct tsdb_query *q, struct labels ls)
{
    return rule_cutoff(q->db, q->policy, policy_keep_of(q->policy, ls), q->now_ms);
}

#define REWRITE_PERCENT 20
bool retention_rewrites(struct tsdb *db, const struct policy *p, struct segment *seg, int64_t now)
{
    const struct segment_meta *m = segment_meta(seg);
    struct tsdb_seg *s = segment_user(seg);
    const struct seg_keeps *k;
    uint64_t rows = 0;
    if (m->max_time >= latest_cutoff(db, p, now) || seg_keeps_get(s, p, &k))
        return false;
    for (size_t r = 0; r <= p->n_keeps; r++)
        if (m->max_time < rule_cutoff(db, p, r, now))
            rows += roaring_bitmap_get_cardinality(k->rows[r]);
    return rows * 100 >= (uint64_t)s->n_series * REWRITE_PERCENT && rows;
}

/* Nothing of a segment is to be kept any more. Samples of no rule: as far as `oldest` says. */
static bool all_expired(struct tsdb *db, const struct policy *p, struct segment *seg, int64_t oldest, int64_t now)
{
    const struct segment_meta *m = segment_meta(seg);
    const struct seg_keeps *k;
    if (!p->n_keeps)
        return m->max_time < oldest;
    if (m->max_time >= MAX(oldest, latest_cutoff(db, p, now)) || seg_keeps_get(segment_user(seg), p, &k))
        return false;
    for (size_t r = 0; r <= p->n_keeps; r++)
        if (m->max_time >= (r < p->n_keeps ? rule_cutoff(db, p, r, now) : oldest) &&
            !roaring_bitmap_is_empty(k->rows[r]))
            return false;
    return true;
}

/* ---- whole segments ---- */
/* Up to which time samples may be given up: not before their rollups are there. */
static int64_t give_up_to(struct tsdb *db, const struct policy *p, const struct segment_set *set, int64_t now)
{
    int64_t oldest = default_cutoff(db, p, now);
    for (size_t i = 0; i < set->n && p->n_rollups; i++) {
        const struct segment_meta *m = segment_meta(set->p[i]);
        if (meta_is_rollup(m))
            continue;
        for (int64_t day = day_of(m->min_time - 1); day <= m->max_time && day < oldest; day += DAY_MS)
            if (!rollup_day_done(db, set, day))
                oldest = day;
    }
    return oldest;
}

/* Samples by age, then everything by size. */
static size_t choose(struct tsdb *db, const struct policy *p, const struct segment_set *set, int64_t now,
                     int64_t oldest, uint64_t *ids)
{
    struct aged *v = mem_alloc((set->n + 1) * sizeof(*v));
    uint64_t bytes = store_wal_bytes(db->st), max = LIMIT(db, retention_bytes);
    size_t n = 0, left = 0;
    for (size_t i = 0; i < set->n; i++) {
        const struct segment_meta *m = segment_meta(set->p[i]);
        if (!meta_is_rollup(m) && all_expired(db, p, set->p[i], oldest, now)) {
            ids[n++] = m->id;
            continue;
        }
        v[left++] = (struct aged){ set->p[i], meta_is_rollup(m) ? 1 : m->max_time < now - SIZE_SPARES_MS ? 0 : 2 };
        bytes += m->bytes;
    }
    qsort(v, left, sizeof(*v), cmp_age);
    for (size_t i = 0; max && i < left && bytes > max; i++) {
        const struct segment_meta *m = segment_meta(v[i].seg);
        ids[n++] = m->id;
        bytes -= m->bytes;
    }
    mem_free(v);
    return n;
}

enum err retention_apply(struct tsdb *db, struct err_text *reterr)
{
    const struct segment_set *set = store_segments_ref(db->st, STORE_METRICS);
    struct policy *p = policy_ref(db);
    uint64_t *ids = mem_alloc((set->n + 1) * sizeof(*ids));
    int64_t now = clock_now_ms(db->clk), oldest = give_up_to(db, p, set, now);
    size_t n = choose(db, p, set, now, oldest, ids);
    bool mark = oldest != INT64_MIN && (n || (p->n_rollups && oldest > atomic_load(&db->given_up)));
    enum err e = OK;
    if (n || mark) {
        struct store_edit edit = {
            .signal = STORE_METRICS, .remove = ids, .n_remove = n, .retention_set = mark, .retention_ms = oldest
        };
        e = store_commit(db->st, &edit, reterr);
    }
    if (!e && mark)
        atomic_store(&db->given_up, oldest);
    if (!e && n) {
        stat_add(&retention_drops, (int64_t)n);
        e = tombs_drop_unneeded(db, reterr);
    }
    mem_free(ids);
    policy_unref(p);
    segment_set_unref(set);
    return e;
}
