/* The functions every template has: and, or, not, len, index, slice, comparison, print*, html, js, urlquery. */
#include "tmpl/tmpl_int.h"

static enum err f_never(struct tmpl_call *c, const struct tmpl_val *v, size_t n,
                        struct tmpl_val *ret) /* and, or: tmpl_exec.c */
{
    (void)c, (void)v, (void)n, (void)ret;
    return ERR_UNSUPPORTED;
}

static enum err f_not(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    (void)c, (void)n;
    *ret = tmpl_bool(!tmpl_truth(v));
    return OK;
}

static enum err f_call(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    (void)n, (void)ret;
    if (v->kind <= TMPL_NIL)
        return err_fail(c->why, ERR_EXEC, "call of nil");
    return err_fail(c->why, ERR_EXEC, "non-function of type %s", tmpl_type_name(v));
}

static enum err f_len(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    (void)n;
    switch (v->kind) {
    case TMPL_STR:
        *ret = tmpl_int((int64_t)v->s.n);
        return OK;
    case TMPL_LIST:
        *ret = tmpl_int((int64_t)v->list.n);
        return OK;
    case TMPL_MAP:
        *ret = tmpl_int((int64_t)v->map.n);
        return OK;
    case TMPL_NONE:
    case TMPL_NIL:
        return err_fail(c->why, ERR_EXEC, "len of nil pointer");
    default:
        return err_fail(c->why, ERR_EXEC, "len of type %s", tmpl_type_name(v));
    }
}

static enum err index_arg(struct tmpl_call *c, const struct tmpl_val *i, size_t n, size_t *ret)
{
    if (i->kind <= TMPL_NIL)
        return err_fail(c->why, ERR_EXEC, "cannot index slice/array with nil");
    if (i->kind != TMPL_INT && i->kind != TMPL_UINT)
        return err_fail(c->why, ERR_EXEC, "cannot index slice/array with type %s", tmpl_type_name(i));
    if ((i->kind == TMPL_INT && i->i < 0) || i->u > n)
        return err_fail(c->why, ERR_EXEC, "index out of range: %lld", (long long)i->i);
    *ret = (size_t)i->u;
    return OK;
}

static const struct tmpl_type byte_type = { .name = "uint8" };

static enum err index_one(struct tmpl_call *c, const struct tmpl_val *v, const struct tmpl_val *i, struct tmpl_val *ret)
{
    size_t k = 0, n = v->kind == TMPL_LIST ? v->list.n : v->s.n;
    switch (v->kind) {
    case TMPL_LIST:
    case TMPL_STR:
        TRY(index_arg(c, i, n, &k));
        if (k >= n)
            return err_fail(c->why, ERR_EXEC, "index out of range: %zu", k);
        *ret = v->kind == TMPL_LIST
                   ? v->list.p[k]
                   : (struct tmpl_val){ .kind = TMPL_UINT, .type = &byte_type, .u = (unsigned char)v->s.p[k] };
        return OK;
    case TMPL_MAP: {
        if (i->kind <= TMPL_NIL)
            return err_fail(c->why, ERR_EXEC, "value is nil; should be of type string");
        if (i->kind != TMPL_STR)
            return err_fail(c->why, ERR_EXEC, "value has type %s; should be string", tmpl_type_name(i));
        const struct tmpl_val *x = tmpl_get(v, i->s);
        *ret = x ? *x : v->type && v->type->elem_str ? tmpl_str(STR("")) : (struct tmpl_val){ .kind = TMPL_NIL };
        return OK;
    }
    case TMPL_NONE:
        return err_fail(c->why, ERR_EXEC, "index of untyped nil");
    case TMPL_NIL:
        return err_fail(c->why, ERR_EXEC, "index of nil pointer");
    default:
        return err_fail(c->why, ERR_EXEC, "can't index item of type %s", tmpl_type_name(v));
    }
}

static enum err f_index(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    if (v->kind <= TMPL_NIL)
        return err_fail(c->why, ERR_EXEC, "index of untyped nil");
    *ret = v[0];
    for (size_t i = 1; i < n; i++) {
        struct tmpl_val from = *ret;
        TRY(index_one(c, &from, &v[i], ret));
    }
    return OK;
}

static enum err f_slice(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    if (v->kind <= TMPL_NIL)
        return err_fail(c->why, ERR_EXEC, "slice of untyped nil");
    if (n > 4)
        return err_fail(c->why, ERR_EXEC, "too many slice indexes: %zu", n - 1);
    if (v->kind != TMPL_STR && v->kind != TMPL_LIST)
        return err_fail(c->why, ERR_EXEC, "can't slice item of type %s", tmpl_type_name(v));
    if (v->kind == TMPL_STR && n == 4)
        return err_fail(c->why, ERR_EXEC, "cannot 3-index slice a string");
    size_t len = v->kind == TMPL_STR ? v->s.n : v->list.n, at[3] = { 0, len, len };
    for (size_t i = 1; i < n; i++)
        TRY(index_arg(c, &v[i], len, &at[i - 1]));
    if (at[0] > at[1])
        return err_fail(c->why, ERR_EXEC, "invalid slice index: %zu > %zu", at[0], at[1]);
    if (at[1] > at[2])
        return err_fail(c->why, ERR_EXEC, "invalid slice index: %zu > %zu", at[1], at[2]);
    *ret = *v;
    if (v->kind == TMPL_STR) {
        ret->s = str_n(v->s.p + at[0], at[1] - at[0]);
    } else {
        ret->list.p = v->list.p + at[0];
        ret->list.n = at[1] - at[0];
    }
    return OK;
}

