/* Segment files, writing: pages are compressed and appended through one buffer, hashed on the way; the footer and
 * the header come last, so that a file without its end is never taken for one. */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>
#include <zstd.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/stats.h"
#include "store/store_int.h"

enum {
    OUT_BYTES = 1 << 20,
    SYNC_BYTES = 16 << 20, /* sync in steps: the log's syncs queue behind ours */
};

static struct stat stat_written =
    STAT_COUNTER("vane_store_segment_bytes_written_total", "Bytes of segment files written", "");

enum err segment_writer_open(struct store *st, enum store_signal s, unsigned level, struct segment_writer **ret,
                             struct err_text *reterr)
{
    struct segment_writer *w = mem_zalloc(sizeof(*w));
    w->st = st;
    w->fs = store_fs(st);
    w->zstd_level = 1;
    w->meta =
        (struct segment_meta){ .id = store_segment_id_next(st, s), .signal = (uint8_t)s, .level = (uint8_t)level };
    w->path = segment_path_make(store_dir(st), s, w->meta.id, "vseg");
    w->tmp = segment_path_make(store_dir(st), s, w->meta.id, "tmp");
    buf_init(&w->out, 0);
    enum err e = fs_open(w->fs, w->tmp, FS_CREATE, &w->file);
    if (e != OK) {
        err_fail(reterr, e, "%s: %s", w->tmp, err_describe(e));
        w->file = NULL;
        segment_writer_free(w);
        return e;
    }
    w->hash = XXH3_createState();
    w->cctx = ZSTD_createCCtx();
    ASSERT(w->hash);
    ASSERT(w->cctx);
    XXH3_64bits_reset(w->hash);
    buf_zeros(&w->out, sizeof(struct segment_header)); /* written at the end */
    *ret = w;
    return OK;
}

void segment_writer_free(struct segment_writer *w)
{
    fs_close(w->file);
    if (w->hash)
        XXH3_freeState(w->hash);
    ZSTD_freeCCtx(w->cctx);
    buf_deinit(&w->out);
    vec_free(&w->sections);
    vec_free(&w->pages);
    mem_free(w->tmp);
    mem_free(w->path);
    mem_free(w);
}

void segment_abort(struct segment_writer *w)
{
    if (!w)
        return;
    fs_close(w->file);
    w->file = NULL;
    if (!w->orphaned)
        IGNORE_ERR(fs_unlink(w->fs, w->renamed ? w->path : w->tmp));
    segment_writer_free(w);
}

uint64_t segment_writer_id(const struct segment_writer *w)
{
    return w->meta.id;
}

void segment_zstd_level(struct segment_writer *w, int level)
{
    w->zstd_level = level;
}

uint64_t segment_writer_bytes(const struct segment_writer *w)
{
    return w->off + w->out.n;
}

static void out_flush(struct segment_writer *w)
{
    if (w->e == OK && w->out.n)
        w->e = fs_pwrite(w->file, w->out.p, w->out.n, w->off);
    size_t skip = w->off == 0 ? sizeof(struct segment_header) : 0;
    XXH3_64bits_update(w->hash, w->out.p + skip, w->out.n - skip);
    if (w->e == OK && w->off / SYNC_BYTES != (w->off + w->out.n) / SYNC_BYTES)
        w->e = fs_datasync(w->file);
    w->off += w->out.n;
    buf_clear(&w->out);
}

static void pad_to(struct segment_writer *w, uint64_t align, uint64_t rest) /* until position % align == rest */
{
    uint64_t at = segment_writer_bytes(w);
    buf_zeros(&w->out, (size_t)((rest + align - at % align) % align));
}

void segment_section_begin(struct segment_writer *w, uint32_t kind, uint32_t column)
{
    ASSERT(!w->in_section);
    struct segment_section s = {
        .kind = kind, .column = column, .page_first = (uint32_t)w->pages.n, .offset = segment_writer_bytes(w)
    };
    vec_push(&w->sections, s);
    w->in_section = true;
}

void segment_section_end(struct segment_writer *w, uint64_t rows, int64_t min, int64_t max, uint64_t nulls)
{
    ASSERT(w->in_section);
    struct segment_section *s = &vec_last(&w->sections);
    s->n_pages = (uint32_t)w->pages.n - s->page_first;
    s->bytes = segment_writer_bytes(w) - s->offset;
    s->rows = rows;
    s->min = min;
    s->max = max;
    s->nulls = nulls;
    w->in_section = false;
}

