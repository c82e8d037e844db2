/* vane alerts: what fires, as the Alertmanager inside sees it; where none is configured, as the rules do. */
#include <getopt.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/os.h"
#include "cli/cli_am.h"
#include "cli/cli_http.h"

struct alerts_options {
    const char *url, *receiver, *state, *owner, *comment, *lasts, *until;
    bool json;
    int64_t now_ms;
};

/* The rules' alerts in the Alertmanager's shape. */
static json_t *of_rules(struct cli_http *h)
{
    json_t *doc = cli_http_get(h, "/api/v1/alerts"), *all, *al;
    size_t i;
    if (!doc)
        return NULL;
    all = json_object_get(json_object_get(doc, "data"), "alerts");
    json_array_foreach(all, i, al)
    {
        json_object_set(al, "startsAt", json_object_get(al, "activeAt"));
        json_object_set_new(al, "status", json_pack("{s:O}", "state", json_object_get(al, "state")));
    }
    json_incref(all);
    json_decref(doc);
    return all;
}

/* -1 after a message. */
static int is_configured(struct cli_http *h)
{
    json_t *doc = cli_http_get(h, "/api/v1/alerting/status");
    int yes = doc ? json_is_true(json_object_get(json_object_get(doc, "data"), "configured")) : -1;
    json_decref(doc);
    return yes;
}

static bool matches(const struct am_matchers *m, const json_t *labels)
{
    bool all = true;
    for (size_t i = 0; i < m->n && all; i++) {
        const char *v = json_string_value(json_object_getn(labels, m->p[i].name.p, m->p[i].name.n));
        all = am_matcher_matches(&m->p[i], v ? str_c(v) : STR(""));
    }
    return all;
}

/* Who takes care of what, beside the alerts: "acknowledgement". false after a message. */
static bool add_acks(struct cli_http *h, json_t *alerts)
{
    json_t *doc = cli_http_get(h, "/api/v1/alerting/acks"), *of = json_object(), *v;
    size_t i;
    json_array_foreach(json_object_get(doc, "data"), i, v) json_object_set(of, cli_json_text(v, "fingerprint"), v);
    json_array_foreach(alerts, i, v)
    {
        json_t *ack = json_object_get(of, cli_json_text(v, "fingerprint"));
        if (ack)
            json_object_set(v, "acknowledgement", ack);
    }
    bool ok = doc != NULL;
    json_decref(of);
    json_decref(doc);
    return ok;
}

/* false after a message. */
static bool read_matchers(struct arena *a, char **words, int n, struct am_matchers *ret)
{
    const char *bad;
    struct err_text why;
    if (cli_am_matchers(a, words, n, ret, &bad, &why))
        return true;
    cli_fail("%s: %s", bad, why.msg);
    return false;
}

/* Alerts that are asked for, or NULL after a message. */
static json_t *fetch(struct cli_http *h, const struct alerts_options *o, const struct am_matchers *m)
{
    AUTO_BUF struct buf path = { 0 };
    json_t *all = NULL, *kept, *al;
    size_t i;
    int configured = is_configured(h);
    if (configured < 0)
        return NULL;
    if (configured == 0 && o->receiver) {
        cli_fail("no Alertmanager runs at %s: there are no receivers", h->url);
        return NULL;
    }
    buf_lit(&path, "/api/v2/alerts");
    if (o->receiver)
        cli_query_add(&path, "receiver", str_c(o->receiver));
    buf_u8(&path, 0);
    if (configured == 0)
        all = of_rules(h);
    else if (!cli_http_ask(h, HTTP_GET, path.p, NULL, &all))
        return NULL;
    if (!all || (configured && !add_acks(h, all))) {
        json_decref(all);
        return NULL;
    }
    kept = json_array();
    json_array_foreach(all, i, al)
    {
        const char *state = cli_json_text(json_object_get(al, "status"), "state");
        if ((!o->state || strcmp(o->state, state) == 0) && matches(m, json_object_get(al, "labels")))
            json_array_append(kept, al);
    }
    json_decref(all);
    return kept;
}

static void print_table(struct arena *a, const json_t *all, int64_t now_ms)
{
    static const char *const heads[] = { "ALERT", "STATE", "SINCE", "FINGERPRINT", "TOLD", "ACK", "LABELS", "SUMMARY" };
    struct cli_table *t = cli_table_new(heads, 8);
    size_t i;
    json_t *al;
    json_array_foreach(all, i, al)
    {
        const json_t *labels = json_object_get(al, "labels");
        str cells[] = { str_c(cli_json_text(labels, "alertname")),
                        str_c(cli_json_text(json_object_get(al, "status"), "state")),
                        cli_since(a, cli_json_text(al, "startsAt"), now_ms),
                        str_c(cli_json_text(al, "fingerprint")),
                        cli_am_names(a, json_object_get(al, "receivers")),
                        str_c(cli_json_text(json_object_get(al, "acknowledgement"), "owner")),
                        cli_json_labels(a, labels, "alertname"),
                        str_c(cli_json_text(json_object_get(al, "annotations"), "summary")) };
        cli_table_row(t, cells);
    }
    cli_table_print(t, stdout);
}

