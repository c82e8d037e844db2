/* Schema of HTTP client settings: TLS, basic_auth, authorization, oauth2, proxy, headers; the rules of
 * prometheus/common's HTTPClientConfig. */
#include "base/check.h"
#include "http/http_config.h"

#define FAIL(...) IGNORE_ERR(conf_error(cx, n, __VA_ARGS__))

str http_join_dir(struct arena *a, str dir, str file)
{
    if (file.n == 0 || file.p[0] == '/' || dir.n == 0 || str_eq(dir, STR(".")))
        return file;
    return arena_printf(a, STR_FMT "/" STR_FMT, STR_ARG(dir), STR_ARG(file));
}

static unsigned count(bool a, bool b, bool c)
{
    return (unsigned)a + b + c;
}

/* ---- TLS ---- */

static enum err read_tls_version(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    static const char *const names[] = { "", "TLS10", "TLS11", "TLS12", "TLS13" };
    str s;
    TRY(conf_read_str(cx, n, &s));
    for (int i = 0; i < (int)ARRAY_LEN(names); i++)
        if (str_eq(s, str_c(names[i]))) {
            *(int *)field = i;
            return OK;
        }
    return conf_error(cx, n, "unknown TLS version: " STR_FMT " (TLS10, TLS11, TLS12, TLS13)", STR_ARG(s));
}

static void print_tls_version(struct conf_out *out, const void *field)
{
    if (*(const int *)field)
        conf_out_scalar(out, str_n(&"TLS10TLS11TLS12TLS13"[5 * (*(const int *)field - 1)], 5));
}

static void check_tls(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct tls_config *t = obj;
    bool cert = t->cert.n || t->cert_file.n, key = t->key.value.n || t->key_file.n;
    if (t->ca.n && t->ca_file.n)
        FAIL("at most one of ca and ca_file must be configured");
    else if (t->cert.n && t->cert_file.n)
        FAIL("at most one of cert and cert_file must be configured");
    else if (t->key.value.n && t->key_file.n)
        FAIL("at most one of key and key_file must be configured");
    else if (cert && !key)
        FAIL("exactly one of key or key_file must be configured when a client certificate is configured");
    else if (key && !cert)
        FAIL("exactly one of cert or cert_file must be configured when a client key is configured");
    else if (t->min_version && t->max_version && t->min_version > t->max_version)
        FAIL("tls_config.max_version must be greater than or equal to tls_config.min_version if both are specified");
}

static bool tls_empty(const void *obj)
{
    static const struct tls_config zero;
    const struct tls_config *t = obj;
    return !t->ca.n && !t->ca_file.n && !t->cert.n && !t->cert_file.n && !t->key_file.n && !t->key.value.n &&
           !t->server_name.n && !t->insecure_skip_verify && t->min_version == zero.min_version && !t->max_version;
}

#define F(m, key, t, ...) CF(struct tls_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field tls_fields[] = {
    F(ca, "ca", CONF_STR),
    F(cert, "cert", CONF_STR),
    F(key, "key", CONF_SECRET),
    F(ca_file, "ca_file", CONF_STR),
    F(cert_file, "cert_file", CONF_STR),
    F(key_file, "key_file", CONF_STR),
    F(server_name, "server_name", CONF_STR),
    F(insecure_skip_verify, "insecure_skip_verify", CONF_BOOL, .flags = CONF_ALWAYS),
    F(min_version, "min_version", CONF_CUSTOM, .read = read_tls_version, .print = print_tls_version),
    F(max_version, "max_version", CONF_CUSTOM, .read = read_tls_version, .print = print_tls_version),
};
#undef F
CONF_SCHEMA(tls_config_schema, struct tls_config, "config.plain", tls_fields, .check = check_tls,
            .is_empty = tls_empty);

/* ---- credentials ---- */

#define F(m, key, t, ...) CF(struct basic_auth_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field basic_fields[] = {
    F(username, "username", CONF_STR),           F(username_file, "username_file", CONF_STR),
    F(username_ref, "username_ref", CONF_STR),   F(password, "password", CONF_SECRET),
    F(password_file, "password_file", CONF_STR), F(password_ref, "password_ref", CONF_STR),
};
#undef F
static CONF_SCHEMA(basic_schema, struct basic_auth_config, "config.plain", basic_fields);

