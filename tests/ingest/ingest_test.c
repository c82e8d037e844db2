/* Limits that fold into overflow series: which series, which values, who is named, what comes back. */
#include "test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "ingest/ingest_int.h"
#include "store/store.h"
#include "tsdb/tsdb_int.h"

#define OVER "otel_metric_overflow=\"true\""

static struct {
    struct store *st;
    struct tsdb *db;
    struct ingest *in;
    struct clock clock;
    int64_t now_ms;
    char dir[64];
    struct arena a; /* of a batch */
    struct batch b;
    struct tsdb_write_result r;
    struct ingest_config cfg;
} t;

static int64_t now_ms(struct clock *c)
{
    (void)c;
    return t.now_ms;
}
static uint64_t mono_ns(struct clock *c)
{
    (void)c;
    return (uint64_t)t.now_ms * 1000000;
}

static void open_all(void)
{
    struct err_text why;
    struct store_config scfg;
    struct tsdb_config cfg;
    store_config_defaults(&scfg);
    scfg.wal_file_bytes = 4 << 20;
    scfg.reserve_bytes = 0;
    tsdb_config_defaults(&cfg);
    cfg.partitions = 2;
    assert_int_equal(store_open(fs_os(), t.dir, &scfg, &t.clock, &t.st, &why), OK);
    assert_int_equal(tsdb_open(&cfg, t.st, &t.clock, &t.db, &why), OK);
    assert_int_equal(ingest_open(&t.cfg, t.db, &t.in, &why), OK);
}

static void close_all(void)
{
    ingest_close(t.in);
    tsdb_close(t.db);
    store_close(t.st);
}

static int setup(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    t.now_ms = 1700000000000;
    t.clock = (struct clock){ now_ms, mono_ns };
    t.cfg = (struct ingest_config){ .clock = &t.clock, .dir = t.dir };
    arena_init(&t.a, 0);
    t.b.a = &t.a;
    snprintf(t.dir, sizeof(t.dir), "/tmp/vane_ingest_test_XXXXXX");
    assert_non_null(mkdtemp(t.dir));
    open_all();
    return 0;
}

static int teardown(void **state)
{
    char command[128];
    (void)state;
    close_all();
    arena_deinit(&t.a);
    snprintf(command, sizeof(command), "rm -rf %s", t.dir);
    assert_int_equal(system(command), 0);
    return 0;
}

static void limits(uint64_t tenant, uint64_t job, uint64_t target, uint64_t metric)
{
    t.cfg.limits = (struct ingest_limits){ tenant, job, target, metric };
    ingest_reload(t.in, &t.cfg);
}

/* "name{a="b",...}" as labels. */
static struct labels parse(struct arena *a, const char *text)
{
    struct label_builder lb;
    str rest = arena_str(a, str_c(text)), name, pair;
    lb_init(&lb, a);
    str_cut(&rest, '{', &name);
    lb_set(&lb, LABEL_NAME, name);
    if (rest.n)
        rest.n--;
    while (rest.n && str_cut(&rest, ',', &pair)) {
        str key;
        str_cut(&pair, '=', &key);
        lb_set(&lb, key, str_n(pair.p + 1, pair.n - 2));
    }
    return lb_labels(&lb);
}

static struct batch_series *add(enum metric_type type, double v, const char *fmt, ...) PRINTF_LIKE(3, 4);
static struct batch_series *add(enum metric_type type, double v, const char *fmt, ...)
{
    char text[500];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    struct sample *s = arena_new(&t.a, struct sample);
    *s = (struct sample){ t.now_ms, v };
    struct batch_series bs = { .labels = parse(&t.a, text), .samples = s, .n_samples = 1, .meta = { .type = type } };
    avec_push(&t.a, &t.b.series, bs);
    t.b.n_samples++;
    return &vec_last(&t.b.series);
}

static void send_for(const char *tenant, unsigned flags)
{
    const struct ingest_source who = { .tenant = str_c(tenant), .flags = flags };
    assert_int_equal(ingest_append(t.in, &t.b, &who, &t.r), OK);

    assert_int_equal(tsdb_wait(t.db, t.r.lsn), OK);
    arena_reset(&t.a);
    t.b = (struct batch){ .a = &t.a };
}
static void send_as(unsigned flags)
{
    send_for("", flags);
}
static void send(void)
{
    send_as(0);
}

