/* See cli_http.h. */
#include "cli/cli_http.h"

#include <string.h>

#include "base/num.h"
#include "base/os.h"
#include "http/http_config.h"

const char cli_http_hint[] = "Is vane running there? --url names another address.";

bool cli_http_open(struct cli_http *h, const char *url)
{
    arena_init(&h->a, 0);
    if (!h->prog)
        h->prog = "vane";
    size_t n = strlen(url);
    while (n && url[n - 1] == '/')
        n--;
    h->url = arena_cstr(&h->a, (str){ url, n });
    if (http_client_open(NULL, &h->client) == OK)
        return true;
    fprintf(stderr, "%s: cannot start an HTTP client\n", h->prog);
    return false;
}

void cli_http_close(struct cli_http *h)
{
    http_client_close(h->client);
    arena_deinit(&h->a);
}

static size_t add_headers(const struct cli_http *h, struct http_pair *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < h->n_headers; i++) {
        str value = str_c(h->headers[i]), name;
        str_cut(&value, ':', &name);
        ret[n++] = (struct http_pair){ name, str_trim(value) };
    }
    return n;
}

json_t *cli_http_send(struct cli_http *h, enum http_method method, const char *path, str type, str body,
                      int *ret_status)
{
    struct http_result result;
    struct err_text why = { 0 };
    str text = { 0 };
    json_error_t error;
    struct http_pair *headers = arena_array(&h->a, struct http_pair, h->n_headers + 1);
    struct http_fetch f = { .url = arena_printf(&h->a, "%s%s", h->url, path),
                            .method = method,
                            .headers = headers,
                            .n_headers = add_headers(h, headers),
                            .accept_encoding = STR("gzip"),
                            .timeout_ms = h->timeout_ms,
                            .body_bytes_max = 1u << 30,
                            .follow_redirects = true };
    if (body.p) {
        f.body = body;
        headers[f.n_headers++] = (struct http_pair){ STR("Content-Type"), type };
    }
    enum err e = OK;
    if (h->config && !http_config_apply(h->config, &h->a, &f, why.msg, sizeof(why.msg)))
        e = ERR_INVALID;
    if (!e)
        e = http_fetch_sync(h->client, &f, &h->a, &result, &text, &why);
    *ret_status = e ? 0 : result.status;
    if (!e)
        return json_loadb(text.p, text.n, JSON_DECODE_ANY, &error);
    fprintf(stderr, "%s: %s: %s\n", h->prog, h->url, why.msg);
    if (h->hint)
        fprintf(stderr, "%s\n", h->hint);
    return NULL;
}

json_t *cli_http_fetch(struct cli_http *h, enum http_method method, const char *path, const json_t *body,
                       int *ret_status)
{
    char *dump = body ? json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_t *doc = cli_http_send(h, method, path, STR("application/json"), dump ? str_c(dump) : STR_NONE, ret_status);
    free(dump);
    return doc;
}

const char *cli_http_why(struct cli_http *h, const json_t *doc, int status)
{
    if (json_is_string(doc))
        return json_string_value(doc);
    const char *message = cli_json_text(doc, "message");
    if (!message[0])
        message = cli_json_text(doc, "error");
    return message[0] ? arena_printf(&h->a, "%s", message).p
                      : arena_printf(&h->a, "status %d %s", status, http_status_text(status)).p;
}

bool cli_http_ask(struct cli_http *h, enum http_method method, const char *path, const json_t *body, json_t **ret)
{
    int status;
    json_t *doc = cli_http_fetch(h, method, path, body, &status);
    if (status >= 200 && status < 300) {
        *ret = doc;
        return true;
    }
    if (status)
        fprintf(stderr, "%s: %s\n", h->prog, cli_http_why(h, doc, status));
    json_decref(doc);
    return false;
}

json_t *cli_http_get(struct cli_http *h, const char *path)
{
    json_t *doc;
    if (!cli_http_ask(h, HTTP_GET, path, NULL, &doc))
        return NULL;
    if (strcmp(cli_json_text(doc, "status"), "success") == 0)
        return doc;
    fprintf(stderr, "%s: %s: the answer is not Prometheus' API's\n", h->prog, h->url);
    json_decref(doc);
    return NULL;
}

void cli_query_add(struct buf *path, const char *name, str value)
{
    buf_u8(path, memchr(path->p, '?', path->n) ? '&' : '?');
    buf_str_add(path, str_c(name));
    buf_u8(path, '=');
    http_url_encode(path, value);
}

const char *cli_json_text(const json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : "";
}

str cli_json_labels(struct arena *a, const json_t *labels, const char *skip)
{
    AUTO_BUF struct buf b = { 0 };
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)labels, key, value)
    {
        if (skip && strcmp(key, skip) == 0)
            continue;
        buf_printf(&b, "%s%s=", b.n ? ", " : "", key);
        buf_go_quote(&b, str_c(json_string_value(value) ? json_string_value(value) : ""));
    }
    return arena_str(a, buf_str(&b));
}

void cli_json_print(const json_t *doc)
{
    json_dumpf(doc, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
}

str cli_since(struct arena *a, const char *time, int64_t now_ms)
{
    AUTO_BUF struct buf b = { 0 };
    int64_t t;
    if (!num_parse_time(str_c(time), &t) || t <= 0)
        return STR("");
    int64_t s = now_ms > t ? (now_ms - t) / 1000 : 0;
    if (s >= 86400)
        s -= s % 3600; /* hours will do for days, minutes for hours */
    else if (s >= 3600)
        s -= s % 60;
    buf_duration(&b, s * 1000);
    return arena_str(a, buf_str(&b));
}
