/* Text messages and calls, by a provider: Twilio, Vonage, or any that is spoken to over HTTP.
 * Spec: twilio.com/docs/messaging/api/message-resource, twilio.com/docs/voice/twiml/gather,
 * developer.vonage.com/en/api/sms, developer.vonage.com/en/api/voice. */
#include <gnutls/abstract.h>
#include <nettle/base64.h>

#include "alerting/am_build.h"
#include "alerting/am_callback.h"

#define RECIPIENTS_MAX 50
#define SMS_RUNES      1500 /* ten parts; Twilio takes 1600 */
#define SPEECH_RUNES   1500
#define TOLD_MS        3600000 /* so long a repeated attempt knows whom the one before reached */
#define JWT_SECONDS    120

struct dial {
    struct am_build *b;
    const struct am_dial *c;
    struct am_delivery *d;
    bool phone;
    str message, from, secret;
    str code, callback; /* "": nobody is asked to acknowledge */
};

static enum am_outcome ask(struct dial *x, struct am_request *rq, struct am_answer *ret)
{
    return am_call(x->b, rq, ret, x->d);
}

/* ---- Twilio ---- */
static void put_xml(struct buf *out, str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (strchr("<>&\"'", s.p[i]) && s.p[i])
            buf_printf(out, "&#%d;", s.p[i]);
        else if ((unsigned char)s.p[i] >= ' ' || s.p[i] == '\n')
            buf_u8(out, (uint8_t)s.p[i]);
    }
}

static void put_say(struct dial *x, struct buf *out, str text)
{
    buf_lit(out, "<Say language=\"");
    put_xml(out, x->c->language);
    if (x->c->voice.n) {
        buf_lit(out, "\" voice=\"");
        put_xml(out, x->c->voice);
    }
    buf_lit(out, "\">");
    put_xml(out, text);
    buf_lit(out, "</Say>");
}

static str twiml(struct dial *x)
{
    AUTO_BUF struct buf out;
    buf_init(&out, 65536);
    buf_lit(&out, "<Response>");
    if (x->callback.n) {
        buf_lit(&out, "<Gather numDigits=\"1\" timeout=\"10\" method=\"POST\" action=\"");
        put_xml(&out, x->callback);
        buf_lit(&out, "\">");
    }
    for (uint64_t i = 0; i < x->c->times; i++) {
        put_say(x, &out, x->message);
        if (x->callback.n)
            put_say(x, &out, STR("Press 1 to acknowledge."));
    }
    buf_str_add(&out, x->callback.n ? STR("</Gather></Response>") : STR("</Response>"));
    return arena_str(x->b->a, buf_str(&out));
}

static enum am_outcome twilio(struct dial *x, str to)
{
    struct am_answer answer;
    AUTO_BUF struct buf form;
    buf_init(&form, 262144);
    bool service = !x->phone && str_has_prefix(x->from, STR("MG"));
    am_form_add(&form, "To", to);
    am_form_add(&form, service ? "MessagingServiceSid" : "From", x->from);
    if (x->phone)
        am_form_add(&form, "Twiml", twiml(x));
    else
        am_form_add(&form, "Body", x->message);
    struct am_request rq = { .method = STR("POST"),
                             .url = arena_printf(x->b->a, STR_FMT "/2010-04-01/Accounts/" STR_FMT "/%s.json",
                                                 STR_ARG(x->c->api_url), STR_ARG(x->c->account),
                                                 x->phone ? "Calls" : "Messages"),
                             .content_type = STR("application/x-www-form-urlencoded"),
                             .body = arena_str(x->b->a, buf_str(&form)),
                             .basic_user = x->c->account,
                             .basic_password = x->secret };
    return ask(x, &rq, &answer);
}

/* ---- Vonage ---- */
static str base64url(struct arena *a, const void *p, size_t n)
{
    char *out = arena_alloc(a, BASE64_ENCODE_RAW_LENGTH(n) + 1);
    size_t len = BASE64_ENCODE_RAW_LENGTH(n);
    base64_encode_raw(out, n, p);
    for (size_t i = 0; i < len; i++)
        out[i] = out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i];
    while (len && out[len - 1] == '=')
        len--;
    return str_n(out, len);
}

