/* The metrics store alone: prints one JSON object. Data are unique per series (no target is a copy of another):
 * of every 100 series 63 are constant, the others counters, gauges with few digits and noise, as node_exporter's.
 *   bench_tsdb [series] [samples per series] [interval s] [acks]     default 100000 240 60
 * Figures: CPU seconds of the process per million samples for tsdb_write + tsdb_wait per request of 2,000 samples
 * (log and fdatasync in), resident bytes per series, replay after a crash, flush, bytes per sample on disk,
 * select and read of everything; with "acks" the time of acknowledgements while flushes and compactions run. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "store/store.h"
#include "tsdb/tsdb.h"

#define PER_REQUEST 2000
#define PER_TARGET  500
#define T0          1700000000000LL

struct sim {
    double v, step;
    unsigned kind;
};
struct bench {
    size_t n, samples;
    int64_t interval_ms;
    struct labels *labels;
    struct sim *sims;
    struct arena a;
    struct rng rng;
    struct store *st;
    struct tsdb *db;
    char dir[64];
};
struct bench_clock {
    struct clock c;
    int64_t now;
};
static int64_t now_ms(struct clock *c)
{
    return ((struct bench_clock *)(void *)c)->now;
}
static uint64_t mono_ns(struct clock *c)
{
    (void)c;
    return os_mono_ns();
}
static struct bench_clock clk = { { now_ms, mono_ns }, T0 };

static void must(enum err e, const char *what)
{
    if (e) {
        fprintf(stderr, "%s: %s\n", what, err_name(e));
        exit(1);
    }
}

static void make_series(struct bench *b)
{
    b->labels = mem_alloc(b->n * sizeof(*b->labels));
    b->sims = mem_zalloc(b->n * sizeof(*b->sims));
    for (size_t i = 0; i < b->n; i++) {
        size_t target = i / PER_TARGET, k = i % PER_TARGET;
        struct label *l = arena_array(&b->a, struct label, 6);
        l[0] = (struct label){ LABEL_NAME, arena_printf(&b->a, "node_family_%zu_total", k / 4) };
        l[1] = (struct label){ STR("cpu"), arena_printf(&b->a, "%zu", k % 4) };
        l[2] = (struct label){ STR("env"), STR("production") };
        l[3] = (struct label){ STR("instance"), arena_printf(&b->a, "10.0.%zu.%zu:9100", target / 250, target % 250) };
        l[4] = (struct label){ STR("job"), STR("node") };
        l[5] = (struct label){ STR("mode"), arena_printf(&b->a, "mode%zu", k % 7) };
        b->labels[i] = (struct labels){ l, 6 };
        struct sim *s = &b->sims[i];
        unsigned r = (unsigned)rng_below(&b->rng, 100);
        s->kind = r < 63 ? 0 : r < 77 ? 1 : r < 85 ? 2 : r < 97 ? 3 : 4;
        s->v = (double)rng_below(&b->rng, 1u << 24);
        s->step = (double)(1 + rng_below(&b->rng, 5000));
    }
}

static double next(struct bench *b, size_t i)
{
    struct sim *s = &b->sims[i];
    switch (s->kind) {
    case 0:
        return s->v;
    case 1: /* counter of events */
        return s->v += (double)(int64_t)(s->step * (0.9 + 0.2 * rng_unit(&b->rng)));
    case 2: /* seconds of CPU */
        return s->v = (double)(int64_t)((s->v + s->step / 100 * rng_unit(&b->rng)) * 100) / 100;
    case 3: /* a gauge in bytes, pages */
        return s->v += rng_below(&b->rng, 4) ? 0 : (double)((int64_t)rng_below(&b->rng, 64) - 32) * 4096;
    default:
        return s->v = s->v * 0.99 + rng_unit(&b->rng);
    }
}

static void open_db(struct bench *b)
{
    struct store_config sc;
    struct tsdb_config tc;
    struct err_text why = { 0 };
    store_config_defaults(&sc);
    tsdb_config_defaults(&tc);
    tc.retention_ms = 0;
    if (store_open(fs_os(), b->dir, &sc, &clk.c, &b->st, &why) || tsdb_open(&tc, b->st, &clk.c, &b->db, &why)) {
        fprintf(stderr, "open: %s\n", why.msg);
        exit(1);
    }
}

