/* vane blackbox: what processes with libvane left behind, read from their mapped files. */
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "cli/cli.h"
#include "sdk/sdk_blackbox.h"

static int print(void *ctx, const char *p, size_t n)
{
    return fwrite(p, 1, n, ctx) != n;
}

static int run(const struct cli_command *self, int argc, char **argv)
{
    static const struct option options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
    for (int opt, code; (opt = getopt_long(argc, argv, "h", options, NULL)) != -1;)
        if (cli_option_ends(self, opt, &code))
            return code;
    if (argc - optind != 1)
        return cli_usage(self, "name one folder or file");
    int shown = sdk_blackbox_print(argv[optind], print, stdout);
    if (shown < 0)
        return cli_fail("%s: %s", argv[optind], strerror(errno));
    if (fflush(stdout))
        return cli_fail("standard output: %s", strerror(errno));
    return shown ? CLI_OK : cli_fail("%s: no readable file of libvane (vane_*.vsm) is there", argv[optind]);
}

const struct cli_command cli_blackbox = {
    .name = "blackbox",
    .summary = "the last metrics, spans and log lines of processes that died",
    .help = "usage: vane blackbox DIR|FILE\n"
            "\n"
            "Prints what processes instrumented with libvane left in DIR (their VANE_BLACKBOX_DIR or "
            "PROMETHEUS_MULTIPROC_DIR):\n"
            "who they were, whether they run, stopped or died, the values of their metrics up to the last instruction, "
            "the\n"
            "finished spans and the log lines that still lie in their rings, oldest first.\n"
            "Writes nothing. Exit code 1 when there is nothing to show.\n",
    .run = run,
};
