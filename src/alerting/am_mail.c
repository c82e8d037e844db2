#include "alerting/am_mail.h"

#include <stdio.h>
#include <unistd.h>

#include <nettle/base64.h>

#include "alerting/am_build.h"
#include "base/vec.h"

#define LINE_MAX_QP  76 /* of quoted-printable */
#define WORD_MAX     75 /* of an encoded word */
#define PICTURE_LINE 57 /* bytes of a picture in a line of base64 */
#define MAIL_MAX     (32u << 20)

/* ---- addresses: "Name <a@b>, c@d" ---- */
static bool bare_address(str s, str *ret)
{
    size_t open = str_find_char(s, '<');
    s = str_trim(s);
    if (open != SIZE_MAX) {
        open = str_find_char(s, '<');
        s = str_skip(s, open + 1);
        size_t close = str_find_char(s, '>');
        if (close == SIZE_MAX || str_trim(str_skip(s, close + 1)).n)
            return false;
        s = str_take(s, close);
    }
    *ret = s;
    size_t at = str_find_char(s, '@');
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == '<' || s.p[i] == '>' || s.p[i] == ',')
            return false;
    return at != SIZE_MAX && at > 0 && at + 1 < s.n;
}

static enum err addresses(struct am_build *b, str list, const char *what, str **ret, size_t *ret_n)
{
    VEC(str) v = { 0 };
    size_t from = 0;
    bool quoted = false;
    for (size_t i = 0; i <= list.n; i++) {
        if (i < list.n && list.p[i] == '"')
            quoted = !quoted;
        if (i < list.n && (list.p[i] != ',' || quoted))
            continue;
        str one = str_trim(str_n(list.p + from, i - from)), address;
        from = i + 1;
        if (!one.n && i == list.n && v.n)
            break;
        if (!bare_address(one, &address))
            return err_fail(b->why, ERR_INVALID, "%s: \"" STR_FMT "\" is no mail address", what, STR_ARG(one));
        if (v.n == AM_MAIL_RECIPIENTS_MAX)
            return err_fail(b->why, ERR_LIMIT, "more than %d recipients", AM_MAIL_RECIPIENTS_MAX);
        avec_push(b->a, &v, address);
    }
    *ret = v.p;
    *ret_n = v.n;
    return OK;
}

/* ---- encodings ---- */
static bool plain_header(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || (unsigned char)s.p[i] > '~')
            return false;
    return true;
}

/* RFC 2047's Q encoding, as Go's mime.QEncoding writes it. */
static void put_header_value(struct buf *b, str s)
{
    static const char open[] = "=?utf-8?q?", close[] = "?=";
    if (plain_header(s)) {
        buf_str_add(b, s);
        return;
    }
    size_t used = 0, room = WORD_MAX - (sizeof(open) - 1) - (sizeof(close) - 1);
    buf_lit(b, "=?utf-8?q?");
    while (s.n) {
        uint32_t r;
        size_t w = str_utf8_get(s, &r), cost = 0;
        for (size_t i = 0; i < w; i++) {
            char c = s.p[i];
            bool direct = c == ' ' || (c > ' ' && c <= '~' && c != '=' && c != '?' && c != '_');
            cost += direct ? 1 : 3;
        }
        if (used + cost > room) {
            buf_lit(b, "?= =?utf-8?q?");
            used = 0;
        }
        for (size_t i = 0; i < w; i++) {
            char c = s.p[i];
            if (c == ' ')
                buf_u8(b, '_');
            else if (c > ' ' && c <= '~' && c != '=' && c != '?' && c != '_')
                buf_u8(b, (uint8_t)c);
            else
                buf_printf(b, "=%02X", (unsigned char)c);
        }
        used += cost;
        s = str_skip(s, w);
    }
    buf_lit(b, "?=");
}

/* RFC 2045's quoted-printable; line ends become CRLF. */
static void put_quoted_printable(struct buf *b, str s)
{
    size_t column = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c == '\r' && i + 1 < s.n && s.p[i + 1] == '\n')
            continue;
        if (c == '\n') {
            buf_lit(b, "\r\n");
            column = 0;
            continue;
        }
        bool last = i + 1 == s.n || s.p[i + 1] == '\n' || (s.p[i + 1] == '\r' && i + 2 < s.n && s.p[i + 2] == '\n');
        bool direct = (c > ' ' && c <= '~' && c != '=') || ((c == ' ' || c == '\t') && !last);
        size_t cost = direct ? 1 : 3;
        if (column + cost > LINE_MAX_QP - 1 && !(last && column + cost <= LINE_MAX_QP)) {
            buf_lit(b, "=\r\n");
            column = 0;
        }
        if (direct)
            buf_u8(b, c);
        else
            buf_printf(b, "=%02X", c);
        column += cost;
    }
}

