/* Rules tried on the past: when would they have fired? The engine is the one that runs them (for, keep_firing_for, limits,
 * templates); the expressions are asked as range queries, a piece of time after the other, which gives the same values as
 * asking moment by moment and takes a fraction of the time. Where it would not (a rule that reads what it or a later one of
 * its group recorded, or ALERTS; `@ start()`, `@ end()`; a piece that fails), the moments are asked one by one.
 *
 * What the rules record goes into memory and hides what is stored under those names. Nothing is written. on_absent and
 * on_error are not tried. Threads: one per call. */
#ifndef VANE_RULES_RULES_BACKTEST_H
#define VANE_RULES_RULES_BACKTEST_H

#include "rules/rules_group.h"

struct rules_backtest_config { /* borrowed during the call */
    struct promql_engine *engine;
    struct promql_source *source;
    unsigned features;                    /* the engine's */
    int64_t from_ms, to_ms;               /* evaluations from..to, both included */
    int64_t interval_ms, query_offset_ms; /* of groups that name none */
    struct labels external_labels;
    str external_url;
    int64_t time_ms_max;       /* wall; 0: two minutes. What has been done by then is the result */
    size_t samples_max;        /* recorded by the rules and kept in memory; 0: 5 million */
    size_t episodes_max;       /* kept of a rule, the latest; 0: 1000. All are counted */
    const atomic_bool *cancel; /* may be NULL */
    bool recording_only;       /* alerting rules are left out: a backfill */
    /* May be NULL: what the rules record, a moment of a rule at a time, staleness markers too. */
    void *recorded_ctx;
    enum err (*recorded)(void *ctx, const struct batch *b, struct err_text *reterr);
};
struct rules_episode {                        /* an alert that fired */
    struct labels labels, annotations;        /* as it began to fire */
    double value;                             /* then */
    int64_t active_ms, fired_ms, resolved_ms; /* resolved 0: it fired still at the end */
};
struct rules_trial { /* of one rule */
    const struct rule_group *group;
    const struct rule *rule;
    uint64_t evaluations, failures;
    str last_error;
    uint64_t samples;               /* recorded */
    uint64_t n_fired;               /* episodes */
    int64_t firing_ms;              /* of all episodes together */
    uint64_t n_only_pending;        /* pending alerts that ended before they fired */
    struct rules_episode *episodes; /* by time of firing */
    size_t n_episodes;
};
struct rules_backtest_result {
    struct rules_trial *trials; /* of all rules, in their order */
    size_t n_trials;
    int64_t reached_ms; /* to_ms, or where a limit ended it */
    str why;            /* "" or which limit */
};
/* Everything of ret lives in a. ERR_INVALID (times, too many evaluations), ERR_CANCELLED. */
enum err rules_backtest(const struct rules_backtest_config *cfg, const struct rule_group *const *groups,
                        size_t n_groups, struct arena *a, struct rules_backtest_result *ret,
                        struct err_text *reterr) MUST_CHECK;

#endif
