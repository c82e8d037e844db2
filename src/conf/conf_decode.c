/* Tree -> structs, driven by the schema's rows: types, unknown and duplicate keys, nested structs, lists, checks. */
#include <stdio.h>

#include "base/hash.h"
#include "base/check.h"
#include "base/num.h"
#include "conf/conf_int.h"

#define MAP_NAME     conf_keyset
#define MAP_KEY      str
#define MAP_VALUE    char
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

size_t conf_type_size(enum conf_type t, const struct conf_schema *s)
{
    switch (t) {
    case CONF_STR:
    case CONF_URL:
        return sizeof(str);
    case CONF_SECRET:
        return sizeof(struct conf_secret);
    case CONF_BOOL:
        return sizeof(bool);
    case CONF_REGEX:
        return sizeof(struct conf_regex);
    case CONF_ENUM:
        return sizeof(int);
    case CONF_STRUCT:
    case CONF_INLINE:
        return s->size;
    case CONF_PTR:
    case CONF_NODE:
        return sizeof(void *);
    case CONF_LIST:
        return sizeof(struct conf_list);
    case CONF_DICT:
        return sizeof(struct conf_dict);
    default:
        return 8;
    }
}

static const char *kind_name(const struct conf_node *n)
{
    static const char *const names[] = { "nothing", "a scalar", "a list", "a mapping" };
    return names[n->kind];
}

static const char *yaml_tag(const struct conf_node *n)
{
    double d;
    bool b;
    if (n->kind != CONF_SCALAR)
        return n->kind == CONF_SEQ ? "!!seq" : n->kind == CONF_MAP ? "!!map" : "!!null";
    if (!n->plain)
        return "!!str";
    if (conf_text_bool(n->text, &b))
        return "!!bool";
    return !num_parse_f64(n->text, &d) ? "!!str" : str_find_char(n->text, '.') == SIZE_MAX ? "!!int" : "!!float";
}

static enum err wrong_type(struct conf_ctx *cx, const struct conf_node *n, const char *want, const char *go_type)
{
    if (n->kind == CONF_SCALAR)
        return conf_error(cx, n,
                          "expected %s, got \"" STR_FMT "\" (yaml: unmarshal errors: cannot unmarshal %s `" STR_FMT
                          "` into %s)",
                          want, STR_ARG(str_take(n->text, 60)), yaml_tag(n), STR_ARG(str_take(n->text, 60)), go_type);
    return conf_error(cx, n, "expected %s, got %s (yaml: unmarshal errors: cannot unmarshal %s into %s)", want,
                      kind_name(n), yaml_tag(n), go_type);
}

/* ---- scalars ---- */

enum err conf_read_str(struct conf_ctx *cx, const struct conf_node *n, str *ret)
{
    if (n->kind == CONF_SEQ || n->kind == CONF_MAP)
        return wrong_type(cx, n, "a string", "string");
    *ret = n->text;
    return OK;
}

enum err conf_read_duration(struct conf_ctx *cx, const struct conf_node *n, int64_t *ret_ms)
{
    str s = STR_NONE;
    TRY(conf_read_str(cx, n, &s));
    if (n->kind == CONF_NULL)
        *ret_ms = 0;
    else if (s.n == 0)
        return conf_error(cx, n, "empty duration string");
    else if (!num_parse_duration(s, ret_ms))
        return conf_error(cx, n, "not a valid duration string: \"" STR_FMT "\" (examples: 30s, 1m30s, 2h, 15d)",
                          STR_ARG(s));
    return OK;
}

