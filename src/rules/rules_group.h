/* A rule group at work: evaluating its rules one after the other at one moment, writing what they give, and keeping the
 * state of alerts (Prometheus' rules.Group, AlertingRule, RecordingRule). Time is an argument everywhere: the server's
 * scheduler, unit tests of rules, backtests and drills drive the same code.
 *
 *   g = rules_group_new(&group, &env);  ...  rules_group_eval(g, ts_ms) every interval  ...  rules_group_free(g)
 *
 * Threads: one at a time per group. The facts (rules_group_rules) may be read while nobody evaluates. */
#ifndef VANE_RULES_RULES_GROUP_H
#define VANE_RULES_RULES_GROUP_H

#include <stdatomic.h>

#include "model/sample.h"
#include "rules/rules_file.h"

#define RULES_RESOLVED_KEEP_MS (15 * 60 * 1000) /* resolved alerts are told again for this long */

enum alert_state { ALERT_INACTIVE, ALERT_PENDING, ALERT_FIRING };
const char *alert_state_name(enum alert_state s); /* "inactive", "pending", "firing" */

struct rule_alert {
    const struct rule *rule;           /* set by rules_group_due_alerts() */
    struct labels labels, annotations; /* with alertname */
    enum alert_state state;
    double value;
    /* Times in ms; 0: not (yet). */
    int64_t active_at_ms, fired_at_ms, resolved_at_ms, keep_firing_since_ms;
    int64_t last_sent_ms, valid_until_ms; /* kept by rules_group_due_alerts() */
};
struct rule_facts { /* of one rule */
    const struct rule *rule;
    const char *health;       /* "unknown", "ok", "err" */
    const char *last_error;   /* "" */
    int64_t last_eval_ms;     /* 0: never */
    int64_t eval_duration_ns; /* wall */
    uint64_t evaluations, failures;
    size_t n_samples;                 /* of the last evaluation */
    struct rule_alert *const *alerts; /* active and lately resolved ones */
    size_t n_alerts;
};

struct rules_env { /* borrowed as long as the group lives */
    struct promql_engine *engine;
    struct promql_source *source;
    struct labels external_labels;
    str external_url;
    int64_t default_interval_ms, default_query_offset_ms;
    const atomic_bool *cancel; /* ends evaluations with ERR_CANCELLED; may be NULL */
    /* Store samples; they must be visible to the next query of the group. */
    void *ctx;
    enum err (*append)(void *ctx, const struct batch *b, struct err_text *reterr);
};

struct rules_group;
/* group must live as long. */
struct rules_group *rules_group_new(const struct rule_group *group, const struct rules_env *env);
void rules_group_free(struct rules_group *g);
/* After a reload: alerts and series of rules that are the same (name, labels, expression) go on. Series of rules that
 * are gone get a staleness marker at the next evaluation. old keeps nothing of use. */
void rules_group_inherit(struct rules_group *g, struct rules_group *old);
/* One round at ts. A rule that fails is marked so and does not stop the others; the error is the first one's. */
enum err rules_group_eval(struct rules_group *g, int64_t ts_ms, struct err_text *reterr);
/* Staleness markers for everything the group has written: before it goes for good. */
void rules_group_retire(struct rules_group *g, int64_t ts_ms);

const struct rule_group *rules_group_source(const struct rules_group *g);
int64_t rules_group_interval_ms(const struct rules_group *g);
size_t rules_group_n_rules(const struct rules_group *g);
struct rule_facts rules_group_rule(const struct rules_group *g, size_t i);

/* Alerts to be told to the notifier now: firing ones every resend_delay, resolved ones until they are forgotten.
 * Marks them as sent. In a; the alerts are valid until the next evaluation. */
size_t rules_group_due_alerts(struct rules_group *g, int64_t ts_ms, int64_t resend_delay_ms, struct arena *a,
                              struct rule_alert ***ret);
/* Put back an alert from before a restart (its state was saved by whoever runs the group). rule: index. */
void rules_group_restore_alert(struct rules_group *g, size_t rule, const struct rule_alert *saved);

#endif
