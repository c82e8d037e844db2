/* Answers of Amazon's query APIs: elements and their texts; attributes, comments and instructions are passed over, there
 * are no entities but the five of XML and numbers. */
#include <stdlib.h>

#include "http/http_aws.h"

enum { DEPTH_MAX = 64, NODES_MAX = 1000000 };

struct reader {
    struct arena *a;
    str rest;
    size_t n_nodes;
    struct err_text *why;
};

static bool name_end(char c)
{
    return c == '>' || c == '/' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* "amp", "#38", "#x26" -> the character; false: no such entity. */
static bool entity(str name, struct buf *out)
{
    static const struct {
        str name;
        char c;
    } known[] = { { STR_INIT("amp"), '&' },
                  { STR_INIT("lt"), '<' },
                  { STR_INIT("gt"), '>' },
                  { STR_INIT("quot"), '"' },
                  { STR_INIT("apos"), '\'' } };
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (str_eq(name, known[i].name)) {
            buf_u8(out, (uint8_t)known[i].c);
            return true;
        }
    char digits[12], utf8[4], *end;
    if (name.n < 2 || name.n >= sizeof(digits) || name.p[0] != '#')
        return false;
    bool hex = name.p[1] == 'x';
    memcpy(digits, name.p + 1, name.n - 1);
    digits[name.n - 1] = 0;
    unsigned long cp = strtoul(digits + hex, &end, hex ? 16 : 10);
    if (*end || end == digits + hex || cp == 0 || cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        return false;
    buf_str_add(out, str_n(utf8, str_utf8_put(utf8, (uint32_t)cp)));
    return true;
}

static str text_of(struct arena *a, str raw)
{
    AUTO_BUF struct buf out;
    size_t at;
    buf_init(&out, 0);
    while ((at = str_find_char(raw, '&')) != SIZE_MAX) {
        buf_str_add(&out, str_take(raw, at));
        raw = str_skip(raw, at);
        size_t end = str_find_char(str_take(raw, 16), ';');
        if (end != SIZE_MAX && entity(str_take(str_skip(raw, 1), end - 1), &out)) {
            raw = str_skip(raw, end + 1);
        } else { /* as it stands */
            buf_u8(&out, '&');
            raw = str_skip(raw, 1);
        }
    }
    buf_str_add(&out, raw);
    return arena_str(a, buf_str(&out));
}

static bool broken(struct reader *r, const char *what)
{
    IGNORE_ERR(err_fail(r->why, ERR_PARSE, "not the XML that was expected: %s", what));
    return false;
}

/* Past "<?...?>", "<!--...-->", "<!DOCTYPE ...>". */
static bool skip_other(struct reader *r)
{
    bool comment = str_has_prefix(r->rest, STR("<!--"));
    size_t end = str_find(r->rest, comment ? STR("-->") : STR(">"));
    if (end == SIZE_MAX)
        return broken(r, "it ends in a comment or an instruction");
    r->rest = str_skip(r->rest, end + (comment ? 3 : 1));
    return true;
}

/* Behind "<name ...": to the end of the tag; *closed: "<name/>". */
static bool skip_attributes(struct reader *r, bool *closed)
{
    char quote = 0;
    for (size_t i = 0; i < r->rest.n; i++) {
        char c = r->rest.p[i];
        if (quote) {
            quote = c == quote ? 0 : quote;
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else if (c == '>') {
            *closed = i && r->rest.p[i - 1] == '/';
            r->rest = str_skip(r->rest, i + 1);
            return true;
        }
    }
    return broken(r, "it ends in a tag");
}

/* rest begins with "<name". */
static bool element(struct reader *r, unsigned depth, struct http_aws_xml **ret)
{
    struct http_aws_xml *x = arena_new(r->a, struct http_aws_xml), **next = &x->first;
    AUTO_BUF struct buf text;
    size_t n = 1;
    bool closed = false;
    buf_init(&text, 0);
    if (depth > DEPTH_MAX || ++r->n_nodes > NODES_MAX)
        return broken(r, "too deep or too large");
    while (n < r->rest.n && !name_end(r->rest.p[n]))
        n++;
    x->name = arena_str(r->a, str_skip(str_take(r->rest, n), 1));
    size_t colon = str_find_char(x->name, ':');
    x->name = colon == SIZE_MAX ? x->name : str_skip(x->name, colon + 1);
    r->rest = str_skip(r->rest, n);
    *ret = x;
    if (!x->name.n)
        return broken(r, "a tag without a name");
    if (!skip_attributes(r, &closed) || closed)
        return closed;
    for (;;) {
        size_t at = str_find_char(r->rest, '<');
        if (at == SIZE_MAX)
            return broken(r, "it ends in an element");
        buf_str_add(&text, str_take(r->rest, at));
        r->rest = str_skip(r->rest, at);
        if (str_has_prefix(r->rest, STR("</")))
            break;
        if (str_has_prefix(r->rest, STR("<!")) || str_has_prefix(r->rest, STR("<?"))) {
            if (!skip_other(r))
                return false;
            continue;
        }
        if (!element(r, depth + 1, next))
            return false;
        next = &(*next)->next;
    }
    size_t end = str_find_char(r->rest, '>');
    str name = str_trim(str_skip(str_take(r->rest, end), 2));
    if (end == SIZE_MAX || !str_has_suffix(name, x->name))
        return broken(r, "an end tag that does not fit");
    r->rest = str_skip(r->rest, end + 1);
    if (!x->first)
        x->text = text_of(r->a, buf_str(&text));
    return true;
}

bool http_aws_xml_parse(struct arena *a, str text, struct http_aws_xml **ret, struct err_text *why)
{
    struct reader r = { .a = a, .rest = str_trim(text), .why = why };
    while (str_has_prefix(r.rest, STR("<?")) || str_has_prefix(r.rest, STR("<!"))) {
        if (!skip_other(&r))
            return false;
        r.rest = str_trim(r.rest);
    }
    if (!str_utf8_ok(r.rest))
        return broken(&r, "it is not UTF-8");
    if (!str_has_prefix(r.rest, STR("<")))
        return broken(&r, "it does not begin with a tag");
    return element(&r, 0, ret);
}

const struct http_aws_xml *http_aws_xml_at(const struct http_aws_xml *x, str path)
{
    str name;
    while (x && str_cut(&path, '/', &name)) {
        x = x->first;
        while (x && !str_eq(x->name, name))
            x = x->next;
    }
    return x;
}

str http_aws_xml_text(const struct http_aws_xml *x, str path)
{
    const struct http_aws_xml *at = http_aws_xml_at(x, path);
    return at && at->text.p ? at->text : STR("");
}

str http_aws_xml_error(struct arena *a, const struct http_aws_xml *x)
{
    const struct http_aws_xml *e = http_aws_xml_at(x, STR("Error"));
    e = e ? e : http_aws_xml_at(x, STR("Errors/Error"));
    if (!e)
        return STR("");
    str code = str_take(http_aws_xml_text(e, STR("Code")), 80),
        text = str_take(http_aws_xml_text(e, STR("Message")), 160);
    return arena_printf(a, STR_FMT "%s" STR_FMT, STR_ARG(code), text.n ? ": " : "", STR_ARG(text));
}
