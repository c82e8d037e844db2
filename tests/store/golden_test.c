/* Data directories as every version of the formats has written them, kept for ever in tests/store/golden/.
 *   test_store_golden --write DIR   makes one with this build (when a format gets a new version) */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/os.h"
#include "store/codec.h"
#include "store/store.h"

enum { N = 130, RECORDS = 7 };
enum { KIND_TS = 1, KIND_SHIFTED, KIND_SPARSE, KIND_DECIMAL, KIND_PRODUCTS, KIND_ODD, KIND_BITS, KIND_DICT, KIND_STRS };

/* ---- the contents, from arithmetic that will not change ---- */
static int64_t i64_at(int kind, int i)
{
    if (kind == KIND_TS)
        return 1700000000000 + i * 15000 + (i % 17 == 3);
    if (kind == KIND_SHIFTED)
        return (int64_t)(i * 7919 % 100) * 4096 + 5;
    return i % 40 == 7 ? (int64_t)i << 50 : -3;
}

static double f64_at(int kind, int i)
{
    static const uint64_t odd[] = { 0x7ff0000000000002ull, 0x7ff8000000000001ull, 0x8000000000000000ull,
                                    0x7ff0000000000000ull, 0xfff0000000000000ull, 0x7ff8000000000000ull,
                                    0xfff8dead0000beefull, 0x3ff0000000000001ull };
    double v;
    if (kind == KIND_DECIMAL)
        return (100000 + i * 13 + i * i % 7) / 100.0;
    if (kind == KIND_PRODUCTS)
        return (i * 3 + i % 5) * 0.001;
    if (kind == KIND_ODD && i % 9 != 0)
        return i / 2;
    uint64_t bits =
        kind == KIND_ODD ? odd[i / 9 % ARRAY_LEN(odd)] : 0x3fd0000000000000ull + (uint64_t)i * 0x9e3779b97f4bull;
    memcpy(&v, &bits, 8);
    return v;
}

static str str_at(struct arena *a, int i)
{
    return arena_printf(a, "node_%c_%04d_total", 'a' + i / 20, i * 3);
}

static str record_at(struct arena *a, int i)
{
    return arena_printf(a, "record %d %.*s", i, i * 9,
                        "................................................................");
}

/* ---- writing ---- */
static void page(struct segment_writer *w, int kind, struct buf *b)
{
    segment_section_begin(w, (uint32_t)kind, 0);
    segment_page_add(w, buf_str(b), kind % 2 ? SEGMENT_PAGE_ZSTD : 0);
    segment_section_end(w, N, 0, 1, 0);
    buf_clear(b);
}

static struct segment_writer *segment_make(struct store *st)
{
    struct segment_writer *w;
    struct err_text et = { 0 };
    struct buf b;
    struct arena a;
    int64_t v[N];
    double d[N];
    str s[N];
    buf_init(&b, 0);
    arena_init(&a, 0);
    assert_int_equal(segment_writer_open(st, STORE_METRICS, 2, &w, &et), OK);
    for (int kind = KIND_TS; kind <= KIND_STRS; kind++) {
        for (int i = 0; i < N; i++) {
            v[i] = i64_at(kind, i);
            d[i] = f64_at(kind, i);
            s[i] = str_at(&a, i);
        }
        if (kind <= KIND_SPARSE)
            codec_i64_encode(&b, v, N);
        else if (kind <= KIND_BITS)
            codec_f64_encode(&b, d, N);
        else if (kind == KIND_DICT)
            codec_dict_encode(&b, s, N);
        else
            codec_strs_encode(&b, s, N);
        page(w, kind, &b);
    }
    struct segment_meta m = { .min_time = 10, .max_time = 20, .lsn_first = 1, .lsn_last = 2, .rows = N };
    assert_int_equal(segment_finish(w, &m, &et), OK);
    buf_deinit(&b);
    arena_deinit(&a);
    return w;
}

static int golden_write(const char *dir)
{
    struct store *st;
    struct err_text et = { 0 };
    struct arena a;
    uint64_t lsn = 0;
    arena_init(&a, 0);
    if (store_open(fs_os(), dir, NULL, os_clock(), &st, &et) != OK) {
        fprintf(stderr, "%s\n", et.msg);
        return 1;
    }
    for (int i = 1; i <= RECORDS; i++) {
        uint32_t epoch;
        str body = record_at(&a, i);
        struct iovec iov = { (void *)(uintptr_t)body.p, body.n };
        struct store_record r = { i % 3 ? STORE_METRICS : STORE_LOGS, (uint8_t)(i % 4), (uint16_t)i, &iov, 1 };
        assert_int_equal(store_wal_pin(st, body.n, &epoch), OK);
        assert_int_equal(store_wal_append(st, &r, &lsn), OK);
        store_wal_unpin(st);
        assert_int_equal(store_wal_wait(st, lsn), OK);
    }
    struct segment_writer *w = segment_make(st);
    str tombstone = STR("{job=\"x\"}");
    struct store_edit e = { .signal = STORE_METRICS,
                            .add = &w,
                            .n_add = 1,
                            .low_water_lsn = 2,
                            .tombstone_add = &tombstone,
                            .n_tombstone_add = 1,
                            .retention_set = true,
                            .retention_ms = -77 };
    assert_int_equal(store_commit(st, &e, &et), OK);
    store_close(st);
    arena_deinit(&a);
    printf("written; delete %s/wal/*.spare and LOCK before it is committed\n", dir);
    return 0;
}

