/* The rules of a running server: files become groups, a few threads evaluate each group every interval, what alerts
 * were goes on after a reload or a crash, and others see all of it as of the last evaluation.
 *
 *   rules_manager_open(&cfg, &m, &why)
 *   rules_load(&settings, &load, &report, &why)    reads and checks; changes nothing
 *   rules_manager_apply(m, load)                   now these groups run; the state of those that stay goes on
 *   rules_manager_start(m)                         evaluation begins (once everything can be queried)
 *   rules_manager_close(m)
 *
 * A group is due at moments t with t mod interval = hash(file, name) mod interval, and is evaluated as of that moment: groups
 * are spread over the interval, and the same in every process. Moments that passed while the group was busy are counted
 * as missed and skipped.
 *
 * State: with a control database the alerts of a group are written there, in one transaction, after each evaluation
 * that changed one, before the notifier hears of it. After a restart `for` and keep_firing_for go on by the clock on
 * the wall; if nothing ran for more than RULES_OUTAGE_MAX_MS, pending alerts begin anew.
 * Threads: rules_manager_apply, _start and _close by one thread at a time, everything else by any. */
#ifndef VANE_RULES_RULES_MANAGER_H
#define VANE_RULES_RULES_MANAGER_H

#include "base/os.h"
#include "control/control.h"
#include "rules/rules_group.h"

#define RULES_OUTAGE_MAX_MS   (60 * 60 * 1000)
#define RULES_FILES_MAX       10000u
#define RULES_RESEND_DELAY_MS 60000 /* firing alerts are told again this often */

/* ---- files ---- */
struct rules_settings { /* of one configuration; copied */
    const str *patterns;
    size_t n_patterns; /* rule_files: paths with * ? [...] in their last element */
    const str *packs;  /* names of rule packs (rules_packs.h); their file is "pack:NAME" */
    size_t n_packs;
    int64_t interval_ms, query_offset_ms; /* of groups that name none */
    struct labels external_labels;
    str external_url;
    struct rules_options read;
};
struct rules_load; /* all groups of one configuration; immutable, shared by reference count */
/* All files, all errors: those are in report (file:line:column, with the line), the first in reterr. ERR_INVALID then. */
enum err rules_load(const struct rules_settings *s, struct rules_load **ret, struct buf *report,
                    struct err_text *reterr) MUST_CHECK;
void rules_load_unref(struct rules_load *l); /* NULL is fine */
size_t rules_load_n_rules(const struct rules_load *l);

/* ---- running ---- */
struct rules_manager;
struct rules_manager_config { /* what it points to is borrowed */
    struct promql_engine *engine;
    struct promql_source *source;
    void *append_ctx; /* of append, as in struct rules_env */
    enum err (*append)(void *ctx, const struct batch *b, struct err_text *reterr);
    /* Alerts that are due: firing ones, and resolved ones until they are forgotten. Called by evaluating threads,
     * also by several at once; the alerts are valid during the call. NULL: nobody is told. */
    void *notify_ctx;
    void (*notify)(void *ctx, struct rule_alert *const *alerts, size_t n);
    struct control *control; /* NULL: alerts begin anew after a restart */
    struct clock *clock;
    unsigned threads; /* that evaluate; 0: 4 */
};
enum err rules_manager_open(const struct rules_manager_config *cfg, struct rules_manager **ret,
                            struct err_text *reterr) MUST_CHECK;
void rules_manager_close(struct rules_manager *m); /* NULL is fine; queries under way are cancelled */
/* Takes the reference. Waits for evaluations under way. Series of groups that are gone end with a staleness marker. */
void rules_manager_apply(struct rules_manager *m, struct rules_load *l);
void rules_manager_start(struct rules_manager *m);

/* ---- what others see ---- */
/* For groups that name none, of the configuration in use; m NULL or nothing applied: a minute, no offset. */
void rules_manager_defaults(struct rules_manager *m, int64_t *ret_interval_ms, int64_t *ret_query_offset_ms);
struct rules_view { /* a group as of its last evaluation; read-only */
    const struct rule_group *group;
    int64_t interval_ms, last_eval_ms, duration_ns; /* 0: never evaluated */
    uint64_t iterations, missed;
    struct rule_facts *rules; /* group->n_rules */
};
struct rules_snapshot { /* all groups, sorted by file and name */
    struct rules_view **groups;
    size_t n;
};
struct rules_snapshot rules_manager_snapshot(struct rules_manager *m); /* NULL: no groups */
void rules_snapshot_deinit(struct rules_snapshot *s);

#endif
