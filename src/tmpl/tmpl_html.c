/* html/template: what a pipeline gives is escaped for the place where it lands: text, an attribute, a URL in an
 * attribute, script, style. The place is followed while the output is written (html_text), a small HTML tokenizer
 * over the template's own text; so it is right through {{ template }} and {{ if }} without a pass before. */
#include "base/json.h"
#include "tmpl/tmpl_int.h"

/* ---- following the template's own text ---- */
static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f';
}

static bool is_alpha(char c)
{
    return lower(c) >= 'a' && lower(c) <= 'z';
}

static void name_add(struct html *h, char c)
{
    if (h->n_name < sizeof(h->name) - 1)
        h->name[h->n_name++] = lower(c);
    h->name[h->n_name] = 0;
}

static bool one_of(const char *s, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(s, list[i]) == 0)
            return true;
    return false;
}

static void attr_kind(struct html *h)
{
    static const char *const urls[] = { "action", "archive",    "background", "cite",   "classid",  "codebase",
                                        "data",   "formaction", "href",       "icon",   "longdesc", "manifest",
                                        "poster", "profile",    "src",        "usemap", "xmlns" };
    const char *n = h->name;
    const char *colon = strchr(n, ':');
    if (strncmp(n, "data-", 5) == 0)
        n += 5;
    else if (colon)
        n = strncmp(n, "xmlns:", 6) == 0 ? "href" : colon + 1;
    if (strncmp(n, "on", 2) == 0)
        h->attr = ATTR_SCRIPT;
    else if (strcmp(n, "style") == 0)
        h->attr = ATTR_STYLE;
    else if (strcmp(n, "srcset") == 0)
        h->attr = ATTR_SRCSET;
    else if (one_of(n, urls, ARRAY_LEN(urls)) || strstr(n, "src") || strstr(n, "uri") || strstr(n, "url"))
        h->attr = ATTR_URL;
    else
        h->attr = ATTR_PLAIN;
    h->url = URL_START;
    h->js = JS_CODE;
    h->css = CSS_CODE;
    h->prev = 0;
    h->escaped = false;
}

static void tag_ends(struct html *h)
{
    static const char *const rc[] = { "title", "textarea" };
    h->state = HTML_TEXT;
    h->js = JS_CODE;
    h->css = CSS_CODE;
    h->prev = 0;
    h->escaped = false;
    if (h->closing)
        return;
    if (strcmp(h->tag, "script") == 0)
        h->state = HTML_SCRIPT;
    else if (strcmp(h->tag, "style") == 0)
        h->state = HTML_STYLE;
    else if (one_of(h->tag, rc, ARRAY_LEN(rc)))
        h->state = HTML_RCDATA;
}

static void js_char(struct html *h, char c)
{
    if (h->js == JS_DQ || h->js == JS_SQ || h->js == JS_BQ) {
        char quote = h->js == JS_DQ ? '"' : h->js == JS_SQ ? '\'' : '`';
        if (h->escaped)
            h->escaped = false;
        else if (c == '\\')
            h->escaped = true;
        else if (c == quote)
            h->js = JS_CODE;
    } else if (h->js == JS_LINE_COMMENT) {
        if (c == '\n')
            h->js = JS_CODE;
    } else if (h->js == JS_BLOCK_COMMENT) {
        if (h->prev == '*' && c == '/')
            h->js = JS_CODE;
    } else if (c == '"' || c == '\'' || c == '`') {
        h->js = c == '"' ? JS_DQ : c == '\'' ? JS_SQ : JS_BQ;
    } else if (h->prev == '/' && (c == '/' || c == '*')) {
        h->js = c == '/' ? JS_LINE_COMMENT : JS_BLOCK_COMMENT;
    }
    h->prev = c;
}

static void css_char(struct html *h, char c)
{
    if (h->css == CSS_DQ || h->css == CSS_SQ) {
        if (h->escaped)
            h->escaped = false;
        else if (c == '\\')
            h->escaped = true;
        else if (c == (h->css == CSS_DQ ? '"' : '\''))
            h->css = CSS_CODE;
    } else if (h->css == CSS_COMMENT) {
        if (h->prev == '*' && c == '/')
            h->css = CSS_CODE;
    } else if (c == '"' || c == '\'') {
        h->css = c == '"' ? CSS_DQ : CSS_SQ;
    } else if (h->prev == '/' && c == '*') {
        h->css = CSS_COMMENT;
    }
    h->prev = c;
}

