/* vane backtest, vane rules backfill: rule files sent to a running vane, tried on or computed from what it has stored. */
#include <getopt.h>
#include <string.h>

#include "base/check.h"
#include "base/fs.h"
#include "base/num.h"
#include "cli/cli_http.h"

enum { FILE_BYTES_MAX = 16 << 20, TIMEOUT_MS = 660000 };

struct asking {
    const char *url, *last, *start, *end, *interval;
    enum cli_output output;
    bool episodes;
};

/* ---- asking ---- */
static void add(struct buf *path, const char *name, const char *value)
{
    if (value)
        cli_query_add(path, name, str_c(value));
}

/* The answer's data, or NULL after a message. */
static json_t *post(const struct asking *o, const char *route, str body)
{
    struct cli_http h = { .hint = cli_http_hint, .timeout_ms = TIMEOUT_MS };
    AUTO_BUF struct buf path = { 0 };
    json_t *doc = NULL, *data = NULL;
    int status = 0;
    buf_str_add(&path, str_c(route));
    add(&path, "last", o->last);
    add(&path, "start", o->start);
    add(&path, "end", o->end);
    add(&path, "interval", o->interval);
    add(&path, "timeout", "10m");
    if (cli_http_open(&h, o->url))
        doc = cli_http_send(&h, HTTP_POST, arena_cstr(&h.a, buf_str(&path)), STR("application/yaml"), body, &status);
    data = json_incref(json_object_get(doc, "data"));
    if (!data && status)
        cli_fail("%s", cli_http_why(&h, doc, status));
    json_decref(doc);
    cli_http_close(&h);
    return data;
}

