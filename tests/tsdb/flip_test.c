/* Flipped bits in segment files, one after the other, in every section: fsck names each, and no answer has anything in it
 * that was never stored; where something is missing the answer says that it is incomplete. Merging a damaged segment into
 * another one gives the damage no good checksum.
 * Every 7th byte here; VANE_SEEDS: every byte, seed k flips bit (offset + k) % 8, so that 0-7 is every bit there is. */
#include <stdarg.h>

#include "base/log.h"
#include "sim_fs.h"
#include "tsdb/fixture.h"

#define DAY0   (T0 - T0 % DAY_MS)
#define SERIES 4
#define STEP   1800000LL
#define DAYS   3
#define N      (DAYS * DAY_MS / STEP)

struct disk {
    struct sim_fs *sim;
    struct test_clock clk;
    struct store *st;
    struct tsdb *db;
};
struct facts {
    struct arena a;
    VEC(str) lines, meta; /* sorted; metadata is no part of an answer's completeness */
    bool incomplete;
};

/* ---- a store with everything in it ---- */
static void disk_open(struct disk *d, int64_t retention_ms)
{
    static const struct tsdb_rollup_config r[] = { { .res_ms = 7200000 } };
    struct tsdb_config cfg;
    struct store_config scfg;
    struct err_text why = { 0 };
    tsdb_config_defaults(&cfg);
    cfg.retention_ms = retention_ms;
    cfg.partitions = 1;
    cfg.rollups = r;
    cfg.n_rollups = 1;
    store_config_defaults(&scfg);
    scfg.wal_file_bytes = 256 << 10;
    scfg.wal_spares = 1;
    scfg.reserve_bytes = 0;
    if (store_open(sim_fs_fs(d->sim), "/d", &scfg, &d->clk.c, &d->st, &why) ||
        tsdb_open(&cfg, d->st, &d->clk.c, &d->db, &why))
        fail_msg("open: %s", why.msg);
}

static void disk_close(struct disk *d)
{
    d->db->test_no_flush = true;
    tsdb_close(d->db);
    store_close(d->st);
}

static void put(struct disk *d, struct arena *a, struct batch_series bs)
{
    struct batch b = { .a = a };
    struct tsdb_write_result r;
    struct batch_family fam = { STR("m"), { METRIC_COUNTER, STR("what it counts"), STR("seconds") } };
    avec_push(a, &b.series, bs);
    avec_push(a, &b.families, fam);
    assert_ok(tsdb_write(d->db, &b, &r));
    for (int k = 0; k < TSDB_REJECT_N; k++)
        assert_int_equal(r.rejected[k], 0);
    assert_ok(tsdb_wait(d->db, r.lsn));
}

static void floats(struct disk *d, int64_t from, int64_t to)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    for (int i = 0; i < SERIES; i++) {
        char inst[8];
        snprintf(inst, sizeof(inst), "i%d", i);
        struct sample *v = arena_array(&a, struct sample, (size_t)(to - from));
        int64_t *start = arena_array(&a, int64_t, (size_t)(to - from));
        struct batch_series bs = { .labels = mk_labels(&a, "m", inst), .samples = v, .start_ms = i ? NULL : start };
        struct exemplar x = { .labels = mk_labels(&a, "trace", inst), .v = i, .ts_ms = DAY0 + (to - 1) * STEP };
        for (int64_t k = from; k < to; k++) {
            start[k - from] = DAY0 + from * STEP - 7;
            v[bs.n_samples++] = (struct sample){ DAY0 + k * STEP, (double)(k * 10 + i) * (i == 1 ? 0.137 : 1) };
        }
        bs.exemplars = &x;
        bs.n_exemplars = 1;
        put(d, &a, bs);
    }
}

static void histograms(struct disk *d)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    for (int64_t k = N - 20; k < N; k++) {
        struct hist_span span = { 0, 3 };
        double buckets[3] = { (double)k, 5, 1 };
        struct histogram h = { .schema = 1, .count = (double)k + 6, .sum = 2.5, .pos = { &span, 1, buckets, 3 } };
        struct hist_sample hs = { DAY0 + k * STEP, &h };
        put(d, &a, (struct batch_series){ .labels = mk_labels(&a, "h", "i0"), .hists = &hs, .n_hists = 1 });
    }
}

static void upkeep(struct disk *d, int rounds)
{
    struct err_text why;
    for (int i = 0; i < rounds; i++) {
        IGNORE_ERR(tsdb_compact(d->db)); /* a damaged segment is left alone, with an error */
        mtx_lock(&d->db->flush_mu);
        IGNORE_ERR(retention_apply(d->db, &why));
        mtx_unlock(&d->db->flush_mu);
    }
}

