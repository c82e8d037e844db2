/* Tokens of OAuth 2.0 (manual: http_oauth2.h). */
#include "http/http_oauth2.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/stats.h"
#include "http/http_int.h"

enum {
    TOKENS_MAX = 256, /* sets of settings */
    TOKEN_BYTES_MAX = 16 * 1024,
    ANSWER_BYTES_MAX = 1 << 20,
    FETCH_MS_MAX = 30000,
    BACKOFF_MS_MIN = 1000,
    BACKOFF_MS_MAX = 30000,
    YOUNG_MS = 10000, /* a token refused that soon is not fetched again */
};
#define MS 1000000ull

static struct stat fetched = STAT_COUNTER("vane_http_client_oauth2_tokens_total", "OAuth2 tokens fetched", "");
static struct stat fetch_failed_total =
    STAT_COUNTER("vane_http_client_oauth2_failures_total", "OAuth2 token requests that gave no token", "");

struct entry {
    struct http_tokens *tokens;
    hash128 key;
    struct arena token_a; /* of authorization */
    str authorization;    /* "Bearer abc"; empty: none yet */
    uint64_t issued_ns;
    uint64_t refresh_ns, end_ns; /* fetch a new one from here on; not to be used from here on */
    uint64_t retry_ns;           /* after a failure: not before */
    uint64_t used_ns;
    unsigned backoff_ms;
    char error[300];
    bool in_form; /* this server wants the credentials in the form */

    /* the fetch under way: everything it needs, copied, in fetch_a */
    bool fetching, tries_form;
    struct arena fetch_a;
    struct http_oauth2 o;
};
struct http_tokens {
    struct http_client *client;
    struct mtx mu;
    VEC(struct entry *) entries;
};

/* ---- settings ---- */

static void put(struct buf *b, str s)
{
    buf_lstr(b, s);
}

static hash128 key_of(const struct http_oauth2 *o)
{
    static const struct http_tls no_tls;
    const struct http_tls *t = o->tls ? o->tls : &no_tls;
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    const str all[] = { o->token_url, o->client_id, o->client_secret, o->proxy_url, o->no_proxy, t->ca_file,
                        t->cert_file, t->key_file,  t->ca_pem,        t->cert_pem,  t->key_pem,  t->server_name };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        put(&b, all[i]);
    buf_uvarint(&b, o->n_scopes);
    for (size_t i = 0; i < o->n_scopes; i++)
        put(&b, o->scopes[i]);
    buf_uvarint(&b, o->n_params);
    for (size_t i = 0; i < o->n_params; i++)
        put(&b, o->params[i].name), put(&b, o->params[i].value);
    for (size_t i = 0; i < o->n_proxy_headers; i++)
        put(&b, o->proxy_headers[i].name), put(&b, o->proxy_headers[i].value);
    buf_u8(&b, (uint8_t)(t->insecure_skip_verify | o->proxy_from_environment << 1));
    buf_u32(&b, t->min_version << 16 | t->max_version);
    return hash128_seed(buf_str(&b), 0);
}

static const struct http_pair *pairs_copy(struct arena *a, const struct http_pair *p, size_t n)
{
    struct http_pair *out = arena_array(a, struct http_pair, n + 1);
    for (size_t i = 0; i < n; i++)
        out[i] = (struct http_pair){ arena_str(a, p[i].name), arena_str(a, p[i].value) };
    return out;
}

static void settings_copy(struct arena *a, const struct http_oauth2 *from, struct http_oauth2 *to)
{
    *to = *from;
    str *all[] = { &to->token_url, &to->client_id, &to->client_secret, &to->proxy_url, &to->no_proxy };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        *all[i] = arena_str(a, *all[i]);
    str *scopes = arena_array(a, str, from->n_scopes + 1);
    for (size_t i = 0; i < from->n_scopes; i++)
        scopes[i] = arena_str(a, from->scopes[i]);
    to->scopes = scopes;
    to->params = pairs_copy(a, from->params, from->n_params);
    to->proxy_headers = pairs_copy(a, from->proxy_headers, from->n_proxy_headers);
    if (!from->tls)
        return;
    struct http_tls *t = arena_new(a, struct http_tls);
    *t = *from->tls;
    str *files[] = { &t->ca_file, &t->cert_file, &t->key_file, &t->ca_pem, &t->cert_pem, &t->key_pem, &t->server_name };
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        *files[i] = arena_str(a, *files[i]);
    to->tls = t;
}

