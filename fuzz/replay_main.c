/* Runs a fuzz target over the files of its corpus folder, and over truncations and single-byte changes of
 * each (a fixed number, from a fixed seed), so that every test run exercises the decoders with bad input. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MUTATIONS = 200, FILE_BYTES_MAX = 1 << 20 };

static void run_mutations(const uint8_t *data, size_t n)
{
    uint64_t s = 0x9e3779b97f4a7c15ull ^ n;
    uint8_t *copy = malloc(n + 1);
    if (!copy)
        abort();
    for (int i = 0; i < MUTATIONS && n > 0; i++) {
        s = s * 6364136223846793005ull + 1442695040888963407ull;
        memcpy(copy, data, n);
        copy[(s >> 33) % n] = (uint8_t)(s >> 56);
        size_t len = i % 3 == 0 ? (size_t)(s >> 20) % (n + 1) : n;
        LLVMFuzzerTestOneInput(copy, len);
    }
    free(copy);
}

int main(int argc, char **argv)
{
    size_t n_files = 0;
    LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    DIR *d = argc > 1 ? opendir(argv[1]) : NULL;
    uint8_t *buf = malloc(FILE_BYTES_MAX);
    if (!buf)
        abort();
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", argv[1], e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!f)
            continue;
        size_t n = fread(buf, 1, FILE_BYTES_MAX, f);
        fclose(f);
        LLVMFuzzerTestOneInput(buf, n);
        run_mutations(buf, n);
        n_files++;
    }
    if (d)
        closedir(d);
    free(buf);
    printf("replayed %zu files\n", n_files);
    return n_files ? 0 : 1; /* a target without a corpus is a target without a test */
}
