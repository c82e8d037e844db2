/* What comes with samples (exemplars, metadata, resources), what is refused (limits), what leaves (retention, idle
 * series), and what a damaged file does to an answer. */
#include "tsdb/fixture.h"

static void write_one(struct fixture *f, struct batch_series *bs, struct tsdb_write_result *r)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a };
    avec_push(&a, &b.series, *bs);
    assert_ok(tsdb_write(f->db, &b, r));
    assert_ok(tsdb_wait(f->db, r->lsn));
}

static struct tsdb_write_result put(struct fixture *f, const char *name, int64_t ts, double v)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct sample s = { ts, v };
    struct batch_series bs = { .labels = mk_labels(&a, name, "h"), .samples = &s, .n_samples = 1 };
    struct tsdb_write_result r;
    write_one(f, &bs, &r);
    return r;
}

static size_t count(struct fixture *f, const char *name, bool *ret_incomplete)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_query *q;
    struct tsdb_series *s;
    size_t n, total = 0;
    struct matcher m;
    assert_ok(matcher_init(&m, MATCH_EQ, LABEL_NAME, str_c(name), NULL));
    assert_ok(tsdb_query_open(f->db, T0 - 100 * DAY_MS, T0 + 100 * DAY_MS, &q));
    assert_ok(tsdb_select(q, &m, 1, 0, &a, &s, &n));
    struct tsdb_cursor *c = tsdb_cursor_new(q);
    for (size_t i = 0; i < n; i++) {
        struct tsdb_points p;
        assert_ok(tsdb_read(c, s[i].id, INT64_MIN, INT64_MAX, &p));
        total += p.n;
    }
    struct err_text why;
    bool incomplete = tsdb_query_incomplete(q, &why);
    if (ret_incomplete)
        *ret_incomplete = incomplete;
    tsdb_cursor_free(c);
    tsdb_query_close(q);
    matcher_deinit(&m);
    return total;
}

static void duplicates_and_windows(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f);
    f.cfg.ooo_window_ms = 60000;
    f.clk.now_ms = T0 + 1000000;
    fx_open(&f);
    assert_int_equal(put(&f, "a", T0, 1).samples, 1);
    struct tsdb_write_result r = put(&f, "a", T0, 1);
    assert_true(r.duplicates == 1 && r.conflicts == 0 && r.samples == 0 && r.lsn != 0);
    r = put(&f, "a", T0, 2);
    assert_true(r.duplicates == 1 && r.conflicts == 1 && r.samples == 1);
    r = put(&f, "a", T0, 2);
    assert_true(r.duplicates == 1 && r.conflicts == 0);
    assert_int_equal(put(&f, "a", T0 + 100000, 3).samples, 1);
    r = put(&f, "a", T0 + 50000, 3);
    assert_true(r.out_of_order == 1 && r.samples == 1);
    r = put(&f, "a", T0 + 39999, 3);
    assert_true(r.rejected[TSDB_REJECT_TOO_OLD] == 1 && r.samples == 0 && strstr(r.first.msg, "a{"));
    r = put(&f, "a", f.clk.now_ms + 11 * 60 * 1000, 3);
    assert_true(r.rejected[TSDB_REJECT_FUTURE] == 1);
    assert_int_equal(count(&f, "a", NULL), 3);
    fx_close(&f);
    fx_deinit(&f);
}

