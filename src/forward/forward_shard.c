/* A shard: a queue of items in the order of the log and a thread that sends them, one request at a time. What is in
 * flight stays at the head of the queue until the receiver has acknowledged it. A request is of one tenant: a batch of
 * several is sent as one request each. */
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "forward/forward_int.h"
#include "wire/compress.h"
#include "wire/remote_write.h"

enum {
    RETRY_AFTER_MS_MAX = 10 * 60 * 1000,
    STOP_GRACE_MS = 1000, /* for a request in flight */
    ANSWER_BYTES_MAX = 64 << 10,
};

/* ---- items ---- */
static void *put(char **p, const void *from, size_t bytes)
{
    void *to = *p;
    if (bytes)
        memcpy(to, from, bytes);
    *p += bytes;
    return to;
}

struct histogram *fwd_histogram_dup(const struct histogram *h)
{
    size_t doubles = (h->pos.n_buckets + h->neg.n_buckets + h->n_custom) * sizeof(double);
    size_t spans = (h->pos.n_spans + h->neg.n_spans) * sizeof(struct hist_span);
    struct histogram *out = mem_alloc(sizeof(*out) + doubles + spans);
    char *p = (char *)(out + 1);
    *out = *h;
    out->pos.buckets = put(&p, h->pos.buckets, h->pos.n_buckets * sizeof(double));
    out->neg.buckets = put(&p, h->neg.buckets, h->neg.n_buckets * sizeof(double));
    out->custom = put(&p, h->custom, h->n_custom * sizeof(double));
    out->pos.spans = put(&p, h->pos.spans, h->pos.n_spans * sizeof(struct hist_span));
    out->neg.spans = put(&p, h->neg.spans, h->neg.n_spans * sizeof(struct hist_span));
    return out;
}

struct exemplar *fwd_exemplar_dup(const struct exemplar *e)
{
    size_t bytes = sizeof(*e) + e->labels.n * sizeof(struct label);
    labels_each (l, e->labels)
        bytes += l->name.n + l->value.n;
    struct exemplar *out = mem_alloc(bytes);
    struct label *ls = (struct label *)(void *)(out + 1);
    char *p = (char *)(ls + e->labels.n);
    *out = (struct exemplar){ { ls, e->labels.n }, e->v, e->ts_ms };
    for (size_t i = 0; i < e->labels.n; i++) {
        struct label l = e->labels.p[i];
        ls[i].name = str_n(put(&p, l.name.p, l.name.n), l.name.n);
        ls[i].value = str_n(put(&p, l.value.p, l.value.n), l.value.n);
    }
    return out;
}

void fwd_item_free(struct fwd_item *it)
{
    if (it->kind == FWD_HISTOGRAM)
        mem_free(it->u.h);
    else if (it->kind == FWD_EXEMPLAR)
        mem_free(it->u.x);
}

static inline struct fwd_item *item_at(const struct fwd_shard *s, uint32_t i)
{
    uint32_t at = s->head + i;
    return &s->ring[at >= s->cap ? at - s->cap : at];
}

/* ---- the queue ---- */
static bool is_to_drop(const struct remote *r, uint64_t lsn)
{
    return lsn <= atomic_load_explicit(&r->drop_lsn, memory_order_relaxed);
}

bool fwd_shard_push(struct fwd_shard *s, struct fwd_item *items, size_t n)
{
    struct remote *r = s->r;
    mtx_lock(&s->mu);
    for (size_t i = 0; i < n; i++) {
        for (bool waited = false; s->n == s->cap; waited = true) {
            if (!waited)
                atomic_fetch_add_explicit(&r->waits, 1, memory_order_relaxed);
            if (atomic_load(&r->stop) || is_to_drop(r, items[i].lsn)) {
                mtx_unlock(&s->mu);
                if (!atomic_load(&r->stop))
                    remote_dropped(r, items + i, n - i, true);
                for (; i < n; i++)
                    fwd_item_free(&items[i]);
                return false;
            }
            cond_wait_ms(&s->space, &s->mu, 200);
        }
        if (s->n == 0)
            s->first_ns = os_mono_ns();
        *item_at(s, s->n++) = items[i];
        if (s->n == 1 || s->n == (uint32_t)r->cfg->queue.max_samples_per_send)
            cond_signal(&s->more);
        atomic_fetch_add_explicit(&r->counts[items[i].kind].pending, 1, memory_order_relaxed);
    }
    mtx_unlock(&s->mu);
    return true;
}

