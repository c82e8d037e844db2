/* Rule packs: ready-made rule files (rules/NAME.yml) and the runbook pages of their alerts (docs/runbook/ALERT.md), part of
 * the program. A configuration names packs; a page is shown at /runbook/ALERT.
 * Threads: any. Everything lives for ever. */
#ifndef VANE_RULES_RULES_PACKS_H
#define VANE_RULES_RULES_PACKS_H

#include "base/str.h"

struct rule_text {
    str name; /* "availability", "HighErrorRate" */
    str text; /* YAML, Markdown */
};
extern const struct rule_text rules_packs[], rules_runbooks[]; /* sorted by name */
extern const size_t rules_packs_n, rules_runbooks_n;

const struct rule_text *rules_pack_find(str name); /* NULL: there is none */
const struct rule_text *rules_runbook_find(str name);
str rules_pack_nearest(str name); /* did they mean this one? may be empty */

#endif