static uint32_t page_put(struct segment_writer *w, struct segment_page_header *h, str stored, bool align64)
{
    ASSERT(w->in_section);
    if (align64)
        pad_to(w, 64, 64 - sizeof(*h));
    else
        pad_to(w, 8, 0);
    uint64_t at = segment_writer_bytes(w);
    if (at / 8 > UINT32_MAX || w->pages.n >= SEGMENT_PAGES_MAX)
        w->e = w->e ? w->e : ERR_LIMIT;
    h->stored_len = (uint32_t)stored.n;
    h->crc = crc32c(crc32c(0, str_n((const char *)h, offsetof(struct segment_page_header, crc))), stored);
    vec_push(&w->pages, (uint32_t)(at / 8));
    buf_add(&w->out, h, sizeof(*h));
    buf_str_add(&w->out, stored);
    if (w->out.n >= OUT_BYTES)
        out_flush(w);
    return (uint32_t)w->pages.n - 1;
}

uint32_t segment_page_add(struct segment_writer *w, str raw, unsigned flags)
{
    struct segment_page_header h = { .raw_len = (uint32_t)raw.n,
                                     .codec = SEGMENT_CODEC_RAW,
                                     .flags = flags & SEGMENT_PAGE_ALIGN64 };
    ASSERT(!(flags & SEGMENT_PAGE_ZSTD) || !(flags & SEGMENT_PAGE_ALIGN64));
    if (raw.n > SEGMENT_PAGE_BYTES_MAX) {
        w->e = w->e ? w->e : ERR_LIMIT;
        return 0;
    }
    AUTO_FREE char *z = NULL;
    if ((flags & SEGMENT_PAGE_ZSTD) && raw.n > 32) {
        size_t cap = raw.n - raw.n / 16;
        z = mem_alloc(cap);
        size_t n = ZSTD_compressCCtx(w->cctx, z, cap, raw.p, raw.n, w->zstd_level);
        if (!ZSTD_isError(n)) { /* else: it does not fit, so it saves too little */
            h.codec = SEGMENT_CODEC_ZSTD;
            return page_put(w, &h, str_n(z, n), false);
        }
    }
    return page_put(w, &h, raw, flags & SEGMENT_PAGE_ALIGN64);
}

uint32_t segment_page_copy(struct segment_writer *w, const struct segment *from, uint32_t page)
{
    struct segment_page_header h;
    if (page >= from->n_pages) {
        w->e = w->e ? w->e : ERR_NOT_FOUND;
        return 0;
    }
    uint64_t off = (uint64_t)from->page_off[page] * 8;
    memcpy(&h, from->map.p + off, sizeof(h));
    if (h.stored_len > from->map.n - off - sizeof(h)) {
        w->e = w->e ? w->e : ERR_CORRUPT;
        return 0;
    }
    str stored = str_n(from->map.p + off + sizeof(h), h.stored_len);
    if (h.crc != crc32c(crc32c(0, str_n((const char *)&h, offsetof(struct segment_page_header, crc))), stored)) {
        w->e = w->e ? w->e : ERR_CORRUPT;
        return 0;
    }
    uint32_t no = page_put(w, &h, stored, h.flags & SEGMENT_PAGE_ALIGN64);
    if (segment_unreadable(from))
        w->e = w->e ? w->e : ERR_CORRUPT;
    return no;
}

static int by_kind(const void *a, const void *b)
{
    const struct segment_section *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    return (x->column > y->column) - (x->column < y->column);
}

static void footer_put(struct segment_writer *w, struct segment_trailer *ret_t)
{
    struct segment_footer f = { (uint32_t)w->sections.n, (uint32_t)w->pages.n, w->meta.rows };
    AUTO_BUF struct buf b;
    buf_init(&b, 0);
    buf_add(&b, &f, sizeof(f));
    buf_add(&b, w->sections.p, w->sections.n * sizeof(*w->sections.p));
    buf_add(&b, w->pages.p, w->pages.n * 4);
    buf_zeros(&b, (8 - b.n % 8) % 8);
    pad_to(w, 8, 0);
    *ret_t = (struct segment_trailer){ .footer_off = segment_writer_bytes(w),
                                       .footer_len = (uint32_t)b.n,
                                       .footer_crc = crc32c(0, buf_str(&b)) };
    memcpy(ret_t->magic, segment_end_magic, 8);
    buf_str_add(&w->out, buf_str(&b));
}