static void label_limits(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f);
    f.cfg.labels_max = 3;
    f.cfg.label_value_bytes_max = 10;
    f.cfg.series_max = 3;
    fx_open(&f);
    struct sample s = { T0, 1 };
    struct tsdb_write_result r;
    const struct label many[] = {
        { STR("a"), STR("1") }, { STR("b"), STR("1") }, { STR("c"), STR("1") }, { STR("d"), STR("1") }
    };
    const struct label lng[] = { { STR("a"), STR("12345678901") } },
                       twice[] = { { STR("a"), STR("1") }, { STR("a"), STR("2") } },
                       utf8[] = { { STR("a"), STR("\xff") } }, empty[] = { { STR("a"), STR("") } };
    const struct labels bad[] = { { many, 4 }, { lng, 1 }, { twice, 2 }, { utf8, 1 }, { empty, 1 }, { NULL, 0 } };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct batch_series bs = { .labels = bad[i], .samples = &s, .n_samples = 1 };
        write_one(&f, &bs, &r);
        assert_int_equal(r.rejected[TSDB_REJECT_LABELS], 1);
        assert_int_equal(r.samples, 0);
        assert_true(r.first.msg[0] != 0);
    }
    for (int i = 0; i < 5; i++) {
        char name[8];
        snprintf(name, sizeof(name), "m%d", i);
        r = put(&f, name, T0, 1);
        assert_int_equal(r.rejected[TSDB_REJECT_SERIES_LIMIT], i >= 3);
    }
    assert_int_equal(put(&f, "m0", T0 + 1, 1).samples, 1);
    fx_close(&f);
    fx_deinit(&f);
}

static void memory_bound(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f);
    f.cfg.memory_bytes_max = 3 << 20;
    fx_open(&f);
    size_t refused = 0, busy = 0;
    for (int i = 0; i < 40000 && !refused && !busy; i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        char name[100];
        snprintf(name, sizeof(name), "a_rather_long_name_of_a_metric_to_fill_memory_quickly_%d", i);
        struct sample s = { T0 + i, i };
        struct batch_series bs = { .labels = mk_labels(&a, name, "h"), .samples = &s, .n_samples = 1 };
        struct batch b = { .a = &a };
        avec_push(&a, &b.series, bs);
        struct tsdb_write_result r;
        enum err e = tsdb_write(f.db, &b, &r);
        busy += e == ERR_BUSY;
        refused += r.rejected[TSDB_REJECT_SERIES_LIMIT];
    }
    assert_true(refused || busy);
    fx_close(&f);
    fx_deinit(&f);
}

static void replay_is_bounded(void **state)
{
    (void)state;
    log_setup(LOG_LEVEL_ERROR + 1, LOG_FORMAT_LOGFMT);
    struct fixture f;
    fx_init(&f);
    f.scfg.wal_file_bytes = 256 << 10;
    fx_open(&f);
    enum { N = 500, TIMES = 300 };
    for (int t = 0; t < TIMES; t++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct batch b = { .a = &a };
        struct sample *s = arena_array(&a, struct sample, N);
        for (int i = 0; i < N; i++) {
            char inst[16];
            snprintf(inst, sizeof(inst), "h%d", i);
            s[i] = (struct sample){ T0 + t * 15000, t * 1.7 * i + 1.0 / (i + t + 1) };
            struct batch_series bs = { .labels = mk_labels(&a, "big", inst), .samples = &s[i], .n_samples = 1 };
            avec_push(&a, &b.series, bs);
        }
        struct tsdb_write_result r;
        assert_ok(tsdb_write(f.db, &b, &r));
        if (t % 50 == 49)
            assert_ok(tsdb_wait(f.db, r.lsn));
    }
    fx_crash(&f);
    f.cfg.memory_bytes_max = 2 << 20; /* less than the log holds: replay must flush on the way */
    for (int i = 0; i < 3; i++) {
        fx_open(&f);
        const struct segment_set *set = store_segments_ref(f.st, STORE_METRICS);
        assert_true(set->n > 0);
        segment_set_unref(set);
        bool incomplete;
        assert_int_equal(count(&f, "big", &incomplete), N * TIMES);
        assert_false(incomplete);
        fx_crash(&f);
    }
    fx_deinit(&f);
}