/* Items that are done leave the queue. */
static void queue_pop(struct fwd_shard *s, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct fwd_item *it = item_at(s, i);
        atomic_fetch_sub_explicit(&s->r->counts[it->kind].pending, 1, memory_order_relaxed);
        fwd_item_free(it);
    }
    mtx_lock(&s->mu);
    s->head = (s->head + n) % s->cap;
    s->n -= n;
    s->first_ns = os_mono_ns();
    cond_signal(&s->space);
    mtx_unlock(&s->mu);
}

/* ---- a batch ---- */

/* 2.0 knows no series without samples: an exemplar whose sample was there before is not sent. */
static void alone_drop(struct remote *r, struct batch *b, uint64_t io_n[FWD_KINDS])
{
    size_t k = 0;
    for (size_t i = 0; i < b->series.n; i++) {
        const struct batch_series *bs = &b->series.p[i];
        if (bs->n_samples + bs->n_hists == 0) {
            atomic_fetch_add_explicit(&r->counts[FWD_EXEMPLAR].dropped_alone, bs->n_exemplars, memory_order_relaxed);
            io_n[FWD_EXEMPLAR] -= bs->n_exemplars;
        } else
            b->series.p[k++] = *bs;
    }
    b->series.n = k;
}

/* Marks series. One count for all shards: a series that has moved from another one carries that one's mark. */
static uint64_t batch_next(struct remote *r)
{
    return atomic_fetch_add_explicit(&r->batches, 1, memory_order_relaxed) + 1;
}

/* Items first..first+n of the queue as a batch: samples of a series together. ret_n: items of each kind in it. */
static void batch_make(struct fwd_shard *s, uint32_t first, uint32_t n, struct batch *b, uint64_t ret_n[FWD_KINDS])
{
    struct remote *r = s->r;
    struct arena *a = &s->a;
    int64_t oldest = r->cfg->queue.sample_age_limit_ms > 0
                         ? clock_now_ms(r->f->opt.clock) - r->cfg->queue.sample_age_limit_ms
                         : INT64_MIN;
    struct part {
        uint32_t n[FWD_KINDS];
        bool start;
    } *parts = arena_zarray(a, struct part, n);
    *b = (struct batch){ .a = a, .labels_of = rw1_labels_of };
    avec_reserve(a, &b->series, n);
    memset(ret_n, 0, FWD_KINDS * sizeof(*ret_n));
    uint64_t batch = batch_next(s->r);
    for (uint32_t i = 0; i < n; i++) {
        const struct fwd_item *it = item_at(s, first + i);
        if (it->ts < oldest) {
            atomic_fetch_add_explicit(&r->counts[it->kind].dropped_old, 1, memory_order_relaxed);
            continue;
        }
        struct fwd_series *x = it->s;
        if (x->batch != batch) {
            x->batch = batch;
            x->index = (uint32_t)b->series.n;
            avec_push(a, &b->series, ((struct batch_series){ .labels = x->ls, .key = r->v2 ? NULL : &x->key }));
        }
        parts[x->index].n[it->kind]++;
        parts[x->index].start |= it->start != 0;
        ret_n[it->kind]++;
    }
    for (size_t i = 0; i < b->series.n; i++) {
        struct batch_series *bs = &b->series.p[i];
        const struct part *p = &parts[i];
        bs->samples = arena_array(a, struct sample, p->n[FWD_SAMPLE]);
        bs->hists = arena_array(a, struct hist_sample, p->n[FWD_HISTOGRAM]);
        bs->exemplars = arena_array(a, struct exemplar, p->n[FWD_EXEMPLAR]);
        if (p->start)
            bs->start_ms = arena_zarray(a, int64_t, p->n[FWD_SAMPLE] + p->n[FWD_HISTOGRAM]);
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct fwd_item *it = item_at(s, first + i);
        if (it->ts < oldest)
            continue;
        struct batch_series *bs = &b->series.p[it->s->index];
        if (it->kind == FWD_SAMPLE) {
            if (bs->start_ms)
                ((int64_t *)(uintptr_t)bs->start_ms)[bs->n_samples] = it->start;
            ((struct sample *)(uintptr_t)bs->samples)[bs->n_samples++] = (struct sample){ it->ts, it->u.v };
        } else if (it->kind == FWD_HISTOGRAM) {
            if (bs->start_ms)
                ((int64_t *)(uintptr_t)bs->start_ms)[parts[it->s->index].n[FWD_SAMPLE] + bs->n_hists] = it->start;
            ((struct hist_sample *)(uintptr_t)bs->hists)[bs->n_hists++] = (struct hist_sample){ it->ts, it->u.h };
        } else
            ((struct exemplar *)(uintptr_t)bs->exemplars)[bs->n_exemplars++] = *it->u.x;
        if (r->v2 && !bs->meta.type && !bs->meta.help.p)
            bs->meta = fwd_series_meta(it->s);
    }
    if (r->v2)
        alone_drop(r, b, ret_n);
    b->n_samples = ret_n[FWD_SAMPLE] + ret_n[FWD_HISTOGRAM];
    b->n_exemplars = ret_n[FWD_EXEMPLAR];
}

