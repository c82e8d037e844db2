/* convert_classic_histograms_to_nhcb for text formats, and the limits of native histograms (manual: scrape_work.h). */
#include <math.h>

#include "base/num.h"
#include "base/stats.h"
#include "model/histogram_math.h"
#include "scrape/scrape_work.h"

#define KEY_MARK 0xfe /* no series text begins so, and expo_pb's keys neither */

bool nhcb_is_key(str raw)
{
    return raw.n && (unsigned char)raw.p[0] == KEY_MARK;
}

/* Which part of the current family's histogram is it? base: name of the whole. */
static enum classic_part part_of(struct work *w, struct labels own, str *ret_base, double *ret_le)
{
    static const struct {
        const char *suffix;
        enum classic_part part;
    } suffixes[] = { { "_bucket", PART_BUCKET }, { "_count", PART_COUNT }, { "_sum", PART_SUM } };
    str name = labels_name(own), family = w->x->family;
    if (w->x->type != METRIC_HISTOGRAM || !str_has_prefix(name, family))
        return PART_NONE;
    *ret_base = str_take(name, family.n);
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (str_eq(str_skip(name, family.n), str_c(suffixes[i].suffix)))
            return suffixes[i].part != PART_BUCKET || num_parse_f64(labels_get(own, LABEL_BUCKET), ret_le)
                       ? suffixes[i].part
                       : PART_NONE;
    return PART_NONE;
}

/* The line that stands for the whole, made when it is the first time. */
static enum err group_line(struct work *w, struct labels own, str base, uint32_t *ret)
{
    struct label_builder b;
    char key[1 + sizeof(hash128)];
    lb_init(&b, w->a);
    lb_reset(&b, own);
    lb_set(&b, LABEL_NAME, base);
    lb_del(&b, LABEL_BUCKET);
    struct labels whole = lb_labels(&b);
    hash128 h = labels_hash128(whole, 0);
    key[0] = (char)KEY_MARK;
    memcpy(key + 1, &h, sizeof(h));
    const uint32_t *id = line_map_get(&w->c->by_raw, (str){ key, sizeof(key) });
    if (!id)
        return work_line_add(w, (str){ key, sizeof(key) }, whole, ret);
    *ret = *id;
    return OK;
}

static void part_set(struct cache *c, uint32_t id, struct cache_part part)
{
    struct cache_part none = { 0 };
    while (c->parts.n < c->lines.n)
        vec_push(&c->parts, none);
    c->parts.p[id] = part;
}

enum err nhcb_line_new(struct work *w, struct labels own, uint32_t *ret)
{
    struct cache_part part = { 0 };
    str base;
    part.part = part_of(w, own, &base, &part.le);
    if (part.part != PART_NONE)
        TRY(group_line(w, own, base, &part.group));
    if (part.part != PART_NONE && w->t->cfg->always_classic != TRI_TRUE)
        own = LABELS_NONE; /* remembered, not stored */
    if (own.n)
        TRY(work_line_add(w, w->x->series, own, ret));
    else
        work_line_ignored(w, w->x->series, ret);
    part_set(w->c, *ret, part);
    return OK;
}

static void begin(struct work *w, uint32_t group)
{
    struct nhcb_work *n = &w->nhcb;
    nhcb_reset(&n->h);
    memset(&n->exemplars, 0, sizeof(n->exemplars)); /* the old ones are in the batch */
    n->open = true;
    n->group = group;
    n->has_ts = w->x->has_ts;
    n->ts_ms = w->x->ts_ms;
    n->start_ms = work_start_ms(w);
}

static void add_exemplars(struct work *w)
{
    struct exemplar *ex, tmp;
    size_t n = work_exemplars(w, INT64_MIN, &ex);
    for (size_t i = 0; i < n; i++) {
        if (ex[i].ts_ms == INT64_MIN || w->nhcb.exemplars.n >= EXPO_PB_EXEMPLARS_MAX)
            continue; /* a histogram's exemplars need times of their own */
        avec_push(w->a, &w->nhcb.exemplars, ex[i]);
        struct exemplar *v = w->nhcb.exemplars.p;
        for (size_t k = w->nhcb.exemplars.n - 1; k && v[k - 1].ts_ms > v[k].ts_ms; k--)
            tmp = v[k], v[k] = v[k - 1], v[k - 1] = tmp;
    }
}

enum err nhcb_flush(struct work *w)
{
    struct nhcb_work *n = &w->nhcb;
    struct err_text why;
    struct pending *p;
    struct taken s = { n->has_ts, n->ts_ms, 0, NULL };
    if (!n->open)
        return OK;
    n->open = false;
    work_see_line(w, n->group);
    if (nhcb_make(&n->h, w->a, &s.h, &why) != OK)
        return OK; /* as upstream: what contradicts itself is left out */
    if (w->c->lines.p[n->group].series != NO_SERIES)
        TRY(work_limit_histogram(w, &s.h));
    if (work_take(w, n->group, &s, &p)) {
        p->start_ms = n->start_ms;
        p->exemplars = n->exemplars.p;
        p->n_exemplars = n->exemplars.n;
    }
    return OK;
}

enum err nhcb_take(struct work *w, uint32_t id, bool *ret_done)
{
    struct cache_part part = w->c->parts.p[id];
    struct nhcb_work *n = &w->nhcb;
    *ret_done = false;
    if (n->open && (part.part == PART_NONE || part.group != n->group))
        TRY(nhcb_flush(w));
    if (part.part == PART_NONE)
        return OK;
    if (!n->open)
        begin(w, part.group);
    if (part.part == PART_COUNT)
        nhcb_add_count(&n->h, w->x->value);
    else if (part.part == PART_SUM)
        nhcb_add_sum(&n->h, w->x->value);
    else
        nhcb_add_bucket(&n->h, part.le, w->x->value);
    if (w->x->has_exemplar)
        add_exemplars(w);
    *ret_done = w->t->cfg->always_classic != TRI_TRUE;
    if (*ret_done)
        work_see_line(w, id);
    return OK;
}

/* ---- limits ---- */

/* The finest schema whose buckets grow by at least the factor. */
static int32_t schema_of_factor(double factor)
{
    double s = floor(-log2(log2(factor <= 1 ? 1.00271 : factor)));
    return s >= HIST_SCHEMA_MAX ? HIST_SCHEMA_MAX : s <= HIST_SCHEMA_MIN ? HIST_SCHEMA_MIN : (int32_t)s;
}

enum err work_limit_histogram(struct work *w, const struct histogram **h)
{
    const struct scrape_config *cfg = w->t->cfg;
    bool custom = histogram_is_custom(*h);
    if (!custom && cfg->native_min_factor > 0) {
        int32_t max = schema_of_factor(cfg->native_min_factor);
        if ((*h)->schema > max)
            *h = histogram_reduce(w->a, *h, max);
    }
    while (cfg->native_bucket_limit && (*h)->pos.n_buckets + (*h)->neg.n_buckets > cfg->native_bucket_limit) {
        if (custom || (*h)->schema == HIST_SCHEMA_MIN) {
            stat_add(&scrape_stat_bucket_limit, 1);
            return work_fail(w, ERR_LIMIT, "histogram bucket limit exceeded");
        }
        *h = histogram_reduce(w->a, *h, (*h)->schema - 1);
    }
    return OK;
}
