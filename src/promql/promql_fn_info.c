/* info(): adds the labels of info series (target_info, or what the second argument selects) to the series of the
 * first that agree in the identifying labels, instance and job. Semantics: Prometheus 3.x, promql/info.go. */
#include "promql/promql_int.h"

static const str identifying[] = { STR_INIT("instance"), STR_INIT("job") };

struct info {
    struct pq_run *run;
    struct pq_worker *w;
    const struct pq_tl *tl;
    const struct matcher *data; /* matchers of data labels */
    size_t n_data;
    const struct matcher *names; /* matchers of __name__ */
    size_t n_names;
    bool positive; /* one of them says what the name is, not only what it is not */
    struct pq_vec base;
    bool *ignored; /* base series that are info series themselves */
    const struct promql_series *series;
    size_t n_series;
    double **seen_ms;        /* per info series and step: time of its sample, absent if none */
    struct pq_index metrics; /* hash of the name -> number */
    uint32_t *metric_of;
    size_t n_metrics;
    struct pq_index joins; /* metric, identity -> head of chain of series */
    size_t *next;
    VEC(struct pq_series) out;
    struct pq_index out_index;
};

static hash128 identity(const struct info *f, struct labels ls, size_t metric, struct buf *b)
{
    (void)f;
    hash128 h = pq_hash_keep(ls, identifying, 2, b);
    h.lo ^= hash_u64(metric + 1);
    return h;
}

/* The second argument's matchers, by kind. Without one on the name, target_info is meant. */
static enum err split_matchers(struct info *f, const struct pq_node *n)
{
    size_t total = n->n_args > 1 ? n->args[1]->sel->n_matchers : 0;
    struct matcher *data = arena_array(f->run->a, struct matcher, total + 1),
                   *names = arena_array(f->run->a, struct matcher, total + 1);
    for (size_t i = 0; i < total; i++) {
        const struct matcher *m = &n->args[1]->sel->matchers[i];
        if (str_eq(m->name, LABEL_NAME))
            names[f->n_names++] = *m;
        else
            data[f->n_data++] = *m;
    }
    f->data = data;
    f->names = names;
    if (n->n_args < 2)
        names[f->n_names++] = (struct matcher){ .type = MATCH_EQ, .name = LABEL_NAME, .value = STR("target_info") };
    for (size_t i = 0; i < f->n_names; i++)
        f->positive = f->positive || names[i].type == MATCH_EQ || names[i].type == MATCH_RE;
    return OK;
}

static void mark_ignored(struct info *f)
{
    f->ignored = arena_zarray(f->run->a, bool, f->base.n + 1);
    for (size_t i = 0; i < f->base.n; i++) {
        bool all = f->positive;
        for (size_t k = 0; k < f->n_names; k++)
            all = all && matcher_matches(&f->names[k], pq_metric_name(f->base.p[i].labels));
        f->ignored[i] = all;
    }
}

/* Info series are looked up at the time of the first selector below the first argument: follows its @ and offset, and
 * those of subqueries around it. */
static bool follow_time(const struct pq_node *n, struct pq_node *when)
{
    struct pq_node saved = *when;
    if (n->kind == PQ_VECTOR || n->kind == PQ_MATRIX || n->kind == PQ_SUBQUERY) {
        if (n->has_at) {
            when->has_at = true;
            when->at_ms = n->at_ms;
            when->offset_ms = 0;
        }
        when->offset_ms += n->offset_ms;
        if (n->kind != PQ_SUBQUERY)
            return true;
    }
    for (size_t i = 0; i < n->n_args; i++)
        if (follow_time(n->args[i], when))
            return true;
    *when = saved;
    return false;
}

static bool has_identity(const struct info *f)
{
    for (size_t i = 0; i < f->base.n; i++)
        for (size_t k = 0; k < ARRAY_LEN(identifying); k++)
            if (!f->ignored[i] && labels_get(f->base.p[i].labels, identifying[k]).n > 0)
                return true;
    return false;
}

/* Reads the sample times of the info series into rows. */
static enum err read_info(struct info *f, const struct pq_node *sel)
{
    struct arena *a = f->run->a;
    struct pq_rows rows = {
        .id = ++f->run->next_id, .base = BASE_TIMESTAMP, .sel = sel, .tl = *f->tl, .series = f->series, .n = f->n_series
    };
    f->seen_ms = arena_array(a, double *, f->n_series + 1);
    for (size_t i = 0; i < f->n_series; i++) {
        size_t n;
        struct pq_row row = { .v = arena_array(a, double, f->tl->n) };
        TRY(pq_rows_compute(f->w, &rows, i, &row, &n));
        f->seen_ms[i] = row.v;
    }
    return OK;
}