/* ---- beside samples ---- */
static void check_beside(struct fixture *f)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct tsdb_metadata *md;
    size_t n;
    assert_ok(tsdb_metadata(f->db, STR_NONE, 0, &a, &md, &n));
    assert_int_equal(n, 2);
    assert_str(md[0].name, "http_requests");
    assert_int_equal(md[0].meta.type, METRIC_HISTOGRAM);
    assert_str(md[0].meta.help, "Requests.");
    assert_str(md[0].meta.unit, "seconds");
    assert_str(md[1].name, "other");
    struct tsdb_query *q;
    assert_ok(tsdb_query_open(f->db, T0 - 1, T0 + 1000, &q));
    struct tsdb_exemplars *ex;
    struct matcher m;
    assert_ok(matcher_init(&m, MATCH_EQ, LABEL_NAME, STR("http_requests_bucket"), NULL));
    assert_ok(tsdb_exemplars(q, &m, 1, &a, &ex, &n));
    assert_int_equal(n, 1);
    assert_int_equal(ex[0].n, 2);
    assert_true(ex[0].p[0].v == 0.25 && ex[0].p[1].v == 0.5 && ex[0].p[1].ts_ms == T0 + 7);
    assert_str(labels_get(ex[0].p[0].labels, STR("trace_id")), "abc");
    struct tsdb_series *s;
    assert_ok(tsdb_select(q, &m, 1, 0, &a, &s, &n));
    assert_int_equal(n, 1);
    struct series_info info;
    assert_ok(query_series_info(q, qseries_of(s[0].id), &info));
    assert_int_equal(info.type, METRIC_HISTOGRAM);
    assert_int_equal(info.temporality, TEMPORALITY_DELTA);
    struct rd r = rd_init(info.resource);
    struct labels res;
    assert_true(meta_labels_decode(&r, &a, &res));
    assert_str(labels_get(res, STR("service.name")), "shop");
    matcher_deinit(&m);
    tsdb_query_close(q);
}

static void beside_samples(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f);
    fx_open(&f);
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct sample s[2] = { { T0, 1 }, { T0 + 10, 2 } };
    struct label t[1] = { { STR("trace_id"), STR("abc") } }, rl[1] = { { STR("service.name"), STR("shop") } };
    struct exemplar e[3] = { { { t, 1 }, 0.25, T0 + 5 }, { { t, 1 }, 0.5, T0 + 7 }, { { t, 1 }, 0.5, T0 + 7 } };
    struct labels resource = { rl, 1 };
    struct batch_series bs = { .labels = mk_labels(&a, "http_requests_bucket", "h"),
                               .samples = s,
                               .n_samples = 2,
                               .exemplars = e,
                               .n_exemplars = 3,
                               .meta = { METRIC_HISTOGRAM, STR("Requests."), STR("seconds") },
                               .temporality = TEMPORALITY_DELTA,
                               .resource = &resource };
    struct batch b = { .a = &a };
    avec_push(&a, &b.series, bs);
    struct batch_family fam = { STR("other"), { METRIC_GAUGE, STR("Else."), STR_NONE } };
    avec_push(&a, &b.families, fam);
    struct tsdb_write_result r;
    assert_ok(tsdb_write(f.db, &b, &r));
    assert_ok(tsdb_wait(f.db, r.lsn));
    check_beside(&f);
    fx_crash(&f);
    fx_open(&f);
    check_beside(&f);
    assert_ok(tsdb_flush(f.db));
    check_beside(&f);
    fx_close(&f);
    fx_open(&f);
    check_beside(&f);
    put(&f, "http_requests_bucket", T0 + 20, 2);
    assert_ok(tsdb_flush(f.db));
    f.clk.now_ms += 3 * DAY_MS;
    assert_ok(tsdb_compact(f.db));
    check_beside(&f);
    fx_close(&f);
    fx_deinit(&f);
}

