/* The web UI: embedded files by path; every other path that a browser asks a page for gets index.html, whose router
 * takes over from there. Paths of APIs never do: a mistyped URL is 404, not a page. */
#include "api/api_int.h"

static const struct http_file *file_find(const struct api *api, str path)
{
    for (size_t i = 0; i < api->d.n_files; i++)
        if (str_eq(api->d.files[i].path, path))
            return &api->d.files[i];
    return NULL;
}

static bool is_page(const struct http_request *rq)
{
    static const str machine[] = { STR_INIT("/api/"), STR_INIT("/v1/"), STR_INIT("/-/"), STR_INIT("/metrics/"), STR_INIT("/assets/") };
    for (size_t i = 0; i < ARRAY_LEN(machine); i++)
        if (str_has_prefix(rq->path, machine[i]))
            return false;
    return str_eq(rq->path, STR("/")) || str_contains(http_header(rq, STR("Accept")), STR("text/html"));
}

static void file(struct http_request *rq, struct http_response *rs)
{
    const struct api *api = api_of(rq);
    const struct http_file *f = rq->method == HTTP_GET ? file_find(api, rq->path) : NULL;
    if (!f && rq->method == HTTP_GET && is_page(rq))
        f = file_find(api, STR("/index.html"));
    if (f)
        http_answer_file(rq, rs, f);
    else
        http_answer(rs, 404, STR("text/plain; charset=utf-8"), STR("404 page not found\n"));
}

#define ALL (HTTP_BIT(HTTP_GET) | HTTP_BIT(HTTP_POST) | HTTP_BIT(HTTP_PUT) | HTTP_BIT(HTTP_DELETE) | HTTP_BIT(HTTP_PATCH))
const struct http_route api_file_routes[] = {
    { ALL, "/{path*}", file, HTTP_CONTROL, NULL, HTTP_NO_FORM },
};
const size_t api_file_routes_n = ARRAY_LEN(api_file_routes);
