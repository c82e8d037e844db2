/* See cli_promtool.h. Rules are checked and tested by the same code as `vane check rules` and `vane test rules`. */
#include "cli/cli_promtool.h"

#include <getopt.h>
#include <glob.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/num.h"
#include "base/os.h"
#include "base/vec.h"
#include "cli/cli_config.h"
#include "cli/cli_flags.h"
#include "cli/cli_http.h"

enum { LINT_EXIT = 3 };

struct promtool {
    struct cli_list features, headers, matches, run;
    const char *lint, *format, *time, *start, *end, *step, *http_config_file;
    bool lint_fatal, extended, syntax_only, agent, ignore_unknown, debug, diff;
};

/* ---- check rules, test rules: by vane's own commands ---- */
static int with_files(const struct cli_command *c, char **flags, size_t n_flags, char **files, int n)
{
    AUTO_FREE char **argv = mem_zalloc((n_flags + (size_t)n + 2) * sizeof(*argv));
    char name[32];
    size_t k = 0;
    snprintf(name, sizeof(name), "%s", c->name);
    argv[k++] = name;
    for (size_t i = 0; i < n_flags; i++)
        argv[k++] = flags[i];
    for (int i = 0; i < n; i++)
        argv[k++] = files[i];
    optind = 0; /* getopt begins anew */
    return c->run(c, (int)k, argv);
}

static bool all_there(char **files, int n)
{
    for (int i = 0; i < n; i++)
        if (access(files[i], F_OK) != 0) {
            fprintf(stderr, "promtool: error: path '%s' does not exist, try --help\n", files[i]);
            return false;
        }
    return true;
}

/* Rule files as upstream reads them; features it knows, the others are told and passed over. */
static size_t common_flags(const struct promtool *t, struct arena *a, char **flags)
{
    AUTO_BUF struct buf list = { 0 };
    size_t k = 0;
    flags[k++] = arena_cstr(a, STR("--strict-prometheus"));
    for (size_t i = 0; i < t->features.n; i++) {
        str rest = str_c(t->features.p[i]), one, bad;
        unsigned bits = 0;
        while (str_cut(&rest, ',', &one)) {
            if (cli_parse_features(arena_cstr(a, one), &bits, &bad))
                buf_printf(&list, "%s" STR_FMT, list.n ? "," : "", STR_ARG(one));
            else
                fprintf(stderr, "  WARNING: unknown feature passed to --enable-feature: " STR_FMT "\n", STR_ARG(one));
        }
    }
    if (list.n)
        flags[k++] = arena_cstr(a, arena_printf(a, "--enable-feature=" STR_FMT, STR_ARG(buf_str(&list))));
    if (t->ignore_unknown)
        flags[k++] = arena_cstr(a, STR("--ignore-unknown-fields"));
    return k;
}

static int check_files(const struct promtool *t, char **files, int n)
{
    AUTO_ARENA struct arena a;
    char *flags[5];
    arena_init(&a, 0);
    size_t k = common_flags(t, &a, flags);
    flags[k++] = arena_cstr(&a, arena_printf(&a, "--lint=%s", t->lint));
    if (t->lint_fatal)
        flags[k++] = arena_cstr(&a, STR("--lint-fatal"));
    return with_files(&cli_check_rules, flags, k, files, n);
}

static int check_rules(void *options, char **words, int n)
{
    return all_there(words, n) ? check_files(options, words, n) : CLI_FAILED;
}

static int test_rules(void *options, char **words, int n)
{
    const struct promtool *t = options;
    AUTO_ARENA struct arena a;
    char *flags[4];
    arena_init(&a, 0);
    size_t k = common_flags(t, &a, flags);
    if (!all_there(words, n))
        return CLI_FAILED;
    if (t->run.n) { /* any of them */
        AUTO_BUF struct buf b = { 0 };
        buf_lit(&b, "--run=");
        for (size_t i = 0; i < t->run.n; i++)
            buf_printf(&b, "%s(?:%s)", i ? "|" : "", t->run.p[i]);
        flags[k++] = arena_cstr(&a, buf_str(&b));
    }
    return with_files(&cli_test_rules, flags, k, words, n);
}

/* ---- check config ---- */
struct paths {
    struct arena *a;
    VEC(char *) v;
};

