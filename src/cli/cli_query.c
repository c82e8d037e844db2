/* vane query: asks any Prometheus-compatible HTTP API, vane's own by default. */
#include <getopt.h>
#include <jansson.h>
#include <string.h>

#include "base/check.h"
#include "base/num.h"
#include "base/os.h"
#include "base/vec.h"
#include "cli/cli.h"
#include "http/http.h"

struct query_options {
    const char *url, *time, *start, *end, *step, *range;
    enum cli_output output;
    bool stats;
};

static const struct option long_options[] = {
    { "url", required_argument, NULL, 'u' },    { "time", required_argument, NULL, 't' },
    { "start", required_argument, NULL, 's' },  { "end", required_argument, NULL, 'e' },
    { "step", required_argument, NULL, 'S' },   { "range", required_argument, NULL, 'r' },
    { "output", required_argument, NULL, 'o' }, { "stats", no_argument, NULL, 'x' },
    { "help", no_argument, NULL, 'h' },         { 0 },
};

static void add_param(struct buf *b, const char *name, const char *value)
{
    if (b->n)
        buf_u8(b, '&');
    buf_str_add(b, str_c(name));
    buf_u8(b, '=');
    http_url_encode(b, str_c(value));
}

/* POST the form to URL/api/v1/PATH, or GET it where the API knows only that; the answer's document, or NULL after a message. */
static json_t *ask(const struct query_options *o, const char *path, const struct buf *form, bool get)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct http_client *client;
    struct http_result result;
    struct err_text why = { 0 };
    str body = { 0 };
    size_t n = strlen(o->url);
    str url = arena_printf(&a, "%.*s/api/v1/%s%s%.*s", (int)(n && o->url[n - 1] == '/' ? n - 1 : n), o->url, path,
                           get ? "?" : "", get ? (int)form->n : 0, form->p ? form->p : "");
    struct http_pair type = { STR("Content-Type"), STR("application/x-www-form-urlencoded") };
    struct http_fetch fetch = { .url = url,
                                .accept_encoding = STR("gzip"),
                                .timeout_ms = 130000,
                                .body_bytes_max = 1u << 30,
                                .follow_redirects = true };
    if (!get) {
        fetch.method = HTTP_POST;
        fetch.body = buf_str(form);
        fetch.headers = &type;
        fetch.n_headers = 1;
    }
    if (http_client_open(NULL, &client) != OK) {
        cli_fail("cannot start an HTTP client");
        return NULL;
    }
    enum err e = http_fetch_sync(client, &fetch, &a, &result, &body, &why);
    json_t *doc = NULL;
    json_error_t error;
    if (e)
        cli_fail("%s: %s", o->url, why.msg);
    else if (!(doc = json_loadb(body.p, body.n, JSON_DECODE_ANY, &error)))
        cli_fail("%s: status %d and no JSON: %s", o->url, result.status, error.text);
    http_client_close(client);
    if (doc &&
        strcmp(json_string_value(json_object_get(doc, "status")) ? json_string_value(json_object_get(doc, "status"))
                                                                 : "",
               "success") != 0) {
        const char *type_text = json_string_value(json_object_get(doc, "errorType"));
        const char *text = json_string_value(json_object_get(doc, "error"));
        cli_fail("%s: %s", type_text ? type_text : "error", text ? text : "the server did not say why");
        json_decref(doc);
        doc = NULL;
    }
    return doc;
}

static const char *text_of(const json_t *v)
{
    return json_is_string(v) ? json_string_value(v) : "";
}

/* {"__name__":"up","job":"x"} -> up{job="x"} */
static str series_text(struct arena *a, const json_t *metric)
{
    struct buf b = { 0 };
    const char *key, *name = json_string_value(json_object_get(metric, "__name__"));
    json_t *value;
    if (name)
        buf_str_add(&b, str_c(name));
    const char *sep = "{";
    json_object_foreach((json_t *)(uintptr_t)metric, key, value)
    {
        if (strcmp(key, "__name__") == 0)
            continue;
        buf_printf(&b, "%s%s=", sep, key);
        buf_go_quote(&b, str_c(text_of(value)));
        sep = ", ";
    }
    if (sep[0] == ',')
        buf_u8(&b, '}');
    else if (!name)
        buf_lit(&b, "{}");
    str s = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return s;
}

