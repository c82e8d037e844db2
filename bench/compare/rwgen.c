/* A remote-write sender for benchmarks: T targets with K series each, one scrape every --interval seconds over
 * --duration, sent as fast as the receiver takes them, in the order of time. Every target has its own values
 * (60 % constant, counters, gauges with decimals), so that no store gains from copies.
 *
 *   rwgen --url http://127.0.0.1:9090/api/v1/write --targets 50 --series 600 --interval 15 --duration 6h
 *         [--end UNIX_SECONDS] [--connections 2] [--per-request 2000] [--seed N] [--first-target N] [--churn PERCENT]
 * --churn: so many of the series are replaced by new ones every hour of the stream.
 * Prints one JSON object: samples acknowledged, requests, wall seconds, acknowledgement latencies.
 * Loopback only; ends by itself. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/num.h"
#include "base/os.h"
#include "base/thread.h"
#include "wire/compress.h"
#include "wire/remote_write.h"

enum { CONNECTIONS_MAX = 16, LABELS = 6 };

static struct {
    char path[256];
    unsigned port, targets, series, connections, per_request, first_target, churn;
    int64_t interval_ms, duration_ms, end_ms;
    uint64_t seed;
} cfg = { .targets = 50,
          .series = 600,
          .connections = 2,
          .per_request = 2000,
          .interval_ms = 15000,
          .duration_ms = 6 * 3600000,
          .seed = 1 };

enum kind { CONSTANT, COUNTER, COUNTER_SECONDS, GAUGE_BYTES, GAUGE_RATIO };

struct gen_series {
    struct label labels[LABELS];
    char text[160];
    struct rng rng;
    double v;
    uint8_t kind;
};
struct worker {
    pthread_t thread;
    unsigned first, last; /* targets */
    struct gen_series *series;
    uint64_t samples, requests, refused;
    uint64_t *latency_ns;
    size_t n_latency;
};

/* Names and label values as an exporter has them: some families of many series, many of one. */
static void series_make(struct gen_series *s, unsigned target, unsigned i)
{
    static const char *const stems[] = { "cpu_seconds_total", "network_bytes_total", "disk_io_seconds_total",
                                         "memory_bytes",      "filesystem_bytes",    "http_requests_total" };
    unsigned family = i < 120 ? i / 20 : 6 + (i - 120) / 4;
    char *t = s->text;
    int name = snprintf(t, 64, "bench_%s_%u", stems[family % ARRAY_LEN(stems)], family);
    int instance = snprintf(t + 64, 32, "10.0.%u.%u:9100", target / 250, target % 250);
    int device = snprintf(t + 96, 32, "dev%u", i % 20);
    int mode = snprintf(t + 128, 32, "mode-%u", i);
    s->labels[0] = (struct label){ LABEL_NAME, str_n(t, (size_t)name) };
    s->labels[1] = (struct label){ STR("device"), str_n(t + 96, (size_t)device) };
    s->labels[2] = (struct label){ STR("env"), STR("production") };
    s->labels[3] = (struct label){ STR("instance"), str_n(t + 64, (size_t)instance) };
    s->labels[4] = (struct label){ STR("job"), STR("node") };
    s->labels[5] = (struct label){ STR("mode"), str_n(t + 128, (size_t)mode) };
    s->rng.s = hash_u64(cfg.seed * 1000003 + target * 7919ull + i) | 1;
    unsigned dice = (unsigned)rng_below(&s->rng, 100);
    s->kind = dice < 60   ? CONSTANT
              : dice < 75 ? COUNTER
              : dice < 85 ? COUNTER_SECONDS
              : dice < 95 ? GAUGE_BYTES
                          : GAUGE_RATIO;
    s->v = s->kind == GAUGE_RATIO ? rng_unit(&s->rng) : (double)rng_below(&s->rng, 1000000);
}

/* Another pod, another build: the same series under a new label value. */
static void series_replace(struct gen_series *s, unsigned i, int64_t hour)
{
    int mode = snprintf(s->text + 128, 32, "mode-%u-%u", i, (unsigned)hour);
    s->labels[5].value = str_n(s->text + 128, (size_t)mode);
}