static void add_matches(struct paths *to, str pattern)
{
    glob_t found = { 0 };
    if (glob(arena_cstr(to->a, pattern), 0, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            avec_push(to->a, &to->v, arena_cstr(to->a, str_c(found.gl_pathv[i])));
    globfree(&found);
}

/* Its rule files go to `rules`. */
static bool check_one(const struct promtool *t, const char *path, struct paths *rules)
{
    AUTO_BUF struct buf report = { 0 };
    struct cli_config *cfg = NULL;
    struct err_text why = { 0 };
    printf("Checking %s\n", path);
    fflush(stdout);
    enum err e = cli_config_load(path, &cfg, &report, &why);
    if (e) {
        buf_u8(&report, 0);
        fprintf(stderr, "  FAILED: %s\n", report.n > 1 ? report.p : why.msg);
    } else {
        size_t before = rules->v.n;
        for (size_t i = 0; !t->syntax_only && i < cfg->prom->rule_files.n; i++)
            add_matches(rules, cfg->prom->rule_files.p[i]);
        if (rules->v.n > before)
            printf("  SUCCESS: %zu rule files found\n", rules->v.n - before);
        printf(" SUCCESS: %s is valid prometheus config file syntax\n", path);
    }
    cli_config_free(cfg);
    putchar('\n');
    fflush(stdout);
    return e == OK;
}

static int check_config(void *options, char **words, int n)
{
    const struct promtool *t = options;
    int worst = CLI_OK;
    if (!all_there(words, n))
        return CLI_FAILED;
    for (int i = 0; i < n; i++) {
        AUTO_ARENA struct arena a;
        struct paths rules = { .a = &a };
        arena_init(&a, 0);
        bool ok = check_one(t, words[i], &rules);
        int code = ok && rules.v.n ? check_files(t, rules.v.p, (int)rules.v.n) : CLI_OK;
        if (!ok || code == CLI_FAILED)
            worst = CLI_FAILED;
        else if (code == LINT_EXIT && worst == CLI_OK)
            worst = LINT_EXIT;
    }
    return worst;
}

/* ---- check metrics ---- */
static bool read_stdin(struct buf *b)
{
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof(piece), stdin)) > 0;)
        buf_add(b, piece, n);
    return !ferror(stdin) && !b->failed;
}

static int check_metrics(void *options, char **words, int n_words)
{
    const struct promtool *t = options;
    AUTO_BUF struct buf text = { 0 }, out = { 0 };
    struct err_text why = { 0 };
    size_t n;
    (void)words, (void)n_words;
    buf_init(&text, 1u << 30);
    if (!read_stdin(&text)) {
        fputs("error while linting: the input cannot be read, or is larger than 1 GiB\n", stderr);
        return CLI_FAILED;
    }
    if (cli_promlint(buf_str(&text), &out, &n, &why) != OK) {
        fprintf(stderr, "error while linting: text format parsing error in %s\n", why.msg);
        return CLI_FAILED;
    }
    fwrite(out.p ? out.p : "", 1, out.n, stderr);
    buf_clear(&out);
    if (t->extended && cli_promlint_cardinality(buf_str(&text), &out, &why) == OK)
        fwrite(out.p, 1, out.n, stdout);
    return n ? LINT_EXIT : CLI_OK;
}

/* ---- queries ---- */
/* {__name__="up", a="b"} or up{a="b"} */
static str series(struct arena *a, const json_t *metric, bool as_labels)
{
    AUTO_BUF struct buf b = { 0 };
    const char *name = cli_json_text(metric, "__name__");
    str rest = cli_json_labels(a, metric, as_labels ? NULL : "__name__");
    if (!as_labels)
        buf_str_add(&b, str_c(name));
    if (rest.n || as_labels || !name[0])
        buf_printf(&b, "{" STR_FMT "}", STR_ARG(rest));
    return arena_str(a, buf_str(&b));
}

/* "v @[t]" */
static str point(struct arena *a, const json_t *pair)
{
    AUTO_BUF struct buf b = { 0 };
    const json_t *v = json_array_get(pair, 1);
    char *dump = json_is_string(v) ? NULL : json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    buf_str_add(&b, str_c(dump ? dump : json_string_value(v) ? json_string_value(v) : ""));
    free(dump);
    buf_lit(&b, " @[");
    buf_f64_f(&b, json_number_value(json_array_get(pair, 0)));
    buf_u8(&b, ']');
    return arena_str(a, buf_str(&b));
}

