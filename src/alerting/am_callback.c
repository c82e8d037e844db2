#include "alerting/am_callback.h"

#include <ctype.h>
#include <gnutls/crypto.h>
#include <nettle/base64.h>
#include <stdio.h>
#include <stdlib.h>

#include "alerting/am_build.h"
#include "base/vec.h"

#define PARAMS_MAX 100
#define LATE_S     300 /* a signed token may be this much early or late */
#define KEY_ACK    '1' /* the key that acknowledges */

/* ---- codes and addresses ---- */
static void mac(gnutls_mac_algorithm_t alg, str key, str text, uint8_t *ret)
{
    gnutls_hmac_fast(alg, key.p, key.n, text.p, text.n, ret); /* fails for unknown algorithms only */
}

void am_callback_code(str group_key, char ret[AM_CODE_LEN + 1])
{
    uint8_t d[32];
    gnutls_hash_fast(GNUTLS_DIG_SHA256, group_key.p, group_key.n, d);
    unsigned v = (unsigned)d[0] << 24 | (unsigned)d[1] << 16 | (unsigned)d[2] << 8 | d[3];
    snprintf(ret, AM_CODE_LEN + 1, "%06u", v % 1000000);
}

str am_callback_url(struct arena *a, str base, enum am_kind kind, str receiver, size_t index, str code)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    while (base.n && base.p[base.n - 1] == '/')
        base.n--;
    buf_printf(&b, STR_FMT "/api/v1/alerting/callback/%s/", STR_ARG(base), am_kind_name(kind));
    http_url_encode(&b, receiver);
    buf_printf(&b, "/%zu", index);
    if (code.n)
        buf_printf(&b, "?code=" STR_FMT, STR_ARG(code));
    return arena_str(a, buf_str(&b));
}

/* ---- what came ---- */
struct asked {
    const struct am_callback *cb;
    const struct am_dial *c;
    struct arena *a;
    str secret, callback_secret;
    VEC(struct http_pair) form; /* of the body */
    struct am_callback_deed *ret;
};

static void refuse(struct asked *x, int status, const char *why)
{
    x->ret->status = status;
    x->ret->text = str_c(why);
}

static const struct am_dial *integration_of(const struct am_config *cfg, const struct am_callback *cb)
{
    const struct am_receiver *r = am_config_receiver(cfg, cb->receiver);
    for (size_t i = 0; r && i < r->n_integrations; i++)
        if (r->integrations[i].kind == cb->kind && r->integrations[i].index == cb->index &&
            (cb->kind == AM_PHONE || cb->kind == AM_SMS))
            return (const void *)r->integrations[i].of;
    return NULL;
}

static bool is_form(const struct asked *x)
{
    return str_ieq(x->cb->content_type, STR("application/x-www-form-urlencoded"));
}

static void read_form(struct asked *x)
{
    str rest = is_form(x) ? x->cb->body : STR(""), pair;
    while (str_cut(&rest, '&', &pair) && x->form.n < PARAMS_MAX) {
        str value = pair, name;
        if (!pair.n)
            continue;
        if (!str_cut(&value, '=', &name))
            continue;
        struct http_pair p = { http_url_decode(x->a, name, true), http_url_decode(x->a, value, true) };
        avec_push(x->a, &x->form, p);
    }
}

static str of_pairs(const struct http_pair *p, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(p[i].name, str_c(name)))
            return p[i].value;
    return STR("");
}

/* A field of the form, of the body as JSON, or of the query. */
static str field(const struct asked *x, const char *name)
{
    str v = of_pairs(x->form.p, x->form.n, name);
    if (!v.n && !is_form(x))
        v = am_answer_text(x->a, x->cb->body, name);
    return v.n ? v : of_pairs(x->cb->query, x->cb->n_query, name);
}

/* ---- signatures ---- */
static bool same(str x, str y) /* in a time that does not tell where they differ */
{
    unsigned char d = x.n != y.n;
    for (size_t i = 0; i < x.n && i < y.n; i++)
        d |= (unsigned char)(x.p[i] ^ y.p[i]);
    return d == 0 && x.n > 0;
}