/* RS256 with the application's private key; "" and an error in b if that is none. */
static str token(struct dial *x)
{
    struct arena *a = x->b->a;
    gnutls_privkey_t key;
    gnutls_datum_t pem = { (unsigned char *)arena_cstr(a, x->secret), (unsigned)x->secret.n }, signature = { 0 };
    static const char head[] = "{\"alg\":\"RS256\",\"typ\":\"JWT\"}";
    long long now = (long long)x->b->m->now_ms / 1000;
    AUTO_BUF struct buf claims;
    buf_init(&claims, 0);
    buf_lit(&claims, "{\"application_id\":");
    json_escape(&claims, x->c->account);
    buf_printf(&claims, ",\"iat\":%lld,\"exp\":%lld,\"jti\":\"%016llx%016llx\"}", now, now + JWT_SECONDS,
               (unsigned long long)os_random_u64(), (unsigned long long)os_random_u64());
    str text = arena_printf(a, STR_FMT "." STR_FMT, STR_ARG(base64url(a, head, sizeof(head) - 1)),
                            STR_ARG(base64url(a, claims.p, claims.n)));
    gnutls_datum_t data = { (unsigned char *)(uintptr_t)text.p, (unsigned)text.n };
    int rc = gnutls_privkey_init(&key);
    if (rc == 0) {
        rc = gnutls_privkey_import_x509_raw(key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
        rc = rc ? rc : gnutls_privkey_sign_data(key, GNUTLS_DIG_SHA256, 0, &data, &signature);
        gnutls_privkey_deinit(key);
    }
    str done =
        rc ? STR("")
           : arena_printf(a, STR_FMT "." STR_FMT, STR_ARG(text), STR_ARG(base64url(a, signature.data, signature.size)));
    gnutls_free(signature.data);
    if (rc)
        am_build_fail(x->b, err_fail(x->b->why, ERR_INVALID,
                                     "secret is no private key in PEM, as calls through Vonage need it: %s",
                                     gnutls_strerror(rc)));
    return done;
}

static void put_number(struct json_out *j, const char *key, str number, bool list)
{
    json_key(j, str_c(key));
    if (list)
        json_arr(j);
    json_obj(j);
    am_put(j, "type", STR("phone"));
    am_put(j, "number", str_has_prefix(number, STR("+")) ? str_skip(number, 1) : number);
    json_obj_end(j);
    if (list)
        json_arr_end(j);
}

static void put_talk(struct dial *x, struct json_out *j, str text)
{
    json_obj(j);
    am_put(j, "action", STR("talk"));
    am_put(j, "text", text);
    am_put(j, "language", x->c->language);
    if (x->callback.n)
        json_kbool(j, "bargeIn", true);
    json_obj_end(j);
}

static enum am_outcome vonage_call(struct dial *x, str to)
{
    struct am_answer answer;
    AUTO_BUF struct buf body;
    buf_init(&body, 262144);
    struct json_out j = json_out_init(&body);
    json_obj(&j);
    put_number(&j, "to", to, true);
    put_number(&j, "from", x->from, false);
    json_key(&j, STR("ncco"));
    json_arr(&j);
    for (uint64_t i = 0; i < x->c->times; i++)
        put_talk(x, &j,
                 x->callback.n ? arena_printf(x->b->a, STR_FMT " Press 1 to acknowledge.", STR_ARG(x->message))
                               : x->message);
    if (x->callback.n) {
        json_obj(&j);
        am_put(&j, "action", STR("input"));
        json_key(&j, STR("type"));
        json_arr(&j);
        json_str(&j, STR("dtmf"));
        json_arr_end(&j);
        json_key(&j, STR("dtmf"));
        json_obj(&j);
        json_ki64(&j, "maxDigits", 1);
        json_ki64(&j, "timeOut", 10);
        json_obj_end(&j);
        json_key(&j, STR("eventUrl"));
        json_arr(&j);
        json_str(&j, x->callback);
        json_arr_end(&j);
        json_obj_end(&j);
    }
    json_arr_end(&j);
    json_obj_end(&j);
    str jwt = token(x);
    if (x->b->err)
        return AM_REFUSED;
    am_build_hide(x->b, jwt);
    struct am_request rq = { .method = STR("POST"),
                             .url = arena_printf(x->b->a, STR_FMT "/v1/calls", STR_ARG(x->c->api_url)),
                             .content_type = STR("application/json"),
                             .body = arena_str(x->b->a, buf_str(&body)) };
    am_request_header(&rq, STR("Authorization"), arena_printf(x->b->a, "Bearer " STR_FMT, STR_ARG(jwt)));
    return ask(x, &rq, &answer);
}

/* The answer is 200 whatever became of it: {"messages":[{"status":"0"}]}. */
static enum am_outcome vonage_said(struct dial *x, str body)
{
    static const str key = STR_INIT("\"status\"");
    size_t at = str_find(body, key);
    str rest = str_trim(at == SIZE_MAX ? STR("") : str_skip(body, at + key.n));
    rest = str_trim(rest.n && rest.p[0] == ':' ? str_skip(rest, 1) : STR(""));
    rest = rest.n && rest.p[0] == '"' ? str_skip(rest, 1) : rest;
    size_t end = 0;
    while (end < rest.n && rest.p[end] >= '0' && rest.p[end] <= '9')
        end++;
    str status = str_take(rest, end);
    if (str_eq(status, STR("0")))
        return AM_SENT;
    IGNORE_ERR(err_fail(x->b->why, ERR_EXEC, "refused: " STR_FMT, STR_ARG(str_take(str_trim(body), 200))));
    bool later = !status.n || str_eq(status, STR("1")) || str_eq(status, STR("5")); /* throttled, internal error */
    return later ? AM_RETRY : AM_REFUSED;
}

static bool is_ascii(str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] > 126)
            return false;
    return true;
}