static void print_matrix(struct arena *a, const json_t *row)
{
    static const char *const kinds[] = { "values", "histograms" };
    size_t k;
    json_t *p;
    printf("%s =>\n", series(a, json_object_get(row, "metric"), false).p);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        json_array_foreach(json_object_get(row, kinds[i]), k, p) puts(point(a, p).p);
}

static void print_data(struct arena *a, const json_t *data)
{
    const char *type = cli_json_text(data, "resultType");
    const json_t *result = json_object_get(data, "result");
    size_t i;
    json_t *row;
    if (strcmp(type, "scalar") == 0 || strcmp(type, "string") == 0) {
        printf("%s: %s\n", type, point(a, result).p);
        return;
    }
    if (!json_array_size(result))
        putchar('\n');
    json_array_foreach(result, i, row)
    {
        const json_t *value = json_object_get(row, "value");
        if (!value)
            value = json_object_get(row, "histogram");
        if (value)
            printf("%s => %s\n", series(a, json_object_get(row, "metric"), false).p, point(a, value).p);
        else
            print_matrix(a, row);
    }
}

static void print_list(struct arena *a, const json_t *data)
{
    size_t i;
    json_t *row;
    json_array_foreach(data, i, row) puts(json_is_object(row) ? series(a, row, true).p : json_string_value(row));
}

static const json_t *result_of(const json_t *data)
{
    return json_is_object(data) ? json_object_get(data, "result") : data;
}

static int ask(const struct promtool *t, const char *server, const char *path)
{
    struct cli_http h = {
        .prog = "query error", .headers = t->headers.p, .n_headers = t->headers.n, .timeout_ms = 130000
    };
    int status;
    size_t i;
    json_t *note;
    if (!cli_http_open(&h, server))
        return CLI_FAILED;
    json_t *doc = cli_http_fetch(&h, HTTP_GET, path, NULL, &status);
    const json_t *data = json_object_get(doc, "data");
    int code = CLI_FAILED;
    if (strcmp(cli_json_text(doc, "status"), "success") == 0) {
        code = CLI_OK;
        json_array_foreach(json_object_get(doc, "warnings"), i, note)
            fprintf(stderr, "warning: %s\n", json_string_value(note));
        if (strcmp(t->format, "json") == 0) {
            json_dumpf(result_of(data), stdout, JSON_COMPACT | JSON_ENCODE_ANY);
            putchar('\n');
        } else if (json_is_array(data)) {
            print_list(&h.a, data);
        } else {
            print_data(&h.a, data);
        }
    } else if (status) {
        const char *type = cli_json_text(doc, "errorType");
        fprintf(stderr, "query error: %s%s%s\n", type, type[0] ? ": " : "", cli_http_why(&h, doc, status));
    }
    json_decref(doc);
    cli_http_close(&h);
    return code;
}

/* A time as the API wants it; the default is `fallback_ms`. false after a message. */
static bool add_time(struct buf *path, const char *name, const char *text, int64_t fallback_ms, const char *what)
{
    char number[40];
    int64_t ms = fallback_ms;
    if (text && !num_parse_time(str_c(text), &ms)) {
        fprintf(stderr, "error parsing %s: cannot parse \"%s\" to a valid timestamp\n", what, text);
        return false;
    }
    snprintf(number, sizeof(number), "%.3f", (double)ms / 1000);
    cli_query_add(path, name, str_c(number));
    return true;
}

static bool format_ok(const struct promtool *t)
{
    if (strcmp(t->format, "promql") == 0 || strcmp(t->format, "json") == 0)
        return true;
    fprintf(stderr, "promtool: error: enum value must be one of promql,json, got '%s', try --help\n", t->format);
    return false;
}

static int query_instant(void *options, char **words, int n)
{
    const struct promtool *t = options;
    AUTO_BUF struct buf path = { 0 };
    (void)n;
    buf_lit(&path, "/api/v1/query");
    cli_query_add(&path, "query", str_c(words[1]));
    if (!format_ok(t) || !add_time(&path, "time", t->time, os_now_ms(), "evaluation time"))
        return CLI_FAILED;
    buf_u8(&path, 0);
    return ask(t, words[0], path.p);
}

