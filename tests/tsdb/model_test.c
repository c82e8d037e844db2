/* The store against a slow model: random batches (counters, gauges, odd doubles, stale markers, native histograms,
 * start timestamps, duplicates, conflicts, out of order, gaps), flushes, compactions, restarts and crashes in
 * random order; after every few steps all answers are compared, bit for bit. VANE_SEED and VANE_STEPS steer it. */
#include "model/histogram_math.h"
#include "tsdb/fixture.h"

#define N_SERIES 48

struct m_sample {
    int64_t ts;
    uint64_t bits;
    const struct histogram *h;
    int64_t start;
};
struct m_series {
    struct labels labels;
    VEC(struct m_sample) v; /* by time */
    double value;
    uint64_t ref;
};
struct model {
    struct arena a;
    struct m_series s[N_SERIES];
    struct rng rng;
    int64_t now;
    struct fixture f;
};

static uint64_t below(struct model *m, uint64_t n)
{
    return rng_below(&m->rng, n);
}

static void model_put(struct m_series *s, struct m_sample x)
{
    size_t i = s->v.n;
    while (i && s->v.p[i - 1].ts >= x.ts)
        i--;
    if (i < s->v.n && s->v.p[i].ts == x.ts) {
        if (!x.h && !s->v.p[i].h && s->v.p[i].bits == x.bits && s->v.p[i].start != x.start)
            x.start = -1; /* the same sample again: either start will do */
        s->v.p[i] = x;
        return;
    }
    vec_reserve(&s->v, s->v.n + 1);
    memmove(s->v.p + i + 1, s->v.p + i, (s->v.n - i) * sizeof(*s->v.p));
    s->v.p[i] = x;
    s->v.n++;
}

static double next_value(struct model *m, size_t i)
{
    struct m_series *s = &m->s[i];
    static const double odd[] = { 0.0, -0.0, 1e300, 5e-324, 0.1, 1.0 / 3 };
    switch (below(m, 40)) {
    case 0:
        return f64_from_bits(STALE_NAN_BITS);
    case 1:
        return f64_from_bits(0x7ff8000000000000ull | below(m, 1000));
    case 2:
        return odd[below(m, ARRAY_LEN(odd))];
    case 3:
        return below(m, 2) ? (double)INFINITY : -(double)INFINITY;
    }
    switch (i % 6) {
    case 0:
        return s->value += (double)below(m, 5);
    case 1:
        return s->value += (double)below(m, 100000) * 0.001;
    case 2:
        return 42.5;
    case 3:
        return f64_from_bits((rng_next(&m->rng) & ~(0x7ffull << 52)) | 0x3ffull << 52);
    case 4:
        return s->value = (double)below(m, 1000) / 100;
    default:
        return below(m, 10) ? s->value : (s->value += 1e9);
    }
}

static const struct histogram *next_hist(struct model *m)
{
    struct histogram *h = arena_new(&m->a, struct histogram);
    size_t n = 1 + below(m, 4);
    struct hist_span *spans = arena_array(&m->a, struct hist_span, 2);
    spans[0] = (struct hist_span){ (int32_t)below(m, 3) - 1, (uint32_t)n };
    spans[1] = (struct hist_span){ 2, 1 };
    double *b = arena_array(&m->a, double, n + 1);
    double total = 0;
    for (size_t i = 0; i <= n; i++)
        total += b[i] = below(m, 8) ? (double)below(m, 50) : 0.5;
    h->pos = (struct hist_side){ spans, 2, b, n + 1 };
    if (below(m, 4) == 0) {
        double *c = arena_array(&m->a, double, n + 4);
        for (size_t i = 0; i < n + 3; i++)
            c[i] = (double)i;
        h->schema = HIST_SCHEMA_CUSTOM;
        spans[0].offset = 0;
        h->custom = c;
        h->n_custom = n + 3;
    } else {
        h->schema = (int32_t)below(m, 9);
        h->zero_threshold = 1e-128;
        h->zero_count = (double)below(m, 3);
        total += h->zero_count;
    }
    h->count = total;
    h->sum = (double)below(m, 10000) / 7;
    h->reset = (enum hist_reset)below(m, 3);
    return h;
}

static int64_t pick_time(struct model *m, struct m_series *s, int64_t scrape)
{
    switch (below(m, 60)) {
    case 0:
        return scrape - (int64_t)below(m, 3 * 3600 * 1000);
    case 1:
        return s->v.n ? s->v.p[below(m, s->v.n)].ts : scrape;
    case 2:
        return scrape + (int64_t)below(m, 10);
    default:
        return scrape;
    }
}