static void value_char(struct html *h, char c)
{
    if (h->quote ? c == h->quote : is_space(c) || c == '>') {
        h->state = HTML_TAG;
        if (!h->quote && c == '>')
            tag_ends(h);
        return;
    }
    if (h->attr == ATTR_URL || h->attr == ATTR_SRCSET) {
        if (c == '?' || c == '#')
            h->url = URL_QUERY;
        else if (h->url == URL_START && !is_space(c))
            h->url = URL_BEFORE_QUERY;
        if (h->attr == ATTR_SRCSET && (c == ',' || is_space(c)))
            h->url = URL_START;
    } else if (h->attr == ATTR_SCRIPT) {
        js_char(h, c);
    } else if (h->attr == ATTR_STYLE) {
        css_char(h, c);
    }
}

/* In script, style, title, textarea: until their closing tag. */
static bool closes(const struct html *h, str rest)
{
    size_t n = strlen(h->tag);
    if (rest.n < n + 2 || rest.p[0] != '<' || rest.p[1] != '/')
        return false;
    for (size_t i = 0; i < n; i++)
        if (lower(rest.p[2 + i]) != h->tag[i])
            return false;
    return rest.n == n + 2 || !is_alpha(rest.p[n + 2]);
}

static void tag_char(struct html *h, char c)
{
    switch (h->state) {
    case HTML_TAG_NAME:
        if (c == '>' || is_space(c) || c == '/') {
            memcpy(h->tag, h->name, sizeof(h->tag));
            h->state = HTML_TAG;
            if (c == '>')
                tag_ends(h);
        } else {
            name_add(h, c);
        }
        break;
    case HTML_TAG:
        if (c == '>') {
            tag_ends(h);
        } else if (!is_space(c) && c != '/') {
            h->n_name = 0;
            name_add(h, c);
            h->state = HTML_ATTR_NAME;
        }
        break;
    case HTML_ATTR_NAME:
    case HTML_AFTER_NAME:
        if (c == '=') {
            attr_kind(h);
            h->state = HTML_BEFORE_VALUE;
        } else if (c == '>') {
            tag_ends(h);
        } else if (is_space(c) || c == '/') {
            h->state = HTML_AFTER_NAME;
        } else {
            if (h->state == HTML_AFTER_NAME)
                h->n_name = 0;
            h->state = HTML_ATTR_NAME;
            name_add(h, c);
        }
        break;
    default: /* HTML_BEFORE_VALUE */
        if (is_space(c))
            break;
        if (c == '>') {
            tag_ends(h);
            break;
        }
        h->state = HTML_VALUE;
        h->quote = c == '"' || c == '\'' ? c : 0;
        if (!h->quote)
            value_char(h, c);
    }
}

static void text_char(struct html *h, str rest)
{
    if (rest.p[0] != '<')
        return;
    if (str_has_prefix(rest, STR("<!--"))) {
        h->state = HTML_COMMENT;
        h->n_name = 0;
        return;
    }
    size_t i = rest.n > 1 && rest.p[1] == '/' ? 2 : 1;
    if (rest.n > i && is_alpha(rest.p[i])) {
        h->state = HTML_TAG_NAME;
        h->closing = i == 2;
        h->n_name = 0;
    }
}

void html_text(struct html *h, struct buf *out, str s)
{
    for (size_t i = 0; i < s.n; i++) {
        str rest = str_skip(s, i);
        char c = s.p[i];
        if (h->state == HTML_COMMENT) { /* left out, as html/template does */
            if (str_has_prefix(rest, STR("-->"))) {
                i += 2;
                h->state = HTML_TEXT;
            }
            continue;
        }
        if (h->state == HTML_TEXT) {
            text_char(h, rest);
            if (h->state == HTML_COMMENT) {
                i += 3;
                continue;
            }
            if (h->state == HTML_TAG_NAME && h->closing) {
                buf_lit(out, "</");
                i++;
                continue;
            }
        } else if (h->state >= HTML_RCDATA) {
            if (closes(h, rest)) {
                h->state = HTML_TAG_NAME;
                h->closing = true;
                h->n_name = 0;
                buf_lit(out, "</");
                i++;
                continue;
            }
            if (h->state == HTML_SCRIPT)
                js_char(h, c);
            else if (h->state == HTML_STYLE)
                css_char(h, c);
        } else if (h->state == HTML_VALUE) {
            value_char(h, c);
        } else {
            tag_char(h, c);
        }
        buf_u8(out, (uint8_t)c);
    }
}