static void retention(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f);
    f.cfg.retention_ms = 10 * DAY_MS;
    f.clk.now_ms = T0;
    fx_open(&f);
    for (int d = 0; d < 20; d++) {
        f.clk.now_ms = T0 + d * DAY_MS;
        assert_int_equal(put(&f, "a", f.clk.now_ms, d).samples, 1);
        assert_ok(tsdb_flush(f.db));
    }
    assert_int_equal(count(&f, "a", NULL), 20);
    struct err_text why;
    mtx_lock(&f.db->flush_mu);
    assert_ok(retention_apply(f.db, &why));
    mtx_unlock(&f.db->flush_mu);
    assert_int_equal(count(&f, "a", NULL), 11);
    assert_int_equal(put(&f, "b", f.clk.now_ms - 11 * DAY_MS, 1).rejected[TSDB_REJECT_TOO_OLD], 1);
    f.cfg.retention_bytes = 1;
    tsdb_set_limits(f.db, &f.cfg);
    mtx_lock(&f.db->flush_mu);
    assert_ok(retention_apply(f.db, &why));
    mtx_unlock(&f.db->flush_mu);
    assert_int_equal(count(&f, "a", NULL), 0);
    fx_close(&f);
    fx_deinit(&f);
}

static void idle_series_leave(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f);
    f.clk.now_ms = T0;
    fx_open(&f);
    for (int i = 0; i < 400; i++) {
        char name[16];
        snprintf(name, sizeof(name), "m%d", i);
        put(&f, name, T0, i);
    }
    assert_ok(tsdb_flush(f.db));
    f.clk.now_ms += 3600 * 1000;
    put(&f, "m7", f.clk.now_ms, 1);
    assert_int_equal(tsdb_series_gc(f.db), 399);
    assert_int_equal(count(&f, "m7", NULL), 2);
    assert_int_equal(count(&f, "m8", NULL), 1);
    put(&f, "m8", f.clk.now_ms, 1);
    assert_int_equal(count(&f, "m8", NULL), 2);
    fx_close(&f);
    fx_deinit(&f);
}

/* The disk stops giving a part of a segment while vane runs: no answer misses it silently, nothing merges it. */
static void disk_fails_under_a_reader(void **state)
{
    (void)state;
    log_setup(LOG_LEVEL_ERROR + 1, LOG_FORMAT_LOGFMT);
    struct fixture f;
    fx_init(&f);
    fx_open(&f);
    for (int i = 0; i < 3000; i++)
        for (int k = 0; k < 3; k++) {
            char name[8];
            snprintf(name, sizeof(name), "m%d", k);
            put(&f, name, T0 + i * 1000, (i * 7919 % 1000) * 0.37 + k);
        }
    assert_ok(tsdb_flush(f.db));
    const struct segment_set *set = store_segments_ref(f.st, STORE_METRICS);
    assert_int_equal(count(&f, "m1", NULL), 3000); /* every page is known and was right */
    for (off_t size = (off_t)(segment_meta(set->p[0])->bytes & ~4095ull); size >= 0; size -= 4096) {
        assert_int_equal(truncate(segment_path(set->p[0]), size), 0);
        bool incomplete;
        size_t n = count(&f, "m1", &incomplete);
        assert_true(n == 3000 || incomplete);
        assert_true(size > 0 || incomplete);
    }
    segment_set_unref(set);
    fx_close(&f);
    fx_deinit(&f);
}

/* ---- damage ---- */
static void flip(const char *path, long off)
{
    FILE *fp = fopen(path, "r+b");
    assert_non_null(fp);
    fseek(fp, off, SEEK_SET);
    int c = fgetc(fp);
    fseek(fp, off, SEEK_SET);
    fputc(c ^ 0x55, fp);
    fclose(fp);
}