static double series_next(struct gen_series *s)
{
    switch (s->kind) {
    case COUNTER:
        s->v += (double)rng_below(&s->rng, 1000);
        return s->v;
    case COUNTER_SECONDS:
        s->v += (double)rng_below(&s->rng, 1500);
        return s->v * 0.01; /* ticks */
    case GAUGE_BYTES:
        s->v += ((double)rng_below(&s->rng, 2001) - 1000) * 4096;
        return fabs(s->v);
    case GAUGE_RATIO:
        s->v = round((s->v + (rng_unit(&s->rng) - 0.5) * 0.02) * 10000) / 10000;
        return s->v;
    default:
        return s->v;
    }
}

static int connect_to(void)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = { .sin_family = AF_INET,
                             .sin_port = htons((uint16_t)cfg.port),
                             .sin_addr = { htonl(INADDR_LOOPBACK) } };
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
        fprintf(stderr, "rwgen: cannot connect to 127.0.0.1:%u\n", cfg.port);
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static void send_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0) {
            fprintf(stderr, "rwgen: the connection broke\n");
            exit(1);
        }
        p += k;
        n -= (size_t)k;
    }
}

/* Reads one answer (head, and body by Content-Length); returns its status. */
static int read_answer(int fd)
{
    char buf[4096];
    size_t n = 0;
    for (;;) {
        ssize_t k = recv(fd, buf + n, sizeof(buf) - 1 - n, 0);
        if (k <= 0) {
            fprintf(stderr, "rwgen: the connection broke\n");
            exit(1);
        }
        n += (size_t)k;
        buf[n] = '\0';
        char *end = strstr(buf, "\r\n\r\n");
        if (!end)
            continue;
        char *length = strcasestr(buf, "\r\ncontent-length:");
        size_t body = length && length < end ? (size_t)atol(length + 17) : 0;
        if (n >= (size_t)(end + 4 - buf) + body)
            return atoi(buf + 9);
    }
}

static int post(int fd, struct buf *out, str body)
{
    buf_clear(out);
    buf_printf(
        out,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"
        "X-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: %zu\r\n\r\n",
        cfg.path, body.n);
    buf_str_add(out, body);
    send_all(fd, out->p, out->n);
    return read_answer(fd);
}