static int query_range(void *options, char **words, int n)
{
    const struct promtool *t = options;
    AUTO_BUF struct buf path = { 0 };
    char number[40];
    int64_t end = os_now_ms(), start, step;
    (void)n;
    if (t->end && !num_parse_time(str_c(t->end), &end)) {
        fprintf(stderr, "error parsing end time: cannot parse \"%s\" to a valid timestamp\n", t->end);
        return CLI_FAILED;
    }
    start = end - 300000;
    if (t->start && !num_parse_time(str_c(t->start), &start)) {
        fprintf(stderr, "error parsing start time: cannot parse \"%s\" to a valid timestamp\n", t->start);
        return CLI_FAILED;
    }
    if (start >= end) {
        fputs("start time is not before end time\n", stderr);
        return CLI_FAILED;
    }
    step = MAX((end - start) / 250 / 1000, 1) * 1000;
    if (t->step && !num_parse_duration(str_c(t->step), &step)) {
        fprintf(stderr, "promtool: error: not a valid duration string: \"%s\", try --help\n", t->step);
        return CLI_FAILED;
    }
    buf_lit(&path, "/api/v1/query_range");
    cli_query_add(&path, "query", str_c(words[1]));
    snprintf(number, sizeof(number), "%.3f", (double)step / 1000);
    cli_query_add(&path, "step", str_c(number));
    if (!format_ok(t) || !add_time(&path, "start", NULL, start, "") || !add_time(&path, "end", NULL, end, ""))
        return CLI_FAILED;
    buf_u8(&path, 0);
    return ask(t, words[0], path.p);
}

static bool add_range(struct buf *path, const struct promtool *t)
{
    for (size_t i = 0; i < t->matches.n; i++)
        cli_query_add(path, "match[]", str_c(t->matches.p[i]));
    return (!t->start || add_time(path, "start", t->start, 0, "start time")) &&
           (!t->end || add_time(path, "end", t->end, 0, "end time"));
}

static int query_series(void *options, char **words, int n)
{
    const struct promtool *t = options;
    AUTO_BUF struct buf path = { 0 };
    (void)n;
    if (!t->matches.n) {
        fputs("promtool: error: required flag --match not provided, try --help\n", stderr);
        return CLI_FAILED;
    }
    buf_lit(&path, "/api/v1/series");
    if (!format_ok(t) || !add_range(&path, t))
        return CLI_FAILED;
    buf_u8(&path, 0);
    return ask(t, words[0], path.p);
}

static int query_labels(void *options, char **words, int n)
{
    const struct promtool *t = options;
    AUTO_BUF struct buf path = { 0 };
    (void)n;
    buf_lit(&path, "/api/v1/label/");
    http_url_encode(&path, str_c(words[1]));
    buf_lit(&path, "/values");
    if (!format_ok(t) || !add_range(&path, t))
        return CLI_FAILED;
    buf_u8(&path, 0);
    return ask(t, words[0], path.p);
}

