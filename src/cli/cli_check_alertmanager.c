/* vane check alertmanager: reads an alertmanager.yml with its templates, and says all that is wrong with it. */
#include <getopt.h>

#include "alerting/am_config.h"
#include "cli/cli.h"
#include "tmpl/tmpl.h"

static bool check(const char *path)
{
    AUTO_BUF struct buf report = { 0 };
    struct am_config *c = NULL;
    struct err_text why = { 0 };
    enum err e = am_config_load(path, &c, &report, &why);
    if (report.n)
        fwrite(report.p, 1, report.n, e ? stderr : stdout);
    else if (e)
        cli_fail("%s: %s", path, why.msg);
    for (int html = 0; !e && html < 2; html++) {
        struct tmpl_set *set = NULL;
        e = am_config_templates(c, html, &set, &why);
        if (e)
            cli_fail("%s: %s", path, why.msg);
        else
            tmpl_set_free(set);
    }
    if (!e)
        printf("%s: ok (%zu routes, %zu receivers, %zu inhibition rules, %zu time intervals)\n", path, c->n_routes,
               c->receivers.n, c->inhibit.n, c->n_intervals);
    am_config_unref(c);
    return e == OK;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    static const struct option options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
    for (int opt, code; (opt = getopt_long(argc, argv, "h", options, NULL)) != -1;)
        if (cli_option_ends(self, opt, &code))
            return code;
    if (optind == argc)
        return cli_usage(self, "name at least one file");
    int worst = CLI_OK;
    for (int i = optind; i < argc; i++)
        if (!check(argv[i]))
            worst = CLI_FAILED;
    return worst;
}

const struct cli_command cli_check_alertmanager = {
    .name = "check alertmanager",
    .summary = "check alertmanager.yml files",
    .help = "usage: vane check alertmanager FILE...\n"
            "\n"
            "Reads each file with its templates as Alertmanager would, and prints every error as file:line:column\n"
            "with the line. Exit code 0 when all are valid, 1 otherwise.\n",
    .run = run,
};
