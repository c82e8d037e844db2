/* GET /runbook/ALERT: the page of a rule pack's alert, from docs/runbook by way of rules_packs.h; /runbook lists them. The
 * Markdown is rendered by hand, as much of it as those pages use: headings, paragraphs, lists, indented code, `code`
 * and [links](to). Everything else is text, escaped. A line of code that is a query leads to Explore. */
#include "rules/rules_packs.h"

#include "api/api_int.h"

static void escape(struct buf *b, str s)
{
    for (size_t i = 0; i < s.n; i++)
        switch (s.p[i]) {
        case '&':
            buf_lit(b, "&amp;");
            break;
        case '<':
            buf_lit(b, "&lt;");
            break;
        case '>':
            buf_lit(b, "&gt;");
            break;
        case '"':
            buf_lit(b, "&quot;");
            break;
        default:
            buf_u8(b, (uint8_t)s.p[i]);
        }
}

/* ---- inside a line ---- */
/* Only pages beside this one, and the web: never a scheme that runs something. */
static bool link_ok(str to)
{
    bool plain = to.n > 0;
    for (size_t i = 0; i < to.n; i++)
        plain &= (to.p[i] | 32) >= 'a' && (to.p[i] | 32) <= 'z';
    return plain || str_has_prefix(to, STR("https://"));
}

static bool take_link(struct buf *b, str *rest)
{
    size_t close = str_find(*rest, STR("](")), end;
    if (close == SIZE_MAX)
        return false;
    str text = str_skip(str_take(*rest, close), 1), tail = str_skip(*rest, close + 2);
    end = str_find_char(tail, ')');
    if (end == SIZE_MAX || !link_ok(str_take(tail, end)))
        return false;
    buf_lit(b, "<a href=\"");
    escape(b, str_take(tail, end));
    buf_lit(b, "\">");
    escape(b, text);
    buf_lit(b, "</a>");
    *rest = str_skip(tail, end + 1);
    return true;
}

static bool take_code(struct buf *b, str *rest)
{
    str tail = str_skip(*rest, 1);
    size_t end = str_find_char(tail, '`');
    if (end == SIZE_MAX)
        return false;
    buf_lit(b, "<code>");
    escape(b, str_take(tail, end));
    buf_lit(b, "</code>");
    *rest = str_skip(tail, end + 1);
    return true;
}

static void inline_text(struct buf *b, str s)
{
    while (s.n) {
        if ((s.p[0] == '`' && take_code(b, &s)) || (s.p[0] == '[' && take_link(b, &s)))
            continue;
        escape(b, str_take(s, 1));
        s = str_skip(s, 1);
    }
}

/* ---- blocks ---- */
enum block { NONE, PARAGRAPH, LIST, CODE };
struct page {
    struct buf *b;
    enum block open;
};

static void enter(struct page *p, enum block want)
{
    static const char *const begin[] = { "", "<p>", "<ul>\n", "<pre>" }, *const end[] = { "", "</p>\n", "</ul>\n",
                                                                                         "</pre>\n" };
    if (p->open == want)
        return;
    buf_str_add(p->b, str_c(end[p->open]));
    buf_str_add(p->b, str_c(begin[want]));
    p->open = want;
}

static void code_line(struct page *p, str line)
{
    AUTO_BUF struct buf url = { 0 };
    http_url_encode(&url, line);
    enter(p, CODE);
    buf_lit(p->b, "<a href=\"/explore?g0.expr=");
    buf_str_add(p->b, buf_str(&url));
    buf_lit(p->b, "\">");
    escape(p->b, line);
    buf_lit(p->b, "</a>\n");
}

static void heading(struct page *p, str line)
{
    unsigned level = 0;
    while (level < 3 && level < line.n && line.p[level] == '#')
        level++;
    enter(p, NONE);
    buf_printf(p->b, "<h%u>", level);
    inline_text(p->b, str_trim(str_skip(line, level)));
    buf_printf(p->b, "</h%u>\n", level);
}

