/* vane under the name amtool: its verbs, flags, output and exit codes. cli_amtool.c speaks with a server,
 * cli_amtool_print.c shows, cli_amtool_config.c reads alertmanager.yml. */
#ifndef VANE_CLI_CLI_AMTOOL_H
#define VANE_CLI_CLI_AMTOOL_H

#include <jansson.h>

#include "alerting/am_config.h"
#include "cli/cli_flags.h"
#include "cli/cli_http.h"

struct amtool {
    const char *url, *output, *timeout, *http_config_file, *date_format, *features;
    bool verbose, version_check;
    /* alert */
    bool inhibited, silenced, active, unprocessed;
    const char *receiver, *generator_url;
    struct cli_list annotations;
    /* alert add, silence add, silence update */
    const char *start, *end, *author, *duration, *comment;
    bool require_comment;
    /* silence */
    bool expired, quiet, force;
    const char *created_by, *id, *within, *workers;
    /* config routes */
    const char *config_file, *verify_receivers;
    bool tree;
    int64_t now_ms;
};

/* "amtool: error: ..." on stderr; 1. */
int amtool_fail(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* false after a message. */
bool amtool_open(const struct amtool *t, struct cli_http *h) MUST_CHECK;

int amtool_print_alerts(const struct amtool *t, json_t *alerts);
int amtool_print_silences(const struct amtool *t, json_t *silences);
int amtool_print_cluster(const struct amtool *t, const json_t *status);
int amtool_print_config(const struct amtool *t, const json_t *status);

int amtool_check_config(void *options, char **words, int n);
int amtool_routes_show(void *options, char **words, int n);
int amtool_routes_test(void *options, char **words, int n);

int cli_amtool_main(int argc, char **argv);

#endif
