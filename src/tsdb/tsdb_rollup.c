/* Rollups: once a day (UTC) is over, its samples are also written as windows, one segment per length of window.
 *
 * The segments are of level 8 in the same MANIFEST as all others. One is made from a view of the store (segments and
 * head), remembers the newest log position that went in, and is made anew when late samples, a delete or another
 * choice of series outdate it, as long as the samples of its day are there. Windows end in (day, day + 1 d], so a
 * day's rollup also reads the first instant of the next. Publishing is one edit: the new segments in, the outdated
 * out; a crash leaves all of it or nothing, and the next round begins again.
 *
 * A sample at the very first instant of a day that comes late does not outdate the day before.
 *
 * They answer only where samples have been given up: for days behind the retention mark, or of which no segment of
 * samples is left, and there series by series, for those that have no samples of the day any more. */
#include "tsdb/tsdb_int.h"

static struct stat built = STAT_COUNTER("vane_tsdb_rollup_segments_total", "Segments of rollups written", "");
static struct stat windows = STAT_COUNTER("vane_tsdb_rollup_windows_total", "Windows written into rollups", "");
static struct stat failures = STAT_COUNTER("vane_tsdb_rollup_failures_total", "Rollups of a day that failed", "");
static struct stat dropped =
    STAT_COUNTER("vane_tsdb_rollup_segments_dropped_total", "Segments of rollups dropped because of age", "");
static struct stat_hist build_seconds = STAT_HIST("vane_tsdb_rollup_duration_seconds", "Time to roll up one day", "");

void rollup_stats_register(void)
{
    struct stat *all[] = { &built, &windows, &failures, &dropped };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        stat_register(all[i]);
}

static int64_t day_of(int64_t t)
{
    return (t >= 0 ? t / DAY_MS : (t - DAY_MS + 1) / DAY_MS) * DAY_MS;
}

static const struct rollup_span *span_of(const struct segment *seg)
{
    return &((const struct tsdb_seg *)segment_user(seg))->rollup;
}

/* Samples of [day, day + 1 d): how many segments, the newest log position in them. */
static size_t samples_of_day(const struct segment_set *set, int64_t day, uint64_t *ret_lsn)
{
    size_t n = 0;
    uint64_t lsn = 0;
    for (size_t i = 0; i < set->n; i++) {
        const struct segment_meta *m = segment_meta(set->p[i]);
        if (meta_is_rollup(m) || m->max_time < day || m->min_time >= day + DAY_MS)
            continue;
        lsn = MAX(lsn, m->lsn_last);
        n++;
    }
    if (ret_lsn)
        *ret_lsn = lsn;
    return n;
}

static bool given_up(struct tsdb *db, int64_t day)
{
    return day + DAY_MS <= atomic_load_explicit(&db->given_up, memory_order_relaxed);
}

/* The first instant of a day is in the last window of the day before. Is there a segment that begins with it? */
static bool begins_next_day(const struct segment_set *set, int64_t day)
{
    for (size_t i = 0; i < set->n; i++)
        if (!meta_is_rollup(segment_meta(set->p[i])) && segment_meta(set->p[i])->min_time == day + DAY_MS)
            return true;
    return false;
}

bool rollup_active(struct tsdb *db, const struct segment_set *set, const struct segment_meta *m)
{
    int64_t day = day_of(m->min_time); /* of the samples: if only that instant is in it, those of the next day count */
    return given_up(db, day) || !samples_of_day(set, day, NULL);
}

size_t rollup_outdated(struct tsdb *db, const struct segment_set *set, int64_t from_ms, int64_t to_ms, uint64_t *ids)
{
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++) {
        const struct segment_meta *m = segment_meta(set->p[i]);
        int64_t day = meta_is_rollup(m) ? span_of(set->p[i])->from_ms : 0;
        if (meta_is_rollup(m) && day <= to_ms && day + DAY_MS >= from_ms && !rollup_active(db, set, m))
            ids[n++] = m->id;
    }
    return n;
}