static void block_line(struct page *p, str line)
{
    if (!str_trim(line).n) {
        enter(p, NONE);
    } else if (line.p[0] == '#') {
        heading(p, line);
    } else if (str_has_prefix(line, STR("    ")) && p->open != LIST) {
        code_line(p, str_trim(line));
    } else if (str_has_prefix(line, STR("- "))) {
        enter(p, LIST);
        buf_lit(p->b, "<li>");
        inline_text(p->b, str_skip(line, 2));
        buf_lit(p->b, "</li>\n");
    } else {
        bool goes_on = p->open == PARAGRAPH;
        enter(p, PARAGRAPH);
        if (goes_on)
            buf_u8(p->b, '\n');
        inline_text(p->b, line);
    }
}

static const char style[] =
    "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1f2430;background:#fff}"
    "h1{margin:.2em 0}h2{margin:1.6em 0 .4em;font-size:1.15rem}a{color:#0b62c4}"
    "code,pre{font:14px/1.45 ui-monospace,monospace;background:#f1f3f6;border-radius:4px}code{padding:.1em .3em}"
    "pre{padding:.6em .8em;overflow-x:auto;white-space:pre-wrap}pre a{color:inherit}"
    "@media(prefers-color-scheme:dark){body{color:#dde1e8;background:#15181e}a{color:#7ab7ff}code,pre{background:#22262e}}";

static void begin(struct http_response *rs, str title)
{
    rs->content_type = STR("text/html; charset=utf-8");
    http_set_header(rs, STR("Content-Security-Policy"),
                    STR("default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
                        "frame-ancestors 'self'"));
    buf_lit(&rs->body, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                       "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                       "<link rel=\"stylesheet\" href=\"/runbook/style.css\"><title>");
    escape(&rs->body, title);
    buf_lit(&rs->body, "</title></head><body>\n<p><a href=\"/runbook\">All runbook pages</a> · <a href=\"/alerts\">Alerts"
                       "</a></p>\n");
}

static void list(struct http_request *rq, struct http_response *rs)
{
    (void)rq;
    begin(rs, STR("Runbook"));
    buf_lit(&rs->body, "<h1>Runbook</h1>\n<ul>\n");
    for (size_t i = 0; i < rules_runbooks_n; i++) {
        buf_lit(&rs->body, "<li><a href=\"/runbook/");
        escape(&rs->body, rules_runbooks[i].name);
        buf_lit(&rs->body, "\">");
        escape(&rs->body, rules_runbooks[i].name);
        buf_lit(&rs->body, "</a></li>\n");
    }
    buf_lit(&rs->body, "</ul>\n</body></html>\n");
}

static void page(struct http_request *rq, struct http_response *rs)
{
    const struct rule_text *t = rules_runbook_find(rq->captures[0]);
    if (!t) {
        http_answer(rs, 404, STR("text/plain; charset=utf-8"),
                    STR("There is no such runbook page; /runbook lists those there are.\n"));
        return;
    }
    struct page p = { &rs->body, NONE };
    str rest = t->text, line;
    begin(rs, t->name);
    while (str_cut(&rest, '\n', &line))
        block_line(&p, line);
    enter(&p, NONE);
    buf_lit(&rs->body, "</body></html>\n");
}

static void css(struct http_request *rq, struct http_response *rs)
{
    (void)rq;
    rs->content_type = STR("text/css; charset=utf-8");
    rs->borrowed = str_c(style);
    http_set_header(rs, STR("Cache-Control"), STR("no-cache"));
}

const struct http_route api_runbook_routes[] = {
    { HTTP_BIT(HTTP_GET), "/runbook", list, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/runbook/style.css", css, HTTP_CONTROL, NULL, 0 },
    { HTTP_BIT(HTTP_GET), "/runbook/{name}", page, HTTP_CONTROL, NULL, 0 },
};
const size_t api_runbook_routes_n = ARRAY_LEN(api_runbook_routes);