static void facts_of(struct disk *d, struct facts *f);

/* samples: what it says before older ones become windows; NULL: do not ask. */
static void disk_make(struct disk *d, struct facts *samples)
{
    memset(d, 0, sizeof(*d));
    d->sim = sim_fs_new(1);
    d->clk = (struct test_clock){ { test_now, test_mono }, DAY0 };
    disk_open(d, 0);
    for (int64_t day = 0; day < DAYS; day++) {
        d->clk.now_ms = DAY0 + (day + 1) * DAY_MS;
        floats(d, day * (DAY_MS / STEP), (day + 1) * (DAY_MS / STEP));
        if (day == DAYS - 1)
            histograms(d);
        assert_ok(tsdb_flush(d->db));
    }
    if (samples)
        facts_of(d, samples);
    disk_close(d);
    d->clk.now_ms = DAY0 + DAYS * DAY_MS + 3 * 3600000;
    disk_open(d, DAY_MS); /* older days become windows */
    upkeep(d, 30);
    disk_close(d);
}

/* ---- what an answer says ---- */
static str label_text(struct arena *a, struct labels ls)
{
    str out = STR("");
    labels_each (l, ls)
        out = arena_printf(a, STR_FMT STR_FMT "=" STR_FMT ";", STR_ARG(out), STR_ARG(l->name), STR_ARG(l->value));
    return out;
}

static void say(struct facts *f, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct facts *f, const char *fmt, ...)
{
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    vec_push(&f->lines, arena_str(&f->a, str_c(text)));
}

static void say_points(struct facts *f, str who, const struct tsdb_points *p)
{
    for (size_t k = 0; k < p->n; k++) {
        const struct histogram *h = p->h ? p->h[k] : NULL;
        say(f, STR_FMT " %lld %a start %lld", STR_ARG(who), (long long)p->ts[k], h ? h->sum : p->v[k],
            (long long)(p->start_ms ? p->start_ms[k] : 0));
        if (h)
            say(f, STR_FMT " %lld count %a bucket %a", STR_ARG(who), (long long)p->ts[k], h->count,
                h->pos.n_buckets ? h->pos.buckets[0] : -1);
    }
    for (size_t k = 0; k < p->n_roll; k++) {
        const struct rollup *w = &p->roll[k];
        say(f, STR_FMT " window of %lld to %lld: %llu %a %a %a %a %a %a", STR_ARG(who), (long long)w->res_ms,
            (long long)w->end_ms, (unsigned long long)w->count, w->sum, w->min, w->max, w->first, w->last, w->hidden);
    }
}

static int by_text(const void *x, const void *y)
{
    return str_cmp(*(const str *)x, *(const str *)y);
}

static void say_strs(struct facts *f, const char *what, enum err e, const str *v, size_t n)
{
    f->incomplete |= e != OK;
    for (size_t i = 0; i < n && !e; i++)
        say(f, "%s " STR_FMT, what, STR_ARG(v[i]));
}

