/* A source over a source: series of some names come from a small store in memory, all others from below. */
#ifndef VANE_RULES_RULES_OVERLAY_H
#define VANE_RULES_RULES_OVERLAY_H

#include "rules/rules_memory.h"

struct rules_overlay {
    struct promql_source src; /* first: this is the source */
    struct promql_source *base;
    struct rules_memory *memory;
    const str *names; /* sorted; of metrics that are the memory's alone */
    size_t n_names;
};
void rules_overlay_init(struct rules_overlay *o, struct promql_source *base, struct rules_memory *memory,
                        const str *names, size_t n_names);
bool rules_overlay_hides(const struct rules_overlay *o, str name);

#endif
