/* The sum of dead processes (src/sdk/sdk_multiproc.c): any bytes behind a head that is right. Oracle: a rendering is valid
 * text whatever the file says, and this process's own counter is right in it. */
#include "../src/sdk/sdk_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[] = "/tmp/vane-sdk-fold-XXXXXX";
static char path[64];

static void end(void)
{
    vane_stop(0);
    char cmd[96];
    snprintf(cmd, sizeof cmd, "rm -r %s", folder);
    if (system(cmd))
        perror(folder);
}

static void start(void)
{
    vane_config c = VANE_CONFIG_INIT;
    c.ignore_environment = VANE_ON;
    c.process_metrics = VANE_OFF;
    c.log_sinks = "none";
    c.multiproc_dir = mkdtemp(folder);
    if (!c.multiproc_dir || vane_start(&c))
        abort();
    snprintf(path, sizeof path, "%s/vane_folded.vsf", folder);
    vane_counter_add(vane_counter_bind(vane_counter_new("own_total", "Own.", ""), VANE_NO_LABELS), 7);
    atexit(end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!vane_running())
        start();
    if (size < 2)
        return 0;
    static uint64_t generation;
    struct {
        char magic[8];
        uint64_t generation, n_held, n_records, bytes, hash;
    } h = { { 'V', 'A', 'N', 'E', 'F', 'O', 'L', '1' },
            ++generation,
            data[0],
            data[1],
            size - 2,
            sdk_hash(data + 2, size - 2) };
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(&h, sizeof h, 1, f) != 1 || fwrite(data + 2, 1, size - 2, f) != size - 2 || fclose(f))
        abort();
    char *body;
    size_t n;
    if (vane_render(VANE_FORMAT_OPENMETRICS, &body, &n) == VANE_OK) {
        if (!sdk_text_valid(body, n) || n < 6 || memcmp(body + n - 6, "# EOF\n", 6))
            abort();
        vane_render_free(body);
    }
    unlink(path);
    return 0;
}
