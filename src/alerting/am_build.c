/* Making notifications: templates and their failures, secrets, JSON and forms, markup made harmless. */
#include "alerting/am_build.h"

#include <nettle/sha2.h>
#include <stdio.h>

#define SECRET_BYTES_MAX 65536

/* ---- cutting ---- */
str am_truncate_runes(struct arena *a, str s, size_t n)
{
    size_t count = 0, cut = 0, keep = n > 3 ? n - 1 : n;
    uint32_t r;
    for (str left = s; left.n; count++) {
        if (count == keep)
            cut = s.n - left.n;
        left = str_skip(left, str_utf8_get(left, &r));
    }
    if (count <= n)
        return s;
    return n > 3 ? arena_printf(a, STR_FMT "\xe2\x80\xa6", (int)cut, s.p) : str_take(s, cut);
}

str am_truncate_bytes(struct arena *a, str s, size_t n)
{
    if (s.n <= n)
        return s;
    if (n < 3)
        return str_take(STR(".."), n);
    size_t cut = n - 3;
    while (cut > 0 && ((unsigned char)s.p[cut] & 0xc0) == 0x80)
        cut--;
    return arena_printf(a, STR_FMT "\xe2\x80\xa6", (int)cut, s.p);
}

/* ---- templates ---- */
void am_build_fail(struct am_build *b, enum err e)
{
    if (!b->err)
        b->err = e;
}

static bool render(struct am_build *b, const struct tmpl_set *set, str t, str *ret, struct err_text *why)
{
    if (str_find(t, STR("{{")) == SIZE_MAX) {
        *ret = t.p ? t : STR("");
        return true;
    }
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    b->world.set = set;
    *why = (struct err_text){ 0 };
    enum err e = tmpl_once(NULL, set, STR(""), t, b->data, &b->run, &out, why);
    *ret = e ? STR("") : arena_str(b->a, buf_str(&out));
    if (e && !b->trouble.msg[0])
        b->trouble = *why;
    return e == OK;
}

str am_fallback(struct am_build *b, const char *why)
{
    const struct tmpl_val *alerts = &b->data->list.p[2], *common = &b->data->list.p[4];
    size_t n = 0;
    str name = STR("alerts");
    AUTO_BUF struct buf out;
    buf_init(&out, 4096);
    for (size_t i = 0; i < alerts->list.n; i++)
        n += !am_firing(b) || str_eq(alerts->list.p[i].list.p[0].s, STR("firing"));
    for (size_t i = 0; i < common->map.n; i++)
        if (str_eq(common->map.p[i].k, STR("alertname")))
            name = common->map.p[i].v.s;
    buf_printf(&out, "[%s:%zu] " STR_FMT, am_firing(b) ? "FIRING" : "RESOLVED", n, STR_ARG(str_take(name, 200)));
    for (size_t i = 0, shown = 0; i < common->map.n && shown < 10; i++)
        if (!str_eq(common->map.p[i].k, STR("alertname")))
            buf_printf(&out, "%s" STR_FMT "=" STR_FMT, shown++ ? ", " : " (",
                       STR_ARG(str_take(common->map.p[i].k, 100)), STR_ARG(str_take(common->map.p[i].v.s, 100)));
    if (common->map.n > 1 || (common->map.n == 1 && str_eq(name, STR("alerts"))))
        buf_u8(&out, ')');
    buf_printf(&out, ": %s", why);
    return arena_str(b->a, buf_str(&out));
}

static str instead(struct am_build *b, const struct err_text *why)
{
    return am_fallback(b, arena_printf(b->a, "the template of this text failed: %s", why->msg).p);
}

str am_text(struct am_build *b, str t)
{
    struct err_text why;
    str s;
    render(b, b->m->text, t, &s, &why);
    return s;
}

str am_shown(struct am_build *b, str t)
{
    struct err_text why;
    str s;
    return render(b, b->m->text, t, &s, &why) ? s : instead(b, &why);
}

str am_shown_html(struct am_build *b, str t)
{
    struct err_text why;
    str s;
    if (render(b, b->m->html, t, &s, &why))
        return s;
    AUTO_BUF struct buf out;
    buf_init(&out, 0);
    s = instead(b, &why);
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '<' || s.p[i] == '>' || s.p[i] == '&' || s.p[i] == '"')
            buf_printf(&out, "&#%d;", s.p[i]);
        else
            buf_u8(&out, (uint8_t)s.p[i]);
    }
    return arena_str(b->a, buf_str(&out));
}

