/* Structs -> YAML, by the same rows that read them. Zero values are left out where zero is the default (unless a row
 * says CONF_ALWAYS); secrets never appear. Lists stand at their key's indentation, as Go's yaml writes them. */
#include "base/check.h"
#include "base/hash.h"
#include "base/num.h"
#include "conf/conf_int.h"

bool conf_text_is_typed(str s)
{
    bool b;
    double d;
    if (conf_text_is_null(s) || conf_text_bool(s, &b) || str_eq(s, STR("<<")) || str_eq(s, STR("=")))
        return true;
    if (!strchr("0123456789+-.", s.p[0]))
        return false;
    if (num_parse_f64(s, &d))
        return true;
    for (size_t i = 0; i < s.n; i++) /* 0x1f, 2001-01-01, 12:30, 1_000 */
        if (!strchr("0123456789abcdefABCDEFxXoOtTzZ_:.+- ", s.p[i]))
            return false;
    return s.p[0] >= '0' && s.p[0] <= '9' && !str_eq(s, STR("-"));
}

static bool plain_ok(str s)
{
    if (conf_text_is_typed(s) || strchr("-?:,[]{}#&*!|>'\"%@`", s.p[0]) || s.p[0] == ' ' || s.p[s.n - 1] == ' ' ||
        s.p[s.n - 1] == ':' || !str_utf8_ok(s))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c < 0x20 || c == 0x7f || c >= 0x80)
            return false;
        if ((c == ':' && i + 1 < s.n && s.p[i + 1] == ' ') || (c == '#' && i && s.p[i - 1] == ' '))
            return false;
    }
    return true;
}

static void scalar_quoted(struct buf *b, str s)
{
    buf_u8(b, '"');
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        size_t k = str_utf8_get(str_skip(s, i), &cp);
        if (cp == '"' || cp == '\\')
            buf_printf(b, "\\%c", (char)cp);
        else if (cp == '\n')
            buf_lit(b, "\\n");
        else if (cp == '\t')
            buf_lit(b, "\\t");
        else if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || (cp == 0xfffd && k == 1))
            buf_printf(b, "\\x%02x", k == 1 ? (unsigned char)s.p[i] : cp);
        else if (cp == 0x2028 || cp == 0x2029 || cp == 0xfeff)
            buf_printf(b, "\\u%04x", cp);
        else
            buf_add(b, s.p + i, k);
        i += k;
    }
    buf_u8(b, '"');
}

void conf_quote(struct buf *out, str s)
{
    scalar_quoted(out, s);
}

static void scalar(struct buf *b, str s)
{
    if (s.n && plain_ok(s))
        buf_str_add(b, s);
    else
        scalar_quoted(b, s);
}

void conf_out_scalar(struct conf_out *o, str s)
{
    buf_u8(o->b, ' ');
    scalar(o->b, s);
    buf_u8(o->b, '\n');
}

/* http://user:password@host -> http://user:xxxxx@host */
static void url_redacted(struct buf *b, str url)
{
    size_t start = str_find(url, STR("://"));
    start = start == SIZE_MAX ? 0 : start + 3;
    size_t end = start;
    while (end < url.n && !strchr("/?#", url.p[end]))
        end++;
    str host = { url.p + start, end - start };
    size_t at = SIZE_MAX;
    for (size_t i = 0; i < host.n; i++)
        if (host.p[i] == '@')
            at = i;
    size_t colon = str_find_char(host, ':');
    if (at == SIZE_MAX || colon == SIZE_MAX || colon > at) {
        scalar(b, url);
        return;
    }
    buf_add(b, url.p, start + colon);
    buf_lit(b, ":xxxxx");
    buf_add(b, host.p + at, url.n - start - at);
}

static void bytes_text(struct buf *b, uint64_t v)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    size_t u = 0;
    for (; v && v % 1024 == 0 && u + 1 < ARRAY_LEN(units); u++)
        v /= 1024;
    buf_printf(b, "%llu%s", (unsigned long long)v, v ? units[u] : "");
}

