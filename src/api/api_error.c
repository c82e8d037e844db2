/* Errors to answers, in one table. Prometheus' HTTP API: errorType and status; write protocols: a status that tells
 * the sender whether repeating the same body can help (429 and 5xx) or not (4xx). */
#include <stdio.h>

#include "api/api_int.h"

static const struct {
    const char *name;
    int status;
} types[] = {
    [API_BAD_DATA] = { "bad_data", 400 },   [API_EXECUTION] = { "execution", 422 },
    [API_TIMEOUT] = { "timeout", 503 },     [API_CANCELED] = { "canceled", 499 },
    [API_INTERNAL] = { "internal", 500 },   [API_UNAVAILABLE] = { "unavailable", 503 },
    [API_NOT_FOUND] = { "not_found", 404 }, [API_NOT_ACCEPTABLE] = { "not_acceptable", 406 },
};

/* clang-format off */
static const struct api_error errors[] = {
    /* error            type               status  writing */
    { OK,               API_INTERNAL,      500,    500 },
    { ERR_PARSE,        API_BAD_DATA,      400,    400 },
    { ERR_INVALID,      API_BAD_DATA,      400,    400 },
    { ERR_NOT_FOUND,    API_NOT_FOUND,     404,    404 },
    { ERR_EXISTS,       API_BAD_DATA,      400,    409 },
    { ERR_TOO_OLD,      API_BAD_DATA,      400,    400 },
    { ERR_LIMIT,        API_EXECUTION,     422,    413 },
    { ERR_BUSY,         API_UNAVAILABLE,   503,    429 },
    { ERR_TIMEOUT,      API_TIMEOUT,       503,    503 },
    { ERR_CANCELLED,    API_CANCELED,      499,    503 },
    { ERR_EXEC,         API_EXECUTION,     422,    500 },
    { ERR_UNSUPPORTED,  API_BAD_DATA,      400,    415 },
    { ERR_PERMISSION,   API_INTERNAL,      500,    500 },
    { ERR_CORRUPT,      API_INTERNAL,      500,    400 },
    { ERR_NO_SPACE,     API_INTERNAL,      500,    507 },
    { ERR_IO,           API_INTERNAL,      500,    500 },
    { ERR_CLOSED,       API_UNAVAILABLE,   503,    503 },
};
/* clang-format on */

const struct api_error *api_error_of(enum err e)
{
    for (size_t i = 0; i < ARRAY_LEN(errors); i++)
        if (errors[i].err == e)
            return &errors[i];
    return &errors[0];
}

static void fail_text(struct http_response *rs, enum api_error_type type, int status, str text)
{
    buf_clear(&rs->body);
    rs->status = status;
    rs->content_type = STR("application/json");
    struct json_out j = json_out_init(&rs->body);
    json_obj(&j);
    json_kstr(&j, "status", STR("error"));
    json_kstr(&j, "errorType", str_c(types[type].name));
    json_kstr(&j, "error", text);
    json_obj_end(&j);
}

void api_fail(struct http_response *rs, enum api_error_type type, const char *fmt, ...)
{
    struct err_text text;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text.msg, sizeof(text.msg), fmt, args);
    va_end(args);
    fail_text(rs, type, types[type].status, str_c(text.msg));
}

void api_fail_err(struct http_response *rs, enum err e, const struct err_text *why)
{
    const struct api_error *row = api_error_of(e);
    str text = why && why->msg[0] ? str_c(why->msg) : str_c(err_describe(e));
    fail_text(rs, row->type, row->status, text);
    if (row->status == 503)
        http_set_header(rs, STR("Retry-After"), STR("1"));
}

void api_fail_param(struct http_response *rs, const char *param, const char *why)
{
    api_fail(rs, API_BAD_DATA, "invalid parameter \"%s\": %s", param, why);
}

void api_write_fail(struct http_response *rs, enum err e, const char *why)
{
    const struct api_error *row = api_error_of(e);
    http_answer(rs, row->write_status, STR("text/plain; charset=utf-8"), str_c(why && why[0] ? why : err_describe(e)));
    buf_lit(&rs->body, "\n");
    if (row->write_status == 429 || row->write_status >= 500)
        http_set_header(rs, STR("Retry-After"), e == ERR_NO_SPACE ? STR("30") : STR("2"));
}

static bool unavailable(bool is, struct http_response *rs)
{
    if (!is)
        return false;
    http_answer(rs, 503, STR("text/plain; charset=utf-8"), STR("Service Unavailable\n"));
    http_set_header(rs, STR("Retry-After"), STR("1"));
    return true;
}

bool api_not_ready(const struct api *api, struct http_response *rs)
{
    return unavailable(!api_ready(api), rs);
}

bool api_not_taking(const struct api *api, struct http_response *rs)
{
    return unavailable(!api_taking(api), rs);
}
