/* Forwarding out of a real store to a real HTTP server that decodes what it gets: all of it, in order per series, over
 * failures, restarts, changes of shards, a receiver that refuses whole requests, and a log that is too small. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "forward/forward_int.h"
#include "support/test.h"
#include "wire/remote_write.h"

enum { SERIES = 30 };
#define T0 1700000000000LL

/* ---- the receiver ---- */
struct point {
    int64_t ts, start;
    double v; /* of a histogram: its count */
};
typedef VEC(struct point) point_vec;
struct receiver {
    struct http_server *server;
    struct mtx mu;
    point_vec got[SERIES];
    uint32_t requests, exemplars, with_meta, stale;
    struct rng rng;
    /* behaviour */
    atomic_uint fail_percent; /* 503 before anything is taken */
    atomic_bool strict;       /* one sample older than its series' newest: nothing of the request is taken, 400 */
    atomic_uint samples_max;  /* more: 413 */
    atomic_uint delay_ms;
    atomic_bool v2;
    char via[16]; /* what external labels and relabelling must have made of every series */
};

/* On threads of the server: ASSERT, since cmocka's jump back does not work there. */
static int series_no(struct labels ls)
{
    str i = labels_get(ls, STR("i"));
    uint64_t n;
    ASSERT(str_to_u64(i, &n));
    ASSERT(n < SERIES);
    return (int)n;
}

static bool too_old(const point_vec *v, int64_t ts)
{
    return v->n && ts < vec_last(v).ts;
}

static void take(struct receiver *r, const struct batch *b)
{
    vec_each (const struct batch_series, s, &b->series) {
        point_vec *v = &r->got[series_no(s->labels)];
        ASSERT(str_eq(labels_get(s->labels, STR("via")), str_c(r->via)));
        ASSERT(str_eq(labels_get(s->labels, STR("src")), STR("x")));
        for (size_t i = 0; i < s->n_samples + s->n_hists; i++) {
            bool hist = i >= s->n_samples;
            struct point p = { hist ? s->hists[i - s->n_samples].ts_ms : s->samples[i].ts_ms,
                               s->start_ms ? s->start_ms[i] : 0,
                               hist ? s->hists[i - s->n_samples].h->count : s->samples[i].v };
            if (v->n && vec_last(v).ts == p.ts)
                continue; /* taken as the duplicate it is */
            r->stale += !hist && is_stale(p.v);
            vec_push(v, p);
        }
        r->exemplars += (uint32_t)s->n_exemplars;
        r->with_meta += s->meta.type == METRIC_COUNTER && str_eq(s->meta.help, STR("of things"));
    }
}

static void receive(struct http_request *rq, struct http_response *rs)
{
    struct receiver *r = rq->ctx;
    struct batch b;
    struct wire_rejects rejects;
    struct wire_limits lim = WIRE_LIMITS_DEFAULT;
    struct err_text why;
    bool v2 = atomic_load(&r->v2);
    enum err e = v2 ? rw2_decode(rq->a, rq->body, 1 << 24, &lim, &b, &rejects, &why)
                    : rw1_decode(rq->a, rq->body, 1 << 24, &lim, &b, &rejects, &why);
    ASSERT(e == OK);
    ASSERT(rejects.samples == 0);
    ASSERT(rejects.series == 0);
    if (atomic_load(&r->delay_ms))
        os_sleep_ms(atomic_load(&r->delay_ms));
    mtx_lock(&r->mu);
    int status = 204;
    bool old = false, named[SERIES] = { false };
    vec_each (struct batch_series, s, &b.series) {
        int no = series_no(s->labels);
        ASSERT(!named[no]); /* whatever ids the log has had for it: prometheus loses what is older in the second */
        named[no] = true;
        for (size_t i = 0; i < s->n_samples; i++)
            old |= too_old(&r->got[series_no(s->labels)], s->samples[i].ts_ms);
        for (size_t i = 0; i < s->n_hists; i++)
            old |= too_old(&r->got[series_no(s->labels)], s->hists[i].ts_ms);
    }
    if (rng_next(&r->rng) % 100 < atomic_load(&r->fail_percent))
        status = 503;
    else if (atomic_load(&r->samples_max) && b.n_samples > atomic_load(&r->samples_max))
        status = 413;
    else if (old && atomic_load(&r->strict))
        status = 400;
    else
        take(r, &b);
    r->requests++;
    mtx_unlock(&r->mu);
    if (v2)
        http_set_header(rs, STR("X-Prometheus-Remote-Write-Samples-Written"), STR("1"));
    http_answer(rs, status, STR("text/plain"), STR(""));
}