static struct segment *find_rollup(const struct segment_set *set, int64_t day, int64_t res)
{
    for (size_t i = 0; i < set->n; i++)
        if (meta_is_rollup(segment_meta(set->p[i])) && span_of(set->p[i])->from_ms == day &&
            span_of(set->p[i])->res_ms == res)
            return set->p[i];
    return NULL;
}

static bool too_old(const struct policy_rollup *r, int64_t to_ms, int64_t now)
{
    return r->keep_ms && to_ms < now - r->keep_ms;
}

static bool up_to_date(struct tsdb *db, const struct segment_set *set, const struct policy_rollup *r, int64_t day,
                       uint64_t lsn)
{
    struct segment *have = find_rollup(set, day, r->res_ms);
    return have && segment_meta(have)->lsn_last >= lsn && span_of(have)->filter == r->filter &&
           !seg_has_deleted(db, have);
}

static bool day_is_over(int64_t day, int64_t now)
{
    return day + DAY_MS + FLUSH_AGE_MS + 5 * 60 * 1000 < now;
}

static bool failed_before(struct tsdb *db, int64_t day)
{
    vec_each (int64_t, x, &db->no_rollup)
        if (*x == day)
            return true;
    return false;
}

static bool day_done(struct tsdb *db, const struct policy *p, const struct segment_set *set, int64_t day, int64_t now)
{
    uint64_t lsn;
    if ((!samples_of_day(set, day, &lsn) && !begins_next_day(set, day)) || failed_before(db, day) || given_up(db, day))
        return true;
    for (size_t i = 0; i < p->n_rollups; i++)
        if (!too_old(&p->rollups[i], day + DAY_MS, now) && !up_to_date(db, set, &p->rollups[i], day, lsn))
            return false;
    return true;
}

bool rollup_day_done(struct tsdb *db, const struct segment_set *set, int64_t day_ms)
{
    struct policy *p = policy_ref(db);
    bool done = day_done(db, p, set, day_ms, clock_now_ms(db->clk));
    policy_unref(p);
    return done;
}

/* The oldest day with something to do. */
static bool find_day(struct tsdb *db, const struct policy *p, const struct segment_set *set, int64_t *ret_day)
{
    int64_t now = clock_now_ms(db->clk), best = INT64_MAX;
    for (size_t i = 0; i < set->n; i++) {
        const struct segment_meta *m = segment_meta(set->p[i]);
        if (meta_is_rollup(m))
            continue;
        for (int64_t day = day_of(m->min_time - 1); day <= m->max_time && day < best; day += DAY_MS)
            if (day_is_over(day, now) && !day_done(db, p, set, day, now))
                best = day;
    }
    *ret_day = best;
    return best != INT64_MAX;
}

/* ---- writing ---- */
struct build {
    struct tsdb *db;
    const struct policy *policy;
    int64_t day;
    struct policy_rollup r[TSDB_ROLLUPS_MAX]; /* to be written */
    struct seg_out *out[TSDB_ROLLUPS_MAX];
    size_t n;
    uint64_t n_windows, lsn;
};

static bool rolls(const struct policy_rollup *r, struct labels ls)
{
    return !r->n || matchers_match(r->m, r->n, ls);
}

static enum err build_series(struct build *b, struct tsdb_query *q, struct tsdb_cursor *c, const struct tsdb_series *s,
                             struct arena *one, struct rollup_vec *w)
{
    struct tsdb_points p;
    struct series_info info;
    const struct qseries *x = qseries_of(s->id);
    bool any = false;
    for (size_t i = 0; i < b->n; i++)
        any |= rolls(&b->r[i], s->labels);
    if (!any || policy_keeps_less(b->db, b->policy, policy_keep_of(b->policy, s->labels)))
        return OK;
    TRY(tsdb_read(c, s->id, b->day - SLOT_MS, b->day + DAY_MS, &p));
    if (!p.n || p.ts[p.n - 1] <= b->day)
        return OK;
    TRY(query_series_info(q, x, &info));
    for (size_t i = 0; i < b->n; i++) {
        if (!rolls(&b->r[i], s->labels))
            continue;
        rollup_windows(&p, b->day, b->day + DAY_MS, b->r[i].res_ms, one, w);
        seg_out_series(b->out[i], s->labels, x->ident, &info);
        seg_out_windows(b->out[i], w->p, w->n);
        b->n_windows += w->n;
    }
    return OK;
}

