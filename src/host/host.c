/* The collection loop: every interval one batch with one timestamp; series that were there the last time
 * and are gone get a staleness marker. See host.h. */
#include "host/host_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/num.h"
#include "base/stats.h"
#include "base/thread.h"

static const struct {
    const char *name;
    enum err (*collect)(struct host *h);
} collectors[] = {
    { "cpu", host_cpu },
    { "stat", host_stat },
    { "loadavg", host_loadavg },
    { "meminfo", host_meminfo },
    { "vmstat", host_vmstat },
    { "pressure", host_pressure },
    { "diskstats", host_diskstats },
    { "filesystem", host_filesystem },
    { "netdev", host_netdev },
    { "sockstat", host_sockstat },
    { "system", host_system },
    { "processes", host_processes },
    { "cgroups", host_cgroups },
};

static struct stat append_failures =
    STAT_COUNTER("vane_host_append_failures_total", "Rounds of host metrics that the store refused", "");

enum err host_read(struct host *h, const char *path, str *ret)
{
    char whole[1024];
    snprintf(whole, sizeof(whole), "%s%s", h->cfg.root ? h->cfg.root : "", path);
    return fs_read_file(fs_os(), whole, HOST_FILE_BYTES_MAX, h->a, ret, NULL);
}

bool host_line(str *rest, str *ret_line)
{
    return str_cut(rest, '\n', ret_line);
}

bool host_word(str *rest, str *ret_word)
{
    size_t i = 0;
    while (i < rest->n && (rest->p[i] == ' ' || rest->p[i] == '\t'))
        i++;
    size_t from = i;
    while (i < rest->n && rest->p[i] != ' ' && rest->p[i] != '\t')
        i++;
    *ret_word = str_n(rest->p + from, i - from);
    *rest = str_skip(*rest, i);
    return ret_word->n > 0;
}

bool host_word_f64(str *rest, double *ret)
{
    str word;
    return host_word(rest, &word) && num_parse_f64(word, ret);
}

void host_emit(struct host *h, const char *name, enum metric_type type, const char *help, double v,
               const struct host_label *labels, size_t n_labels)
{
    ASSERT(n_labels <= HOST_LABELS_MAX);
    struct label *p = arena_array(h->a, struct label, n_labels + 3);
    size_t n = 0;
    p[n++] = (struct label){ LABEL_NAME, str_c(name) };
    p[n++] = (struct label){ STR("instance"), str_c(h->instance) };
    p[n++] = (struct label){ STR("job"), str_c(h->job) };
    for (size_t i = 0; i < n_labels; i++)
        p[n++] = (struct label){ str_c(labels[i].name), labels[i].value };
    for (size_t i = 0; i < n; i++)
        if (!str_utf8_ok(p[i].value))
            return;
    if (labels_sort(p, &n, NULL) != OK)
        return;
    struct sample *s = arena_new(h->a, struct sample);
    *s = (struct sample){ h->ts_ms, v };
    struct batch_series series = {
        .labels = { p, n },
        .samples = s,
        .n_samples = 1,
        .meta = { .type = type, .help = str_c(help) },
    };
    avec_push(h->a, &h->b->series, series);
    h->b->n_samples++;
}

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(*(const struct labels *)a, *(const struct labels *)b);
}

/* Markers for the series of the previous round that this one lacks; then this round becomes the previous. */
static void host_mark_stale(struct host *h)
{
    size_t n = h->b->series.n;
    struct labels *now = arena_array(h->a, struct labels, n);
    for (size_t i = 0; i < n; i++)
        now[i] = h->b->series.p[i].labels;
    if (n)
        qsort(now, n, sizeof(*now), by_labels);
    for (size_t i = 0, k = 0; i < h->prev.n; i++) {
        int c = 1;
        while (k < n && (c = labels_cmp(now[k], h->prev.p[i])) < 0)
            k++;
        if (k < n && c == 0)
            continue;
        struct sample *s = arena_new(h->a, struct sample);
        *s = (struct sample){ h->ts_ms, f64_from_bits(STALE_NAN_BITS) };
        struct batch_series series = { .labels = labels_copy(h->a, h->prev.p[i]), .samples = s, .n_samples = 1 };
        avec_push(h->a, &h->b->series, series);
        h->b->n_samples++;
    }
    arena_reset(&h->prev_arena);
    h->prev.p = arena_array(&h->prev_arena, struct labels, n);
    h->prev.cap = h->prev.n = n;
    for (size_t i = 0; i < n; i++)
        h->prev.p[i] = labels_copy(&h->prev_arena, now[i]);
}