static void index_info(struct info *f)
{
    struct buf b;
    buf_init(&b, 0);
    f->metric_of = arena_array(f->run->a, uint32_t, f->n_series + 1);
    f->next = arena_array(f->run->a, size_t, f->n_series + 1);
    for (size_t i = 0; i < f->n_series; i++) {
        bool is_new;
        size_t *m = pq_index_put(&f->metrics, hash128_seed(pq_metric_name(f->series[i].labels), 1), &is_new);
        if (is_new)
            *m = f->n_metrics++;
        f->metric_of[i] = (uint32_t)*m;
        size_t *head = pq_index_put(&f->joins, identity(f, f->series[i].labels, *m, &b), &is_new);
        f->next[i] = is_new ? SIZE_MAX : *head;
        *head = i;
    }
    buf_deinit(&b);
}

static enum err select_info(struct info *f, const struct pq_node *n)
{
    struct arena *a = f->run->a;
    struct pq_node *sel = arena_new(a, struct pq_node);
    struct promql_vector_sel *vs = arena_new(a, struct promql_vector_sel);
    struct matcher *ms = arena_array(a, struct matcher, f->n_names + f->n_data + 1);
    size_t k = 0;
    if (!f->positive)
        ms[k++] = (struct matcher){ .type = MATCH_EQ, .name = LABEL_NAME, .value = STR("target_info") };
    for (size_t i = 0; i < f->n_names; i++)
        ms[k++] = f->names[i];
    for (size_t i = 0; i < f->n_data; i++)
        ms[k++] = f->data[i];
    *vs = (struct promql_vector_sel){ .matchers = ms, .n_matchers = k };
    *sel = (struct pq_node){ .kind = PQ_VECTOR, .type = PROMQL_VECTOR, .sel = vs, .pos = n->pos };
    follow_time(n->args[0], sel);
    if (!has_identity(f))
        return OK;
    TRY(pq_select(f->run, sel, f->tl, &f->series, &f->n_series));
    TRY(read_info(f, sel));
    index_info(f);
    return OK;
}

/* ---- joining ---- */
static enum err fail_same_time(struct info *f, size_t x, size_t y, double seconds)
{
    struct buf b;
    buf_init(&b, 0);
    buf_lit(&b, "found duplicate series for info metric: existing ");
    pq_labels_string(&b, f->series[x].labels);
    buf_printf(&b, " @ %lld, new ", (long long)llround(seconds * 1000));
    pq_labels_string(&b, f->series[y].labels);
    buf_printf(&b, " @ %lld", (long long)llround(seconds * 1000));
    enum err e = pq_fail(f->w, ERR_EXEC, STR_FMT, STR_ARG(buf_str(&b)));
    buf_deinit(&b);
    return e;
}

/* The info series of a metric and identity that is valid at a step: the one with the newest sample. */
static enum err newest(struct info *f, size_t head, size_t step, size_t *ret)
{
    *ret = SIZE_MAX;
    for (size_t i = head; i != SIZE_MAX; i = f->next[i]) {
        double t = f->seen_ms[i][step];
        if (pq_is_none(t))
            continue;
        if (*ret == SIZE_MAX || t > f->seen_ms[*ret][step])
            *ret = i;
        else if (t == f->seen_ms[*ret][step])
            return fail_same_time(f, i, *ret, t);
    }
    return OK;
}

static bool is_data_label(const struct info *f, str name)
{
    for (size_t i = 0; i < f->n_data; i++)
        if (str_eq(f->data[i].name, name))
            return true;
    return f->n_data == 0;
}

static enum err add_labels(struct info *f, struct label_builder *b, struct labels base, struct labels info)
{
    labels_each (l, info) {
        if (str_eq(l->name, LABEL_NAME) || !is_data_label(f, l->name))
            continue;
        str old = lb_get(b, l->name);
        if (old.n > 0 && !labels_has(base, l->name) && !str_eq(old, l->value))
            return pq_fail(f->w, ERR_EXEC, "conflicting label: " STR_FMT, STR_ARG(l->name));
        if (!labels_has(base, l->name))
            lb_set(b, l->name, l->value);
    }
    return OK;
}

