/* Segment files, reading: open, pages, verification (docs/format/segment.md). Everything taken from the file
 * is checked against the mapping before it is used. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stats.h"
#include "store/store_int.h"

const char segment_magic[8] = "VANESEG1", segment_end_magic[8] = "VANESEGE";

static struct stat stat_bad_pages =
    STAT_COUNTER("vane_store_corrupt_pages_total", "Segment pages found damaged when they were read", "");

const char *store_signal_name(enum store_signal s)
{
    switch (s) {
#define X(name, number, text) \
    case name:                \
        return text;
        STORE_SIGNALS(X)
#undef X
    }
    return NULL;
}

char *segment_path_make(const char *dir, enum store_signal s, uint64_t id, const char *suffix)
{
    size_t cap = strlen(dir) + 64;
    char *p = mem_alloc(cap);
    snprintf(p, cap, "%s/seg/%s/%012llu.%s", dir, store_signal_name(s), (unsigned long long)id, suffix);
    return p;
}

/* ---- open ---- */
static enum err bad(const char *path, struct err_text *reterr, const char *what)
{
    return err_fail(reterr, ERR_CORRUPT, "%s: %s", path, what);
}

static enum err header_check(struct segment *g, struct err_text *reterr)
{
    struct segment_header h;
    if (g->map.n < sizeof(h) + sizeof(struct segment_footer) + sizeof(struct segment_trailer))
        return bad(g->path, reterr, "shorter than a segment can be");
    memcpy(&h, g->map.p, sizeof(h));
    if (memcmp(h.magic, segment_magic, 8) != 0)
        return bad(g->path, reterr, "not a segment");
    if (h.crc != crc32c(0, str_n(g->map.p, sizeof(h) - 4)))
        return bad(g->path, reterr, "the header is damaged");
    if (h.version > SEGMENT_VERSION)
        return err_fail(reterr, ERR_UNSUPPORTED, "%s has version %u, written by a newer vane; this one reads up to %d",
                        g->path, h.version, SEGMENT_VERSION);
    g->meta = (struct segment_meta){ .id = h.id,
                                     .signal = h.signal,
                                     .level = h.level,
                                     .min_time = h.min_time,
                                     .max_time = h.max_time,
                                     .lsn_first = h.lsn_first,
                                     .lsn_last = h.lsn_last,
                                     .bytes = g->map.n };
    return OK;
}

static enum err sections_check(const struct segment *g, uint64_t footer_off, struct err_text *reterr)
{
    for (uint32_t i = 0; i < g->n_pages; i++) {
        uint64_t off = (uint64_t)g->page_off[i] * 8;
        if (off < sizeof(struct segment_header) || off + sizeof(struct segment_page_header) > footer_off ||
            (i && g->page_off[i] <= g->page_off[i - 1]))
            return bad(g->path, reterr, "a page offset is out of range");
    }
    for (uint32_t i = 0; i < g->n_sections; i++) {
        const struct segment_section *s = &g->sections[i];
        const struct segment_section *p = s - 1;
        if (s->page_first > g->n_pages || s->n_pages > g->n_pages - s->page_first)
            return bad(g->path, reterr, "a section has pages out of range");
        if (i && (p->kind > s->kind || (p->kind == s->kind && p->column >= s->column)))
            return bad(g->path, reterr, "sections are not in order");
    }
    return OK;
}

static enum err footer_check(struct segment *g, struct err_text *reterr)
{
    struct segment_trailer t;
    struct segment_footer f;
    memcpy(&t, g->map.p + g->map.n - sizeof(t), sizeof(t));
    if (memcmp(t.magic, segment_end_magic, 8) != 0)
        return bad(g->path, reterr, "the end is missing");
    uint64_t end = g->map.n - sizeof(t);
    if (t.footer_off % 8 || t.footer_off < sizeof(struct segment_header) || t.footer_off > end ||
        t.footer_len != end - t.footer_off || t.footer_len < sizeof(f))
        return bad(g->path, reterr, "the footer is out of range");
    char *p = g->footer = mem_alloc(t.footer_len);
    memcpy(p, g->map.p + t.footer_off, t.footer_len);
    if (crc32c(0, str_n(p, t.footer_len)) != t.footer_crc)
        return bad(g->path, reterr, "the footer is damaged");
    memcpy(&f, p, sizeof(f));
    uint64_t want = sizeof(f) + (uint64_t)f.n_sections * sizeof(struct segment_section) + (uint64_t)f.n_pages * 4;
    if (f.n_pages > SEGMENT_PAGES_MAX || ((want + 7) & ~7ull) != t.footer_len)
        return bad(g->path, reterr, "the footer's counts do not fit its length");
    g->hash = t.hash;
    g->meta.rows = f.rows;
    g->n_sections = f.n_sections;
    g->n_pages = f.n_pages;
    g->sections = (const void *)(p + sizeof(f));
    g->page_off = (const void *)(p + sizeof(f) + (size_t)f.n_sections * sizeof(struct segment_section));
    return sections_check(g, t.footer_off, reterr);
}