static void worker_main(void *ctx)
{
    struct worker *w = ctx;
    unsigned n = (w->last - w->first) * cfg.series;
    struct sample *samples = mem_alloc(n * sizeof(*samples));
    struct batch_series *rows = mem_zalloc(n * sizeof(*rows));
    struct buf plain = { 0 }, packed = { 0 }, request = { 0 };
    int fd = connect_to();
    for (unsigned i = 0; i < n; i++)
        rows[i] =
            (struct batch_series){ .labels = { w->series[i].labels, LABELS }, .samples = &samples[i], .n_samples = 1 };
    size_t rounds = (size_t)(cfg.duration_ms / cfg.interval_ms), per_round = n / cfg.per_request + 1;
    w->latency_ns = mem_alloc(rounds * per_round * sizeof(*w->latency_ns));
    for (size_t r = 0; r < rounds; r++) {
        int64_t ts = cfg.end_ms - cfg.duration_ms + (int64_t)(r + 1) * cfg.interval_ms;
        int64_t hour = ts / 3600000, slots = cfg.churn ? 100 / cfg.churn : 0;
        if (slots && hour != (ts - cfg.interval_ms) / 3600000)
            for (unsigned i = 0; i < n; i++)
                if (i % slots == hour % slots)
                    series_replace(&w->series[i], i % cfg.series, hour);
        for (unsigned i = 0; i < n; i++)
            samples[i] =
                (struct sample){ ts + ((w->first + i / cfg.series) * 37 + 13) % cfg.interval_ms - cfg.interval_ms,
                                 series_next(&w->series[i]) };
        for (unsigned at = 0; at < n; at += cfg.per_request) {
            struct batch b = { .series = { &rows[at], MIN(cfg.per_request, n - at), 0 } };
            buf_clear(&plain);
            buf_clear(&packed);
            rw1_encode(&plain, &b);
            snappy_pack(buf_str(&plain), &packed);
            uint64_t t0 = os_mono_ns();
            int status = post(fd, &request, buf_str(&packed));
            w->latency_ns[w->n_latency++] = os_mono_ns() - t0;
            w->requests++;
            if (status / 100 == 2)
                w->samples += b.series.n;
            else
                w->refused++;
        }
    }
    close(fd);
    buf_deinit(&plain);
    buf_deinit(&packed);
    buf_deinit(&request);
    mem_free(samples);
    mem_free(rows);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void read_options(int argc, char **argv)
{
    static const struct option options[] = {
        { "url", 1, NULL, 'u' },          { "targets", 1, NULL, 't' },     { "series", 1, NULL, 's' },
        { "interval", 1, NULL, 'i' },     { "duration", 1, NULL, 'd' },    { "end", 1, NULL, 'e' },
        { "connections", 1, NULL, 'c' },  { "per-request", 1, NULL, 'p' }, { "seed", 1, NULL, 'S' },
        { "first-target", 1, NULL, 'f' }, { "churn", 1, NULL, 'C' },       { 0 },
    };
    cfg.end_ms = os_now_ms() / 1000 * 1000;
    for (int opt; (opt = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (opt) {
        case 'u':
            if (sscanf(optarg, "http://127.0.0.1:%u%255s", &cfg.port, cfg.path) != 2) {
                fprintf(stderr, "rwgen: --url must be http://127.0.0.1:PORT/PATH\n");
                exit(2);
            }
            break;
        case 't':
            cfg.targets = (unsigned)atoi(optarg);
            break;
        case 's':
            cfg.series = (unsigned)atoi(optarg);
            break;
        case 'i':
            cfg.interval_ms = atol(optarg) * 1000;
            break;
        case 'd':
            if (!num_parse_duration(str_c(optarg), &cfg.duration_ms))
                exit(2);
            break;
        case 'e':
            cfg.end_ms = atol(optarg) * 1000;
            break;
        case 'c':
            cfg.connections = (unsigned)MIN(MAX(atoi(optarg), 1), CONNECTIONS_MAX);
            break;
        case 'p':
            cfg.per_request = (unsigned)MAX(atoi(optarg), 1);
            break;
        case 'f':
            cfg.first_target = (unsigned)atoi(optarg);
            break;
        case 'C':
            cfg.churn = (unsigned)MIN(MAX(atoi(optarg), 0), 100);
            break;
        case 'S':
            cfg.seed = (uint64_t)atol(optarg);
            break;
        default:
            exit(2);
        }
    }
    if (!cfg.port || !cfg.targets || !cfg.series || cfg.interval_ms <= 0 || cfg.duration_ms < cfg.interval_ms) {
        fprintf(stderr, "usage: rwgen --url http://127.0.0.1:PORT/api/v1/write [--targets N] [--series N] [--interval "
                        "S] [--duration 6h]\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    static struct worker workers[CONNECTIONS_MAX];
    read_options(argc, argv);
    cfg.connections = MIN(cfg.connections, cfg.targets);
    struct gen_series *series = mem_zalloc((size_t)cfg.targets * cfg.series * sizeof(*series));
    for (unsigned t = 0; t < cfg.targets; t++)
        for (unsigned i = 0; i < cfg.series; i++)
            series_make(&series[(size_t)t * cfg.series + i], cfg.first_target + t, i);
    uint64_t t0 = os_mono_ns();
    for (unsigned i = 0; i < cfg.connections; i++) {
        workers[i].first = cfg.targets * i / cfg.connections;
        workers[i].last = cfg.targets * (i + 1) / cfg.connections;
        workers[i].series = series + (size_t)workers[i].first * cfg.series;
        if (thread_start(&workers[i].thread, "rwgen", worker_main, &workers[i]) != OK)
            return 1;
    }
    uint64_t samples = 0, requests = 0, refused = 0;
    VEC(uint64_t) latency = { 0 };
    for (unsigned i = 0; i < cfg.connections; i++) {
        thread_join(workers[i].thread);
        samples += workers[i].samples;
        requests += workers[i].requests;
        refused += workers[i].refused;
        for (size_t k = 0; k < workers[i].n_latency; k++)
            vec_push(&latency, workers[i].latency_ns[k]);
        mem_free(workers[i].latency_ns);
    }
    double wall = (double)(os_mono_ns() - t0) / 1e9;
    qsort(latency.p, latency.n, sizeof(*latency.p), by_value);
    printf("{\"samples\": %llu, \"requests\": %llu, \"refused\": %llu, \"wall_s\": %.3f, \"ack_p50_ms\": %.3f, "
           "\"ack_p99_ms\": %.3f, "
           "\"end\": %lld}\n",
           (unsigned long long)samples, (unsigned long long)requests, (unsigned long long)refused, wall,
           (double)latency.p[latency.n / 2] / 1e6, (double)latency.p[latency.n * 99 / 100] / 1e6,
           (long long)(cfg.end_ms / 1000));
    vec_free(&latency);
    mem_free(series);
    return refused ? 1 : 0;
}