static void one_batch(struct model *m)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a };
    bool refs = below(m, 2);
    size_t first = below(m, N_SERIES), n = below(m, 4) ? N_SERIES : below(m, N_SERIES),
           times = below(m, 5) ? 1 : 1 + below(m, 6);
    m->now += below(m, 10) ? 15000 : (int64_t)below(m, 40 * 60 * 1000);
    for (size_t k = 0; k < n; k++) {
        size_t i = (first + k) % N_SERIES;
        struct m_series *s = &m->s[i];
        if (below(m, 50) == 0)
            continue;
        struct sample *v = arena_array(&a, struct sample, times);
        struct hist_sample *h = arena_array(&a, struct hist_sample, times);
        int64_t *start = arena_array(&a, int64_t, 2 * times);
        bool starts = i % 5 == 1;
        struct batch_series bs = { .labels = s->labels, .samples = v, .hists = h, .ref = refs ? &s->ref : NULL };
        for (size_t t = 0; t < times; t++) {
            int64_t ts = pick_time(m, s, m->now + (int64_t)t * 1000 + (i % 7 == 3 ? (int64_t)i : 0));
            int64_t st = starts ? m->now / 3600000 * 3600000 : 0;
            if (i % 8 == 7 && below(m, 30)) {
                h[bs.n_hists] = (struct hist_sample){ ts, next_hist(m) };
                start[times + bs.n_hists++] = st;
            } else {
                v[bs.n_samples] = (struct sample){ ts, next_value(m, i) };
                start[bs.n_samples++] = st;
            }
        }
        for (size_t t = 0; t < bs.n_samples; t++)
            model_put(s, (struct m_sample){ v[t].ts_ms, f64_bits(v[t].v), NULL, starts ? start[t] : 0 });
        for (size_t t = 0; t < bs.n_hists; t++)
            model_put(s, (struct m_sample){ h[t].ts_ms, 0, h[t].h, starts ? start[times + t] : 0 });
        memmove(start + bs.n_samples, start + times, bs.n_hists * sizeof(*start));
        bs.start_ms = starts ? start : NULL;
        avec_push(&a, &b.series, bs);
    }
    m->now += (int64_t)times * 1000;
    m->f.clk.now_ms = MAX(m->f.clk.now_ms, m->now);
    struct tsdb_write_result r;
    assert_ok(tsdb_write(m->f.db, &b, &r));
    for (size_t i = 0; i < TSDB_REJECT_N; i++)
        if (r.rejected[i])
            fail_msg("rejected: %s", r.first.msg);
    assert_ok(tsdb_wait(m->f.db, r.lsn));
}

/* ---- comparing ---- */
static void check_series(struct model *m, struct m_series *s, const struct tsdb_points *p, int64_t from, int64_t to)
{
    size_t k = 0;
    const struct histogram *prev = NULL;
    vec_each (struct m_sample, x, &s->v) {
        if (x->ts < from || x->ts > to)
            continue;
        if (k >= p->n || p->ts[k] != x->ts)
            fail_msg("series %d: sample %zu: time %lld, want %lld", (int)(s - m->s), k,
                     k < p->n ? (long long)p->ts[k] : -1LL, (long long)x->ts);
        const struct histogram *h = p->h ? p->h[k] : NULL;
        if (!h != !x->h)
            fail_msg("series %d at %lld: kind", (int)(s - m->s), (long long)x->ts);
        if (h && (!histogram_eq(h, x->h) || h->reset != histogram_hint_after(prev, x->h)))
            fail_msg("series %d at %lld: histogram differs", (int)(s - m->s), (long long)x->ts);
        prev = x->h;
        if (!h && f64_bits(p->v[k]) != x->bits)
            fail_msg("series %d at %lld: %a, want %a", (int)(s - m->s), (long long)x->ts, p->v[k],
                     f64_from_bits(x->bits));
        if (x->start != -1 && (p->start_ms ? p->start_ms[k] : 0) != x->start)
            fail_msg("series %d at %lld: start", (int)(s - m->s), (long long)x->ts);
        k++;
    }
    if (k != p->n)
        fail_msg("series %d: %zu samples too many", (int)(s - m->s), p->n - k);
}

static struct m_series *model_find(struct model *m, struct labels ls)
{
    for (size_t i = 0; i < N_SERIES; i++)
        if (labels_eq(m->s[i].labels, ls))
            return &m->s[i];
    fail_msg("a series that was never written");
    return NULL;
}

static size_t some_matchers(struct model *m, struct matcher *out)
{
    static const struct {
        enum match_type type;
        const char *name, *value;
    } pool[] = {
        { MATCH_EQ, "__name__", "m1" },
        { MATCH_NE, "__name__", "m1" },
        { MATCH_RE, "__name__", "m[0-2]" },
        { MATCH_RE, "__name__", "m.*" },
        { MATCH_NRE, "instance", "host1.*" },
        { MATCH_EQ, "extra", "" },
        { MATCH_NE, "extra", "" },
        { MATCH_RE, "extra", "x|y|" },
        { MATCH_RE, "instance", "host-0|host-3" },
        { MATCH_EQ, "nothing", "" },
        { MATCH_EQ, "nothing", "x" },
        { MATCH_NRE, "extra", ".+" },
        { MATCH_RE, "instance", "host-.*" },
        { MATCH_EQ, "instance", "host-1" },
    };
    size_t n = below(m, 4);
    for (size_t i = 0; i < n; i++) {
        size_t k = below(m, ARRAY_LEN(pool));
        assert_ok(matcher_init(&out[i], pool[k].type, str_c(pool[k].name), str_c(pool[k].value), NULL));
    }
    return n;
}