static void segment_free(struct segment *g)
{
    if (g->user_close)
        g->user_close(g->user);
    if (g->map.p)
        fs_unmap(g->file, g->map);
    fs_close(g->file);
    if (atomic_load_explicit(&g->doomed, memory_order_acquire))
        IGNORE_ERR(fs_unlink(g->fs, g->path)); /* what stays is deleted at the next start */
    mem_free(g->path);
    mem_free(g->footer);
    mem_free(g->checked);
    mem_free(g);
}

enum err segment_open(struct fs *fs, const char *path, struct segment **ret, struct err_text *reterr)
{
    struct segment *g = mem_zalloc(sizeof(*g));
    atomic_init(&g->refs, 1);
    g->fs = fs;
    g->path = mem_strdup(str_c(path));
    enum err e = fs_open(fs, path, FS_READ, &g->file);
    e = e ? e : fs_map(g->file, &g->map);
    if (e != OK)
        e = err_fail(reterr, e, "%s: %s", path, err_describe(e));
    else
        e = header_check(g, reterr);
    if (g->map.p)
        g->faults = fs_map_faults(g->map);
    e = e ? e : footer_check(g, reterr);
    if (e != OK) {
        segment_free(g);
        return e;
    }
    g->checked = mem_zalloc((g->n_pages / 64 + 1) * sizeof(*g->checked));
    *ret = g;
    return OK;
}

struct segment *segment_ref(struct segment *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

void segment_unref(struct segment *g)
{
    if (g && atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) == 1)
        segment_free(g);
}

/* ---- facts ---- */
const struct segment_meta *segment_meta(const struct segment *g)
{
    return &g->meta;
}

void *segment_user(const struct segment *g)
{
    return g->user;
}

const char *segment_path(const struct segment *g)
{
    return g->path;
}

const struct segment_section *segment_sections(const struct segment *g, size_t *ret_n)
{
    *ret_n = g->n_sections;
    return g->sections;
}

const struct segment_section *segment_section_find(const struct segment *g, uint32_t kind, uint32_t column)
{
    uint32_t lo = 0, hi = g->n_sections;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        const struct segment_section *s = &g->sections[mid];
        if (s->kind < kind || (s->kind == kind && s->column < column))
            lo = mid + 1;
        else
            hi = mid;
    }
    const struct segment_section *s = &g->sections[lo];
    return lo < g->n_sections && s->kind == kind && s->column == column ? s : NULL;
}

uint32_t segment_n_pages(const struct segment *g)
{
    return g->n_pages;
}

/* ---- pages ---- */

/* The page's header and stored bytes, inside the file. */
static bool page_at(const struct segment *g, uint32_t page, struct segment_page_header *ret_h, str *ret_stored)
{
    if (page >= g->n_pages)
        return false;
    uint64_t off = (uint64_t)g->page_off[page] * 8;
    memcpy(ret_h, g->map.p + off, sizeof(*ret_h)); /* offsets were checked at open */
    off += sizeof(*ret_h);
    if (ret_h->stored_len > g->map.n - off || ret_h->raw_len > SEGMENT_PAGE_BYTES_MAX)
        return false;
    *ret_stored = str_n(g->map.p + off, ret_h->stored_len);
    return ret_h->codec == SEGMENT_CODEC_ZSTD ||
           (ret_h->codec == SEGMENT_CODEC_RAW && ret_h->stored_len == ret_h->raw_len);
}

uint32_t segment_page_raw_len(const struct segment *g, uint32_t page)
{
    struct segment_page_header h;
    str stored;
    return page_at(g, page, &h, &stored) ? h.raw_len : 0;
}

static unsigned faults_of(const struct segment *g)
{
    return atomic_load_explicit(g->faults, memory_order_acquire); /* pairs with the handler in fs_map.c */
}

bool segment_unreadable(const struct segment *g)
{
    return faults_of(g) > 0;
}

