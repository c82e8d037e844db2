/* The store as OpenMetrics text, piece by piece (manual: transfer.h).
 *
 * Names are sorted into families: by the metadata that is known, foo_bucket, foo_count and foo_sum are the histogram foo. The
 * lines of a family stand together; of a histogram or summary, the lines of one time of one metric do (buckets, count, sum), as the
 * format wants it; all other series come one after the other. A family whose type is not known, or whose names do not fit
 * its type in OpenMetrics, is written with the type unknown under each of its names. */
#include <math.h>
#include <stdlib.h>

#include "base/num.h"
#include "transfer/transfer_int.h"
#include "wire/expo.h"

#define PIECE_BYTES (64u << 10)

struct named { /* one value of __name__ */
    str family, name;
    struct metric_meta meta;
    bool composed; /* part of a histogram or summary */
};
struct member { /* of a group: one series */
    uint64_t id;
    struct labels labels;
    unsigned rank;  /* buckets and quantiles, then count, then sum */
    double bound;   /* le, quantile */
    uint32_t group; /* series with equal labels besides bound and name */
};
struct members {
    struct member *p;
    size_t n, cap;
};
struct line_set { /* one day of one member */
    struct xor_samples s;
    size_t at;
};
struct transfer_export {
    struct tsdb *db;
    struct tsdb_query *q;
    struct tsdb_cursor *c;
    struct transfer_export_config cfg;
    struct arena a, family_a, day_a;
    struct named *names;
    size_t n_names, next; /* next: first name of the next family */
    /* the family being written */
    bool head_written;
    struct member *m;
    size_t n_m, m_at, m_end; /* group [m_at, m_end) */
    struct named *first;
    bool *counted; /* per member: it had a sample */
    struct tsdb_exemplars *ex;
    size_t n_ex;
    int64_t day, last_day;
    VEC(struct line_set) lines;
    bool done;
    struct transfer_export_result r;
};

/* ---- families ---- */
static bool part_of(str name, str suffix, str *family)
{
    if (!str_has_suffix(name, suffix) || name.n == suffix.n)
        return false;
    *family = str_take(name, name.n - suffix.n);
    return true;
}

static bool meta_of(struct transfer_export *x, str name, struct metric_meta *ret)
{
    struct tsdb_metadata *m;
    size_t n = 0;
    if (tsdb_metadata(x->db, name, 1, &x->a, &m, &n) || !n)
        return false;
    *ret = m[0].meta;
    return true;
}

static void classify(struct transfer_export *x, struct named *n)
{
    static const struct {
        str suffix;
        unsigned types;
    } parts[] = {
        { STR_INIT("_bucket"), 1u << METRIC_HISTOGRAM | 1u << METRIC_GAUGE_HISTOGRAM },
        { STR_INIT("_count"), 1u << METRIC_HISTOGRAM | 1u << METRIC_SUMMARY },
        { STR_INIT("_sum"), 1u << METRIC_HISTOGRAM | 1u << METRIC_SUMMARY },
        { STR_INIT("_gcount"), 1u << METRIC_GAUGE_HISTOGRAM },
        { STR_INIT("_gsum"), 1u << METRIC_GAUGE_HISTOGRAM },
    };
    struct metric_meta m = { 0 };
    str family;
    n->family = n->name;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (part_of(n->name, parts[i].suffix, &family) && meta_of(x, family, &m) && parts[i].types >> m.type & 1) {
            n->family = family;
            n->meta = m;
            n->composed = true;
            return;
        }
    bool own = meta_of(x, n->name, &m);
    if (part_of(n->name, STR("_total"), &family) &&
        ((own && m.type == METRIC_COUNTER) || (!own && meta_of(x, family, &m) && m.type == METRIC_COUNTER))) {
        n->family = family;
        n->meta = m;
    } else if (part_of(n->name, STR("_info"), &family) &&
               ((own && m.type == METRIC_INFO) || (!own && meta_of(x, family, &m) && m.type == METRIC_INFO))) {
        n->family = family;
        n->meta = m;
    } else if (own) {
        n->meta = m;
        if (m.type == METRIC_SUMMARY)
            n->composed = true;
        else if (m.type != METRIC_GAUGE && m.type != METRIC_UNKNOWN && m.type != METRIC_STATESET)
            n->meta.type =
                METRIC_UNKNOWN; /* a counter without _total, a histogram's name alone: no such line in OpenMetrics */
    }
}