static void receiver_open(struct receiver *r)
{
    static const struct http_route routes[] = { { HTTP_BIT(HTTP_POST), "/w", receive, HTTP_INGEST, NULL,
                                                  HTTP_RAW_BODY | HTTP_NO_FORM } };
    memset(r, 0, sizeof(*r));
    mtx_init(&r->mu, 0);
    r->rng = (struct rng){ 7 };
    snprintf(r->via, sizeof(r->via), "relabel");
    struct http_listener l = { .address = "127.0.0.1" };
    struct http_table *t = mem_zalloc(sizeof(*t)); /* lives as long as the test */
    *t = (struct http_table){ routes, 1, r, 0 };
    struct http_server_config cfg = { .listeners = &l, .n_listeners = 1, .tables = t, .n_tables = 1 };
    struct err_text why;
    assert_ok(http_server_open(&cfg, &r->server, &why));
    mem_free(t);
}

static void receiver_close(struct receiver *r)
{
    http_server_close(r->server);
    for (int i = 0; i < SERIES; i++)
        vec_free(&r->got[i]);
    mtx_deinit(&r->mu);
}

/* ---- the sender ---- */
struct sender {
    char dir[64], forward_dir[80];
    struct store *st;
    struct tsdb *db;
    struct forward *f;
    struct store_config scfg;
    struct receiver *r;
    point_vec wanted[SERIES];
    uint32_t exemplars;
    int64_t now;
    const char *queue, *more; /* of the configuration */
};

static struct prom_config *config(struct sender *s)
{
    char text[1024];
    struct prom_config *cfg;
    struct err_text why = { 0 };
    snprintf(text, sizeof(text),
             "global: {external_labels: {src: x}}\n"
             "remote_write:\n"
             "- url: http://127.0.0.1:%u/w\n"
             "  send_exemplars: true\n"
             "  send_native_histograms: true\n"
             "  metadata_config: {send: false}\n"
             "  %s\n"
             "  write_relabel_configs:\n"
             "  - {target_label: via, replacement: relabel}\n"
             "  - {source_labels: [__name__], regex: dropped, action: drop}\n"
             "  queue_config: {batch_send_deadline: 20ms, min_backoff: 1ms, max_backoff: 5ms, %s}\n",
             http_server_port(s->r->server, 0), s->more ? s->more : "", s->queue);
    enum err e = prom_config_parse(STR("p.yml"), str_c(text), &cfg, NULL, &why);
    if (e)
        fail_msg("%s", why.msg);
    return cfg;
}

static void sender_start(struct sender *s)
{
    struct err_text why = { 0 };
    struct tsdb_config cfg;
    tsdb_config_defaults(&cfg);
    cfg.retention_ms = 0;
    cfg.partitions = 3;
    cfg.future_max_ms = INT64_MAX / 4;
    assert_ok(store_open(fs_os(), s->dir, &s->scfg, os_clock(), &s->st, &why));
    assert_ok(tsdb_open(&cfg, s->st, os_clock(), &s->db, &why));
    struct forward_options opt = { s->st, s->db, fs_os(), os_clock(), s->forward_dir };
    assert_ok(forward_open(&opt, &s->f, &why));
    assert_ok(forward_reload(s->f, config(s), &why));
}

static void sender_stop(struct sender *s)
{
    forward_close(s->f, 0);
    tsdb_close(s->db);
    store_close(s->st);
}

