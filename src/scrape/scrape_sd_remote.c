/* The thread and the calls of long-lived discoveries (manual: scrape_sd_remote.h). */
#include "scrape/scrape_sd_remote.h"

#include <stdio.h>

#include "base/json.h"

#define BACKOFF_MIN_MS 800u
#define BACKOFF_MAX_MS 30000u

/* ---- calls ---- */

void remote_call_init(struct remote_call *c, struct remote *r)
{
    *c = (struct remote_call){ .r = r };
    arena_init(&c->a, 0);
    buf_init(&c->in, SCRAPE_SD_BYTES_MAX);
    mtx_lock(&r->mu);
    vec_push(&r->calls, c);
    mtx_unlock(&r->mu);
}

void remote_call_deinit(struct remote_call *c)
{
    struct remote *r = c->r;
    mtx_lock(&r->mu);
    for (size_t i = 0; i < r->calls.n; i++)
        if (r->calls.p[i] == c) {
            vec_remove_swap(&r->calls, i);
            break;
        }
    mtx_unlock(&r->mu);
    arena_deinit(&c->a);
    buf_deinit(&c->in);
}

static void wake(struct scrape *s)
{
    mtx_lock(&s->mu);
    s->remote_news = true;
    cond_signal(&s->remote_cv);
    mtx_unlock(&s->mu);
}

static bool on_data(void *ctx, str piece)
{
    struct remote_call *c = ctx;
    mtx_lock(&c->r->mu);
    buf_str_add(&c->in, piece);
    bool ok = !c->in.failed;
    mtx_unlock(&c->r->mu);
    wake(c->r->s);
    return ok;
}

static void on_done(void *ctx, const struct http_result *res)
{
    struct remote_call *c = ctx;
    struct scrape *s = c->r->s;
    mtx_lock(&c->r->mu);
    c->err = res->err;
    c->status = res->status;
    snprintf(c->error, sizeof(c->error), "%.250s", res->error);
    if (!str_to_u64(http_result_header(res, STR("X-Consul-Index")), &c->index))
        c->index = 0;
    buf_str_add(&c->in, buf_str(res->body));
    c->state = CALL_DONE;
    mtx_unlock(&c->r->mu);
    wake(s);
}

struct arena *remote_call_begin(struct remote_call *c)
{
    arena_reset(&c->a);
    return &c->a;
}

void remote_call_start(struct remote_call *c, const struct remote_ask *q)
{
    struct http_fetch f = { .url = q->url,
                            .method = q->method,
                            .body = q->body,
                            .sigv4 = q->sigv4,
                            .headers = q->headers,
                            .n_headers = q->n_headers,
                            .timeout_ms = q->timeout_ms,
                            .unix_socket = q->unix_socket,
                            .body_bytes_max = SCRAPE_SD_BYTES_MAX,
                            .done = on_done,
                            .ctx = c,
                            .data = q->streams ? on_data : NULL,
                            .accept_encoding = q->streams ? STR_NONE : STR("gzip") };
    buf_clear(&c->in);
    c->error[0] = 0;
    c->state = CALL_RUNNING;
    bool ok = http_config_apply(q->http, &c->a, &f, c->error, sizeof(c->error));
    enum err e = ok ? http_start(c->r->s->http, &f, &c->id) : ERR_INVALID;
    if (e == OK)
        return;
    if (ok)
        snprintf(c->error, sizeof(c->error), "request could not be started: %s", err_describe(e));
    c->err = e;
    c->status = 0;
    c->state = CALL_DONE;
}

enum remote_call_state remote_call_state(struct remote_call *c)
{
    mtx_lock(&c->r->mu);
    enum remote_call_state s = c->state;
    mtx_unlock(&c->r->mu);
    return s;
}

void remote_call_reset(struct remote_call *c)
{
    mtx_lock(&c->r->mu);
    if (c->state == CALL_DONE)
        c->state = CALL_IDLE;
    mtx_unlock(&c->r->mu);
}

void remote_call_failed(struct remote_call *c, uint64_t now_ns)
{
    c->backoff_ms = c->backoff_ms ? MIN(c->backoff_ms * 2, BACKOFF_MAX_MS) : BACKOFF_MIN_MS;
    uint64_t ms = c->backoff_ms / 2 + os_random_u64() % (c->backoff_ms / 2 + 1);
    c->next_ns = now_ns + ms * 1000000u;
}

/* ---- answers ---- */

void remote_install(struct remote *r, struct sd_groups *g)
{
    struct scrape *s = r->s;
    mtx_lock(&s->mu);
    r->error[0] = 0;
    if (r->p->dead)
        sd_groups_free(g);
    else
        sd_install(r->p, g);
    mtx_unlock(&s->mu);
}