static enum err build_all(struct build *b, struct tsdb_query *q, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    AUTO_ARENA struct arena one;
    arena_init(&a, 0);
    arena_init(&one, 0);
    struct tsdb_series *s;
    size_t n;
    struct rollup_vec w = { 0 };
    TRY(tsdb_select(q, NULL, 0, 0, &a, &s, &n));
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    enum err e = OK;
    for (size_t i = 0; i < n && !e; i++) {
        arena_reset(&one);
        e = build_series(b, q, c, &s[i], &one, &w);
        if (i % 256 == 255)
            upkeep_breathe(b->db, i);
    }
    tsdb_cursor_free(c);
    vec_free(&w);
    if (!e && tsdb_query_incomplete(q, reterr))
        e = ERR_CORRUPT;
    return e;
}

static enum err finish_all(struct build *b, struct segment_writer **w, size_t *ret_n, struct err_text *reterr)
{
    enum err e = OK;
    for (size_t i = 0; i < b->n; i++) {
        struct seg_out *o = b->out[i];
        b->out[i] = NULL;
        e = e ? e : seg_out_finish(o, 0, b->lsn, &w[*ret_n], reterr);
        if (e)
            break;
        ++*ret_n;
    }
    return e;
}

static enum err open_all(struct build *b, struct err_text *reterr)
{
    for (size_t i = 0; i < b->n; i++) {
        TRY(seg_out_open(b->db, SEG_LEVEL_ROLLUP, &b->out[i], reterr));
        seg_out_rollup(b->out[i], &(struct rollup_span){ b->r[i].res_ms, b->day, b->day + DAY_MS, b->r[i].filter });
    }
    return OK;
}

static enum err publish(struct build *b, const struct segment_set *set, struct segment_writer **w, size_t n_w,
                        struct err_text *reterr)
{
    uint64_t old[TSDB_ROLLUPS_MAX];
    size_t n_old = 0;
    for (size_t i = 0; i < b->n; i++) {
        struct segment *have = find_rollup(set, b->day, b->r[i].res_ms);
        if (have)
            old[n_old++] = segment_meta(have)->id;
    }
    struct store_edit edit = { .signal = STORE_METRICS, .add = w, .n_add = n_w, .remove = old, .n_remove = n_old };
    TRY(store_commit(b->db->st, &edit, reterr));
    stat_add(&built, (int64_t)n_w);
    stat_add(&windows, (int64_t)b->n_windows);
    return OK;
}

/* All lengths of windows that are missing or outdated for one day. */
static enum err build_day(struct tsdb *db, const struct policy *p, const struct segment_set *set, int64_t day,
                          struct err_text *reterr)
{
    uint64_t began = os_mono_ns();
    struct build b = { .db = db, .policy = p, .day = day };
    samples_of_day(set, day, &b.lsn);
    for (size_t i = 0; i < p->n_rollups; i++)
        if (!too_old(&p->rollups[i], day + DAY_MS, clock_now_ms(db->clk)) &&
            !up_to_date(db, set, &p->rollups[i], day, b.lsn))
            b.r[b.n++] = p->rollups[i];
    struct tsdb_query *q;
    struct segment_writer *w[TSDB_ROLLUPS_MAX] = { 0 };
    size_t n_w = 0;
    TRY(tsdb_query_open(db, day - SLOT_MS, day + DAY_MS, &q));
    enum err e = open_all(&b, reterr);
    e = e ? e : build_all(&b, q, reterr);
    tsdb_query_close(q);
    e = e ? e : finish_all(&b, w, &n_w, reterr);
    e = e ? e : publish(&b, set, w, n_w, reterr);
    for (size_t i = 0; i < b.n; i++)
        seg_out_abort(b.out[i]);
    for (size_t i = 0; e && i < n_w; i++)
        segment_abort(w[i]);
    if (e == ERR_CORRUPT)
        vec_push(&db->no_rollup, day);
    if (e)
        stat_add(&failures, 1);
    else
        stat_hist_observe_ns(&build_seconds, os_mono_ns() - began);
    return e;
}

