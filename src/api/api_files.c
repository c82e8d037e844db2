/* The web UI: embedded files and the pages that its index.html draws. A path it does not know is 404: with the UI's
 * own "not found" page for a browser that asks for a page, in plain text for everything else and below APIs' paths. */
#include "api/api_int.h"

static bool wants_page(const struct http_request *rq)
{
    static const str machine[] = { STR_INIT("/api/"), STR_INIT("/v1/"), STR_INIT("/-/"), STR_INIT("/metrics/"),
                                   STR_INIT("/assets/") };
    for (size_t i = 0; i < ARRAY_LEN(machine); i++)
        if (str_has_prefix(rq->path, machine[i]))
            return false;
    return str_contains(http_header(rq, STR("Accept")), STR("text/html"));
}

static void file_answer(const struct http_request *rq, struct http_response *rs, const struct http_file *f)
{
    str csp = api_of(rq)->d.ui_csp;
    http_answer_file(rq, rs, f);
    if (csp.n && str_has_prefix(f->content_type, STR("text/html")))
        http_set_header(rs, STR("Content-Security-Policy"), csp);
}

static void file(struct http_request *rq, struct http_response *rs)
{
    const struct api *api = api_of(rq);
    struct http_file f;
    bool get = api->d.ui_find && rq->method == HTTP_GET;
    if (get && api->d.ui_find(rq->path, &f)) {
        file_answer(rq, rs, &f);
        return;
    }
    if (get && wants_page(rq) && api->d.ui_find(STR("/index.html"), &f)) {
        file_answer(rq, rs, &f);
        if (rs->status == 200)
            rs->status = 404;
        return;
    }
    http_answer(rs, 404, STR("text/plain; charset=utf-8"), STR("404 page not found\n"));
}

/* docs/openapi.yaml, embedded by the build */
extern const char api_openapi[];
extern const size_t api_openapi_n;

static void openapi(struct http_request *rq, struct http_response *rs)
{
    (void)rq;
    rs->content_type = STR("application/yaml");
    buf_add(&rs->body, api_openapi, api_openapi_n);
}

#define ALL \
    (HTTP_BIT(HTTP_GET) | HTTP_BIT(HTTP_POST) | HTTP_BIT(HTTP_PUT) | HTTP_BIT(HTTP_DELETE) | HTTP_BIT(HTTP_PATCH))
const struct http_route api_file_routes[] = {
    { HTTP_BIT(HTTP_GET), "/api/openapi.yaml", openapi, HTTP_CONTROL, NULL, HTTP_CORS },
    { ALL, "/{path*}", file, HTTP_CONTROL, NULL, HTTP_NO_FORM },
};
const size_t api_file_routes_n = ARRAY_LEN(api_file_routes);