static uint64_t ingest(struct bench *b)
{
    struct sample *v = mem_alloc(PER_REQUEST * sizeof(*v));
    struct batch_series *bs = mem_zalloc(PER_REQUEST * sizeof(*bs));
    uint64_t cpu = 0;
    for (size_t t = 0; t < b->samples; t++) {
        int64_t ts = T0 + (int64_t)t * b->interval_ms;
        clk.now = ts + 1000;
        for (size_t from = 0; from < b->n; from += PER_REQUEST) {
            size_t k = b->n - from < PER_REQUEST ? b->n - from : PER_REQUEST;
            for (size_t i = 0; i < k; i++) { /* each target has its own phase */
                v[i] = (struct sample){ ts + (int64_t)((from + i) / PER_TARGET % 1000), next(b, from + i) };
                bs[i] = (struct batch_series){ .labels = b->labels[from + i], .samples = &v[i], .n_samples = 1 };
            }
            struct batch batch = { .n_samples = k };
            batch.series.p = bs;
            batch.series.n = k;
            struct tsdb_write_result r;
            uint64_t c0 = os_cpu_ns();
            must(tsdb_write(b->db, &batch, &r), "write");
            must(tsdb_wait(b->db, r.lsn), "wait");
            cpu += os_cpu_ns() - c0;
            if (r.samples != k) {
                fprintf(stderr, "refused: %s\n", r.first.msg);
                exit(1);
            }
        }
    }
    mem_free(v);
    mem_free(bs);
    return cpu;
}

struct readout {
    double select_s, read_s, wall_s;
    uint64_t samples;
};

static struct readout read_all(struct bench *b)
{
    struct readout r = { 0 };
    struct arena a;
    arena_init(&a, 0);
    struct tsdb_query *q;
    struct tsdb_series *s;
    size_t n;
    struct matcher m;
    must(matcher_init(&m, MATCH_EQ, STR("job"), STR("node"), NULL), "matcher");
    uint64_t c0 = os_cpu_ns(), w0 = os_mono_ns();
    must(tsdb_query_open(b->db, T0, T0 + (int64_t)b->samples * b->interval_ms, &q), "query");
    must(tsdb_select(q, &m, 1, 0, &a, &s, &n), "select");
    uint64_t c1 = os_cpu_ns();
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    for (size_t i = 0; i < n; i++) {
        struct tsdb_points p;
        must(tsdb_read(c, s[i].id, T0, INT64_MAX, &p), "read");
        r.samples += p.n;
    }
    uint64_t c2 = os_cpu_ns();
    tsdb_cursor_free(c);
    tsdb_query_close(q);
    matcher_deinit(&m);
    arena_deinit(&a);
    r.select_s = (double)(c1 - c0) / 1e9;
    r.read_s = (double)(c2 - c1) / 1e9;
    r.wall_s = (double)(os_mono_ns() - w0) / 1e9;
    return r;
}

/* ---- acknowledgements while segments are written and merged ---- */
struct background {
    struct tsdb *db;
    atomic_bool stop;
    unsigned rounds;
};

static void flush_and_compact(void *ctx)
{
    struct background *g = ctx;
    setpriority(PRIO_PROCESS, 0, 10); /* as the store's own thread */
    while (!atomic_load(&g->stop)) {
        must(tsdb_flush(g->db), "flush");
        must(tsdb_compact(g->db), "compact");
        g->rounds++;
    }
}

static int cmp_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

struct acks {
    double p50_ms, p99_ms, max_ms;
    size_t n;
};

/* Scrapes go on at a steady 400 requests a second; how long each took until it was durable. */
static struct acks acks(struct bench *b, size_t *io_t, double seconds)
{
    enum { PER_SECOND = 400 };
    static struct sample v[PER_REQUEST];
    static struct batch_series bs[PER_REQUEST];
    size_t max = (size_t)(seconds * PER_SECOND), from = 0;
    uint64_t *took = mem_alloc((max + 1) * sizeof(*took)), began = os_mono_ns();
    struct acks r = { 0 };
    for (; r.n < max; r.n++) {
        int64_t ts = T0 + (int64_t)*io_t * b->interval_ms;
        clk.now = ts + 1000;
        size_t k = b->n - from < PER_REQUEST ? b->n - from : PER_REQUEST;
        for (size_t i = 0; i < k; i++) {
            v[i] = (struct sample){ ts + (int64_t)((from + i) / PER_TARGET % 1000), next(b, from + i) };
            bs[i] = (struct batch_series){ .labels = b->labels[from + i], .samples = &v[i], .n_samples = 1 };
        }
        struct batch batch = { .n_samples = k };
        batch.series.p = bs;
        batch.series.n = k;
        struct tsdb_write_result w;
        uint64_t due = began + r.n * (1000000000ull / PER_SECOND), now = os_mono_ns();
        if (now < due)
            os_sleep_ms((unsigned)((due - now) / 1000000));
        uint64_t t0 = os_mono_ns();
        must(tsdb_write(b->db, &batch, &w), "write");
        must(tsdb_wait(b->db, w.lsn), "wait");
        took[r.n] = os_mono_ns() - t0;
        from += k;
        if (from >= b->n) {
            from = 0;
            ++*io_t;
        }
    }
    qsort(took, r.n, sizeof(*took), cmp_u64);
    r.p50_ms = (double)took[r.n / 2] / 1e6;
    r.p99_ms = (double)took[r.n * 99 / 100] / 1e6;
    r.max_ms = (double)took[r.n - 1] / 1e6;
    mem_free(took);
    return r;
}

