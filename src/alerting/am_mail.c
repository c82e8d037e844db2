#include "alerting/am_mail.h"

#include <stdio.h>
#include <unistd.h>

#include "base/check.h"

#define LINE_MAX_QP 76 /* of quoted-printable */
#define WORD_MAX    75 /* of an encoded word */
#define SECRET_MAX  65536

struct mail {
    const struct am_message *m;
    const struct am_email *c;
    struct arena *a;
    struct err_text *why;
    enum err err; /* sticky */
    struct tmpl_am world;
    struct tmpl_run run;
};

static str render(struct mail *x, const struct tmpl_set *set, str text)
{
    struct buf out;
    struct err_text why = { 0 };
    if (x->err || str_find(text, STR("{{")) == SIZE_MAX)
        return text.p ? text : STR("");
    buf_init(&out, 0);
    x->world.set = set;
    enum err e = tmpl_once(NULL, set, STR(""), text, x->m->data, &x->run, &out, &why);
    if (e)
        x->err = err_fail(x->why, e, "%s", why.msg);
    str s = arena_str(x->a, buf_str(&out));
    buf_deinit(&out);
    return s;
}

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

static enum err addresses(struct mail *x, str list, const char *what, str **ret, size_t *ret_n)
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
            return err_fail(x->why, ERR_INVALID, "%s: \"" STR_FMT "\" is no mail address", what, STR_ARG(one));
        if (v.n == AM_MAIL_RECIPIENTS_MAX)
            return err_fail(x->why, ERR_LIMIT, "more than %d recipients", AM_MAIL_RECIPIENTS_MAX);
        avec_push(x->a, &v, address);
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

static void put_headers(struct mail *x, struct buf *b, str from, str to, uint64_t id, str boundary)
{
    char host[256] = "localhost";
    bool has_subject = false, has_to = false, has_from = false;
    for (size_t i = 0; i < x->c->headers.n; i++) {
        str key = x->c->headers.keys[i];
        has_subject |= str_ieq(key, STR("Subject"));
        has_to |= str_ieq(key, STR("To"));
        has_from |= str_ieq(key, STR("From"));
        buf_printf(b, STR_FMT ": ", STR_ARG(one_line(x->a, key)));
        put_header_value(b, one_line(x->a, render(x, x->m->text, x->c->headers.p[i])));
        buf_lit(b, "\r\n");
    }
    if (!has_subject) {
        buf_lit(b, "Subject: ");
        put_header_value(b, one_line(x->a, render(x, x->m->text, STR("{{ template \"email.default.subject\" . }}"))));
        buf_lit(b, "\r\n");
    }
    if (!has_to)
        buf_printf(b, "To: " STR_FMT "\r\n", STR_ARG(one_line(x->a, to)));
    if (!has_from)
        buf_printf(b, "From: " STR_FMT "\r\n", STR_ARG(one_line(x->a, from)));
    gethostname(host, sizeof(host) - 1);
    buf_printf(b, "Message-Id: <%lld.%llu@%s>\r\nDate: ", (long long)x->m->now_ms, (unsigned long long)id, host);
    tmpl_time_format(b, x->m->now_ms / 1000, 0, tz_utc, STR("Mon, 02 Jan 2006 15:04:05 -0700"));
    buf_printf(b, "\r\nContent-Type: multipart/alternative;  boundary=" STR_FMT "\r\nMIME-Version: 1.0\r\n\r\n",
               STR_ARG(boundary));
}

static str password_of(struct mail *x)
{
    str s;
    if (!x->c->auth_password_file.n)
        return x->c->auth_password.value.p ? x->c->auth_password.value : STR("");
    enum err e = fs_read_file(x->m->fs, arena_cstr(x->a, x->c->auth_password_file), SECRET_MAX, x->a, &s, NULL);
    if (e) {
        x->err = err_fail(x->why, e, STR_FMT ": %s", STR_ARG(x->c->auth_password_file), err_describe(e));
        return STR("");
    }
    return str_trim(s);
}

enum err am_mail_build(const struct am_message *m, struct arena *a, uint64_t id, struct am_mail *ret,
                       struct err_text *reterr)
{
    struct mail x = { .m = m, .c = (const void *)m->integration->of, .a = a, .why = reterr };
    x.world = (struct tmpl_am){ .now_ms = m->now_ms, .set = m->text, .data = m->data, .run = &x.run };
    x.run = (struct tmpl_run){ .a = a, .ctx = &x.world };
    str from = render(&x, m->text, x.c->from), to = render(&x, m->text, x.c->to), *sender;
    size_t n_senders;
    TRY(x.err);
    TRY(addresses(&x, from, "from", &sender, &n_senders));
    TRY(addresses(&x, to, "to", &ret->to, &ret->n_to));
    if (n_senders != 1)
        return err_fail(reterr, ERR_INVALID, "from: must be exactly one address (found %zu)", n_senders);
    ret->from = sender[0];
    ret->password = password_of(&x);
    str boundary = arena_printf(a, "vane%016llx%016llx", (unsigned long long)id, (unsigned long long)m->now_ms);
    str text = render(&x, m->text, x.c->text), html = render(&x, m->html, x.c->html);
    AUTO_BUF struct buf b;
    buf_init(&b, 32u << 20);
    put_headers(&x, &b, from, to, id, boundary);
    if (x.c->text.n)
        put_part(&b, boundary, "text/plain", text);
    if (x.c->html.n)
        put_part(&b, boundary, "text/html", html);
    buf_printf(&b, "--" STR_FMT "--\r\n", STR_ARG(boundary));
    TRY(x.err);
    if (b.failed)
        return err_fail(reterr, ERR_LIMIT, "the mail is too large");
    ret->message = arena_str(a, buf_str(&b));
    return OK;
}