/* ---- entries, under mu ---- */

static void entry_free(struct entry *e)
{
    arena_deinit(&e->token_a);
    arena_deinit(&e->fetch_a);
    mem_free(e);
}

static struct entry *entry_find(struct http_tokens *t, const struct http_oauth2 *o)
{
    hash128 key = key_of(o);
    for (size_t i = 0; i < t->entries.n; i++)
        if (hash128_eq(t->entries.p[i]->key, key))
            return t->entries.p[i];
    return NULL;
}

/* The one that was not used for longest makes room. NULL: all are being fetched. */
static struct entry *entry_new(struct http_tokens *t, const struct http_oauth2 *o)
{
    size_t oldest = SIZE_MAX;
    for (size_t i = 0; t->entries.n >= TOKENS_MAX && i < t->entries.n; i++)
        if (!t->entries.p[i]->fetching &&
            (oldest == SIZE_MAX || t->entries.p[i]->used_ns < t->entries.p[oldest]->used_ns))
            oldest = i;
    if (oldest != SIZE_MAX) {
        entry_free(t->entries.p[oldest]);
        vec_remove_swap(&t->entries, oldest);
    } else if (t->entries.n >= TOKENS_MAX) {
        return NULL;
    }
    struct entry *e = mem_zalloc(sizeof(*e));
    e->tokens = t;
    e->key = key_of(o);
    arena_init(&e->token_a, 0);
    arena_init(&e->fetch_a, 0);
    vec_push(&t->entries, e);
    return e;
}

/* ---- the answer ---- */

struct answer {
    str token, type, error, description;
    uint64_t expires_s; /* 0: not said */
};

static bool token_clean(str s, size_t max)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] >= 0x7f)
            return false;
    return s.n > 0 && s.n <= max;
}

static void answer_field(struct answer *out, str key, str value)
{
    double seconds;
    char text[32];
    if (str_eq(key, STR("access_token")))
        out->token = value;
    else if (str_eq(key, STR("token_type")))
        out->type = value;
    else if (str_eq(key, STR("error")))
        out->error = value;
    else if (str_eq(key, STR("error_description")))
        out->description = value;
    else if (str_eq(key, STR("expires_in")) && value.n < sizeof(text)) { /* a number, or one in a string */
        snprintf(text, sizeof(text), STR_FMT, STR_ARG(value));
        seconds = strtod(text, NULL);
        out->expires_s = seconds >= 1 ? (uint64_t)MIN(seconds, 1e9) : 0;
    }
}

static bool answer_json(struct arena *a, str body, struct answer *out, struct err_text *why)
{
    struct json_in j;
    json_in_init(&j, a, body);
    if (json_next(&j) != JSON_TOK_OBJ) {
        IGNORE_ERR(j.tok == JSON_TOK_ERR ? json_fail(&j, why) : err_fail(why, ERR_PARSE, "not a JSON object"));
        return false;
    }
    while (json_next(&j) == JSON_TOK_KEY) {
        str key = arena_str(a, j.text);
        json_next(&j);
        if (j.tok == JSON_TOK_STR || j.tok == JSON_TOK_NUM)
            answer_field(out, key, arena_str(a, j.text));
        else if (!json_skip(&j))
            break;
    }
    if (j.tok == JSON_TOK_OBJ_END && json_next(&j) == JSON_TOK_END)
        return true;
    IGNORE_ERR(j.tok == JSON_TOK_ERR ? json_fail(&j, why) : err_fail(why, ERR_PARSE, "not one JSON object"));
    return false;
}

static bool answer_form(struct arena *a, str body, struct answer *out, struct err_text *why)
{
    struct http_pairs v = { 0 };
    if (!http_form_parse(a, body, &v)) {
        IGNORE_ERR(err_fail(why, ERR_PARSE, "too many form fields"));
        return false;
    }
    for (size_t i = 0; i < v.v.n; i++)
        answer_field(out, v.v.p[i].name, v.v.p[i].value);
    return true;
}

