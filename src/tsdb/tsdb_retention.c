/* Retention: what is older than its keep is not answered any more and leaves the disk.
 *
 * Whole segments go as soon as nothing in them is to be kept. With rollups, samples go by whole days, and not before
 * the rollup of their day is there (but for lack of space, or when it met damage). */
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

static bool days_done(struct tsdb *db, const struct segment_set *set, const struct segment_meta *m)
{
    for (int64_t day = day_of(m->min_time); day <= m->max_time; day += DAY_MS)
        if (!rollup_day_done(db, set, day))
            return false;
    return true;
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
        if (!meta_is_rollup(m) && m->max_time < oldest && (!p->n_rollups || days_done(db, set, m))) {
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
    int64_t now = clock_now_ms(db->clk), oldest = default_cutoff(db, p, now);
    size_t n = choose(db, p, set, now, oldest, ids);
    enum err e = OK;
    if (n) {
        struct store_edit edit = { .signal = STORE_METRICS,
                                   .remove = ids,
                                   .n_remove = n,
                                   .retention_set = oldest != INT64_MIN,
                                   .retention_ms = oldest };
        e = store_commit(db->st, &edit, reterr);
        if (!e) {
            if (edit.retention_set)
                atomic_store(&db->given_up, oldest);
            stat_add(&retention_drops, (int64_t)n);
            e = tombs_drop_unneeded(db, reterr);
        }
    }
    mem_free(ids);
    policy_unref(p);
    segment_set_unref(set);
    return e;
}
