/* Command lines of programs whose names vane also answers to (amtool, promtool): trees of verbs, each with flags, read
 * as those programs read them: flags anywhere behind their verb, --flag=value and --flag value, --no-flag, -abc, a
 * default verb where none is named; wrong lines give "PROG: error: ..., try --help" and exit code 1. */
#ifndef VANE_CLI_CLI_FLAGS_H
#define VANE_CLI_CLI_FLAGS_H

#include <stdbool.h>
#include <stddef.h>

enum cli_flag_kind { CLI_FLAG_BOOL, CLI_FLAG_TEXT, CLI_FLAG_LIST };
struct cli_list {
    const char **p; /* room for as many as there are words on the line */
    size_t n;
};
struct cli_flag {
    const char *name;
    char letter; /* 0: none */
    enum cli_flag_kind kind;
    size_t at;        /* of a bool, const char * or struct cli_list in the options */
    const char *help; /* NULL: not shown */
};
struct cli_verb {
    const char *name, *help;
    const struct cli_flag *flags;
    size_t n_flags;
    const struct cli_verb *subs; /* NULL: words are arguments */
    size_t n_subs;
    bool has_default;    /* the first of subs is meant when none is named */
    const char *args[3]; /* names of arguments for messages; the last one may repeat ("rule-files...") */
    int n_args, n_required;
    int (*run)(void *options, char **words, int n);
};
enum { CLI_VERB_DEPTH_MAX = 4 };

/* Reads the line and runs the verb; what that returns, 0 after --help and --version, 1 after a message. */
int cli_flags_run(const char *prog, const struct cli_verb *root, void *options, int argc, char **argv);

#endif
