/* The files processes leave for each other (src/sdk/sdk_file.c): any bytes. Oracle: records that are given have valid names
 * and labels, histograms add up, what the black box prints is valid UTF-8; nothing outside the file is read (AddressSanitizer). */
#include "../src/sdk/sdk_file.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int see(void *ctx, const struct sdk_file *f, const struct sdk_file_series *s)
{
    (void)ctx;
    static struct sdk_hist h;
    if (!sdk_text_valid(s->name, s->r->name_n) || !sdk_text_valid(s->labels, s->r->labels_n))
        abort();
    sdk_file_u64(f, s->r->slot);
    sdk_file_f64(f, s->r->slot);
    sdk_file_shard0(f, s->r->slot);
    if (s->r->kind == VANE_HISTOGRAM) {
        struct sdk_point p = { 0 };
        sdk_file_hist(f, s->r, &h);
        sdk_hist_finish(&h, 160, &p);
        uint64_t sum = p.zero_count;
        for (size_t i = 0; i < p.n_pos; i++)
            sum += p.pos[i].count;
        for (size_t i = 0; i < p.n_neg; i++)
            sum += p.neg[i].count;
        if (sum != p.count || p.n_pos + p.n_neg > 160)
            abort();
    }
    return 0;
}

static int see_region(void *ctx, const char kind[4], uint32_t index, const void *p, size_t n)
{
    (void)kind, (void)index;
    const volatile uint8_t *b = p;
    *(uint8_t *)ctx = n ? (uint8_t)(b[0] ^ b[n - 1]) : 0;
    return 0;
}

/* The input is blocks in short: a byte of how much to take, then so many bytes of a block, the rest of it zero. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sdk_file f;
    size_t blocks = 0;
    char *p = sdk_alloc(16 * SDK_BLOCK), *exact;
    for (size_t at = 0; at + 2 <= size && blocks < 16; blocks++) {
        size_t n = (size_t)data[at] * 256 + data[at + 1];
        at += 2;
        n = n > SDK_BLOCK ? SDK_BLOCK : n;
        n = n > size - at ? size - at : n;
        memcpy(p + blocks * SDK_BLOCK, data + at, n);
        at += n;
    }
    exact = sdk_alloc(blocks * SDK_BLOCK);
    memcpy(exact, p, blocks * SDK_BLOCK);
    sdk_free(p, 16 * SDK_BLOCK);
    if (sdk_file_load(&f, exact, blocks * SDK_BLOCK) != VANE_OK)
        return 0;
    uint8_t sink = 0;
    sdk_file_each(&f, see, NULL);
    sdk_file_regions(&f, see_region, &sink);
    struct sdk_buf b;
    sdk_buf_init(&b, (size_t)64 << 20);
    sdk_blackbox_file(&f, &b);
    if (!sdk_text_valid(b.p, b.n))
        abort();
    sdk_buf_free(&b);
    sdk_file_free(&f);
    return 0;
}
