/* Room `ingest`: the one way into the metrics store. Whatever brings samples (scrapes, remote write, OTLP, pushes, this
 * machine, vane itself) hands its batch over here.
 *
 *   ingest_open(&cfg, db, &in, &why) ... ingest_append(in, &batch, &who, &result) ... ingest_close(in)
 *
 * Series that the head has already pass at no cost; only a series that would be new is looked at.
 *
 * Threads: every function may be called from any thread. */
#ifndef VANE_INGEST_INGEST_H
#define VANE_INGEST_INGEST_H

#include "tsdb/tsdb.h"

struct ingest;
struct ingest_config {
    struct clock *clock; /* NULL: os_clock() */
};
enum err ingest_open(const struct ingest_config *cfg, struct tsdb *db, struct ingest **ret,
                     struct err_text *reterr) MUST_CHECK;
void ingest_close(struct ingest *in); /* NULL is fine; nobody may write any more */

/* Who writes. Zeroed: a sender of which nothing is known. */
struct ingest_source {
    str tenant; /* of the sender; empty: the default one. Ignored while there are no tenants */
    unsigned flags;
};
enum ingest_flags {
    INGEST_SCRAPES = 1 << 0,  /* a scrape: the series that report on it (up, scrape_...) are always taken */
    INGEST_REPLICAS = 1 << 1, /* replicas of one cluster may be sending: remote write, OTLP */
};
/* As tsdb_write; then tsdb_wait(ret->lsn). */
enum err ingest_append(struct ingest *in, const struct batch *b, const struct ingest_source *who,
                       struct tsdb_write_result *ret) MUST_CHECK;
/* What else decides about the meaning of a sender's label bytes: to be mixed into the salt of tsdb_known(). */
uint64_t ingest_salt(struct ingest *in, const struct ingest_source *who);

#endif