static void damage_is_told(void **state)
{
    (void)state;
    log_setup(LOG_LEVEL_ERROR + 1, LOG_FORMAT_LOGFMT);
    struct fixture f;
    fx_init(&f);
    fx_open(&f);
    for (int i = 0; i < 200; i++)
        for (int k = 0; k < 3; k++) {
            char name[8];
            snprintf(name, sizeof(name), "m%d", k);
            put(&f, name, T0 + i * 1000, i * 0.37 + k);
        }
    assert_ok(tsdb_flush(f.db));
    char path[300];
    const struct segment_set *set = store_segments_ref(f.st, STORE_METRICS);
    assert_int_equal(set->n, 1);
    snprintf(path, sizeof(path), "%s", segment_path(set->p[0]));
    assert_ok(tsdb_segment_verify(set->p[0], NULL));
    long size = (long)segment_meta(set->p[0])->bytes;
    segment_set_unref(set);
    assert_int_equal(count(&f, "m1", NULL), 200);
    fx_close(&f);
    unsigned told = 0;
    for (long off = 64; off < size; off += 211) {
        flip(path, off);
        struct err_text why;
        assert_ok(store_open(fs_os(), f.dir, &f.scfg, &f.clk.c, &f.st, &why));
        assert_ok(tsdb_open(&f.cfg, f.st, &f.clk.c, &f.db, &why));
        for (int k = 0; k < 3; k++) {
            char name[8];
            bool incomplete;
            snprintf(name, sizeof(name), "m%d", k);
            size_t n = count(&f, name, &incomplete);
            assert_true(n == 200 || incomplete); /* never silently less */
            assert_true(n <= 200);
            told += incomplete;
        }
        fx_crash(&f);
        flip(path, off);
    }
    assert_true(told > 3);
    fx_open(&f);
    assert_int_equal(count(&f, "m1", NULL), 200);
    fx_close(&f);
    fx_deinit(&f);
}

/* A copy of src in which some bytes differ, with good checksums: only the decoders stand in the way. */
static struct segment_writer *mutant(struct fixture *f, const struct segment *src, struct rng *rng)
{
    struct segment_writer *w;
    struct err_text why;
    assert_ok(segment_writer_open(f->st, STORE_METRICS, 0, &w, &why));
    size_t n;
    const struct segment_section *sec = segment_sections(src, &n);
    size_t victim = rng_below(rng, n);
    struct page_buf b = { 0 };
    for (size_t i = 0; i < n; i++) {
        segment_section_begin(w, sec[i].kind, sec[i].column);
        for (uint32_t k = 0; k < sec[i].n_pages; k++) {
            str raw;
            assert_ok(segment_page_read(src, sec[i].page_first + k, &b, &raw));
            char *copy = mem_alloc(raw.n + 1);
            memcpy(copy, raw.p, raw.n);
            for (int m = 0; i == victim && m < 3 && raw.n; m++)
                copy[rng_below(rng, raw.n)] = (char)rng_next(rng);
            size_t len = i == victim && raw.n && rng_below(rng, 8) == 0 ? rng_below(rng, raw.n) : raw.n;
            segment_page_add(w, str_n(copy, len), SEGMENT_PAGE_ZSTD);
            mem_free(copy);
        }
        segment_section_end(w, sec[i].rows, sec[i].min, sec[i].max, sec[i].nulls);
    }
    page_buf_deinit(&b);
    struct segment_meta meta = *segment_meta(src);
    assert_ok(segment_finish(w, &meta, &why));
    return w;
}