/* Windows older than their keep, and of lengths that are no longer configured but cover nothing that was given up. */
static enum err drop_old(struct tsdb *db, const struct policy *p, const struct segment_set *set, bool *ret_did,
                         struct err_text *reterr)
{
    uint64_t *ids = mem_alloc((set->n + 1) * sizeof(*ids));
    size_t n = 0;
    int64_t now = clock_now_ms(db->clk);
    for (size_t i = 0; i < set->n; i++) {
        if (!meta_is_rollup(segment_meta(set->p[i])))
            continue;
        const struct rollup_span *s = span_of(set->p[i]);
        const struct policy_rollup *r = NULL;
        for (size_t k = 0; k < p->n_rollups; k++)
            if (p->rollups[k].res_ms == s->res_ms)
                r = &p->rollups[k];
        if (r ? too_old(r, s->to_ms, now) : !rollup_active(db, set, segment_meta(set->p[i])))
            ids[n++] = segment_meta(set->p[i])->id;
    }
    enum err e = OK;
    if (n) {
        struct store_edit edit = { .signal = STORE_METRICS, .remove = ids, .n_remove = n };
        e = store_commit(db->st, &edit, reterr);
        if (!e)
            stat_add(&dropped, (int64_t)n);
    }
    *ret_did = n != 0;
    mem_free(ids);
    return e;
}

enum err rollup_round(struct tsdb *db, bool *ret_did, struct err_text *reterr)
{
    struct policy *p = policy_ref(db);
    const struct segment_set *set = store_segments_ref(db->st, STORE_METRICS);
    int64_t day;
    enum err e = drop_old(db, p, set, ret_did, reterr);
    if (!e && !*ret_did && p->n_rollups && find_day(db, p, set, &day)) {
        *ret_did = true;
        e = build_day(db, p, set, day, reterr);
    }
    segment_set_unref(set);
    policy_unref(p);
    return e;
}

/* ---- deleted samples in windows of days that cannot be made anew ---- */
enum err rollup_rewrite(struct tsdb *db, struct segment *seg, struct err_text *reterr)
{
    const struct segment_meta *m = segment_meta(seg);
    struct query_spec spec = { .from_ms = INT64_MIN, .to_ms = INT64_MAX, .segs = &seg, .n_segs = 1 };
    struct tsdb_query *q;
    struct seg_out *o;
    TRY(seg_out_open(db, SEG_LEVEL_ROLLUP, &o, reterr));
    seg_out_rollup(o, span_of(seg));
    query_open_raw(db, &spec, &q);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_series *s;
    size_t n;
    enum err e = tsdb_select(q, NULL, 0, 0, &a, &s, &n);
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    for (size_t i = 0; i < n && !e; i++) {
        struct rollup_vec *w;
        struct series_info info;
        const struct qseries *x = qseries_of(s[i].id);
        e = cursor_windows(c, x, &w);
        e = e ? e : query_series_info(q, x, &info);
        if (!e && w->n) {
            seg_out_series(o, s[i].labels, x->ident, &info);
            seg_out_windows(o, w->p, w->n);
        }
        if (i % 256 == 255)
            upkeep_breathe(db, i);
    }
    tsdb_cursor_free(c);
    if (!e && tsdb_query_incomplete(q, reterr))
        e = ERR_CORRUPT;
    tsdb_query_close(q);
    struct segment_writer *w = NULL;
    if (e || !seg_out_samples(o))
        seg_out_abort(o);
    else
        e = seg_out_finish(o, m->lsn_first, m->lsn_last, &w, reterr);
    if (!e) {
        struct store_edit edit = {
            .signal = STORE_METRICS, .add = &w, .n_add = w != NULL, .remove = &m->id, .n_remove = 1
        };
        e = store_commit(db->st, &edit, reterr);
        if (e)
            segment_abort(w);
    }
    if (e == ERR_CORRUPT)
        vec_push(&db->no_compact, m->id);
    return e;
}
