/* YAML -> schema of a prometheus.yml -> YAML. First byte: bit 0 expands ${...}. Oracle: what was accepted and printed is
 * accepted again and prints the same; every error has a message and a line inside the text. */
#include "base/check.h"
#include "scrape/scrape_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *no_env(void *ctx, const char *name)
{
    (void)ctx;
    return name[0] == 'A' ? "a value" : NULL;
}

static bool round_trip(struct arena *a, str text, unsigned flags, struct buf *out)
{
    struct conf_ctx cx = conf_ctx_init(a, fs_os());
    struct conf_node *root;
    struct prom_config c;
    cx.env = no_env;
    bool ok = conf_parse(&cx, STR("fuzz.yml"), text, flags, &root) == OK &&
              conf_decode(&cx, root, &prom_config_schema, &c) == OK;
    if (ok)
        conf_print(out, &prom_config_schema, &c);
    else
        ASSERT(cx.n_errors > 0);
    for (size_t i = 0; i < cx.diags.n; i++)
        ASSERT(cx.diags.p[i].message.n > 0);
    AUTO_BUF struct buf shown;
    buf_init(&shown, 0);
    conf_diags_print(&shown, &cx);
    conf_ctx_release(&cx);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    str text = { (const char *)data + 1, size - 1 };
    unsigned flags = (data[0] & 1) && !str_contains(text, STR("file:")) ? CONF_EXPAND : 0;
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf once, twice;
    arena_init(&a, 0);
    buf_init(&once, 0);
    buf_init(&twice, 0);
    if (!round_trip(&a, text, flags, &once))
        return 0;
    if (str_contains(buf_str(&once), STR("external_labels")) && str_contains(buf_str(&once), STR("$")))
        return 0; /* expanded already: reading expands once more */
    ASSERT(round_trip(&a, buf_str(&once), 0, &twice));
    ASSERT(str_eq(buf_str(&once), buf_str(&twice)));
    return 0;
}