/* ---- verbs ---- */
#define AT(member) offsetof(struct promtool, member)
#define TEXT       CLI_FLAG_TEXT
#define BOOL       CLI_FLAG_BOOL
#define LIST       CLI_FLAG_LIST
static const struct cli_flag root_flags[] = {
    { "enable-feature", 0, LIST, AT(features), "Features of PromQL, comma separated." },
};
static const struct cli_flag rules_flags[] = {
    { "lint", 0, TEXT, AT(lint), "all, duplicate-rules (default) or none." },
    { "lint-fatal", 0, BOOL, AT(lint_fatal), "Findings of --lint give exit code 3." },
    { "ignore-unknown-fields", 0, BOOL, AT(ignore_unknown), "Unknown keys are passed over." },
};
static const struct cli_flag config_flags[] = {
    { "syntax-only", 0, BOOL, AT(syntax_only), "Without what the file refers to." },
    { "lint", 0, TEXT, AT(lint), "all, duplicate-rules (default) or none." },
    { "lint-fatal", 0, BOOL, AT(lint_fatal), "Findings of --lint give exit code 3." },
    { "ignore-unknown-fields", 0, BOOL, AT(ignore_unknown), "Unknown keys of rules are passed over." },
    { "agent", 0, BOOL, AT(agent), "For agents; read alike." },
};
static const struct cli_flag metrics_flags[] = {
    { "extended", 0, BOOL, AT(extended), "Cardinality of every metric as well." },
};
static const struct cli_flag test_flags[] = {
    { "run", 0, LIST, AT(run), "Only tests whose name matches; may be repeated." },
    { "ignore-unknown-fields", 0, BOOL, AT(ignore_unknown), "Unknown keys are passed over." },
    { "debug", 0, BOOL, AT(debug), NULL },
    { "diff", 0, BOOL, AT(diff), NULL },
};
static const struct cli_flag query_flags[] = {
    { "format", 'o', TEXT, AT(format), "promql (default) or json." },
    { "header", 0, LIST, AT(headers), "Name:value, sent along; may be repeated." },
};
static const struct cli_flag instant_flags[] = {
    { "time", 0, TEXT, AT(time), "RFC 3339 or Unix seconds." },
};
static const struct cli_flag range_flags[] = {
    { "start", 0, TEXT, AT(start), "RFC 3339 or Unix seconds (5m before the end)." },
    { "end", 0, TEXT, AT(end), "RFC 3339 or Unix seconds (now)." },
    { "step", 0, TEXT, AT(step), "Duration." },
};
static const struct cli_flag series_flags[] = {
    { "match", 0, LIST, AT(matches), "Selector; may be repeated." },
    { "start", 0, TEXT, AT(start), "RFC 3339 or Unix seconds." },
    { "end", 0, TEXT, AT(end), "RFC 3339 or Unix seconds." },
};
#define FLAGS(f) .flags = (f), .n_flags = ARRAY_LEN(f)
static const struct cli_verb check_verbs[] = {
    { "rules", "Check if the rule files are valid or not.", FLAGS(rules_flags), .args = { "rule-files..." },
      .n_args = 1, .n_required = 1, .run = check_rules },
    { "config", "Check if the config files are valid or not.", FLAGS(config_flags), .args = { "config-files..." },
      .n_args = 1, .n_required = 1, .run = check_config },
    { "metrics", "Lint metrics that are passed over stdin.", FLAGS(metrics_flags), .run = check_metrics },
};
static const struct cli_verb query_verbs[] = {
    { "instant", "Run instant query.", FLAGS(instant_flags), .args = { "server", "expr" }, .n_args = 2, .n_required = 2,
      .run = query_instant },
    { "range", "Run range query.", FLAGS(range_flags), .args = { "server", "expr" }, .n_args = 2, .n_required = 2,
      .run = query_range },
    { "series", "Run series query.", FLAGS(series_flags), .args = { "server" }, .n_args = 1, .n_required = 1,
      .run = query_series },
    { "labels", "Run labels query.", FLAGS(series_flags), .args = { "server", "name" }, .n_args = 2, .n_required = 2,
      .run = query_labels },
};
static const struct cli_verb test_verbs[] = {
    { "rules", "Unit tests for rules.", FLAGS(test_flags), .args = { "test-rule-file..." }, .n_args = 1,
      .n_required = 1, .run = test_rules },
};
static const struct cli_verb verbs[] = {
    { "check", "Check the resources for validity.", .subs = check_verbs, .n_subs = ARRAY_LEN(check_verbs) },
    { "query", "Run query against a Prometheus server.", FLAGS(query_flags), .subs = query_verbs,
      .n_subs = ARRAY_LEN(query_verbs) },
    { "test", "Unit testing.", .subs = test_verbs, .n_subs = ARRAY_LEN(test_verbs) },
};
static const struct cli_verb root = { "promtool",
                                      "Tooling for the Prometheus monitoring system (vane under the name "
                                      "promtool).",
                                      FLAGS(root_flags), .subs = verbs, .n_subs = ARRAY_LEN(verbs) };

int cli_promtool_main(int argc, char **argv)
{
    struct promtool t = { .lint = "duplicate-rules", .format = "promql" };
    int code = cli_flags_run("promtool", &root, &t, argc, argv);
    const struct cli_list *lists[] = { &t.features, &t.headers, &t.matches, &t.run };
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        mem_free(lists[i]->p);
    return code;
}
