/* vane drill: a fire drill in a running vane; prints each step as it happens and ends with what came of it. */
#include <getopt.h>
#include <jansson.h>
#include <string.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/os.h"
#include "cli/cli.h"
#include "http/http.h"

enum { LOOK_MS = 500, ANSWER_BYTES_MAX = 64 << 20 };

struct options {
    const char *url, *severity, *for_, *timeout;
    enum cli_output output;
    bool list, no_wait;
};

static const struct option long_options[] = {
    { "url", required_argument, NULL, 'u' },
    { "severity", required_argument, NULL, 's' },
    { "for", required_argument, NULL, 'f' },
    { "timeout", required_argument, NULL, 't' },
    { "output", required_argument, NULL, 'o' },
    { "list", no_argument, NULL, 'l' },
    { "no-wait", no_argument, NULL, 'n' },
    { "help", no_argument, NULL, 'h' },
    { 0 },
};

/* The answer's document, or NULL after a message. path: below URL/api/v1/alerting/drills. */
static json_t *ask(struct http_client *client, const struct options *o, enum http_method method, const char *path)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct http_result result;
    struct err_text why = { 0 };
    str body = { 0 };
    size_t n = strlen(o->url);
    const struct http_fetch fetch = {
        .url = arena_printf(&a, "%.*s/api/v1/alerting/drills%s", (int)(n && o->url[n - 1] == '/' ? n - 1 : n), o->url,
                            path),
        .method = method,
        .timeout_ms = 30000,
        .body_bytes_max = ANSWER_BYTES_MAX,
    };
    json_error_t error;
    json_t *doc = NULL;
    enum err e = http_fetch_sync(client, &fetch, &a, &result, &body, &why);
    if (e)
        cli_fail("%s: %s", o->url, why.msg);
    else if (!(doc = json_loadb(body.p, body.n, 0, &error)))
        cli_fail("%s: status %d and no JSON: %s", o->url, result.status, error.text);
    const char *text = json_string_value(json_object_get(doc, "error"));
    if (doc && result.status != 200) {
        cli_fail("%s", text ? text : "the server did not say why");
        json_decref(doc);
        doc = NULL;
    }
    return doc;
}

static const char *text_of(const json_t *obj, const char *key)
{
    const char *s = json_string_value(json_object_get(obj, key));
    return s ? s : "";
}

static long long number_of(const json_t *obj, const char *key)
{
    return (long long)json_integer_value(json_object_get(obj, key));
}

/* ---- one drill ---- */
static void print_step(const json_t *step)
{
    const char *receiver = text_of(step, "receiver"), *integration = text_of(step, "integration"),
               *text = text_of(step, "text");
    printf("%8.1f s  %-10s", (double)number_of(step, "afterMs") / 1000, text_of(step, "step"));
    if (receiver[0])
        printf(" %s", receiver);
    if (integration[0])
        printf(" %s", integration);
    if (text[0])
        printf("  %s", text);
    putchar('\n');
    fflush(stdout);
}

static void print_bound(const json_t *bounds, const char *key, const char *what)
{
    const json_t *b = json_object_get(bounds, key), *took = json_object_get(b, "tookMs");
    if (json_is_integer(took))
        printf("%s after %.1f s (allowed: %.0f s)%s\n", what, (double)json_integer_value(took) / 1000,
               (double)number_of(b, "limitMs") / 1000, json_is_true(json_object_get(b, "ok")) ? "" : "  TOO LATE");
    else
        printf("not %s\n", what);
}

static void print_end(const json_t *drill)
{
    const json_t *bounds = json_object_get(drill, "bounds");
    print_bound(bounds, "detect", "detected");
    if (number_of(drill, "expected"))
        print_bound(bounds, "alert", "delivered");
    else
        printf("nobody is told at once\n");
    printf("%lld of %lld messages delivered: %s%s%s\n", number_of(drill, "delivered"), number_of(drill, "expected"),
           text_of(drill, "state"), text_of(drill, "error")[0] ? ": " : "", text_of(drill, "error"));
}