static void facts_of(struct disk *d, struct facts *f)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    arena_init(&f->a, 0);
    struct tsdb_query *q;
    struct tsdb_series *s;
    struct tsdb_exemplars *x;
    struct tsdb_metadata *m;
    struct err_text why;
    str *v;
    size_t n = 0;
    assert_ok(tsdb_query_open(d->db, DAY0 - DAY_MS, DAY0 + 9 * DAY_MS, &q));
    enum err e = tsdb_select(q, NULL, 0, 0, &a, &s, &n);
    f->incomplete |= e != OK;
    struct tsdb_cursor *cur = tsdb_cursor_new(q);
    for (size_t i = 0; i < n && !e; i++) {
        str who = label_text(&a, s[i].labels);
        struct tsdb_points p;
        say(f, STR_FMT, STR_ARG(who));
        if (tsdb_read(cur, s[i].id, INT64_MIN, INT64_MAX, &p))
            f->incomplete = true;
        else
            say_points(f, who, &p);
    }
    tsdb_cursor_free(cur);
    struct matcher sel; /* by the postings */
    assert_ok(matcher_init(&sel, MATCH_EQ, STR("instance"), STR("i2"), NULL));
    n = 0;
    e = tsdb_select(q, &sel, 1, 0, &a, &s, &n);
    f->incomplete |= e != OK;
    for (size_t i = 0; i < n && !e; i++)
        say(f, "i2 is " STR_FMT, STR_ARG(label_text(&a, s[i].labels)));
    matcher_deinit(&sel);
    e = tsdb_label_names(q, NULL, 0, 0, &a, &v, &n);
    say_strs(f, "name", e, v, n);
    e = tsdb_label_values(q, STR("instance"), NULL, 0, 0, &a, &v, &n);
    say_strs(f, "value", e, v, n);
    e = tsdb_exemplars(q, NULL, 0, &a, &x, &n);
    f->incomplete |= e != OK;
    for (size_t i = 0; i < n && !e; i++)
        for (size_t k = 0; k < x[i].n; k++)
            say(f, "exemplar of " STR_FMT " " STR_FMT " %a %lld", STR_ARG(label_text(&a, x[i].labels)),
                STR_ARG(label_text(&a, x[i].p[k].labels)), x[i].p[k].v, (long long)x[i].p[k].ts_ms);
    f->incomplete |= tsdb_query_incomplete(q, &why);
    tsdb_query_close(q);
    assert_ok(tsdb_metadata(d->db, STR_NONE, 0, &a, &m, &n));
    for (size_t i = 0; i < n; i++)
        vec_push(&f->meta, arena_printf(&f->a, STR_FMT " %d " STR_FMT " " STR_FMT, STR_ARG(m[i].name),
                                        (int)m[i].meta.type, STR_ARG(m[i].meta.help), STR_ARG(m[i].meta.unit)));
    qsort(f->lines.p, f->lines.n, sizeof(str), by_text);
    qsort(f->meta.p, f->meta.n, sizeof(str), by_text);
}

static void facts_deinit(struct facts *f)
{
    vec_free(&f->lines);
    vec_free(&f->meta);
    arena_deinit(&f->a);
}

static bool has(const str *lines, size_t n, str line)
{
    return bsearch(&line, lines, n, sizeof(str), by_text) != NULL;
}

struct truth {
    /* What the sound store says; what it said when everything was samples, and will when everything is windows: where
     * one of the two is damaged, the other answers. */
    struct facts now, samples, windows;
};

/* True: something was missing, and said so. */
static bool answer_is_honest(struct disk *d, const struct truth *t, const char *path, uint64_t off)
{
    struct facts got = { 0 };
    facts_of(d, &got);
    vec_each (str, line, &got.lines)
        if (!has(t->now.lines.p, t->now.lines.n, *line) && !has(t->samples.lines.p, t->samples.lines.n, *line) &&
            !has(t->windows.lines.p, t->windows.lines.n, *line))
            fail_msg("%s with byte %llu flipped answers \"" STR_FMT "\", which nobody stored", path,
                     (unsigned long long)off, STR_ARG(*line));
    vec_each (str, line, &got.meta)
        if (!has(t->now.meta.p, t->now.meta.n, *line))
            fail_msg("%s with byte %llu flipped knows \"" STR_FMT "\"", path, (unsigned long long)off, STR_ARG(*line));
    vec_each (str, line, &t->now.lines)
        if (!got.incomplete && !has(got.lines.p, got.lines.n, *line))
            fail_msg("%s with byte %llu flipped: \"" STR_FMT "\" is missing silently", path, (unsigned long long)off,
                     STR_ARG(*line));
    bool told = got.incomplete;
    facts_deinit(&got);
    return told;
}

/* ---- fsck ---- */
static enum err check_seg(void *ctx, enum store_signal sig, struct segment *seg, struct err_text *reterr)
{
    (void)ctx;
    return sig == STORE_METRICS ? tsdb_segment_verify(seg, reterr) : OK;
}
static void count_named(void *ctx, enum store_finding kind, const char *path, const char *text)
{
    (void)text;
    const char *want = ((const char **)ctx)[0];
    if (kind == STORE_FINDING_DAMAGE && strcmp(path, want) == 0)
        ((const char **)ctx)[1] = want;
}
static bool fsck_names(struct disk *d, const char *path)
{
    const char *ctx[2] = { path, NULL };
    struct store_fsck spec = { .ctx = ctx, .report = count_named, .segment_check = check_seg };
    struct store_fsck_result res;
    struct err_text why;
    assert_ok(store_fsck(sim_fs_fs(d->sim), "/d", &spec, &res, &why));
    return res.damages > 0 && ctx[1] != NULL;
}

