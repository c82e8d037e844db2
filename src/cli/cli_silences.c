/* vane silences: list, add, expire, and in and out as JSON, over Alertmanager's API. */
#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "base/num.h"
#include "base/os.h"
#include "cli/cli_am.h"
#include "cli/cli_http.h"

struct silences_options {
    const char *url, *author, *comment, *duration, *start, *end;
    bool json, expired, force;
    int64_t now_ms;
};

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

/* ---- list, export ---- */
/* Those that match the filters and have not ended; all with `expired`. */
static json_t *fetch(struct cli_http *h, const struct silences_options *o, const struct am_matchers *m)
{
    AUTO_BUF struct buf path = { 0 };
    json_t *all, *kept, *s;
    size_t i;
    buf_lit(&path, "/api/v2/silences");
    cli_am_filters(&path, m);
    buf_u8(&path, 0);
    if (!cli_http_ask(h, HTTP_GET, path.p, NULL, &all))
        return NULL;
    kept = json_array();
    json_array_foreach(all, i, s) if (o->expired || strcmp(cli_json_text(json_object_get(s, "status"), "state"),
                                                           "expired") != 0) json_array_append(kept, s);
    json_decref(all);
    return kept;
}

static void print_table(const struct silences_options *o, const json_t *all)
{
    static const char *const heads[] = { "ID", "STATE", "ENDS", "MATCHERS", "BY", "COMMENT" };
    AUTO_ARENA struct arena a;
    size_t i;
    json_t *s;
    arena_init(&a, 0);
    struct cli_table *t = cli_table_new(heads, 6);
    json_array_foreach(all, i, s)
    {
        int64_t ends = 0;
        AUTO_BUF struct buf b = { 0 };
        if (num_parse_time(str_c(cli_json_text(s, "endsAt")), &ends) && ends > o->now_ms) {
            buf_lit(&b, "in ");
            buf_duration(&b, (ends - o->now_ms + 59999) / 60000 * 60000);
        } else {
            buf_printf(&b, "%s ago", cli_since(&a, cli_json_text(s, "endsAt"), o->now_ms).p);
        }
        str cells[] = {
            str_c(cli_json_text(s, "id")),        str_c(cli_json_text(json_object_get(s, "status"), "state")),
            arena_str(&a, buf_str(&b)),           cli_am_matchers_text(&a, json_object_get(s, "matchers"), ", "),
            str_c(cli_json_text(s, "createdBy")), str_c(cli_json_text(s, "comment"))
        };
        cli_table_row(t, cells);
    }
    cli_table_print(t, stdout);
}

static int list(struct cli_http *h, const struct silences_options *o, char **words, int n)
{
    AUTO_ARENA struct arena a;
    struct am_matchers m = { 0 };
    arena_init(&a, 0);
    json_t *all = read_matchers(&a, words, n, &m) ? fetch(h, o, &m) : NULL;
    am_matchers_free(&m);
    if (!all)
        return CLI_FAILED;
    if (o->json)
        cli_json_print(all);
    else
        print_table(o, all);
    json_decref(all);
    return CLI_OK;
}

static int export_all(struct cli_http *h, const struct silences_options *o, char **words, int n)
{
    const struct am_matchers none = { 0 };
    json_t *all = fetch(h, o, &none);
    if (!all)
        return CLI_FAILED;
    int bad = n ? json_dump_file(all, words[0], JSON_INDENT(2)) : 0;
    if (!n)
        cli_json_print(all);
    json_decref(all);
    return bad ? cli_fail("%s: %s", words[0], strerror(errno)) : CLI_OK;
}

/* ---- add ---- */
static bool times(const struct cli_command *self, const struct silences_options *o, int64_t *from, int64_t *to)
{
    int64_t length = 7200000;
    *from = o->now_ms;
    if (o->start && !num_parse_time(str_c(o->start), from)) {
        cli_usage(self, "--start '%s' is neither RFC 3339 nor Unix seconds", o->start);
        return false;
    }
    if (o->duration && (!num_parse_duration(str_c(o->duration), &length) || length <= 0)) {
        cli_usage(self, "--duration '%s' is no duration (30m, 2h, 1d)", o->duration);
        return false;
    }
    *to = *from + length;
    if (o->end && !num_parse_time(str_c(o->end), to)) {
        cli_usage(self, "--end '%s' is neither RFC 3339 nor Unix seconds", o->end);
        return false;
    }
    return true;
}