/* What was right once may not be any more when pages went missing: then every read checks. */
static bool page_crc_ok(const struct segment *g, uint32_t page, const struct segment_page_header *h, str stored)
{
    _Atomic uint64_t *word = &g->checked[page / 64];
    uint64_t bit = 1ull << (page % 64);
    if ((atomic_load_explicit(word, memory_order_relaxed) & bit) && faults_of(g) == 0)
        return true;
    uint32_t crc = crc32c(crc32c(0, str_n((const char *)h, offsetof(struct segment_page_header, crc))), stored);
    if (crc != h->crc)
        return false;
    atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
    return true;
}

static pthread_once_t dctx_once = PTHREAD_ONCE_INIT;
static pthread_key_t dctx_key;

static void dctx_free(void *d)
{
    ZSTD_freeDCtx(d);
}

static void dctx_key_make(void)
{
    ASSERT(pthread_key_create(&dctx_key, dctx_free) == 0);
}

static ZSTD_DCtx *dctx_get(void) /* one per thread */
{
    pthread_once(&dctx_once, dctx_key_make);
    ZSTD_DCtx *d = pthread_getspecific(dctx_key);
    if (!d) {
        d = ZSTD_createDCtx();
        ASSERT(d);
        pthread_setspecific(dctx_key, d);
    }
    return d;
}

void page_buf_deinit(struct page_buf *b)
{
    mem_free(b->p);
    *b = (struct page_buf){ 0 };
}

enum err segment_page_read(const struct segment *g, uint32_t page, struct page_buf *b, str *ret)
{
    struct segment_page_header h;
    str stored;
    if (page >= g->n_pages)
        return ERR_NOT_FOUND;
    if (!page_at(g, page, &h, &stored) || !page_crc_ok(g, page, &h, stored)) {
        stat_add(&stat_bad_pages, 1);
        LOG_ERROR("segment page is damaged", "file", g->path, "page", LOG_I64(page));
        return ERR_CORRUPT;
    }
    if (h.codec == SEGMENT_CODEC_RAW) {
        *ret = stored;
        return OK;
    }
    if (b->cap < h.raw_len) {
        size_t cap = MAX((size_t)h.raw_len, (size_t)SEGMENT_PAGE_BYTES + SEGMENT_PAGE_BYTES / 4);
        mem_free(b->p);
        b->p = mem_alloc(cap);
        b->cap = cap;
    }
    unsigned faults = faults_of(g);
    size_t n = ZSTD_decompressDCtx(dctx_get(), b->p, h.raw_len, stored.p, stored.n);
    if (ZSTD_isError(n) || n != h.raw_len || faults_of(g) != faults) {
        stat_add(&stat_bad_pages, 1);
        return ERR_CORRUPT;
    }
    *ret = str_n(b->p, n);
    return OK;
}

void segment_readahead(const struct segment *g, uint32_t page_first, uint32_t n_pages)
{
    if (page_first >= g->n_pages || n_pages == 0)
        return;
    uint32_t last = MIN(g->n_pages - 1, page_first + n_pages - 1);
    uintptr_t mask = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
    uintptr_t from = ((uintptr_t)g->map.p + (uint64_t)g->page_off[page_first] * 8) & ~mask;
    uintptr_t to = (uintptr_t)g->map.p + (last + 1 < g->n_pages ? (uint64_t)g->page_off[last + 1] * 8 : g->map.n);
    IGNORE_ERR(madvise((void *)from, to - from, MADV_WILLNEED) ? ERR_IO : OK);
}

/* ---- verification ---- */
uint64_t segment_hash(str file)
{
    size_t end = file.n - sizeof(struct segment_trailer), head = sizeof(struct segment_header);
    XXH3_state_t *x = XXH3_createState();
    ASSERT(x);
    XXH3_64bits_reset(x);
    XXH3_64bits_update(x, file.p + head, end - head);
    XXH3_64bits_update(x, file.p, head);
    uint64_t h = XXH3_64bits_digest(x);
    XXH3_freeState(x);
    return h;
}

enum err segment_verify(const struct segment *g, struct err_text *reterr)
{
    struct page_buf b = { 0 };
    enum err e = OK;
    if (segment_hash(g->map) != g->hash)
        e = bad(g->path, reterr, "the hash of the file does not match");
    for (uint32_t i = 0; e == OK && i < g->n_pages; i++) {
        str raw;
        if (segment_page_read(g, i, &b, &raw) != OK)
            e = err_fail(reterr, ERR_CORRUPT, "%s: page %u is damaged", g->path, i);
    }
    page_buf_deinit(&b);
    return e;
}