/* ---- a request ---- */
struct call { /* filled on the client's thread */
    struct mtx mu;
    struct cond done_cv;
    bool done;
    enum err err;
    int status;
    char text[256];         /* what to say of it */
    int64_t retry_after_ms; /* -1: not said */
    bool confirmed;         /* 2.0: the receiver says what it has written */
    bool unanswered;        /* an earlier attempt broke off: part of it may have been written */
};

static void call_done(void *ctx, const struct http_result *res)
{
    struct call *c = ctx;
    mtx_lock(&c->mu);
    c->err = res->err;
    c->status = res->status;
    str body = res->body ? str_trim(buf_str(res->body)) : STR_NONE;
    if (res->err != OK)
        snprintf(c->text, sizeof(c->text), "%s", res->error);
    else
        snprintf(c->text, sizeof(c->text), "%d %s: %.*s", res->status, http_status_text(res->status),
                 (int)MIN(body.n, (size_t)160), body.n ? body.p : "");
    for (char *p = c->text; *p; p++)
        *p = (unsigned char)*p < ' ' ? ' ' : *p;
    uint64_t seconds;
    c->retry_after_ms = str_to_u64(str_trim(http_result_header(res, STR("Retry-After"))), &seconds)
                            ? (int64_t)MIN(seconds * 1000, (uint64_t)RETRY_AFTER_MS_MAX)
                            : -1;
    c->confirmed = http_result_header(res, STR("X-Prometheus-Remote-Write-Samples-Written")).p != NULL ||
                   http_result_header(res, STR("X-Prometheus-Remote-Write-Histograms-Written")).p != NULL ||
                   http_result_header(res, STR("X-Prometheus-Remote-Write-Exemplars-Written")).p != NULL;
    c->done = true;
    cond_signal(&c->done_cv);
    mtx_unlock(&c->mu);
}

/* Post the body and wait; a shard that is to stop gives its request a short time. */
static void call_run(struct fwd_shard *s, const struct http_fetch *f, struct call *c)
{
    uint64_t id, stop_ns = 0;
    struct http_fetch mine = *f;
    mine.done = call_done;
    mine.ctx = c;
    enum err e = http_start(s->r->f->http, &mine, &id);
    if (e != OK) {
        c->err = e;
        snprintf(c->text, sizeof(c->text), "%s", err_describe(e));
        return;
    }
    mtx_lock(&c->mu);
    while (!c->done) {
        if (!cond_wait_ms(&c->done_cv, &c->mu, 250) && atomic_load(&s->r->stop)) {
            uint64_t now = os_mono_ns();
            stop_ns = stop_ns ? stop_ns : now;
            if (now - stop_ns >= (uint64_t)STOP_GRACE_MS * 1000000) {
                mtx_unlock(&c->mu);
                http_cancel(s->r->f->http, id);
                mtx_lock(&c->mu);
            }
        }
    }
    mtx_unlock(&c->mu);
}

enum verdict {
    V_SENT,
    V_RETRY,
    V_REFUSED, /* for good */
    V_STOP,
};

static enum verdict verdict_of(const struct remote *r, const struct call *c, bool wants_confirmation)
{
    if (c->err != OK)
        return c->err == ERR_INVALID ? V_REFUSED : V_RETRY;
    if (c->status / 100 == 2)
        return r->v2 && wants_confirmation && !c->confirmed ? V_REFUSED : V_SENT;
    if (c->status / 100 == 5 || c->status == 408)
        return V_RETRY;
    return c->status == 429 && (r->cfg->queue.retry_on_http_429 || c->retry_after_ms >= 0) ? V_RETRY : V_REFUSED;
}

