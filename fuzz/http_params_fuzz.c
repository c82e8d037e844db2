/* Query strings, form bodies, percent-encoding and header lists. Oracle: what is encoded decodes to itself, and
 * what was decoded and encoded again stays the same. */
#include <stdlib.h>

#include "http/http_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(struct arena *a, str s)
{
    struct buf b;
    buf_init(&b, 0);
    http_url_encode(&b, s);
    if (!str_eq(http_url_decode(a, buf_str(&b), true), s))
        abort();
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    arena_init(&a, 0);
    str text = arena_str(&a, str_n((const char *)data, size));
    struct http_pairs pairs = { 0 };
    bool all = http_form_parse(&a, text, &pairs);
    if (!all && pairs.v.n < HTTP_PARAMS_MAX)
        abort();
    for (size_t i = 0; i < pairs.v.n; i++) {
        round_trip(&a, pairs.v.p[i].name);
        round_trip(&a, pairs.v.p[i].value);
    }
    http_list_allows(text, STR("gzip"));
    struct http_pair h = { STR("Accept"), text };
    struct http_request rq = { .a = &a, .headers = &h, .n_headers = 1 };
    http_accepts(&rq, STR("application/json"));
    arena_deinit(&a);
    return 0;
}