/* The newest value of one series; NAN if there is none. n: how many samples. */
static double value_of(const char *text, size_t *ret_n, const struct histogram **ret_h)
{
    static struct arena keep;
    arena_deinit(&keep);
    arena_init(&keep, 0);
    struct labels want = parse(&keep, text);
    struct matcher m = { MATCH_EQ, LABEL_NAME, labels_name(want), NULL };
    struct tsdb_query *q;
    struct tsdb_series *s;
    size_t n;
    double v = (double)NAN;
    if (ret_n)
        *ret_n = 0;
    assert_int_equal(tsdb_query_open(t.db, 0, INT64_MAX / 4, &q), OK);
    assert_int_equal(tsdb_select(q, &m, 1, 100000, &keep, &s, &n), OK);
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    for (size_t i = 0; i < n; i++) {
        struct tsdb_points p;
        if (!labels_eq(s[i].labels, want))
            continue;
        assert_int_equal(tsdb_read(c, s[i].id, 0, INT64_MAX / 4, &p), OK);
        if (ret_n)
            *ret_n = p.n;
        v = p.n ? p.v[p.n - 1] : v;
        if (ret_h)
            *ret_h = p.n && p.h && p.h[p.n - 1] ? histogram_copy(&keep, p.h[p.n - 1]) : NULL;
    }
    tsdb_cursor_free(c);
    tsdb_query_close(q);
    return v;
}
#define assert_value(text, want) assert_float_equal(value_of(text, NULL, NULL), want, 1e-9)
#define assert_none(text)        assert_true(isnan(value_of(text, NULL, NULL)))

static struct ingest_status status(void)
{
    static struct arena keep;
    struct ingest_status s;
    arena_deinit(&keep);
    arena_init(&keep, 0);
    ingest_status(t.in, STR(""), 10, &keep, &s);
    return s;
}

/* As a replica of a cluster; how many samples were stored. */
static size_t replica(const char *name, double v)
{
    add(METRIC_GAUGE, v, "m{__replica__=\"%s\",cluster=\"a\",job=\"j\"}", name);
    add(METRIC_GAUGE, v, "n{__replica__=\"%s\",cluster=\"a\",job=\"j\"}", name);
    send_as(INGEST_REPLICAS);
    t.now_ms += 1000;
    return t.r.samples;
}

static void one_replica_is_taken(void **state)
{
    (void)state;
    t.cfg.ha = (struct ingest_ha){ true, STR("__replica__"), STR("cluster"), 30000 };
    ingest_reload(t.in, &t.cfg);
    assert_int_equal(replica("r0", 1), 2);
    assert_int_equal(replica("r1", 2), 0);
    assert_int_equal(t.r.duplicates, 2); /* as good as written */
    assert_int_equal(t.r.rejected[TSDB_REJECT_LABELS], 0);
    assert_value("m{cluster=\"a\",job=\"j\"}", 1);
    assert_none("m{__replica__=\"r0\",cluster=\"a\",job=\"j\"}");
    assert_int_equal(replica("r0", 3), 2);
    /* Another cluster, no cluster, and senders that are no replicas are not touched. */
    add(METRIC_GAUGE, 1, "m{__replica__=\"r1\",cluster=\"b\"}");
    send_as(INGEST_REPLICAS);
    assert_value("m{cluster=\"b\"}", 1);
    add(METRIC_GAUGE, 1, "m{__replica__=\"r1\"}");
    send_as(INGEST_REPLICAS);
    assert_value("m{__replica__=\"r1\"}", 1);
    add(METRIC_GAUGE, 1, "m{__replica__=\"r9\",cluster=\"a\"}");
    send();
    assert_value("m{__replica__=\"r9\",cluster=\"a\"}", 1);
    /* r0 falls silent: r1 within 30 s is still dropped, then taken, then r0 is dropped. */
    t.now_ms += 25000;
    assert_int_equal(replica("r1", 4), 0);
    t.now_ms += 5000;
    assert_int_equal(replica("r1", 5), 2);
    assert_int_equal(replica("r0", 6), 0);
    assert_value("m{cluster=\"a\",job=\"j\"}", 5);
    /* A restart keeps the election. */
    close_all();
    open_all();
    assert_int_equal(replica("r0", 7), 0);
    assert_int_equal(replica("r1", 8), 2);
    struct ingest_status s = status();
    assert_int_equal(s.n_replicas, 2);
    const struct ingest_replica *r = &s.replicas[str_eq(s.replicas[0].cluster, STR("b"))];
    assert_string_equal(r->cluster.p, "a");
    assert_string_equal(r->replica.p, "r1");
    assert_int_equal(r->dropped, 2);
    /* A damaged file is said and begun anew. */
    close_all();
    char path[100];
    snprintf(path, sizeof(path), "%s/ha-replicas.json", t.dir);
    assert_int_equal(fs_write_file_atomic(fs_os(), path, STR("[{\"cluster\":\"a\",")), OK);
    open_all();
    assert_int_equal(replica("r0", 9), 2);
}