static void acks_beside_compaction(struct bench *b)
{
    size_t t = b->samples;
    struct acks quiet = acks(b, &t, 5);
    struct background g = { .db = b->db };
    pthread_t thread;
    must(thread_start(&thread, "compact", flush_and_compact, &g), "thread");
    struct acks busy = acks(b, &t, 10);
    atomic_store(&g.stop, true);
    thread_join(thread);
    b->samples = t + 1;
    printf(
        "{\"ack_quiet\":{\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f},\"ack_beside_compaction\":{\"p50_ms\":%.3f,"
        "\"p99_ms\":%.3f,\"max_ms\":%.3f,\"rounds\":%u}}\n",
        quiet.p50_ms, quiet.p99_ms, quiet.max_ms, busy.p50_ms, busy.p99_ms, busy.max_ms, g.rounds);
}

static uint64_t copy_dir_and_replay(struct bench *b, uint64_t *ret_samples)
{
    char cmd[400];
    const char *dir = b->dir;
    snprintf(cmd, sizeof(cmd), "cp -r %s %s.crash && rm -f %s.crash/LOCK", dir, dir, dir);
    if (system(cmd))
        return 0;
    struct bench c = *b;
    snprintf(c.dir, sizeof(c.dir), "%.40s.crash", dir);
    uint64_t t0 = os_cpu_ns();
    open_db(&c);
    uint64_t t1 = os_cpu_ns();
    *ret_samples = read_all(&c).samples;
    tsdb_close(c.db);
    store_close(c.st);
    snprintf(cmd, sizeof(cmd), "rm -rf %s.crash", dir);
    return system(cmd) ? 0 : t1 - t0;
}

/* Rollups of everything: what they take beside the samples, in bytes and CPU per sample. */
static void rollups(struct bench *b, double total, uint64_t bytes)
{
    struct tsdb_rollup_config r[] = { { .res_ms = 300000 }, { .res_ms = 3600000 } };
    for (size_t n = 1; n <= 2; n++) {
        struct tsdb_config tc;
        struct tsdb_plan plan;
        struct arena a;
        arena_init(&a, 0);
        tsdb_config_defaults(&tc);
        tc.retention_ms = 0;
        tc.rollups = n == 1 ? r + 1 : r;
        tc.n_rollups = n;
        tsdb_set_limits(b->db, &tc);
        uint64_t c0 = os_cpu_ns();
        for (int i = 0; i < 20; i++)
            must(tsdb_compact(b->db), "rollup");
        double cpu = (double)(os_cpu_ns() - c0);
        must(tsdb_plan(b->db, NULL, &a, &plan, NULL), "plan");
        for (size_t i = 0; i < plan.n_rollups; i++)
            if (n == 1 || plan.rollups[i].res_ms == 300000)
                printf("{\"rollup_s\":%lld,\"windows\":%llu,\"bytes_per_window\":%.2f,\"bytes_per_sample\":%.4f,"
                       "\"share_of_samples\":%.3f,\"cpu_ns_per_sample\":%.1f}\n",
                       (long long)plan.rollups[i].res_ms / 1000, (unsigned long long)plan.rollups[i].windows,
                       (double)plan.rollups[i].bytes / (double)plan.rollups[i].windows,
                       (double)plan.rollups[i].bytes / total, (double)plan.rollups[i].bytes / (double)bytes,
                       cpu / total);
        arena_deinit(&a);
    }
}

