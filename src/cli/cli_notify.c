/* vane notify test: a message through each integration of a receiver of a running server, marked as a drill, and what
 * each provider answered. */
#include <getopt.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "cli/cli.h"
#include "cli/cli_http.h"

enum { WAIT_MS = 120000 };

struct options {
    const char *url;
    enum cli_output output;
    json_t *labels; /* a reference */
};

static const struct option long_options[] = {
    { "url", required_argument, NULL, 'u' },
    { "label", required_argument, NULL, 'l' },
    { "output", required_argument, NULL, 'o' },
    { "help", no_argument, NULL, 'h' },
    { 0 },
};

static int add_label(const struct cli_command *self, struct options *o, const char *text)
{
    const char *eq = strchr(text, '=');
    if (!eq || eq == text)
        return cli_usage(self, "--label %s is no NAME=VALUE", text);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    json_object_set_new(o->labels, arena_cstr(&a, str_n(text, (size_t)(eq - text))), json_string(eq + 1));
    return CLI_OK;
}

static void print_rows(const json_t *results)
{
    static const char *const heads[] = { "INTEGRATION", "MESSAGE", "OUTCOME", "STATUS", "TIME", "ANSWER" };
    struct cli_table *t = cli_table_new(heads, ARRAY_LEN(heads));
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    for (size_t i = 0; i < json_array_size(results); i++) {
        const json_t *r = json_array_get(results, i), *status = json_object_get(r, "status");
        const str cells[] = { arena_printf(&a, "%s[%lld]", cli_json_text(r, "integration"),
                                           (long long)json_integer_value(json_object_get(r, "index"))),
                              str_c(cli_json_text(r, "message")),
                              str_c(cli_json_text(r, "outcome")),
                              json_is_integer(status) ? arena_printf(&a, "%lld", (long long)json_integer_value(status))
                                                      : STR("-"),
                              arena_printf(&a, "%.3f s", json_number_value(json_object_get(r, "seconds"))),
                              str_c(cli_json_text(r, "answer")) };
        cli_table_row(t, cells);
    }
    cli_table_print(t, stdout);
}

static int test(const struct options *o, const char *receiver)
{
    struct cli_http h = { .prog = "vane", .hint = cli_http_hint, .timeout_ms = WAIT_MS };
    json_t *answer = NULL, *body = json_pack("{s:s, s:O}", "receiver", receiver, "labels", o->labels);
    int code = CLI_FAILED;
    if (cli_http_open(&h, o->url) && cli_http_ask(&h, HTTP_POST, "/api/v1/alerting/receivers/test", body, &answer)) {
        const json_t *data = json_object_get(answer, "data");
        if (o->output == CLI_JSON)
            cli_json_print(data);
        else
            print_rows(json_object_get(data, "results"));
        code = json_is_true(json_object_get(data, "ok")) ? CLI_OK : CLI_FAILED;
    }
    cli_http_close(&h);
    json_decref(answer);
    json_decref(body);
    return code;
}

static int run_with(const struct cli_command *self, struct options *o, int argc, char **argv)
{
    int opt, code;
    while ((opt = getopt_long(argc, argv, "ho:l:", long_options, NULL)) != -1) {
        if (cli_option_ends(self, opt, &code))
            return code;
        if (opt == 'u')
            o->url = optarg;
        else if (opt == 'o' && !cli_parse_output(optarg, &o->output))
            return cli_usage(self, "--output is table or json, not %s", optarg);
        else if (opt == 'l' && (code = add_label(self, o, optarg)) != CLI_OK)
            return code;
    }
    if (argc - optind != 1)
        return cli_usage(self, "one receiver is tested at a time: vane notify test RECEIVER");
    return test(o, argv[optind]);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct options o = { .url = CLI_HTTP_URL, .labels = json_object() };
    int code = run_with(self, &o, argc, argv);
    json_decref(o.labels);
    return code;
}

const struct cli_command cli_notify_test = {
    "notify test",
    "Send a test message through a receiver",
    "usage: vane notify test [--url URL] [--label NAME=VALUE]... [--output table|json] RECEIVER\n"
    "\n"
    "Sends a message through each integration of a receiver of alertmanager.yml, on the way real ones go (templates,\n"
    "secrets, TLS, proxies), and prints what each provider answered and how long it took. The message is marked as a\n"
    "drill. Services that keep incidents (PagerDuty, Opsgenie, VictorOps, Jira, incident.io) are told at once that it "
    "is\n"
    "resolved. Rate limits of receivers do not count it.\n"
    "\n"
    "  --url URL           where vane is (default http://127.0.0.1:9090)\n"
    "  --label NAME=VALUE  a label of the test's alert, as often as wanted: severity=P1\n"
    "  --output json       as JSON\n"
    "\n"
    "Exits with 0 if every integration took the message, 1 if one did not or the server cannot be asked, 2 if the "
    "command\n"
    "line is wrong.\n",
    run,
};