/* Send one encoded message until it is taken, refused, or we stop. drop_at: LSN at which it may be dropped. */
static enum verdict message_send(struct fwd_shard *s, str body, str tenant, uint64_t n, uint64_t drop_at,
                                 enum fwd_kind what, struct call *c)
{
    struct remote *r = s->r;
    const struct remote_write_config *cfg = r->cfg;
    int64_t backoff = MAX(cfg->queue.min_backoff_ms, (int64_t)1);
    for (unsigned attempt = 0;; attempt++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct http_pair *h = arena_array(&a, struct http_pair, cfg->headers.n + 5);
        size_t n_headers = 0;
        h[n_headers++] = (struct http_pair){ STR("Content-Encoding"), STR("snappy") };
        h[n_headers++] = (struct http_pair){ STR("Content-Type"),
                                             r->v2 ? STR("application/x-protobuf;proto=io.prometheus.write.v2.Request")
                                                   : STR("application/x-protobuf") };
        h[n_headers++] =
            (struct http_pair){ STR("X-Prometheus-Remote-Write-Version"), r->v2 ? STR("2.0.0") : STR("0.1.0") };
        if (tenant.n)
            h[n_headers++] = (struct http_pair){ STR("X-Scope-OrgID"), tenant };
        if (attempt)
            h[n_headers++] = (struct http_pair){ STR("Retry-Attempt"), arena_printf(&a, "%u", attempt) };
        for (size_t i = 0; i < cfg->headers.n; i++)
            h[n_headers++] = (struct http_pair){ cfg->headers.keys[i], cfg->headers.p[i] };
        struct http_fetch f = { .url = cfg->url,
                                .method = HTTP_POST,
                                .body = body,
                                .headers = h,
                                .n_headers = n_headers,
                                .timeout_ms = cfg->timeout_ms,
                                .body_bytes_max = ANSWER_BYTES_MAX };
        c->done = false;
        c->status = 0;
        c->retry_after_ms = -1;
        c->confirmed = false;
        enum verdict v = V_RETRY;
        uint64_t t0 = os_mono_ns();
        http_sigv4_apply(cfg->sigv4, "aps", &a, &f);
        if (!http_config_apply(&cfg->http, &a, &f, c->text, sizeof(c->text)))
            c->err = ERR_IO; /* credentials cannot be read now */
        else
            call_run(s, &f, c);
        v = verdict_of(r, c, n > 0);
        atomic_fetch_add_explicit(&r->send_ns, os_mono_ns() - t0, memory_order_relaxed);
        atomic_fetch_add_explicit(&r->requests, 1, memory_order_relaxed);
        if (v == V_SENT) {
            atomic_fetch_add_explicit(&r->bytes, body.n, memory_order_relaxed);
            remote_error_set(r, NULL);
        }
        if (v != V_RETRY)
            return v;
        if (atomic_load(&r->stop))
            return V_STOP;
        c->unanswered |= c->err != OK || c->status / 100 == 5;
        remote_error_set(r, c->text);
        if (what < FWD_KINDS)
            atomic_fetch_add_explicit(&r->counts[what].retried, n, memory_order_relaxed);
        int64_t wait = MAX(backoff, c->retry_after_ms);
        mtx_lock(&s->mu);
        for (uint64_t end = os_mono_ns() + (uint64_t)wait * 1000000, now;
             !s->stop && !is_to_drop(r, drop_at) && (now = os_mono_ns()) < end;)
            cond_wait_ms(&s->more, &s->mu, (unsigned)MIN((end - now) / 1000000 + 1, (uint64_t)500));
        bool stop = s->stop;
        mtx_unlock(&s->mu);
        if (stop)
            return V_STOP;
        if (is_to_drop(r, drop_at) || what == FWD_KINDS)
            return V_RETRY; /* given up */
        backoff = MIN(backoff * 2, MAX(cfg->queue.max_backoff_ms, (int64_t)1));
    }
}

