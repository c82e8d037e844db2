/* Codecs: bytes and nanoseconds per sample, JSON to stdout.
 *   bench_codec [DIR]   DIR: files of scrapes in text format (sorted by name = by time); without it, made-up columns
 * Every column is decoded and compared bit for bit. zstd is what a segment does: pages of 64 KiB, level 1. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/check.h"
#include "base/fs.h"
#include "base/hash.h"
#include "base/num.h"
#include "base/os.h"
#include "base/vec.h"
#include "store/codec.h"

struct column {
    str name;
    VEC(double) v;
};
typedef VEC(struct column) columns;

#define MAP_NAME     index_map
#define MAP_KEY      str
#define MAP_VALUE    size_t
#define MAP_HASH(k)  hash64(k)
#define MAP_EQ(a, b) str_eq(a, b)
#include "base/map.h"

/* ---- input ---- */
static void scrape_add(columns *c, struct index_map *ix, str text, size_t scrape)
{
    str line;
    while (str_cut(&text, '\n', &line)) {
        if (line.n == 0 || line.p[0] == '#')
            continue;
        size_t sp = line.n;
        while (sp > 0 && line.p[sp - 1] != ' ')
            sp--;
        double v;
        if (sp == 0 || !num_parse_f64(str_skip(line, sp), &v))
            continue;
        str name = str_take(line, sp - 1);
        size_t *at = index_map_get(ix, name);
        if (!at) {
            struct column fresh = { .name = mem_dup(name) };
            vec_push(c, fresh);
            at = index_map_put(ix, fresh.name, NULL);
            *at = c->n - 1;
        }
        if (c->p[*at].v.n == scrape) /* only series that are in every scrape */
            vec_push(&c->p[*at].v, v);
    }
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static size_t scrapes_read(columns *c, const char *dir)
{
    struct dirent **list;
    struct index_map ix = { 0 };
    size_t scrapes = 0;
    int n = scandir(dir, &list, NULL, by_name);
    for (int i = 0; i < n; i++) {
        char path[4096];
        struct arena a;
        str text;
        arena_init(&a, 0);
        snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
        if (list[i]->d_name[0] == 's' && fs_read_file(fs_os(), path, 64 << 20, &a, &text, NULL) == OK && text.n)
            scrape_add(c, &ix, text, scrapes++);
        arena_deinit(&a);
        free(list[i]);
    }
    if (n >= 0)
        free(list);
    index_map_free(&ix);
    return scrapes;
}

/* Shapes of node_exporter: two thirds constant, counters of integers and hundredths, gauges. */
static size_t columns_make(columns *c)
{
    enum { SERIES = 600, N = 1200 };
    struct rng r = { 7 };
    for (int s = 0; s < SERIES; s++) {
        struct column col = { .name = STR("made") };
        double x = (double)rng_below(&r, 100000), rate = (double)rng_below(&r, 50);
        for (int i = 0; i < N; i++) {
            if (s % 12 == 1)
                x += (double)rng_below(&r, (uint64_t)rate + 1);
            else if (s % 12 == 3 && rng_below(&r, 10) == 0)
                x += 1;
            else if (s % 12 == 5)
                x = (double)((int64_t)(x * 100 + 0.5) + (int64_t)rng_below(&r, 16)) / 100;
            else if (s % 12 == 7)
                x = 4096 * (double)(1000000 + rng_below(&r, 3000));
            vec_push(&col.v, x);
        }
        vec_push(c, col);
    }
    return N;
}

/* ---- measuring ---- */
struct chunk {
    size_t off, n;
    const double *v;
};

static size_t zstd_pages(str s)
{
    enum { PAGE = 64 << 10 };
    char *z = mem_alloc(ZSTD_compressBound(PAGE));
    size_t bytes = 0;
    for (size_t at = 0; at < s.n; at += PAGE)
        bytes += 16 + ZSTD_compress(z, ZSTD_compressBound(PAGE), s.p + at, MIN((size_t)PAGE, s.n - at), 1);
    mem_free(z);
    return bytes;
}

static void run(const columns *c, size_t scrapes, size_t chunk, bool first)
{
    struct buf b;
    VEC(struct chunk) list = { 0 };
    size_t samples = 0, constant = 0, varying = 0;
    buf_init(&b, 0);
    uint64_t t0 = os_mono_ns();
    for (size_t at = 0; at < scrapes; at += chunk)
        vec_each (struct column, col, c) {
            if (col->v.n != scrapes)
                continue;
            struct chunk k = { b.n, MIN(chunk, scrapes - at), col->v.p + at };
            codec_f64_encode(&b, k.v, k.n);
            vec_push(&list, k);
            samples += k.n;
        }
    uint64_t t1 = os_mono_ns();
    double *out = mem_alloc(chunk * sizeof(*out));
    size_t used, bad = 0, varying_samples = 0;
    uint64_t decode_ns = 0, best = UINT64_MAX, best_varying = UINT64_MAX;
    for (int round = 0; round < 5; round++) {
        uint64_t t2 = os_mono_ns(), v_ns = 0;
        varying_samples = constant = varying = 0;
        vec_each (struct chunk, k, &list) {
            double cv;
            if (codec_f64_const(str_skip(buf_str(&b), k->off), k->n, &cv)) {
                constant++;
                continue;
            }
            bad += codec_f64_decode(str_skip(buf_str(&b), k->off), k->n, out, &used) != OK;
            varying++;
            varying_samples += k->n;
        }
        v_ns = os_mono_ns() - t2;
        best_varying = MIN(best_varying, v_ns);
        t2 = os_mono_ns();
        vec_each (struct chunk, k, &list)
            bad += codec_f64_decode(str_skip(buf_str(&b), k->off), k->n, out, &used) != OK;
        decode_ns = os_mono_ns() - t2;
        best = MIN(best, decode_ns);
    }
    vec_each (struct chunk, k, &list) {
        bad += codec_f64_decode(str_skip(buf_str(&b), k->off), k->n, out, &used) != OK;
        bad += memcmp(out, k->v, k->n * 8) != 0;
    }
    size_t pages = zstd_pages(buf_str(&b));
    double s = (double)samples;
    printf("%s\n  "
           "{\"name\":\"f64\",\"chunk\":%zu,\"samples\":%zu,\"constant_chunks\":%zu,\"varying_chunks\":%zu,"
           "\"wrong\":%zu,"
           "\"bytes_per_sample\":%.3f,\"zstd_bytes_per_sample\":%.3f,\"encode_ns\":%.2f,\"decode_ns\":%.2f,"
           "\"decode_varying_ns\":%.2f}",
           first ? "" : ",", chunk, samples, constant, varying, bad, (double)b.n / s, (double)pages / s,
           (double)(t1 - t0) / s, (double)best / s,
           varying_samples ? (double)best_varying / (double)varying_samples : 0);
    vec_free(&list);
    mem_free(out);
    buf_deinit(&b);
}

static void unpack_rates(void)
{
    enum { N = 128, ROUNDS = 20000 };
    static const unsigned widths[] = { 1, 4, 7, 12, 20, 33, 52 };
    for (size_t i = 0; i < ARRAY_LEN(widths); i++) {
        uint64_t v[N], out[N];
        struct rng r = { 3 };
        struct buf b;
        buf_init(&b, 0);
        for (size_t k = 0; k < N; k++)
            v[k] = rng_next(&r) >> (64 - widths[i]);
        codec_pfor_encode(&b, v, N);
        uint64_t t0 = os_mono_ns();
        size_t bad = 0;
        for (int k = 0; k < ROUNDS; k++)
            bad += codec_pfor_decode(buf_str(&b), N, out, NULL) != OK;
        printf(",\n  {\"name\":\"pfor_decode\",\"width\":%u,\"wrong\":%zu,\"ns\":%.3f}", widths[i], bad,
               (double)(os_mono_ns() - t0) / N / ROUNDS);
        buf_deinit(&b);
    }
}

int main(int argc, char **argv)
{
    static const size_t chunks[] = { 120, 240, 480, 1200 };
    columns c = { 0 };
    size_t scrapes = argc > 1 ? scrapes_read(&c, argv[1]) : columns_make(&c);
    printf("[");
    for (size_t i = 0; i < ARRAY_LEN(chunks); i++)
        run(&c, scrapes, chunks[i], i == 0);
    unpack_rates();
    printf("\n]\n");
    return 0;
}