#define F(m, key, t, ...) CF(struct authorization_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field authorization_fields[] = {
    F(type, "type", CONF_STR),
    F(credentials, "credentials", CONF_SECRET),
    F(credentials_file, "credentials_file", CONF_STR),
    F(credentials_ref, "credentials_ref", CONF_STR),
};
#undef F
static CONF_SCHEMA(authorization_schema, struct authorization_config, "config.plain", authorization_fields);

#define F(m, key, t, ...) CF(struct oauth2_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field oauth2_fields[] = {
    F(client_id, "client_id", CONF_STR),
    F(client_secret, "client_secret", CONF_SECRET),
    F(client_secret_file, "client_secret_file", CONF_STR),
    F(client_secret_ref, "client_secret_ref", CONF_STR),
    F(client_certificate_key_id, "client_certificate_key_id", CONF_STR),
    F(client_certificate_key, "client_certificate_key", CONF_SECRET),
    F(client_certificate_key_file, "client_certificate_key_file", CONF_STR),
    F(signature_algorithm, "signature_algorithm", CONF_STR),
    F(iss, "iss", CONF_STR),
    F(audience, "audience", CONF_STR),
    F(grant_type, "grant_type", CONF_STR),
    F(claims, "claims", CONF_NODE),
    F(scopes, "scopes", CONF_LIST, .of = CONF_STR),
    F(token_url, "token_url", CONF_STR),
    F(endpoint_params, "endpoint_params", CONF_DICT, .of = CONF_STR),
    F(tls, "tls_config", CONF_STRUCT, .schema = &tls_config_schema),
    F(proxy_url, "proxy_url", CONF_URL),
    F(no_proxy, "no_proxy", CONF_STR),
    F(proxy_from_environment, "proxy_from_environment", CONF_BOOL),
    F(proxy_connect_header, "proxy_connect_header", CONF_NODE, .flags = CONF_HIDDEN),
};
#undef F
static CONF_SCHEMA(oauth2_schema, struct oauth2_config, "config.plain", oauth2_fields);

/* ---- Amazon's signature ---- */

static void check_sigv4(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct sigv4_config *c = obj;
    if ((c->access_key.n == 0) != (c->secret_key.value.n == 0))
        FAIL("must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config");
}
#define F(m, key, t, ...) CF(struct sigv4_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field sigv4_fields[] = {
    F(region, "region", CONF_STR),
    F(access_key, "access_key", CONF_STR),
    F(secret_key, "secret_key", CONF_SECRET),
    F(profile, "profile", CONF_STR),
    F(role_arn, "role_arn", CONF_STR),
    F(external_id, "external_id", CONF_STR),
    F(service, "service", CONF_STR),
    F(use_fips, "use_fips_sts_endpoint", CONF_BOOL),
};
#undef F
CONF_SCHEMA(sigv4_config_schema, struct sigv4_config, "sigv4.plain", sigv4_fields, .check = check_sigv4);

/* ---- headers ---- */

#define F(m, key, t, ...) CF(struct header_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field header_fields[] = {
    F(values, "values", CONF_LIST, .of = CONF_STR),
    F(secrets, "secrets", CONF_LIST, .of = CONF_SECRET),
    F(files, "files", CONF_LIST, .of = CONF_STR),
};
#undef F
static CONF_SCHEMA(header_schema, struct header_config, "config.plain", header_fields);

static bool header_reserved(str name)
{
    static const char *const reserved[] = {
        "Authorization",
        "Host",
        "Content-Encoding",
        "Content-Length",
        "Content-Type",
        "User-Agent",
        "Connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "Www-Authenticate",
        "Accept-Encoding",
        "X-Prometheus-Remote-Write-Version",
        "X-Prometheus-Remote-Read-Version",
        "X-Prometheus-Scrape-Timeout-Seconds",
        "X-Amz-Date",
        "X-Amz-Security-Token",
        "X-Amz-Content-Sha256",
    };
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (str_ieq(name, str_c(reserved[i])))
            return true;
    return false;
}

