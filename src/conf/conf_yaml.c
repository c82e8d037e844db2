/* YAML text -> tree of nodes with positions, over libyaml's event parser.
 *
 * Idea: one recursive descent over events. Aliases share the anchor's node (the tree is read-only), so a document
 * of aliases of aliases costs no memory; its expanded size is still counted and bounded (conf_node.weight), because
 * decoders walk it expanded. An alias to a node that is still open would be a cycle and is refused.
 * Merge keys (<<) are resolved here. ${...} is replaced in scalar values when the caller asks for it. */
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/check.h"
#include "conf/conf_int.h"

#define MAP_NAME     conf_anchors
#define MAP_KEY      str
#define MAP_VALUE    struct conf_node *
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/hash.h"
#include "base/map.h"

struct loader {
    struct conf_ctx *cx;
    yaml_parser_t *parser;
    const struct conf_doc *doc;
    struct conf_anchors anchors; /* NULL value: still open */
    unsigned flags;
};

static const char *ctx_getenv(void *ctx, const char *name)
{
    (void)ctx;
    return getenv(name);
}

struct conf_ctx conf_ctx_init(struct arena *a, struct fs *fs)
{
    return (struct conf_ctx){ .a = a, .fs = fs, .env = ctx_getenv };
}

void conf_ctx_release(struct conf_ctx *cx)
{
    for (size_t i = 0; i < cx->regexes.n; i++)
        rx_free(cx->regexes.p[i]);
    vec_free(&cx->regexes);
}

struct conf_ctx *conf_ctx_new(struct fs *fs)
{
    struct arena *a = mem_zalloc(sizeof(*a));
    struct conf_ctx *cx = mem_zalloc(sizeof(*cx));
    arena_init(a, 0);
    *cx = conf_ctx_init(a, fs);
    return cx;
}

void conf_ctx_free(struct conf_ctx *cx)
{
    struct arena *a = cx->a;
    conf_ctx_release(cx);
    mem_free(cx);
    arena_deinit(a);
    mem_free(a);
}

/* ---- diagnostics ---- */

static str source_line(str text, uint32_t line)
{
    const char *p = text.p, *end = text.p + text.n;
    for (uint32_t i = 1; i < line && p < end; i++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        p = nl ? nl + 1 : end;
    }
    if (p >= end)
        return STR_NONE;
    const char *nl = memchr(p, '\n', (size_t)(end - p));
    str s = { p, (size_t)((nl ? nl : end) - p) };
    while (s.n && s.p[s.n - 1] == '\r')
        s.n--;
    return s;
}

static void diag_add(struct conf_ctx *cx, bool is_warning, const struct conf_doc *doc, uint32_t line, uint32_t column,
                     const char *fmt, va_list ap) PRINTF_LIKE(6, 0);
static void diag_add(struct conf_ctx *cx, bool is_warning, const struct conf_doc *doc, uint32_t line, uint32_t column,
                     const char *fmt, va_list ap)
{
    if (!is_warning)
        cx->n_errors++;
    if (cx->diags.n >= CONF_DIAGS_MAX + (is_warning ? 100 : 0) && (is_warning || cx->n_errors > CONF_DIAGS_MAX))
        return;
    char msg[1024];
    int n = vsnprintf(msg, sizeof(msg), fmt, ap);
    for (char *c = msg; *c; c++) /* what the file says may contain line breaks; a message is one line */
        if ((unsigned char)*c < 0x20)
            *c = ' ';
    struct conf_diag d = { .is_warning = is_warning, .line = line, .column = column };
    d.message = arena_str(cx->a, (str){ msg, MIN((size_t)MAX(n, 0), sizeof(msg) - 1) });
    if (doc) {
        d.file = doc->file;
        if (line)
            d.source = source_line(doc->text, line);
    }
    avec_push(cx->a, &cx->diags, d);
}

enum err conf_error(struct conf_ctx *cx, const struct conf_node *at, const char *fmt, ...)
{
    if (!at)
        at = cx->at;
    va_list ap;
    va_start(ap, fmt);
    diag_add(cx, false, at ? at->doc : NULL, at ? at->line : 0, at ? at->column : 0, fmt, ap);
    va_end(ap);
    return ERR_INVALID;
}

void conf_warn(struct conf_ctx *cx, const struct conf_node *at, const char *fmt, ...)
{
    if (!at)
        at = cx->at;
    va_list ap;
    va_start(ap, fmt);
    diag_add(cx, true, at ? at->doc : NULL, at ? at->line : 0, at ? at->column : 0, fmt, ap);
    va_end(ap);
}

