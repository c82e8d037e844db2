/* The Graphite listener: lines over TCP (manual: compat.h). One thread polls all connections; what one round has read is
 * one batch. A connection has a buffer for its unfinished line; a line that does not fit is skipped and counted. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/net.h"
#include "base/stats.h"
#include "base/thread.h"
#include "compat/compat_int.h"
#include "wire/graphite.h"

enum { CONNECTIONS_MAX = 256, LINE_BYTES_MAX = 8192, READ_BYTES = 65536, POLL_MS = 100, RETRIES_MAX = 50 };

static struct stat taken = STAT_COUNTER("vane_graphite_lines_total", "Lines of Graphite plaintext", "result=\"taken\"");
static struct stat malformed =
    STAT_COUNTER("vane_graphite_lines_total", "Lines of Graphite plaintext", "result=\"malformed\"");
static struct stat dropped =
    STAT_COUNTER("vane_graphite_lines_total", "Lines of Graphite plaintext", "result=\"dropped\"");
static struct stat connections =
    STAT_GAUGE("vane_graphite_connections", "Open connections of the Graphite listener", "");
static struct stat refused =
    STAT_COUNTER("vane_graphite_connections_refused_total", "Connections beyond the limit, closed at once", "");

struct conn {
    int fd;
    size_t n;      /* bytes of the unfinished line */
    bool skipping; /* until the end of a line that is too long */
    char line[LINE_BYTES_MAX];
};
struct graphite {
    struct compat_shared *shared;
    int fd;
    uint16_t port;
    pthread_t thread;
    struct conn *conns[CONNECTIONS_MAX];
    size_t n_conns;
    struct arena a; /* of the round's batch */
    struct batch batch;
    char chunk[READ_BYTES];
};

/* ---- lines ---- */

static void line_take(struct graphite *g, str line, int64_t now_ms)
{
    struct graphite_line x;
    struct err_text why;
    if (!str_trim(line).n)
        return;
    if (graphite_parse(&g->a, arena_str(&g->a, line), now_ms, &g->shared->cfg.limits, &x, &why) != OK) {
        stat_add(&malformed, 1);
        return;
    }
    struct sample *s = arena_new(&g->a, struct sample);
    *s = x.sample;
    struct batch_series bs = { .labels = x.labels, .samples = s, .n_samples = 1 };
    avec_push(&g->a, &g->batch.series, bs);
    g->batch.n_samples++;
}

static void bytes_take(struct graphite *g, struct conn *c, str bytes, int64_t now_ms)
{
    while (bytes.n) {
        size_t end = str_find_char(bytes, '\n');
        str part = end == SIZE_MAX ? bytes : str_take(bytes, end);
        bytes = end == SIZE_MAX ? STR_NONE : str_skip(bytes, end + 1);
        if (!c->skipping && c->n + part.n > LINE_BYTES_MAX) {
            c->skipping = true;
            stat_add(&malformed, 1);
        }
        if (!c->skipping && end != SIZE_MAX && c->n == 0) {
            line_take(g, part, now_ms);
            continue;
        }
        if (!c->skipping && part.n) {
            memcpy(c->line + c->n, part.p, part.n);
            c->n += part.n;
        }
        if (end == SIZE_MAX)
            return;
        if (!c->skipping)
            line_take(g, (str){ c->line, c->n }, now_ms);
        c->skipping = false;
        c->n = 0;
    }
}

/* The batch into the store. While it takes nothing, nothing is read: TCP holds the senders back. */
static void batch_store(struct graphite *g)
{
    const struct compat_sink *sink = &g->shared->cfg.sink;
    size_t n = g->batch.n_samples;
    if (n) {
        enum err e = sink->append(sink->ctx, &g->batch);
        for (int i = 0; i < RETRIES_MAX && (e == ERR_BUSY || e == ERR_NO_SPACE) && !atomic_load(&g->shared->stopping);
             i++) {
            os_sleep_ms(POLL_MS);
            e = sink->append(sink->ctx, &g->batch);
        }
        stat_add(e == OK ? &taken : &dropped, (int64_t)n);
        if (e != OK)
            LOG_WARN("samples of Graphite were dropped", "n", LOG_I64((int64_t)n), "err", err_describe(e));
    }
    arena_reset(&g->a);
    g->batch = (struct batch){ .a = &g->a };
}

/* ---- connections ---- */

static void conn_add(struct graphite *g)
{
    int fd = accept4(g->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (g->n_conns >= CONNECTIONS_MAX) {
        stat_add(&refused, 1);
        close(fd);
        return;
    }
    struct conn *c = mem_zalloc(sizeof(*c));
    c->fd = fd;
    g->conns[g->n_conns++] = c;
    stat_set(&connections, (int64_t)g->n_conns);
}

static void conn_end(struct graphite *g, size_t i)
{
    struct conn *c = g->conns[i];
    if (c->n && !c->skipping) /* a last line without its newline */
        line_take(g, (str){ c->line, c->n }, clock_now_ms(g->shared->cfg.clock));
    close(c->fd);
    mem_free(c);
    g->conns[i] = g->conns[--g->n_conns];
    stat_set(&connections, (int64_t)g->n_conns);
}

static bool conn_read(struct graphite *g, struct conn *c)
{
    ssize_t n = read(c->fd, g->chunk, sizeof(g->chunk));
    if (n > 0)
        bytes_take(g, c, (str){ g->chunk, (size_t)n }, clock_now_ms(g->shared->cfg.clock));
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static void run(void *ctx)
{
    struct graphite *g = ctx;
    struct pollfd p[CONNECTIONS_MAX + 1];
    while (!atomic_load(&g->shared->stopping)) {
        size_t n = g->n_conns;
        p[0] = (struct pollfd){ .fd = g->fd, .events = POLLIN };
        for (size_t i = 0; i < n; i++)
            p[i + 1] = (struct pollfd){ .fd = g->conns[i]->fd, .events = POLLIN };
        if (poll(p, n + 1, POLL_MS) <= 0)
            continue;
        for (size_t i = n; i-- > 0;) /* backwards: an ended one is replaced by the last */
            if (p[i + 1].revents && !conn_read(g, g->conns[i]))
                conn_end(g, i);
        if (p[0].revents)
            conn_add(g);
        batch_store(g);
    }
    while (g->n_conns)
        conn_end(g, g->n_conns - 1);
    batch_store(g);
}

/* ---- life ---- */

enum err graphite_open(struct compat_shared *shared, struct graphite **ret, struct err_text *reterr)
{
    struct graphite *g = mem_zalloc(sizeof(*g));
    const struct compat_listen *l = &shared->cfg.graphite;
    g->shared = shared;
    enum err e = net_listen(NET_TCP, l->host, l->port, &g->fd, &g->port, reterr);
    if (e != OK) {
        mem_free(g);
        return e;
    }
    stat_register(&taken);
    stat_register(&malformed);
    stat_register(&dropped);
    arena_init(&g->a, 0);
    g->batch = (struct batch){ .a = &g->a };
    e = thread_start(&g->thread, "graphite", run, g);
    if (e != OK) {
        close(g->fd);
        arena_deinit(&g->a);
        mem_free(g);
        return err_fail(reterr, e, "the Graphite thread does not start: %s", err_describe(e));
    }
    *ret = g;
    return OK;
}

void graphite_close(struct graphite *g)
{
    if (!g)
        return;
    thread_join(g->thread);
    close(g->fd);
    arena_deinit(&g->a);
    mem_free(g);
}

uint16_t graphite_port(const struct graphite *g)
{
    return g ? g->port : 0;
}
