#include "http/http_mail.h"

#include <curl/curl.h>

#include "base/check.h"
#include "http/http_int.h"

struct upload {
    str left;
};

static size_t feed(char *p, size_t size, size_t n, void *ctx)
{
    struct upload *u = ctx;
    size_t k = MIN(size * n, u->left.n);
    if (k)
        memcpy(p, u->left.p, k);
    u->left = str_skip(u->left, k);
    return k;
}

static void set_pem(CURL *easy, struct arena *a, CURLoption blob_option, CURLoption file_option, str pem, str file)
{
    if (pem.n) {
        struct curl_blob blob = { .data = arena_cstr(a, pem), .len = pem.n, .flags = CURL_BLOB_COPY };
        curl_easy_setopt(easy, blob_option, &blob);
    } else if (file.n) {
        curl_easy_setopt(easy, file_option, arena_cstr(a, file));
    }
}

static void set_tls(CURL *easy, struct arena *a, const struct http_mail *m)
{
    const struct http_tls *t = m->settings;
    curl_easy_setopt(easy, CURLOPT_USE_SSL, m->tls == HTTP_MAIL_PLAIN ? (long)CURLUSESSL_NONE : (long)CURLUSESSL_ALL);
    if (!t)
        return;
    set_pem(easy, a, CURLOPT_CAINFO_BLOB, CURLOPT_CAINFO, t->ca_pem, t->ca_file);
    set_pem(easy, a, CURLOPT_SSLCERT_BLOB, CURLOPT_SSLCERT, t->cert_pem, t->cert_file);
    set_pem(easy, a, CURLOPT_SSLKEY_BLOB, CURLOPT_SSLKEY, t->key_pem, t->key_file);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, t->insecure_skip_verify ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, t->insecure_skip_verify ? 0L : 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, http_tls_versions(t));
}

static bool plain_text(str s) /* nothing that could begin another command */
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == '<' || s.p[i] == '>')
            return false;
    return s.n > 0;
}

static str url_of(struct arena *a, const struct http_mail *m)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    bool v6 = str_find_char(m->host, ':') != SIZE_MAX;
    buf_printf(&b, "%s://%s" STR_FMT "%s", m->tls == HTTP_MAIL_TLS ? "smtps" : "smtp", v6 ? "[" : "", STR_ARG(m->host),
               v6 ? "]" : "");
    if (m->port.n)
        buf_printf(&b, ":" STR_FMT, STR_ARG(m->port));
    buf_u8(&b, '/');
    http_url_encode(&b, m->hello.n ? m->hello : STR("localhost"));
    return arena_str(a, buf_str(&b));
}

static enum err verdict(CURLcode code, long reply, const char *detail, struct err_text *reterr)
{
    const char *text = detail[0] ? detail : curl_easy_strerror(code);
    switch (code) {
    case CURLE_OK:
        return OK;
    case CURLE_ABORTED_BY_CALLBACK:
        return err_fail(reterr, ERR_CANCELLED, "cancelled");
    case CURLE_OPERATION_TIMEDOUT:
        return err_fail(reterr, ERR_TIMEOUT, "%s", text);
    case CURLE_LOGIN_DENIED:
        return err_fail(reterr, ERR_PERMISSION, "the mail server refused the login: %s", text);
    default:
        return reply >= 400 ? err_fail(reterr, ERR_EXEC, "the mail server refused: %s", text)
                            : err_fail(reterr, ERR_IO, "%s", text);
    }
}

static void set_login(CURL *easy, struct arena *a, const struct http_mail *m, bool by_secret)
{
    curl_easy_setopt(easy, CURLOPT_USERNAME, arena_cstr(a, m->user));
    curl_easy_setopt(easy, CURLOPT_PASSWORD, arena_cstr(a, by_secret ? m->secret : m->password));
    curl_easy_setopt(easy, CURLOPT_LOGIN_OPTIONS, by_secret ? "AUTH=CRAM-MD5" : "AUTH=PLAIN;AUTH=LOGIN");
    if (m->identity.n && !by_secret)
        curl_easy_setopt(easy, CURLOPT_SASL_AUTHZID, arena_cstr(a, m->identity));
}

static int go_on(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const atomic_bool *cancel = ctx;
    (void)a, (void)b, (void)c, (void)d;
    return atomic_load(cancel);
}

static CURLcode attempt(const struct http_mail *m, struct arena *a, const struct curl_slist *to, bool by_secret,
                        long *ret_reply, char *detail)
{
    struct upload up = { m->message };
    CURL *easy = curl_easy_init();
    detail[0] = 0;
    *ret_reply = 0;
    if (!easy)
        return CURLE_OUT_OF_MEMORY;
    curl_easy_setopt(easy, CURLOPT_URL, url_of(a, m).p);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    curl_easy_setopt(easy, CURLOPT_MAIL_FROM, arena_printf(a, "<" STR_FMT ">", STR_ARG(m->from)).p);
    curl_easy_setopt(easy, CURLOPT_MAIL_RCPT, to);
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, feed);
    curl_easy_setopt(easy, CURLOPT_READDATA, &up);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(m->timeout_ms ? m->timeout_ms : 30000));
    if (m->cancel) {
        curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, go_on);
        curl_easy_setopt(easy, CURLOPT_XFERINFODATA, m->cancel);
    }
    if (m->user.n)
        set_login(easy, a, m, by_secret);
    set_tls(easy, a, m);
    CURLcode code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, ret_reply);
    curl_easy_cleanup(easy);
    return code;
}

enum err http_mail_send(const struct http_mail *m, struct http_mail_result *ret, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    char detail[CURL_ERROR_SIZE] = "";
    struct curl_slist *to = NULL;
    long reply = 0;
    arena_init(&a, 0);
    *ret = (struct http_mail_result){ 0 };
    bool clean = plain_text(m->from) && plain_text(m->host) && m->n_to > 0;
    for (size_t i = 0; i < m->n_to; i++)
        clean &= plain_text(m->to[i]);
    if (!clean)
        return err_fail(reterr, ERR_INVALID,
                        "a mail needs a server, a sender and recipients without control characters");
    http_curl_init();
    for (size_t i = 0; i < m->n_to; i++)
        to = curl_slist_append(to, arena_printf(&a, "<" STR_FMT ">", STR_ARG(m->to[i])).p);
    CURLcode code = CURLE_LOGIN_DENIED;
    if (m->password.n || !m->secret.n)
        code = attempt(m, &a, to, false, &reply, detail);
    if (code == CURLE_LOGIN_DENIED && m->secret.n)
        code = attempt(m, &a, to, true, &reply, detail);
    ret->code = (int)reply;
    curl_slist_free_all(to);
    return verdict(code, reply, detail, reterr);
}