static void tenants_have_their_own(void **state)
{
    (void)state;
    close_all();
    static const struct ingest_tenant_limits over = { STR_INIT("b"), { .target = 1 } };
    t.cfg.tenants = true;
    t.cfg.default_tenant = STR("anonymous");
    t.cfg.limits = (struct ingest_limits){ .target = 2 };
    t.cfg.overrides = &over;
    t.cfg.n_overrides = 1;
    open_all();
    for (int i = 0; i < 3; i++) {
        static const char *const who[] = { "a", "b", "" };
        for (int k = 0; k < 3; k++)
            add(METRIC_COUNTER, i * 10 + 1, "c_total{Z=\"%d\",instance=\"i\",job=\"j\"}", k)->meta.help = STR("h");
        avec_push(&t.a, &t.b.families, ((struct batch_family){ STR("fam"), { METRIC_GAUGE, STR("x"), STR("") } }));
        send_for(who[i], 0);
    }
    assert_value("c_total{Z=\"1\",__tenant__=\"a\",instance=\"i\",job=\"j\"}", 1);
    assert_none("c_total{Z=\"1\",__tenant__=\"b\",instance=\"i\",job=\"j\"}");
    assert_value("c_total{Z=\"1\",__tenant__=\"anonymous\",instance=\"i\",job=\"j\"}", 21);
    assert_value("c_total{__tenant__=\"a\",instance=\"i\",job=\"j\"," OVER "}", 1);
    assert_value("c_total{__tenant__=\"b\",instance=\"i\",job=\"j\"," OVER "}", 22);
    struct tsdb_metadata *m;
    size_t n;
    assert_int_equal(tsdb_metadata(t.db, STR_NONE, 0, &t.a, &m, &n), OK);
    assert_int_equal(n, 6);
    assert_string_equal(m[0].name.p, "a\x1f"
                                     "c_total");
    assert_string_equal(m[1].name.p, "a\x1f"
                                     "fam");
    /* Nobody sets the label but pushed groups. */
    add(METRIC_GAUGE, 1, "g{__tenant__=\"a\"}");
    add(METRIC_GAUGE, 1, "g2{}");
    send_for("b", 0);
    assert_int_equal(t.r.rejected[TSDB_REJECT_LABELS], 1);
    assert_non_null(strstr(t.r.first.msg, "reserved"));
    assert_none("g{__tenant__=\"a\"}");
    assert_value("g2{__tenant__=\"b\"}", 1);
    add(METRIC_GAUGE, 1, "g{__tenant__=\"a\"}");
    add(METRIC_GAUGE, 1, "g3{}");
    send_as(INGEST_LABELLED);
    assert_value("g{__tenant__=\"a\"}", 1);
    assert_value("g3{__tenant__=\"anonymous\"}", 1);
    assert_true(ingest_salt(t.in, &(struct ingest_source){ .tenant = STR("a") }) !=
                ingest_salt(t.in, &(struct ingest_source){ .tenant = STR("b") }));
    assert_true(ingest_salt(t.in, &(struct ingest_source){ 0 }) ==
                ingest_salt(t.in, &(struct ingest_source){ .tenant = STR("anonymous") }));
}

static void the_label_is_reserved(void **state)
{
    (void)state;
    add(METRIC_GAUGE, 1, "g{__tenant__=\"a\"}");
    add(METRIC_GAUGE, 1, "g{}");
    send();
    assert_int_equal(t.r.rejected[TSDB_REJECT_LABELS], 1);
    assert_none("g{__tenant__=\"a\"}");
    assert_value("g{}", 1);
}

