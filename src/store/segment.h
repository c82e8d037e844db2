/* Segment files: immutable, checksummed, mmapped (docs/format/segment.md).
 *
 *   header 64 B | pages ... | footer: sections, page offsets | trailer 32 B
 *
 * A page is the unit of compression and checksum (aim at 64 KiB raw). A section is a run of pages of one
 * (kind, column); kinds and the bytes in pages are the signal's business. Pages are numbered over the whole
 * file from 0. A page's CRC is checked the first time it is read, then never again while the file is open.
 *
 * Writing, one thread (errors are sticky, seen at segment_finish):
 *   segment_writer_open(st, STORE_METRICS, level, &w, &et);
 *   segment_section_begin(w, KIND, column);
 *   uint32_t page = segment_page_add(w, bytes, SEGMENT_PAGE_ZSTD);
 *   segment_section_end(w, rows, min, max, nulls);
 *   e = segment_finish(w, &meta, &et);                 // footer, trailer, fsync of the .tmp file
 *   e = store_commit(st, &(struct store_edit){ .add = &w, .n_add = 1, ... }, &et);
 *
 * Reading, any thread: segments come from store_segments_ref() and live as long as the set is held. */
#ifndef VANE_STORE_SEGMENT_H
#define VANE_STORE_SEGMENT_H

#include "base/fs.h"

struct store;
struct segment;

/* On disk as one byte: never renumber. */
#define STORE_SIGNALS(X)           \
    X(STORE_METRICS, 1, "metrics") \
    X(STORE_LOGS, 2, "logs")       \
    X(STORE_TRACES, 3, "traces")   \
    X(STORE_PROFILES, 4, "profiles")

enum store_signal {
#define X(name, number, text) name = number,
    STORE_SIGNALS(X)
#undef X
};
#define STORE_SIGNAL_MAX 8                          /* numbers 1..7 fit the formats */
const char *store_signal_name(enum store_signal s); /* "metrics"; NULL for an unknown number */

#define SEGMENT_PAGE_BYTES     (64u << 10) /* aim: start a new page when raw bytes pass this */
#define SEGMENT_PAGE_BYTES_MAX (16u << 20) /* raw; ERR_LIMIT beyond */
#define SEGMENT_PAGES_MAX      (1u << 26)

struct segment_meta {
    uint64_t id;    /* unique in its signal for ever */
    uint8_t signal; /* enum store_signal */
    uint8_t level;
    int64_t min_time, max_time;   /* the signal's unit (metrics: ms), inclusive */
    uint64_t lsn_first, lsn_last; /* of the records that went in; 0 = unknown */
    uint64_t rows;                /* samples, log lines, spans */
    uint64_t bytes;               /* file size */
};

/* A row of the footer, as on disk (64 B). */
struct segment_section {
    uint32_t kind, column;
    uint32_t page_first, n_pages;
    uint64_t offset, bytes; /* in the file, page headers included */
    uint64_t rows;
    int64_t min, max; /* what the signal says of its values */
    uint64_t nulls;
};
_Static_assert(sizeof(struct segment_section) == 64, "docs/format/segment.md, section");

/* ---- writing ---- */
struct segment_writer;

enum segment_page_flags {
    SEGMENT_PAGE_ZSTD = 1,    /* compress; stored raw when that saves less than 1/16 */
    SEGMENT_PAGE_ALIGN64 = 2, /* raw bytes start at a multiple of 64 in the file (used in place: roaring frozen) */
};
enum err segment_writer_open(struct store *st, enum store_signal s, unsigned level, struct segment_writer **ret,
                             struct err_text *reterr) MUST_CHECK;
uint64_t segment_writer_id(const struct segment_writer *w);
void segment_zstd_level(struct segment_writer *w, int level); /* default 1 */
void segment_section_begin(struct segment_writer *w, uint32_t kind, uint32_t column);
/* Returns the page's number. At most SEGMENT_PAGE_BYTES_MAX. */
uint32_t segment_page_add(struct segment_writer *w, str raw, unsigned flags);
/* The same page as in another segment, without inflating it. Its checksum is verified on the way. */
uint32_t segment_page_copy(struct segment_writer *w, const struct segment *from, uint32_t page);
void segment_section_end(struct segment_writer *w, uint64_t rows, int64_t min, int64_t max, uint64_t nulls);
uint64_t segment_writer_bytes(const struct segment_writer *w);                  /* so far */
const struct segment_meta *segment_writer_meta(const struct segment_writer *w); /* complete once it is finished */
/* meta: time range, LSNs and rows are read; id, signal, level and bytes are filled in. */
enum err segment_finish(struct segment_writer *w, struct segment_meta *meta, struct err_text *reterr) MUST_CHECK;
/* Give a finished segment a new id: the greatest so far. */
enum err segment_renumber(struct segment_writer *w, struct err_text *reterr) MUST_CHECK;
void segment_abort(struct segment_writer *w); /* deletes the .tmp file; at any time before a commit; NULL is fine */

/* ---- reading ---- */
struct segment *segment_ref(struct segment *seg); /* one more reference of a held segment */
void segment_unref(struct segment *seg);          /* NULL is fine */
const struct segment_meta *segment_meta(const struct segment *seg);
void *segment_user(const struct segment *seg); /* what the signal's segment_open hook made */
const char *segment_path(const struct segment *seg);
const struct segment_section *segment_sections(const struct segment *seg, size_t *ret_n);
/* NULL if absent. Sections are sorted by (kind, column). */
const struct segment_section *segment_section_find(const struct segment *seg, uint32_t kind, uint32_t column);
uint32_t segment_n_pages(const struct segment *seg);
uint32_t segment_page_raw_len(const struct segment *seg, uint32_t page); /* 0 for a number out of range */

/* Where a page is inflated to; zero-initialised is empty. One thread at a time. */
struct page_buf {
    char *p;
    size_t cap;
};
void page_buf_deinit(struct page_buf *b);
/* The raw bytes of a page: in place for raw pages (valid while the segment is held), else inflated into b
 * (valid until b's next use). Checks bounds and, the first time, the CRC.
 * Returns OK, ERR_NOT_FOUND (no such page), ERR_CORRUPT (also where the disk fails to give a part of the file). */
enum err segment_page_read(const struct segment *seg, uint32_t page, struct page_buf *b, str *ret) MUST_CHECK;
/* The disk failed to give a part of the file since it was opened: what was read from raw pages in place may have
 * been zeros. Ask after use, before an answer is called complete or a copy is committed. */
bool segment_unreadable(const struct segment *seg);
/* Hint: these pages are read soon. */
void segment_readahead(const struct segment *seg, uint32_t page_first, uint32_t n_pages);

/* Open a file outside any store (tests, tools). refcount 1. ERR_CORRUPT, ERR_UNSUPPORTED (newer version). */
enum err segment_open(struct fs *fs, const char *path, struct segment **ret, struct err_text *reterr) MUST_CHECK;
/* Whole-file hash, every page's checksum and inflation, structure. */
enum err segment_verify(const struct segment *seg, struct err_text *reterr) MUST_CHECK;

#endif