/* RFC 6749 5.1, and 5.2 for the words of a refusal. */
static bool answer_read(struct arena *a, const struct http_result *r, struct answer *out, struct err_text *why)
{
    str body = buf_str(r->body);
    bool form = str_has_prefix(r->content_type, STR("application/x-www-form-urlencoded")) ||
                str_has_prefix(r->content_type, STR("text/plain"));
    bool ok = form ? answer_form(a, body, out, why) : answer_json(a, body, out, why);
    if (r->status < 200 || r->status > 299) {
        IGNORE_ERR(err_fail(why, ERR_PERMISSION, "HTTP status %d%s" STR_FMT "%s" STR_FMT, r->status,
                            out->error.n ? ", " : "", STR_ARG(str_take(out->error, 80)), out->description.n ? ": " : "",
                            STR_ARG(str_take(out->description, 120))));
        return false;
    }
    if (!ok) {
        err_prefix(why, "the answer cannot be read");
        return false;
    }
    if (!token_clean(out->token, TOKEN_BYTES_MAX) || (out->type.n && !token_clean(out->type, 64))) {
        IGNORE_ERR(err_fail(why, ERR_PARSE, "the answer has no usable access_token%s" STR_FMT, out->error.n ? ": " : "",
                            STR_ARG(str_take(out->error, 80))));
        return false;
    }
    return true;
}

/* ---- fetching ---- */

static void fetch_start(struct entry *e);

static str url_encoded(struct arena *a, str s)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    http_url_encode(&b, s);
    return arena_str(a, buf_str(&b));
}

static void form_field(struct buf *b, str name, str value)
{
    if (b->n)
        buf_u8(b, '&');
    http_url_encode(b, name);
    buf_u8(b, '=');
    http_url_encode(b, value);
}

static str fetch_body(struct entry *e)
{
    const struct http_oauth2 *o = &e->o;
    AUTO_BUF struct buf b, scopes;
    buf_init(&b, 0);
    buf_init(&scopes, 0);
    form_field(&b, STR("grant_type"), STR("client_credentials"));
    for (size_t i = 0; i < o->n_scopes; i++) {
        if (i)
            buf_u8(&scopes, ' ');
        buf_str_add(&scopes, o->scopes[i]);
    }
    if (scopes.n)
        form_field(&b, STR("scope"), buf_str(&scopes));
    for (size_t i = 0; i < o->n_params; i++)
        form_field(&b, o->params[i].name, o->params[i].value);
    if (e->tries_form) {
        form_field(&b, STR("client_id"), o->client_id);
        if (o->client_secret.n)
            form_field(&b, STR("client_secret"), o->client_secret);
    }
    return arena_str(&e->fetch_a, buf_str(&b));
}

/* Under mu. */
static void fetch_failed(struct entry *e, const char *why)
{
    uint64_t now = os_mono_ns();
    stat_add(&fetch_failed_total, 1);
    e->backoff_ms = e->backoff_ms ? MIN(e->backoff_ms * 2, BACKOFF_MS_MAX) : BACKOFF_MS_MIN;
    e->retry_ns = now + e->backoff_ms * MS;
    snprintf(e->error, sizeof(e->error), "no OAuth2 token from " STR_FMT ": %.180s",
             STR_ARG(str_take(e->o.token_url, 100)), why);
    LOG_WARN("OAuth2 token could not be fetched, trying again later", "err", e->error, "again_in_ms",
             LOG_I64(e->backoff_ms));
}

/* Under mu. In use until a tenth of its life (at most 10 s) is left; exchanged from half of it (at most 60 s) on. */
static void fetch_took(struct entry *e, const struct answer *an)
{
    uint64_t now = os_mono_ns(), life = an->expires_s * 1000 * MS;
    str type = !an->type.n || str_ieq(an->type, STR("bearer")) ? STR("Bearer") : an->type;
    arena_reset(&e->token_a);
    e->authorization = arena_printf(&e->token_a, STR_FMT " " STR_FMT, STR_ARG(type), STR_ARG(an->token));
    e->issued_ns = now;
    e->end_ns = life ? now + life - MIN(life / 10, 10000 * MS) : UINT64_MAX;
    e->refresh_ns = life ? now + life - MIN(life / 2, 60000 * MS) : UINT64_MAX;
    e->in_form = e->tries_form;
    e->backoff_ms = 0;
    e->retry_ns = 0;
    e->error[0] = 0;
    stat_add(&fetched, 1);
}

static void fetch_done(void *ctx, const struct http_result *r)
{
    struct entry *e = ctx;
    struct http_tokens *t = e->tokens;
    struct err_text why = { .msg = "" };
    struct answer an = { 0 };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    bool ok = r->err == OK && answer_read(&a, r, &an, &why);
    mtx_lock(&t->mu);
    if (!ok && r->err == OK && !e->tries_form && (r->status == 400 || r->status == 401)) {
        e->tries_form = true; /* RFC 6749 2.3.1 leaves both ways to the server */
        fetch_start(e);
    } else if (ok) {
        e->fetching = false;
        fetch_took(e, &an);
    } else {
        e->fetching = false;
        fetch_failed(e, r->err ? r->error : why.msg);
    }
    mtx_unlock(&t->mu);
    http_client_wake(t->client);
}

