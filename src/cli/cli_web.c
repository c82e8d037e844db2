/* The web configuration file (manual: cli_web.h). */
#include "cli/cli_config.h"

#include "base/check.h"

#define FAIL(...) IGNORE_ERR(conf_error(cx, n, __VA_ARGS__))

static const char *const version_names[] = { "", "TLS10", "TLS11", "TLS12", "TLS13", NULL };

static enum err read_unsupported(struct conf_ctx *cx, const struct conf_node *n, void *field)
{
    (void)field;
    return conf_error(cx, n, "this setting of Prometheus' web configuration is not supported by vane: remove it");
}
static void print_nothing(struct conf_out *out, const void *field)
{
    (void)out, (void)field;
}
static void check_tls(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    static const struct {
        const char *name;
        enum http_client_auth auth;
    } rows[] = {
        { "", HTTP_CLIENT_NONE },
        { "NoClientCert", HTTP_CLIENT_NONE },
        { "RequestClientCert", HTTP_CLIENT_REQUEST },
        { "RequireAnyClientCert", HTTP_CLIENT_REQUIRE_ANY },
        { "RequireClientCert", HTTP_CLIENT_REQUIRE_ANY },
        { "VerifyClientCertIfGiven", HTTP_CLIENT_VERIFY_IF_GIVEN },
        { "RequireAndVerifyClientCert", HTTP_CLIENT_REQUIRE_VERIFY },
    };
    struct cli_web_tls *t = obj;
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eq(t->client_auth_type, str_c(rows[i].name))) {
            t->client_auth = rows[i].auth;
            known = true;
        }
    if (!t->cert_file.n || !t->key_file.n)
        FAIL("tls_server_config needs cert_file and key_file");
    else if (!known)
        FAIL("invalid client_auth_type \"" STR_FMT "\" (NoClientCert, RequestClientCert, RequireAnyClientCert, "
             "VerifyClientCertIfGiven, RequireAndVerifyClientCert)",
             STR_ARG(t->client_auth_type));
    else if (t->client_auth >= HTTP_CLIENT_VERIFY_IF_GIVEN && !t->client_ca_file.n)
        FAIL("client_auth_type " STR_FMT " needs client_ca_file", STR_ARG(t->client_auth_type));
    else if (t->client_ca_file.n && t->client_auth == HTTP_CLIENT_NONE)
        FAIL("client_ca_file is of no use without client_auth_type");
    else if (t->min_version && t->max_version && t->min_version > t->max_version)
        FAIL("min_version is above max_version");
}

#define F(m, key, t, ...) CF(struct cli_web_tls, m, key, t, ##__VA_ARGS__)
#define NOT(key)          F(cert_file, key, CONF_CUSTOM, .read = read_unsupported, .print = print_nothing, .flags = CONF_HIDDEN)
static const struct conf_field tls_fields[] = {
    F(cert_file, "cert_file", CONF_STR),
    F(key_file, "key_file", CONF_STR),
    F(client_ca_file, "client_ca_file", CONF_STR),
    F(client_auth_type, "client_auth_type", CONF_STR),
    F(min_version, "min_version", CONF_ENUM, .names = version_names),
    F(max_version, "max_version", CONF_ENUM, .names = version_names),
    NOT("cert"),
    NOT("key"),
    NOT("client_ca"),
    NOT("client_allowed_sans"),
    NOT("cipher_suites"),
    NOT("curve_preferences"),
    NOT("prefer_server_cipher_suites"),
};
#undef F
#undef NOT
static const struct conf_schema tls_schema = { .type_name = "web.TLSConfig",
                                               .size = sizeof(struct cli_web_tls),
                                               .fields = tls_fields,
                                               .n_fields = ARRAY_LEN(tls_fields),
                                               .check = check_tls };

static const char *const sent_headers[] = {
    "Content-Security-Policy", "X-Frame-Options",           "X-Content-Type-Options",
    "X-XSS-Protection",        "Strict-Transport-Security",
};
static void check_file(struct conf_ctx *cx, const struct conf_node *n, void *obj)
{
    const struct cli_web_file *f = obj;
    for (size_t i = 0; i < f->server.headers.n; i++) {
        bool known = false;
        for (size_t k = 0; k < ARRAY_LEN(sent_headers); k++)
            known |= str_ieq(f->server.headers.keys[i], str_c(sent_headers[k]));
        if (!known)
            FAIL("HTTP header \"" STR_FMT "\" can not be configured", STR_ARG(f->server.headers.keys[i]));
        if (memchr(f->server.headers.p[i].p ? f->server.headers.p[i].p : "", '\n', f->server.headers.p[i].n))
            FAIL("HTTP header \"" STR_FMT "\" must be one line", STR_ARG(f->server.headers.keys[i]));
    }
}

typedef __typeof__(((struct cli_web_file *)0)->server) web_server;
static const struct conf_field server_fields[] = {
    CF(web_server, http2, "http2", CONF_BOOL), /* the UI's listener speaks HTTP/1.1 either way */
    CF(web_server, headers, "headers", CONF_DICT, .of = CONF_STR),
};
static const struct conf_schema server_schema = { .type_name = "web.HTTPConfig",
                                                  .size = sizeof(web_server),
                                                  .fields = server_fields,
                                                  .n_fields = ARRAY_LEN(server_fields) };

#define F(m, key, t, ...) CF(struct cli_web_file, m, key, t, ##__VA_ARGS__)
static const struct conf_field file_fields[] = {
    F(tls, "tls_server_config", CONF_PTR, .schema = &tls_schema),
    F(users, "basic_auth_users", CONF_DICT, .of = CONF_SECRET),
    F(server, "http_server_config", CONF_STRUCT, .schema = &server_schema),
    F(tls, "rate_limit", CONF_CUSTOM, .read = read_unsupported, .print = print_nothing, .flags = CONF_HIDDEN),
};
#undef F
static const struct conf_schema file_schema = { .type_name = "web.Config",
                                                .size = sizeof(struct cli_web_file),
                                                .fields = file_fields,
                                                .n_fields = ARRAY_LEN(file_fields),
                                                .check = check_file };

enum err cli_web_file_load(struct conf_ctx *cx, str path, struct cli_web_file **ret)
{
    struct conf_node *root;
    struct cli_web_file *f = arena_new(cx->a, struct cli_web_file);
    TRY(conf_read(cx, arena_cstr(cx->a, path), 0, &root));
    TRY(conf_decode(cx, root, &file_schema, f));
    if (f->tls) {
        f->tls->cert_file = cli_path_beside(cx->a, path, f->tls->cert_file);
        f->tls->key_file = cli_path_beside(cx->a, path, f->tls->key_file);
        f->tls->client_ca_file = cli_path_beside(cx->a, path, f->tls->client_ca_file);
    }
    *ret = f;
    return OK;
}

void cli_web_certificates(const struct cli_web_file *f, struct arena *a, struct http_certificates_config *ret)
{
    const struct cli_web_tls *t = f->tls;
    *ret = (struct http_certificates_config){ .cert_file = arena_cstr(a, t->cert_file),
                                              .key_file = arena_cstr(a, t->key_file),
                                              .client_ca_file = arena_cstr(a, t->client_ca_file),
                                              .client_auth = t->client_auth,
                                              .min_version = t->min_version ? 9u + (unsigned)t->min_version : 0,
                                              .max_version = t->max_version ? 9u + (unsigned)t->max_version : 0 };
}

bool cli_web_file_guards(const struct cli_web_file *f)
{
    return f && (f->users.n || (f->tls && f->tls->client_auth == HTTP_CLIENT_REQUIRE_VERIFY));
}