void remote_fine(struct remote *r)
{
    if (!r->error[0])
        return;
    mtx_lock(&r->s->mu);
    r->error[0] = r->p->error[0] = 0;
    mtx_unlock(&r->s->mu);
}

void remote_error(struct remote *r, const char *fmt, ...)
{
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    mtx_lock(&r->s->mu);
    bool is_new = strcmp(text, r->error) != 0;
    memcpy(r->error, text, sizeof(text));
    memcpy(r->p->error, text, sizeof(r->p->error));
    mtx_unlock(&r->s->mu);
    if (is_new)
        LOG_WARN("discovery has trouble, its last good answer stays", "err", text);
}

str sd_label_name(struct arena *a, const char *prefix, str name)
{
    str s = arena_printf(a, "%s" STR_FMT, prefix, STR_ARG(name));
    for (char *p = (char *)(uintptr_t)s.p; p < s.p + s.n; p++)
        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') || *p == '_'))
            *p = '_';
    return s;
}

str sd_host_port(struct arena *a, str host, long long port)
{
    bool v6 = str_find_char(host, ':') != SIZE_MAX;
    return arena_printf(a, v6 ? "[" STR_FMT "]:%lld" : STR_FMT ":%lld", STR_ARG(host), port);
}

/* ---- the thread ---- */

static const struct remote_kind *kind_of(enum sd_kind k)
{
    return k == SD_KUBERNETES ? &remote_kubernetes
           : k == SD_CONSUL   ? &remote_consul
           : k == SD_DOCKER   ? &remote_docker
           : k == SD_EC2      ? &remote_ec2
                              : NULL;
}

/* Under mu: providers that have no remote yet get one; dropped ones are marked. */
static void adopt(struct scrape *s)
{
    for (size_t i = 0; i < s->pools.n; i++)
        for (size_t k = 0; k < s->pools.p[i]->providers.n; k++) {
            struct provider *p = s->pools.p[i]->providers.p[k];
            if (p->busy || !kind_of(p->kind))
                continue;
            p->busy = true;
            struct remote *r = mem_zalloc(sizeof(*r));
            r->s = s;
            r->p = p;
            r->cfg = p->cfg;
            r->kind = kind_of(p->kind);
            mtx_init(&r->mu, 0);
            vec_push(&s->remotes, r);
        }
    for (size_t i = 0; i < s->remotes.n; i++)
        s->remotes.p[i]->dead = s->remotes.p[i]->p->dead;
}

/* Ask what is under way to end; true when nothing is. */
static bool calls_ended(struct remote *r)
{
    bool ended = true;
    mtx_lock(&r->mu);
    for (size_t i = 0; i < r->calls.n; i++)
        if (r->calls.p[i]->state == CALL_RUNNING) {
            http_cancel(r->s->http, r->calls.p[i]->id);
            ended = false;
        }
    mtx_unlock(&r->mu);
    return ended;
}

static void remote_free(struct remote *r)
{
    if (r->state)
        r->kind->close(r->state);
    vec_free(&r->calls);
    mtx_deinit(&r->mu);
    mem_free(r);
}

static void remote_step(struct remote *r)
{
    uint64_t now = os_mono_ns();
    if (!r->state && r->open_ns <= now) {
        r->open_ns = now + 5000000000u;
        r->state = r->kind->open(r);
    }
    if (r->state)
        r->kind->step(r->state, now);
}

void sd_remote_main(void *ctx)
{
    struct scrape *s = ctx;
    mtx_lock(&s->mu);
    while (!s->sd_closing) {
        adopt(s);
        s->remote_news = false;
        mtx_unlock(&s->mu);
        for (size_t i = s->remotes.n; i-- > 0;) {
            struct remote *r = s->remotes.p[i];
            if (!r->dead) {
                remote_step(r);
            } else if (calls_ended(r)) {
                struct provider *p = r->p;
                remote_free(r);
                vec_remove_swap(&s->remotes, i);
                mtx_lock(&s->mu);
                provider_free(p);
                mtx_unlock(&s->mu);
            }
        }
        mtx_lock(&s->mu);
        if (!s->remote_news && !s->sd_closing)
            cond_wait_ms(&s->remote_cv, &s->mu, s->remotes.n ? 100 : 1000);
    }
    mtx_unlock(&s->mu);
}

/* After the thread and the HTTP client have ended. */
void sd_remote_close(struct scrape *s)
{
    for (size_t i = 0; i < s->remotes.n; i++) {
        struct provider *p = s->remotes.p[i]->p;
        remote_free(s->remotes.p[i]);
        if (p->dead)
            provider_free(p);
    }
    vec_free(&s->remotes);
}
