/* Deletes. A tombstone is a set of matchers and a range of time; it lives in the MANIFEST and hides samples of the
 * segments that were there when it was made (their numbers are at most its `upto`).
 *
 *   tsdb_delete()  flush the head, then commit the tombstones: what was written before is in segments with smaller
 *                  numbers, what is written later goes into segments with greater ones and is not hidden
 *   queries        find the rows of a tombstone once per segment (struct seg_tomb, kept with the segment) and read
 *                  around the deleted ranges (tombs_left)
 *   compaction     reads through the same cursor, so what it writes is without the deleted samples; the result has a
 *                  new number. tombs_drop_unneeded() removes the tombstones that hide nothing any more
 *
 * A query takes the tombstones before the set of segments: a segment never appears without its tombstones, and one
 * that was rewritten has a number no older tombstone reaches. */
#include <roaring/roaring.h>

#include "tsdb/tsdb_int.h"

#define BODY_VERSION   1
#define TOMBSTONES_MAX 10000u
#define MATCHERS_MAX   1024u

static struct stat deletes = STAT_COUNTER("vane_tsdb_tombstones_added_total", "Tombstones made by deletes", "");
static struct stat rewrites =
    STAT_COUNTER("vane_tsdb_segments_cleaned_total", "Segments rewritten without deleted samples", "");
static struct stat tombstones = STAT_GAUGE("vane_tsdb_tombstones", "Tombstones whose samples are still on disk", "");

void tomb_stats_register(void)
{
    stat_register(&deletes);
    stat_register(&rewrites);
    stat_register(&tombstones);
}

struct tomb {
    atomic_uint refs;
    uint64_t id;
    uint64_t upto; /* number of the newest segment it is for */
    int64_t from, to;
    struct matcher *m;
    size_t n;
    struct arena a; /* m and its strings */
};
struct tomb_set { /* immutable */
    atomic_uint refs;
    struct tomb **p; /* ascending ids */
    size_t n;
    uint64_t last_id;
};

