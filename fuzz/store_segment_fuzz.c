/* A segment file of any bytes: opening and reading every page stays inside. The checksums of header, footer and
 * pages are made good on every other input, to get past them. */
#include "../tests/support/sim_fs.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "store/store_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void bless(char *p, size_t n)
{
    struct segment_trailer t;
    struct segment_header h;
    ASSERT(p); /* -fsanitize=null makes gcc think of it */
    if (n < sizeof(t) + sizeof(h))
        return;
    memcpy(&h, p, sizeof(h));
    memcpy(h.magic, segment_magic, 8);
    h.version = SEGMENT_VERSION;
    h.crc = crc32c(0, str_n((const char *)&h, sizeof(h) - 4));
    memcpy(p, &h, sizeof(h));
    memcpy(&t, p + n - sizeof(t), sizeof(t));
    memcpy(t.magic, segment_end_magic, 8);
    size_t end = n - sizeof(t);
    if (t.footer_off >= end)
        t.footer_off = (end / 2) & ~(size_t)7;
    t.footer_len = (uint32_t)(end - t.footer_off);
    t.footer_crc = crc32c(0, str_n(p + t.footer_off, t.footer_len));
    memcpy(p + n - sizeof(t), &t, sizeof(t));
}

static void pages_bless(struct segment *g) /* in the mapping, which is a copy of ours */
{
    for (uint32_t i = 0; i < g->n_pages; i++)
        atomic_fetch_or(&g->checked[i / 64], 1ull << (i % 64));
}

static void look(struct segment *g)
{
    struct page_buf b = { 0 };
    size_t n;
    str raw;
    const struct segment_section *s = segment_sections(g, &n);
    for (size_t i = 0; i < n; i++) {
        ASSERT((uint64_t)s[i].page_first + s[i].n_pages <= segment_n_pages(g));
        ASSERT(segment_section_find(g, s[i].kind, s[i].column) == &s[i]);
    }
    for (uint32_t i = 0; i < segment_n_pages(g) && i < 64; i++)
        if (segment_page_read(g, i, &b, &raw) == OK)
            ASSERT(raw.n == segment_page_raw_len(g, i) && raw.n <= SEGMENT_PAGE_BYTES_MAX);
    page_buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_fs *s = sim_fs_new(1);
    struct fs_file *f;
    struct segment *g;
    log_setup((enum log_level)(LOG_LEVEL_ERROR + 1), LOG_FORMAT_LOGFMT);
    str copy = mem_dup(str_n((const char *)data, size));
    if (size && data[0] % 2)
        bless((char *)(uintptr_t)copy.p, size);
    enum err e = fs_open(sim_fs_fs(s), "/x", FS_CREATE, &f);
    ASSERT(e == OK);
    e = fs_pwrite(f, copy.p, copy.n, 0);
    ASSERT(e == OK);
    fs_close(f);
    if (segment_open(sim_fs_fs(s), "/x", &g, NULL) == OK) {
        look(g);
        IGNORE_ERR(segment_verify(g, NULL));
        pages_bless(g);
        look(g);
        segment_unref(g);
    }
    mem_free((void *)(uintptr_t)copy.p);
    sim_fs_free(s);
    return 0;
}
