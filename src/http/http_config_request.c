/* HTTP client settings -> a request: credentials are read from their files each time, so that a rotated one is used. */
#include <stdio.h>

#include "base/fs.h"
#include "base/vec.h"
#include "http/http_config.h"

static bool secret_of(struct arena *a, str inline_value, str file, str *ret, char *error, size_t error_size)
{
    *ret = inline_value;
    if (inline_value.n || file.n == 0)
        return true;
    struct err_text et;
    if (fs_read_file(fs_os(), arena_cstr(a, file), 1 << 20, a, ret, &et) != OK) {
        snprintf(error, error_size, "unable to read credentials: %.200s", et.msg);
        return false;
    }
    *ret = str_trim(*ret);
    return true;
}

static unsigned tls_version(int v)
{
    return v ? 9u + (unsigned)v : 0;
}

struct pairs {
    VEC(struct http_pair) v;
};

static bool put_headers(const struct http_config *c, struct arena *a, struct pairs *out, char *error, size_t error_size)
{
    for (size_t i = 0; i < c->headers.n; i++) {
        const struct header_config *h = &c->headers.p[i];
        struct http_pair p = { .name = c->headers.keys[i] };
        for (size_t k = 0; k < h->values.n; k++) {
            p.value = h->values.p[k];
            avec_push(a, &out->v, p);
        }
        for (size_t k = 0; k < h->secrets.n; k++) {
            p.value = h->secrets.p[k].value;
            avec_push(a, &out->v, p);
        }
        for (size_t k = 0; k < h->files.n; k++) {
            if (!secret_of(a, STR_NONE, h->files.p[k], &p.value, error, error_size))
                return false;
            avec_push(a, &out->v, p);
        }
    }
    return true;
}

/* proxy_connect_header: name -> list of values. */
static struct pairs proxy_headers(const struct conf_node *map, struct arena *a)
{
    struct pairs out = { 0 };
    for (size_t i = 0; map && map->kind == CONF_MAP && i < map->n; i++) {
        const struct conf_node *values = map->items[2 * i + 1];
        for (size_t k = 0; values->kind == CONF_SEQ && k < values->n; k++) {
            struct http_pair p = { map->items[2 * i]->text, values->items[k]->text };
            avec_push(a, &out.v, p);
        }
    }
    return out;
}

static const struct http_tls *tls_of(const struct tls_config *c, struct arena *a)
{
    struct http_tls *tls = arena_new(a, struct http_tls);
    *tls = (struct http_tls){ .ca_file = c->ca_file,
                              .cert_file = c->cert_file,
                              .key_file = c->key_file,
                              .ca_pem = c->ca,
                              .cert_pem = c->cert,
                              .key_pem = c->key.value,
                              .server_name = c->server_name,
                              .insecure_skip_verify = c->insecure_skip_verify,
                              .min_version = tls_version(c->min_version),
                              .max_version = tls_version(c->max_version) };
    return tls;
}

static bool put_oauth2(const struct oauth2_config *c, struct arena *a, struct http_fetch *f, char *error,
                       size_t error_size)
{
    struct http_oauth2 *o = arena_new(a, struct http_oauth2);
    struct http_pair *params = arena_array(a, struct http_pair, c->endpoint_params.n + 1);
    struct pairs proxy = proxy_headers(c->proxy_connect_header, a);
    for (size_t i = 0; i < c->endpoint_params.n; i++)
        params[i] = (struct http_pair){ c->endpoint_params.keys[i], c->endpoint_params.p[i] };
    *o = (struct http_oauth2){ .token_url = c->token_url,
                               .client_id = c->client_id,
                               .scopes = c->scopes.p,
                               .n_scopes = c->scopes.n,
                               .params = params,
                               .n_params = c->endpoint_params.n,
                               .tls = tls_of(&c->tls, a),
                               .proxy_url = c->proxy_url,
                               .no_proxy = c->no_proxy,
                               .proxy_from_environment = c->proxy_from_environment,
                               .proxy_headers = proxy.v.p,
                               .n_proxy_headers = proxy.v.n };
    f->oauth2 = o;
    return secret_of(a, c->client_secret.value, c->client_secret_file, &o->client_secret, error, error_size);
}

bool http_config_apply(const struct http_config *c, struct arena *a, struct http_fetch *f, char *error,
                       size_t error_size)
{
    struct pairs pairs = { 0 };
    for (size_t i = 0; i < f->n_headers; i++)
        avec_push(a, &pairs.v, f->headers[i]);
    if (!put_headers(c, a, &pairs, error, error_size))
        return false;
    if (c->authorization) {
        str credentials;
        if (!secret_of(a, c->authorization->credentials.value, c->authorization->credentials_file, &credentials, error,
                       error_size))
            return false;
        struct http_pair p = { STR("Authorization"),
                               arena_printf(a, STR_FMT " " STR_FMT, STR_ARG(c->authorization->type),
                                            STR_ARG(credentials)) };
        avec_push(a, &pairs.v, p);
    }
    if (c->basic_auth) {
        if (!secret_of(a, c->basic_auth->username, c->basic_auth->username_file, &f->basic_user, error, error_size) ||
            !secret_of(a, c->basic_auth->password.value, c->basic_auth->password_file, &f->basic_password, error,
                       error_size))
            return false;
        if (!f->basic_user.p)
            f->basic_user = STR("");
    }
    if (c->oauth2 && !put_oauth2(c->oauth2, a, f, error, error_size))
        return false;
    struct pairs proxy = proxy_headers(c->proxy_connect_header, a);
    f->tls = tls_of(&c->tls, a);
    f->follow_redirects = c->follow_redirects;
    f->proxy_url = c->proxy_url;
    f->no_proxy = c->no_proxy;
    f->proxy_from_environment = c->proxy_from_environment;
    f->proxy_headers = proxy.v.p;
    f->n_proxy_headers = proxy.v.n;
    f->headers = pairs.v.p;
    f->n_headers = pairs.v.n;
    return true;
}

void http_sigv4_apply(const struct sigv4_config *c, const char *service, struct arena *a, struct http_fetch *f)
{
    if (!c)
        return;
    struct http_sigv4 *s = arena_new(a, struct http_sigv4);
    *s = (struct http_sigv4){ .region = c->region,
                              .service = c->service.n ? c->service : str_c(service),
                              .access_key = c->access_key,
                              .secret_key = c->secret_key.value,
                              .profile = c->profile,
                              .role_arn = c->role_arn,
                              .external_id = c->external_id,
                              .use_fips_sts = c->use_fips };
    f->sigv4 = s;
}