/* ---- together ---- */

static bool check_auth(struct conf_ctx *cx, const struct conf_node *n, struct http_config *c)
{
    bool bearer = c->bearer_token.value.n || c->bearer_token_file.n;
    const struct basic_auth_config *b = c->basic_auth;
    const struct authorization_config *au = c->authorization;
    size_t before = cx->n_errors;
    if (c->bearer_token.value.n && c->bearer_token_file.n)
        FAIL("at most one of bearer_token & bearer_token_file must be configured");
    else if ((b || c->oauth2) && bearer)
        FAIL("at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured");
    else if (b && count(b->username.n, b->username_file.n, b->username_ref.n) > 1)
        FAIL("at most one of basic_auth username, username_file & username_ref must be configured");
    else if (b && count(b->password.value.n, b->password_file.n, b->password_ref.n) > 1)
        FAIL("at most one of basic_auth password, password_file & password_ref must be configured");
    else if (au && bearer)
        FAIL("authorization is not compatible with bearer_token & bearer_token_file");
    else if (au && count(au->credentials.value.n, au->credentials_file.n, au->credentials_ref.n) > 1)
        FAIL("at most one of authorization credentials & credentials_file must be configured");
    else if (au && str_ieq(str_trim(au->type), STR("basic")))
        FAIL("authorization type cannot be set to \"basic\", use \"basic_auth\" instead");
    else if ((au && (b || c->oauth2)) || (b && c->oauth2))
        FAIL("at most one of basic_auth, oauth2 & authorization must be configured");
    return cx->n_errors == before;
}

static void check_oauth2(struct conf_ctx *cx, const struct conf_node *n, const struct oauth2_config *o)
{
    if (!o->client_id.n)
        FAIL("oauth2 client_id must be configured");
    else if (!o->token_url.n)
        FAIL("oauth2 token_url must be configured");
    else if (count(o->client_secret.value.n, o->client_secret_file.n, o->client_secret_ref.n) > 1)
        FAIL("at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be configured");
    else if (o->grant_type.n && !str_eq(o->grant_type, STR("client_credentials")))
        conf_warn(cx, n, "oauth2 grant_type " STR_FMT " is not supported: client_credentials is used",
                  STR_ARG(str_take(o->grant_type, 80)));
}

static void check_proxy(struct conf_ctx *cx, const struct conf_node *n, const struct http_config *c)
{
    if (c->proxy_connect_header && !c->proxy_from_environment && !c->proxy_url.n)
        FAIL("if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured");
    else if (c->proxy_from_environment && c->proxy_url.n)
        FAIL("if proxy_from_environment is configured, proxy_url must not be configured");
    else if (c->proxy_from_environment && c->no_proxy.n)
        FAIL("if proxy_from_environment is configured, no_proxy must not be configured");
    else if (!c->proxy_url.n && c->no_proxy.n)
        FAIL("if no_proxy is configured, proxy_url must also be configured");
}

static void warn_ref(struct conf_ctx *cx, const struct conf_node *n, const char *key, str ref)
{
    if (ref.n)
        conf_warn(cx, n, "%s names a secret of a secret manager, which is not supported: requests are sent without it",
                  key);
}

static void warn_refs(struct conf_ctx *cx, const struct conf_node *n, const struct http_config *c)
{
    if (c->basic_auth) {
        warn_ref(cx, conf_get(n, STR("basic_auth")), "username_ref", c->basic_auth->username_ref);
        warn_ref(cx, conf_get(n, STR("basic_auth")), "password_ref", c->basic_auth->password_ref);
    }
    if (c->authorization)
        warn_ref(cx, conf_get(n, STR("authorization")), "credentials_ref", c->authorization->credentials_ref);
    if (c->oauth2)
        warn_ref(cx, conf_get(n, STR("oauth2")), "client_secret_ref", c->oauth2->client_secret_ref);
}

