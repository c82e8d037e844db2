/* Queries: a pinned view of segments and head generations, and the choice of series.
 *
 * A series is one identity in any number of places (segments, the head). A select asks every place for its
 * postings, joins the answers by identity (96 bits of the seeded hash) and returns them in order of labels; the
 * head and each segment are sorted already, so this is a merge of few runs. */
#include <roaring/roaring.h>

#include "tsdb/tsdb_int.h"

void query_damage(struct tsdb_query *q, const char *fmt, ...)
{
    mtx_lock(&q->why_mu);
    if (!q->why[0]) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(q->why, sizeof(q->why), fmt, ap);
        va_end(ap);
        LOG_WARN("an answer misses samples", "why", q->why);
    }
    mtx_unlock(&q->why_mu);
    atomic_store(&q->damaged, true);
}

bool tsdb_query_incomplete(const struct tsdb_query *cq, struct err_text *ret_why)
{
    struct tsdb_query *q = (struct tsdb_query *)(uintptr_t)cq;
    for (size_t i = 0; i < q->n_segs && !atomic_load(&q->damaged); i++)
        if (segment_unreadable(q->segs[i]))
            query_damage(q, "%s cannot be read in places", segment_path(q->segs[i]));
    if (!atomic_load(&q->damaged))
        return false;
    mtx_lock(&q->why_mu);
    IGNORE_ERR(err_fail(ret_why, ERR_CORRUPT, "%s", q->why));
    mtx_unlock(&q->why_mu);
    return true;
}

/* ---- pins ---- */
static void pin_locked(struct tsdb *db, struct tsdb_query *q)
{
    q->seq = ++db->query_seq;
    q->next = db->queries;
    if (q->next)
        q->next->prev = q;
    db->queries = q;
    atomic_fetch_add(&db->n_queries, 1);
}

static struct tsdb_query *query_new(struct tsdb *db, int64_t from_ms, int64_t to_ms)
{
    struct tsdb_query *q = mem_zalloc(sizeof(*q));
    q->db = db;
    q->from_ms = from_ms;
    q->to_ms = to_ms;
    arena_init(&q->a, 0);
    mtx_init(&q->why_mu, 160);
    return q;
}

static void query_setup(struct tsdb_query *q, const struct tomb_set *tombs)
{
    q->n_caps = q->head ? atomic_load(&q->db->n_tl_slots) : 0;
    q->caps = mem_zalloc((q->n_caps + 1) * sizeof(*q->caps));
    q->ctx = arena_zarray(&q->a, struct seg_ctx, q->n_segs + 1);
    for (size_t i = 0; i < q->n_segs; i++)
        seg_ctx_init(&q->ctx[i], segment_user(q->segs[i]), &q->a);
    query_tombs(q, tombs);
}

static int cmp_lsn(const void *a, const void *b)
{
    const struct segment_meta *x = segment_meta(*(struct segment *const *)a),
                              *y = segment_meta(*(struct segment *const *)b);
    int c = (x->lsn_last > y->lsn_last) - (x->lsn_last < y->lsn_last);
    return c ? c : (x->id > y->id) - (x->id < y->id);
}

static void sort_segs(struct tsdb_query *q)
{
    if (q->n_segs > 1)
        qsort(q->segs, q->n_segs, sizeof(*q->segs), cmp_lsn);
}

void query_open_raw(struct tsdb *db, const struct query_spec *spec, struct tsdb_query **ret)
{
    struct tsdb_query *q = query_new(db, spec->from_ms, spec->to_ms);
    q->head = spec->head;
    q->gen_min = spec->gen_min;
    q->gen_max = spec->gen_max;
    q->segs = arena_array(&q->a, struct segment *, spec->n_segs + 1);
    for (size_t i = 0; i < spec->n_segs; i++)
        q->segs[q->n_segs++] = segment_ref(spec->segs[i]);
    sort_segs(q);
    q->n_raw = q->n_segs;
    if (q->head) { /* what only reads segments holds up nothing in the head */
        mtx_lock(&db->view_mu);
        pin_locked(db, q);
        mtx_unlock(&db->view_mu);
    }
    struct tomb_set *tombs = NULL;
    if (q->n_segs && !spec->with_deleted) {
        mtx_lock(&db->view_mu);
        tombs = tomb_set_ref(db->tombs);
        mtx_unlock(&db->view_mu);
    }
    query_setup(q, tombs);
    tomb_set_unref(tombs);
    if (q->n_segs && !spec->with_deleted)
        retention_hide(q);
    *ret = q;
}