static void sender_init(struct sender *s, struct receiver *r, const char *queue, const char *more)
{
    memset(s, 0, sizeof(*s));
    s->r = r;
    s->queue = queue;
    s->more = more;
    s->now = T0;
    snprintf(s->dir, sizeof(s->dir), "/tmp/vane_forward_XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->forward_dir, sizeof(s->forward_dir), "%s/forward", s->dir);
    store_config_defaults(&s->scfg);
    s->scfg.wal_file_bytes = 64 << 10;
    s->scfg.reserve_bytes = 0;
    sender_start(s);
}

static void sender_deinit(struct sender *s)
{
    char cmd[100];
    sender_stop(s);
    snprintf(cmd, sizeof(cmd), "rm -rf %s", s->dir);
    assert_int_equal(system(cmd), 0);
    for (int i = 0; i < SERIES; i++)
        vec_free(&s->wanted[i]);
}

/* One sample of each series, and one that a rule drops. */
static void write_round(struct sender *s, struct rng *rng)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a };
    s->now += 1000;
    for (int i = 0; i <= SERIES; i++) {
        struct label *l = arena_array(&a, struct label, 2);
        l[0] = (struct label){ LABEL_NAME, i == SERIES ? STR("dropped") : i % 2 ? STR("things_total") : STR("m") };
        l[1] = (struct label){ STR("i"), arena_printf(&a, "%d", i) };
        double v = rng_next(rng) % 40 == 0 ? f64_from_bits(STALE_NAN_BITS) : (double)(rng_next(rng) % 1000000);
        struct batch_series bs = { .labels = { l, 2 } };
        struct point p = { s->now, 0, v };
        if (i % 2)
            bs.meta = (struct metric_meta){ METRIC_COUNTER, STR("of things"), STR("") };
        if (i % 5 == 1) {
            int64_t *start = arena_new(&a, int64_t);
            *start = p.start = T0 - 5;
            bs.start_ms = start;
        }
        if (i % 7 == 3) {
            struct histogram *h = arena_new(&a, struct histogram);
            p.v = h->count = h->zero_count = (double)(rng_next(rng) % 1000);
            struct hist_sample *hs = arena_new(&a, struct hist_sample);
            *hs = (struct hist_sample){ s->now, h };
            bs.hists = hs;
            bs.n_hists = 1;
        } else {
            struct sample *x = arena_new(&a, struct sample);
            *x = (struct sample){ s->now, v };
            bs.samples = x;
            bs.n_samples = 1;
        }
        if (i == 2) {
            struct label *el = arena_new(&a, struct label);
            *el = (struct label){ STR("trace_id"), STR("t") };
            struct exemplar *x = arena_new(&a, struct exemplar);
            *x = (struct exemplar){ { el, 1 }, 1, s->now };
            bs.exemplars = x;
            bs.n_exemplars = 1;
            s->exemplars++;
        }
        avec_push(&a, &b.series, bs);
        if (i < SERIES)
            vec_push(&s->wanted[i], p);
    }
    struct tsdb_write_result res;
    enum err e;
    while ((e = tsdb_write(s->db, &b, &res)) == ERR_BUSY)
        os_sleep_ms(1);
    assert_ok(e);
    assert_ok(tsdb_wait(s->db, res.lsn));
    assert_int_equal(res.samples, SERIES + 1);
}

static bool all_taken(struct sender *s)
{
    return remote_place(s->f->remotes.p[0]) >= store_wal_durable_lsn(s->st);
}

static void wait_taken(struct sender *s)
{
    for (int i = 0; i < 6000 && !all_taken(s); i++)
        os_sleep_ms(5);
    assert_true(all_taken(s));
}

static uint64_t sum(struct sender *s, size_t field)
{
    uint64_t n = 0;
    for (int k = FWD_SAMPLE; k <= FWD_HISTOGRAM; k++)
        n += *(atomic_uint_least64_t *)(void *)((char *)&s->f->remotes.p[0]->counts[k] + field);
    return n;
}

static void compare(struct sender *s, bool with_start)
{
    for (int i = 0; i < SERIES; i++) {
        const point_vec *w = &s->wanted[i], *g = &s->r->got[i];
        if (w->n != g->n)
            fail_msg("series %d: %zu points for %zu", i, g->n, w->n);
        for (size_t k = 0; k < w->n; k++)
            if (w->p[k].ts != g->p[k].ts || f64_bits(w->p[k].v) != f64_bits(g->p[k].v) ||
                (with_start && w->p[k].start != g->p[k].start))
                fail_msg("series %d, point %zu: ts %lld, value %g, start %lld; for %lld, %g, %lld", i, k,
                         (long long)g->p[k].ts, g->p[k].v, (long long)g->p[k].start, (long long)w->p[k].ts, w->p[k].v,
                         (long long)w->p[k].start);
    }
}

