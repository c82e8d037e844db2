/* The web configuration file of Prometheus (--web.config.file): TLS of the listeners and who may come in.
 *
 *   tls_server_config: {cert_file, key_file, client_ca_file, client_auth_type, min_version, max_version}
 *   basic_auth_users: {name: bcrypt hash, ...}
 *   http_server_config: {headers: {X-Frame-Options: deny, ...}}
 *
 * Spec: prometheus.io/docs/prometheus/latest/configuration/https. What Prometheus knows and vane does not (cipher lists,
 * curves, SANs of clients, rate_limit) is refused by name, so that nobody relies on it. Paths are relative to the file. */
#ifndef VANE_CLI_CLI_WEB_H
#define VANE_CLI_CLI_WEB_H

#include "conf/conf.h"
#include "http/http.h"

struct cli_web_file {
    struct cli_web_tls {
        str cert_file, key_file, client_ca_file, client_auth_type;
        int min_version, max_version; /* index of a version name; 0 = not given */
        enum http_client_auth client_auth;
    } * tls; /* NULL: plain */
    CONF_DICT_OF(struct conf_secret) users;
    struct {
        bool http2;
        CONF_DICT_OF(str) headers;
    } server;
};
/* Everything lives in cx's arena. Errors are in cx. */
enum err cli_web_file_load(struct conf_ctx *cx, str path, struct cli_web_file **ret) MUST_CHECK;
void cli_web_certificates(const struct cli_web_file *f, struct arena *a, struct http_certificates_config *ret);
/* Is every request asked who it comes from? */
bool cli_web_file_guards(const struct cli_web_file *f);

#endif