static json_t *time_json(int64_t ms)
{
    AUTO_BUF struct buf b = { 0 };
    buf_rfc3339_ms(&b, ms);
    return json_stringn(b.p, b.n);
}

static int post(struct cli_http *h, const json_t *silence, bool json)
{
    json_t *answer;
    if (!cli_http_ask(h, HTTP_POST, "/api/v2/silences", silence, &answer))
        return CLI_FAILED;
    if (json)
        cli_json_print(answer);
    else
        printf("%s\n", cli_json_text(answer, "silenceID"));
    json_decref(answer);
    return CLI_OK;
}

static const char *user_name(void)
{
    const struct passwd *p = getpwuid(getuid());
    return p ? p->pw_name : "";
}

static int add(const struct cli_command *self, struct cli_http *h, const struct silences_options *o, char **words,
               int n)
{
    AUTO_ARENA struct arena a;
    struct am_matchers m = { 0 };
    int64_t from, to;
    int code = CLI_USAGE;
    arena_init(&a, 0);
    if (!n)
        return cli_usage(self, "add needs matchers: which alerts are to be silent?");
    if (!o->comment || !o->comment[0])
        return cli_usage(self, "--comment is missing: why?");
    if (read_matchers(&a, words, n, &m) && times(self, o, &from, &to)) {
        const char *who = o->author ? o->author : user_name();
        json_t *s = json_pack("{s:o,s:o,s:o,s:s,s:s}", "matchers", cli_am_matchers_json(&m), "startsAt",
                              time_json(from), "endsAt", time_json(to), "createdBy", who, "comment", o->comment);
        code = s ? post(h, s, o->json) : cli_usage(self, "author and comment have to be UTF-8");
        json_decref(s);
    }
    am_matchers_free(&m);
    return code;
}

/* ---- expire, import ---- */
static int expire(const struct cli_command *self, struct cli_http *h, char **ids, int n)
{
    int code = CLI_OK;
    if (!n)
        return cli_usage(self, "expire needs the ids of silences: `vane silences` lists them");
    for (int i = 0; i < n; i++) {
        AUTO_BUF struct buf path = { 0 };
        int status;
        buf_lit(&path, "/api/v2/silence/");
        http_url_encode(&path, str_c(ids[i]));
        buf_u8(&path, 0);
        json_t *doc = cli_http_fetch(h, HTTP_DELETE, path.p, NULL, &status);
        if (status == 404)
            cli_fail("%s: no such silence that has not ended", ids[i]);
        else if (status && status != 200)
            cli_fail("%s: %s", ids[i], cli_http_why(h, doc, status));
        json_decref(doc);
        if (status != 200)
            code = CLI_FAILED;
        if (!status)
            break;
    }
    return code;
}

/* Ids of another server mean nothing here: each becomes a new silence. Ended ones are passed over. */
static int import(const struct cli_command *self, struct cli_http *h, const struct silences_options *o, char **words,
                  int n)
{
    json_error_t error;
    size_t i, taken = 0, over = 0, bad = 0;
    json_t *s;
    if (n > 1)
        return cli_usage(self, "import takes one file, or standard input");
    json_t *all = n ? json_load_file(words[0], 0, &error) : json_loadf(stdin, 0, &error);
    if (!json_is_array(all)) {
        cli_fail("%s:%d: %s", n ? words[0] : "<stdin>", all ? 1 : error.line,
                 all ? "a list of silences is wanted, as `vane silences export` writes it" : error.text);
        json_decref(all);
        return CLI_FAILED;
    }
    json_array_foreach(all, i, s)
    {
        int64_t ends;
        int status;
        if (num_parse_time(str_c(cli_json_text(s, "endsAt")), &ends) && ends <= o->now_ms) {
            over++;
            continue;
        }
        json_object_del(s, "id");
        json_object_del(s, "status");
        json_object_del(s, "updatedAt");
        json_t *answer = cli_http_fetch(h, HTTP_POST, "/api/v2/silences", s, &status);
        if (status == 200)
            taken++;
        else if (status)
            cli_fail("silence %zu of the file: %s", i + 1, cli_http_why(h, answer, status));
        bad += status != 200;
        json_decref(answer);
        if (!status)
            break;
    }
    fprintf(stderr, "%zu imported, %zu ended already, %zu refused\n", taken, over, bad);
    json_decref(all);
    return bad ? CLI_FAILED : CLI_OK;
}

