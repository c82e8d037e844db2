/* HTTP client settings as Prometheus and Alertmanager write them (`http_config`): TLS, credentials, proxy, headers; their
 * schema, their rules, and how they become part of a request.
 * Spec: prometheus.io/docs/prometheus/latest/configuration/configuration, http_config. */
#ifndef VANE_HTTP_HTTP_CONFIG_H
#define VANE_HTTP_HTTP_CONFIG_H

#include "conf/conf.h"
#include "http/http.h"

struct tls_config {
    str ca, ca_file, cert, cert_file, key_file, server_name;
    struct conf_secret key;
    bool insecure_skip_verify;
    int min_version, max_version; /* 0 = unset, 1..4 = TLS 1.0 .. 1.3 */
};
struct basic_auth_config {
    str username, username_file, password_file, username_ref, password_ref;
    struct conf_secret password;
};
struct authorization_config {
    str type, credentials_file, credentials_ref; /* type defaults to Bearer */
    struct conf_secret credentials;
};
struct oauth2_config {
    str client_id, client_secret_file, client_secret_ref, token_url, client_certificate_key_file,
        client_certificate_key_id, signature_algorithm, iss, audience, grant_type;
    struct conf_secret client_secret, client_certificate_key;
    const struct conf_node *claims;
    CONF_DICT_OF(str) endpoint_params;
    CONF_LIST_OF(str) scopes;
    struct tls_config tls;
    str proxy_url, no_proxy;
    bool proxy_from_environment;
    const struct conf_node *proxy_connect_header;
};
struct header_config {
    CONF_LIST_OF(str) values;
    CONF_LIST_OF(struct conf_secret) secrets;
    CONF_LIST_OF(str) files;
};
struct http_config {
    struct basic_auth_config *basic_auth;
    struct authorization_config *authorization;
    struct oauth2_config *oauth2;
    struct conf_secret bearer_token;
    str bearer_token_file;
    struct tls_config tls;
    bool follow_redirects, enable_http2, proxy_from_environment;
    str proxy_url, no_proxy;
    const struct conf_node *proxy_connect_header; /* name -> list of secrets */
    CONF_DICT_OF(struct header_config) headers;   /* http_headers */
};
struct sigv4_config { /* sigv4 of remote_write, of an Alertmanager, of SNS */
    str region, access_key, profile, role_arn, external_id, service;
    struct conf_secret secret_key;
    bool use_fips;
};
extern const struct conf_schema tls_config_schema, http_config_schema, sigv4_config_schema;
extern const struct conf_schema http_config_rw_schema; /* of remote_write: HTTP/2 is off unless asked for */

/* Relative paths of files are relative to dir from now on. */
void http_config_set_dir(struct arena *a, struct http_config *c, str dir);
str http_join_dir(struct arena *a, str dir, str file); /* "dir/file" for relative paths; "" and absolute ones stay */
/* Settings -> a request: credentials, headers after those it has already, TLS, proxy; what is made lives in a.
 * False: credentials cannot be read (error). */
bool http_config_apply(const struct http_config *c, struct arena *a, struct http_fetch *f, char *error,
                       size_t error_size);
/* To be signed for the service, unless c (NULL: not to be signed) names another. */
void http_sigv4_apply(const struct sigv4_config *c, const char *service, struct arena *a, struct http_fetch *f);

#endif