static void indent(struct conf_out *o)
{
    if (!o->at_start)
        for (unsigned i = 0; i < o->indent; i++)
            buf_lit(o->b, "  ");
    o->at_start = false;
}

static bool is_zero(const void *p, size_t n)
{
    const char *c = p;
    for (size_t i = 0; i < n; i++)
        if (c[i])
            return false;
    return true;
}

static bool value_empty(enum conf_type t, const struct conf_field *f, const void *v)
{
    switch (t) {
    case CONF_STR:
    case CONF_URL:
    case CONF_SECRET:
    case CONF_REGEX:
        return ((const str *)v)->n == 0;
    case CONF_STRUCT:
        return f->schema->is_empty && f->schema->is_empty(v);
    case CONF_LIST:
        return ((const struct conf_list *)v)->n == 0;
    case CONF_DICT:
        return ((const struct conf_dict *)v)->n == 0;
    default:
        return is_zero(v, conf_type_size(t, f->schema));
    }
}

static void print_fields(struct conf_out *o, const struct conf_schema *s, const void *obj);

/* A struct as the value of a key (below it) or of a list item (behind "- "). */
static void print_nested(struct conf_out *o, const struct conf_schema *s, const void *obj, bool in_list)
{
    size_t before = o->b->n;
    if (!in_list)
        buf_u8(o->b, '\n');
    o->indent++;
    o->at_start = in_list;
    size_t start = o->b->n;
    print_fields(o, s, obj);
    o->indent--;
    o->at_start = false;
    if (o->b->n == start && !o->b->failed) {
        o->b->n = before;
        buf_str_add(o->b, in_list ? STR("{}\n") : STR(" {}\n"));
    }
}

static void print_node(struct conf_out *o, const struct conf_node *n, bool in_list)
{
    if (n->kind == CONF_SCALAR || n->kind == CONF_NULL || n->n == 0) {
        if (!in_list)
            buf_u8(o->b, ' ');
        if (n->kind == CONF_SCALAR && n->plain)
            buf_str_add(o->b, n->text);
        else if (n->kind == CONF_SCALAR)
            scalar(o->b, n->text);
        else
            buf_str_add(o->b, n->kind == CONF_NULL ? STR("null") : n->kind == CONF_SEQ ? STR("[]") : STR("{}"));
        buf_u8(o->b, '\n');
        return;
    }
    if (!in_list || n->kind == CONF_SEQ)
        buf_u8(o->b, '\n');
    o->at_start = in_list && n->kind == CONF_MAP;
    if (n->kind == CONF_MAP || in_list)
        o->indent++;
    for (size_t i = 0; i < n->n; i++) {
        indent(o);
        if (n->kind == CONF_SEQ) {
            buf_lit(o->b, "- ");
            print_node(o, n->items[i], true);
        } else {
            scalar(o->b, n->items[2 * i]->text);
            buf_u8(o->b, ':');
            print_node(o, n->items[2 * i + 1], false);
        }
    }
    if (n->kind == CONF_MAP || in_list)
        o->indent--;
}

static void print_value(struct conf_out *o, enum conf_type t, const struct conf_field *f, const void *v, bool in_list);

static void print_list(struct conf_out *o, const struct conf_field *f, const struct conf_list *l)
{
    size_t size = conf_type_size(f->of, f->schema);
    buf_u8(o->b, '\n');
    for (size_t i = 0; i < l->n; i++) {
        indent(o);
        buf_lit(o->b, "- ");
        print_value(o, f->of, f, (const char *)l->p + i * size, true);
    }
}

static void print_dict(struct conf_out *o, const struct conf_field *f, const struct conf_dict *d)
{
    size_t size = conf_type_size(f->of, f->schema);
    buf_u8(o->b, '\n');
    o->indent++;
    for (size_t i = 0; i < d->n; i++) {
        indent(o);
        scalar(o->b, d->keys[i]);
        buf_u8(o->b, ':');
        print_value(o, f->of, f, (const char *)d->p + i * size, false);
    }
    o->indent--;
}