static enum am_outcome vonage_sms(struct dial *x, str to)
{
    struct am_answer answer;
    AUTO_BUF struct buf form;
    buf_init(&form, 262144);
    am_form_add(&form, "api_key", x->c->account);
    am_form_add(&form, "api_secret", x->secret);
    am_form_add(&form, "from", x->from);
    am_form_add(&form, "to", str_has_prefix(to, STR("+")) ? str_skip(to, 1) : to);
    am_form_add(&form, "text", x->message);
    if (!is_ascii(x->message))
        am_form_add(&form, "type", STR("unicode"));
    struct am_request rq = { .method = STR("POST"),
                             .url = arena_printf(x->b->a, STR_FMT "/sms/json", STR_ARG(x->c->api_url)),
                             .content_type = STR("application/x-www-form-urlencoded"),
                             .body = arena_str(x->b->a, buf_str(&form)) };
    enum am_outcome o = ask(x, &rq, &answer);
    return o == AM_SENT ? vonage_said(x, answer.body) : o;
}

/* ---- any other ---- */
enum quoting { QUOTE_NONE, QUOTE_JSON, QUOTE_URL };

static void put_quoted(struct buf *out, str s, enum quoting q)
{
    AUTO_BUF struct buf json;
    buf_init(&json, 0);
    if (q == QUOTE_URL) {
        http_url_encode(out, s);
    } else if (q == QUOTE_JSON) {
        json_escape(&json, s);
        buf_str_add(out, str_n(json.p + 1, json.n - 2)); /* the quotes are the body's */
    } else {
        buf_str_add(out, s);
    }
}

/* {to}, {from}, {message}, {code}, {callback}, {secret} */
static str filled(struct dial *x, str t, str to, enum quoting q)
{
    const struct http_pair words[] = {
        { STR("{to}"), to },        { STR("{from}"), x->from },         { STR("{message}"), x->message },
        { STR("{code}"), x->code }, { STR("{callback}"), x->callback }, { STR("{secret}"), x->secret }
    };
    AUTO_BUF struct buf out;
    buf_init(&out, 262144);
    while (t.n) {
        size_t i = 0;
        while (i < ARRAY_LEN(words) && !str_has_prefix(t, words[i].name))
            i++;
        if (i < ARRAY_LEN(words))
            put_quoted(&out, words[i].value, q);
        else
            buf_u8(&out, (uint8_t)t.p[0]);
        t = str_skip(t, i < ARRAY_LEN(words) ? words[i].name.n : 1);
    }
    return arena_str(x->b->a, buf_str(&out));
}

