/* Past data straight into segments, past head and log: imports. What is there already wins over what is imported (at the same
 * time of the same series); nothing is limited by the out-of-order window.
 *
 *   tsdb_bulk_open(db, flags, &b);
 *   tsdb_bulk_add(b, &series, &why) ...   day by day (UTC), within a day series in order of their labels
 *   tsdb_bulk_commit(b, &result, &why);   all of it becomes visible and durable in one step, or nothing
 *
 * Any other order is fine too, but costs a segment wherever it goes back. A process that ends before the commit leaves nothing
 * behind; the same import again changes nothing that a query could see.
 * Threads: one per bulk, any number of bulks. */
#ifndef VANE_TSDB_BULK_H
#define VANE_TSDB_BULK_H

#include "tsdb/tsdb.h"

struct tsdb_bulk;

struct tsdb_bulk_series {
    struct labels labels; /* sorted */
    enum metric_type type;
    /* n points, ascending in time, each time once, all of one day (UTC). timeline is not looked at. A series that lacks h or start_ms has NULL. */
    struct tsdb_points points;
    const struct exemplar *exemplars; /* of that day */
    size_t n_exemplars;
};

struct tsdb_bulk_result {
    uint64_t samples, histograms, exemplars; /* taken; histograms count as samples too */
    uint64_t rows;                           /* series, counted once per segment */
    uint64_t rejected[TSDB_REJECT_N];        /* samples */
    struct err_text first;                   /* the first refusal in words */
    uint64_t segments, bytes;
    int64_t min_ms, max_ms; /* of what was taken; min > max: nothing */
};

enum tsdb_bulk_flags {
    /* Take what retention would drop, and times that lie in the future: the caller has looked. */
    TSDB_BULK_ANY_AGE = 1,
};
enum err tsdb_bulk_open(struct tsdb *db, unsigned flags, struct tsdb_bulk **ret) MUST_CHECK;
/* Samples that may not be stored (labels, age) are counted and left out. ERR_INVALID: not ascending, more than one day.
 * ERR_NO_SPACE, ERR_IO: give up (abort). Keeps no pointer. */
enum err tsdb_bulk_add(struct tsdb_bulk *b, const struct tsdb_bulk_series *s, struct err_text *reterr) MUST_CHECK;
/* Metadata of a family; does not replace what is known already. */
void tsdb_bulk_family(struct tsdb_bulk *b, str name, const struct metric_meta *m);
uint64_t tsdb_bulk_samples(const struct tsdb_bulk *b); /* taken so far */
/* Frees b in any case. On error nothing has changed. */
enum err tsdb_bulk_commit(struct tsdb_bulk *b, struct tsdb_bulk_result *ret, struct err_text *reterr) MUST_CHECK;
void tsdb_bulk_abort(struct tsdb_bulk *b); /* NULL is fine */
/* Samples older than this are dropped by retention at its next round; INT64_MIN: none. */
int64_t tsdb_retention_edge(struct tsdb *db);

#endif
