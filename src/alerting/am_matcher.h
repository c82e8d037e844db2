/* Alertmanager's matchers: = != =~ !~ on labels of alerts. Unlike PromQL's, `.` in a regular expression does not
 * match a newline. Two notations: the classic one (unquoted values may hold almost anything) and the newer one with
 * UTF-8 names; by default a text is read by both and the classic reading wins where they differ. */
#ifndef VANE_ALERTING_AM_MATCHER_H
#define VANE_ALERTING_AM_MATCHER_H

#include "base/rx.h"
#include "conf/conf.h"
#include "model/labels.h"

#define AM_MATCHERS_MAX 1000 /* in one text */

enum am_match { AM_EQ, AM_NE, AM_RE, AM_NRE };
struct am_matcher {
    enum am_match type;
    str name, value;
    struct rx *rx; /* RE, NRE; owned by the list */
};
struct am_matchers {
    struct am_matcher *p; /* sorted by name, value, type */
    size_t n;
};
enum am_notation { AM_FALLBACK, AM_CLASSIC, AM_UTF8 };

/* name and value are copied into a. ERR_PARSE for a bad regular expression. */
enum err am_matcher_init(struct am_matcher *m, struct arena *a, enum am_match type, str name, str value,
                         struct err_text *reterr) MUST_CHECK;
/* `{a="b", c=~"d.*"}`, braces optional; "" and {} are no matchers. Free with am_matchers_free(). */
enum err am_matchers_parse(struct arena *a, str text, enum am_notation how, struct am_matchers *ret,
                           struct err_text *reterr) MUST_CHECK;
/* Exactly one. Outside AM_UTF8 braces are refused. */
enum err am_matcher_parse(struct arena *a, str text, enum am_notation how, struct am_matcher *ret,
                          struct err_text *reterr) MUST_CHECK;
void am_matchers_sort(struct am_matchers *m);
void am_matchers_free(struct am_matchers *m);                   /* the compiled expressions */
bool am_matcher_matches(const struct am_matcher *m, str value); /* an absent label has the value "" */
bool am_matchers_match(const struct am_matchers *m, struct labels ls);
bool am_matchers_eq(const struct am_matchers *a, const struct am_matchers *b);
void am_matcher_print(struct buf *out, const struct am_matcher *m);   /* name=~"value" */
void am_matchers_print(struct buf *out, const struct am_matchers *m); /* {a="b",c="d"} */
const char *am_match_text(enum am_match t);

/* Configuration: `match: {a: b}`, `match_re: {a: 'b.*'}` and `matchers: [...]` added up, for one struct. Any may be
 * NULL. Errors go to cx. The expressions are freed by conf_ctx_release(). */
enum err am_matchers_conf(struct conf_ctx *cx, const struct conf_node *match, const struct conf_node *match_re,
                          const struct conf_node *matchers, struct am_matchers *ret) MUST_CHECK;

#endif
