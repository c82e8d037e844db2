/* vane check config: reads a configuration as `vane serve` would, and says all that is wrong with it. */
#include <getopt.h>

#include "alerting/am_config.h"
#include "cli/cli.h"
#include "cli/cli_config.h"
#include "rules/rules_manager.h"

static int run(const struct cli_command *self, int argc, char **argv)
{
    static const struct option options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
    for (int opt, code; (opt = getopt_long(argc, argv, "h", options, NULL)) != -1;)
        if (cli_option_ends(self, opt, &code))
            return code;
    if (optind == argc)
        return cli_usage(self, "name at least one file");
    int worst = CLI_OK;
    for (int i = optind; i < argc; i++) {
        AUTO_BUF struct buf report = { 0 };
        struct cli_config *cfg = NULL;
        struct err_text why = { 0 };
        enum err e = cli_config_load(argv[i], &cfg, &report, &why);
        if (e == OK) {
            e = cli_config_check_exposure(cfg, &why);
            if (e)
                cli_fail("%s: %s", argv[i], why.msg);
        }
        struct rules_load *rules = NULL;
        if (e == OK)
            e = cli_rules_load(cfg, 0, &rules, &report, &why);
        rules_load_unref(rules);
        struct am_config *am = NULL;
        if (e == OK)
            e = cli_alertmanager_load(cfg, &am, &report, &why);
        am_config_unref(am);
        if (report.n)
            fwrite(report.p, 1, report.n, e ? stderr : stdout);
        if (e && report.n == 0 && !cfg)
            cli_fail("%s", why.msg);
        if (e)
            worst = CLI_FAILED;
        else
            printf("%s: ok\n", argv[i]);
        cli_config_free(cfg);
    }
    return worst;
}

const struct cli_command cli_check_config = {
    .name = "check config",
    .summary = "check vane.yaml or prometheus.yml files",
    .help = "usage: vane check config FILE...\n"
            "\n"
            "Reads each file as `vane serve --config FILE` would, with what it includes and its rule files, and prints "
            "every error as\n"
            "file:line:column with the line. Exit code 0 when all are valid, 1 otherwise.\n",
    .run = run,
};