static enum err load_error(struct loader *l, enum err e, uint32_t line, uint32_t column, const char *fmt, ...)
    PRINTF_LIKE(5, 6);
static enum err load_error(struct loader *l, enum err e, uint32_t line, uint32_t column, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    diag_add(l->cx, false, l->doc, line, column, fmt, ap);
    va_end(ap);
    return e;
}

/* Display columns up to `column` of the line, so that the caret stands under the right character: tabs are shown as
 * one blank each, long lines are cut around the place. */
static void diag_source_print(struct buf *out, const struct conf_diag *d)
{
    enum { WIDTH = 120 };
    char number[16];
    int n = snprintf(number, sizeof(number), "%7u", d->line);
    str s = d->source;
    size_t byte = 0, col = 1, start = 0, start_col = 1;
    while (col < d->column && byte < s.n) {
        uint32_t cp;
        byte += str_utf8_get(str_skip(s, byte), &cp);
        col++;
        if (col - start_col > WIDTH / 2) {
            start += str_utf8_get(str_skip(s, start), &cp);
            start_col++;
        }
    }
    buf_printf(out, "%s | ", number);
    size_t shown = 0;
    for (size_t i = start; i < s.n && shown < WIDTH; shown++) {
        uint32_t cp;
        size_t k = str_utf8_get(str_skip(s, i), &cp);
        if (cp < 0x20)
            buf_u8(out, ' ');
        else
            buf_add(out, s.p + i, k);
        i += k;
    }
    buf_printf(out, "\n%*s | %*s^\n", n, "", (int)(d->column - start_col), "");
}

void conf_diags_print(struct buf *out, const struct conf_ctx *cx)
{
    for (size_t i = 0; i < cx->diags.n; i++) {
        const struct conf_diag *d = &cx->diags.p[i];
        buf_str_add(out, d->file);
        if (d->line)
            buf_printf(out, ":%u:%u", d->line, d->column);
        if (d->file.n)
            buf_lit(out, ": ");
        if (d->is_warning)
            buf_lit(out, "warning: ");
        buf_str_add(out, d->message);
        buf_u8(out, '\n');
        if (d->line && d->source.n)
            diag_source_print(out, d);
    }
    if (cx->n_errors > CONF_DIAGS_MAX)
        buf_printf(out, "... and %zu more errors\n", cx->n_errors - CONF_DIAGS_MAX);
}

void conf_first_error(const struct conf_ctx *cx, struct err_text *ret)
{
    if (!ret)
        return;
    ret->msg[0] = 0;
    ret->pos = 0;
    for (size_t i = 0; i < cx->diags.n; i++) {
        const struct conf_diag *d = &cx->diags.p[i];
        if (d->is_warning)
            continue;
        if (d->line)
            IGNORE_ERR(err_fail(ret, ERR_INVALID, STR_FMT ":%u:%u: " STR_FMT, STR_ARG(d->file), d->line, d->column,
                                STR_ARG(d->message)));
        else
            IGNORE_ERR(err_fail(ret, ERR_INVALID, STR_FMT "%s" STR_FMT, STR_ARG(d->file), d->file.n ? ": " : "",
                                STR_ARG(d->message)));
        return;
    }
}

/* ---- expansion ---- */

static bool var_name_ok(str s)
{
    if (s.n == 0 || (s.p[0] >= '0' && s.p[0] <= '9'))
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'))
            return false;
    }
    return true;
}

static enum err expand_file(struct conf_ctx *cx, const struct conf_node *at, str path, struct buf *out)
{
    struct err_text et;
    str content;
    char *p = arena_cstr(cx->a, path);
    enum err e = fs_read_file(cx->fs, p, 1 << 20, cx->a, &content, &et);
    if (e)
        return conf_error(cx, at, "cannot read ${file:%s}: %s", p, e == ERR_NOT_FOUND ? "no such file" : et.msg);
    while (content.n && (content.p[content.n - 1] == '\n' || content.p[content.n - 1] == '\r'))
        content.n--;
    buf_str_add(out, content);
    return OK;
}

