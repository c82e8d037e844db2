/* rules inside: rules_file.c reads files, rules_group.c runs groups, rules_alert.c keeps the alerts of
 * one rule, rules_verdict.c tells of data that is absent and rules that fail, rules_query.c asks. */
#ifndef VANE_RULES_RULES_INT_H
#define VANE_RULES_RULES_INT_H

#include "base/check.h"
#include "base/hash.h"
#include "model/histogram_math.h"
#include "rules/rules_group.h"

struct kept_alert {       /* first: what everybody sees */
    struct rule_alert al; /* labels and annotations: a block of memory each, owned */
    uint64_t hash;        /* of the labels */
    bool seen;            /* in this evaluation */
};
struct alert_book {             /* alerts of one rule, by the hash of their labels */
    VEC(struct rule_alert *) v; /* each a struct kept_alert */
};
/* One round of an alerting rule: from the vector to new states and the samples of ALERTS, ALERTS_FOR_STATE in out. */
enum err alerts_round(struct alert_book *book, const struct rules_env *env, const struct rule *rule, uint64_t limit,
                      int64_t ts_ms, int64_t query_ts_ms, const struct promql_result *r, struct arena *a,
                      struct batch *out, struct err_text *reterr) MUST_CHECK;
void alerts_free(struct alert_book *book);
struct kept_alert *alerts_add(struct alert_book *book, const struct rule_alert *al);

/* An instant query; a scalar becomes a vector (but a string or matrix stays what it is). parsed: the text parsed before, or NULL. */
enum err rules_ask(const struct rules_env *env, str text, const struct promql_expr *parsed, int64_t ts_ms,
                   struct arena *a, struct promql_result *ret, struct err_text *reterr) MUST_CHECK;
/* What rule i of g gave at ts becomes alerts or recorded samples. */
enum err rules_group_settle(struct rules_group *g, size_t i, int64_t ts_ms, struct promql_result *result,
                            struct arena *a, struct err_text *reterr) MUST_CHECK;
/* A copy in one block of memory. */
struct labels rules_labels_own(struct labels ls);
void rules_labels_disown(struct labels ls);

/* A series with one sample, in a. */
void out_sample(struct batch *out, struct labels ls, int64_t ts_ms, double v, const struct histogram *h);

#endif