static void put_part(struct buf *b, str boundary, const char *type, str body)
{
    buf_printf(
        b, "--" STR_FMT "\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Type: %s; charset=UTF-8\r\n\r\n",
        STR_ARG(boundary), type);
    put_quoted_printable(b, body);
    buf_lit(b, "\r\n");
}

/* ---- the message ---- */
static str one_line(struct arena *a, str s) /* a header must not begin another one */
{
    char *p = arena_cstr(a, s);
    for (size_t i = 0; i < s.n; i++)
        if (p[i] == '\r' || p[i] == '\n')
            p[i] = ' ';
    return str_n(p, s.n);
}

static void put_header(struct am_build *b, struct buf *out, str key, str value)
{
    buf_printf(out, STR_FMT ": ", STR_ARG(one_line(b->a, key)));
    put_header_value(out, one_line(b->a, value));
    buf_lit(out, "\r\n");
}

/* All mails about a group are answers to a mail that never was: mail programs show them together. */
static void put_thread(struct am_build *b, struct buf *out, const struct am_email *c)
{
    AUTO_BUF struct buf day;
    buf_init(&day, 0);
    if (!str_eq(c->thread_by_date, STR("none")))
        tmpl_time_format(&day, b->m->now_ms / 1000, 0, tz_utc, STR("2006-01-02"));
    str root = arena_printf(b->a, "<alert-" STR_FMT "-" STR_FMT "@alertmanager>",
                            STR_ARG(str_take(am_group_hash(b), 16)), STR_ARG(buf_str(&day)));
    buf_printf(out, "References: " STR_FMT "\r\nIn-Reply-To: " STR_FMT "\r\n", STR_ARG(root), STR_ARG(root));
}

static void put_headers(struct am_build *b, struct buf *out, const struct am_email *c, str from, str to)
{
    char host[256] = "localhost";
    bool has_subject = false, has_to = false, has_from = false, has_id = false;
    for (size_t i = 0; i < c->headers.n; i++) {
        str key = c->headers.keys[i];
        has_subject |= str_ieq(key, STR("Subject"));
        has_to |= str_ieq(key, STR("To"));
        has_from |= str_ieq(key, STR("From"));
        has_id |= str_ieq(key, STR("Message-Id"));
        put_header(b, out, key, am_shown(b, c->headers.p[i]));
    }
    if (!has_subject)
        put_header(b, out, STR("Subject"), am_shown(b, STR("{{ template \"email.default.subject\" . }}")));
    if (!has_to)
        buf_printf(out, "To: " STR_FMT "\r\n", STR_ARG(one_line(b->a, to)));
    if (!has_from)
        buf_printf(out, "From: " STR_FMT "\r\n", STR_ARG(one_line(b->a, from)));
    gethostname(host, sizeof(host) - 1);
    if (!has_id) /* the same for every attempt at this mail: who has it twice can tell */
        buf_printf(out, "Message-Id: <%lld.%llu@%s>\r\n", (long long)b->m->now_ms,
                   (unsigned long long)b->m->idempotency, host);
    if (c->threading)
        put_thread(b, out, c);
    buf_lit(out, "Date: ");
    tmpl_time_format(out, b->m->now_ms / 1000, 0, tz_utc, STR("Mon, 02 Jan 2006 15:04:05 -0700"));
    buf_lit(out, "\r\n");
}

/* ---- pictures ---- */
static str content_id(struct am_build *b, size_t i)
{
    return arena_printf(b->a, "vane-chart-%zu-%016llx@vane", i, (unsigned long long)b->m->idempotency);
}

static void put_html_escaped(struct buf *out, str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '<' || s.p[i] == '>' || s.p[i] == '&' || s.p[i] == '"')
            buf_printf(out, "&#%d;", s.p[i]);
        else
            buf_u8(out, (uint8_t)s.p[i]);
    }
}

/* The pictures stand at the end of the text, each with the labels that tell it from the others. */
static str with_pictures(struct am_build *b, str html, const struct am_mail_extra *x)
{
    static const str ends[] = { STR_INIT("</body>"), STR_INIT("</html>") };
    size_t at = SIZE_MAX;
    AUTO_BUF struct buf out;
    buf_init(&out, MAIL_MAX);
    for (size_t i = 0; i < ARRAY_LEN(ends) && at == SIZE_MAX; i++)
        at = str_find(html, ends[i]);
    buf_str_add(&out, str_take(html, at));
    for (size_t i = 0; i < x->n_pictures; i++) {
        buf_lit(&out, "<div style=\"font-family:Helvetica,Arial,sans-serif;font-size:12px;margin:12px\"><div>");
        labels_each (l, x->pictures[i].labels) {
            put_html_escaped(&out, l->name);
            buf_lit(&out, "=&#34;");
            put_html_escaped(&out, l->value);
            buf_lit(&out, "&#34; ");
        }
        buf_printf(&out,
                   "</div><img src=\"cid:" STR_FMT "\" width=\"600\" height=\"180\" alt=\"the last hour\"></div>\n",
                   STR_ARG(content_id(b, i)));
    }
    buf_str_add(&out, str_skip(html, MIN(at, html.n)));
    return arena_str(b->a, buf_str(&out));
}