/* One ${...} body. *ret_known false: not ours (${1}, ${a b}): stays as it stands. */
static enum err expand_one(struct conf_ctx *cx, const struct conf_node *at, str body, struct buf *out, bool *ret_known)
{
    *ret_known = true;
    if (str_has_prefix(body, STR("file:")))
        return expand_file(cx, at, str_skip(body, 5), out);
    size_t dash = str_find(body, STR(":-"));
    str name = dash == SIZE_MAX ? body : str_take(body, dash);
    if (!var_name_ok(name)) {
        *ret_known = false;
        return OK;
    }
    const char *v = cx->env(cx->env_ctx, arena_cstr(cx->a, name));
    if (dash != SIZE_MAX && (!v || !*v))
        buf_str_add(out, str_skip(body, dash + 2));
    else if (v)
        buf_add(out, v, strlen(v));
    else
        return conf_error(cx, at,
                          "environment variable " STR_FMT " is not set (write ${" STR_FMT ":-default} to allow that)",
                          STR_ARG(name), STR_ARG(name));
    return OK;
}

static enum err expand(struct conf_ctx *cx, struct conf_node *n)
{
    if (str_find(n->text, STR("${")) == SIZE_MAX)
        return OK;
    AUTO_BUF struct buf out;
    buf_init(&out, 4 << 20);
    str s = n->text;
    for (size_t i = 0; i < s.n;) {
        str rest = str_skip(s, i);
        size_t close = str_has_prefix(rest, STR("${")) ? str_find_char(rest, '}') : SIZE_MAX;
        if (str_has_prefix(rest, STR("$${"))) {
            buf_lit(&out, "${");
            i += 3;
        } else if (close != SIZE_MAX) {
            bool known;
            TRY(expand_one(cx, n, (str){ rest.p + 2, close - 2 }, &out, &known));
            if (!known)
                buf_add(&out, rest.p, close + 1);
            i += close + 1;
        } else {
            buf_u8(&out, (uint8_t)s.p[i++]);
        }
    }
    if (out.failed)
        return conf_error(cx, n, "value too long after expansion");
    n->text = arena_str(cx->a, buf_str(&out));
    return OK;
}

str conf_expand_env(struct conf_ctx *cx, str s)
{
    if (str_find_char(s, '$') == SIZE_MAX)
        return s;
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < s.n;) {
        if (s.p[i] != '$' || i + 1 >= s.n) {
            buf_u8(&out, (uint8_t)s.p[i++]);
            continue;
        }
        str rest = str_skip(s, i + 1);
        size_t n = 0, used;
        if (rest.p[0] == '{') {
            size_t close = str_find_char(rest, '}');
            if (close == SIZE_MAX) { /* Go drops a lone "${" */
                i += 2;
                continue;
            }
            rest = (str){ rest.p + 1, close - 1 };
            n = rest.n;
            used = close + 1;
        } else {
            while (n < rest.n && var_name_ok((str){ rest.p, n + 1 }))
                n++;
            if (n == 0 && rest.p[0] == '$')
                n = 1;
            used = n;
            if (n == 0) { /* not a name: '$' stays */
                buf_u8(&out, '$');
                i++;
                continue;
            }
        }
        str name = str_take(rest, n);
        if (str_eq(name, STR("$"))) {
            buf_u8(&out, '$');
        } else {
            const char *v = cx->env(cx->env_ctx, arena_cstr(cx->a, name));
            if (v)
                buf_add(&out, v, strlen(v));
            else
                conf_warn(cx, cx->at, "environment variable " STR_FMT " is empty", STR_ARG(name));
        }
        i += 1 + used;
    }
    return arena_str(cx->a, buf_str(&out));
}

/* ---- scalars ---- */

bool conf_text_is_null(str s)
{
    return s.n == 0 || str_eq(s, STR("~")) || str_eq(s, STR("null")) || str_eq(s, STR("Null")) ||
           str_eq(s, STR("NULL"));
}

bool conf_text_bool(str s, bool *ret)
{
    static const char *const yes[] = { "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON" };
    static const char *const no[] = { "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF" };
    for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
        if (str_eq(s, str_c(yes[i])))
            return *ret = true;
        if (str_eq(s, str_c(no[i]))) {
            *ret = false;
            return true;
        }
    }
    return false;
}

static int base64_digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* !!binary: base64, white space ignored. */
static bool base64_decode(struct arena *a, str s, str *ret)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0, bits = 0;
    uint32_t acc = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '=' || s.p[i] == '\n' || s.p[i] == ' ')
            continue;
        int d = base64_digit(s.p[i]);
        if (d < 0)
            return false;
        acc = acc << 6 | (uint32_t)d;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[n++] = (char)(acc >> bits);
        }
    }
    *ret = (str){ out, n };
    return true;
}

