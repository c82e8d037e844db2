/* Retention by matcher: the first rule that matches decides; what is expired is never answered, at once and whatever
 * lies on the disk; what is kept longer than the default stays; segments are written anew without what is expired. */
#include "tsdb/fixture.h"

#define DAY0 (T0 - T0 % DAY_MS)
#define DAYS 12

static const char *const names[] = { "debug_a", "debug_b", "audit", "plain_x", "plain_y" };

static void fill(struct fixture *f)
{
    f->clk.now_ms = DAY0;
    for (int64_t day = 0; day < DAYS; day++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct batch b = { .a = &a };
        for (size_t i = 0; i < ARRAY_LEN(names); i++) {
            struct sample *v = arena_array(&a, struct sample, 48);
            struct batch_series bs = { .labels = mk_labels(&a, names[i], "i"), .samples = v, .n_samples = 48 };
            for (int k = 0; k < 48; k++)
                v[k] = (struct sample){ DAY0 + day * DAY_MS + k * 1800000, (double)k };
            avec_push(&a, &b.series, bs);
        }
        f->clk.now_ms = DAY0 + (day + 1) * DAY_MS;
        struct tsdb_write_result r;
        assert_ok(tsdb_write(f->db, &b, &r));
        assert_int_equal(r.samples, 48 * ARRAY_LEN(names));
    }
    assert_ok(tsdb_flush(f->db));
}

static void settle(struct fixture *f)
{
    for (uint64_t before = 0, now = 1; before != now;) {
        before = now;
        assert_ok(tsdb_compact(f->db));
        struct err_text why;
        mtx_lock(&f->db->flush_mu);
        assert_ok(retention_apply(f->db, &why));
        mtx_unlock(&f->db->flush_mu);
        const struct segment_set *set = store_segments_ref(f->st, STORE_METRICS);
        now = set->version;
        segment_set_unref(set);
    }
}

/* Time of the first sample a query sees of a series, INT64_MAX: none; counts them. */
static int64_t first_sample(struct fixture *f, const char *name, size_t *ret_n)
{
    struct tsdb_query *q;
    struct tsdb_series *s;
    size_t n;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct matcher m = { .type = MATCH_EQ, .name = LABEL_NAME, .value = str_c(name) };
    assert_ok(tsdb_query_open(f->db, 0, TS_MS_MAX, &q));
    assert_ok(tsdb_select(q, &m, 1, 0, &a, &s, &n));
    struct tsdb_points p = { 0 };
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    assert_true(n <= 1);
    if (n)
        assert_ok(tsdb_read(c, s[0].id, 0, TS_MS_MAX, &p));
    int64_t first = p.n ? p.ts[0] : INT64_MAX;
    *ret_n = p.n;
    struct err_text why;
    assert_false(tsdb_query_incomplete(q, &why));
    tsdb_cursor_free(c);
    tsdb_query_close(q);
    return first;
}

/* Everything younger than keep_ms is there, nothing else. */
static void check_kept(struct fixture *f, const char *name, int64_t keep_ms, bool exact)
{
    size_t n;
    int64_t from = keep_ms ? f->clk.now_ms - keep_ms : 0, got = first_sample(f, name, &n);
    int64_t want = MAX(DAY0, (from + 1799999) / 1800000 * 1800000);
    if (exact ? got != want : got > want)
        fail_msg("%s: first sample at day %.3f, want %.3f", name, (double)(got - DAY0) / DAY_MS,
                 (double)(want - DAY0) / DAY_MS);
    if (exact)
        assert_int_equal(n, (DAY0 + DAYS * DAY_MS - want) / 1800000);
}

static uint64_t rows_on_disk(struct fixture *f)
{
    uint64_t n = 0;
    const struct segment_set *set = store_segments_ref(f->st, STORE_METRICS);
    for (size_t i = 0; i < set->n; i++)
        n += ((struct tsdb_seg *)segment_user(set->p[i]))->n_series;
    segment_set_unref(set);
    return n;
}

struct rules {
    struct matcher m[3];
    struct tsdb_keep_config k[3];
};
static void rules_init(struct rules *r, int64_t debug_keep)
{
    struct err_text why;
    assert_ok(matcher_init(&r->m[0], MATCH_RE, LABEL_NAME, STR("debug_b"), &why));
    assert_ok(matcher_init(&r->m[1], MATCH_RE, LABEL_NAME, STR("debug_.*"), &why));
    assert_ok(matcher_init(&r->m[2], MATCH_EQ, LABEL_NAME, STR("audit"), &why));
    r->k[0] = (struct tsdb_keep_config){ &r->m[0], 1, 5 * DAY_MS };
    r->k[1] = (struct tsdb_keep_config){ &r->m[1], 1, debug_keep };
    r->k[2] = (struct tsdb_keep_config){ &r->m[2], 1, 0 };
}