static bool empty_matches(const struct info *f)
{
    for (size_t i = 0; i < f->n_data; i++)
        if (!matcher_matches(&f->data[i], STR("")))
            return false;
    return true;
}

static enum err put(struct info *f, const struct pq_series *in, struct labels ls, size_t step)
{
    bool is_new;
    size_t *at = pq_index_put(&f->out_index, labels_hash128(ls, 0), &is_new);
    if (is_new) {
        *at = f->out.n;
        struct pq_series s = { .labels = ls, .drop_name = in->drop_name, .v = pq_row_new(f->run->a, f->tl->n) };
        avec_push(f->run->a, &f->out, s);
    }
    struct pq_series *out = &f->out.p[*at];
    if (!pq_is_none(out->v[step]))
        return pq_fail_same_labelset(f->w);
    out->v[step] = in->v[step];
    if (in->h && in->h[step]) {
        if (!out->h)
            out->h = arena_zarray(f->run->a, const struct histogram *, f->tl->n);
        out->h[step] = in->h[step];
    }
    return OK;
}

/* The series that join base series i at a step, one per info metric; reuse: same as at the last step. */
static enum err join_series(struct info *f, size_t i, const size_t *heads, size_t *chosen, size_t *last)
{
    const struct pq_series *in = &f->base.p[i];
    struct labels labels = LABELS_NONE;
    bool have = false;
    for (size_t s = 0; s < f->tl->n; s++) {
        if (!pq_row_has(in, s))
            continue;
        size_t n_found = 0;
        bool same = have;
        for (size_t m = 0; m < f->n_metrics; m++) {
            chosen[m] = SIZE_MAX;
            if (heads[m] != SIZE_MAX)
                TRY(newest(f, heads[m], s, &chosen[m]));
            n_found += chosen[m] != SIZE_MAX;
            same = same && chosen[m] == last[m];
            last[m] = chosen[m];
        }
        if (n_found == 0 && !empty_matches(f))
            continue;
        if (!same) {
            struct label_builder b;
            lb_init(&b, f->run->a);
            lb_reset(&b, in->labels);
            for (size_t m = 0; m < f->n_metrics; m++)
                if (chosen[m] != SIZE_MAX)
                    TRY(add_labels(f, &b, in->labels, f->series[chosen[m]].labels));
            labels = lb_labels(&b);
            have = true;
        }
        TRY(put(f, in, labels, s));
    }
    return OK;
}

static enum err join_all(struct info *f)
{
    struct arena *a = f->run->a;
    size_t *heads = arena_array(a, size_t, f->n_metrics + 1), *chosen = arena_array(a, size_t, f->n_metrics + 1),
           *last = arena_array(a, size_t, f->n_metrics + 1);
    struct buf b;
    buf_init(&b, 0);
    enum err e = OK;
    for (size_t i = 0; i < f->base.n && e == OK; i++) {
        const struct pq_series *in = &f->base.p[i];
        if (f->ignored[i]) {
            for (size_t s = 0; s < f->tl->n && e == OK; s++)
                e = pq_row_has(in, s) ? put(f, in, in->labels, s) : OK;
            continue;
        }
        for (size_t m = 0; m < f->n_metrics; m++) {
            size_t *head = pq_index_get(&f->joins, identity(f, in->labels, m, &b));
            heads[m] = head ? *head : SIZE_MAX;
        }
        e = join_series(f, i, heads, chosen, last);
        if (e == OK)
            e = pq_poll(f->w);
    }
    buf_deinit(&b);
    return e;
}

enum err pq_eval_info(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    struct info f = { .run = r, .w = pq_main(r), .tl = tl };
    TRY(pq_eval(r, n->args[0], tl, &f.base));
    TRY(split_matchers(&f, n));
    mark_ignored(&f);
    enum err e = select_info(&f, n);
    if (e == OK)
        e = join_all(&f);
    pq_index_free(&f.metrics);
    pq_index_free(&f.joins);
    pq_index_free(&f.out_index);
    TRY(e);
    pq_drop_samples(r, f.base.samples);
    *ret = (struct pq_vec){ .p = f.out.p, .n = f.out.n };
    for (size_t i = 0; i < ret->n; i++)
        ret->samples += pq_row_count(ret->p[i].v, tl->n);
    return pq_take_samples(f.w, ret->samples);
}
