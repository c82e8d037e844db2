/* Which names make the head big: series by metric, by label pair, distinct values and bytes by label. Of all series from the
 * counts that the index keeps; of those that match, by walking their labels. */
#include <roaring/roaring.h>

#include "tsdb/tsdb_int.h"

#define MAP_NAME     paircount
#define MAP_KEY      uint64_t
#define MAP_VALUE    uint32_t
#define MAP_HASH(k)  hash_u64((k) ^ 0x9e3779b97f4a7c15ull)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"
struct name_count {
    uint64_t values, bytes;
};
#define MAP_NAME     namecount
#define MAP_KEY      uint32_t
#define MAP_VALUE    struct name_count
#define MAP_HASH(k)  hash_u64((uint64_t)(k) + 0x9e3779b97f4a7c15ull)
#define MAP_EQ(a, b) ((a) == (b))
#include "base/map.h"

struct row {
    uint64_t key, n; /* key: symbols, name << 32 | value */
};
struct rows { /* largest first */
    struct row *p;
    size_t n, max;
};
struct work {
    struct tsdb *db;
    uint32_t metric, job; /* symbols of __name__, job */
    struct rows metrics, jobs, labels, bytes, pairs;
    struct namecount names;
    uint64_t n_pairs;
};

static void rows_put(struct rows *r, uint64_t key, uint64_t n)
{
    size_t i = r->n;
    if (r->max == 0)
        return;
    if (i == r->max) {
        if (n <= r->p[i - 1].n)
            return;
        i--;
    } else {
        r->n++;
    }
    for (; i && r->p[i - 1].n < n; i--)
        r->p[i] = r->p[i - 1];
    r->p[i] = (struct row){ key, n };
}

static void take_pair(struct work *w, uint64_t pair, uint64_t series)
{
    uint32_t name = (uint32_t)(pair >> 32);
    struct name_count *c = namecount_put(&w->names, name, NULL);
    c->values++;
    c->bytes += sym_at(w->db, (uint32_t)pair).n * series;
    w->n_pairs++;
    if (name == w->metric)
        rows_put(&w->metrics, pair, series);
    if (name == w->job)
        rows_put(&w->jobs, pair, series);
    rows_put(&w->pairs, pair, series);
}

static str pair_text(struct work *w, struct arena *a, uint64_t pair)
{
    str n = sym_at(w->db, (uint32_t)(pair >> 32)), v = sym_at(w->db, (uint32_t)pair);
    return arena_printf(a, STR_FMT "=" STR_FMT, STR_ARG(n), STR_ARG(v));
}

enum text { TEXT_NAME, TEXT_VALUE, TEXT_PAIR };
static struct tsdb_top *texts(struct work *w, struct arena *a, const struct rows *r, enum text t, size_t *ret_n)
{
    struct tsdb_top *out = arena_array(a, struct tsdb_top, r->n);
    for (size_t i = 0; i < r->n; i++) {
        uint64_t k = r->p[i].key;
        str s = t == TEXT_PAIR ? pair_text(w, a, k)
                               : arena_str(a, sym_at(w->db, t == TEXT_NAME ? (uint32_t)(k >> 32) : (uint32_t)k));
        out[i] = (struct tsdb_top){ s, r->p[i].n };
    }
    *ret_n = r->n;
    return out;
}

static void count_labels(const struct series *s, struct paircount *counts)
{
    const uint8_t *p = s->labels;
    uint64_t n = uvarint_get(&p);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t name = uvarint_get(&p), value = uvarint_get(&p);
        ++*paircount_put(counts, name << 32 | value, NULL);
    }
}

/* The query pins what is walked: labels of series that leave meanwhile live until it is closed. */
static enum err walk(struct work *w, const struct matcher *m, size_t n, uint64_t *ret_series)
{
    struct tsdb_query *q;
    roaring_bitmap_t *ids;
    struct paircount counts = { 0 };
    TRY(tsdb_query_open(w->db, INT64_MAX / 4, INT64_MAX / 4, &q));
    enum err e = index_select(w->db, m, n, &ids);
    if (e) {
        tsdb_query_close(q);
        return e;
    }
    roaring_uint32_iterator_t it;
    for (roaring_init_iterator(ids, &it); it.has_value; roaring_advance_uint32_iterator(&it)) {
        count_labels(series_at(w->db, it.current_value), &counts);
        ++*ret_series;
    }
    roaring_bitmap_free(ids);
    map_each (paircount, s, &counts)
        take_pair(w, s->key, s->value);
    paircount_free(&counts);
    tsdb_query_close(q);
    return OK;
}

enum err tsdb_cardinality(struct tsdb *db, const struct matcher *m, size_t n_matchers, size_t top, struct arena *a,
                          struct tsdb_cardinality *ret)
{
    AUTO_ARENA struct arena scratch;
    arena_init(&scratch, 0);
    *ret = (struct tsdb_cardinality){ 0 };
    struct rows empty = { .max = top };
    struct work w = { .db = db, .metrics = empty, .jobs = empty, .labels = empty, .bytes = empty, .pairs = empty };
    struct rows *const all[] = { &w.metrics, &w.jobs, &w.labels, &w.bytes, &w.pairs };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        all[i]->p = arena_array(&scratch, struct row, top);
    mtx_lock(&db->idx.mu);
    w.metric = sym_find(db, LABEL_NAME);
    w.job = sym_find(db, STR("job"));
    if (n_matchers == 0) {
        map_each (pairmap, s, &db->idx.pairs)
            take_pair(&w, s->key, s->value.n);
        ret->series = roaring_bitmap_get_cardinality(db->idx.all);
    }
    mtx_unlock(&db->idx.mu);
    enum err e = n_matchers ? walk(&w, m, n_matchers, &ret->series) : OK;
    map_each (namecount, s, &w.names) {
        rows_put(&w.labels, (uint64_t)s->key << 32, s->value.values);
        rows_put(&w.bytes, (uint64_t)s->key << 32, s->value.bytes);
    }
    ret->label_pairs = w.n_pairs;
    ret->label_names = w.names.n;
    namecount_free(&w.names);
    ret->metrics = texts(&w, a, &w.metrics, TEXT_VALUE, &ret->n_metrics);
    ret->jobs = texts(&w, a, &w.jobs, TEXT_VALUE, &ret->n_jobs);
    ret->labels = texts(&w, a, &w.labels, TEXT_NAME, &ret->n_labels);
    ret->label_bytes = texts(&w, a, &w.bytes, TEXT_NAME, &ret->n_label_bytes);
    ret->pairs = texts(&w, a, &w.pairs, TEXT_PAIR, &ret->n_pairs);
    return e;
}
