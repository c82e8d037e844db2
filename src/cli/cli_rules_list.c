/* vane rules: the groups of a running server, as of their last evaluation. */
#include <getopt.h>
#include <string.h>

#include "base/os.h"
#include "cli/cli_http.h"

struct list_options {
    const char *url, *group, *name;
    bool json, failing, firing;
};

static bool shown(const struct list_options *o, const json_t *rule)
{
    return (!o->failing || strcmp(cli_json_text(rule, "health"), "err") == 0) &&
           (!o->firing || strcmp(cli_json_text(rule, "state"), "firing") == 0);
}

static str seconds(struct arena *a, const json_t *v)
{
    double s = json_number_value(v);
    return s >= 1 ? arena_printf(a, "%.2f s", s) : arena_printf(a, "%.2f ms", s * 1000);
}

static void print_table(struct arena *a, const struct list_options *o, const json_t *groups)
{
    static const char *const heads[] = { "GROUP", "RULE", "KIND", "STATE", "ALERTS", "HEALTH", "EVALUATED", "TOOK" };
    struct cli_table *t = cli_table_new(heads, 8);
    int64_t now_ms = os_now_ms();
    size_t i, k;
    json_t *g, *r;
    json_array_foreach(groups, i, g) json_array_foreach(json_object_get(g, "rules"), k, r)
    {
        if (!shown(o, r))
            continue;
        str ago = cli_since(a, cli_json_text(r, "lastEvaluation"), now_ms);
        bool alerting = strcmp(cli_json_text(r, "type"), "alerting") == 0;
        str cells[] = { str_c(cli_json_text(g, "name")),
                        str_c(cli_json_text(r, "name")),
                        str_c(cli_json_text(r, "type")),
                        str_c(cli_json_text(r, "state")),
                        alerting ? arena_printf(a, "%zu", json_array_size(json_object_get(r, "alerts"))) : STR(""),
                        str_c(cli_json_text(r, "health")),
                        ago.n ? arena_printf(a, "%s ago", ago.p) : STR("never"),
                        seconds(a, json_object_get(r, "evaluationTime")) };
        cli_table_row(t, cells);
    }
    cli_table_print(t, stdout);
    json_array_foreach(groups, i, g)
        json_array_foreach(json_object_get(g, "rules"), k, r) if (shown(o, r) && cli_json_text(r, "lastError")[0])
            fprintf(stderr, "%s: %s\n", cli_json_text(r, "name"), cli_json_text(r, "lastError"));
}

static int list(struct cli_http *h, const struct list_options *o)
{
    AUTO_BUF struct buf path = { 0 };
    buf_lit(&path, "/api/v1/rules");
    if (o->group)
        cli_query_add(&path, "rule_group[]", str_c(o->group));
    if (o->name)
        cli_query_add(&path, "rule_name[]", str_c(o->name));
    buf_u8(&path, 0);
    json_t *doc = cli_http_get(h, path.p), *data = json_object_get(doc, "data");
    if (!doc)
        return CLI_FAILED;
    if (o->json)
        cli_json_print(data);
    else
        print_table(&h->a, o, json_object_get(data, "groups"));
    json_decref(doc);
    return CLI_OK;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    enum { JSON = 256, FAILING, FIRING };
    static const struct option options[] = { { "url", required_argument, NULL, 'u' },
                                             { "group", required_argument, NULL, 'g' },
                                             { "failing", no_argument, NULL, FAILING },
                                             { "firing", no_argument, NULL, FIRING },
                                             { "json", no_argument, NULL, JSON },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    struct list_options o = { .url = CLI_HTTP_URL };
    for (int opt, code; (opt = getopt_long(argc, argv, "u:g:h", options, NULL)) != -1;) {
        if (cli_option_ends(self, opt, &code))
            return code;
        if (opt == 'u')
            o.url = optarg;
        else if (opt == 'g')
            o.group = optarg;
        o.json |= opt == JSON;
        o.failing |= opt == FAILING;
        o.firing |= opt == FIRING;
    }
    char **words = argv + optind;
    int n = argc - optind;
    if (n && strcmp(words[0], "list") == 0) {
        words++;
        n--;
    }
    if (n > 1)
        return cli_usage(self, "'%s': one name of a rule at most", words[1]);
    o.name = n ? words[0] : NULL;
    if (o.json && (o.failing || o.firing))
        return cli_usage(self, "--json gives all that the server says: filter there");
    struct cli_http h = { .hint = cli_http_hint };
    if (!cli_http_open(&h, o.url))
        return CLI_FAILED;
    int code = list(&h, &o);
    cli_http_close(&h);
    return code;
}

const struct cli_command cli_rules_list = {
    .name = "rules",
    .summary = "rules of a running server: state, health, last evaluation",
    .help =
        "usage: vane rules [list] [options] [NAME]\n"
        "\n"
        "  -u, --url URL        any Prometheus-compatible API (default http://127.0.0.1:9090)\n"
        "  -g, --group NAME     one group\n"
        "      --firing         rules that fire      --failing  rules that could not be evaluated\n"
        "      --json           for programs, as /api/v1/rules has them\n"
        "  -h, --help\n"
        "\n"
        "Why rules could not be evaluated goes to stderr. Exit code 0 when the server answered, 1 when it did not, 2\n"
        "for a wrong command line. Files are checked by `vane check rules` and `vane test rules`.\n",
    .run = run,
};
