/* Label matchers: = != =~ !~. A missing label has the empty value. Regexes are anchored RE2. */
#ifndef VANE_MODEL_MATCHER_H
#define VANE_MODEL_MATCHER_H

#include "base/rx.h"
#include "model/labels.h"

enum match_type { MATCH_EQ, MATCH_NE, MATCH_RE, MATCH_NRE };

struct matcher {
    enum match_type type;
    str name, value;
    struct rx *rx; /* MATCH_RE, MATCH_NRE */
};

/* name and value are borrowed. ERR_PARSE for a bad regex. matcher_deinit frees the regex. */
enum err matcher_init(struct matcher *m, enum match_type type, str name, str value, struct err_text *reterr) MUST_CHECK;
void matcher_deinit(struct matcher *m);
bool matcher_matches(const struct matcher *m, str value);
bool matcher_matches_labels(const struct matcher *m, struct labels ls);
bool matchers_match(const struct matcher *m, size_t n, struct labels ls);
/* Does it match a series that lacks the label? */
bool matcher_matches_empty(const struct matcher *m);
void matcher_print(struct buf *out, const struct matcher *m); /* name=~"value" */

#endif