static bool all_digits(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

static enum err read_bytes(struct conf_ctx *cx, const struct conf_node *n, uint64_t *ret)
{
    str s = STR_NONE;
    TRY(conf_read_str(cx, n, &s));
    if (n->kind == CONF_NULL || str_eq(s, STR("0"))) {
        *ret = 0;
        return OK;
    }
    if (num_parse_bytes(s, ret) && !all_digits(s))
        return OK;
    str unit = s;
    while (unit.n && strchr("+-.0123456789", unit.p[0]))
        unit = str_skip(unit, 1);
    if (unit.n == s.n)
        return conf_error(cx, n, "units: invalid " STR_FMT " (examples: 512KB, 15MB, 1.5GB)", STR_ARG(s));
    return conf_error(cx, n, "units: unknown unit " STR_FMT " in " STR_FMT " (examples: 512KB, 15MB, 1.5GB)",
                      STR_ARG(unit), STR_ARG(s));
}

enum err conf_regex_compile(struct conf_ctx *cx, str source, struct conf_regex *ret)
{
    struct err_text et;
    struct rx *rx;
    if (rx_compile(source, true, &rx, &et) != OK)
        return conf_error(cx, NULL, "error parsing regexp: %s", et.msg);
    vec_push(&cx->regexes, rx);
    *ret = (struct conf_regex){ source, rx };
    return OK;
}

enum err conf_read_regex(struct conf_ctx *cx, const struct conf_node *n, struct conf_regex *ret)
{
    str s = STR_NONE;
    TRY(conf_read_str(cx, n, &s));
    cx->at = n;
    return conf_regex_compile(cx, n->kind == CONF_NULL ? STR("") : s, ret);
}

enum err conf_check_url(str url, bool http_only, struct err_text *reterr)
{
    for (size_t i = 0; i < url.n; i++)
        if ((unsigned char)url.p[i] < 0x20 || url.p[i] == 0x7f)
            return err_fail(reterr, ERR_INVALID, "parse \"" STR_FMT "\": net/url: invalid control character in URL",
                            STR_ARG(url));
    size_t colon = str_find(url, STR("://"));
    str scheme = colon == SIZE_MAX ? STR_NONE : str_take(url, colon);
    if (http_only && !str_ieq(scheme, STR("http")) && !str_ieq(scheme, STR("https")))
        return err_fail(reterr, ERR_INVALID, "URL scheme must be 'http' or 'https'");
    if (colon == SIZE_MAX)
        return OK;
    str host = str_skip(url, colon + 3);
    size_t end = 0;
    while (end < host.n && !strchr("/?#", host.p[end]))
        end++;
    host = str_take(host, end);
    for (size_t at; (at = str_find_char(host, '@')) != SIZE_MAX;)
        host = str_skip(host, at + 1);
    if (http_only && (host.n == 0 || host.p[0] == ':'))
        return err_fail(reterr, ERR_INVALID, "host is missing in URL");
    for (size_t i = 0; i < host.n; i++)
        if (host.p[i] == ' ' || host.p[i] == '<' || host.p[i] == '>' || host.p[i] == '"')
            return err_fail(reterr, ERR_INVALID, "parse \"" STR_FMT "\": invalid character \"%c\" in host name",
                            STR_ARG(url), host.p[i]);
    size_t port = host.n && host.p[0] == '[' ? str_find(host, STR("]:")) : str_find_char(host, ':');
    if (port != SIZE_MAX) {
        str digits = str_skip(host, port + (host.p[0] == '[' ? 2 : 1));
        if (digits.n && !all_digits(digits))
            return err_fail(reterr, ERR_INVALID, "parse \"" STR_FMT "\": invalid port \":" STR_FMT "\" after host",
                            STR_ARG(url), STR_ARG(digits));
    }
    return OK;
}

static enum err read_url(struct conf_ctx *cx, const struct conf_node *n, str *ret)
{
    struct err_text et;
    TRY(conf_read_str(cx, n, ret));
    if (ret->n && conf_check_url(*ret, true, &et))
        return conf_error(cx, n, "%s", et.msg);
    return OK;
}

static enum err read_number(struct conf_ctx *cx, const struct conf_node *n, enum conf_type t, uint32_t flags,
                            void *field)
{
    double d;
    int64_t i;
    uint64_t u;
    if (n->kind == CONF_NULL) {
        memset(field, 0, 8);
        return OK;
    }
    bool plain = n->kind == CONF_SCALAR && n->plain;
    bool positive;
    if (t == CONF_FLOAT && plain && num_parse_f64(n->text, &d)) {
        *(double *)field = d;
        positive = d > 0;
    } else if (t == CONF_INT && plain && str_to_i64(n->text, &i)) {
        *(int64_t *)field = i;
        positive = i > 0;
    } else if (t == CONF_UINT && plain && str_to_u64(n->text, &u)) {
        *(uint64_t *)field = u;
        positive = u > 0;
    } else {
        return t == CONF_FLOAT ? wrong_type(cx, n, "a number", "float64")
                               : wrong_type(cx, n, t == CONF_INT ? "a whole number" : "a whole number >= 0",
                                            t == CONF_INT ? "int" : "uint");
    }
    if ((flags & CONF_POSITIVE) && !positive)
        return conf_error(cx, n, "must be greater than 0");
    return OK;
}

enum err conf_read_bool(struct conf_ctx *cx, const struct conf_node *n, bool *ret)
{
    if (n->kind == CONF_NULL) {
        *ret = false;
        return OK;
    }
    if (n->kind != CONF_SCALAR || !n->plain || !conf_text_bool(n->text, ret))
        return wrong_type(cx, n, "true or false", "bool");
    return OK;
}

static enum err read_enum(struct conf_ctx *cx, const struct conf_node *n, const char *const *names, int *ret)
{
    str s = STR_NONE;
    TRY(conf_read_str(cx, n, &s));
    if (n->kind == CONF_NULL)
        return OK;
    AUTO_BUF struct buf list;
    buf_init(&list, 400);
    for (int i = 0; names[i]; i++) {
        if (str_eq(s, str_c(names[i]))) {
            *ret = i;
            return OK;
        }
        buf_printf(&list, "%s%s", list.n ? ", " : "", names[i]);
    }
    return conf_error(cx, n, "unknown value \"" STR_FMT "\", expected one of: " STR_FMT, STR_ARG(s),
                      STR_ARG(buf_str(&list)));
}

/* ---- structs, lists, dicts ---- */

static enum err read_value(struct conf_ctx *cx, const struct conf_node *n, enum conf_type t, const struct conf_field *f,
                           void *field);

static enum err read_list(struct conf_ctx *cx, const struct conf_node *n, const struct conf_field *f,
                          struct conf_list *ret)
{
    *ret = (struct conf_list){ 0 };
    if (n->kind == CONF_NULL)
        return OK;
    if (n->kind != CONF_SEQ)
        return wrong_type(cx, n, "a list", "a list");
    size_t size = conf_type_size(f->of, f->schema);
    char *p = arena_zalloc(cx->a, MAX(n->n * size, 1));
    ret->p = p;
    for (size_t i = 0; i < n->n && cx->n_errors < CONF_DIAGS_MAX; i++) {
        const struct conf_node *item = n->items[i];
        if (item->kind == CONF_NULL && (f->flags & CONF_NULL_OK))
            continue;
        if (item->kind == CONF_NULL && f->empty_text)
            IGNORE_ERR(conf_error(cx, item, "%s", f->empty_text));
        else
            IGNORE_ERR(read_value(cx, item, f->of, f, p + size * ret->n++));
    }
    return OK;
}

static enum err read_dict(struct conf_ctx *cx, const struct conf_node *n, const struct conf_field *f,
                          struct conf_dict *ret)
{
    *ret = (struct conf_dict){ 0 };
    if (n->kind == CONF_NULL)
        return OK;
    if (n->kind != CONF_MAP)
        return wrong_type(cx, n, "a mapping", "a mapping");
    size_t size = conf_type_size(f->of, f->schema);
    char *p = arena_zalloc(cx->a, MAX(n->n * size, 1));
    ret->p = p;
    ret->keys = arena_zarray(cx->a, str, MAX(n->n, 1));
    struct conf_keyset seen = { 0 };
    for (size_t i = 0; i < n->n && cx->n_errors < CONF_DIAGS_MAX; i++) {
        const struct conf_node *k = n->items[2 * i];
        bool is_new;
        str key;
        if (conf_read_str(cx, k, &key))
            continue;
        conf_keyset_put(&seen, key, &is_new);
        if (!is_new) {
            IGNORE_ERR(conf_error(cx, k, "key \"" STR_FMT "\" already set in map", STR_ARG(key)));
            continue;
        }
        ret->keys[ret->n] = key;
        IGNORE_ERR(read_value(cx, n->items[2 * i + 1], f->of, f, p + size * ret->n++));
    }
    conf_keyset_free(&seen);
    return OK;
}

static void set_defaults(const struct conf_schema *s, void *obj)
{
    if (s->defaults)
        memcpy(obj, s->defaults, s->size);
    else
        memset(obj, 0, s->size);
    for (size_t i = 0; i < s->n_fields; i++)
        if (s->fields[i].type == CONF_STRUCT || s->fields[i].type == CONF_INLINE)
            set_defaults(s->fields[i].schema, (char *)obj + s->fields[i].offset);
}

static enum err read_ptr(struct conf_ctx *cx, const struct conf_node *n, const struct conf_schema *s, void *field)
{
    void *obj = NULL;
    enum err e = OK;
    if (n->kind != CONF_NULL) {
        obj = arena_zalloc(cx->a, s->size);
        e = conf_decode(cx, n, s, obj);
    }
    memcpy(field, &obj, sizeof(obj));
    return e;
}

static enum err read_value(struct conf_ctx *cx, const struct conf_node *n, enum conf_type t, const struct conf_field *f,
                           void *field)
{
    cx->at = n;
    switch (t) {
    case CONF_STR:
        return conf_read_str(cx, n, field);
    case CONF_SECRET:
        return conf_read_str(cx, n, &((struct conf_secret *)field)->value);
    case CONF_BOOL:
        return conf_read_bool(cx, n, field);
    case CONF_INT:
    case CONF_UINT:
    case CONF_FLOAT:
        return read_number(cx, n, t, f->flags, field);
    case CONF_DURATION:
        TRY(conf_read_duration(cx, n, field));
        if ((f->flags & CONF_POSITIVE) && *(int64_t *)field <= 0)
            return conf_error(cx, n, "must be greater than 0");
        return OK;
    case CONF_BYTES:
        return read_bytes(cx, n, field);
    case CONF_URL:
        return read_url(cx, n, field);
    case CONF_REGEX:
        return conf_read_regex(cx, n, field);
    case CONF_ENUM:
        return read_enum(cx, n, f->names, field);
    case CONF_STRUCT:
    case CONF_INLINE:
        if (n->kind != CONF_NULL)
            return conf_decode(cx, n, f->schema, field);
        set_defaults(f->schema, field);
        return OK;
    case CONF_PTR:
        return read_ptr(cx, n, f->schema, field);
    case CONF_LIST:
        return read_list(cx, n, f, field);
    case CONF_DICT:
        return read_dict(cx, n, f, field);
    case CONF_NODE:
        *(const struct conf_node **)field = n->kind == CONF_NULL ? NULL : n;
        return OK;
    case CONF_CUSTOM:
        return f->read(cx, n, field);
    }
    return OK;
}

enum err conf_read_strs(struct conf_ctx *cx, const struct conf_node *n, struct conf_list *ret)
{
    static const struct conf_field row = { .type = CONF_LIST, .of = CONF_STR };
    return read_list(cx, n, &row, ret);
}

/* The row for a key, also among inlined structs; *ret_obj: the struct it belongs to. */
static const struct conf_field *find_field(const struct conf_schema *s, void *obj, str key, void **ret_obj)
{
    for (size_t i = 0; i < s->n_fields; i++) {
        const struct conf_field *f = &s->fields[i];
        if (f->type == CONF_INLINE) {
            const struct conf_field *in = find_field(f->schema, (char *)obj + f->offset, key, ret_obj);
            if (in)
                return in;
        } else if (str_eq(str_c(f->key), key)) {
            *ret_obj = obj;
            return f;
        }
    }
    return NULL;
}

static void collect_keys(struct arena *a, const struct conf_schema *s, str **p, size_t *n, size_t *cap)
{
    VEC(str) v = { *p, *n, *cap };
    for (size_t i = 0; i < s->n_fields; i++)
        if (s->fields[i].type != CONF_INLINE)
            avec_push(a, &v, str_c(s->fields[i].key));
    *p = v.p, *n = v.n, *cap = v.cap;
    for (size_t i = 0; i < s->n_fields; i++)
        if (s->fields[i].type == CONF_INLINE)
            collect_keys(a, s->fields[i].schema, p, n, cap);
}

static void unknown_key(struct conf_ctx *cx, const struct conf_node *k, const struct conf_schema *s)
{
    str *keys = NULL;
    size_t n = 0, cap = 0;
    collect_keys(cx->a, s, &keys, &n, &cap);
    str near = str_nearest(k->text, keys, n);
    if (near.n)
        IGNORE_ERR(conf_error(cx, k, "field " STR_FMT " not found in type %s, did you mean \"" STR_FMT "\"?",
                              STR_ARG(str_take(k->text, 100)), s->type_name, STR_ARG(near)));
    else
        IGNORE_ERR(
            conf_error(cx, k, "field " STR_FMT " not found in type %s", STR_ARG(str_take(k->text, 100)), s->type_name));
}

static void check_inlines(struct conf_ctx *cx, const struct conf_node *n, const struct conf_schema *s, void *obj)
{
    for (size_t i = 0; i < s->n_fields; i++) {
        const struct conf_field *f = &s->fields[i];
        if (f->type == CONF_INLINE)
            check_inlines(cx, n, f->schema, (char *)obj + f->offset);
        if ((f->flags & CONF_REQUIRED) && !conf_has(n, f->key))
            IGNORE_ERR(conf_error(cx, n, "%s is missing", f->key));
    }
    if (s->check) {
        cx->at = n;
        s->check(cx, n, obj);
    }
}

enum err conf_decode(struct conf_ctx *cx, const struct conf_node *n, const struct conf_schema *s, void *obj)
{
    size_t errors = cx->n_errors;
    set_defaults(s, obj);
    if (n && n->kind == CONF_SCALAR && s->from_scalar) {
        cx->at = n;
        return s->from_scalar(cx, n, obj);
    }
    if (n && (n->kind == CONF_SCALAR || n->kind == CONF_SEQ))
        return wrong_type(cx, n, "a mapping", s->type_name);
    size_t n_keys = n && n->kind == CONF_MAP ? n->n : 0;
    struct conf_keyset seen = { 0 };
    for (size_t i = 0; i < n_keys && cx->n_errors < CONF_DIAGS_MAX; i++) {
        const struct conf_node *k = n->items[2 * i];
        void *owner;
        const struct conf_field *f = k->kind == CONF_SCALAR ? find_field(s, obj, k->text, &owner) : NULL;
        bool is_new = true;
        if (k->kind == CONF_SCALAR)
            conf_keyset_put(&seen, k->text, &is_new);
        if (!f)
            unknown_key(cx, k, s);
        else if (!is_new)
            IGNORE_ERR(conf_error(cx, k, "field " STR_FMT " already set in type %s", STR_ARG(k->text), s->type_name));
        else
            IGNORE_ERR(read_value(cx, n->items[2 * i + 1], f->type, f, (char *)owner + f->offset));
    }
    conf_keyset_free(&seen);
    if (cx->n_errors == errors)
        check_inlines(cx, n, s, obj);
    return cx->n_errors == errors ? OK : ERR_INVALID;
}

enum err conf_load(struct conf_ctx *cx, const char *path, const struct conf_schema *s, unsigned flags, void **ret)
{
    struct conf_node *root;
    TRY(conf_read(cx, path, flags, &root));
    void *obj = arena_zalloc(cx->a, s->size);
    TRY(conf_decode(cx, root, s, obj));
    *ret = obj;
    return OK;
}
