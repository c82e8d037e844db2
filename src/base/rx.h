/* Regular expressions: RE2 syntax and semantics (what Prometheus' users write), linear time, behind the
 * only C++ file of the tree (rx.cc). `(?<n>..)` is accepted like `(?P<n>..)`; `\C` is refused.
 * Threads: a compiled expression may be used by any number of threads. */
#ifndef VANE_BASE_RX_H
#define VANE_BASE_RX_H

#include "base/err.h"
#include "base/buf.h"

#define RX_PATTERN_BYTES_MAX 65536
#define RX_GROUPS_MAX        100

struct rx;

/* anchored: the whole text must match (`^(?s:pattern)$`, as Prometheus' matchers and relabelling);
 * dot matches newline then. Returns ERR_PARSE with RE2's own words. */
enum err rx_compile(str pattern, bool anchored, struct rx **ret, struct err_text *reterr) MUST_CHECK;
void rx_free(struct rx *rx);
bool rx_match(const struct rx *rx, str text);
/* Submatches: groups[0] is the whole match; unmatched groups have p == NULL. Returns false if no match.
 * Searches from byte `start`. */
bool rx_find(const struct rx *rx, str text, size_t start, str *groups, size_t n_groups);
size_t rx_n_groups(const struct rx *rx);          /* capture groups, without the whole match */
str rx_group_name(const struct rx *rx, size_t i); /* STR_NONE if unnamed; i from 1 */
/* Expand Go's template ($1, ${1}, ${name}, $name, $$) from the groups of a match into out. */
void rx_expand(const struct rx *rx, str template_, const str *groups, size_t n_groups, struct buf *out);

/* What can be known of an anchored expression without running it. */
struct rx_info {
    str prefix;     /* every match starts with it (may be empty); owned by rx */
    const str *set; /* the whole language as literals, if finite and at most 256; owned by rx */
    size_t n_set;   /* 0: not a set */
    bool matches_empty;
};
const struct rx_info *rx_info(const struct rx *rx);

#endif