enum err tsdb_query_open(struct tsdb *db, int64_t from_ms, int64_t to_ms, struct tsdb_query **ret)
{
    if (!replay_await(db)) /* nothing is answered from a part of the data */
        return atomic_load(&db->closing) ? ERR_CLOSED : ERR_IO;
    if (atomic_load(&db->closing))
        return ERR_CLOSED;
    struct tsdb_query *q = query_new(db, from_ms, to_ms);
    q->head = true;
    q->gen_max = UINT32_MAX;
    q->hints = true;
    mtx_lock(&db->view_mu);
    pin_locked(db, q);
    struct tomb_set *tombs = tomb_set_ref(db->tombs); /* before the segments (tsdb_tombstones.c) */
    q->set = store_segments_ref(db->st, STORE_METRICS);
    uint64_t lsn = 0;
    for (size_t i = 0; i < q->set->n; i++)
        lsn = MAX(lsn, segment_meta(q->set->p[i])->lsn_last);
    q->gen_min = db->gen_flushed + 1;
    if (db->gen_frozen && lsn >= db->frozen_cut)
        q->gen_min = MAX(q->gen_min, db->gen_frozen + 1);
    mtx_unlock(&db->view_mu);
    q->segs = arena_array(&q->a, struct segment *, q->set->n + 1);
    for (size_t i = 0; i < q->set->n; i++) {
        const struct segment_meta *m = segment_meta(q->set->p[i]);
        if (m->min_time <= to_ms && m->max_time >= from_ms && !meta_is_rollup(m))
            q->segs[q->n_segs++] = q->set->p[i];
    }
    sort_segs(q);
    rollup_pick(q);
    for (size_t i = 0; i < q->set->n_damaged; i++) {
        const struct segment_meta *m = &q->set->damaged[i];
        if (m->min_time <= to_ms && m->max_time >= from_ms && (!meta_is_rollup(m) || rollup_active(db, q->set, m)))
            query_damage(q, "segment %llu is damaged and was left out", (unsigned long long)m->id);
    }
    if (atomic_load(&db->wal_damaged))
        query_damage(q, "%s", db->damage);
    query_setup(q, tombs);
    tomb_set_unref(tombs);
    retention_hide(q);
    *ret = q;
    return OK;
}

static void unpin(struct tsdb *db, struct tsdb_query *q)
{
    mtx_lock(&db->view_mu);
    if (q->prev)
        q->prev->next = q->next;
    else
        db->queries = q->next;
    if (q->next)
        q->next->prev = q->prev;
    atomic_fetch_sub(&db->n_queries, 1);
    mtx_unlock(&db->view_mu);
}

void tsdb_query_close(struct tsdb_query *q)
{
    if (!q)
        return;
    struct tsdb *db = q->db;
    bool head = q->head;
    if (head)
        unpin(db, q);
    for (size_t i = 0; i < q->n_segs; i++) {
        seg_ctx_deinit(&q->ctx[i]);
        if (!q->set)
            segment_unref(q->segs[i]);
    }
    segment_set_unref(q->set);
    policy_unref(q->policy);
    identmap_free(&q->by_ident);
    mem_free(q->caps);
    arena_deinit(&q->a);
    mtx_deinit(&q->why_mu);
    mem_free(q);
    if (head)
        tsdb_limbo_drain(db, false);
}

/* ---- select ---- */
struct select {
    struct tsdb_query *q;
    struct arena *a;
    VEC(struct tsdb_series) acc; /* merged so far, sorted */
    VEC(struct tsdb_series) run; /* of the place being asked */
};

