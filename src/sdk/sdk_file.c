/* See sdk_file.h. */
#include "sdk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct sdk_block_head *block_of(const struct sdk_file *f, uint32_t block)
{
    return (const struct sdk_block_head *)(const void *)(f->p + (size_t)block * SDK_BLOCK);
}

void sdk_file_free(struct sdk_file *f)
{
    sdk_free(f->p, (size_t)f->n_blocks * SDK_BLOCK);
    sdk_free(f->next, (size_t)f->n_blocks * sizeof *f->next);
    f->p = NULL;
    f->next = NULL;
    f->n_blocks = 0;
}

static bool read_all(int fd, char *p, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t got = pread(fd, p + at, n - at, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        at += (size_t)got;
    }
    return true;
}

static void index_slabs(struct sdk_file *f)
{
    memset(f->seg_first, 0, sizeof f->seg_first);
    for (uint32_t i = 1; i < f->n_blocks; i++) {
        const struct sdk_block_head *h = block_of(f, i);
        if (h->magic != SDK_BLOCK_MAGIC || h->kind != SDK_B_SLAB || h->seg >= SDK_SEGS_MAX)
            continue;
        f->next[i] = f->seg_first[h->seg];
        f->seg_first[h->seg] = i;
    }
}

vane_status sdk_file_load(struct sdk_file *f, char *p, size_t n)
{
    const struct sdk_file_head *head = (const struct sdk_file_head *)(const void *)(p + sizeof(struct sdk_block_head));
    f->p = p;
    f->next = NULL;
    f->n_blocks = (uint32_t)(n / SDK_BLOCK);
    uint32_t blocks = n >= SDK_BLOCK ? atomic_load_explicit(&head->n_blocks, memory_order_relaxed) : 0;
    vane_status st = VANE_E_ARG;
    if (n % SDK_BLOCK == 0 && blocks && blocks <= f->n_blocks && !memcmp(head->magic, "VANESDK1", 8) &&
        head->version == SDK_FILE_VERSION && head->block_bytes == SDK_BLOCK) {
        f->next = sdk_alloc((size_t)f->n_blocks * sizeof *f->next);
        st = f->next ? VANE_OK : VANE_E_NOMEM;
    }
    if (st) {
        sdk_free(p, n);
        f->p = NULL;
        f->n_blocks = 0;
        return st;
    }
    f->head = head;
    index_slabs(f);
    return VANE_OK;
}

vane_status sdk_file_read(struct sdk_file *f, const char *path)
{
    *f = (struct sdk_file){ .p = NULL };
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return VANE_E_IO;
    struct stat st;
    vane_status status = VANE_E_ARG;
    char *p = NULL;
    size_t n = 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
        st.st_size <= (off_t)SDK_BLOCKS_MAX * SDK_BLOCK) {
        n = (size_t)st.st_size / SDK_BLOCK * SDK_BLOCK;
        p = n ? sdk_alloc(n) : NULL;
        status = !n ? VANE_E_ARG : !p ? VANE_E_NOMEM : read_all(fd, p, n) ? VANE_OK : VANE_E_IO;
    }
    close(fd);
    if (status) {
        sdk_free(p, n);
        return status;
    }
    return sdk_file_load(f, p, n);
}

bool sdk_file_alive(const struct sdk_file_head *h)
{
    if (h->state != SDK_FILE_RUNNING)
        return false;
    static _Atomic bool have_boot;
    static uint8_t boot[16];
    if (!atomic_load_explicit(&have_boot, memory_order_acquire)) {
        sdk_boot_id(boot); /* the same bytes whoever comes first */
        atomic_store_explicit(&have_boot, true, memory_order_release);
    }
    return !memcmp(boot, h->boot_id, 16) && sdk_start_ticks(h->pid) == h->start_ticks && h->start_ticks;
}

bool sdk_record_parse(const char *p, size_t n, struct sdk_file_series *ret)
{
    const struct sdk_meta_record *r = (const struct sdk_meta_record *)(const void *)p;
    if (n < sizeof *r || r->bytes < sizeof *r || r->bytes > n || r->bytes % 8)
        return false;
    size_t strings = (size_t)r->name_n + r->help_n + r->unit_n + r->scope_n + r->version_n + r->states_n + r->labels_n;
    size_t need = sizeof *r + (size_t)r->n_bounds * sizeof(double) + strings;
    if (need > r->bytes || r->labels_n > SDK_TEXT_MAX || r->n_bounds > VANE_BOUNDS_MAX || r->kind < VANE_COUNTER ||
        r->kind > VANE_STATESET || r->gauge_mode > VANE_GAUGE_LIVE_RECENT || r->schema > 6 || !r->name_n ||
        r->name_n > 2 * VANE_NAME_MAX || r->slot >= SDK_SEGS_MAX * SDK_BLOCK_SLOTS)
        return false;
    uint32_t first = r->slot % SDK_BLOCK_SLOTS, counts = r->n_bounds ? r->n_bounds + 1u : 0;
    uint32_t slots = r->kind != VANE_HISTOGRAM ? 1 : r->native ? SDK_H_CLASSIC + counts : SDK_H_COUNTS + counts;
    if (r->kind == VANE_GAUGE)
        slots = 2;
    if (first < SDK_HEAD_SLOTS || first + slots > SDK_BLOCK_SLOTS ||
        (r->kind == VANE_HISTOGRAM && !r->native && !counts))
        return false;
    ret->r = r;
    ret->bounds = (const double *)(const void *)(p + sizeof *r);
    ret->name = p + sizeof *r + (size_t)r->n_bounds * sizeof(double);
    ret->help = ret->name + r->name_n;
    ret->unit = ret->help + r->help_n;
    ret->scope = ret->unit + r->unit_n;
    ret->version = ret->scope + r->scope_n;
    ret->states = ret->version + r->version_n;
    ret->labels = ret->states + r->states_n;
    return sdk_text_valid(ret->name, strings - r->states_n - r->labels_n) && sdk_text_valid(ret->labels, r->labels_n) &&
           !memchr(ret->labels, '\n', r->labels_n) && (!r->states_n || ret->states[r->states_n - 1] == 0);
}

