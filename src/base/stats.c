/* The registry behind /metrics; see stats.h. Registration is a push onto a list under one mutex, which is innermost:
 * a counter may be used for the first time under any lock. Rendering calls into rooms that take locks of theirs, so
 * it has a mutex of its own, outermost. */
#include "base/stats.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/vec.h"

static pthread_mutex_t stats_mu = PTHREAD_MUTEX_INITIALIZER;
static struct stat *stats_head;
static struct stat_hist *hists_head;
struct render_cb {
    void (*fn)(void *ctx, struct buf *out);
    void *ctx;
};
static pthread_mutex_t render_mu = PTHREAD_MUTEX_INITIALIZER; /* guards render_cbs, held while they run */
static VEC(struct render_cb) render_cbs;

static const uint64_t hist_bounds_ns[STAT_HIST_BUCKETS] = {
    100000,    300000,     1000000,    3000000,     10000000,    30000000,     100000000,
    300000000, 1000000000, 3000000000, 10000000000, 30000000000, 100000000000,
};

void stat_register(struct stat *s)
{
    pthread_mutex_lock(&stats_mu);
    if (!atomic_load(&s->registered)) {
        s->next = stats_head;
        stats_head = s;
        atomic_store(&s->registered, 1);
    }
    pthread_mutex_unlock(&stats_mu);
}

static void hist_register(struct stat_hist *h)
{
    pthread_mutex_lock(&stats_mu);
    if (!atomic_load(&h->registered)) {
        h->next = hists_head;
        hists_head = h;
        atomic_store(&h->registered, 1);
    }
    pthread_mutex_unlock(&stats_mu);
}

void stat_hist_observe_ns(struct stat_hist *h, uint64_t ns)
{
    if (!atomic_load_explicit(&h->registered, memory_order_relaxed))
        hist_register(h);
    size_t i = 0;
    while (i < STAT_HIST_BUCKETS && ns > hist_bounds_ns[i])
        i++;
    atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
}

void stats_on_render(void (*fn)(void *ctx, struct buf *out), void *ctx)
{
    pthread_mutex_lock(&render_mu);
    vec_push(&render_cbs, ((struct render_cb){ fn, ctx }));
    pthread_mutex_unlock(&render_mu);
}

void stats_off_render(void (*fn)(void *ctx, struct buf *out), void *ctx)
{
    pthread_mutex_lock(&render_mu);
    for (size_t i = 0; i < render_cbs.n; i++)
        if (render_cbs.p[i].fn == fn && render_cbs.p[i].ctx == ctx) {
            vec_remove(&render_cbs, i);
            break;
        }
    if (render_cbs.n == 0)
        vec_free(&render_cbs);
    pthread_mutex_unlock(&render_mu);
}

struct stat_row { /* one family member, of either kind */
    const char *name, *help, *labels;
    const struct stat *s;
    const struct stat_hist *h;
};

static int row_cmp(const void *a, const void *b)
{
    const struct stat_row *x = a, *y = b;
    int c = strcmp(x->name, y->name);
    return c ? c : strcmp(x->labels, y->labels);
}

static void put_head(struct buf *out, const struct stat_row *r)
{
    const char *type = r->h ? "histogram" : r->s->kind == STAT_KIND_COUNTER ? "counter" : "gauge";
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", r->name, r->help, r->name, type);
}

static void put_hist(struct buf *out, const struct stat_row *r)
{
    const char *sep = r->labels[0] ? "," : "";
    uint64_t total = 0;
    for (size_t i = 0; i <= STAT_HIST_BUCKETS; i++) {
        total += atomic_load_explicit(&r->h->bucket[i], memory_order_relaxed);
        buf_printf(out, "%s_bucket{%s%sle=\"", r->name, r->labels, sep);
        if (i < STAT_HIST_BUCKETS)
            buf_f64_g(out, (double)hist_bounds_ns[i] / 1e9);
        else
            buf_lit(out, "+Inf");
        buf_printf(out, "\"} %llu\n", (unsigned long long)total);
    }
    const char *open = r->labels[0] ? "{" : "", *close = r->labels[0] ? "}" : "";
    buf_printf(out, "%s_sum%s%s%s ", r->name, open, r->labels, close);
    buf_f64_g(out, (double)atomic_load_explicit(&r->h->sum_ns, memory_order_relaxed) / 1e9);
    buf_printf(out, "\n%s_count%s%s%s %llu\n", r->name, open, r->labels, close, (unsigned long long)total);
}

static void put_row(struct buf *out, const struct stat_row *r)
{
    if (r->h) {
        put_hist(out, r);
        return;
    }
    const char *open = r->labels[0] ? "{" : "", *close = r->labels[0] ? "}" : "";
    buf_printf(out, "%s%s%s%s %lld\n", r->name, open, r->labels, close, (long long)stat_get(r->s));
}

void stats_render(struct buf *out)
{
    VEC(struct stat_row) rows = { 0 };
    pthread_mutex_lock(&stats_mu);
    for (const struct stat *s = stats_head; s; s = s->next)
        vec_push(&rows, ((struct stat_row){ s->name, s->help, s->labels, s, NULL }));
    for (const struct stat_hist *h = hists_head; h; h = h->next)
        vec_push(&rows, ((struct stat_row){ h->name, h->help, h->labels, NULL, h }));
    pthread_mutex_unlock(&stats_mu);
    if (rows.n)
        qsort(rows.p, rows.n, sizeof(*rows.p), row_cmp);
    for (size_t i = 0; i < rows.n; i++) {
        if (i == 0 || strcmp(rows.p[i].name, rows.p[i - 1].name) != 0)
            put_head(out, &rows.p[i]);
        put_row(out, &rows.p[i]);
    }
    vec_free(&rows);
    pthread_mutex_lock(&render_mu);
    vec_each (struct render_cb, cb, &render_cbs)
        cb->fn(cb->ctx, out);
    pthread_mutex_unlock(&render_mu);
}

void stats_escape(struct buf *out, str s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == '\\' || s.p[i] == '"')
            buf_u8(out, '\\');
        if (s.p[i] == '\n')
            buf_lit(out, "\\n");
        else
            buf_u8(out, (uint8_t)s.p[i]);
    }
}