static void count_sent(struct fwd_shard *s, uint32_t first, uint32_t n, const uint64_t kinds[FWD_KINDS])
{
    struct remote *r = s->r;
    int64_t newest = 0;
    for (uint32_t i = 0; i < n; i++)
        newest = MAX(newest, item_at(s, first + i)->ts);
    for (int k = 0; k < FWD_KINDS; k++)
        atomic_fetch_add_explicit(&r->counts[k].sent, kinds[k], memory_order_relaxed);
    int64_t was = atomic_load_explicit(&r->highest_sent_ms, memory_order_relaxed);
    while (newest > was && !atomic_compare_exchange_weak_explicit(&r->highest_sent_ms, &was, newest,
                                                                  memory_order_relaxed, memory_order_relaxed))
        ;
}

/* How many items from first on name every series once at most. */
static uint32_t one_each(struct fwd_shard *s, uint32_t first, uint32_t n)
{
    uint64_t batch = batch_next(s->r);
    for (uint32_t i = 0; i < n; i++) {
        const struct fwd_item *it = item_at(s, first + i);
        if (it->s->batch == batch && it->kind != FWD_EXEMPLAR)
            return i;
        it->s->batch = batch;
    }
    return n;
}

static void refused(struct fwd_shard *s, const uint64_t kinds[FWD_KINDS], bool again, const char *why)
{
    struct remote *r = s->r;
    uint64_t n = 0;
    for (int k = 0; k < FWD_KINDS; k++) {
        struct fwd_counts *c = &r->counts[k];
        atomic_fetch_add_explicit(again ? &c->dropped_again : &c->failed, kinds[k], memory_order_relaxed);
        n += kinds[k];
    }
    remote_error_set(r, NULL); /* it answers */
    if (again) {
        LOG_INFO("samples that were sent again after a restart were refused: the receiver will have them", "remote",
                 r->name, "url", r->url, "samples", LOG_I64(n), "answer", why);
        return;
    }
    LOG_WARN("the receiver refused samples, they are dropped", "remote", r->name, "url", r->url, "samples", LOG_I64(n),
             "answer", why);
}

/* Items first..first+n: sent, refused or dropped. False: stopped, nothing is known of them. */
enum send_mode {
    SEND_WHOLE, /* a batch */
    SEND_HALF,  /* of one that was too large */
    SEND_AGAIN, /* of one that may have been sent before a restart */
};
static bool items_send(struct fwd_shard *s, uint32_t first, uint32_t n, enum send_mode mode)
{
    struct remote *r = s->r;
    struct batch b;
    uint64_t kinds[FWD_KINDS], lsn = item_at(s, first)->lsn;
    AUTO_BUF struct buf plain = { 0 }, body = { 0 };
    if (is_to_drop(r, lsn)) {
        for (uint32_t i = 0; i < n; i++)
            remote_dropped(r, item_at(s, first + i), 1, true);
        return true;
    }
    arena_reset(&s->a);
    batch_make(s, first, n, &b, kinds);
    if (b.series.n == 0)
        return true; /* nothing to send */
    if (r->v2)
        rw2_encode(&plain, &b);
    else
        rw1_encode(&plain, &b);
    snappy_pack(buf_str(&plain), &body);
    struct call c = { 0 };
    mtx_init(&c.mu, 0);
    cond_init(&c.done_cv);
    enum verdict v =
        message_send(s, buf_str(&body), item_at(s, first)->s->tenant, b.n_samples + b.n_exemplars, lsn, FWD_SAMPLE, &c);
    cond_deinit(&c.done_cv);
    mtx_deinit(&c.mu);
    switch (v) {
    case V_STOP:
        return false;
    case V_SENT:
        count_sent(s, first, n, kinds);
        return true;
    case V_RETRY: /* given up for the log's size */
        for (uint32_t i = 0; i < n; i++)
            remote_dropped(r, item_at(s, first + i), 1, true);
        return true;
    case V_REFUSED:
        break;
    }
    if (c.status == 413 && n > 1) {
        enum send_mode half = mode == SEND_AGAIN ? SEND_AGAIN : SEND_HALF;
        return items_send(s, first, n / 2, half) && items_send(s, first + n / 2, n - n / 2, half);
    }
    if (mode == SEND_AGAIN && c.status == 400 && n > 1) /* some may be older than what the receiver has, others new */
        return items_send(s, first, n / 2, SEND_AGAIN) && items_send(s, first + n / 2, n - n / 2, SEND_AGAIN);
    /* After a restart, or when a receiver died over a request, what had been sent but not noted is sent again. There are
     * receivers that refuse a whole request for one sample that is older than what they have of its series: parts in
     * which no series comes twice can be halved in any order until what is new in them is found. */
    bool again = mode == SEND_AGAIN || c.unanswered || lsn <= r->resent_lsn;
    uint32_t part = again && mode != SEND_AGAIN && c.status == 400 ? one_each(s, first, n) : n;
    if (part == n) {
        refused(s, kinds, again && c.status == 400, c.text);
        return true;
    }
    for (uint32_t at = 0; at < n; at += part) {
        part = one_each(s, first + at, n - at);
        if (!items_send(s, first + at, part, SEND_AGAIN))
            return false;
    }
    return true;
}