static str point_text(struct arena *a, const json_t *v)
{
    if (json_is_string(v))
        return str_c(json_string_value(v));
    char *dump = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY); /* a histogram */
    str s = arena_str(a, str_c(dump ? dump : ""));
    free(dump);
    return s;
}

static str time_text(struct arena *a, const json_t *t)
{
    struct buf b = { 0 };
    buf_rfc3339_ms(&b, (int64_t)(json_number_value(t) * 1000 + 0.5));
    str s = arena_str(a, buf_str(&b));
    buf_deinit(&b);
    return s;
}

static void print_points(struct arena *a, struct cli_table *t, str series, const json_t *points)
{
    size_t i;
    json_t *p;
    json_array_foreach(points, i, p)
    {
        str cells[] = { series, time_text(a, json_array_get(p, 0)), point_text(a, json_array_get(p, 1)) };
        cli_table_row(t, cells);
    }
}

static void print_result(const json_t *data)
{
    static const char *const heads[] = { "SERIES", "TIME", "VALUE" };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    const json_t *result = json_object_get(data, "result");
    const char *type = text_of(json_object_get(data, "resultType"));
    struct cli_table *t = cli_table_new(heads, 3);
    if (strcmp(type, "scalar") == 0 || strcmp(type, "string") == 0) {
        str cells[] = { STR(""), time_text(&a, json_array_get(result, 0)), point_text(&a, json_array_get(result, 1)) };
        cli_table_row(t, cells);
    } else {
        size_t i;
        json_t *row;
        json_array_foreach(result, i, row)
        {
            str series = series_text(&a, json_object_get(row, "metric"));
            json_t *value =
                json_object_get(row, "value") ? json_object_get(row, "value") : json_object_get(row, "histogram");
            if (value) {
                str cells[] = { series, time_text(&a, json_array_get(value, 0)),
                                point_text(&a, json_array_get(value, 1)) };
                cli_table_row(t, cells);
            }
            print_points(&a, t, series, json_object_get(row, "values"));
            print_points(&a, t, series, json_object_get(row, "histograms"));
        }
    }
    cli_table_print(t, stdout);
}

static void print_list(const json_t *data)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    size_t i;
    json_t *row;
    json_array_foreach(data, i, row) printf("%s\n", json_is_object(row) ? series_text(&a, row).p : text_of(row));
}