static int by_family(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    int c = str_cmp(x->family, y->family);
    if (c)
        return c;
    return x->meta.type != y->meta.type ? (x->meta.type > y->meta.type) - (x->meta.type < y->meta.type)
                                        : str_cmp(x->name, y->name);
}

/* Two names that claim one family with different types (foo as a gauge beside foo_total as a counter): the family can stand for
 * one only, the others stand for themselves. */
static void resolve(struct transfer_export *x)
{
    bool again = false;
    for (size_t i = 1; i < x->n_names; i++) {
        struct named *n = &x->names[i];
        if (!str_eq(n->family, x->names[i - 1].family) ||
            (n->meta.type == x->names[i - 1].meta.type && n->composed && x->names[i - 1].composed))
            continue;
        struct named *lone = n->family.n < n->name.n ? n : &x->names[i - 1];
        lone->family = lone->name;
        lone->composed = false;
        lone->meta.type = METRIC_UNKNOWN;
        again = true;
    }
    if (again)
        qsort(x->names, x->n_names, sizeof(*x->names), by_family);
}

enum err transfer_export_open(struct tsdb *db, const struct transfer_export_config *cfg, struct transfer_export **ret,
                              struct err_text *reterr)
{
    struct transfer_export *x = mem_zalloc(sizeof(*x));
    struct tsdb_stats st;
    str *names;
    x->db = db;
    x->cfg = *cfg;
    arena_init(&x->a, 0);
    arena_init(&x->family_a, 0);
    arena_init(&x->day_a, 0);
    enum err e = tsdb_stats(db, false, &x->a, &st);
    if (!e) {
        x->cfg.from_ms = MAX(cfg->from_ms, st.min_ms);
        x->cfg.to_ms = MIN(cfg->to_ms, st.max_ms);
        e = tsdb_query_open(db, x->cfg.from_ms, MAX(x->cfg.to_ms, x->cfg.from_ms), &x->q);
    }
    if (!e)
        e = tsdb_label_values(x->q, LABEL_NAME, NULL, 0, 0, &x->a, &names, &x->n_names);
    if (e) {
        transfer_export_close(x);
        return err_fail(reterr, e, "cannot read the store: %s", err_describe(e));
    }
    x->c = tsdb_cursor_new(x->q);
    x->names = arena_zarray(&x->a, struct named, x->n_names + 1);
    for (size_t i = 0; i < x->n_names; i++) {
        x->names[i].name = names[i];
        classify(x, &x->names[i]);
    }
    if (x->n_names > 1)
        qsort(x->names, x->n_names, sizeof(*x->names), by_family);
    resolve(x);
    x->done = x->cfg.from_ms > x->cfg.to_ms;
    return *ret = x, OK;
}

void transfer_export_close(struct transfer_export *x)
{
    if (!x)
        return;
    for (size_t i = 0; i < x->lines.n; i++)
        xor_samples_deinit(&x->lines.p[i].s);
    vec_free(&x->lines);
    if (x->c)
        tsdb_cursor_free(x->c);
    tsdb_query_close(x->q);
    arena_deinit(&x->a);
    arena_deinit(&x->family_a);
    arena_deinit(&x->day_a);
    mem_free(x);
}

void transfer_export_result(const struct transfer_export *x, struct transfer_export_result *ret)
{
    *ret = x->r;
    ret->incomplete = tsdb_query_incomplete(x->q, &ret->why);
}

/* ---- the series of a family ---- */
static str bound_label(const struct named *n)
{
    return n->meta.type == METRIC_SUMMARY ? LABEL_QUANTILE : LABEL_BUCKET;
}

static int by_group(const void *a, const void *b, void *bound)
{
    const struct member *x = a, *y = b;
    const str *skip = bound;
    size_t i = 0, j = 0;
    for (;; i++, j++) { /* labels besides name and bound */
        while (i < x->labels.n && (str_eq(x->labels.p[i].name, LABEL_NAME) || str_eq(x->labels.p[i].name, *skip)))
            i++;
        while (j < y->labels.n && (str_eq(y->labels.p[j].name, LABEL_NAME) || str_eq(y->labels.p[j].name, *skip)))
            j++;
        if (i == x->labels.n || j == y->labels.n)
            return (i < x->labels.n) - (j < y->labels.n);
        int c = str_cmp(x->labels.p[i].name, y->labels.p[j].name);
        c = c ? c : str_cmp(x->labels.p[i].value, y->labels.p[j].value);
        if (c)
            return c;
    }
}

