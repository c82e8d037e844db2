/* vane: sub-commands; see cli.h. */
#include <stdarg.h>
#include <string.h>

#include "base/check.h"
#include "cli/cli.h"
#include "cli/cli_amtool.h"
#include "cli/cli_promtool.h"

static const struct cli_command *const commands[] = {
    &cli_serve,
    &cli_agent,
    &cli_query,
    &cli_alerts,
    &cli_silences,
    &cli_rules_list,
    &cli_routes,
    &cli_check_config,
    &cli_check_alertmanager,
    &cli_check_rules,
    &cli_test_rules,
    &cli_rules_packs,
    &cli_rules_backfill,
    &cli_rules_baseline,
    &cli_backtest,
    &cli_explain_alert,
    &cli_drill,
    &cli_notify_test,
    &cli_fsck,
    &cli_retention,
    &cli_backup,
    &cli_restore,
    &cli_import_prometheus,
    &cli_import_openmetrics,
    &cli_import_snapshot,
    &cli_export,
    &cli_blackbox,
    &cli_version,
};

static void print_help(FILE *out)
{
    fputs("vane: observability for API services in one program.\n"
          "\n"
          "usage: vane COMMAND [options]\n"
          "\n"
          "commands:\n",
          out);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  %-18s %s\n", commands[i]->name, commands[i]->summary);
    fputs("\n"
          "`vane amtool ...` and `vane promtool ...` (or vane called by these names) stand for those programs.\n"
          "`vane COMMAND --help` tells more. `vane serve` alone starts with sane defaults: http://127.0.0.1:9090\n",
          out);
}

/* The command whose words open argv[1..], the longest one; *ret_words is how many. */
static const struct cli_command *find_command(int argc, char **argv, int *ret_words)
{
    const struct cli_command *found = NULL;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        str rest = str_c(commands[i]->name), word;
        int n = 0;
        bool match = true;
        while (match && str_cut(&rest, ' ', &word)) {
            match = n + 1 < argc && str_eq(str_c(argv[n + 1]), word);
            n++;
        }
        if (match && (!found || n > *ret_words)) {
            *ret_words = n;
            found = commands[i];
        }
    }
    return found;
}

static int unknown_command(const char *word)
{
    str names[ARRAY_LEN(commands)];
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        names[i] = str_c(commands[i]->name);
    str near = str_nearest(str_c(word), names, ARRAY_LEN(names));
    fprintf(stderr, "vane: unknown command '%s'", word);
    if (near.n)
        fprintf(stderr, "; did you mean '" STR_FMT "'?", STR_ARG(near));
    fputs("\nTry `vane --help`.\n", stderr);
    return CLI_USAGE;
}

/* Under the names of tools it stands for, it behaves as they do. */
static int (*stands_for(const char *path))(int argc, char **argv)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    return strcmp(name, "amtool") == 0 ? cli_amtool_main : strcmp(name, "promtool") == 0 ? cli_promtool_main : NULL;
}

int main(int argc, char **argv)
{
    int (*other)(int argc, char **argv) = argc ? stands_for(argv[0]) : NULL;
    if (other)
        return other(argc, argv);
    if (argc > 1 && (other = stands_for(argv[1])) && !strchr(argv[1], '/'))
        return other(argc - 1, argv + 1); /* vane amtool ..., without a link */
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--version") == 0)
        return cli_version.run(&cli_version, 1, argv);
    int words = 0;
    const struct cli_command *c = find_command(argc, argv, &words);
    if (!c)
        return unknown_command(argv[1]);
    return c->run(c, argc - words, argv + words);
}
