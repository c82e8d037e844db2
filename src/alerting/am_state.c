#include "alerting/am_state.h"

#include "base/check.h"
#include "base/log.h"
#include "base/os.h"
#include "base/rd.h"
#include "base/stats.h"
#include "base/thread.h"

enum {
    ARGS_MAX = 24,
    FACTS_PER_TX = 10000, /* rows: a bound for how long others wait for the database */
    HISTORY_PER_TX = 4000,
    RETRY_MS = 1000,
    PRUNE_ROWS = 8000, /* at most, in one transaction */
    PRUNE_EVERY_MS = 30000,
};
#define TELL_EVERY_NS 60000000000u

struct lane {
    struct buf in; /* mu */
    uint64_t n_in; /* mu */
    /* mu; rows: queued ever, committed, and those that were queued when the last attempt began */
    uint64_t queued, done, tried;
    struct buf out; /* the writer's, as what follows */
    size_t at, chunk_end;
    uint64_t n_chunk, seen;
};
struct am_state {
    struct control *control;
    struct am_state_options opt;
    struct mtx mu; /* rank 160 */
    struct cond changed;
    struct lane lanes[AM_LANES];
    enum err err; /* mu: of the last transaction */
    struct err_text why;
    bool lost, stop;   /* mu */
    int64_t pruned_ms; /* the writer's, as told_ns */
    uint64_t told_ns;
    pthread_t thread;
    bool running;
};

static struct stat dropped =
    STAT_COUNTER("vane_alertmanager_history_dropped_total", "Events that could not be written down", "");
static struct stat failures =
    STAT_COUNTER("vane_alertmanager_state_failures_total", "Transactions of the alerting state that failed", "");
static struct stat healthy =
    STAT_GAUGE("vane_alertmanager_state_durable",
               "1: alerts, silences and messages survive a restart; 0: they are in memory only", "");
static struct stat waiting =
    STAT_GAUGE("vane_alertmanager_state_queue_bytes", "Facts and events that wait to be written down", "");
static struct stat_hist took =
    STAT_HIST("vane_alertmanager_state_write_seconds", "Transactions of the alerting state", "");

/* ---- queue ---- */
static void encode(struct buf *b, const char *sql, const struct control_val *args, size_t n)
{
    buf_u64(b, (uintptr_t)sql);
    buf_u8(b, (uint8_t)n);
    for (size_t i = 0; i < n; i++) {
        buf_u8(b, (uint8_t)args[i].type);
        if (args[i].type == CONTROL_INT)
            buf_svarint(b, args[i].i);
        else if (args[i].type == CONTROL_REAL)
            buf_f64(b, args[i].f);
        else if (args[i].type != CONTROL_NULL)
            buf_lstr(b, args[i].s);
    }
}

static const char *decode(struct rd *r, struct control_val *args, size_t *ret_n)
{
    const char *sql = (const char *)(uintptr_t)rd_u64(r);
    *ret_n = rd_u8(r);
    for (size_t i = 0; i < *ret_n; i++) {
        args[i] = (struct control_val){ .type = (enum control_type)rd_u8(r) };
        if (args[i].type == CONTROL_INT)
            args[i].i = rd_svarint(r);
        else if (args[i].type == CONTROL_REAL)
            args[i].f = rd_f64(r);
        else if (args[i].type != CONTROL_NULL)
            args[i].s = rd_lstr(r);
    }
    ASSERT(rd_ok(r));
    return sql;
}

void am_state_queue(struct am_state *s, enum am_lane lane, const char *sql, const struct control_val *args, size_t n)
{
    struct lane *l = &s->lanes[lane];
    ASSERT(n <= ARGS_MAX);
    mtx_lock(&s->mu);
    if (lane == AM_HISTORY && l->in.n > AM_HISTORY_BYTES_MAX) {
        mtx_unlock(&s->mu);
        stat_add(&dropped, 1);
        return;
    }
    if (l->in.n > AM_FACTS_BYTES_MAX) {
        buf_clear(&l->in);
        l->queued -= l->n_in;
        l->n_in = 0;
        s->lost = true;
    }
    bool first = !l->in.n;
    encode(&l->in, sql, args, n);
    l->queued++;
    l->n_in++;
    if (first)
        cond_broadcast(&s->changed);
    mtx_unlock(&s->mu);
}