static void print_one(struct arena *a, const json_t *al, int64_t now_ms)
{
    const json_t *labels = json_object_get(al, "labels"), *status = json_object_get(al, "status");
    const char *key;
    json_t *v;
    printf("%s  %s", cli_json_text(labels, "alertname"), cli_json_text(status, "state"));
    printf(" for %s, since %s\n", cli_since(a, cli_json_text(al, "startsAt"), now_ms).p, cli_json_text(al, "startsAt"));
    printf("  labels       %s\n", cli_json_labels(a, labels, NULL).p);
    json_object_foreach(json_object_get(al, "annotations"), key, v) printf("  %-12s %s\n", key, json_string_value(v));
    if (cli_json_text(al, "fingerprint")[0])
        printf("  fingerprint  %s\n  told         %s\n", cli_json_text(al, "fingerprint"),
               cli_am_names(a, json_object_get(al, "receivers")).p);
    if (json_array_size(json_object_get(status, "silencedBy")))
        printf("  silenced by  %s\n", cli_am_names(a, json_object_get(status, "silencedBy")).p);
    if (json_array_size(json_object_get(status, "inhibitedBy")))
        printf("  inhibited by %s\n", cli_am_names(a, json_object_get(status, "inhibitedBy")).p);
    if (json_object_get(al, "acknowledgement"))
        printf("  acknowledged by %s: %s\n", cli_json_text(json_object_get(al, "acknowledgement"), "owner"),
               cli_json_text(json_object_get(al, "acknowledgement"), "comment"));
    if (cli_json_text(al, "generatorURL")[0])
        printf("  source       %s\n", cli_json_text(al, "generatorURL"));
}

static bool is_fingerprint(const char *s)
{
    return strlen(s) == 16 && strspn(s, "0123456789abcdef") == 16;
}

static json_t *with_fingerprint(json_t *all, const char *fp)
{
    json_t *kept = json_array(), *al;
    size_t i;
    json_array_foreach(all, i, al) if (strcmp(cli_json_text(al, "fingerprint"), fp) == 0) json_array_append(kept, al);
    json_decref(all);
    return kept;
}

static int list(struct cli_http *h, const struct alerts_options *o, char **words, int n, bool show)
{
    AUTO_ARENA struct arena a;
    struct am_matchers m = { 0 };
    json_t *all = NULL;
    int code = CLI_FAILED;
    arena_init(&a, 0);
    bool one = show && n == 1 && is_fingerprint(words[0]);
    if (read_matchers(&a, words, one ? 0 : n, &m))
        all = fetch(h, o, &m);
    if (all && one)
        all = with_fingerprint(all, words[0]);
    if (all && show && json_array_size(all) == 0) {
        cli_fail("no such alert fires: `vane alerts` lists what does");
    } else if (all) {
        size_t i;
        json_t *al;
        code = CLI_OK;
        if (o->json)
            cli_json_print(all);
        else if (!show)
            print_table(&a, all, o->now_ms);
        else
            json_array_foreach(all, i, al) print_one(&a, al, o->now_ms);
    }
    json_decref(all);
    am_matchers_free(&m);
    return code;
}

/* ---- acknowledge ---- */
static const char *user_name(void)
{
    const struct passwd *p = getpwuid(getuid());
    return p ? p->pw_name : "";
}

static int told(json_t *doc, const char *what)
{
    json_int_t n = json_integer_value(json_object_get(json_object_get(doc, "data"), "alerts"));
    printf("%lld %s %s\n", (long long)n, n == 1 ? "alert" : "alerts", what);
    json_decref(doc);
    return CLI_OK;
}

static json_t *filters(struct arena *a, char **words, int n)
{
    struct am_matchers m;
    json_t *list = NULL;
    if (read_matchers(a, words, n, &m)) {
        list = json_array();
        for (size_t i = 0; i < m.n; i++) {
            AUTO_BUF struct buf b = { 0 };
            am_matcher_print(&b, &m.p[i]);
            json_array_append_new(list, json_stringn(b.p, b.n));
        }
        am_matchers_free(&m);
    }
    return list;
}

