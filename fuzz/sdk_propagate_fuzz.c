/* Headers of a request, "Name: value" lines: any bytes. Oracle: what is extracted is written and read again the same, and
 * baggage holds only what may stand in it. */
#include "../src/sdk/sdk_trace.h"

#include <stdlib.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct headers {
    const char *p;
    size_t n;
};

static const char *get(void *carrier, const char *name, size_t index, size_t *ret_n)
{
    const struct headers *h = carrier;
    size_t len = strlen(name);
    for (const char *at = h->p, *end = h->p + h->n; at < end;) {
        const char *eol = memchr(at, '\n', (size_t)(end - at));
        eol = eol ? eol : end;
        if ((size_t)(eol - at) > len && at[len] == ':' && !strncasecmp(at, name, len) && !index--) {
            *ret_n = (size_t)(eol - at) - len - 1;
            return at + len + 1;
        }
        at = eol + 1;
    }
    return NULL;
}

static char written[65536];
static size_t written_n;
static void set(void *carrier, const char *name, const char *value)
{
    (void)carrier;
    size_t n = strlen(name), m = strlen(value);
    if (strchr(value, '\n') || strchr(value, '\r') || !sdk_text_valid(value, m) ||
        written_n + n + m + 2 > sizeof written)
        abort();
    memcpy(written + written_n, name, n);
    written[written_n + n] = ':';
    memcpy(written + written_n + n + 1, value, m);
    written[written_n + n + m + 1] = '\n';
    written_n += n + m + 2;
}

static int see(void *ctx, const char *key, const char *value)
{
    if (!*key || !sdk_text_valid(key, strlen(key)) || !sdk_text_valid(value, strlen(value)))
        abort();
    return ++*(size_t *)ctx > VANE_BAGGAGE_ITEMS_MAX;
}

static void start(void)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.propagators = "tracecontext,baggage,b3,b3multi,jaeger";
    c.log_sinks = "none";
    if (vane_start(&c))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!vane_running())
        start();
    char *copy = malloc(size ? size : 1); /* of its own, so that reading past its end is seen */
    if (!copy)
        return 0;
    if (size)
        memcpy(copy, data, size);
    struct headers h = { copy, size };
    vane_context c, again;
    size_t items = 0;
    if (vane_extract(get, &h, &c) != VANE_OK)
        abort();
    vane_baggage_each(&c, see, &items);
    written_n = 0;
    vane_inject(&c, set, NULL);
    struct headers w = { written, written_n };
    if (vane_extract(get, &w, &again) != VANE_OK)
        abort();
    if (vane_context_valid(&c)) {
        char state[2][VANE_TRACESTATE_MAX];
        if (memcmp(c.trace_id, again.trace_id, 16) || memcmp(c.span_id, again.span_id, 8) ||
            (c.flags & SDK_CTX_SAMPLED) != (again.flags & SDK_CTX_SAMPLED))
            abort();
        if (vane_context_tracestate(&c, state[0], sizeof state[0]) !=
                vane_context_tracestate(&again, state[1], sizeof state[1]) ||
            strcmp(state[0], state[1]))
            abort();
    }
    vane_context_release(c);
    vane_context_release(again);
    vane_context parsed;
    (void)vane_traceparent_parse(copy, size, &parsed);
    free(copy);
    return 0;
}
