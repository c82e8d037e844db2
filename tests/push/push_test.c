/* Pushed groups: keys, replacing and merging, refusals, deletion, rounds, restart, damaged files, limits. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "push/push.h"

/* ---- a sink that keeps lines of text, a clock that stands still ---- */
static struct {
    struct push *p;
    struct clock clock;
    int64_t now_ms;
    struct buf text;
    uint64_t lsn, waited;
    enum err append_err, wait_err;
    char dir[64];
    struct arena a;
} t;

static int64_t now_ms(struct clock *c)
{
    (void)c;
    return t.now_ms;
}
static enum err sink_append(void *ctx, const struct batch *b, uint64_t *ret_lsn, struct err_text *reterr)
{
    (void)ctx;
    if (t.append_err)
        return err_fail(reterr, t.append_err, "told to");
    vec_each (const struct batch_series, s, &b->series)
        for (size_t i = 0; i < s->n_samples; i++) {
            labels_print(&t.text, s->labels);
            if (is_stale(s->samples[i].v))
                buf_printf(&t.text, " stale @%lld\n", (long long)s->samples[i].ts_ms);
            else
                buf_printf(&t.text, " %g @%lld\n", s->samples[i].v, (long long)s->samples[i].ts_ms);
        }
    *ret_lsn = ++t.lsn;
    return OK;
}
static enum err sink_wait(void *ctx, uint64_t lsn)
{
    (void)ctx;
    t.waited = lsn;
    return t.wait_err;
}
static void open_push(size_t groups_max, size_t bytes_max)
{
    struct push_config cfg = { .sink = { NULL, sink_append, sink_wait },
                               .dir = t.dir,
                               .clock = &t.clock,
                               .groups_max = groups_max,
                               .bytes_max = bytes_max };
    struct err_text why;
    if (push_open(&cfg, &t.p, &why) != OK)
        fail_msg("%s", why.msg);
}
static int setup(void **state)
{
    (void)state;
    memset(&t, 0, sizeof(t));
    snprintf(t.dir, sizeof(t.dir), "/tmp/vane-push-XXXXXX");
    assert_non_null(mkdtemp(t.dir));
    t.clock.now_ms = now_ms;
    t.now_ms = 1000000;
    buf_init(&t.text, 0);
    arena_init(&t.a, 0);
    open_push(0, 0);
    return 0;
}
static int teardown(void **state)
{
    (void)state;
    str *names;
    size_t n;
    push_close(t.p);
    buf_deinit(&t.text);
    assert_ok(fs_list(fs_os(), t.dir, &t.a, &names, &n));
    for (size_t i = 0; i < n; i++)
        assert_ok(fs_unlink(fs_os(), arena_printf(&t.a, "%s/" STR_FMT, t.dir, STR_ARG(names[i])).p));
    arena_deinit(&t.a);
    return rmdir(t.dir);
}
static struct labels key(const char *path)
{
    struct labels ls;
    assert_ok(push_key_parse(&t.a, str_c(path), &ls, NULL));
    return ls;
}
static enum err put(const char *path, enum push_verb verb, const char *body)
{
    struct err_text why;
    buf_clear(&t.text);
    return push_put(t.p, key(path), verb, EXPO_TEXT, str_c(body), &why);
}
#define assert_stored(want) assert_str(buf_str(&t.text), want)