/* ---- escaping values ---- */
static void plain_text(struct buf *b, const struct tmpl_val *v)
{
    if (v->kind > TMPL_NIL)
        tmpl_print(b, v);
}

/* keep: entities that are there stay. */
static void add_html(struct buf *out, str s, bool keep, bool nospace)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '+')
            buf_lit(out, "&#43;");
        else if (keep && c == '&')
            buf_u8(out, '&');
        else if (nospace && (is_space(c) || c == '=' || c == '`' || c == '\v'))
            buf_printf(out, "&#%d;", c);
        else
            escape_html(out, str_n(&c, 1));
    }
}

static void strip_tags(struct buf *out, str s)
{
    bool tag = false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '<')
            tag = true;
        if (!tag)
            buf_u8(out, (uint8_t)s.p[i]);
        if (s.p[i] == '>')
            tag = false;
    }
}

static bool url_scheme_ok(str s)
{
    static const str good[] = { STR_INIT("http"), STR_INIT("https"), STR_INIT("mailto") };
    size_t colon = str_find_char(s, ':');
    if (colon == SIZE_MAX || str_find_char(str_take(s, colon), '/') != SIZE_MAX)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (str_ieq(str_take(s, colon), good[i]))
            return true;
    return false;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (lower(c) >= 'a' && lower(c) <= 'f');
}

/* normalize: what has a meaning in URLs stays; else everything but unreserved characters is %-escaped. */
static void add_url(struct buf *out, str s, bool normalize)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool keep = is_alpha(c) || (c >= '0' && c <= '9') || (c && strchr("-._~", c));
        if (normalize) {
            keep |= c && strchr("!#$&*+,/:;=?@[]", c) != NULL;
            keep |= c == '%' && i + 2 < s.n && is_hex(s.p[i + 1]) && is_hex(s.p[i + 2]);
        }
        if (keep)
            buf_u8(out, (uint8_t)c);
        else
            buf_printf(out, "%%%02x", (unsigned char)c);
    }
}

static void add_js_str(struct buf *out, str s)
{
    while (s.n) {
        uint32_t r;
        size_t w = str_utf8_get(s, &r);
        if (r == '\\')
            buf_lit(out, "\\\\");
        else if (r == '/')
            buf_lit(out, "\\/");
        else if (r == '\n' || r == '\r' || r == '\t' || r == '\f')
            buf_printf(out, "\\%c", r == '\n' ? 'n' : r == '\r' ? 'r' : r == '\t' ? 't' : 'f');
        else if (r < 0x20 || (r < 0x80 && strchr("\"'`&<>+", (int)r)) || r == 0x2028 || r == 0x2029)
            buf_printf(out, "\\u%04x", r);
        else
            buf_add(out, s.p, w);
        s = str_skip(s, w);
    }
}

static void add_js_value(struct buf *out, const struct tmpl_val *v)
{
    if (v->kind <= TMPL_NIL) {
        buf_lit(out, "null");
    } else if (v->kind == TMPL_STR) {
        AUTO_BUF struct buf b;
        buf_init(&b, 0);
        json_escape(&b, v->s);
        buf_str_add(out, buf_str(&b));
    } else {
        bool word = v->kind <= TMPL_FLOAT;
        if (word)
            buf_u8(out, ' ');
        tmpl_json(out, v);
        if (word)
            buf_u8(out, ' ');
    }
}

static void add_css(struct buf *out, str s, bool in_string)
{
    if (in_string) {
        for (size_t i = 0; i < s.n; i++) {
            char c = s.p[i];
            if ((unsigned char)c < 0x20 || strchr("\"&'()+/:;<>\\{}", c))
                buf_printf(out, "\\%x", (unsigned char)c);
            else
                buf_u8(out, (uint8_t)c);
        }
        return;
    }
    AUTO_BUF struct buf low;
    buf_init(&low, 0);
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool bad = c == 0 || strchr("\"'()/;@[\\]`{}<>", c) || (c == '-' && i + 1 < s.n && s.p[i + 1] == '-' && i > 0);
        if (bad) {
            buf_lit(out, "ZgotmplZ");
            return;
        }
        if (is_alpha(c))
            buf_u8(&low, (uint8_t)lower(c));
    }
    if (str_contains(buf_str(&low), STR("expression")) || str_contains(buf_str(&low), STR("mozbinding")))
        buf_lit(out, "ZgotmplZ");
    else
        buf_str_add(out, s);
}

