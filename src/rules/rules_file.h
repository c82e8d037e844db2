/* Rule files as Prometheus reads them: groups of recording and alerting rules, decoded strictly with file, line and
 * column in every error. A Kubernetes PrometheusRule document (groups under `spec`) is read like a plain file. */
#ifndef VANE_RULES_RULES_FILE_H
#define VANE_RULES_RULES_FILE_H

#include "conf/conf.h"
#include "model/labels.h"
#include "promql/ast.h"

struct rule_verdict { /* on_absent, on_error: an extension of vane (docs/rules.md) */
    bool on;
    int64_t for_ms;
    struct labels labels; /* of the alert; severity among them */
    const str *by;        /* labels that tell sources apart: job unless said; of on_error: rule_group */
    size_t n_by;
    str id;      /* equal for equal settings */
    str sources; /* of on_absent: the expression whose series are the sources; empty: there are none */
};
struct rule {
    bool alerting;
    str name; /* of the alert or the recorded metric */
    str expr;
    const struct promql_expr *parsed; /* rules_file_release() frees what it holds */
    int64_t for_ms, keep_firing_for_ms;
    struct labels labels;                    /* sorted; alerting rules: templates; the group's labels are merged in */
    struct labels annotations;               /* templates */
    struct rule_verdict on_absent, on_error; /* of alerting rules; the group's unless given */
    uint32_t line;
};
struct rule_group {
    str file, name;
    int64_t interval_ms; /* 0: the default */
    bool has_query_offset;
    int64_t query_offset_ms;
    uint64_t limit; /* series or alerts a rule may give; 0: no limit */
    struct labels labels;
    struct rule_verdict on_absent, on_error; /* of its alerting rules */
    struct rule *rules;
    size_t n_rules;
};
struct rule_file {
    str path;
    struct rule_group *groups;
    size_t n_groups;
};

struct rules_options {
    unsigned features; /* enum promql_feature */
    bool legacy_names; /* names must match [a-zA-Z_][a-zA-Z0-9_]*; otherwise any UTF-8 */
    bool ignore_unknown_fields;
    bool strict_prometheus; /* vane's extensions are unknown fields, as they are to Prometheus */
};
/* Read and check one file. Everything lives in cx->a, but for regular expressions: rules_file_release(). Errors are in cx (all of them), ERR_INVALID then; what is
 * suspicious but allowed becomes a warning there. */
enum err rules_file_load(struct conf_ctx *cx, const char *path, const struct rules_options *opt,
                         struct rule_file *ret) MUST_CHECK;
enum err rules_file_parse(struct conf_ctx *cx, str path, str text, const struct rules_options *opt,
                          struct rule_file *ret) MUST_CHECK;
void rules_file_release(struct rule_file *f); /* before its arena goes */
/* Rules of one file with the same name and labels: promtool's lint "duplicate-rules". Pairs into ret, in cx->a. */
struct rule_duplicate {
    const struct rule *rule;
    const struct rule_group *group;
};
size_t rules_file_duplicates(struct arena *a, const struct rule_file *f, struct rule_duplicate **ret);

/* What alerting rules put before every template of theirs, so that $labels, $value ... are known. */
#define RULES_TEMPLATE_DEFS                                                                        \
    "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}" \
    "{{$value := .Value}}"

#endif