static int by_place(const void *a, const void *b, void *bound)
{
    const struct member *x = a, *y = b;
    int c = by_group(a, b, bound);
    if (!c)
        c = (x->rank > y->rank) - (x->rank < y->rank);
    if (!c)
        c = (x->bound > y->bound) - (x->bound < y->bound);
    return c ? c : labels_cmp(x->labels, y->labels);
}

static enum err select_name(struct transfer_export *x, const struct named *n, struct members *v,
                            struct err_text *reterr)
{
    struct transfer_selector all = { NULL, 0 };
    size_t n_sel = x->cfg.n_selectors ? x->cfg.n_selectors : 1;
    for (size_t k = 0; k < n_sel; k++) {
        const struct transfer_selector *sel = x->cfg.n_selectors ? &x->cfg.selectors[k] : &all;
        struct matcher *m = arena_array(&x->family_a, struct matcher, sel->n + 1);
        if (sel->n)
            memcpy(m, sel->m, sel->n * sizeof(*m));
        m[sel->n] = (struct matcher){ .type = MATCH_EQ, .name = LABEL_NAME, .value = n->name };
        struct tsdb_series *s;
        size_t n_s;
        enum err e = tsdb_select(x->q, m, sel->n + 1, 0, &x->family_a, &s, &n_s);
        if (e)
            return err_fail(reterr, e, "cannot select " STR_FMT ": %s", STR_ARG(n->name), err_describe(e));
        for (size_t i = 0; i < n_s; i++) {
            struct member one = { .id = s[i].id, .labels = s[i].labels };
            str bound = n->composed ? labels_get(s[i].labels, bound_label(n)) : STR_NONE;
            if (n->composed && (!bound.p || !num_parse_f64(bound, &one.bound)))
                one.rank = str_has_suffix(n->name, STR("count")) ? 1 : 2;
            avec_push(&x->family_a, v, one);
        }
    }
    return OK;
}

static enum err load_exemplars(struct transfer_export *x, const struct named *n, size_t n_names,
                               struct err_text *reterr)
{
    x->n_ex = 0;
    for (size_t i = 0; i < n_names; i++) {
        bool allowed = (n[i].meta.type == METRIC_COUNTER && n[i].family.n < n[i].name.n) ||
                       (n[i].composed && str_has_suffix(n[i].name, STR("_bucket")));
        struct matcher m = { .type = MATCH_EQ, .name = LABEL_NAME, .value = n[i].name };
        if (!allowed) /* no other lines may have one */
            continue;
        enum err e = tsdb_exemplars(x->q, &m, 1, &x->family_a, &x->ex, &x->n_ex);
        return e ? err_fail(reterr, e, "cannot read exemplars: %s", err_describe(e)) : OK;
    }
    return OK;
}

/* The next family with series; false: none is left. */
static bool next_family(struct transfer_export *x, enum err *ret_err, struct err_text *reterr)
{
    while (x->next < x->n_names) {
        size_t from = x->next, to = from + 1;
        while (to < x->n_names && str_eq(x->names[to].family, x->names[from].family))
            to++;
        x->next = to;
        x->first = &x->names[from];
        x->head_written = false;
        arena_reset(&x->family_a);
        struct members v = { 0 };
        for (size_t i = from; i < to; i++)
            if ((*ret_err = select_name(x, &x->names[i], &v, reterr)))
                return false;
        if (!v.n)
            continue;
        if ((*ret_err = load_exemplars(x, x->first, to - from, reterr)))
            return false;
        str bound = x->first->composed ? bound_label(x->first) : STR_NONE;
        if (v.n > 1)
            qsort_r(v.p, v.n, sizeof(*v.p), by_place, &bound);
        size_t k = 0;
        for (size_t i = 0; i < v.n; i++) { /* selected twice: once */
            if (i && labels_eq(v.p[i].labels, v.p[k - 1].labels))
                continue;
            v.p[k] = v.p[i];
            bool same = k && x->first->composed && by_group(&v.p[k], &v.p[k - 1], &bound) == 0;
            v.p[k].group = k == 0 ? 0 : v.p[k - 1].group + !same;
            k++;
        }
        x->m = v.p;
        x->n_m = k;
        x->m_at = x->m_end = 0;
        x->counted = arena_zarray(&x->family_a, bool, k + 1);
        return true;
    }
    return false;
}

static bool next_group(struct transfer_export *x)
{
    x->m_at = x->m_end;
    if (x->m_at >= x->n_m)
        return false;
    while (x->m_end < x->n_m && x->m[x->m_end].group == x->m[x->m_at].group)
        x->m_end++;
    x->day = transfer_day(x->cfg.from_ms);
    x->last_day = transfer_day(x->cfg.to_ms);
    return true;
}