static void check(struct model *m)
{
    int64_t from = T0 - DAY_MS, to = m->now + DAY_MS;
    if (below(m, 3)) {
        from = T0 + (int64_t)below(m, (uint64_t)(m->now - T0 + 1));
        to = from + (int64_t)below(m, (uint64_t)(m->now - from + 1));
    }
    struct matcher ms[4];
    size_t n_m = some_matchers(m, ms), n;
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_query *q;
    struct tsdb_series *s;
    assert_ok(tsdb_query_open(m->f.db, from, to, &q));
    assert_ok(tsdb_select(q, ms, n_m, 0, &a, &s, &n));
    bool seen[N_SERIES] = { 0 };
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    uint64_t timeline = 0;
    const int64_t *ts = NULL;
    for (size_t i = 0; i < n; i++) {
        if (i && labels_cmp(s[i - 1].labels, s[i].labels) >= 0)
            fail_msg("not sorted, or twice");
        struct m_series *x = model_find(m, s[i].labels);
        assert_true(matchers_match(ms, n_m, s[i].labels));
        seen[x - m->s] = true;
        struct tsdb_points p;
        assert_ok(tsdb_read(c, s[i].id, from, to, &p));
        if (timeline && p.timeline == timeline)
            assert_ptr_equal(p.ts, ts);
        timeline = p.timeline;
        ts = p.ts;
        check_series(m, x, &p, from, to);
    }
    for (size_t i = 0; i < N_SERIES; i++) {
        bool any = false;
        vec_each (struct m_sample, x, &m->s[i].v)
            any |= x->ts >= from && x->ts <= to;
        if (any && !seen[i] && matchers_match(ms, n_m, m->s[i].labels))
            fail_msg("series %zu is missing", i);
    }
    struct err_text why;
    if (tsdb_query_incomplete(q, &why))
        fail_msg("incomplete: %s", why.msg);
    tsdb_cursor_free(c);
    tsdb_query_close(q);
    for (size_t i = 0; i < n_m; i++)
        matcher_deinit(&ms[i]);
}

static void run(uint64_t seed, unsigned steps)
{
    struct model *m = mem_zalloc(sizeof(*m));
    arena_init(&m->a, 0);
    m->rng.s = seed;
    m->now = T0;
    fx_init(&m->f);
    m->f.clk.now_ms = T0;
    m->f.cfg.ooo_window_ms = 400 * DAY_MS;
    m->f.cfg.partitions = 1 + (unsigned)below(m, 4);
    m->f.scfg.wal_file_bytes = 64 << 10; /* many log contexts */
    fx_open(&m->f);
    for (size_t i = 0; i < N_SERIES; i++) {
        struct label *l = arena_array(&m->a, struct label, 4);
        size_t n = 0;
        l[n++] = (struct label){ LABEL_NAME, arena_printf(&m->a, "m%zu", i % 4) };
        if (i % 3 == 0)
            l[n++] = (struct label){ STR("extra"), i % 2 ? STR("x") : STR("y") };
        l[n++] = (struct label){ STR("instance"), arena_printf(&m->a, "host-%zu", i / 4) };
        m->s[i].labels = (struct labels){ l, n };
    }
    for (unsigned step = 0; step < steps; step++) {
        switch (below(m, 40)) {
        case 0:
            assert_ok(tsdb_flush(m->f.db));
            break;
        case 1:
            assert_ok(tsdb_compact(m->f.db));
            break;
        case 2:
            fx_crash(&m->f);
            fx_open(&m->f);
            for (size_t i = 0; i < N_SERIES; i++)
                m->s[i].ref = 0;
            break;
        case 3:
            if (below(m, 3) == 0) {
                fx_close(&m->f);
                fx_open(&m->f);
                for (size_t i = 0; i < N_SERIES; i++)
                    m->s[i].ref = 0;
            }
            break;
        case 4:
            tsdb_series_gc(m->f.db);
            break;
        default:
            one_batch(m);
        }
        if (below(m, 4) == 0)
            check(m);
    }
    for (int i = 0; i < 5; i++)
        check(m);
    fx_close(&m->f);
    fx_open(&m->f);
    for (int i = 0; i < 5; i++)
        check(m);
    fx_close(&m->f);
    fx_deinit(&m->f);
    for (size_t i = 0; i < N_SERIES; i++)
        vec_free(&m->s[i].v);
    arena_deinit(&m->a);
    mem_free(m);
}

static void the_store_equals_the_model(void **state)
{
    (void)state;
    const char *seed = getenv("VANE_SEED"), *steps = getenv("VANE_STEPS");
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
    for (uint64_t i = 1; i <= (seed ? 1 : 6); i++) {
        uint64_t s = seed ? strtoull(seed, NULL, 10) : i;
        print_message("# seed %llu\n", (unsigned long long)s);
        run(s, steps ? (unsigned)atoi(steps) : 250);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_store_equals_the_model) };
    return cmocka_run_group_tests_name("tsdb model", tests, NULL, NULL);
}
