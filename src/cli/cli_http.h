/* What commands that ask a running server share: where it is, requests, and errors in its own words. */
#ifndef VANE_CLI_CLI_HTTP_H
#define VANE_CLI_CLI_HTTP_H

#include <jansson.h>

#include "cli/cli.h"
#include "http/http.h"

struct cli_http {
    const char *url;                  /* of the server; paths are put behind it */
    const char *prog;                 /* opens messages: "vane" */
    const char *hint;                 /* after a connection failed; NULL: none */
    const struct http_config *config; /* TLS, users, proxies; NULL: plain */
    const char *const *headers;       /* "Name: value"; n_headers of them */
    size_t n_headers;
    int64_t timeout_ms; /* 0: 30 s */
    struct arena a;
    struct http_client *client;
};
#define CLI_HTTP_URL "http://127.0.0.1:9090"
extern const char cli_http_hint[]; /* of commands that want a vane */

/* false after a message. Close also then. */
bool cli_http_open(struct cli_http *h, const char *url) MUST_CHECK;
void cli_http_close(struct cli_http *h);
/* body: sent as JSON, or NULL. The answer's document, whatever its status (NULL: it is no JSON, or empty), with one
 * reference; *ret_status is 0 after a message that the server could not be asked. */
json_t *cli_http_fetch(struct cli_http *h, enum http_method method, const char *path, const json_t *body,
                       int *ret_status);
/* The same with a body of another type; body.p NULL: none. */
json_t *cli_http_send(struct cli_http *h, enum http_method method, const char *path, str type, str body,
                      int *ret_status);
/* Why, of an answer that says no: a JSON string, {"message"}, {"error"} or the status. In h->a. */
const char *cli_http_why(struct cli_http *h, const json_t *doc, int status);
/* As cli_http_fetch(), but false after a message with the server's words if the status is not 2xx. *ret may be NULL. */
bool cli_http_ask(struct cli_http *h, enum http_method method, const char *path, const json_t *body,
                  json_t **ret) MUST_CHECK;
/* GET of Prometheus' API: the whole document {"status":"success","data":...}; NULL after a message. */
json_t *cli_http_get(struct cli_http *h, const char *path);

/* "path?a=b&a=c": values are escaped. */
void cli_query_add(struct buf *path, const char *name, str value);
/* Text of a member; "" if there is none. */
const char *cli_json_text(const json_t *object, const char *name);
/* {"a":"b"} -> a="b", c="d" without `skip` (may be NULL); in a. */
str cli_json_labels(struct arena *a, const json_t *labels, const char *skip);
void cli_json_print(const json_t *doc); /* indented, on stdout */
/* "3m", "2h5m": since an RFC 3339 time; "" if it is none. In a. */
str cli_since(struct arena *a, const char *time, int64_t now_ms);

#endif
