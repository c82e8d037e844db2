/* The StatsD listener: datagrams in, a flush every interval (manual: compat.h). */
#include <poll.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/net.h"
#include "base/stats.h"
#include "base/thread.h"
#include "compat/compat_int.h"

enum { PACKET_BYTES_MAX = 65536, PACKETS_AT_ONCE = 1000, POLL_MS = 100 };

static struct stat lines[] = {
    [STATSD_TAKEN] = STAT_COUNTER("vane_statsd_lines_total", "Lines of StatsD", "result=\"taken\""),
    [STATSD_MALFORMED] = STAT_COUNTER("vane_statsd_lines_total", "Lines of StatsD", "result=\"malformed\""),
    [STATSD_DROPPED] = STAT_COUNTER("vane_statsd_lines_total", "Lines of StatsD", "result=\"dropped\""),
};
static struct stat packets_dropped = STAT_COUNTER("vane_statsd_packets_dropped_total",
                                                  "Datagrams that the kernel dropped because its buffer was full", "");
static struct stat series_now = STAT_GAUGE("vane_statsd_series", "Series that the StatsD listener keeps", "");
static struct stat flushes_failed =
    STAT_COUNTER("vane_statsd_flushes_failed_total", "Flushes whose samples the store did not take", "");

struct statsd {
    struct compat_shared *shared;
    int fd;
    uint16_t port;
    pthread_t thread;
    struct statsd_table *table;
    uint32_t dropped;
    char packet[PACKET_BYTES_MAX];
};

static void packet_take(struct statsd *s, str packet, int64_t now_ms)
{
    str line;
    while (str_cut(&packet, '\n', &line))
        if (str_trim(line).n)
            stat_add(&lines[statsd_table_line(s->table, line, now_ms)], 1);
}

static void packets_read(struct statsd *s)
{
    int64_t now = clock_now_ms(s->shared->cfg.clock);
    uint32_t dropped = s->dropped;
    size_t n;
    for (int i = 0; i < PACKETS_AT_ONCE && net_udp_read(s->fd, s->packet, sizeof(s->packet), &n, &dropped); i++)
        packet_take(s, (str){ s->packet, n }, now);
    if (dropped != s->dropped)
        stat_add(&packets_dropped, (int64_t)(uint32_t)(dropped - s->dropped));
    s->dropped = dropped;
}

static void flush(struct statsd *s)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a };
    statsd_table_flush(s->table, clock_now_ms(s->shared->cfg.clock), &b);
    stat_set(&series_now, (int64_t)statsd_table_n(s->table));
    if (b.series.n == 0)
        return;
    enum err e = s->shared->cfg.sink.append(s->shared->cfg.sink.ctx, &b);
    if (e == OK)
        return;
    stat_add(&flushes_failed, 1); /* counters go on: the next flush has it all, gauges are newer by then */
    LOG_WARN("samples of StatsD were not stored, trying again at the next flush", "err", err_describe(e));
}

static void run(void *ctx)
{
    struct statsd *s = ctx;
    uint64_t interval_ns = (uint64_t)s->shared->cfg.statsd_flush_ms * 1000000, next = os_mono_ns() + interval_ns;
    while (!atomic_load(&s->shared->stopping)) {
        struct pollfd p = { .fd = s->fd, .events = POLLIN };
        if (poll(&p, 1, POLL_MS) > 0)
            packets_read(s);
        if (os_mono_ns() < next)
            continue;
        flush(s);
        next = os_mono_ns() + interval_ns;
    }
    packets_read(s);
    flush(s);
}

enum err statsd_open(struct compat_shared *shared, struct statsd **ret, struct err_text *reterr)
{
    struct statsd *s = mem_zalloc(sizeof(*s));
    const struct compat_listen *l = &shared->cfg.statsd;
    s->shared = shared;
    enum err e = net_listen(NET_UDP, l->host, l->port, &s->fd, &s->port, reterr);
    if (e != OK) {
        mem_free(s);
        return e;
    }
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        stat_register(&lines[i]);
    stat_register(&packets_dropped);
    s->table = statsd_table_new(&shared->cfg);
    e = thread_start(&s->thread, "statsd", run, s);
    if (e != OK) {
        close(s->fd);
        statsd_table_free(s->table);
        mem_free(s);
        return err_fail(reterr, e, "the StatsD thread does not start: %s", err_describe(e));
    }
    *ret = s;
    return OK;
}

void statsd_close(struct statsd *s)
{
    if (!s)
        return;
    thread_join(s->thread);
    close(s->fd);
    statsd_table_free(s->table);
    mem_free(s);
}

uint16_t statsd_port(const struct statsd *s)
{
    return s ? s->port : 0;
}