/* ---- tests ---- */
static void arrives_in_order(void **state)
{
    (void)state;
    for (int v2 = 0; v2 < 2; v2++) {
        struct receiver r;
        struct sender s;
        struct rng rng = { 1 };
        receiver_open(&r);
        atomic_store(&r.v2, v2);
        atomic_store(&r.fail_percent, 30);
        sender_init(&s, &r, "min_shards: 3, max_samples_per_send: 17, capacity: 40",
                    v2 ? "protobuf_message: io.prometheus.write.v2.Request" : NULL);
        for (int i = 0; i < 150; i++) {
            write_round(&s, &rng);
            if (i % 50 == 30)
                assert_ok(tsdb_flush(s.db));
        }
        wait_taken(&s);
        compare(&s, v2);
        assert_int_equal(r.exemplars, s.exemplars);
        assert_true(r.stale > 10);
        assert_true(!v2 || r.with_meta > 0);
        assert_int_equal(sum(&s, offsetof(struct fwd_counts, sent)), 150 * SERIES);
        assert_int_equal(sum(&s, offsetof(struct fwd_counts, dropped_rule)), 150);
        assert_true(sum(&s, offsetof(struct fwd_counts, retried)) > 0);
        assert_int_equal(sum(&s, offsetof(struct fwd_counts, pending)), 0);
        sender_deinit(&s);
        receiver_close(&r);
    }
}

/* More and fewer shards in the middle; requests that are too large are halved. */
static void shards_change(void **state)
{
    (void)state;
    struct receiver r;
    struct sender s;
    struct rng rng = { 2 };
    receiver_open(&r);
    atomic_store(&r.samples_max, 20);
    atomic_store(&r.delay_ms, 1);
    sender_init(&s, &r, "max_samples_per_send: 50, capacity: 100", NULL);
    for (int i = 0; i < 120; i++) {
        write_round(&s, &rng);
        if (i % 20 == 10)
            atomic_store(&s.f->remotes.p[0]->want_shards, 1 + (unsigned)i / 20 * 5 % 7);
    }
    wait_taken(&s);
    compare(&s, false);
    assert_int_equal(sum(&s, offsetof(struct fwd_counts, failed)), 0);
    sender_deinit(&s);
    receiver_close(&r);
}

/* Stops at any moment, also with places on disk that are older than what was sent, as kill -9 leaves them, and without
 * the notes of places, as a power cut leaves them; to a receiver that takes nothing of a request in which a sample is
 * older than what it has. */
static void goes_on_after_restarts(void **state)
{
    (void)state;
    struct receiver r;
    struct sender s;
    struct rng rng = { 3 };
    char cmd[300];
    receiver_open(&r);
    atomic_store(&r.strict, true);
    atomic_store(&r.fail_percent, 10);
    sender_init(&s, &r, "min_shards: 2, max_samples_per_send: 100, capacity: 200", NULL);
    for (int round = 0; round < 8; round++) {
        for (int i = 0; i < 20; i++)
            write_round(&s, &rng);
        snprintf(cmd, sizeof(cmd), "cp %s/positions %s/old", s.forward_dir, s.forward_dir);
        assert_int_equal(system(cmd), 0);
        os_sleep_ms((unsigned)(rng_next(&rng) % 60));
        sender_stop(&s);
        if (round % 2) {
            snprintf(cmd, sizeof(cmd), "mv %s/old %s/positions", s.forward_dir, s.forward_dir);
            assert_int_equal(system(cmd), 0);
        }
        if (round % 4 == 3) {
            snprintf(cmd, sizeof(cmd), "rm %s/place-*", s.forward_dir);
            assert_int_equal(system(cmd), 0);
        }
        sender_start(&s);
    }
    wait_taken(&s);
    compare(&s, false);
    assert_int_equal(sum(&s, offsetof(struct fwd_counts, failed)), 0);
    sender_deinit(&s);
    receiver_close(&r);
}

/* A receiver that is away for longer than the log lasts: writers never notice, what is lost is counted. */
static void log_too_small(void **state)
{
    (void)state;
    struct receiver r;
    struct sender s;
    struct rng rng = { 4 };
    receiver_open(&r);
    atomic_store(&r.fail_percent, 100);
    memset(&s, 0, sizeof(s));
    sender_init(&s, &r, "max_samples_per_send: 50, capacity: 100", NULL);
    sender_stop(&s);
    s.scfg.wal_bytes_max = 300 << 10;
    sender_start(&s);
    unsigned rounds = 0;
    while (sum(&s, offsetof(struct fwd_counts, dropped_full)) == 0 && rounds < 200000) {
        write_round(&s, &rng);
        rounds++;
        if (rounds % 100 == 0)
            assert_ok(tsdb_flush(s.db));
        for (int i = 0; i < 3000 && store_wal_bytes(s.st) >= 2 * s.scfg.wal_bytes_max; i++)
            os_sleep_ms(5); /* a busy machine */
        assert_true(store_wal_bytes(s.st) < 2 * s.scfg.wal_bytes_max);
    }
    assert_true(sum(&s, offsetof(struct fwd_counts, dropped_full)) > 0);
    atomic_store(&r.fail_percent, 0);
    for (int i = 0; i < 10; i++)
        write_round(&s, &rng);
    wait_taken(&s);
    uint64_t written = (uint64_t)(rounds + 10) * SERIES, got = 0;
    for (int i = 0; i < SERIES; i++) {
        got += r.got[i].n;
        assert_true(vec_last(&r.got[i]).ts == s.now); /* the newest came */
        for (size_t k = 1; k < r.got[i].n; k++)
            assert_true(r.got[i].p[k].ts > r.got[i].p[k - 1].ts);
    }
    assert_true(got < written && got > 0);
    assert_int_equal(got + sum(&s, offsetof(struct fwd_counts, dropped_full)), written);
    sender_deinit(&s);
    receiver_close(&r);
}