static int act(const struct cli_command *self, struct cli_http *h, const struct silences_options *o, char **words,
               int n)
{
    if (n && strcmp(words[0], "add") == 0)
        return add(self, h, o, words + 1, n - 1);
    if (n && strcmp(words[0], "expire") == 0)
        return expire(self, h, words + 1, n - 1);
    if (n && strcmp(words[0], "import") == 0)
        return import(self, h, o, words + 1, n - 1);
    if (n && strcmp(words[0], "export") == 0)
        return n > 2 ? cli_usage(self, "export takes one file, or writes to standard output")
                     : export_all(h, o, words + 1, n - 1);
    bool named = n && strcmp(words[0], "list") == 0;
    return list(h, o, words + named, n - named);
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    enum { JSON = 256, START, END };
    static const struct option options[] = {
        { "url", required_argument, NULL, 'u' },     { "author", required_argument, NULL, 'a' },
        { "comment", required_argument, NULL, 'c' }, { "duration", required_argument, NULL, 'd' },
        { "start", required_argument, NULL, START }, { "end", required_argument, NULL, END },
        { "expired", no_argument, NULL, 'e' },       { "json", no_argument, NULL, JSON },
        { "help", no_argument, NULL, 'h' },          { 0 }
    };
    struct silences_options o = { .url = CLI_HTTP_URL, .now_ms = os_now_ms() };
    for (int opt, code; (opt = getopt_long(argc, argv, "u:a:c:d:eh", options, NULL)) != -1;) {
        if (cli_option_ends(self, opt, &code))
            return code;
        const char **to = opt == 'u'     ? &o.url
                          : opt == 'a'   ? &o.author
                          : opt == 'c'   ? &o.comment
                          : opt == 'd'   ? &o.duration
                          : opt == START ? &o.start
                          : opt == END   ? &o.end
                                         : NULL;
        if (to)
            *to = optarg;
        o.expired |= opt == 'e';
        o.json |= opt == JSON;
    }
    struct cli_http h = { .hint = cli_http_hint };
    if (!cli_http_open(&h, o.url))
        return CLI_FAILED;
    int code = act(self, &h, &o, argv + optind, argc - optind);
    cli_http_close(&h);
    return code;
}

const struct cli_command cli_silences = {
    .name = "silences",
    .summary = "list, add, expire, import and export silences",
    .help =
        "usage: vane silences [list] [--expired] [MATCHER...]\n"
        "       vane silences add MATCHER... --comment WHY [--author WHO] [--duration 2h | --start T --end T]\n"
        "       vane silences expire ID...\n"
        "       vane silences export [FILE] [--expired]\n"
        "       vane silences import [FILE]\n"
        "\n"
        "A MATCHER is as in alertmanager.yml: severity=page, 'team=~\"db|web\"', job!=x; a word alone is an alert's\n"
        "name. `add` prints the new id. `import` takes what `export` (or amtool) wrote; what has ended is left out.\n"
        "\n"
        "  -u, --url URL           of vane or an Alertmanager (default http://127.0.0.1:9090)\n"
        "  -c, --comment TEXT      -a, --author NAME (default: the user)\n"
        "  -d, --duration D        30m, 2h (default), 1d      --start T, --end T: RFC 3339 or Unix seconds\n"
        "  -e, --expired           those that have ended too\n"
        "      --json              for programs\n"
        "  -h, --help\n"
        "\n"
        "Exit code 0 when all was done, 1 when the server is away or refused something, 2 for a wrong command line.\n",
    .run = run,
};
