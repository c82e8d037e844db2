/* Templates: parse, execute, and the time layouts, on whatever bytes; the output stays within its bound. */
#include "base/check.h"
#include "tmpl/tmpl_lib.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct tmpl_func *const tables[] = { tmpl_prom_funcs, tmpl_am_funcs };
    const size_t n_funcs[] = { tmpl_prom_n_funcs, tmpl_am_n_funcs };
    if (n < 1)
        return 0;
    str text = str_n((const char *)data + 1, n - 1);
    struct tmpl_options opt = { tables, n_funcs, 2, (enum tmpl_missing)(data[0] % 3), data[0] & 4 };
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf out;
    arena_init(&a, 16u << 20);
    buf_init(&out, 0);
    struct tmpl_val dot = tmpl_map(&a, NULL, 3);
    dot.map.p[0] = (struct tmpl_pair){ STR("L"), tmpl_strings(&a, (str[]){ STR("a"), STR("b<") }, 2) };
    dot.map.p[1] = (struct tmpl_pair){ STR("S"), tmpl_str(text) };
    dot.map.p[2] = (struct tmpl_pair){ STR("T"), tmpl_time_ms(&a, 1700000000123) };
    union {
        struct tmpl_prom prom;
        struct tmpl_am am;
    } w = { .prom = { .external_url = STR("http://h/p") } };
    struct tmpl_run run = { .a = &a, .ctx = &w.prom, .output_bytes_max = 10000 };
    struct err_text why = { 0 };
    if (str_contains(text, STR("routeLabels")) || str_contains(text, STR("since"))) /* their world is another one */
        opt.n_tables = 1;
    IGNORE_ERR(tmpl_once(&opt, NULL, STR("fuzz"), text, &dot, &run, &out, &why));
    ASSERT(out.n <= 10000);
    int64_t s;
    uint32_t ns;
    buf_clear(&out);
    tmpl_time_format(&out, 1700000000, 5, tz_utc, str_take(text, 1000));
    IGNORE_ERR(tmpl_time_parse(str_take(text, n / 2), str_skip(text, n / 2), tz_utc, &s, &ns) ? OK : ERR_PARSE);
    return 0;
}
