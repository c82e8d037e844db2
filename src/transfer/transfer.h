/* Room `transfer`: whole stores in and out. Sources (a Prometheus data folder, OpenMetrics text) hand series to a sink; the sink is
 * the store itself (tsdb_bulk) or somebody who sends them on. The way out is an export that is pulled piece by piece.
 *
 *   transfer_prom_open(fs, dir, &cfg, &p, &why);            what is there, checked as far as it was read
 *   transfer_prom_read(p, from, to, &sink, &result, &why);  all samples in [from, to]
 *
 * Nothing is invented: a checksum that does not match or bytes that do not decode end the read with the file and offset. The tail
 * that a killed Prometheus left half written is told as a note instead.
 * Memory: blocks are mapped and read one day at a time; the head (log) is gathered up to cfg.memory_max, then handed over.
 * Threads: one per object. */
#ifndef VANE_TRANSFER_TRANSFER_H
#define VANE_TRANSFER_TRANSFER_H

#include "model/matcher.h"
#include "tsdb/tsdb_bulk.h"

/* Where series go: day by day, within a day in order of labels, as tsdb_bulk_add wants them. */
struct transfer_sink {
    void *ctx;
    enum err (*series)(void *ctx, const struct tsdb_bulk_series *s, struct err_text *reterr);
    void (*family)(void *ctx, str name, const struct metric_meta *m); /* may be NULL */
};
struct transfer_sink transfer_sink_bulk(struct tsdb_bulk *b);

/* ---- gathering: samples in any order -> series of days, ascending, each time once (the last one written wins) ---- */
struct gather;
struct gather *gather_new(void);
void gather_free(struct gather *g); /* NULL is fine */
/* The number of a series: for gather_point. Labels are copied when they are new. */
uint32_t gather_series(struct gather *g, struct labels ls, enum metric_type type);
struct labels gather_labels(const struct gather *g, uint32_t series);
void gather_point(struct gather *g, uint32_t series, int64_t ts_ms, double v, const struct histogram *h,
                  int64_t start_ms);                                               /* h is copied */
void gather_exemplar(struct gather *g, uint32_t series, const struct exemplar *e); /* copied */
void gather_batch(struct gather *g, const struct batch *b);                        /* samples, not families */
uint64_t gather_bytes(const struct gather *g);                                     /* memory held */
/* Hand all over and be empty again. Series keep their numbers if keep_series. */
enum err gather_drain(struct gather *g, bool keep_series, const struct transfer_sink *to,
                      struct err_text *reterr) MUST_CHECK;

/* ---- Prometheus' data folder ---- */
struct transfer_prom;
struct transfer_prom_config {
    void *ctx;
    void (*note)(void *ctx, const char *text); /* what was passed over, and why; may be NULL */
    void (*progress)(void *ctx, double share); /* may be NULL */
    const struct matcher *m;                   /* only series that match all; n_matchers 0: all */
    size_t n_matchers;
    uint64_t memory_max; /* of gathered samples; 0 = 256 MiB */
};
struct transfer_prom_facts {
    size_t blocks;
    uint64_t block_samples; /* as their meta.json says */
    bool head;              /* there is a log, head chunks or a memory snapshot */
    uint64_t head_series;
    int64_t min_ms, max_ms; /* of blocks and head, as far as known; min > max: nothing */
};
/* DIR is a data folder (--storage.tsdb.path), a snapshot of one, or a single block. */
enum err transfer_prom_open(struct fs *fs, const char *dir, const struct transfer_prom_config *cfg,
                            struct transfer_prom **ret, struct err_text *reterr) MUST_CHECK;
void transfer_prom_close(struct transfer_prom *p);
void transfer_prom_facts(const struct transfer_prom *p, struct transfer_prom_facts *ret);
enum err transfer_prom_read(struct transfer_prom *p, int64_t from_ms, int64_t to_ms, const struct transfer_sink *to,
                            struct err_text *reterr) MUST_CHECK;

/* ---- OpenMetrics text in ---- */
struct transfer_text {
    void *ctx;
    enum err (*read)(void *ctx, char *p, size_t n, size_t *ret_n, struct err_text *reterr); /* *ret_n 0: the end */
    uint64_t memory_max;                                                                    /* 0 = 256 MiB */
};
struct transfer_text_result {
    uint64_t lines, samples, exemplars, series_refused;
    struct err_text first; /* why a series was refused */
};
/* Every sample must have a timestamp and the text must end with # EOF; of any length. ERR_PARSE with the line. */
enum err transfer_openmetrics_in(const struct transfer_text *t, const struct transfer_sink *to,
                                 struct transfer_text_result *ret, struct err_text *reterr) MUST_CHECK;

/* ---- OpenMetrics text out ---- */
struct transfer_export;
struct transfer_selector { /* all of its matchers */
    const struct matcher *m;
    size_t n;
};
struct transfer_export_config {
    const struct transfer_selector *selectors; /* any of them; n_selectors 0: everything. Must live as long */
    size_t n_selectors;
    int64_t from_ms, to_ms; /* inclusive */
};
struct transfer_export_result {
    uint64_t families, series, samples, exemplars;
    uint64_t left_out_histograms; /* native histograms: the format has no form for them */
    uint64_t left_out_stale;      /* staleness markers: nor for these */
    uint64_t left_out_nameless;   /* series without a name */
    bool incomplete;              /* a damaged page was met: the text misses samples */
    struct err_text why;
};
enum err transfer_export_open(struct tsdb *db, const struct transfer_export_config *cfg, struct transfer_export **ret,
                              struct err_text *reterr) MUST_CHECK;
/* Append the next piece, ending with a whole line. false: that was the last one (# EOF is out), or an error (*ret_err). Holds one day of one
 * metric (all buckets of one histogram) in memory. */
bool transfer_export_next(struct transfer_export *x, struct buf *out, enum err *ret_err, struct err_text *reterr);
void transfer_export_result(const struct transfer_export *x, struct transfer_export_result *ret);
void transfer_export_close(struct transfer_export *x); /* NULL is fine */

#endif
