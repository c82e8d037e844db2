/* Inside the room transfer. */
#ifndef VANE_TRANSFER_INT_H
#define VANE_TRANSFER_INT_H

#include "base/check.h"
#include "base/vec.h"
#include "transfer/transfer.h"
#include "wire/prom_tsdb.h"

#define DAY_MS (24 * 3600 * 1000LL)

void transfer_samples_sort(struct xor_samples *s);
static inline int64_t transfer_day(int64_t ts)
{
    return ts >= 0 ? ts / DAY_MS : -((-ts - 1) / DAY_MS) - 1;
}

struct mapped { /* a file in memory */
    struct fs_file *file;
    str bytes;
};
enum err mapped_open(struct fs *fs, const char *path, struct mapped *ret, struct err_text *reterr) MUST_CHECK;
void mapped_close(struct mapped *m);

/* What is deleted of one series: sorted by ref, then time. */
struct tombs {
    struct prom_tombstone *p;
    size_t n;
};
void prom_tombs_sort(struct tombs *t);
bool prom_tombs_hide(const struct tombs *t, uint64_t ref, int64_t ts_ms);
/* Remove what is hidden of ref from sample `from` on. */
void prom_tombs_apply(const struct tombs *t, uint64_t ref, struct xor_samples *s, size_t from);

struct block {
    str dir, name;
    struct prom_meta meta;
    bool open;
    struct arena a;
    struct mapped index_file, *chunk_files;
    size_t n_chunk_files;
    struct prom_index index;
    struct tombs tombs;
    /* position while merging */
    uint32_t next;
    bool have;
    struct prom_series series; /* the next one */
    struct arena series_a, last_a;
    struct labels last;
};

struct log_file {
    str path;
    uint64_t bytes;
};
struct log_files {
    struct log_file *p;
    size_t n, cap;
};
struct prom_head { /* what is not in blocks */
    struct log_files snapshot, checkpoint, wal, wbl, chunks;
    int64_t min_valid; /* samples of the log before this are in blocks, or were deleted with them */
    uint64_t bytes;    /* of all files */
    uint64_t n_series;
};

struct transfer_prom {
    struct fs *fs;
    struct transfer_prom_config cfg;
    struct arena a;
    str dir;
    VEC(struct block) blocks; /* oldest first */
    struct prom_head head;
    uint64_t work, done; /* for progress: samples of blocks, bytes of the log */
};
void prom_note(struct transfer_prom *p, const char *fmt, ...) PRINTF_LIKE(2, 3);
void prom_progress(struct transfer_prom *p, uint64_t more);
static inline bool prom_wants(const struct transfer_prom *p, struct labels ls)
{
    return p->cfg.n_matchers == 0 || matchers_match(p->cfg.m, p->cfg.n_matchers, ls);
}
enum err head_list(struct transfer_prom *p, struct err_text *reterr) MUST_CHECK;
enum err head_read(struct transfer_prom *p, int64_t from_ms, int64_t to_ms, const struct transfer_sink *to,
                   struct err_text *reterr) MUST_CHECK;
/* Regular files of DIR/SUB whose names are numbers, ascending. No such directory: none. */
enum err numbered_files(struct transfer_prom *p, str dir, struct log_files *ret, struct err_text *reterr) MUST_CHECK;

#endif
