/* The metrics store as PromQL's source and as the API's store. The structs of both sides have the same fields on
 * purpose; what crosses is pointers into the store's pinned view, nothing is copied but the list of series. */
#include "api/api_int.h"

struct tsdb_source {
    struct promql_source vtable;
    struct tsdb *db;
};

/* The language's opaque types are the store's own: promql_view is a tsdb_query, promql_reader a tsdb_cursor. */
static struct tsdb_query *query_of(struct promql_view *v)
{
    return (void *)v;
}
static struct tsdb_cursor *cursor_of(struct promql_reader *r)
{
    return (void *)r;
}

static enum err source_open(struct promql_source *src, int64_t from_ms, int64_t to_ms, struct promql_view **ret)
{
    struct tsdb_source *s = (void *)src;
    struct tsdb_query *q;
    TRY(tsdb_query_open(s->db, from_ms, to_ms, &q));
    *ret = (void *)q;
    return OK;
}

static void source_close(struct promql_view *v)
{
    tsdb_query_close(query_of(v));
}

static enum err source_select(struct promql_view *v, const struct matcher *m, size_t n_matchers, int64_t from_ms,
                              int64_t to_ms, size_t series_max, struct arena *a, struct promql_series **ret,
                              size_t *ret_n)
{
    struct tsdb_series *found;
    size_t n;
    (void)from_ms; /* the view was opened for the query's whole range */
    (void)to_ms;
    TRY(tsdb_select(query_of(v), m, n_matchers, series_max, a, &found, &n));
    struct promql_series *out = arena_array(a, struct promql_series, n);
    for (size_t i = 0; i < n; i++)
        out[i] = (struct promql_series){ found[i].labels, found[i].id };
    *ret = out;
    *ret_n = n;
    return OK;
}

static struct promql_reader *source_reader_new(struct promql_view *v)
{
    return (void *)tsdb_cursor_new(query_of(v));
}

static void source_reader_free(struct promql_reader *r)
{
    tsdb_cursor_free(cursor_of(r));
}

static enum err source_read(struct promql_reader *r, uint64_t id, int64_t from_ms, int64_t to_ms,
                            struct promql_points *ret)
{
    struct tsdb_points p;
    TRY(tsdb_read(cursor_of(r), id, from_ms, to_ms, &p));
    *ret = (struct promql_points){ .ts = p.ts,
                                   .v = p.v,
                                   .h = p.h,
                                   .start_ms = p.start_ms,
                                   .n = p.n,
                                   .timeline = p.timeline,
                                   .roll = p.roll,
                                   .n_roll = p.n_roll,
                                   .rolled_to_ms = p.rolled_to_ms };
    return OK;
}

static void source_ahead(struct promql_reader *r, uint64_t id, unsigned reads)
{
    tsdb_read_ahead(cursor_of(r), id, reads == PROMQL_AHEAD_FAR ? 2 : reads == PROMQL_AHEAD_MID ? 1 : 0);
}

static bool source_incomplete(struct promql_view *v, struct err_text *ret_why)
{
    return tsdb_query_incomplete(query_of(v), ret_why);
}

struct promql_source *api_source_tsdb_new(struct tsdb *db)
{
    struct tsdb_source *s = mem_zalloc(sizeof(*s));
    s->vtable = (struct promql_source){ .open = source_open,
                                        .close = source_close,
                                        .select = source_select,
                                        .reader_new = source_reader_new,
                                        .reader_free = source_reader_free,
                                        .read = source_read,
                                        .ahead = source_ahead,
                                        .incomplete = source_incomplete };
    s->db = db;
    return &s->vtable;
}

void api_source_tsdb_free(struct promql_source *s)
{
    mem_free(s);
}

/* ---- the API's store ---- */

enum { SERIES_MAX = 10000000 };

static struct tsdb *db_of(void *ctx)
{
    return ((struct api_store_pair *)ctx)->db;
}
static struct ingest *ingest_of(void *ctx)
{
    return ((struct api_store_pair *)ctx)->ingest;
}

static enum err store_write(void *ctx, const struct batch *b, const struct ingest_source *who,
                            struct tsdb_write_result *ret)
{
    return ingest_append(ingest_of(ctx), b, who, ret);
}
static uint64_t store_known(void *ctx, str bytes, uint64_t salt, uint32_t *io_hint, hash128 *ret_key)
{
    return tsdb_known(db_of(ctx), bytes, salt, io_hint, ret_key);
}
static uint64_t store_salt(void *ctx, const struct ingest_source *who)
{
    return ingest_salt(ingest_of(ctx), who);
}
static enum err store_wait(void *ctx, uint64_t lsn)
{
    return tsdb_wait(db_of(ctx), lsn);
}