static void print_number(struct buf *b, enum conf_type t, const void *v)
{
    if (t == CONF_INT)
        buf_i64_dec(b, *(const int64_t *)v);
    else if (t == CONF_UINT)
        buf_u64_dec(b, *(const uint64_t *)v);
    else if (t == CONF_FLOAT)
        buf_f64_g(b, *(const double *)v);
    else if (t == CONF_DURATION)
        buf_duration(b, *(const int64_t *)v);
    else
        bytes_text(b, *(const uint64_t *)v);
}

static void print_value(struct conf_out *o, enum conf_type t, const struct conf_field *f, const void *v, bool in_list)
{
    if (t == CONF_CUSTOM) {
        f->print(o, v);
        return;
    }
    if (t == CONF_STRUCT || t == CONF_PTR) {
        print_nested(o, f->schema, t == CONF_PTR ? *(void *const *)v : v, in_list);
        return;
    }
    if (t == CONF_NODE) {
        print_node(o, *(const struct conf_node *const *)v, in_list);
        return;
    }
    if (t == CONF_LIST || t == CONF_DICT) {
        if (value_empty(t, f, v))
            buf_str_add(o->b, t == CONF_LIST ? STR(" []\n") : STR(" {}\n"));
        else if (t == CONF_LIST)
            print_list(o, f, v);
        else
            print_dict(o, f, v);
        return;
    }
    if (!in_list)
        buf_u8(o->b, ' ');
    if (t == CONF_SECRET)
        buf_str_add(o->b, o->reveal                                  ? ((const struct conf_secret *)v)->value
                          : ((const struct conf_secret *)v)->value.n ? STR("<secret>")
                                                                     : STR("\"\""));
    else if (t == CONF_URL && !o->reveal)
        url_redacted(o->b, *(const str *)v);
    else if (t == CONF_STR || t == CONF_URL)
        scalar(o->b, *(const str *)v);
    else if (t == CONF_REGEX)
        scalar(o->b, ((const struct conf_regex *)v)->source);
    else if (t == CONF_BOOL)
        buf_str_add(o->b, *(const bool *)v ? STR("true") : STR("false"));
    else if (t == CONF_ENUM)
        scalar(o->b, str_c(f->names[*(const int *)v]));
    else
        print_number(o->b, t, v);
    buf_u8(o->b, '\n');
}

static bool default_empty(const struct conf_schema *s, const struct conf_field *f)
{
    return !s->defaults || f->type == CONF_PTR || f->type == CONF_NODE || f->type == CONF_STRUCT ||
           value_empty(f->type, f, (const char *)s->defaults + f->offset);
}

static void print_fields(struct conf_out *o, const struct conf_schema *s, const void *obj)
{
    for (size_t i = 0; i < s->n_fields; i++) {
        const struct conf_field *f = &s->fields[i];
        const void *v = (const char *)obj + f->offset;
        if ((f->flags & CONF_HIDDEN) && !(o->reveal && f->type == CONF_NODE)) /* a node may hold secrets */
            continue;
        if (f->type == CONF_INLINE) {
            print_fields(o, f->schema, v);
            continue;
        }
        if (f->type == CONF_CUSTOM ? !f->print
                                   : !(f->flags & CONF_ALWAYS) && value_empty(f->type, f, v) && default_empty(s, f))
            continue;
        size_t before = o->b->n;
        bool at_start = o->at_start;
        indent(o);
        buf_printf(o->b, "%s:", f->key);
        size_t head = o->b->n;
        print_value(o, f->type, f, v, false);
        if (f->type == CONF_CUSTOM && o->b->n == head) { /* it had nothing to say */
            o->b->n = before;
            o->at_start = at_start;
        }
    }
}

void conf_out_struct(struct conf_out *o, const struct conf_schema *s, const void *obj)
{
    print_nested(o, s, obj, false);
}

void conf_print(struct buf *out, const struct conf_schema *s, const void *obj)
{
    struct conf_out o = { .b = out };
    print_fields(&o, s, obj);
}

uint64_t conf_hash(const struct conf_schema *s, const void *obj)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    struct conf_out o = { .b = &b, .reveal = true };
    print_fields(&o, s, obj);
    return hash64(buf_str(&b));
}
