/* vane routes: the routing tree in use, and which way labels take through it. */
#include <getopt.h>
#include <string.h>

#include "base/vec.h"
#include "cli/cli_am.h"
#include "cli/cli_http.h"

struct routes_options {
    const char *url, *verify;
    bool json;
};

/* ---- show ---- */
static str matchers(struct arena *a, const json_t *route)
{
    AUTO_BUF struct buf b = { 0 };
    size_t i;
    json_t *m;
    json_array_foreach(json_object_get(route, "matchers"), i, m)
        buf_printf(&b, "%s%s", i ? ", " : "", json_string_value(m));
    return b.n ? arena_str(a, buf_str(&b)) : STR("every alert");
}

static str join(struct arena *a, const json_t *list, const char *separator)
{
    AUTO_BUF struct buf b = { 0 };
    size_t i;
    json_t *m;
    json_array_foreach(list, i, m) buf_printf(&b, "%s%s", i ? separator : "", json_string_value(m));
    return arena_str(a, buf_str(&b));
}

/* What stands behind a route's matchers; defaults that say little are left out. */
static void print_facts(struct arena *a, const json_t *route)
{
    const json_t *by = json_object_get(route, "groupBy");
    printf("  [%s; %s %s %s]",
           json_is_true(json_object_get(route, "groupByAll")) ? "each alert alone"
           : json_array_size(by)                              ? arena_printf(a, "by %s", join(a, by, ",").p).p
                                                              : "one group",
           cli_json_text(route, "groupWait"), cli_json_text(route, "groupInterval"),
           cli_json_text(route, "repeatInterval"));
    if (json_array_size(json_object_get(route, "muteTimeIntervals")))
        printf("  muted in %s", join(a, json_object_get(route, "muteTimeIntervals"), ",").p);
    if (json_array_size(json_object_get(route, "activeTimeIntervals")))
        printf("  active in %s", join(a, json_object_get(route, "activeTimeIntervals"), ",").p);
    if (json_is_true(json_object_get(route, "muted")))
        printf("  (muted now)");
}

struct tree {
    struct arena *a;
    json_t *routes;    /* flat, depth first */
    const char **said; /* NULL: only shown */
};

/* What each route said; NULL where it was not asked. */
static const char **said(struct arena *a, size_t n, const json_t *steps)
{
    const char **said = arena_zarray(a, const char *, n + 1);
    size_t i;
    json_t *s;
    json_array_foreach((json_t *)(uintptr_t)steps, i, s)
    {
        size_t route = (size_t)json_integer_value(json_object_get(s, "route"));
        if (route < n)
            said[route] = cli_json_text(s, "result");
    }
    return said;
}

static void print_node(const struct tree *t, size_t index, str indent, bool last)
{
    const json_t *r = json_array_get(t->routes, index);
    bool root = json_is_null(json_object_get(r, "parent"));
    printf("%s%s%s -> %s", indent.p,
           root   ? ""
           : last ? "└── "
                  : "├── ",
           matchers(t->a, r).p, cli_json_text(r, "receiver"));
    if (json_is_true(json_object_get(r, "continue")))
        printf("  continue");
    if (t->said) {
        const char *s = t->said[index] ? t->said[index] : "";
        printf("%s", strcmp(s, "taken") == 0 ? "  <== takes it" : strcmp(s, "passed") == 0 ? "  <-- matches" : "");
    } else {
        print_facts(t->a, r);
    }
    putchar('\n');
    VEC(size_t) below = { 0 };
    for (size_t i = index + 1; i < json_array_size(t->routes); i++) {
        json_int_t parent = json_integer_value(json_object_get(json_array_get(t->routes, i), "parent"));
        if (parent < (json_int_t)index) /* the routes below are behind it without a gap */
            break;
        if (parent == (json_int_t)index)
            avec_push(t->a, &below, i);
    }
    str deeper = root ? STR("") : arena_printf(t->a, "%s%s", indent.p, last ? "    " : "│   ");
    for (size_t i = 0; i < below.n; i++)
        print_node(t, below.p[i], deeper, i + 1 == below.n);
}

static json_t *fetch_tree(struct cli_http *h)
{
    return cli_http_get(h, "/api/v1/alerting/routes");
}

static int show(struct cli_http *h, const struct routes_options *o)
{
    json_t *doc = fetch_tree(h);
    if (!doc)
        return CLI_FAILED;
    const json_t *data = json_object_get(doc, "data");
    if (o->json) {
        cli_json_print(data);
    } else {
        const struct tree t = { &h->a, json_object_get(data, "routes"), NULL };
        puts("matchers -> receiver  [grouping; group_wait group_interval repeat_interval]");
        print_node(&t, 0, STR(""), true);
    }
    json_decref(doc);
    return CLI_OK;
}

