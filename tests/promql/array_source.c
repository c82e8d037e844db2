/* In-memory source; see array_source.h. */
#include "array_source.h"

#include <stdlib.h>

#include "base/check.h"

struct promql_view {
    struct array_source *s;
};
struct promql_reader {
    struct array_source *s;
};

static int cmp_series(const void *a, const void *b)
{
    return labels_cmp(((const struct array_series *)a)->labels, ((const struct array_series *)b)->labels);
}

static enum err mem_open(struct promql_source *src, int64_t from_ms, int64_t to_ms, struct promql_view **ret)
{
    (void)from_ms, (void)to_ms;
    struct array_source *s = (struct array_source *)(void *)src;
    if (!s->sorted && s->series.n)
        qsort(s->series.p, s->series.n, sizeof(*s->series.p), cmp_series);
    s->sorted = true;
    *ret = mem_zalloc(sizeof(**ret));
    (*ret)->s = s;
    return OK;
}

static void mem_close(struct promql_view *v)
{
    mem_free(v);
}

static enum err mem_select(struct promql_view *v, const struct matcher *m, size_t n_matchers, int64_t from_ms,
                           int64_t to_ms, size_t series_max, struct arena *a, struct promql_series **ret, size_t *ret_n)
{
    struct array_source *s = v->s;
    *ret = arena_array(a, struct promql_series, s->series.n + 1);
    *ret_n = 0;
    for (size_t i = 0; i < s->series.n; i++) {
        const struct array_series *x = &s->series.p[i];
        if (x->n == 0 || x->ts[0] > to_ms || x->ts[x->n - 1] < from_ms || !matchers_match(m, n_matchers, x->labels))
            continue;
        if (*ret_n == series_max)
            return ERR_LIMIT;
        (*ret)[(*ret_n)++] = (struct promql_series){ x->labels, i };
    }
    return OK;
}

static struct promql_reader *mem_reader_new(struct promql_view *v)
{
    struct promql_reader *r = mem_zalloc(sizeof(*r));
    r->s = v->s;
    return r;
}

static void mem_reader_free(struct promql_reader *r)
{
    mem_free(r);
}

static size_t first_from(const int64_t *t, size_t n, int64_t at)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (t[mid] < at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static enum err mem_read(struct promql_reader *r, uint64_t id, int64_t from_ms, int64_t to_ms,
                         struct promql_points *ret)
{
    const struct array_series *x = &r->s->series.p[id];
    size_t lo = first_from(x->ts, x->n, from_ms), hi = first_from(x->ts, x->n, to_ms + 1);
    *ret = (struct promql_points){ .ts = x->ts + lo,
                                   .v = x->v + lo,
                                   .h = x->h ? x->h + lo : NULL,
                                   .start_ms = x->start_ms ? x->start_ms + lo : NULL,
                                   .n = hi - lo,
                                   .timeline = x->timeline };
    return OK;
}

void array_source_init(struct array_source *s, struct arena *a)
{
    *s = (struct array_source){ .src = { .open = mem_open,
                                         .close = mem_close,
                                         .select = mem_select,
                                         .reader_new = mem_reader_new,
                                         .reader_free = mem_reader_free,
                                         .read = mem_read },
                                .a = a };
}

void array_source_add(struct array_source *s, const char *const *labels, struct array_series data)
{
    struct label_builder b;
    lb_init(&b, s->a);
    for (; labels[0]; labels += 2)
        lb_set(&b, str_c(labels[0]), str_c(labels[1]));
    data.labels = labels_copy(s->a, lb_labels(&b));
    avec_push(s->a, &s->series, data);
    s->sorted = false;
}