static int print_document(const struct query_options *o, json_t *doc)
{
    size_t i;
    json_t *note;
    json_array_foreach(json_object_get(doc, "warnings"), i, note) fprintf(stderr, "warning: %s\n", text_of(note));
    json_array_foreach(json_object_get(doc, "infos"), i, note) fprintf(stderr, "info: %s\n", text_of(note));
    const json_t *data = json_object_get(doc, "data");
    if (o->output == CLI_JSON) {
        json_dumpf(data, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
        putchar('\n');
    } else if (json_is_array(data)) {
        print_list(data);
    } else {
        print_result(data);
        json_t *stats = json_object_get(data, "stats");
        if (stats) {
            char *text = json_dumps(stats, JSON_INDENT(2));
            fprintf(stderr, "%s\n", text ? text : "");
            free(text);
        }
    }
    json_decref(doc);
    return CLI_OK;
}

static int run_instant(const struct query_options *o, const char *expr)
{
    AUTO_BUF struct buf form = { 0 };
    add_param(&form, "query", expr);
    if (o->time)
        add_param(&form, "time", o->time);
    if (o->stats)
        add_param(&form, "stats", "all");
    json_t *doc = ask(o, "query", &form, false);
    return doc ? print_document(o, doc) : CLI_FAILED;
}

static int run_range(const struct cli_command *self, const struct query_options *o, const char *expr)
{
    int64_t start, end = os_now_ms(), range = 3600000, step;
    if (o->end && !num_parse_time(str_c(o->end), &end))
        return cli_usage(self, "--end '%s' is neither RFC 3339 nor Unix seconds", o->end);
    if (o->range && !num_parse_duration(str_c(o->range), &range))
        return cli_usage(self, "--range '%s' is no duration (5m, 1h30m, 7d)", o->range);
    start = end - range;
    if (o->start && !num_parse_time(str_c(o->start), &start))
        return cli_usage(self, "--start '%s' is neither RFC 3339 nor Unix seconds", o->start);
    step = MAX((end - start) / 250 / 1000 * 1000, 1000);
    if (o->step && !num_parse_duration(str_c(o->step), &step))
        return cli_usage(self, "--step '%s' is no duration (15s, 1m)", o->step);
    AUTO_BUF struct buf form = { 0 };
    char text[3][32];
    snprintf(text[0], sizeof(text[0]), "%.3f", (double)start / 1000);
    snprintf(text[1], sizeof(text[1]), "%.3f", (double)end / 1000);
    snprintf(text[2], sizeof(text[2]), "%.3f", (double)step / 1000);
    add_param(&form, "query", expr);
    add_param(&form, "start", text[0]);
    add_param(&form, "end", text[1]);
    add_param(&form, "step", text[2]);
    if (o->stats)
        add_param(&form, "stats", "all");
    json_t *doc = ask(o, "query_range", &form, false);
    return doc ? print_document(o, doc) : CLI_FAILED;
}

static int run_series(const struct query_options *o, char **matchers, int n)
{
    AUTO_BUF struct buf form = { 0 };
    for (int i = 0; i < n; i++)
        add_param(&form, "match[]", matchers[i]);
    if (o->start)
        add_param(&form, "start", o->start);
    if (o->end)
        add_param(&form, "end", o->end);
    json_t *doc = ask(o, "series", &form, false);
    return doc ? print_document(o, doc) : CLI_FAILED;
}

static int run_labels(const struct query_options *o, const char *name)
{
    AUTO_BUF struct buf form = { 0 }, path = { 0 };
    if (o->start)
        add_param(&form, "start", o->start);
    if (o->end)
        add_param(&form, "end", o->end);
    buf_str_add(&path, name ? STR("label/") : STR("labels"));
    if (name) {
        http_url_encode(&path, str_c(name));
        buf_lit(&path, "/values");
    }
    buf_u8(&path, '\0');
    json_t *doc = ask(o, path.p, &form, true);
    buf_deinit(&path);
    return doc ? print_document(o, doc) : CLI_FAILED;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    struct query_options o = { .url = "http://127.0.0.1:9090" };
    for (int opt, code; (opt = getopt_long(argc, argv, "u:t:s:e:S:r:o:h", long_options, NULL)) != -1;) {
        if (cli_option_ends(self, opt, &code))
            return code;
        switch (opt) {
        case 'u':
            o.url = optarg;
            break;
        case 't':
            o.time = optarg;
            break;
        case 's':
            o.start = optarg;
            break;
        case 'e':
            o.end = optarg;
            break;
        case 'S':
            o.step = optarg;
            break;
        case 'r':
            o.range = optarg;
            break;
        case 'x':
            o.stats = true;
            break;
        default:
            if (!cli_parse_output(optarg, &o.output))
                return cli_usage(self, "--output is table or json, not '%s'", optarg);
        }
    }
    char **words = argv + optind;
    int n = argc - optind;
    if (n == 2 && strcmp(words[0], "instant") == 0)
        return run_instant(&o, words[1]);
    if (n == 2 && strcmp(words[0], "range") == 0)
        return run_range(self, &o, words[1]);
    if (n >= 2 && strcmp(words[0], "series") == 0)
        return run_series(&o, words + 1, n - 1);
    if ((n == 1 || n == 2) && strcmp(words[0], "labels") == 0)
        return run_labels(&o, n == 2 ? words[1] : NULL);
    if (n != 1)
        return cli_usage(self, n ? "too many words: put the expression in quotes" : "an expression is missing");
    return o.start || o.range ? run_range(self, &o, words[0]) : run_instant(&o, words[0]);
}

const struct cli_command cli_query = {
    .name = "query",
    .summary = "run PromQL, list series and labels",
    .help = "usage: vane query [instant] EXPR [--time T]\n"
            "       vane query [range] EXPR --range 6h | --start T [--end T] [--step 30s]\n"
            "       vane query series MATCHER...\n"
            "       vane query labels [NAME]\n"
            "\n"
            "  -u, --url URL         any Prometheus-compatible API (default http://127.0.0.1:9090)\n"
            "  -t, --time T          RFC 3339 or Unix seconds; default now\n"
            "  -s, --start, -e, --end T, -r, --range DURATION, -S, --step DURATION\n"
            "  -o, --output FORMAT   table (default) or json\n"
            "      --stats           what the query cost, on stderr\n"
            "  -h, --help\n"
            "\n"
            "Warnings go to stderr. Exit code 1 when the query failed.\n"
            "Example: vane query --range 1h 'sum by (job) (rate(http_requests_total[5m]))'\n",
    .run = run,
};
