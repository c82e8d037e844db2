/* Relabelling: rules that rewrite a label set or drop it, with the exact semantics of Prometheus' relabel_configs.
 * Spec: prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config
 *
 * Threads: rules are read-only once decoded; relabel_apply may run on any number of threads, each with its own
 * builder and scratch. */
#ifndef VANE_RELABEL_RELABEL_H
#define VANE_RELABEL_RELABEL_H

#include "conf/conf.h"
#include "model/labels.h"

#define RELABEL_ACTIONS(X)                                                         \
    X(REPLACE, "replace", "set target_label to replacement, if regex matches")     \
    X(KEEP, "keep", "drop the set unless regex matches")                           \
    X(DROP, "drop", "drop the set if regex matches")                               \
    X(KEEPEQUAL, "keepequal", "drop the set unless source equals target_label")    \
    X(DROPEQUAL, "dropequal", "drop the set if source equals target_label")        \
    X(HASHMOD, "hashmod", "set target_label to hash of source modulo modulus")     \
    X(LABELMAP, "labelmap", "copy labels whose name matches regex to replacement") \
    X(LABELDROP, "labeldrop", "remove labels whose name matches regex")            \
    X(LABELKEEP, "labelkeep", "remove labels whose name does not match regex")     \
    X(LOWERCASE, "lowercase", "set target_label to source in lower case")          \
    X(UPPERCASE, "uppercase", "set target_label to source in upper case")

enum relabel_action {
#define X(id, name, help) RELABEL_##id,
    RELABEL_ACTIONS(X)
#undef X
        RELABEL_NO_ACTION,
};
enum name_scheme { NAMES_UNSET, NAMES_LEGACY, NAMES_UTF8 }; /* which label and metric names are valid */
#define NAME_SCHEME_NAMES ((const char *const[]){ "", "legacy", "utf8", NULL })

struct relabel_rule {
    CONF_LIST_OF(str) source_labels;
    str separator;           /* ";" */
    struct conf_regex regex; /* "(.*)"; rx NULL means that default */
    uint64_t modulus;
    str target_label;
    str replacement; /* "$1" */
    enum relabel_action action;
    enum name_scheme names; /* NAMES_UNSET counts as UTF-8 */
};
struct relabel_rules {
    struct relabel_rule *p;
    size_t n;
};
extern const struct conf_schema relabel_rule_schema;
/* A row of a schema table: key -> struct relabel_rules; `what` as in "empty or null metric relabeling rule". */
#define CF_RELABEL(T, member, key_, what)                                             \
    CF(T, member, key_, CONF_LIST, .of = CONF_STRUCT, .schema = &relabel_rule_schema, \
       .empty_text = "empty or null " what " relabeling rule")

/* Prometheus' rules for a single rule, in its words. ERR_INVALID. The decoder calls it. */
enum err relabel_validate(const struct relabel_rule *r, struct err_text *reterr) MUST_CHECK;
/* Apply in order. Returns false when the set is dropped. New strings are made in b->a. */
bool relabel_apply(struct relabel_rules rules, struct label_builder *b);
/* Is name allowed under the scheme? (UTF-8: not empty, valid UTF-8) */
bool relabel_valid_name(str name, enum name_scheme scheme);

#endif