/* ---- the tests ---- */
struct file {
    char path[100];
    uint64_t bytes;
};
static size_t files_of(struct disk *d, struct file *out, size_t max)
{
    const struct segment_set *set = store_segments_ref(d->st, STORE_METRICS);
    size_t n = set->n;
    assert_int_equal(set->n_damaged, 0);
    assert_true(n <= max);
    for (size_t i = 0; i < n; i++) {
        snprintf(out[i].path, sizeof(out[i].path), "%s", segment_path(set->p[i]));
        out[i].bytes = segment_meta(set->p[i])->bytes;
    }
    segment_set_unref(set);
    return n;
}

static size_t begin(struct disk *d, struct truth *t, struct file *files, size_t max)
{
    log_setup(LOG_LEVEL_ERROR + 1, LOG_FORMAT_LOGFMT);
    struct facts *want = &t->now;
    disk_make(d, NULL);
    d->clk.now_ms += 3 * DAY_MS;
    disk_open(d, DAY_MS);
    upkeep(d, 30);
    facts_of(d, &t->windows);
    disk_close(d);
    sim_fs_free(d->sim);
    disk_make(d, &t->samples);
    disk_open(d, DAY_MS);
    facts_of(d, want);
    assert_false(want->incomplete || t->samples.incomplete || t->windows.incomplete);
    size_t n = files_of(d, files, max), windows = 0;
    disk_close(d);
    for (size_t i = 0; i < want->lines.n; i++)
        windows += str_find(want->lines.p[i], STR("window")) != SIZE_MAX;
    assert_true(windows > 10 && want->lines.n > 200 && want->meta.n == 1);
    assert_true(n >= 2); /* of samples, of windows */
    for (size_t i = 0; i < n; i++)
        assert_false(fsck_names(d, files[i].path));
    return n;
}

static void every_flip_is_found(void **state)
{
    (void)state;
    struct disk d;
    struct truth want = { 0 };
    struct file files[20];
    uint64_t first = 3, last = 3, step = test_seeds(&first, &last) ? 1 : 7;
    size_t n = begin(&d, &want, files, ARRAY_LEN(files)), flips = 0, told = 0;
    for (uint64_t seed = first; seed <= last; seed++)
        for (size_t i = 0; i < n; i++)
            for (uint64_t off = 0; off < files[i].bytes; off += step, flips++) {
                uint8_t bit = (uint8_t)(1u << ((off + seed) % 8));
                sim_fs_damage(d.sim, files[i].path, off, bit);
                if (!fsck_names(&d, files[i].path))
                    fail_msg("fsck does not see bit %u of byte %llu of %s", bit, (unsigned long long)off,
                             files[i].path);
                disk_open(&d, DAY_MS);
                told += answer_is_honest(&d, &want, files[i].path, off);
                disk_close(&d);
                sim_fs_damage(d.sim, files[i].path, off, bit);
            }
    disk_open(&d, DAY_MS);
    assert_false(answer_is_honest(&d, &want, "no file", 0));
    disk_close(&d);
    print_message("# %zu flips in %zu segments, %zu of them met by an answer\n", flips, n, told);
    assert_true(told * 2 > flips && told < flips + 1);
    facts_deinit(&want.now);
    facts_deinit(&want.samples);
    facts_deinit(&want.windows);
    sim_fs_free(d.sim);
}

static void merged_damage_is_none(void **state)
{
    (void)state;
    struct disk d;
    struct truth want = { 0 };
    struct file files[20];
    size_t n = begin(&d, &want, files, ARRAY_LEN(files));
    uint64_t step = test_seeds(&(uint64_t){ 0 }, &(uint64_t){ 0 }) ? 31 : 709;
    for (size_t i = 0; i < n; i++)
        for (uint64_t off = 0; off < files[i].bytes; off += step) {
            sim_fs_free(d.sim);
            disk_make(&d, NULL);
            sim_fs_damage(d.sim, files[i].path, off, 0x10);
            disk_open(&d, DAY_MS);
            upkeep(&d, 5);
            answer_is_honest(&d, &want, files[i].path, off);
            struct err_text why;
            IGNORE_ERR(tsdb_clean_tombstones(d.db, &why));
            upkeep(&d, 2);
            answer_is_honest(&d, &want, files[i].path, off);
            disk_close(&d);
        }
    facts_deinit(&want.now);
    facts_deinit(&want.samples);
    facts_deinit(&want.windows);
    sim_fs_free(d.sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_flip_is_found),
                                        cmocka_unit_test(merged_damage_is_none) };
    return cmocka_run_group_tests_name("tsdb flip", tests, NULL, NULL);
}
