/* Operators between two vectors: matching by labels, set operators, fill modifiers.
 *
 * Series of both sides get the number of their match group once, by a hash over the matching labels. Groups are
 * worked on one after another, all steps at a time. Within a group a step has at most one series on the "one" side
 * (else the query fails); which one that is may change over time, so results are collected per pair of series and
 * pairs with equal result labels are joined at the end. Semantics and error texts: Prometheus 3.x,
 * promql/engine.go (VectorBinop, VectorAnd, VectorOr, VectorUnless). */
#include <stdlib.h>

#include "promql/promql_int.h"

#define NO_SERIES SIZE_MAX

/* ---- match groups ---- */
struct side {
    struct pq_vec vec;
    uint32_t *group;
    size_t *members, *first; /* by group */
    bool *any;               /* by step: does any series have a sample? */
};
struct join {
    struct pq_run *run;
    struct pq_worker *w;
    const struct pq_node *node;
    const struct promql_matching *match;
    enum promql_op op;
    bool return_bool, swapped; /* swapped: the left side is the "one" side */
    const struct pq_tl *tl;
    str *names; /* matching labels, sorted */
    size_t n_names;
    struct side many, one;
    size_t n_groups;
    /* results */
    VEC(struct pq_series) out;
    struct pq_index index; /* result labels -> out */
    const double *fill_many, *fill_one;
    /* of the group being worked on, by step */
    size_t *one_at; /* index into one.vec, NO_SERIES */
    bool *matched;  /* one-to-one: a result exists; fills: the one side met a partner */
};

static hash128 match_hash(const struct join *j, struct labels ls, struct buf *scratch)
{
    return j->match->on ? pq_hash_keep(ls, j->names, j->n_names, scratch)
                        : pq_hash_without(ls, j->names, j->n_names, scratch);
}

static struct labels match_labels(const struct join *j, struct labels ls)
{
    struct arena *a = j->run->a;
    return j->match->on ? pq_labels_keep(a, ls, j->names, j->n_names) : pq_labels_without(a, ls, j->names, j->n_names);
}

static void number_side(struct join *j, struct side *s, struct pq_index *index, struct buf *scratch)
{
    s->group = arena_array(j->run->a, uint32_t, s->vec.n + 1);
    for (size_t i = 0; i < s->vec.n; i++) {
        bool is_new;
        size_t *at = pq_index_put(index, match_hash(j, s->vec.p[i].labels, scratch), &is_new);
        if (is_new)
            *at = j->n_groups++;
        s->group[i] = (uint32_t)*at;
    }
}

static void list_members(struct join *j, struct side *s)
{
    struct arena *a = j->run->a;
    s->members = arena_array(a, size_t, s->vec.n + 1);
    s->first = arena_zarray(a, size_t, j->n_groups + 2);
    for (size_t i = 0; i < s->vec.n; i++)
        s->first[s->group[i] + 1]++;
    for (size_t g = 0; g < j->n_groups; g++)
        s->first[g + 1] += s->first[g];
    size_t *at = arena_array(a, size_t, j->n_groups + 1);
    memcpy(at, s->first, j->n_groups * sizeof(*at));
    for (size_t i = 0; i < s->vec.n; i++)
        s->members[at[s->group[i]]++] = i;
    s->any = arena_zarray(a, bool, j->tl->n);
    for (size_t i = 0; i < s->vec.n; i++)
        for (size_t t = 0; t < j->tl->n; t++)
            s->any[t] = s->any[t] || pq_row_has(&s->vec.p[i], t);
}