static int by_name(const void *x, const void *y)
{
    return str_cmp(((const struct http_pair *)x)->name, ((const struct http_pair *)y)->name);
}

static str hex(struct arena *a, const uint8_t *p, size_t n)
{
    char *out = arena_alloc(a, 2 * n + 1);
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", p[i]);
    return str_n(out, 2 * n);
}

/* base64(HMAC-SHA1(token, URL and the form's fields, sorted, name by value)) */
static bool by_twilio(const struct asked *x)
{
    const struct am_callback *cb = x->cb;
    uint8_t d[20];
    char text[BASE64_ENCODE_RAW_LENGTH(sizeof(d))];
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    str base = x->c->callback_url.n ? x->c->callback_url : cb->external_url;
    buf_str_add(
        &b, am_callback_url(x->a, base, cb->kind, cb->receiver, cb->index, of_pairs(cb->query, cb->n_query, "code")));
    struct http_pair *p = arena_array(x->a, struct http_pair, x->form.n + 1);
    if (x->form.n) {
        memcpy(p, x->form.p, x->form.n * sizeof(*p));
        qsort(p, x->form.n, sizeof(*p), by_name);
    }
    for (size_t i = 0; i < x->form.n; i++) {
        buf_str_add(&b, p[i].name);
        buf_str_add(&b, p[i].value);
    }
    mac(GNUTLS_MAC_SHA1, x->callback_secret.n ? x->callback_secret : x->secret, buf_str(&b), d);
    base64_encode_raw(text, sizeof(d), d);
    return same(cb->twilio_signature, str_n(text, sizeof(text)));
}

/* sig = HMAC-SHA256 over "&name=value" of all others, sorted; & and = in values are _. */
static bool by_vonage_fields(const struct asked *x)
{
    const struct http_pair *from = x->form.n ? x->form.p : x->cb->query;
    size_t n = x->form.n ? x->form.n : x->cb->n_query, m = 0;
    struct http_pair *p = arena_array(x->a, struct http_pair, n + 1);
    uint8_t d[32];
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    for (size_t i = 0; i < n; i++)
        if (!str_eq(from[i].name, STR("sig")))
            p[m++] = from[i];
    qsort(p, m, sizeof(*p), by_name);
    for (size_t i = 0; i < m; i++) {
        buf_printf(&b, "&" STR_FMT "=", STR_ARG(p[i].name));
        for (size_t k = 0; k < p[i].value.n; k++)
            buf_u8(&b, strchr("&=", p[i].value.p[k]) && p[i].value.p[k] ? '_' : (uint8_t)p[i].value.p[k]);
    }
    mac(GNUTLS_MAC_SHA256, x->callback_secret, buf_str(&b), d);
    str sig = of_pairs(from, n, "sig"), want = hex(x->a, d, sizeof(d));
    char *lower = arena_cstr(x->a, sig);
    for (size_t i = 0; i < sig.n; i++)
        lower[i] = (char)tolower((unsigned char)lower[i]);
    return same(str_n(lower, sig.n), want);
}

static bool base64url(struct arena *a, str s, str *ret)
{
    struct base64_decode_ctx cx;
    char *in = arena_alloc(a, s.n + 4);
    size_t n = s.n, got = BASE64_DECODE_LENGTH(s.n + 4);
    for (size_t i = 0; i < s.n; i++)
        in[i] = s.p[i] == '-' ? '+' : s.p[i] == '_' ? '/' : s.p[i];
    while (n % 4)
        in[n++] = '=';
    uint8_t *out = arena_alloc(a, got + 1);
    base64_decode_init(&cx);
    if (!base64_decode_update(&cx, &got, out, n, in) || !base64_decode_final(&cx))
        return false;
    *ret = str_n((char *)out, got);
    return true;
}

