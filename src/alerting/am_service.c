#include "alerting/am_service.h"

#include "alerting/am_send.h"
#include "base/check.h"
#include "base/thread.h"

struct am_service {
    struct am *am;
    struct am_sender *sender;
    struct clock *clock;
    pthread_t thread;
    bool running;  /* thread is */
    struct mtx mu; /* rank 140: stop, woken */
    struct cond changed;
    bool stop, woken;
};

void am_service_wake(void *service)
{
    struct am_service *s = service;
    mtx_lock(&s->mu);
    s->woken = true;
    cond_signal(&s->changed);
    mtx_unlock(&s->mu);
}

static void turns(void *ctx)
{
    struct am_service *s = ctx;
    for (bool stop = false; !stop;) {
        int64_t now = clock_now_ms(s->clock), next = am_tick(s->am, now);
        /* At most a minute, so that a clock that was set is noticed; at least 20 ms, so that many small turns come
         * together. */
        unsigned wait = (unsigned)MAX(MIN(next - now, 60000), 20);
        mtx_lock(&s->mu);
        if (!s->woken && !s->stop)
            cond_wait_ms(&s->changed, &s->mu, wait);
        s->woken = false;
        stop = s->stop;
        mtx_unlock(&s->mu);
    }
}

static enum err start(struct am_service *s, const struct am_service_options *opt, struct am_config *cfg,
                      struct err_text *reterr)
{
    const struct am_sender_config sender = { .external_url = opt->external_url,
                                             .clk = opt->clock,
                                             .value = opt->value,
                                             .value_ctx = opt->value_ctx,
                                             .chart = opt->chart,
                                             .chart_ctx = opt->chart_ctx };
    enum err e = am_sender_open(&sender, &s->sender);
    if (e)
        return err_fail(reterr, e, "alertmanager: sender: %s", err_describe(e));
    const struct am_options engine = { .ctx = s->sender,
                                       .send = am_sender_send,
                                       .control = opt->control,
                                       .history_rows_max = opt->history_rows_max,
                                       .history_retention_ms = opt->history_retention_ms };
    TRY(am_open(&engine, cfg, clock_now_ms(s->clock), &s->am));
    TRY(am_sender_serve(s->sender, s->am, cfg, reterr));
    e = thread_start(&s->thread, "alertmanager", turns, s);
    if (e)
        return err_fail(reterr, e, "alertmanager: thread: %s", err_describe(e));
    s->running = true;
    return OK;
}

enum err am_service_open(const struct am_service_options *opt, struct am_config *cfg, struct am_service **ret,
                         struct err_text *reterr)
{
    struct am_service *s = mem_zalloc(sizeof(*s));
    mtx_init(&s->mu, 140);
    cond_init(&s->changed);
    s->clock = opt->clock;
    enum err e = start(s, opt, cfg, reterr);
    if (e)
        am_service_close(s);
    else
        *ret = s;
    return e;
}

void am_service_close(struct am_service *s)
{
    if (!s)
        return;
    if (s->running) {
        mtx_lock(&s->mu);
        s->stop = true;
        cond_signal(&s->changed);
        mtx_unlock(&s->mu);
        thread_join(s->thread);
    }
    am_sender_close(s->sender);
    am_close(s->am);
    cond_deinit(&s->changed);
    mtx_deinit(&s->mu);
    mem_free(s);
}

enum err am_service_reload(struct am_service *s, struct am_config *cfg, struct err_text *reterr)
{
    TRY(am_sender_serve(s->sender, s->am, cfg, reterr));
    am_reload(s->am, cfg, clock_now_ms(s->clock));
    am_service_wake(s);
    return OK;
}

struct am *am_service_am(struct am_service *s)
{
    return s->am;
}

struct am_sender *am_service_sender(struct am_service *s)
{
    return s->sender;
}