static void damage_behind_checksums(void **state)
{
    (void)state;
    log_setup(LOG_LEVEL_ERROR + 1, LOG_FORMAT_LOGFMT);
    struct fixture f;
    fx_init(&f);
    fx_open(&f);
    for (int i = 0; i < 60; i++)
        for (int k = 0; k < 20; k++) {
            char name[8];
            snprintf(name, sizeof(name), "m%d", k);
            AUTO_ARENA struct arena a;
            arena_init(&a, 0);
            struct sample s = { T0 + i * 1000, i * 0.37 + k };
            struct hist_span span = { 0, 2 };
            double buckets[2] = { i, k };
            struct histogram h = { .schema = 1, .count = i + k, .sum = 2.5, .pos = { &span, 1, buckets, 2 } };
            struct hist_sample hs = { s.ts_ms, &h };
            struct batch_series bs = { .labels = mk_labels(&a, name, k % 3 ? "x" : "y"),
                                       .samples = &s,
                                       .n_samples = k != 7 };
            bs.hists = &hs;
            bs.n_hists = k == 7;
            struct batch b = { .a = &a };
            avec_push(&a, &b.series, bs);
            struct tsdb_write_result r;
            assert_ok(tsdb_write(f.db, &b, &r));
        }
    assert_ok(tsdb_flush(f.db));
    const struct segment_set *set = store_segments_ref(f.st, STORE_METRICS);
    struct rng rng = { 5 };
    unsigned found = 0;
    for (int i = 0; i < 200; i++) {
        struct segment_writer *w = mutant(&f, set->p[0], &rng);
        uint64_t id = segment_writer_id(w);
        struct store_edit edit = { .signal = STORE_METRICS, .add = &w, .n_add = 1 };
        struct err_text why;
        if (store_commit(f.st, &edit, &why)) {
            segment_abort(w);
            found++;
            continue;
        }
        const struct segment_set *now = store_segments_ref(f.st, STORE_METRICS);
        for (size_t k = 0; k < now->n; k++)
            if (segment_meta(now->p[k])->id == id)
                found += tsdb_segment_verify(now->p[k], &why) != OK;
        segment_set_unref(now);
        bool incomplete;
        count(&f, "m1", &incomplete);
        count(&f, "m7", &incomplete);
        edit = (struct store_edit){ .signal = STORE_METRICS, .remove = &id, .n_remove = 1 };
        assert_ok(store_commit(f.st, &edit, &why));
    }
    segment_set_unref(set);
    assert_true(found > 50);
    fx_close(&f);
    fx_deinit(&f);
}

static enum err check_seg(void *ctx, enum store_signal sig, struct segment *seg, struct err_text *reterr)
{
    (void)ctx;
    return sig == STORE_METRICS ? tsdb_segment_verify(seg, reterr) : OK;
}
static enum err check_rec(void *ctx, enum store_signal sig, const struct store_replayed *rec, struct err_text *reterr)
{
    ++*(unsigned *)ctx;
    return sig == STORE_METRICS ? tsdb_record_verify(rec, reterr) : OK;
}
static void report(void *ctx, enum store_finding kind, const char *path, const char *text)
{
    (void)ctx;
    if (kind == STORE_FINDING_DAMAGE)
        fail_msg("%s: %s", path, text);
}

static void fsck_is_clean(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f);
    fx_open(&f);
    for (int i = 0; i < 500; i++) {
        put(&f, i % 2 ? "a" : "b", T0 + i * 60000, i % 9 ? i * 0.1 : f64_from_bits(STALE_NAN_BITS));
        if (i == 300)
            assert_ok(tsdb_flush(f.db));
    }
    fx_crash(&f);
    unsigned records = 0;
    struct store_fsck spec = {
        .ctx = &records, .report = report, .segment_check = check_seg, .record_check = check_rec
    };
    struct store_fsck_result res;
    struct err_text why;
    assert_ok(store_fsck(fs_os(), f.dir, &spec, &res, &why));
    assert_int_equal(res.damages, 0);
    assert_true(res.segments > 1 && records > 100);
    fx_deinit(&f);
}

static struct labels known_labels(struct arena *a, str bytes)
{
    char name[16];
    snprintf(name, sizeof(name), STR_FMT, STR_ARG(bytes));
    return mk_labels(a, name, "h");
}