str am_needed(struct am_build *b, str t, const char *what)
{
    struct err_text why;
    str s;
    if (!b->err && !render(b, b->m->text, t, &s, &why))
        am_build_fail(b, err_fail(b->why, ERR_EXEC, "%s: %s", what, why.msg));
    return b->err ? STR("") : s;
}

/* ---- secrets ---- */
void am_build_hide(struct am_build *b, str secret)
{
    if (secret.n && b->n_secrets < AM_KEPT_SECRETS_MAX)
        b->secrets[b->n_secrets++] = secret;
}

enum err am_secret_of(struct fs *fs, struct arena *a, const struct conf_secret *value, str file, str *ret,
                      struct err_text *reterr)
{
    str s = value->value.p ? value->value : STR("");
    if (file.n) {
        enum err e = fs_read_file(fs, arena_cstr(a, file), SECRET_BYTES_MAX, a, &s, NULL);
        if (e)
            return err_fail(reterr, e, STR_FMT ": %s", STR_ARG(file), err_describe(e));
    }
    *ret = file.n ? str_trim(s) : s;
    return OK;
}

str am_secret(struct am_build *b, const struct conf_secret *value, str file)
{
    str s = STR("");
    if (!file.n)
        s = am_needed(b, value->value, "secret");
    else
        am_build_fail(b, am_secret_of(b->m->fs, b->a, value, file, &s, b->why));
    am_build_hide(b, s);
    return s;
}

str am_scrubbed(struct arena *a, str text, str secret)
{
    if (!secret.n || !str_contains(text, secret))
        return text;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    for (size_t at; (at = str_find(text, secret)) != SIZE_MAX; text = str_skip(text, at + secret.n)) {
        buf_str_add(&b, str_take(text, at));
        buf_lit(&b, "<secret>");
    }
    buf_str_add(&b, text);
    return arena_str(a, buf_str(&b));
}

/* Secrets too short would tear words apart, and guard nothing. Of a secret URL servers repeat the path. */
static str without_secrets(const struct am_build *b, str text)
{
    for (size_t i = 0; i < b->n_secrets; i++) {
        str s = b->secrets[i];
        size_t scheme = str_find(s, STR("://"));
        if (s.n > 3)
            text = am_scrubbed(b->a, text, s);
        str path = scheme == SIZE_MAX ? STR("") : str_skip(s, scheme + 3);
        path = str_skip(path, MIN(str_find_char(path, '/'), path.n));
        if (path.n > 3)
            text = am_scrubbed(b->a, text, path);
    }
    return text;
}

void am_build_scrub(const struct am_build *b, struct err_text *text)
{
    str s = without_secrets(b, str_c(text->msg));
    if (s.p == text->msg)
        return;
    size_t n = MIN(s.n, sizeof(text->msg) - 1);
    memcpy(text->msg, s.p, n);
    text->msg[n] = 0;
}

str am_group_hash(struct am_build *b)
{
    struct sha256_ctx ctx;
    uint8_t digest[SHA256_DIGEST_SIZE];
    char *hex = arena_alloc(b->a, 2 * sizeof(digest) + 1);
    sha256_init(&ctx);
    sha256_update(&ctx, b->m->group_key.n, (const uint8_t *)b->m->group_key.p);
    sha256_digest(&ctx, sizeof(digest), digest);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return str_n(hex, 2 * sizeof(digest));
}

bool am_firing(const struct am_build *b)
{
    return am_data_firing(b->m->data);
}

/* ---- requests ---- */
struct am_request *am_request_add(struct am_build *b, const char *method, str url, struct buf *body)
{
    ASSERT(b->n < AM_REQUESTS_MAX);
    struct am_request *r = &b->ret[b->n++];
    *r = (struct am_request){ .method = str_c(method), .url = url, .content_type = STR("application/json") };
    r->body = arena_str(b->a, buf_str(body));
    buf_clear(body);
    return r;
}

void am_request_header(struct am_request *r, str name, str value)
{
    ASSERT(r->n_headers < ARRAY_LEN(r->headers));
    r->headers[r->n_headers++] = (struct http_pair){ name, value };
}

void am_put(struct json_out *j, const char *key, str value)
{
    json_key(j, str_c(key));
    json_str(j, value);
}

