/* Matchers -> series ids, over any source of postings (the head's index, a segment). As in Prometheus: matchers
 * that cannot match the empty value are intersected; those that can are subtracted by what they refuse. */
#include <roaring/roaring.h>

#include "tsdb/tsdb_int.h"

static enum err union_of_set(const struct postings_source *src, str name, const str *set, size_t n,
                             roaring_bitmap_t *into)
{
    for (size_t i = 0; i < n; i++) {
        roaring_bitmap_t *b = NULL;
        TRY(src->get(src->ctx, name, set[i], &b));
        if (b) {
            roaring_bitmap_or_inplace(into, b);
            roaring_bitmap_free(b);
        }
    }
    return OK;
}

/* Series whose (present) value satisfies matches(value) == want. */
static enum err present(const struct postings_source *src, const struct matcher *m, bool want, roaring_bitmap_t **ret)
{
    bool positive = m->type == MATCH_EQ || m->type == MATCH_RE;
    roaring_bitmap_t *b = NULL;
    enum err e = OK;
    if ((m->type == MATCH_EQ || m->type == MATCH_NE) && positive == want) {
        e = src->get(src->ctx, m->name, m->value, &b);
        if (!e && !b)
            b = roaring_bitmap_create();
        *ret = b;
        return e;
    }
    b = roaring_bitmap_create();
    const struct rx_info *info = m->rx ? rx_info(m->rx) : NULL;
    if (info && info->n_set && positive == want)
        e = union_of_set(src, m->name, info->set, info->n_set, b);
    else
        e = src->scan(src->ctx, m, want, b);
    if (e)
        roaring_bitmap_free(b);
    else
        *ret = b;
    return e;
}

enum err postings_select(const struct postings_source *src, const struct matcher *m, size_t n, roaring_bitmap_t **ret)
{
    roaring_bitmap_t *acc = NULL;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < n; i++) {
            bool empty = matcher_matches_empty(&m[i]);
            if (empty != (pass == 1))
                continue;
            if (pass == 1 && !acc)
                acc = src->all(src->ctx);
            if (acc && roaring_bitmap_is_empty(acc))
                break;
            roaring_bitmap_t *b = NULL;
            enum err e = present(src, &m[i], !empty, &b);
            if (e) {
                if (acc)
                    roaring_bitmap_free(acc);
                return e;
            }
            if (!acc) {
                acc = b;
                continue;
            }
            if (empty)
                roaring_bitmap_andnot_inplace(acc, b);
            else
                roaring_bitmap_and_inplace(acc, b);
            roaring_bitmap_free(b);
        }
    }
    *ret = acc ? acc : src->all(src->ctx);
    return OK;
}
