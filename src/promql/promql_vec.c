/* Labels as the evaluator needs them (subsets, hashes over subsets, upstream's spelling) and sets of series. */
#include <stdlib.h>

#include "promql/promql_int.h"

bool pq_any_nan(const double *v, size_t n)
{
    lane_masks nan = { 0 };
    size_t i = 0;
    for (; i + 2 <= n; i += 2) {
        lanes x;
        memcpy(&x, v + i, sizeof(x));
        nan |= x != x;
    }
    bool any = (nan[0] | nan[1]) != 0;
    for (; i < n; i++)
        any = any || v[i] != v[i];
    return any;
}

/* True if every value is at least the one before (so there is no NaN, if there are two). */
bool pq_is_growing(const double *v, size_t n)
{
    size_t i = 1;
    while (i + 32 <= n) { /* gauges are found out early */
        lane_masks ok = { -1, -1 };
        for (size_t k = 0; k < 32; k += 2, i += 2) {
            lanes x, y;
            memcpy(&x, v + i - 1, sizeof(x));
            memcpy(&y, v + i, sizeof(y));
            ok &= y >= x;
        }
        if (!(ok[0] & ok[1]))
            return false;
    }
    for (; i < n; i++)
        if (!(v[i] >= v[i - 1]))
            return false;
    return n > 1;
}

size_t pq_row_count(const double *v, size_t n)
{
    size_t c = 0;
    if (!pq_any_nan(v, n))
        return n;
    for (size_t i = 0; i < n; i++)
        c += !pq_is_none(v[i]);
    return c;
}

double *pq_row_new(struct arena *a, size_t n)
{
    double *v = arena_array(a, double, n);
    for (size_t i = 0; i < n; i++)
        v[i] = pq_none();
    return v;
}

/* ---- subsets of labels ---- */
bool pq_is_metadata_label(str name)
{
    return name.n > 4 && name.p[0] == '_' && name.p[1] == '_' &&
           (str_eq(name, STR("__name__")) || str_eq(name, STR("__type__")) || str_eq(name, STR("__unit__")));
}

bool pq_labels_have_metadata(struct labels ls)
{
    labels_each (l, ls)
        if (pq_is_metadata_label(l->name))
            return true;
    return false;
}

struct labels pq_labels_drop_metadata(struct arena *a, struct labels ls)
{
    if (!pq_labels_have_metadata(ls))
        return ls;
    struct label *p = arena_array(a, struct label, ls.n);
    size_t n = 0;
    labels_each (l, ls)
        if (!pq_is_metadata_label(l->name))
            p[n++] = *l;
    return (struct labels){ p, n };
}

/* Walks labels and sorted names together; true for labels that are among the names. */
static bool name_among(const str *names, size_t n, size_t *at, str name)
{
    while (*at < n) {
        int c = str_cmp(names[*at], name);
        if (c == 0)
            return true;
        if (c > 0)
            return false;
        ++*at;
    }
    return false;
}

static struct labels labels_filter(struct arena *a, struct labels ls, const str *names, size_t n, bool keep)
{
    struct label *p = arena_array(a, struct label, ls.n + 1);
    size_t k = 0, at = 0;
    labels_each (l, ls)
        if (name_among(names, n, &at, l->name) == keep)
            p[k++] = *l;
    return (struct labels){ p, k };
}

struct labels pq_labels_keep(struct arena *a, struct labels ls, const str *names, size_t n)
{
    return labels_filter(a, ls, names, n, true);
}

struct labels pq_labels_without(struct arena *a, struct labels ls, const str *names, size_t n)
{
    return labels_filter(a, ls, names, n, false);
}

static hash128 hash_filtered(struct labels ls, const str *names, size_t n, bool keep, struct buf *b)
{
    size_t at = 0;
    buf_clear(b);
    labels_each (l, ls)
        if (name_among(names, n, &at, l->name) == keep) {
            buf_lstr(b, l->name);
            buf_lstr(b, l->value);
        }
    return hash128_seed(buf_str(b), 0);
}

hash128 pq_hash_keep(struct labels ls, const str *names, size_t n, struct buf *scratch)
{
    return hash_filtered(ls, names, n, true, scratch);
}

hash128 pq_hash_without(struct labels ls, const str *names, size_t n, struct buf *scratch)
{
    return hash_filtered(ls, names, n, false, scratch);
}

static int name_cmp(const void *x, const void *y)
{
    return str_cmp(*(const str *)x, *(const str *)y);
}

str *pq_names_sorted(struct arena *a, const str *names, size_t n, size_t extra)
{
    str *s = arena_array(a, str, n + extra + 1);
    if (n)
        memcpy(s, names, n * sizeof(*s));
    qsort(s, n, sizeof(*s), name_cmp);
    return s;
}

void pq_names_insert(str *names, size_t *n, str name)
{
    size_t i = *n;
    while (i > 0 && str_cmp(names[i - 1], name) > 0) {
        names[i] = names[i - 1];
        i--;
    }
    names[i] = name;
    ++*n;
}

str pq_metric_name(struct labels ls)
{
    str s = labels_name(ls);
    return s.p ? s : STR("");
}