static int cmp_rank(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int cmp_head(const void *a, const void *b, void *ctx)
{
    struct tsdb *db = ctx;
    return series_cmp(db, series_at(db, (uint32_t) * (const uint64_t *)a),
                      series_at(db, (uint32_t) * (const uint64_t *)b));
}

static void sort_head(struct tsdb *db, uint64_t *ids, size_t n)
{
    if (n < 256) {
        qsort_r(ids, n, sizeof(*ids), cmp_head, db);
        return;
    }
    struct head_order *o = order_get(db);
    bool complete = true;
    for (size_t i = 0; i < n; i++) {
        uint32_t rank = ids[i] <= o->max_id ? o->rank[ids[i]] : UINT32_MAX;
        complete &= rank != UINT32_MAX;
        ids[i] |= (uint64_t)rank << 32;
    }
    if (complete && n > o->n / 16) { /* ranks are dense: one slot each */
        uint32_t *at = mem_zalloc((o->n + 1) * sizeof(*at));
        for (size_t i = 0; i < n; i++)
            at[ids[i] >> 32] = (uint32_t)ids[i];
        for (size_t i = 0, k = 0; i < o->n; i++)
            if (at[i])
                ids[k++] = at[i];
        mem_free(at);
    } else if (complete) {
        qsort(ids, n, sizeof(*ids), cmp_rank);
    }
    for (size_t i = 0; i < n; i++)
        ids[i] &= UINT32_MAX;
    if (!complete) /* a series left while the order was built */
        qsort_r(ids, n, sizeof(*ids), cmp_head, db);
    order_unref(o);
}

/* The series with this identity. *ret_first: this select did not meet it before. */
static struct qseries *join(struct select *s, hash128 ident, bool *ret_first)
{
    struct tsdb_query *q = s->q;
    ident.hi &= UINT32_MAX;
    bool is_new;
    struct qseries **slot = identmap_put(&q->by_ident, ident, &is_new);
    if (is_new) {
        *slot = arena_new(&q->a, struct qseries);
        (*slot)->ident = ident;
        (*slot)->created_in = q->select_no;
    }
    *ret_first = (*slot)->seen_in != q->select_no;
    (*slot)->seen_in = q->select_no;
    return *slot;
}

static bool sees_any(struct tsdb_query *q, _Atomic(struct chunk *) *slot)
{
    struct chunk *c = atomic_load(slot);
    return c && c->gen >= q->gen_min;
}

static enum err select_head(struct select *s, const struct matcher *m, size_t n_m)
{
    struct tsdb_query *q = s->q;
    roaring_bitmap_t *b;
    TRY(index_select(q->db, m, n_m, &b));
    size_t n = roaring_bitmap_get_cardinality(b);
    uint64_t *ids = mem_alloc((n + 1) * sizeof(*ids));
    uint32_t *raw = mem_alloc((n + 1) * sizeof(*raw));
    roaring_bitmap_to_uint32_array(b, raw);
    roaring_bitmap_free(b);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) { /* without data here it can only come from segments */
        struct series *x = series_at(q->db, raw[i]);
        if (q->n_segs || sees_any(q, &x->chunk) || sees_any(q, &x->ooo))
            ids[k++] = raw[i];
    }
    mem_free(raw);
    sort_head(q->db, ids, k);
    vec_reserve(&s->acc, k);
    if (!q->lazy_labels)
        identmap_reserve(&q->by_ident, q->by_ident.n + k);
    for (size_t i = 0; i < k; i++) {
        struct series *hs = series_at(q->db, (uint32_t)ids[i]);
        if (i + 8 < k)
            __builtin_prefetch(series_at(q->db, (uint32_t)ids[i + 8]));
        bool first;
        struct qseries *x;
        if (q->lazy_labels) { /* only the head, and once: nothing to join */
            x = arena_new(&q->a, struct qseries);
            x->ident = hs->id;
            x->created_in = q->select_no;
        } else {
            x = join(s, hs->id, &first);
        }
        if (x->created_in == q->select_no) {
            x->head_id = (uint32_t)ids[i];
            x->head_data = sees_any(q, &hs->chunk) || sees_any(q, &hs->ooo);
        }
        struct tsdb_series out = { LABELS_NONE, (uint64_t)(uintptr_t)x };
        vec_push(&s->acc, out);
    }
    mem_free(ids);
    return OK;
}