void am_put_some(struct json_out *j, const char *key, str value)
{
    if (value.n)
        am_put(j, key, value);
}

/* What a template gave, typed as YAML would type it. */
void am_put_typed(struct json_out *j, struct arena *a, str s)
{
    struct json_in in;
    str t = str_trim(s);
    bool scalar = t.n && (t.p[0] == '-' || (t.p[0] >= '0' && t.p[0] <= '9'));
    bool word = str_eq(t, STR("true")) || str_eq(t, STR("false")) || str_eq(t, STR("null"));
    if (t.n && (t.p[0] == '{' || t.p[0] == '[' || scalar || word)) {
        json_in_init(&in, a, t);
        if (json_next(&in) != JSON_TOK_ERR && json_skip(&in) && json_next(&in) == JSON_TOK_END) {
            json_raw(j, t);
            return;
        }
    }
    json_str(j, s);
}

/* A configured tree with templates in its strings. */
void am_put_tree(struct am_build *b, struct json_out *j, const struct conf_node *n)
{
    if (j->depth >= JSON_DEPTH_MAX - 1) {
        json_put_null(j);
        return;
    }
    switch (n->kind) {
    case CONF_MAP:
        json_obj(j);
        for (size_t i = 0; i < n->n; i++) {
            json_key(j, am_text(b, n->items[2 * i]->text));
            am_put_tree(b, j, n->items[2 * i + 1]);
        }
        json_obj_end(j);
        break;
    case CONF_SEQ:
        json_arr(j);
        for (size_t i = 0; i < n->n; i++)
            am_put_tree(b, j, n->items[i]);
        json_arr_end(j);
        break;
    case CONF_SCALAR:
        if (n->plain || str_find(n->text, STR("{{")) != SIZE_MAX)
            am_put_typed(j, b->a, am_shown(b, n->text));
        else
            json_str(j, n->text);
        break;
    default:
        json_put_null(j);
    }
}

void am_form_add(struct buf *out, const char *name, str value)
{
    static const char plain[] = "-_.~";
    if (!value.n)
        return;
    buf_printf(out, "%s%s=", out->n && out->p[out->n - 1] != '?' ? "&" : "", name);
    for (size_t i = 0; i < value.n; i++) {
        unsigned char ch = (unsigned char)value.p[i];
        bool as_is = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
                     (ch && strchr(plain, ch));
        if (ch == ' ')
            buf_u8(out, '+');
        else if (as_is)
            buf_u8(out, ch);
        else
            buf_printf(out, "%%%02X", ch);
    }
}

/* ---- markup ----
 * Values of labels come from what is watched, not from who wrote the rule. Where a service acts on markup in texts (calls
 * everybody, shows a link of foreign making), that markup is made text; annotations and templates may use it. */
enum markup { MARKUP_NONE, MARKUP_SLACK, MARKUP_AT, MARKUP_TEAMS };
static enum markup markup_of(enum am_kind k)
{
    switch (k) {
    case AM_SLACK:
        return MARKUP_SLACK;
    case AM_ROCKETCHAT:
    case AM_MATTERMOST:
    case AM_DISCORD:
    case AM_WEBEX:
        return MARKUP_AT;
    case AM_MSTEAMS:
    case AM_MSTEAMSV2:
        return MARKUP_TEAMS;
    default:
        return MARKUP_NONE;
    }
}

static bool slack_acts(str s) /* on s, which begins with '<': <!channel>, <@U1>, <#C1>, <https://...|text> */
{
    size_t end = str_find_char(s, '>');
    if (s.n < 2 || end == SIZE_MAX)
        return false;
    str in = str_n(s.p + 1, end - 1);
    return strchr("!@#", s.p[1]) || str_contains(in, STR("://")) || str_has_prefix(in, STR("mailto:")) ||
           str_find_char(in, '|') != SIZE_MAX;
}

static bool calls_all(str s) /* s begins with '@' */
{
    static const str names[] = { STR_INIT("everyone"), STR_INIT("here"), STR_INIT("channel"), STR_INIT("all") };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_ieq(str_take(str_skip(s, 1), names[i].n), names[i]))
            return true;
    return false;
}

