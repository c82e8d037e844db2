/* What requests and URLs are made of: methods, percent-encoding, form fields, header lists. RFC 9110, WHATWG URL 5. */
#include <strings.h>

#include "http/http_int.h"

static const str method_names[HTTP_METHODS] = {
    [HTTP_GET] = STR_INIT("GET"),         [HTTP_HEAD] = STR_INIT("HEAD"),     [HTTP_POST] = STR_INIT("POST"),
    [HTTP_PUT] = STR_INIT("PUT"),         [HTTP_DELETE] = STR_INIT("DELETE"), [HTTP_PATCH] = STR_INIT("PATCH"),
    [HTTP_OPTIONS] = STR_INIT("OPTIONS"),
};

str http_method_name(enum http_method m)
{
    return method_names[m];
}

bool http_method_parse(str s, enum http_method *ret)
{
    for (int m = 0; m < HTTP_METHODS; m++) {
        if (str_eq(s, method_names[m])) {
            *ret = (enum http_method)m;
            return true;
        }
    }
    return false;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

str http_url_decode(struct arena *a, str s, bool plus_is_space)
{
    if (str_find_char(s, '%') == SIZE_MAX && (!plus_is_space || str_find_char(s, '+') == SIZE_MAX))
        return s;
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '%' && i + 2 < s.n && hex_digit(s.p[i + 1]) >= 0 && hex_digit(s.p[i + 2]) >= 0) {
            c = (char)(hex_digit(s.p[i + 1]) * 16 + hex_digit(s.p[i + 2]));
            i += 2;
        } else if (c == '+' && plus_is_space) {
            c = ' ';
        }
        out[n++] = c;
    }
    out[n] = 0;
    return str_n(out, n);
}

void http_url_encode(struct buf *out, str s)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' || c == '.' ||
                     c == '_' || c == '~';
        if (plain) {
            buf_u8(out, c);
        } else {
            buf_u8(out, '%');
            buf_u8(out, (uint8_t)hex[c >> 4]);
            buf_u8(out, (uint8_t)hex[c & 15]);
        }
    }
}

bool http_form_parse(struct arena *a, str text, struct http_pairs *out)
{
    str pair;
    while (str_cut(&text, '&', &pair)) {
        if (pair.n == 0)
            continue;
        if (out->v.n >= HTTP_PARAMS_MAX)
            return false;
        size_t eq = str_find_char(pair, '=');
        str name = eq == SIZE_MAX ? pair : str_take(pair, eq);
        str value = eq == SIZE_MAX ? STR("") : str_skip(pair, eq + 1);
        struct http_pair p = { http_url_decode(a, name, true), http_url_decode(a, value, true) };
        avec_push(a, &out->v, p);
    }
    return true;
}

str http_header(const struct http_request *rq, str name)
{
    for (size_t i = 0; i < rq->n_headers; i++)
        if (str_ieq(rq->headers[i].name, name))
            return rq->headers[i].value;
    return STR_NONE;
}

str http_param(const struct http_request *rq, str name)
{
    for (size_t i = 0; i < rq->n_params; i++)
        if (str_eq(rq->params[i].name, name))
            return rq->params[i].value;
    return STR_NONE;
}

size_t http_params(const struct http_request *rq, str name, const str **ret)
{
    VEC(str) v = { 0 };
    for (size_t i = 0; i < rq->n_params; i++)
        if (str_eq(rq->params[i].name, name))
            avec_push(rq->a, &v, rq->params[i].value);
    *ret = v.p;
    return v.n;
}

/* The weight of ";q=0.5" in a list element's parameters: true unless it is zero. */
static bool weight_positive(str params)
{
    str one;
    while (str_cut(&params, ';', &one)) {
        one = str_trim(one);
        if (one.n < 3 || (one.p[0] | 0x20) != 'q' || one.p[1] != '=')
            continue;
        for (size_t i = 2; i < one.n; i++)
            if (one.p[i] >= '1' && one.p[i] <= '9')
                return true;
        return false;
    }
    return true;
}

static bool list_find(str list, str token, bool *ret_allowed)
{
    str element;
    while (str_cut(&list, ',', &element)) {
        str name;
        if (!str_cut(&element, ';', &name) || !str_ieq(str_trim(name), token))
            continue;
        *ret_allowed = weight_positive(element);
        return true;
    }
    return false;
}

bool http_list_allows(str list, str token)
{
    bool allowed = false;
    if (list_find(list, token, &allowed))
        return allowed;
    return list_find(list, STR("*"), &allowed) && allowed;
}

bool http_accepts(const struct http_request *rq, str media_type)
{
    str accept = http_header(rq, STR("Accept"));
    if (accept.n == 0)
        return true;
    bool allowed = false;
    if (list_find(accept, media_type, &allowed))
        return allowed;
    size_t slash = str_find_char(media_type, '/');
    if (slash != SIZE_MAX) {
        str range = arena_printf(rq->a, STR_FMT "/*", STR_ARG(str_take(media_type, slash)));
        if (list_find(accept, range, &allowed))
            return allowed;
    }
    return list_find(accept, STR("*/*"), &allowed) && allowed;
}

const char *http_status_text(int status)
{
    static const struct {
        int code;
        const char *text;
    } rows[] = {
        { 200, "OK" },
        { 202, "Accepted" },
        { 204, "No Content" },
        { 206, "Partial Content" },
        { 301, "Moved Permanently" },
        { 302, "Found" },
        { 304, "Not Modified" },
        { 307, "Temporary Redirect" },
        { 308, "Permanent Redirect" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 406, "Not Acceptable" },
        { 408, "Request Timeout" },
        { 409, "Conflict" },
        { 413, "Request Entity Too Large" },
        { 414, "Request URI Too Long" },
        { 415, "Unsupported Media Type" },
        { 422, "Unprocessable Entity" },
        { 429, "Too Many Requests" },
        { 431, "Request Header Fields Too Large" },
        { 499, "Client Closed Request" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 502, "Bad Gateway" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
        { 507, "Insufficient Storage" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].code == status)
            return rows[i].text;
    return "Unknown";
}
