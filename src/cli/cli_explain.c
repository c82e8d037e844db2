/* vane explain alert: why an alert did or did not page, asked of a running server. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/os.h"
#include "cli/cli_http.h"

static const struct option options[] = { { "url", required_argument, NULL, 'u' },
                                         { "output", required_argument, NULL, 'o' },
                                         { "help", no_argument, NULL, 'h' },
                                         { 0 } };

struct teller {
    struct arena *a;
    int64_t now_ms;
};

/* "2026-11-21T16:00:00.000Z, 3m ago" */
static void print_time(const struct teller *t, const char *what, const char *time)
{
    str since = cli_since(t->a, time, t->now_ms);
    if (time[0])
        printf("%s %s%s" STR_FMT "%s", what, time, since.n ? ", " : "", STR_ARG(since), since.n ? " ago" : "");
}

static void tell_rule(const struct teller *t, const json_t *rule)
{
    const json_t *al;
    size_t i;
    printf("rule %s (group %s, %s): %s\n", cli_json_text(rule, "name"), cli_json_text(rule, "group"),
           cli_json_text(rule, "file"), cli_json_text(rule, "query"));
    if (cli_json_text(rule, "lastError")[0])
        printf("  its evaluation fails: %s\n", cli_json_text(rule, "lastError"));
    if (!json_array_size(json_object_get(rule, "alerts")))
        printf("  no alert of it matches: its condition gives nothing%s\n",
               cli_json_text(rule, "lastEvaluation")[0] ? "" : "; it was not evaluated yet");
    json_array_foreach(json_object_get(rule, "alerts"), i, al)
    {
        printf("  {" STR_FMT "} is %s, value %g", STR_ARG(cli_json_labels(t->a, json_object_get(al, "labels"), NULL)),
               cli_json_text(al, "state"), strtod(cli_json_text(al, "value"), NULL));
        print_time(t, ", active since", cli_json_text(al, "activeAt"));
        if (cli_json_text(al, "firesAt")[0])
            printf(", fires at %s if it stays so", cli_json_text(al, "firesAt"));
        putchar('\n');
    }
}

static void tell_steps(const json_t *steps)
{
    const json_t *s;
    size_t i;
    puts("  routes:");
    json_array_foreach(steps, i, s)
    {
        const char *result = cli_json_text(s, "result");
        printf("    %-6s %s  %s\n", result, cli_json_text(s, "matchers"),
               strcmp(result, "taken") == 0 ? cli_json_text(s, "receiver") : "");
    }
}

static void tell_group(const struct teller *t, const json_t *g)
{
    const json_t *in;
    size_t i;
    printf("  group %s -> %s%s%s\n", cli_json_text(g, "groupKey"), cli_json_text(g, "receiver"),
           json_is_true(json_object_get(g, "inGroup")) ? "" : " (it is not in it)",
           json_is_true(json_object_get(g, "muted")) ? ", muted by a time interval" : "");
    if (cli_json_text(g, "leftOut")[0])
        printf("    left out of its last turn: %s\n", cli_json_text(g, "leftOut"));
    if (cli_json_text(g, "nextTurn")[0])
        printf("    %s turn: %s\n", json_is_true(json_object_get(g, "hadTurn")) ? "next" : "first",
               cli_json_text(g, "nextTurn"));
    json_array_foreach(json_object_get(g, "integrations"), i, in)
    {
        bool told = json_is_true(json_object_get(in, "toldFiring"));
        printf("    %s:", cli_json_text(in, "name"));
        print_time(t, told ? " told at" : " last message without it at", cli_json_text(in, "lastSent"));
        if (!cli_json_text(in, "lastSent")[0])
            fputs(" not told", stdout);
        if (json_is_true(json_object_get(in, "onItsWay")))
            printf(", a message is on its way (attempt %lld)",
                   (long long)json_integer_value(json_object_get(in, "attempt")));
        if (cli_json_text(in, "nextAttempt")[0])
            printf(", next attempt at %s", cli_json_text(in, "nextAttempt"));
        putchar('\n');
    }
}