static enum err join_init(struct join *j, struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl)
{
    const struct promql_binary *b = &n->e->binary;
    *j = (struct join){ .run = r,
                        .w = pq_main(r),
                        .node = n,
                        .match = &b->match,
                        .op = b->op,
                        .return_bool = b->return_bool,
                        .tl = tl,
                        .swapped = b->match.card == PQ_ONE_TO_MANY };
    struct pq_vec lhs, rhs;
    TRY(pq_eval(r, n->args[0], tl, &lhs));
    TRY(pq_eval(r, n->args[1], tl, &rhs));
    j->many.vec = j->swapped ? rhs : lhs;
    j->one.vec = j->swapped ? lhs : rhs;
    j->names = pq_names_sorted(r->a, b->match.labels, b->match.n_labels, 1);
    j->n_names = b->match.n_labels;
    if (!b->match.on)
        pq_names_insert(j->names, &j->n_names, LABEL_NAME);
    struct pq_index index = { 0 };
    struct buf scratch;
    buf_init(&scratch, 0);
    number_side(j, &j->many, &index, &scratch);
    number_side(j, &j->one, &index, &scratch);
    pq_index_free(&index);
    buf_deinit(&scratch);
    list_members(j, &j->many);
    list_members(j, &j->one);
    return OK;
}

static enum err join_finish(struct join *j, struct pq_vec *ret)
{
    pq_drop_samples(j->run, j->many.vec.samples + j->one.vec.samples);
    *ret = (struct pq_vec){ .p = j->out.p };
    for (size_t i = 0; i < j->out.n; i++) {
        size_t n = pq_row_count(j->out.p[i].v, j->tl->n);
        if (n == 0)
            continue;
        ret->p[ret->n++] = j->out.p[i];
        ret->samples += n;
    }
    TRY(pq_take_samples(j->w, ret->samples));
    return pq_vec_merge_same(j->run, j->tl, ret);
}

/* ---- arithmetic and comparison ---- */
static enum err fail_duplicate(struct join *j, const struct pq_series *x, const struct pq_series *y)
{
    struct buf b;
    buf_init(&b, 0);
    if (labels_cmp(x->labels, y->labels) > 0) {
        const struct pq_series *t = x;
        x = y;
        y = t;
    }
    buf_lit(&b, "found duplicate series for the match group ");
    pq_labels_string(&b, match_labels(j, x->labels));
    buf_printf(&b, " on the %s hand-side of the operation: [", j->swapped ? "left" : "right");
    pq_labels_string(&b, x->labels);
    buf_lit(&b, ", ");
    pq_labels_string(&b, y->labels);
    buf_lit(&b, "];many-to-many matching not allowed: matching labels must be unique on one side");
    enum err e = pq_fail(j->w, ERR_EXEC, STR_FMT, STR_ARG(buf_str(&b)));
    buf_deinit(&b);
    return e;
}

/* Is anything to be matched at this step? */
static bool step_active(const struct join *j, size_t s)
{
    if (j->many.any[s] && j->one.any[s])
        return true;
    return (j->fill_many || j->fill_one) && (j->many.any[s] || j->one.any[s]);
}

/* The one side of a group, step by step. */
static enum err find_one(struct join *j, size_t g)
{
    for (size_t s = 0; s < j->tl->n; s++)
        j->one_at[s] = NO_SERIES;
    for (size_t k = j->one.first[g]; k < j->one.first[g + 1]; k++) {
        size_t i = j->one.members[k];
        const struct pq_series *x = &j->one.vec.p[i];
        for (size_t s = 0; s < j->tl->n; s++) {
            if (!pq_row_has(x, s) || !step_active(j, s))
                continue;
            if (j->one_at[s] != NO_SERIES)
                return fail_duplicate(j, &j->one.vec.p[j->one_at[s]], x);
            j->one_at[s] = i;
        }
    }
    return OK;
}

static struct labels result_labels(struct join *j, struct labels many, struct labels one)
{
    struct arena *a = j->run->a;
    const struct promql_matching *m = j->match;
    struct labels ls = many;
    if (pq_op_changes_schema(j->op) || (j->return_bool && !j->run->delayed))
        ls = pq_labels_drop_metadata(a, ls);
    if (m->card == PQ_ONE_TO_ONE) {
        const str *names = j->names;
        size_t n = j->n_names;
        str *plain = NULL;
        if (!m->on) { /* ignoring() leaves the name to the rule above */
            plain = pq_names_sorted(a, m->labels, m->n_labels, 0);
            names = plain;
            n = m->n_labels;
        }
        ls = m->on ? pq_labels_keep(a, ls, names, n) : pq_labels_without(a, ls, names, n);
    }
    if (m->n_include == 0)
        return ls;
    struct label_builder b;
    lb_init(&b, a);
    lb_reset(&b, ls);
    for (size_t i = 0; i < m->n_include; i++) {
        str v = labels_get(one, m->include[i]);
        lb_set(&b, m->include[i], v.n ? v : STR(""));
    }
    return lb_labels(&b);
}