uint64_t am_state_mark(struct am_state *s, enum am_lane lane)
{
    mtx_lock(&s->mu);
    uint64_t mark = s->lanes[lane].queued;
    mtx_unlock(&s->mu);
    return mark;
}

uint64_t am_state_behind(struct am_state *s, enum am_lane lane)
{
    mtx_lock(&s->mu);
    uint64_t n = s->lanes[lane].queued - s->lanes[lane].done;
    mtx_unlock(&s->mu);
    return n;
}

enum err am_state_wait(struct am_state *s, enum am_lane lane, uint64_t mark, struct err_text *reterr)
{
    struct lane *l = &s->lanes[lane];
    enum err e = OK;
    mtx_lock(&s->mu);
    while (l->done < mark && l->tried < mark && !s->stop)
        cond_wait(&s->changed, &s->mu);
    if (l->done < mark)
        e = err_fail(reterr, s->err ? s->err : ERR_CLOSED, "%s", s->err ? s->why.msg : "closing");
    mtx_unlock(&s->mu);
    return e;
}

bool am_state_lost(struct am_state *s)
{
    mtx_lock(&s->mu);
    bool lost = s->lost && s->err == OK;
    if (lost)
        s->lost = false;
    mtx_unlock(&s->mu);
    return lost;
}

enum err am_state_health(struct am_state *s, struct err_text *reterr)
{
    mtx_lock(&s->mu);
    enum err e = s->err ? err_fail(reterr, s->err, "%s", s->why.msg) : OK;
    mtx_unlock(&s->mu);
    return e;
}

/* ---- writer ---- */
static bool first_int(void *ctx, const struct control_val *cols, size_t n)
{
    if (n && cols[0].type == CONTROL_INT)
        *(int64_t *)ctx = cols[0].i;
    return false;
}

/* The oldest rows go, a bounded number at a time. */
static void prune(struct am_state *s, struct control_tx *tx, int64_t now_ms)
{
    int64_t first = 0, last = 0, newest = 0, old = 0;
    IGNORE_ERR(control_query(tx, "SELECT min(id) FROM am_history", NULL, 0, first_int, &first, NULL));
    IGNORE_ERR(control_query(tx, "SELECT max(id) FROM am_history", NULL, 0, first_int, &last, NULL));
    IGNORE_ERR(
        control_query(tx, "SELECT at_ms FROM am_history WHERE id = ?", &CV_INT(last), 1, first_int, &newest, NULL));
    IGNORE_ERR(control_query(
        tx,
        "SELECT max(id) FROM (SELECT id, at_ms FROM am_history ORDER BY id LIMIT ?)"
        " WHERE at_ms < ?",
        (struct control_val[]){ CV_INT(PRUNE_ROWS), CV_INT(MIN(now_ms, newest) - s->opt.history_retention_ms) }, 2,
        first_int, &old, NULL));
    int64_t to = MIN(MAX(old, last - s->opt.history_rows_max), first + PRUNE_ROWS);
    if (last && to >= first)
        IGNORE_ERR(control_run(tx, "DELETE FROM am_history WHERE id <= ?", &CV_INT(to), 1, NULL));
    else
        s->pruned_ms = now_ms;
}

static void carry_out(struct lane *l, struct control_tx *tx, uint64_t max)
{
    struct control_val args[ARGS_MAX];
    struct rd r = rd_init(str_skip(buf_str(&l->out), l->at));
    size_t n;
    l->n_chunk = 0;
    while (rd_left(&r) && l->n_chunk < max) {
        const char *sql = decode(&r, args, &n);
        IGNORE_ERR(control_run(tx, sql, args, n, NULL)); /* sticky: the commit tells */
        l->n_chunk++;
    }
    l->chunk_end = l->out.n - rd_left(&r);
}