static void host_begin(struct host *h, struct batch *b)
{
    h->b = b;
    h->a = b->a;
    h->ts_ms = clock_now_ms(h->cfg.clock);
}

void host_collect(struct host *h, struct batch *b)
{
    host_begin(h, b);
    for (size_t i = 0; i < ARRAY_LEN(collectors); i++) {
        uint64_t t0 = os_mono_ns();
        enum err e = collectors[i].collect(h);
        double seconds = (double)(os_mono_ns() - t0) / 1e9;
        host_put(h, "node_scrape_collector_success", METRIC_GAUGE, "Whether a collector succeeded.", e == OK ? 1 : 0,
                 HL("collector", str_c(collectors[i].name)));
        host_put(h, "node_scrape_collector_duration_seconds", METRIC_GAUGE, "Duration of a collector.", seconds,
                 HL("collector", str_c(collectors[i].name)));
    }
    host_mark_stale(h);
}

static void host_round(struct host *h, bool last)
{
    struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a };
    if (last) {
        host_begin(h, &b);
        host_mark_stale(h);
    } else {
        host_collect(h, &b);
    }
    enum err e = h->cfg.sink.append(h->cfg.sink.ctx, &b);
    if (e) {
        stat_add(&append_failures, 1);
        LOG_WARN("host metrics were not stored, trying again at the next interval", "err", err_describe(e));
    }
    arena_deinit(&a);
}

static void host_thread(void *ctx)
{
    struct host *h = ctx;
    uint64_t next = os_mono_ns();
    mtx_lock(&h->mu);
    while (!h->closing) {
        mtx_unlock(&h->mu);
        host_round(h, false);
        mtx_lock(&h->mu);
        next += (uint64_t)h->cfg.interval_ms * 1000000;
        uint64_t now = os_mono_ns();
        if (next < now)
            next = now; /* a round took longer than the interval */
        while (!h->closing && (now = os_mono_ns()) < next)
            cond_wait_ms(&h->wake, &h->mu, (unsigned)((next - now) / 1000000 + 1));
    }
    mtx_unlock(&h->mu);
    host_round(h, true);
}

struct host *host_new(const struct host_config *cfg)
{
    struct host *h = mem_zalloc(sizeof(*h));
    h->cfg = *cfg;
    if (!h->cfg.clock)
        h->cfg.clock = os_clock();
    if (h->cfg.interval_ms <= 0)
        h->cfg.interval_ms = 15000;
    if (!h->cfg.top_processes)
        h->cfg.top_processes = 20;
    if (!cfg->instance && gethostname(h->instance, sizeof(h->instance) - 1) != 0)
        snprintf(h->instance, sizeof(h->instance), "localhost");
    if (cfg->instance)
        snprintf(h->instance, sizeof(h->instance), "%s", cfg->instance);
    snprintf(h->job, sizeof(h->job), "%s", cfg->job ? cfg->job : "node");
    arena_init(&h->prev_arena, 0);
    mtx_init(&h->mu, 0);
    cond_init(&h->wake);
    return h;
}

enum err host_open(const struct host_config *cfg, struct host **ret)
{
    struct host *h = host_new(cfg);
    enum err e = thread_start(&h->thread, "host", host_thread, h);
    if (e) {
        host_close(h);
        return e;
    }
    h->started = true;
    *ret = h;
    return OK;
}

void host_close(struct host *h)
{
    if (!h)
        return;
    if (h->started) {
        mtx_lock(&h->mu);
        h->closing = true;
        cond_broadcast(&h->wake);
        mtx_unlock(&h->mu);
        thread_join(h->thread);
    }
    arena_deinit(&h->prev_arena);
    cond_deinit(&h->wake);
    mtx_deinit(&h->mu);
    mem_free(h);
}
