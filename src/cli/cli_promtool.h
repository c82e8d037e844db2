/* vane under the name promtool: check rules, config and metrics, test rules, queries; its output and exit codes. */
#ifndef VANE_CLI_CLI_PROMTOOL_H
#define VANE_CLI_CLI_PROMTOOL_H

#include "base/buf.h"

int cli_promtool_main(int argc, char **argv);

/* cli_promlint.c: what is unusual about an exposition, a line "metric text" each, sorted, into out; returns how many.
 * ERR_PARSE: it is none. */
enum err cli_promlint(str text, struct buf *out, size_t *ret_n, struct err_text *reterr) MUST_CHECK;
/* "Metric  Cardinality  Percentage" of the families, most series first. */
enum err cli_promlint_cardinality(str text, struct buf *out, struct err_text *reterr) MUST_CHECK;

#endif
