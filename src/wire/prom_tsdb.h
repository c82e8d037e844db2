/* Files of a Prometheus data folder: bytes -> model, pure. Who opens files and merges is src/transfer.
 * Layouts: tsdb/docs/format/ of Prometheus (index.md, chunks.md, tombstones.md, head_chunks.md, wal.md, memory_snapshot.md).
 * Numbers of these files are big endian. Every checksum that stands before used bytes is checked.
 * Errors: ERR_CORRUPT (pos = byte of the file), ERR_UNSUPPORTED (a newer version, said by number), ERR_LIMIT. Slices borrow
 * from the file unless an arena is given. Threads: no state of its own. */
#ifndef VANE_WIRE_PROM_TSDB_H
#define VANE_WIRE_PROM_TSDB_H

#include "model/sample.h"
#include "wire/xor_chunk.h"

#define PROM_RECORD_BYTES_MAX (128u << 20) /* of one log record, decompressed */
#define PROM_LABELS_MAX       4096         /* of one series in a file */

/* ---- meta.json ---- */
struct prom_meta {
    str ulid;
    int64_t min_ms, max_ms; /* [min, max) */
    uint64_t series, samples;
    bool deletable;    /* it was compacted to nothing */
    bool out_of_order; /* made from out-of-order samples: says nothing about how far the head was written */
    str *parents;      /* blocks that went into this one */
    size_t n_parents;
};
enum err prom_meta_read(str json, struct arena *a, struct prom_meta *ret, struct err_text *reterr) MUST_CHECK;

/* ---- index of a block ---- */
struct prom_index {
    str file;
    unsigned version; /* 1, 2 */
    uint64_t series_at, series_end;
    uint32_t *symbols; /* offset of each in the file, from symbols_at; version 2 */
    uint64_t symbols_at, symbols_end;
    uint32_t n_symbols;
    const uint8_t *refs; /* of all series, in order of labels: n_series x 4 bytes */
    uint32_t n_series;
};
/* The table of symbols is laid out in a; the file must stay. */
enum err prom_index_open(str file, struct arena *a, struct prom_index *ret, struct err_text *reterr) MUST_CHECK;
struct prom_chunk_meta {
    int64_t min_ms, max_ms;
    uint32_t segment, offset; /* file number from 0, byte in it */
};
struct prom_series {
    uint32_t ref; /* as in tombstones */
    struct labels labels;
    struct prom_chunk_meta *chunks;
    size_t n_chunks;
};
/* Series i of n_series; labels sorted and checked. Strings borrow from the file, arrays are in a. */
enum err prom_index_series(const struct prom_index *ix, uint32_t i, struct arena *a, struct prom_series *ret,
                           struct err_text *reterr) MUST_CHECK;

/* ---- chunks ---- */
struct prom_chunk {
    unsigned encoding; /* enum xor_encoding, or what is not known */
    str data;
};
enum err prom_chunks_check(str file, struct err_text *reterr) MUST_CHECK; /* header of chunks/NNNNNN */
enum err prom_chunk_at(str file, uint32_t offset, struct prom_chunk *ret, struct err_text *reterr) MUST_CHECK;

/* ---- tombstones ---- */
struct prom_tombstone {
    uint64_t ref;
    int64_t min_ms, max_ms; /* inclusive */
};
enum err prom_tombstones_read(str file, struct arena *a, struct prom_tombstone **ret, size_t *ret_n,
                              struct err_text *reterr) MUST_CHECK;

/* ---- chunks_head/NNNNNN ---- */
struct prom_head_chunk {
    uint64_t ref;
    int64_t min_ms, max_ms;
    bool out_of_order;
    struct prom_chunk chunk;
};
/* io_off 0 at first. ERR_NOT_FOUND: the end; *ret_torn: what follows was not written to its end (a crash). */
enum err prom_head_chunk_next(str file, uint64_t *io_off, struct prom_head_chunk *ret, bool *ret_torn,
                              struct err_text *reterr) MUST_CHECK;

/* ---- log: wal/, wbl/, checkpoint.*, chunk_snapshot.* ---- */
struct prom_log { /* one segment file */
    str file;
    uint64_t off;
    bool torn; /* after the end: the last record was not written to its end (a crash; fine in the newest file only) */
    uint64_t torn_at;
    struct buf joined, plain; /* private */
};
void prom_log_init(struct prom_log *l, str file);
void prom_log_deinit(struct prom_log *l);
/* The next record, decompressed (none, snappy, zstd); valid until the next call. ERR_NOT_FOUND: the end. */
enum err prom_log_next(struct prom_log *l, str *ret, struct err_text *reterr) MUST_CHECK;

/* What records say. NULL: such records are passed over unread. Everything is valid during the call only. */
struct prom_records {
    void *ctx;
    enum err (*series)(void *ctx, uint64_t ref, struct labels ls);
    enum err (*sample)(void *ctx, uint64_t ref, int64_t ts_ms, double v, int64_t start_ms);
    enum err (*histogram)(void *ctx, uint64_t ref, int64_t ts_ms, const struct histogram *h, int64_t start_ms);
    enum err (*exemplar)(void *ctx, uint64_t ref, const struct exemplar *e);
    enum err (*tombstone)(void *ctx, const struct prom_tombstone *t);
    enum err (*metadata)(void *ctx, uint64_t ref, const struct metric_meta *m);
    enum err (*min_valid)(void *ctx, int64_t ms);
};
/* scratch is reset at every record. Records of an unknown type: ERR_UNSUPPORTED with the number. Errors of callbacks are
 * passed on. */
enum err prom_record_read(str rec, struct arena *scratch, const struct prom_records *to,
                          struct err_text *reterr) MUST_CHECK;
/* A record of a memory snapshot: series with their open chunk, tombstones, exemplars. */
struct prom_snapshot {
    struct prom_records to; /* series, tombstone, exemplar */
    enum err (*chunk)(void *ctx, const struct prom_head_chunk *c);
};
enum err prom_snapshot_read(str rec, struct arena *scratch, const struct prom_snapshot *to,
                            struct err_text *reterr) MUST_CHECK;

#endif