/* Oldest first, as a story. */
static void tell_history(const json_t *events)
{
    size_t n = json_array_size(events);
    if (n)
        puts("  history:");
    for (size_t i = n; i-- > 0;) {
        const json_t *e = json_array_get(events, i);
        printf("    %s  %-14s %s%s%s", cli_json_text(e, "time"), cli_json_text(e, "kind"), cli_json_text(e, "receiver"),
               cli_json_text(e, "integration")[0] ? "/" : "", cli_json_text(e, "integration"));
        if (cli_json_text(e, "actor")[0])
            printf(" %s", cli_json_text(e, "actor"));
        if (cli_json_text(e, "text")[0])
            printf(" %s", cli_json_text(e, "text"));
        puts(json_is_true(json_object_get(e, "drill")) ? " [drill]" : "");
    }
}

static void tell_alert(const struct teller *t, const json_t *al)
{
    const json_t *g;
    size_t i;
    printf("\n{" STR_FMT "}\n  %s\n", STR_ARG(cli_json_labels(t->a, json_object_get(al, "labels"), NULL)),
           cli_json_text(al, "verdict"));
    tell_steps(json_object_get(al, "steps"));
    json_array_foreach(json_object_get(al, "groups"), i, g) tell_group(t, g);
    tell_history(json_object_get(al, "history"));
}

static void tell(struct cli_http *h, const json_t *data)
{
    const struct teller t = { &h->a, os_now_ms() };
    const json_t *x;
    size_t i;
    json_array_foreach(json_object_get(data, "rules"), i, x) tell_rule(&t, x);
    if (!i)
        puts("no rule of this server has such a name: the alert comes from elsewhere, or not at all");
    json_array_foreach(json_object_get(data, "alerts"), i, x) tell_alert(&t, x);
    if (json_integer_value(json_object_get(data, "more")))
        printf("\n%lld more match: name more labels\n", (long long)json_integer_value(json_object_get(data, "more")));
}

static int run_explain(const struct cli_command *self, int argc, char **argv)
{
    const char *url = CLI_HTTP_URL;
    enum cli_output output = CLI_TABLE;
    int opt, code;
    while ((opt = getopt_long(argc, argv, "u:o:h", options, NULL)) != -1) {
        if (cli_option_ends(self, opt, &code))
            return code;
        if (opt == 'u')
            url = optarg;
        else if (opt == 'o' && !cli_parse_output(optarg, &output))
            return cli_usage(self, "--output is table or json, not '%s'", optarg);
    }
    if (optind + 1 != argc)
        return cli_usage(self, "name one alert: 'HighErrorRate{service=\"cart\"}'");
    struct cli_http h = { .hint = cli_http_hint };
    AUTO_BUF struct buf path = { 0 };
    if (!cli_http_open(&h, url)) {
        cli_http_close(&h);
        return CLI_FAILED;
    }
    buf_lit(&path, "/api/v1/alerting/explain");
    cli_query_add(&path, "alert", str_c(argv[optind]));
    buf_u8(&path, 0);
    json_t *doc = cli_http_get(&h, path.p);
    if (doc && output == CLI_JSON)
        cli_json_print(json_object_get(doc, "data"));
    else if (doc)
        tell(&h, json_object_get(doc, "data"));
    code = doc ? CLI_OK : CLI_FAILED;
    json_decref(doc);
    cli_http_close(&h);
    return code;
}

const struct cli_command cli_explain_alert = {
    .name = "explain alert",
    .summary = "why an alert did or did not page",
    .help =
        "usage: vane explain alert 'NAME{label=\"value\", ...}' [--url URL] [--output table|json]\n"
        "\n"
        "Asks a running server for everything that decides about the alerts that match: the state and the last value "
        "of\n"
        "their rules, which routes took them and which did not, silences, inhibition, time intervals and\n"
        "acknowledgements, the timers of their groups, the messages that were sent and what the providers answered.\n"
        "\n"
        "  -u, --url URL        of the server (default http://127.0.0.1:9090)\n"
        "  -o, --output FORMAT  table (text) or json\n",
    .run = run_explain,
};