/* ---- tombstones and their bytes ---- */
static void tomb_unref(struct tomb *t)
{
    if (atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    for (size_t i = 0; i < t->n; i++)
        matcher_deinit(&t->m[i]);
    arena_deinit(&t->a);
    mem_free(t);
}

static struct tomb *tomb_new(void)
{
    struct tomb *t = mem_zalloc(sizeof(*t));
    atomic_init(&t->refs, 1);
    arena_init(&t->a, 0);
    return t;
}

static void tomb_encode(struct buf *b, const struct tomb *t)
{
    buf_u8(b, BODY_VERSION);
    buf_uvarint(b, t->upto);
    buf_svarint(b, t->from);
    buf_svarint(b, t->to);
    buf_uvarint(b, t->n);
    for (size_t i = 0; i < t->n; i++) {
        buf_u8(b, (uint8_t)t->m[i].type);
        buf_lstr(b, t->m[i].name);
        buf_lstr(b, t->m[i].value);
    }
}

static enum err tomb_add_matcher(struct tomb *t, enum match_type type, str name, str value, struct err_text *reterr)
{
    TRY(matcher_init(&t->m[t->n], type, arena_str(&t->a, name), arena_str(&t->a, value), reterr));
    t->n++;
    return OK;
}

static enum err decode_body(str body, struct tomb *t, struct err_text *reterr)
{
    struct rd r = rd_init(body);
    unsigned version = rd_u8(&r);
    if (rd_ok(&r) && version > BODY_VERSION)
        return err_fail(reterr, ERR_UNSUPPORTED, "a tombstone was written by a newer vane (version %u)", version);
    t->upto = rd_uvarint(&r);
    t->from = rd_svarint(&r);
    t->to = rd_svarint(&r);
    uint64_t n = rd_uvarint(&r);
    if (!rd_ok(&r) || !version || n > MATCHERS_MAX)
        return err_fail(reterr, ERR_CORRUPT, "a tombstone cannot be read");
    t->m = arena_zarray(&t->a, struct matcher, (size_t)n + 1);
    for (uint64_t i = 0; i < n; i++) {
        unsigned type = rd_u8(&r);
        str name = rd_lstr(&r), value = rd_lstr(&r);
        if (!rd_ok(&r) || type > MATCH_NRE)
            return err_fail(reterr, ERR_CORRUPT, "a tombstone cannot be read");
        TRY(tomb_add_matcher(t, (enum match_type)type, name, value, reterr));
    }
    return rd_end(&r) ? OK : err_fail(reterr, ERR_CORRUPT, "a tombstone cannot be read");
}

static enum err tomb_decode(str body, struct tomb **ret, struct err_text *reterr)
{
    struct tomb *t = tomb_new();
    enum err e = decode_body(body, t, reterr);
    if (e)
        tomb_unref(t);
    else
        *ret = t;
    return e;
}

enum err tsdb_tombstone_verify(str body, struct err_text *reterr)
{
    struct tomb *t;
    TRY(tomb_decode(body, &t, reterr));
    tomb_unref(t);
    return OK;
}

/* ---- sets ---- */
void tomb_set_unref(struct tomb_set *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    for (size_t i = 0; i < s->n; i++)
        tomb_unref(s->p[i]);
    mem_free(s->p);
    mem_free(s);
}

struct tomb_set *tomb_set_ref(struct tomb_set *s)
{
    if (s)
        atomic_fetch_add(&s->refs, 1);
    return s;
}

static struct tomb_set *set_new(size_t cap)
{
    struct tomb_set *s = mem_zalloc(sizeof(*s));
    atomic_init(&s->refs, 1);
    s->p = mem_alloc((cap + 1) * sizeof(*s->p));
    return s;
}

static void set_push(struct tomb_set *s, struct tomb *t) /* takes a reference of its own */
{
    atomic_fetch_add(&t->refs, 1);
    s->p[s->n++] = t;
    s->last_id = MAX(s->last_id, t->id);
}

static void set_swap(struct tsdb *db, struct tomb_set *fresh) /* takes over the caller's reference */
{
    size_t n = fresh->n;
    mtx_lock(&db->view_mu);
    struct tomb_set *old = db->tombs;
    db->tombs = n ? fresh : NULL;
    mtx_unlock(&db->view_mu);
    stat_set(&tombstones, (int64_t)n);
    tomb_set_unref(old);
    if (!n)
        tomb_set_unref(fresh);
}

enum err tombs_load(struct tsdb *db, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct store_tombstone *v;
    size_t n;
    store_tombstones(db->st, STORE_METRICS, &a, &v, &n);
    struct tomb_set *s = set_new(n);
    enum err e = OK;
    for (size_t i = 0; i < n && !e; i++) {
        struct tomb *t;
        e = tomb_decode(v[i].body, &t, reterr); /* going on without it would bring back what was deleted */
        if (e)
            break;
        t->id = v[i].id;
        set_push(s, t);
        tomb_unref(t);
    }
    if (e)
        tomb_set_unref(s);
    else
        set_swap(db, s);
    return e;
}

void tombs_free(struct tsdb *db)
{
    tomb_set_unref(db->tombs);
    db->tombs = NULL;
}

/* ---- in one segment ---- */
struct seg_tomb { /* rows of one segment that a tombstone hides in [from, to] */
    struct seg_tomb *next;
    uint64_t id;
    int64_t from, to;
    roaring_bitmap_t *rows; /* NULL: all */
};
static struct seg_tomb hide_all = { .from = INT64_MIN, .to = INT64_MAX };

void seg_tombs_free(struct tsdb_seg *s)
{
    for (struct seg_tomb *t = atomic_load(&s->tombs), *next; t; t = next) {
        next = t->next;
        roaring_bitmap_free(t->rows);
        mem_free(t);
    }
}

static bool concerns(const struct tomb *t, const struct segment_meta *m)
{
    return m->id <= t->upto && m->min_time <= t->to && m->max_time >= t->from;
}

/* Of rows, those with samples in the range of t. one: a single one is enough. */
static enum err rows_with_samples(struct tsdb_query *q, const struct tomb *t, bool one, roaring_bitmap_t *io_rows)
{
    size_t n = roaring_bitmap_get_cardinality(io_rows);
    uint32_t *rows = mem_alloc((n + 1) * sizeof(*rows));
    roaring_bitmap_to_uint32_array(io_rows, rows);
    roaring_bitmap_clear(io_rows);
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    enum err e = OK;
    for (size_t i = 0; i < n && !e; i++) {
        bool has;
        e = cursor_row_has(c, 0, rows[i], t->from, t->to, &has);
        if (e || !has)
            continue;
        roaring_bitmap_add(io_rows, rows[i]);
        if (one)
            break;
    }
    tsdb_cursor_free(c);
    mem_free(rows);
    return e;
}

/* Rows of a segment with samples for t to hide. fresh: that nothing else hides yet, and one of them is enough. */
static enum err rows_of(struct tsdb *db, struct segment *seg, const struct tomb *t, bool fresh, roaring_bitmap_t **ret)
{
    const struct segment_meta *m = segment_meta(seg);
    struct query_spec spec = {
        .from_ms = INT64_MIN, .to_ms = INT64_MAX, .segs = &seg, .n_segs = 1, .with_deleted = !fresh
    };
    struct tsdb_query *q;
    query_open_raw(db, &spec, &q);
    enum err e = seg_select(&q->ctx[0], t->m, t->n, ret);
    if (!e && ((fresh && q->tombs) || t->from > m->min_time || t->to < m->max_time)) {
        e = rows_with_samples(q, t, fresh, *ret);
        if (e)
            roaring_bitmap_free(*ret);
    }
    tsdb_query_close(q);
    return e;
}

static enum err resolve_one(struct tsdb *db, struct tsdb_seg *s, const struct tomb *t)
{
    if (concerns(t, segment_meta(s->seg))) {
        roaring_bitmap_t *rows;
        TRY(rows_of(db, s->seg, t, false, &rows));
        if (roaring_bitmap_is_empty(rows)) {
            roaring_bitmap_free(rows);
        } else {
            struct seg_tomb *x = mem_alloc(sizeof(*x));
            *x = (struct seg_tomb){ atomic_load(&s->tombs), t->id, t->from, t->to, rows };
            atomic_store_explicit(&s->tombs, x, memory_order_release);
        }
    }
    atomic_store_explicit(&s->tombs_upto, t->id, memory_order_release);
    return OK;
}

/* What the set hides in this segment; NULL = nothing. The list lives as long as the segment. */
static enum err seg_tombs_get(struct tsdb *db, struct tsdb_seg *s, const struct tomb_set *set,
                              const struct seg_tomb **ret)
{
    enum err e = OK;
    *ret = NULL;
    if (!set)
        return OK;
    if (atomic_load_explicit(&s->tombs_upto, memory_order_acquire) < set->last_id) {
        mtx_lock(&s->tomb_mu);
        for (size_t i = 0; i < set->n && !e; i++)
            if (set->p[i]->id > atomic_load_explicit(&s->tombs_upto, memory_order_relaxed))
                e = resolve_one(db, s, set->p[i]);
        mtx_unlock(&s->tomb_mu);
    }
    if (!e)
        *ret = atomic_load_explicit(&s->tombs, memory_order_acquire);
    return e;
}

void query_tombs(struct tsdb_query *q, const struct tomb_set *set)
{
    if (!set)
        return;
    const struct seg_tomb **v = arena_zarray(&q->a, const struct seg_tomb *, q->n_segs + 1);
    bool any = false;
    for (size_t i = 0; i < q->n_segs; i++) {
        if (seg_tombs_get(q->db, segment_user(q->segs[i]), set, &v[i])) {
            query_damage(q, "the index of %s is damaged: what was deleted from it is not known",
                         segment_path(q->segs[i]));
            v[i] = &hide_all;
        }
        any |= v[i] != NULL;
    }
    q->tombs = any ? v : NULL;
}

void query_hide_rows(struct tsdb_query *q, size_t src, const roaring_bitmap_t *rows, int64_t before_ms)
{
    if (!q->tombs)
        q->tombs = arena_zarray(&q->a, const struct seg_tomb *, q->n_segs + 1);
    struct seg_tomb *t = arena_new(&q->a, struct seg_tomb);
    *t = (struct seg_tomb){ (struct seg_tomb *)(uintptr_t)q->tombs[src], 0, INT64_MIN, before_ms - 1,
                            (roaring_bitmap_t *)(uintptr_t)rows };
    q->tombs[src] = t;
}

static bool has_row(const struct seg_tomb *t, uint32_t row)
{
    return !t->rows || roaring_bitmap_contains(t->rows, row);
}

/* Of rows, those that tombstones cut into without hiding all of [from, to]: is there anything left? */
static enum err select_cut(struct tsdb_query *q, size_t src, int64_t from, int64_t to, const roaring_bitmap_t *cut,
                           roaring_bitmap_t *io_rows)
{
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    roaring_uint32_iterator_t it;
    enum err e = OK;
    for (roaring_init_iterator(cut, &it); it.has_value && !e; roaring_advance_uint32_iterator(&it)) {
        bool has;
        e = cursor_row_has(c, (uint32_t)src, it.current_value, from, to, &has);
        if (!e && !has)
            roaring_bitmap_remove(io_rows, it.current_value);
    }
    tsdb_cursor_free(c);
    return e;
}

enum err tombs_select(struct tsdb_query *q, size_t src, roaring_bitmap_t *io_rows)
{
    const struct seg_tomb *list = q->tombs ? q->tombs[src] : NULL;
    if (!list)
        return OK;
    const struct segment_meta *m = segment_meta(q->segs[src]);
    int64_t from = MAX(q->from_ms, m->min_time), to = MIN(q->to_ms, m->max_time);
    roaring_bitmap_t *cut = roaring_bitmap_create();
    for (const struct seg_tomb *t = list; t; t = t->next) {
        if (t->to < from || t->from > to)
            continue;
        if (!t->rows)
            roaring_bitmap_clear(io_rows);
        else if (t->from <= from && t->to >= to)
            roaring_bitmap_andnot_inplace(io_rows, t->rows);
        else
            roaring_bitmap_or_inplace(cut, t->rows);
    }
    roaring_bitmap_and_inplace(cut, io_rows);
    enum err e = roaring_bitmap_is_empty(cut) ? OK : select_cut(q, src, from, to, cut, io_rows);
    roaring_bitmap_free(cut);
    return e;
}

bool tombs_hide(const struct seg_tomb *t, uint32_t row, int64_t ts)
{
    for (; t; t = t->next)
        if (ts >= t->from && ts <= t->to && has_row(t, row))
            return true;
    return false;
}

/* Take [from, to] out of n disjoint ascending ranges; v has room for one more. */
static size_t subtract(struct time_range *v, size_t n, int64_t from, int64_t to)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        struct time_range r = v[i];
        if (r.from < from && r.to > to) { /* cut in two: nothing else overlaps, k == i */
            memmove(v + i + 2, v + i + 1, (n - i - 1) * sizeof(*v));
            v[i].to = from - 1;
            v[i + 1] = (struct time_range){ to + 1, r.to };
            return n + 1;
        }
        if (r.to < from || r.from > to)
            v[k++] = r;
        else if (r.from < from)
            v[k++] = (struct time_range){ r.from, from - 1 };
        else if (r.to > to)
            v[k++] = (struct time_range){ to + 1, r.to };
    }
    return k;
}

