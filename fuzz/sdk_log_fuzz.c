/* Records of log lines (src/sdk/sdk_log_write.c), as the black box finds them: any bytes. Oracle: as JSON and as text a line
 * is one line of valid UTF-8, and the OTLP record made of it can be walked to its end. */
#include "../src/sdk/sdk_push.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct sdk_buf *b, bool any_bytes)
{
    if (b->failed || !b->n || b->p[b->n - 1] != '\n' || memchr(b->p, '\n', b->n - 1) ||
        (!any_bytes && !sdk_text_valid(b->p, b->n)))
        abort();
}

static size_t fields_of(const char *p, size_t n)
{
    size_t fields = 0;
    struct sdk_pb_field f;
    for (const char *at = p; at < p + n; fields++)
        if (!sdk_pb_next(&at, p + n, &f))
            abort();
    return fields;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sdk_log_line line;
    char *rec = malloc(size ? size : 1);
    if (!rec)
        return 0;
    if (size)
        memcpy(rec, data, size);
    struct sdk_pb_field f;
    for (const char *at = rec; sdk_pb_next(&at, rec + size, &f);)
        if (at > rec + size || (f.wire == 2 && (f.p < rec || f.p + f.n != at)))
            abort();
    if (sdk_log_read(rec, size, &line)) {
        struct sdk_buf b;
        struct sdk_otlp_marks m;
        sdk_buf_init(&b, (size_t)16 << 20);
        sdk_log_json(&b, &line, "fuzzed");
        check(&b, false);
        b.n = 0;
        sdk_log_text(&b, &line, "fuzzed");
        check(&b, true);
        b.n = 0;
        sdk_otlp_log(&b, &m, &line);
        sdk_otlp_close(&b, &m);
        const char *at = b.p;
        if (b.failed || !sdk_pb_next(&at, b.p + b.n, &f) || at != b.p + b.n || fields_of(f.p, f.n) != 2)
            abort();
        sdk_buf_free(&b);
    }
    free(rec);
    return 0;
}