/* ---- comparison ---- */
static enum err bad_comparison(struct tmpl_call *c)
{
    return err_fail(c->why, ERR_EXEC, "incompatible types for comparison");
}

static bool is_int(const struct tmpl_val *v)
{
    return v->kind == TMPL_INT || v->kind == TMPL_UINT;
}

static int cmp_int(const struct tmpl_val *a, const struct tmpl_val *b)
{
    if (a->kind == TMPL_INT && a->i < 0)
        return b->kind == TMPL_INT ? (a->i > b->i) - (a->i < b->i) : -1;
    if (b->kind == TMPL_INT && b->i < 0)
        return 1;
    return (a->u > b->u) - (a->u < b->u);
}

static bool same_str_type(const struct tmpl_val *a, const struct tmpl_val *b)
{
    return a->kind == TMPL_STR && b->kind == TMPL_STR;
}

static enum err equal(struct tmpl_call *c, const struct tmpl_val *a, const struct tmpl_val *b, bool *ret)
{
    *ret = false;
    if (a->kind <= TMPL_NIL || b->kind <= TMPL_NIL) {
        *ret = a->kind <= TMPL_NIL && b->kind <= TMPL_NIL;
        return OK;
    }
    if (is_int(a) && is_int(b)) {
        *ret = cmp_int(a, b) == 0;
        return OK;
    }
    if (same_str_type(a, b)) {
        *ret = str_eq(a->s, b->s);
        return OK;
    }
    if (a->kind != b->kind)
        return bad_comparison(c);
    switch (a->kind) {
    case TMPL_BOOL:
        *ret = a->b == b->b;
        return OK;
    case TMPL_FLOAT:
        *ret = a->f == b->f;
        return OK;
    case TMPL_COMPLEX:
        *ret = a->c[0] == b->c[0] && a->c[1] == b->c[1];
        return OK;
    default:
        return err_fail(c->why, ERR_EXEC, "non-comparable type: %s", tmpl_type_name(b));
    }
}

static enum err f_eq(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    bool same = false;
    if (n < 2)
        return err_fail(c->why, ERR_EXEC, "missing argument for comparison");
    for (size_t i = 1; i < n && !same; i++)
        TRY(equal(c, &v[0], &v[i], &same));
    *ret = tmpl_bool(same);
    return OK;
}

static enum err f_ne(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    bool same;
    (void)n;
    TRY(equal(c, &v[0], &v[1], &same));
    *ret = tmpl_bool(!same);
    return OK;
}

static enum err less(struct tmpl_call *c, const struct tmpl_val *a, const struct tmpl_val *b, bool *ret)
{
    if (a->kind <= TMPL_BOOL || a->kind >= TMPL_LIST || a->kind == TMPL_COMPLEX || b->kind <= TMPL_NIL ||
        b->kind >= TMPL_LIST)
        return a->kind == TMPL_BOOL && b->kind > TMPL_NIL && b->kind < TMPL_LIST && b->kind != TMPL_BOOL
                   ? bad_comparison(c)
                   : err_fail(c->why, ERR_EXEC, "invalid type for comparison");
    if (is_int(a) && is_int(b))
        *ret = cmp_int(a, b) < 0;
    else if (same_str_type(a, b))
        *ret = str_cmp(a->s, b->s) < 0;
    else if (a->kind == TMPL_FLOAT && b->kind == TMPL_FLOAT)
        *ret = a->f < b->f;
    else
        return bad_comparison(c);
    return OK;
}

static enum err f_lt(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    bool is = false;
    (void)n;
    TRY(less(c, &v[0], &v[1], &is));
    *ret = tmpl_bool(is);
    return OK;
}

static enum err less_or_equal(struct tmpl_call *c, const struct tmpl_val *v, bool *ret)
{
    TRY(less(c, &v[0], &v[1], ret));
    return *ret ? OK : equal(c, &v[0], &v[1], ret);
}

static enum err f_le(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    bool is = false;
    (void)n;
    TRY(less_or_equal(c, v, &is));
    *ret = tmpl_bool(is);
    return OK;
}

static enum err f_gt(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    bool is = false;
    (void)n;
    TRY(less_or_equal(c, v, &is));
    *ret = tmpl_bool(!is);
    return OK;
}

static enum err f_ge(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    bool is = false;
    (void)n;
    TRY(less(c, &v[0], &v[1], &is));
    *ret = tmpl_bool(!is);
    return OK;
}

