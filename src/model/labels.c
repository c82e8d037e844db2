/* Label sets; see labels.h. */
#include "model/labels.h"

#include <stdlib.h>

#include "base/check.h"

str labels_get(struct labels ls, str name)
{
    for (size_t i = 0; i < ls.n; i++)
        if (str_eq(ls.p[i].name, name))
            return ls.p[i].value;
    return STR_NONE;
}

bool labels_eq(struct labels a, struct labels b)
{
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++)
        if (!str_eq(a.p[i].name, b.p[i].name) || !str_eq(a.p[i].value, b.p[i].value))
            return false;
    return true;
}

int labels_cmp(struct labels a, struct labels b)
{
    size_t n = MIN(a.n, b.n);
    for (size_t i = 0; i < n; i++) {
        int c = str_cmp(a.p[i].name, b.p[i].name);
        if (c == 0)
            c = str_cmp(a.p[i].value, b.p[i].value);
        if (c)
            return c;
    }
    return (a.n > b.n) - (a.n < b.n);
}

struct labels labels_copy(struct arena *a, struct labels ls)
{
    size_t bytes = 0;
    for (size_t i = 0; i < ls.n; i++)
        bytes += ls.p[i].name.n + ls.p[i].value.n;
    struct label *p = arena_array(a, struct label, ls.n);
    char *text = arena_alloc_align(a, bytes, 1);
    for (size_t i = 0; i < ls.n; i++) {
        str name = ls.p[i].name, value = ls.p[i].value;
        if (name.n)
            memcpy(text, name.p, name.n);
        p[i].name = str_n(text, name.n);
        text += name.n;
        if (value.n)
            memcpy(text, value.p, value.n);
        p[i].value = str_n(text, value.n);
        text += value.n;
    }
    return (struct labels){ p, ls.n };
}

/* Flatten to name 0xff value 0xff ... (0xff occurs in no valid UTF-8, so no two sets flatten alike). */
static str labels_flat(struct labels ls, char *stack, size_t stack_n, char **ret_heap)
{
    size_t n = 0;
    for (size_t i = 0; i < ls.n; i++)
        n += ls.p[i].name.n + ls.p[i].value.n + 2;
    char *p = n <= stack_n ? stack : (*ret_heap = mem_alloc(n)), *w = p;
    for (size_t i = 0; i < ls.n; i++) {
        memcpy(w, ls.p[i].name.p, ls.p[i].name.n);
        w += ls.p[i].name.n;
        *w++ = (char)0xff;
        if (ls.p[i].value.n)
            memcpy(w, ls.p[i].value.p, ls.p[i].value.n);
        w += ls.p[i].value.n;
        *w++ = (char)0xff;
    }
    return str_n(p, n);
}

enum { FLAT_STACK_BYTES = 2048 };

hash128 labels_hash128(struct labels ls, uint64_t seed)
{
    char stack[FLAT_STACK_BYTES], *heap = NULL;
    hash128 h = hash128_seed(labels_flat(ls, stack, sizeof(stack), &heap), seed);
    mem_free(heap);
    return h;
}

uint64_t labels_hash(struct labels ls)
{
    char stack[FLAT_STACK_BYTES], *heap = NULL;
    uint64_t h = hash64(labels_flat(ls, stack, sizeof(stack), &heap));
    mem_free(heap);
    return h;
}

static void put_sized(struct buf *b, str s)
{
    if (s.n < 255) {
        buf_u8(b, (uint8_t)s.n);
    } else {
        buf_u8(b, 255);
        buf_u8(b, (uint8_t)s.n);
        buf_u8(b, (uint8_t)(s.n >> 8));
        buf_u8(b, (uint8_t)(s.n >> 16));
    }
    buf_str_add(b, s);
}

uint64_t labels_hash_prometheus(struct labels ls)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    labels_each (l, ls) {
        put_sized(&b, l->name);
        put_sized(&b, l->value);
    }
    return hash_xxh64(buf_str(&b));
}

static bool valid_name(str name, bool colon)
{
    if (name.n == 0 || (name.p[0] >= '0' && name.p[0] <= '9'))
        return false;
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
              (colon && c == ':')))
            return false;
    }
    return true;
}

bool labels_valid_name(str name)
{
    return valid_name(name, false);
}

bool labels_valid_metric_name(str name)
{
    return valid_name(name, true);
}

