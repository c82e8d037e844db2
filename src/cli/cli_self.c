/* See cli_self.h. */
#include "cli/cli_self.h"

#include <stdio.h>

#include "base/log.h"
#include "base/os.h"
#include "base/thread.h"
#include "wire/expo.h"

struct cli_self {
    struct cli_self_config cfg;
    char instance[300];
    pthread_t thread;
    struct mtx mu;
    struct cond wake;
    bool closing;
};

static void add_series(struct cli_self *s, struct batch *b, struct labels own, struct metric_meta meta, int64_t ts_ms,
                       double v)
{
    struct label *p = arena_array(b->a, struct label, own.n + 2);
    size_t n = own.n;
    if (n)
        memcpy(p, own.p, n * sizeof(*p));
    p[n++] = (struct label){ STR("instance"), str_c(s->instance) };
    p[n++] = (struct label){ STR("job"), STR("vane") };
    if (labels_sort(p, &n, NULL) != OK)
        return;
    struct sample *sample = arena_new(b->a, struct sample);
    *sample = (struct sample){ ts_ms, v };
    avec_push(b->a, &b->series,
              ((struct batch_series){ .labels = { p, n }, .samples = sample, .n_samples = 1, .meta = meta }));
    b->n_samples++;
}

static void collect(struct cli_self *s)
{
    AUTO_ARENA struct arena a;
    AUTO_BUF struct buf text = { 0 };
    arena_init(&a, 0);
    s->cfg.render(&text);
    struct batch b = { .a = &a };
    struct metric_meta meta = { 0 };
    int64_t now_ms = os_now_ms();
    struct expo x;
    expo_init(&x, EXPO_TEXT, buf_str(&text));
    for (enum expo_entry e; (e = expo_next(&x)) > EXPO_ERROR;) {
        struct labels ls;
        if (e == EXPO_HELP)
            meta = (struct metric_meta){ .help = expo_help(&x, &a) };
        else if (e == EXPO_TYPE)
            meta.type = x.type;
        else if (e == EXPO_SAMPLE && expo_labels(&x, &a, &ls, NULL) == OK)
            add_series(s, &b, ls, meta, now_ms, x.value);
    }
    struct label up = { LABEL_NAME, STR("up") };
    add_series(s, &b, (struct labels){ &up, 1 }, (struct metric_meta){ 0 }, now_ms, x.entry == EXPO_END ? 1 : 0);
    enum err err = x.entry == EXPO_END ? s->cfg.append(s->cfg.sink, &b) : ERR_PARSE;
    if (err)
        LOG_WARN("own metrics were not stored, trying again at the next interval", "err",
                 x.entry == EXPO_ERROR ? x.error.msg : err_describe(err));
}

static void self_thread(void *ctx)
{
    struct cli_self *s = ctx;
    mtx_lock(&s->mu);
    while (!s->closing) {
        mtx_unlock(&s->mu);
        collect(s);
        mtx_lock(&s->mu);
        uint64_t until = os_mono_ns() + (uint64_t)s->cfg.interval_ms * 1000000, now;
        while (!s->closing && (now = os_mono_ns()) < until)
            cond_wait_ms(&s->wake, &s->mu, (unsigned)((until - now) / 1000000 + 1));
    }
    mtx_unlock(&s->mu);
}

enum err cli_self_open(const struct cli_self_config *cfg, struct cli_self **ret)
{
    struct cli_self *s = mem_zalloc(sizeof(*s));
    s->cfg = *cfg;
    if (s->cfg.interval_ms <= 0)
        s->cfg.interval_ms = 15000;
    snprintf(s->instance, sizeof(s->instance), "%s", cfg->instance);
    mtx_init(&s->mu, 0);
    cond_init(&s->wake);
    enum err e = thread_start(&s->thread, "self", self_thread, s);
    if (e) {
        mem_free(s);
        return e;
    }
    *ret = s;
    return OK;
}

void cli_self_close(struct cli_self *s)
{
    if (!s)
        return;
    mtx_lock(&s->mu);
    s->closing = true;
    cond_broadcast(&s->wake);
    mtx_unlock(&s->mu);
    thread_join(s->thread);
    cond_deinit(&s->wake);
    mtx_deinit(&s->mu);
    mem_free(s);
}