/* ---- events ---- */

static enum err next_event(struct loader *l, yaml_event_t *ev)
{
    if (yaml_parser_parse(l->parser, ev))
        return OK;
    yaml_parser_t *p = l->parser;
    uint32_t line = (uint32_t)p->problem_mark.line + 1, column = (uint32_t)p->problem_mark.column + 1;
    if (p->error == YAML_READER_ERROR) {
        line = 1;
        for (size_t i = 0; i < p->problem_offset && i < l->doc->text.n; i++)
            line += l->doc->text.p[i] == '\n';
        column = 1;
    }
    return load_error(l, ERR_PARSE, line, column, "yaml: %s%s%s", p->problem ? p->problem : "malformed document",
                      p->context ? " " : "", p->context ? p->context : "");
}

static struct conf_node *new_node(struct loader *l, enum conf_node_kind kind, const yaml_event_t *ev)
{
    struct conf_node *n = arena_new(l->cx->a, struct conf_node);
    n->kind = kind;
    n->doc = l->doc;
    n->line = (uint32_t)ev->start_mark.line + 1;
    n->column = (uint32_t)ev->start_mark.column + 1;
    n->weight = 1;
    l->cx->n_nodes++;
    return n;
}

static enum err too_big(struct loader *l, const struct conf_node *n)
{
    return load_error(l, ERR_LIMIT, n->line, n->column, "document is too large: more than %u values", CONF_NODES_MAX);
}

static str event_anchor(struct loader *l, const yaml_char_t *anchor)
{
    return anchor ? arena_str(l->cx->a, str_c((const char *)anchor)) : STR_NONE;
}

static enum err load_scalar(struct loader *l, const yaml_event_t *ev, bool is_key, struct conf_node **ret)
{
    struct conf_node *n = new_node(l, CONF_SCALAR, ev);
    n->text = arena_str(l->cx->a, (str){ (const char *)ev->data.scalar.value, ev->data.scalar.length });
    n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !ev->data.scalar.tag;
    const char *tag = (const char *)ev->data.scalar.tag;
    if (tag && strcmp(tag, YAML_NULL_TAG) == 0)
        n->kind = CONF_NULL;
    if (tag && strcmp(tag, "tag:yaml.org,2002:binary") == 0 && !base64_decode(l->cx->a, n->text, &n->text))
        return load_error(l, ERR_PARSE, n->line, n->column, "yaml: !!binary value contains invalid base64 data");
    if (!is_key && n->plain && conf_text_is_null(n->text))
        n->kind = CONF_NULL;
    if (!is_key && (l->flags & CONF_EXPAND))
        TRY(expand(l->cx, n));
    *ret = n;
    return OK;
}

static enum err load_node(struct loader *l, yaml_event_t *ev, unsigned depth, bool is_key, struct conf_node **ret);

/* Children until the end event; weight is kept within bounds as they come. */
static enum err load_children(struct loader *l, struct conf_node *n, yaml_event_type_t end, unsigned depth)
{
    VEC(struct conf_node *) items = { 0 };
    for (;;) {
        yaml_event_t ev;
        TRY(next_event(l, &ev));
        if (ev.type == end) {
            yaml_event_delete(&ev);
            break;
        }
        struct conf_node *child = NULL;
        enum err e = load_node(l, &ev, depth + 1, n->kind == CONF_MAP && items.n % 2 == 0, &child);
        yaml_event_delete(&ev);
        TRY(e);
        if (child->weight > CONF_NODES_MAX - MIN(n->weight, CONF_NODES_MAX))
            return too_big(l, child);
        n->weight += child->weight;
        avec_push(l->cx->a, &items, child);
    }
    n->items = items.p;
    n->n = n->kind == CONF_MAP ? items.n / 2 : items.n;
    return OK;
}

static bool has_key(struct conf_node *const *items, size_t n, str key)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(items[2 * i]->text, key))
            return true;
    return false;
}

