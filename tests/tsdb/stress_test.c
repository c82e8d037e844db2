/* Writers, readers, flushes, compactions and the departure of idle series, all at once: made for ThreadSanitizer.
 * Every scrape writes one value to all series of a target, so a reader must find, at every timestamp, either all
 * series of that target with the same value or none. */
#include "tsdb/fixture.h"

/* cmocka's assertions do not work outside the main thread. */
#undef assert_ok
#undef assert_true
#undef assert_false
#undef assert_int_equal
#define must(expr)                                                     \
    do {                                                               \
        if (!(expr)) {                                                 \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #expr); \
            abort();                                                   \
        }                                                              \
    } while (0)
#define assert_ok(expr)        must((expr) == OK)
#define assert_true(expr)      must(expr)
#define assert_false(expr)     must(!(expr))
#define assert_int_equal(a, b) must((long long)(a) == (long long)(b))

#define TARGETS 3
#define SERIES  20
#define SCRAPES 600

struct stress {
    struct fixture f;
    atomic_bool stop;
    atomic_int scrapes[TARGETS]; /* acknowledged */
    atomic_int reads;
};
struct worker {
    struct stress *s;
    int no;
};

static void write_scrape(struct stress *s, int target, int k, uint64_t *refs)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a };
    char inst[16];
    snprintf(inst, sizeof(inst), "t%d", target);
    struct sample *v = arena_array(&a, struct sample, SERIES + 1);
    for (int i = 0; i < SERIES; i++) {
        char name[16];
        snprintf(name, sizeof(name), "m%d", i);
        v[i] = (struct sample){ T0 + k * 1000LL, (double)k };
        struct batch_series bs = {
            .labels = mk_labels(&a, name, inst), .samples = &v[i], .n_samples = 1, .ref = &refs[i]
        };
        avec_push(&a, &b.series, bs);
    }
    char once[24]; /* churn */
    snprintf(once, sizeof(once), "once%d", k / 10);
    v[SERIES] = (struct sample){ T0 + k * 1000LL, 1 };
    struct batch_series bs = { .labels = mk_labels(&a, once, inst), .samples = &v[SERIES], .n_samples = 1 };
    avec_push(&a, &b.series, bs);
    struct tsdb_write_result r;
    assert_ok(tsdb_write(s->f.db, &b, &r));
    if (k % 16 == 0)
        assert_ok(tsdb_wait(s->f.db, r.lsn));
    atomic_store(&s->scrapes[target], k + 1);
}

static void writer(void *ctx)
{
    struct worker *w = ctx;
    uint64_t refs[SERIES] = { 0 };
    for (int k = 0; k < SCRAPES; k++)
        write_scrape(w->s, w->no, k, refs);
}

static void one_read(struct stress *s, int target)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_query *q;
    int least = atomic_load(&s->scrapes[target]);
    assert_ok(tsdb_query_open(s->f.db, T0 - 1, T0 + DAY_MS, &q));
    struct matcher m[2];
    char inst[16];
    snprintf(inst, sizeof(inst), "t%d", target);
    assert_ok(matcher_init(&m[0], MATCH_EQ, STR("instance"), str_c(inst), NULL));
    assert_ok(matcher_init(&m[1], MATCH_RE, LABEL_NAME, STR("m.*"), NULL));
    struct tsdb_series *v;
    size_t n, count = 0;
    assert_ok(tsdb_select(q, m, 2, 0, &a, &v, &n));
    if (least)
        assert_int_equal(n, SERIES);
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    for (size_t i = 0; i < n; i++) {
        struct tsdb_points p;
        assert_ok(tsdb_read(c, v[i].id, INT64_MIN, INT64_MAX, &p));
        if (i == 0)
            count = p.n;
        assert_int_equal(p.n, count); /* a scrape is seen whole */
        assert_true((int)p.n >= least);
        for (size_t k = 0; k < p.n; k++) {
            assert_int_equal(p.ts[k], T0 + (int64_t)k * 1000);
            assert_true(p.v[k] == (double)k);
        }
    }
    assert_false(tsdb_query_incomplete(q, NULL));
    tsdb_cursor_free(c);
    matcher_deinit(&m[0]);
    matcher_deinit(&m[1]);
    tsdb_query_close(q);
    atomic_fetch_add(&s->reads, 1);
}

static void reader(void *ctx)
{
    struct worker *w = ctx;
    for (int i = 0; !atomic_load(&w->s->stop); i++)
        one_read(w->s, (w->no + i) % TARGETS);
}

static void upkeeper(void *ctx)
{
    struct worker *w = ctx;
    struct fixture *f = &w->s->f;
    while (!atomic_load(&w->s->stop)) {
        assert_ok(tsdb_flush(f->db));
        assert_ok(tsdb_compact(f->db));
        tsdb_series_gc(f->db);
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct tsdb_stats st;
        assert_ok(tsdb_stats(f->db, true, &a, &st));
        os_sleep_ms(3);
    }
}

static void all_at_once(void **state)
{
    (void)state;
    struct stress *s = mem_zalloc(sizeof(*s));
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
    fx_init(&s->f);
    s->f.scfg.wal_file_bytes = 128 << 10;
    s->f.cfg.partitions = 2;
    fx_open(&s->f);
    struct worker w[TARGETS], r[2], u = { s, 0 };
    pthread_t tw[TARGETS], tr[2], tu;
    for (int i = 0; i < TARGETS; i++) {
        w[i] = (struct worker){ s, i };
        assert_ok(thread_start(&tw[i], "w", writer, &w[i]));
    }
    for (int i = 0; i < 2; i++) {
        r[i] = (struct worker){ s, i };
        assert_ok(thread_start(&tr[i], "r", reader, &r[i]));
    }
    assert_ok(thread_start(&tu, "u", upkeeper, &u));
    for (int i = 0; i < TARGETS; i++)
        thread_join(tw[i]);
    atomic_store(&s->stop, true);
    thread_join(tr[0]);
    thread_join(tr[1]);
    thread_join(tu);
    for (int i = 0; i < TARGETS; i++)
        one_read(s, i);
    print_message("# %d reads\n", atomic_load(&s->reads));
    fx_crash(&s->f);
    fx_open(&s->f);
    for (int i = 0; i < TARGETS; i++)
        one_read(s, i);
    fx_close(&s->f);
    fx_deinit(&s->f);
    mem_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(all_at_once) };
    return cmocka_run_group_tests_name("tsdb stress", tests, NULL, NULL);
}
