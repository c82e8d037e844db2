/* What amtool shows: simple and extended tables, JSON. */
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/num.h"
#include "base/vec.h"
#include "cli/cli_am.h"
#include "cli/cli_amtool.h"

/* ---- tables: every cell is as wide as its column and two spaces, the last one too ---- */
static size_t width(str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
    return n;
}

static void print_cells(const str *cells, size_t n_rows, size_t n_columns)
{
    size_t widths[8] = { 0 };
    for (size_t i = 0; i < n_rows * n_columns; i++)
        widths[i % n_columns] = MAX(widths[i % n_columns], width(cells[i]));
    for (size_t i = 0; i < n_rows * n_columns; i++) {
        fwrite(cells[i].p, 1, cells[i].n, stdout);
        printf("%*s%s", (int)(widths[i % n_columns] + 2 - width(cells[i])), "", (i + 1) % n_columns ? "" : "\n");
    }
}

/* Control characters of others' texts would move the cursor. */
static str plain(struct arena *a, const char *text)
{
    str s = arena_str(a, str_c(text));
    for (char *p = (char *)(uintptr_t)s.p; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = ' ';
    return s;
}

/* ---- dates ---- */
/* Go's layout: 2006, 01, 02, 15, 04, 05, MST and a few more; everything else stands for itself. */
static str date(const struct amtool *t, struct arena *a, const char *time_text)
{
    static const struct {
        const char *go, *strf;
    } parts[] = { { "2006", "%Y" }, { "January", "%B" }, { "Jan", "%b" },   { "Monday", "%A" },
                  { "Mon", "%a" },  { "MST", "UTC" },    { "Z07:00", "Z" }, { "-0700", "+0000" },
                  { "01", "%m" },   { "02", "%d" },      { "15", "%H" },    { "03", "%I" },
                  { "04", "%M" },   { "05", "%S" },      { "06", "%y" },    { "PM", "%p" } };
    AUTO_BUF struct buf b = { 0 };
    int64_t ms = 0;
    if (!num_parse_time(str_c(time_text), &ms))
        return plain(a, time_text);
    for (const char *p = t->date_format; *p;) {
        size_t i = 0;
        while (i < ARRAY_LEN(parts) && strncmp(p, parts[i].go, strlen(parts[i].go)) != 0)
            i++;
        if (i < ARRAY_LEN(parts)) {
            buf_str_add(&b, str_c(parts[i].strf));
            p += strlen(parts[i].go);
        } else {
            buf_str_add(&b, *p == '%' ? STR("%%") : (str){ p, 1 });
            p++;
        }
    }
    buf_u8(&b, 0);
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char text[256];
    gmtime_r(&s, &tm);
    /* The format is the user's own, made of the conversions above. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t n = strftime(text, sizeof(text), b.p, &tm);
#pragma GCC diagnostic pop
    return arena_str(a, (str){ text, n });
}

/* ---- lists ---- */
static const char *sort_key;
static int by_time(const void *x, const void *y)
{
    int64_t a = 0, b = 0;
    num_parse_time(str_c(cli_json_text(*(json_t *const *)x, sort_key)), &a);
    num_parse_time(str_c(cli_json_text(*(json_t *const *)y, sort_key)), &b);
    return (a > b) - (a < b);
}

static json_t **sorted(struct arena *a, json_t *list, const char *key)
{
    size_t n = json_array_size(list), i;
    json_t **p = arena_array(a, json_t *, n + 1), *v;
    json_array_foreach(list, i, v) p[i] = v;
    sort_key = key;
    if (n)
        qsort(p, n, sizeof(json_t *), by_time);
    return p;
}

static int cmp_text(const void *x, const void *y)
{
    return str_cmp(*(const str *)x, *(const str *)y);
}

/* a="b" c="d", sorted */
static str pairs(struct arena *a, const json_t *labels)
{
    size_t n = json_object_size(labels), i = 0;
    str *p = arena_array(a, str, n + 1);
    const char *key;
    json_t *v;
    AUTO_BUF struct buf b = { 0 };
    json_object_foreach((json_t *)(uintptr_t)labels, key, v) p[i++] =
        arena_printf(a, "%s=\"%s\"", key, json_string_value(v) ? json_string_value(v) : "");
    if (n)
        qsort(p, n, sizeof(*p), cmp_text);
    for (i = 0; i < n; i++)
        buf_printf(&b, "%s" STR_FMT, i ? " " : "", STR_ARG(p[i]));
    buf_u8(&b, 0);
    return plain(a, b.p);
}

static int as_json(const json_t *doc)
{
    json_dumpf(doc, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
    putchar('\n');
    return CLI_OK;
}

int amtool_print_alerts(const struct amtool *t, json_t *alerts)
{
    static const str simple[] = { STR_INIT("Alertname"), STR_INIT("Starts At"), STR_INIT("Summary"),
                                  STR_INIT("State") };
    static const str extended[] = { STR_INIT("Labels"),  STR_INIT("Annotations"),   STR_INIT("Starts At"),
                                    STR_INIT("Ends At"), STR_INIT("Generator URL"), STR_INIT("State") };
    AUTO_ARENA struct arena a;
    VEC(str) cells = { 0 };
    arena_init(&a, 0);
    if (strcmp(t->output, "json") == 0)
        return as_json(alerts);
    bool is_simple = strcmp(t->output, "simple") == 0;
    size_t n = json_array_size(alerts), n_columns = is_simple ? 4 : 6;
    json_t **p = sorted(&a, alerts, "startsAt");
    for (size_t i = 0; i < n_columns; i++)
        avec_push(&a, &cells, is_simple ? simple[i] : extended[i]);
    for (size_t i = 0; i < n; i++) {
        const json_t *labels = json_object_get(p[i], "labels"), *notes = json_object_get(p[i], "annotations");
        if (is_simple) {
            avec_push(&a, &cells, plain(&a, cli_json_text(labels, "alertname")));
            avec_push(&a, &cells, date(t, &a, cli_json_text(p[i], "startsAt")));
            avec_push(&a, &cells, plain(&a, cli_json_text(notes, "summary")));
        } else {
            avec_push(&a, &cells, pairs(&a, labels));
            avec_push(&a, &cells, pairs(&a, notes));
            avec_push(&a, &cells, date(t, &a, cli_json_text(p[i], "startsAt")));
            avec_push(&a, &cells, date(t, &a, cli_json_text(p[i], "endsAt")));
            avec_push(&a, &cells, plain(&a, cli_json_text(p[i], "generatorURL")));
        }
        avec_push(&a, &cells, plain(&a, cli_json_text(json_object_get(p[i], "status"), "state")));
    }
    print_cells(cells.p, n + 1, n_columns);
    return CLI_OK;
}

int amtool_print_silences(const struct amtool *t, json_t *silences)
{
    static const str simple[] = { STR_INIT("ID"), STR_INIT("Matchers"), STR_INIT("Ends At"), STR_INIT("Created By"),
                                  STR_INIT("Comment") };
    static const str extended[] = { STR_INIT("ID"),      STR_INIT("Matchers"),   STR_INIT("Starts At"),
                                    STR_INIT("Ends At"), STR_INIT("Updated At"), STR_INIT("Created By"),
                                    STR_INIT("Comment") };
    AUTO_ARENA struct arena a;
    VEC(str) cells = { 0 };
    arena_init(&a, 0);
    if (strcmp(t->output, "json") == 0)
        return as_json(silences);
    bool is_simple = strcmp(t->output, "simple") == 0;
    size_t n = json_array_size(silences), n_columns = is_simple ? 5 : 7;
    json_t **p = sorted(&a, silences, "endsAt");
    for (size_t i = 0; i < n_columns; i++)
        avec_push(&a, &cells, is_simple ? simple[i] : extended[i]);
    for (size_t i = 0; i < n; i++) {
        avec_push(&a, &cells, plain(&a, cli_json_text(p[i], "id")));
        avec_push(&a, &cells, cli_am_matchers_text(&a, json_object_get(p[i], "matchers"), " "));
        if (!is_simple)
            avec_push(&a, &cells, date(t, &a, cli_json_text(p[i], "startsAt")));
        avec_push(&a, &cells, date(t, &a, cli_json_text(p[i], "endsAt")));
        if (!is_simple)
            avec_push(&a, &cells, date(t, &a, cli_json_text(p[i], "updatedAt")));
        avec_push(&a, &cells, plain(&a, cli_json_text(p[i], "createdBy")));
        avec_push(&a, &cells, plain(&a, cli_json_text(p[i], "comment")));
    }
    print_cells(cells.p, n + 1, n_columns);
    return CLI_OK;
}

int amtool_print_cluster(const struct amtool *t, const json_t *status)
{
    const json_t *c = json_object_get(status, "cluster");
    size_t i;
    json_t *peer;
    if (strcmp(t->output, "json") == 0)
        return as_json(c);
    printf("Cluster Status:  %s\nNode Name:       %s\n", cli_json_text(c, "status"), cli_json_text(c, "name"));
    if (strcmp(t->output, "simple") == 0)
        return CLI_OK;
    puts("\nAddress  Name");
    json_array_foreach(json_object_get(c, "peers"), i, peer)
        printf("%s  %s  \n", cli_json_text(peer, "address"), cli_json_text(peer, "name"));
    return CLI_OK;
}

int amtool_print_config(const struct amtool *t, const json_t *status)
{
    static const char *const facts[] = { "buildUser", "goVersion", "revision", "version", "branch", "buildDate" };
    const json_t *v = json_object_get(status, "versionInfo");
    if (strcmp(t->output, "json") == 0)
        return as_json(status);
    puts(cli_json_text(json_object_get(status, "config"), "original"));
    if (strcmp(t->output, "simple") == 0)
        return CLI_OK;
    for (size_t i = 0; i < ARRAY_LEN(facts); i++)
        printf("%s %s\n", facts[i], cli_json_text(v, facts[i]));
    printf("uptime %s\n", cli_json_text(status, "uptime"));
    return CLI_OK;
}