static struct segment_header header_make(const struct segment_writer *w)
{
    struct segment_header h = { .version = SEGMENT_VERSION,
                                .signal = w->meta.signal,
                                .level = w->meta.level,
                                .min_time = w->meta.min_time,
                                .max_time = w->meta.max_time,
                                .lsn_first = w->meta.lsn_first,
                                .lsn_last = w->meta.lsn_last,
                                .id = w->meta.id };
    memcpy(h.magic, segment_magic, 8);
    h.crc = crc32c(0, str_n((const char *)&h, sizeof(h) - 4));
    return h;
}

enum err segment_finish(struct segment_writer *w, struct segment_meta *meta, struct err_text *reterr)
{
    ASSERT(!w->in_section);
    ASSERT(!w->finished);
    w->meta.min_time = meta->min_time;
    w->meta.max_time = meta->max_time;
    w->meta.lsn_first = meta->lsn_first;
    w->meta.lsn_last = meta->lsn_last;
    w->meta.rows = meta->rows;
    if (w->sections.n)
        qsort(w->sections.p, w->sections.n, sizeof(*w->sections.p), by_kind);
    for (size_t i = 1; i < w->sections.n; i++)
        ASSERT(by_kind(&w->sections.p[i - 1], &w->sections.p[i]) < 0); /* one section per (kind, column) */
    struct segment_trailer t;
    footer_put(w, &t);
    out_flush(w);
    struct segment_header h = header_make(w);
    XXH3_64bits_update(w->hash, &h, sizeof(h));
    t.hash = XXH3_64bits_digest(w->hash);
    w->meta.bytes = w->off + sizeof(t);
    if (w->e == OK)
        w->e = fs_pwrite(w->file, &t, sizeof(t), w->off);
    if (w->e == OK)
        w->e = fs_pwrite(w->file, &h, sizeof(h), 0);
    if (w->e == OK)
        w->e = fs_datasync(w->file);
    if (w->e != OK)
        return err_fail(reterr, w->e, "%s: %s", w->tmp, err_describe(w->e));
    fs_close(w->file);
    w->file = NULL;
    w->finished = true;
    stat_add(&stat_written, (int64_t)w->meta.bytes);
    *meta = w->meta;
    return OK;
}

const struct segment_meta *segment_writer_meta(const struct segment_writer *w)
{
    return &w->meta;
}

/* The header is hashed last: the bytes before the trailer are read once more, nothing else changes. */
static enum err header_change(struct fs_file *f, const struct segment_header *h)
{
    struct segment_trailer t;
    struct segment_header now;
    str map;
    TRY(fs_map(f, &map));
    size_t end = map.n - sizeof(t);
    memcpy(&t, map.p + end, sizeof(t));
    memcpy(&now, map.p, sizeof(now));
    unsigned faults = atomic_load(fs_map_faults(map));
    uint64_t was = segment_hash(map);
    XXH3_state_t *x = XXH3_createState();
    ASSERT(x);
    XXH3_64bits_reset(x);
    XXH3_64bits_update(x, map.p + sizeof(now), end - sizeof(now));
    XXH3_64bits_update(x, h, sizeof(*h));
    bool sound = was == t.hash && atomic_load(fs_map_faults(map)) == faults;
    t.hash = XXH3_64bits_digest(x);
    XXH3_freeState(x);
    fs_unmap(f, map);
    if (!sound)
        return ERR_CORRUPT;
    TRY(fs_pwrite(f, &t, sizeof(t), end));
    TRY(fs_pwrite(f, h, sizeof(*h), 0));
    return fs_datasync(f);
}

enum err segment_renumber(struct segment_writer *w, struct err_text *reterr)
{
    ASSERT(w->finished && !w->renamed);
    AUTO_FS_FILE struct fs_file *f = NULL;
    w->meta.id = store_segment_id_next(w->st, (enum store_signal)w->meta.signal);
    struct segment_header h = header_make(w);
    enum err e = fs_open(w->fs, w->tmp, FS_WRITE, &f);
    e = e ? e : header_change(f, &h);
    if (e)
        return err_fail(reterr, e, "%s: %s", w->tmp, err_describe(e));
    mem_free(w->path);
    w->path = segment_path_make(store_dir(w->st), (enum store_signal)w->meta.signal, w->meta.id, "vseg");
    return OK;
}