/* Under mu, fetching and o are set. */
static void fetch_start(struct entry *e)
{
    struct http_oauth2 *o = &e->o;
    struct arena *a = &e->fetch_a;
    struct http_pair *h = arena_array(a, struct http_pair, 2);
    h[0] = (struct http_pair){ STR("Content-Type"), STR("application/x-www-form-urlencoded") };
    h[1] = (struct http_pair){ STR("Accept"), STR("application/json") };
    struct http_fetch f = { .url = o->token_url,
                            .method = HTTP_POST,
                            .body = fetch_body(e),
                            .headers = h,
                            .n_headers = 2,
                            .timeout_ms = FETCH_MS_MAX,
                            .body_bytes_max = ANSWER_BYTES_MAX,
                            .tls = o->tls,
                            .proxy_url = o->proxy_url,
                            .no_proxy = o->no_proxy,
                            .proxy_from_environment = o->proxy_from_environment,
                            .proxy_headers = o->proxy_headers,
                            .n_proxy_headers = o->n_proxy_headers,
                            .done = fetch_done,
                            .ctx = e };
    if (!e->tries_form) {
        f.basic_user = url_encoded(a, o->client_id);
        f.basic_password = url_encoded(a, o->client_secret);
    }
    enum err err = http_start(e->tokens->client, &f, NULL);
    if (err == OK)
        return;
    e->fetching = false;
    fetch_failed(e, err_describe(err));
}

static void fetch(struct entry *e, const struct http_oauth2 *o)
{
    arena_reset(&e->fetch_a);
    settings_copy(&e->fetch_a, o, &e->o);
    e->tries_form = e->in_form;
    e->fetching = true;
    fetch_start(e);
}

/* ---- for the client ---- */

static enum http_token_state take(struct entry *e, const struct http_oauth2 *o, struct arena *a, str *ret,
                                  uint64_t *ret_issued_ns)
{
    uint64_t now = os_mono_ns();
    e->used_ns = now;
    bool usable = e->authorization.n && now < e->end_ns;
    if ((!usable || now >= e->refresh_ns) && !e->fetching && now >= e->retry_ns)
        fetch(e, o);
    if (usable) {
        *ret = arena_str(a, e->authorization);
        *ret_issued_ns = e->issued_ns;
        return HTTP_TOKEN_READY;
    }
    if (e->fetching)
        return HTTP_TOKEN_WAIT;
    *ret = arena_str(a, str_c(e->error));
    return HTTP_TOKEN_FAILED;
}

enum http_token_state http_tokens_take(struct http_tokens *t, const struct http_oauth2 *o, struct arena *a, str *ret,
                                       uint64_t *ret_issued_ns)
{
    mtx_lock(&t->mu);
    struct entry *e = entry_find(t, o);
    if (!e)
        e = entry_new(t, o);
    enum http_token_state state = HTTP_TOKEN_FAILED;
    if (e)
        state = take(e, o, a, ret, ret_issued_ns);
    else
        *ret = STR("no OAuth2 token: too many different settings are waiting for one");
    mtx_unlock(&t->mu);
    return state;
}

void http_tokens_refused(struct http_tokens *t, const struct http_oauth2 *o, uint64_t issued_ns)
{
    mtx_lock(&t->mu);
    struct entry *e = entry_find(t, o);
    if (e && e->issued_ns == issued_ns && os_mono_ns() - issued_ns > YOUNG_MS * MS)
        e->end_ns = 0;
    mtx_unlock(&t->mu);
}

struct http_tokens *http_tokens_open(struct http_client *c)
{
    static atomic_bool registered;
    if (!atomic_exchange(&registered, true)) {
        stat_register(&fetched);
        stat_register(&fetch_failed_total);
    }
    struct http_tokens *t = mem_zalloc(sizeof(*t));
    t->client = c;
    mtx_init(&t->mu, 0);
    return t;
}

void http_tokens_close(struct http_tokens *t)
{
    for (size_t i = 0; i < t->entries.n; i++)
        entry_free(t->entries.p[i]);
    vec_free(&t->entries);
    mtx_deinit(&t->mu);
    mem_free(t);
}