/* ---- test ---- */
static bool verified(const char *want, const json_t *matches)
{
    str rest = str_c(want), name;
    size_t n = 0;
    bool same = true;
    while (str_cut(&rest, ',', &name) && same) {
        const char *got = cli_json_text(json_array_get(matches, n++), "receiver");
        same = str_eq(str_trim(name), str_c(got));
    }
    return same && n == json_array_size(matches);
}

static void print_test(struct cli_http *h, const json_t *tree, const json_t *data)
{
    json_t *routes = json_object_get(json_object_get(tree, "data"), "routes");
    const struct tree t = { &h->a, routes, said(&h->a, json_array_size(routes), json_object_get(data, "steps")) };
    const json_t *silences = json_object_get(data, "silencedBy");
    size_t i;
    json_t *m;
    print_node(&t, 0, STR(""), true);
    putchar('\n');
    json_array_foreach(json_object_get(data, "matches"), i, m)
    {
        str group = cli_json_labels(&h->a, json_object_get(m, "group"), NULL);
        printf("%zu. %s, group {%s}%s\n", i + 1, cli_json_text(m, "receiver"), group.p,
               json_is_true(json_object_get(m, "muted")) ? ", muted now by a time interval" : "");
    }
    if (json_array_size(silences))
        printf("silenced by %s\n", join(&h->a, silences, ", ").p);
}

static int test(const struct cli_command *self, struct cli_http *h, const struct routes_options *o, char **words, int n)
{
    AUTO_BUF struct buf path = { 0 };
    if (!n)
        return cli_usage(self, "test needs labels: severity=page team=db");
    buf_lit(&path, "/api/v1/alerting/routes/test");
    for (int i = 0; i < n; i++)
        cli_query_add(&path, "labels", str_c(words[i]));
    buf_u8(&path, 0);
    json_t *doc = cli_http_get(h, path.p), *tree = doc && !o->json ? fetch_tree(h) : NULL;
    int code = doc && (o->json || tree) ? CLI_OK : CLI_FAILED;
    const json_t *data = json_object_get(doc, "data");
    if (code == CLI_OK && o->json)
        cli_json_print(data);
    else if (code == CLI_OK)
        print_test(h, tree, data);
    if (code == CLI_OK && o->verify && !verified(o->verify, json_object_get(data, "matches")))
        code = cli_fail("the receivers are not %s", o->verify);
    json_decref(tree);
    json_decref(doc);
    return code;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    enum { JSON = 256, VERIFY };
    static const struct option options[] = { { "url", required_argument, NULL, 'u' },
                                             { "verify-receivers", required_argument, NULL, VERIFY },
                                             { "json", no_argument, NULL, JSON },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    struct routes_options o = { .url = CLI_HTTP_URL };
    for (int opt, code; (opt = getopt_long(argc, argv, "u:h", options, NULL)) != -1;) {
        if (cli_option_ends(self, opt, &code))
            return code;
        if (opt == 'u')
            o.url = optarg;
        else if (opt == VERIFY)
            o.verify = optarg;
        else
            o.json = true;
    }
    char **words = argv + optind;
    int n = argc - optind;
    bool tests = n && strcmp(words[0], "test") == 0;
    if (n && !tests && (strcmp(words[0], "show") != 0 || n > 1))
        return cli_usage(self, "'%s': show, or test LABEL=VALUE...", words[0]);
    struct cli_http h = { .hint = cli_http_hint };
    if (!cli_http_open(&h, o.url))
        return CLI_FAILED;
    int code = tests ? test(self, &h, &o, words + 1, n - 1) : show(&h, &o);
    cli_http_close(&h);
    return code;
}

const struct cli_command cli_routes = {
    .name = "routes",
    .summary = "the routing tree, and which way an alert takes",
    .help =
        "usage: vane routes [show] [--json]\n"
        "       vane routes test LABEL=VALUE... [--verify-receivers A,B] [--json]\n"
        "\n"
        "The tree of the running server (`amtool config routes` reads a file). `test` draws the way that an alert\n"
        "with these labels takes, and names the receivers in order with their groups.\n"
        "\n"
        "  -u, --url URL                 of vane (default http://127.0.0.1:9090)\n"
        "      --verify-receivers A,B    exit code 1 unless these are told, in this order\n"
        "      --json                    for programs, as /api/v1/alerting/routes has it\n"
        "  -h, --help\n"
        "\n"
        "Exit code 0 when done, 1 when the server is away, has no Alertmanager, or other receivers are told, 2 for a\n"
        "wrong command line.\n",
    .run = run,
};