static void merge_run(struct select *s)
{
    if (!s->run.n)
        return;
    size_t n = s->acc.n + s->run.n;
    struct tsdb_series *out = mem_alloc(n * sizeof(*out));
    size_t i = 0, j = 0, k = 0;
    while (i < s->acc.n && j < s->run.n)
        out[k++] = labels_cmp(s->acc.p[i].labels, s->run.p[j].labels) <= 0 ? s->acc.p[i++] : s->run.p[j++];
    while (i < s->acc.n)
        out[k++] = s->acc.p[i++];
    while (j < s->run.n)
        out[k++] = s->run.p[j++];
    mem_free(s->acc.p);
    s->acc.p = out;
    s->acc.n = s->acc.cap = n;
    vec_clear(&s->run);
}

static enum err select_seg(struct select *s, size_t src, const struct matcher *m, size_t n_m)
{
    struct tsdb_query *q = s->q;
    struct seg_ctx *c = &q->ctx[src];
    roaring_bitmap_t *b;
    TRY(seg_select(c, m, n_m, &b));
    enum err e = tombs_select(q, src, b);
    if (e) {
        roaring_bitmap_free(b);
        return e;
    }
    size_t n = roaring_bitmap_get_cardinality(b);
    uint32_t *rows = mem_alloc((n + 1) * sizeof(*rows));
    roaring_bitmap_to_uint32_array(b, rows);
    roaring_bitmap_free(b);
    identmap_reserve(&q->by_ident, n);
    for (size_t i = 0; i < n && !e; i++) {
        hash128 ident;
        bool first;
        e = seg_ident(c, rows[i], &ident);
        if (e)
            break;
        struct qseries *x = join(s, ident, &first);
        if (x->created_in == q->select_no) {
            struct qref *r = arena_new(&q->a, struct qref);
            r->src = (uint32_t)src;
            r->row = rows[i];
            if (x->last)
                x->last->next = r;
            else
                x->first = r;
            x->last = r;
        }
        if (first) {
            struct tsdb_series out = { LABELS_NONE, (uint64_t)(uintptr_t)x };
            e = seg_labels(c, rows[i], s->a, &out.labels);
            if (!e)
                vec_push(&s->run, out);
        }
    }
    mem_free(rows);
    return e;
}

static void fill_labels(struct select *s, struct tsdb_series *x)
{
    struct tsdb *db = s->q->db;
    if (!x->labels.p)
        x->labels = series_labels(db, series_at(db, qseries_of(x->id)->head_id), s->a);
}

/* Labels of the series behind number i are made soon. */
static void labels_ahead(struct select *s, size_t i)
{
    struct tsdb *db = s->q->db;
    const struct qseries *far = qseries_of(s->acc.p[i + 16].id), *near = qseries_of(s->acc.p[i + 8].id);
    if (!s->acc.p[i + 16].labels.p)
        __builtin_prefetch(&series_at(db, far->head_id)->labels);
    if (!s->acc.p[i + 8].labels.p)
        __builtin_prefetch(series_at(db, near->head_id)->labels);
}

static enum err select_all(struct select *s, const struct matcher *m, size_t n_m)
{
    struct tsdb_query *q = s->q;
    if (q->head)
        TRY(select_head(s, m, n_m));
    for (size_t i = 0; i < q->n_segs; i++) {
        enum err e = select_seg(s, i, m, n_m);
        if (e)
            query_damage(q, "the index of %s is damaged", segment_path(q->segs[i]));
        if (s->run.n) {
            vec_each (struct tsdb_series, x, &s->acc)
                fill_labels(s, x);
            merge_run(s);
        }
        if (arena_over(s->a))
            return ERR_LIMIT;
    }
    return OK;
}

enum err tsdb_select(struct tsdb_query *q, const struct matcher *m, size_t n_matchers, size_t series_max,
                     struct arena *a, struct tsdb_series **ret, size_t *ret_n)
{
    struct select s = { .q = q, .a = a };
    q->select_no++;
    enum err e = select_all(&s, m, n_matchers);
    size_t k = 0;
    for (size_t i = 0; i < s.acc.n && !e; i++) {
        const struct qseries *x = qseries_of(s.acc.p[i].id);
        if (!q->lazy_labels && i + 16 < s.acc.n)
            labels_ahead(&s, i);
        if (!x->first && !x->head_data)
            continue;
        if (series_max && k == series_max)
            e = ERR_LIMIT;
        if (!q->lazy_labels)
            fill_labels(&s, &s.acc.p[i]);
        if (q->head_cuts)
            qseries_of(s.acc.p[i].id)->head_cut = retention_head_cut(q, s.acc.p[i].labels);
        s.acc.p[k++] = s.acc.p[i];
    }
    if (!e) {
        *ret = arena_array(a, struct tsdb_series, k + 1);
        if (k)
            memcpy(*ret, s.acc.p, k * sizeof(**ret));
        *ret_n = k;
    }
    vec_free(&s.acc);
    vec_free(&s.run);
    return e;
}