size_t tombs_left(const struct seg_tomb *t, uint32_t row, int64_t from, int64_t to, struct arena *a,
                  struct time_range **ret)
{
    size_t max = 1;
    for (const struct seg_tomb *x = t; x; x = x->next)
        max += has_row(x, row);
    struct time_range *v = arena_array(a, struct time_range, max);
    v[0] = (struct time_range){ from, to };
    size_t n = 1;
    for (; t; t = t->next)
        if (has_row(t, row))
            n = subtract(v, n, t->from, t->to);
    *ret = v;
    return n;
}

bool seg_has_deleted(struct tsdb *db, struct segment *seg)
{
    const struct seg_tomb *t;
    return seg_tombs_get(db, segment_user(seg), db->tombs, &t) == OK && t != NULL;
}

size_t tombs_count(const struct tsdb *db)
{
    return db->tombs ? db->tombs->n : 0;
}

/* ---- making and dropping (flush_mu is held: no segment is added, no set changed by others) ---- */
/* Is there anything for a new tombstone to hide? What cannot be looked into may hold it. */
static bool wanted(struct tsdb *db, const struct tomb *t, const struct segment_set *set)
{
    for (size_t i = 0; i < set->n_damaged; i++)
        if (concerns(t, &set->damaged[i]))
            return true;
    bool some = false;
    for (size_t i = 0; i < set->n && !some; i++) {
        roaring_bitmap_t *rows;
        if (!concerns(t, segment_meta(set->p[i])))
            continue;
        if (rows_of(db, set->p[i], t, true, &rows))
            return true;
        some = !roaring_bitmap_is_empty(rows);
        roaring_bitmap_free(rows);
    }
    return some;
}

