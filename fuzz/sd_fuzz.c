/* Target groups from files and HTTP: first byte even JSON, odd YAML. Oracle: every target has an address and the meta
 * label, its labels are sorted and unique. */
#include "scrape/scrape_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    str text = { (const char *)data + 1, size - 1 }, meta = STR("__meta_filepath");
    struct sd_groups *g = sd_groups_new();
    struct err_text et = { .msg = "" };
    enum err e = data[0] & 1 ? sd_yaml_decode(g, STR("f.yml"), text, meta, &et)
                             : sd_json_decode(g, text, meta, STR("f.json"), &et);
    if (e)
        ASSERT(et.msg[0]);
    for (size_t i = 0; !e && i < g->v.n; i++)
        for (size_t k = 0; k < g->v.p[i].n; k++) {
            struct labels ls = g->v.p[i].targets[k];
            ASSERT(labels_has(ls, meta));
            for (size_t n = 1; n < ls.n; n++)
                ASSERT(str_cmp(ls.p[n - 1].name, ls.p[n].name) < 0);
        }
    sd_groups_free(g);
    return 0;
}