static void check_http(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    struct http_config *c = obj;
    if (!check_auth(cx, n, c))
        return;
    if (c->authorization) {
        c->authorization->type = str_trim(c->authorization->type);
        if (!c->authorization->type.n)
            c->authorization->type = STR("Bearer");
    } else if (c->bearer_token.value.n || c->bearer_token_file.n) { /* the old spelling */
        c->authorization = arena_new(cx->a, struct authorization_config);
        *c->authorization = (struct authorization_config){ .type = STR("Bearer"),
                                                           .credentials = c->bearer_token,
                                                           .credentials_file = c->bearer_token_file };
        c->bearer_token = (struct conf_secret){ 0 };
        c->bearer_token_file = STR_NONE;
    }
    if (c->oauth2)
        check_oauth2(cx, n, c->oauth2);
    check_proxy(cx, n, c);
    warn_refs(cx, n, c);
    if (c->enable_http2 && conf_has(n, "enable_http2"))
        conf_warn(cx, conf_get(n, STR("enable_http2")), "enable_http2 has no effect: requests are HTTP/1.1");
    for (size_t i = 0; i < c->headers.n; i++)
        if (header_reserved(c->headers.keys[i]))
            FAIL("setting header \"" STR_FMT "\" is not allowed", STR_ARG(c->headers.keys[i]));
}

#define F(m, key, t, ...) CF(struct http_config, m, key, t, ##__VA_ARGS__)
static const struct conf_field http_fields[] = {
    F(basic_auth, "basic_auth", CONF_PTR, .schema = &basic_schema),
    F(authorization, "authorization", CONF_PTR, .schema = &authorization_schema),
    F(oauth2, "oauth2", CONF_PTR, .schema = &oauth2_schema),
    F(bearer_token, "bearer_token", CONF_SECRET),
    F(bearer_token_file, "bearer_token_file", CONF_STR),
    F(tls, "tls_config", CONF_STRUCT, .schema = &tls_config_schema),
    F(follow_redirects, "follow_redirects", CONF_BOOL, .flags = CONF_ALWAYS),
    F(enable_http2, "enable_http2", CONF_BOOL, .flags = CONF_ALWAYS),
    F(proxy_url, "proxy_url", CONF_URL),
    F(no_proxy, "no_proxy", CONF_STR),
    F(proxy_from_environment, "proxy_from_environment", CONF_BOOL),
    F(proxy_connect_header, "proxy_connect_header", CONF_NODE, .flags = CONF_HIDDEN),
    F(headers, "http_headers", CONF_DICT, .of = CONF_STRUCT, .schema = &header_schema),
};
#undef F
static const struct http_config http_defaults = { .follow_redirects = true, .enable_http2 = true };
static const struct http_config http_rw_defaults = { .follow_redirects = true };
CONF_SCHEMA(http_config_schema, struct http_config, "config.plain", http_fields, .defaults = &http_defaults,
            .check = check_http);
CONF_SCHEMA(http_config_rw_schema, struct http_config, "config.plain", http_fields, .defaults = &http_rw_defaults,
            .check = check_http);

void http_config_set_dir(struct arena *a, struct http_config *c, str dir)
{
    str *files[] = { &c->tls.ca_file, &c->tls.cert_file, &c->tls.key_file, &c->bearer_token_file };
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        *files[i] = http_join_dir(a, dir, *files[i]);
    if (c->basic_auth) {
        c->basic_auth->username_file = http_join_dir(a, dir, c->basic_auth->username_file);
        c->basic_auth->password_file = http_join_dir(a, dir, c->basic_auth->password_file);
    }
    if (c->oauth2) {
        str *more[] = { &c->oauth2->client_secret_file, &c->oauth2->tls.ca_file, &c->oauth2->tls.cert_file,
                        &c->oauth2->tls.key_file };
        for (size_t i = 0; i < ARRAY_LEN(more); i++)
            *more[i] = http_join_dir(a, dir, *more[i]);
    }
    if (c->authorization)
        c->authorization->credentials_file = http_join_dir(a, dir, c->authorization->credentials_file);
    for (size_t i = 0; i < c->headers.n; i++)
        for (size_t k = 0; k < c->headers.p[i].files.n; k++)
            c->headers.p[i].files.p[k] = http_join_dir(a, dir, c->headers.p[i].files.p[k]);
}