static void check_all(struct fixture *f, int64_t debug_keep)
{
    check_kept(f, "debug_a", debug_keep, true);
    check_kept(f, "debug_b", 5 * DAY_MS, true);
    check_kept(f, "audit", 0, true);
    check_kept(f, "plain_x", 8 * DAY_MS, true);
    check_kept(f, "plain_y", 8 * DAY_MS, true);
}

static void rules_decide(void **state)
{
    (void)state;
    struct fixture f;
    struct rules r;
    fx_init(&f);
    fx_open(&f);
    fill(&f);
    f.clk.now_ms += 3600000; /* the last day is over */
    settle(&f);
    uint64_t rows = rows_on_disk(&f);
    assert_int_equal(rows, DAYS * ARRAY_LEN(names));
    rules_init(&r, 2 * DAY_MS);
    f.cfg.retention_ms = 8 * DAY_MS;
    f.cfg.keeps = r.k;
    f.cfg.n_keeps = 3;
    tsdb_set_limits(f.db, &f.cfg); /* a reload: nothing was compacted yet */
    check_all(&f, 2 * DAY_MS);
    settle(&f);
    check_all(&f, 2 * DAY_MS);
    assert_true(rows_on_disk(&f) < rows * 3 / 4);
    rows = rows_on_disk(&f);
    fx_close(&f);
    fx_open(&f); /* the same after a restart */
    check_all(&f, 2 * DAY_MS);
    r.k[1].keep_ms = DAY_MS / 2;
    tsdb_set_limits(f.db, &f.cfg);
    check_all(&f, DAY_MS / 2);
    f.clk.now_ms += 3 * DAY_MS + 7 * 3600000; /* time alone */
    size_t n;
    assert_true(first_sample(&f, "debug_a", &n) == INT64_MAX);
    check_kept(&f, "debug_b", 5 * DAY_MS, true);
    check_kept(&f, "plain_x", 8 * DAY_MS, true);
    settle(&f);
    assert_true(rows_on_disk(&f) < rows);
    check_kept(&f, "audit", 0, true);
    f.cfg.n_keeps = 0; /* without rules what is left is answered, and audit goes with the rest */
    tsdb_set_limits(f.db, &f.cfg);
    settle(&f);
    check_kept(&f, "audit", 8 * DAY_MS, false);
    assert_true(first_sample(&f, "audit", &n) > DAY0);
    for (size_t i = 0; i < 2; i++)
        matcher_deinit(&r.m[i]);
    fx_close(&f);
    fx_deinit(&f);
}

/* Samples that are still in the head expire as well, and what only a rule keeps is taken. */
static void head_expires(void **state)
{
    (void)state;
    struct fixture f;
    struct rules r;
    fx_init(&f);
    rules_init(&r, 3600000);
    f.cfg.retention_ms = DAY_MS;
    f.cfg.keeps = r.k;
    f.cfg.n_keeps = 3;
    fx_open(&f);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a };
    struct sample v[4];
    for (int k = 0; k < 4; k++)
        v[k] = (struct sample){ DAY0 + k * 1800000, 1 };
    f.clk.now_ms = DAY0 + 5400000;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        avec_push(&a, &b.series,
                  ((struct batch_series){ .labels = mk_labels(&a, names[i], "i"), .samples = v, .n_samples = 4 }));
    struct tsdb_write_result w;
    assert_ok(tsdb_write(f.db, &b, &w));
    size_t n;
    assert_true(first_sample(&f, "debug_a", &n) == DAY0 + 1800000 && n == 3);
    f.clk.now_ms += 1800001;
    assert_true(first_sample(&f, "debug_a", &n) == DAY0 + 3 * 1800000 && n == 1);
    assert_true(first_sample(&f, "audit", &n) == DAY0 && n == 4);
    f.clk.now_ms = DAY0 + 40 * DAY_MS; /* far behind the default, but audit is kept for ever */
    struct batch late = { .a = &a };
    struct sample x = { DAY0 + 2 * DAY_MS, 2 };
    avec_push(&a, &late.series,
              ((struct batch_series){ .labels = mk_labels(&a, "audit", "j"), .samples = &x, .n_samples = 1 }));
    assert_ok(tsdb_write(f.db, &late, &w));
    assert_int_equal(w.samples, 1);
    for (size_t i = 0; i < 2; i++)
        matcher_deinit(&r.m[i]);
    fx_close(&f);
    fx_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_decide),
        cmocka_unit_test(head_expires),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
