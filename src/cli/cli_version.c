/* vane version */
#include <getopt.h>

#include "base/json.h"
#include "cli/cli.h"

static int run(const struct cli_command *self, int argc, char **argv)
{
    static const struct option options[] = { { "output", required_argument, NULL, 'o' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    enum cli_output output = CLI_TABLE;
    for (int opt, code; (opt = getopt_long(argc, argv, "o:h", options, NULL)) != -1;) {
        if (cli_option_ends(self, opt, &code))
            return code;
        if (!cli_parse_output(optarg, &output))
            return cli_usage(self, "--output is table or json, not '%s'", optarg);
    }
    if (output == CLI_TABLE) {
        printf("vane %s (revision %s, %s)\n", cli_version_text, cli_version_revision, cli_version_compiler);
        return CLI_OK;
    }
    AUTO_BUF struct buf b = { 0 };
    struct json_out j = json_out_init(&b);
    json_obj(&j);
    json_kstr(&j, "version", str_c(cli_version_text));
    json_kstr(&j, "revision", str_c(cli_version_revision));
    json_kstr(&j, "branch", str_c(cli_version_branch));
    json_kstr(&j, "compiler", str_c(cli_version_compiler));
    json_obj_end(&j);
    printf("%.*s\n", (int)b.n, b.p);
    return CLI_OK;
}

const struct cli_command cli_version = {
    .name = "version",
    .summary = "print the version",
    .help = "usage: vane version [--output table|json]\n",
    .run = run,
};