struct labels query_labels(struct tsdb_query *q, const struct tsdb_series *s, struct arena *a)
{
    return s->labels.p ? s->labels : series_labels(q->db, series_at(q->db, qseries_of(s->id)->head_id), a);
}

enum err query_series_info(struct tsdb_query *q, const struct qseries *x, struct series_info *ret)
{
    if (x->head_id) {
        uint32_t info = series_at(q->db, x->head_id)->info;
        if (info) {
            *ret = meta_info(q->db, info);
            return OK;
        }
    }
    *ret = (struct series_info){ 0 };
    for (struct qref *r = x->first; r; r = r->next) { /* the newest that says something */
        struct series_info i;
        TRY(seg_series_info(&q->ctx[r->src], r->row, &i));
        if (i.type || i.temporality || i.resource.n)
            *ret = i;
    }
    return OK;
}

/* ---- names and values ---- */
static int cmp_str(const void *a, const void *b)
{
    return str_cmp(*(const str *)a, *(const str *)b);
}

struct names {
    struct arena *a;
    struct symmap seen;
};

static void names_add(struct names *n, str s)
{
    if (!symmap_get(&n->seen, s))
        symmap_put(&n->seen, arena_str(n->a, s), NULL);
}

static void names_end(struct names *n, size_t limit, str **ret, size_t *ret_n)
{
    str *v = arena_array(n->a, str, n->seen.n + 1);
    size_t k = 0;
    map_each (symmap, s, &n->seen)
        v[k++] = s->key;
    qsort(v, k, sizeof(*v), cmp_str);
    *ret = v;
    *ret_n = limit && k > limit ? limit : k;
    symmap_free(&n->seen);
}

/* Series of the head that a delete matched and that have no data here: what they say is in segments, or gone. */
static roaring_bitmap_t *head_gone(struct tsdb_query *q) /* REQUIRES index_mu; NULL: none */
{
    if (!q->db->idx.deleted)
        return NULL;
    roaring_bitmap_t *gone = roaring_bitmap_create();
    roaring_uint32_iterator_t it;
    for (roaring_init_iterator(q->db->idx.deleted, &it); it.has_value; roaring_advance_uint32_iterator(&it)) {
        struct series *x = series_at(q->db, it.current_value);
        if (!sees_any(q, &x->chunk) && !sees_any(q, &x->ooo))
            roaring_bitmap_add(gone, it.current_value);
    }
    return gone;
}

static bool head_says(struct tsdb *db, uint32_t name, uint32_t value, const roaring_bitmap_t *gone)
{
    const struct plist *l = gone ? pairmap_get(&db->idx.pairs, (uint64_t)name << 32 | value) : NULL;
    if (!l || l->n > roaring_bitmap_get_cardinality(gone))
        return true;
    roaring_bitmap_t *ids = plist_bitmap(l);
    bool says = !roaring_bitmap_is_subset(ids, gone);
    roaring_bitmap_free(ids);
    return says;
}

static void head_names(struct tsdb_query *q, str name, struct names *n)
{
    struct tsdb *db = q->db;
    mtx_lock(&db->idx.mu);
    roaring_bitmap_t *gone = head_gone(q);
    if (name.p) {
        uint32_t sym = sym_find(db, name);
        struct namevals *nv = sym ? namemap_get(&db->idx.names, sym) : NULL;
        for (size_t i = 0; nv && i < nv->v.n; i++)
            if (head_says(db, sym, nv->v.p[i], gone))
                names_add(n, sym_at(db, nv->v.p[i]));
    } else {
        map_each (namemap, s, &db->idx.names) {
            bool says = !gone;
            for (size_t i = 0; i < s->value.v.n && !says; i++)
                says = head_says(db, s->key, s->value.v.p[i], gone);
            if (says)
                names_add(n, sym_at(db, s->key));
        }
    }
    mtx_unlock(&db->idx.mu);
    if (gone)
        roaring_bitmap_free(gone);
}