static void names_of_tenants(void **state)
{
    (void)state;
    static char longest[152];
    memset(longest, 'x', 151);
    struct err_text why;
    static const struct {
        const char *name;
        bool ok;
    } rows[] = { { "a", true },         { "team-1_x.y*'(!)", true },
                 { "", false },         { ".", false },
                 { "..", false },       { "...", true },
                 { "a|b", false },      { "a b", false },
                 { "a\x1f", false },    { "a/b", false },
                 { "\xc3\xa4", false }, { longest, false },
                 { longest + 1, true } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (ingest_tenant_valid(str_c(rows[i].name), &why) != rows[i].ok)
            fail_msg("%s", rows[i].name);
}

static void counters_fold(void **state)
{
    (void)state;
    limits(0, 0, 3, 0);
    for (int i = 0; i < 10; i++)
        add(METRIC_COUNTER, 10, "c_total{instance=\"i\",job=\"j\",user=\"u%d\"}", i);
    send();
    assert_int_equal(t.r.samples, 10);
    assert_int_equal(t.r.rejected[TSDB_REJECT_SERIES_LIMIT], 0);
    assert_value("c_total{instance=\"i\",job=\"j\",user=\"u0\"}", 10);
    assert_none("c_total{instance=\"i\",job=\"j\",user=\"u9\"}");
    assert_value("c_total{instance=\"i\",job=\"j\"," OVER "}", 70);
    /* Another request with other series of it: increases only. One began anew, one is new. */
    t.now_ms += 15000;
    add(METRIC_COUNTER, 12, "c_total{instance=\"i\",job=\"j\",user=\"u8\"}");
    add(METRIC_COUNTER, 3, "c_total{instance=\"i\",job=\"j\",user=\"u9\"}");
    add(METRIC_COUNTER, 5, "c_total{instance=\"i\",job=\"j\",user=\"u10\"}");
    send();
    assert_value("c_total{instance=\"i\",job=\"j\"," OVER "}", 70 + 2 + 3 + 5);
    /* A shard with the same timestamp: the last total wins. An older one does not turn back. */
    add(METRIC_COUNTER, 11, "c_total{instance=\"i\",job=\"j\",user=\"u7\"}");
    send();
    assert_value("c_total{instance=\"i\",job=\"j\"," OVER "}", 81);
    t.now_ms -= 5000;
    add(METRIC_COUNTER, 20, "c_total{instance=\"i\",job=\"j\",user=\"u6\"}");
    send();
    size_t n;
    assert_float_equal(value_of("c_total{instance=\"i\",job=\"j\"," OVER "}", &n, NULL), 91, 1e-9);
    assert_int_equal(n, 2);
    /* Another target is not touched. */
    add(METRIC_COUNTER, 1, "c_total{instance=\"k\",job=\"j\",user=\"u1\"}");
    send();
    assert_value("c_total{instance=\"k\",job=\"j\",user=\"u1\"}", 1);
}

static void gauges_and_quantiles(void **state)
{
    (void)state;
    limits(0, 0, 1, 0);
    add(METRIC_GAUGE, 1, "g{instance=\"i\",job=\"j\",k=\"0\"}");
    for (int i = 1; i < 4; i++)
        add(METRIC_GAUGE, i, "g{instance=\"i\",job=\"j\",k=\"%d\"}", i);
    add(METRIC_SUMMARY, 7, "s{instance=\"i\",job=\"j\",k=\"1\",quantile=\"0.9\"}");
    add(METRIC_SUMMARY, 9, "s{instance=\"i\",job=\"j\",k=\"2\",quantile=\"0.9\"}");
    add(METRIC_SUMMARY, (double)NAN, "s{instance=\"i\",job=\"j\",k=\"3\",quantile=\"0.9\"}");
    send();
    assert_value("g{instance=\"i\",job=\"j\"," OVER "}", 6);
    assert_value("s{instance=\"i\",job=\"j\",quantile=\"0.9\"," OVER "}", 9);
    t.now_ms += 15000;
    add(METRIC_GAUGE, 10, "g{instance=\"i\",job=\"j\",k=\"1\"}");
    add(METRIC_GAUGE, f64_from_bits(STALE_NAN_BITS), "g{instance=\"i\",job=\"j\",k=\"2\"}");
    send();
    assert_value("g{instance=\"i\",job=\"j\"," OVER "}", 13);
    t.now_ms += 15000; /* all end: so does the sum */
    for (int i = 1; i < 4; i++)
        add(METRIC_GAUGE, f64_from_bits(STALE_NAN_BITS), "g{instance=\"i\",job=\"j\",k=\"%d\"}", i);
    send();
    assert_true(is_stale(value_of("g{instance=\"i\",job=\"j\"," OVER "}", NULL, NULL)));
    t.now_ms += 15000;
    add(METRIC_GAUGE, 4, "g{instance=\"i\",job=\"j\",k=\"3\"}");
    send();
    assert_value("g{instance=\"i\",job=\"j\"," OVER "}", 4);
    /* What is silent for 5 minutes is not in the sum any more. */
    add(METRIC_GAUGE, 5, "g{instance=\"i\",job=\"j\",k=\"7\"}");
    t.now_ms += 400000;
    send();
    t.now_ms += 120000;
    add(METRIC_GAUGE, 6, "g{instance=\"i\",job=\"j\",k=\"7\"}");
    send();
    assert_value("g{instance=\"i\",job=\"j\"," OVER "}", 6);
}

static void classic_histograms_stay_right(void **state)
{
    (void)state;
    limits(0, 0, 2, 0);
    static const char *const le[] = { "0.1", "1", "+Inf" };
    for (int round = 1; round < 3; round++) {
        for (int u = 0; u < 3; u++)
            for (int k = 0; k < 3; k++)
                add(METRIC_HISTOGRAM, round * (k + 1), "h_bucket{instance=\"i\",job=\"j\",le=\"%s\",user=\"%d\"}",
                    le[k], u);
        send();
        t.now_ms += 15000;
    }
    assert_value("h_bucket{instance=\"i\",job=\"j\",le=\"0.1\"," OVER "}", 4);
    assert_value("h_bucket{instance=\"i\",job=\"j\",le=\"1\"," OVER "}", 8);
    assert_value("h_bucket{instance=\"i\",job=\"j\",le=\"+Inf\"," OVER "}", 18);
}

static struct histogram hist(double a, double b)
{
    double *v = arena_array(&t.a, double, 2);
    struct hist_span *s = arena_new(&t.a, struct hist_span);
    v[0] = a;
    v[1] = b;
    *s = (struct hist_span){ 0, 2 };
    return (struct histogram){ .schema = 0, .count = a + b, .sum = a + 2 * b, .pos = { s, 1, v, 2 } };
}

static void native_histograms(void **state)
{
    (void)state;
    limits(0, 0, 1, 0);
    for (int round = 1; round < 4; round++) {
        for (int u = 0; u < 3; u++) {
            struct batch_series *bs = add(METRIC_HISTOGRAM, 0, "n{instance=\"i\",job=\"j\",user=\"%d\"}", u);
            struct histogram *h = arena_new(&t.a, struct histogram);
            *h = round == 3 && u == 2 ? hist(1, 0) : hist(round, round * 10);
            struct hist_sample *hs = arena_new(&t.a, struct hist_sample);
            *hs = (struct hist_sample){ t.now_ms, h };
            bs->hists = hs;
            bs->n_hists = 1;
            bs->n_samples = 0;
        }
        send();
        t.now_ms += 15000;
    }
    const struct histogram *h;
    value_of("n{instance=\"i\",job=\"j\"," OVER "}", NULL, &h);
    assert_non_null(h);
    assert_float_equal(h->count, 22 + 22 + 11 + 1, 1e-9);
    assert_float_equal(h->pos.buckets[0], 2 + 2 + 1 + 1, 1e-9);
}

static void every_limit(void **state)
{
    (void)state;
    static const struct {
        struct ingest_limits lim;
        enum ingest_kind kind;
        const char *name, *instance;
    } rows[] = { { { .tenant = 5 }, INGEST_TENANT, "", "" },
                 { { .job = 5 }, INGEST_JOB, "job1", "" },
                 { { .target = 5 }, INGEST_TARGET, "job2", "i" },
                 { { .metric = 5 }, INGEST_METRIC, "m3_total", "" } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (i) {
            teardown(NULL);
            setup(NULL);
        }
        t.cfg.limits = rows[i].lim;
        ingest_reload(t.in, &t.cfg);
        for (int k = 0; k < 8; k++)
            add(METRIC_COUNTER, 1, "m%zu_total{instance=\"i\",job=\"job%zu\",k=\"%d\"}", i, i, k);
        send();
        char text[200];
        snprintf(text, sizeof(text), "m%zu_total{instance=\"i\",job=\"job%zu\"," OVER "}", i, i);
        assert_value(text, 3);
        struct ingest_status s = status();
        assert_int_equal(s.n_overflows, 1);
        assert_int_equal(s.overflows[0].kind, rows[i].kind);
        assert_string_equal(s.overflows[0].name.p, rows[i].name);
        assert_string_equal(s.overflows[0].instance.p, rows[i].instance);
        assert_int_equal(s.overflows[0].limit, 5);
        assert_int_equal(s.overflows[0].series, 3);
        assert_int_equal(s.overflows[0].samples, 3);
        assert_true(s.overflows[0].active);
        assert_string_equal(s.overflows[0].labels[0].name.p, "k");
        assert_int_equal(s.overflows[0].labels[0].values, 3);
        assert_int_equal(s.overflows[0].labels[0].n_samples, 3);
        assert_true(str_eq(s.overflows[0].metrics[0].name, str_c(arena_printf(&t.a, "m%zu_total", i).p)));
    }
}

static void reports_of_scrapes_are_taken(void **state)
{
    (void)state;
    limits(0, 0, 1, 0);
    add(METRIC_GAUGE, 1, "a{instance=\"i\",job=\"j\"}");
    send_as(INGEST_SCRAPES);
    add(METRIC_GAUGE, 1, "up{instance=\"i\",job=\"j\"}");
    add(METRIC_GAUGE, 1, "scrape_samples_scraped{instance=\"i\",job=\"j\"}");
    add(METRIC_GAUGE, 1, "scrape_something_else{instance=\"i\",job=\"j\"}");
    send_as(INGEST_SCRAPES);
    assert_value("up{instance=\"i\",job=\"j\"}", 1);
    assert_value("scrape_samples_scraped{instance=\"i\",job=\"j\"}", 1);
    assert_none("scrape_something_else{instance=\"i\",job=\"j\"}");
    add(METRIC_GAUGE, 1, "up{instance=\"i\",job=\"j\",x=\"1\"}");
    send(); /* not a scrape's */
    assert_none("up{instance=\"i\",job=\"j\",x=\"1\"}");
}

static void known_series_are_not_asked_about(void **state)
{
    (void)state;
    for (int k = 0; k < 8; k++)
        add(METRIC_COUNTER, 1, "c_total{instance=\"i\",job=\"j\",k=\"%d\"}", k);
    send();
    limits(2, 2, 2, 2);
    t.now_ms += 15000;
    for (int k = 0; k < 8; k++)
        add(METRIC_COUNTER, 2, "c_total{instance=\"i\",job=\"j\",k=\"%d\"}", k);
    send();
    assert_value("c_total{instance=\"i\",job=\"j\",k=\"7\"}", 2);
    assert_none("c_total{instance=\"i\",job=\"j\"," OVER "}");
    struct ingest_status s = status();
    assert_int_equal(s.tenant.series, 8);
    assert_int_equal(s.tenant.created, 8);
    assert_int_equal(s.jobs[0].series, 8);
    assert_int_equal(s.metrics[0].series, 8);
}

/* Idle series leave the head, and their place is free again. */
static void budget_comes_back(void **state)
{
    (void)state;
    limits(0, 0, 4, 0);
    for (int k = 0; k < 4; k++)
        add(METRIC_COUNTER, 1, "c_total{instance=\"i\",job=\"j\",k=\"%d\"}", k);
    send();
    for (int i = 0; i < 3; i++) {
        t.now_ms += 3600000;
        assert_int_equal(tsdb_flush(t.db), OK);
        flush_unlink_try(t.db);
    }
    assert_int_equal(tsdb_series_gc(t.db), 4);
    add(METRIC_COUNTER, 1, "c_total{instance=\"i\",job=\"j\",k=\"9\"}");
    send();
    assert_value("c_total{instance=\"i\",job=\"j\",k=\"9\"}", 1);
    struct ingest_status s = status();
    assert_int_equal(s.tenant.series, 1);
    assert_int_equal(s.n_overflows, 0);
}

static void totals_survive_a_restart(void **state)
{
    (void)state;
    limits(0, 0, 1, 0);
    for (int round = 0; round < 2; round++) {
        for (int k = 0; k < 4; k++)
            add(METRIC_COUNTER, 100 + round, "c_total{instance=\"i\",job=\"j\",k=\"%d\"}", k);
        send();
        t.now_ms += 15000;
    }
    assert_value("c_total{instance=\"i\",job=\"j\"," OVER "}", 303);
    close_all();
    open_all();
    assert_int_equal(status().tenant.series, 0); /* everything is in segments: nothing is active */
    for (int k = 0; k < 4; k++)
        add(METRIC_COUNTER, 102, "c_total{instance=\"i\",job=\"j\",k=\"%d\"}", k);
    send();
    assert_value("c_total{instance=\"i\",job=\"j\"," OVER "}", 303); /* does not jump */
    t.now_ms += 15000;
    for (int k = 0; k < 4; k++)
        add(METRIC_COUNTER, 104, "c_total{instance=\"i\",job=\"j\",k=\"%d\"}", k);
    send();
    assert_value("c_total{instance=\"i\",job=\"j\"," OVER "}", 309);
}

/* Delta points: what was seen for a timestamp. */
static void deltas_add_up(void **state)
{
    (void)state;
    limits(0, 0, 1, 0);
    for (int round = 0; round < 2; round++) {
        for (int k = 0; k < 4; k++)
            add(METRIC_COUNTER, 5, "d{instance=\"i\",job=\"j\",k=\"%d\"}", k)->temporality = TEMPORALITY_DELTA;
        send();
        assert_value("d{instance=\"i\",job=\"j\"," OVER "}", 15);
        t.now_ms += 15000;
    }
}

/* A flood of new series: memory is bounded, every sample is accounted for. */
static void a_flood(void **state)
{
    (void)state;
    limits(0, 0, 1000, 0);
    size_t samples = 0;
    for (int i = 0; i < 100; i++) {
        for (int k = 0; k < 4000; k++)
            add(METRIC_COUNTER, 1, "c_total{instance=\"i\",job=\"j\",id=\"%d\"}", i * 4000 + k);
        send();
        samples += t.r.samples;
    }
    assert_int_equal(samples, 400000);
    struct ingest_status s = status();
    assert_int_equal(s.tenant.series, 1001);
    assert_int_equal(s.folded_series, 250000);
    assert_int_equal(s.overflow_series, 1);
    assert_true(s.overflows[0].series > 319200); /* 399,000, estimated to a fifth */
    assert_true(s.overflows[0].series < 478800);
    assert_value("c_total{instance=\"i\",job=\"j\"," OVER "}", 250000);
}

/* Labels that would make very many overflow series: fewer and fewer labels are kept. */
static void overflow_series_are_bounded(void **state)
{
    (void)state;
    limits(0, 1, 0, 0);
    for (int k = 0; k < 30000; k++)
        add(METRIC_COUNTER, 1, "c_total{instance=\"i%d\",job=\"j\"}", k);
    send();
    assert_int_equal(t.r.rejected[TSDB_REJECT_SERIES_LIMIT], 0);
    assert_int_equal(status().overflow_series, 10001);
    assert_value("c_total{job=\"j\"," OVER "}", 30000 - 1 - 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(counters_fold, setup, teardown),
        cmocka_unit_test_setup_teardown(gauges_and_quantiles, setup, teardown),
        cmocka_unit_test_setup_teardown(classic_histograms_stay_right, setup, teardown),
        cmocka_unit_test_setup_teardown(native_histograms, setup, teardown),
        cmocka_unit_test_setup_teardown(every_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(reports_of_scrapes_are_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(known_series_are_not_asked_about, setup, teardown),
        cmocka_unit_test_setup_teardown(budget_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(totals_survive_a_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(deltas_add_up, setup, teardown),
        cmocka_unit_test_setup_teardown(one_replica_is_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(tenants_have_their_own, setup, teardown),
        cmocka_unit_test_setup_teardown(the_label_is_reserved, setup, teardown),
        cmocka_unit_test(names_of_tenants),
        cmocka_unit_test_setup_teardown(a_flood, setup, teardown),
        cmocka_unit_test_setup_teardown(overflow_series_are_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
