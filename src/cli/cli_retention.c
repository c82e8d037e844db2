/* vane retention: what the rules of retention keep and what would go when, of a running server or, under the rules of
 * any configuration, of a data folder that no process has open. Changes nothing. */
#include <getopt.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "base/check.h"
#include "base/json.h"
#include "cli/cli.h"
#include "cli/cli_config.h"
#include "http/http.h"
#include "store/store.h"
#include "tsdb/tsdb.h"

struct options {
    const char *config, *data, *url;
    enum cli_output output;
};

/* ---- tables ---- */
static str cell(struct arena *a, json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);
    if (json_is_integer(v))
        return arena_printf(a, "%lld", (long long)json_integer_value(v));
    return arena_str(a, str_c(json_is_string(v) ? json_string_value(v) : "-"));
}

static str size_cell(struct arena *a, json_t *o, const char *key)
{
    return arena_printf(a, "%s", cli_size_text((double)json_integer_value(json_object_get(o, key))).text);
}

static str gone_cell(struct arena *a, json_t *o, const char *key, const char *what)
{
    json_t *g = json_object_get(o, key);
    str size = size_cell(a, g, "bytes");
    return arena_printf(a, "%lld (" STR_FMT ")", (long long)json_integer_value(json_object_get(g, what)),
                        STR_ARG(size));
}

static void print_rules(struct arena *a, json_t *rules)
{
    static const char *const heads[] = { "MATCH",  "KEEP",    "SERIES",     "SAMPLES",  "DISK",
                                         "OLDEST", "EXPIRED", "WITHIN 24H", "WITHIN 7D" };
    struct cli_table *t = cli_table_new(heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < json_array_size(rules); i++) {
        json_t *r = json_array_get(rules, i);
        str match = cell(a, r, "match");
        const str cells[] = { match.n ? match : STR("(all others)"),
                              cell(a, r, "keep"),
                              cell(a, r, "series"),
                              cell(a, r, "samples"),
                              size_cell(a, r, "bytes"),
                              cell(a, r, "oldest"),
                              gone_cell(a, r, "expired", "samples"),
                              gone_cell(a, r, "expires24h", "samples"),
                              gone_cell(a, r, "expires7d", "samples") };
        cli_table_row(t, cells);
    }
    cli_table_print(t, stdout);
}

static void print_rollups(struct arena *a, json_t *rollups)
{
    static const char *const heads[] = { "ROLLUPS", "KEEP",    "MATCH",      "WINDOWS",  "DISK",
                                         "OLDEST",  "EXPIRED", "WITHIN 24H", "WITHIN 7D" };
    if (!json_array_size(rollups))
        return;
    struct cli_table *t = cli_table_new(heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < json_array_size(rollups); i++) {
        json_t *r = json_array_get(rollups, i);
        str match = cell(a, r, "match");
        const str cells[] = { cell(a, r, "resolution"),
                              cell(a, r, "keep"),
                              match.n ? match : STR("(all)"),
                              cell(a, r, "windows"),
                              size_cell(a, r, "bytes"),
                              cell(a, r, "oldest"),
                              gone_cell(a, r, "expired", "windows"),
                              gone_cell(a, r, "expires24h", "windows"),
                              gone_cell(a, r, "expires7d", "windows") };
        cli_table_row(t, cells);
    }
    putchar('\n');
    cli_table_print(t, stdout);
}

static void print_warnings(json_t *list, const char *name)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *warning = json_string_value(json_object_get(json_array_get(list, i), "warning")),
                   *what = json_string_value(json_object_get(json_array_get(list, i), name));
        if (warning)
            printf("warning: %s %s %s\n", strcmp(name, "match") == 0 ? "the rule" : "rollups of", what ? what : "",
                   warning);
    }
}

static void print_plan(json_t *data)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    json_t *rules = json_object_get(data, "rules"), *rollups = json_object_get(data, "rollups");
    print_rules(&a, rules);
    print_rollups(&a, rollups);
    str total = size_cell(&a, data, "bytes"), max = size_cell(&a, data, "maxBytes");
    printf("\n" STR_FMT " on disk", STR_ARG(total));
    if (json_integer_value(json_object_get(data, "maxBytes")))
        printf(" of at most " STR_FMT, STR_ARG(max));
    if (json_integer_value(json_object_get(data, "bytesOverMax")))
        printf(": the oldest " STR_FMT " would go now", STR_ARG(size_cell(&a, data, "bytesOverMax")));
    printf("; counts are of segments, %lld samples are still in memory and the log\n",
           (long long)json_integer_value(json_object_get(data, "headSamples")));
    print_warnings(rules, "match");
    print_warnings(rollups, "resolution");
}

static int show(str text, enum cli_output output, const char *from)
{
    json_t *doc = json_loadb(text.p, text.n, 0, NULL), *data = json_object_get(doc, "data");
    const char *error = json_string_value(json_object_get(doc, "error"));
    int code = CLI_OK;
    if (!data)
        code = cli_fail("%s: %s", from, error ? error : "no answer of /api/v1/status/retention");
    else if (output == CLI_JSON)
        printf(STR_FMT "\n", STR_ARG(text));
    else
        print_plan(data);
    json_decref(doc);
    return code;
}

