/* Rule files: as a configuration names them; vane check rules and vane test rules, with promtool's texts and exit
 * codes. */
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "base/check.h"
#include "cli/cli.h"
#include "cli/cli_config.h"
#include "promql/promql.h"
#include "rules/rules_manager.h"
#include "rules/rules_packs.h"
#include "rules/rules_unit.h"

enum { CLI_LINT = 3 }; /* promtool's exit code of lint findings under --lint-fatal */

/* ---- of a configuration ---- */
/* Of links in alerts: as configured, otherwise the first address: this machine's name for one that means all. */
str cli_external_url(const struct cli_config *cfg, struct arena *a)
{
    char name[256] = "localhost";
    const struct cli_listen *l = cfg->listen.p;
    bool tls = cfg->web.tls_cert_file.n || (cfg->web_file && cfg->web_file->tls);
    if (cfg->web.external_url.n)
        return cfg->web.external_url;
    str host = cfg->listen.n ? l->host : str_c(name);
    if (!host.n || str_eq(host, STR("0.0.0.0")) || str_eq(host, STR("::"))) {
        if (gethostname(name, sizeof(name) - 1) != 0)
            snprintf(name, sizeof(name), "localhost");
        host = str_c(name);
    }
    bool v6 = str_find_char(host, ':') != SIZE_MAX;
    return arena_printf(a, "%s://%s" STR_FMT "%s:%u", tls ? "https" : "http", v6 ? "[" : "", STR_ARG(host),
                        v6 ? "]" : "", cfg->listen.n ? l->port : 9090);
}

void cli_rules_settings(const struct cli_config *cfg, unsigned features, struct arena *a, struct rules_settings *ret)
{
    struct label_builder lb;
    const struct global_config *g = &cfg->prom->global;
    lb_init(&lb, a);
    for (size_t i = 0; i < g->external_labels.n; i++)
        lb_set(&lb, g->external_labels.keys[i], g->external_labels.p[i]);
    *ret = (struct rules_settings){
        .patterns = cfg->prom->rule_files.p,
        .n_patterns = cfg->prom->rule_files.n,
        .packs = cfg->rule_packs.p,
        .n_packs = cfg->rule_packs.n,
        .interval_ms = g->evaluation_interval_ms,
        .query_offset_ms = g->rule_query_offset_ms,
        .external_labels = lb_labels(&lb),
        .external_url = arena_str(a, cli_external_url(cfg, a)),
        .read = { .features = features, .legacy_names = g->names == NAMES_LEGACY },
    };
}

enum err cli_rules_load(const struct cli_config *cfg, unsigned features, struct rules_load **ret, struct buf *report,
                        struct err_text *reterr)
{
    AUTO_ARENA struct arena a;
    struct rules_settings settings;
    arena_init(&a, 0);
    cli_rules_settings(cfg, features, &a, &settings);
    return rules_load(&settings, ret, report, reterr);
}

/* ---- check ---- */
struct checks {
    struct rules_options read;
    bool duplicates, fatal;
};
enum verdict { GOOD, LINT, BAD };

static size_t count_rules(const struct rule_file *f)
{
    size_t n = 0;
    for (size_t i = 0; i < f->n_groups; i++)
        n += f->groups[i].n_rules;
    return n;
}

static void print_duplicates(const struct rule_duplicate *d, size_t n)
{
    fprintf(stderr, "  FAILED:\nlint error %zu duplicate rule(s) found.\n", n);
    for (size_t i = 0; i < n; i++) {
        fprintf(stderr, "Metric: " STR_FMT "\nLabel(s):\n", STR_ARG(d[i].rule->name));
        labels_each (l, d[i].rule->labels)
            fprintf(stderr, "\t" STR_FMT ": " STR_FMT "\n", STR_ARG(l->name), STR_ARG(l->value));
    }
    fputs("Might cause inconsistency while recording expressions\n", stderr);
}