/* ---- printing ---- */
static long long int_of(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

static str duration_text(struct arena *a, double seconds)
{
    struct buf b = { 0 };
    buf_duration(&b, (int64_t)(seconds + 0.5) * 1000);
    str s = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return s;
}

static str receivers_text(struct arena *a, const json_t *list)
{
    struct buf b = { 0 };
    size_t i;
    json_t *r;
    json_array_foreach(list, i, r) buf_printf(&b, "%s%s (%.3g)", i ? ", " : "", cli_json_text(r, "name"),
                                              json_number_value(json_object_get(r, "pagesPerWeek")));
    str s = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return s;
}

static void print_episodes(const json_t *rule)
{
    size_t i;
    json_t *e;
    json_array_foreach(json_object_get(rule, "episodes"), i, e)
    {
        char *labels = json_dumps(json_object_get(e, "labels"), JSON_COMPACT | JSON_SORT_KEYS);
        const char *end = json_string_value(json_object_get(e, "resolvedAt"));
        printf("  %s .. %s  %s\n", cli_json_text(e, "firedAt"), end ? end : "(fires still)", labels ? labels : "");
        free(labels);
        const char *summary = cli_json_text(json_object_get(e, "annotations"), "summary");
        if (*summary)
            printf("      %s\n", summary);
    }
}

static void print_backtest(const struct asking *o, const json_t *data)
{
    static const char *const heads[] = {
        "ALERT", "SEVERITY", "FIRED", "FIRING FOR", "PAGES", "PER WEEK", "RECEIVERS (PER WEEK)"
    };
    AUTO_ARENA struct arena a;
    size_t i;
    json_t *r;
    const json_t *rules = json_object_get(data, "rules");
    arena_init(&a, 0);
    printf("%s .. %s\n", cli_json_text(data, "start"), cli_json_text(data, "end"));
    if (!json_is_true(json_object_get(data, "complete")))
        printf("only until %s: %s\n", cli_json_text(data, "reached"), cli_json_text(data, "why"));
    printf("\n");
    struct cli_table *t = cli_table_new(heads, ARRAY_LEN(heads));
    json_array_foreach(rules, i, r)
    {
        if (strcmp(cli_json_text(r, "type"), "alerting") != 0)
            continue;
        const str cells[] = { str_c(cli_json_text(r, "name")),
                              str_c(cli_json_text(json_object_get(r, "labels"), "severity")),
                              arena_printf(&a, "%lld", int_of(r, "fired")),
                              duration_text(&a, json_number_value(json_object_get(r, "firingSeconds"))),
                              arena_printf(&a, "%lld", int_of(r, "pages")),
                              arena_printf(&a, "%.3g", json_number_value(json_object_get(r, "pagesPerWeek"))),
                              receivers_text(&a, json_object_get(r, "receivers")) };
        cli_table_row(t, cells);
    }
    cli_table_print(t, stdout);
    printf("\nin all %lld pages, %.3g per week%s", int_of(data, "pages"),
           json_number_value(json_object_get(data, "pagesPerWeek")),
           json_is_true(json_object_get(data, "routed")) ? "" : " (no Alertmanager runs there: routes are unknown)");
    str who = receivers_text(&a, json_object_get(data, "receivers"));
    printf(who.n ? "; per week: %s\n" : "%s\n", who.n ? who.p : "");
    json_array_foreach(rules, i, r)
    {
        if (int_of(r, "failures"))
            printf("\n%s: %lld of %lld evaluations failed: %s\n", cli_json_text(r, "name"), int_of(r, "failures"),
                   int_of(r, "evaluations"), cli_json_text(r, "lastError"));
        if (o->episodes && int_of(r, "fired")) {
            printf("\n%s\n", cli_json_text(r, "name"));
            print_episodes(r);
        }
    }
}

static void print_backfill(const struct asking *o, const json_t *data)
{
    size_t i;
    json_t *r;
    (void)o;
    json_array_foreach(json_object_get(data, "rules"), i, r)
    {
        printf("%s: %lld samples\n", cli_json_text(r, "name"), int_of(r, "samples"));
        if (int_of(r, "failures"))
            printf("  %lld of %lld evaluations failed: %s\n", int_of(r, "failures"), int_of(r, "evaluations"),
                   cli_json_text(r, "lastError"));
    }
    printf("%lld samples stored, up to %s\n", int_of(data, "samples"), cli_json_text(data, "end"));
    if (!json_is_true(json_object_get(data, "complete")))
        printf("not all of it: %s\n", cli_json_text(data, "why"));
}

/* ---- commands ---- */
static bool ask_file(const struct asking *o, const char *path, const char *file,
                     void (*print)(const struct asking *o, const json_t *data))
{
    AUTO_ARENA struct arena a;
    struct err_text why = { 0 };
    str text;
    arena_init(&a, 0);
    if (fs_read_file(fs_os(), file, FILE_BYTES_MAX, &a, &text, &why) != OK) {
        cli_fail("%s: %s", file, why.msg);
        return false;
    }
    if (!str_trim(text).n) {
        cli_fail("%s: the file is empty", file);
        return false;
    }
    json_t *data = post(o, path, text);
    if (!data)
        return false;
    bool complete = json_is_true(json_object_get(data, "complete"));
    if (o->output == CLI_JSON) {
        json_dumpf(data, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        print(o, data);
    }
    json_decref(data);
    return complete;
}

enum { EPISODES = 256 };
static const struct option options[] = {
    { "help", no_argument, NULL, 'h' },
    { "url", required_argument, NULL, 'u' },
    { "last", required_argument, NULL, 'l' },
    { "start", required_argument, NULL, 's' },
    { "end", required_argument, NULL, 'e' },
    { "interval", required_argument, NULL, 'i' },
    { "output", required_argument, NULL, 'o' },
    { "episodes", no_argument, NULL, EPISODES },
    { 0 },
};

/* false: *ret_exit is the exit code. */
static bool read_options(const struct cli_command *self, int argc, char **argv, struct asking *o, int *ret_exit)
{
    for (int opt; (opt = getopt_long(argc, argv, "ho:", options, NULL)) != -1;) {
        if (cli_option_ends(self, opt, ret_exit))
            return false;
        switch (opt) {
        case 'u':
            o->url = optarg;
            break;
        case 'l':
            o->last = optarg;
            break;
        case 's':
            o->start = optarg;
            break;
        case 'e':
            o->end = optarg;
            break;
        case 'i':
            o->interval = optarg;
            break;
        case EPISODES:
            o->episodes = true;
            break;
        default:
            if (!cli_parse_output(optarg, &o->output)) {
                *ret_exit = cli_usage(self, "--output '%s': table or json", optarg);
                return false;
            }
        }
    }
    if (optind == argc) {
        *ret_exit = cli_usage(self, "name at least one rule file");
        return false;
    }
    return true;
}

static int run_backtest(const struct cli_command *self, int argc, char **argv)
{
    struct asking o = { .url = CLI_HTTP_URL };
    int code = CLI_OK;
    if (!read_options(self, argc, argv, &o, &code))
        return code;
    for (int i = optind; i < argc; i++)
        if (!ask_file(&o, "/api/v1/rules/backtest", argv[i], print_backtest))
            code = CLI_FAILED;
    return code;
}

static int run_backfill(const struct cli_command *self, int argc, char **argv)
{
    struct asking o = { .url = CLI_HTTP_URL };
    int code = CLI_OK;
    if (!read_options(self, argc, argv, &o, &code))
        return code;
    if (!o.start)
        return cli_usage(self, "say from when: --start");
    for (int i = optind; i < argc; i++)
        if (!ask_file(&o, "/api/v1/rules/backfill", argv[i], print_backfill))
            code = CLI_FAILED;
    return code;
}

const struct cli_command cli_backtest = {
    .name = "backtest",
    .summary = "when rules would have fired, and whom they would have told",
    .help =
        "usage: vane backtest [options] FILE...\n"
        "\n"
        "Sends rule files to a running vane, which tries them on what it has stored with the engine that runs rules\n"
        "(for, keep_firing_for, limits), and prints for each alert how often it would have fired, for how long, how\n"
        "many pages that makes, and which receivers of the routing tree would have got them. Several alerts of one\n"
        "group are one page. Silences, inhibition and mute times are not counted in. Nothing is stored or sent.\n"
        "\n"
        "  --last=DURATION      the time up to --end: 30d, 12h (default 7d)\n"
        "  --start=, --end=     RFC 3339 or Unix seconds; --end is now unless given\n"
        "  --interval=DURATION  of groups that name none (default: the server's)\n"
        "  --episodes           list every time it would have fired\n"
        "  --url=URL            the server (default http://127.0.0.1:9090)\n"
        "  -o, --output=FORMAT  table (default) or json\n"
        "\n"
        "Exit code 0 when all of the time was tried, 1 when a limit ended it or it failed.\n",
    .run = run_backtest,
};

const struct cli_command cli_rules_backfill = {
    .name = "rules backfill",
    .summary = "compute recording rules for the past",
    .help =
        "usage: vane rules backfill --start=TIME [--end=TIME] [options] FILE...\n"
        "\n"
        "Has a running vane compute the recording rules of the files for the past and store what they give. Samples\n"
        "that are there already stay. Rules see what those before them record. Alerting rules are left out. The\n"
        "server must allow it: vane serve --web.enable-admin-api.\n"
        "\n"
        "  --start=, --end=     RFC 3339 or Unix seconds; --end is now unless given\n"
        "  --interval=DURATION  of groups that name none (default: the server's)\n"
        "  --url=URL            the server (default http://127.0.0.1:9090)\n"
        "  -o, --output=FORMAT  table (default) or json\n",
    .run = run_backfill,
};