void labels_print(struct buf *out, struct labels ls)
{
    str name = labels_name(ls);
    bool bare = name.p && labels_valid_metric_name(name);
    if (bare)
        buf_str_add(out, name);
    if (ls.n == (size_t)(bare ? 1 : 0) && bare)
        return;
    buf_u8(out, '{');
    const char *sep = "";
    if (name.p && !bare) {
        buf_go_quote(out, name);
        sep = ", ";
    }
    labels_each (l, ls) {
        if (str_eq(l->name, LABEL_NAME))
            continue;
        buf_str_add(out, str_c(sep));
        if (labels_valid_name(l->name))
            buf_str_add(out, l->name);
        else
            buf_go_quote(out, l->name);
        buf_u8(out, '=');
        buf_go_quote(out, l->value);
        sep = ", ";
    }
    buf_u8(out, '}');
}

void labels_json(struct json_out *j, struct labels ls)
{
    json_obj(j);
    labels_each (l, ls) {
        json_key(j, l->name);
        json_str(j, l->value);
    }
    json_obj_end(j);
}

bool labels_read_json(struct arena *a, str text, struct labels *ret)
{
    struct json_in j;
    struct label_builder b;
    lb_init(&b, a);
    json_in_init(&j, a, text);
    if (json_next(&j) != JSON_TOK_OBJ)
        return false;
    while (json_next(&j) == JSON_TOK_KEY) {
        str name = arena_str(a, j.text);
        if (json_next(&j) != JSON_TOK_STR)
            return false;
        lb_set(&b, name, arena_str(a, j.text));
    }
    *ret = lb_labels(&b);
    return j.tok == JSON_TOK_OBJ_END;
}

void lb_init(struct label_builder *b, struct arena *a)
{
    *b = (struct label_builder){ .a = a };
}

void lb_reset(struct label_builder *b, struct labels base)
{
    vec_clear(&b->v);
    avec_reserve(b->a, &b->v, base.n + 4);
    if (base.n)
        memcpy(b->v.p, base.p, base.n * sizeof(*base.p));
    b->v.n = base.n;
}

void lb_set(struct label_builder *b, str name, str value)
{
    vec_each (struct label, l, &b->v)
        if (str_eq(l->name, name)) {
            l->value = value;
            return;
        }
    avec_push(b->a, &b->v, ((struct label){ name, value }));
}

void lb_del(struct label_builder *b, str name)
{
    for (size_t i = 0; i < b->v.n; i++)
        if (str_eq(b->v.p[i].name, name)) {
            vec_remove(&b->v, i);
            return;
        }
}

str lb_get(const struct label_builder *b, str name)
{
    for (size_t i = 0; i < b->v.n; i++)
        if (str_eq(b->v.p[i].name, name))
            return b->v.p[i].value;
    return STR_NONE;
}

static int label_cmp(const void *a, const void *b)
{
    return str_cmp(((const struct label *)a)->name, ((const struct label *)b)->name);
}

/* Nearly always few and nearly always sorted already: insertion sort, qsort for many. */
static void sort_by_name(struct label *p, size_t n)
{
    if (n > 32) {
        qsort(p, n, sizeof(*p), label_cmp);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct label l = p[i];
        size_t k = i;
        for (; k > 0 && str_cmp(p[k - 1].name, l.name) > 0; k--)
            p[k] = p[k - 1];
        p[k] = l;
    }
}

struct labels lb_labels(struct label_builder *b)
{
    struct label *p = arena_array(b->a, struct label, b->v.n);
    size_t n = 0;
    vec_each (struct label, l, &b->v)
        if (l->value.n)
            p[n++] = *l;
    sort_by_name(p, n);
    return (struct labels){ p, n };
}

enum err labels_sort(struct label *p, size_t *n, struct err_text *reterr)
{
    sort_by_name(p, *n);
    for (size_t i = 1; i < *n; i++)
        if (str_eq(p[i].name, p[i - 1].name))
            return err_fail(reterr, ERR_INVALID, "label name \"" STR_FMT "\" is not unique", (int)MIN(p[i].name.n, 128),
                            p[i].name.p);
    size_t kept = 0;
    for (size_t i = 0; i < *n; i++)
        if (p[i].value.n)
            p[kept++] = p[i];
    *n = kept;
    return OK;
}