/* Does a hide all that b hides? */
static bool covers(const struct tomb *a, const struct tomb *b)
{
    bool same = a->from <= b->from && a->to >= b->to && a->upto >= b->upto && a->n == b->n;
    for (size_t i = 0; i < a->n && same; i++)
        same =
            a->m[i].type == b->m[i].type && str_eq(a->m[i].name, b->m[i].name) && str_eq(a->m[i].value, b->m[i].value);
    return same;
}

static uint64_t newest_id(const struct segment_set *set)
{
    uint64_t id = 0;
    for (size_t i = 0; i < set->n; i++)
        id = MAX(id, segment_meta(set->p[i])->id);
    for (size_t i = 0; i < set->n_damaged; i++)
        id = MAX(id, set->damaged[i].id);
    return id;
}

bool tombs_reach(const struct tsdb *db, const struct segment_meta *m)
{
    for (size_t i = 0; i < tombs_count(db); i++)
        if (concerns(db->tombs->p[i], m))
            return true;
    return false;
}

static enum err commit_add(struct tsdb *db, struct tomb **v, size_t n, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    size_t have = tombs_count(db);
    uint64_t *gone = arena_array(&a, uint64_t, have + 1);
    struct tomb_set *s = set_new(have + n);
    struct store_edit edit = { .signal = STORE_METRICS, .n_tombstone_add = n, .tombstone_remove = gone };
    for (size_t i = 0; i < have; i++) {
        bool covered = false;
        for (size_t k = 0; k < n && !covered; k++)
            covered = covers(v[k], db->tombs->p[i]);
        if (covered)
            gone[edit.n_tombstone_remove++] = db->tombs->p[i]->id;
        else
            set_push(s, db->tombs->p[i]);
    }
    if (s->n + n > TOMBSTONES_MAX) {
        tomb_set_unref(s);
        return err_fail(reterr, ERR_LIMIT, "%zu tombstones wait for compaction: clean_tombstones first", have);
    }
    str *bodies = arena_array(&a, str, n);
    uint64_t *ids = arena_array(&a, uint64_t, n);
    for (size_t i = 0; i < n; i++) {
        AUTO_BUF struct buf b = { 0 };
        tomb_encode(&b, v[i]);
        bodies[i] = arena_str(&a, buf_str(&b));
    }
    edit.tombstone_add = bodies;
    edit.ret_tombstone_ids = ids;
    enum err e = store_commit(db->st, &edit, reterr);
    if (e) {
        tomb_set_unref(s);
        return e;
    }
    for (size_t i = 0; i < n; i++) {
        v[i]->id = ids[i];
        set_push(s, v[i]);
    }
    set_swap(db, s);
    stat_add(&deletes, (int64_t)n);
    return OK;
}