static enum verdict check_file(const struct checks *opt, const char *path)
{
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf report = { 0 };
    struct rule_file file = { 0 };
    struct rule_duplicate *twice;
    size_t n = 0;
    arena_init(&a, 0);
    struct conf_ctx cx = conf_ctx_init(&a, fs_os());
    printf("Checking %s\n", path);
    fflush(stdout); /* what follows may go to stderr */
    enum err e = rules_file_load(&cx, path, &opt->read, &file);
    conf_diags_print(&report, &cx);
    if (e)
        fputs("  FAILED:\n", stderr);
    if (report.n)
        fwrite(report.p, 1, report.n, stderr);
    if (!e && opt->duplicates)
        n = rules_file_duplicates(&a, &file, &twice);
    if (n)
        print_duplicates(twice, n);
    else if (!e)
        printf("  SUCCESS: %zu rules found\n", count_rules(&file));
    printf("\n");
    rules_file_release(&file);
    conf_ctx_release(&cx);
    return e ? BAD : n ? LINT : GOOD;
}

static bool parse_lint(str list, bool *ret_duplicates)
{
    str word;
    *ret_duplicates = false;
    while (str_cut(&list, ',', &word)) {
        if (str_eq(word, STR("all")) || str_eq(word, STR("duplicate-rules")))
            *ret_duplicates = true;
        else if (!str_eq(word, STR("none")))
            return false;
    }
    return true;
}

