#include "http/http_aws.h"

#include <gnutls/crypto.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"

#define SHA256_BYTES 32

struct digest {
    uint8_t p[SHA256_BYTES];
};

static struct digest sha256(str s)
{
    struct digest d = { { 0 } };
    gnutls_hash_fast(GNUTLS_DIG_SHA256, s.p, s.n, d.p); /* fails for unknown algorithms only */
    return d;
}

static struct digest hmac(str key, str text)
{
    struct digest d = { { 0 } };
    gnutls_hmac_fast(GNUTLS_MAC_SHA256, key.p, key.n, text.p, text.n, d.p);
    return d;
}

static str bytes(const struct digest *d)
{
    return str_n((const char *)d->p, sizeof(d->p));
}

static str hex(struct arena *a, struct digest d)
{
    static const char digits[] = "0123456789abcdef";
    char *p = arena_alloc(a, 2 * sizeof(d.p) + 1);
    for (size_t i = 0; i < sizeof(d.p); i++) {
        p[2 * i] = digits[d.p[i] >> 4];
        p[2 * i + 1] = digits[d.p[i] & 15];
    }
    return str_n(p, 2 * sizeof(d.p));
}

static str lower(struct arena *a, str s)
{
    char *p = arena_cstr(a, s);
    for (size_t i = 0; i < s.n; i++)
        p[i] = p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] + 32) : p[i];
    return str_n(p, s.n);
}

static int by_name(const void *x, const void *y)
{
    return str_cmp(((const struct http_pair *)x)->name, ((const struct http_pair *)y)->name);
}

/* "https://host/path?query" */
static void parts(str url, str *host, str *path, str *query)
{
    str rest = str_skip(url, str_find(url, STR("://")) + 3);
    size_t end = 0;
    while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?')
        end++;
    *host = str_take(rest, end);
    rest = str_skip(rest, end);
    size_t q = str_find_char(rest, '?');
    *path = str_take(rest, q);
    *query = q == SIZE_MAX ? STR("") : str_skip(rest, q + 1);
    if (!path->n)
        *path = STR("/");
}

size_t http_aws_sign(const struct http_aws_request *rq, const struct http_aws_key *key, struct arena *a,
                     struct http_pair ret[HTTP_AWS_HEADERS])
{
    struct tm tm;
    time_t now = (time_t)(rq->now_ms / 1000);
    char stamp[32];
    str host, path, query;
    size_t n = 0;
    AUTO_BUF struct buf canonical, names;
    buf_init(&canonical, 0);
    buf_init(&names, 0);
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
    parts(rq->url, &host, &path, &query);

    /* Task 1: a canonical request */
    struct http_pair *h = arena_array(a, struct http_pair, rq->n_headers + 3);
    for (size_t i = 0; i < rq->n_headers; i++)
        h[n++] = (struct http_pair){ lower(a, rq->headers[i].name), str_trim(rq->headers[i].value) };
    h[n++] = (struct http_pair){ STR("host"), host };
    h[n++] = (struct http_pair){ STR("x-amz-date"), str_c(stamp) };
    if (key->token.n)
        h[n++] = (struct http_pair){ STR("x-amz-security-token"), key->token };
    qsort(h, n, sizeof(*h), by_name);
    buf_printf(&canonical, STR_FMT "\n" STR_FMT "\n" STR_FMT "\n", STR_ARG(rq->method), STR_ARG(path), STR_ARG(query));
    for (size_t i = 0; i < n; i++) {
        buf_printf(&canonical, STR_FMT ":" STR_FMT "\n", STR_ARG(h[i].name), STR_ARG(h[i].value));
        buf_printf(&names, "%s" STR_FMT, i ? ";" : "", STR_ARG(h[i].name));
    }
    buf_printf(&canonical, "\n" STR_FMT "\n" STR_FMT, STR_ARG(buf_str(&names)), STR_ARG(hex(a, sha256(rq->body))));

    /* Task 2: a string to sign */
    str day = str_n(stamp, 8), scope = arena_printf(a, STR_FMT "/" STR_FMT "/" STR_FMT "/aws4_request", STR_ARG(day),
                                                    STR_ARG(rq->region), STR_ARG(rq->service));
    str text = arena_printf(a, "AWS4-HMAC-SHA256\n%s\n" STR_FMT "\n" STR_FMT, stamp, STR_ARG(scope),
                            STR_ARG(hex(a, sha256(buf_str(&canonical)))));

    /* Task 3: the signature */
    struct digest k = hmac(arena_printf(a, "AWS4" STR_FMT, STR_ARG(key->secret)), day);
    k = hmac(bytes(&k), rq->region);
    k = hmac(bytes(&k), rq->service);
    k = hmac(bytes(&k), STR("aws4_request"));
    str signature = hex(a, hmac(bytes(&k), text));

    size_t m = 0;
    ret[m++] = (struct http_pair){ STR("Authorization"), arena_printf(a,
                                                                      "AWS4-HMAC-SHA256 Credential=" STR_FMT "/" STR_FMT
                                                                      ", SignedHeaders=" STR_FMT ", Signature=" STR_FMT,
                                                                      STR_ARG(key->id), STR_ARG(scope),
                                                                      STR_ARG(buf_str(&names)), STR_ARG(signature)) };
    ret[m++] = (struct http_pair){ STR("X-Amz-Date"), arena_str(a, str_c(stamp)) };
    if (key->token.n)
        ret[m++] = (struct http_pair){ STR("X-Amz-Security-Token"), key->token };
    return m;
}