int main(int argc, char **argv)
{
    struct bench b = { .n = argc > 1 ? (size_t)atol(argv[1]) : 100000,
                       .samples = argc > 2 ? (size_t)atol(argv[2]) : 240,
                       .interval_ms = (argc > 3 ? atol(argv[3]) : 60) * 1000 };
    b.rng.s = 7;
    arena_init(&b.a, 0);
    snprintf(b.dir, sizeof(b.dir), "/tmp/vane_bench_XXXXXX");
    if (!mkdtemp(b.dir))
        return 1;
    make_series(&b);
    open_db(&b);
    uint64_t rss0 = os_rss(), w0 = os_mono_ns();
    uint64_t cpu = ingest(&b);
    double wall = (double)(os_mono_ns() - w0) / 1e9, total = (double)b.n * (double)b.samples;
    os_sleep_ms(2500); /* a flush that is under way ends */
    uint64_t rss1 = os_rss();
    struct tsdb_stats st;
    struct arena a;
    arena_init(&a, 0);
    must(tsdb_stats(b.db, false, &a, &st), "stats");
    struct readout head = read_all(&b);
    uint64_t replayed = 0, replay_ns = copy_dir_and_replay(&b, &replayed);
    if (argc > 4 && strcmp(argv[4], "acks") == 0)
        acks_beside_compaction(&b);
    uint64_t c0 = os_cpu_ns();
    must(tsdb_flush(b.db), "flush");
    double flush_s = (double)(os_cpu_ns() - c0) / 1e9;
    struct tsdb_stats st2;
    must(tsdb_stats(b.db, false, &a, &st2), "stats");
    struct readout cold = read_all(&b), warm = read_all(&b);
    clk.now += 24 * 3600 * 1000LL;
    uint64_t c1 = os_cpu_ns();
    for (int i = 0; i < 20; i++)
        must(tsdb_compact(b.db), "compact");
    double compact_s = (double)(os_cpu_ns() - c1) / 1e9;
    struct tsdb_stats st3;
    must(tsdb_stats(b.db, false, &a, &st3), "stats");
    struct readout merged = read_all(&b);
    printf(
        "{\"series\":%zu,\"samples\":%.0f,\"ingest_cpu_s_per_million\":%.4f,\"ingest_wall_s\":%.2f,"
        "\"rss_bytes_per_series\":%.0f,\"account_bytes_per_series\":%.0f,\"wal_bytes_per_sample\":%.3f,"
        "\"replay_cpu_ns_per_sample\":%.1f,\"replayed\":%llu,\"flush_cpu_ns_per_sample\":%.1f,\"disk_bytes_per_sample_"
        "l0\":%.3f,"
        "\"segments_l0\":%llu,\"disk_bytes_per_sample_merged\":%.3f,\"segments_merged\":%llu,\"compact_cpu_s\":%.3f,\n"
        " \"head\":{\"select_cpu_s\":%.4f,\"read_cpu_s\":%.4f,\"ns_per_sample\":%.2f,\"samples\":%llu},"
        "\"cold\":{\"select_cpu_s\":%.4f,\"read_cpu_s\":%.4f,\"ns_per_sample\":%.2f,\"samples\":%llu},"
        "\"warm\":{\"select_cpu_s\":%.4f,\"read_cpu_s\":%.4f,\"ns_per_sample\":%.2f,\"samples\":%llu},"
        "\"merged\":{\"select_cpu_s\":%.4f,\"read_cpu_s\":%.4f,\"ns_per_sample\":%.2f,\"samples\":%llu}}\n",
        b.n, total, (double)cpu / 1e9 / total * 1e6, wall, (double)(rss1 - rss0) / (double)b.n,
        (double)st.head_bytes / (double)b.n, (double)st.wal_bytes / total, (double)replay_ns / total,
        (unsigned long long)replayed, flush_s * 1e9 / total, (double)st2.segment_bytes / total,
        (unsigned long long)st2.segments, (double)st3.segment_bytes / total, (unsigned long long)st3.segments,
        compact_s, head.select_s, head.read_s, head.read_s * 1e9 / total, (unsigned long long)head.samples,
        cold.select_s, cold.read_s, cold.read_s * 1e9 / total, (unsigned long long)cold.samples, warm.select_s,
        warm.read_s, warm.read_s * 1e9 / total, (unsigned long long)warm.samples, merged.select_s, merged.read_s,
        merged.read_s * 1e9 / total, (unsigned long long)merged.samples);
    const struct segment_set *set = store_segments_ref(b.st, STORE_METRICS);
    uint64_t by_kind[16] = { 0 }, rows = 0;
    for (size_t i = 0; i < set->n; i++) {
        size_t n;
        const struct segment_section *sec = segment_sections(set->p[i], &n);
        for (size_t k = 0; k < n; k++)
            by_kind[sec[k].kind % 16] += sec[k].bytes;
        rows += segment_meta(set->p[i])->rows;
    }
    segment_set_unref(set);
    printf("{\"merged_bytes_per_sample_by_section\":{");
    for (int k = 1; k < 12; k++)
        printf("%s\"%d\":%.4f", k > 1 ? "," : "", k, (double)by_kind[k] / (double)rows);
    printf("}}\n");
    clk.now += 48 * 3600 * 1000LL;
    for (int i = 0; i < 20; i++)
        must(tsdb_compact(b.db), "compact");
    must(tsdb_stats(b.db, false, &a, &st3), "stats");
    rollups(&b, total, st3.segment_bytes);
    tsdb_close(b.db);
    store_close(b.st);
    arena_deinit(&a);
    arena_deinit(&b.a);
    mem_free(b.labels);
    mem_free(b.sims);
    char cmd[100];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", b.dir);
    return system(cmd) != 0;
}