/* ---- where it comes from ---- */
static int of_server(const struct options *o)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct http_client *client;
    struct http_result result;
    struct err_text why = { 0 };
    str body = { 0 };
    size_t n = strlen(o->url);
    str url = arena_printf(&a, "%.*s/api/v1/status/retention", (int)(n && o->url[n - 1] == '/' ? n - 1 : n), o->url);
    struct http_fetch fetch = { .url = url, .timeout_ms = 600000, .body_bytes_max = 16u << 20 };
    if (http_client_open(NULL, &client) != OK)
        return cli_fail("cannot start an HTTP client");
    enum err e = http_fetch_sync(client, &fetch, &a, &result, &body, &why);
    http_client_close(client);
    return e ? cli_fail("%s: %s", o->url, why.msg) : show(body, o->output, o->url);
}

static enum err plan_of(struct tsdb *db, const struct tsdb_config *cfg, struct buf *out, struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_plan plan;
    TRY(tsdb_plan(db, cfg, &a, &plan, reterr));
    struct json_out j = json_out_init(out);
    json_obj(&j);
    json_kstr(&j, "status", STR("success"));
    json_key(&j, STR("data"));
    api_retention_json(&j, &plan);
    json_obj_end(&j);
    return OK;
}

static int of_folder(const struct options *o)
{
    AUTO_BUF struct buf report = { 0 };
    AUTO_BUF struct buf out = { 0 };
    struct err_text why = { 0 };
    struct cli_config *cfg;
    if (cli_config_load(o->config, &cfg, &report, &why))
        return report.n ? (fprintf(stderr, STR_FMT, STR_ARG(buf_str(&report))), CLI_FAILED) : cli_fail("%s", why.msg);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    const char *dir = o->data ? o->data : arena_cstr(&a, cfg->data_dir);
    struct tsdb_config rules, look;
    tsdb_config_defaults(&rules);
    tsdb_config_defaults(&look);
    cli_retention_tsdb(cfg, &rules);
    look.retention_ms = 0;
    look.look_only = true;
    struct store *st = NULL;
    struct tsdb *db = NULL;
    enum err e = access(arena_printf(&a, "%s/MANIFEST", dir).p, F_OK) == 0
                     ? store_open(fs_os(), dir, NULL, os_clock(), &st, &why)
                     : err_fail(&why, ERR_NOT_FOUND, "%s is no data folder of vane", dir);
    e = e ? e : tsdb_open(&look, st, os_clock(), &db, &why);
    e = e ? e : plan_of(db, &rules, &out, &why);
    tsdb_close(db);
    if (st)
        store_close(st);
    cli_config_free(cfg);
    if (e == ERR_BUSY)
        return cli_fail("%s is in use by a running vane: ask it with --url", dir);
    if (e)
        return cli_fail("%s", why.msg[0] ? why.msg : err_describe(e));
    return show(buf_str(&out), o->output, dir);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' }, { "data", required_argument, NULL, 'd' },
        { "url", required_argument, NULL, 'u' },    { "output", required_argument, NULL, 'o' },
        { "help", no_argument, NULL, 'h' },         { 0 }
    };
    struct options o = { 0 };
    for (int opt, code; (opt = getopt_long(argc, argv, "c:d:u:o:h", options, NULL)) != -1;) {
        if (cli_option_ends(self, opt, &code))
            return code;
        if (opt == 'c')
            o.config = optarg;
        else if (opt == 'd')
            o.data = optarg;
        else if (opt == 'u')
            o.url = optarg;
        else if (!cli_parse_output(optarg, &o.output))
            return cli_usage(self, "--output is table or json, not '%s'", optarg);
    }
    if (argc > optind)
        return cli_usage(self, "unexpected argument '%s'", argv[optind]);
    if (o.url && (o.data || o.config))
        return cli_usage(self, "a running server has its own rules and data: --url stands alone");
    if (!o.data && !o.config && !o.url)
        o.url = "http://127.0.0.1:9090";
    return o.url ? of_server(&o) : of_folder(&o);
}

const struct cli_command cli_retention = {
    .name = "retention",
    .summary = "what is kept, and what would go when",
    .help =
        "usage: vane retention [--url URL]                     of a running server, under its rules\n"
        "       vane retention --data DIR [--config FILE]      of a data folder that no process has open\n"
        "\n"
        "For every rule of retention and all rollups: series, samples, disk, the oldest sample, and what is expired "
        "now, within\n"
        "24 hours and within 7 days. A dry run: with --config any rules can be tried on a folder; nothing is "
        "deleted. Rules that\n"
        "match no series are warned of. Bytes are estimated by the share of samples.\n"
        "  -u, --url URL         default http://127.0.0.1:9090\n"
        "  -d, --data DIR        default: data_dir of --config\n"
        "  -c, --config FILE     vane.yaml with the rules to try; without it the defaults\n"
        "  -o, --output table|json\n",
    .run = run,
};
