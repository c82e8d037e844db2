/* The log: acknowledged records per second for 1, 8 and 32 writers, each waiting for its record; JSON to stdout.
 *   bench_wal [DIR]   DIR: where to put the data (default /tmp), on the disk to be measured */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/os.h"
#include "base/thread.h"
#include "store/store.h"

enum { RUN_MS = 700, WRITERS_MAX = 32 };

struct run {
    struct store *st;
    size_t bytes;
    atomic_bool stop;
    atomic_uint_least64_t acks, wait_ns;
};

static void writer(void *ctx)
{
    struct run *r = ctx;
    char *body = mem_zalloc(r->bytes);
    uint64_t acks = 0, wait = 0;
    while (!atomic_load(&r->stop)) {
        uint32_t epoch;
        uint64_t lsn, t0 = os_mono_ns();
        if (store_wal_pin(r->st, r->bytes, &epoch) != OK) {
            os_sleep_ms(1);
            continue;
        }
        struct iovec iov = { body, r->bytes };
        struct store_record rec = { .signal = STORE_METRICS, .iov = &iov, .n_iov = 1 };
        enum err e = store_wal_append(r->st, &rec, &lsn);
        store_wal_unpin(r->st);
        if (e == OK && store_wal_wait(r->st, lsn) == OK)
            acks++;
        wait += os_mono_ns() - t0;
    }
    atomic_fetch_add(&r->acks, acks);
    atomic_fetch_add(&r->wait_ns, wait);
    mem_free(body);
}

/* What a flush does: everything so far is in segments. */
static void low_water(struct store *st)
{
    struct store_edit e = { .signal = STORE_METRICS, .low_water_lsn = store_wal_durable_lsn(st) };
    struct err_text et;
    if (e.low_water_lsn)
        IGNORE_ERR(store_commit(st, &e, &et));
}

static void measure(struct store *st, unsigned writers, size_t bytes, bool first)
{
    struct run r = { .st = st, .bytes = bytes };
    pthread_t t[WRITERS_MAX];
    uint64_t t0 = os_mono_ns(), cpu = os_cpu_ns();
    for (unsigned i = 0; i < writers; i++)
        if (thread_start(&t[i], "writer", writer, &r) != OK)
            abort();
    for (int i = 0; i < 7; i++) {
        os_sleep_ms(RUN_MS / 7);
        low_water(st);
    }
    atomic_store(&r.stop, true);
    for (unsigned i = 0; i < writers; i++)
        thread_join(t[i]);
    double s = (double)(os_mono_ns() - t0) * 1e-9, n = (double)MAX((uint64_t)1, atomic_load(&r.acks));
    printf("%s\n  "
           "{\"name\":\"wal\",\"writers\":%u,\"bytes\":%zu,\"acks_per_s\":%.0f,\"mean_wait_ms\":%.3f,\"cpu_"
           "us_per_ack\":%.2f}",
           first ? "" : ",", writers, bytes, n / s, (double)atomic_load(&r.wait_ns) / n * 1e-6,
           (double)(os_cpu_ns() - cpu) / n * 1e-3);
}

int main(int argc, char **argv)
{
    char dir[512];
    struct store *st;
    struct err_text et = { 0 };
    static const unsigned writers[] = { 1, 8, 32 };
    static const size_t bytes[] = { 2 << 10, 32 << 10 };
    snprintf(dir, sizeof(dir), "%s/vane_wal_bench_XXXXXX", argc > 1 ? argv[1] : "/tmp");
    if (!mkdtemp(dir) || store_open(fs_os(), dir, NULL, os_clock(), &st, &et) != OK) {
        fprintf(stderr, "%s\n", et.msg);
        return 1;
    }
    printf("[");
    for (size_t b = 0; b < ARRAY_LEN(bytes); b++)
        for (size_t w = 0; w < ARRAY_LEN(writers); w++)
            measure(st, writers[w], bytes[b], b + w == 0);
    printf("\n]\n");
    store_close(st);
    char cmd[600];
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
    return system(cmd) ? 1 : 0;
}