/* Is a row with this label left, gone being those without data? value STR_NONE: any value. */
static enum err seg_says(struct tsdb_query *q, size_t src, str name, str value, const roaring_bitmap_t *gone, bool *ret)
{
    struct matcher m;
    struct err_text why;
    TRY(matcher_init(&m, value.p ? MATCH_EQ : MATCH_NE, name, value.p ? value : STR(""), &why));
    roaring_bitmap_t *rows;
    enum err e = seg_select(&q->ctx[src], &m, 1, &rows);
    matcher_deinit(&m);
    TRY(e);
    *ret = !roaring_bitmap_is_subset(rows, gone);
    roaring_bitmap_free(rows);
    return OK;
}

static enum err seg_gone(struct tsdb_query *q, size_t src, roaring_bitmap_t **ret) /* NULL: none */
{
    *ret = NULL;
    if (!q->tombs || !q->tombs[src])
        return OK;
    roaring_bitmap_t *all = roaring_bitmap_from_range(0, ((struct tsdb_seg *)segment_user(q->segs[src]))->n_series, 1),
                     *left = roaring_bitmap_copy(all);
    enum err e = tombs_select(q, src, left);
    roaring_bitmap_andnot_inplace(all, left);
    roaring_bitmap_free(left);
    if (e || roaring_bitmap_is_empty(all))
        roaring_bitmap_free(all);
    else
        *ret = all;
    return e;
}

static enum err seg_names_left(struct tsdb_query *q, size_t src, str name, const roaring_bitmap_t *gone,
                               struct names *n)
{
    uint32_t *v;
    size_t k;
    AUTO_ARENA struct arena tmp;
    arena_init(&tmp, 0);
    TRY(seg_values(&q->ctx[src], name, &tmp, &v, &k));
    for (size_t i = 0; i < k; i++) {
        str s;
        bool says = true;
        TRY(seg_symbol(&q->ctx[src], v[i], &s));
        if (gone && !symmap_get(&n->seen, s))
            TRY(seg_says(q, src, name.p ? name : s, name.p ? s : STR_NONE, gone, &says));
        if (says)
            names_add(n, s);
    }
    return OK;
}

static enum err seg_names(struct tsdb_query *q, size_t src, str name, struct names *n)
{
    roaring_bitmap_t *gone;
    TRY(seg_gone(q, src, &gone));
    enum err e = seg_names_left(q, src, name, gone, n);
    if (gone)
        roaring_bitmap_free(gone);
    return e;
}

static enum err names_or_values(struct tsdb_query *q, str name, const struct matcher *m, size_t n_matchers,
                                size_t limit, struct arena *a, str **ret, size_t *ret_n)
{
    struct names n = { .a = a };
    if (!n_matchers) {
        head_names(q, name, &n);
        for (size_t i = 0; i < q->n_segs; i++)
            if (seg_names(q, i, name, &n))
                query_damage(q, "the index of %s is damaged", segment_path(q->segs[i]));
        names_end(&n, limit, ret, ret_n);
        return OK;
    }
    AUTO_ARENA struct arena tmp;
    arena_init(&tmp, 0);
    struct tsdb_series *s;
    size_t k;
    enum err e = tsdb_select(q, m, n_matchers, 0, &tmp, &s, &k);
    for (size_t i = 0; i < k && !e; i++) {
        labels_each (l, s[i].labels) {
            if (!name.p)
                names_add(&n, l->name);
            else if (str_eq(name, l->name))
                names_add(&n, l->value);
        }
    }
    if (e)
        symmap_free(&n.seen);
    else
        names_end(&n, limit, ret, ret_n);
    return e;
}

enum err tsdb_label_names(struct tsdb_query *q, const struct matcher *m, size_t n_matchers, size_t limit,
                          struct arena *a, str **ret, size_t *ret_n)
{
    return names_or_values(q, STR_NONE, m, n_matchers, limit, a, ret, ret_n);
}

enum err tsdb_label_values(struct tsdb_query *q, str name, const struct matcher *m, size_t n_matchers, size_t limit,
                           struct arena *a, str **ret, size_t *ret_n)
{
    if (!name.p)
        name = STR("");
    return names_or_values(q, name, m, n_matchers, limit, a, ret, ret_n);
}