static void put_picture(struct am_build *b, struct buf *out, str boundary, size_t i, str png)
{
    buf_printf(out,
               "--" STR_FMT "\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n"
               "Content-ID: <" STR_FMT ">\r\nContent-Disposition: inline; filename=\"chart-%zu.png\"\r\n\r\n",
               STR_ARG(boundary), STR_ARG(content_id(b, i)), i);
    for (; png.n; png = str_skip(png, PICTURE_LINE)) {
        str line = str_take(png, PICTURE_LINE);
        char text[BASE64_ENCODE_RAW_LENGTH(PICTURE_LINE)];
        base64_encode_raw(text, line.n, (const uint8_t *)line.p);
        buf_printf(out, "%.*s\r\n", (int)BASE64_ENCODE_RAW_LENGTH(line.n), text);
    }
}

static void put_html(struct am_build *b, struct buf *out, str boundary, str html, const struct am_mail_extra *x)
{
    if (!x || !x->n_pictures) {
        put_part(out, boundary, "text/html", html);
        return;
    }
    str inner = arena_printf(b->a, STR_FMT "r", STR_ARG(boundary));
    buf_printf(out, "--" STR_FMT "\r\nContent-Type: multipart/related; boundary=" STR_FMT "\r\n\r\n", STR_ARG(boundary),
               STR_ARG(inner));
    put_part(out, inner, "text/html", with_pictures(b, html, x));
    for (size_t i = 0; i < x->n_pictures; i++)
        put_picture(b, out, inner, i, x->pictures[i].png);
    buf_printf(out, "--" STR_FMT "--\r\n", STR_ARG(inner));
}

/* ---- all of it ---- */
static const str plain_text = STR_INIT(
    "{{ template \"email.default.subject\" . }}\n"
    "{{ range .Alerts }}\n[{{ .Status }}]{{ range .Labels.SortedPairs }} {{ .Name }}=\"{{ .Value }}\"{{ end }}\n"
    "{{ range .Annotations.SortedPairs }}{{ .Name }}: {{ .Value }}\n{{ end }}"
    "since {{ .StartsAt }}{{ if .GeneratorURL }}\n{{ .GeneratorURL }}{{ end }}\n{{ end }}\n{{ .ExternalURL }}\n");

enum err am_mail_build(const struct am_message *m, const struct am_mail_extra *x, struct arena *a, struct am_mail *ret,
                       struct err_text *reterr)
{
    const struct am_email *c = (const void *)m->integration->of;
    struct am_build b;
    size_t n_senders;
    am_build_init(&b, m, a, reterr);
    *ret = (struct am_mail){ 0 };
    str from = am_needed(&b, c->from, "from"), to = am_needed(&b, c->to, "to"), *sender;
    ret->password = am_secret(&b, &c->auth_password, c->auth_password_file);
    ret->secret = am_secret(&b, &c->auth_secret, c->auth_secret_file);
    TRY(b.err);
    TRY(addresses(&b, from, "from", &sender, &n_senders));
    TRY(addresses(&b, to, "to", &ret->to, &ret->n_to));
    if (n_senders != 1)
        return err_fail(reterr, ERR_INVALID, "from: must be exactly one address (found %zu)", n_senders);
    ret->from = sender[0];
    str boundary =
        arena_printf(a, "vane%016llx%016llx", (unsigned long long)m->idempotency, (unsigned long long)m->now_ms);
    AUTO_BUF struct buf out;
    buf_init(&out, MAIL_MAX);
    put_headers(&b, &out, c, from, to);
    buf_printf(&out, "Content-Type: multipart/alternative;  boundary=" STR_FMT "\r\nMIME-Version: 1.0\r\n\r\n",
               STR_ARG(boundary));
    if (c->text.n || (x && x->text_too))
        put_part(&out, boundary, "text/plain", am_shown(&b, c->text.n ? c->text : plain_text));
    if (c->html.n)
        put_html(&b, &out, boundary, am_shown_html(&b, c->html), x);
    buf_printf(&out, "--" STR_FMT "--\r\n", STR_ARG(boundary));
    TRY(b.err);
    if (out.failed)
        return err_fail(reterr, ERR_LIMIT, "the mail is too large");
    ret->message = arena_str(a, buf_str(&out));
    ret->trouble = b.trouble;
    return OK;
}