static enum err tomb_of(const struct tsdb_selector *sel, int64_t from, int64_t to, uint64_t upto, struct tomb **ret,
                        struct err_text *reterr)
{
    if (sel->n > MATCHERS_MAX)
        return err_fail(reterr, ERR_LIMIT, "more than %u matchers in one selector", MATCHERS_MAX);
    struct tomb *t = tomb_new();
    t->from = from;
    t->to = to;
    t->upto = upto;
    t->m = arena_zarray(&t->a, struct matcher, sel->n + 1);
    enum err e = OK;
    for (size_t i = 0; i < sel->n && !e; i++)
        e = tomb_add_matcher(t, sel->m[i].type, sel->m[i].name, sel->m[i].value, reterr);
    if (e)
        tomb_unref(t);
    else
        *ret = t;
    return e;
}

static enum err add_locked(struct tsdb *db, const struct tsdb_selector *sel, size_t n_sel, int64_t from, int64_t to,
                           struct err_text *reterr)
{
    const struct segment_set *set = store_segments_ref(db->st, STORE_METRICS);
    struct tomb **v = mem_zalloc((n_sel + 1) * sizeof(*v));
    size_t n = 0;
    enum err e = OK;
    for (size_t i = 0; i < n_sel && !e; i++) {
        e = tomb_of(&sel[i], from, to, newest_id(set), &v[n], reterr);
        if (e)
            break;
        if (wanted(db, v[n], set))
            n++;
        else
            tomb_unref(v[n]);
    }
    segment_set_unref(set);
    if (!e && n)
        e = commit_add(db, v, n, reterr);
    for (size_t i = 0; i < n; i++)
        tomb_unref(v[i]);
    mem_free(v);
    return e;
}

