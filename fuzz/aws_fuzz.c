/* Answers of Amazon's query APIs, and profiles. Oracle: every element has a name, texts stand only where no elements do and
 * are no longer than the input, and whatever was read can be looked up. */
#include <stdlib.h>

#include "http/http_aws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct http_aws_xml *x, size_t size)
{
    for (; x; x = x->next) {
        if (!x->name.n || x->text.n > size || (x->first && x->text.n) || !str_utf8_ok(x->name))
            abort();
        check(x->first, size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    struct http_aws_xml *x = NULL;
    struct err_text why = { .msg = "" };
    arena_init(&a, 0);
    str text = arena_str(&a, str_n((const char *)data, size));
    if (http_aws_xml_parse(&a, text, &x, &why)) {
        check(x, size);
        if (x->first && !str_contains(x->first->name, STR("/")) && http_aws_xml_at(x, x->first->name) != x->first)
            abort();
        http_aws_xml_error(&a, x);
    } else if (!why.msg[0]) {
        abort();
    }
    struct http_aws_key key = { STR(""), STR(""), STR("") };
    str region = STR("");
    http_aws_profile(&a, text, STR("default"), &key, &region);
    if (key.id.n > size || key.secret.n > size || region.n > size)
        abort();
    arena_deinit(&a);
    return 0;
}
