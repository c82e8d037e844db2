/* Private to rules: what on_absent and on_error of alerting rules become (rules_verdict.c). */
#ifndef VANE_RULES_RULES_VERDICT_H
#define VANE_RULES_RULES_VERDICT_H

#include "rules/rules_group.h"

struct rule_source {
    struct labels labels; /* owned */
    int64_t seen_ms;
};
struct rule_sources { /* that one rule has seen */
    VEC(struct rule_source) v;
    bool asked; /* what was there before the start */
};
void rules_sources_free(struct rule_sources *known);

/* For rule_verdict.id and .sources of a rule that has been read. */
str rules_verdict_id(struct arena *a, const struct rule_verdict *v);
str rules_verdict_sources(struct arena *a, const struct rule *r);

/* After an evaluation at ts: samples of the verdicts that hold, into out. */
enum err rules_verdict_absent(const struct rules_env *env, const struct rule_group *g, const struct rule *r,
                              int64_t ts_ms, struct rule_sources *known, struct batch *out,
                              struct err_text *reterr) MUST_CHECK;
/* Labels of what a process before this one wrote of the rule and has not ended; sorted, in a. */
enum err rules_verdict_written(const struct rules_env *env, const struct rule_group *g, const struct rule *r,
                               int64_t ts_ms, struct arena *a, struct labels **ret, size_t *ret_n) MUST_CHECK;
void rules_verdict_failing(const struct rule_group *g, const struct rule *r, int64_t ts_ms, struct batch *out);

/* The group that alerts on the verdicts of all rules in these files, as a file of its own; no groups if none asks for it. */
enum err rules_verdicts_file(struct arena *a, struct rule_file *const *files, size_t n, unsigned features,
                             struct rule_file *ret, struct err_text *reterr) MUST_CHECK;

#endif