int sdk_file_each(const struct sdk_file *f,
                  int (*fn)(void *ctx, const struct sdk_file *f, const struct sdk_file_series *s), void *ctx)
{
    for (uint32_t i = 1; i < f->n_blocks; i++) {
        const struct sdk_block_head *h = block_of(f, i);
        if (h->magic != SDK_BLOCK_MAGIC || h->kind != SDK_B_META)
            continue;
        size_t used = atomic_load_explicit(&h->used, memory_order_relaxed);
        const char *p = (const char *)h;
        used = used > SDK_BLOCK ? 0 : used;
        for (size_t at = sizeof *h; at + sizeof(struct sdk_meta_record) <= used;) {
            struct sdk_file_series s;
            if (!sdk_record_parse(p + at, used - at, &s)) {
                sdk_count(SDK_FILES_BAD, 1);
                break;
            }
            int stop = s.r->state == 1 ? fn(ctx, f, &s) : 0;
            if (stop)
                return stop;
            at += s.r->bytes;
        }
    }
    return 0;
}

static const _Atomic uint64_t *slot_in(const struct sdk_file *f, uint32_t block, uint32_t slot)
{
    return (const _Atomic uint64_t *)(const void *)(f->p + (size_t)block * SDK_BLOCK) + slot % SDK_BLOCK_SLOTS;
}

uint64_t sdk_file_u64(const struct sdk_file *f, uint32_t slot)
{
    uint64_t sum = 0;
    for (uint32_t b = f->seg_first[SDK_SLOT_SEG(slot)]; b; b = f->next[b])
        sum += atomic_load_explicit(slot_in(f, b, slot), memory_order_relaxed);
    return sum;
}

double sdk_file_f64(const struct sdk_file *f, uint32_t slot)
{
    double sum = 0;
    for (uint32_t b = f->seg_first[SDK_SLOT_SEG(slot)]; b; b = f->next[b]) {
        uint64_t bits = atomic_load_explicit(slot_in(f, b, slot), memory_order_relaxed);
        double v;
        memcpy(&v, &bits, 8);
        sum += v;
    }
    return sum;
}

uint64_t sdk_file_shard0(const struct sdk_file *f, uint32_t slot)
{
    for (uint32_t b = f->seg_first[SDK_SLOT_SEG(slot)]; b; b = f->next[b])
        if (block_of(f, b)->shard == 0)
            return atomic_load_explicit(slot_in(f, b, slot), memory_order_relaxed);
    return 0;
}

static const _Atomic uint64_t *unit_in(const void *ctx, uint32_t unit, uint32_t n)
{
    const struct sdk_file *f = ctx;
    if ((uint64_t)unit + n > (uint64_t)f->n_blocks * (SDK_BLOCK / SDK_UNIT))
        return NULL;
    return (const _Atomic uint64_t *)(const void *)(f->p + (size_t)unit * SDK_UNIT);
}

void sdk_file_hist(const struct sdk_file *f, const struct sdk_meta_record *r, struct sdk_hist *h)
{
    sdk_hist_reset(h, r->schema, r->n_bounds ? r->n_bounds + 1u : 0);
    for (uint32_t b = f->seg_first[SDK_SLOT_SEG(r->slot)]; b && !h->failed; b = f->next[b])
        sdk_hist_add(h, slot_in(f, b, r->slot), r->native, r->n_bounds, unit_in, f);
}

int sdk_file_regions(const struct sdk_file *f,
                     int (*fn)(void *ctx, const char kind[4], uint32_t index, const void *p, size_t n), void *ctx)
{
    for (uint32_t i = 1; i < f->n_blocks; i++) {
        const struct sdk_block_head *h = block_of(f, i);
        if (h->magic != SDK_BLOCK_MAGIC || h->kind != SDK_B_REGION ||
            h->bytes > (uint64_t)(f->n_blocks - i) * SDK_BLOCK - sizeof *h)
            continue;
        int stop = fn(ctx, h->region, h->index, h + 1, h->bytes);
        if (stop)
            return stop;
        i += (uint32_t)((h->bytes + sizeof *h + SDK_BLOCK - 1) / SDK_BLOCK) - 1;
    }
    return 0;
}