static int run_check(const struct cli_command *self, int argc, char **argv)
{
    enum { LINTS = 256, FATAL, NO_FATAL, IGNORE_UNKNOWN, STRICT, FEATURES };
    static const struct option options[] = { { "help", no_argument, NULL, 'h' },
                                             { "lint", required_argument, NULL, LINTS },
                                             { "lint-fatal", no_argument, NULL, FATAL },
                                             { "no-lint-fatal", no_argument, NULL, NO_FATAL },
                                             { "ignore-unknown-fields", no_argument, NULL, IGNORE_UNKNOWN },
                                             { "strict-prometheus", no_argument, NULL, STRICT },
                                             { "enable-feature", required_argument, NULL, FEATURES },
                                             { 0 } };
    struct checks opt = { .duplicates = true, .read.features = CLI_FEATURES_DEFAULT };
    str bad;
    for (int o, code; (o = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (cli_option_ends(self, o, &code))
            return code;
        if (o == LINTS && !parse_lint(str_c(optarg), &opt.duplicates))
            return cli_usage(self, "--lint=%s: all, duplicate-rules or none", optarg);
        if (o == FATAL || o == NO_FATAL)
            opt.fatal = o == FATAL;
        opt.read.ignore_unknown_fields |= o == IGNORE_UNKNOWN;
        opt.read.strict_prometheus |= o == STRICT;
        if (o == FEATURES && !cli_parse_features(optarg, &opt.read.features, &bad))
            return cli_usage(self, "unknown feature '" STR_FMT "'", STR_ARG(bad));
    }
    if (optind == argc)
        return cli_usage(self, "name at least one rule file");
    enum verdict worst = GOOD;
    for (int i = optind; i < argc; i++) {
        enum verdict v = check_file(&opt, argv[i]);
        worst = MAX(worst, v);
    }
    return worst == BAD ? CLI_FAILED : worst == LINT && opt.fatal ? CLI_LINT : CLI_OK;
}

const struct cli_command cli_check_rules = {
    .name = "check rules",
    .summary = "check files of recording and alerting rules",
    .help = "usage: vane check rules [options] FILE...\n"
            "\n"
            "Reads each file as `vane serve` would: keys, names, expressions, templates. Every error is printed as\n"
            "file:line:column with the line.\n"
            "\n"
            "  --lint=LIST              what else to look for: all, duplicate-rules (the default) or none\n"
            "  --lint-fatal             findings of --lint give exit code 3 (otherwise they are only told)\n"
            "  --ignore-unknown-fields  keys that no rule file has are passed over\n"
            "  --strict-prometheus      vane's own keys (on_absent, on_error) are errors, as they are to Prometheus\n"
            "  --enable-feature=LIST    features of PromQL, as for vane serve\n"
            "\n"
            "Exit code 0 when all files are valid, 1 when one is not, 3 for findings with --lint-fatal.\n",
    .run = run_check,
};

/* ---- test ---- */
static bool test_file(const struct rules_unit_options *opt, const char *path)
{
    AUTO_BUF struct buf report = { 0 };
    size_t n;
    printf("Unit Testing:  %s\n", path);
    fflush(stdout);
    enum err e = rules_unit_run(path, opt, &report, &n);
    if (e)
        fputs("  FAILED:\n", stderr);
    if (report.n)
        fwrite(report.p, 1, report.n, stderr);
    printf(e ? "\n" : "  SUCCESS\n\n");
    return e == OK;
}

static int run_test(const struct cli_command *self, int argc, char **argv)
{
    enum { ONLY = 256, IGNORE_UNKNOWN, STRICT, FEATURES };
    static const struct option options[] = { { "help", no_argument, NULL, 'h' },
                                             { "run", required_argument, NULL, ONLY },
                                             { "ignore-unknown-fields", no_argument, NULL, IGNORE_UNKNOWN },
                                             { "strict-prometheus", no_argument, NULL, STRICT },
                                             { "enable-feature", required_argument, NULL, FEATURES },
                                             { 0 } };
    struct rules_unit_options opt = { .features = CLI_FEATURES_DEFAULT };
    str bad;
    const char *only = NULL;
    struct rx *rx = NULL;
    struct err_text why;
    for (int o, code; (o = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (cli_option_ends(self, o, &code))
            return code;
        if (o == ONLY)
            only = optarg;
        opt.ignore_unknown_fields |= o == IGNORE_UNKNOWN;
        opt.strict_prometheus |= o == STRICT;
        if (o == FEATURES && !cli_parse_features(optarg, &opt.features, &bad))
            return cli_usage(self, "unknown feature '" STR_FMT "'", STR_ARG(bad));
    }
    if (optind == argc)
        return cli_usage(self, "name at least one file of unit tests");
    if (only && rx_compile(str_c(only), false, &rx, &why) != OK)
        return cli_usage(self, "--run=%s: %s", only, why.msg);
    opt.only = rx;
    int worst = CLI_OK;
    for (int i = optind; i < argc; i++)
        if (!test_file(&opt, argv[i]))
            worst = CLI_FAILED;
    rx_free(rx);
    return worst;
}

const struct cli_command cli_test_rules = {
    .name = "test rules",
    .summary = "run unit tests of rules",
    .help = "usage: vane test rules [options] FILE...\n"
            "\n"
            "Runs unit tests in promtool's format: input series, rule files, the alerts and samples expected of them.\n"
            "Files named in rule_files are looked for beside the test file.\n"
            "\n"
            "  --run=REGEX              only tests whose name matches\n"
            "  --ignore-unknown-fields  unknown keys in test and rule files are passed over\n"
            "  --strict-prometheus      vane's own keys (on_absent, on_error) are errors\n"
            "  --enable-feature=LIST    features of PromQL, as for vane serve\n"
            "\n"
            "Exit code 0 when all tests pass, 1 otherwise.\n",
    .run = run_test,
};

/* ---- packs ---- */
static str first_comment(str text)
{
    str line, out = STR_NONE;
    if (str_cut(&text, '\n', &line) && str_has_prefix(line, STR("# ")))
        out = str_skip(line, 2);
    return out;
}

static void list_packs(void)
{
    static const char *const heads[] = { "PACK", "ABOUT" };
    struct cli_table *t = cli_table_new(heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < rules_packs_n; i++) {
        const str cells[] = { rules_packs[i].name, first_comment(rules_packs[i].text) };
        cli_table_row(t, cells);
    }
    cli_table_print(t, stdout);
}

static int run_packs(const struct cli_command *self, int argc, char **argv)
{
    static const struct option options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
    for (int o, code; (o = getopt_long(argc, argv, "h", options, NULL)) != -1;)
        if (cli_option_ends(self, o, &code))
            return code;
    if (optind == argc)
        list_packs();
    for (int i = optind; i < argc; i++) {
        const struct rule_text *pack = rules_pack_find(str_c(argv[i]));
        if (!pack)
            return cli_fail("there is no rule pack %s; `vane rules packs` lists them", argv[i]);
        fwrite(pack->text.p, 1, pack->text.n, stdout);
    }
    return CLI_OK;
}

const struct cli_command cli_rules_packs = {
    .name = "rules packs",
    .summary = "list the rule packs, or print one",
    .help = "usage: vane rules packs [NAME...]\n"
            "\n"
            "Lists the rule files that are part of vane, or prints the named ones. A vane.yaml uses them by name:\n"
            "\n"
            "  rule_packs: [availability, latency, resources, vane]\n"
            "\n"
            "They are plain Prometheus rule files: print one into a file to change it.\n",
    .run = run_packs,
};