/* Authorization: Bearer with HS256, and in it the body's hash. */
static bool by_vonage_token(const struct asked *x)
{
    str token = x->cb->authorization, head, claims, signature, head_text, claims_text, sent;
    uint8_t d[32];
    if (!str_has_prefix(token, STR("Bearer ")))
        return false;
    token = str_skip(token, 7);
    str rest = token;
    if (!str_cut(&rest, '.', &head) || !str_cut(&rest, '.', &claims) || !rest.n)
        return false;
    signature = rest;
    mac(GNUTLS_MAC_SHA256, x->callback_secret, str_take(token, head.n + 1 + claims.n), d);
    if (!base64url(x->a, head, &head_text) || !base64url(x->a, claims, &claims_text) ||
        !base64url(x->a, signature, &sent) || !same(sent, str_n((const char *)d, sizeof(d))))
        return false;
    int64_t iat = 0;
    gnutls_hash_fast(GNUTLS_DIG_SHA256, x->cb->body.p, x->cb->body.n, d);
    str hash = am_answer_text(x->a, claims_text, "payload_hash");
    bool in_time =
        str_to_i64(am_answer_text(x->a, claims_text, "iat"), &iat) && llabs(iat - x->cb->now_ms / 1000) < LATE_S;
    return str_eq(am_answer_text(x->a, head_text, "alg"), STR("HS256")) && in_time &&
           same(hash, hex(x->a, d, sizeof(d)));
}

static bool by_secret(const struct asked *x)
{
    uint8_t d[32];
    mac(GNUTLS_MAC_SHA256, x->callback_secret, x->cb->body, d);
    return same(x->cb->vane_signature, arena_printf(x->a, "sha256=" STR_FMT, STR_ARG(hex(x->a, d, sizeof(d)))));
}

static bool genuine(const struct asked *x)
{
    if (str_eq(x->c->provider, STR("twilio")))
        return (x->secret.n || x->callback_secret.n) && by_twilio(x);
    if (!x->callback_secret.n)
        return false;
    if (str_eq(x->c->provider, STR("http")))
        return by_secret(x);
    return x->cb->authorization.n ? by_vonage_token(x) : by_vonage_fields(x);
}

/* ---- what is wanted ---- */
static str digits_of(str s, size_t n) /* the first run of exactly n digits */
{
    for (size_t i = 0; i < s.n;) {
        size_t k = i;
        while (k < s.n && s.p[k] >= '0' && s.p[k] <= '9')
            k++;
        if (k - i == n)
            return str_n(s.p + i, n);
        i = k + 1;
    }
    return STR("");
}

static void add_groups(struct asked *x, str code) /* "": all of them */
{
    struct am_callback_deed *d = x->ret;
    d->group_keys = arena_array(x->a, str, x->cb->n_groups + 1);
    for (size_t i = 0; i < x->cb->n_groups; i++) {
        char c[AM_CODE_LEN + 1];
        am_callback_code(x->cb->groups[i], c);
        if (!code.n || str_eq(str_c(c), code))
            d->group_keys[d->n_group_keys++] = x->cb->groups[i];
    }
    d->text = d->n_group_keys ? STR("Acknowledged.") : STR("Nothing to acknowledge: it is over.");
}

static void pressed(struct asked *x)
{
    str digits = field(x, "Digits"), dtmf = STR("\"digits\"");
    if (!digits.n) /* Vonage: {"dtmf":{"digits":"1"}} */
        digits = field(x, "digits");
    if (!digits.n && str_contains(x->cb->body, dtmf))
        digits = digits_of(str_take(str_skip(x->cb->body, str_find(x->cb->body, dtmf) + dtmf.n), 16), 1);
    str code = of_pairs(x->cb->query, x->cb->n_query, "code"), who = field(x, "To");
    who = who.n ? who : field(x, "to");
    x->ret->owner = arena_printf(x->a, "phone:" STR_FMT, STR_ARG(str_take(who, 40)));
    if (!code.n && str_eq(x->c->provider, STR("http")))
        code = field(x, "code");
    if (digits.n != 1 || digits.p[0] != KEY_ACK)
        x->ret->text = STR("Not acknowledged.");
    else if (code.n != AM_CODE_LEN)
        refuse(x, 400, "no code in the query");
    else
        add_groups(x, code);
}

