/* vane rules baseline: prints the recording rules that say what is normal for an expression at this hour of the week. Plain
 * PromQL: the same in Prometheus, and in `vane rules backfill` for the past. */
#include <getopt.h>
#include <stdio.h>

#include "base/check.h"
#include "base/num.h"
#include "cli/cli.h"
#include "promql/ast.h"

struct baseline {
    const char *name, *expr;
    int64_t season_ms, window_ms;
    uint64_t seasons;
};

static void indented(const char *text)
{
    str rest = str_c(text), line;
    while (str_cut(&rest, '\n', &line))
        printf("          " STR_FMT "\n", STR_ARG(line));
}

static void print_rule(const char *name, const char *part, str expr)
{
    printf("      - record: '%s%s'\n        expr: |\n", name, part);
    indented(expr.p);
}

static void print_rules(const struct baseline *o, struct arena *a)
{
    AUTO_BUF struct buf seasons = { 0 }, window = { 0 };
    buf_duration(&window, o->window_ms);
    for (uint64_t i = 1; i <= o->seasons; i++) {
        buf_printf(&seasons, "%slabel_replace(quantile_over_time(0.5, %s[" STR_FMT "] offset ", i > 1 ? "or " : "",
                   o->name, STR_ARG(buf_str(&window)));
        buf_duration(&seasons, (int64_t)i * o->season_ms - o->window_ms / 2);
        buf_printf(&seasons, "), \"season\", \"%llu\", \"\", \"\")\n", (unsigned long long)i);
    }
    printf("groups:\n  - name: 'baseline of %s'\n    rules:\n", o->name);
    print_rule(o->name, "", str_c(o->expr));
    printf("      # The same %.*s of each season before.\n", STR_ARG(buf_str(&window)));
    print_rule(o->name, ":seasons", str_c(arena_cstr(a, str_trim(buf_str(&seasons)))));
    printf("      # What is normal: their median; without a season of history that of the past day.\n");
    print_rule(
        o->name, ":normal",
        arena_printf(a, "quantile without (season) (0.5, %s:seasons)\nor quantile_over_time(0.5, %s[1d] offset 30m)",
                     o->name, o->name));
    printf("      # How far they lie from it: the median absolute deviation.\n");
    print_rule(
        o->name, ":mad",
        arena_printf(a, "quantile without (season) (0.5,\n  abs(%s:seasons - ignoring (season) group_left %s:normal))",
                     o->name, o->name));
    printf("      # Now against normal: 1 is as ever.\n");
    print_rule(o->name, ":ratio", arena_printf(a, "%s / %s:normal", o->name, o->name));
    printf("\n"
           "      # Alerts to begin with:\n"
           "      # - {alert: TwiceNormal, expr: '%s:ratio > 2', for: 10m, labels: {severity: P2}}\n"
           "      # - {alert: Unusual, expr: 'abs(%s - %s:normal) > 4 * 1.4826 * %s:mad', for: 30m, labels: {severity: "
           "P3}}\n",
           o->name, o->name, o->name, o->name);
}

static int check(const struct cli_command *self, const struct baseline *o)
{
    AUTO_ARENA struct arena a;
    const struct promql_expr *e;
    struct err_text why;
    arena_init(&a, 0);
    if (!labels_valid_metric_name(str_c(o->name)))
        return cli_usage(self, "'%s' is no metric name (examples: queue:p95, job:orders:rate1h)", o->name);
    if (promql_parse_text(&a, str_c(o->expr), CLI_FEATURES_DEFAULT, &e, &why) != OK)
        return cli_usage(self, "%s", why.msg);
    enum promql_type type = e->type;
    promql_expr_deinit(e);
    if (type != PROMQL_VECTOR)
        return cli_usage(self, "the expression must give a vector");
    if (o->window_ms >= o->season_ms)
        return cli_usage(self, "--window must be shorter than --season");
    print_rules(o, &a);
    return CLI_OK;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    static const struct option options[] = { { "help", no_argument, NULL, 'h' },
                                             { "season", required_argument, NULL, 's' },
                                             { "seasons", required_argument, NULL, 'n' },
                                             { "window", required_argument, NULL, 'w' },
                                             { 0 } };
    struct baseline o = { .season_ms = 7ll * 86400000, .seasons = 4, .window_ms = 3600000 };
    for (int opt, code; (opt = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (cli_option_ends(self, opt, &code))
            return code;
        if (opt == 'n' && (!str_to_u64(str_c(optarg), &o.seasons) || o.seasons < 1 || o.seasons > 52))
            return cli_usage(self, "--seasons '%s': 1 to 52", optarg);
        int64_t *to = opt == 's' ? &o.season_ms : &o.window_ms;
        if (opt != 'n' && (!num_parse_duration(str_c(optarg), to) || *to < 60000))
            return cli_usage(self, "'%s' is no duration of a minute or more (1h, 1d, 1w)", optarg);
    }
    if (argc - optind != 2)
        return cli_usage(self, "a name for the recorded series and an expression are needed");
    o.name = argv[optind];
    o.expr = argv[optind + 1];
    return check(self, &o);
}

const struct cli_command cli_rules_baseline = {
    .name = "rules baseline",
    .summary = "print recording rules that say what is normal for an expression",
    .help = "usage: vane rules baseline [options] NAME EXPRESSION\n"
            "\n"
            "Prints a rule file that records EXPRESSION as NAME, and what is normal for it now: NAME:normal, the "
            "median of\n"
            "the same hour of past weeks; NAME:mad, the median absolute deviation from it; NAME:ratio, now against\n"
            "normal. Medians, so that one strange week does not count.\n"
            "\n"
            "  --season=DURATION  after which it repeats (default 1w; 1d if weekends are like other days)\n"
            "  --seasons=N        how many to look back (default 4)\n"
            "  --window=DURATION  around the same moment of each (default 1h)\n"
            "\n"
            "  vane rules baseline job:http:p95 \\\n"
            "      'histogram_quantile(0.95, sum by (job, le) (rate(http_request_duration_seconds_bucket[5m])))' > "
            "p95.yml\n"
            "  vane rules backfill --start 2026-01-01T00:00:00Z p95.yml     # what was normal until now\n",
    .run = run,
};
