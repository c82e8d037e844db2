#include "rules/rules_overlay.h"

#include <stdlib.h>

#include "base/check.h"

/* Ids of the memory's series lie here; those of stores count from 0, or from the end downwards. */
#define MEMORY_IDS (1ull << 62)
#define MEMORY_END (MEMORY_IDS + (1ull << 40))

struct promql_view {
    struct rules_overlay *o;
    struct promql_view *base, *memory;
};
struct promql_reader {
    struct rules_overlay *o;
    struct promql_reader *base, *memory;
};

static bool is_memory(uint64_t id)
{
    return id >= MEMORY_IDS && id < MEMORY_END;
}

static enum err overlay_open(struct promql_source *src, int64_t from_ms, int64_t to_ms, struct promql_view **ret)
{
    struct rules_overlay *o = (struct rules_overlay *)(void *)src;
    struct promql_source *memory = rules_memory_source(o->memory);
    struct promql_view *v = mem_zalloc(sizeof(*v));
    v->o = o;
    enum err e = o->base->open(o->base, from_ms, to_ms, &v->base);
    if (!e && (e = memory->open(memory, from_ms, to_ms, &v->memory)) != OK)
        o->base->close(v->base);
    if (e)
        mem_free(v);
    else
        *ret = v;
    return e;
}

static void overlay_close(struct promql_view *v)
{
    v->o->base->close(v->base);
    rules_memory_source(v->o->memory)->close(v->memory);
    mem_free(v);
}

bool rules_overlay_hides(const struct rules_overlay *o, str name)
{
    size_t lo = 0, hi = o->n_names;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int c = str_cmp(o->names[mid], name);
        if (c == 0)
            return true;
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return false;
}

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(((const struct promql_series *)a)->labels, ((const struct promql_series *)b)->labels);
}

static enum err overlay_select(struct promql_view *v, const struct matcher *m, size_t n, int64_t from_ms, int64_t to_ms,
                               size_t series_max, struct arena *a, struct promql_series **ret, size_t *ret_n)
{
    struct promql_series *below, *above;
    size_t n_below, n_above, k = 0;
    struct promql_source *memory = rules_memory_source(v->o->memory);
    TRY(v->o->base->select(v->base, m, n, from_ms, to_ms, series_max, a, &below, &n_below));
    TRY(memory->select(v->memory, m, n, from_ms, to_ms, series_max, a, &above, &n_above));
    struct promql_series *all = arena_array(a, struct promql_series, n_below + n_above + 1);
    for (size_t i = 0; i < n_below; i++) {
        if (is_memory(below[i].id))
            return ERR_LIMIT;
        if (!rules_overlay_hides(v->o, labels_name(below[i].labels)))
            all[k++] = below[i];
    }
    for (size_t i = 0; i < n_above; i++)
        all[k++] = (struct promql_series){ above[i].labels, MEMORY_IDS + above[i].id };
    if (k > series_max)
        return ERR_LIMIT;
    if (n_above && k)
        qsort(all, k, sizeof(*all), by_labels);
    *ret = all;
    *ret_n = k;
    return OK;
}

static struct promql_reader *overlay_reader_new(struct promql_view *v)
{
    struct promql_reader *r = mem_zalloc(sizeof(*r));
    r->o = v->o;
    r->base = v->o->base->reader_new(v->base);
    r->memory = rules_memory_source(v->o->memory)->reader_new(v->memory);
    return r;
}

static void overlay_reader_free(struct promql_reader *r)
{
    r->o->base->reader_free(r->base);
    rules_memory_source(r->o->memory)->reader_free(r->memory);
    mem_free(r);
}

static enum err overlay_read(struct promql_reader *r, uint64_t id, int64_t from_ms, int64_t to_ms,
                             struct promql_points *ret)
{
    if (is_memory(id))
        return rules_memory_source(r->o->memory)->read(r->memory, id - MEMORY_IDS, from_ms, to_ms, ret);
    return r->o->base->read(r->base, id, from_ms, to_ms, ret);
}

static void overlay_ahead(struct promql_reader *r, uint64_t id, unsigned reads)
{
    if (!is_memory(id))
        r->o->base->ahead(r->base, id, reads);
}

static bool overlay_incomplete(struct promql_view *v, struct err_text *ret_why)
{
    return v->o->base->incomplete(v->base, ret_why);
}

void rules_overlay_init(struct rules_overlay *o, struct promql_source *base, struct rules_memory *memory,
                        const str *names, size_t n_names)
{
    *o = (struct rules_overlay){ .src = { .open = overlay_open,
                                          .close = overlay_close,
                                          .select = overlay_select,
                                          .reader_new = overlay_reader_new,
                                          .reader_free = overlay_reader_free,
                                          .read = overlay_read,
                                          .ahead = base->ahead ? overlay_ahead : NULL,
                                          .incomplete = base->incomplete ? overlay_incomplete : NULL },
                                 .base = base,
                                 .memory = memory,
                                 .names = names,
                                 .n_names = n_names };
}