/* Without remotes the log is let go; a damaged positions file sends what the log still has. */
static void places_file(void **state)
{
    (void)state;
    struct receiver r;
    struct sender s;
    struct rng rng = { 5 };
    struct err_text why;
    struct prom_config *none;
    char path[100];
    receiver_open(&r);
    sender_init(&s, &r, "max_samples_per_send: 50, capacity: 100", NULL);
    assert_true(store_hold(s.st, STORE_METRICS) != STORE_HOLD_NONE);
    write_round(&s, &rng);
    wait_taken(&s);
    atomic_store(&r.fail_percent, 100);
    write_round(&s, &rng);
    sender_stop(&s);
    snprintf(path, sizeof(path), "%s/positions", s.forward_dir);
    assert_ok(fs_write_file_atomic(fs_os(), path, STR("not ours\n1 2 3")));
    atomic_store(&r.fail_percent, 0);
    sender_start(&s);
    wait_taken(&s);
    compare(&s, false);
    assert_ok(prom_config_parse(STR("p.yml"), STR("global: {}\n"), &none, NULL, &why));
    assert_ok(forward_reload(s.f, none, &why));
    assert_true(store_hold(s.st, STORE_METRICS) == STORE_HOLD_NONE);
    sender_deinit(&s);
    receiver_close(&r);
}

/* However many ids of the log stand for what is sent under the same labels, it is one series, for as long as one of
 * them does and what is queued may need it. */
static void one_series_for_many_ids(void **state)
{
    (void)state;
    struct fwd_table t;
    struct label one[] = { { LABEL_NAME, STR("m") }, { STR("i"), STR("1") } };
    struct label two[] = { { LABEL_NAME, STR("m") }, { STR("i"), STR("2") } };
    struct labels a = { one, 2 }, b = { two, 2 };
    fwd_table_init(&t, (struct relabel_rules){ 0 }, (struct labels){ 0 }, false, false);
    t.lsn = 1;
    fwd_table_define(&t, 7, a);
    struct fwd_series *s = fwd_table_series(&t, 7);
    assert_non_null(s);
    t.lsn = 2;
    fwd_table_define(&t, 5000, a);
    assert_ptr_equal(fwd_table_series(&t, 5000), s);
    fwd_table_define(&t, 7, b);
    assert_ptr_not_equal(fwd_table_series(&t, 7), s);
    t.lsn = 3;
    fwd_table_define(&t, 5000, b); /* the last one: retired */
    assert_ptr_equal(fwd_table_series(&t, 5000), fwd_table_series(&t, 7));
    fwd_table_free_retired(&t, 2);
    t.lsn = 4;
    fwd_table_define(&t, 9, a); /* and back before it was freed */
    assert_ptr_equal(fwd_table_series(&t, 9), s);
    fwd_table_free_retired(&t, 4);
    assert_true(labels_eq(s->ls, a));
    t.lsn = 5;
    fwd_table_define(&t, 9, b);
    fwd_table_define(&t, 9, a);
    fwd_table_define(&t, 9, b);
    fwd_table_free_retired(&t, 4);
    assert_int_equal(t.series.n, 2);
    fwd_table_free_retired(&t, 5);
    assert_int_equal(t.series.n, 1);
    fwd_table_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrives_in_order), cmocka_unit_test(shards_change), cmocka_unit_test(goes_on_after_restarts),
        cmocka_unit_test(log_too_small),    cmocka_unit_test(places_file),   cmocka_unit_test(one_series_for_many_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