/* ---- metadata (1.0): all families, now and then ---- */
static bool families_send(struct fwd_shard *s, struct arena *a, const struct batch_family *f, size_t n, str tenant)
{
    struct remote *r = s->r;
    size_t step = (size_t)MAX(r->cfg->metadata.max_samples_per_send, (int64_t)1);
    for (size_t i = 0; i < n; i += step) {
        struct batch b = { .a = a };
        AUTO_BUF struct buf plain = { 0 }, body = { 0 };
        size_t part = MIN(step, n - i);
        avec_reserve(a, &b.families, part);
        for (size_t k = i; k < i + part; k++)
            avec_push(a, &b.families, f[k]);
        rw1_encode(&plain, &b);
        snappy_pack(buf_str(&plain), &body);
        struct call c = { 0 };
        mtx_init(&c.mu, 0);
        cond_init(&c.done_cv);
        enum verdict v = message_send(s, buf_str(&body), tenant, 0, 0, FWD_KINDS, &c);
        cond_deinit(&c.done_cv);
        mtx_deinit(&c.mu);
        atomic_fetch_add_explicit(v == V_SENT ? &r->metadata : &r->metadata_failed, part, memory_order_relaxed);
        if (v != V_SENT)
            return false; /* next time */
    }
    return true;
}

/* The families of one tenant; the names without it. */
static size_t families_of(const struct tsdb_metadata *m, size_t n, str stored, struct batch_family *out)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        str name = m[i].name;
        size_t end = str_find_char(name, METRIC_FAMILY_TENANT_END);
        str tenant = end == SIZE_MAX ? STR("") : str_take(name, end);
        if (str_eq(tenant, stored))
            out[k++] = (struct batch_family){ end == SIZE_MAX ? name : str_skip(name, end + 1), m[i].meta };
    }
    return k;
}

static void metadata_send(struct fwd_shard *s)
{
    struct fwd_table *t = &s->r->table;
    struct tsdb_metadata *m;
    size_t n, n_tenants = 1;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    if (tsdb_metadata(s->r->f->opt.db, STR_NONE, 0, &a, &m, &n) != OK)
        return;
    mtx_lock(&t->tenants_mu);
    struct fwd_tenant *to = arena_zarray(&a, struct fwd_tenant, t->tenants.n + 1); /* the first: none */
    vec_each (struct fwd_tenant, x, &t->tenants)
        if (x->stored.n || x->sent.n)
            to[n_tenants++] = (struct fwd_tenant){ arena_str(&a, x->stored), arena_str(&a, x->sent) };
    mtx_unlock(&t->tenants_mu);
    struct batch_family *f = arena_array(&a, struct batch_family, n + 1);
    for (size_t i = 0; i < n_tenants; i++)
        if (!families_send(s, &a, f, families_of(m, n, to[i].stored, f), to[i].sent))
            return;
}

/* ---- the thread ---- */

/* Wait for a full batch, or one that has waited long enough. 0: stop, or only a look at the clock. */
static uint32_t batch_wait(struct fwd_shard *s)
{
    const struct queue_config *q = &s->r->cfg->queue;
    uint64_t deadline = (uint64_t)q->batch_send_deadline_ms * 1000000;
    uint32_t n = 0;
    mtx_lock(&s->mu);
    while (!s->stop && n == 0) {
        uint64_t now = os_mono_ns();
        if (s->n >= (uint32_t)q->max_samples_per_send || (s->n && (s->flush || now - s->first_ns >= deadline)))
            n = (uint32_t)MIN((int64_t)s->n, q->max_samples_per_send);
        else if (s->n)
            cond_wait_ms(&s->more, &s->mu, (unsigned)((s->first_ns + deadline - now) / 1000000 + 1));
        else {
            cond_wait_ms(&s->more, &s->mu, 1000);
            break;
        }
    }
    while (n && n < s->n && item_at(s, n)->kind == FWD_EXEMPLAR)
        n++; /* they go with their sample */
    if (s->stop)
        n = 0;
    mtx_unlock(&s->mu);
    return n;
}