/* Prints the steps behind the first *io_shown. */
static int show(const struct options *o, const json_t *drill, size_t *io_shown)
{
    const json_t *steps = json_object_get(drill, "steps");
    bool over = strcmp(text_of(drill, "state"), "running") != 0;
    for (; o->output == CLI_TABLE && *io_shown < json_array_size(steps); (*io_shown)++)
        print_step(json_array_get(steps, *io_shown));
    if (!over)
        return -1;
    if (o->output == CLI_TABLE) {
        print_end(drill);
    } else {
        json_dumpf(drill, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    return strcmp(text_of(drill, "state"), "passed") == 0 ? CLI_OK : CLI_FAILED;
}

static int follow(struct http_client *client, const struct options *o, const char *id)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    const char *path = arena_printf(&a, "/%s", id).p;
    size_t shown = 0;
    for (int code = -1;; os_sleep_ms(LOOK_MS)) {
        json_t *doc = ask(client, o, HTTP_GET, path);
        if (!doc)
            return CLI_FAILED;
        code = show(o, json_object_get(doc, "data"), &shown);
        json_decref(doc);
        if (code >= 0)
            return code;
    }
}

static void add_param(struct buf *b, const char *name, const char *value)
{
    if (!value)
        return;
    buf_printf(b, "%c%s=", b->n ? '&' : '?', name);
    http_url_encode(b, str_c(value));
}

static int start(struct http_client *client, const struct options *o, const char *target)
{
    AUTO_BUF struct buf path;
    buf_init(&path, 0);
    add_param(&path, "target", target);
    add_param(&path, "severity", o->severity);
    add_param(&path, "for", o->for_);
    add_param(&path, "timeout", o->timeout);
    buf_u8(&path, 0);
    json_t *doc = ask(client, o, HTTP_POST, path.p);
    if (!doc)
        return CLI_FAILED;
    int code = CLI_OK;
    const char *id = text_of(json_object_get(doc, "data"), "id");
    if (o->no_wait)
        puts(id);
    else
        code = follow(client, o, id);
    json_decref(doc);
    return code;
}

/* ---- those that were ---- */
static int list(struct http_client *client, const struct options *o)
{
    static const char *const heads[] = { "STARTED", "ID", "TARGET", "STATE", "DELIVERED", "ERROR" };
    json_t *doc = ask(client, o, HTTP_GET, ""), *data = json_object_get(doc, "data"), *drill;
    size_t i;
    if (!doc)
        return CLI_FAILED;
    if (o->output == CLI_JSON) {
        json_dumpf(data, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(doc);
        return CLI_OK;
    }
    struct cli_table *t = cli_table_new(heads, ARRAY_LEN(heads));
    json_array_foreach(data, i, drill)
    {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        str cells[] = { str_c(text_of(drill, "startedAt")),
                        str_c(text_of(drill, "id")),
                        str_c(text_of(drill, "target")),
                        str_c(text_of(drill, "state")),
                        arena_printf(&a, "%lld of %lld", number_of(drill, "delivered"), number_of(drill, "expected")),
                        str_c(text_of(drill, "error")) };
        cli_table_row(t, cells);
    }
    cli_table_print(t, stdout);
    json_decref(doc);
    return CLI_OK;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct options o = { .url = "http://127.0.0.1:9090" };
    struct http_client *client;
    for (int opt, code; (opt = getopt_long(argc, argv, "u:s:f:t:o:lnh", long_options, NULL)) != -1;) {
        if (cli_option_ends(self, opt, &code))
            return code;
        switch (opt) {
        case 'u':
            o.url = optarg;
            break;
        case 's':
            o.severity = optarg;
            break;
        case 'f':
            o.for_ = optarg;
            break;
        case 't':
            o.timeout = optarg;
            break;
        case 'l':
            o.list = true;
            break;
        case 'n':
            o.no_wait = true;
            break;
        default:
            if (!cli_parse_output(optarg, &o.output))
                return cli_usage(self, "--output is table or json");
        }
    }
    if (argc - optind != (o.list ? 0 : 1))
        return cli_usage(self, o.list ? "--list takes no target" : "name one rule, receiver, or {labels}");
    if (http_client_open(NULL, &client) != OK)
        return cli_fail("cannot start an HTTP client");
    int code = o.list ? list(client, &o) : start(client, &o, argv[optind]);
    http_client_close(client);
    return code;
}

const struct cli_command cli_drill = {
    .name = "drill",
    .summary = "a fire drill: one alert all the way, timed",
    .help =
        "usage: vane drill RULE|RECEIVER|LABELS [options]\n"
        "       vane drill --list\n"
        "\n"
        "Lets one alert that is none go the whole way through a running vane: a synthetic series is ingested, a\n"
        "rule with the interval, for, labels and annotations of RULE waits for it, and its alert is routed,\n"
        "grouped and sent as the real one would be. Every message is marked: the label drill=\"true\", and [DRILL]\n"
        "before the alert's name. Real alerts are not touched, and the series is deleted in the end.\n"
        "Prints the time of each step since the sample was stored, and whether the alert was seen within 60 s and\n"
        "delivered within 300 s. Exit code 0 when every message was delivered in time, 1 otherwise.\n"
        "\n"
        "  RULE             an alerting rule: NAME, GROUP/NAME, or rule:NAME\n"
        "  RECEIVER         a receiver of alertmanager.yml: NAME or receiver:NAME; only it is told\n"
        "  LABELS           {team=\"db\", severity=\"page\"}: the way through the routes\n"
        "  --severity S     instead of the rule's: P1\n"
        "  --for DURATION   instead of the rule's: 0s\n"
        "  --timeout DURATION  when to give up (default: for, two intervals and five minutes)\n"
        "  --no-wait        print the drill's id and do not wait for its end\n"
        "  --list           drills that were, the newest first\n"
        "  --output FORMAT  table or json\n"
        "  --url URL        of the vane to ask (default http://127.0.0.1:9090)\n",
    .run = run,
};
