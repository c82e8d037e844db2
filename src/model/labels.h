/* Labels: the identity of a series. Sorted by name (bytes), names unique, no empty values.
 * "__name__" is an ordinary label. Slices are borrowed; labels_copy() makes an owned set in an arena. */
#ifndef VANE_MODEL_LABELS_H
#define VANE_MODEL_LABELS_H

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/vec.h"

#define LABEL_NAME     STR("__name__")
#define LABEL_BUCKET   STR("le")
#define LABEL_QUANTILE STR("quantile")
#define LABEL_TENANT   STR("__tenant__") /* whose series it is, while there are tenants; senders may not set it */

struct label {
    str name, value;
};
struct labels {
    const struct label *p;
    size_t n;
};
#define LABELS_NONE ((struct labels){ 0 })
#define labels_each(it, ls) \
    for (const struct label *it = (ls).p, *it##_end = (ls).n ? (ls).p + (ls).n : (ls).p; it < it##_end; it++)

str labels_get(struct labels ls, str name); /* STR_NONE (p == NULL) if absent */
static inline bool labels_has(struct labels ls, str name)
{
    return labels_get(ls, name).p != NULL;
}
static inline str labels_name(struct labels ls)
{
    return labels_get(ls, LABEL_NAME);
}
bool labels_eq(struct labels a, struct labels b);
int labels_cmp(struct labels a, struct labels b);             /* Prometheus' labels.Compare */
struct labels labels_copy(struct arena *a, struct labels ls); /* strings too */
/* Canonical identity: hash over name, 0xff, value, 0xff for each label in order. */
hash128 labels_hash128(struct labels ls, uint64_t seed);
uint64_t labels_hash(struct labels ls);
/* Labels.Hash() of Prometheus 3 as it is released ("stringlabels"): XXH64 of each name and value behind its length (a byte; from
 * 255 on 0xff and three bytes, little endian). What limit_ratio chooses by. */
uint64_t labels_hash_prometheus(struct labels ls);
/* Hash / equality over, or without, the given names (sorted or not; few). For grouping and vector matching. */
bool labels_valid_name(str name);        /* legacy [a-zA-Z_][a-zA-Z0-9_]* */
bool labels_valid_metric_name(str name); /* legacy, with ':' */
/* {__name__="up", job="x"} -> up{job="x"}; names that are not legacy are quoted as Prometheus does. */
void labels_print(struct buf *out, struct labels ls);
void labels_json(struct json_out *j, struct labels ls); /* {"__name__":"up","job":"x"} */
/* The inverse, of a whole text; sorted, in a. false: it is not such an object. */
bool labels_read_json(struct arena *a, str text, struct labels *ret);

/* Builder: collect in any order, then sort and check. Setting an empty value removes the label. */
struct label_builder {
    struct arena *a; /* the array lives here; strings are borrowed */
    VEC(struct label) v;
};
void lb_init(struct label_builder *b, struct arena *a);
void lb_reset(struct label_builder *b, struct labels base);
void lb_set(struct label_builder *b, str name, str value); /* replaces; O(n) */
void lb_del(struct label_builder *b, str name);
str lb_get(const struct label_builder *b, str name);
struct labels lb_labels(struct label_builder *b); /* sorted copy in the arena, empties dropped */
/* Sort in place by name and drop labels with empty values; ERR_INVALID with the name if one occurs twice. */
enum err labels_sort(struct label *p, size_t *n, struct err_text *reterr);

#endif