/* Items of one tenant together, those of each in their order. The first stays the first: remote_place() asks it. */
static void tenants_together(struct fwd_shard *s, uint32_t n)
{
    uint32_t same = 1, k = 0;
    while (same < n && str_eq(item_at(s, same)->s->tenant, item_at(s, 0)->s->tenant))
        same++;
    if (same == n)
        return;
    struct fwd_item *out = mem_alloc(n * sizeof(*out));
    bool *taken = mem_zalloc(n);
    for (uint32_t i = 0; i < n; i++) {
        if (taken[i])
            continue;
        for (uint32_t j = i; j < n; j++)
            if (!taken[j] && str_eq(item_at(s, j)->s->tenant, item_at(s, i)->s->tenant)) {
                out[k++] = *item_at(s, j);
                taken[j] = true;
            }
    }
    mtx_lock(&s->mu); /* remote_place() looks at the head */
    for (uint32_t i = 0; i < n; i++)
        *item_at(s, i) = out[i];
    mtx_unlock(&s->mu);
    mem_free(taken);
    mem_free(out);
}

static bool batch_send(struct fwd_shard *s, uint32_t n)
{
    tenants_together(s, n);
    for (uint32_t at = 0, part; at < n; at += part) {
        str tenant = item_at(s, at)->s->tenant;
        for (part = 1; at + part < n && str_eq(item_at(s, at + part)->s->tenant, tenant);)
            part++;
        if (!items_send(s, at, part, SEND_WHOLE))
            return false;
    }
    return true;
}

static void shard_main(void *ctx)
{
    struct fwd_shard *s = ctx;
    const struct metadata_config *m = &s->r->cfg->metadata;
    for (;;) {
        uint32_t n = batch_wait(s);
        mtx_lock(&s->mu);
        bool stop = s->stop;
        mtx_unlock(&s->mu);
        if (stop)
            break;
        if (s->no == 0 && m->send && !s->r->v2 && os_mono_ns() >= s->metadata_ns) {
            s->metadata_ns = os_mono_ns() + (uint64_t)MAX(m->send_interval_ms, (int64_t)1000) * 1000000;
            metadata_send(s);
        }
        if (n == 0)
            continue;
        if (!batch_send(s, n))
            break; /* what is queued is sent after the next start */
        atomic_fetch_add_explicit(&s->r->acked, n, memory_order_relaxed);
        queue_pop(s, n);
        remote_note(s->r);
    }
}

struct fwd_shard *fwd_shard_start(struct remote *r, unsigned no)
{
    struct fwd_shard *s = mem_zalloc(sizeof(*s));
    s->r = r;
    s->no = no;
    s->cap = (uint32_t)MIN(r->cfg->queue.capacity + r->cfg->queue.max_samples_per_send, (int64_t)1 << 24);
    s->ring = mem_alloc(s->cap * sizeof(*s->ring));
    mtx_init(&s->mu, 30);
    cond_init(&s->more);
    cond_init(&s->space);
    arena_init(&s->a, 0);
    char name[16];
    snprintf(name, sizeof(name), "forward/%u", no % 10000);
    if (thread_start(&s->thread, name, shard_main, s) == OK)
        return s;
    mem_free(s->ring);
    mem_free(s);
    return NULL;
}

void fwd_shard_stop(struct fwd_shard *s)
{
    mtx_lock(&s->mu);
    s->stop = true;
    cond_broadcast(&s->more);
    cond_broadcast(&s->space);
    mtx_unlock(&s->mu);
}

void fwd_shard_join(struct fwd_shard *s)
{
    thread_join(s->thread);
}

void fwd_shard_free(struct fwd_shard *s)
{
    for (uint32_t i = 0; i < s->n; i++) {
        atomic_fetch_sub_explicit(&s->r->counts[item_at(s, i)->kind].pending, 1, memory_order_relaxed);
        fwd_item_free(item_at(s, i));
    }
    arena_deinit(&s->a);
    cond_deinit(&s->more);
    cond_deinit(&s->space);
    mtx_deinit(&s->mu);
    mem_free(s->ring);
    mem_free(s);
}