static struct pq_series *result_series(struct join *j, struct labels ls, bool drop_name)
{
    bool is_new;
    size_t *at = pq_index_put(&j->index, labels_hash128(ls, 0), &is_new);
    if (is_new) {
        *at = j->out.n;
        struct pq_series s = { .labels = ls, .drop_name = drop_name, .v = pq_row_new(j->run->a, j->tl->n) };
        avec_push(j->run->a, &j->out, s);
    }
    return &j->out.p[*at];
}

/* An operand at one step: a sample of a series, or a fill value. */
static struct pq_elem elem_at(const struct pq_series *s, const double *fill, size_t step)
{
    if (!s)
        return (struct pq_elem){ *fill, NULL };
    return (struct pq_elem){ s->v[step], s->h ? s->h[step] : NULL };
}

/* Computes step s of a pair. Returns false if there is no result at all (types that do not go together). */
static bool pair_step(struct join *j, const struct pq_series *many, const struct pq_series *one, size_t s,
                      struct pq_elem *ret, bool *keep)
{
    struct pq_elem m = elem_at(many, j->fill_many, s), o = elem_at(one, j->fill_one, s);
    struct pq_elem l = j->swapped ? o : m, r = j->swapped ? m : o;
    if (!pq_elem_binary(j->w, j->node->pos, j->op, l, r, ret, keep))
        return false;
    if (j->return_bool) {
        *ret = (struct pq_elem){ *keep ? 1 : 0, NULL };
        *keep = true;
    }
    return true;
}

static enum err put_result(struct join *j, struct pq_series *out, size_t s, struct pq_elem el)
{
    if (!pq_is_none(out->v[s]))
        return pq_fail_same_labelset(j->w);
    out->v[s] = el.h ? 0 : el.f;
    if (el.h) {
        if (!out->h)
            out->h = arena_zarray(j->run->a, const struct histogram *, j->tl->n);
        out->h[s] = el.h;
    }
    return OK;
}

/* Which result labels a group has already produced at each step: equal ones are an error of the query. */
struct seen {
    struct pq_index index; /* hash of labels and step */
};

static enum err check_unique(struct join *j, struct seen *seen, struct labels ls, size_t step)
{
    if (j->match->card == PQ_ONE_TO_ONE) {
        if (j->matched[step])
            return pq_fail(
                j->w, ERR_EXEC,
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)");
        return OK;
    }
    if (!seen)
        return OK;
    hash128 h = labels_hash128(ls, 0);
    h.lo ^= hash_u64(step + 1);
    bool is_new;
    *pq_index_put(&seen->index, h, &is_new) = 1;
    if (!is_new)
        return pq_fail(j->w, ERR_EXEC, "multiple matches for labels: grouping labels must ensure unique matches");
    return OK;
}

/* One series of the many side (NULL: filled) against whatever the one side has. */
static enum err join_series(struct join *j, const struct pq_series *many, struct seen *seen)
{
    size_t last_one = NO_SERIES - 1;
    struct labels labels = { 0 };
    struct pq_series *out = NULL;
    for (size_t s = 0; s < j->tl->n; s++) {
        if ((many && !pq_row_has(many, s)) || !step_active(j, s))
            continue;
        size_t o = j->one_at[s];
        if (many ? o == NO_SERIES && !j->fill_one : o == NO_SERIES || j->matched[s])
            continue;
        const struct pq_series *one = o == NO_SERIES ? NULL : &j->one.vec.p[o];
        struct pq_elem el = { 0 };
        bool keep;
        if (!pair_step(j, many, one, s, &el, &keep))
            continue;
        if (o != last_one) {
            struct labels m = many ? many->labels : match_labels(j, one->labels);
            labels = result_labels(j, m, one ? one->labels : match_labels(j, many->labels));
            last_one = o;
            out = NULL;
        }
        TRY(check_unique(j, seen, labels, s));
        j->matched[s] = true;
        if (!keep)
            continue;
        if (!out)
            out = result_series(j, labels, j->run->delayed && (j->return_bool || (many && many->drop_name)));
        TRY(put_result(j, out, s, el));
    }
    return OK;
}