static bool is_recipient(const struct asked *x, str number)
{
    str rest = x->c->to, one;
    if (str_contains(rest, STR("{{")))
        return false;
    number = str_has_prefix(number, STR("+")) ? str_skip(number, 1) : number;
    while (str_cut(&rest, ',', &one)) {
        one = str_trim(one);
        if (str_eq(str_has_prefix(one, STR("+")) ? str_skip(one, 1) : one, number) && number.n)
            return true;
    }
    return false;
}

static bool says_yes(str text)
{
    static const str words[] = { STR_INIT("ack"), STR_INIT("ok"), STR_INIT("1"), STR_INIT("yes") };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_ieq(text, words[i]))
            return true;
    return false;
}

/* "ACK 123456"; who is told anyway may leave out the code while one group fires. */
static void replied(struct asked *x)
{
    str text = field(x, "Body"), who = field(x, "From");
    text = str_trim(text.n ? text : field(x, "text"));
    who = who.n ? who : field(x, "msisdn");
    who = who.n ? who : field(x, "from");
    x->ret->owner = arena_printf(x->a, "sms:" STR_FMT, STR_ARG(str_take(who, 40)));
    str code = digits_of(text, AM_CODE_LEN);
    if (code.n)
        add_groups(x, code);
    else if (says_yes(text) && x->cb->n_groups == 1 && is_recipient(x, who))
        add_groups(x, STR(""));
    else
        x->ret->text = STR("Not understood. Reply ACK and the six digits of the message.");
}

void am_callback_read(const struct am_config *cfg, const struct am_callback *cb, struct fs *fs, struct arena *a,
                      struct am_callback_deed *ret)
{
    struct asked x = { .cb = cb, .c = integration_of(cfg, cb), .a = a, .ret = ret };
    struct err_text why = { 0 };
    *ret = (struct am_callback_deed){ .status = 200, .text = STR(""), .owner = STR("") };
    if (!x.c || !x.c->acknowledge) {
        refuse(&x, 404, "no such receiver takes acknowledgements");
        return;
    }
    if (am_secret_of(fs, a, &x.c->secret, x.c->secret_file, &x.secret, &why) != OK ||
        am_secret_of(fs, a, &x.c->callback_secret, x.c->callback_secret_file, &x.callback_secret, &why) != OK) {
        refuse(&x, 503, "a secret's file cannot be read");
        return;
    }
    read_form(&x);
    if (!genuine(&x)) {
        refuse(&x, 403, "the signature is missing or wrong");
        return;
    }
    if (cb->kind == AM_PHONE)
        pressed(&x);
    else
        replied(&x);
}

str am_callback_answer(const struct am_config *cfg, const struct am_callback *cb, str said, struct arena *a,
                       str *ret_content_type)
{
    const struct am_dial *c = integration_of(cfg, cb);
    bool phone = cb->kind == AM_PHONE;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    struct json_out j = json_out_init(&b);
    *ret_content_type = STR("application/json");
    if (c && str_eq(c->provider, STR("twilio"))) {
        *ret_content_type = STR("text/xml");
        buf_printf(&b, "<Response><%s>", phone ? "Say" : "Message");
        for (size_t i = 0; i < said.n; i++)
            if (strchr("<>&", said.p[i]) == NULL)
                buf_u8(&b, (uint8_t)said.p[i]);
        buf_printf(&b, "</%s></Response>", phone ? "Say" : "Message");
    } else if (c && phone && str_eq(c->provider, STR("vonage"))) {
        json_arr(&j);
        json_obj(&j);
        am_put(&j, "action", STR("talk"));
        am_put(&j, "text", said);
        json_obj_end(&j);
        json_arr_end(&j);
    } else {
        json_obj(&j);
        am_put(&j, "message", said);
        json_obj_end(&j);
    }
    return arena_str(a, buf_str(&b));
}