static enum err store_series(void *ctx, int64_t from_ms, int64_t to_ms, const struct matcher *m, size_t n_matchers,
                             size_t limit, struct arena *a, struct labels **ret, size_t *ret_n)
{
    struct tsdb_query *q;
    struct tsdb_series *found;
    size_t n;
    TRY(tsdb_query_open(db_of(ctx), from_ms, to_ms, &q));
    enum err e = tsdb_select(q, m, n_matchers, SERIES_MAX, a, &found, &n);
    if (e == OK) {
        n = limit ? MIN(n, limit) : n;
        struct labels *out = arena_array(a, struct labels, n);
        for (size_t i = 0; i < n; i++)
            out[i] = labels_copy(a, found[i].labels); /* the view is closed before they are printed */
        *ret = out;
        *ret_n = n;
    }
    tsdb_query_close(q);
    return e;
}

static enum err store_label_names(void *ctx, int64_t from_ms, int64_t to_ms, const struct matcher *m, size_t n_matchers,
                                  size_t limit, struct arena *a, str **ret, size_t *ret_n)
{
    struct tsdb_query *q;
    TRY(tsdb_query_open(db_of(ctx), from_ms, to_ms, &q));
    enum err e = tsdb_label_names(q, m, n_matchers, limit, a, ret, ret_n);
    tsdb_query_close(q);
    return e;
}

static enum err store_label_values(void *ctx, int64_t from_ms, int64_t to_ms, str name, const struct matcher *m,
                                   size_t n_matchers, size_t limit, struct arena *a, str **ret, size_t *ret_n)
{
    struct tsdb_query *q;
    TRY(tsdb_query_open(db_of(ctx), from_ms, to_ms, &q));
    enum err e = tsdb_label_values(q, name, m, n_matchers, limit, a, ret, ret_n);
    tsdb_query_close(q);
    return e;
}

static enum err store_exemplars(void *ctx, int64_t from_ms, int64_t to_ms, const struct matcher *m, size_t n_matchers,
                                struct arena *a, struct tsdb_exemplars **ret, size_t *ret_n)
{
    struct tsdb_query *q;
    TRY(tsdb_query_open(db_of(ctx), from_ms, to_ms, &q));
    enum err e = tsdb_exemplars(q, m, n_matchers, a, ret, ret_n);
    for (size_t i = 0; e == OK && i < *ret_n; i++) {
        struct tsdb_exemplars *x = &(*ret)[i];
        struct exemplar *copies = arena_array(a, struct exemplar, x->n);
        for (size_t k = 0; k < x->n; k++) {
            copies[k] = x->p[k];
            copies[k].labels = labels_copy(a, x->p[k].labels);
        }
        x->labels = labels_copy(a, x->labels);
        x->p = copies;
    }
    tsdb_query_close(q);
    return e;
}

static enum err store_metadata(void *ctx, str name, size_t limit, struct arena *a, struct tsdb_metadata **ret,
                               size_t *ret_n)
{
    return tsdb_metadata(db_of(ctx), name, limit, a, ret, ret_n);
}

static enum err store_stats(void *ctx, bool with_top, struct arena *a, struct tsdb_stats *ret)
{
    return tsdb_stats(db_of(ctx), with_top, a, ret);
}

static enum err store_delete(void *ctx, const struct tsdb_selector *sel, size_t n, int64_t from_ms, int64_t to_ms,
                             struct err_text *reterr)
{
    return tsdb_delete(db_of(ctx), sel, n, from_ms, to_ms, reterr);
}

static enum err store_clean(void *ctx, struct err_text *reterr)
{
    return tsdb_clean_tombstones(db_of(ctx), reterr);
}

static enum err store_snapshot(void *ctx, str name, bool skip_head, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    const char *dest = arena_printf(&a, "%s/snapshots/" STR_FMT, tsdb_dir(db_of(ctx)), STR_ARG(name)).p;
    return tsdb_snapshot(db_of(ctx), dest, skip_head, reterr);
}

static struct tsdb *store_db(void *ctx)
{
    return ((struct api_store_pair *)ctx)->db;
}

static enum err store_cardinality(void *ctx, const struct matcher *m, size_t n_matchers, size_t top, struct arena *a,
                                  struct tsdb_cardinality *ret)
{
    return tsdb_cardinality(db_of(ctx), m, n_matchers, top, a, ret);
}

static void store_usage(void *ctx, str tenant, size_t top, struct arena *a, struct ingest_status *ret)
{
    ingest_status(ingest_of(ctx), tenant, top, a, ret);
}

struct api_store api_store_tsdb(struct api_store_pair *pair)
{
    return (struct api_store){ .ctx = pair,
                               .write = store_write,
                               .wait = store_wait,
                               .series = store_series,
                               .label_names = store_label_names,
                               .label_values = store_label_values,
                               .exemplars = store_exemplars,
                               .metadata = store_metadata,
                               .stats = store_stats,
                               .cardinality = store_cardinality,
                               .usage = store_usage,
                               .known = store_known,
                               .salt = store_salt,
                               .delete_series = store_delete,
                               .clean_tombstones = store_clean,
                               .snapshot = store_snapshot,
                               .db = store_db };
}
