#include "http/http_aws.h"

#include <gnutls/crypto.h>
#include <stdlib.h>
#include <time.h>

#include "base/check.h"
#include "base/vec.h"

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

/* "https://user@host:443/path?query": the host as it stands in the Host header. */
static void parts(str url, str *host, str *path, str *query)
{
    bool tls = str_has_prefix(url, STR("https:"));
    str rest = str_skip(url, str_find(url, STR("://")) + 3), port = tls ? STR(":443") : STR(":80");
    size_t end = 0, at;
    while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?')
        end++;
    *host = str_take(rest, end);
    rest = str_skip(rest, end);
    while ((at = str_find_char(*host, '@')) != SIZE_MAX)
        *host = str_skip(*host, at + 1);
    if (str_has_suffix(*host, port))
        host->n -= port.n;
    size_t q = str_find_char(rest, '?');
    *path = str_take(rest, q);
    *query = q == SIZE_MAX ? STR("") : str_skip(rest, q + 1);
    if (!path->n)
        *path = STR("/");
}

/* What is sent, encoded once more (only S3 does not do so). */
static str canonical_path(struct arena *a, str path)
{
    AUTO_BUF struct buf b;
    str rest = path, part;
    buf_init(&b, 0);
    while (rest.n) {
        size_t slash = str_find_char(rest, '/');
        part = str_take(rest, slash);
        http_url_encode(&b, part);
        rest = str_skip(rest, part.n);
        if (rest.n) {
            buf_u8(&b, '/');
            rest = str_skip(rest, 1);
        }
    }
    return arena_str(a, buf_str(&b));
}

static int by_text(const void *x, const void *y)
{
    return str_cmp(*(const str *)x, *(const str *)y);
}

/* Sorted, every name with its "=". */
static str canonical_query(struct arena *a, str query)
{
    VEC(str) params = { 0 };
    AUTO_BUF struct buf b;
    str one;
    buf_init(&b, 0);
    while (str_cut(&query, '&', &one)) {
        if (!one.n)
            continue;
        if (str_find_char(one, '=') == SIZE_MAX)
            one = arena_printf(a, STR_FMT "=", STR_ARG(one));
        avec_push(a, &params, one);
    }
    if (params.n)
        qsort(params.p, params.n, sizeof(*params.p), by_text);
    vec_each (str, p, &params)
        buf_printf(&b, "%s" STR_FMT, b.n ? "&" : "", STR_ARG(*p));
    return arena_str(a, buf_str(&b));
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
    path = canonical_path(a, path);
    query = canonical_query(a, query);

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

void http_aws_profile(struct arena *a, str text, str profile, struct http_aws_key *ret, str *region)
{
    str line, name;
    bool here = false;
    while (str_cut(&text, '\n', &line)) {
        line = str_trim(line);
        if (line.n && line.p[0] == '[') {
            str in = str_trim(str_skip(str_take(line, str_find_char(line, ']')), 1));
            if (str_has_prefix(in, STR("profile ")))
                in = str_trim(str_skip(in, 8));
            here = str_eq(in, profile);
            continue;
        }
        str value = line;
        if (!here || !str_cut(&value, '=', &name))
            continue;
        name = str_trim(name);
        value = arena_str(a, str_trim(value));
        if (str_eq(name, STR("aws_access_key_id")))
            ret->id = value;
        else if (str_eq(name, STR("aws_secret_access_key")))
            ret->secret = value;
        else if (str_eq(name, STR("aws_session_token")))
            ret->token = value;
        else if (str_eq(name, STR("region")) && !region->n)
            *region = value;
    }
}

str http_aws_host(struct arena *a, const char *service, str region)
{
    return arena_printf(a, "%s." STR_FMT ".amazonaws.com%s", service, STR_ARG(region),
                        str_has_prefix(region, STR("cn-")) ? ".cn" : "");
}