/* ---- checking ---- */
static str page_of(struct segment *g, int kind, struct page_buf *b)
{
    str raw;
    const struct segment_section *s = segment_section_find(g, (uint32_t)kind, 0);
    assert_non_null(s);
    assert_int_equal(segment_page_read(g, s->page_first, b, &raw), OK);
    return raw;
}

static void check_column(struct segment *g, int kind, struct arena *a)
{
    struct page_buf b = { 0 };
    str raw = page_of(g, kind, &b), s[N], *all = s;
    int64_t v[N];
    double d[N], want;
    size_t used = 0;
    struct codec_dict dict;
    if (kind <= KIND_SPARSE)
        assert_int_equal(codec_i64_decode(raw, N, v, &used), OK);
    else if (kind <= KIND_BITS)
        assert_int_equal(codec_f64_decode(raw, N, d, &used), OK);
    else if (kind == KIND_DICT) {
        assert_int_equal(codec_dict_open(raw, &dict, &used), OK);
        assert_int_equal(codec_dict_all(&dict, a, &all), OK);
    } else
        assert_int_equal(codec_strs_decode(raw, N, s, &used), OK);
    assert_int_equal(used, raw.n);
    for (int i = 0; i < N; i++) {
        want = f64_at(kind, i);
        if (kind <= KIND_SPARSE)
            assert_true(v[i] == i64_at(kind, i));
        else if (kind <= KIND_BITS)
            assert_memory_equal(&d[i], &want, 8);
        else
            assert_true(str_eq(all[i], str_at(a, i)));
    }
    page_buf_deinit(&b);
}

struct found {
    struct arena *a;
    int next;
};
static enum err check_record(void *ctx, const struct store_replayed *r)
{
    struct found *f = ctx;
    while (f->next % 3 == 0)
        f->next++;
    assert_int_equal(r->lsn, f->next);
    assert_int_equal(r->type, f->next % 4);
    assert_int_equal(r->partition, f->next);
    assert_int_equal(r->epoch, 1);
    assert_true(str_eq(r->payload, record_at(f->a, f->next)));
    f->next++;
    return OK;
}

static void check_store(struct store *st)
{
    struct arena a;
    arena_init(&a, 0);
    const struct segment_set *set = store_segments_ref(st, STORE_METRICS);
    assert_int_equal(set->n, 1);
    const struct segment_meta *m = segment_meta(set->p[0]);
    assert_true(m->min_time == 10 && m->max_time == 20 && m->lsn_first == 1 && m->lsn_last == 2 && m->rows == N &&
                m->level == 2);
    assert_int_equal(segment_verify(set->p[0], NULL), OK);
    for (int kind = KIND_TS; kind <= KIND_STRS; kind++)
        check_column(set->p[0], kind, &a);
    segment_set_unref(set);
    struct found f = { &a, 3 };
    struct store_replay r = { .signal = STORE_METRICS,
                              .from_lsn = store_wal_low_water(st, STORE_METRICS),
                              .partition = -1,
                              .ctx = &f,
                              .on_record = check_record };
    struct store_replay_result res;
    assert_int_equal(r.from_lsn, 2);
    assert_int_equal(store_wal_replay(st, &r, &res, NULL), OK);
    assert_int_equal(res.holes, 0);
    assert_int_equal(res.records, 3);
    assert_int_equal(res.last_lsn, RECORDS);
    struct store_tombstone *t;
    size_t n;
    store_tombstones(st, STORE_METRICS, &a, &t, &n);
    assert_true(n == 1 && t[0].id == 1 && str_eq(t[0].body, STR("{job=\"x\"}")));
    assert_true(store_retention_mark(st, STORE_METRICS) == -77);
    arena_deinit(&a);
}

static void test_golden(void **state)
{
    (void)state;
    static const char *const versions[] = { "v1" };
    const char *source = getenv("VANE_SOURCE");
    if (!source)
        skip();
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        char dir[] = "/tmp/vane_golden_XXXXXX", cmd[1024], path[64];
        assert_non_null(mkdtemp(dir));
        snprintf(cmd, sizeof(cmd), "cp -r '%s/tests/store/golden/%s' %s/d", source, versions[i], dir);
        assert_int_equal(system(cmd), 0);
        snprintf(path, sizeof(path), "%s/d", dir);
        struct store *st;
        struct err_text et = { 0 };
        struct store_fsck f = { 0 };
        struct store_fsck_result res;
        assert_int_equal(store_fsck(fs_os(), path, &f, &res, &et), OK);
        assert_int_equal(res.damages + res.notes, 0);
        assert_int_equal(res.records, RECORDS);
        struct store_config c;
        store_config_defaults(&c);
        c.wal_file_bytes = 64 << 10;
        if (store_open(fs_os(), path, &c, os_clock(), &st, &et) != OK)
            fail_msg("%s: %s", versions[i], et.msg);
        check_store(st);
        store_close(st);
        snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
        assert_int_equal(system(cmd), 0);
    }
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        return golden_write(argv[2]);
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_golden) };
    return cmocka_run_group_tests_name("store_golden", tests, NULL, NULL);
}