static enum err write_chunk(struct am_state *s, struct err_text *why)
{
    struct control_tx *tx;
    int64_t now_ms = os_now_ms();
    TRY(control_begin(s->control, &tx, why));
    carry_out(&s->lanes[AM_FACTS], tx, FACTS_PER_TX);
    carry_out(&s->lanes[AM_HISTORY], tx, HISTORY_PER_TX);
    if (s->lanes[AM_HISTORY].n_chunk && (now_ms > s->pruned_ms + PRUNE_EVERY_MS || now_ms < s->pruned_ms))
        prune(s, tx, now_ms);
    return control_commit(tx, why);
}

/* What came of a chunk. mu is let go for the log. */
static void settle(struct am_state *s, enum err e, const struct err_text *why, uint64_t begin_ns)
{
    bool news = e != s->err;
    for (size_t i = 0; i < AM_LANES; i++) {
        struct lane *l = &s->lanes[i];
        if (!e) {
            l->done += l->n_chunk;
            l->at = l->chunk_end;
        } else {
            l->tried = l->seen;
        }
        l->n_chunk = 0;
        if (l->at == l->out.n) {
            l->at = 0;
            if (l->out.cap > 16u << 20)
                buf_deinit(&l->out);
            buf_clear(&l->out);
        }
    }
    s->err = e;
    s->why = *why;
    stat_set(&healthy, control_durable(s->control) && !e);
    cond_broadcast(&s->changed);
    mtx_unlock(&s->mu);
    if (e)
        stat_add(&failures, 1);
    if (e && (news || begin_ns > s->told_ns + TELL_EVERY_NS)) {
        s->told_ns = begin_ns;
        LOG_ERROR("the state of alerting cannot be written and is in memory only; it is tried again every second",
                  "err", why->msg);
    } else if (!e && news) {
        LOG_INFO("the state of alerting is written again");
    }
    mtx_lock(&s->mu);
}

static bool take_over(struct am_state *s)
{
    bool any = false;
    size_t bytes = 0;
    for (size_t i = 0; i < AM_LANES; i++) {
        struct lane *l = &s->lanes[i];
        if (!l->out.n) {
            struct buf swap = l->out;
            l->out = l->in;
            l->in = swap;
            l->n_in = 0;
        }
        l->seen = l->queued;
        any |= l->out.n > 0;
        bytes += l->in.n + l->out.n - l->at;
    }
    stat_set(&waiting, (int64_t)bytes);
    return any;
}

static void write_loop(void *ctx)
{
    struct am_state *s = ctx;
    mtx_lock(&s->mu);
    for (;;) {
        struct err_text why = { 0 };
        if (!take_over(s)) {
            if (s->stop)
                break;
            cond_wait(&s->changed, &s->mu);
            continue;
        }
        mtx_unlock(&s->mu);
        uint64_t begin = os_mono_ns();
        enum err e = write_chunk(s, &why);
        stat_hist_observe_ns(&took, os_mono_ns() - begin);
        mtx_lock(&s->mu);
        settle(s, e, &why, begin);
        if (e && s->stop)
            break;
        for (uint64_t until = os_mono_ns() + RETRY_MS * 1000000ull; e && !s->stop && os_mono_ns() < until;)
            cond_wait_ms(&s->changed, &s->mu, RETRY_MS / 10);
    }
    mtx_unlock(&s->mu);
}

/* ---- life ---- */
enum err am_state_open(struct control *control, const struct am_state_options *opt, struct am_state **ret)
{
    struct am_state *s = mem_zalloc(sizeof(*s));
    mtx_init(&s->mu, 160);
    cond_init(&s->changed);
    s->control = control;
    s->opt = *opt;
    stat_set(&healthy, control_durable(control));
    stat_register(&dropped);
    stat_register(&failures);
    enum err e = thread_start(&s->thread, "am-state", write_loop, s);
    s->running = !e;
    if (e)
        am_state_close(s);
    else
        *ret = s;
    return e;
}

void am_state_close(struct am_state *s)
{
    if (!s)
        return;
    if (s->running) {
        mtx_lock(&s->mu);
        s->stop = true;
        cond_broadcast(&s->changed);
        mtx_unlock(&s->mu);
        thread_join(s->thread);
    }
    for (size_t i = 0; i < AM_LANES; i++) {
        buf_deinit(&s->lanes[i].in);
        buf_deinit(&s->lanes[i].out);
    }
    cond_deinit(&s->changed);
    mtx_deinit(&s->mu);
    mem_free(s);
}