static str harmless(struct arena *a, str s, enum markup m)
{
    AUTO_BUF struct buf out;
    bool changed = false;
    buf_init(&out, 0);
    for (str left = s; left.n; left = str_skip(left, 1)) {
        char c = left.p[0];
        if (m == MARKUP_SLACK && c == '<' && slack_acts(left))
            buf_lit(&out, "&lt;");
        else if (m == MARKUP_AT && ((c == '@' && calls_all(left)) || (c == '<' && left.n > 1 && left.p[1] == '@')))
            buf_printf(&out, "%c\xe2\x80\x8b", c); /* a zero-width space */
        else if (m == MARKUP_AT && c == '[' && str_contains(left, STR("](")))
            buf_lit(&out, "\\[");
        else if (m == MARKUP_TEAMS && c == '[' && str_contains(left, STR("](")))
            buf_lit(&out, "\\[");
        else if (m == MARKUP_TEAMS && c == '<')
            buf_lit(&out, "&lt;");
        else {
            buf_u8(&out, (uint8_t)c);
            continue;
        }
        changed = true;
    }
    return changed ? arena_str(a, buf_str(&out)) : s;
}

static void harmless_map(struct arena *a, struct tmpl_val *v, enum markup m)
{
    struct tmpl_pair *p = arena_array(a, struct tmpl_pair, v->map.n + 1);
    for (size_t i = 0; i < v->map.n; i++) {
        p[i] = v->map.p[i];
        p[i].v.s = harmless(a, p[i].v.s, m);
    }
    v->map.p = p;
}

static const struct tmpl_val *harmless_data(struct arena *a, const struct tmpl_val *data, enum markup m)
{
    struct tmpl_val *d = arena_new(a, struct tmpl_val);
    *d = *data;
    if (m == MARKUP_NONE)
        return data;
    d->list.p = arena_array(a, struct tmpl_val, data->list.n);
    memcpy(d->list.p, data->list.p, data->list.n * sizeof(*d->list.p));
    struct tmpl_val *alerts = &d->list.p[2];
    struct tmpl_val *copies = arena_array(a, struct tmpl_val, alerts->list.n + 1);
    for (size_t i = 0; i < alerts->list.n; i++) {
        copies[i] = alerts->list.p[i];
        copies[i].list.p = arena_array(a, struct tmpl_val, copies[i].list.n);
        memcpy(copies[i].list.p, alerts->list.p[i].list.p, copies[i].list.n * sizeof(*copies[i].list.p));
        harmless_map(a, &copies[i].list.p[1], m);
    }
    alerts->list.p = copies;
    harmless_map(a, &d->list.p[3], m);
    harmless_map(a, &d->list.p[4], m);
    return d;
}

void am_build_init(struct am_build *b, const struct am_message *m, struct arena *a, struct err_text *why)
{
    *b = (struct am_build){ .m = m, .a = a, .why = why };
    b->data = harmless_data(a, m->data, markup_of(m->integration->kind));
    b->world = (struct tmpl_am){ .now_ms = m->now_ms, .set = m->text, .data = b->data, .run = &b->run };
    b->run = (struct tmpl_run){ .a = a, .ctx = &b->world };
}

/* ---- answers ---- */
enum am_outcome am_call(struct am_build *b, const struct am_request *rq, struct am_answer *ret, struct am_delivery *d)
{
    *ret = (struct am_answer){ 0 };
    enum err e = b->line->call(b->line->ctx, rq, b->a, ret, b->why);
    d->status = ret->status;
    d->retry_in_ms = ret->retry_in_ms;
    if (e)
        return e == ERR_INVALID ? AM_REFUSED : AM_RETRY;
    /* Before it is cut: half a secret is not found any more. */
    str body = without_secrets(b, ret->body);
    enum am_outcome o = am_payload_judge(b->m->integration->kind, ret->status, body, b->why);
    return o == AM_REFUSED && ret->status == 429 ? AM_RETRY : o;
}

str am_answer_text(struct arena *a, str json, const char *key)
{
    struct json_in in;
    enum json_tok t;
    json_in_init(&in, a, json);
    if (json_next(&in) != JSON_TOK_OBJ)
        return STR("");
    while ((t = json_next(&in)) == JSON_TOK_KEY) {
        bool is = str_eq(in.text, str_c(key));
        t = json_next(&in);
        if (is)
            return t == JSON_TOK_STR || t == JSON_TOK_NUM ? arena_str(a, in.text) : STR("");
        if (t == JSON_TOK_ERR || !json_skip(&in))
            break;
    }
    return STR("");
}