static enum am_outcome any_http(struct dial *x, str to)
{
    struct am_build *b = x->b;
    struct am_answer answer;
    bool json = str_contains(x->c->content_type, STR("json")), form = str_contains(x->c->content_type, STR("form"));
    struct am_request rq = { .method = x->c->method,
                             .url = filled(x, am_needed(b, x->c->api_url, "api_url"), to, QUOTE_URL),
                             .content_type = x->c->content_type };
    if (!str_eq(rq.method, STR("GET")))
        rq.body = filled(x, am_needed(b, x->c->body, "body"), to, json ? QUOTE_JSON : form ? QUOTE_URL : QUOTE_NONE);
    for (size_t i = 0; i < x->c->headers.n && i < ARRAY_LEN(rq.headers); i++)
        am_request_header(&rq, x->c->headers.keys[i], filled(x, x->c->headers.p[i].value, to, QUOTE_NONE));
    if (x->c->account.n) {
        rq.basic_user = x->c->account;
        rq.basic_password = x->secret;
    }
    return b->err ? AM_REFUSED : ask(x, &rq, &answer);
}

/* ---- all recipients ---- */
static enum am_outcome one(struct dial *x, str to)
{
    if (str_eq(x->c->provider, STR("twilio")))
        return twilio(x, to);
    if (str_eq(x->c->provider, STR("http")))
        return any_http(x, to);
    return x->phone ? vonage_call(x, to) : vonage_sms(x, to);
}

/* A number is dialled once, though another one's attempt is repeated. */
static enum am_outcome one_once(struct dial *x, str to)
{
    const struct am_line *line = x->b->line;
    str key = arena_printf(x->b->a, "told:%016llx:" STR_FMT, (unsigned long long)x->b->m->idempotency, STR_ARG(to));
    if (line->recall && line->recall(line->ctx, key, x->b->a).n)
        return AM_SENT;
    enum am_outcome o = one(x, to);
    if (o == AM_SENT && line->keep)
        line->keep(line->ctx, key, STR("y"), x->b->m->now_ms + TOLD_MS);
    return o;
}

static enum am_outcome all(struct dial *x, str list)
{
    size_t n = 0, taken = 0;
    enum am_outcome worst = AM_SENT;
    struct err_text why = { 0 };
    str to;
    while (str_cut(&list, ',', &to)) {
        to = str_trim(to);
        if (!to.n)
            continue;
        if (++n > RECIPIENTS_MAX) {
            IGNORE_ERR(err_fail(&why, ERR_LIMIT, "more than %d numbers: the others were not told", RECIPIENTS_MAX));
            break;
        }
        enum am_outcome o = one_once(x, to);
        taken += o == AM_SENT;
        if (o == AM_SENT)
            continue;
        if (!why.msg[0] || o == AM_RETRY)
            IGNORE_ERR(err_fail(&why, ERR_EXEC, STR_FMT ": %s", STR_ARG(str_take(to, 30)), x->b->why->msg));
        worst = worst == AM_RETRY ? worst : o;
    }
    *x->b->why = why;
    if (!n) {
        IGNORE_ERR(err_fail(x->b->why, ERR_INVALID, "to: nobody to tell"));
        return AM_REFUSED;
    }
    /* Some were told, and the others will never be: that is as much as can be had. */
    if (worst == AM_REFUSED && taken && !x->b->trouble.msg[0])
        x->b->trouble = why;
    return worst == AM_REFUSED && taken ? AM_SENT : worst;
}

enum am_outcome am_dial(struct am_build *b, struct am_delivery *d)
{
    const struct am_message *m = b->m;
    struct dial x = { .b = b, .c = (const void *)m->integration->of, .d = d };
    char code[AM_CODE_LEN + 1];
    str base = x.c->callback_url.n ? x.c->callback_url : m->callback_url;
    x.phone = m->integration->kind == AM_PHONE;
    x.message = str_trim(am_shown(b, x.c->message));
    x.from = am_needed(b, x.c->from, "from");
    x.secret = am_secret(b, &x.c->secret, x.c->secret_file);
    x.message = am_truncate_runes(b->a, x.message, x.phone ? SPEECH_RUNES : SMS_RUNES);
    am_callback_code(m->group_key, code);
    x.code = arena_str(b->a, str_c(code));
    if (x.c->acknowledge && am_firing(b) && base.n)
        x.callback =
            am_callback_url(b->a, base, m->integration->kind, m->receiver->name, m->integration->index, x.code);
    if (x.callback.n && !x.phone && !str_eq(x.c->provider, STR("http")))
        x.message = arena_printf(b->a, STR_FMT "\nReply ACK %s to acknowledge.", STR_ARG(x.message), code);
    str to = am_needed(b, x.c->to, "to");
    return b->err ? AM_REFUSED : all(&x, to);
}