/* Write bytes' series by its key, with labels only if it is not known. Was it? */
static bool put_known(struct fixture *f, str bytes, uint64_t salt, int64_t ts, uint32_t *io_hint, bool labels)
{
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch_key key = { .bytes = bytes };
    key.ref = tsdb_known(f->db, bytes, salt, io_hint, &key.hash);
    struct sample s = { ts, 1 };
    struct batch_series bs = { .key = &key, .ref = &key.ref, .samples = &s, .n_samples = 1 };
    bool known = key.ref != 0;
    if (!known || labels)
        bs.labels = known_labels(&a, bytes);
    struct batch b = { .a = &a, .labels_of = known_labels };
    avec_push(&a, &b.series, bs);
    struct tsdb_write_result r;
    assert_ok(tsdb_write(f->db, &b, &r));
    assert_int_equal(r.samples, 1);
    return known;
}

static void known_by_bytes(void **state)
{
    (void)state;
    enum { N = 6000 }; /* the table grows on the way */
    struct fixture f;
    fx_init(&f);
    f.clk.now_ms = T0 + DAY_MS;
    fx_open(&f);
    static char text[N][8];
    uint32_t hint = 0;
    size_t misses = 0;
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < N; i++) {
            if (!round)
                snprintf(text[i], sizeof(text[i]), "m%d", i);
            bool known = put_known(&f, str_c(text[i]), 0, f.clk.now_ms + round, &hint, false);
            assert_true(round || !known);
            misses += round == 2 && !known;
        }
    assert_true(misses < N / 100); /* a lost place in the index costs one reading */
    assert_int_equal(count(&f, "m4711", NULL), 3);
    /* other limits, other labels: nothing is known of them */
    hash128 key;
    hint = 0;
    assert_true(tsdb_known(f.db, STR("m7"), 1, &hint, &key) == 0);
    assert_true(tsdb_known(f.db, STR("m7x"), 0, &hint, &key) == 0);
    /* A ref that has become stale between asking and writing: labels are read after all, samples find the series. */
    uint64_t ref = tsdb_known(f.db, STR("m7"), 0, &hint, &key);
    assert_true(ref != 0);
    assert_ok(tsdb_flush(f.db));
    f.clk.now_ms += 3600 * 1000;
    assert_int_equal(tsdb_series_gc(f.db), N);
    assert_true(tsdb_known(f.db, STR("m7"), 0, &hint, &(hash128){ 0 }) == 0);
    struct batch_key stale = { key, STR("m7"), ref };
    struct sample s = { f.clk.now_ms, 2 };
    struct batch_series bs = { .key = &stale, .ref = &stale.ref, .samples = &s, .n_samples = 1 };
    AUTO_ARENA struct arena a;
    arena_init(&a, 0);
    struct batch b = { .a = &a, .labels_of = known_labels };
    avec_push(&a, &b.series, bs);
    struct tsdb_write_result r;
    assert_ok(tsdb_write(f.db, &b, &r));
    assert_int_equal(r.samples, 1);
    assert_int_equal(count(&f, "m7", NULL), 4);
    assert_true(tsdb_known(f.db, STR("m7"), 0, &hint, &key) == stale.ref && stale.ref != ref);
    /* What is defined by ref alone is in the log with its labels. */
    assert_ok(tsdb_flush(f.db));
    assert_true(put_known(&f, STR("m7"), 0, f.clk.now_ms + 1, &hint, false));
    fx_crash(&f);
    fx_open(&f);
    assert_int_equal(count(&f, "m7", NULL), 5);
    fx_close(&f);
    fx_deinit(&f);
}

/* As if the samples of this generation took so many bytes, for a moment: the background thread looks, too. */
static bool span_with(struct fixture *f, int64_t bytes)
{
    int64_t was = atomic_exchange(&f->db->gen_bytes, bytes);
    bool yes = flush_by_span(f->db);
    atomic_store(&f->db->gen_bytes, was);
    return yes;
}

