/* Reading the file of another process (docs/format/sdk-file.md): by renderings in multi-process mode, by folding, and by
 * `vane blackbox`. The file is copied into memory first, so that one that changes or shrinks meanwhile does no harm, and
 * everything in it is checked: it may be torn, foreign or hostile. */
#pragma once

#include "sdk_metric.h"

#pragma GCC visibility push(hidden)

struct sdk_file {
    char *p; /* n_blocks blocks */
    uint32_t n_blocks;
    const struct sdk_file_head *head;
    uint32_t seg_first[SDK_SEGS_MAX]; /* first slab block of a segment; 0: none */
    uint32_t *next;                   /* next slab block of the same segment */
};

/* VANE_OK; VANE_E_IO (errno) when it cannot be read; VANE_E_ARG when it is no such file, or of another version. */
vane_status sdk_file_read(struct sdk_file *f, const char *path);
/* The same from memory of sdk_alloc(), which becomes the file's (freed on failure too). */
vane_status sdk_file_load(struct sdk_file *f, char *p, size_t n);
void sdk_file_free(struct sdk_file *f);

/* The process that wrote it still runs, and its library too. */
bool sdk_file_alive(const struct sdk_file_head *h);

/* One record with its strings; not NUL-terminated but where said. */
struct sdk_file_series {
    const struct sdk_meta_record *r;
    const double *bounds;
    const char *name, *help, *unit, *scope, *version, *states /* NUL after each */, *labels;
};
/* The records in order, removed ones skipped; a non-zero answer stops and is returned. Broken ones are skipped and
 * counted (files_bad). */
int sdk_file_each(const struct sdk_file *f,
                  int (*fn)(void *ctx, const struct sdk_file *f, const struct sdk_file_series *s), void *ctx);

/* Parse one record at p (n bytes are there); false when it is broken. */
bool sdk_record_parse(const char *p, size_t n, struct sdk_file_series *ret);

/* Values of a record: the sum of a slot over the shards, whole or floating; shard 0's alone; a histogram. */
uint64_t sdk_file_u64(const struct sdk_file *f, uint32_t slot);
double sdk_file_f64(const struct sdk_file *f, uint32_t slot);
uint64_t sdk_file_shard0(const struct sdk_file *f, uint32_t slot);
void sdk_file_hist(const struct sdk_file *f, const struct sdk_meta_record *r, struct sdk_hist *h);

/* The regions (rings of logs and spans): kind, index, memory. */
int sdk_file_regions(const struct sdk_file *f,
                     int (*fn)(void *ctx, const char kind[4], uint32_t index, const void *p, size_t n), void *ctx);

/* The series of one file through a visitor, single processes' gauges with the label pid, living or not (sdk_multiproc.c);
 * and the same as text 0.0.4 (sdk_expo.c). Non-zero: stopped, or no memory. */
int sdk_file_visit(const struct sdk_file *f, const struct sdk_visitor *v);
int sdk_expo_file(const struct sdk_file *f, struct sdk_buf *out);

/* Everything a file tells, as `vane blackbox` prints it (sdk_blackbox.c). */
void sdk_blackbox_file(const struct sdk_file *f, struct sdk_buf *b);

#pragma GCC visibility pop