/* `<<: *base` or `<<: [*a, *b]`: their keys, unless the mapping has them. */
static enum err resolve_merges(struct loader *l, struct conf_node *n)
{
    bool any = false;
    for (size_t i = 0; i < n->n; i++)
        any |= n->items[2 * i]->plain && str_eq(n->items[2 * i]->text, STR("<<"));
    if (!any)
        return OK;
    VEC(struct conf_node *) out = { 0 };
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < n->n; i++) {
            struct conf_node *k = n->items[2 * i], *v = n->items[2 * i + 1];
            bool is_merge = k->plain && str_eq(k->text, STR("<<"));
            if (pass == 0 && !is_merge) {
                avec_push(l->cx->a, &out, k);
                avec_push(l->cx->a, &out, v);
            }
            if (pass == 0 || !is_merge)
                continue;
            size_t n_from = v->kind == CONF_SEQ ? v->n : 1;
            for (size_t f = 0; f < n_from; f++) {
                const struct conf_node *from = v->kind == CONF_SEQ ? v->items[f] : v;
                if (from->kind != CONF_MAP)
                    return load_error(l, ERR_PARSE, k->line, k->column,
                                      "yaml: map merge requires map or sequence of maps as the value");
                if (from->n * out.n > 4 * CONF_NODES_MAX)
                    return too_big(l, k);
                for (size_t j = 0; j < from->n; j++)
                    if (!has_key(out.p, out.n / 2, from->items[2 * j]->text)) {
                        avec_push(l->cx->a, &out, from->items[2 * j]);
                        avec_push(l->cx->a, &out, from->items[2 * j + 1]);
                    }
            }
        }
    n->items = out.p;
    n->n = out.n / 2;
    return OK;
}

static enum err load_collection(struct loader *l, yaml_event_t *ev, unsigned depth, struct conf_node **ret)
{
    bool is_map = ev->type == YAML_MAPPING_START_EVENT;
    struct conf_node *n = new_node(l, is_map ? CONF_MAP : CONF_SEQ, ev);
    str anchor = event_anchor(l, is_map ? ev->data.mapping_start.anchor : ev->data.sequence_start.anchor);
    if (depth >= CONF_DEPTH_MAX)
        return load_error(l, ERR_LIMIT, n->line, n->column, "document is nested deeper than %u levels", CONF_DEPTH_MAX);
    if (anchor.n)
        *conf_anchors_put(&l->anchors, anchor, NULL) = NULL;
    TRY(load_children(l, n, is_map ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT, depth));
    if (is_map)
        TRY(resolve_merges(l, n));
    if (anchor.n)
        *conf_anchors_put(&l->anchors, anchor, NULL) = n;
    *ret = n;
    return OK;
}

static enum err load_alias(struct loader *l, const yaml_event_t *ev, struct conf_node **ret)
{
    str name = str_c((const char *)ev->data.alias.anchor);
    struct conf_node **found = conf_anchors_get(&l->anchors, name);
    uint32_t line = (uint32_t)ev->start_mark.line + 1, column = (uint32_t)ev->start_mark.column + 1;
    if (!found)
        return load_error(l, ERR_PARSE, line, column, "yaml: unknown anchor '" STR_FMT "' referenced", STR_ARG(name));
    if (!*found)
        return load_error(l, ERR_PARSE, line, column, "yaml: anchor '" STR_FMT "' value contains itself",
                          STR_ARG(name));
    *ret = *found;
    return OK;
}

static enum err load_node(struct loader *l, yaml_event_t *ev, unsigned depth, bool is_key, struct conf_node **ret)
{
    if (l->cx->n_nodes >= CONF_NODES_MAX)
        return load_error(l, ERR_LIMIT, (uint32_t)ev->start_mark.line + 1, 1,
                          "document is too large: more than %u values", CONF_NODES_MAX);
    switch ((int)ev->type) {
    case YAML_SCALAR_EVENT:
        TRY(load_scalar(l, ev, is_key, ret));
        if (ev->data.scalar.anchor)
            *conf_anchors_put(&l->anchors, event_anchor(l, ev->data.scalar.anchor), NULL) = *ret;
        return OK;
    case YAML_ALIAS_EVENT:
        return load_alias(l, ev, ret);
    case YAML_SEQUENCE_START_EVENT:
    case YAML_MAPPING_START_EVENT:
        return load_collection(l, ev, depth, ret);
    default:
        return load_error(l, ERR_PARSE, (uint32_t)ev->start_mark.line + 1, 1, "yaml: unexpected document structure");
    }
}