/* ---- lines ---- */
static enum err read_day(struct transfer_export *x, struct err_text *reterr)
{
    int64_t from = MAX(x->day * DAY_MS, x->cfg.from_ms), to = MIN(x->day * DAY_MS + DAY_MS - 1, x->cfg.to_ms);
    size_t n = x->m_end - x->m_at;
    while (x->lines.n < n)
        vec_push(&x->lines, ((struct line_set){ 0 }));
    for (size_t i = 0; i < n; i++) {
        struct line_set *l = &x->lines.p[i];
        struct tsdb_points p;
        xor_samples_clear(&l->s);
        l->at = 0;
        enum err e = tsdb_read(x->c, x->m[x->m_at + i].id, from, to, &p);
        if (e)
            return err_fail(reterr, e, "cannot read a series: %s", err_describe(e));
        for (size_t k = 0; k < p.n; k++) {
            bool hist = p.h && p.h[k];
            if (hist ? is_stale(p.h[k]->sum) : is_stale(p.v[k]))
                x->r.left_out_stale++;
            else if (hist)
                x->r.left_out_histograms++;
            else
                xor_samples_push(&l->s, p.ts[k], p.v[k], NULL, 0);
        }
        if (l->s.n && !x->counted[x->m_at + i]) {
            x->counted[x->m_at + i] = true;
            x->r.series++;
        }
    }
    return OK;
}

static const struct exemplar *exemplar_for(struct transfer_export *x, struct labels ls, int64_t before, int64_t ts)
{
    for (size_t i = 0; i < x->n_ex; i++) {
        if (!labels_eq(x->ex[i].labels, ls))
            continue;
        for (size_t k = x->ex[i].n; k-- > 0;)
            if (x->ex[i].p[k].ts_ms <= ts && x->ex[i].p[k].ts_ms > before)
                return &x->ex[i].p[k];
        return NULL;
    }
    return NULL;
}

static void put_line(struct transfer_export *x, struct expo_out *o, const struct member *m, struct line_set *l)
{
    int64_t ts = l->s.ts[l->at];
    const struct exemplar *e = NULL;
    if (!x->head_written) {
        x->head_written = true;
        x->r.families++;
        expo_out_family(o,
                        x->first->name.n > x->first->family.n && x->first->meta.type == METRIC_COUNTER
                            ? x->first->name
                            : x->first->family,
                        &x->first->meta);
    }
    if (x->n_ex)
        e = exemplar_for(x, m->labels, l->at ? l->s.ts[l->at - 1] : x->day * DAY_MS - 1, ts);
    expo_out_sample(o, m->labels, l->s.v[l->at], &ts, e);
    x->r.samples++;
    x->r.exemplars += e != NULL;
    l->at++;
}

static void put_day(struct transfer_export *x, struct buf *out)
{
    struct expo_out o = { out, EXPO_OPENMETRICS };
    size_t n = x->m_end - x->m_at;
    for (;;) { /* a time after the other, of all members that have it */
        int64_t ts = INT64_MAX;
        for (size_t i = 0; i < n; i++)
            if (x->lines.p[i].at < x->lines.p[i].s.n)
                ts = MIN(ts, x->lines.p[i].s.ts[x->lines.p[i].at]);
        if (ts == INT64_MAX)
            return;
        for (size_t i = 0; i < n; i++) {
            struct line_set *l = &x->lines.p[i];
            if (l->at < l->s.n && l->s.ts[l->at] == ts)
                put_line(x, &o, &x->m[x->m_at + i], l);
        }
    }
}

bool transfer_export_next(struct transfer_export *x, struct buf *out, enum err *ret_err, struct err_text *reterr)
{
    size_t began = out->n;
    *ret_err = OK;
    while (!x->done) {
        bool in_group = x->m_at < x->m_end && x->day <= x->last_day;
        if (!in_group && !next_group(x)) {
            if (next_family(x, ret_err, reterr))
                continue;
            x->done = true;
            break;
        }
        if ((*ret_err = read_day(x, reterr)))
            return false;
        put_day(x, out);
        x->day++;
        if (out->n - began >= PIECE_BYTES)
            return true;
    }
    if (*ret_err)
        return false;
    struct expo_out o = { out, EXPO_OPENMETRICS };
    expo_out_end(&o);
    return false;
}