static int ack(struct cli_http *h, const struct alerts_options *o, char **words, int n)
{
    json_t *body = json_object(), *list = NULL, *answer = NULL;
    const struct {
        const char *key, *text;
    } texts[] = { { "owner", o->owner ? o->owner : user_name() },
                  { "comment", o->comment },
                  { "for", o->lasts },
                  { "until", o->until } };
    bool one = n == 1 && is_fingerprint(words[0]);
    if (!one)
        list = filters(&h->a, words, n);
    if (one || list)
        json_object_set_new(body, one ? "fingerprint" : "filter", one ? json_string(words[0]) : list);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (texts[i].text)
            json_object_set_new(body, texts[i].key, json_string(texts[i].text));
    bool ok = (one || list) && cli_http_ask(h, HTTP_POST, "/api/v1/alerting/acks", body, &answer);
    json_decref(body);
    return ok ? told(answer, "acknowledged") : CLI_FAILED;
}

static int unack(struct cli_http *h, const struct alerts_options *o, char **words, int n)
{
    AUTO_BUF struct buf path = { 0 };
    struct am_matchers m = { 0 };
    json_t *answer = NULL;
    bool one = n == 1 && is_fingerprint(words[0]);
    buf_lit(&path, "/api/v1/alerting/acks");
    if (one)
        cli_query_add(&path, "fingerprint", str_c(words[0]));
    else if (!read_matchers(&h->a, words, n, &m))
        return CLI_FAILED;
    cli_am_filters(&path, &m);
    am_matchers_free(&m);
    cli_query_add(&path, "owner", str_c(o->owner ? o->owner : user_name()));
    buf_u8(&path, 0);
    return cli_http_ask(h, HTTP_DELETE, path.p, NULL, &answer) ? told(answer, "no longer acknowledged") : CLI_FAILED;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    enum { JSON = 256, OWNER, FOR, UNTIL };
    static const struct option options[] = {
        { "url", required_argument, NULL, 'u' },     { "receiver", required_argument, NULL, 'r' },
        { "state", required_argument, NULL, 's' },   { "json", no_argument, NULL, JSON },
        { "owner", required_argument, NULL, OWNER }, { "comment", required_argument, NULL, 'c' },
        { "for", required_argument, NULL, FOR },     { "until", required_argument, NULL, UNTIL },
        { "help", no_argument, NULL, 'h' },          { 0 },
    };
    struct alerts_options o = { .url = CLI_HTTP_URL, .now_ms = os_now_ms() };
    for (int opt, code; (opt = getopt_long(argc, argv, "u:r:s:c:h", options, NULL)) != -1;) {
        if (cli_option_ends(self, opt, &code))
            return code;
        const char **to = opt == 'u'     ? &o.url
                          : opt == 'r'   ? &o.receiver
                          : opt == 's'   ? &o.state
                          : opt == 'c'   ? &o.comment
                          : opt == OWNER ? &o.owner
                          : opt == FOR   ? &o.lasts
                          : opt == UNTIL ? &o.until
                                         : NULL;
        if (to)
            *to = optarg;
        o.json |= opt == JSON;
    }
    char **words = argv + optind;
    int n = argc - optind;
    static const char *const verbs[] = { "list", "show", "ack", "unack" };
    size_t verb = 0;
    for (size_t i = 0; n && i < ARRAY_LEN(verbs); i++)
        if (strcmp(words[0], verbs[i]) == 0) {
            verb = i;
            words++;
            n--;
            break;
        }
    if (verb && !n)
        return cli_usage(self, "%s needs a fingerprint, a name or matchers", verbs[verb]);
    struct cli_http h = { .hint = cli_http_hint };
    if (!cli_http_open(&h, o.url))
        return CLI_FAILED;
    int code = verb == 2 ? ack(&h, &o, words, n) : verb == 3 ? unack(&h, &o, words, n) : list(&h, &o, words, n, verb);
    cli_http_close(&h);
    return code;
}

const struct cli_command cli_alerts = {
    .name = "alerts",
    .summary = "what fires now, and who is told",
    .help =
        "usage: vane alerts [list] [options] [NAME|MATCHER...]\n"
        "       vane alerts show FINGERPRINT | NAME | MATCHER...\n"
        "\n"
        "Alerts of the Alertmanager at URL; where none is configured, those of its rules. A MATCHER is as in\n"
        "alertmanager.yml: severity=page, 'team=~\"db|web\"', job!=x; a word alone is an alert's name.\n"
        "\n"
        "  -u, --url URL        of vane (default http://127.0.0.1:9090)\n"
        "  -s, --state STATE    active, suppressed; without an Alertmanager: firing, pending\n"
        "  -r, --receiver REGEX alerts that this receiver is told of\n"
        "      --json           for programs, as /api/v2/alerts has them\n"
        "  -h, --help\n"
        "\n"
        "Exit code 0 when the server answered, whatever fires; 1 when it did not, or `show` finds nothing; 2 for a\n"
        "wrong command line.\n",
    .run = run,
};