static enum err join_group(struct join *j, size_t g)
{
    size_t n_many = j->many.first[g + 1] - j->many.first[g], n_one = j->one.first[g + 1] - j->one.first[g];
    if ((n_one == 0 && !j->fill_one) || (n_many == 0 && !j->fill_many && n_one < 2))
        return OK;
    TRY(find_one(j, g));
    memset(j->matched, 0, j->tl->n * sizeof(*j->matched));
    struct seen seen = { 0 };
    enum err e = OK;
    for (size_t k = j->many.first[g]; k < j->many.first[g + 1] && e == OK; k++)
        e = join_series(j, &j->many.vec.p[j->many.members[k]], n_many > 1 ? &seen : NULL);
    if (e == OK && j->fill_many)
        e = join_series(j, NULL, NULL);
    pq_index_free(&seen.index);
    return e;
}

enum err pq_eval_vector_binary(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    struct join j;
    TRY(join_init(&j, r, n, tl));
    const struct promql_matching *m = j.match;
    /* As upstream has it: with group_right, too, fill_right stands in for a missing series of the "one" side. */
    j.fill_many = m->has_fill_left ? &m->fill_left : NULL;
    j.fill_one = m->has_fill_right ? &m->fill_right : NULL;
    j.one_at = arena_array(r->a, size_t, tl->n);
    j.matched = arena_array(r->a, bool, tl->n);
    enum err e = OK;
    for (size_t g = 0; g < j.n_groups && e == OK; g++) {
        e = join_group(&j, g);
        if (e == OK)
            e = pq_poll(j.w);
    }
    pq_index_free(&j.index);
    return e == OK ? join_finish(&j, ret) : e;
}

/* ---- set operators ---- */
/* By group and step: does the side have a sample? */
static enum err presence(struct join *j, const struct side *s, const uint8_t **ret)
{
    TRY(pq_room(j->w, j->n_groups * j->tl->n));
    uint8_t *p = arena_zarray(j->run->a, uint8_t, j->n_groups * j->tl->n + 1);
    for (size_t i = 0; i < s->vec.n; i++) {
        uint8_t *row = p + s->group[i] * j->tl->n;
        for (size_t t = 0; t < j->tl->n; t++)
            row[t] |= pq_row_has(&s->vec.p[i], t);
    }
    *ret = p;
    return OK;
}

/* Adds series i of a side with the samples of those steps at which the group's presence on the other side is `want`. */
static void add_masked(struct join *j, const struct side *s, size_t i, const uint8_t *present, bool want)
{
    const struct pq_series *in = &s->vec.p[i];
    const uint8_t *row = present + s->group[i] * j->tl->n;
    struct pq_series out = *in;
    out.v = arena_array(j->run->a, double, j->tl->n);
    for (size_t t = 0; t < j->tl->n; t++)
        out.v[t] = (row[t] != 0) == want ? in->v[t] : pq_none();
    avec_push(j->run->a, &j->out, out);
}

enum err pq_eval_set_op(struct pq_run *r, const struct pq_node *n, const struct pq_tl *tl, struct pq_vec *ret)
{
    struct join j;
    TRY(join_init(&j, r, n, tl));
    if (j.op == PQ_OR) {
        const uint8_t *left;
        TRY(presence(&j, &j.many, &left));
        for (size_t i = 0; i < j.many.vec.n; i++)
            avec_push(r->a, &j.out, j.many.vec.p[i]);
        for (size_t i = 0; i < j.one.vec.n; i++) {
            add_masked(&j, &j.one, i, left, false);
            TRY(pq_poll(j.w));
        }
    } else {
        const uint8_t *right;
        TRY(presence(&j, &j.one, &right));
        for (size_t i = 0; i < j.many.vec.n; i++) {
            add_masked(&j, &j.many, i, right, j.op == PQ_AND);
            TRY(pq_poll(j.w));
        }
    }
    return join_finish(&j, ret);
}
