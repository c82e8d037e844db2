/* Matchers on command lines and in Alertmanager's JSON, for `vane alerts`, `vane silences` and amtool. */
#ifndef VANE_CLI_CLI_AM_H
#define VANE_CLI_CLI_AM_H

#include <jansson.h>

#include "alerting/am_matcher.h"

/* A word alone stands for alertname="WORD". false: *ret_bad is the word and reterr why. Free with am_matchers_free(). */
bool cli_am_matchers(struct arena *a, char **words, int n, struct am_matchers *ret, const char **ret_bad,
                     struct err_text *reterr) MUST_CHECK;
json_t *cli_am_matchers_json(const struct am_matchers *m); /* [{"name","value","isRegex","isEqual"}] */
/* name=~"value", other="x": of such JSON, in a. */
str cli_am_matchers_text(struct arena *a, const json_t *list, const char *separator);
/* &filter=... for each, behind a path. */
void cli_am_filters(struct buf *path, const struct am_matchers *m);
/* [{"name":"a"},"b"] -> a,b; in a. */
str cli_am_names(struct arena *a, const json_t *list);

#endif