enum err tsdb_delete(struct tsdb *db, const struct tsdb_selector *sel, size_t n_sel, int64_t from_ms, int64_t to_ms,
                     struct err_text *reterr)
{
    if (atomic_load(&db->closing) || !replay_await(db))
        return err_fail(reterr, ERR_CLOSED, "the store is closing");
    if (from_ms > to_ms)
        return OK;
    mtx_lock(&db->flush_mu);
    uint64_t logged = store_wal_last_lsn(db->st);
    enum err e = flush_locked(db, 0, 0, reterr);
    if (!e && store_wal_low_water(db->st, STORE_METRICS) < logged) /* a replay would bring it back */
        e = err_fail(reterr, ERR_IO, "the disk does not take the log: nothing was deleted");
    if (!e) {
        atomic_store(&db->gen_deleted, db->gen - 1);
        e = add_locked(db, sel, n_sel, from_ms, to_ms, reterr);
    }
    mtx_unlock(&db->flush_mu);
    for (size_t i = 0; i < n_sel && !e; i++)
        index_note_deleted(db, sel[i].m, sel[i].n);
    exemplars_deleted(db);
    flush_unlink_try(db);
    return e;
}

static int cmp_tomb(const void *key, const void *at)
{
    uint64_t a = *(const uint64_t *)key, b = (*(struct tomb *const *)at)->id;
    return (a > b) - (a < b);
}

/* Mark the tombstones of now that hide samples of this segment. */
static void keep_hiding(struct tsdb *db, const struct tomb_set *now, struct segment *seg, bool *io_keep)
{
    const struct seg_tomb *x;
    if (seg_tombs_get(db, segment_user(seg), now, &x)) {
        for (size_t i = 0; i < now->n; i++)
            io_keep[i] |= concerns(now->p[i], segment_meta(seg));
        return;
    }
    for (; x; x = x->next) {
        struct tomb **at = bsearch(&x->id, now->p, now->n, sizeof(*now->p), cmp_tomb);
        if (at)
            io_keep[at - now->p] = true;
    }
}

enum err tombs_drop_unneeded(struct tsdb *db, struct err_text *reterr)
{
    struct tomb_set *now = db->tombs;
    if (!now)
        return OK;
    const struct segment_set *set = store_segments_ref(db->st, STORE_METRICS);
    struct tomb_set *left = set_new(now->n);
    bool *keep = mem_zalloc((now->n + 1) * sizeof(*keep));
    uint64_t *gone = mem_alloc((now->n + 1) * sizeof(*gone));
    size_t n = 0;
    for (size_t i = 0; i < set->n; i++)
        keep_hiding(db, now, set->p[i], keep);
    for (size_t i = 0; i < now->n; i++) {
        for (size_t k = 0; k < set->n_damaged; k++) /* what cannot be looked into may hold it */
            keep[i] |= concerns(now->p[i], &set->damaged[k]);
        if (keep[i])
            set_push(left, now->p[i]);
        else
            gone[n++] = now->p[i]->id;
    }
    segment_set_unref(set);
    mem_free(keep);
    enum err e = OK;
    if (n) {
        struct store_edit edit = { .signal = STORE_METRICS, .tombstone_remove = gone, .n_tombstone_remove = n };
        e = store_commit(db->st, &edit, reterr);
    }
    if (n && !e)
        set_swap(db, left);
    else
        tomb_set_unref(left);
    mem_free(gone);
    return e;
}

/* Rewrite one segment that holds deleted samples; *ret_did false: there is none. */
static enum err clean_one(struct tsdb *db, bool *ret_did, struct err_text *reterr)
{
    const struct segment_set *set = store_segments_ref(db->st, STORE_METRICS);
    enum err e = OK;
    *ret_did = false;
    for (size_t i = 0; i < set->n && !*ret_did; i++) {
        if (compact_skips(db, segment_meta(set->p[i])->id) || !seg_has_deleted(db, set->p[i]))
            continue;
        *ret_did = true;
        e = compact_rewrite(db, set->p[i], reterr);
        if (!e)
            stat_add(&rewrites, 1);
    }
    segment_set_unref(set);
    return e;
}

enum err tsdb_clean_tombstones(struct tsdb *db, struct err_text *reterr)
{
    enum err e = OK, damaged = OK;
    for (bool did = true; did && !e;) {
        if (atomic_load(&db->closing) || !replay_await(db))
            return err_fail(reterr, ERR_CLOSED, "the store is closing");
        mtx_lock(&db->flush_mu);
        e = clean_one(db, &did, reterr);
        if (e == ERR_CORRUPT) { /* told; the others can still be cleaned */
            damaged = e;
            e = OK;
        }
        mtx_unlock(&db->flush_mu);
    }
    struct err_text why;
    mtx_lock(&db->flush_mu);
    enum err e2 = tombs_drop_unneeded(db, e || damaged ? &why : reterr);
    mtx_unlock(&db->flush_mu);
    return e ? e : damaged ? damaged : e2;
}