/* Stream start, at most one document, stream end. */
static enum err load_document(struct loader *l, struct conf_node **ret)
{
    struct conf_node *root = NULL;
    for (;;) {
        yaml_event_t ev;
        TRY(next_event(l, &ev));
        enum err e = OK;
        bool done = ev.type == YAML_STREAM_END_EVENT;
        bool is_structure = done || ev.type == YAML_STREAM_START_EVENT || ev.type == YAML_DOCUMENT_END_EVENT;
        if (ev.type == YAML_DOCUMENT_START_EVENT && root && l->flags & CONF_FIRST_DOCUMENT) {
            struct conf_node at = { .line = (uint32_t)ev.start_mark.line + 1, .column = 1, .doc = l->doc };
            conf_warn(l->cx, &at, "only the first document of the file is read");
            yaml_event_delete(&ev);
            break;
        }
        if (ev.type == YAML_DOCUMENT_START_EVENT && root)
            e = load_error(l, ERR_PARSE, (uint32_t)ev.start_mark.line + 1, 1,
                           "yaml: more than one document in the file");
        else if (!is_structure && ev.type != YAML_DOCUMENT_START_EVENT)
            e = load_node(l, &ev, 0, false, &root);
        yaml_event_delete(&ev);
        TRY(e);
        if (done)
            break;
    }
    if (!root) {
        root = arena_new(l->cx->a, struct conf_node);
        root->doc = l->doc;
        root->line = root->column = 1;
    }
    *ret = root;
    return OK;
}

enum err conf_parse(struct conf_ctx *cx, str file, str text, unsigned flags, struct conf_node **ret)
{
    struct conf_doc *doc = arena_new(cx->a, struct conf_doc);
    doc->file = arena_str(cx->a, file);
    doc->text = text;
    yaml_parser_t parser;
    struct loader l = { .cx = cx, .parser = &parser, .doc = doc, .flags = flags };
    cx->n_nodes = 0;
    if (text.n > CONF_BYTES_MAX)
        return load_error(&l, ERR_LIMIT, 0, 0, "file is larger than %u bytes", CONF_BYTES_MAX);
    if (memchr(text.n ? text.p : "", 0, text.n))
        return load_error(&l, ERR_PARSE, 0, 0, "yaml: control characters are not allowed");
    if (!yaml_parser_initialize(&parser))
        return ERR_LIMIT;
    yaml_parser_set_input_string(&parser, (const unsigned char *)(text.n ? text.p : ""), text.n);
    enum err e = load_document(&l, ret);
    yaml_parser_delete(&parser);
    conf_anchors_free(&l.anchors);
    return e;
}

enum err conf_read(struct conf_ctx *cx, const char *path, unsigned flags, struct conf_node **ret)
{
    str text;
    struct err_text et = { .msg = "" };
    enum err e = fs_read_file(cx->fs, path, CONF_BYTES_MAX, cx->a, &text, &et);
    if (e) {
        struct conf_doc doc = { .file = arena_str(cx->a, str_c(path)) };
        struct loader l = { .cx = cx, .doc = &doc };
        const char *why = e == ERR_NOT_FOUND ? "no such file or directory" : et.msg[0] ? et.msg : err_describe(e);
        return load_error(&l, e, 0, 0, "%s", why);
    }
    return conf_parse(cx, str_c(path), text, flags, ret);
}

const struct conf_node *conf_get(const struct conf_node *map, str key)
{
    if (map && map->kind == CONF_MAP)
        for (size_t i = 0; i < map->n; i++)
            if (str_eq(map->items[2 * i]->text, key))
                return map->items[2 * i + 1];
    return NULL;
}

bool conf_has(const struct conf_node *map, const char *key)
{
    const struct conf_node *n = conf_get(map, str_c(key));
    return n && n->kind != CONF_NULL;
}

static struct conf_node *copy_node(struct arena *a, const struct conf_node *n, const struct conf_doc *doc)
{
    struct conf_node *c = arena_new(a, struct conf_node);
    *c = *n;
    c->doc = doc;
    c->text = n->text.p ? arena_str(a, n->text) : STR_NONE;
    size_t n_items = n->kind == CONF_MAP ? 2 * n->n : n->kind == CONF_SEQ ? n->n : 0;
    c->items = n_items ? arena_array(a, struct conf_node *, n_items) : NULL;
    for (size_t i = 0; i < n_items; i++)
        c->items[i] = copy_node(a, n->items[i], doc);
    return c;
}

struct conf_node *conf_copy(struct arena *a, const struct conf_node *n)
{
    struct conf_doc *doc = arena_new(a, struct conf_doc);
    if (n->doc)
        *doc = (struct conf_doc){ arena_str(a, n->doc->file), arena_str(a, n->doc->text) };
    return copy_node(a, n, doc);
}
