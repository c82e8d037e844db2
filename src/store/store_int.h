/* The store's parts that its own files share: MANIFEST state, open segments. */
#ifndef VANE_STORE_STORE_INT_H
#define VANE_STORE_STORE_INT_H

#include "base/thread.h"
#include "store/wal_int.h"

enum { STORE_FORMAT = 1, MANIFEST_VERSION = 1, SEGMENT_VERSION = 1 };

/* ---- MANIFEST (docs/format/manifest.md) ---- */
typedef VEC(struct segment_meta) segment_meta_vec;
typedef VEC(struct store_tombstone) tombstone_vec; /* bodies owned */

struct manifest_signal {
    segment_meta_vec segments; /* sorted by id */
    tombstone_vec tombstones;  /* sorted by id */
    uint64_t low_water;
    int64_t retention_ms;
    uint64_t next_segment, next_tombstone;
    uint64_t hold; /* records beyond are wanted by who follows the log; STORE_HOLD_NONE */
};
struct manifest {
    struct fs *fs;
    char *dir, *path, *tmp;
    uint64_t seed;
    uint64_t seq; /* of the last edit */
    struct manifest_signal sig[STORE_SIGNAL_MAX];
    struct fs_file *file;
    uint64_t bytes; /* where the next edit goes */
    uint64_t rewrite_bytes;
    bool uncertain; /* an append failed: the file may or may not end with it, so the next edit rewrites it */
    bool torn;      /* as read: an unfinished edit was at the end */
};

/* Read DIR/MANIFEST. ERR_NOT_FOUND: none. ERR_CORRUPT, ERR_UNSUPPORTED. */
enum err manifest_load(struct manifest *m, struct fs *fs, const char *dir, struct err_text *reterr) MUST_CHECK;
void manifest_init(struct manifest *m, struct fs *fs, const char *dir);
void manifest_deinit(struct manifest *m);
void manifest_state(const struct manifest *m, struct buf *b); /* the items of an edit that makes all of it */
/* Write the state to a new file and put it in place; opens it for appends. */
enum err manifest_rewrite(struct manifest *m, struct err_text *reterr) MUST_CHECK;

/* Building an edit: items appended to a buf. */
void manifest_add_segment(struct buf *b, const struct segment_meta *meta);
void manifest_remove_segment(struct buf *b, enum store_signal s, uint64_t id);
void manifest_low_water(struct buf *b, enum store_signal s, uint64_t lsn);
void manifest_retention(struct buf *b, enum store_signal s, int64_t ms);
void manifest_add_tombstone(struct buf *b, enum store_signal s, uint64_t id, str body);
void manifest_remove_tombstone(struct buf *b, enum store_signal s, uint64_t id);
void manifest_hold(struct buf *b, enum store_signal s, uint64_t lsn);
void manifest_next_ids(struct buf *b, enum store_signal s, uint64_t segment, uint64_t tombstone);
/* Make the edit durable and apply it to the state. On error the state is as before, and what the file holds
 * may be either; the next successful edit settles it (*ret_rewritten). */
enum err manifest_append(struct manifest *m, str edit, bool *ret_rewritten, struct err_text *reterr) MUST_CHECK;
/* Decode and apply the items of one edit; ERR_CORRUPT. Exposed for the fuzz target. */
enum err manifest_apply(struct manifest *m, str edit, struct err_text *reterr) MUST_CHECK;
/* Bytes of a whole MANIFEST into m (no files touched); ret_good: length of the valid part. */
enum err manifest_decode(struct manifest *m, str file, uint64_t *ret_good, struct err_text *reterr) MUST_CHECK;
const struct segment_meta *manifest_segment(const struct manifest *m, enum store_signal s, uint64_t id);

/* ---- segments ---- */
struct segment {
    struct segment_meta meta;
    _Atomic uint32_t refs;
    _Atomic bool doomed; /* removed: the last reference deletes the file */
    struct fs *fs;
    char *path;
    struct fs_file *file;
    str map;
    const atomic_uint *faults; /* pages of the mapping that could not be read */
    char *footer;              /* a copy, which the disk cannot take back */
    const struct segment_section *sections;
    uint32_t n_sections, n_pages;
    const uint32_t *page_off; /* in units of 8 bytes */
    uint64_t hash;
    _Atomic uint64_t *checked; /* one bit per page */
    void *user;
    void (*user_close)(void *user);
};

struct segment_header { /* docs/format/segment.md */
    char magic[8];
    uint32_t version;
    uint8_t signal, level;
    uint16_t flags;
    int64_t min_time, max_time;
    uint64_t lsn_first, lsn_last;
    uint64_t id;
    uint32_t reserved;
    uint32_t crc; /* of the 60 bytes before */
};
_Static_assert(sizeof(struct segment_header) == 64, "docs/format/segment.md, header");
struct segment_page_header {
    uint32_t stored_len, raw_len;
    uint8_t codec, kind;
    uint16_t flags;
    uint32_t crc; /* crc32c of the 12 bytes before and the payload */
};
_Static_assert(sizeof(struct segment_page_header) == 16, "docs/format/segment.md, page");
struct segment_footer { /* then sections, then page offsets */
    uint32_t n_sections, n_pages;
    uint64_t rows;
};
_Static_assert(sizeof(struct segment_footer) == 16, "docs/format/segment.md, footer");
struct segment_trailer {
    uint64_t footer_off;
    uint32_t footer_len, footer_crc;
    uint64_t hash; /* XXH3-64 of bytes 64 .. trailer, then the header */
    char magic[8];
};
_Static_assert(sizeof(struct segment_trailer) == 32, "docs/format/segment.md, trailer");
extern const char segment_magic[8], segment_end_magic[8];
enum { SEGMENT_CODEC_RAW = 0, SEGMENT_CODEC_ZSTD = 1 };

uint64_t segment_hash(str file);                                                                /* as in the trailer */
char *segment_path_make(const char *dir, enum store_signal s, uint64_t id, const char *suffix); /* owned */
/* What store_commit does with a writer. */
struct segment_writer {
    struct store *st;
    struct fs *fs;
    struct fs_file *file;
    char *tmp, *path;
    bool finished, renamed, orphaned; /* orphaned: a MANIFEST that may be on disk names it; do not delete */
    struct segment_meta meta;
    int zstd_level;
    void *cctx;
    struct buf out;
    uint64_t off; /* of out's first byte in the file */
    void *hash;
    VEC(struct segment_section) sections;
    VEC(uint32_t) pages;
    bool in_section;
    enum err e;
};
void segment_writer_free(struct segment_writer *w); /* keeps the file */
/* The MANIFEST's state and the sets that go with it, each referenced. */
void store_state(struct store *st, struct buf *items, const struct segment_set *ret_sets[STORE_SIGNAL_MAX]);
uint64_t store_segment_id_next(struct store *st, enum store_signal s);

#endif