static void keys(void **state)
{
    (void)state;
    static const struct {
        const char *path, *want; /* want NULL: refused */
    } rows[] = {
        { "job/a", "{job=\"a\"}" },
        { "job/a/instance/i:1", "{instance=\"i:1\", job=\"a\"}" },
        { "job@base64/L3Zhci90bXA", "{job=\"/var/tmp\"}" },
        { "job/a/path@base64/L3Zhci90bXA=", "{job=\"a\", path=\"/var/tmp\"}" },
        { "job/a/x@base64/=", "{job=\"a\"}" },
        { "job/a/name@base64/zqDPgc6_zrzOt864zrXPjc-C", "{job=\"a\", name=\"Προμηθεύς\"}" },
        { "job/a/job/b", "{job=\"a\"}" },
        { "job/", NULL },
        { "job//instance/x", NULL },
        { "job@base64/=", NULL },
        { "job/a/instance", NULL },
        { "job/a/0x/1", NULL },
        { "job/a/__name__/x", NULL },
        { "job/a/b@base64/!", NULL },
        { "job/a/b@base64/A", NULL },
        { "job/a/b@base64/_w", NULL },
        { "", NULL },
        { "instance/a/job/b", NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct labels ls;
        struct err_text why;
        enum err e = push_key_parse(&t.a, str_c(rows[i].path), &ls, &why);
        if (!rows[i].want) {
            assert_err(e, ERR_INVALID);
            continue;
        }
        assert_ok(e);
        struct buf b;
        buf_init(&b, 0);
        labels_print(&b, ls);
        str got = arena_str(&t.a, buf_str(&b));
        buf_deinit(&b);
        assert_str(got, rows[i].want);
    }
}

static void replace_and_merge(void **state)
{
    (void)state;
    assert_ok(
        put("job/a/instance/i", PUSH_REPLACE, "# TYPE x counter\nx{job=\"mine\",l=\"1\"} 1\nx{l=\"2\"} 2\ny 3\n"));
    assert_stored("x{instance=\"i\", job=\"a\", l=\"1\"} 1 @1000000\nx{instance=\"i\", job=\"a\", l=\"2\"} 2 @1000000\n"
                  "y{instance=\"i\", job=\"a\"} 3 @1000000\n"
                  "push_time_seconds{instance=\"i\", job=\"a\"} 1000 "
                  "@1000000\npush_failure_time_seconds{instance=\"i\", job=\"a\"} 0 @1000000\n");
    assert_int_equal(t.waited, t.lsn);
    t.now_ms += 5000; /* POST replaces family x only; what left of it ends */
    assert_ok(put("job/a/instance/i", PUSH_MERGE, "x{l=\"2\"} 5\n"));
    assert_stored("y{instance=\"i\", job=\"a\"} 3 @1005000\nx{instance=\"i\", job=\"a\", l=\"2\"} 5 @1005000\n"
                  "push_time_seconds{instance=\"i\", job=\"a\"} 1005 "
                  "@1005000\npush_failure_time_seconds{instance=\"i\", job=\"a\"} 0 @1005000\n"
                  "x{instance=\"i\", job=\"a\", l=\"1\"} stale @1005000\n");
    /* the clock stands still: time goes on in the group */
    assert_ok(put("job/a/instance/i", PUSH_REPLACE, "z 1\n"));
    assert_stored(
        "z{instance=\"i\", job=\"a\"} 1 @1005001\n"
        "push_time_seconds{instance=\"i\", job=\"a\"} 1005 @1005001\npush_failure_time_seconds{instance=\"i\", "
        "job=\"a\"} 0 @1005001\n"
        "x{instance=\"i\", job=\"a\", l=\"2\"} stale @1005001\ny{instance=\"i\", job=\"a\"} stale @1005001\n");
    assert_int_equal(push_groups(t.p), 1);
    assert_ok(put("job/b", PUSH_REPLACE, ""));
    assert_stored("push_time_seconds{job=\"b\"} 1005 @1005000\npush_failure_time_seconds{job=\"b\"} 0 @1005000\n");
    assert_int_equal(push_groups(t.p), 2);
}

static void refused_pushes(void **state)
{
    (void)state;
    assert_ok(put("job/a", PUSH_REPLACE, "x 1\n"));
    t.now_ms += 1000;
    assert_err(put("job/a", PUSH_REPLACE, "y{ 1\n"), ERR_PARSE); /* malformed: not even the failure time changes */
    assert_stored("");
    static const char *const inconsistent[] = { "x 1 1700000000000\n", "x 1\nx 2\n",
                                                "x{l=\"1\",job=\"b\"} 1\nx{l=\"1\"} 2\n", "push_time_seconds 1\n" };
    for (size_t i = 0; i < ARRAY_LEN(inconsistent); i++) {
        t.now_ms = 1010000 + 1000 * (int64_t)i;
        assert_err(put("job/a", PUSH_REPLACE, inconsistent[i]), ERR_INVALID);
        char want[200];
        snprintf(
            want, sizeof(want),
            "x{job=\"a\"} 1 @%d\npush_time_seconds{job=\"a\"} 1000 @%d\npush_failure_time_seconds{job=\"a\"} %d @%d\n",
            1010000 + 1000 * (int)i, 1010000 + 1000 * (int)i, 1010 + (int)i, 1010000 + 1000 * (int)i);
        assert_stored(want);
    }
    assert_err(put("job/new", PUSH_REPLACE, "x 1\nx 1\n"), ERR_INVALID);
    assert_stored("push_time_seconds{job=\"new\"} 0 @1013000\npush_failure_time_seconds{job=\"new\"} 1013 @1013000\n");
    /* trouble of the store: the sender hears of it */
    t.append_err = ERR_BUSY;
    assert_err(put("job/a", PUSH_REPLACE, "x 2\n"), ERR_BUSY);
    t.append_err = OK;
    t.wait_err = ERR_IO;
    assert_err(put("job/a", PUSH_REPLACE, "x 2\n"), ERR_IO);
}

static void deletion(void **state)
{
    (void)state;
    struct err_text why;
    assert_ok(put("job/a", PUSH_REPLACE, "x 1\n"));
    assert_ok(put("job/b", PUSH_REPLACE, "x 2\n"));
    buf_clear(&t.text);
    t.now_ms += 1000;
    assert_ok(push_delete(t.p, key("job/a"), &why));
    assert_stored("push_failure_time_seconds{job=\"a\"} stale @1001000\npush_time_seconds{job=\"a\"} stale "
                  "@1001000\nx{job=\"a\"} stale @1001000\n");
    assert_int_equal(t.waited, t.lsn);
    assert_ok(push_delete(t.p, key("job/a"), &why));
    assert_int_equal(push_groups(t.p), 1);
    push_close(t.p);
    open_push(0, 0);
    assert_int_equal(push_groups(t.p), 1);
}

static void rounds_and_restart(void **state)
{
    (void)state;
    assert_ok(put("job/a", PUSH_REPLACE, "# HELP x Text.\n# TYPE x gauge\nx{l=\"q\\\"\\n\"} 1\n"));
    for (int i = 0; i < 2; i++) {
        t.now_ms += 15000;
        buf_clear(&t.text);
        push_round(t.p);
        char want[300];
        snprintf(want, sizeof(want),
                 "x{job=\"a\", l=\"q\\\"\\n\"} 1 @%lld\npush_time_seconds{job=\"a\"} 1000 "
                 "@%lld\npush_failure_time_seconds{job=\"a\"} 0 @%lld\n",
                 (long long)t.now_ms, (long long)t.now_ms, (long long)t.now_ms);
        assert_stored(want);
        push_close(t.p);
        open_push(0, 0);
    }
    /* merging goes on after a restart */
    assert_ok(put("job/a", PUSH_MERGE, "y 2\n"));
    assert_true(str_has_prefix(buf_str(&t.text), STR("x{")));
    t.append_err = ERR_BUSY; /* a round that fails changes nothing */
    push_round(t.p);
    assert_int_equal(push_groups(t.p), 1);
}

static void damaged_files(void **state)
{
    (void)state;
    str *names, content;
    size_t n;
    assert_ok(put("job/a", PUSH_REPLACE, "x 1\n"));
    assert_ok(fs_list(fs_os(), t.dir, &t.a, &names, &n));
    assert_int_equal(n, 1);
    const char *path = arena_printf(&t.a, "%s/" STR_FMT, t.dir, STR_ARG(names[0])).p;
    assert_ok(fs_read_file(fs_os(), path, 1 << 20, &t.a, &content, NULL));
    for (size_t i = 0; i < content.n; i++) { /* every byte counts */
        char *bad = arena_cstr(&t.a, content);
        bad[i] = (char)(bad[i] ^ 0x10);
        assert_ok(fs_write_file_atomic(fs_os(), path, str_n(bad, content.n)));
        push_close(t.p);
        open_push(0, 0);
        assert_int_equal(push_groups(t.p), 0);
    }
    assert_ok(fs_write_file_atomic(fs_os(), path, content));
    push_close(t.p);
    open_push(0, 0);
    assert_int_equal(push_groups(t.p), 1);
}

static void limits(void **state)
{
    (void)state;
    push_close(t.p);
    open_push(2, 60);
    assert_ok(put("job/a", PUSH_REPLACE, "x 1\n"));
    assert_ok(put("job/b", PUSH_REPLACE, "x 1\n"));
    assert_err(put("job/c", PUSH_REPLACE, "x 1\n"), ERR_LIMIT);
    assert_ok(put("job/b", PUSH_REPLACE, "x 2\n"));
    assert_err(put("job/b", PUSH_REPLACE, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1\n"),
               ERR_LIMIT);
    assert_int_equal(push_groups(t.p), 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = { T(keys),     T(replace_and_merge),  T(refused_pushes),
                                        T(deletion), T(rounds_and_restart), T(damaged_files),
                                        T(limits) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