static void into_attr(struct html *h, struct buf *out, const struct tmpl_val *v, enum tmpl_safe safe)
{
    AUTO_BUF struct buf text, made;
    buf_init(&text, TMPL_OUTPUT_BYTES_MAX);
    buf_init(&made, TMPL_OUTPUT_BYTES_MAX);
    plain_text(&text, v);
    str s = buf_str(&text);
    bool keep = false;
    if (h->attr == ATTR_URL || h->attr == ATTR_SRCSET) {
        if (h->url == URL_QUERY)
            add_url(&made, s, safe == TMPL_SAFE_URL);
        else if (h->url == URL_START && safe != TMPL_SAFE_URL && !url_scheme_ok(s))
            buf_lit(&made, "#ZgotmplZ");
        else
            add_url(&made, s, true);
        if (s.n) {
            bool query = str_find_char(s, '?') != SIZE_MAX || str_find_char(s, '#') != SIZE_MAX;
            h->url = query ? URL_QUERY : h->url == URL_START ? URL_BEFORE_QUERY : h->url;
        }
    } else if (h->attr == ATTR_SCRIPT) {
        if (h->js == JS_CODE && safe == TMPL_SAFE_JS)
            buf_str_add(&made, s);
        else if (h->js == JS_CODE)
            add_js_value(&made, v);
        else
            add_js_str(&made, s);
    } else if (h->attr == ATTR_STYLE) {
        if (safe == TMPL_SAFE_CSS)
            buf_str_add(&made, s);
        else
            add_css(&made, s, h->css == CSS_DQ || h->css == CSS_SQ);
    } else if (safe == TMPL_SAFE_HTML) {
        strip_tags(&made, s);
        keep = true;
    } else {
        buf_str_add(&made, s);
    }
    add_html(out, buf_str(&made), keep, !h->quote);
}

void html_value(struct html *h, struct buf *out, const struct tmpl_val *v)
{
    enum tmpl_safe safe = v->type && v->kind == TMPL_STR ? v->type->safe : TMPL_UNSAFE;
    AUTO_BUF struct buf text;
    buf_init(&text, TMPL_OUTPUT_BYTES_MAX);
    plain_text(&text, v);
    str s = buf_str(&text);
    if (h->state == HTML_BEFORE_VALUE) { /* href={{ . }} */
        h->state = HTML_VALUE;
        h->quote = 0;
    }
    switch (h->state) {
    case HTML_TEXT:
        if (safe == TMPL_SAFE_HTML)
            buf_str_add(out, s);
        else
            add_html(out, s, false, false);
        break;
    case HTML_RCDATA:
        add_html(out, s, safe == TMPL_SAFE_HTML, false);
        break;
    case HTML_COMMENT:
        break;
    case HTML_SCRIPT:
        if (h->js == JS_LINE_COMMENT || h->js == JS_BLOCK_COMMENT)
            break;
        if (h->js == JS_CODE && safe == TMPL_SAFE_JS)
            buf_str_add(out, s);
        else if (h->js == JS_CODE)
            add_js_value(out, v);
        else
            add_js_str(out, s);
        break;
    case HTML_STYLE:
        if (safe == TMPL_SAFE_CSS)
            buf_str_add(out, s);
        else if (h->css != CSS_COMMENT)
            add_css(out, s, h->css != CSS_CODE);
        break;
    case HTML_VALUE:
        into_attr(h, out, v, safe);
        break;
    default: { /* a name of a tag or attribute: only what can be nothing else */
        bool good = s.n > 0;
        for (size_t i = 0; i < s.n; i++)
            good &= is_alpha(s.p[i]) || (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '-';
        good &= s.n < 2 || !(lower(s.p[0]) == 'o' && lower(s.p[1]) == 'n');
        if (!good)
            s = STR("ZgotmplZ");
        html_text(h, out, s);
    }
    }
}