/* ---- upstream's spelling ---- */
void pq_quote_buf(struct buf *out, str s)
{
    buf_u8(out, '"');
    while (s.n > 0) {
        uint32_t cp;
        size_t k = str_utf8_get(s, &cp);
        bool invalid = cp == 0xfffd && k == 1;
        unsigned char c = (unsigned char)s.p[0];
        if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (c == '\n')
            buf_lit(out, "\\n");
        else if (c == '\t')
            buf_lit(out, "\\t");
        else if (c == '\r')
            buf_lit(out, "\\r");
        else if (c == '\a')
            buf_lit(out, "\\a");
        else if (c == '\b')
            buf_lit(out, "\\b");
        else if (c == '\f')
            buf_lit(out, "\\f");
        else if (c == '\v')
            buf_lit(out, "\\v");
        else if (invalid || c < 0x20 || c == 0x7f)
            buf_printf(out, "\\x%02x", c);
        else
            buf_add(out, s.p, k);
        s = str_skip(s, k);
    }
    buf_u8(out, '"');
}

str pq_quote(struct arena *a, str s)
{
    struct buf b;
    buf_init(&b, 0);
    pq_quote_buf(&b, s);
    str ret = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return ret;
}

void pq_labels_string(struct buf *out, struct labels ls)
{
    buf_u8(out, '{');
    labels_each (l, ls) {
        if (l != ls.p)
            buf_lit(out, ", ");
        if (labels_valid_name(l->name))
            buf_str_add(out, l->name);
        else
            pq_quote_buf(out, l->name);
        buf_u8(out, '=');
        pq_quote_buf(out, l->value);
    }
    buf_u8(out, '}');
}

/* ---- sets of series ---- */
enum err pq_fail_same_labelset(struct pq_worker *w)
{
    return pq_fail(w, ERR_EXEC, "vector cannot contain metrics with the same labelset");
}

static enum err series_merge(struct pq_run *r, const struct pq_tl *tl, struct pq_series *into,
                             const struct pq_series *s)
{
    double *v = arena_array(r->a, double, tl->n);
    memcpy(v, into->v, tl->n * sizeof(*v));
    const struct histogram **h = NULL;
    if (into->h || s->h) {
        h = arena_zarray(r->a, const struct histogram *, tl->n);
        if (into->h)
            memcpy(h, into->h, tl->n * sizeof(*h));
    }
    for (size_t i = 0; i < tl->n; i++) {
        if (pq_is_none(s->v[i]))
            continue;
        if (!pq_is_none(v[i]))
            return pq_fail_same_labelset(pq_main(r));
        v[i] = s->v[i];
        if (s->h)
            h[i] = s->h[i];
    }
    into->v = v;
    into->h = h;
    return OK;
}

enum err pq_vec_merge_same(struct pq_run *r, const struct pq_tl *tl, struct pq_vec *vec)
{
    if (vec->n < 2)
        return OK;
    struct pq_index index = { 0 };
    size_t n = 0;
    enum err e = OK;
    for (size_t i = 0; i < vec->n && e == OK; i++) {
        bool is_new;
        size_t *at = pq_index_put(&index, labels_hash128(vec->p[i].labels, 0), &is_new);
        if (is_new) {
            *at = n;
            vec->p[n++] = vec->p[i];
        } else {
            e = series_merge(r, tl, &vec->p[*at], &vec->p[i]);
        }
    }
    vec->n = n;
    pq_index_free(&index);
    return e;
}

enum err pq_vec_drop_names(struct pq_run *r, const struct pq_tl *tl, struct pq_vec *vec)
{
    bool any = false;
    for (size_t i = 0; i < vec->n; i++) {
        struct pq_series *s = &vec->p[i];
        if (s->drop_name && pq_labels_have_metadata(s->labels)) {
            s->labels = pq_labels_drop_metadata(r->a, s->labels);
            any = true;
        }
        s->drop_name = false;
    }
    return any ? pq_vec_merge_same(r, tl, vec) : OK;
}

/* ---- natural order of label values (sort_by_label): digits compare as numbers ---- */
static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static str natural_chunk(str *s)
{
    size_t k = 1;
    bool digits = is_digit(s->p[0]);
    while (k < s->n && is_digit(s->p[k]) == digits)
        k++;
    str ret = str_take(*s, k);
    *s = str_skip(*s, k);
    return ret;
}

static str skip_zeros(str s)
{
    while (s.n > 1 && s.p[0] == '0')
        s = str_skip(s, 1);
    return s;
}

bool pq_natural_less(str a, str b)
{
    while (a.n > 0 && b.n > 0) {
        str x = natural_chunk(&a), y = natural_chunk(&b);
        if (str_eq(x, y))
            continue;
        if (is_digit(x.p[0]) && is_digit(y.p[0])) {
            str nx = skip_zeros(x), ny = skip_zeros(y);
            if (nx.n != ny.n)
                return nx.n < ny.n;
            int c = str_cmp(nx, ny);
            if (c != 0)
                return c < 0;
            return x.n < y.n; /* the same number with fewer leading zeros first */
        }
        return str_cmp(x, y) < 0;
    }
    return a.n == 0 && b.n > 0;
}