/* ---- printing ---- */
static struct tmpl_val take(struct tmpl_call *c, struct buf *b)
{
    struct tmpl_val v = tmpl_str(arena_str(c->a, buf_str(b)));
    buf_deinit(b);
    return v;
}

static enum err f_print(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    struct buf b;
    buf_init(&b, TMPL_OUTPUT_BYTES_MAX);
    sprint(&b, v, n);
    *ret = take(c, &b);
    return OK;
}

static enum err f_println(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    struct buf b;
    buf_init(&b, TMPL_OUTPUT_BYTES_MAX);
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_u8(&b, ' ');
        sprint(&b, &v[i], 1);
    }
    buf_u8(&b, '\n');
    *ret = take(c, &b);
    return OK;
}

static enum err f_printf(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    struct buf b;
    buf_init(&b, TMPL_OUTPUT_BYTES_MAX);
    tmpl_printf(&b, v[0].s, v + 1, n - 1);
    *ret = take(c, &b);
    return OK;
}

/* Arguments as one text, missing values as <no value>. */
static void join_args(struct buf *b, const struct tmpl_val *v, size_t n)
{
    struct tmpl_val tmp[16];
    if (n == 1 && v->kind <= TMPL_NIL) {
        buf_lit(b, "<no value>");
        return;
    }
    if (n > ARRAY_LEN(tmp)) {
        sprint(b, v, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        tmp[i] = v[i].kind == TMPL_NONE ? tmpl_str(STR("<no value>")) : v[i];
    sprint(b, tmp, n);
}

static enum err escaped(struct tmpl_call *c, const struct tmpl_val *v, size_t n, void (*fn)(struct buf *, str),
                        struct tmpl_val *ret)
{
    AUTO_BUF struct buf plain;
    struct buf b;
    buf_init(&plain, TMPL_OUTPUT_BYTES_MAX);
    buf_init(&b, TMPL_OUTPUT_BYTES_MAX);
    join_args(&plain, v, n);
    fn(&b, buf_str(&plain));
    *ret = take(c, &b);
    return OK;
}

void escape_html(struct buf *out, str s)
{
    for (size_t i = 0; i < s.n; i++)
        switch (s.p[i]) {
        case 0:
            buf_lit(out, "\xef\xbf\xbd");
            break;
        case '"':
            buf_lit(out, "&#34;");
            break;
        case '\'':
            buf_lit(out, "&#39;");
            break;
        case '&':
            buf_lit(out, "&amp;");
            break;
        case '<':
            buf_lit(out, "&lt;");
            break;
        case '>':
            buf_lit(out, "&gt;");
            break;
        default:
            buf_u8(out, (uint8_t)s.p[i]);
        }
}

void escape_js(struct buf *out, str s)
{
    while (s.n) {
        uint32_t r;
        size_t w = str_utf8_get(s, &r);
        if (r == '\\' || r == '\'' || r == '"') {
            buf_u8(out, '\\');
            buf_u8(out, (uint8_t)r);
        } else if (r == '<' || r == '>' || r == '&' || r == '=') {
            buf_printf(out, "\\u%04X", r);
        } else if (r < 0x20 || (r >= 0x7f && !str_rune_is_printable(r))) {
            buf_printf(out, "\\u%04X", r);
        } else {
            buf_add(out, s.p, w);
        }
        s = str_skip(s, w);
    }
}

void escape_query(struct buf *out, str s)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("-_.~", c));
        if (c == ' ')
            buf_u8(out, '+');
        else if (plain)
            buf_u8(out, c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

static enum err f_html(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    return escaped(c, v, n, escape_html, ret);
}

static enum err f_js(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    return escaped(c, v, n, escape_js, ret);
}

static enum err f_urlquery(struct tmpl_call *c, const struct tmpl_val *v, size_t n, struct tmpl_val *ret)
{
    return escaped(c, v, n, escape_query, ret);
}

static const struct tmpl_func builtins[] = {
    { "and", "vv*", f_never },
    { "or", "vv*", f_never },
    { "not", "v", f_not },
    { "call", "vv*", f_call },
    { "len", "v", f_len },
    { "index", "vv*", f_index },
    { "slice", "vv*", f_slice },
    { "eq", "vv*", f_eq },
    { "ne", "vv", f_ne },
    { "lt", "vv", f_lt },
    { "le", "vv", f_le },
    { "gt", "vv", f_gt },
    { "ge", "vv", f_ge },
    { "print", "v*", f_print },
    { "println", "v*", f_println },
    { "printf", "sv*", f_printf },
    { "html", "v*", f_html },
    { "js", "v*", f_js },
    { "urlquery", "v*", f_urlquery },
};

const struct tmpl_func *builtin_func(str name)
{
    for (size_t i = 0; i < ARRAY_LEN(builtins); i++)
        if (str_eq(name, str_c(builtins[i].name)))
            return &builtins[i];
    return NULL;
}

bool builtin_is_and_or(const struct tmpl_func *f, bool *ret_or)
{
    *ret_or = f == &builtins[1];
    return f == &builtins[0] || f == &builtins[1];
}