/* More than two hours of data time are worth a flush, when there are enough samples for segments. */
static void flush_by_time(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f);
    fx_open(&f);
    for (int i = 0; i < 200; i++)
        put(&f, "m", T0 + i * 30000, i);
    assert_false(span_with(&f, 64 << 20)); /* 1 h 40 min */
    for (int i = 200; i < 300; i++)
        put(&f, "m", T0 + i * 30000, i);
    assert_true(span_with(&f, 64 << 20));
    assert_false(span_with(&f, 1 << 20));
    fx_crash(&f);
    fx_open(&f);
    assert_true(span_with(&f, 64 << 20)); /* also after a replay */
    assert_ok(tsdb_flush(f.db));
    put(&f, "m", T0 + 300 * 30000, 1);
    put(&f, "m", T0, 1); /* late samples do not count */
    assert_false(span_with(&f, 64 << 20));
    fx_close(&f);
    fx_deinit(&f);
}

/* What goes on without a reset says so, across chunks and segments; what comes first or after a reset is unknown. */
static void reset_hints(void **state)
{
    (void)state;
    struct fixture f;
    fx_init(&f);
    fx_open(&f);
    static const double counts[] = { 1, 2, 3, 1, 4, 5 };
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct hist_span span = { 0, 1 };
        struct histogram h = { .schema = 0, .count = counts[i], .sum = counts[i], .pos = { &span, 1, &counts[i], 1 } };
        struct histogram gauge = h;
        gauge.reset = HIST_RESET_GAUGE;
        struct hist_sample s = { T0 + (int64_t)i * 1000, &h }, g = { T0 + (int64_t)i * 1000, &gauge };
        struct batch_series c = { .labels = mk_labels(&a, "c", "h"), .hists = &s, .n_hists = 1 };
        struct batch_series d = { .labels = mk_labels(&a, "g", "h"), .hists = &g, .n_hists = 1 };
        struct tsdb_write_result r;
        write_one(&f, &c, &r);
        write_one(&f, &d, &r);
        if (i == 1 || i == 4)
            assert_ok(tsdb_flush(f.db));
    }
    for (int round = 0; round < 2; round++) {
        AUTO_ARENA struct arena a;
        arena_init(&a, 0);
        struct tsdb_query *q;
        struct tsdb_series *s;
        size_t n;
        assert_ok(tsdb_query_open(f.db, T0, T0 + DAY_MS, &q));
        assert_ok(tsdb_select(q, NULL, 0, 0, &a, &s, &n));
        assert_int_equal(n, 2);
        struct tsdb_cursor *cur = tsdb_cursor_new(q);
        struct tsdb_points p;
        for (size_t k = 0; k < 2; k++) {
            bool is_gauge = str_eq(labels_name(s[k].labels), STR("g"));
            assert_ok(tsdb_read(cur, s[k].id, T0, T0 + DAY_MS, &p));
            assert_int_equal(p.n, ARRAY_LEN(counts));
            for (size_t i = 0; i < p.n; i++) {
                enum hist_reset want = i == 0 || i == 3 ? HIST_RESET_UNKNOWN : HIST_RESET_NO;
                assert_int_equal(p.h[i]->reset, is_gauge ? HIST_RESET_GAUGE : want);
            }
        }
        tsdb_cursor_free(cur);
        tsdb_query_close(q);
        assert_ok(tsdb_compact(f.db));
    }
    fx_close(&f);
    fx_deinit(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disk_fails_under_a_reader),
        cmocka_unit_test(known_by_bytes),
        cmocka_unit_test(reset_hints),
        cmocka_unit_test(flush_by_time),
        cmocka_unit_test(duplicates_and_windows),
        cmocka_unit_test(label_limits),
        cmocka_unit_test(memory_bound),
        cmocka_unit_test(replay_is_bounded),
        cmocka_unit_test(beside_samples),
        cmocka_unit_test(retention),
        cmocka_unit_test(idle_series_leave),
        cmocka_unit_test(damage_is_told),
        cmocka_unit_test(fsck_is_clean),
        cmocka_unit_test(damage_behind_checksums),
    };
    return cmocka_run_group_tests_name("tsdb features", tests, NULL, NULL);
}
